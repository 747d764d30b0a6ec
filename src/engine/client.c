/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#include "engine/client.h"

#include <string.h>

#include <apr_strings.h>

#include "base/idn.h"
#include "base/time.h"
#include "protocol/backoff.h"

#define PRESENTED_AT_LEAST apr_time_from_sec(3600)
#define PRESENTED_AT_MOST apr_time_from_sec(24 * 3600)
#define SETTLE_AGAIN APR_USEC_PER_SEC

/* An order record that holds no order: there is no other way to take one back. */
#define NO_ORDER "{}"

/* Names of an order that are self-checked. */
#define CHECKS_MAX 4

struct acme_client_t {
    acme_client_conf_t conf;
    apr_pool_t *pool;
    apr_pool_t *scratch;       /* cleared before each step */
    acme_order_t *order;
    acme_key_t *key;           /* the certificate's */
    const char *chain_pem;     /* as downloaded */
    apr_size_t chain_len;
    const char *preferred_pem; /* the alternate one that AcmePreferredChain wants, or NULL */
    apr_size_t preferred_len;
    acme_chain_t *chain;       /* checked */
    acme_leaf_t leaf;
    acme_error_t failed;       /* of the last exchange */
    const char *step;
    const char *challenge;
    apr_time_t started;        /* of acme_net_now */
    apr_uint32_t strays;       /* when the challenges were presented */
    int resumed, recorded;     /* an order record stands in the log */
    int presented;             /* all challenges of this step */
    int present_at;            /* the one that is being presented, or settled */
    acme_txt_t *txt;
    int ending;                /* result is known, challenges are being withdrawn */
    acme_rv_t result;
    acme_error_t cause;        /* of the result */
    int reregistered;
    int spoilt;                /* what the order brought cannot be used */
    int store_failures;
    int live;
    int stored; /* on record, and live unless it waits for a restart */
    int checks;                /* self-checks asked for */
    int profile_told;
    int done;
};

static apr_time_t now_of(const acme_client_t *client)
{
    return client->conf.now != NULL ? client->conf.now(client->conf.now_baton) : apr_time_now();
}

static double random_of(const acme_client_t *client)
{
    return client->conf.random != NULL ? client->conf.random(client->conf.random_baton) : 0.0;
}

static const char *label_of(const acme_client_t *client)
{
    return client->conf.spec->label;
}

static acme_rv_t append(acme_client_t *client, acme_record_type_t type, const char *payload,
                        apr_size_t len, acme_error_t *err)
{
    acme_store_t *store = client->conf.store;

    if (client->conf.rehearsal) {
        return ACME_OK;
    }
    return store->append(store, client->conf.spec->id, type, payload, len, now_of(client),
                         client->scratch, err);
}

static acme_rv_t load(acme_record_set_t *set, acme_client_t *client, acme_error_t *err)
{
    acme_store_t *store = client->conf.store;

    if (client->conf.rehearsal) {
        memset(set, 0, sizeof(*set));
        return ACME_OK;
    }
    return store->load(store, set, client->conf.spec->id, client->scratch, err);
}

static void tell(acme_client_t *client, const char *state)
{
    acme_board_status_t *status = client->conf.status;
    const char *url = client->order->order_url;

    if (status == NULL) {
        return;
    }
    apr_cpystrn(status->state, state, sizeof(status->state));
    apr_cpystrn(status->step, client->step, sizeof(status->step));
    apr_cpystrn(status->order_url, url != NULL ? url : "", sizeof(status->order_url));
    status->changed = now_of(client);
    if (client->conf.board != NULL && client->conf.row >= 0) {
        acme_board_status_write(client->conf.board, client->conf.row, status);
    }
}

/* ---- beginning: the recorded order, or a new one ---- */

/* A key that waits for its certificate: not one that an earlier certificate has used up. */
static int key_pending(const acme_record_set_t *set)
{
    return set->present[ACME_REC_KEY]
           && !(set->present[ACME_REC_CERTIFICATE]
                && set->rec[ACME_REC_CERTIFICATE].seq > set->rec[ACME_REC_KEY].seq);
}

static acme_rv_t key_load(acme_key_t **out, const acme_client_t *client,
                          const acme_record_set_t *set)
{
    const acme_record_t *rec = &set->rec[ACME_REC_KEY];
    acme_key_type_t type;

    if (acme_key_from_pem(out, rec->payload, rec->len, client->pool, NULL) != ACME_OK
        || acme_key_type(&type, *out) != ACME_OK || type != client->conf.spec->key_type) {
        *out = NULL;
        return ACME_FAIL;
    }
    return ACME_OK;
}

static acme_rv_t dropped(const acme_client_t *client, const char *why)
{
    acme_log(client->conf.log, ACME_LOG_INFO, "AC0391", label_of(client),
             "the recorded order is dropped, a new one is placed: %s", why);
    return ACME_FAIL;
}

static int order_recorded(const acme_record_set_t *set)
{
    const acme_record_t *rec = &set->rec[ACME_REC_ORDER];

    return set->present[ACME_REC_ORDER]
           && !(set->present[ACME_REC_CERTIFICATE]
                && set->rec[ACME_REC_CERTIFICATE].seq > rec->seq)
           && !(rec->len == strlen(NO_ORDER) && memcmp(rec->payload, NO_ORDER, rec->len) == 0);
}

int acme_client_order_under_way(const acme_record_set_t *set, const acme_spec_t *spec,
                                apr_time_t now, apr_pool_t *scratch)
{
    const acme_record_t *rec = &set->rec[ACME_REC_ORDER];
    acme_order_t *order;

    return order_recorded(set)
           && acme_order_restore(&order, spec, rec->payload, rec->len, spec->challenges,
                                 spec->n_challenges, now, scratch, NULL) == ACME_OK
           && (order->order_url != NULL || order->intent);
}

