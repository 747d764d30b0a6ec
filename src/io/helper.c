/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#include "io/helper.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "io/net.h"
#include "io/process.h"

#define CONNECTIONS 16
#define GRACE apr_time_from_sec(1)
#define BASE_ENV_MAX 256
#define COMMAND_ARGS_MAX 64

typedef struct {
    int connection;     /* its place, -1: free */
    apr_uint64_t id;
    char *input;        /* malloc */
    acme_process_t process;
} slot_t;

typedef struct {
    const acme_helper_conf_t *conf;
    int gone;           /* nobody can connect any more */
    int connections[CONNECTIONS]; /* -1: free */
    slot_t slots[ACME_PROGRAMS_AT_ONCE];
    char packet[ACME_ERRAND_MAX + 1]; /* one more: a longer packet is seen to be too long */
} helper_t;

/* ---- connections ---- */

static int receive_fd(int fd, ssize_t *len)
{
    union {
        struct cmsghdr head;
        char bytes[CMSG_SPACE(4 * sizeof(int))];
    } control;
    struct iovec iov;
    struct msghdr msg;
    struct cmsghdr *head;
    char byte;
    int passed = -1;

    memset(&msg, 0, sizeof(msg));
    memset(&control, 0, sizeof(control));
    iov.iov_base = &byte;
    iov.iov_len = 1;
    msg.msg_iov = &iov;
    msg.msg_iovlen = 1;
    msg.msg_control = control.bytes;
    msg.msg_controllen = sizeof(control.bytes);
    *len = recvmsg(fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    for (head = *len > 0 ? CMSG_FIRSTHDR(&msg) : NULL; head != NULL;
         head = CMSG_NXTHDR(&msg, head)) {
        int i, n = (int)((head->cmsg_len - CMSG_LEN(0)) / sizeof(int));

        for (i = 0; head->cmsg_level == SOL_SOCKET && head->cmsg_type == SCM_RIGHTS && i < n; i++) {
            if (passed >= 0) {
                close(passed);
            }
            memcpy(&passed, CMSG_DATA(head) + (apr_size_t)i * sizeof(int), sizeof(int));
        }
    }
    return passed;
}

/* Anything may be passed: what is no socket of ours is of no use. */
static int is_connection(int fd)
{
    int type = 0;
    socklen_t len = sizeof(type);

    return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) == 0 && type == SOCK_SEQPACKET;
}

static void take_connection(helper_t *h)
{
    ssize_t len;
    int i, fd = receive_fd(h->conf->fd, &len);

    if (len == 0 || (len < 0 && errno != EAGAIN && errno != EINTR)) {
        h->gone = 1;
    }
    for (i = 0; fd >= 0 && is_connection(fd) && i < CONNECTIONS; i++) {
        if (h->connections[i] < 0) {
            h->connections[i] = fd;
            return;
        }
    }
    if (fd >= 0) {
        close(fd);
    }
}

static void drop_connection(helper_t *h, int place)
{
    int i;

    close(h->connections[place]);
    h->connections[place] = -1;
    for (i = 0; i < ACME_PROGRAMS_AT_ONCE; i++) {
        if (h->slots[i].connection == place && h->slots[i].process.pid != 0) {
            acme_process_terminate(&h->slots[i].process, acme_net_now(), GRACE);
            h->slots[i].connection = CONNECTIONS; /* nobody's */
        }
    }
}

static void reply(helper_t *h, int place, acme_errand_reply_t *what)
{
    if (place < CONNECTIONS
        && send(h->connections[place], what, acme_errand_reply_len(what),
                MSG_DONTWAIT | MSG_NOSIGNAL) < 0) {
        drop_connection(h, place); /* it does not read its answers */
    }
}

/* ---- errands ---- */

static void refuse(helper_t *h, int place, apr_uint64_t id, const char *why)
{
    acme_errand_reply_t what;

    memset(&what, 0, sizeof(what));
    what.id = id;
    what.refused = 1;
    what.output_len = (apr_uint32_t)strlen(why);
    memcpy(what.output, why, what.output_len);
    reply(h, place, &what);
}

static int join(const char **out, int most, const char *const *first, const char *const *rest)
{
    int n = 0;

    for (; first != NULL && *first != NULL && n < most; first++) {
        out[n++] = *first;
    }
    for (; *rest != NULL && n < most; rest++) {
        out[n++] = *rest;
    }
    out[n] = NULL;
    return n < most;
}

static const char *start(const helper_t *h, slot_t *slot, const acme_errand_t *errand)
{
    const char *argv[COMMAND_ARGS_MAX + ACME_PROGRAM_ARGS_MAX + 1];
    const char *env[BASE_ENV_MAX + ACME_PROGRAM_ENV_MAX + 1];
    acme_program_t program;

    if (errand->command >= (apr_uint32_t)h->conf->n_commands) {
        return "no such program is configured";
    }
    if (!join(argv, COMMAND_ARGS_MAX + ACME_PROGRAM_ARGS_MAX, h->conf->commands[errand->command],
              errand->args)
        || !join(env, BASE_ENV_MAX + ACME_PROGRAM_ENV_MAX, h->conf->env, errand->env)) {
        return "too many arguments or environment variables";
    }
    slot->input = malloc(errand->input_len + 1);
    if (slot->input == NULL) {
        return "no memory";
    }
    memcpy(slot->input, errand->input, errand->input_len);
    program.argv = argv;
    program.env = env;
    program.input = slot->input;
    program.input_len = errand->input_len;
    program.limit = errand->limit;
    if (acme_process_start(&slot->process, &program, acme_net_now(), NULL) != ACME_OK) {
        free(slot->input);
        return "it cannot be started";
    }
    return NULL;
}

