/* Licensed under the Apache License, Version 2.0; see LICENSE. */

#include <string.h>

#include <apr_general.h>
#include <apr_strings.h>
#include <check.h>

#include "base/idn.h"
#include "base/name.h"

#define COUNT(table) ((int)(sizeof(table) / sizeof((table)[0])))
#define LABEL_63 "abcdefghijklmnopqrstuvwxyz0123456789abcdefghijklmnopqrstuvwxyz0"
#define NAME_251 LABEL_63 "." LABEL_63 "." LABEL_63 "." "abcdefghijklmnopqrstuvwxyz0123456789" \
                 "abcdefghijklmnopqrstuvw"

#define U_10 "\xc3\xbc\xc3\xbc\xc3\xbc\xc3\xbc\xc3\xbc\xc3\xbc\xc3\xbc\xc3\xbc\xc3\xbc\xc3\xbc"
#define U_57 U_10 U_10 U_10 U_10 U_10 "\xc3\xbc\xc3\xbc\xc3\xbc\xc3\xbc\xc3\xbc\xc3\xbc\xc3\xbc"
#define A_57 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

Suite *name_suite(void);

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

/* IPv6 forms: RFC 5952 sections 1, 4 and 5. */
static const struct {
    const char *text;
    acme_name_kind_t kind;
    const char *want; /* NULL: refused */
} names[] = {
    {"example.org", ACME_NAME_DNS, "example.org"},
    {"WWW.Example.ORG.", ACME_NAME_DNS, "www.example.org"},
    {"http.example", ACME_NAME_DNS, "http.example"},
    {"site.acme.test", ACME_NAME_DNS, "site.acme.test"},
    {"localhost", ACME_NAME_DNS, "localhost"},
    {"xn--bcher-kva.example", ACME_NAME_DNS, "xn--bcher-kva.example"},
    {"1.example.org", ACME_NAME_DNS, "1.example.org"},
    {"1-2.example.org", ACME_NAME_DNS, "1-2.example.org"},
    {LABEL_63 ".org", ACME_NAME_DNS, LABEL_63 ".org"},
    {NAME_251 "xy", ACME_NAME_DNS, NAME_251 "xy"},
    {NAME_251 "xy.", ACME_NAME_DNS, NAME_251 "xy"},
    {"*.example.org", ACME_NAME_WILDCARD, "*.example.org"},
    {"*.EXAMPLE.org.", ACME_NAME_WILDCARD, "*.example.org"},
    {"*.a.b.c.example", ACME_NAME_WILDCARD, "*.a.b.c.example"},
    /* python3-idna: encode(text, uts46=True, transitional=False) */
    {"b\xc3\xbc" "cher.example", ACME_NAME_DNS, "xn--bcher-kva.example"},
    {"B\xc3\x9c" "CHER.Example.", ACME_NAME_DNS, "xn--bcher-kva.example"},
    {"bu\xcc\x88" "cher.example", ACME_NAME_DNS, "xn--bcher-kva.example"}, /* NFD */
    {"XN--BCHER-KVA.example", ACME_NAME_DNS, "xn--bcher-kva.example"},
    {"stra\xc3\x9f" "e.example", ACME_NAME_DNS, "xn--strae-oqa.example"},
    {"STRASSE.example", ACME_NAME_DNS, "strasse.example"},
    {"b\xc3\xbc" "cher\xe3\x80\x82" "example", ACME_NAME_DNS, "xn--bcher-kva.example"},
    {"*.b\xc3\xbc" "cher.example", ACME_NAME_WILDCARD, "*.xn--bcher-kva.example"},
    {"xn--i-7iq.ws", ACME_NAME_DNS, "xn--i-7iq.ws"},
    {U_57 ".example", ACME_NAME_DNS, "xn--td" A_57 ".example"},
    {"192.0.2.1", ACME_NAME_IP4, "192.0.2.1"},
    {"255.255.255.255", ACME_NAME_IP4, "255.255.255.255"},
    {"2001:DB8:0:0:0:0:0:1", ACME_NAME_IP6, "2001:db8::1"},
    {"2001:0db8::0001", ACME_NAME_IP6, "2001:db8::1"},
    {"2001:db8:0:1:1:1:1:1", ACME_NAME_IP6, "2001:db8:0:1:1:1:1:1"},
    {"2001:0:0:1:0:0:0:1", ACME_NAME_IP6, "2001:0:0:1::1"},
    {"2001:db8:0:0:1:0:0:1", ACME_NAME_IP6, "2001:db8::1:0:0:1"},
    {"::ffff:192.0.2.1", ACME_NAME_IP6, "::ffff:192.0.2.1"},
    {"[2001:db8::1]", ACME_NAME_IP6, "2001:db8::1"},
    {"::1", ACME_NAME_IP6, "::1"},
    {"::", ACME_NAME_IP6, "::"},
    {"", 0, NULL},
    {".", 0, NULL},
    {"..", 0, NULL},
    {"example..org", 0, NULL},
    {".example.org", 0, NULL},
    {"example.org..", 0, NULL},
    {"-a.example.org", 0, NULL},
    {"a-.example.org", 0, NULL},
    {"-", 0, NULL},
    {"a_b.example.org", 0, NULL},
    {"_acme-challenge.example.org", 0, NULL},
    {LABEL_63 "x.org", 0, NULL},
    {NAME_251 "xyz", 0, NULL},
    {"a b.example.org", 0, NULL},
    {" example.org", 0, NULL},
    {"example.org\n", 0, NULL},
    {"a_\xc3\xbc.example", 0, NULL},
    {"\xc3\xbc..example", 0, NULL},
    {"-\xc3\xbc.example", 0, NULL},
    {"i\xe2\x9d\xa4.ws", 0, NULL},
    {"a\xe2\x80\x8d" "b.example", 0, NULL}, /* a joiner where none may be */
    {"b\xff.example", 0, NULL},
    {U_57 "\xc3\xbc.example", 0, NULL},
    {"a/b.example", 0, NULL},
    {"../../etc/passwd", 0, NULL},
    {"example.org:443", 0, NULL},
    {"https://example.org", 0, NULL},
    {"a@example.org", 0, NULL},
    {"a\"b.example", 0, NULL},
    {"*", 0, NULL},
    {"*.", 0, NULL},
    {"*..", 0, NULL},
    {"*.org", 0, NULL},
    {"*.org.", 0, NULL},
    {"*a.example.org", 0, NULL},
    {"a*.example.org", 0, NULL},
    {"a.*.example.org", 0, NULL},
    {"*.*.example.org", 0, NULL},
    {"*.192.0.2.1", 0, NULL},
    {"*example.org", 0, NULL},
    {"256.0.2.1", 0, NULL},
    {"192.0.2", 0, NULL},
    {"192.0.2.1.", 0, NULL},
    {"192.0.2.1.5", 0, NULL},
    {"192.0.02.1", 0, NULL},
    {"1", 0, NULL},
    {"[192.0.2.1]", 0, NULL},
    {"[example.org]", 0, NULL},
    {"[::1", 0, NULL},
    {"::1]", 0, NULL},
    {"[]", 0, NULL},
    {"fe80::1%eth0", 0, NULL},
    {"2001:db8::1::2", 0, NULL},
    {"2001:db8:0:0:0:0:0:0:1", 0, NULL},
    {"12345::", 0, NULL},
};

