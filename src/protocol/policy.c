/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#include "protocol/policy.h"

#include <string.h>

#include <apr_strings.h>

#include "base/json.h"
#include "base/time.h"

#define DAY apr_time_from_sec((apr_int64_t)86400)
#define SHORT_LIFE (10 * DAY)
#define CLOCK_MIN apr_time_from_sec(APR_INT64_C(1704067200)) /* 2024-01-01 */
#define CLOCK_AGAIN apr_time_from_sec((apr_int64_t)60)
#define WAIT_MAX (8 * DAY)
#define FAILURES_MAX 1000000
#define REHEARSE_AFTER 2 /* failed validations */
#define TIME_MAX apr_time_from_sec(APR_INT64_C(253402300799)) /* end of 9999 */

static const char *or_empty(const char *text)
{
    return text != NULL ? text : "";
}

/* ---- the attempt record ---- */

const char *acme_attempt_payload(const acme_attempt_t *attempt, apr_pool_t *pool)
{
    acme_json_t *json = acme_json_new_object(pool);
    const char *text;

    acme_json_set_int(json, "failures", attempt->failures);
    acme_json_set_int(json, "validations", attempt->validations);
    acme_json_set_int(json, "notBefore", attempt->not_before);
    acme_json_set_int(json, "last", attempt->last);
    acme_json_set_string(json, "kind", or_empty(attempt->kind));
    acme_json_set_string(json, "problem", or_empty(attempt->problem));
    acme_json_set_string(json, "text", or_empty(attempt->text));
    acme_json_set_string(json, "step", or_empty(attempt->step));
    acme_json_set_string(json, "challenge", or_empty(attempt->challenge));
    acme_json_set_string(json, "why", or_empty(attempt->why));
    if (attempt->blamed != NULL && *attempt->blamed != '\0') {
        acme_json_set_string(json, "blamed", attempt->blamed);
        acme_json_set_int(json, "blamedTimes", attempt->blamed_times);
    }
    if (attempt->left_out != NULL && attempt->left_out->nelts > 0) {
        acme_json_set(json, "leftOut", acme_json_names(attempt->left_out, pool));
    }
    acme_json_set_string(json, "digest", or_empty(attempt->digest));
    text = acme_json_dump(json, pool);
    return text != NULL ? text : "{}";
}

int acme_attempt_asked(const acme_attempt_t *attempt)
{
    return attempt->why != NULL && (strcmp(attempt->why, ACME_WISH) == 0
                                    || strcmp(attempt->why, ACME_WISH_NEW_KEY) == 0);
}

int acme_attempt_is_wish(const acme_attempt_t *attempt)
{
    return attempt->failures == 0 && acme_attempt_asked(attempt);
}

const char *acme_wish_payload(const char *wish, const char *challenge, const char *digest,
                              apr_time_t now, apr_pool_t *pool)
{
    acme_attempt_t attempt;

    memset(&attempt, 0, sizeof(attempt));
    attempt.last = now;
    attempt.why = wish;
    attempt.challenge = challenge;
    attempt.digest = digest;
    return acme_attempt_payload(&attempt, pool);
}

static acme_rv_t attempt_numbers(acme_attempt_t *out, const acme_json_t *json, acme_error_t *err)
{
    if (acme_json_get_int(&out->failures, json, "failures", -1, err) != ACME_OK
        || acme_json_get_int(&out->validations, json, "validations", 0, err) != ACME_OK
        || acme_json_get_int(&out->not_before, json, "notBefore", -1, err) != ACME_OK
        || acme_json_get_int(&out->last, json, "last", -1, err) != ACME_OK
        || acme_json_get_int(&out->blamed_times, json, "blamedTimes", 0, err) != ACME_OK) {
        return ACME_FAIL;
    }
    if (out->failures < 0 || out->failures > FAILURES_MAX || out->validations < 0
        || out->validations > FAILURES_MAX || out->blamed_times < 0
        || out->blamed_times > out->failures) {
        return acme_error_set(err, ACME_E_STORE, "AC0701",
                              "attempt record: the number of failures is out of range");
    }
    if (out->last < 0 || out->last > TIME_MAX || out->not_before < 0
        || out->not_before > acme_time_add(out->last, WAIT_MAX)) {
        return acme_error_set(err, ACME_E_STORE, "AC0709",
                              "attempt record: a time is out of range");
    }
    return ACME_OK;
}

