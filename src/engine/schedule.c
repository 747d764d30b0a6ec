/* Licensed under the Apache License, Version 2.0; see LICENSE. */

/* The schedule: what is to be done for which job, and when, by a clock that may jump. */

#include "engine/manager_private.h"

#include <pthread.h>
#include <string.h>

#include "base/time.h"
#include "protocol/partial.h"

#define SLICE ACME_WAIT_SLICE
#define JUMP apr_time_from_sec(2)
#define JUMP_TOLD_EVERY apr_time_from_sec(60)
#define EXPIRY_SCAN apr_time_from_sec(60)
#define FROM_THE_FUTURE apr_time_from_sec(600)
#define RENEWAL_SPREAD apr_time_from_sec(3600)

/* ---- deciding ---- */

apr_interval_time_t acme_schedule_spread(const acme_job_t *job)
{
    apr_interval_time_t most = (job->facts.not_after - job->decision.renew_at) / 20;
    apr_uint32_t hash = 2166136261u;
    const char *c;

    for (c = job->conf->spec->id; *c != '\0'; c++) {
        hash = (hash ^ (unsigned char)*c) * 16777619u;
    }
    most = most < 0 ? 0 : most > RENEWAL_SPREAD ? RENEWAL_SPREAD : most;
    return most / 1024 * (hash >> 8 & 1023);
}

/* A clock that was set back must not stretch a wait. */
static void mend_attempt(acme_attempt_t *attempt, apr_time_t now)
{
    apr_interval_time_t wait = attempt->not_before - attempt->last;

    if (attempt->failures > 0 && attempt->last > now + FROM_THE_FUTURE) {
        attempt->last = now;
        attempt->not_before = acme_time_add(now, wait > 0 ? wait : 0);
    }
}

/* What was asked for and is neither done nor given up: a restart in the middle, or a failure with
 * its next try announced, forgets it no more than a renewal. */
static void decide_wish(const acme_job_t *job, acme_decision_t *d, apr_time_t now)
{
    const acme_attempt_t *attempt = &job->attempt;

    if (d->what != ACME_DO_NOTHING || strcmp(d->why, "valid") != 0
        || (!job->under_way
            && (attempt->failures == 0 || !acme_attempt_asked(attempt)))) {
        return;
    }
    if (attempt->failures > 0 && attempt->not_before > now) {
        d->when = attempt->not_before;
        d->why = "waiting after a failure";
        return;
    }
    d->what = ACME_DO_ORDER;
    d->when = now;
    d->why = "asked for";
}

/* A name that is left out gets another chance when there is nothing else to do. */
static void decide_left_out(const acme_job_t *job, acme_decision_t *d, apr_time_t now)
{
    apr_time_t when = acme_partial_again(job->conf->spec, &job->issued, &job->attempt);

    if (when == 0 || d->what != ACME_DO_NOTHING || strcmp(d->why, "valid") != 0) {
        return;
    }
    if (when <= now) {
        d->what = ACME_DO_ORDER;
        d->when = now;
        d->why = acme_partial_why;
    }
    else if (when < d->when) {
        d->when = when;
    }
}

void acme_schedule_decide(acme_manager_t *m, acme_job_t *job, apr_time_t now)
{
    acme_decision_t *d = &job->decision;
    const acme_spec_t *spec = job->conf->spec;

    memset(d, 0, sizeof(*d));
    if (acme_job_trouble(m, job) != NULL) {
        d->what = ACME_DO_HOLD;
        d->when = acme_time_add(now, ACME_LOOK_AGAIN_AT_MOST);
        d->why = "configuration";
    }
    else {
        mend_attempt(&job->attempt, now);
        acme_policy_decide(d, spec, &job->facts,
                           job->attempt.failures > 0 && !acme_partial_was_again(&job->attempt)
                               ? &job->attempt : NULL,
                           job->digest, job->forced, now);
        if (d->what == ACME_DO_ORDER && strcmp(d->why, "due") == 0 && !job->forced
            && job->attempt.failures == 0 && d->renew_at > 0
            && now < d->renew_at + acme_schedule_spread(job)) {
            d->what = ACME_DO_NOTHING;
            d->when = d->renew_at + acme_schedule_spread(job);
        }
        decide_wish(job, d, now);
        decide_left_out(job, d, now);
    }
    job->state = d->what == ACME_DO_ORDER ? ACME_JOB_READY : ACME_JOB_IDLE;
    job->due = d->when;
    if (job->due < now + ACME_LOOK_AGAIN_AT_LEAST) {
        job->due = now + ACME_LOOK_AGAIN_AT_LEAST;
    }
    acme_sweep_decide(job, now);
    acme_news_show(m, job, d->what == ACME_DO_HOLD ? "held"
                           : job->attempt.failures > 0 ? "failed" : "idle");
}

