/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#include "engine/session.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <apr_strings.h>
#include <apr_thread_cond.h>
#include <apr_thread_mutex.h>
#include "base/codec.h"
#include "base/time.h"
#include "crypto/digest.h"
#include "crypto/jws.h"
#include "protocol/rollover.h"

#define DAY apr_time_from_sec(86400)
#define DIRECTORY_AGE DAY
#define DIRECTORY_DOUBT apr_time_from_sec(300)
#define RESTORE_PAUSE DAY
#define PAUSE_MAX (7 * DAY)
#define REST_MAX apr_time_from_sec(3600)
#define SKEW apr_time_from_sec(600)
#define REDIRECTS 3
#define NONCES 8
#define NONCE_SIZE 257
#define NONCE_AGE apr_time_from_sec(3600)
/* With half of all nonces refused, fewer fail one order in eight. */
#define NONCE_TRIES 16
#define TURN_SLICE apr_time_from_msec(50)
#define BURST 20
#define BURST_PERIOD apr_time_from_sec(10)
#define RATE_MAX 100000

typedef struct {
    char text[NONCE_SIZE];
    apr_time_t got;
} nonce_t;

struct acme_session_t {
    acme_session_conf_t conf;
    apr_pool_t *pool;               /* of its own, used under the mutex */
    const char *thumbprint;         /* of the present key */
    const char *file;               /* of the key in root's file */
    acme_key_t *next;               /* the CA was told of it and did not answer; or NULL */
    char wanted[ACME_SHA256_HEX];   /* digest of the configured contacts */
    apr_thread_mutex_t *record_mutex; /* one append at a time; taken before mutex */
    apr_thread_mutex_t *mutex;      /* guards all below */
    apr_thread_cond_t *cond;
    int busy;                       /* somebody makes it ready */
    unsigned turn;                  /* how often that ended */
    acme_error_t failure;           /* of the last turn, kind ACME_E_NONE after success */
    acme_directory_t *directory;    /* NULL: not known; never freed, as pointers are out */
    apr_time_t fetched;
    int from_record;                /* the directory is a former owner's */
    const char *kid, *orders;
    char contacts[ACME_SHA256_HEX]; /* digest of those the CA has */
    int contacts_sent;              /* tried once, whatever came of it */
    int missing;                    /* the CA does not know the present kid */
    int restoring;
    int asked;                      /* newAccount may have been sent, its answer is not known */
    apr_time_t restored, paused, skew_told;
    nonce_t nonce[NONCES];
    int n_nonces;
    apr_time_t *order;              /* ring of the newest orders */
    int n_orders, order_at, order_room;
    int n_noted;                    /* since one was noted on the board */
    apr_time_t rate_told;
};

typedef struct {
    const char *url, *kid, *payload;
    apr_size_t body_max;
    const acme_key_t *key; /* NULL: the account's */
} post_t;

static apr_time_t now_of(const acme_session_t *s)
{
    return s->conf.now ? s->conf.now(s->conf.now_baton) : apr_time_now();
}

static const char *ca_name(const acme_session_t *s)
{
    return s->conf.ca->name ? s->conf.ca->name : s->conf.ca->directory_url;
}

static void lock(acme_session_t *s)
{
    apr_thread_mutex_lock(s->mutex);
}

static void unlock(acme_session_t *s)
{
    apr_thread_mutex_unlock(s->mutex);
}

/* ---- the account record ---- */

/* Under the mutex. Times as seconds. */
static const char *record_payload(const acme_session_t *s, apr_pool_t *pool)
{
    acme_json_t *json = acme_json_new_object(pool);

    acme_json_set_string(json, "url", s->conf.ca->directory_url);
    acme_json_set_string(json, "key", s->thumbprint);
    if (s->directory) {
        acme_json_set_string(json, "directory", s->directory->text);
        acme_json_set_int(json, "fetched", apr_time_sec(s->fetched));
    }
    if (s->kid) {
        acme_json_set_string(json, "kid", s->kid);
        acme_json_set_string(json, "contacts", s->contacts);
    }
    if (s->kid && s->orders) {
        acme_json_set_string(json, "orders", s->orders);
    }
    acme_json_set_int(json, "asked", s->asked);
    acme_json_set_int(json, "restored", apr_time_sec(s->restored));
    acme_json_set_int(json, "paused", apr_time_sec(s->paused));
    return acme_json_dump(json, pool);
}

/* A record that cannot be written costs a request of the next owner, no more. */
static void record_save(acme_session_t *s, apr_pool_t *scratch)
{
    acme_store_t *store = s->conf.store;
    acme_rv_t rv = ACME_OK;
    const char *payload;
    acme_error_t err;

    if (!store) {
        return;
    }
    acme_error_clear(&err);
    apr_thread_mutex_lock(s->record_mutex);
    lock(s);
    payload = record_payload(s, scratch);
    unlock(s);
    if (payload) {
        rv = store->append(store, s->conf.account_id, ACME_REC_ACCOUNT, payload, strlen(payload),
                           now_of(s), scratch, &err);
    }
    apr_thread_mutex_unlock(s->record_mutex);
    if (rv != ACME_OK) {
        acme_log(s->conf.log, ACME_LOG_WARNING, "AC0371", NULL,
                 "%s: the account's state is not recorded: %s", ca_name(s), err.text);
    }
}

/* What a record says of time is believed only within reason. */
static apr_time_t record_time(const acme_json_t *json, const char *key, apr_time_t earliest,
                              apr_time_t latest)
{
    apr_int64_t seconds = 0;

    if (acme_json_get_int(&seconds, json, key, 0, NULL) != ACME_OK
        || seconds < apr_time_sec(earliest) || seconds > apr_time_sec(latest)) {
        return 0;
    }
    return apr_time_from_sec(seconds);
}

static const char *record_url(const acme_json_t *json, const char *key, apr_pool_t *pool)
{
    const char *text = NULL;
    acme_url_t *url = NULL;

    if (acme_json_get_string(&text, json, key, ACME_JSON_OPTIONAL, NULL) != ACME_OK || !text
        || acme_url_parse(&url, text, pool, NULL) != ACME_OK) {
        return NULL;
    }
    return apr_pstrdup(pool, text);
}

static void record_directory(acme_session_t *s, const acme_json_t *json, apr_time_t now)
{
    const char *text = NULL;

    s->fetched = record_time(json, "fetched", now - DIRECTORY_AGE, now);
    if (s->fetched
        && acme_json_get_string(&text, json, "directory", ACME_JSON_OPTIONAL, NULL) == ACME_OK
        && text
        && acme_directory_parse(&s->directory, text, strlen(text), s->pool, NULL) == ACME_OK) {
        s->from_record = 1;
        return;
    }
    s->directory = NULL;
    s->fetched = 0;
}

static void record_account(acme_session_t *s, const acme_json_t *json)
{
    const char *key = NULL, *contacts = NULL;
    apr_int64_t asked = 0;

    if (acme_json_get_string(&key, json, "key", ACME_JSON_OPTIONAL, NULL) != ACME_OK || !key
        || strcmp(key, s->thumbprint)) {
        return; /* an account belongs to its key */
    }
    s->kid = record_url(json, "kid", s->pool);
    s->asked = !s->kid && acme_json_get_int(&asked, json, "asked", 0, NULL) == ACME_OK && asked;
    s->orders = record_url(json, "orders", s->pool);
    if (acme_json_get_string(&contacts, json, "contacts", ACME_JSON_OPTIONAL, NULL) == ACME_OK
        && contacts) {
        apr_cpystrn(s->contacts, contacts, sizeof(s->contacts));
    }
}

