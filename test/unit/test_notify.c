/* Licensed under the Apache License, Version 2.0; see LICENSE. */

/* Owners that follow each other, with a store that keeps one record for each certificate. */

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <apr_general.h>
#include <apr_strings.h>
#include "command.h"
#include "engine/notify.h"
#include "io/net.h"

Suite *notify_suite(void);

#define CERTS 3
#define SECOND apr_time_from_sec(1)

static apr_pool_t *pool, *owner_pool;
static char dir[] = "/tmp/acme-notify.XXXXXX";
static const char *script, *command[3];
static acme_spec_t specs[CERTS];
static const acme_spec_t *spec_list[CERTS];
static char records[CERTS][4096];  /* "": none */
static int appended, warnings;
static acme_notify_t *notify;
static const char *const nothing[ACME_NOTICES];

/* ---- the world ---- */

static int cert_of(const char *id)
{
    int i;

    for (i = 0; i < CERTS; i++) {
        if (strcmp(specs[i].id, id) == 0) {
            return i;
        }
    }
    ck_abort_msg("no such certificate");
    return -1;
}

static acme_rv_t append(acme_store_t *self, const char *id, acme_record_type_t type,
                        const char *payload, apr_size_t len, apr_time_t now, apr_pool_t *scratch,
                        acme_error_t *err)
{
    char *record = records[cert_of(id)];

    (void)self, (void)now, (void)scratch, (void)err;
    ck_assert_int_eq(type, ACME_REC_NOTIFY);
    ck_assert(len < sizeof(records[0]));
    memcpy(record, payload, len);
    record[len] = '\0';
    appended++;
    return ACME_OK;
}

static acme_store_t store = {.append = append};

static void count_warnings(void *baton, acme_log_level_t level, const char *subject,
                           const char *line)
{
    (void)baton, (void)subject, (void)line;
    warnings += level == ACME_LOG_WARNING;
}

static const acme_log_t log_port = {.write = count_warnings, .level = ACME_LOG_DEBUG};

static apr_time_t now(void *baton)
{
    (void)baton;
    return apr_time_from_sec(1800000000);
}

static void owner_ends(void)
{
    apr_pool_destroy(owner_pool);
    notify = NULL;
}

/* baseline: of the first certificate. */
static void owner_begins(const char *const baseline[ACME_NOTICES])
{
    acme_program_runner_conf_t programs;
    acme_notify_conf_t conf;
    acme_record_set_t set;
    int i;

    memset(&programs, 0, sizeof(programs));
    memset(&conf, 0, sizeof(conf));
    apr_pool_create(&owner_pool, pool);
    programs.helper_fd = -1;
    ck_assert(acme_program_runner_create(&conf.runner, &programs, owner_pool, NULL) == ACME_OK);
    conf.command = command;
    conf.specs = spec_list;
    conf.n_specs = CERTS;
    conf.store = &store;
    conf.log = &log_port;
    conf.now = now;
    ck_assert(acme_notify_create(&notify, &conf, owner_pool, NULL) == ACME_OK);
    for (i = 0; i < CERTS; i++) {
        memset(&set, 0, sizeof(set));
        set.present[ACME_REC_NOTIFY] = records[i][0] != '\0';
        set.rec[ACME_REC_NOTIFY].payload = records[i];
        set.rec[ACME_REC_NOTIFY].len = strlen(records[i]);
        acme_notify_load(notify, i, &set, i == 0 ? baseline : nothing);
    }
}

static void write_script(const char *body)
{
    FILE *f = fopen(script, "w");

    ck_assert(f != NULL);
    ck_assert(fprintf(f, "#!/bin/sh\n%s\n", body) > 0);
    ck_assert(fclose(f) == 0);
    ck_assert(chmod(script, 0755) == 0);
}

static void make_spec(acme_spec_t *spec, const char *id, const char *label)
{
    memset(spec, 0, sizeof(*spec));
    spec->id = id;
    spec->label = label;
    spec->names = apr_array_make(pool, 1, sizeof(const char *));
    APR_ARRAY_PUSH(spec->names, const char *) = label;
    spec->cert_path = "/store/crt.pem";
    spec->key_path = "/store/key.pem";
}

static void setup(void)
{
    int i;

    apr_initialize();
    apr_pool_create(&pool, NULL);
    strncpy(dir + sizeof(dir) - 7, "XXXXXX", 7);
    ck_assert(mkdtemp(dir) != NULL);
    script = apr_pstrcat(pool, dir, "/script", NULL);
    command[0] = script;
    command[1] = "fixed";
    make_spec(&specs[0], "a.test", "a.test");
    make_spec(&specs[1], "a.test.rsa2048", "a.test"); /* another key type of the same */
    make_spec(&specs[2], "_wildcard.b.test", "*.b.test");
    for (i = 0; i < CERTS; i++) {
        spec_list[i] = &specs[i];
    }
    memset(records, 0, sizeof(records));
    appended = warnings = 0;
    write_script(apr_psprintf(pool, "echo \"$*\" >>%s/told; cat >>%s/said", dir, dir));
}

