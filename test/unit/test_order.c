/* Licensed under the Apache License, Version 2.0; see LICENSE. */

/* The order by script: a CA made of a few counters answers in bytes, time is a number. */

#include <string.h>

#include <apr_general.h>
#include <apr_strings.h>
#include <check.h>

#include "protocol/order.h"

#define COUNT(table) ((int)(sizeof(table) / sizeof((table)[0])))
#define S APR_USEC_PER_SEC
#define NOW (APR_INT64_C(1795529967) * S)
#define DIRECTORY "https://ca.example/directory"
#define KEY "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
#define NAMES_MAX 4

Suite *order_suite(void);

static apr_pool_t *pool;
static acme_spec_t spec;

typedef struct {
    const char *status;   /* of the order; NULL: not placed */
    const char *first;    /* what newOrder answers: "pending" unless set */
    const char *word;     /* shown instead of status, once */
    const char *header;   /* on every order object */
    const char *location; /* instead of the right one */
    const char *stranger; /* name of an extra authorization */
    const char *media;    /* of the certificate */
    int polls, slow;      /* replies that still say pending or processing */
    int all_valid;        /* authorizations are reused */
    int fails, sulks;     /* the challenge fails; and the order is not told */
    int gone;             /* status of order-sync, once */
    int refuse;           /* status of newOrder */
    const char *objects;  /* problem type that newOrder is refused with, once, and its status */
    int objection;
    int links;            /* alternate chains */
    int not_ready;        /* finalize answers orderNotReady, once */
    int missing;          /* certificate is not there yet, times */
    int no_list;          /* the list of orders does not exist */
    int asked[NAMES_MAX]; /* challenges */
    int news, finals, requests, challenges, alternates;
} ca_t;

typedef struct {
    acme_order_t *order;
    ca_t *ca;
    apr_time_t now;
    const char *record;   /* last one written */
    acme_error_t err;
    int lose_step;        /* reply of this step is lost, once; -1: none */
    int unsent;           /* and the request too */
    int waits;
    apr_interval_time_t first_wait, longest;
} world_t;

static void setup(void)
{
    static acme_ca_t authority;

    apr_initialize();
    apr_pool_create(&pool, NULL);
    memset(&spec, 0, sizeof(spec));
    spec.names = apr_array_make(pool, 4, sizeof(const char *));
    APR_ARRAY_PUSH(spec.names, const char *) = "example.org";
    spec.digest = "spec";
    spec.cas = apr_array_make(pool, 1, sizeof(acme_ca_t *));
    authority.directory_url = DIRECTORY;
    APR_ARRAY_PUSH(spec.cas, acme_ca_t *) = &authority;
}

static void teardown(void)
{
    apr_pool_destroy(pool);
}

static void more_names(void)
{
    APR_ARRAY_PUSH(spec.names, const char *) = "www.example.org";
    APR_ARRAY_PUSH(spec.names, const char *) = "mail.example.org";
}

/* ---- the CA ---- */

static const char *name_at(int i)
{
    return APR_ARRAY_IDX(spec.names, i, const char *);
}

static const char *http(int status, const char *type, const char *headers, const char *body)
{
    return apr_psprintf(pool, "HTTP/1.1 %d X\r\nContent-Type: %s\r\nContent-Length: %d\r\n%s\r\n%s",
                        status, type, (int)strlen(body), headers ? headers : "", body);
}

static const char *json(int status, const char *headers, const char *body)
{
    return http(status, "application/json", headers, body);
}

static const char *problem(int status, const char *type)
{
    return http(status, "application/problem+json", NULL,
                apr_psprintf(pool, "{\"type\":\"urn:ietf:params:acme:error:%s\",\"detail\":\"no\"}",
                             type));
}

static const char *order_object(ca_t *ca, int status, const char *headers)
{
    const char *ids = "";
    const char *authz = "";
    const char *word = ca->word ? ca->word : ca->status;
    int i;

    ca->word = NULL;
    for (i = 0; i < spec.names->nelts; i++) {
        ids = apr_psprintf(pool, "%s%s{\"type\":\"dns\",\"value\":\"%s\"}", ids, i ? "," : "",
                           name_at(i));
        authz = apr_psprintf(pool, "%s%s\"https://ca.example/authz/%d\"", authz, i ? "," : "", i);
    }
    if (ca->stranger) {
        authz = apr_pstrcat(pool, authz, ",\"https://ca.example/authz/9\"", NULL);
    }
    return json(status,
                apr_pstrcat(pool, headers ? headers : "", ca->header ? ca->header : "", NULL),
                apr_psprintf(
                    pool,
                    "{\"status\":\"%s\",\"expires\":\"2026-12-01T00:00:00Z\","
                    "\"identifiers\":[%s],\"authorizations\":[%s],"
                    "\"finalize\":\"https://ca.example/finalize/1\"%s}",
                    word, ids, authz,
                    strcmp(word, "valid") ? "" : ",\"certificate\":\"https://ca.example/cert/1\""));
}

