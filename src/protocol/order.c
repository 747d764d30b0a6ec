/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#include "protocol/order.h"

#include <string.h>

#include <apr_strings.h>

#include "base/codec.h"
#include "base/time.h"
#include "crypto/x509.h"
#include "protocol/backoff.h"

#define REQUESTS_MAX 60
#define REQUESTS_PER_NAME 4 /* for each name behind the first REQUESTS_FREE */
#define REQUESTS_FREE 8
#define AUTHZ_SPARE 4       /* authorizations beyond one for each name */
#define PAGES_MAX 10
#define CANDIDATES_MAX 20
#define LIST_MAX 2000
#define DEADLINE apr_time_from_sec(600)
#define POLL_LEAST APR_USEC_PER_SEC
#define POLL_MOST apr_time_from_sec(3600)
#define LEFT_LEAST apr_time_from_sec(60)
#define EXPIRES_UNKNOWN apr_time_from_sec(3600)

/* One call of take: what came, where the rest goes. */
typedef struct {
    acme_order_t *order;
    const acme_event_t *event;
    const acme_http_response_t *response;
    int status;
    const char *body;
    apr_size_t len;
    int journal;
    apr_pool_t *scratch;
    acme_error_t *err;
} turn_t;

typedef struct {
    const char *name;
    acme_act_t act;
    int journal;
    void (*plan)(acme_plan_t *out, const acme_order_t *order, apr_pool_t *pool);
    acme_rv_t (*take)(turn_t *turn);
} row_t;

static const row_t rows[ACME_STEPS];

const char *acme_step_name(acme_step_t step)
{
    return (unsigned)step < ACME_STEPS ? rows[step].name : "unknown";
}

int acme_order_is_dead(const acme_order_t *order)
{
    return order->dead;
}

static acme_order_authz_t *authz_at(const acme_order_t *order, int i)
{
    return &APR_ARRAY_IDX(order->authz, i, acme_order_authz_t);
}

static const char *or_empty(const char *text)
{
    return text != NULL ? text : "";
}

/* ---- beginning ---- */

static acme_order_t *order_new(const acme_spec_t *spec, const acme_challenge_type_t *types,
                               int n_types, apr_pool_t *pool)
{
    acme_order_t *order = apr_pcalloc(pool, sizeof(*order));
    int i;

    order->pool = pool;
    order->spec = spec;
    order->names = spec->names;
    for (i = 0; i < n_types && i < ACME_CH_TYPES; i++) {
        order->types[order->n_types++] = types[i];
    }
    order->key_digest = "";
    order->challenge_used = "";
    order->challenge_failed = "";
    order->name_failed = "";
    order->authz = apr_array_make(pool, 4, sizeof(acme_order_authz_t));
    order->candidates = apr_array_make(pool, 4, sizeof(const char *));
    order->alternates = apr_array_make(pool, 1, sizeof(const char *));
    return order;
}

acme_order_t *acme_order_create(const acme_spec_t *spec, const char *directory,
                                const acme_challenge_type_t *types, int n_types, apr_time_t now,
                                apr_pool_t *pool)
{
    acme_order_t *order = order_new(spec, types, n_types, pool);

    (void)now; /* the deadline runs from the first request: leave to order may be long in coming */
    order->directory = apr_pstrdup(pool, directory);
    order->step = ACME_STEP_KEY;
    return order;
}

void acme_order_leave_out(acme_order_t *order, const apr_array_header_t *left_out)
{
    if (acme_spec_names_without(&order->names, order->spec, left_out, order->pool) == ACME_OK) {
        order->left_out = left_out;
    }
}

/* ---- the record ---- */

/* Tokens are kept to the end, so that whoever resumes the order can withdraw them. */
static acme_json_t *authz_json(const acme_order_t *order, apr_pool_t *pool)
{
    acme_json_t *list = acme_json_new_array(pool);
    acme_json_t *item;
    int i;

    for (i = 0; i < order->authz->nelts; i++) {
        const acme_order_authz_t *authz = authz_at(order, i);

        if (authz->token == NULL || *authz->token == '\0') {
            continue;
        }
        item = acme_json_new_object(pool);
        acme_json_set_string(item, "url", authz->url);
        acme_json_set_string(item, "name", authz->name);
        acme_json_set_string(item, "type", acme_challenge_type_name(authz->type));
        acme_json_set_string(item, "token", authz->token);
        acme_json_add(list, item);
    }
    return list;
}

const char *acme_order_payload(const acme_order_t *order, apr_pool_t *pool)
{
    acme_json_t *json = acme_json_new_object(pool);
    acme_json_t *types = acme_json_new_array(pool);
    const char *text;
    int i;

    for (i = 0; i < order->n_types; i++) {
        acme_json_add_string(types, acme_challenge_type_name(order->types[i]));
    }
    acme_json_set_string(json, "directory", order->directory);
    acme_json_set_string(json, "spec", or_empty(order->spec->digest));
    acme_json_set_string(json, "order", or_empty(order->order_url));
    acme_json_set_string(json, "finalize", or_empty(order->finalize_url));
    acme_json_set_string(json, "certificate", or_empty(order->certificate_url));
    acme_json_set_string(json, "key", order->key_digest);
    acme_json_set_string(json, "step", acme_step_name(order->step));
    acme_json_set_bool(json, "intent", order->intent);
    acme_json_set_int(json, "expires", order->expires);
    acme_json_set(json, "types", types);
    acme_json_set_string(json, "challenge", order->challenge_used);
    acme_json_set(json, "authz", authz_json(order, pool));
    if (order->left_out != NULL && order->left_out->nelts > 0) {
        acme_json_set(json, "leftOut", acme_json_names(order->left_out, pool));
    }
    text = acme_json_dump(json, pool);
    return text != NULL ? text : "{}";
}

/* A member that is a URL, or empty. */
static acme_rv_t restore_url(const char **out, const acme_json_t *json, const char *key,
                             apr_pool_t *pool, acme_error_t *err)
{
    acme_url_t *url;
    const char *text;

    *out = NULL;
    if (acme_json_get_string(&text, json, key, ACME_JSON_OPTIONAL, err) != ACME_OK) {
        return ACME_FAIL;
    }
    if (text == NULL || *text == '\0') {
        return ACME_OK;
    }
    if (acme_url_parse(&url, text, pool, err) != ACME_OK) {
        return ACME_FAIL;
    }
    *out = apr_pstrdup(pool, text);
    return ACME_OK;
}