/* A finalized order is worth nothing without its key. */
static acme_rv_t resume_key(acme_client_t *client, const acme_order_t *order,
                            const acme_record_set_t *set)
{
    const char *wanted = order->key_digest;

    if (wanted == NULL || *wanted == '\0') {
        return ACME_OK;
    }
    if (!key_pending(set) || key_load(&client->key, client, set) != ACME_OK
        || strcmp(acme_key_digest(client->key, client->pool), wanted) != 0) {
        client->key = NULL;
        return dropped(client, "its key is not known any more");
    }
    return ACME_OK;
}

static acme_rv_t resume(acme_client_t *client, const acme_record_set_t *set,
                        const acme_challenge_type_t *types, int n_types)
{
    const acme_record_t *rec = &set->rec[ACME_REC_ORDER];
    acme_order_t *order;
    acme_error_t err;

    if (!order_recorded(set)) {
        return ACME_FAIL;
    }
    acme_error_clear(&err);
    if (acme_order_restore(&order, client->conf.spec, rec->payload, rec->len, types, n_types,
                           now_of(client), client->pool, &err) != ACME_OK) {
        return dropped(client, err.text);
    }
    if (strcmp(order->directory, client->conf.ca->directory_url) != 0) {
        return dropped(client, "it was placed at another CA");
    }
    if (resume_key(client, order, set) != ACME_OK) {
        return ACME_FAIL;
    }
    client->order = order;
    client->resumed = 1;
    client->recorded = 1;
    if (order->order_url != NULL) {
        acme_log(client->conf.log, ACME_LOG_INFO, "AC0712", label_of(client), "resuming order %s",
                 order->order_url);
    }
    else if (order->intent) {
        acme_log(client->conf.log, ACME_LOG_INFO, "AC0719", label_of(client),
                 "resuming an order that may have reached the CA");
    }
    return ACME_OK;
}

/* What is to be removed from the DNS is so for a rehearsal too. */
static acme_rv_t make_txt(acme_client_t *client, acme_error_t *err)
{
    const acme_client_conf_t *conf = &client->conf;
    acme_record_set_t set;
    acme_txt_conf_t txt;

    if (conf->store->load(conf->store, &set, conf->spec->id, client->scratch, err) != ACME_OK) {
        return ACME_FAIL;
    }
    memset(&txt, 0, sizeof(txt));
    txt.spec = conf->spec;
    txt.store = conf->store;
    txt.programs = conf->presenters != NULL ? conf->presenters->programs : NULL;
    txt.log = conf->log;
    txt.ca = conf->ca->directory_url;
    txt.now = conf->now;
    txt.now_baton = conf->now_baton;
    return acme_txt_create(&client->txt, &txt, &set, client->pool, err);
}

acme_rv_t acme_client_create(acme_client_t **out, const acme_client_conf_t *conf,
                             const acme_challenge_type_t *types, int n_types, apr_pool_t *pool,
                             acme_error_t *err)
{
    acme_client_t *client = apr_pcalloc(pool, sizeof(*client));
    acme_record_set_t set;

    *out = NULL;
    client->conf = *conf;
    client->pool = pool;
    client->step = "account";
    client->challenge = "";
    client->started = acme_net_now();
    apr_pool_create(&client->scratch, pool);
    if (load(&set, client, err) != ACME_OK || make_txt(client, err) != ACME_OK) {
        return ACME_FAIL;
    }
    if (resume(client, &set, types, n_types) != ACME_OK) {
        client->order = acme_order_create(conf->spec, conf->ca->directory_url, types, n_types,
                                          now_of(client), pool);
        acme_order_leave_out(client->order, acme_names_copy(conf->left_out, pool));
    }
    client->order->one_by_one = conf->one_by_one;
    apr_pool_clear(client->scratch);
    *out = client;
    return ACME_OK;
}

/* ---- the record of the order ---- */

static acme_rv_t journal(acme_client_t *client, acme_error_t *err)
{
    const char *payload = acme_order_payload(client->order, client->scratch);

    if (append(client, ACME_REC_ORDER, payload, strlen(payload), err) != ACME_OK) {
        return ACME_FAIL;
    }
    client->recorded = 1;
    return ACME_OK;
}

/* Once an order is placed, losing its record is no reason to lose the order. */
static void journal_or_log(acme_client_t *client)
{
    acme_error_t err;

    acme_error_clear(&err);
    if (journal(client, &err) != ACME_OK) {
        acme_log(client->conf.log, ACME_LOG_DEBUG, "AC0392", label_of(client),
                 "%s: the order's progress could not be recorded: %s", client->step, err.text);
    }
}

static void forget_order(acme_client_t *client)
{
    if (client->recorded) {
        (void)append(client, ACME_REC_ORDER, NO_ORDER, strlen(NO_ORDER), NULL);
        client->recorded = 0;
    }
}

/* What must be true before the act: the CA takes new orders, and the intent is on disk. */
static acme_rv_t intend(acme_client_t *client, const acme_plan_t *plan, apr_time_t *until,
                        acme_error_t *err)
{
    if (plan->step == ACME_STEP_NEW_ORDER) {
        *until = acme_session_paused(client->conf.session);
        if (*until > now_of(client)
            || acme_session_order_allowed(client->conf.session, until) == ACME_AGAIN) {
            return ACME_AGAIN;
        }
        return plan->journal ? journal(client, err) : ACME_OK;
    }
    if (plan->journal) {
        journal_or_log(client);
    }
    return ACME_OK;
}

