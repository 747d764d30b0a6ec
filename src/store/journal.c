/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#include "store/journal.h"

#include <stdio.h>
#include <string.h>
#include <apr_hash.h>
#include <apr_strings.h>
#include "crypto/digest.h"

#define JOURNAL_MAX (16 * 1024 * 1024)
#define FILE_MAX (1024 * 1024)
#define DIGEST_HEX (ACME_SHA256_HEX - 1)

static const char first_line[] = "acme-journal 1\n";
static const char sum_word[] = "sum ";

static const char *journal_path(const char *store, apr_pool_t *pool)
{
    return apr_pstrcat(pool, store, "/journal", NULL);
}

acme_rv_t acme_journal_write(const char *store, const apr_array_header_t *rows, apr_pool_t *scratch,
                             acme_error_t *err)
{
    apr_array_header_t *parts = apr_array_make(scratch, rows->nelts * 4 + 1, sizeof(const char *));
    const acme_journal_row_t *row;
    char sum[ACME_SHA256_HEX];
    char *text;
    int i;

    APR_ARRAY_PUSH(parts, const char *) = first_line;
    for (i = 0; i < rows->nelts; i++) {
        row = &APR_ARRAY_IDX(rows, i, acme_journal_row_t);
        if (strchr(row->path, '\n') != NULL || strlen(row->digest) != DIGEST_HEX) {
            return acme_error_set(err, ACME_E_INTERNAL, "AC0650", "not for a journal: %s",
                                  row->path);
        }
        APR_ARRAY_PUSH(parts, const char *) = row->digest;
        APR_ARRAY_PUSH(parts, const char *) = " ";
        APR_ARRAY_PUSH(parts, const char *) = row->path;
        APR_ARRAY_PUSH(parts, const char *) = "\n";
    }
    text = apr_array_pstrcat(scratch, parts, 0);
    acme_sha256_hex(sum, text, strlen(text));
    text = apr_pstrcat(scratch, text, sum_word, sum, "\n", NULL);
    return acme_file_replace(journal_path(store, scratch), text, strlen(text), scratch, err);
}

static acme_rv_t sync_dirs(apr_hash_t *dirs, apr_pool_t *scratch, acme_error_t *err)
{
    apr_hash_index_t *hi;
    acme_rv_t rv = ACME_OK;

    for (hi = apr_hash_first(scratch, dirs); hi != NULL; hi = apr_hash_next(hi)) {
        if (acme_dir_sync(apr_hash_this_key(hi), err) != ACME_OK) {
            rv = ACME_FAIL;
        }
    }
    return rv;
}

acme_rv_t acme_journal_commit(const char *store, const apr_array_header_t *rows,
                              apr_pool_t *scratch, acme_error_t *err)
{
    apr_hash_t *dirs = apr_hash_make(scratch);
    const acme_journal_row_t *row;
    acme_rv_t rv = ACME_OK;
    int i;

    for (i = 0; i < rows->nelts; i++) {
        row = &APR_ARRAY_IDX(rows, i, acme_journal_row_t);
        if (acme_file_commit(row->path, scratch, err) != ACME_OK) {
            rv = ACME_FAIL;
            continue;
        }
        apr_hash_set(dirs, acme_file_dir(row->path, scratch), APR_HASH_KEY_STRING, row);
    }
    if (sync_dirs(dirs, scratch, err) != ACME_OK || rv != ACME_OK) {
        return ACME_FAIL;
    }
    return acme_file_remove(journal_path(store, scratch), err);
}

