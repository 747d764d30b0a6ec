/* Licensed under the Apache License, Version 2.0; see LICENSE. */

/* The commit journal: its bytes, rolling forward, and what a broken one does (nothing). */

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <apr_general.h>
#include <apr_strings.h>
#include <check.h>
#include "store/journal.h"
#include "command.h"

Suite *journal_suite(void);

/* printf new | sha256sum, printf old | sha256sum, printf other | sha256sum */
#define SHA_NEW "11507a0e2f5e69d5dfa40a62a1bd7b6ee57e6bcd85c67c9b8431b36fff21c437"
#define SHA_OLD "cba06b5736faf67e54b07b561eae94395e774c517a7d910a54369e1263ccfbd4"
#define SHA_OTHER "d9298a10d1b0735837dc4bd85dac641b0f3cef27a47e5d53a54f2f3f5b2fcffa"

static apr_pool_t *pool;
static char store[64];
static acme_error_t err;
static apr_array_header_t *rows;
static int recovered;

static void setup(void)
{
    apr_initialize();
    apr_pool_create(&pool, NULL);
    apr_cpystrn(store, "/tmp/acme-journal.XXXXXX", sizeof(store));
    ck_assert_ptr_nonnull(mkdtemp(store));
    acme_error_clear(&err);
    rows = apr_array_make(pool, 4, sizeof(acme_journal_row_t));
    acme_file_step_hook = NULL;
}

static void teardown(void)
{
    command_run("rm", "-rf", store, NULL);
    apr_pool_destroy(pool);
    apr_terminate();
}

static const char *in_store(const char *name)
{
    return apr_pstrcat(pool, store, "/", name, NULL);
}

static void spill(const char *name, const char *text)
{
    FILE *file = fopen(in_store(name), "w");

    ck_assert_ptr_nonnull(file);
    fputs(text, file);
    fclose(file);
    chmod(in_store(name), 0600);
}

/* "" for a missing file. */
static const char *slurp(const char *name)
{
    FILE *file = fopen(in_store(name), "r");
    char *data = apr_pcalloc(pool, 4096);

    if (file != NULL) {
        data[fread(data, 1, 4095, file)] = '\0';
        fclose(file);
    }
    return data;
}

static int there(const char *name)
{
    struct stat st;

    return lstat(in_store(name), &st) == 0;
}

static void row(const char *name, const char *digest)
{
    acme_journal_row_t *one = apr_array_push(rows);

    one->path = in_store(name);
    apr_cpystrn(one->digest, digest, sizeof(one->digest));
}

/* Two files to be switched, the journal on disk. */
static void intend(void)
{
    spill("a", "old");
    spill("b", "old");
    spill("a.new", "new");
    spill("b.new", "other");
    row("a", SHA_NEW);
    row("b", SHA_OTHER);
    ck_assert_int_eq(acme_journal_write(store, rows, pool, &err), ACME_OK);
}

static int switched(void)
{
    return strcmp(slurp("a"), "new") == 0 && strcmp(slurp("b"), "other") == 0 && !there("journal")
           && !there("a.new") && !there("b.new");
}

static acme_rv_t recover(void)
{
    return acme_journal_recover(store, geteuid(), &recovered, pool, &err);
}

/* The bytes; the sum is the command sha256sum's. */
START_TEST(bytes)
{
    struct stat st;
    const char *line;
    char *text;

    intend();
    text = apr_pstrdup(pool, slurp("journal"));
    ck_assert_ptr_eq(strstr(text, apr_pstrcat(pool, "acme-journal 1\n" SHA_NEW " ", store, "/a\n"
                                              SHA_OTHER " ", store, "/b\nsum ", NULL)), text);
    ck_assert(stat(in_store("journal"), &st) == 0 && (st.st_mode & 07777) == 0600);
    command_run("sh", "-c",
        apr_psprintf(pool, "head -n 3 '%s' | sha256sum >'%s'", in_store("journal"),
                     in_store("sum")), NULL);
    line = apr_pstrndup(pool, slurp("sum"), 64);
    ck_assert_str_eq(strstr(text, "\nsum ") + 5, apr_pstrcat(pool, line, "\n", NULL));
}
END_TEST

