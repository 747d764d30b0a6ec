/* Licensed under the Apache License, Version 2.0; see LICENSE. */

#include "crypto/challenge_cert.h"

#include <string.h>

#include "base/name.h"
#include "crypto/digest.h"

#define BACKDATED apr_time_from_sec(3600)
#define LIFETIME apr_time_from_sec(24 * 3600)

/* The name itself may be too long for a CN (64 characters). */
#define COMMON_NAME "mod_acmeclient challenge"

static acme_rv_t create(acme_chain_t **out, const char *name, const unsigned char *digest,
                        const acme_key_t *key, apr_time_t now, apr_pool_t *pool,
                        acme_error_t *err)
{
    apr_array_header_t *names = apr_array_make(pool, 1, sizeof(const char *));
    acme_self_signed_t what;
    acme_name_kind_t kind;
    const char *canonical;

    if (acme_name_normalize(&canonical, &kind, name, pool, err) != ACME_OK) {
        return ACME_FAIL;
    }
    if (kind == ACME_NAME_WILDCARD) {
        return acme_error_set(err, ACME_E_CHALLENGE, "AC0411",
                              "%s: no challenge certificate for a wildcard", canonical);
    }
    APR_ARRAY_PUSH(names, const char *) = canonical;
    memset(&what, 0, sizeof(what));
    what.common_name = COMMON_NAME;
    what.names = names;
    what.not_before = now - BACKDATED;
    what.not_after = now + LIFETIME;
    what.acme_identifier = digest;
    return acme_self_signed_create(out, &what, key, pool, err);
}

acme_rv_t acme_challenge_cert_alpn(acme_chain_t **out, const char *identifier,
                                   const char *key_authorization, const acme_key_t *key,
                                   apr_time_t now, apr_pool_t *pool, acme_error_t *err)
{
    unsigned char digest[ACME_SHA256_LEN];

    acme_sha256(digest, key_authorization, strlen(key_authorization));
    return create(out, identifier, digest, key, now, pool, err);
}

acme_rv_t acme_challenge_cert_sni(acme_chain_t **out, const char *sni, const acme_key_t *key,
                                  apr_time_t now, apr_pool_t *pool, acme_error_t *err)
{
    return create(out, sni, NULL, key, now, pool, err);
}
