/* Licensed under the Apache License, Version 2.0; see LICENSE. */

/* New certificates on new connections, without a restart: a certificate callback in every SSL_CTX
 * of mod_ssl's that puts the newest identity of the board on the one connection that asks. A live
 * SSL_CTX is never changed. No file, no lock wait in a handshake: identities are parsed once per
 * child and generation, published by an atomic pointer, and freed by the watchdog's tick when no
 * handshake can still hold them. */

#include "config.h"

#include <apr_atomic.h>
#include <openssl/err.h>

#include "http_connection.h"
#include "http_ssl.h"
#include "ssl_hooks.h"

typedef struct identity_t identity_t;
struct identity_t {
    apr_pool_t *pool; /* everything below; cleansed and freed with it */
    acme_chain_t *chain;
    acme_key_t *key;
    STACK_OF(X509) *rest; /* chain without its leaf, borrowed certificates */
    unsigned char sha1[20];  /* mod_ssl's name for a certificate in its stapling hooks */
    identity_t *next;     /* list of retired ones */
};

/* One per certificate and key type. Made before the fork; each child has its own copy. */
typedef struct {
    const acme_spec_t *spec;
    const acme_item_t *item;
    int row;
    apr_uint64_t baseline;
    apr_uint64_t seen;    /* generation that was looked at last, good or not */
    int busy;             /* a thread is parsing */
    identity_t *current;  /* newer than what mod_ssl loaded, or NULL */
} slot_t;

/* OpenSSL serves one certificate of each class. */
enum { CLASS_EC = 0, CLASS_RSA = 1, CLASSES };

/* What mod_ssl loaded; borrowed from its SSL_CTX. */
typedef struct {
    X509 *cert;
    EVP_PKEY *key;
    STACK_OF(X509) *rest;
} loaded_t;

/* Argument of the callback of one SSL_CTX. */
typedef struct {
    int n;                    /* 0: not ours, challenges only */
    slot_t *slot[ACME_KEY_TYPES];
    loaded_t loaded[CLASSES]; /* cert NULL: none */
    int is_placeholder;       /* what is loaded */
    int keeps_loaded;         /* of classes that are not ours */
    int negotiable[CLASSES];  /* by the cipher list */
} server_ctx_t;

static slot_t *slots;         /* by spec index */
static acmod_run_t *slots_of; /* the run they were made for */

/* ---- who may still hold an identity: two reader counters, flipped by the tick ---- */

static apr_uint32_t readers[2];
static apr_uint32_t epoch;
static identity_t *retired;   /* pushed by handshakes */
static identity_t *leaving;   /* waiting for both counters to have drained once */
static int leaving_phase;
static apr_uint32_t ticking;

static int reader_enter(void)
{
    int side = (int)(__atomic_load_n(&epoch, __ATOMIC_SEQ_CST) & 1);

    __atomic_add_fetch(&readers[side], 1, __ATOMIC_SEQ_CST);
    return side;
}

static void reader_leave(int side)
{
    __atomic_sub_fetch(&readers[side], 1, __ATOMIC_SEQ_CST);
}

static void identity_free(identity_t *identity)
{
    sk_X509_free(identity->rest);
    apr_pool_destroy(identity->pool);
}

static void identity_retire(identity_t *identity)
{
    identity_t *head = __atomic_load_n(&retired, __ATOMIC_RELAXED);

    do {
        identity->next = head;
    } while (!__atomic_compare_exchange_n(&retired, &head, identity, 1, __ATOMIC_RELEASE,
                                          __ATOMIC_RELAXED));
}

static int other_side_drained(void)
{
    int old = (int)((__atomic_load_n(&epoch, __ATOMIC_SEQ_CST) & 1) ^ 1);

    return __atomic_load_n(&readers[old], __ATOMIC_SEQ_CST) == 0;
}

