/* Licensed under the Apache License, Version 2.0; see LICENSE. */

#include <string.h>

#include <apr_general.h>
#include <apr_strings.h>
#include <apr_time.h>
#include <check.h>

#include "base/json.h"

#define COUNT(table) ((int)(sizeof(table) / sizeof((table)[0])))
#define TEXT(s) s, sizeof(s) - 1

Suite *json_suite(void);

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

static acme_json_t *parse(const char *text)
{
    acme_json_t *json = NULL;

    ck_assert_int_eq(acme_json_parse(&json, text, strlen(text), "order", pool, NULL), ACME_OK);
    return json;
}

static const struct {
    const char *text;
    apr_size_t len;
} hostile[] = {
    {TEXT("")},
    {TEXT("   ")},
    {TEXT("{")},
    {TEXT("}")},
    {TEXT("[]")},
    {TEXT("null")},
    {TEXT("\"text\"")},
    {TEXT("42")},
    {TEXT("{} trailing")},
    {TEXT("{}{}")},
    {TEXT("{}\0")},
    {TEXT("\0{}")},
    {TEXT("{\"a\":\0 1}")},
    {TEXT("{\"a\":1\0}")},
    {TEXT("{\"a\":null\0}")},
    {TEXT("{\"a\":[true\0]}")},
    {TEXT("{\"a\":\"x\0y\"}")},
    {TEXT("{\"a\":\"x\\u0000y\"}")},
    {TEXT("{\"a\\u0000b\":1}")},
    {TEXT("\xef\xbb\xbf{}")},
    {TEXT("{\"a\":1,\"a\":2}")},
    {TEXT("{\"a\":1,\"\\u0061\":2}")},
    {TEXT("{\"a\":1e999}")},
    {TEXT("{\"a\":12345678901234567890}")},
    {TEXT("{\"a\":01}")},
    {TEXT("{\"a\":+1}")},
    {TEXT("{\"a\":0x1}")},
    {TEXT("{\"a\":NaN}")},
    {TEXT("{\"a\":True}")},
    {TEXT("{\"a\":\"\xff\"}")},
    {TEXT("{\"a\":\"\xc0\xaf\"}")},
    {TEXT("{\"a\":\"\xed\xa0\x80\"}")},
    {TEXT("{\"a\":\"\\ud800\"}")},
    {TEXT("{\"a\":\"\\udc00\\ud800\"}")},
    {TEXT("{\"a\":\"line\nbreak\"}")},
    {TEXT("{\"a\":\"\\x\"}")},
    {TEXT("{\"a\":\"open}")},
    {TEXT("{\"a\":\"open\\")},
    {TEXT("{'a':1}")},
    {TEXT("{a:1}")},
    {TEXT("{\"a\":1,}")},
    {TEXT("{/* */}")},
    {TEXT("<html>captive portal</html>")},
    {TEXT("]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{")},
};

START_TEST(hostile_documents_are_refused)
{
    acme_json_t *json = NULL;
    acme_error_t err;

    acme_error_clear(&err);
    ck_assert_int_eq(acme_json_parse(&json, hostile[_i].text, hostile[_i].len, "directory", pool,
                                     &err), ACME_FAIL);
    ck_assert_ptr_null(json);
    ck_assert_int_eq(err.kind, ACME_E_PROTOCOL);
    ck_assert_int_eq(strncmp(err.text, "directory: ", 11), 0);
}
END_TEST

/* levels arrays in an object, closed or not. */
static const char *nested(apr_size_t levels, int closed)
{
    char *text = apr_palloc(pool, 2 * levels + 8);

    memcpy(text, "{\"a\":", 5);
    memset(text + 5, '[', levels);
    memset(text + 5 + levels, ']', levels);
    text[5 + 2 * levels] = '}';
    text[closed ? 6 + 2 * levels : 5 + levels] = '\0';
    return text;
}

START_TEST(nesting_ends_at_32_levels)
{
    acme_json_t *json;
    apr_size_t levels;

    for (levels = 1; levels < 40; levels++) {
        const char *text = nested(levels, 1);

        ck_assert_int_eq(acme_json_parse(&json, text, strlen(text), "x", pool, NULL),
                         levels + 1 <= 32 ? ACME_OK : ACME_FAIL);
    }
}
END_TEST

START_TEST(deep_nesting_costs_nothing)
{
    const char *text = nested(100000, 0);
    apr_time_t before = apr_time_now();
    acme_json_t *json;

    ck_assert_int_eq(acme_json_parse(&json, text, strlen(text), "x", pool, NULL), ACME_FAIL);
    ck_assert_int_lt(apr_time_now() - before, apr_time_from_msec(50));
}
END_TEST

