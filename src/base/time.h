/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#ifndef ACME_BASE_TIME_H
#define ACME_BASE_TIME_H

#include <apr_pools.h>
#include <apr_time.h>
#include "base/error.h"

/* Calendar text <-> apr_time_t (microseconds since 1970, UTC). Locale-free; nothing here reads
 * the clock. Years 1970..9999. */

#define ACME_TIME_TEXT 21 /* "2026-11-24T14:19:27Z" and NUL */

/* RFC 3339 as used by RFC 8555 (fraction and any offset allowed, lower-case t/z too). */
acme_rv_t acme_time_parse_rfc3339(apr_time_t *out, const char *text, apr_size_t len);
/* Whole seconds, Z. Times outside the years above are clamped. Returns out. */
char *acme_time_format(char out[ACME_TIME_TEXT], apr_time_t t);

/* HTTP dates (RFC 9110 section 5.6.7): IMF-fixdate, RFC 850, asctime. Day names are checked for
 * form only. */
acme_rv_t acme_time_parse_http(apr_time_t *out, const char *text, apr_size_t len);

/* Retry-After (RFC 9110 section 10.2.3): seconds or HTTP date. *out is absolute and clamped to
 * now .. now + max_wait; invalid text: ACME_FAIL (treat as absent). */
acme_rv_t acme_time_parse_retry_after(apr_time_t *out, const char *text, apr_size_t len,
                                      apr_time_t now, apr_interval_time_t max_wait);

/* "N[s|mi|h|d|w]" or a bare number of days -> microseconds; at most 10 years. The percent form
 * is AcmeRenewBefore's own affair. */
acme_rv_t acme_duration_parse(apr_interval_time_t *out, const char *text, acme_error_t *err);
/* "61 days", "5 h", "90 s": the largest unit that loses little. */
char *acme_duration_format(apr_interval_time_t t, apr_pool_t *pool);

/* Saturating arithmetic. */
apr_time_t acme_time_add(apr_time_t t, apr_interval_time_t d);

#endif