static void run(helper_t *h, int place, const acme_errand_t *errand)
{
    const char *trouble = "too many programs run already";
    int i;

    for (i = 0; i < ACME_PROGRAMS_AT_ONCE; i++) {
        if (h->slots[i].connection < 0) {
            trouble = start(h, &h->slots[i], errand);
            break;
        }
    }
    if (trouble != NULL) {
        refuse(h, place, errand->id, trouble);
        return;
    }
    h->slots[i].connection = place;
    h->slots[i].id = errand->id;
}

static void end(helper_t *h, int place, apr_uint64_t id)
{
    int i;

    for (i = 0; i < ACME_PROGRAMS_AT_ONCE; i++) {
        if (h->slots[i].connection == place && h->slots[i].id == id) {
            acme_process_terminate(&h->slots[i].process, acme_net_now(), GRACE);
        }
    }
}

static void take_errand(helper_t *h, int place)
{
    ssize_t len = recv(h->connections[place], h->packet, sizeof(h->packet), MSG_DONTWAIT);
    acme_errand_t errand;

    if (len < 0 && (errno == EAGAIN || errno == EINTR)) {
        return;
    }
    if (len <= 0 || acme_errand_parse(&errand, h->packet, (apr_size_t)len) != ACME_OK) {
        drop_connection(h, place);
        return;
    }
    switch (errand.kind) {
    case ACME_ERRAND_RUN:
        run(h, place, &errand);
        break;
    case ACME_ERRAND_END:
        end(h, place, errand.id);
        break;
    }
}

static void mind(helper_t *h, slot_t *slot, apr_time_t now)
{
    acme_errand_reply_t what;
    int place = slot->connection;

    if (acme_process_step(&slot->process, now) != ACME_OK) {
        return;
    }
    memset(&what, 0, sizeof(what));
    what.id = slot->id;
    what.exec_errno = slot->process.exec_errno;
    what.exit_status = slot->process.exit_status;
    what.signal = slot->process.signal;
    what.timed_out = slot->process.timed_out;
    what.output_len = (apr_uint32_t)slot->process.output_len;
    memcpy(what.output, slot->process.output, slot->process.output_len);
    free(slot->input);
    slot->connection = -1;
    reply(h, place, &what);
}

/* ---- life ---- */

static int watch(struct pollfd *fds, const helper_t *h, int *busy)
{
    int i, n = 0;

    if (!h->gone) {
        fds[n].fd = h->conf->fd;
        fds[n++].events = POLLIN;
    }
    for (i = 0; i < CONNECTIONS; i++) {
        if (h->connections[i] >= 0) {
            fds[n].fd = h->connections[i];
            fds[n++].events = POLLIN;
        }
    }
    for (i = 0; i < ACME_PROGRAMS_AT_ONCE; i++) {
        if (h->slots[i].connection >= 0) {
            n += acme_process_fds(fds + n, &h->slots[i].process);
            *busy = 1;
        }
    }
    return n;
}

static void turn(helper_t *h)
{
    apr_time_t now = acme_net_now();
    int i;

    for (i = 0; i < ACME_PROGRAMS_AT_ONCE; i++) {
        if (h->slots[i].connection >= 0) {
            mind(h, &h->slots[i], now);
        }
    }
    for (i = 0; i < CONNECTIONS; i++) {
        if (h->connections[i] >= 0) {
            take_errand(h, i);
        }
    }
    if (!h->gone) {
        take_connection(h);
    }
}

void acme_helper_serve(const acme_helper_conf_t *conf)
{
    static helper_t helper;
    struct pollfd fds[1 + CONNECTIONS + ACME_PROGRAMS_AT_ONCE * ACME_PROCESS_FDS];
    int i, n, busy = 0;

    memset(&helper, 0, sizeof(helper));
    helper.conf = conf;
    for (i = 0; i < CONNECTIONS; i++) {
        helper.connections[i] = -1;
    }
    for (i = 0; i < ACME_PROGRAMS_AT_ONCE; i++) {
        helper.slots[i].connection = -1;
    }
    for (;;) {
        turn(&helper);
        busy = 0;
        n = watch(fds, &helper, &busy);
        if (n == 0 && !busy) {
            return;
        }
        (void)poll(fds, (nfds_t)n, busy ? ACME_PROCESS_TICK : -1);
    }
}

int acme_helper_connect(int shared_fd)
{
    union {
        struct cmsghdr head;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control;
    struct iovec iov;
    struct msghdr msg;
    int pair[2];

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) != 0) {
        return -1;
    }
    memset(&msg, 0, sizeof(msg));
    memset(&control, 0, sizeof(control));
    iov.iov_base = "c";
    iov.iov_len = 1;
    msg.msg_iov = &iov;
    msg.msg_iovlen = 1;
    msg.msg_control = control.bytes;
    msg.msg_controllen = sizeof(control.bytes);
    control.head.cmsg_level = SOL_SOCKET;
    control.head.cmsg_type = SCM_RIGHTS;
    control.head.cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(&control.head), &pair[1], sizeof(int));
    if (sendmsg(shared_fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL) < 0) {
        close(pair[0]);
        close(pair[1]);
        return -1;
    }
    close(pair[1]);
    return pair[0];
}
