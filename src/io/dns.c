/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#include "io/dns.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <apr_general.h>
#include <apr_strings.h>

#include "io/net.h"
#include "protocol/dns.h"

#define RESOLV_CONF "/etc/resolv.conf"
#define RESOLV_CONF_MAX (64 * 1024)
#define DNS_PORT 53
#define TURN apr_time_from_msec(20)   /* while replies are on their way */
#define REPLY_UDP apr_time_from_msec(1500)
#define REPLY_TCP apr_time_from_sec(4)
#define TRIES 2                       /* over UDP */
#define STRAYS_MAX 32                 /* replies to something else, before a try is given up */
#define ALIASES_MAX 8
#define NAMES_MAX 8                   /* name servers of a zone that are asked */
#define SILENT_LOOKS 3
#define FOUND_SIZE 600
#define UDP_MAX 4096

#if defined(SOCK_CLOEXEC) && defined(SOCK_NONBLOCK)
#define ATOMIC_FLAGS (SOCK_CLOEXEC | SOCK_NONBLOCK)
#else
#define ATOMIC_FLAGS 0
#endif

typedef enum { Q_NEW, Q_UDP, Q_CONNECT, Q_TCP, Q_DONE, Q_FAILED, Q_UNREACHABLE } query_state_t;

/* One question to one address. */
typedef struct {
    const char *server;   /* name of the server, for people */
    const char *address;
    const char *name;     /* asked for */
    acme_dns_type_t type;
    int recurse;
    query_state_t state;
    apr_uint16_t id;
    int fd, tries;
    int strays;           /* of this try */
    apr_time_t deadline;  /* of acme_net_now */
    unsigned char *reply; /* TCP: two bytes of length and the message */
    apr_size_t have, size;
    acme_dns_reply_t *got;
    const char *why;      /* it failed */
} query_t;

typedef enum { LOOK_PAUSE, LOOK_ALIAS, LOOK_ZONE, LOOK_SERVERS, LOOK_ADDRESSES, LOOK_TEXT } look_t;

struct acme_dns_watch_t {
    acme_dns_watch_conf_t conf;
    apr_pool_t *pool, *look_pool; /* the latter is cleared before each look */
    look_t look;
    query_t queries[2 * ACME_DNS_SERVERS_MAX];
    int n_queries;
    const char *resolver[ACME_DNS_RESOLVERS_MAX];
    int n_resolvers, resolver_at;
    const char *target;   /* behind the aliases */
    const char *cut;      /* name whose zone is looked for */
    const char *zone;
    int aliases, looks;
    apr_time_t next;      /* look, of acme_net_now */
    int silent;           /* looks in which a server said nothing */
    char found[FOUND_SIZE];
};

/* ---- one question ---- */

static void query_close(query_t *q)
{
    if (q->fd >= 0) {
        close(q->fd);
        q->fd = -1;
    }
}

static void query_failed(query_t *q, query_state_t state, const char *why)
{
    query_close(q);
    q->state = state;
    q->why = why;
}

static socklen_t sockaddr_of(struct sockaddr_storage *out, const char *address, apr_port_t port)
{
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)out;
    struct sockaddr_in *v4 = (struct sockaddr_in *)out;

    memset(out, 0, sizeof(*out));
    if (inet_pton(AF_INET, address, &v4->sin_addr) == 1) {
        v4->sin_family = AF_INET;
        v4->sin_port = htons(port);
        return sizeof(*v4);
    }
    if (inet_pton(AF_INET6, address, &v6->sin6_addr) == 1) {
        v6->sin6_family = AF_INET6;
        v6->sin6_port = htons(port);
        return sizeof(*v6);
    }
    return 0;
}

static int unreachable(int error)
{
    return error == ENETUNREACH || error == EHOSTUNREACH || error == EAFNOSUPPORT
           || error == EADDRNOTAVAIL || error == EACCES || error == EPERM;
}

static void query_errno(query_t *q, int error, apr_pool_t *pool)
{
    char text[120];

    query_failed(q, unreachable(error) ? Q_UNREACHABLE : Q_FAILED,
                 apr_pstrdup(pool, apr_strerror(error, text, sizeof(text))));
}

