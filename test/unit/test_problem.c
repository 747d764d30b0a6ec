/* Licensed under the Apache License, Version 2.0; see LICENSE. */

#include <stdlib.h>
#include <string.h>

#include <apr_general.h>
#include <apr_strings.h>
#include <check.h>

#include "protocol/problem.h"

#define COUNT(table) ((int)(sizeof(table) / sizeof((table)[0])))
#define URN "urn:ietf:params:acme:error:"
#define NOW apr_time_from_sec((apr_int64_t)1784110000) /* 2026-07-15T10:06:40Z */
#define WEEK apr_time_from_sec((apr_int64_t)7 * 86400)

Suite *problem_suite(void);

static apr_pool_t *pool;

static void setup(void)
{
    apr_initialize();
    apr_pool_create(&pool, NULL);
    acme_json_init();
}

static void teardown(void)
{
    apr_pool_destroy(pool);
}

/* ---- from an object ---- */

static acme_problem_t *parse(const char *text)
{
    acme_json_t *json = NULL;

    ck_assert_int_eq(acme_json_parse(&json, text, strlen(text), "test", pool, NULL), ACME_OK);
    return acme_problem_from_json(json, pool);
}

static const char *typed(const char *type)
{
    return apr_pstrcat(pool, "{\"type\":\"", type, "\",\"detail\":\"d\"}", NULL);
}

/* RFC 8555 section 6.7, all 24, and those of later documents. */
static const struct {
    const char *type;
    acme_retry_t retry;
} types[] = {
    {"accountDoesNotExist", ACME_RETRY_LADDER},
    {"alreadyRevoked", ACME_RETRY_SLOW},
    {"badCSR", ACME_RETRY_SLOW},
    {"badNonce", ACME_RETRY_NOW},
    {"badPublicKey", ACME_RETRY_SLOW},
    {"badRevocationReason", ACME_RETRY_SLOW},
    {"badSignatureAlgorithm", ACME_RETRY_SLOW},
    {"caa", ACME_RETRY_SLOW},
    {"compound", ACME_RETRY_LADDER},
    {"connection", ACME_RETRY_LADDER},
    {"dns", ACME_RETRY_LADDER},
    {"externalAccountRequired", ACME_RETRY_HUMAN},
    {"incorrectResponse", ACME_RETRY_LADDER},
    {"invalidContact", ACME_RETRY_HUMAN},
    {"malformed", ACME_RETRY_LADDER},
    {"orderNotReady", ACME_RETRY_LADDER},
    {"rateLimited", ACME_RETRY_LADDER},
    {"rejectedIdentifier", ACME_RETRY_SLOW},
    {"serverInternal", ACME_RETRY_LADDER},
    {"tls", ACME_RETRY_LADDER},
    {"unauthorized", ACME_RETRY_LADDER},
    {"unsupportedContact", ACME_RETRY_HUMAN},
    {"unsupportedIdentifier", ACME_RETRY_SLOW},
    {"userActionRequired", ACME_RETRY_HUMAN},
    /* RFC 9773, draft-ietf-acme-profiles, RFC 9799, RFC 9115; what CAs add */
    {"alreadyReplaced", ACME_RETRY_NOW},
    {"invalidProfile", ACME_RETRY_SLOW},
    {"onionCAARequired", ACME_RETRY_SLOW},
    {"unknownDelegation", ACME_RETRY_SLOW},
    {"agreementRequired", ACME_RETRY_HUMAN},
    {"conflict", ACME_RETRY_LADDER},
    /* no such type */
    {"badnonce", ACME_RETRY_LADDER},
    {"badNonces", ACME_RETRY_LADDER},
    {"", ACME_RETRY_LADDER},
};

START_TEST(types_have_classes)
{
    const char *type = types[_i].type;
    acme_problem_t *problem = parse(typed(apr_pstrcat(pool, URN, type, NULL)));

    ck_assert_str_eq(problem->type, type);
    ck_assert_str_eq(problem->detail, "d");
    ck_assert_str_eq(problem->text, *type ? apr_pstrcat(pool, type, ": d", NULL) : "d");
    ck_assert_int_eq(problem->retry, types[_i].retry);
    ck_assert_int_eq(problem->account_missing, !strcmp(type, "accountDoesNotExist"));
    ck_assert_int_eq(problem->bad_nonce, !strcmp(type, "badNonce"));
    ck_assert_int_eq(problem->ca_wide, !strcmp(type, "rateLimited"));
    ck_assert_ptr_null(problem->instance);
}
END_TEST

