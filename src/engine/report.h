/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#ifndef ACME_ENGINE_REPORT_H
#define ACME_ENGINE_REPORT_H

#include "base/json.h"
#include "io/board.h"
#include "store/adopt.h"

/* What there is to say of certificates, put together from what root found at the start and what
 * stands on the board: for the status page and the administrator's command. Any child can write the
 * board: everything here is shown, nothing is acted on. Never a key or another secret. */

/* One certificate of one key type. */
typedef struct {
    const acme_item_t *item;           /* with its spec */
    const acme_board_t *board;         /* or NULL */
    int row;                           /* on it, -1: none */
    apr_uint64_t baseline;             /* generation that is on disk */
    int own;                           /* its vhosts have a certificate of their own meanwhile */
    const apr_array_header_t *vhosts;  /* const char *, "file:line" */
} acme_report_of_t;

/* Members, in this order; times are RFC 3339 in UTC, what is unknown is left out:
 *   certificate, id, key_type, names, vhosts, cas, challenges
 *   served       {from: "board" (newer than the file on disk, which follows at the next restart),
 *                "disk", "own", "placeholder" or "nothing"; serial, not_before, not_after}
 *   pending      true: a restart has something to adopt
 *   state, step, why, ca, order, next, changed, failures, error (whole)
 *   publish      what the administrator has to publish in the DNS
 *   explanation  URL of the CA's for its renewal window
 *   arrivals     {ipv4, ipv6, foreign_host, and a count for each challenge type}, with requests only
 *   trouble      why root or the configuration keeps it from being ordered */
acme_json_t *acme_report_certificate(const acme_report_of_t *of, apr_pool_t *pool);

/* How many of each kind. Zero it first. */
typedef struct {
    int all, valid, expired, missing, failing, held, ordering;
} acme_report_sum_t;

/* Counts one certificate in, by what acme_report_certificate made of it. */
void acme_report_count(acme_report_sum_t *sum, const acme_json_t *certificate, apr_time_t now);

#endif
