/* Licensed under the Apache License, Version 2.0; see LICENSE. */

#include <string.h>

#include <apr_general.h>
#include <apr_strings.h>
#include <check.h>

#include "protocol/spec.h"

#define COUNT(table) ((int)(sizeof(table) / sizeof((table)[0])))

Suite *spec_suite(void);

static apr_pool_t *pool;

/* What a test may change; formed anew for each digest. */
typedef struct {
    acme_spec_t spec;
    acme_ca_t ca, other;
} world_t;

static void setup(void)
{
    apr_initialize();
    apr_pool_create(&pool, NULL);
}

static void teardown(void)
{
    apr_pool_destroy(pool);
}

static apr_array_header_t *list(const char *a, const char *b, const char *c)
{
    apr_array_header_t *out = apr_array_make(pool, 3, sizeof(const char *));
    const char *const all[] = {a, b, c};
    int i;

    for (i = 0; i < COUNT(all) && all[i]; i++) {
        APR_ARRAY_PUSH(out, const char *) = all[i];
    }
    return out;
}

static void form(world_t *w)
{
    memset(w, 0, sizeof(*w));
    w->ca.name = "ca";
    w->ca.directory_url = "https://ca.example/directory";
    w->ca.contacts = list("mailto:a@example.org", NULL, NULL);
    w->ca.terms_agreed = 1;
    w->ca.eab_kid = "kid-1";
    w->ca.eab_key = (const unsigned char *)"0123456789abcdef";
    w->ca.eab_key_len = 16;
    w->ca.eab_alg = "HS256";
    w->ca.auth_path = "/store/ca.jwk";
    w->other = w->ca;
    w->other.directory_url = "https://other.example/directory";
    w->spec.id = w->spec.label = "example.org";
    w->spec.names = list("example.org", "www.example.org", NULL);
    w->spec.key_type = ACME_KEY_P256;
    w->spec.challenges[0] = ACME_CH_HTTP01;
    w->spec.challenges[1] = ACME_CH_TLSALPN01;
    w->spec.n_challenges = 2;
    w->spec.cas = apr_array_make(pool, 2, sizeof(acme_ca_t *));
    APR_ARRAY_PUSH(w->spec.cas, acme_ca_t *) = &w->ca;
}

/* ---- one change each ---- */

#define CHANGE(name, statement) static void name(world_t *w) { statement; }

CHANGE(nothing, (void)w)
CHANGE(name_added, w->spec.names = list("example.org", "www.example.org", "mail.example.org"))
CHANGE(name_removed, w->spec.names = list("example.org", NULL, NULL))
CHANGE(name_other, w->spec.names = list("example.org", "web.example.org", NULL))
CHANGE(names_run_together, w->spec.names = list("example.orgwww.example.org", NULL, NULL))
CHANGE(names_turned, w->spec.names = list("www.example.org", "example.org", NULL))
CHANGE(names_doubled, w->spec.names = list("example.org", "www.example.org", "example.org"))
CHANGE(key_type, w->spec.key_type = ACME_KEY_RSA2048)
CHANGE(profile, w->spec.profile = "shortlived")
CHANGE(profile_empty, w->spec.profile = "")
CHANGE(staple, w->spec.must_staple = 1)
CHANGE(common_name, w->spec.common_name = "example.org")
CHANGE(country, w->spec.country = "DE")
CHANGE(state, w->spec.state = "DE")
CHANGE(locality, w->spec.locality = "DE")
CHANGE(organization, w->spec.organization = "DE")
CHANGE(organization_latin, w->spec.organization = "B\xe4r")
CHANGE(challenges_turned, w->spec.challenges[0] = ACME_CH_TLSALPN01;
       w->spec.challenges[1] = ACME_CH_HTTP01)
CHANGE(challenge_removed, w->spec.n_challenges = 1)
CHANGE(challenge_added, w->spec.challenges[2] = ACME_CH_DNS01; w->spec.n_challenges = 3)
CHANGE(profile_required, w->spec.profile_required = 1)
CHANGE(ca_added, APR_ARRAY_PUSH(w->spec.cas, acme_ca_t *) = &w->other)
CHANGE(ca_other, APR_ARRAY_IDX(w->spec.cas, 0, acme_ca_t *) = &w->other)
CHANGE(ca_file, w->ca.ca_file = "/etc/ca.pem")
CHANGE(ca_proxy, w->ca.proxy = "http://proxy.example:3128")
CHANGE(contact_other, w->ca.contacts = list("mailto:b@example.org", NULL, NULL))
CHANGE(contact_none, w->ca.contacts = NULL)
CHANGE(terms, w->ca.terms_agreed = 0)
CHANGE(eab_kid, w->ca.eab_kid = "kid-2")
CHANGE(eab_none, w->ca.eab_kid = NULL; w->ca.eab_key = NULL; w->ca.eab_key_len = 0)
CHANGE(eab_key, w->ca.eab_key = (const unsigned char *)"0123456789abcdeg")
CHANGE(proxy_user, w->ca.proxy_user = "u:p")
CHANGE(eab_alg, w->ca.eab_alg = "HS384")
CHANGE(account, w->ca.auth_path = "/store/new.jwk")
CHANGE(where, w->spec.where = "httpd.conf:12")
CHANGE(label, w->spec.label = "x"; w->spec.id = "x"; w->spec.index = 7)
CHANGE(paths, w->spec.cert_path = "/c.pem"; w->spec.key_path = "/k.pem")
CHANGE(renewal, w->spec.renew_before = 1; w->spec.renew_before_percent = 20)
CHANGE(reuse, w->spec.key_reuse = 1)
CHANGE(activate, w->spec.activate = ACME_ACTIVATE_RESTART)
CHANGE(ca_name, w->ca.name = "renamed"; w->ca.index = 3)
CHANGE(ca_rate, w->ca.order_rate_count = 5; w->ca.order_rate_period = 1)

