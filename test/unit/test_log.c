/* Licensed under the Apache License, Version 2.0; see LICENSE. */

#include <string.h>

#include <apr_strings.h>
#include <check.h>

#include "base/log.h"

Suite *log_suite(void);

typedef struct {
    int lines;
    acme_log_level_t level;
    char subject[64];
    char line[4096];
} sink_t;

static void collect(void *baton, acme_log_level_t level, const char *subject, const char *line)
{
    sink_t *sink = baton;

    sink->lines++;
    sink->level = level;
    apr_cpystrn(sink->subject, subject ? subject : "(none)", sizeof(sink->subject));
    apr_cpystrn(sink->line, line, sizeof(sink->line));
}

START_TEST(a_line_has_id_and_subject_first)
{
    sink_t sink = {0};
    acme_log_t log = {collect, &sink, ACME_LOG_DEBUG};

    acme_log(&log, ACME_LOG_NOTICE, "AC0501", "example.org", "obtained %d", 3);
    ck_assert_str_eq(sink.line, "AC0501: example.org: obtained 3");
    ck_assert_str_eq(sink.subject, "example.org");
    ck_assert_int_eq(sink.level, ACME_LOG_NOTICE);
    acme_log(&log, ACME_LOG_ERR, "AC0502", NULL, "no subject");
    ck_assert_str_eq(sink.line, "AC0502: no subject");
    ck_assert_str_eq(sink.subject, "(none)");
}
END_TEST

START_TEST(lines_above_the_level_are_dropped)
{
    sink_t sink = {0};
    acme_log_t log = {collect, &sink, ACME_LOG_WARNING};

    acme_log(&log, ACME_LOG_NOTICE, "AC0501", NULL, "quiet");
    ck_assert_int_eq(sink.lines, 0);
    acme_log(&log, ACME_LOG_WARNING, "AC0502", NULL, "loud");
    acme_log(&log, ACME_LOG_ERR, "AC0503", NULL, "louder");
    ck_assert_int_eq(sink.lines, 2);
}
END_TEST

START_TEST(nobody_has_to_listen)
{
    acme_log_t log = {NULL, NULL, ACME_LOG_DEBUG};

    acme_log(NULL, ACME_LOG_ERR, "AC0501", NULL, "x");
    acme_log(&log, ACME_LOG_ERR, "AC0502", NULL, "x");
}
END_TEST

START_TEST(hostile_text_cannot_forge_a_line)
{
    sink_t sink = {0};
    acme_log_t log = {collect, &sink, ACME_LOG_DEBUG};

    acme_log(&log, ACME_LOG_INFO, "AC0501", "%s%n", "%s", "a\n[error] forged\x1b[2J\xff");
    ck_assert_str_eq(sink.line, "AC0501: %s%n: a?[error] forged?[2J?");
}
END_TEST

START_TEST(lines_are_bounded)
{
    static char big[10000];
    sink_t sink = {0};
    acme_log_t log = {collect, &sink, ACME_LOG_DEBUG};

    memset(big, 'x', sizeof(big) - 1);
    acme_log(&log, ACME_LOG_INFO, "AC0501", big, "%s", big);
    ck_assert_int_eq(sink.lines, 1);
    ck_assert_uint_lt(strlen(sink.line), 2048);
    acme_log(&log, ACME_LOG_INFO, "AC0502", NULL, "%s", big);
    ck_assert_uint_lt(strlen(sink.line), 2048);
    ck_assert_uint_gt(strlen(sink.line), 2000);
}
END_TEST

Suite *log_suite(void)
{
    Suite *suite = suite_create("log");
    TCase *tc = tcase_create("log");

    tcase_add_test(tc, a_line_has_id_and_subject_first);
    tcase_add_test(tc, lines_above_the_level_are_dropped);
    tcase_add_test(tc, nobody_has_to_listen);
    tcase_add_test(tc, hostile_text_cannot_forge_a_line);
    tcase_add_test(tc, lines_are_bounded);
    suite_add_tcase(suite, tc);
    return suite;
}
