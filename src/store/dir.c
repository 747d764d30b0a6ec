/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#include "store/dir.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <apr_strings.h>
#include "crypto/digest.h"

#ifndef O_CLOEXEC
#define O_CLOEXEC 0
#endif

#define PERMISSIONS 07777

void (*acme_file_step_hook)(const char *operation, const char *path) = NULL;

static void stepped(const char *operation, const char *path)
{
    if (acme_file_step_hook != NULL) {
        acme_file_step_hook(operation, path);
    }
}

const char *acme_file_dir(const char *path, apr_pool_t *pool)
{
    const char *slash = strrchr(path, '/');

    if (slash == NULL) {
        return ".";
    }
    return slash == path ? "/" : apr_pstrndup(pool, path, (apr_size_t)(slash - path));
}

static const char *new_path(const char *path, apr_pool_t *pool)
{
    return apr_pstrcat(pool, path, ".new", NULL);
}

/* ---- directories ---- */

/* NULL, or what is wrong with the way to dir: a link of somebody who could turn it elsewhere. */
static const char *way_fault(const char *dir, uid_t uid, apr_pool_t *pool)
{
    const char *at = dir;
    const char *prefix;
    struct stat st;

    while (at != NULL && *at != '\0') {
        at = strchr(at + 1, '/');
        prefix = at != NULL ? apr_pstrndup(pool, dir, (apr_size_t)(at - dir)) : dir;
        if (lstat(prefix, &st) != 0) {
            return NULL;
        }
        if (S_ISLNK(st.st_mode) && st.st_uid != 0 && st.st_uid != uid) {
            return apr_psprintf(pool, "%s is a link that belongs to uid %ld; wanted: no link of "
                                "another user on the way; remedy: chown -h %ld '%s'", prefix,
                                (long)st.st_uid, (long)uid, prefix);
        }
    }
    return NULL;
}

static acme_rv_t make_one(const char *dir, mode_t mode)
{
    acme_rv_t rv = ACME_FAIL;
    int fd;

    if (mkdir(dir, mode) != 0) {
        return errno == EEXIST ? ACME_OK : ACME_FAIL;
    }
    fd = open(dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd >= 0 && fchmod(fd, mode) == 0) {
        rv = ACME_OK;
    }
    if (fd >= 0) {
        close(fd);
    }
    stepped("mkdir", dir);
    return rv;
}

acme_rv_t acme_dir_make(const char *dir, uid_t uid, acme_error_t *err)
{
    struct stat st;

    if (make_one(dir, 0700) != ACME_OK || lstat(dir, &st) != 0) {
        return acme_error_system(err, ACME_E_STORE, "AC0630", errno, "mkdir %s", dir);
    }
    if (!S_ISDIR(st.st_mode) || st.st_uid != uid || (st.st_mode & 022) != 0) {
        return acme_error_set(err, ACME_E_SECURITY, "AC0631",
                              "%s: owner uid %ld, mode %06o; wanted: a directory of uid %ld that "
                              "only it may write; move it away", dir, (long)st.st_uid,
                              (unsigned)st.st_mode, (long)uid);
    }
    return ACME_OK;
}

static acme_rv_t make_all(const char *dir, apr_pool_t *pool)
{
    const char *at = strchr(dir + 1, '/');
    const char *prefix;
    struct stat st;

    for (; at != NULL; at = strchr(at + 1, '/')) {
        prefix = apr_pstrndup(pool, dir, (apr_size_t)(at - dir));
        if (stat(prefix, &st) != 0 && make_one(prefix, 0755) != ACME_OK) {
            return ACME_FAIL;
        }
    }
    return make_one(dir, 0700);
}

/* NULL, or found, wanted and remedy. */
static const char *dir_fault(const char *dir, uid_t uid, const struct stat *st, apr_pool_t *pool)
{
    struct statvfs fs;
    const char *way = way_fault(dir, uid, pool);

    if (way != NULL) {
        return way;
    }
    if (!S_ISDIR(st->st_mode)) {
        return apr_psprintf(pool, "is %s; wanted: a directory (mode 0700, owner uid %ld); move it "
                            "away", S_ISLNK(st->st_mode) ? "a link" : "no directory", (long)uid);
    }
    if (st->st_uid != uid || (st->st_mode & 077) != 0) {
        return apr_psprintf(pool, "owner uid %ld, mode %04o; wanted: owner uid %ld, mode 0700; "
                            "remedy: chown %ld '%s' && chmod 0700 '%s'", (long)st->st_uid,
                            (unsigned)(st->st_mode & PERMISSIONS), (long)uid, (long)uid, dir, dir);
    }
    if (statvfs(dir, &fs) == 0 && (fs.f_flag & ST_RDONLY) != 0) {
        return apr_psprintf(pool, "is on a read-only file system; wanted: a writable one; remedy: "
                            "mount it writable or set AcmeStoreDir elsewhere");
    }
    return NULL;
}