static const char *new_order(ca_t *ca)
{
    if (ca->refuse) {
        return problem(ca->refuse, ca->refuse < 500 ? "rejectedIdentifier" : "serverInternal");
    }
    if (ca->objects) {
        const char *type = ca->objects;

        ca->objects = NULL;
        return problem(ca->objection, type);
    }
    ca->news++;
    ca->status = ca->first ? ca->first : "pending";
    memset(ca->asked, 0, sizeof(ca->asked));
    return order_object(ca, 201, ca->location ? ca->location : "Location: /order/1\r\n");
}

static int all_asked(const ca_t *ca)
{
    int i;

    for (i = 0; i < spec.names->nelts; i++) {
        if (!ca->asked[i] && !ca->all_valid) {
            return 0;
        }
    }
    return 1;
}

static const char *poll_order(ca_t *ca)
{
    int status = ca->gone;

    if (status) {
        ca->gone = 0;
        return problem(status, "malformed");
    }
    if (!strcmp(ca->status, "pending") && all_asked(ca) && !ca->sulks && ca->polls-- <= 0) {
        ca->status = ca->fails ? "invalid" : "ready";
    }
    else if (!strcmp(ca->status, "processing") && ca->slow-- <= 0) {
        ca->status = "valid";
    }
    return order_object(ca, 200, NULL);
}

static const char *challenge_text(const ca_t *ca, int i)
{
    int failed = ca->fails && ca->asked[i];

    return apr_psprintf(pool, "{\"type\":\"http-01\",\"url\":\"https://ca.example/chall/%d\","
                        "\"status\":\"%s\",\"token\":\"token-of-name-number-%d\"%s}", i,
                        failed ? "invalid" : ca->asked[i] ? "processing" : "pending", i,
                        failed ? ",\"error\":{\"type\":\"urn:ietf:params:acme:error:connection\","
                                 "\"detail\":\"refused\"}" : "");
}

static const char *authz(const ca_t *ca, int i)
{
    const char *name = i == 9 ? ca->stranger : name_at(i);
    int failed = ca->fails && i != 9 && ca->asked[i] && !ca->sulks;

    return json(200, NULL, apr_psprintf(pool, "{\"status\":\"%s\",\"identifier\":{\"type\":\"dns\","
                "\"value\":\"%s\"},\"challenges\":[{\"type\":\"x-99\",\"status\":\"pending\","
                "\"url\":\"https://ca.example/x\"},%s]}", ca->all_valid ? "valid" : failed
                ? "invalid" : "pending", name, challenge_text(ca, i == 9 ? 0 : i)));
}

static const char *finalize(ca_t *ca)
{
    if (ca->not_ready) {
        ca->not_ready = 0;
        return problem(403, "orderNotReady");
    }
    ca->finals++;
    ck_assert_str_eq(ca->status, "ready");
    ca->status = "processing";
    return order_object(ca, 200, NULL);
}

static const char *certificate(ca_t *ca)
{
    const char *links = NULL;
    int i;

    for (i = 0; i < ca->links; i++) {
        links = apr_psprintf(pool, "%sLink: </alternate/%d>;rel=\"alternate\"\r\n",
                             links ? links : "", i);
    }
    return ca->missing-- > 0
               ? problem(404, "malformed")
               : http(200, ca->media ? ca->media : "application/pem-certificate-chain", links,
                      "-----BEGIN CERTIFICATE-----\n");
}

static const char *list(const ca_t *ca, const char *page)
{
    if (ca->no_list) {
        return problem(404, "malformed");
    }
    if (!strcmp(page, "")) {
        return json(200, "Link: <https://ca.example/orders/2>;rel=\"next\"\r\n",
                    "{\"orders\":[\"https://ca.example/old/1\",\"https://ca.example/old/2\"]}");
    }
    return json(200, NULL, ca->status ? "{\"orders\":[\"https://ca.example/order/1\","
                                        "\"https://ca.example/old/3\"]}" : "{\"orders\":[]}");
}

static const char *answer(ca_t *ca, const acme_plan_t *plan)
{
    const char *at = plan->url + strlen("https://ca.example/");

    ca->requests++;
    ck_assert_msg(!strncmp(plan->url, "https://ca.example/", 19), "%s", plan->url);
    if (!strcmp(at, "new-order")) {
        return new_order(ca);
    }
    if (!strncmp(at, "orders/", 7)) {
        return list(ca, strcmp(at, "orders/2") ? "" : "2");
    }
    if (!strcmp(at, "order/1")) {
        return poll_order(ca);
    }
    if (!strncmp(at, "authz/", 6)) {
        return authz(ca, at[6] - '0');
    }
    if (!strncmp(at, "chall/", 6)) {
        ck_assert(!ca->asked[at[6] - '0']);
        ca->asked[at[6] - '0'] = 1;
        ca->challenges++;
        return json(200, NULL, challenge_text(ca, at[6] - '0'));
    }
    if (!strcmp(at, "finalize/1")) {
        return finalize(ca);
    }
    ca->alternates += !strncmp(at, "alternate/", 10);
    return !strcmp(at, "cert/1") ? certificate(ca) : problem(404, "malformed");
}

