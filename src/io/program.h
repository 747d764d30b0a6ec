/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#ifndef ACME_IO_PROGRAM_H
#define ACME_IO_PROGRAM_H

#include <apr_pools.h>
#include <apr_time.h>
#include "base/error.h"

/* The administrator's programs: run without a shell, without any of this process' descriptors, in a
 * session of their own, within a time limit, and without holding whoever asked. A runner has one
 * thread that minds them all; it starts with the first program. */

#define ACME_PROGRAM_OUTPUT 4096 /* of its output is kept; the rest is read and forgotten */
#define ACME_PROGRAM_INPUT_MAX (64 * 1024)
#define ACME_PROGRAM_STRINGS_MAX (16 * 1024) /* arguments and environment that are not fixed */
#define ACME_PROGRAM_ARGS_MAX 8
#define ACME_PROGRAM_ENV_MAX 32
#define ACME_PROGRAMS_AT_ONCE 32           /* of one runner */
#define ACME_PROGRAM_LIMIT_MAX apr_time_from_sec(3600)

typedef struct {
    const char *const *argv; /* up to NULL; the first an absolute path */
    const char *const *env;  /* "NAME=value" up to NULL: all it gets; see acme_program_env */
    const char *input;       /* its standard input, then end of file; may be NULL */
    apr_size_t input_len;    /* at most ACME_PROGRAM_INPUT_MAX */
    apr_interval_time_t limit; /* then its process group gets SIGTERM, 2 s later SIGKILL */
} acme_program_t;

/* How it ended. */
typedef struct {
    int exit_status;         /* -1: not by exiting */
    int signal;              /* that ended it, or 0 */
    int timed_out;           /* it had to be ended */
    char output[ACME_PROGRAM_OUTPUT + 1]; /* standard output and error, one printable line */
} acme_program_result_t;

typedef struct {
    const char *const *env;  /* what every program gets, "NAME=value" up to NULL; may be NULL */
    /* Where to ask for a program instead of running it: the socket of the helper that root made;
     * -1: none, programs run as the user of this process. */
    int helper_fd;
    /* The programs that are configured, each an argv up to NULL: what root told the helper, in its
     * order. A helper runs nothing else, with arguments after these (visible ASCII) and an
     * environment of env and of names that begin with ACME_. */
    const char *const *const *commands;
    int n_commands;
    const char *trouble;     /* why none can be run (AC0918), or NULL */
} acme_program_runner_conf_t;

typedef struct acme_program_runner_t acme_program_runner_t;
typedef struct acme_program_run_t acme_program_run_t;

/* conf is copied, what it points to must outlive the runner, and the runner its askers' pools. When
 * the pool is cleaned up, running
 * programs are ended; that takes 2 s at most. */
acme_rv_t acme_program_runner_create(acme_program_runner_t **out,
                                     const acme_program_runner_conf_t *conf, apr_pool_t *pool,
                                     acme_error_t *err);

/* conf.env and extra ("ACME_NAME=value" up to NULL; may be NULL), for acme_program_t.env. A name of
 * extra hides the same one of conf.env. */
const char *const *acme_program_env(const acme_program_runner_t *runner, const char *const *extra,
                                    apr_pool_t *pool);

/* Asks for a program; everything is copied. ACME_AGAIN: ACME_PROGRAMS_AT_ONCE are running, ask
 * later. ACME_FAIL (AC0918): nothing that can be run. The run lives until acme_program_end; a
 * cleanup of pool ends it at the latest. Any thread. */
acme_rv_t acme_program_start(acme_program_run_t **out, acme_program_runner_t *runner,
                             const acme_program_t *program, apr_pool_t *pool, acme_error_t *err);

/* ACME_AGAIN: it runs. ACME_OK: it ended, see result. ACME_FAIL: it could not be run (AC0910 its
 * file, AC0912 the system, AC0913 the helper). Does not wait. What it has forked may go on. */
acme_rv_t acme_program_poll(acme_program_result_t *result, acme_program_run_t *run,
                            acme_error_t *err);

/* Gives the run back; a program that still runs is ended (its process group: SIGTERM, after 1 s
 * SIGKILL) and reaped. Does not wait. Never twice. */
void acme_program_end(acme_program_run_t *run);

/* ACME_OK: it exited with 0 in time. Else AC0911, with what it said: "exit status 3: no such
 * zone". */
acme_rv_t acme_program_verdict(const acme_program_result_t *result, acme_error_t *err);

#endif