/* JSON, type, detail, text. */
static const struct {
    const char *json, *type, *detail, *text;
} objects[] = {
    {"{}", "", "", "neither type nor detail given"},
    {"{\"type\":\"" URN "dns\"}", "dns", "", "dns"},
    {"{\"detail\":\"d\"}", "", "d", "d"},
    {"{\"title\":\"t\",\"type\":\"" URN "dns\"}", "dns", "t", "dns: t"},
    {"{\"title\":\"t\",\"detail\":\"d\"}", "", "d", "d"},
    {"{\"type\":\"about:blank\",\"title\":\"Not Found\"}", "", "Not Found", "Not Found"},
    {"{\"type\":\"urn:acme:error:dns\",\"detail\":\"d\"}", "urn:acme:error:dns", "d",
     "urn:acme:error:dns: d"},
    {"{\"type\":\"https://ca.example/e\",\"detail\":\"d\"}", "https://ca.example/e", "d",
     "https://ca.example/e: d"},
    {"{\"type\":\"dns\",\"detail\":\"d\"}", "dns", "d", "dns: d"},
    /* wrong types are absent */
    {"{\"type\":7,\"detail\":[],\"instance\":{},\"title\":false,\"subproblems\":\"x\"}", "", "",
     "neither type nor detail given"},
    {"{\"type\":null,\"detail\":null,\"instance\":null,\"subproblems\":null}", "", "",
     "neither type nor detail given"},
    {"{\"type\":{},\"detail\":\"d\",\"subproblems\":{}}", "", "d", "d"},
    {"{\"detail\":\"d\",\"subproblems\":[1,\"x\",null,[],{}]}", "", "d", "d"},
    /* hostile text */
    {"{\"type\":\"" URN "badNonce\\n\",\"detail\":\"a\\r\\nb\\u001b[31mc\\u007f\\u009b\"}",
     "badNonce?", "a??b?[31mc???", "badNonce?: a??b?[31mc???"},
    {"{\"detail\":\"caf\\u00e9 \\u20ac\"}", "", "caf\xc3\xa9 \xe2\x82\xac",
     "caf\xc3\xa9 \xe2\x82\xac"},
    /* subproblems */
    {"{\"type\":\"" URN "compound\",\"detail\":\"d\",\"subproblems\":[{\"type\":\"" URN "dns\","
     "\"detail\":\"one\",\"identifier\":{\"type\":\"dns\",\"value\":\"a.example\"}},"
     "{\"type\":\"" URN "caa\",\"identifier\":{\"type\":\"dns\",\"value\":\"b.example\"}}]}",
     "compound", "d",
     "compound: d [a.example: one; b.example: caa]"},
    {"{\"detail\":\"d\",\"subproblems\":[{\"detail\":\"x\"},{\"identifier\":{\"value\":\"b\"}}]}",
     "", "d", "d [x; b]"},
    {"{\"detail\":\"d\",\"subproblems\":[{\"detail\":\"x\",\"identifier\":\"b\"},"
     "{\"detail\":\"y\",\"identifier\":{\"value\":9}}]}", "", "d", "d [x; y]"},
    {"{\"subproblems\":[{\"detail\":\"x\\n\",\"identifier\":{\"value\":\"b\\u0007\"}}]}", "", "",
     "[b?: x?]"},
};

START_TEST(objects_are_taken_apart)
{
    acme_problem_t *problem = parse(objects[_i].json);

    ck_assert_str_eq(problem->type, objects[_i].type);
    ck_assert_str_eq(problem->detail, objects[_i].detail);
    ck_assert_str_eq(problem->text, objects[_i].text);
}
END_TEST

START_TEST(no_object)
{
    acme_problem_t *problem = acme_problem_from_json(NULL, pool);

    ck_assert_str_eq(problem->type, "");
    ck_assert_str_eq(problem->detail, "");
    ck_assert_str_ne(problem->text, "");
    ck_assert_ptr_null(problem->instance);
    ck_assert_int_eq(problem->retry, ACME_RETRY_LADDER);
    ck_assert_int_eq(problem->ca_wide, 0);
}
END_TEST

