/* Licensed under the Apache License, Version 2.0; see LICENSE. */

/* A wish: what an administrator asks of the manager while it runs. */

#include "engine/manager_private.h"

#include <pthread.h>
#include <string.h>
#include <time.h>

#include <apr_strings.h>

#define HOLD_AT_MOST apr_time_from_sec(10)

/* ---- certificates ---- */

/* Without the mutex. The job is nobody else's meanwhile. */
static acme_rv_t record_wish(acme_manager_t *m, const acme_job_t *job, const char *wish,
                             acme_error_t *err)
{
    acme_store_t *store = m->conf.store;
    const char *payload;
    apr_pool_t *pool;
    acme_rv_t rv;

    if (apr_pool_create_unmanaged_ex(&pool, NULL, NULL) != APR_SUCCESS) {
        return acme_error_set(err, ACME_E_INTERNAL, NULL, "out of memory");
    }
    payload = acme_wish_payload(wish, job->attempt.challenge, job->digest, acme_manager_now(m),
                                pool);
    rv = store->append(store, job->conf->spec->id, ACME_REC_ATTEMPT, payload, strlen(payload),
                       acme_manager_now(m), pool, err);
    apr_pool_destroy(pool);
    return rv;
}

/* With the mutex. */
static acme_ask_t can_ask(acme_manager_t *m, const acme_job_t *job, acme_ask_what_t what,
                          acme_error_t *err)
{
    const char *trouble = acme_job_trouble(m, job);

    if (trouble != NULL) {
        acme_error_set(err, ACME_E_CONFIG, "AC0928", "%s", trouble);
        return ACME_ASK_HELD;
    }
    if (job->state == ACME_JOB_RUNNING || job->client != NULL) {
        return ACME_ASK_UNDER_WAY;
    }
    if (what == ACME_ASK_RETRY && job->attempt.failures == 0
        && job->decision.what != ACME_DO_ORDER) {
        return ACME_ASK_NOTHING;
    }
    return ACME_ASK_ACCEPTED;
}

/* A wish that cannot be recorded is honoured by this owner all the same. */
acme_ask_t acme_manager_ask(acme_manager_t *m, int i, acme_ask_what_t what, acme_error_t *err)
{
    const char *wish = what == ACME_ASK_RENEW_NEW_KEY ? ACME_WISH_NEW_KEY : ACME_WISH;
    acme_job_t *job = &m->jobs[i];
    acme_attempt_t none;
    acme_ask_t answer;

    memset(&none, 0, sizeof(none));
    pthread_mutex_lock(&m->mutex);
    answer = can_ask(m, job, what, err);
    if (answer == ACME_ASK_ACCEPTED) {
        job->state = ACME_JOB_RUNNING; /* nobody takes it */
        pthread_mutex_unlock(&m->mutex);
        (void)record_wish(m, job, wish, NULL);
        pthread_mutex_lock(&m->mutex);
        none.challenge = job->attempt.challenge;
        acme_job_remember(job, &job->facts, &job->issued, &none);
        job->forced = 1;
        job->new_key |= what == ACME_ASK_RENEW_NEW_KEY;
        acme_route_first(m, job);
        acme_schedule_decide(m, job, acme_manager_now(m));
        pthread_cond_broadcast(&m->work);
    }
    pthread_mutex_unlock(&m->mutex);
    return answer;
}

static acme_manager_ca_t *issuer_to_ask(acme_manager_t *m, const acme_job_t *job,
                                        const char **directory, apr_pool_t *scratch)
{
    acme_manager_ca_t *ca;
    int i;

    *directory = job->issued.directory != NULL ? apr_pstrdup(scratch, job->issued.directory) : "";
    for (i = 0; i < job->conf->spec->cas->nelts; i++) {
        ca = acme_route_ca_state(m, acme_route_ca_at(job, i));
        if (ca != NULL && ca->session != NULL
            && (**directory == '\0'
                || strcmp(acme_route_ca_at(job, i)->directory_url, *directory) == 0)) {
            return ca;
        }
    }
    return NULL;
}

