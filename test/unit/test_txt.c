/* Licensed under the Apache License, Version 2.0; see LICENSE. */

/* Values on record and calls of the program, in their order; a shell script is the oracle. */

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <netinet/in.h>
#include <unistd.h>
#include <apr_general.h>
#include <apr_strings.h>
#include "io/dns.h"
#include "io/net.h"
#include "io/txt.h"

Suite *txt_suite(void);

#define COUNT(table) ((int)(sizeof(table) / sizeof((table)[0])))
#define VALUE "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNO12"
#define OTHER "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNO34"
#define ITEM "{\"type\":\"dns-01\",\"name\":\"a.test\",\"record\":\"_acme-challenge.a.test\"," \
             "\"value\":\"" VALUE "\",\"tries\":0}"

static apr_pool_t *pool, *runner_pool, *txt_pool;
static acme_program_runner_t *runner;
static acme_store_t store;
static acme_record_set_t set;
static acme_spec_t spec;
static acme_txt_t *txt;
static char dir[] = "/tmp/acme-txt.XXXXXX";
static char kept[4096];  /* the last record */
static int broken;       /* the store */

static acme_rv_t keep(acme_store_t *self, const char *id, acme_record_type_t type,
                      const char *payload, apr_size_t len, apr_time_t now, apr_pool_t *scratch,
                      acme_error_t *err)
{
    (void)self, (void)id, (void)now, (void)scratch;
    ck_assert_int_eq(type, ACME_REC_CLEANUP);
    if (broken) {
        return acme_error_set(err, ACME_E_STORE, "AC0601", "no room");
    }
    snprintf(kept, sizeof(kept), "%.*s", (int)len, payload);
    return ACME_OK;
}

static void write_script(const char *body)
{
    const char *path = APR_ARRAY_IDX(spec.dns01_command, 0, const char *);
    FILE *file = fopen(path, "w");

    ck_assert_ptr_nonnull(file);
    fprintf(file, "#!/bin/sh\ncd %s\necho \"$@ $ACME_DNS_RECORD\" >>calls\n%s\n", dir, body);
    fclose(file);
    ck_assert(chmod(path, 0755) == 0);
}

static const char *calls(void)
{
    FILE *file = fopen(apr_pstrcat(pool, dir, "/calls", NULL), "r");
    char *text = apr_pcalloc(pool, 2000);

    if (file != NULL) {
        ck_assert(fread(text, 1, 1999, file) < 1999);
        fclose(file);
    }
    return text;
}

static void make(const char *record)
{
    acme_txt_conf_t conf;

    memset(&conf, 0, sizeof(conf));
    memset(&set, 0, sizeof(set));
    if (record != NULL) {
        set.present[ACME_REC_CLEANUP] = 1;
        set.rec[ACME_REC_CLEANUP].payload = record;
        set.rec[ACME_REC_CLEANUP].len = strlen(record);
    }
    conf.spec = &spec;
    conf.store = &store;
    conf.programs = runner;
    conf.ca = "https://ca.test/dir";
    ck_assert(acme_txt_create(&txt, &conf, &set, txt_pool, NULL) == ACME_OK);
}

static void setup(void)
{
    static const char *const env[] = {"PATH=/usr/bin:/bin", NULL};
    acme_program_runner_conf_t conf;
    apr_array_header_t *command;

    apr_initialize();
    apr_pool_create(&pool, NULL);
    apr_pool_create(&runner_pool, pool);
    apr_pool_create(&txt_pool, runner_pool);
    strncpy(dir + sizeof(dir) - 7, "XXXXXX", 7);
    ck_assert(mkdtemp(dir) != NULL);
    memset(&conf, 0, sizeof(conf));
    conf.env = env;
    conf.helper_fd = -1;
    ck_assert(acme_program_runner_create(&runner, &conf, runner_pool, NULL) == ACME_OK);
    store.append = keep;
    command = apr_array_make(pool, 2, sizeof(const char *));
    APR_ARRAY_PUSH(command, const char *) = apr_pstrcat(pool, dir, "/script", NULL);
    APR_ARRAY_PUSH(command, const char *) = "-x";
    memset(&spec, 0, sizeof(spec));
    spec.id = spec.label = "a.test";
    spec.dns01_command = command;
    spec.dns01_timeout = apr_time_from_sec(10);
    kept[0] = '\0';
    broken = 0;
    write_script("exit 0");
}

static void teardown(void)
{
    apr_pool_destroy(runner_pool);
    unlink(apr_pstrcat(pool, dir, "/script", NULL));
    unlink(apr_pstrcat(pool, dir, "/calls", NULL));
    ck_assert(rmdir(dir) == 0);
    apr_pool_destroy(pool);
}

