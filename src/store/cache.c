/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#include "store/cache.h"

#include <string.h>
#include <sys/stat.h>
#include <apr_hash.h>
#include <apr_strings.h>

struct acme_store_cache_t {
    apr_pool_t *pool;
    apr_hash_t *pairs; /* cert_path -> acme_known_t */
};

static apr_int64_t nanoseconds(const struct timespec *t)
{
    return (apr_int64_t)t->tv_sec * 1000000000 + t->tv_nsec;
}

acme_rv_t acme_stamp_get(acme_stamp_t *out, const char *path)
{
    struct stat st;

    memset(out, 0, sizeof(*out));
    if (lstat(path, &st) != 0 || !S_ISREG(st.st_mode)) {
        return ACME_AGAIN;
    }
    out->dev = (apr_int64_t)st.st_dev;
    out->ino = (apr_int64_t)st.st_ino;
    out->size = (apr_int64_t)st.st_size;
    out->mtime_ns = nanoseconds(&st.st_mtim);
    out->ctime_ns = nanoseconds(&st.st_ctim);
    return ACME_OK;
}

static int stamp_is(const acme_stamp_t *stamp, const char *path)
{
    acme_stamp_t now;

    return acme_stamp_get(&now, path) == ACME_OK && now.dev == stamp->dev && now.ino == stamp->ino
           && now.size == stamp->size && now.mtime_ns == stamp->mtime_ns
           && now.ctime_ns == stamp->ctime_ns;
}

acme_store_cache_t *acme_store_cache_create(apr_pool_t *process_pool)
{
    acme_store_cache_t *cache = apr_palloc(process_pool, sizeof(*cache));

    cache->pool = process_pool;
    cache->pairs = apr_hash_make(process_pool);
    return cache;
}

const acme_known_t *acme_cache_find(const acme_store_cache_t *cache, const char *cert_path,
                                    const char *key_path, const char *wanted)
{
    const acme_known_t *known;

    if (cache == NULL) {
        return NULL;
    }
    known = apr_hash_get(cache->pairs, cert_path, APR_HASH_KEY_STRING);
    if (known == NULL || strcmp(known->wanted, wanted) != 0 || !stamp_is(&known->cert, cert_path)
        || !stamp_is(&known->key, key_path)) {
        return NULL;
    }
    return known;
}

void acme_cache_put(acme_store_cache_t *cache, const char *cert_path, const acme_known_t *known)
{
    acme_known_t *kept;

    if (cache == NULL) {
        return;
    }
    kept = apr_hash_get(cache->pairs, cert_path, APR_HASH_KEY_STRING);
    if (kept == NULL) {
        kept = apr_palloc(cache->pool, sizeof(*kept));
        apr_hash_set(cache->pairs, apr_pstrdup(cache->pool, cert_path), APR_HASH_KEY_STRING, kept);
    }
    *kept = *known;
}

void acme_cache_forget(acme_store_cache_t *cache, const char *cert_path)
{
    acme_known_t *kept;

    if (cache == NULL) {
        return;
    }
    kept = apr_hash_get(cache->pairs, cert_path, APR_HASH_KEY_STRING);
    if (kept != NULL) {
        memset(kept, 0, sizeof(*kept)); /* no wanted digest is empty */
    }
}
