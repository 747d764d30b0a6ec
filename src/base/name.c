/* Licensed under the Apache License, Version 2.0; see LICENSE. */

#include "base/name.h"

#include <arpa/inet.h>
#include <string.h>

#include <apr_hash.h>
#include <apr_strings.h>

#include "base/codec.h"
#include "base/idn.h"

#define LABEL_MAX 63

static int is_ip4(const char *text)
{
    struct in_addr address;

    return inet_pton(AF_INET, text, &address) == 1;
}

static int is_ip6(const char *text, char out[INET6_ADDRSTRLEN])
{
    struct in6_addr address;

    return inet_pton(AF_INET6, text, &address) == 1
           && inet_ntop(AF_INET6, &address, out, INET6_ADDRSTRLEN) != NULL;
}

static int only_digits_and_dots(const char *text)
{
    return text[strspn(text, "0123456789.")] == '\0';
}

static const char *label_fault(const char *label, apr_size_t len)
{
    apr_size_t i;

    if (len == 0) {
        return "empty label";
    }
    if (len > LABEL_MAX) {
        return "a label is longer than 63 characters";
    }
    if (label[0] == '-' || label[len - 1] == '-') {
        return "a label begins or ends with a hyphen";
    }
    for (i = 0; i < len; i++) {
        int c = label[i];

        if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-')) {
            return c == '_' ? "underscores are not allowed" : "a character is not allowed";
        }
    }
    return NULL;
}

/* name: lower case, no trailing dot, no "*.". */
static const char *labels_fault(const char *name)
{
    const char *fault = NULL;

    do {
        apr_size_t len = strcspn(name, ".");

        fault = label_fault(name, len);
        name += len;
    } while (!fault && *name++ == '.');
    return fault;
}

static const char *dns_fault(char *name, acme_name_kind_t *kind)
{
    apr_size_t len = strlen(name);
    const char *rest = name;

    if (len > 1 && name[len - 1] == '.') {
        name[--len] = '\0';
    }
    if (len == 0) {
        return "empty";
    }
    if (len > ACME_NAME_MAX) {
        return "longer than 253 characters";
    }
    *kind = ACME_NAME_DNS;
    if (strncmp(name, "*.", 2) == 0) {
        *kind = ACME_NAME_WILDCARD;
        rest = name + 2;
        if (!strchr(rest, '.')) {
            return "a wildcard needs two labels behind it";
        }
    }
    if (only_digits_and_dots(rest)) {
        return "not an IPv4 address";
    }
    return labels_fault(rest);
}

acme_rv_t acme_name_normalize(const char **out, acme_name_kind_t *kind, const char *text,
                              apr_pool_t *pool, acme_error_t *err)
{
    char address[INET6_ADDRSTRLEN], shown[120];
    char *name = apr_pstrdup(pool, text);
    apr_size_t i, len = strlen(name);
    const char *fault = NULL, *ascii;

    if (len > 2 && name[0] == '[' && name[len - 1] == ']') {
        name[len - 1] = '\0';
        name++;
        if (!is_ip6(name, address)) {
            name = (char *)"";
        }
    }
    if (is_ip6(name, address)) {
        *kind = ACME_NAME_IP6;
        *out = apr_pstrdup(pool, address);
        return ACME_OK;
    }
    if (is_ip4(name)) {
        *kind = ACME_NAME_IP4;
        *out = name;
        return ACME_OK;
    }
    if (!acme_idn_is_ascii(name)) {
        ascii = acme_idn_to_ascii(name, &fault, pool);
        name = apr_pstrdup(pool, ascii ? ascii : "");
    }
    for (i = 0; name[i]; i++) {
        name[i] = (char)acme_ascii_tolower((unsigned char)name[i]);
    }
    fault = fault ? fault : dns_fault(name, kind);
    if (fault) {
        return acme_error_set(err, ACME_E_CONFIG, "AC0107", "\"%s\" is not a name: %s",
                              acme_printable(shown, sizeof(shown), text, -1), fault);
    }
    *out = name;
    return ACME_OK;
}

static int has_suffix(const char *name, const char *suffix)
{
    apr_size_t a = strlen(name), b = strlen(suffix);

    return a >= b && strcmp(name + a - b, suffix) == 0
           && (a == b || name[a - b - 1] == '.');
}

