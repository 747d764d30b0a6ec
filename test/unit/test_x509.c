/* Licensed under the Apache License, Version 2.0; see LICENSE. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/wait.h>

#include <apr_general.h>
#include <apr_strings.h>
#include <check.h>
#include <openssl/bn.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include "base/codec.h"
#include "base/name.h"
#include "crypto/digest.h"
#include "crypto/x509.h"
#include "command.h"

#define COUNT(table) ((int)(sizeof(table) / sizeof((table)[0])))
#define NOW_SEC 1795530567 /* 2026-11-24T14:29:27Z */
#define NOW apr_time_from_sec(NOW_SEC)
#define HOUR 3600
#define DAY (24 * HOUR)

Suite *x509_suite(void);

static apr_pool_t *pool;

/* openssl req, openssl x509 -req: leaf and CA. */
static const char two[] =
    "-----BEGIN CERTIFICATE-----\n"
    "MIICTTCCAfSgAwIBAgIRAKGyw9Tl9gcYKTpLXG1+j5AwCgYIKoZIzj0EAwIwOjEL\n"
    "MAkGA1UEBhMCREUxFDASBgNVBAoMC1Byw7xmLCBHbWJIMRUwEwYDVQQDDAxUZXN0\n"
    "IENBIMOEw5YwHhcNMjYxMTI0MjE1NTE0WhcNMjcwMjIyMjE1NTE0WjAWMRQwEgYD\n"
    "VQQDDAtleGFtcGxlLm9yZzB2MBAGByqGSM49AgEGBSuBBAAiA2IABHMAAF2GINY1\n"
    "kxd0vww4OLcEi1fB1ALhS2SK4nkVKvZqkLR9r5Jvl3D2sgez75qbAbdy+aNB1O1c\n"
    "HbSDW8tUo8d0/OHeDgF/xcvHlPHzssPKPVoIJ/b7LyjvqhnaWMsq9aOB4TCB3jBM\n"
    "BgNVHREERTBDggtFeGFtcGxlLm9yZ4INKi5leGFtcGxlLm9yZ4cEwAACAYcQIAEN\n"
    "uAAAAAAAAAAAAAAAAYENYUBleGFtcGxlLm9yZzAdBgNVHSUEFjAUBggrBgEFBQcD\n"
    "AQYIKwYBBQUHAwIwDgYDVR0PAQH/BAQDAgeAMAwGA1UdEwEB/wQCMAAwEQYIKwYB\n"
    "BQUHARgEBTADAgEFMB0GA1UdDgQWBBT4UrEj7Z+S3v+HRl6pqyO+KMPS2TAfBgNV\n"
    "HSMEGDAWgBS3DNQ/G6JfDs0BYU1EXXXWkfH//TAKBggqhkjOPQQDAgNHADBEAiB9\n"
    "pNUSP8T8u1ZpjC0oFgM/OHQUR6gDwKjUsyTGPW4YzQIgcjUKCAsYw39UXyY5mtur\n"
    "kH2TIYrgaZC1SSDypniPrGU=\n"
    "-----END CERTIFICATE-----\n"
    "-----BEGIN CERTIFICATE-----\n"
    "MIIBpTCCAUugAwIBAgIBATAKBggqhkjOPQQDAjA6MQswCQYDVQQGEwJERTEUMBIG\n"
    "A1UECgwLUHLDvGYsIEdtYkgxFTATBgNVBAMMDFRlc3QgQ0Egw4TDljAeFw0yNjEx\n"
    "MjQyMTU1MTRaFw0zNjExMjEyMTU1MTRaMDoxCzAJBgNVBAYTAkRFMRQwEgYDVQQK\n"
    "DAtQcsO8ZiwgR21iSDEVMBMGA1UEAwwMVGVzdCBDQSDDhMOWMFkwEwYHKoZIzj0C\n"
    "AQYIKoZIzj0DAQcDQgAEe0UtFH2psOPHG/90KnxjV5ishIjafsslFb5OZqQg9J7K\n"
    "JIsY99NiYzSlPIwkbJhrE6L4lSttHPXSzqiX6BlDNaNCMEAwDwYDVR0TAQH/BAUw\n"
    "AwEB/zAOBgNVHQ8BAf8EBAMCAgQwHQYDVR0OBBYEFLcM1D8bol8OzQFhTURdddaR\n"
    "8f/9MAoGCCqGSM49BAMCA0gAMEUCIQCJxaS2uLOW1NxpK5a7hWPXoe1xfTJ8eTb/\n"
    "kb4xRbW+WgIgfBD7Z+khuSwdQ3KIgkMZn4NeOp22fkFFpq8/0V/upq0=\n"
    "-----END CERTIFICATE-----\n";

static const char leaf_sha256[] =
    "ab7c724880bbdfbd64b2e0147f01944d4841541e63c898ed791dcb39f15d36de";
static const char ca_sha256[] =
    "d88b708b652f68b09701328baa53cde25c2c401f2c46f4b16a5910e7f3aef6ae";

/* ---- helpers ---- */

/* "a b": their array. */
static apr_array_header_t *names_of(const char *text)
{
    apr_array_header_t *names = apr_array_make(pool, 4, sizeof(const char *));

    while (*text) {
        apr_size_t len = strcspn(text, " ");

        APR_ARRAY_PUSH(names, const char *) = apr_pstrmemdup(pool, text, len);
        text += len + (text[len] == ' ');
    }
    return names;
}

static const char *joined(const apr_array_header_t *names)
{
    return apr_array_pstrcat(pool, names, ' ');
}

static acme_chain_t *chain_of(const char *pem)
{
    acme_chain_t *chain = NULL;
    acme_error_t err;

    acme_error_clear(&err);
    ck_assert_msg(acme_chain_from_pem(&chain, pem, strlen(pem), pool, &err) == ACME_OK, "%s",
                  err.text);
    return chain;
}

static void says(const char *said, const char *what)
{
    ck_assert_msg(strstr(said, what) != NULL, "no \"%s\" in: %s", what, said);
}

/* ---- a CA to make all kinds of certificates ---- */

enum { KEY_LEAF, KEY_OTHER, KEY_INTER1, KEY_INTER2, KEY_ROOT, KEYS };

static acme_key_t *keys[KEYS];
static EVP_PKEY *weak_rsa;

/* Made for those who ask: it takes its time. */
static EVP_PKEY *weak(void)
{
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_id(EVP_PKEY_RSA, NULL);

    if (!weak_rsa) {
        ck_assert(EVP_PKEY_keygen_init(ctx) == 1
                  && EVP_PKEY_CTX_set_rsa_keygen_bits(ctx, 1024) == 1
                  && EVP_PKEY_keygen(ctx, &weak_rsa) == 1);
    }
    EVP_PKEY_CTX_free(ctx);
    return weak_rsa;
}

