/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <apr_general.h>
#include <apr_strings.h>
#include "crypto/x509.h"
#include "io/presenter.h"

Suite *presenter_suite(void);

#define TOKEN "evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oA"
#define THUMBPRINT "9jg46WB3rR_AHD-EBXdN7cBkH1WOu0tA3M9fm21mqTI"

static apr_pool_t *pool;
static void *memory;
static apr_size_t memory_size;
static acme_board_t *board;
static acme_present_ctx_t *ctx;
static acme_spec_t spec;
static apr_time_t clock_now;

static apr_time_t scripted(void *baton)
{
    return *(apr_time_t *)baton;
}

static void setup(void)
{
    apr_initialize();
    apr_pool_create(&pool, NULL);
    memory_size = acme_board_size(2);
    memory = mmap(NULL, memory_size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    ck_assert(memory != MAP_FAILED);
    acme_board_format(memory, memory_size, 2);
    ck_assert(acme_board_attach(&board, memory, memory_size, pool, NULL) == ACME_OK);
    clock_now = apr_time_now();
    ck_assert(acme_present_ctx_create(&ctx, board, scripted, &clock_now, pool, NULL) == ACME_OK);
    memset(&spec, 0, sizeof(spec));
}

static void teardown(void)
{
    munmap(memory, memory_size);
    apr_pool_destroy(pool);
    apr_terminate();
}

static acme_presentation_t presentation(acme_challenge_type_t type, const char *name)
{
    acme_presentation_t what;

    memset(&what, 0, sizeof(what));
    what.spec = &spec;
    what.row = 1;
    what.type = type;
    what.name = name;
    what.token = TOKEN;
    what.key_authorization = TOKEN "." THUMBPRINT;
    what.expires = clock_now + apr_time_from_sec(3600);
    return what;
}

static acme_rv_t by_sni(acme_board_challenge_t *out, acme_challenge_type_t type, const char *sni)
{
    return acme_board_challenge_by_sni(out, board, type, sni, clock_now);
}

START_TEST(http_token_is_answered_until_withdrawn)
{
    acme_presentation_t what = presentation(ACME_CH_HTTP01, "example.org");
    acme_board_challenge_t found;

    ck_assert(acme_present(ctx, &what, pool, NULL) == ACME_OK);
    ck_assert(acme_settled(ctx, &what, pool, NULL) == ACME_OK);
    ck_assert(acme_board_challenge_by_token(&found, board, TOKEN, strlen(TOKEN), clock_now)
              == ACME_OK);
    ck_assert_str_eq(found.name, "example.org");
    ck_assert_str_eq(found.key_authorization, TOKEN "." THUMBPRINT);
    ck_assert_int_eq(found.row, 1);
    ck_assert(acme_board_challenge_by_token(&found, board, TOKEN, strlen(TOKEN), what.expires)
              == ACME_AGAIN);
    acme_withdraw(ctx, &what);
    ck_assert(acme_board_challenge_by_token(&found, board, TOKEN, strlen(TOKEN), clock_now)
              == ACME_AGAIN);
    acme_withdraw(ctx, &what);
}
END_TEST

static void pair_of(const acme_board_challenge_t *found, int side, acme_key_t **key,
                    acme_leaf_t *leaf)
{
    const unsigned char *der = found->cert[side];
    apr_size_t len = found->cert_len[side];
    acme_chain_t *chain;

    ck_assert(acme_chain_from_der(&chain, &der, &len, 1, pool, NULL) == ACME_OK);
    ck_assert(acme_key_from_der(key, found->key[side], found->key_len[side], pool, NULL)
              == ACME_OK);
    ck_assert(acme_chain_matches_key(chain, *key));
    ck_assert(acme_chain_leaf(leaf, chain, pool, NULL) == ACME_OK);
    ck_assert_int_eq(leaf->names->nelts, 1);
}

START_TEST(alpn_has_a_certificate_of_each_key_type_that_is_wanted)
{
    acme_presentation_t what = presentation(ACME_CH_TLSALPN01, "example.org");
    acme_board_challenge_t found;
    acme_key_type_t type;
    acme_key_t *key;
    acme_leaf_t leaf;

    ck_assert(acme_present(ctx, &what, pool, NULL) == ACME_OK);
    ck_assert(by_sni(&found, ACME_CH_TLSALPN01, "EXAMPLE.org") == ACME_OK);
    pair_of(&found, 0, &key, &leaf);
    ck_assert_str_eq(APR_ARRAY_IDX(leaf.names, 0, const char *), "example.org");
    ck_assert(acme_key_type(&type, key) == ACME_OK && type == ACME_KEY_P256);
    ck_assert_int_eq(found.cert_len[1], 0);
    ck_assert_ptr_null(ctx->rsa_key);

    spec.rsa_challenge = 1;
    ck_assert(acme_present(ctx, &what, pool, NULL) == ACME_OK);
    ck_assert(by_sni(&found, ACME_CH_TLSALPN01, "example.org") == ACME_OK);
    pair_of(&found, 1, &key, &leaf);
    ck_assert(acme_key_type(&type, key) == ACME_OK && type == ACME_KEY_RSA2048);
    ck_assert_int_eq(acme_board_challenge_pending(board, ACME_CH_TLSALPN01), 1);
}
END_TEST

START_TEST(challenge_keys_are_made_once)
{
    acme_presentation_t what = presentation(ACME_CH_TLSALPN01, "example.org");
    acme_key_t *ec, *rsa;

    spec.rsa_challenge = 1;
    ck_assert(acme_present(ctx, &what, pool, NULL) == ACME_OK);
    ec = ctx->ec_key;
    rsa = ctx->rsa_key;
    ck_assert(ec != NULL && rsa != NULL);
    what.name = "www.example.org";
    ck_assert(acme_present(ctx, &what, pool, NULL) == ACME_OK);
    ck_assert(ctx->ec_key == ec && ctx->rsa_key == rsa);
}
END_TEST

START_TEST(alpn_for_an_address_is_found_by_its_reverse_name)
{
    acme_presentation_t what = presentation(ACME_CH_TLSALPN01, "192.0.2.1");
    acme_board_challenge_t found;
    acme_key_t *key;
    acme_leaf_t leaf;

    ck_assert(acme_present(ctx, &what, pool, NULL) == ACME_OK);
    ck_assert(by_sni(&found, ACME_CH_TLSALPN01, "1.2.0.192.in-addr.arpa") == ACME_OK);
    pair_of(&found, 0, &key, &leaf);
    ck_assert_str_eq(APR_ARRAY_IDX(leaf.names, 0, const char *), "192.0.2.1");
}
END_TEST

/* Computed with sha256sum over TOKEN.THUMBPRINT. */
START_TEST(sni_name_is_the_digest_under_acme_invalid)
{
    static const char *const sni =
        "94233b719c905dc5472b69e75b78e302.1353dc5be6d7c50dfa45996649caa183.acme.invalid";
    acme_presentation_t what = presentation(ACME_CH_TLSSNI01, "example.org");
    const char *name = acme_challenge_sni_name(what.key_authorization, pool);
    acme_board_challenge_t found;
    acme_key_t *key;
    acme_leaf_t leaf;

    ck_assert_str_eq(name, sni);
    ck_assert(acme_present(ctx, &what, pool, NULL) == ACME_OK);
    ck_assert(by_sni(&found, ACME_CH_TLSSNI01, name) == ACME_OK);
    pair_of(&found, 0, &key, &leaf);
    ck_assert_str_eq(APR_ARRAY_IDX(leaf.names, 0, const char *), name);
    ck_assert_str_eq(found.name, "example.org");
    pair_of(&found, 1, &key, &leaf); /* whatever the default vhost of the address serves */
    ck_assert_str_eq(APR_ARRAY_IDX(leaf.names, 0, const char *), name);
    ck_assert(by_sni(&found, ACME_CH_TLSALPN01, name) == ACME_AGAIN);
    acme_withdraw(ctx, &what);
    ck_assert(by_sni(&found, ACME_CH_TLSSNI01, name) == ACME_AGAIN);
}
END_TEST

START_TEST(withdraw_touches_only_that_name)
{
    acme_presentation_t one = presentation(ACME_CH_HTTP01, "example.org");
    acme_presentation_t two = presentation(ACME_CH_HTTP01, "www.example.org");

    ck_assert(acme_present(ctx, &one, pool, NULL) == ACME_OK);
    ck_assert(acme_present(ctx, &two, pool, NULL) == ACME_OK);
    acme_withdraw(ctx, &one);
    ck_assert_int_eq(acme_board_challenge_pending(board, ACME_CH_HTTP01), 1);
    two.name = NULL;
    acme_withdraw(ctx, &two);
    ck_assert_int_eq(acme_board_challenge_pending(board, ACME_CH_HTTP01), 0);
}
END_TEST

START_TEST(what_cannot_be_presented_says_why)
{
    acme_presentation_t what = presentation(ACME_CH_DNS01, "example.org");
    acme_error_t err;
    char *token;

    acme_error_clear(&err);
    ck_assert(acme_present(ctx, &what, pool, &err) == ACME_FAIL);
    ck_assert_str_eq(err.code, "AC0422");
    ck_assert_str_eq(err.text, "example.org: dns-01 is not available");
    ck_assert(err.kind == ACME_E_CHALLENGE);
    ck_assert(acme_settled(ctx, &what, pool, NULL) == ACME_FAIL);
    acme_withdraw(ctx, &what);

    what = presentation(ACME_CH_HTTP01, "example.org");
    what.row = -1;
    acme_error_clear(&err);
    ck_assert(acme_present(ctx, &what, pool, &err) == ACME_FAIL);
    ck_assert_str_eq(err.code, "AC0424");

    what = presentation(ACME_CH_HTTP01, "example.org");
    token = apr_palloc(pool, 400);
    memset(token, 'a', 399);
    token[399] = '\0';
    what.token = token;
    acme_error_clear(&err);
    ck_assert(acme_present(ctx, &what, pool, &err) == ACME_FAIL);
    ck_assert_str_eq(err.code, "AC0420");
    ck_assert_int_eq(acme_board_challenge_pending(board, ACME_CH_HTTP01), 0);
}
END_TEST

Suite *presenter_suite(void)
{
    Suite *s = suite_create("presenter");
    TCase *tc = tcase_create("presenter");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 30);
    tcase_add_test(tc, http_token_is_answered_until_withdrawn);
    tcase_add_test(tc, alpn_has_a_certificate_of_each_key_type_that_is_wanted);
    tcase_add_test(tc, challenge_keys_are_made_once);
    tcase_add_test(tc, alpn_for_an_address_is_found_by_its_reverse_name);
    tcase_add_test(tc, sni_name_is_the_digest_under_acme_invalid);
    tcase_add_test(tc, withdraw_touches_only_that_name);
    tcase_add_test(tc, what_cannot_be_presented_says_why);
    suite_add_tcase(s, tc);
    return s;
}
