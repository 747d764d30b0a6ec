/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#ifndef ACME_STORE_COMMIT_H
#define ACME_STORE_COMMIT_H

#include <apr_hash.h>
#include <apr_tables.h>
#include "store/dir.h"

/* Many pairs of files switched at once, each pair whole or not at all, whenever the machine stops:
 * all PATH.new written, then each synced, then the directories, then the journal, then all renamed,
 * the directories synced, the journal removed. */
typedef struct acme_commit_t acme_commit_t;

acme_commit_t *acme_commit_create(const char *store, uid_t uid, apr_pool_t *pool);

/* Writes both PATH.new. ACME_FAIL leaves neither, and the pair is not part of the commit.
 * *place tells it apart for acme_commit_done. */
acme_rv_t acme_commit_add(int *place, acme_commit_t *commit, const char *cert_path,
                          const char *cert, apr_size_t cert_len, const char *key_path,
                          const char *key, apr_size_t key_len, acme_error_t *err);
/* A file beside the pairs (a backup) that has to be on disk before they are switched: written now,
 * put in place by acme_commit_run. */
acme_rv_t acme_commit_beside(acme_commit_t *commit, const char *path, const char *data,
                             apr_size_t len, acme_error_t *err);
/* Switches. A pair that could not be synced drops out alone; when no journal could be written none
 * is switched. ACME_FAIL: at least one was not; see acme_commit_done. Once per commit. */
acme_rv_t acme_commit_run(acme_commit_t *commit, acme_error_t *err);
/* Is this pair in place? A pair of which only one file could be renamed is not: the caller has to
 * look at the disk again. */
int acme_commit_done(const acme_commit_t *commit, int place);

/* Files that are replaced together and need no journal: any of them may come out old or new. NULL
 * data is an empty file. Failed ones stay as they were; ACME_FAIL tells the first cause. */
typedef struct {
    const char *path;
    const char *data;
    apr_size_t len;
    int done;
} acme_replacement_t;

acme_rv_t acme_commit_replace(apr_array_header_t *replacements, apr_pool_t *scratch,
                              acme_error_t *err);

#endif
