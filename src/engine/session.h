/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#ifndef ACME_ENGINE_SESSION_H
#define ACME_ENGINE_SESSION_H

#include "base/log.h"
#include "io/staging.h"
#include "io/transport.h"
#include "protocol/message.h"
#include "protocol/spec.h"

/* Everything shared by the orders at one CA: directory, nonces, account, connections. Thread-safe;
 * the account is registered by one worker while the others wait (in slices, asking stop). */
typedef struct acme_session_t acme_session_t;

typedef struct {
    const acme_ca_t *ca;
    const char *account_id;  /* record id of the account */
    acme_key_t *key;         /* account key */
    acme_store_t *store;     /* account records (kid, orders URL, directory) */
    acme_board_t *board;     /* order rate that outlives an owner; may be NULL */
    int row;                 /* of the account on it, -1: none */
    const acme_log_t *log;
    acme_transport_t *transport;
    const acme_stop_t *stop;
    apr_time_t (*now)(void *baton);
    void *now_baton;
} acme_session_conf_t;

acme_rv_t acme_session_create(acme_session_t **out, const acme_session_conf_t *conf,
                              apr_pool_t *pool, acme_error_t *err);

/* Makes sure that directory (cached at most 24 h, also across owners by the account record) and
 * account are known: at most one newAccount per CA and key; an account the CA has forgotten
 * (accountDoesNotExist) is restored at most once a day. Contacts that differ from the recorded
 * ones are sent once. */
acme_rv_t acme_session_ready(acme_session_t *session, apr_pool_t *scratch, acme_error_t *err);

/* Without asking the CA: does an account exist, or is nothing missing that registering one there is
 * known to need (AC0376, AC0309, AC0226)? */
acme_rv_t acme_session_possible(acme_session_t *session, acme_error_t *err);

const acme_directory_t *acme_session_directory(acme_session_t *session);
const char *acme_session_thumbprint(acme_session_t *session);
const char *acme_session_orders_url(acme_session_t *session); /* or NULL */
const char *acme_session_kid(acme_session_t *session);

/* One signed request with kid, to be called after acme_session_ready said ACME_OK; payload NULL =
 * POST-as-GET. badNonce is retried with the nonce it brought, at most 5 times. *out: the response,
 * any status but badNonce. ACME_FAIL: transport error; *maybe_sent as acme_transport_exchange. Not
 * for newAccount. When newOrder is not found at the place a kept directory names, the directory is
 * fetched again and the request goes to its new place. */
acme_rv_t acme_session_post(acme_http_response_t **out, acme_session_t *session, const char *url,
                            const char *payload, apr_size_t body_max, int *maybe_sent,
                            apr_pool_t *pool, acme_error_t *err);

/* Renewal information of a certificate (RFC 9773 section 4.1), by the name acme_chain_ari_id gives
 * it: an unsigned GET, for which the directory is fetched when it is not known, but no account is
 * wanted. *out: the response, any status. ACME_AGAIN: the CA does not offer it. Nothing that comes
 * of it pauses the CA. */
acme_rv_t acme_session_renewal_info(acme_http_response_t **out, acme_session_t *session,
                                    const char *id, apr_pool_t *pool, acme_error_t *err);

/* From a response that is not 2xx: as acme_problem_from_response (out may be NULL), and what
 * concerns the whole CA is done: pauses it when the answer says so (ca_wide with Retry-After),
 * names the page to visit for userActionRequired (AC0311, HUMAN). Returns ACME_FAIL. */
acme_rv_t acme_session_refused(acme_problem_t **out, acme_session_t *session,
                               const acme_http_response_t *response, apr_pool_t *pool,
                               acme_error_t *err);

/* The CA answered accountDoesNotExist: register again at the next acme_session_ready. ACME_FAIL
 * when that was done within 24 h already (AC0307). */
acme_rv_t acme_session_account_lost(acme_session_t *session, acme_error_t *err);

/* New orders of the account: ACME_AGAIN with *when while the order rate is used up, which is told
 * once a period (AC0364). Counts one when it says ACME_OK, also for the next owner: of rates above
 * ACME_BOARD_ORDERS he learns in steps. */
acme_rv_t acme_session_order_allowed(acme_session_t *session, apr_time_t *when);

/* The three below are for an administrator: after acme_session_ready, by one thread while no order
 * uses the session. */

/* Revokes a certificate with the account's key (RFC 8555 section 7.6). One that is revoked already
 * is a success. reason: RFC 5280 section 5.3.1. */
acme_rv_t acme_session_revoke(acme_session_t *session, const unsigned char *der, apr_size_t len,
                              int reason, apr_pool_t *scratch, acme_error_t *err);
/* Gives the account a new key (RFC 8555 section 7.3.5), which the session uses from then on. It is
 * recorded before the CA is told. When its answer is lost, acme_session_ready finds out which key
 * the account has, in this process or in the next owner; root adopts what was accepted. */
acme_rv_t acme_session_rollover(acme_session_t *session, const acme_key_t *key,
                                apr_pool_t *scratch, acme_error_t *err);
/* Ends the account at the CA (RFC 8555 section 7.3.6), for good. */
acme_rv_t acme_session_deactivate(acme_session_t *session, apr_pool_t *scratch,
                                  acme_error_t *err);

/* Whole-CA pause (429 or 503 with Retry-After): until when, 0 = none. */
void acme_session_pause(acme_session_t *session, apr_time_t until);
apr_time_t acme_session_paused(acme_session_t *session);

#endif