START_TEST(normalize)
{
    const char *out = NULL;
    acme_name_kind_t kind = ACME_NAME_DNS;
    acme_error_t err;
    acme_rv_t rv;

    acme_error_clear(&err);
    rv = acme_name_normalize(&out, &kind, names[_i].text, pool, &err);
    if (!names[_i].want) {
        ck_assert_int_eq(rv, ACME_FAIL);
        ck_assert_int_eq(err.kind, ACME_E_CONFIG);
        ck_assert_ptr_null(out);
        return;
    }
    ck_assert_int_eq(rv, ACME_OK);
    ck_assert_str_eq(out, names[_i].want);
    ck_assert_int_eq(kind, names[_i].kind);
    ck_assert_int_eq(acme_name_kind(out), names[_i].kind);
    ck_assert_int_eq(acme_name_normalize(&out, &kind, out, pool, NULL), ACME_OK);
    ck_assert_str_eq(out, names[_i].want);
}
END_TEST

/* Verdicts of a public CA and of one's own. Addresses: the IANA special-purpose registries. */
static const struct {
    const char *name;
    int public_ok, private_ok;
} verdicts[] = {
    {"xn--bcher-kva.org", 1, 1},
    {"xn--zzzzzz999999999.org", 0, 1},
    {"example.org", 1, 1},
    {"www.example.com", 1, 1},
    {"*.example.org", 1, 1},
    {"mytest.org", 1, 1},
    {"localhost", 0, 0},
    {"app.localhost", 0, 1},
    {"intranet", 0, 1},
    {"printer.local", 0, 1},
    {"site.acme.test", 0, 1},
    {"http.example", 0, 1},
    {"*.http.example", 0, 1},
    {"no.invalid", 0, 1},
    {"db.internal", 0, 1},
    {"abc.onion", 0, 1},
    {"box.home.arpa", 0, 1},
    {"1.in-addr.arpa", 1, 1},
    {"10.0.0.1", 0, 1},
    {"127.0.0.1", 0, 1},
    {"0.0.0.0", 0, 1},
    {"100.63.255.255", 1, 1},
    {"100.64.0.1", 0, 1},
    {"100.127.255.255", 0, 1},
    {"100.128.0.0", 1, 1},
    {"169.254.1.1", 0, 1},
    {"172.15.255.255", 1, 1},
    {"172.16.0.1", 0, 1},
    {"172.31.255.255", 0, 1},
    {"172.32.0.0", 1, 1},
    {"192.0.2.1", 0, 1},
    {"192.168.1.1", 0, 1},
    {"198.17.255.255", 1, 1},
    {"198.18.0.1", 0, 1},
    {"198.19.255.255", 0, 1},
    {"198.51.100.7", 0, 1},
    {"203.0.113.9", 0, 1},
    {"224.0.0.1", 0, 1},
    {"255.255.255.255", 0, 1},
    {"8.8.8.8", 1, 1},
    {"2606:4700::1111", 1, 1},
    {"2001:200::1", 1, 1},
    {"2001:1ff::1", 0, 1},
    {"2001:db8::1", 0, 1},
    {"2001:db9::1", 1, 1},
    {"2002:c000:201::1", 0, 1},
    {"3fff:0:1::", 0, 1},
    {"3fff:1000::", 1, 1},
    {"::1", 0, 1},
    {"::ffff:8.8.8.8", 0, 1},
    {"fe80::1", 0, 1},
    {"fd00::1", 0, 1},
    {"ff02::1", 0, 1},
    {"4000::1", 0, 1},
};

