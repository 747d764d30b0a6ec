/* Licensed under the Apache License, Version 2.0; see LICENSE. */

#include <string.h>

#include <apr_general.h>
#include <apr_strings.h>
#include <check.h>

#include "base/time.h"
#include "crypto/x509.h"
#include "protocol/ari.h"

#define COUNT(table) ((int)(sizeof(table) / sizeof((table)[0])))
#define S APR_USEC_PER_SEC
#define MIN (60 * S)
#define HOUR (3600 * S)
#define DAY (24 * HOUR)
#define NOW (APR_INT64_C(1795529967) * S) /* 2026-11-24T14:19:27Z */
#define WINDOW(start, end) \
    "{\"suggestedWindow\":{\"start\":\"" start "\",\"end\":\"" end "\"}"
#define ID "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE"

Suite *ari_suite(void);

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

/* RFC 9773 appendix A. */
static const char example[] =
    "-----BEGIN CERTIFICATE-----\n"
    "MIIBQzCB66ADAgECAgUAh2VDITAKBggqhkjOPQQDAjAVMRMwEQYDVQQDEwpFeGFt\n"
    "cGxlIENBMCIYDzAwMDEwMTAxMDAwMDAwWhgPMDAwMTAxMDEwMDAwMDBaMBYxFDAS\n"
    "BgNVBAMTC2V4YW1wbGUuY29tMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEeBZu\n"
    "7cbpAYNXZLbbh8rNIzuOoqOOtmxA1v7cRm//AwyMwWxyHz4zfwmBhcSrf47NUAFf\n"
    "qzLQ2PPQxdTXREYEnKMjMCEwHwYDVR0jBBgwFoAUaYhba4dGQEHhs3uEe6CuLN4B\n"
    "yNQwCgYIKoZIzj0EAwIDRwAwRAIge09+S5TZAlw5tgtiVvuERV6cT4mfutXIlwTb\n"
    "+FYN/8oCIClDsqBklhB9KAelFiYt9+6FDj3z4KGVelYM5MdsO3pK\n"
    "-----END CERTIFICATE-----\n";

START_TEST(the_rfcs_certificate_has_the_rfcs_name)
{
    acme_chain_t *chain;

    ck_assert_int_eq(acme_chain_from_pem(&chain, example, strlen(example), pool, NULL), ACME_OK);
    ck_assert_str_eq(acme_chain_ari_id(chain, pool), ID);
}
END_TEST

static const struct {
    const char *text;
    const char *code; /* NULL: taken */
    const char *explanation;
} answers[] = {
    /* RFC 9773 section 4.2 */
    {"{\"suggestedWindow\":{\"start\":\"2025-01-02T04:00:00Z\",\"end\":\"2025-01-03T04:00:00Z\"},"
     "\"explanationURL\":\"https://acme.example.com/docs/ari\"}",
     NULL,
     "https://acme.example.com/docs/ari"},
    {WINDOW("2025-01-02T04:00:00.000Z", "2025-01-02T04:00:00.001Z")
     ",\"more\":[1,{}]}",
     NULL, ""},
    {WINDOW("2025-01-02T04:00:00Z", "2025-01-02T03:00:00Z") "}", "AC0334", NULL},
    {WINDOW("2025-01-02T04:00:00Z", "2025-01-02T04:00:00Z") "}", "AC0334", NULL},
    {WINDOW("2025-13-02T04:00:00Z", "2025-01-02T04:00:00Z") "}", "AC0333", NULL},
    {WINDOW("tomorrow", "2025-01-02T04:00:00Z") "}", "AC0333", NULL},
    {"{\"suggestedWindow\":{\"start\":\"2025-01-02T04:00:00Z\"}}", "", NULL},
    {"{\"suggestedWindow\":{\"start\":1735790400,\"end\":1735794000}}", "", NULL},
    {"{\"suggestedWindow\":[]}", "", NULL},
    {"{\"suggestedWindow\":null}", "", NULL},
    {"{}", "", NULL},
    {"[]", "", NULL},
    {"not JSON", "", NULL},
    {"", "", NULL},
};

START_TEST(answers_are_read)
{
    acme_renewal_info_t info;
    acme_error_t err;
    acme_rv_t rv;

    acme_error_clear(&err);
    rv = acme_renewal_info_parse(&info, answers[_i].text, strlen(answers[_i].text), pool, &err);
    ck_assert_int_eq(rv, answers[_i].code == NULL ? ACME_OK : ACME_FAIL);
    if (rv == ACME_OK) {
        ck_assert(info.start < info.end);
        ck_assert_str_eq(info.explanation, answers[_i].explanation);
    }
    else {
        ck_assert(err.kind != ACME_E_NONE);
        ck_assert(*answers[_i].code == '\0' || strcmp(err.code, answers[_i].code) == 0);
    }
}
END_TEST

