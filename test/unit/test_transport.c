/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#include "io/transport.h"

#include <pthread.h>
#include <dirent.h>
#include "rawca.h"

Suite *transport_suite(void);

static apr_pool_t *pool;

static void start(void)
{
    rawca_start("transport");
}

static void setup(void)
{
    apr_pool_create(&pool, NULL);
    signal(SIGPIPE, SIG_DFL); /* its default would kill */
}

static void teardown(void)
{
    apr_pool_destroy(pool);
}

static acme_transport_t *make(const char *proxy)
{
    acme_transport_conf_t conf;

    memset(&conf, 0, sizeof(conf));
    conf.ca_file = rawca.ca_file;
    conf.user_agent = "test/1";
    conf.proxy = proxy;
    conf.timeout = apr_time_from_msec(800);
    conf.silence = apr_time_from_msec(300);
    return acme_transport_create(&conf, pool);
}

typedef struct {
    acme_rv_t rv;
    acme_http_response_t *response;
    acme_error_t err;
    int sent;
} result_t;

static int descriptors(void)
{
    DIR *dir = opendir("/proc/self/fd");
    int n = 0;

    while (dir && readdir(dir)) {
        n++;
    }
    if (dir) {
        closedir(dir);
    }
    return n;
}

static result_t go(acme_transport_t *transport, acme_http_method_t method, const char *text,
                   const char *body, const acme_stop_t *stop)
{
    acme_http_request_t request;
    acme_url_t *url = NULL;
    result_t r;

    memset(&r, 0, sizeof(r));
    memset(&request, 0, sizeof(request));
    r.sent = -1;
    ck_assert_int_eq(acme_url_parse(&url, text, pool, &r.err), ACME_OK);
    request.method = method;
    request.url = url;
    request.body = body;
    request.body_len = body ? strlen(body) : 0;
    request.content_type = body ? "application/jose+json" : NULL;
    r.rv = acme_transport_exchange(&r.response, transport, &request, ACME_HTTP_JSON_MAX, &r.sent,
                                   stop, pool, &r.err);
    ck_assert(r.rv == ACME_OK || r.rv == ACME_FAIL);
    ck_assert((r.rv == ACME_OK) == (r.err.kind == ACME_E_NONE));
    ck_assert((r.rv == ACME_OK) == (r.response != NULL));
    return r;
}

static const char *at(const char *scenario, const char *host)
{
    return apr_psprintf(pool, "https://%s:%d/path?q", host, rawca_port(scenario));
}

static result_t get(acme_transport_t *transport, const char *scenario)
{
    return go(transport, ACME_HTTP_GET, at(scenario, "localhost"), NULL, NULL);
}

static const char *body_of(const result_t *r)
{
    apr_size_t len;

    ck_assert_msg(r->rv == ACME_OK, "%s %s", r->err.code, r->err.text);
    return acme_http_response_body(r->response, &len);
}

/* What the server has seen: connections, requests, resumed sessions. */
static const char *seen(const char *scenario)
{
    acme_transport_t *transport = make(NULL);
    result_t r = go(transport, ACME_HTTP_GET,
                    apr_psprintf(pool, "https://localhost:%d/%s", rawca_port("counts"), scenario),
                    NULL, NULL);

    return body_of(&r);
}

static apr_int64_t last_number(const char *text)
{
    const char *word = strrchr(text, ' ');
    apr_int64_t n;

    ck_assert(word != NULL);
    ck_assert(acme_scan_number(&n, word + 1, strcspn(word + 1, "\r\n"), 9, NULL) == ACME_OK);
    return n;
}

START_TEST(plain_exchanges)
{
    acme_transport_t *transport = make(NULL);
    apr_uint32_t exchanges, connections;
    result_t r = get(transport, "good");
    const char *body = body_of(&r);
    const char *wanted = apr_psprintf(pool, "\r\nHost: localhost:%d\r\n", rawca_port("good"));

    ck_assert_int_eq(strncmp(body, "GET /path?q HTTP/1.1\r\n", 22), 0);
    ck_assert_ptr_nonnull(strstr(body, wanted));
    ck_assert_ptr_nonnull(strstr(body, "\r\nUser-Agent: test/1\r\n"));
    r = go(transport, ACME_HTTP_POST, at("good", "localhost"), "{\"a\":1}", NULL);
    body = body_of(&r);
    ck_assert_ptr_nonnull(strstr(body, "\r\nContent-Length: 7\r\n"));
    ck_assert_ptr_nonnull(strstr(body, "\r\n\r\n{\"a\":1}"));
    ck_assert_int_eq(r.sent, 1);
    acme_transport_counts(transport, &exchanges, &connections);
    ck_assert_uint_eq(exchanges, 2);
    ck_assert_uint_eq(connections, 1);
    acme_transport_flush(transport);
    r = go(transport, ACME_HTTP_GET, at("good", "127.0.0.1"), NULL, NULL);
    body_of(&r);
    acme_transport_counts(transport, &exchanges, &connections);
    ck_assert_uint_eq(connections, 2);
}
END_TEST

