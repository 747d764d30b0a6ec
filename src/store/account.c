/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#include "store/account.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>
#include <sys/stat.h>
#include <apr_strings.h>
#include "base/name.h"
#include "base/url.h"
#include "crypto/digest.h"
#include "protocol/rollover.h"
#include "store/commit.h"
#include "store/staged.h"

#define JWK_MAX (64 * 1024)
#define SHORT_DIGEST 8
#define NAME_MAX_BYTES 200
#define FORMER_MAX 100 /* keys kept beside a file */

static const char jwk_end[] = ".jwk";

const char *acme_account_id(const char *store, const char *auth_path, apr_pool_t *pool)
{
    const char *slash = strrchr(auth_path, '/');
    char *name = apr_pstrndup(pool, slash != NULL ? slash + 1 : auth_path, NAME_MAX_BYTES);
    apr_size_t len = strlen(name);
    char digest[ACME_SHA256_HEX];
    int odd = 0;
    char *at;

    if (len > sizeof(jwk_end) - 1 && strcmp(name + len - (sizeof(jwk_end) - 1), jwk_end) == 0) {
        name[len - (sizeof(jwk_end) - 1)] = '\0';
    }
    for (at = name; *at != '\0'; at++) {
        if (*at <= ' ' || *at > '~' || *at == '\\') {
            *at = '_';
            odd = 1;
        }
    }
    if (!odd && strcmp(acme_file_dir(auth_path, pool), store) == 0) {
        return apr_pstrcat(pool, "_account.", name, NULL);
    }
    acme_sha256_hex(digest, auth_path, strlen(auth_path));
    digest[SHORT_DIGEST] = '\0';
    return apr_pstrcat(pool, "_account.", name, "-", digest, NULL);
}

const char *acme_account_path(const char *store, const char *directory_url, apr_pool_t *pool)
{
    const char *host = "ca";
    acme_url_t *url;

    if (acme_url_parse(&url, directory_url, pool, NULL) == ACME_OK) {
        host = acme_name_file(url->host, pool);
        if (url->port != 443) {
            host = apr_psprintf(pool, "%s-%d", host, (int)url->port);
        }
    }
    return apr_pstrcat(pool, store, "/", host, jwk_end, NULL);
}

static void trouble(acme_account_item_t *item, const char *code, const char *text, apr_pool_t *pool)
{
    item->jwk = NULL;
    item->trouble = apr_pstrdup(pool, text);
    item->trouble_code = apr_pstrdup(pool, code);
}

/* ---- the key ---- */

static acme_rv_t directory(const char *store, const acme_ca_t *ca, uid_t uid, int look,
                           apr_pool_t *pool, acme_error_t *err)
{
    const char *dir = acme_file_dir(ca->auth_path, pool);
    acme_rv_t rv;

    if (strcmp(dir, store) == 0) {
        return ACME_OK; /* judged as the store */
    }
    rv = acme_dir_check_beside(dir, uid, pool, err);
    if (rv == ACME_AGAIN && !look) {
        rv = acme_dir_check(dir, uid, 1, NULL, pool, err);
    }
    return rv;
}

static void create(acme_account_item_t *item, apr_pool_t *pool)
{
    const acme_ca_t *ca = item->ca;
    acme_error_t err;
    acme_key_t *key;
    const char *jwk = NULL;

    acme_error_clear(&err);
    if (acme_key_generate(&key, ca->account_key_type, pool, &err) == ACME_OK) {
        jwk = acme_key_to_jwk(key, pool);
    }
    if (jwk == NULL || acme_file_replace(ca->auth_path, jwk, strlen(jwk), pool, &err) != ACME_OK) {
        trouble(item, "AC0662",
                apr_psprintf(pool, "%s: no account key could be made: %s; no certificate is "
                             "ordered with it", ca->auth_path,
                             err.text[0] != '\0' ? err.text : "out of memory"), pool);
        return;
    }
    item->jwk = jwk;
    item->created = 1;
}

acme_rv_t acme_account_key_parse(acme_key_t **out, const char *text, apr_size_t len,
                                 apr_pool_t *pool, acme_error_t *err)
{
    if (strstr(text, "-----BEGIN ") != NULL) {
        return acme_key_from_pem(out, text, len, pool, err);
    }
    return acme_key_from_jwk(out, text, len, pool, err);
}

