/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#include <pthread.h>
#include "base/time.h"
#include "engine/manager.h"
#include "stepca.h"

Suite *manager_suite(void);

#define MINUTE apr_time_from_sec(60)
#define HOUR (60 * MINUTE)
#define DAY (24 * HOUR)
#define LOG_SIZE (512 * 1024)

static stepca_t ca;
static stepca_world_t world;
static acme_ca_t other_ca;        /* a second one, for what is not at the model */
static acme_job_conf_t jobs[STEPCA_CERTS_MAX];
static acme_account_conf_t accounts[2];

/* One owner after the other; each is a manager in a thread. */
static struct {
    acme_manager_conf_t conf;
    acme_manager_t *manager;
    acme_board_t *board;
    apr_pool_t *pool;
    pthread_t thread;
    int stop;
    apr_interval_time_t offset;   /* of the clock */
    pthread_mutex_t mutex;
    char log[LOG_SIZE];
    size_t log_len;
} owner;

/* ---- ports ---- */

static apr_time_t shifted_now(void *baton)
{
    (void)baton;
    return apr_time_now() + __atomic_load_n(&owner.offset, __ATOMIC_ACQUIRE);
}

static int stopped(void *baton)
{
    (void)baton;
    return __atomic_load_n(&owner.stop, __ATOMIC_ACQUIRE);
}

static void write_line(void *baton, acme_log_level_t level, const char *subject, const char *line)
{
    int n;

    (void)baton;
    (void)subject;
    pthread_mutex_lock(&owner.mutex);
    n = snprintf(owner.log + owner.log_len, LOG_SIZE - owner.log_len, "%d %s\n", (int)level, line);
    if (n > 0 && owner.log_len + (size_t)n < LOG_SIZE) {
        owner.log_len += (size_t)n;
    }
    pthread_mutex_unlock(&owner.mutex);
}

static const acme_log_t log_port = {.write = write_line, .level = ACME_LOG_DEBUG};

/* How often a text stands in the log. */
static int logged(const char *text)
{
    const char *at;
    int n = 0;

    pthread_mutex_lock(&owner.mutex);
    owner.log[owner.log_len] = '\0';
    for (at = strstr(owner.log, text); at != NULL; at = strstr(at + 1, text)) {
        n++;
    }
    pthread_mutex_unlock(&owner.mutex);
    return n;
}

static int wait_logged(const char *text, int times, int ms)
{
    for (; ms > 0 && logged(text) < times; ms -= 5) {
        apr_sleep(5000);
    }
    return logged(text) >= times;
}

static void forget_log(void)
{
    pthread_mutex_lock(&owner.mutex);
    owner.log_len = 0;
    pthread_mutex_unlock(&owner.mutex);
}

/* ---- an owner ---- */

static void *run(void *baton)
{
    (void)baton;
    acme_manager_run(owner.manager);
    return NULL;
}

static void begin(int workers)
{
    int i;

    apr_pool_create(&owner.pool, NULL);
    memset(&owner.conf, 0, sizeof(owner.conf));
    owner.stop = 0;
    owner.board = stepca_board(&world, owner.pool);
    for (i = 0; i < world.n; i++) {
        jobs[i].spec = &world.spec[i];
        jobs[i].row = i;
        jobs[i].can_stage = 1;
    }
    accounts[0].ca = &world.ca;
    accounts[0].account_id = "stepca-account";
    accounts[0].jwk = world.jwk;
    accounts[1].ca = &other_ca;
    accounts[1].account_id = "stepca-account";
    accounts[1].jwk = world.jwk;
    owner.conf.jobs = jobs;
    owner.conf.n_jobs = world.n;
    owner.conf.accounts = accounts;
    owner.conf.n_accounts = 2;
    owner.conf.board = owner.board;
    owner.conf.store = stepca_store(&world, owner.board, owner.pool);
    owner.conf.log = &log_port;
    owner.conf.workers = workers;
    owner.conf.user_agent = "test_manager";
    owner.conf.stop.stopped = stopped;
    owner.conf.config = 1;
    owner.conf.now = shifted_now;
}

static void start(void)
{
    ck_assert(acme_manager_create(&owner.manager, &owner.conf, owner.pool, NULL) == ACME_OK);
    ck_assert_int_eq(pthread_create(&owner.thread, NULL, run, NULL), 0);
}

