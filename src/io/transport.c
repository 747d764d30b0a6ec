/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#include "io/transport.h"

#include <string.h>
#include <apr_base64.h>
#include <apr_file_info.h>
#include <apr_strings.h>
#include <apr_thread_mutex.h>

#define TIMEOUT apr_time_from_sec(60)
#define SILENCE apr_time_from_sec(30)
#define IDLE_MAX 8
#define IDLE_CAP 64
#define IDLE_TIME apr_time_from_sec(30)
#define READ_SIZE 8192

/* Trust anchors as loaded at one moment; freed with their last connection. */
typedef struct {
    acme_tls_trust_t *tls;
    apr_pool_t *pool;
    int refs;
    apr_time_t mtime;
    apr_off_t size;
    apr_ino_t inode;
} trust_t;

/* A connection has a pool of its own, outside all others: it moves between threads. */
typedef struct {
    apr_pool_t *pool;
    trust_t *trust;
    apr_socket_t *socket;
    acme_tls_t *tls;
    const char *host;
    apr_port_t port;
    apr_time_t since; /* idle since */
    int reused;
} connection_t;

struct acme_transport_t {
    acme_transport_conf_t conf;
    apr_thread_mutex_t *mutex;  /* guards all below */
    trust_t *trust;             /* newest, or NULL */
    connection_t *idle[IDLE_CAP];
    int n_idle;                 /* oldest first */
    apr_uint32_t exchanges, connections;
};

/* One exchange on its way. */
typedef struct {
    acme_transport_t *transport;
    const acme_http_request_t *request;
    const char *bytes;
    apr_size_t len, body_max;
    apr_time_t deadline;
    const acme_stop_t *stop;
    apr_pool_t *pool;
    acme_http_response_t *response;
    int sent;                   /* a byte of the request may have left */
} exchange_t;

/* ---- trust ---- */

/* The caller holds the mutex, or is the last one to know the transport. */
static void trust_leave(trust_t *trust)
{
    if (trust && --trust->refs == 0) {
        apr_pool_destroy(trust->pool);
    }
}

static int trust_is_current(const trust_t *trust, const apr_finfo_t *info)
{
    return trust && trust->mtime == info->mtime && trust->size == info->size
           && trust->inode == info->inode;
}

static acme_rv_t trust_load(trust_t **out, const char *ca_file, const apr_finfo_t *info,
                            acme_error_t *err)
{
    apr_pool_t *pool = NULL;
    trust_t *trust;

    if (apr_pool_create_unmanaged_ex(&pool, NULL, NULL) != APR_SUCCESS) {
        return acme_error_set(err, ACME_E_INTERNAL, NULL, "out of memory");
    }
    trust = apr_pcalloc(pool, sizeof(*trust));
    trust->pool = pool;
    trust->refs = 1;
    trust->mtime = info->mtime;
    trust->size = info->size;
    trust->inode = info->inode;
    if (acme_tls_trust_create(&trust->tls, ca_file, pool, err) != ACME_OK) {
        apr_pool_destroy(pool);
        return ACME_FAIL;
    }
    *out = trust;
    return ACME_OK;
}

/* The trust anchors of this moment, with a reference for the caller. */
static acme_rv_t trust_join(trust_t **out, acme_transport_t *transport, apr_pool_t *scratch,
                            acme_error_t *err)
{
    const char *ca_file = transport->conf.ca_file;
    trust_t *fresh = NULL;
    acme_rv_t rv = ACME_OK;
    apr_finfo_t info;

    memset(&info, 0, sizeof(info));
    if (ca_file) {
        (void)apr_stat(&info, ca_file, APR_FINFO_MTIME | APR_FINFO_SIZE | APR_FINFO_INODE,
                       scratch);
    }
    apr_thread_mutex_lock(transport->mutex);
    if (!trust_is_current(transport->trust, &info)) {
        rv = trust_load(&fresh, ca_file, &info, err);
        trust_leave(transport->trust);
        transport->trust = fresh;
    }
    if (rv == ACME_OK) {
        transport->trust->refs++;
        *out = transport->trust;
    }
    apr_thread_mutex_unlock(transport->mutex);
    return rv;
}

/* ---- connections ---- */

/* Without the mutex: it may write to the network. */
static void connection_close(acme_transport_t *transport, connection_t *c)
{
    trust_t *trust = c->trust;

    apr_pool_destroy(c->pool);
    apr_thread_mutex_lock(transport->mutex);
    trust_leave(trust);
    apr_thread_mutex_unlock(transport->mutex);
}

