/* Licensed under the Apache License, Version 2.0; see LICENSE. */

/* Input: a file. Whatever is found lies within it, on one line, without blanks around it. */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <apr_general.h>

#include "base/ini.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(int holds)
{
    if (!holds) {
        abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const keys[] = {"account", "server", "fullchain", ""};
    static const char *const sections[] = {NULL, "renewalparams", ""};
    static apr_pool_t *parent;
    apr_pool_t *pool;
    const char *value;
    unsigned i, j;

    if (!parent) {
        apr_initialize();
        apr_pool_create(&parent, NULL);
    }
    apr_pool_create(&pool, parent);
    for (i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        for (j = 0; j < sizeof(sections) / sizeof(sections[0]); j++) {
            value = acme_ini_get((const char *)data, size, sections[j], keys[i], pool);
            must(value == NULL || (strlen(value) < size && strchr(value, '\n') == NULL));
        }
    }
    apr_pool_destroy(pool);
    return 0;
}
