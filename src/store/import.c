/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#include "store/import.h"

#include <stdlib.h>
#include <string.h>
#include <apr_strings.h>
#include "base/json.h"
#include "base/name.h"
#include "protocol/record.h"
#include "protocol/spec.h"
#include "store/account.h"
#include "store/commit.h"
#include "store/pair.h"

const char *acme_import_result_name(acme_import_result_t result, int dry_run)
{
    switch (result) {
    case ACME_IMPORT_ADD:
        return dry_run ? "would be imported" : "imported";
    case ACME_IMPORT_SAME:
        return "already there";
    case ACME_IMPORT_KEEP:
        return "kept";
    case ACME_IMPORT_SKIP:
        return "left out";
    case ACME_IMPORT_FAIL:
        return "failed";
    }
    return "";
}

static acme_import_pair_t *pair_at(const acme_import_t *self, int i)
{
    return APR_ARRAY_IDX(self->pairs, i, acme_import_pair_t *);
}

static acme_import_account_t *account_at(const acme_import_t *self, int i)
{
    return APR_ARRAY_IDX(self->accounts, i, acme_import_account_t *);
}

/* ---- a record that root leaves beside a file ---- */

/* Only where there is no log yet: a server may have one that is there open. */
static acme_rv_t leave_record(const acme_import_t *self, const char *path, acme_record_t *record,
                              acme_error_t *err)
{
    const char *log = apr_pstrcat(self->pool, path, ".upd", NULL);
    const char *bytes;
    acme_stamp_t stamp;
    apr_size_t len;

    if (acme_stamp_get(&stamp, log) != ACME_AGAIN) {
        return ACME_OK;
    }
    record->seq = 1;
    record->time = self->now;
    if (acme_record_encode(&bytes, &len, record, self->pool, err) != ACME_OK) {
        return ACME_FAIL;
    }
    return acme_file_replace(log, bytes, len, self->pool, err);
}

/* ---- accounts ---- */

static const char *account_payload(const acme_import_account_t *account, apr_pool_t *pool)
{
    acme_json_t *json = acme_json_new_object(pool);

    acme_json_set_string(json, "url", account->directory);
    acme_json_set_string(json, "key", acme_key_thumbprint(account->key, pool));
    acme_json_set_string(json, "kid", account->kid);
    return acme_json_dump(json, pool);
}

static acme_rv_t write_account(const acme_import_t *self, const char *store,
                               const acme_import_account_t *account, acme_error_t *err)
{
    const char *jwk = acme_key_to_jwk(account->key, self->pool);
    acme_record_t record;

    if (jwk == NULL) {
        return acme_error_set(err, ACME_E_INTERNAL, "AC0957", "out of memory");
    }
    memset(&record, 0, sizeof(record));
    record.id = acme_account_id(store, account->auth_path, self->pool);
    record.type = ACME_REC_ACCOUNT;
    record.payload = account_payload(account, self->pool);
    record.len = record.payload != NULL ? strlen(record.payload) : 0;
    if (*account->kid != '\0' && record.len > 0
        && leave_record(self, account->auth_path, &record, err) != ACME_OK) {
        return ACME_FAIL;
    }
    return acme_file_replace(account->auth_path, jwk, strlen(jwk), self->pool, err);
}

static void judge_account(const acme_import_t *self, acme_import_account_t *account)
{
    acme_file_t file;
    acme_error_t err;
    acme_key_t *key;
    acme_rv_t rv;

    acme_error_clear(&err);
    rv = acme_file_read(&file, account->auth_path, self->uid, ACME_KEY_FILE_MAX, 0, 1, self->pool,
                        &err);
    if (rv == ACME_AGAIN) {
        return; /* to be added */
    }
    account->result = ACME_IMPORT_KEEP;
    if (rv == ACME_OK
        && acme_account_key_parse(&key, file.data, file.len, self->pool, &err) == ACME_OK) {
        if (strcmp(acme_key_digest(key, self->pool), acme_key_digest(account->key, self->pool))
            == 0) {
            account->result = ACME_IMPORT_SAME;
            return;
        }
        account->why = "another account key is there; to use this one, move that away first";
        return;
    }
    account->why = apr_pstrdup(self->pool, err.text);
}

