/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#ifndef ACMECTL_H
#define ACMECTL_H

#include "acme.h"

/* The administrator's command: one command a file, one row each in main.c's table. */

/* Exit codes; docs/acmectl.8 has them for the administrator. */
enum {
    ACMECTL_OK = 0,
    ACMECTL_USAGE = 1,      /* main.c prints the command's synopsis */
    ACMECTL_FAILED = 2,     /* refused by the CA or the server, or could not be done */
    ACMECTL_UNKNOWN = 3,    /* no such certificate or CA */
    ACMECTL_UNREACHABLE = 4 /* a server runs and does not answer */
};

typedef struct {
    apr_pool_t *pool;
    const char *store; /* absolute */
    int json;          /* print JSON objects, one a line */
} acmectl_t;

/* argv: what stands behind the name, without the options of every command. Returns an exit
 * code. */
typedef int acmectl_command_t(const acmectl_t *ctl, int argc, const char *const *argv);

acmectl_command_t acmectl_import;

/* "acmectl: TEXT" to stderr, with --json {"error":"TEXT"} to stdout too; returns code. */
int acmectl_fail(const acmectl_t *ctl, int code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* A line of text to stdout; whatever is not printable becomes '?'. Not with --json. */
void acmectl_say(const acmectl_t *ctl, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
/* One JSON object as a line of stdout. */
void acmectl_print_json(const acmectl_t *ctl, const acme_json_t *json);

#endif
