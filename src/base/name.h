/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#ifndef ACME_BASE_NAME_H
#define ACME_BASE_NAME_H

#include <apr_pools.h>
#include <apr_tables.h>
#include "base/error.h"

/* Identifiers: DNS names (RFC 1035/5890 A-labels), wildcards "*.x" and IP addresses (RFC 8738). */
typedef enum { ACME_NAME_DNS, ACME_NAME_WILDCARD, ACME_NAME_IP4, ACME_NAME_IP6 } acme_name_kind_t;

#define ACME_NAME_MAX 253

/* Canonical form: lower case, A-labels (text may be UTF-8, see idn.h), no trailing dot, IPv6 as RFC
 * 5952, brackets removed. Refuses what IDNA 2008 does not know, empty
 * labels, labels over 63, more than 253 bytes, underscores, characters that are not LDH,
 * hyphens at a label's end, a name of digits and dots that is no IPv4 address; a wildcard is
 * only a whole leftmost label with at least two labels behind it. */
acme_rv_t acme_name_normalize(const char **out, acme_name_kind_t *kind, const char *text,
                              apr_pool_t *pool, acme_error_t *err);

/* Can a CA certify it? NULL = yes, else a static reason. public_ca: not localhost, single labels,
 * labels xn-- that are no Punycode, special-use suffixes (.local, .localhost, .test, .invalid, .internal, .example, .onion,
 * .home.arpa), private and other special-purpose addresses; 0 (a CA of one's own): not localhost,
 * everything else that acme_name_normalize accepted is its own business. */
const char *acme_name_uncertifiable(const char *name, acme_name_kind_t kind, int public_ca);

/* Does a certificate name (maybe a wildcard: exactly one label) cover a host name or address?
 * Both canonical; a wildcard covers itself. RFC 6125 section 6.4. */
int acme_name_covers(const char *pattern, const char *host);

acme_name_kind_t acme_name_kind(const char *canonical);

/* File name form: "*.x" -> "_wildcard.x", "2001:db8::1" -> "ip-2001-db8--1", "192.0.2.1" ->
 * "ip-192.0.2.1". Never holds '/' or starts with '.'. */
const char *acme_name_file(const char *canonical, apr_pool_t *pool);

/* SNI and SAN of a tls-alpn-01 challenge for an IP (RFC 8738 section 6): reverse-zone name. */
const char *acme_name_reverse(const char *ip, apr_pool_t *pool);

/* Sets of canonical names (arrays of const char *): order and duplicates do not count. */
int acme_names_equal(const apr_array_header_t *a, const apr_array_header_t *b);
int acme_names_contain(const apr_array_header_t *names, const char *name);
/* Drops the DNS names that a wildcard of the same set covers: CAs refuse an order that holds both.
 * Returns how many; linear. */
int acme_names_drop_covered(apr_array_header_t *names);
/* A copy with its strings; NULL stays NULL. */
const apr_array_header_t *acme_names_copy(const apr_array_header_t *names, apr_pool_t *pool);
/* Does the first set hold all of the second? */
int acme_names_include(const apr_array_header_t *names, const apr_array_header_t *part);

#endif