/* Members that are not set are those of a usual leaf; "" leaves an extension out. */
typedef struct {
    const char *subject, *issuer;
    const char *san, *basic, *usage, *extended, *feature;
    EVP_PKEY *key, *signer;
    long from, until; /* seconds from NOW */
    const EVP_MD *md;
    const char *serial; /* hex */
} mint_t;

static void mint_extension(X509 *x509, int nid, const char *text, const char *usual)
{
    X509_EXTENSION *extension;

    if (!text) {
        text = usual;
    }
    if (*text) {
        extension = X509V3_EXT_conf_nid(NULL, NULL, nid, (char *)text);
        ck_assert_msg(extension && X509_add_ext(x509, extension, -1) == 1, "%s", text);
        X509_EXTENSION_free(extension);
    }
}

static void mint_name(X509_NAME *name, const char *text)
{
    if (*text) {
        ck_assert_int_eq(X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8,
                                                    (const unsigned char *)text, -1, -1, 0), 1);
    }
}

static X509 *mint(const mint_t *what)
{
    X509 *x509 = X509_new();
    BIGNUM *serial = NULL;
    int is_ca = what->basic && strstr(what->basic, "TRUE");

    ck_assert(X509_set_version(x509, 2) && BN_hex2bn(&serial, what->serial ? what->serial : "0123")
              && BN_to_ASN1_INTEGER(serial, X509_get_serialNumber(x509)));
    BN_free(serial);
    mint_name(X509_get_subject_name(x509), what->subject ? what->subject : "leaf");
    mint_name(X509_get_issuer_name(x509), what->issuer ? what->issuer : "Inter 1");
    ck_assert(ASN1_TIME_set(X509_getm_notBefore(x509),
                            NOW_SEC + (what->from ? what->from : -HOUR))
              && ASN1_TIME_set(X509_getm_notAfter(x509),
                               NOW_SEC + (what->until ? what->until : 90L * DAY))
              && X509_set_pubkey(x509, what->key ? what->key : acme_key_evp(keys[KEY_LEAF])));
    mint_extension(x509, NID_subject_alt_name, what->san,
                   is_ca ? "" : "DNS:example.org,DNS:www.example.org");
    mint_extension(x509, NID_basic_constraints, what->basic, "critical,CA:FALSE");
    mint_extension(x509, NID_key_usage, what->usage,
                   is_ca ? "critical,keyCertSign" : "critical,digitalSignature");
    mint_extension(x509, NID_ext_key_usage, what->extended, is_ca ? "" : "serverAuth");
    mint_extension(x509, NID_tlsfeature, what->feature, "");
    ck_assert_int_gt(X509_sign(x509, what->signer ? what->signer
                                                  : (EVP_PKEY *)acme_key_evp(keys[KEY_INTER1]),
                               what->md ? what->md : EVP_sha256()), 0);
    return x509;
}

/* Letters: 1, 2 intermediates, R root, X stranger, F as 1 by name only, N no CA by its own words,
 * W as 1 with an RSA key of 1024 bits, H as 1 signed with SHA-1. */
static X509 *mint_issuer(char letter)
{
    mint_t what = { .subject = "Inter 1", .issuer = "Inter 2", .basic = "critical,CA:TRUE",
                    .key = acme_key_evp(keys[KEY_INTER1]),
                    .signer = acme_key_evp(keys[KEY_INTER2]) };

    switch (letter) {
    case '2':
        what.subject = "Inter 2";
        what.issuer = "Root";
        what.key = acme_key_evp(keys[KEY_INTER2]);
        what.signer = acme_key_evp(keys[KEY_ROOT]);
        break;
    case 'R':
        what.subject = what.issuer = "Root";
        what.key = what.signer = acme_key_evp(keys[KEY_ROOT]);
        break;
    case 'X':
        what.subject = what.issuer = "Stranger";
        what.key = what.signer = acme_key_evp(keys[KEY_OTHER]);
        break;
    case 'F':
        what.key = acme_key_evp(keys[KEY_OTHER]);
        break;
    case 'N':
        what.basic = "critical,CA:FALSE";
        what.usage = "digitalSignature";
        break;
    case 'W':
        what.key = weak();
        break;
    case 'H':
        what.md = EVP_sha1();
        break;
    default:
        ck_assert_int_eq(letter, '1');
    }
    return mint(&what);
}

static const char *pem_of(X509 *x509)
{
    unsigned char *der = NULL;
    const unsigned char *bytes;
    int len = i2d_X509(x509, &der);
    acme_chain_t *chain;
    apr_size_t size = (apr_size_t)len;

    ck_assert_int_gt(len, 0);
    bytes = der;
    ck_assert_int_eq(acme_chain_from_der(&chain, &bytes, &size, 1, pool, NULL), ACME_OK);
    OPENSSL_free(der);
    X509_free(x509);
    return acme_chain_to_pem(chain, pool);
}

/* L is the leaf. */
static const char *pem_chain(const mint_t *leaf, const char *letters)
{
    const char *pem = "", *leaf_pem = pem_of(mint(leaf));

    for (; *letters; letters++) {
        pem = apr_pstrcat(pool, pem, *letters == 'L' ? leaf_pem : pem_of(mint_issuer(*letters)),
                          NULL);
    }
    return pem;
}

static void setup(void)
{
    int i;

    apr_initialize();
    apr_pool_create(&pool, NULL);
    for (i = 0; i < KEYS; i++) {
        ck_assert_int_eq(acme_key_generate(&keys[i], ACME_KEY_P256, pool, NULL), ACME_OK);
    }
}

static void teardown(void)
{
    EVP_PKEY_free(weak_rsa);
    weak_rsa = NULL;
    apr_pool_destroy(pool);
}

/* ---- PEM ---- */

/* pem in the place of the @, if there is one. */
static const char *filled(const char *text, const char *pem)
{
    apr_size_t len = strcspn(text, "@");

    return text[len] ? apr_pstrcat(pool, apr_pstrmemdup(pool, text, len), pem, text + len + 1, NULL)
                     : text;
}

static const char *const sound[] = {
    "@",
    "\n\n@\n\n",
    "Subject: CN=example.org\nIssuer: whoever\n@",
    "@\nthat was it",
    "-- BEGIN --\n@",
    "-----begin certificate-----\n@",
};

