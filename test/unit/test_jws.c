/* Licensed under the Apache License, Version 2.0; see LICENSE. */

#include <string.h>

#include <apr_general.h>
#include <apr_strings.h>
#include <check.h>
#include <openssl/bn.h>
#include <openssl/ecdsa.h>
#include <openssl/evp.h>

#include "base/codec.h"
#include "crypto/jws.h"

#define COUNT(table) ((int)(sizeof(table) / sizeof((table)[0])))
#define URL "https://ca.example/acme/new-account"
#define KID "https://ca.example/acct/7"

Suite *jws_suite(void);

static apr_pool_t *pool;

/* RFC 7515 appendices A.2 and A.3. */
static const char rsa_jwk[] =
    "{\"kty\":\"RSA\",\"n\":\"ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQ"
    "p-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wG"
    "zjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4u"
    "DZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9"
    "gb54h4FRWyuXpoQ\",\"e\":\"AQAB\",\"d\":\"Eq5xpGnNCivDflJsRQBXHx1hdR1k6Ulwe2JZD50LpXyWPEA"
    "eP88vLNO97IjlA7_GQ5sLKMgvfTeXZx9SE-7YwVol2NXOoAJe46sui395IW_GO-pWJ1O0BkTGoVEn2bKVRUCgu-G"
    "jBVaYLU6f3l9kJfFNS3E0QbVdxzubSu3Mkqzjkn439X0M_V51gfpRLI9JYanrC4D4qAdGcopV_0ZHHzQlBjudU2Q"
    "vXt4ehNYTCBr6XCLQUShb1juUO1ZdiYoFaFQT5Tw8bGUl_x_jTj3ccPDVZFD9pIuhLhBOneufuBiB4cS98l2SR_R"
    "QyGWSeWjnczT0QU91p1DhOVRuOopznQ\"}";

static const char ec_jwk[] =
    "{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU\","
    "\"y\":\"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0\",\"d\":\"jpsQnnGQmL-YBIffH1136cspYG"
    "6-0iY7X1fCE9-E9LI\"}";

/* openssl ecparam -name secp521r1 -genkey -noout */
static const char p521_pem[] =
    "-----BEGIN EC PRIVATE KEY-----\n"
    "MIHcAgEBBEIBL/QalJTxz10mruGQqjgHIsqm5CRwBjY1o6nt5mJsplWL5EfEHzsT\n"
    "PQmXWDCxL0bqLwRFBw/VwiUY07pjqxdK/dCgBwYFK4EEACOhgYkDgYYABAGFwbuw\n"
    "hwTp59+L2vZrkb9x5ugTD6Rw41Jg+rJTmSOeA8X2Xvc8P8jtpuZhSlF6tTt24OnC\n"
    "vZp2g+J/R14v3yNjPAE4W36ggzQH3WJmnrxMdMEbjm1lcrtQCi7ZsvYl0YVXsGsB\n"
    "JoUxkRk7YwqFvjQqg7iPUnhsd9VUXoPdfRZOUub5hA==\n"
    "-----END EC PRIVATE KEY-----\n";

/* Signed by python3-cryptography; RS256 has but one signature for a text. */
static const char with_jwk[] =
    "{\"protected\":\"eyJhbGciOiJSUzI1NiIsIm5vbmNlIjoibm9uY2UtMSIsInVybCI6Imh0dHBzOi8vY2EuZXh"
    "hbXBsZS9hY21lL25ldy1hY2NvdW50IiwiandrIjp7ImUiOiJBUUFCIiwia3R5IjoiUlNBIiwibiI6Im9mZ1dDdUx"
    "qeWJSbHpvMHRaV0pqTml1U2ZiNHA0ZkFrZF93V0pjeVFvVGJqaTlrMGw4VzI2bVBkZHhIbWZIUXAtVmF3LTRxUEN"
    "KcmNTMm1KUE1FelAxUHQwQm00ZDRRbEwteVJULVNGZDJsWlMtcENnTk1zRDFXX1lwUlBFd09Xdkc2YjMyNjkwcjJ"
    "qWjQ3c29NWm85d0d6amJfN09NZzBMT0wtYlNmNjNrcGFTSFNYbmRTNXo1cmV4TWRiQllVc0xBOWUtS1hCZFFPUy1"
    "VVG83V1RCRU1hMlIyQ2FwSGc2NjV4c210ZFZNVEJRWTR1RFpseHZiM3FDbzVad0toOWtHNExUNl9JNUlobEpIN2F"
    "HaHl4WEZ2VUstRFdObW91ZEY4TkFjbzlfaDlpYUdOajhxMmV0aEZrTUxzOTFremsyUEFjRFRXOWdiNTRoNEZSV3l"
    "1WHBvUSJ9fQ\",\"payload\":\"eyJ0ZXJtc09mU2VydmljZUFncmVlZCI6dHJ1ZX0\",\"signature\":\"eB"
    "KPIQjdQgH9BiiHHXYNvcHRMRgn9OaxpDseHOkr7qpQy_zEDoJlKHOfl0lPC_2c7RmbdblSAlkptXGJ3of_aG--PV"
    "UZoZlEguQbXIbks4oMbCVkeVG_wNAxxjs_M23W-x8_cNcE4Tpngl5mR_aGxNT6D-m75V0TyKUnnmA8QcdM3nT-Wt"
    "gWJQ5m1z5-VdpL1T3DSVYVCLlG2OXDX4SAWo-R40TZDcuRxlGunUzBMKvRZH1yYdthf57VNYQXf1vQuRfdj-Fcfh"
    "Qklnkpe5mOkVXq4NuO4ZmLZZ30LbO2iJDgPiMAF6kvwhJMKcCTQK4EJwO1cW2MaXgZBnE7fkCUbA\"}";

