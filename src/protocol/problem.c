/* Licensed under the Apache License, Version 2.0; see LICENSE. */

#include "protocol/problem.h"

#include <string.h>

#include <apr_strings.h>

#include "base/name.h"
#include "base/time.h"

#define PREFIX "urn:ietf:params:acme:error:"
#define PREFIX_LEN (sizeof(PREFIX) - 1)
#define TYPE_SIZE 80        /* with the NUL, as in acme_error_t */
#define DETAIL_SIZE 1025
#define INSTANCE_MAX 512    /* a URL: longer ones are left out, never cut */
#define PARTS_MAX 10
#define PART_SIZE 254       /* a name, or what is wrong with it */
#define EXCERPT_SIZE 121    /* of a body that is no problem document */
#define WAIT_MAX apr_time_from_sec((apr_int64_t)7 * 86400)

/* RFC 8555 section 6.7, RFC 9773, RFC 9115, RFC 9799, draft-ietf-acme-profiles; agreementRequired
 * and conflict are what some CAs add. A type that is not here is judged by the status. */
static const struct {
    const char *type;
    acme_retry_t retry;
} types[] = {
    {"accountDoesNotExist", ACME_RETRY_LADDER},
    {"agreementRequired", ACME_RETRY_HUMAN},
    {"alreadyReplaced", ACME_RETRY_NOW}, /* without "replaces" */
    {"alreadyRevoked", ACME_RETRY_SLOW},
    {"badCSR", ACME_RETRY_SLOW},
    {"badNonce", ACME_RETRY_NOW},
    {"badPublicKey", ACME_RETRY_SLOW},
    {"badRevocationReason", ACME_RETRY_SLOW},
    {"badSignatureAlgorithm", ACME_RETRY_SLOW},
    {"caa", ACME_RETRY_SLOW},
    {"compound", ACME_RETRY_LADDER},
    {"conflict", ACME_RETRY_LADDER},
    {"connection", ACME_RETRY_LADDER},
    {"dns", ACME_RETRY_LADDER},
    {"externalAccountRequired", ACME_RETRY_HUMAN},
    {"incorrectResponse", ACME_RETRY_LADDER},
    {"invalidContact", ACME_RETRY_HUMAN},
    {"invalidProfile", ACME_RETRY_SLOW},
    {"malformed", ACME_RETRY_LADDER}, /* some say it of whatever they do not find at the moment */
    {"onionCAARequired", ACME_RETRY_SLOW},
    {"orderNotReady", ACME_RETRY_LADDER},
    {"rateLimited", ACME_RETRY_LADDER},
    {"rejectedIdentifier", ACME_RETRY_SLOW},
    {"serverInternal", ACME_RETRY_LADDER},
    {"tls", ACME_RETRY_LADDER},
    {"unauthorized", ACME_RETRY_LADDER}, /* also a challenge whose answer was another */
    {"unknownDelegation", ACME_RETRY_SLOW},
    {"unsupportedContact", ACME_RETRY_HUMAN},
    {"unsupportedIdentifier", ACME_RETRY_SLOW},
    {"userActionRequired", ACME_RETRY_HUMAN},
};

/* SLOW: the same request will meet the same answer. Everything else may be a passing mood of
 * whatever stands before the CA. */
static const struct {
    int status;
    acme_retry_t retry;
    const char *phrase;
} statuses[] = {
    {400, ACME_RETRY_LADDER, "Bad Request"},
    {401, ACME_RETRY_SLOW, "Unauthorized"},
    {402, ACME_RETRY_HUMAN, "Payment Required"},
    {403, ACME_RETRY_SLOW, "Forbidden"},
    {404, ACME_RETRY_LADDER, "Not Found"},
    {405, ACME_RETRY_LADDER, "Method Not Allowed"},
    {406, ACME_RETRY_SLOW, "Not Acceptable"},
    {408, ACME_RETRY_LADDER, "Request Timeout"},
    {409, ACME_RETRY_LADDER, "Conflict"},
    {410, ACME_RETRY_LADDER, "Gone"},
    {413, ACME_RETRY_SLOW, "Content Too Large"},
    {414, ACME_RETRY_SLOW, "URI Too Long"},
    {415, ACME_RETRY_SLOW, "Unsupported Media Type"},
    {421, ACME_RETRY_LADDER, "Misdirected Request"},
    {429, ACME_RETRY_LADDER, "Too Many Requests"},
    {431, ACME_RETRY_SLOW, "Request Header Fields Too Large"},
    {451, ACME_RETRY_SLOW, "Unavailable For Legal Reasons"},
    {500, ACME_RETRY_LADDER, "Internal Server Error"},
    {501, ACME_RETRY_SLOW, "Not Implemented"},
    {502, ACME_RETRY_LADDER, "Bad Gateway"},
    {503, ACME_RETRY_LADDER, "Service Unavailable"},
    {504, ACME_RETRY_LADDER, "Gateway Timeout"},
};