acme_rv_t acme_attempt_parse(acme_attempt_t *out, const char *payload, apr_size_t len,
                             apr_pool_t *pool, acme_error_t *err)
{
    const struct {
        const char **text;
        const char *key;
    } texts[] = {
        {&out->kind, "kind"}, {&out->problem, "problem"}, {&out->text, "text"},
        {&out->step, "step"}, {&out->challenge, "challenge"}, {&out->why, "why"},
        {&out->digest, "digest"}, {&out->blamed, "blamed"},
    };
    char shown[ACME_ERROR_TEXT];
    acme_json_t *json;
    apr_size_t i;

    memset(out, 0, sizeof(*out));
    if (acme_json_parse(&json, payload, len, "attempt record", pool, err) != ACME_OK
        || attempt_numbers(out, json, err) != ACME_OK
        || acme_json_get_names(&out->left_out, json, "leftOut", pool, err) != ACME_OK) {
        return ACME_FAIL;
    }
    for (i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        if (acme_json_get_string(texts[i].text, json, texts[i].key, ACME_JSON_OPTIONAL, err)
            != ACME_OK) {
            return ACME_FAIL;
        }
        /* It goes to logs and status pages. */
        *texts[i].text = apr_pstrdup(pool, acme_printable(shown, sizeof(shown),
                                                          or_empty(*texts[i].text), -1));
    }
    return ACME_OK;
}

/* ---- the decision ---- */

static apr_interval_time_t lifetime_of(const acme_facts_t *facts)
{
    return facts->not_after > facts->not_before ? facts->not_after - facts->not_before : 0;
}

/* How long before the end a certificate is renewed. */
static apr_interval_time_t renew_before(const acme_spec_t *spec, apr_interval_time_t lifetime)
{
    apr_interval_time_t before = spec->renew_before;
    apr_interval_time_t share;

    if (before <= 0 && spec->renew_before_percent <= 0) {
        return lifetime < SHORT_LIFE ? lifetime / 2 : lifetime / 3;
    }
    if (spec->renew_before_percent > 0) {
        share = lifetime / 100 * spec->renew_before_percent;
        before = share > before ? share : before;
    }
    return before > lifetime / 2 ? lifetime / 2 : before;
}

apr_time_t acme_policy_usual(const acme_spec_t *spec, const acme_facts_t *facts)
{
    return facts->not_after - renew_before(spec, lifetime_of(facts));
}

/* *by_window: the moment is the CA's. */
static apr_time_t renew_at(int *by_window, const acme_spec_t *spec, const acme_facts_t *facts)
{
    apr_time_t rule = acme_policy_usual(spec, facts);
    int configured = spec->renew_before > 0 || spec->renew_before_percent > 0;

    *by_window = spec->ari && facts->ari_at > 0 && (!configured || facts->ari_at < rule);
    return *by_window ? facts->ari_at : rule;
}

static apr_time_t emergency_at(const acme_facts_t *facts)
{
    return facts->not_after - lifetime_of(facts) / 10;
}

/* Why a certificate is wanted now, or NULL. */
static const char *wanted(const acme_decision_t *d, const acme_facts_t *facts, int by_window,
                          int forced, apr_time_t now)
{
    if (!facts->have) {
        return "no certificate";
    }
    if (now > emergency_at(facts) || now >= facts->not_after) {
        return "emergency";
    }
    if (!facts->names_ok) {
        return "names changed";
    }
    if (!facts->directory_ok) {
        return "CA changed";
    }
    if (now >= d->renew_at) {
        return by_window ? "renewal window" : "due";
    }
    return forced ? "asked for" : NULL;
}

static void decided(acme_decision_t *out, acme_do_t what, apr_time_t when, const char *why)
{
    out->what = what;
    out->when = when;
    out->why = why;
}

/* The failures of another configuration are forgotten. */
static int waiting(const acme_attempt_t *attempt, const char *digest, apr_time_t now)
{
    return attempt != NULL && attempt->failures > 0 && attempt->not_before > now
           && attempt->digest != NULL && digest != NULL && strcmp(attempt->digest, digest) == 0;
}

