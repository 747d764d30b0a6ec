/* Licensed under the Apache License, Version 2.0; see LICENSE. */

/* acmectl show, acmectl export: what is on disk, what waits beside it, what is served. */

#include "acmectl.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <apr_strings.h>

/* ---- show ---- */

static void set_time(acme_json_t *json, const char *key, apr_time_t t)
{
    char text[ACME_TIME_TEXT];

    acme_json_set_string(json, key, acme_time_format(text, t));
}

static acme_json_t *texts(const apr_array_header_t *list, apr_pool_t *pool)
{
    acme_json_t *json = acme_json_new_array(pool);
    int i;

    for (i = 0; i < list->nelts; i++) {
        acme_json_add_string(json, APR_ARRAY_IDX(list, i, const char *));
    }
    return json;
}

/* Who issued whom, leaf first. */
static acme_json_t *issuers(const acme_chain_t *chain, apr_pool_t *pool)
{
    acme_json_t *json = acme_json_new_array(pool);
    const unsigned char *der;
    acme_chain_t *one;
    acme_leaf_t leaf;
    apr_size_t len;
    int i;

    for (i = 0; i < acme_chain_count(chain); i++) {
        acme_chain_der(&der, &len, chain, i);
        if (acme_chain_from_der(&one, &der, &len, 1, pool, NULL) == ACME_OK
            && acme_chain_leaf(&leaf, one, pool, NULL) == ACME_OK) {
            acme_json_add_string(json, leaf.issuer);
        }
    }
    return json;
}

/* NULL: that is no chain. */
static acme_json_t *facts(const char *pem, apr_pool_t *pool)
{
    acme_json_t *json = acme_json_new_object(pool);
    acme_chain_t *chain;
    acme_leaf_t leaf;

    if (pem == NULL || acme_chain_from_pem(&chain, pem, strlen(pem), pool, NULL) != ACME_OK
        || acme_chain_leaf(&leaf, chain, pool, NULL) != ACME_OK) {
        return NULL;
    }
    acme_json_set_string(json, "serial", leaf.serial);
    acme_json_set(json, "names", texts(leaf.names, pool));
    set_time(json, "notBefore", leaf.not_before);
    set_time(json, "notAfter", leaf.not_after);
    if (leaf.key_type_known) {
        acme_json_set_string(json, "keyType", acme_key_type_name(leaf.key_type));
    }
    acme_json_set_string(json, "fingerprint", leaf.fingerprint);
    acme_json_set(json, "issuers", issuers(chain, pool));
    return json;
}

static void say_texts(const acmectl_t *ctl, const acme_json_t *json, const char *key,
                      const char *title)
{
    acme_json_t *list = NULL;
    const char *text, *all = "";
    apr_size_t i;

    if (acme_json_get_array(&list, json, key, ACME_JSON_OPTIONAL, NULL) != ACME_OK || !list) {
        return;
    }
    for (i = 0; i < acme_json_count(list); i++) {
        if (acme_json_item_string(&text, list, i, NULL) == ACME_OK) {
            all = apr_pstrcat(ctl->pool, all, i > 0 ? " | " : "", text, NULL);
        }
    }
    acmectl_say(ctl, "    %-12s %s", title, all);
}

static void say_text(const acmectl_t *ctl, const acme_json_t *json, const char *key,
                     const char *title)
{
    const char *text = NULL;

    if (acme_json_get_string(&text, json, key, ACME_JSON_OPTIONAL, NULL) == ACME_OK && text) {
        acmectl_say(ctl, "    %-12s %s", title, text);
    }
}

static void say_facts(const acmectl_t *ctl, const char *title, const acme_json_t *json)
{
    if (json == NULL) {
        return;
    }
    acmectl_say(ctl, "  %s", title);
    say_text(ctl, json, "serial", "serial");
    say_texts(ctl, json, "names", "names");
    say_text(ctl, json, "notBefore", "not before");
    say_text(ctl, json, "notAfter", "not after");
    say_text(ctl, json, "keyType", "key");
    say_text(ctl, json, "fingerprint", "sha256");
    say_texts(ctl, json, "issuers", "issued by");
}

static void say_state(const acmectl_t *ctl, const acme_json_t *json)
{
    static const char *const members[] = {"state", "why", "step", "next", "error", "ca", "order",
                                          "publish", "explanation"};
    apr_size_t i;

    for (i = 0; i < sizeof(members) / sizeof(members[0]); i++) {
        say_text(ctl, json, members[i], members[i]);
    }
}

static acme_json_t *state_of(const apr_array_header_t *lines, const char *id)
{
    const char *name;
    int i;

    for (i = 0; lines != NULL && i < lines->nelts; i++) {
        acme_json_t *json = APR_ARRAY_IDX(lines, i, acme_json_t *);

        if (acme_json_get_string(&name, json, "name", ACME_JSON_REQUIRED, NULL) == ACME_OK
            && strcmp(name, id) == 0) {
            return json;
        }
    }
    return NULL;
}

