/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#include "store/inventory.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include <apr_strings.h>

#include "base/json.h"

#define VERSION 1
#define INVENTORY_MAX (64 * 1024 * 1024)

static const char *path_of(const char *store, apr_pool_t *pool)
{
    return apr_pstrcat(pool, store, "/inventory.json", NULL);
}

/* ---- writing ---- */

static void set_text(acme_json_t *json, const char *key, const char *value)
{
    if (value != NULL) {
        acme_json_set_string(json, key, value);
    }
}

static acme_json_t *texts(const apr_array_header_t *list, apr_pool_t *pool)
{
    acme_json_t *json = acme_json_new_array(pool);
    int i;

    for (i = 0; list != NULL && i < list->nelts; i++) {
        acme_json_add_string(json, APR_ARRAY_IDX(list, i, const char *));
    }
    return json;
}

static acme_json_t *ca_json(const acme_ca_t *ca, apr_pool_t *pool)
{
    acme_json_t *json = acme_json_new_object(pool);

    set_text(json, "name", ca->name);
    set_text(json, "directory", ca->directory_url);
    set_text(json, "caFile", ca->ca_file);
    set_text(json, "proxy", ca->proxy);
    set_text(json, "proxyFile", ca->proxy_file);
    acme_json_set(json, "contacts", texts(ca->contacts, pool));
    acme_json_set_bool(json, "terms", ca->terms_agreed);
    set_text(json, "key", ca->auth_path);
    acme_json_set_string(json, "keyType", acme_key_type_name(ca->account_key_type));
    return json;
}

static acme_json_t *spec_json(const acme_spec_t *spec, apr_pool_t *pool)
{
    acme_json_t *json = acme_json_new_object(pool);
    acme_json_t *cas = acme_json_new_array(pool);
    int i;

    set_text(json, "id", spec->id);
    set_text(json, "label", spec->label);
    acme_json_set(json, "names", texts(spec->names, pool));
    acme_json_set_string(json, "keyType", acme_key_type_name(spec->key_type));
    set_text(json, "certificate", spec->cert_path);
    set_text(json, "key", spec->key_path);
    set_text(json, "digest", spec->digest);
    set_text(json, "error", spec->error);
    for (i = 0; i < spec->cas->nelts; i++) {
        acme_json_add_string(cas, APR_ARRAY_IDX(spec->cas, i, const acme_ca_t *)->name);
    }
    acme_json_set(json, "cas", cas);
    return json;
}

static const char *inventory_text(const acme_inventory_t *inventory, apr_pool_t *pool)
{
    acme_json_t *json = acme_json_new_object(pool);
    acme_json_t *cas = acme_json_new_array(pool);
    acme_json_t *specs = acme_json_new_array(pool);
    int i;

    acme_json_set_int(json, "version", VERSION);
    set_text(json, "socket", inventory->socket);
    acme_json_set_int(json, "uid", (apr_int64_t)inventory->uid);
    acme_json_set_int(json, "gid", (apr_int64_t)inventory->gid);
    for (i = 0; i < inventory->cas->nelts; i++) {
        acme_json_add(cas, ca_json(APR_ARRAY_IDX(inventory->cas, i, const acme_ca_t *), pool));
    }
    acme_json_set(json, "cas", cas);
    for (i = 0; i < inventory->specs->nelts; i++) {
        acme_json_add(specs, spec_json(APR_ARRAY_IDX(inventory->specs, i, const acme_spec_t *),
                                       pool));
    }
    acme_json_set(json, "certificates", specs);
    return acme_json_dump(json, pool);
}

acme_rv_t acme_inventory_write(const acme_inventory_t *inventory, uid_t owner, apr_pool_t *scratch,
                               acme_error_t *err)
{
    const char *path = path_of(inventory->store, scratch);
    const char *text = inventory_text(inventory, scratch);
    acme_file_t file;

    if (text == NULL) {
        return acme_error_set(err, ACME_E_INTERNAL, "AC0920", "%s: a name that is not UTF-8", path);
    }
    if (acme_file_read(&file, path, owner, INVENTORY_MAX, 0, 0, scratch, NULL) == ACME_OK
        && strlen(text) == file.len && memcmp(text, file.data, file.len) == 0) {
        return ACME_OK;
    }
    return acme_file_replace(path, text, strlen(text), scratch, err);
}