/* ---- the client ---- */

static const acme_challenge_type_t types[] = {ACME_CH_HTTP01, ACME_CH_TLSALPN01};

static void world_begin(world_t *w, ca_t *ca)
{
    memset(w, 0, sizeof(*w));
    memset(ca, 0, sizeof(*ca));
    w->ca = ca;
    w->now = NOW;
    w->lose_step = -1;
    w->order = acme_order_create(&spec, DIRECTORY, types, COUNT(types), NOW, pool);
}

/* A new owner: what is not recorded is lost. */
static void reborn(world_t *w)
{
    acme_error_clear(&w->err);
    if (!w->record
        || acme_order_restore(&w->order, &spec, w->record, strlen(w->record), types, COUNT(types),
                              w->now, pool, &w->err) != ACME_OK) {
        ck_assert_msg(!w->record, "%s", w->err.text);
        w->order = acme_order_create(&spec, DIRECTORY, types, COUNT(types), w->now, pool);
    }
}

static acme_http_response_t *respond(const char *bytes)
{
    acme_http_response_t *response = acme_http_response_create(0, ACME_HTTP_CHAIN_MAX, pool);
    apr_size_t used;

    ck_assert_int_eq(acme_http_response_feed(response, bytes, strlen(bytes), &used, NULL), ACME_OK);
    return response;
}

static void act(world_t *w, const acme_plan_t *plan, acme_event_t *event)
{
    static acme_error_t lost;
    acme_url_t *url;
    const char *bytes;
    int lose = w->lose_step == (int)plan->step;

    event->key_digest = plan->act == ACME_ACT_KEY ? KEY : NULL;
    if (plan->act != ACME_ACT_POST && plan->act != ACME_ACT_FINALIZE) {
        return;
    }
    ck_assert_int_eq(acme_url_parse(&url, plan->url, pool, NULL), ACME_OK);
    event->url = url;
    if (lose) {
        w->lose_step = -1;
    }
    bytes = lose && w->unsent ? NULL : answer(w->ca, plan);
    if (lose) {
        acme_error_clear(&lost);
        (void)acme_error_set(&lost, ACME_E_NETWORK, NULL, "connection reset");
        event->failed = &lost;
        event->maybe_sent = !w->unsent;
        return;
    }
    event->response = respond(bytes);
}

/* One step. die: 1 after the act, before anything could be made of it. */
static acme_rv_t step(world_t *w, int die)
{
    acme_event_t event;
    acme_plan_t plan;
    int journal = 0;
    acme_rv_t rv;

    w->order->new_order_url = "https://ca.example/new-order";
    if (!w->order->orders_url) {
        w->order->orders_url = "https://ca.example/orders/1";
    }
    acme_order_plan(&plan, w->order, w->now, pool);
    if (plan.act == ACME_ACT_WAIT) {
        ck_assert_int_gt(plan.until, w->now);
        w->first_wait = w->waits++ ? w->first_wait : plan.until - w->now;
        w->longest = plan.until - w->now > w->longest ? plan.until - w->now : w->longest;
        w->now = plan.until;
        return ACME_OK;
    }
    if (plan.journal) {
        w->record = acme_order_payload(w->order, pool);
    }
    memset(&event, 0, sizeof(event));
    event.step = plan.step;
    event.now = w->now;
    act(w, &plan, &event);
    if (die) {
        return ACME_OK;
    }
    acme_error_clear(&w->err);
    rv = acme_order_take(w->order, &event, &journal, &w->err);
    if (journal) {
        w->record = acme_order_payload(w->order, pool);
    }
    if (rv == ACME_FAIL) {
        ck_assert_int_ne(w->err.kind, ACME_E_NONE);
        if (acme_order_is_dead(w->order)) {
            w->record = NULL;
        }
    }
    return rv;
}

static acme_rv_t run(world_t *w)
{
    acme_rv_t rv = ACME_OK;
    int steps = 0;

    while (rv != ACME_FAIL && w->order->step != ACME_STEP_DONE) {
        rv = step(w, 0);
        ck_assert_int_lt(++steps, 500);
    }
    return rv;
}

static void assert_done(world_t *w)
{
    acme_rv_t rv = run(w);

    ck_assert_msg(rv == ACME_OK, "%s %s", w->err.code, w->err.text);
    ck_assert_int_eq(w->order->step, ACME_STEP_DONE);
}