START_TEST(uncertifiable)
{
    const char *name = verdicts[_i].name;
    acme_name_kind_t kind = acme_name_kind(name);

    ck_assert_int_eq(acme_name_uncertifiable(name, kind, 1) == NULL, verdicts[_i].public_ok);
    ck_assert_int_eq(acme_name_uncertifiable(name, kind, 0) == NULL, verdicts[_i].private_ok);
}
END_TEST

/* RFC 6125 section 6.4.3. */
static const struct {
    const char *pattern, *host;
    int want;
} covers[] = {
    {"example.org", "example.org", 1},
    {"example.org", "EXAMPLE.org", 1},
    {"example.org", "www.example.org", 0},
    {"www.example.org", "example.org", 0},
    {"*.example.org", "www.example.org", 1},
    {"*.example.org", "a.www.example.org", 0},
    {"*.example.org", "example.org", 0},
    {"*.example.org", ".example.org", 0},
    {"*.example.org", "*.example.org", 1},
    {"www.example.org", "*.example.org", 0},
    {"*.example.org", "*.www.example.org", 0},
    {"*.example.org", "www.example.com", 0},
    {"*.example.org", "wwwexample.org", 0},
    {"*.2.3.4", "1.2.3.4", 0},
    {"192.0.2.1", "192.0.2.1", 1},
    {"192.0.2.1", "192.0.2.10", 0},
    {"2001:db8::1", "2001:db8::1", 1},
    {"2001:db8::1", "2001:db8::2", 0},
    {"*.example.org", "", 0},
    {"", "example.org", 0},
};

START_TEST(name_covers)
{
    ck_assert_int_eq(acme_name_covers(covers[_i].pattern, covers[_i].host), covers[_i].want);
}
END_TEST

static const struct {
    const char *name, *want;
} files[] = {
    {"example.org", "example.org"},
    {"*.example.org", "_wildcard.example.org"},
    {"192.0.2.1", "ip-192.0.2.1"},
    {"2001:db8::1", "ip-2001-db8--1"},
    {"::1", "ip---1"},
    {"../x", "-.-x"},
    {".hidden", "-hidden"},
    {"a/b", "a-b"},
};

START_TEST(file_names)
{
    ck_assert_str_eq(acme_name_file(files[_i].name, pool), files[_i].want);
}
END_TEST

/* RFC 8738 section 6 with RFC 1034 section 5.2.1 and RFC 3596 section 2.5; also what python3's
 * ipaddress gives as reverse_pointer. */
START_TEST(reverse_names)
{
    ck_assert_str_eq(acme_name_reverse("192.0.2.1", pool), "1.2.0.192.in-addr.arpa");
    ck_assert_str_eq(acme_name_reverse("2001:db8::1", pool),
                     "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa");
    ck_assert_str_eq(acme_name_reverse("4321:0:1:2:3:4:567:89ab", pool),
                     "b.a.9.8.7.6.5.0.4.0.0.0.3.0.0.0.2.0.0.0.1.0.0.0.0.0.0.0.1.2.3.4.ip6.arpa");
}
END_TEST

static apr_array_header_t *set_of(const char *list)
{
    apr_array_header_t *set = apr_array_make(pool, 4, sizeof(const char *));

    while (*list) {
        apr_size_t len = strcspn(list, " ");

        APR_ARRAY_PUSH(set, const char *) = apr_pstrmemdup(pool, list, len);
        list += len + strspn(list + len, " ");
    }
    return set;
}

