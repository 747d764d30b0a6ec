/* Licensed under the Apache License, Version 2.0; see LICENSE. */

/* Input: a request of acmectl. What is accepted survives another round unchanged. */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <apr_general.h>

#include "base/json.h"
#include "protocol/control.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(int holds)
{
    if (!holds) {
        abort();
    }
}

static int same_text(const char *a, const char *b)
{
    return a == b || (a && b && strcmp(a, b) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static apr_pool_t *parent;
    acme_control_request_t one, two;
    const char *text;
    apr_pool_t *pool;
    acme_error_t err;

    if (!parent) {
        apr_initialize();
        acme_json_init();
        apr_pool_create(&parent, NULL);
    }
    apr_pool_create(&pool, parent);
    acme_error_clear(&err);
    if (acme_control_parse(&one, (const char *)data, size, pool, &err) != ACME_OK) {
        must(err.text[0] != '\0');
    }
    else {
        text = acme_control_format(&one, pool);
        must(text != NULL && strchr(text, '\n') == text + strlen(text) - 1);
        must(acme_control_parse(&two, text, strlen(text) - 1, pool, NULL) == ACME_OK);
        must(one.command == two.command && same_text(one.name, two.name));
        must(one.new_key == two.new_key && one.reason == two.reason);
        must(one.der_len == two.der_len
             && (one.der_len == 0 || memcmp(one.der, two.der, one.der_len) == 0));
    }
    apr_pool_destroy(pool);
    return 0;
}