void acmod_hotswap_tick(void)
{
    if (__atomic_exchange_n(&ticking, 1, __ATOMIC_ACQUIRE)) {
        return;
    }
    /* A reader may have read the epoch just before a flip and counted itself on the old side after
     * it: only after two flips, each with its old side seen empty, is nobody left who could have
     * loaded a pointer before it was replaced. */
    if (leaving_phase == 0 && other_side_drained()) {
        leaving = __atomic_exchange_n(&retired, NULL, __ATOMIC_ACQUIRE);
        if (leaving) {
            __atomic_add_fetch(&epoch, 1, __ATOMIC_SEQ_CST);
            leaving_phase = 1;
        }
    }
    else if (leaving_phase == 1 && other_side_drained()) {
        __atomic_add_fetch(&epoch, 1, __ATOMIC_SEQ_CST);
        leaving_phase = 2;
    }
    else if (leaving_phase == 2 && other_side_drained()) {
        while (leaving) {
            identity_t *next = leaving->next;

            identity_free(leaving);
            leaving = next;
        }
        leaving_phase = 0;
    }
    __atomic_store_n(&ticking, 0, __ATOMIC_RELEASE);
}

/* ---- from the board's bytes to an identity ---- */

/* Under a clock that is wrong everything has expired or nothing is valid yet: that alone is no
 * reason to go back to an older certificate. */
static int outlived(const acme_leaf_t *leaf, const acme_item_t *item, apr_time_t now)
{
    return leaf->not_after <= now && item->usable && item->facts.not_after > now;
}

static acme_rv_t identity_check(const acme_chain_t *chain, const acme_key_t *key,
                                const slot_t *slot, apr_pool_t *scratch, acme_error_t *err)
{
    acme_leaf_t leaf;
    const char *name = APR_ARRAY_IDX(slot->spec->names, 0, const char *);
    int i, covered = 0;

    if (!acme_chain_matches_key(chain, key)) {
        return acme_error_set(err, ACME_E_SECURITY, "AC0821", "key and certificate do not match");
    }
    if (acme_chain_leaf(&leaf, chain, scratch, err) != ACME_OK) {
        return ACME_FAIL;
    }
    for (i = 0; i < leaf.names->nelts && !covered; i++) {
        covered = acme_name_covers(APR_ARRAY_IDX(leaf.names, i, const char *), name);
    }
    if (!covered) {
        return acme_error_set(err, ACME_E_SECURITY, "AC0822", "certificate is not for %s", name);
    }
    if (outlived(&leaf, slot->item, apr_time_now())) {
        return acme_error_set(err, ACME_E_CERTIFICATE, "AC0823",
                              "certificate has expired before the one on disk");
    }
    return ACME_OK;
}

static acme_rv_t identity_parse(identity_t *identity, const acme_board_t *board,
                                const slot_t *slot, apr_uint64_t *generation, acme_error_t *err)
{
    acme_board_live_t live;
    unsigned int len = 0;
    int i;
    acme_rv_t rv = acme_board_live_read(&live, board, slot->row, identity->pool, err);

    if (rv != ACME_OK) {
        return rv;
    }
    *generation = live.generation;
    if (acme_key_from_der(&identity->key, live.key, live.key_len, identity->pool, err) != ACME_OK
        || acme_chain_from_der(&identity->chain, live.cert, live.cert_len, live.n_certs,
                               identity->pool, err) != ACME_OK
        || identity_check(identity->chain, identity->key, slot, identity->pool, err) != ACME_OK) {
        return ACME_FAIL;
    }
    identity->rest = sk_X509_new_null();
    for (i = 1; i < acme_chain_count(identity->chain); i++) {
        if (!identity->rest
            || !sk_X509_push(identity->rest, acme_chain_x509(identity->chain, i))) {
            return acme_error_set(err, ACME_E_INTERNAL, "AC0824", "out of memory");
        }
    }
    if (X509_digest(acme_chain_x509(identity->chain, 0), EVP_sha1(), identity->sha1, &len) != 1) {
        return acme_error_set(err, ACME_E_INTERNAL, "AC0825", "cannot digest a certificate");
    }
    return ACME_OK;
}

