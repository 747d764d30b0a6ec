/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#include "protocol/dns.h"

#include <string.h>

#include <apr_strings.h>

#include "base/codec.h"
#include "base/name.h"

#define HEADER 12
#define LABEL_MAX 63
#define LABELS_MAX 128 /* of one name, compression pointers included */
#define FLAG_RESPONSE 0x8000
#define FLAG_TRUNCATED 0x0200
#define FLAG_RECURSE 0x0100
#define CLASS_IN 1

typedef struct {
    const unsigned char *data;
    apr_size_t len;
    apr_size_t at;
} reader_t;

static void put16(unsigned char *out, unsigned value)
{
    out[0] = (unsigned char)(value >> 8 & 0xff);
    out[1] = (unsigned char)(value & 0xff);
}

static unsigned get16(const unsigned char *in)
{
    return (unsigned)in[0] << 8 | in[1];
}

/* ---- questions ---- */

/* Returns the bytes written, 0: not a name. */
static apr_size_t put_name(unsigned char *out, const char *name)
{
    apr_size_t used = 0;

    if (*name == '\0' || strlen(name) > ACME_DNS_NAME_MAX) {
        return 0;
    }
    while (*name != '\0') {
        apr_size_t len = strcspn(name, ".");

        if (len == 0 || len > LABEL_MAX) {
            return 0;
        }
        out[used] = (unsigned char)len;
        memcpy(out + used + 1, name, len);
        used += len + 1;
        name += len;
        if (*name == '.' && *++name == '\0') {
            return 0;
        }
    }
    out[used] = 0;
    return used + 1;
}

apr_size_t acme_dns_query(unsigned char out[ACME_DNS_QUERY_MAX], apr_uint16_t id, const char *name,
                          acme_dns_type_t type, int recurse)
{
    apr_size_t used;

    memset(out, 0, HEADER);
    put16(out, id);
    put16(out + 2, recurse ? FLAG_RECURSE : 0);
    put16(out + 4, 1);
    used = put_name(out + HEADER, name);
    if (used == 0) {
        return 0;
    }
    put16(out + HEADER + used, (unsigned)type);
    put16(out + HEADER + used + 2, CLASS_IN);
    return HEADER + used + 4;
}

/* ---- names in replies ---- */

static int name_byte(unsigned char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-'
           || c == '_' || c == '/' || c == '*';
}

/* One label. *plain becomes 0 when it has bytes that no name of ours has. */
static apr_size_t add_label(char *out, apr_size_t used, const unsigned char *label, apr_size_t len,
                            int *plain)
{
    apr_size_t i;

    if (used > 0) {
        out[used++] = '.';
    }
    for (i = 0; i < len; i++) {
        *plain = *plain && name_byte(label[i]);
        out[used++] = (char)acme_ascii_tolower(label[i]);
    }
    return used;
}

/* Leaves the reader behind the name. *out is NULL when the name is sound but not plain. */
static acme_rv_t get_name(const char **out, reader_t *r, apr_pool_t *pool)
{
    char text[ACME_DNS_NAME_MAX + 2];
    apr_size_t at = r->at, used = 0;
    int jumped = 0, plain = 1, n;

    for (n = 0; n < LABELS_MAX; n++) {
        unsigned c = at < r->len ? r->data[at] : 0xff;

        if (c == 0) {
            r->at = jumped ? r->at : at + 1;
            *out = plain ? apr_pstrmemdup(pool, text, used) : NULL;
            return ACME_OK;
        }
        if ((c & 0xc0) == 0xc0) {
            apr_size_t to = at + 1 < r->len ? get16(r->data + at) & 0x3fff : r->len;

            r->at = jumped ? r->at : at + 2;
            jumped = 1;
            if (to >= at) {
                return ACME_FAIL;
            }
            at = to;
            continue;
        }
        if (c > LABEL_MAX || at + 1 + c > r->len || used + 1 + c > ACME_DNS_NAME_MAX) {
            return ACME_FAIL;
        }
        used = add_label(text, used, r->data + at + 1, c, &plain);
        at += 1 + c;
    }
    return ACME_FAIL;
}

/* ---- records ---- */

static acme_rv_t get_text(acme_dns_record_t *record, const unsigned char *data, apr_size_t len,
                          apr_pool_t *pool)
{
    char *text = apr_palloc(pool, len + 1);
    apr_size_t at = 0;

    while (at < len) {
        apr_size_t part = data[at];

        if (at + 1 + part > len) {
            return ACME_FAIL;
        }
        memcpy(text + record->text_len, data + at + 1, part);
        record->text_len += part;
        at += 1 + part;
    }
    text[record->text_len] = '\0';
    record->text = text;
    return ACME_OK;
}

/* *use 0: sound, and of no use here. */
static acme_rv_t get_data(acme_dns_record_t *record, const reader_t *r, apr_size_t len, int *use,
                          apr_pool_t *pool)
{
    reader_t name = *r;

    switch (record->type) {
    case ACME_DNS_A:
    case ACME_DNS_AAAA:
        record->address.v6 = record->type == ACME_DNS_AAAA;
        if (len != (record->address.v6 ? 16u : 4u)) {
            return ACME_FAIL;
        }
        memcpy(record->address.bytes, r->data + r->at, len);
        return ACME_OK;
    case ACME_DNS_NS:
    case ACME_DNS_CNAME:
        if (get_name(&record->name, &name, pool) != ACME_OK) {
            return ACME_FAIL;
        }
        *use = record->name != NULL && *record->name != '\0';
        return ACME_OK;
    case ACME_DNS_TXT:
        return get_text(record, r->data + r->at, len, pool);
    case ACME_DNS_SOA:
        return ACME_OK;
    }
    *use = 0;
    return ACME_OK;
}