/* ---- ways to a certificate ---- */

START_TEST(one_name_takes_seven_requests)
{
    world_t w;
    ca_t ca;

    world_begin(&w, &ca);
    assert_done(&w);
    ck_assert_int_eq(ca.requests, 7);
    ck_assert_int_eq(ca.news, 1);
    ck_assert_int_eq(ca.finals, 1);
    ck_assert_int_eq(w.first_wait, 20 * 1000);
    ck_assert_str_eq(w.order->challenge_used, "http-01");
    ck_assert_str_eq(w.order->order_url, "https://ca.example/order/1");
}
END_TEST

START_TEST(three_names_share_the_polls)
{
    world_t w;
    ca_t ca;

    more_names();
    world_begin(&w, &ca);
    ca.polls = 3;
    ca.slow = 2;
    assert_done(&w);
    ck_assert_int_eq(ca.challenges, 3);
    ck_assert_int_eq(ca.requests, 1 + 3 + 3 + 4 + 1 + 3 + 1);
}
END_TEST

START_TEST(valid_authorizations_need_no_challenge)
{
    world_t w;
    ca_t ca;

    more_names();
    world_begin(&w, &ca);
    ca.all_valid = 1;
    assert_done(&w);
    ck_assert_int_eq(ca.challenges, 0);
    ck_assert_str_eq(w.order->challenge_used, "");
}
END_TEST

static const struct {
    const char *first;
    int requests, finals;
} reused[] = {
    {"ready", 4, 1}, {"processing", 3, 0}, {"valid", 2, 0},
};

START_TEST(an_order_may_be_anywhere_at_once)
{
    world_t w;
    ca_t ca;

    world_begin(&w, &ca);
    ca.first = reused[_i].first;
    assert_done(&w);
    ck_assert_int_eq(ca.requests, reused[_i].requests);
    ck_assert_int_eq(ca.finals, reused[_i].finals);
}
END_TEST

static const struct {
    const char *header;
    apr_interval_time_t want;
} waits[] = {
    {"Retry-After: 5\r\n", 5 * S},
    {"Retry-After: Tue, 24 Nov 2026 14:20:27 GMT\r\n", 60 * S},
    {"Retry-After: 0\r\n", 1 * S},
    {"Retry-After: 99999\r\n", 3600 * S},
    {"Retry-After: Tue, 24 Nov 2020 14:20:27 GMT\r\n", 1 * S},
    {"Retry-After: soon\r\n", 50 * 1000},
    {"Retry-After: -5\r\n", 50 * 1000},
};

START_TEST(retry_after_wins)
{
    world_t w;
    ca_t ca;

    world_begin(&w, &ca);
    ca.polls = 1;
    while (w.order->step != ACME_STEP_VALIDATE) {
        ck_assert_int_ne(step(&w, 0), ACME_FAIL);
    }
    w.now = NOW;
    w.order->not_before = 0;
    ca.header = waits[_i].header;
    ck_assert_int_eq(step(&w, 0), ACME_AGAIN);
    ck_assert_int_eq(w.order->not_before - NOW, waits[_i].want);
}
END_TEST

static const char *const media[] = {
    "application/pem-certificate-chain", "application/x-pem-file", "text/plain; charset=us-ascii",
    "application/pkix-cert", "text/html"
};

START_TEST(a_chain_comes_as_text)
{
    world_t w;
    ca_t ca;

    world_begin(&w, &ca);
    ca.media = media[_i];
    ck_assert_int_eq(run(&w), _i < 3 ? ACME_OK : ACME_FAIL);
    ck_assert_int_eq(w.err.kind, _i < 3 ? ACME_E_NONE : ACME_E_HTTP);
    ck_assert(!acme_order_is_dead(w.order));
}
END_TEST

START_TEST(a_chain_may_be_late_once)
{
    world_t w;
    ca_t ca;

    world_begin(&w, &ca);
    ca.missing = 1;
    assert_done(&w);
    world_begin(&w, &ca);
    ca.missing = 2;
    ck_assert_int_eq(run(&w), ACME_FAIL);
    ck_assert(!acme_order_is_dead(w.order));
}
END_TEST

/* ---- what fails ---- */

START_TEST(an_invalid_order_tells_its_cause)
{
    world_t w;
    ca_t ca;

    more_names();
    world_begin(&w, &ca);
    ca.fails = 1;
    ca.sulks = _i;
    ck_assert_int_eq(run(&w), ACME_FAIL);
    ck_assert_int_eq(w.err.kind, ACME_E_CHALLENGE);
    ck_assert_str_eq(w.err.problem, "connection");
    ck_assert_msg(!strncmp(w.err.text, "example.org: http-01: connection: refused", 41), "%s",
                  w.err.text);
    ck_assert(acme_order_is_dead(w.order));
    ck_assert_int_eq(w.order->polls, _i ? 6 : 0);
}
END_TEST