/* ---- acts ---- */

static acme_rv_t key_make(acme_client_t *client, acme_error_t *err)
{
    const acme_stop_t *stop = client->conf.stop;
    const char *pem;

    if (acme_key_generate_unless(&client->key, client->conf.spec->key_type,
                                 stop != NULL ? stop->stopped : NULL,
                                 stop != NULL ? stop->baton : NULL, client->pool, err)
        != ACME_OK) {
        return ACME_FAIL;
    }
    pem = acme_key_to_pem(client->key, client->scratch);
    if (pem == NULL) {
        return acme_error_set(err, ACME_E_INTERNAL, "AC0393", "the key cannot be written as PEM");
    }
    return append(client, ACME_REC_KEY, pem, strlen(pem), err);
}

/* AcmeKeyReuse: the key in service is recorded like a new one, so that whoever resumes the order,
 * and root, find it where they look for one. */
static acme_rv_t key_keep(acme_client_t *client, acme_error_t *err)
{
    const char *pem = acme_key_to_pem(client->conf.former_key, client->scratch);

    if (pem == NULL
        || acme_key_from_pem(&client->key, pem, strlen(pem), client->pool, NULL) != ACME_OK) {
        return acme_error_set(err, ACME_E_INTERNAL, "AC0315", "the key in service cannot be kept");
    }
    return append(client, ACME_REC_KEY, pem, strlen(pem), err);
}

static acme_rv_t key_reused(acme_client_t *client, acme_error_t *err)
{
    const acme_client_conf_t *conf = &client->conf;
    acme_key_type_t type;

    if (!conf->spec->key_reuse || conf->new_key || conf->former_key == NULL
        || acme_key_type(&type, conf->former_key) != ACME_OK || type != conf->spec->key_type) {
        return ACME_AGAIN;
    }
    return key_keep(client, err);
}

/* Is there a recorded key to go on with? One that somebody wants to be rid of is not, unless it was
 * made since he asked. */
static int key_usable(const acme_client_conf_t *conf, const acme_record_set_t *set)
{
    int reuse = conf->spec->key_reuse && set->present[ACME_REC_KEY];

    if (conf->new_key && reuse) {
        return key_pending(set) && set->rec[ACME_REC_KEY].seq > set->rec[ACME_REC_ATTEMPT].seq;
    }
    return key_pending(set) || reuse;
}

static acme_rv_t act_key(acme_client_t *client, const acme_plan_t *plan, acme_event_t *event,
                         apr_time_t *until, acme_error_t *err)
{
    const acme_client_conf_t *conf = &client->conf;
    acme_record_set_t set;

    (void)plan;
    (void)until;
    if (load(&set, client, err) != ACME_OK) {
        return ACME_FAIL;
    }
    if (!key_usable(conf, &set) || key_load(&client->key, client, &set) != ACME_OK) {
        acme_rv_t rv = key_reused(client, err);

        if (rv == ACME_FAIL || (rv == ACME_AGAIN && key_make(client, err) != ACME_OK)) {
            return ACME_FAIL;
        }
    }
    event->key_digest = acme_key_digest(client->key, client->pool);
    return ACME_OK;
}

/* What concerns more than this order: the CA's rest, a forgotten account. ACME_AGAIN: ask again. */
static acme_rv_t heed(acme_client_t *client, const acme_http_response_t *response,
                      acme_error_t *err)
{
    acme_session_t *session = client->conf.session;
    acme_problem_t *problem = NULL;
    acme_error_t cause;

    if (acme_http_response_status(response) < 400) {
        return ACME_OK;
    }
    acme_error_clear(&cause);
    (void)acme_session_refused(&problem, session, response, client->scratch, &cause);
    if (strcmp(cause.code, "AC0311") == 0 || strcmp(cause.code, "AC0306") == 0) {
        *err = cause; /* it says more than the order could: the page to visit, the algorithm */
        return ACME_FAIL;
    }
    if (problem == NULL || !problem->account_missing || client->reregistered) {
        return ACME_OK;
    }
    client->reregistered = 1;
    if (acme_session_account_lost(session, err) != ACME_OK
        || acme_session_ready(session, client->scratch, err) != ACME_OK) {
        return ACME_FAIL;
    }
    return ACME_AGAIN;
}

static acme_rv_t exchange(acme_client_t *client, acme_event_t *event, const acme_plan_t *plan,
                          const char *payload, acme_error_t *err)
{
    acme_http_response_t *response;
    acme_url_t *url;
    acme_rv_t rv;

    if (acme_url_parse(&url, plan->url, client->scratch, err) != ACME_OK) {
        return ACME_FAIL;
    }
    event->url = url;
    do {
        response = NULL;
        acme_error_clear(&client->failed);
        rv = acme_session_post(&response, client->conf.session, plan->url, payload, plan->body_max,
                               &event->maybe_sent, client->scratch, &client->failed);
        if (rv != ACME_OK && client->failed.kind == ACME_E_STOPPED) {
            *err = client->failed;
            return ACME_FAIL;
        }
        rv = rv == ACME_OK ? heed(client, response, err) : ACME_OK;
    } while (rv == ACME_AGAIN);
    event->response = response;
    event->failed = response == NULL ? &client->failed : NULL;
    return rv;
}

/* The CA comes now: what does it meet? */
static void self_check(acme_client_t *client)
{
    const acme_client_conf_t *conf = &client->conf;
    const acme_order_authz_t *authz
        = &APR_ARRAY_IDX(client->order->authz, client->order->at, const acme_order_authz_t);

    if (conf->checker == NULL || !conf->spec->self_check || authz->token == NULL
        || client->checks >= CHECKS_MAX) {
        return;
    }
    client->checks++;
    acme_checker_ask(conf->checker, label_of(client), conf->row, authz->type, authz->name,
                     authz->token,
                     acme_key_authorization(authz->token, acme_session_thumbprint(conf->session),
                                            client->scratch));
}

