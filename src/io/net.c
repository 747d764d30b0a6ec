/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#include "io/net.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <apr_portable.h>
#include <apr_strings.h>

#define RESOLVE_MAX apr_time_from_sec(30)
#define CONNECT_MAX apr_time_from_sec(10)
#define CONNECT_MIN apr_time_from_sec(1)
#define RESOLVER_STACK (1024 * 1024)
#define REASONS 512

/* Another thread may fork and execute a program between two calls. */
#if defined(SOCK_CLOEXEC) && defined(SOCK_NONBLOCK)
#define ATOMIC_FLAGS (SOCK_CLOEXEC | SOCK_NONBLOCK)
#else
#define ATOMIC_FLAGS 0
#endif

int acme_stopped(const acme_stop_t *stop)
{
    return stop && stop->stopped && stop->stopped(stop->baton);
}

apr_time_t acme_net_now(void)
{
    struct timespec now;

    if (clock_gettime(CLOCK_MONOTONIC, &now) != 0) {
        return apr_time_now();
    }
    return apr_time_from_sec((apr_time_t)now.tv_sec) + now.tv_nsec / 1000;
}

static apr_time_t until(apr_interval_time_t wait, apr_time_t deadline)
{
    apr_time_t limit = acme_net_now() + wait;

    return limit < deadline ? limit : deadline;
}

static acme_rv_t stopped_error(acme_error_t *err)
{
    return acme_error_set(err, ACME_E_STOPPED, NULL, "stopped");
}

/* ---- waiting ---- */

/* ACME_OK: ready, or an error that the next call will meet; ACME_AGAIN: too late; ACME_FAIL: asked
 * to stop. */
static acme_rv_t wait_fd(int fd, int want_write, apr_time_t deadline, const acme_stop_t *stop)
{
    for (;;) {
        struct pollfd p;
        apr_interval_time_t left;
        int n;

        if (acme_stopped(stop)) {
            return ACME_FAIL;
        }
        left = deadline - acme_net_now();
        if (left > ACME_WAIT_SLICE) {
            left = ACME_WAIT_SLICE;
        }
        p.fd = fd;
        p.events = want_write ? POLLOUT : POLLIN;
        p.revents = 0;
        n = poll(&p, 1, left > 0 ? (int)((left + 999) / 1000) : 0);
        if (n > 0) {
            return ACME_OK;
        }
        if (n == 0 && left <= 0) {
            return ACME_AGAIN;
        }
        if (n < 0 && errno != EINTR && errno != EAGAIN) {
            return ACME_AGAIN;
        }
    }
}

acme_rv_t acme_net_wait(apr_socket_t *socket, int want_write, apr_time_t deadline,
                        const acme_stop_t *stop, acme_error_t *err)
{
    apr_os_sock_t fd = -1;
    acme_rv_t rv;

    apr_os_sock_get(&fd, socket);
    rv = wait_fd(fd, want_write, deadline, stop);
    if (rv == ACME_AGAIN) {
        acme_error_set(err, ACME_E_NETWORK, "AC0205", "no %s within the time limit",
                       want_write ? "room to send" : "answer");
        if (err && !strcmp(err->code, "AC0205")) {
            err->status = APR_TIMEUP;
        }
        return ACME_FAIL;
    }
    return rv == ACME_OK ? ACME_OK : stopped_error(err);
}

/* ---- names ----
 *
 * getaddrinfo cannot be interrupted. It runs in a detached thread with memory of its own, shared by
 * a reference count, so that whoever asked may leave at any moment. The thread touches nothing
 * else: no pool, no OpenSSL, so that it may still be there when the process exits. */

typedef struct {
    pthread_mutex_t mutex;
    pthread_cond_t cond;
    int refs;
    int done;
    int rc;                /* of getaddrinfo */
    int sys;               /* errno for EAI_SYSTEM */
    struct addrinfo *list;
    char service[8];
    char host[256];
} lookup_t;

static int ask(const char *host, const char *service, int flags, struct addrinfo **list)
{
    struct addrinfo hints;

    memset(&hints, 0, sizeof(hints));
    hints.ai_family = AF_UNSPEC;
    hints.ai_socktype = SOCK_STREAM;
    hints.ai_flags = flags | AI_NUMERICSERV;
    *list = NULL;
    return getaddrinfo(host, service, &hints, list);
}

static void lookup_leave(lookup_t *lookup)
{
    int left;

    pthread_mutex_lock(&lookup->mutex);
    left = --lookup->refs;
    pthread_mutex_unlock(&lookup->mutex);
    if (left > 0) {
        return;
    }
    if (lookup->list) {
        freeaddrinfo(lookup->list);
    }
    pthread_cond_destroy(&lookup->cond);
    pthread_mutex_destroy(&lookup->mutex);
    free(lookup);
}

