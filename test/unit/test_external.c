/* Licensed under the Apache License, Version 2.0; see LICENSE. */

#include <string.h>

#include <apr_general.h>
#include <apr_strings.h>

#include <check.h>

#include "protocol/external.h"

#define COUNT(table) ((int)(sizeof(table) / sizeof((table)[0])))

Suite *external_suite(void);

static apr_pool_t *pool;

static void setup(void)
{
    apr_initialize();
    apr_pool_create(&pool, NULL);
}

static void teardown(void)
{
    apr_pool_destroy(pool);
    apr_terminate();
}

/* The key of RFC 7515 appendix A.1, its characters there and in plain base64. */
#define KEY_URL \
    "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow"
#define KEY_PLAIN \
    "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ+EstJQLr/T+1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow"

static const unsigned char key_bytes[64] = {
    3,   35,  53,  75,  43,  15,  165, 188, 131, 126, 6,   101, 119, 123, 166, 143,
    90,  179, 40,  230, 240, 84,  201, 40,  169, 15,  132, 178, 210, 80,  46,  191,
    211, 251, 90,  146, 210, 6,   71,  239, 150, 138, 180, 195, 119, 98,  61,  34,
    61,  46,  33,  114, 5,   46,  79,  8,   192, 205, 154, 245, 103, 208, 128, 163,
};

static const struct {
    const char *text, *alg;
} good[] = {
    {"kid-1 " KEY_URL, "HS256"},
    {"kid-1 " KEY_URL "==", "HS256"},
    {"kid-1 " KEY_PLAIN, "HS256"},
    {"kid-1\n" KEY_PLAIN "==\n", "HS256"},
    {"  kid-1\r\n" KEY_URL "\r\nhs384\r\n", "HS384"},
    {"kid-1 " KEY_URL " HS512", "HS512"},
    {"{\"kid\": \"kid-1\", \"hmac\": \"" KEY_URL "\"}", "HS256"},
    {"\n{\"hmac\": \"" KEY_PLAIN "==\", \"kid\": \"kid-1\", \"alg\": \"HS512\", \"x\": [1]}\n",
     "HS512"},
};

START_TEST(what_is_understood)
{
    acme_external_t external;

    ck_assert_int_eq(acme_external_parse(&external, good[_i].text, strlen(good[_i].text), pool,
                                         NULL), ACME_OK);
    ck_assert_str_eq(external.kid, "kid-1");
    ck_assert_str_eq(external.alg, good[_i].alg);
    ck_assert_uint_eq(external.key_len, sizeof(key_bytes));
    ck_assert_int_eq(memcmp(external.key, key_bytes, sizeof(key_bytes)), 0);
}
END_TEST

static const char *const bad[] = {
    "", "\n", "kid-1", "kid-1 " KEY_URL " HS1", "kid-1 " KEY_URL " none", "kid-1 secret*word",
    "kid-1 AyM1Sy+sP-word", "kid-1 secretwordX=", "kid-1 secretword HS256 more",
    "k\033d secretword",
    "{\"kid\": \"kid-1\"}", "{\"hmac\": \"secretword\"}", "{\"kid\": 1, \"hmac\": \"secretword\"}",
    "{\"kid\": \"\", \"hmac\": \"secretword\"}", "{\"kid\": \"kid-1\", \"hmac\": \"\"}",
    "{\"kid\": \"kid-1\", \"hmac\": \"secretword\", \"alg\": 256}", "{",
};

START_TEST(what_is_not)
{
    acme_external_t external;
    acme_error_t err;

    acme_error_clear(&err);
    ck_assert_int_eq(acme_external_parse(&external, bad[_i], strlen(bad[_i]), pool, &err),
                     ACME_FAIL);
    ck_assert_str_eq(err.code, "AC0145");
    ck_assert_int_eq(err.kind, ACME_E_CONFIG);
    /* whatever it is, it may be a secret */
    ck_assert_ptr_null(strstr(err.text, "secret"));
    ck_assert_ptr_null(strstr(err.text, "-word"));
}
END_TEST

START_TEST(too_much)
{
    char *text = apr_palloc(pool, ACME_EXTERNAL_MAX + 1);
    acme_external_t external;

    memset(text, 'A', ACME_EXTERNAL_MAX + 1);
    text[3] = ' ';
    ck_assert_int_eq(acme_external_parse(&external, text, ACME_EXTERNAL_MAX, pool, NULL), ACME_OK);
    ck_assert_int_eq(acme_external_parse(&external, text, ACME_EXTERNAL_MAX + 1, pool, NULL),
                     ACME_FAIL);
    ck_assert_int_eq(acme_external_parse(&external, "k\0 AAAA", 7, pool, NULL), ACME_FAIL);
}
END_TEST

Suite *external_suite(void)
{
    Suite *suite = suite_create("external");
    TCase *tc = tcase_create("external accounts");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_loop_test(tc, what_is_understood, 0, COUNT(good));
    tcase_add_loop_test(tc, what_is_not, 0, COUNT(bad));
    tcase_add_test(tc, too_much);
    suite_add_tcase(suite, tc);
    return suite;
}
