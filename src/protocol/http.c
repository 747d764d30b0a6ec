/* Licensed under the Apache License, Version 2.0; see LICENSE. */

#include "protocol/http.h"

#include <string.h>

#include <apr_strings.h>
#include <apr_tables.h>

#include "base/codec.h"

#define SIZE_DIGITS 8     /* of a chunk's size: far more than any cap */
#define NONCE_MAX 256
#define BODY_FIRST 4096   /* first block of a body whose length is not known */
#define START "HTTP/1."
#define START_LEN (sizeof(START) - 1)

typedef enum {
    AT_STATUS,     /* status line, of an interim response or the final one */
    AT_HEADER,
    AT_BODY,       /* left bytes to come */
    AT_BODY_CLOSE, /* everything until the peer closes */
    AT_SIZE,       /* line with the size of a chunk */
    AT_CHUNK,      /* left bytes to come */
    AT_CHUNK_END,  /* the line end behind them */
    AT_TRAILER,
    AT_END,
    AT_FAILURE
} state_t;

struct acme_http_response_t {
    apr_pool_t *pool;
    int head_only;
    apr_size_t body_max;
    state_t state;
    acme_error_t failure;             /* why, in AT_FAILURE */
    int started;

    char line[ACME_HTTP_LINE_MAX + 1];
    apr_size_t line_len;
    int cr;                           /* the line's CR has come */

    int minor;                        /* HTTP/1.minor */
    int status;
    int interim;                      /* interim responses so far */
    int count;                        /* header and trailer lines of this response */
    apr_size_t header_bytes;          /* in all lines of all responses on the way */
    apr_array_header_t *headers;      /* acme_http_header_t */

    int has_length, chunked, close, encoded;
    apr_int64_t length;
    apr_size_t left;                  /* of the body or chunk */

    char *body;
    apr_size_t body_len, body_size;   /* body_size: what is allocated, without the NUL */
};

/* ---- failures: one id for each group ---- */

typedef enum { BAD_START, BAD_HEADER, BAD_FRAMING, TOO_LARGE } fault_t;

static const char *const codes[] = {
    [BAD_START] = "AC0220",
    [BAD_HEADER] = "AC0221",
    [BAD_FRAMING] = "AC0222",
    [TOO_LARGE] = "AC0223",
};

/* The first failure is final: later bytes cannot repair it. */
static acme_rv_t fail(acme_http_response_t *r, fault_t fault, const char *why)
{
    r->state = AT_FAILURE;
    return acme_error_set(&r->failure, ACME_E_HTTP, codes[fault], "HTTP response: %s", why);
}

static acme_rv_t fail_line(acme_http_response_t *r, fault_t fault, const char *why)
{
    char shown[80];

    r->state = AT_FAILURE;
    return acme_error_set(&r->failure, ACME_E_HTTP, codes[fault], "HTTP response: %s: \"%s\"", why,
                          acme_printable(shown, sizeof(shown), r->line, (apr_ssize_t)r->line_len));
}

static acme_rv_t too_large(acme_http_response_t *r)
{
    return fail(r, TOO_LARGE, apr_psprintf(r->pool, "body over %" APR_SIZE_T_FMT " bytes",
                                           r->body_max));
}

/* ---- characters (RFC 9110 section 5.6) ---- */

