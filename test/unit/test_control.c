/* Licensed under the Apache License, Version 2.0; see LICENSE. */

/* Requests of acmectl: what is taken, what is refused, what comes out of a round. */

#include <string.h>

#include <apr_general.h>
#include <apr_strings.h>
#include <check.h>

#include "base/json.h"
#include "protocol/control.h"
#include "protocol/rollover.h"

#define COUNT(table) ((int)(sizeof(table) / sizeof((table)[0])))

Suite *control_suite(void);

static apr_pool_t *pool;

static void setup(void)
{
    apr_initialize();
    acme_json_init();
    apr_pool_create(&pool, NULL);
}

static void teardown(void)
{
    apr_pool_destroy(pool);
}

static const struct {
    const char *text;
    acme_control_command_t command;
    const char *name;
    int new_key, reason;
    apr_size_t der_len;
} good[] = {
    {"{\"command\":\"status\"}", ACME_CONTROL_STATUS, NULL, 0, 0, 0},
    {"{\"command\":\"status\",\"name\":null,\"later\":[1]}", ACME_CONTROL_STATUS, NULL, 0, 0, 0},
    {" {\"name\":\"a.test\",\"command\":\"retry\"} ", ACME_CONTROL_RETRY, "a.test", 0, 0, 0},
    {"{\"command\":\"renew\",\"name\":\"a.test\",\"newKey\":true}", ACME_CONTROL_RENEW, "a.test",
     1, 0, 0},
    {"{\"command\":\"revoke\",\"name\":\"a.test.rsa2048\",\"reason\":10,\"certificate\":\"AQID\"}",
     ACME_CONTROL_REVOKE, "a.test.rsa2048", 0, 10, 3},
    {"{\"command\":\"rollover\",\"name\":\"https://ca.test/dir\"}", ACME_CONTROL_ROLLOVER,
     "https://ca.test/dir", 0, 0, 0},
    {"{\"command\":\"deactivate\",\"name\":\"x\"}", ACME_CONTROL_DEACTIVATE, "x", 0, 0, 0},
};

static void same(const acme_control_request_t *request, int i)
{
    ck_assert_int_eq(request->command, good[i].command);
    ck_assert_pstr_eq(request->name, good[i].name);
    ck_assert_int_eq(request->new_key, good[i].new_key);
    ck_assert_int_eq(request->reason, good[i].reason);
    ck_assert_uint_eq(request->der_len, good[i].der_len);
    if (good[i].der_len == 3) {
        ck_assert_mem_eq(request->der, "\1\2\3", 3);
    }
}

START_TEST(what_is_taken)
{
    acme_control_request_t request;
    const char *text;

    ck_assert_int_eq(acme_control_parse(&request, good[_i].text, strlen(good[_i].text), pool,
                                        NULL), ACME_OK);
    same(&request, _i);
    text = acme_control_format(&request, pool);
    ck_assert_int_eq(text[strlen(text) - 1], '\n');
    ck_assert_int_eq(acme_control_parse(&request, text, strlen(text) - 1, pool, NULL), ACME_OK);
    same(&request, _i);
}
END_TEST

static const char *const bad[] = {
    "", "[]", "null", "{", "{}", "{\"command\":1}", "{\"command\":\"stop\"}",
    "{\"command\":\"Status\"}", "{\"command\":\"renew\"}", "{\"command\":\"renew\",\"name\":\"\"}",
    "{\"command\":\"status\",\"name\":7}", "{\"command\":\"status\",\"name\":\"a\\u0007b\"}",
    "{\"command\":\"renew\",\"name\":\"a\",\"newKey\":\"yes\"}",
    "{\"command\":\"revoke\",\"name\":\"a\",\"reason\":7}",
    "{\"command\":\"revoke\",\"name\":\"a\",\"reason\":-1}",
    "{\"command\":\"revoke\",\"name\":\"a\",\"reason\":11}",
    "{\"command\":\"revoke\",\"name\":\"a\",\"certificate\":\"A===\"}",
    "{\"command\":\"status\"}{\"command\":\"status\"}",
    "{\"command\":\"status\",\"command\":\"retry\"}",
};

