/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#include "engine/manager.h"

#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <apr_general.h>
#include <apr_hash.h>
#include <apr_strings.h>

#include "base/time.h"
#include "protocol/ari.h"
#include "protocol/backoff.h"
#include "protocol/partial.h"

#define SLICE ACME_WAIT_SLICE
#define JUMP apr_time_from_sec(2)
#define JUMP_TOLD_EVERY apr_time_from_sec(60)
#define LOOK_AGAIN_AT_LEAST APR_USEC_PER_SEC
#define LOOK_AGAIN_AT_MOST apr_time_from_sec(24 * 3600)
#define LEFT_TOLD_EVERY apr_time_from_sec(24 * 3600)
#define EXPIRY_SCAN apr_time_from_sec(60)
#define FROM_THE_FUTURE apr_time_from_sec(600)
#define RENEWAL_SPREAD apr_time_from_sec(3600)
#define ASK_PACE apr_time_from_msec(250)
#define ASK_LATER apr_time_from_sec(60)
#define NOT_OFFERED apr_time_from_sec(24 * 3600)
#define TOLD_EVERY apr_time_from_sec(24 * 3600)

typedef enum {
    JOB_IDLE,    /* nothing to do until due, then decide again */
    JOB_READY,   /* wants a worker */
    JOB_RUNNING, /* belongs to a worker */
    JOB_WAITING  /* its order waits until due */
} job_state_t;

