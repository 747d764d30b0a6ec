/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#include "engine/session.h"

#include <pthread.h>
#include "base/json.h"
#include "rawca.h"

Suite *session_suite(void);

static apr_pool_t *pool;
static acme_transport_t *transport;
static acme_key_t *key;
static apr_time_t clock_now;
static char logged[4096];
static size_t already; /* what the CA had noted before the test */

/* ---- what a session stands on ---- */

/* Keeps the newest account record, as root would hand it to a next owner. */
typedef struct {
    acme_store_t base;
    char *payload;
    apr_size_t len;
    int appends;
    int broken;
} memory_t;

static memory_t memory;

static acme_rv_t memory_load(acme_store_t *self, acme_record_set_t *out, const char *id,
                             apr_pool_t *p, acme_error_t *err)
{
    memory_t *m = (memory_t *)self;

    memset(out, 0, sizeof(*out));
    if (m->broken) {
        return acme_error_set(err, ACME_E_STORE, NULL, "%s: unreadable", id);
    }
    if (m->payload) {
        out->present[ACME_REC_ACCOUNT] = 1;
        out->rec[ACME_REC_ACCOUNT].id = id;
        out->rec[ACME_REC_ACCOUNT].payload = apr_pmemdup(p, m->payload, m->len);
        out->rec[ACME_REC_ACCOUNT].len = m->len;
    }
    return ACME_OK;
}

static acme_rv_t memory_append(acme_store_t *self, const char *id, acme_record_type_t type,
                               const char *payload, apr_size_t len, apr_time_t now,
                               apr_pool_t *scratch, acme_error_t *err)
{
    memory_t *m = (memory_t *)self;

    (void)now;
    (void)scratch;
    ck_assert_int_eq(type, ACME_REC_ACCOUNT);
    if (m->broken) {
        return acme_error_set(err, ACME_E_STORE, NULL, "%s: no space", id);
    }
    free(m->payload);
    m->payload = malloc(len + 1);
    memcpy(m->payload, payload, len);
    m->payload[len] = '\0';
    m->len = len;
    m->appends++;
    return ACME_OK;
}

static apr_time_t now(void *baton)
{
    (void)baton;
    return clock_now;
}

static void note(void *baton, acme_log_level_t level, const char *subject, const char *line)
{
    apr_size_t used = strlen(logged);

    (void)baton;
    (void)level;
    (void)subject;
    apr_snprintf(logged + used, sizeof(logged) - used, "%s\n", line);
}

static const acme_log_t log_here = { note, NULL, ACME_LOG_DEBUG };

static acme_board_t *board; /* NULL: none */

static void start(void)
{
    rawca_start("session");
    acme_json_init();
}

static void setup(void)
{
    acme_transport_conf_t conf;
    acme_error_t err;

    acme_error_clear(&err);
    apr_pool_create(&pool, NULL);
    memset(&conf, 0, sizeof(conf));
    memset(&memory, 0, sizeof(memory));
    memory.base.load = memory_load;
    memory.base.append = memory_append;
    conf.ca_file = rawca.ca_file;
    conf.timeout = apr_time_from_sec(5);
    transport = acme_transport_create(&conf, pool);
    ck_assert_int_eq(acme_key_generate(&key, ACME_KEY_P256, pool, &err), ACME_OK);
    clock_now = apr_time_now();
    logged[0] = '\0';
    board = NULL;
}

static void teardown(void)
{
    apr_pool_destroy(pool);
    free(memory.payload);
    memory.payload = NULL;
}

static const char *seen(const acme_ca_t *ca);

static acme_ca_t *make_ca(const char *scenario)
{
    acme_ca_t *ca = apr_pcalloc(pool, sizeof(*ca));

    ca->name = scenario;
    ca->directory_url = apr_psprintf(pool, "https://localhost:%d/directory",
                                     rawca_port(scenario));
    ca->contacts = apr_array_make(pool, 2, sizeof(const char *));
    APR_ARRAY_PUSH(ca->contacts, const char *) = "mailto:a@b.example";
    ca->auth_path = "/etc/acme/x.jwk";
    already = 0;
    already = strlen(seen(ca));
    return ca;
}

