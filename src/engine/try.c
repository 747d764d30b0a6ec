/* Licensed under the Apache License, Version 2.0; see LICENSE. */

/* A try: one attempt at a job's certificate, from its beginning to what goes on record at its end.
 * All of it runs without the mutex: the job is the worker's. */

#include "engine/manager_private.h"

#include <pthread.h>
#include <string.h>

#include <apr_strings.h>

#include "base/time.h"
#include "protocol/backoff.h"
#include "protocol/partial.h"

/* ---- the beginning ---- */

static void begin_status(const acme_job_t *job)
{
    acme_board_status_t *status = job->status;

    apr_cpystrn(status->why, job->decision.why != NULL ? job->decision.why : "",
                sizeof(status->why));
    if (job->attempt.failures > 0 && job->attempt.text != NULL) {
        apr_cpystrn(status->error, job->attempt.text, sizeof(status->error));
    }
    status->failures = (apr_uint32_t)job->attempt.failures;
    status->not_before = job->facts.not_before;
    status->not_after = job->facts.not_after;
    apr_cpystrn(status->serial, job->facts.serial != NULL ? job->facts.serial : "",
                sizeof(status->serial));
    apr_cpystrn(status->explanation, job->ari.explanation, sizeof(status->explanation));
}

/* The certificate in service is one of this CA: so it may be told what is to be replaced. */
static const char *replaces(const acme_job_t *job, const acme_ca_t *ca)
{
    if (!job->conf->spec->ari || !job->facts.have || *acme_job_ari_id(job) == '\0'
        || job->issued.directory == NULL
        || strcmp(job->issued.directory, ca->directory_url) != 0) {
        return NULL;
    }
    return job->facts.ari_id;
}

/* For AcmeKeyReuse: of what the board serves if that is newer than what root handed over. */
static const acme_key_t *former_key(const acme_manager_t *m, const acme_job_t *job)
{
    const acme_job_conf_t *conf = job->conf;
    acme_board_live_t live;
    acme_key_t *key;

    if (!conf->spec->key_reuse) {
        return NULL;
    }
    if (m->conf.board != NULL && conf->row >= 0
        && acme_board_row_generation(m->conf.board, conf->row) > conf->baseline
        && acme_board_live_read(&live, m->conf.board, conf->row, job->pool, NULL) == ACME_OK
        && acme_key_from_der(&key, live.key, live.key_len, job->pool, NULL) == ACME_OK) {
        return key;
    }
    if (conf->key != NULL
        && acme_key_from_pem(&key, conf->key, strlen(conf->key), job->pool, NULL) == ACME_OK) {
        return key;
    }
    return NULL;
}

/* After a failure its program may be one that replaces values. */
static int is_dns(const char *challenge)
{
    acme_challenge_type_t type;

    return challenge != NULL && acme_challenge_type_parse(&type, challenge) == ACME_OK
           && acme_challenge_type_is_dns(type);
}

static acme_rv_t make_client(acme_manager_t *m, acme_job_t *job, acme_manager_ca_t *ca,
                             acme_error_t *err)
{
    acme_challenge_type_t types[ACME_CH_TYPES];
    acme_client_conf_t conf;
    int n;

    memset(&conf, 0, sizeof(conf));
    conf.spec = job->conf->spec;
    conf.ca = acme_route_target(m, job);
    conf.rehearsal = acme_route_is_rehearsal(m, job);
    apr_cpystrn(job->status->ca, conf.ca->directory_url, sizeof(job->status->ca));
    conf.left_out = acme_partial_order(conf.spec, &job->issued, &job->attempt,
                                       job->decision.why == acme_partial_why, job->pool);
    conf.row = job->conf->row;
    conf.replaces = replaces(job, conf.ca);
    conf.former_key = former_key(m, job);
    conf.new_key = job->new_key;
    conf.session = ca->session;
    conf.store = m->conf.store;
    conf.presenters = m->presenters;
    conf.checker = m->checker;
    conf.board = m->conf.board;
    conf.status = job->status;
    conf.log = m->conf.log;
    conf.stop = &m->stop;
    conf.random = m->conf.random;
    conf.random_baton = m->conf.random_baton;
    conf.now = m->conf.now;
    conf.now_baton = m->conf.now_baton;
    conf.one_by_one = job->attempt.failures > 0 && is_dns(job->attempt.challenge);
    n = acme_route_challenges(types, m, job);
    return acme_client_create(&job->client, &conf, types, n, job->pool, err);
}

