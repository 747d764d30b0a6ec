/* Licensed under the Apache License, Version 2.0; see LICENSE. */

/* acmectl retry, acmectl renew: ask for a certificate now; without a server, for the next start. */

#include "acmectl.h"

#include <string.h>

#include <apr_strings.h>

#define WAIT_AT_MOST apr_time_from_sec(300)
#define LOOK_EVERY apr_time_from_msec(250)

static const char *member(const acme_json_t *json, const char *key)
{
    const char *text = NULL;

    return acme_json_get_string(&text, json, key, ACME_JSON_OPTIONAL, NULL) == ACME_OK
                   && text != NULL ? text : "";
}

static void print_results(const acmectl_t *ctl, const apr_array_header_t *lines)
{
    int i;

    for (i = 0; lines != NULL && i < lines->nelts; i++) {
        const acme_json_t *json = APR_ARRAY_IDX(lines, i, const acme_json_t *);
        const char *error = member(json, "error");

        acmectl_say(ctl, "%s: %s%s%s", member(json, "name"), member(json, "result"),
                    *error != '\0' ? ": " : "", error);
        if (ctl->json) {
            acmectl_print_json(ctl, json);
        }
    }
}

/* 1: done; 0: not yet; -1: failed. A serial that is another than before is what was waited for. */
static int arrived(const acme_json_t *before, const acme_json_t *now, const char **error)
{
    *error = member(now, "error");
    if (strcmp(member(before, "serial"), member(now, "serial")) != 0) {
        return 1;
    }
    if (strcmp(member(now, "state"), "failed") == 0 || strcmp(member(now, "state"), "held") == 0) {
        return -1;
    }
    return 0;
}

static int look(const acmectl_t *ctl, const acme_inventory_t *inventory, const char *name,
                apr_array_header_t **lines)
{
    acme_control_request_t request;

    memset(&request, 0, sizeof(request));
    request.name = name;
    return acmectl_ask(ctl, inventory, &request, lines);
}

static int wait_for(const acmectl_t *ctl, const acme_inventory_t *inventory, const char *name,
                    const apr_array_header_t *before)
{
    apr_time_t deadline = acme_net_now() + WAIT_AT_MOST;
    apr_array_header_t *now;
    acmectl_t turn = *ctl;
    const char *error;
    int i, done, code;

    while (acme_net_now() < deadline) {
        apr_sleep(LOOK_EVERY);
        apr_pool_create(&turn.pool, ctl->pool);
        code = look(&turn, inventory, name, &now);
        if (code != ACMECTL_OK || now->nelts != before->nelts) {
            return code != ACMECTL_OK ? code
                       : acmectl_fail(ctl, ACMECTL_FAILED, "the configuration has changed");
        }
        for (i = 0, done = 1; i < now->nelts && done > 0; i++) {
            int state = arrived(APR_ARRAY_IDX(before, i, const acme_json_t *),
                                APR_ARRAY_IDX(now, i, const acme_json_t *), &error);

            done = state < 0 ? -1 : done && state;
        }
        if (done != 0) {
            return done > 0 ? ACMECTL_OK
                       : acmectl_fail(ctl, ACMECTL_FAILED, "%s: %s", name, error);
        }
        apr_pool_destroy(turn.pool);
    }
    return acmectl_fail(ctl, ACMECTL_FAILED, "%s: still not there", name);
}

static int offline(const acmectl_t *ctl, const acme_inventory_t *inventory,
                   const acme_control_request_t *request)
{
    apr_array_header_t *specs = inventory->specs;
    int i, code = ACMECTL_OK;
    const char *last = "";

    if (request->name != NULL) {
        specs = acmectl_find(ctl, inventory, request->name);
        if (specs == NULL) {
            return ACMECTL_UNKNOWN;
        }
    }
    for (i = 0; i < specs->nelts && code == ACMECTL_OK; i++) {
        const acme_spec_t *spec = APR_ARRAY_IDX(specs, i, const acme_spec_t *);

        if (strcmp(spec->label, last) != 0) {
            code = acmectl_write_retry(ctl, inventory, spec, request->new_key);
            last = spec->label;
        }
    }
    return code;
}

static int ask(const acmectl_t *ctl, const acme_control_request_t *request, int wait)
{
    acme_inventory_t *inventory;
    apr_array_header_t *before = NULL, *lines = NULL;
    int code = acmectl_inventory(ctl, &inventory);

    if (code != ACMECTL_OK) {
        return code;
    }
    if (!acmectl_server_runs(ctl)) {
        return offline(ctl, inventory, request);
    }
    if (wait) {
        code = look(ctl, inventory, request->name, &before);
    }
    if (code == ACMECTL_OK) {
        code = acmectl_ask(ctl, inventory, request, &lines);
        print_results(ctl, lines);
    }
    return code == ACMECTL_OK && wait ? wait_for(ctl, inventory, request->name, before) : code;
}

int acmectl_retry(const acmectl_t *ctl, int argc, const char *const *argv)
{
    acme_control_request_t request;
    int i, all = 0, wait = 0;

    memset(&request, 0, sizeof(request));
    request.command = ACME_CONTROL_RETRY;
    for (i = 0; i < argc; i++) {
        if (acmectl_is_option(argv[i], "--all")) {
            all = 1;
        }
        else if (acmectl_is_option(argv[i], "--wait")) {
            wait = 1;
        }
        else if (argv[i][0] == '-' || request.name != NULL) {
            return ACMECTL_USAGE;
        }
        else {
            request.name = argv[i];
        }
    }
    return all == (request.name != NULL) || (all && wait) ? ACMECTL_USAGE
                                                          : ask(ctl, &request, wait);
}

int acmectl_renew(const acmectl_t *ctl, int argc, const char *const *argv)
{
    acme_control_request_t request;
    int i, wait = 0;

    memset(&request, 0, sizeof(request));
    request.command = ACME_CONTROL_RENEW;
    for (i = 0; i < argc; i++) {
        if (acmectl_is_option(argv[i], "--new-key")) {
            request.new_key = 1;
        }
        else if (acmectl_is_option(argv[i], "--wait")) {
            wait = 1;
        }
        else if (argv[i][0] == '-' || request.name != NULL) {
            return ACMECTL_USAGE;
        }
        else {
            request.name = argv[i];
        }
    }
    return request.name == NULL ? ACMECTL_USAGE : ask(ctl, &request, wait);
}