/* 0: connected, or about to be. */
static int query_socket(query_t *q, int type, apr_port_t port)
{
    struct sockaddr_storage to;
    socklen_t len = sockaddr_of(&to, q->address, port);

    query_close(q);
    if (len == 0) {
        return EAFNOSUPPORT;
    }
    q->fd = socket(to.ss_family, type | ATOMIC_FLAGS, 0);
    if (q->fd < 0) {
        return errno;
    }
    if (!ATOMIC_FLAGS
        && (fcntl(q->fd, F_SETFD, FD_CLOEXEC) != 0 || fcntl(q->fd, F_SETFL, O_NONBLOCK) != 0)) {
        return errno;
    }
    return connect(q->fd, (struct sockaddr *)&to, len) == 0 || errno == EINPROGRESS ? 0 : errno;
}

static apr_uint16_t random_id(void)
{
    unsigned char bytes[2] = {0, 0};

    (void)apr_generate_random_bytes(bytes, sizeof(bytes));
    return (apr_uint16_t)(bytes[0] << 8 | bytes[1]);
}

/* Every try has a socket, so a port, and an id of its own. */
static void send_udp(query_t *q, apr_port_t port, apr_pool_t *pool)
{
    unsigned char message[ACME_DNS_QUERY_MAX];
    apr_size_t len;
    int error;

    q->id = random_id();
    len = acme_dns_query(message, q->id, q->name, q->type, q->recurse);
    if (len == 0) {
        query_failed(q, Q_FAILED, "no name that can be asked for");
        return;
    }
    error = query_socket(q, SOCK_DGRAM, port);
    if (error == 0 && send(q->fd, message, len, MSG_NOSIGNAL) < 0) {
        error = errno;
    }
    if (error != 0) {
        query_errno(q, error, pool);
        return;
    }
    q->tries++;
    q->strays = 0;
    q->state = Q_UDP;
    q->deadline = acme_net_now() + REPLY_UDP;
}

static void begin_tcp(query_t *q, apr_port_t port, apr_pool_t *pool)
{
    int error = query_socket(q, SOCK_STREAM, port);

    if (error != 0) {
        query_errno(q, error, pool);
        return;
    }
    q->state = Q_CONNECT;
    q->deadline = acme_net_now() + REPLY_TCP;
}

/* A message this short is sent whole or not at all. */
static void send_tcp(query_t *q, apr_pool_t *pool)
{
    unsigned char message[2 + ACME_DNS_QUERY_MAX];
    apr_size_t len = acme_dns_query(message + 2, q->id, q->name, q->type, q->recurse);

    message[0] = (unsigned char)(len >> 8);
    message[1] = (unsigned char)(len & 0xff);
    if (send(q->fd, message, len + 2, MSG_NOSIGNAL) != (ssize_t)len + 2) {
        query_errno(q, errno, pool);
        return;
    }
    q->size = 2 + ACME_DNS_MESSAGE_MAX;
    q->reply = apr_palloc(pool, q->size);
    q->have = 0;
    q->state = Q_TCP;
}

/* ACME_AGAIN: not the one that is waited for. */
static acme_rv_t query_reply(query_t *q, const unsigned char *data, apr_size_t len, apr_port_t port,
                             apr_pool_t *pool)
{
    acme_rv_t rv = acme_dns_reply_parse(&q->got, data, len, q->id, q->name, q->type, pool, NULL);

    if (rv == ACME_AGAIN) {
        return rv;
    }
    if (rv == ACME_FAIL) {
        query_failed(q, Q_FAILED, "its reply cannot be read");
    }
    else if (q->got->truncated && q->state == Q_UDP) {
        begin_tcp(q, port, pool);
    }
    else if (q->got->truncated) {
        query_failed(q, Q_FAILED, "its reply is cut short over TCP");
    }
    else {
        query_close(q);
        q->state = Q_DONE;
    }
    return ACME_OK;
}

