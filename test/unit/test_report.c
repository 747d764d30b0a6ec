/* Licensed under the Apache License, Version 2.0; see LICENSE. */

#include <string.h>

#include <apr_general.h>
#include <apr_strings.h>
#include <check.h>

#include "engine/report.h"

Suite *report_suite(void);

#define NOW apr_time_from_sec(1800000000) /* 2027-01-15T08:00:00Z */
#define DAY apr_time_from_sec(86400)

static apr_pool_t *pool;
static acme_board_t *board;
static acme_ca_t ca;
static acme_spec_t spec;
static acme_known_t known;
static acme_item_t item;
static acme_report_of_t of;

static void setup(void)
{
    apr_size_t size = acme_board_size(2);
    void *memory;

    apr_initialize();
    apr_pool_create(&pool, NULL);
    memory = apr_pcalloc(pool, size);
    acme_board_format(memory, size, 2);
    ck_assert(acme_board_attach(&board, memory, size, pool, NULL) == ACME_OK);
    memset(&ca, 0, sizeof(ca));
    ca.name = "letsencrypt";
    memset(&spec, 0, sizeof(spec));
    spec.id = spec.label = "example.org";
    spec.names = apr_array_make(pool, 2, sizeof(const char *));
    APR_ARRAY_PUSH(spec.names, const char *) = "example.org";
    APR_ARRAY_PUSH(spec.names, const char *) = "www.example.org";
    spec.cas = apr_array_make(pool, 1, sizeof(acme_ca_t *));
    APR_ARRAY_PUSH(spec.cas, acme_ca_t *) = &ca;
    spec.challenges[0] = ACME_CH_HTTP01;
    spec.n_challenges = 1;
    memset(&known, 0, sizeof(known));
    apr_cpystrn(known.serial, "0a1b", sizeof(known.serial));
    known.not_before = NOW - 30 * DAY;
    known.not_after = NOW + 60 * DAY;
    memset(&item, 0, sizeof(item));
    item.spec = &spec;
    memset(&of, 0, sizeof(of));
    of.item = &item;
    of.board = board;
    of.vhosts = apr_array_make(pool, 1, sizeof(const char *));
    acme_board_row_assign(board, 0, "example.org");
}

static void teardown(void)
{
    apr_pool_destroy(pool);
}

static const char *text(void)
{
    return acme_json_dump(acme_report_certificate(&of, pool), pool);
}

static int says(const char *what)
{
    return strstr(text(), what) != NULL;
}

static void publish(void)
{
    acme_board_live_t live;

    memset(&live, 0, sizeof(live));
    live.key = (const unsigned char *)"PRIVATE-KEY-BYTES";
    live.key_len = 17;
    live.n_certs = 1;
    live.cert[0] = (const unsigned char *)"certificate";
    live.cert_len[0] = 11;
    ck_assert(acme_board_live_write(board, 0, &live, NOW, NULL, NULL) == ACME_OK);
}

START_TEST(where_it_is_served_from)
{
    acme_board_status_t status;

    ck_assert(says("\"served\":{\"from\":\"nothing\"},\"pending\":false"));
    item.cert_file = "/store/placeholder/example.org.pem";
    ck_assert(says("\"served\":{\"from\":\"placeholder\"}"));
    of.own = 1;
    ck_assert(says("\"served\":{\"from\":\"own\"}"));
    item.usable = 1;
    item.known = &known;
    ck_assert(says("\"served\":{\"from\":\"disk\",\"serial\":\"0a1b\",\"not_before\":"
                   "\"2026-12-16T08:00:00Z\",\"not_after\":\"2027-03-16T08:00:00Z\"}"));
    publish();
    memset(&status, 0, sizeof(status));
    apr_cpystrn(status.serial, "0c2d", sizeof(status.serial));
    status.not_before = NOW;
    status.not_after = NOW + 90 * DAY;
    acme_board_status_write(board, 0, &status);
    ck_assert(says("\"served\":{\"from\":\"board\",\"serial\":\"0c2d\",\"not_before\":"
                   "\"2027-01-15T08:00:00Z\",\"not_after\":\"2027-04-15T08:00:00Z\"},"
                   "\"pending\":true"));
    /* Adopted: what stands on the board is on disk. */
    of.baseline = acme_board_row_generation(board, 0);
    ck_assert(says("\"from\":\"disk\"") && says("\"pending\":false"));
    ck_assert(!says("PRIVATE"));
}
END_TEST