static acme_rv_t set_up(const char *name, const char *value, acme_error_t *err)
{
    acme_txt_value_t what = {ACME_CH_DNS01, name, "_acme-challenge.a.test", value};
    apr_interval_time_t delay = 0;
    acme_rv_t rv;

    for (;;) {
        rv = acme_txt_setup(txt, &what, &delay, err);
        if (rv != ACME_AGAIN) {
            return rv;
        }
        ck_assert(delay > 0);
        usleep((useconds_t)delay);
    }
}

static void tear_down(void)
{
    apr_interval_time_t delay = 0;

    while (acme_txt_teardown(txt, &delay) == ACME_AGAIN) {
        ck_assert(delay > 0);
        usleep((useconds_t)delay);
    }
}

START_TEST(on_record_before_the_call)
{
    make(NULL);
    write_script("sleep 5");
    acme_txt_value_t what = {ACME_CH_DNS01, "*.a.test", "_acme-challenge.a.test", VALUE};
    apr_interval_time_t delay;

    ck_assert_int_eq(acme_txt_setup(txt, &what, &delay, NULL), ACME_AGAIN);
    ck_assert_ptr_nonnull(strstr(kept, VALUE));
    ck_assert_int_eq(acme_txt_values(txt), 1);
}
END_TEST

START_TEST(nothing_is_called_without_a_record)
{
    acme_error_t err;

    acme_error_clear(&err);
    make(NULL);
    broken = 1;
    ck_assert_int_eq(set_up("a.test", VALUE, &err), ACME_FAIL);
    ck_assert_str_eq(err.code, "AC0601");
    ck_assert_str_eq(calls(), "");
}
END_TEST

START_TEST(several_values_in_pairs)
{
    make(NULL);
    ck_assert_int_eq(set_up("a.test", VALUE, NULL), ACME_OK);
    ck_assert_int_eq(set_up("*.a.test", OTHER, NULL), ACME_OK);
    ck_assert_int_eq(set_up("a.test", VALUE, NULL), ACME_OK); /* is there already */
    ck_assert_int_eq(acme_txt_values(txt), 2);
    tear_down();
    ck_assert_str_eq(calls(), "-x setup a.test " VALUE " _acme-challenge.a.test\n"
                              "-x setup a.test " OTHER " _acme-challenge.a.test\n"
                              "-x teardown a.test " VALUE " _acme-challenge.a.test\n"
                              "-x teardown a.test " OTHER " _acme-challenge.a.test\n");
    ck_assert_int_eq(acme_txt_values(txt), 0);
    ck_assert_str_eq(kept, "{\"values\":[]}");
}
END_TEST

START_TEST(failed_setup_is_torn_down)
{
    acme_error_t err;

    acme_error_clear(&err);
    make(NULL);
    write_script("test \"$2\" = teardown || { echo no such zone; exit 3; }");
    ck_assert_int_eq(set_up("a.test", VALUE, &err), ACME_FAIL);
    ck_assert_str_eq(err.code, "AC0437");
    ck_assert_ptr_nonnull(strstr(err.text, "exit status 3: no such zone"));
    ck_assert_int_eq(acme_txt_values(txt), 1);
    tear_down();
    ck_assert_int_eq(acme_txt_values(txt), 0);
}
END_TEST

START_TEST(what_an_earlier_owner_left)
{
    make("{\"values\":[" ITEM "]}");
    ck_assert_int_eq(acme_txt_values(txt), 1);
    tear_down();
    ck_assert_str_eq(calls(), "-x teardown a.test " VALUE " _acme-challenge.a.test\n");
}
END_TEST

START_TEST(five_failed_removals)
{
    int i;

    make("{\"values\":[" ITEM "]}");
    write_script("exit 1");
    for (i = 1; i < 5; i++) {
        tear_down();
        ck_assert_int_eq(acme_txt_values(txt), 1);
        ck_assert_ptr_nonnull(strstr(kept, apr_psprintf(pool, "\"tries\":%d", i)));
    }
    tear_down();
    ck_assert_int_eq(acme_txt_values(txt), 0);
}
END_TEST

START_TEST(no_program_any_more)
{
    acme_error_t err;

    acme_error_clear(&err);
    spec.dns01_command = NULL;
    make("{\"values\":[" ITEM "]}");
    tear_down();
    ck_assert_int_eq(acme_txt_values(txt), 0);
    ck_assert_str_eq(kept, "{\"values\":[]}");
    ck_assert_int_eq(set_up("a.test", VALUE, &err), ACME_FAIL);
    ck_assert_str_eq(err.code, "AC0439");
}
END_TEST

