/* Licensed under the Apache License, Version 2.0; see LICENSE. */

#include "crypto/digest.h"

#include <stdlib.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>

void acme_sha256(unsigned char out[ACME_SHA256_LEN], const void *data, apr_size_t len)
{
    /* Fails for want of memory only, where APR's pools abort too: two digests that were never made
     * must not compare equal. */
    if (EVP_Digest(data, len, out, NULL, EVP_sha256(), NULL) != 1) {
        abort();
    }
}

char *acme_sha256_hex(char out[ACME_SHA256_HEX], const void *data, apr_size_t len)
{
    static const char digits[] = "0123456789abcdef";
    unsigned char digest[ACME_SHA256_LEN];
    int i;

    acme_sha256(digest, data, len);
    for (i = 0; i < ACME_SHA256_LEN; i++) {
        out[2 * i] = digits[digest[i] >> 4];
        out[2 * i + 1] = digits[digest[i] & 15];
    }
    out[2 * ACME_SHA256_LEN] = '\0';
    return out;
}

int acme_digest_equal(const void *a, const void *b, apr_size_t len)
{
    return CRYPTO_memcmp(a, b, len) == 0;
}

void acme_cleanse(void *data, apr_size_t len)
{
    OPENSSL_cleanse(data, len);
}

typedef struct {
    void *data;
    apr_size_t len;
} secret_t;

static apr_status_t secret_cleanse(void *data)
{
    secret_t *secret = data;

    acme_cleanse(secret->data, secret->len);
    return APR_SUCCESS;
}

void acme_cleanse_with(apr_pool_t *pool, void *data, apr_size_t len)
{
    secret_t *secret = apr_palloc(pool, sizeof(*secret));

    secret->data = data;
    secret->len = len;
    apr_pool_cleanup_register(pool, secret, secret_cleanse, apr_pool_cleanup_null);
}
