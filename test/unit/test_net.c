/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#include "io/net.h"

#include <check.h>
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <apr_general.h>
#include <apr_portable.h>

Suite *net_suite(void);

static apr_pool_t *pool;

static void setup(void)
{
    apr_initialize();
    apr_pool_create(&pool, NULL);
}

static void teardown(void)
{
    apr_pool_destroy(pool);
    apr_terminate();
}

static int listener(apr_port_t *port, int backlog)
{
    struct sockaddr_in addr;
    socklen_t len = sizeof(addr);
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    memset(&addr, 0, sizeof(addr));
    addr.sin_family = AF_INET;
    addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    ck_assert(fd >= 0 && bind(fd, (struct sockaddr *)&addr, sizeof(addr)) == 0);
    ck_assert(getsockname(fd, (struct sockaddr *)&addr, &len) == 0);
    if (backlog >= 0) {
        ck_assert(listen(fd, backlog) == 0);
    }
    *port = ntohs(addr.sin_port);
    return fd;
}

static int descriptors(void)
{
    DIR *dir = opendir("/proc/self/fd");
    int n = 0;

    while (dir && readdir(dir)) {
        n++;
    }
    if (dir) {
        closedir(dir);
    }
    return n;
}

static apr_time_t soon(int msec)
{
    return acme_net_now() + apr_time_from_msec(msec);
}

/* Says stop when asked for the n-th time. */
static int stop_after(void *baton)
{
    int *left = baton;

    return (*left)-- <= 0;
}

START_TEST(connects)
{
    apr_port_t port;
    int fd = listener(&port, 4), before = descriptors();
    apr_pool_t *sub;
    apr_socket_t *s = NULL;
    apr_os_sock_t raw = -1;
    acme_error_t err;

    acme_error_clear(&err);
    apr_pool_create(&sub, pool);
    ck_assert_msg(acme_net_connect(&s, "127.0.0.1", port, soon(2000), NULL, sub, &err) == ACME_OK,
                  "%s", err.text);
    apr_os_sock_get(&raw, s);
    ck_assert(fcntl(raw, F_GETFD) & FD_CLOEXEC);
    ck_assert(fcntl(raw, F_GETFL) & O_NONBLOCK);
    apr_pool_destroy(sub);
    ck_assert_int_eq(descriptors(), before);
    close(fd);
}
END_TEST

/* localhost is ::1 and 127.0.0.1 in most systems: whatever is first, the one that lives is found.
 * */
START_TEST(resolves)
{
    apr_port_t port;
    int fd = listener(&port, 4);
    apr_socket_t *s = NULL;
    acme_error_t err;

    acme_error_clear(&err);
    ck_assert_msg(acme_net_connect(&s, "localhost", port, APR_INT64_MAX, NULL, pool, &err)
                      == ACME_OK, "%s", err.text);
    close(fd);
}
END_TEST

START_TEST(unknown_name)
{
    apr_socket_t *s = NULL;
    acme_error_t err;

    acme_error_clear(&err);
    ck_assert_int_eq(acme_net_connect(&s, "no..such..name", 443, soon(5000), NULL, pool, &err),
                     ACME_FAIL);
    ck_assert_int_eq(err.kind, ACME_E_NETWORK);
    ck_assert_ptr_nonnull(strstr(err.text, "no..such..name"));
    acme_error_clear(&err);
    ck_assert_int_eq(acme_net_connect(&s, "", 443, soon(5000), NULL, pool, &err), ACME_FAIL);
}
END_TEST

START_TEST(refused)
{
    apr_port_t port;
    int fd = listener(&port, -1);
    apr_socket_t *s = NULL;
    acme_error_t err;

    acme_error_clear(&err);
    ck_assert_int_eq(acme_net_connect(&s, "127.0.0.1", port, soon(2000), NULL, pool, &err),
                     ACME_FAIL);
    ck_assert_str_eq(err.code, "AC0202");
    ck_assert_ptr_nonnull(strstr(err.text, "127.0.0.1: Connection refused"));
    close(fd);
}
END_TEST