static void show_one(const acmectl_t *ctl, const acme_spec_t *spec, apr_hash_t *shared,
                     acme_json_t *state)
{
    acme_json_t *json = acme_json_new_object(ctl->pool);
    acme_json_t *disk, *staged = NULL, *served = NULL;
    acmectl_certificate_t self;
    const char *chain = NULL;

    acmectl_certificate_read(&self, spec, shared, ctl->pool);
    disk = facts(self.pair.state == ACME_PAIR_GOOD ? self.pair.cert : NULL, ctl->pool);
    if (self.staged.chosen != NULL && !self.staged.same) {
        staged = facts(self.staged.chain_pem, ctl->pool);
    }
    if (state != NULL
        && acme_json_get_string(&chain, state, "chain", ACME_JSON_OPTIONAL, NULL) == ACME_OK) {
        served = chain != NULL ? facts(chain, ctl->pool) : disk;
    }
    acmectl_say(ctl, "%s (%s)", spec->id, acme_key_type_name(spec->key_type));
    acmectl_say(ctl, "  files %s %s", spec->cert_path, spec->key_path);
    say_facts(ctl, "on disk", disk);
    say_facts(ctl, "waiting for the next start", staged);
    say_facts(ctl, "served", served);
    if (state != NULL) {
        acmectl_say(ctl, "  state");
        say_state(ctl, state);
    }
    acme_json_set_string(json, "name", spec->id);
    acme_json_set_string(json, "label", spec->label);
    acme_json_set_string(json, "certificate", spec->cert_path);
    acme_json_set_string(json, "key", spec->key_path);
    if (served != NULL && served != disk) {
        acme_json_set(json, "served", served);
    }
    else if (served != NULL) {
        acme_json_set(json, "served", facts(self.pair.cert, ctl->pool));
    }
    if (disk != NULL) {
        acme_json_set(json, "disk", disk);
    }
    if (staged != NULL) {
        acme_json_set(json, "staged", staged);
    }
    if (state != NULL) {
        acme_json_set(json, "status", state);
    }
    if (ctl->json) {
        acmectl_print_json(ctl, json);
    }
}

int acmectl_show(const acmectl_t *ctl, int argc, const char *const *argv)
{
    acme_control_request_t request;
    acme_inventory_t *inventory;
    apr_array_header_t *specs, *lines = NULL;
    apr_hash_t *shared;
    int i, code;

    if (argc != 1) {
        return ACMECTL_USAGE;
    }
    code = acmectl_inventory(ctl, &inventory);
    if (code != ACMECTL_OK) {
        return code;
    }
    specs = acmectl_find(ctl, inventory, argv[0]);
    if (specs == NULL) {
        return ACMECTL_UNKNOWN;
    }
    memset(&request, 0, sizeof(request));
    request.name = argv[0];
    if (acmectl_server_runs(ctl)) {
        code = acmectl_ask(ctl, inventory, &request, &lines);
    }
    shared = acmectl_shared_log(ctl, inventory);
    for (i = 0; i < specs->nelts; i++) {
        const acme_spec_t *spec = APR_ARRAY_IDX(specs, i, const acme_spec_t *);

        show_one(ctl, spec, shared, state_of(lines, spec->id));
    }
    return code;
}

/* ---- export ---- */

static int write_pair(const acmectl_t *ctl, const acme_spec_t *spec, const char *dir,
                      const char *chain, const char *key)
{
    const char *base = apr_pstrcat(ctl->pool, dir, "/", spec->id, NULL);
    const char *cert_path = apr_pstrcat(ctl->pool, base, ".crt.pem", NULL);
    const char *key_path = apr_pstrcat(ctl->pool, base, ".key.pem", NULL);
    acme_error_t err;

    acme_error_clear(&err);
    if (acme_file_replace(cert_path, chain, strlen(chain), ctl->pool, &err) != ACME_OK
        || acme_file_replace(key_path, key, strlen(key), ctl->pool, &err) != ACME_OK) {
        return acmectl_fail(ctl, ACMECTL_FAILED, "%s", err.text);
    }
    acmectl_say(ctl, "%s %s", cert_path, key_path);
    return ACMECTL_OK;
}

static int export_one(const acmectl_t *ctl, const acme_spec_t *spec, apr_hash_t *shared,
                      const char *dir)
{
    acme_json_t *json = acme_json_new_object(ctl->pool);
    acmectl_certificate_t self;
    const char *chain, *key;

    acmectl_certificate_read(&self, spec, shared, ctl->pool);
    chain = acmectl_newest(&self, &key);
    if (chain == NULL) {
        return acmectl_fail(ctl, ACMECTL_FAILED, "%s: there is no certificate yet", spec->id);
    }
    acme_json_set_string(json, "name", spec->id);
    if (dir != NULL && write_pair(ctl, spec, dir, chain, key) != ACMECTL_OK) {
        return ACMECTL_FAILED;
    }
    if (dir == NULL && !ctl->json) {
        printf("%s%s", chain, key);
    }
    if (dir == NULL) {
        acme_json_set_string(json, "chain", chain);
        acme_json_set_string(json, "key", key);
    }
    if (ctl->json) {
        acmectl_print_json(ctl, json);
    }
    return ACMECTL_OK;
}

int acmectl_export(const acmectl_t *ctl, int argc, const char *const *argv)
{
    const char *dir = argc == 3 && acmectl_is_option(argv[1], "--out") ? argv[2] : NULL;
    acme_inventory_t *inventory;
    apr_array_header_t *specs;
    apr_hash_t *shared;
    int i, code;

    if (argc != 1 && dir == NULL) {
        return ACMECTL_USAGE;
    }
    code = acmectl_inventory(ctl, &inventory);
    if (code != ACMECTL_OK) {
        return code;
    }
    specs = acmectl_find(ctl, inventory, argv[0]);
    if (specs == NULL) {
        return ACMECTL_UNKNOWN;
    }
    shared = acmectl_shared_log(ctl, inventory);
    for (i = 0; i < specs->nelts && code == ACMECTL_OK; i++) {
        code = export_one(ctl, APR_ARRAY_IDX(specs, i, const acme_spec_t *), shared, dir);
    }
    return code;
}
