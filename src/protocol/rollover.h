/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#ifndef ACME_PROTOCOL_ROLLOVER_H
#define ACME_PROTOCOL_ROLLOVER_H

#include <apr_pools.h>
#include "base/error.h"

/* What a rollover record holds (RFC 8555 section 7.3.5): written before the CA is told of a new
 * account key, and again when it has answered. The newest record alone counts, so that each holds
 * all that root's file lacks. */
typedef struct {
    const char *directory; /* URL of the CA */
    const char *file;      /* thumbprint of the key in root's file */
    const char *key;       /* private JWK that the CA has accepted, NULL: that of the file */
    const char *next;      /* private JWK the CA was told of, answer unknown; NULL: none */
} acme_rollover_t;

/* JSON. NULL: out of memory. The text holds keys: who made the pool cleanses it. */
const char *acme_rollover_payload(const acme_rollover_t *rollover, apr_pool_t *pool);
acme_rv_t acme_rollover_parse(acme_rollover_t *out, const char *payload, apr_size_t len,
                              apr_pool_t *pool, acme_error_t *err);

#endif
