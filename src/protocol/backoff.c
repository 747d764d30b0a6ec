/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#include "protocol/backoff.h"

#include "base/time.h"

#define COUNT(table) ((apr_int64_t)(sizeof(table) / sizeof((table)[0])))

#define HOUR apr_time_from_sec((apr_int64_t)3600)
#define DAY (24 * HOUR)
#define WEEK (7 * DAY)

static const apr_interval_time_t ladder[] = {
    60 * APR_USEC_PER_SEC, 600 * APR_USEC_PER_SEC, 6000 * APR_USEC_PER_SEC
};

static const apr_interval_time_t polls[] = {
    20 * 1000, 50 * 1000, 150 * 1000, 500 * 1000,
    1 * APR_USEC_PER_SEC, 2 * APR_USEC_PER_SEC, 4 * APR_USEC_PER_SEC, 8 * APR_USEC_PER_SEC,
    15 * APR_USEC_PER_SEC
};

/* A random number out of its range must not move the result out of its own; NaN is neither. */
static apr_interval_time_t spread(apr_interval_time_t delay, int percent, double random)
{
    double share = random > 0.0 && random < 1.0 ? random : random >= 1.0 ? 1.0 : 0.0;

    return delay + (apr_interval_time_t)((double)(delay / 100 * percent) * share);
}

static apr_interval_time_t last_step(apr_interval_time_t lifetime)
{
    apr_interval_time_t step = lifetime > 0 ? lifetime / 24 : DAY;

    return step < HOUR ? HOUR : step > DAY ? DAY : step;
}

apr_interval_time_t acme_backoff_delay(apr_int64_t failures, acme_retry_t retry,
                                       apr_interval_time_t lifetime, double random)
{
    apr_interval_time_t last = last_step(lifetime);
    apr_interval_time_t delay = last;
    apr_int64_t place = failures < 1 ? 0 : failures - 1;

    if (retry != ACME_RETRY_SLOW && retry != ACME_RETRY_HUMAN && place < COUNT(ladder)
        && ladder[place] < last) {
        delay = ladder[place];
    }
    return spread(delay, 10, random);
}

apr_time_t acme_backoff_next(apr_time_t now, apr_int64_t failures, const acme_error_t *err,
                             apr_interval_time_t lifetime, double random)
{
    acme_retry_t retry = err != NULL ? err->retry : ACME_RETRY_LADDER;
    apr_time_t next = acme_time_add(now, acme_backoff_delay(failures, retry, lifetime, random));
    apr_time_t latest = acme_time_add(now, WEEK);
    apr_time_t asked = err != NULL ? err->not_before : 0;

    if (asked > latest) {
        asked = latest;
    }
    return asked > next ? asked : next;
}

apr_interval_time_t acme_backoff_poll(int n, double random)
{
    int last = (int)COUNT(polls) - 1;

    return spread(polls[n < 0 ? 0 : n > last ? last : n], 20, random);
}
