/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#include "io/tls.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <apr_portable.h>
#include <apr_strings.h>
#include <apr_thread_mutex.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509_vfy.h>
#include <openssl/x509v3.h>

#define CA_FILE_MAX (16 * 1024 * 1024)
#define CERT_LIST_MAX (100 * 1024)
#define CHAIN_DEPTH_MAX 10
#define SESSIONS 16

typedef struct {
    char peer[320];
    SSL_SESSION *session; /* NULL: free */
} kept_t;

struct acme_tls_trust_t {
    SSL_CTX *ctx;
    BIO_METHOD *method;
    apr_thread_mutex_t *mutex; /* guards kept */
    kept_t kept[SESSIONS];
    int next;                  /* place for the next one */
};

struct acme_tls_t {
    acme_tls_trust_t *trust;
    SSL *ssl;
    apr_socket_t *socket;
    int fd;
    int eof;            /* recv said so */
    int sys;            /* errno of the last send or recv */
    int broken;         /* no goodbye possible */
    apr_uint64_t sent;
    char peer[320];     /* host and port: what a session may be resumed with */
    const char *host;
};

/* ---- the socket as a BIO; OpenSSL's own would write without MSG_NOSIGNAL ---- */

static int bio_again(BIO *bio, int error, int for_write)
{
    if (error != EAGAIN && error != EWOULDBLOCK) {
        return 0;
    }
    if (for_write) {
        BIO_set_retry_write(bio);
    }
    else {
        BIO_set_retry_read(bio);
    }
    return 1;
}

static int bio_write(BIO *bio, const char *data, int len)
{
    acme_tls_t *tls = BIO_get_data(bio);
    ssize_t n;

    BIO_clear_retry_flags(bio);
    do {
        n = send(tls->fd, data, (size_t)len, MSG_NOSIGNAL);
    } while (n < 0 && errno == EINTR);
    if (n >= 0) {
        tls->sent += (apr_uint64_t)n;
        return (int)n;
    }
    if (!bio_again(bio, errno, 1)) {
        tls->sys = errno;
    }
    return -1;
}

static int bio_read(BIO *bio, char *buffer, int len)
{
    acme_tls_t *tls = BIO_get_data(bio);
    ssize_t n;

    BIO_clear_retry_flags(bio);
    do {
        n = recv(tls->fd, buffer, (size_t)len, 0);
    } while (n < 0 && errno == EINTR);
    if (n == 0) {
        tls->eof = 1;
    }
    if (n >= 0) {
        return (int)n;
    }
    if (!bio_again(bio, errno, 0)) {
        tls->sys = errno;
    }
    return -1;
}

static long bio_ctrl(BIO *bio, int cmd, long number, void *data)
{
    acme_tls_t *tls = BIO_get_data(bio);

    (void)number;
    (void)data;
    if (cmd == BIO_CTRL_EOF) {
        return tls->eof;
    }
    return cmd == BIO_CTRL_FLUSH;
}

static int bio_create(BIO *bio)
{
    BIO_set_init(bio, 1);
    return 1;
}

static BIO_METHOD *bio_method(void)
{
    BIO_METHOD *method = BIO_meth_new(BIO_TYPE_SOURCE_SINK, "acme socket");

    if (method
        && (!BIO_meth_set_write(method, bio_write) || !BIO_meth_set_read(method, bio_read)
            || !BIO_meth_set_ctrl(method, bio_ctrl) || !BIO_meth_set_create(method, bio_create))) {
        BIO_meth_free(method);
        method = NULL;
    }
    return method;
}

/* ---- errors ---- */

static const char *openssl_reason(char *buffer, apr_size_t size)
{
    unsigned long code = ERR_peek_error();
    const char *reason = code ? ERR_reason_error_string(code) : NULL;

    if (reason) {
        return reason;
    }
    ERR_error_string_n(code, buffer, size);
    return code ? buffer : "unknown reason";
}

/* Did the peer just go away, without TLS' goodbye? */
static int cut_off(const acme_tls_t *tls, int ssl_error)
{
    if (ssl_error == SSL_ERROR_SYSCALL) {
        return 1;
    }
#ifdef SSL_R_UNEXPECTED_EOF_WHILE_READING
    if (ERR_GET_REASON(ERR_peek_error()) == SSL_R_UNEXPECTED_EOF_WHILE_READING) {
        return 1;
    }
#endif
    return tls->eof;
}