static void take(acme_account_item_t *item, const acme_file_t *file, int look,
                 const acme_log_t *log, apr_pool_t *pool)
{
    const char *path = item->ca->auth_path;
    acme_error_t err;
    acme_key_t *key;

    acme_error_clear(&err);
    if (file->loosened != 0 && !look) {
        acme_log(log, ACME_LOG_WARNING, "AC0675", NULL,
                 "%s had mode %04o and has 0600 now: others may have read the account key, "
                 "consider a new one", path, file->loosened);
    }
    if (acme_account_key_parse(&key, file->data, file->len, pool, &err) != ACME_OK) {
        trouble(item, "AC0663",
                apr_psprintf(pool, "%s is no usable account key: %s; wanted: a private key as JWK "
                             "or PEM; it is left alone and no certificate is ordered with it; "
                             "remedy: restore it, or give the account up: mv '%s' '%s.bad', and "
                             "restart",
                             path, err.text, path, path), pool);
        return;
    }
    item->jwk = acme_key_to_jwk(key, pool);
}

void acme_account_key(acme_account_item_t *item, const char *store, uid_t uid, int look,
                      const acme_log_t *log, apr_pool_t *pool)
{
    const char *path = item->ca->auth_path;
    acme_file_t file;
    acme_error_t err;
    acme_rv_t rv;

    item->id = acme_account_id(store, path, pool);
    item->fd = -1;
    acme_error_clear(&err);
    if (directory(store, item->ca, uid, look, pool, &err) == ACME_FAIL) {
        trouble(item, err.code, err.text, pool);
        return;
    }
    rv = acme_file_read(&file, path, uid, JWK_MAX, !look, 1, pool, &err);
    if (rv == ACME_OK) {
        take(item, &file, look, log, pool);
    }
    else if (rv == ACME_FAIL && !(look && err.status == EACCES)) {
        trouble(item, err.code, apr_psprintf(pool, "account key: %s", err.text), pool);
    }
    else if (rv == ACME_AGAIN && !look) {
        create(item, pool);
    }
}

/* ---- its log ---- */

/* A copy of the key beside its file, under the first name that is free: with keys that a spoilt
 * child invents it must not be possible to push the account's own one out. */
static acme_rv_t keep_former(const char **former, const acme_account_item_t *item, uid_t uid,
                             apr_pool_t *pool, acme_error_t *err)
{
    const char *path = apr_pstrcat(pool, item->ca->auth_path, ".former", NULL);
    acme_file_t file;
    acme_rv_t rv;
    int n;

    for (n = 1; n <= FORMER_MAX; n++) {
        *former = n > 1 ? apr_psprintf(pool, "%s.%d", path, n) : path;
        rv = acme_file_read(&file, *former, uid, JWK_MAX, 0, 1, pool, NULL);
        if (rv == ACME_AGAIN) {
            return acme_file_replace(*former, item->jwk, strlen(item->jwk), pool, err);
        }
        if (rv == ACME_OK && strcmp(file.data, item->jwk) == 0) {
            return ACME_OK; /* of an attempt that was cut short */
        }
    }
    return acme_error_set(err, ACME_E_STORE, NULL, "%d former keys are there already, move them "
                          "away: %s*", FORMER_MAX, path);
}

/* The CA has accepted another key: it takes the place of the one in the file, which is kept beside
 * it. The record is a child's: what it names has to be a key, and for the one that is there. */
static acme_rv_t take_next(acme_account_item_t *item, const acme_rollover_t *rollover, uid_t uid,
                           const acme_log_t *log, apr_pool_t *pool)
{
    const char *path = item->ca->auth_path;
    const char *former;
    acme_error_t err;
    acme_key_t *key;
    const char *jwk = NULL;

    acme_error_clear(&err);
    if (acme_key_from_jwk(&key, rollover->key, strlen(rollover->key), pool, &err) == ACME_OK) {
        jwk = acme_key_to_jwk(key, pool);
    }
    if (jwk == NULL
        || keep_former(&former, item, uid, pool, &err) != ACME_OK
        || acme_file_replace(path, jwk, strlen(jwk), pool, &err) != ACME_OK) {
        acme_log(log, ACME_LOG_ERR, "AC0938", NULL,
                 "%s: the account's new key could not be put in place: %s; it is used from the "
                 "log, and tried again at the next start", path, err.text);
        return ACME_FAIL;
    }
    item->jwk = jwk;
    acme_log(log, ACME_LOG_NOTICE, "AC0939", NULL,
             "%s holds the account's new key, %s the one it had before", path, former);
    return ACME_OK;
}

