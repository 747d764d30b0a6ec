/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#ifndef ACME_PROTOCOL_KNOWN_CA_H
#define ACME_PROTOCOL_KNOWN_CA_H

/* Public CAs that are known by a name, and what their accounts need (RFC 8555 sections 7.3.3 and
 * 7.3.4): what is missing is told without asking them. */
typedef struct {
    const char *name;          /* as AcmeDirectoryURL takes it */
    const char *directory_url;
    int staging;               /* its certificates are for tests, nobody trusts them */
    int terms;                 /* an account needs the agreement to its terms of service */
    const char *external;      /* where external accounts are made, or NULL: none is needed */
} acme_known_ca_t;

/* Case does not matter. NULL: not known. */
const acme_known_ca_t *acme_known_ca_named(const char *name);
const acme_known_ca_t *acme_known_ca_at(const char *directory_url);
/* By position, for lists; NULL behind the last. */
const acme_known_ca_t *acme_known_ca(int i);

#endif
