/* Licensed under the Apache License, Version 2.0; see LICENSE. */

#include <string.h>

#include <apr_general.h>
#include <apr_strings.h>
#include <check.h>

#include "protocol/challenge.h"

#define COUNT(table) ((int)(sizeof(table) / sizeof((table)[0])))

Suite *challenge_suite(void);

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

/* ---- key authorizations and what is made of them ---- */

#define TOKEN "evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oA"
/* Keys of RFC 7638 section 3.1 and of golang.org/x/crypto/acme's tests. */
#define RSA_KEY "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"
#define EC_KEY "zedj-Bd1Zshp8KLePv2MB-lJ_Hagp7wAwdkA0NUTniU"

/* sni: the names of golang.org/x/crypto's tests (EC), hashlib of Python (all).
 * txt: openssl dgst -sha256 -binary | basenc --base64url; that of "xxx" is golang.org/x/crypto's
 * too. */
static const struct {
    const char *token, *thumbprint, *authorization, *sni, *txt;
} vectors[] = {
    {TOKEN, RSA_KEY, TOKEN "." RSA_KEY,
     "653471d42925d7eb4cd39a39cda8b34d.3034c94cb90067ab78c8123560ba2e5f.acme.invalid",
     "ZTRx1Ckl1-tM05o5zaizTTA0yUy5AGereMgSNWC6Ll8"},
    {TOKEN, EC_KEY, TOKEN "." EC_KEY,
     "dbbd5eefe7b4d06eb9d1d9f5acb4c7cd.a27d320e4b30332f0b6cb441734ad7b0.acme.invalid",
     "271e7-e00G650dn1rLTHzaJ9Mg5LMDMvC2y0QXNK17A"},
    {"xxx", EC_KEY, "xxx." EC_KEY,
     "f0311131ec50e5571d27fa6ba4f880d2.655da7b8a681b0a08ec1b84aaa8d308a.acme.invalid",
     "8DERMexQ5VcdJ_prpPiA0mVdp7imgbCgjsG4SqqNMIo"},
    /* RFC 8555 section 8.3 */
    {"LoqXcYV8q5ONbJQxbmR7SCTNo3tiAXDfowyjxAjEuX0", "9jg46WB3rR_AHD-EBXdN7cBkH1WOu0tA3M9fm21mqTI",
     "LoqXcYV8q5ONbJQxbmR7SCTNo3tiAXDfowyjxAjEuX0.9jg46WB3rR_AHD-EBXdN7cBkH1WOu0tA3M9fm21mqTI",
     "2cfb08c13a3ba3c0681b4faf8c2c8640.605649520fc48fa2fd7df7e9e50e419a.acme.invalid",
     "LPsIwTo7o8BoG0-vjCyGQGBWSVIPxI-i_X336eUOQZo"},
};

START_TEST(key_authorizations)
{
    const char *authorization
        = acme_key_authorization(vectors[_i].token, vectors[_i].thumbprint, pool);

    ck_assert_str_eq(authorization, vectors[_i].authorization);
    ck_assert_str_eq(acme_challenge_dns_value(authorization, pool), vectors[_i].txt);
    ck_assert_str_eq(acme_challenge_sni_name(authorization, pool), vectors[_i].sni);
    ck_assert_uint_eq(strlen(acme_challenge_sni_name(authorization, pool)), 78);
}
END_TEST

/* RFC 8737 section 3, RFC 8738 section 6; the reverse names are those of Python's ipaddress. */
static const struct {
    const char *identifier, *name;
} alpn[] = {
    {"example.org", "example.org"},
    {"xn--bcher-kva.example", "xn--bcher-kva.example"},
    {"192.0.2.1", "1.2.0.192.in-addr.arpa"},
    {"2001:db8::1", "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa"},
    {"fe80::abcd", "d.c.b.a.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.e.f.ip6.arpa"},
    {"::ffff:192.0.2.1",
     "1.0.2.0.0.0.0.c.f.f.f.f.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.ip6.arpa"},
};

START_TEST(alpn_names)
{
    ck_assert_str_eq(acme_challenge_alpn_name(alpn[_i].identifier, pool), alpn[_i].name);
}
END_TEST

/* ---- tokens ---- */