/* RFC 8555 section 6.7.1. */
static const char rfc[]
    = "{\"type\":\"urn:ietf:params:acme:error:malformed\","
      "\"detail\":\"Some of the identifiers requested were rejected\",\"subproblems\":["
      "{\"type\":\"urn:ietf:params:acme:error:malformed\","
      "\"detail\":\"Invalid underscore in DNS name \\\"_example.org\\\"\","
      "\"identifier\":{\"type\":\"dns\",\"value\":\"_example.org\"}},"
      "{\"type\":\"urn:ietf:params:acme:error:rejectedIdentifier\","
      "\"detail\":\"This CA will not issue for \\\"example.net\\\"\","
      "\"identifier\":{\"type\":\"dns\",\"value\":\"example.net\"}}]}";

START_TEST(example_of_the_rfc)
{
    acme_problem_t *problem = parse(rfc);

    ck_assert_str_eq(problem->text,
                     "malformed: Some of the identifiers requested were rejected "
                     "[_example.org: Invalid underscore in DNS name \"_example.org\"; "
                     "example.net: This CA will not issue for \"example.net\"]");
    ck_assert_int_eq(problem->retry, ACME_RETRY_SLOW);
}
END_TEST

/* Type of the whole, types of its parts, class, whether it concerns the whole CA. */
static const struct {
    const char *type, *parts[3];
    acme_retry_t retry;
    int ca_wide;
} compounds[] = {
    {"compound", {"dns", "connection"}, ACME_RETRY_LADDER, 0},
    {"compound", {"dns", "rejectedIdentifier"}, ACME_RETRY_SLOW, 0},
    {"compound", {"userActionRequired", "caa", "dns"}, ACME_RETRY_HUMAN, 0},
    {"compound", {"badNonce"}, ACME_RETRY_LADDER, 0},
    {"compound", {"nothingKnown"}, ACME_RETRY_LADDER, 0},
    {"rateLimited", {"rateLimited"}, ACME_RETRY_LADDER, 0},
    {"rateLimited", {NULL}, ACME_RETRY_LADDER, 1},
    {"badNonce", {"caa"}, ACME_RETRY_NOW, 0},
    {"rejectedIdentifier", {"dns"}, ACME_RETRY_SLOW, 0},
};

START_TEST(parts_slow_down)
{
    const char *parts = "";
    acme_problem_t *problem;
    int i;

    for (i = 0; i < 3 && compounds[_i].parts[i]; i++) {
        parts = apr_pstrcat(pool, parts, i ? "," : "", "{\"type\":\"" URN, compounds[_i].parts[i],
                            "\"}", NULL);
    }
    problem = parse(apr_pstrcat(pool, "{\"type\":\"" URN, compounds[_i].type,
                                "\",\"subproblems\":[", parts, "]}", NULL));
    ck_assert_int_eq(problem->retry, compounds[_i].retry);
    ck_assert_int_eq(problem->ca_wide, compounds[_i].ca_wide);
}
END_TEST

static char *fill(char c, apr_size_t len)
{
    char *text = apr_palloc(pool, len + 1);

    memset(text, c, len);
    text[len] = '\0';
    return text;
}

START_TEST(text_is_bounded)
{
    acme_problem_t *problem = parse(apr_pstrcat(pool, "{\"type\":\"", fill('t', 5000),
                                                "\",\"detail\":\"", fill('d', 1000000),
                                                "\",\"instance\":\"", fill('i', 513), "\"}", NULL));

    ck_assert_uint_eq(strlen(problem->type), 79);
    ck_assert_uint_eq(strlen(problem->detail), 1024);
    ck_assert_ptr_null(problem->instance);
    ck_assert_uint_eq(strlen(problem->text), 79 + 2 + 1024);
    /* a character of two bytes is not cut in half */
    problem = parse(apr_pstrcat(pool, "{\"detail\":\"", fill('d', 1023), "\xc3\xa4\"}", NULL));
    ck_assert_uint_eq(strlen(problem->detail), 1023);
}
END_TEST

START_TEST(instances)
{
    const char *url = apr_pstrcat(pool, "https://ca.example/", fill('i', 512 - 19), NULL);

    ck_assert_str_eq(parse(apr_pstrcat(pool, "{\"instance\":\"", url, "\"}", NULL))->instance, url);
    ck_assert_str_eq(parse("{\"instance\":\"a\\u001bb\"}")->instance, "a?b");
    ck_assert_ptr_null(parse("{\"instance\":\"\"}")->instance);
}
END_TEST

