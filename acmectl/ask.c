/* Licensed under the Apache License, Version 2.0; see LICENSE. */

/* Over the socket of AcmeControl: one request, an answer of lines. */

#include "acmectl.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include <apr_strings.h>

#define QUICK apr_time_from_sec(8)
#define SLOW apr_time_from_sec(180) /* the CA is asked */
#define PART (64 * 1024)
#define ANSWER_MAX (64 * 1024 * 1024)

int acmectl_server_runs(const acmectl_t *ctl)
{
    return acme_store_server(ctl->store) != 0;
}

static int connect_to(const acmectl_t *ctl, const acme_inventory_t *inventory, int *fd)
{
    const struct timeval within = {.tv_sec = apr_time_sec(QUICK)};
    struct sockaddr_un address;

    memset(&address, 0, sizeof(address));
    address.sun_family = AF_UNIX;
    if (inventory->socket == NULL || strlen(inventory->socket) >= sizeof(address.sun_path)) {
        return acmectl_fail(ctl, ACMECTL_UNREACHABLE, "the server has no socket (AcmeControl)");
    }
    apr_cpystrn(address.sun_path, inventory->socket, sizeof(address.sun_path));
    *fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    /* A full queue of a server that accepts nobody must not hold the caller for ever. */
    if (*fd < 0 || setsockopt(*fd, SOL_SOCKET, SO_SNDTIMEO, &within, sizeof(within)) != 0
        || connect(*fd, (const struct sockaddr *)&address, (socklen_t)sizeof(address)) != 0) {
        int code = acmectl_fail(ctl, ACMECTL_UNREACHABLE, "%s: %s", inventory->socket,
                                strerror(errno));

        if (*fd >= 0) {
            close(*fd);
        }
        return code;
    }
    return ACMECTL_OK;
}

static int send_all(int fd, const char *text)
{
    apr_size_t len = strlen(text), at = 0;
    ssize_t n;

    while (at < len) {
        n = send(fd, text + at, len - at, MSG_NOSIGNAL);
        if (n < 0 && errno != EINTR) {
            return 0;
        }
        at += n > 0 ? (apr_size_t)n : 0;
    }
    return 1;
}

typedef struct {
    char *data;
    apr_size_t len, room;
} buffer_t;

static void make_room(buffer_t *buffer, apr_pool_t *pool)
{
    char *data;

    if (buffer->room - buffer->len >= PART) {
        return;
    }
    buffer->room = buffer->room * 2 + PART;
    data = apr_palloc(pool, buffer->room);
    if (buffer->len > 0) {
        memcpy(data, buffer->data, buffer->len);
    }
    buffer->data = data;
}

/* To the end of the answer: the server closes. */
static int receive(buffer_t *buffer, int fd, apr_interval_time_t within, apr_pool_t *pool)
{
    apr_time_t deadline = acme_net_now() + within;
    struct pollfd pollfd;
    ssize_t n;

    memset(buffer, 0, sizeof(*buffer));
    pollfd.fd = fd;
    pollfd.events = POLLIN;
    while (acme_net_now() < deadline && buffer->len < ANSWER_MAX) {
        if (poll(&pollfd, 1, 200) <= 0) {
            continue;
        }
        make_room(buffer, pool);
        n = recv(fd, buffer->data + buffer->len, PART, 0);
        if (n == 0) {
            return buffer->len > 0;
        }
        if (n < 0 && errno != EINTR) {
            return 0;
        }
        buffer->len += n > 0 ? (apr_size_t)n : 0;
    }
    return 0;
}

static acme_rv_t split(apr_array_header_t **lines, acme_json_t **last, const buffer_t *buffer,
                       apr_pool_t *pool, acme_error_t *err)
{
    const char *at = buffer->data, *end = at + buffer->len, *newline;
    acme_json_t *json;

    *lines = apr_array_make(pool, 16, sizeof(acme_json_t *));
    *last = NULL;
    while (at < end) {
        newline = memchr(at, '\n', (apr_size_t)(end - at));
        if (newline == NULL) {
            break;
        }
        if (acme_json_parse(&json, at, (apr_size_t)(newline - at), "answer", pool, err)
            != ACME_OK) {
            return ACME_FAIL;
        }
        if (*last != NULL) {
            APR_ARRAY_PUSH(*lines, acme_json_t *) = *last;
        }
        *last = json;
        at = newline + 1;
    }
    return *last != NULL ? ACME_OK : acme_error_set(err, ACME_E_PROTOCOL, NULL, "no answer");
}

static int conclude(const acmectl_t *ctl, const acme_json_t *last)
{
    const char *text = NULL;
    apr_int64_t code = ACMECTL_FAILED;
    int ok = 0;

    if (acme_json_get_bool(&ok, last, "ok", 0, NULL) == ACME_OK && ok) {
        return ACMECTL_OK;
    }
    (void)acme_json_get_int(&code, last, "exit", ACMECTL_FAILED, NULL);
    (void)acme_json_get_string(&text, last, "error", ACME_JSON_OPTIONAL, NULL);
    code = code < ACMECTL_USAGE || code > ACMECTL_UNREACHABLE ? ACMECTL_FAILED : code;
    return acmectl_fail(ctl, (int)code, "%s", text != NULL ? text : "the server says no");
}

int acmectl_ask(const acmectl_t *ctl, const acme_inventory_t *inventory,
                const acme_control_request_t *request, apr_array_header_t **lines)
{
    int slow = request->command != ACME_CONTROL_STATUS;
    const char *text = acme_control_format(request, ctl->pool);
    apr_array_header_t *unused;
    acme_json_t *last;
    buffer_t buffer;
    acme_error_t err;
    int fd = -1, code;

    if (text == NULL) {
        return acmectl_fail(ctl, ACMECTL_USAGE, "a name that is not UTF-8");
    }
    code = connect_to(ctl, inventory, &fd);
    if (code != ACMECTL_OK) {
        return code;
    }
    if (!send_all(fd, text) || !receive(&buffer, fd, slow ? SLOW : QUICK, ctl->pool)) {
        close(fd);
        return acmectl_fail(ctl, ACMECTL_UNREACHABLE, "%s: the server does not answer",
                            inventory->socket);
    }
    close(fd);
    acme_error_clear(&err);
    if (split(lines != NULL ? lines : &unused, &last, &buffer, ctl->pool, &err) != ACME_OK) {
        return acmectl_fail(ctl, ACMECTL_UNREACHABLE, "%s: %s", inventory->socket, err.text);
    }
    return conclude(ctl, last);
}
