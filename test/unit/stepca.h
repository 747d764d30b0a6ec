/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#ifndef TEST_STEPCA_H
#define TEST_STEPCA_H

/* test/data/stepca_model.py as a fixture, and what an owner's process has around it: staging logs
 * and a board that outlive the processes that use them. */

#include <check.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <apr_general.h>
#include <apr_strings.h>
#include "base/codec.h"
#include "engine/client.h"

#define STEPCA_REPLY 65536

typedef struct {
    pid_t pid;
    int to;
    FILE *from;
    char dir[64];
    char ca_file[PATH_MAX];
    char directory[256];
    char reply[STEPCA_REPLY]; /* of the last command */
    int port;
} stepca_t;

static int stepca_readable(const char *path)
{
    int fd = open(path, O_RDONLY);

    if (fd >= 0) {
        close(fd);
    }
    return fd >= 0;
}

/* The script lies beside the source this was compiled from, wherever that was built. */
static void stepca_script(char *out, size_t size)
{
    const char *srcdir = getenv("srcdir") ? getenv("srcdir") : ".";
    const char *slash = strrchr(__FILE__, '/');

    snprintf(out, size, "%.*s/../data/stepca_model.py", slash ? (int)(slash - __FILE__) : 1,
             slash ? __FILE__ : ".");
    if (!stepca_readable(out)) {
        snprintf(out, size, "%s/test/data/stepca_model.py", srcdir);
    }
    if (!stepca_readable(out)) {
        snprintf(out, size, "%s/data/stepca_model.py", srcdir);
    }
    ck_assert_msg(stepca_readable(out), "%s not found", out);
}

static int stepca_reply_number(const char *reply, const char *name)
{
    char key[64];
    const char *at;
    apr_int64_t value = 0;
    apr_size_t used;

    snprintf(key, sizeof(key), "\"%s\": ", name);
    at = strstr(reply, key);
    if (!at) {
        return 0;
    }
    at += strlen(key);
    ck_assert(acme_scan_number(&value, at, strspn(at, "0123456789"), 9, &used) == ACME_OK);
    return (int)value;
}

static void stepca_line(stepca_t *ca)
{
    ck_assert_msg(fgets(ca->reply, sizeof(ca->reply), ca->from) != NULL, "the CA is gone");
}

static void stepca_start(stepca_t *ca)
{
    char script[PATH_MAX];
    const char *at;
    int in[2], out[2];

    memset(ca, 0, sizeof(*ca));
    stepca_script(script, sizeof(script));
    apr_cpystrn(ca->dir, "/tmp/stepca.XXXXXX", sizeof(ca->dir));
    ck_assert(mkdtemp(ca->dir) != NULL);
    snprintf(ca->ca_file, sizeof(ca->ca_file), "%s/ca.pem", ca->dir);
    ck_assert(pipe(in) == 0 && pipe(out) == 0);
    ca->pid = fork();
    if (ca->pid == 0) {
        dup2(in[0], 0);
        dup2(out[1], 1);
        close(in[0]);
        close(in[1]);
        close(out[0]);
        close(out[1]);
        execl("/usr/bin/python3", "python3", script, ca->dir, (char *)NULL);
        _exit(127);
    }
    close(in[0]);
    close(out[1]);
    ca->to = in[1];
    (void)fcntl(ca->to, F_SETFD, FD_CLOEXEC);
    (void)fcntl(out[0], F_SETFD, FD_CLOEXEC);
    ca->from = fdopen(out[0], "r");
    ck_assert(ca->from != NULL);
    stepca_line(ca);
    ca->port = stepca_reply_number(ca->reply, "port");
    at = strstr(ca->reply, "https://");
    ck_assert(at != NULL && ca->port > 0);
    snprintf(ca->directory, sizeof(ca->directory), "%.*s", (int)strcspn(at, "\""), at);
}

static void stepca_stop(stepca_t *ca)
{
    char path[PATH_MAX];
    int status;

    close(ca->to);
    fclose(ca->from);
    kill(ca->pid, SIGKILL);
    waitpid(ca->pid, &status, 0);
    unlink(ca->ca_file);
    snprintf(path, sizeof(path), "%s/server.pem", ca->dir);
    unlink(path);
    rmdir(ca->dir);
}

/* The answer to a command; lines about a held request that come in between are read over. */
static const char *stepca_command(stepca_t *ca, const char *command)
{
    ck_assert(write(ca->to, command, strlen(command)) == (ssize_t)strlen(command));
    ck_assert(write(ca->to, "\n", 1) == 1);
    do {
        stepca_line(ca);
    } while (strncmp(ca->reply, "{\"held\"", 7) == 0);
    return ca->reply;
}

