/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#include "store/import_source.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <apr_file_info.h>
#include <apr_strings.h>
#include "base/name.h"
#include "base/time.h"
#include "base/url.h"
#include "store/pair.h"

#define JSON_MAX (256 * 1024)

static acme_rv_t real_path(const char **out, const char *path, apr_pool_t *pool, acme_error_t *err)
{
    char *real = realpath(path, NULL);

    if (real == NULL) {
        return acme_error_system(err, ACME_E_STORE, "AC0951", errno, "%s", path);
    }
    *out = apr_pstrdup(pool, real);
    free(real);
    return ACME_OK;
}

static acme_rv_t check_dir(const char *dir, uid_t uid, apr_pool_t *pool, acme_error_t *err)
{
    acme_rv_t rv = acme_dir_check_beside(dir, uid, pool, err);

    return rv == ACME_AGAIN ? acme_error_set(err, ACME_E_STORE, "AC0952", "%s: missing", dir) : rv;
}

acme_rv_t acme_import_create(acme_import_t **out, const char *dir, uid_t uid, apr_time_t now,
                             apr_pool_t *pool, acme_error_t *err)
{
    acme_import_t *self = apr_pcalloc(pool, sizeof(*self));

    self->uid = uid;
    self->now = now;
    self->pool = pool;
    self->pairs = apr_array_make(pool, 16, sizeof(acme_import_pair_t *));
    self->accounts = apr_array_make(pool, 4, sizeof(acme_import_account_t *));
    self->warnings = apr_array_make(pool, 4, sizeof(const char *));
    *out = self;
    if (real_path(&self->dir, dir, pool, err) != ACME_OK) {
        return ACME_FAIL;
    }
    return check_dir(self->dir, uid, pool, err);
}

/* ---- reading ---- */

static int is_below(const char *path, const char *dir)
{
    apr_size_t len = strlen(dir);

    return strncmp(path, dir, len) == 0 && path[len] == '/';
}

acme_rv_t acme_import_read(acme_file_t *out, acme_import_t *self, const char *path, apr_size_t max,
                           int secret, acme_error_t *err)
{
    const char *real;

    if (real_path(&real, path, self->pool, err) != ACME_OK) {
        return ACME_FAIL;
    }
    if (!is_below(real, self->dir)) {
        return acme_error_set(err, ACME_E_SECURITY, "AC0953", "%s leads to %s, outside %s", path,
                              real, self->dir);
    }
    if (check_dir(acme_file_dir(path, self->pool), self->uid, self->pool, err) != ACME_OK
        || check_dir(acme_file_dir(real, self->pool), self->uid, self->pool, err) != ACME_OK
        || acme_file_read(out, real, self->uid, max, 0, secret, self->pool, err) != ACME_OK) {
        return ACME_FAIL; /* it cannot be missing: its real path was found */
    }
    return ACME_OK;
}

void acme_import_exposed(acme_import_t *self, const char *path, const acme_file_t *file)
{
    if ((file->loosened & 044) != 0) {
        APR_ARRAY_PUSH(self->warnings, const char *) =
            apr_psprintf(self->pool, "%s: mode %04o, others may have read the key; consider a new "
                         "one", path, file->loosened);
    }
}

