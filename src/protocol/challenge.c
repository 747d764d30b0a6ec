/* Licensed under the Apache License, Version 2.0; see LICENSE. */

#include "protocol/challenge.h"

#include <string.h>

#include <apr_strings.h>

#include "base/codec.h"
#include "crypto/digest.h"

#define TOKEN_MIN 16
#define TOKEN_MAX 256
#define ALLOWED_SIZE 128
#define LABEL_BYTES 10
#define Z_HALF 32 /* hex digits in a label of tls-sni-01 */

static const char *const type_names[] = {
    [ACME_CH_HTTP01] = "http-01",
    [ACME_CH_TLSALPN01] = "tls-alpn-01",
    [ACME_CH_DNS01] = "dns-01",
    [ACME_CH_TLSSNI01] = "tls-sni-01",
    [ACME_CH_DNSPERSIST01] = "dns-persist-01",
    [ACME_CH_DNSACCOUNT01] = "dns-account-01",
};

const char *acme_challenge_type_name(acme_challenge_type_t type)
{
    return (unsigned)type < ACME_CH_TYPES ? type_names[type] : "unknown";
}

int acme_challenge_type_is_dns(acme_challenge_type_t type)
{
    return type == ACME_CH_DNS01 || type == ACME_CH_DNSPERSIST01 || type == ACME_CH_DNSACCOUNT01;
}

int acme_challenge_type_has_token(acme_challenge_type_t type)
{
    return type != ACME_CH_DNSPERSIST01;
}

acme_rv_t acme_challenge_type_parse(acme_challenge_type_t *out, const char *text)
{
    int type;

    for (type = 0; type < ACME_CH_TYPES; type++) {
        if (acme_ascii_casecmp(type_names[type], text) == 0) {
            *out = (acme_challenge_type_t)type;
            return ACME_OK;
        }
    }
    return ACME_FAIL;
}