static acme_rv_t restore_authz(acme_order_t *order, const acme_json_t *list, apr_size_t i,
                               acme_error_t *err)
{
    acme_order_authz_t authz;
    const char *type;
    acme_json_t *item;

    memset(&authz, 0, sizeof(authz));
    if (acme_json_item_object(&item, list, i, err) != ACME_OK
        || restore_url(&authz.url, item, "url", order->pool, err) != ACME_OK
        || acme_json_get_string(&authz.name, item, "name", ACME_JSON_REQUIRED, err) != ACME_OK
        || acme_json_get_string(&type, item, "type", ACME_JSON_REQUIRED, err) != ACME_OK
        || acme_json_get_string(&authz.token, item, "token", ACME_JSON_REQUIRED, err) != ACME_OK) {
        return ACME_FAIL;
    }
    if (authz.url == NULL || !acme_names_contain(order->names, authz.name)
        || !acme_token_legal(authz.token, strlen(authz.token))
        || acme_challenge_type_parse(&authz.type, type) != ACME_OK) {
        return acme_error_set(err, ACME_E_STORE, "AC0340",
                              "order record: a challenge is not one of this certificate");
    }
    APR_ARRAY_PUSH(order->authz, acme_order_authz_t) = authz;
    return ACME_OK;
}

static int digest_legal(const char *text)
{
    return *text == '\0' || (strlen(text) == 64 && strspn(text, "0123456789abcdef") == 64);
}

static int directory_listed(const acme_spec_t *spec, const char *directory)
{
    int i;

    for (i = 0; spec->cas != NULL && i < spec->cas->nelts; i++) {
        if (strcmp(APR_ARRAY_IDX(spec->cas, i, acme_ca_t *)->directory_url, directory) == 0) {
            return 1;
        }
    }
    return spec->cas == NULL;
}

/* Is it this certificate's order, and worth going on with? */
static acme_rv_t restore_judge(const acme_order_t *order, const char *spec_digest, apr_time_t now,
                               acme_error_t *err)
{
    if (strcmp(spec_digest, or_empty(order->spec->digest)) != 0) {
        return acme_error_set(err, ACME_E_STORE, "AC0341",
                              "it was placed for another configuration");
    }
    if (!directory_listed(order->spec, order->directory)) {
        return acme_error_set(err, ACME_E_STORE, "AC0342", "its CA is not configured any more");
    }
    if (order->expires < 0
        || (order->order_url != NULL && order->expires <= acme_time_add(now, LEFT_LEAST))) {
        return acme_error_set(err, ACME_E_STORE, "AC0343", "it has expired");
    }
    if (!digest_legal(order->key_digest)) {
        return acme_error_set(err, ACME_E_STORE, "AC0344", "order record: no digest of a key");
    }
    return ACME_OK;
}

static acme_rv_t restore_members(acme_order_t *order, const acme_json_t *json, const char **digest,
                                 acme_error_t *err)
{
    const char *used, *key;
    acme_json_t *list;
    apr_size_t i;

    if (acme_json_get_string(&order->directory, json, "directory", ACME_JSON_REQUIRED, err)
        || acme_json_get_string(digest, json, "spec", ACME_JSON_REQUIRED, err)
        || restore_url(&order->order_url, json, "order", order->pool, err)
        || restore_url(&order->finalize_url, json, "finalize", order->pool, err)
        || restore_url(&order->certificate_url, json, "certificate", order->pool, err)
        || acme_json_get_string(&key, json, "key", ACME_JSON_OPTIONAL, err)
        || acme_json_get_string(&used, json, "challenge", ACME_JSON_OPTIONAL, err)
        || acme_json_get_bool(&order->intent, json, "intent", 0, err)
        || acme_json_get_int(&order->expires, json, "expires", 0, err)
        || acme_json_get_names(&order->left_out, json, "leftOut", order->pool, err)
        || acme_json_get_array(&list, json, "authz", ACME_JSON_OPTIONAL, err)) {
        return ACME_FAIL;
    }
    if (acme_spec_names_without(&order->names, order->spec, order->left_out, order->pool)
        != ACME_OK) {
        return acme_error_set(err, ACME_E_STORE, "AC0745", "it leaves a name out that is wanted");
    }
    order->key_digest = or_empty(key);
    order->challenge_used = or_empty(used);
    for (i = 0; list != NULL && i < acme_json_count(list); i++) {
        if (restore_authz(order, list, i, err) != ACME_OK) {
            return ACME_FAIL;
        }
    }
    return ACME_OK;
}

acme_rv_t acme_order_restore(acme_order_t **out, const acme_spec_t *spec, const char *payload,
                             apr_size_t len, const acme_challenge_type_t *types, int n_types,
                             apr_time_t now, apr_pool_t *pool, acme_error_t *err)
{
    acme_order_t *order = order_new(spec, types, n_types, pool);
    const char *digest;
    acme_json_t *json;

    if (acme_json_parse(&json, payload, len, "order record", pool, err) != ACME_OK
        || restore_members(order, json, &digest, err) != ACME_OK
        || restore_judge(order, digest, now, err) != ACME_OK) {
        return ACME_FAIL;
    }
    order->step = ACME_STEP_KEY;
    if (order->order_url != NULL) {
        order->step = ACME_STEP_SYNC;
        order->intent = 0;
    }
    else if (order->intent) {
        order->step = ACME_STEP_FIND;
    }
    *out = order;
    return ACME_OK;
}

/* ---- plans ---- */

/* Where no list of orders is offered, there is nothing to find. */
static acme_step_t step_now(const acme_order_t *order)
{
    if (order->step == ACME_STEP_FIND && order->pages == 0 && order->orders_url == NULL) {
        return ACME_STEP_NEW_ORDER;
    }
    return order->step;
}

static void plan_find(acme_plan_t *out, const acme_order_t *order, apr_pool_t *pool)
{
    (void)pool;
    if (order->pages == 0) {
        out->url = order->orders_url;
    }
    else if (order->page != NULL) {
        out->url = order->page;
    }
    else {
        out->url = APR_ARRAY_IDX(order->candidates, order->candidates->nelts - 1, const char *);
    }
}

static void plan_new_order(acme_plan_t *out, const acme_order_t *order, apr_pool_t *pool)
{
    out->url = or_empty(order->new_order_url);
    out->payload = acme_payload_new_order(order->names, order->profile, order->replaces,
                                          pool);
}

static void plan_order(acme_plan_t *out, const acme_order_t *order, apr_pool_t *pool)
{
    (void)pool;
    out->url = order->order_url;
}

static void plan_authz(acme_plan_t *out, const acme_order_t *order, apr_pool_t *pool)
{
    (void)pool;
    out->url = authz_at(order, order->at)->url;
}

static void plan_challenge(acme_plan_t *out, const acme_order_t *order, apr_pool_t *pool)
{
    (void)pool;
    out->url = authz_at(order, order->at)->challenge_url;
    out->payload = "{}";
}

