/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#ifndef ACME_IO_PRESENTER_H
#define ACME_IO_PRESENTER_H

#include "io/board.h"
#include "io/net.h"
#include "io/txt.h"
#include "protocol/spec.h"

/* Presenters: rows of a table by challenge type. */
typedef struct {
    acme_board_t *board;
    apr_time_t (*now)(void *baton);
    void *now_baton;
    acme_key_t *ec_key, *rsa_key; /* for challenge certificates; made when first needed, kept for
                                   * the owner's life; guarded by mutex */
    void *mutex;                  /* apr_thread_mutex_t */
    acme_program_runner_t *programs; /* for dns types, set by the owner; NULL: none can be run */
    apr_pool_t *pool;
} acme_present_ctx_t;

acme_rv_t acme_present_ctx_create(acme_present_ctx_t **out, acme_board_t *board,
                                  apr_time_t (*now)(void *), void *now_baton, apr_pool_t *pool,
                                  acme_error_t *err);

typedef struct {
    const acme_spec_t *spec;
    int row;
    acme_challenge_type_t type;
    const char *name;             /* canonical identifier, without "*." */
    const char *token;
    const char *key_authorization;
    apr_time_t expires;
    /* dns types only */
    acme_txt_t *txt;              /* of this certificate */
    const char *identifier;       /* the name with its "*." */
    const char *account_url;
    const apr_array_header_t *issuers; /* dns-persist-01: what the CA said */
    const char *account_uri;      /* or NULL */
    double random;
    apr_interval_time_t *delay;   /* when to call again after ACME_AGAIN; may be NULL */
} acme_presentation_t;

/* Makes the challenge answerable by every child before it returns. ACME_AGAIN: the administrator's
 * program is at it, call again with the same. */
acme_rv_t acme_present(acme_present_ctx_t *ctx, const acme_presentation_t *what,
                       apr_pool_t *scratch, acme_error_t *err);
/* ACME_OK when the CA may be told, ACME_AGAIN to ask again later (dns propagation). */
acme_rv_t acme_settled(acme_present_ctx_t *ctx, const acme_presentation_t *what,
                       apr_pool_t *scratch, acme_error_t *err);
/* Always, also after a failed present and for what an earlier owner presented. ACME_AGAIN: the
 * administrator's program is at it, call again with the same. Of a dns type: all of the
 * certificate's values. */
acme_rv_t acme_withdraw(acme_present_ctx_t *ctx, const acme_presentation_t *what);

#endif