typedef struct job_t job_t;
struct job_t {
    const acme_job_conf_t *conf;
    const char *digest;      /* of an attempt with today's configuration */
    job_t *first;            /* of the same certificate: its other key types, or itself */
    const job_t *ordering;   /* in the first: whose order is in flight; challenges of two orders for
                              * the same names cannot always be told apart */
    job_state_t state;
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
typedef enum { CA_UNKNOWN = 0, CA_ASKED, CA_ANSWERS } ca_state_t;

typedef struct {
    acme_session_t *session; /* NULL: no usable account */
    const char *trouble;     /* what its account needs and has not, or NULL */
    apr_pool_t *pool;
    ca_state_t state;
    int running;
    int wanted;              /* by a job */
    int held;                /* the administrator has the account: no order begins */
    apr_time_t rest_told;
    apr_time_t ari_told;
} ca_t;

struct acme_manager_t {
    acme_manager_conf_t conf;
    apr_pool_t *pool;
    job_t *jobs;
    ca_t *cas;
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

static apr_time_t now_of(const acme_manager_t *m)
{
    return m->conf.now != NULL ? m->conf.now(m->conf.now_baton) : apr_time_now();
}

static double random_of(const acme_manager_t *m)
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

/* ---- what is known of a certificate ---- */

static const char *kept(const char *text, apr_pool_t *pool)
{
    return text != NULL ? apr_pstrdup(pool, text) : NULL;
}

/* Puts all strings into a pool of their own, so that what they replace can go. */
static void remember(job_t *job, const acme_facts_t *facts, const acme_issued_t *issued,
                     const acme_attempt_t *attempt)
{
    apr_pool_t *old = job->memo;
    apr_pool_t *pool;

    if (apr_pool_create_unmanaged_ex(&pool, NULL, NULL) != APR_SUCCESS) {
        return;
    }
    job->facts = *facts;
    job->facts.serial = kept(facts->serial, pool);
    job->facts.ari_id = kept(facts->ari_id, pool);
    job->issued = *issued;
    job->issued.key_digest = kept(issued->key_digest, pool);
    job->issued.directory = kept(issued->directory, pool);
    job->issued.spec_digest = kept(issued->spec_digest, pool);
    job->issued.challenge = kept(issued->challenge, pool);
    job->issued.left_out = acme_names_copy(issued->left_out, pool);
    job->attempt = *attempt;
    job->attempt.kind = kept(attempt->kind, pool);
    job->attempt.problem = kept(attempt->problem, pool);
    job->attempt.text = kept(attempt->text, pool);
    job->attempt.step = kept(attempt->step, pool);
    job->attempt.challenge = kept(attempt->challenge, pool);
    job->attempt.why = kept(attempt->why, pool);
    job->attempt.digest = kept(attempt->digest, pool);
    job->attempt.blamed = kept(attempt->blamed, pool);
    job->attempt.left_out = acme_names_copy(attempt->left_out, pool);
    job->memo = pool;
    if (old != NULL) {
        apr_pool_destroy(old);
    }
}

static int directory_listed(const acme_spec_t *spec, const char *directory)
{
    int i;

    if (directory == NULL || *directory == '\0') {
        return 1; /* unknown */
    }
    for (i = 0; i < spec->cas->nelts; i++) {
        if (strcmp(APR_ARRAY_IDX(spec->cas, i, acme_ca_t *)->directory_url, directory) == 0) {
            return 1;
        }
    }
    return 0;
}

static void facts_of_leaf(acme_facts_t *facts, const acme_spec_t *spec, const acme_leaf_t *leaf,
                          const acme_issued_t *issued)
{
    const apr_array_header_t *names;

    (void)acme_spec_names_without(&names, spec, issued->left_out, leaf->names->pool);
    memset(facts, 0, sizeof(*facts));
    facts->have = 1;
    facts->not_before = leaf->not_before;
    facts->not_after = leaf->not_after;
    facts->names_ok = acme_names_include(leaf->names, names);
    facts->directory_ok = directory_listed(spec, issued->directory);
    facts->serial = leaf->serial;
    facts->ari_id = leaf->ari_id;
}

/* What the row serves that root had not seen when it read F. ACME_AGAIN: nothing. */
static acme_rv_t look_at_board(acme_facts_t *facts, acme_issued_t *issued, const acme_manager_t *m,
                               const job_t *job, const acme_record_set_t *set, apr_pool_t *scratch)
{
    const acme_record_t *rec = &set->rec[ACME_REC_LIVE];
    const unsigned char *ders[ACME_CHAIN_MAX_CERTS];
    int row = job->conf->row;
    acme_board_live_t live;
    acme_issued_t told;
    acme_chain_t *chain;
    acme_leaf_t leaf;
    const char *rest;
    apr_size_t rest_len;

    if (m->conf.board == NULL || row < 0
        || acme_board_row_generation(m->conf.board, row) <= job->conf->baseline
        || acme_board_live_read(&live, m->conf.board, row, scratch, NULL) != ACME_OK) {
        return ACME_AGAIN;
    }
    memcpy(ders, live.cert, sizeof(ders));
    if (acme_chain_from_der(&chain, ders, live.cert_len, live.n_certs, scratch, NULL) != ACME_OK
        || acme_chain_leaf(&leaf, chain, scratch, NULL) != ACME_OK) {
        return ACME_AGAIN;
    }
    memset(&told, 0, sizeof(told));
    if (!set->present[ACME_REC_LIVE]
        || acme_certificate_payload_parse(&told, &rest, &rest_len, rec->payload, rec->len, scratch,
                                          NULL) != ACME_OK
        || told.key_digest == NULL || strcmp(told.key_digest, leaf.key_digest) != 0) {
        memset(&told, 0, sizeof(told));
    }
    facts_of_leaf(facts, job->conf->spec, &leaf, &told);
    *issued = told;
    return ACME_OK;
}

typedef struct {
    acme_issued_t issued;
    acme_chain_t *chain;
    acme_key_t *key;
    acme_leaf_t leaf;
} staged_t;

/* A pair that an earlier owner recorded and did not come to publish, checked like a new one. */
static acme_rv_t staged_pair(staged_t *staged, const job_t *job, const acme_record_set_t *set,
                             apr_time_t now, apr_pool_t *scratch)
{
    const acme_record_t *rec = &set->rec[ACME_REC_CERTIFICATE];
    const acme_record_t *key = &set->rec[ACME_REC_KEY];
    const acme_spec_t *spec = job->conf->spec;
    acme_chain_want_t want;
    acme_chain_t *chain;
    const char *pem;
    apr_size_t pem_len;
    int dropped;

    if (!set->present[ACME_REC_CERTIFICATE] || !set->present[ACME_REC_KEY]
        || acme_certificate_payload_parse(&staged->issued, &pem, &pem_len, rec->payload, rec->len,
                                          scratch, NULL) != ACME_OK
        || staged->issued.spec_digest == NULL
        || strcmp(staged->issued.spec_digest, spec->digest) != 0
        || !directory_listed(spec, staged->issued.directory)
        || acme_key_from_pem(&staged->key, key->payload, key->len, scratch, NULL) != ACME_OK
        || acme_chain_from_pem(&chain, pem, pem_len, scratch, NULL) != ACME_OK) {
        return ACME_AGAIN;
    }
    memset(&want, 0, sizeof(want));
    if (acme_spec_names_without(&want.names, spec, staged->issued.left_out, scratch) != ACME_OK) {
        return ACME_AGAIN;
    }
    want.key = staged->key;
    want.key_type = spec->key_type;
    want.must_staple = spec->must_staple;
    want.now = now;
    if (acme_chain_check(&staged->chain, &dropped, chain, &want, scratch, NULL) != ACME_OK
        || acme_chain_leaf(&staged->leaf, staged->chain, scratch, NULL) != ACME_OK) {
        return ACME_AGAIN;
    }
    return ACME_OK;
}

/* ---- events ---- */

/* An attempt is told from others by what it is to replace, its place in a row of failures and the
 * configuration. */
static char *attempt_name(char out[ACME_OCCURRENCE_MAX], const job_t *job, const char *serial,
                          apr_int64_t failures)
{
    apr_snprintf(out, ACME_OCCURRENCE_MAX, "%.60s/%" APR_INT64_T_FMT "/%.8s",
                 serial != NULL ? serial : "", failures, job->digest);
    return out;
}

static void tell(acme_manager_t *m, const job_t *job, acme_notice_t event, const char *occurrence,
                 const acme_news_t *news)
{
    acme_notify_event(m->notify, (int)(job - m->jobs), event, occurrence, news);
}

static void tell_serial(acme_manager_t *m, const job_t *job, acme_notice_t event,
                        const char *serial, apr_time_t not_after, const char *directory)
{
    acme_news_t news;

    memset(&news, 0, sizeof(news));
    news.serial = serial;
    news.not_after = not_after;
    news.directory = directory;
    tell(m, job, event, serial, &news);
}

static void news_of_service(acme_news_t *news, const job_t *job)
{
    memset(news, 0, sizeof(*news));
    news->serial = job->facts.serial;
    news->not_after = job->facts.not_after;
    news->failures = job->attempt.failures;
}

static void tell_renewing(acme_manager_t *m, const job_t *job, const acme_ca_t *ca)
{
    char name[ACME_OCCURRENCE_MAX];
    acme_news_t news;

    news_of_service(&news, job);
    news.directory = ca->directory_url;
    tell(m, job, ACME_NOTICE_RENEWING, attempt_name(name, job, news.serial, news.failures),
         &news);
}

static void tell_failed(acme_manager_t *m, const job_t *job, const acme_attempt_t *attempt,
                        const acme_ca_t *ca)
{
    char name[ACME_OCCURRENCE_MAX];
    acme_news_t news;

    news_of_service(&news, job);
    news.directory = ca != NULL ? ca->directory_url : NULL;
    news.error = attempt->text;
    news.step = attempt->step;
    news.problem = attempt->problem;
    news.failures = attempt->failures;
    news.next_try = attempt->not_before;
    tell(m, job, ACME_NOTICE_FAILED, attempt_name(name, job, news.serial, news.failures),
         &news);
}

static void tell_expiring(acme_manager_t *m, const job_t *job, const char *error)
{
    char name[ACME_OCCURRENCE_MAX];
    acme_news_t news;

    apr_snprintf(name, sizeof(name), "%.60s/%d",
                 job->facts.serial != NULL ? job->facts.serial : "", job->told);
    news_of_service(&news, job);
    news.error = error;
    news.next_try = job->decision.what == ACME_DO_HOLD ? 0 : job->decision.when;
    tell(m, job, ACME_NOTICE_EXPIRING, name, &news);
}

/* What counts as told when nothing is on record: all that is. */
static void load_told(acme_manager_t *m, const job_t *job, const acme_record_set_t *set,
                      const acme_facts_t *served, const acme_attempt_t *attempt)
{
    const char *baseline[ACME_NOTICES] = {NULL};
    char name[ACME_OCCURRENCE_MAX];

    baseline[ACME_NOTICE_ADOPTED] = job->conf->facts.serial;
    baseline[ACME_NOTICE_OBTAINED] = baseline[ACME_NOTICE_LIVE] = served->serial;
    if (attempt->failures > 0) {
        baseline[ACME_NOTICE_FAILED] = attempt_name(name, job, served->serial, attempt->failures);
    }
    acme_notify_load(m->notify, (int)(job - m->jobs), set, baseline);
}

/* What is known of the certificate, if it is ours and not somebody's who put it there. */
static void tell_known(acme_manager_t *m, const job_t *job, acme_notice_t event,
                       const acme_facts_t *facts, const acme_issued_t *issued)
{
    if (facts->have && issued->key_digest != NULL) {
        tell_serial(m, job, event, facts->serial, facts->not_after, issued->directory);
    }
}

static void publish_staged(acme_manager_t *m, const job_t *job, const staged_t *staged,
                           const char *what, apr_pool_t *scratch)
{
    const acme_spec_t *spec = job->conf->spec;
    acme_store_t *store = m->conf.store;
    acme_error_t err;

    acme_error_clear(&err);
    if (store->publish(store, spec->id, staged->key, staged->chain, now_of(m), scratch, &err)
        == ACME_OK) {
        acme_log(m->conf.log, ACME_LOG_NOTICE, "AC0723", spec->label, "live: serial %s, %s",
                 staged->leaf.serial, what);
        tell_serial(m, job, ACME_NOTICE_LIVE, staged->leaf.serial, staged->leaf.not_after,
                    staged->issued.directory);
    }
    else {
        acme_log(m->conf.log, ACME_LOG_WARNING, "AC0724", spec->label,
                 "serial %s, %s, goes live at the next restart only: %s", staged->leaf.serial,
                 what, err.text);
    }
}

/* AcmeActivate restart: the new one waits, but not beyond the last tenth of what is served. */
static void hold_back(job_t *job, const acme_facts_t *served)
{
    if (served->have && served->not_after > served->not_before && job->activate_at == 0) {
        job->activate_at = served->not_after - (served->not_after - served->not_before) / 10;
    }
}

static void finish_staged(acme_manager_t *m, job_t *job, const staged_t *staged,
                          const acme_facts_t *served, apr_pool_t *scratch)
{
    if (job->conf->spec->activate == ACME_ACTIVATE_RESTART) {
        hold_back(job, served);
    }
    else {
        publish_staged(m, job, staged, "obtained by an earlier owner", scratch);
    }
}

static void load_attempt(acme_attempt_t *attempt, const job_t *job, const acme_record_set_t *set,
                         apr_pool_t *scratch)
{
    const acme_record_t *rec = &set->rec[ACME_REC_ATTEMPT];

    if (!set->present[ACME_REC_ATTEMPT]
        || acme_attempt_parse(attempt, rec->payload, rec->len, scratch, NULL) != ACME_OK
        || attempt->digest == NULL || strcmp(attempt->digest, job->digest) != 0) {
        memset(attempt, 0, sizeof(*attempt));
    }
}

static const char *ari_id_of(const job_t *job)
{
    return job->facts.ari_id != NULL ? job->facts.ari_id : "";
}

/* A record that cannot be read costs a question to the CA. */
static void load_ari(job_t *job, const acme_record_set_t *set, apr_time_t now, apr_pool_t *scratch)
{
    const acme_record_t *rec = &set->rec[ACME_REC_ARI];

    if (!set->present[ACME_REC_ARI]
        || acme_ari_restore(&job->ari, rec->payload, rec->len, ari_id_of(job), now, scratch, NULL)
               != ACME_OK) {
        memset(&job->ari, 0, sizeof(job->ari));
        acme_ari_begin(&job->ari, ari_id_of(job), 0, now);
    }
    job->facts.ari_at = job->ari.at;
}

/* F as root found it, replaced by what an earlier owner has obtained since. */
static void load_job(acme_manager_t *m, job_t *job, apr_pool_t *scratch)
{
    acme_store_t *store = m->conf.store;
    acme_facts_t facts = job->conf->facts;
    acme_issued_t issued = job->conf->issued;
    acme_attempt_t attempt;
    acme_record_set_t set;
    staged_t staged;
    int changed;

    memset(&attempt, 0, sizeof(attempt));
    memset(&set, 0, sizeof(set));
    if (store->load(store, &set, job->conf->spec->id, scratch, NULL) != ACME_OK) {
        memset(&set, 0, sizeof(set));
    }
    load_attempt(&attempt, job, &set, scratch);
    changed = look_at_board(&facts, &issued, m, job, &set, scratch) == ACME_OK;
    load_told(m, job, &set, &facts, &attempt);
    tell_known(m, job, ACME_NOTICE_ADOPTED, &job->conf->facts, &job->conf->issued);
    tell_known(m, job, ACME_NOTICE_LIVE, &facts, &issued);
    if (staged_pair(&staged, job, &set, now_of(m), scratch) == ACME_OK
        && staged.leaf.not_before >= facts.not_before) {
        finish_staged(m, job, &staged, &facts, scratch);
        facts_of_leaf(&facts, job->conf->spec, &staged.leaf, &staged.issued);
        issued = staged.issued;
        changed = 1;
    }
    if (acme_attempt_asked(&attempt)) {
        job->forced = acme_attempt_is_wish(&attempt);
        job->new_key = strcmp(attempt.why, ACME_WISH_NEW_KEY) == 0;
    }
    job->under_way = acme_client_order_under_way(&set, job->conf->spec, now_of(m), scratch);
    job->leftovers = set.present[ACME_REC_CLEANUP];
    if (changed || attempt.failures > 0) {
        remember(job, &facts, &issued, &attempt);
    }
    else {
        job->facts = facts;
        job->issued = issued;
    }
    load_ari(job, &set, now_of(m), scratch);
    tell_known(m, job, ACME_NOTICE_OBTAINED, &job->facts, &job->issued);
    if (attempt.failures > 0) {
        tell_failed(m, job, &job->attempt, NULL);
    }
}

/* ---- which types of challenge work on this server ---- */

static void note_proof(acme_manager_t *m, const char *type, int worked, apr_time_t when)
{
    pthread_mutex_lock(&m->mutex);
    acme_proven_note(&m->proven, type, worked, when);
    pthread_mutex_unlock(&m->mutex);
}

/* What the records of a certificate say. */
static void note_history(acme_manager_t *m, const job_t *job)
{
    const acme_attempt_t *attempt = &job->attempt;

    note_proof(m, job->issued.challenge, 1, job->issued.issued);
    if (attempt->failures > 0 && attempt->kind != NULL
        && strcmp(attempt->kind, acme_error_kind_name(ACME_E_CHALLENGE)) == 0) {
        note_proof(m, attempt->challenge, 0, attempt->last);
    }
}

static int challenge_types(acme_challenge_type_t *types, acme_manager_t *m, const job_t *job)
{
    const acme_spec_t *spec = job->conf->spec;
    const char *worked;

    pthread_mutex_lock(&m->mutex);
    worked = acme_policy_worked(&m->proven, spec, job->issued.challenge);
    pthread_mutex_unlock(&m->mutex);
    return acme_policy_challenges(types, spec, worked,
                                  job->attempt.failures > 0 ? &job->attempt : NULL);
}

/* Of a failed attempt: a failure of another kind forgets nothing, or the alternation would begin
 * anew. */
static const char *tried_type(acme_manager_t *m, const job_t *job, const acme_error_t *err,
                              apr_time_t now)
{
    const char *type = job->client != NULL && err->kind == ACME_E_CHALLENGE
                           ? acme_client_challenge(job->client) : "";

    note_proof(m, type, 0, now);
    return *type == '\0' && job->attempt.failures > 0 ? job->attempt.challenge : type;
}

/* ---- which CA ---- */

static const acme_ca_t *ca_at(const job_t *job, int i)
{
    return APR_ARRAY_IDX(job->conf->spec->cas, i, const acme_ca_t *);
}

static ca_t *ca_state_of(acme_manager_t *m, const acme_ca_t *ca)
{
    return ca->index >= 0 && ca->index < m->conf.n_accounts ? &m->cas[ca->index] : NULL;
}

/* Whom the next attempt goes to after this history: the CA itself, or its staging. Also whom the
 * one under way does, as the history changes at its end only. */
static const acme_ca_t *target_after(acme_manager_t *m, const job_t *job,
                                     const acme_attempt_t *attempt)
{
    const acme_ca_t *ca = ca_at(job, job->ca);
    const ca_t *staging = ca->staging != NULL ? ca_state_of(m, ca->staging) : NULL;

    return staging != NULL && staging->session != NULL && acme_policy_rehearse(attempt)
           ? ca->staging : ca;
}

static const acme_ca_t *target_of(acme_manager_t *m, const job_t *job)
{
    return target_after(m, job, &job->attempt);
}

static int is_rehearsal(acme_manager_t *m, const job_t *job)
{
    return target_of(m, job) != ca_at(job, job->ca);
}

static ca_t *ca_of(acme_manager_t *m, const job_t *job)
{
    return ca_state_of(m, target_of(m, job));
}

static int usable_cas(acme_manager_t *m, const job_t *job)
{
    int i, n = 0;

    for (i = 0; i < job->conf->spec->cas->nelts; i++) {
        const ca_t *ca = ca_state_of(m, ca_at(job, i));

        n += ca != NULL && ca->session != NULL;
    }
    return n;
}

/* The first usable one from position i on. */
static void choose_ca(acme_manager_t *m, job_t *job, int i)
{
    int n = job->conf->spec->cas->nelts;
    int k;

    for (k = 0; k < n; k++) {
        const ca_t *ca = ca_state_of(m, ca_at(job, (i + k) % n));

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

static int failover_after(const job_t *job)
{
    return job->conf->spec->failover_after > 0 ? job->conf->spec->failover_after : 1;
}

/* Where a former owner left off; the record holds no CA, so this follows the rule it followed. */
static void first_ca(acme_manager_t *m, job_t *job)
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

/* After a failure. Returns the failure's place on the ladder: each CA gets the short steps once. */
static apr_int64_t next_ca(acme_manager_t *m, job_t *job, acme_error_t *err, apr_int64_t failures)
{
    int n = usable_cas(m, job);
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

/* ---- deciding ---- */

static const char *trouble_of(acme_manager_t *m, const job_t *job)
{
    const acme_ca_t *ca;
    const char *trouble;

    if (job->conf->spec->error != NULL) {
        return job->conf->spec->error;
    }
    if (job->conf->trouble != NULL) {
        return job->conf->trouble;
    }
    if (!job->conf->can_stage) {
        return "its staging log cannot be written";
    }
    if (usable_cas(m, job) > 0) {
        return NULL;
    }
    ca = ca_at(job, 0);
    trouble = ca->index >= 0 && ca->index < m->conf.n_accounts
              ? m->conf.accounts[ca->index].trouble : NULL;
    if (trouble == NULL && ca_state_of(m, ca) != NULL) {
        trouble = ca_state_of(m, ca)->trouble;
    }
    return trouble != NULL ? trouble : "no CA of it has a usable account key";
}

static void show(acme_manager_t *m, job_t *job, const char *state)
{
    const char *trouble = trouble_of(m, job);
    acme_board_status_t status;

    if (m->conf.board == NULL || job->conf->row < 0) {
        return;
    }
    memset(&status, 0, sizeof(status));
    apr_cpystrn(status.state, state, sizeof(status.state));
    apr_cpystrn(status.why, job->decision.why != NULL ? job->decision.why : "", sizeof(status.why));
    if (trouble != NULL) {
        apr_cpystrn(status.error, trouble, sizeof(status.error));
    }
    else if (job->attempt.failures > 0 && job->attempt.text != NULL) {
        apr_cpystrn(status.error, job->attempt.text, sizeof(status.error));
        apr_cpystrn(status.step, job->attempt.step != NULL ? job->attempt.step : "",
                    sizeof(status.step));
    }
    status.failures = (apr_uint32_t)job->attempt.failures;
    status.next = job->decision.what == ACME_DO_HOLD ? 0 : job->decision.when;
    status.not_before = job->facts.not_before;
    status.not_after = job->facts.not_after;
    apr_cpystrn(status.serial, job->facts.serial != NULL ? job->facts.serial : "",
                sizeof(status.serial));
    apr_cpystrn(status.explanation, job->ari.explanation, sizeof(status.explanation));
    status.changed = now_of(m);
    acme_board_status_write(m->conf.board, job->conf->row, &status);
}

/* Certificates that were obtained together need not be renewed in the same second. The name
 * decides, so that a restart moves nothing. */
static apr_interval_time_t spread(const job_t *job)
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
static void decide_wish(const job_t *job, acme_decision_t *d, apr_time_t now)
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

/* An order removes what is left at its end; without one it is removed now. */
static int sweeping(const job_t *job)
{
    return job->leftovers && job->client == NULL && job->decision.what != ACME_DO_ORDER;
}

static void decide_sweep(job_t *job, apr_time_t now)
{
    if (!sweeping(job)) {
        return;
    }
    if (job->sweep_at <= now) {
        job->state = JOB_READY;
    }
    else if (job->sweep_at < job->due) {
        job->due = job->sweep_at;
    }
}

/* A name that is left out gets another chance when there is nothing else to do. */
static void decide_left_out(const job_t *job, acme_decision_t *d, apr_time_t now)
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

static void decide(acme_manager_t *m, job_t *job, apr_time_t now)
{
    acme_decision_t *d = &job->decision;
    const acme_spec_t *spec = job->conf->spec;

    memset(d, 0, sizeof(*d));
    if (trouble_of(m, job) != NULL) {
        d->what = ACME_DO_HOLD;
        d->when = acme_time_add(now, LOOK_AGAIN_AT_MOST);
        d->why = "configuration";
    }
    else {
        mend_attempt(&job->attempt, now);
        acme_policy_decide(d, spec, &job->facts,
                           job->attempt.failures > 0 && !acme_partial_was_again(&job->attempt)
                               ? &job->attempt : NULL,
                           job->digest, job->forced, now);
        if (d->what == ACME_DO_ORDER && strcmp(d->why, "due") == 0 && !job->forced
            && job->attempt.failures == 0 && d->renew_at > 0 && now < d->renew_at + spread(job)) {
            d->what = ACME_DO_NOTHING;
            d->when = d->renew_at + spread(job);
        }
        decide_wish(job, d, now);
        decide_left_out(job, d, now);
    }
    job->state = d->what == ACME_DO_ORDER ? JOB_READY : JOB_IDLE;
    job->due = d->when;
    if (job->due < now + LOOK_AGAIN_AT_LEAST) {
        job->due = now + LOOK_AGAIN_AT_LEAST;
    }
    decide_sweep(job, now);
    show(m, job, d->what == ACME_DO_HOLD ? "held" : job->attempt.failures > 0 ? "failed" : "idle");
}

/* ---- one attempt ---- */

/* What could not be removed is tried again up the ladder. */
static void note_leftovers(job_t *job, int left, apr_time_t now, double random)
{
    job->leftovers = left;
    job->sweeps = left ? job->sweeps + 1 : 0;
    job->sweep_at = left ? acme_time_add(now, acme_backoff_delay(job->sweeps, ACME_RETRY_LADDER, 0,
                                                                 random)) : 0;
}

static void end_attempt(job_t *job)
{
    apr_pool_t *pool = job->pool;

    job->client = NULL;
    job->status = NULL;
    job->pool = NULL;
    if (pool != NULL) {
        apr_pool_destroy(pool);
    }
}

static void begin_status(const job_t *job)
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
static const char *replaces(const job_t *job, const acme_ca_t *ca)
{
    if (!job->conf->spec->ari || !job->facts.have || *ari_id_of(job) == '\0'
        || job->issued.directory == NULL
        || strcmp(job->issued.directory, ca->directory_url) != 0) {
        return NULL;
    }
    return job->facts.ari_id;
}

/* For AcmeKeyReuse: of what the board serves if that is newer than what root handed over. */
static const acme_key_t *former_key(const acme_manager_t *m, const job_t *job)
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

static acme_rv_t make_client(acme_manager_t *m, job_t *job, ca_t *ca, acme_error_t *err)
{
    acme_challenge_type_t types[ACME_CH_TYPES];
    acme_client_conf_t conf;
    int n;

    memset(&conf, 0, sizeof(conf));
    conf.spec = job->conf->spec;
    conf.ca = target_of(m, job);
    conf.rehearsal = is_rehearsal(m, job);
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
    n = challenge_types(types, m, job);
    return acme_client_create(&job->client, &conf, types, n, job->pool, err);
}

static void set_ca_state(acme_manager_t *m, ca_t *ca, ca_state_t state)
{
    pthread_mutex_lock(&m->mutex);
    ca->state = state;
    pthread_cond_broadcast(&m->work);
    pthread_mutex_unlock(&m->mutex);
}

/* ACME_AGAIN: the CA asked for a rest. */
static acme_rv_t begin_attempt(acme_manager_t *m, job_t *job, ca_t *ca, apr_time_t *until,
                               acme_error_t *err)
{
    *until = acme_session_paused(ca->session);
    if (*until > now_of(m)) {
        return ACME_AGAIN;
    }
    if (apr_pool_create_unmanaged_ex(&job->pool, NULL, NULL) != APR_SUCCESS) {
        job->pool = NULL;
        return acme_error_set(err, ACME_E_INTERNAL, "AC0725", "no memory for an order");
    }
    job->asked |= job->forced;
    job->forced = 0;
    tell_renewing(m, job, target_of(m, job));
    acme_log(m->conf.log, ACME_LOG_DEBUG, "AC0726", job->conf->spec->label, "ordering from %s: %s",
             target_of(m, job)->name, job->decision.why != NULL ? job->decision.why : "");
    if (is_rehearsal(m, job)) {
        acme_log(m->conf.log, ACME_LOG_NOTICE, "AC0362", job->conf->spec->label,
                 "%s could not validate it: this try goes to its staging, %s",
                 ca_at(job, job->ca)->name, target_of(m, job)->name);
    }
    if (acme_session_ready(ca->session, job->pool, err) != ACME_OK) {
        return ACME_FAIL;
    }
    set_ca_state(m, ca, CA_ANSWERS);
    job->status = apr_pcalloc(job->pool, sizeof(*job->status));
    begin_status(job);
    return make_client(m, job, ca, err);
}

static void record_attempt(acme_manager_t *m, const job_t *job, const acme_attempt_t *attempt)
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
                      now_of(m), pool, &err) != ACME_OK) {
        acme_log(m->conf.log, ACME_LOG_DEBUG, "AC0727", job->conf->spec->label,
                 "the attempt could not be recorded: %s", err.text);
    }
    apr_pool_destroy(pool);
}

static void record_ari(acme_manager_t *m, const job_t *job)
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
                      now_of(m), pool, &err) != ACME_OK) {
        acme_log(m->conf.log, ACME_LOG_DEBUG, "AC0751", job->conf->spec->label,
                 "the moment of the renewal could not be recorded: %s", err.text);
    }
    apr_pool_destroy(pool);
}

