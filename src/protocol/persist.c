/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#include "protocol/persist.h"

#include <string.h>

#include <apr_strings.h>

#include "base/codec.h"

typedef struct {
    const char *at;
    apr_size_t len;
} part_t;

typedef enum { TAG_ACCOUNT, TAG_POLICY, TAG_UNTIL, TAGS } tag_t;

static const char *const tag_names[TAGS] = {
    [TAG_ACCOUNT] = "accounturi", [TAG_POLICY] = "policy", [TAG_UNTIL] = "persistuntil",
};

const char *acme_persist_value(const acme_persist_want_t *want, apr_pool_t *pool)
{
    if (want->issuers == NULL || want->issuers->nelts == 0) {
        return NULL;
    }
    return apr_pstrcat(pool, APR_ARRAY_IDX(want->issuers, 0, const char *), "; accounturi=",
                       want->account_uri, want->wildcard ? "; policy=wildcard" : "", NULL);
}

static part_t trim(const char *at, apr_size_t len)
{
    part_t part = {at, len};

    while (part.len > 0 && (*part.at == ' ' || *part.at == '\t')) {
        part.at++;
        part.len--;
    }
    while (part.len > 0
           && (part.at[part.len - 1] == ' ' || part.at[part.len - 1] == '\t')) {
        part.len--;
    }
    return part;
}

static int is(const part_t *part, const char *text)
{
    return part->len == strlen(text) && memcmp(part->at, text, part->len) == 0;
}

/* Tags and policies are compared without case. */
static int is_word(const part_t *part, const char *word)
{
    return part->len == strlen(word) && acme_ascii_ncasecmp(part->at, word, part->len) == 0;
}

static int is_issuer(const acme_persist_want_t *want, const part_t *part)
{
    int i;

    for (i = 0; i < want->issuers->nelts; i++) {
        if (is(part, APR_ARRAY_IDX(want->issuers, i, const char *))) {
            return 1;
        }
    }
    return 0;
}

/* One "tag=value" into its place; 0: malformed, or there already. */
static int take(part_t values[TAGS], const part_t *param)
{
    const char *equals = memchr(param->at, '=', param->len);
    part_t tag, value;
    apr_size_t i;
    int k;

    if (equals == NULL) {
        return 0;
    }
    tag = trim(param->at, (apr_size_t)(equals - param->at));
    value = trim(equals + 1, param->len - (apr_size_t)(equals + 1 - param->at));
    for (i = 0; i < value.len; i++) {
        if (value.at[i] < 0x21 || value.at[i] > 0x7e) {
            return 0;
        }
    }
    for (k = 0; k < TAGS; k++) {
        if (is_word(&tag, tag_names[k])) {
            if (values[k].at != NULL) {
                return 0;
            }
            values[k] = value;
        }
    }
    return tag.len > 0;
}

static int judge(const acme_persist_want_t *want, const part_t values[TAGS], apr_time_t *until)
{
    apr_int64_t seconds = 0;

    if (values[TAG_ACCOUNT].at == NULL || !is(&values[TAG_ACCOUNT], want->account_uri)
        || (want->wildcard
            && (values[TAG_POLICY].at == NULL || !is_word(&values[TAG_POLICY], "wildcard")))) {
        return 0;
    }
    if (values[TAG_UNTIL].at != NULL
        && (acme_scan_number(&seconds, values[TAG_UNTIL].at, values[TAG_UNTIL].len, 11, NULL)
                != ACME_OK
            || apr_time_from_sec(seconds) <= want->now)) {
        return 0;
    }
    if (until != NULL) {
        *until = apr_time_from_sec(seconds);
    }
    return 1;
}

int acme_persist_proves(const acme_persist_want_t *want, const char *text, apr_size_t len,
                        apr_time_t *until)
{
    const char *end = text + len;
    part_t values[TAGS];
    int n;

    memset(values, 0, sizeof(values));
    for (n = 0; text <= end; n++) {
        const char *semicolon = text < end ? memchr(text, ';', (apr_size_t)(end - text)) : NULL;
        const char *stop = semicolon != NULL ? semicolon : end;
        part_t part = trim(text, (apr_size_t)(stop - text));

        if (n == 0 ? !is_issuer(want, &part) : !take(values, &part)) {
            return 0;
        }
        text = stop + 1;
    }
    return judge(want, values, until);
}
