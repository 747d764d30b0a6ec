/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#ifndef ACME_ENGINE_MANAGER_PRIVATE_H
#define ACME_ENGINE_MANAGER_PRIVATE_H

#include <pthread.h>
#include <time.h>

#include "engine/manager.h"
#include "protocol/ari.h"

/* What the files of the manager have in common: job.c news.c route.c schedule.c sweep.c try.c
 * worker.c asker.c wish.c manager.c; nobody else includes it.
 *
 * The mutex guards the jobs that nobody has claimed and the CAs' states. Who makes a job
 * ACME_JOB_RUNNING has it to himself, without the mutex, until he gives it back. */

#define ACME_LOOK_AGAIN_AT_LEAST APR_USEC_PER_SEC
#define ACME_LOOK_AGAIN_AT_MOST apr_time_from_sec(24 * 3600)

typedef enum {
    ACME_JOB_IDLE,    /* nothing to do until due, then decide again */
    ACME_JOB_READY,   /* wants a worker */
    ACME_JOB_RUNNING, /* belongs to a worker */
    ACME_JOB_WAITING  /* its order waits until due */
} acme_job_state_t;

typedef struct acme_job_t acme_job_t;
struct acme_job_t {
    const acme_job_conf_t *conf;
    const char *digest;      /* of an attempt with today's configuration */
    acme_job_t *first;       /* of the same certificate: its other key types, or itself */
    const acme_job_t *ordering; /* in the first: whose order is in flight; challenges of two orders
                                 * for the same names cannot always be told apart */
    acme_job_state_t state;
    apr_time_t due;
    /* What is known of the certificate; the strings live in memo or with conf. */
    acme_facts_t facts;
    acme_issued_t issued;
    acme_attempt_t attempt;
    apr_pool_t *memo;
    /* The last decision. */
    acme_decision_t decision;
    int forced;              /* the administrator asked for a try now */
    int asked;               /* the attempt that runs or waits is that try */
    int new_key;             /* asked for, whatever the configuration says */
    int under_way;           /* an earlier owner's order is not finished */
    int ca;                  /* of spec->cas, that the next attempt goes to */
    int ca_failures;         /* since it does */
    int told;                /* expiry warnings given */
    apr_time_t left_told;    /* when the log was told how much is left */
    acme_ari_t ari;          /* the CA's window for what is in service */
    apr_time_t left_out_told; /* when it was last said that names are left out */
    apr_time_t activate_at;  /* when what waits for a restart goes live without one; 0: nothing */
    /* The attempt that runs or waits. */
    apr_pool_t *pool;
    acme_client_t *client;
    acme_board_status_t *status;
    apr_interval_time_t shifted;
    /* TXT values that are left of attempts that have ended. */
    int leftovers;
    apr_int64_t sweeps;      /* that left some */
    apr_time_t sweep_at;
    apr_pool_t *sweep_pool;
    acme_txt_t *sweep;       /* under way */
};

/* Whether a CA answers: the first order finds out, the others need not wait for its time-out. */
typedef enum { ACME_CA_UNKNOWN = 0, ACME_CA_ASKED, ACME_CA_ANSWERS } acme_ca_state_t;

typedef struct {
    acme_session_t *session; /* NULL: no usable account */
    const char *trouble;     /* what its account needs and has not, or NULL */
    apr_pool_t *pool;
    acme_ca_state_t state;
    int running;
    int wanted;              /* by a job */
    int held;                /* the administrator has the account: no order begins */
    apr_time_t rest_told;
    apr_time_t ari_told;
} acme_manager_ca_t;

struct acme_manager_t {
    acme_manager_conf_t conf;
    apr_pool_t *pool;
    acme_job_t *jobs;
    acme_manager_ca_t *cas;
    int cas_wanted;
    acme_present_ctx_t *presenters;
    acme_checker_t *checker;
    acme_proven_t proven;       /* guarded by mutex */
    acme_notify_t *notify;      /* NULL: nobody wants to know */
    acme_stop_t stop;           /* of the workers: quit */
    int quit;
    int loaded;                 /* the jobs are known: it may be asked */
    pthread_mutex_t mutex;      /* guards jobs that no worker has, and cas' states */
    pthread_cond_t tick, work, ask;
    int woken;
    int passed_over;            /* a ready job could not be taken by a free worker */
    apr_time_t wall, steady;    /* of the last slice */
    apr_time_t scanned;
    apr_time_t jump_told;
    int jumped_back;
    apr_interval_time_t shifted; /* all jumps of the clock together */
    pthread_t *threads;
    int n_threads;
    pthread_t asker;
    int asking;                  /* that thread exists */
};

