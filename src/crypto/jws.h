/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#ifndef ACME_CRYPTO_JWS_H
#define ACME_CRYPTO_JWS_H

#include "crypto/key.h"

/* Flattened JWS JSON serialization (RFC 7515 section 7.2.2) as RFC 8555 section 6.2 wants it:
 * protected header alg, nonce (left out when NULL), url, and exactly one of jwk (kid == NULL)
 * or kid. payload NULL means POST-as-GET (empty string). *out is the request body. */
acme_rv_t acme_jws_create(const char **out, const acme_key_t *key, const char *kid,
                          const char *nonce, const char *url, const char *payload,
                          apr_pool_t *pool, acme_error_t *err);

/* externalAccountBinding object (RFC 8555 section 7.3.4): HS256/384/512 over the account's public
 * JWK. hmac_key is the decoded key. alg: "HS256", "HS384" or "HS512". */
acme_rv_t acme_jws_eab(acme_json_t **out, const acme_key_t *account, const char *kid,
                       const unsigned char *hmac_key, apr_size_t hmac_len, const char *alg,
                       const char *url, apr_pool_t *pool, acme_error_t *err);

/* The payload of a key change request (RFC 8555 section 7.3.5): a JWS over {account, oldKey},
 * signed by the new key, with its public JWK and the url of the request around it, no nonce. */
acme_rv_t acme_jws_key_change(const char **out, const acme_key_t *old_key,
                              const acme_key_t *new_key, const char *kid, const char *url,
                              apr_pool_t *pool, acme_error_t *err);

#endif
