/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#ifndef ACME_ENGINE_MANAGER_H
#define ACME_ENGINE_MANAGER_H

#include "engine/client.h"
#include "engine/notify.h"
#include "protocol/policy.h"

/* The owner's scheduler: which certificates are due, new ones before renewals; due jobs run on a
 * small pool of threads; a waiting order holds none. A thread of its own asks the CAs for renewal
 * information, one certificate after the other: no order ever waits for that. */

typedef struct {
    const acme_spec_t *spec;
    int row;
    apr_uint64_t baseline;        /* generation of the row as root read it */
    acme_facts_t facts;           /* of F as root found it */
    acme_issued_t issued;         /* of F, members NULL when unknown */
    const char *key;              /* of F, PEM, for AcmeKeyReuse only; or NULL */
    int can_stage;
    int retry_now;
    const char *trouble;          /* why it is not ordered, or NULL */
} acme_job_conf_t;

typedef struct {
    const acme_ca_t *ca;
    int row;                      /* of the account, -1: none */
    const char *account_id;
    const char *jwk;              /* private key text, NULL: unusable */
    const char *trouble;
} acme_account_conf_t;

typedef struct {
    const acme_job_conf_t *jobs;
    int n_jobs;
    const acme_account_conf_t *accounts; /* by acme_ca_t.index */
    int n_accounts;
    acme_store_t *store;
    acme_board_t *board;
    const acme_log_t *log;
    const char *place;            /* what the summary calls the store, or NULL */
    int workers;                  /* threads, >= 1 */
    acme_program_runner_t *programs; /* NULL: none are run */
    const char *const *notify_command; /* up to NULL, see notify.h; may be NULL */
    int http_port, https_port;    /* where requests to 80 and 443 arrive here; 0: nowhere */
    const char *user_agent;
    acme_stop_t stop;
    apr_uint32_t config;          /* configuration generation, for retry_ack */
    apr_time_t (*now)(void *baton);     /* clock port; NULL: apr_time_now */
    void *now_baton;
    double (*random)(void *baton);      /* NULL: the system's */
    void *random_baton;
} acme_manager_conf_t;

typedef struct acme_manager_t acme_manager_t;

acme_rv_t acme_manager_create(acme_manager_t **out, const acme_manager_conf_t *conf,
                              apr_pool_t *pool, acme_error_t *err);

/* Runs in the calling thread until stop says so; all workers have ended when it returns. Signals
 * are blocked in the workers. */
void acme_manager_run(acme_manager_t *manager);

/* Wakes it (any thread, not a signal handler). */
void acme_manager_wake(acme_manager_t *manager);

/* ---- what an administrator asks for: any thread but the manager's and its workers', one at a
 * time, none before it is ready and none any more when acme_manager_run has returned ---- */

int acme_manager_ready(const acme_manager_t *manager);

typedef enum {
    ACME_ASK_ACCEPTED = 0, /* recorded: it is tried at once, by the next owner if need be */
    ACME_ASK_UNDER_WAY,    /* an order for it is being worked on */
    ACME_ASK_NOTHING,      /* a retry of what has not failed */
    ACME_ASK_HELD          /* it must not be ordered: why stands in the error */
} acme_ask_t;

typedef enum { ACME_ASK_RETRY, ACME_ASK_RENEW, ACME_ASK_RENEW_NEW_KEY } acme_ask_what_t;

/* Forgets the failures of a job (index of conf.jobs), and orders now. */
acme_ask_t acme_manager_ask(acme_manager_t *manager, int job, acme_ask_what_t what,
                            acme_error_t *err);

/* Revokes a certificate at the CA that issued the job's and orders another one with a new key. der
 * NULL: the one on the board. Takes as long as the CA does. */
acme_rv_t acme_manager_revoke(acme_manager_t *manager, int job, const unsigned char *der,
                              apr_size_t len, int reason, acme_error_t *err);

/* account: index of conf.accounts. No order may be under way at the CA; none is begun meanwhile. */
acme_rv_t acme_manager_rollover(acme_manager_t *manager, int account, acme_error_t *err);
acme_rv_t acme_manager_deactivate(acme_manager_t *manager, int account, acme_error_t *err);

#endif