static void set_ca_state(acme_manager_t *m, acme_manager_ca_t *ca, acme_ca_state_t state)
{
    pthread_mutex_lock(&m->mutex);
    ca->state = state;
    pthread_cond_broadcast(&m->work);
    pthread_mutex_unlock(&m->mutex);
}

/* ACME_AGAIN: the CA asked for a rest. */
static acme_rv_t begin_attempt(acme_manager_t *m, acme_job_t *job, acme_manager_ca_t *ca,
                               apr_time_t *until, acme_error_t *err)
{
    *until = acme_session_paused(ca->session);
    if (*until > acme_manager_now(m)) {
        return ACME_AGAIN;
    }
    if (apr_pool_create_unmanaged_ex(&job->pool, NULL, NULL) != APR_SUCCESS) {
        job->pool = NULL;
        return acme_error_set(err, ACME_E_INTERNAL, "AC0725", "no memory for an order");
    }
    job->asked |= job->forced;
    job->forced = 0;
    acme_news_renewing(m, job, acme_route_target(m, job));
    acme_log(m->conf.log, ACME_LOG_DEBUG, "AC0726", job->conf->spec->label, "ordering from %s: %s",
             acme_route_target(m, job)->name, job->decision.why != NULL ? job->decision.why : "");
    if (acme_route_is_rehearsal(m, job)) {
        acme_log(m->conf.log, ACME_LOG_NOTICE, "AC0362", job->conf->spec->label,
                 "%s could not validate it: this try goes to its staging, %s",
                 acme_route_ca_at(job, job->ca)->name, acme_route_target(m, job)->name);
    }
    if (acme_session_ready(ca->session, job->pool, err) != ACME_OK) {
        return ACME_FAIL;
    }
    set_ca_state(m, ca, ACME_CA_ANSWERS);
    job->status = apr_pcalloc(job->pool, sizeof(*job->status));
    begin_status(job);
    return make_client(m, job, ca, err);
}

/* ---- the end ---- */

void acme_try_end(acme_job_t *job)
{
    apr_pool_t *pool = job->pool;

    job->client = NULL;
    job->status = NULL;
    job->pool = NULL;
    if (pool != NULL) {
        apr_pool_destroy(pool);
    }
}

static void record_attempt(acme_manager_t *m, const acme_job_t *job, const acme_attempt_t *attempt)
{
    acme_store_t *store = m->conf.store;
    const char *payload;
    acme_error_t err;
    apr_pool_t *pool;

    if (apr_pool_create_unmanaged_ex(&pool, NULL, NULL) != APR_SUCCESS) {
        return;
    }
    acme_error_clear(&err);
    payload = acme_attempt_payload(attempt, pool);
    if (store->append(store, job->conf->spec->id, ACME_REC_ATTEMPT, payload, strlen(payload),
                      acme_manager_now(m), pool, &err) != ACME_OK) {
        acme_log(m->conf.log, ACME_LOG_DEBUG, "AC0727", job->conf->spec->label,
                 "the attempt could not be recorded: %s", err.text);
    }
    apr_pool_destroy(pool);
}

/* One line for each failure, with the very moment that is on record. */
static void log_failure(acme_manager_t *m, const acme_job_t *job, const acme_error_t *err,
                        const acme_attempt_t *attempt, const acme_ca_t *ca)
{
    acme_log_level_t level = err->retry == ACME_RETRY_HUMAN ? ACME_LOG_ERR : ACME_LOG_WARNING;
    const acme_ca_t *next = acme_route_target_after(m, job, attempt);
    apr_size_t step_len = strlen(attempt->step);
    char when[ACME_TIME_TEXT];
    int named = strncmp(err->text, attempt->step, step_len) == 0 && err->text[step_len] == ':';

    acme_log(m->conf.log, level, err->code[0] != '\0' ? err->code : "AC0714",
             job->conf->spec->label,
             "%s%s%s (%s); attempt %" APR_INT64_T_FMT ", next try at %s%s%s",
             named ? "" : attempt->step, named ? "" : ": ", err->text, ca->name, attempt->failures,
             acme_time_format(when, attempt->not_before), next != ca ? " with " : "",
             next != ca ? next->name : "");
}

