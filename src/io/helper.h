/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#ifndef ACME_IO_HELPER_H
#define ACME_IO_HELPER_H

#include "io/errand.h"

/* The process that runs the administrator's programs as another user than that of the owner. Root
 * forks it before it drops privileges; it has those of that user for good before it reads anything.
 *
 * All children of a generation share one end of a socket, the helper has the other. Who wants
 * something makes a socket pair of his own and sends one end of it over the shared socket: the
 * helper sees by its end of file when he is gone, and ends what it runs for him. When the last
 * holder of the shared end is gone, and the last programs, so is the helper.
 *
 * What comes in is hostile: it may run the configured programs and no others, and nothing but the
 * arguments after the configured ones, the ACME_ part of the environment and the standard input
 * are the sender's. */

typedef struct {
    int fd;                  /* the helper's end of the shared socket */
    const char *const *env;  /* as in acme_program_runner_conf_t */
    const char *const *const *commands;
    int n_commands;
} acme_helper_conf_t;

/* The helper's whole life. No threads, no signal handlers; SIGPIPE must be ignored. */
void acme_helper_serve(const acme_helper_conf_t *conf);

/* A connection to the helper at the other end of shared_fd, close-on-exec and non-blocking; -1 with
 * errno. */
int acme_helper_connect(int shared_fd);

#endif
