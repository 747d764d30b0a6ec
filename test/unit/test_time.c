/* Licensed under the Apache License, Version 2.0; see LICENSE. */

#include <locale.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <apr_general.h>
#include <check.h>

#include "base/time.h"

#define COUNT(table) ((int)(sizeof(table) / sizeof((table)[0])))
#define DAY ((apr_int64_t)86400)
#define BAD APR_INT64_MIN

Suite *time_suite(void);

static apr_pool_t *pool;

static void setup(void)
{
    apr_initialize();
    apr_pool_create(&pool, NULL);
}

static void teardown(void)
{
    apr_pool_destroy(pool);
}

/* Examples of RFC 3339 section 5.8 and RFC 8555 section 7.1.2; seconds as `date -u -d` and
 * python3's datetime give them. */
static const struct {
    const char *text;
    apr_int64_t seconds; /* BAD: refused */
    apr_int64_t micros;
} stamps[] = {
    {"1985-04-12T23:20:50.52Z", 482196050, 520000},
    {"1996-12-19T16:39:57-08:00", 851042397, 0},
    {"1990-12-31T23:59:60Z", 662688000, 0},
    {"1990-12-31T15:59:60-08:00", 662688000, 0},
    {"1937-01-01T12:00:27.87+00:20", BAD, 0},
    {"2016-01-20T14:09:07.99Z", 1453298947, 990000},
    {"2025-01-02t04:00:00z", 1735790400, 0},
    {"2000-02-29T00:00:00Z", 951782400, 0},
    {"2038-01-19T03:14:08Z", APR_INT64_C(2147483648), 0},
    {"2400-02-29T12:00:00Z", APR_INT64_C(13574606400), 0},
    {"9999-12-31T23:59:59Z", APR_INT64_C(253402300799), 0},
    {"1970-01-01T00:00:00Z", 0, 0},
    {"2026-11-24T14:19:27+00:00", 1795529967, 0},
    {"2026-11-24T14:19:27-00:00", 1795529967, 0},
    {"2026-11-24T15:49:27+01:30", 1795529967, 0},
    {"2026-11-24T14:19:27.000000999999999999999999999Z", 1795529967, 0},
    {"2026-11-24T14:19:27.123456789Z", 1795529967, 123456},
    {"1970-01-01T00:30:00+01:00", BAD, 0},
    {"1969-12-31T23:59:59Z", BAD, 0},
    {"10000-01-01T00:00:00Z", BAD, 0},
    {"2026-02-29T00:00:00Z", BAD, 0},
    {"2100-02-29T00:00:00Z", BAD, 0},
    {"2026-13-01T00:00:00Z", BAD, 0},
    {"2026-00-01T00:00:00Z", BAD, 0},
    {"2026-04-31T00:00:00Z", BAD, 0},
    {"2026-04-00T00:00:00Z", BAD, 0},
    {"2026-04-01T24:00:00Z", BAD, 0},
    {"2026-04-01T23:60:00Z", BAD, 0},
    {"2026-04-01T23:59:61Z", BAD, 0},
    {"2026-04-01T23:59:59", BAD, 0},
    {"2026-04-01T23:59:59.Z", BAD, 0},
    {"2026-04-01T23:59:59,5Z", BAD, 0},
    {"2026-04-01T23:59:59+0100", BAD, 0},
    {"2026-04-01T23:59:59+01", BAD, 0},
    {"2026-04-01T23:59:59+24:00", BAD, 0},
    {"2026-04-01T23:59:59+01:60", BAD, 0},
    {"2026-04-01T23:59:59Z ", BAD, 0},
    {" 2026-04-01T23:59:59Z", BAD, 0},
    {"2026-04-01 23:59:59Z", BAD, 0},
    {"2026-4-1T23:59:59Z", BAD, 0},
    {"+026-04-01T23:59:59Z", BAD, 0},
    {"20260401T235959Z", BAD, 0},
    {"2026-04-01", BAD, 0},
    {"", BAD, 0},
};

START_TEST(rfc3339)
{
    const char *text = stamps[_i].text;
    apr_time_t t = 0;
    acme_rv_t rv = acme_time_parse_rfc3339(&t, text, strlen(text));

    ck_assert_int_eq(rv, stamps[_i].seconds == BAD ? ACME_FAIL : ACME_OK);
    if (rv == ACME_OK) {
        ck_assert_int_eq(t, apr_time_from_sec(stamps[_i].seconds) + stamps[_i].micros);
    }
}
END_TEST