static acme_session_t *make(const acme_ca_t *ca, const acme_stop_t *stop)
{
    acme_session_t *session = NULL;
    acme_session_conf_t conf;
    acme_error_t err;

    memset(&conf, 0, sizeof(conf));
    acme_error_clear(&err);
    conf.ca = ca;
    conf.account_id = "ca.example";
    conf.key = key;
    conf.store = &memory.base;
    conf.board = board;
    conf.log = &log_here;
    conf.transport = transport;
    conf.stop = stop;
    conf.now = now;
    ck_assert_int_eq(acme_session_create(&session, &conf, pool, &err), ACME_OK);
    return session;
}

/* The CA's own account of the requests it got since make_ca, a line each. */
static const char *seen(const acme_ca_t *ca)
{
    acme_http_response_t *response = NULL;
    acme_http_request_t request;
    acme_url_t *url = NULL;
    acme_error_t err;
    apr_size_t len;

    acme_error_clear(&err);
    memset(&request, 0, sizeof(request));
    ck_assert_int_eq(acme_url_parse(&url, ca->directory_url, pool, &err), ACME_OK);
    ck_assert_int_eq(acme_url_resolve(&url, url, "/log", pool, &err), ACME_OK);
    request.url = url;
    ck_assert_int_eq(acme_transport_exchange(&response, transport, &request, 65536, NULL, NULL,
                                             pool, &err), ACME_OK);
    return acme_http_response_body(response, &len) + already;
}

static int count(const char *text, const char *what)
{
    int n = 0;

    for (text = strstr(text, what); text; text = strstr(text + 1, what)) {
        n++;
    }
    return n;
}

static void ready(acme_session_t *session)
{
    acme_error_t err;

    acme_error_clear(&err);
    ck_assert_msg(acme_session_ready(session, pool, &err) == ACME_OK, "%s %s", err.code, err.text);
    ck_assert_ptr_nonnull(acme_session_directory(session));
    ck_assert_ptr_nonnull(acme_session_kid(session));
}

static acme_error_t not_ready(const acme_ca_t *ca)
{
    acme_error_t err;

    acme_error_clear(&err);
    ck_assert_int_eq(acme_session_ready(make(ca, NULL), pool, &err), ACME_FAIL);
    return err;
}

/* newOrder; the status of the answer. */
static int order(acme_session_t *session, acme_error_t *err)
{
    acme_http_response_t *response = NULL;
    int sent = -1;

    acme_error_clear(err);
    if (acme_session_post(&response, session, acme_session_directory(session)->new_order,
                          "{\"identifiers\":[]}", ACME_HTTP_JSON_MAX, &sent, pool, err)
        != ACME_OK) {
        return -1;
    }
    ck_assert_int_eq(sent, 1);
    return acme_http_response_status(response);
}

/* ---- directory and account ---- */

START_TEST(first_contact)
{
    const acme_ca_t *ca = make_ca("plain");
    acme_session_t *session = make(ca, NULL);
    const char *text;
    acme_error_t err;

    ck_assert_ptr_null(acme_session_kid(session));
    ready(session);
    ready(session);
    ck_assert_ptr_nonnull(strstr(acme_session_kid(session), "/account/"));
    ck_assert_ptr_nonnull(strstr(acme_session_orders_url(session), "/orders/"));
    ck_assert_int_eq(order(session, &err), 201);
    text = seen(ca);
    ck_assert_int_eq(count(text, "\n"), 4);
    ck_assert_int_eq(strncmp(text, "GET /directory\nHEAD /acme/new-nonce\nPOST /acme/new-account ",
                             59), 0);
    ck_assert_ptr_nonnull(strstr(text, "mailto:a@b.example"));
    ck_assert_int_eq(strlen(acme_session_thumbprint(session)), 43);
}
END_TEST

