/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#ifndef ACME_STORE_IMPORT_H
#define ACME_STORE_IMPORT_H

#include <sys/types.h>
#include "crypto/x509.h"
#include "store/dir.h"

/* Certificates and account keys of another ACME client: found where it keeps them, never changed
 * there, and put into our store under the names that our configuration gives them. Root does it, and
 * the files are root's; they are parsed as if they were not. */

typedef enum {
    ACME_IMPORT_ADD = 0, /* was written; with dry_run: would be */
    ACME_IMPORT_SAME,    /* is in the store already */
    ACME_IMPORT_KEEP,    /* something else is there and stays */
    ACME_IMPORT_SKIP,    /* nothing to serve with, or not as new as another: see why */
    ACME_IMPORT_FAIL     /* could not be written */
} acme_import_result_t;

/* "imported", "already there", ... */
const char *acme_import_result_name(acme_import_result_t result, int dry_run);

typedef struct {
    const char *path;       /* of its key */
    const char *directory;  /* URL of the CA */
    const char *kid;        /* URL of the account, or "" when its file does not tell */
    const char *contacts;   /* "a@x.example b@x.example", or "" */
    acme_key_t *key;
    int uses;               /* certificates that were ordered with it */
    /* acme_import_store's */
    acme_import_result_t result;
    const char *why;        /* or NULL */
    const char *auth_path;  /* in the store */
} acme_import_account_t;

typedef struct {
    const char *set;        /* the other client's name for it */
    const char *directory;  /* URL of the CA it came from, or "" */
    const char *first;      /* first name, canonical; NULL when result is SKIP already */
    acme_leaf_t leaf;
    const char *chain_pem;
    const char *key_pem;    /* cleansed with the pool */
    /* acme_import_store's */
    acme_import_result_t result;
    const char *why;        /* or NULL */
    int nth;                /* 0: first key type of its name */
    const char *cert_path, *key_path; /* in the store */
} acme_import_pair_t;

typedef struct {
    const char *dir;                /* real path */
    uid_t uid;                      /* who may own the files, beside root */
    apr_time_t now;
    apr_pool_t *pool;
    apr_array_header_t *pairs;      /* acme_import_pair_t *, by name of the set */
    apr_array_header_t *accounts;   /* acme_import_account_t * */
    apr_array_header_t *warnings;   /* const char *: of the sources */
} acme_import_t;

/* What lies below dir. ACME_FAIL: dir cannot be read, is somebody else's, or is no directory of
 * that client. What is wrong with a single certificate stands in its `why`. */
acme_rv_t acme_import_certbot(acme_import_t **out, const char *dir, uid_t uid, apr_time_t now,
                              apr_pool_t *pool, acme_error_t *err);
acme_rv_t acme_import_mod_md(acme_import_t **out, const char *dir, uid_t uid, apr_time_t now,
                             apr_pool_t *pool, acme_error_t *err);

/* Fills in the results; without dry_run writes what is to be added: pairs under one journal,
 * account keys first. A file that exists is never written, so that a second call changes nothing.
 * ACME_FAIL: the store cannot be used. */
acme_rv_t acme_import_store(acme_import_t *self, const char *store, int dry_run,
                            acme_error_t *err);

#endif
