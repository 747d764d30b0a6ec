/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#ifndef ACME_STORE_ARCHIVE_H
#define ACME_STORE_ARCHIVE_H

#include "store/commit.h"
#include "store/pair.h"

/* STORE/archive/ID/: former pairs as NUMBER-SERIAL.crt.pem and NUMBER-SERIAL.key.pem, numbered
 * upwards, and what was not adopted as DIGEST.rej. Only root writes and removes here. */

/* Keeps a good pair (pair[0] chain, pair[1] key) before it is replaced, as part of the commit;
 * nothing to do when the archive has this very pair already. */
acme_rv_t acme_archive_keep(acme_commit_t *commit, const char *store, uid_t uid, const char *id,
                            const char *serial, const acme_file_t pair[2], apr_pool_t *scratch,
                            acme_error_t *err);
/* The newest matching pair. ACME_AGAIN: none. *stem (may be NULL): its path without ".crt.pem". */
acme_rv_t acme_archive_newest(acme_pair_t *out, const char **stem, const char *store, uid_t uid,
                              const char *id, apr_pool_t *pool);
/* Removes all but the newest n pairs. */
void acme_archive_prune(const char *store, const char *id, int n, apr_pool_t *scratch);

/* Puts bytes aside. ACME_AGAIN: they are there already (or there is no room for more of them:
 * ACME_REJECTED_MAX files a certificate). */
#define ACME_REJECTED_MAX 100
acme_rv_t acme_archive_reject(const char *store, uid_t uid, const char *id, const char *data,
                              apr_size_t len, apr_pool_t *scratch, acme_error_t *err);

#endif
