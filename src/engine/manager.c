/* Licensed under the Apache License, Version 2.0; see LICENSE. */

/* The manager itself: what it is made of, its start and its end. */

#include "engine/manager_private.h"

#include <pthread.h>
#include <string.h>
#include <time.h>

#include <apr_general.h>
#include <apr_hash.h>
#include <apr_strings.h>

/* ---- its ports ---- */

apr_time_t acme_manager_now(const acme_manager_t *m)
{
    return m->conf.now != NULL ? m->conf.now(m->conf.now_baton) : apr_time_now();
}

double acme_manager_random(const acme_manager_t *m)
{
    unsigned char bytes[4];

    if (m->conf.random != NULL) {
        return m->conf.random(m->conf.random_baton);
    }
    if (apr_generate_random_bytes(bytes, sizeof(bytes)) != APR_SUCCESS) {
        return 0.5;
    }
    return (((bytes[0] * 256.0 + bytes[1]) * 256.0 + bytes[2]) * 256.0 + bytes[3]) / 4294967296.0;
}

int acme_manager_quitting(void *baton)
{
    acme_manager_t *m = baton;

    return __atomic_load_n(&m->quit, __ATOMIC_ACQUIRE);
}

void acme_manager_steady_in(struct timespec *until, apr_interval_time_t wait)
{
    apr_int64_t ns;

    clock_gettime(CLOCK_MONOTONIC, until);
    ns = until->tv_nsec + (apr_int64_t)wait * 1000;
    until->tv_sec += ns / 1000000000;
    until->tv_nsec = ns % 1000000000;
}

/* ---- what it is made of ---- */

static acme_rv_t make_session(acme_manager_t *m, int i, acme_error_t *err)
{
    const acme_account_conf_t *account = &m->conf.accounts[i];
    acme_manager_ca_t *ca = &m->cas[i];
    acme_transport_conf_t transport;
    acme_session_conf_t conf;

    memset(&transport, 0, sizeof(transport));
    memset(&conf, 0, sizeof(conf));
    if (apr_pool_create_unmanaged_ex(&ca->pool, NULL, NULL) != APR_SUCCESS) {
        return acme_error_set(err, ACME_E_INTERNAL, "AC0729", "no memory for a session");
    }
    if (acme_key_from_jwk(&conf.key, account->jwk, strlen(account->jwk), ca->pool, err)
        != ACME_OK) {
        return ACME_FAIL;
    }
    transport.ca_file = account->ca->ca_file;
    transport.proxy = account->ca->proxy;
    transport.proxy_user = account->ca->proxy_user;
    transport.user_agent = m->conf.user_agent;
    conf.ca = account->ca;
    conf.account_id = account->account_id;
    conf.store = m->conf.store;
    conf.board = m->conf.board;
    conf.row = account->row;
    conf.log = m->conf.log;
    conf.transport = acme_transport_create(&transport, ca->pool);
    conf.stop = &m->stop;
    conf.now = m->conf.now;
    conf.now_baton = m->conf.now_baton;
    return acme_session_create(&ca->session, &conf, ca->pool, err);
}

/* A CA whose account needs what it has not is not even asked. A staging nobody asked for is left
 * out without a word. */
static void check_session(acme_manager_t *m, int i)
{
    acme_manager_ca_t *ca = &m->cas[i];
    acme_error_t err;

    acme_error_clear(&err);
    if (ca->session == NULL || acme_session_possible(ca->session, &err) == ACME_OK) {
        return;
    }
    ca->session = NULL;
    ca->trouble = apr_pstrdup(ca->pool, err.text);
    if (ca->wanted) {
        acme_log(m->conf.log, ACME_LOG_ERR, err.code, NULL, "%s", err.text);
    }
}

static void make_sessions(acme_manager_t *m)
{
    acme_error_t err;
    int i;

    for (i = 0; i < m->conf.n_accounts; i++) {
        acme_error_clear(&err);
        if (m->conf.accounts[i].jwk != NULL && make_session(m, i, &err) != ACME_OK) {
            m->cas[i].session = NULL;
            acme_log(m->conf.log, ACME_LOG_ERR, "AC0715", NULL, "%s: %s",
                     m->conf.accounts[i].ca->name, err.text);
        }
        check_session(m, i);
    }
}

static void want_cas(acme_manager_t *m)
{
    int i, k;

    for (i = 0; i < m->conf.n_jobs; i++) {
        for (k = 0; k < m->jobs[i].conf->spec->cas->nelts; k++) {
            acme_manager_ca_t *ca = acme_route_ca_state(m, acme_route_ca_at(&m->jobs[i], k));

            if (ca != NULL && !ca->wanted) {
                ca->wanted = 1;
                m->cas_wanted++;
            }
        }
    }
}

static apr_status_t manager_cleanup(void *data)
{
    acme_manager_t *m = data;
    int i;

    for (i = 0; i < m->conf.n_jobs; i++) {
        acme_try_end(&m->jobs[i]);
        acme_sweep_end(&m->jobs[i]);
        if (m->jobs[i].memo != NULL) {
            apr_pool_destroy(m->jobs[i].memo);
        }
    }
    for (i = 0; i < m->conf.n_accounts; i++) {
        if (m->cas[i].pool != NULL) {
            apr_pool_destroy(m->cas[i].pool);
        }
    }
    pthread_cond_destroy(&m->work);
    pthread_cond_destroy(&m->ask);
    pthread_cond_destroy(&m->tick);
    pthread_mutex_destroy(&m->mutex);
    return APR_SUCCESS;
}