static void slot_load(slot_t *slot, apr_uint64_t wanted)
{
    apr_pool_t *pool;
    identity_t *fresh, *old;
    acme_error_t err;
    apr_uint64_t generation = wanted;

    /* Nobody's child: at exit() OpenSSL is gone before APR's pools go. */
    if (apr_pool_create_unmanaged_ex(&pool, NULL, NULL) != APR_SUCCESS) {
        return;
    }
    apr_pool_tag(pool, "acmeclient identity");
    acme_error_clear(&err);
    fresh = apr_pcalloc(pool, sizeof(*fresh));
    fresh->pool = pool;
    if (identity_parse(fresh, slots_of->board, slot, &generation, &err) != ACME_OK) {
        if (err.kind != ACME_E_NONE) {
            acme_log(&slots_of->log, ACME_LOG_ERR, "AC0826", slot->spec->label,
                     "the new certificate cannot be used, the former one stays: %s", err.text);
        }
        identity_free(fresh);
        ERR_clear_error();
        __atomic_store_n(&slot->seen, wanted, __ATOMIC_RELEASE);
        return;
    }
    old = __atomic_exchange_n(&slot->current, fresh, __ATOMIC_SEQ_CST);
    __atomic_store_n(&slot->seen, generation, __ATOMIC_RELEASE);
    if (old) {
        identity_retire(old);
    }
    acme_log(&slots_of->log, ACME_LOG_DEBUG, "AC0827", slot->spec->label,
             "certificate of generation %" APR_UINT64_T_FMT " is in use in this child",
             generation);
}

/* The newest identity, or NULL while what mod_ssl loaded is the newest. Whoever meets a new
 * generation first parses it; others meanwhile go on with the former one, and parse it too when
 * there is none: what mod_ssl loaded may be a placeholder, also in a child that was forked long
 * after the first certificate went live. */
static identity_t *slot_identity(slot_t *slot)
{
    apr_uint64_t now;

    if (slot->row < 0) {
        return NULL;
    }
    now = acme_board_row_generation(slots_of->board, slot->row);
    if (now > slot->baseline && now != __atomic_load_n(&slot->seen, __ATOMIC_ACQUIRE)
        && (!__atomic_exchange_n(&slot->busy, 1, __ATOMIC_ACQUIRE)
            || !__atomic_load_n(&slot->current, __ATOMIC_ACQUIRE))) {
        slot_load(slot, now);
        __atomic_store_n(&slot->busy, 0, __ATOMIC_RELEASE);
    }
    return __atomic_load_n(&slot->current, __ATOMIC_SEQ_CST);
}

int acmod_hotswap_missing(const acmod_vhost_t *vhost)
{
    int i;

    if (vhost->has_static || vhost->attached_by_path) {
        return 0;
    }
    for (i = 0; i < vhost->cert->specs->nelts; i++) {
        const acme_spec_t *spec = APR_ARRAY_IDX(vhost->cert->specs, i, const acme_spec_t *);
        const slot_t *slot;
        apr_uint64_t now;

        if (APR_ARRAY_IDX(vhost->cert->items, i, acme_item_t *)->usable) {
            return 0;
        }
        if (!slots_of || !slots_of->board) {
            continue;
        }
        slot = &slots[spec->index];
        if (__atomic_load_n(&slot->current, __ATOMIC_ACQUIRE)) {
            return 0;
        }
        /* A resumed connection never ran the callback: a generation nobody has looked at counts. */
        now = slot->row < 0 ? 0 : acme_board_row_generation(slots_of->board, slot->row);
        if (now > slot->baseline && now != __atomic_load_n(&slot->seen, __ATOMIC_ACQUIRE)) {
            return 0;
        }
    }
    return 1;
}

/* ---- the callback ---- */

static int class_of(EVP_PKEY *key)
{
    switch (EVP_PKEY_base_id(key)) {
    case EVP_PKEY_EC:
        return CLASS_EC;
    case EVP_PKEY_RSA:
        return CLASS_RSA;
    default:
        return -1;
    }
}

static int class_of_spec(const acme_spec_t *spec)
{
    return acme_key_type_is_rsa(spec->key_type) ? CLASS_RSA : CLASS_EC;
}

