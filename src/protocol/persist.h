/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#ifndef ACME_PROTOCOL_PERSIST_H
#define ACME_PROTOCOL_PERSIST_H

#include <apr_tables.h>
#include <apr_time.h>

/* The record of dns-persist-01 (draft-ietf-acme-dns-persist): an issue-value (RFC 8659 section
 * 4.2), "ISSUER; accounturi=URI[; policy=wildcard][; persistUntil=SECONDS]". */
typedef struct {
    const apr_array_header_t *issuers; /* any of these (const char *) */
    const char *account_uri;
    int wildcard;                      /* the record has to allow wildcards */
    apr_time_t now;
} acme_persist_want_t;

/* What is to be published, for the first of the issuers; NULL without one. */
const char *acme_persist_value(const acme_persist_want_t *want, apr_pool_t *pool);

/* Does a TXT record prove it? *until (may be NULL): its persistUntil, 0 none. Unknown parameters
 * are ignored; a malformed record, or one with a parameter twice, proves nothing. */
int acme_persist_proves(const acme_persist_want_t *want, const char *text, apr_size_t len,
                        apr_time_t *until);

#endif
