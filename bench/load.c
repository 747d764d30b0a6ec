/* Licensed under the Apache License, Version 2.0; see LICENSE. */

/* Full TLS handshakes, a new connection each, never resumed; with -g one GET as well.
 *
 *   load -p PORT -n NAME [-a ADDRESS] [-c COUNT] [-t THREADS] [-d MILLISECONDS] [-r PER SECOND]
 *        [-g] [-v 12|13] [-l FILE]
 *
 * Names: NAME, or with -c the names d0.NAME ... dCOUNT-1.NAME in turn. With -r connections are due
 * at fixed moments, whether the former ones have ended or not, and a connection that begins late
 * because no thread was free has waited since it was due; without, each thread begins the next when
 * it is done. FILE gets a line per connection, in no order:
 *
 *   START MICROSECONDS OK STATUS SERIAL      (START: microseconds since 1970)
 *
 * A JSON object with the sums goes to standard output. */

#define _GNU_SOURCE

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include <openssl/err.h>
#include <openssl/ssl.h>

#define OPTIONS "a:p:n:c:t:d:r:gv:l:"
#define THREADS_MAX 2000
#define TIMEOUT_S 20
#define STACK (256 * 1024)

typedef struct {
    long long start, took; /* microseconds */
    int ok, status;
    char serial[24];
} sample_t;

typedef struct {
    long index; /* of the next connection */
    sample_t *samples;
    long used, room;
    pthread_t id;
} thread_t;

static struct {
    struct sockaddr_in to;
    const char *name;
    long names, threads, duration, rate;
    int get, version; /* 0: the highest */
    const char *log;
    SSL_CTX *ctx;
    long long began; /* monotonic microseconds */
} load = {.names = 1, .threads = 4, .duration = 1000};

static void usage(void)
{
    fprintf(stderr, "usage: load -p PORT -n NAME [-a ADDRESS] [-c COUNT] [-t THREADS] "
                    "[-d MILLISECONDS] [-r PER SECOND] [-g] [-v 12|13] [-l FILE]\n");
    exit(2);
}

static long number(const char *text, long max)
{
    long n = 0;

    if (*text == '\0') {
        usage();
    }
    for (; *text != '\0'; text++) {
        if (*text < '0' || *text > '9' || n > max) {
            usage();
        }
        n = n * 10 + (*text - '0');
    }
    if (n > max) {
        usage();
    }
    return n;
}

static long long clock_us(clockid_t clock)
{
    struct timespec t;

    clock_gettime(clock, &t);
    return (long long)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

/* ---- one connection ---- */

static int connected(void)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct timeval limit = {TIMEOUT_S, 0};
    struct linger reset = {1, 0}; /* no TIME_WAIT: ports would run out */
    int on = 1;

    if (fd < 0) {
        return -1;
    }
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
    if (connect(fd, (const struct sockaddr *)&load.to, sizeof(load.to)) != 0) {
        close(fd);
        return -1;
    }
    return fd;
}

/* The last digits tell certificates apart. */
static void note_serial(sample_t *sample, SSL *ssl)
{
    X509 *cert = SSL_get1_peer_certificate(ssl);
    BIGNUM *serial = cert != NULL ? ASN1_INTEGER_to_BN(X509_get0_serialNumber(cert), NULL) : NULL;
    char *hex = serial != NULL ? BN_bn2hex(serial) : NULL;
    size_t len = hex != NULL ? strlen(hex) : 0;
    size_t keep = sizeof(sample->serial) - 1;

    snprintf(sample->serial, sizeof(sample->serial), "%s",
             hex == NULL ? "-" : len > keep ? hex + len - keep : hex);
    OPENSSL_free(hex);
    BN_free(serial);
    X509_free(cert);
}

/* Status of the answer, 0: none. Reads to the end. */
static int get(SSL *ssl, const char *name)
{
    char bytes[4096];
    int n, len = snprintf(bytes, sizeof(bytes),
                          "GET / HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", name);
    int status = 0, first = 1;

    if (SSL_write(ssl, bytes, len) != len) {
        return 0;
    }
    for (n = SSL_read(ssl, bytes, sizeof(bytes)); n > 0; n = SSL_read(ssl, bytes, sizeof(bytes))) {
        if (first && n > 12 && memcmp(bytes, "HTTP/1.", 7) == 0) {
            status = (bytes[9] - '0') * 100 + (bytes[10] - '0') * 10 + (bytes[11] - '0');
        }
        first = 0;
    }
    return status;
}

/* due: when it should have begun, at the latest now. */
static void one(sample_t *sample, long index, long long due)
{
    char name[300];
    SSL *ssl = NULL;
    int fd;

    memset(sample, 0, sizeof(*sample));
    sample->start = clock_us(CLOCK_REALTIME) - (clock_us(CLOCK_MONOTONIC) - due);
    snprintf(sample->serial, sizeof(sample->serial), "-");
    if (load.names > 1) {
        snprintf(name, sizeof(name), "d%ld.%s", index % load.names, load.name);
    }
    else {
        snprintf(name, sizeof(name), "%s", load.name);
    }
    fd = connected();
    if (fd < 0) {
        goto out;
    }
    ssl = SSL_new(load.ctx);
    if (ssl == NULL || SSL_set_fd(ssl, fd) != 1 || SSL_set_tlsext_host_name(ssl, name) != 1
        || SSL_connect(ssl) != 1) {
        goto out;
    }
    if (load.log != NULL) {
        note_serial(sample, ssl);
    }
    sample->status = load.get ? get(ssl, name) : 0;
    sample->ok = !load.get || sample->status != 0;

out:
    SSL_free(ssl);
    if (fd >= 0) {
        close(fd);
    }
    ERR_clear_error();
    sample->took = clock_us(CLOCK_MONOTONIC) - due;
}