/* ---- reading ---- */

static acme_rv_t get_texts(apr_array_header_t **out, const acme_json_t *json, const char *key,
                           apr_pool_t *pool, acme_error_t *err)
{
    acme_json_t *list;
    const char *text;
    apr_size_t i, n;

    if (acme_json_get_array(&list, json, key, ACME_JSON_REQUIRED, err) != ACME_OK) {
        return ACME_FAIL;
    }
    n = acme_json_count(list);
    *out = apr_array_make(pool, (int)n + 1, sizeof(const char *));
    for (i = 0; i < n; i++) {
        if (acme_json_item_string(&text, list, i, err) != ACME_OK) {
            return ACME_FAIL;
        }
        APR_ARRAY_PUSH(*out, const char *) = text;
    }
    return ACME_OK;
}

static acme_rv_t get_text(const char **out, const acme_json_t *json, const char *key,
                          acme_error_t *err)
{
    return acme_json_get_string(out, json, key, ACME_JSON_REQUIRED, err);
}

static acme_rv_t get_key_type(acme_key_type_t *out, const acme_json_t *json, acme_error_t *err)
{
    const char *word;

    if (get_text(&word, json, "keyType", err) != ACME_OK) {
        return ACME_FAIL;
    }
    if (acme_key_type_parse(out, word) != ACME_OK) {
        return acme_error_set(err, ACME_E_STORE, NULL, "inventory: no such key type: %s", word);
    }
    return ACME_OK;
}

static acme_rv_t get_ca(acme_ca_t *ca, const acme_json_t *json, apr_pool_t *pool, acme_error_t *err)
{
    if (get_text(&ca->name, json, "name", err) != ACME_OK
        || get_text(&ca->directory_url, json, "directory", err) != ACME_OK
        || get_text(&ca->auth_path, json, "key", err) != ACME_OK
        || acme_json_get_string(&ca->ca_file, json, "caFile", ACME_JSON_OPTIONAL, err) != ACME_OK
        || acme_json_get_string(&ca->proxy, json, "proxy", ACME_JSON_OPTIONAL, err) != ACME_OK
        || acme_json_get_string(&ca->proxy_file, json, "proxyFile", ACME_JSON_OPTIONAL, err)
               != ACME_OK
        || acme_json_get_bool(&ca->terms_agreed, json, "terms", 0, err) != ACME_OK
        || get_texts(&ca->contacts, json, "contacts", pool, err) != ACME_OK) {
        return ACME_FAIL;
    }
    return get_key_type(&ca->account_key_type, json, err);
}

static acme_rv_t get_spec_cas(acme_spec_t *spec, const acme_inventory_t *inventory,
                              const acme_json_t *json, apr_pool_t *pool, acme_error_t *err)
{
    apr_array_header_t *names;
    acme_ca_t *ca;
    int i, k;

    if (get_texts(&names, json, "cas", pool, err) != ACME_OK) {
        return ACME_FAIL;
    }
    spec->cas = apr_array_make(pool, names->nelts + 1, sizeof(acme_ca_t *));
    for (i = 0; i < names->nelts; i++) {
        for (k = 0; k < inventory->cas->nelts; k++) {
            ca = APR_ARRAY_IDX(inventory->cas, k, acme_ca_t *);
            if (strcmp(ca->name, APR_ARRAY_IDX(names, i, const char *)) == 0) {
                APR_ARRAY_PUSH(spec->cas, acme_ca_t *) = ca;
                break;
            }
        }
    }
    return ACME_OK;
}

static acme_rv_t get_spec(acme_spec_t *spec, const acme_inventory_t *inventory,
                          const acme_json_t *json, apr_pool_t *pool, acme_error_t *err)
{
    if (get_text(&spec->id, json, "id", err) != ACME_OK
        || get_text(&spec->label, json, "label", err) != ACME_OK
        || get_text(&spec->cert_path, json, "certificate", err) != ACME_OK
        || get_text(&spec->key_path, json, "key", err) != ACME_OK
        || acme_json_get_string(&spec->digest, json, "digest", ACME_JSON_OPTIONAL, err) != ACME_OK
        || acme_json_get_string(&spec->error, json, "error", ACME_JSON_OPTIONAL, err) != ACME_OK
        || get_texts(&spec->names, json, "names", pool, err) != ACME_OK
        || get_key_type(&spec->key_type, json, err) != ACME_OK) {
        return ACME_FAIL;
    }
    return get_spec_cas(spec, inventory, json, pool, err);
}

