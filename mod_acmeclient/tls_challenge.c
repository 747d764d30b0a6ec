/* Licensed under the Apache License, Version 2.0; see LICENSE. */

/* tls-alpn-01 (RFC 8737) and, where the administrator named it, tls-sni-01: challenge certificates
 * from the board, in every child. The order of OpenSSL's callbacks differs: in TLS 1.3 ALPN is
 * negotiated before the certificate callback, in TLS 1.2 after cipher and signature are chosen. So
 * the certificate is set in the certificate callback when ALPN is known there, and by mod_ssl's
 * challenge hook otherwise, then with a key of the type that the handshake is already bound to. */

#include "mod_acmeclient.h"

#include <openssl/err.h>
#include <openssl/pem.h>

#include "http_connection.h"
#include "http_core.h"
#include "http_protocol.h"
#include "http_ssl.h"
#include "ssl_hooks.h"

#define ACME_TLS_1 "acme-tls/1"
#define SNI_SUFFIX ".acme.invalid"

enum { SIDE_EC = 0, SIDE_RSA = 1 };

static int ends_with(const char *text, const char *suffix)
{
    apr_size_t a = strlen(text), b = strlen(suffix);

    return a > b && acme_ascii_casecmp(text + a - b, suffix) == 0;
}

static int pending(acme_challenge_type_t type)
{
    return acmod_run && acmod_run->board
           && acme_board_challenge_pending(acmod_run->board, type) > 0;
}

static int find(acme_board_challenge_t *out, acme_challenge_type_t type, const char *sni)
{
    return sni && pending(type)
           && acme_board_challenge_by_sni(out, acmod_run->board, type, sni, apr_time_now())
              == ACME_OK;
}

static int is_v6(conn_rec *c)
{
    return c && c->client_addr && c->client_addr->family != APR_INET;
}

static int load(X509 **cert, EVP_PKEY **key, const acme_board_challenge_t *challenge, int side)
{
    const unsigned char *p = challenge->cert[side];

    *cert = NULL;
    *key = NULL;
    if (challenge->cert_len[side] == 0 || challenge->cert_len[side] > sizeof(challenge->cert[0])
        || challenge->key_len[side] > sizeof(challenge->key[0])) {
        return 0;
    }
    *cert = d2i_X509(NULL, &p, challenge->cert_len[side]);
    p = challenge->key[side];
    *key = d2i_AutoPrivateKey(NULL, &p, challenge->key_len[side]);
    if (!*cert || !*key) {
        X509_free(*cert);
        EVP_PKEY_free(*key);
        ERR_clear_error();
        return 0;
    }
    return 1;
}

/* Both key types, so that whatever the client prefers finds a challenge certificate. */
static int put(SSL *ssl, const acme_board_challenge_t *challenge)
{
    int side, done = 0;

    SSL_certs_clear(ssl);
    for (side = SIDE_EC; side <= SIDE_RSA; side++) {
        X509 *cert;
        EVP_PKEY *key;

        if (!load(&cert, &key, challenge, side)) {
            continue;
        }
        done |= SSL_use_cert_and_key(ssl, cert, key, NULL, 1) == 1;
        X509_free(cert);
        EVP_PKEY_free(key);
    }
    if (!done) {
        ERR_clear_error();
    }
    return done;
}

static int never(SSL *ssl, int forward_secure)
{
    (void)ssl, (void)forward_secure;
    return 1;
}

/* A challenge certificate must not live on in a session: no ticket, no place in the cache. */
static void no_session(SSL *ssl)
{
    SSL_set_num_tickets(ssl, 0);
    SSL_set_not_resumable_session_callback(ssl, never);
}

static int serve_alpn(SSL *ssl, conn_rec *c, const char *sni)
{
    acme_board_challenge_t challenge;
    int done;

    if (!find(&challenge, ACME_CH_TLSALPN01, sni)) {
        return 0;
    }
    done = put(ssl, &challenge);
    acme_cleanse(&challenge, sizeof(challenge));
    no_session(ssl);
    ap_log_cerror(APLOG_MARK, APLOG_DEBUG, 0, c, "AC0430: %s: tls-alpn-01 %s", sni,
                  done ? "answered" : "certificate unusable");
    return done ? 1 : -1;
}

