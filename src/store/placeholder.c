/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#include "store/placeholder.h"

#include <string.h>
#include <apr_strings.h>
#include "base/time.h"
#include "crypto/digest.h"
#include "crypto/x509.h"

#define CERT_MAX (128 * 1024)
#define KEY_MAX (8 * 1024)
#define HEX_LEN (ACME_SHA256_HEX - 1)
#define STAMP_LEN (sizeof(stamp_word) - 1 + 3 * (HEX_LEN + 1) + ACME_TIME_TEXT - 1 + 1)
#define BEFORE_END apr_time_from_sec(APR_INT64_C(30) * 86400)

static const char stamp_word[] = "acme-placeholder 1 ";

acme_rv_t acme_placeholder_dir(const char *dir, uid_t uid, apr_pool_t *scratch, acme_error_t *err)
{
    const char *parent = acme_file_dir(dir, scratch);
    acme_rv_t rv = acme_dir_check_beside(parent, uid, scratch, err);

    if (rv == ACME_AGAIN) {
        return acme_error_set(err, ACME_E_STORE, "AC0660", "%s is missing", parent);
    }
    return rv == ACME_OK ? acme_dir_make(dir, uid, err) : rv;
}

/* The stamp's line, except for the end of validity. */
static const char *stamp(const char *cert, apr_size_t cert_len, const char *key, apr_size_t key_len,
                         const apr_array_header_t *names, apr_pool_t *pool)
{
    const char *all = apr_array_pstrcat(pool, names, '\n');
    char hex[3][ACME_SHA256_HEX];

    acme_sha256_hex(hex[0], all, strlen(all));
    acme_sha256_hex(hex[1], key, key_len);
    acme_sha256_hex(hex[2], cert, cert_len);
    return apr_pstrcat(pool, stamp_word, hex[0], " ", hex[1], " ", hex[2], " ", NULL);
}

/* The end of validity stands outside what is hashed: a wrong one costs a new placeholder. */
static int good(const acme_file_t *cert, const acme_file_t *key, const acme_spec_t *spec,
                apr_time_t now, apr_pool_t *scratch)
{
    const char *line = cert->data;
    apr_time_t end;

    if (cert->len <= STAMP_LEN || line[STAMP_LEN - 1] != '\n') {
        return 0;
    }
    if (acme_time_parse_rfc3339(&end, line + STAMP_LEN - ACME_TIME_TEXT, ACME_TIME_TEXT - 1)
            != ACME_OK
        || end - now < BEFORE_END) {
        return 0;
    }
    return strncmp(line, stamp(line + STAMP_LEN, cert->len - STAMP_LEN, key->data, key->len,
                               spec->names, scratch), STAMP_LEN - ACME_TIME_TEXT) == 0;
}

static acme_rv_t look(const char *cert_file, const char *key_file, const acme_spec_t *spec,
                      const acme_placeholders_t *self, apr_pool_t *scratch)
{
    acme_file_t cert, key;

    if (acme_file_read(&cert, cert_file, self->uid, CERT_MAX, 0, 0, scratch, NULL) != ACME_OK
        || acme_file_read(&key, key_file, self->uid, KEY_MAX, 0, 1, scratch, NULL) != ACME_OK) {
        return ACME_AGAIN;
    }
    return good(&cert, &key, spec, self->now, scratch) ? ACME_OK : ACME_AGAIN;
}

static acme_rv_t put(const char *path, const char *data, apr_size_t len, apr_pool_t *scratch,
                     acme_error_t *err)
{
    if (acme_file_put_new(path, data, len, scratch, err) != ACME_OK) {
        return ACME_FAIL;
    }
    if (acme_file_commit(path, scratch, err) != ACME_OK) {
        acme_file_drop_new(path, scratch);
        return ACME_FAIL;
    }
    return ACME_OK;
}

static acme_rv_t key_ready(acme_placeholders_t *self, acme_error_t *err)
{
    if (self->key_pem != NULL) {
        return ACME_OK;
    }
    if (acme_key_generate(&self->key, ACME_KEY_P256, self->pool, err) != ACME_OK) {
        return ACME_FAIL;
    }
    self->key_pem = acme_key_to_pem(self->key, self->pool);
    return self->key_pem != NULL
               ? ACME_OK : acme_error_set(err, ACME_E_INTERNAL, "AC0676", "out of memory");
}

static acme_rv_t make(acme_placeholders_t *self, const char *cert_file, const char *key_file,
                      const acme_spec_t *spec, apr_pool_t *scratch, acme_error_t *err)
{
    char end[ACME_TIME_TEXT];
    const char *cert_pem;
    acme_chain_t *chain;
    acme_leaf_t leaf;
    apr_size_t len;

    if (key_ready(self, err) != ACME_OK
        || acme_placeholder_create(&chain, spec->names, self->key, self->now, scratch, err)
               != ACME_OK
        || acme_chain_leaf(&leaf, chain, scratch, err) != ACME_OK) {
        return ACME_FAIL;
    }
    len = strlen(self->key_pem);
    cert_pem = acme_chain_to_pem(chain, scratch);
    if (cert_pem == NULL) {
        return acme_error_set(err, ACME_E_INTERNAL, "AC0661", "out of memory");
    }
    /* Its own issuer too: mod_ssl with stapling complains of a certificate whose issuer it cannot
     * find, before it asks anybody whether there is to be a staple. */
    cert_pem = apr_pstrcat(scratch, cert_pem, cert_pem, NULL);
    if (put(key_file, self->key_pem, len, scratch, err) != ACME_OK) {
        return ACME_FAIL;
    }
    cert_pem = apr_pstrcat(scratch,
                           stamp(cert_pem, strlen(cert_pem), self->key_pem, len, spec->names,
                                 scratch),
                           acme_time_format(end, leaf.not_after), "\n", cert_pem, NULL);
    return put(cert_file, cert_pem, strlen(cert_pem), scratch, err);
}

acme_rv_t acme_placeholder_get(const char **cert_file, const char **key_file,
                               acme_placeholders_t *self, const char *dir, const acme_spec_t *spec,
                               int create, apr_pool_t *pool, acme_error_t *err)
{
    apr_pool_t *scratch;
    acme_rv_t rv;

    *cert_file = apr_pstrcat(pool, dir, "/", spec->id, ".crt.pem", NULL);
    *key_file = apr_pstrcat(pool, dir, "/", spec->id, ".key.pem", NULL);
    apr_pool_create(&scratch, pool);
    rv = look(*cert_file, *key_file, spec, self, scratch);
    if (rv != ACME_OK && create) {
        rv = make(self, *cert_file, *key_file, spec, scratch, err);
    }
    apr_pool_destroy(scratch);
    return rv;
}