static void *lookup_run(void *data)
{
    lookup_t *lookup = data;
    struct addrinfo *list = NULL;
    int rc = ask(lookup->host, lookup->service, 0, &list);
    int sys = errno;

    pthread_mutex_lock(&lookup->mutex);
    lookup->rc = rc;
    lookup->sys = sys;
    lookup->list = rc == 0 ? list : NULL;
    lookup->done = 1;
    pthread_cond_broadcast(&lookup->cond);
    pthread_mutex_unlock(&lookup->mutex);
    lookup_leave(lookup);
    return NULL;
}

static lookup_t *lookup_create(const char *host, const char *service)
{
    lookup_t *lookup = calloc(1, sizeof(*lookup));
    pthread_condattr_t attr;

    if (!lookup) {
        return NULL;
    }
    lookup->refs = 1;
    apr_cpystrn(lookup->host, host, sizeof(lookup->host));
    apr_cpystrn(lookup->service, service, sizeof(lookup->service));
    pthread_mutex_init(&lookup->mutex, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&lookup->cond, &attr);
    pthread_condattr_destroy(&attr);
    return lookup;
}

/* Signals belong to the server's own threads. */
static int lookup_start(lookup_t *lookup)
{
    sigset_t all, former;
    pthread_attr_t attr;
    pthread_t thread;
    int rc;

    rc = pthread_attr_init(&attr);
    if (rc != 0) {
        return rc;
    }
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attr, RESOLVER_STACK);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &former);
    lookup->refs++;
    rc = pthread_create(&thread, &attr, lookup_run, lookup);
    pthread_sigmask(SIG_SETMASK, &former, NULL);
    pthread_attr_destroy(&attr);
    if (rc != 0) {
        lookup->refs--;
    }
    return rc;
}

/* Same results as wait_fd. */
static acme_rv_t lookup_wait(lookup_t *lookup, apr_time_t deadline, const acme_stop_t *stop)
{
    acme_rv_t rv = ACME_OK;

    pthread_mutex_lock(&lookup->mutex);
    while (!lookup->done && rv == ACME_OK) {
        apr_time_t wake = until(ACME_WAIT_SLICE, deadline);
        struct timespec at;

        at.tv_sec = (time_t)apr_time_sec(wake);
        at.tv_nsec = (long)apr_time_usec(wake) * 1000;
        pthread_cond_timedwait(&lookup->cond, &lookup->mutex, &at);
        if (!lookup->done && acme_stopped(stop)) {
            rv = ACME_FAIL;
        }
        else if (!lookup->done && acme_net_now() >= deadline) {
            rv = ACME_AGAIN;
        }
    }
    pthread_mutex_unlock(&lookup->mutex);
    return rv;
}

/* A thread that is left behind returns into this code: it must stay mapped when the process's exit
 * unloads the module. Only that process pays, and only once. */
static void stay_mapped(void)
{
    static int done;
    Dl_info info;

    if (__atomic_exchange_n(&done, 1, __ATOMIC_RELAXED)) {
        return;
    }
    if (dladdr(&done, &info) && info.dli_fname) {
        (void)dlopen(info.dli_fname, RTLD_LAZY | RTLD_NOLOAD | RTLD_NODELETE);
    }
}

static acme_rv_t lookup_result(struct addrinfo **list, lookup_t *lookup, acme_error_t *err)
{
    const char *why;

    if (lookup->rc == 0 && lookup->list) {
        *list = lookup->list;
        lookup->list = NULL;
        return ACME_OK;
    }
    if (lookup->rc == EAI_SYSTEM) {
        return acme_error_system(err, ACME_E_NETWORK, "AC0207", lookup->sys, "%s: cannot resolve",
                                 lookup->host);
    }
    why = lookup->rc == 0 ? "no address" : gai_strerror(lookup->rc);
    return acme_error_set(err, ACME_E_NETWORK, "AC0201", "%s: cannot resolve: %s", lookup->host,
                          why);
}

static acme_rv_t resolve_name(struct addrinfo **list, const char *host, const char *service,
                              apr_time_t deadline, const acme_stop_t *stop, acme_error_t *err)
{
    lookup_t *lookup = lookup_create(host, service);
    acme_rv_t rv;
    int rc = lookup ? lookup_start(lookup) : ENOMEM;

    if (rc != 0) {
        acme_error_system(err, ACME_E_SYSTEM, "AC0208", rc, "%s: cannot resolve: no thread", host);
        if (lookup) {
            lookup_leave(lookup);
        }
        return ACME_FAIL;
    }
    rv = lookup_wait(lookup, until(RESOLVE_MAX, deadline), stop);
    if (rv == ACME_OK) {
        rv = lookup_result(list, lookup, err);
    }
    else if (rv == ACME_AGAIN) {
        stay_mapped();
        rv = acme_error_system(err, ACME_E_NETWORK, "AC0209", APR_TIMEUP, "%s: cannot resolve",
                               host);
    }
    else {
        stay_mapped();
        rv = stopped_error(err);
    }
    lookup_leave(lookup);
    return rv;
}

