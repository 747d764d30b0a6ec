/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#include "protocol/control.h"

#include <string.h>

#include <apr_strings.h>

#include "base/codec.h"
#include "base/json.h"

#define NAME_BYTES 300

typedef enum { NAME_NONE, NAME_MAY, NAME_MUST } name_t;

static const struct {
    const char *word;
    name_t name;
} commands[ACME_CONTROL_COMMANDS] = {
    [ACME_CONTROL_STATUS] = {"status", NAME_MAY},
    [ACME_CONTROL_RETRY] = {"retry", NAME_MAY},
    [ACME_CONTROL_RENEW] = {"renew", NAME_MUST},
    [ACME_CONTROL_REVOKE] = {"revoke", NAME_MUST},
    [ACME_CONTROL_ROLLOVER] = {"rollover", NAME_MUST},
    [ACME_CONTROL_DEACTIVATE] = {"deactivate", NAME_MUST},
};

static const struct {
    const char *word;
    int code;
} reasons[] = {
    {"unspecified", 0},          {"keyCompromise", 1},      {"cACompromise", 2},
    {"affiliationChanged", 3},   {"superseded", 4},         {"cessationOfOperation", 5},
    {"certificateHold", 6},      {"removeFromCRL", 8},      {"privilegeWithdrawn", 9},
    {"aACompromise", 10},
};

#define REASONS (sizeof(reasons) / sizeof(reasons[0]))

const char *acme_control_command_name(acme_control_command_t command)
{
    return (unsigned)command < ACME_CONTROL_COMMANDS ? commands[command].word : "";
}

static acme_rv_t command_of(acme_control_request_t *out, const acme_json_t *json, acme_error_t *err)
{
    const char *word;
    int i;

    if (acme_json_get_string(&word, json, "command", ACME_JSON_REQUIRED, err) != ACME_OK) {
        return ACME_FAIL;
    }
    for (i = 0; i < ACME_CONTROL_COMMANDS; i++) {
        if (strcmp(commands[i].word, word) == 0) {
            out->command = (acme_control_command_t)i;
            return ACME_OK;
        }
    }
    return acme_error_set(err, ACME_E_PROTOCOL, NULL, "no such command: %s", word);
}

static acme_rv_t name_of(acme_control_request_t *out, const acme_json_t *json, apr_pool_t *pool,
                         acme_error_t *err)
{
    char shown[NAME_BYTES + 1];
    const char *name;

    if (acme_json_get_string(&name, json, "name", ACME_JSON_OPTIONAL, err) != ACME_OK) {
        return ACME_FAIL;
    }
    if (name == NULL) {
        return commands[out->command].name != NAME_MUST
                   ? ACME_OK
                   : acme_error_set(err, ACME_E_PROTOCOL, NULL, "%s wants a name",
                                    commands[out->command].word);
    }
    if (*name == '\0' || strlen(name) > NAME_BYTES
        || strcmp(acme_printable(shown, sizeof(shown), name, -1), name) != 0) {
        return acme_error_set(err, ACME_E_PROTOCOL, NULL, "that is no name");
    }
    out->name = apr_pstrdup(pool, name);
    return ACME_OK;
}

static int is_reason(apr_int64_t code)
{
    apr_size_t i;

    for (i = 0; i < REASONS; i++) {
        if (reasons[i].code == code) {
            return 1;
        }
    }
    return 0;
}

static acme_rv_t details_of(acme_control_request_t *out, const acme_json_t *json, apr_pool_t *pool,
                            acme_error_t *err)
{
    apr_int64_t reason = 0;
    const char *certificate;
    unsigned char *der;

    if (acme_json_get_bool(&out->new_key, json, "newKey", 0, err) != ACME_OK
        || acme_json_get_int(&reason, json, "reason", 0, err) != ACME_OK
        || acme_json_get_string(&certificate, json, "certificate", ACME_JSON_OPTIONAL, err)
               != ACME_OK) {
        return ACME_FAIL;
    }
    if (!is_reason(reason)) {
        return acme_error_set(err, ACME_E_PROTOCOL, NULL, "no such reason");
    }
    out->reason = (int)reason;
    if (certificate == NULL) {
        return ACME_OK;
    }
    if (acme_base64url_decode(&der, &out->der_len, certificate, strlen(certificate), pool, err)
        != ACME_OK) {
        return ACME_FAIL;
    }
    out->der = der;
    return ACME_OK;
}

acme_rv_t acme_control_parse(acme_control_request_t *out, const char *text, apr_size_t len,
                             apr_pool_t *pool, acme_error_t *err)
{
    acme_control_request_t request;
    acme_json_t *json;

    memset(&request, 0, sizeof(request));
    if (len > ACME_CONTROL_MAX) {
        return acme_error_set(err, ACME_E_PROTOCOL, "AC0174", "the request is too long");
    }
    if (acme_json_parse(&json, text, len, "request", pool, err) != ACME_OK
        || command_of(&request, json, err) != ACME_OK
        || name_of(&request, json, pool, err) != ACME_OK
        || details_of(&request, json, pool, err) != ACME_OK) {
        return ACME_FAIL;
    }
    *out = request;
    return ACME_OK;
}

const char *acme_control_format(const acme_control_request_t *request, apr_pool_t *pool)
{
    acme_json_t *json = acme_json_new_object(pool);
    const char *text;

    acme_json_set_string(json, "command", commands[request->command].word);
    if (request->name != NULL) {
        acme_json_set_string(json, "name", request->name);
    }
    if (request->new_key) {
        acme_json_set_bool(json, "newKey", 1);
    }
    if (request->reason != 0) {
        acme_json_set_int(json, "reason", request->reason);
    }
    if (request->der != NULL) {
        acme_json_set_string(json, "certificate",
                             acme_base64url_encode(request->der, request->der_len, pool));
    }
    text = acme_json_dump(json, pool);
    return text != NULL ? apr_pstrcat(pool, text, "\n", NULL) : NULL;
}

acme_rv_t acme_revocation_reason(int *out, const char *word)
{
    apr_size_t i;

    for (i = 0; i < REASONS; i++) {
        if (acme_ascii_casecmp(reasons[i].word, word) == 0) {
            *out = reasons[i].code;
            return ACME_OK;
        }
    }
    return ACME_FAIL;
}

const char *acme_revocation_reasons(apr_pool_t *pool)
{
    const char *all = reasons[0].word;
    apr_size_t i;

    for (i = 1; i < REASONS; i++) {
        all = apr_pstrcat(pool, all, ", ", reasons[i].word, NULL);
    }
    return all;
}
