/* Licensed under the Apache License, Version 2.0; see LICENSE. */

#include "base/json.h"

#include <stdlib.h>
#include <string.h>

#include <apr_strings.h>
#include <jansson.h>

#include "base/name.h"

#define NAMES_MAX 100

#define DEPTH_MAX 32

/* Where acme_json_key_at() stands, so that a walk over all keys is linear. */
typedef struct {
    apr_size_t i;
    void *at;
} walk_t;

struct acme_json_t {
    json_t *value;
    const char *what; /* document, for errors; NULL: spoilt while it was built */
    apr_pool_t *pool;
    walk_t *walk;
};

/* Account keys pass through here as JWK; a compiler must not see that nobody reads it again. */
static void wipe(char *text)
{
    volatile char *p = text;

    while (p && *p) {
        *p++ = '\0';
    }
}

/* Strings of which this document is the last holder. */
static void wipe_strings(json_t *value)
{
    const char *key;
    json_t *item;
    apr_size_t i;

    if (value->refcount != 1) {
        return;
    }
    if (json_is_string(value)) {
        wipe((char *)json_string_value(value));
    }
    json_object_foreach(value, key, item) {
        wipe_strings(item);
    }
    json_array_foreach(value, i, item) {
        wipe_strings(item);
    }
}

static apr_status_t release(void *data)
{
    wipe_strings(data);
    json_decref(data);
    return APR_SUCCESS;
}

/* owned: the pool drops one reference. */
static acme_json_t *wrap(json_t *value, const char *what, int owned, apr_pool_t *pool)
{
    acme_json_t *json = apr_pcalloc(pool, sizeof(*json));

    json->value = value;
    json->what = what;
    json->pool = pool;
    json->walk = apr_pcalloc(pool, sizeof(*json->walk));
    if (owned && value) {
        apr_pool_cleanup_register(pool, value, release, apr_pool_cleanup_null);
    }
    return json;
}

/* Nesting is judged before jansson recurses into it. */
static int too_deep(const char *text, apr_size_t len)
{
    apr_size_t i;
    int depth = 0, in_string = 0;

    for (i = 0; i < len; i++) {
        if (in_string) {
            in_string = text[i] != '"';
            i += text[i] == '\\';
        }
        else if (text[i] == '"') {
            in_string = 1;
        }
        else if (text[i] == '[' || text[i] == '{') {
            if (++depth > DEPTH_MAX) {
                return 1;
            }
        }
        else if (text[i] == ']' || text[i] == '}') {
            depth--;
        }
    }
    return 0;
}

acme_rv_t acme_json_parse(acme_json_t **out, const char *text, apr_size_t len, const char *what,
                          apr_pool_t *pool, acme_error_t *err)
{
    json_error_t reason;
    json_t *value;

    /* jansson loses a NUL behind a number or a literal. */
    if (len > 0 && memchr(text, '\0', len) != NULL) {
        return acme_error_set(err, ACME_E_PROTOCOL, "AC0332", "%s: not JSON: a NUL", what);
    }
    if (too_deep(text, len)) {
        return acme_error_set(err, ACME_E_PROTOCOL, "AC0301", "%s: JSON nested too deeply", what);
    }
    value = json_loadb(text, len, JSON_REJECT_DUPLICATES, &reason);
    if (!value) {
        return acme_error_set(err, ACME_E_PROTOCOL, "AC0302", "%s: not JSON: %s", what,
                              reason.text);
    }
    if (!json_is_object(value)) {
        json_decref(value);
        return acme_error_set(err, ACME_E_PROTOCOL, "AC0303", "%s: JSON, but not an object", what);
    }
    *out = wrap(value, apr_pstrdup(pool, what), 1, pool);
    return ACME_OK;
}

/* ACME_AGAIN: absent and allowed to be. */
static acme_rv_t member(json_t **out, const acme_json_t *object, const char *key,
                        acme_json_need_t need, acme_error_t *err)
{
    *out = json_object_get(object->value, key);
    if (*out && !json_is_null(*out)) {
        return ACME_OK;
    }
    *out = NULL;
    return need == ACME_JSON_OPTIONAL ? ACME_AGAIN
           : acme_error_set(err, ACME_E_PROTOCOL, "AC0304", "%s: \"%s\" is missing", object->what,
                            key);
}