/* What must be refused, and what the one line says. No byte of HTTP may have reached the server. */
static const struct {
    const char *scenario, *host, *code, *text;
} bad_tls[] = {
    { "selfsigned", "localhost", "AC0210", "self-signed certificate" },
    { "expired", "localhost", "AC0210", "expired" },
    { "wronghost", "localhost", "AC0210", "ostname mismatch" },
    { "partial", "localhost", "AC0210", "ostname mismatch" },
    { "cnonly", "localhost", "AC0210", "ostname mismatch" },
    { "wrongip", "127.0.0.1", "AC0210", "IP address mismatch" },
    { "wronghost", "127.0.0.1", "AC0210", "IP address mismatch" },
    { "clientonly", "localhost", "AC0210", "purpose" },
    { "oldtls", "localhost", "AC0211", "TLS" },
    { "plain", "localhost", "AC0211", "TLS" },
    { "mute", "localhost", "AC0205", "handshake" },
};

START_TEST(refuses_servers)
{
    acme_transport_t *transport = make(NULL);
    result_t r = go(transport, ACME_HTTP_GET, at(bad_tls[_i].scenario, bad_tls[_i].host), NULL,
                    NULL);

    ck_assert_int_eq(r.rv, ACME_FAIL);
    ck_assert_msg(!strcmp(r.err.code, bad_tls[_i].code), "%s %s", r.err.code, r.err.text);
    ck_assert_msg(strstr(r.err.text, bad_tls[_i].text) != NULL, "%s", r.err.text);
    ck_assert_int_eq(r.sent, 0);
    ck_assert_ptr_nonnull(strstr(seen(bad_tls[_i].scenario), " 0 0"));
}
END_TEST

/* Replies that go wrong; post: whether a POST may have been seen. */
static const struct {
    const char *scenario, *code;
} bad_reply[] = {
    { "midbody", "AC0204" },
    { "chunkcut", "AC0204" },
    { "toend_cut", NULL },
    { "silent", "AC0205" },
    { "drip", NULL },
    { "reset", "AC0203" },
    { "reset_body", "AC0203" },
    { "endless", NULL },
    { "toolong", NULL },
};

START_TEST(bad_replies)
{
    acme_transport_t *transport = make(NULL);
    int before = descriptors();
    apr_time_t begin = acme_net_now();
    result_t r = get(transport, bad_reply[_i].scenario);

    ck_assert_int_eq(r.rv, ACME_FAIL);
    ck_assert_msg(!bad_reply[_i].code || !strcmp(r.err.code, bad_reply[_i].code), "%s %s",
                  r.err.code, r.err.text);
    ck_assert(acme_net_now() - begin < apr_time_from_msec(2500));
    r = go(transport, ACME_HTTP_POST, at(bad_reply[_i].scenario, "localhost"), "{}", NULL);
    ck_assert_int_eq(r.rv, ACME_FAIL);
    ck_assert_int_eq(r.sent, 1);
    ck_assert_int_eq(descriptors(), before);
}
END_TEST

START_TEST(body_to_the_end)
{
    acme_transport_t *transport = make(NULL);
    apr_uint32_t exchanges, connections;
    result_t r = get(transport, "toend");

    ck_assert_str_eq(body_of(&r), "to the end");
    r = get(transport, "surplus");
    ck_assert_str_eq(body_of(&r), "one");
    r = get(transport, "surplus");
    ck_assert_str_eq(body_of(&r), "one");
    acme_transport_counts(transport, &exchanges, &connections);
    ck_assert_uint_eq(connections, 3);
}
END_TEST

START_TEST(kept_connection_closed)
{
    acme_transport_t *transport = make(NULL);
    apr_uint32_t exchanges, connections;
    int i;

    for (i = 0; i < 3; i++) {
        result_t r = go(transport, i == 1 ? ACME_HTTP_POST : ACME_HTTP_GET,
                        at("once", "localhost"), i == 1 ? "{}" : NULL, NULL);

        ck_assert_str_eq(body_of(&r), "once");
        usleep(50000); /* the close arrives */
    }
    acme_transport_counts(transport, &exchanges, &connections);
    ck_assert_uint_eq(connections, 3);
    ck_assert_uint_eq(exchanges, 3);
}
END_TEST