static acme_rv_t io_failed(acme_tls_t *tls, int ssl_error, const char *doing, acme_error_t *err)
{
    char buffer[160];

    tls->broken = 1;
    if (ssl_error == SSL_ERROR_ZERO_RETURN || cut_off(tls, ssl_error)) {
        char why[160] = "closed by the peer";

        if (ssl_error == SSL_ERROR_SYSCALL && tls->sys) {
            apr_strerror(tls->sys, why, sizeof(why));
        }
        acme_error_set(err, ACME_E_NETWORK, "AC0203", "%s: connection lost while %s: %s",
                       tls->host, doing, why);
    }
    else {
        acme_error_set(err, ACME_E_TLS, "AC0211", "%s: TLS error while %s: %s", tls->host, doing,
                       openssl_reason(buffer, sizeof(buffer)));
    }
    ERR_clear_error();
    return ACME_FAIL;
}

/* What an SSL_ function wants before it can go on. ACME_OK: call it again. */
static acme_rv_t after(acme_tls_t *tls, int rc, const char *doing, apr_time_t deadline,
                       const acme_stop_t *stop, acme_error_t *err)
{
    int ssl_error = SSL_get_error(tls->ssl, rc);
    acme_rv_t rv;

    if (ssl_error != SSL_ERROR_WANT_READ && ssl_error != SSL_ERROR_WANT_WRITE) {
        return io_failed(tls, ssl_error, doing, err);
    }
    rv = acme_net_wait(tls->socket, ssl_error == SSL_ERROR_WANT_WRITE, deadline, stop, err);
    if (rv != ACME_OK) {
        tls->broken = 1;
        acme_error_prefix(err, "%s: %s", tls->host, doing);
    }
    return rv;
}

/* ---- trust ---- */

/* Sessions of TLS 1.3 are for one use (RFC 8446 appendix C.4), older ones for many. */
static SSL_SESSION *kept_take(acme_tls_trust_t *trust, const char *peer)
{
    SSL_SESSION *session = NULL;
    int i;

    apr_thread_mutex_lock(trust->mutex);
    for (i = 0; i < SESSIONS && !session; i++) {
        kept_t *kept = &trust->kept[i];

        if (!kept->session || strcmp(kept->peer, peer)) {
            continue;
        }
        session = kept->session;
        if (SSL_SESSION_get_protocol_version(session) >= TLS1_3_VERSION) {
            kept->session = NULL;
        }
        else {
            SSL_SESSION_up_ref(session);
        }
    }
    apr_thread_mutex_unlock(trust->mutex);
    return session;
}

static int kept_put(SSL *ssl, SSL_SESSION *session)
{
    acme_tls_t *tls = SSL_get_app_data(ssl);
    acme_tls_trust_t *trust = tls ? tls->trust : NULL;
    kept_t *kept;

    if (!trust || !SSL_SESSION_is_resumable(session)) {
        return 0;
    }
    apr_thread_mutex_lock(trust->mutex);
    kept = &trust->kept[trust->next];
    trust->next = (trust->next + 1) % SESSIONS;
    if (kept->session) {
        SSL_SESSION_free(kept->session);
    }
    kept->session = session;
    apr_cpystrn(kept->peer, tls->peer, sizeof(kept->peer));
    apr_thread_mutex_unlock(trust->mutex);
    return 1;
}

static apr_status_t trust_destroy(void *data)
{
    acme_tls_trust_t *trust = data;
    int i;

    for (i = 0; i < SESSIONS; i++) {
        SSL_SESSION_free(trust->kept[i].session);
    }
    SSL_CTX_free(trust->ctx);
    BIO_meth_free(trust->method);
    return APR_SUCCESS;
}

static int ctx_harden(SSL_CTX *ctx)
{
    X509_VERIFY_PARAM *param = SSL_CTX_get0_param(ctx);

    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
    SSL_CTX_set_verify_depth(ctx, CHAIN_DEPTH_MAX);
    SSL_CTX_set_max_cert_list(ctx, CERT_LIST_MAX);
    SSL_CTX_set_options(ctx, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION);
    SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER
                              | SSL_MODE_AUTO_RETRY | SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(ctx, kept_put);
    if (!param || !SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION)) {
        return 0;
    }
    X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS
                                               | X509_CHECK_FLAG_NEVER_CHECK_SUBJECT);
    return X509_VERIFY_PARAM_set_purpose(param, X509_PURPOSE_SSL_SERVER) == 1;
}

/* Why the file cannot hold trust anchors, or NULL. */
static const char *ca_file_fault(const char *ca_file)
{
    struct stat st;

    if (stat(ca_file, &st) != 0) {
        return errno == ENOENT ? "does not exist" : "cannot be looked at";
    }
    if (!S_ISREG(st.st_mode)) {
        return "is no regular file";
    }
    if (st.st_size == 0) {
        return "is empty";
    }
    return st.st_size > CA_FILE_MAX ? "is larger than 16 MB" : NULL;
}