static acme_rv_t act_post(acme_client_t *client, const acme_plan_t *plan, acme_event_t *event,
                          apr_time_t *until, acme_error_t *err)
{
    (void)until;
    if (plan->step == ACME_STEP_CHALLENGE) {
        self_check(client);
    }
    return exchange(client, event, plan, plan->payload, err);
}

static acme_rv_t act_finalize(acme_client_t *client, const acme_plan_t *plan, acme_event_t *event,
                              apr_time_t *until, acme_error_t *err)
{
    const acme_spec_t *spec = client->conf.spec;
    const char *csr;
    acme_csr_t what;

    (void)until;
    memset(&what, 0, sizeof(what));
    what.names = client->order->names;
    what.country = spec->country;
    what.state = spec->state;
    what.locality = spec->locality;
    what.organization = spec->organization;
    what.common_name = spec->common_name;
    what.must_staple = spec->must_staple;
    if (client->key == NULL) {
        return acme_error_set(err, ACME_E_INTERNAL, "AC0394", "no key to make a request with");
    }
    if (acme_csr_create(&csr, &what, client->key, client->scratch, err) != ACME_OK) {
        return ACME_FAIL;
    }
    return exchange(client, event, plan, acme_payload_finalize(csr, client->scratch), err);
}

/* ---- challenges ---- */

static apr_time_t presented_until(const acme_client_t *client)
{
    apr_time_t now = now_of(client);
    apr_time_t at_least = acme_time_add(now, PRESENTED_AT_LEAST);
    apr_time_t at_most = acme_time_add(now, PRESENTED_AT_MOST);
    apr_time_t expires = client->order->expires;

    return expires < at_least ? at_least : expires > at_most ? at_most : expires;
}

static void describe(acme_presentation_t *what, const acme_client_t *client,
                     const acme_order_authz_t *authz, apr_interval_time_t *delay)
{
    memset(what, 0, sizeof(*what));
    what->spec = client->conf.spec;
    what->row = client->conf.row;
    what->type = authz->type;
    what->name = authz->name;
    what->token = authz->token;
    what->txt = client->txt;
    what->identifier = authz->name;
    what->issuers = authz->issuers;
    what->account_uri = authz->account_uri;
    what->random = random_of(client);
    what->delay = delay;
}

/* To withdraw takes no account. */
static void describe_proof(acme_presentation_t *what, const acme_client_t *client,
                           const acme_order_authz_t *authz, apr_interval_time_t *delay)
{
    describe(what, client, authz, delay);
    what->expires = presented_until(client);
    if (acme_challenge_type_has_token(authz->type)) {
        what->key_authorization = acme_key_authorization(
            authz->token, acme_session_thumbprint(client->conf.session), client->scratch);
    }
    what->account_url = acme_session_kid(client->conf.session);
}

static acme_order_authz_t *authz_at(const acme_client_t *client, int i)
{
    return &APR_ARRAY_IDX(client->order->authz, i, acme_order_authz_t);
}

static int needs_proof(const acme_order_authz_t *authz)
{
    return !authz->valid && authz->token != NULL;
}

/* Behind the last one that the present step is about. */
static int present_end(const acme_client_t *client)
{
    const acme_order_t *order = client->order;

    return order->one_by_one && order->at < order->authz->nelts ? order->at + 1
                                                                : order->authz->nelts;
}

static acme_rv_t withdraw(acme_client_t *client, apr_interval_time_t *delay);

/* One by one, what proved the name before must be gone before the next is published. */
static acme_rv_t present_begin(acme_client_t *client, apr_interval_time_t *delay)
{
    acme_board_t *board = client->conf.board;

    if (client->order->one_by_one && withdraw(client, delay) == ACME_AGAIN) {
        return ACME_AGAIN;
    }
    if (board != NULL) {
        acme_board_arrivals_reset(board, client->conf.row);
        client->strays = acme_board_strays(board);
    }
    client->present_at = client->order->at;
    client->presented = 1;
    return ACME_OK;
}

static acme_rv_t present_all(acme_client_t *client, apr_interval_time_t *delay, acme_error_t *err)
{
    acme_presentation_t what;
    acme_rv_t rv = ACME_OK;

    for (; client->present_at < present_end(client); client->present_at++) {
        const acme_order_authz_t *authz = authz_at(client, client->present_at);

        if (!needs_proof(authz)) {
            continue;
        }
        describe_proof(&what, client, authz, delay);
        client->challenge = acme_challenge_type_name(authz->type);
        rv = acme_present(client->conf.presenters, &what, client->scratch, err);
        if (rv != ACME_OK) {
            return rv;
        }
        acme_log(client->conf.log, ACME_LOG_DEBUG, "AC0410", label_of(client),
                 "%s for %s is presented", client->challenge, authz->name);
    }
    client->presented = 2;
    client->present_at = client->order->at;
    return ACME_OK;
}

static acme_rv_t settle_all(acme_client_t *client, apr_interval_time_t *delay, acme_error_t *err)
{
    acme_presentation_t what;
    acme_rv_t rv;

    for (; client->present_at < present_end(client); client->present_at++) {
        if (!needs_proof(authz_at(client, client->present_at))) {
            continue;
        }
        describe_proof(&what, client, authz_at(client, client->present_at), delay);
        rv = acme_settled(client->conf.presenters, &what, client->scratch, err);
        if (rv != ACME_OK) {
            return rv;
        }
    }
    client->presented = 0;
    return ACME_OK;
}