/* The next owner asks for a nonce and goes on where the last one was. */
START_TEST(warm_start)
{
    const acme_ca_t *ca = make_ca("terms");
    acme_session_t *first, *next;
    const char *former, *text;
    acme_error_t err;

    ((acme_ca_t *)ca)->terms_agreed = 1;
    first = make(ca, NULL);
    ready(first);
    former = seen(ca);
    clock_now += apr_time_from_sec(3600);
    next = make(ca, NULL);
    ready(next);
    ck_assert_str_eq(acme_session_kid(next), acme_session_kid(first));
    ck_assert_str_eq(acme_session_orders_url(next), acme_session_orders_url(first));
    ck_assert_int_eq(order(next, &err), 201);
    text = seen(ca) + strlen(former);
    ck_assert_msg(!strncmp(text, "HEAD /acme/new-nonce\nPOST /acme/new-order ", 42), "%s", text);
    ck_assert_int_eq(count(text, "\n"), 2);
    /* a day later the directory is fetched, and nothing else */
    clock_now += apr_time_from_sec(24 * 3600);
    next = make(ca, NULL);
    ready(next);
    ck_assert_int_eq(count(seen(ca), "GET /directory"), 2);
    ck_assert_int_eq(count(seen(ca), "new-account"), 1);
    clock_now += apr_time_from_sec(24 * 3600 + 1);
    ready(next);
    ck_assert_int_eq(count(seen(ca), "GET /directory"), 3);
}
END_TEST

START_TEST(foreign_records)
{
    acme_ca_t *ca = make_ca("plain");
    acme_session_t *session;
    acme_error_t err;

    acme_error_clear(&err);
    ready(make(ca, NULL));
    /* another directory */
    ca->directory_url = apr_pstrcat(pool, ca->directory_url, "2", NULL);
    ck_assert_ptr_null(acme_session_kid(make(ca, NULL)));
    /* another key */
    ca = make_ca("plain");
    ck_assert_ptr_nonnull(acme_session_kid(make(ca, NULL)));
    ck_assert_int_eq(acme_key_generate(&key, ACME_KEY_P256, pool, &err), ACME_OK);
    session = make(ca, NULL);
    ck_assert_ptr_null(acme_session_kid(session));
    ck_assert_ptr_nonnull(acme_session_directory(session));
    /* garbage, and nothing that can be read or written */
    memory.len = memory.len / 2;
    session = make(ca, NULL);
    ck_assert_ptr_null(acme_session_directory(session));
    memory.broken = 1;
    session = make(ca, NULL);
    ready(session);
    ck_assert_ptr_nonnull(strstr(logged, "AC0371"));
    ck_assert_ptr_nonnull(strstr(logged, "AC0372"));
}
END_TEST

START_TEST(redirects)
{
    acme_ca_t *ca = make_ca("redirect3");
    acme_error_t err;

    ready(make(ca, NULL));
    err = not_ready(make_ca("redirect4"));
    ck_assert_str_eq(err.code, "AC0225");
    err = not_ready(make_ca("redirect_http"));
    ck_assert_str_eq(err.code, "AC0225");
}
END_TEST

/* What makes a directory or an account unusable: code, class, a word of the text, POSTs sent. */
static const struct {
    const char *scenario;
    int terms;
    const char *code;
    acme_retry_t retry;
    const char *text;
    int posts;
} unusable[] = {
    { "terms", 0, "AC0376", ACME_RETRY_HUMAN, "https://ca.example/terms-1", 0 },
    { "terms", 0, "AC0376", ACME_RETRY_HUMAN, "AcmeTermsOfService", 0 },
    { "eab", 0, "AC0309", ACME_RETRY_HUMAN, "external account", 0 },
    { "eab_terms", 1, "AC0309", ACME_RETRY_HUMAN, "external account", 0 },
    { "deactivated", 0, "AC0308", ACME_RETRY_HUMAN, "/etc/acme/x.jwk", 1 },
    { "nolocation", 0, "AC0310", ACME_RETRY_LADDER, "Location", 1 },
    { "action", 0, "AC0311", ACME_RETRY_HUMAN, "https://ca.example/agree", 1 },
    { "badalg", 0, "AC0306", ACME_RETRY_SLOW, "ES256", 1 },
    { "bad_ever", 0, "AC0305", ACME_RETRY_LADDER, "badNonce", 17 },
    { "html", 0, "AC0224", ACME_RETRY_LADDER, "not an ACME server", 0 },
    { "broken", 0, NULL, ACME_RETRY_LADDER, "directory", 0 },
    { "v1", 0, NULL, ACME_RETRY_LADDER, "directory", 0 },
    { "nononce", 0, "AC0370", ACME_RETRY_LADDER, "Replay-Nonce", 0 },
};

