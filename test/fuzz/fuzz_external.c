/* Licensed under the Apache License, Version 2.0; see LICENSE. */

/* Every text is tried as a file with an external account. The input is copied to its exact size,
 * so that a read past the end is seen. */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <apr_general.h>

#include "protocol/external.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(int holds)
{
    if (!holds) {
        abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static apr_pool_t *parent;
    apr_pool_t *pool;
    char *exact = malloc(size ? size : 1);
    acme_external_t external;
    acme_error_t err;

    if (!parent) {
        apr_initialize();
        apr_pool_create(&parent, NULL);
    }
    must(exact != NULL);
    if (size) {
        memcpy(exact, data, size);
    }
    apr_pool_create(&pool, parent);
    acme_error_clear(&err);
    if (acme_external_parse(&external, exact, size, pool, &err) == ACME_OK) {
        must(external.kid[0] != '\0' && external.key_len > 0);
        must(strncmp(external.alg, "HS", 2) == 0);
    }
    else {
        must(strcmp(err.code, "AC0145") == 0);
    }
    apr_pool_destroy(pool);
    free(exact);
    return 0;
}
