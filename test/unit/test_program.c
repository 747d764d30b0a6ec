/* Licensed under the Apache License, Version 2.0; see LICENSE. */

/* Every test runs twice: the runner forks by itself (0), or asks a helper process (1). */

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <apr_general.h>
#include <apr_strings.h>
#include "base/codec.h"
#include "io/helper.h"
#include "io/net.h"
#include "io/program.h"

Suite *program_suite(void);

#define SECOND apr_time_from_sec(1)
#define COMMANDS 4

static apr_pool_t *pool, *runner_pool, *asker;
static acme_program_runner_t *runner;
static char dir[] = "/tmp/acme-program.XXXXXX";
static const char *script;
static const char *commands[COMMANDS][3];
static const char *const *command_list[COMMANDS];
static const char *const base_env[] = {"PATH=/usr/bin:/bin", "LANG=C", NULL};
static int shared[2];
static pid_t helper;

static void start_helper(void)
{
    acme_helper_conf_t conf;

    ck_assert(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, shared) == 0);
    conf.fd = shared[0];
    conf.env = base_env;
    conf.commands = command_list;
    conf.n_commands = COMMANDS;
    helper = fork();
    ck_assert(helper >= 0);
    if (helper == 0) {
        close(shared[1]);
        acme_helper_serve(&conf);
        _exit(0);
    }
    close(shared[0]);
}

static void setup(void)
{
    apr_initialize();
    apr_pool_create(&pool, NULL);
    apr_pool_create(&runner_pool, pool);
    apr_pool_create(&asker, runner_pool);
    strncpy(dir + sizeof(dir) - 7, "XXXXXX", 7);
    ck_assert(mkdtemp(dir) != NULL);
    script = apr_pstrcat(pool, dir, "/script", NULL);
    commands[0][0] = script;
    commands[1][0] = apr_pstrcat(pool, dir, "/absent", NULL);
    commands[2][0] = script;
    commands[2][1] = "fixed";
    commands[3][0] = dir;
    command_list[0] = commands[0];
    command_list[1] = commands[1];
    command_list[2] = commands[2];
    command_list[3] = commands[3];
    helper = 0;
}

static void teardown(void)
{
    const char *const rm[] = {"rm", "-rf", dir, NULL};
    pid_t pid;

    apr_pool_destroy(pool);
    if (helper > 0) {
        close(shared[1]);
        ck_assert(waitpid(helper, NULL, 0) == helper); /* goes by itself */
    }
    pid = fork();
    if (pid == 0) {
        execv("/bin/rm", (char *const *)rm);
        _exit(1);
    }
    waitpid(pid, NULL, 0);
    apr_terminate();
}

static void make_runner(int asks)
{
    acme_program_runner_conf_t conf;

    memset(&conf, 0, sizeof(conf));
    conf.env = base_env;
    conf.helper_fd = -1;
    conf.commands = command_list;
    conf.n_commands = COMMANDS;
    if (asks) {
        start_helper();
        conf.helper_fd = shared[1];
    }
    ck_assert(acme_program_runner_create(&runner, &conf, runner_pool, NULL) == ACME_OK);
}

static void write_script(const char *body)
{
    FILE *f = fopen(script, "w");

    ck_assert(f != NULL);
    ck_assert(fprintf(f, "#!/bin/sh\n%s\n", body) > 0);
    ck_assert(fclose(f) == 0);
    ck_assert(chmod(script, 0755) == 0);
}

static const char *file(const char *name)
{
    return apr_pstrcat(pool, dir, "/", name, NULL);
}

static const char *content(const char *name)
{
    char buffer[20000];
    FILE *f = fopen(file(name), "r");
    size_t n;

    if (f == NULL) {
        return "";
    }
    n = fread(buffer, 1, sizeof(buffer) - 1, f);
    fclose(f);
    buffer[n] = '\0';
    return apr_pstrdup(pool, buffer);
}

