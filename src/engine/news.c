/* Licensed under the Apache License, Version 2.0; see LICENSE. */

/* What the administrator is told of a job: on the board, in the log, by the program of
 * AcmeNotifyCommand. What one attempt has to say of itself stands in try.c. */

#include "engine/manager_private.h"

#include <string.h>
#include <unistd.h>

#include <apr_strings.h>

#include "base/time.h"
#include "protocol/partial.h"

#define LEFT_TOLD_EVERY apr_time_from_sec(24 * 3600)

/* ---- events ---- */

/* An attempt is told from others by what it is to replace, its place in a row of failures and the
 * configuration. */
static char *attempt_name(char out[ACME_OCCURRENCE_MAX], const acme_job_t *job, const char *serial,
                          apr_int64_t failures)
{
    apr_snprintf(out, ACME_OCCURRENCE_MAX, "%.60s/%" APR_INT64_T_FMT "/%.8s",
                 serial != NULL ? serial : "", failures, job->digest);
    return out;
}

static void tell(acme_manager_t *m, const acme_job_t *job, acme_notice_t event,
                 const char *occurrence, const acme_news_t *news)
{
    acme_notify_event(m->notify, (int)(job - m->jobs), event, occurrence, news);
}

void acme_news_serial(acme_manager_t *m, const acme_job_t *job, acme_notice_t event,
                      const char *serial, apr_time_t not_after, const char *directory)
{
    acme_news_t news;

    memset(&news, 0, sizeof(news));
    news.serial = serial;
    news.not_after = not_after;
    news.directory = directory;
    tell(m, job, event, serial, &news);
}

static void news_of_service(acme_news_t *news, const acme_job_t *job)
{
    memset(news, 0, sizeof(*news));
    news->serial = job->facts.serial;
    news->not_after = job->facts.not_after;
    news->failures = job->attempt.failures;
}

void acme_news_renewing(acme_manager_t *m, const acme_job_t *job, const acme_ca_t *ca)
{
    char name[ACME_OCCURRENCE_MAX];
    acme_news_t news;

    news_of_service(&news, job);
    news.directory = ca->directory_url;
    tell(m, job, ACME_NOTICE_RENEWING, attempt_name(name, job, news.serial, news.failures),
         &news);
}

void acme_news_failed(acme_manager_t *m, const acme_job_t *job, const acme_attempt_t *attempt,
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

static void tell_expiring(acme_manager_t *m, const acme_job_t *job, const char *error)
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

void acme_news_load(acme_manager_t *m, const acme_job_t *job, const acme_record_set_t *set,
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

void acme_news_known(acme_manager_t *m, const acme_job_t *job, acme_notice_t event,
                     const acme_facts_t *facts, const acme_issued_t *issued)
{
    if (facts->have && issued->key_digest != NULL) {
        acme_news_serial(m, job, event, facts->serial, facts->not_after, issued->directory);
    }
}

/* ---- the board ---- */

void acme_news_show(acme_manager_t *m, acme_job_t *job, const char *state)
{
    const char *trouble = acme_job_trouble(m, job);
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
    status.changed = acme_manager_now(m);
    acme_board_status_write(m->conf.board, job->conf->row, &status);
}

/* ---- the log ---- */

static int by_window(const acme_job_t *job)
{
    return job->facts.ari_at != 0 && job->decision.renew_at == job->facts.ari_at;
}

void acme_news_next(acme_manager_t *m, const acme_job_t *job)
{
    char when[ACME_TIME_TEXT];

    if (job->decision.renew_at > 0) {
        acme_log(m->conf.log, ACME_LOG_INFO, "AC0721", job->conf->spec->label,
                 "next renewal at %s",
                 acme_time_format(when, job->decision.renew_at
                                        + (by_window(job) ? 0 : acme_schedule_spread(job))));
    }
}

void acme_news_expiry(acme_manager_t *m, acme_job_t *job, apr_time_t now)
{
    static const int parts[] = {4, 10, 30};
    apr_interval_time_t lifetime = acme_job_lifetime(&job->facts);
    const char *trouble = acme_job_trouble(m, job);
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

void acme_news_left(acme_manager_t *m, acme_job_t *job, apr_time_t now)
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

void acme_news_left_out(acme_manager_t *m, acme_job_t *job, apr_time_t now)
{
    const apr_array_header_t *names = acme_partial_left_out(job->conf->spec, &job->issued,
                                                            &job->attempt);
    char when[ACME_TIME_TEXT];
    apr_pool_t *pool;

    if (names == NULL || !job->facts.have || job->conf->spec->error != NULL
        || (job->left_out_told != 0 && now >= job->left_out_told
            && now - job->left_out_told < ACME_LOOK_AGAIN_AT_MOST)
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

/* ---- all of them, when an owner begins ---- */

typedef struct {
    int valid, due, failing, missing, held;
} tally_t;

static void count(tally_t *tally, const acme_job_t *job)
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

void acme_news_summary(const acme_manager_t *m)
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
