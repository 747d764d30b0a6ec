/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#ifndef ACME_IO_PROCESS_H
#define ACME_IO_PROCESS_H

#include <poll.h>
#include <sys/types.h>
#include "io/program.h"

/* One program that runs. No threads, no pools, no waiting: whoever has it calls
 * acme_process_step until it has ended, and polls its descriptors meanwhile. SIGPIPE must be
 * blocked or ignored in the calling thread. */
typedef struct {
    pid_t pid;               /* also of its session and process group; 0: none */
    int in, out, err;        /* our ends of its pipes, -1: closed; err tells why exec failed */
    const char *input;       /* the caller's, until it has ended */
    apr_size_t input_len, sent;
    apr_time_t term_at, kill_at; /* by acme_net_now */
    int timed_out;
    char output[ACME_PROGRAM_OUTPUT]; /* raw */
    apr_size_t output_len;
    int exec_errno;          /* why it could not be executed, or 0 */
    int exit_status, signal; /* once it has ended, as in acme_program_result_t */
} acme_process_t;

#define ACME_PROCESS_FDS 2

/* argv, env and limit of program; the other members of process need no value. AC0912. */
acme_rv_t acme_process_start(acme_process_t *process, const acme_program_t *program,
                             apr_time_t now, acme_error_t *err);

/* Feeds it, reads it, ends it when its time is over. ACME_AGAIN: it runs. ACME_OK: it has ended and
 * is reaped, nothing is open any more (what it has forked may still hold the other ends). */
acme_rv_t acme_process_step(acme_process_t *process, apr_time_t now);

/* Ends it: SIGTERM now, SIGKILL after grace, to its process group. Steps go on until ACME_OK. */
void acme_process_terminate(acme_process_t *process, apr_time_t now, apr_interval_time_t grace);

/* What to poll for; the number of places used. How long at most, in ms, besides: an end is not
 * always seen by a descriptor. */
int acme_process_fds(struct pollfd fds[ACME_PROCESS_FDS], const acme_process_t *process);
#define ACME_PROCESS_TICK 20

/* A descriptor from every number up to the highest is closed, but for 0, 1, 2 and keep (-1: none).
 * Async-signal-safe. */
void acme_process_close_others(int keep);

#endif
