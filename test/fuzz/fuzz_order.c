/* Licensed under the Apache License, Version 2.0; see LICENSE. */

/* One order, whose events are chosen by the input: each request takes three bytes - which answer,
 * which byte of it is spoilt, how - or, from 240 on, a lost reply, a record that is written and read
 * again, a long wait. Whatever comes, the order ends, fails or moves on: never more than 60 requests,
 * never a wait that is over already. */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <apr_general.h>
#include <apr_strings.h>

#include "protocol/order.h"

#define NOW apr_time_from_sec(APR_INT64_C(1795529967))
#define KEY "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
#define TURNS_MAX 1000
#define REQUESTS_MAX 60

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef struct {
    const uint8_t *data;
    size_t size, at;
    acme_order_t *order;
    apr_time_t now;
    int requests, restored;
    apr_pool_t *pool;
} run_t;

#define IDS "\"identifiers\":[{\"type\":\"dns\",\"value\":\"example.org\"}],"
#define ORDER(status, more) \
    "{\"status\":\"" status "\",\"expires\":\"2026-12-01T00:00:00Z\"," IDS \
    "\"authorizations\":[\"https://ca.example/authz/0\"]," \
    "\"finalize\":\"https://ca.example/finalize/1\"" more "}"
#define AUTHZ(status, name, challenge, more) \
    "{\"status\":\"" status "\",\"identifier\":{\"type\":\"dns\",\"value\":\"" name "\"}," \
    "\"challenges\":[" CHALLENGE(challenge, more) "]}"
#define CHALLENGE(status, more) \
    "{\"type\":\"http-01\",\"url\":\"https://ca.example/chall/0\",\"status\":\"" status "\"," \
    "\"token\":\"token-of-name-number-0\"" more "}"
#define ERROR ",\"error\":{\"type\":\"urn:ietf:params:acme:error:dns\",\"detail\":\"none\"}"
#define PLACE "Location: https://ca.example/order/1\r\n"
#define JSON "application/json"
#define PROBLEM "application/problem+json"

static const struct {
    int status;
    const char *type, *headers, *body;
} answers[] = {
    {201, JSON, PLACE, ORDER("pending", "")},
    {200, JSON, "", AUTHZ("pending", "example.org", "pending", "")},
    {200, JSON, "", CHALLENGE("processing", "")},
    {200, JSON, PLACE, ORDER("ready", "")},
    {200, JSON, PLACE, ORDER("processing", "")},
    {200, JSON, PLACE, ORDER("valid", ",\"certificate\":\"https://ca.example/cert/1\"")},
    {200, "application/pem-certificate-chain", "", "-----BEGIN CERTIFICATE-----\n"},
    {200, JSON, "Retry-After: 3\r\n", ORDER("pending", "")},
    {200, JSON, PLACE, ORDER("invalid", ERROR)},
    {200, JSON, "", AUTHZ("invalid", "example.org", "invalid", ERROR)},
    {200, JSON, "", AUTHZ("valid", "example.org", "valid", "")},
    {200, JSON, "", AUTHZ("pending", "example.com", "pending", "")},
    {200, JSON, "Link: <https://ca.example/orders/2>;rel=\"next\"\r\n",
     "{\"orders\":[\"https://ca.example/order/1\",\"https://ca.example/order/2\"]}"},
    {200, JSON, "", "{\"orders\":[]}"},
    {403, PROBLEM, "", "{\"type\":\"urn:ietf:params:acme:error:orderNotReady\"}"},
    {404, PROBLEM, "", "{\"type\":\"urn:ietf:params:acme:error:malformed\"}"},
    {503, "text/html", "Retry-After: 99999999999\r\n", "<p>"},
    {200, JSON, PLACE, ORDER("valid", "")},
    {200, "", "", ""},
    {200, "application/pem-certificate-chain",
     "Link: <https://ca.example/cert/1/2>;rel=\"alternate\"\r\n"
     "Link: </cert/1/3>;rel=\"alternate\"\r\n", "-----BEGIN CERTIFICATE-----\n"},
    {409, PROBLEM, "", "{\"type\":\"urn:ietf:params:acme:error:alreadyReplaced\"}"},
    {400, PROBLEM, "", "{\"type\":\"urn:ietf:params:acme:error:invalidProfile\"}"},
};

static void must(int holds)
{
    if (!holds) {
        abort();
    }
}

static int next_byte(run_t *run)
{
    return run->at < run->size ? run->data[run->at++] : -1;
}