START_TEST(progress_is_shown_whole)
{
    acme_board_status_t status;
    char error[ACME_ERROR_TEXT];

    memset(&status, 0, sizeof(status));
    memset(error, 'e', sizeof(error) - 1);
    error[sizeof(error) - 1] = '\0';
    apr_cpystrn(status.state, "waiting", sizeof(status.state));
    apr_cpystrn(status.step, "finalize", sizeof(status.step));
    apr_cpystrn(status.why, "waiting after a failure", sizeof(status.why));
    apr_cpystrn(status.error, error, sizeof(status.error));
    apr_cpystrn(status.ca, "https://ca.example/dir", sizeof(status.ca));
    apr_cpystrn(status.publish, "_validation-persist.example.org TXT", sizeof(status.publish));
    apr_cpystrn(status.explanation, "https://ca.example/why", sizeof(status.explanation));
    status.next = NOW;
    status.failures = 3;
    acme_board_status_write(board, 0, &status);
    ck_assert(says("\"state\":\"waiting\",\"step\":\"finalize\","
                   "\"why\":\"waiting after a failure\",\"ca\":\"https://ca.example/dir\","
                   "\"next\":\"2027-01-15T08:00:00Z\",\"failures\":3,\"error\":\"e"));
    ck_assert_ptr_nonnull(strstr(text(), error));
    ck_assert(says("\"publish\":\"_validation-persist.example.org TXT\","
                   "\"explanation\":\"https://ca.example/why\""));
    ck_assert(!says("arrivals"));
    acme_board_arrival(board, 0, ACME_CH_HTTP01, 1, 0);
    ck_assert(says("\"arrivals\":{\"ipv4\":0,\"ipv6\":1,\"foreign_host\":0,\"http-01\":1}"));
}
END_TEST

START_TEST(without_a_board)
{
    of.board = NULL;
    of.row = -1;
    spec.error = "AcmeKeyPath: two places say something else";
    ck_assert(says("\"certificate\":\"example.org\",\"id\":\"example.org\",\"key_type\":\"P-256\","
                   "\"names\":[\"example.org\",\"www.example.org\"],\"vhosts\":[],"
                   "\"cas\":[\"letsencrypt\"],\"challenges\":[\"http-01\"]"));
    ck_assert(says("\"trouble\":\"AcmeKeyPath: two places say something else\""));
    spec.error = NULL;
    item.trouble = "/store: mode 0755";
    ck_assert(says("\"trouble\":\"/store: mode 0755\""));
}
END_TEST

START_TEST(counts)
{
    acme_report_sum_t sum;

    memset(&sum, 0, sizeof(sum));
    acme_report_count(&sum, acme_report_certificate(&of, pool), NOW);
    item.usable = 1;
    item.known = &known;
    acme_report_count(&sum, acme_report_certificate(&of, pool), NOW);
    acme_report_count(&sum, acme_report_certificate(&of, pool), NOW + 61 * DAY);
    ck_assert_int_eq(sum.all, 3);
    ck_assert_int_eq(sum.missing, 1);
    ck_assert_int_eq(sum.valid, 1);
    ck_assert_int_eq(sum.expired, 1);
    ck_assert_int_eq(sum.failing, 0);
}
END_TEST

Suite *report_suite(void)
{
    Suite *suite = suite_create("report");
    TCase *tc = tcase_create("report");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, where_it_is_served_from);
    tcase_add_test(tc, progress_is_shown_whole);
    tcase_add_test(tc, without_a_board);
    tcase_add_test(tc, counts);
    suite_add_tcase(suite, tc);
    return suite;
}
