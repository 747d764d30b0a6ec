/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#ifndef ACME_IO_SELFCHECK_H
#define ACME_IO_SELFCHECK_H

#include "io/board.h"
#include "io/net.h"

/* A validator's look at one challenge of ours from this machine: the name is resolved by the
 * system, each address is tried as the CA would. Nothing is decided by it: an administrator reads
 * the line. What other servers answer is cut short and printable. */
typedef struct {
    acme_challenge_type_t type; /* http-01, tls-alpn-01 or tls-sni-01 */
    const char *name;           /* canonical identifier */
    const char *token;
    const char *key_authorization;
    int port;                   /* that the CA comes to: 80 or 443 */
    int mapped;                 /* where requests to it arrive here: asked instead when an address
                                 * is this machine's own: no mapping stands in front of those */
    acme_board_t *board;        /* the challenge stands there; own arrivals are taken back */
    int row;
} acme_selfcheck_t;

#define ACME_SELFCHECK_TEXT 400
#define ACME_SELFCHECK_TIME apr_time_from_sec(5)
#define ACME_SELFCHECK_ADDRESSES 8

typedef struct {
    char text[ACME_SELFCHECK_TEXT]; /* "192.0.2.1: own answer, 2001:db8::1: refused" */
    int addresses;                  /* that the name has, as far as they were tried */
    int outside;                    /* of these, not private or special */
    int connected;                  /* of these, that took a connection */
} acme_selfcheck_result_t;

/* Each address gets its share of the time until deadline (of acme_net_now). ACME_FAIL only when
 * asked to stop; what does not work is the result. */
acme_rv_t acme_selfcheck_run(acme_selfcheck_result_t *out, const acme_selfcheck_t *check,
                             apr_time_t deadline, const acme_stop_t *stop, apr_pool_t *pool);

/* Why the result says nothing about what the CA meets, or "": no address took a connection, but the
 * CA's requests do arrive (seen, of the board); private addresses only. */
const char *acme_selfcheck_doubt(const acme_selfcheck_result_t *result,
                                 const acme_board_arrivals_t *seen);

#endif
