/* Licensed under the Apache License, Version 2.0; see LICENSE. */

/* The route of a job's next attempt: to which CA, by which types of challenge. */

#include "engine/manager_private.h"

#include <string.h>

/* ---- which types of challenge work on this server ---- */

void acme_route_proof(acme_manager_t *m, const char *type, int worked, apr_time_t when)
{
    pthread_mutex_lock(&m->mutex);
    acme_proven_note(&m->proven, type, worked, when);
    pthread_mutex_unlock(&m->mutex);
}

void acme_route_history(acme_manager_t *m, const acme_job_t *job)
{
    const acme_attempt_t *attempt = &job->attempt;

    acme_route_proof(m, job->issued.challenge, 1, job->issued.issued);
    if (attempt->failures > 0 && attempt->kind != NULL
        && strcmp(attempt->kind, acme_error_kind_name(ACME_E_CHALLENGE)) == 0) {
        acme_route_proof(m, attempt->challenge, 0, attempt->last);
    }
}

int acme_route_challenges(acme_challenge_type_t *types, acme_manager_t *m, const acme_job_t *job)
{
    const acme_spec_t *spec = job->conf->spec;
    const char *worked;

    pthread_mutex_lock(&m->mutex);
    worked = acme_policy_worked(&m->proven, spec, job->issued.challenge);
    pthread_mutex_unlock(&m->mutex);
    return acme_policy_challenges(types, spec, worked, &job->attempt);
}

const char *acme_route_tried(acme_manager_t *m, const acme_job_t *job, const acme_error_t *err,
                             apr_time_t now)
{
    const char *type = job->client != NULL && err->kind == ACME_E_CHALLENGE
                           ? acme_client_challenge(job->client) : "";

    acme_route_proof(m, type, 0, now);
    return *type == '\0' && job->attempt.challenge != NULL ? job->attempt.challenge : type;
}

/* ---- which CA ---- */

const acme_ca_t *acme_route_ca_at(const acme_job_t *job, int i)
{
    return APR_ARRAY_IDX(job->conf->spec->cas, i, const acme_ca_t *);
}

acme_manager_ca_t *acme_route_ca_state(acme_manager_t *m, const acme_ca_t *ca)
{
    return ca->index >= 0 && ca->index < m->conf.n_accounts ? &m->cas[ca->index] : NULL;
}

const acme_ca_t *acme_route_target_after(acme_manager_t *m, const acme_job_t *job,
                                         const acme_attempt_t *attempt)
{
    const acme_ca_t *ca = acme_route_ca_at(job, job->ca);
    const acme_manager_ca_t *staging = ca->staging != NULL ? acme_route_ca_state(m, ca->staging)
                                                           : NULL;

    return staging != NULL && staging->session != NULL && acme_policy_rehearse(attempt)
           ? ca->staging : ca;
}

const acme_ca_t *acme_route_target(acme_manager_t *m, const acme_job_t *job)
{
    return acme_route_target_after(m, job, &job->attempt);
}

int acme_route_is_rehearsal(acme_manager_t *m, const acme_job_t *job)
{
    return acme_route_target(m, job) != acme_route_ca_at(job, job->ca);
}

acme_manager_ca_t *acme_route_ca(acme_manager_t *m, const acme_job_t *job)
{
    return acme_route_ca_state(m, acme_route_target(m, job));
}

int acme_route_usable(acme_manager_t *m, const acme_job_t *job)
{
    int i, n = 0;

    for (i = 0; i < job->conf->spec->cas->nelts; i++) {
        const acme_manager_ca_t *ca = acme_route_ca_state(m, acme_route_ca_at(job, i));

        n += ca != NULL && ca->session != NULL;
    }
    return n;
}

/* The first usable one from position i on. */
static void choose_ca(acme_manager_t *m, acme_job_t *job, int i)
{
    int n = job->conf->spec->cas->nelts;
    int k;

    for (k = 0; k < n; k++) {
        const acme_manager_ca_t *ca = acme_route_ca_state(m, acme_route_ca_at(job, (i + k) % n));

        if (ca != NULL && ca->session != NULL) {
            job->ca = (i + k) % n;
            return;
        }
    }
}