START_TEST(brackets_in_strings_do_not_nest)
{
    acme_json_t *json = parse("{\"a\":\"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[\\\"{{{{{{{\\\\\"}");
    const char *value;

    ck_assert_int_eq(acme_json_get_string(&value, json, "a", ACME_JSON_REQUIRED, NULL), ACME_OK);
    ck_assert_str_eq(value, "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[\"{{{{{{{\\");
}
END_TEST

#define ALL_TYPES "{\"s\":\"text\",\"e\":\"\",\"o\":{\"in\":1},\"a\":[],\"t\":true,\"f\":false," \
                  "\"i\":-9007199254740993,\"r\":1.0,\"n\":null}"

START_TEST(members_come_in_their_type)
{
    acme_json_t *json = parse(ALL_TYPES), *part;
    const char *text;
    apr_int64_t n;
    int flag;

    ck_assert_int_eq(acme_json_get_string(&text, json, "s", ACME_JSON_REQUIRED, NULL), ACME_OK);
    ck_assert_str_eq(text, "text");
    ck_assert_int_eq(acme_json_get_string(&text, json, "e", ACME_JSON_REQUIRED, NULL), ACME_OK);
    ck_assert_str_eq(text, "");
    ck_assert_int_eq(acme_json_get_object(&part, json, "o", ACME_JSON_REQUIRED, NULL), ACME_OK);
    ck_assert_int_eq(acme_json_get_int(&n, part, "in", 7, NULL), ACME_OK);
    ck_assert_int_eq(n, 1);
    ck_assert_int_eq(acme_json_get_array(&part, json, "a", ACME_JSON_REQUIRED, NULL), ACME_OK);
    ck_assert_uint_eq(acme_json_count(part), 0);
    ck_assert_int_eq(acme_json_get_bool(&flag, json, "t", 0, NULL), ACME_OK);
    ck_assert_int_eq(flag, 1);
    ck_assert_int_eq(acme_json_get_bool(&flag, json, "f", 1, NULL), ACME_OK);
    ck_assert_int_eq(flag, 0);
    ck_assert_int_eq(acme_json_get_int(&n, json, "i", 7, NULL), ACME_OK);
    ck_assert_int_eq(n, -APR_INT64_C(9007199254740993));
}
END_TEST

/* loop: a missing member and a null one. */
START_TEST(absent_members_are_null_or_an_error)
{
    static const char *const keys[] = {"missing", "n"};
    const char *key = keys[_i], *text = "x";
    acme_json_t *json = parse(ALL_TYPES), *part = json;
    apr_int64_t n = 0;
    acme_error_t err;
    int flag = 0;

    acme_error_clear(&err);
    ck_assert_int_eq(acme_json_get_string(&text, json, key, ACME_JSON_OPTIONAL, &err), ACME_OK);
    ck_assert_ptr_null(text);
    ck_assert_int_eq(acme_json_get_object(&part, json, key, ACME_JSON_OPTIONAL, &err), ACME_OK);
    ck_assert_ptr_null(part);
    part = json;
    ck_assert_int_eq(acme_json_get_array(&part, json, key, ACME_JSON_OPTIONAL, &err), ACME_OK);
    ck_assert_ptr_null(part);
    ck_assert_int_eq(acme_json_get_bool(&flag, json, key, 5, &err), ACME_OK);
    ck_assert_int_eq(flag, 5);
    ck_assert_int_eq(acme_json_get_int(&n, json, key, 7, &err), ACME_OK);
    ck_assert_int_eq(n, 7);
    ck_assert_int_eq(err.kind, ACME_E_NONE);
    ck_assert_uint_eq(acme_json_count(NULL), 0);

    ck_assert_int_eq(acme_json_get_object(&part, json, key, ACME_JSON_REQUIRED, NULL), ACME_FAIL);
    ck_assert_int_eq(acme_json_get_array(&part, json, key, ACME_JSON_REQUIRED, NULL), ACME_FAIL);
    ck_assert_int_eq(acme_json_get_string(&text, json, key, ACME_JSON_REQUIRED, &err), ACME_FAIL);
    ck_assert_int_eq(err.kind, ACME_E_PROTOCOL);
    ck_assert_str_eq(err.text, apr_psprintf(pool, "order: \"%s\" is missing", key));
}
END_TEST

