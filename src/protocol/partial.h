/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#ifndef ACME_PROTOCOL_PARTIAL_H
#define ACME_PROTOCOL_PARTIAL_H

#include "protocol/policy.h"

/* AcmePartial: a name for which alone ACME_PARTIAL_AFTER attempts in a row failed is left out
 * rather than lose the rest; each one that is left out is tried again once in ACME_PARTIAL_AGAIN.
 * What is left out stands in the attempt record while attempts fail, else in the certificate's.
 * Pure. */

#define ACME_PARTIAL_AFTER 3
#define ACME_PARTIAL_AGAIN apr_time_from_sec((apr_int64_t)7 * 86400)

/* acme_decision_t's why of an attempt that tries one of them again. */
extern const char acme_partial_why[];

/* What is left out now; NULL: nothing, or no more so with this configuration. */
const apr_array_header_t *acme_partial_left_out(const acme_spec_t *spec,
                                                const acme_issued_t *issued,
                                                const acme_attempt_t *attempt);
/* When the next of them is tried again; 0: none is left out. */
apr_time_t acme_partial_again(const acme_spec_t *spec, const acme_issued_t *issued,
                              const acme_attempt_t *attempt);
/* Was this the failure of an attempt that tried one again? It says nothing about the others. */
int acme_partial_was_again(const acme_attempt_t *attempt);
/* What an attempt leaves out: all of them or, when it tries one again, all but that one. */
const apr_array_header_t *acme_partial_order(const acme_spec_t *spec, const acme_issued_t *issued,
                                             const acme_attempt_t *attempt, int again,
                                             apr_pool_t *pool);
/* After a failed attempt: next has last and why. Fills failures, blamed, blamed_times, left_out
 * and, when it had tried one again, not_before. blamed: the name it failed for, or NULL. Returns the name
 * that is left out from now on, or NULL. */
const char *acme_partial_failed(acme_attempt_t *next, const acme_spec_t *spec,
                                const acme_issued_t *issued, const acme_attempt_t *former,
                                const char *blamed, apr_pool_t *pool);

#endif
