/* Licensed under the Apache License, Version 2.0; see LICENSE. */

#include <string.h>

#include <apr_general.h>
#include <apr_strings.h>
#include <check.h>

#include "protocol/partial.h"

#define DAY apr_time_from_sec((apr_int64_t)86400)
#define NOW apr_time_from_sec(APR_INT64_C(1795000000))

Suite *partial_suite(void);

static apr_pool_t *pool;
static acme_spec_t spec;
static acme_issued_t issued;
static acme_attempt_t former, next;

static apr_array_header_t *set_of(const char *list)
{
    apr_array_header_t *set = apr_array_make(pool, 4, sizeof(const char *));

    while (*list) {
        apr_size_t len = strcspn(list, " ");

        APR_ARRAY_PUSH(set, const char *) = apr_pstrmemdup(pool, list, len);
        list += len + strspn(list + len, " ");
    }
    return set;
}

static const char *text_of(const apr_array_header_t *names)
{
    return names == NULL ? "" : apr_array_pstrcat(pool, names, ' ');
}

static void setup(void)
{
    apr_initialize();
    apr_pool_create(&pool, NULL);
    memset(&spec, 0, sizeof(spec));
    memset(&issued, 0, sizeof(issued));
    memset(&former, 0, sizeof(former));
    spec.names = set_of("x.org a.x.org b.x.org");
    spec.may_lack = set_of("a.x.org b.x.org");
    issued.issued = NOW;
}

static void teardown(void)
{
    apr_pool_destroy(pool);
}

/* One attempt after the other; what it left behind is read back from its record. */
static const char *attempt(const char *why, const char *blamed)
{
    const char *gone, *payload;
    acme_error_t err;

    memset(&next, 0, sizeof(next));
    next.last = former.last > NOW ? former.last + 1 : NOW + 1;
    next.why = why;
    gone = acme_partial_failed(&next, &spec, &issued, &former, blamed, pool);
    payload = acme_attempt_payload(&next, pool);
    acme_error_clear(&err);
    ck_assert_msg(acme_attempt_parse(&former, payload, strlen(payload), pool, &err) == ACME_OK,
                  "%s", err.text);
    return gone != NULL ? gone : "";
}

static const char *left_out(void)
{
    return text_of(acme_partial_left_out(&spec, &issued, &former));
}

START_TEST(third_in_a_row)
{
    ck_assert_str_eq(attempt("no certificate", "a.x.org"), "");
    ck_assert_str_eq(attempt("no certificate", "a.x.org"), "");
    ck_assert_str_eq(left_out(), "");
    ck_assert_str_eq(attempt("no certificate", "a.x.org"), "a.x.org");
    ck_assert_str_eq(left_out(), "a.x.org");
    ck_assert_int_eq(former.failures, 3);
    ck_assert_str_eq(text_of(acme_partial_order(&spec, &issued, &former, 0, pool)), "a.x.org");
    ck_assert_str_eq(attempt("no certificate", "b.x.org"), "");
    ck_assert_str_eq(attempt("no certificate", "b.x.org"), "");
    ck_assert_str_eq(attempt("no certificate", "b.x.org"), "b.x.org");
    ck_assert_str_eq(left_out(), "a.x.org b.x.org");
}
END_TEST

/* Another name, the network, the first name: it was not that one alone. */
START_TEST(not_alone)
{
    static const char *const between[] = {"b.x.org", NULL, "x.org"};
    int i;

    for (i = 0; i < 3; i++) {
        memset(&former, 0, sizeof(former));
        ck_assert_str_eq(attempt("due", "a.x.org"), "");
        ck_assert_str_eq(attempt("due", "a.x.org"), "");
        ck_assert_str_eq(attempt("due", between[i]), "");
        ck_assert_str_eq(attempt("due", "a.x.org"), "");
        ck_assert_str_eq(left_out(), "");
    }
}
END_TEST

START_TEST(never_the_first_or_what_must_be)
{
    int i;

    for (i = 0; i < 5; i++) {
        ck_assert_str_eq(attempt("due", "x.org"), "");
    }
    spec.may_lack = NULL;
    for (i = 0; i < 5; i++) {
        ck_assert_str_eq(attempt("due", "a.x.org"), "");
    }
    ck_assert_str_eq(left_out(), "");
}
END_TEST

