/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#include "protocol/ari.h"

#include <string.h>

#include <apr_strings.h>

#include "base/codec.h"
#include "base/json.h"
#include "base/time.h"

#define HOUR apr_time_from_sec((apr_int64_t)3600)
#define DAY (24 * HOUR)
#define TIME_MAX apr_time_from_sec(APR_INT64_C(253402300799)) /* end of 9999 */
#define POLL_USUAL (6 * HOUR)
#define PAST_SPREAD apr_time_from_sec(600)
#define FAILURES_MAX 1000000
#define ID_CHARS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_."

/* ---- what the CA says ---- */

static int for_people(const char *url)
{
    return acme_ascii_ncasecmp(url, "https://", 8) == 0
           || acme_ascii_ncasecmp(url, "http://", 7) == 0;
}

/* Text only, never fetched. */
static const char *explanation_of(const acme_json_t *json, apr_pool_t *pool)
{
    const char *url = NULL;
    char *shown;

    if (acme_json_get_string(&url, json, "explanationURL", ACME_JSON_OPTIONAL, NULL) != ACME_OK
        || url == NULL || strlen(url) > ACME_ARI_EXPLANATION_MAX || !for_people(url)) {
        return "";
    }
    shown = apr_palloc(pool, ACME_ARI_EXPLANATION_MAX + 1);
    acme_printable(shown, ACME_ARI_EXPLANATION_MAX + 1, url, -1);
    return strcmp(shown, url) == 0 && strpbrk(url, " \"<>\\^`{|}") == NULL ? shown : "";
}

static acme_rv_t get_moment(apr_time_t *out, const acme_json_t *window, const char *key,
                            acme_error_t *err)
{
    const char *text;
    char shown[64];

    if (acme_json_get_string(&text, window, key, ACME_JSON_REQUIRED, err) != ACME_OK) {
        return ACME_FAIL;
    }
    if (acme_time_parse_rfc3339(out, text, strlen(text)) != ACME_OK) {
        return acme_error_set(err, ACME_E_PROTOCOL, "AC0333", "renewalInfo: %s is no date: \"%s\"",
                              key, acme_printable(shown, sizeof(shown), text, -1));
    }
    return ACME_OK;
}

acme_rv_t acme_renewal_info_parse(acme_renewal_info_t *out, const char *text, apr_size_t len,
                                  apr_pool_t *pool, acme_error_t *err)
{
    char from[ACME_TIME_TEXT], until[ACME_TIME_TEXT];
    acme_renewal_info_t info;
    acme_json_t *json, *window;

    memset(&info, 0, sizeof(info));
    if (acme_json_parse(&json, text, len, "renewalInfo", pool, err) != ACME_OK
        || acme_json_get_object(&window, json, "suggestedWindow", ACME_JSON_REQUIRED, err)
               != ACME_OK
        || get_moment(&info.start, window, "start", err) != ACME_OK
        || get_moment(&info.end, window, "end", err) != ACME_OK) {
        return ACME_FAIL;
    }
    if (info.end <= info.start) {
        return acme_error_set(err, ACME_E_PROTOCOL, "AC0334",
                              "renewalInfo: the window ends (%s) before it begins (%s)",
                              acme_time_format(until, info.end),
                              acme_time_format(from, info.start));
    }
    info.explanation = explanation_of(json, pool);
    *out = info;
    return ACME_OK;
}

acme_rv_t acme_renewal_info_judge(acme_renewal_info_t *info, apr_time_t not_before,
                                  apr_time_t not_after, acme_error_t *err)
{
    char from[ACME_TIME_TEXT], until[ACME_TIME_TEXT];

    if (info->start < not_before - DAY || info->start >= not_after
        || info->end > acme_time_add(not_after, not_after - not_before)) {
        return acme_error_set(err, ACME_E_PROTOCOL, "AC0335",
                              "renewalInfo: a window from %s to %s cannot be meant for this "
                              "certificate",
                              acme_time_format(from, info->start),
                              acme_time_format(until, info->end));
    }
    if (info->end > not_after) {
        info->end = not_after;
    }
    return ACME_OK;
}

/* ---- the record ---- */

const char *acme_ari_payload(const acme_ari_t *ari, apr_pool_t *pool)
{
    acme_json_t *json = acme_json_new_object(pool);
    const char *text;

    acme_json_set_string(json, "id", ari->id);
    acme_json_set_int(json, "start", ari->start);
    acme_json_set_int(json, "end", ari->end);
    acme_json_set_int(json, "at", ari->at);
    acme_json_set_int(json, "next", ari->next);
    acme_json_set_int(json, "failures", ari->failures);
    acme_json_set_int(json, "early0", ari->early[0]);
    acme_json_set_int(json, "early1", ari->early[1]);
    acme_json_set_string(json, "explanation", ari->explanation);
    text = acme_json_dump(json, pool);
    return text != NULL ? text : "{}";
}

static acme_rv_t get_numbers(acme_ari_t *out, const acme_json_t *json, acme_error_t *err)
{
    const struct {
        apr_int64_t *number;
        const char *key;
    } numbers[] = {
        {&out->start, "start"},
        {&out->end, "end"},
        {&out->at, "at"},
        {&out->next, "next"},
        {&out->failures, "failures"},
        {&out->early[0], "early0"},
        {&out->early[1], "early1"},
    };
    apr_size_t i;

    for (i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        if (acme_json_get_int(numbers[i].number, json, numbers[i].key, 0, err) != ACME_OK) {
            return ACME_FAIL;
        }
        if (*numbers[i].number < 0 || *numbers[i].number > TIME_MAX) {
            return acme_error_set(err, ACME_E_STORE, "AC0336", "ari record: %s is out of range",
                                  numbers[i].key);
        }
    }
    if (out->end < out->start || (out->at == 0) != (out->end == 0)
        || out->failures > FAILURES_MAX) {
        return acme_error_set(err, ACME_E_STORE, "AC0337", "ari record: it contradicts itself");
    }
    return ACME_OK;
}

