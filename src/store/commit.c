/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#include "store/commit.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>
#include <apr_strings.h>
#include "crypto/digest.h"
#include "store/journal.h"

enum { CERT = 0, KEY = 1, FILES = 2 };

typedef struct {
    acme_journal_row_t row[FILES];
    int out;  /* dropped out */
    int done;
} switched_t;

struct acme_commit_t {
    const char *store;
    uid_t uid;
    apr_pool_t *pool;
    apr_array_header_t *pairs;  /* switched_t */
    apr_array_header_t *beside; /* const char *: paths */
};

acme_commit_t *acme_commit_create(const char *store, uid_t uid, apr_pool_t *pool)
{
    acme_commit_t *commit = apr_pcalloc(pool, sizeof(*commit));

    commit->store = store;
    commit->uid = uid;
    commit->pool = pool;
    commit->pairs = apr_array_make(pool, 8, sizeof(switched_t));
    commit->beside = apr_array_make(pool, 8, sizeof(const char *));
    return commit;
}

static void row_set(acme_journal_row_t *row, const char *path, const char *data, apr_size_t len,
                    apr_pool_t *pool)
{
    row->path = apr_pstrdup(pool, path);
    acme_sha256_hex(row->digest, data, len);
}

static void drop_pair(switched_t *pair, apr_pool_t *pool)
{
    acme_file_drop_new(pair->row[CERT].path, pool);
    acme_file_drop_new(pair->row[KEY].path, pool);
    pair->out = 1;
}

acme_rv_t acme_commit_add(int *place, acme_commit_t *commit, const char *cert_path,
                          const char *cert, apr_size_t cert_len, const char *key_path,
                          const char *key, apr_size_t key_len, acme_error_t *err)
{
    switched_t *pair;

    *place = -1;
    if (acme_file_put_new(cert_path, cert, cert_len, commit->pool, err) != ACME_OK) {
        return ACME_FAIL;
    }
    if (acme_file_put_new(key_path, key, key_len, commit->pool, err) != ACME_OK) {
        acme_file_drop_new(cert_path, commit->pool);
        return ACME_FAIL;
    }
    *place = commit->pairs->nelts;
    pair = apr_array_push(commit->pairs);
    memset(pair, 0, sizeof(*pair));
    row_set(&pair->row[CERT], cert_path, cert, cert_len, commit->pool);
    row_set(&pair->row[KEY], key_path, key, key_len, commit->pool);
    return ACME_OK;
}

acme_rv_t acme_commit_beside(acme_commit_t *commit, const char *path, const char *data,
                             apr_size_t len, acme_error_t *err)
{
    if (acme_file_put_new(path, data, len, commit->pool, err) != ACME_OK) {
        return ACME_FAIL;
    }
    APR_ARRAY_PUSH(commit->beside, const char *) = apr_pstrdup(commit->pool, path);
    return ACME_OK;
}

static void note_dir(apr_hash_t *dirs, const char *path, apr_pool_t *pool)
{
    apr_hash_set(dirs, acme_file_dir(path, pool), APR_HASH_KEY_STRING, "");
}

static acme_rv_t sync_dirs(apr_hash_t *dirs, apr_pool_t *pool, acme_error_t *err)
{
    apr_hash_index_t *hi;
    acme_rv_t rv = ACME_OK;

    for (hi = apr_hash_first(pool, dirs); hi != NULL; hi = apr_hash_next(hi)) {
        if (acme_dir_sync(apr_hash_this_key(hi), err) != ACME_OK) {
            rv = ACME_FAIL;
        }
    }
    return rv;
}

/* Tells the disk to begin, so that a file system need not commit once for each file that is waited
 * for afterwards. */
static void begin_sync(const char *path, apr_pool_t *pool)
{
#ifdef SYNC_FILE_RANGE_WRITE
    int fd = open(apr_pstrcat(pool, path, ".new", NULL), O_WRONLY | O_NOFOLLOW | O_CLOEXEC);

    if (fd >= 0) {
        (void)sync_file_range(fd, 0, 0, SYNC_FILE_RANGE_WRITE);
        close(fd);
    }
#else
    (void)path;
    (void)pool;
#endif
}

static void begin_all(const acme_commit_t *commit)
{
    const switched_t *pair;
    int i, k;

    for (i = 0; i < commit->beside->nelts; i++) {
        begin_sync(APR_ARRAY_IDX(commit->beside, i, const char *), commit->pool);
    }
    for (i = 0; i < commit->pairs->nelts; i++) {
        pair = &APR_ARRAY_IDX(commit->pairs, i, const switched_t);
        for (k = 0; k < FILES; k++) {
            begin_sync(pair->row[k].path, commit->pool);
        }
    }
}

