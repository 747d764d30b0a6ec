/* Licensed under the Apache License, Version 2.0; see LICENSE. */

#include "base/url.h"

#include <string.h>

#include <apr_strings.h>

#include "base/codec.h"
#include "base/name.h"

static acme_rv_t refuse(acme_error_t *err, const char *text, const char *why)
{
    char shown[200];

    return acme_error_set(err, ACME_E_PROTOCOL, "AC0181", "URL \"%s\": %s",
                          acme_printable(shown, sizeof(shown), text, -1), why);
}

static int characters_ok(const char *text)
{
    const unsigned char *p;

    for (p = (const unsigned char *)text; *p; p++) {
        if (*p <= 0x20 || *p >= 0x7f || strchr("\"<>\\^`{|}", *p)) {
            return 0;
        }
    }
    return 1;
}

static const char *split_port(acme_url_t *url, char *authority)
{
    char *end = *authority == '[' ? strchr(authority, ']') : authority;
    char *colon = end ? strchr(end, ':') : NULL;
    apr_int64_t port = 443;

    if (!end) {
        return "unclosed [";
    }
    if (*authority == '[' && end[1] && end[1] != ':') {
        return "garbage after ]";
    }
    if (colon) {
        if (acme_scan_number(&port, colon + 1, strlen(colon + 1), 5, NULL) != ACME_OK || port < 1
            || port > 65535) {
            return "port out of range";
        }
        *colon = '\0';
    }
    url->port = (apr_port_t)port;
    return NULL;
}

acme_rv_t acme_url_parse(acme_url_t **out, const char *text, apr_pool_t *pool, acme_error_t *err)
{
    acme_url_t *url = apr_pcalloc(pool, sizeof(*url));
    acme_name_kind_t kind;
    const char *rest, *why;
    char *authority;
    apr_size_t len;

    if (!text) {
        return refuse(err, text, "missing");
    }
    if (strlen(text) > ACME_URL_MAX) {
        return refuse(err, text, "longer than 8192 bytes");
    }
    if (!characters_ok(text)) {
        return refuse(err, text, "holds characters that no URL may hold");
    }
    if (acme_ascii_ncasecmp(text, "https://", 8) != 0) {
        return refuse(err, text, "not https");
    }
    rest = text + 8;
    len = strcspn(rest, "/?#");
    if (strchr(rest, '#') || memchr(rest, '@', len)) {
        return refuse(err, text, "fragment or user information");
    }
    url->text = apr_pstrdup(pool, text);
    url->authority = apr_pstrmemdup(pool, rest, len);
    authority = apr_pstrmemdup(pool, rest, len);
    why = split_port(url, authority);
    if (why) {
        return refuse(err, text, why);
    }
    if (acme_name_normalize(&url->host, &kind, authority, pool, NULL) != ACME_OK
        || kind == ACME_NAME_WILDCARD || (kind == ACME_NAME_IP6) != (*authority == '[')) {
        return refuse(err, text, "malformed host");
    }
    url->is_ip = kind == ACME_NAME_IP4 || kind == ACME_NAME_IP6;
    rest += len;
    url->path = *rest == '/' ? apr_pstrdup(pool, rest) : apr_pstrcat(pool, "/", rest, NULL);
    *out = url;
    return ACME_OK;
}

int acme_url_same_origin(const acme_url_t *a, const acme_url_t *b)
{
    return a->port == b->port && strcmp(a->host, b->host) == 0;
}

/* RFC 3986 section 5.2.4 on a path without query. */
static char *without_dots(const char *path, apr_pool_t *pool)
{
    char *out = apr_palloc(pool, strlen(path) + 2);
    apr_size_t n = 0;

    while (*path) {
        apr_size_t len = strcspn(path + 1, "/") + 1; /* "/segment" */

        if ((len == 2 && strncmp(path, "/.", 2) == 0)
            || (len == 3 && strncmp(path, "/..", 3) == 0)) {
            while (len == 3 && n > 0 && out[--n] != '/') {
            }
            if (path[len] == '\0') {
                out[n++] = '/';
            }
        }
        else {
            memcpy(out + n, path, len);
            n += len;
        }
        path += len;
    }
    out[n] = '\0';
    return n ? out : apr_pstrdup(pool, "/");
}

acme_rv_t acme_url_resolve(acme_url_t **out, const acme_url_t *base, const char *reference,
                           apr_pool_t *pool, acme_error_t *err)
{
    const char *query, *path, *dir;
    apr_size_t scheme = strcspn(reference, ":/?#");

    if (reference[scheme] == ':' && scheme > 0) {
        return acme_url_parse(out, reference, pool, err);
    }
    if (strncmp(reference, "//", 2) == 0) {
        return acme_url_parse(out, apr_pstrcat(pool, "https:", reference, NULL), pool, err);
    }
    query = reference + strcspn(reference, "?");
    path = apr_pstrmemdup(pool, reference, (apr_size_t)(query - reference));
    dir = apr_pstrmemdup(pool, base->path, strcspn(base->path, "?"));
    if (*path == '\0') {
        path = dir;
        query = *query ? query : base->path + strcspn(base->path, "?");
    }
    else if (*path == '/') {
        path = without_dots(path, pool);
    }
    else {
        dir = apr_pstrmemdup(pool, dir, (apr_size_t)(strrchr(dir, '/') - dir + 1));
        path = without_dots(apr_pstrcat(pool, dir, path, NULL), pool);
    }
    return acme_url_parse(out, apr_pstrcat(pool, "https://", base->authority, path, query, NULL),
                          pool, err);
}
