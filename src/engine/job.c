/* Licensed under the Apache License, Version 2.0; see LICENSE. */

/* A job, one certificate in the manager's hands: what is known of it, from what root read, the
 * board and the records of earlier owners; and a pair that one of them did not come to publish. */

#include "engine/manager_private.h"

#include <string.h>

#include <apr_strings.h>

/* ---- what is known of the certificate ---- */

static const char *kept(const char *text, apr_pool_t *pool)
{
    return text != NULL ? apr_pstrdup(pool, text) : NULL;
}

void acme_job_remember(acme_job_t *job, const acme_facts_t *facts, const acme_issued_t *issued,
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

void acme_job_facts(acme_facts_t *facts, const acme_spec_t *spec, const acme_leaf_t *leaf,
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

const char *acme_job_ari_id(const acme_job_t *job)
{
    return job->facts.ari_id != NULL ? job->facts.ari_id : "";
}

apr_interval_time_t acme_job_lifetime(const acme_facts_t *facts)
{
    return facts->have && facts->not_after > facts->not_before
               ? facts->not_after - facts->not_before : 0;
}

const char *acme_job_trouble(acme_manager_t *m, const acme_job_t *job)
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
    if (acme_route_usable(m, job) > 0) {
        return NULL;
    }
    ca = acme_route_ca_at(job, 0);
    trouble = ca->index >= 0 && ca->index < m->conf.n_accounts
              ? m->conf.accounts[ca->index].trouble : NULL;
    if (trouble == NULL && acme_route_ca_state(m, ca) != NULL) {
        trouble = acme_route_ca_state(m, ca)->trouble;
    }
    return trouble != NULL ? trouble : "no CA of it has a usable account key";
}

/* What the row serves that root had not seen when it read F. ACME_AGAIN: nothing. */
static acme_rv_t look_at_board(acme_facts_t *facts, acme_issued_t *issued, const acme_manager_t *m,
                               const acme_job_t *job, const acme_record_set_t *set,
                               apr_pool_t *scratch)
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
    acme_job_facts(facts, job->conf->spec, &leaf, &told);
    *issued = told;
    return ACME_OK;
}

/* ---- a pair that waits ---- */

typedef struct {
    acme_issued_t issued;
    acme_chain_t *chain;
    acme_key_t *key;
    acme_leaf_t leaf;
} staged_t;

/* A pair that an earlier owner recorded and did not come to publish, checked like a new one. */
static acme_rv_t staged_pair(staged_t *staged, const acme_job_t *job, const acme_record_set_t *set,
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

static void publish_staged(acme_manager_t *m, const acme_job_t *job, const staged_t *staged,
                           const char *what, apr_pool_t *scratch)
{
    const acme_spec_t *spec = job->conf->spec;
    acme_store_t *store = m->conf.store;
    acme_error_t err;

    acme_error_clear(&err);
    if (store->publish(store, spec->id, staged->key, staged->chain, acme_manager_now(m), scratch,
                       &err) == ACME_OK) {
        acme_log(m->conf.log, ACME_LOG_NOTICE, "AC0723", spec->label, "live: serial %s, %s",
                 staged->leaf.serial, what);
        acme_news_serial(m, job, ACME_NOTICE_LIVE, staged->leaf.serial, staged->leaf.not_after,
                         staged->issued.directory);
    }
    else {
        acme_log(m->conf.log, ACME_LOG_WARNING, "AC0724", spec->label,
                 "serial %s, %s, goes live at the next restart only: %s", staged->leaf.serial,
                 what, err.text);
    }
}

void acme_job_hold_back(acme_job_t *job, const acme_facts_t *served)
{
    if (served->have && served->not_after > served->not_before && job->activate_at == 0) {
        job->activate_at = served->not_after - (served->not_after - served->not_before) / 10;
    }
}

static void finish_staged(acme_manager_t *m, acme_job_t *job, const staged_t *staged,
                          const acme_facts_t *served, apr_pool_t *scratch)
{
    if (job->conf->spec->activate == ACME_ACTIVATE_RESTART) {
        acme_job_hold_back(job, served);
    }
    else {
        publish_staged(m, job, staged, "obtained by an earlier owner", scratch);
    }
}

void acme_job_activate_late(acme_manager_t *m, acme_job_t *job, apr_time_t now)
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

/* ---- what is on record ---- */

static void load_attempt(acme_attempt_t *attempt, const acme_job_t *job,
                         const acme_record_set_t *set, apr_pool_t *scratch)
{
    const acme_record_t *rec = &set->rec[ACME_REC_ATTEMPT];

    if (!set->present[ACME_REC_ATTEMPT]
        || acme_attempt_parse(attempt, rec->payload, rec->len, scratch, NULL) != ACME_OK
        || attempt->digest == NULL || strcmp(attempt->digest, job->digest) != 0) {
        memset(attempt, 0, sizeof(*attempt));
    }
}

void acme_job_load(acme_manager_t *m, acme_job_t *job, apr_pool_t *scratch)
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
    acme_news_load(m, job, &set, &facts, &attempt);
    acme_news_known(m, job, ACME_NOTICE_ADOPTED, &job->conf->facts, &job->conf->issued);
    acme_news_known(m, job, ACME_NOTICE_LIVE, &facts, &issued);
    if (staged_pair(&staged, job, &set, acme_manager_now(m), scratch) == ACME_OK
        && staged.leaf.not_before >= facts.not_before) {
        finish_staged(m, job, &staged, &facts, scratch);
        acme_job_facts(&facts, job->conf->spec, &staged.leaf, &staged.issued);
        issued = staged.issued;
        changed = 1;
    }
    if (acme_attempt_asked(&attempt)) {
        job->forced = acme_attempt_is_wish(&attempt);
        job->new_key = strcmp(attempt.why, ACME_WISH_NEW_KEY) == 0;
    }
    job->under_way = acme_client_order_under_way(&set, job->conf->spec, acme_manager_now(m),
                                                 scratch);
    job->leftovers = set.present[ACME_REC_CLEANUP];
    if (changed || attempt.failures > 0 || acme_attempt_is_wish(&attempt)) {
        acme_job_remember(job, &facts, &issued, &attempt);
    }
    else {
        job->facts = facts;
        job->issued = issued;
    }
    acme_asker_load(job, &set, acme_manager_now(m), scratch);
    acme_news_known(m, job, ACME_NOTICE_OBTAINED, &job->facts, &job->issued);
    if (attempt.failures > 0) {
        acme_news_failed(m, job, &job->attempt, NULL);
    }
}
