/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#ifndef ACME_STORE_IMPORT_SOURCE_H
#define ACME_STORE_IMPORT_SOURCE_H

#include "base/json.h"
#include "store/import.h"

/* What the readers of import.h have in common. */

#define ACME_IMPORT_SETS_MAX 100000

/* ACME_FAIL: dir is not a directory that only uid or root may write. */
acme_rv_t acme_import_create(acme_import_t **out, const char *dir, uid_t uid, apr_time_t now,
                             apr_pool_t *pool, acme_error_t *err);

/* A whole file. Links are followed as long as they stay below the source's directory; all
 * directories that are met may be written by uid and root only, and so may the file. A missing one
 * is an error, too. The buffer is cleansed with the pool when secret is set. */
acme_rv_t acme_import_read(acme_file_t *out, acme_import_t *self, const char *path,
                           apr_size_t max, int secret, acme_error_t *err);
/* A warning if others may read that file, which holds a key in the clear. */
void acme_import_exposed(acme_import_t *self, const char *path, const acme_file_t *file);
acme_rv_t acme_import_read_json(acme_json_t **out, acme_import_t *self, const char *path,
                                acme_error_t *err);
/* Names below dir, sorted (const char *); suffix (may be NULL) is cut off and demanded. */
acme_rv_t acme_import_list(apr_array_header_t **out, const acme_import_t *self, const char *dir,
                           const char *suffix, acme_error_t *err);

/* Adds a pair: reads the files, says what is wrong with it. first: candidates for the first name,
 * in order (const char *); one that is no name of the certificate is passed over. */
acme_import_pair_t *acme_import_add(acme_import_t *self, const char *set, const char *directory,
                                    const char *cert, const char *key,
                                    const apr_array_header_t *first);
/* A pair that cannot be had. */
void acme_import_skip(acme_import_t *self, const char *set, const acme_error_t *err);

/* Is the account whose key is at path there already? It is counted as used once more then. */
int acme_import_has_account(acme_import_t *self, const char *path);
/* Adds one, used once. key: NULL when it cannot be had: a warning with err's text instead. about:
 * the JSON file that has the kid as its member kid, and "contact" in its member within (NULL: in
 * itself); it may be missing, as the CA finds an account by its key, too. */
typedef struct {
    const char *path, *directory;
    acme_key_t *key;
    const char *about, *kid, *within;
} acme_import_found_t;

void acme_import_add_account(acme_import_t *self, const acme_import_found_t *found,
                             const acme_error_t *err);

#endif
