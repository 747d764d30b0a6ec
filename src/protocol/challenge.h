/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#ifndef ACME_PROTOCOL_CHALLENGE_H
#define ACME_PROTOCOL_CHALLENGE_H

#include <apr_tables.h>
#include "base/name.h"
#include "protocol/message.h"

typedef enum {
    ACME_CH_HTTP01 = 0, /* RFC 8555 section 8.3 */
    ACME_CH_TLSALPN01,  /* RFC 8737 */
    ACME_CH_DNS01,      /* RFC 8555 section 8.4 */
    ACME_CH_TLSSNI01,   /* draft-ietf-acme-acme-01 section 7.3; only when named */
    ACME_CH_DNSPERSIST01, /* draft-ietf-acme-dns-persist; only when named */
    ACME_CH_DNSACCOUNT01, /* draft-ietf-acme-dns-account-label; only when named */
    ACME_CH_TYPES
} acme_challenge_type_t;

const char *acme_challenge_type_name(acme_challenge_type_t type);
/* Proved by a TXT record. */
int acme_challenge_type_is_dns(acme_challenge_type_t type);
/* dns-persist-01 has none: its record is the account's, not the order's. */
int acme_challenge_type_has_token(acme_challenge_type_t type);
/* Case is ignored, as everywhere in a configuration. */
acme_rv_t acme_challenge_type_parse(acme_challenge_type_t *out, const char *text);

/* token "." thumbprint (RFC 8555 section 8.1). The token must be legal. */
const char *acme_key_authorization(const char *token, const char *thumbprint, apr_pool_t *pool);
/* ^[A-Za-z0-9_-]{16,256}$ */
int acme_token_legal(const char *token, apr_size_t len);

/* base64url(SHA-256(key authorization)): the TXT value of dns-01. */
const char *acme_challenge_dns_value(const char *key_authorization, apr_pool_t *pool);
/* Where the TXT record of a dns type is looked for: "_acme-challenge.NAME" (RFC 8555 section 8.4),
 * "_LABEL._acme-challenge.NAME" (LABEL from the account's URL), "_validation-persist.NAME". name
 * may begin with "*.", which is left out. NULL for other types. */
const char *acme_challenge_dns_record(acme_challenge_type_t type, const char *name,
                                      const char *account_url, apr_pool_t *pool);
/* The 78 character name of tls-sni-01 (Z0). */
const char *acme_challenge_sni_name(const char *key_authorization, apr_pool_t *pool);
/* SNI of tls-alpn-01: the name itself, or the reverse-zone name of an IP. */
const char *acme_challenge_alpn_name(const char *identifier, apr_pool_t *pool);

/* Which of the administrator's types (in order of preference) a name can be validated by: wildcards
 * only dns types; IP addresses never dns types or tls-sni-01. */
int acme_challenge_type_usable(acme_challenge_type_t type, const acme_authz_object_t *authz);

/* The first of types[0..n) that the authorization offers, that fits and is not invalid; NULL and an
 * error naming what was offered and what is allowed when there is none (AC0402). *type is set with
 * ACME_OK only. */
acme_rv_t acme_challenge_choose(const acme_challenge_object_t **out, acme_challenge_type_t *type,
                                const acme_authz_object_t *authz,
                                const acme_challenge_type_t *types, int n, acme_error_t *err);

#endif
