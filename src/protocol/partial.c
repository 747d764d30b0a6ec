/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#include "protocol/partial.h"

#include <string.h>

#include <apr_strings.h>

#include "base/time.h"

#define DAY apr_time_from_sec((apr_int64_t)86400)

const char acme_partial_why[] = "names left out";

const apr_array_header_t *acme_partial_left_out(const acme_spec_t *spec,
                                                const acme_issued_t *issued,
                                                const acme_attempt_t *attempt)
{
    const apr_array_header_t *names = attempt->failures > 0 ? attempt->left_out : issued->left_out;

    return names != NULL && names->nelts > 0 && acme_spec_may_lack(spec, names) ? names : NULL;
}

int acme_partial_was_again(const acme_attempt_t *attempt)
{
    return attempt->failures > 0 && attempt->why != NULL
           && strcmp(attempt->why, acme_partial_why) == 0;
}

apr_time_t acme_partial_again(const acme_spec_t *spec, const acme_issued_t *issued,
                              const acme_attempt_t *attempt)
{
    const apr_array_header_t *names = acme_partial_left_out(spec, issued, attempt);

    if (names == NULL) {
        return 0;
    }
    return acme_partial_was_again(attempt)
               ? attempt->not_before
               : acme_time_add(issued->issued, ACME_PARTIAL_AGAIN / names->nelts);
}

/* They take turns. */
static int turn_of(const acme_attempt_t *attempt, const apr_array_header_t *names)
{
    return acme_partial_was_again(attempt) ? (int)(attempt->failures % names->nelts) : 0;
}

const apr_array_header_t *acme_partial_order(const acme_spec_t *spec, const acme_issued_t *issued,
                                             const acme_attempt_t *attempt, int again,
                                             apr_pool_t *pool)
{
    const apr_array_header_t *names = acme_partial_left_out(spec, issued, attempt);
    apr_array_header_t *others;
    int i, turn;

    if (names == NULL || !again) {
        return names;
    }
    turn = turn_of(attempt, names);
    others = apr_array_make(pool, names->nelts, sizeof(const char *));
    for (i = 0; i < names->nelts; i++) {
        if (i != turn) {
            APR_ARRAY_PUSH(others, const char *) = APR_ARRAY_IDX(names, i, const char *);
        }
    }
    return others;
}

/* The name whose turn it was goes on waiting a week; what failed for another reason, a day. */
static void failed_again(acme_attempt_t *next, const acme_attempt_t *former, const char *blamed)
{
    const apr_array_header_t *names = next->left_out;
    apr_interval_time_t wait = DAY;

    if (blamed != NULL
        && strcmp(blamed, APR_ARRAY_IDX(names, turn_of(former, names), const char *)) == 0) {
        wait = ACME_PARTIAL_AGAIN / names->nelts;
    }
    next->not_before = acme_time_add(next->last, wait);
}

static const apr_array_header_t *with(const apr_array_header_t *names, const char *name,
                                      apr_pool_t *pool)
{
    apr_array_header_t *all = names != NULL ? apr_array_copy(pool, names)
                                            : apr_array_make(pool, 1, sizeof(const char *));

    APR_ARRAY_PUSH(all, const char *) = apr_pstrdup(pool, name);
    return all;
}

static int may_go(const acme_spec_t *spec, const apr_array_header_t *left_out, const char *name)
{
    return name != NULL && spec->may_lack != NULL && acme_names_contain(spec->may_lack, name)
           && (left_out == NULL
               || (left_out->nelts < ACME_LEFT_OUT_MAX && !acme_names_contain(left_out, name)));
}

const char *acme_partial_failed(acme_attempt_t *next, const acme_spec_t *spec,
                                const acme_issued_t *issued, const acme_attempt_t *former,
                                const char *blamed, apr_pool_t *pool)
{
    int again = next->why != NULL && strcmp(next->why, acme_partial_why) == 0;
    int goes_on = former->failures > 0 && again == acme_partial_was_again(former);

    next->failures = (goes_on ? former->failures : 0) + 1;
    next->blamed = "";
    next->blamed_times = 0;
    next->left_out = acme_partial_left_out(spec, issued, former);
    if (again && next->left_out != NULL) {
        failed_again(next, former, blamed);
        return NULL;
    }
    if (again || !may_go(spec, next->left_out, blamed)) {
        return NULL;
    }
    next->blamed_times = 1;
    if (goes_on && former->blamed != NULL && strcmp(former->blamed, blamed) == 0) {
        next->blamed_times += former->blamed_times;
    }
    if (next->blamed_times < ACME_PARTIAL_AFTER) {
        next->blamed = blamed;
        return NULL;
    }
    next->blamed_times = 0;
    next->left_out = with(next->left_out, blamed, pool);
    return blamed;
}
