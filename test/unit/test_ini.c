/* Licensed under the Apache License, Version 2.0; see LICENSE. */

#include <string.h>

#include <apr_strings.h>
#include <check.h>

#include "base/ini.h"

Suite *ini_suite(void);

static apr_pool_t *pool;

static void setup(void)
{
    apr_pool_create(&pool, NULL);
}

static void teardown(void)
{
    apr_pool_destroy(pool);
}

/* The shape of a file that certbot 2.1 wrote. */
static const char renewal[] =
    "# renew_before_expiry = 30 days\n"
    "version = 2.1.0\n"
    "archive_dir = /etc/letsencrypt/archive/b.test\n"
    "fullchain = \"/etc/let's encrypt/live/#1/fullchain.pem\"\r\n"
    "\n"
    "# Options used in the renewal process\n"
    "[renewalparams]\n"
    "account = 3c29c3d559013e2cd1d9880e3c631238\n"
    "server = https://localhost:14000/dir # a comment\n"
    "server = https://second.test/\n"
    "\tpref_challs = dns-01,\n"
    "empty =\n"
    "[[webroot_map]]\n"
    "b.test = /var/www\n"
    "account = of another section\n";

static const struct {
    const char *section, *key, *want;
} rows[] = {
    {NULL, "version", "2.1.0"},
    {NULL, "archive_dir", "/etc/letsencrypt/archive/b.test"},
    {NULL, "fullchain", "/etc/let's encrypt/live/#1/fullchain.pem"},
    {NULL, "renew_before_expiry", NULL},
    {NULL, "account", NULL},
    {NULL, "arch", NULL},
    {"renewalparams", "account", "3c29c3d559013e2cd1d9880e3c631238"},
    {"renewalparams", "server", "https://localhost:14000/dir"},
    {"renewalparams", "pref_challs", "dns-01,"},
    {"renewalparams", "empty", ""},
    {"renewalparams", "b.test", NULL},
    {"renewalparams", "version", NULL},
    {"webroot_map", "b.test", NULL},
    {"gone", "account", NULL},
};

START_TEST(values_of_a_renewal_file)
{
    const char *got = acme_ini_get(renewal, strlen(renewal), rows[_i].section, rows[_i].key, pool);

    if (rows[_i].want == NULL) {
        ck_assert_ptr_null(got);
    }
    else {
        ck_assert_ptr_nonnull(got);
        ck_assert_str_eq(got, rows[_i].want);
    }
}
END_TEST

START_TEST(what_is_no_such_file)
{
    char *big = apr_pcalloc(pool, ACME_INI_MAX + 1);

    ck_assert_ptr_null(acme_ini_get("", 0, NULL, "a", pool));
    ck_assert_ptr_null(acme_ini_get("a = 1\n\0", 7, NULL, "a", pool));
    ck_assert_ptr_null(acme_ini_get("=\n = \n[", 7, NULL, "a", pool));
    memset(big, ' ', ACME_INI_MAX + 1);
    memcpy(big, "a=1\n", 4);
    ck_assert_ptr_null(acme_ini_get(big, ACME_INI_MAX + 1, NULL, "a", pool));
    ck_assert_str_eq(acme_ini_get(big, ACME_INI_MAX, NULL, "a", pool), "1");
    ck_assert_str_eq(acme_ini_get("a='x", 4, NULL, "a", pool), "'x");
}
END_TEST

Suite *ini_suite(void)
{
    Suite *s = suite_create("ini");
    TCase *c = tcase_create("ini");

    tcase_add_checked_fixture(c, setup, teardown);
    tcase_add_loop_test(c, values_of_a_renewal_file, 0, (int)(sizeof(rows) / sizeof(rows[0])));
    tcase_add_test(c, what_is_no_such_file);
    suite_add_tcase(s, c);
    return s;
}
