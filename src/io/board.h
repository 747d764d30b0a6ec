/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#ifndef ACME_IO_BOARD_H
#define ACME_IO_BOARD_H

#include <apr_pools.h>
#include <apr_time.h>
#include "base/error.h"
#include "protocol/challenge.h"

/* The board: one shared anonymous mapping. Root makes it (format, row_assign, config_next) and
 * reads nothing from it but generation numbers; the holder of the owner lock writes live, resume,
 * status and challenges; every child reads all and writes arrival counters. No pointers in it;
 * readers copy, check lengths and digests, and never trust. All integers that are published use
 * C11-style atomics of the compiler (__atomic_*). */
typedef struct acme_board_t acme_board_t; /* a process's handle; the mapping itself is not owned */

#define ACME_BOARD_LAYOUT 3
#define ACME_BOARD_LIVE_MAX (48 * 1024)   /* key and chain, DER */
#define ACME_BOARD_RESUME_MAX (24 * 1024) /* records */
#define ACME_BOARD_CHALLENGES 1024
#define ACME_BOARD_ORDERS 256

/* Bytes for so many rows (one per certificate and key type, one per account). */
apr_size_t acme_board_size(int rows);
/* Root, on fresh zeroed memory. */
void acme_board_format(void *memory, apr_size_t size, int rows);
/* Any process: checks layout and size of the header. */
acme_rv_t acme_board_attach(acme_board_t **out, void *memory, apr_size_t size, apr_pool_t *pool,
                            acme_error_t *err);
int acme_board_rows(const acme_board_t *board);

/* Root: names a free row; rows are never given to another id. Others: check with row_id. */
void acme_board_row_assign(acme_board_t *board, int row, const char *id);
int acme_board_row_is(const acme_board_t *board, int row, const char *id);

/* Configuration generation: root adds one at each real post_config; children remember theirs; an
 * owner of an older one stops. */
apr_uint32_t acme_board_config_next(acme_board_t *board);
apr_uint32_t acme_board_config(const acme_board_t *board);

void acme_board_owner_set(acme_board_t *board, apr_int64_t pid);
apr_int64_t acme_board_owner(const acme_board_t *board);

/* Live certificates. The board's generation changes whenever any row's does (one acquire load). */
apr_uint64_t acme_board_generation(const acme_board_t *board);
apr_uint64_t acme_board_row_generation(const acme_board_t *board, int row);

typedef struct {
    apr_uint64_t generation;
    const unsigned char *key;   /* PKCS#8 DER; in the reader's pool, cleansed with it */
    apr_size_t key_len;
    int n_certs;
    const unsigned char *cert[10]; /* DER, leaf first */
    apr_size_t cert_len[10];
    apr_time_t since;           /* when published */
} acme_board_live_t;

/* ACME_AGAIN: no live certificate; ACME_FAIL: damaged (AC0801). */
acme_rv_t acme_board_live_read(acme_board_live_t *out, const acme_board_t *board, int row,
                               apr_pool_t *pool, acme_error_t *err);
/* Owner. generation and since of live are ignored; *generation (may be NULL) is what it got. Too
 * big: ACME_FAIL, AC0803 (the certificate then goes live at the next restart). */
acme_rv_t acme_board_live_write(acme_board_t *board, int row, const acme_board_live_t *live,
                                apr_time_t now, apr_uint64_t *generation, acme_error_t *err);
/* Owner: the row has no live certificate newer than F any more (generation stays), unless it
 * is another generation than this by now. */
void acme_board_live_clear(acme_board_t *board, int row, apr_uint64_t generation);

/* What a next owner needs: whole records (record.h), at most ACME_BOARD_RESUME_MAX bytes. Two
 * alternating copies: a writer that dies in the middle leaves the former one. */
acme_rv_t acme_board_resume_write(acme_board_t *board, int row, const char *records, apr_size_t len,
                                  acme_error_t *err);
/* A copy in pool; *len 0 when there is none or it is damaged. */
const char *acme_board_resume_read(apr_size_t *len, const acme_board_t *board, int row,
                                   apr_pool_t *pool);
/* Per row: the config generation in which "retry now" was last honoured (owner). */
apr_uint32_t acme_board_retry_ack(const acme_board_t *board, int row);
void acme_board_retry_ack_set(acme_board_t *board, int row, apr_uint32_t config);

