/* Licensed under the Apache License, Version 2.0; see LICENSE. */

/* The first byte says what the rest is: an answer of the CA, or an ari record. A window that is
 * taken lies where the certificate lives; a moment is never before now; what is recorded comes
 * back. */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <apr_general.h>

#include "protocol/ari.h"

#define S APR_USEC_PER_SEC
#define DAY (24 * 3600 * S)
#define NOW (APR_INT64_C(1795529967) * S)
#define ID "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(int holds)
{
    if (!holds) {
        abort();
    }
}

static void comes_back(const acme_ari_t *ari, apr_pool_t *pool)
{
    const char *payload = acme_ari_payload(ari, pool);
    acme_ari_t back;

    must(acme_ari_restore(&back, payload, strlen(payload), ari->id, NOW, pool, NULL) == ACME_OK);
    must(back.at == ari->at && strcmp(back.explanation, ari->explanation) == 0);
}

static void answer(const char *text, size_t len, apr_pool_t *pool)
{
    acme_renewal_info_t info;
    acme_ari_t ari;

    if (acme_renewal_info_parse(&info, text, len, pool, NULL) != ACME_OK) {
        return;
    }
    must(info.start < info.end && strlen(info.explanation) <= ACME_ARI_EXPLANATION_MAX);
    if (acme_renewal_info_judge(&info, NOW - 30 * DAY, NOW + 60 * DAY, NULL) != ACME_OK) {
        return;
    }
    must(info.start < info.end && info.end <= NOW + 60 * DAY);
    memset(&ari, 0, sizeof(ari));
    acme_ari_begin(&ari, ID, 0, NOW);
    must(acme_ari_take(&ari, &info, 90 * DAY, NOW + 30 * DAY, NOW, 0.5) == 1);
    must(ari.at >= NOW && ari.at < NOW + 60 * DAY);
    comes_back(&ari, pool);
}

static void record(const char *text, size_t len, apr_pool_t *pool)
{
    acme_ari_t ari;

    if (acme_ari_restore(&ari, text, len, ID, NOW, pool, NULL) == ACME_OK) {
        must(ari.next <= NOW + 2 * DAY && ari.early[0] <= NOW && ari.early[1] <= NOW);
        must(strlen(ari.explanation) <= ACME_ARI_EXPLANATION_MAX);
        comes_back(&ari, pool);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static apr_pool_t *parent;
    apr_pool_t *pool;

    if (!parent) {
        apr_initialize();
        apr_pool_create(&parent, NULL);
    }
    if (size == 0) {
        return 0;
    }
    apr_pool_create(&pool, parent);
    if (data[0] == 'r') {
        record((const char *)data + 1, size - 1, pool);
    }
    else {
        answer((const char *)data + 1, size - 1, pool);
    }
    apr_pool_destroy(pool);
    return 0;
}