/* The name belongs to no vhost: this is the default one's SSL_CTX, and nothing is served there. */
static int serve_sni(SSL *ssl, conn_rec *c, const char *sni)
{
    acme_board_challenge_t challenge;
    int done;

    if (!sni || !ends_with(sni, SNI_SUFFIX) || !find(&challenge, ACME_CH_TLSSNI01, sni)) {
        return 0;
    }
    done = put(ssl, &challenge);
    acme_board_arrival(acmod_run->board, challenge.row, ACME_CH_TLSSNI01, is_v6(c), 0);
    ap_log_cerror(APLOG_MARK, APLOG_DEBUG, 0, c, "AC0460: %s: tls-sni-01 %s", challenge.name,
                  done ? "answered" : "certificate unusable");
    acme_cleanse(&challenge, sizeof(challenge));
    no_session(ssl);
    acmod_conn(c)->is_challenge = 1;
    c->keepalive = AP_CONN_CLOSE;
    return done ? 1 : -1;
}

int acmod_tls_challenge_serve(void *handshake)
{
    SSL *ssl = handshake;
    conn_rec *c = SSL_get_app_data(ssl);
    const unsigned char *alpn = NULL;
    unsigned int alpn_len = 0;
    const char *sni;

    if (!c || (!pending(ACME_CH_TLSALPN01) && !pending(ACME_CH_TLSSNI01))) {
        return 0;
    }
    sni = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
    acmod_conn(c)->ssl = ssl;
    SSL_get0_alpn_selected(ssl, &alpn, &alpn_len);
    if (alpn_len == sizeof(ACME_TLS_1) - 1 && memcmp(alpn, ACME_TLS_1, alpn_len) == 0) {
        return serve_alpn(ssl, c, sni);
    }
    return serve_sni(ssl, c, sni);
}

/* mod_ssl asks after it has switched to acme-tls/1. */
static int answer_challenge(conn_rec *c, const char *sni, const char **cert_pem,
                            const char **key_pem)
{
    SSL *ssl = acmod_conn(c)->ssl;
    X509 *bound = ssl ? SSL_get_certificate(ssl) : NULL;
    acme_board_challenge_t challenge;
    acme_chain_t *chain;
    acme_key_t *key;
    const unsigned char *der;
    apr_size_t len;
    int side = SIDE_EC, result = DECLINED;

    if (!find(&challenge, ACME_CH_TLSALPN01, sni)) {
        return DECLINED;
    }
    if (bound && EVP_PKEY_base_id(X509_get0_pubkey(bound)) == EVP_PKEY_RSA
        && SSL_version(ssl) < TLS1_3_VERSION && challenge.cert_len[SIDE_RSA] > 0) {
        side = SIDE_RSA;
    }
    der = challenge.cert[side];
    len = challenge.cert_len[side];
    if (acme_chain_from_der(&chain, &der, &len, 1, c->pool, NULL) == ACME_OK
        && acme_key_from_der(&key, challenge.key[side], challenge.key_len[side], c->pool, NULL)
           == ACME_OK) {
        *cert_pem = acme_chain_to_pem(chain, c->pool);
        *key_pem = acme_key_to_pem(key, c->pool);
        result = OK;
    }
    acme_cleanse(&challenge, sizeof(challenge));
    return result;
}

/* Only the single protocol (RFC 8737 section 3), only for a challenge of ours that is pending. */
static int protocol_propose(conn_rec *c, request_rec *r, server_rec *s,
                            const apr_array_header_t *offers, apr_array_header_t *proposals)
{
    acme_board_challenge_t challenge;
    const char *sni;

    if (r || !offers || offers->nelts != 1
        || strcmp(APR_ARRAY_IDX(offers, 0, const char *), ACME_TLS_1) != 0
        || !pending(ACME_CH_TLSALPN01)) {
        return DECLINED;
    }
    sni = ap_ssl_var_lookup(c->pool, s, c, NULL, "SSL_TLS_SNI");
    if (!find(&challenge, ACME_CH_TLSALPN01, sni)) {
        acme_board_stray(acmod_run->board);
        return DECLINED;
    }
    acme_board_arrival(acmod_run->board, challenge.row, ACME_CH_TLSALPN01, is_v6(c), 0);
    acme_cleanse(&challenge, sizeof(challenge));
    APR_ARRAY_PUSH(proposals, const char *) = ACME_TLS_1;
    return OK;
}

