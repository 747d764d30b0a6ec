/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#include "protocol/external.h"

#include <string.h>

#include <apr_strings.h>

#include "base/codec.h"
#include "base/json.h"

#define KID_MAX 1024
#define WORDS 3

static const char space[] = " \t\r\n";

static acme_rv_t wrong(acme_error_t *err, const char *what)
{
    return acme_error_set(err, ACME_E_CONFIG, "AC0145", "no usable external account: %s", what);
}

static const char *alg_of(const char *alg)
{
    static const char *const known[] = {"HS256", "HS384", "HS512"};
    apr_size_t i;

    for (i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        if (acme_ascii_casecmp(alg, known[i]) == 0) {
            return known[i];
        }
    }
    return NULL;
}

acme_rv_t acme_external_form(acme_external_t *out, const char *kid, const char *hmac,
                             const char *alg, apr_pool_t *pool, acme_error_t *err)
{
    unsigned char *key = NULL;
    apr_size_t size = strlen(kid) + 1;

    memset(out, 0, sizeof(*out));
    if (size == 1 || size > KID_MAX
        || strcmp(acme_printable(apr_palloc(pool, size), size, kid, -1), kid) != 0) {
        return wrong(err, "its key identifier is not printable text of at most 1023 bytes");
    }
    if (acme_base64_decode_any(&key, &out->key_len, hmac, pool, NULL) != ACME_OK
        || out->key_len == 0) {
        return wrong(err, "its HMAC key is neither base64 nor base64url");
    }
    out->alg = alg_of(alg != NULL ? alg : "HS256");
    if (out->alg == NULL) {
        return wrong(err, "its algorithm is none of HS256, HS384, HS512");
    }
    out->kid = kid;
    out->key = key;
    return ACME_OK;
}

static acme_rv_t parse_json(acme_external_t *out, const char *text, apr_size_t len,
                            apr_pool_t *pool, acme_error_t *err)
{
    const char *kid = NULL, *hmac = NULL, *alg = NULL;
    acme_json_t *json = NULL;

    if (acme_json_parse(&json, text, len, "external account", pool, NULL) != ACME_OK
        || acme_json_get_string(&kid, json, "kid", ACME_JSON_OPTIONAL, NULL) != ACME_OK
        || acme_json_get_string(&hmac, json, "hmac", ACME_JSON_OPTIONAL, NULL) != ACME_OK
        || acme_json_get_string(&alg, json, "alg", ACME_JSON_OPTIONAL, NULL) != ACME_OK
        || kid == NULL || hmac == NULL) {
        return wrong(err, "a JSON object must have the strings kid and hmac");
    }
    return acme_external_form(out, kid, hmac, alg, pool, err);
}

acme_rv_t acme_external_parse(acme_external_t *out, const char *text, apr_size_t len,
                              apr_pool_t *pool, acme_error_t *err)
{
    const char *word[WORDS] = {NULL, NULL, NULL};
    char *copy, *at;
    int n = 0;

    memset(out, 0, sizeof(*out));
    if (len > ACME_EXTERNAL_MAX || memchr(text, '\0', len) != NULL) {
        return wrong(err, "more than 4096 bytes, or a NUL among them");
    }
    copy = apr_pstrmemdup(pool, text, len);
    at = copy + strspn(copy, space);
    if (*at == '{') {
        return parse_json(out, text, len, pool, err);
    }
    while (*at != '\0') {
        apr_size_t word_len = strcspn(at, space);

        if (n == WORDS) {
            return wrong(err, "more than three words");
        }
        word[n++] = apr_pstrmemdup(pool, at, word_len);
        at += word_len;
        at += strspn(at, space);
    }
    if (n < 2) {
        return wrong(err, "wanted: a key identifier and an HMAC key, as two words or as JSON");
    }
    return acme_external_form(out, word[0], word[1], word[2], pool, err);
}