/* One that was written before the clock was set back must not hold anything up. */
static void forget_the_future(acme_ari_t *ari, apr_time_t now)
{
    if (ari->next > acme_time_add(now, ACME_ARI_POLL_MOST + HOUR)) {
        ari->next = now;
    }
    if (ari->early[0] > now) {
        ari->early[0] = 0;
    }
    if (ari->early[1] > now) {
        ari->early[1] = 0;
    }
}

acme_rv_t acme_ari_restore(acme_ari_t *out, const char *payload, apr_size_t len, const char *id,
                           apr_time_t now, apr_pool_t *pool, acme_error_t *err)
{
    const char *its, *explanation;
    acme_json_t *json;
    acme_ari_t ari;

    memset(&ari, 0, sizeof(ari));
    memset(out, 0, sizeof(*out));
    if (acme_json_parse(&json, payload, len, "ari record", pool, err) != ACME_OK
        || acme_json_get_string(&its, json, "id", ACME_JSON_REQUIRED, err) != ACME_OK
        || acme_json_get_string(&explanation, json, "explanation", ACME_JSON_OPTIONAL, err)
               != ACME_OK
        || get_numbers(&ari, json, err) != ACME_OK) {
        return ACME_FAIL;
    }
    forget_the_future(&ari, now);
    out->early[0] = ari.early[0];
    out->early[1] = ari.early[1];
    apr_cpystrn(out->id, id, sizeof(out->id));
    if (strcmp(its, out->id) != 0 || its[strspn(its, ID_CHARS)] != '\0') {
        return ACME_OK;
    }
    apr_cpystrn(ari.id, its, sizeof(ari.id));
    if (explanation != NULL && for_people(explanation)) {
        acme_printable(ari.explanation, sizeof(ari.explanation), explanation, -1);
    }
    *out = ari;
    return ACME_OK;
}

void acme_ari_begin(acme_ari_t *ari, const char *id, int renewed_early, apr_time_t now)
{
    apr_time_t newest = renewed_early ? now : ari->early[0];
    apr_time_t former = renewed_early ? ari->early[0] : ari->early[1];

    memset(ari, 0, sizeof(*ari));
    apr_cpystrn(ari->id, id, sizeof(ari->id));
    ari->early[0] = newest;
    ari->early[1] = former;
}

/* ---- the moment ---- */

static apr_interval_time_t share(apr_interval_time_t whole, double random)
{
    return (apr_interval_time_t)((double)whole * random);
}

/* A CA that asks for a renewal again and again would use up everybody's limits. */
static apr_time_t not_too_often(const acme_ari_t *ari, apr_time_t usual, apr_time_t at)
{
    apr_time_t then = at;

    if (ari->early[0] != 0 && then < ari->early[0] + DAY) {
        then = ari->early[0] + DAY;
    }
    if (ari->early[1] != 0 && then < ari->early[1] + 7 * DAY) {
        then = ari->early[1] + 7 * DAY;
    }
    return then <= usual ? then : at < usual ? usual
                                             : at;
}

int acme_ari_take(acme_ari_t *ari, const acme_renewal_info_t *info, apr_interval_time_t lifetime,
                  apr_time_t usual, apr_time_t now, double random)
{
    apr_interval_time_t spread = lifetime / 1000 < PAST_SPREAD ? lifetime / 1000 : PAST_SPREAD;

    apr_cpystrn(ari->explanation, info->explanation, sizeof(ari->explanation));
    if (ari->at != 0 && ari->start == info->start && ari->end == info->end) {
        return 0;
    }
    ari->start = info->start;
    ari->end = info->end;
    ari->at = info->start + share(info->end - info->start, random);
    if (ari->at <= now) {
        ari->at = now + share(spread, random);
    }
    ari->at = not_too_often(ari, usual, ari->at);
    return 1;
}

/* ---- when to ask again ---- */

static void ask_in(acme_ari_t *ari, apr_interval_time_t wait, const char *retry_after,
                   apr_time_t now, double random)
{
    apr_time_t then;

    if (retry_after != NULL
        && acme_time_parse_retry_after(&then, retry_after, strlen(retry_after), now,
                                       ACME_ARI_POLL_MOST)
               == ACME_OK) {
        wait = then - now < ACME_ARI_POLL_LEAST ? ACME_ARI_POLL_LEAST : then - now;
    }
    wait += share(wait / 20, random);
    ari->next = acme_time_add(now, wait > ACME_ARI_POLL_MOST ? ACME_ARI_POLL_MOST : wait);
}

void acme_ari_answered(acme_ari_t *ari, const char *retry_after, apr_time_t now, double random)
{
    ari->failures = 0;
    ask_in(ari, POLL_USUAL, retry_after, now, random);
}

void acme_ari_failed(acme_ari_t *ari, int lasting, const char *retry_after, apr_time_t now,
                     double random)
{
    static const int minutes[] = {1, 10, 100};
    apr_interval_time_t wait = POLL_USUAL;

    if (lasting) {
        ari->start = ari->end = ari->at = 0;
        ari->explanation[0] = '\0';
    }
    else if (ari->failures < 3) {
        wait = apr_time_from_sec(60 * (apr_int64_t)minutes[ari->failures]);
    }
    ari->failures += ari->failures < FAILURES_MAX;
    ask_in(ari, wait, retry_after, now, random);
}