/* Returns how long it took. */
static apr_interval_time_t end(void)
{
    apr_time_t from = apr_time_now();

    __atomic_store_n(&owner.stop, 1, __ATOMIC_RELEASE);
    ck_assert_int_eq(pthread_join(owner.thread, NULL), 0);
    from = apr_time_now() - from;
    apr_pool_destroy(owner.pool);
    return from;
}

static void move_clock(apr_interval_time_t by)
{
    (void)__atomic_add_fetch(&owner.offset, by, __ATOMIC_ACQ_REL);
    acme_manager_wake(owner.manager);
}

static int live(int from, int to)
{
    int i, n = 0;

    for (i = from; i < to; i++) {
        n += acme_board_row_generation(owner.board, i) > 0;
    }
    return n;
}

static int wait_live(int from, int to, int ms)
{
    for (; ms > 0 && live(from, to) < to - from; ms -= 5) {
        apr_sleep(5000);
    }
    return live(from, to) == to - from;
}

/* ---- fixtures ---- */

static void make_world(int n)
{
    stepca_world(&world, ca.directory, ca.ca_file, n);
    other_ca = world.ca;
    other_ca.name = "other";
    other_ca.index = 1;
}

static void give_ca(int i, acme_ca_t *one, acme_ca_t *two)
{
    acme_spec_t *spec = &world.spec[i];

    spec->cas = apr_array_make(world.pool, 2, sizeof(acme_ca_t *));
    APR_ARRAY_PUSH(spec->cas, acme_ca_t *) = one;
    if (two) {
        APR_ARRAY_PUSH(spec->cas, acme_ca_t *) = two;
    }
}

/* A port that nobody answers on: closed, or open with nobody accepting. */
static int silent_port(int *fd, int listening)
{
    struct sockaddr_in address;
    socklen_t len = sizeof(address);

    memset(&address, 0, sizeof(address));
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    *fd = socket(AF_INET, SOCK_STREAM, 0);
    ck_assert(bind(*fd, (struct sockaddr *)&address, len) == 0);
    ck_assert(!listening || listen(*fd, 16) == 0);
    ck_assert(getsockname(*fd, (struct sockaddr *)&address, &len) == 0);
    return ntohs(address.sin_port);
}

static void silence_other_ca(int *fd, int listening)
{
    other_ca.directory_url = apr_psprintf(world.pool, "https://127.0.0.1:%d/dir",
                                          silent_port(fd, listening));
}

static void setup(void)
{
    apr_initialize();
    signal(SIGPIPE, SIG_IGN);
    acme_json_init();
    memset(jobs, 0, sizeof(jobs));
    memset(&world, 0, sizeof(world));
    memset(&owner, 0, sizeof(owner));
    pthread_mutex_init(&owner.mutex, NULL);
    stepca_start(&ca);
}

static void teardown(void)
{
    stepca_world_end(&world);
    stepca_stop(&ca);
    apr_terminate();
}

/* ---- tests ---- */

START_TEST(waiting_orders_hold_no_worker_and_a_stalling_ca_nobody_else)
{
    apr_interval_time_t taken;
    int fd;

    make_world(21);
    silence_other_ca(&fd, 1);
    give_ca(0, &other_ca, NULL);
    stepca_command(&ca, "validate 1.0");
    begin(3);
    taken = apr_time_now();
    start();
    /* One after the other on the two workers that are left: 10 s. */
    ck_assert_msg(wait_live(1, 21, 8000), "%d live\n%s", live(1, 21), owner.log);
    taken = apr_time_now() - taken;
    ck_assert_msg(taken < apr_time_from_sec(6), "%d ms", (int)apr_time_as_msec(taken));
    ck_assert_int_eq(live(0, 1), 0);
    taken = end();
    close(fd);
    ck_assert_msg(taken < apr_time_from_sec(2), "%d ms to stop", (int)apr_time_as_msec(taken));
    ck_assert_int_eq(stepca_reply_number(stepca_command(&ca, "report"), "orders"), 20);
    ck_assert_int_eq(stepca_reply_number(ca.reply, "accounts"), 1);
}
END_TEST

/* The announced moment of the newest failure line. */
static apr_time_t announced(void)
{
    const char *at, *last = NULL;
    apr_time_t when = 0;

    pthread_mutex_lock(&owner.mutex);
    owner.log[owner.log_len] = '\0';
    for (at = strstr(owner.log, "next try at "); at; at = strstr(at + 1, "next try at ")) {
        last = at;
    }
    ck_assert(last != NULL);
    last += strlen("next try at ");
    ck_assert(acme_time_parse_rfc3339(&when, last, 20) == ACME_OK);
    pthread_mutex_unlock(&owner.mutex);
    return when;
}

