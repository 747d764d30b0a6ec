/* Licensed under the Apache License, Version 2.0; see LICENSE. */

/* The asker: the thread that asks the CAs for renewal information (RFC 9773), one certificate after
 * the other, and what is on record of their answers. */

#include "engine/manager_private.h"

#include <pthread.h>
#include <string.h>

#include <apr_strings.h>

#include "base/time.h"

#define ASK_PACE apr_time_from_msec(250)
#define ASK_LATER apr_time_from_sec(60)
#define NOT_OFFERED apr_time_from_sec(24 * 3600)
#define TOLD_EVERY apr_time_from_sec(24 * 3600)

void acme_asker_load(acme_job_t *job, const acme_record_set_t *set, apr_time_t now,
                     apr_pool_t *scratch)
{
    const acme_record_t *rec = &set->rec[ACME_REC_ARI];

    if (!set->present[ACME_REC_ARI]
        || acme_ari_restore(&job->ari, rec->payload, rec->len, acme_job_ari_id(job), now, scratch,
                            NULL) != ACME_OK) {
        memset(&job->ari, 0, sizeof(job->ari));
        acme_ari_begin(&job->ari, acme_job_ari_id(job), 0, now);
    }
    job->facts.ari_at = job->ari.at;
}

void acme_asker_record(acme_manager_t *m, const acme_job_t *job)
{
    acme_store_t *store = m->conf.store;
    const char *payload;
    acme_error_t err;
    apr_pool_t *pool;

    if (apr_pool_create_unmanaged_ex(&pool, NULL, NULL) != APR_SUCCESS) {
        return;
    }
    acme_error_clear(&err);
    payload = acme_ari_payload(&job->ari, pool);
    if (store->append(store, job->conf->spec->id, ACME_REC_ARI, payload, strlen(payload),
                      acme_manager_now(m), pool, &err) != ACME_OK) {
        acme_log(m->conf.log, ACME_LOG_DEBUG, "AC0751", job->conf->spec->label,
                 "the moment of the renewal could not be recorded: %s", err.text);
    }
    apr_pool_destroy(pool);
}

/* Whom to ask: the CA that issued the certificate, whatever is configured first now. NULL: it is
 * not known, or not one of those that are configured. */
static acme_manager_ca_t *issuer_of(acme_manager_t *m, const acme_job_t *job)
{
    int i;

    for (i = 0; i < job->conf->spec->cas->nelts && job->issued.directory != NULL; i++) {
        const acme_ca_t *ca = acme_route_ca_at(job, i);

        if (strcmp(ca->directory_url, job->issued.directory) == 0) {
            return acme_route_ca_state(m, ca);
        }
    }
    return NULL;
}

static int may_ask(acme_manager_t *m, const acme_job_t *job, apr_time_t now)
{
    const acme_manager_ca_t *ca;

    if (job->state != ACME_JOB_IDLE || !job->conf->spec->ari || job->ari.next > now
        || job->decision.what == ACME_DO_HOLD || !job->facts.have || *acme_job_ari_id(job) == '\0'
        || now >= job->facts.not_after) {
        return 0;
    }
    ca = issuer_of(m, job);
    return ca != NULL && ca->session != NULL && acme_session_paused(ca->session) <= now;
}

/* The one that has been due longest. */
static acme_job_t *next_to_ask(acme_manager_t *m, apr_time_t now)
{
    acme_job_t *best = NULL;
    int i;

    for (i = 0; i < m->conf.n_jobs; i++) {
        acme_job_t *job = &m->jobs[i];

        if (may_ask(m, job, now) && (best == NULL || job->ari.next < best->ari.next)) {
            best = job;
        }
    }
    return best;
}

/* One question; strings live in pool. */
typedef struct {
    const char *id;
    acme_manager_ca_t *ca;
    apr_time_t not_before, not_after;
    acme_rv_t rv;              /* ACME_AGAIN: not offered */
    int lasting;               /* the CA answered, but nothing that can be used */
    acme_renewal_info_t info;
    const char *retry_after;
    acme_error_t err;
    apr_pool_t *pool;
} question_t;

static acme_rv_t read_answer(question_t *q, const acme_http_response_t *response, apr_time_t now)
{
    int status = acme_http_response_status(response);
    const char *body;
    apr_size_t len;

    q->retry_after = acme_http_response_header(response, "retry-after");
    if (status / 100 != 2) {
        q->lasting = status < 500 && status != 429;
        return acme_problem_from_response(NULL, response, now, q->pool, &q->err);
    }
    q->lasting = 1;
    body = acme_http_response_body(response, &len);
    if (acme_renewal_info_parse(&q->info, body, len, q->pool, &q->err) != ACME_OK) {
        return ACME_FAIL;
    }
    return acme_renewal_info_judge(&q->info, q->not_before, q->not_after, &q->err);
}

/* Without the mutex. */
static void ask_ca(question_t *q, acme_manager_t *m)
{
    acme_http_response_t *response;

    acme_error_clear(&q->err);
    q->rv = acme_session_renewal_info(&response, q->ca->session, q->id, q->pool, &q->err);
    if (q->rv == ACME_OK) {
        q->rv = read_answer(q, response, acme_manager_now(m));
    }
}

