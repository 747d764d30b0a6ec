/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#include "engine/checker.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <apr_general.h>
#include <apr_strings.h>
#include "listener.h"

Suite *checker_suite(void);

#define TOKEN "evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oA"
#define KEY_AUTHORIZATION TOKEN ".NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"

static apr_pool_t *pool;
static void *memory;
static apr_size_t memory_size;
static acme_board_t *board;
static acme_checker_t *checker;
static listener_t server;
static acme_log_t lines;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char logged[8192];

static void keep(void *baton, acme_log_level_t level, const char *subject, const char *line)
{
    apr_size_t used;

    (void)baton, (void)subject;
    pthread_mutex_lock(&lock);
    used = strlen(logged);
    snprintf(logged + used, sizeof(logged) - used, "%d %s\n", (int)level, line);
    pthread_mutex_unlock(&lock);
}

static int was_logged(const char *text)
{
    int found;

    pthread_mutex_lock(&lock);
    found = strstr(logged, text) != NULL;
    pthread_mutex_unlock(&lock);
    return found;
}

static void wait_logged(const char *text)
{
    int i;

    for (i = 0; i < 500 && !was_logged(text); i++) {
        usleep(10000);
    }
    ck_assert_msg(was_logged(text), "%s is not in: %s", text, logged);
}

static void begin(const char *reply)
{
    acme_checker_conf_t conf;

    listener_start(&server, reply);
    lines.write = keep;
    lines.level = ACME_LOG_INFO;
    conf.board = board;
    conf.log = &lines;
    conf.http_port = server.port;
    conf.https_port = 0;
    ck_assert(acme_checker_create(&checker, &conf, pool, NULL) == ACME_OK);
}

static void ask(int row, const char *name)
{
    acme_checker_ask(checker, "example.org", row, ACME_CH_HTTP01, name, TOKEN, KEY_AUTHORIZATION);
}

static void present(int row)
{
    acme_board_challenge_t entry;

    memset(&entry, 0, sizeof(entry));
    entry.row = row;
    entry.type = ACME_CH_HTTP01;
    entry.expires = apr_time_now() + apr_time_from_sec(600);
    apr_cpystrn(entry.name, "127.0.0.1", sizeof(entry.name));
    apr_cpystrn(entry.token, TOKEN, sizeof(entry.token));
    apr_cpystrn(entry.key_authorization, KEY_AUTHORIZATION, sizeof(entry.key_authorization));
    ck_assert(acme_board_challenge_put(board, &entry, NULL) == ACME_OK);
}

