/* Licensed under the Apache License, Version 2.0; see LICENSE. */

#include <string.h>

#include <apr_general.h>

#include <check.h>

#include "base/url.h"
#include "protocol/known_ca.h"

#define COUNT(table) ((int)(sizeof(table) / sizeof((table)[0])))

Suite *known_ca_suite(void);

/* As lego and acme.sh have them in their documentation. */
static const struct {
    const char *name, *url;
    int staging, external;
} rows[] = {
    {"letsencrypt", "https://acme-v02.api.letsencrypt.org/directory", 0, 0},
    {"letsencrypt-staging", "https://acme-staging-v02.api.letsencrypt.org/directory", 1, 0},
    {"zerossl", "https://acme.zerossl.com/v2/DV90", 0, 1},
    {"google", "https://dv.acme-v02.api.pki.goog/directory", 0, 1},
    {"google-staging", "https://dv.acme-v02.test-api.pki.goog/directory", 1, 1},
    {"ssl.com", "https://acme.ssl.com/sslcom-dv-ecc", 0, 1},
    {"actalis", "https://acme-api.actalis.com/acme/directory", 0, 1},
};

START_TEST(each_is_found)
{
    const acme_known_ca_t *known = acme_known_ca_named(rows[_i].name);

    ck_assert_ptr_nonnull(known);
    ck_assert_str_eq(known->directory_url, rows[_i].url);
    ck_assert_int_eq(known->staging, rows[_i].staging);
    ck_assert_int_eq(known->external != NULL, rows[_i].external);
    ck_assert_int_eq(known->terms, 1);
    ck_assert_ptr_eq(acme_known_ca_at(rows[_i].url), known);
}
END_TEST

START_TEST(and_no_other)
{
    apr_pool_t *pool;
    acme_url_t *url;
    int i;

    apr_initialize();
    apr_pool_create(&pool, NULL);
    for (i = 0; acme_known_ca(i) != NULL; i++) {
        ck_assert_int_eq(acme_url_parse(&url, acme_known_ca(i)->directory_url, pool, NULL),
                         ACME_OK);
    }
    ck_assert_int_eq(i, COUNT(rows));
    ck_assert_ptr_null(acme_known_ca(-1));
    ck_assert_ptr_nonnull(acme_known_ca_named("LetsEncrypt"));
    ck_assert_ptr_null(acme_known_ca_named("letsencryp"));
    ck_assert_ptr_null(acme_known_ca_named(""));
    ck_assert_ptr_null(acme_known_ca_at("https://acme-v02.api.letsencrypt.org/directory/"));
    apr_pool_destroy(pool);
    apr_terminate();
}
END_TEST

Suite *known_ca_suite(void)
{
    Suite *suite = suite_create("known_ca");
    TCase *tc = tcase_create("the table");

    tcase_add_loop_test(tc, each_is_found, 0, COUNT(rows));
    tcase_add_test(tc, and_no_other);
    suite_add_tcase(suite, tc);
    return suite;
}
