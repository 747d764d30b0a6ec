/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#ifndef ACME_PROTOCOL_BACKOFF_H
#define ACME_PROTOCOL_BACKOFF_H

#include <apr_time.h>
#include "base/error.h"

/* When to try again after the n-th failure in a row (n >= 1; 0 and less count as 1): 1, 10, 100
 * min, then min(24 h, max(1 h, lifetime/24)) where lifetime (0 = unknown) is that of the
 * certificate. retry ACME_RETRY_SLOW/HUMAN: the last step at once. random in [0,1) adds up to 10 %.
 * Never below 60 s, never above 24 h + 10 %, monotonic in n; saturating. */
apr_interval_time_t acme_backoff_delay(apr_int64_t failures, acme_retry_t retry,
                                       apr_interval_time_t lifetime, double random);

/* Next try: now + delay, or the CA's not_before (clamped to 7 days from now) when later. */
apr_time_t acme_backoff_next(apr_time_t now, apr_int64_t failures, const acme_error_t *err,
                             apr_interval_time_t lifetime, double random);

/* Delay before the n-th poll (n = 0 ..) of an order or authorization: 20, 50, 150, 500 ms, then
 * doubling to 15 s, +0..20 %. */
apr_interval_time_t acme_backoff_poll(int n, double random);

#endif
