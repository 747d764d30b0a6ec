/* Licensed under the Apache License, Version 2.0; see LICENSE. */

#include <string.h>

#include <apr_general.h>
#include <apr_strings.h>
#include <check.h>

#include "base/time.h"
#include "protocol/backoff.h"
#include "protocol/policy.h"

#define COUNT(table) ((int)(sizeof(table) / sizeof((table)[0])))
#define S APR_USEC_PER_SEC
#define HOUR (3600 * S)
#define DAY (24 * HOUR)
#define NOW (APR_INT64_C(1795529967) * S)

Suite *policy_suite(void);

static apr_pool_t *pool;

static void setup(void)
{
    apr_initialize();
    apr_pool_create(&pool, NULL);
}

static void teardown(void)
{
    apr_pool_destroy(pool);
}

/* A certificate of this lifetime with this much of it left; what follows is the decision. */
static const struct {
    apr_interval_time_t lifetime, left;
    apr_interval_time_t before;
    int percent;
    acme_do_t what;
    const char *why;
} certificates[] = {
    /* 1/3 of 90 days, 1/2 of 160 hours and of 12 hours, to the second */
    {90 * DAY, 30 * DAY + S, 0, 0, ACME_DO_NOTHING, "valid"},
    {90 * DAY, 30 * DAY, 0, 0, ACME_DO_ORDER, "due"},
    {90 * DAY, 30 * DAY - S, 0, 0, ACME_DO_ORDER, "due"},
    {160 * HOUR, 80 * HOUR + S, 0, 0, ACME_DO_NOTHING, "valid"},
    {160 * HOUR, 80 * HOUR, 0, 0, ACME_DO_ORDER, "due"},
    {10 * DAY, 5 * DAY, 0, 0, ACME_DO_NOTHING, "valid"},
    {10 * DAY - S, 5 * DAY - S, 0, 0, ACME_DO_ORDER, "due"},
    {12 * HOUR, 6 * HOUR + S, 0, 0, ACME_DO_NOTHING, "valid"},
    {12 * HOUR, 6 * HOUR, 0, 0, ACME_DO_ORDER, "due"},
    /* two weeks as the administrator wrote them */
    {90 * DAY, 13 * DAY + 23 * HOUR, 14 * DAY, 0, ACME_DO_ORDER, "due"},
    {90 * DAY, 14 * DAY - S, 14 * DAY, 0, ACME_DO_ORDER, "due"},
    {90 * DAY, 14 * DAY, 14 * DAY, 0, ACME_DO_ORDER, "due"},
    {90 * DAY, 14 * DAY + S, 14 * DAY, 0, ACME_DO_NOTHING, "valid"},
    {90 * DAY, 14 * DAY + HOUR, 14 * DAY, 0, ACME_DO_NOTHING, "valid"},
    {90 * DAY, 15 * DAY, 14 * DAY, 0, ACME_DO_NOTHING, "valid"},
    {90 * DAY, 16 * DAY, 14 * DAY, 0, ACME_DO_NOTHING, "valid"},
    /* never more than half a lifetime */
    {12 * HOUR, 6 * HOUR + S, 14 * DAY, 0, ACME_DO_NOTHING, "valid"},
    {12 * HOUR, 6 * HOUR, 14 * DAY, 0, ACME_DO_ORDER, "due"},
    {90 * DAY, 45 * DAY + S, 0, 99, ACME_DO_NOTHING, "valid"},
    {90 * DAY, 45 * DAY, 0, 99, ACME_DO_ORDER, "due"},
    /* percent; both: the earlier */
    {90 * DAY, 18 * DAY + S, 0, 20, ACME_DO_NOTHING, "valid"},
    {90 * DAY, 18 * DAY, 0, 20, ACME_DO_ORDER, "due"},
    {90 * DAY, 18 * DAY, 14 * DAY, 20, ACME_DO_ORDER, "due"},
    {90 * DAY, 20 * DAY, 20 * DAY, 20, ACME_DO_ORDER, "due"},
    /* below 1/10 */
    {90 * DAY, 9 * DAY, 0, 0, ACME_DO_ORDER, "due"},
    {90 * DAY, 9 * DAY - S, 0, 0, ACME_DO_ORDER, "emergency"},
    {90 * DAY, 9 * DAY - S, 1 * DAY, 0, ACME_DO_ORDER, "emergency"},
    {90 * DAY, 0, 0, 0, ACME_DO_ORDER, "emergency"},
    {90 * DAY, -400 * DAY, 0, 0, ACME_DO_ORDER, "emergency"},
    {-DAY, -DAY, 0, 0, ACME_DO_ORDER, "emergency"},
};