START_TEST(commits)
{
    intend();
    ck_assert_int_eq(acme_journal_commit(store, rows, pool, &err), ACME_OK);
    ck_assert(switched());
    ck_assert_int_eq(recover(), ACME_OK);
    ck_assert_int_eq(recovered, 0);
}
END_TEST

START_TEST(rolls_forward)
{
    intend();
    if (_i == 1) { /* died between the two renames */
        ck_assert_int_eq(acme_file_commit(in_store("a"), pool, &err), ACME_OK);
    }
    if (_i == 2) {
        ck_assert_int_eq(acme_file_commit(in_store("a"), pool, &err), ACME_OK);
        ck_assert_int_eq(acme_file_commit(in_store("b"), pool, &err), ACME_OK);
    }
    spill("journal.new", "of a later try");
    ck_assert_int_eq(recover(), ACME_OK);
    ck_assert_int_eq(recovered, 2 - _i);
    ck_assert(switched() && !there("journal.new"));
    ck_assert_int_eq(recover(), ACME_OK);
    ck_assert_int_eq(recovered, 0);
}
END_TEST

/* What is not the announced content is not put in place. */
START_TEST(other_content)
{
    intend();
    spill("b.new", "otherwise");
    ck_assert_int_eq(recover(), ACME_OK);
    ck_assert_int_eq(recovered, 1);
    ck_assert_str_eq(slurp("a"), "new");
    ck_assert_str_eq(slurp("b"), "old");
    ck_assert(!there("journal"));
}
END_TEST

START_TEST(link_as_new_file)
{
    intend();
    spill("elsewhere", "other");
    unlink(in_store("b.new"));
    ck_assert_int_eq(symlink(in_store("elsewhere"), in_store("b.new")), 0);
    ck_assert_int_eq(recover(), ACME_OK);
    ck_assert_str_eq(slurp("b"), "old");
}
END_TEST

/* Cut anywhere, any byte changed: nothing happens but that it is put aside. */
static void broken_is_put_aside(const char *text)
{
    acme_error_clear(&err);
    spill("journal", text);
    ck_assert_int_eq(recover(), ACME_FAIL);
    ck_assert_str_eq(err.code, "AC0610");
    ck_assert_int_eq(recovered, 0);
    ck_assert(!there("journal"));
    ck_assert_str_eq(slurp("journal.rej"), text);
    ck_assert_str_eq(slurp("a"), "old");
    ck_assert_str_eq(slurp("b"), "old");
    ck_assert_int_eq(recover(), ACME_OK);
}

START_TEST(broken)
{
    const char *intact;
    apr_size_t at;
    char *text;

    intend();
    intact = slurp("journal");
    for (at = 0; at < strlen(intact); at++) {
        text = apr_pstrdup(pool, intact);
        if (_i == 0) {
            text[at] = '\0';
        }
        else {
            text[at] ^= 1;
        }
        broken_is_put_aside(text);
    }
    broken_is_put_aside(apr_pstrcat(pool, intact, "\n", NULL));
    broken_is_put_aside("acme-journal 2\nsum \n");
    spill("journal", intact);
    ck_assert_int_eq(recover(), ACME_OK);
    ck_assert(switched());
}
END_TEST

START_TEST(huge)
{
    spill("journal", "x");
    ck_assert_int_eq(truncate(in_store("journal"), (off_t)1024 * 1024 * 1024), 0);
    ck_assert_int_eq(recover(), ACME_FAIL);
    ck_assert_str_eq(err.code, "AC0610");
    ck_assert(!there("journal") && there("journal.rej"));
}
END_TEST