static acme_rv_t load_anchors(SSL_CTX *ctx, const char *ca_file, acme_error_t *err)
{
    const char *fault;
    char buffer[160];

    if (!ca_file) {
        if (SSL_CTX_set_default_verify_paths(ctx) == 1) {
            return ACME_OK;
        }
        return acme_error_set(err, ACME_E_SYSTEM, NULL, "the system's trust store cannot be used");
    }
    fault = ca_file_fault(ca_file);
    if (!fault && SSL_CTX_load_verify_locations(ctx, ca_file, NULL) != 1) {
        fault = openssl_reason(buffer, sizeof(buffer));
    }
    if (!fault) {
        return ACME_OK;
    }
    acme_error_set(err, ACME_E_CONFIG, "AC0101",
                   "AcmeCAFile %s: %s; wanted: PEM certificates the server's user can read",
                   ca_file, fault);
    return ACME_FAIL;
}

acme_rv_t acme_tls_trust_create(acme_tls_trust_t **out, const char *ca_file, apr_pool_t *pool,
                                acme_error_t *err)
{
    acme_tls_trust_t *trust = apr_pcalloc(pool, sizeof(*trust));
    acme_rv_t rv;

    ERR_clear_error();
    *out = NULL;
    trust->ctx = SSL_CTX_new(TLS_client_method());
    trust->method = bio_method();
    apr_pool_cleanup_register(pool, trust, trust_destroy, apr_pool_cleanup_null);
    if (!trust->ctx || !trust->method || !ctx_harden(trust->ctx)
        || apr_thread_mutex_create(&trust->mutex, APR_THREAD_MUTEX_DEFAULT, pool) != APR_SUCCESS) {
        ERR_clear_error();
        return acme_error_set(err, ACME_E_INTERNAL, NULL, "TLS cannot be set up");
    }
    rv = load_anchors(trust->ctx, ca_file, err);
    ERR_clear_error();
    *out = rv == ACME_OK ? trust : NULL;
    return rv;
}

/* ---- connections ---- */

static apr_status_t tls_destroy(void *data)
{
    acme_tls_t *tls = data;

    if (tls->ssl) {
        if (!tls->broken && SSL_is_init_finished(tls->ssl)) {
            (void)SSL_shutdown(tls->ssl);
        }
        SSL_free(tls->ssl);
        tls->ssl = NULL;
        ERR_clear_error();
    }
    return APR_SUCCESS;
}

static void name_peer(acme_tls_t *tls)
{
    apr_sockaddr_t *remote = NULL;
    unsigned port = 0;

    if (apr_socket_addr_get(&remote, APR_REMOTE, tls->socket) == APR_SUCCESS && remote) {
        port = remote->port;
    }
    apr_snprintf(tls->peer, sizeof(tls->peer), "%s %u", tls->host, port);
}

/* Every step must succeed: a name that was not set would mean that any name will do. */
static int expect_host(SSL *ssl, const char *host, int host_is_ip)
{
    X509_VERIFY_PARAM *param = SSL_get0_param(ssl);

    if (!param) {
        return 0;
    }
    if (host_is_ip) {
        return X509_VERIFY_PARAM_set1_ip_asc(param, host) == 1;
    }
    return X509_VERIFY_PARAM_set1_host(param, host, 0) == 1
           && SSL_set_tlsext_host_name(ssl, host) == 1;
}

static acme_rv_t tls_prepare(acme_tls_t *tls, int host_is_ip, acme_error_t *err)
{
    static const unsigned char alpn[] = "\x08http/1.1";
    SSL_SESSION *session;
    BIO *bio;

    tls->ssl = SSL_new(tls->trust->ctx);
    bio = tls->ssl ? BIO_new(tls->trust->method) : NULL;
    if (!bio) {
        return acme_error_set(err, ACME_E_INTERNAL, NULL, "%s: TLS: out of memory", tls->host);
    }
    BIO_set_data(bio, tls);
    SSL_set_bio(tls->ssl, bio, bio);
    SSL_set_app_data(tls->ssl, tls);
    SSL_set_connect_state(tls->ssl);
    if (!expect_host(tls->ssl, tls->host, host_is_ip)
        || SSL_set_alpn_protos(tls->ssl, alpn, sizeof(alpn) - 1) != 0) {
        return acme_error_set(err, ACME_E_TLS, "AC0213", "%s: cannot demand this host name",
                              tls->host);
    }
    session = kept_take(tls->trust, tls->peer);
    if (session) {
        (void)SSL_set_session(tls->ssl, session);
        SSL_SESSION_free(session);
    }
    return ACME_OK;
}