/* Nothing of what a hostile child may have written reaches the program. */
static const char *const spoilt[] = {
    "", "{}", "[]", "{\"values\":{}}", "{\"values\":[1]}", "{\"values\":[{}]}",
    "{\"values\":[{\"type\":\"dns-01\",\"name\":\"-x\",\"record\":\"_acme-challenge.a.test\","
    "\"value\":\"" VALUE "\"}]}",
    "{\"values\":[{\"type\":\"dns-01\",\"name\":\"a.test\",\"record\":\"_acme-challenge.b.test\","
    "\"value\":\"" VALUE "\"}]}",
    "{\"values\":[{\"type\":\"dns-01\",\"name\":\"a.test\",\"record\":\"$(x).a.test\","
    "\"value\":\"" VALUE "\"}]}",
    "{\"values\":[{\"type\":\"dns-01\",\"name\":\"a.test\",\"record\":\"_acme-challenge.a.test\","
    "\"value\":\"" VALUE "x\"}]}",
    "{\"values\":[{\"type\":\"dns-01\",\"name\":\"a.test\",\"record\":\"_acme-challenge.a.test\","
    "\"value\":\"; rm -rf /                                 \"}]}",
    "{\"values\":[{\"type\":\"x\",\"name\":\"a.test\",\"record\":\"_acme-challenge.a.test\","
    "\"value\":\"" VALUE "\"}]}",
};

START_TEST(spoilt_records)
{
    make(spoilt[_i]);
    ck_assert_int_eq(acme_txt_values(txt), 0);
}
END_TEST

/* ---- replies ---- */

/* The next question to a server's socket: its bytes and the port it came from, 0: there is none. */
static int question(unsigned char *out, apr_size_t size, int server, struct sockaddr_in *from)
{
    socklen_t len = sizeof(*from);
    ssize_t n = recvfrom(server, out, size, MSG_DONTWAIT, (struct sockaddr *)from, &len);

    return n > 2 ? ntohs(from->sin_port) : 0;
}

static int nothing(void *baton, const char *text, apr_size_t len)
{
    (void)baton, (void)text, (void)len;
    return 0;
}

/* Replies with wrong ids: after so many of them the question is asked again, from another port. */
START_TEST(flooded_port)
{
    int port, n, server = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in address, from;
    socklen_t len = sizeof(address);
    unsigned char packet[512], again[512];
    acme_dns_watch_conf_t conf;
    apr_interval_time_t delay;
    acme_dns_watch_t *watch;
    FILE *file;

    memset(&address, 0, sizeof(address));
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    ck_assert(bind(server, (struct sockaddr *)&address, sizeof(address)) == 0);
    ck_assert(getsockname(server, (struct sockaddr *)&address, &len) == 0);
    memset(&conf, 0, sizeof(conf));
    conf.record = "_acme-challenge.a.test";
    conf.wanted = nothing;
    conf.resolv_conf = apr_pstrcat(pool, dir, "/calls", NULL); /* removed with it */
    conf.port = ntohs(address.sin_port);
    file = fopen(conf.resolv_conf, "w");
    ck_assert_ptr_nonnull(file);
    fputs("nameserver 127.0.0.1\n", file);
    fclose(file);
    ck_assert(acme_dns_watch_create(&watch, &conf, txt_pool, NULL) == ACME_OK);
    ck_assert(acme_dns_watch_poll(watch, &delay) == ACME_AGAIN);
    port = question(packet, sizeof(packet), server, &from);
    ck_assert_int_ne(port, 0);
    packet[0] ^= 0xff;
    for (n = 0; n < 40; n++) {
        ck_assert(sendto(server, packet, sizeof(packet), 0, (struct sockaddr *)&from,
                         sizeof(from)) == (ssize_t)sizeof(packet));
    }
    ck_assert(acme_dns_watch_poll(watch, &delay) == ACME_AGAIN);
    n = question(again, sizeof(again), server, &from);
    ck_assert_int_ne(n, 0);
    ck_assert_int_ne(n, port);
    ck_assert_mem_eq(again + 2, packet + 2, 30); /* the same question */
    close(server);
}
END_TEST

Suite *txt_suite(void)
{
    Suite *suite = suite_create("txt");
    TCase *tc = tcase_create("values");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 20);
    tcase_add_test(tc, on_record_before_the_call);
    tcase_add_test(tc, nothing_is_called_without_a_record);
    tcase_add_test(tc, several_values_in_pairs);
    tcase_add_test(tc, failed_setup_is_torn_down);
    tcase_add_test(tc, what_an_earlier_owner_left);
    tcase_add_test(tc, five_failed_removals);
    tcase_add_test(tc, no_program_any_more);
    tcase_add_loop_test(tc, spoilt_records, 0, COUNT(spoilt));
    tcase_add_test(tc, flooded_port);
    suite_add_tcase(suite, tc);
    return suite;
}