static const char post_as_get[] =
    "{\"protected\":\"eyJhbGciOiJSUzI1NiIsIm5vbmNlIjoibm9uY2UtMiIsInVybCI6Imh0dHBzOi8vY2EuZXh"
    "hbXBsZS9vcmRlci8xIiwia2lkIjoiaHR0cHM6Ly9jYS5leGFtcGxlL2FjY3QvNyJ9\",\"payload\":\"\",\"s"
    "ignature\":\"kv-5mrPkhHfwKJKPOSSB7_FU3I0reUoFp_1_GW82gNdybDIhIgOpIodEQqiuE8HpKvaRugY-6tS"
    "f6fBbImY6FmcFbBTS_7TbpfvU9sBKuMiZ9Nlni3l3QHPoxWCcFeacUqXu9pdwHbXJGv0MnUaVwgFALquklsJL63D"
    "b7TJ3LjBSMIvu10m4QGPbwO9oXJwDfjK9Rt0VgKFT-Fe6xhKyW38YAvARaOQyKtT8tmvPE6HwQFzkw5-vgzbb5wY"
    "yMY9-OigQTYuBqL7YKhRUoJrVFE5emUchYTVlTV1rvFPG-xHCC6tb1h54-DxNkZ5SntDxdpA8eaIdJUpaUe7BW8B"
    "6xQ\"}";

static const char without_nonce[] =
    "{\"protected\":\"eyJhbGciOiJSUzI1NiIsInVybCI6Imh0dHBzOi8vY2EuZXhhbXBsZS9hY21lL25ldy1hY2N"
    "vdW50Iiwia2lkIjoiaHR0cHM6Ly9jYS5leGFtcGxlL2FjY3QvNyJ9\",\"payload\":\"e30\",\"signature"
    "\":\"B06lMsrCVqZfOKHUlutBxAZGNlRKC6WEniE4Mj_e-PJqPEnX99pN1Xrq5B6Z0Q-y1XepE-9dlb_0aUm4DFz"
    "_nxmtgz3opVb8sRenE2Qcr_KRiXzIszfgK_xJxX1H1KKOUhEyrj5clbBrMVC53H0X1QLb5-KkGB_Zgf9n-2N2H9H"
    "FqcVUCMJUouUIthUj7ozd10wMRXObxvTyLE0lG5pMoWxl2C42aIFDRMpQd_eciU0EpTbqEbk7cDr3w67t6iEgcD6"
    "mQN8dn3gPw532l-n56sveYh7VQhz7EyBkIvn8WVvs1R1BcAeppnC42P3QtESvC9-Z2uou9YCjZnysuSWi9g\"}";

