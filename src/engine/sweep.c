/* Licensed under the Apache License, Version 2.0; see LICENSE. */

/* A sweep: the TXT values that attempts have left in the DNS are removed, up the retry ladder. */

#include "engine/manager_private.h"

#include <pthread.h>
#include <string.h>

#include "base/time.h"
#include "protocol/backoff.h"

void acme_sweep_note(acme_job_t *job, int left, apr_time_t now, double random)
{
    job->leftovers = left;
    job->sweeps = left ? job->sweeps + 1 : 0;
    job->sweep_at = left ? acme_time_add(now, acme_backoff_delay(job->sweeps, ACME_RETRY_LADDER, 0,
                                                                 random)) : 0;
}

int acme_sweep_wanted(const acme_job_t *job)
{
    return job->leftovers && job->client == NULL && job->decision.what != ACME_DO_ORDER;
}

void acme_sweep_decide(acme_job_t *job, apr_time_t now)
{
    if (!acme_sweep_wanted(job)) {
        return;
    }
    if (job->sweep_at <= now) {
        job->state = ACME_JOB_READY;
    }
    else if (job->sweep_at < job->due) {
        job->due = job->sweep_at;
    }
}

void acme_sweep_end(acme_job_t *job)
{
    job->sweep = NULL;
    if (job->sweep_pool != NULL) {
        apr_pool_destroy(job->sweep_pool);
    }
    job->sweep_pool = NULL;
}

static acme_rv_t sweep_begin(acme_manager_t *m, acme_job_t *job)
{
    acme_store_t *store = m->conf.store;
    acme_record_set_t set;
    acme_txt_conf_t conf;

    if (apr_pool_create_unmanaged_ex(&job->sweep_pool, NULL, NULL) != APR_SUCCESS) {
        job->sweep_pool = NULL;
        return ACME_FAIL;
    }
    memset(&conf, 0, sizeof(conf));
    conf.spec = job->conf->spec;
    conf.store = store;
    conf.programs = m->conf.programs;
    conf.log = m->conf.log;
    conf.ca = acme_route_ca_at(job, 0)->directory_url;
    conf.now = m->conf.now;
    conf.now_baton = m->conf.now_baton;
    if (store->load(store, &set, job->conf->spec->id, job->sweep_pool, NULL) != ACME_OK) {
        return ACME_FAIL;
    }
    return acme_txt_create(&job->sweep, &conf, &set, job->sweep_pool, NULL);
}

/* Without the mutex: the job is the worker's. ACME_AGAIN: go on after *delay. */
static acme_rv_t sweep(acme_manager_t *m, acme_job_t *job, apr_interval_time_t *delay)
{
    if (job->sweep == NULL && sweep_begin(m, job) != ACME_OK) {
        acme_sweep_note(job, 1, acme_manager_now(m), acme_manager_random(m));
        acme_sweep_end(job);
        return ACME_OK;
    }
    if (acme_txt_teardown(job->sweep, delay) == ACME_AGAIN) {
        return ACME_AGAIN;
    }
    acme_sweep_note(job, acme_txt_values(job->sweep) > 0, acme_manager_now(m),
                    acme_manager_random(m));
    acme_sweep_end(job);
    return ACME_OK;
}

void acme_sweep_run(acme_manager_t *m, acme_job_t *job)
{
    apr_interval_time_t delay = ACME_LOOK_AGAIN_AT_LEAST;
    acme_rv_t rv;

    job->state = ACME_JOB_RUNNING;
    pthread_mutex_unlock(&m->mutex);
    rv = sweep(m, job, &delay);
    pthread_mutex_lock(&m->mutex);
    if (rv == ACME_AGAIN) {
        job->state = ACME_JOB_WAITING;
        job->due = acme_time_add(acme_manager_now(m), delay);
    }
    else {
        acme_schedule_decide(m, job, acme_manager_now(m));
    }
    m->woken = 1;
    pthread_cond_signal(&m->tick);
}