static void plan_finalize(acme_plan_t *out, const acme_order_t *order, apr_pool_t *pool)
{
    (void)pool;
    out->url = order->finalize_url;
}

static void plan_download(acme_plan_t *out, const acme_order_t *order, apr_pool_t *pool)
{
    (void)pool;
    out->url = order->certificate_url;
    out->body_max = ACME_HTTP_CHAIN_MAX;
}

static void plan_alternate(acme_plan_t *out, const acme_order_t *order, apr_pool_t *pool)
{
    (void)pool;
    out->url = APR_ARRAY_IDX(order->alternates, order->at, const char *);
    out->body_max = ACME_HTTP_CHAIN_MAX;
}

void acme_order_plan(acme_plan_t *out, const acme_order_t *order, apr_time_t now, apr_pool_t *pool)
{
    acme_step_t step = step_now(order);

    memset(out, 0, sizeof(*out));
    out->step = step;
    if (now < order->not_before) {
        out->act = ACME_ACT_WAIT;
        out->until = order->not_before;
        return;
    }
    out->act = rows[step].act;
    out->journal = rows[step].journal;
    out->body_max = ACME_HTTP_JSON_MAX;
    if (rows[step].plan != NULL) {
        rows[step].plan(out, order, pool);
    }
}

/* ---- what every turn may need ---- */

static acme_rv_t refused(turn_t *t)
{
    acme_problem_t *problem = NULL;
    acme_rv_t rv = acme_problem_from_response(&problem, t->response, t->event->now, t->scratch,
                                              t->err);

    if (problem != NULL && problem->identifier != NULL) {
        t->order->blamed = apr_pstrdup(t->order->pool, problem->identifier);
    }
    return rv;
}

static int ok(const turn_t *t)
{
    return t->status >= 200 && t->status < 300;
}

static acme_rv_t wait_until(turn_t *t, apr_interval_time_t delay)
{
    const char *asked = acme_http_response_header(t->response, "retry-after");
    apr_time_t least = acme_time_add(t->event->now, POLL_LEAST);
    apr_time_t then;

    t->order->not_before = acme_time_add(t->event->now, delay);
    if (asked != NULL
        && acme_time_parse_retry_after(&then, asked, strlen(asked), t->event->now, POLL_MOST)
               == ACME_OK) {
        t->order->not_before = then < least ? least : then;
    }
    return ACME_AGAIN;
}

/* The n-th poll is due after the n-th delay; the first one is quick. */
static acme_rv_t poll_later(turn_t *t)
{
    return wait_until(t, acme_backoff_poll(t->order->polls, t->event->random));
}

static acme_rv_t poll_again(turn_t *t)
{
    t->order->polls++;
    return poll_later(t);
}

static acme_rv_t first_poll(turn_t *t, acme_step_t step)
{
    t->order->step = step;
    t->order->polls = 0;
    return poll_later(t);
}

static acme_rv_t go(turn_t *t, acme_step_t step)
{
    t->order->step = step;
    t->order->at = 0;
    return ACME_OK;
}

static acme_rv_t dead(turn_t *t)
{
    t->order->dead = 1;
    return ACME_FAIL;
}

static acme_rv_t place_order(turn_t *t)
{
    t->order->intent = 1;
    return go(t, ACME_STEP_NEW_ORDER);
}

/* The CA does not know the order any more, or its certificate would be for a key that is lost:
 * another one is placed, once. */
static acme_rv_t start_again(turn_t *t)
{
    acme_order_t *order = t->order;

    if (order->dropped) {
        (void)acme_error_set(t->err, ACME_E_PROTOCOL, "AC0345",
                             "the CA gives an order that cannot be used, twice");
        return dead(t);
    }
    order->dropped = 1;
    order->order_url = order->finalize_url = order->certificate_url = NULL;
    order->expires = 0;
    order->authz = apr_array_make(order->pool, 4, sizeof(acme_order_authz_t));
    return go(t, ACME_STEP_KEY);
}

/* ---- the order object ---- */

static acme_problem_t *keep_problem(const acme_problem_t *problem, apr_pool_t *pool)
{
    acme_problem_t *kept = apr_pmemdup(pool, problem, sizeof(*problem));

    kept->type = apr_pstrdup(pool, or_empty(problem->type));
    kept->detail = apr_pstrdup(pool, or_empty(problem->detail));
    kept->text = apr_pstrdup(pool, or_empty(problem->text));
    kept->instance = apr_pstrdup(pool, problem->instance);
    return kept;
}

static const acme_order_authz_t *authz_known(const apr_array_header_t *list, const char *url)
{
    int i;

    for (i = 0; i < list->nelts; i++) {
        if (strcmp(APR_ARRAY_IDX(list, i, acme_order_authz_t).url, url) == 0) {
            return &APR_ARRAY_IDX(list, i, acme_order_authz_t);
        }
    }
    return NULL;
}

/* What is known of an authorization already, above all its token, is kept. */
static acme_rv_t keep_authz(turn_t *t, const acme_order_object_t *object)
{
    acme_order_t *order = t->order;
    const apr_array_header_t *urls = object->authorizations;
    apr_array_header_t *list;
    int i;

    if (urls->nelts > order->names->nelts + AUTHZ_SPARE) {
        return acme_error_set(t->err, ACME_E_PROTOCOL, "AC0346",
                              "the order has %d authorizations for %d names", urls->nelts,
                              order->names->nelts);
    }
    list = apr_array_make(order->pool, urls->nelts, sizeof(acme_order_authz_t));
    for (i = 0; i < urls->nelts; i++) {
        const char *url = APR_ARRAY_IDX(urls, i, const char *);
        const acme_order_authz_t *known = authz_known(order->authz, url);
        acme_order_authz_t fresh;

        if (authz_known(list, url) != NULL) {
            continue;
        }
        memset(&fresh, 0, sizeof(fresh));
        if (known == NULL) {
            fresh.url = apr_pstrdup(order->pool, url);
            fresh.name = "";
        }
        APR_ARRAY_PUSH(list, acme_order_authz_t) = known != NULL ? *known : fresh;
    }
    order->authz = list;
    return ACME_OK;
}