static acme_facts_t facts_of(apr_interval_time_t lifetime, apr_interval_time_t left)
{
    acme_facts_t facts;

    memset(&facts, 0, sizeof(facts));
    facts.have = facts.names_ok = facts.directory_ok = 1;
    facts.not_after = NOW + left;
    facts.not_before = facts.not_after - lifetime;
    return facts;
}

START_TEST(a_certificate_is_renewed_to_the_second)
{
    acme_facts_t facts = facts_of(certificates[_i].lifetime, certificates[_i].left);
    acme_decision_t d;
    acme_spec_t spec;

    memset(&spec, 0, sizeof(spec));
    spec.renew_before = certificates[_i].before;
    spec.renew_before_percent = certificates[_i].percent;
    acme_policy_decide(&d, &spec, &facts, NULL, "d", 0, NOW);
    ck_assert_int_eq(d.what, certificates[_i].what);
    ck_assert_str_eq(d.why, certificates[_i].why);
    ck_assert_int_eq(d.renewal, certificates[_i].left > 0);
    if (d.what == ACME_DO_NOTHING) {
        ck_assert_int_eq(d.when, d.renew_at);
        ck_assert_int_gt(d.when, NOW);
        acme_policy_decide(&d, &spec, &facts, NULL, "d", 0, d.when);
        ck_assert_int_eq(d.what, ACME_DO_ORDER);
    }
}
END_TEST

/* The CA's moment, relative to now, of a certificate of 90 days. */
static const struct {
    apr_interval_time_t left, at;
    apr_interval_time_t before;
    int percent, ari;
    acme_do_t what;
    const char *why;
    apr_interval_time_t next; /* relative to now */
} windows[] = {
    /* It counts instead of the lifetime, earlier and later. */
    {40 * DAY, DAY, 0, 0, 1, ACME_DO_NOTHING, "valid", DAY},
    {40 * DAY, 0, 0, 0, 1, ACME_DO_ORDER, "renewal window", 0},
    {40 * DAY, -DAY, 0, 0, 1, ACME_DO_ORDER, "renewal window", 0},
    {30 * DAY - S, 5 * DAY, 0, 0, 1, ACME_DO_NOTHING, "valid", 5 * DAY},
    /* AcmeARI off. */
    {30 * DAY - S, 5 * DAY, 0, 0, 0, ACME_DO_ORDER, "due", 0},
    {40 * DAY, -DAY, 0, 0, 0, ACME_DO_NOTHING, "valid", 10 * DAY},
    /* With AcmeRenewBefore whichever is earlier. */
    {40 * DAY, 5 * DAY, 14 * DAY, 0, 1, ACME_DO_NOTHING, "valid", 5 * DAY},
    {40 * DAY, 30 * DAY, 14 * DAY, 0, 1, ACME_DO_NOTHING, "valid", 26 * DAY},
    {14 * DAY, 3 * DAY, 14 * DAY, 0, 1, ACME_DO_ORDER, "due", 0},
    {40 * DAY, 0, 14 * DAY, 0, 1, ACME_DO_ORDER, "renewal window", 0},
    {18 * DAY, 3 * DAY, 0, 20, 1, ACME_DO_ORDER, "due", 0},
    /* Below a tenth no window counts; one that is later than that is not waited for. */
    {9 * DAY - S, 5 * DAY, 0, 0, 1, ACME_DO_ORDER, "emergency", 0},
    {10 * DAY, 5 * DAY, 0, 0, 1, ACME_DO_NOTHING, "valid", DAY + 1},
};

