/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#ifndef ACME_PROTOCOL_PROBLEM_H
#define ACME_PROTOCOL_PROBLEM_H

#include "base/json.h"
#include "protocol/http.h"

/* Problem documents (RFC 7807, RFC 8555 section 6.7). Kept whole for log and status. */
typedef struct {
    const char *type;        /* without urn:ietf:params:acme:error:, printable, "" when absent */
    const char *detail;      /* printable, at most 1024 bytes */
    const char *instance;    /* or NULL */
    const char *identifier;  /* the only one that its subproblems are about, canonical, or NULL */
    const char *text;        /* "type: detail [name: detail; ...]", first 10 subproblems */
    acme_retry_t retry;
    int account_missing;     /* accountDoesNotExist: register again once */
    int bad_nonce;           /* badNonce: same request with the new nonce */
    int ca_wide;             /* pauses the whole CA, not one certificate (rateLimited without
                              * subproblems, 5xx) */
} acme_problem_t;

/* From a JSON object (authorization "error", order "error"). Never fails: whatever is missing or
 * of the wrong type counts as absent. */
acme_problem_t *acme_problem_from_json(const acme_json_t *json, apr_pool_t *pool);

/* From a response that is not 2xx: its problem document when there is one, else a problem made of
 * the status (5xx, 429, 403 ...). Fills err (kind ACME_E_PROBLEM, retry class by type/status,
 * not_before from Retry-After clamped to 7 days from now). Returns ACME_FAIL. out may be NULL. */
acme_rv_t acme_problem_from_response(acme_problem_t **out, const acme_http_response_t *response,
                                     apr_time_t now, apr_pool_t *pool, acme_error_t *err);

#endif