void acme_policy_decide(acme_decision_t *out, const acme_spec_t *spec, const acme_facts_t *facts,
                        const acme_attempt_t *attempt, const char *attempt_digest, int forced,
                        apr_time_t now)
{
    apr_time_t latest = acme_time_add(now, WAIT_MAX);
    apr_time_t look;
    const char *why;
    int by_window = 0;

    memset(out, 0, sizeof(*out));
    out->renewal = facts->have && now < facts->not_after;
    if (facts->have) {
        out->renew_at = renew_at(&by_window, spec, facts);
    }
    if (spec->error != NULL) {
        decided(out, ACME_DO_HOLD, acme_time_add(now, DAY), "configuration");
        return;
    }
    if (now < CLOCK_MIN) {
        decided(out, ACME_DO_HOLD, acme_time_add(now, CLOCK_AGAIN), "clock");
        return;
    }
    why = wanted(out, facts, by_window, forced, now);
    if (why == NULL) {
        look = emergency_at(facts) + 1;
        decided(out, ACME_DO_NOTHING, out->renew_at < look ? out->renew_at : look, "valid");
    }
    else if (!forced && waiting(attempt, attempt_digest, now)) {
        decided(out, ACME_DO_NOTHING, attempt->not_before < latest ? attempt->not_before : latest,
                "waiting after a failure");
    }
    else {
        decided(out, ACME_DO_ORDER, now, why);
        out->rushed = by_window && now >= out->renew_at
                      && now < acme_policy_usual(spec, facts) - lifetime_of(facts) / 10;
    }
}

/* ---- the staging ---- */

int acme_policy_rehearse(const acme_attempt_t *attempt)
{
    return attempt->failures > 0 && attempt->validations >= REHEARSE_AFTER;
}

void acme_attempt_failed(acme_attempt_t *attempt, int validation, int rehearsal)
{
    if (validation && attempt->validations < FAILURES_MAX) {
        attempt->validations++;
    }
    else if (!validation && rehearsal) {
        acme_attempt_rehearsed(attempt);
    }
}

void acme_attempt_rehearsed(acme_attempt_t *attempt)
{
    attempt->validations = REHEARSE_AFTER - 1;
}

/* ---- challenge types ---- */

static int place_of(const acme_challenge_type_t *types, int n, const char *name)
{
    int i;

    for (i = 0; i < n && name != NULL && *name != '\0'; i++) {
        if (strcmp(acme_challenge_type_name(types[i]), name) == 0) {
            return i;
        }
    }
    return -1;
}

static apr_time_t *noted(acme_proven_t *proven, acme_challenge_type_t type, int worked)
{
    return worked ? &proven->worked[type] : &proven->failed[type];
}

void acme_proven_note(acme_proven_t *proven, const char *type, int worked, apr_time_t when)
{
    acme_challenge_type_t is;

    if (type != NULL && acme_challenge_type_parse(&is, type) == ACME_OK
        && when > *noted(proven, is, worked)) {
        *noted(proven, is, worked) = when;
    }
}

static int in_favour(const acme_proven_t *proven, acme_challenge_type_t type)
{
    return proven->worked[type] > 0 && proven->worked[type] >= proven->failed[type];
}

const char *acme_policy_worked(const acme_proven_t *proven, const acme_spec_t *spec,
                               const char *own)
{
    static const acme_challenge_type_t of_server[] = {
        ACME_CH_HTTP01, ACME_CH_TLSALPN01, ACME_CH_TLSSNI01
    };
    acme_challenge_type_t is;
    apr_time_t newest = 0;
    apr_size_t i;

    if (own != NULL
        && (acme_challenge_type_parse(&is, own) != ACME_OK
            || proven->failed[is] <= proven->worked[is])) {
        return *own != '\0' ? own : acme_policy_worked(proven, spec, NULL);
    }
    for (i = 0; i < sizeof(of_server) / sizeof(of_server[0]); i++) {
        acme_challenge_type_t type = of_server[i];

        if (in_favour(proven, type) && proven->worked[type] > newest
            && place_of(spec->challenges, spec->n_challenges, acme_challenge_type_name(type))
               >= 0) {
            newest = proven->worked[type];
            own = acme_challenge_type_name(type);
        }
    }
    return own;
}

int acme_policy_challenges(acme_challenge_type_t *out, const acme_spec_t *spec,
                           const char *worked_last, const acme_attempt_t *attempt)
{
    acme_challenge_type_t list[ACME_CH_TYPES];
    int n = spec->n_challenges;
    int leads, failed, i;
    int k = 0;

    n = n < 0 ? 0 : n > ACME_CH_TYPES ? ACME_CH_TYPES : n;
    leads = place_of(spec->challenges, n, worked_last);
    if (leads >= 0) {
        list[k++] = spec->challenges[leads];
    }
    for (i = 0; i < n; i++) {
        if (i != leads) {
            list[k++] = spec->challenges[i];
        }
    }
    failed = attempt != NULL ? place_of(list, n, attempt->challenge) : -1;
    for (i = 0; i < n; i++) {
        out[i] = list[(failed + 1 + i) % n];
    }
    return n;
}