/* Of several accounts with one CA the one that most certificates were ordered with. */
static void rival_accounts(const acme_import_t *self, acme_import_account_t *account, int nth)
{
    const acme_import_account_t *other;
    int i;

    for (i = 0; i < self->accounts->nelts; i++) {
        other = account_at(self, i);
        if (i != nth && strcmp(other->auth_path, account->auth_path) == 0
            && (other->uses > account->uses || (other->uses == account->uses && i < nth))) {
            account->result = ACME_IMPORT_SKIP;
            account->why = apr_psprintf(self->pool, "%s is used by more certificates; name this "
                                        "one with AcmeAuthPath if it is to be kept", other->path);
        }
    }
}

static void accounts(const acme_import_t *self, const char *store, int dry_run)
{
    acme_import_account_t *account;
    acme_error_t err;
    int i;

    for (i = 0; i < self->accounts->nelts; i++) {
        account = account_at(self, i);
        account->auth_path = acme_account_path(store, account->directory, self->pool);
    }
    for (i = 0; i < self->accounts->nelts; i++) {
        account = account_at(self, i);
        acme_error_clear(&err);
        rival_accounts(self, account, i);
        if (account->result == ACME_IMPORT_ADD) {
            judge_account(self, account);
        }
        if (account->result == ACME_IMPORT_ADD && !dry_run
            && write_account(self, store, account, &err) != ACME_OK) {
            account->result = ACME_IMPORT_FAIL;
            account->why = apr_pstrdup(self->pool, err.text);
        }
    }
}

/* ---- certificates ---- */

/* Those of one first name together, EC before RSA (what AcmeKeyType begins with, too), newer before
 * older, then as the sources have them. */
static int by_first(const void *a, const void *b)
{
    const acme_import_pair_t *x = *(acme_import_pair_t *const *)a;
    const acme_import_pair_t *y = *(acme_import_pair_t *const *)b;
    int names;

    if (x->first == NULL || y->first == NULL) {
        return (x->first == NULL) - (y->first == NULL);
    }
    names = strcmp(x->first, y->first);
    if (names != 0) {
        return names;
    }
    if (x->leaf.key_type != y->leaf.key_type) {
        return x->leaf.key_type < y->leaf.key_type ? -1 : 1;
    }
    if (x->leaf.not_before != y->leaf.not_before) {
        return x->leaf.not_before > y->leaf.not_before ? -1 : 1;
    }
    return strcmp(x->set, y->set);
}

/* The newest certificate of a first name decides which names go with it. */
static const acme_import_pair_t *newest_of(const acme_import_t *self, const char *first)
{
    const acme_import_pair_t *newest = NULL, *pair;
    int i;

    for (i = 0; i < self->pairs->nelts; i++) {
        pair = pair_at(self, i);
        if (pair->result == ACME_IMPORT_ADD && strcmp(pair->first, first) == 0
            && (newest == NULL || pair->leaf.not_before > newest->leaf.not_before)) {
            newest = pair;
        }
    }
    return newest;
}

static void place(const acme_import_t *self, const char *store, acme_import_pair_t *pair, int nth)
{
    const char *file = acme_name_file(pair->first, self->pool);

    pair->nth = nth;
    if (nth > 0) {
        file = apr_pstrcat(self->pool, file, ".", acme_key_type_file(pair->leaf.key_type), NULL);
    }
    pair->cert_path = apr_pstrcat(self->pool, store, "/", file, ".crt.pem", NULL);
    pair->key_path = apr_pstrcat(self->pool, store, "/", file, ".key.pem", NULL);
}

static void places(acme_import_t *self, const char *store)
{
    const acme_import_pair_t *newest, *last = NULL;
    acme_import_pair_t *pair;
    int i;

    if (self->pairs->nelts > 1) {
        qsort(self->pairs->elts, (size_t)self->pairs->nelts, sizeof(acme_import_pair_t *),
              by_first);
    }
    for (i = 0; i < self->pairs->nelts; i++) {
        pair = pair_at(self, i);
        if (pair->result != ACME_IMPORT_ADD) {
            continue;
        }
        if (last != NULL && strcmp(last->first, pair->first) != 0) {
            last = NULL;
        }
        newest = newest_of(self, pair->first);
        if (!acme_names_equal(newest->leaf.names, pair->leaf.names)
            || (last != NULL && last->leaf.key_type == pair->leaf.key_type)) {
            pair->result = ACME_IMPORT_SKIP;
            pair->why = apr_psprintf(self->pool, "%s is newer and begins with the same name",
                                     last != NULL ? last->set : newest->set);
            continue;
        }
        place(self, store, pair, last != NULL ? last->nth + 1 : 0);
        last = pair;
    }
}