static int connection_fits(const connection_t *c, const acme_url_t *url)
{
    return c->port == url->port && !strcmp(c->host, url->host);
}

/* The caller holds the mutex. */
static connection_t *idle_remove(acme_transport_t *transport, int i)
{
    connection_t *c = transport->idle[i];

    transport->n_idle--;
    memmove(&transport->idle[i], &transport->idle[i + 1],
            (size_t)(transport->n_idle - i) * sizeof(transport->idle[0]));
    return c;
}

/* Takes one out that is too old or relies on former trust anchors (all: any), or else the youngest
 * that fits url; *usable tells which. NULL: none. */
static connection_t *idle_pick(acme_transport_t *transport, const acme_url_t *url, int all,
                               int *usable)
{
    apr_time_t oldest = acme_net_now() - transport->conf.idle_time;
    connection_t *c = NULL;
    int i;

    *usable = 0;
    apr_thread_mutex_lock(transport->mutex);
    for (i = 0; i < transport->n_idle && !c; i++) {
        if (all || transport->idle[i]->since < oldest
            || transport->idle[i]->trust != transport->trust) {
            c = idle_remove(transport, i);
        }
    }
    for (i = transport->n_idle - 1; i >= 0 && !c; i--) {
        if (connection_fits(transport->idle[i], url)) {
            c = idle_remove(transport, i);
            *usable = 1;
        }
    }
    apr_thread_mutex_unlock(transport->mutex);
    return c;
}

/* A kept connection that is still good, or NULL. */
static connection_t *idle_take(acme_transport_t *transport, const acme_url_t *url)
{
    for (;;) {
        int usable = 0;
        connection_t *c = idle_pick(transport, url, 0, &usable);

        if (!c) {
            return NULL;
        }
        if (usable && acme_tls_idle_ok(c->tls)) {
            c->reused = 1;
            return c;
        }
        connection_close(transport, c);
    }
}

static void idle_put(acme_transport_t *transport, connection_t *c)
{
    connection_t *surplus = NULL;

    c->since = acme_net_now();
    apr_thread_mutex_lock(transport->mutex);
    if (transport->n_idle >= transport->conf.idle_max) {
        surplus = idle_remove(transport, 0);
    }
    transport->idle[transport->n_idle++] = c;
    apr_thread_mutex_unlock(transport->mutex);
    if (surplus) {
        connection_close(transport, surplus);
    }
}

/* ---- the proxy ---- */

/* The proxy's address has the form of a URL's; an explicit port is demanded, as there is no default
 * that people agree on. */
acme_rv_t acme_proxy_parse(acme_url_t **out, const char *text, apr_pool_t *pool,
                           acme_error_t *err)
{
    acme_error_t ignored;
    acme_url_t *url = NULL;

    acme_error_clear(&ignored);
    if (!strncmp(text, "http://", 7)
        && acme_url_parse(&url, apr_pstrcat(pool, "https://", text + 7, NULL), pool, &ignored)
               == ACME_OK
        && !strcmp(url->path, "/")) {
        const char *colon = strrchr(url->authority, ':');

        if (colon && !strchr(colon, ']')) {
            *out = url;
            return ACME_OK;
        }
    }
    /* Not repeated in the text: it may hold a password. */
    return acme_error_set(err, ACME_E_CONFIG, "AC0214",
                          "AcmeProxy cannot be used; wanted: http://host:port");
}

static acme_rv_t proxy_reply(acme_http_response_t *response, connection_t *c, apr_time_t deadline,
                             const acme_stop_t *stop, acme_error_t *err)
{
    apr_size_t total = 0;

    for (;;) {
        char buffer[1024];
        apr_size_t len = sizeof(buffer), used = 0;
        acme_rv_t rv = acme_net_read(c->socket, buffer, &len, deadline, stop, err);

        if (rv != ACME_OK) {
            return rv;
        }
        if (len == 0) {
            return acme_error_set(err, ACME_E_NETWORK, NULL, "closed the connection");
        }
        total += len;
        if (total > ACME_PROXY_REPLY_MAX) {
            return acme_error_set(err, ACME_E_HTTP, NULL, "reply over 16 KB");
        }
        rv = acme_http_response_feed(response, buffer, len, &used, err);
        if (rv == ACME_OK && used < len
            && acme_http_response_status(response) / 100 == 2) {
            return acme_error_set(err, ACME_E_SECURITY, NULL, "sent more than its reply");
        }
        if (rv != ACME_AGAIN) {
            return rv;
        }
    }
}