typedef struct {
    const char *args[5];
    const char *extra[4];
    const char *input;
    apr_interval_time_t limit;
} ask_t;

static acme_rv_t start(acme_program_run_t **run, const ask_t *ask, acme_error_t *err)
{
    acme_program_t program;
    const char *argv[6];
    int i;

    for (i = 0; i < 5 && ask->args[i] != NULL; i++) {
        argv[i] = ask->args[i];
    }
    argv[i] = NULL;
    program.argv = argv;
    program.env = acme_program_env(runner, ask->extra, pool);
    program.input = ask->input;
    program.input_len = ask->input != NULL ? strlen(ask->input) : 0;
    program.limit = ask->limit != 0 ? ask->limit : 10 * SECOND;
    return acme_program_start(run, runner, &program, asker, err);
}

static acme_rv_t wait_for(acme_program_result_t *result, acme_program_run_t *run, acme_error_t *err)
{
    acme_rv_t rv;

    for (;;) {
        rv = acme_program_poll(result, run, err);
        if (rv != ACME_AGAIN) {
            return rv;
        }
        apr_sleep(2000);
    }
}

static acme_rv_t run_one(acme_program_result_t *result, const ask_t *ask, acme_error_t *err)
{
    acme_program_run_t *run;
    acme_rv_t rv;

    acme_error_clear(err);
    rv = start(&run, ask, err);
    if (rv != ACME_OK) {
        return rv;
    }
    rv = wait_for(result, run, err);
    acme_program_end(run);
    return rv;
}

static acme_rv_t run_script(acme_program_result_t *result, const char *body,
                            apr_interval_time_t limit, acme_error_t *err)
{
    ask_t ask;

    memset(&ask, 0, sizeof(ask));
    write_script(body);
    ask.args[0] = script;
    ask.limit = limit;
    return run_one(result, &ask, err);
}

static pid_t pid_of(const char *text)
{
    apr_int64_t pid = 0;
    apr_size_t used;

    ck_assert(acme_scan_number(&pid, text, strlen(text), 9, &used) == ACME_OK);
    return (pid_t)pid;
}

/* Whether a process with that number is alive, and no zombie. */
static int lives(const char *pid_text)
{
    char path[64], stat[200];
    FILE *f;
    size_t n;

    apr_snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid_of(pid_text));
    f = fopen(path, "r");
    if (f == NULL) {
        return 0;
    }
    n = fread(stat, 1, sizeof(stat) - 1, f);
    fclose(f);
    stat[n] = '\0';
    return strstr(stat, ") Z ") == NULL;
}

static int gone_within(const char *pid_text, apr_interval_time_t time)
{
    apr_time_t until = acme_net_now() + time;

    while (lives(pid_text) && acme_net_now() < until) {
        apr_sleep(5000);
    }
    return !lives(pid_text);
}

static void wait_for_file(const char *name)
{
    int i;

    for (i = 0; i < 2000 && *content(name) == '\0'; i++) {
        apr_sleep(5000);
    }
    ck_assert(*content(name) != '\0');
}

START_TEST(test_arguments_input_and_output)
{
    acme_program_result_t result;
    acme_error_t err;
    ask_t ask;

    make_runner(_i);
    write_script("printf '%s|' \"$#\" \"$@\"; cat; echo; echo also this >&2");
    memset(&ask, 0, sizeof(ask));
    ask.args[0] = script;
    ask.args[1] = "setup";
    ask.args[2] = "$(id)";
    ask.args[3] = "-x";
    ask.input = "text\twith\ttabs";
    ck_assert_msg(run_one(&result, &ask, &err) == ACME_OK, "%s", err.text);
    ck_assert_int_eq(result.exit_status, 0);
    ck_assert_str_eq(result.output, "3|setup|$(id)|-x|text with tabs also this");
    ck_assert(acme_program_verdict(&result, &err) == ACME_OK);
}
END_TEST

