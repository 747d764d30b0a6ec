/* Licensed under the Apache License, Version 2.0; see LICENSE. */

/* Input: a letter that chooses the object, and its text. What is accepted may go into requests, log
 * lines and file names; what is refused says why and changes nothing. */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <apr_general.h>
#include <apr_strings.h>

#include "protocol/challenge.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static apr_pool_t *pool;

static void must(int holds)
{
    if (!holds) {
        abort();
    }
}

static void url(const char *text, int required)
{
    acme_url_t *parsed;

    must(text != NULL || !required);
    must(text == NULL || acme_url_parse(&parsed, text, pool, NULL) == ACME_OK);
}

static void urls(const apr_array_header_t *list)
{
    int i;

    for (i = 0; i < list->nelts; i++) {
        url(APR_ARRAY_IDX(list, i, const char *), 1);
    }
}

static void printable(const char *text, apr_size_t max)
{
    char *again = apr_palloc(pool, max + 2);

    must(text != NULL && strlen(text) <= max);
    must(strcmp(acme_printable(again, max + 2, text, -1), text) == 0);
}

static void name(const char *text)
{
    acme_name_kind_t kind;
    const char *again;

    must(acme_name_normalize(&again, &kind, text, pool, NULL) == ACME_OK);
    must(strcmp(again, text) == 0);
}

static acme_rv_t directory(const char *text, apr_size_t len, acme_error_t *err)
{
    acme_directory_t *out = NULL, *again;
    acme_rv_t rv = acme_directory_parse(&out, text, len, pool, err);

    must((rv == ACME_OK) == (out != NULL));
    if (rv != ACME_OK) {
        return rv;
    }
    url(out->new_nonce, 1);
    url(out->new_account, 1);
    url(out->new_order, 1);
    url(out->revoke_cert, 0);
    url(out->key_change, 0);
    url(out->renewal_info, 0);
    printable(out->terms_of_service ? out->terms_of_service : "", 1024);
    printable(out->website ? out->website : "", 1024);
    must(strlen(out->text) == len);
    must(acme_directory_parse(&again, out->text, len, pool, NULL) == ACME_OK);
    must(again->profiles->nelts == out->profiles->nelts);
    return rv;
}

static acme_rv_t account(const char *text, apr_size_t len, acme_error_t *err)
{
    acme_account_t *out = NULL;
    acme_rv_t rv = acme_account_parse(&out, text, len, pool, err);

    must((rv == ACME_OK) == (out != NULL));
    if (rv == ACME_OK) {
        url(out->orders, 0);
        must(acme_payload_new_account(out->contact, 1, 0, NULL, pool) != NULL);
    }
    return rv;
}

static acme_rv_t order(const char *text, apr_size_t len, acme_error_t *err)
{
    acme_order_object_t *out = NULL;
    acme_rv_t rv = acme_order_parse(&out, text, len, pool, err);
    int i;

    must((rv == ACME_OK) == (out != NULL));
    if (rv != ACME_OK) {
        return rv;
    }
    must(strcmp(acme_order_status_name(out->status), "unknown") != 0);
    urls(out->authorizations);
    url(out->finalize, out->status != ACME_ORDER_INVALID);
    url(out->certificate, 0);
    for (i = 0; i < out->names->nelts; i++) {
        name(APR_ARRAY_IDX(out->names, i, const char *));
    }
    must(acme_payload_new_order(out->names, NULL, NULL, pool) != NULL);
    must(out->error == NULL || out->error->text != NULL);
    return rv;
}

static acme_rv_t list(const char *text, apr_size_t len, acme_error_t *err)
{
    apr_array_header_t *out = NULL;
    acme_rv_t rv = acme_order_list_parse(&out, text, len, pool, err);

    must((rv == ACME_OK) == (out != NULL));
    if (rv == ACME_OK) {
        must(out->nelts <= 2000);
        urls(out);
    }
    return rv;
}

static void check_challenge(const acme_challenge_object_t *challenge)
{
    must(challenge->type != NULL && (unsigned)challenge->status <= ACME_CHALLENGE_INVALID);
    url(challenge->url, 1);
    must(challenge->token == NULL || acme_token_legal(challenge->token, strlen(challenge->token)));
    must(challenge->error == NULL || challenge->error->text != NULL);
}

static acme_rv_t challenge(const char *text, apr_size_t len, acme_error_t *err)
{
    acme_challenge_object_t *out = NULL;
    acme_rv_t rv = acme_challenge_parse(&out, text, len, pool, err);

    must((rv == ACME_OK) == (out != NULL));
    if (rv == ACME_OK) {
        check_challenge(out);
    }
    return rv;
}

static void choose(const acme_authz_object_t *authz)
{
    static const acme_challenge_type_t all[] = {ACME_CH_TLSSNI01, ACME_CH_DNS01, ACME_CH_TLSALPN01,
                                                ACME_CH_HTTP01};
    const acme_challenge_object_t *chosen;
    acme_challenge_type_t type;
    acme_error_t err;

    acme_error_clear(&err);
    if (acme_challenge_choose(&chosen, &type, authz, all, 4, &err) == ACME_OK) {
        must(acme_challenge_type_usable(type, authz) && chosen->status != ACME_CHALLENGE_INVALID);
        must(!authz->wildcard || type == ACME_CH_DNS01);
    }
    else {
        must(chosen == NULL && err.kind == ACME_E_CHALLENGE && strstr(err.text, authz->name));
    }
}

static acme_rv_t authz(const char *text, apr_size_t len, acme_error_t *err)
{
    acme_authz_object_t *out = NULL;
    acme_rv_t rv = acme_authz_parse(&out, text, len, pool, err);
    int i;

    must((rv == ACME_OK) == (out != NULL));
    if (rv != ACME_OK) {
        return rv;
    }
    name(out->name);
    must(acme_name_kind(out->name) != ACME_NAME_WILDCARD);
    must(!out->wildcard || acme_name_kind(out->name) == ACME_NAME_DNS);
    printable(out->offered, 255);
    must(out->challenges->nelts <= ACME_AUTHZ_CHALLENGES_MAX);
    for (i = 0; i < out->challenges->nelts; i++) {
        check_challenge(APR_ARRAY_IDX(out->challenges, i, const acme_challenge_object_t *));
    }
    choose(out);
    return rv;
}

static const struct {
    char letter;
    acme_rv_t (*check)(const char *text, apr_size_t len, acme_error_t *err);
} kinds[] = {
    {'d', directory}, {'a', account}, {'o', order}, {'l', list}, {'c', challenge}, {'z', authz},
};

#define KINDS (sizeof(kinds) / sizeof(kinds[0]))

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static apr_pool_t *parent;
    acme_error_t err;
    acme_rv_t rv;
    size_t i = 0;

    if (!parent) {
        apr_initialize();
        apr_pool_create(&parent, NULL);
    }
    if (size == 0) {
        return 0;
    }
    while (i < KINDS && (uint8_t)kinds[i].letter != data[0]) {
        i++;
    }
    apr_pool_create(&pool, parent);
    acme_error_clear(&err);
    rv = kinds[i < KINDS ? i : data[0] % KINDS].check((const char *)data + 1, size - 1, &err);
    must((rv == ACME_OK) == (err.kind == ACME_E_NONE));
    must(rv == ACME_OK || (rv == ACME_FAIL && err.kind == ACME_E_PROTOCOL && *err.text));
    printable(err.text, sizeof(err.text) - 1);
    apr_pool_destroy(pool);
    return 0;
}