/* Told once a day and CA: a CA that breaks one answer breaks all of them. */
static void tell_unusable(acme_manager_t *m, const acme_job_t *job, const question_t *q)
{
    apr_time_t now = acme_manager_now(m);
    acme_log_level_t level = ACME_LOG_DEBUG;

    if (q->lasting
        && (q->ca->ari_told == 0 || now < q->ca->ari_told || now - q->ca->ari_told > TOLD_EVERY)) {
        q->ca->ari_told = now;
        level = ACME_LOG_WARNING;
    }
    acme_log(m->conf.log, level, "AC0750", job->conf->spec->label,
             "the CA's renewal information cannot be used, the lifetime decides: %s", q->err.text);
}

static void tell_window(acme_manager_t *m, const acme_job_t *job)
{
    char from[ACME_TIME_TEXT], until[ACME_TIME_TEXT], at[ACME_TIME_TEXT];
    const acme_ari_t *ari = &job->ari;

    acme_log(m->conf.log, ACME_LOG_INFO, "AC0752", job->conf->spec->label,
             "the CA wants it renewed between %s and %s; chosen: %s",
             acme_time_format(from, ari->start), acme_time_format(until, ari->end),
             acme_time_format(at, ari->at));
    if (*ari->explanation != '\0') {
        acme_log(m->conf.log, ACME_LOG_NOTICE, "AC0753", job->conf->spec->label,
                 "the CA explains its renewal window: %s", ari->explanation);
    }
}

/* The job is claimed. */
static void take_answer(acme_manager_t *m, acme_job_t *job, const question_t *q)
{
    apr_time_t now = acme_manager_now(m);
    double random = acme_manager_random(m);

    if (q->rv == ACME_AGAIN) {
        job->ari.next = acme_time_add(now, NOT_OFFERED);
        return;
    }
    if (q->rv == ACME_OK) {
        acme_ari_answered(&job->ari, q->retry_after, now, random);
        if (acme_ari_take(&job->ari, &q->info, acme_job_lifetime(&job->facts),
                          acme_policy_usual(job->conf->spec, &job->facts), now,
                          acme_manager_random(m))) {
            tell_window(m, job);
        }
    }
    else {
        tell_unusable(m, job, q);
        acme_ari_failed(&job->ari, q->lasting, q->retry_after, now, random);
    }
    job->facts.ari_at = job->ari.at;
    acme_asker_record(m, job);
}

/* With the mutex, which is not held while the CA is asked: the job goes its way meanwhile, and when
 * it is another certificate's by then, the answer is nobody's. */
static void ask(acme_manager_t *m, acme_job_t *job)
{
    question_t q;

    memset(&q, 0, sizeof(q));
    job->ari.next = acme_time_add(acme_manager_now(m), ASK_LATER);
    if (apr_pool_create_unmanaged_ex(&q.pool, NULL, NULL) != APR_SUCCESS) {
        return;
    }
    q.id = apr_pstrdup(q.pool, job->facts.ari_id);
    q.ca = issuer_of(m, job);
    q.not_before = job->facts.not_before;
    q.not_after = job->facts.not_after;
    pthread_mutex_unlock(&m->mutex);
    ask_ca(&q, m);
    pthread_mutex_lock(&m->mutex);
    if (job->state == ACME_JOB_IDLE && strcmp(acme_job_ari_id(job), q.id) == 0
        && q.err.kind != ACME_E_STOPPED) {
        job->state = ACME_JOB_RUNNING;
        pthread_mutex_unlock(&m->mutex);
        take_answer(m, job, &q);
        pthread_mutex_lock(&m->mutex);
        job->state = ACME_JOB_IDLE;
        acme_schedule_decide(m, job, acme_manager_now(m));
        m->woken = 1;
        pthread_cond_signal(&m->tick);
    }
    apr_pool_destroy(q.pool);
}

static void *asker(void *baton)
{
    acme_manager_t *m = baton;
    struct timespec until;
    acme_job_t *job;

    pthread_mutex_lock(&m->mutex);
    while (!acme_manager_quitting(m)) {
        job = next_to_ask(m, acme_manager_now(m));
        if (job != NULL) {
            ask(m, job);
        }
        acme_manager_steady_in(&until, ASK_PACE);
        if (!acme_manager_quitting(m)) {
            pthread_cond_timedwait(&m->ask, &m->mutex, &until);
        }
    }
    pthread_mutex_unlock(&m->mutex);
    return NULL;
}

static int wants_ari(const acme_manager_t *m)
{
    int i;

    for (i = 0; i < m->conf.n_jobs; i++) {
        if (m->jobs[i].conf->spec->ari) {
            return 1;
        }
    }
    return 0;
}

/* With the mutex. */
void acme_asker_start(acme_manager_t *m)
{
    m->asking = wants_ari(m) && pthread_create(&m->asker, NULL, asker, m) == 0;
}
