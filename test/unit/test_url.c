/* Licensed under the Apache License, Version 2.0; see LICENSE. */

#include <string.h>

#include <apr_general.h>
#include <apr_strings.h>
#include <check.h>

#include "base/url.h"

#define COUNT(table) ((int)(sizeof(table) / sizeof((table)[0])))

Suite *url_suite(void);

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

static const struct {
    const char *text, *host;
    int port;
    const char *authority, *path;
    int is_ip;
} good[] = {
    {"https://acme-v02.api.letsencrypt.org/directory", "acme-v02.api.letsencrypt.org", 443,
     "acme-v02.api.letsencrypt.org", "/directory", 0},
    {"https://localhost:14000/dir", "localhost", 14000, "localhost:14000", "/dir", 0},
    {"https://pebble/", "pebble", 443, "pebble", "/", 0},
    {"https://CA.Example", "ca.example", 443, "CA.Example", "/", 0},
    {"HTTPS://ca.example./x", "ca.example", 443, "ca.example.", "/x", 0},
    {"https://ca.example?a=b", "ca.example", 443, "ca.example", "/?a=b", 0},
    {"https://ca.example/a?b?c/d", "ca.example", 443, "ca.example", "/a?b?c/d", 0},
    {"https://ca.example:443/", "ca.example", 443, "ca.example:443", "/", 0},
    {"https://ca.example:1/", "ca.example", 1, "ca.example:1", "/", 0},
    {"https://ca.example:65535/", "ca.example", 65535, "ca.example:65535", "/", 0},
    {"https://ca.example/a%2fb//c/", "ca.example", 443, "ca.example", "/a%2fb//c/", 0},
    {"https://ca.example/a@b:c", "ca.example", 443, "ca.example", "/a@b:c", 0},
    {"https://192.0.2.1:8443/d", "192.0.2.1", 8443, "192.0.2.1:8443", "/d", 1},
    {"https://[::1]:14000/dir", "::1", 14000, "[::1]:14000", "/dir", 1},
    {"https://[2001:DB8::1]", "2001:db8::1", 443, "[2001:DB8::1]", "/", 1},
};

START_TEST(good_ones_come_apart)
{
    acme_url_t *url;

    ck_assert_int_eq(acme_url_parse(&url, good[_i].text, pool, NULL), ACME_OK);
    ck_assert_str_eq(url->text, good[_i].text);
    ck_assert_str_eq(url->host, good[_i].host);
    ck_assert_int_eq(url->port, good[_i].port);
    ck_assert_str_eq(url->authority, good[_i].authority);
    ck_assert_str_eq(url->path, good[_i].path);
    ck_assert_int_eq(url->is_ip, good[_i].is_ip);
}
END_TEST

static const char *const bad[] = {
    NULL,
    "",
    "https",
    "https:",
    "https:/ca.example/",
    "https://",
    "https:///path",
    "https://?q",
    "http://ca.example/",
    "ftp://ca.example/",
    "file:///etc/passwd",
    "javascript:alert(1)",
    "//ca.example/",
    "/directory",
    "ca.example/directory",
    " https://ca.example/",
    "https://ca.example/ ",
    "https://ca.example/a b",
    "https://ca.example/a\r\nHost: evil",
    "https://ca.example/\t",
    "https://ca.example/\x7f",
    "https://ca.example/\xc3\xa4",
    "https://b\xc3\xbc" "cher.example/",
    "https://ca.example/#fragment",
    "https://ca.example#fragment",
    "https://user@ca.example/",
    "https://user:pw@ca.example/",
    "https://@ca.example/",
    "https://ca.example@evil.example/",
    "https://ca.example\\@evil.example/",
    "https://ca.example:/",
    "https://ca.example:0/",
    "https://ca.example:65536/",
    "https://ca.example:-1/",
    "https://ca.example:+443/",
    "https://ca.example:443x/",
    "https://ca.example:0x1bb/",
    "https://ca.example:443:443/",
    "https://ca.example:99999999999999999999/",
    "https://ca..example/",
    "https://.ca.example/",
    "https://-ca.example/",
    "https://ca_1.example/",
    "https://ca%2eexample/",
    "https://*.ca.example/",
    "https://*/",
    "https://1.2.3/",
    "https://1.2.3.256/",
    "https://12345/",
    "https://::1/",
    "https://2001:db8::1/",
    "https://[::1/",
    "https://[::1]x/",
    "https://[::1]:x/",
    "https://[]/",
    "https://[1.2.3.4]/",
    "https://[ca.example]/",
    "https://[fe80::1%25eth0]/",
    "https://::1]/",
    "https://ca.example/\"",
    "https://ca.example/<b>",
    "https://ca.example/{id}",
    "https://ca.example/a|b",
    "https://ca.example/a`b",
    "https://ca.example/a^b",
};

START_TEST(bad_ones_are_refused)
{
    acme_url_t *url = NULL;
    acme_error_t err;

    acme_error_clear(&err);
    ck_assert_int_eq(acme_url_parse(&url, bad[_i], pool, &err), ACME_FAIL);
    ck_assert_ptr_null(url);
    ck_assert_int_eq(err.kind, ACME_E_PROTOCOL);
    ck_assert_str_ne(err.text, "");
    ck_assert_ptr_null(strpbrk(err.text, "\r\n\t\x7f"));
}
END_TEST

