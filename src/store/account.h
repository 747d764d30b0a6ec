/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#ifndef ACME_STORE_ACCOUNT_H
#define ACME_STORE_ACCOUNT_H

#include "base/log.h"
#include "protocol/record.h"
#include "protocol/spec.h"
#include "store/dir.h"

/* The account key: a private JWK (RFC 7517) at acme_ca_t.auth_path; a PEM key is taken there, too.
 * Made by root when it is absent and on disk before anybody hears of it; one that is there is never
 * overwritten, whatever it looks like. */

typedef struct {
    const acme_ca_t *ca;
    const char *id;            /* record id of the account, see acme_account_id */
    const char *jwk;           /* private JWK text, cleansed with the pool; NULL when unusable */
    const char *handed;        /* record bytes for the children */
    apr_size_t handed_len;
    int fd;                    /* staging log of the account; -1: none */
    int own_fd;                /* not another item's with the same key */
    apr_size_t log_size;
    int created;               /* this start */
    const char *trouble;       /* printable line, or NULL */
    const char *trouble_code;
} acme_account_item_t;

/* "_account.NAME": the file's name without ".jwk"; with a digest of the path behind it when it
 * does not stand in the store, where names are unique. No certificate's id begins like that. */
const char *acme_account_id(const char *store, const char *auth_path, apr_pool_t *pool);

/* Where the account key of a CA is kept when AcmeAuthPath does not say: STORE/HOST[-PORT].jwk. */
const char *acme_account_path(const char *store, const char *directory_url, apr_pool_t *pool);

/* A private JWK, or a private key as PEM (as lego keeps it). */
acme_rv_t acme_account_key_parse(acme_key_t **out, const char *text, apr_size_t len,
                                 apr_pool_t *pool, acme_error_t *err);

/* Fills item (ca set) except for the log. look: nothing is created or changed; a missing key is no
 * trouble then. */
void acme_account_key(acme_account_item_t *item, const char *store, uid_t uid, int look,
                      const acme_log_t *log, apr_pool_t *pool);

/* Reads and opens the staging log beside the key. A key made this start has no use for what an
 * earlier one's account recorded. */
void acme_account_log(acme_account_item_t *item, uid_t uid, const acme_log_t *log,
                      apr_pool_t *pool);

#endif