/* Who floods the port must get neither this thread nor its memory, nor many guesses at the id. */
static void read_udp(query_t *q, apr_port_t port, apr_pool_t *pool)
{
    unsigned char message[UDP_MAX];
    ssize_t n;

    do {
        n = recv(q->fd, message, sizeof(message), 0);
        if (n >= 0 && query_reply(q, message, (apr_size_t)n, port, pool) == ACME_OK) {
            return;
        }
        if (n >= 0 && ++q->strays > STRAYS_MAX) {
            q->deadline = 0; /* another try, or none */
            return;
        }
    } while (n >= 0 || errno == EINTR);
    if (errno != EAGAIN && errno != EWOULDBLOCK) {
        query_errno(q, errno, pool);
    }
}

static void read_tcp(query_t *q, apr_port_t port, apr_pool_t *pool)
{
    apr_size_t want;
    ssize_t n;

    do {
        want = q->have < 2 ? 2 : 2 + ((apr_size_t)q->reply[0] << 8 | q->reply[1]);
        if (q->have >= 2 && q->have == want) {
            if (query_reply(q, q->reply + 2, want - 2, port, pool) != ACME_OK) {
                query_failed(q, Q_FAILED, "its reply is to another question");
            }
            return;
        }
        n = recv(q->fd, q->reply + q->have, want - q->have, 0);
        q->have += n > 0 ? (apr_size_t)n : 0;
    } while (n > 0 || (n < 0 && errno == EINTR));
    if (n == 0) {
        query_failed(q, Q_FAILED, "the connection was closed");
    }
    else if (errno != EAGAIN && errno != EWOULDBLOCK) {
        query_errno(q, errno, pool);
    }
}

static void check_connected(query_t *q, apr_pool_t *pool)
{
    struct pollfd p = {q->fd, POLLOUT, 0};
    socklen_t len = sizeof(int);
    int error = 0;

    if (poll(&p, 1, 0) <= 0) {
        return;
    }
    if (getsockopt(q->fd, SOL_SOCKET, SO_ERROR, &error, &len) != 0) {
        error = errno;
    }
    if (error != 0) {
        query_errno(q, error, pool);
        return;
    }
    send_tcp(q, pool);
}

static int query_ended(const query_t *q)
{
    return q->state == Q_DONE || q->state == Q_FAILED || q->state == Q_UNREACHABLE;
}

static void query_step(query_t *q, apr_port_t port, apr_pool_t *pool)
{
    switch (q->state) {
    case Q_NEW:
        send_udp(q, port, pool);
        break;
    case Q_UDP:
        read_udp(q, port, pool);
        break;
    case Q_CONNECT:
        check_connected(q, pool);
        break;
    case Q_TCP:
        read_tcp(q, port, pool);
        break;
    case Q_DONE:
    case Q_FAILED:
    case Q_UNREACHABLE:
        return;
    }
    if (query_ended(q) || acme_net_now() < q->deadline) {
        return;
    }
    if (q->state == Q_UDP && q->tries < TRIES) {
        send_udp(q, port, pool);
    }
    else {
        query_failed(q, Q_FAILED, "no answer");
    }
}

/* ---- a look ---- */

static void close_all(acme_dns_watch_t *w)
{
    int i;

    for (i = 0; i < w->n_queries; i++) {
        query_close(&w->queries[i]);
    }
    w->n_queries = 0;
}

static void add_query(acme_dns_watch_t *w, const char *server, const char *address,
                      const char *name, acme_dns_type_t type, int recurse)
{
    query_t *q = &w->queries[w->n_queries];

    if (w->n_queries == 2 * ACME_DNS_SERVERS_MAX) {
        return;
    }
    memset(q, 0, sizeof(*q));
    q->fd = -1;
    q->server = server;
    q->address = address;
    q->name = name;
    q->type = type;
    q->recurse = recurse;
    w->n_queries++;
}

static void ask_resolver(acme_dns_watch_t *w, look_t look, const char *name, acme_dns_type_t type)
{
    if (w->look != look) {
        close_all(w);
        w->look = look;
    }
    add_query(w, "resolver", w->resolver[w->resolver_at], name, type, 1);
}

