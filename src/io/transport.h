/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#ifndef ACME_IO_TRANSPORT_H
#define ACME_IO_TRANSPORT_H

#include "io/tls.h"
#include "protocol/http.h"

/* HTTPS exchanges with one CA: a pool of kept connections, shared by the workers. Thread-safe. All
 * exchanges must have ended when its pool is destroyed. */
typedef struct acme_transport_t acme_transport_t;

typedef struct {
    const char *ca_file;    /* or NULL */
    const char *proxy;      /* "http://host:port" for CONNECT, or NULL */
    const char *proxy_user; /* "user:password" for it, or NULL */
    const char *user_agent;
    apr_interval_time_t timeout;     /* of one exchange, connect to last byte; 0: 60 s */
    apr_interval_time_t silence;     /* no byte or no handshake for so long; 0: 30 s */
    int idle_max;                    /* kept connections; 0: 8 */
    apr_interval_time_t idle_time;   /* 0: 30 s */
} acme_transport_conf_t;

#define ACME_PROXY_REPLY_MAX 16384

/* A proxy's address, "http://host:port", taken apart; nothing else may stand in it (AC0214). */
acme_rv_t acme_proxy_parse(acme_url_t **out, const char *text, apr_pool_t *pool,
                           acme_error_t *err);

/* Does not connect; trust anchors are loaded at the first exchange (a missing file is that
 * exchange's error, so that a mended file is found again) and again whenever ca_file has changed.
 * */
acme_transport_t *acme_transport_create(const acme_transport_conf_t *conf, apr_pool_t *pool);

/* One exchange. request->user_agent may be NULL (conf's is used). The response lives in pool. A
 * connection that is lost before any byte of the response came is replaced once, transparently:
 * for GET and HEAD, and for POST only if it was idle before and no byte of the request could have
 * left. On ACME_FAIL *maybe_sent (may be NULL) says whether the CA may have seen the request.
 * Errors: those of net.h and tls.h, AC0204 when the connection ended within the response, AC0212
 * for the proxy. */
acme_rv_t acme_transport_exchange(acme_http_response_t **out, acme_transport_t *transport,
                                  const acme_http_request_t *request, apr_size_t body_max,
                                  int *maybe_sent, const acme_stop_t *stop, apr_pool_t *pool,
                                  acme_error_t *err);

/* Closes idle connections. */
void acme_transport_flush(acme_transport_t *transport);

/* Exchanges and connections so far, for tests and the log. */
void acme_transport_counts(const acme_transport_t *transport, apr_uint32_t *exchanges,
                           apr_uint32_t *connections);

#endif
