/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#include "store/archive.h"

#include <stdlib.h>
#include <string.h>
#include <apr_file_info.h>
#include <apr_strings.h>
#include "base/codec.h"

#define DIGITS 6
#define NUMBER_MAX 999999
#define SERIAL_MAX 64

static const char cert_end[] = ".crt.pem";
static const char key_end[] = ".key.pem";
static const char rejected_end[] = ".rej";

typedef struct {
    apr_int64_t number;
    const char *serial;
    const char *stem; /* path without its end */
} former_t;

static const char *dir_of(const char *store, const char *id, apr_pool_t *pool)
{
    return apr_pstrcat(pool, store, "/archive/", id, NULL);
}

static acme_rv_t dir_make(const char *store, uid_t uid, const char *id, apr_pool_t *pool,
                          acme_error_t *err)
{
    if (acme_dir_make(apr_pstrcat(pool, store, "/archive", NULL), uid, err) != ACME_OK) {
        return ACME_FAIL;
    }
    return acme_dir_make(dir_of(store, id, pool), uid, err);
}

static int ends_with(const char *name, const char *end)
{
    apr_size_t len = strlen(name);
    apr_size_t tail = strlen(end);

    return len > tail && strcmp(name + len - tail, end) == 0;
}

/* NUMBER-SERIAL.crt.pem or .key.pem */
static int former_parse(former_t *out, const char *dir, const char *name, apr_pool_t *pool)
{
    apr_size_t len = strlen(name);
    apr_size_t used;

    if ((!ends_with(name, cert_end) && !ends_with(name, key_end))
        || acme_scan_number(&out->number, name, len, DIGITS, &used) != ACME_OK
        || name[used] != '-') {
        return 0;
    }
    len -= sizeof(cert_end) - 1;
    if (len < used + 1) {
        return 0;
    }
    out->serial = apr_pstrmemdup(pool, name + used + 1, len - used - 1);
    out->stem = apr_pstrcat(pool, dir, "/", apr_pstrmemdup(pool, name, len), NULL);
    return 1;
}

static int newest_first(const void *a, const void *b)
{
    const former_t *x = a;
    const former_t *y = b;

    if (x->number != y->number) {
        return x->number < y->number ? 1 : -1;
    }
    return strcmp(x->stem, y->stem);
}

/* former_t, newest first, each stem once; *rejected (may be NULL) = number of rejected files. */
static apr_array_header_t *list(const char *dir, int *rejected, apr_pool_t *pool)
{
    apr_array_header_t *all = apr_array_make(pool, 8, sizeof(former_t));
    apr_array_header_t *out = apr_array_make(pool, 8, sizeof(former_t));
    const former_t *former;
    former_t one;
    apr_finfo_t info;
    apr_dir_t *handle;
    int i;

    if (rejected != NULL) {
        *rejected = 0;
    }
    if (apr_dir_open(&handle, dir, pool) != APR_SUCCESS) {
        return out;
    }
    while (apr_dir_read(&info, APR_FINFO_NAME, handle) == APR_SUCCESS) {
        if (former_parse(&one, dir, info.name, pool)) {
            APR_ARRAY_PUSH(all, former_t) = one;
        }
        else if (rejected != NULL && ends_with(info.name, rejected_end)) {
            (*rejected)++;
        }
    }
    apr_dir_close(handle);
    qsort(all->elts, (size_t)all->nelts, sizeof(former_t), newest_first);
    for (i = 0; i < all->nelts; i++) {
        former = &APR_ARRAY_IDX(all, i, former_t);
        if (i == 0 || strcmp(former->stem, APR_ARRAY_IDX(all, i - 1, former_t).stem) != 0) {
            APR_ARRAY_PUSH(out, former_t) = *former;
        }
    }
    return out;
}

static void former_read(acme_pair_t *out, const former_t *former, uid_t uid, apr_pool_t *pool)
{
    acme_pair_read(out, apr_pstrcat(pool, former->stem, cert_end, NULL),
                   apr_pstrcat(pool, former->stem, key_end, NULL), uid, 0, pool);
}

static int same_bytes(const char *a, apr_size_t a_len, const char *b, apr_size_t b_len)
{
    return a != NULL && b != NULL && a_len == b_len && memcmp(a, b, a_len) == 0;
}

