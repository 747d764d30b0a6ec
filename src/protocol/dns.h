/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#ifndef ACME_PROTOCOL_DNS_H
#define ACME_PROTOCOL_DNS_H

#include <apr_tables.h>
#include "base/error.h"

/* DNS messages (RFC 1035 section 4) as bytes, as far as the search for a TXT record needs them.
 * Replies are hostile: every length is checked, compression points backwards only, and what cannot
 * be a host's or a record's name in ASCII is left out. */

#define ACME_DNS_NAME_MAX 253
#define ACME_DNS_QUERY_MAX 280
#define ACME_DNS_MESSAGE_MAX 65535
#define ACME_DNS_RECORDS_MAX 128 /* of one section; those behind them are not looked at */
#define ACME_DNS_RESOLVERS_MAX 3

typedef enum {
    ACME_DNS_A = 1, ACME_DNS_NS = 2, ACME_DNS_CNAME = 5, ACME_DNS_SOA = 6, ACME_DNS_TXT = 16,
    ACME_DNS_AAAA = 28
} acme_dns_type_t;

typedef struct {
    int v6;
    unsigned char bytes[16]; /* 4 of them without v6 */
} acme_dns_address_t;

typedef struct {
    const char *owner;       /* lower case, no dot at its end; "" is the root */
    acme_dns_type_t type;
    const char *name;        /* NS, CNAME: what it points to; else NULL */
    acme_dns_address_t address; /* A, AAAA */
    const char *text;        /* TXT: its strings joined, any bytes; else NULL */
    apr_size_t text_len;
} acme_dns_record_t;

typedef struct {
    int rcode;               /* 0 no error, 3 no such name, 2 server failure, 5 refused ... */
    int truncated;           /* ask again over TCP */
    apr_array_header_t *answers;   /* acme_dns_record_t; other types are left out */
    apr_array_header_t *authority; /* acme_dns_record_t */
} acme_dns_reply_t;

/* The bytes of a question for one type of one name, without EDNS. Returns how many, 0: no such name
 * can be asked for. */
apr_size_t acme_dns_query(unsigned char out[ACME_DNS_QUERY_MAX], apr_uint16_t id, const char *name,
                          acme_dns_type_t type, int recurse);

/* ACME_OK: the reply to that question. ACME_AGAIN: something else (an earlier reply, a forged one):
 * go on waiting. ACME_FAIL (AC0434): it is, and cannot be read. Everything lives in pool. */
acme_rv_t acme_dns_reply_parse(acme_dns_reply_t **out, const unsigned char *data, apr_size_t len,
                               apr_uint16_t id, const char *name, acme_dns_type_t type,
                               apr_pool_t *pool, acme_error_t *err);

const char *acme_dns_rcode_name(int rcode); /* "REFUSED", "an unknown code" */

/* Is name below zone, or zone itself? Both lower case. */
int acme_dns_within(const char *name, const char *zone);

/* The name servers of a resolv.conf (5) as addresses, those with a scope left out. Returns how
 * many; without any the one at 127.0.0.1, as libc does. */
int acme_dns_resolvers(const char *out[ACME_DNS_RESOLVERS_MAX], const char *text, apr_size_t len,
                       apr_pool_t *pool);

#endif