static const char *const no_explanations[] = {
    "\"javascript:alert(1)\"",
    "\"ftp://ca.example/\"",
    "\"https://ca.example/\\r\\nSet-Cookie: a\"",
    "\"https://ca.example/<script>\"",
    "\"https://ca.example/a b\"",
    "\"https://ca.example/\\u001b[2J\"",
    "7",
    "{}",
    "\"\"",
    "LONG",
};

START_TEST(an_explanation_that_is_no_url_is_left_out)
{
    const char *member = no_explanations[_i];
    acme_renewal_info_t info;
    char longest[ACME_ARI_EXPLANATION_MAX + 2];
    const char *text;

    if (strcmp(member, "LONG") == 0) {
        memset(longest, 'a', sizeof(longest));
        memcpy(longest, "https://", 8);
        longest[sizeof(longest) - 1] = '\0';
        member = apr_pstrcat(pool, "\"", longest, "\"", NULL);
    }
    text = apr_pstrcat(pool, "{\"suggestedWindow\":{\"start\":\"2025-01-02T04:00:00Z\","
                             "\"end\":\"2025-01-03T04:00:00Z\"},\"explanationURL\":",
                       member, "}", NULL);
    ck_assert_int_eq(acme_renewal_info_parse(&info, text, strlen(text), pool, NULL), ACME_OK);
    ck_assert_str_eq(info.explanation, "");
}
END_TEST

/* Window relative to now of a certificate of 90 days that is 30 days old. */
static const struct {
    apr_interval_time_t start, end;
    int good;
    apr_interval_time_t until; /* what is left of the window's end */
} windows[] = {
    {10 * DAY, 12 * DAY, 1, 12 * DAY},
    {-HOUR, -HOUR / 2, 1, -HOUR / 2},
    {-31 * DAY, -30 * DAY, 1, -30 * DAY}, /* a certificate that is revoked at once */
    {-31 * DAY - S, -30 * DAY, 0, 0},
    {59 * DAY, 61 * DAY, 1, 60 * DAY}, /* beyond its end: cut */
    {-DAY, 150 * DAY, 1, 60 * DAY},
    {-DAY, 150 * DAY + S, 0, 0},
    {60 * DAY, 61 * DAY, 0, 0},
    {-NOW, -NOW + DAY, 0, 0}, /* 1970 */
    {-NOW, DAY, 0, 0},
    {DAY, APR_INT64_C(252000000000) * S - NOW, 0, 0}, /* 9955 */
};

START_TEST(windows_are_judged_by_the_certificates_dates)
{
    acme_renewal_info_t info = {NOW + windows[_i].start, NOW + windows[_i].end, ""};
    acme_error_t err;
    acme_rv_t rv;

    acme_error_clear(&err);
    rv = acme_renewal_info_judge(&info, NOW - 30 * DAY, NOW + 60 * DAY, &err);
    ck_assert_int_eq(rv, windows[_i].good ? ACME_OK : ACME_FAIL);
    if (rv == ACME_OK) {
        ck_assert_int_eq(info.end, NOW + windows[_i].until);
    }
    else {
        ck_assert_str_eq(err.code, "AC0335");
    }
}
END_TEST

START_TEST(a_moment_is_chosen_once_and_uniformly)
{
    acme_renewal_info_t info = {NOW + DAY, NOW + 2 * DAY, "https://ca.example/why"};
    int i, half = 0;

    for (i = 0; i < 1000; i++) {
        acme_ari_t ari;

        memset(&ari, 0, sizeof(ari));
        acme_ari_begin(&ari, ID, 0, NOW);
        ck_assert_int_eq(acme_ari_take(&ari, &info, 90 * DAY, NOW + 60 * DAY, NOW, i / 1000.0), 1);
        ck_assert(ari.at >= info.start && ari.at < info.end);
        half += ari.at < info.start + 12 * HOUR;
        /* The same window again, whatever the dice say. */
        ck_assert_int_eq(acme_ari_take(&ari, &info, 90 * DAY, NOW + 60 * DAY, NOW + HOUR, 0.9), 0);
        ck_assert(ari.at > info.start + DAY / 1000 * i - S);
        ck_assert(ari.at < info.start + DAY / 1000 * i + S);
        ck_assert_str_eq(ari.explanation, "https://ca.example/why");
    }
    ck_assert_int_eq(half, 500);
}
END_TEST

START_TEST(another_window_has_another_moment)
{
    acme_renewal_info_t info = {NOW + DAY, NOW + 2 * DAY, ""};
    acme_ari_t ari;

    memset(&ari, 0, sizeof(ari));
    acme_ari_take(&ari, &info, 90 * DAY, NOW + 60 * DAY, NOW, 0.5);
    info.end += S;
    ck_assert_int_eq(acme_ari_take(&ari, &info, 90 * DAY, NOW + 60 * DAY, NOW, 0.25), 1);
    ck_assert(ari.at < NOW + DAY + 7 * HOUR);
}
END_TEST