static acme_rv_t keep_object(turn_t *t, const acme_order_object_t *object)
{
    acme_order_t *order = t->order;

    if (!acme_names_equal(object->names, order->names)) {
        (void)acme_error_set(t->err, ACME_E_PROTOCOL, "AC0347",
                             "the order is for other names than were asked for");
        if (t->err != NULL) {
            t->err->retry = ACME_RETRY_SLOW;
        }
        return dead(t);
    }
    if (object->authorizations != NULL && object->authorizations->nelts > 0
        && keep_authz(t, object) != ACME_OK) {
        return dead(t);
    }
    if (object->finalize != NULL) {
        order->finalize_url = apr_pstrdup(order->pool, object->finalize);
    }
    if (object->certificate != NULL) {
        order->certificate_url = apr_pstrdup(order->pool, object->certificate);
    }
    if (object->error != NULL) {
        order->invalid = keep_problem(object->error, order->pool);
    }
    if (object->expires > 0) {
        order->expires = object->expires;
    }
    else if (order->expires == 0) {
        order->expires = acme_time_add(t->event->now, EXPIRES_UNKNOWN);
    }
    return ACME_OK;
}

/* ---- from the CA's status word to the next step ---- */

static acme_rv_t reason(turn_t *t);
static acme_rv_t present(turn_t *t);

static acme_rv_t on_pending(turn_t *t)
{
    acme_order_t *order = t->order;
    int i;

    if (order->step == ACME_STEP_VALIDATE || order->step == ACME_STEP_ISSUE) {
        return poll_again(t);
    }
    if (order->authz->nelts == 0) {
        return acme_error_set(t->err, ACME_E_PROTOCOL, "AC0348",
                              "the order is pending, but names no authorizations");
    }
    for (i = 0; i < order->authz->nelts; i++) {
        authz_at(order, i)->fetched = 0;
    }
    return go(t, ACME_STEP_AUTHZ);
}

/* Behind finalize, an order that still looks ready is an old view of it: finalizing twice could
 * burn a certificate. Whether it really is, order-sync tells. */
static acme_rv_t on_ready(turn_t *t)
{
    int i;

    for (i = 0; i < t->order->authz->nelts; i++) {
        authz_at(t->order, i)->valid = 1;
    }
    if (t->order->step == ACME_STEP_ISSUE || t->order->step == ACME_STEP_FINALIZE) {
        t->order->step = ACME_STEP_ISSUE;
        return poll_again(t);
    }
    return go(t, ACME_STEP_FINALIZE);
}

static acme_rv_t on_processing(turn_t *t)
{
    if (*t->order->key_digest == '\0') {
        return start_again(t);
    }
    return t->order->step == ACME_STEP_ISSUE ? poll_again(t) : first_poll(t, ACME_STEP_ISSUE);
}

static acme_rv_t on_valid(turn_t *t)
{
    if (*t->order->key_digest == '\0') {
        return start_again(t);
    }
    if (t->order->certificate_url == NULL) {
        t->order->step = ACME_STEP_ISSUE;
        return poll_again(t);
    }
    t->journal = 1;
    return go(t, ACME_STEP_DOWNLOAD);
}

/* Those that may be left out last: where more has failed than they, they are not to blame. */
static void dispensable_last(acme_order_t *order)
{
    const apr_array_header_t *may_lack = order->spec->may_lack;
    apr_array_header_t *sorted = apr_array_make(order->pool, order->authz->nelts,
                                                sizeof(acme_order_authz_t));
    int i, last;

    for (last = 0; last < 2 && may_lack != NULL; last++) {
        for (i = 0; i < order->authz->nelts; i++) {
            if (acme_names_contain(may_lack, authz_at(order, i)->name) == last) {
                APR_ARRAY_PUSH(sorted, acme_order_authz_t) = *authz_at(order, i);
            }
        }
    }
    if (may_lack != NULL) {
        order->authz = sorted;
    }
}

static acme_rv_t on_invalid(turn_t *t)
{
    t->order->failed = 1;
    dispensable_last(t->order);
    (void)go(t, ACME_STEP_REASON);
    return reason(t);
}

static acme_rv_t (*const on_status[])(turn_t *t) = {
    [ACME_ORDER_PENDING] = on_pending,
    [ACME_ORDER_READY] = on_ready,
    [ACME_ORDER_PROCESSING] = on_processing,
    [ACME_ORDER_VALID] = on_valid,
    [ACME_ORDER_INVALID] = on_invalid,
};

/* The CA's answer routes the order, whatever it was doing. */
static acme_rv_t route(turn_t *t)
{
    acme_order_object_t *object;

    if (acme_order_parse(&object, t->body, t->len, t->scratch, t->err) != ACME_OK
        || keep_object(t, object) != ACME_OK) {
        return ACME_FAIL;
    }
    return on_status[object->status](t);
}

/* ---- key, find, newOrder ---- */

static acme_rv_t take_key(turn_t *t)
{
    if (t->event->key_digest == NULL || *t->event->key_digest == '\0') {
        return acme_error_set(t->err, ACME_E_INTERNAL, "AC0349", "no key for the certificate");
    }
    t->order->key_digest = apr_pstrdup(t->order->pool, t->event->key_digest);
    return place_order(t);
}

static acme_rv_t take_page(turn_t *t)
{
    acme_order_t *order = t->order;
    apr_array_header_t *urls;
    acme_url_t *next;
    const char *link;
    int i;

    order->page = NULL;
    order->pages++;
    if (t->status == 429 || t->status == 503) {
        order->pages = 0;
        return refused(t);
    }
    if (!ok(t) || acme_order_list_parse(&urls, t->body, t->len, t->scratch, NULL) != ACME_OK) {
        return ACME_OK;
    }
    for (i = 0; i < urls->nelts && order->candidates->nelts < LIST_MAX; i++) {
        APR_ARRAY_PUSH(order->candidates, const char *)
            = apr_pstrdup(order->pool, APR_ARRAY_IDX(urls, i, const char *));
    }
    link = acme_http_response_link(t->response, "next", 0, t->scratch);
    if (link != NULL && order->pages < PAGES_MAX && t->event->url != NULL
        && acme_url_resolve(&next, t->event->url, link, t->scratch, NULL) == ACME_OK) {
        order->page = apr_pstrdup(order->pool, next->text);
    }
    return ACME_OK;
}

static int ours(const turn_t *t, const acme_order_object_t *object)
{
    return (object->status == ACME_ORDER_PENDING || object->status == ACME_ORDER_READY
            || object->status == ACME_ORDER_PROCESSING)
           && acme_names_equal(object->names, t->order->names)
           && (object->expires == 0
               || object->expires > acme_time_add(t->event->now, LEFT_LEAST));
}

static acme_rv_t take_find(turn_t *t)
{
    acme_order_t *order = t->order;
    acme_order_object_t *object;
    const char *url;
    acme_rv_t rv;

    if (order->pages == 0 || order->page != NULL) {
        rv = take_page(t);
        if (rv != ACME_OK) {
            return rv;
        }
    }
    else {
        url = *(const char **)apr_array_pop(order->candidates);
        order->looked++;
        if (ok(t) && acme_order_parse(&object, t->body, t->len, t->scratch, NULL) == ACME_OK
            && ours(t, object)) {
            order->order_url = url;
            order->intent = 0;
            t->journal = 1;
            return route(t);
        }
    }
    if (order->page == NULL
        && (order->candidates->nelts == 0 || order->looked >= CANDIDATES_MAX)) {
        return place_order(t);
    }
    return ACME_OK;
}

