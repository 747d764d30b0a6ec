/* Licensed under the Apache License, Version 2.0; see LICENSE. */

#include <string.h>

#include <apr_general.h>
#include <check.h>

#include "base/codec.h"

#define COUNT(table) ((int)(sizeof(table) / sizeof((table)[0])))

Suite *codec_suite(void);

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

/* RFC 4648 section 10 without its padding, RFC 7515 appendix C, RFC 7515 appendix A.1. */
static const struct {
    const char *data;
    apr_size_t len;
    const char *text;
} vectors[] = {
    {"", 0, ""},
    {"f", 1, "Zg"},
    {"fo", 2, "Zm8"},
    {"foo", 3, "Zm9v"},
    {"foob", 4, "Zm9vYg"},
    {"fooba", 5, "Zm9vYmE"},
    {"foobar", 6, "Zm9vYmFy"},
    {"\x03\xec\xff\xe0\xc1", 5, "A-z_4ME"},
    {"{\"typ\":\"JWT\",\r\n \"alg\":\"HS256\"}", 30, "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9"},
    {"\0\0\0", 3, "AAAA"},
    {"\xff\xff", 2, "__8"},
};

START_TEST(base64url_gives_the_vectors)
{
    ck_assert_str_eq(acme_base64url_encode(vectors[_i].data, vectors[_i].len, pool),
                     vectors[_i].text);
}
END_TEST

START_TEST(base64url_takes_the_vectors)
{
    const char *text = vectors[_i].text;
    unsigned char *out;
    apr_size_t len;

    ck_assert_int_eq(acme_base64url_decode(&out, &len, text, strlen(text), pool, NULL), ACME_OK);
    ck_assert_uint_eq(len, vectors[_i].len);
    ck_assert_mem_eq(out, vectors[_i].data, len);
    ck_assert_int_eq(acme_base64_decode_any(&out, &len, text, pool, NULL), ACME_OK);
    ck_assert_uint_eq(len, vectors[_i].len);
    ck_assert_mem_eq(out, vectors[_i].data, len);
}
END_TEST

static const struct {
    const char *text;
    apr_size_t len;
} foreign[] = {
    {"Z", 1},         {"Zm9vY", 5}, {"Zg==", 4},     {"Zm8=", 4},     {"Zm9v\n", 5},
    {" Zm9v", 5},     {"Zm+v", 4},  {"Zm/v", 4},     {"Zm9vYg\0", 7}, {"Zm9\0", 4},
    {"Zh", 2},        {"Zm9", 3},   {"Zm9vYm\xc3", 7}, {"....", 4},     {"=", 1},
};

START_TEST(base64url_is_strict)
{
    unsigned char *out = NULL;
    apr_size_t len = 99;
    acme_error_t err;

    acme_error_clear(&err);
    ck_assert_int_eq(acme_base64url_decode(&out, &len, foreign[_i].text, foreign[_i].len, pool,
                                           &err), ACME_FAIL);
    ck_assert_int_eq(err.kind, ACME_E_PROTOCOL);
    ck_assert_ptr_null(out);
    ck_assert_uint_eq(len, 99);
}
END_TEST

/* fb ff fe in each alphabet; want NULL: refused. */
static const struct {
    const char *text, *want;
    apr_size_t len;
} keys[] = {
    {"+//+", "\xfb\xff\xfe", 3}, {"-__-", "\xfb\xff\xfe", 3}, {"Zg==", "f", 1},
    {"Zg", "f", 1},              {"Zm8=", "fo", 2},          {"-_8=", "\xfb\xff", 2},
    {"+/8=", "\xfb\xff", 2},     {"+_8=", NULL, 0},          {"-/8", NULL, 0},
    {"Zg=", NULL, 0},            {"Zm8==", NULL, 0},         {"Zm9v=", NULL, 0},
    {"Zm9v====", NULL, 0},       {"=", NULL, 0},             {"==", NULL, 0},
    {"Z=g=", NULL, 0},           {"Zm 9v", NULL, 0},         {"Zm9v\n", NULL, 0},
};

START_TEST(account_binding_keys_come_in_each_alphabet)
{
    unsigned char *out = NULL;
    apr_size_t len = 0;
    acme_rv_t rv = acme_base64_decode_any(&out, &len, keys[_i].text, pool, NULL);

    ck_assert_int_eq(rv, keys[_i].want ? ACME_OK : ACME_FAIL);
    ck_assert_uint_eq(len, keys[_i].len);
    if (rv == ACME_OK) {
        ck_assert_mem_eq(out, keys[_i].want, len);
    }
}
END_TEST

START_TEST(a_refused_key_is_not_repeated)
{
    unsigned char *out;
    apr_size_t len;
    acme_error_t err;

    acme_error_clear(&err);
    acme_base64_decode_any(&out, &len, "c2VjcmV0!", pool, &err);
    ck_assert_ptr_null(strstr(err.text, "c2VjcmV0"));
}
END_TEST