START_TEST(ten_parts_of_many)
{
    char *parts = apr_palloc(pool, 10000 * 100);
    acme_problem_t *problem;
    apr_size_t n = 0;
    int i;

    for (i = 0; i < 10000; i++) {
        n += (apr_size_t)apr_snprintf(parts + n, 100, "%s{\"detail\":\"x\",\"identifier\":"
                                      "{\"type\":\"dns\",\"value\":\"n%d\"}}", i ? "," : "", i);
    }
    problem = parse(apr_pstrcat(pool, "{\"detail\":\"d\",\"subproblems\":[", parts, "]}", NULL));
    ck_assert_str_eq(problem->text, "d [n0: x; n1: x; n2: x; n3: x; n4: x; n5: x; n6: x; n7: x; "
                                    "n8: x; n9: x; 9990 more]");
    parts = apr_pstrcat(pool, "{\"detail\":\"", fill('x', 2000), "\",\"identifier\":{\"value\":\"",
                        fill('n', 2000), "\"}}", NULL);
    for (i = 0; i < 4; i++) {
        parts = apr_pstrcat(pool, parts, ",", parts, NULL);
    }
    problem = parse(apr_pstrcat(pool, "{\"detail\":\"d\",\"subproblems\":[", parts, "]}", NULL));
    ck_assert_uint_lt(strlen(problem->text), 6000);
}
END_TEST

/* ---- from a response ---- */

static acme_http_response_t *respond(int status, const char *type, const char *headers,
                                     const char *body)
{
    acme_http_response_t *response
        = acme_http_response_create(0, ACME_HTTP_JSON_MAX, pool);
    const char *bytes = apr_psprintf(pool, "HTTP/1.1 %d X\r\n%s%s%s%sContent-Length: %d\r\n\r\n%s",
                                     status, type ? "Content-Type: " : "", type ? type : "",
                                     type ? "\r\n" : "", headers, (int)strlen(body), body);
    apr_size_t used;

    ck_assert_int_eq(acme_http_response_feed(response, bytes, strlen(bytes), &used, NULL), ACME_OK);
    return response;
}

#define PJSON "application/problem+json"
#define DOC "{\"type\":\"" URN "rejectedIdentifier\",\"detail\":\"no\"}"