START_TEST(sound_pem)
{
    const char *clean = acme_chain_to_pem(chain_of(two), pool);
    const char *text = filled(sound[_i], two);
    acme_chain_t *chain = chain_of(text);

    ck_assert_int_eq(acme_chain_count(chain), 2);
    ck_assert_str_eq(acme_chain_to_pem(chain, pool), clean);
    ck_assert_int_eq(ERR_peek_error(), 0);
}
END_TEST

START_TEST(pem_is_what_openssl_writes)
{
    ck_assert_str_eq(acme_chain_to_pem(chain_of(two), pool), two);
}
END_TEST

/* Every newline of text replaced. */
static const char *with_ends(const char *text, const char *newline)
{
    const char *out = "";

    while (*text) {
        apr_size_t len = strcspn(text, "\n");

        out = apr_pstrcat(pool, out, apr_pstrmemdup(pool, text, len), text[len] ? newline : "",
                          NULL);
        text += len + (text[len] != '\0');
    }
    return out;
}

static const char *const ends[] = { "\r\n", " \n", "\t \r\n", "\n\n" };

START_TEST(line_ends)
{
    ck_assert_str_eq(acme_chain_to_pem(chain_of(with_ends(two, ends[_i])), pool), two);
}
END_TEST

START_TEST(no_final_newline)
{
    const char *text = apr_pstrmemdup(pool, two, strlen(two) - 1);

    ck_assert_str_eq(acme_chain_to_pem(chain_of(text), pool), two);
}
END_TEST

#define BEGIN "-----BEGIN CERTIFICATE-----\n"
#define END "-----END CERTIFICATE-----\n"

