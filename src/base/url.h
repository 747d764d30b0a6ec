/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#ifndef ACME_BASE_URL_H
#define ACME_BASE_URL_H

#include <apr_network_io.h>
#include <apr_pools.h>
#include "base/error.h"

#define ACME_URL_MAX 8192 /* bytes; longer ones are refused, never cut */

/* An absolute https URL (RFC 3986), taken apart for connecting. The text itself is what goes
 * into a JWS "url" member, byte for byte. */
typedef struct {
    const char *text;      /* the whole URL as given */
    const char *host;      /* lower case, no brackets: "2001:db8::1", "ca.example" */
    int is_ip;             /* host is an IPv4 or IPv6 literal */
    apr_port_t port;       /* 443 when not given */
    const char *authority; /* as it stands in a Host header: "[::1]:14000", "ca.example" */
    const char *path;      /* path and query, at least "/" */
} acme_url_t;

/* Refuses: other schemes, userinfo, fragments, control characters, spaces, non-ASCII, empty or
 * malformed host, port 0 or above 65535, more than ACME_URL_MAX bytes. */
acme_rv_t acme_url_parse(acme_url_t **out, const char *text, apr_pool_t *pool, acme_error_t *err);

/* Same host (ASCII case ignored) and port. */
int acme_url_same_origin(const acme_url_t *a, const acme_url_t *b);

/* RFC 3986 section 5 for what a Location or Link header can hold; the result is checked as by
 * acme_url_parse. */
acme_rv_t acme_url_resolve(acme_url_t **out, const acme_url_t *base, const char *reference,
                           apr_pool_t *pool, acme_error_t *err);

#endif