/* The payload of a key change, signed by python3-cryptography. */
static const char key_change[] =
    "{\"protected\":\"eyJhbGciOiJSUzI1NiIsInVybCI6Imh0dHBzOi8vY2EuZXhhbXBsZS9hY21lL2tleS1ja"
    "GFuZ2UiLCJqd2siOnsiZSI6IkFRQUIiLCJrdHkiOiJSU0EiLCJuIjoib2ZnV0N1TGp5YlJsem8wdFpXSmpOaXV"
    "TZmI0cDRmQWtkX3dXSmN5UW9UYmppOWswbDhXMjZtUGRkeEhtZkhRcC1WYXctNHFQQ0pyY1MybUpQTUV6UDFQd"
    "DBCbTRkNFFsTC15UlQtU0ZkMmxaUy1wQ2dOTXNEMVdfWXBSUEV3T1d2RzZiMzI2OTByMmpaNDdzb01abzl3R3p"
    "qYl83T01nMExPTC1iU2Y2M2twYVNIU1huZFM1ejVyZXhNZGJCWVVzTEE5ZS1LWEJkUU9TLVVUbzdXVEJFTWEyU"
    "jJDYXBIZzY2NXhzbXRkVk1UQlFZNHVEWmx4dmIzcUNvNVp3S2g5a0c0TFQ2X0k1SWhsSkg3YUdoeXhYRnZVSy1"
    "EV05tb3VkRjhOQWNvOV9oOWlhR05qOHEyZXRoRmtNTHM5MWt6azJQQWNEVFc5Z2I1NGg0RlJXeXVYcG9RIn19"
    "\",\"payload\":\"eyJhY2NvdW50IjoiaHR0cHM6Ly9jYS5leGFtcGxlL2FjY3QvNyIsIm9sZEtleSI6eyJjc"
    "nYiOiJQLTI1NiIsImt0eSI6IkVDIiwieCI6ImY4M09KM0QyeEYxQmc4dnViOXRMZTFnSE16Vjc2ZThUdXM5dVB"
    "IdlJWRVUiLCJ5IjoieF9GRXpSdTltMzZITE5fdHVlNjU5TE5wWFc2cEN5U3Rpa1lqS0lXSTVhMCJ9fQ\",\"si"
    "gnature\":\"YAFE7mMIUX872AhedLy_40fOqvZfMeHz4_k5c6UOt6DPyV5nl2awiLPzfUIqLhohY32qtT_TSs"
    "U0VbT9dXfrm1KGunXPH_FvYsix2dr_xcOP_H8RA_lldlizOCUpdcMDZasLmHpNXiQb0sIVTCVVrKI2laTc1fho"
    "i5pZsIs77wwHEUb6k13A23_k4m9N6LtR5eiKAjcR7pU5gLdfgSXSmVlBpoNiuTbEqAqH8P2r637lKWeBk9SOm8"
    "OwGV2gixo4ZsDwkLmbBwRuA6t8wTfT4Q_CubZJD_Ho438u4XhdJj4wvLSOWkI3gPvknHWl5RMsDCvj3JGzNkuI"
    "VYai2Qyrxg\"}";

static void setup(void)
{
    apr_initialize();
    apr_pool_create(&pool, NULL);
}

static void teardown(void)
{
    apr_pool_destroy(pool);
}

static acme_key_t *key_of(const char *jwk)
{
    acme_key_t *key = NULL;

    ck_assert_int_eq(acme_key_from_jwk(&key, jwk, strlen(jwk), pool, NULL), ACME_OK);
    return key;
}

static const char *member(const acme_json_t *object, const char *name)
{
    const char *text = NULL;

    ck_assert_int_eq(acme_json_get_string(&text, object, name, ACME_JSON_OPTIONAL, NULL), ACME_OK);
    return text;
}

static const char *decoded(const acme_json_t *object, const char *name)
{
    const char *text = member(object, name);
    unsigned char *bytes;
    apr_size_t len;

    ck_assert(text != NULL);
    ck_assert_int_eq(acme_base64url_decode(&bytes, &len, text, strlen(text), pool, NULL), ACME_OK);
    return (const char *)bytes;
}

static acme_json_t *parsed(const char *text)
{
    acme_json_t *json = NULL;

    ck_assert_int_eq(acme_json_parse(&json, text, strlen(text), "JWS", pool, NULL), ACME_OK);
    return json;
}

static const struct {
    const char *kid, *nonce, *url, *payload, *want;
} wanted[] = {
    { NULL, "nonce-1", URL, "{\"termsOfServiceAgreed\":true}", with_jwk },
    { KID, "nonce-2", "https://ca.example/order/1", NULL, post_as_get },
    { KID, NULL, URL, "{}", without_nonce },
};

