/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#ifndef ACME_CRYPTO_KEY_H
#define ACME_CRYPTO_KEY_H

#include <apr_pools.h>
#include "base/error.h"
#include "base/json.h"

/* A private key pair. Immutable after creation, usable from several threads at once; freed with
 * its pool. */
typedef struct acme_key_t acme_key_t;

typedef enum {
    ACME_KEY_P256 = 0,
    ACME_KEY_P384,
    ACME_KEY_RSA2048,
    ACME_KEY_RSA3072,
    ACME_KEY_RSA4096,
    ACME_KEY_TYPES /* how many */
} acme_key_type_t;

/* "P-256", "P-384", "RSA-2048", ... (the words of AcmeKeyType); case ignored when parsing. */
const char *acme_key_type_name(acme_key_type_t type);
acme_rv_t acme_key_type_parse(acme_key_type_t *out, const char *text);
/* "p256", "rsa2048": the part of a file name for every key type but a certificate's first. */
const char *acme_key_type_file(acme_key_type_t type);
int acme_key_type_is_rsa(acme_key_type_t type);

acme_rv_t acme_key_generate(acme_key_t **out, acme_key_type_t type, apr_pool_t *pool,
                            acme_error_t *err);
/* The same, asking stopped(baton) all the time: a large RSA key takes seconds. Given up: ACME_FAIL
 * with ACME_E_STOPPED. */
acme_rv_t acme_key_generate_unless(acme_key_t **out, acme_key_type_t type,
                                   int (*stopped)(void *baton), void *baton, apr_pool_t *pool,
                                   acme_error_t *err);

/* Which of the types above it is; ACME_FAIL for curves and sizes we do not use (RSA of another
 * size between 2048 and 4096 bits counts as the next lower type). */
acme_rv_t acme_key_type(acme_key_type_t *out, const acme_key_t *key);
/* The same of an EVP_PKEY, public or private. */
acme_rv_t acme_key_type_evp(acme_key_type_t *out, void *evp);

/* Unencrypted PKCS#8 PEM. The text is cleansed when pool goes away. acme_key_from_pem takes
 * exactly one private key block (PKCS#8, "EC PRIVATE KEY", "RSA PRIVATE KEY"), never asks for a
 * passphrase. */
const char *acme_key_to_pem(const acme_key_t *key, apr_pool_t *pool);
acme_rv_t acme_key_from_pem(acme_key_t **out, const char *pem, apr_size_t len, apr_pool_t *pool,
                            acme_error_t *err);
/* Exactly one "ENCRYPTED PRIVATE KEY" block (PKCS#8); the passphrase may be any bytes. */
acme_rv_t acme_key_from_encrypted_pem(acme_key_t **out, const char *pem, apr_size_t len,
                                      const void *passphrase, apr_size_t passphrase_len,
                                      apr_pool_t *pool, acme_error_t *err);
/* PKCS#8 DER, cleansed with the pool. */
acme_rv_t acme_key_to_der(unsigned char **der, apr_size_t *len, const acme_key_t *key,
                          apr_pool_t *pool, acme_error_t *err);
acme_rv_t acme_key_from_der(acme_key_t **out, const unsigned char *der, apr_size_t len,
                            apr_pool_t *pool, acme_error_t *err);

/* Private JWK (RFC 7517, RFC 7518 section 6): "kty" EC (P-256, P-384) or RSA (2048..4096; p, q,
 * dp, dq, qi optional when d is there, as libwebsockets wrote them). Members in any order,
 * others ignored. Text is cleansed with the pool. */
const char *acme_key_to_jwk(const acme_key_t *key, apr_pool_t *pool);
acme_rv_t acme_key_from_jwk(acme_key_t **out, const char *text, apr_size_t len, apr_pool_t *pool,
                            acme_error_t *err);
/* Public JWK as a JSON object (members sorted), and its thumbprint, base64url (RFC 7638). */
acme_json_t *acme_key_public_jwk(const acme_key_t *key, apr_pool_t *pool);
const char *acme_key_thumbprint(const acme_key_t *key, apr_pool_t *pool);

/* JWS "alg" by key type: ES256, ES384, RS256. */
const char *acme_key_jws_alg(const acme_key_t *key);
/* JWS signature (RFC 7518 section 3: R || S for EC, PKCS#1 v1.5 for RSA), base64url. */
acme_rv_t acme_key_jws_sign(const char **out, const acme_key_t *key, const char *input,
                            apr_size_t len, apr_pool_t *pool, acme_error_t *err);

/* SHA-256 of the SubjectPublicKeyInfo, lower-case hex: the name of a key in records. */
const char *acme_key_digest(const acme_key_t *key, apr_pool_t *pool);

/* The EVP_PKEY inside, borrowed; void so that headers stay free of OpenSSL. */
void *acme_key_evp(const acme_key_t *key);

#endif