START_TEST(test_environment_is_exactly_what_is_given)
{
    acme_program_result_t result;
    acme_error_t err;
    ask_t ask;

    setenv("ACME_SECRET_OF_HTTPD", "1", 1);
    make_runner(_i);
    write_script("cat /proc/$$/environ | tr '\\0' '\\n' | sort");
    memset(&ask, 0, sizeof(ask));
    ask.args[0] = script;
    ask.extra[0] = "ACME_NAME=a b";
    ck_assert_msg(run_one(&result, &ask, &err) == ACME_OK, "%s", err.text);
    ck_assert_str_eq(result.output, "ACME_NAME=a b LANG=C PATH=/usr/bin:/bin");
}
END_TEST

START_TEST(test_extra_environment_hides_the_base)
{
    static const char *const extra[] = {"LANG=x", NULL};
    const char *const *env;

    make_runner(0);
    env = acme_program_env(runner, extra, pool);
    ck_assert_str_eq(env[0], "PATH=/usr/bin:/bin");
    ck_assert_str_eq(env[1], "LANG=x");
    ck_assert_ptr_null(env[2]);
}
END_TEST

/* A mask of signals: 32 and 33 are the C library's own, which GNU make leaves ignored (posix_spawn)
 * and nobody can set. */
static int none_but_the_librarys(const char *mask)
{
    return strlen(mask) == 16 && strspn(mask, "0") >= 7 && strchr("01", mask[7])
           && strchr("08", mask[8]) && strspn(mask + 9, "0") == 7;
}

/* Descriptors, session, directory, signals. */
START_TEST(test_nothing_of_the_process_is_inherited)
{
    acme_program_result_t result;
    acme_error_t err;
    const char *after;
    int i;

    for (i = 0; i < 40; i++) {
        ck_assert(open("/dev/null", O_RDONLY) >= 0); /* not close-on-exec */
    }
    signal(SIGTERM, SIG_IGN);
    make_runner(_i);
    ck_assert(run_script(&result,
                         "set -- /proc/$$/fd/*; for f; do case ${f##*/} in 0|1|2) ;; *) "
                         "readlink $f;; esac; done\n"
                         "test \"$(cut -d' ' -f6 /proc/$$/stat)\" = $$ || echo no session\n"
                         "pwd; grep -E 'SigIgn|SigBlk' /proc/self/status",
                         0, &err) == ACME_OK);
    /* The shell's own descriptor of its script. */
    ck_assert_msg(strncmp(result.output, script, strlen(script)) == 0, "%s", result.output);
    after = result.output + strlen(script);
    ck_assert_msg(strncmp(after, " / SigBlk: 0000000000000000 SigIgn: ", 36) == 0
                      && none_but_the_librarys(after + 36), "%s", result.output);
}
END_TEST

START_TEST(test_exit_status_and_what_it_said)
{
    acme_program_result_t result;
    acme_error_t err;

    make_runner(_i);
    ck_assert(run_script(&result, "echo no such zone >&2; exit 3", 0, &err) == ACME_OK);
    ck_assert_int_eq(result.exit_status, 3);
    ck_assert(acme_program_verdict(&result, &err) == ACME_FAIL);
    ck_assert_str_eq(err.text, "exit status 3: no such zone");
    acme_error_clear(&err);
    ck_assert(run_script(&result, "kill -9 $$", 0, &err) == ACME_OK);
    ck_assert_int_eq(result.exit_status, -1);
    ck_assert_int_eq(result.signal, SIGKILL);
    ck_assert(acme_program_verdict(&result, &err) == ACME_FAIL);
    ck_assert_str_eq(err.text, "ended by signal 9");
}
END_TEST

START_TEST(test_a_hanging_program_is_ended_at_its_limit)
{
    acme_program_result_t result;
    acme_error_t err;
    apr_time_t began = acme_net_now();

    make_runner(_i);
    ck_assert(run_script(&result, apr_psprintf(pool, "sleep 60 & echo $! >%s; wait", file("pid")),
                         SECOND / 2, &err) == ACME_OK);
    ck_assert_int_eq(result.timed_out, 1);
    ck_assert_int_eq(result.signal, SIGTERM);
    ck_assert(acme_net_now() - began < 2 * SECOND);
    ck_assert(gone_within(content("pid"), SECOND)); /* its process group */
    ck_assert(acme_program_verdict(&result, &err) == ACME_FAIL);
    ck_assert_str_eq(err.text, "was ended after its time limit");
}
END_TEST