typedef enum { FAILOVER_NEVER, FAILOVER_COUNTED, FAILOVER_AT_ONCE } failover_t;

/* Policy of one CA that another need not share. */
static int is_refusal(const char *problem)
{
    static const char *const refusals[] = {"rejectedIdentifier", "unsupportedIdentifier", "caa",
                                           "invalidProfile"};
    apr_size_t i;

    for (i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++) {
        if (problem != NULL && strcmp(problem, refusals[i]) == 0) {
            return 1;
        }
    }
    return 0;
}

static failover_t failover_class(const acme_error_t *err)
{
    if (is_refusal(err->problem)) {
        return FAILOVER_AT_ONCE;
    }
    switch (err->kind) {
    case ACME_E_NETWORK:
    case ACME_E_TLS:
    case ACME_E_HTTP:
    case ACME_E_PROTOCOL:
    case ACME_E_PROBLEM:
    case ACME_E_CONFIG: /* of the account, or of the way to the CA */
        return FAILOVER_COUNTED;
    case ACME_E_NONE:
    case ACME_E_INTERNAL:
    case ACME_E_SYSTEM:
    case ACME_E_CHALLENGE: /* the next CA sees the same DNS */
    case ACME_E_CERTIFICATE:
    case ACME_E_STORE:
    case ACME_E_SECURITY:
    case ACME_E_STOPPED:
        return FAILOVER_NEVER;
    }
    return FAILOVER_NEVER;
}

static int counted_kind(const char *kind)
{
    static const acme_error_kind_t counted[] = {
        ACME_E_NETWORK, ACME_E_TLS, ACME_E_HTTP, ACME_E_PROTOCOL, ACME_E_PROBLEM, ACME_E_CONFIG
    };
    apr_size_t i;

    for (i = 0; i < sizeof(counted) / sizeof(counted[0]); i++) {
        if (kind != NULL && strcmp(kind, acme_error_kind_name(counted[i])) == 0) {
            return 1;
        }
    }
    return 0;
}

static int failover_after(const acme_job_t *job)
{
    return job->conf->spec->failover_after > 0 ? job->conf->spec->failover_after : 1;
}

void acme_route_first(acme_manager_t *m, acme_job_t *job)
{
    apr_int64_t failures = job->attempt.failures;
    int n = job->conf->spec->cas->nelts;
    int at = 0;

    if (failures > 0 && is_refusal(job->attempt.problem)) {
        at = (int)(failures % n);
    }
    else if (failures > 0 && counted_kind(job->attempt.kind)) {
        at = (int)(failures / failover_after(job) % n);
    }
    job->ca_failures = (int)(failures % failover_after(job));
    choose_ca(m, job, at);
}

apr_int64_t acme_route_next(acme_manager_t *m, acme_job_t *job, acme_error_t *err,
                            apr_int64_t failures)
{
    int n = acme_route_usable(m, job);
    failover_t class = failover_class(err);

    if (n < 2) {
        return failures;
    }
    job->ca_failures++;
    if (class == FAILOVER_AT_ONCE
        || (class == FAILOVER_COUNTED && job->ca_failures >= failover_after(job))) {
        choose_ca(m, job, job->ca + 1);
        job->ca_failures = 0;
        if (failures < (apr_int64_t)failover_after(job) * n) {
            err->retry = ACME_RETRY_LADDER;
            err->not_before = 0; /* said by the CA that is left */
            return 1;
        }
        return failures;
    }
    if (failures >= (apr_int64_t)failover_after(job) * n) {
        return failures;
    }
    if (class == FAILOVER_COUNTED) {
        err->retry = ACME_RETRY_LADDER; /* what would wait long here need not do so elsewhere */
    }
    return job->ca_failures;
}