/* Is the rollover record done with? One with an open end is not: the owner asks the CA. */
static int rolled_over(acme_account_item_t *item, const acme_record_t *record, uid_t uid,
                       const acme_log_t *log, apr_pool_t *pool)
{
    acme_rollover_t rollover;
    acme_key_t *key;

    if (acme_rollover_parse(&rollover, record->payload, record->len, pool, NULL) != ACME_OK
        || item->jwk == NULL
        || acme_key_from_jwk(&key, item->jwk, strlen(item->jwk), pool, NULL) != ACME_OK
        || strcmp(acme_key_thumbprint(key, pool), rollover.file) != 0) {
        return 1;
    }
    if (rollover.next != NULL) {
        return 0;
    }
    return rollover.key == NULL || take_next(item, &rollover, uid, log, pool) == ACME_OK;
}

/* What of the log the children need; *fresh: the log is to be replaced by just that. */
static acme_rv_t read_log(acme_account_item_t *item, int *fresh, const char *path, uid_t uid,
                          const acme_log_t *log, apr_pool_t *pool, acme_error_t *err)
{
    apr_array_header_t *records = apr_array_make(pool, 8, sizeof(acme_record_t));
    acme_carried_t carried;
    acme_staged_want_t want;
    acme_staged_log_t file;
    acme_staged_t staged;
    int done;

    if (acme_staged_read(&file, path, uid, ACME_LOG_CAP, pool, err) != ACME_OK) {
        return ACME_FAIL;
    }
    acme_staged_gather(records, &file, item->id, pool);
    memset(&want, 0, sizeof(want));
    acme_staged_choose(&staged, records, &want, pool);
    if (item->created && staged.newest[ACME_REC_ACCOUNT] != NULL) {
        acme_log(log, ACME_LOG_WARNING, "AC0609", NULL,
                 "%s was missing: a new account key was made, the account of the former one is "
                 "given up", item->ca->auth_path);
        memset(staged.newest, 0, sizeof(staged.newest));
    }
    done = staged.newest[ACME_REC_ROLLOVER] != NULL
           && rolled_over(item, staged.newest[ACME_REC_ROLLOVER], uid, log, pool);
    if (done) {
        staged.newest[ACME_REC_ROLLOVER] = NULL;
    }
    if (acme_staged_carry(&carried, &staged, item->id, 1, 0, pool, err) != ACME_OK) {
        return ACME_FAIL;
    }
    *fresh = done || file.damaged || file.size > ACME_LOG_CAP / 4 * 3
             || (file.size > 0 && carried.all_len == 0);
    item->handed = carried.all;
    item->handed_len = carried.all_len;
    return ACME_OK;
}

static void replace(const acme_account_item_t *item, const char *path, const acme_log_t *log,
                    apr_pool_t *pool)
{
    acme_error_t err;

    acme_error_clear(&err);
    if (acme_file_replace(path, item->handed != NULL ? item->handed : "", item->handed_len, pool,
                          &err) != ACME_OK) {
        acme_log(log, ACME_LOG_WARNING, "AC0664", NULL, "%s stays as it is: %s", path, err.text);
    }
}

void acme_account_log(acme_account_item_t *item, uid_t uid, const acme_log_t *log, apr_pool_t *pool)
{
    const char *path = apr_pstrcat(pool, item->ca->auth_path, ".upd", NULL);
    acme_error_t err;
    struct stat st;
    int fresh = 0;

    acme_error_clear(&err);
    if (read_log(item, &fresh, path, uid, log, pool, &err) != ACME_OK) {
        trouble(item, err.code, err.text, pool);
        return;
    }
    if (fresh) {
        replace(item, path, log, pool);
    }
    if (acme_log_open(&item->fd, path, uid, &err) != ACME_OK) {
        trouble(item, err.code, err.text, pool);
        return;
    }
    item->own_fd = 1;
    if (fstat(item->fd, &st) == 0) {
        item->log_size = (apr_size_t)st.st_size;
    }
}