START_TEST(a_wrong_type_names_document_and_member)
{
    static const char *const keys[] = {"s", "o", "a", "t", "i", "r"};
    acme_json_t *json = parse(ALL_TYPES), *part;
    acme_error_t err;
    const char *text;
    apr_int64_t n;
    int i, flag;

    for (i = 0; i < COUNT(keys); i++) {
        char c = *keys[i];

        ck_assert_int_eq(acme_json_get_string(&text, json, keys[i], ACME_JSON_OPTIONAL, NULL),
                         c == 's' ? ACME_OK : ACME_FAIL);
        ck_assert_int_eq(acme_json_get_object(&part, json, keys[i], ACME_JSON_OPTIONAL, NULL),
                         c == 'o' ? ACME_OK : ACME_FAIL);
        ck_assert_int_eq(acme_json_get_array(&part, json, keys[i], ACME_JSON_OPTIONAL, NULL),
                         c == 'a' ? ACME_OK : ACME_FAIL);
        ck_assert_int_eq(acme_json_get_bool(&flag, json, keys[i], 0, NULL),
                         c == 't' ? ACME_OK : ACME_FAIL);
        ck_assert_int_eq(acme_json_get_int(&n, json, keys[i], 0, NULL),
                         c == 'i' ? ACME_OK : ACME_FAIL);
    }
    acme_error_clear(&err);
    acme_json_get_string(&text, json, "i", ACME_JSON_OPTIONAL, &err);
    ck_assert_str_eq(err.text, "order: \"i\" is not a string");
}
END_TEST

START_TEST(items_of_a_list)
{
    acme_json_t *json = parse("{\"l\":[\"x\",{\"k\":\"v\"},null]}"), *list, *item;
    const char *text;

    ck_assert_int_eq(acme_json_get_array(&list, json, "l", ACME_JSON_REQUIRED, NULL), ACME_OK);
    ck_assert_uint_eq(acme_json_count(list), 3);
    ck_assert_int_eq(acme_json_item_string(&text, list, 0, NULL), ACME_OK);
    ck_assert_str_eq(text, "x");
    ck_assert_int_eq(acme_json_item_object(&item, list, 1, NULL), ACME_OK);
    ck_assert_int_eq(acme_json_get_string(&text, item, "k", ACME_JSON_REQUIRED, NULL), ACME_OK);
    ck_assert_str_eq(text, "v");
    ck_assert_int_eq(acme_json_item_string(&text, list, 1, NULL), ACME_FAIL);
    ck_assert_int_eq(acme_json_item_object(&item, list, 0, NULL), ACME_FAIL);
    ck_assert_int_eq(acme_json_item_string(&text, list, 2, NULL), ACME_FAIL);
    ck_assert_int_eq(acme_json_item_object(&item, list, 3, NULL), ACME_FAIL);
}
END_TEST

START_TEST(keys_of_a_table)
{
    acme_json_t *json = parse("{\"b\":1,\"a\":2,\"c\":3}");
    char seen[4] = "";
    int i;

    for (i = 0; acme_json_key_at(json, (apr_size_t)i); i++) {
        ck_assert_int_lt(i, 3);
        seen[i] = *acme_json_key_at(json, (apr_size_t)i);
    }
    ck_assert_int_eq(i, 3);
    ck_assert(strchr(seen, 'a') && strchr(seen, 'b') && strchr(seen, 'c'));
    ck_assert_int_eq(*acme_json_key_at(json, 2), seen[2]);
    ck_assert_int_eq(*acme_json_key_at(json, 0), seen[0]);
    ck_assert_ptr_null(acme_json_key_at(json, 99));
    ck_assert_int_eq(*acme_json_key_at(json, 1), seen[1]);
    ck_assert_ptr_null(acme_json_key_at(acme_json_new_object(pool), 0));
}
END_TEST

/* The canonical JWK of RFC 7638 section 3.1 is what a caller gets who adds members in order. */
START_TEST(members_stay_in_their_order)
{
    acme_json_t *json = acme_json_new_object(pool);

    acme_json_set_string(json, "e", "AQAB");
    acme_json_set_string(json, "kty", "RSA");
    acme_json_set_string(json, "n", "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx");
    ck_assert_str_eq(acme_json_dump(json, pool), "{\"e\":\"AQAB\",\"kty\":\"RSA\",\"n\":"
                     "\"0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx\"}");
}
END_TEST