/* A window that is over: at once, but not all certificates in the same second. */
START_TEST(a_moment_in_the_past_is_spread_over_the_next_minutes)
{
    acme_renewal_info_t info = {NOW - HOUR, NOW - HOUR / 2, ""};
    acme_ari_t ari;

    memset(&ari, 0, sizeof(ari));
    acme_ari_take(&ari, &info, 90 * DAY, NOW + 60 * DAY, NOW, 0.0);
    ck_assert_int_eq(ari.at, NOW);
    memset(&ari, 0, sizeof(ari));
    acme_ari_take(&ari, &info, 90 * DAY, NOW + 60 * DAY, NOW, 0.999);
    ck_assert(ari.at > NOW + 9 * MIN && ari.at < NOW + 10 * MIN);
    memset(&ari, 0, sizeof(ari));
    acme_ari_take(&ari, &info, HOUR, NOW + HOUR / 2, NOW, 0.999);
    ck_assert(ari.at > NOW + 3 * S && ari.at < NOW + 4 * S);
}
END_TEST

/* At most one renewal by a window alone in 24 h, two in 7 days. */
START_TEST(a_ca_that_asks_again_and_again_is_slowed)
{
    acme_renewal_info_t info = {NOW - HOUR, NOW - HOUR / 2, ""};
    acme_ari_t ari;

    memset(&ari, 0, sizeof(ari));
    acme_ari_begin(&ari, "a.b", 1, NOW);
    acme_ari_take(&ari, &info, 90 * DAY, NOW + 60 * DAY, NOW + S, 0.0);
    ck_assert_int_eq(ari.at, NOW + DAY);
    acme_ari_begin(&ari, "c.d", 1, NOW + DAY);
    info.end += S;
    acme_ari_take(&ari, &info, 90 * DAY, NOW + 60 * DAY, NOW + DAY + S, 0.0);
    ck_assert_int_eq(ari.at, NOW + 7 * DAY);
    /* But not beyond what the lifetime says. */
    info.end += S;
    acme_ari_take(&ari, &info, 6 * DAY, NOW + 4 * DAY, NOW + DAY + S, 0.0);
    ck_assert_int_eq(ari.at, NOW + 4 * DAY);
    info.end += S;
    acme_ari_take(&ari, &info, DAY, NOW, NOW + DAY + S, 0.0);
    ck_assert_int_eq(ari.at, NOW + DAY + S);
    /* A renewal of another cause is none of these. */
    acme_ari_begin(&ari, "e.f", 0, NOW + 2 * DAY);
    ck_assert_int_eq(ari.early[0], NOW + DAY);
    ck_assert_int_eq(ari.early[1], NOW);
}
END_TEST

static const struct {
    const char *header;
    apr_interval_time_t wait;
} waits[] = {
    {NULL, 6 * HOUR},
    {"21600", 6 * HOUR},
    {"0", MIN},
    {"1", MIN},
    {"60", MIN},
    {"61", 61 * S},
    {"86400", DAY},
    {"31536000", DAY},
    {"99999999999999999999", DAY},
    {"soon", 6 * HOUR},
    {"-1", 6 * HOUR},
    {"Tue, 24 Nov 2026 15:19:27 GMT", HOUR},
    {"Tue, 24 Nov 2020 15:19:27 GMT", MIN},
    {"Sat, 24 Nov 2096 15:19:27 GMT", DAY},
};

START_TEST(retry_after_is_clamped)
{
    acme_ari_t ari;

    memset(&ari, 0, sizeof(ari));
    ari.failures = 2;
    acme_ari_answered(&ari, waits[_i].header, NOW, 0.0);
    ck_assert_int_eq(ari.next - NOW, waits[_i].wait);
    ck_assert_int_eq(ari.failures, 0);
    acme_ari_answered(&ari, waits[_i].header, NOW, 0.999);
    ck_assert(ari.next - NOW >= waits[_i].wait);
    ck_assert(ari.next - NOW <= waits[_i].wait + waits[_i].wait / 20);
    ck_assert(ari.next - NOW <= DAY);
}
END_TEST