static const char *read_file(apr_size_t *len, const char *path, apr_pool_t *pool)
{
    char *text = apr_palloc(pool, RESOLV_CONF_MAX);
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    ssize_t n = -1;

    *len = 0;
    if (fd < 0) {
        return text;
    }
    do {
        n = read(fd, text + *len, RESOLV_CONF_MAX - *len);
        *len += n > 0 ? (apr_size_t)n : 0;
    } while (n > 0 || (n < 0 && errno == EINTR));
    close(fd);
    return text;
}

static void begin_look(acme_dns_watch_t *w)
{
    const char *path = w->conf.resolv_conf != NULL ? w->conf.resolv_conf : RESOLV_CONF;
    const char *text;
    apr_size_t len;

    close_all(w);
    apr_pool_clear(w->look_pool);
    text = read_file(&len, path, w->look_pool);
    w->n_resolvers = acme_dns_resolvers(w->resolver, text, len, w->look_pool);
    w->resolver_at = 0;
    w->aliases = 0;
    w->target = w->conf.record;
    w->zone = NULL;
    ask_resolver(w, LOOK_ALIAS, w->target, ACME_DNS_CNAME);
}

/* The first looks follow each other quickly: most servers show it at once. */
static acme_rv_t look_over(acme_dns_watch_t *w)
{
    static const int pauses[] = {300, 700, 1500, 3000, 5000}; /* ms */
    const int last = (int)(sizeof(pauses) / sizeof(pauses[0])) - 1;

    close_all(w);
    w->look = LOOK_PAUSE;
    w->next = acme_net_now() + apr_time_from_msec(pauses[w->looks < last ? w->looks : last]);
    w->looks++;
    return ACME_AGAIN;
}

static acme_rv_t look_failed(acme_dns_watch_t *w, const char *what, const char *why)
{
    const query_t *q = &w->queries[0];
    char text[FOUND_SIZE];

    apr_snprintf(text, sizeof(text), "%s %s: resolver %s: %s", what, q->name, q->address, why);
    acme_printable(w->found, sizeof(w->found), text, -1);
    return look_over(w);
}

/* ACME_OK: the resolver's reply is there. ACME_AGAIN: another one is asked, or the look is over. */
static acme_rv_t resolved(acme_dns_watch_t *w, const char *what)
{
    query_t *q = &w->queries[0];
    const char *name = q->name;
    acme_dns_type_t type = q->type;

    if (q->state == Q_DONE && (q->got->rcode == 0 || q->got->rcode == 3)) {
        return ACME_OK;
    }
    if (w->resolver_at + 1 < w->n_resolvers) {
        w->resolver_at++;
        w->n_queries = 0;
        ask_resolver(w, w->look, name, type);
        return ACME_AGAIN;
    }
    return look_failed(w, what, q->state == Q_DONE ? acme_dns_rcode_name(q->got->rcode) : q->why);
}

static const acme_dns_record_t *find(const apr_array_header_t *records, const char *owner,
                                     acme_dns_type_t type)
{
    int i;

    for (i = 0; i < records->nelts; i++) {
        const acme_dns_record_t *r = &APR_ARRAY_IDX(records, i, const acme_dns_record_t);

        if (r->type == type && strcmp(r->owner, owner) == 0) {
            return r;
        }
    }
    return NULL;
}

static acme_rv_t take_alias(acme_dns_watch_t *w)
{
    const acme_dns_record_t *alias;

    if (resolved(w, "alias of") != ACME_OK) {
        return ACME_AGAIN;
    }
    alias = find(w->queries[0].got->answers, w->target, ACME_DNS_CNAME);
    if (alias != NULL && ++w->aliases > ALIASES_MAX) {
        return look_failed(w, "alias of", "too many in a row");
    }
    if (alias != NULL) {
        w->target = alias->name;
        w->n_queries = 0;
        ask_resolver(w, LOOK_ALIAS, w->target, ACME_DNS_CNAME);
        return ACME_AGAIN;
    }
    w->cut = w->target;
    ask_resolver(w, LOOK_ZONE, w->cut, ACME_DNS_SOA);
    return ACME_AGAIN;
}