static int is_alnum(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

static int is_token_char(char c)
{
    return is_alnum(c) || (c && strchr("!#$%&'*+-.^_`|~", c));
}

static int is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static apr_size_t token_length(const char *text)
{
    apr_size_t n = 0;

    while (is_token_char(text[n])) {
        n++;
    }
    return n;
}

static const char *skip_blanks(const char *p)
{
    while (is_blank(*p)) {
        p++;
    }
    return p;
}

/* Is word an element of a list that want separates: "close" in "keep-alive, Close"? */
static int list_has(const char *list, const char *separators, const char *word)
{
    apr_size_t len = strlen(word);

    while (*list) {
        apr_size_t n;

        list += strspn(list, separators);
        n = strcspn(list, separators);
        if (n == len && acme_ascii_ncasecmp(list, word, len) == 0) {
            return 1;
        }
        list += n;
    }
    return 0;
}

/* ---- the request ---- */

/* What an administrator wrote must not end the line. */
static const char *field(const char *name, const char *value, apr_pool_t *pool)
{
    apr_size_t size;
    char *clean;

    if (!value) {
        return "";
    }
    size = strlen(value) + 1;
    clean = acme_printable(apr_palloc(pool, size), size, value, -1);
    return apr_pstrcat(pool, name, ": ", clean, "\r\n", NULL);
}

const char *acme_http_request_bytes(apr_size_t *len, const acme_http_request_t *request,
                                    apr_pool_t *pool)
{
    static const char *const words[] = {
        [ACME_HTTP_GET] = "GET ", [ACME_HTTP_HEAD] = "HEAD ", [ACME_HTTP_POST] = "POST "
    };
    int post = request->method == ACME_HTTP_POST;
    apr_size_t body_len = post && request->body ? request->body_len : 0;
    apr_size_t head_len;
    const char *head;
    char *bytes;

    head = apr_pstrcat(pool, words[request->method], request->url->path, " HTTP/1.1\r\n",
                       field("Host", request->url->authority, pool),
                       field("User-Agent", request->user_agent, pool),
                       field("Accept", request->accept, pool),
                       "Accept-Language: en\r\n",
                       post ? field("Content-Type", request->content_type, pool) : "", NULL);
    if (post) {
        head = apr_psprintf(pool, "%sContent-Length: %" APR_SIZE_T_FMT "\r\n", head, body_len);
    }
    head_len = strlen(head);
    bytes = apr_palloc(pool, head_len + 2 + body_len + 1);
    memcpy(bytes, head, head_len);
    memcpy(bytes + head_len, "\r\n", 2);
    if (body_len > 0) {
        memcpy(bytes + head_len + 2, request->body, body_len);
    }
    *len = head_len + 2 + body_len;
    bytes[*len] = '\0';
    return bytes;
}

/* ---- lines ---- */

/* ACME_OK: the line is complete, without its CR LF and with a NUL. A line ends with both of them:
 * whatever else some take for its end is where two readers begin to differ. */
static acme_rv_t line_byte(acme_http_response_t *r, char c, fault_t fault)
{
    if (r->cr) {
        r->line[r->line_len] = '\0';
        return c == '\n' ? ACME_OK : fail_line(r, fault, "bare CR after");
    }
    if (c == '\r') {
        r->cr = 1;
        return ACME_AGAIN;
    }
    if (c == '\n') {
        return fail_line(r, fault, "bare LF after");
    }
    if (((unsigned char)c < 0x20 && c != '\t') || c == 0x7f) {
        return fail_line(r, fault, "control character after");
    }
    if (r->line_len == ACME_HTTP_LINE_MAX) {
        return fail_line(r, fault, "line over 8192 bytes");
    }
    r->line[r->line_len++] = c;
    return ACME_AGAIN;
}

static void line_begin(acme_http_response_t *r)
{
    r->line_len = 0;
    r->cr = 0;
}

/* ---- status line (RFC 9112 section 4) ---- */

static void response_begin(acme_http_response_t *r)
{
    r->count = 0;
    r->has_length = r->chunked = r->close = r->encoded = 0;
    r->length = 0;
    r->headers = apr_array_make(r->pool, 16, sizeof(acme_http_header_t));
}

/* Some servers leave out the blank in front of an empty reason. */
static acme_rv_t status_line(acme_http_response_t *r)
{
    apr_int64_t status = 0;
    const char *p = r->line + START_LEN;

    if (r->line_len < START_LEN + 5 || p[0] < '0' || p[0] > '9' || p[1] != ' '
        || (p[5] != '\0' && p[5] != ' ') || acme_scan_number(&status, p + 2, 3, 3, NULL) != ACME_OK
        || status < 100 || status > 599) {
        return fail_line(r, BAD_START, "no status line");
    }
    if (status == 101) {
        return fail_line(r, BAD_START, "switches to a protocol nobody asked for");
    }
    r->minor = p[0] - '0';
    r->status = (int)status;
    response_begin(r);
    r->state = AT_HEADER;
    return ACME_AGAIN;
}

/* What is no HTTP is recognised before its first line ends, which may be never. */
static acme_rv_t status_byte(acme_http_response_t *r, char c)
{
    apr_size_t at = r->line_len;
    acme_rv_t rv = line_byte(r, c, BAD_START);

    if (rv == ACME_AGAIN && at < START_LEN && c != START[at]) {
        return fail_line(r, BAD_START, "not HTTP/1");
    }
    return rv == ACME_OK ? status_line(r) : rv;
}

/* ---- framing (RFC 9112 section 6) ---- */

static acme_rv_t take_length(acme_http_response_t *r, const char *value)
{
    apr_int64_t length;

    if (acme_scan_number(&length, value, strlen(value), 18, NULL) != ACME_OK) {
        return fail_line(r, BAD_FRAMING, "length that is no number");
    }
    if (r->has_length && length != r->length) {
        return fail_line(r, BAD_FRAMING, "two different lengths");
    }
    r->has_length = 1;
    r->length = length;
    return ACME_OK;
}

static acme_rv_t take_transfer(acme_http_response_t *r, const char *value)
{
    if (r->chunked || acme_ascii_casecmp(value, "chunked") != 0) {
        return fail_line(r, BAD_FRAMING, "transfer coding other than chunked");
    }
    r->chunked = 1;
    return ACME_OK;
}

static acme_rv_t take_connection(acme_http_response_t *r, const char *value)
{
    r->close |= list_has(value, ", \t", "close");
    return ACME_OK;
}

static acme_rv_t take_encoding(acme_http_response_t *r, const char *value)
{
    r->encoded |= *value && acme_ascii_casecmp(value, "identity") != 0;
    return ACME_OK;
}

static const struct {
    const char *name;
    acme_rv_t (*take)(acme_http_response_t *r, const char *value);
} heeded[] = {
    {"content-length", take_length},
    {"transfer-encoding", take_transfer},
    {"connection", take_connection},
    {"content-encoding", take_encoding},
};

static acme_rv_t heed(acme_http_response_t *r, const char *name, const char *value)
{
    apr_size_t i;

    for (i = 0; i < sizeof(heeded) / sizeof(heeded[0]); i++) {
        if (strcmp(name, heeded[i].name) == 0) {
            return heeded[i].take(r, value);
        }
    }
    return ACME_OK;
}

static acme_rv_t done(acme_http_response_t *r)
{
    if (r->body) {
        r->body[r->body_len] = '\0';
    }
    r->state = AT_END;
    return ACME_OK;
}

static acme_rv_t interim_end(acme_http_response_t *r)
{
    if (++r->interim > ACME_HTTP_INTERIM_MAX) {
        return fail(r, BAD_START, "more than 10 interim responses");
    }
    r->state = AT_STATUS;
    return ACME_AGAIN;
}

static void body_reserve(acme_http_response_t *r, apr_size_t size)
{
    char *body = apr_palloc(r->pool, size + 1);

    if (r->body_len > 0) {
        memcpy(body, r->body, r->body_len);
    }
    r->body = body;
    r->body_size = size;
}

static acme_rv_t body_begin(acme_http_response_t *r)
{
    if (r->encoded) {
        return fail(r, BAD_FRAMING, "content coding that was not asked for");
    }
    if (r->chunked) {
        r->state = AT_SIZE;
        return ACME_AGAIN;
    }
    if (!r->has_length) {
        r->close = 1;
        r->state = AT_BODY_CLOSE;
        return ACME_AGAIN;
    }
    if ((apr_uint64_t)r->length > r->body_max) {
        return too_large(r);
    }
    r->left = (apr_size_t)r->length;
    if (r->left == 0) {
        return done(r);
    }
    body_reserve(r, r->left);
    r->state = AT_BODY;
    return ACME_AGAIN;
}

/* Behind the last header line. */
static acme_rv_t headers_end(acme_http_response_t *r)
{
    if (r->status < 200) {
        return interim_end(r);
    }
    if (r->chunked && (r->has_length || r->minor == 0)) {
        return fail(r, BAD_FRAMING, r->has_length ? "both a length and chunked"
                                                  : "chunked in HTTP/1.0");
    }
    r->close |= r->minor == 0;
    if (r->head_only) {
        return done(r);
    }
    if (r->status == 204 || r->status == 304) {
        /* A peer that announces a body here may send it. */
        r->close |= r->chunked || (r->status == 204 && r->length > 0);
        return done(r);
    }
    return body_begin(r);
}

/* ---- header lines (RFC 9112 section 5) ---- */

static void keep_header(acme_http_response_t *r, const char *name, const char *value)
{
    apr_size_t size = strlen(value) + 1;
    char *clean = acme_printable(apr_palloc(r->pool, size), size, value, -1);
    acme_http_header_t *header;

    /* Made printable it would be another value, maybe one that means something. */
    if (strcmp(clean, value) != 0) {
        return;
    }
    header = apr_array_push(r->headers);
    header->name = name;
    header->value = clean;
}

/* The name in lower case; NULL: no header line. *value points into the line. */
static const char *split_header(const char **value, acme_http_response_t *r)
{
    apr_size_t n = token_length(r->line);
    char *name, *p;

    if (n == 0 || r->line[n] != ':') {
        return NULL;
    }
    name = apr_pstrmemdup(r->pool, r->line, n);
    for (p = name; *p; p++) {
        *p = (char)acme_ascii_tolower(*p);
    }
    while (is_blank(r->line[r->line_len - 1])) {
        r->line_len--;
    }
    r->line[r->line_len] = '\0';
    for (p = r->line + n; *p; p++) {
        *p = *p == '\t' ? ' ' : *p;
    }
    *value = skip_blanks(r->line + n + 1);
    return name;
}

static acme_rv_t count_bytes(acme_http_response_t *r, apr_size_t n)
{
    r->header_bytes += n;
    return r->header_bytes > ACME_HTTP_HEADER_BYTES_MAX
           ? fail(r, BAD_HEADER, "header lines over 64 KB") : ACME_OK;
}

/* A trailer's fields are checked and forgotten: none of them may change what the header said. */
static acme_rv_t header_line(acme_http_response_t *r, int trailer)
{
    const char *name, *value = NULL;

    if (r->line_len == 0) {
        return trailer ? done(r) : headers_end(r);
    }
    if (++r->count > ACME_HTTP_HEADERS_MAX) {
        return fail(r, BAD_HEADER, "more than 100 header lines");
    }
    if (count_bytes(r, r->line_len + 2) != ACME_OK) {
        return ACME_FAIL;
    }
    if (is_blank(r->line[0])) {
        return fail_line(r, BAD_HEADER, "folded header line");
    }
    name = split_header(&value, r);
    if (!name) {
        return fail_line(r, BAD_HEADER, "no header line");
    }
    /* An interim response has no body, whatever it says. */
    if (trailer || r->status < 200) {
        return ACME_AGAIN;
    }
    if (heed(r, name, value) != ACME_OK) {
        return ACME_FAIL;
    }
    keep_header(r, name, value);
    return ACME_AGAIN;
}

/* ---- bodies ---- */

static acme_rv_t body_append(acme_http_response_t *r, const char *data, apr_size_t len)
{
    apr_size_t size = r->body_size ? r->body_size : BODY_FIRST;

    if (len > r->body_max - r->body_len) {
        return too_large(r);
    }
    while (size < r->body_len + len) {
        size *= 2;
    }
    if (size > r->body_size) {
        body_reserve(r, size);
    }
    memcpy(r->body + r->body_len, data, len);
    r->body_len += len;
    return ACME_AGAIN;
}

static int hex_value(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* RFC 9112 section 7.1; extensions are passed over, but not without end. Blanks behind the size
 * are what some servers pad it with. */
static acme_rv_t size_line(acme_http_response_t *r)
{
    apr_size_t size = 0, n = 0;
    const char *rest;

    while (n < SIZE_DIGITS && hex_value(r->line[n]) >= 0) {
        size = size << 4 | (apr_size_t)hex_value(r->line[n]);
        n++;
    }
    rest = skip_blanks(r->line + n);
    if (n == 0 || (*rest != '\0' && *rest != ';')) {
        return fail_line(r, BAD_FRAMING, "no chunk size");
    }
    if (count_bytes(r, r->line_len - n) != ACME_OK) {
        return ACME_FAIL;
    }
    if (size > r->body_max - r->body_len) {
        return too_large(r);
    }
    r->left = size;
    r->state = size > 0 ? AT_CHUNK : AT_TRAILER;
    return ACME_AGAIN;
}

static acme_rv_t chunk_end(acme_http_response_t *r)
{
    if (r->line_len > 0) {
        return fail_line(r, BAD_FRAMING, "chunk longer than its size");
    }
    r->state = AT_SIZE;
    return ACME_AGAIN;
}

/* As much of data as belongs to the body; *used is how much. */
static acme_rv_t body_bytes(acme_http_response_t *r, const char *data, apr_size_t len,
                            apr_size_t *used)
{
    int bounded = r->state != AT_BODY_CLOSE;

    *used = bounded && len > r->left ? r->left : len;
    if (body_append(r, data, *used) != ACME_AGAIN) {
        return ACME_FAIL;
    }
    r->left -= bounded ? *used : 0;
    if (!bounded || r->left > 0) {
        return ACME_AGAIN;
    }
    if (r->state == AT_BODY) {
        return done(r);
    }
    r->state = AT_CHUNK_END;
    return ACME_AGAIN;
}

/* ---- the machine ---- */

static acme_rv_t line_end(acme_http_response_t *r)
{
    acme_rv_t rv = r->state == AT_HEADER ? header_line(r, 0)
                   : r->state == AT_TRAILER ? header_line(r, 1)
                   : r->state == AT_SIZE ? size_line(r) : chunk_end(r);

    line_begin(r);
    return rv;
}

/* One byte of something that consists of lines. */
static acme_rv_t take_byte(acme_http_response_t *r, char c)
{
    fault_t fault = r->state == AT_HEADER || r->state == AT_TRAILER ? BAD_HEADER : BAD_FRAMING;
    acme_rv_t rv;

    if (r->state == AT_STATUS) {
        rv = status_byte(r, c);
        if (r->state != AT_STATUS) {
            line_begin(r);
        }
        return rv;
    }
    rv = line_byte(r, c, fault);
    return rv == ACME_OK ? line_end(r) : rv;
}

acme_http_response_t *acme_http_response_create(int head_only, apr_size_t body_max,
                                                apr_pool_t *pool)
{
    acme_http_response_t *r = apr_pcalloc(pool, sizeof(*r));

    r->pool = pool;
    r->head_only = head_only;
    r->body_max = body_max;
    response_begin(r);
    return r;
}

acme_rv_t acme_http_response_feed(acme_http_response_t *response, const char *data, apr_size_t len,
                                  apr_size_t *used, acme_error_t *err)
{
    acme_rv_t rv = response->state == AT_END ? ACME_OK
                   : response->state == AT_FAILURE ? ACME_FAIL : ACME_AGAIN;

    *used = 0;
    response->started |= len > 0;
    while (rv == ACME_AGAIN && *used < len) {
        apr_size_t n = 1;

        if (response->state == AT_BODY || response->state == AT_BODY_CLOSE
            || response->state == AT_CHUNK) {
            rv = body_bytes(response, data + *used, len - *used, &n);
        }
        else {
            rv = take_byte(response, data[*used]);
        }
        *used += n;
    }
    if (rv == ACME_FAIL && err && err->kind == ACME_E_NONE) {
        *err = response->failure;
    }
    return rv;
}

acme_rv_t acme_http_response_eof(acme_http_response_t *response, acme_error_t *err)
{
    if (response->state == AT_BODY_CLOSE) {
        return done(response);
    }
    if (response->state == AT_FAILURE && err && err->kind == ACME_E_NONE) {
        *err = response->failure;
    }
    return acme_error_set(err, ACME_E_HTTP, NULL, "HTTP response: %s",
                          response->state == AT_END ? "closed behind its end" : "incomplete");
}

/* ---- reading ---- */

int acme_http_response_started(const acme_http_response_t *response)
{
    return response->started;
}

int acme_http_response_status(const acme_http_response_t *response)
{
    return response->status;
}

int acme_http_response_keep_alive(const acme_http_response_t *response)
{
    return response->state == AT_END && !response->close;
}

const char *acme_http_response_header_at(const acme_http_response_t *response, const char *name,
                                         int i)
{
    int at;

    for (at = 0; i >= 0 && at < response->headers->nelts; at++) {
        const acme_http_header_t *header
            = &APR_ARRAY_IDX(response->headers, at, acme_http_header_t);

        if (strcmp(header->name, name) == 0 && i-- == 0) {
            return header->value;
        }
    }
    return NULL;
}

const char *acme_http_response_header(const acme_http_response_t *response, const char *name)
{
    return acme_http_response_header_at(response, name, 0);
}

const char *acme_http_response_body(const acme_http_response_t *response, apr_size_t *len)
{
    *len = response->body_len;
    return response->body ? response->body : "";
}

const char *acme_http_response_media_type(const acme_http_response_t *response, apr_pool_t *pool)
{
    const char *value = acme_http_response_header(response, "content-type");
    char *type, *p;

    if (!value) {
        return "";
    }
    type = apr_pstrmemdup(pool, value, strcspn(value, "; "));
    for (p = type; *p; p++) {
        *p = (char)acme_ascii_tolower(*p);
    }
    return type;
}

/* All of them alike: a proxy may double a header. Two different ones: which is it? */
const char *acme_http_response_nonce(const acme_http_response_t *response)
{
    const char *nonce = acme_http_response_header(response, "replay-nonce");
    const char *other = nonce, *p;
    int i;

    if (!nonce || !*nonce || strlen(nonce) > NONCE_MAX) {
        return NULL;
    }
    for (p = nonce; *p; p++) {
        if (!is_alnum(*p) && *p != '-' && *p != '_') {
            return NULL;
        }
    }
    for (i = 1; other; i++) {
        if (strcmp(nonce, other) != 0) {
            return NULL;
        }
        other = acme_http_response_header_at(response, "replay-nonce", i);
    }
    return nonce;
}

/* ---- Link (RFC 8288 section 3) ---- */

typedef struct {
    const char *target;
    const char *rel;  /* the first one; NULL when there is none */
    int anchored;     /* speaks of another resource */
} link_t;

/* NULL: malformed. *out is the text without quotes and backslashes. */
static const char *quoted(const char **out, const char *p, apr_pool_t *pool)
{
    const char *end = ++p;
    char *text;
    apr_size_t n = 0;

    while (*end && *end != '"') {
        end += *end == '\\' && end[1] ? 2 : 1;
    }
    text = apr_palloc(pool, (apr_size_t)(end - p) + 1);
    for (; p < end; p++) {
        p += *p == '\\' && p + 1 < end;
        text[n++] = *p;
    }
    text[n] = '\0';
    *out = text;
    return *end ? end + 1 : NULL;
}

/* One parameter behind its ';'. NULL: malformed. */
static const char *link_param(link_t *link, const char *p, apr_pool_t *pool)
{
    const char *name, *value = NULL;
    apr_size_t n;

    p = skip_blanks(p);
    n = token_length(p);
    name = apr_pstrmemdup(pool, p, n);
    p = skip_blanks(p + n);
    if (n > 0 && *p == '=') {
        p = skip_blanks(p + 1);
        if (*p == '"') {
            p = quoted(&value, p, pool);
        }
        else {
            n = strcspn(p, ";, \"");
            value = apr_pstrmemdup(pool, p, n);
            p += n;
        }
    }
    if (value && !link->rel && acme_ascii_casecmp(name, "rel") == 0) {
        link->rel = value;
    }
    link->anchored |= acme_ascii_casecmp(name, "anchor") == 0;
    return p ? skip_blanks(p) : NULL;
}

/* Behind one link-value, that is at a ',' or the end. NULL: malformed. */
static const char *link_value(link_t *link, const char *p, apr_pool_t *pool)
{
    apr_size_t n = *p == '<' ? strcspn(p, ">") : 0;

    memset(link, 0, sizeof(*link));
    if (n == 0 || p[n] != '>') {
        return NULL;
    }
    link->target = apr_pstrmemdup(pool, p + 1, n - 1);
    p = skip_blanks(p + n + 1);
    while (p && *p == ';') {
        p = link_param(link, p + 1, pool);
    }
    return p && (*p == ',' || *p == '\0') ? p : NULL;
}

/* To the next ',' that is not quoted: what stands behind something malformed may be good. */
static const char *resume(const char *p)
{
    int in_quotes = 0;

    while (*p && (in_quotes || *p != ',')) {
        in_quotes ^= *p == '"';
        p += in_quotes && *p == '\\' && p[1] ? 2 : 1;
    }
    return p;
}

const char *acme_http_response_link(const acme_http_response_t *response, const char *rel, int i,
                                    apr_pool_t *pool)
{
    const char *p, *next;
    link_t link;
    int at;

    for (at = 0; at < ACME_HTTP_HEADERS_MAX; at++) {
        p = acme_http_response_header_at(response, "link", at);
        if (!p) {
            return NULL;
        }
        for (p += strspn(p, ", "); *p; p += strspn(p, ", ")) {
            next = link_value(&link, p, pool);
            if (next && link.rel && !link.anchored && list_has(link.rel, " ", rel) && i-- == 0) {
                return link.target;
            }
            p = next ? next : resume(p);
        }
    }
    return NULL;
}