static apr_time_t recorded(void)
{
    acme_attempt_t attempt;
    acme_record_set_t set;

    ck_assert(owner.conf.store->load(owner.conf.store, &set, world.spec[0].id, owner.pool, NULL)
              == ACME_OK);
    ck_assert(set.present[ACME_REC_ATTEMPT]);
    ck_assert(acme_attempt_parse(&attempt, set.rec[ACME_REC_ATTEMPT].payload,
                                 set.rec[ACME_REC_ATTEMPT].len, owner.pool, NULL) == ACME_OK);
    return attempt.not_before;
}

static void owners_come_and_go(int n)
{
    int i, failures = logged("next try at");

    for (i = 0; i < n; i++) {
        end();
        begin(2);
        start();
        ck_assert(wait_logged("AC0713", 1, 2000));
        apr_sleep(30000);
    }
    ck_assert_int_eq(logged("next try at"), failures);
}

START_TEST(climbs_the_ladder_whoever_owns_it)
{
    static const apr_interval_time_t steps[] = {MINUTE, 10 * MINUTE, 100 * MINUTE, DAY, DAY};
    apr_time_t next, now;
    int fd, i;

    make_world(1);
    silence_other_ca(&fd, 0);
    give_ca(0, &other_ca, NULL);
    begin(2);
    start();
    for (i = 0; i < 5; i++) {
        ck_assert_msg(wait_logged("next try at", i + 1, 3000), "%d\n%s", i, owner.log);
        apr_sleep(50000);
        ck_assert_int_eq(logged("next try at"), i + 1);
        now = shifted_now(NULL);
        next = announced();
        ck_assert_msg(next - now > steps[i] - 2 * APR_USEC_PER_SEC
                      && next - now < steps[i] + steps[i] / 10 + 2 * APR_USEC_PER_SEC,
                      "step %d: %d s", i, (int)apr_time_sec(next - now));
        ck_assert(recorded() == next);
        ck_assert_int_eq(logged(apr_psprintf(world.pool, "attempt %d,", i + 1)), 1);
        if (i == 1) {
            owners_come_and_go(10);
            ck_assert(recorded() == next);
        }
        /* Just before it nothing happens. */
        move_clock(next - shifted_now(NULL) - APR_USEC_PER_SEC);
        apr_sleep(250000);
        ck_assert_int_eq(logged("next try at"), i + 1);
        move_clock(APR_USEC_PER_SEC);
    }
    end();
    close(fd);
}
END_TEST

START_TEST(what_an_earlier_owner_obtained_is_not_ordered_again)
{
    make_world(2);
    begin(2);
    start();
    ck_assert_msg(wait_live(0, 2, 5000), "%s", owner.log);
    ck_assert(wait_logged("next renewal at", 2, 2000));
    ck_assert_int_eq(logged("5 AC0710: 2 certificates: 0 valid, 0 due, 0 failing, 2 never issued; "
                            "CA stepca"), 1);
    end();
    forget_log();
    begin(2);
    start();
    ck_assert(wait_logged("2 certificates: 2 valid, 0 due, 0 failing, 0 never issued", 1, 2000));
    apr_sleep(300000);
    end();
    ck_assert_int_eq(stepca_reply_number(stepca_command(&ca, "report"), "orders"), 2);
    /* When root has taken over what stands on the board, F decides. */
    forget_log();
    begin(2);
    jobs[0].baseline = acme_board_row_generation(owner.board, 0);
    jobs[0].facts.have = 0;
    start();
    ck_assert(wait_logged("AC0810", 1, 5000));
    end();
    ck_assert_int_eq(stepca_reply_number(stepca_command(&ca, "report"), "orders"), 3);
}
END_TEST

