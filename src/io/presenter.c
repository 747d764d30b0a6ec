/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#include "io/presenter.h"

#include <string.h>

#include <apr_strings.h>
#include <apr_thread_mutex.h>

#include "base/time.h"
#include "crypto/challenge_cert.h"
#include "crypto/digest.h"

enum { SIDE_EC = 0, SIDE_RSA = 1 };

typedef struct {
    acme_rv_t (*present)(acme_present_ctx_t *ctx, const acme_presentation_t *what,
                         acme_board_challenge_t *entry, apr_pool_t *scratch, acme_error_t *err);
    acme_rv_t (*settled)(acme_present_ctx_t *ctx, const acme_presentation_t *what,
                         apr_pool_t *scratch, acme_error_t *err);
    acme_rv_t (*withdraw)(acme_present_ctx_t *ctx, const acme_presentation_t *what);
} presenter_t;

static acme_rv_t copy_text(char *out, apr_size_t size, const char *text, const char *what,
                           acme_error_t *err)
{
    if (text == NULL || *text == '\0' || strlen(text) >= size) {
        return acme_error_set(err, ACME_E_CHALLENGE, "AC0420",
                              "a challenge whose %s is missing or longer than %" APR_SIZE_T_FMT
                              " bytes", what, size - 1);
    }
    apr_cpystrn(out, text, size);
    return ACME_OK;
}

/* ---- http-01 ---- */

static acme_rv_t http_present(acme_present_ctx_t *ctx, const acme_presentation_t *what,
                              acme_board_challenge_t *entry, apr_pool_t *scratch, acme_error_t *err)
{
    (void)what;
    (void)scratch;
    return acme_board_challenge_put(ctx->board, entry, err);
}

/* ---- challenges answered by a certificate ---- */

/* Made when first needed: an RSA key costs as much time as a whole order. */
static acme_rv_t side_key(acme_key_t **out, acme_present_ctx_t *ctx, int side, acme_error_t *err)
{
    static const acme_key_type_t types[] = {
        [SIDE_EC] = ACME_KEY_P256, [SIDE_RSA] = ACME_KEY_RSA2048
    };
    acme_key_t **kept = side == SIDE_RSA ? &ctx->rsa_key : &ctx->ec_key;
    acme_rv_t rv = ACME_OK;

    apr_thread_mutex_lock(ctx->mutex);
    if (*kept == NULL) {
        rv = acme_key_generate(kept, types[side], ctx->pool, err);
    }
    *out = *kept;
    apr_thread_mutex_unlock(ctx->mutex);
    return rv;
}

typedef acme_rv_t make_cert_t(acme_chain_t **out, const acme_presentation_t *what, const char *sni,
                              const acme_key_t *key, apr_time_t now, apr_pool_t *pool,
                              acme_error_t *err);

static acme_rv_t alpn_cert(acme_chain_t **out, const acme_presentation_t *what, const char *sni,
                           const acme_key_t *key, apr_time_t now, apr_pool_t *pool,
                           acme_error_t *err)
{
    (void)sni;
    return acme_challenge_cert_alpn(out, what->name, what->key_authorization, key, now, pool, err);
}

static acme_rv_t sni_cert(acme_chain_t **out, const acme_presentation_t *what, const char *sni,
                          const acme_key_t *key, apr_time_t now, apr_pool_t *pool,
                          acme_error_t *err)
{
    (void)what;
    return acme_challenge_cert_sni(out, sni, key, now, pool, err);
}

static acme_rv_t put_side(acme_board_challenge_t *entry, int side, acme_present_ctx_t *ctx,
                          const acme_presentation_t *what, make_cert_t *make, apr_pool_t *scratch,
                          acme_error_t *err)
{
    const unsigned char *cert;
    unsigned char *der;
    apr_size_t cert_len, der_len;
    acme_chain_t *chain;
    acme_key_t *key;

    if (side_key(&key, ctx, side, err) != ACME_OK
        || make(&chain, what, entry->sni, key, ctx->now(ctx->now_baton), scratch, err) != ACME_OK
        || acme_key_to_der(&der, &der_len, key, scratch, err) != ACME_OK) {
        return ACME_FAIL;
    }
    acme_chain_der(&cert, &cert_len, chain, 0);
    if (cert_len > sizeof(entry->cert[side]) || der_len > sizeof(entry->key[side])) {
        return acme_error_set(err, ACME_E_CHALLENGE, "AC0421",
                              "%s: a challenge certificate of %" APR_SIZE_T_FMT
                              " bytes does not fit on the board", what->name, cert_len);
    }
    memcpy(entry->cert[side], cert, cert_len);
    entry->cert_len[side] = (apr_uint16_t)cert_len;
    memcpy(entry->key[side], der, der_len);
    entry->key_len[side] = (apr_uint16_t)der_len;
    return ACME_OK;
}