/* What somebody has to publish is shown as long as it is missing. */
static void show_publish(const acme_client_t *client, apr_time_t until)
{
    const char *publish = acme_txt_publish(client->txt);
    acme_board_status_t *status = client->conf.status;

    if (status != NULL) {
        status->next = publish != NULL ? until : 0;
        apr_cpystrn(status->publish, publish != NULL ? publish : "", sizeof(status->publish));
    }
}

static acme_rv_t act_present(acme_client_t *client, const acme_plan_t *plan, acme_event_t *event,
                             apr_time_t *until, acme_error_t *err)
{
    apr_interval_time_t delay = SETTLE_AGAIN;
    acme_rv_t rv = ACME_OK;

    (void)plan;
    (void)event;
    if (client->presented == 0) {
        rv = present_begin(client, &delay);
    }
    if (rv == ACME_OK && client->presented == 1) {
        rv = present_all(client, &delay, err);
    }
    if (rv == ACME_OK && client->presented == 2) {
        rv = settle_all(client, &delay, err);
    }
    *until = acme_time_add(now_of(client), delay);
    show_publish(client, *until);
    if (rv == ACME_AGAIN && client->order->expires <= now_of(client)) {
        return acme_error_set(err, ACME_E_CHALLENGE, "AC0451", "the order has expired while a "
                              "record was waited for");
    }
    return rv;
}

/* Also what an earlier owner presented for this certificate and nobody knows by name any more. */
static acme_rv_t withdraw(acme_client_t *client, apr_interval_time_t *delay)
{
    acme_presentation_t what;
    int i;

    for (i = 0; i < client->order->authz->nelts; i++) {
        const acme_order_authz_t *authz = authz_at(client, i);

        if (authz->token != NULL && !acme_challenge_type_is_dns(authz->type)) {
            describe(&what, client, authz, delay);
            (void)acme_withdraw(client->conf.presenters, &what);
        }
    }
    if (client->conf.board != NULL && client->conf.row >= 0) {
        acme_board_challenge_remove(client->conf.board, client->conf.row, NULL);
    }
    return acme_txt_teardown(client->txt, delay);
}

static void add_tail(acme_error_t *err, const char *tail)
{
    char text[ACME_ERROR_TEXT];
    apr_size_t len = strlen(tail);

    acme_printable(text, sizeof(text) - len, err->text, -1);
    apr_cpystrn(text + strlen(text), tail, len + 1);
    apr_cpystrn(err->text, text, sizeof(err->text));
}

static int is_dns(const char *challenge)
{
    acme_challenge_type_t type;

    return acme_challenge_type_parse(&type, challenge) == ACME_OK
           && acme_challenge_type_is_dns(type);
}

/* Whether the CA's requests came here at all is the best diagnosis there is. */
static void add_arrivals(const acme_client_t *client, acme_error_t *err)
{
    acme_board_arrivals_t seen;
    char tail[200];

    if (client->conf.board == NULL || client->conf.row < 0 || is_dns(client->challenge)) {
        return;
    }
    acme_board_arrivals_read(&seen, client->conf.board, client->conf.row);
    apr_snprintf(tail, sizeof(tail), "; arrivals here: %u over IPv4, %u over IPv6, %u with a "
                 "foreign Host; %u strays", seen.v4, seen.v6, seen.foreign,
                 acme_board_strays(client->conf.board) - client->strays);
    add_tail(err, tail);
}

/* What this machine saw by the same way, as far as it is known; nothing waits for it. */
static void end_self_check(acme_client_t *client, int failed, acme_error_t *err)
{
    const char *name = failed ? client->order->name_failed : NULL;
    char text[ACME_SELFCHECK_TEXT + 300], tail[sizeof(text) + 20];

    if (client->conf.checker == NULL || client->checks == 0) {
        return;
    }
    acme_checker_end(client->conf.checker, client->conf.row, name, text, sizeof(text));
    if (*text != '\0') {
        apr_snprintf(tail, sizeof(tail), "; self-check of %s", text);
        add_tail(err, tail);
    }
}

/* ---- the certificate ---- */

/* The CA may have sent rubbish once; twice the same, or another's certificate, and the order is no
 * use any more. */
static acme_rv_t unusable(acme_client_t *client, int hopeless, acme_error_t *err)
{
    client->spoilt = hopeless || client->resumed;
    if (client->spoilt && err->retry == ACME_RETRY_LADDER) {
        err->retry = ACME_RETRY_SLOW;
    }
    return ACME_FAIL;
}

/* *hopeless: it is not for our key. */
static acme_rv_t chain_good(acme_chain_t **good, int *hopeless, acme_client_t *client,
                            const char *pem, apr_size_t len, acme_error_t *err)
{
    const acme_spec_t *spec = client->conf.spec;
    acme_chain_want_t want;
    acme_chain_t *came;
    int left_out = 0;

    *hopeless = 0;
    if (acme_chain_from_pem(&came, pem, len, client->pool, err) != ACME_OK) {
        return ACME_FAIL;
    }
    memset(&want, 0, sizeof(want));
    want.names = client->order->names;
    want.key = client->key;
    want.key_type = spec->key_type;
    want.must_staple = spec->must_staple;
    want.now = now_of(client);
    if (acme_chain_check(good, &left_out, came, &want, client->pool, err) != ACME_OK) {
        *hopeless = !acme_chain_matches_key(came, client->key);
        return ACME_FAIL;
    }
    if (left_out > 0) {
        acme_log(client->conf.log, ACME_LOG_WARNING, "AC0551", label_of(client),
                 "%d certificates behind the chain did not belong to it and are left out",
                 left_out);
    }
    return ACME_OK;
}

