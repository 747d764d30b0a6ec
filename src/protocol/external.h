/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#ifndef ACME_PROTOCOL_EXTERNAL_H
#define ACME_PROTOCOL_EXTERNAL_H

#include <apr_pools.h>
#include "base/error.h"

/* External accounts (RFC 8555 section 7.3.4): what a CA gave somebody who has an account there, so
 * that an ACME account can be bound to it. */

#define ACME_EXTERNAL_MAX 4096 /* bytes of a file */

typedef struct {
    const char *kid;
    const unsigned char *key;  /* decoded; the pool's */
    apr_size_t key_len;
    const char *alg;           /* static: "HS256", "HS384", "HS512" */
} acme_external_t;

/* From words. hmac: base64 or base64url, padded or not. alg NULL: HS256, which all public CAs mean
 * when they name none. What is wrong is said without the key (AC0145, kind ACME_E_CONFIG). */
acme_rv_t acme_external_form(acme_external_t *out, const char *kid, const char *hmac,
                             const char *alg, apr_pool_t *pool, acme_error_t *err);

/* From a file's text: {"kid": ..., "hmac": ...} with "alg" when it is not HS256, or the same two or
 * three words separated by white space. */
acme_rv_t acme_external_parse(acme_external_t *out, const char *text, apr_size_t len,
                              apr_pool_t *pool, acme_error_t *err);

#endif
