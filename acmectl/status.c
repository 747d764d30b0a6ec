/* Licensed under the Apache License, Version 2.0; see LICENSE. */

/* acmectl status: one line a certificate, of the running server or of the store. */

#include "acmectl.h"

#include <string.h>

#include <apr_strings.h>

static void set_time(acme_json_t *json, const char *key, apr_time_t t)
{
    char text[ACME_TIME_TEXT];

    if (t > 0) {
        acme_json_set_string(json, key, acme_time_format(text, t));
    }
}

/* The same members as the server gives. */
static acme_json_t *from_store(const acme_spec_t *spec, apr_hash_t *shared, apr_pool_t *out_pool,
                               apr_pool_t *pool)
{
    acme_json_t *json = acme_json_new_object(out_pool);
    acmectl_certificate_t self;
    const acme_leaf_t *leaf = NULL;

    acmectl_certificate_read(&self, spec, shared, pool);
    if (self.staged.chosen != NULL && !self.staged.same) {
        leaf = &self.staged.leaf;
    }
    else if (self.pair.state == ACME_PAIR_GOOD) {
        leaf = &self.pair.leaf;
    }
    acme_json_set_string(json, "name", spec->id);
    acme_json_set_string(json, "label", spec->label);
    acme_json_set_string(json, "keyType", acme_key_type_name(spec->key_type));
    acme_json_set_string(json, "state", "stopped");
    if (leaf != NULL) {
        acme_json_set_string(json, "serial", leaf->serial);
        set_time(json, "notBefore", leaf->not_before);
        set_time(json, "notAfter", leaf->not_after);
    }
    acme_json_set_int(json, "failures", self.failed ? self.attempt.failures : 0);
    if (spec->error != NULL) {
        acme_json_set_string(json, "error", spec->error);
    }
    else if (self.failed) {
        set_time(json, "next", self.attempt.not_before);
        acme_json_set_string(json, "error", self.attempt.text);
    }
    return json;
}

static apr_array_header_t *all_from_store(const acmectl_t *ctl, const acme_inventory_t *inventory)
{
    apr_array_header_t *lines = apr_array_make(ctl->pool, 16, sizeof(acme_json_t *));
    apr_hash_t *shared = acmectl_shared_log(ctl, inventory);
    apr_pool_t *sub;
    int i;

    apr_pool_create(&sub, ctl->pool);
    for (i = 0; i < inventory->specs->nelts; i++) {
        APR_ARRAY_PUSH(lines, acme_json_t *) =
            from_store(APR_ARRAY_IDX(inventory->specs, i, const acme_spec_t *), shared, ctl->pool,
                       sub);
        apr_pool_clear(sub);
    }
    apr_pool_destroy(sub);
    return lines;
}

static const char *member(const acme_json_t *json, const char *key)
{
    const char *text = NULL;

    return acme_json_get_string(&text, json, key, ACME_JSON_OPTIONAL, NULL) == ACME_OK
                   && text != NULL && *text != '\0' ? text : "-";
}

static void table(const acmectl_t *ctl, const apr_array_header_t *lines)
{
    apr_size_t width = strlen("NAME"), serial = strlen("SERIAL");
    int i;

    for (i = 0; i < lines->nelts; i++) {
        const acme_json_t *json = APR_ARRAY_IDX(lines, i, const acme_json_t *);
        apr_size_t a = strlen(member(json, "name")), b = strlen(member(json, "serial"));

        width = a > width ? a : width;
        serial = b > serial ? b : serial;
    }
    acmectl_say(ctl, "%-*s %-8s %-8s %-*s %-20s %-20s %s", (int)width, "NAME", "KEY", "STATE",
                (int)serial, "SERIAL", "EXPIRES", "NEXT", "LAST ERROR");
    for (i = 0; i < lines->nelts; i++) {
        const acme_json_t *json = APR_ARRAY_IDX(lines, i, const acme_json_t *);

        acmectl_say(ctl, "%-*s %-8s %-8s %-*s %-20s %-20s %s", (int)width, member(json, "name"),
                    member(json, "keyType"), member(json, "state"), (int)serial,
                    member(json, "serial"), member(json, "notAfter"), member(json, "next"),
                    member(json, "error"));
    }
}

int acmectl_status(const acmectl_t *ctl, int argc, const char *const *argv)
{
    acme_control_request_t request;
    acme_inventory_t *inventory;
    apr_array_header_t *lines = NULL;
    int i, code = acmectl_inventory(ctl, &inventory);

    (void)argv;
    if (argc > 0) {
        return ACMECTL_USAGE;
    }
    if (code != ACMECTL_OK) {
        return code;
    }
    memset(&request, 0, sizeof(request));
    if (acmectl_server_runs(ctl)) {
        code = acmectl_ask(ctl, inventory, &request, &lines);
    }
    if (lines == NULL) {
        lines = all_from_store(ctl, inventory);
    }
    table(ctl, lines);
    for (i = 0; ctl->json && i < lines->nelts; i++) {
        acmectl_print_json(ctl, APR_ARRAY_IDX(lines, i, const acme_json_t *));
    }
    return code;
}