static void record_apply(acme_session_t *s, const char *payload, apr_size_t len,
                         apr_pool_t *scratch)
{
    apr_time_t now = now_of(s);
    acme_json_t *json = NULL;
    const char *url = NULL;

    if (acme_json_parse(&json, payload, len, "account record", scratch, NULL) != ACME_OK
        || acme_json_get_string(&url, json, "url", ACME_JSON_OPTIONAL, NULL) != ACME_OK || !url
        || strcmp(url, s->conf.ca->directory_url)) {
        return; /* of another CA, or of none */
    }
    record_directory(s, json, now);
    record_account(s, json);
    s->restored = record_time(json, "restored", now - RESTORE_PAUSE, now);
    s->paused = record_time(json, "paused", now, now + PAUSE_MAX);
}

/* The text lives as long as the scratch pool and is cleansed with it. */
static acme_key_t *rollover_key(acme_session_t *s, const char *jwk)
{
    acme_key_t *key = NULL;

    return jwk && acme_key_from_jwk(&key, jwk, strlen(jwk), s->pool, NULL) == ACME_OK ? key : NULL;
}

/* A key that the CA has accepted since root read its file, or was told of. */
static void rollover_apply(acme_session_t *s, const acme_record_t *record, apr_pool_t *scratch)
{
    acme_rollover_t rollover;
    acme_key_t *key;

    if (acme_rollover_parse(&rollover, record->payload, record->len, scratch, NULL) != ACME_OK
        || strcmp(rollover.directory, s->conf.ca->directory_url)
        || strcmp(rollover.file, s->file)) {
        return; /* of another CA, or of a key that root has replaced */
    }
    key = rollover_key(s, rollover.key);
    if (key) {
        s->conf.key = key;
        s->thumbprint = acme_key_thumbprint(key, s->pool);
    }
    s->next = rollover_key(s, rollover.next);
}

static void record_load(acme_session_t *s, apr_pool_t *scratch)
{
    acme_store_t *store = s->conf.store;
    acme_record_set_t set;
    acme_error_t err;

    if (!store) {
        return;
    }
    memset(&set, 0, sizeof(set));
    acme_error_clear(&err);
    if (store->load(store, &set, s->conf.account_id, scratch, &err) != ACME_OK) {
        acme_log(s->conf.log, ACME_LOG_WARNING, "AC0372", NULL,
                 "%s: the account's recorded state cannot be read: %s", ca_name(s), err.text);
        return;
    }
    if (set.present[ACME_REC_ROLLOVER]) {
        rollover_apply(s, &set.rec[ACME_REC_ROLLOVER], scratch);
    }
    if (set.present[ACME_REC_ACCOUNT]) {
        const acme_record_t *record = &set.rec[ACME_REC_ACCOUNT];

        record_apply(s, record->payload, record->len, scratch);
    }
}

/* ---- creation ---- */

static apr_status_t session_destroy(void *data)
{
    acme_session_t *s = data;

    apr_pool_destroy(s->pool);
    return APR_SUCCESS;
}

static void contacts_digest(char out[ACME_SHA256_HEX], const apr_array_header_t *contacts,
                            apr_pool_t *scratch)
{
    const char *all = contacts ? apr_array_pstrcat(scratch, contacts, '\n') : "";

    acme_sha256_hex(out, all, strlen(all));
}

/* So many orders are one moment on the board. */
static int rate_step(const acme_session_t *s)
{
    int count = s->conf.ca->order_rate_count;

    count = count > RATE_MAX ? RATE_MAX : count;
    return (count + ACME_BOARD_ORDERS - 1) / ACME_BOARD_ORDERS;
}

static void rate_push(acme_session_t *s, apr_time_t when)
{
    s->order[s->order_at] = when;
    s->order_at = (s->order_at + 1) % s->order_room;
    s->n_orders += s->n_orders < s->order_room;
}

static int by_second(const void *a, const void *b)
{
    apr_uint32_t x = *(const apr_uint32_t *)a, y = *(const apr_uint32_t *)b;

    return x < y ? -1 : x > y;
}

/* What former owners placed, the oldest first. What cannot be is left out. */
static void rate_inherit(acme_session_t *s)
{
    apr_uint32_t seconds[ACME_BOARD_ORDERS];
    apr_time_t now = now_of(s);
    int i, k;

    for (i = 0; i < ACME_BOARD_ORDERS; i++) {
        seconds[i] = acme_board_order_at(s->conf.board, s->conf.row, i);
    }
    qsort(seconds, ACME_BOARD_ORDERS, sizeof(seconds[0]), by_second);
    for (i = 0; i < ACME_BOARD_ORDERS; i++) {
        apr_time_t when = apr_time_from_sec((apr_int64_t)seconds[i]);

        for (k = 0; seconds[i] > 0 && when <= now && k < rate_step(s); k++) {
            rate_push(s, when);
        }
    }
}

/* Under the mutex. The oldest moment makes room. */
static void rate_note(acme_session_t *s, apr_time_t now)
{
    apr_uint32_t oldest = APR_UINT32_MAX;
    int i, place = 0;

    if (s->conf.board == NULL || s->conf.row < 0 || ++s->n_noted < rate_step(s)) {
        return;
    }
    s->n_noted = 0;
    for (i = 0; i < ACME_BOARD_ORDERS; i++) {
        apr_uint32_t second = acme_board_order_at(s->conf.board, s->conf.row, i);

        if (second < oldest) {
            oldest = second;
            place = i;
        }
    }
    acme_board_order_note(s->conf.board, s->conf.row, place, (apr_uint32_t)apr_time_sec(now));
}

static void rate_init(acme_session_t *s)
{
    int count = s->conf.ca->order_rate_count;

    if (count <= 0) {
        return;
    }
    s->order_room = count < BURST ? BURST : count > RATE_MAX ? RATE_MAX : count;
    s->order = apr_pcalloc(s->pool, (apr_size_t)s->order_room * sizeof(s->order[0]));
    if (s->conf.board != NULL && s->conf.row >= 0) {
        rate_inherit(s);
    }
}

acme_rv_t acme_session_create(acme_session_t **out, const acme_session_conf_t *conf,
                              apr_pool_t *pool, acme_error_t *err)
{
    apr_pool_t *own = NULL, *scratch = NULL;
    acme_session_t *s;

    *out = NULL;
    if (apr_pool_create_unmanaged_ex(&own, NULL, NULL) != APR_SUCCESS) {
        return acme_error_set(err, ACME_E_INTERNAL, NULL, "out of memory");
    }
    s = apr_pcalloc(own, sizeof(*s));
    s->pool = own;
    s->conf = *conf;
    apr_pool_cleanup_register(pool, s, session_destroy, apr_pool_cleanup_null);
    s->thumbprint = acme_key_thumbprint(conf->key, own);
    if (!s->thumbprint
        || apr_thread_mutex_create(&s->mutex, APR_THREAD_MUTEX_DEFAULT, own) != APR_SUCCESS
        || apr_thread_mutex_create(&s->record_mutex, APR_THREAD_MUTEX_DEFAULT, own) != APR_SUCCESS
        || apr_thread_cond_create(&s->cond, own) != APR_SUCCESS
        || apr_pool_create(&scratch, own) != APR_SUCCESS) {
        return acme_error_set(err, ACME_E_INTERNAL, NULL, "%s: no session", ca_name(s));
    }
    s->file = s->thumbprint;
    contacts_digest(s->wanted, conf->ca->contacts, scratch);
    rate_init(s);
    record_load(s, scratch);
    apr_pool_destroy(scratch);
    *out = s;
    return ACME_OK;
}

/* ---- what stands in every response ---- */

