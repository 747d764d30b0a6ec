/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#ifndef ACME_STORE_ADOPT_H
#define ACME_STORE_ADOPT_H

#include "base/log.h"
#include "protocol/policy.h"
#include "protocol/record.h"
#include "protocol/spec.h"
#include "store/account.h"
#include "store/cache.h"

/* Root's work at a start, before mod_ssl reads files. Two calls:
 *   acme_store_prepare  every pass, the dry one too: journal, pairs, placeholders. Idempotent.
 *   acme_store_adopt    the real pass only: staged pairs become F; staging logs are opened; what
 *                       the children need is collected.
 * Nothing here fails a start: trouble is text on the item, that certificate is not ordered. */

typedef struct {
    const acme_spec_t *spec;
    /* results */
    int usable;      /* cert_path/key_path hold a matching pair of a CA (or the admin) */
    int placeholder; /* cert_file/key_file are the placeholder's; key types of one label that have
                      * nothing share one */
    const char *cert_file, *key_file; /* what mod_ssl is to load; NULL: another key type of the
                                       * label is usable, or there is not even a placeholder */
    acme_facts_t facts;   /* of the pair on disk */
    acme_issued_t issued; /* of the live record, members NULL when unknown */
    int adopted;          /* this start */
    int settled;          /* what was staged for it is on disk now, or was refused: the board holds
                           * nothing that F lacks */
    const char *handed;   /* record bytes for the children */
    apr_size_t handed_len;
    const char *key;      /* of the pair on disk, PEM, cleansed with the pool; only for
                           * AcmeKeyReuse, whose owner could not know it otherwise; else NULL */
    int fd, key_fd;       /* staging logs; -1: overflow log, or none */
    apr_size_t log_size, key_log_size;
    int can_stage;        /* records can be kept: ordering is allowed */
    int retry_now;        /* STORE/NAME.retry was found (and removed) */
    const char *trouble;  /* printable line, or NULL: nothing is adopted or ordered */
    const char *trouble_code;
    const char *remark;   /* printable line, or NULL: ordered all the same, to be told as ERR */
    const char *remark_code;
    const acme_known_t *known; /* of the pair on disk, NULL when not usable */
} acme_item_t;

typedef struct {
    const char *store;        /* AcmeStoreDir */
    const char *fallback_dir; /* httpd's runtime directory: placeholders are made below it when the
                               * store cannot be used; NULL: below the system's temporary one */
    uid_t uid;
    int backups;
    int own_logs_max; /* certificates that may have logs of their own (two descriptors each) */
    int read_only;    /* another server holds the store: look, never touch */
    apr_time_t now;
    const acme_log_t *log;
    acme_store_cache_t *cache; /* kept by the embedder over graceful restarts; may be NULL */
    /* results of prepare/adopt */
    int usable;                         /* the store directory itself */
    const char *trouble, *trouble_code; /* of the directory */
    const char *warning;                /* of the directory (its parent), or NULL */
    const char *elsewhere;              /* why placeholders are not in the store, or NULL */
    int overflow_fd;                    /* STORE/overflow.upd, -1: none */
} acme_store_root_t;

/* items: acme_item_t[n] with spec set; results live in pool (pconf). Looks only (for -t and the
 * dump) when look is set: nothing is created, changed or opened for writing; trouble texts are the
 * same. Who may not look into the store (-t of somebody else than its owner) is told what can be
 * seen from outside. */
void acme_store_prepare(acme_store_root_t *root, acme_item_t *items, int n, int look,
                        apr_pool_t *pool);

/* For -t: what acme_store_adopt would say of the account keys. Fills trouble only. */
void acme_store_look_accounts(const acme_store_root_t *root, acme_account_item_t *accounts, int m,
                              apr_pool_t *pool);

/* Accounts first (a key made here is on disk before anything else), then pairs. accounts:
 * acme_account_item_t[m] with ca set. Must follow acme_store_prepare in the same pass. Descriptors
 * are closed with pool. */
void acme_store_adopt(acme_store_root_t *root, acme_item_t *items, int n,
                      acme_account_item_t *accounts, int m, apr_pool_t *pool);

#endif