static const char *verify_hint(long result)
{
    switch (result) {
    case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
    case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
        return "; AcmeCAFile names the trust anchors of a CA of one's own";
    default:
        return "";
    }
}

/* ACME_FAIL when the certificate was refused: the most specific cause of a failed handshake. */
static acme_rv_t verdict(acme_tls_t *tls, acme_error_t *err)
{
    long result = SSL_get_verify_result(tls->ssl);

    if (result == X509_V_OK) {
        return ACME_OK;
    }
    tls->broken = 1;
    ERR_clear_error();
    return acme_error_set(err, ACME_E_TLS, "AC0210", "%s: certificate refused: %s%s", tls->host,
                          X509_verify_cert_error_string(result), verify_hint(result));
}

static acme_rv_t handshake(acme_tls_t *tls, apr_time_t deadline, const acme_stop_t *stop,
                           acme_error_t *err)
{
    for (;;) {
        acme_rv_t rv;
        int rc;

        ERR_clear_error();
        rc = SSL_connect(tls->ssl);
        if (rc == 1) {
            break;
        }
        rv = verdict(tls, err);
        if (rv == ACME_OK) {
            rv = after(tls, rc, "the TLS handshake", deadline, stop, err);
        }
        if (rv != ACME_OK) {
            return rv;
        }
    }
    return verdict(tls, err);
}

acme_rv_t acme_tls_connect(acme_tls_t **out, acme_tls_trust_t *trust, apr_socket_t *socket,
                           const char *host, int host_is_ip, apr_time_t deadline,
                           const acme_stop_t *stop, apr_pool_t *pool, acme_error_t *err)
{
    acme_tls_t *tls;
    apr_os_sock_t fd = -1;
    acme_rv_t rv;

    *out = NULL;
    if (!host || !*host) {
        return acme_error_set(err, ACME_E_INTERNAL, NULL, "TLS without a host name");
    }
    tls = apr_pcalloc(pool, sizeof(*tls));
    tls->trust = trust;
    tls->socket = socket;
    tls->host = apr_pstrdup(pool, host);
    apr_os_sock_get(&fd, socket);
    tls->fd = fd;
    name_peer(tls);
    apr_pool_cleanup_register(pool, tls, tls_destroy, apr_pool_cleanup_null);
    ERR_clear_error();
    rv = tls_prepare(tls, host_is_ip, err);
    if (rv == ACME_OK) {
        rv = handshake(tls, deadline, stop, err);
    }
    if (rv != ACME_OK) {
        ERR_clear_error();
        apr_pool_cleanup_run(pool, tls, tls_destroy);
        return ACME_FAIL;
    }
    *out = tls;
    return ACME_OK;
}

acme_rv_t acme_tls_write(acme_tls_t *tls, const char *data, apr_size_t len, apr_time_t deadline,
                         const acme_stop_t *stop, acme_error_t *err)
{
    while (len > 0) {
        acme_rv_t rv;
        size_t n = 0;
        int rc;

        ERR_clear_error();
        rc = SSL_write_ex(tls->ssl, data, len, &n);
        if (rc == 1) {
            data += n;
            len -= n;
            continue;
        }
        rv = after(tls, rc, "sending", deadline, stop, err);
        if (rv != ACME_OK) {
            return rv;
        }
    }
    return ACME_OK;
}

acme_rv_t acme_tls_read(acme_tls_t *tls, char *buffer, apr_size_t *len, apr_time_t deadline,
                        const acme_stop_t *stop, acme_error_t *err)
{
    apr_size_t size = *len;

    for (;;) {
        acme_rv_t rv;
        size_t n = 0;
        int rc;

        ERR_clear_error();
        rc = SSL_read_ex(tls->ssl, buffer, size, &n);
        if (rc == 1) {
            *len = n;
            return ACME_OK;
        }
        *len = 0;
        if (SSL_get_error(tls->ssl, rc) == SSL_ERROR_ZERO_RETURN) {
            return ACME_OK;
        }
        rv = after(tls, rc, "receiving", deadline, stop, err);
        if (rv != ACME_OK) {
            return rv;
        }
    }
}