/* Another module may propose it to clients that offer it among others, which are no validators; a
 * vhost that speaks it because of us must not bring them that. */
static int protocol_restrict(conn_rec *c, request_rec *r, server_rec *s,
                             const apr_array_header_t *offers, apr_array_header_t *proposals)
{
    const acmod_vhost_t *vhost = acmod_vhost_of(s);
    int i, kept = 0;

    (void)c;
    if (r || !offers || offers->nelts == 1 || !vhost || !vhost->speaks_acme_tls) {
        return DECLINED;
    }
    for (i = 0; i < proposals->nelts; i++) {
        const char *protocol = APR_ARRAY_IDX(proposals, i, const char *);

        if (strcmp(protocol, ACME_TLS_1) != 0) {
            APR_ARRAY_IDX(proposals, kept++, const char *) = protocol;
        }
    }
    proposals->nelts = kept;
    return DECLINED;
}

static int protocol_switch(conn_rec *c, request_rec *r, server_rec *s, const char *protocol)
{
    acme_board_challenge_t challenge;

    if (r || strcmp(protocol, ACME_TLS_1) != 0
        || !find(&challenge, ACME_CH_TLSALPN01,
                 ap_ssl_var_lookup(c->pool, s, c, NULL, "SSL_TLS_SNI"))) {
        return DECLINED;
    }
    acme_cleanse(&challenge, sizeof(challenge));
    acmod_conn(c)->is_challenge = 1;
    c->keepalive = AP_CONN_CLOSE;
    return OK;
}

/* The handshake was all that was wanted: nothing is read from such a connection (RFC 8737
 * section 3). */
static int process_connection(conn_rec *c)
{
    const acmod_conn_t *conn = ap_get_module_config(c->conn_config, &acmeclient_module);

    if (!conn || !conn->is_challenge || c->master) {
        return DECLINED;
    }
    if (c->cs) {
        c->cs->state = CONN_STATE_LINGER;
    }
    return OK;
}

/* The array of a vhost may be the base server's: a copy is extended, and only for vhosts that are
 * managed and may be validated that way. */
void acmod_tls_challenge_protocols(acmod_run_t *run, apr_pool_t *pconf)
{
    int i;

    for (i = 0; i < run->conf->vhosts->nelts; i++) {
        acmod_vhost_t *vhost = APR_ARRAY_IDX(run->conf->vhosts, i, acmod_vhost_t *);
        core_server_config *core = ap_get_core_module_config(vhost->server->module_config);
        apr_array_header_t *own;

        if (ap_array_str_contains(core->protocols, ACME_TLS_1)) {
            continue;
        }
        own = apr_array_copy(pconf, core->protocols);
        if (own->nelts == 0) {
            APR_ARRAY_PUSH(own, const char *) = AP_PROTOCOL_HTTP1;
        }
        APR_ARRAY_PUSH(own, const char *) = ACME_TLS_1;
        core->protocols = own;
        vhost->speaks_acme_tls = 1;
    }
}

void acmod_tls_challenge_register_hooks(void)
{
    static const char *const after_ssl[] = {"mod_ssl.c", NULL};

    ap_hook_process_connection(process_connection, after_ssl, NULL, APR_HOOK_MIDDLE);
    ap_hook_protocol_propose(protocol_propose, NULL, NULL, APR_HOOK_FIRST);
    ap_hook_protocol_propose(protocol_restrict, NULL, NULL, APR_HOOK_REALLY_LAST);
    ap_hook_protocol_switch(protocol_switch, NULL, NULL, APR_HOOK_FIRST);
    ap_hook_ssl_answer_challenge(answer_challenge, NULL, NULL, APR_HOOK_FIRST);
}