static acme_rv_t get_lists(acme_inventory_t *out, const acme_json_t *json, apr_pool_t *pool,
                           acme_error_t *err)
{
    acme_json_t *cas, *specs, *item;
    acme_spec_t *spec;
    acme_ca_t *ca;
    apr_size_t i;

    if (acme_json_get_array(&cas, json, "cas", ACME_JSON_REQUIRED, err) != ACME_OK
        || acme_json_get_array(&specs, json, "certificates", ACME_JSON_REQUIRED, err) != ACME_OK) {
        return ACME_FAIL;
    }
    for (i = 0; i < acme_json_count(cas); i++) {
        ca = apr_pcalloc(pool, sizeof(*ca));
        ca->index = (int)i;
        if (acme_json_item_object(&item, cas, i, err) != ACME_OK
            || get_ca(ca, item, pool, err) != ACME_OK) {
            return ACME_FAIL;
        }
        APR_ARRAY_PUSH(out->cas, acme_ca_t *) = ca;
    }
    for (i = 0; i < acme_json_count(specs); i++) {
        spec = apr_pcalloc(pool, sizeof(*spec));
        spec->index = (int)i;
        if (acme_json_item_object(&item, specs, i, err) != ACME_OK
            || get_spec(spec, out, item, pool, err) != ACME_OK) {
            return ACME_FAIL;
        }
        APR_ARRAY_PUSH(out->specs, acme_spec_t *) = spec;
    }
    return ACME_OK;
}

acme_rv_t acme_inventory_read(acme_inventory_t **out, const char *store, uid_t owner,
                              apr_pool_t *pool, acme_error_t *err)
{
    const char *path = path_of(store, pool);
    acme_inventory_t *inventory = apr_pcalloc(pool, sizeof(*inventory));
    apr_int64_t version = 0, uid = -1, gid = -1;
    acme_json_t *json;
    acme_file_t file;
    acme_rv_t rv;

    rv = acme_file_read(&file, path, owner, INVENTORY_MAX, 0, 0, pool, err);
    if (rv != ACME_OK) {
        return rv;
    }
    inventory->store = store;
    inventory->cas = apr_array_make(pool, 4, sizeof(acme_ca_t *));
    inventory->specs = apr_array_make(pool, 16, sizeof(acme_spec_t *));
    if (acme_json_parse(&json, file.data, file.len, "inventory", pool, err) != ACME_OK
        || acme_json_get_int(&version, json, "version", 0, err) != ACME_OK
        || acme_json_get_int(&uid, json, "uid", -1, err) != ACME_OK
        || acme_json_get_int(&gid, json, "gid", -1, err) != ACME_OK
        || acme_json_get_string(&inventory->socket, json, "socket", ACME_JSON_OPTIONAL, err)
               != ACME_OK
        || get_lists(inventory, json, pool, err) != ACME_OK) {
        return acme_error_prefix(err, "%s", path);
    }
    if (version != VERSION || uid < 0 || gid < 0) {
        return acme_error_set(err, ACME_E_STORE, "AC0921",
                              "%s: of another version of the module; a start of the server writes "
                              "it anew", path);
    }
    inventory->uid = (uid_t)uid;
    inventory->gid = (gid_t)gid;
    *out = inventory;
    return ACME_OK;
}

/* ---- the lock ---- */

pid_t acme_store_server(const char *store)
{
    char path[APR_PATH_MAX];
    struct flock lock;
    pid_t pid = 0;
    int fd;

    apr_snprintf(path, sizeof(path), "%s/lock", store);
    fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0) {
        return 0;
    }
    memset(&lock, 0, sizeof(lock));
    lock.l_type = F_WRLCK;
    lock.l_whence = SEEK_SET;
    lock.l_start = ACME_LOCK_INSTANCE;
    lock.l_len = 1;
    if (fcntl(fd, F_GETLK, &lock) == 0 && lock.l_type != F_UNLCK) {
        pid = lock.l_pid;
    }
    close(fd);
    return pid;
}