static apr_interval_time_t lifetime_of(const acme_facts_t *facts)
{
    return facts->have && facts->not_after > facts->not_before
               ? facts->not_after - facts->not_before : 0;
}

/* One line for each failure, with the very moment that is on record. */
static void log_failure(acme_manager_t *m, const job_t *job, const acme_error_t *err,
                        const acme_attempt_t *attempt, const acme_ca_t *ca)
{
    acme_log_level_t level = err->retry == ACME_RETRY_HUMAN ? ACME_LOG_ERR : ACME_LOG_WARNING;
    const acme_ca_t *next = target_after(m, job, attempt);
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

static void log_rest(acme_manager_t *m, const job_t *job, ca_t *ca)
{
    apr_time_t until = acme_session_paused(ca->session);
    char when[ACME_TIME_TEXT];
    int news;

    pthread_mutex_lock(&m->mutex);
    news = until > now_of(m) && until != ca->rest_told;
    ca->rest_told = until;
    pthread_mutex_unlock(&m->mutex);
    if (news) {
        acme_log(m->conf.log, ACME_LOG_NOTICE, "AC0702", job->conf->spec->label,
                 "%s asks for a rest: no new order there before %s", target_of(m, job)->name,
                 acme_time_format(when, until));
    }
}

static apr_time_t whole_second_after(apr_time_t t)
{
    return (t + APR_USEC_PER_SEC - 1) / APR_USEC_PER_SEC * APR_USEC_PER_SEC;
}

/* The attempt has come to its end, one way or the other: no owner of this generation repeats it. */
static void honour_wish(acme_manager_t *m, job_t *job)
{
    if (job->asked && m->conf.board != NULL && job->conf->row >= 0) {
        acme_board_retry_ack_set(m->conf.board, job->conf->row, m->conf.config);
    }
    job->asked = 0;
    job->under_way = 0;
}

static const char *leave_out(const acme_manager_t *m, const job_t *job, acme_attempt_t *attempt)
{
    const acme_order_t *order = job->client != NULL ? acme_client_order(job->client) : NULL;

    return acme_partial_failed(attempt, job->conf->spec, &job->issued, &job->attempt,
                               order != NULL ? order->blamed : NULL,
                               job->pool != NULL ? job->pool : m->pool);
}

static void log_gone(const acme_manager_t *m, const job_t *job, const char *gone)
{
    if (gone != NULL) {
        acme_log(m->conf.log, ACME_LOG_WARNING, "AC0746", job->conf->spec->label,
                 "%s is left out from the next attempt on: %d in a row failed for it alone", gone,
                 ACME_PARTIAL_AFTER);
    }
}

static void failed(acme_manager_t *m, job_t *job, ca_t *ca, const acme_error_t *cause)
{
    const acme_client_t *client = job->client;
    const acme_ca_t *tried = target_of(m, job);
    int rehearsal = is_rehearsal(m, job);
    acme_error_t err = *cause;
    acme_attempt_t attempt;
    apr_int64_t place;
    const char *gone;

    memset(&attempt, 0, sizeof(attempt));
    attempt.last = now_of(m);
    attempt.why = job->new_key ? ACME_WISH_NEW_KEY : job->decision.why;
    gone = leave_out(m, job, &attempt);
    attempt.validations = attempt.failures > 1 ? job->attempt.validations : 0;
    acme_attempt_failed(&attempt, err.kind == ACME_E_CHALLENGE && client != NULL
                                      && *acme_client_challenge(client) != '\0', rehearsal);
    attempt.kind = acme_error_kind_name(err.kind);
    attempt.problem = err.problem;
    attempt.text = err.text;
    attempt.step = client != NULL ? acme_client_step(client) : "account";
    attempt.challenge = tried_type(m, job, &err, attempt.last);
    attempt.digest = job->digest;
    log_rest(m, job, ca);
    place = rehearsal ? attempt.failures : next_ca(m, job, &err, attempt.failures);
    if (gone != NULL) {
        place = 1; /* the attempts without it have not failed yet */
        err.retry = ACME_RETRY_LADDER;
        err.not_before = 0;
    }
    attempt.not_before = whole_second_after(
        attempt.not_before != 0
            ? attempt.not_before
            : acme_backoff_next(attempt.last, place, &err, lifetime_of(&job->facts),
                                random_of(m)));
    record_attempt(m, job, &attempt);
    honour_wish(m, job);
    log_failure(m, job, cause, &attempt, tried);
    log_gone(m, job, gone);
    tell_failed(m, job, &attempt, tried);
    remember(job, &job->facts, &job->issued, &attempt);
    end_attempt(job);
}

/* It would be validated: the next try goes to the CA itself, at once. */
static void rehearsed(acme_manager_t *m, job_t *job)
{
    acme_attempt_t attempt = job->attempt;

    note_proof(m, acme_client_order(job->client)->challenge_used, 1, now_of(m));
    acme_log(m->conf.log, ACME_LOG_NOTICE, "AC0363", job->conf->spec->label,
             "%s validates it: the next try goes to %s", target_of(m, job)->name,
             ca_at(job, job->ca)->name);
    acme_attempt_rehearsed(&attempt);
    attempt.not_before = attempt.last;
    record_attempt(m, job, &attempt);
    remember(job, &job->facts, &job->issued, &attempt);
    end_attempt(job);
}

static void succeeded(acme_manager_t *m, job_t *job)
{
    const acme_order_t *order = acme_client_order(job->client);
    acme_attempt_t none;
    acme_issued_t issued;
    acme_facts_t facts;

    memset(&none, 0, sizeof(none));
    memset(&issued, 0, sizeof(issued));
    issued.directory = order->directory;
    issued.left_out = order->left_out;
    facts_of_leaf(&facts, job->conf->spec, acme_client_leaf(job->client), &issued);
    issued.spec_digest = job->conf->spec->digest;
    issued.challenge = order->challenge_used != NULL && *order->challenge_used != '\0'
                           ? order->challenge_used : job->issued.challenge;
    issued.issued = now_of(m);
    note_proof(m, order->challenge_used, 1, issued.issued);
    acme_ari_begin(&job->ari, acme_client_leaf(job->client)->ari_id,
                   job->decision.rushed, now_of(m));
    if (job->ari.early[0] != 0) {
        record_ari(m, job);
    }
    if (job->attempt.failures > 0 || job->asked) {
        none.kind = none.problem = none.text = none.step = none.challenge = none.why = "";
        none.digest = job->digest;
        record_attempt(m, job, &none);
    }
    honour_wish(m, job);
    if (job->conf->spec->activate == ACME_ACTIVATE_RESTART) {
        hold_back(job, &job->facts);
    }
    tell_serial(m, job, ACME_NOTICE_OBTAINED, facts.serial, facts.not_after, order->directory);
    if (acme_client_is_live(job->client)) {
        tell_serial(m, job, ACME_NOTICE_LIVE, facts.serial, facts.not_after, order->directory);
    }
    job->told = 0;
    job->new_key = 0;
    job->ca_failures = 0;
    remember(job, &facts, &issued, &none);
    end_attempt(job);
}

static int by_window(const job_t *job)
{
    return job->facts.ari_at != 0 && job->decision.renew_at == job->facts.ari_at;
}

static void log_next(acme_manager_t *m, const job_t *job)
{
    char when[ACME_TIME_TEXT];

    if (job->decision.renew_at > 0) {
        acme_log(m->conf.log, ACME_LOG_INFO, "AC0721", job->conf->spec->label,
                 "next renewal at %s",
                 acme_time_format(when, job->decision.renew_at
                                        + (by_window(job) ? 0 : spread(job))));
    }
}

/* ---- workers ---- */

typedef struct {
    int asked; /* the CA, for all others */
    acme_rv_t rv;
    apr_time_t until;
    acme_error_t err;
} outcome_t;

/* Without the mutex: the job is the worker's. */
static void work_on(outcome_t *o, acme_manager_t *m, job_t *job, ca_t *ca)
{
    acme_error_clear(&o->err);
    o->until = 0;
    o->rv = job->client != NULL ? ACME_OK : begin_attempt(m, job, ca, &o->until, &o->err);
    if (o->rv == ACME_OK) {
        o->rv = acme_client_run(job->client, &o->until, &o->err);
        if (o->rv != ACME_AGAIN) {
            note_leftovers(job, acme_client_txt_values(job->client) > 0, now_of(m), random_of(m));
        }
    }
    if (o->rv == ACME_OK && is_rehearsal(m, job)) {
        rehearsed(m, job);
    }
    else if (o->rv == ACME_OK) {
        succeeded(m, job);
    }
    else if (o->rv == ACME_FAIL && o->err.kind != ACME_E_STOPPED) {
        failed(m, job, ca, &o->err);
    }
}

/* With the mutex: gives the job back. */
static void give_back(acme_manager_t *m, job_t *job, ca_t *ca, const outcome_t *o)
{
    apr_time_t now = now_of(m);

    ca->running--;
    if (job->client == NULL) {
        job->first->ordering = NULL;
    }
    if ((o->asked && ca->state == CA_ASKED)
        || (o->rv == ACME_FAIL && (o->err.kind == ACME_E_NETWORK || o->err.kind == ACME_E_TLS))) {
        ca->state = CA_UNKNOWN;
    }
    if (o->rv == ACME_AGAIN) {
        job->state = job->client != NULL ? JOB_WAITING : JOB_IDLE;
        job->due = m->shifted == job->shifted ? o->until : now;
    }
    else if (o->rv == ACME_FAIL && o->err.kind == ACME_E_STOPPED) {
        job->state = JOB_IDLE;
        job->due = now + LOOK_AGAIN_AT_LEAST;
        end_attempt(job);
    }
    else {
        decide(m, job, now);
        if (o->rv == ACME_OK) {
            log_next(m, job);
        }
    }
}

/* Orders that run go first, then certificates that nothing valid stands in for, then what expires
 * first. */
static int before(const job_t *a, const job_t *b)
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
static int may_start(const acme_manager_t *m, const job_t *job, const ca_t *ca)
{
    int most = m->cas_wanted > 1 && m->n_threads > 1 ? m->n_threads - 1 : m->n_threads;

    return !ca->held && (job->client != NULL || ca->state != CA_ASKED) && ca->running < most;
}

static job_t *pick(acme_manager_t *m)
{
    job_t *best = NULL;
    int i;

    for (i = 0; i < m->conf.n_jobs; i++) {
        job_t *job = &m->jobs[i];

        if (job->state != JOB_READY) {
            continue;
        }
        if (sweeping(job)) {
            return job;
        }
        if (!may_start(m, job, ca_of(m, job))
            || (job->first->ordering != NULL && job->first->ordering != job)) {
            m->passed_over = 1;
        }
        else if (best == NULL || before(job, best)) {
            best = job;
        }
    }
    return best;
}

/* ---- what is left in the DNS ---- */

static void sweep_end(job_t *job)
{
    job->sweep = NULL;
    if (job->sweep_pool != NULL) {
        apr_pool_destroy(job->sweep_pool);
    }
    job->sweep_pool = NULL;
}

static acme_rv_t sweep_begin(acme_manager_t *m, job_t *job)
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
    conf.ca = ca_at(job, 0)->directory_url;
    conf.now = m->conf.now;
    conf.now_baton = m->conf.now_baton;
    if (store->load(store, &set, job->conf->spec->id, job->sweep_pool, NULL) != ACME_OK) {
        return ACME_FAIL;
    }
    return acme_txt_create(&job->sweep, &conf, &set, job->sweep_pool, NULL);
}