static acme_rv_t tls_present(acme_present_ctx_t *ctx, const acme_presentation_t *what,
                             acme_board_challenge_t *entry, const char *sni, make_cert_t *make,
                             apr_pool_t *scratch, acme_error_t *err)
{
    if (copy_text(entry->sni, sizeof(entry->sni), sni, "server name", err) != ACME_OK
        || put_side(entry, SIDE_EC, ctx, what, make, scratch, err) != ACME_OK) {
        return ACME_FAIL;
    }
    /* The name of tls-sni-01 lands in whatever vhost is the address' default, whose ciphers are not
     * this certificate's business: it gets both. */
    if ((what->spec->rsa_challenge || what->type == ACME_CH_TLSSNI01)
        && put_side(entry, SIDE_RSA, ctx, what, make, scratch, err) != ACME_OK) {
        return ACME_FAIL;
    }
    return acme_board_challenge_put(ctx->board, entry, err);
}

static acme_rv_t alpn_present(acme_present_ctx_t *ctx, const acme_presentation_t *what,
                              acme_board_challenge_t *entry, apr_pool_t *scratch, acme_error_t *err)
{
    return tls_present(ctx, what, entry, acme_challenge_alpn_name(what->name, scratch), alpn_cert,
                       scratch, err);
}

static acme_rv_t sni_present(acme_present_ctx_t *ctx, const acme_presentation_t *what,
                             acme_board_challenge_t *entry, apr_pool_t *scratch, acme_error_t *err)
{
    return tls_present(ctx, what, entry, acme_challenge_sni_name(what->key_authorization, scratch),
                       sni_cert, scratch, err);
}

/* ---- what all that stand on the board have in common ---- */

/* Every child sees an entry as soon as it is written. */
static acme_rv_t board_settled(acme_present_ctx_t *ctx, const acme_presentation_t *what,
                               apr_pool_t *scratch, acme_error_t *err)
{
    (void)ctx;
    (void)what;
    (void)scratch;
    (void)err;
    return ACME_OK;
}

static acme_rv_t board_withdraw(acme_present_ctx_t *ctx, const acme_presentation_t *what)
{
    if (ctx->board != NULL) {
        acme_board_challenge_remove(ctx->board, what->row, what->name);
    }
    return ACME_OK;
}

/* ---- dns types: nothing stands on the board ---- */

static apr_interval_time_t *delay_of(const acme_presentation_t *what, apr_interval_time_t *unwanted)
{
    return what->delay != NULL ? what->delay : unwanted;
}

static void value_of(acme_txt_value_t *value, const acme_presentation_t *what, apr_pool_t *pool)
{
    value->type = what->type;
    value->name = what->identifier;
    value->record = acme_challenge_dns_record(what->type, what->name, what->account_url, pool);
    value->value = acme_challenge_dns_value(what->key_authorization, pool);
}

static acme_rv_t dns_present(acme_present_ctx_t *ctx, const acme_presentation_t *what,
                             acme_board_challenge_t *entry, apr_pool_t *scratch, acme_error_t *err)
{
    apr_interval_time_t unwanted;
    acme_txt_value_t value;

    (void)ctx;
    (void)entry;
    value_of(&value, what, scratch);
    return acme_txt_setup(what->txt, &value, delay_of(what, &unwanted), err);
}

static acme_rv_t dns_settled(acme_present_ctx_t *ctx, const acme_presentation_t *what,
                             apr_pool_t *scratch, acme_error_t *err)
{
    apr_interval_time_t unwanted;
    acme_txt_value_t value;

    (void)ctx;
    (void)err;
    value_of(&value, what, scratch);
    return acme_txt_settled(what->txt, &value, delay_of(what, &unwanted));
}

static acme_rv_t dns_withdraw(acme_present_ctx_t *ctx, const acme_presentation_t *what)
{
    apr_interval_time_t unwanted;

    (void)ctx;
    return what->txt != NULL ? acme_txt_teardown(what->txt, delay_of(what, &unwanted)) : ACME_OK;
}

static acme_rv_t persist_present(acme_present_ctx_t *ctx, const acme_presentation_t *what,
                                 acme_board_challenge_t *entry, apr_pool_t *scratch,
                                 acme_error_t *err)
{
    (void)ctx;
    (void)what;
    (void)entry;
    (void)scratch;
    (void)err;
    return ACME_OK;
}

static acme_rv_t persist_settled(acme_present_ctx_t *ctx, const acme_presentation_t *what,
                                 apr_pool_t *scratch, acme_error_t *err)
{
    apr_interval_time_t unwanted;
    acme_txt_persist_t persist;

    (void)ctx;
    persist.name = what->identifier;
    persist.record = acme_challenge_dns_record(what->type, what->name, "", scratch);
    persist.issuers = what->issuers;
    persist.account_uri = what->account_uri != NULL ? what->account_uri : what->account_url;
    return acme_txt_persist(what->txt, &persist, what->random, delay_of(what, &unwanted), err);
}

static acme_rv_t persist_withdraw(acme_present_ctx_t *ctx, const acme_presentation_t *what)
{
    (void)ctx;
    (void)what;
    return ACME_OK;
}