/* ---- the clock and the queue ---- */

static void scan_expiry(acme_manager_t *m, apr_time_t now, apr_time_t steady)
{
    int i;

    if (m->scanned != 0 && steady - m->scanned < EXPIRY_SCAN) {
        return;
    }
    m->scanned = steady;
    for (i = 0; i < m->conf.n_jobs; i++) {
        if (m->jobs[i].state == ACME_JOB_RUNNING) {
            m->scanned = 0; /* it has its turn when its worker gives it back */
            continue;
        }
        acme_news_left(m, &m->jobs[i], now);
        acme_news_expiry(m, &m->jobs[i], now);
        acme_news_left_out(m, &m->jobs[i], now);
        acme_job_activate_late(m, &m->jobs[i], now);
    }
}

static void log_jump(acme_manager_t *m, apr_interval_time_t by, apr_time_t steady)
{
    apr_interval_time_t size = by < 0 ? -by : by;

    if (m->jump_told != 0 && (by < 0) == m->jumped_back
        && steady - m->jump_told < JUMP_TOLD_EVERY) {
        return;
    }
    m->jump_told = steady;
    m->jumped_back = by < 0;
    acme_log(m->conf.log, ACME_LOG_NOTICE, "AC0703", NULL,
             "the clock jumped %s by %" APR_INT64_T_FMT " s", by < 0 ? "back" : "forward",
             (apr_int64_t)apr_time_sec(size));
}

/* A clock set back must not stretch the waits of an order; one set forward only ends them early.
 * Everything else is decided anew. */
static void clock_jumped(acme_manager_t *m, apr_interval_time_t by, apr_time_t now)
{
    int i;

    m->shifted += by;
    m->scanned = 0;
    for (i = 0; i < m->conf.n_jobs; i++) {
        acme_job_t *job = &m->jobs[i];

        if (job->state == ACME_JOB_WAITING && by < 0) {
            job->due = acme_time_add(job->due, by);
        }
        else if (job->state == ACME_JOB_IDLE) {
            job->due = now;
        }
    }
}

static void watch_clock(acme_manager_t *m, apr_time_t now, apr_time_t steady)
{
    apr_interval_time_t by = (now - m->wall) - (steady - m->steady);

    if (m->steady != 0 && (by > JUMP || by < -JUMP)) {
        log_jump(m, by, steady);
        clock_jumped(m, by, now);
    }
    m->wall = now;
    m->steady = steady;
}

/* Makes ready what is due. Returns when the next one will be; *ready: workers are wanted. */
static apr_time_t ripen(acme_manager_t *m, apr_time_t now, int *ready)
{
    apr_time_t next = acme_time_add(now, SLICE);
    int i;

    for (i = 0; i < m->conf.n_jobs; i++) {
        acme_job_t *job = &m->jobs[i];

        if (job->state == ACME_JOB_WAITING && job->due <= now) {
            job->state = ACME_JOB_READY;
        }
        else if (job->state == ACME_JOB_IDLE && job->due <= now) {
            acme_schedule_decide(m, job, now);
        }
        if (job->state == ACME_JOB_READY) {
            *ready = 1;
        }
        else if (job->state != ACME_JOB_RUNNING && job->due < next) {
            next = job->due;
        }
    }
    return next;
}

static void sleep_until_woken(acme_manager_t *m, apr_interval_time_t wait)
{
    struct timespec until;

    acme_manager_steady_in(&until, wait);
    while (!m->woken && pthread_cond_timedwait(&m->tick, &m->mutex, &until) == 0) {
    }
    m->woken = 0;
}

void acme_schedule_slice(acme_manager_t *m)
{
    apr_time_t now = acme_manager_now(m);
    apr_time_t steady = acme_net_now();
    apr_time_t next;
    int ready = 0;

    pthread_mutex_lock(&m->mutex);
    watch_clock(m, now, steady);
    scan_expiry(m, now, steady);
    next = ripen(m, now, &ready);
    if (ready) {
        pthread_cond_broadcast(&m->work);
    }
    if (next > now) {
        sleep_until_woken(m, next - now < SLICE ? next - now : SLICE);
    }
    pthread_mutex_unlock(&m->mutex);
    acme_notify_turn(m->notify);
}
