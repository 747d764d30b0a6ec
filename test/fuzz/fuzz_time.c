/* Licensed under the Apache License, Version 2.0; see LICENSE. */

/* Every text is tried as RFC 3339, HTTP date, Retry-After and duration. The input is copied to
 * its exact size, so that a read past the end is seen. */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <apr_general.h>
#include <apr_strings.h>

#include "base/time.h"

#define NOW apr_time_from_sec(APR_INT64_C(1795529967))
#define WEEK apr_time_from_sec(7 * 86400)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(int holds)
{
    if (!holds) {
        abort();
    }
}

/* What was read can be written, and reads as the same second. */
static void round_trip(apr_time_t t)
{
    char text[ACME_TIME_TEXT];
    apr_time_t again;

    must(t >= 0);
    acme_time_format(text, t);
    must(strlen(text) == ACME_TIME_TEXT - 1);
    must(acme_time_parse_rfc3339(&again, text, strlen(text)) == ACME_OK);
    /* An offset or a leap second may lead past the last year, where the text is clamped. */
    must(apr_time_sec(again) == apr_time_sec(t) || strncmp(text, "9999-12-31", 10) == 0);
}

static void duration(const char *text, apr_pool_t *pool)
{
    apr_interval_time_t length;
    acme_error_t err;

    acme_error_clear(&err);
    if (acme_duration_parse(&length, text, &err) == ACME_OK) {
        must(length >= 0 && length <= apr_time_from_sec((apr_int64_t)3660 * 86400));
        must(acme_duration_format(length, pool) != NULL);
    }
    else {
        must(err.kind == ACME_E_CONFIG);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static apr_pool_t *parent;
    apr_pool_t *pool;
    char *exact = malloc(size ? size : 1);
    apr_time_t t;

    if (!parent) {
        apr_initialize();
        apr_pool_create(&parent, NULL);
    }
    must(exact != NULL);
    if (size) {
        memcpy(exact, data, size);
    }
    apr_pool_create(&pool, parent);
    if (acme_time_parse_rfc3339(&t, exact, size) == ACME_OK) {
        round_trip(t);
    }
    if (acme_time_parse_http(&t, exact, size) == ACME_OK) {
        round_trip(t);
    }
    if (acme_time_parse_retry_after(&t, exact, size, NOW, WEEK) == ACME_OK) {
        must(t >= NOW && t <= NOW + WEEK);
    }
    duration(apr_pstrmemdup(pool, exact, size), pool);
    apr_pool_destroy(pool);
    free(exact);
    return 0;
}
