/* Licensed under the Apache License, Version 2.0; see LICENSE. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <apr_general.h>
#include <apr_strings.h>

#include <check.h>

#include "store/secret.h"

#define COUNT(table) ((int)(sizeof(table) / sizeof((table)[0])))

Suite *secret_suite(void);

static apr_pool_t *pool;
static char dir[] = "/tmp/acmeclient-secret-XXXXXX";
static const char *path;
static acme_ca_t ca;
static acme_error_t err;

static void setup(void)
{
    apr_initialize();
    apr_pool_create(&pool, NULL);
    ck_assert_ptr_nonnull(mkdtemp(dir));
    path = apr_pstrcat(pool, dir, "/secret", NULL);
    memset(&ca, 0, sizeof(ca));
    ca.eab_file = ca.proxy_file = path;
    acme_error_clear(&err);
}

static void teardown(void)
{
    unlink(path);
    rmdir(dir);
    apr_pool_destroy(pool);
    apr_terminate();
}

static void put(const char *text, mode_t mode)
{
    FILE *file = fopen(path, "w");

    ck_assert_ptr_nonnull(file);
    ck_assert_uint_eq(fwrite(text, 1, strlen(text), file), strlen(text));
    fclose(file);
    ck_assert_int_eq(chmod(path, mode), 0);
}

START_TEST(an_external_account)
{
    put("kid-1 c2VjcmV0\n", 0600);
    ck_assert_int_eq(acme_secret_external(&ca, geteuid(), pool, &err), ACME_OK);
    ck_assert_str_eq(ca.eab_kid, "kid-1");
    ck_assert_str_eq(ca.eab_alg, "HS256");
    ck_assert_uint_eq(ca.eab_key_len, 6);
    ck_assert_int_eq(memcmp(ca.eab_key, "secret", 6), 0);
    ck_assert_ptr_null(ca.eab_trouble);
}
END_TEST

START_TEST(an_external_account_that_is_none)
{
    put("c2VjcmV0\n", 0600);
    ck_assert_int_eq(acme_secret_external(&ca, geteuid(), pool, &err), ACME_FAIL);
    ck_assert_str_eq(err.code, "AC0145");
    ck_assert_str_eq(ca.eab_trouble, err.text);
    ck_assert_ptr_nonnull(strstr(err.text, path));
    ck_assert_ptr_null(strstr(err.text, "c2Vj"));
    ck_assert_ptr_null(ca.eab_kid);
}
END_TEST

static const struct {
    const char *text, *user;
} users[] = {
    {"u:p", "u:p"}, {"u:p\n", "u:p"}, {"u:p\r\n", "u:p"}, {"u:", "u:"}, {"u:p:q ", "u:p:q "},
    {"u:\303\244\n", "u:\303\244"}, {"", NULL}, {"u\n", NULL}, {":p\n", NULL}, {"u:p\nv:q\n", NULL},
    {"u:p\t\n", NULL}, {"u:p\r\nX: y\n", NULL},
};

START_TEST(users_of_a_proxy)
{
    put(users[_i].text, 0600);
    ck_assert_int_eq(acme_secret_proxy(&ca, geteuid(), pool, &err),
                     users[_i].user ? ACME_OK : ACME_FAIL);
    if (users[_i].user) {
        ck_assert_str_eq(ca.proxy_user, users[_i].user);
    }
    else {
        ck_assert_str_eq(err.code, "AC0148");
        ck_assert_ptr_null(ca.proxy_user);
    }
}
END_TEST

START_TEST(others_may_not_read_it)
{
    static const mode_t modes[] = {0644, 0640, 0604, 0620};
    struct stat st;

    put("u:p", modes[_i]);
    ck_assert_int_eq(acme_secret_proxy(&ca, geteuid(), pool, &err), ACME_FAIL);
    ck_assert_str_eq(err.code, "AC0147");
    ck_assert_ptr_nonnull(strstr(err.text, "chmod 0600"));
    acme_error_clear(&err);
    ck_assert_int_eq(acme_secret_external(&ca, geteuid(), pool, &err), ACME_FAIL);
    ck_assert_str_eq(err.code, "AC0147");
    ck_assert_int_eq(stat(path, &st), 0);
    ck_assert_uint_eq(st.st_mode & 0777, modes[_i]);
}
END_TEST

START_TEST(no_file)
{
    ck_assert_int_eq(acme_secret_external(&ca, geteuid(), pool, &err), ACME_FAIL);
    ck_assert_str_eq(err.code, "AC0146");
    ck_assert_ptr_nonnull(ca.eab_trouble);
    ck_assert_int_eq(symlink("/etc/passwd", path), 0);
    acme_error_clear(&err);
    ck_assert_int_eq(acme_secret_external(&ca, geteuid(), pool, &err), ACME_FAIL);
    ck_assert_int_eq(err.kind, ACME_E_SECURITY);
}
END_TEST

Suite *secret_suite(void)
{
    Suite *suite = suite_create("secret");
    TCase *tc = tcase_create("files");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, an_external_account);
    tcase_add_test(tc, an_external_account_that_is_none);
    tcase_add_loop_test(tc, users_of_a_proxy, 0, COUNT(users));
    tcase_add_loop_test(tc, others_may_not_read_it, 0, 4);
    tcase_add_test(tc, no_file);
    suite_add_tcase(suite, tc);
    return suite;
}
