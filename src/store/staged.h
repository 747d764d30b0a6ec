/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#ifndef ACME_STORE_STAGED_H
#define ACME_STORE_STAGED_H

#include <apr_hash.h>
#include "crypto/x509.h"
#include "protocol/record.h"
#include "protocol/spec.h"
#include "store/dir.h"

/* Staging logs as root reads them: hostile input. Whatever a log claims, the cost is bounded: bytes
 * by the cap, operations on keys and certificates by the two numbers below. */

#define ACME_STAGED_PAIRS_MAX 8  /* newest certificate records that are looked at */
#define ACME_STAGED_KEYS_MAX 16  /* newest key records */

typedef struct {
    const char *path;
    int there;              /* the file exists */
    apr_int64_t size;       /* of the file */
    const char *data;       /* its first cap bytes, cleansed with the pool */
    apr_size_t len;
    int damaged;            /* it holds bytes that are no record */
} acme_staged_log_t;

/* A missing file is an empty log. ACME_FAIL: it cannot be read, or is no ordinary file. */
acme_rv_t acme_staged_read(acme_staged_log_t *out, const char *path, uid_t uid, apr_size_t cap,
                           apr_pool_t *pool, acme_error_t *err);
/* Appends the intact records of a log that belong to id to records (acme_record_t, file order);
 * numbers no honest owner gives are left out. */
void acme_staged_gather(apr_array_header_t *records, acme_staged_log_t *log, const char *id,
                        apr_pool_t *pool);
/* The same for a log of many: id -> array of acme_record_t. */
apr_hash_t *acme_staged_split(acme_staged_log_t *log, apr_pool_t *pool);

/* What is held against staged pairs. */
typedef struct {
    const acme_spec_t *spec;       /* NULL: no pair is chosen (an account, an unknown id) */
    apr_time_t now;
    apr_time_t live_not_before;    /* of the pair on disk, 0: none */
    const char *live_fingerprint;  /* or NULL */
    const char *live_key_digest;   /* or NULL */
    const char *key_path;          /* of the pair on disk: for a certificate with the same key */
    uid_t uid;
    int or_else;                   /* nothing valid is on disk: rather than nothing a pair that was
                                    * obtained under another configuration, or that has expired
                                    * by a clock that may be wrong, if it has the first name */
} acme_staged_want_t;

/* A record that was not adopted, and why. */
typedef struct {
    const acme_record_t *certificate;
    const char *code, *why;
} acme_staged_reject_t;

typedef struct {
    const acme_record_t *newest[ACME_REC_TYPES]; /* NULL: none */
    apr_int64_t last_seq;
    const acme_record_t *chosen;      /* certificate record of the newest complete pair, or NULL */
    int same;                         /* the chosen pair is the one on disk */
    acme_issued_t issued;             /* of the chosen one, checked */
    const char *chain_pem, *key_pem;  /* to be written */
    acme_leaf_t leaf;
    apr_array_header_t *rejected;     /* acme_staged_reject_t */
} acme_staged_t;

/* records: acme_record_t. Chooses the newest complete pair that passes; newer ones that do not are
 * rejected, older ones are obsolete. Only certificates recorded behind the newest live record
 * count. Results point into records and pool. */
void acme_staged_choose(acme_staged_t *out, const apr_array_header_t *records,
                        const acme_staged_want_t *want, apr_pool_t *pool);

/* What the next generation needs, as record bytes. after: the chosen pair is on disk now (or was
 * rejected): its order, key and certificate are left out, and a live record is added. */
typedef struct {
    const char *log, *key_log, *all; /* all = both */
    apr_size_t log_len, key_log_len, all_len;
} acme_carried_t;

acme_rv_t acme_staged_carry(acme_carried_t *out, const acme_staged_t *staged, const char *id,
                            int after, apr_time_t now, apr_pool_t *pool, acme_error_t *err);

/* A copy that is cleansed with the pool. */
const char *acme_staged_copy(const char *data, apr_size_t len, apr_pool_t *pool);

#endif