START_TEST(an_unknown_status_is_an_error)
{
    world_t w;
    ca_t ca;

    world_begin(&w, &ca);
    ca.word = "thinking";
    ck_assert_int_eq(run(&w), ACME_FAIL);
    ck_assert_ptr_nonnull(strstr(w.err.text, "thinking"));
}
END_TEST

START_TEST(a_strange_name_is_never_proved)
{
    world_t w;
    ca_t ca;

    world_begin(&w, &ca);
    ca.stranger = "victim.example";
    ck_assert_int_eq(run(&w), ACME_FAIL);
    ck_assert_int_eq(w.err.kind, ACME_E_SECURITY);
    ck_assert_str_eq(w.err.code, "AC0314");
    ck_assert_int_eq(ca.challenges, 0);
}
END_TEST

START_TEST(other_identifiers_end_the_order)
{
    world_t w;
    ca_t ca;

    world_begin(&w, &ca);
    ck_assert_int_eq(step(&w, 0), ACME_OK);
    APR_ARRAY_IDX(spec.names, 0, const char *) = "example.net";
    w.order->spec = apr_pmemdup(pool, &spec, sizeof(spec));
    ((acme_spec_t *)w.order->spec)->names = apr_array_make(pool, 1, sizeof(const char *));
    APR_ARRAY_PUSH(w.order->spec->names, const char *) = "example.org";
    w.order->names = w.order->spec->names;
    ck_assert_int_eq(run(&w), ACME_FAIL);
    ck_assert(acme_order_is_dead(w.order));
    ck_assert_int_eq(ca.challenges, 0);
}
END_TEST

static const char *const locations[] = {
    "X-Nothing: here\r\n", "Location: http://ca.example/order/1\r\n", "Location: https://\r\n"
};

START_TEST(an_order_needs_a_place)
{
    world_t w;
    ca_t ca;

    world_begin(&w, &ca);
    ca.location = locations[_i];
    ck_assert_int_eq(run(&w), ACME_FAIL);
    ck_assert_ptr_null(w.order->order_url);
    ca.location = NULL;
    reborn(&w);
    ck_assert_int_eq(w.order->step, ACME_STEP_FIND);
    assert_done(&w);
    ck_assert_int_eq(ca.news, 1);
}
END_TEST

/* The seventh poll comes 7.72 s after the challenge, together with a look at the authorization. */
START_TEST(a_look_at_authorizations_puts_off_no_poll)
{
    world_t w;
    ca_t ca;

    world_begin(&w, &ca);
    ca.polls = 6;
    while (w.order->step != ACME_STEP_FINALIZE) {
        ck_assert_int_ne(step(&w, 0), ACME_FAIL);
    }
    ck_assert_int_eq(w.now - NOW, 7720 * S / 1000);
    ck_assert_int_eq(ca.requests, 1 + 1 + 1 + 7 + 1);
}
END_TEST

START_TEST(a_stuck_order_is_left_for_later)
{
    world_t w;
    ca_t ca;

    world_begin(&w, &ca);
    ca.polls = 1000;
    ck_assert_int_eq(run(&w), ACME_FAIL);
    ck_assert_int_le(ca.requests, 60);
    ck_assert_int_le(w.now - NOW, 620 * S);
    ck_assert_int_le(w.longest, 18 * S);
    ck_assert_int_eq(w.err.retry, ACME_RETRY_LADDER);
    ck_assert(!acme_order_is_dead(w.order));
    ca.polls = 0;
    reborn(&w);
    ck_assert_int_eq(w.order->step, ACME_STEP_SYNC);
    assert_done(&w);
    ck_assert_int_eq(ca.news, 1);
    ck_assert_int_eq(ca.challenges, 1);
}
END_TEST

START_TEST(a_refused_order_is_not_looked_for)
{
    world_t w;
    ca_t ca;

    world_begin(&w, &ca);
    ca.refuse = _i ? 500 : 403;
    ck_assert_int_eq(run(&w), ACME_FAIL);
    ck_assert_int_eq(w.err.kind, ACME_E_PROBLEM);
    ck_assert_int_eq(acme_order_is_dead(w.order), !_i);
    ca.refuse = 0;
    reborn(&w);
    ck_assert_int_eq(w.order->step, _i ? ACME_STEP_FIND : ACME_STEP_KEY);
    assert_done(&w);
    ck_assert_int_eq(ca.news, 1);
}
END_TEST

