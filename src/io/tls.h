/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#ifndef ACME_IO_TLS_H
#define ACME_IO_TLS_H

#include "io/net.h"

/* TLS >= 1.2 to a CA over an APR socket. Chain and host name (or IP) are always verified; there is
 * no way to switch that off (acme_tls_look sends nothing and takes nothing but the certificate). Writing to a closed connection is an error, never a SIGPIPE.
 * Deadlines are those of acme_net_now. */
typedef struct acme_tls_trust_t acme_tls_trust_t; /* an SSL_CTX; shared by threads */
typedef struct acme_tls_t acme_tls_t;             /* one connection; one thread at a time */

/* ca_file: PEM bundle, NULL for the system's store. A file that is missing, empty or garbage is an
 * error that names it (AC0101). Also keeps TLS sessions for resumption. It must outlive its
 * connections. */
acme_rv_t acme_tls_trust_create(acme_tls_trust_t **out, const char *ca_file, apr_pool_t *pool,
                                acme_error_t *err);

/* Handshake with SNI (not for IP literals). Errors carry the verification text (AC0210); AC0211
 * other TLS trouble, AC0203 connection lost. host is canonical; an empty one is an error. Says
 * goodbye to the peer when pool is destroyed; socket must be in the same pool or one that outlives
 * it. */
acme_rv_t acme_tls_connect(acme_tls_t **out, acme_tls_trust_t *trust, apr_socket_t *socket,
                           const char *host, int host_is_ip, apr_time_t deadline,
                           const acme_stop_t *stop, apr_pool_t *pool, acme_error_t *err);

acme_rv_t acme_tls_write(acme_tls_t *tls, const char *data, apr_size_t len, apr_time_t deadline,
                         const acme_stop_t *stop, acme_error_t *err);
/* Some bytes (*len > 0), or *len = 0 at an orderly close. */
acme_rv_t acme_tls_read(acme_tls_t *tls, char *buffer, apr_size_t *len, apr_time_t deadline,
                        const acme_stop_t *stop, acme_error_t *err);
/* Has the peer closed or sent something unasked for? (idle keep-alive check, no waiting) */
int acme_tls_idle_ok(acme_tls_t *tls);

/* What a handshake shows, as a validator of tls-alpn-01 sees it. */
typedef struct {
    const char *sni;            /* to send */
    const char *alpn;           /* the one protocol to offer, or NULL */
    int alpn_chosen;            /* did the peer choose it? */
    const unsigned char *leaf;  /* DER of its certificate */
    apr_size_t leaf_len;
} acme_tls_look_t;

/* A handshake in which nothing is verified, and the end of the connection; leaf lives in pool.
 * AC0203 and AC0211 as above. */
acme_rv_t acme_tls_look(acme_tls_look_t *look, apr_socket_t *socket, apr_time_t deadline,
                        const acme_stop_t *stop, apr_pool_t *pool, acme_error_t *err);

/* Bytes the system has accepted for sending so far: when a failed write did not change it, the peer
 * has seen nothing of it. */
apr_uint64_t acme_tls_sent(const acme_tls_t *tls);

#endif