acme_rv_t acme_archive_keep(acme_commit_t *commit, const char *store, uid_t uid, const char *id,
                            const acme_pair_t *pair, apr_pool_t *scratch, acme_error_t *err)
{
    const char *dir = dir_of(store, id, scratch);
    const char *serial = apr_pstrndup(scratch, pair->leaf.serial, SERIAL_MAX);
    const former_t *newest;
    apr_array_header_t *formers;
    const char *stem = NULL;
    acme_pair_t had;
    apr_int64_t number = 1;

    if (dir_make(store, uid, id, scratch, err) != ACME_OK) {
        return ACME_FAIL;
    }
    formers = list(dir, NULL, scratch);
    if (formers->nelts > 0) {
        newest = &APR_ARRAY_IDX(formers, 0, former_t);
        number = newest->number < NUMBER_MAX ? newest->number + 1 : NUMBER_MAX;
        stem = strcmp(newest->serial, serial) == 0 ? newest->stem : NULL;
    }
    if (stem != NULL) {
        former_read(&had, &APR_ARRAY_IDX(formers, 0, former_t), uid, scratch);
        if (same_bytes(had.cert, had.cert_len, pair->cert, pair->cert_len)
            && same_bytes(had.key, had.key_len, pair->key, pair->key_len)) {
            return ACME_OK;
        }
    }
    if (stem == NULL || had.state == ACME_PAIR_GOOD) {
        stem = apr_psprintf(scratch, "%s/%06" APR_INT64_T_FMT "-%s", dir, number, serial);
    }
    if (acme_commit_beside(commit, apr_pstrcat(scratch, stem, cert_end, NULL), pair->cert,
                           pair->cert_len, err) != ACME_OK) {
        return ACME_FAIL;
    }
    return acme_commit_beside(commit, apr_pstrcat(scratch, stem, key_end, NULL), pair->key,
                              pair->key_len, err);
}

acme_rv_t acme_archive_newest(acme_pair_t *out, const char **stem, const char *store, uid_t uid,
                              const char *id, apr_pool_t *pool)
{
    apr_array_header_t *formers = list(dir_of(store, id, pool), NULL, pool);
    const former_t *former;
    int i;

    for (i = 0; i < formers->nelts; i++) {
        former = &APR_ARRAY_IDX(formers, i, former_t);
        former_read(out, former, uid, pool);
        if (out->state == ACME_PAIR_GOOD && out->alien == NULL) {
            if (stem != NULL) {
                *stem = former->stem;
            }
            return ACME_OK;
        }
    }
    return ACME_AGAIN;
}

void acme_archive_prune(const char *store, const char *id, int n, apr_pool_t *scratch)
{
    apr_array_header_t *formers = list(dir_of(store, id, scratch), NULL, scratch);
    int i;

    for (i = n < 0 ? 0 : n; i < formers->nelts; i++) {
        const char *stem = APR_ARRAY_IDX(formers, i, former_t).stem;

        (void)acme_file_remove(apr_pstrcat(scratch, stem, key_end, NULL), NULL);
        (void)acme_file_remove(apr_pstrcat(scratch, stem, cert_end, NULL), NULL);
    }
}

acme_rv_t acme_archive_reject(const char *store, uid_t uid, const char *id, const char *data,
                              apr_size_t len, apr_pool_t *scratch, acme_error_t *err)
{
    const char *dir = dir_of(store, id, scratch);
    char digest[ACME_SHA256_HEX];
    acme_stamp_t stamp;
    const char *path;
    int rejected;

    if (dir_make(store, uid, id, scratch, err) != ACME_OK) {
        return ACME_FAIL;
    }
    acme_sha256_hex(digest, data, len);
    digest[16] = '\0';
    path = apr_pstrcat(scratch, dir, "/", digest, rejected_end, NULL);
    if (acme_stamp_get(&stamp, path) == ACME_OK) {
        return ACME_AGAIN;
    }
    (void)list(dir, &rejected, scratch);
    if (rejected >= ACME_REJECTED_MAX) {
        return ACME_AGAIN;
    }
    return acme_file_replace(path, data, len, scratch, err);
}