#define COUNT(table) (sizeof(table) / sizeof((table)[0]))

/* -1: not in the table. */
static int type_row(const char *type)
{
    apr_size_t i;

    for (i = 0; i < COUNT(types); i++) {
        if (strcmp(types[i].type, type) == 0) {
            return (int)i;
        }
    }
    return -1;
}

static int status_row(int status)
{
    apr_size_t i;

    for (i = 0; i < COUNT(statuses); i++) {
        if (statuses[i].status == status) {
            return (int)i;
        }
    }
    return -1;
}

static acme_retry_t status_retry(int status)
{
    int row = status_row(status);

    return row < 0 ? ACME_RETRY_LADDER : statuses[row].retry;
}

/* ---- the document ---- */

/* Absent and of another type are the same here. */
static const char *member(const acme_json_t *json, const char *key)
{
    const char *text = NULL;

    if (json) {
        (void)acme_json_get_string(&text, json, key, ACME_JSON_OPTIONAL, NULL);
    }
    return text ? text : "";
}

static const char *printable(const char *text, apr_size_t size, apr_pool_t *pool)
{
    apr_size_t len = strlen(text) + 1;

    len = len < size ? len : size;
    return acme_printable(apr_palloc(pool, len), len, text, -1);
}

static const char *type_of(const acme_json_t *json, apr_pool_t *pool)
{
    const char *type = member(json, "type");

    if (strncmp(type, PREFIX, PREFIX_LEN) == 0) {
        type += PREFIX_LEN;
    }
    return strcmp(type, "about:blank") == 0 ? "" : printable(type, TYPE_SIZE, pool);
}

static const char *detail_of(const acme_json_t *json, apr_size_t size, apr_pool_t *pool)
{
    const char *detail = member(json, "detail");

    return printable(*detail ? detail : member(json, "title"), size, pool);
}

static const char *instance_of(const acme_json_t *json, apr_pool_t *pool)
{
    const char *instance = member(json, "instance");
    apr_size_t len = strlen(instance);

    return len == 0 || len > INSTANCE_MAX ? NULL : printable(instance, INSTANCE_MAX + 1, pool);
}

/* "NAME: what is wrong". */
static const char *part_text(const acme_json_t *part, apr_pool_t *pool)
{
    acme_json_t *identifier = NULL;
    const char *name, *what = detail_of(part, PART_SIZE, pool);

    (void)acme_json_get_object(&identifier, part, "identifier", ACME_JSON_OPTIONAL, NULL);
    name = printable(member(identifier, "value"), PART_SIZE, pool);
    what = *what ? what : type_of(part, pool);
    return apr_pstrcat(pool, name, *name && *what ? ": " : "", what, NULL);
}

/* " [NAME: what; ...]" of the first ten subproblems, or "". *retry: their slowest class. */
static const char *parts_text(acme_retry_t *retry, const acme_json_t *parts, apr_pool_t *pool)
{
    apr_size_t n = acme_json_count(parts), i;
    const char *all = "";

    for (i = 0; i < n && i < PARTS_MAX; i++) {
        acme_json_t *part = NULL;
        const char *text;
        int row;

        if (acme_json_item_object(&part, parts, i, NULL) != ACME_OK) {
            continue;
        }
        text = part_text(part, pool);
        row = type_row(type_of(part, pool));
        if (row >= 0 && types[row].retry > ACME_RETRY_NOW && types[row].retry > *retry) {
            *retry = types[row].retry;
        }
        all = *text ? apr_pstrcat(pool, all, *all ? "; " : "", text, NULL) : all;
    }
    if (n > PARTS_MAX) {
        all = apr_psprintf(pool, "%s%s%" APR_SIZE_T_FMT " more", all, *all ? "; " : "",
                           n - PARTS_MAX);
    }
    return *all ? apr_pstrcat(pool, " [", all, "]", NULL) : "";
}

/* Of another form than an order's identifier: nobody's. */
static const char *identifier_of(const acme_json_t *part, apr_pool_t *pool)
{
    acme_json_t *identifier = NULL;
    acme_name_kind_t kind;
    const char *value, *name;

    (void)acme_json_get_object(&identifier, part, "identifier", ACME_JSON_OPTIONAL, NULL);
    value = identifier ? member(identifier, "value") : NULL;
    return value && acme_name_normalize(&name, &kind, value, pool, NULL) == ACME_OK ? name : NULL;
}

static const char *only_identifier(const acme_json_t *parts, apr_pool_t *pool)
{
    apr_size_t n = acme_json_count(parts), i;
    const char *only = NULL;

    for (i = 0; i < n; i++) {
        acme_json_t *part = NULL;
        const char *name = acme_json_item_object(&part, parts, i, NULL) == ACME_OK
                           ? identifier_of(part, pool) : NULL;

        if (!name || (only && strcmp(only, name) != 0)) {
            return NULL;
        }
        only = name;
    }
    return only;
}

