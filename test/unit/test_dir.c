/* Licensed under the Apache License, Version 2.0; see LICENSE. */

/* Root's file primitives: what they refuse, and the order in which they do what they do. */

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <apr_general.h>
#include <apr_strings.h>
#include <check.h>
#include "store/dir.h"
#include "command.h"

Suite *dir_suite(void);

#define COUNT(table) ((int)(sizeof(table) / sizeof((table)[0])))

static apr_pool_t *pool;
static char base[64];
static acme_error_t err;
static uid_t me;

static void setup(void)
{
    apr_initialize();
    apr_pool_create(&pool, NULL);
    umask(022);
    apr_cpystrn(base, "/tmp/acme-dir.XXXXXX", sizeof(base));
    ck_assert_ptr_nonnull(mkdtemp(base));
    acme_error_clear(&err);
    acme_file_step_hook = NULL;
    me = geteuid();
}

static void teardown(void)
{
    command_run("rm", "-rf", base, NULL);
    apr_pool_destroy(pool);
    apr_terminate();
}

static const char *in_base(const char *name)
{
    return apr_pstrcat(pool, base, "/", name, NULL);
}

static void spill(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");

    ck_assert_ptr_nonnull(file);
    fputs(text, file);
    fclose(file);
    chmod(path, 0600);
}

static unsigned mode_of(const char *path)
{
    struct stat st;

    ck_assert_msg(lstat(path, &st) == 0, "%s", path);
    return (unsigned)st.st_mode & 07777;
}

static long size_of(const char *path)
{
    struct stat st;

    ck_assert_msg(lstat(path, &st) == 0, "%s", path);
    return (long)st.st_size;
}

static int there(const char *path)
{
    struct stat st;

    return lstat(path, &st) == 0;
}

/* ---- directories ---- */

START_TEST(store_made)
{
    const char *dir = in_base("a/b/store");
    const char *warning;

    ck_assert_int_eq(acme_dir_check(dir, me, 0, NULL, pool, &err), ACME_AGAIN);
    ck_assert(!there(in_base("a")));
    umask(_i == 0 ? 0 : 0777);
    ck_assert_int_eq(acme_dir_check(dir, me, 1, &warning, pool, &err), ACME_OK);
    umask(022);
    ck_assert_int_eq(mode_of(dir), 0700);
    ck_assert_int_eq(mode_of(in_base("a")), 0755);
    ck_assert_ptr_null(warning);
    ck_assert_int_eq(acme_dir_check(dir, me, 1, NULL, pool, &err), ACME_OK);
}
END_TEST

static const struct {
    mode_t mode;
    int ok;
} store_modes[] = {
    {0700, 1}, {02700, 1}, {0500, 1}, {0755, 0}, {0750, 0}, {0770, 0}, {02775, 0}, {0701, 0},
    {0702, 0}, {01777, 0},
};

START_TEST(store_mode)
{
    const char *dir = in_base("store");
    char found[24];

    ck_assert(mkdir(dir, 0700) == 0 && chmod(dir, store_modes[_i].mode) == 0);
    ck_assert_int_eq(acme_dir_check(dir, me, 1, NULL, pool, &err),
                     store_modes[_i].ok ? ACME_OK : ACME_FAIL);
    ck_assert_int_eq(mode_of(dir), store_modes[_i].mode);
    if (!store_modes[_i].ok) {
        /* Path, found, wanted and remedy. */
        apr_snprintf(found, sizeof(found), "mode %04o;", (unsigned)store_modes[_i].mode);
        ck_assert_str_eq(err.code, "AC0106");
        ck_assert_ptr_nonnull(strstr(err.text, dir));
        ck_assert_ptr_nonnull(strstr(err.text, found));
        ck_assert_ptr_nonnull(strstr(err.text, "wanted: owner uid"));
        ck_assert_ptr_nonnull(strstr(err.text, "chmod 0700 '"));
        ck_assert_ptr_null(strchr(err.text, '\n'));
    }
}
END_TEST

