/* Licensed under the Apache License, Version 2.0; see LICENSE. */

/* Input: what a child sends to the helper that runs programs as another user. Whatever is
 * accepted must be within bounds, harmless as arguments and environment, and the same after another
 * round. */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <apr_general.h>

#include "io/errand.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(int holds)
{
    if (!holds) {
        abort();
    }
}

static void check_strings(const char *const *list, int n, const char *prefix, char lowest)
{
    const char *c;
    int i;

    for (i = 0; i < n; i++) {
        must(strncmp(list[i], prefix, strlen(prefix)) == 0 && list[i][0] != '\0');
        for (c = list[i]; *c; c++) {
            must(*c >= lowest && *c <= '~');
        }
    }
    must(list[n] == NULL);
}

static void check(const acme_errand_t *errand, const uint8_t *data, size_t size, apr_pool_t *pool)
{
    const char *bytes;
    apr_size_t len;

    must(errand->kind == ACME_ERRAND_RUN || errand->kind == ACME_ERRAND_END);
    must(errand->n_args >= 0 && errand->n_args <= ACME_PROGRAM_ARGS_MAX);
    must(errand->n_env >= 0 && errand->n_env <= ACME_PROGRAM_ENV_MAX);
    must(errand->limit >= 1 && errand->limit <= ACME_PROGRAM_LIMIT_MAX);
    must(errand->input_len <= ACME_PROGRAM_INPUT_MAX && size <= ACME_ERRAND_MAX);
    check_strings(errand->args, errand->n_args, "", '!');
    check_strings(errand->env, errand->n_env, "ACME_", ' ');
    must(acme_errand_encode(&bytes, &len, errand, pool, NULL) == ACME_OK);
    must(len == size && memcmp(bytes, data, size) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static apr_pool_t *parent;
    apr_pool_t *pool;
    acme_errand_t errand;

    if (!parent) {
        apr_initialize();
        apr_pool_create(&parent, NULL);
    }
    apr_pool_create(&pool, parent);
    if (acme_errand_parse(&errand, (const char *)data, size) == ACME_OK) {
        check(&errand, data, size, pool);
    }
    apr_pool_destroy(pool);
    return 0;
}
