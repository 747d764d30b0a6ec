/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#ifndef ACME_PROTOCOL_HTTP_H
#define ACME_PROTOCOL_HTTP_H

#include "base/url.h"

/* HTTP/1.1 (RFC 9110, RFC 9112), client side, pure: bytes in, state out. */

typedef enum { ACME_HTTP_GET, ACME_HTTP_HEAD, ACME_HTTP_POST } acme_http_method_t;

typedef struct {
    acme_http_method_t method;
    const acme_url_t *url;
    const char *body;          /* POST only; sent with Content-Length */
    apr_size_t body_len;
    const char *content_type;  /* "application/jose+json" */
    const char *accept;        /* or NULL */
    const char *user_agent;
} acme_http_request_t;

/* Request line and header section and body as they go on the wire; Connection: keep-alive is the
 * default of HTTP/1.1 and not sent; no Accept-Encoding. */
const char *acme_http_request_bytes(apr_size_t *len, const acme_http_request_t *request,
                                    apr_pool_t *pool);

#define ACME_HTTP_LINE_MAX 8192
#define ACME_HTTP_HEADERS_MAX 100
#define ACME_HTTP_HEADER_BYTES_MAX 65536
#define ACME_HTTP_INTERIM_MAX 10
#define ACME_HTTP_JSON_MAX 65536         /* body cap for JSON */
#define ACME_HTTP_CHAIN_MAX (256 * 1024) /* body cap for certificates */

typedef struct {
    const char *name;  /* lower case */
    const char *value; /* trimmed, printable, no NUL/CR/LF */
} acme_http_header_t;

/* A response that grows. Read only status/header/body, and those only after ACME_OK. */
typedef struct acme_http_response_t acme_http_response_t;

/* head_only: the request was HEAD (no body follows whatever the headers say). */
acme_http_response_t *acme_http_response_create(int head_only, apr_size_t body_max,
                                                apr_pool_t *pool);

/* Feeds len bytes; *used is how many were consumed (all of them until the message is complete; what
 * is left over belongs to nobody: the connection must then not be reused). ACME_AGAIN: more needed;
 * ACME_OK: complete; ACME_FAIL: malformed, ambiguous framing or over a cap. */
acme_rv_t acme_http_response_feed(acme_http_response_t *response, const char *data, apr_size_t len,
                                  apr_size_t *used, acme_error_t *err);
/* The peer closed: completes a body that runs to the close, fails every other state. */
acme_rv_t acme_http_response_eof(acme_http_response_t *response, acme_error_t *err);

int acme_http_response_started(const acme_http_response_t *response); /* any byte seen */
int acme_http_response_status(const acme_http_response_t *response);
int acme_http_response_keep_alive(const acme_http_response_t *response);
/* First header of that name (lower case), or NULL; the i-th. */
const char *acme_http_response_header(const acme_http_response_t *response, const char *name);
const char *acme_http_response_header_at(const acme_http_response_t *response, const char *name,
                                         int i);
/* NUL-terminated for convenience; may hold NULs: use the length. */
const char *acme_http_response_body(const acme_http_response_t *response, apr_size_t *len);

/* Media type without parameters, lower case, or "". */
const char *acme_http_response_media_type(const acme_http_response_t *response, apr_pool_t *pool);
/* i-th target of Link headers with that rel (RFC 8288), or NULL; malformed links are skipped. */
const char *acme_http_response_link(const acme_http_response_t *response, const char *rel, int i,
                                    apr_pool_t *pool);
/* Replay-Nonce when it is a legal nonce (RFC 8555 section 6.5: base64url, at most 256 bytes), or
 * NULL. */
const char *acme_http_response_nonce(const acme_http_response_t *response);

#endif