static void log_rest(acme_manager_t *m, const acme_job_t *job, acme_manager_ca_t *ca)
{
    apr_time_t until = acme_session_paused(ca->session);
    char when[ACME_TIME_TEXT];
    int news;

    pthread_mutex_lock(&m->mutex);
    news = until > acme_manager_now(m) && until != ca->rest_told;
    ca->rest_told = until;
    pthread_mutex_unlock(&m->mutex);
    if (news) {
        acme_log(m->conf.log, ACME_LOG_NOTICE, "AC0702", job->conf->spec->label,
                 "%s asks for a rest: no new order there before %s",
                 acme_route_target(m, job)->name, acme_time_format(when, until));
    }
}

static apr_time_t whole_second_after(apr_time_t t)
{
    return (t + APR_USEC_PER_SEC - 1) / APR_USEC_PER_SEC * APR_USEC_PER_SEC;
}

/* The attempt has come to its end, one way or the other: no owner of this generation repeats it. */
static void honour_wish(acme_manager_t *m, acme_job_t *job)
{
    if (job->asked && m->conf.board != NULL && job->conf->row >= 0) {
        acme_board_retry_ack_set(m->conf.board, job->conf->row, m->conf.config);
    }
    job->asked = 0;
    job->under_way = 0;
}

static const char *leave_out(const acme_manager_t *m, const acme_job_t *job,
                             acme_attempt_t *attempt)
{
    const acme_order_t *order = job->client != NULL ? acme_client_order(job->client) : NULL;

    return acme_partial_failed(attempt, job->conf->spec, &job->issued, &job->attempt,
                               order != NULL ? order->blamed : NULL,
                               job->pool != NULL ? job->pool : m->pool);
}

static void log_gone(const acme_manager_t *m, const acme_job_t *job, const char *gone)
{
    if (gone != NULL) {
        acme_log(m->conf.log, ACME_LOG_WARNING, "AC0746", job->conf->spec->label,
                 "%s is left out from the next attempt on: %d in a row failed for it alone", gone,
                 ACME_PARTIAL_AFTER);
    }
}

static void failed(acme_manager_t *m, acme_job_t *job, acme_manager_ca_t *ca,
                   const acme_error_t *cause)
{
    const acme_client_t *client = job->client;
    const acme_ca_t *tried = acme_route_target(m, job);
    int rehearsal = acme_route_is_rehearsal(m, job);
    acme_error_t err = *cause;
    acme_attempt_t attempt;
    apr_int64_t place;
    const char *gone;

    memset(&attempt, 0, sizeof(attempt));
    attempt.last = acme_manager_now(m);
    attempt.why = job->new_key ? ACME_WISH_NEW_KEY : job->decision.why;
    gone = leave_out(m, job, &attempt);
    attempt.validations = attempt.failures > 1 ? job->attempt.validations : 0;
    acme_attempt_failed(&attempt, err.kind == ACME_E_CHALLENGE && client != NULL
                                      && *acme_client_challenge(client) != '\0', rehearsal);
    attempt.kind = acme_error_kind_name(err.kind);
    attempt.problem = err.problem;
    attempt.text = err.text;
    attempt.step = client != NULL ? acme_client_step(client) : "account";
    attempt.challenge = acme_route_tried(m, job, &err, attempt.last);
    attempt.digest = job->digest;
    log_rest(m, job, ca);
    place = rehearsal ? attempt.failures : acme_route_next(m, job, &err, attempt.failures);
    if (gone != NULL) {
        place = 1; /* the attempts without it have not failed yet */
        err.retry = ACME_RETRY_LADDER;
        err.not_before = 0;
    }
    attempt.not_before = whole_second_after(
        attempt.not_before != 0
            ? attempt.not_before
            : acme_backoff_next(attempt.last, place, &err, acme_job_lifetime(&job->facts),
                                acme_manager_random(m)));
    record_attempt(m, job, &attempt);
    honour_wish(m, job);
    log_failure(m, job, cause, &attempt, tried);
    log_gone(m, job, gone);
    acme_news_failed(m, job, &attempt, tried);
    acme_job_remember(job, &job->facts, &job->issued, &attempt);
    acme_try_end(job);
}

