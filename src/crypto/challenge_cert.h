/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#ifndef ACME_CRYPTO_CHALLENGE_CERT_H
#define ACME_CRYPTO_CHALLENGE_CERT_H

#include "crypto/x509.h"

/* Self-signed certificate for tls-alpn-01 (RFC 8737 section 3): one SAN, the identifier (a DNS
 * name or, RFC 8738, an IP address); critical acmeIdentifier extension holding the SHA-256 of
 * the key authorization. now - 1 h .. now + 24 h. */
acme_rv_t acme_challenge_cert_alpn(acme_chain_t **out, const char *identifier,
                                   const char *key_authorization, const acme_key_t *key,
                                   apr_time_t now, apr_pool_t *pool, acme_error_t *err);

/* Certificate for tls-sni-01 (draft-ietf-acme-acme-01 section 7.3): one SAN dNSName = sni. */
acme_rv_t acme_challenge_cert_sni(acme_chain_t **out, const char *sni, const acme_key_t *key,
                                  apr_time_t now, apr_pool_t *pool, acme_error_t *err);

#endif
