/* Licensed under the Apache License, Version 2.0; see LICENSE. */

#include "base/time.h"

#include <string.h>

#include <apr_strings.h>

#include "base/codec.h"

#define YEAR_MAX 9999
#define DURATION_MAX apr_time_from_sec((apr_int64_t)3660 * 86400)

typedef struct {
    int year, month, day, hour, minute, second;
} calendar_t;

/* Days since 1970-01-01 of a proleptic Gregorian date. */
static apr_int64_t days_of(int year, int month, int day)
{
    apr_int64_t y = month <= 2 ? year - 1 : year;
    apr_int64_t era = y / 400, of_era = y - era * 400;
    apr_int64_t of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;

    return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

static int days_in(int year, int month)
{
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};

    return days[month - 1] + (month == 2 && year % 4 == 0 && (year % 100 != 0 || year % 400 == 0));
}

static acme_rv_t to_time(apr_time_t *out, const calendar_t *c)
{
    apr_int64_t seconds;

    if (c->year < 1970 || c->year > YEAR_MAX || c->month < 1 || c->month > 12 || c->day < 1
        || c->day > days_in(c->year, c->month) || c->hour > 23 || c->minute > 59
        || c->second > 60) {
        return ACME_FAIL;
    }
    seconds = days_of(c->year, c->month, c->day) * 86400 + c->hour * 3600 + c->minute * 60
              + c->second;
    *out = apr_time_from_sec(seconds);
    return ACME_OK;
}

/* Exactly n digits at text[*at]. */
static int digits(int *out, const char *text, apr_size_t len, apr_size_t *at, int n)
{
    apr_int64_t value;
    apr_size_t used;

    if (*at + (apr_size_t)n > len
        || acme_scan_number(&value, text + *at, (apr_size_t)n, n, &used) != ACME_OK
        || used != (apr_size_t)n) {
        return 0;
    }
    *out = (int)value;
    *at += (apr_size_t)n;
    return 1;
}

static int literal(const char *wanted, const char *text, apr_size_t len, apr_size_t *at)
{
    apr_size_t n = strlen(wanted);

    if (*at + n > len || acme_ascii_ncasecmp(text + *at, wanted, n) != 0) {
        return 0;
    }
    *at += n;
    return 1;
}

static int offset_of(int *minutes, const char *text, apr_size_t len, apr_size_t *at)
{
    int hours, rest, sign;

    *minutes = 0;
    if (literal("Z", text, len, at)) {
        return 1;
    }
    sign = literal("+", text, len, at) ? 1 : literal("-", text, len, at) ? -1 : 0;
    if (sign == 0 || !digits(&hours, text, len, at, 2) || !literal(":", text, len, at)
        || !digits(&rest, text, len, at, 2) || hours > 23 || rest > 59) {
        return 0;
    }
    *minutes = sign * (hours * 60 + rest);
    return 1;
}

acme_rv_t acme_time_parse_rfc3339(apr_time_t *out, const char *text, apr_size_t len)
{
    calendar_t c;
    apr_size_t at = 0;
    apr_time_t fraction = 0, unit = APR_USEC_PER_SEC;
    int minutes;

    if (!digits(&c.year, text, len, &at, 4) || !literal("-", text, len, &at)
        || !digits(&c.month, text, len, &at, 2) || !literal("-", text, len, &at)
        || !digits(&c.day, text, len, &at, 2) || !literal("T", text, len, &at)
        || !digits(&c.hour, text, len, &at, 2) || !literal(":", text, len, &at)
        || !digits(&c.minute, text, len, &at, 2) || !literal(":", text, len, &at)
        || !digits(&c.second, text, len, &at, 2)) {
        return ACME_FAIL;
    }
    if (literal(".", text, len, &at)) {
        apr_size_t first = at;

        for (; at < len && text[at] >= '0' && text[at] <= '9'; at++) {
            unit /= 10;
            fraction += (text[at] - '0') * unit;
        }
        if (at == first) {
            return ACME_FAIL;
        }
    }
    if (!offset_of(&minutes, text, len, &at) || at != len || to_time(out, &c) != ACME_OK) {
        return ACME_FAIL;
    }
    *out += fraction - apr_time_from_sec(minutes * 60);
    return *out < 0 ? ACME_FAIL : ACME_OK;
}

char *acme_time_format(char out[ACME_TIME_TEXT], apr_time_t t)
{
    apr_time_exp_t e;
    apr_time_t last = apr_time_from_sec(days_of(YEAR_MAX, 12, 31) * 86400 + 86399);

    t = t < 0 ? 0 : t > last ? last : t;
    apr_time_exp_gmt(&e, t);
    apr_snprintf(out, ACME_TIME_TEXT, "%04d-%02d-%02dT%02d:%02d:%02dZ", e.tm_year + 1900,
                 e.tm_mon + 1, e.tm_mday, e.tm_hour, e.tm_min, e.tm_sec);
    return out;
}

static int month_of(int *month, const char *text, apr_size_t len, apr_size_t *at)
{
    static const char *const names[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug",
                                        "Sep", "Oct", "Nov", "Dec"};
    int i;

    for (i = 0; i < 12; i++) {
        if (literal(names[i], text, len, at)) {
            *month = i + 1;
            return 1;
        }
    }
    return 0;
}

static int clock_of(calendar_t *c, const char *text, apr_size_t len, apr_size_t *at)
{
    return digits(&c->hour, text, len, at, 2) && literal(":", text, len, at)
           && digits(&c->minute, text, len, at, 2) && literal(":", text, len, at)
           && digits(&c->second, text, len, at, 2);
}

