/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#include "store/item.h"

#include <string.h>
#include <apr_strings.h>
#include "base/time.h"
#include "store/archive.h"

/* What lacks exactly the names that were left out is complete. */
static void judge_names(acme_item_t *item, apr_pool_t *pool)
{
    const apr_array_header_t *left_out = item->issued.left_out;
    char digest[ACME_SHA256_HEX];

    if (item->known == NULL) {
        return;
    }
    item->facts.names_ok = item->known->names_ok;
    if (left_out != NULL && !item->facts.names_ok) {
        acme_spec_part_digest(digest, item->spec, left_out, 0, pool);
        item->facts.names_ok = strcmp(digest, item->known->missing) == 0;
    }
}

void acme_item_serve(acme_item_t *item, const acme_known_t *known, apr_pool_t *pool)
{
    acme_known_t *kept = apr_pmemdup(pool, known, sizeof(*known));

    item->known = kept;
    item->usable = 1;
    item->placeholder = 0;
    item->cert_file = item->spec->cert_path;
    item->key_file = item->spec->key_path;
    item->facts.have = !known->self_issued;
    item->facts.not_before = known->not_before;
    item->facts.not_after = known->not_after;
    judge_names(item, pool);
    item->facts.directory_ok = 1;
    item->facts.serial = kept->serial;
    item->facts.ari_id = kept->ari_id;
}

static const char *copy(const char *text, apr_pool_t *pool)
{
    return text != NULL ? apr_pstrdup(pool, text) : NULL;
}

void acme_item_issued(acme_item_t *item, const acme_issued_t *issued, apr_pool_t *pool)
{
    const apr_array_header_t *cas = item->spec->cas;
    int i;

    memset(&item->issued, 0, sizeof(item->issued));
    item->facts.directory_ok = 1;
    if (issued != NULL && issued->left_out != NULL
        && acme_spec_may_lack(item->spec, issued->left_out)) {
        item->issued.left_out = acme_names_copy(issued->left_out, pool);
    }
    judge_names(item, pool);
    if (issued == NULL) {
        return;
    }
    item->issued.key_digest = copy(issued->key_digest, pool);
    item->issued.directory = copy(issued->directory, pool);
    item->issued.spec_digest = copy(issued->spec_digest, pool);
    item->issued.challenge = copy(issued->challenge, pool);
    item->issued.issued = issued->issued;
    if (issued->directory == NULL || *issued->directory == '\0') {
        return;
    }
    item->facts.directory_ok = 0;
    for (i = 0; i < cas->nelts; i++) {
        if (strcmp(APR_ARRAY_IDX(cas, i, const acme_ca_t *)->directory_url, issued->directory)
            == 0) {
            item->facts.directory_ok = 1;
        }
    }
}

static void remark(acme_item_t *item, const char *code, const char *text)
{
    item->remark = text;
    item->remark_code = code;
}

static void trouble(acme_item_t *item, const char *code, const char *text)
{
    if (item->trouble == NULL) {
        item->trouble = text;
        item->trouble_code = code;
    }
}

/* ---- a broken pair ---- */

/* What is there is not destroyed: it is put aside before something takes its place. */
static acme_rv_t put_aside(const acme_item_t *item, const acme_pair_t *pair,
                           const acme_pass_t *pass, acme_error_t *err)
{
    const char *data[2];
    apr_size_t len[2];
    int i;

    data[0] = pair->cert;
    data[1] = pair->key;
    len[0] = pair->cert_len;
    len[1] = pair->key_len;
    for (i = 0; i < 2; i++) {
        if (data[i] != NULL && len[i] > 0
            && acme_archive_reject(pass->root->store, pass->uid, item->spec->id, data[i], len[i],
                                   pass->scratch, err) == ACME_FAIL) {
            return ACME_FAIL;
        }
    }
    return ACME_OK;
}

static acme_rv_t put_back(const acme_item_t *item, const acme_pair_t *broken,
                          const acme_pair_t *former, const acme_pass_t *pass, acme_error_t *err)
{
    acme_commit_t *commit = acme_commit_create(pass->root->store, pass->uid, pass->scratch);
    int place;

    if (put_aside(item, broken, pass, err) != ACME_OK
        || acme_commit_add(&place, commit, item->spec->cert_path, former->cert, former->cert_len,
                           item->spec->key_path, former->key, former->key_len, err) != ACME_OK) {
        return ACME_FAIL;
    }
    return acme_commit_run(commit, err);
}