static void warn_parent(const char **warning, const char *dir, apr_pool_t *pool)
{
    const char *parent = acme_file_dir(dir, pool);
    struct stat st;

    if (warning != NULL && stat(parent, &st) == 0 && (st.st_mode & 022) != 0
        && (st.st_mode & S_ISVTX) == 0) {
        *warning = apr_psprintf(pool, "%s, the parent of the store, may be written by others (mode "
                                "%04o)", parent, (unsigned)(st.st_mode & PERMISSIONS));
    }
}

acme_rv_t acme_dir_check(const char *dir, uid_t uid, int create, const char **warning,
                         apr_pool_t *pool, acme_error_t *err)
{
    const char *fault = NULL;
    struct stat st;
    int rc;

    if (warning != NULL) {
        *warning = NULL;
    }
    rc = lstat(dir, &st);
    if (rc != 0 && errno == ENOENT) {
        if (!create) {
            return ACME_AGAIN;
        }
        rc = make_all(dir, pool) == ACME_OK ? lstat(dir, &st) : -1;
    }
    if (rc != 0) {
        char text[120];

        fault = apr_psprintf(pool, "missing and cannot be made or looked at (%s); wanted: a "
                             "directory with mode 0700 and owner uid %ld; remedy: mkdir -p -m 0700 "
                             "'%s' && chown %ld '%s'", apr_strerror(errno, text, sizeof(text)),
                             (long)uid, dir, (long)uid, dir);
    }
    else {
        fault = dir_fault(dir, uid, &st, pool);
    }
    if (fault != NULL) {
        return acme_error_set(err, ACME_E_STORE, "AC0106", "%s: %s", dir, fault);
    }
    warn_parent(warning, dir, pool);
    return ACME_OK;
}

acme_rv_t acme_dir_check_beside(const char *dir, uid_t uid, apr_pool_t *pool, acme_error_t *err)
{
    const char *way;
    struct stat st;

    if (stat(dir, &st) != 0) {
        if (errno == ENOENT) {
            return ACME_AGAIN;
        }
        return acme_error_system(err, ACME_E_STORE, "AC0632", errno, "%s", dir);
    }
    way = way_fault(dir, uid, pool);
    if (way != NULL) {
        return acme_error_set(err, ACME_E_SECURITY, "AC0633", "%s: %s", dir, way);
    }
    if (!S_ISDIR(st.st_mode) || (st.st_uid != uid && st.st_uid != 0)
        || (st.st_mode & 022) != 0) {
        return acme_error_set(err, ACME_E_STORE, "AC0634", "%s: owner uid %ld, mode %04o; wanted: "
                              "a directory of uid %ld that nobody else may write; remedy: chown "
                              "%ld '%s' && chmod go-w '%s'", dir, (long)st.st_uid,
                              (unsigned)(st.st_mode & PERMISSIONS), (long)uid, (long)uid, dir, dir);
    }
    return ACME_OK;
}

acme_rv_t acme_dir_sync(const char *dir, acme_error_t *err)
{
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int rc;

    if (fd < 0) {
        return acme_error_system(err, ACME_E_STORE, "AC0635", errno, "open %s", dir);
    }
    do {
        rc = fsync(fd);
    } while (rc != 0 && errno == EINTR);
    rc = rc != 0 && errno != EINVAL ? errno : 0;
    close(fd);
    stepped("sync", dir);
    if (rc != 0) {
        return acme_error_system(err, ACME_E_STORE, "AC0636", rc, "sync %s", dir);
    }
    return ACME_OK;
}

/* ---- reading ---- */

/* What was opened must be an ordinary file that nobody else can reach or turn. */
static acme_rv_t judge(int fd, struct stat *st, const char *path, uid_t uid, acme_error_t *err)
{
    const char *fault = NULL;

    if (fstat(fd, st) != 0) {
        return acme_error_system(err, ACME_E_STORE, "AC0637", errno, "%s", path);
    }
    if (!S_ISREG(st->st_mode)) {
        fault = "is no regular file";
    }
    else if (st->st_nlink > 1) {
        fault = "has several links";
    }
    else if (st->st_uid != uid && st->st_uid != 0) {
        fault = "belongs to another user";
    }
    if (fault != NULL) {
        return acme_error_set(err, ACME_E_SECURITY, "AC0904", "%s %s (uid %ld, mode %06o, %ld "
                              "links); wanted: a regular file of uid %ld with one link; move it "
                              "away", path, fault, (long)st->st_uid, (unsigned)st->st_mode,
                              (long)st->st_nlink, (long)uid);
    }
    return ACME_OK;
}