START_TEST(rsa_bodies_are_exact)
{
    const char *body;

    ck_assert_int_eq(acme_jws_create(&body, key_of(rsa_jwk), wanted[_i].kid, wanted[_i].nonce,
                                     wanted[_i].url, wanted[_i].payload, pool, NULL), ACME_OK);
    ck_assert_str_eq(body, wanted[_i].want);
}
END_TEST

static int ecdsa_verifies(const acme_key_t *key, const char *input, const char *text)
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    ECDSA_SIG *pair = ECDSA_SIG_new();
    unsigned char *sig, *der = NULL;
    apr_size_t len;
    int n, ok;

    ck_assert_int_eq(acme_base64url_decode(&sig, &len, text, strlen(text), pool, NULL), ACME_OK);
    ck_assert_int_eq((int)len, 64);
    ck_assert_int_eq(ECDSA_SIG_set0(pair, BN_bin2bn(sig, 32, NULL), BN_bin2bn(sig + 32, 32, NULL)),
                     1);
    n = i2d_ECDSA_SIG(pair, &der);
    ok = EVP_DigestVerifyInit(ctx, NULL, EVP_sha256(), NULL, acme_key_evp(key)) == 1
         && EVP_DigestVerify(ctx, der, (size_t)n, (const unsigned char *)input, strlen(input)) == 1;
    OPENSSL_free(der);
    ECDSA_SIG_free(pair);
    EVP_MD_CTX_free(ctx);
    return ok;
}

START_TEST(ec_bodies_verify)
{
    acme_key_t *key = key_of(ec_jwk);
    acme_json_t *jws;
    const char *body;

    ck_assert_int_eq(acme_jws_create(&body, key, NULL, "n", URL, "{\"a\":\"\\u00fc\"}", pool,
                                     NULL), ACME_OK);
    jws = parsed(body);
    ck_assert_str_eq(decoded(jws, "protected"),
                     "{\"alg\":\"ES256\",\"nonce\":\"n\",\"url\":\"" URL "\",\"jwk\":{\"crv\":"
                     "\"P-256\",\"kty\":\"EC\",\"x\":\"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRV"
                     "EU\",\"y\":\"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0\"}}");
    ck_assert_str_eq(decoded(jws, "payload"), "{\"a\":\"\\u00fc\"}");
    ck_assert(acme_json_key_at(jws, 2) != NULL && acme_json_key_at(jws, 3) == NULL);
    ck_assert(ecdsa_verifies(key, apr_pstrcat(pool, member(jws, "protected"), ".",
                                              member(jws, "payload"), NULL),
                             member(jws, "signature")));
}
END_TEST

/* RFC 8555 section 6.2: the URL byte for byte, whatever JSON does to it in between. */
START_TEST(urls_survive)
{
    const char *url = "https://ca.example/a%2fb?c=\"\\&d=/", *body, *nonce = "a\"b\\c/d";
    acme_json_t *header;

    ck_assert_int_eq(acme_jws_create(&body, key_of(ec_jwk), KID, nonce, url, NULL, pool, NULL),
                     ACME_OK);
    header = parsed(decoded(parsed(body), "protected"));
    ck_assert_str_eq(member(header, "url"), url);
    ck_assert_str_eq(member(header, "nonce"), nonce);
    ck_assert_str_eq(member(header, "kid"), KID);
    ck_assert_str_eq(member(header, "alg"), "ES256");
    ck_assert(acme_json_key_at(header, 4) == NULL);
}
END_TEST

static const struct {
    const char *kid, *nonce, *url;
} not_utf8[] = {
    { "\xff", "n", URL },
    { KID, "\xc3(", URL },
    { KID, "n", "https://ca.example/\xe9" },
};

START_TEST(text_that_is_not_utf8)
{
    const char *body = "untouched";
    acme_error_t err;

    acme_error_clear(&err);
    ck_assert_int_eq(acme_jws_create(&body, key_of(ec_jwk), not_utf8[_i].kid, not_utf8[_i].nonce,
                                     not_utf8[_i].url, "{}", pool, &err), ACME_FAIL);
    ck_assert_int_eq(err.kind, ACME_E_INTERNAL);
    ck_assert_str_eq(body, "untouched");
}
END_TEST

static const char *const kids[] = { NULL, KID };

START_TEST(keys_that_cannot_sign)
{
    acme_key_t *key = NULL;
    const char *body;
    acme_error_t err;

    ck_assert_int_eq(acme_key_from_pem(&key, p521_pem, strlen(p521_pem), pool, NULL), ACME_OK);
    acme_error_clear(&err);
    ck_assert_int_eq(acme_jws_create(&body, key, kids[_i], "n", URL, "{}", pool, &err),
                     ACME_FAIL);
    ck_assert_int_eq(err.kind, ACME_E_INTERNAL);
}
END_TEST

