/* Licensed under the Apache License, Version 2.0; see LICENSE. */

/* acmectl [--store DIR] [--json] COMMAND ...: finds the command's row and runs it. */

#include "acmectl.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

#include <apr_general.h>
#include <apr_strings.h>

static acmectl_command_t help;

typedef struct {
    const char *name;
    acmectl_command_t *run;
    const char *synopsis; /* of the arguments */
    const char *what;
} row_t;

static const row_t rows[] = {
    {"import", acmectl_import, "certbot|mod_md DIR [--dry-run]",
     "take over the certificates and accounts of another ACME client"},
    {"status", acmectl_status, "", "all certificates, one a line"},
    {"show", acmectl_show, "NAME", "one of them: on disk, waiting for the next start, served"},
    {"retry", acmectl_retry, "NAME [--wait] | --all", "what has failed is tried now"},
    {"renew", acmectl_renew, "NAME [--new-key] [--wait]", "another certificate now"},
    {"revoke", acmectl_revoke, "NAME [REASON]", "revoke it at the CA and order another one"},
    {"account", acmectl_account, "show [CA] | rollover [CA] | deactivate [CA] --yes",
     "the accounts at the CAs"},
    {"export", acmectl_export, "NAME [--out DIR]", "chain and key as PEM"},
    {"help", help, "", "this list"},
};

#define ROWS (sizeof(rows) / sizeof(rows[0]))

static int help(const acmectl_t *ctl, int argc, const char *const *argv)
{
    apr_size_t i;

    (void)ctl, (void)argv;
    if (argc > 0) {
        return ACMECTL_USAGE;
    }
    puts("usage: acmectl [--store DIR] [--json] COMMAND ...");
    for (i = 0; i < ROWS; i++) {
        printf("  acmectl %s%s%s\n        %s\n", rows[i].name, *rows[i].synopsis ? " " : "",
               rows[i].synopsis, rows[i].what);
    }
    printf("The store is %s unless --store names it. Exit codes: acmectl(8).\n",
           ACMECTL_DEFAULT_STOREDIR);
    return ACMECTL_OK;
}

static const row_t *find(const char *name)
{
    apr_size_t i;

    for (i = 0; name != NULL && i < ROWS; i++) {
        if (strcmp(rows[i].name, name) == 0) {
            return &rows[i];
        }
    }
    return NULL;
}

/* Takes the options of every command out of argv, wherever they stand. The number of those that are
 * left, -1: one lacks its value. */
static int options(acmectl_t *ctl, const char **out, int argc, const char *const *argv)
{
    int i, n = 0;

    for (i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--json") == 0) {
            ctl->json = 1;
        }
        else if (strcmp(argv[i], "--store") == 0) {
            if (i + 1 == argc || argv[i + 1][0] != '/') {
                return -1;
            }
            ctl->store = argv[++i];
        }
        else {
            out[n++] = argv[i];
        }
    }
    return n;
}

static int run(acmectl_t *ctl, int argc, const char *const *argv)
{
    const char **rest = apr_pcalloc(ctl->pool, sizeof(*rest) * (apr_size_t)(argc + 1));
    int n = options(ctl, rest, argc, argv);
    const row_t *row;
    int code;

    if (n < 0) {
        fprintf(stderr, "acmectl: --store wants an absolute path\n");
        return ACMECTL_USAGE;
    }
    row = find(n > 0 ? rest[0] : NULL);
    if (row == NULL) {
        fprintf(stderr, "acmectl: %s; try \"acmectl help\"\n",
                n > 0 ? "no such command" : "a command is missing");
        return ACMECTL_USAGE;
    }
    code = row->run(ctl, n - 1, rest + 1);
    if (code == ACMECTL_USAGE) {
        fprintf(stderr, "usage: acmectl [--store DIR] [--json] %s%s%s\n", row->name,
                *row->synopsis ? " " : "", row->synopsis);
    }
    return code;
}

int main(int argc, const char *const *argv)
{
    acmectl_t ctl;
    int code;

    memset(&ctl, 0, sizeof(ctl));
    signal(SIGPIPE, SIG_IGN);
    if (apr_initialize() != APR_SUCCESS || apr_pool_create(&ctl.pool, NULL) != APR_SUCCESS) {
        fprintf(stderr, "acmectl: out of memory\n");
        return ACMECTL_FAILED;
    }
    acme_json_init();
    ctl.store = ACMECTL_DEFAULT_STOREDIR;
    code = run(&ctl, argc, argv);
    if (fflush(stdout) != 0 && code == ACMECTL_OK) {
        code = ACMECTL_FAILED;
    }
    apr_pool_destroy(ctl.pool);
    apr_terminate();
    return code;
}