/* AcmePreferredChain: a chain more, never a certificate less. ACME_AGAIN: the default one it is. */
static acme_rv_t check_preferred(acme_client_t *client, acme_chain_t **good)
{
    const char *wanted = client->conf.spec->preferred_chain;
    acme_error_t err;
    int hopeless;

    if (wanted == NULL || client->order->preferred) {
        acme_error_clear(&err);
        if (client->preferred_pem == NULL
            || chain_good(good, &hopeless, client, client->preferred_pem, client->preferred_len,
                          &err) == ACME_OK) {
            return client->preferred_pem != NULL ? ACME_OK : ACME_AGAIN;
        }
        acme_log(client->conf.log, ACME_LOG_WARNING, "AC0527", label_of(client),
                 "the chain of \"%s\" cannot be used, the CA's default one is taken: %s", wanted,
                 err.text);
        return ACME_AGAIN;
    }
    acme_log(client->conf.log, ACME_LOG_NOTICE, "AC0526", label_of(client),
             "the CA offers no chain of \"%s\" (AcmePreferredChain): its default one is taken",
             wanted);
    return ACME_AGAIN;
}

static acme_rv_t check(acme_client_t *client, acme_error_t *err)
{
    acme_chain_t *good;
    int hopeless;

    if (client->chain_pem == NULL || client->key == NULL) {
        return acme_error_set(err, ACME_E_INTERNAL, "AC0550", "no chain or no key to check");
    }
    if (check_preferred(client, &good) != ACME_OK
        && chain_good(&good, &hopeless, client, client->chain_pem, client->chain_len, err)
               != ACME_OK) {
        return unusable(client, hopeless, err);
    }
    if (acme_chain_leaf(&client->leaf, good, client->pool, err) != ACME_OK) {
        return ACME_FAIL;
    }
    if (client->conf.spec->must_staple && !client->leaf.must_staple) {
        acme_log(client->conf.log, ACME_LOG_WARNING, "AC0528", label_of(client),
                 "serial %s has no must-staple, although the request asked for it "
                 "(AcmeMustStaple): %s does not issue it", client->leaf.serial,
                 client->conf.ca->name);
    }
    client->chain = good;
    return ACME_OK;
}

static acme_rv_t record_certificate(acme_client_t *client, acme_error_t *err)
{
    acme_issued_t issued;
    const char *payload;
    apr_size_t len;

    memset(&issued, 0, sizeof(issued));
    issued.key_digest = client->leaf.key_digest;
    issued.directory = client->order->directory;
    issued.spec_digest = client->conf.spec->digest;
    issued.left_out = client->order->left_out;
    issued.challenge = client->order->challenge_used != NULL ? client->order->challenge_used : "";
    issued.issued = now_of(client);
    payload = acme_certificate_payload(&len, &issued,
                                       acme_chain_to_pem(client->chain, client->scratch),
                                       client->scratch);
    return append(client, ACME_REC_CERTIFICATE, payload, len, err);
}

static void log_obtained(const acme_client_t *client)
{
    const char *challenge = client->order->challenge_used;
    const char *unicode = acme_idn_to_unicode(label_of(client), client->scratch);
    apr_time_t taken = acme_net_now() - client->started;
    char until[ACME_TIME_TEXT];

    acme_log(client->conf.log, ACME_LOG_NOTICE, "AC0720", label_of(client),
             "obtained%s%s%s: serial %s, issuer %s, valid until %s, from %s, %s, %.2f s",
             unicode != NULL ? " (" : "", unicode != NULL ? unicode : "",
             unicode != NULL ? ")" : "", client->leaf.serial, client->leaf.issuer,
             acme_time_format(until, client->leaf.not_after), client->conf.ca->name,
             challenge != NULL && *challenge != '\0' ? challenge : "authorizations reused",
             (double)(taken > 0 ? taken : 0) / APR_USEC_PER_SEC);
}

static void publish(acme_client_t *client)
{
    const acme_client_conf_t *conf = &client->conf;
    acme_error_t err;

    if (conf->spec->activate == ACME_ACTIVATE_RESTART) {
        acme_log(conf->log, ACME_LOG_NOTICE, "AC0811", label_of(client),
                 "serial %s goes live at the next restart", client->leaf.serial);
        return;
    }
    acme_error_clear(&err);
    if (conf->store->publish(conf->store, conf->spec->id, client->key, client->chain,
                             now_of(client), client->scratch, &err) != ACME_OK) {
        acme_log(conf->log, ACME_LOG_WARNING, "AC0812", label_of(client),
                 "serial %s goes live at the next restart only: %s", client->leaf.serial, err.text);
        return;
    }
    client->live = 1;
    if (client->store_failures == 0) {
        acme_log(conf->log, ACME_LOG_NOTICE, "AC0810", label_of(client), "live: serial %s",
                 client->leaf.serial);
    }
}

/* Live but not on disk: a restart would lose it. It is recorded as soon as that works; another
 * order would not help. */
static acme_rv_t record_later(acme_client_t *client, const acme_error_t *cause, apr_time_t *until)
{
    char when[ACME_TIME_TEXT];
    apr_interval_time_t delay;

    if (client->store_failures == 0) {
        publish(client);
    }
    delay = acme_backoff_delay(++client->store_failures, ACME_RETRY_LADDER, 0, random_of(client));
    *until = acme_time_add(now_of(client), delay);
    acme_log(client->conf.log, ACME_LOG_ERR, "AC0552", label_of(client),
             "serial %s is not on disk yet: %s; next try at %s", client->leaf.serial, cause->text,
             acme_time_format(when, *until));
    return ACME_AGAIN;
}

