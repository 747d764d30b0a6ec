/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#ifndef ACME_CRYPTO_DIGEST_H
#define ACME_CRYPTO_DIGEST_H

#include <apr_pools.h>

#define ACME_SHA256_LEN 32
#define ACME_SHA256_HEX 65 /* with NUL */

void acme_sha256(unsigned char out[ACME_SHA256_LEN], const void *data, apr_size_t len);
/* Lower-case hex, NUL-terminated. Returns out. */
char *acme_sha256_hex(char out[ACME_SHA256_HEX], const void *data, apr_size_t len);

/* Constant time. */
int acme_digest_equal(const void *a, const void *b, apr_size_t len);

/* Overwrites so that the compiler cannot drop it (OPENSSL_cleanse). */
void acme_cleanse(void *data, apr_size_t len);
/* The same when pool goes away. */
void acme_cleanse_with(apr_pool_t *pool, void *data, apr_size_t len);

#endif
