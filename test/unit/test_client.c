/* Licensed under the Apache License, Version 2.0; see LICENSE. */

/* Owners are processes here: each may die at any step, the next one goes on from the board. */

#include <errno.h>
#include <time.h>
#include "stepca.h"

Suite *client_suite(void);

static stepca_t ca;
static stepca_world_t world;

/* What an owner leaves for the test to look at. */
typedef struct {
    acme_rv_t rv;
    acme_error_t err;
    int resumed, obtained, live, alarms;
    int waits;
    int challenges; /* still on the board */
    char step[32];
    char serial[80];
    char log[8192];
} result_t;

static result_t *result;

typedef struct {
    int die_at, die_after;  /* n-th operation of the store */
    int full;               /* so many certificate records find no room */
    int stop_after;         /* so many questions whether to stop, 0: never */
    int operations, questions;
} owner_t;

/* ---- a store that dies ---- */

typedef struct {
    acme_store_t base;
    acme_store_t *real;
    owner_t *owner;
} mortal_t;

static acme_rv_t mortal_load(acme_store_t *self, acme_record_set_t *out, const char *id,
                             apr_pool_t *pool, acme_error_t *err)
{
    acme_store_t *real = ((mortal_t *)self)->real;

    return real->load(real, out, id, pool, err);
}

static void die_if(const owner_t *owner, int after)
{
    if (owner->operations == owner->die_at && owner->die_after == after) {
        _exit(9);
    }
}

static acme_rv_t mortal_append(acme_store_t *self, const char *id, acme_record_type_t type,
                               const char *payload, apr_size_t len, apr_time_t now,
                               apr_pool_t *scratch, acme_error_t *err)
{
    owner_t *owner = ((mortal_t *)self)->owner;
    acme_store_t *real = ((mortal_t *)self)->real;
    acme_rv_t rv;

    owner->operations++;
    die_if(owner, 0);
    if (type == ACME_REC_CERTIFICATE && owner->full > 0) {
        owner->full--;
        return acme_error_system(err, ACME_E_STORE, "AC0601", APR_ENOSPC, "write to the log");
    }
    rv = real->append(real, id, type, payload, len, now, scratch, err);
    die_if(owner, 1);
    return rv;
}

static acme_rv_t mortal_publish(acme_store_t *self, const char *id, const acme_key_t *key,
                                const acme_chain_t *chain, apr_time_t now, apr_pool_t *scratch,
                                acme_error_t *err)
{
    owner_t *owner = ((mortal_t *)self)->owner;
    acme_store_t *real = ((mortal_t *)self)->real;
    acme_rv_t rv;

    owner->operations++;
    die_if(owner, 0);
    rv = real->publish(real, id, key, chain, now, scratch, err);
    die_if(owner, 1);
    return rv;
}

/* ---- one owner ---- */

static void note_line(void *baton, acme_log_level_t level, const char *subject, const char *line)
{
    size_t used = strlen(result->log);

    (void)baton;
    (void)subject;
    result->resumed += strstr(line, "resuming") != NULL;
    result->obtained += strncmp(line, "AC0720", 6) == 0;
    result->live += strncmp(line, "AC0810", 6) == 0;
    result->alarms += level <= ACME_LOG_ERR;
    snprintf(result->log + used, sizeof(result->log) - used, "%s\n", line);
}

static int asked_to_stop(void *baton)
{
    owner_t *owner = baton;

    return owner->stop_after > 0 && ++owner->questions > owner->stop_after;
}

/* Time runs so fast that only the order's own waits are felt. */
static acme_rv_t run_to_end(acme_client_t *client, acme_error_t *err)
{
    acme_rv_t rv;
    apr_time_t until;

    do {
        acme_error_clear(err);
        rv = acme_client_run(client, &until, err);
        if (rv == ACME_AGAIN) {
            apr_interval_time_t wait = until - apr_time_now();

            result->waits++;
            apr_sleep(wait > apr_time_from_sec(2) ? 1000 : wait > 0 ? wait : 0);
        }
    } while (rv == ACME_AGAIN && result->waits < 200);
    return rv;
}

