/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#ifndef ACMECTL_H
#define ACMECTL_H

#include "acme.h"
#include "store/pair.h"
#include "store/staged.h"

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

acmectl_command_t acmectl_status, acmectl_show, acmectl_export, acmectl_retry, acmectl_renew,
    acmectl_revoke, acmectl_account;

/* Does argv[*i] match an option, with its value behind it? *value NULL: it has none. */
int acmectl_is_option(const char *arg, const char *name);

/* ---- certificate.c: what the store says ---- */

/* ACMECTL_OK, or the failure that was told: no server has been started with the store yet. */
int acmectl_inventory(const acmectl_t *ctl, acme_inventory_t **out);
/* acme_spec_t * that a name means: one key type, or all of a certificate's. NULL: told, exit code
 * ACMECTL_UNKNOWN. */
apr_array_header_t *acmectl_find(const acmectl_t *ctl, const acme_inventory_t *inventory,
                                 const char *name);
acme_ca_t *acmectl_find_ca(const acmectl_t *ctl, const acme_inventory_t *inventory,
                           const char *name);

typedef struct {
    acme_pair_t pair;     /* on disk */
    acme_staged_t staged; /* what waits beside it */
    acme_attempt_t attempt;
    int failed;           /* attempt is one that failed */
    const char *directory; /* URL of the issuing CA, NULL: unknown */
} acmectl_certificate_t;

/* The shared log, read once; NULL: none. */
apr_hash_t *acmectl_shared_log(const acmectl_t *ctl, const acme_inventory_t *inventory);
void acmectl_certificate_read(acmectl_certificate_t *out, const acme_spec_t *spec,
                              apr_hash_t *shared, apr_pool_t *pool);
/* The pair that is or will be served: chain and key as PEM. NULL: none. */
const char *acmectl_newest(const acmectl_certificate_t *certificate, const char **key_pem);
/* STORE/NAME.retry, for the next start. */
int acmectl_write_retry(const acmectl_t *ctl, const acme_inventory_t *inventory,
                        const acme_spec_t *spec, int new_key);

/* ---- ask.c: what the running server says ---- */

/* Is there one to ask? Without: the store is all there is. */
int acmectl_server_runs(const acmectl_t *ctl);
/* Sends a request; *lines (may be NULL) are the objects of the answer but the last, acme_json_t *.
 * Returns its exit code; what failed has been told. */
int acmectl_ask(const acmectl_t *ctl, const acme_inventory_t *inventory,
                const acme_control_request_t *request, apr_array_header_t **lines);

/* ---- offline.c: talking to a CA without a server ---- */

typedef acme_rv_t acmectl_job_t(acme_session_t *session, void *baton, apr_pool_t *pool,
                                acme_error_t *err);
/* Runs job in a child that has the identity of httpd's children; what it records the parent writes.
 * An exit code; what failed has been told. */
int acmectl_offline(const acmectl_t *ctl, const acme_inventory_t *inventory, acme_ca_t *ca,
                    acmectl_job_t *job, void *baton);

#endif
