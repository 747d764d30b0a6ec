/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#ifndef ACME_CRYPTO_X509_H
#define ACME_CRYPTO_X509_H

#include <apr_tables.h>
#include <apr_time.h>
#include "crypto/key.h"

#define ACME_CHAIN_MAX_BYTES (256 * 1024)
#define ACME_CHAIN_MAX_CERTS 10

/* A certificate chain, leaf first; freed with its pool; immutable. */
typedef struct acme_chain_t acme_chain_t;

/* Strict PEM (RFC 8555 section 11.4): nothing after "-----BEGIN " but "CERTIFICATE"; text between
 * blocks and CRLF are accepted; NULs, more than the caps above, or no block are refused. */
acme_rv_t acme_chain_from_pem(acme_chain_t **out, const char *pem, apr_size_t len,
                              apr_pool_t *pool, acme_error_t *err);
/* Re-encoded: blocks only, LF, one final newline. */
const char *acme_chain_to_pem(const acme_chain_t *chain, apr_pool_t *pool);

int acme_chain_count(const acme_chain_t *chain);
/* DER of the i-th certificate, borrowed from the chain. */
void acme_chain_der(const unsigned char **der, apr_size_t *len, const acme_chain_t *chain, int i);
acme_rv_t acme_chain_from_der(acme_chain_t **out, const unsigned char *const *ders,
                              const apr_size_t *lens, int n, apr_pool_t *pool, acme_error_t *err);
/* The i-th X509, borrowed. */
void *acme_chain_x509(const acme_chain_t *chain, int i);

/* Facts of the leaf; strings live in pool. */
typedef struct {
    const char *serial;        /* lower-case hex, otherwise as openssl x509 -serial prints it */
    const char *issuer;        /* RFC 2253 text, printable */
    const char *issuer_cn;     /* of the issuer, or "" */
    apr_time_t not_before;
    apr_time_t not_after;
    apr_array_header_t *names; /* canonical SAN dNSName and iPAddress (const char *); what has no
                                * canonical form stands there as "DNS:..." or "IP:..." */
    const char *key_digest;    /* as acme_key_digest */
    acme_key_type_t key_type;
    int key_type_known;
    int is_ca;
    int self_issued;           /* subject == issuer: a placeholder or a private toy */
    int must_staple;           /* TLS feature extension (RFC 7633) */
    const char *fingerprint;   /* SHA-256 of the leaf's DER, hex */
    const char *ari_id;        /* RFC 9773 section 4.1, or "" when it has no such name */
} acme_leaf_t;

acme_rv_t acme_chain_leaf(acme_leaf_t *out, const acme_chain_t *chain, apr_pool_t *pool,
                          acme_error_t *err);

/* The leaf's unique identifier for renewal information (RFC 9773 section 4.1): base64url of the
 * authority key identifier, ".", base64url of the serial number's DER content. "" when it has no
 * authority key identifier or the name would be longer than ACME_ARI_ID_MAX. */
#define ACME_ARI_ID_MAX 95
const char *acme_chain_ari_id(const acme_chain_t *chain, apr_pool_t *pool);

/* Common name of the issuer of the topmost certificate that came, printable, or "": what
 * AcmePreferredChain is held against. */
const char *acme_chain_top_issuer(const acme_chain_t *chain, apr_pool_t *pool);

int acme_chain_matches_key(const acme_chain_t *chain, const acme_key_t *key);

/* What we asked for, to hold against what came (or what a log holds). */
typedef struct {
    const apr_array_header_t *names; /* canonical; the leaf's set must be equal */
    const acme_key_t *key;           /* must match */
    acme_key_type_t key_type;
    apr_time_t now;
    int allow_future_not_before;     /* adoption: a wrong clock must not lose a pair */
    int must_staple;                 /* it was asked for; else the leaf must not have it */
} acme_chain_want_t;

/* The full check of SECURITY rule "what comes back is checked before anything is written": leaf
 * first, its key, names, key type, not a CA, serverAuth allowed, notBefore at most 10 min ahead,
 * notAfter in the future and after notBefore, each certificate issued by the next (one that did
 * not issue the one kept before it is dropped, *dropped says how many), acceptable to SSL_CTX at
 * security level 2, must-staple only where it was asked for (one that lacks it is the caller's
 * affair). On success *out is the chain to use (maybe shortened). */
acme_rv_t acme_chain_check(acme_chain_t **out, int *dropped, const acme_chain_t *chain,
                           const acme_chain_want_t *want, apr_pool_t *pool, acme_error_t *err);

/* PKCS#10 (RFC 2986) DER, base64url: SAN always; subject C, ST, L, O, CN in that order, each left
 * out when NULL or empty, CN also when it is an address or longer than 64 bytes. must_staple adds
 * the TLS feature extension. */
typedef struct {
    const apr_array_header_t *names;
    const char *country, *state, *locality, *organization, *common_name;
    int must_staple;
} acme_csr_t;

acme_rv_t acme_csr_create(const char **out, const acme_csr_t *csr, const acme_key_t *key,
                          apr_pool_t *pool, acme_error_t *err);

/* A self-signed certificate of our own: X.509 v3, CA:FALSE, serverAuth, SAN = names. */
typedef struct {
    const char *common_name;              /* subject and issuer */
    const apr_array_header_t *names;      /* canonical */
    apr_time_t not_before, not_after;
    const unsigned char *acme_identifier; /* 32 bytes: RFC 8737's extension, critical; or NULL */
} acme_self_signed_t;

acme_rv_t acme_self_signed_create(acme_chain_t **out, const acme_self_signed_t *what,
                                  const acme_key_t *key, apr_pool_t *pool, acme_error_t *err);

/* Placeholder: self-signed, CA:FALSE, SAN = names, serverAuth, from now - 1 day for 10 years,
 * issuer and subject CN "mod_acmeclient placeholder". */
acme_rv_t acme_placeholder_create(acme_chain_t **out, const apr_array_header_t *names,
                                  const acme_key_t *key, apr_time_t now, apr_pool_t *pool,
                                  acme_error_t *err);

#endif