static int put(SSL *ssl, X509 *cert, EVP_PKEY *key, STACK_OF(X509) *rest)
{
    if (SSL_use_cert_and_key(ssl, cert, key, rest, 1) == 1) {
        return 1;
    }
    ERR_clear_error();
    return 0;
}

static int put_loaded(SSL *ssl, const loaded_t *loaded)
{
    return loaded->cert && put(ssl, loaded->cert, loaded->key, loaded->rest);
}

/* May what mod_ssl loaded stay, because the new ones cannot be negotiated and it can? */
static int loaded_is_better(const server_ctx_t *ctx, identity_t *const fresh[CLASSES])
{
    int i;

    for (i = 0; i < CLASSES; i++) {
        if (fresh[i] && ctx->negotiable[i]) {
            return 0;
        }
    }
    for (i = 0; i < CLASSES && !ctx->is_placeholder; i++) {
        if (ctx->loaded[i].cert && ctx->negotiable[i]
            && X509_cmp_current_time(X509_get0_notAfter(ctx->loaded[i].cert)) > 0) {
            return 1;
        }
    }
    return 0;
}

/* The new certificates alone, but for a class whose first one is still to come. */
static void put_identities(SSL *ssl, const server_ctx_t *ctx)
{
    identity_t *fresh[CLASSES] = {NULL, NULL};
    int wanted[CLASSES] = {0, 0};
    int i, any = 0, done = 0;

    for (i = ctx->n - 1; i >= 0; i--) {
        int class = class_of_spec(ctx->slot[i]->spec);
        identity_t *identity = slot_identity(ctx->slot[i]);

        wanted[class] = 1;
        fresh[class] = identity ? identity : fresh[class];
        any |= identity != NULL;
    }
    if (!any || loaded_is_better(ctx, fresh)) {
        return;
    }
    SSL_certs_clear(ssl);
    for (i = 0; i < CLASSES; i++) {
        if (fresh[i]) {
            done |= put(ssl, acme_chain_x509(fresh[i]->chain, 0), acme_key_evp(fresh[i]->key),
                        fresh[i]->rest);
        }
        else if ((wanted[i] || ctx->keeps_loaded) && !ctx->is_placeholder) {
            done |= put_loaded(ssl, &ctx->loaded[i]);
        }
    }
    for (i = 0; i < CLASSES && !done; i++) {
        put_loaded(ssl, &ctx->loaded[i]); /* OpenSSL's security level refuses the new ones */
    }
}

acmod_conn_t *acmod_conn(conn_rec *c)
{
    acmod_conn_t *conn = ap_get_module_config(c->conn_config, &acmeclient_module);

    if (!conn) {
        conn = apr_pcalloc(c->pool, sizeof(*conn));
        ap_set_module_config(c->conn_config, &acmeclient_module, conn);
    }
    return conn;
}

static int cert_cb(SSL *ssl, void *arg)
{
    const server_ctx_t *ctx = arg;
    acmod_conn_t *conn = acmod_conn(SSL_get_app_data(ssl));
    int side, served;

    if (conn->identified) {
        return 1; /* renegotiation: a connection keeps its identity */
    }
    served = acmod_tls_challenge_serve(ssl);
    if (served != 0) {
        return served > 0;
    }
    if (ctx->n > 0) {
        side = reader_enter();
        put_identities(ssl, ctx);
        reader_leave(side);
    }
    conn->identified = 1;
    return 1;
}

/* ---- at start, in root ---- */

void acmod_hotswap_open(acmod_run_t *run, apr_pool_t *pconf)
{
    int i, n = run->conf->specs->nelts;

    slots = apr_pcalloc(pconf, sizeof(*slots) * (apr_size_t)(n + 1));
    for (i = 0; i < n; i++) {
        slots[i].spec = APR_ARRAY_IDX(run->conf->specs, i, const acme_spec_t *);
        slots[i].item = &run->items[i];
        slots[i].row = run->rows[i];
        slots[i].baseline = slots[i].seen = run->baseline[i];
    }
    slots_of = run;
}

