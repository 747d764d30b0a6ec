/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#ifndef TEST_RAWCA_H
#define TEST_RAWCA_H

/* test/data/rawca.py as a fixture: certificates in a temporary directory, a port per scenario. */

#include <check.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/wait.h>
#include <apr_general.h>
#include <apr_strings.h>
#include "base/codec.h"

#define RAWCA_SCENARIOS 64

static struct {
    pid_t pid;
    int in;
    char dir[64];
    char ca_file[PATH_MAX];
    struct {
        char name[32];
        int port;
    } scenario[RAWCA_SCENARIOS];
    int n;
} rawca;

static int rawca_readable(const char *path)
{
    FILE *f = fopen(path, "r");

    if (f) {
        fclose(f);
    }
    return f != NULL;
}

/* The script lies beside the source this was compiled from, wherever that was built. */
static void rawca_script(char *out, size_t size)
{
    const char *srcdir = getenv("srcdir");
    const char *slash = strrchr(__FILE__, '/');

    snprintf(out, size, "%.*s/../data/rawca.py", slash ? (int)(slash - __FILE__) : 1,
             slash ? __FILE__ : ".");
    if (!rawca_readable(out) && srcdir) {
        snprintf(out, size, "%s/test/data/rawca.py", srcdir);
    }
    if (!rawca_readable(out) && srcdir) {
        snprintf(out, size, "%s/data/rawca.py", srcdir);
    }
    ck_assert_msg(rawca_readable(out), "%s not found", out);
}

static void rawca_read(int fd)
{
    FILE *f = fdopen(fd, "r");
    char line[128];
    apr_int64_t port;

    ck_assert(f != NULL);
    while (fgets(line, sizeof(line), f) && strncmp(line, "ready", 5)) {
        char *space = strchr(line, ' ');

        ck_assert(space != NULL && rawca.n < RAWCA_SCENARIOS);
        *space = '\0';
        apr_cpystrn(rawca.scenario[rawca.n].name, line, sizeof(rawca.scenario[0].name));
        ck_assert(acme_scan_number(&port, space + 1, strcspn(space + 1, "\n"), 5, NULL) == ACME_OK);
        rawca.scenario[rawca.n++].port = (int)port;
    }
    fclose(f);
    ck_assert_msg(rawca.n > 0, "rawca.py did not start");
}

static void rawca_start(const char *set)
{
    char script[PATH_MAX];
    int in[2], out[2];

    apr_initialize();
    rawca_script(script, sizeof(script));
    apr_cpystrn(rawca.dir, "/tmp/rawca.XXXXXX", sizeof(rawca.dir));
    ck_assert(mkdtemp(rawca.dir) != NULL);
    snprintf(rawca.ca_file, sizeof(rawca.ca_file), "%s/ca.pem", rawca.dir);
    ck_assert(pipe(in) == 0 && pipe(out) == 0);
    rawca.pid = fork();
    if (rawca.pid == 0) {
        dup2(in[0], 0);
        dup2(out[1], 1);
        close(in[0]);
        close(in[1]);
        close(out[0]);
        close(out[1]);
        execl("/usr/bin/python3", "python3", script, rawca.dir, set, (char *)NULL);
        _exit(127);
    }
    close(in[0]);
    close(out[1]);
    rawca.in = in[1];
    (void)fcntl(rawca.in, F_SETFD, FD_CLOEXEC);
    rawca.n = 0;
    rawca_read(out[0]);
}

static void rawca_stop(void)
{
    char command[128];
    int status;

    close(rawca.in);
    kill(rawca.pid, SIGKILL);
    waitpid(rawca.pid, &status, 0);
    snprintf(command, sizeof(command), "%s", rawca.dir);
    if (fork() == 0) {
        execlp("rm", "rm", "-rf", command, (char *)NULL);
        _exit(127);
    }
    wait(&status);
    apr_terminate();
}

static int rawca_port(const char *name)
{
    int i;

    for (i = 0; i < rawca.n; i++) {
        if (!strcmp(rawca.scenario[i].name, name)) {
            return rawca.scenario[i].port;
        }
    }
    ck_abort_msg("no scenario %s", name);
    return 0;
}

#endif
