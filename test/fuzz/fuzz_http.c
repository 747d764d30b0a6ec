/* Licensed under the Apache License, Version 2.0; see LICENSE. */

/* Input: one byte, whose lowest bit says that the request was HEAD and whose others say where the
 * response is cut in two, and the response. In one piece, in two and byte by byte it must be the
 * same thing, whatever is accepted must keep the promises of http.h, and a refusal made of it those
 * of problem.h. */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <apr_general.h>
#include <apr_strings.h>

#include "protocol/problem.h"

#define BODY_MAX 4096
#define NOW apr_time_from_sec((apr_int64_t)1784110000)
#define WAIT_MAX apr_time_from_sec((apr_int64_t)7 * 86400)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef struct {
    acme_http_response_t *response;
    acme_error_t err;
    acme_rv_t rv;
    apr_size_t used;
    int closed; /* completed by the close */
} result_t;

static const char *const names[] = {
    "content-type", "content-length", "location", "retry-after", "link", "date", "replay-nonce"
};

#define NAMES (sizeof(names) / sizeof(names[0]))

static void must(int holds)
{
    if (!holds) {
        abort();
    }
}

static void feed(result_t *r, const char *bytes, apr_size_t len)
{
    apr_size_t used = 0;

    r->rv = acme_http_response_feed(r->response, bytes, len, &used, &r->err);
    must(used <= len && (r->rv != ACME_AGAIN || used == len));
    r->used += used;
}

/* first bytes, and the others in steps. */
static result_t parse(const char *bytes, apr_size_t len, int head_only, apr_size_t first,
                      apr_size_t step, apr_pool_t *pool)
{
    result_t r;
    apr_size_t at = first < len ? first : len;

    memset(&r, 0, sizeof(r));
    r.response = acme_http_response_create(head_only, BODY_MAX, pool);
    feed(&r, bytes, at);
    while (r.rv == ACME_AGAIN && at < len) {
        apr_size_t n = step < len - at ? step : len - at;

        feed(&r, bytes + at, n);
        at += n;
    }
    if (r.rv == ACME_AGAIN) {
        r.rv = acme_http_response_eof(r.response, &r.err);
        r.closed = 1;
    }
    must(r.rv != ACME_AGAIN && (r.rv == ACME_OK) == (r.err.kind == ACME_E_NONE));
    return r;
}

static int same_text(const char *a, const char *b)
{
    return a && b ? strcmp(a, b) == 0 : a == b;
}

static void same(const result_t *a, const result_t *b)
{
    apr_size_t la, lb, i;
    const char *x, *y;
    int at;

    must(a->rv == b->rv && a->closed == b->closed && strcmp(a->err.code, b->err.code) == 0);
    if (a->rv != ACME_OK) {
        return;
    }
    must(a->used == b->used);
    must(acme_http_response_status(a->response) == acme_http_response_status(b->response));
    must(acme_http_response_keep_alive(a->response) == acme_http_response_keep_alive(b->response));
    x = acme_http_response_body(a->response, &la);
    y = acme_http_response_body(b->response, &lb);
    must(la == lb && memcmp(x, y, la) == 0);
    for (i = 0; i < NAMES; i++) {
        for (at = 0; at < 3; at++) {
            must(same_text(acme_http_response_header_at(a->response, names[i], at),
                           acme_http_response_header_at(b->response, names[i], at)));
        }
    }
}

static void printable(const char *text)
{
    const unsigned char *p;

    for (p = (const unsigned char *)text; *p; p++) {
        must(*p >= 0x20 && *p != 0x7f);
    }
}

static void check_headers(const acme_http_response_t *response, apr_pool_t *pool)
{
    const char *value, *nonce = acme_http_response_nonce(response);
    int i, n = 0;
    apr_size_t k;

    for (k = 0; k < NAMES; k++) {
        for (i = 0;; i++) {
            value = acme_http_response_header_at(response, names[k], i);
            if (!value) {
                break;
            }
            printable(value);
            must(*value != ' ' && (!*value || value[strlen(value) - 1] != ' '));
            n++;
        }
    }
    must(n <= ACME_HTTP_HEADERS_MAX);
    must(!nonce || (*nonce && strlen(nonce) <= 256
                    && strspn(nonce, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                     "0123456789-_") == strlen(nonce)));
    value = acme_http_response_media_type(response, pool);
    must(strcspn(value, "; ABCDEFGHIJKLMNOPQRSTUVWXYZ") == strlen(value));
    for (i = 0; i < 20; i++) {
        value = acme_http_response_link(response, "alternate", i, pool);
        must(!value || !strchr(value, '>'));
        if (!value) {
            must(!acme_http_response_link(response, "alternate", i + 1, pool));
            break;
        }
    }
}

static void check_problem(const acme_http_response_t *response, apr_pool_t *pool)
{
    acme_problem_t *problem = NULL;
    acme_error_t err;

    acme_error_clear(&err);
    must(acme_problem_from_response(&problem, response, NOW, pool, &err) == ACME_FAIL);
    must(err.kind == ACME_E_PROBLEM && err.http_status == acme_http_response_status(response));
    must(err.not_before == 0 || (err.not_before >= NOW && err.not_before <= NOW + WAIT_MAX));
    must(err.retry == problem->retry && strcmp(err.problem, problem->type) == 0);
    must(*err.text && *problem->text && strlen(problem->text) < 8192);
    must(strlen(problem->detail) <= 512);
    printable(err.text);
    printable(problem->text);
    printable(problem->type);
    printable(problem->detail);
    printable(problem->instance ? problem->instance : "");
}

static void check(const result_t *r, int head_only, apr_pool_t *pool)
{
    int status = acme_http_response_status(r->response);
    apr_size_t len;
    const char *body = acme_http_response_body(r->response, &len);

    must(status >= 200 && status <= 599);
    must(len <= BODY_MAX && body[len] == '\0');
    must(len == 0 || !(head_only || status == 204 || status == 304));
    must(!r->closed || !acme_http_response_keep_alive(r->response));
    check_headers(r->response, pool);
    if (status >= 300) {
        check_problem(r->response, pool);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static apr_pool_t *parent;
    result_t whole, two, single;
    apr_pool_t *pool;
    const char *bytes;
    int head_only;

    if (!parent) {
        apr_initialize();
        acme_json_init();
        apr_pool_create(&parent, NULL);
    }
    if (size == 0) {
        return 0;
    }
    apr_pool_create(&pool, parent);
    bytes = (const char *)data + 1;
    size--;
    head_only = data[0] & 1;
    whole = parse(bytes, size, head_only, size, 1, pool);
    two = parse(bytes, size, head_only, size * (data[0] >> 1) / 128, size, pool);
    single = parse(bytes, size, head_only, 0, 1, pool);
    same(&whole, &two);
    same(&whole, &single);
    if (whole.rv == ACME_OK) {
        check(&whole, head_only, pool);
    }
    else {
        must(whole.err.kind == ACME_E_HTTP && *whole.err.text);
        printable(whole.err.text);
    }
    apr_pool_destroy(pool);
    return 0;
}