/* The IANA registries of special-purpose addresses: what nobody can prove to hold. */
static const struct {
    apr_uint32_t net;
    int bits;
} special_ip4[] = {
    {0x00000000, 8},  /* this network */
    {0x0a000000, 8},  /* private */
    {0x64400000, 10}, /* shared */
    {0x7f000000, 8},  /* loopback */
    {0xa9fe0000, 16}, /* link-local */
    {0xac100000, 12}, /* private */
    {0xc0000000, 24}, /* protocol assignments */
    {0xc0000200, 24}, /* documentation */
    {0xc0586300, 24}, /* 6to4 relays */
    {0xc0a80000, 16}, /* private */
    {0xc6120000, 15}, /* benchmarks */
    {0xc6336400, 24}, /* documentation */
    {0xcb007100, 24}, /* documentation */
    {0xe0000000, 3},  /* multicast, reserved, broadcast */
};

static int private_ip4(const char *name)
{
    struct in_addr address;
    apr_uint32_t n;
    apr_size_t i;

    if (inet_pton(AF_INET, name, &address) != 1) {
        return 1;
    }
    n = ntohl(address.s_addr);
    for (i = 0; i < sizeof(special_ip4) / sizeof(special_ip4[0]); i++) {
        if ((n ^ special_ip4[i].net) >> (32 - special_ip4[i].bits) == 0) {
            return 1;
        }
    }
    return 0;
}

/* Only global unicast, 2000::/3, can be certified; within it not 2001::/23 (protocol
 * assignments), 2001:db8::/32 and 3fff::/20 (documentation), 2002::/16 (6to4). */
static int private_ip6(const char *name)
{
    struct in6_addr address;
    const unsigned char *b = address.s6_addr;
    apr_uint32_t high;

    if (inet_pton(AF_INET6, name, &address) != 1) {
        return 1;
    }
    high = (apr_uint32_t)b[0] << 24 | (apr_uint32_t)b[1] << 16 | (apr_uint32_t)b[2] << 8 | b[3];
    return high >> 29 != 1 || high >> 9 == 0x20010000u >> 9 || high == 0x20010db8u
           || high >> 12 == 0x3fff0000u >> 12 || high >> 16 == 0x2002u;
}

const char *acme_name_uncertifiable(const char *name, acme_name_kind_t kind, int public_ca)
{
    static const char *const special[] = {"localhost", "local", "test", "invalid", "internal",
                                          "example", "onion", "home.arpa"};
    apr_size_t i;

    if (strcmp(name, "localhost") == 0) {
        return "localhost is nobody's name";
    }
    if (!public_ca) {
        return NULL;
    }
    switch (kind) {
    case ACME_NAME_IP4:
        return private_ip4(name) ? "a private or special-use address" : NULL;
    case ACME_NAME_IP6:
        return private_ip6(name) ? "a private or special-use address" : NULL;
    case ACME_NAME_DNS:
    case ACME_NAME_WILDCARD:
        break;
    }
    if (acme_idn_is_broken(name)) {
        return "a label begins with xn-- and is no A-label";
    }
    if (!strchr(name, '.')) {
        return "a name without a dot is known to no public CA";
    }
    for (i = 0; i < sizeof(special) / sizeof(special[0]); i++) {
        if (has_suffix(name, special[i])) {
            return "a special-use name, known to no public CA";
        }
    }
    return NULL;
}

int acme_name_covers(const char *pattern, const char *host)
{
    const char *rest;

    if (acme_ascii_casecmp(pattern, host) == 0) {
        return 1;
    }
    if (strncmp(pattern, "*.", 2) != 0) {
        return 0;
    }
    rest = strchr(host, '.');
    return rest && rest != host && acme_name_kind(host) == ACME_NAME_DNS
           && acme_ascii_casecmp(pattern + 1, rest) == 0;
}

acme_name_kind_t acme_name_kind(const char *canonical)
{
    if (strncmp(canonical, "*.", 2) == 0) {
        return ACME_NAME_WILDCARD;
    }
    if (strchr(canonical, ':')) {
        return ACME_NAME_IP6;
    }
    return is_ip4(canonical) ? ACME_NAME_IP4 : ACME_NAME_DNS;
}