static void teardown(void)
{
    if (notify != NULL) {
        owner_ends();
    }
    command_run("rm", "-rf", dir, NULL);
    apr_pool_destroy(pool);
    apr_terminate();
}

static const char *content(const char *name)
{
    char buffer[20000];
    FILE *f = fopen(apr_pstrcat(pool, dir, "/", name, NULL), "r");
    size_t n = 0;

    if (f != NULL) {
        n = fread(buffer, 1, sizeof(buffer) - 1, f);
        fclose(f);
    }
    buffer[n] = '\0';
    return apr_pstrdup(pool, buffer);
}

/* Turns until a file says that, at most 10 s. */
static void turn_until(const char *name, const char *wanted)
{
    apr_time_t until = acme_net_now() + 10 * SECOND;

    while (strcmp(content(name), wanted) != 0 && acme_net_now() < until) {
        acme_notify_turn(notify);
        apr_sleep(5000);
    }
    ck_assert_str_eq(content(name), wanted);
}

/* Until so many records have been written in all. */
static void turn_until_recorded(int n)
{
    apr_time_t until = acme_net_now() + 10 * SECOND;

    while (appended < n && acme_net_now() < until) {
        acme_notify_turn(notify);
        apr_sleep(5000);
    }
    ck_assert_int_eq(appended, n);
}

static void turn_for(apr_interval_time_t time)
{
    apr_time_t until = acme_net_now() + time;

    while (acme_net_now() < until) {
        acme_notify_turn(notify);
        apr_sleep(5000);
    }
}

static void happen(int cert, acme_notice_t event, const char *occurrence)
{
    acme_news_t news;

    memset(&news, 0, sizeof(news));
    news.serial = occurrence;
    acme_notify_event(notify, cert, event, occurrence, &news);
}

/* ---- tests ---- */

START_TEST(test_what_is_told)
{
    acme_news_t news;

    owner_begins(nothing);
    memset(&news, 0, sizeof(news));
    news.directory = "https://ca.test/dir";
    news.serial = "05f0";
    news.not_after = apr_time_from_sec(1800000600);
    news.error = "\"quoted\" `id` \033[31m";
    news.step = "finalize";
    news.problem = "caa";
    news.failures = 2;
    news.next_try = apr_time_from_sec(1800000060);
    acme_notify_event(notify, 2, ACME_NOTICE_FAILED, "05f0/2", &news);
    turn_until("said",
               "{\"event\":\"failed\",\"certificate\":\"*.b.test\",\"names\":[\"*.b.test\"],"
               "\"keyType\":\"P-256\",\"certificateFile\":\"/store/crt.pem\","
               "\"keyFile\":\"/store/key.pem\",\"directory\":\"https://ca.test/dir\","
               "\"serial\":\"05f0\",\"notAfter\":\"2027-01-15T08:10:00Z\","
               "\"error\":\"\\\"quoted\\\" `id` ?[31m\",\"step\":\"finalize\",\"problem\":\"caa\","
               "\"failures\":2,\"nextTry\":\"2027-01-15T08:01:00Z\","
               "\"time\":\"2027-01-15T08:00:00Z\"}\n");
    ck_assert_str_eq(content("told"), "fixed failed *.b.test\n");
}
END_TEST

/* In this owner and in those that follow. */
START_TEST(test_each_occurrence_once)
{
    owner_begins(nothing);
    happen(0, ACME_NOTICE_OBTAINED, "01");
    happen(0, ACME_NOTICE_OBTAINED, "01");
    acme_notify_turn(notify);
    happen(0, ACME_NOTICE_OBTAINED, "01");
    turn_until_recorded(2); /* before the first event, and after it */
    happen(0, ACME_NOTICE_OBTAINED, "01");
    turn_for(SECOND / 5);
    owner_ends();
    owner_begins(nothing);
    happen(0, ACME_NOTICE_OBTAINED, "01");
    happen(0, ACME_NOTICE_LIVE, "01");
    turn_until("told", "fixed obtained a.test\nfixed live a.test\n");
    turn_until_recorded(3);
    happen(0, ACME_NOTICE_OBTAINED, "02");
    turn_until("told", "fixed obtained a.test\nfixed live a.test\nfixed obtained a.test\n");
    ck_assert_int_eq(warnings, 0);
}
END_TEST

START_TEST(test_the_past_is_not_told)
{
    const char *baseline[ACME_NOTICES] = {NULL};

    baseline[ACME_NOTICE_OBTAINED] = baseline[ACME_NOTICE_LIVE] = "01";
    owner_begins(baseline);
    happen(0, ACME_NOTICE_OBTAINED, "01");
    happen(0, ACME_NOTICE_RENEWING, "01/0");
    turn_until("told", "fixed renewing a.test\n");
    turn_until_recorded(2);
    owner_ends();
    owner_begins(nothing); /* the record counts, not this */
    happen(0, ACME_NOTICE_LIVE, "01");
    happen(0, ACME_NOTICE_OBTAINED, "02");
    turn_until("told", "fixed renewing a.test\nfixed obtained a.test\n");
}
END_TEST

