/* Licensed under the Apache License, Version 2.0; see LICENSE. */

/* acmectl account: the accounts at the CAs. */

#include "acmectl.h"

#include <string.h>
#include <unistd.h>

#include <apr_strings.h>

#include "protocol/rollover.h"

/* ---- show ---- */

static void set_record(acme_json_t *out, const acme_record_t *record, apr_pool_t *pool)
{
    static const char *const members[] = {"kid", "orders"};
    const char *text;
    acme_json_t *json;
    apr_size_t i;

    if (record == NULL
        || acme_json_parse(&json, record->payload, record->len, "account record", pool, NULL)
               != ACME_OK) {
        return;
    }
    for (i = 0; i < 2; i++) {
        if (acme_json_get_string(&text, json, members[i], ACME_JSON_OPTIONAL, NULL) == ACME_OK
            && text != NULL) {
            acme_json_set_string(out, members[i], text);
        }
    }
}

/* A key that the CA has, and the file does not yet. */
static const char *pending(const acme_record_t *record, const char *file, apr_pool_t *pool)
{
    acme_rollover_t rollover;

    if (record == NULL
        || acme_rollover_parse(&rollover, record->payload, record->len, pool, NULL) != ACME_OK
        || strcmp(rollover.file, file) != 0) {
        return NULL;
    }
    return rollover.next != NULL ? "told to the CA, its answer unknown"
           : rollover.key != NULL ? "taken over at the next start" : NULL;
}

static acme_json_t *describe(const acmectl_t *ctl, const acme_inventory_t *inventory,
                             const acme_ca_t *ca)
{
    apr_array_header_t *records = apr_array_make(ctl->pool, 8, sizeof(acme_record_t));
    acme_staged_log_t *log = apr_pcalloc(ctl->pool, sizeof(*log));
    acme_json_t *json = acme_json_new_object(ctl->pool);
    acme_account_item_t item;
    acme_staged_want_t want;
    acme_staged_t staged;
    acme_key_t *key;

    memset(&item, 0, sizeof(item));
    memset(&want, 0, sizeof(want));
    item.ca = ca;
    acme_account_key(&item, inventory->store, geteuid(), 1, NULL, ctl->pool);
    if (acme_staged_read(log, apr_pstrcat(ctl->pool, ca->auth_path, ".upd", NULL), geteuid(),
                         ACME_LOG_CAP, ctl->pool, NULL) == ACME_OK) {
        acme_staged_gather(records, log, item.id, ctl->pool);
    }
    acme_staged_choose(&staged, records, &want, ctl->pool);
    acme_json_set_string(json, "ca", ca->name);
    acme_json_set_string(json, "directory", ca->directory_url);
    acme_json_set_string(json, "file", ca->auth_path);
    set_record(json, staged.newest[ACME_REC_ACCOUNT], ctl->pool);
    if (item.jwk != NULL
        && acme_key_from_jwk(&key, item.jwk, strlen(item.jwk), ctl->pool, NULL) == ACME_OK) {
        const char *thumbprint = acme_key_thumbprint(key, ctl->pool);
        const char *next = pending(staged.newest[ACME_REC_ROLLOVER], thumbprint, ctl->pool);

        acme_json_set_string(json, "thumbprint", thumbprint);
        acme_json_set_string(json, "algorithm", acme_key_jws_alg(key));
        if (next != NULL) {
            acme_json_set_string(json, "newKey", next);
        }
    }
    else {
        acme_json_set_string(json, "error", item.trouble != NULL ? item.trouble : "no key yet");
    }
    return json;
}

static void say_account(const acmectl_t *ctl, const acme_json_t *json)
{
    static const char *const members[] = {"directory", "kid", "file", "thumbprint", "algorithm",
                                          "newKey", "error"};
    const char *text = NULL;
    apr_size_t i;

    (void)acme_json_get_string(&text, json, "ca", ACME_JSON_OPTIONAL, NULL);
    acmectl_say(ctl, "%s", text != NULL ? text : "");
    for (i = 0; i < sizeof(members) / sizeof(members[0]); i++) {
        if (acme_json_get_string(&text, json, members[i], ACME_JSON_OPTIONAL, NULL) == ACME_OK
            && text != NULL) {
            acmectl_say(ctl, "  %-10s %s", members[i], text);
        }
    }
}

