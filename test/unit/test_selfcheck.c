/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#include "io/selfcheck.h"

#include <check.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <apr_general.h>
#include <apr_strings.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include "io/presenter.h"
#include "listener.h"

Suite *selfcheck_suite(void);

#define COUNT(table) ((int)(sizeof(table) / sizeof((table)[0])))
#define TOKEN "evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oA"
#define KEY_AUTHORIZATION TOKEN ".NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"

static apr_pool_t *pool;
static void *memory;
static apr_size_t memory_size;
static acme_board_t *board;
static acme_present_ctx_t *ctx;
static acme_spec_t spec;

static void setup(void)
{
    apr_initialize();
    apr_pool_create(&pool, NULL);
    memory_size = acme_board_size(2);
    memory = mmap(NULL, memory_size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    ck_assert(memory != MAP_FAILED);
    acme_board_format(memory, memory_size, 2);
    ck_assert(acme_board_attach(&board, memory, memory_size, pool, NULL) == ACME_OK);
    ck_assert(acme_present_ctx_create(&ctx, board, NULL, NULL, pool, NULL) == ACME_OK);
    memset(&spec, 0, sizeof(spec));
}

static void teardown(void)
{
    munmap(memory, memory_size);
    apr_pool_destroy(pool);
    apr_terminate();
}

/* Presented on the board, to be asked for at this port. */
static acme_selfcheck_t presented(acme_challenge_type_t type, const char *name, int port)
{
    acme_presentation_t what;
    acme_selfcheck_t check;

    memset(&what, 0, sizeof(what));
    what.spec = &spec;
    what.row = 1;
    what.type = type;
    what.name = name;
    what.token = TOKEN;
    what.key_authorization = KEY_AUTHORIZATION;
    what.expires = apr_time_now() + apr_time_from_sec(600);
    ck_assert(acme_present(ctx, &what, pool, NULL) == ACME_OK);
    memset(&check, 0, sizeof(check));
    check.type = type;
    check.name = name;
    check.token = TOKEN;
    check.key_authorization = KEY_AUTHORIZATION;
    check.port = 1; /* nobody listens there: an own address is asked at the mapped one */
    check.mapped = port;
    check.board = board;
    check.row = 1;
    return check;
}

static acme_selfcheck_result_t run(const acme_selfcheck_t *check, int msec)
{
    acme_selfcheck_result_t result;
    apr_time_t began = acme_net_now();

    ck_assert(acme_selfcheck_run(&result, check, began + apr_time_from_msec(msec), NULL, pool)
              == ACME_OK);
    ck_assert_int_lt(acme_net_now() - began, apr_time_from_msec(msec + 1500));
    return result;
}

#define H "HTTP/1.1 200 OK\r\n"
#define A "127.0.0.1: "
#define A50 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

static const struct {
    const char *reply, *want;
} answers[] = {
    {H "Content-Length: 87\r\n\r\n" KEY_AUTHORIZATION, A "own answer"},
    {H "Transfer-Encoding: chunked\r\n\r\n57\r\n" KEY_AUTHORIZATION "\r\n0\r\n\r\n",
     A "own answer"},
    {H "\r\n" KEY_AUTHORIZATION "\n", A "own answer"},
    {H "Server: nginx/1.2\r\n\r\n" TOKEN ".another",
     A "answered by someone else (status 200, Server nginx/1.2)"},
    {"HTTP/1.1 404 Not Found\r\nServer: x\r\n\r\n" KEY_AUTHORIZATION,
     A "answered by someone else (status 404, Server x)"},
    {"HTTP/1.1 301 Moved\r\nLocation: https://a.test/x\r\n\r\n",
     A "answered by someone else (status 301, to https://a.test/x)"},
    {"HTTP/1.1 403 \r\nServer: " A50 A50 "\r\n\r\n",
     A "answered by someone else (status 403, Server " A50 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaa)"},
    {"", A "connected, then closed without an answer"},
    {"HTTP/1.1 200 OK\r\nServer", A "connected, then closed without an answer"},
};

START_TEST(what_http_answers)
{
    acme_selfcheck_result_t result;
    acme_selfcheck_t check;
    listener_t l;

    listener_start(&l, answers[_i].reply);
    check = presented(ACME_CH_HTTP01, "127.0.0.1", l.port);
    result = run(&check, 3000);
    listener_stop(&l);
    ck_assert_str_eq(result.text, answers[_i].want);
    ck_assert_int_eq(result.addresses, 1);
    ck_assert_int_eq(result.connected, 1);
    ck_assert_int_eq(result.outside, 0);
}
END_TEST

/* No terminal is steered by what a stranger says. */
static const char *const hostile[] = {
    "HTTP/1.1 200 OK\r\nServer: \033[31mred\a\r\n\r\n", "SSH-2.0-OpenSSH_9\r\n\r\n",
    "\x15\x03\x01\x00\x02\x02\x46", "HTTP/1.1 999999999999 \033[2J\r\n\r\n",
    "HTTP/1.1 200 OK\r\nLocation: \xff\xfe\x01\r\nServer: \x7f\r\n\r\n",
};

START_TEST(hostile_text_is_printable)
{
    acme_selfcheck_result_t result;
    acme_selfcheck_t check;
    const char *c;
    listener_t l;

    listener_start(&l, hostile[_i]);
    check = presented(ACME_CH_HTTP01, "127.0.0.1", l.port);
    result = run(&check, 3000);
    listener_stop(&l);
    ck_assert_ptr_eq(strstr(result.text, "own answer"), NULL);
    ck_assert_int_lt(strlen(result.text), 250);
    for (c = result.text; *c != '\0'; c++) {
        ck_assert_msg(*c >= ' ' && *c < 127, "%s", result.text);
    }
}
END_TEST

START_TEST(an_endless_answer_ends)
{
    acme_selfcheck_result_t result;
    acme_selfcheck_t check;
    char *reply = apr_palloc(pool, 400000);
    listener_t l;

    memset(reply, 'x', 399999);
    memcpy(reply, H "Server: ", strlen(H "Server: "));
    reply[399999] = '\0';
    listener_start(&l, reply);
    check = presented(ACME_CH_HTTP01, "127.0.0.1", l.port);
    result = run(&check, 3000);
    listener_stop(&l);
    ck_assert_str_eq(strstr(result.text, "connected, then") != NULL ? "" : result.text, "");
}
END_TEST

START_TEST(refused_timed_out_and_silent)
{
    acme_selfcheck_result_t result;
    acme_selfcheck_t check;
    listener_t l, full;
    struct sockaddr_in addr;
    int i, fds[4];

    listener_open(&l, -1);
    check = presented(ACME_CH_HTTP01, "127.0.0.1", l.port);
    result = run(&check, 1000);
    ck_assert_str_eq(result.text, A "refused");
    ck_assert_int_eq(result.connected, 0);
    close(l.fd);

    listener_open(&full, 0);
    memset(&addr, 0, sizeof(addr));
    addr.sin_family = AF_INET;
    addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    addr.sin_port = htons((apr_port_t)full.port);
    for (i = 0; i < 4; i++) {
        fds[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        (void)connect(fds[i], (struct sockaddr *)&addr, sizeof(addr));
    }
    check.mapped = full.port;
    result = run(&check, 400);
    ck_assert_str_eq(result.text, A "timed out");
    for (i = 0; i < 4; i++) {
        close(fds[i]);
    }
    close(full.fd);

    listener_start(&l, NULL);
    check.mapped = l.port;
    result = run(&check, 300);
    listener_stop(&l);
    ck_assert_str_eq(result.text, A "connected, but no answer");
}
END_TEST

START_TEST(a_name_without_address_says_so)
{
    acme_selfcheck_t check = presented(ACME_CH_HTTP01, "nothing.invalid", 1);
    acme_selfcheck_result_t result = run(&check, 2000);
    acme_board_arrivals_t seen;

    memset(&seen, 0, sizeof(seen));
    ck_assert(strstr(result.text, "nothing.invalid: cannot resolve") == result.text);
    ck_assert_int_eq(result.addresses, 0);
    ck_assert_str_eq(acme_selfcheck_doubt(&result, &seen), "");
}
END_TEST

static int always(void *baton)
{
    (void)baton;
    return 1;
}

START_TEST(stops_when_asked_to)
{
    acme_selfcheck_t check = presented(ACME_CH_HTTP01, "127.0.0.1", 1);
    acme_stop_t stop = {always, NULL};
    acme_selfcheck_result_t result;

    ck_assert(acme_selfcheck_run(&result, &check, acme_net_now() + apr_time_from_sec(5), &stop,
                                 pool) == ACME_FAIL);
}
END_TEST

/* Our own look must not pass for the CA's. */
START_TEST(an_own_answer_is_no_arrival)
{
    acme_board_arrivals_t seen;
    acme_selfcheck_t check;
    listener_t l;

    listener_start(&l, answers[0].reply);
    check = presented(ACME_CH_HTTP01, "127.0.0.1", l.port);
    acme_board_arrival(board, 1, ACME_CH_HTTP01, 0, 0);
    acme_board_arrival(board, 1, ACME_CH_HTTP01, 0, 0);
    acme_board_arrival(board, 1, ACME_CH_HTTP01, 1, 0);
    (void)run(&check, 3000);
    acme_board_arrivals_read(&seen, board, 1);
    ck_assert_uint_eq(seen.v4, 1);
    ck_assert_uint_eq(seen.v6, 1);
    ck_assert_uint_eq(seen.by_type[ACME_CH_HTTP01], 2);
    acme_board_arrivals_reset(board, 1);
    (void)run(&check, 3000);
    acme_board_arrivals_read(&seen, board, 1);
    ck_assert_uint_eq(seen.v4, 0); /* never below zero */
    listener_stop(&l);
}
END_TEST

START_TEST(what_was_withdrawn_meanwhile_is_not_judged)
{
    acme_selfcheck_result_t result;
    acme_selfcheck_t check;
    listener_t l;

    listener_start(&l, "HTTP/1.1 404 Not Found\r\n\r\n");
    check = presented(ACME_CH_HTTP01, "127.0.0.1", l.port);
    acme_board_challenge_remove(board, 1, NULL);
    result = run(&check, 3000);
    listener_stop(&l);
    ck_assert_str_eq(result.text, A "answered, but the challenge was over by then");
}
END_TEST

static const struct {
    int addresses, outside, connected, arrivals;
    const char *want; /* begins with */
} doubts[] = {
    {2, 2, 1, 0, ""}, {2, 2, 0, 0, ""}, {2, 1, 2, 5, ""}, {0, 0, 0, 5, ""},
    {2, 2, 0, 1, " (inconclusive: the CA's requests do arrive"},
    {1, 0, 1, 0, " (inconclusive: private addresses"},
    {1, 0, 0, 1, " (inconclusive: the CA's requests do arrive"},
};

START_TEST(what_hides_behind_a_hairpin_is_inconclusive)
{
    acme_selfcheck_result_t result;
    acme_board_arrivals_t seen;
    const char *want = doubts[_i].want, *said;

    memset(&result, 0, sizeof(result));
    memset(&seen, 0, sizeof(seen));
    result.addresses = doubts[_i].addresses;
    result.outside = doubts[_i].outside;
    result.connected = doubts[_i].connected;
    seen.v6 = (apr_uint32_t)doubts[_i].arrivals;
    said = acme_selfcheck_doubt(&result, &seen);
    ck_assert(*want == '\0' ? *said == '\0' : strncmp(said, want, strlen(want)) == 0);
}
END_TEST

/* ---- TLS ---- */

typedef struct {
    listener_t l;
    SSL_CTX *ctx;
    int chooses; /* acme-tls/1 */
} tls_server_t;

static int choose(SSL *ssl, const unsigned char **out, unsigned char *out_len,
                  const unsigned char *in, unsigned in_len, void *arg)
{
    const tls_server_t *server = arg;

    (void)ssl;
    if (!server->chooses || in_len != 11 || memcmp(in, "\x0a" "acme-tls/1", 11) != 0) {
        return SSL_TLSEXT_ERR_NOACK;
    }
    *out = in + 1;
    *out_len = 10;
    return SSL_TLSEXT_ERR_OK;
}

static void *tls_run(void *baton)
{
    tls_server_t *server = baton;
    int fd = accept(server->l.fd, NULL, NULL);
    SSL *ssl = SSL_new(server->ctx);

    SSL_set_fd(ssl, fd);
    (void)SSL_accept(ssl);
    SSL_free(ssl);
    close(fd);
    return NULL;
}

/* Serves the challenge that stands on the board for sni, or another's. */
static acme_selfcheck_result_t tls_answer(const acme_selfcheck_t *given, const char *sni,
                                          int chooses)
{
    acme_selfcheck_t check = *given;
    acme_selfcheck_result_t result;
    acme_board_challenge_t c;
    const unsigned char *p;
    tls_server_t server;
    EVP_PKEY *key;
    X509 *cert;

    ck_assert(acme_board_challenge_by_sni(&c, board, check.type, sni, apr_time_now()) == ACME_OK);
    p = c.cert[0];
    cert = d2i_X509(NULL, &p, c.cert_len[0]);
    p = c.key[0];
    key = d2i_AutoPrivateKey(NULL, &p, c.key_len[0]);
    listener_open(&server.l, 4);
    server.chooses = chooses;
    server.ctx = SSL_CTX_new(TLS_server_method());
    ck_assert(SSL_CTX_use_certificate(server.ctx, cert) == 1
              && SSL_CTX_use_PrivateKey(server.ctx, key) == 1);
    SSL_CTX_set_alpn_select_cb(server.ctx, choose, &server);
    ck_assert_int_eq(pthread_create(&server.l.thread, NULL, tls_run, &server), 0);
    check.mapped = server.l.port;
    result = run(&check, 5000);
    pthread_join(server.l.thread, NULL);
    close(server.l.fd);
    SSL_CTX_free(server.ctx);
    X509_free(cert);
    EVP_PKEY_free(key);
    return result;
}

START_TEST(what_tls_answers)
{
    acme_selfcheck_t check = presented(ACME_CH_TLSALPN01, "127.0.0.1", 1);
    const char *sni = acme_challenge_alpn_name("127.0.0.1", pool);
    acme_selfcheck_result_t result;
    listener_t l;

    result = tls_answer(&check, sni, 1);
    ck_assert_str_eq(result.text, A "own answer");
    result = tls_answer(&check, sni, 0);
    ck_assert(strstr(result.text, A "answered by someone else (certificate of 127.0.0.1, issuer "
                                    "CN=mod_acmeclient challenge)") == result.text);
    (void)presented(ACME_CH_TLSALPN01, "127.0.0.2", 1);
    result = tls_answer(&check, acme_challenge_alpn_name("127.0.0.2", pool), 1);
    ck_assert(strstr(result.text, "someone else (certificate of 127.0.0.2") != NULL);
    listener_start(&l, "HTTP/1.1 400 Bad Request\r\n\r\n");
    check.mapped = l.port;
    result = run(&check, 3000);
    listener_stop(&l);
    ck_assert_msg(strstr(result.text, A "connected, then ") == result.text, "%s", result.text);
}
END_TEST

START_TEST(tls_sni_01_has_its_own_name)
{
    acme_selfcheck_t check = presented(ACME_CH_TLSSNI01, "127.0.0.1", 1);
    const char *sni = acme_challenge_sni_name(KEY_AUTHORIZATION, pool);
    acme_selfcheck_result_t result = tls_answer(&check, sni, 0);

    ck_assert_str_eq(result.text, A "own answer");
}
END_TEST

Suite *selfcheck_suite(void)
{
    Suite *suite = suite_create("selfcheck");
    TCase *tc = tcase_create("selfcheck");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 30);
    tcase_add_loop_test(tc, what_http_answers, 0, COUNT(answers));
    tcase_add_loop_test(tc, hostile_text_is_printable, 0, COUNT(hostile));
    tcase_add_test(tc, an_endless_answer_ends);
    tcase_add_test(tc, refused_timed_out_and_silent);
    tcase_add_test(tc, a_name_without_address_says_so);
    tcase_add_test(tc, stops_when_asked_to);
    tcase_add_test(tc, an_own_answer_is_no_arrival);
    tcase_add_test(tc, what_was_withdrawn_meanwhile_is_not_judged);
    tcase_add_loop_test(tc, what_hides_behind_a_hairpin_is_inconclusive, 0, COUNT(doubts));
    tcase_add_test(tc, what_tls_answers);
    tcase_add_test(tc, tls_sni_01_has_its_own_name);
    suite_add_tcase(suite, tc);
    return suite;
}