/* The zone's SOA comes as the answer, or with "there is none". */
static const char *zone_of(const acme_dns_reply_t *reply, const char *name)
{
    const acme_dns_record_t *soa = find(reply->answers, name, ACME_DNS_SOA);
    int i;

    for (i = 0; soa == NULL && i < reply->authority->nelts; i++) {
        const acme_dns_record_t *r = &APR_ARRAY_IDX(reply->authority, i, const acme_dns_record_t);

        soa = r->type == ACME_DNS_SOA && acme_dns_within(name, r->owner) ? r : NULL;
    }
    return soa != NULL && *soa->owner != '\0' ? soa->owner : NULL;
}

static acme_rv_t take_zone(acme_dns_watch_t *w)
{
    const char *dot;

    if (resolved(w, "zone of") != ACME_OK) {
        return ACME_AGAIN;
    }
    w->zone = zone_of(w->queries[0].got, w->cut);
    if (w->zone != NULL) {
        ask_resolver(w, LOOK_SERVERS, w->zone, ACME_DNS_NS);
        return ACME_AGAIN;
    }
    dot = strchr(w->cut, '.');
    if (dot == NULL) {
        return look_failed(w, "zone of", "it knows none");
    }
    w->cut = dot + 1;
    w->n_queries = 0;
    ask_resolver(w, LOOK_ZONE, w->cut, ACME_DNS_SOA);
    return ACME_AGAIN;
}

static acme_rv_t take_servers(acme_dns_watch_t *w)
{
    const acme_dns_reply_t *reply;
    int i, n = 0;

    if (resolved(w, "servers of") != ACME_OK) {
        return ACME_AGAIN;
    }
    reply = w->queries[0].got;
    for (i = 0; i < reply->answers->nelts && n < NAMES_MAX; i++) {
        const acme_dns_record_t *r = &APR_ARRAY_IDX(reply->answers, i, const acme_dns_record_t);

        if (r->type == ACME_DNS_NS && strcmp(r->owner, w->zone) == 0) {
            ask_resolver(w, LOOK_ADDRESSES, r->name, ACME_DNS_A);
            ask_resolver(w, LOOK_ADDRESSES, r->name, ACME_DNS_AAAA);
            n++;
        }
    }
    return n > 0 ? ACME_AGAIN : look_failed(w, "servers of", "it knows none");
}

typedef struct {
    const char *server, *address;
} server_t;

static const char *address_text(const acme_dns_address_t *address, apr_pool_t *pool)
{
    char text[INET6_ADDRSTRLEN];

    return apr_pstrdup(pool, inet_ntop(address->v6 ? AF_INET6 : AF_INET, address->bytes, text,
                                       sizeof(text)));
}

/* What an alias of a server's name leads to stands in the answer as well. */
static int add_servers(server_t *servers, int n, const query_t *q, apr_pool_t *pool)
{
    int i;

    for (i = 0; q->state == Q_DONE && i < q->got->answers->nelts; i++) {
        const acme_dns_record_t *r
            = &APR_ARRAY_IDX(q->got->answers, i, const acme_dns_record_t);

        if (r->type == q->type && n < ACME_DNS_SERVERS_MAX) {
            servers[n].server = q->name;
            servers[n++].address = address_text(&r->address, pool);
        }
    }
    return n;
}

static acme_rv_t take_addresses(acme_dns_watch_t *w)
{
    server_t servers[ACME_DNS_SERVERS_MAX];
    int i, n = 0;

    for (i = 0; i < w->n_queries; i++) {
        n = add_servers(servers, n, &w->queries[i], w->look_pool);
    }
    if (n == 0) {
        return look_failed(w, "address of", "it knows none");
    }
    close_all(w);
    w->look = LOOK_TEXT;
    for (i = 0; i < n; i++) {
        add_query(w, servers[i].server, servers[i].address, w->target, ACME_DNS_TXT, 0);
    }
    return ACME_AGAIN;
}

/* ---- what came of it ---- */

typedef enum { SHOWN, NOT_THERE, SILENT, BEYOND_REACH } verdict_t;