/* Status, media type, body; problem type, class, CA-wide, text. */
static const struct {
    int status;
    const char *media, *body, *type;
    acme_retry_t retry;
    int ca_wide;
    const char *text;
} responses[] = {
    {403, PJSON, DOC, "rejectedIdentifier", ACME_RETRY_SLOW, 0, "403 rejectedIdentifier: no"},
    {403, PJSON "; x=y", DOC, "rejectedIdentifier", ACME_RETRY_SLOW, 0,
     "403 rejectedIdentifier: no"},
    {403, "Application/Problem+JSON", DOC, "rejectedIdentifier", ACME_RETRY_SLOW, 0,
     "403 rejectedIdentifier: no"},
    {403, "application/json", DOC, "rejectedIdentifier", ACME_RETRY_SLOW, 0,
     "403 rejectedIdentifier: no"},
    {403, NULL, DOC, "rejectedIdentifier", ACME_RETRY_SLOW, 0, "403 rejectedIdentifier: no"},
    /* a document of something else is none */
    {502, "text/html", DOC, "", ACME_RETRY_LADDER, 1,
     "502 Bad Gateway (text/html: \"" DOC "\")"},
    {400, PJSON, "{\"type\":\"" URN "badNonce\"}", "badNonce", ACME_RETRY_NOW, 0, "400 badNonce"},
    {429, PJSON, "{\"type\":\"" URN "rateLimited\",\"detail\":\"d\"}", "rateLimited",
     ACME_RETRY_LADDER, 1, "429 rateLimited: d"},
    {429, PJSON, "{\"type\":\"" URN "rateLimited\",\"detail\":\"d\",\"subproblems\":[{\"detail\":"
     "\"x\",\"identifier\":{\"value\":\"a\"}}]}", "rateLimited", ACME_RETRY_LADDER, 0,
     "429 rateLimited: d [a: x]"},
    {503, PJSON, "{\"type\":\"" URN "rateLimited\",\"subproblems\":[{\"detail\":\"x\"}]}",
     "rateLimited", ACME_RETRY_LADDER, 1, "503 rateLimited [x]"},
    {500, PJSON, "{\"type\":\"" URN "serverInternal\",\"detail\":\"oops\"}", "serverInternal",
     ACME_RETRY_LADDER, 1, "500 serverInternal: oops"},
    /* unknown or missing type: by the status */
    {403, PJSON, "{\"type\":\"" URN "later\",\"detail\":\"d\"}", "later", ACME_RETRY_SLOW, 0,
     "403 later: d"},
    {400, PJSON, "{\"type\":\"" URN "later\",\"detail\":\"d\"}", "later", ACME_RETRY_LADDER, 0,
     "400 later: d"},
    {503, PJSON, "{\"detail\":\"d\"}", "", ACME_RETRY_LADDER, 1, "503 d"},
    {402, PJSON, "{\"type\":7,\"detail\":\"d\"}", "", ACME_RETRY_HUMAN, 0, "402 d"},
    /* no document */
    {403, PJSON, "", "", ACME_RETRY_SLOW, 0, "403 Forbidden"},
    {401, NULL, "", "", ACME_RETRY_SLOW, 0, "401 Unauthorized"},
    {404, NULL, "", "", ACME_RETRY_LADDER, 0, "404 Not Found"},
    {429, NULL, "", "", ACME_RETRY_LADDER, 1, "429 Too Many Requests"},
    {500, NULL, "", "", ACME_RETRY_LADDER, 1, "500 Internal Server Error"},
    {503, NULL, "", "", ACME_RETRY_LADDER, 1, "503 Service Unavailable"},
    {599, NULL, "", "", ACME_RETRY_LADDER, 1, "599 no problem document"},
    {302, NULL, "", "", ACME_RETRY_LADDER, 0, "302 no problem document"},
    {418, "text/plain", "tea", "", ACME_RETRY_LADDER, 0, "418 no problem document (text/plain: "
     "\"tea\")"},
    {403, PJSON, "{}", "", ACME_RETRY_SLOW, 0, "403 Forbidden (" PJSON ": \"{}\")"},
    {403, PJSON, "{\"type\":", "", ACME_RETRY_SLOW, 0, "403 Forbidden (" PJSON ": \"{\"type\":\")"},
    {403, PJSON, "[" DOC "]", "", ACME_RETRY_SLOW, 0, "403 Forbidden (" PJSON ": \"[" DOC "]\")"},
    {504, NULL, "a\x1b[31m\r\nb\xff", "", ACME_RETRY_LADDER, 1,
     "504 Gateway Timeout (no media type: \"a?[31m??b?\")"},
};

START_TEST(responses_are_judged)
{
    acme_http_response_t *response = respond(responses[_i].status, responses[_i].media, "",
                                             responses[_i].body);
    acme_problem_t *problem = NULL;
    acme_error_t err;

    acme_error_clear(&err);
    ck_assert_int_eq(acme_problem_from_response(&problem, response, NOW, pool, &err), ACME_FAIL);
    ck_assert_int_eq(err.kind, ACME_E_PROBLEM);
    ck_assert_int_eq(err.http_status, responses[_i].status);
    ck_assert_str_eq(err.problem, responses[_i].type);
    ck_assert_str_eq(err.text, responses[_i].text);
    ck_assert_str_ne(err.code, "");
    ck_assert_int_eq(err.retry, responses[_i].retry);
    ck_assert_int_eq(err.not_before, 0);
    ck_assert_str_eq(problem->type, responses[_i].type);
    ck_assert_int_eq(problem->retry, responses[_i].retry);
    ck_assert_int_eq(problem->ca_wide, responses[_i].ca_wide);
    /* without anybody who wants to know more */
    acme_error_clear(&err);
    ck_assert_int_eq(acme_problem_from_response(NULL, response, NOW, pool, &err), ACME_FAIL);
    ck_assert_str_eq(err.text, responses[_i].text);
    ck_assert_int_eq(acme_problem_from_response(NULL, response, NOW, pool, NULL), ACME_FAIL);
}
END_TEST

START_TEST(long_page_is_cut)
{
    acme_error_t err;

    acme_error_clear(&err);
    acme_problem_from_response(NULL, respond(502, "text/html", "", fill('p', 60000)), NOW, pool,
                               &err);
    ck_assert_str_eq(err.text, apr_pstrcat(pool, "502 Bad Gateway (text/html: \"", fill('p', 120),
                                           " ...\")", NULL));
}
END_TEST

