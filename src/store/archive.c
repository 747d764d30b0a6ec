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

/* ACME_OK: the file is there with these bytes; ACME_AGAIN: it is missing. */
static acme_rv_t same_file(const char *stem, const char *end, const acme_file_t *file, uid_t uid,
                           apr_pool_t *scratch)
{
    acme_file_t had;
    acme_rv_t rv = acme_file_read(&had, apr_pstrcat(scratch, stem, end, NULL), uid,
                                  ACME_CHAIN_MAX_BYTES, 0, 1, scratch, NULL);

    if (rv == ACME_OK && (had.len != file->len || memcmp(had.data, file->data, had.len) != 0)) {
        return ACME_FAIL;
    }
    return rv;
}

acme_rv_t acme_archive_keep(acme_commit_t *commit, const char *store, uid_t uid, const char *id,
                            const char *serial, const acme_file_t pair[2], apr_pool_t *scratch,
                            acme_error_t *err)
{
    const char *dir = dir_of(store, id, scratch);
    apr_array_header_t *formers;
    const former_t *newest;
    apr_int64_t number = 1;
    acme_rv_t cert, key;
    const char *stem;

    if (dir_make(store, uid, id, scratch, err) != ACME_OK) {
        return ACME_FAIL;
    }
    formers = list(dir, NULL, scratch);
    if (formers->nelts > 0) {
        newest = &APR_ARRAY_IDX(formers, 0, former_t);
        cert = same_file(newest->stem, cert_end, &pair[0], uid, scratch);
        key = same_file(newest->stem, key_end, &pair[1], uid, scratch);
        if (cert == ACME_OK && key == ACME_OK) {
            return ACME_OK;
        }
        /* Half of it is there: a start was killed, its number is used again. */
        number = newest->number + (cert == ACME_FAIL || key == ACME_FAIL);
        number = number < NUMBER_MAX ? number : NUMBER_MAX;
    }
    stem = apr_psprintf(scratch, "%s/%06" APR_INT64_T_FMT "-%.*s", dir, number, SERIAL_MAX, serial);
    if (acme_commit_beside(commit, apr_pstrcat(scratch, stem, cert_end, NULL), pair[0].data,
                           pair[0].len, err) != ACME_OK) {
        return ACME_FAIL;
    }
    return acme_commit_beside(commit, apr_pstrcat(scratch, stem, key_end, NULL), pair[1].data,
                              pair[1].len, err);
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