/* Without the mutex: the job is the worker's. ACME_AGAIN: go on after *delay. */
static acme_rv_t sweep(acme_manager_t *m, job_t *job, apr_interval_time_t *delay)
{
    if (job->sweep == NULL && sweep_begin(m, job) != ACME_OK) {
        note_leftovers(job, 1, now_of(m), random_of(m));
        sweep_end(job);
        return ACME_OK;
    }
    if (acme_txt_teardown(job->sweep, delay) == ACME_AGAIN) {
        return ACME_AGAIN;
    }
    note_leftovers(job, acme_txt_values(job->sweep) > 0, now_of(m), random_of(m));
    sweep_end(job);
    return ACME_OK;
}

/* With the mutex, which is not held while the job runs. */
static void run_sweep(acme_manager_t *m, job_t *job)
{
    apr_interval_time_t delay = LOOK_AGAIN_AT_LEAST;
    acme_rv_t rv;

    job->state = JOB_RUNNING;
    pthread_mutex_unlock(&m->mutex);
    rv = sweep(m, job, &delay);
    pthread_mutex_lock(&m->mutex);
    if (rv == ACME_AGAIN) {
        job->state = JOB_WAITING;
        job->due = acme_time_add(now_of(m), delay);
    }
    else {
        decide(m, job, now_of(m));
    }
    m->woken = 1;
    pthread_cond_signal(&m->tick);
}

