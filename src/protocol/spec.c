/* Licensed under the Apache License, Version 2.0; see LICENSE. */

#include "protocol/spec.h"

#include <stdlib.h>
#include <string.h>

#include <apr_strings.h>

#include "crypto/digest.h"

/* What is hashed, in a pool of its own. */
typedef struct {
    apr_array_header_t *lines;
    apr_pool_t *pool;
} text_t;

static void begin(text_t *text, apr_pool_t *pool)
{
    apr_pool_create(&text->pool, pool);
    text->lines = apr_array_make(text->pool, 32, sizeof(const char *));
}

/* A line "name=length:value", or "name" alone for what is not given. The length keeps two
 * configurations from ever giving the same text. */
static void add(text_t *text, const char *name, const char *value)
{
    APR_ARRAY_PUSH(text->lines, const char *)
        = value == NULL ? apr_pstrcat(text->pool, name, "\n", NULL)
                        : apr_psprintf(text->pool, "%s=%" APR_SIZE_T_FMT ":%s\n", name,
                                       strlen(value), value);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* A set: order and duplicates do not count. */
static void add_names(text_t *text, const char *name, const apr_array_header_t *names)
{
    apr_array_header_t *sorted;
    int i;

    if (names == NULL) {
        return;
    }
    sorted = apr_array_copy(text->pool, names);
    if (sorted->nelts > 0) {
        qsort(sorted->elts, (size_t)sorted->nelts, sizeof(const char *), by_name);
    }
    for (i = 0; i < sorted->nelts; i++) {
        const char *one = APR_ARRAY_IDX(sorted, i, const char *);

        if (i == 0 || strcmp(one, APR_ARRAY_IDX(sorted, i - 1, const char *)) != 0) {
            add(text, name, one);
        }
    }
}

static const char *yes_no(int is)
{
    return is ? "yes" : "no";
}

static const char *finish(text_t *text, apr_pool_t *pool)
{
    const char *all = apr_array_pstrcat(text->pool, text->lines, 0);
    char hex[ACME_SHA256_HEX];

    acme_sha256_hex(hex, all, strlen(all));
    apr_pool_destroy(text->pool);
    return apr_pstrdup(pool, hex);
}

int acme_spec_may_lack(const acme_spec_t *spec, const apr_array_header_t *left_out)
{
    return spec->may_lack != NULL && left_out->nelts <= ACME_LEFT_OUT_MAX
           && acme_names_include(spec->may_lack, left_out);
}

acme_rv_t acme_spec_names_without(const apr_array_header_t **out, const acme_spec_t *spec,
                                  const apr_array_header_t *left_out, apr_pool_t *pool)
{
    apr_array_header_t *names;
    int i;

    *out = spec->names;
    if (left_out == NULL || left_out->nelts == 0) {
        return ACME_OK;
    }
    if (!acme_spec_may_lack(spec, left_out)) {
        return ACME_FAIL;
    }
    names = apr_array_make(pool, spec->names->nelts, sizeof(const char *));
    for (i = 0; i < spec->names->nelts; i++) {
        const char *name = APR_ARRAY_IDX(spec->names, i, const char *);

        if (!acme_names_contain(left_out, name)) {
            APR_ARRAY_PUSH(names, const char *) = name;
        }
    }
    *out = names;
    return ACME_OK;
}

void acme_spec_part_digest(char out[ACME_SHA256_HEX], const acme_spec_t *spec,
                           const apr_array_header_t *set, int absent, apr_pool_t *scratch)
{
    const char *all = "";
    int i, n = 0;

    for (i = 0; i < spec->names->nelts && n <= ACME_LEFT_OUT_MAX; i++) {
        const char *name = APR_ARRAY_IDX(spec->names, i, const char *);

        if (acme_names_contain(set, name) != absent) {
            all = apr_pstrcat(scratch, all, name, "\n", NULL);
            n++;
        }
    }
    acme_sha256_hex(out, all, strlen(all));
}

const char *acme_spec_digest(const acme_spec_t *spec, apr_pool_t *pool)
{
    text_t text;

    begin(&text, pool);
    add_names(&text, "name", spec->names);
    add(&text, "key-type", acme_key_type_name(spec->key_type));
    add(&text, "profile", spec->profile);
    add(&text, "must-staple", yes_no(spec->must_staple));
    return finish(&text, pool);
}

/* Secrets themselves are never part of anything that is kept. */
static void add_ca(text_t *text, const acme_ca_t *ca)
{
    char mac[ACME_SHA256_HEX];

    add(text, "directory", ca->directory_url);
    add(text, "ca-file", ca->ca_file);
    add(text, "proxy", ca->proxy);
    if (ca->proxy_user != NULL) {
        add(text, "proxy-user", acme_sha256_hex(mac, ca->proxy_user, strlen(ca->proxy_user)));
    }
    add_names(text, "contact", ca->contacts);
    add(text, "terms", yes_no(ca->terms_agreed));
    add(text, "eab-kid", ca->eab_kid);
    add(text, "eab-key",
        ca->eab_key != NULL ? acme_sha256_hex(mac, ca->eab_key, ca->eab_key_len) : NULL);
    add(text, "eab-alg", ca->eab_alg);
    add(text, "account", ca->auth_path);
}

const char *acme_spec_attempt_digest(const acme_spec_t *spec, apr_pool_t *pool)
{
    text_t text;
    int i;

    begin(&text, pool);
    add(&text, "certificate", acme_spec_digest(spec, text.pool));
    add_names(&text, "may-lack", spec->may_lack);
    add(&text, "profile-required", yes_no(spec->profile_required));
    add(&text, "common-name", spec->common_name);
    add(&text, "country", spec->country);
    add(&text, "state", spec->state);
    add(&text, "locality", spec->locality);
    add(&text, "organization", spec->organization);
    for (i = 0; i < spec->n_challenges && i < ACME_CH_TYPES; i++) {
        add(&text, "challenge", acme_challenge_type_name(spec->challenges[i]));
    }
    if (spec->dns01_command != NULL) {
        add(&text, "dns01-command", apr_array_pstrcat(text.pool, spec->dns01_command, ' '));
    }
    for (i = 0; spec->cas != NULL && i < spec->cas->nelts; i++) {
        add_ca(&text, APR_ARRAY_IDX(spec->cas, i, const acme_ca_t *));
    }
    return finish(&text, pool);
}