START_TEST(store_of_another)
{
    const char *dir = in_base("store");

    mkdir(dir, 0700);
    ck_assert_int_eq(acme_dir_check(dir, me + 1, 1, NULL, pool, &err), ACME_FAIL);
    ck_assert_ptr_nonnull(strstr(err.text, "chown"));
}
END_TEST

START_TEST(store_no_directory)
{
    const char *dir = in_base("store");

    mkdir(in_base("real"), 0700);
    if (_i == 0) {
        spill(dir, "x");
    }
    else if (_i == 1) {
        ck_assert_int_eq(symlink(in_base("real"), dir), 0);
    }
    else {
        ck_assert_int_eq(symlink(in_base("nowhere"), dir), 0);
    }
    ck_assert_int_eq(acme_dir_check(dir, me, 1, NULL, pool, &err), ACME_FAIL);
    ck_assert_str_eq(err.code, "AC0106");
    ck_assert(!there(in_base("nowhere")));
}
END_TEST

/* A link on the way is fine when its owner is root or we, and nobody else's. */
START_TEST(link_on_the_way)
{
    mkdir(in_base("real"), 0755);
    mkdir(in_base("real/store"), 0700);
    ck_assert_int_eq(symlink(in_base("real"), in_base("link")), 0);
    ck_assert_int_eq(acme_dir_check(in_base("link/store"), me, 1, NULL, pool, &err), ACME_OK);
    ck_assert_int_eq(acme_dir_check_beside(in_base("link"), me, pool, &err), ACME_OK);
    if (me != 0) {
        return;
    }
    ck_assert_int_eq(lchown(in_base("link"), 65534, 65534), 0);
    ck_assert_int_eq(acme_dir_check(in_base("link/store"), me, 1, NULL, pool, &err), ACME_FAIL);
    ck_assert_ptr_nonnull(strstr(err.text, "65534"));
    acme_error_clear(&err);
    ck_assert_int_eq(acme_dir_check_beside(in_base("link/store"), me, pool, &err), ACME_FAIL);
    ck_assert_str_eq(err.code, "AC0633");
}
END_TEST

START_TEST(parent_of_many)
{
    const char *warning = NULL;

    mkdir(in_base("group"), 0755);
    chmod(in_base("group"), 0775);
    ck_assert_int_eq(acme_dir_check(in_base("group/store"), me, 1, &warning, pool, &err), ACME_OK);
    ck_assert_ptr_nonnull(warning);
    ck_assert_ptr_nonnull(strstr(warning, "0775"));
    chmod(in_base("group"), 01777);
    ck_assert_int_eq(acme_dir_check(in_base("group/store"), me, 1, &warning, pool, &err), ACME_OK);
    ck_assert_ptr_null(warning);
}
END_TEST

START_TEST(beside)
{
    static const struct {
        mode_t mode;
        acme_rv_t rv;
    } rows[] = {{0755, ACME_OK}, {0700, ACME_OK}, {0750, ACME_OK}, {0775, ACME_FAIL},
                {0757, ACME_FAIL}, {01777, ACME_FAIL}};
    const char *dir = in_base("d");
    int i;

    ck_assert_int_eq(acme_dir_check_beside(dir, me, pool, &err), ACME_AGAIN);
    mkdir(dir, 0755);
    for (i = 0; i < COUNT(rows); i++) {
        chmod(dir, rows[i].mode);
        ck_assert_int_eq(acme_dir_check_beside(dir, me, pool, NULL), rows[i].rv);
    }
    spill(in_base("f"), "");
    ck_assert_int_eq(acme_dir_check_beside(in_base("f"), me, pool, &err), ACME_FAIL);
    ck_assert_ptr_nonnull(strstr(err.text, "remedy: chown"));
}
END_TEST

