/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#ifndef ACME_STORE_JOURNAL_H
#define ACME_STORE_JOURNAL_H

#include <apr_tables.h>
#include "store/dir.h"

/* Commit journal: STORE/journal, written when all PATH.new files are on disk and before the first
 * rename; removed after the last. Text, one line per file: digest of the new content and its path;
 * last line a digest over the rest. */
typedef struct {
    const char *path;
    char digest[65];
} acme_journal_row_t;

acme_rv_t acme_journal_write(const char *store, const apr_array_header_t *rows, apr_pool_t *scratch,
                             acme_error_t *err);
/* Commits: renames every PATH.new of the rows, one sync per directory, and removes the journal. A
 * row that cannot be renamed stops nothing, but the journal stays and ACME_FAIL tells the first
 * cause. */
acme_rv_t acme_journal_commit(const char *store, const apr_array_header_t *rows,
                              apr_pool_t *scratch, acme_error_t *err);
/* At every start. No journal: nothing to do. Intact journal: rolls forward (a row whose PATH.new
 * is gone and whose PATH has the digest is done; a PATH.new with another digest is not used and
 * the pair check decides). Broken journal: moved to journal.rej, ACME_FAIL with AC0610.
 * *recovered = number of files put in place. */
acme_rv_t acme_journal_recover(const char *store, uid_t uid, int *recovered, apr_pool_t *scratch,
                               acme_error_t *err);

#endif