/* err.status stays EACCES: who only looks may not be meant to see the file. */
static acme_rv_t denied(const char *path, uid_t uid, acme_error_t *err)
{
    int first = err != NULL && err->kind == ACME_E_NONE;
    struct stat st;

    if (lstat(path, &st) != 0) {
        return acme_error_system(err, ACME_E_STORE, "AC0638", EACCES, "open %s", path);
    }
    acme_error_set(err, ACME_E_STORE, "AC0678", "%s: owner uid %ld, mode %04o: permission denied; "
                   "wanted: owner uid %ld, mode 0600; remedy: chown %ld '%s' && chmod 0600 '%s'",
                   path, (long)st.st_uid, (unsigned)(st.st_mode & PERMISSIONS), (long)uid,
                   (long)uid, path, path);
    if (first) {
        err->status = EACCES;
    }
    return ACME_FAIL;
}

static acme_rv_t open_fault(const char *path, int status, uid_t uid, acme_error_t *err)
{
    if (status == EACCES) {
        return denied(path, uid, err);
    }
    if (status == ELOOP || status == ENXIO || status == EISDIR || status == ENODEV) {
        return acme_error_set(err, ACME_E_SECURITY, "AC0906", "%s is %s; wanted: a regular file; "
                              "move it away", path,
                              status == ELOOP ? "a link" : "no regular file");
    }
    return acme_error_system(err, ACME_E_STORE, "AC0679", status, "open %s", path);
}

static char *buffer_alloc(apr_size_t len, int secret, apr_pool_t *pool)
{
    char *data = apr_palloc(pool, len);

    if (secret) {
        acme_cleanse_with(pool, data, len);
    }
    return data;
}

/* At most room bytes; what is behind them is left alone. */
static acme_rv_t read_some(int fd, acme_file_t *out, apr_size_t room, const char *path,
                           acme_error_t *err)
{
    ssize_t n;

    out->len = 0;
    while (out->len < room) {
        n = read(fd, out->data + out->len, room - out->len);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return acme_error_system(err, ACME_E_STORE, "AC0639", errno, "read %s", path);
        }
        if (n == 0) {
            break;
        }
        out->len += (apr_size_t)n;
    }
    out->data[out->len] = '\0';
    return ACME_OK;
}

static void fill_stat(acme_file_t *out, const struct stat *st)
{
    out->dev = (apr_int64_t)st->st_dev;
    out->ino = (apr_int64_t)st->st_ino;
    out->mtime_ns = (apr_int64_t)st->st_mtim.tv_sec * 1000000000 + st->st_mtim.tv_nsec;
    out->size = (apr_int64_t)st->st_size;
}

static acme_rv_t open_file(int *fd, struct stat *st, const char *path, uid_t uid, acme_error_t *err)
{
    *fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
    if (*fd < 0) {
        return errno == ENOENT ? ACME_AGAIN : open_fault(path, errno, uid, err);
    }
    return judge(*fd, st, path, uid, err);
}

acme_rv_t acme_file_read_head(acme_file_t *out, const char *path, uid_t uid, apr_size_t max,
                              int secret, apr_pool_t *pool, acme_error_t *err)
{
    apr_size_t room;
    struct stat st;
    acme_rv_t rv;
    int fd;

    memset(out, 0, sizeof(*out));
    rv = open_file(&fd, &st, path, uid, err);
    if (rv == ACME_OK) {
        fill_stat(out, &st);
        room = (apr_uint64_t)st.st_size < max ? (apr_size_t)st.st_size : max;
        out->data = buffer_alloc(room + 1, secret, pool);
        rv = read_some(fd, out, room, path, err);
    }
    if (fd >= 0) {
        close(fd);
    }
    return rv;
}

acme_rv_t acme_file_read(acme_file_t *out, const char *path, uid_t uid, apr_size_t max, int tighten,
                         int secret, apr_pool_t *pool, acme_error_t *err)
{
    struct stat st;
    acme_rv_t rv;
    int fd;

    memset(out, 0, sizeof(*out));
    rv = open_file(&fd, &st, path, uid, err);
    if (rv != ACME_OK) {
        goto out;
    }
    fill_stat(out, &st);
    if ((st.st_mode & 077) != 0) {
        out->loosened = (unsigned)(st.st_mode & PERMISSIONS);
        if (tighten && fchmod(fd, 0600) == 0) {
            stepped("fchmod", path);
        }
    }
    if ((apr_uint64_t)st.st_size > max) {
        rv = acme_error_set(err, ACME_E_STORE, "AC0640", "%s: %" APR_INT64_T_FMT " bytes are more "
                            "than the %" APR_SIZE_T_FMT " it may have", path, out->size, max);
        goto out;
    }
    out->data = buffer_alloc((apr_size_t)st.st_size + 1, secret, pool);
    rv = read_some(fd, out, (apr_size_t)st.st_size, path, err);
out:
    if (fd >= 0) {
        close(fd);
    }
    return rv;
}