static const presenter_t presenters[ACME_CH_TYPES] = {
    [ACME_CH_HTTP01] = {.present = http_present, .settled = board_settled,
                        .withdraw = board_withdraw},
    [ACME_CH_TLSALPN01] = {.present = alpn_present, .settled = board_settled,
                           .withdraw = board_withdraw},
    [ACME_CH_TLSSNI01] = {.present = sni_present, .settled = board_settled,
                          .withdraw = board_withdraw},
    [ACME_CH_DNS01] = {.present = dns_present, .settled = dns_settled, .withdraw = dns_withdraw},
    [ACME_CH_DNSACCOUNT01] = {.present = dns_present, .settled = dns_settled,
                              .withdraw = dns_withdraw},
    [ACME_CH_DNSPERSIST01] = {.present = persist_present, .settled = persist_settled,
                              .withdraw = persist_withdraw},
};

static const presenter_t *presenter_of(acme_challenge_type_t type)
{
    return (unsigned)type < ACME_CH_TYPES && presenters[type].present != NULL ? &presenters[type]
                                                                              : NULL;
}

static acme_rv_t unavailable(const acme_presentation_t *what, acme_error_t *err)
{
    const char *name = (unsigned)what->type < ACME_CH_TYPES ? acme_challenge_type_name(what->type)
                                                            : "this type";

    return acme_error_set(err, ACME_E_CHALLENGE, "AC0422", "%s: %s is not available", what->name,
                          name);
}

static apr_time_t system_now(void *baton)
{
    (void)baton;
    return apr_time_now();
}

acme_rv_t acme_present_ctx_create(acme_present_ctx_t **out, acme_board_t *board,
                                  apr_time_t (*now)(void *), void *now_baton, apr_pool_t *pool,
                                  acme_error_t *err)
{
    acme_present_ctx_t *ctx = apr_pcalloc(pool, sizeof(*ctx));
    apr_thread_mutex_t *mutex;
    apr_status_t status;

    *out = NULL;
    status = apr_thread_mutex_create(&mutex, APR_THREAD_MUTEX_DEFAULT, pool);
    if (status != APR_SUCCESS) {
        return acme_error_system(err, ACME_E_SYSTEM, "AC0423", status, "mutex of the presenters");
    }
    ctx->board = board;
    ctx->now = now != NULL ? now : system_now;
    ctx->now_baton = now_baton;
    ctx->mutex = mutex;
    ctx->pool = pool;
    *out = ctx;
    return ACME_OK;
}

static acme_rv_t present_on_board(acme_present_ctx_t *ctx, const presenter_t *presenter,
                                  const acme_presentation_t *what, apr_pool_t *scratch,
                                  acme_error_t *err)
{
    acme_board_challenge_t entry;
    acme_rv_t rv = ACME_FAIL;

    if (ctx->board == NULL || what->row < 0 || what->row >= acme_board_rows(ctx->board)) {
        return acme_error_set(err, ACME_E_CHALLENGE, "AC0424",
                              "%s: no place on the board to answer %s from", what->name,
                              acme_challenge_type_name(what->type));
    }
    memset(&entry, 0, sizeof(entry));
    entry.row = what->row;
    entry.type = what->type;
    entry.expires = what->expires;
    if (copy_text(entry.name, sizeof(entry.name), what->name, "name", err) == ACME_OK
        && copy_text(entry.token, sizeof(entry.token), what->token, "token", err) == ACME_OK
        && copy_text(entry.key_authorization, sizeof(entry.key_authorization),
                     what->key_authorization, "key authorization", err) == ACME_OK) {
        rv = presenter->present(ctx, what, &entry, scratch, err);
    }
    acme_cleanse(&entry, sizeof(entry));
    return rv;
}

/* Dns types need what the client keeps for them. */
static int is_ready(const acme_presentation_t *what)
{
    return !acme_challenge_type_is_dns(what->type)
           || (what->txt != NULL && what->identifier != NULL && what->account_url != NULL);
}

acme_rv_t acme_present(acme_present_ctx_t *ctx, const acme_presentation_t *what,
                       apr_pool_t *scratch, acme_error_t *err)
{
    const presenter_t *presenter = presenter_of(what->type);

    if (presenter == NULL || !is_ready(what)) {
        return unavailable(what, err);
    }
    return acme_challenge_type_is_dns(what->type)
               ? presenter->present(ctx, what, NULL, scratch, err)
               : present_on_board(ctx, presenter, what, scratch, err);
}

acme_rv_t acme_settled(acme_present_ctx_t *ctx, const acme_presentation_t *what,
                       apr_pool_t *scratch, acme_error_t *err)
{
    const presenter_t *presenter = presenter_of(what->type);

    return presenter != NULL && is_ready(what) ? presenter->settled(ctx, what, scratch, err)
                                               : unavailable(what, err);
}

acme_rv_t acme_withdraw(acme_present_ctx_t *ctx, const acme_presentation_t *what)
{
    const presenter_t *presenter = presenter_of(what->type);

    return presenter != NULL ? presenter->withdraw(ctx, what) : ACME_OK;
}