/* ---- the manager: manager.c ---- */

apr_time_t acme_manager_now(const acme_manager_t *m);
double acme_manager_random(const acme_manager_t *m); /* 0 <= x < 1 */
/* For acme_stop_t: the workers are to end. baton: the manager. */
int acme_manager_quitting(void *baton);
/* By the clock that only grows: a jump of the other one must not stretch the wait. */
void acme_manager_steady_in(struct timespec *until, apr_interval_time_t wait);

/* ---- a job: job.c ---- */

/* F as root found it, replaced by what an earlier owner has obtained since. */
void acme_job_load(acme_manager_t *m, acme_job_t *job, apr_pool_t *scratch);
/* Puts all strings into a pool of their own, so that what they replace can go. */
void acme_job_remember(acme_job_t *job, const acme_facts_t *facts, const acme_issued_t *issued,
                       const acme_attempt_t *attempt);
/* The facts of a certificate; the strings stay leaf's. */
void acme_job_facts(acme_facts_t *facts, const acme_spec_t *spec, const acme_leaf_t *leaf,
                    const acme_issued_t *issued);
const char *acme_job_ari_id(const acme_job_t *job); /* of what is in service, or "" */
apr_interval_time_t acme_job_lifetime(const acme_facts_t *facts); /* 0: unknown */
/* Why it is not ordered, or NULL. */
const char *acme_job_trouble(acme_manager_t *m, const acme_job_t *job);
/* AcmeActivate restart: the new one waits, but not beyond the last tenth of what is served. */
void acme_job_hold_back(acme_job_t *job, const acme_facts_t *served);
/* What has waited that long goes live. */
void acme_job_activate_late(acme_manager_t *m, acme_job_t *job, apr_time_t now);

/* ---- what is told: news.c ---- */

/* What counts as told when nothing is on record: all that is. */
void acme_news_load(acme_manager_t *m, const acme_job_t *job, const acme_record_set_t *set,
                    const acme_facts_t *served, const acme_attempt_t *attempt);
void acme_news_serial(acme_manager_t *m, const acme_job_t *job, acme_notice_t event,
                      const char *serial, apr_time_t not_after, const char *directory);
/* What is known of the certificate, if it is ours and not somebody's who put it there. */
void acme_news_known(acme_manager_t *m, const acme_job_t *job, acme_notice_t event,
                     const acme_facts_t *facts, const acme_issued_t *issued);
void acme_news_renewing(acme_manager_t *m, const acme_job_t *job, const acme_ca_t *ca);
/* ca: NULL when it is not known. */
void acme_news_failed(acme_manager_t *m, const acme_job_t *job, const acme_attempt_t *attempt,
                      const acme_ca_t *ca);
/* On the board. */
void acme_news_show(acme_manager_t *m, acme_job_t *job, const char *state);
void acme_news_next(acme_manager_t *m, const acme_job_t *job);
/* At a quarter, a tenth and a thirtieth of the lifetime left, once each, if it is not just waiting
 * for its renewal. */
void acme_news_expiry(acme_manager_t *m, acme_job_t *job, apr_time_t now);
/* Once a day, and when an owner begins. */
void acme_news_left(acme_manager_t *m, acme_job_t *job, apr_time_t now);
/* Once a day, so that a dead name is not forgotten. */
void acme_news_left_out(acme_manager_t *m, acme_job_t *job, apr_time_t now);
void acme_news_summary(const acme_manager_t *m);

/* ---- the route of an attempt: route.c ---- */

/* Without the mutex. type: NULL or "" is nothing. */
void acme_route_proof(acme_manager_t *m, const char *type, int worked, apr_time_t when);
/* What the records of a certificate say. */
void acme_route_history(acme_manager_t *m, const acme_job_t *job);
/* Without the mutex. Returns how many types, best first, ACME_CH_TYPES at most. */
int acme_route_challenges(acme_challenge_type_t *types, acme_manager_t *m, const acme_job_t *job);
/* Of a failed attempt: a failure of another kind forgets nothing, or the alternation would begin
 * anew. */