/* ---- an owner's surroundings ---- */

#define STEPCA_CERTS_MAX 24

typedef struct {
    apr_pool_t *pool;
    acme_ca_t ca;
    acme_spec_t spec[STEPCA_CERTS_MAX];
    int n;
    void *memory;
    apr_size_t memory_size;
    int account_fd, fd[STEPCA_CERTS_MAX], key_fd[STEPCA_CERTS_MAX];
    const char *jwk;
} stepca_world_t;

static int stepca_log(void)
{
    char path[] = "/tmp/stepca-log.XXXXXX";
    int fd = mkstemp(path);

    ck_assert(fd >= 0 && fcntl(fd, F_SETFL, O_APPEND) == 0 && fcntl(fd, F_SETFD, FD_CLOEXEC) == 0);
    unlink(path);
    return fd;
}

static void stepca_spec(stepca_world_t *w, int i, const char *name)
{
    acme_spec_t *spec = &w->spec[i];

    spec->id = spec->label = apr_pstrdup(w->pool, name);
    spec->names = apr_array_make(w->pool, 1, sizeof(const char *));
    APR_ARRAY_PUSH(spec->names, const char *) = spec->id;
    spec->cas = apr_array_make(w->pool, 1, sizeof(acme_ca_t *));
    APR_ARRAY_PUSH(spec->cas, acme_ca_t *) = &w->ca;
    spec->key_type = ACME_KEY_P256;
    spec->challenges[0] = ACME_CH_HTTP01;
    spec->n_challenges = 1;
    spec->failover_after = 3;
    spec->cert_path = spec->key_path = "/nowhere";
    spec->where = "test:1";
    spec->index = i;
    spec->digest = acme_spec_digest(spec, w->pool);
}

/* n certificates at the CA; row i of the board is certificate i's, row n the account's. */
static void stepca_world(stepca_world_t *w, const char *directory, const char *ca_file, int n)
{
    acme_key_t *key;
    int i;

    memset(w, 0, sizeof(*w));
    apr_pool_create(&w->pool, NULL);
    w->ca.name = "stepca";
    w->ca.directory_url = directory;
    w->ca.ca_file = ca_file;
    w->ca.contacts = apr_array_make(w->pool, 1, sizeof(const char *));
    w->ca.terms_agreed = 1;
    w->n = n;
    w->memory_size = acme_board_size(n + 1);
    w->memory = mmap(NULL, w->memory_size, PROT_READ | PROT_WRITE,
                     MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    ck_assert(w->memory != MAP_FAILED);
    acme_board_format(w->memory, w->memory_size, n + 1);
    w->account_fd = stepca_log();
    for (i = 0; i < n; i++) {
        stepca_spec(w, i, n == 1 ? "one.example.org"
                                 : apr_psprintf(w->pool, "n%02d.example.org", i));
        w->fd[i] = stepca_log();
        w->key_fd[i] = stepca_log();
    }
    ck_assert(acme_key_generate(&key, ACME_KEY_P256, w->pool, NULL) == ACME_OK);
    w->jwk = acme_key_to_jwk(key, w->pool);
}

static void stepca_world_end(stepca_world_t *w)
{
    int i;

    for (i = 0; i < w->n; i++) {
        close(w->fd[i]);
        close(w->key_fd[i]);
    }
    close(w->account_fd);
    munmap(w->memory, w->memory_size);
    apr_pool_destroy(w->pool);
}

static acme_board_t *stepca_board(const stepca_world_t *w, apr_pool_t *pool)
{
    acme_board_t *board;

    ck_assert(acme_board_attach(&board, w->memory, w->memory_size, pool, NULL) == ACME_OK);
    return board;
}

static acme_store_t *stepca_store(const stepca_world_t *w, acme_board_t *board, apr_pool_t *pool)
{
    acme_staging_entry_t *entries = apr_pcalloc(pool, sizeof(*entries) * (STEPCA_CERTS_MAX + 1));
    acme_store_t *store;
    int i;

    for (i = 0; i <= w->n; i++) {
        entries[i].id = i < w->n ? w->spec[i].id : "stepca-account";
        entries[i].row = i;
        entries[i].fd = i < w->n ? w->fd[i] : w->account_fd;
        entries[i].key_fd = i < w->n ? w->key_fd[i] : -1;
    }
    ck_assert(acme_staging_create(&store, board, entries, w->n + 1, -1, NULL, NULL, pool, NULL)
              == ACME_OK);
    return store;
}

#endif