static acme_problem_t *judge(const acme_json_t *json, int status, apr_pool_t *pool)
{
    acme_problem_t *problem = apr_pcalloc(pool, sizeof(*problem));
    acme_retry_t of_parts = ACME_RETRY_LADDER;
    acme_json_t *list = NULL;
    const char *parts;
    int row;

    if (json) {
        (void)acme_json_get_array(&list, json, "subproblems", ACME_JSON_OPTIONAL, NULL);
    }
    problem->type = type_of(json, pool);
    problem->identifier = list ? only_identifier(list, pool) : NULL;
    problem->detail = detail_of(json, DETAIL_SIZE, pool);
    problem->instance = instance_of(json, pool);
    parts = parts_text(&of_parts, list, pool);
    problem->text = apr_pstrcat(pool, problem->type,
                                *problem->type && *problem->detail ? ": " : "", problem->detail,
                                *problem->type || *problem->detail ? parts : parts + (*parts != 0),
                                NULL);
    row = type_row(problem->type);
    problem->retry = row < 0 ? status_retry(status) : types[row].retry;
    /* One name that is refused for good refuses the whole. */
    if (problem->retry != ACME_RETRY_NOW && of_parts > problem->retry) {
        problem->retry = of_parts;
    }
    problem->account_missing = strcmp(problem->type, "accountDoesNotExist") == 0;
    problem->bad_nonce = strcmp(problem->type, "badNonce") == 0;
    problem->ca_wide = status >= 500
                       || (acme_json_count(list) == 0
                           && (strcmp(problem->type, "rateLimited") == 0
                               || (status == 429 && !*problem->type)));
    return problem;
}

acme_problem_t *acme_problem_from_json(const acme_json_t *json, apr_pool_t *pool)
{
    acme_problem_t *problem = judge(json, 0, pool);

    if (!*problem->text) {
        problem->text = "neither type nor detail given";
    }
    return problem;
}

/* ---- the response ---- */

static int may_be_problem(const char *media)
{
    static const char *const medias[] = {"application/problem+json", "application/json", ""};
    apr_size_t i;

    for (i = 0; i < COUNT(medias); i++) {
        if (strcmp(media, medias[i]) == 0) {
            return 1;
        }
    }
    return 0;
}

/* What the status says, and the beginning of whatever came with it. */
static const char *status_text(const acme_http_response_t *response, const char *media,
                               apr_pool_t *pool)
{
    int row = status_row(acme_http_response_status(response));
    char shown[EXCERPT_SIZE], type[TYPE_SIZE];
    apr_size_t len;
    const char *body = acme_http_response_body(response, &len);
    const char *phrase = row < 0 ? "no problem document" : statuses[row].phrase;

    if (len == 0) {
        return phrase;
    }
    acme_printable(type, sizeof(type), media, -1);
    acme_printable(shown, sizeof(shown), body, (apr_ssize_t)len);
    return apr_psprintf(pool, "%s (%s: \"%s%s\")", phrase, *type ? type : "no media type", shown,
                        len >= EXCERPT_SIZE ? " ..." : "");
}

static apr_time_t asked_wait(const acme_http_response_t *response, apr_time_t now)
{
    const char *text = acme_http_response_header(response, "retry-after");
    apr_time_t then = 0;
    int i;

    for (i = 1; text; i++) {
        if (acme_time_parse_retry_after(&then, text, strlen(text), now, WAIT_MAX) == ACME_OK) {
            return then;
        }
        text = acme_http_response_header_at(response, "retry-after", i);
    }
    return 0;
}

acme_rv_t acme_problem_from_response(acme_problem_t **out, const acme_http_response_t *response,
                                     apr_time_t now, apr_pool_t *pool, acme_error_t *err)
{
    const char *media = acme_http_response_media_type(response, pool);
    int status = acme_http_response_status(response);
    acme_json_t *json = NULL;
    acme_problem_t *problem;
    apr_size_t len;
    const char *body = acme_http_response_body(response, &len);

    if (may_be_problem(media)) {
        (void)acme_json_parse(&json, body, len, "problem document", pool, NULL);
    }
    problem = judge(json, status, pool);
    if (!*problem->text) {
        problem->text = status_text(response, media, pool);
    }
    if (out) {
        *out = problem;
    }
    if (!err || err->kind != ACME_E_NONE) {
        return ACME_FAIL;
    }
    (void)acme_error_set(err, ACME_E_PROBLEM, "AC0320", "%d %s", status, problem->text);
    err->retry = problem->retry;
    err->http_status = status;
    err->not_before = asked_wait(response, now);
    apr_cpystrn(err->problem, problem->type, sizeof(err->problem));
    return ACME_FAIL;
}