/* ---- external account binding ---- */

/* By python3's hmac. */
static const struct {
    const char *alg, *mac;
} macs[] = {
    { "HS256",
      "lFz0JJzKmeG50iWhkBhHH-pzvscOnXoTVVJ1jSgXEMM" },
    { "HS384",
      "cIGvtlJ7-sZnn_QqQ04_9OvK_BNXuUEgq1UOWTH-k8Uuau4F9-Wi78cVTOOKUrjq" },
    { "HS512",
      "PwyxatXvHRNqzXFzlO3GPcQIc35093djmUgeS6WGeAjKFI6VHgGbBmo_4i7sd1g91CDGrvTMBrcvSDdxuBfbRw" },
};

static const unsigned char mac_key[32] = { 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15,
                                           16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29,
                                           30, 31 };

START_TEST(external_accounts)
{
    acme_json_t *eab;

    ck_assert_int_eq(acme_jws_eab(&eab, key_of(ec_jwk), "kid-1", mac_key, sizeof(mac_key),
                                  macs[_i].alg, URL, pool, NULL), ACME_OK);
    ck_assert_str_eq(decoded(eab, "protected"),
                     apr_psprintf(pool, "{\"alg\":\"%s\",\"kid\":\"kid-1\",\"url\":\"" URL "\"}",
                                  macs[_i].alg));
    ck_assert_str_eq(decoded(eab, "payload"),
                     "{\"crv\":\"P-256\",\"kty\":\"EC\",\"x\":\"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8T"
                     "us9uPHvRVEU\",\"y\":\"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0\"}");
    ck_assert_str_eq(member(eab, "signature"), macs[_i].mac);
    ck_assert(acme_json_key_at(eab, 2) != NULL && acme_json_key_at(eab, 3) == NULL);
}
END_TEST

static const struct {
    const char *alg;
    apr_size_t len;
    acme_error_kind_t kind;
    const char *kid;
} bad_eab[] = {
    { "HS1", 32, ACME_E_CONFIG, "kid" },
    { "hs256", 32, ACME_E_CONFIG, "kid" },
    { "RS256", 32, ACME_E_CONFIG, "kid" },
    { "none", 32, ACME_E_CONFIG, "kid" },
    { "", 32, ACME_E_CONFIG, "kid" },
    { NULL, 32, ACME_E_CONFIG, "kid" },
    { "HS256", 0, ACME_E_CONFIG, "kid" },
    { "HS256", 32, ACME_E_INTERNAL, "\xff" },
};

START_TEST(external_accounts_that_cannot_be)
{
    acme_json_t *eab = NULL;
    acme_error_t err;

    acme_error_clear(&err);
    ck_assert_int_eq(acme_jws_eab(&eab, key_of(ec_jwk), bad_eab[_i].kid, mac_key, bad_eab[_i].len,
                                  bad_eab[_i].alg, URL, pool, &err), ACME_FAIL);
    ck_assert_int_eq(err.kind, bad_eab[_i].kind);
    ck_assert(eab == NULL);
}
END_TEST

START_TEST(key_changes)
{
    const char *inner = NULL;

    ck_assert_int_eq(acme_jws_key_change(&inner, key_of(ec_jwk), key_of(rsa_jwk), KID,
                                         "https://ca.example/acme/key-change", pool, NULL),
                     ACME_OK);
    ck_assert_str_eq(inner, key_change);
}
END_TEST

Suite *jws_suite(void)
{
    Suite *suite = suite_create("jws");
    TCase *tc = tcase_create("jws");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_loop_test(tc, rsa_bodies_are_exact, 0, COUNT(wanted));
    tcase_add_test(tc, ec_bodies_verify);
    tcase_add_test(tc, urls_survive);
    tcase_add_loop_test(tc, text_that_is_not_utf8, 0, COUNT(not_utf8));
    tcase_add_loop_test(tc, keys_that_cannot_sign, 0, COUNT(kids));
    tcase_add_loop_test(tc, external_accounts, 0, COUNT(macs));
    tcase_add_loop_test(tc, external_accounts_that_cannot_be, 0, COUNT(bad_eab));
    tcase_add_test(tc, key_changes);
    suite_add_tcase(suite, tc);
    return suite;
}
