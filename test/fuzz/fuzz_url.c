/* Licensed under the Apache License, Version 2.0; see LICENSE. */

/* Input: a URL, or a base URL, a newline and a reference. Whatever is accepted must be safe to
 * put into a request line and must survive another round. */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <apr_general.h>
#include <apr_strings.h>

#include "base/url.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(int holds)
{
    if (!holds) {
        abort();
    }
}

static void check(const acme_url_t *url, apr_pool_t *pool)
{
    const unsigned char *p;
    acme_url_t *again, *resolved;

    for (p = (const unsigned char *)url->text; *p; p++) {
        must(*p > 0x20 && *p < 0x7f && *p != '#');
    }
    must(strlen(url->text) <= ACME_URL_MAX);
    must(*url->host && !strpbrk(url->host, "/?#@[]"));
    must(*url->authority && !strpbrk(url->authority, "/?#@"));
    must(url->port != 0 && url->path[0] == '/');
    must(acme_url_parse(&again, url->text, pool, NULL) == ACME_OK);
    must(acme_url_same_origin(url, again) && strcmp(url->path, again->path) == 0);
    must(acme_url_parse(&again, apr_pstrcat(pool, "https://", url->authority, url->path, NULL),
                        pool, NULL) == ACME_OK || strlen(url->text) == ACME_URL_MAX);
    if (acme_url_resolve(&resolved, url, url->path, pool, NULL) == ACME_OK) {
        must(strncmp(url->path, "//", 2) == 0 || acme_url_same_origin(url, resolved));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static apr_pool_t *parent;
    apr_pool_t *pool;
    acme_url_t *url, *resolved;
    acme_error_t err;
    char *text, *newline;

    if (!parent) {
        apr_initialize();
        apr_pool_create(&parent, NULL);
    }
    apr_pool_create(&pool, parent);
    text = apr_pstrmemdup(pool, (const char *)data, size);
    newline = strchr(text, '\n');
    if (newline) {
        *newline = '\0';
    }
    acme_error_clear(&err);
    if (acme_url_parse(&url, text, pool, &err) != ACME_OK) {
        must(err.kind == ACME_E_PROTOCOL && err.text[0]);
    }
    else {
        check(url, pool);
        if (newline && acme_url_resolve(&resolved, url, newline + 1, pool, &err) == ACME_OK) {
            check(resolved, pool);
        }
    }
    apr_pool_destroy(pool);
    return 0;
}