/* RFC 7617. */
static const char *proxy_authorization(const acme_transport_conf_t *conf, apr_pool_t *pool)
{
    apr_size_t len = conf->proxy_user ? strlen(conf->proxy_user) : 0;
    char *coded;

    if (len == 0 || len > ACME_PROXY_REPLY_MAX) {
        return "";
    }
    coded = apr_palloc(pool, (apr_size_t)apr_base64_encode_len((int)len));
    apr_base64_encode(coded, conf->proxy_user, (int)len);
    return apr_pstrcat(pool, "Proxy-Authorization: Basic ", coded, "\r\n", NULL);
}

static const char *proxy_status(const acme_transport_conf_t *conf, int status)
{
    return status != 407 ? "" : conf->proxy_user ? " (it does not take user and password)"
                                                 : " (it wants user and password)";
}

/* CONNECT (RFC 9110 section 9.3.6) on a fresh connection to the proxy. */
static acme_rv_t proxy_connect(connection_t *c, const acme_url_t *url, const exchange_t *x,
                               acme_error_t *err)
{
    acme_http_response_t *response = acme_http_response_create(1, 0, c->pool);
    const char *target = apr_psprintf(c->pool, strchr(url->host, ':') ? "[%s]:%u" : "%s:%u",
                                      url->host, (unsigned)url->port);
    const char *agent = x->transport->conf.user_agent;
    const char *bytes = apr_pstrcat(c->pool, "CONNECT ", target, " HTTP/1.1\r\nHost: ", target,
                                    "\r\n", agent ? "User-Agent: " : "", agent ? agent : "",
                                    agent ? "\r\n" : "",
                                    proxy_authorization(&x->transport->conf, c->pool), "\r\n",
                                    NULL);
    int status;

    if (acme_net_write(c->socket, bytes, strlen(bytes), x->deadline, x->stop, err) != ACME_OK
        || proxy_reply(response, c, x->deadline, x->stop, err) != ACME_OK) {
        return ACME_FAIL;
    }
    status = acme_http_response_status(response);
    if (status / 100 != 2) {
        return acme_error_set(err, ACME_E_NETWORK, NULL, "refused CONNECT %s with status %d%s",
                              target, status, proxy_status(&x->transport->conf, status));
    }
    return ACME_OK;
}

static acme_rv_t proxy_open(connection_t *c, const acme_url_t *url, const exchange_t *x,
                            acme_error_t *err)
{
    const char *text = x->transport->conf.proxy;
    acme_url_t *proxy = NULL;
    acme_error_t cause;

    acme_error_clear(&cause);
    if (acme_proxy_parse(&proxy, text, c->pool, err) != ACME_OK) {
        return ACME_FAIL;
    }
    if (acme_net_connect(&c->socket, proxy->host, proxy->port, x->deadline, x->stop, c->pool,
                         &cause) == ACME_OK
        && proxy_connect(c, url, x, &cause) == ACME_OK) {
        return ACME_OK;
    }
    return acme_error_set(err, cause.kind, cause.kind == ACME_E_STOPPED ? NULL : "AC0212",
                          "AcmeProxy %s: %s", text, cause.text);
}

/* ---- one exchange ---- */

/* How long the next sign of life may take. */
static apr_time_t patience(const exchange_t *x)
{
    apr_time_t limit = acme_net_now() + x->transport->conf.silence;

    return limit < x->deadline ? limit : x->deadline;
}

static acme_rv_t connection_establish(connection_t *c, const exchange_t *x, acme_error_t *err)
{
    const acme_url_t *url = x->request->url;
    acme_rv_t rv;

    if (x->transport->conf.proxy) {
        rv = proxy_open(c, url, x, err);
    }
    else {
        rv = acme_net_connect(&c->socket, url->host, url->port, x->deadline, x->stop, c->pool,
                              err);
    }
    if (rv != ACME_OK) {
        return rv;
    }
    return acme_tls_connect(&c->tls, c->trust->tls, c->socket, url->host, url->is_ip, patience(x),
                            x->stop, c->pool, err);
}