/* Does the refusal speak of "replaces"? CAs have several words for it (RFC 9773 section 5 gives
 * only alreadyReplaced one). */
static int names_replaces(const acme_error_t *cause)
{
    static const char *const words[] = {"replace", "ari ", "ari:", "certid", "renewal info",
                                        "given certificate"};
    apr_size_t i, at, len;

    if (strcmp(cause->problem, "alreadyReplaced") == 0) {
        return 1;
    }
    for (i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        len = strlen(words[i]);
        for (at = 0; cause->text[at] != '\0'; at++) {
            if (acme_ascii_ncasecmp(cause->text + at, words[i], len) == 0) {
                return 1;
            }
        }
    }
    return 0;
}

/* 1: it is ordered once more, without what the CA does not take. */
static int give_in(turn_t *t)
{
    acme_order_t *order = t->order;
    acme_error_t cause;

    if (t->status == 429 || t->status == 503) {
        return 0;
    }
    acme_error_clear(&cause);
    (void)acme_problem_from_response(NULL, t->response, t->event->now, t->scratch, &cause);
    if (order->profile != NULL && !order->spec->profile_required
        && strcmp(cause.problem, "invalidProfile") == 0) {
        order->profile_refused = 1;
        order->profile = NULL;
    }
    else if (order->replaces != NULL && names_replaces(&cause)) {
        order->replaces_refused = 1;
        order->replaces = NULL;
    }
    else {
        return 0;
    }
    order->refusal = apr_pstrdup(order->pool, cause.text);
    return 1;
}

/* An answer of 5xx may come from something before the CA, which has placed it all the same. */
static acme_rv_t new_order_refused(turn_t *t)
{
    if (give_in(t)) {
        return ACME_OK;
    }
    if (t->status >= 500) {
        t->order->step = ACME_STEP_FIND;
        t->order->pages = t->order->looked = 0;
        return refused(t);
    }
    t->order->intent = 0;
    t->journal = 1;
    (void)refused(t);
    return dead(t);
}

static acme_rv_t take_new_order(turn_t *t)
{
    const char *location;
    acme_url_t *url;

    t->order->step = ACME_STEP_NEW_ORDER;
    if (!ok(t)) {
        return new_order_refused(t);
    }
    location = acme_http_response_header(t->response, "location");
    if (location == NULL || t->event->url == NULL) {
        return acme_error_set(t->err, ACME_E_PROTOCOL, "AC0350",
                              "the answer does not say where the order is: no Location");
    }
    if (acme_url_resolve(&url, t->event->url, location, t->scratch, t->err) != ACME_OK) {
        return acme_error_prefix(t->err, "Location of the order");
    }
    t->order->order_url = apr_pstrdup(t->order->pool, url->text);
    t->order->intent = 0;
    t->journal = 1;
    return route(t);
}

/* ---- order-sync and polls ---- */

static int gone(int status)
{
    return status == 404 || status == 405 || status == 410;
}

static acme_rv_t take_sync(turn_t *t)
{
    if (gone(t->status) || t->status == 401 || t->status == 403) {
        return start_again(t);
    }
    return ok(t) ? route(t) : refused(t);
}

/* After some polls it is worth looking whether a challenge has failed without the order knowing. */
static int look_at_authz(const acme_order_t *order)
{
    return order->polls == 6 || order->polls == 30;
}

static acme_rv_t take_poll(turn_t *t)
{
    acme_step_t step = t->order->step;
    acme_rv_t rv;

    if (!ok(t)) {
        (void)refused(t);
        return gone(t->status) ? dead(t) : ACME_FAIL;
    }
    rv = route(t);
    if (rv == ACME_AGAIN && step == ACME_STEP_VALIDATE && t->order->step == step
        && look_at_authz(t->order)) {
        (void)go(t, ACME_STEP_REASON);
        return reason(t) == ACME_FAIL ? ACME_FAIL : ACME_AGAIN;
    }
    return rv;
}

/* ---- authorizations ---- */

static const char *name_of(const acme_authz_object_t *authz, apr_pool_t *pool)
{
    return authz->wildcard ? apr_pstrcat(pool, "*.", authz->name, NULL)
                           : apr_pstrdup(pool, authz->name);
}

/* A name nobody asked for must never be proved. */
static acme_rv_t authz_parse(acme_authz_object_t **out, turn_t *t, acme_order_authz_t *authz)
{
    const char *name;

    if (acme_authz_parse(out, t->body, t->len, t->scratch, t->err) != ACME_OK) {
        return ACME_FAIL;
    }
    name = name_of(*out, t->order->pool);
    if (!acme_names_contain(t->order->names, name)) {
        (void)acme_error_set(t->err, ACME_E_SECURITY, "AC0314",
                             "the order holds an authorization for %s, which was not ordered",
                             name);
        if (t->err != NULL) {
            t->err->retry = ACME_RETRY_SLOW;
        }
        return dead(t);
    }
    authz->name = name;
    authz->fetched = 1;
    authz->valid = (*out)->status == ACME_AUTHZ_VALID;
    return ACME_OK;
}

static const char *const authz_words[] = {
    [ACME_AUTHZ_PENDING] = "pending",   [ACME_AUTHZ_VALID] = "valid",
    [ACME_AUTHZ_INVALID] = "invalid",   [ACME_AUTHZ_DEACTIVATED] = "deactivated",
    [ACME_AUTHZ_EXPIRED] = "expired",   [ACME_AUTHZ_REVOKED] = "revoked",
};

static const acme_challenge_object_t *failed_challenge(const acme_authz_object_t *authz)
{
    const acme_challenge_object_t *found = NULL;
    int i;

    for (i = 0; i < authz->challenges->nelts; i++) {
        const acme_challenge_object_t *c
            = APR_ARRAY_IDX(authz->challenges, i, const acme_challenge_object_t *);

        if (c->status == ACME_CHALLENGE_INVALID && (found == NULL || found->error == NULL)) {
            found = c;
        }
    }
    return found;
}