/* ---- threads ---- */

static sample_t *room(thread_t *thread)
{
    if (thread->used == thread->room) {
        thread->room = thread->room * 2 + 256;
        thread->samples = realloc(thread->samples, (size_t)thread->room * sizeof(sample_t));
        if (thread->samples == NULL) {
            perror("load");
            exit(1);
        }
    }
    return thread->samples + thread->used++;
}

static void *run(void *data)
{
    long long end = load.began + load.duration * 1000, due, wait;
    thread_t *thread = data;

    for (;; thread->index += load.threads) {
        due = load.rate > 0 ? load.began + thread->index * 1000000 / load.rate
                            : clock_us(CLOCK_MONOTONIC);
        if (due >= end) {
            return NULL;
        }
        wait = due - clock_us(CLOCK_MONOTONIC);
        if (wait > 0) {
            struct timespec pause = {wait / 1000000, wait % 1000000 * 1000};

            nanosleep(&pause, NULL);
        }
        one(room(thread), thread->index, due);
    }
}

static int by_time(const void *a, const void *b)
{
    const sample_t *x = a, *y = b;

    return x->took < y->took ? -1 : x->took > y->took;
}

static void report(thread_t *threads)
{
    double seconds = (double)(clock_us(CLOCK_MONOTONIC) - load.began) / 1e6;
    FILE *file = load.log != NULL ? fopen(load.log, "w") : NULL;
    sample_t *all = NULL;
    long n = 0, ok = 0, i, k;

    for (i = 0; i < load.threads; i++) {
        n += threads[i].used;
    }
    all = malloc((size_t)(n + 1) * sizeof(*all));
    if (all == NULL || (load.log != NULL && file == NULL)) {
        perror("load");
        exit(1);
    }
    for (i = 0; i < load.threads; i++) {
        for (k = 0; k < threads[i].used; k++) {
            const sample_t *s = threads[i].samples + k;

            if (file != NULL) {
                fprintf(file, "%lld %lld %d %d %s\n", s->start, s->took, s->ok, s->status,
                        s->serial);
            }
            if (s->ok) {
                all[ok++] = *s;
            }
        }
    }
    if (file != NULL && fclose(file) != 0) {
        perror("load");
        exit(1);
    }
    qsort(all, (size_t)ok, sizeof(*all), by_time);
    printf("{\"ok\": %ld, \"failed\": %ld, \"seconds\": %.3f, \"per_s\": %.1f, \"p50_ms\": %.3f, "
           "\"p99_ms\": %.3f, \"max_ms\": %.3f}\n", ok, n - ok, seconds, (double)ok / seconds,
           ok > 0 ? (double)all[ok / 2].took / 1000 : 0.0,
           ok > 0 ? (double)all[ok * 99 / 100].took / 1000 : 0.0,
           ok > 0 ? (double)all[ok - 1].took / 1000 : 0.0);
    free(all);
}

static void option(int letter, const char *value)
{
    switch (letter) {
    case 'a':
        if (inet_pton(AF_INET, value, &load.to.sin_addr) != 1) {
            usage();
        }
        return;
    case 'p':
        load.to.sin_port = htons((in_port_t)number(value, 65535));
        return;
    case 'n':
        load.name = value;
        return;
    case 'c':
        load.names = number(value, 1000000);
        return;
    case 't':
        load.threads = number(value, THREADS_MAX);
        return;
    case 'd':
        load.duration = number(value, 86400000);
        return;
    case 'r':
        load.rate = number(value, 100000);
        return;
    case 'g':
        load.get = 1;
        return;
    case 'v':
        load.version = number(value, 13) == 12 ? TLS1_2_VERSION : TLS1_3_VERSION;
        return;
    case 'l':
        load.log = value;
        return;
    default:
        usage();
    }
}

static void options(int argc, char **argv)
{
    int letter;

    load.to.sin_family = AF_INET;
    load.to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    for (letter = getopt(argc, argv, OPTIONS); letter != -1; letter = getopt(argc, argv, OPTIONS)) {
        option(letter, optarg);
    }
    if (load.to.sin_port == 0 || load.name == NULL || load.threads < 1 || load.names < 1) {
        usage();
    }
    load.ctx = SSL_CTX_new(TLS_client_method());
    if (load.ctx == NULL || SSL_CTX_set_min_proto_version(load.ctx, load.version) != 1
        || SSL_CTX_set_max_proto_version(load.ctx, load.version) != 1) {
        ERR_print_errors_fp(stderr);
        exit(1);
    }
    SSL_CTX_set_session_cache_mode(load.ctx, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_quiet_shutdown(load.ctx, 1);
}

int main(int argc, char **argv)
{
    thread_t *threads;
    pthread_attr_t attr;
    long i;

    signal(SIGPIPE, SIG_IGN);
    options(argc, argv);
    threads = calloc((size_t)load.threads, sizeof(*threads));
    if (threads == NULL || pthread_attr_init(&attr) != 0) {
        perror("load");
        return 1;
    }
    pthread_attr_setstacksize(&attr, STACK);
    load.began = clock_us(CLOCK_MONOTONIC);
    for (i = 0; i < load.threads; i++) {
        threads[i].index = i;
        errno = pthread_create(&threads[i].id, &attr, run, threads + i);
        if (errno != 0) {
            perror("load: thread");
            return 1;
        }
    }
    for (i = 0; i < load.threads; i++) {
        pthread_join(threads[i].id, NULL);
    }
    report(threads);
    return 0;
}
