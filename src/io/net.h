/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#ifndef ACME_IO_NET_H
#define ACME_IO_NET_H

#include <apr_network_io.h>
#include "base/error.h"

/* Asked before and during every blocking wait, at least every 200 ms. */
typedef struct {
    int (*stopped)(void *baton); /* non-zero: give up with ACME_E_STOPPED */
    void *baton;
} acme_stop_t;

int acme_stopped(const acme_stop_t *stop); /* stop may be NULL */

#define ACME_WAIT_SLICE apr_time_from_msec(200)

/* The clock all deadlines of this layer are measured by: it only grows, whatever is done to the
 * time of day, and means nothing outside the process. */
apr_time_t acme_net_now(void);

/* Resolves in a detached thread of its own (no OpenSSL state, nothing freed twice when nobody
 * waits for it any more), then tries every address in turn until one connects; each connect at
 * most 10 s, all within deadline (of acme_net_now; APR_INT64_MAX: none). The socket is
 * non-blocking with CLOEXEC, and closed with the pool. AC0201 no address, AC0202 no connection
 * (status: the last address' reason), AC0206 no descriptor. */
acme_rv_t acme_net_connect(apr_socket_t **out, const char *host, apr_port_t port,
                           apr_time_t deadline, const acme_stop_t *stop, apr_pool_t *pool,
                           acme_error_t *err);

/* The addresses of a name as the system's resolver gives them, in its order and as numbers (const
 * char *), each once; an address is its own. Resolved like above. */
acme_rv_t acme_net_addresses(apr_array_header_t **out, const char *host, apr_time_t deadline,
                             const acme_stop_t *stop, apr_pool_t *pool, acme_error_t *err);
/* Is a numeric address one of this machine's? (A socket can be bound to it.) */
int acme_net_is_own(const char *address);

/* Waits for readability (want_write 0) or writability until deadline. An error on the socket counts
 * as ready: the next call finds it. Time-out: ACME_E_NETWORK with status APR_TIMEUP, AC0205. */
acme_rv_t acme_net_wait(apr_socket_t *socket, int want_write, apr_time_t deadline,
                        const acme_stop_t *stop, acme_error_t *err);

/* Plain bytes, for talking to a proxy; never raises SIGPIPE. Write sends all; read gives some
 * (*len > 0), or *len = 0 when the peer has closed. */
acme_rv_t acme_net_write(apr_socket_t *socket, const char *data, apr_size_t len,
                         apr_time_t deadline, const acme_stop_t *stop, acme_error_t *err);
acme_rv_t acme_net_read(apr_socket_t *socket, char *buffer, apr_size_t *len, apr_time_t deadline,
                        const acme_stop_t *stop, acme_error_t *err);

#endif