/* NAME: TYPE: what the CA saw. The order is over. */
static acme_rv_t challenge_failed(turn_t *t, const char *name, const acme_challenge_object_t *c)
{
    acme_challenge_type_t is;
    char type[64];

    t->order->name_failed = apr_pstrdup(t->order->pool, name);
    t->order->blamed = apr_pstrdup(t->order->pool, name);
    if (acme_challenge_type_parse(&is, c->type) == ACME_OK) {
        t->order->challenge_failed = acme_challenge_type_name(is);
    }
    acme_printable(type, sizeof(type), c->type, -1);
    (void)acme_error_set(t->err, ACME_E_CHALLENGE, "AC0351", "%s: %s: %s", name, type,
                         c->error != NULL ? c->error->text
                                          : "invalid, and the CA does not say why");
    if (c->error != NULL && t->err != NULL) {
        t->err->retry = c->error->retry;
        apr_cpystrn(t->err->problem, or_empty(c->error->type), sizeof(t->err->problem));
    }
    return dead(t);
}

/* ACME_OK: nothing has failed. */
static acme_rv_t authz_cause(turn_t *t, const char *name, const acme_authz_object_t *authz)
{
    const acme_challenge_object_t *c = failed_challenge(authz);

    if (c != NULL && authz->status != ACME_AUTHZ_VALID
        && (authz->status != ACME_AUTHZ_PENDING || t->order->failed || c->error != NULL)) {
        return challenge_failed(t, name, c);
    }
    if (authz->status == ACME_AUTHZ_PENDING || authz->status == ACME_AUTHZ_VALID) {
        return ACME_OK;
    }
    t->order->blamed = apr_pstrdup(t->order->pool, name);
    (void)acme_error_set(t->err, ACME_E_CHALLENGE, "AC0352", "%s: the authorization is %s", name,
                         authz_words[authz->status]);
    return dead(t);
}

/* A challenge the CA was told about by an earlier owner is gone on with. */
static const acme_challenge_object_t *asked_before(acme_challenge_type_t *type, const turn_t *t,
                                                   const acme_authz_object_t *authz)
{
    acme_challenge_type_t is;
    int i;

    for (i = 0; i < authz->challenges->nelts; i++) {
        const acme_challenge_object_t *c
            = APR_ARRAY_IDX(authz->challenges, i, const acme_challenge_object_t *);
        int k = 0;

        if ((c->status != ACME_CHALLENGE_PROCESSING && c->status != ACME_CHALLENGE_VALID)
            || acme_challenge_type_parse(&is, c->type) != ACME_OK
            || (c->token == NULL && acme_challenge_type_has_token(is))) {
            continue;
        }
        while (k < t->order->n_types && t->order->types[k] != is) {
            k++;
        }
        if (k < t->order->n_types) {
            *type = is;
            return c;
        }
    }
    return NULL;
}

static void keep_issuers(acme_order_authz_t *authz, const acme_challenge_object_t *c,
                         apr_pool_t *pool)
{
    apr_array_header_t *issuers = apr_array_make(pool, 1, sizeof(const char *));
    int i;

    for (i = 0; i < c->issuers->nelts; i++) {
        APR_ARRAY_PUSH(issuers, const char *)
            = apr_pstrdup(pool, APR_ARRAY_IDX(c->issuers, i, const char *));
    }
    authz->issuers = issuers;
    authz->account_uri = apr_pstrdup(pool, c->account_uri);
}

static acme_rv_t choose(turn_t *t, acme_order_authz_t *authz, const acme_authz_object_t *object)
{
    const acme_challenge_object_t *c = asked_before(&authz->type, t, object);

    if (c == NULL
        && acme_challenge_choose(&c, &authz->type, object, t->order->types, t->order->n_types,
                                 t->err) != ACME_OK) {
        return ACME_FAIL;
    }
    if ((c->token == NULL && acme_challenge_type_has_token(authz->type)) || c->url == NULL) {
        return acme_error_set(t->err, ACME_E_PROTOCOL, "AC0353",
                              "%s: the challenge has no token or no URL", authz->name);
    }
    authz->challenge_url = apr_pstrdup(t->order->pool, c->url);
    authz->token = apr_pstrdup(t->order->pool, or_empty(c->token));
    keep_issuers(authz, c, t->order->pool);
    authz->presented = 0;
    authz->asked = c->status != ACME_CHALLENGE_PENDING;
    return ACME_OK;
}

/* What the CA says of it; ACME_FAIL: it does not, or it failed. */
static acme_rv_t authz_answer(acme_authz_object_t **out, turn_t *t, acme_order_authz_t *authz)
{
    if (!ok(t)) {
        return refused(t);
    }
    return authz_parse(out, t, authz) == ACME_OK && authz_cause(t, authz->name, *out) == ACME_OK
               ? ACME_OK : ACME_FAIL;
}

static acme_rv_t take_authz(turn_t *t)
{
    acme_order_t *order = t->order;
    acme_order_authz_t *authz = authz_at(order, order->at);
    acme_authz_object_t *object;

    if (authz_answer(&object, t, authz) != ACME_OK) {
        return ACME_FAIL;
    }
    if (!authz->valid && choose(t, authz, object) != ACME_OK) {
        return ACME_FAIL;
    }
    order->at++;
    return order->at < order->authz->nelts ? ACME_OK : present(t);
}

/* One by one: the next that is not valid, or the order itself when none is left. */
static acme_rv_t next_one(turn_t *t)
{
    acme_order_t *order = t->order;

    for (order->at = 0; order->at < order->authz->nelts; order->at++) {
        if (!authz_at(order, order->at)->valid) {
            break;
        }
    }
    if (order->at == order->authz->nelts) {
        order->at = 0;
        return first_poll(t, ACME_STEP_VALIDATE);
    }
    if (authz_at(order, order->at)->asked) {
        return first_poll(t, ACME_STEP_WATCH);
    }
    t->journal = 1;
    order->step = ACME_STEP_PRESENT;
    return ACME_OK;
}

static acme_rv_t take_watch(turn_t *t)
{
    acme_order_t *order = t->order;
    acme_order_authz_t *authz = authz_at(order, order->at);
    acme_authz_object_t *object;

    if (authz_answer(&object, t, authz) != ACME_OK) {
        return ACME_FAIL;
    }
    return authz->valid ? next_one(t) : poll_again(t);
}

/* All authorizations are known. Those valid already need nothing. */
static acme_rv_t present(turn_t *t)
{
    acme_order_t *order = t->order;
    int i;

    if (order->one_by_one) {
        return next_one(t);
    }
    for (i = 0; i < order->authz->nelts; i++) {
        if (!authz_at(order, i)->valid) {
            t->journal = 1; /* tokens: the next owner must be able to withdraw them */
            return go(t, ACME_STEP_PRESENT);
        }
    }
    return first_poll(t, ACME_STEP_VALIDATE);
}

