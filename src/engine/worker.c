/* Licensed under the Apache License, Version 2.0; see LICENSE. */

/* The workers: threads that take the jobs which are ready, the most urgent first, and give them
 * back. */

#include "engine/manager_private.h"

#include <pthread.h>
#include <signal.h>

/* With the mutex: gives the job back. */
static void give_back(acme_manager_t *m, acme_job_t *job, acme_manager_ca_t *ca,
                      const acme_outcome_t *o)
{
    apr_time_t now = acme_manager_now(m);

    ca->running--;
    if (job->client == NULL) {
        job->first->ordering = NULL;
    }
    if ((o->asked && ca->state == ACME_CA_ASKED)
        || (o->rv == ACME_FAIL && (o->err.kind == ACME_E_NETWORK || o->err.kind == ACME_E_TLS))) {
        ca->state = ACME_CA_UNKNOWN;
    }
    if (o->rv == ACME_AGAIN) {
        job->state = job->client != NULL ? ACME_JOB_WAITING : ACME_JOB_IDLE;
        job->due = m->shifted == job->shifted ? o->until : now;
    }
    else if (o->rv == ACME_FAIL && o->err.kind == ACME_E_STOPPED) {
        job->state = ACME_JOB_IDLE;
        job->due = now + ACME_LOOK_AGAIN_AT_LEAST;
        acme_try_end(job);
    }
    else {
        acme_schedule_decide(m, job, now);
        if (o->rv == ACME_OK) {
            acme_news_next(m, job);
        }
    }
}

/* Orders that run go first, then certificates that nothing valid stands in for, then what expires
 * first. */
static int before(const acme_job_t *a, const acme_job_t *b)
{
    if ((a->client != NULL) != (b->client != NULL)) {
        return a->client != NULL;
    }
    if (a->decision.renewal != b->decision.renewal) {
        return !a->decision.renewal;
    }
    return a->facts.not_after < b->facts.not_after;
}

/* A CA that stalls may hold all workers but one while others are wanted. */
static int may_start(const acme_manager_t *m, const acme_job_t *job, const acme_manager_ca_t *ca)
{
    int most = m->cas_wanted > 1 && m->n_threads > 1 ? m->n_threads - 1 : m->n_threads;

    return !ca->held && (job->client != NULL || ca->state != ACME_CA_ASKED) && ca->running < most;
}

static acme_job_t *pick(acme_manager_t *m)
{
    acme_job_t *best = NULL;
    int i;

    for (i = 0; i < m->conf.n_jobs; i++) {
        acme_job_t *job = &m->jobs[i];

        if (job->state != ACME_JOB_READY) {
            continue;
        }
        if (acme_sweep_wanted(job)) {
            return job;
        }
        if (!may_start(m, job, acme_route_ca(m, job))
            || (job->first->ordering != NULL && job->first->ordering != job)) {
            m->passed_over = 1;
        }
        else if (best == NULL || before(job, best)) {
            best = job;
        }
    }
    return best;
}

/* With the mutex, which is not held while the job runs. */
static void run_job(acme_manager_t *m, acme_job_t *job)
{
    acme_manager_ca_t *ca = acme_route_ca(m, job);
    acme_outcome_t outcome;

    job->state = ACME_JOB_RUNNING;
    job->first->ordering = job;
    ca->running++;
    outcome.asked = ca->state == ACME_CA_UNKNOWN && job->client == NULL;
    if (outcome.asked) {
        ca->state = ACME_CA_ASKED;
    }
    if (job->client != NULL && job->shifted != m->shifted) {
        acme_client_clock_moved(job->client, m->shifted - job->shifted);
    }
    job->shifted = m->shifted;
    pthread_mutex_unlock(&m->mutex);
    acme_try_run(&outcome, m, job, ca);
    pthread_mutex_lock(&m->mutex);
    give_back(m, job, ca, &outcome);
    if (m->passed_over) {
        m->passed_over = 0;
        pthread_cond_broadcast(&m->work);
    }
    m->woken = 1;
    pthread_cond_signal(&m->tick);
}

/* A plain thread: those of APR 1.7 take their pools from one that has no lock. */
static void *worker(void *baton)
{
    acme_manager_t *m = baton;
    acme_job_t *job;

    pthread_mutex_lock(&m->mutex);
    while (!acme_manager_quitting(m)) {
        job = pick(m);
        if (job != NULL && acme_sweep_wanted(job)) {
            acme_sweep_run(m, job);
        }
        else if (job != NULL) {
            run_job(m, job);
        }
        else {
            pthread_cond_wait(&m->work, &m->mutex);
        }
    }
    pthread_mutex_unlock(&m->mutex);
    return NULL;
}

void acme_worker_start(acme_manager_t *m)
{
    int wanted = m->conf.workers > 0 ? m->conf.workers : 1;
    sigset_t all, former;
    int rc = 0;

    m->threads = apr_pcalloc(m->pool, sizeof(*m->threads) * (apr_size_t)wanted);
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &former);
    pthread_mutex_lock(&m->mutex);
    while (m->n_threads < wanted && rc == 0) {
        rc = pthread_create(&m->threads[m->n_threads], NULL, worker, m);
        m->n_threads += rc == 0;
    }
    acme_asker_start(m);
    pthread_mutex_unlock(&m->mutex);
    pthread_sigmask(SIG_SETMASK, &former, NULL);
    if (m->n_threads < wanted) {
        acme_log(m->conf.log, ACME_LOG_ERR, "AC0728", NULL, "%d of %d workers could be started",
                 m->n_threads, wanted);
    }
}

void acme_worker_join(acme_manager_t *m)
{
    int i;

    __atomic_store_n(&m->quit, 1, __ATOMIC_RELEASE);
    pthread_mutex_lock(&m->mutex);
    pthread_cond_broadcast(&m->work);
    pthread_cond_broadcast(&m->ask);
    pthread_mutex_unlock(&m->mutex);
    if (m->asking) {
        pthread_join(m->asker, NULL);
        m->asking = 0;
    }
    for (i = 0; i < m->n_threads; i++) {
        pthread_join(m->threads[i], NULL);
    }
    m->n_threads = 0;
    acme_checker_stop(m->checker);
}
