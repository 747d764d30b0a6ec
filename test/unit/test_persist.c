/* Licensed under the Apache License, Version 2.0; see LICENSE. */

/* Expected results follow Pebble 2.10.1's validator and draft-ietf-acme-dns-persist-01. */

#include <check.h>
#include <string.h>
#include <apr_general.h>
#include "protocol/persist.h"

Suite *persist_suite(void);

#define COUNT(table) ((int)(sizeof(table) / sizeof((table)[0])))
#define ACCOUNT "https://ca.test/acct/1"

static apr_pool_t *pool;
static acme_persist_want_t want;

static void setup(void)
{
    apr_array_header_t *issuers;

    apr_initialize();
    apr_pool_create(&pool, NULL);
    issuers = apr_array_make(pool, 2, sizeof(const char *));
    APR_ARRAY_PUSH(issuers, const char *) = "ca.test";
    APR_ARRAY_PUSH(issuers, const char *) = "other.test";
    memset(&want, 0, sizeof(want));
    want.issuers = issuers;
    want.account_uri = ACCOUNT;
    want.now = apr_time_from_sec(2000000000);
}

static void teardown(void)
{
    apr_pool_destroy(pool);
}

START_TEST(value_to_publish)
{
    ck_assert_str_eq(acme_persist_value(&want, pool), "ca.test; accounturi=" ACCOUNT);
    want.wildcard = 1;
    ck_assert_str_eq(acme_persist_value(&want, pool),
                     "ca.test; accounturi=" ACCOUNT "; policy=wildcard");
    want.issuers = apr_array_make(pool, 1, sizeof(const char *));
    ck_assert_ptr_null(acme_persist_value(&want, pool));
}
END_TEST

/* proves: 0 nothing, 1 a name, 2 a wildcard too. */
static const struct {
    const char *text;
    int proves;
} records[] = {
    {"ca.test; accounturi=" ACCOUNT, 1},
    {"ca.test;accounturi=" ACCOUNT, 1},
    {"  other.test\t;  accounturi = " ACCOUNT "  ", 1},
    {"ca.test; accounturi=" ACCOUNT "; policy=wildcard", 2},
    {"ca.test; Policy=WildCard; AccountURI=" ACCOUNT, 2},
    {"ca.test; accounturi=" ACCOUNT "; policy=everything", 1},
    {"ca.test; accounturi=" ACCOUNT "; unknown=thing", 1},
    {"ca.test; accounturi=" ACCOUNT "; persistUntil=2000000001", 1},
    {"ca.test; accounturi=" ACCOUNT "; persistUntil=2000000000", 0},
    {"ca.test; accounturi=" ACCOUNT "; persistUntil=soon", 0},
    {"ca.test; accounturi=" ACCOUNT "; persistUntil=", 0},
    {"ca.test; accounturi=" ACCOUNT "; persistUntil=-1", 0},
    {"CA.TEST; accounturi=" ACCOUNT, 0},
    {"third.test; accounturi=" ACCOUNT, 0},
    {"ca.test; accounturi=" ACCOUNT "0", 0},
    {"ca.test; accounturi=https://ca.test/acct/", 0},
    {"ca.test; accounturi=" ACCOUNT ";", 0},
    {"ca.test; accounturi=" ACCOUNT "; accounturi=" ACCOUNT, 0},
    {"ca.test; accounturi=" ACCOUNT "; policy", 0},
    {"ca.test; accounturi=" ACCOUNT " x", 0},
    {"ca.test", 0},
    {"ca.test;", 0},
    {"; accounturi=" ACCOUNT, 0},
    {"", 0},
};

START_TEST(what_a_record_proves)
{
    const char *text = records[_i].text;
    int level;

    for (level = 1; level <= 2; level++) {
        want.wildcard = level == 2;
        ck_assert_int_eq(acme_persist_proves(&want, text, strlen(text), NULL),
                         records[_i].proves >= level);
    }
}
END_TEST

START_TEST(until_is_told)
{
    static const char text[] = "ca.test; persistUntil=4000000000; accounturi=" ACCOUNT;
    apr_time_t until;

    ck_assert(acme_persist_proves(&want, text, strlen(text), &until));
    ck_assert(until == apr_time_from_sec(APR_INT64_C(4000000000)));
    ck_assert(acme_persist_proves(&want, records[0].text, strlen(records[0].text), &until));
    ck_assert(until == 0);
}
END_TEST

Suite *persist_suite(void)
{
    Suite *suite = suite_create("persist");
    TCase *tc = tcase_create("records");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, value_to_publish);
    tcase_add_loop_test(tc, what_a_record_proves, 0, COUNT(records));
    tcase_add_test(tc, until_is_told);
    suite_add_tcase(suite, tc);
    return suite;
}
