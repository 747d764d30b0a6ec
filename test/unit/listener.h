/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#ifndef TEST_LISTENER_H
#define TEST_LISTENER_H

/* A server in a thread that gives every connection the same bytes. */

#include <check.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>
#include <netinet/in.h>
#include <sys/socket.h>

typedef struct {
    int fd, port;
    const char *reply; /* NULL: silence, the connection stays open */
    int reads;         /* waits for a request first */
    int connections;
    int held[256];
    pthread_t thread;
} listener_t;

static void *listener_run(void *baton)
{
    listener_t *l = baton;
    char request[4096];

    for (;;) {
        int fd = accept(l->fd, NULL, NULL);
        int n;

        if (fd < 0) {
            return NULL;
        }
        n = __atomic_fetch_add(&l->connections, 1, __ATOMIC_SEQ_CST);
        if (l->reply == NULL) {
            l->held[n % 256] = fd;
            continue;
        }
        if (l->reads) {
            (void)!read(fd, request, sizeof(request));
        }
        (void)!send(fd, l->reply, strlen(l->reply), MSG_NOSIGNAL);
        close(fd);
    }
}

/* backlog < 0: bound, but nobody listens. */
static void listener_open(listener_t *l, int backlog)
{
    struct sockaddr_in addr;
    socklen_t len = sizeof(addr);

    memset(l, 0, sizeof(*l));
    memset(&addr, 0, sizeof(addr));
    addr.sin_family = AF_INET;
    addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    l->fd = socket(AF_INET, SOCK_STREAM, 0);
    ck_assert(l->fd >= 0 && bind(l->fd, (struct sockaddr *)&addr, sizeof(addr)) == 0
              && getsockname(l->fd, (struct sockaddr *)&addr, &len) == 0);
    l->port = ntohs(addr.sin_port);
    ck_assert(backlog < 0 || listen(l->fd, backlog) == 0);
}

static void listener_start(listener_t *l, const char *reply)
{
    listener_open(l, 64);
    l->reply = reply;
    l->reads = 1;
    ck_assert_int_eq(pthread_create(&l->thread, NULL, listener_run, l), 0);
}

static void listener_stop(listener_t *l)
{
    int i;

    shutdown(l->fd, SHUT_RDWR);
    pthread_join(l->thread, NULL);
    close(l->fd);
    for (i = 0; i < 256; i++) {
        if (l->held[i] > 0) {
            close(l->held[i]);
        }
    }
}

#endif