START_TEST(no_answer_keeps_the_window_a_useless_one_forgets_it)
{
    static const apr_interval_time_t ladder[] = {MIN, 10 * MIN, 100 * MIN, 6 * HOUR, 6 * HOUR};
    acme_renewal_info_t info = {NOW + DAY, NOW + 2 * DAY, "https://ca.example/why"};
    acme_ari_t ari;
    int i;

    memset(&ari, 0, sizeof(ari));
    acme_ari_take(&ari, &info, 90 * DAY, NOW + 60 * DAY, NOW, 0.5);
    for (i = 0; i < COUNT(ladder); i++) {
        acme_ari_failed(&ari, 0, NULL, NOW, 0.0);
        ck_assert_int_eq(ari.next - NOW, ladder[i]);
        ck_assert_int_ne(ari.at, 0);
    }
    acme_ari_failed(&ari, 0, "7200", NOW, 0.0);
    ck_assert_int_eq(ari.next - NOW, 2 * HOUR);
    acme_ari_failed(&ari, 1, NULL, NOW, 0.0);
    ck_assert_int_eq(ari.next - NOW, 6 * HOUR);
    ck_assert_int_eq(ari.at, 0);
    ck_assert_int_eq(ari.start, 0);
    ck_assert_str_eq(ari.explanation, "");
}
END_TEST

START_TEST(a_record_comes_back)
{
    acme_renewal_info_t info = {NOW + DAY, NOW + 2 * DAY, "https://ca.example/why"};
    acme_ari_t ari, back;
    const char *payload;
    apr_size_t len;

    memset(&ari, 0, sizeof(ari));
    acme_ari_begin(&ari, ID, 1, NOW);
    acme_ari_take(&ari, &info, 90 * DAY, NOW + 60 * DAY, NOW, 0.3);
    acme_ari_answered(&ari, NULL, NOW, 0.5);
    payload = acme_ari_payload(&ari, pool);
    len = strlen(payload);
    ck_assert_int_eq(acme_ari_restore(&back, payload, len, ID, NOW, pool, NULL), ACME_OK);
    ck_assert_mem_eq(&back, &ari, sizeof(ari));
    /* Another certificate is in service now. */
    ck_assert_int_eq(acme_ari_restore(&back, payload, len, "a.b", NOW, pool, NULL), ACME_OK);
    ck_assert_int_eq(back.at, 0);
    ck_assert_int_eq(back.next, 0);
    ck_assert_int_eq(back.early[0], NOW);
    ck_assert_str_eq(back.id, "a.b");
    /* The clock was set back by a year. */
    ck_assert_int_eq(acme_ari_restore(&back, payload, len, ID, NOW - 365 * DAY, pool, NULL),
                     ACME_OK);
    ck_assert_int_eq(back.next, NOW - 365 * DAY);
    ck_assert_int_eq(back.early[0], 0);
}
END_TEST

static const char *const spoilt[] = {
    "{}",
    "[]",
    "",
    "{\"id\":7}",
    "{\"id\":\"" ID "\",\"at\":-1}",
    "{\"id\":\"" ID "\",\"at\":\"soon\"}",
    "{\"id\":\"" ID "\",\"start\":2,\"end\":1,\"at\":1}",
    "{\"id\":\"" ID "\",\"at\":1}",
    "{\"id\":\"" ID "\",\"next\":999999999999999999}",
    "{\"id\":\"" ID "\",\"failures\":1000001}",
    "{\"id\":\"" ID "\",\"explanation\":[]}",
};

START_TEST(a_spoilt_record_tells_nothing)
{
    acme_ari_t back;
    acme_error_t err;

    acme_error_clear(&err);
    memset(&back, 1, sizeof(back));
    ck_assert_int_eq(acme_ari_restore(&back, spoilt[_i], strlen(spoilt[_i]), ID, NOW, pool, &err),
                     ACME_FAIL);
    ck_assert(err.kind != ACME_E_NONE);
    ck_assert_int_eq(back.at, 0);
    ck_assert_int_eq(back.next, 0);
}
END_TEST

Suite *ari_suite(void)
{
    Suite *suite = suite_create("ari");
    TCase *tc = tcase_create("all");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, the_rfcs_certificate_has_the_rfcs_name);
    tcase_add_loop_test(tc, answers_are_read, 0, COUNT(answers));
    tcase_add_loop_test(tc, an_explanation_that_is_no_url_is_left_out, 0, COUNT(no_explanations));
    tcase_add_loop_test(tc, windows_are_judged_by_the_certificates_dates, 0, COUNT(windows));
    tcase_add_test(tc, a_moment_is_chosen_once_and_uniformly);
    tcase_add_test(tc, another_window_has_another_moment);
    tcase_add_test(tc, a_moment_in_the_past_is_spread_over_the_next_minutes);
    tcase_add_test(tc, a_ca_that_asks_again_and_again_is_slowed);
    tcase_add_loop_test(tc, retry_after_is_clamped, 0, COUNT(waits));
    tcase_add_test(tc, no_answer_keeps_the_window_a_useless_one_forgets_it);
    tcase_add_test(tc, a_record_comes_back);
    tcase_add_loop_test(tc, a_spoilt_record_tells_nothing, 0, COUNT(spoilt));
    suite_add_tcase(suite, tc);
    return suite;
}