static acme_rv_t wrong_type(const acme_json_t *object, const char *key, const char *wanted,
                            acme_error_t *err)
{
    return acme_error_set(err, ACME_E_PROTOCOL, "AC0383", "%s: \"%s\" is not %s", object->what, key,
                          wanted);
}

acme_rv_t acme_json_get_string(const char **out, const acme_json_t *object, const char *key,
                               acme_json_need_t need, acme_error_t *err)
{
    json_t *value;
    acme_rv_t rv = member(&value, object, key, need, err);

    *out = NULL;
    if (rv != ACME_OK) {
        return rv == ACME_AGAIN ? ACME_OK : rv;
    }
    if (!json_is_string(value)) {
        return wrong_type(object, key, "a string", err);
    }
    *out = json_string_value(value);
    return ACME_OK;
}

static acme_rv_t get_container(acme_json_t **out, const acme_json_t *object, const char *key,
                               acme_json_need_t need, int array, acme_error_t *err)
{
    json_t *value;
    acme_rv_t rv = member(&value, object, key, need, err);

    *out = NULL;
    if (rv != ACME_OK) {
        return rv == ACME_AGAIN ? ACME_OK : rv;
    }
    if (array ? !json_is_array(value) : !json_is_object(value)) {
        return wrong_type(object, key, array ? "an array" : "an object", err);
    }
    *out = wrap(value, object->what, 0, object->pool);
    return ACME_OK;
}

acme_rv_t acme_json_get_object(acme_json_t **out, const acme_json_t *object, const char *key,
                               acme_json_need_t need, acme_error_t *err)
{
    return get_container(out, object, key, need, 0, err);
}

acme_rv_t acme_json_get_array(acme_json_t **out, const acme_json_t *object, const char *key,
                              acme_json_need_t need, acme_error_t *err)
{
    return get_container(out, object, key, need, 1, err);
}

acme_rv_t acme_json_get_bool(int *out, const acme_json_t *object, const char *key, int fallback,
                             acme_error_t *err)
{
    json_t *value;

    *out = fallback;
    if (member(&value, object, key, ACME_JSON_OPTIONAL, err) != ACME_OK) {
        return ACME_OK;
    }
    if (!json_is_boolean(value)) {
        return wrong_type(object, key, "true or false", err);
    }
    *out = json_is_true(value);
    return ACME_OK;
}

acme_rv_t acme_json_get_int(apr_int64_t *out, const acme_json_t *object, const char *key,
                            apr_int64_t fallback, acme_error_t *err)
{
    json_t *value;

    *out = fallback;
    if (member(&value, object, key, ACME_JSON_OPTIONAL, err) != ACME_OK) {
        return ACME_OK;
    }
    if (!json_is_integer(value)) {
        return wrong_type(object, key, "an integer", err);
    }
    *out = (apr_int64_t)json_integer_value(value);
    return ACME_OK;
}

apr_size_t acme_json_count(const acme_json_t *array)
{
    return array ? json_array_size(array->value) : 0;
}

acme_rv_t acme_json_item_object(acme_json_t **out, const acme_json_t *array, apr_size_t i,
                                acme_error_t *err)
{
    json_t *value = json_array_get(array->value, i);

    *out = NULL;
    if (!json_is_object(value)) {
        return acme_error_set(err, ACME_E_PROTOCOL, "AC0381", "%s: item %" APR_SIZE_T_FMT
                              " of a list is not an object", array->what, i);
    }
    *out = wrap(value, array->what, 0, array->pool);
    return ACME_OK;
}

acme_rv_t acme_json_item_string(const char **out, const acme_json_t *array, apr_size_t i,
                                acme_error_t *err)
{
    json_t *value = json_array_get(array->value, i);

    *out = json_string_value(value);
    return *out ? ACME_OK
           : acme_error_set(err, ACME_E_PROTOCOL, "AC0382", "%s: item %" APR_SIZE_T_FMT
                            " of a list is not a string", array->what, i);
}