START_TEST(every_shorter_text_is_refused)
{
    static const char text[] = "2026-11-24T14:19:27.5+01:00";
    apr_size_t len;
    apr_time_t t;

    ck_assert_int_eq(acme_time_parse_rfc3339(&t, text, sizeof(text) - 1), ACME_OK);
    for (len = 0; len < sizeof(text) - 1; len++) {
        ck_assert_int_eq(acme_time_parse_rfc3339(&t, text, len), ACME_FAIL);
    }
}
END_TEST

START_TEST(format)
{
    char out[ACME_TIME_TEXT];
    apr_time_t t;

    ck_assert_str_eq(acme_time_format(out, 0), "1970-01-01T00:00:00Z");
    t = apr_time_from_sec(APR_INT64_C(1795529967));
    ck_assert_str_eq(acme_time_format(out, t), "2026-11-24T14:19:27Z");
    ck_assert_str_eq(acme_time_format(out, t + 999999), "2026-11-24T14:19:27Z");
    t = apr_time_from_sec(APR_INT64_C(4107542400));
    ck_assert_str_eq(acme_time_format(out, t), "2100-03-01T00:00:00Z");
    ck_assert_str_eq(acme_time_format(out, -1), "1970-01-01T00:00:00Z");
    ck_assert_str_eq(acme_time_format(out, APR_INT64_MIN), "1970-01-01T00:00:00Z");
    ck_assert_str_eq(acme_time_format(out, APR_INT64_MAX), "9999-12-31T23:59:59Z");
}
END_TEST

/* gmtime() of the C library is the other opinion: noon of every 17th day of four centuries. */
START_TEST(every_month_and_leap_year)
{
    apr_int64_t seconds;

    for (seconds = DAY / 2; seconds < 430 * 365 * DAY; seconds += 17 * DAY) {
        time_t raw = (time_t)seconds;
        char want[40], got[ACME_TIME_TEXT];
        apr_time_t t;
        struct tm tm;

        gmtime_r(&raw, &tm);
        strftime(want, sizeof(want), "%Y-%m-%dT%H:%M:%SZ", &tm);
        ck_assert_str_eq(acme_time_format(got, apr_time_from_sec(seconds)), want);
        ck_assert_int_eq(acme_time_parse_rfc3339(&t, want, strlen(want)), ACME_OK);
        ck_assert_int_eq(t, apr_time_from_sec(seconds));
        strftime(want, sizeof(want), "%a, %d %b %Y %H:%M:%S GMT", &tm);
        ck_assert_int_eq(acme_time_parse_http(&t, want, strlen(want)), ACME_OK);
        ck_assert_int_eq(t, apr_time_from_sec(seconds));
    }
}
END_TEST

/* The three forms of RFC 9110 section 5.6.7 are one moment. */
static const struct {
    const char *text;
    apr_int64_t seconds;
} dates[] = {
    {"Sun, 06 Nov 1994 08:49:37 GMT", 784111777},
    {"Sunday, 06-Nov-94 08:49:37 GMT", 784111777},
    {"Sun Nov  6 08:49:37 1994", 784111777},
    {"Tue Nov 24 14:19:27 2026", 1795529967},
    {"Tue, 24 Nov 2026 14:19:27 GMT", 1795529967},
    {"Tuesday, 24-Nov-26 14:19:27 GMT", 1795529967},
    {"Tuesday, 31-Dec-69 23:59:59 GMT", APR_INT64_C(3155759999)},
    {"Thursday, 01-Jan-70 00:00:00 GMT", 0},
    {"Tue, 29 Feb 2000 00:00:00 GMT", 951782400},
    {"Tue, 116 Feb 2016 00:00:00 GMT", BAD},
    {"Tue, 30 Feb 2016 00:00:00 GMT", BAD},
    {"Tue, 24 Nov 2026 14:19:27 CET", BAD},
    {"Tue, 24 Nov 2026 14:19:27 +0000", BAD},
    {"Tue, 24 Nov 2026 14:19:27", BAD},
    {"Tue, 24 Nov 2026 14:19:27 GMT ", BAD},
    {"Tue, 4 Nov 2026 14:19:27 GMT", BAD},
    {"Tue, 24 Nov 26 14:19:27 GMT", BAD},
    {"Tue, 24 Okt 2026 14:19:27 GMT", BAD},
    {"24 Nov 2026 14:19:27 GMT", BAD},
    {"Tue,24 Nov 2026 14:19:27 GMT", BAD},
    {"Tue, 24 Nov 2026 24:00:00 GMT", BAD},
    {"Sun Nov 6 08:49:37 1994", BAD},
    {"Sun Nov  6 08:49:37 94", BAD},
    {"Sun, 06-Nov-94 08:49:37 GMT", BAD},
    {"Thu, 01 Jan 1960 00:00:00 GMT", BAD},
    {", 24 Nov 2026 14:19:27 GMT", BAD},
    {"Sun", BAD},
    {"", BAD},
};