/* It would be validated: the next try goes to the CA itself, at once. */
static void rehearsed(acme_manager_t *m, acme_job_t *job)
{
    acme_attempt_t attempt = job->attempt;

    acme_route_proof(m, acme_client_order(job->client)->challenge_used, 1, acme_manager_now(m));
    acme_log(m->conf.log, ACME_LOG_NOTICE, "AC0363", job->conf->spec->label,
             "%s validates it: the next try goes to %s", acme_route_target(m, job)->name,
             acme_route_ca_at(job, job->ca)->name);
    acme_attempt_rehearsed(&attempt);
    attempt.not_before = attempt.last;
    record_attempt(m, job, &attempt);
    acme_job_remember(job, &job->facts, &job->issued, &attempt);
    acme_try_end(job);
}

static void succeeded(acme_manager_t *m, acme_job_t *job)
{
    const acme_order_t *order = acme_client_order(job->client);
    acme_attempt_t none;
    acme_issued_t issued;
    acme_facts_t facts;

    memset(&none, 0, sizeof(none));
    memset(&issued, 0, sizeof(issued));
    issued.directory = order->directory;
    issued.left_out = order->left_out;
    acme_job_facts(&facts, job->conf->spec, acme_client_leaf(job->client), &issued);
    issued.spec_digest = job->conf->spec->digest;
    issued.challenge = order->challenge_used != NULL && *order->challenge_used != '\0'
                           ? order->challenge_used : job->issued.challenge;
    issued.issued = acme_manager_now(m);
    acme_route_proof(m, order->challenge_used, 1, issued.issued);
    acme_ari_begin(&job->ari, acme_client_leaf(job->client)->ari_id,
                   job->decision.rushed, acme_manager_now(m));
    if (job->ari.early[0] != 0) {
        acme_asker_record(m, job);
    }
    if (job->attempt.failures > 0 || job->asked) {
        none.kind = none.problem = none.text = none.step = none.challenge = none.why = "";
        none.digest = job->digest;
        record_attempt(m, job, &none);
    }
    honour_wish(m, job);
    if (job->conf->spec->activate == ACME_ACTIVATE_RESTART) {
        acme_job_hold_back(job, &job->facts);
    }
    acme_news_serial(m, job, ACME_NOTICE_OBTAINED, facts.serial, facts.not_after, order->directory);
    if (acme_client_is_live(job->client)) {
        acme_news_serial(m, job, ACME_NOTICE_LIVE, facts.serial, facts.not_after, order->directory);
    }
    job->told = 0;
    job->new_key = 0;
    job->ca_failures = 0;
    acme_job_remember(job, &facts, &issued, &none);
    acme_try_end(job);
}

void acme_try_run(acme_outcome_t *o, acme_manager_t *m, acme_job_t *job, acme_manager_ca_t *ca)
{
    acme_error_clear(&o->err);
    o->until = 0;
    o->rv = job->client != NULL ? ACME_OK : begin_attempt(m, job, ca, &o->until, &o->err);
    if (o->rv == ACME_OK) {
        o->rv = acme_client_run(job->client, &o->until, &o->err);
        if (o->rv != ACME_AGAIN) {
            acme_sweep_note(job, acme_client_txt_values(job->client) > 0, acme_manager_now(m),
                            acme_manager_random(m));
        }
    }
    if (o->rv == ACME_OK && acme_route_is_rehearsal(m, job)) {
        rehearsed(m, job);
    }
    else if (o->rv == ACME_OK) {
        succeeded(m, job);
    }
    else if (o->rv == ACME_FAIL && o->err.kind != ACME_E_STOPPED) {
        failed(m, job, ca, &o->err);
    }
}
