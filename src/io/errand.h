/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#ifndef ACME_IO_ERRAND_H
#define ACME_IO_ERRAND_H

#include "io/program.h"

/* What the owner and the helper say to each other, one message in each packet of a SOCK_SEQPACKET
 * socket. Both were forked by the same process and speak in its own binary form; all the same the
 * helper takes what it gets for hostile, and so does the owner. */

#define ACME_ERRAND_MAX (ACME_PROGRAM_STRINGS_MAX + ACME_PROGRAM_INPUT_MAX + 64)

typedef enum {
    ACME_ERRAND_RUN = 0x61637231, /* a program */
    ACME_ERRAND_END               /* what id says is not wanted any more */
} acme_errand_kind_t;

typedef struct {
    acme_errand_kind_t kind;
    apr_uint64_t id;             /* the sender's */
    apr_uint32_t command;        /* which of the configured programs */
    apr_interval_time_t limit;   /* 1 .. ACME_PROGRAM_LIMIT_MAX */
    int n_args, n_env;
    const char *args[ACME_PROGRAM_ARGS_MAX + 1]; /* after the command's: visible ASCII; NULL */
    const char *env[ACME_PROGRAM_ENV_MAX + 1];   /* ACME_NAME=printable ASCII; NULL */
    const char *input;
    apr_size_t input_len;
} acme_errand_t;

/* kind, id, command, limit, args, env and input are the caller's; the numbers are counted. AC0919:
 * the other side would refuse it. */
acme_rv_t acme_errand_encode(const char **out, apr_size_t *len, const acme_errand_t *errand,
                             apr_pool_t *pool, acme_error_t *err);

/* Hostile bytes; what *out points to is within data. ACME_FAIL: not a message. */
acme_rv_t acme_errand_parse(acme_errand_t *out, const char *data, apr_size_t len);

/* The helper's only answer to ACME_ERRAND_RUN. */
typedef struct {
    apr_uint64_t id;
    apr_int32_t refused;         /* output says why */
    apr_int32_t exec_errno, exit_status, signal, timed_out; /* as in acme_process_t */
    apr_uint32_t output_len;
    char output[ACME_PROGRAM_OUTPUT];
} acme_errand_reply_t;

apr_size_t acme_errand_reply_len(const acme_errand_reply_t *reply);
/* Has a packet of len bytes the length that it says? */
int acme_errand_reply_ok(const acme_errand_reply_t *reply, apr_size_t len);

#endif