START_TEST(first_cause_wins)
{
    acme_problem_t *problem = NULL;
    acme_error_t err;

    acme_error_clear(&err);
    acme_error_set(&err, ACME_E_NETWORK, NULL, "before");
    acme_problem_from_response(&problem, respond(503, NULL, "Retry-After: 9\r\n", ""), NOW, pool,
                               &err);
    ck_assert_ptr_nonnull(problem);
    ck_assert_int_eq(err.kind, ACME_E_NETWORK);
    ck_assert_str_eq(err.text, "before");
    ck_assert_int_eq(err.http_status, 0);
    ck_assert_int_eq(err.not_before, 0);
}
END_TEST

/* F-022: seconds from now on, or -1 for none. `date -u -d @1784110000 -R` for the dates. */
static const struct {
    const char *headers;
    apr_int64_t want;
} waits[] = {
    {"", -1},
    {"Retry-After: 120\r\n", 120},
    {"Retry-After: 0\r\n", 0},
    {"retry-after:\t5 \r\n", 5},
    {"Retry-After: 604800\r\n", 604800},
    {"Retry-After: 604801\r\n", 604800},
    {"Retry-After: 1000000000\r\n", 604800},
    {"Retry-After: 99999999999999999999\r\n", 604800},
    {"Retry-After: Wed, 15 Jul 2026 10:08:40 GMT\r\n", 120},
    {"Retry-After: Wednesday, 15-Jul-26 10:08:40 GMT\r\n", 120},
    {"Retry-After: Wed Jul 15 10:08:40 2026\r\n", 120},
    {"Retry-After: Wed, 15 Jul 2026 10:06:40 GMT\r\n", 0},
    {"Retry-After: Tue, 14 Jul 2026 10:08:40 GMT\r\n", 0},
    {"Retry-After: Thu, 15 Jul 2027 10:08:40 GMT\r\n", 604800},
    {"Retry-After:\r\n", -1},
    {"Retry-After: -5\r\n", -1},
    {"Retry-After: +5\r\n", -1},
    {"Retry-After: 1e9\r\n", -1},
    {"Retry-After: 5.5\r\n", -1},
    {"Retry-After: 5 s\r\n", -1},
    {"Retry-After: 5, 6\r\n", -1},
    {"Retry-After: Tue, 116 Feb 2016 00:00:00 GMT\r\n", -1},
    {"Retry-After: soon\r\n", -1},
    {"Retry-After: 5\r\nRetry-After: 6\r\n", 5},
    {"Retry-After: soon\r\nRetry-After: 6\r\n", 6},
};

START_TEST(retry_after)
{
    static const int statuses[] = {429, 503, 403};
    apr_size_t i;

    for (i = 0; i < sizeof(statuses) / sizeof(statuses[0]); i++) {
        acme_error_t err;

        acme_error_clear(&err);
        acme_problem_from_response(NULL, respond(statuses[i], NULL, waits[_i].headers, ""), NOW,
                                   pool, &err);
        ck_assert_int_eq(err.not_before, waits[_i].want < 0
                                             ? 0 : NOW + apr_time_from_sec(waits[_i].want));
        ck_assert_int_le(err.not_before, NOW + WEEK);
    }
}
END_TEST

Suite *problem_suite(void)
{
    Suite *suite = suite_create("problem");
    TCase *tc = tcase_create("problem");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_loop_test(tc, types_have_classes, 0, COUNT(types));
    tcase_add_loop_test(tc, objects_are_taken_apart, 0, COUNT(objects));
    tcase_add_test(tc, no_object);
    tcase_add_test(tc, example_of_the_rfc);
    tcase_add_loop_test(tc, parts_slow_down, 0, COUNT(compounds));
    tcase_add_test(tc, text_is_bounded);
    tcase_add_test(tc, instances);
    tcase_add_test(tc, ten_parts_of_many);
    tcase_add_loop_test(tc, responses_are_judged, 0, COUNT(responses));
    tcase_add_test(tc, long_page_is_cut);
    tcase_add_test(tc, first_cause_wins);
    tcase_add_loop_test(tc, retry_after, 0, COUNT(waits));
    suite_add_tcase(suite, tc);
    return suite;
}