static int next_to_ask(const acme_order_t *order, int from)
{
    while (from < order->authz->nelts
           && (authz_at(order, from)->valid || authz_at(order, from)->asked)) {
        from++;
    }
    return from;
}

static acme_rv_t take_present(turn_t *t)
{
    acme_order_t *order = t->order;
    int i;

    /* Publishing in the DNS may have taken longer than all the rest. */
    order->deadline = acme_time_add(t->event->now, DEADLINE);
    for (i = order->one_by_one ? order->at : 0; i < order->authz->nelts; i++) {
        acme_order_authz_t *authz = authz_at(order, i);

        if (!authz->valid) {
            authz->presented = 1;
            order->challenge_used = acme_challenge_type_name(authz->type);
        }
    }
    order->step = ACME_STEP_CHALLENGE;
    if (order->one_by_one) {
        return ACME_OK;
    }
    order->at = next_to_ask(order, 0);
    if (order->at < order->authz->nelts) {
        return ACME_OK;
    }
    order->at = 0;
    order->step = ACME_STEP_VALIDATE;
    order->polls = 0;
    return ACME_OK;
}

static acme_rv_t take_challenge(turn_t *t)
{
    acme_challenge_object_t *object;
    acme_order_t *order = t->order;

    if (!ok(t)) {
        (void)refused(t);
        return acme_error_prefix(t->err, "%s", authz_at(order, order->at)->name);
    }
    if (acme_challenge_parse(&object, t->body, t->len, t->scratch, t->err) != ACME_OK) {
        return ACME_FAIL;
    }
    authz_at(order, order->at)->asked = 1;
    if (order->one_by_one) {
        return first_poll(t, ACME_STEP_WATCH);
    }
    order->at = next_to_ask(order, order->at + 1);
    if (order->at < order->authz->nelts) {
        return ACME_OK;
    }
    order->at = 0;
    return first_poll(t, ACME_STEP_VALIDATE);
}

/* ---- why an order failed ---- */

/* Nothing was found in the authorizations. */
static acme_rv_t no_cause(turn_t *t)
{
    const acme_problem_t *problem = t->order->invalid;

    if (!t->order->failed) {
        /* The look was due when the poll was, not instead of it. */
        return go(t, ACME_STEP_VALIDATE);
    }
    (void)acme_error_set(t->err, ACME_E_PROBLEM, "AC0354", "the order is invalid: %s",
                         problem != NULL ? problem->text : "the CA does not say why");
    if (problem != NULL && t->err != NULL) {
        t->err->retry = problem->retry;
        apr_cpystrn(t->err->problem, problem->type, sizeof(t->err->problem));
    }
    return dead(t);
}

/* To the next authorization that may hold the cause. */
static acme_rv_t reason(turn_t *t)
{
    acme_order_t *order = t->order;

    while (order->at < order->authz->nelts && authz_at(order, order->at)->valid) {
        order->at++;
    }
    return order->at < order->authz->nelts ? ACME_OK : no_cause(t);
}

static acme_rv_t take_reason(turn_t *t)
{
    acme_order_t *order = t->order;
    acme_order_authz_t *authz = authz_at(order, order->at);
    acme_authz_object_t *object;

    if (t->status == 429 || t->status == 503) {
        return refused(t);
    }
    if (ok(t)) {
        if (authz_parse(&object, t, authz) != ACME_OK
            || authz_cause(t, authz->name, object) != ACME_OK) {
            return ACME_FAIL;
        }
    }
    order->at++;
    return reason(t);
}

/* ---- finalize, download ---- */

static acme_rv_t finalize_refused(turn_t *t)
{
    acme_problem_t *problem = NULL;
    acme_error_t cause;

    acme_error_clear(&cause);
    (void)acme_problem_from_response(&problem, t->response, t->event->now, t->scratch, &cause);
    t->order->step = ACME_STEP_SYNC;
    if (strcmp(cause.problem, "orderNotReady") == 0) {
        return poll_again(t);
    }
    if (t->err != NULL && t->err->kind == ACME_E_NONE) {
        *t->err = cause;
    }
    if (t->status < 500
        && (cause.retry == ACME_RETRY_SLOW || cause.retry == ACME_RETRY_HUMAN)) {
        return dead(t);
    }
    return ACME_FAIL;
}

static acme_rv_t take_finalize(turn_t *t)
{
    return ok(t) ? route(t) : finalize_refused(t);
}

static int chain_type(const turn_t *t)
{
    static const char *const types[] = {
        "", "application/pem-certificate-chain", "application/x-pem-file", "text/plain"
    };
    const char *type = acme_http_response_media_type(t->response, t->scratch);
    apr_size_t i;

    for (i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
        if (strcmp(type, types[i]) == 0) {
            return 1;
        }
    }
    return 0;
}

static int is_preferred(const turn_t *t)
{
    acme_chain_t *chain;

    return acme_chain_from_pem(&chain, t->body, t->len, t->scratch, NULL) == ACME_OK
           && strcmp(acme_chain_top_issuer(chain, t->scratch), t->order->spec->preferred_chain)
                  == 0;
}

/* RFC 8555 section 7.4.2. */
static void keep_alternates(turn_t *t)
{
    acme_order_t *order = t->order;
    acme_url_t *url;
    const char *link;
    int i;

    apr_array_clear(order->alternates);
    for (i = 0; i < ACME_ALTERNATES_MAX; i++) {
        link = acme_http_response_link(t->response, "alternate", i, t->scratch);
        if (link == NULL) {
            return;
        }
        if (t->event->url != NULL
            && acme_url_resolve(&url, t->event->url, link, t->scratch, NULL) == ACME_OK) {
            APR_ARRAY_PUSH(order->alternates, const char *) = apr_pstrdup(order->pool, url->text);
        }
    }
}

static acme_rv_t next_alternate(turn_t *t, int at)
{
    if (t->order->preferred || at >= t->order->alternates->nelts) {
        return go(t, ACME_STEP_STORE);
    }
    (void)go(t, ACME_STEP_ALTERNATE);
    t->order->at = at;
    return ACME_OK;
}

/* A replica of the CA may not have it yet. */
static acme_rv_t take_download(turn_t *t)
{
    if (t->status == 404 && t->order->downloads == 0) {
        t->order->downloads = 1;
        return wait_until(t, POLL_LEAST);
    }
    if (!ok(t)) {
        return refused(t);
    }
    if (!chain_type(t)) {
        return acme_error_set(t->err, ACME_E_HTTP, "AC0355", "the certificate comes as %s",
                              acme_http_response_media_type(t->response, t->scratch));
    }
    if (t->len == 0) {
        return acme_error_set(t->err, ACME_E_HTTP, "AC0356", "the certificate is empty");
    }
    if (t->order->spec->preferred_chain == NULL) {
        return go(t, ACME_STEP_STORE);
    }
    t->order->preferred = is_preferred(t);
    keep_alternates(t);
    return next_alternate(t, 0);
}