START_TEST(test_one_that_ignores_sigterm_is_killed)
{
    acme_program_result_t result;
    acme_error_t err;
    apr_time_t began = acme_net_now();

    make_runner(_i);
    ck_assert(run_script(&result, "trap '' TERM; while :; do sleep 0.2; done", SECOND / 2, &err)
              == ACME_OK);
    ck_assert_int_eq(result.timed_out, 1);
    ck_assert_int_eq(result.signal, SIGKILL);
    ck_assert(acme_net_now() - began >= 2 * SECOND);
    ck_assert(acme_net_now() - began < 5 * SECOND);
}
END_TEST

START_TEST(test_a_daemon_that_keeps_stdout_holds_nobody)
{
    acme_program_result_t result;
    acme_error_t err;
    apr_time_t began = acme_net_now();

    make_runner(_i);
    ck_assert(run_script(&result,
                         apr_psprintf(pool, "sleep 60 & echo $! >%s; echo done", file("pid")), 0,
                         &err) == ACME_OK);
    ck_assert_int_eq(result.exit_status, 0);
    ck_assert_str_eq(result.output, "done");
    ck_assert(acme_net_now() - began < 5 * SECOND);
    ck_assert(lives(content("pid"))); /* what it leaves behind is its own affair */
    kill((pid_t)pid_of(content("pid")), SIGKILL);
}
END_TEST

START_TEST(test_much_output_is_read_and_forgotten)
{
    acme_program_result_t result;
    acme_error_t err;

    make_runner(_i);
    ck_assert(run_script(&result, "head -c 10000000 /dev/zero | tr '\\0' x; exit 5", 0, &err)
              == ACME_OK);
    ck_assert_int_eq(result.exit_status, 5);
    ck_assert_uint_eq(strlen(result.output), ACME_PROGRAM_OUTPUT);
    ck_assert_uint_eq(strspn(result.output, "x"), ACME_PROGRAM_OUTPUT);
}
END_TEST

START_TEST(test_output_is_made_printable)
{
    acme_program_result_t result;
    acme_error_t err;

    make_runner(_i);
    ck_assert(run_script(&result, "printf 'a\\nb\\033[31m\\377\\0c\\r\\n\\n'", 0, &err) == ACME_OK);
    ck_assert_str_eq(result.output, "a b?[31m??c");
}
END_TEST

START_TEST(test_input_that_nobody_reads)
{
    acme_program_result_t result;
    acme_error_t err;
    ask_t ask;
    char *input = apr_pcalloc(pool, ACME_PROGRAM_INPUT_MAX + 1);

    make_runner(_i);
    memset(input, 'i', ACME_PROGRAM_INPUT_MAX);
    memset(&ask, 0, sizeof(ask));
    ask.args[0] = script;
    ask.input = input;
    write_script("exec <&-; sleep 0.2; exit 0");
    ck_assert(run_one(&result, &ask, &err) == ACME_OK);
    ck_assert_int_eq(result.exit_status, 0);
    write_script("sleep 0.3; wc -c");
    ck_assert(run_one(&result, &ask, &err) == ACME_OK);
    ck_assert_str_eq(result.output, "65536");
}
END_TEST