/* Lost once the request had left: a GET goes again, a POST never. */
START_TEST(kept_connection_lost)
{
    acme_transport_t *transport = make(NULL);
    result_t r = get(transport, "second");

    ck_assert_str_eq(body_of(&r), "first");
    r = get(transport, "second");
    ck_assert_str_eq(body_of(&r), "first");
    ck_assert_str_eq(seen("second"), "2 3 1");
    r = go(transport, ACME_HTTP_POST, at("second", "localhost"), "{}", NULL);
    ck_assert_int_eq(r.rv, ACME_FAIL);
    ck_assert_int_eq(r.sent, 1);
    ck_assert_str_eq(seen("second"), "2 4 1");
}
END_TEST

START_TEST(get_again_after_reset)
{
    acme_transport_t *transport = make(NULL);
    result_t r = get(transport, "reset_once");

    ck_assert_str_eq(body_of(&r), "second");
}
END_TEST

START_TEST(peer_stops_reading)
{
    acme_transport_t *transport = make(NULL);
    char *body = apr_palloc(pool, 8 * 1024 * 1024 + 1);
    result_t r;

    memset(body, 'x', 8 * 1024 * 1024);
    body[8 * 1024 * 1024] = '\0';
    r = go(transport, ACME_HTTP_POST, at("sink", "localhost"), body, NULL);
    ck_assert_int_eq(r.rv, ACME_FAIL);
    ck_assert_str_eq(r.err.code, "AC0203");
    ck_assert_int_eq(r.sent, 1);
}
END_TEST

static const struct {
    const char *scenario, *code, *text;
} proxies[] = {
    { "proxy", NULL, NULL },
    { "proxy407", "AC0212", "407" },
    { "proxybig", "AC0212", "16 KB" },
    { "proxyinject", "AC0212", "more than its reply" },
};

START_TEST(through_proxy)
{
    acme_transport_t *transport = make(apr_psprintf(pool, "http://127.0.0.1:%d",
                                                    rawca_port(proxies[_i].scenario)));
    result_t r = get(transport, "good");

    if (!proxies[_i].code) {
        ck_assert_ptr_nonnull(strstr(body_of(&r), "GET /path?q HTTP/1.1"));
        r = get(transport, "good");
        body_of(&r);
        ck_assert_int_eq(strncmp(seen("proxy"), "1 1 ", 4), 0);
        return;
    }
    ck_assert_int_eq(r.rv, ACME_FAIL);
    ck_assert_str_eq(r.err.code, proxies[_i].code);
    ck_assert_msg(strstr(r.err.text, proxies[_i].text) != NULL, "%s", r.err.text);
    ck_assert_int_eq(r.sent, 0);
}
END_TEST

START_TEST(bad_proxies)
{
    static const char *const text[] = {
        "https://127.0.0.1:1", "http://127.0.0.1", "http://u:secret@h:1", "127.0.0.1:1",
        "http://[::1]", "http://h:1/x", "http://", ""
    };
    size_t i;
    result_t r;

    for (i = 0; i < sizeof(text) / sizeof(text[0]); i++) {
        r = get(make(text[i]), "good");
        ck_assert_int_eq(r.rv, ACME_FAIL);
        ck_assert_str_eq(r.err.code, "AC0214");
        ck_assert_ptr_null(strstr(r.err.text, "secret"));
    }
    r = get(make("http://127.0.0.1:1"), "good");
    ck_assert_str_eq(r.err.code, "AC0212");
}
END_TEST

static void put_file(const char *path, const char *data, size_t len)
{
    FILE *f = fopen(path, "w");

    ck_assert(f != NULL && fwrite(data, 1, len, f) == len);
    fclose(f);
}

static const char *good_ca(void)
{
    char *data = apr_pcalloc(pool, 10000);
    FILE *f = fopen(rawca.ca_file, "r");

    ck_assert(f != NULL && fread(data, 1, 9999, f) > 0);
    fclose(f);
    return data;
}

START_TEST(trust_file)
{
    const char *path = apr_psprintf(pool, "%s/changing.pem", rawca.dir);
    const char *good = good_ca();
    acme_transport_conf_t conf;
    acme_transport_t *transport;
    apr_uint32_t exchanges, connections;
    result_t r;

    memset(&conf, 0, sizeof(conf));
    conf.ca_file = path;
    transport = acme_transport_create(&conf, pool);
    r = get(transport, "good");
    ck_assert_str_eq(r.err.code, "AC0101");
    ck_assert_ptr_nonnull(strstr(r.err.text, path));
    put_file(path, "", 0);
    r = get(transport, "good");
    ck_assert_str_eq(r.err.code, "AC0101");
    put_file(path, "garbage\n", 8);
    r = get(transport, "good");
    ck_assert_str_eq(r.err.code, "AC0101");
    put_file(path, good, strlen(good));
    r = get(transport, "good");
    body_of(&r);
    put_file(path, good, strlen(good) - 30);
    acme_transport_flush(transport);
    r = get(transport, "good");
    ck_assert_str_eq(r.err.code, "AC0101");
    acme_transport_counts(transport, &exchanges, &connections);
    ck_assert_uint_eq(exchanges, 5);
    conf.ca_file = "/";
    r = get(acme_transport_create(&conf, pool), "good");
    ck_assert_str_eq(r.err.code, "AC0101");
    unlink(path);
}
END_TEST