START_TEST(documents_are_built)
{
    acme_json_t *json = acme_json_new_object(pool), *list = acme_json_new_array(pool);
    acme_json_t *item = acme_json_new_object(pool);

    ck_assert_str_eq(acme_json_dump(json, pool), "{}");
    acme_json_set_string(json, "z", "quote \" slash / back \\ line \n euro \xe2\x82\xac");
    acme_json_set_int(json, "i", -APR_INT64_C(9007199254740993));
    acme_json_set_bool(json, "t", 3);
    acme_json_set_bool(json, "f", 0);
    acme_json_set_string(json, "n", NULL);
    acme_json_add_string(list, "x");
    acme_json_add(list, item);
    acme_json_set(json, "l", list);
    acme_json_set_string(item, "late", "yes");
    ck_assert_str_eq(acme_json_dump(json, pool), "{\"z\":\"quote \\\" slash / back \\\\ line \\n "
                     "euro \xe2\x82\xac\",\"i\":-9007199254740993,\"t\":true,\"f\":false,"
                     "\"n\":null,\"l\":[\"x\",{\"late\":\"yes\"}]}");
}
END_TEST

START_TEST(text_that_is_not_utf8_spoils_the_document)
{
    acme_json_t *json = acme_json_new_object(pool), *list = acme_json_new_array(pool), *part;

    acme_json_set(json, "l", list);
    acme_json_add_string(list, "a\xff");
    ck_assert_ptr_null(acme_json_dump(list, pool));
    ck_assert_ptr_null(acme_json_dump(json, pool));
    json = acme_json_new_object(pool);
    part = acme_json_new_object(pool);
    acme_json_set(json, "part", part);
    acme_json_set_string(part, "a\xff", "x");
    ck_assert_ptr_null(acme_json_dump(part, pool));
    ck_assert_ptr_null(acme_json_dump(json, pool));
}
END_TEST

/* A part made in a shorter-lived pool stays whole in the document it was given to. */
START_TEST(parts_outlive_their_pool)
{
    acme_json_t *json = acme_json_new_object(pool), *part;
    apr_pool_t *scratch;

    apr_pool_create(&scratch, pool);
    part = acme_json_new_object(scratch);
    acme_json_set_string(part, "k", "value");
    acme_json_set(json, "part", part);
    apr_pool_destroy(scratch);
    ck_assert_str_eq(acme_json_dump(json, pool), "{\"part\":{\"k\":\"value\"}}");
}
END_TEST

START_TEST(the_name_of_a_document_is_copied)
{
    char what[] = "order";
    acme_json_t *json;
    acme_error_t err;
    const char *text;

    ck_assert_int_eq(acme_json_parse(&json, "{}", 2, what, pool, NULL), ACME_OK);
    what[0] = '#';
    acme_error_clear(&err);
    acme_json_get_string(&text, json, "k", ACME_JSON_REQUIRED, &err);
    ck_assert_str_eq(err.text, "order: \"k\" is missing");
}
END_TEST

/* 64 KiB, as large as a reply may be, full of members. */
START_TEST(large_tables_are_walked_in_linear_time)
{
    acme_json_t *json = acme_json_new_object(pool), *back;
    apr_time_t before = apr_time_now();
    const char *text;
    apr_size_t i, n = 6000;

    for (i = 0; i < n; i++) {
        acme_json_set_int(json, apr_psprintf(pool, "k%d", (int)i), (apr_int64_t)i);
    }
    text = acme_json_dump(json, pool);
    ck_assert_int_eq(acme_json_parse(&back, text, strlen(text), "x", pool, NULL), ACME_OK);
    for (i = 0; acme_json_key_at(back, i); i++) {
    }
    ck_assert_uint_eq(i, n);
    ck_assert_int_lt(apr_time_now() - before, apr_time_from_sec(1));
}
END_TEST

Suite *json_suite(void)
{
    Suite *suite = suite_create("json");
    TCase *tc = tcase_create("json");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_loop_test(tc, hostile_documents_are_refused, 0, COUNT(hostile));
    tcase_add_test(tc, nesting_ends_at_32_levels);
    tcase_add_test(tc, deep_nesting_costs_nothing);
    tcase_add_test(tc, brackets_in_strings_do_not_nest);
    tcase_add_test(tc, members_come_in_their_type);
    tcase_add_loop_test(tc, absent_members_are_null_or_an_error, 0, 2);
    tcase_add_test(tc, a_wrong_type_names_document_and_member);
    tcase_add_test(tc, items_of_a_list);
    tcase_add_test(tc, keys_of_a_table);
    tcase_add_test(tc, members_stay_in_their_order);
    tcase_add_test(tc, documents_are_built);
    tcase_add_test(tc, text_that_is_not_utf8_spoils_the_document);
    tcase_add_test(tc, parts_outlive_their_pool);
    tcase_add_test(tc, the_name_of_a_document_is_copied);
    tcase_add_test(tc, large_tables_are_walked_in_linear_time);
    suite_add_tcase(suite, tc);
    return suite;
}