static acme_rv_t act_store(acme_client_t *client, const acme_plan_t *plan, acme_event_t *event,
                           apr_time_t *until, acme_error_t *err)
{
    acme_error_t cause;

    (void)plan;
    (void)event;
    if (client->chain == NULL) {
        if (check(client, err) != ACME_OK) {
            return ACME_FAIL;
        }
        if (client->conf.rehearsal) {
            return ACME_OK;
        }
        log_obtained(client);
    }
    acme_error_clear(&cause);
    if (record_certificate(client, &cause) != ACME_OK) {
        return record_later(client, &cause, until);
    }
    publish(client);
    client->stored = 1;
    return ACME_OK;
}

static acme_rv_t act_wait(acme_client_t *client, const acme_plan_t *plan, acme_event_t *event,
                          apr_time_t *until, acme_error_t *err)
{
    (void)client;
    (void)event;
    (void)err;
    *until = plan->until;
    return ACME_AGAIN;
}

static acme_rv_t act_done(acme_client_t *client, const acme_plan_t *plan, acme_event_t *event,
                          apr_time_t *until, acme_error_t *err)
{
    (void)plan;
    (void)event;
    (void)until;
    (void)err;
    client->done = 1;
    return ACME_OK;
}

typedef acme_rv_t act_fn(acme_client_t *client, const acme_plan_t *plan, acme_event_t *event,
                         apr_time_t *until, acme_error_t *err);

static act_fn *const acts[] = {
    [ACME_ACT_KEY] = act_key,
    [ACME_ACT_POST] = act_post,
    [ACME_ACT_FINALIZE] = act_finalize,
    [ACME_ACT_PRESENT] = act_present,
    [ACME_ACT_WAIT] = act_wait,
    [ACME_ACT_STORE] = act_store,
    [ACME_ACT_DONE] = act_done,
};

/* ---- the loop ---- */

static acme_rv_t stopped(acme_client_t *client, acme_error_t *err)
{
    acme_store_t *store = client->conf.store;

    if (acme_stopped(client->conf.stop) || (store->lease != NULL && !store->lease(store))) {
        return acme_error_set(err, ACME_E_STOPPED, "AC0395", "asked to stop");
    }
    return ACME_OK;
}

/* The response goes with the scratch pool; a chain must outlive it. */
static void keep_chain(acme_client_t *client, const acme_plan_t *plan, const acme_event_t *event)
{
    acme_step_t now = client->order->step;
    const char *body;

    if (event->response == NULL) {
        return;
    }
    if (plan->step == ACME_STEP_DOWNLOAD
        && (now == ACME_STEP_STORE || now == ACME_STEP_ALTERNATE)) {
        body = acme_http_response_body(event->response, &client->chain_len);
        client->chain_pem = apr_pstrmemdup(client->pool, body, client->chain_len);
    }
    if (plan->step == ACME_STEP_ALTERNATE && client->order->preferred) {
        body = acme_http_response_body(event->response, &client->preferred_len);
        client->preferred_pem = apr_pstrmemdup(client->pool, body, client->preferred_len);
    }
}

/* What the CA refused and was ordered without. */
static void tell_refusal(const acme_client_t *client, const acme_order_t *before)
{
    const acme_order_t *order = client->order;

    if (order->replaces_refused && !before->replaces_refused) {
        acme_log(client->conf.log, ACME_LOG_INFO, "AC0312", label_of(client),
                 "%s does not take it as the replacement of a certificate, it is ordered without "
                 "\"replaces\": %s", client->conf.ca->name, order->refusal);
    }
    if (order->profile_refused && !before->profile_refused) {
        acme_log(client->conf.log, ACME_LOG_WARNING, "AC0316", label_of(client),
                 "%s refuses the profile %s (AcmeProfile), it is ordered without: %s",
                 client->conf.ca->name, client->conf.spec->profile, order->refusal);
    }
}

static acme_rv_t digest(acme_client_t *client, const acme_plan_t *plan, acme_event_t *event,
                        apr_time_t *until, acme_error_t *err)
{
    acme_order_t before = *client->order;
    int again = 0;
    acme_rv_t rv;

    event->step = plan->step;
    event->now = now_of(client);
    event->random = random_of(client);
    rv = acme_order_take(client->order, event, &again, err);
    keep_chain(client, plan, event);
    tell_refusal(client, &before);
    if (plan->step == ACME_STEP_NEW_ORDER && client->order->order_url != NULL) {
        acme_log(client->conf.log, ACME_LOG_INFO, "AC0718", label_of(client), "order %s",
                 client->order->order_url);
    }
    /* A certificate record ends the order; an order record behind it would begin another. */
    if (again && client->chain == NULL) {
        journal_or_log(client);
    }
    if (rv == ACME_AGAIN) {
        *until = client->order->not_before;
    }
    if (rv == ACME_FAIL && event->failed != NULL && err->kind == ACME_E_NONE) {
        *err = *event->failed;
    }
    return rv;
}

static acme_rv_t profile_missing(acme_client_t *client, acme_error_t *err)
{
    const char *profile = client->conf.spec->profile;

    if (!client->conf.spec->profile_required) {
        if (!client->profile_told) {
            acme_log(client->conf.log, ACME_LOG_WARNING, "AC0317", label_of(client),
                     "%s does not offer the profile %s (AcmeProfile), it is ordered without",
                     client->conf.ca->name, profile);
        }
        client->profile_told = 1;
        return ACME_OK;
    }
    (void)acme_error_set(err, ACME_E_PROBLEM, "AC0318",
                         "%s does not offer the profile %s, which AcmeProfile requires: nothing is "
                         "ordered", client->conf.ca->name, profile);
    if (err != NULL) {
        err->retry = ACME_RETRY_SLOW;
        apr_cpystrn(err->problem, "invalidProfile", sizeof(err->problem));
    }
    return ACME_FAIL;
}