/* A clock that is wrong explains many refusals. Told once a day. */
static void check_clock(acme_session_t *s, const acme_http_response_t *response)
{
    const char *date = acme_http_response_header(response, "date");
    apr_time_t now = now_of(s), theirs = 0;
    apr_interval_time_t off;
    int tell;

    if (!date || acme_time_parse_http(&theirs, date, strlen(date)) != ACME_OK) {
        return;
    }
    off = now > theirs ? now - theirs : theirs - now;
    if (off <= SKEW) {
        return;
    }
    lock(s);
    tell = s->skew_told == 0 || now < s->skew_told || now - s->skew_told > DAY;
    if (tell) {
        s->skew_told = now;
    }
    unlock(s);
    if (tell) {
        acme_log(s->conf.log, ACME_LOG_WARNING, "AC0375", NULL,
                 "%s: this machine's clock is %" APR_INT64_T_FMT " s %s the CA's (%s)", ca_name(s),
                 (apr_int64_t)apr_time_sec(off), now > theirs ? "ahead of" : "behind", date);
    }
}

static void nonce_keep(acme_session_t *s, const char *nonce)
{
    if (!nonce || strlen(nonce) >= NONCE_SIZE) {
        return;
    }
    lock(s);
    if (s->n_nonces == NONCES) {
        s->n_nonces--;
        memmove(&s->nonce[0], &s->nonce[1], (NONCES - 1) * sizeof(s->nonce[0]));
    }
    apr_cpystrn(s->nonce[s->n_nonces].text, nonce, NONCE_SIZE);
    s->nonce[s->n_nonces].got = now_of(s);
    s->n_nonces++;
    unlock(s);
}

/* The youngest, if any is young enough. A nonce that was taken never comes back: the CA may have
 * seen it even when the request failed. */
static int nonce_take(acme_session_t *s, char out[NONCE_SIZE])
{
    apr_time_t now = now_of(s);
    int found = 0;

    lock(s);
    while (s->n_nonces > 0 && !found) {
        const nonce_t *nonce = &s->nonce[--s->n_nonces];

        if (now >= nonce->got && now - nonce->got < NONCE_AGE) {
            apr_cpystrn(out, nonce->text, NONCE_SIZE);
            found = 1;
        }
    }
    unlock(s);
    return found;
}

/* GET or HEAD. */
static acme_rv_t fetch(acme_http_response_t **out, acme_session_t *s, acme_http_method_t method,
                       const acme_url_t *url, apr_pool_t *pool, acme_error_t *err)
{
    acme_http_request_t request;
    acme_rv_t rv;

    memset(&request, 0, sizeof(request));
    request.method = method;
    request.url = url;
    request.accept = method == ACME_HTTP_GET ? "application/json" : NULL;
    rv = acme_transport_exchange(out, s->conf.transport, &request, ACME_HTTP_JSON_MAX, NULL,
                                 s->conf.stop, pool, err);
    if (rv == ACME_OK) {
        check_clock(s, *out);
    }
    return rv;
}

/* ---- refusals ---- */

/* Records what is understood better here, with the numbers of the original cause. */
static acme_rv_t refine(acme_error_t *err, const acme_error_t *cause, acme_retry_t retry,
                        const char *code, const char *fmt, ...)
    __attribute__((format(printf, 5, 6)));

static acme_rv_t refine(acme_error_t *err, const acme_error_t *cause, acme_retry_t retry,
                        const char *code, const char *fmt, ...)
{
    char text[ACME_ERROR_TEXT];
    va_list ap;

    if (!err || err->kind != ACME_E_NONE) {
        return ACME_FAIL;
    }
    va_start(ap, fmt);
    apr_vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    acme_error_set(err, cause ? cause->kind : ACME_E_CONFIG, code, "%s", text);
    err->retry = retry;
    if (cause) {
        err->http_status = cause->http_status;
        err->not_before = cause->not_before;
        apr_cpystrn(err->problem, cause->problem, sizeof(err->problem));
    }
    return ACME_FAIL;
}

/* A limit may be that of one set of names only, with days to wait, and the reply need not tell: the
 * certificate waits as long as it was told, the others at most so long. */
static apr_time_t rest_for_all(const acme_error_t *cause, apr_time_t now)
{
    apr_time_t most = acme_time_add(now, REST_MAX);

    return cause->http_status < 500 && cause->not_before > most ? most : cause->not_before;
}

acme_rv_t acme_session_refused(acme_problem_t **out, acme_session_t *session,
                               const acme_http_response_t *response, apr_pool_t *pool,
                               acme_error_t *err)
{
    acme_problem_t *problem = NULL;
    acme_error_t cause;

    acme_error_clear(&cause);
    acme_problem_from_response(&problem, response, now_of(session), pool, &cause);
    if (out) {
        *out = problem;
    }
    if (problem && problem->ca_wide && cause.not_before > 0) {
        acme_session_pause(session, rest_for_all(&cause, now_of(session)));
    }
    if (!strcmp(cause.problem, "userActionRequired")
        || !strcmp(cause.problem, "agreementRequired")) {
        const char *terms = acme_http_response_link(response, "terms-of-service", 0, pool);
        const char *page = problem && problem->instance ? problem->instance : terms;

        return refine(err, &cause, ACME_RETRY_HUMAN, "AC0311",
                      "%s: the CA wants somebody to visit %s%s%s: %s", ca_name(session),
                      page ? page : "its web site", terms ? "; terms of service: " : "",
                      terms ? terms : "", cause.text);
    }
    if (!strcmp(cause.problem, "badSignatureAlgorithm")) {
        return refine(err, &cause, ACME_RETRY_SLOW, "AC0306",
                      "%s: the CA does not accept %s, the account key's algorithm: %s",
                      ca_name(session), acme_key_jws_alg(session->conf.key), cause.text);
    }
    if (err && err->kind == ACME_E_NONE) {
        *err = cause;
    }
    return ACME_FAIL;
}

/* ---- the directory ---- */

const acme_directory_t *acme_session_directory(acme_session_t *session)
{
    const acme_directory_t *directory;

    lock(session);
    directory = session->directory;
    unlock(session);
    return directory;
}

