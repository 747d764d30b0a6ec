/* Licensed under the Apache License, Version 2.0; see LICENSE. */

#include <string.h>

#include <apr_general.h>
#include <apr_strings.h>
#include <check.h>

#include "base/error.h"

Suite *error_suite(void);

START_TEST(the_first_cause_wins)
{
    acme_error_t err;

    acme_error_clear(&err);
    ck_assert_int_eq(err.kind, ACME_E_NONE);
    ck_assert_int_eq(acme_error_set(&err, ACME_E_HTTP, "AC0222", "length %d", 7), ACME_FAIL);
    ck_assert_int_eq(acme_error_set(&err, ACME_E_TLS, "AC0210", "later"), ACME_FAIL);
    ck_assert_int_eq(err.kind, ACME_E_HTTP);
    ck_assert_int_eq(err.retry, ACME_RETRY_LADDER);
    ck_assert_str_eq(err.code, "AC0222");
    ck_assert_str_eq(err.text, "length 7");
    acme_error_clear(&err);
    ck_assert_int_eq(err.kind, ACME_E_NONE);
    ck_assert_str_eq(err.text, "");
}
END_TEST

START_TEST(nobody_has_to_listen)
{
    ck_assert_int_eq(acme_error_set(NULL, ACME_E_HTTP, NULL, "x"), ACME_FAIL);
    ck_assert_int_eq(acme_error_system(NULL, ACME_E_SYSTEM, NULL, APR_EACCES, "x"), ACME_FAIL);
    ck_assert_int_eq(acme_error_prefix(NULL, "x"), ACME_FAIL);
}
END_TEST

START_TEST(a_system_status_is_spelled_out)
{
    acme_error_t err;

    acme_error_clear(&err);
    acme_error_system(&err, ACME_E_SYSTEM, NULL, APR_EACCES, "open %s", "/x");
    ck_assert_int_eq(err.status, APR_EACCES);
    ck_assert_str_eq(err.code, "");
    ck_assert_str_eq(err.text, "open /x: Permission denied");
}
END_TEST

START_TEST(a_prefix_names_the_step)
{
    acme_error_t err;

    acme_error_clear(&err);
    acme_error_set(&err, ACME_E_PROBLEM, NULL, "403 unauthorized");
    ck_assert_int_eq(acme_error_prefix(&err, "%s", "finalize"), ACME_FAIL);
    acme_error_prefix(&err, "example.org");
    ck_assert_str_eq(err.text, "example.org: finalize: 403 unauthorized");
}
END_TEST

START_TEST(texts_are_bounded)
{
    char big[3 * ACME_ERROR_TEXT];
    acme_error_t err;

    memset(big, 'x', sizeof(big) - 1);
    big[sizeof(big) - 1] = '\0';
    acme_error_clear(&err);
    acme_error_system(&err, ACME_E_HTTP, "AC0201-and-more", APR_EACCES, "%s", big);
    ck_assert_uint_eq(strlen(err.text), ACME_ERROR_TEXT - 1);
    ck_assert_str_eq(err.code, "AC0201-");
    acme_error_prefix(&err, "%s", big);
    ck_assert_uint_eq(strlen(err.text), ACME_ERROR_TEXT - 1);
}
END_TEST

/* Validity of the sequences as python3's bytes.decode('utf-8') judges them; C1 controls are valid
 * UTF-8 but move a terminal's cursor. */
static const struct {
    const char *in;
    apr_ssize_t len;
    const char *want;
} prints[] = {
    {"", -1, ""},
    {"plain ~ text", -1, "plain ~ text"},
    {"a\r\nb\tc\x1b[31m\x7f", -1, "a??b?c?[31m?"},
    {"a\0b", 3, "a?b"},
    {"cut here", 3, "cut"},
    {"\xc3\xa4\xe2\x82\xac\xf0\x9f\x94\x92", -1, "\xc3\xa4\xe2\x82\xac\xf0\x9f\x94\x92"},
    {"\xc2\x9b\xc2\xa0", -1, "??\xc2\xa0"},
    {"\xc0\xaf", -1, "??"},
    {"\xe0\x80\xaf", -1, "???"},
    {"\xed\xa0\x80", -1, "???"},
    {"\xf4\x90\x80\x80", -1, "????"},
    {"\xf0\x8f\xbf\xbf", -1, "????"},
    {"\xff\xfe", -1, "??"},
    {"\x80x", -1, "?x"},
    {"\xe2(\xa1", -1, "?(?"},
    {"\xe2\x82", -1, "??"},
    {"\xe2\x82\xac", 2, "??"},
};

START_TEST(only_printable_text_gets_through)
{
    char out[64];

    ck_assert_ptr_eq(acme_printable(out, sizeof(out), prints[_i].in, prints[_i].len), out);
    ck_assert_str_eq(out, prints[_i].want);
}
END_TEST

START_TEST(nothing_is_cut_in_the_middle_of_a_character)
{
    static const char text[] = "ab\xe2\x82\xac";
    char out[8];
    apr_size_t size;

    for (size = 1; size <= sizeof(out); size++) {
        apr_size_t want = size > 5 ? 5 : size > 2 ? 2 : size - 1;

        memset(out, '#', sizeof(out));
        acme_printable(out, size, text, -1);
        ck_assert_uint_eq(strlen(out), want);
        ck_assert_mem_eq(out, text, want);
    }
    memset(out, '#', sizeof(out));
    acme_printable(out, 0, text, -1);
    ck_assert_int_eq(out[0], '#');
    ck_assert_str_eq(acme_printable(out, sizeof(out), NULL, -1), "");
}
END_TEST

START_TEST(errors_hold_no_control_characters)
{
    acme_error_t err;

    acme_error_clear(&err);
    acme_error_set(&err, ACME_E_PROBLEM, NULL, "%s", "a\nb\x1b");
    ck_assert_str_eq(err.text, "a?b?");
    acme_error_prefix(&err, "%s", "c\r");
    ck_assert_str_eq(err.text, "c?: a?b?");
}
END_TEST

START_TEST(every_kind_has_a_name_of_its_own)
{
    int i, j;

    for (i = ACME_E_NONE; i <= ACME_E_STOPPED; i++) {
        for (j = ACME_E_NONE; j < i; j++) {
            ck_assert_str_ne(acme_error_kind_name((acme_error_kind_t)i),
                             acme_error_kind_name((acme_error_kind_t)j));
        }
        ck_assert_str_ne(acme_error_kind_name((acme_error_kind_t)i), "unknown");
    }
    ck_assert_str_eq(acme_error_kind_name(ACME_E_NETWORK), "network");
    ck_assert_str_eq(acme_error_kind_name((acme_error_kind_t)99), "unknown");
}
END_TEST

Suite *error_suite(void)
{
    Suite *suite = suite_create("error");
    TCase *tc = tcase_create("error");

    apr_initialize();
    tcase_add_test(tc, the_first_cause_wins);
    tcase_add_test(tc, nobody_has_to_listen);
    tcase_add_test(tc, a_system_status_is_spelled_out);
    tcase_add_test(tc, a_prefix_names_the_step);
    tcase_add_test(tc, texts_are_bounded);
    tcase_add_loop_test(tc, only_printable_text_gets_through, 0,
                        (int)(sizeof(prints) / sizeof(prints[0])));
    tcase_add_test(tc, nothing_is_cut_in_the_middle_of_a_character);
    tcase_add_test(tc, errors_hold_no_control_characters);
    tcase_add_test(tc, every_kind_has_a_name_of_its_own);
    suite_add_tcase(suite, tc);
    return suite;
}