static acme_rv_t live_der(const unsigned char **der, apr_size_t *len, const acme_manager_t *m,
                          const acme_job_t *job, apr_pool_t *scratch, acme_error_t *err)
{
    acme_board_live_t live;

    if (m->conf.board == NULL || job->conf->row < 0
        || acme_board_live_read(&live, m->conf.board, job->conf->row, scratch, err) != ACME_OK) {
        return acme_error_set(err, ACME_E_STORE, "AC0929", "no certificate to revoke");
    }
    *der = live.cert[0];
    *len = live.cert_len[0];
    return ACME_OK;
}

static acme_rv_t revoke_of(acme_manager_t *m, acme_job_t *job, const unsigned char *der,
                           apr_size_t len, int reason, apr_pool_t *scratch,
                           acme_error_t *err)
{
    const char *directory;
    acme_manager_ca_t *ca;

    if (der == NULL && live_der(&der, &len, m, job, scratch, err) != ACME_OK) {
        return ACME_FAIL;
    }
    pthread_mutex_lock(&m->mutex);
    ca = job->state != ACME_JOB_RUNNING ? issuer_to_ask(m, job, &directory, scratch) : NULL;
    if (job->state == ACME_JOB_RUNNING) {
        acme_error_set(err, ACME_E_CONFIG, "AC0930", "an order for it is being worked on; try "
                       "again when that is done");
    }
    else if (ca == NULL) {
        acme_error_set(err, ACME_E_CONFIG, "AC0931", "issued by %s, which is not among its CAs or "
                       "has no usable account key", *directory != '\0' ? directory : "a CA");
    }
    pthread_mutex_unlock(&m->mutex);
    if (ca == NULL || acme_session_ready(ca->session, scratch, err) != ACME_OK) {
        return ACME_FAIL;
    }
    return acme_session_revoke(ca->session, der, len, reason, scratch, err);
}

acme_rv_t acme_manager_revoke(acme_manager_t *m, int i, const unsigned char *der, apr_size_t len,
                              int reason, acme_error_t *err)
{
    apr_pool_t *scratch;
    acme_rv_t rv;

    if (apr_pool_create_unmanaged_ex(&scratch, NULL, NULL) != APR_SUCCESS) {
        return acme_error_set(err, ACME_E_INTERNAL, NULL, "out of memory");
    }
    rv = revoke_of(m, &m->jobs[i], der, len, reason, scratch, err);
    apr_pool_destroy(scratch);
    if (rv == ACME_OK) {
        acme_log(m->conf.log, ACME_LOG_NOTICE, "AC0932", m->jobs[i].conf->spec->label,
                 "revoked as somebody asked; another certificate is ordered");
        (void)acme_manager_ask(m, i, ACME_ASK_RENEW_NEW_KEY, NULL);
    }
    return rv;
}

/* ---- accounts ---- */

/* With the mutex. */
static int ca_in_use(acme_manager_t *m, const acme_manager_ca_t *ca)
{
    int i;

    for (i = 0; i < m->conf.n_jobs; i++) {
        if ((m->jobs[i].state == ACME_JOB_RUNNING || m->jobs[i].client != NULL)
            && acme_route_ca(m, &m->jobs[i]) == ca) {
            return 1;
        }
    }
    return 0;
}