static int is_redirect(int status)
{
    return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

static acme_rv_t redirect_target(acme_url_t **url, const acme_http_response_t *response, int hops,
                                 apr_pool_t *pool, acme_error_t *err)
{
    const char *location = acme_http_response_header(response, "location");
    const char *why = "without a Location";
    acme_error_t cause;
    acme_url_t *next = NULL;

    acme_error_clear(&cause);
    if (hops >= REDIRECTS) {
        why = "after three others";
    }
    else if (location && acme_url_resolve(&next, *url, location, pool, &cause) == ACME_OK) {
        *url = next;
        return ACME_OK;
    }
    else if (location) {
        why = cause.text;
    }
    return acme_error_set(err, ACME_E_HTTP, "AC0225", "%s: redirected, %s", (*url)->text, why);
}

static acme_rv_t directory_get(acme_http_response_t **out, acme_session_t *s, apr_pool_t *pool,
                               acme_error_t *err)
{
    acme_url_t *url = NULL;
    int hops;

    if (acme_url_parse(&url, s->conf.ca->directory_url, pool, err) != ACME_OK) {
        return ACME_FAIL;
    }
    for (hops = 0;; hops++) {
        acme_rv_t rv = fetch(out, s, ACME_HTTP_GET, url, pool, err);

        if (rv != ACME_OK || !is_redirect(acme_http_response_status(*out))) {
            return rv;
        }
        if (redirect_target(&url, *out, hops, pool, err) != ACME_OK) {
            return ACME_FAIL;
        }
    }
}

static int same_text(const char *a, const char *b)
{
    return a == b || (a && b && !strcmp(a, b));
}

static int same_texts(const apr_array_header_t *a, const apr_array_header_t *b)
{
    int i;

    if (!a || !b || a->nelts != b->nelts) {
        return a == b;
    }
    for (i = 0; i < a->nelts; i++) {
        if (strcmp(APR_ARRAY_IDX(a, i, const char *), APR_ARRAY_IDX(b, i, const char *))) {
            return 0;
        }
    }
    return 1;
}

/* The document as such may well differ: some CAs put random members into it. */
static int same_directory(const acme_directory_t *a, const acme_directory_t *b)
{
    return a && same_text(a->new_nonce, b->new_nonce) && same_text(a->new_account, b->new_account)
           && same_text(a->new_order, b->new_order) && same_text(a->revoke_cert, b->revoke_cert)
           && same_text(a->key_change, b->key_change)
           && same_text(a->renewal_info, b->renewal_info)
           && same_text(a->terms_of_service, b->terms_of_service)
           && a->external_account_required == b->external_account_required
           && same_texts(a->profiles, b->profiles);
}

static acme_rv_t directory_adopt(acme_session_t *s, const char *body, apr_size_t len,
                                 apr_pool_t *scratch, acme_error_t *err)
{
    acme_directory_t *directory = NULL;
    acme_rv_t rv = acme_directory_parse(&directory, body, len, scratch, err);

    if (rv != ACME_OK) {
        return rv;
    }
    lock(s);
    if (!same_directory(s->directory, directory)) {
        rv = acme_directory_parse(&directory, body, len, s->pool, err);
        s->directory = rv == ACME_OK ? directory : s->directory;
    }
    if (rv == ACME_OK) {
        s->fetched = now_of(s);
        s->from_record = 0;
    }
    unlock(s);
    return rv;
}

static acme_rv_t directory_fetch(acme_session_t *s, apr_pool_t *scratch, acme_error_t *err)
{
    acme_http_response_t *response = NULL;
    acme_rv_t rv = directory_get(&response, s, scratch, err);
    const char *body, *type;
    apr_size_t len = 0;

    if (rv == ACME_OK && acme_http_response_status(response) != 200) {
        rv = acme_session_refused(NULL, s, response, scratch, err);
    }
    if (rv == ACME_OK) {
        nonce_keep(s, acme_http_response_nonce(response));
        type = acme_http_response_media_type(response, scratch);
        body = acme_http_response_body(response, &len);
        if (!strcmp(type, "text/html")) {
            rv = acme_error_set(err, ACME_E_HTTP, "AC0224",
                                "not an ACME server: it answers with a web page");
        }
        else {
            rv = directory_adopt(s, body, len, scratch, err);
        }
    }
    if (rv != ACME_OK) {
        return acme_error_prefix(err, "directory %s", s->conf.ca->directory_url);
    }
    record_save(s, scratch);
    acme_log(s->conf.log, ACME_LOG_DEBUG, "AC0373", NULL, "%s: directory fetched", ca_name(s));
    return ACME_OK;
}

/* A directory that is not fresh from the CA may be wrong: fetch it again, once. ACME_AGAIN: it is
 * fresh. */
static acme_rv_t directory_again(acme_session_t *s, apr_pool_t *scratch, acme_error_t *err)
{
    apr_time_t now = now_of(s);
    int fresh;

    lock(s);
    fresh = !s->from_record && now >= s->fetched && now - s->fetched < DIRECTORY_DOUBT;
    unlock(s);
    return fresh ? ACME_AGAIN : directory_fetch(s, scratch, err);
}

/* ---- nonces ---- */

static int not_there(int status)
{
    return status == 404 || status == 405 || status == 410 || status / 100 == 3;
}

static acme_rv_t nonce_refused(acme_session_t *s, const acme_http_response_t *response,
                               apr_pool_t *scratch, acme_error_t *err)
{
    if (acme_http_response_status(response) / 100 == 2) {
        acme_error_set(err, ACME_E_PROTOCOL, "AC0370", "the CA gives no valid Replay-Nonce");
    }
    else {
        acme_session_refused(NULL, s, response, scratch, err);
    }
    return acme_error_prefix(err, "new-nonce");
}

static acme_rv_t nonce_fetch(acme_session_t *s, char out[NONCE_SIZE], apr_pool_t *scratch,
                             acme_error_t *err)
{
    for (;;) {
        acme_http_response_t *response = NULL;
        acme_url_t *url = NULL;
        const char *nonce;
        acme_rv_t rv;
        int ok;

        if (acme_url_parse(&url, acme_session_directory(s)->new_nonce, scratch, err) != ACME_OK
            || fetch(&response, s, ACME_HTTP_HEAD, url, scratch, err) != ACME_OK) {
            return acme_error_prefix(err, "new-nonce");
        }
        ok = acme_http_response_status(response) / 100 == 2;
        nonce = ok ? acme_http_response_nonce(response) : NULL;
        if (nonce) {
            apr_cpystrn(out, nonce, NONCE_SIZE);
            return ACME_OK;
        }
        rv = ok || not_there(acme_http_response_status(response))
                 ? directory_again(s, scratch, err) : ACME_AGAIN;
        if (rv == ACME_AGAIN) {
            return nonce_refused(s, response, scratch, err);
        }
        if (rv != ACME_OK) {
            return rv;
        }
    }
}

/* ---- signed requests ---- */

static acme_rv_t post_once(acme_http_response_t **out, acme_session_t *s, const post_t *post,
                           const char *nonce, int *maybe_sent, apr_pool_t *pool,
                           acme_error_t *err)
{
    acme_http_request_t request;
    acme_url_t *url = NULL;
    acme_rv_t rv;

    memset(&request, 0, sizeof(request));
    *maybe_sent = 0;
    if (acme_url_parse(&url, post->url, pool, err) != ACME_OK
        || acme_jws_create(&request.body, post->key ? post->key : s->conf.key, post->kid, nonce,
                           post->url, post->payload, pool, err) != ACME_OK) {
        return ACME_FAIL;
    }
    request.method = ACME_HTTP_POST;
    request.url = url;
    request.body_len = strlen(request.body);
    request.content_type = "application/jose+json";
    rv = acme_transport_exchange(out, s->conf.transport, &request, post->body_max, maybe_sent,
                                 s->conf.stop, pool, err);
    if (rv == ACME_OK) {
        check_clock(s, *out);
    }
    return rv;
}

/* Was it refused for its nonce alone? Also notes when the CA does not know the account. */
static int is_bad_nonce(acme_session_t *s, const acme_http_response_t *response,
                        const post_t *post, apr_pool_t *pool)
{
    acme_problem_t *problem = NULL;
    acme_error_t ignored;

    if (acme_http_response_status(response) / 100 == 2) {
        return 0;
    }
    acme_error_clear(&ignored);
    acme_problem_from_response(&problem, response, now_of(s), pool, &ignored);
    if (problem && problem->account_missing && post->kid) {
        lock(s);
        s->missing = s->missing || (s->kid && !strcmp(s->kid, post->kid));
        unlock(s);
    }
    return problem && problem->bad_nonce;
}

static acme_rv_t post_signed(acme_http_response_t **out, acme_session_t *s, const post_t *post,
                             int *maybe_sent, apr_pool_t *pool, acme_error_t *err)
{
    char nonce[NONCE_SIZE];
    const char *next = NULL;
    int tries;

    for (tries = 0; tries <= NONCE_TRIES; tries++) {
        if (next) {
            apr_cpystrn(nonce, next, sizeof(nonce));
        }
        else if (!nonce_take(s, nonce) && nonce_fetch(s, nonce, pool, err) != ACME_OK) {
            return ACME_FAIL;
        }
        if (post_once(out, s, post, nonce, maybe_sent, pool, err) != ACME_OK) {
            return ACME_FAIL;
        }
        next = acme_http_response_nonce(*out);
        if (!is_bad_nonce(s, *out, post, pool)) {
            nonce_keep(s, next);
            return ACME_OK;
        }
    }
    *maybe_sent = 0; /* refused each time */
    nonce_keep(s, next);
    return acme_error_set(err, ACME_E_PROBLEM, "AC0305",
                          "%s: badNonce %d times in a row, each time with the CA's newest nonce",
                          post->url, tries);
}

/* Where the member of the former directory that url was is now; NULL: it was none, or has not
 * moved. */
static const char *moved_to(const acme_directory_t *former, const acme_directory_t *present,
                            const char *url)
{
    const char *place = NULL;

    if (!strcmp(url, former->new_order)) {
        place = present->new_order;
    }
    else if (!strcmp(url, former->new_account)) {
        place = present->new_account;
    }
    return place && strcmp(place, url) ? place : NULL;
}

/* The same, once more at the new place when the directory was out of date. */
static acme_rv_t post_directed(acme_http_response_t **out, acme_session_t *s, post_t *post,
                               int *maybe_sent, apr_pool_t *pool, acme_error_t *err)
{
    const acme_directory_t *former = acme_session_directory(s);
    acme_rv_t rv = post_signed(out, s, post, maybe_sent, pool, err);
    const char *place;

    if (rv != ACME_OK || !former || !not_there(acme_http_response_status(*out))
        || (strcmp(post->url, former->new_order) && strcmp(post->url, former->new_account))) {
        return rv;
    }
    if (acme_session_directory(s) == former && directory_again(s, pool, err) == ACME_FAIL) {
        return ACME_FAIL;
    }
    place = moved_to(former, acme_session_directory(s), post->url);
    if (!place) {
        return ACME_OK;
    }
    post->url = place;
    return post_signed(out, s, post, maybe_sent, pool, err);
}

const char *acme_session_kid(acme_session_t *session)
{
    const char *kid;

    lock(session);
    kid = session->kid;
    unlock(session);
    return kid;
}

acme_rv_t acme_session_post(acme_http_response_t **out, acme_session_t *session, const char *url,
                            const char *payload, apr_size_t body_max, int *maybe_sent,
                            apr_pool_t *pool, acme_error_t *err)
{
    int ignored = 0;
    int *sent = maybe_sent ? maybe_sent : &ignored;
    post_t post;

    *out = NULL;
    *sent = 0;
    post.url = url;
    post.kid = acme_session_kid(session);
    post.payload = payload;
    post.body_max = body_max;
    post.key = NULL;
    if (!post.kid || !acme_session_directory(session)) {
        return acme_error_set(err, ACME_E_PROTOCOL, "AC0378", "%s: the account is not known",
                              ca_name(session));
    }
    return post_directed(out, session, &post, sent, pool, err);
}

/* ---- the account ---- */

static acme_rv_t eab_wanted(acme_session_t *s, const acme_error_t *cause, acme_error_t *err)
{
    const char *page = s->conf.ca->eab_needed;

    return refine(err, cause, ACME_RETRY_HUMAN, "AC0309",
                  "%s: the CA registers accounts only with an external account: set "
                  "AcmeExternalAccount to what %s gives you%s%s", ca_name(s),
                  page ? page : "its operator", cause ? ": " : "", cause ? cause->text : "");
}

/* What would be refused anyway is not even asked. directory NULL: by what is known without it. */
static acme_rv_t account_possible(acme_session_t *s, const acme_directory_t *directory,
                                  acme_error_t *err)
{
    const acme_ca_t *ca = s->conf.ca;
    const char *terms = directory ? directory->terms_of_service
                        : ca->terms_needed ? "them" : NULL;

    if (terms && !ca->terms_agreed) {
        return refine(err, NULL, ACME_RETRY_HUMAN, "AC0376",
                      "%s: the CA has terms of service: read %s and set "
                      "\"AcmeTermsOfService accepted\"", ca_name(s), terms);
    }
    if (ca->eab_trouble) {
        return refine(err, NULL, ACME_RETRY_HUMAN, "AC0226",
                      "%s: no account is registered without the external account: %s", ca_name(s),
                      ca->eab_trouble);
    }
    if ((directory ? directory->external_account_required : ca->eab_needed != NULL)
        && !ca->eab_kid) {
        return eab_wanted(s, NULL, err);
    }
    return ACME_OK;
}

acme_rv_t acme_session_possible(acme_session_t *session, acme_error_t *err)
{
    return acme_session_kid(session) ? ACME_OK : account_possible(session, NULL, err);
}

static acme_rv_t account_ask(acme_http_response_t **out, acme_session_t *s, int only_existing,
                             apr_pool_t *pool, acme_error_t *err)
{
    const acme_ca_t *ca = s->conf.ca;
    acme_json_t *eab = NULL;
    int ignored = 0;
    post_t post;

    post.url = acme_session_directory(s)->new_account;
    post.kid = NULL;
    post.body_max = ACME_HTTP_JSON_MAX;
    post.key = NULL;
    if (ca->eab_kid && !only_existing
        && acme_jws_eab(&eab, s->conf.key, ca->eab_kid, ca->eab_key, ca->eab_key_len, ca->eab_alg,
                        post.url, pool, err) != ACME_OK) {
        return ACME_FAIL;
    }
    post.payload = acme_payload_new_account(ca->contacts, ca->terms_agreed, only_existing, eab,
                                            pool);
    if (!post.payload) {
        return acme_error_set(err, ACME_E_INTERNAL, NULL, "no payload");
    }
    return post_directed(out, s, &post, &ignored, pool, err);
}

static acme_rv_t account_refused(acme_session_t *s, const acme_http_response_t *response,
                                 apr_pool_t *pool, acme_error_t *err)
{
    acme_error_t cause;

    acme_error_clear(&cause);
    acme_session_refused(NULL, s, response, pool, &cause);
    if (!strcmp(cause.problem, "externalAccountRequired")) {
        return eab_wanted(s, &cause, err);
    }
    if (s->conf.ca->eab_kid
        && (!strcmp(cause.problem, "unauthorized") || !strcmp(cause.problem, "malformed"))) {
        return refine(err, &cause, ACME_RETRY_SLOW, "AC0374",
                      "%s: refused with AcmeExternalAccount %s (some CAs accept it only once): %s",
                      ca_name(s), s->conf.ca->eab_kid, cause.text);
    }
    if (err && err->kind == ACME_E_NONE) {
        *err = cause;
    }
    return ACME_FAIL;
}

static acme_rv_t account_location(const char **kid, acme_session_t *s,
                                  const acme_http_response_t *response, apr_pool_t *pool,
                                  acme_error_t *err)
{
    const char *location = acme_http_response_header(response, "location");
    acme_url_t *base = NULL, *url = NULL;
    acme_error_t cause;

    acme_error_clear(&cause);
    if (!location) {
        acme_error_set(&cause, ACME_E_PROTOCOL, NULL, "no Location header");
    }
    else if (acme_url_parse(&base, acme_session_directory(s)->new_account, pool, &cause) == ACME_OK
             && acme_url_resolve(&url, base, location, pool, &cause) == ACME_OK) {
        *kid = url->text;
        return ACME_OK;
    }
    return acme_error_set(err, ACME_E_PROTOCOL, "AC0310", "the answer names no account: %s",
                          cause.text);
}

/* Does the CA say what contacts it has, and are they others? */
static int contacts_differ(const acme_account_t *account, const apr_array_header_t *ours)
{
    static const apr_array_header_t none;

    if (!account->contact || account->contact->nelts == 0) {
        return 0;
    }
    return !same_texts(account->contact, ours ? ours : &none);
}

static acme_rv_t account_adopt(acme_session_t *s, const acme_http_response_t *response,
                               apr_pool_t *pool, acme_error_t *err)
{
    acme_account_t *account = NULL;
    const char *kid = NULL, *body;
    int created = acme_http_response_status(response) == 201;
    apr_size_t len = 0;

    body = acme_http_response_body(response, &len);
    if (acme_account_parse(&account, body, len, pool, err) != ACME_OK) {
        return ACME_FAIL;
    }
    if (account->status != ACME_ACCOUNT_VALID) {
        return refine(err, NULL, ACME_RETRY_HUMAN, "AC0308",
                      "%s: the account is %s at the CA; a new account needs a new key file: move "
                      "%s away and restart", ca_name(s),
                      account->status == ACME_ACCOUNT_REVOKED ? "revoked" : "deactivated",
                      s->conf.ca->auth_path ? s->conf.ca->auth_path : "AcmeAuthPath's file");
    }
    if (account_location(&kid, s, response, pool, err) != ACME_OK) {
        return ACME_FAIL;
    }
    lock(s);
    s->kid = apr_pstrdup(s->pool, kid);
    s->orders = account->orders ? apr_pstrdup(s->pool, account->orders) : NULL;
    s->missing = s->restoring = s->asked = 0;
    if (created || !contacts_differ(account, s->conf.ca->contacts)) {
        apr_cpystrn(s->contacts, s->wanted, sizeof(s->contacts));
    }
    else {
        s->contacts[0] = '\0';
    }
    unlock(s);
    acme_log(s->conf.log, ACME_LOG_INFO, "AC0377", NULL, "%s: account %s: %s", ca_name(s),
             created ? "registered" : "found", kid);
    return ACME_OK;
}

static int is_success(const acme_http_response_t *response)
{
    int status = acme_http_response_status(response);

    return status == 200 || status == 201;
}

/* Before an external account is used: whoever comes next looks whether it has been. */
static void note_asked(acme_session_t *s, apr_pool_t *scratch)
{
    int news;

    if (!s->conf.ca->eab_kid) {
        return;
    }
    lock(s);
    news = !s->asked;
    s->asked = 1;
    unlock(s);
    if (news) {
        record_save(s, scratch);
    }
}

static acme_rv_t account_register(acme_session_t *s, apr_pool_t *scratch, acme_error_t *err)
{
    acme_http_response_t *response = NULL;
    int restoring;
    acme_rv_t rv;

    rv = account_possible(s, acme_session_directory(s), err);
    lock(s);
    restoring = s->restoring || s->asked;
    unlock(s);
    /* A CA that mislaid the kid alone must not be asked for a second account, and an external
     * account may be good for one only, whose answer was lost. */
    if (rv == ACME_OK && restoring) {
        rv = account_ask(&response, s, 1, scratch, err);
    }
    if (rv == ACME_OK && (!response || !is_success(response))) {
        note_asked(s, scratch);
        rv = account_ask(&response, s, 0, scratch, err);
    }
    if (rv == ACME_OK && !is_success(response)) {
        rv = account_refused(s, response, scratch, err);
    }
    else if (rv == ACME_OK) {
        rv = account_adopt(s, response, scratch, err);
    }
    if (rv != ACME_OK) {
        return acme_error_prefix(err, "new-account");
    }
    record_save(s, scratch);
    return ACME_OK;
}

acme_rv_t acme_session_account_lost(acme_session_t *session, acme_error_t *err)
{
    apr_time_t now = now_of(session);
    apr_pool_t *scratch = NULL;
    int again, lost;

    lock(session);
    lost = session->kid && session->missing;
    again = lost && session->restored && now - session->restored < RESTORE_PAUSE;
    if (lost && !again) {
        session->kid = session->orders = NULL;
        session->missing = session->contacts_sent = 0;
        session->restoring = 1;
        session->restored = now;
        session->n_nonces = 0;
    }
    unlock(session);
    if (!lost) {
        return ACME_OK; /* another worker has seen to it */
    }
    if (again) {
        return refine(err, NULL, ACME_RETRY_SLOW, "AC0307",
                      "%s: the CA does not know the account, which was restored within the last "
                      "24 h already", ca_name(session));
    }
    acme_log(session->conf.log, ACME_LOG_WARNING, "AC0379", NULL,
             "%s: the CA does not know the account any more; registering it again with the same "
             "key", ca_name(session));
    if (apr_pool_create_unmanaged_ex(&scratch, NULL, NULL) == APR_SUCCESS) {
        record_save(session, scratch);
        apr_pool_destroy(scratch);
    }
    return ACME_OK;
}

static const char *contacts_payload(const acme_session_t *s, apr_pool_t *pool)
{
    const apr_array_header_t *contacts = s->conf.ca->contacts;
    acme_json_t *json = acme_json_new_object(pool);
    acme_json_t *list = acme_json_new_array(pool);
    int i;

    for (i = 0; contacts && i < contacts->nelts; i++) {
        acme_json_add_string(list, APR_ARRAY_IDX(contacts, i, const char *));
    }
    acme_json_set(json, "contact", list);
    return acme_json_dump(json, pool);
}

/* An account update (RFC 8555 section 7.3.2). Contacts the CA does not like are no reason to leave
 * a server without certificate: one line, and not sent again. Fails only when asked to stop or
 * when the account has gone. */
static acme_rv_t contacts_send(acme_session_t *s, apr_pool_t *scratch, acme_error_t *err)
{
    acme_http_response_t *response = NULL;
    acme_error_t cause;
    acme_rv_t rv;
    int status = 0;

    acme_error_clear(&cause);
    rv = acme_session_post(&response, s, acme_session_kid(s), contacts_payload(s, scratch),
                           ACME_HTTP_JSON_MAX, NULL, scratch, &cause);
    if (cause.kind == ACME_E_STOPPED) {
        return acme_error_set(err, ACME_E_STOPPED, NULL, "stopped");
    }
    if (rv == ACME_OK) {
        status = acme_http_response_status(response);
    }
    if (rv == ACME_OK && status / 100 != 2) {
        rv = acme_session_refused(NULL, s, response, scratch, &cause);
    }
    lock(s);
    s->contacts_sent = 1;
    if (rv == ACME_OK || (status / 100 == 4 && status != 429 && !s->missing)) {
        apr_cpystrn(s->contacts, s->wanted, sizeof(s->contacts));
    }
    unlock(s);
    if (rv != ACME_OK) {
        acme_log(s->conf.log, ACME_LOG_WARNING, "AC0380", NULL,
                 "%s: the changed contacts of the account were not taken: %s", ca_name(s),
                 cause.text);
    }
    record_save(s, scratch);
    return ACME_OK;
}

/* ---- a new account key ---- */

static acme_rv_t rollover_save(acme_session_t *s, const acme_key_t *key, const acme_key_t *next,
                               apr_pool_t *scratch, acme_error_t *err)
{
    acme_store_t *store = s->conf.store;
    acme_rollover_t rollover;
    const char *payload;
    acme_rv_t rv;

    if (!store) {
        return acme_error_set(err, ACME_E_INTERNAL, NULL, "%s: nothing to record a key in",
                              ca_name(s));
    }
    memset(&rollover, 0, sizeof(rollover));
    rollover.directory = s->conf.ca->directory_url;
    rollover.file = s->file;
    if (strcmp(acme_key_thumbprint(key, scratch), s->file)) {
        rollover.key = acme_key_to_jwk(key, scratch);
    }
    rollover.next = next ? acme_key_to_jwk(next, scratch) : NULL;
    payload = acme_rollover_payload(&rollover, scratch);
    if (!payload) {
        return acme_error_set(err, ACME_E_INTERNAL, NULL, "%s: no rollover record", ca_name(s));
    }
    apr_thread_mutex_lock(s->record_mutex);
    rv = store->append(store, s->conf.account_id, ACME_REC_ROLLOVER, payload, strlen(payload),
                       now_of(s), scratch, err);
    apr_thread_mutex_unlock(s->record_mutex);
    acme_cleanse((char *)payload, strlen(payload));
    return rv;
}

/* The CA has said which key the account has: the former or the next one. */
static void rollover_settle(acme_session_t *s, int accepted, apr_pool_t *scratch)
{
    acme_error_t err;

    lock(s);
    if (accepted) {
        s->conf.key = s->next;
        s->thumbprint = acme_key_thumbprint(s->next, s->pool);
    }
    s->next = NULL;
    unlock(s);
    acme_error_clear(&err);
    if (rollover_save(s, s->conf.key, NULL, scratch, &err) != ACME_OK) {
        acme_log(s->conf.log, ACME_LOG_ERR, "AC0924", NULL,
                 "%s: which key the account has could not be recorded: %s; it stands in the "
                 "former record, and the CA will be asked", ca_name(s), err.text);
    }
    record_save(s, scratch);
    if (accepted) {
        acme_log(s->conf.log, ACME_LOG_NOTICE, "AC0925", NULL,
                 "%s: the account has a new key; %s holds it after the next restart", ca_name(s),
                 s->conf.ca->auth_path ? s->conf.ca->auth_path : "its file");
    }
}

/* Whose key is it? A look-up of the account by the next key tells. */
static acme_rv_t rollover_ask(acme_session_t *s, apr_pool_t *scratch, acme_error_t *err)
{
    acme_http_response_t *response = NULL;
    acme_problem_t *problem = NULL;
    acme_error_t cause;
    int ignored = 0;
    post_t post;

    memset(&post, 0, sizeof(post));
    post.url = acme_session_directory(s)->new_account;
    post.body_max = ACME_HTTP_JSON_MAX;
    post.key = s->next;
    post.payload = acme_payload_new_account(NULL, 0, 1, NULL, scratch);
    if (post_directed(&response, s, &post, &ignored, scratch, err) != ACME_OK) {
        return acme_error_prefix(err, "key-change");
    }
    if (is_success(response)) {
        rollover_settle(s, 1, scratch);
        return ACME_OK;
    }
    acme_error_clear(&cause);
    acme_session_refused(&problem, s, response, scratch, &cause);
    if (problem && problem->account_missing) {
        rollover_settle(s, 0, scratch);
        return ACME_OK;
    }
    if (err && err->kind == ACME_E_NONE) {
        *err = cause;
    }
    return acme_error_prefix(err, "key-change");
}

acme_rv_t acme_session_rollover(acme_session_t *session, const acme_key_t *key,
                                apr_pool_t *scratch, acme_error_t *err)
{
    acme_session_t *s = session;
    const char *url = acme_session_directory(s)->key_change, *inner = NULL;
    acme_http_response_t *response = NULL;
    const char *jwk;
    int sent = 0;

    if (!url) {
        return acme_error_set(err, ACME_E_CONFIG, "AC0926",
                              "%s: the CA offers no change of an account's key", ca_name(s));
    }
    if (acme_jws_key_change(&inner, s->conf.key, key, acme_session_kid(s), url, scratch, err)
            != ACME_OK
        || rollover_save(s, s->conf.key, key, scratch, err) != ACME_OK) {
        return ACME_FAIL;
    }
    jwk = acme_key_to_jwk(key, scratch);
    lock(s); /* the session's pool is everybody's */
    s->next = rollover_key(s, jwk);
    unlock(s);
    if (acme_session_post(&response, s, url, inner, ACME_HTTP_JSON_MAX, &sent, scratch, err)
        != ACME_OK) {
        if (!sent) {
            rollover_settle(s, 0, scratch);
        }
        return acme_error_prefix(err, "key-change");
    }
    if (acme_http_response_status(response) / 100 != 2) {
        if (acme_http_response_status(response) / 100 == 4) {
            rollover_settle(s, 0, scratch);
        }
        acme_session_refused(NULL, s, response, scratch, err);
        return acme_error_prefix(err, "key-change");
    }
    rollover_settle(s, 1, scratch);
    return ACME_OK;
}

/* ---- asked for by the administrator ---- */

acme_rv_t acme_session_revoke(acme_session_t *session, const unsigned char *der, apr_size_t len,
                              int reason, apr_pool_t *scratch, acme_error_t *err)
{
    const char *url = acme_session_directory(session)->revoke_cert;
    acme_json_t *json = acme_json_new_object(scratch);
    acme_http_response_t *response = NULL;
    acme_error_t cause;

    if (!url) {
        return acme_error_set(err, ACME_E_CONFIG, "AC0927", "%s: the CA offers no revocation",
                              ca_name(session));
    }
    acme_json_set_string(json, "certificate", acme_base64url_encode(der, len, scratch));
    if (reason) {
        acme_json_set_int(json, "reason", reason);
    }
    if (acme_session_post(&response, session, url, acme_json_dump(json, scratch),
                          ACME_HTTP_JSON_MAX, NULL, scratch, err) != ACME_OK) {
        return acme_error_prefix(err, "revoke-cert");
    }
    if (acme_http_response_status(response) / 100 == 2) {
        return ACME_OK;
    }
    acme_error_clear(&cause);
    acme_session_refused(NULL, session, response, scratch, &cause);
    if (!strcmp(cause.problem, "alreadyRevoked")) {
        return ACME_OK;
    }
    if (err && err->kind == ACME_E_NONE) {
        *err = cause;
    }
    return acme_error_prefix(err, "revoke-cert");
}

acme_rv_t acme_session_deactivate(acme_session_t *session, apr_pool_t *scratch, acme_error_t *err)
{
    acme_http_response_t *response = NULL;

    if (acme_session_post(&response, session, acme_session_kid(session),
                          "{\"status\":\"deactivated\"}", ACME_HTTP_JSON_MAX, NULL, scratch, err)
        != ACME_OK) {
        return acme_error_prefix(err, "deactivate");
    }
    if (acme_http_response_status(response) / 100 != 2) {
        acme_session_refused(NULL, session, response, scratch, err);
        return acme_error_prefix(err, "deactivate");
    }
    return ACME_OK;
}

/* ---- ready ---- */

typedef struct {
    int directory, key, account, contacts;
} have_t;

/* Under the mutex. */
static have_t have(const acme_session_t *s)
{
    apr_time_t now = now_of(s);
    have_t h;

    h.directory = s->directory && now >= s->fetched && now - s->fetched < DIRECTORY_AGE;
    h.key = !s->next;
    h.account = s->kid && !s->missing;
    h.contacts = s->contacts_sent || !strcmp(s->contacts, s->wanted);
    return h;
}

static have_t have_now(acme_session_t *s)
{
    have_t h;

    lock(s);
    h = have(s);
    unlock(s);
    return h;
}

static acme_rv_t make_ready(acme_session_t *s, apr_pool_t *scratch, acme_error_t *err)
{
    acme_rv_t rv = ACME_OK;
    int round;

    if (!have_now(s).directory) {
        rv = directory_fetch(s, scratch, err);
    }
    if (rv == ACME_OK && !have_now(s).key) {
        rv = rollover_ask(s, scratch, err);
    }
    /* The update may find that the account has gone: hence a second round. */
    for (round = 0; round < 2 && rv == ACME_OK; round++) {
        have_t h = have_now(s);

        if (!h.account) {
            rv = acme_session_account_lost(s, err);
            if (rv == ACME_OK) {
                rv = account_register(s, scratch, err);
            }
        }
        if (rv == ACME_OK && !have_now(s).contacts) {
            rv = contacts_send(s, scratch, err);
        }
    }
    return rv;
}

/* ACME_OK: nothing is left to do; ACME_AGAIN: the caller has to do it; ACME_FAIL: who did it in the
 * meantime failed, and so would the caller; or stopped. */
static acme_rv_t take_turn(acme_session_t *s, acme_error_t *err)
{
    acme_rv_t rv = ACME_AGAIN;
    unsigned turn;
    have_t h;

    lock(s);
    turn = s->turn;
    while (s->busy && rv == ACME_AGAIN) {
        apr_thread_cond_timedwait(s->cond, s->mutex, TURN_SLICE);
        if (acme_stopped(s->conf.stop)) {
            rv = acme_error_set(err, ACME_E_STOPPED, NULL, "stopped");
        }
    }
    h = have(s);
    if (rv == ACME_AGAIN && h.directory && h.key && h.account && h.contacts) {
        rv = ACME_OK;
    }
    else if (rv == ACME_AGAIN && turn != s->turn && s->failure.kind != ACME_E_NONE) {
        if (err && err->kind == ACME_E_NONE) {
            *err = s->failure;
        }
        rv = ACME_FAIL;
    }
    else if (rv == ACME_AGAIN) {
        s->busy = 1;
    }
    unlock(s);
    return rv;
}

acme_rv_t acme_session_ready(acme_session_t *session, apr_pool_t *scratch, acme_error_t *err)
{
    acme_rv_t rv = take_turn(session, err);
    acme_error_t cause;

    if (rv != ACME_AGAIN) {
        return rv;
    }
    acme_error_clear(&cause);
    rv = make_ready(session, scratch, &cause);
    lock(session);
    session->busy = 0;
    session->turn++;
    session->failure = cause;
    apr_thread_cond_broadcast(session->cond);
    unlock(session);
    if (rv != ACME_OK && err && err->kind == ACME_E_NONE) {
        *err = cause;
    }
    return rv;
}

/* ---- renewal information ---- */

/* ACME_AGAIN: it is the caller's turn to fetch it. */
static acme_rv_t directory_turn(acme_session_t *s, acme_error_t *err)
{
    acme_rv_t rv = ACME_OK;

    lock(s);
    while (s->busy && rv == ACME_OK) {
        apr_thread_cond_timedwait(s->cond, s->mutex, TURN_SLICE);
        if (acme_stopped(s->conf.stop)) {
            rv = acme_error_set(err, ACME_E_STOPPED, NULL, "stopped");
        }
    }
    if (rv == ACME_OK && !have(s).directory) {
        s->busy = 1;
        rv = ACME_AGAIN;
    }
    unlock(s);
    return rv;
}

static acme_rv_t directory_ready(acme_session_t *s, apr_pool_t *scratch, acme_error_t *err)
{
    acme_rv_t rv = directory_turn(s, err);
    acme_error_t cause;

    if (rv != ACME_AGAIN) {
        return rv;
    }
    acme_error_clear(&cause);
    rv = directory_fetch(s, scratch, &cause);
    lock(s);
    s->busy = 0;
    s->turn++;
    s->failure = cause;
    apr_thread_cond_broadcast(s->cond);
    unlock(s);
    if (rv != ACME_OK && err && err->kind == ACME_E_NONE) {
        *err = cause;
    }
    return rv;
}

acme_rv_t acme_session_renewal_info(acme_http_response_t **out, acme_session_t *session,
                                    const char *id, apr_pool_t *pool, acme_error_t *err)
{
    acme_rv_t rv = directory_ready(session, pool, err);
    const char *base;
    acme_url_t *url;
    apr_size_t len;

    *out = NULL;
    if (rv != ACME_OK) {
        return rv;
    }
    base = acme_session_directory(session)->renewal_info;
    if (!base) {
        return ACME_AGAIN;
    }
    len = strlen(base);
    if (acme_url_parse(&url, apr_pstrcat(pool, base, len > 0 && base[len - 1] == '/' ? "" : "/",
                                         id, NULL), pool, err) != ACME_OK
        || fetch(out, session, ACME_HTTP_GET, url, pool, err) != ACME_OK) {
        return ACME_FAIL;
    }
    return ACME_OK;
}

const char *acme_session_thumbprint(acme_session_t *session)
{
    return session->thumbprint;
}

const char *acme_session_orders_url(acme_session_t *session)
{
    const char *orders;

    lock(session);
    orders = session->orders;
    unlock(session);
    return orders;
}

/* ---- budgets ---- */

/* The k-th newest order, or 0 when there were fewer. */
static apr_time_t order_before(const acme_session_t *s, int k)
{
    if (k > s->n_orders) {
        return 0;
    }
    return s->order[(s->order_at - k + s->order_room) % s->order_room];
}

static apr_time_t window_end(const acme_session_t *s, int count, apr_interval_time_t period)
{
    apr_time_t first = order_before(s, count);

    return first ? acme_time_add(first, period) : 0;
}

/* Once a period is enough to know of. */
static void rate_tell(acme_session_t *s, apr_time_t until, apr_time_t now)
{
    char when[ACME_TIME_TEXT];
    int news;

    lock(s);
    news = s->rate_told == 0 || now < s->rate_told
           || now - s->rate_told >= s->conf.ca->order_rate_period;
    s->rate_told = news ? now : s->rate_told;
    unlock(s);
    if (news) {
        acme_log(s->conf.log, ACME_LOG_NOTICE, "AC0364", NULL,
                 "%s: AcmeOrderRate (%d orders) is used up: the next new order is placed at %s",
                 ca_name(s), s->conf.ca->order_rate_count, acme_time_format(when, until));
    }
}

acme_rv_t acme_session_order_allowed(acme_session_t *session, apr_time_t *when)
{
    acme_session_t *s = session;
    int count = s->conf.ca->order_rate_count, used_up;
    apr_time_t now = now_of(s), rate, burst;
    acme_rv_t rv = ACME_OK;

    if (when) {
        *when = 0;
    }
    if (count <= 0) {
        return ACME_OK;
    }
    lock(s);
    if (order_before(s, 1) > now) {
        s->n_orders = 0; /* the clock was set back */
    }
    rate = window_end(s, count < RATE_MAX ? count : RATE_MAX, s->conf.ca->order_rate_period);
    burst = window_end(s, BURST, BURST_PERIOD);
    used_up = rate > now;
    if (burst > rate) {
        rate = burst;
    }
    if (rate > now) {
        rv = ACME_AGAIN;
        if (when) {
            *when = rate;
        }
    }
    else {
        rate_push(s, now);
        rate_note(s, now);
    }
    unlock(s);
    if (used_up) {
        rate_tell(s, rate, now);
    }
    return rv;
}

void acme_session_pause(acme_session_t *session, apr_time_t until)
{
    apr_time_t now = now_of(session);
    apr_pool_t *scratch = NULL;
    int longer;

    if (until > now + PAUSE_MAX) {
        until = now + PAUSE_MAX;
    }
    lock(session);
    longer = until > now && until > session->paused;
    if (longer) {
        session->paused = until;
    }
    unlock(session);
    if (longer && apr_pool_create_unmanaged_ex(&scratch, NULL, NULL) == APR_SUCCESS) {
        record_save(session, scratch);
        apr_pool_destroy(scratch);
    }
}

apr_time_t acme_session_paused(acme_session_t *session)
{
    apr_time_t now = now_of(session), paused;

    lock(session);
    paused = session->paused > now && session->paused <= now + PAUSE_MAX ? session->paused : 0;
    unlock(session);
    return paused;
}