/* Can a TLS 1.2 client that this SSL_CTX accepts be served with such a key? (TLS 1.3's suites do
 * not depend on the key.) */
static int negotiable(SSL_CTX *ssl_ctx, int class)
{
    STACK_OF(SSL_CIPHER) *ciphers = SSL_CTX_get_ciphers(ssl_ctx);
    int i, older = 0;

    for (i = 0; i < sk_SSL_CIPHER_num(ciphers); i++) {
        int auth = SSL_CIPHER_get_auth_nid(sk_SSL_CIPHER_value(ciphers, i));

        if (auth == (class == CLASS_RSA ? NID_auth_rsa : NID_auth_ecdsa)) {
            return 1;
        }
        older |= auth != NID_auth_any;
    }
    return !older || SSL_CTX_get_min_proto_version(ssl_ctx) >= TLS1_3_VERSION;
}

/* A certificate that came in place of one with a chain file (SSLCertificateChainFile) was loaded
 * without its own chain, and mod_ssl would send the other's. */
static void own_chains(const acmod_vhost_t *vhost, SSL_CTX *ssl_ctx)
{
    STACK_OF(X509) *extra = NULL;
    int i;

    SSL_CTX_get_extra_chain_certs_only(ssl_ctx, &extra);
    for (i = 0; sk_X509_num(extra) > 0 && vhost->replaced && i < vhost->cert->items->nelts; i++) {
        const acme_item_t *item = APR_ARRAY_IDX(vhost->cert->items, i, const acme_item_t *);

        if (item->usable && SSL_CTX_use_certificate_chain_file(ssl_ctx, item->cert_file) != 1) {
            ERR_clear_error();
        }
    }
}

static void loaded_fill(server_ctx_t *ctx, SSL_CTX *ssl_ctx)
{
    long more = SSL_CTX_set_current_cert(ssl_ctx, SSL_CERT_SET_FIRST);

    for (; more; more = SSL_CTX_set_current_cert(ssl_ctx, SSL_CERT_SET_NEXT)) {
        EVP_PKEY *key = SSL_CTX_get0_privatekey(ssl_ctx);
        int class = key ? class_of(key) : -1;

        if (class >= 0) {
            ctx->loaded[class].cert = SSL_CTX_get0_certificate(ssl_ctx);
            ctx->loaded[class].key = key;
            SSL_CTX_get0_chain_certs(ssl_ctx, &ctx->loaded[class].rest);
        }
    }
    SSL_CTX_set_current_cert(ssl_ctx, SSL_CERT_SET_FIRST);
}

static void server_ctx_fill(server_ctx_t *ctx, const acmod_vhost_t *vhost, SSL_CTX *ssl_ctx,
                            server_rec *s)
{
    int i, usable = 0, can = 0;
    const acme_spec_t *spec = NULL;

    for (i = 0; i < CLASSES; i++) {
        ctx->negotiable[i] = negotiable(ssl_ctx, i);
    }
    for (i = 0; i < vhost->cert->specs->nelts && i < ACME_KEY_TYPES; i++) {
        if (vhost->attached_by_path && !(vhost->attached_by_path & 1 << i)) {
            continue;
        }
        spec = APR_ARRAY_IDX(vhost->cert->specs, i, const acme_spec_t *);
        usable |= APR_ARRAY_IDX(vhost->cert->items, i, acme_item_t *)->usable;
        can |= ctx->negotiable[class_of_spec(spec)];
        ctx->slot[ctx->n++] = &slots[spec->index];
    }
    ctx->is_placeholder = !usable && !vhost->has_static && !vhost->attached_by_path;
    ctx->keeps_loaded = vhost->attached_by_path != 0;
    own_chains(vhost, ssl_ctx);
    if (ctx->is_placeholder) {
        SSL_CTX_clear_chain_certs(ssl_ctx); /* its second copy is for mod_ssl, not for clients */
    }
    loaded_fill(ctx, ssl_ctx);
    if (spec && !can) {
        ap_log_error(APLOG_MARK, APLOG_WARNING, 0, s,
                     "AC0828: %s: the cipher list of the vhost at %s has no suite for an %s "
                     "certificate: TLS 1.2 clients could not connect, so the vhost keeps what "
                     "works as long as it is valid; add the suites or write \"AcmeKeyType P-256 "
                     "RSA-2048\"", spec->label, vhost->where,
                     acme_key_type_is_rsa(spec->key_type) ? "RSA" : "ECDSA");
    }
}