/* Keeps orders from beginning and waits for those that run. */
static acme_rv_t hold(acme_manager_t *m, acme_manager_ca_t *ca, acme_error_t *err)
{
    apr_time_t give_up = acme_net_now() + HOLD_AT_MOST;
    struct timespec until;
    acme_rv_t rv = ACME_OK;

    pthread_mutex_lock(&m->mutex);
    ca->held = 1;
    while (ca_in_use(m, ca) && rv == ACME_OK) {
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_nsec += 100000000;
        until.tv_sec += until.tv_nsec / 1000000000;
        until.tv_nsec %= 1000000000;
        pthread_cond_timedwait(&m->tick, &m->mutex, &until);
        if (acme_manager_quitting(m) || acme_net_now() >= give_up) {
            rv = acme_error_set(err, ACME_E_STOPPED, "AC0933", "orders are under way at this CA; "
                                "try again when they are done");
        }
    }
    ca->held = rv == ACME_OK;
    pthread_mutex_unlock(&m->mutex);
    return rv;
}

static void release(acme_manager_t *m, acme_manager_ca_t *ca)
{
    pthread_mutex_lock(&m->mutex);
    ca->held = 0;
    m->woken = 1;
    pthread_cond_broadcast(&m->work);
    pthread_cond_signal(&m->tick);
    pthread_mutex_unlock(&m->mutex);
}

typedef acme_rv_t account_fn(acme_session_t *session, const acme_ca_t *ca, apr_pool_t *scratch,
                             acme_error_t *err);

static acme_rv_t with_account(acme_manager_t *m, int i, account_fn *act, acme_error_t *err)
{
    const acme_account_conf_t *account = &m->conf.accounts[i];
    acme_manager_ca_t *ca = &m->cas[i];
    apr_pool_t *scratch;
    acme_rv_t rv;

    if (ca->session == NULL) {
        return acme_error_set(err, ACME_E_CONFIG, "AC0934", "%s",
                              account->trouble != NULL ? account->trouble : "no usable account");
    }
    if (hold(m, ca, err) != ACME_OK) {
        return ACME_FAIL;
    }
    rv = ACME_FAIL;
    if (apr_pool_create_unmanaged_ex(&scratch, NULL, NULL) == APR_SUCCESS) {
        rv = acme_session_ready(ca->session, scratch, err);
        if (rv == ACME_OK) {
            rv = act(ca->session, account->ca, scratch, err);
        }
        apr_pool_destroy(scratch);
    }
    release(m, ca);
    return rv;
}

static acme_rv_t act_rollover(acme_session_t *session, const acme_ca_t *ca, apr_pool_t *scratch,
                              acme_error_t *err)
{
    acme_key_t *key;

    if (acme_key_generate(&key, ca->account_key_type, scratch, err) != ACME_OK) {
        return ACME_FAIL;
    }
    return acme_session_rollover(session, key, scratch, err);
}

acme_rv_t acme_manager_rollover(acme_manager_t *m, int account, acme_error_t *err)
{
    int i;

    for (i = 0; i < m->conf.n_accounts; i++) {
        if (i != account && m->conf.accounts[i].account_id != NULL
            && strcmp(m->conf.accounts[i].account_id, m->conf.accounts[account].account_id) == 0) {
            return acme_error_set(err, ACME_E_CONFIG, "AC0935", "its key is that of %s, too: give "
                                  "each CA an AcmeAuthPath of its own",
                                  m->conf.accounts[i].ca->name);
        }
    }
    return with_account(m, account, act_rollover, err);
}

static acme_rv_t act_deactivate(acme_session_t *session, const acme_ca_t *ca, apr_pool_t *scratch,
                                acme_error_t *err)
{
    (void)ca;
    return acme_session_deactivate(session, scratch, err);
}

acme_rv_t acme_manager_deactivate(acme_manager_t *m, int account, acme_error_t *err)
{
    acme_rv_t rv = with_account(m, account, act_deactivate, err);

    if (rv == ACME_OK) {
        acme_log(m->conf.log, ACME_LOG_NOTICE, "AC0936", NULL,
                 "%s: the account is deactivated as somebody asked; for another one move %s away "
                 "and restart", m->conf.accounts[account].ca->name,
                 m->conf.accounts[account].ca->auth_path);
    }
    return rv;
}