/* The owner goes before it has told all: what was running, what waited. */
START_TEST(test_the_next_owner_tells_the_rest)
{
    write_script(apr_psprintf(pool, "echo \"$*\" >>%s/told; sleep 60", dir));
    owner_begins(nothing);
    happen(0, ACME_NOTICE_OBTAINED, "01");
    happen(0, ACME_NOTICE_LIVE, "01");
    turn_until("told", "fixed obtained a.test\n");
    owner_ends();
    write_script(apr_psprintf(pool, "echo \"$*\" >>%s/told", dir));
    owner_begins(nothing);
    happen(0, ACME_NOTICE_OBTAINED, "01");
    happen(0, ACME_NOTICE_LIVE, "01");
    turn_until("told", "fixed obtained a.test\nfixed obtained a.test\nfixed live a.test\n");
}
END_TEST

/* One program at a time for a certificate, in order; another certificate does not wait. */
START_TEST(test_one_at_a_time)
{
    write_script(apr_psprintf(pool, "cd %s; echo $2 >>$3; case $3 in a.*) until test -e go; do "
                              "sleep 0.02; done; esac; echo end >>$3", dir));
    owner_begins(nothing);
    happen(0, ACME_NOTICE_RENEWING, "1");
    happen(0, ACME_NOTICE_OBTAINED, "1");
    happen(1, ACME_NOTICE_LIVE, "2");
    turn_until("a.test", "renewing\n");
    happen(2, ACME_NOTICE_FAILED, "3");
    turn_until("*.b.test", "failed\nend\n");
    turn_for(SECOND / 5);
    ck_assert_str_eq(content("a.test"), "renewing\n");
    command_run("touch", apr_pstrcat(pool, dir, "/go", NULL), NULL, NULL);
    turn_until("a.test", "renewing\nend\nobtained\nend\nlive\nend\n");
}
END_TEST

/* However many there are: the newest of a kind is what waits. */
START_TEST(test_the_newest_waits)
{
    int i;

    owner_begins(nothing);
    for (i = 1; i <= 100; i++) {
        happen(0, ACME_NOTICE_FAILED, apr_psprintf(pool, "/%d", i));
    }
    turn_until_recorded(2);
    turn_for(SECOND / 5);
    ck_assert_str_eq(content("told"), "fixed failed a.test\n");
    ck_assert(strstr(content("said"), "\"serial\":\"/100\"") != NULL);
}
END_TEST

START_TEST(test_a_failure_is_one_warning)
{
    owner_begins(nothing);
    write_script("exit 7");
    happen(0, ACME_NOTICE_OBTAINED, "01");
    turn_until_recorded(2);
    ck_assert_int_eq(warnings, 1);
    unlink(script);
    happen(0, ACME_NOTICE_LIVE, "01");
    turn_until_recorded(3);
    ck_assert_int_eq(warnings, 2);
    happen(0, ACME_NOTICE_LIVE, "01"); /* it was told */
    turn_for(SECOND / 5);
    ck_assert_int_eq(warnings, 2);
}
END_TEST

/* A child wrote it: anything may stand there. */
START_TEST(test_a_bad_record_is_none)
{
    static const char *const bad[] = {"junk", "[]", "{\"live\":1}", "{\"live\":\"\\u0000\"}"};
    char *longer = apr_pcalloc(pool, 3001);
    apr_size_t i;

    for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        strncpy(records[0], bad[i], sizeof(records[0]) - 1);
        owner_begins(nothing);
        happen(0, ACME_NOTICE_LIVE, apr_psprintf(pool, "%d", (int)i));
        turn_for(SECOND / 5);
        owner_ends();
    }
    memset(longer, 'x', 3000);
    snprintf(records[0], sizeof(records[0]), "{\"live\":\"%s\"}", longer);
    owner_begins(nothing);
    happen(0, ACME_NOTICE_LIVE, longer); /* equal as far as it is kept */
    turn_for(SECOND / 5);
    ck_assert_str_eq(content("told"), "fixed live a.test\nfixed live a.test\nfixed live a.test\n"
                                      "fixed live a.test\n");
}
END_TEST

START_TEST(test_nobody_wants_to_know)
{
    acme_record_set_t set;

    memset(&set, 0, sizeof(set));
    acme_notify_load(NULL, 0, &set, nothing);
    acme_notify_event(NULL, 0, ACME_NOTICE_LIVE, "01", NULL);
    acme_notify_turn(NULL);
}
END_TEST

Suite *notify_suite(void)
{
    Suite *suite = suite_create("notify");
    TCase *tc = tcase_create("notify");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, test_what_is_told);
    tcase_add_test(tc, test_each_occurrence_once);
    tcase_add_test(tc, test_the_past_is_not_told);
    tcase_add_test(tc, test_the_next_owner_tells_the_rest);
    tcase_add_test(tc, test_one_at_a_time);
    tcase_add_test(tc, test_the_newest_waits);
    tcase_add_test(tc, test_a_failure_is_one_warning);
    tcase_add_test(tc, test_a_bad_record_is_none);
    tcase_add_test(tc, test_nobody_wants_to_know);
    suite_add_tcase(suite, tc);
    return suite;
}