/* ---- writing ---- */

static int write_fd(int fd, const char *data, apr_size_t len)
{
    apr_size_t done = 0;
    ssize_t n;

    while (done < len) {
        n = write(fd, data + done, len - done);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return n < 0 ? errno : ENOSPC;
        }
        done += (apr_size_t)n;
    }
    return 0;
}

acme_rv_t acme_file_put_new(const char *path, const char *data, apr_size_t len, apr_pool_t *scratch,
                            acme_error_t *err)
{
    const char *fresh = new_path(path, scratch);
    int status;
    int fd;

    if (unlink(fresh) == 0) {
        stepped("unlink", fresh);
    }
    fd = open(fresh, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0) {
        return acme_error_system(err, ACME_E_STORE, "AC0641", errno, "create %s", fresh);
    }
    stepped("create", fresh);
    status = fchmod(fd, 0600) == 0 ? 0 : errno;
    if (status == 0) {
        status = write_fd(fd, data, len);
    }
    if (close(fd) != 0 && status == 0) {
        status = errno;
    }
    stepped("write", fresh);
    if (status != 0) {
        (void)unlink(fresh);
        return acme_error_system(err, ACME_E_STORE, "AC0642", status, "write %s", fresh);
    }
    return ACME_OK;
}

acme_rv_t acme_file_sync_new(const char *path, apr_pool_t *scratch, acme_error_t *err)
{
    const char *fresh = new_path(path, scratch);
    int fd = open(fresh, O_WRONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    int status = fd >= 0 ? 0 : errno;

    while (status == 0 && fsync(fd) != 0) {
        status = errno == EINTR ? 0 : errno;
    }
    if (fd >= 0) {
        close(fd);
    }
    stepped("fsync", fresh);
    if (status != 0) {
        (void)unlink(fresh);
        return acme_error_system(err, ACME_E_STORE, "AC0643", status, "sync %s", fresh);
    }
    return ACME_OK;
}

void acme_file_drop_new(const char *path, apr_pool_t *scratch)
{
    const char *fresh = new_path(path, scratch);

    if (unlink(fresh) == 0) {
        stepped("unlink", fresh);
    }
}

acme_rv_t acme_file_remove(const char *path, acme_error_t *err)
{
    if (unlink(path) != 0 && errno != ENOENT) {
        return acme_error_system(err, ACME_E_STORE, "AC0644", errno, "remove %s", path);
    }
    stepped("unlink", path);
    return ACME_OK;
}

acme_rv_t acme_file_write_new(const char *path, const char *data, apr_size_t len,
                              apr_pool_t *scratch, acme_error_t *err)
{
    if (acme_file_put_new(path, data, len, scratch, err) != ACME_OK) {
        return ACME_FAIL;
    }
    return acme_file_sync_new(path, scratch, err);
}

acme_rv_t acme_file_commit(const char *path, apr_pool_t *scratch, acme_error_t *err)
{
    if (rename(new_path(path, scratch), path) != 0) {
        return acme_error_system(err, ACME_E_STORE, "AC0645", errno, "rename %s.new", path);
    }
    stepped("rename", path);
    return ACME_OK;
}

acme_rv_t acme_file_replace(const char *path, const char *data, apr_size_t len, apr_pool_t *scratch,
                            acme_error_t *err)
{
    if (acme_file_write_new(path, data, len, scratch, err) != ACME_OK) {
        return ACME_FAIL;
    }
    if (acme_file_commit(path, scratch, err) != ACME_OK) {
        acme_file_drop_new(path, scratch);
        return ACME_FAIL;
    }
    return acme_dir_sync(acme_file_dir(path, scratch), err);
}

acme_rv_t acme_log_open(int *fd, const char *path, uid_t uid, acme_error_t *err)
{
    struct stat st;

    *fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY,
               0600);
    if (*fd < 0) {
        return open_fault(path, errno, uid, err);
    }
    if (judge(*fd, &st, path, uid, err) != ACME_OK) {
        close(*fd);
        *fd = -1;
        return ACME_FAIL;
    }
    if ((st.st_mode & PERMISSIONS) != 0600 && fchmod(*fd, 0600) != 0) {
        int status = errno;

        close(*fd);
        *fd = -1;
        return acme_error_system(err, ACME_E_STORE, "AC0646", status, "chmod 0600 %s", path);
    }
    return ACME_OK;
}