/* ---- connections ---- */

static int out_of_resources(int error)
{
    return error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM;
}

/* 0, an errno value, or -1 when asked to stop. */
static int await_connected(int fd, apr_time_t limit, const acme_stop_t *stop)
{
    acme_rv_t rv = wait_fd(fd, 1, limit, stop);
    int error = 0;
    socklen_t len = sizeof(error);

    if (rv != ACME_OK) {
        return rv == ACME_AGAIN ? ETIMEDOUT : -1;
    }
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) != 0) {
        return errno;
    }
    return error;
}

static int open_socket(int *out, int family, int protocol)
{
    int on = 1;
    int fd = socket(family, SOCK_STREAM | ATOMIC_FLAGS, protocol);

    *out = fd;
    if (fd < 0) {
        return errno;
    }
    if (ATOMIC_FLAGS == 0
        && (fcntl(fd, F_SETFD, FD_CLOEXEC) != 0
            || fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) != 0)) {
        return errno;
    }
    /* One exchange is one write each way: nothing is gained by waiting for more. */
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    return 0;
}

/* The same results; *out is -1 unless it is 0. */
static int connect_one(int *out, const struct addrinfo *ai, apr_time_t limit,
                       const acme_stop_t *stop)
{
    int error = open_socket(out, ai->ai_family, ai->ai_protocol);

    if (error == 0 && connect(*out, ai->ai_addr, ai->ai_addrlen) != 0) {
        error = errno;
    }
    if (error == EINPROGRESS || error == EINTR) {
        error = await_connected(*out, limit, stop);
    }
    if (error != 0 && *out >= 0) {
        close(*out);
        *out = -1;
    }
    return error;
}

static void add_reason(char reasons[REASONS], const struct addrinfo *ai, int error)
{
    apr_size_t used = strlen(reasons);
    char address[64], text[120];

    if (getnameinfo(ai->ai_addr, ai->ai_addrlen, address, sizeof(address), NULL, 0,
                    NI_NUMERICHOST) != 0) {
        apr_cpystrn(address, "?", sizeof(address));
    }
    apr_strerror(error, text, sizeof(text));
    apr_snprintf(reasons + used, REASONS - used, "%s%s: %s", used ? "; " : "", address, text);
}

static acme_rv_t wrap(apr_socket_t **out, int fd, const struct addrinfo *ai, apr_pool_t *pool,
                      acme_error_t *err)
{
    apr_os_sock_info_t info;
    apr_status_t status;

    memset(&info, 0, sizeof(info));
    info.os_sock = &fd;
    info.remote = ai->ai_addr;
    info.family = ai->ai_family;
    info.type = SOCK_STREAM;
    status = apr_os_sock_make(out, &info, pool);
    if (status != APR_SUCCESS) {
        close(fd);
        return acme_error_system(err, ACME_E_SYSTEM, NULL, status, "socket");
    }
    apr_socket_timeout_set(*out, 0);
    return ACME_OK;
}

/* A share of the time that is left for each address, so that a dead one does not use up all of it.
 * */
static apr_time_t share(const struct addrinfo *ai, apr_time_t deadline)
{
    apr_interval_time_t wait = CONNECT_MAX;
    apr_interval_time_t left = deadline - acme_net_now();
    int n;

    for (n = 0; ai; ai = ai->ai_next) {
        n++;
    }
    if (left / n < wait) {
        wait = left / n > CONNECT_MIN ? left / n : CONNECT_MIN;
    }
    return until(wait, deadline);
}

static acme_rv_t connect_any(apr_socket_t **out, const struct addrinfo *list, apr_time_t deadline,
                             const acme_stop_t *stop, apr_pool_t *pool, const char *subject,
                             acme_error_t *err)
{
    char reasons[REASONS] = "";
    const struct addrinfo *ai;
    int error = 0;

    for (ai = list; ai; ai = ai->ai_next) {
        int fd = -1;

        error = connect_one(&fd, ai, share(ai, deadline), stop);
        if (error == 0) {
            return wrap(out, fd, ai, pool, err);
        }
        if (error < 0) {
            return stopped_error(err);
        }
        if (out_of_resources(error)) {
            return acme_error_system(err, ACME_E_SYSTEM, "AC0206", error, "%s: no socket",
                                     subject);
        }
        add_reason(reasons, ai, error);
        if (acme_net_now() >= deadline) {
            break;
        }
    }
    acme_error_set(err, ACME_E_NETWORK, "AC0202", "%s: cannot connect: %s", subject, reasons);
    if (err && !strcmp(err->code, "AC0202")) {
        err->status = error;
    }
    return ACME_FAIL;
}