static void make_jobs(acme_manager_t *m)
{
    apr_hash_t *firsts = apr_hash_make(m->pool);
    int i;

    m->jobs = apr_pcalloc(m->pool, sizeof(*m->jobs) * (apr_size_t)(m->conf.n_jobs + 1));
    for (i = 0; i < m->conf.n_jobs; i++) {
        acme_job_t *job = &m->jobs[i];
        const acme_spec_t *spec = m->conf.jobs[i].spec;

        job->conf = &m->conf.jobs[i];
        job->digest = acme_spec_attempt_digest(spec, m->pool);
        job->first = apr_hash_get(firsts, spec->label, APR_HASH_KEY_STRING);
        if (job->first == NULL) {
            job->first = job;
            apr_hash_set(firsts, spec->label, APR_HASH_KEY_STRING, job);
        }
    }
}

static int make_locks(acme_manager_t *m)
{
    pthread_condattr_t attr;
    int rc;

    if (pthread_condattr_init(&attr) != 0) {
        return 0;
    }
    rc = pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    rc = rc != 0 ? rc : pthread_cond_init(&m->tick, &attr);
    rc = rc != 0 ? rc : pthread_cond_init(&m->ask, &attr);
    pthread_condattr_destroy(&attr);
    return rc == 0 && pthread_cond_init(&m->work, NULL) == 0
           && pthread_mutex_init(&m->mutex, NULL) == 0;
}

static apr_time_t notify_now(void *baton)
{
    return acme_manager_now(baton);
}

static acme_rv_t make_notify(acme_manager_t *m, acme_error_t *err)
{
    const acme_spec_t **specs = apr_pcalloc(m->pool,
                                            sizeof(*specs) * (apr_size_t)(m->conf.n_jobs + 1));
    acme_notify_conf_t conf;
    int i;

    if (m->conf.programs == NULL || m->conf.notify_command == NULL) {
        return ACME_OK;
    }
    for (i = 0; i < m->conf.n_jobs; i++) {
        specs[i] = m->conf.jobs[i].spec;
    }
    conf.runner = m->conf.programs;
    conf.command = m->conf.notify_command;
    conf.specs = specs;
    conf.n_specs = m->conf.n_jobs;
    conf.store = m->conf.store;
    conf.log = m->conf.log;
    conf.now = notify_now;
    conf.now_baton = m;
    return acme_notify_create(&m->notify, &conf, m->pool, err);
}

static acme_rv_t make_checker(acme_manager_t *m, acme_error_t *err)
{
    acme_checker_conf_t conf;

    conf.board = m->conf.board;
    conf.log = m->conf.log;
    conf.http_port = m->conf.http_port;
    conf.https_port = m->conf.https_port;
    return acme_checker_create(&m->checker, &conf, m->pool, err);
}

acme_rv_t acme_manager_create(acme_manager_t **out, const acme_manager_conf_t *conf,
                              apr_pool_t *pool, acme_error_t *err)
{
    acme_manager_t *m = apr_pcalloc(pool, sizeof(*m));

    *out = NULL;
    m->conf = *conf;
    m->pool = pool;
    m->stop.stopped = acme_manager_quitting;
    m->stop.baton = m;
    m->cas = apr_pcalloc(pool, sizeof(*m->cas) * (apr_size_t)(conf->n_accounts + 1));
    make_jobs(m);
    if (!make_locks(m)) {
        return acme_error_set(err, ACME_E_INTERNAL, "AC0730", "no locks for the manager");
    }
    apr_pool_cleanup_register(pool, m, manager_cleanup, apr_pool_cleanup_null);
    if (acme_present_ctx_create(&m->presenters, conf->board, conf->now, conf->now_baton, pool, err)
        != ACME_OK
        || make_checker(m, err) != ACME_OK) {
        return ACME_FAIL;
    }
    if (make_notify(m, err) != ACME_OK) {
        return ACME_FAIL;
    }
    want_cas(m);
    m->presenters->programs = conf->programs;
    make_sessions(m);
    *out = m;
    return ACME_OK;
}

/* ---- running ---- */

static void load_all(acme_manager_t *m)
{
    apr_time_t now = acme_manager_now(m);
    apr_pool_t *scratch;
    int i;

    apr_pool_create(&scratch, m->pool);
    for (i = 0; i < m->conf.n_jobs && !acme_stopped(&m->conf.stop); i++) {
        acme_job_t *job = &m->jobs[i];

        acme_job_load(m, job, scratch);
        acme_route_history(m, job);
        acme_route_first(m, job);
        job->forced |= job->conf->retry_now
                       && (m->conf.board == NULL || job->conf->row < 0
                           || acme_board_retry_ack(m->conf.board, job->conf->row)
                              != m->conf.config);
        acme_schedule_decide(m, job, now);
        apr_pool_clear(scratch);
    }
    apr_pool_destroy(scratch);
}

void acme_manager_run(acme_manager_t *m)
{
    load_all(m);
    __atomic_store_n(&m->loaded, 1, __ATOMIC_RELEASE);
    acme_news_summary(m);
    acme_worker_start(m);
    while (!acme_stopped(&m->conf.stop)) {
        acme_schedule_slice(m);
    }
    acme_worker_join(m);
}

int acme_manager_ready(const acme_manager_t *m)
{
    return __atomic_load_n(&m->loaded, __ATOMIC_ACQUIRE);
}

void acme_manager_wake(acme_manager_t *m)
{
    pthread_mutex_lock(&m->mutex);
    m->woken = 1;
    pthread_cond_signal(&m->tick);
    pthread_mutex_unlock(&m->mutex);
}
