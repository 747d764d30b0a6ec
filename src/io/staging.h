/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#ifndef ACME_IO_STAGING_H
#define ACME_IO_STAGING_H

#include "crypto/x509.h"
#include "io/board.h"
#include "protocol/record.h"

#define ACME_OVERFLOW_CAP (32 * 1024 * 1024) /* of the log that many certificates share */

/* So that no hostile child can leave a number that nobody can follow: root takes records up to
 * ACME_SEQ_MAX and starts again at 1 above ACME_SEQ_HIGH; others ignore what is above the latter.
 * */
#define ACME_SEQ_MAX APR_INT64_C(1000000000000)
#define ACME_SEQ_HIGH (ACME_SEQ_MAX - 1000000)

/* How the engine keeps what it must not lose: one small interface, so that another provider can
 * stand beside the files. Called by several workers, for one id by one at a time. */
typedef struct acme_store_t acme_store_t;
struct acme_store_t {
    /* Newest records of an id: what root handed over joined with what stands on the board. A live
     * record tells of the certificate that was published or adopted last; order, key and attempt
     * records older than it are left out. */
    acme_rv_t (*load)(acme_store_t *self, acme_record_set_t *out, const char *id, apr_pool_t *pool,
                      acme_error_t *err);
    /* Appends one record (the provider numbers it), synced, then makes it visible to a next owner.
     * ACME_FAIL leaves the past untouched (a short write is cut back). */
    acme_rv_t (*append)(acme_store_t *self, const char *id, acme_record_type_t type,
                        const char *payload, apr_size_t len, apr_time_t now, apr_pool_t *scratch,
                        acme_error_t *err);
    /* Makes a staged certificate live in all children. key PKCS#8. */
    acme_rv_t (*publish)(acme_store_t *self, const char *id, const acme_key_t *key,
                         const acme_chain_t *chain, apr_time_t now, apr_pool_t *scratch,
                         acme_error_t *err);
    /* Is the caller's process still the owner? */
    int (*lease)(acme_store_t *self);
};

/* The provider over staging logs and the board. */
typedef struct {
    const char *id;
    int row;               /* on the board, -1: none (served from disk, changes at restart) */
    int fd, key_fd;        /* write-only staging logs; -1: the overflow log; both -1 and no
                            * overflow: append fails with AC0602 */
    const char *handed;    /* record bytes from root, may be NULL */
    apr_size_t handed_len;
    apr_size_t log_size, key_log_size; /* size at hand-over, for the cap */
} acme_staging_entry_t;

/* Create it in the child's init at the latest: the board's configuration generation of that moment
 * tells whose logs these are. overflow_fd -1: none. lease may be NULL (always owner). */
acme_rv_t acme_staging_create(acme_store_t **out, acme_board_t *board,
                              const acme_staging_entry_t *entries, int n, int overflow_fd,
                              int (*lease)(void *baton), void *baton, apr_pool_t *pool,
                              acme_error_t *err);

/* Before anything else a new owner does: whatever the board's live rows hold that is newer than
 * baseline[i] (generation per entry, as root read it) is recorded again in the logs at hand (an
 * older owner may have written it to a log that was replaced meanwhile), and so are board records
 * newer than the handed ones. */
void acme_staging_catch_up(acme_store_t *store, const apr_uint64_t *baseline, apr_time_t now,
                           apr_pool_t *scratch);

#endif
