/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#include "protocol/record.h"

#include <stdlib.h>
#include <string.h>

#include <apr_strings.h>

#include "base/codec.h"
#include "base/json.h"
#include "base/time.h"
#include "crypto/digest.h"

#define MAGIC "acme1 "
#define MAGIC_LEN 6
#define HEX_LEN (ACME_SHA256_HEX - 1)
#define TIME_LEN (ACME_TIME_TEXT - 1)
#define SEQ_DIGITS 18
#define LENGTH_DIGITS 7

static const char *const type_names[] = {
    [ACME_REC_ORDER] = "order",
    [ACME_REC_ATTEMPT] = "attempt",
    [ACME_REC_ARI] = "ari",
    [ACME_REC_KEY] = "key",
    [ACME_REC_CERTIFICATE] = "certificate",
    [ACME_REC_LIVE] = "live",
    [ACME_REC_CLEANUP] = "cleanup",
    [ACME_REC_ACCOUNT] = "account",
    [ACME_REC_ROLLOVER] = "rollover",
    [ACME_REC_NOTIFY] = "notify",
};

const char *acme_record_type_name(acme_record_type_t type)
{
    return (unsigned)type < ACME_REC_TYPES ? type_names[type] : "unknown";
}

/* A header line taken apart; everything points into the log. */
typedef struct {
    apr_size_t start;     /* of the line */
    apr_size_t payload;   /* behind its newline */
    const char *id;
    apr_size_t id_len;
    acme_record_type_t type;
    apr_int64_t seq, len;
    const char *digest, *time_text;
    apr_time_t time;
} header_t;

/* ---- grammar of the header line ---- */

static int id_legal(const char *id, apr_size_t len)
{
    apr_size_t i;

    if (len == 0 || len > ACME_RECORD_ID_MAX || id[0] == '.') {
        return 0;
    }
    for (i = 0; i < len; i++) {
        if (id[i] <= ' ' || id[i] > '~' || id[i] == '/' || id[i] == '\\') {
            return 0;
        }
    }
    return 1;
}

/* The bytes up to the next space, at most max of them; 0: no such field. */
static apr_size_t field(const char *at, const char *end, apr_size_t max)
{
    apr_size_t room = (apr_size_t)(end - at);
    const char *space = memchr(at, ' ', room < max + 1 ? room : max + 1);

    return space != NULL ? (apr_size_t)(space - at) : 0;
}

/* Only the one way to write a number is taken, so that equal records are equal bytes. */
static const char *number(apr_int64_t *out, const char *at, const char *end, int digits)
{
    apr_size_t len = field(at, end, (apr_size_t)digits);

    if (len == 0 || (len > 1 && at[0] == '0')
        || acme_scan_number(out, at, len, digits, NULL) != ACME_OK) {
        return NULL;
    }
    return at + len + 1;
}

static const char *type_field(acme_record_type_t *out, const char *at, const char *end)
{
    apr_size_t len = field(at, end, 16);
    int type;

    for (type = 0; type < ACME_REC_TYPES && len > 0; type++) {
        if (strlen(type_names[type]) == len && memcmp(type_names[type], at, len) == 0) {
            *out = (acme_record_type_t)type;
            return at + len + 1;
        }
    }
    return NULL;
}

/* Digest, space, time, newline. */
static int header_tail(header_t *h, const char *at, const char *end)
{
    if (end - at < HEX_LEN + 1 + TIME_LEN + 1 || at[HEX_LEN] != ' '
        || at[HEX_LEN + 1 + TIME_LEN] != '\n') {
        return 0;
    }
    h->digest = at;
    h->time_text = at + HEX_LEN + 1;
    return acme_time_parse_rfc3339(&h->time, h->time_text, TIME_LEN) == ACME_OK;
}

static int header_parse(header_t *h, const char *data, apr_size_t start, apr_size_t size)
{
    const char *end = data + size;
    const char *at = data + start + MAGIC_LEN;

    if (size - start < MAGIC_LEN || memcmp(data + start, MAGIC, MAGIC_LEN) != 0) {
        return 0;
    }
    h->start = start;
    h->id = at;
    h->id_len = field(at, end, ACME_RECORD_ID_MAX);
    if (!id_legal(h->id, h->id_len)) {
        return 0;
    }
    at = type_field(&h->type, at + h->id_len + 1, end);
    if (at != NULL) {
        at = number(&h->seq, at, end, SEQ_DIGITS);
    }
    if (at != NULL) {
        at = number(&h->len, at, end, LENGTH_DIGITS);
    }
    if (at == NULL || h->seq < 1 || h->len > ACME_RECORD_PAYLOAD_MAX || !header_tail(h, at, end)) {
        return 0;
    }
    h->payload = (apr_size_t)(h->time_text - data) + TIME_LEN + 1;
    return 1;
}

