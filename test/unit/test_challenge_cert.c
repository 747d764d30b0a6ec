/* Licensed under the Apache License, Version 2.0; see LICENSE. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/wait.h>

#include <apr_general.h>
#include <apr_strings.h>
#include <check.h>
#include <openssl/err.h>
#include <openssl/x509.h>

#include "crypto/challenge_cert.h"
#include "command.h"

#define COUNT(table) ((int)(sizeof(table) / sizeof((table)[0])))
#define NOW apr_time_from_sec(1795530567) /* 2026-11-24T14:29:27Z */

/* With the thumbprint of RFC 7638 section 3.1. Its SHA-256, by sha256sum. */
#define KEY_AUTHORIZATION \
    "evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oA.NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"
#define DIGEST "653471D42925D7EB4CD39A39CDA8B34D3034C94CB90067AB78C8123560BA2E5F"
#define SNI "653471d42925d7eb4cd39a39cda8b34d.3034c94cb90067ab78c8123560ba2e5f.acme.invalid"

#define LABEL63 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define LONGEST /* 253 */ \
    LABEL63 "." LABEL63 "." LABEL63 ".aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.example.org"

Suite *challenge_cert_suite(void);

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

static acme_key_t *generate(acme_key_type_t type)
{
    acme_key_t *key = NULL;

    ck_assert_int_eq(acme_key_generate(&key, type, pool, NULL), ACME_OK);
    return key;
}

static const char *openssl(const char *const *args, const acme_chain_t *chain)
{
    const char *pem = acme_chain_to_pem(chain, pool);

    return command_openssl(args, pem, strlen(pem));
}

static const char *const show_text[] = { "x509", "-noout", "-text", "-nameopt",
                                         "sep_comma_plus,sname", NULL };
static const char *const show_asn1[] = { "asn1parse", NULL };

/* How often what stands in text. */
static int times(const char *text, const char *what)
{
    int n = 0;

    for (text = strstr(text, what); text; text = strstr(text + 1, what)) {
        n++;
    }
    return n;
}

static void says(const char *said, const char *what)
{
    ck_assert_msg(times(said, what) == 1, "not once \"%s\" in: %s", what, said);
}

/* Signed by its own key, and valid now for as long as a challenge may take. */
static void sound(const acme_chain_t *chain, const acme_key_t *key)
{
    const char *said = openssl(show_text, chain);
    acme_leaf_t leaf;

    says(said, "Version: 3 (0x2)");
    says(said, "Issuer: CN=mod_acmeclient challenge\n");
    says(said, "Subject: CN=mod_acmeclient challenge\n");
    says(said, "Not Before: Nov 24 13:29:27 2026 GMT");
    says(said, "Not After : Nov 25 14:29:27 2026 GMT");
    says(said, "X509v3 Subject Alternative Name: \n");
    says(said, "CA:FALSE\n");
    ck_assert_int_eq(acme_chain_count(chain), 1);
    ck_assert(acme_chain_matches_key(chain, key));
    ck_assert_int_eq(X509_verify(acme_chain_x509(chain, 0), acme_key_evp(key)), 1);
    ck_assert_int_eq(acme_chain_leaf(&leaf, chain, pool, NULL), ACME_OK);
    ck_assert(leaf.names->nelts == 1 && leaf.self_issued && !leaf.is_ca);
    ck_assert_int_eq(ERR_peek_error(), 0);
}

static const struct {
    const char *identifier;
    acme_key_type_t type;
    const char *san;
} alpn[] = {
    { "example.org", ACME_KEY_P256, "DNS:example.org\n" },
    { "example.org", ACME_KEY_RSA2048, "DNS:example.org\n" },
    { "Example.ORG", ACME_KEY_P384, "DNS:example.org\n" },
    { "xn--bcher-kva.example", ACME_KEY_P256, "DNS:xn--bcher-kva.example\n" },
    { LONGEST, ACME_KEY_P256, "DNS:" LONGEST "\n" },
    { "192.0.2.1", ACME_KEY_P256, "IP Address:192.0.2.1\n" },
    { "2001:db8::1", ACME_KEY_P256, "IP Address:2001:DB8:0:0:0:0:0:1\n" },
};