START_TEST(unusable_ca)
{
    acme_ca_t *ca = make_ca(unusable[_i].scenario);
    acme_error_t err;

    ca->terms_agreed = unusable[_i].terms;
    err = not_ready(ca);
    ck_assert_msg(!unusable[_i].code || !strcmp(err.code, unusable[_i].code), "%s %s", err.code,
                  err.text);
    ck_assert_msg(strstr(err.text, unusable[_i].text) != NULL, "%s", err.text);
    if (unusable[_i].code) {
        ck_assert_int_eq(err.retry, unusable[_i].retry);
    }
    ck_assert_int_eq(count(seen(ca), "POST "), unusable[_i].posts);
}
END_TEST

START_TEST(external_account)
{
    acme_ca_t *ca = make_ca("eab");

    ca->eab_kid = "kid-1";
    ca->eab_key = (const unsigned char *)"0123456789abcdef0123456789abcdef";
    ca->eab_key_len = 32;
    ca->eab_alg = "HS256";
    ready(make(ca, NULL));
}
END_TEST

START_TEST(limited)
{
    acme_ca_t *ca = make_ca("limited");
    acme_session_t *session = make(ca, NULL);
    acme_error_t err;

    acme_error_clear(&err);
    ck_assert_int_eq(acme_session_ready(session, pool, &err), ACME_FAIL);
    ck_assert_int_eq(err.http_status, 429);
    ck_assert_int_eq(err.not_before, clock_now + apr_time_from_sec(3600));
    ck_assert_int_eq(acme_session_paused(session), clock_now + apr_time_from_sec(3600));
    /* the next owner knows it too, to the second */
    ck_assert_int_eq(apr_time_sec(acme_session_paused(make(ca, NULL))),
                     apr_time_sec(clock_now) + 3600);
    clock_now += apr_time_from_sec(3601);
    ck_assert_int_eq(acme_session_paused(session), 0);
    ck_assert_int_eq(acme_session_paused(make(ca, NULL)), 0);
    acme_session_pause(session, clock_now + apr_time_from_sec(400 * 86400));
    ck_assert_int_eq(acme_session_paused(session), clock_now + apr_time_from_sec(7 * 86400));
}
END_TEST

/* ---- nonces ---- */

START_TEST(bad_nonce)
{
    acme_ca_t *ca = make_ca(_i ? "bad5" : "bad1");
    acme_session_t *session = make(ca, NULL);

    ready(session);
    ck_assert_int_eq(count(seen(ca), "HEAD "), 1);
    ck_assert_int_eq(count(seen(ca), "POST "), _i ? 6 : 2);
}
END_TEST

START_TEST(nonces_are_kept)
{
    acme_ca_t *ca = make_ca("plain");
    acme_session_t *session = make(ca, NULL);
    acme_error_t err;
    int i, heads = count(seen(ca), "HEAD ");

    ready(session);
    for (i = 0; i < 10; i++) {
        ck_assert_int_eq(order(session, &err), 201);
    }
    ck_assert_int_eq(count(seen(ca), "HEAD "), heads + 1);
    clock_now += apr_time_from_sec(3600);
    ck_assert_int_eq(order(session, &err), 201);
    ck_assert_int_eq(count(seen(ca), "HEAD "), heads + 2);
}
END_TEST

/* ---- changes ---- */