acme_rv_t acme_net_connect(apr_socket_t **out, const char *host, apr_port_t port,
                           apr_time_t deadline, const acme_stop_t *stop, apr_pool_t *pool,
                           acme_error_t *err)
{
    struct addrinfo *list = NULL;
    char service[8];
    acme_rv_t rv = ACME_OK;

    *out = NULL;
    if (!host || !*host || strlen(host) > 255) {
        return acme_error_set(err, ACME_E_CONFIG, NULL, "empty or overlong host name");
    }
    if (acme_stopped(stop)) {
        return stopped_error(err);
    }
    apr_snprintf(service, sizeof(service), "%u", (unsigned)port);
    if (ask(host, service, AI_NUMERICHOST, &list) != 0) {
        rv = resolve_name(&list, host, service, deadline, stop, err);
    }
    if (rv == ACME_OK) {
        rv = connect_any(out, list, deadline, stop, pool,
                         apr_psprintf(pool, "%s port %s", host, service), err);
    }
    if (list) {
        freeaddrinfo(list);
    }
    return rv;
}

/* ---- addresses ---- */

static int known(const apr_array_header_t *addresses, const char *address)
{
    int i;

    for (i = 0; i < addresses->nelts; i++) {
        if (!strcmp(APR_ARRAY_IDX(addresses, i, const char *), address)) {
            return 1;
        }
    }
    return 0;
}

acme_rv_t acme_net_addresses(apr_array_header_t **out, const char *host, apr_time_t deadline,
                             const acme_stop_t *stop, apr_pool_t *pool, acme_error_t *err)
{
    apr_array_header_t *addresses = apr_array_make(pool, 4, sizeof(const char *));
    struct addrinfo *list = NULL;
    const struct addrinfo *ai;
    char address[64];

    *out = addresses;
    if (ask(host, "0", AI_NUMERICHOST, &list) != 0
        && resolve_name(&list, host, "0", deadline, stop, err) != ACME_OK) {
        return ACME_FAIL;
    }
    for (ai = list; ai; ai = ai->ai_next) {
        if (getnameinfo(ai->ai_addr, ai->ai_addrlen, address, sizeof(address), NULL, 0,
                        NI_NUMERICHOST) == 0
            && !known(addresses, address)) {
            APR_ARRAY_PUSH(addresses, const char *) = apr_pstrdup(pool, address);
        }
    }
    freeaddrinfo(list);
    return ACME_OK;
}

int acme_net_is_own(const char *address)
{
    struct addrinfo *list = NULL;
    int own = 0, fd = -1;

    if (ask(address, "0", AI_NUMERICHOST, &list) == 0) {
        own = open_socket(&fd, list->ai_family, list->ai_protocol) == 0
              && bind(fd, list->ai_addr, list->ai_addrlen) == 0;
        freeaddrinfo(list);
    }
    if (fd >= 0) {
        close(fd);
    }
    return own;
}

/* ---- plain bytes ---- */

static int would_block(int error)
{
    return error == EAGAIN || error == EWOULDBLOCK;
}

acme_rv_t acme_net_write(apr_socket_t *socket, const char *data, apr_size_t len,
                         apr_time_t deadline, const acme_stop_t *stop, acme_error_t *err)
{
    apr_os_sock_t fd = -1;

    apr_os_sock_get(&fd, socket);
    while (len > 0) {
        ssize_t n = send(fd, data, len, MSG_NOSIGNAL);

        if (n >= 0) {
            data += n;
            len -= (apr_size_t)n;
        }
        else if (would_block(errno)) {
            acme_rv_t rv = acme_net_wait(socket, 1, deadline, stop, err);

            if (rv != ACME_OK) {
                return rv;
            }
        }
        else if (errno != EINTR) {
            return acme_error_system(err, ACME_E_NETWORK, NULL, errno, "send");
        }
    }
    return ACME_OK;
}

acme_rv_t acme_net_read(apr_socket_t *socket, char *buffer, apr_size_t *len, apr_time_t deadline,
                        const acme_stop_t *stop, acme_error_t *err)
{
    apr_os_sock_t fd = -1;

    apr_os_sock_get(&fd, socket);
    for (;;) {
        ssize_t n = recv(fd, buffer, *len, 0);
        acme_rv_t rv;

        if (n >= 0) {
            *len = (apr_size_t)n;
            return ACME_OK;
        }
        if (errno == EINTR) {
            continue;
        }
        if (!would_block(errno)) {
            return acme_error_system(err, ACME_E_NETWORK, NULL, errno, "receive");
        }
        rv = acme_net_wait(socket, 0, deadline, stop, err);
        if (rv != ACME_OK) {
            return rv;
        }
    }
}