/* certificate: staged records become obsolete. attempt: a reason to try at once. */
static const struct {
    void (*change)(world_t *w);
    int certificate, attempt;
} changes[] = {
    {nothing, 0, 0}, {name_added, 1, 1}, {name_removed, 1, 1}, {name_other, 1, 1},
    {names_run_together, 1, 1}, {names_turned, 0, 0}, {names_doubled, 0, 0}, {key_type, 1, 1},
    {profile, 1, 1}, {profile_empty, 1, 1}, {staple, 1, 1}, {common_name, 0, 1}, {country, 0, 1},
    {state, 0, 1}, {locality, 0, 1}, {organization, 0, 1}, {organization_latin, 0, 1},
    {challenges_turned, 0, 1}, {challenge_removed, 0, 1}, {challenge_added, 0, 1},
    {profile_required, 0, 1}, {ca_added, 0, 1}, {ca_other, 0, 1}, {ca_file, 0, 1}, {ca_proxy, 0, 1},
    {contact_other, 0, 1}, {contact_none, 0, 1}, {terms, 0, 1}, {eab_kid, 0, 1}, {eab_none, 0, 1},
    {proxy_user, 0, 1},
    {eab_key, 0, 1}, {eab_alg, 0, 1}, {account, 0, 1}, {where, 0, 0}, {label, 0, 0}, {paths, 0, 0},
    {renewal, 0, 0}, {reuse, 0, 0}, {activate, 0, 0}, {ca_name, 0, 0}, {ca_rate, 0, 0},
};

START_TEST(digests_change_with_what_counts)
{
    world_t before, after;

    form(&before);
    form(&after);
    changes[_i].change(&after);
    ck_assert_int_eq(strcmp(acme_spec_digest(&before.spec, pool),
                            acme_spec_digest(&after.spec, pool)) != 0, changes[_i].certificate);
    ck_assert_int_eq(strcmp(acme_spec_attempt_digest(&before.spec, pool),
                            acme_spec_attempt_digest(&after.spec, pool)) != 0, changes[_i].attempt);
}
END_TEST

START_TEST(no_two_changes_have_the_same_digest)
{
    const char *digests[COUNT(changes)];
    int i, k;

    for (i = 0; i < COUNT(changes); i++) {
        world_t w;

        form(&w);
        changes[i].change(&w);
        digests[i] = acme_spec_attempt_digest(&w.spec, pool);
        for (k = 0; k < i; k++) {
            ck_assert_msg(strcmp(digests[i], digests[k]) != 0
                          || (!changes[i].attempt && !changes[k].attempt), "%d %d", i, k);
        }
    }
}
END_TEST

/* Records are kept longer than a version of this module. From a shell:
 * printf 'name=11:example.org\nname=15:www.example.org\nkey-type=5:P-256\n...' | sha256sum */
START_TEST(digests_stay_the_same_for_ever)
{
    world_t w;

    form(&w);
    ck_assert_str_eq(acme_spec_digest(&w.spec, pool),
                     "5c6313105d952114e413f37f537c8e675a02c3aaa8619bec6aee3f2b7b8628a8");
    ck_assert_str_eq(acme_spec_attempt_digest(&w.spec, pool),
                     "6d5a66bdeb3a9ef70d795a5437590681d02baa9233d1519e266acc34a80dfa11");
    w.spec.profile = "shortlived";
    w.spec.must_staple = 1;
    ck_assert_str_eq(acme_spec_digest(&w.spec, pool),
                     "0ae6400508e3a92e701c5ac4d38c0f2278fbfd2bbd132d7576bf94fba5a5bfc1");
}
END_TEST

START_TEST(digests_of_next_to_nothing)
{
    acme_spec_t spec;

    memset(&spec, 0, sizeof(spec));
    ck_assert_uint_eq(strlen(acme_spec_digest(&spec, pool)), 64);
    ck_assert_uint_eq(strlen(acme_spec_attempt_digest(&spec, pool)), 64);
    ck_assert_str_ne(acme_spec_digest(&spec, pool), acme_spec_attempt_digest(&spec, pool));
}
END_TEST

/* The caller's names stay in the order they have in orders and requests. */
START_TEST(names_are_left_alone)
{
    world_t w;

    form(&w);
    w.spec.names = list("www.example.org", "example.org", NULL);
    (void)acme_spec_digest(&w.spec, pool);
    ck_assert_str_eq(APR_ARRAY_IDX(w.spec.names, 0, const char *), "www.example.org");
    ck_assert_str_eq(APR_ARRAY_IDX(w.spec.names, 1, const char *), "example.org");
}
END_TEST

Suite *spec_suite(void)
{
    Suite *suite = suite_create("spec");
    TCase *tc = tcase_create("spec");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_loop_test(tc, digests_change_with_what_counts, 0, COUNT(changes));
    tcase_add_test(tc, no_two_changes_have_the_same_digest);
    tcase_add_test(tc, digests_stay_the_same_for_ever);
    tcase_add_test(tc, digests_of_next_to_nothing);
    tcase_add_test(tc, names_are_left_alone);
    suite_add_tcase(suite, tc);
    return suite;
}