static const struct {
    const char *type;
    int status, required;
    int done, profile_refused, replaces_refused;
} objections[] = {
    {"alreadyReplaced", 409, 0, 1, 0, 1}, {"alreadyReplaced", 409, 1, 1, 0, 1},
    {"invalidProfile", 400, 0, 1, 1, 0},  {"invalidProfile", 400, 1, 0, 0, 0},
    {"malformed", 400, 0, 0, 0, 0},       {"rejectedIdentifier", 403, 0, 0, 0, 0},
    {"rateLimited", 429, 0, 0, 0, 0},     {"alreadyReplaced", 429, 0, 0, 0, 0},
    {"no order for the given certificate", 500, 0, 1, 0, 1},
};

START_TEST(what_is_refused_is_left_out_once)
{
    world_t w;
    ca_t ca;

    world_begin(&w, &ca);
    spec.profile_required = objections[_i].required;
    w.order->profile = "brief";
    w.order->replaces = "a.b";
    ca.objects = objections[_i].type;
    ca.objection = objections[_i].status;
    ck_assert_int_eq(run(&w), objections[_i].done ? ACME_OK : ACME_FAIL);
    ck_assert_int_eq(ca.news, objections[_i].done);
    ck_assert_int_eq(w.order->profile_refused, objections[_i].profile_refused);
    ck_assert_int_eq(w.order->replaces_refused, objections[_i].replaces_refused);
    ck_assert_int_eq(w.order->profile == NULL, objections[_i].profile_refused);
    ck_assert_int_eq(w.order->replaces == NULL, objections[_i].replaces_refused);
    ck_assert_int_eq(w.order->refusal != NULL, objections[_i].done);
}
END_TEST

/* Chains offered and looked at; none of them fits. */
static const struct {
    int links, wanted, looked;
} alternates[] = {
    {0, 1, 0}, {1, 1, 1}, {3, 1, 3}, {90, 1, ACME_ALTERNATES_MAX}, {3, 0, 0},
};

START_TEST(other_chains_are_looked_at_when_one_is_wanted)
{
    world_t w;
    ca_t ca;

    world_begin(&w, &ca);
    spec.preferred_chain = alternates[_i].wanted ? "Example Root" : NULL;
    ca.links = alternates[_i].links;
    w.lose_step = alternates[_i].links == 3 ? ACME_STEP_ALTERNATE : -1;
    assert_done(&w);
    ck_assert_int_eq(ca.alternates, alternates[_i].looked);
    ck_assert_int_eq(w.order->preferred, 0);
    ck_assert_int_eq(ca.news, 1);
}
END_TEST

START_TEST(an_order_that_is_not_ready_is_looked_at)
{
    world_t w;
    ca_t ca;

    world_begin(&w, &ca);
    ca.not_ready = 1;
    assert_done(&w);
    ck_assert_int_eq(ca.finals, 1);
    ck_assert_int_eq(ca.requests, 9);
}
END_TEST

/* ---- lost replies, lost owners ---- */

START_TEST(a_lost_reply_costs_no_second_order)
{
    world_t w;
    ca_t ca;
    int i = _i / 2;

    world_begin(&w, &ca);
    w.lose_step = i;
    w.unsent = _i % 2;
    if (run(&w) == ACME_FAIL) {
        ck_assert_int_eq(w.err.kind, ACME_E_NETWORK);
        ck_assert(!acme_order_is_dead(w.order));
        if (i == ACME_STEP_NEW_ORDER || i == ACME_STEP_FINALIZE) {
            ck_assert_int_eq(w.order->step, w.unsent ? i : i == ACME_STEP_NEW_ORDER
                             ? ACME_STEP_FIND : ACME_STEP_SYNC);
        }
        reborn(&w);
        assert_done(&w);
    }
    ck_assert_int_eq(ca.news, 1);
    ck_assert_int_eq(ca.finals, 1);
    ck_assert_int_eq(ca.challenges, 1);
}
END_TEST

START_TEST(without_a_list_a_lost_order_is_placed_again)
{
    world_t w;
    ca_t ca;

    world_begin(&w, &ca);
    ca.no_list = 1;
    w.lose_step = ACME_STEP_NEW_ORDER;
    ck_assert_int_eq(run(&w), ACME_FAIL);
    reborn(&w);
    assert_done(&w);
    ck_assert_int_eq(ca.news, 2);
}
END_TEST

START_TEST(no_list_of_orders_no_search)
{
    acme_plan_t plan;
    world_t w;
    ca_t ca;

    world_begin(&w, &ca);
    w.lose_step = ACME_STEP_NEW_ORDER;
    ck_assert_int_eq(run(&w), ACME_FAIL);
    reborn(&w);
    w.order->new_order_url = "https://ca.example/new-order";
    acme_order_plan(&plan, w.order, w.now, pool);
    ck_assert_int_eq(plan.step, ACME_STEP_NEW_ORDER);
    ck_assert(plan.journal);
    ck_assert_str_eq(plan.url, "https://ca.example/new-order");
    ck_assert_ptr_nonnull(strstr(acme_order_payload(w.order, pool), "\"intent\":true"));
}
END_TEST