START_TEST(a_window_of_the_ca_counts)
{
    acme_facts_t facts = facts_of(90 * DAY, windows[_i].left);
    acme_decision_t d;
    acme_spec_t spec;

    memset(&spec, 0, sizeof(spec));
    spec.ari = windows[_i].ari;
    spec.renew_before = windows[_i].before;
    spec.renew_before_percent = windows[_i].percent;
    facts.ari_at = NOW + windows[_i].at;
    acme_policy_decide(&d, &spec, &facts, NULL, "", 0, NOW);
    ck_assert_int_eq(d.what, windows[_i].what);
    ck_assert_str_eq(d.why, windows[_i].why);
    ck_assert_int_eq(d.when - NOW, windows[_i].next);
}
END_TEST

/* The CA's haste does not shorten the wait after a failure. */
START_TEST(a_window_does_not_break_the_ladder)
{
    acme_facts_t facts = facts_of(90 * DAY, 60 * DAY);
    acme_attempt_t attempt;
    acme_decision_t d;
    acme_spec_t spec;

    memset(&spec, 0, sizeof(spec));
    memset(&attempt, 0, sizeof(attempt));
    spec.ari = 1;
    facts.ari_at = NOW - HOUR;
    attempt.failures = 1;
    attempt.last = NOW;
    attempt.not_before = NOW + 60 * S;
    attempt.digest = "d";
    acme_policy_decide(&d, &spec, &facts, &attempt, "d", 0, NOW);
    ck_assert_int_eq(d.what, ACME_DO_NOTHING);
    ck_assert_int_eq(d.when, NOW + 60 * S);
}
END_TEST

START_TEST(changes_and_absence_order_at_once)
{
    acme_facts_t facts = facts_of(90 * DAY, 80 * DAY);
    acme_decision_t d;
    acme_spec_t spec;

    memset(&spec, 0, sizeof(spec));
    facts.names_ok = 0;
    acme_policy_decide(&d, &spec, &facts, NULL, "d", 0, NOW);
    ck_assert_str_eq(d.why, "names changed");
    ck_assert(d.what == ACME_DO_ORDER && d.renewal);
    facts.names_ok = 1;
    facts.directory_ok = 0;
    acme_policy_decide(&d, &spec, &facts, NULL, "d", 0, NOW);
    ck_assert_str_eq(d.why, "CA changed");
    ck_assert(d.what == ACME_DO_ORDER && d.renewal);
    facts.directory_ok = 1;
    acme_policy_decide(&d, &spec, &facts, NULL, "d", 1, NOW);
    ck_assert_str_eq(d.why, "asked for");
    ck_assert(d.what == ACME_DO_ORDER);
    memset(&facts, 0, sizeof(facts));
    acme_policy_decide(&d, &spec, &facts, NULL, "d", 0, NOW);
    ck_assert_str_eq(d.why, "no certificate");
    ck_assert(d.what == ACME_DO_ORDER && !d.renewal && d.renew_at == 0);
}
END_TEST

START_TEST(a_bad_configuration_or_clock_holds)
{
    acme_facts_t facts;
    acme_decision_t d;
    acme_spec_t spec;

    memset(&spec, 0, sizeof(spec));
    memset(&facts, 0, sizeof(facts));
    acme_policy_decide(&d, &spec, &facts, NULL, "d", 1, 0);
    ck_assert(d.what == ACME_DO_HOLD && d.when > 0);
    ck_assert_str_eq(d.why, "clock");
    acme_policy_decide(&d, &spec, &facts, NULL, "d", 0, APR_INT64_C(1704067199) * S);
    ck_assert_int_eq(d.what, ACME_DO_HOLD);
    acme_policy_decide(&d, &spec, &facts, NULL, "d", 0, APR_INT64_C(1704067200) * S);
    ck_assert_int_eq(d.what, ACME_DO_ORDER);
    spec.error = "two key files";
    acme_policy_decide(&d, &spec, &facts, NULL, "d", 1, NOW);
    ck_assert_int_eq(d.what, ACME_DO_HOLD);
    ck_assert_str_eq(d.why, "configuration");
}
END_TEST

