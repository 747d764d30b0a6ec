/* Licensed under the Apache License, Version 2.0; see LICENSE. */

#include "base/idn.h"

#include <string.h>

#include <apr_strings.h>
#include <idn2.h>

#include "base/error.h"
#include "base/name.h"

#define TEXT_MAX (4 * ACME_NAME_MAX) /* of UTF-8 that could be a name */
#define ACE "xn--"

int acme_idn_is_ascii(const char *text)
{
    const unsigned char *p = (const unsigned char *)text;

    while (*p && *p < 0x80) {
        p++;
    }
    return *p == '\0';
}

static const char *fault_of(int rc)
{
    switch (rc) {
    case IDN2_TOO_BIG_LABEL:
    case IDN2_PUNYCODE_BIG_OUTPUT:
        return "a label is longer than 63 characters as an A-label";
    case IDN2_TOO_BIG_DOMAIN:
        return "longer than 253 characters as A-labels";
    case IDN2_ENCODING_ERROR:
        return "not UTF-8";
    default:
        return "a character is not allowed by IDNA 2008";
    }
}

const char *acme_idn_to_ascii(const char *text, const char **fault, apr_pool_t *pool)
{
    int wildcard = strncmp(text, "*.", 2) == 0;
    char *ascii = NULL;
    const char *out;
    int rc;

    if (strlen(text) > TEXT_MAX) {
        *fault = fault_of(IDN2_TOO_BIG_DOMAIN);
        return NULL;
    }
    rc = idn2_to_ascii_8z(text + 2 * wildcard, &ascii, IDN2_NFC_INPUT | IDN2_NONTRANSITIONAL);
    if (rc != IDN2_OK) {
        *fault = fault_of(rc);
        return NULL;
    }
    out = apr_pstrcat(pool, wildcard ? "*." : "", ascii, NULL);
    idn2_free(ascii);
    return out;
}

/* An A-label at or behind text, NULL: none. */
static const char *a_label(const char *text)
{
    while (text && strncmp(text, ACE, strlen(ACE)) != 0) {
        text = strchr(text, '.');
        text = text ? text + 1 : NULL;
    }
    return text;
}

const char *acme_idn_to_unicode(const char *canonical, apr_pool_t *pool)
{
    char shown[4 * ACME_NAME_MAX + 1];
    char *unicode = NULL;
    const char *out = NULL;

    if (a_label(canonical) && idn2_to_unicode_8z8z(canonical, &unicode, 0) == IDN2_OK
        && !acme_idn_is_ascii(unicode)) {
        out = apr_pstrdup(pool, acme_printable(shown, sizeof(shown), unicode, -1));
    }
    idn2_free(unicode);
    return out;
}

int acme_idn_is_broken(const char *canonical)
{
    char *unicode = NULL;
    int rc = a_label(canonical) ? idn2_to_unicode_8z8z(canonical, &unicode, 0) : IDN2_OK;

    idn2_free(unicode);
    return rc != IDN2_OK;
}
