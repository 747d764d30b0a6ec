/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#ifndef ACME_PROTOCOL_RECORD_H
#define ACME_PROTOCOL_RECORD_H

#include <apr_time.h>
#include <apr_pools.h>
#include <apr_tables.h>
#include "base/error.h"

/* Staging logs are sequences of records:
 *
 *   acme1 CERTIFICATE-ID TYPE SEQ LENGTH SHA256-HEX TIME\n
 *   LENGTH payload bytes\n
 *
 * one space between fields, SEQ and LENGTH decimal, TIME RFC 3339 (whole seconds, Z). The digest
 * covers the header line up to and without the digest (with its trailing space), the time, and the
 * payload. A record is whole or ignored, and never holds another one's header line in its payload:
 * after a broken one scanning goes on at the next header, which does not begin a line when it was
 * appended behind a torn one. Cost is linear in the size. */

#define ACME_LOG_CAP (1024 * 1024)    /* bytes of a log that are written or read */
#define ACME_RECORD_ID_MAX 300
#define ACME_RECORD_PAYLOAD_MAX (256 * 1024)

typedef enum {
    ACME_REC_ORDER = 0,   /* JSON: order state, see order.h */
    ACME_REC_ATTEMPT,     /* JSON: failures, not-before, problem, see policy.h */
    ACME_REC_ARI,         /* JSON: window, chosen moment */
    ACME_REC_KEY,         /* PEM */
    ACME_REC_CERTIFICATE, /* JSON line with acme_issued_t's members, newline, PEM chain */
    ACME_REC_LIVE,        /* written by root at adoption: JSON line of the adopted certificate */
    ACME_REC_CLEANUP,     /* a dns-01 value still to be removed */
    ACME_REC_ACCOUNT,     /* JSON: kid, orders URL, CA, directory, pauses */
    ACME_REC_ROLLOVER,
    ACME_REC_NOTIFY,      /* JSON: the events that were told last, see notify.h */
    ACME_REC_TYPES
} acme_record_type_t;

const char *acme_record_type_name(acme_record_type_t type);

typedef struct {
    const char *id;            /* certificate id, or the account's "CA-HOST" id */
    acme_record_type_t type;
    apr_int64_t seq;           /* > 0, growing per id over all types and owners */
    apr_time_t time;
    const char *payload;       /* not NUL-terminated when it points into a buffer */
    apr_size_t len;
    const char *raw;           /* the whole record, header and final newline */
    apr_size_t raw_len;
} acme_record_t;

/* The bytes of one record; record->raw is ignored. ACME_FAIL: id not file-name safe or too long,
 * payload over the cap. */
acme_rv_t acme_record_encode(const char **bytes, apr_size_t *len, const acme_record_t *record,
                             apr_pool_t *pool, acme_error_t *err);

/* Walks over the intact records of a buffer in file order. state starts as 0. ACME_OK: *out is the
 * next one, pointing into data (only id is copied to pool); ACME_AGAIN: no more. *damaged (may be
 * NULL) is set to 1 when bytes were skipped. */
acme_rv_t acme_record_next(acme_record_t *out, apr_size_t *state, const char *data, apr_size_t len,
                           int *damaged, apr_pool_t *pool);

/* The newest record (highest seq; of equal ones the later in the buffer) of each type for one id.
 * present[type] tells which there are. */
typedef struct {
    acme_record_t rec[ACME_REC_TYPES];
    int present[ACME_REC_TYPES];
    apr_int64_t last_seq; /* highest of all types, 0 when none */
    int damaged;
} acme_record_set_t;

void acme_record_collect(acme_record_set_t *set, const char *id, const char *data, apr_size_t len,
                         apr_pool_t *pool);
/* Joins b into a, newer seq wins. */
void acme_record_merge(acme_record_set_t *a, const acme_record_set_t *b);

/* What stands beside a chain in a certificate or live record. */
typedef struct {
    const char *key_digest;  /* acme_key_digest of its key */
    const char *directory;   /* URL of the issuing CA */
    const char *spec_digest;
    const char *challenge;   /* type that worked, or "" when authorizations were reused */
    const apr_array_header_t *left_out; /* configured names that it does not have (AcmePartial), or
                                         * NULL */
    apr_time_t issued;
} acme_issued_t;

/* payload = acme_issued_t's JSON on one line, '\n', the chain. */
const char *acme_certificate_payload(apr_size_t *len, const acme_issued_t *issued,
                                     const char *chain_pem, apr_pool_t *pool);
/* *chain, *chain_len point into payload (len 0 for a live record). */
acme_rv_t acme_certificate_payload_parse(acme_issued_t *issued, const char **chain,
                                         apr_size_t *chain_len, const char *payload, apr_size_t len,
                                         apr_pool_t *pool, acme_error_t *err);

#endif