START_TEST(no_file)
{
    spill("elsewhere", "x");
    if (_i == 0) {
        ck_assert_int_eq(symlink(in_store("elsewhere"), in_store("journal")), 0);
    }
    else {
        ck_assert_int_eq(mkfifo(in_store("journal"), 0600), 0);
    }
    ck_assert_int_eq(recover(), ACME_FAIL);
    ck_assert(!there("journal") && there("elsewhere"));
    ck_assert_int_eq(recover(), ACME_OK);
}
END_TEST

START_TEST(refuses_rows)
{
    row("a\nb", SHA_OLD);
    ck_assert_int_eq(acme_journal_write(store, rows, pool, &err), ACME_FAIL);
    rows->nelts = 0;
    row("a", "00");
    ck_assert_int_eq(acme_journal_write(store, rows, pool, &err), ACME_FAIL);
    ck_assert(!there("journal"));
}
END_TEST

/* A row that cannot be renamed stops nothing, but the journal stays. */
START_TEST(one_cannot)
{
    intend();
    unlink(in_store("a.new"));
    ck_assert_int_eq(acme_journal_commit(store, rows, pool, &err), ACME_FAIL);
    ck_assert_ptr_nonnull(strstr(err.text, "/a.new"));
    ck_assert_str_eq(slurp("b"), "other");
    ck_assert(there("journal"));
}
END_TEST

/* ---- killed anywhere ---- */

static int steps_left;

static void die_at(const char *operation, const char *path)
{
    (void)operation;
    (void)path;
    if (steps_left-- == 0) {
        _exit(42);
    }
}

static void whole(void)
{
    if (acme_file_put_new(in_store("a"), "new", 3, pool, NULL) == ACME_OK
        && acme_file_put_new(in_store("b"), "other", 5, pool, NULL) == ACME_OK
        && acme_file_sync_new(in_store("a"), pool, NULL) == ACME_OK
        && acme_file_sync_new(in_store("b"), pool, NULL) == ACME_OK
        && acme_journal_write(store, rows, pool, NULL) == ACME_OK) {
        (void)acme_journal_commit(store, rows, pool, NULL);
    }
}

static int killed_at(int n, void (*work)(void))
{
    pid_t pid = fork();
    int status;

    if (pid == 0) {
        steps_left = n;
        acme_file_step_hook = die_at;
        work();
        _exit(0);
    }
    ck_assert(waitpid(pid, &status, 0) == pid && WIFEXITED(status));
    return WEXITSTATUS(status) == 42;
}

static void recover_once(void)
{
    (void)recover();
}

START_TEST(killed)
{
    int n, died = 1, forward = 0, back = 0;

    row("a", SHA_NEW);
    row("b", SHA_OTHER);
    for (n = 0; died; n++) {
        spill("a", "old");
        spill("b", "old");
        unlink(in_store("journal"));
        died = killed_at(n, whole);
        (void)killed_at(_i, recover_once); /* and once more, in the recovery */
        ck_assert_int_eq(recover(), ACME_OK);
        if (strcmp(slurp("a"), "new") == 0) {
            ck_assert(switched());
            forward++;
        }
        else {
            ck_assert_str_eq(slurp("a"), "old");
            ck_assert_str_eq(slurp("b"), "old");
            back++;
        }
    }
    ck_assert(forward > 3 && back > 5);
}
END_TEST

Suite *journal_suite(void)
{
    Suite *suite = suite_create("journal");
    TCase *tc = tcase_create("journal");

    tcase_set_timeout(tc, 30);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, bytes);
    tcase_add_test(tc, commits);
    tcase_add_loop_test(tc, rolls_forward, 0, 3);
    tcase_add_test(tc, other_content);
    tcase_add_test(tc, link_as_new_file);
    tcase_add_loop_test(tc, broken, 0, 2);
    tcase_add_test(tc, huge);
    tcase_add_loop_test(tc, no_file, 0, 2);
    tcase_add_test(tc, refuses_rows);
    tcase_add_test(tc, one_cannot);
    tcase_add_loop_test(tc, killed, 0, 6);
    suite_add_tcase(suite, tc);
    return suite;
}