START_TEST(test_what_cannot_be_executed)
{
    acme_program_result_t result;
    acme_error_t err;
    ask_t ask;

    make_runner(_i);
    memset(&ask, 0, sizeof(ask));
    ask.args[0] = commands[1][0];
    ck_assert(run_one(&result, &ask, &err) == ACME_FAIL);
    ck_assert_str_eq(err.code, "AC0910");
    ck_assert(strstr(err.text, commands[1][0]) == err.text);
    ck_assert(strstr(err.text, ": cannot be executed: No such file or directory") != NULL);
    ask.args[0] = dir;
    ck_assert(run_one(&result, &ask, &err) == ACME_FAIL);
    ck_assert(strstr(err.text, "Permission denied") != NULL);
    write_script("true");
    ck_assert(chmod(script, 0644) == 0);
    ask.args[0] = script;
    ck_assert(run_one(&result, &ask, &err) == ACME_FAIL);
    ck_assert(strstr(err.text, "Permission denied") != NULL);
    unlink(script); /* it disappears */
    ck_assert(run_one(&result, &ask, &err) == ACME_FAIL);
    ck_assert_str_eq(err.code, "AC0910");
}
END_TEST

START_TEST(test_only_configured_programs)
{
    static const char *const bad[] = {"has space", "new\nline", "\xc3\xa4", ""};
    acme_program_result_t result;
    acme_error_t err;
    ask_t ask;
    size_t i;

    make_runner(_i);
    write_script("echo \"$@\"");
    memset(&ask, 0, sizeof(ask));
    ask.args[0] = "/bin/echo";
    ck_assert(run_one(&result, &ask, &err) == ACME_FAIL);
    ck_assert_str_eq(err.code, "AC0918");
    ask.args[0] = "script";
    ck_assert(run_one(&result, &ask, &err) == ACME_FAIL);
    ck_assert_str_eq(err.code, "AC0918");
    ask.args[0] = script;
    for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        ask.args[1] = bad[i];
        ck_assert(run_one(&result, &ask, &err) == ACME_FAIL);
        ck_assert_str_eq(err.code, "AC0918");
    }
    ask.args[1] = "fixed";
    ask.args[2] = "EVENT";
    ck_assert(run_one(&result, &ask, &err) == ACME_OK);
    ck_assert_str_eq(result.output, "fixed EVENT");
}
END_TEST

START_TEST(test_no_more_than_so_many_at_once)
{
    acme_program_run_t *runs[ACME_PROGRAMS_AT_ONCE], *one;
    acme_program_result_t result;
    ask_t ask;
    int i;

    make_runner(_i);
    write_script("sleep 1");
    memset(&ask, 0, sizeof(ask));
    ask.args[0] = script;
    for (i = 0; i < ACME_PROGRAMS_AT_ONCE; i++) {
        ck_assert(start(&runs[i], &ask, NULL) == ACME_OK);
    }
    ck_assert(start(&one, &ask, NULL) == ACME_AGAIN);
    for (i = 0; i < ACME_PROGRAMS_AT_ONCE; i++) {
        ck_assert(wait_for(&result, runs[i], NULL) == ACME_OK);
        ck_assert_int_eq(result.exit_status, 0);
        acme_program_end(runs[i]);
    }
    while (start(&one, &ask, NULL) == ACME_AGAIN) {
        apr_sleep(2000);
    }
    acme_program_end(one);
}
END_TEST

/* By end, by the asker's pool, and by the runner's end, which takes 2 s at most. */
START_TEST(test_what_nobody_wants_is_ended)
{
    acme_program_run_t *run;
    apr_time_t began;
    ask_t ask;

    make_runner(_i);
    memset(&ask, 0, sizeof(ask));
    ask.args[0] = script;
    write_script(apr_psprintf(pool, "echo $$ >%s; sleep 60 & wait", file("one")));
    ck_assert(start(&run, &ask, NULL) == ACME_OK);
    wait_for_file("one");
    acme_program_end(run);
    ck_assert(gone_within(content("one"), SECOND));
    write_script(apr_psprintf(pool, "trap '' TERM; echo $$ >%s; while :; do sleep 0.2; done",
                              file("two")));
    ck_assert(start(&run, &ask, NULL) == ACME_OK);
    wait_for_file("two");
    began = acme_net_now();
    apr_pool_destroy(runner_pool);
    ck_assert(acme_net_now() - began < 2 * SECOND);
    ck_assert(gone_within(content("two"), _i ? 2 * SECOND : SECOND / 2));
}
END_TEST