/* The next header at or behind `from`, wherever it stands: the one behind a torn append does not
 * begin a line. */
static int header_find(header_t *h, const char *data, apr_size_t from, apr_size_t size)
{
    const char *at;

    while (from < size) {
        at = memchr(data + from, MAGIC[0], size - from);
        if (at == NULL) {
            return 0;
        }
        from = (apr_size_t)(at - data);
        if (header_parse(h, data, from, size)) {
            return 1;
        }
        from++;
    }
    return 0;
}

/* ---- the digest ---- */

/* The parts are hashed as one, in a copy that is wiped: the payload may be a key. */
static int digest_of(char hex[ACME_SHA256_HEX], const char *head, apr_size_t head_len,
                     const char *time_text, const char *payload, apr_size_t len)
{
    apr_size_t total = head_len + TIME_LEN + len;
    char *all = malloc(total);

    if (all == NULL) {
        return 0;
    }
    memcpy(all, head, head_len);
    memcpy(all + head_len, time_text, TIME_LEN);
    if (len > 0) {
        memcpy(all + head_len + TIME_LEN, payload, len);
    }
    acme_sha256_hex(hex, all, total);
    acme_cleanse(all, total);
    free(all);
    return 1;
}

static int intact(const header_t *h, const char *data)
{
    const char *head = data + h->start;
    char hex[ACME_SHA256_HEX];

    return digest_of(hex, head, (apr_size_t)(h->digest - head), h->time_text, data + h->payload,
                     (apr_size_t)h->len)
           && memcmp(hex, h->digest, HEX_LEN) == 0;
}

/* ---- writing ---- */

acme_rv_t acme_record_encode(const char **bytes, apr_size_t *len, const acme_record_t *record,
                             apr_pool_t *pool, acme_error_t *err)
{
    char hex[ACME_SHA256_HEX], when[ACME_TIME_TEXT];
    const char *head;
    apr_size_t head_len, at;
    header_t inner;
    char *out;

    if (record->id == NULL || !id_legal(record->id, strlen(record->id)) || record->seq < 1
        || record->seq > APR_INT64_C(999999999999999999)
        || (unsigned)record->type >= ACME_REC_TYPES) {
        return acme_error_set(err, ACME_E_STORE, "AC0611",
                              "a record with this id, type or number cannot be written");
    }
    if (record->len > ACME_RECORD_PAYLOAD_MAX) {
        return acme_error_set(err, ACME_E_STORE, "AC0612",
                              "%s: a record of %" APR_SIZE_T_FMT " bytes is too long", record->id,
                              record->len);
    }
    acme_time_format(when, record->time);
    head = apr_psprintf(pool, MAGIC "%s %s %" APR_INT64_T_FMT " %" APR_SIZE_T_FMT " ", record->id,
                        type_names[record->type], record->seq, record->len);
    head_len = strlen(head);
    if (!digest_of(hex, head, head_len, when, record->payload, record->len)) {
        return acme_error_set(err, ACME_E_INTERNAL, "AC0613", "%s: out of memory", record->id);
    }
    at = head_len + HEX_LEN + 1 + TIME_LEN + 1;
    *len = at + record->len + 1;
    out = apr_palloc(pool, *len + 1);
    memcpy(out, apr_pstrcat(pool, head, hex, " ", when, "\n", NULL), at);
    if (record->len > 0) {
        memcpy(out + at, record->payload, record->len);
    }
    memcpy(out + at + record->len, "\n", 2);
    if (header_find(&inner, out, at, *len)) {
        acme_cleanse(out, *len);
        return acme_error_set(err, ACME_E_STORE, "AC0614",
                              "%s: a record cannot hold another record", record->id);
    }
    *bytes = out;
    return ACME_OK;
}

/* ---- reading ---- */

static void note(int *damaged, int is)
{
    if (is && damaged != NULL) {
        *damaged = 1;
    }
}

/* A record never holds another one's header. So a header inside what another claims as its payload
 * shows that this one is torn, no byte is hashed twice, and the cost stays linear whatever lengths
 * a hostile log claims. */
static int whole(const header_t *h, const char *data, apr_size_t size)
{
    apr_size_t rest = size - h->payload;
    header_t inner;

    if ((apr_size_t)h->len >= rest || data[h->payload + (apr_size_t)h->len] != '\n') {
        return 0;
    }
    if (header_find(&inner, data, h->payload, size)
        && inner.start < h->payload + (apr_size_t)h->len) {
        return 0;
    }
    return intact(h, data);
}