/* What a restart does to the history. */
static acme_attempt_t restarted(const acme_attempt_t *attempt)
{
    const char *payload = acme_attempt_payload(attempt, pool);
    acme_attempt_t out;

    ck_assert_int_eq(acme_attempt_parse(&out, payload, strlen(payload), pool, NULL), ACME_OK);
    return out;
}

START_TEST(the_ladder_is_climbed_through_restarts)
{
    static const int minutes[] = {1, 10, 100, 24 * 60, 24 * 60};
    apr_time_t now = NOW;
    acme_attempt_t attempt;
    acme_decision_t d;
    acme_facts_t facts;
    acme_spec_t spec;
    int i, k;

    memset(&spec, 0, sizeof(spec));
    memset(&facts, 0, sizeof(facts));
    memset(&attempt, 0, sizeof(attempt));
    attempt.digest = "one";
    for (i = 0; i < COUNT(minutes); i++) {
        attempt.failures++;
        attempt.last = now;
        attempt.not_before = acme_backoff_next(now, attempt.failures, NULL, 0, 0.5);
        ck_assert_int_ge(attempt.not_before - now, minutes[i] * 60 * S);
        ck_assert_int_le(attempt.not_before - now, minutes[i] * 66 * S);
        for (k = 0; k < 10; k++) {
            attempt = restarted(&attempt);
        }
        acme_policy_decide(&d, &spec, &facts, &attempt, "one", 0, attempt.not_before - 1);
        ck_assert_int_eq(d.what, ACME_DO_NOTHING);
        ck_assert_str_eq(d.why, "waiting after a failure");
        ck_assert_int_eq(d.when, attempt.not_before);
        acme_policy_decide(&d, &spec, &facts, &attempt, "two", 0, now);
        ck_assert_int_eq(d.what, ACME_DO_ORDER);
        acme_policy_decide(&d, &spec, &facts, &attempt, "one", 1, now);
        ck_assert_int_eq(d.what, ACME_DO_ORDER);
        acme_policy_decide(&d, &spec, &facts, &attempt, "one", 0, attempt.not_before);
        ck_assert_int_eq(d.what, ACME_DO_ORDER);
        now = attempt.not_before;
    }
}
END_TEST

START_TEST(an_attempt_record_comes_back)
{
    acme_attempt_t in = {.failures = 3, .validations = 2, .not_before = NOW + HOUR, .last = NOW,
                         .kind = "challenge", .problem = "dns", .text = "a \"text\"",
                         .step = "validate", .challenge = "http-01", .why = "asked for",
                         .digest = "00ff"};
    acme_attempt_t out = restarted(&in);

    ck_assert_int_eq(out.failures, 3);
    ck_assert_int_eq(out.validations, 2);
    ck_assert_int_eq(out.not_before, in.not_before);
    ck_assert_int_eq(out.last, in.last);
    ck_assert_str_eq(out.kind, in.kind);
    ck_assert_str_eq(out.problem, in.problem);
    ck_assert_str_eq(out.text, in.text);
    ck_assert_str_eq(out.step, in.step);
    ck_assert_str_eq(out.challenge, in.challenge);
    ck_assert_str_eq(out.why, in.why);
    ck_assert_str_eq(out.digest, in.digest);
}
END_TEST

/* V: a validation fails, e: something else does, s: the rehearsal succeeds; after each: R the next
 * try goes to the staging, C to the CA itself. */
static const char *const courses[] = {
    "VC VR VR VR sC VR sC",
    "eC eC eC VC eC VR eC VR",
    "VC VR eC eC VR",
};

START_TEST(staging_after_two_validations)
{
    acme_attempt_t attempt;
    const char *at;
    int rehearsal = 0;

    memset(&attempt, 0, sizeof(attempt));
    for (at = courses[_i]; *at != '\0'; at += at[2] == ' ' ? 3 : 2) {
        attempt.failures += at[0] != 's';
        if (at[0] == 's') {
            acme_attempt_rehearsed(&attempt);
        }
        else {
            acme_attempt_failed(&attempt, at[0] == 'V', rehearsal);
        }
        attempt = restarted(&attempt);
        rehearsal = acme_policy_rehearse(&attempt);
        ck_assert_msg(rehearsal == (at[1] == 'R'), "%s", at);
    }
    attempt.failures = 0;
    ck_assert_int_eq(acme_policy_rehearse(&attempt), 0);
}
END_TEST