START_TEST(what_an_earlier_owner_staged_goes_live_without_an_order)
{
    make_world(1);
    world.spec[0].activate = ACME_ACTIVATE_RESTART;
    begin(1);
    start();
    ck_assert_msg(wait_logged("AC0811", 1, 5000), "%s", owner.log);
    ck_assert(wait_logged("next renewal at", 1, 2000));
    end();
    ck_assert_int_eq(logged("AC0810"), 0);
    world.spec[0].activate = ACME_ACTIVATE_NOW;
    begin(1);
    ck_assert_int_eq(live(0, 1), 0);
    start();
    ck_assert_msg(wait_live(0, 1, 2000), "%s", owner.log);
    ck_assert(wait_logged("obtained by an earlier owner", 1, 1000));
    ck_assert(wait_logged("1 certificate: 1 valid", 1, 1000));
    end();
    ck_assert_int_eq(stepca_reply_number(stepca_command(&ca, "report"), "orders"), 1);
}
END_TEST

START_TEST(retry_now_counts_once_for_each_configuration)
{
    int fd;

    make_world(1);
    silence_other_ca(&fd, 0);
    give_ca(0, &other_ca, NULL);
    begin(1);
    start();
    ck_assert(wait_logged("next try at", 1, 3000));
    end();
    begin(1);
    jobs[0].retry_now = 1;
    owner.conf.config = 7;
    start();
    ck_assert(wait_logged("next try at", 2, 3000));
    ck_assert_int_eq(logged("attempt 2,"), 1);
    end();
    begin(1);
    owner.conf.config = 7;
    start();
    apr_sleep(300000);
    end();
    ck_assert_int_eq(logged("next try at"), 2);
    /* Another configuration of the certificate starts afresh. */
    jobs[0].retry_now = 0;
    APR_ARRAY_PUSH(world.spec[0].names, const char *) = "www.one.example.org";
    world.spec[0].digest = acme_spec_digest(&world.spec[0], world.pool);
    begin(1);
    start();
    ck_assert(wait_logged("next try at", 3, 3000));
    end();
    ck_assert_int_eq(logged("attempt 1,"), 2);
    close(fd);
}
END_TEST

START_TEST(the_next_ca_takes_over_from_one_that_is_down)
{
    int fd;

    make_world(1);
    silence_other_ca(&fd, 0);
    give_ca(0, &other_ca, &world.ca);
    world.spec[0].failover_after = 2;
    begin(1);
    start();
    ck_assert(wait_logged("next try at", 1, 3000));
    ck_assert_int_eq(logged(" with stepca"), 0);
    move_clock(2 * MINUTE);
    ck_assert(wait_logged("next try at", 2, 3000));
    ck_assert_int_eq(logged(" with stepca"), 1);
    move_clock(2 * MINUTE);
    ck_assert_msg(wait_live(0, 1, 5000), "%s", owner.log);
    end();
    close(fd);
}
END_TEST

START_TEST(a_failed_validation_stays_with_its_ca)
{
    int fd;

    make_world(1);
    silence_other_ca(&fd, 0);
    give_ca(0, &world.ca, &other_ca);
    world.spec[0].failover_after = 1;
    stepca_command(&ca, "fail");
    begin(1);
    start();
    ck_assert_msg(wait_logged("next try at", 1, 5000), "%s", owner.log);
    ck_assert_int_eq(logged(" with other"), 0);
    ck_assert_msg(logged("arrivals here: 0 over IPv4") == 1, "%s", owner.log);
    end();
    close(fd);
}
END_TEST

START_TEST(new_certificates_go_before_renewals)
{
    apr_time_t now = apr_time_now();
    char *first, *second;
    int i;

    make_world(3);
    for (i = 0; i < 2; i++) {
        jobs[i].facts.have = jobs[i].facts.names_ok = jobs[i].facts.directory_ok = 1;
        jobs[i].facts.not_before = now - 80 * DAY;
        jobs[i].facts.not_after = now + (10 - i) * DAY;
    }
    begin(1);
    start();
    ck_assert_msg(wait_live(0, 3, 5000), "%s", owner.log);
    end();
    first = strstr(owner.log, "n02.example.org: ordering");
    second = strstr(owner.log, "n01.example.org: ordering");
    ck_assert(first != NULL && second != NULL && first < second);
    ck_assert(second < strstr(owner.log, "n00.example.org: ordering"));
}
END_TEST

START_TEST(a_clock_that_jumps_neither_storms_nor_stretches_a_wait)
{
    int fd;

    make_world(2);
    silence_other_ca(&fd, 0);
    give_ca(0, &other_ca, NULL);
    begin(2);
    start();
    ck_assert(wait_logged("next try at", 1, 3000));
    ck_assert(wait_live(1, 2, 5000));
    move_clock(-365 * DAY);
    ck_assert(wait_logged("5 AC0703: the clock jumped back", 1, 2000));
    apr_sleep(100000);
    move_clock(2 * MINUTE);
    ck_assert_msg(wait_logged("attempt 2,", 1, 3000), "%s", owner.log);
    apr_sleep(300000);
    ck_assert_int_eq(logged("next try at"), 2);
    ck_assert_int_eq(logged("AC0720"), 1);
    end();
    close(fd);
}
END_TEST