const char *acme_name_file(const char *canonical, apr_pool_t *pool)
{
    acme_name_kind_t kind = acme_name_kind(canonical);
    char *out = kind == ACME_NAME_WILDCARD ? apr_pstrcat(pool, "_wildcard", canonical + 1, NULL)
                : kind == ACME_NAME_DNS ? apr_pstrdup(pool, canonical)
                : apr_pstrcat(pool, "ip-", canonical, NULL);
    char *p;

    for (p = out; *p; p++) {
        if (*p == ':' || *p == '/' || (p == out && *p == '.')) {
            *p = '-';
        }
    }
    return out;
}

const char *acme_name_reverse(const char *ip, apr_pool_t *pool)
{
    struct in6_addr six;
    struct in_addr four;
    const unsigned char *b;
    char *out, *p;
    int i;

    if (inet_pton(AF_INET, ip, &four) == 1) {
        b = (const unsigned char *)&four.s_addr;
        return apr_psprintf(pool, "%u.%u.%u.%u.in-addr.arpa", b[3], b[2], b[1], b[0]);
    }
    if (inet_pton(AF_INET6, ip, &six) != 1) {
        return ip;
    }
    out = p = apr_palloc(pool, 32 * 2 + sizeof("ip6.arpa"));
    for (i = 15; i >= 0; i--) {
        p += apr_snprintf(p, 5, "%x.%x.", six.s6_addr[i] & 15, six.s6_addr[i] >> 4);
    }
    memcpy(p, "ip6.arpa", sizeof("ip6.arpa"));
    return out;
}

int acme_names_contain(const apr_array_header_t *names, const char *name)
{
    int i;

    for (i = 0; i < names->nelts; i++) {
        if (strcmp(APR_ARRAY_IDX(names, i, const char *), name) == 0) {
            return 1;
        }
    }
    return 0;
}

/* The parents of the wildcards of a set: ".x" for "*.x". */
static apr_hash_t *parents_of(const apr_array_header_t *names)
{
    apr_hash_t *parents = apr_hash_make(names->pool);
    int i;

    for (i = 0; i < names->nelts; i++) {
        const char *name = APR_ARRAY_IDX(names, i, const char *);

        if (acme_name_kind(name) == ACME_NAME_WILDCARD) {
            apr_hash_set(parents, name + 1, APR_HASH_KEY_STRING, name);
        }
    }
    return parents;
}

int acme_names_drop_covered(apr_array_header_t *names)
{
    apr_hash_t *parents = parents_of(names);
    int i, n = names->nelts, kept = 0;

    for (i = 0; apr_hash_count(parents) > 0 && i < n; i++) {
        const char *name = APR_ARRAY_IDX(names, i, const char *);
        const char *dot = strchr(name, '.');

        if (!dot || acme_name_kind(name) != ACME_NAME_DNS
            || !apr_hash_get(parents, dot, APR_HASH_KEY_STRING)) {
            APR_ARRAY_IDX(names, kept++, const char *) = name;
        }
    }
    names->nelts = apr_hash_count(parents) > 0 ? kept : n;
    return n - names->nelts;
}

const apr_array_header_t *acme_names_copy(const apr_array_header_t *names, apr_pool_t *pool)
{
    apr_array_header_t *copy;
    int i;

    if (names == NULL) {
        return NULL;
    }
    copy = apr_array_make(pool, names->nelts, sizeof(const char *));
    for (i = 0; i < names->nelts; i++) {
        APR_ARRAY_PUSH(copy, const char *)
            = apr_pstrdup(pool, APR_ARRAY_IDX(names, i, const char *));
    }
    return copy;
}

int acme_names_include(const apr_array_header_t *names, const apr_array_header_t *part)
{
    int i;

    for (i = 0; i < part->nelts; i++) {
        if (!acme_names_contain(names, APR_ARRAY_IDX(part, i, const char *))) {
            return 0;
        }
    }
    return 1;
}

int acme_names_equal(const apr_array_header_t *a, const apr_array_header_t *b)
{
    return acme_names_include(a, b) && acme_names_include(b, a);
}