static int can_put_aside(const acme_pair_t *pair)
{
    return pair->alien == NULL
           && (pair->state == ACME_PAIR_HALF || (pair->cert != NULL && pair->key != NULL));
}

/* Returns 1 when pair is the former one now. */
static int repair(acme_item_t *item, acme_pair_t *pair, const acme_pass_t *pass)
{
    const acme_spec_t *spec = item->spec;
    char until[ACME_TIME_TEXT];
    acme_pair_t former;
    acme_error_t err;
    const char *stem;

    acme_error_clear(&err);
    if (!can_put_aside(pair)
        || acme_archive_newest(&former, &stem, pass->root->store, pass->uid, spec->id,
                               pass->scratch) != ACME_OK) {
        return 0;
    }
    if (!pass->touch) {
        remark(item, "AC0608",
               apr_psprintf(pass->pool, "%s (a start as the store's owner puts %s.* back)",
                            pair->fault, stem));
        return 0;
    }
    if (put_back(item, pair, &former, pass, &err) != ACME_OK) {
        remark(item, "AC0667",
               apr_psprintf(pass->pool, "%s; %s.* could not be put back: %s", pair->fault, stem,
                            err.text));
        return 0;
    }
    acme_log(pass->root->log, ACME_LOG_ERR, "AC0607", spec->label,
             "%s; the former pair %s.* (serial %s, until %s) was put back, what was found is kept "
             "beside it as .rej", pair->fault, stem, former.leaf.serial,
             acme_time_format(until, former.leaf.not_after));
    acme_pair_read(pair, spec->cert_path, spec->key_path, pass->uid, 0, pass->scratch);
    return pair->state == ACME_PAIR_GOOD;
}

/* ---- the check ---- */

static void broken(acme_item_t *item, acme_pair_t *pair, const acme_pass_t *pass)
{
    if (pass->journal || (pass->look && pair->state == ACME_PAIR_HIDDEN)) {
        return;
    }
    /* What the trouble says need not be said twice. */
    if (!repair(item, pair, pass) && item->remark == NULL && item->trouble == NULL) {
        remark(item, "AC0651", apr_pstrdup(pass->pool, pair->fault));
    }
}

static void loosened(acme_item_t *item, const acme_pair_t *pair, const acme_pass_t *pass)
{
    const char *path = item->spec->key_path;

    if (pass->touch && pair->alien == NULL) {
        acme_log(pass->root->log, ACME_LOG_WARNING, "AC0617", item->spec->label,
                 "%s had mode %04o and has 0600 now: others may have read the key, consider a new "
                 "certificate", path, pair->loosened);
    }
    else if (pair->alien == NULL) {
        remark(item, "AC0668",
               apr_psprintf(pass->pool, "%s: mode %04o; wanted: 0600, others may have read the "
                            "key; remedy: chmod 0600 '%s', and a new certificate", path,
                            pair->loosened, path));
    }
}

void acme_item_check(acme_item_t *item, const acme_pass_t *pass)
{
    const acme_spec_t *spec = item->spec;
    const acme_known_t *known = acme_cache_find(pass->root->cache, spec->cert_path, spec->key_path,
                                                spec->digest);
    acme_known_t fresh;
    acme_pair_t pair;

    item->usable = 0;
    item->known = NULL;
    item->cert_file = item->key_file = NULL;
    memset(&item->facts, 0, sizeof(item->facts));
    if (known != NULL) {
        acme_item_serve(item, known, pass->pool);
        return;
    }
    acme_pair_read(&pair, spec->cert_path, spec->key_path, pass->uid, pass->touch, pass->scratch);
    if (pair.loosened != 0) {
        loosened(item, &pair, pass);
    }
    if (pair.alien != NULL && pass->root->usable) {
        trouble(item, apr_pstrdup(pass->pool, pair.alien_code),
                apr_pstrdup(pass->pool, pair.alien));
    }
    if (pair.state != ACME_PAIR_GOOD && pair.state != ACME_PAIR_NONE) {
        broken(item, &pair, pass);
    }
    if (pair.state == ACME_PAIR_GOOD) {
        acme_pair_known(&fresh, &pair, spec, spec->digest);
        if (pair.alien == NULL) {
            acme_cache_put(pass->root->cache, spec->cert_path, &fresh);
        }
        acme_item_serve(item, &fresh, pass->pool);
    }
}