START_TEST(account_lost)
{
    acme_ca_t *ca = make_ca("lost_once");
    acme_session_t *session = make(ca, NULL);
    const char *kid;
    acme_error_t err;

    ready(session);
    kid = acme_session_kid(session);
    ck_assert_int_eq(order(session, &err), 400);
    ck_assert_int_eq(acme_session_account_lost(session, &err), ACME_OK);
    ck_assert_int_eq(acme_session_account_lost(session, &err), ACME_OK);
    ready(session);
    ck_assert_str_ne(acme_session_kid(session), kid);
    ck_assert_int_eq(order(session, &err), 201);
    ck_assert_int_eq(count(seen(ca), "onlyReturnExisting"), 1);
    ck_assert_int_eq(count(seen(ca), "new-account"), 3);
    /* a late answer to a request with the former kid */
    ck_assert_int_eq(acme_session_account_lost(session, &err), ACME_OK);
    ck_assert_ptr_nonnull(acme_session_kid(session));
}
END_TEST

START_TEST(account_lost_again)
{
    acme_ca_t *ca = make_ca("lost_ever");
    acme_session_t *session = make(ca, NULL);
    acme_error_t err;

    ready(session);
    ck_assert_int_eq(order(session, &err), 400);
    ck_assert_int_eq(acme_session_account_lost(session, &err), ACME_OK);
    ready(session);
    ck_assert_int_eq(order(session, &err), 400);
    ck_assert_int_eq(acme_session_account_lost(session, &err), ACME_FAIL);
    ck_assert_str_eq(err.code, "AC0307");
    ck_assert_int_eq(err.retry, ACME_RETRY_SLOW);
    /* the next owner does not start from zero */
    session = make(ca, NULL);
    ready(session);
    ck_assert_int_eq(order(session, &err), 400);
    ck_assert_int_eq(acme_session_account_lost(session, &err), ACME_FAIL);
    clock_now += apr_time_from_sec(24 * 3600 + 1);
    acme_error_clear(&err);
    ck_assert_int_eq(acme_session_account_lost(session, &err), ACME_OK);
}
END_TEST

START_TEST(contacts)
{
    acme_ca_t *ca = make_ca("plain");
    acme_session_t *session;

    ready(make(ca, NULL));
    ck_assert_int_eq(count(seen(ca), "/account/"), 0);
    APR_ARRAY_PUSH(ca->contacts, const char *) = "mailto:c@d.example";
    session = make(ca, NULL);
    ready(session);
    ready(session);
    ck_assert_int_eq(count(seen(ca), "/account/"), 1);
    ck_assert_int_eq(count(seen(ca), "c@d.example"), 1);
    ready(make(ca, NULL));
    ck_assert_int_eq(count(seen(ca), "/account/"), 1);
    ck_assert_int_eq(count(seen(ca), "new-account"), 1);
}
END_TEST

START_TEST(contacts_of_found_account)
{
    acme_ca_t *ca = make_ca("former");

    ready(make(ca, NULL));
    ready(make(ca, NULL));
    ck_assert_int_eq(count(seen(ca), "/account/"), 1);
}
END_TEST

START_TEST(contacts_refused)
{
    acme_ca_t *ca = make_ca("contact_refused");

    ready(make(ca, NULL));
    APR_ARRAY_PUSH(ca->contacts, const char *) = "mailto:c@d.example";
    ready(make(ca, NULL));
    ready(make(ca, NULL));
    ck_assert_int_eq(count(seen(ca), "/account/"), 1);
    ck_assert_ptr_nonnull(strstr(logged, "AC0380"));
    ck_assert_ptr_nonnull(strstr(logged, "no such mailbox"));
}
END_TEST

static void replace(const char *from, const char *to)
{
    char *at, *text = apr_pstrdup(pool, memory.payload);

    for (at = strstr(text, from); at; at = strstr(text, from)) {
        *at = '\0';
        text = apr_pstrcat(pool, text, to, at + strlen(from), NULL);
    }
    free(memory.payload);
    memory.payload = strdup(text);
    memory.len = strlen(text);
}

