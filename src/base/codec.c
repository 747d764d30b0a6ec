/* Licensed under the Apache License, Version 2.0; see LICENSE. */

#include "base/codec.h"

#include <string.h>

#include <apr_strings.h>

static const char base64url[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

char *acme_base64url_encode(const void *data, apr_size_t len, apr_pool_t *pool)
{
    const unsigned char *in = data;
    char *out = apr_palloc(pool, len / 3 * 4 + 5);
    char *p = out;
    apr_size_t i;

    for (i = 0; i + 2 < len; i += 3) {
        unsigned v = (unsigned)in[i] << 16 | (unsigned)in[i + 1] << 8 | in[i + 2];

        *p++ = base64url[v >> 18];
        *p++ = base64url[v >> 12 & 63];
        *p++ = base64url[v >> 6 & 63];
        *p++ = base64url[v & 63];
    }
    if (len - i == 1) {
        *p++ = base64url[in[i] >> 2];
        *p++ = base64url[(in[i] & 3) << 4];
    }
    else if (len - i == 2) {
        *p++ = base64url[in[i] >> 2];
        *p++ = base64url[(in[i] & 3) << 4 | in[i + 1] >> 4];
        *p++ = base64url[(in[i + 1] & 15) << 2];
    }
    *p = '\0';
    return out;
}

static int value_of(char c)
{
    const char *at = c ? strchr(base64url, c) : NULL;

    return at ? (int)(at - base64url) : -1;
}

acme_rv_t acme_base64url_decode(unsigned char **out, apr_size_t *out_len, const char *text,
                                apr_size_t text_len, apr_pool_t *pool, acme_error_t *err)
{
    unsigned char *p = apr_palloc(pool, text_len / 4 * 3 + 4);
    apr_size_t i, n = 0;
    unsigned bits = 0;
    int have = 0, v = 0;

    for (i = 0; i < text_len && v >= 0; i++) {
        v = value_of(text[i]);
        bits = bits << 6 | (unsigned)v;
        have += 6;
        if (have >= 8) {
            have -= 8;
            p[n++] = (unsigned char)(bits >> have);
        }
    }
    if (v < 0 || text_len % 4 == 1 || (bits & ((1u << have) - 1))) {
        return acme_error_set(err, ACME_E_PROTOCOL, "AC0180", "not base64url: %s",
                              v < 0 ? "foreign character" : "incomplete");
    }
    p[n] = '\0';
    *out = p;
    *out_len = n;
    return ACME_OK;
}

acme_rv_t acme_base64_decode_any(unsigned char **out, apr_size_t *out_len, const char *text,
                                 apr_pool_t *pool, acme_error_t *err)
{
    apr_size_t i, len = strlen(text), pads = 0;
    char *url = apr_pstrmemdup(pool, text, len);
    int plain = 0, modern = 0;

    while (len > 0 && url[len - 1] == '=' && pads < 2) {
        len--;
        pads++;
    }
    for (i = 0; i < len; i++) {
        plain |= url[i] == '+' || url[i] == '/';
        modern |= url[i] == '-' || url[i] == '_';
        url[i] = url[i] == '+' ? '-' : url[i] == '/' ? '_' : url[i];
    }
    if ((plain && modern) || (pads && (len + pads) % 4 != 0)) {
        return acme_error_set(err, ACME_E_CONFIG, "AC0108", "neither base64 nor base64url");
    }
    return acme_base64url_decode(out, out_len, url, len, pool, err);
}

char *acme_hex_encode(const void *data, apr_size_t len, apr_pool_t *pool)
{
    static const char digits[] = "0123456789abcdef";
    const unsigned char *in = data;
    char *out = apr_palloc(pool, 2 * len + 1);
    apr_size_t i;

    for (i = 0; i < len; i++) {
        out[2 * i] = digits[in[i] >> 4];
        out[2 * i + 1] = digits[in[i] & 15];
    }
    out[2 * len] = '\0';
    return out;
}

static int hex_value(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

acme_rv_t acme_hex_decode(unsigned char *out, apr_size_t len, const char *text, apr_size_t text_len)
{
    apr_size_t i;

    if (text_len != 2 * len) {
        return ACME_FAIL;
    }
    for (i = 0; i < len; i++) {
        int high = hex_value(text[2 * i]), low = hex_value(text[2 * i + 1]);

        if (high < 0 || low < 0) {
            return ACME_FAIL;
        }
        out[i] = (unsigned char)(high << 4 | low);
    }
    return ACME_OK;
}

acme_rv_t acme_scan_number(apr_int64_t *out, const char *text, apr_size_t len, int max_digits,
                           apr_size_t *used)
{
    apr_int64_t n = 0;
    apr_size_t i = 0;

    while (i < len && text[i] >= '0' && text[i] <= '9') {
        if ((int)i >= max_digits || i >= 18) {
            return ACME_FAIL;
        }
        n = n * 10 + (text[i] - '0');
        i++;
    }
    if (i == 0 || (!used && i != len)) {
        return ACME_FAIL;
    }
    if (used) {
        *used = i;
    }
    *out = n;
    return ACME_OK;
}

int acme_ascii_tolower(int c)
{
    return c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c;
}

int acme_ascii_ncasecmp(const char *a, const char *b, apr_size_t n)
{
    apr_size_t i;

    for (i = 0; i < n; i++) {
        int x = acme_ascii_tolower((unsigned char)a[i]);
        int y = acme_ascii_tolower((unsigned char)b[i]);

        if (x != y || x == 0) {
            return x - y;
        }
    }
    return 0;
}

int acme_ascii_casecmp(const char *a, const char *b)
{
    return acme_ascii_ncasecmp(a, b, APR_SIZE_MAX);
}