static void owner_session(acme_session_t **out, acme_session_conf_t *conf, apr_pool_t *pool)
{
    acme_transport_conf_t transport;

    memset(&transport, 0, sizeof(transport));
    transport.ca_file = world.ca.ca_file;
    transport.user_agent = "test_client";
    conf->ca = &world.ca;
    conf->account_id = "stepca-account";
    ck_assert(acme_key_from_jwk(&conf->key, world.jwk, strlen(world.jwk), pool, NULL) == ACME_OK);
    conf->transport = acme_transport_create(&transport, pool);
    ck_assert(acme_session_create(out, conf, pool, NULL) == ACME_OK);
}

static void be_owner(owner_t *owner)
{
    static const acme_log_t log = {.write = note_line, .level = ACME_LOG_DEBUG};
    acme_challenge_type_t types[] = {ACME_CH_HTTP01};
    acme_stop_t stop = {.stopped = asked_to_stop};
    acme_session_conf_t session;
    acme_board_status_t status;
    acme_client_conf_t conf;
    acme_client_t *client;
    mortal_t store;
    apr_pool_t *pool;

    apr_pool_create(&pool, NULL);
    memset(&session, 0, sizeof(session));
    memset(&conf, 0, sizeof(conf));
    memset(&status, 0, sizeof(status));
    conf.board = stepca_board(&world, pool);
    store.real = stepca_store(&world, conf.board, pool);
    store.base = *store.real;
    store.base.load = mortal_load;
    store.base.append = mortal_append;
    store.base.publish = mortal_publish;
    store.base.lease = NULL;
    store.owner = owner;
    stop.baton = owner;
    session.store = store.real;
    session.log = conf.log = &log;
    session.stop = conf.stop = &stop;
    owner_session(&conf.session, &session, pool);
    conf.spec = &world.spec[0];
    conf.ca = &world.ca;
    conf.store = &store.base;
    conf.status = &status;
    ck_assert(acme_present_ctx_create(&conf.presenters, conf.board, NULL, NULL, pool, NULL)
              == ACME_OK);
    acme_error_clear(&result->err);
    result->rv = acme_client_create(&client, &conf, types, 1, pool, &result->err);
    if (result->rv == ACME_OK) {
        result->rv = run_to_end(client, &result->err);
        apr_cpystrn(result->step, acme_client_step(client), sizeof(result->step));
    }
    if (result->rv == ACME_OK) {
        apr_cpystrn(result->serial, acme_client_leaf(client)->serial, sizeof(result->serial));
    }
    result->challenges = acme_board_challenge_pending(conf.board, ACME_CH_HTTP01);
    apr_pool_destroy(pool);
}

static pid_t start_owner(owner_t *owner)
{
    pid_t pid;

    memset(result, 0, sizeof(*result));
    fflush(NULL);
    pid = fork();
    ck_assert(pid >= 0);
    if (pid == 0) {
        be_owner(owner);
        _exit(0);
    }
    return pid;
}