static verdict_t verdict(const acme_dns_watch_t *w, const query_t *q)
{
    int i;

    if (q->state != Q_DONE) {
        return q->state == Q_UNREACHABLE ? BEYOND_REACH : SILENT;
    }
    for (i = 0; i < q->got->answers->nelts; i++) {
        const acme_dns_record_t *r
            = &APR_ARRAY_IDX(q->got->answers, i, const acme_dns_record_t);

        if (r->type == ACME_DNS_TXT && strcmp(r->owner, w->target) == 0
            && w->conf.wanted(w->conf.baton, r->text, r->text_len)) {
            return SHOWN;
        }
    }
    return NOT_THERE;
}

static void note(acme_dns_watch_t *w, const query_t *q, verdict_t what)
{
    apr_size_t used = strlen(w->found);
    const char *word = what == SHOWN ? "there"
                       : what != NOT_THERE ? q->why
                       : q->got->rcode == 0 || q->got->rcode == 3
                           ? "not there" : acme_dns_rcode_name(q->got->rcode);

    apr_snprintf(w->found + used, sizeof(w->found) - used, "%s%s (%s): %s", used > 0 ? "; " : "",
                 q->server, q->address, word);
}

static acme_rv_t take_text(acme_dns_watch_t *w)
{
    int i, n[BEYOND_REACH + 1] = {0, 0, 0, 0};

    w->found[0] = '\0';
    for (i = 0; i < w->n_queries; i++) {
        verdict_t what = verdict(w, &w->queries[i]);

        n[what]++;
        note(w, &w->queries[i], what);
    }
    w->silent = n[SILENT] > 0 ? w->silent + 1 : 0;
    (void)look_over(w);
    return n[SHOWN] > 0 && n[NOT_THERE] == 0 && (n[SILENT] == 0 || w->silent >= SILENT_LOOKS)
               ? ACME_OK : ACME_AGAIN;
}

static acme_rv_t (*const takes[])(acme_dns_watch_t *w) = {
    [LOOK_ALIAS] = take_alias,
    [LOOK_ZONE] = take_zone,
    [LOOK_SERVERS] = take_servers,
    [LOOK_ADDRESSES] = take_addresses,
    [LOOK_TEXT] = take_text,
};

/* ---- the watch ---- */

static apr_status_t watch_cleanup(void *data)
{
    close_all(data);
    return APR_SUCCESS;
}

acme_rv_t acme_dns_watch_create(acme_dns_watch_t **out, const acme_dns_watch_conf_t *conf,
                                apr_pool_t *pool, acme_error_t *err)
{
    acme_dns_watch_t *w = apr_pcalloc(pool, sizeof(*w));

    *out = NULL;
    w->conf = *conf;
    w->conf.port = conf->port != 0 ? conf->port : DNS_PORT;
    w->pool = pool;
    if (apr_pool_create(&w->look_pool, pool) != APR_SUCCESS) {
        return acme_error_set(err, ACME_E_INTERNAL, "AC0435", "no memory to look at the DNS");
    }
    apr_cpystrn(w->found, "nothing was asked yet", sizeof(w->found));
    apr_pool_cleanup_register(pool, w, watch_cleanup, apr_pool_cleanup_null);
    *out = w;
    return ACME_OK;
}

acme_rv_t acme_dns_watch_poll(acme_dns_watch_t *w, apr_interval_time_t *delay)
{
    apr_time_t now = acme_net_now();
    acme_rv_t rv;
    int i, open = 0;

    if (w->look == LOOK_PAUSE && now < w->next) {
        *delay = w->next - now;
        return ACME_AGAIN;
    }
    if (w->look == LOOK_PAUSE) {
        begin_look(w);
    }
    for (i = 0; i < w->n_queries; i++) {
        query_step(&w->queries[i], w->conf.port, w->look_pool);
        open += !query_ended(&w->queries[i]);
    }
    rv = open == 0 ? takes[w->look](w) : ACME_AGAIN;
    now = acme_net_now();
    *delay = w->look == LOOK_PAUSE && w->next > now ? w->next - now : TURN;
    return rv;
}

int acme_dns_watch_looks(const acme_dns_watch_t *w)
{
    return w->looks;
}

const char *acme_dns_watch_found(const acme_dns_watch_t *w)
{
    return w->found;
}