START_TEST(http_dates)
{
    const char *text = dates[_i].text;
    apr_size_t len;
    apr_time_t t = 0;
    acme_rv_t rv = acme_time_parse_http(&t, text, strlen(text));

    ck_assert_int_eq(rv, dates[_i].seconds == BAD ? ACME_FAIL : ACME_OK);
    if (rv != ACME_OK) {
        return;
    }
    ck_assert_int_eq(t, apr_time_from_sec(dates[_i].seconds));
    for (len = 0; len < strlen(text); len++) {
        ck_assert_int_eq(acme_time_parse_http(&t, text, len), ACME_FAIL);
    }
}
END_TEST

#define NOW APR_INT64_C(1795529967) /* Tue, 24 Nov 2026 14:19:27 GMT */

/* want: seconds from now, of at most a week. */
static const struct {
    const char *text;
    apr_int64_t want;
} waits[] = {
    {"120", 120},
    {"0", 0},
    {"007", 7},
    {"604800", 7 * DAY},
    {"604801", 7 * DAY},
    {"1000000000", 7 * DAY},
    {"99999999999999999999", 7 * DAY},
    {"Tue, 24 Nov 2026 14:20:27 GMT", 60},
    {"Tuesday, 24-Nov-26 14:20:27 GMT", 60},
    {"Tue Nov 24 14:20:27 2026", 60},
    {"Sun, 06 Nov 1994 08:49:37 GMT", 0},
    {"Fri, 31 Dec 9999 23:59:59 GMT", 7 * DAY},
    {"-5", BAD},
    {"+5", BAD},
    {"1e9", BAD},
    {"1.5", BAD},
    {"0x10", BAD},
    {"5 ", BAD},
    {"5s", BAD},
    {"5, 6", BAD},
    {"", BAD},
    {"soon", BAD},
    {"Tue, 116 Feb 2016 00:00:00 GMT", BAD},
    {"2026-11-24T14:20:27Z", BAD},
};

START_TEST(retry_after)
{
    const char *text = waits[_i].text;
    apr_time_t now = apr_time_from_sec(NOW), t = 0;
    acme_rv_t rv = acme_time_parse_retry_after(&t, text, strlen(text), now,
                                               apr_time_from_sec(7 * DAY));

    ck_assert_int_eq(rv, waits[_i].want == BAD ? ACME_FAIL : ACME_OK);
    if (rv == ACME_OK) {
        ck_assert_int_eq(t, now + apr_time_from_sec(waits[_i].want));
    }
}
END_TEST

START_TEST(retry_after_at_the_end_of_time)
{
    apr_time_t t;

    ck_assert_int_eq(acme_time_parse_retry_after(&t, "9999999999", 10, APR_INT64_MAX - 5,
                                                 APR_INT64_MAX), ACME_OK);
    ck_assert_int_eq(t, APR_INT64_MAX);
}
END_TEST

static const struct {
    const char *text;
    apr_int64_t seconds;
} durations[] = {
    {"90s", 90},           {"5mi", 300},       {"3h", 10800},   {"14d", 14 * DAY},
    {"2w", 14 * DAY},      {"14", 14 * DAY},   {"0", 0},        {"0s", 0},
    {"14D", 14 * DAY},     {"3650d", 3650 * DAY}, {"521w", 3647 * DAY}, {"87600h", 3650 * DAY},
    {"11000d", BAD},       {"600w", BAD},      {"999999999", BAD}, {"999999999s", BAD},
    {"9999999999s", BAD},  {"", BAD},          {"d", BAD},      {"-1d", BAD},
    {"+1d", BAD},          {"1 d", BAD},       {" 1d", BAD},    {"1d ", BAD},
    {"1m", BAD},           {"1y", BAD},        {"1.5h", BAD},   {"1d2h", BAD},
    {"33%", BAD},          {"1ms", BAD},
};