/* A kept directory that names places which are no more: fetched again, once. */
START_TEST(directory_moved)
{
    acme_ca_t *ca = make_ca("moved");
    acme_session_t *session = make(ca, NULL);
    acme_error_t err;

    ready(session);
    if (_i == 0) {
        replace("/v2/acme/", "/v1/acme/"); /* all of it: newNonce is not found */
    }
    else {
        replace("/v2/acme/new-order", "/v1/acme/new-order");
    }
    session = make(ca, NULL);
    ready(session);
    ck_assert_int_eq(count(seen(ca), "GET /directory"), 1);
    ck_assert_ptr_nonnull(strstr(acme_session_directory(session)->new_order, "/v1/"));
    ck_assert_int_eq(order(session, &err), 201);
    ck_assert_int_eq(count(seen(ca), "GET /directory"), 2);
    ck_assert_int_eq(order(session, &err), 201);
    ck_assert_int_eq(count(seen(ca), "GET /directory"), 2);
}
END_TEST

START_TEST(clock_skew)
{
    acme_session_t *session = make(make_ca("skew"), NULL);

    ready(session);
    ck_assert_int_eq(count(logged, "AC0375"), 1);
    ck_assert_ptr_nonnull(strstr(logged, "ahead of the CA's"));
    logged[0] = '\0';
    ready(make(make_ca("plain"), NULL));
    ck_assert_ptr_null(strstr(logged, "AC0375"));
}
END_TEST

/* ---- several workers ---- */

typedef struct {
    acme_session_t *session;
    acme_rv_t rv;
    acme_error_t err;
} worker_t;

static void *work(void *data)
{
    worker_t *w = data;
    apr_pool_t *own = NULL;

    apr_pool_create_unmanaged_ex(&own, NULL, NULL);
    acme_error_clear(&w->err);
    w->rv = acme_session_ready(w->session, own, &w->err);
    apr_pool_destroy(own);
    return NULL;
}

#define THREADS 6

START_TEST(one_registers)
{
    static const char *const scenario[] = { "slow", "limited" };
    acme_ca_t *ca = make_ca(scenario[_i]);
    acme_session_t *session = make(ca, NULL);
    pthread_t thread[THREADS];
    worker_t w[THREADS];
    int i;

    for (i = 0; i < THREADS; i++) {
        w[i].session = session;
        ck_assert_int_eq(pthread_create(&thread[i], NULL, work, &w[i]), 0);
    }
    for (i = 0; i < THREADS; i++) {
        pthread_join(thread[i], NULL);
        ck_assert_int_eq(w[i].rv, _i ? ACME_FAIL : ACME_OK);
        ck_assert_int_eq(w[i].err.http_status, _i ? 429 : 0);
    }
    if (_i == 0) {
        ck_assert_int_eq(count(seen(ca), "new-account"), 1);
        ck_assert_int_eq(count(seen(ca), "GET /directory"), 1);
    }
}
END_TEST

static int stop_now;

static int stopped(void *baton)
{
    (void)baton;
    return __atomic_load_n(&stop_now, __ATOMIC_RELAXED);
}

START_TEST(waiting_stops)
{
    acme_stop_t stop = { stopped, NULL };
    worker_t w[2];
    pthread_t thread[2];
    int i;

    stop_now = 0;
    w[0].session = w[1].session = make(make_ca("slow"), &stop);
    for (i = 0; i < 2; i++) {
        ck_assert_int_eq(pthread_create(&thread[i], NULL, work, &w[i]), 0);
    }
    usleep(60000);
    __atomic_store_n(&stop_now, 1, __ATOMIC_RELAXED);
    for (i = 0; i < 2; i++) {
        pthread_join(thread[i], NULL);
        ck_assert_int_eq(w[i].rv, ACME_FAIL);
        ck_assert_int_eq(w[i].err.kind, ACME_E_STOPPED);
    }
}
END_TEST

/* ---- budgets ---- */