START_TEST(an_order_in_flight_survives_a_jump)
{
    make_world(1);
    stepca_command(&ca, "validate 1.0");
    begin(1);
    start();
    ck_assert(wait_logged("AC0390: one.example.org: challenge", 1, 3000));
    apr_sleep(200000);
    move_clock(-DAY);
    apr_sleep(200000);
    move_clock(2 * DAY);
    ck_assert_msg(wait_live(0, 1, 6000), "%s", owner.log);
    end();
    ck_assert_int_eq(stepca_reply_number(stepca_command(&ca, "report"), "orders"), 1);
}
END_TEST

START_TEST(tells_of_expiry_once_for_each_threshold)
{
    apr_time_t now = apr_time_now();
    int fd;

    make_world(1);
    silence_other_ca(&fd, 0);
    give_ca(0, &other_ca, NULL);
    jobs[0].facts.have = jobs[0].facts.names_ok = jobs[0].facts.directory_ok = 1;
    jobs[0].facts.not_before = now - 75 * DAY;
    jobs[0].facts.not_after = now + 15 * DAY;
    begin(1);
    start();
    ck_assert(wait_logged("next try at", 1, 3000));
    move_clock(HOUR);
    ck_assert_msg(wait_logged("3 AC0704: one.example.org: expires at", 1, 3000), "%s", owner.log);
    move_clock(HOUR);
    apr_sleep(300000);
    ck_assert_int_eq(logged("AC0704"), 1);
    move_clock(8 * DAY);
    ck_assert(wait_logged("AC0704", 2, 3000));
    move_clock(10 * DAY);
    ck_assert(wait_logged("has expired at", 1, 3000));
    end();
    close(fd);
}
END_TEST

START_TEST(trouble_holds_one_certificate_only)
{
    acme_board_status_t status;

    make_world(2);
    jobs[0].trouble = "/store/n00.upd: mode 0644, wanted 0600";
    begin(1);
    start();
    ck_assert(wait_live(1, 2, 5000));
    ck_assert(wait_logged("2 never issued (1 held)", 1, 1000));
    ck_assert(acme_board_status_read(&status, owner.board, 0) == ACME_OK);
    ck_assert_str_eq(status.state, "held");
    ck_assert_str_eq(status.error, "/store/n00.upd: mode 0644, wanted 0600");
    end();
    ck_assert_int_eq(live(0, 0), 0);
}
END_TEST

START_TEST(nobody_to_do_anything_for_costs_nothing)
{
    make_world(1);
    begin(4);
    owner.conf.n_jobs = 0;
    start();
    ck_assert(wait_logged("0 certificates: 0 valid", 1, 1000));
    apr_sleep(100000);
    ck_assert(end() < apr_time_from_msec(600));
}
END_TEST

Suite *manager_suite(void)
{
    Suite *s = suite_create("manager");
    TCase *tc = tcase_create("manager");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, waiting_orders_hold_no_worker_and_a_stalling_ca_nobody_else);
    tcase_add_test(tc, climbs_the_ladder_whoever_owns_it);
    tcase_add_test(tc, what_an_earlier_owner_obtained_is_not_ordered_again);
    tcase_add_test(tc, what_an_earlier_owner_staged_goes_live_without_an_order);
    tcase_add_test(tc, retry_now_counts_once_for_each_configuration);
    tcase_add_test(tc, the_next_ca_takes_over_from_one_that_is_down);
    tcase_add_test(tc, a_failed_validation_stays_with_its_ca);
    tcase_add_test(tc, new_certificates_go_before_renewals);
    tcase_add_test(tc, a_clock_that_jumps_neither_storms_nor_stretches_a_wait);
    tcase_add_test(tc, an_order_in_flight_survives_a_jump);
    tcase_add_test(tc, tells_of_expiry_once_for_each_threshold);
    tcase_add_test(tc, trouble_holds_one_certificate_only);
    tcase_add_test(tc, nobody_to_do_anything_for_costs_nothing);
    suite_add_tcase(s, tc);
    return s;
}
