/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#ifndef ACME_STORE_ITEM_H
#define ACME_STORE_ITEM_H

#include "store/adopt.h"

/* One certificate's pair on disk and what it means for the item. */

typedef struct {
    acme_store_root_t *root;
    uid_t uid;    /* who the files should belong to */
    int look;     /* say only */
    int touch;    /* files may be changed: neither looking, read-only nor in an unusable store */
    int journal;  /* looking: a switch of files is to be completed by the next start */
    apr_pool_t *pool;
    apr_pool_t *scratch;
} acme_pass_t;

/* Checks the pair; puts the newest intact backup in place of a broken one. Fills all results that
 * concern the pair, remark and trouble. */
void acme_item_check(acme_item_t *item, const acme_pass_t *pass);

/* After an adoption: a placeholder for every item that is left without any file (prepare.c). */
void acme_store_stand_in(acme_store_root_t *root, acme_item_t *items, int n, apr_pool_t *pool);

/* The pair on disk is this one. */
void acme_item_serve(acme_item_t *item, const acme_known_t *known, apr_pool_t *pool);
/* What is recorded of it; NULL: unknown. */
void acme_item_issued(acme_item_t *item, const acme_issued_t *issued, apr_pool_t *pool);

#endif