START_TEST(make_one)
{
    umask(0777);
    ck_assert_int_eq(acme_dir_make(in_base("d"), me, &err), ACME_OK);
    umask(022);
    ck_assert_int_eq(mode_of(in_base("d")), 0700);
    ck_assert_int_eq(acme_dir_make(in_base("d"), me, &err), ACME_OK);
    ck_assert_int_eq(acme_dir_make(in_base("d"), me + 1, NULL), ACME_FAIL);
    chmod(in_base("d"), 0770);
    ck_assert_int_eq(acme_dir_make(in_base("d"), me, NULL), ACME_FAIL);
    ck_assert_int_eq(symlink(in_base("d"), in_base("l")), 0);
    ck_assert_int_eq(acme_dir_make(in_base("l"), me, NULL), ACME_FAIL);
    ck_assert_int_eq(acme_dir_make(in_base("no/d"), me, NULL), ACME_FAIL);
}
END_TEST

START_TEST(dir_of)
{
    ck_assert_str_eq(acme_file_dir("/a/b/c", pool), "/a/b");
    ck_assert_str_eq(acme_file_dir("/c", pool), "/");
    ck_assert_str_eq(acme_file_dir("c", pool), ".");
}
END_TEST

/* ---- reading ---- */

START_TEST(reads)
{
    acme_file_t file;
    struct stat st;

    ck_assert_int_eq(acme_file_read(&file, in_base("f"), me, 10, 1, 0, pool, &err), ACME_AGAIN);
    ck_assert_int_eq(err.kind, ACME_E_NONE);
    spill(in_base("f"), "0123456789");
    ck_assert_int_eq(acme_file_read(&file, in_base("f"), me, 10, 1, 1, pool, &err), ACME_OK);
    ck_assert(file.len == 10 && strcmp(file.data, "0123456789") == 0 && file.loosened == 0);
    ck_assert(stat(in_base("f"), &st) == 0 && (ino_t)file.ino == st.st_ino && file.size == 10);
    ck_assert_int_eq(acme_file_read(&file, in_base("f"), me, 9, 1, 0, pool, &err), ACME_FAIL);
    ck_assert_str_eq(err.code, "AC0640");
    ck_assert_int_eq(acme_file_read_head(&file, in_base("f"), me, 4, 0, pool, NULL), ACME_OK);
    ck_assert(file.len == 4 && strcmp(file.data, "0123") == 0 && file.size == 10);
}
END_TEST

START_TEST(tightens)
{
    acme_file_t file;

    spill(in_base("f"), "x");
    chmod(in_base("f"), 0644);
    ck_assert_int_eq(acme_file_read(&file, in_base("f"), me, 10, 0, 0, pool, &err), ACME_OK);
    ck_assert(file.loosened == 0644 && mode_of(in_base("f")) == 0644);
    ck_assert_int_eq(acme_file_read(&file, in_base("f"), me, 10, 1, 0, pool, &err), ACME_OK);
    ck_assert(file.loosened == 0644 && mode_of(in_base("f")) == 0600);
    chmod(in_base("f"), 0400);
    ck_assert_int_eq(acme_file_read(&file, in_base("f"), me, 10, 1, 0, pool, &err), ACME_OK);
    ck_assert(file.loosened == 0 && mode_of(in_base("f")) == 0400);
}
END_TEST

/* What no file of ours can be, for reading as for a log: refused at once, never waited for. */
static const struct {
    const char *what, *code;
} aliens[] = {
    {"symlink", "AC0906"}, {"hard link", "AC0904"}, {"fifo", "AC0904"}, {"directory", ""},
    {"dangling link", "AC0906"}, {"of another user", "AC0904"}, {"device", "AC0904"},
    {"socket", "AC0906"},
};