START_TEST(duration_parse)
{
    apr_interval_time_t t = -7;
    acme_error_t err;
    acme_rv_t rv;

    acme_error_clear(&err);
    rv = acme_duration_parse(&t, durations[_i].text, &err);
    if (durations[_i].seconds == BAD) {
        ck_assert_int_eq(rv, ACME_FAIL);
        ck_assert_int_eq(err.kind, ACME_E_CONFIG);
        ck_assert_int_eq(t, -7);
        return;
    }
    ck_assert_int_eq(rv, ACME_OK);
    ck_assert_int_eq(t, apr_time_from_sec(durations[_i].seconds));
}
END_TEST

static const struct {
    apr_int64_t seconds;
    const char *want;
} shown[] = {
    {0, "0 s"},          {1, "1 s"},             {60, "1 min"},        {90, "90 s"},
    {6000, "100 min"},   {3600, "1 h"},          {5 * 3600, "5 h"},    {DAY, "1 day"},
    {DAY + 3600, "25 h"}, {61 * DAY, "61 days"}, {61 * DAY + 3600, "61 days"},
    {60 * DAY + 86399, "61 days"}, {179, "179 s"}, {181, "3 min"},     {-5, "-5 s"},
};

START_TEST(duration_format)
{
    ck_assert_str_eq(acme_duration_format(apr_time_from_sec(shown[_i].seconds), pool),
                     shown[_i].want);
}
END_TEST

START_TEST(sums_saturate)
{
    ck_assert_int_eq(acme_time_add(1, 2), 3);
    ck_assert_int_eq(acme_time_add(1, -2), -1);
    ck_assert_int_eq(acme_time_add(APR_INT64_MAX, 1), APR_INT64_MAX);
    ck_assert_int_eq(acme_time_add(APR_INT64_MAX, APR_INT64_MAX), APR_INT64_MAX);
    ck_assert_int_eq(acme_time_add(APR_INT64_MIN, -1), APR_INT64_MIN);
    ck_assert_int_eq(acme_time_add(APR_INT64_MIN, APR_INT64_MIN), APR_INT64_MIN);
    ck_assert_int_eq(acme_time_add(APR_INT64_MAX, APR_INT64_MIN), -1);
}
END_TEST

/* Names of months and the local offset do not matter. */
START_TEST(neither_locale_nor_time_zone_matter)
{
    static const char text[] = "Tue, 24 Nov 2026 14:19:27 GMT";
    char out[ACME_TIME_TEXT];
    apr_time_t t;

    setenv("TZ", "Asia/Kathmandu", 1);
    tzset();
    setlocale(LC_ALL, "de_DE.UTF-8");
    ck_assert_int_eq(acme_time_parse_http(&t, text, sizeof(text) - 1), ACME_OK);
    ck_assert_str_eq(acme_time_format(out, t), "2026-11-24T14:19:27Z");
    setlocale(LC_ALL, "C");
    unsetenv("TZ");
    tzset();
}
END_TEST

Suite *time_suite(void)
{
    Suite *suite = suite_create("time");
    TCase *tc = tcase_create("time");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_loop_test(tc, rfc3339, 0, COUNT(stamps));
    tcase_add_test(tc, every_shorter_text_is_refused);
    tcase_add_test(tc, format);
    tcase_add_test(tc, every_month_and_leap_year);
    tcase_add_loop_test(tc, http_dates, 0, COUNT(dates));
    tcase_add_loop_test(tc, retry_after, 0, COUNT(waits));
    tcase_add_test(tc, retry_after_at_the_end_of_time);
    tcase_add_loop_test(tc, duration_parse, 0, COUNT(durations));
    tcase_add_loop_test(tc, duration_format, 0, COUNT(shown));
    tcase_add_test(tc, sums_saturate);
    tcase_add_test(tc, neither_locale_nor_time_zone_matter);
    suite_add_tcase(suite, tc);
    return suite;
}