START_TEST(long_ones_are_refused_and_never_cut)
{
    char *text = apr_palloc(pool, ACME_URL_MAX + 2);
    acme_url_t *url;

    memset(text, 'a', ACME_URL_MAX + 1);
    memcpy(text, "https://ca.example/", 19);
    text[ACME_URL_MAX + 1] = '\0';
    ck_assert_int_eq(acme_url_parse(&url, text, pool, NULL), ACME_FAIL);
    text[ACME_URL_MAX] = '\0';
    ck_assert_int_eq(acme_url_parse(&url, text, pool, NULL), ACME_OK);
    ck_assert_str_eq(url->text, text);
}
END_TEST

static const struct {
    const char *a, *b;
    int same;
} origins[] = {
    {"https://ca.example/a", "https://CA.EXAMPLE:443/b", 1},
    {"https://ca.example/a", "https://ca.example./b", 1},
    {"https://ca.example/a", "https://ca.example:444/a", 0},
    {"https://ca.example/a", "https://ca.example.org/a", 0},
    {"https://[::1]/", "https://[0:0::1]:443/", 1},
    {"https://[::1]/", "https://127.0.0.1/", 0},
};

START_TEST(same_origin)
{
    acme_url_t *a, *b;

    ck_assert_int_eq(acme_url_parse(&a, origins[_i].a, pool, NULL), ACME_OK);
    ck_assert_int_eq(acme_url_parse(&b, origins[_i].b, pool, NULL), ACME_OK);
    ck_assert_int_eq(acme_url_same_origin(a, b), origins[_i].same);
    ck_assert_int_eq(acme_url_same_origin(b, a), origins[_i].same);
}
END_TEST

#define BASE "https://a/b/c/d;p?q"

/* RFC 3986 sections 5.4.1 and 5.4.2 with https for http; what it resolves to another scheme or a
 * fragment is refused here. */
static const struct {
    const char *base, *reference, *want;
} references[] = {
    {BASE, "g:h", NULL},
    {BASE, "g", "https://a/b/c/g"},
    {BASE, "./g", "https://a/b/c/g"},
    {BASE, "g/", "https://a/b/c/g/"},
    {BASE, "/g", "https://a/g"},
    {BASE, "//g", "https://g"},
    {BASE, "?y", "https://a/b/c/d;p?y"},
    {BASE, "g?y", "https://a/b/c/g?y"},
    {BASE, "#s", NULL},
    {BASE, "g#s", NULL},
    {BASE, ";x", "https://a/b/c/;x"},
    {BASE, "g;x", "https://a/b/c/g;x"},
    {BASE, "", "https://a/b/c/d;p?q"},
    {BASE, ".", "https://a/b/c/"},
    {BASE, "./", "https://a/b/c/"},
    {BASE, "..", "https://a/b/"},
    {BASE, "../", "https://a/b/"},
    {BASE, "../g", "https://a/b/g"},
    {BASE, "../..", "https://a/"},
    {BASE, "../../", "https://a/"},
    {BASE, "../../g", "https://a/g"},
    {BASE, "../../../g", "https://a/g"},
    {BASE, "../../../../g", "https://a/g"},
    {BASE, "/./g", "https://a/g"},
    {BASE, "/../g", "https://a/g"},
    {BASE, "g.", "https://a/b/c/g."},
    {BASE, ".g", "https://a/b/c/.g"},
    {BASE, "g..", "https://a/b/c/g.."},
    {BASE, "..g", "https://a/b/c/..g"},
    {BASE, "./../g", "https://a/b/g"},
    {BASE, "./g/.", "https://a/b/c/g/"},
    {BASE, "g/./h", "https://a/b/c/g/h"},
    {BASE, "g/../h", "https://a/b/c/h"},
    {BASE, "g;x=1/./y", "https://a/b/c/g;x=1/y"},
    {BASE, "g;x=1/../y", "https://a/b/c/y"},
    {BASE, "g?y/./x", "https://a/b/c/g?y/./x"},
    {BASE, "g?y/../x", "https://a/b/c/g?y/../x"},
    {BASE, "http:g", NULL},
    {BASE, "http://a/g", NULL},
    {BASE, "https://x.example/../y", "https://x.example/../y"},
    {BASE, "//user@g/", NULL},
    {BASE, "/a b", NULL},
    {BASE, "/a\r\nb", NULL},
    {"https://[::1]:14000", "order/1", "https://[::1]:14000/order/1"},
    {"https://[::1]:14000?q", "", "https://[::1]:14000/?q"},
    {"https://a/b/../c?q", "?y", "https://a/b/../c?y"},
    {"https://a:8443/x", "//b/y", "https://b/y"},
};

START_TEST(references_are_resolved)
{
    acme_url_t *base, *url = NULL;
    acme_error_t err;
    acme_rv_t rv;

    acme_error_clear(&err);
    ck_assert_int_eq(acme_url_parse(&base, references[_i].base, pool, NULL), ACME_OK);
    rv = acme_url_resolve(&url, base, references[_i].reference, pool, &err);
    if (!references[_i].want) {
        ck_assert_int_eq(rv, ACME_FAIL);
        ck_assert_int_eq(err.kind, ACME_E_PROTOCOL);
        return;
    }
    ck_assert_int_eq(rv, ACME_OK);
    ck_assert_str_eq(url->text, references[_i].want);
}
END_TEST

Suite *url_suite(void)
{
    Suite *suite = suite_create("url");
    TCase *tc = tcase_create("url");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_loop_test(tc, good_ones_come_apart, 0, COUNT(good));
    tcase_add_loop_test(tc, bad_ones_are_refused, 0, COUNT(bad));
    tcase_add_test(tc, long_ones_are_refused_and_never_cut);
    tcase_add_loop_test(tc, same_origin, 0, COUNT(origins));
    tcase_add_loop_test(tc, references_are_resolved, 0, COUNT(references));
    suite_add_tcase(suite, tc);
    return suite;
}