/* Each in its turn, each once a week; a failure for another reason waits a day. */
START_TEST(tried_again)
{
    issued.left_out = set_of("a.x.org b.x.org");
    ck_assert(acme_partial_again(&spec, &issued, &former) == NOW + 7 * DAY / 2);
    ck_assert_str_eq(text_of(acme_partial_order(&spec, &issued, &former, 1, pool)), "b.x.org");
    attempt(acme_partial_why, "a.x.org");
    ck_assert_int_eq(former.failures, 1);
    ck_assert_str_eq(left_out(), "a.x.org b.x.org");
    ck_assert(acme_partial_again(&spec, &issued, &former) == former.last + 7 * DAY / 2);
    ck_assert_str_eq(text_of(acme_partial_order(&spec, &issued, &former, 1, pool)), "a.x.org");
    attempt(acme_partial_why, NULL);
    ck_assert(acme_partial_again(&spec, &issued, &former) == former.last + DAY);
    /* An attempt for another reason begins its own count. */
    attempt("due", NULL);
    ck_assert_int_eq(former.failures, 1);
    ck_assert_str_eq(left_out(), "a.x.org b.x.org");
    ck_assert_str_eq(text_of(acme_partial_order(&spec, &issued, &former, 0, pool)),
                     "a.x.org b.x.org");
}
END_TEST

START_TEST(no_more_wanted)
{
    issued.left_out = set_of("a.x.org");
    ck_assert_str_eq(left_out(), "a.x.org");
    spec.may_lack = set_of("b.x.org");
    ck_assert_str_eq(left_out(), "");
    ck_assert(acme_partial_again(&spec, &issued, &former) == 0);
}
END_TEST

/* What a certificate lacks is complete only as it was recorded. */
START_TEST(names_without)
{
    const apr_array_header_t *names;
    char one[ACME_SHA256_HEX], two[ACME_SHA256_HEX];

    ck_assert_int_eq(acme_spec_names_without(&names, &spec, set_of("b.x.org"), pool), ACME_OK);
    ck_assert_str_eq(text_of(names), "x.org a.x.org");
    ck_assert_int_eq(acme_spec_names_without(&names, &spec, NULL, pool), ACME_OK);
    ck_assert_str_eq(text_of(names), "x.org a.x.org b.x.org");
    ck_assert_int_eq(acme_spec_names_without(&names, &spec, set_of("x.org"), pool), ACME_FAIL);
    ck_assert_int_eq(acme_spec_names_without(&names, &spec, set_of("c.x.org"), pool), ACME_FAIL);
    acme_spec_part_digest(one, &spec, set_of("b.x.org"), 0, pool);
    acme_spec_part_digest(two, &spec, set_of("a.x.org x.org z.org"), 1, pool);
    ck_assert_str_eq(one, two);
    acme_spec_part_digest(two, &spec, set_of("x.org"), 1, pool);
    ck_assert_str_ne(one, two);
}
END_TEST

/* The certificate's record holds it; a list that is none is refused. */
START_TEST(record)
{
    static const char bad[] = "{\"key\":\"k\",\"directory\":\"d\",\"spec\":\"s\","
                              "\"leftOut\":[\"A.x\"],\"issued\":\"2026-01-01T00:00:00Z\"}\n";
    const char *payload, *chain;
    apr_size_t len, chain_len;
    acme_issued_t out;

    issued.key_digest = issued.directory = issued.spec_digest = "x";
    issued.left_out = set_of("a.x.org");
    payload = acme_certificate_payload(&len, &issued, "PEM", pool);
    ck_assert_int_eq(acme_certificate_payload_parse(&out, &chain, &chain_len, payload, len, pool,
                                                    NULL), ACME_OK);
    ck_assert_str_eq(text_of(out.left_out), "a.x.org");
    ck_assert_int_eq(acme_certificate_payload_parse(&out, &chain, &chain_len, bad, strlen(bad),
                                                    pool, NULL), ACME_FAIL);
}
END_TEST

Suite *partial_suite(void)
{
    Suite *suite = suite_create("partial");
    TCase *tc = tcase_create("partial");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, third_in_a_row);
    tcase_add_test(tc, not_alone);
    tcase_add_test(tc, never_the_first_or_what_must_be);
    tcase_add_test(tc, tried_again);
    tcase_add_test(tc, no_more_wanted);
    tcase_add_test(tc, names_without);
    tcase_add_test(tc, record);
    suite_add_tcase(suite, tc);
    return suite;
}