const char *acme_route_tried(acme_manager_t *m, const acme_job_t *job, const acme_error_t *err,
                             apr_time_t now);

const acme_ca_t *acme_route_ca_at(const acme_job_t *job, int i); /* of spec->cas */
acme_manager_ca_t *acme_route_ca_state(acme_manager_t *m, const acme_ca_t *ca); /* or NULL */
/* Whom the next attempt goes to after this history: the CA itself, or its staging. Also whom the
 * one under way does, as the history changes at its end only. */
const acme_ca_t *acme_route_target_after(acme_manager_t *m, const acme_job_t *job,
                                         const acme_attempt_t *attempt);
/* The same after the job's own history; is it a staging?; its state. */
const acme_ca_t *acme_route_target(acme_manager_t *m, const acme_job_t *job);
int acme_route_is_rehearsal(acme_manager_t *m, const acme_job_t *job);
acme_manager_ca_t *acme_route_ca(acme_manager_t *m, const acme_job_t *job);
/* How many CAs of the job have an account that can be used. */
int acme_route_usable(acme_manager_t *m, const acme_job_t *job);
/* Where a former owner left off; the record holds no CA, so this follows the rule it followed. */
void acme_route_first(acme_manager_t *m, acme_job_t *job);
/* After a failure. Returns the failure's place on the ladder: each CA gets the short steps once. */
apr_int64_t acme_route_next(acme_manager_t *m, acme_job_t *job, acme_error_t *err,
                            apr_int64_t failures);

/* ---- what is due when: schedule.c ---- */

/* What to do for a job that is the caller's, or with the mutex: sets decision, state and due, and
 * shows them. */
void acme_schedule_decide(acme_manager_t *m, acme_job_t *job, apr_time_t now);
/* Certificates that were obtained together need not be renewed in the same second. The name
 * decides, so that a restart moves nothing. */
apr_interval_time_t acme_schedule_spread(const acme_job_t *job);
/* One turn of the manager's own thread: waits for what is due, ACME_WAIT_SLICE at most. */
void acme_schedule_slice(acme_manager_t *m);

/* ---- what is left in the DNS: sweep.c ---- */

/* What could not be removed is tried again up the ladder. */
void acme_sweep_note(acme_job_t *job, int left, apr_time_t now, double random);
/* An order removes what is left at its end; without one it is removed now. */
int acme_sweep_wanted(const acme_job_t *job);
/* Part of the decision: makes the job ready, or due, for it. */
void acme_sweep_decide(acme_job_t *job, apr_time_t now);
/* With the mutex, which is not held while the job runs. */
void acme_sweep_run(acme_manager_t *m, acme_job_t *job);
/* Gives up the one under way, if any. */
void acme_sweep_end(acme_job_t *job);

/* ---- one attempt: try.c ---- */

typedef struct {
    int asked; /* the CA, for all others */
    acme_rv_t rv;
    apr_time_t until;
    acme_error_t err;
} acme_outcome_t;

/* Without the mutex: the job is the worker's. Begins or goes on; rv ACME_AGAIN: it waits, or the CA
 * asked for a rest, until then. */
void acme_try_run(acme_outcome_t *o, acme_manager_t *m, acme_job_t *job, acme_manager_ca_t *ca);
/* Drops the one under way, if any. */
void acme_try_end(acme_job_t *job);

/* ---- the threads: worker.c, asker.c ---- */

/* All of them, and the asker; signals are blocked in them. */
void acme_worker_start(acme_manager_t *m);
/* Returns when all have ended. */
void acme_worker_join(acme_manager_t *m);

/* With the mutex. One is started if a job wants renewal information. */
void acme_asker_start(acme_manager_t *m);
/* A record that cannot be read costs a question to the CA. */
void acme_asker_load(acme_job_t *job, const acme_record_set_t *set, apr_time_t now,
                     apr_pool_t *scratch);
void acme_asker_record(acme_manager_t *m, const acme_job_t *job);

#endif
