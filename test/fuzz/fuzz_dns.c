/* Licensed under the Apache License, Version 2.0; see LICENSE. */

/* A DNS reply as a hostile server may send it, to a question with the id of its own bytes; what is
 * read from it are names that could be asked for, and texts inside the message. Then the same bytes as
 * the text of a record of dns-persist-01 and as a resolv.conf. */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <apr_general.h>

#include "protocol/dns.h"
#include "protocol/persist.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(int holds)
{
    if (!holds) {
        abort();
    }
}

static void sound(const apr_array_header_t *records, size_t size)
{
    int i;

    must(records->nelts <= ACME_DNS_RECORDS_MAX);
    for (i = 0; i < records->nelts; i++) {
        const acme_dns_record_t *r = &APR_ARRAY_IDX(records, i, const acme_dns_record_t);

        must(strlen(r->owner) <= ACME_DNS_NAME_MAX);
        must(r->name == NULL || (strlen(r->name) <= ACME_DNS_NAME_MAX && *r->name != '\0'));
        must(r->text_len <= size && (r->text != NULL) == (r->type == ACME_DNS_TXT));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const acme_dns_type_t types[] = {ACME_DNS_TXT, ACME_DNS_NS, ACME_DNS_SOA};
    acme_persist_want_t want;
    const char *resolvers[ACME_DNS_RESOLVERS_MAX];
    acme_dns_reply_t *reply;
    apr_pool_t *pool;
    size_t i;
    int n;

    apr_initialize();
    apr_pool_create(&pool, NULL);
    for (i = 0; size >= 2 && i < sizeof(types) / sizeof(types[0]); i++) {
        apr_uint16_t id = (apr_uint16_t)(data[0] << 8 | data[1]);

        if (acme_dns_reply_parse(&reply, data, size, id, "a.test", types[i], pool, NULL)
            == ACME_OK) {
            sound(reply->answers, size);
            sound(reply->authority, size);
        }
    }
    memset(&want, 0, sizeof(want));
    want.issuers = apr_array_make(pool, 1, sizeof(const char *));
    APR_ARRAY_PUSH((apr_array_header_t *)want.issuers, const char *) = "ca.test";
    want.account_uri = "https://ca.test/1";
    (void)acme_persist_proves(&want, (const char *)data, size, NULL);
    n = acme_dns_resolvers(resolvers, (const char *)data, size, pool);
    must(n >= 1 && n <= ACME_DNS_RESOLVERS_MAX);
    apr_pool_destroy(pool);
    return 0;
}