/* One that does not come, or not as a chain, is passed over: there is a certificate already. */
static acme_rv_t take_alternate(turn_t *t)
{
    t->order->preferred = ok(t) && chain_type(t) && is_preferred(t);
    return next_alternate(t, t->order->at + 1);
}

static acme_rv_t take_store(turn_t *t)
{
    return go(t, ACME_STEP_DONE);
}

static acme_rv_t take_done(turn_t *t)
{
    (void)t;
    return ACME_OK;
}

/* ---- the table ---- */

static const row_t rows[ACME_STEPS] = {
    [ACME_STEP_KEY] = {"key", ACME_ACT_KEY, 0, NULL, take_key},
    [ACME_STEP_FIND] = {"find-order", ACME_ACT_POST, 0, plan_find, take_find},
    [ACME_STEP_NEW_ORDER] = {"new-order", ACME_ACT_POST, 1, plan_new_order, take_new_order},
    [ACME_STEP_SYNC] = {"order-sync", ACME_ACT_POST, 0, plan_order, take_sync},
    [ACME_STEP_AUTHZ] = {"authz", ACME_ACT_POST, 0, plan_authz, take_authz},
    [ACME_STEP_PRESENT] = {"present", ACME_ACT_PRESENT, 0, NULL, take_present},
    [ACME_STEP_CHALLENGE] = {"challenge", ACME_ACT_POST, 0, plan_challenge, take_challenge},
    [ACME_STEP_WATCH] = {"authz-poll", ACME_ACT_POST, 0, plan_authz, take_watch},
    [ACME_STEP_VALIDATE] = {"validate", ACME_ACT_POST, 0, plan_order, take_poll},
    [ACME_STEP_REASON] = {"reason", ACME_ACT_POST, 0, plan_authz, take_reason},
    [ACME_STEP_FINALIZE] = {"finalize", ACME_ACT_FINALIZE, 1, plan_finalize, take_finalize},
    [ACME_STEP_ISSUE] = {"issue", ACME_ACT_POST, 0, plan_order, take_poll},
    [ACME_STEP_DOWNLOAD] = {"certificate", ACME_ACT_POST, 0, plan_download, take_download},
    [ACME_STEP_ALTERNATE] = {"alternate", ACME_ACT_POST, 0, plan_alternate, take_alternate},
    [ACME_STEP_STORE] = {"store", ACME_ACT_STORE, 0, NULL, take_store},
    [ACME_STEP_DONE] = {"done", ACME_ACT_DONE, 0, NULL, take_done},
};

static int asks(acme_step_t step)
{
    return rows[step].act == ACME_ACT_POST || rows[step].act == ACME_ACT_FINALIZE;
}

/* ---- taking what came ---- */

/* No reply. A request that may have arrived must not be made again blindly. */
static acme_rv_t lost(turn_t *t)
{
    acme_order_t *order = t->order;
    acme_step_t step = step_now(order);

    if (step == ACME_STEP_NEW_ORDER && t->event->maybe_sent) {
        order->step = ACME_STEP_FIND;
        order->pages = order->looked = 0;
    }
    else if (step == ACME_STEP_NEW_ORDER && order->step == step) {
        order->intent = 0;
        t->journal = 1;
    }
    if (step == ACME_STEP_FINALIZE && t->event->maybe_sent) {
        order->step = ACME_STEP_SYNC;
    }
    if (t->event->failed != NULL && t->err != NULL && t->err->kind == ACME_E_NONE
        && t->event->failed->kind != ACME_E_NONE) {
        *t->err = *t->event->failed;
        return ACME_FAIL;
    }
    return acme_error_set(t->err, ACME_E_NETWORK, "AC0357", "no reply");
}

static int requests_max(const acme_order_t *order)
{
    int more = order->authz->nelts - REQUESTS_FREE;

    return REQUESTS_MAX + (more > 0 ? more * REQUESTS_PER_NAME : 0);
}

/* An order that goes on for ever costs neither the CA nor us more than this; the next attempt
 * finds it where it is. */
static acme_rv_t within_budget(turn_t *t, acme_rv_t rv)
{
    const acme_order_t *order = t->order;

    if (rv == ACME_FAIL || !asks(order->step) || order->step == ACME_STEP_ALTERNATE) {
        return rv; /* there are few alternates, and the certificate is there */
    }
    if (order->requests >= requests_max(order)) {
        rv = acme_error_set(t->err, ACME_E_PROTOCOL, "AC0358",
                            "not finished after %d requests; the order will be resumed",
                            order->requests);
    }
    else if (rv == ACME_AGAIN && t->event->now >= order->deadline) {
        rv = acme_error_set(t->err, ACME_E_PROTOCOL, "AC0359",
                            "not finished in time; the order will be resumed");
    }
    if (rv == ACME_FAIL && t->err != NULL && order->not_before > t->event->now) {
        t->err->not_before = order->not_before;
    }
    return rv;
}

static acme_rv_t digest(turn_t *t)
{
    acme_order_t *order = t->order;
    acme_step_t step = t->event->step;

    order->not_before = 0;
    if (!asks(step)) {
        return rows[step].take(t);
    }
    if (order->requests++ == 0) {
        order->deadline = acme_time_add(t->event->now, DEADLINE);
    }
    if (t->response == NULL) {
        return step == ACME_STEP_ALTERNATE ? next_alternate(t, order->at + 1) : lost(t);
    }
    t->status = acme_http_response_status(t->response);
    t->body = acme_http_response_body(t->response, &t->len);
    return within_budget(t, rows[step].take(t));
}

acme_rv_t acme_order_take(acme_order_t *order, const acme_event_t *event, int *journal,
                          acme_error_t *err)
{
    turn_t turn;
    acme_rv_t rv;

    memset(&turn, 0, sizeof(turn));
    turn.order = order;
    turn.event = event;
    turn.response = event->response;
    turn.err = err;
    if (order->dead || event->step != step_now(order)) {
        rv = acme_error_set(err, ACME_E_INTERNAL, "AC0360", "%s does not follow %s",
                            acme_step_name(event->step), acme_step_name(order->step));
        goto out;
    }
    if (apr_pool_create(&turn.scratch, order->pool) != APR_SUCCESS) {
        rv = acme_error_set(err, ACME_E_INTERNAL, "AC0361", "out of memory");
        goto out;
    }
    rv = digest(&turn);
    apr_pool_destroy(turn.scratch);
out:
    if (journal != NULL) {
        *journal = turn.journal;
    }
    return rv;
}