/* With the mutex, which is not held while the job runs. */
static void run_job(acme_manager_t *m, job_t *job)
{
    ca_t *ca = ca_of(m, job);
    outcome_t outcome;

    job->state = JOB_RUNNING;
    job->first->ordering = job;
    ca->running++;
    outcome.asked = ca->state == CA_UNKNOWN && job->client == NULL;
    if (outcome.asked) {
        ca->state = CA_ASKED;
    }
    if (job->client != NULL && job->shifted != m->shifted) {
        acme_client_clock_moved(job->client, m->shifted - job->shifted);
    }
    job->shifted = m->shifted;
    pthread_mutex_unlock(&m->mutex);
    work_on(&outcome, m, job, ca);
    pthread_mutex_lock(&m->mutex);
    give_back(m, job, ca, &outcome);
    if (m->passed_over) {
        m->passed_over = 0;
        pthread_cond_broadcast(&m->work);
    }
    m->woken = 1;
    pthread_cond_signal(&m->tick);
}

static int quitting(void *baton)
{
    acme_manager_t *m = baton;

    return __atomic_load_n(&m->quit, __ATOMIC_ACQUIRE);
}

/* A plain thread: those of APR 1.7 take their pools from one that has no lock. */
static void *worker(void *baton)
{
    acme_manager_t *m = baton;
    job_t *job;

    pthread_mutex_lock(&m->mutex);
    while (!quitting(m)) {
        job = pick(m);
        if (job != NULL && sweeping(job)) {
            run_sweep(m, job);
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

/* By the clock that only grows: a jump of the other one must not stretch the wait. */
static void steady_in(struct timespec *until, apr_interval_time_t wait)
{
    apr_int64_t ns;

    clock_gettime(CLOCK_MONOTONIC, until);
    ns = until->tv_nsec + (apr_int64_t)wait * 1000;
    until->tv_sec += ns / 1000000000;
    until->tv_nsec = ns % 1000000000;
}

/* ---- renewal information ---- */

/* Whom to ask: the CA that issued the certificate, whatever is configured first now. NULL: it is
 * not known, or not one of those that are configured. */
static ca_t *issuer_of(acme_manager_t *m, const job_t *job)
{
    int i;

    for (i = 0; i < job->conf->spec->cas->nelts && job->issued.directory != NULL; i++) {
        const acme_ca_t *ca = ca_at(job, i);

        if (strcmp(ca->directory_url, job->issued.directory) == 0) {
            return ca_state_of(m, ca);
        }
    }
    return NULL;
}

static int may_ask(acme_manager_t *m, const job_t *job, apr_time_t now)
{
    const ca_t *ca;

    if (job->state != JOB_IDLE || !job->conf->spec->ari || job->ari.next > now
        || job->decision.what == ACME_DO_HOLD || !job->facts.have || *ari_id_of(job) == '\0'
        || now >= job->facts.not_after) {
        return 0;
    }
    ca = issuer_of(m, job);
    return ca != NULL && ca->session != NULL && acme_session_paused(ca->session) <= now;
}

/* The one that has been due longest. */
static job_t *next_to_ask(acme_manager_t *m, apr_time_t now)
{
    job_t *best = NULL;
    int i;

    for (i = 0; i < m->conf.n_jobs; i++) {
        job_t *job = &m->jobs[i];

        if (may_ask(m, job, now) && (best == NULL || job->ari.next < best->ari.next)) {
            best = job;
        }
    }
    return best;
}

/* One question; strings live in pool. */
typedef struct {
    const char *id;
    ca_t *ca;
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
        q->rv = read_answer(q, response, now_of(m));
    }
}

/* Told once a day and CA: a CA that breaks one answer breaks all of them. */
static void tell_unusable(acme_manager_t *m, const job_t *job, const question_t *q)
{
    apr_time_t now = now_of(m);
    acme_log_level_t level = ACME_LOG_DEBUG;

    if (q->lasting
        && (q->ca->ari_told == 0 || now < q->ca->ari_told || now - q->ca->ari_told > TOLD_EVERY)) {
        q->ca->ari_told = now;
        level = ACME_LOG_WARNING;
    }
    acme_log(m->conf.log, level, "AC0750", job->conf->spec->label,
             "the CA's renewal information cannot be used, the lifetime decides: %s", q->err.text);
}

static void tell_window(acme_manager_t *m, const job_t *job)
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
static void take_answer(acme_manager_t *m, job_t *job, const question_t *q)
{
    apr_time_t now = now_of(m);
    double random = random_of(m);

    if (q->rv == ACME_AGAIN) {
        job->ari.next = acme_time_add(now, NOT_OFFERED);
        return;
    }
    if (q->rv == ACME_OK) {
        acme_ari_answered(&job->ari, q->retry_after, now, random);
        if (acme_ari_take(&job->ari, &q->info, lifetime_of(&job->facts),
                          acme_policy_usual(job->conf->spec, &job->facts), now, random_of(m))) {
            tell_window(m, job);
        }
    }
    else {
        tell_unusable(m, job, q);
        acme_ari_failed(&job->ari, q->lasting, q->retry_after, now, random);
    }
    job->facts.ari_at = job->ari.at;
    record_ari(m, job);
}

/* With the mutex, which is not held while the CA is asked: the job goes its way meanwhile, and when
 * it is another certificate's by then, the answer is nobody's. */
static void ask(acme_manager_t *m, job_t *job)
{
    question_t q;

    memset(&q, 0, sizeof(q));
    job->ari.next = acme_time_add(now_of(m), ASK_LATER);
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
    if (job->state == JOB_IDLE && strcmp(ari_id_of(job), q.id) == 0
        && q.err.kind != ACME_E_STOPPED) {
        job->state = JOB_RUNNING;
        pthread_mutex_unlock(&m->mutex);
        take_answer(m, job, &q);
        pthread_mutex_lock(&m->mutex);
        job->state = JOB_IDLE;
        decide(m, job, now_of(m));
        m->woken = 1;
        pthread_cond_signal(&m->tick);
    }
    apr_pool_destroy(q.pool);
}

static void *asker(void *baton)
{
    acme_manager_t *m = baton;
    struct timespec until;
    job_t *job;

    pthread_mutex_lock(&m->mutex);
    while (!quitting(m)) {
        job = next_to_ask(m, now_of(m));
        if (job != NULL) {
            ask(m, job);
        }
        steady_in(&until, ASK_PACE);
        if (!quitting(m)) {
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

static void start_workers(acme_manager_t *m)
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
    m->asking = wants_ari(m) && pthread_create(&m->asker, NULL, asker, m) == 0;
    pthread_mutex_unlock(&m->mutex);
    pthread_sigmask(SIG_SETMASK, &former, NULL);
    if (m->n_threads < wanted) {
        acme_log(m->conf.log, ACME_LOG_ERR, "AC0728", NULL, "%d of %d workers could be started",
                 m->n_threads, wanted);
    }
}

static void join_workers(acme_manager_t *m)
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

/* ---- the clock and the queue ---- */

/* At a quarter, a tenth and a thirtieth of the lifetime left, once each, if it is not just waiting
 * for its renewal. */
static void warn_of_expiry(acme_manager_t *m, job_t *job, apr_time_t now)
{
    static const int parts[] = {4, 10, 30};
    apr_interval_time_t lifetime = lifetime_of(&job->facts);
    const char *trouble = trouble_of(m, job);
    const char *cause = trouble != NULL ? trouble : job->attempt.text;
    char when[ACME_TIME_TEXT];
    int i, news = 0;

    if (lifetime == 0 || (job->attempt.failures == 0 && trouble == NULL)) {
        return;
    }
    for (i = 0; i < 3; i++) {
        if (job->facts.not_after - now <= lifetime / parts[i] && !(job->told & 1 << i)) {
            job->told |= 1 << i;
            news = 1;
        }
    }
    if (news) {
        acme_log(m->conf.log, ACME_LOG_ERR, "AC0704", job->conf->spec->label,
                 "%s at %s and is not renewed: %s",
                 job->facts.not_after <= now ? "has expired" : "expires",
                 acme_time_format(when, job->facts.not_after), cause != NULL ? cause : "");
        tell_expiring(m, job, cause);
    }
}

static void activate_late(acme_manager_t *m, job_t *job, apr_time_t now)
{
    acme_store_t *store = m->conf.store;
    acme_record_set_t set;
    apr_pool_t *scratch;
    staged_t staged;

    if (job->activate_at == 0 || now < job->activate_at
        || apr_pool_create_unmanaged_ex(&scratch, NULL, NULL) != APR_SUCCESS) {
        return;
    }
    job->activate_at = 0;
    memset(&set, 0, sizeof(set));
    if (store->load(store, &set, job->conf->spec->id, scratch, NULL) == ACME_OK
        && staged_pair(&staged, job, &set, now, scratch) == ACME_OK) {
        acme_log(m->conf.log, ACME_LOG_WARNING, "AC0722", job->conf->spec->label,
                 "less than a tenth of the lifetime is left of what is served, and no restart has "
                 "come: the new certificate goes live without one (AcmeActivate restart)");
        publish_staged(m, job, &staged, "which waited for a restart", scratch);
    }
    apr_pool_destroy(scratch);
}

/* Once a day, and when an owner begins. */
static void tell_left(acme_manager_t *m, job_t *job, apr_time_t now)
{
    char until[ACME_TIME_TEXT];

    if (!job->facts.have || (job->left_told <= now && now - job->left_told < LEFT_TOLD_EVERY)) {
        return;
    }
    job->left_told = now;
    acme_log(m->conf.log, ACME_LOG_INFO, "AC0958", job->conf->spec->label,
             "valid until %s, %" APR_INT64_T_FMT " hours left",
             acme_time_format(until, job->facts.not_after),
             (apr_int64_t)(apr_time_sec(job->facts.not_after - now) / 3600));
}

/* Once a day, so that a dead name is not forgotten. */
static void warn_of_left_out(acme_manager_t *m, job_t *job, apr_time_t now)
{
    const apr_array_header_t *names = acme_partial_left_out(job->conf->spec, &job->issued,
                                                            &job->attempt);
    char when[ACME_TIME_TEXT];
    apr_pool_t *pool;

    if (names == NULL || !job->facts.have || job->conf->spec->error != NULL
        || (job->left_out_told != 0 && now >= job->left_out_told
            && now - job->left_out_told < LOOK_AGAIN_AT_MOST)
        || apr_pool_create_unmanaged_ex(&pool, NULL, NULL) != APR_SUCCESS) {
        return;
    }
    job->left_out_told = now;
    acme_log(m->conf.log, ACME_LOG_WARNING, "AC0747", job->conf->spec->label,
             "left out of the certificate, as no CA could validate it: %s; tried again at %s",
             apr_array_pstrcat(pool, names, ' '),
             acme_time_format(when, acme_partial_again(job->conf->spec, &job->issued,
                                                       &job->attempt)));
    apr_pool_destroy(pool);
}

static void scan_expiry(acme_manager_t *m, apr_time_t now, apr_time_t steady)
{
    int i;

    if (m->scanned != 0 && steady - m->scanned < EXPIRY_SCAN) {
        return;
    }
    m->scanned = steady;
    for (i = 0; i < m->conf.n_jobs; i++) {
        if (m->jobs[i].state == JOB_RUNNING) {
            m->scanned = 0; /* it has its turn when its worker gives it back */
            continue;
        }
        tell_left(m, &m->jobs[i], now);
        warn_of_expiry(m, &m->jobs[i], now);
        warn_of_left_out(m, &m->jobs[i], now);
        activate_late(m, &m->jobs[i], now);
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
        job_t *job = &m->jobs[i];

        if (job->state == JOB_WAITING && by < 0) {
            job->due = acme_time_add(job->due, by);
        }
        else if (job->state == JOB_IDLE) {
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
        job_t *job = &m->jobs[i];

        if (job->state == JOB_WAITING && job->due <= now) {
            job->state = JOB_READY;
        }
        else if (job->state == JOB_IDLE && job->due <= now) {
            decide(m, job, now);
        }
        if (job->state == JOB_READY) {
            *ready = 1;
        }
        else if (job->state != JOB_RUNNING && job->due < next) {
            next = job->due;
        }
    }
    return next;
}

static void sleep_until_woken(acme_manager_t *m, apr_interval_time_t wait)
{
    struct timespec until;

    steady_in(&until, wait);
    while (!m->woken && pthread_cond_timedwait(&m->tick, &m->mutex, &until) == 0) {
    }
    m->woken = 0;
}

static void slice(acme_manager_t *m)
{
    apr_time_t now = now_of(m);
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

/* ---- start ---- */

typedef struct {
    int valid, due, failing, missing, held;
} tally_t;

static void count(tally_t *tally, const job_t *job)
{
    if (job->decision.what == ACME_DO_HOLD) {
        tally->held++;
    }
    if (!job->facts.have) {
        tally->missing++;
    }
    else if (job->attempt.failures > 0) {
        tally->failing++;
    }
    else if (job->decision.what == ACME_DO_ORDER) {
        tally->due++;
    }
    else {
        tally->valid++;
    }
}

static const char *ca_names(const acme_manager_t *m, apr_pool_t *pool)
{
    const char *names = NULL;
    int i;

    for (i = 0; i < m->conf.n_accounts; i++) {
        if (m->cas[i].wanted) {
            const char *name = m->conf.accounts[i].ca->name;

            names = names != NULL ? apr_pstrcat(pool, names, ", ", name, NULL) : name;
        }
    }
    return names != NULL ? names : "none";
}

static void summarize(const acme_manager_t *m)
{
    apr_pool_t *scratch;
    tally_t tally;
    int i;

    memset(&tally, 0, sizeof(tally));
    for (i = 0; i < m->conf.n_jobs; i++) {
        count(&tally, &m->jobs[i]);
    }
    apr_pool_create(&scratch, m->pool);
    acme_log(m->conf.log, ACME_LOG_NOTICE, "AC0710", NULL,
             "%d certificate%s: %d valid, %d due, %d failing, %d never issued%s%s%s; CA %s",
             m->conf.n_jobs, m->conf.n_jobs == 1 ? "" : "s", tally.valid, tally.due, tally.failing,
             tally.missing, tally.held > 0 ? apr_psprintf(scratch, " (%d held)", tally.held) : "",
             m->conf.place != NULL ? "; store " : "", m->conf.place != NULL ? m->conf.place : "",
             ca_names(m, scratch));
    acme_log(m->conf.log, ACME_LOG_INFO, "AC0713", NULL, "owner is pid %ld", (long)getpid());
    apr_pool_destroy(scratch);
}

static void load_all(acme_manager_t *m)
{
    apr_time_t now = now_of(m);
    apr_pool_t *scratch;
    int i;

    apr_pool_create(&scratch, m->pool);
    for (i = 0; i < m->conf.n_jobs && !acme_stopped(&m->conf.stop); i++) {
        job_t *job = &m->jobs[i];

        load_job(m, job, scratch);
        note_history(m, job);
        first_ca(m, job);
        job->forced |= job->conf->retry_now
                       && (m->conf.board == NULL || job->conf->row < 0
                           || acme_board_retry_ack(m->conf.board, job->conf->row)
                              != m->conf.config);
        decide(m, job, now);
        apr_pool_clear(scratch);
    }
    apr_pool_destroy(scratch);
}

static acme_rv_t make_session(acme_manager_t *m, int i, acme_error_t *err)
{
    const acme_account_conf_t *account = &m->conf.accounts[i];
    ca_t *ca = &m->cas[i];
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
    ca_t *ca = &m->cas[i];
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
            ca_t *ca = ca_state_of(m, ca_at(&m->jobs[i], k));

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
        end_attempt(&m->jobs[i]);
        sweep_end(&m->jobs[i]);
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
        job_t *job = &m->jobs[i];
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
    return now_of(baton);
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
    m->stop.stopped = quitting;
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

void acme_manager_run(acme_manager_t *m)
{
    load_all(m);
    __atomic_store_n(&m->loaded, 1, __ATOMIC_RELEASE);
    summarize(m);
    start_workers(m);
    while (!acme_stopped(&m->conf.stop)) {
        slice(m);
    }
    join_workers(m);
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

/* ---- asked for by the administrator ---- */

#define HOLD_AT_MOST apr_time_from_sec(10)

/* Without the mutex. The job is nobody else's meanwhile. */
static acme_rv_t record_wish(acme_manager_t *m, const job_t *job, const char *wish,
                             acme_error_t *err)
{
    acme_store_t *store = m->conf.store;
    const char *payload;
    apr_pool_t *pool;
    acme_rv_t rv;

    if (apr_pool_create_unmanaged_ex(&pool, NULL, NULL) != APR_SUCCESS) {
        return acme_error_set(err, ACME_E_INTERNAL, NULL, "out of memory");
    }
    payload = acme_wish_payload(wish, job->digest, now_of(m), pool);
    rv = store->append(store, job->conf->spec->id, ACME_REC_ATTEMPT, payload, strlen(payload),
                       now_of(m), pool, err);
    apr_pool_destroy(pool);
    return rv;
}

/* With the mutex. */
static acme_ask_t can_ask(acme_manager_t *m, const job_t *job, acme_ask_what_t what,
                          acme_error_t *err)
{
    const char *trouble = trouble_of(m, job);

    if (trouble != NULL) {
        acme_error_set(err, ACME_E_CONFIG, "AC0928", "%s", trouble);
        return ACME_ASK_HELD;
    }
    if (job->state == JOB_RUNNING || job->client != NULL) {
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
    job_t *job = &m->jobs[i];
    acme_attempt_t none;
    acme_ask_t answer;

    memset(&none, 0, sizeof(none));
    pthread_mutex_lock(&m->mutex);
    answer = can_ask(m, job, what, err);
    if (answer == ACME_ASK_ACCEPTED) {
        job->state = JOB_RUNNING; /* nobody takes it */
        pthread_mutex_unlock(&m->mutex);
        (void)record_wish(m, job, wish, NULL);
        pthread_mutex_lock(&m->mutex);
        remember(job, &job->facts, &job->issued, &none);
        job->forced = 1;
        job->new_key |= what == ACME_ASK_RENEW_NEW_KEY;
        first_ca(m, job);
        decide(m, job, now_of(m));
        pthread_cond_broadcast(&m->work);
    }
    pthread_mutex_unlock(&m->mutex);
    return answer;
}

static ca_t *issuer_to_ask(acme_manager_t *m, const job_t *job, const char **directory,
                           apr_pool_t *scratch)
{
    ca_t *ca;
    int i;

    *directory = job->issued.directory != NULL ? apr_pstrdup(scratch, job->issued.directory) : "";
    for (i = 0; i < job->conf->spec->cas->nelts; i++) {
        ca = ca_state_of(m, ca_at(job, i));
        if (ca != NULL && ca->session != NULL
            && (**directory == '\0' || strcmp(ca_at(job, i)->directory_url, *directory) == 0)) {
            return ca;
        }
    }
    return NULL;
}

static acme_rv_t live_der(const unsigned char **der, apr_size_t *len, const acme_manager_t *m,
                          const job_t *job, apr_pool_t *scratch, acme_error_t *err)
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

static acme_rv_t revoke_of(acme_manager_t *m, job_t *job, const unsigned char *der,
                           apr_size_t len, int reason, apr_pool_t *scratch,
                           acme_error_t *err)
{
    const char *directory;
    ca_t *ca;

    if (der == NULL && live_der(&der, &len, m, job, scratch, err) != ACME_OK) {
        return ACME_FAIL;
    }
    pthread_mutex_lock(&m->mutex);
    ca = job->state != JOB_RUNNING ? issuer_to_ask(m, job, &directory, scratch) : NULL;
    if (job->state == JOB_RUNNING) {
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
static int ca_in_use(acme_manager_t *m, const ca_t *ca)
{
    int i;

    for (i = 0; i < m->conf.n_jobs; i++) {
        if ((m->jobs[i].state == JOB_RUNNING || m->jobs[i].client != NULL)
            && ca_of(m, &m->jobs[i]) == ca) {
            return 1;
        }
    }
    return 0;
}

/* Keeps orders from beginning and waits for those that run. */
static acme_rv_t hold(acme_manager_t *m, ca_t *ca, acme_error_t *err)
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
        if (quitting(m) || acme_net_now() >= give_up) {
            rv = acme_error_set(err, ACME_E_STOPPED, "AC0933", "orders are under way at this CA; "
                                "try again when they are done");
        }
    }
    ca->held = rv == ACME_OK;
    pthread_mutex_unlock(&m->mutex);
    return rv;
}

static void release(acme_manager_t *m, ca_t *ca)
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
    ca_t *ca = &m->cas[i];
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
