/* Licensed under the Apache License, Version 2.0; see LICENSE. */

/* A staging log as a hostile child may leave it. Whatever is taken for a record must lie inside the
 * log, in order, and be what acme_record_encode would have written; what a record holds is parsed
 * too. */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <apr_general.h>

#include "protocol/policy.h"
#include "protocol/record.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(int holds)
{
    if (!holds) {
        abort();
    }
}

static void same_bytes(const acme_record_t *rec, apr_pool_t *pool)
{
    const char *bytes;
    apr_size_t len;

    must(acme_record_encode(&bytes, &len, rec, pool, NULL) == ACME_OK);
    must(len == rec->raw_len && memcmp(bytes, rec->raw, len) == 0);
}

static void content(const acme_record_t *rec, apr_pool_t *pool)
{
    acme_attempt_t attempt;
    acme_issued_t issued;
    const char *chain;
    apr_size_t len;

    if (acme_attempt_parse(&attempt, rec->payload, rec->len, pool, NULL) == ACME_OK) {
        must(attempt.failures >= 0 && attempt.not_before >= 0);
    }
    if (acme_certificate_payload_parse(&issued, &chain, &len, rec->payload, rec->len, pool, NULL)
        == ACME_OK) {
        must(chain + len == rec->payload + rec->len);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static apr_pool_t *parent;
    apr_pool_t *pool;
    char *log = malloc(size ? size : 1);
    apr_size_t state = 0;
    apr_size_t last = 0;
    acme_record_set_t set;
    acme_record_t rec;
    int damaged = 0;

    if (!parent) {
        apr_initialize();
        apr_pool_create(&parent, NULL);
    }
    must(log != NULL);
    if (size) {
        memcpy(log, data, size);
    }
    apr_pool_create(&pool, parent);
    while (acme_record_next(&rec, &state, log, size, &damaged, pool) == ACME_OK) {
        must(rec.raw >= log + last && rec.raw + rec.raw_len == log + state && state <= size);
        must(damaged || rec.raw == log + last);
        last = state;
        same_bytes(&rec, pool);
        content(&rec, pool);
        acme_record_collect(&set, rec.id, rec.raw, rec.raw_len, pool);
        must(set.present[rec.type] && set.last_seq == rec.seq && !set.damaged);
    }
    must(state == size && (damaged || last == size));
    apr_pool_destroy(pool);
    free(log);
    return 0;
}