START_TEST(order_rate)
{
    acme_ca_t *ca = make_ca("plain");
    acme_session_t *session;
    apr_time_t when, begin = clock_now;
    int i;

    session = make(ca, NULL);
    for (i = 0; i < 1000; i++) {
        ck_assert_int_eq(acme_session_order_allowed(session, &when), ACME_OK);
    }
    ca->order_rate_count = 30;
    ca->order_rate_period = apr_time_from_sec(3600);
    session = make(ca, NULL);
    for (i = 0; i < 20; i++) {
        ck_assert_int_eq(acme_session_order_allowed(session, &when), ACME_OK);
    }
    ck_assert_int_eq(acme_session_order_allowed(session, &when), ACME_AGAIN);
    ck_assert_int_eq(when, begin + apr_time_from_sec(10));
    clock_now = when;
    for (i = 0; i < 10; i++) {
        ck_assert_int_eq(acme_session_order_allowed(session, &when), ACME_OK);
    }
    ck_assert_int_eq(acme_session_order_allowed(session, &when), ACME_AGAIN);
    ck_assert_int_eq(when, begin + apr_time_from_sec(3600));
    clock_now = when;
    for (i = 0; i < 20; i++) {
        ck_assert_int_eq(acme_session_order_allowed(session, &when), ACME_OK);
    }
    ck_assert_int_eq(acme_session_order_allowed(session, &when), ACME_AGAIN);
    ck_assert_int_eq(when, begin + apr_time_from_sec(3610));
    clock_now = begin - apr_time_from_sec(86400); /* set back: no reason to wait a day */
    ck_assert_int_eq(acme_session_order_allowed(session, &when), ACME_OK);
}
END_TEST

static void board_make(void)
{
    apr_size_t size = acme_board_size(1);
    void *bytes = apr_pcalloc(pool, size + 64);
    acme_error_t err;

    acme_error_clear(&err);
    bytes = (void *)(((apr_uintptr_t)bytes + 63) & ~(apr_uintptr_t)63);
    acme_board_format(bytes, size, 1);
    ck_assert_int_eq(acme_board_attach(&board, bytes, size, pool, &err), ACME_OK);
}

static const struct {
    int count, before, left;
} owners[] = {
    {20, 0, 20}, {20, 15, 5}, {20, 20, 0}, {256, 256, 0}, {512, 512, 0}, {512, 300, 212},
};

/* One a second, of which the first owner places so many; the second has what is left. */
START_TEST(order_rate_of_owners)
{
    acme_ca_t *ca = make_ca("plain");
    acme_session_t *session;
    apr_time_t when = 0, begin = apr_time_sec(clock_now) * APR_USEC_PER_SEC;
    int i;

    board_make();
    clock_now = begin;
    ca->order_rate_count = owners[_i].count;
    ca->order_rate_period = apr_time_from_sec(3600);
    session = make(ca, NULL);
    for (i = 0; i < owners[_i].before; i++, clock_now += APR_USEC_PER_SEC) {
        ck_assert_int_eq(acme_session_order_allowed(session, &when), ACME_OK);
    }
    session = make(ca, NULL);
    for (i = 0; i < owners[_i].left; i++, clock_now += APR_USEC_PER_SEC) {
        ck_assert_int_eq(acme_session_order_allowed(session, &when), ACME_OK);
    }
    ck_assert_int_eq(acme_session_order_allowed(session, &when), ACME_AGAIN);
    ck_assert_int_ge(when, begin + apr_time_from_sec(3600));
    ck_assert_int_le(when, begin + apr_time_from_sec(3601));
    ck_assert_int_eq(acme_session_order_allowed(session, &when), ACME_AGAIN);
    ck_assert_int_eq(count(logged, "AC0364"), 1);
    clock_now = when;
    ck_assert_int_eq(acme_session_order_allowed(session, &when), ACME_OK);
}
END_TEST

