/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#ifndef TEST_COMMAND_H
#define TEST_COMMAND_H

/* Programs that tests ask: the openssl command as an oracle, rm and the like. */

#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#define COMMAND_ARGS 16

/* Runs it to a good end; unused arguments are NULL. */
static inline void command_run(const char *program, const char *a, const char *b, const char *c)
{
    pid_t pid = fork();
    int status;

    if (pid == 0) {
        execlp(program, program, a, b, c, (char *)NULL);
        _exit(127);
    }
    ck_assert(waitpid(pid, &status, 0) == pid && status == 0);
}

/* All it writes, at most size - 1 bytes; it must end well. */
static inline void command_output(const char *const *argv, char *out, size_t size)
{
    int pipes[2], status;
    size_t n = 0;
    ssize_t got = 1;
    pid_t pid;

    ck_assert_int_eq(pipe(pipes), 0);
    pid = fork();
    if (pid == 0) {
        dup2(pipes[1], 1);
        dup2(pipes[1], 2);
        execvp(argv[0], (char *const *)argv);
        _exit(127);
    }
    close(pipes[1]);
    while (got > 0 && n < size - 1) {
        got = read(pipes[0], out + n, size - 1 - n);
        n += got > 0 ? (size_t)got : 0;
    }
    out[n] = '\0';
    close(pipes[0]);
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_msg(status == 0, "%s: %s", argv[0], out);
}

/* What the command openssl says about bytes; args without "-in", ended by NULL. */
static inline const char *command_openssl(const char *const *args, const void *bytes, size_t len)
{
    static char said[16384];
    char path[] = "/tmp/acme-openssl.XXXXXX";
    const char *argv[COMMAND_ARGS + 4] = { "openssl" };
    int fd = mkstemp(path), i;

    ck_assert(fd >= 0 && write(fd, bytes, len) == (ssize_t)len && close(fd) == 0);
    for (i = 0; args[i]; i++) {
        ck_assert_int_lt(i, COMMAND_ARGS);
        argv[i + 1] = args[i];
    }
    argv[i + 1] = "-in";
    argv[i + 2] = path;
    command_output(argv, said, sizeof(said));
    unlink(path);
    return said;
}

#endif