int acme_tls_idle_ok(acme_tls_t *tls)
{
    char byte;
    size_t n = 0;
    int rc, ssl_error;

    /* Also digests what TLS sends by itself, as session tickets. */
    ERR_clear_error();
    rc = SSL_peek_ex(tls->ssl, &byte, 1, &n);
    ssl_error = rc == 1 ? SSL_ERROR_NONE : SSL_get_error(tls->ssl, rc);
    ERR_clear_error();
    if (ssl_error != SSL_ERROR_WANT_READ && ssl_error != SSL_ERROR_NONE) {
        tls->broken = 1;
    }
    return ssl_error == SSL_ERROR_WANT_READ;
}

apr_uint64_t acme_tls_sent(const acme_tls_t *tls)
{
    return tls->sent;
}

/* ---- a look at what a handshake shows ---- */

static int look_prepare(acme_tls_t *tls, const acme_tls_look_t *look, apr_pool_t *pool)
{
    BIO *bio;

    tls->trust->ctx = SSL_CTX_new(TLS_client_method());
    tls->trust->method = bio_method();
    if (!tls->trust->ctx || !tls->trust->method) {
        return 0;
    }
    SSL_CTX_set_verify(tls->trust->ctx, SSL_VERIFY_NONE, NULL);
    SSL_CTX_set_max_cert_list(tls->trust->ctx, CERT_LIST_MAX);
    SSL_CTX_set_session_cache_mode(tls->trust->ctx, SSL_SESS_CACHE_OFF);
    tls->ssl = SSL_new(tls->trust->ctx);
    bio = tls->ssl ? BIO_new(tls->trust->method) : NULL;
    if (!bio) {
        return 0;
    }
    BIO_set_data(bio, tls);
    SSL_set_bio(tls->ssl, bio, bio);
    SSL_set_connect_state(tls->ssl);
    if (look->alpn) {
        unsigned char *alpn = apr_palloc(pool, strlen(look->alpn) + 2);

        alpn[0] = (unsigned char)strlen(look->alpn);
        memcpy(alpn + 1, look->alpn, strlen(look->alpn));
        if (SSL_set_alpn_protos(tls->ssl, alpn, alpn[0] + 1u) != 0) {
            return 0;
        }
    }
    return SSL_set_tlsext_host_name(tls->ssl, look->sni) == 1;
}

static acme_rv_t look_result(acme_tls_look_t *look, acme_tls_t *tls, apr_pool_t *pool,
                             acme_error_t *err)
{
    X509 *leaf = SSL_get_peer_certificate(tls->ssl);
    const unsigned char *alpn = NULL;
    unsigned char *der = NULL;
    unsigned int alpn_len = 0;
    int len = leaf ? i2d_X509(leaf, &der) : 0;

    X509_free(leaf);
    if (len <= 0) {
        return acme_error_set(err, ACME_E_TLS, NULL, "%s: no certificate", tls->host);
    }
    look->leaf = apr_pmemdup(pool, der, (apr_size_t)len);
    look->leaf_len = (apr_size_t)len;
    OPENSSL_free(der);
    SSL_get0_alpn_selected(tls->ssl, &alpn, &alpn_len);
    look->alpn_chosen = look->alpn && alpn_len == strlen(look->alpn)
                        && memcmp(alpn, look->alpn, alpn_len) == 0;
    return ACME_OK;
}

acme_rv_t acme_tls_look(acme_tls_look_t *look, apr_socket_t *socket, apr_time_t deadline,
                        const acme_stop_t *stop, apr_pool_t *pool, acme_error_t *err)
{
    acme_tls_t *tls = apr_pcalloc(pool, sizeof(*tls));
    acme_rv_t rv = ACME_OK;
    apr_os_sock_t fd = -1;
    int rc = 0;

    tls->trust = apr_pcalloc(pool, sizeof(*tls->trust));
    tls->socket = socket;
    tls->host = look->sni;
    apr_os_sock_get(&fd, socket);
    tls->fd = fd;
    apr_pool_cleanup_register(pool, tls->trust, trust_destroy, apr_pool_cleanup_null);
    apr_pool_cleanup_register(pool, tls, tls_destroy, apr_pool_cleanup_null);
    ERR_clear_error();
    if (!look_prepare(tls, look, pool)) {
        rv = acme_error_set(err, ACME_E_INTERNAL, NULL, "%s: TLS cannot be set up", tls->host);
    }
    while (rv == ACME_OK && rc != 1) {
        ERR_clear_error();
        rc = SSL_connect(tls->ssl);
        rv = rc == 1 ? look_result(look, tls, pool, err)
                     : after(tls, rc, "the TLS handshake", deadline, stop, err);
    }
    ERR_clear_error();
    apr_pool_cleanup_run(pool, tls, tls_destroy);
    apr_pool_cleanup_run(pool, tls->trust, trust_destroy);
    return rv;
}