/* The owner dies after the n-th step, before (even) or after (odd) its act was made something
 * of. */
START_TEST(an_owner_may_die_after_every_step)
{
    acme_rv_t rv = ACME_OK;
    world_t w;
    ca_t ca;
    int i;

    more_names();
    world_begin(&w, &ca);
    ca.polls = ca.slow = 1;
    for (i = 0; i < _i / 2 && w.order->step != ACME_STEP_DONE; i++) {
        rv = step(&w, 0);
        ck_assert_int_ne(rv, ACME_FAIL);
    }
    if (w.order->step != ACME_STEP_DONE) {
        (void)step(&w, _i % 2 == 0);
        reborn(&w);
    }
    assert_done(&w);
    ck_assert_int_eq(ca.news, 1);
    ck_assert_int_eq(ca.finals, 1);
    ck_assert_int_eq(ca.challenges, 3);
}
END_TEST

START_TEST(owners_may_die_at_every_step_in_a_row)
{
    world_t w;
    ca_t ca;
    int lives = 0;

    world_begin(&w, &ca);
    while (w.order->step != ACME_STEP_DONE && lives++ < 100) {
        ck_assert_int_ne(step(&w, 0), ACME_FAIL);
        if (lives % 5 == 0 && w.order->step != ACME_STEP_DONE) {
            reborn(&w);
        }
    }
    ck_assert_int_eq(w.order->step, ACME_STEP_DONE);
    ck_assert_int_eq(ca.news, 1);
    ck_assert_int_eq(ca.finals, 1);
}
END_TEST

static const int gone[] = {404, 405, 410, 401, 403};

START_TEST(an_order_the_ca_forgot_is_replaced_once)
{
    world_t w;
    ca_t ca;

    world_begin(&w, &ca);
    while (w.order->step != ACME_STEP_VALIDATE) {
        ck_assert_int_ne(step(&w, 0), ACME_FAIL);
    }
    reborn(&w);
    ca.gone = gone[_i];
    assert_done(&w);
    ck_assert_int_eq(ca.news, 2);
    ck_assert_int_eq(ca.finals, 1);
}
END_TEST

START_TEST(a_valid_order_of_a_lost_key_is_replaced)
{
    world_t w;
    ca_t ca;

    world_begin(&w, &ca);
    while (w.order->step != ACME_STEP_DOWNLOAD) {
        ck_assert_int_ne(step(&w, 0), ACME_FAIL);
    }
    w.order->key_digest = "";
    w.record = acme_order_payload(w.order, pool);
    reborn(&w);
    assert_done(&w);
    ck_assert_int_eq(ca.news, 2);
    ck_assert_int_eq(ca.finals, 2);
}
END_TEST

/* ---- the record ---- */

START_TEST(a_record_names_its_challenges)
{
    world_t w;
    ca_t ca;

    world_begin(&w, &ca);
    while (w.order->step != ACME_STEP_CHALLENGE) {
        ck_assert_int_ne(step(&w, 0), ACME_FAIL);
    }
    reborn(&w);
    ck_assert_int_eq(w.order->authz->nelts, 1);
    ck_assert_str_eq(APR_ARRAY_IDX(w.order->authz, 0, acme_order_authz_t).token,
                     "token-of-name-number-0");
    ck_assert_int_eq(APR_ARRAY_IDX(w.order->authz, 0, acme_order_authz_t).presented, 0);
    ck_assert_str_eq(w.order->key_digest, KEY);
}
END_TEST

#define AUTHZ(name, token) "\"authz\":[{\"url\":\"https://ca.example/authz/0\",\"name\":\"" name \
                           "\",\"type\":\"http-01\",\"token\":\"" token "\"}]"
#define RECORD(dir, digest, url, key, expires, authz) \
    "{\"directory\":\"" dir "\",\"spec\":\"" digest "\",\"order\":\"" url "\",\"key\":\"" key \
    "\",\"expires\":" expires "," authz "}"
#define LATER "1795540000000000"
#define URL "https://ca.example/order/1"
#define GOOD AUTHZ("example.org", "token-of-name-number-0")