/* Moments to come are none. */
START_TEST(order_rate_spoilt)
{
    acme_ca_t *ca = make_ca("plain");
    apr_time_t when;
    int i;

    board_make();
    for (i = 0; i < ACME_BOARD_ORDERS; i++) {
        acme_board_order_note(board, 0, i, APR_UINT32_MAX - (apr_uint32_t)i);
    }
    ca->order_rate_count = 5;
    ca->order_rate_period = apr_time_from_sec(3600);
    ck_assert_int_eq(acme_session_order_allowed(make(ca, NULL), &when), ACME_OK);
}
END_TEST

#define ROWS(table) ((int)(sizeof(table) / sizeof((table)[0])))

static const struct {
    int terms_needed, terms, eab_needed, eab, trouble;
    const char *code;
} needs[] = {
    {0, 0, 0, 0, 0, NULL},     {1, 1, 0, 0, 0, NULL},     {1, 1, 1, 1, 0, NULL},
    {1, 0, 0, 0, 0, "AC0376"}, {1, 0, 1, 1, 0, "AC0376"}, {1, 1, 1, 0, 0, "AC0309"},
    {0, 0, 1, 0, 0, "AC0309"}, {0, 0, 0, 0, 1, "AC0226"}, {0, 0, 1, 0, 1, "AC0226"},
};

/* What is known to be missing is told without a request, but not when there is an account. */
START_TEST(what_an_account_needs)
{
    acme_ca_t *ca = make_ca("plain");
    acme_error_t err;

    ca->terms_needed = needs[_i].terms_needed;
    ca->terms_agreed = needs[_i].terms;
    ca->eab_needed = needs[_i].eab_needed ? "https://ca.example/accounts" : NULL;
    ca->eab_kid = needs[_i].eab ? "kid" : NULL;
    ca->eab_trouble = needs[_i].trouble ? "no such file" : NULL;
    acme_error_clear(&err);
    ck_assert_int_eq(acme_session_possible(make(ca, NULL), &err),
                     needs[_i].code ? ACME_FAIL : ACME_OK);
    ck_assert_str_eq(err.code, needs[_i].code ? needs[_i].code : "");
    ck_assert_int_eq(err.retry, needs[_i].code ? ACME_RETRY_HUMAN : ACME_RETRY_LADDER);
    ck_assert_str_eq(seen(ca), "");
    *ca = *make_ca("plain");
    ready(make(ca, NULL));
    ca->terms_needed = 1;
    ca->eab_needed = "https://ca.example/accounts";
    ck_assert_int_eq(acme_session_possible(make(ca, NULL), NULL), ACME_OK);
}
END_TEST

static void add_cases(TCase *tc)
{
    tcase_add_test(tc, first_contact);
    tcase_add_test(tc, warm_start);
    tcase_add_test(tc, foreign_records);
    tcase_add_test(tc, redirects);
    tcase_add_loop_test(tc, unusable_ca, 0, ROWS(unusable));
    tcase_add_test(tc, external_account);
    tcase_add_test(tc, limited);
    tcase_add_loop_test(tc, bad_nonce, 0, 2);
    tcase_add_test(tc, nonces_are_kept);
    tcase_add_test(tc, account_lost);
    tcase_add_test(tc, account_lost_again);
    tcase_add_test(tc, contacts);
    tcase_add_test(tc, contacts_of_found_account);
    tcase_add_test(tc, contacts_refused);
    tcase_add_loop_test(tc, directory_moved, 0, 2);
    tcase_add_test(tc, clock_skew);
    tcase_add_loop_test(tc, one_registers, 0, 2);
    tcase_add_test(tc, waiting_stops);
    tcase_add_test(tc, order_rate);
    tcase_add_loop_test(tc, order_rate_of_owners, 0, ROWS(owners));
    tcase_add_test(tc, order_rate_spoilt);
    tcase_add_loop_test(tc, what_an_account_needs, 0, ROWS(needs));
}

Suite *session_suite(void)
{
    Suite *suite = suite_create("session");
    TCase *tc = tcase_create("session");

    tcase_add_unchecked_fixture(tc, start, rawca_stop);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 20);
    add_cases(tc);
    suite_add_tcase(suite, tc);
    return suite;
}
