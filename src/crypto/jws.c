/* Licensed under the Apache License, Version 2.0; see LICENSE. */

#include "crypto/jws.h"

#include <limits.h>
#include <string.h>

#include <apr_strings.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "base/codec.h"

#define COUNT(table) ((int)(sizeof(table) / sizeof((table)[0])))

static const struct {
    const char *alg;
    const EVP_MD *(*md)(void);
} macs[] = {
    { "HS256", EVP_sha256 },
    { "HS384", EVP_sha384 },
    { "HS512", EVP_sha512 },
};

/* Text that is not UTF-8 shows only when it is dumped. */
static const char *encode(const acme_json_t *json, apr_pool_t *pool, acme_error_t *err)
{
    const char *text = json ? acme_json_dump(json, pool) : NULL;

    if (!text) {
        acme_error_set(err, ACME_E_INTERNAL, "AC0520", "JWS: cannot be written as JSON");
        return NULL;
    }
    return acme_base64url_encode(text, strlen(text), pool);
}

static acme_json_t *flattened(const char *header, const char *payload, const char *signature,
                              apr_pool_t *pool)
{
    acme_json_t *jws = acme_json_new_object(pool);

    acme_json_set_string(jws, "protected", header);
    acme_json_set_string(jws, "payload", payload);
    acme_json_set_string(jws, "signature", signature);
    return jws;
}

acme_rv_t acme_jws_create(const char **out, const acme_key_t *key, const char *kid,
                          const char *nonce, const char *url, const char *payload,
                          apr_pool_t *pool, acme_error_t *err)
{
    acme_json_t *header = acme_json_new_object(pool);
    acme_json_t *jwk = kid ? NULL : acme_key_public_jwk(key, pool);
    const char *head, *body, *input, *signature;

    if (!kid && !jwk) {
        return acme_error_set(err, ACME_E_INTERNAL, "AC0521",
                              "JWS: a key of this type cannot sign one");
    }
    acme_json_set_string(header, "alg", acme_key_jws_alg(key));
    if (nonce) {
        acme_json_set_string(header, "nonce", nonce);
    }
    acme_json_set_string(header, "url", url);
    if (kid) {
        acme_json_set_string(header, "kid", kid);
    }
    else {
        acme_json_set(header, "jwk", jwk);
    }
    head = encode(header, pool, err);
    if (!head) {
        return ACME_FAIL;
    }
    body = payload ? acme_base64url_encode(payload, strlen(payload), pool) : "";
    input = apr_pstrcat(pool, head, ".", body, NULL);
    if (acme_key_jws_sign(&signature, key, input, strlen(input), pool, err) != ACME_OK) {
        return ACME_FAIL;
    }
    *out = acme_json_dump(flattened(head, body, signature, pool), pool);
    return *out ? ACME_OK : acme_error_set(err, ACME_E_INTERNAL, "AC0522", "JWS: out of memory");
}

static const EVP_MD *mac_of(const char *alg)
{
    int i;

    for (i = 0; i < COUNT(macs); i++) {
        if (alg && strcmp(alg, macs[i].alg) == 0) {
            return macs[i].md();
        }
    }
    return NULL;
}

acme_rv_t acme_jws_eab(acme_json_t **out, const acme_key_t *account, const char *kid,
                       const unsigned char *hmac_key, apr_size_t hmac_len, const char *alg,
                       const char *url, apr_pool_t *pool, acme_error_t *err)
{
    const EVP_MD *md = mac_of(alg);
    acme_json_t *header = acme_json_new_object(pool);
    unsigned char mac[EVP_MAX_MD_SIZE];
    const char *head, *body, *input;
    unsigned int mac_len = 0;
    int ok;

    if (!md || !hmac_key || hmac_len == 0 || hmac_len > INT_MAX) {
        return acme_error_set(err, ACME_E_CONFIG, "AC0523",
                              "external account: no usable key, or its algorithm is none of "
                              "HS256, HS384, HS512");
    }
    acme_json_set_string(header, "alg", alg);
    acme_json_set_string(header, "kid", kid);
    acme_json_set_string(header, "url", url);
    head = encode(header, pool, err);
    body = head ? encode(acme_key_public_jwk(account, pool), pool, err) : NULL;
    if (!body) {
        return ACME_FAIL;
    }
    input = apr_pstrcat(pool, head, ".", body, NULL);
    ERR_clear_error();
    ok = HMAC(md, hmac_key, (int)hmac_len, (const unsigned char *)input, strlen(input), mac,
              &mac_len) != NULL;
    ERR_clear_error();
    if (!ok) {
        return acme_error_set(err, ACME_E_INTERNAL, "AC0524", "external account: cannot sign");
    }
    *out = flattened(head, body, acme_base64url_encode(mac, mac_len, pool), pool);
    return ACME_OK;
}

acme_rv_t acme_jws_key_change(const char **out, const acme_key_t *old_key,
                              const acme_key_t *new_key, const char *kid, const char *url,
                              apr_pool_t *pool, acme_error_t *err)
{
    acme_json_t *payload = acme_json_new_object(pool);
    acme_json_t *jwk = acme_key_public_jwk(old_key, pool);
    const char *text;

    if (!jwk) {
        return acme_error_set(err, ACME_E_INTERNAL, "AC0922", "key change: no public key");
    }
    acme_json_set_string(payload, "account", kid);
    acme_json_set(payload, "oldKey", jwk);
    text = acme_json_dump(payload, pool);
    if (!text) {
        return acme_error_set(err, ACME_E_INTERNAL, "AC0923", "key change: cannot be written");
    }
    return acme_jws_create(out, new_key, NULL, NULL, url, text, pool, err);
}
