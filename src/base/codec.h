/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#ifndef ACME_BASE_CODEC_H
#define ACME_BASE_CODEC_H

#include <apr_pools.h>
#include "base/error.h"

/* base64url without padding (RFC 7515 section 2, RFC 4648 section 5). NUL-terminated. */
char *acme_base64url_encode(const void *data, apr_size_t len, apr_pool_t *pool);

/* Strict: no padding, no line breaks, no foreign characters, no set spare bits. */
acme_rv_t acme_base64url_decode(unsigned char **out, apr_size_t *out_len, const char *text,
                                apr_size_t text_len, apr_pool_t *pool, acme_error_t *err);

/* EAB keys arrive as base64 or base64url, padded or not: accepts each, rejects mixtures. */
acme_rv_t acme_base64_decode_any(unsigned char **out, apr_size_t *out_len, const char *text,
                                 apr_pool_t *pool, acme_error_t *err);

/* Lower-case hex. */
char *acme_hex_encode(const void *data, apr_size_t len, apr_pool_t *pool);
/* text must be exactly 2*len hex digits, either case. */
acme_rv_t acme_hex_decode(unsigned char *out, apr_size_t len, const char *text,
                          apr_size_t text_len);

/* The one scanner for numbers from text: decimal digits only, 1..max_digits (<= 18) of them, no
 * sign, no space. *used (may be NULL) = digits read; when used is NULL the whole text must be
 * digits. ACME_FAIL without touching *out otherwise. */
acme_rv_t acme_scan_number(apr_int64_t *out, const char *text, apr_size_t len, int max_digits,
                           apr_size_t *used);

/* ASCII only, independent of the locale. */
int acme_ascii_casecmp(const char *a, const char *b);
int acme_ascii_ncasecmp(const char *a, const char *b, apr_size_t n);
int acme_ascii_tolower(int c);

#endif