static int init_server(server_rec *s, apr_pool_t *pool, int is_proxy, SSL_CTX *ssl_ctx)
{
    acmod_vhost_t *vhost = acmod_vhost_of(s);
    server_ctx_t *ctx;

    if (is_proxy || !acmod_run) {
        return DECLINED;
    }
    ctx = apr_pcalloc(pool, sizeof(*ctx));
    if (vhost && vhost->cert && acmod_run->board) {
        server_ctx_fill(ctx, vhost, ssl_ctx, s);
    }
    SSL_CTX_set_cert_cb(ssl_ctx, cert_cb, ctx);
    return OK;
}

/* ---- the files mod_ssl loads at start ---- */

/* The same of an SSLCipherSuite, before there is an SSL_CTX. */
static void suite_allows(int allows[CLASSES], const char *suite)
{
    SSL_CTX *probe = suite ? SSL_CTX_new(TLS_server_method()) : NULL;
    int i, known = probe && SSL_CTX_set_cipher_list(probe, suite) == 1;

    for (i = 0; i < CLASSES; i++) {
        allows[i] = !known || negotiable(probe, i);
    }
    SSL_CTX_free(probe);
    ERR_clear_error();
}

void acmod_hotswap_judge(acmod_run_t *run)
{
    const acmod_conf_t *conf = run->conf;
    int i, k;

    for (i = 0; i < conf->specs->nelts; i++) {
        if (run->items[i].known && run->items[i].known->is_rsa) {
            APR_ARRAY_IDX(conf->specs, i, acme_spec_t *)->rsa_challenge = 1;
        }
    }
    for (i = 0; i < conf->vhosts->nelts; i++) {
        acmod_vhost_t *vhost = APR_ARRAY_IDX(conf->vhosts, i, acmod_vhost_t *);
        apr_array_header_t *specs = vhost->cert->specs;
        int allows[CLASSES], can = 0;

        suite_allows(allows, acmod_server(vhost->server)->cipher_suite);
        for (k = 0; k < specs->nelts; k++) {
            can |= allows[class_of_spec(APR_ARRAY_IDX(specs, k, const acme_spec_t *))];
        }
        for (k = 0; k < specs->nelts && !can; k++) {
            APR_ARRAY_IDX(specs, k, acme_spec_t *)->not_negotiable = 1;
        }
    }
}

static int class_of_item(const acme_item_t *item)
{
    return item->known && item->known->is_rsa ? CLASS_RSA : CLASS_EC;
}

static int suite_allows_usable(const char *suite, const apr_array_header_t *items)
{
    int allows[CLASSES], i, can = 0;

    suite_allows(allows, suite);
    for (i = 0; i < items->nelts && !can; i++) {
        const acme_item_t *item = APR_ARRAY_IDX(items, i, const acme_item_t *);

        can = item->usable && allows[class_of_item(item)];
    }
    return can;
}

/* Of two usable ones of a class OpenSSL would serve the last, we want the first. */
static void push_usable(const apr_array_header_t *items, apr_array_header_t *cert_files,
                        apr_array_header_t *key_files)
{
    int have[CLASSES] = {0, 0};
    int i;

    for (i = 0; i < items->nelts; i++) {
        const acme_item_t *item = APR_ARRAY_IDX(items, i, const acme_item_t *);

        if (item->usable && !have[class_of_item(item)]) {
            have[class_of_item(item)] = 1;
            APR_ARRAY_PUSH(cert_files, const char *) = item->cert_file;
            APR_ARRAY_PUSH(key_files, const char *) = item->key_file;
        }
    }
}