/* 0: it came to its end; 9: it died of itself. */
static int wait_owner(pid_t pid)
{
    int status = 0;

    ck_assert(waitpid(pid, &status, 0) == pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 100 + WTERMSIG(status);
}

static int run_owner(owner_t *owner)
{
    return wait_owner(start_owner(owner));
}

/* ---- what must be true of the world ---- */

static int number(const char *name)
{
    return stepca_reply_number(stepca_command(&ca, "report"), name);
}

static void assert_issued_once(const char *when)
{
    acme_board_live_t live;
    acme_board_t *board = stepca_board(&world, world.pool);

    ck_assert_msg(result->rv == ACME_OK, "%s: %s\n%s", when, result->err.text, result->log);
    stepca_command(&ca, "report");
    ck_assert_msg(stepca_reply_number(ca.reply, "orders") == 1
                  && stepca_reply_number(ca.reply, "issued") == 1
                  && stepca_reply_number(ca.reply, "accounts") == 1, "%s: %s\n%s", when, ca.reply,
                  result->log);
    ck_assert(acme_board_live_read(&live, board, 0, world.pool, NULL) == ACME_OK);
    ck_assert_msg(result->challenges == 0, "%s: challenges are left", when);
}

static void fresh_world(void)
{
    if (world.pool) {
        stepca_world_end(&world);
    }
    stepca_command(&ca, "reset");
    stepca_world(&world, ca.directory, ca.ca_file, 1);
}

static void setup(void)
{
    apr_initialize();
    signal(SIGPIPE, SIG_IGN);
    acme_json_init();
    stepca_start(&ca);
    memset(&world, 0, sizeof(world));
    fresh_world();
    result = mmap(NULL, sizeof(*result), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    ck_assert(result != MAP_FAILED);
}

static void teardown(void)
{
    stepca_world_end(&world);
    stepca_stop(&ca);
    munmap(result, sizeof(*result));
    apr_terminate();
}

/* ---- tests ---- */

START_TEST(obtains_and_publishes)
{
    owner_t owner = {0};
    acme_board_status_t status;
    acme_board_t *board = stepca_board(&world, world.pool);

    ck_assert_int_eq(run_owner(&owner), 0);
    assert_issued_once("plain");
    ck_assert_int_eq(result->obtained, 1);
    ck_assert_int_eq(result->live, 1);
    ck_assert_int_eq(result->alarms, 0);
    ck_assert_uint_eq(acme_board_row_generation(board, 0), 1);
    ck_assert(acme_board_status_read(&status, board, 0) == ACME_OK);
    ck_assert(strstr(status.order_url, "/order/1") != NULL);
    ck_assert_int_le(number("requests"), 12);
}
END_TEST

/* SIGKILL while the CA keeps the reply to request n, which it has acted upon or not. */
static int killed_at(int n, const char *side)
{
    owner_t owner = {0};
    char command[64], when[64];
    struct pollfd fd;
    pid_t pid;
    int held;

    fresh_world();
    snprintf(command, sizeof(command), "hold %d %s", n, side);
    stepca_command(&ca, command);
    pid = start_owner(&owner);
    fd.fd = fileno(ca.from);
    fd.events = POLLIN;
    for (held = 0; !held;) {
        int status;

        held = poll(&fd, 1, 10) == 1;
        if (!held && waitpid(pid, &status, WNOHANG) == pid) {
            break;
        }
    }
    if (!held) {
        assert_issued_once("never held");
        return 0;
    }
    stepca_line(&ca);
    apr_cpystrn(when, strstr(ca.reply, "\"what\""), sizeof(when));
    kill(pid, SIGKILL);
    ck_assert_int_eq(wait_owner(pid), 100 + SIGKILL);
    stepca_command(&ca, "release");
    ck_assert_int_eq(run_owner(&owner), 0);
    assert_issued_once(apr_psprintf(world.pool, "%s %s", command, when));
    return 1;
}

START_TEST(dies_while_a_reply_is_held)
{
    int n;

    for (n = 1; killed_at(n, _i == 0 ? "before" : "after"); n++) {
        ck_assert_int_lt(n, 30);
    }
    ck_assert_int_gt(n, 7);
}
END_TEST

/* Recorded and not published: the manager of the next owner sees to that. */
static int staged(void)
{
    acme_board_t *board = stepca_board(&world, world.pool);
    acme_store_t *store = stepca_store(&world, board, world.pool);
    acme_record_set_t set;

    ck_assert(store->load(store, &set, world.spec[0].id, world.pool, NULL) == ACME_OK);
    return set.present[ACME_REC_CERTIFICATE] && set.present[ACME_REC_KEY];
}

START_TEST(dies_at_an_operation_of_the_store)
{
    int n, died = 9, left_staged = 0;

    for (n = 1; died == 9; n++) {
        owner_t mortal = {.die_at = n, .die_after = _i};
        owner_t next = {0};

        fresh_world();
        died = run_owner(&mortal);
        if (died == 9 && staged()) {
            left_staged++;
            ck_assert_int_eq(number("issued"), 1);
        }
        else if (died == 9 && acme_board_row_generation(stepca_board(&world, world.pool), 0) == 0) {
            ck_assert_int_eq(run_owner(&next), 0);
            assert_issued_once(apr_psprintf(world.pool, "store operation %d", n));
        }
    }
    ck_assert_int_eq(left_staged, 1);
    ck_assert_int_gt(n, 5);
}
END_TEST

START_TEST(counts_what_arrived_when_a_challenge_fails)
{
    owner_t owner = {0};

    stepca_command(&ca, "fail");
    ck_assert_int_eq(run_owner(&owner), 0);
    ck_assert(result->rv == ACME_FAIL);
    ck_assert(result->err.kind == ACME_E_CHALLENGE);
    ck_assert_msg(strstr(result->err.text, "arrivals here: 0 over IPv4, 0 over IPv6, 0 with a "
                                           "foreign Host; 0 strays") != NULL, "%s",
                  result->err.text);
    ck_assert(strstr(result->err.text, "unauthorized") != NULL);
    ck_assert_int_eq(result->challenges, 0);
    /* The order is dead: the next attempt places another. */
    stepca_command(&ca, "fail none");
    ck_assert_int_eq(run_owner(&owner), 0);
    ck_assert_msg(result->rv == ACME_OK, "%s", result->err.text);
    ck_assert_int_eq(number("orders"), 2);
}
END_TEST

START_TEST(the_pending_key_serves_every_attempt)
{
    owner_t owner = {0};
    off_t size = 0, later;
    int i;

    stepca_command(&ca, "refuse rejectedIdentifier");
    for (i = 0; i < 3; i++) {
        ck_assert_int_eq(run_owner(&owner), 0);
        ck_assert(result->rv == ACME_FAIL);
        ck_assert_str_eq(result->err.problem, "rejectedIdentifier");
        ck_assert_str_eq(result->step, "new-order");
        later = lseek(world.key_fd[0], 0, SEEK_END);
        ck_assert(i == 0 || later == size);
        size = later;
    }
    ck_assert_int_gt(size, 0);
    stepca_command(&ca, "refuse none");
    ck_assert_int_eq(run_owner(&owner), 0);
    assert_issued_once("after three refusals");
    ck_assert(lseek(world.key_fd[0], 0, SEEK_END) == size);
}
END_TEST

START_TEST(a_full_disk_costs_no_order)
{
    owner_t owner = {.full = 3};

    ck_assert_int_eq(run_owner(&owner), 0);
    assert_issued_once("disk full");
    ck_assert_int_eq(result->live, 1);
    ck_assert_int_eq(result->alarms, 3);
    ck_assert(strstr(result->log, "is not on disk yet") != NULL);
}
END_TEST

START_TEST(another_key_is_refused)
{
    owner_t owner = {0};
    acme_board_t *board = stepca_board(&world, world.pool);

    stepca_command(&ca, "wrongkey on");
    ck_assert_int_eq(run_owner(&owner), 0);
    ck_assert(result->rv == ACME_FAIL);
    ck_assert(result->err.kind == ACME_E_CERTIFICATE);
    ck_assert_uint_eq(acme_board_row_generation(board, 0), 0);
    stepca_command(&ca, "wrongkey off");
    ck_assert_int_eq(run_owner(&owner), 0);
    ck_assert_msg(result->rv == ACME_OK, "%s", result->err.text);
    ck_assert_int_eq(number("orders"), 2);
}
END_TEST

START_TEST(asked_to_stop_it_leaves_everything_in_place)
{
    owner_t owner = {.stop_after = 1};
    owner_t next = {0};
    int stops;

    for (stops = 0; result->rv != ACME_OK || stops == 0; stops++) {
        owner.stop_after = 1 + stops * 7;
        owner.questions = 0;
        ck_assert_int_eq(run_owner(&owner), 0);
        ck_assert_msg(result->rv == ACME_OK || result->err.kind == ACME_E_STOPPED, "%s",
                      result->err.text);
        ck_assert_int_lt(stops, 60);
    }
    ck_assert_int_gt(stops, 2);
    assert_issued_once("stopped again and again");
    (void)next;
}
END_TEST

START_TEST(an_account_the_ca_forgot_is_restored)
{
    owner_t owner = {0};

    stepca_command(&ca, "refuse rejectedIdentifier");
    ck_assert_int_eq(run_owner(&owner), 0);
    stepca_command(&ca, "reset");
    ck_assert_int_eq(run_owner(&owner), 0);
    assert_issued_once("account forgotten");
}
END_TEST

START_TEST(without_a_list_of_orders_it_still_goes_on)
{
    owner_t owner = {0};

    stepca_command(&ca, "orders off");
    ck_assert_int_eq(run_owner(&owner), 0);
    assert_issued_once("no list of orders");
}
END_TEST

/* ---- a real CA ---- */

typedef struct {
    pid_t pid;
    char config[PATH_MAX];
} pebble_t;

static int pebble_path(char *out, size_t size)
{
    static const char *const places[] = {"/usr/bin/pebble", "/usr/local/bin/pebble"};
    size_t i;

    for (i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
        if (stepca_readable(places[i])) {
            snprintf(out, size, "%s", places[i]);
            return 1;
        }
    }
    return 0;
}

static int free_port(void)
{
    apr_sockaddr_t *address;
    apr_socket_t *socket;
    int port;

    ck_assert(apr_sockaddr_info_get(&address, "127.0.0.1", APR_INET, 0, 0, world.pool)
              == APR_SUCCESS);
    ck_assert(apr_socket_create(&socket, APR_INET, SOCK_STREAM, 0, world.pool) == APR_SUCCESS);
    ck_assert(apr_socket_bind(socket, address) == APR_SUCCESS);
    ck_assert(apr_socket_addr_get(&address, APR_LOCAL, socket) == APR_SUCCESS);
    port = address->port;
    apr_socket_close(socket);
    return port;
}

static void pebble_start(pebble_t *pebble, const char *program, int port)
{
    FILE *f;

    snprintf(pebble->config, sizeof(pebble->config), "%s/pebble.json", ca.dir);
    f = fopen(pebble->config, "w");
    ck_assert(f != NULL);
    fprintf(f, "{\"pebble\":{\"listenAddress\":\"127.0.0.1:%d\",\"managementListenAddress\":"
               "\"127.0.0.1:%d\",\"certificate\":\"%s/server.pem\",\"privateKey\":"
               "\"%s/server.pem\",\"httpPort\":5002,\"tlsPort\":5001,"
               "\"certificateValidityPeriod\":7776000}}",
            port, free_port(), ca.dir, ca.dir);
    fclose(f);
    pebble->pid = fork();
    ck_assert(pebble->pid >= 0);
    if (pebble->pid == 0) {
        int null = open("/dev/null", O_RDWR);

        dup2(null, 1);
        dup2(null, 2);
        setenv("PEBBLE_VA_ALWAYS_VALID", "1", 1);
        setenv("PEBBLE_VA_NOSLEEP", "1", 1);
        setenv("PEBBLE_WFE_NONCEREJECT", "20", 1);
        execl(program, program, "-strict", "-config", pebble->config, (char *)NULL);
        _exit(127);
    }
}

static int answers(int port)
{
    acme_error_t err;
    apr_socket_t *socket;
    int i;

    for (i = 0; i < 100; i++) {
        acme_error_clear(&err);
        if (acme_net_connect(&socket, "127.0.0.1", (apr_port_t)port, APR_INT64_MAX, NULL,
                             world.pool, &err) == ACME_OK) {
            return 1;
        }
        apr_sleep(50000);
    }
    return 0;
}

START_TEST(obtains_from_pebble)
{
    owner_t owner = {0};
    char program[PATH_MAX], url[128];
    pebble_t pebble;
    int port, status;

    if (!pebble_path(program, sizeof(program))) {
        printf("client: no pebble on this machine, its test is skipped\n");
        return;
    }
    port = free_port();
    pebble_start(&pebble, program, port);
    ck_assert(answers(port));
    snprintf(url, sizeof(url), "https://localhost:%d/dir", port);
    stepca_world_end(&world);
    stepca_world(&world, url, ca.ca_file, 1);
    ck_assert_int_eq(run_owner(&owner), 0);
    kill(pebble.pid, SIGKILL);
    waitpid(pebble.pid, &status, 0);
    unlink(pebble.config);
    ck_assert_msg(result->rv == ACME_OK, "%s\n%s", result->err.text, result->log);
    ck_assert_int_eq(result->challenges, 0);
    ck_assert_int_eq(result->live, 1);
}
END_TEST

Suite *client_suite(void)
{
    Suite *s = suite_create("client");
    TCase *tc = tcase_create("client");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 120);
    tcase_add_test(tc, obtains_and_publishes);
    tcase_add_loop_test(tc, dies_while_a_reply_is_held, 0, 2);
    tcase_add_loop_test(tc, dies_at_an_operation_of_the_store, 0, 2);
    tcase_add_test(tc, counts_what_arrived_when_a_challenge_fails);
    tcase_add_test(tc, the_pending_key_serves_every_attempt);
    tcase_add_test(tc, a_full_disk_costs_no_order);
    tcase_add_test(tc, another_key_is_refused);
    tcase_add_test(tc, asked_to_stop_it_leaves_everything_in_place);
    tcase_add_test(tc, an_account_the_ca_forgot_is_restored);
    tcase_add_test(tc, without_a_list_of_orders_it_still_goes_on);
    tcase_add_test(tc, obtains_from_pebble);
    suite_add_tcase(s, tc);
    return s;
}