/* Everything is on disk afterwards but no active file is touched. */
static acme_rv_t write_out(acme_commit_t *commit, apr_array_header_t *rows, acme_error_t *err)
{
    apr_hash_t *dirs = apr_hash_make(commit->pool);
    switched_t *pair;
    const char *path;
    int i, k;

    begin_all(commit);
    for (i = 0; i < commit->beside->nelts; i++) {
        path = APR_ARRAY_IDX(commit->beside, i, const char *);
        if (acme_file_sync_new(path, commit->pool, err) != ACME_OK
            || acme_file_commit(path, commit->pool, err) != ACME_OK) {
            return ACME_FAIL;
        }
        note_dir(dirs, path, commit->pool);
    }
    for (i = 0; i < commit->pairs->nelts; i++) {
        pair = &APR_ARRAY_IDX(commit->pairs, i, switched_t);
        for (k = 0; k < FILES && !pair->out; k++) {
            if (acme_file_sync_new(pair->row[k].path, commit->pool, err) != ACME_OK) {
                drop_pair(pair, commit->pool);
            }
        }
        for (k = 0; k < FILES && !pair->out; k++) {
            note_dir(dirs, pair->row[k].path, commit->pool);
            APR_ARRAY_PUSH(rows, acme_journal_row_t) = pair->row[k];
        }
    }
    return sync_dirs(dirs, commit->pool, err);
}

/* After a rename that failed: what is in place, whatever the order of events was. */
static int in_place(const acme_commit_t *commit, const switched_t *pair)
{
    char digest[ACME_SHA256_HEX];
    acme_file_t file;
    int k;

    for (k = 0; k < FILES; k++) {
        if (acme_file_read(&file, pair->row[k].path, commit->uid, 1024 * 1024, 0, 1, commit->pool,
                           NULL) != ACME_OK) {
            return 0;
        }
        acme_sha256_hex(digest, file.data, file.len);
        if (strcmp(digest, pair->row[k].digest) != 0) {
            return 0;
        }
    }
    return 1;
}

acme_rv_t acme_commit_run(acme_commit_t *commit, acme_error_t *err)
{
    apr_array_header_t *rows = apr_array_make(commit->pool, 2 * commit->pairs->nelts + 1,
                                              sizeof(acme_journal_row_t));
    int intended = write_out(commit, rows, err) == ACME_OK;
    acme_rv_t rv = ACME_OK;
    int whole = 1;
    switched_t *pair;
    int i, ignored;

    if (intended && rows->nelts > 0) {
        intended = acme_journal_write(commit->store, rows, commit->pool, err) == ACME_OK;
    }
    if (intended && rows->nelts > 0
        && acme_journal_commit(commit->store, rows, commit->pool, err) != ACME_OK) {
        whole = 0;
        (void)acme_journal_recover(commit->store, commit->uid, &ignored, commit->pool, NULL);
    }
    for (i = 0; i < commit->pairs->nelts; i++) {
        pair = &APR_ARRAY_IDX(commit->pairs, i, switched_t);
        pair->done = intended && !pair->out && (whole || in_place(commit, pair));
        if (!pair->done) {
            drop_pair(pair, commit->pool);
            rv = ACME_FAIL;
        }
    }
    return intended ? rv : ACME_FAIL;
}

int acme_commit_done(const acme_commit_t *commit, int place)
{
    return place >= 0 && place < commit->pairs->nelts
           && APR_ARRAY_IDX(commit->pairs, place, switched_t).done;
}

/* ---- without a journal ---- */

acme_rv_t acme_commit_replace(apr_array_header_t *replacements, apr_pool_t *scratch,
                              acme_error_t *err)
{
    apr_hash_t *dirs = apr_hash_make(scratch);
    acme_replacement_t *file;
    acme_rv_t rv = ACME_OK;
    int i;

    for (i = 0; i < replacements->nelts; i++) {
        file = &APR_ARRAY_IDX(replacements, i, acme_replacement_t);
        file->done = acme_file_put_new(file->path, file->data, file->len, scratch, err) == ACME_OK;
    }
    for (i = 0; i < replacements->nelts; i++) {
        file = &APR_ARRAY_IDX(replacements, i, acme_replacement_t);
        if (file->done && file->len > 0) {
            begin_sync(file->path, scratch);
        }
    }
    for (i = 0; i < replacements->nelts; i++) {
        file = &APR_ARRAY_IDX(replacements, i, acme_replacement_t);
        if (file->done && file->len > 0) {
            file->done = acme_file_sync_new(file->path, scratch, err) == ACME_OK;
        }
        if (file->done && acme_file_commit(file->path, scratch, err) != ACME_OK) {
            acme_file_drop_new(file->path, scratch);
            file->done = 0;
        }
        if (file->done) {
            note_dir(dirs, file->path, scratch);
        }
        else {
            rv = ACME_FAIL;
        }
    }
    return sync_dirs(dirs, scratch, err) == ACME_OK ? rv : ACME_FAIL;
}