static void judge_pair(const acme_import_t *self, acme_import_pair_t *pair)
{
    acme_pair_t there;

    acme_pair_read(&there, pair->cert_path, pair->key_path, self->uid, 0, self->pool);
    if (there.state == ACME_PAIR_NONE) {
        return; /* to be added */
    }
    pair->result = ACME_IMPORT_KEEP;
    if (there.state != ACME_PAIR_GOOD) {
        pair->why = there.fault;
        return;
    }
    if (strcmp(there.leaf.fingerprint, pair->leaf.fingerprint) == 0) {
        pair->result = ACME_IMPORT_SAME;
        return;
    }
    pair->why = there.leaf.not_before >= pair->leaf.not_before
                    ? "a newer certificate is there"
                    : apr_psprintf(self->pool, "an older certificate is there; to replace it, move "
                                   "it away first: mv '%s' '%s.old'; mv '%s' '%s.old'",
                                   pair->cert_path, pair->cert_path, pair->key_path,
                                   pair->key_path);
}

/* Says which CA it came from: the one that is to be asked about it. */
static acme_rv_t write_live(const acme_import_t *self, const acme_import_pair_t *pair,
                            acme_error_t *err)
{
    acme_issued_t issued;
    acme_record_t record;
    acme_spec_t spec;

    if (*pair->directory == '\0') {
        return ACME_OK;
    }
    memset(&spec, 0, sizeof(spec));
    spec.names = pair->leaf.names;
    spec.key_type = pair->leaf.key_type;
    spec.must_staple = pair->leaf.must_staple;
    memset(&issued, 0, sizeof(issued));
    issued.key_digest = pair->leaf.key_digest;
    issued.directory = pair->directory;
    issued.spec_digest = acme_spec_digest(&spec, self->pool);
    issued.challenge = "";
    issued.issued = pair->leaf.not_before;
    memset(&record, 0, sizeof(record));
    record.id = acme_name_file(pair->first, self->pool);
    if (pair->nth > 0) {
        record.id = apr_pstrcat(self->pool, record.id, ".",
                                acme_key_type_file(pair->leaf.key_type), NULL);
    }
    record.type = ACME_REC_LIVE;
    record.payload = acme_certificate_payload(&record.len, &issued, "", self->pool);
    return leave_record(self, pair->cert_path, &record, err);
}

static void failed(acme_import_pair_t *pair, const acme_error_t *err, apr_pool_t *pool)
{
    pair->result = ACME_IMPORT_FAIL;
    pair->why = apr_pstrdup(pool, err->text);
}

/* One commit for all: none is left without its key, whenever the machine stops. */
static void write_pairs(const acme_import_t *self, const char *store)
{
    acme_commit_t *commit = acme_commit_create(store, self->uid, self->pool);
    int *place_of = apr_palloc(self->pool, sizeof(int) * (apr_size_t)(self->pairs->nelts + 1));
    acme_import_pair_t *pair;
    acme_error_t err;
    int i;

    for (i = 0; i < self->pairs->nelts; i++) {
        pair = pair_at(self, i);
        acme_error_clear(&err);
        if (pair->result == ACME_IMPORT_ADD
            && (write_live(self, pair, &err) != ACME_OK
                || acme_commit_add(&place_of[i], commit, pair->cert_path, pair->chain_pem,
                                   strlen(pair->chain_pem), pair->key_path, pair->key_pem,
                                   strlen(pair->key_pem), &err) != ACME_OK)) {
            failed(pair, &err, self->pool);
        }
    }
    acme_error_clear(&err);
    (void)acme_commit_run(commit, &err);
    for (i = 0; i < self->pairs->nelts; i++) {
        pair = pair_at(self, i);
        if (pair->result == ACME_IMPORT_ADD && !acme_commit_done(commit, place_of[i])) {
            failed(pair, &err, self->pool);
        }
    }
}

acme_rv_t acme_import_store(acme_import_t *self, const char *store, int dry_run, acme_error_t *err)
{
    int i;

    if (acme_dir_check(store, self->uid, !dry_run, NULL, self->pool, err) == ACME_FAIL) {
        return ACME_FAIL;
    }
    accounts(self, store, dry_run);
    places(self, store);
    for (i = 0; i < self->pairs->nelts; i++) {
        if (pair_at(self, i)->result == ACME_IMPORT_ADD) {
            judge_pair(self, pair_at(self, i));
        }
    }
    if (!dry_run) {
        write_pairs(self, store);
    }
    return ACME_OK;
}
