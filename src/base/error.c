/* Licensed under the Apache License, Version 2.0; see LICENSE. */

#include "base/error.h"

#include <stdio.h>
#include <string.h>

#include <apr_strings.h>

void acme_error_clear(acme_error_t *err)
{
    memset(err, 0, sizeof(*err));
}

/* Length of the valid UTF-8 sequence at p (RFC 3629), 0 when there is none. */
static apr_size_t utf8_length(const unsigned char *p, apr_size_t left)
{
    apr_size_t i, n;

    if (p[0] < 0x80) {
        return 1;
    }
    n = p[0] >= 0xf0 && p[0] <= 0xf4 ? 4 : p[0] >= 0xe0 && p[0] <= 0xef ? 3
        : p[0] >= 0xc2 && p[0] <= 0xdf ? 2 : 0;
    if (n == 0 || n > left) {
        return 0;
    }
    for (i = 1; i < n; i++) {
        if ((p[i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f)
        || (p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] > 0x8f)
        || (p[0] == 0xc2 && p[1] < 0xa0)) {
        return 0; /* overlong, surrogate, beyond U+10FFFF, C1 control */
    }
    return n;
}

char *acme_printable(char *out, apr_size_t size, const char *text, apr_ssize_t len)
{
    const unsigned char *p = (const unsigned char *)(text ? text : "");
    apr_size_t left = len < 0 ? strlen((const char *)p) : (apr_size_t)len;
    apr_size_t used = 0;

    if (size == 0) {
        return out;
    }
    while (left > 0) {
        apr_size_t n = *p < 0x20 || *p == 0x7f ? 0 : utf8_length(p, left);
        apr_size_t take = n ? n : 1;

        if (used + take >= size) {
            break;
        }
        if (n) {
            memcpy(out + used, p, n);
        }
        else {
            out[used] = '?';
        }
        used += take;
        p += take;
        left -= take;
    }
    out[used] = '\0';
    return out;
}

static acme_rv_t record(acme_error_t *err, acme_error_kind_t kind, const char *code,
                        apr_status_t status, const char *fmt, va_list ap)
{
    char text[ACME_ERROR_TEXT], reason[160];

    if (!err || err->kind != ACME_E_NONE) {
        return ACME_FAIL;
    }
    err->kind = kind;
    err->status = status;
    apr_cpystrn(err->code, code ? code : "", sizeof(err->code));
    apr_vsnprintf(text, sizeof(text), fmt, ap);
    if (status != APR_SUCCESS) {
        apr_size_t used = strlen(text);

        apr_strerror(status, reason, sizeof(reason));
        apr_snprintf(text + used, sizeof(text) - used, ": %s", reason);
    }
    acme_printable(err->text, sizeof(err->text), text, -1);
    return ACME_FAIL;
}

acme_rv_t acme_error_set(acme_error_t *err, acme_error_kind_t kind, const char *code,
                         const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    record(err, kind, code, APR_SUCCESS, fmt, ap);
    va_end(ap);
    return ACME_FAIL;
}

acme_rv_t acme_error_system(acme_error_t *err, acme_error_kind_t kind, const char *code,
                            apr_status_t status, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    record(err, kind, code, status, fmt, ap);
    va_end(ap);
    return ACME_FAIL;
}

acme_rv_t acme_error_prefix(acme_error_t *err, const char *fmt, ...)
{
    char text[ACME_ERROR_TEXT], whole[2 * ACME_ERROR_TEXT + 3];
    va_list ap;

    if (!err) {
        return ACME_FAIL;
    }
    va_start(ap, fmt);
    apr_vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    apr_snprintf(whole, sizeof(whole), "%s: %s", text, err->text);
    acme_printable(err->text, sizeof(err->text), whole, -1);
    return ACME_FAIL;
}

const char *acme_error_kind_name(acme_error_kind_t kind)
{
    static const char *const names[] = {
        [ACME_E_NONE] = "none", [ACME_E_INTERNAL] = "internal", [ACME_E_CONFIG] = "config",
        [ACME_E_SYSTEM] = "system", [ACME_E_NETWORK] = "network", [ACME_E_TLS] = "tls",
        [ACME_E_HTTP] = "http", [ACME_E_PROTOCOL] = "protocol", [ACME_E_PROBLEM] = "problem",
        [ACME_E_CHALLENGE] = "challenge", [ACME_E_CERTIFICATE] = "certificate",
        [ACME_E_STORE] = "store", [ACME_E_SECURITY] = "security", [ACME_E_STOPPED] = "stopped",
    };

    return (apr_size_t)kind < sizeof(names) / sizeof(names[0]) ? names[kind] : "unknown";
}