acme_rv_t acme_record_next(acme_record_t *out, apr_size_t *state, const char *data, apr_size_t len,
                           int *damaged, apr_pool_t *pool)
{
    apr_size_t from = *state;
    header_t h;

    while (header_find(&h, data, from, len)) {
        note(damaged, h.start != from);
        from = h.payload;
        if (whole(&h, data, len)) {
            out->id = apr_pstrmemdup(pool, h.id, h.id_len);
            out->type = h.type;
            out->seq = h.seq;
            out->time = h.time;
            out->payload = data + h.payload;
            out->len = (apr_size_t)h.len;
            out->raw = data + h.start;
            out->raw_len = h.payload - h.start + out->len + 1;
            *state = h.start + out->raw_len;
            return ACME_OK;
        }
        note(damaged, 1);
    }
    note(damaged, from < len);
    *state = len;
    return ACME_AGAIN;
}

void acme_record_collect(acme_record_set_t *set, const char *id, const char *data, apr_size_t len,
                         apr_pool_t *pool)
{
    acme_record_t rec;
    apr_size_t state = 0;

    memset(set, 0, sizeof(*set));
    while (acme_record_next(&rec, &state, data, len, &set->damaged, pool) == ACME_OK) {
        if (strcmp(rec.id, id) != 0) {
            continue;
        }
        if (!set->present[rec.type] || rec.seq >= set->rec[rec.type].seq) {
            set->rec[rec.type] = rec;
            set->present[rec.type] = 1;
        }
        if (rec.seq > set->last_seq) {
            set->last_seq = rec.seq;
        }
    }
}

void acme_record_merge(acme_record_set_t *a, const acme_record_set_t *b)
{
    int type;

    for (type = 0; type < ACME_REC_TYPES; type++) {
        if (b->present[type] && (!a->present[type] || b->rec[type].seq > a->rec[type].seq)) {
            a->rec[type] = b->rec[type];
            a->present[type] = 1;
        }
    }
    if (b->last_seq > a->last_seq) {
        a->last_seq = b->last_seq;
    }
    a->damaged = a->damaged || b->damaged;
}

/* ---- what stands beside a chain ---- */

static const char *or_empty(const char *text)
{
    return text != NULL ? text : "";
}

const char *acme_certificate_payload(apr_size_t *len, const acme_issued_t *issued,
                                     const char *chain_pem, apr_pool_t *pool)
{
    acme_json_t *json = acme_json_new_object(pool);
    char when[ACME_TIME_TEXT];
    const char *line, *out;

    acme_json_set_string(json, "key", or_empty(issued->key_digest));
    acme_json_set_string(json, "directory", or_empty(issued->directory));
    acme_json_set_string(json, "spec", or_empty(issued->spec_digest));
    acme_json_set_string(json, "challenge", or_empty(issued->challenge));
    if (issued->left_out != NULL && issued->left_out->nelts > 0) {
        acme_json_set(json, "leftOut", acme_json_names(issued->left_out, pool));
    }
    acme_json_set_string(json, "issued", acme_time_format(when, issued->issued));
    line = acme_json_dump(json, pool);
    out = apr_pstrcat(pool, line != NULL ? line : "{}", "\n", or_empty(chain_pem), NULL);
    *len = strlen(out);
    return out;
}

acme_rv_t acme_certificate_payload_parse(acme_issued_t *issued, const char **chain,
                                         apr_size_t *chain_len, const char *payload, apr_size_t len,
                                         apr_pool_t *pool, acme_error_t *err)
{
    const char *newline = len > 0 ? memchr(payload, '\n', len) : NULL;
    apr_size_t line_len = newline != NULL ? (apr_size_t)(newline - payload) : len;
    const char *when;
    acme_json_t *json;

    memset(issued, 0, sizeof(*issued));
    if (acme_json_parse(&json, payload, line_len, "certificate record", pool, err) != ACME_OK
        || acme_json_get_string(&issued->key_digest, json, "key", ACME_JSON_REQUIRED, err)
        || acme_json_get_string(&issued->directory, json, "directory", ACME_JSON_REQUIRED, err)
        || acme_json_get_string(&issued->spec_digest, json, "spec", ACME_JSON_REQUIRED, err)
        || acme_json_get_string(&issued->challenge, json, "challenge", ACME_JSON_OPTIONAL, err)
        || acme_json_get_names(&issued->left_out, json, "leftOut", pool, err)
        || acme_json_get_string(&when, json, "issued", ACME_JSON_REQUIRED, err)) {
        return ACME_FAIL;
    }
    if (acme_time_parse_rfc3339(&issued->issued, when, strlen(when)) != ACME_OK) {
        return acme_error_set(err, ACME_E_STORE, "AC0615",
                              "certificate record: \"issued\" is not a time");
    }
    issued->challenge = or_empty(issued->challenge);
    *chain_len = newline != NULL ? len - line_len - 1 : 0;
    *chain = payload + (len - *chain_len);
    return ACME_OK;
}