static const struct {
    const char *record;
    acme_rv_t want;
} records[] = {
    {RECORD(DIRECTORY, "spec", URL, KEY, LATER, GOOD), ACME_OK},
    {RECORD(DIRECTORY, "spec", URL, "", LATER, GOOD), ACME_OK},
    {RECORD(DIRECTORY, "other", URL, KEY, LATER, GOOD), ACME_FAIL},
    {RECORD("https://else.example/", "spec", URL, KEY, LATER, GOOD), ACME_FAIL},
    {RECORD(DIRECTORY, "spec", "http://ca.example/order/1", KEY, LATER, GOOD), ACME_FAIL},
    {RECORD(DIRECTORY, "spec", URL, "short", LATER, GOOD), ACME_FAIL},
    {RECORD(DIRECTORY, "spec", URL, KEY, "1795530027000000", GOOD), ACME_FAIL},
    {RECORD(DIRECTORY, "spec", URL, KEY, "1795530027000001", GOOD), ACME_OK},
    {RECORD(DIRECTORY, "spec", URL, KEY, "-1", GOOD), ACME_FAIL},
    {RECORD(DIRECTORY, "spec", URL, KEY, "\"x\"", GOOD), ACME_FAIL},
    {RECORD(DIRECTORY, "spec", URL, KEY, LATER, AUTHZ("victim.example", "token-of-name-number-0")),
     ACME_FAIL},
    {RECORD(DIRECTORY, "spec", URL, KEY, LATER, AUTHZ("example.org", "../../etc/passwd/xyz")),
     ACME_FAIL},
    {"{}", ACME_FAIL},
    {"", ACME_FAIL},
    {"null", ACME_FAIL},
};

START_TEST(records_are_not_trusted)
{
    acme_order_t *order;
    acme_error_t err;

    acme_error_clear(&err);
    ck_assert_int_eq(acme_order_restore(&order, &spec, records[_i].record,
                                        strlen(records[_i].record), types, COUNT(types), NOW, pool,
                                        &err), records[_i].want);
    ck_assert_int_eq(err.kind != ACME_E_NONE, records[_i].want == ACME_FAIL);
}
END_TEST

START_TEST(steps_have_names_and_an_order)
{
    acme_event_t event;
    world_t w;
    ca_t ca;
    int i, k;

    for (i = 0; i < ACME_STEPS; i++) {
        for (k = 0; k < i; k++) {
            ck_assert_str_ne(acme_step_name((acme_step_t)i), acme_step_name((acme_step_t)k));
        }
    }
    world_begin(&w, &ca);
    memset(&event, 0, sizeof(event));
    event.step = ACME_STEP_FINALIZE;
    ck_assert_int_eq(acme_order_take(w.order, &event, NULL, &w.err), ACME_FAIL);
    ck_assert_int_eq(w.err.kind, ACME_E_INTERNAL);
}
END_TEST

Suite *order_suite(void)
{
    Suite *suite = suite_create("order");
    TCase *tc = tcase_create("order");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, one_name_takes_seven_requests);
    tcase_add_test(tc, three_names_share_the_polls);
    tcase_add_test(tc, valid_authorizations_need_no_challenge);
    tcase_add_loop_test(tc, an_order_may_be_anywhere_at_once, 0, COUNT(reused));
    tcase_add_loop_test(tc, retry_after_wins, 0, COUNT(waits));
    tcase_add_loop_test(tc, a_chain_comes_as_text, 0, COUNT(media));
    tcase_add_test(tc, a_chain_may_be_late_once);
    tcase_add_loop_test(tc, an_invalid_order_tells_its_cause, 0, 2);
    tcase_add_test(tc, an_unknown_status_is_an_error);
    tcase_add_test(tc, a_strange_name_is_never_proved);
    tcase_add_test(tc, other_identifiers_end_the_order);
    tcase_add_loop_test(tc, an_order_needs_a_place, 0, COUNT(locations));
    tcase_add_test(tc, a_look_at_authorizations_puts_off_no_poll);
    tcase_add_test(tc, a_stuck_order_is_left_for_later);
    tcase_add_loop_test(tc, a_refused_order_is_not_looked_for, 0, 2);
    tcase_add_loop_test(tc, what_is_refused_is_left_out_once, 0, COUNT(objections));
    tcase_add_loop_test(tc, other_chains_are_looked_at_when_one_is_wanted, 0, COUNT(alternates));
    tcase_add_test(tc, an_order_that_is_not_ready_is_looked_at);
    tcase_add_loop_test(tc, a_lost_reply_costs_no_second_order, 0, 2 * ACME_STEPS);
    tcase_add_test(tc, without_a_list_a_lost_order_is_placed_again);
    tcase_add_test(tc, no_list_of_orders_no_search);
    tcase_add_loop_test(tc, an_owner_may_die_after_every_step, 0, 2 * 30);
    tcase_add_test(tc, owners_may_die_at_every_step_in_a_row);
    tcase_add_loop_test(tc, an_order_the_ca_forgot_is_replaced_once, 0, COUNT(gone));
    tcase_add_test(tc, a_valid_order_of_a_lost_key_is_replaced);
    tcase_add_test(tc, a_record_names_its_challenges);
    tcase_add_loop_test(tc, records_are_not_trusted, 0, COUNT(records));
    tcase_add_test(tc, steps_have_names_and_an_order);
    suite_add_tcase(suite, tc);
    return suite;
}
