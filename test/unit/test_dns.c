/* Licensed under the Apache License, Version 2.0; see LICENSE. */

/* Messages were written down by hand from RFC 1035 section 4, or by Python's struct for the corpus.
 * The watch is tested against real servers by test/httpd/test_dns.py; here against one that a test
 * plays. */

#include <arpa/inet.h>
#include <check.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <apr_general.h>
#include <apr_strings.h>
#include "io/dns.h"
#include "io/net.h"
#include "protocol/dns.h"

Suite *dns_suite(void);

#define COUNT(table) ((int)(sizeof(table) / sizeof((table)[0])))
#define BYTES(text) (const unsigned char *)(text), sizeof(text) - 1

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

/* ---- questions ---- */

START_TEST(question_bytes)
{
    static const char wanted[] = "\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00"
                                 "\x0f_acme-challenge\x01" "a\x04test\x00\x00\x10\x00\x01";
    unsigned char out[ACME_DNS_QUERY_MAX];

    ck_assert_uint_eq(acme_dns_query(out, 0x1234, "_acme-challenge.a.test", ACME_DNS_TXT, 1),
                      sizeof(wanted) - 1);
    ck_assert(memcmp(out, wanted, sizeof(wanted) - 1) == 0);
    ck_assert_uint_eq(acme_dns_query(out, 1, "a.test", ACME_DNS_A, 0), 24);
    ck_assert_uint_eq(out[2], 0);
}
END_TEST

START_TEST(names_that_cannot_be_asked_for)
{
    static const char *const names[] = {"", ".", "a..test", ".a.test", "a.test."};
    unsigned char out[ACME_DNS_QUERY_MAX];
    char name[300];
    int i;

    for (i = 0; i < COUNT(names); i++) {
        ck_assert_uint_eq(acme_dns_query(out, 1, names[i], ACME_DNS_A, 0), 0);
    }
    memset(name, 'a', sizeof(name));
    name[64] = '\0';
    ck_assert_uint_eq(acme_dns_query(out, 1, name, ACME_DNS_A, 0), 0);
    for (i = 3; i < 253; i += 4) {
        name[i] = '.';
    }
    name[64] = 'a';
    name[253] = '\0';
    ck_assert_uint_gt(acme_dns_query(out, 1, name, ACME_DNS_A, 0), 253);
    name[253] = 'a';
    name[254] = '\0';
    ck_assert_uint_eq(acme_dns_query(out, 1, name, ACME_DNS_A, 0), 0);
}
END_TEST

/* ---- replies ---- */

#define HEAD(counts) "\x12\x34\x85\x80\x00\x01" counts
#define QUESTION "\x01" "a\x04test\x00\x00\x10\x00\x01"
#define TTL "\x00\x00\x00\x3c"

START_TEST(texts_are_joined)
{
    acme_dns_reply_t *reply;
    const acme_dns_record_t *r;

    ck_assert(acme_dns_reply_parse(&reply,
                                   BYTES(HEAD("\x00\x02\x00\x00\x00\x00") QUESTION
                                         "\xc0\x0c\x00\x10\x00\x01" TTL "\x00\x07\x03one\x02&2"
                                         "\x01" "A\x04Test\x00\x00\x05\x00\x01" TTL
                                         "\x00\x04\x01" "B\xc0\x0e"),
                                   0x1234, "A.test", ACME_DNS_TXT, pool, NULL) == ACME_OK);
    ck_assert_int_eq(reply->answers->nelts, 2);
    r = &APR_ARRAY_IDX(reply->answers, 0, const acme_dns_record_t);
    ck_assert_str_eq(r->owner, "a.test");
    ck_assert_uint_eq(r->text_len, 5);
    ck_assert(memcmp(r->text, "one&2", 5) == 0);
    r = &APR_ARRAY_IDX(reply->answers, 1, const acme_dns_record_t);
    ck_assert_str_eq(r->owner, "a.test");
    ck_assert_str_eq(r->name, "b.test");
}
END_TEST