static const struct {
    const char *payload;
    acme_rv_t want;
} attempts[] = {
    {"{\"failures\":0,\"notBefore\":0,\"last\":0}", ACME_OK},
    {"{\"failures\":1000000,\"notBefore\":691200000000,\"last\":0}", ACME_OK},
    {"{\"failures\":1000001,\"notBefore\":0,\"last\":0}", ACME_FAIL},
    {"{\"failures\":1,\"validations\":1000000,\"notBefore\":0,\"last\":0}", ACME_OK},
    {"{\"failures\":1,\"validations\":1000001,\"notBefore\":0,\"last\":0}", ACME_FAIL},
    {"{\"failures\":1,\"validations\":-1,\"notBefore\":0,\"last\":0}", ACME_FAIL},
    {"{\"failures\":-1,\"notBefore\":0,\"last\":0}", ACME_FAIL},
    {"{\"failures\":1,\"notBefore\":691200000001,\"last\":0}", ACME_FAIL},
    {"{\"failures\":1,\"notBefore\":0,\"last\":-1}", ACME_FAIL},
    {"{\"failures\":1,\"notBefore\":-1,\"last\":0}", ACME_FAIL},
    {"{\"failures\":1,\"notBefore\":0,\"last\":9223372036854775807}", ACME_FAIL},
    {"{\"failures\":1.5,\"notBefore\":0,\"last\":0}", ACME_FAIL},
    {"{\"failures\":\"1\",\"notBefore\":0,\"last\":0}", ACME_FAIL},
    {"{\"failures\":1,\"notBefore\":0,\"last\":0,\"text\":1}", ACME_FAIL},
    {"{\"notBefore\":0,\"last\":0}", ACME_FAIL},
    {"{}", ACME_FAIL},
    {"", ACME_FAIL},
};

START_TEST(numbers_of_a_record_are_checked)
{
    acme_attempt_t out;

    ck_assert_int_eq(acme_attempt_parse(&out, attempts[_i].payload, strlen(attempts[_i].payload),
                                        pool, NULL), attempts[_i].want);
}
END_TEST

#define H ACME_CH_HTTP01
#define A ACME_CH_TLSALPN01
#define D ACME_CH_DNS01

static const struct {
    int n;
    const char *worked, *failed;
    acme_challenge_type_t want[3];
} orders[] = {
    {3, NULL, NULL, {H, A, D}},          {3, "", "", {H, A, D}},
    {3, "tls-alpn-01", NULL, {A, H, D}}, {3, "dns-01", "", {D, H, A}},
    {3, "tls-sni-01", NULL, {H, A, D}},  {3, NULL, "http-01", {A, D, H}},
    {3, NULL, "dns-01", {H, A, D}},      {3, "tls-alpn-01", "tls-alpn-01", {H, D, A}},
    {3, NULL, "tls-sni-01", {H, A, D}},  {1, NULL, "http-01", {H, H, H}},
    {2, "http-01", "tls-alpn-01", {H, A, H}},
};

START_TEST(types_alternate)
{
    acme_challenge_type_t out[ACME_CH_TYPES];
    acme_attempt_t attempt;
    acme_spec_t spec;
    int i;

    memset(&spec, 0, sizeof(spec));
    memset(&attempt, 0, sizeof(attempt));
    spec.challenges[0] = H;
    spec.challenges[1] = A;
    spec.challenges[2] = D;
    spec.n_challenges = orders[_i].n;
    attempt.failures = 1;
    attempt.challenge = orders[_i].failed;
    ck_assert_int_eq(acme_policy_challenges(out, &spec, orders[_i].worked,
                                            orders[_i].failed != NULL ? &attempt : NULL),
                     orders[_i].n);
    for (i = 0; i < orders[_i].n; i++) {
        ck_assert_int_eq(out[i], orders[_i].want[i]);
    }
    spec.n_challenges = 0;
    ck_assert_int_eq(acme_policy_challenges(out, &spec, "http-01", &attempt), 0);
}
END_TEST

#define SNI ACME_CH_TLSSNI01

