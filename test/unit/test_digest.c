/* Licensed under the Apache License, Version 2.0; see LICENSE. */

#include <string.h>

#include <apr_general.h>
#include <check.h>

#include "crypto/digest.h"

#define COUNT(table) ((int)(sizeof(table) / sizeof((table)[0])))

Suite *digest_suite(void);

/* FIPS 180-4's examples; the others by sha256sum. */
static const struct {
    const char *text;
    apr_size_t len;
    const char *hex;
} known[] = {
    { "", 0, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" },
    { "abc", 3, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" },
    { "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", 56,
      "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1" },
    { "\0", 1, "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d" },
    { "a\0b", 3, "59b271ae1bbcb1d31d41929817f4b16fb439eb4f31520b5ad1d5ce98920a7138" },
};

START_TEST(known_digests)
{
    char hex[ACME_SHA256_HEX];

    ck_assert_str_eq(acme_sha256_hex(hex, known[_i].text, known[_i].len), known[_i].hex);
}
END_TEST

START_TEST(a_million_letters)
{
    static char text[1000000];
    char hex[ACME_SHA256_HEX];

    memset(text, 'a', sizeof(text));
    ck_assert_str_eq(acme_sha256_hex(hex, text, sizeof(text)),
                     "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}
END_TEST

START_TEST(bytes_and_hex_agree)
{
    static const unsigned char abc[] = { 0xba, 0x78, 0x16, 0xbf };
    unsigned char digest[ACME_SHA256_LEN];

    acme_sha256(digest, "abc", 3);
    ck_assert_int_eq(memcmp(digest, abc, sizeof(abc)), 0);
    ck_assert_int_eq(digest[31], 0xad);
}
END_TEST

START_TEST(no_data_at_all)
{
    char hex[ACME_SHA256_HEX];

    ck_assert_str_eq(acme_sha256_hex(hex, NULL, 0), known[0].hex);
}
END_TEST

START_TEST(comparing)
{
    char a[ACME_SHA256_LEN] = { 0 }, b[ACME_SHA256_LEN] = { 0 };
    int i;

    ck_assert(acme_digest_equal(a, b, sizeof(a)));
    ck_assert(acme_digest_equal(a, b, 0));
    for (i = 0; i < ACME_SHA256_LEN; i++) {
        b[i] = 1;
        ck_assert(!acme_digest_equal(a, b, sizeof(a)));
        ck_assert(acme_digest_equal(a, b, (apr_size_t)i));
        b[i] = 0;
    }
}
END_TEST

START_TEST(cleansing)
{
    char text[] = "secret, and more";

    acme_cleanse(text, 6);
    ck_assert_int_eq(memcmp(text, "\0\0\0\0\0\0, and more", sizeof(text)), 0);
}
END_TEST

Suite *digest_suite(void)
{
    Suite *suite = suite_create("digest");
    TCase *tc = tcase_create("digest");

    tcase_add_loop_test(tc, known_digests, 0, COUNT(known));
    tcase_add_test(tc, a_million_letters);
    tcase_add_test(tc, bytes_and_hex_agree);
    tcase_add_test(tc, no_data_at_all);
    tcase_add_test(tc, comparing);
    tcase_add_test(tc, cleansing);
    suite_add_tcase(suite, tc);
    return suite;
}
