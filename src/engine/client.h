/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#ifndef ACME_ENGINE_CLIENT_H
#define ACME_ENGINE_CLIENT_H

#include "engine/checker.h"
#include "engine/session.h"
#include "io/presenter.h"
#include "protocol/order.h"

/* Acts out the plans of one order. */
typedef struct {
    const acme_spec_t *spec;
    const acme_ca_t *ca;          /* whose session it is */
    int rehearsal;                /* at a CA's staging: the order is gone through, nothing of it is
                                   * recorded, kept or published; no recorded one is resumed */
    const apr_array_header_t *left_out; /* of the spec's names, for a new order; NULL: none */
    int row;                      /* of the board, -1: none */
    const char *replaces;         /* renewal information's name of the certificate this CA issued
                                   * and that is to be replaced, or NULL */
    const acme_key_t *former_key; /* of the certificate in service, for AcmeKeyReuse; or NULL */
    acme_session_t *session;
    acme_store_t *store;
    acme_present_ctx_t *presenters;
    acme_checker_t *checker;      /* of spec->self_check; may be NULL */
    int one_by_one;               /* prove one name after the other: a program may replace values */
    int new_key;                  /* in spite of spec->key_reuse */
    acme_board_t *board;          /* public status and arrivals; may be NULL */
    acme_board_status_t *status;  /* what is shown: state, step and order are kept up to date here
                                   * and on the board; the rest is the caller's. May be NULL */
    const acme_log_t *log;
    const acme_stop_t *stop;
    double (*random)(void *baton);
    void *random_baton;
    apr_time_t (*now)(void *baton);
    void *now_baton;
} acme_client_conf_t;

typedef struct acme_client_t acme_client_t;

/* Does an order stand in the records that would be gone on with? */
int acme_client_order_under_way(const acme_record_set_t *set, const acme_spec_t *spec,
                                apr_time_t now, apr_pool_t *scratch);

/* Resumes the recorded order when there is one that fits, else starts a new one. types: challenge
 * types of this attempt. The client lives until done, over many waits. */
acme_rv_t acme_client_create(acme_client_t **out, const acme_client_conf_t *conf,
                             const acme_challenge_type_t *types, int n_types, apr_pool_t *pool,
                             acme_error_t *err);

/* Runs until the order must wait (ACME_AGAIN, *until), is done (ACME_OK: staged and published,
 * challenges withdrawn) or has failed (ACME_FAIL: classified, arrivals in the text of challenge
 * failures, challenges withdrawn; the recorded order stays resumable unless it is dead). When it was
 * asked to stop (ACME_E_STOPPED) everything stays as it is: challenges too, the next owner goes on
 * with them. A certificate that could not be recorded is published all the same and recorded again
 * after a wait. */
acme_rv_t acme_client_run(acme_client_t *client, apr_time_t *until, acme_error_t *err);

/* The clock was set by so much: the order's deadline moves with it, and waits are not stretched
 * when it was set back. */
void acme_client_clock_moved(acme_client_t *client, apr_interval_time_t by);

/* For log and status after the end. */
const acme_order_t *acme_client_order(const acme_client_t *client);
const acme_leaf_t *acme_client_leaf(const acme_client_t *client); /* after ACME_OK */
int acme_client_is_live(const acme_client_t *client); /* or waits for a restart; after ACME_OK */
/* Of the last step that was acted out: "finalize"; "account" before the first. */
const char *acme_client_step(const acme_client_t *client);
/* TXT values that are on record and still have to be removed. */
int acme_client_txt_values(const acme_client_t *client);
/* Type of the challenge that failed, as the CA says; else of the one presented last in this
 * attempt, "" when none was. */
const char *acme_client_challenge(const acme_client_t *client);

#endif
