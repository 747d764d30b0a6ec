/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#ifndef ACMOD_SSL_HOOKS_H
#define ACMOD_SSL_HOOKS_H

/* mod_ssl's OpenSSL-typed hooks (its mod_ssl_openssl.h, part of httpd's API since 2.4.33). Several
 * distributions leave that header out of their development packages, so the one optional hook that
 * is used here is declared by its documented signature. */

#include <openssl/ssl.h>
#include "mod_ssl.h"

/* Run for every SSL-enabled server once its SSL_CTX is complete. is_proxy: 1 for backend
 * connections. */
APR_DECLARE_EXTERNAL_HOOK(ssl, SSL, int, init_server,
                          (server_rec *s, apr_pool_t *p, int is_proxy, SSL_CTX *ctx))

/* Run before the handshake of each connection. */
APR_DECLARE_EXTERNAL_HOOK(ssl, SSL, int, pre_handshake,
                          (conn_rec *c, SSL *ssl, int is_proxy))

#endif