/* Per row of an account (owner): when its newest orders were placed, in seconds, at most
 * ACME_BOARD_ORDERS moments in a ring; 0: none. For the order rate, which outlives an owner. */
void acme_board_order_note(acme_board_t *board, int row, int place, apr_uint32_t second);
apr_uint32_t acme_board_order_at(const acme_board_t *board, int row, int place);

/* Per row: the config generation whose staging logs hold all that stands in the row (owner). When
 * it is not the reader's, an earlier owner wrote it, maybe to logs that were replaced meanwhile.
 * */
apr_uint32_t acme_board_logs(const acme_board_t *board, int row);
void acme_board_logs_set(acme_board_t *board, int row, apr_uint32_t config);

/* Public state of a row, for status and log; shown, never acted on. */
typedef struct {
    char state[16];        /* "idle", "ordering", "waiting", "failed", "held" */
    char step[24];
    char why[64];
    char error[ACME_ERROR_TEXT]; /* last error whole, "" after success */
    apr_time_t next;       /* next try or renewal, 0 unknown */
    apr_time_t not_before, not_after;
    apr_time_t changed;
    apr_uint32_t failures;
    char serial[72];
    char order_url[512];
    char ca[256];          /* directory URL of the CA of the attempt under way, or of the last */
    char publish[768];     /* what the administrator has to publish in the DNS, "" nothing */
    char explanation[512]; /* URL with which the CA explains its renewal window, "" none */
} acme_board_status_t;

void acme_board_status_write(acme_board_t *board, int row, const acme_board_status_t *status);
acme_rv_t acme_board_status_read(acme_board_status_t *out, const acme_board_t *board, int row);

/* Pending challenges: a table of ACME_BOARD_CHALLENGES entries. */
typedef struct {
    int row;                          /* certificate it is for */
    acme_challenge_type_t type;
    char name[256];                   /* identifier; the Host it is answered for */
    char sni[256];                    /* TLS types: SNI it is answered for */
    char token[260];
    char key_authorization[320];
    unsigned char cert[2][1024];      /* TLS types: self-signed DER, [0] EC, [1] RSA */
    apr_uint16_t cert_len[2];         /* 0: none */
    unsigned char key[2][1400];       /* PKCS#8 DER */
    apr_uint16_t key_len[2];
    apr_time_t expires;               /* not answered afterwards */
} acme_board_challenge_t;

/* Owner. ACME_FAIL: table full (AC0405). Replaces the entry with same row, type, name and token. */
acme_rv_t acme_board_challenge_put(acme_board_t *board, const acme_board_challenge_t *challenge,
                                   acme_error_t *err);
/* Owner: removes those of a row (name NULL: all). Returns how many. */
int acme_board_challenge_remove(acme_board_t *board, int row, const char *name);
/* Number of pending ones of TLS types / http-01 (one load; the fast "nothing to do" answer). */
int acme_board_challenge_pending(const acme_board_t *board, acme_challenge_type_t type);
/* Any child; copies. ACME_AGAIN: none. http-01: by token (the caller compares the host). */
acme_rv_t acme_board_challenge_by_token(acme_board_challenge_t *out, const acme_board_t *board,
                                        const char *token, apr_size_t token_len, apr_time_t now);
acme_rv_t acme_board_challenge_by_sni(acme_board_challenge_t *out, const acme_board_t *board,
                                      acme_challenge_type_t type, const char *sni, apr_time_t now);

/* Arrival counters, written by all children, shown only. */
typedef struct {
    apr_uint32_t v4, v6;       /* requests for a pending challenge, by address family */
    apr_uint32_t by_type[ACME_CH_TYPES];
    apr_uint32_t foreign;      /* right token, wrong host */
} acme_board_arrivals_t;

void acme_board_arrival(acme_board_t *board, int row, acme_challenge_type_t type, int is_v6,
                        int foreign);
/* Takes back one arrival that was no validator's but a look of our own. */
void acme_board_arrival_own(acme_board_t *board, int row, acme_challenge_type_t type, int is_v6);
/* Challenge requests whose token is not ours, all rows together. */
void acme_board_stray(acme_board_t *board);
apr_uint32_t acme_board_strays(const acme_board_t *board);
void acme_board_arrivals_read(acme_board_arrivals_t *out, const acme_board_t *board, int row);
void acme_board_arrivals_reset(acme_board_t *board, int row);

#endif
