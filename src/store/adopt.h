/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#ifndef ACME_STORE_ADOPT_H
#define ACME_STORE_ADOPT_H

#include "base/log.h"
#include "protocol/policy.h"
#include "protocol/record.h"
#include "protocol/spec.h"
#include "store/journal.h"

/* Root's work at a start, before mod_ssl reads files. Two calls:
 *   acme_store_prepare  every pass, the dry one too: journal, pairs, placeholders. Idempotent.
 *   acme_store_adopt    the real pass only: staged pairs become F; staging logs are opened; what the
 *                       children need is collected.
 * Nothing here fails a start: trouble is text on the item, that certificate is not ordered. */

typedef struct {
    const acme_spec_t *spec;
    /* results */
    int usable;                /* cert_path/key_path hold a matching pair of a CA (or the admin) */
    int placeholder;           /* cert_file/key_file are the placeholder's */
    const char *cert_file, *key_file; /* what mod_ssl is to load; NULL when even the placeholder could
                                       * not be made */
    acme_facts_t facts;        /* of the pair on disk */
    acme_issued_t issued;      /* of the live record, members NULL when unknown */
    int adopted;               /* this start */
    const char *handed;        /* record bytes for the children */
    apr_size_t handed_len;
    int fd, key_fd;            /* staging logs; -1: overflow log, or none */
    apr_size_t log_size, key_log_size;
    int can_stage;             /* records can be kept: ordering is allowed */
    int retry_now;             /* STORE/NAME.retry was found (and removed) */
    const char *trouble;       /* printable line, or NULL */
    const char *trouble_code;
} acme_item_t;

typedef struct {
    const acme_ca_t *ca;
    const char *id;            /* record id of the account: file name of auth_path without ".jwk" */
    const char *jwk;           /* private JWK text, cleansed with the pool; NULL when unusable */
    const char *handed;
    apr_size_t handed_len;
    int fd;
    apr_size_t log_size;
    int created;               /* this start */
    const char *trouble;       /* printable line, or NULL */
    const char *trouble_code;
} acme_account_item_t;

/* Kept by the embedder over graceful restarts (process pool): skips what has not changed. May be NULL.*/
typedef struct acme_store_cache_t acme_store_cache_t;
acme_store_cache_t *acme_store_cache_create(apr_pool_t *process_pool);

typedef struct {
    const char *store;         /* AcmeStoreDir */
    uid_t uid;
    int backups;
    int own_logs_max;          /* certificates that may have logs of their own (two descriptors each) */
    int read_only;             /* another server holds the store: look, never touch */
    apr_time_t now;
    const acme_log_t *log;
    acme_store_cache_t *cache;
    /* results of prepare/adopt */
    int usable;                /* the store directory itself */
    const char *trouble, *trouble_code; /* of the directory */
    int overflow_fd;           /* STORE/overflow.upd, -1: none */
} acme_store_root_t;

/* items: acme_item_t[n] with spec set; results live in pool (pconf). Looks only (for -t and the dump)
 * when look is set: nothing is created, changed or opened for writing; trouble texts are the same. */
void acme_store_prepare(acme_store_root_t *root, acme_item_t *items, int n, int look,
                        apr_pool_t *pool);

/* Accounts first (a key made here is on disk before anything else), then pairs. accounts:
 * acme_account_item_t[m] with ca set. Must follow acme_store_prepare in the same pass. */
void acme_store_adopt(acme_store_root_t *root, acme_item_t *items, int n,
                      acme_account_item_t *accounts, int m, apr_pool_t *pool);

#endif
