/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#ifndef ACME_STORE_PAIR_H
#define ACME_STORE_PAIR_H

#include "crypto/x509.h"
#include "store/cache.h"
#include "store/dir.h"

/* A certificate chain and its private key as they stand on disk. */

#define ACME_KEY_FILE_MAX (64 * 1024)

typedef enum {
    ACME_PAIR_NONE = 0, /* neither file exists */
    ACME_PAIR_HALF,     /* one of them does */
    ACME_PAIR_BROKEN,   /* one cannot be read, is no PEM, or they do not belong together */
    ACME_PAIR_GOOD,
    ACME_PAIR_HIDDEN    /* this user may not look (httpd -t of somebody else) */
} acme_pair_state_t;

typedef struct {
    acme_pair_state_t state;
    const char *cert, *key; /* content, NULL: missing or unreadable; key cleansed with the pool */
    apr_size_t cert_len, key_len;
    acme_leaf_t leaf;       /* of a good one */
    acme_stamp_t cert_stamp, key_stamp;
    unsigned loosened;      /* mode of the key file when others could read it, else 0 */
    const char *fault;      /* half, broken: what was found, what is wanted, remedy */
    const char *alien;      /* a file that is not ours to replace (a link, another's, several
                             * links): text, else NULL. Such a pair may be good to serve. */
    char alien_code[8];
} acme_pair_t;

/* tighten: a key file looser than 0600 is set to 0600. Results live in pool. */
void acme_pair_read(acme_pair_t *out, const char *cert_path, const char *key_path, uid_t uid,
                    int tighten, apr_pool_t *pool);

/* What is to be remembered of a good pair. */
void acme_pair_known(acme_known_t *out, const acme_pair_t *pair, const acme_spec_t *spec,
                     const char *wanted);

#endif