/* RFC 8737 section 3: one name, the identifier critical, and an OCTET STRING of 32 bytes in it. */
START_TEST(alpn_certificates)
{
    acme_key_t *key = generate(alpn[_i].type);
    acme_chain_t *chain = NULL;
    const char *said, *oid;

    ck_assert_int_eq(acme_challenge_cert_alpn(&chain, alpn[_i].identifier, KEY_AUTHORIZATION, key,
                                              NOW, pool, NULL), ACME_OK);
    sound(chain, key);
    said = openssl(show_text, chain);
    says(said, alpn[_i].san);
    says(said, "1.3.6.1.5.5.7.1.31: critical\n");
    oid = strstr(openssl(show_asn1, chain), ":1.3.6.1.5.5.7.1.31\n");
    ck_assert(oid != NULL);
    oid = strchr(oid, '\n') + 1;
    ck_assert_msg(strstr(oid, "BOOLEAN           :255\n") != NULL, "%s", oid);
    says(oid, "OCTET STRING      [HEX DUMP]:0420" DIGEST "\n");
}
END_TEST

START_TEST(sni_certificates)
{
    acme_key_t *key = generate(ACME_KEY_P256);
    acme_chain_t *chain = NULL;
    const char *said;

    ck_assert_int_eq(acme_challenge_cert_sni(&chain, SNI, key, NOW, pool, NULL), ACME_OK);
    sound(chain, key);
    said = openssl(show_text, chain);
    says(said, "DNS:" SNI "\n");
    ck_assert(strstr(said, "1.3.6.1.5.5.7.1.31") == NULL);
}
END_TEST

START_TEST(serial_numbers_differ)
{
    acme_key_t *key = generate(ACME_KEY_P256);
    acme_leaf_t a, b;
    acme_chain_t *chain;

    ck_assert_int_eq(acme_challenge_cert_sni(&chain, SNI, key, NOW, pool, NULL), ACME_OK);
    ck_assert_int_eq(acme_chain_leaf(&a, chain, pool, NULL), ACME_OK);
    ck_assert_int_eq(acme_challenge_cert_sni(&chain, SNI, key, NOW, pool, NULL), ACME_OK);
    ck_assert_int_eq(acme_chain_leaf(&b, chain, pool, NULL), ACME_OK);
    ck_assert_str_ne(a.serial, b.serial);
    ck_assert(strlen(a.serial) == 32 && a.serial[0] < '8');
}
END_TEST

static const char *const bad[] = {
    "",
    "*.example.org",
    "a_b.example.org",
    "example.org\n",
    "exam ple.org",
    "300.1.2.3",
    LONGEST ".a",
};

START_TEST(what_is_no_identifier)
{
    acme_key_t *key = generate(ACME_KEY_P256);
    acme_chain_t *chain = NULL;
    acme_error_t err;

    acme_error_clear(&err);
    ck_assert_int_eq(acme_challenge_cert_alpn(&chain, bad[_i], KEY_AUTHORIZATION, key, NOW, pool,
                                              &err), ACME_FAIL);
    ck_assert(chain == NULL && err.text[0]);
    ck_assert_int_eq(acme_challenge_cert_sni(&chain, bad[_i], key, NOW, pool, NULL), ACME_FAIL);
    ck_assert(chain == NULL);
}
END_TEST

Suite *challenge_cert_suite(void)
{
    Suite *suite = suite_create("challenge_cert");
    TCase *tc = tcase_create("challenge_cert");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 30);
    tcase_add_loop_test(tc, alpn_certificates, 0, COUNT(alpn));
    tcase_add_test(tc, sni_certificates);
    tcase_add_test(tc, serial_numbers_differ);
    tcase_add_loop_test(tc, what_is_no_identifier, 0, COUNT(bad));
    suite_add_tcase(suite, tc);
    return suite;
}
