/* Licensed under the Apache License, Version 2.0; see LICENSE. */

#include <stdlib.h>
#include <string.h>

#include <apr_general.h>
#include <apr_strings.h>
#include <check.h>

#include "protocol/http.h"

#define COUNT(table) ((int)(sizeof(table) / sizeof((table)[0])))
#define TEXT(literal) literal, sizeof(literal) - 1
#define OK11 "HTTP/1.1 200 OK\r\n"
#define CHUNKED OK11 "Transfer-Encoding: chunked\r\n\r\n"
#define BODY_MAX 64 /* unless a test says otherwise */

Suite *http_suite(void);

static apr_pool_t *pool;

static void setup(void)
{
    apr_initialize();
    apr_pool_create(&pool, NULL);
    memset(apr_palloc(pool, 8000), 'x', 8000); /* memory that is not zero by chance */
    apr_pool_clear(pool);
}

static void teardown(void)
{
    apr_pool_destroy(pool);
}

/* ---- feeding ---- */

typedef struct {
    acme_http_response_t *response;
    acme_error_t err;
    acme_rv_t rv;
    apr_size_t used; /* of all that was offered */
} result_t;

/* The block has exactly its size, so that a sanitizer sees a byte too many. */
static void feed(result_t *r, const char *bytes, apr_size_t len)
{
    char *block = malloc(len ? len : 1);
    apr_size_t used = 0;

    memcpy(block, bytes, len);
    r->rv = acme_http_response_feed(r->response, block, len, &used, &r->err);
    ck_assert_uint_le(used, len);
    ck_assert(r->rv != ACME_AGAIN || used == len);
    r->used += used;
    free(block);
}

static result_t begin(int head_only, apr_size_t body_max, apr_pool_t *p)
{
    result_t r;

    memset(&r, 0, sizeof(r));
    r.response = acme_http_response_create(head_only, body_max, p);
    r.rv = ACME_AGAIN;
    return r;
}

/* In steps of that many bytes; first: size of the first one, 0 = like the others. */
static result_t run(const char *bytes, apr_size_t len, int head_only, apr_size_t first,
                    apr_size_t step, apr_pool_t *p)
{
    result_t r = begin(head_only, BODY_MAX, p);
    apr_size_t at = 0;

    while (r.rv == ACME_AGAIN && at < len) {
        apr_size_t n = at == 0 && first ? first : step;

        n = n < len - at ? n : len - at;
        feed(&r, bytes + at, n);
        at += n;
    }
    return r;
}

static result_t whole(const char *bytes)
{
    return run(bytes, strlen(bytes), 0, 0, strlen(bytes), pool);
}

/* All that can be read, as one text. */
static const char *shown(const result_t *r)
{
    static const char *const names[] = {"a", "b", "content-type", "content-length", "connection"};
    const char *text = apr_psprintf(pool, "rv %d used %d code %s text %s", r->rv, (int)r->used,
                                    r->err.code, r->err.text);
    apr_size_t len, i;
    const char *body, *value;

    if (r->rv != ACME_OK) {
        return text;
    }
    body = acme_http_response_body(r->response, &len);
    for (i = 0; i < (apr_size_t)COUNT(names); i++) {
        value = acme_http_response_header(r->response, names[i]);
        text = apr_pstrcat(pool, text, "\n", names[i], "=", value ? value : "(none)", NULL);
    }
    text = apr_psprintf(pool, "%s\n%d %d %d\n", text, acme_http_response_status(r->response),
                        acme_http_response_keep_alive(r->response), (int)len);
    for (i = 0; i < len; i++) {
        text = apr_psprintf(pool, "%s%02x", text, (unsigned char)body[i]);
    }
    return text;
}

/* With a close behind whatever is not complete by then. */
static const char *closed(const char *bytes, apr_size_t len, int head_only, apr_size_t first,
                          apr_size_t step)
{
    result_t r = run(bytes, len, head_only, first, step, pool);

    if (r.rv == ACME_AGAIN) {
        r.rv = acme_http_response_eof(r.response, &r.err);
    }
    return shown(&r);
}

/* The same whatever the pieces: in two at every point, and byte by byte. */
static void any_split(const char *bytes, apr_size_t len, int head_only)
{
    const char *want = closed(bytes, len, head_only, 0, len), *got;
    apr_size_t at;

    for (at = 0; at < len; at++) {
        got = closed(bytes, len, head_only, at, at ? len : 1);
        ck_assert_msg(strcmp(got, want) == 0, "split at %d: %s\nwanted: %s", (int)at, got, want);
    }
}

/* ---- good ones ---- */

enum { HEAD = 1, TO_CLOSE = 2 };