/* Not the answer: go on waiting. */
static const struct {
    const char *bytes;
    apr_size_t len;
    int rv;
} replies[] = {
#define ROW(text, rv) {text, sizeof(text) - 1, rv}
    ROW("", ACME_AGAIN),
    ROW("\x12\x34\x85\x80\x00\x01", ACME_AGAIN),
    ROW("\x12\x35\x85\x80\x00\x01\x00\x00\x00\x00\x00\x00" QUESTION, ACME_AGAIN), /* id */
    ROW("\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00" QUESTION, ACME_AGAIN), /* a question */
    ROW("\x12\x34\x85\x80\x00\x00\x00\x00\x00\x00\x00\x00", ACME_AGAIN),
    ROW(HEAD("\x00\x00\x00\x00\x00\x00") "\x01" "b\x04test\x00\x00\x10\x00\x01", ACME_AGAIN),
    ROW(HEAD("\x00\x00\x00\x00\x00\x00") "\x01" "a\x04test\x00\x00\x01\x00\x01", ACME_AGAIN),
    ROW(HEAD("\x00\x00\x00\x00\x00\x00") QUESTION, ACME_OK),
    ROW("\x12\x34\x87\x80\x00\x01\x00\x09\x00\x00\x00\x00" QUESTION, ACME_OK), /* cut short */
    ROW(HEAD("\x00\x01\x00\x00\x00\x00") QUESTION, ACME_FAIL),
    ROW(HEAD("\x00\x01\x00\x00\x00\x00") QUESTION "\xc0\x18\x00\x10\x00\x01" TTL "\x00\x00",
        ACME_FAIL), /* a pointer to itself */
    ROW(HEAD("\x00\x01\x00\x00\x00\x00") QUESTION "\xc0\xff\x00\x10\x00\x01" TTL "\x00\x00",
        ACME_FAIL), /* forwards */
    ROW(HEAD("\x00\x01\x00\x00\x00\x00") QUESTION "\xc0\x0c\x00\x10\x00\x01" TTL
        "\x00\x04\x05" "abc", ACME_FAIL), /* a string longer than its record */
    ROW(HEAD("\x00\x01\x00\x00\x00\x00") QUESTION "\xc0\x0c\x00\x10\x00\x01" TTL "\xff\xff\x01" "a",
        ACME_FAIL), /* a record longer than the message */
    ROW(HEAD("\x00\x01\x00\x00\x00\x00") QUESTION "\xc0\x0c\x00\x01\x00\x01" TTL "\x00\x03" "abc",
        ACME_FAIL), /* an address of three bytes */
    ROW(HEAD("\x00\x01\x00\x00\x00\x00") QUESTION "\x41" "a\x00\x00\x10\x00\x01" TTL "\x00\x00",
        ACME_FAIL), /* a label of a kind that does not exist */
    ROW(HEAD("\xff\xff\x00\x00\x00\x00") QUESTION "\xc0\x0c\x00\x10\x00\x01" TTL "\x00\x00",
        ACME_FAIL), /* fewer records than announced */
};

START_TEST(what_is_a_reply)
{
    acme_dns_reply_t *reply;

    ck_assert_int_eq(acme_dns_reply_parse(&reply, (const unsigned char *)replies[_i].bytes,
                                          replies[_i].len, 0x1234, "a.test", ACME_DNS_TXT, pool,
                                          NULL),
                     replies[_i].rv);
}
END_TEST

START_TEST(zones)
{
    ck_assert(acme_dns_within("a.test", "a.test"));
    ck_assert(acme_dns_within("x.a.test", "a.test"));
    ck_assert(acme_dns_within("x.a.test", ""));
    ck_assert(!acme_dns_within("xa.test", "a.test"));
    ck_assert(!acme_dns_within("test", "a.test"));
}
END_TEST

START_TEST(resolvers)
{
    static const char text[] = "# nameserver 192.0.2.9\nsearch test\nnameserver 192.0.2.1\n"
                               "nameserver\t2001:db8::1 # x\nnameserver fe80::1%eth0\n"
                               "nameserver x\nnameserver2 192.0.2.8\nnameserver 192.0.2.3\n"
                               "nameserver 192.0.2.4";
    const char *found[ACME_DNS_RESOLVERS_MAX];

    ck_assert_int_eq(acme_dns_resolvers(found, text, strlen(text), pool), 3);
    ck_assert_str_eq(found[0], "192.0.2.1");
    ck_assert_str_eq(found[1], "2001:db8::1");
    ck_assert_str_eq(found[2], "192.0.2.3");
    ck_assert_int_eq(acme_dns_resolvers(found, "", 0, pool), 1);
    ck_assert_str_eq(found[0], "127.0.0.1");
}
END_TEST