static void setup(void)
{
    apr_initialize();
    apr_pool_create(&pool, NULL);
    memory_size = acme_board_size(4);
    memory = mmap(NULL, memory_size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    ck_assert(memory != MAP_FAILED);
    acme_board_format(memory, memory_size, 4);
    ck_assert(acme_board_attach(&board, memory, memory_size, pool, NULL) == ACME_OK);
    logged[0] = '\0';
}

static void teardown(void)
{
    acme_checker_stop(checker);
    listener_stop(&server);
    apr_pool_destroy(pool);
    munmap(memory, memory_size);
    apr_terminate();
}

START_TEST(tells_what_it_saw)
{
    char text[600];

    present(1);
    begin("HTTP/1.1 404 Not Found\r\nServer: other\r\n\r\n");
    ask(1, "127.0.0.1");
    wait_logged("6 AC0461: example.org: self-check of http-01 for 127.0.0.1: 127.0.0.1: answered "
                "by someone else (status 404, Server other) (inconclusive: private addresses");
    acme_checker_end(checker, 1, "127.0.0.1", text, sizeof(text));
    ck_assert(strstr(text, "127.0.0.1: 127.0.0.1: answered by someone else") == text);
    acme_checker_end(checker, 1, "127.0.0.1", text, sizeof(text));
    ck_assert_str_eq(text, ""); /* forgotten */
}
END_TEST

START_TEST(only_the_name_that_failed)
{
    char text[600];

    present(1);
    begin("HTTP/1.1 404 Not Found\r\n\r\n");
    ask(1, "127.0.0.1");
    wait_logged("AC0461");
    acme_checker_end(checker, 2, "127.0.0.1", text, sizeof(text));
    ck_assert_str_eq(text, ""); /* another order's */
    acme_checker_end(checker, 1, "example.net", text, sizeof(text));
    ck_assert_str_eq(text, "");
}
END_TEST

/* The order does not wait: the result comes by itself, where an administrator sees it. */
START_TEST(what_comes_late_is_told_in_the_log)
{
    char text[600];
    apr_time_t began;
    int i;

    present(1);
    begin(NULL);
    ask(1, "127.0.0.1");
    for (i = 0; i < 300 && __atomic_load_n(&server.connections, __ATOMIC_SEQ_CST) == 0; i++) {
        usleep(10000);
    }
    began = acme_net_now();
    acme_checker_end(checker, 1, "127.0.0.1", text, sizeof(text));
    ck_assert_str_eq(text, "");
    ck_assert_int_lt(acme_net_now() - began, apr_time_from_msec(200));
    for (i = 0; i < 600 && !was_logged("AC0462"); i++) {
        usleep(10000);
    }
    ck_assert(was_logged("4 AC0462: example.org: self-check of http-01 for 127.0.0.1: 127.0.0.1: "
                         "connected, but no answer"));
    ck_assert_int_le(acme_net_now() - began, apr_time_from_msec(6000));
}
END_TEST

/* Hundreds of dead names: bounded in number and time, and a stop ends it at once. */
START_TEST(many_are_not_all_checked)
{
    apr_time_t began;
    int i;

    present(1);
    begin(NULL);
    for (i = 0; i < 500; i++) {
        ask(1, "127.0.0.1");
    }
    usleep(300000);
    ck_assert_int_le(__atomic_load_n(&server.connections, __ATOMIC_SEQ_CST), 2);
    began = acme_net_now();
    acme_checker_stop(checker);
    ck_assert_int_lt(acme_net_now() - began, apr_time_from_msec(700));
}
END_TEST

START_TEST(what_cannot_be_checked_is_left_alone)
{
    char *longest = apr_palloc(pool, 400);

    memset(longest, 'a', 399);
    longest[399] = '\0';
    begin("HTTP/1.1 404 Not Found\r\n\r\n");
    acme_checker_ask(checker, "a", 1, ACME_CH_TLSALPN01, "127.0.0.1", TOKEN, KEY_AUTHORIZATION);
    acme_checker_ask(checker, "a", 1, ACME_CH_DNS01, "127.0.0.1", TOKEN, KEY_AUTHORIZATION);
    acme_checker_ask(checker, "a", -1, ACME_CH_HTTP01, "127.0.0.1", TOKEN, KEY_AUTHORIZATION);
    acme_checker_ask(checker, "a", 1, ACME_CH_HTTP01, longest, TOKEN, KEY_AUTHORIZATION);
    acme_checker_ask(checker, "a", 1, ACME_CH_HTTP01, "127.0.0.1", NULL, KEY_AUTHORIZATION);
    usleep(100000);
    ck_assert_int_eq(__atomic_load_n(&server.connections, __ATOMIC_SEQ_CST), 0);
    ck_assert_str_eq(logged, "");
}
END_TEST

Suite *checker_suite(void)
{
    Suite *suite = suite_create("checker");
    TCase *tc = tcase_create("checker");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 30);
    tcase_add_test(tc, tells_what_it_saw);
    tcase_add_test(tc, only_the_name_that_failed);
    tcase_add_test(tc, what_comes_late_is_told_in_the_log);
    tcase_add_test(tc, many_are_not_all_checked);
    tcase_add_test(tc, what_cannot_be_checked_is_left_alone);
    suite_add_tcase(suite, tc);
    return suite;
}
