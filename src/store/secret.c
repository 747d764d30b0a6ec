/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#include "store/secret.h"

#include <string.h>

#include <apr_strings.h>

#include "protocol/external.h"
#include "store/dir.h"

#define USER_MAX 1024

static acme_rv_t secret_read(acme_file_t *file, const char *directive, const char *path, uid_t uid,
                             apr_size_t max, apr_pool_t *pool, acme_error_t *err)
{
    acme_error_t cause;
    acme_rv_t rv;

    acme_error_clear(&cause);
    rv = acme_file_read(file, path, uid, max, 0, 1, pool, &cause);
    if (rv == ACME_AGAIN) {
        return acme_error_set(err, ACME_E_CONFIG, "AC0146", "%s %s: there is no such file",
                              directive, path);
    }
    if (rv != ACME_OK) {
        acme_error_set(err, cause.kind, cause.code, "%s: %s", directive, cause.text);
        if (err != NULL) {
            err->status = cause.status;
        }
        return ACME_FAIL;
    }
    if (file->loosened != 0) {
        return acme_error_set(err, ACME_E_SECURITY, "AC0147", "%s: %s has mode %04o; wanted: no "
                              "permission for others, as it holds a secret; remedy: chmod 0600 "
                              "'%s', and consider the secret known", directive, path,
                              file->loosened, path);
    }
    return ACME_OK;
}

acme_rv_t acme_secret_external(acme_ca_t *ca, uid_t uid, apr_pool_t *pool, acme_error_t *err)
{
    static const char directive[] = "AcmeExternalAccount";
    acme_external_t external;
    acme_error_t cause;
    acme_file_t file;

    acme_error_clear(&cause);
    ca->eab_trouble = NULL;
    if (secret_read(&file, directive, ca->eab_file, uid, ACME_EXTERNAL_MAX, pool, &cause)
        == ACME_OK) {
        if (acme_external_parse(&external, file.data, file.len, pool, &cause) == ACME_OK) {
            ca->eab_kid = external.kid;
            ca->eab_key = external.key;
            ca->eab_key_len = external.key_len;
            ca->eab_alg = external.alg;
            return ACME_OK;
        }
        acme_error_prefix(&cause, "%s %s", directive, ca->eab_file);
    }
    ca->eab_trouble = apr_pstrdup(pool, cause.text);
    if (err != NULL && err->kind == ACME_E_NONE) {
        *err = cause;
    }
    return ACME_FAIL;
}

static int is_user(const char *text, apr_size_t len)
{
    apr_size_t i;

    if (len == 0 || len > USER_MAX || text[0] == ':' || memchr(text, ':', len) == NULL) {
        return 0;
    }
    for (i = 0; i < len; i++) {
        if ((unsigned char)text[i] < ' ' || text[i] == 0x7f) {
            return 0;
        }
    }
    return 1;
}

acme_rv_t acme_secret_proxy(acme_ca_t *ca, uid_t uid, apr_pool_t *pool, acme_error_t *err)
{
    acme_file_t file;
    apr_size_t len;

    if (secret_read(&file, "AcmeProxy", ca->proxy_file, uid, USER_MAX + 2, pool, err) != ACME_OK) {
        return ACME_FAIL;
    }
    len = file.len;
    len -= len > 0 && file.data[len - 1] == '\n';
    len -= len > 0 && file.data[len - 1] == '\r';
    if (!is_user(file.data, len)) {
        return acme_error_set(err, ACME_E_CONFIG, "AC0148",
                              "AcmeProxy %s: wanted: one line, user:password", ca->proxy_file);
    }
    file.data[len] = '\0';
    ca->proxy_user = file.data;
    return ACME_OK;
}