/* ---- the watch ---- */

/* One server plays resolver and name server: _x.a.test is an alias of t.b.test, whose zone is
 * b.test. Over UDP every TXT is cut short. */
typedef struct {
    int udp, tcp, port;
    int shown;    /* answers with TXT until "yes" is among them */
    int txt_asked;
    pthread_t thread;
} server_t;

static size_t answer(unsigned char *m, size_t len, server_t *s, int tcp)
{
    static const char ns[] = "\xc0\x0c\x00\x02\x00\x01\0\0\0\1\x00\x05\x02ns\xc0\x0c";
    static const char alias[] = "\xc0\x0c\x00\x05\x00\x01\0\0\0\1\x00\x0a\x01t\x01" "b\x04test\x00";
    static const char soa[] = "\xc0\x0e\x00\x06\x00\x01\0\0\0\1\x00\x18\xc0\x0e\xc0\x0e"
                              "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    static const char a[] = "\xc0\x0c\x00\x01\x00\x01\0\0\0\1\x00\x04\x7f\x00\x00\x01";
    static const char yes[] = "\xc0\x0c\x00\x10\x00\x01\0\0\0\1\x00\x04\x03yes";
    int type = m[len - 3];

    m[2] = 0x85;
    if (type == ACME_DNS_CNAME && m[13] == '_') {
        m[7] = 1;
        memcpy(m + len, alias, sizeof(alias) - 1);
        return len + sizeof(alias) - 1;
    }
    if (type == ACME_DNS_SOA) {
        m[9] = 1;
        memcpy(m + len, soa, sizeof(soa) - 1);
        return len + sizeof(soa) - 1;
    }
    if (type == ACME_DNS_NS || type == ACME_DNS_A) {
        const char *rr = type == ACME_DNS_NS ? ns : a;
        size_t rr_len = type == ACME_DNS_NS ? sizeof(ns) - 1 : sizeof(a) - 1;

        m[7] = 1;
        memcpy(m + len, rr, rr_len);
        return len + rr_len;
    }
    if (type == ACME_DNS_TXT && !tcp) {
        m[2] |= 2;
    }
    else if (type == ACME_DNS_TXT && ++s->txt_asked >= s->shown) {
        m[7] = 1;
        memcpy(m + len, yes, sizeof(yes) - 1);
        return len + sizeof(yes) - 1;
    }
    return len;
}

static void serve_tcp(server_t *s)
{
    unsigned char m[1024];
    int fd = accept(s->tcp, NULL, NULL);
    ssize_t n = fd >= 0 ? recv(fd, m, sizeof(m) - 100, 0) : -1;
    size_t len;

    if (n > 2) {
        len = answer(m + 2, (size_t)n - 2, s, 1);
        m[0] = (unsigned char)(len >> 8);
        m[1] = (unsigned char)len;
        (void)!write(fd, m, len + 2);
    }
    close(fd);
}

static void *serve(void *baton)
{
    server_t *s = baton;
    unsigned char m[1024];
    struct sockaddr_in from;
    socklen_t len = sizeof(from);
    ssize_t n;

    for (;;) {
        len = sizeof(from);
        n = recvfrom(s->udp, m, sizeof(m) - 100, 0, (struct sockaddr *)&from, &len);
        if (n < 16) {
            return NULL;
        }
        if (m[n - 3] == ACME_DNS_TXT) {
            m[2] = 0x87;
            (void)!sendto(s->udp, m, (size_t)n, 0, (struct sockaddr *)&from, len);
            serve_tcp(s);
            continue;
        }
        n = (ssize_t)answer(m, (size_t)n, s, 0);
        (void)!sendto(s->udp, m, (size_t)n, 0, (struct sockaddr *)&from, len);
    }
}