/* @: two sound certificates; in front of or behind them, or alone. */
static const struct {
    const char *text, *code;
} unsound[] = {
    { "", "AC0501" },
    { "no certificate here", "AC0501" },
    { "@-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "AC0901" },
    { "-----BEGIN RSA PRIVATE KEY-----\nAAAA\n-----END RSA PRIVATE KEY-----\n@", "AC0901" },
    { "-----BEGIN ENCRYPTED PRIVATE KEY-----\n@", "AC0901" },
    { "@-----BEGIN EC PRIVATE KEY", "AC0901" },
    { "@-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n",
      "AC0501" },
    { "-----BEGIN X509 CERTIFICATE-----\n@", "AC0501" },
    { "-----BEGIN TRUSTED CERTIFICATE-----\n@", "AC0501" },
    { "-----BEGIN X509 CRL-----\n@", "AC0501" },
    { "-----BEGIN CERTIFICATE----\n@", "AC0501" },
    { "-----BEGIN\n@", "AC0501" },
    { "@-----BEGIN", "AC0501" },
    { "@-----BEGIN CERTIFICATE-----", "AC0501" },
    { "@" BEGIN, "AC0501" },
    { "@" BEGIN "AAAA\n", "AC0501" },
    { "@" END, "AC0501" },
    { END "@", "AC0501" },
    { "text @", "AC0501" },
    { "@text " BEGIN "AAAA\n" END, "AC0501" },
    { BEGIN "@" END, "AC0501" },
    { BEGIN END "@", "AC0501" },
    { BEGIN "\n" END "@", "AC0501" },
    { "@" BEGIN "====\n" END, "AC0501" },
    { "@" BEGIN "AAA\n" END, "AC0501" },
    { "@" BEGIN "A===\n" END, "AC0501" },
    { "@" BEGIN "AA==\nAAAA\n" END, "AC0501" },
    { "@" BEGIN "AA-_\n" END, "AC0501" },
    { "@" BEGIN "Proc-Type: 4,ENCRYPTED\n\nAAAA\n" END, "AC0501" },
    { "@" BEGIN "AAAA\n-----END CERTIFICATE REQUEST-----\n", "AC0501" },
    { "@" BEGIN "AAAA\n" END, "AC0532" },
    { "@" BEGIN "MAA=\n" END, "AC0532" },
};

START_TEST(unsound_pem)
{
    const char *text = filled(unsound[_i].text, two);
    acme_chain_t *chain = NULL;
    acme_error_t err;

    acme_error_clear(&err);
    ck_assert_int_eq(acme_chain_from_pem(&chain, text, strlen(text), pool, &err), ACME_FAIL);
    ck_assert(chain == NULL);
    ck_assert_str_eq(err.code, unsound[_i].code);
    ck_assert_int_eq(err.kind, strcmp(err.code, "AC0901") == 0 ? ACME_E_SECURITY
                                                              : ACME_E_CERTIFICATE);
    ck_assert_int_eq(ERR_peek_error(), 0);
}
END_TEST

START_TEST(pem_with_nul)
{
    char *text = apr_pstrcat(pool, two, "x", NULL);
    apr_size_t len = strlen(text);
    acme_chain_t *chain;

    ck_assert_int_eq(acme_chain_from_pem(&chain, text, len, pool, NULL), ACME_OK);
    text[len - 1] = '\0';
    ck_assert_int_eq(acme_chain_from_pem(&chain, text, len, pool, NULL), ACME_FAIL);
}
END_TEST

/* Cut anywhere: the first certificate alone, or nothing. */
START_TEST(truncated_pem)
{
    apr_size_t len, first = (apr_size_t)(strstr(two, END) - two) + strlen(END) - 1;
    apr_size_t second = strlen(two) - 1, into = first + 1 + strlen("-----BEGIN") - 1;
    acme_chain_t *chain;

    for (len = 0; len <= strlen(two); len++) {
        int whole = len >= second ? 2 : len >= first && len <= into ? 1 : 0;

        ck_assert_int_eq(acme_chain_from_pem(&chain, two, len, pool, NULL),
                         whole ? ACME_OK : ACME_FAIL);
        if (whole) {
            ck_assert_int_eq(acme_chain_count(chain), whole);
        }
    }
}
END_TEST

START_TEST(caps)
{
    const char *first = apr_pstrmemdup(pool, two, (apr_size_t)(strstr(two, END) - two)
                                       + strlen(END));
    acme_chain_t *chain;
    acme_error_t err;
    char *text;
    int i;

    for (text = apr_pstrdup(pool, ""), i = 0; i < ACME_CHAIN_MAX_CERTS; i++) {
        text = apr_pstrcat(pool, text, first, NULL);
    }
    ck_assert_int_eq(acme_chain_count(chain_of(text)), ACME_CHAIN_MAX_CERTS);
    text = apr_pstrcat(pool, text, first, NULL);
    acme_error_clear(&err);
    ck_assert_int_eq(acme_chain_from_pem(&chain, text, strlen(text), pool, &err), ACME_FAIL);
    ck_assert_str_eq(err.code, "AC0530");
    text = apr_palloc(pool, ACME_CHAIN_MAX_BYTES + 1);
    memset(text, '\n', ACME_CHAIN_MAX_BYTES + 1);
    memcpy(text, first, strlen(first));
    ck_assert_int_eq(acme_chain_from_pem(&chain, text, ACME_CHAIN_MAX_BYTES, pool, NULL), ACME_OK);
    ck_assert_int_eq(acme_chain_from_pem(&chain, text, ACME_CHAIN_MAX_BYTES + 1, pool, NULL),
                     ACME_FAIL);
}
END_TEST

/* ---- DER ---- */

START_TEST(der_comes_and_goes)
{
    const unsigned char *der[ACME_CHAIN_MAX_CERTS + 1];
    apr_size_t len[ACME_CHAIN_MAX_CERTS + 1];
    acme_chain_t *chain = chain_of(two), *again = NULL;
    char hex[ACME_SHA256_HEX];
    int i;

    acme_chain_der(&der[0], &len[0], chain, 0);
    acme_chain_der(&der[1], &len[1], chain, 1);
    ck_assert_str_eq(acme_sha256_hex(hex, der[0], len[0]), leaf_sha256);
    ck_assert_str_eq(acme_sha256_hex(hex, der[1], len[1]), ca_sha256);
    ck_assert_int_eq(acme_chain_from_der(&again, der, len, 2, pool, NULL), ACME_OK);
    ck_assert_str_eq(acme_chain_to_pem(again, pool), two);
    ck_assert(acme_chain_x509(again, 1) != NULL
              && X509_cmp(acme_chain_x509(again, 1), acme_chain_x509(chain, 1)) == 0);
    for (i = 2; i < COUNT(der); i++) {
        der[i] = der[0];
        len[i] = len[0];
    }
    again = NULL;
    ck_assert_int_eq(acme_chain_from_der(&again, der, len, COUNT(der), pool, NULL), ACME_FAIL);
    ck_assert_int_eq(acme_chain_from_der(&again, der, len, 0, pool, NULL), ACME_FAIL);
    ck_assert(again == NULL);
    ck_assert_int_eq(acme_chain_from_der(&again, der, len, COUNT(der) - 1, pool, NULL), ACME_OK);
}
END_TEST

START_TEST(damaged_der)
{
    const unsigned char *der;
    acme_chain_t *chain;
    unsigned char *copy;
    const unsigned char *bytes;
    acme_leaf_t leaf;
    apr_size_t len, i;
    acme_error_t err;

    acme_chain_der(&der, &len, chain_of(two), 0);
    for (i = 0; i < len; i++) {
        ck_assert_int_eq(acme_chain_from_der(&chain, &der, &i, 1, pool, NULL), ACME_FAIL);
    }
    copy = apr_pcalloc(pool, len + 1);
    memcpy(copy, der, len);
    bytes = copy;
    i = len + 1;
    acme_error_clear(&err);
    ck_assert_int_eq(acme_chain_from_der(&chain, &bytes, &i, 1, pool, &err), ACME_FAIL);
    ck_assert_str_eq(err.code, "AC0532");
    /* What can still be parsed must be safe to look at, and is another certificate. */
    for (i = 0; i < len * 8; i++) {
        copy[i / 8] ^= (unsigned char)(1u << i % 8);
        if (acme_chain_from_der(&chain, &bytes, &len, 1, pool, NULL) == ACME_OK
            && acme_chain_leaf(&leaf, chain, pool, NULL) == ACME_OK) {
            ck_assert_str_ne(leaf.fingerprint, leaf_sha256);
        }
        copy[i / 8] ^= (unsigned char)(1u << i % 8);
    }
    ck_assert_int_eq(ERR_peek_error(), 0);
}
END_TEST

/* ---- facts ---- */

START_TEST(facts_are_those_of_openssl)
{
    acme_chain_t *chain = chain_of(two);
    acme_leaf_t leaf;

    ck_assert_int_eq(acme_chain_leaf(&leaf, chain, pool, NULL), ACME_OK);
    ck_assert_str_eq(leaf.serial, "a1b2c3d4e5f60718293a4b5c6d7e8f90");
    ck_assert_str_eq(leaf.issuer, "CN=Test CA \\C3\\84\\C3\\96,O=Pr\\C3\\BCf\\, GmbH,C=DE");
    ck_assert_str_eq(leaf.issuer_cn, "Test CA \xc3\x84\xc3\x96");
    ck_assert(leaf.not_before == apr_time_from_sec(1795557314));
    ck_assert(leaf.not_after == apr_time_from_sec(1803333314));
    ck_assert_str_eq(joined(leaf.names), "example.org *.example.org 192.0.2.1 2001:db8::1");
    ck_assert_str_eq(leaf.key_digest,
                     "b9a477ffe8d9bf35119cec9295dcd923530d061fe483692ff0b663242d975aa7");
    ck_assert(leaf.key_type_known && leaf.key_type == ACME_KEY_P384);
    ck_assert(!leaf.is_ca && !leaf.self_issued && leaf.must_staple);
    ck_assert_str_eq(leaf.fingerprint, leaf_sha256);
}
END_TEST

START_TEST(facts_of_a_ca)
{
    acme_leaf_t leaf;

    ck_assert_int_eq(acme_chain_leaf(&leaf, chain_of(strstr(two, END) + strlen(END)), pool, NULL),
                     ACME_OK);
    ck_assert_str_eq(leaf.serial, "01");
    ck_assert_int_eq(leaf.names->nelts, 0);
    ck_assert(leaf.key_type_known && leaf.key_type == ACME_KEY_P256);
    ck_assert(leaf.is_ca && leaf.self_issued && !leaf.must_staple);
    ck_assert_str_eq(leaf.fingerprint, ca_sha256);
}
END_TEST

static acme_rv_t facts(acme_leaf_t *leaf, const mint_t *what)
{
    return acme_chain_leaf(leaf, chain_of(pem_of(mint(what))), pool, NULL);
}

static const struct {
    const char *hex, *serial;
} serials[] = {
    { "0", "00" },
    { "1", "01" },
    { "80", "80" },
    { "-1", "-01" },
    { "00FFFF", "ffff" },
    { "7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF", "7fffffffffffffffffffffffffffffffffffffff" },
};

START_TEST(serial_numbers)
{
    mint_t what = { .serial = serials[_i].hex };
    acme_leaf_t leaf;

    ck_assert_int_eq(facts(&leaf, &what), ACME_OK);
    ck_assert_str_eq(leaf.serial, serials[_i].serial);
}
END_TEST

/* A name is canonical, or it is marked. */
static const struct {
    const char *san, *names;
} sans[] = {
    { "DNS:EXAMPLE.org", "example.org" },
    { "DNS:example.org,DNS:example.org", "example.org example.org" },
    { "DNS:*.example.org", "*.example.org" },
    { "IP:192.0.2.1,IP:2001:0DB8:0:0:0:0:0:1", "192.0.2.1 2001:db8::1" },
    { "DNS:example.org.", "DNS:example.org." },
    { "DNS:a_b.example.org", "DNS:a_b.example.org" },
    { "DNS:192.0.2.1", "DNS:192.0.2.1" },
    { "DNS:*.*.example.org", "DNS:*.*.example.org" },
    { "DNS:example.org ,DNS: x.org", "example.org x.org" },
    { "DER:300d820b6578616d706c652e6f7267", "example.org" },
    { "DER:300f820d6578616d706c652e6f72670078", "DNS:example.org?x" },
    { "DER:300e820c6578616d706c652e6f726700", "DNS:example.org?" },
    { "DER:30028200", "DNS:" },
    { "DER:30058703c00002", "IP:c00002" },
    { "DER:30078705c000020101", "IP:c000020101" },
    { "DER:30028700", "IP:" },
    { "email:a@example.org,URI:https://example.org/,RID:1.2.3", "" },
    { "", "" },
};

START_TEST(names_of_all_kinds)
{
    mint_t what = { .san = sans[_i].san };
    acme_leaf_t leaf;

    ck_assert_int_eq(facts(&leaf, &what), ACME_OK);
    ck_assert_str_eq(joined(leaf.names), sans[_i].names);
}
END_TEST

/* Features are a sequence of numbers; 5 is the one that matters. */
static const struct {
    const char *feature;
    int must_staple;
} features[] = {
    { "", 0 },
    { "status_request", 1 },
    { "status_request_v2", 0 },
    { "status_request_v2,status_request", 1 },
    { "DER:30030201ff", 0 },
    { "DER:0500", 0 },
};

START_TEST(stapling_wanted)
{
    mint_t what = { .feature = features[_i].feature };
    acme_leaf_t leaf;

    ck_assert_int_eq(facts(&leaf, &what), ACME_OK);
    ck_assert_int_eq(leaf.must_staple, features[_i].must_staple);
}
END_TEST

START_TEST(malformed_names_are_no_facts)
{
    mint_t what = { .san = "DER:0500" };
    acme_leaf_t leaf;

    ck_assert_int_eq(facts(&leaf, &what), ACME_FAIL);
}
END_TEST

START_TEST(nameless_issuer)
{
    mint_t what = { .issuer = "" };
    acme_leaf_t leaf;

    ck_assert_int_eq(facts(&leaf, &what), ACME_OK);
    ck_assert_str_eq(leaf.issuer, "");
    ck_assert_str_eq(leaf.issuer_cn, "");
    what.issuer = "line\nfeed \x1b[2J";
    ck_assert_int_eq(facts(&leaf, &what), ACME_OK);
    ck_assert_str_eq(leaf.issuer_cn, "line?feed ?[2J");
    ck_assert_str_eq(leaf.issuer, "CN=line\\0Afeed \\1B[2J");
}
END_TEST

START_TEST(keys_and_certificates)
{
    mint_t what = { .subject = "x" };
    acme_chain_t *chain = chain_of(pem_of(mint(&what)));

    ck_assert(acme_chain_matches_key(chain, keys[KEY_LEAF]));
    ck_assert(!acme_chain_matches_key(chain, keys[KEY_OTHER]));
    ck_assert_int_eq(ERR_peek_error(), 0);
}
END_TEST

START_TEST(key_digests_agree)
{
    mint_t what = { .subject = "x" };
    acme_leaf_t leaf;

    ck_assert_int_eq(facts(&leaf, &what), ACME_OK);
    ck_assert_str_eq(leaf.key_digest, acme_key_digest(keys[KEY_LEAF], pool));
}
END_TEST

/* ---- the check ---- */

#define ASKED "example.org www.example.org"

static acme_rv_t check_chain(acme_chain_t **out, int *dropped, const char *pem, const char *names,
                             acme_error_t *err)
{
    acme_chain_want_t want;

    memset(&want, 0, sizeof(want));
    want.names = names_of(names);
    want.key = keys[KEY_LEAF];
    want.key_type = ACME_KEY_P256;
    want.now = NOW;
    *out = NULL;
    acme_error_clear(err);
    return acme_chain_check(out, dropped, chain_of(pem), &want, pool, err);
}

/* Orders of what came, and what is to be used of it. */
static const struct {
    const char *came, *used;
} orders[] = {
    { "L", "L" },
    { "L1", "L1" },
    { "L12", "L12" },
    { "L12R", "L12R" },
    { "L21", "L1" },
    { "L2", "L" },
    { "LR12", "L12" },
    { "LX", "L" },
    { "LX12", "L12" },
    { "L1X2", "L12" },
    { "L12X", "L12" },
    { "L1R", "L1" },
    { "LF", "L" },
    { "LF12", "L12" },
    { "LN", "L" },
    { "LL1", "L1" },
    { "L1L2", "L12" },
    { "L112", "L12" },
    { "L12RR", "L12R" },
    { "L12RX", "L12R" },
};

START_TEST(order_of_the_chain)
{
    mint_t usual = { .subject = NULL };
    const char *pem = pem_chain(&usual, orders[_i].came), *text = "";
    acme_chain_t *chain, *came = chain_of(pem);
    acme_error_t err;
    int dropped = -1, i, j = 0;

    ck_assert_msg(check_chain(&chain, &dropped, pem, ASKED, &err) == ACME_OK, "%s", err.text);
    ck_assert_int_eq(acme_chain_count(chain), (int)strlen(orders[_i].used));
    ck_assert_int_eq(dropped, (int)(strlen(orders[_i].came) - strlen(orders[_i].used)));
    for (i = 0; i < acme_chain_count(came) && j < acme_chain_count(chain); i++) {
        if (X509_cmp(acme_chain_x509(came, i), acme_chain_x509(chain, j)) == 0) {
            text = apr_psprintf(pool, "%s%c", text, orders[_i].came[i]);
            j++;
        }
    }
    ck_assert_str_eq(text, orders[_i].used);
    ck_assert_int_eq(ERR_peek_error(), 0);
}
END_TEST

#define YEARS (365L * DAY)

/* Each rule broken once, and what just keeps it. code "": accepted. */
static const struct {
    mint_t leaf;
    const char *came, *names, *code, *text;
} rules[] = {
    { { .subject = "x" }, "L1", ASKED, "", "" },
    /* whose key */
    { { .subject = "x" }, "1L", ASKED, "AC0502", "a later one is" },
    { { .subject = "x" }, "X", ASKED, "AC0502", "another key" },
    /* names */
    { { .subject = "x" }, "L1", "www.example.org example.org", "", "" },
    { { .subject = "x" }, "L1", "example.org", "AC0503", "too many: www.example.org" },
    { { .subject = "x" }, "L1", ASKED " a.org b.org", "AC0503", "missing: a.org, b.org" },
    { { .subject = "x" }, "L1", "example.org a.org", "AC0503", "missing: a.org; too many: www." },
    { { .san = "DNS:*.example.org" }, "L1", ASKED, "AC0503", "missing: example.org" },
    { { .san = "DNS:*.example.org" }, "L1", "*.example.org", "", "" },
    { { .san = "DNS:Example.ORG" }, "L1", "example.org", "", "" },
    { { .san = "DNS:example.org." }, "L1", "example.org", "AC0503", "too many: DNS:example.org." },
    { { .san = "DNS:example.org,DNS:example.org" }, "L1", "example.org", "", "" },
    { { .san = "DNS:example.org,IP:192.0.2.1" }, "L1", "example.org", "AC0503", "192.0.2.1" },
    { { .san = "IP:192.0.2.1" }, "L1", "192.0.2.1", "", "" },
    { { .san = "IP:192.0.2.2" }, "L1", "192.0.2.1", "AC0503", "192.0.2.2" },
    { { .san = "DNS:192.0.2.1" }, "L1", "192.0.2.1", "AC0503", "DNS:192.0.2.1" },
    { { .san = "IP:2001:db8::1" }, "L1", "2001:db8::1", "", "" },
    { { .san = "DER:300f820d6578616d706c652e6f72670078" }, "L1", "example.org", "AC0503", "" },
    { { .san = "", .subject = "example.org" }, "L1", "example.org", "AC0503", "missing" },
    { { .san = "DER:0500" }, "L1", ASKED, "AC0535", "malformed" },
    /* dates */
    { { .from = 10 * 60 }, "L1", ASKED, "", "" },
    { { .from = 10 * 60 + 1 }, "L1", ASKED, "AC0504", "not valid yet" },
    { { .from = DAY }, "L1", ASKED, "AC0504", "2026-11-25T14:29:27Z" },
    { { .until = 1 }, "L1", ASKED, "", "" },
    { { .from = -DAY, .until = -1 }, "L1", ASKED, "AC0504", "expired" },
    { { .from = HOUR, .until = HOUR }, "L1", ASKED, "AC0504", "ends before it begins" },
    { { .from = -YEARS, .until = -2 * YEARS }, "L1", ASKED, "AC0504", "ends before it begins" },
    { { .from = -DAY, .until = 100 * YEARS }, "L1", ASKED, "", "" },
    /* use */
    { { .basic = "CA:TRUE", .san = "DNS:example.org,DNS:www.example.org",
        .usage = "digitalSignature,keyCertSign" }, "L1", ASKED, "AC0537", "one of a CA" },
    { { .basic = "" }, "L1", ASKED, "", "" },
    { { .extended = "clientAuth" }, "L1", ASKED, "AC0538", "TLS server" },
    { { .extended = "anyExtendedKeyUsage" }, "L1", ASKED, "AC0538", "TLS server" },
    { { .extended = "clientAuth,serverAuth" }, "L1", ASKED, "", "" },
    { { .extended = "" }, "L1", ASKED, "", "" },
    { { .usage = "keyEncipherment" }, "L1", ASKED, "AC0538", "TLS server" },
    { { .usage = "keyCertSign" }, "L1", ASKED, "AC0538", "TLS server" },
    { { .usage = "digitalSignature,keyEncipherment" }, "L1", ASKED, "", "" },
    { { .usage = "" }, "L1", ASKED, "", "" },
    { { .basic = "DER:0500" }, "L1", ASKED, "AC0538", "TLS server" },
    /* strength */
    { { .subject = "x" }, "L1H", ASKED, "", "" },
    { { .subject = "x" }, "LH", ASKED, "AC0505", "would not serve the chain" },
    { { .subject = "sha1" }, "L1", ASKED, "AC0505", "would not serve the certificate" },
    { { .subject = "weak" }, "LW", ASKED, "AC0505", "would not serve the chain" },
};

START_TEST(rules_of_the_check)
{
    mint_t leaf = rules[_i].leaf;
    acme_chain_t *chain;
    acme_error_t err;
    acme_rv_t rv;
    int dropped;

    if (leaf.subject && strcmp(leaf.subject, "weak") == 0) {
        leaf.signer = weak();
    }
    if (leaf.subject && strcmp(leaf.subject, "sha1") == 0) {
        leaf.md = EVP_sha1();
    }
    rv = check_chain(&chain, &dropped, pem_chain(&leaf, rules[_i].came), rules[_i].names, &err);
    ck_assert_msg(strcmp(err.code, rules[_i].code) == 0, "%s: %s", err.code, err.text);
    ck_assert_int_eq(rv, *rules[_i].code ? ACME_FAIL : ACME_OK);
    ck_assert_int_eq(chain == NULL, rv != ACME_OK);
    ck_assert_msg(strstr(err.text, rules[_i].text) != NULL, "%s", err.text);
    ck_assert_int_eq(err.kind, rv == ACME_OK ? ACME_E_NONE : ACME_E_CERTIFICATE);
    ck_assert_int_eq(ERR_peek_error(), 0);
}
END_TEST

/* X9.62's hybrid form: the same key, but no bytes that anybody knows it by. */
START_TEST(our_key_in_other_clothes)
{
    static const unsigned char head[] = { 0x03, 0x42, 0x00, 0x04 };
    mint_t usual = { .subject = NULL };
    acme_chain_t *chain = chain_of(pem_of(mint(&usual))), *out;
    const unsigned char *der;
    unsigned char *copy;
    acme_error_t err;
    apr_size_t len, i;
    int dropped;

    acme_chain_der(&der, &len, chain, 0);
    copy = apr_pmemdup(pool, der, len);
    for (i = 0; i + 68 < len && memcmp(copy + i, head, sizeof(head)) != 0; i++) {
    }
    copy[i + 3] = (unsigned char)(6 | (copy[i + 67] & 1));
    der = copy;
    ck_assert_int_eq(acme_chain_from_der(&chain, &der, &len, 1, pool, NULL), ACME_OK);
    ck_assert(acme_chain_matches_key(chain, keys[KEY_LEAF]));
    ck_assert_int_eq(check_chain(&out, &dropped, acme_chain_to_pem(chain, pool), ASKED, &err),
                     ACME_FAIL);
    ck_assert_str_eq(err.code, "AC0502");
}
END_TEST

START_TEST(another_type_of_key)
{
    mint_t usual = { .subject = NULL };
    acme_chain_want_t want;
    acme_chain_t *out = NULL;
    acme_error_t err;
    int dropped;

    memset(&want, 0, sizeof(want));
    want.names = names_of(ASKED);
    want.key = keys[KEY_LEAF];
    want.key_type = ACME_KEY_RSA2048;
    want.now = NOW;
    acme_error_clear(&err);
    ck_assert_int_eq(acme_chain_check(&out, &dropped, chain_of(pem_chain(&usual, "L1")), &want,
                                      pool, &err), ACME_FAIL);
    ck_assert_str_eq(err.code, "AC0536");
    ck_assert(strstr(err.text, "RSA-2048") && out == NULL);
    want.key = keys[KEY_OTHER];
    acme_error_clear(&err);
    ck_assert_int_eq(acme_chain_check(&out, &dropped, chain_of(pem_chain(&usual, "L1")), &want,
                                      pool, &err), ACME_FAIL);
    ck_assert_str_eq(err.code, "AC0502");
}
END_TEST

START_TEST(adoption_forgives_a_clock_that_is_slow)
{
    mint_t late = { .from = DAY };
    acme_chain_want_t want;
    acme_chain_t *out = NULL;
    int dropped;

    memset(&want, 0, sizeof(want));
    want.names = names_of(ASKED);
    want.key = keys[KEY_LEAF];
    want.key_type = ACME_KEY_P256;
    want.now = NOW;
    ck_assert_int_eq(acme_chain_check(&out, &dropped, chain_of(pem_chain(&late, "L1")), &want,
                                      pool, NULL), ACME_FAIL);
    want.allow_future_not_before = 1;
    ck_assert_int_eq(acme_chain_check(&out, &dropped, chain_of(pem_chain(&late, "L1")), &want,
                                      pool, NULL), ACME_OK);
    want.now = NOW + apr_time_from_sec(91 * DAY);
    ck_assert_int_eq(acme_chain_check(&out, &dropped, chain_of(pem_chain(&late, "L1")), &want,
                                      pool, NULL), ACME_FAIL);
}
END_TEST

/* ---- requests ---- */

static const char *request(const acme_csr_t *csr, const acme_key_t *key,
                           const char *const *args)
{
    unsigned char *der;
    const char *text;
    apr_size_t len;
    acme_error_t err;

    acme_error_clear(&err);
    ck_assert_msg(acme_csr_create(&text, csr, key, pool, &err) == ACME_OK, "%s", err.text);
    ck_assert_int_eq(acme_base64url_decode(&der, &len, text, strlen(text), pool, NULL), ACME_OK);
    ck_assert_int_eq(ERR_peek_error(), 0);
    return command_openssl(args, der, len);
}

static const char *const show_text[] = { "req", "-inform", "DER", "-verify", "-noout", "-text",
                                         NULL };
static const char *const show_subject[] = { "req", "-inform", "DER", "-noout", "-subject",
                                            "-nameopt", "sep_comma_plus,utf8,sname", NULL };

static const struct {
    acme_key_type_t type;
    const char *key, *signature;
} requested[] = {
    { ACME_KEY_P256, "ASN1 OID: prime256v1", "ecdsa-with-SHA256" },
    { ACME_KEY_P384, "ASN1 OID: secp384r1", "ecdsa-with-SHA384" },
    { ACME_KEY_RSA2048, "(2048 bit)", "sha256WithRSAEncryption" },
};

START_TEST(requests_verify)
{
    acme_key_t *key;
    acme_csr_t csr;
    const char *said;

    memset(&csr, 0, sizeof(csr));
    csr.names = names_of("example.org *.example.org 192.0.2.1 2001:db8::1");
    ck_assert_int_eq(acme_key_generate(&key, requested[_i].type, pool, NULL), ACME_OK);
    said = request(&csr, key, show_text);
    says(said, "verify OK");
    says(said, requested[_i].key);
    says(said, requested[_i].signature);
    says(said, "X509v3 Subject Alternative Name: \n");
    says(said, "DNS:example.org, DNS:*.example.org, IP Address:192.0.2.1, "
               "IP Address:2001:DB8:0:0:0:0:0:1\n");
    says(said, "Subject: \n");
    ck_assert(strstr(said, "TLS Feature") == NULL);
    csr.must_staple = 1;
    said = request(&csr, key, show_text);
    says(said, "verify OK");
    says(said, "TLS Feature: \n                    status_request\n");
}
END_TEST

#define X32 "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"

static const struct {
    const char *country, *state, *locality, *organization, *common_name, *said;
} subjects[] = {
    { "DE", "Hessen", "Kassel", "Beispiel GmbH", "example.org",
      "subject=C=DE,ST=Hessen,L=Kassel,O=Beispiel GmbH,CN=example.org\n" },
    { NULL, NULL, NULL, NULL, NULL, "subject=\n" },
    { "", "", "", "", "", "subject=\n" },
    { "DE", NULL, NULL, NULL, "example.org", "subject=C=DE,CN=example.org\n" },
    { NULL, "Hessen", NULL, "Beispiel", NULL, "subject=ST=Hessen,O=Beispiel\n" },
    { NULL, NULL, "K\xc3\xb6ln", NULL, NULL, "subject=L=K\xc3\xb6ln\n" },
    { NULL, NULL, NULL, "\xe4\xbe\x8b", NULL, "subject=O=\xe4\xbe\x8b\n" },
    { NULL, NULL, NULL, NULL, "*.example.org", "subject=CN=*.example.org\n" },
    { NULL, NULL, NULL, NULL, "192.0.2.1", "subject=\n" },
    { NULL, NULL, NULL, NULL, "2001:db8::1", "subject=\n" },
    { NULL, NULL, NULL, NULL, X32 X32, "subject=CN=" X32 X32 "\n" },
    { NULL, NULL, NULL, NULL, X32 X32 "x", "subject=\n" },
    { "DEU", NULL, NULL, NULL, NULL, NULL },
    { NULL, NULL, NULL, "\xff", NULL, NULL },
    { NULL, NULL, NULL, X32 X32 "x", NULL, NULL },
};

START_TEST(subjects_of_requests)
{
    acme_csr_t csr;
    const char *text = NULL;
    acme_error_t err;

    memset(&csr, 0, sizeof(csr));
    csr.names = names_of("example.org");
    csr.country = subjects[_i].country;
    csr.state = subjects[_i].state;
    csr.locality = subjects[_i].locality;
    csr.organization = subjects[_i].organization;
    csr.common_name = subjects[_i].common_name;
    if (subjects[_i].said) {
        ck_assert_str_eq(request(&csr, keys[KEY_LEAF], show_subject), subjects[_i].said);
        return;
    }
    acme_error_clear(&err);
    ck_assert_int_eq(acme_csr_create(&text, &csr, keys[KEY_LEAF], pool, &err), ACME_FAIL);
    ck_assert_int_eq(err.kind, ACME_E_CONFIG);
    ck_assert(text == NULL && ERR_peek_error() == 0);
}
END_TEST

START_TEST(request_without_names)
{
    const char *text = NULL;
    acme_csr_t csr;

    memset(&csr, 0, sizeof(csr));
    csr.names = names_of("");
    ck_assert_int_eq(acme_csr_create(&text, &csr, keys[KEY_LEAF], pool, NULL), ACME_FAIL);
    ck_assert(text == NULL);
}
END_TEST

START_TEST(request_with_many_names)
{
    apr_array_header_t *names = names_of("");
    acme_csr_t csr;
    const char *said;
    int i;

    for (i = 0; i < 100; i++) {
        APR_ARRAY_PUSH(names, const char *) = apr_psprintf(pool, "a%d.example.org", i);
    }
    memset(&csr, 0, sizeof(csr));
    csr.names = names;
    said = request(&csr, keys[KEY_LEAF], show_text);
    says(said, "verify OK");
    says(said, "DNS:a0.example.org, ");
    says(said, "DNS:a99.example.org\n");
}
END_TEST

/* ---- placeholders ---- */

static const char *const show_certificate[] = { "x509", "-noout", "-text", "-nameopt",
                                                "sep_comma_plus,sname", NULL };

START_TEST(placeholders)
{
    acme_chain_t *chain, *again;
    const char *pem, *said;
    acme_leaf_t leaf;

    ck_assert_int_eq(acme_placeholder_create(&chain, names_of("example.org 192.0.2.1"),
                                             keys[KEY_LEAF], NOW, pool, NULL), ACME_OK);
    pem = acme_chain_to_pem(chain, pool);
    said = command_openssl(show_certificate, pem, strlen(pem));
    says(said, "Version: 3 (0x2)");
    says(said, "Issuer: CN=mod_acmeclient placeholder\n");
    says(said, "Subject: CN=mod_acmeclient placeholder\n");
    says(said, "Not Before: Nov 23 14:29:27 2026 GMT");
    says(said, "Not After : Nov 20 14:29:27 2036 GMT");
    says(said, "DNS:example.org, IP Address:192.0.2.1\n");
    says(said, "CA:FALSE\n");
    says(said, "TLS Web Server Authentication\n");
    ck_assert_int_eq(acme_chain_leaf(&leaf, chain, pool, NULL), ACME_OK);
    ck_assert(leaf.self_issued && !leaf.is_ca && !leaf.must_staple);
    ck_assert_str_eq(joined(leaf.names), "example.org 192.0.2.1");
    ck_assert(acme_chain_matches_key(chain, keys[KEY_LEAF]));
    ck_assert_int_eq(X509_verify(acme_chain_x509(chain, 0), acme_key_evp(keys[KEY_LEAF])), 1);
    ck_assert_int_eq(acme_placeholder_create(&again, names_of("example.org"), keys[KEY_LEAF], NOW,
                                             pool, NULL), ACME_OK);
    ck_assert_str_ne(acme_chain_to_pem(again, pool), pem);
    ck_assert_int_eq(acme_placeholder_create(&again, names_of(""), keys[KEY_LEAF], NOW, pool, NULL),
                     ACME_FAIL);
}
END_TEST

static void add_check(Suite *suite)
{
    TCase *tc = tcase_create("check");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_loop_test(tc, order_of_the_chain, 0, COUNT(orders));
    tcase_add_loop_test(tc, rules_of_the_check, 0, COUNT(rules));
    tcase_add_test(tc, our_key_in_other_clothes);
    tcase_add_test(tc, another_type_of_key);
    tcase_add_test(tc, adoption_forgives_a_clock_that_is_slow);
    suite_add_tcase(suite, tc);
}

static void add_made(Suite *suite)
{
    TCase *tc = tcase_create("made");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 30);
    tcase_add_loop_test(tc, requests_verify, 0, COUNT(requested));
    tcase_add_loop_test(tc, subjects_of_requests, 0, COUNT(subjects));
    tcase_add_test(tc, request_without_names);
    tcase_add_test(tc, request_with_many_names);
    tcase_add_test(tc, placeholders);
    suite_add_tcase(suite, tc);
}