/* The system's anchors do not know the test's CA. */
START_TEST(system_trust)
{
    acme_transport_conf_t conf;
    result_t r;

    memset(&conf, 0, sizeof(conf));
    r = get(acme_transport_create(&conf, pool), "good");
    ck_assert_str_eq(r.err.code, "AC0210");
    ck_assert_ptr_nonnull(strstr(r.err.text, "AcmeCAFile"));
}
END_TEST

START_TEST(resumes)
{
    const char *scenario = _i ? "tls12" : "good";
    const char *before = seen(scenario);
    acme_transport_t *transport = make(NULL);
    int i;

    for (i = 0; i < 3; i++) {
        result_t r = get(transport, scenario);

        body_of(&r);
        acme_transport_flush(transport);
    }
    ck_assert_int_eq(last_number(seen(scenario)) - last_number(before), 2);
}
END_TEST

static int stop_after(void *baton)
{
    int *left = baton;

    return (*left)-- <= 0;
}

START_TEST(stops)
{
    acme_transport_t *transport = make(NULL);
    static const char *const scenario[] = { "silent", "mute", "drip" };
    int left = 2 + _i;
    acme_stop_t stop = { stop_after, &left };
    apr_time_t begin = acme_net_now();
    result_t r = go(transport, ACME_HTTP_GET, at(scenario[_i], "localhost"), NULL, &stop);

    ck_assert_int_eq(r.err.kind, ACME_E_STOPPED);
    ck_assert(acme_net_now() - begin < apr_time_from_msec(1000));
}
END_TEST

#define THREADS 6
#define ROUNDS 20

static acme_transport_t *shared;

static void *worker(void *data)
{
    apr_pool_t *own = NULL;
    int *good = data, i;

    apr_pool_create_unmanaged_ex(&own, NULL, NULL);
    for (i = 0; i < ROUNDS; i++) {
        acme_http_request_t request;
        acme_http_response_t *response = NULL;
        acme_url_t *url = NULL;
        acme_error_t err;

        acme_error_clear(&err);
        memset(&request, 0, sizeof(request));
        acme_url_parse(&url, *good < 0 ? "" : apr_psprintf(own, "https://localhost:%d/",
                       rawca_port(i % 5 == 4 ? "once" : "good")), own, &err);
        request.method = ACME_HTTP_GET;
        request.url = url;
        if (acme_transport_exchange(&response, shared, &request, 65536, NULL, NULL, own, &err)
            == ACME_OK) {
            (*good)++;
        }
    }
    apr_pool_destroy(own);
    return NULL;
}

START_TEST(threads)
{
    pthread_t thread[THREADS];
    int good[THREADS] = { 0 };
    int i;

    shared = make(NULL);
    for (i = 0; i < THREADS; i++) {
        ck_assert_int_eq(pthread_create(&thread[i], NULL, worker, &good[i]), 0);
    }
    for (i = 0; i < THREADS; i++) {
        pthread_join(thread[i], NULL);
        ck_assert_int_eq(good[i], ROUNDS);
    }
}
END_TEST

#define ROWS(table) ((int)(sizeof(table) / sizeof((table)[0])))

Suite *transport_suite(void)
{
    Suite *suite = suite_create("transport");
    TCase *tc = tcase_create("transport");

    tcase_add_unchecked_fixture(tc, start, rawca_stop);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 20);
    tcase_add_test(tc, plain_exchanges);
    tcase_add_loop_test(tc, refuses_servers, 0, ROWS(bad_tls));
    tcase_add_loop_test(tc, bad_replies, 0, ROWS(bad_reply));
    tcase_add_test(tc, body_to_the_end);
    tcase_add_test(tc, kept_connection_closed);
    tcase_add_test(tc, kept_connection_lost);
    tcase_add_test(tc, get_again_after_reset);
    tcase_add_test(tc, peer_stops_reading);
    tcase_add_loop_test(tc, through_proxy, 0, ROWS(proxies));
    tcase_add_test(tc, bad_proxies);
    tcase_add_test(tc, trust_file);
    tcase_add_test(tc, system_trust);
    tcase_add_loop_test(tc, resumes, 0, 2);
    tcase_add_loop_test(tc, stops, 0, 3);
    tcase_add_test(tc, threads);
    suite_add_tcase(suite, tc);
    return suite;
}