static int make_alien(int which, const char *path)
{
    struct sockaddr_un address;
    int fd;

    spill(in_base("target"), "secret");
    switch (which) {
    case 0:
        return symlink(in_base("target"), path) == 0;
    case 1:
        return link(in_base("target"), path) == 0;
    case 2:
        return mkfifo(path, 0600) == 0;
    case 3:
        return mkdir(path, 0700) == 0;
    case 4:
        return symlink(in_base("nowhere"), path) == 0;
    case 5:
        spill(path, "x");
        return me == 0 && chown(path, 65534, 65534) == 0;
    case 6:
        return me == 0 && mknod(path, S_IFCHR | 0600, 0x0103) == 0; /* null */
    case 7:
        memset(&address, 0, sizeof(address));
        address.sun_family = AF_UNIX;
        apr_cpystrn(address.sun_path, path, sizeof(address.sun_path));
        fd = socket(AF_UNIX, SOCK_STREAM, 0);
        ck_assert_int_eq(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
        close(fd);
        return 1;
    }
    return 0;
}

START_TEST(aliens_not_read)
{
    const char *path = in_base("f");
    acme_file_t file;

    if (!make_alien(_i, path)) {
        return;
    }
    ck_assert_int_eq(acme_file_read(&file, path, me, 100, 1, 0, pool, &err), ACME_FAIL);
    if (*aliens[_i].code) {
        ck_assert_int_eq(err.kind, ACME_E_SECURITY);
        ck_assert_str_eq(err.code, _i == 6 ? err.code : aliens[_i].code);
    }
    ck_assert_ptr_nonnull(strstr(err.text, path));
    ck_assert(file.data == NULL);
}
END_TEST

START_TEST(aliens_no_logs)
{
    const char *path = in_base("f");
    int fd;

    if (!make_alien(_i, path)) {
        return;
    }
    ck_assert_int_eq(acme_log_open(&fd, path, me, &err), ACME_FAIL);
    ck_assert_int_eq(fd, -1);
    ck_assert_ptr_nonnull(strstr(err.text, path));
    ck_assert(!there(in_base("nowhere")));
    ck_assert_int_eq(mode_of(in_base("target")), 0600);
}
END_TEST

/* ---- logs ---- */

START_TEST(log_opened)
{
    struct stat st;
    char byte;
    int fd;

    umask(_i == 0 ? 0 : 0777);
    ck_assert_int_eq(acme_log_open(&fd, in_base("f.upd"), me, &err), ACME_OK);
    umask(022);
    ck_assert_int_eq(mode_of(in_base("f.upd")), 0600);
    ck_assert_int_eq(fcntl(fd, F_GETFL) & (O_ACCMODE | O_APPEND), O_WRONLY | O_APPEND);
    ck_assert_int_eq(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    ck_assert_int_eq(write(fd, "one", 3), 3);
    ck_assert(pread(fd, &byte, 1, 0) < 0 && errno == EBADF);
    close(fd);
    chmod(in_base("f.upd"), 0666);
    ck_assert_int_eq(acme_log_open(&fd, in_base("f.upd"), me, &err), ACME_OK);
    ck_assert_int_eq(mode_of(in_base("f.upd")), 0600);
    ck_assert(fstat(fd, &st) == 0 && st.st_size == 3);
    close(fd);
}
END_TEST

/* ---- writing ---- */

static char trace[2048];

static void note(const char *operation, const char *path)
{
    apr_size_t used = strlen(trace);
    const char *name = strrchr(path, '/');

    apr_snprintf(trace + used, sizeof(trace) - used, "%s %s\n", operation, name ? name + 1 : path);
}

/* Written, synced, renamed, the directory synced: in this order. */
START_TEST(replaces)
{
    const char *path = in_base("f");
    struct stat before, after;

    spill(path, "old");
    chmod(path, 0644);
    spill(in_base("f.new"), "stale");
    stat(path, &before);
    trace[0] = '\0';
    acme_file_step_hook = note;
    umask(_i == 0 ? 0 : 0777);
    ck_assert_int_eq(acme_file_replace(path, "new", 3, pool, &err), ACME_OK);
    umask(022);
    ck_assert_str_eq(trace, apr_pstrcat(pool, "unlink f.new\ncreate f.new\nwrite f.new\n"
                                        "fsync f.new\nrename f\nsync ", base + 5, "\n", NULL));
    stat(path, &after);
    ck_assert(after.st_ino != before.st_ino && after.st_size == 3);
    ck_assert_int_eq(mode_of(path), 0600);
    ck_assert(!there(in_base("f.new")));
}
END_TEST

/* A link in the way is not followed: it is the name that is replaced. */
START_TEST(replaces_link)
{
    const char *path = in_base(_i == 0 ? "f" : "f.new");

    spill(in_base("target"), "old");
    ck_assert_int_eq(symlink(in_base("target"), path), 0);
    ck_assert_int_eq(acme_file_replace(in_base("f"), "new", 3, pool, &err), ACME_OK);
    ck_assert_int_eq(mode_of(in_base("f")), 0600);
    ck_assert_int_eq(size_of(in_base("target")), 3);
}
END_TEST

START_TEST(full_disk)
{
    struct rlimit limit = {4, 4};
    char *big = apr_pcalloc(pool, 100000);
    pid_t pid;
    int status;

    spill(in_base("f"), "old");
    pid = fork();
    if (pid == 0) {
        signal(SIGXFSZ, SIG_IGN);
        setrlimit(RLIMIT_FSIZE, &limit);
        status = acme_file_replace(in_base("f"), big, 100000, pool, &err) == ACME_FAIL
                 && strcmp(err.code, "AC0642") == 0 && err.status == EFBIG;
        _exit(status ? 0 : 1);
    }
    ck_assert(waitpid(pid, &status, 0) == pid && status == 0);
    ck_assert(!there(in_base("f.new")));
    ck_assert_int_eq(size_of(in_base("f")), 3);
}
END_TEST

START_TEST(parts)
{
    ck_assert_int_eq(acme_file_commit(in_base("f"), pool, &err), ACME_FAIL);
    ck_assert_int_eq(err.status, ENOENT);
    ck_assert_int_eq(acme_file_put_new(in_base("f"), "a", 1, pool, NULL), ACME_OK);
    ck_assert(!there(in_base("f")) && there(in_base("f.new")));
    ck_assert_int_eq(acme_file_sync_new(in_base("f"), pool, NULL), ACME_OK);
    ck_assert_int_eq(acme_file_commit(in_base("f"), pool, NULL), ACME_OK);
    ck_assert(there(in_base("f")) && !there(in_base("f.new")));
    acme_file_drop_new(in_base("f"), pool);
    ck_assert_int_eq(acme_file_sync_new(in_base("f"), pool, NULL), ACME_FAIL);
    ck_assert_int_eq(acme_file_put_new(in_base("no/f"), "a", 1, pool, NULL), ACME_FAIL);
    ck_assert_int_eq(acme_file_remove(in_base("f"), NULL), ACME_OK);
    ck_assert_int_eq(acme_file_remove(in_base("f"), NULL), ACME_OK);
    mkdir(in_base("d"), 0700);
    acme_error_clear(&err);
    ck_assert_int_eq(acme_file_remove(in_base("d"), &err), ACME_FAIL);
    ck_assert_str_eq(err.code, "AC0644");
    acme_error_clear(&err);
    ck_assert_int_eq(acme_dir_sync(in_base("no"), &err), ACME_FAIL);
    ck_assert_str_eq(err.code, "AC0635");
}
END_TEST

Suite *dir_suite(void)
{
    Suite *suite = suite_create("dir");
    TCase *tc = tcase_create("dir");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_loop_test(tc, store_made, 0, 2);
    tcase_add_loop_test(tc, store_mode, 0, COUNT(store_modes));
    tcase_add_test(tc, store_of_another);
    tcase_add_loop_test(tc, store_no_directory, 0, 3);
    tcase_add_test(tc, link_on_the_way);
    tcase_add_test(tc, parent_of_many);
    tcase_add_test(tc, beside);
    tcase_add_test(tc, make_one);
    tcase_add_test(tc, dir_of);
    tcase_add_test(tc, reads);
    tcase_add_test(tc, tightens);
    tcase_add_loop_test(tc, aliens_not_read, 0, COUNT(aliens));
    tcase_add_loop_test(tc, aliens_no_logs, 0, COUNT(aliens));
    tcase_add_loop_test(tc, log_opened, 0, 2);
    tcase_add_loop_test(tc, replaces, 0, 2);
    tcase_add_loop_test(tc, replaces_link, 0, 2);
    tcase_add_test(tc, full_disk);
    tcase_add_test(tc, parts);
    suite_add_tcase(suite, tc);
    return suite;
}