START_TEST(sets)
{
    ck_assert(acme_names_equal(set_of("a b c"), set_of("c a b")));
    ck_assert(acme_names_equal(set_of("a a b"), set_of("b a")));
    ck_assert(acme_names_equal(set_of(""), set_of("")));
    ck_assert(!acme_names_equal(set_of("a b"), set_of("a")));
    ck_assert(!acme_names_equal(set_of("a"), set_of("a b")));
    ck_assert(!acme_names_equal(set_of("a"), set_of("")));
    ck_assert(acme_names_include(set_of("a b c"), set_of("c a a")));
    ck_assert(acme_names_include(set_of("a"), set_of("")));
    ck_assert(!acme_names_include(set_of("a b"), set_of("a c")));
    ck_assert(!acme_names_include(set_of(""), set_of("a")));
    ck_assert(acme_names_contain(set_of("a b"), "b"));
    ck_assert(!acme_names_contain(set_of("a b"), "c"));
    ck_assert(!acme_names_contain(set_of(""), "c"));
}
END_TEST

static const char *joined(apr_array_header_t *set)
{
    return apr_array_pstrcat(pool, set, ' ');
}

/* What CAs call redundant goes; what only looks like it stays. */
START_TEST(covered_names_go)
{
    static const struct {
        const char *names, *want;
    } rows[] = {
        {"x.org a.x.org *.x.org b.x.org", "x.org *.x.org"},
        {"a.x.org *.x.org", "*.x.org"},
        {"x.org *.x.org a.b.x.org", "x.org *.x.org a.b.x.org"},
        {"*.x.org *.b.x.org b.x.org a.b.x.org", "*.x.org *.b.x.org"},
        {"a.x.org b.x.org", "a.x.org b.x.org"},
        {"192.0.2.1 *.0.2.1.org", "192.0.2.1 *.0.2.1.org"},
        {"", ""},
    };
    int i;

    for (i = 0; i < COUNT(rows); i++) {
        apr_array_header_t *set = set_of(rows[i].names);
        int before = set->nelts;

        ck_assert_int_eq(acme_names_drop_covered(set), before - set->nelts);
        ck_assert_str_eq(joined(set), rows[i].want);
    }
}
END_TEST

/* What people read: python3-idna decode(). */
START_TEST(unicode)
{
    ck_assert_str_eq(acme_idn_to_unicode("xn--bcher-kva.example", pool),
                     "b\xc3\xbc" "cher.example");
    ck_assert_str_eq(acme_idn_to_unicode("*.a.xn--strae-oqa.example", pool),
                     "*.a.stra\xc3\x9f" "e.example");
    ck_assert_ptr_null(acme_idn_to_unicode("example.org", pool));
    ck_assert_ptr_null(acme_idn_to_unicode("axn--bcher-kva.example", pool));
    ck_assert_ptr_null(acme_idn_to_unicode("xn--zzzzzz999999999.example", pool));
    ck_assert_ptr_null(acme_idn_to_unicode("2001:db8::1", pool));
    ck_assert(acme_idn_is_broken("a.xn--zzzzzz999999999.example"));
    ck_assert(acme_idn_is_broken("xn--.example"));
    ck_assert(!acme_idn_is_broken("xn--bcher-kva.example"));
    ck_assert(!acme_idn_is_broken("example.org"));
}
END_TEST

/* The cause is told, not only the fact. */
START_TEST(too_long_a_label)
{
    const char *out;
    acme_name_kind_t kind;
    acme_error_t err;

    acme_error_clear(&err);
    ck_assert_int_eq(acme_name_normalize(&out, &kind, U_57 "\xc3\xbc.example", pool, &err),
                     ACME_FAIL);
    ck_assert_ptr_nonnull(strstr(err.text, "longer than 63 characters as an A-label"));
    acme_error_clear(&err);
    ck_assert_int_eq(acme_name_normalize(&out, &kind, "b\xff.example", pool, &err), ACME_FAIL);
    ck_assert_ptr_nonnull(strstr(err.text, "not UTF-8"));
}
END_TEST

Suite *name_suite(void)
{
    Suite *suite = suite_create("name");
    TCase *tc = tcase_create("name");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_loop_test(tc, normalize, 0, COUNT(names));
    tcase_add_loop_test(tc, uncertifiable, 0, COUNT(verdicts));
    tcase_add_loop_test(tc, name_covers, 0, COUNT(covers));
    tcase_add_loop_test(tc, file_names, 0, COUNT(files));
    tcase_add_test(tc, reverse_names);
    tcase_add_test(tc, sets);
    tcase_add_test(tc, covered_names_go);
    tcase_add_test(tc, unicode);
    tcase_add_test(tc, too_long_a_label);
    suite_add_tcase(suite, tc);
    return suite;
}