/* Rows of an intact journal; data is cut up. */
static acme_rv_t parse(apr_array_header_t *rows, char *data, apr_size_t len)
{
    const apr_size_t tail = sizeof(sum_word) - 1 + DIGEST_HEX + 1;
    const apr_size_t head = sizeof(first_line) - 1;
    char sum[ACME_SHA256_HEX];
    acme_journal_row_t *row;
    char *at, *end, *line;

    if (len < head + tail || memcmp(data, first_line, head) != 0 || strlen(data) != len
        || data[len - 1] != '\n') {
        return ACME_FAIL;
    }
    end = data + len - tail;
    acme_sha256_hex(sum, data, len - tail);
    if (memcmp(end, sum_word, sizeof(sum_word) - 1) != 0
        || memcmp(end + sizeof(sum_word) - 1, sum, DIGEST_HEX) != 0) {
        return ACME_FAIL;
    }
    for (at = data + head; at < end; at = line + 1) {
        line = memchr(at, '\n', (apr_size_t)(end - at));
        if (line == NULL || line - at < DIGEST_HEX + 2 || at[DIGEST_HEX] != ' '
            || at[DIGEST_HEX + 1] != '/') {
            return ACME_FAIL;
        }
        *line = '\0';
        row = apr_array_push(rows);
        memcpy(row->digest, at, DIGEST_HEX);
        row->digest[DIGEST_HEX] = '\0';
        row->path = at + DIGEST_HEX + 1;
    }
    return ACME_OK;
}

/* Puts one file in place if its new content is what the journal says. */
static int roll_forward(const acme_journal_row_t *row, uid_t uid, apr_pool_t *scratch)
{
    const char *fresh = apr_pstrcat(scratch, row->path, ".new", NULL);
    char digest[ACME_SHA256_HEX];
    acme_file_t file;

    if (acme_file_read(&file, fresh, uid, FILE_MAX, 0, 1, scratch, NULL) != ACME_OK) {
        return 0;
    }
    acme_sha256_hex(digest, file.data, file.len);
    if (strcmp(digest, row->digest) != 0) {
        return 0;
    }
    return acme_file_commit(row->path, scratch, NULL) == ACME_OK;
}

static acme_rv_t put_aside(const char *path, const acme_error_t *cause, apr_pool_t *scratch,
                           acme_error_t *err)
{
    const char *aside = apr_pstrcat(scratch, path, ".rej", NULL);

    if (rename(path, aside) != 0) {
        (void)acme_file_remove(path, NULL);
    }
    return acme_error_set(err, ACME_E_STORE, "AC0610", "the commit journal %s was not intact and "
                          "is now %s%s%s; every pair is checked by itself", path, aside,
                          cause->text[0] != '\0' ? ": " : "", cause->text);
}

acme_rv_t acme_journal_recover(const char *store, uid_t uid, int *recovered, apr_pool_t *scratch,
                               acme_error_t *err)
{
    const char *path = journal_path(store, scratch);
    apr_hash_t *dirs = apr_hash_make(scratch);
    const acme_journal_row_t *row;
    apr_array_header_t *rows;
    acme_error_t cause;
    acme_file_t file;
    apr_pool_t *sub;
    acme_rv_t rv;
    int i;

    *recovered = 0;
    acme_error_clear(&cause);
    acme_file_drop_new(path, scratch);
    rv = acme_file_read(&file, path, uid, JOURNAL_MAX, 0, 0, scratch, &cause);
    if (rv == ACME_AGAIN) {
        return ACME_OK;
    }
    rows = apr_array_make(scratch, 16, sizeof(acme_journal_row_t));
    if (rv != ACME_OK || parse(rows, file.data, file.len) != ACME_OK) {
        return put_aside(path, &cause, scratch, err);
    }
    apr_pool_create(&sub, scratch);
    for (i = 0; i < rows->nelts; i++) {
        row = &APR_ARRAY_IDX(rows, i, acme_journal_row_t);
        apr_pool_clear(sub);
        *recovered += roll_forward(row, uid, sub);
        apr_hash_set(dirs, acme_file_dir(row->path, scratch), APR_HASH_KEY_STRING, row);
    }
    apr_pool_destroy(sub);
    if (sync_dirs(dirs, scratch, err) != ACME_OK) {
        return ACME_FAIL;
    }
    return acme_file_remove(path, err);
}