Suite *x509_suite(void)
{
    Suite *suite = suite_create("x509");
    TCase *tc = tcase_create("chain");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 30);
    tcase_add_loop_test(tc, sound_pem, 0, COUNT(sound));
    tcase_add_test(tc, pem_is_what_openssl_writes);
    tcase_add_loop_test(tc, line_ends, 0, COUNT(ends));
    tcase_add_test(tc, no_final_newline);
    tcase_add_loop_test(tc, unsound_pem, 0, COUNT(unsound));
    tcase_add_test(tc, pem_with_nul);
    tcase_add_test(tc, truncated_pem);
    tcase_add_test(tc, caps);
    tcase_add_test(tc, der_comes_and_goes);
    tcase_add_test(tc, damaged_der);
    tcase_add_test(tc, facts_are_those_of_openssl);
    tcase_add_test(tc, facts_of_a_ca);
    tcase_add_loop_test(tc, serial_numbers, 0, COUNT(serials));
    tcase_add_loop_test(tc, names_of_all_kinds, 0, COUNT(sans));
    tcase_add_loop_test(tc, stapling_wanted, 0, COUNT(features));
    tcase_add_test(tc, malformed_names_are_no_facts);
    tcase_add_test(tc, nameless_issuer);
    tcase_add_test(tc, keys_and_certificates);
    tcase_add_test(tc, key_digests_agree);
    suite_add_tcase(suite, tc);
    add_check(suite);
    add_made(suite);
    return suite;
}