static const struct {
    const char *bytes;
    apr_size_t len;
    int flags, status, keep_alive;
    const char *body;
    apr_size_t body_len;
    int surplus; /* bytes behind the end */
} good[] = {
    {TEXT(OK11 "Content-Length: 5\r\n\r\nhello"), 0, 200, 1, TEXT("hello"), 0},
    {TEXT(OK11 "Content-Length: 0\r\n\r\n"), 0, 200, 1, TEXT(""), 0},
    {TEXT("HTTP/1.1 404 Not Found\r\nContent-Length:2\r\n\r\nno"), 0, 404, 1, TEXT("no"), 0},
    {TEXT("HTTP/1.1 200 \r\nContent-Length: 1\r\n\r\nx"), 0, 200, 1, TEXT("x"), 0},
    {TEXT("HTTP/1.1 200\r\nContent-Length: 1\r\n\r\nx"), 0, 200, 1, TEXT("x"), 0},
    {TEXT("HTTP/1.1 599 \xc3\xa4\xff\t:x\r\nContent-Length: 1\r\n\r\nx"), 0, 599, 1, TEXT("x"), 0},
    {TEXT("HTTP/1.9 200 OK\r\nContent-Length: 1\r\n\r\nx"), 0, 200, 1, TEXT("x"), 0},
    /* lengths */
    {TEXT(OK11 "content-LENGTH:\t 00000000000000005 \t\r\n\r\nhello"), 0, 200, 1, TEXT("hello"), 0},
    {TEXT(OK11 "Content-Length: 2\r\nContent-Length: 2\r\n\r\nok"), 0, 200, 1, TEXT("ok"), 0},
    {TEXT(OK11 "Content-Length: 6\r\n\r\na\0\r\n\r\n"), 0, 200, 1, TEXT("a\0\r\n\r\n"), 0},
    {TEXT(OK11 "Content-Length: 2\r\n\r\nokHTTP/1.1 200"), 0, 200, 1, TEXT("ok"), 12},
    {TEXT(OK11 "Content-Length: 64\r\n\r\n"
          "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"), 0, 200, 1,
     TEXT("0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"), 0},
    /* chunks */
    {TEXT(CHUNKED "4\r\nWiki\r\n7\r\npedia i\r\nB\r\nn \r\nchunks.\r\n0\r\n\r\n"), 0, 200, 1,
     TEXT("Wikipedia in \r\nchunks."), 0},
    {TEXT(CHUNKED "0\r\n\r\n"), 0, 200, 1, TEXT(""), 0},
    {TEXT(CHUNKED "00000003\r\nabc\r\n00000000\r\n\r\n"), 0, 200, 1, TEXT("abc"), 0},
    {TEXT(CHUNKED "a\r\n0123456789\r\nA\r\n0123456789\r\n0\r\n\r\n"), 0, 200, 1,
     TEXT("01234567890123456789"), 0},
    {TEXT(CHUNKED "3;a=b;c=\"d;e\"\r\nabc\r\n1 \t\r\nd\r\n1 ; x\r\ne\r\n0;y\r\n\r\n"), 0, 200, 1,
     TEXT("abcde"), 0},
    {TEXT(CHUNKED "1\r\nx\r\n0\r\nA: trailer\r\nContent-Length: 7\r\nTransfer-Encoding: x\r\n"
          "Connection: close\r\n\r\n"), 0, 200, 1, TEXT("x"), 0},
    {TEXT(OK11 "TRANSFER-encoding: ChUnKeD\r\n\r\n2\r\n\0\0\r\n0\r\n\r\nrest"), 0, 200, 1,
     TEXT("\0\0"), 4},
    {TEXT(CHUNKED "20\r\n0123456789abcdef0123456789abcdef\r\n20\r\n0123456789abcdef"
          "0123456789abcdef\r\n0\r\n\r\n"), 0, 200, 1,
     TEXT("0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"), 0},
    /* up to the close */
    {TEXT(OK11 "\r\nto the end\r\n"), TO_CLOSE, 200, 0, TEXT("to the end\r\n"), 0},
    {TEXT(OK11 "\r\n"), TO_CLOSE, 200, 0, TEXT(""), 0},
    {TEXT("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n\r\nx"), TO_CLOSE, 200, 0, TEXT("x"), 0},
    {TEXT(OK11 "A: 1\r\n\r\n0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"),
     TO_CLOSE, 200, 0, TEXT("0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"),
     0},
    /* whether the connection stays */
    {TEXT(OK11 "Connection: close\r\nContent-Length: 1\r\n\r\nx"), 0, 200, 0, TEXT("x"), 0},
    {TEXT(OK11 "Connection: keep-alive,\tClose\r\nContent-Length: 1\r\n\r\nx"), 0, 200, 0,
     TEXT("x"), 0},
    {TEXT(OK11 "Connection: close\r\nConnection: x\r\nContent-Length: 1\r\n\r\nx"), 0, 200, 0,
     TEXT("x"), 0},
    {TEXT(OK11 "Connection: x\r\nConnection: CLOSE\r\nContent-Length: 1\r\n\r\nx"), 0, 200, 0,
     TEXT("x"), 0},
    {TEXT(OK11 "Connection: closed, not-close\r\nContent-Length: 1\r\n\r\nx"), 0, 200, 1, TEXT("x"),
     0},
    {TEXT("HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\nx"), 0, 200, 0, TEXT("x"), 0},
    /* without a body */
    {TEXT(OK11 "Content-Length: 99999999\r\n\r\n"), HEAD, 200, 1, TEXT(""), 0},
    {TEXT(OK11 "Transfer-Encoding: chunked\r\nContent-Encoding: gzip\r\n\r\n"), HEAD, 200, 1,
     TEXT(""), 0},
    {TEXT(OK11 "Replay-Nonce: x\r\n\r\n"), HEAD, 200, 1, TEXT(""), 0},
    {TEXT(OK11 "\r\nHTTP/1.1 200"), HEAD, 200, 1, TEXT(""), 12},
    {TEXT("HTTP/1.1 204 No Content\r\nReplay-Nonce: x\r\n\r\n"), 0, 204, 1, TEXT(""), 0},
    {TEXT("HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n"), 0, 204, 1, TEXT(""), 0},
    {TEXT("HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\nno"), 0, 204, 0, TEXT(""), 2},
    {TEXT("HTTP/1.1 204 No\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), 0, 204, 0,
     TEXT(""), 5},
    {TEXT("HTTP/1.1 304 Not Modified\r\nContent-Length: 700\r\n\r\n"), 0, 304, 1, TEXT(""), 0},
    /* interim responses */
    {TEXT("HTTP/1.1 100 Continue\r\n\r\n" OK11 "Content-Length: 1\r\n\r\nx"), 0, 200, 1, TEXT("x"),
     0},
    {TEXT("HTTP/1.1 103 Early Hints\r\nA: 1\r\nContent-Length: 7\r\nConnection: close\r\n"
          "Transfer-Encoding: gzip\r\n\r\nHTTP/1.1 102\r\n\r\n" OK11 "Content-Length: 1\r\n\r\nx"),
     0, 200, 1, TEXT("x"), 0},
    /* header lines */
    {TEXT(OK11 "A:\r\nB: \t x\ty \t\r\nContent-Type:a/b;c\r\nContent-Length: 1\r\n\r\nx"), 0, 200,
     1, TEXT("x"), 0},
    {TEXT(OK11 "!#$%&'*+-.^_`|~09azAZ: x\r\nA: :::\r\nContent-Length: 1\r\n\r\nx"), 0, 200, 1,
     TEXT("x"), 0},
    {TEXT(OK11 "Content-Encoding: Identity\r\nContent-Encoding:\r\nContent-Length: 1\r\n\r\nx"), 0,
     200, 1, TEXT("x"), 0},
};

START_TEST(good_ones_in_any_split)
{
    result_t r = run(good[_i].bytes, good[_i].len, good[_i].flags & HEAD, 0, good[_i].len, pool);
    int to_close = good[_i].flags & TO_CLOSE;
    apr_size_t len;
    const char *body;

    any_split(good[_i].bytes, good[_i].len, good[_i].flags & HEAD);
    if (to_close) {
        ck_assert_int_eq(r.rv, ACME_AGAIN);
        ck_assert_int_eq(acme_http_response_keep_alive(r.response), 0);
        ck_assert_int_eq(acme_http_response_eof(r.response, &r.err), ACME_OK);
    }
    else {
        ck_assert_msg(r.rv == ACME_OK, "%s", r.err.text);
    }
    ck_assert_uint_eq(r.used, good[_i].len - (apr_size_t)good[_i].surplus);
    ck_assert_int_eq(acme_http_response_status(r.response), good[_i].status);
    ck_assert_int_eq(acme_http_response_keep_alive(r.response), good[_i].keep_alive);
    body = acme_http_response_body(r.response, &len);
    ck_assert_uint_eq(len, good[_i].body_len);
    ck_assert_mem_eq(body, good[_i].body, len + 1); /* with the NUL */
    /* complete is complete */
    feed(&r, "more", 4);
    ck_assert_int_eq(r.rv, ACME_OK);
    ck_assert_uint_eq(r.used, good[_i].len - (apr_size_t)good[_i].surplus);
}
END_TEST

/* Cut anywhere it is incomplete, and a close there is a failure. */
START_TEST(good_ones_cut_short)
{
    apr_size_t end = good[_i].len - (apr_size_t)good[_i].surplus, at;

    for (at = 0; at < end; at++) {
        result_t r = run(good[_i].bytes, at, good[_i].flags & HEAD, 0, end, pool);

        ck_assert_int_eq(r.rv, ACME_AGAIN);
        ck_assert_int_eq(acme_http_response_started(r.response), at > 0);
        if (!(good[_i].flags & TO_CLOSE)) {
            ck_assert_int_eq(acme_http_response_eof(r.response, &r.err), ACME_FAIL);
            ck_assert_int_eq(r.err.kind, ACME_E_HTTP);
        }
    }
}
END_TEST

START_TEST(close_within_the_header)
{
    static const char bytes[] = OK11 "A: 1\r\n\r";
    apr_size_t at;

    for (at = 0; at < sizeof(bytes); at++) {
        result_t r = run(bytes, at, 0, 0, sizeof(bytes), pool);

        ck_assert_int_eq(acme_http_response_eof(r.response, &r.err), ACME_FAIL);
    }
}
END_TEST

/* ---- bad ones ---- */

static const struct {
    const char *bytes;
    apr_size_t len;
    const char *code;
} bad[] = {
    /* status line: F-016 */
    {TEXT("<html>"), "AC0220"},
    {TEXT("\r\n" OK11), "AC0220"},
    {TEXT(" " OK11), "AC0220"},
    {TEXT("http/1.1 200 OK\r\n"), "AC0220"},
    {TEXT("HTTP/2 200 OK\r\n"), "AC0220"},
    {TEXT("HTTP/2.0 200 OK\r\n"), "AC0220"},
    {TEXT("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), "AC0220"},
    {TEXT("\0\0\x12\x04\0\0\0\0\0"), "AC0220"},
    {TEXT("ICY 200 OK\r\n"), "AC0220"},
    {TEXT("HTTP/1.\r\n"), "AC0220"},
    {TEXT("HTTP/1.1\r\n"), "AC0220"},
    {TEXT("HTTP/1.1 \r\n"), "AC0220"},
    {TEXT("HTTP/1.1 20\r\n"), "AC0220"},
    {TEXT("HTTP/1.1 20 OK\r\n"), "AC0220"},
    {TEXT("HTTP/1.1 2000 OK\r\n"), "AC0220"},
    {TEXT("HTTP/1.1 200OK\r\n"), "AC0220"},
    {TEXT("HTTP/1.1 -1 OK\r\n"), "AC0220"},
    {TEXT("HTTP/1.1 +20 OK\r\n"), "AC0220"},
    {TEXT("HTTP/1.1  200 OK\r\n"), "AC0220"},
    {TEXT("HTTP/1.1\t200 OK\r\n"), "AC0220"},
    {TEXT("HTTP/1.11 200 OK\r\n"), "AC0220"},
    {TEXT("HTTP/1.x 200 OK\r\n"), "AC0220"},
    {TEXT("HTTP/11.1 200 OK\r\n"), "AC0220"},
    {TEXT("HTTP/1.1 000 OK\r\n"), "AC0220"},
    {TEXT("HTTP/1.1 099 OK\r\n"), "AC0220"},
    {TEXT("HTTP/1.1 600 OK\r\n"), "AC0220"},
    {TEXT("HTTP/1.1 999 OK\r\n"), "AC0220"},
    {TEXT("HTTP/1.1 0x1 OK\r\n"), "AC0220"},
    {TEXT("HTTP/1.1 101 Switching Protocols\r\n"), "AC0220"},
    {TEXT("HTTP/1.1 200 OK\n"), "AC0220"},
    {TEXT("HTTP/1.1 200 O\rK\r\n"), "AC0220"},
    {TEXT("HTTP/1.1 200 O\0K\r\n"), "AC0220"},
    {TEXT("HTTP/1.1 200 \x1b[31m\r\n"), "AC0220"},
    {TEXT("HTTP/1.1 100 Continue\r\n\r\n\r\n"), "AC0220"},
    {TEXT("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 101 Up\r\n"), "AC0220"},
    /* header lines: F-017 */
    {TEXT(OK11 "A\r\n"), "AC0221"},
    {TEXT(OK11 ": x\r\n"), "AC0221"},
    {TEXT(OK11 "A : x\r\n"), "AC0221"},
    {TEXT(OK11 "A\t: x\r\n"), "AC0221"},
    {TEXT(OK11 "A B: x\r\n"), "AC0221"},
    {TEXT(OK11 "A\xff: x\r\n"), "AC0221"},
    {TEXT(OK11 "\"A\": x\r\n"), "AC0221"},
    {TEXT(OK11 "(A): x\r\n"), "AC0221"},
    {TEXT(OK11 "A: x\r\n y\r\n"), "AC0221"},
    {TEXT(OK11 "A: x\r\n\ty: z\r\n"), "AC0221"},
    {TEXT(OK11 " A: x\r\n"), "AC0221"},
    {TEXT(OK11 "A: x\n"), "AC0221"},
    {TEXT(OK11 "A: x\r\n\n"), "AC0221"},
    {TEXT(OK11 "\n"), "AC0221"},
    {TEXT(OK11 "A: x\ry\r\n"), "AC0221"},
    {TEXT(OK11 "A: x\r\r\n"), "AC0221"},
    {TEXT(OK11 "A: x\0y\r\n"), "AC0221"},
    {TEXT(OK11 "A\0: x\r\n"), "AC0221"},
    {TEXT(OK11 "A: \x7f\r\n"), "AC0221"},
    {TEXT(OK11 "A: \x08\r\n"), "AC0221"},
    {TEXT("HTTP/1.1 100 Continue\r\nA\r\n"), "AC0221"},
    {TEXT(CHUNKED "0\r\nA\r\n"), "AC0221"},
    {TEXT(CHUNKED "0\r\n A: x\r\n"), "AC0221"},
    {TEXT(CHUNKED "0\r\nA: x\n"), "AC0221"},
    /* framing: F-018 */
    {TEXT(OK11 "Content-Length:\r\n"), "AC0222"},
    {TEXT(OK11 "Content-Length: -1\r\n"), "AC0222"},
    {TEXT(OK11 "Content-Length: +5\r\n"), "AC0222"},
    {TEXT(OK11 "Content-Length: 0x5\r\n"), "AC0222"},
    {TEXT(OK11 "Content-Length: 5 5\r\n"), "AC0222"},
    {TEXT(OK11 "Content-Length: 5, 5\r\n"), "AC0222"},
    {TEXT(OK11 "Content-Length: 5, 6\r\n"), "AC0222"},
    {TEXT(OK11 "Content-Length: 5;x\r\n"), "AC0222"},
    {TEXT(OK11 "Content-Length: 1e2\r\n"), "AC0222"},
    {TEXT(OK11 "Content-Length: 5.0\r\n"), "AC0222"},
    {TEXT(OK11 "Content-Length: \"5\"\r\n"), "AC0222"},
    {TEXT(OK11 "Content-Length: five\r\n"), "AC0222"},
    {TEXT(OK11 "Content-Length: 5\xff\r\n"), "AC0222"},
    {TEXT(OK11 "Content-Length: 9223372036854775808\r\n"), "AC0222"},
    {TEXT(OK11 "Content-Length: 18446744073709551617\r\n"), "AC0222"},
    {TEXT(OK11 "Content-Length: 99999999999999999999999999\r\n"), "AC0222"},
    {TEXT(OK11 "Content-Length: 5\r\nContent-Length: 6\r\n"), "AC0222"},
    {TEXT(OK11 "Content-Length: 5\r\nContent-Length: x\r\n"), "AC0222"},
    {TEXT(OK11 "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"), "AC0222"},
    {TEXT(OK11 "Transfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n"), "AC0222"},
    {TEXT(OK11 "Transfer-Encoding: gzip, chunked\r\n"), "AC0222"},
    {TEXT(OK11 "Transfer-Encoding: chunked, chunked\r\n"), "AC0222"},
    {TEXT(OK11 "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"), "AC0222"},
    {TEXT(OK11 "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n"), "AC0222"},
    {TEXT(OK11 "Transfer-Encoding: identity\r\n"), "AC0222"},
    {TEXT(OK11 "Transfer-Encoding:\r\n"), "AC0222"},
    {TEXT(OK11 "Transfer-Encoding: xchunked\r\n"), "AC0222"},
    {TEXT(OK11 "Transfer-Encoding: chunked;q=1\r\n"), "AC0222"},
    {TEXT(OK11 "Transfer-Encoding: \xc2\xa0" "chunked\r\n"), "AC0222"},
    {TEXT("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"), "AC0222"},
    {TEXT(OK11 "Content-Encoding: gzip\r\nContent-Length: 1\r\n\r\n"), "AC0222"},
    {TEXT(OK11 "Content-Encoding: identity, br\r\nContent-Length: 1\r\n\r\n"), "AC0222"},
    {TEXT(OK11 "Content-Encoding: x\r\n\r\n"), "AC0222"},
    {TEXT(CHUNKED "\r\n"), "AC0222"},
    {TEXT(CHUNKED ";x\r\n"), "AC0222"},
    {TEXT(CHUNKED " 1\r\n"), "AC0222"},
    {TEXT(CHUNKED "-1\r\n"), "AC0222"},
    {TEXT(CHUNKED "+1\r\n"), "AC0222"},
    {TEXT(CHUNKED "0x1\r\n"), "AC0222"},
    {TEXT(CHUNKED "g\r\n"), "AC0222"},
    {TEXT(CHUNKED "1g\r\n"), "AC0222"},
    {TEXT(CHUNKED "1 1\r\n"), "AC0222"},
    {TEXT(CHUNKED "FFFFFFFFFFFFFFFF\r\n"), "AC0222"},
    {TEXT(CHUNKED "10000000000000001\r\n"), "AC0222"},
    {TEXT(CHUNKED "000000001\r\n"), "AC0222"},
    {TEXT(CHUNKED "1\n"), "AC0222"},
    {TEXT(CHUNKED "1\rx"), "AC0222"},
    {TEXT(CHUNKED "1;\0\r\n"), "AC0222"},
    {TEXT(CHUNKED "1;a\nb\r\n"), "AC0222"},
    {TEXT(CHUNKED "1\r\nxy\r\n"), "AC0222"},
    {TEXT(CHUNKED "1\r\nx1\r\ny\r\n"), "AC0222"},
    {TEXT(CHUNKED "1\r\nx\n1\r\n"), "AC0222"},
    {TEXT(CHUNKED "2\r\nx\r\n0\r\n\r\n"), "AC0222"},
    /* caps: F-019 */
    {TEXT(OK11 "Content-Length: 65\r\n\r\n"), "AC0223"},
    {TEXT(OK11 "Content-Length: 999999999999999999\r\n\r\n"), "AC0223"},
    {TEXT(CHUNKED "41\r\n"), "AC0223"},
    {TEXT(CHUNKED "FFFFFFFF\r\n"), "AC0223"},
    {TEXT(CHUNKED "1\r\nx\r\n40\r\n"), "AC0223"},
    {TEXT(CHUNKED "1\r\nx\r\nffffffff\r\n"), "AC0223"},
    {TEXT(OK11 "\r\n0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdefX"),
     "AC0223"},
};

START_TEST(bad_ones_are_refused)
{
    result_t r = run(bad[_i].bytes, bad[_i].len, 0, 0, 1, pool);
    apr_size_t used = 1;

    ck_assert_int_eq(r.rv, ACME_FAIL);
    ck_assert_int_eq(r.err.kind, ACME_E_HTTP);
    ck_assert_msg(strcmp(r.err.code, bad[_i].code) == 0, "%s %s", r.err.code, r.err.text);
    ck_assert_int_eq(r.err.retry, ACME_RETRY_LADDER);
    ck_assert_ptr_null(strpbrk(r.err.text, "\r\n\t\x1b\x7f"));
    /* for good, whatever comes */
    ck_assert_int_eq(acme_http_response_feed(r.response, "x", 1, &used, NULL), ACME_FAIL);
    ck_assert_uint_eq(used, 0);
    acme_error_clear(&r.err);
    ck_assert_int_eq(acme_http_response_eof(r.response, &r.err), ACME_FAIL);
    ck_assert_str_eq(r.err.code, bad[_i].code);
    ck_assert_int_eq(acme_http_response_keep_alive(r.response), 0);
}
END_TEST

START_TEST(bad_ones_in_any_split)
{
    result_t r;
    apr_size_t at;

    for (at = 0; at < bad[_i].len; at++) {
        r = run(bad[_i].bytes, bad[_i].len, 0, at, at ? bad[_i].len : 1, pool);
        ck_assert_int_eq(r.rv, ACME_FAIL);
        ck_assert_msg(strcmp(r.err.code, bad[_i].code) == 0, "split at %d: %s %s", (int)at,
                      r.err.code, r.err.text);
    }
}
END_TEST

START_TEST(the_line_is_shown)
{
    result_t r = whole(OK11 "Content-LENGTH:\t +5 \r\n");

    ck_assert_str_eq(r.err.text, "HTTP response: length that is no number: "
                                 "\"Content-LENGTH:  +5\"");
    r = whole(OK11 "A: b\n");
    ck_assert_str_eq(r.err.text, "HTTP response: bare LF after: \"A: b\"");
    r = whole(OK11 "A: b\r\n c: d\r\n");
    ck_assert_str_eq(r.err.text, "HTTP response: folded header line: \" c: d\"");
    r = whole(apr_pstrcat(pool, OK11 "X\xff\x9b", "yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy"
                          "yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n", NULL));
    ck_assert_uint_lt(strlen(r.err.text), 140);
    ck_assert_ptr_nonnull(strstr(r.err.text, "\"X??yyy"));
}
END_TEST

/* No control character has a place in a header section, wherever it stands. */
START_TEST(control_characters_anywhere)
{
    static const char head[] = "HTTP/1.1 100 Continue\r\nA: b\r\n\r\n" OK11
                               "Content-Type: a/b; c=\"d\"\r\nContent-Length: 1\r\n\r\n";
    char bytes[sizeof(head) + 2];
    apr_size_t len = sizeof(head) - 1, at;
    apr_pool_t *p;
    int c;

    apr_pool_create(&p, pool);
    for (c = 0; c <= 0x7f; c = c == 0x1f ? 0x7f : c + 1) {
        /* behind the last CR a LF would be the one that belongs there */
        for (at = 0; c != '\t' && at < len - 1; at++) {
            result_t r;

            memcpy(bytes, head, at);
            bytes[at] = (char)c;
            memcpy(bytes + at + 1, head + at, len - at);
            bytes[len + 1] = 'x';
            r = run(bytes, len + 2, 0, 0, len + 2, p);
            ck_assert_msg(r.rv == ACME_FAIL, "%02x at %d", (unsigned)c, (int)at);
            apr_pool_clear(p);
        }
    }
}
END_TEST

START_TEST(first_cause_wins)
{
    result_t r = begin(0, BODY_MAX, pool);

    acme_error_set(&r.err, ACME_E_NETWORK, NULL, "before");
    feed(&r, "x", 1);
    ck_assert_int_eq(r.rv, ACME_FAIL);
    ck_assert_str_eq(r.err.text, "before");
}
END_TEST

/* ---- caps ---- */

static char *repeat(const char *text, int n)
{
    apr_size_t len = strlen(text);
    char *all = apr_palloc(pool, len * (apr_size_t)n + 1);
    int i;

    for (i = 0; i < n; i++) {
        memcpy(all + (apr_size_t)i * len, text, len);
    }
    all[len * (apr_size_t)n] = '\0';
    return all;
}

static acme_rv_t outcome(const char *code, const char *bytes)
{
    result_t r = whole(bytes);

    ck_assert_msg(r.rv != ACME_FAIL || strcmp(r.err.code, code) == 0, "%s %s", r.err.code,
                  r.err.text);
    return r.rv;
}

#define END "Content-Length: 1\r\n\r\nx"

START_TEST(long_lines)
{
    char *fill = repeat("x", ACME_HTTP_LINE_MAX);
    result_t r;

    /* exactly the cap, and one more */
    ck_assert_int_eq(outcome("", apr_pstrcat(pool, OK11 "A: ", fill + 3, "\r\n" END, NULL)),
                     ACME_OK);
    ck_assert_int_eq(outcome("AC0221", apr_pstrcat(pool, OK11 "A: ", fill + 2, "\r\n" END, NULL)),
                     ACME_FAIL);
    ck_assert_int_eq(outcome("", apr_pstrcat(pool, "HTTP/1.1 200 ", fill + 13, "\r\n" END, NULL)),
                     ACME_OK);
    ck_assert_int_eq(outcome("AC0220", apr_pstrcat(pool, "HTTP/1.1 200 ", fill + 12, "\r\n", NULL)),
                     ACME_FAIL);
    ck_assert_int_eq(outcome("", apr_pstrcat(pool, CHUNKED "1;", fill + 2, "\r\nx\r\n0\r\n\r\n",
                                             NULL)), ACME_OK);
    ck_assert_int_eq(outcome("AC0222", apr_pstrcat(pool, CHUNKED "1;", fill + 1, "\r\n", NULL)),
                     ACME_FAIL);
    /* a line without end is not waited for */
    r = whole(apr_pstrcat(pool, OK11, fill, fill, NULL));
    ck_assert_int_eq(r.rv, ACME_FAIL);
    ck_assert_uint_eq(r.used, strlen(OK11) + ACME_HTTP_LINE_MAX + 1);
    r = whole(apr_pstrcat(pool, CHUNKED "0\r\n", fill, "x", NULL));
    ck_assert_int_eq(r.rv, ACME_FAIL);
}
END_TEST

START_TEST(many_headers)
{
    ck_assert_int_eq(outcome("", apr_pstrcat(pool, OK11, repeat("A: b\r\n", 99), END, NULL)),
                     ACME_OK);
    ck_assert_int_eq(outcome("AC0221", apr_pstrcat(pool, OK11, repeat("A: b\r\n", 100), END, NULL)),
                     ACME_FAIL);
    /* trailers count with the headers: one header line and 99 */
    ck_assert_int_eq(outcome("", apr_pstrcat(pool, CHUNKED "0\r\n", repeat("A: b\r\n", 99), "\r\n",
                                             NULL)), ACME_OK);
    ck_assert_int_eq(outcome("AC0221", apr_pstrcat(pool, CHUNKED "0\r\n", repeat("A: b\r\n", 100),
                                                   NULL)), ACME_FAIL);
    /* each response has its own count */
    ck_assert_int_eq(outcome("", apr_pstrcat(pool, "HTTP/1.1 100 C\r\n", repeat("A: b\r\n", 100),
                                             "\r\n" OK11, repeat("A: b\r\n", 99), END, NULL)),
                     ACME_OK);
    ck_assert_int_eq(outcome("AC0221", apr_pstrcat(pool, "HTTP/1.1 100 C\r\n",
                                                   repeat("A: b\r\n", 101), NULL)), ACME_FAIL);
}
END_TEST

START_TEST(large_headers)
{
    /* 8 lines of 8192 bytes with their ends: the cap to the byte */
    char *line = apr_pstrcat(pool, "A: ", repeat("x", 8192 - 5), "\r\n", NULL);
    char *eight = repeat(line, 8);

    ck_assert_int_eq(outcome("", apr_pstrcat(pool, OK11, eight, "\r\n", NULL)), ACME_AGAIN);
    ck_assert_int_eq(outcome("AC0221", apr_pstrcat(pool, OK11, eight, "A:\r\n", NULL)), ACME_FAIL);
    ck_assert_int_eq(outcome("AC0221", apr_pstrcat(pool, "HTTP/1.1 100 C\r\n", repeat(line, 7),
                                                   "\r\n" OK11, line, "A:\r\n", NULL)), ACME_FAIL);
    ck_assert_int_eq(outcome("AC0221", apr_pstrcat(pool, CHUNKED "0\r\n", eight, NULL)), ACME_FAIL);
}
END_TEST

/* 10 MB of extensions, which carry 64 bytes of body. */
START_TEST(endless_chunk_extensions)
{
    char *chunk = apr_pstrcat(pool, "1;", repeat("x", 8000), "\r\ny\r\n", NULL);
    result_t r = whole(CHUNKED);
    int n = 0;

    while (r.rv == ACME_AGAIN && n < 64) {
        feed(&r, chunk, strlen(chunk));
        n++;
    }
    ck_assert_int_eq(r.rv, ACME_FAIL);
    ck_assert_str_eq(r.err.code, "AC0221");
    ck_assert_int_eq(n, 9);
}
END_TEST

START_TEST(interim_flood)
{
    char *ten = repeat("HTTP/1.1 100 Continue\r\n\r\n", 10);

    ck_assert_int_eq(outcome("", apr_pstrcat(pool, ten, OK11 END, NULL)), ACME_OK);
    ck_assert_int_eq(outcome("AC0220", apr_pstrcat(pool, ten, "HTTP/1.1 102 X\r\n\r\n", NULL)),
                     ACME_FAIL);
}
END_TEST

/* A body that grows while it comes, to the cap and one byte over it. */
START_TEST(body_cap)
{
    static const apr_size_t steps[] = {1, 7, 4095, 4096, 4097, 100000};
    apr_size_t cap = ACME_HTTP_JSON_MAX, len, i;
    char *fill = repeat("0123456789abcdef", (int)cap / 16 + 1);
    const char *body;
    result_t r;
    apr_size_t at;

    for (i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
        r = begin(0, cap, pool);
        feed(&r, TEXT(OK11 "\r\n"));
        for (at = 0; at < cap; at += steps[i]) {
            feed(&r, fill + at, steps[i] < cap - at ? steps[i] : cap - at);
            ck_assert_int_eq(r.rv, ACME_AGAIN);
        }
        body = acme_http_response_body(r.response, &len);
        ck_assert_uint_eq(len, cap);
        ck_assert_mem_eq(body, fill, cap);
        feed(&r, "x", 1);
        ck_assert_int_eq(r.rv, ACME_FAIL);
        ck_assert_str_eq(r.err.code, "AC0223");
    }
    r = begin(0, 0, pool);
    feed(&r, TEXT(OK11 "Content-Length: 0\r\n\r\n"));
    ck_assert_int_eq(r.rv, ACME_OK);
}
END_TEST

/* ---- headers ---- */

static acme_http_response_t *with(const char *headers)
{
    result_t r = whole(apr_pstrcat(pool, OK11, headers, "Content-Length: 0\r\n\r\n", NULL));

    ck_assert_msg(r.rv == ACME_OK, "%s", r.err.text);
    return r.response;
}

START_TEST(headers_are_found)
{
    acme_http_response_t *r = with("X-One: 1\r\nLOCATION: \t/a\tb  \r\nx-one: 2\r\nEmpty:\r\n"
                                   "Utf8: \xc3\xa4\r\nLatin1: \xe4\r\nX-ONE:\t3\r\n");

    ck_assert_str_eq(acme_http_response_header(r, "x-one"), "1");
    ck_assert_str_eq(acme_http_response_header_at(r, "x-one", 0), "1");
    ck_assert_str_eq(acme_http_response_header_at(r, "x-one", 1), "2");
    ck_assert_str_eq(acme_http_response_header_at(r, "x-one", 2), "3");
    ck_assert_ptr_null(acme_http_response_header_at(r, "x-one", 3));
    ck_assert_ptr_null(acme_http_response_header_at(r, "x-one", -1));
    ck_assert_str_eq(acme_http_response_header(r, "location"), "/a b");
    ck_assert_str_eq(acme_http_response_header(r, "empty"), "");
    ck_assert_str_eq(acme_http_response_header(r, "utf8"), "\xc3\xa4");
    ck_assert_ptr_null(acme_http_response_header(r, "latin1"));
    ck_assert_ptr_null(acme_http_response_header(r, "x"));
    ck_assert_ptr_null(acme_http_response_header(r, "X-One"));
}
END_TEST

START_TEST(interim_headers_and_trailers_are_forgotten)
{
    result_t r = whole("HTTP/1.1 103 E\r\nLocation: /interim\r\n\r\n" OK11 "A: 1\r\n"
                       "Transfer-Encoding: chunked\r\n\r\n0\r\nB: 2\r\nA: 3\r\n\r\n");

    ck_assert_int_eq(r.rv, ACME_OK);
    ck_assert_ptr_null(acme_http_response_header(r.response, "location"));
    ck_assert_ptr_null(acme_http_response_header(r.response, "b"));
    ck_assert_str_eq(acme_http_response_header(r.response, "a"), "1");
    ck_assert_ptr_null(acme_http_response_header_at(r.response, "a", 1));
}
END_TEST

static const struct {
    const char *headers, *want;
} media[] = {
    {"", ""},
    {"Content-Type:\r\n", ""},
    {"Content-Type: application/json\r\n", "application/json"},
    {"Content-Type: application/json; charset=utf-8\r\n", "application/json"},
    {"Content-Type: application/problem+json;x=y\r\n", "application/problem+json"},
    {"Content-Type: Application/PEM-Certificate-Chain\t;a\r\n",
     "application/pem-certificate-chain"},
    {"Content-Type: text/html\r\nContent-Type: application/json\r\n", "text/html"},
};

START_TEST(media_type)
{
    ck_assert_str_eq(acme_http_response_media_type(with(media[_i].headers), pool), media[_i].want);
}
END_TEST

#define N64 "0123456789012345678901234567890123456789012345678901234567890123"

static const struct {
    const char *headers, *want;
} nonces[] = {
    {"", NULL},
    {"Replay-Nonce: D8s4D2mLs8Vn-goWuPQeKA\r\n", "D8s4D2mLs8Vn-goWuPQeKA"}, /* RFC 8555 7.2 */
    {"Replay-Nonce: azAZ09-_\r\n", "azAZ09-_"},
    {"Replay-Nonce: a\r\n", "a"},
    {"Replay-Nonce:\r\n", NULL},
    {"Replay-Nonce: a b\r\n", NULL},
    {"Replay-Nonce: a,b\r\n", NULL},
    {"Replay-Nonce: ab==\r\n", NULL},
    {"Replay-Nonce: a+b\r\n", NULL},
    {"Replay-Nonce: a/b\r\n", NULL},
    {"Replay-Nonce: a.b\r\n", NULL},
    {"Replay-Nonce: \"a\"\r\n", NULL},
    {"Replay-Nonce: a\\u0041\r\n", NULL},
    {"Replay-Nonce: \xc3\xa4\r\n", NULL},
    {"Replay-Nonce: a~\r\n", NULL},
    {"Replay-Nonce: " N64 N64 N64 N64 "\r\n", N64 N64 N64 N64},
    {"Replay-Nonce: " N64 N64 N64 N64 "0\r\n", NULL},
    {"Replay-Nonce: same\r\nReplay-Nonce: same\r\n", "same"},
    {"Replay-Nonce: one\r\nReplay-Nonce: two\r\n", NULL},
    {"Replay-Nonce: one\r\nReplay-Nonce: one\r\nReplay-Nonce: two\r\n", NULL},
};

START_TEST(nonce)
{
    const char *got = acme_http_response_nonce(with(nonces[_i].headers));

    ck_assert_msg(nonces[_i].want ? got && !strcmp(got, nonces[_i].want) : !got, "%s",
                  got ? got : "(none)");
}
END_TEST

static const struct {
    const char *headers, *rel;
    int i;
    const char *want;
} links[] = {
    /* RFC 8288 section 3.5 */
    {"Link: <http://example.com/TheBook/chapter2>; rel=\"previous\"; "
     "title=\"previous chapter\"\r\n", "previous", 0, "http://example.com/TheBook/chapter2"},
    {"Link: </>; rel=\"http://example.net/foo\"\r\n", "http://example.net/foo", 0, "/"},
    {"Link: </terms>; rel=\"copyright\"; anchor=\"#foo\"\r\n", "copyright", 0, NULL},
    {"Link: </TheBook/chapter2>; rel=\"previous\"; title*=UTF-8'de'letztes%20Kapitel, "
     "</TheBook/chapter4>; rel=\"next\"; title*=UTF-8'de'n%c3%a4chstes%20Kapitel\r\n", "next", 0,
     "/TheBook/chapter4"},
    {"Link: <http://example.org/>; rel=\"start http://example.net/relation/other\"\r\n", "start", 0,
     "http://example.org/"},
    {"Link: <http://example.org/>; rel=\"start http://example.net/relation/other\"\r\n",
     "http://example.net/relation/other", 0, "http://example.org/"},
    /* RFC 8555 section 7.4.2 */
    {"Link: <https://example.com/acme/directory>;rel=\"index\"\r\n"
     "Link: <https://example.com/acme/cert/mAt3xBGaobw/1>;rel=\"alternate\"\r\n"
     "Link: <https://example.com/acme/cert/mAt3xBGaobw/2>;rel=\"alternate\"\r\n", "alternate", 1,
     "https://example.com/acme/cert/mAt3xBGaobw/2"},
    {"Link: <a>;rel=x\r\nLink: <b>;rel=x, <c>;rel=x\r\n", "x", 2, "c"},
    {"Link: <a>;rel=x\r\nLink: <b>;rel=x, <c>;rel=x\r\n", "x", 3, NULL},
    {"Link: <a>;rel=x\r\n", "x", -1, NULL},
    {"", "x", 0, NULL},
    {"Link:\r\n", "x", 0, NULL},
    /* how it may be written */
    {"Link: <a>;rel=X\r\n", "x", 0, "a"},
    {"Link: <a> ; REL = x\r\n", "x", 0, "a"},
    {"Link: <a>;\trel\t=\t\"x\"\t\r\n", "x", 0, "a"},
    {"Link: <>;rel=x\r\n", "x", 0, ""},
    {"Link: , ,<a>;rel=x,,\r\n", "x", 0, "a"},
    {"Link: <a>;;rel=x;\r\n", "x", 0, "a"},
    {"Link: <a>;foo;rel=x\r\n", "x", 0, "a"},
    {"Link: <a>;foo=;rel=x\r\n", "x", 0, "a"},
    {"Link: <a,b;c>;rel=x\r\n", "x", 0, "a,b;c"},
    {"Link: <a>;t=\"p;q,r\\\"s\";rel=x\r\n", "x", 0, "a"},
    {"Link: <a>;rel=\"\\x\"\r\n", "x", 0, "a"},
    {"Link: <a>;rel=\"y  x \"\r\n", "x", 0, "a"},
    {"Link: <a>;rel=\"xx x-y\"\r\n", "x", 0, NULL},
    {"Link: <a>;rel=\"\"\r\n", "x", 0, NULL},
    {"Link: <a>;rel\r\n", "x", 0, NULL},
    {"Link: <a>;rev=x\r\n", "x", 0, NULL},
    {"Link: <a>\r\n", "x", 0, NULL},
    {"Link: <a>;rel=y;rel=x\r\n", "x", 0, NULL}, /* the first one counts */
    {"Link: <a>;rel=x;rel=y\r\n", "x", 0, "a"},
    {"Link: <a>;Anchor=\"/b\";rel=x, <c>;rel=x\r\n", "x", 0, "c"},
    /* malformed ones are passed over */
    {"Link: a;rel=x\r\n", "x", 0, NULL},
    {"Link: <a;rel=x\r\n", "x", 0, NULL},
    {"Link: <a>rel=x\r\n", "x", 0, NULL},
    {"Link: <a>;rel=\"x\r\n", "x", 0, NULL},
    {"Link: <a>;rel=\"x\\\r\n", "x", 0, NULL},
    {"Link: <a>;rel=\"x\\\"\r\n", "x", 0, NULL},
    {"Link: <a>;rel=x\"y\"\r\n", "x", 0, NULL},
    {"Link: <a>;rel=\"x\"y\r\n", "x", 0, NULL},
    {"Link: <a>;(;rel=x\r\n", "x", 0, NULL},
    {"Link: junk, <b>;rel=x\r\n", "x", 0, "b"},
    {"Link: <a>;rel=\"x\"y;z=\"q,\\\",r\", <b>;rel=x\r\n", "x", 0, "b"},
    {"Link: <a;rel=x\r\nLink: <b>;rel=x\r\n", "x", 0, "b"},
    {"Link: <a>;rel=\"x, <n>;rel=x\r\nLink: <b>;rel=x\r\n", "x", 0, "b"},
};

START_TEST(link_headers)
{
    const char *got = acme_http_response_link(with(links[_i].headers), links[_i].rel, links[_i].i,
                                              pool);

    ck_assert_msg(links[_i].want ? got && !strcmp(got, links[_i].want) : !got, "%s: %s",
                  links[_i].headers, got ? got : "(none)");
}
END_TEST

/* As many as fit: all are found, and none of them costs more than itself. */
START_TEST(many_links)
{
    char *line = apr_pstrcat(pool, "Link: ", repeat("<a>;rel=x,", 700), "<z>;t=",
                             repeat("\"\";t=", 200), "\"\";rel=x\r\n", NULL);
    acme_http_response_t *r = with(line);

    ck_assert_str_eq(acme_http_response_link(r, "x", 699, pool), "a");
    ck_assert_str_eq(acme_http_response_link(r, "x", 700, pool), "z");
    ck_assert_ptr_null(acme_http_response_link(r, "x", 701, pool));
}
END_TEST

/* ---- requests ---- */

static const struct {
    acme_http_method_t method;
    const char *url, *body, *type, *accept, *agent, *want;
} requests[] = {
    {ACME_HTTP_GET, "https://ca.example/directory", NULL, NULL, "application/json", "a/1",
     "GET /directory HTTP/1.1\r\nHost: ca.example\r\nUser-Agent: a/1\r\n"
     "Accept: application/json\r\nAccept-Language: en\r\n\r\n"},
    {ACME_HTTP_HEAD, "https://[::1]:14000", NULL, NULL, NULL, "a/1",
     "HEAD / HTTP/1.1\r\nHost: [::1]:14000\r\nUser-Agent: a/1\r\nAccept-Language: en\r\n\r\n"},
    {ACME_HTTP_POST, "https://ca.example:8443/a?b=c%2f", "{\"a\":1}", "application/jose+json",
     "application/pem-certificate-chain", "a/1",
     "POST /a?b=c%2f HTTP/1.1\r\nHost: ca.example:8443\r\nUser-Agent: a/1\r\n"
     "Accept: application/pem-certificate-chain\r\nAccept-Language: en\r\n"
     "Content-Type: application/jose+json\r\n"
     "Content-Length: 7\r\n\r\n{\"a\":1}"},
    {ACME_HTTP_POST, "https://ca.example/", NULL, NULL, NULL, NULL,
     "POST / HTTP/1.1\r\nHost: ca.example\r\nAccept-Language: en\r\nContent-Length: 0\r\n\r\n"},
    /* a body belongs to a POST only */
    {ACME_HTTP_GET, "https://ca.example/", "body", "text/plain", NULL, NULL,
     "GET / HTTP/1.1\r\nHost: ca.example\r\nAccept-Language: en\r\n\r\n"},
    /* nothing ends a line before its time */
    {ACME_HTTP_GET, "https://ca.example/", NULL, NULL, "x\r\nA: b", "y\nz\r\n\r\nGET",
     "GET / HTTP/1.1\r\nHost: ca.example\r\nUser-Agent: y?z????GET\r\nAccept: x??A: b\r\n"
     "Accept-Language: en\r\n\r\n"},
};

START_TEST(request_bytes)
{
    acme_http_request_t request;
    acme_url_t *url = NULL;
    apr_size_t len = 0;
    const char *bytes;

    memset(&request, 0, sizeof(request));
    ck_assert_int_eq(acme_url_parse(&url, requests[_i].url, pool, NULL), ACME_OK);
    request.method = requests[_i].method;
    request.url = url;
    request.body = requests[_i].body;
    request.body_len = request.body ? strlen(request.body) : 0;
    request.content_type = requests[_i].type;
    request.accept = requests[_i].accept;
    request.user_agent = requests[_i].agent;
    bytes = acme_http_request_bytes(&len, &request, pool);
    ck_assert_str_eq(bytes, requests[_i].want);
    ck_assert_uint_eq(len, strlen(requests[_i].want));
}
END_TEST

START_TEST(request_with_binary_body)
{
    acme_http_request_t request;
    acme_url_t *url = NULL;
    apr_size_t len = 0;
    const char *bytes;

    memset(&request, 0, sizeof(request));
    ck_assert_int_eq(acme_url_parse(&url, "https://ca.example/", pool, NULL), ACME_OK);
    request.method = ACME_HTTP_POST;
    request.url = url;
    request.body = "a\0b";
    request.body_len = 3;
    bytes = acme_http_request_bytes(&len, &request, pool);
    ck_assert_uint_gt(len, 7);
    ck_assert_mem_eq(bytes + len - 7, "\r\n\r\na\0b", 7);
}
END_TEST

Suite *http_suite(void)
{
    Suite *suite = suite_create("http");
    TCase *tc = tcase_create("http");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, good_ones_in_any_split, 0, COUNT(good));
    tcase_add_loop_test(tc, good_ones_cut_short, 0, COUNT(good));
    tcase_add_test(tc, close_within_the_header);
    tcase_add_loop_test(tc, bad_ones_are_refused, 0, COUNT(bad));
    tcase_add_loop_test(tc, bad_ones_in_any_split, 0, COUNT(bad));
    tcase_add_test(tc, the_line_is_shown);
    tcase_add_test(tc, control_characters_anywhere);
    tcase_add_test(tc, first_cause_wins);
    tcase_add_test(tc, long_lines);
    tcase_add_test(tc, many_headers);
    tcase_add_test(tc, large_headers);
    tcase_add_test(tc, endless_chunk_extensions);
    tcase_add_test(tc, interim_flood);
    tcase_add_test(tc, body_cap);
    tcase_add_test(tc, headers_are_found);
    tcase_add_test(tc, interim_headers_and_trailers_are_forgotten);
    tcase_add_loop_test(tc, media_type, 0, COUNT(media));
    tcase_add_loop_test(tc, nonce, 0, COUNT(nonces));
    tcase_add_loop_test(tc, link_headers, 0, COUNT(links));
    tcase_add_test(tc, many_links);
    tcase_add_loop_test(tc, request_bytes, 0, COUNT(requests));
    tcase_add_test(tc, request_with_binary_body);
    suite_add_tcase(suite, tc);
    return suite;
}