static acme_rv_t connection_open(connection_t **out, exchange_t *x, acme_error_t *err)
{
    acme_transport_t *transport = x->transport;
    connection_t *c;
    apr_pool_t *pool = NULL;
    trust_t *trust = NULL;

    if (trust_join(&trust, transport, x->pool, err) != ACME_OK) {
        return ACME_FAIL;
    }
    if (apr_pool_create_unmanaged_ex(&pool, NULL, NULL) != APR_SUCCESS) {
        apr_thread_mutex_lock(transport->mutex);
        trust_leave(trust);
        apr_thread_mutex_unlock(transport->mutex);
        return acme_error_set(err, ACME_E_INTERNAL, NULL, "out of memory");
    }
    c = apr_pcalloc(pool, sizeof(*c));
    c->pool = pool;
    c->trust = trust;
    c->host = apr_pstrdup(pool, x->request->url->host);
    c->port = x->request->url->port;
    apr_thread_mutex_lock(transport->mutex);
    transport->connections++;
    apr_thread_mutex_unlock(transport->mutex);
    if (connection_establish(c, x, err) != ACME_OK) {
        connection_close(transport, c);
        return ACME_FAIL;
    }
    *out = c;
    return ACME_OK;
}

/* The peer has closed: fine only for a body that runs to the close. */
static acme_rv_t ended(exchange_t *x, acme_error_t *err)
{
    acme_error_t cause;

    acme_error_clear(&cause);
    if (acme_http_response_eof(x->response, &cause) == ACME_OK) {
        return ACME_OK;
    }
    return acme_error_set(err, ACME_E_NETWORK, "AC0204", "%s: connection closed %s",
                          x->request->url->host,
                          acme_http_response_started(x->response)
                              ? "within the response" : "before the response");
}

/* *clean: the message was the last thing on the connection so far. */
static acme_rv_t receive(exchange_t *x, connection_t *c, int *clean, acme_error_t *err)
{
    acme_rv_t rv = ACME_AGAIN;

    *clean = 0;
    while (rv == ACME_AGAIN) {
        char buffer[READ_SIZE];
        apr_size_t len = sizeof(buffer), used = 0;

        if (acme_stopped(x->stop)) {
            return acme_error_set(err, ACME_E_STOPPED, NULL, "stopped");
        }
        if (acme_net_now() >= x->deadline) {
            return acme_error_system(err, ACME_E_NETWORK, "AC0215", APR_TIMEUP,
                                     "%s: the response takes too long", x->request->url->host);
        }
        rv = acme_tls_read(c->tls, buffer, &len, patience(x), x->stop, err);
        if (rv != ACME_OK) {
            return rv;
        }
        if (len == 0) {
            return ended(x, err);
        }
        rv = acme_http_response_feed(x->response, buffer, len, &used, err);
        *clean = used == len;
    }
    return rv;
}

static acme_rv_t talk(exchange_t *x, connection_t *c, int *keep, acme_error_t *err)
{
    apr_uint64_t before = acme_tls_sent(c->tls);
    acme_rv_t rv;

    *keep = 0;
    rv = acme_tls_write(c->tls, x->bytes, x->len, x->deadline, x->stop, err);
    if (acme_tls_sent(c->tls) != before) {
        x->sent = 1;
    }
    if (rv == ACME_OK) {
        rv = receive(x, c, keep, err);
    }
    if (rv != ACME_OK || !acme_http_response_keep_alive(x->response)) {
        *keep = 0;
    }
    return rv;
}

/* May the same request be sent again after this failure? Not after a time-out, not when the CA has
 * begun to answer, and a POST only when it cannot have arrived. */
static int may_repeat(const exchange_t *x, const connection_t *c, const acme_error_t *cause)
{
    if (cause->kind != ACME_E_NETWORK || cause->status == APR_TIMEUP
        || acme_http_response_started(x->response)) {
        return 0;
    }
    return x->request->method != ACME_HTTP_POST || (c->reused && !x->sent);
}

/* fresh: do not look for a kept connection. ACME_AGAIN: lost, and may be repeated. */
static acme_rv_t attempt(exchange_t *x, int fresh, acme_error_t *err)
{
    acme_transport_t *transport = x->transport;
    connection_t *c = fresh ? NULL : idle_take(transport, x->request->url);
    acme_rv_t rv;
    int keep = 0;

    x->response = acme_http_response_create(x->request->method == ACME_HTTP_HEAD, x->body_max,
                                            x->pool);
    if (!c && connection_open(&c, x, err) != ACME_OK) {
        return ACME_FAIL;
    }
    rv = talk(x, c, &keep, err);
    if (rv == ACME_FAIL && may_repeat(x, c, err)) {
        rv = ACME_AGAIN;
    }
    if (keep) {
        idle_put(transport, c);
    }
    else {
        connection_close(transport, c);
    }
    return rv;
}