const char *acme_json_key_at(const acme_json_t *object, apr_size_t i)
{
    walk_t *walk = object->walk;

    if (!walk->at || i < walk->i) {
        walk->at = json_object_iter(object->value);
        walk->i = 0;
    }
    for (; walk->at && walk->i < i; walk->i++) {
        walk->at = json_object_iter_next(object->value, walk->at);
    }
    return walk->at ? json_object_iter_key(walk->at) : NULL;
}

acme_json_t *acme_json_new_object(apr_pool_t *pool)
{
    return wrap(json_object(), "", 1, pool);
}

acme_json_t *acme_json_new_array(apr_pool_t *pool)
{
    return wrap(json_array(), "", 1, pool);
}

/* Unchecked here, refused by the dump: so it spoils the whole document wherever it hangs. */
static json_t *text_value(const char *value)
{
    return value ? json_string_nocheck(value) : json_null();
}

static void put(acme_json_t *object, const char *key, json_t *value)
{
    if (!value || json_object_set_new(object->value, key, value) != 0) {
        /* A key that is not UTF-8; jansson would dump it all the same, so a value spoils it. */
        json_object_set_new_nocheck(object->value, "", json_string_nocheck("\xff"));
        object->what = NULL;
    }
}

void acme_json_set_string(acme_json_t *object, const char *key, const char *value)
{
    put(object, key, text_value(value));
}

void acme_json_set_int(acme_json_t *object, const char *key, apr_int64_t value)
{
    put(object, key, json_integer((json_int_t)value));
}

void acme_json_set_bool(acme_json_t *object, const char *key, int value)
{
    put(object, key, json_boolean(value));
}

void acme_json_set(acme_json_t *object, const char *key, acme_json_t *value)
{
    put(object, key, value->what ? json_incref(value->value) : NULL);
}

static void append(acme_json_t *array, json_t *value)
{
    if (!value || json_array_append_new(array->value, value) != 0) {
        array->what = NULL;
    }
}

void acme_json_add_string(acme_json_t *array, const char *value)
{
    append(array, text_value(value));
}

void acme_json_add(acme_json_t *array, acme_json_t *value)
{
    append(array, value->what ? json_incref(value->value) : NULL);
}

const char *acme_json_dump(const acme_json_t *json, apr_pool_t *pool)
{
    char *text = json->what ? json_dumps(json->value, JSON_COMPACT) : NULL;
    const char *out = text ? apr_pstrdup(pool, text) : NULL;

    wipe(text);
    free(text);
    return out;
}

void acme_json_init(void)
{
    json_object_seed(0);
}

/* ---- lists of names ---- */

acme_json_t *acme_json_names(const apr_array_header_t *names, apr_pool_t *pool)
{
    acme_json_t *list = acme_json_new_array(pool);
    int i;

    for (i = 0; i < names->nelts; i++) {
        acme_json_add_string(list, APR_ARRAY_IDX(names, i, const char *));
    }
    return list;
}

acme_rv_t acme_json_get_names(const apr_array_header_t **out, const acme_json_t *object,
                              const char *key, apr_pool_t *pool, acme_error_t *err)
{
    acme_json_t *list = NULL;
    apr_array_header_t *names;
    acme_name_kind_t kind;
    const char *text, *name;
    apr_size_t i;

    *out = NULL;
    if (acme_json_get_array(&list, object, key, ACME_JSON_OPTIONAL, err) != ACME_OK) {
        return ACME_FAIL;
    }
    if (list == NULL) {
        return ACME_OK;
    }
    names = apr_array_make(pool, 4, sizeof(const char *));
    for (i = 0; i < acme_json_count(list); i++) {
        if (i == NAMES_MAX || acme_json_item_string(&text, list, i, NULL) != ACME_OK
            || acme_name_normalize(&name, &kind, text, pool, NULL) != ACME_OK
            || strcmp(name, text) != 0) {
            return acme_error_set(err, ACME_E_STORE, "AC0748", "\"%s\" is no list of names", key);
        }
        APR_ARRAY_PUSH(names, const char *) = name;
    }
    *out = names;
    return ACME_OK;
}