START_TEST(tokens_hold_nothing_but_base64url)
{
    char token[17] = "0123456789abcdef";
    int c, legal = 0;

    for (c = 0; c < 256; c++) {
        token[7] = (char)c;
        legal += acme_token_legal(token, 16);
        ck_assert_int_eq(acme_token_legal(token, 16),
                         (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9')
                         || c == '-' || c == '_');
    }
    ck_assert_int_eq(legal, 64);
}
END_TEST

START_TEST(tokens_have_16_to_256_characters)
{
    char token[300];

    memset(token, 'a', sizeof(token));
    ck_assert(!acme_token_legal(token, 0));
    ck_assert(!acme_token_legal(token, 15));
    ck_assert(acme_token_legal(token, 16));
    ck_assert(acme_token_legal(token, 256));
    ck_assert(!acme_token_legal(token, 257));
    token[15] = '/';
    ck_assert(!acme_token_legal(token, 16)); /* to the last */
}
END_TEST

/* ---- types ---- */

static const struct {
    const char *text;
    int type; /* -1: none */
} types[] = {
    {"http-01", ACME_CH_HTTP01}, {"tls-alpn-01", ACME_CH_TLSALPN01}, {"dns-01", ACME_CH_DNS01},
    {"tls-sni-01", ACME_CH_TLSSNI01}, {"dns-persist-01", ACME_CH_DNSPERSIST01},
    {"dns-account-01", ACME_CH_DNSACCOUNT01}, {"HTTP-01", ACME_CH_HTTP01},
    {"Dns-01", ACME_CH_DNS01},
    {"tls-sni-02", -1}, {"dns-persist-02", -1}, {"http-0", -1}, {"http-011", -1}, {" http-01", -1},
    {"", -1}, {"auto", -1},
};

START_TEST(type_words)
{
    acme_challenge_type_t type = ACME_CH_TYPES;

    ck_assert_int_eq(acme_challenge_type_parse(&type, types[_i].text),
                     types[_i].type < 0 ? ACME_FAIL : ACME_OK);
    ck_assert_int_eq(type, types[_i].type < 0 ? ACME_CH_TYPES : types[_i].type);
}
END_TEST

START_TEST(type_names)
{
    int i;

    for (i = 0; i < 6; i++) {
        ck_assert_str_eq(acme_challenge_type_name((acme_challenge_type_t)types[i].type),
                         types[i].text);
    }
    ck_assert_int_eq(ACME_CH_TYPES, 6);
    ck_assert_str_eq(acme_challenge_type_name(ACME_CH_TYPES), "unknown");
}
END_TEST

/* ---- names of TXT records ---- */

/* The label was computed by Python: b32encode(sha256(URL).digest()[:10]).lower(). */
static const struct {
    acme_challenge_type_t type;
    const char *name, *record;
} dns_records[] = {
    {ACME_CH_DNS01, "a.test", "_acme-challenge.a.test"},
    {ACME_CH_DNS01, "*.a.test", "_acme-challenge.a.test"},
    {ACME_CH_DNSPERSIST01, "*.a.test", "_validation-persist.a.test"},
    {ACME_CH_DNSACCOUNT01, "*.example.org", "_ujmmovf2vn55tgye._acme-challenge.example.org"},
    {ACME_CH_HTTP01, "a.test", NULL},
    {ACME_CH_TYPES, "a.test", NULL},
};

START_TEST(dns_record)
{
    const char *record = acme_challenge_dns_record(
        dns_records[_i].type, dns_records[_i].name, "https://example.com/acme/acct/ExampleAccount",
        pool);

    if (dns_records[_i].record == NULL) {
        ck_assert_ptr_null(record);
    }
    else {
        ck_assert_str_eq(record, dns_records[_i].record);
    }
}
END_TEST

/* ---- the choice ---- */

/* offered: types with a space between them, "!" before one that is invalid already. */
static const char *challenges_of(const char *offered)
{
    const char *all = "";
    apr_size_t len;

    for (; *offered; offered += len + (offered[len] != '\0')) {
        int bad = *offered == '!';

        len = strcspn(offered, " ");
        all = apr_psprintf(pool, "%s%s{\"type\":\"%.*s\",\"url\":\"https://ca.example/c\","
                           "\"status\":\"%s\",\"token\":\"0123456789abcdef\"}", all,
                           *all ? "," : "", (int)len - bad, offered + bad,
                           bad ? "invalid" : "pending");
    }
    return all;
}

static acme_authz_object_t *authz_of(const char *name, const char *offered)
{
    int wildcard = strncmp(name, "*.", 2) == 0;
    acme_authz_object_t *authz;
    const char *text
        = apr_psprintf(pool, "{\"status\":\"pending\",\"identifier\":{\"type\":\"%s\","
                       "\"value\":\"%s\"},\"wildcard\":%s,\"challenges\":[%s]}",
                       strchr(name, ':') || strncmp(name, "192", 3) == 0 ? "ip" : "dns",
                       name + 2 * wildcard, wildcard ? "true" : "false", challenges_of(offered));

    ck_assert_int_eq(acme_authz_parse(&authz, text, strlen(text), pool, NULL), ACME_OK);
    return authz;
}

static const struct {
    acme_challenge_type_t type;
    const char *name;
    int usable;
} usable[] = {
    {ACME_CH_HTTP01, "example.org", 1},    {ACME_CH_TLSALPN01, "example.org", 1},
    {ACME_CH_DNS01, "example.org", 1},     {ACME_CH_TLSSNI01, "example.org", 1},
    {ACME_CH_HTTP01, "*.example.org", 0},  {ACME_CH_TLSALPN01, "*.example.org", 0},
    {ACME_CH_DNS01, "*.example.org", 1},   {ACME_CH_TLSSNI01, "*.example.org", 0},
    {ACME_CH_HTTP01, "192.0.2.1", 1},      {ACME_CH_TLSALPN01, "192.0.2.1", 1},
    {ACME_CH_DNS01, "192.0.2.1", 0},       {ACME_CH_TLSSNI01, "192.0.2.1", 0},
    {ACME_CH_HTTP01, "2001:db8::1", 1},    {ACME_CH_TLSALPN01, "2001:db8::1", 1},
    {ACME_CH_DNS01, "2001:db8::1", 0},     {ACME_CH_TLSSNI01, "2001:db8::1", 0},
    {ACME_CH_TYPES, "example.org", 0},
};

START_TEST(types_fit_names)
{
    ck_assert_int_eq(acme_challenge_type_usable(usable[_i].type, authz_of(usable[_i].name, "")),
                     usable[_i].usable);
}
END_TEST

#define H ACME_CH_HTTP01
#define A ACME_CH_TLSALPN01
#define D ACME_CH_DNS01
#define S ACME_CH_TLSSNI01

/* chosen: NULL for none. */
static const struct {
    const char *name, *offered;
    int n;
    acme_challenge_type_t allowed[ACME_CH_TYPES];
    const char *chosen;
} choices[] = {
    {"example.org", "http-01 tls-alpn-01 dns-01", 2, {H, A}, "http-01"},
    {"example.org", "http-01 tls-alpn-01 dns-01", 2, {A, H}, "tls-alpn-01"},
    {"example.org", "dns-01 tls-alpn-01 http-01", 2, {H, A}, "http-01"},
    {"example.org", "tls-alpn-01", 2, {H, A}, "tls-alpn-01"},
    {"example.org", "x-99 http-01", 1, {H}, "http-01"},
    {"example.org", "tls-sni-01 http-01", 2, {H, A}, "http-01"},
    {"example.org", "tls-sni-01", 1, {S}, "tls-sni-01"},
    {"example.org", "tls-sni-01", 3, {H, A, D}, NULL},
    {"example.org", "!http-01 tls-alpn-01", 2, {H, A}, "tls-alpn-01"},
    {"example.org", "!http-01", 2, {H, A}, NULL},
    {"example.org", "!http-01 http-01", 1, {H}, "http-01"},
    {"example.org", "dns-01", 2, {H, A}, NULL},
    {"example.org", "", 2, {H, A}, NULL},
    {"example.org", "http-01", 0, {H}, NULL},
    {"*.example.org", "dns-01", 3, {H, A, D}, "dns-01"},
    {"*.example.org", "http-01 dns-01", 3, {H, A, D}, "dns-01"},
    {"*.example.org", "http-01 tls-alpn-01 dns-01", 2, {H, A}, NULL},
    {"192.0.2.1", "dns-01 http-01", 2, {D, H}, "http-01"},
    {"2001:db8::1", "dns-01 tls-alpn-01", 3, {D, H, A}, "tls-alpn-01"},
    {"2001:db8::1", "dns-01", 1, {D}, NULL},
};

START_TEST(first_that_fits)
{
    const acme_authz_object_t *authz = authz_of(choices[_i].name, choices[_i].offered);
    const acme_challenge_object_t *challenge = NULL;
    acme_challenge_type_t type = ACME_CH_TYPES;
    acme_error_t err;
    acme_rv_t rv;

    acme_error_clear(&err);
    rv = acme_challenge_choose(&challenge, &type, authz, choices[_i].allowed, choices[_i].n, &err);
    if (choices[_i].chosen) {
        ck_assert_int_eq(rv, ACME_OK);
        ck_assert_int_eq(err.kind, ACME_E_NONE);
        ck_assert_str_eq(challenge->type, choices[_i].chosen);
        ck_assert_str_eq(acme_challenge_type_name(type), choices[_i].chosen);
        ck_assert_int_eq(challenge->status, ACME_CHALLENGE_PENDING);
        return;
    }
    ck_assert_int_eq(rv, ACME_FAIL);
    ck_assert_ptr_null(challenge);
    ck_assert_int_eq(type, ACME_CH_TYPES);
    ck_assert_str_eq(err.code, "AC0402");
    ck_assert_int_eq(err.kind, ACME_E_CHALLENGE);
    ck_assert_int_eq(err.retry, ACME_RETRY_SLOW);
    ck_assert_int_eq(acme_challenge_choose(&challenge, &type, authz, choices[_i].allowed,
                                           choices[_i].n, NULL), ACME_FAIL);
}
END_TEST

START_TEST(error_names_what_was_offered_and_what_is_allowed)
{
    static const acme_challenge_type_t all[] = {A, S, H, H};
    const acme_challenge_object_t *challenge;
    acme_challenge_type_t type;
    acme_error_t err;

    acme_error_clear(&err);
    (void)acme_challenge_choose(&challenge, &type, authz_of("*.example.org", "dns-01 x-99"), all, 3,
                                &err);
    ck_assert_str_eq(err.text,
                     "*.example.org: no type of challenge fits (a wildcard needs dns-01): the CA "
                     "offers dns-01 x-99, allowed here: tls-alpn-01 tls-sni-01 http-01");
    acme_error_clear(&err);
    (void)acme_challenge_choose(&challenge, &type, authz_of("example.org", ""), all, 0, &err);
    ck_assert_str_eq(err.text, "example.org: no type of challenge fits: the CA offers none, "
                               "allowed here: none");
    acme_error_clear(&err);
    (void)acme_error_set(&err, ACME_E_NETWORK, NULL, "first");
    (void)acme_challenge_choose(&challenge, &type, authz_of("example.org", ""), all, 0, &err);
    ck_assert_str_eq(err.text, "first");
    ck_assert_int_eq(err.retry, ACME_RETRY_LADDER);
}
END_TEST

Suite *challenge_suite(void)
{
    Suite *suite = suite_create("challenge");
    TCase *tc = tcase_create("challenge");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_loop_test(tc, key_authorizations, 0, COUNT(vectors));
    tcase_add_loop_test(tc, alpn_names, 0, COUNT(alpn));
    tcase_add_test(tc, tokens_hold_nothing_but_base64url);
    tcase_add_test(tc, tokens_have_16_to_256_characters);
    tcase_add_loop_test(tc, type_words, 0, COUNT(types));
    tcase_add_test(tc, type_names);
    tcase_add_loop_test(tc, dns_record, 0, COUNT(dns_records));
    tcase_add_loop_test(tc, types_fit_names, 0, COUNT(usable));
    tcase_add_loop_test(tc, first_that_fits, 0, COUNT(choices));
    tcase_add_test(tc, error_names_what_was_offered_and_what_is_allowed);
    suite_add_tcase(suite, tc);
    return suite;
}
