/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#ifndef ACME_STORE_CACHE_H
#define ACME_STORE_CACHE_H

#include "crypto/digest.h"
#include "protocol/spec.h"

/* What root remembers of files it has judged, so that an unchanged pair costs two lstat() and no
 * operation on a key. Fixed size per path: graceful restarts do not make it grow. */

/* Identity of a file's content and mode; ctime covers both. */
typedef struct {
    apr_int64_t dev, ino, size, mtime_ns, ctime_ns;
} acme_stamp_t;

/* ACME_AGAIN: there is no regular file. Does not follow a link. */
acme_rv_t acme_stamp_get(acme_stamp_t *out, const char *path);

/* A pair that matches. */
typedef struct acme_known_t {
    acme_stamp_t cert, key;
    char wanted[ACME_SHA256_HEX];      /* of what names_ok was judged by */
    char fingerprint[ACME_SHA256_HEX]; /* of the leaf */
    char key_digest[ACME_SHA256_HEX];
    char serial[72];
    char ari_id[96];                   /* acme_leaf_t's */
    apr_time_t not_before, not_after;
    int names_ok;                      /* the leaf has all names of the spec */
    char missing[ACME_SHA256_HEX];     /* acme_spec_part_digest of those it lacks */
    char lacks[512];                   /* the same to be read, cut off where they are too many */
    int self_issued;
    int is_rsa;                        /* its key */
} acme_known_t;

/* Kept by the embedder over graceful restarts (process pool). May be NULL in all calls. */
typedef struct acme_store_cache_t acme_store_cache_t;
acme_store_cache_t *acme_store_cache_create(apr_pool_t *process_pool);

/* NULL when nothing is known, or when a file has changed since, or when it was judged by something
 * else. The answer lives as long as the cache and may be overwritten by the next put. */
const acme_known_t *acme_cache_find(const acme_store_cache_t *cache, const char *cert_path,
                                    const char *key_path, const char *wanted);
/* Stamps are taken before the files are read, so that a change in between is noticed. */
void acme_cache_put(acme_store_cache_t *cache, const char *cert_path, const acme_known_t *known);
void acme_cache_forget(acme_store_cache_t *cache, const char *cert_path);

#endif