START_TEST(test_the_helper_dies)
{
    acme_program_run_t *run;
    acme_program_result_t result;
    acme_error_t err;
    ask_t ask;

    make_runner(1);
    memset(&ask, 0, sizeof(ask));
    ask.args[0] = script;
    write_script(apr_psprintf(pool, "echo $$ >%s; sleep 60", file("pid")));
    ck_assert(start(&run, &ask, NULL) == ACME_OK);
    wait_for_file("pid");
    kill(helper, SIGKILL);
    waitpid(helper, NULL, 0);
    helper = 0;
    acme_error_clear(&err);
    ck_assert(wait_for(&result, run, &err) == ACME_FAIL);
    ck_assert_str_eq(err.code, "AC0913");
    acme_program_end(run);
    ck_assert(gone_within(content("pid"), 2 * SECOND)); /* nothing is left without a minder */
    ck_assert(run_one(&result, &ask, &err) == ACME_FAIL);
    ck_assert_str_eq(err.code, "AC0913");
}
END_TEST

/* What no owner would send; connections of others go on. */
START_TEST(test_the_helper_and_hostile_children)
{
    static const char junk[] = "junk that is no errand at all, but longer than its head would be";
    char *big = apr_pcalloc(pool, 200000);
    acme_program_result_t result;
    acme_error_t err;
    int i, fd;

    make_runner(1);
    ck_assert(run_script(&result, "echo before", 0, &err) == ACME_OK);
    for (i = 0; i < 40; i++) {
        fd = acme_helper_connect(shared[1]);
        if (fd >= 0) {
            ck_assert(send(fd, junk, (size_t)i, MSG_NOSIGNAL) == i);
            (void)!send(fd, big, i % 2 ? 200000 : 70000, MSG_NOSIGNAL);
            close(fd);
        }
        ck_assert(send(shared[1], "no descriptor", 5, MSG_NOSIGNAL) == 5);
    }
    ck_assert(run_script(&result, "echo after", 0, &err) == ACME_OK);
    ck_assert_str_eq(result.output, "after");
}
END_TEST

Suite *program_suite(void)
{
    Suite *suite = suite_create("program");
    TCase *tc = tcase_create("program");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, test_arguments_input_and_output, 0, 2);
    tcase_add_loop_test(tc, test_environment_is_exactly_what_is_given, 0, 2);
    tcase_add_test(tc, test_extra_environment_hides_the_base);
    tcase_add_loop_test(tc, test_nothing_of_the_process_is_inherited, 0, 2);
    tcase_add_loop_test(tc, test_exit_status_and_what_it_said, 0, 2);
    tcase_add_loop_test(tc, test_a_hanging_program_is_ended_at_its_limit, 0, 2);
    tcase_add_loop_test(tc, test_one_that_ignores_sigterm_is_killed, 0, 2);
    tcase_add_loop_test(tc, test_a_daemon_that_keeps_stdout_holds_nobody, 0, 2);
    tcase_add_loop_test(tc, test_much_output_is_read_and_forgotten, 0, 2);
    tcase_add_loop_test(tc, test_output_is_made_printable, 0, 2);
    tcase_add_loop_test(tc, test_input_that_nobody_reads, 0, 2);
    tcase_add_loop_test(tc, test_what_cannot_be_executed, 0, 2);
    tcase_add_loop_test(tc, test_only_configured_programs, 0, 2);
    tcase_add_loop_test(tc, test_no_more_than_so_many_at_once, 0, 2);
    tcase_add_loop_test(tc, test_what_nobody_wants_is_ended, 0, 2);
    tcase_add_test(tc, test_the_helper_dies);
    tcase_add_test(tc, test_the_helper_and_hostile_children);
    suite_add_tcase(suite, tc);
    return suite;
}
