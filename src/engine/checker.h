/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#ifndef ACME_ENGINE_CHECKER_H
#define ACME_ENGINE_CHECKER_H

#include "base/log.h"
#include "io/selfcheck.h"

/* Self-checks beside the orders, which never wait for them: two threads and a table of
 * ACME_CHECKER_PLACES, what does not fit is not checked. Thread-safe. */
typedef struct acme_checker_t acme_checker_t;

#define ACME_CHECKER_PLACES 64

typedef struct {
    acme_board_t *board;
    const acme_log_t *log;
    int http_port, https_port; /* where requests to 80 and 443 arrive here; 0: nowhere */
} acme_checker_conf_t;

acme_rv_t acme_checker_create(acme_checker_t **out, const acme_checker_conf_t *conf,
                              apr_pool_t *pool, acme_error_t *err);

/* Starts the threads at the first call. label: subject of the log line. A check that could not
 * begin within five seconds is dropped, its challenge may be gone by then. Types that no port is
 * for are left alone. Without a board nothing is checked. */
void acme_checker_ask(acme_checker_t *checker, const char *label, int row,
                      acme_challenge_type_t type, const char *name, const char *token,
                      const char *key_authorization);

/* The order of this row is over; its checks are forgotten. failed (the name whose validation
 * failed, or NULL): text becomes "NAME: 192.0.2.1: refused" of it, "" when there is nothing; a
 * check of it that still runs tells its result in the log when it has one (AC0462). */
void acme_checker_end(acme_checker_t *checker, int row, const char *failed, char *text,
                      apr_size_t size);

/* Ends the threads, within 200 ms and a handshake's computations. */
void acme_checker_stop(acme_checker_t *checker);

#endif