START_TEST(hex_both_ways)
{
    unsigned char out[4] = {9, 9, 9, 9};

    ck_assert_str_eq(acme_hex_encode("\x00\x7f\x80\xff", 4, pool), "007f80ff");
    ck_assert_str_eq(acme_hex_encode("", 0, pool), "");
    ck_assert_int_eq(acme_hex_decode(out, 4, "DEADbeef", 8), ACME_OK);
    ck_assert_mem_eq(out, "\xde\xad\xbe\xef", 4);
    ck_assert_int_eq(acme_hex_decode(out, 0, "", 0), ACME_OK);
    ck_assert_int_eq(acme_hex_decode(out, 4, "deadbee", 7), ACME_FAIL);
    ck_assert_int_eq(acme_hex_decode(out, 4, "deadbeef0", 9), ACME_FAIL);
    ck_assert_int_eq(acme_hex_decode(out, 4, "deadbeeg", 8), ACME_FAIL);
    ck_assert_int_eq(acme_hex_decode(out, 4, "0xadbeef", 8), ACME_FAIL);
    ck_assert_int_eq(acme_hex_decode(out, 1, "\0\0", 2), ACME_FAIL);
}
END_TEST

static const struct {
    const char *text;
    int max;
    acme_rv_t rv;
    apr_int64_t want;
} numbers[] = {
    {"0", 1, ACME_OK, 0},
    {"007", 3, ACME_OK, 7},
    {"999999999999999999", 18, ACME_OK, APR_INT64_C(999999999999999999)},
    {"9999999999999999999", 18, ACME_FAIL, 0},
    {"9999999999999999999", 40, ACME_FAIL, 0},
    {"123", 2, ACME_FAIL, 0},
    {"", 3, ACME_FAIL, 0},
    {"-1", 3, ACME_FAIL, 0},
    {"+1", 3, ACME_FAIL, 0},
    {" 1", 3, ACME_FAIL, 0},
    {"1 ", 3, ACME_FAIL, 0},
    {"0x1", 3, ACME_FAIL, 0},
    {"1e3", 3, ACME_FAIL, 0},
    {"1.", 3, ACME_FAIL, 0},
};

START_TEST(numbers_are_digits_only)
{
    apr_int64_t n = -42;

    ck_assert_int_eq(acme_scan_number(&n, numbers[_i].text, strlen(numbers[_i].text),
                                      numbers[_i].max, NULL), numbers[_i].rv);
    ck_assert_int_eq(n, numbers[_i].rv == ACME_OK ? numbers[_i].want : -42);
}
END_TEST

START_TEST(a_number_may_stand_in_front_of_something)
{
    apr_size_t used = 99;
    apr_int64_t n = -42;

    ck_assert_int_eq(acme_scan_number(&n, "14d", 3, 4, &used), ACME_OK);
    ck_assert_int_eq(n, 14);
    ck_assert_uint_eq(used, 2);
    ck_assert_int_eq(acme_scan_number(&n, "14567", 2, 4, &used), ACME_OK);
    ck_assert_int_eq(n, 14);
    ck_assert_int_eq(acme_scan_number(&n, "12345d", 6, 4, &used), ACME_FAIL);
    ck_assert_int_eq(acme_scan_number(&n, "d14", 3, 4, &used), ACME_FAIL);
    ck_assert_int_eq(n, 14);
    ck_assert_uint_eq(used, 2);
}
END_TEST

START_TEST(letters_are_compared_as_ascii)
{
    int c;

    ck_assert_int_eq(acme_ascii_casecmp("Retry-After", "rETRY-aFTER"), 0);
    ck_assert_int_lt(acme_ascii_casecmp("a", "b"), 0);
    ck_assert_int_gt(acme_ascii_casecmp("ab", "a"), 0);
    ck_assert_int_lt(acme_ascii_casecmp("A", "ab"), 0);
    ck_assert_int_ne(acme_ascii_casecmp("\xc4", "\xe4"), 0);
    ck_assert_int_eq(acme_ascii_ncasecmp("HTTPS://a", "https://b", 8), 0);
    ck_assert_int_ne(acme_ascii_ncasecmp("HTTPS://a", "https://b", 9), 0);
    ck_assert_int_eq(acme_ascii_ncasecmp("x", "y", 0), 0);
    ck_assert_int_eq(acme_ascii_ncasecmp("a", "a", 99), 0);
    for (c = 0; c < 256; c++) {
        ck_assert_int_eq(acme_ascii_tolower(c), c >= 'A' && c <= 'Z' ? c | 0x20 : c);
    }
}
END_TEST

Suite *codec_suite(void)
{
    Suite *suite = suite_create("codec");
    TCase *tc = tcase_create("codec");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_loop_test(tc, base64url_gives_the_vectors, 0, COUNT(vectors));
    tcase_add_loop_test(tc, base64url_takes_the_vectors, 0, COUNT(vectors));
    tcase_add_loop_test(tc, base64url_is_strict, 0, COUNT(foreign));
    tcase_add_loop_test(tc, account_binding_keys_come_in_each_alphabet, 0, COUNT(keys));
    tcase_add_test(tc, a_refused_key_is_not_repeated);
    tcase_add_test(tc, hex_both_ways);
    tcase_add_loop_test(tc, numbers_are_digits_only, 0, COUNT(numbers));
    tcase_add_test(tc, a_number_may_stand_in_front_of_something);
    tcase_add_test(tc, letters_are_compared_as_ascii);
    suite_add_tcase(suite, tc);
    return suite;
}
