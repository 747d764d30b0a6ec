/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#ifndef ACME_PROTOCOL_ARI_H
#define ACME_PROTOCOL_ARI_H

#include <apr_pools.h>
#include <apr_time.h>
#include "base/error.h"

/* ACME renewal information (RFC 9773): the window in which the CA wants a certificate renewed, the
 * moment chosen in it, and when to ask again. Pure: clock and dice are arguments. */

#define ACME_ARI_POLL_LEAST apr_time_from_sec(60)
#define ACME_ARI_POLL_MOST apr_time_from_sec((apr_int64_t)24 * 3600)
#define ACME_ARI_EXPLANATION_MAX 511

/* What the CA says (RFC 9773 section 4.2). */
typedef struct {
    apr_time_t start, end;
    const char *explanation; /* an http or https URL for people, printable, or "" */
} acme_renewal_info_t;

/* An explanation that is no such URL, or longer than the above, counts as absent. ACME_FAIL: no
 * window, dates that cannot be read, or end not after start (AC0333, AC0334). */
acme_rv_t acme_renewal_info_parse(acme_renewal_info_t *out, const char *text, apr_size_t len,
                                  apr_pool_t *pool, acme_error_t *err);

/* Can it be the window of a certificate with these dates? It must begin at most a day before the
 * certificate does and before it ends, and end at most one lifetime after that. ACME_FAIL: AC0335.
 * On success its end is not later than the certificate's. */
acme_rv_t acme_renewal_info_judge(acme_renewal_info_t *info, apr_time_t not_before,
                                  apr_time_t not_after, acme_error_t *err);

/* What is known of one certificate; the payload of its ari record. */
typedef struct {
    char id[96];             /* of the certificate it is about; "" nothing known */
    apr_time_t start, end;   /* the CA's window; 0: none */
    apr_time_t at;           /* moment chosen in it, once; 0: none */
    apr_time_t next;         /* ask again then */
    apr_int64_t failures;    /* questions without an answer, in a row */
    apr_time_t early[2];     /* the last two renewals that only a window wanted, newest first */
    char explanation[ACME_ARI_EXPLANATION_MAX + 1];
} acme_ari_t;

const char *acme_ari_payload(const acme_ari_t *ari, apr_pool_t *pool);
/* Range-checks everything (hostile child). Of another certificate than id only `early` is kept. */
acme_rv_t acme_ari_restore(acme_ari_t *out, const char *payload, apr_size_t len, const char *id,
                           apr_time_t now, apr_pool_t *pool, acme_error_t *err);

/* Another certificate is in service: nothing is known of it yet, `early` stays. renewed_early:
 * the former one was renewed now, because of its window, long before it was due otherwise. */
void acme_ari_begin(acme_ari_t *ari, const char *id, int renewed_early, apr_time_t now);

/* The answer. A window that has not changed keeps its moment; for another one a moment is chosen,
 * uniformly. A moment that has passed already is moved to the next 10 min (a thousandth of the
 * lifetime at most), and one that would be the third of its kind in 7 days, or the second in 24 h,
 * is put off, but not beyond usual, when the certificate is due without a window. Returns 1 when a
 * moment was chosen. random in [0,1). */
int acme_ari_take(acme_ari_t *ari, const acme_renewal_info_t *info, apr_interval_time_t lifetime,
                  apr_time_t usual, apr_time_t now, double random);

/* When to ask again: Retry-After (text of the header or NULL), clamped to 1 min .. 24 h, 6 h
 * without; later by up to 5 %, so that certificates of one day do not ask together. */
void acme_ari_answered(acme_ari_t *ari, const char *retry_after, apr_time_t now, double random);
/* The same after no answer: 1, 10, 100 min, then 6 h; lasting (the CA answered, but nothing that
 * can be used): 6 h at once, and the window is forgotten. */
void acme_ari_failed(acme_ari_t *ari, int lasting, const char *retry_after, apr_time_t now,
                     double random);

#endif
