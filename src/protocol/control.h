/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#ifndef ACME_PROTOCOL_CONTROL_H
#define ACME_PROTOCOL_CONTROL_H

#include <apr_pools.h>
#include "base/error.h"

/* What acmectl asks of the owner over the control socket: one JSON object on one line. The answer
 * is JSON objects, one a line; the last one has the member "ok". */

#define ACME_CONTROL_MAX (64 * 1024) /* bytes of a request */

typedef enum {
    ACME_CONTROL_STATUS = 0, /* of all certificates, or of "name" */
    ACME_CONTROL_RETRY,      /* all, or "name" */
    ACME_CONTROL_RENEW,      /* "name"; "newKey" */
    ACME_CONTROL_REVOKE,     /* "name"; "reason", "certificate" */
    ACME_CONTROL_ROLLOVER,   /* "name" of a CA */
    ACME_CONTROL_DEACTIVATE, /* "name" of a CA */
    ACME_CONTROL_COMMANDS
} acme_control_command_t;

const char *acme_control_command_name(acme_control_command_t command);

typedef struct {
    acme_control_command_t command;
    const char *name;         /* printable; NULL where "all" is meant */
    int new_key;
    int reason;               /* RFC 5280 section 5.3.1 */
    const unsigned char *der; /* the certificate that is meant; NULL: the one on the board */
    apr_size_t der_len;
} acme_control_request_t;

/* AC0174 and what else is wrong with it. Unknown members are ignored, unknown commands are not. */
acme_rv_t acme_control_parse(acme_control_request_t *out, const char *text, apr_size_t len,
                             apr_pool_t *pool, acme_error_t *err);
/* The same as one line with its newline. */
const char *acme_control_format(const acme_control_request_t *request, apr_pool_t *pool);

/* "keyCompromise" and its like (RFC 5280 section 5.3.1), case ignored; ACME_FAIL for a word that is
 * none. */
acme_rv_t acme_revocation_reason(int *out, const char *word);
/* All of these words. */
const char *acme_revocation_reasons(apr_pool_t *pool);

#endif
