/* Licensed under the Apache License, Version 2.0; see LICENSE. */

/* New certificates on new connections, without a restart: a certificate callback in every SSL_CTX
 * of mod_ssl's that puts the newest identity of the board on the one connection that asks. A live
 * SSL_CTX is never changed. No file, no lock wait in a handshake: identities are parsed once per
 * child and generation, published by an atomic pointer, and freed by the watchdog's tick when no
 * handshake can still hold them. */

#include "mod_acmeclient.h"

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
    int row;
    apr_uint64_t baseline;
    apr_uint64_t seen;    /* generation that was looked at last, good or not */
    int busy;             /* a thread is parsing */
    identity_t *current;  /* newer than what mod_ssl loaded, or NULL */
} slot_t;

/* Argument of the callback of one SSL_CTX. */
typedef struct {
    const acmod_vhost_t *vhost; /* NULL: not ours, challenges only */
    int n;
    slot_t *slot[ACME_KEY_TYPES];
    int refused[ACME_KEY_TYPES]; /* this SSL_CTX cannot negotiate that key type */
    int replaces_loaded;  /* mod_ssl loaded a placeholder or a foreign certificate */
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

static acme_rv_t identity_check(const acme_chain_t *chain, const acme_key_t *key,
                                const acme_spec_t *spec, apr_pool_t *scratch, acme_error_t *err)
{
    acme_leaf_t leaf;
    const char *name = APR_ARRAY_IDX(spec->names, 0, const char *);
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
    if (leaf.not_after <= apr_time_now()) {
        return acme_error_set(err, ACME_E_CERTIFICATE, "AC0823", "certificate has expired");
    }
    return ACME_OK;
}

static acme_rv_t identity_parse(identity_t *identity, const acme_board_t *board, int row,
                                const acme_spec_t *spec, apr_uint64_t *generation,
                                acme_error_t *err)
{
    acme_board_live_t live;
    unsigned int len = 0;
    int i;
    acme_rv_t rv = acme_board_live_read(&live, board, row, identity->pool, err);

    if (rv != ACME_OK) {
        return rv;
    }
    *generation = live.generation;
    if (acme_key_from_der(&identity->key, live.key, live.key_len, identity->pool, err) != ACME_OK
        || acme_chain_from_der(&identity->chain, live.cert, live.cert_len, live.n_certs,
                               identity->pool, err) != ACME_OK
        || identity_check(identity->chain, identity->key, spec, identity->pool, err) != ACME_OK) {
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

    if (apr_pool_create(&pool, NULL) != APR_SUCCESS) {
        return;
    }
    apr_pool_tag(pool, "acmeclient identity");
    acme_error_clear(&err);
    fresh = apr_pcalloc(pool, sizeof(*fresh));
    fresh->pool = pool;
    if (identity_parse(fresh, slots_of->board, slot->row, slot->spec, &generation, &err)
        != ACME_OK) {
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
 * generation first parses it; others meanwhile go on with the former one. */
static identity_t *slot_identity(slot_t *slot)
{
    apr_uint64_t now;

    if (slot->row < 0) {
        return NULL;
    }
    now = acme_board_row_generation(slots_of->board, slot->row);
    if (now > slot->baseline && now != __atomic_load_n(&slot->seen, __ATOMIC_ACQUIRE)
        && !__atomic_exchange_n(&slot->busy, 1, __ATOMIC_ACQUIRE)) {
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

static void put_identities(SSL *ssl, server_ctx_t *ctx)
{
    int i, cleared = !ctx->replaces_loaded;

    for (i = 0; i < ctx->n; i++) {
        identity_t *identity = slot_identity(ctx->slot[i]);

        if (!identity || ctx->refused[i]) {
            continue;
        }
        if (!cleared) {
            SSL_certs_clear(ssl);
            cleared = 1;
        }
        if (SSL_use_cert_and_key(ssl, acme_chain_x509(identity->chain, 0),
                                 acme_key_evp(identity->key), identity->rest, 1) != 1) {
            ERR_clear_error();
        }
    }
}

static int cert_cb(SSL *ssl, void *arg)
{
    server_ctx_t *ctx = arg;
    unsigned char finished[1];
    int side, served;

    if (SSL_get_finished(ssl, finished, sizeof(finished)) > 0) {
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
    return 1;
}

/* ---- at start, in root ---- */

/* Can a TLS 1.2 client that this SSL_CTX accepts be served with such a key? (TLS 1.3's suites do
 * not depend on the key.) */
static int negotiable(SSL_CTX *ssl_ctx, int rsa)
{
    STACK_OF(SSL_CIPHER) *ciphers = SSL_CTX_get_ciphers(ssl_ctx);
    int i, older = 0;

    for (i = 0; i < sk_SSL_CIPHER_num(ciphers); i++) {
        int auth = SSL_CIPHER_get_auth_nid(sk_SSL_CIPHER_value(ciphers, i));

        if (auth == (rsa ? NID_auth_rsa : NID_auth_ecdsa)) {
            return 1;
        }
        older |= auth != NID_auth_any;
    }
    return !older || SSL_CTX_get_min_proto_version(ssl_ctx) >= TLS1_3_VERSION;
}

static void slots_make(acmod_run_t *run, apr_pool_t *pool)
{
    int i, n = run->conf->specs->nelts;

    slots = apr_pcalloc(pool, sizeof(*slots) * (apr_size_t)(n + 1));
    for (i = 0; i < n; i++) {
        slots[i].spec = APR_ARRAY_IDX(run->conf->specs, i, const acme_spec_t *);
        slots[i].row = run->rows[i];
        slots[i].baseline = slots[i].seen = run->baseline[i];
    }
    slots_of = run;
}

static void server_ctx_fill(server_ctx_t *ctx, const acmod_vhost_t *vhost, SSL_CTX *ssl_ctx,
                            server_rec *s)
{
    int i, usable = 0;

    ctx->vhost = vhost;
    for (i = 0; i < vhost->cert->specs->nelts && i < ACME_KEY_TYPES; i++) {
        const acme_spec_t *spec = APR_ARRAY_IDX(vhost->cert->specs, i, const acme_spec_t *);

        usable |= APR_ARRAY_IDX(vhost->cert->items, i, acme_item_t *)->usable;
        ctx->slot[i] = &slots[spec->index];
        ctx->n = i + 1;
        ctx->refused[i] = vhost->has_static
                          && !negotiable(ssl_ctx, acme_key_type_is_rsa(spec->key_type));
        if (!negotiable(ssl_ctx, acme_key_type_is_rsa(spec->key_type))) {
            ap_log_error(APLOG_MARK, APLOG_WARNING, 0, s,
                         "AC0828: %s: the cipher list has no suite for a %s certificate, TLS 1.2 "
                         "clients could not connect%s; add the suites or write \"AcmeKeyType P-256 "
                         "RSA-2048\"", spec->label, acme_key_type_name(spec->key_type),
                         ctx->refused[i] ? ": the vhost keeps its own certificate" : "");
        }
    }
    ctx->replaces_loaded = !usable;
}

static int init_server(server_rec *s, apr_pool_t *pool, int is_proxy, SSL_CTX *ssl_ctx)
{
    acmod_vhost_t *vhost = acmod_vhost_of(s);
    server_ctx_t *ctx;

    if (is_proxy || !acmod_run) {
        return DECLINED;
    }
    if (slots_of != acmod_run) {
        slots_make(acmod_run, pool);
    }
    ctx = apr_pcalloc(pool, sizeof(*ctx));
    if (vhost && vhost->cert && acmod_run->board) {
        server_ctx_fill(ctx, vhost, ssl_ctx, s);
    }
    SSL_CTX_set_cert_cb(ssl_ctx, cert_cb, ctx);
    return OK;
}

/* ---- the files mod_ssl loads at start ---- */

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
    for (i = 0; i < vhost->cert->items->nelts; i++) {
        const acme_item_t *item = APR_ARRAY_IDX(vhost->cert->items, i, const acme_item_t *);

        usable += item->usable;
        stand_in = !stand_in && item->placeholder ? item : stand_in;
    }
    if (!usable && (vhost->has_static || !stand_in)) {
        return DECLINED;
    }
    apr_array_clear(cert_files);
    apr_array_clear(key_files);
    for (i = 0; i < vhost->cert->items->nelts; i++) {
        const acme_item_t *item = APR_ARRAY_IDX(vhost->cert->items, i, const acme_item_t *);

        if (usable ? item->usable : item == stand_in) {
            APR_ARRAY_PUSH(cert_files, const char *) = item->cert_file;
            APR_ARRAY_PUSH(key_files, const char *) = item->key_file;
        }
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