static int show(const acmectl_t *ctl, const acme_inventory_t *inventory, const char *name)
{
    const acme_ca_t *only = name != NULL ? acmectl_find_ca(ctl, inventory, name) : NULL;
    int i;

    if (name != NULL && only == NULL) {
        return ACMECTL_UNKNOWN;
    }
    for (i = 0; i < inventory->cas->nelts; i++) {
        const acme_ca_t *ca = APR_ARRAY_IDX(inventory->cas, i, const acme_ca_t *);
        acme_json_t *json;

        if (only != NULL && ca != only) {
            continue;
        }
        json = describe(ctl, inventory, ca);
        say_account(ctl, json);
        if (ctl->json) {
            acmectl_print_json(ctl, json);
        }
    }
    return ACMECTL_OK;
}

/* ---- what the CA is asked ---- */

static acme_rv_t job_rollover(acme_session_t *session, void *baton, apr_pool_t *pool,
                              acme_error_t *err)
{
    const acme_ca_t *ca = baton;
    acme_key_t *key;

    if (acme_key_generate(&key, ca->account_key_type, pool, err) != ACME_OK) {
        return ACME_FAIL;
    }
    return acme_session_rollover(session, key, pool, err);
}

static acme_rv_t job_deactivate(acme_session_t *session, void *baton, apr_pool_t *pool,
                                acme_error_t *err)
{
    (void)baton;
    return acme_session_deactivate(session, pool, err);
}

static int shared_key(const acmectl_t *ctl, const acme_inventory_t *inventory, const acme_ca_t *ca)
{
    int i;

    for (i = 0; i < inventory->cas->nelts; i++) {
        const acme_ca_t *other = APR_ARRAY_IDX(inventory->cas, i, const acme_ca_t *);

        if (other != ca && strcmp(other->auth_path, ca->auth_path) == 0) {
            return acmectl_fail(ctl, ACMECTL_FAILED, "its key is that of %s, too: give each CA an "
                                "AcmeAuthPath of its own", other->name);
        }
    }
    return ACMECTL_OK;
}

static int change(const acmectl_t *ctl, const acme_inventory_t *inventory, const char *name,
                  acme_control_command_t command)
{
    acme_ca_t *ca = acmectl_find_ca(ctl, inventory, name);
    int rollover = command == ACME_CONTROL_ROLLOVER;
    acme_json_t *json = acme_json_new_object(ctl->pool);
    acme_control_request_t request;
    int code;

    if (ca == NULL) {
        return ACMECTL_UNKNOWN;
    }
    memset(&request, 0, sizeof(request));
    request.command = command;
    request.name = ca->name;
    code = rollover ? shared_key(ctl, inventory, ca) : ACMECTL_OK;
    if (code == ACMECTL_OK) {
        code = acmectl_server_runs(ctl)
                   ? acmectl_ask(ctl, inventory, &request, NULL)
                   : acmectl_offline(ctl, inventory, ca, rollover ? job_rollover : job_deactivate,
                                     ca);
    }
    if (code != ACMECTL_OK) {
        return code;
    }
    if (rollover) {
        acmectl_say(ctl, "%s: the account has a new key; the next start puts it into %s", ca->name,
                    ca->auth_path);
    }
    else {
        acmectl_say(ctl, "%s: the account is deactivated; for another one: mv '%s' "
                    "'%s.deactivated', and a restart", ca->name, ca->auth_path, ca->auth_path);
    }
    acme_json_set_string(json, "ca", ca->name);
    acme_json_set_string(json, "result", rollover ? "new key" : "deactivated");
    if (ctl->json) {
        acmectl_print_json(ctl, json);
    }
    return ACMECTL_OK;
}

int acmectl_account(const acmectl_t *ctl, int argc, const char *const *argv)
{
    const char *name = NULL;
    acme_inventory_t *inventory;
    int i, yes = 0, code;

    for (i = 1; i < argc; i++) {
        if (acmectl_is_option(argv[i], "--yes")) {
            yes = 1;
        }
        else if (argv[i][0] == '-' || name != NULL) {
            return ACMECTL_USAGE;
        }
        else {
            name = argv[i];
        }
    }
    if (argc < 1) {
        return ACMECTL_USAGE;
    }
    code = acmectl_inventory(ctl, &inventory);
    if (code != ACMECTL_OK) {
        return code;
    }
    if (strcmp(argv[0], "show") == 0) {
        return show(ctl, inventory, name);
    }
    if (strcmp(argv[0], "rollover") == 0) {
        return change(ctl, inventory, name, ACME_CONTROL_ROLLOVER);
    }
    if (strcmp(argv[0], "deactivate") != 0) {
        return ACMECTL_USAGE;
    }
    if (!yes) {
        return acmectl_fail(ctl, ACMECTL_USAGE, "an account that is deactivated is so for good; "
                            "say --yes");
    }
    return change(ctl, inventory, name, ACME_CONTROL_DEACTIVATE);
}
