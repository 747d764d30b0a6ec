/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#include "protocol/rollover.h"

#include <string.h>

#include "base/json.h"

const char *acme_rollover_payload(const acme_rollover_t *rollover, apr_pool_t *pool)
{
    acme_json_t *json = acme_json_new_object(pool);

    acme_json_set_string(json, "url", rollover->directory);
    acme_json_set_string(json, "file", rollover->file);
    if (rollover->key != NULL) {
        acme_json_set_string(json, "key", rollover->key);
    }
    if (rollover->next != NULL) {
        acme_json_set_string(json, "next", rollover->next);
    }
    return acme_json_dump(json, pool);
}

acme_rv_t acme_rollover_parse(acme_rollover_t *out, const char *payload, apr_size_t len,
                              apr_pool_t *pool, acme_error_t *err)
{
    acme_json_t *json;

    memset(out, 0, sizeof(*out));
    if (acme_json_parse(&json, payload, len, "rollover record", pool, err) != ACME_OK
        || acme_json_get_string(&out->directory, json, "url", ACME_JSON_REQUIRED, err) != ACME_OK
        || acme_json_get_string(&out->file, json, "file", ACME_JSON_REQUIRED, err) != ACME_OK
        || acme_json_get_string(&out->key, json, "key", ACME_JSON_OPTIONAL, err) != ACME_OK
        || acme_json_get_string(&out->next, json, "next", ACME_JSON_OPTIONAL, err) != ACME_OK) {
        return ACME_FAIL;
    }
    return ACME_OK;
}