acme_rv_t acme_import_read_json(acme_json_t **out, acme_import_t *self, const char *path,
                                acme_error_t *err)
{
    acme_file_t file;

    if (acme_import_read(&file, self, path, JSON_MAX, 0, err) != ACME_OK) {
        return ACME_FAIL;
    }
    return acme_json_parse(out, file.data, file.len, path, self->pool, err);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static const char *without(const char *name, const char *suffix, apr_pool_t *pool)
{
    apr_size_t len = strlen(name), cut = suffix != NULL ? strlen(suffix) : 0;

    if (*name == '.' || len <= cut || (cut > 0 && strcmp(name + len - cut, suffix) != 0)) {
        return NULL;
    }
    return apr_pstrmemdup(pool, name, len - cut);
}

acme_rv_t acme_import_list(apr_array_header_t **out, const acme_import_t *self, const char *dir,
                           const char *suffix, acme_error_t *err)
{
    apr_array_header_t *names = apr_array_make(self->pool, 16, sizeof(const char *));
    apr_status_t status;
    const char *name;
    apr_finfo_t info;
    apr_dir_t *handle;

    if (check_dir(dir, self->uid, self->pool, err) != ACME_OK) {
        return ACME_FAIL;
    }
    status = apr_dir_open(&handle, dir, self->pool);
    if (status != APR_SUCCESS) {
        return acme_error_system(err, ACME_E_STORE, "AC0954", status, "%s", dir);
    }
    while (names->nelts < ACME_IMPORT_SETS_MAX
           && apr_dir_read(&info, APR_FINFO_NAME, handle) == APR_SUCCESS) {
        name = without(info.name, suffix, self->pool);
        if (name != NULL) {
            APR_ARRAY_PUSH(names, const char *) = name;
        }
    }
    apr_dir_close(handle);
    if (names->nelts > 1) {
        qsort(names->elts, (size_t)names->nelts, sizeof(const char *), by_name);
    }
    *out = names;
    return ACME_OK;
}

/* ---- pairs ---- */

static acme_import_pair_t *push(acme_import_t *self, const char *set)
{
    acme_import_pair_t *pair = apr_pcalloc(self->pool, sizeof(*pair));

    pair->set = apr_pstrdup(self->pool, set);
    pair->directory = "";
    APR_ARRAY_PUSH(self->pairs, acme_import_pair_t *) = pair;
    return pair;
}

void acme_import_skip(acme_import_t *self, const char *set, const acme_error_t *err)
{
    acme_import_pair_t *pair = push(self, set);

    pair->result = ACME_IMPORT_SKIP;
    pair->why = apr_pstrdup(self->pool, err->text);
}

static const char *first_name(const acme_leaf_t *leaf, const apr_array_header_t *wanted,
                              apr_pool_t *pool)
{
    acme_name_kind_t kind;
    const char *name;
    int i;

    for (i = 0; i < wanted->nelts; i++) {
        if (acme_name_normalize(&name, &kind, APR_ARRAY_IDX(wanted, i, const char *), pool, NULL)
                == ACME_OK && acme_names_contain(leaf->names, name)) {
            return name;
        }
    }
    for (i = 0; i < leaf->names->nelts; i++) {
        name = APR_ARRAY_IDX(leaf->names, i, const char *);
        if (acme_name_kind(name) != ACME_NAME_WILDCARD) {
            return name;
        }
    }
    return APR_ARRAY_IDX(leaf->names, 0, const char *);
}

/* NULL, or why this module would have no use for it. */
static const char *useless(const acme_leaf_t *leaf, apr_time_t now, apr_pool_t *pool)
{
    char text[ACME_TIME_TEXT];
    acme_name_kind_t kind;
    const char *name;
    int i;

    if (leaf->self_issued || leaf->is_ca) {
        return "it is no certificate that a CA issued to a server";
    }
    if (leaf->not_after <= now) {
        return apr_psprintf(pool, "it expired at %s", acme_time_format(text, leaf->not_after));
    }
    if (!leaf->key_type_known) {
        return "its key is of a type that AcmeKeyType does not have";
    }
    for (i = 0; i < leaf->names->nelts; i++) {
        name = APR_ARRAY_IDX(leaf->names, i, const char *);
        if (acme_name_normalize(&name, &kind, name, pool, NULL) != ACME_OK) {
            return apr_psprintf(pool, "it has a name that no CA of today certifies: %s", name);
        }
    }
    return leaf->names->nelts == 0 ? "it has no name" : NULL;
}

static acme_rv_t read_pair(acme_import_pair_t *pair, acme_import_t *self, const char *cert,
                           const char *key, acme_error_t *err)
{
    acme_chain_t *chain;
    acme_key_t *private_key;
    acme_file_t file;

    if (acme_import_read(&file, self, cert, ACME_CHAIN_MAX_BYTES, 0, err) != ACME_OK
        || acme_chain_from_pem(&chain, file.data, file.len, self->pool, err) != ACME_OK
        || acme_chain_leaf(&pair->leaf, chain, self->pool, err) != ACME_OK
        || acme_import_read(&file, self, key, ACME_KEY_FILE_MAX, 1, err) != ACME_OK
        || acme_key_from_pem(&private_key, file.data, file.len, self->pool, err) != ACME_OK) {
        return ACME_FAIL;
    }
    acme_import_exposed(self, key, &file);
    if (!acme_chain_matches_key(chain, private_key)) {
        return acme_error_set(err, ACME_E_STORE, "AC0955", "%s is not the key of %s", key, cert);
    }
    pair->chain_pem = acme_chain_to_pem(chain, self->pool);
    pair->key_pem = acme_key_to_pem(private_key, self->pool);
    if (pair->chain_pem == NULL || pair->key_pem == NULL) {
        return acme_error_set(err, ACME_E_INTERNAL, "AC0956", "out of memory");
    }
    return ACME_OK;
}

acme_import_pair_t *acme_import_add(acme_import_t *self, const char *set, const char *directory,
                                    const char *cert, const char *key,
                                    const apr_array_header_t *first)
{
    acme_import_pair_t *pair = push(self, set);
    acme_error_t err;

    acme_error_clear(&err);
    pair->directory = directory;
    if (read_pair(pair, self, cert, key, &err) != ACME_OK) {
        pair->why = apr_pstrdup(self->pool, err.text);
    }
    else {
        pair->why = useless(&pair->leaf, self->now, self->pool);
    }
    if (pair->why != NULL) {
        pair->result = ACME_IMPORT_SKIP;
        return pair;
    }
    pair->first = first_name(&pair->leaf, first, self->pool);
    return pair;
}

/* ---- accounts ---- */

int acme_import_has_account(acme_import_t *self, const char *path)
{
    acme_import_account_t *account;
    int i;

    for (i = 0; i < self->accounts->nelts; i++) {
        account = APR_ARRAY_IDX(self->accounts, i, acme_import_account_t *);
        if (strcmp(account->path, path) == 0) {
            account->uses++;
            return 1;
        }
    }
    return 0;
}

static const char *contacts_of(const acme_json_t *json, apr_pool_t *pool)
{
    acme_json_t *contacts = NULL;
    const char *text, *all = "";
    apr_size_t i;

    if (acme_json_get_array(&contacts, json, "contact", ACME_JSON_OPTIONAL, NULL) != ACME_OK
        || contacts == NULL) {
        return "";
    }
    for (i = 0; i < acme_json_count(contacts); i++) {
        if (acme_json_item_string(&text, contacts, i, NULL) == ACME_OK
            && strncmp(text, "mailto:", 7) == 0) {
            all = apr_pstrcat(pool, all, *all != '\0' ? " " : "", text + 7, NULL);
        }
    }
    return all;
}

static void tell_account(acme_import_account_t *account, acme_import_t *self,
                         const acme_import_found_t *found)
{
    const char *kid = NULL;
    acme_json_t *json, *within;
    acme_url_t *url;

    account->kid = account->contacts = "";
    if (acme_import_read_json(&json, self, found->about, NULL) != ACME_OK) {
        return;
    }
    if (acme_json_get_string(&kid, json, found->kid, ACME_JSON_OPTIONAL, NULL) == ACME_OK
        && kid != NULL && acme_url_parse(&url, kid, self->pool, NULL) == ACME_OK) {
        account->kid = apr_pstrdup(self->pool, kid);
    }
    within = json;
    if (found->within != NULL
        && acme_json_get_object(&within, json, found->within, ACME_JSON_OPTIONAL, NULL)
               != ACME_OK) {
        within = NULL;
    }
    if (within != NULL) {
        account->contacts = contacts_of(within, self->pool);
    }
}

void acme_import_add_account(acme_import_t *self, const acme_import_found_t *found,
                             const acme_error_t *err)
{
    acme_import_account_t *account;

    if (found->key == NULL) {
        APR_ARRAY_PUSH(self->warnings, const char *) =
            apr_psprintf(self->pool, "the account with %s is left out: %s", found->directory,
                         err->text);
        return;
    }
    account = apr_pcalloc(self->pool, sizeof(*account));
    account->path = found->path;
    account->directory = found->directory;
    account->key = found->key;
    account->uses = 1;
    tell_account(account, self, found);
    APR_ARRAY_PUSH(self->accounts, acme_import_account_t *) = account;
}