START_TEST(no_descriptor)
{
    struct rlimit former, limit;
    apr_socket_t *s = NULL;
    acme_error_t err;

    acme_error_clear(&err);
    getrlimit(RLIMIT_NOFILE, &former);
    limit = former;
    limit.rlim_cur = 3;
    setrlimit(RLIMIT_NOFILE, &limit);
    ck_assert_int_eq(acme_net_connect(&s, "127.0.0.1", 9, soon(2000), NULL, pool, &err),
                     ACME_FAIL);
    setrlimit(RLIMIT_NOFILE, &former);
    ck_assert_str_eq(err.code, "AC0206");
}
END_TEST

START_TEST(waits_and_stops)
{
    apr_port_t port;
    int fd = listener(&port, 4), left = 2;
    acme_stop_t stop = { stop_after, &left };
    apr_socket_t *s = NULL;
    apr_time_t begin;
    acme_error_t err;

    acme_error_clear(&err);
    ck_assert_int_eq(acme_net_connect(&s, "127.0.0.1", port, soon(2000), NULL, pool, &err),
                     ACME_OK);
    ck_assert_int_eq(acme_net_wait(s, 1, soon(1000), NULL, &err), ACME_OK);
    begin = acme_net_now();
    ck_assert_int_eq(acme_net_wait(s, 0, soon(50), NULL, &err), ACME_FAIL);
    ck_assert_str_eq(err.code, "AC0205");
    ck_assert_int_eq(err.status, APR_TIMEUP);
    ck_assert(acme_net_now() - begin < apr_time_from_msec(150));
    acme_error_clear(&err);
    begin = acme_net_now();
    ck_assert_int_eq(acme_net_wait(s, 0, soon(20000), &stop, &err), ACME_FAIL);
    ck_assert_int_eq(err.kind, ACME_E_STOPPED);
    ck_assert(acme_net_now() - begin < apr_time_from_msec(700));
    close(fd);
}
END_TEST

/* A signal in the middle of a wait changes nothing. */
static void on_alarm(int number)
{
    (void)number;
}

START_TEST(survives_signals)
{
    apr_port_t port;
    int fd = listener(&port, 4);
    struct sigaction action;
    apr_socket_t *s = NULL;
    acme_error_t err;

    memset(&action, 0, sizeof(action));
    action.sa_handler = on_alarm;
    sigaction(SIGUSR2, &action, NULL);
    acme_error_clear(&err);
    ck_assert_int_eq(acme_net_connect(&s, "127.0.0.1", port, soon(2000), NULL, pool, &err),
                     ACME_OK);
    if (fork() == 0) {
        usleep(50000);
        kill(getppid(), SIGUSR2);
        _exit(0);
    }
    ck_assert_int_eq(acme_net_wait(s, 0, soon(150), NULL, &err), ACME_FAIL);
    ck_assert_str_eq(err.code, "AC0205");
    close(fd);
}
END_TEST

/* Writing where nobody reads any more is an error, not the end of the process. */
START_TEST(no_sigpipe)
{
    apr_port_t port;
    int fd = listener(&port, 4), peer, i;
    struct linger hard = { 1, 0 };
    acme_rv_t rv = ACME_OK;
    apr_socket_t *s = NULL;
    acme_error_t err;

    signal(SIGPIPE, SIG_DFL);
    acme_error_clear(&err);
    ck_assert_int_eq(acme_net_connect(&s, "127.0.0.1", port, soon(2000), NULL, pool, &err),
                     ACME_OK);
    peer = accept(fd, NULL, NULL);
    setsockopt(peer, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
    close(peer);
    for (i = 0; i < 10 && rv == ACME_OK; i++) {
        rv = acme_net_write(s, "x", 1, soon(1000), NULL, &err);
        usleep(1000);
    }
    ck_assert_int_eq(rv, ACME_FAIL);
    ck_assert_int_eq(err.kind, ACME_E_NETWORK);
    close(fd);
}
END_TEST

Suite *net_suite(void)
{
    Suite *suite = suite_create("net");
    TCase *tc = tcase_create("net");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, connects);
    tcase_add_test(tc, resolves);
    tcase_add_test(tc, unknown_name);
    tcase_add_test(tc, refused);
    tcase_add_test(tc, no_descriptor);
    tcase_add_test(tc, waits_and_stops);
    tcase_add_test(tc, survives_signals);
    tcase_add_test(tc, no_sigpipe);
    suite_add_tcase(suite, tc);
    return suite;
}