static void server_start(server_t *s)
{
    struct sockaddr_in at;
    socklen_t len = sizeof(at);

    memset(&at, 0, sizeof(at));
    at.sin_family = AF_INET;
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    s->tcp = socket(AF_INET, SOCK_STREAM, 0);
    s->udp = socket(AF_INET, SOCK_DGRAM, 0);
    ck_assert(bind(s->tcp, (struct sockaddr *)&at, sizeof(at)) == 0 && listen(s->tcp, 5) == 0);
    ck_assert(getsockname(s->tcp, (struct sockaddr *)&at, &len) == 0);
    ck_assert(bind(s->udp, (struct sockaddr *)&at, sizeof(at)) == 0);
    s->port = ntohs(at.sin_port);
    ck_assert(pthread_create(&s->thread, NULL, serve, s) == 0);
}

static int is_yes(void *baton, const char *text, apr_size_t len)
{
    (void)baton;
    return len == 3 && memcmp(text, "yes", 3) == 0;
}

static acme_rv_t watch_for(acme_dns_watch_t *watch, apr_interval_time_t most)
{
    apr_time_t end = acme_net_now() + most;
    apr_interval_time_t delay;
    acme_rv_t rv;

    do {
        rv = acme_dns_watch_poll(watch, &delay);
        ck_assert(delay > 0);
        if (rv == ACME_AGAIN) {
            usleep((useconds_t)(delay < 100000 ? delay : 100000));
        }
    } while (rv == ACME_AGAIN && acme_net_now() < end);
    return rv;
}

static const char *resolv_conf(const char *text)
{
    char *path = apr_pstrdup(pool, "/tmp/acme-dns.XXXXXX");
    int fd = mkstemp(path);

    ck_assert(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
    close(fd);
    return path;
}

START_TEST(alias_zone_servers_and_tcp)
{
    acme_dns_watch_conf_t conf;
    acme_dns_watch_t *watch;
    server_t s;

    memset(&conf, 0, sizeof(conf));
    memset(&s, 0, sizeof(s));
    s.shown = 2;
    server_start(&s);
    conf.record = "_x.a.test";
    conf.wanted = is_yes;
    conf.port = (apr_port_t)s.port;
    conf.resolv_conf = resolv_conf("nameserver 127.0.0.1\n");
    ck_assert(acme_dns_watch_create(&watch, &conf, pool, NULL) == ACME_OK);
    ck_assert_int_eq(watch_for(watch, apr_time_from_sec(20)), ACME_OK);
    ck_assert_int_eq(acme_dns_watch_looks(watch), 2);
    ck_assert_str_eq(acme_dns_watch_found(watch), "ns.b.test (127.0.0.1): there");
    shutdown(s.udp, SHUT_RDWR);
    unlink(conf.resolv_conf);
}
END_TEST

START_TEST(resolver_that_is_not_there)
{
    acme_dns_watch_conf_t conf;
    acme_dns_watch_t *watch;

    memset(&conf, 0, sizeof(conf));
    conf.record = "_x.a.test";
    conf.wanted = is_yes;
    conf.port = 1;
    conf.resolv_conf = resolv_conf("nameserver 127.0.0.1\nnameserver 127.0.0.2\n");
    ck_assert(acme_dns_watch_create(&watch, &conf, pool, NULL) == ACME_OK);
    ck_assert_int_eq(watch_for(watch, apr_time_from_msec(600)), ACME_AGAIN);
    ck_assert_int_gt(acme_dns_watch_looks(watch), 0);
    ck_assert_str_eq(acme_dns_watch_found(watch),
                     "alias of _x.a.test: resolver 127.0.0.2: Connection refused");
    unlink(conf.resolv_conf);
}
END_TEST

Suite *dns_suite(void)
{
    Suite *suite = suite_create("dns");
    TCase *tc = tcase_create("messages");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, question_bytes);
    tcase_add_test(tc, names_that_cannot_be_asked_for);
    tcase_add_test(tc, texts_are_joined);
    tcase_add_loop_test(tc, what_is_a_reply, 0, COUNT(replies));
    tcase_add_test(tc, zones);
    tcase_add_test(tc, resolvers);
    suite_add_tcase(suite, tc);
    tc = tcase_create("watch");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 30);
    tcase_add_test(tc, alias_zone_servers_and_tcp);
    tcase_add_test(tc, resolver_that_is_not_there);
    suite_add_tcase(suite, tc);
    return suite;
}