static apr_size_t skip_letters(const char *text, apr_size_t len)
{
    apr_size_t at = 0;

    while (at < len && acme_ascii_tolower(text[at]) >= 'a' && acme_ascii_tolower(text[at]) <= 'z') {
        at++;
    }
    return at;
}

/* Sun, 06 Nov 1994 08:49:37 GMT */
static int imf_fixdate(calendar_t *c, const char *text, apr_size_t len, apr_size_t at)
{
    return at == 3 && literal(", ", text, len, &at) && digits(&c->day, text, len, &at, 2)
           && literal(" ", text, len, &at) && month_of(&c->month, text, len, &at)
           && literal(" ", text, len, &at) && digits(&c->year, text, len, &at, 4)
           && literal(" ", text, len, &at) && clock_of(c, text, len, &at)
           && literal(" GMT", text, len, &at) && at == len;
}

/* Sunday, 06-Nov-94 08:49:37 GMT: two digits of the year, 70..99 are the last century's. */
static int rfc850(calendar_t *c, const char *text, apr_size_t len, apr_size_t at)
{
    if (at < 6 || !literal(", ", text, len, &at) || !digits(&c->day, text, len, &at, 2)
        || !literal("-", text, len, &at) || !month_of(&c->month, text, len, &at)
        || !literal("-", text, len, &at) || !digits(&c->year, text, len, &at, 2)
        || !literal(" ", text, len, &at) || !clock_of(c, text, len, &at)
        || !literal(" GMT", text, len, &at)) {
        return 0;
    }
    c->year += c->year < 70 ? 2000 : 1900;
    return at == len;
}

/* Sun Nov  6 08:49:37 1994 */
static int asctime_date(calendar_t *c, const char *text, apr_size_t len, apr_size_t at)
{
    return at == 3 && literal(" ", text, len, &at) && month_of(&c->month, text, len, &at)
           && literal(" ", text, len, &at)
           && (literal(" ", text, len, &at) ? digits(&c->day, text, len, &at, 1)
               : digits(&c->day, text, len, &at, 2))
           && literal(" ", text, len, &at) && clock_of(c, text, len, &at)
           && literal(" ", text, len, &at) && digits(&c->year, text, len, &at, 4) && at == len;
}

acme_rv_t acme_time_parse_http(apr_time_t *out, const char *text, apr_size_t len)
{
    apr_size_t at = skip_letters(text, len);
    calendar_t c;

    if (imf_fixdate(&c, text, len, at) || rfc850(&c, text, len, at)
        || asctime_date(&c, text, len, at)) {
        return to_time(out, &c);
    }
    return ACME_FAIL;
}

apr_time_t acme_time_add(apr_time_t t, apr_interval_time_t d)
{
    if (d > 0 && t > APR_INT64_MAX - d) {
        return APR_INT64_MAX;
    }
    if (d < 0 && t < APR_INT64_MIN - d) {
        return APR_INT64_MIN;
    }
    return t + d;
}

acme_rv_t acme_time_parse_retry_after(apr_time_t *out, const char *text, apr_size_t len,
                                      apr_time_t now, apr_interval_time_t max_wait)
{
    apr_time_t latest = acme_time_add(now, max_wait);
    apr_int64_t seconds;
    apr_time_t at;
    apr_size_t digit_count = 0;

    while (digit_count < len && text[digit_count] >= '0' && text[digit_count] <= '9') {
        digit_count++;
    }
    if (len > 0 && digit_count == len) {
        at = acme_scan_number(&seconds, text, len, 10, NULL) == ACME_OK
             ? acme_time_add(now, apr_time_from_sec(seconds)) : latest;
    }
    else if (acme_time_parse_http(&at, text, len) != ACME_OK) {
        return ACME_FAIL;
    }
    *out = at < now ? now : at > latest ? latest : at;
    return ACME_OK;
}

static const struct {
    const char *suffix, *one, *many;
    apr_int64_t seconds;
} units[] = {
    {"w", "week", "weeks", 7 * 86400}, {"d", "day", "days", 86400}, {"h", "h", "h", 3600},
    {"mi", "min", "min", 60},          {"s", "s", "s", 1},          {"", "day", "days", 86400},
};

acme_rv_t acme_duration_parse(apr_interval_time_t *out, const char *text, acme_error_t *err)
{
    apr_int64_t n;
    apr_size_t used, i;

    if (acme_scan_number(&n, text, strlen(text), 9, &used) == ACME_OK) {
        for (i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
            if (acme_ascii_casecmp(text + used, units[i].suffix) == 0
                && n <= apr_time_sec(DURATION_MAX) / units[i].seconds) {
                *out = apr_time_from_sec(n * units[i].seconds);
                return ACME_OK;
            }
        }
    }
    return acme_error_set(err, ACME_E_CONFIG, "AC0109",
                          "\"%s\" is not a duration: N[s|mi|h|d|w] of at most 10 years", text);
}

char *acme_duration_format(apr_interval_time_t t, apr_pool_t *pool)
{
    apr_int64_t seconds = apr_time_sec(t);
    apr_size_t i;

    for (i = 1; i < 4 && seconds > 0; i++) {
        apr_int64_t unit = units[i].seconds;
        apr_int64_t n = seconds / unit + (seconds % unit >= unit / 2);

        if (seconds >= 3 * unit || seconds % unit == 0) {
            return apr_psprintf(pool, "%" APR_INT64_T_FMT " %s", n,
                                n == 1 ? units[i].one : units[i].many);
        }
    }
    return apr_psprintf(pool, "%" APR_INT64_T_FMT " s", seconds);
}