static void exchange_init(exchange_t *x, acme_http_request_t *filled)
{
    acme_transport_t *transport = x->transport;

    *filled = *x->request;
    if (!filled->user_agent) {
        filled->user_agent = transport->conf.user_agent;
    }
    x->request = filled;
    x->bytes = acme_http_request_bytes(&x->len, filled, x->pool);
    x->deadline = acme_net_now() + transport->conf.timeout;
    apr_thread_mutex_lock(transport->mutex);
    transport->exchanges++;
    apr_thread_mutex_unlock(transport->mutex);
}

acme_rv_t acme_transport_exchange(acme_http_response_t **out, acme_transport_t *transport,
                                  const acme_http_request_t *request, apr_size_t body_max,
                                  int *maybe_sent, const acme_stop_t *stop, apr_pool_t *pool,
                                  acme_error_t *err)
{
    acme_http_request_t filled;
    acme_error_t cause;
    exchange_t x;
    acme_rv_t rv;

    memset(&x, 0, sizeof(x));
    x.transport = transport;
    x.request = request;
    x.body_max = body_max;
    x.stop = stop;
    x.pool = pool;
    exchange_init(&x, &filled);
    acme_error_clear(&cause);
    rv = attempt(&x, 0, &cause);
    if (rv == ACME_AGAIN) {
        acme_error_clear(&cause);
        rv = attempt(&x, 1, &cause);
    }
    if (maybe_sent) {
        *maybe_sent = x.sent;
    }
    *out = rv == ACME_OK ? x.response : NULL;
    if (rv == ACME_OK) {
        return ACME_OK;
    }
    if (err && err->kind == ACME_E_NONE) {
        *err = cause;
    }
    return ACME_FAIL;
}

/* ---- the transport ---- */

void acme_transport_flush(acme_transport_t *transport)
{
    int usable = 0;
    connection_t *c;

    for (c = idle_pick(transport, NULL, 1, &usable); c;
         c = idle_pick(transport, NULL, 1, &usable)) {
        connection_close(transport, c);
    }
}

void acme_transport_counts(const acme_transport_t *transport, apr_uint32_t *exchanges,
                           apr_uint32_t *connections)
{
    apr_thread_mutex_lock(transport->mutex);
    *exchanges = transport->exchanges;
    *connections = transport->connections;
    apr_thread_mutex_unlock(transport->mutex);
}

static apr_status_t transport_destroy(void *data)
{
    acme_transport_t *transport = data;

    acme_transport_flush(transport);
    trust_leave(transport->trust);
    transport->trust = NULL;
    return APR_SUCCESS;
}

acme_transport_t *acme_transport_create(const acme_transport_conf_t *conf, apr_pool_t *pool)
{
    acme_transport_t *transport = apr_pcalloc(pool, sizeof(*transport));
    acme_transport_conf_t *own = &transport->conf;

    *own = *conf;
    own->ca_file = conf->ca_file ? apr_pstrdup(pool, conf->ca_file) : NULL;
    own->proxy = conf->proxy ? apr_pstrdup(pool, conf->proxy) : NULL;
    own->user_agent = apr_pstrdup(pool, conf->user_agent ? conf->user_agent : "libacme");
    own->timeout = conf->timeout > 0 ? conf->timeout : TIMEOUT;
    own->silence = conf->silence > 0 ? conf->silence : SILENCE;
    own->idle_max = conf->idle_max > 0 ? conf->idle_max : IDLE_MAX;
    own->idle_max = own->idle_max < IDLE_CAP ? own->idle_max : IDLE_CAP;
    own->idle_time = conf->idle_time > 0 ? conf->idle_time : IDLE_TIME;
    if (apr_thread_mutex_create(&transport->mutex, APR_THREAD_MUTEX_DEFAULT, pool)
        != APR_SUCCESS) {
        return NULL;
    }
    apr_pool_cleanup_register(pool, transport, transport_destroy, apr_pool_cleanup_null);
    return transport;
}
