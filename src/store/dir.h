/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#ifndef ACME_STORE_DIR_H
#define ACME_STORE_DIR_H

#include <sys/types.h>
#include "base/error.h"
#include <apr_pools.h>

/* Root's file primitives. Nothing here follows a link in the last component, changes a mode or
 * owner by path, or creates a file that exists. "Owner" is the user httpd was started as. */

/* Is dir usable as a store? Exists, directory, owned by uid, no permission for others or group (a
 * setgid bit is ignored), not on a read-only file system, no link on the way to it that belongs to
 * anybody but uid or root. create: made 0700 with missing parents 0755 when absent; else ACME_AGAIN
 * when absent. Error: one line with path, found, wanted, and the command that mends it (AC0106).
 * warning (may be NULL) gets a text when the parent is writable by group or others. */
acme_rv_t acme_dir_check(const char *dir, uid_t uid, int create, const char **warning,
                         apr_pool_t *pool, acme_error_t *err);

/* May files of ours stand in dir, which the administrator named (AcmeCertPath, AcmeAuthPath)?
 * Owned by uid or root, writable by nobody else; it may be readable. ACME_AGAIN: missing. */
acme_rv_t acme_dir_check_beside(const char *dir, uid_t uid, apr_pool_t *pool, acme_error_t *err);

/* Whole content of a regular file with one link owned by uid or root, at most max bytes. Missing:
 * ACME_AGAIN. Modes looser than 0600 are tightened (fchmod) with *loosened = the found mode when
 * tighten is set. The buffer is NUL-terminated and cleansed with the pool when secret is set.
 * What is not such a file: ACME_FAIL with kind ACME_E_SECURITY. */
typedef struct {
    char *data;
    apr_size_t len;
    unsigned loosened;   /* found mode when it was too wide, else 0 */
    apr_int64_t dev, ino, mtime_ns;
    apr_int64_t size;    /* of the file */
} acme_file_t;

acme_rv_t acme_file_read(acme_file_t *out, const char *path, uid_t uid, apr_size_t max, int tighten,
                         int secret, apr_pool_t *pool, acme_error_t *err);
/* The same, but of a longer file the first max bytes (see size). */
acme_rv_t acme_file_read_head(acme_file_t *out, const char *path, uid_t uid, apr_size_t max,
                              int secret, apr_pool_t *pool, acme_error_t *err);

/* Writes PATH.new: unlink a stale one, O_EXCL|O_NOFOLLOW, 0600 whatever the umask, write all,
 * fsync. acme_file_commit renames PATH.new to PATH; acme_dir_sync syncs a directory. A failed
 * write leaves no PATH.new. */
acme_rv_t acme_file_write_new(const char *path, const char *data, apr_size_t len,
                              apr_pool_t *scratch, acme_error_t *err);
acme_rv_t acme_file_commit(const char *path, apr_pool_t *scratch, acme_error_t *err);
acme_rv_t acme_dir_sync(const char *dir, acme_error_t *err);
/* write_new, commit, sync. */
acme_rv_t acme_file_replace(const char *path, const char *data, apr_size_t len, apr_pool_t *scratch,
                            acme_error_t *err);

/* write_new in two parts, so that many files are written before the first is waited for. */
acme_rv_t acme_file_put_new(const char *path, const char *data, apr_size_t len, apr_pool_t *scratch,
                            acme_error_t *err);
acme_rv_t acme_file_sync_new(const char *path, apr_pool_t *scratch, acme_error_t *err);
/* Removes PATH.new if there is one. */
void acme_file_drop_new(const char *path, apr_pool_t *scratch);
/* unlink; a missing file is no error. */
acme_rv_t acme_file_remove(const char *path, acme_error_t *err);
/* "/a/b" of "/a/b/c". */
const char *acme_file_dir(const char *path, apr_pool_t *pool);
/* mkdir 0700 whatever the umask; one that is there must be a directory of uid. */
acme_rv_t acme_dir_make(const char *dir, uid_t uid, acme_error_t *err);

/* A staging log for children: O_WRONLY|O_APPEND|O_CREAT|O_CLOEXEC|O_NOFOLLOW|O_NONBLOCK, 0600
 * whatever the umask, regular, one link, owned by uid; else AC0904. */
acme_rv_t acme_log_open(int *fd, const char *path, uid_t uid, acme_error_t *err);

/* For tests: called after every operation that changes something on disk. */
extern void (*acme_file_step_hook)(const char *operation, const char *path);

#endif