START_TEST(what_is_refused)
{
    acme_control_request_t request;
    acme_error_t err;

    acme_error_clear(&err);
    memset(&request, 1, sizeof(request));
    ck_assert_int_eq(acme_control_parse(&request, bad[_i], strlen(bad[_i]), pool, &err),
                     ACME_FAIL);
    ck_assert(err.text[0] != '\0');
    ck_assert_int_eq(request.new_key, 0x01010101);
}
END_TEST

START_TEST(sizes)
{
    apr_size_t len = ACME_CONTROL_MAX + 1;
    char *text = apr_palloc(pool, len);
    acme_control_request_t request;
    acme_error_t err;
    char *name = apr_palloc(pool, 302);

    memset(text, ' ', len);
    memcpy(text, good[0].text, strlen(good[0].text));
    ck_assert_int_eq(acme_control_parse(&request, text, len - 1, pool, NULL), ACME_OK);
    acme_error_clear(&err);
    ck_assert_int_eq(acme_control_parse(&request, text, len, pool, &err), ACME_FAIL);
    ck_assert_str_eq(err.code, "AC0174");
    memset(name, 'a', 301);
    name[301] = '\0';
    text = apr_psprintf(pool, "{\"command\":\"renew\",\"name\":\"%s\"}", name);
    ck_assert_int_eq(acme_control_parse(&request, text, strlen(text), pool, NULL), ACME_FAIL);
    text = apr_psprintf(pool, "{\"command\":\"renew\",\"name\":\"%s\"}", name + 1);
    ck_assert_int_eq(acme_control_parse(&request, text, strlen(text), pool, NULL), ACME_OK);
}
END_TEST

/* RFC 5280 section 5.3.1. */
static const struct {
    const char *word;
    int code;
} words[] = {
    {"unspecified", 0}, {"keyCompromise", 1}, {"KEYCOMPROMISE", 1}, {"cACompromise", 2},
    {"affiliationChanged", 3}, {"superseded", 4}, {"cessationOfOperation", 5},
    {"certificateHold", 6}, {"removeFromCRL", 8}, {"privilegeWithdrawn", 9}, {"aACompromise", 10},
    {"", -1}, {"7", -1}, {"key", -1}, {"keyCompromise ", -1},
};

START_TEST(reasons)
{
    int code = -1;

    ck_assert_int_eq(acme_revocation_reason(&code, words[_i].word),
                     words[_i].code < 0 ? ACME_FAIL : ACME_OK);
    ck_assert_int_eq(code, words[_i].code);
    if (_i == 1) {
        ck_assert_ptr_nonnull(strstr(acme_revocation_reasons(pool), "keyCompromise"));
    }
}
END_TEST

START_TEST(rollover_records)
{
    static const char *const wrong[] = {
        "", "{}", "{\"url\":\"u\"}", "{\"file\":\"f\"}", "{\"url\":1,\"file\":\"f\"}",
        "{\"url\":\"u\",\"file\":\"f\",\"next\":{}}", "{\"url\":\"u\",\"file\":\"f\",\"key\":3}",
    };
    acme_rollover_t in, out;
    const char *text;
    int i;

    memset(&in, 0, sizeof(in));
    in.directory = "https://ca.test/dir";
    in.file = "thumb";
    in.next = "{\"kty\":\"EC\"}";
    text = acme_rollover_payload(&in, pool);
    ck_assert_int_eq(acme_rollover_parse(&out, text, strlen(text), pool, NULL), ACME_OK);
    ck_assert_str_eq(out.directory, in.directory);
    ck_assert_str_eq(out.file, in.file);
    ck_assert_str_eq(out.next, in.next);
    ck_assert_ptr_null(out.key);
    for (i = 0; i < COUNT(wrong); i++) {
        ck_assert_int_eq(acme_rollover_parse(&out, wrong[i], strlen(wrong[i]), pool, NULL),
                         ACME_FAIL);
    }
}
END_TEST

Suite *control_suite(void)
{
    Suite *suite = suite_create("control");
    TCase *tc = tcase_create("control");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_loop_test(tc, what_is_taken, 0, COUNT(good));
    tcase_add_loop_test(tc, what_is_refused, 0, COUNT(bad));
    tcase_add_test(tc, sizes);
    tcase_add_loop_test(tc, reasons, 0, COUNT(words));
    tcase_add_test(tc, rollover_records);
    suite_add_tcase(suite, tc);
    return suite;
}