static int add_cert_files(server_rec *s, apr_pool_t *pool, apr_array_header_t *cert_files,
                          apr_array_header_t *key_files)
{
    acmod_vhost_t *vhost = acmod_vhost_of(s);
    const acme_item_t *stand_in = NULL;
    int i, usable = 0;

    (void)pool;
    if (!vhost || !vhost->cert || !vhost->cert->items || vhost->attached_by_path) {
        return DECLINED;
    }
    if (cert_files->nelts > acmod_server(s)->cert_files->nelts) {
        vhost->has_static = 1; /* of another module */
    }
    for (i = 0; i < vhost->cert->items->nelts; i++) {
        const acme_item_t *item = APR_ARRAY_IDX(vhost->cert->items, i, const acme_item_t *);

        usable += item->usable;
        stand_in = !stand_in && item->placeholder && item->cert_file ? item : stand_in;
    }
    if (vhost->has_static ? !usable || !suite_allows_usable(acmod_server(s)->cipher_suite,
                                                            vhost->cert->items)
                          : !usable && !stand_in) {
        return DECLINED;
    }
    apr_array_clear(cert_files);
    apr_array_clear(key_files);
    if (usable) {
        vhost->replaced = vhost->has_static;
        push_usable(vhost->cert->items, cert_files, key_files);
    }
    else {
        APR_ARRAY_PUSH(cert_files, const char *) = stand_in->cert_file;
        APR_ARRAY_PUSH(key_files, const char *) = stand_in->key_file;
    }
    return OK;
}

/* ---- stapling: mod_ssl's data belongs to the certificates of the start ---- */

static int ocsp_prime(server_rec *s, apr_pool_t *pool, const char *id, apr_size_t id_len,
                      const char *pem)
{
    acmod_vhost_t *vhost = acmod_vhost_of(s);

    (void)pool, (void)id, (void)id_len, (void)pem;
    if (!vhost || !vhost->cert || !vhost->cert->items || vhost->has_static) {
        return DECLINED;
    }
    /* A placeholder has no responder to ask. */
    return acmod_hotswap_missing(vhost) ? OK : DECLINED;
}

static int ocsp_get_resp(server_rec *s, conn_rec *c, const char *id, apr_size_t id_len,
                         ap_ssl_ocsp_copy_resp *cb, void *userdata)
{
    acmod_vhost_t *vhost = acmod_vhost_of(s);
    int i, side, ours = 0;

    (void)c;
    if (!vhost || !vhost->cert || !slots_of || !slots_of->board || id_len != 20) {
        return DECLINED;
    }
    side = reader_enter();
    for (i = 0; i < vhost->cert->specs->nelts && !ours; i++) {
        const acme_spec_t *spec = APR_ARRAY_IDX(vhost->cert->specs, i, const acme_spec_t *);
        identity_t *identity = __atomic_load_n(&slots[spec->index].current, __ATOMIC_SEQ_CST);

        ours = identity && memcmp(identity->sha1, id, id_len) == 0;
    }
    reader_leave(side);
    if (!ours && !acmod_hotswap_missing(vhost)) {
        return DECLINED;
    }
    cb(NULL, 0, userdata);
    return OK;
}

void acmod_hotswap_child_init(apr_pool_t *pchild)
{
    (void)pchild;
    readers[0] = readers[1] = 0;
    ticking = 0;
}

void acmod_hotswap_register_hooks(void)
{
    /* After mod_md and others, so that "AcmeEngine on" has the last word for its vhosts. */
    ap_hook_ssl_add_cert_files(add_cert_files, NULL, NULL, APR_HOOK_LAST);
    ap_hook_ssl_ocsp_prime_hook(ocsp_prime, NULL, NULL, APR_HOOK_FIRST);
    ap_hook_ssl_ocsp_get_resp_hook(ocsp_get_resp, NULL, NULL, APR_HOOK_FIRST);
    APR_OPTIONAL_HOOK(ssl, init_server, init_server, NULL, NULL, APR_HOOK_LAST);
}
