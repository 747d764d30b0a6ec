/* Licensed under the Apache License, Version 2.0; see LICENSE. */

#include <limits.h>
#include <math.h>

#include <check.h>

#include "protocol/backoff.h"

#define COUNT(table) ((int)(sizeof(table) / sizeof((table)[0])))
#define S APR_USEC_PER_SEC
#define HOUR (3600 * S)
#define DAY (24 * HOUR)
#define NOW (APR_INT64_C(1795529967) * S)

Suite *backoff_suite(void);

static const struct {
    apr_int64_t failures;
    acme_retry_t retry;
    apr_interval_time_t lifetime, want;
} steps[] = {
    {1, ACME_RETRY_LADDER, 90 * DAY, 60 * S},
    {2, ACME_RETRY_LADDER, 90 * DAY, 600 * S},
    {3, ACME_RETRY_LADDER, 90 * DAY, 6000 * S},
    {4, ACME_RETRY_LADDER, 90 * DAY, DAY},
    {5, ACME_RETRY_LADDER, 90 * DAY, DAY},
    {4, ACME_RETRY_LADDER, 0, DAY},
    {4, ACME_RETRY_LADDER, 160 * HOUR, 24000 * S},
    {4, ACME_RETRY_LADDER, 12 * HOUR, HOUR},
    {3, ACME_RETRY_LADDER, 12 * HOUR, HOUR},
    {2, ACME_RETRY_LADDER, 12 * HOUR, 600 * S},
    {1, ACME_RETRY_NOW, 90 * DAY, 60 * S},
    {1, ACME_RETRY_SLOW, 90 * DAY, DAY},
    {1, ACME_RETRY_HUMAN, 90 * DAY, DAY},
    {1, ACME_RETRY_SLOW, 12 * HOUR, HOUR},
    {0, ACME_RETRY_LADDER, 90 * DAY, 60 * S},
    {-1, ACME_RETRY_LADDER, 90 * DAY, 60 * S},
    {APR_INT64_MIN, ACME_RETRY_LADDER, 90 * DAY, 60 * S},
    {INT_MIN, ACME_RETRY_LADDER, 90 * DAY, 60 * S},
    {INT_MAX, ACME_RETRY_LADDER, 90 * DAY, DAY},
    {APR_INT64_MAX, ACME_RETRY_LADDER, APR_INT64_MAX, DAY},
    {APR_INT64_MAX, ACME_RETRY_LADDER, -DAY, DAY},
};

START_TEST(the_ladder_has_its_steps)
{
    apr_interval_time_t got;

    got = acme_backoff_delay(steps[_i].failures, steps[_i].retry, steps[_i].lifetime, 0.0);
    ck_assert_int_eq(got, steps[_i].want);
    got = acme_backoff_delay(steps[_i].failures, steps[_i].retry, steps[_i].lifetime, 0.999999);
    ck_assert_int_gt(got, steps[_i].want);
    ck_assert_int_le(got, steps[_i].want + steps[_i].want / 10);
}
END_TEST

START_TEST(no_count_of_failures_leaves_the_bounds)
{
    static const apr_interval_time_t lives[] = {0, -1, 1, 12 * HOUR, 160 * HOUR, 90 * DAY};
    apr_interval_time_t former = 0;
    apr_interval_time_t delay;
    apr_int64_t n;

    for (n = 0; n <= 1000000; n++) {
        delay = acme_backoff_delay(n, ACME_RETRY_LADDER, lives[_i], 0.5);
        if (delay < 60 * S || delay > DAY + DAY / 10 || delay < former) {
            ck_abort_msg("%lld failures: %lld", (long long)n, (long long)delay);
        }
        former = delay;
    }
}
END_TEST

START_TEST(no_random_number_leaves_the_bounds)
{
    static const double randoms[] = {-1.0, -HUGE_VAL, 0.0, 1.0, 2.0, HUGE_VAL, NAN};
    apr_interval_time_t delay = acme_backoff_delay(1, ACME_RETRY_LADDER, 0, randoms[_i]);

    ck_assert_int_ge(delay, 60 * S);
    ck_assert_int_le(delay, 66 * S);
}
END_TEST

START_TEST(retry_after_wins_when_later)
{
    acme_error_t err;

    acme_error_clear(&err);
    ck_assert_int_eq(acme_backoff_next(NOW, 1, NULL, 0, 0.0), NOW + 60 * S);
    ck_assert_int_eq(acme_backoff_next(NOW, 1, &err, 0, 0.0), NOW + 60 * S);
    err.not_before = NOW + 59 * S;
    ck_assert_int_eq(acme_backoff_next(NOW, 1, &err, 0, 0.0), NOW + 60 * S);
    err.not_before = NOW + 61 * S;
    ck_assert_int_eq(acme_backoff_next(NOW, 1, &err, 0, 0.0), NOW + 61 * S);
    err.not_before = NOW + 8 * DAY;
    ck_assert_int_eq(acme_backoff_next(NOW, 1, &err, 0, 0.0), NOW + 7 * DAY);
    err.retry = ACME_RETRY_SLOW;
    err.not_before = 0;
    ck_assert_int_eq(acme_backoff_next(NOW, 1, &err, 0, 0.0), NOW + DAY);
    ck_assert_int_eq(acme_backoff_next(APR_INT64_MAX, 1, &err, 0, 0.0), APR_INT64_MAX);
}
END_TEST

START_TEST(polls_slow_down)
{
    static const int want_ms[] = {20, 50, 150, 500, 1000, 2000, 4000, 8000, 15000, 15000};
    apr_interval_time_t got;
    int i;

    for (i = 0; i < COUNT(want_ms); i++) {
        got = acme_backoff_poll(i, 0.0);
        ck_assert_int_eq(got, want_ms[i] * 1000);
        got = acme_backoff_poll(i, 0.999999);
        ck_assert_int_gt(got, want_ms[i] * 1000);
        ck_assert_int_le(got, want_ms[i] * 1200);
    }
    ck_assert_int_eq(acme_backoff_poll(INT_MAX, 0.0), 15 * S);
    ck_assert_int_eq(acme_backoff_poll(-1, 0.0), 20 * 1000);
    ck_assert_int_eq(acme_backoff_poll(INT_MIN, 0.0), 20 * 1000);
}
END_TEST

Suite *backoff_suite(void)
{
    Suite *suite = suite_create("backoff");
    TCase *tc = tcase_create("backoff");

    tcase_add_loop_test(tc, the_ladder_has_its_steps, 0, COUNT(steps));
    tcase_add_loop_test(tc, no_count_of_failures_leaves_the_bounds, 0, 6);
    tcase_add_loop_test(tc, no_random_number_leaves_the_bounds, 0, 7);
    tcase_add_test(tc, retry_after_wins_when_later);
    tcase_add_test(tc, polls_slow_down);
    suite_add_tcase(suite, tc);
    return suite;
}