int acme_token_legal(const char *token, apr_size_t len)
{
    apr_size_t i;

    if (len < TOKEN_MIN || len > TOKEN_MAX) {
        return 0;
    }
    for (i = 0; i < len; i++) {
        char c = token[i];

        if (!((c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9')
              || c == '-' || c == '_')) {
            return 0;
        }
    }
    return 1;
}

const char *acme_key_authorization(const char *token, const char *thumbprint, apr_pool_t *pool)
{
    return apr_pstrcat(pool, token, ".", thumbprint, NULL);
}

const char *acme_challenge_dns_value(const char *key_authorization, apr_pool_t *pool)
{
    unsigned char digest[ACME_SHA256_LEN];

    acme_sha256(digest, key_authorization, strlen(key_authorization));
    return acme_base64url_encode(digest, sizeof(digest), pool);
}

/* Base32 (RFC 4648 section 6) of the digest's first ten bytes, in lower case. */
static const char *account_label(const char *account_url, apr_pool_t *pool)
{
    static const char alphabet[] = "abcdefghijklmnopqrstuvwxyz234567";
    unsigned char digest[ACME_SHA256_LEN];
    char *label = apr_pcalloc(pool, LABEL_BYTES / 5 * 8 + 1);
    unsigned bits = 0;
    int i, have = 0, n = 0;

    acme_sha256(digest, account_url, strlen(account_url));
    for (i = 0; i < LABEL_BYTES; i++) {
        bits = (bits << 8 | digest[i]) & 0xfff;
        for (have += 8; have >= 5; have -= 5) {
            label[n++] = alphabet[bits >> (have - 5) & 31];
        }
    }
    return label;
}

const char *acme_challenge_dns_record(acme_challenge_type_t type, const char *name,
                                      const char *account_url, apr_pool_t *pool)
{
    const char *base = strncmp(name, "*.", 2) == 0 ? name + 2 : name;

    switch (type) {
    case ACME_CH_DNS01:
        return apr_pstrcat(pool, "_acme-challenge.", base, NULL);
    case ACME_CH_DNSACCOUNT01:
        return apr_pstrcat(pool, "_", account_label(account_url, pool), "._acme-challenge.", base,
                           NULL);
    case ACME_CH_DNSPERSIST01:
        return apr_pstrcat(pool, "_validation-persist.", base, NULL);
    case ACME_CH_HTTP01:
    case ACME_CH_TLSALPN01:
    case ACME_CH_TLSSNI01:
    case ACME_CH_TYPES:
        break;
    }
    return NULL;
}

const char *acme_challenge_sni_name(const char *key_authorization, apr_pool_t *pool)
{
    char z[ACME_SHA256_HEX];

    acme_sha256_hex(z, key_authorization, strlen(key_authorization));
    return apr_psprintf(pool, "%.*s.%s.acme.invalid", Z_HALF, z, z + Z_HALF);
}

static int is_ip(const char *name)
{
    acme_name_kind_t kind = acme_name_kind(name);

    return kind == ACME_NAME_IP4 || kind == ACME_NAME_IP6;
}

const char *acme_challenge_alpn_name(const char *identifier, apr_pool_t *pool)
{
    return is_ip(identifier) ? acme_name_reverse(identifier, pool) : apr_pstrdup(pool, identifier);
}

int acme_challenge_type_usable(acme_challenge_type_t type, const acme_authz_object_t *authz)
{
    switch (type) {
    case ACME_CH_HTTP01:
    case ACME_CH_TLSALPN01:
        return !authz->wildcard;
    case ACME_CH_DNS01:
    case ACME_CH_DNSPERSIST01:
    case ACME_CH_DNSACCOUNT01:
        return !is_ip(authz->name);
    case ACME_CH_TLSSNI01:
        return !authz->wildcard && !is_ip(authz->name);
    case ACME_CH_TYPES:
        break;
    }
    return 0;
}

/* One that is invalid cannot be tried again (RFC 8555 section 7.1.6). */
static const acme_challenge_object_t *find(const acme_authz_object_t *authz,
                                           acme_challenge_type_t type)
{
    acme_challenge_type_t is;
    int i;

    for (i = 0; i < authz->challenges->nelts; i++) {
        const acme_challenge_object_t *challenge
            = APR_ARRAY_IDX(authz->challenges, i, const acme_challenge_object_t *);

        if (challenge->status != ACME_CHALLENGE_INVALID
            && acme_challenge_type_parse(&is, challenge->type) == ACME_OK && is == type) {
            return challenge;
        }
    }
    return NULL;
}

/* The same order would meet the same answer. */
static acme_rv_t none_fits(const acme_authz_object_t *authz, const acme_challenge_type_t *types,
                           int n, acme_error_t *err)
{
    int first = err != NULL && err->kind == ACME_E_NONE;
    char allowed[ALLOWED_SIZE] = "";
    apr_size_t used = 0;
    int i;

    for (i = 0; i < n && used < sizeof(allowed) - 1; i++) {
        used += (apr_size_t)apr_snprintf(allowed + used, sizeof(allowed) - used, "%s%s",
                                         i > 0 ? " " : "", acme_challenge_type_name(types[i]));
    }
    (void)acme_error_set(err, ACME_E_CHALLENGE, "AC0402",
                         "%s%s: no type of challenge fits%s: the CA offers %s, allowed here: %s",
                         authz->wildcard ? "*." : "", authz->name,
                         authz->wildcard ? " (a wildcard needs dns-01)" : "",
                         *authz->offered != '\0' ? authz->offered : "none",
                         *allowed != '\0' ? allowed : "none");
    if (first) {
        err->retry = ACME_RETRY_SLOW;
    }
    return ACME_FAIL;
}

acme_rv_t acme_challenge_choose(const acme_challenge_object_t **out, acme_challenge_type_t *type,
                                const acme_authz_object_t *authz,
                                const acme_challenge_type_t *types, int n, acme_error_t *err)
{
    int i;

    *out = NULL;
    for (i = 0; i < n; i++) {
        *out = acme_challenge_type_usable(types[i], authz) ? find(authz, types[i]) : NULL;
        if (*out != NULL) {
            *type = types[i];
            return ACME_OK;
        }
    }
    return none_fits(authz, types, n, err);
}