/* NULL: no message came of it. */
static acme_http_response_t *answer(run_t *run, int which, apr_size_t body_max)
{
    apr_size_t n = sizeof(answers) / sizeof(answers[0]);
    acme_http_response_t *response = acme_http_response_create(0, body_max, run->pool);
    int place = next_byte(run);
    int change = next_byte(run);
    apr_size_t i = (apr_size_t)which % n;
    apr_size_t len = strlen(answers[i].body);
    char *body = apr_pstrdup(run->pool, answers[i].body);
    apr_size_t used;
    char *bytes;

    if (change > 0 && len > 0) {
        body[((apr_size_t)place * 3) % len] = (char)change;
    }
    bytes =
        apr_psprintf(run->pool, "HTTP/1.1 %d X\r\nContent-Type: %s\r\nContent-Length: %d\r\n%s\r\n",
                     answers[i].status, answers[i].type, (int)len, answers[i].headers);
    if (acme_http_response_feed(response, bytes, strlen(bytes), &used, NULL) == ACME_FAIL) {
        return NULL;
    }
    if (len > 0 && acme_http_response_feed(response, body, len, &used, NULL) != ACME_OK) {
        return NULL;
    }
    return response;
}

static void ask(run_t *run, const acme_plan_t *plan, acme_event_t *event)
{
    acme_url_t *url;
    int which = next_byte(run);

    run->requests++;
    must(plan->url != NULL && plan->body_max > 0);
    must(acme_url_parse(&url, plan->url, run->pool, NULL) == ACME_OK);
    event->url = url;
    event->maybe_sent = which & 1;
    if (which >= 0 && which < 240) {
        event->response = answer(run, which, plan->body_max);
    }
    else if (which > 250) {
        run->now += apr_time_from_sec(300);
    }
}

/* What the next owner would go on with. */
static void restore(run_t *run, const acme_spec_t *spec, const acme_challenge_type_t *types)
{
    const char *record = acme_order_payload(run->order, run->pool);
    acme_order_t *order;

    if (acme_order_restore(&order, spec, record, strlen(record), types, 2, run->now, run->pool,
                           NULL)
        == ACME_OK) {
        must((order->order_url == NULL) == (run->order->order_url == NULL));
        run->order = order;
        run->requests = 0;
        run->restored++;
    }
}

static acme_rv_t turn(run_t *run)
{
    acme_event_t event;
    acme_error_t err;
    acme_plan_t plan;
    acme_rv_t rv;
    int journal;

    run->order->new_order_url = "https://ca.example/new-order";
    run->order->orders_url = "https://ca.example/orders";
    run->order->profile = run->order->profile_refused ? NULL : "brief";
    run->order->replaces = run->order->replaces_refused ? NULL : "a.b";
    acme_order_plan(&plan, run->order, run->now, run->pool);
    if (plan.act == ACME_ACT_WAIT) {
        must(plan.until > run->now);
        run->now = plan.until;
        return ACME_OK;
    }
    if (plan.act == ACME_ACT_DONE) {
        return ACME_FAIL;
    }
    memset(&event, 0, sizeof(event));
    event.step = plan.step;
    event.key_digest = KEY;
    if (plan.act == ACME_ACT_POST || plan.act == ACME_ACT_FINALIZE) {
        ask(run, &plan, &event);
    }
    event.now = run->now;
    acme_error_clear(&err);
    rv = acme_order_take(run->order, &event, &journal, &err);
    must((rv == ACME_FAIL) == (err.kind != ACME_E_NONE));
    must(rv != ACME_AGAIN || run->order->not_before > run->now);
    must(rv == ACME_FAIL || run->requests < REQUESTS_MAX
         || run->order->step >= ACME_STEP_ALTERNATE);
    must(run->requests <= REQUESTS_MAX + ACME_ALTERNATES_MAX);
    return rv;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const acme_challenge_type_t types[] = {ACME_CH_HTTP01, ACME_CH_TLSALPN01};
    static apr_pool_t *parent;
    acme_spec_t spec;
    run_t run;
    int turns;

    if (!parent) {
        apr_initialize();
        apr_pool_create(&parent, NULL);
    }
    memset(&run, 0, sizeof(run));
    memset(&spec, 0, sizeof(spec));
    apr_pool_create(&run.pool, parent);
    spec.names = apr_array_make(run.pool, 1, sizeof(const char *));
    APR_ARRAY_PUSH(spec.names, const char *) = "example.org";
    spec.digest = "spec";
    spec.preferred_chain = "Example Root";
    run.data = data;
    run.size = size;
    run.now = NOW;
    run.order = acme_order_create(&spec, "https://ca.example/d", types, 2, run.now, run.pool);
    for (turns = 0; turns < TURNS_MAX; turns++) {
        if (turn(&run) == ACME_FAIL) {
            if (run.at >= run.size || run.order->step == ACME_STEP_DONE || run.restored > 3
                || acme_order_is_dead(run.order)) {
                break;
            }
            restore(&run, &spec, types);
            run.at++;
        }
        else if (run.at < run.size && run.data[run.at] == 239) {
            run.at++;
            restore(&run, &spec, types);
        }
    }
    must(turns < TURNS_MAX || run.at < run.size);
    apr_pool_destroy(run.pool);
    return 0;
}