/* Of a server where http-01 worked at 100 and failed at 120, tls-alpn-01 worked at 110, dns-01 at
 * 130: what a certificate with types [0..n) begins with. */
static const struct {
    int n;
    acme_challenge_type_t types[3];
    const char *own, *want;
} leaders[] = {
    {2, {H, A}, "tls-alpn-01", "tls-alpn-01"}, /* its own that has not failed */
    {2, {H, A}, "http-01", "tls-alpn-01"},     /* its own that has failed since */
    {2, {H, A}, NULL, "tls-alpn-01"},          /* a new one */
    {2, {H, A}, "", "tls-alpn-01"},
    {3, {H, D, A}, "dns-01", "dns-01"},
    {3, {H, D, A}, NULL, "tls-alpn-01"},       /* dns-01 says nothing about the server */
    {2, {H, D}, NULL, NULL},                   /* nothing of its list */
    {2, {H, D}, "http-01", "http-01"},         /* failed, but there is nothing better */
    {2, {H, SNI}, NULL, NULL},
    {2, {H, A}, "x-99", "x-99"},               /* unknown: not found in the list later */
};

START_TEST(what_worked_on_the_server_leads)
{
    acme_proven_t proven;
    acme_spec_t spec;
    const char *leads;

    memset(&spec, 0, sizeof(spec));
    memset(&proven, 0, sizeof(proven));
    acme_proven_note(&proven, "http-01", 1, 100);
    acme_proven_note(&proven, "http-01", 0, 120);
    acme_proven_note(&proven, "http-01", 0, 90); /* older: changes nothing */
    acme_proven_note(&proven, "tls-alpn-01", 1, 110);
    acme_proven_note(&proven, "dns-01", 1, 130);
    acme_proven_note(&proven, "", 1, 140);
    acme_proven_note(&proven, NULL, 1, 140);
    acme_proven_note(&proven, "x-99", 1, 140);
    memcpy(spec.challenges, leaders[_i].types, sizeof(leaders[_i].types));
    spec.n_challenges = leaders[_i].n;
    leads = acme_policy_worked(&proven, &spec, leaders[_i].own);
    ck_assert_pstr_eq(leads, leaders[_i].want);
}
END_TEST

START_TEST(nothing_known_leads_to_the_configured_order)
{
    acme_proven_t proven;
    acme_spec_t spec;

    memset(&spec, 0, sizeof(spec));
    memset(&proven, 0, sizeof(proven));
    spec.challenges[0] = H;
    spec.challenges[1] = A;
    spec.n_challenges = 2;
    ck_assert_ptr_null(acme_policy_worked(&proven, &spec, NULL));
    ck_assert_str_eq(acme_policy_worked(&proven, &spec, "http-01"), "http-01");
    acme_proven_note(&proven, "tls-alpn-01", 0, 50);
    ck_assert_ptr_null(acme_policy_worked(&proven, &spec, NULL));
}
END_TEST

Suite *policy_suite(void)
{
    Suite *suite = suite_create("policy");
    TCase *tc = tcase_create("policy");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_loop_test(tc, a_certificate_is_renewed_to_the_second, 0, COUNT(certificates));
    tcase_add_loop_test(tc, a_window_of_the_ca_counts, 0, COUNT(windows));
    tcase_add_test(tc, a_window_does_not_break_the_ladder);
    tcase_add_test(tc, changes_and_absence_order_at_once);
    tcase_add_test(tc, a_bad_configuration_or_clock_holds);
    tcase_add_test(tc, the_ladder_is_climbed_through_restarts);
    tcase_add_test(tc, an_attempt_record_comes_back);
    tcase_add_loop_test(tc, staging_after_two_validations, 0, COUNT(courses));
    tcase_add_loop_test(tc, numbers_of_a_record_are_checked, 0, COUNT(attempts));
    tcase_add_loop_test(tc, types_alternate, 0, COUNT(orders));
    tcase_add_loop_test(tc, what_worked_on_the_server_leads, 0, COUNT(leaders));
    tcase_add_test(tc, nothing_known_leads_to_the_configured_order);
    suite_add_tcase(suite, tc);
    return suite;
}
