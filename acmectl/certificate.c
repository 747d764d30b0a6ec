/* Licensed under the Apache License, Version 2.0; see LICENSE. */

/* One certificate as the store has it. */

#include "acmectl.h"

#include <string.h>
#include <unistd.h>

#include <apr_strings.h>

int acmectl_is_option(const char *arg, const char *name)
{
    return strcmp(arg, name) == 0;
}

int acmectl_inventory(const acmectl_t *ctl, acme_inventory_t **out)
{
    acme_error_t err;
    acme_rv_t rv;

    acme_error_clear(&err);
    rv = acme_inventory_read(out, ctl->store, geteuid(), ctl->pool, &err);
    if (rv == ACME_AGAIN) {
        return acmectl_fail(ctl, ACMECTL_FAILED, "%s: no server has been started with this store; "
                            "--store names another", ctl->store);
    }
    return rv == ACME_OK ? ACMECTL_OK : acmectl_fail(ctl, ACMECTL_FAILED, "%s", err.text);
}

apr_array_header_t *acmectl_find(const acmectl_t *ctl, const acme_inventory_t *inventory,
                                 const char *name)
{
    apr_array_header_t *found = apr_array_make(ctl->pool, 2, sizeof(acme_spec_t *));
    int i;

    for (i = 0; i < inventory->specs->nelts; i++) {
        acme_spec_t *spec = APR_ARRAY_IDX(inventory->specs, i, acme_spec_t *);

        if (acme_ascii_casecmp(spec->id, name) == 0 || acme_ascii_casecmp(spec->label, name) == 0) {
            APR_ARRAY_PUSH(found, acme_spec_t *) = spec;
        }
    }
    if (found->nelts > 0) {
        return found;
    }
    acmectl_fail(ctl, ACMECTL_UNKNOWN, "%s: no such certificate", name);
    return NULL;
}

acme_ca_t *acmectl_find_ca(const acmectl_t *ctl, const acme_inventory_t *inventory,
                           const char *name)
{
    int i;

    for (i = 0; i < inventory->cas->nelts; i++) {
        acme_ca_t *ca = APR_ARRAY_IDX(inventory->cas, i, acme_ca_t *);

        if ((name == NULL && inventory->cas->nelts == 1)
            || (name != NULL
                && (strcmp(ca->name, name) == 0 || strcmp(ca->directory_url, name) == 0))) {
            return ca;
        }
    }
    acmectl_fail(ctl, ACMECTL_UNKNOWN, "%s: no such CA", name != NULL ? name : "which one?");
    return NULL;
}

apr_hash_t *acmectl_shared_log(const acmectl_t *ctl, const acme_inventory_t *inventory)
{
    const char *path = apr_pstrcat(ctl->pool, inventory->store, "/overflow.upd", NULL);
    acme_staged_log_t *log = apr_pcalloc(ctl->pool, sizeof(*log));

    if (acme_staged_read(log, path, geteuid(), ACME_OVERFLOW_CAP, ctl->pool, NULL) != ACME_OK
        || log->len == 0) {
        return NULL;
    }
    return acme_staged_split(log, ctl->pool);
}

static void gather(apr_array_header_t *records, const acme_spec_t *spec, apr_hash_t *shared,
                   apr_pool_t *pool)
{
    const char *const paths[] = {spec->cert_path, spec->key_path};
    const apr_array_header_t *more = NULL;
    acme_staged_log_t *log;
    int i;

    for (i = 0; i < 2; i++) {
        log = apr_pcalloc(pool, sizeof(*log));
        if (acme_staged_read(log, apr_pstrcat(pool, paths[i], ".upd", NULL), geteuid(),
                             ACME_LOG_CAP, pool, NULL) == ACME_OK) {
            acme_staged_gather(records, log, spec->id, pool);
        }
    }
    if (shared != NULL) {
        more = apr_hash_get(shared, spec->id, APR_HASH_KEY_STRING);
    }
    if (more != NULL) {
        apr_array_cat(records, more);
    }
}

/* Whose pair this is: what stands beside it in the log. */
static const char *directory_of(const acmectl_certificate_t *self, apr_pool_t *pool)
{
    const acme_record_t *live = self->staged.newest[ACME_REC_LIVE];
    acme_issued_t issued;
    const char *rest;
    apr_size_t rest_len;

    if (self->staged.chosen != NULL) {
        return self->staged.issued.directory;
    }
    if (live == NULL
        || acme_certificate_payload_parse(&issued, &rest, &rest_len, live->payload, live->len,
                                          pool, NULL) != ACME_OK) {
        return NULL;
    }
    return issued.directory;
}

void acmectl_certificate_read(acmectl_certificate_t *out, const acme_spec_t *spec,
                              apr_hash_t *shared, apr_pool_t *pool)
{
    apr_array_header_t *records = apr_array_make(pool, 8, sizeof(acme_record_t));
    const acme_record_t *attempt;
    acme_staged_want_t want;

    memset(out, 0, sizeof(*out));
    memset(&want, 0, sizeof(want));
    acme_pair_read(&out->pair, spec->cert_path, spec->key_path, geteuid(), 0, pool);
    gather(records, spec, shared, pool);
    want.spec = spec;
    want.now = apr_time_now();
    want.key_path = spec->key_path;
    want.uid = geteuid();
    if (out->pair.state == ACME_PAIR_GOOD) {
        want.live_not_before = out->pair.leaf.not_before;
        want.live_fingerprint = out->pair.leaf.fingerprint;
        want.live_key_digest = out->pair.leaf.key_digest;
    }
    acme_staged_choose(&out->staged, records, &want, pool);
    attempt = out->staged.newest[ACME_REC_ATTEMPT];
    out->failed = attempt != NULL
                  && acme_attempt_parse(&out->attempt, attempt->payload, attempt->len, pool, NULL)
                         == ACME_OK
                  && out->attempt.failures > 0;
    out->directory = directory_of(out, pool);
}

const char *acmectl_newest(const acmectl_certificate_t *certificate, const char **key_pem)
{
    const acme_staged_t *staged = &certificate->staged;

    if (staged->chosen != NULL && !staged->same) {
        *key_pem = staged->key_pem;
        return staged->chain_pem;
    }
    *key_pem = certificate->pair.key;
    return certificate->pair.state == ACME_PAIR_GOOD ? certificate->pair.cert : NULL;
}

int acmectl_write_retry(const acmectl_t *ctl, const acme_inventory_t *inventory,
                        const acme_spec_t *spec, int new_key)
{
    const char *text = new_key ? "new-key\n" : "";
    const char *path = NULL;
    acme_error_t err;
    int i;

    /* The file is named like the first key type. */
    for (i = 0; path == NULL && i < inventory->specs->nelts; i++) {
        const acme_spec_t *first = APR_ARRAY_IDX(inventory->specs, i, const acme_spec_t *);

        if (strcmp(first->label, spec->label) == 0) {
            path = apr_pstrcat(ctl->pool, inventory->store, "/", first->id, ".retry", NULL);
        }
    }
    acme_error_clear(&err);
    if (path == NULL
        || acme_file_replace(path, text, strlen(text), ctl->pool, &err) != ACME_OK) {
        return acmectl_fail(ctl, ACMECTL_FAILED, "%s", err.text);
    }
    acmectl_say(ctl, "%s: no server runs; the next start orders (%s)", spec->id, path);
    return ACMECTL_OK;
}