/* What newOrder may hold is the directory's to say; it may have been fetched again. */
static acme_rv_t terms(acme_client_t *client, acme_error_t *err)
{
    const acme_directory_t *directory = acme_session_directory(client->conf.session);
    const char *profile = client->conf.spec->profile;
    acme_order_t *order = client->order;

    order->new_order_url = directory->new_order;
    order->replaces = directory->renewal_info != NULL && !order->replaces_refused
                          ? client->conf.replaces : NULL;
    order->profile = NULL;
    if (profile == NULL || order->profile_refused || order->order_url != NULL) {
        return ACME_OK;
    }
    if (!acme_names_contain(directory->profiles, profile)) {
        return profile_missing(client, err);
    }
    order->profile = profile;
    return ACME_OK;
}

static acme_rv_t take_step(acme_client_t *client, apr_time_t *until, acme_error_t *err)
{
    acme_event_t event;
    acme_plan_t plan;
    acme_rv_t rv;

    /* A certificate that is on record and live is not one that was not obtained. */
    if (!client->stored && stopped(client, err) != ACME_OK) {
        return ACME_FAIL;
    }
    apr_pool_clear(client->scratch);
    if (terms(client, err) != ACME_OK) {
        return ACME_FAIL;
    }
    acme_order_plan(&plan, client->order, now_of(client), client->scratch);
    if (plan.act != ACME_ACT_WAIT && (plan.act != ACME_ACT_PRESENT || client->presented == 0)) {
        client->step = acme_step_name(plan.step);
        acme_log(client->conf.log, ACME_LOG_DEBUG, "AC0390", label_of(client), "%s%s%s",
                 client->step, plan.url != NULL ? " " : "", plan.url != NULL ? plan.url : "");
        tell(client, "ordering");
    }
    memset(&event, 0, sizeof(event));
    rv = plan.act == ACME_ACT_WAIT ? ACME_OK : intend(client, &plan, until, err);
    if (rv == ACME_OK) {
        rv = acts[plan.act](client, &plan, &event, until, err);
    }
    return rv == ACME_OK && !client->done ? digest(client, &plan, &event, until, err) : rv;
}

static acme_rv_t ready(acme_client_t *client, acme_error_t *err)
{
    acme_session_t *session = client->conf.session;
    const char *orders;

    if (stopped(client, err) != ACME_OK
        || acme_session_ready(session, client->scratch, err) != ACME_OK) {
        return ACME_FAIL;
    }
    orders = acme_session_orders_url(session);
    if (orders != NULL && client->order->orders_url == NULL) {
        client->order->orders_url = apr_pstrdup(client->order->pool, orders);
    }
    return ACME_OK;
}

/* The result is known, and told when everything is withdrawn. */
static acme_rv_t finish(acme_client_t *client, apr_time_t *until, acme_error_t *err)
{
    apr_interval_time_t delay = SETTLE_AGAIN;

    if (withdraw(client, &delay) == ACME_AGAIN) {
        *until = acme_time_add(now_of(client), delay);
        return ACME_AGAIN;
    }
    if (client->result == ACME_FAIL) {
        *err = client->cause;
    }
    return client->result;
}

static acme_rv_t begin_end(acme_client_t *client, acme_rv_t result, apr_time_t *until,
                           acme_error_t *err)
{
    if (result == ACME_FAIL
        && (err->kind == ACME_E_CHALLENGE
            || (acme_order_is_dead(client->order) && *client->challenge != '\0'))) {
        add_arrivals(client, err);
    }
    end_self_check(client, result == ACME_FAIL, err);
    if (result == ACME_FAIL && (client->spoilt || acme_order_is_dead(client->order))) {
        forget_order(client);
    }
    client->ending = 1;
    client->result = result;
    client->cause = *err;
    acme_error_clear(err);
    return finish(client, until, err);
}

acme_rv_t acme_client_run(acme_client_t *client, apr_time_t *until, acme_error_t *err)
{
    acme_rv_t rv;

    *until = 0;
    if (client->ending) {
        rv = stopped(client, err);
        return rv == ACME_OK ? finish(client, until, err) : rv;
    }
    rv = ready(client, err);
    while (rv == ACME_OK && !client->done) {
        rv = take_step(client, until, err);
    }
    if (rv == ACME_AGAIN) {
        tell(client, "waiting");
        return rv;
    }
    return rv == ACME_FAIL && err->kind == ACME_E_STOPPED ? rv
                                                          : begin_end(client, rv, until, err);
}

void acme_client_clock_moved(acme_client_t *client, apr_interval_time_t by)
{
    acme_order_t *order = client->order;

    if (order->not_before != 0 && by < 0) {
        order->not_before = acme_time_add(order->not_before, by);
    }
    if (order->deadline != 0) {
        order->deadline = acme_time_add(order->deadline, by);
    }
}

const acme_order_t *acme_client_order(const acme_client_t *client)
{
    return client->order;
}

int acme_client_is_live(const acme_client_t *client)
{
    return client->live;
}

int acme_client_txt_values(const acme_client_t *client)
{
    return acme_txt_values(client->txt);
}

const acme_leaf_t *acme_client_leaf(const acme_client_t *client)
{
    return &client->leaf;
}

const char *acme_client_step(const acme_client_t *client)
{
    return client->step;
}

const char *acme_client_challenge(const acme_client_t *client)
{
    const char *failed = client->order->challenge_failed;

    return *failed != '\0' ? failed : client->challenge;
}