static acme_rv_t get_record(apr_array_header_t *list, reader_t *r, apr_pool_t *pool)
{
    acme_dns_record_t record;
    apr_size_t len;
    unsigned class;
    int use = 1;

    memset(&record, 0, sizeof(record));
    if (get_name(&record.owner, r, pool) != ACME_OK || r->len - r->at < 10) {
        return ACME_FAIL;
    }
    record.type = (acme_dns_type_t)get16(r->data + r->at);
    class = get16(r->data + r->at + 2);
    len = get16(r->data + r->at + 8);
    r->at += 10;
    if (len > r->len - r->at || get_data(&record, r, len, &use, pool) != ACME_OK) {
        return ACME_FAIL;
    }
    r->at += len;
    if (use && class == CLASS_IN && record.owner != NULL && list->nelts < ACME_DNS_RECORDS_MAX) {
        APR_ARRAY_PUSH(list, acme_dns_record_t) = record;
    }
    return ACME_OK;
}

static acme_rv_t get_section(apr_array_header_t **out, reader_t *r, unsigned n, apr_pool_t *pool)
{
    *out = apr_array_make(pool, 4, sizeof(acme_dns_record_t));
    for (; n > 0; n--) {
        if ((*out)->nelts >= ACME_DNS_RECORDS_MAX || get_record(*out, r, pool) != ACME_OK) {
            return ACME_FAIL;
        }
    }
    return ACME_OK;
}

/* ---- replies ---- */

static int same_name(const char *a, const char *b)
{
    apr_size_t len = strlen(b);

    len -= len > 0 && b[len - 1] == '.';
    return strlen(a) == len && acme_ascii_ncasecmp(a, b, len) == 0;
}

/* Some servers leave the question out of an error. */
static int is_answer(reader_t *r, unsigned questions, const char *name, acme_dns_type_t type,
                     apr_pool_t *pool)
{
    const char *asked;

    if (questions != 1 || get_name(&asked, r, pool) != ACME_OK || r->len - r->at < 4) {
        return 0;
    }
    r->at += 4;
    return asked != NULL && same_name(asked, name)
           && get16(r->data + r->at - 4) == (unsigned)type
           && get16(r->data + r->at - 2) == CLASS_IN;
}

acme_rv_t acme_dns_reply_parse(acme_dns_reply_t **out, const unsigned char *data, apr_size_t len,
                               apr_uint16_t id, const char *name, acme_dns_type_t type,
                               apr_pool_t *pool, acme_error_t *err)
{
    acme_dns_reply_t *reply = apr_pcalloc(pool, sizeof(*reply));
    reader_t r = {data, len, HEADER};
    unsigned flags;

    if (len < HEADER || len > ACME_DNS_MESSAGE_MAX || get16(data) != id
        || !(get16(data + 2) & FLAG_RESPONSE)
        || !is_answer(&r, get16(data + 4), name, type, pool)) {
        return ACME_AGAIN;
    }
    flags = get16(data + 2);
    reply->rcode = (int)(flags & 0xf);
    reply->truncated = (flags & FLAG_TRUNCATED) != 0;
    reply->answers = reply->authority = apr_array_make(pool, 1, sizeof(acme_dns_record_t));
    if (!reply->truncated
        && (get_section(&reply->answers, &r, get16(data + 6), pool) != ACME_OK
            || get_section(&reply->authority, &r, get16(data + 8), pool) != ACME_OK)) {
        return acme_error_set(err, ACME_E_NETWORK, "AC0434", "a DNS reply that cannot be read");
    }
    *out = reply;
    return ACME_OK;
}

const char *acme_dns_rcode_name(int rcode)
{
    static const char *const names[] = {
        "no error", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED", "YXDOMAIN", "YXRRSET",
        "NXRRSET", "NOTAUTH", "NOTZONE"
    };

    return rcode >= 0 && rcode < (int)(sizeof(names) / sizeof(names[0])) ? names[rcode]
                                                                         : "an unknown code";
}

int acme_dns_within(const char *name, const char *zone)
{
    apr_size_t n = strlen(name), z = strlen(zone);

    return z == 0 || (n == z && strcmp(name, zone) == 0)
           || (n > z && name[n - z - 1] == '.' && strcmp(name + n - z, zone) == 0);
}

/* ---- resolv.conf ---- */

static int get_address(const char **out, const char *word, apr_size_t len, apr_pool_t *pool)
{
    acme_name_kind_t kind;

    return acme_name_normalize(out, &kind, apr_pstrmemdup(pool, word, len), pool, NULL) == ACME_OK
           && (kind == ACME_NAME_IP4 || kind == ACME_NAME_IP6);
}

int acme_dns_resolvers(const char *out[ACME_DNS_RESOLVERS_MAX], const char *text, apr_size_t len,
                       apr_pool_t *pool)
{
    static const char word[] = "nameserver";
    const char *end = text + len;
    int n = 0;

    while (text < end && n < ACME_DNS_RESOLVERS_MAX) {
        const char *eol = memchr(text, '\n', (apr_size_t)(end - text));
        const char *stop = eol != NULL ? eol : end;
        const char *at = text + sizeof(word) - 1;
        const char *from;

        if (stop > at && memcmp(text, word, sizeof(word) - 1) == 0 && (*at == ' ' || *at == '\t')) {
            while (at < stop && (*at == ' ' || *at == '\t')) {
                at++;
            }
            for (from = at; at < stop && *at > ' ' && *at != '#' && *at != ';'; at++) {
            }
            n += get_address(&out[n], from, (apr_size_t)(at - from), pool);
        }
        text = stop + 1;
    }
    if (n == 0) {
        out[n++] = "127.0.0.1";
    }
    return n;
}
