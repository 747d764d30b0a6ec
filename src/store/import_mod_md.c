/* Licensed under the Apache License, Version 2.0; see LICENSE. */

/* mod_md's store (MDStoreDir), as it lies on disk:
 *   md_store.json                      "key": base64url, the passphrase of account keys
 *   domains/SET/md.json                "name", "domains", "ca": {"url", "account"}, "privkey"
 *   domains/SET/privkey[.KIND].pem     with pubcert[.KIND].pem; KIND is a curve, RSA has none
 *   accounts/ID/account.pem            PKCS#8, encrypted or not; account.json has "url", the kid */

#include <string.h>
#include <apr_strings.h>
#include "base/codec.h"
#include "base/url.h"
#include "store/import_source.h"

#define KEY_MAX (64 * 1024)

/* Of one set. */
typedef struct {
    acme_import_t *import;
    const char *name;
    const char *dir;
    acme_json_t *json;
    const char *directory;
    apr_array_header_t *first;
} set_t;

/* ---- accounts ---- */

static acme_rv_t passphrase(unsigned char **out, apr_size_t *len, acme_import_t *self,
                            acme_error_t *err)
{
    const char *text;
    acme_json_t *json;

    if (acme_import_read_json(&json, self,
                              apr_pstrcat(self->pool, self->dir, "/md_store.json", NULL), err)
            != ACME_OK
        || acme_json_get_string(&text, json, "key", ACME_JSON_REQUIRED, err) != ACME_OK) {
        return ACME_FAIL;
    }
    return acme_base64url_decode(out, len, text, strlen(text), self->pool, err);
}

static acme_rv_t account_key(acme_key_t **out, acme_import_t *self, const char *path,
                             acme_error_t *err)
{
    unsigned char *secret = NULL;
    apr_size_t len = 0;
    acme_file_t file;

    if (acme_import_read(&file, self, path, KEY_MAX, 1, err) != ACME_OK) {
        return ACME_FAIL;
    }
    if (strstr(file.data, "ENCRYPTED") == NULL) {
        acme_import_exposed(self, path, &file);
        return acme_key_from_pem(out, file.data, file.len, self->pool, err);
    }
    if (passphrase(&secret, &len, self, err) != ACME_OK) {
        return ACME_FAIL;
    }
    return acme_key_from_encrypted_pem(out, file.data, file.len, secret, len, self->pool, err);
}

static void account(const set_t *set, const char *id)
{
    acme_import_t *self = set->import;
    const char *dir = apr_pstrcat(self->pool, self->dir, "/accounts/", id, NULL);
    acme_import_found_t found;
    acme_error_t err;

    memset(&found, 0, sizeof(found));
    found.path = apr_pstrcat(self->pool, dir, "/account.pem", NULL);
    if (acme_import_has_account(self, found.path)) {
        return;
    }
    acme_error_clear(&err);
    (void)account_key(&found.key, self, found.path, &err);
    found.directory = set->directory;
    found.about = apr_pstrcat(self->pool, dir, "/account.json", NULL);
    found.kid = "url";
    acme_import_add_account(self, &found, &err);
}

/* ---- sets ---- */

static void set_names(set_t *set)
{
    acme_json_t *domains = NULL;
    const char *text;
    apr_size_t i;

    set->first = apr_array_make(set->import->pool, 4, sizeof(const char *));
    APR_ARRAY_PUSH(set->first, const char *) = set->name;
    if (acme_json_get_array(&domains, set->json, "domains", ACME_JSON_OPTIONAL, NULL) != ACME_OK
        || domains == NULL) {
        return;
    }
    for (i = 0; i < acme_json_count(domains) && i < 100; i++) {
        if (acme_json_item_string(&text, domains, i, NULL) == ACME_OK) {
            APR_ARRAY_PUSH(set->first, const char *) = text;
        }
    }
}

static void set_account(set_t *set)
{
    const char *id = NULL, *text = NULL;
    acme_json_t *ca = NULL;
    acme_url_t *url;

    set->directory = "";
    if (acme_json_get_object(&ca, set->json, "ca", ACME_JSON_OPTIONAL, NULL) != ACME_OK
        || ca == NULL
        || acme_json_get_string(&text, ca, "url", ACME_JSON_OPTIONAL, NULL) != ACME_OK
        || text == NULL || acme_url_parse(&url, text, set->import->pool, NULL) != ACME_OK) {
        return;
    }
    set->directory = apr_pstrdup(set->import->pool, text);
    if (acme_json_get_string(&id, ca, "account", ACME_JSON_OPTIONAL, NULL) == ACME_OK && id != NULL
        && *id != '.' && *id != '\0' && strchr(id, '/') == NULL) {
        account(set, id);
    }
}

/* One certificate for each pubcert file. */
static acme_rv_t set_pairs(set_t *set, acme_error_t *err)
{
    acme_import_t *self = set->import;
    apr_array_header_t *files;
    const char *name;
    int i;

    if (acme_import_list(&files, self, set->dir, ".pem", err) != ACME_OK) {
        return ACME_FAIL;
    }
    for (i = 0; i < files->nelts; i++) {
        name = APR_ARRAY_IDX(files, i, const char *);
        if (strncmp(name, "pubcert", 7) == 0 && (name[7] == '\0' || name[7] == '.')) {
            acme_import_add(self, set->name, set->directory,
                            apr_psprintf(self->pool, "%s/%s.pem", set->dir, name),
                            apr_psprintf(self->pool, "%s/privkey%s.pem", set->dir, name + 7),
                            set->first);
        }
    }
    return ACME_OK;
}

static void one_set(acme_import_t *self, const char *name)
{
    acme_error_t err;
    set_t set;

    acme_error_clear(&err);
    set.import = self;
    set.name = name;
    set.dir = apr_pstrcat(self->pool, self->dir, "/domains/", name, NULL);
    if (acme_import_read_json(&set.json, self, apr_pstrcat(self->pool, set.dir, "/md.json", NULL),
                              &err) != ACME_OK) {
        acme_import_skip(self, name, &err);
        return;
    }
    set_names(&set);
    set_account(&set);
    if (set_pairs(&set, &err) != ACME_OK) {
        acme_import_skip(self, name, &err);
    }
}

acme_rv_t acme_import_mod_md(acme_import_t **out, const char *dir, uid_t uid, apr_time_t now,
                             apr_pool_t *pool, acme_error_t *err)
{
    apr_array_header_t *names;
    int i;

    if (acme_import_create(out, dir, uid, now, pool, err) != ACME_OK
        || acme_import_list(&names, *out, apr_pstrcat(pool, (*out)->dir, "/domains", NULL), NULL,
                            err) != ACME_OK) {
        return ACME_FAIL;
    }
    for (i = 0; i < names->nelts; i++) {
        one_set(*out, APR_ARRAY_IDX(names, i, const char *));
    }
    return ACME_OK;
}
