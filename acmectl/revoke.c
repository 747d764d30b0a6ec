/* Licensed under the Apache License, Version 2.0; see LICENSE. */

/* acmectl revoke: with the account's key, at the CA that issued (RFC 8555 section 7.6). */

#include "acmectl.h"

#include <string.h>

#include <apr_strings.h>

typedef struct {
    const unsigned char *der;
    apr_size_t len;
    int reason;
} wish_t;

static acme_rv_t job(acme_session_t *session, void *baton, apr_pool_t *pool, acme_error_t *err)
{
    const wish_t *wish = baton;

    return acme_session_revoke(session, wish->der, wish->len, wish->reason, pool, err);
}

static acme_ca_t *issuer(const acmectl_t *ctl, const acme_inventory_t *inventory,
                         const acme_spec_t *spec, const char *directory)
{
    int i;

    for (i = 0; i < spec->cas->nelts; i++) {
        acme_ca_t *ca = APR_ARRAY_IDX(spec->cas, i, acme_ca_t *);

        if (directory == NULL || *directory == '\0'
            || strcmp(ca->directory_url, directory) == 0) {
            return ca;
        }
    }
    return acmectl_find_ca(ctl, inventory, directory);
}

static int print_result(const acmectl_t *ctl, const acme_spec_t *spec, const char *serial)
{
    acme_json_t *json = acme_json_new_object(ctl->pool);

    acmectl_say(ctl, "%s: revoked, serial %s; another one is ordered", spec->id, serial);
    acme_json_set_string(json, "name", spec->id);
    acme_json_set_string(json, "result", "revoked");
    acme_json_set_string(json, "serial", serial);
    if (ctl->json) {
        acmectl_print_json(ctl, json);
    }
    return ACMECTL_OK;
}

static int revoke_one(const acmectl_t *ctl, const acme_inventory_t *inventory,
                      const acme_spec_t *spec, int reason)
{
    acme_control_request_t request;
    acmectl_certificate_t self;
    acme_ca_t *ca;
    acme_chain_t *chain;
    acme_leaf_t leaf;
    const char *pem, *key;
    wish_t wish;
    int code;

    acmectl_certificate_read(&self, spec, acmectl_shared_log(ctl, inventory), ctl->pool);
    pem = acmectl_newest(&self, &key);
    if (pem == NULL || acme_chain_from_pem(&chain, pem, strlen(pem), ctl->pool, NULL) != ACME_OK
        || acme_chain_leaf(&leaf, chain, ctl->pool, NULL) != ACME_OK) {
        return acmectl_fail(ctl, ACMECTL_FAILED, "%s: there is no certificate", spec->id);
    }
    acme_chain_der(&wish.der, &wish.len, chain, 0);
    wish.reason = reason;
    if (acmectl_server_runs(ctl)) {
        memset(&request, 0, sizeof(request));
        request.command = ACME_CONTROL_REVOKE;
        request.name = spec->id;
        request.reason = reason;
        request.der = wish.der;
        request.der_len = wish.len;
        code = acmectl_ask(ctl, inventory, &request, NULL);
    }
    else {
        ca = issuer(ctl, inventory, spec, self.directory);
        code = ca != NULL ? acmectl_offline(ctl, inventory, ca, job, &wish) : ACMECTL_UNKNOWN;
        if (code == ACMECTL_OK) {
            code = acmectl_write_retry(ctl, inventory, spec, 1);
        }
    }
    return code == ACMECTL_OK ? print_result(ctl, spec, leaf.serial) : code;
}

int acmectl_revoke(const acmectl_t *ctl, int argc, const char *const *argv)
{
    acme_inventory_t *inventory;
    apr_array_header_t *specs;
    int i, code, reason = 0;

    if (argc < 1 || argc > 2) {
        return ACMECTL_USAGE;
    }
    if (argc == 2 && acme_revocation_reason(&reason, argv[1]) != ACME_OK) {
        return acmectl_fail(ctl, ACMECTL_USAGE, "%s: no reason; allowed are %s", argv[1],
                            acme_revocation_reasons(ctl->pool));
    }
    code = acmectl_inventory(ctl, &inventory);
    if (code != ACMECTL_OK) {
        return code;
    }
    specs = acmectl_find(ctl, inventory, argv[0]);
    if (specs == NULL) {
        return ACMECTL_UNKNOWN;
    }
    for (i = 0; i < specs->nelts && code == ACMECTL_OK; i++) {
        code = revoke_one(ctl, inventory, APR_ARRAY_IDX(specs, i, const acme_spec_t *), reason);
    }
    return code;
}
