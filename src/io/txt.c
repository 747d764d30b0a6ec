/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#include "io/txt.h"

#include <string.h>

#include <apr_strings.h>

#include "base/json.h"
#include "base/time.h"
#include "io/dns.h"
#include "io/net.h"
#include "protocol/backoff.h"
#include "protocol/persist.h"

#define VALUES_MAX 200
#define VALUE_LEN 43              /* base64url of a SHA-256 */
#define TRIES_MAX 5               /* of a removal */
#define RUNNING apr_time_from_msec(50)
#define CROWDED apr_time_from_msec(500)
#define PERSIST_LOOKS 3           /* in a row, before it is said to be missing */

typedef struct {
    acme_txt_value_t what;        /* in the object's pool */
    int tries;                    /* to remove it */
    int set;                      /* by this process: setup was done */
    int handled;                  /* in the teardown under way */
} entry_t;

struct acme_txt_t {
    acme_txt_conf_t conf;
    apr_pool_t *pool;
    apr_array_header_t *entries;  /* entry_t */
    /* the call under way */
    acme_program_run_t *run;
    apr_pool_t *run_pool;
    const char *verb;
    int tearing;                  /* a teardown has begun */
    /* the look under way */
    acme_dns_watch_t *watch;
    apr_pool_t *watch_pool;
    const char *watched;          /* value, or record of dns-persist-01 */
    apr_time_t settle_by;         /* of acme_net_now, 0: not begun */
    acme_persist_want_t want;
    int missed;                   /* looks without it, dns-persist-01 */
    const char *publish;
    apr_time_t next;              /* look, dns-persist-01 */
};

static apr_time_t now_of(const acme_txt_t *txt)
{
    return txt->conf.now != NULL ? txt->conf.now(txt->conf.now_baton) : apr_time_now();
}

static entry_t *entry_at(const acme_txt_t *txt, int i)
{
    return &APR_ARRAY_IDX(txt->entries, i, entry_t);
}

static const char *base_of(const char *name)
{
    return strncmp(name, "*.", 2) == 0 ? name + 2 : name;
}

/* ---- the record ---- */

static const char *payload_of(const acme_txt_t *txt, apr_pool_t *pool)
{
    acme_json_t *json = acme_json_new_object(pool);
    acme_json_t *list = acme_json_new_array(pool);
    int i;

    for (i = 0; i < txt->entries->nelts; i++) {
        const entry_t *entry = entry_at(txt, i);
        acme_json_t *item = acme_json_new_object(pool);

        acme_json_set_string(item, "type", acme_challenge_type_name(entry->what.type));
        acme_json_set_string(item, "name", entry->what.name);
        acme_json_set_string(item, "record", entry->what.record);
        acme_json_set_string(item, "value", entry->what.value);
        acme_json_set_int(item, "tries", entry->tries);
        acme_json_add(list, item);
    }
    acme_json_set(json, "values", list);
    return acme_json_dump(json, pool);
}

static acme_rv_t keep(const acme_txt_t *txt, acme_error_t *err)
{
    acme_store_t *store = txt->conf.store;
    const char *payload;
    apr_pool_t *scratch;
    acme_rv_t rv;

    if (apr_pool_create(&scratch, txt->pool) != APR_SUCCESS) {
        return acme_error_set(err, ACME_E_INTERNAL, "AC0436", "no memory for a record");
    }
    payload = payload_of(txt, scratch);
    rv = store->append(store, txt->conf.spec->id, ACME_REC_CLEANUP, payload, strlen(payload),
                       now_of(txt), scratch, err);
    apr_pool_destroy(scratch);
    return rv;
}

static void keep_or_log(const acme_txt_t *txt)
{
    acme_error_t err;

    acme_error_clear(&err);
    if (keep(txt, &err) != ACME_OK) {
        acme_log(txt->conf.log, ACME_LOG_DEBUG, "AC0440", txt->conf.spec->label,
                 "the removal of a TXT value could not be recorded: %s", err.text);
    }
}

static int record_legal(const char *record, const char *name)
{
    const char *base = base_of(name);
    apr_size_t n = strlen(record), b = strlen(base);

    return n > b + 1 && n <= ACME_NAME_MAX && strcmp(record + n - b, base) == 0
           && strspn(record, "abcdefghijklmnopqrstuvwxyz0123456789._-") == n;
}

static int value_legal(const char *value)
{
    return strlen(value) == VALUE_LEN
           && strspn(value, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-")
                  == VALUE_LEN;
}

/* It will be handed to a program: nothing but what we could have written. */
static acme_rv_t restore_entry(acme_txt_t *txt, const acme_json_t *item)
{
    const char *type, *name, *canonical;
    acme_name_kind_t kind;
    apr_int64_t tries;
    entry_t entry;

    memset(&entry, 0, sizeof(entry));
    if (acme_json_get_string(&type, item, "type", ACME_JSON_REQUIRED, NULL) != ACME_OK
        || acme_json_get_string(&name, item, "name", ACME_JSON_REQUIRED, NULL) != ACME_OK
        || acme_json_get_string(&entry.what.record, item, "record", ACME_JSON_REQUIRED, NULL)
        || acme_json_get_string(&entry.what.value, item, "value", ACME_JSON_REQUIRED, NULL)
        || acme_json_get_int(&tries, item, "tries", 0, NULL) != ACME_OK
        || acme_challenge_type_parse(&entry.what.type, type) != ACME_OK
        || acme_name_normalize(&canonical, &kind, name, txt->pool, NULL) != ACME_OK
        || strcmp(canonical, name) != 0 || !record_legal(entry.what.record, canonical)
        || !value_legal(entry.what.value)) {
        return ACME_FAIL;
    }
    entry.what.name = canonical;
    entry.tries = tries < 0 || tries > TRIES_MAX ? TRIES_MAX : (int)tries;
    APR_ARRAY_PUSH(txt->entries, entry_t) = entry;
    return ACME_OK;
}

static acme_rv_t restore(acme_txt_t *txt, const acme_record_t *rec)
{
    acme_json_t *json, *list, *item;
    apr_size_t i;

    if (acme_json_parse(&json, rec->payload, rec->len, "cleanup record", txt->pool, NULL)
            != ACME_OK
        || acme_json_get_array(&list, json, "values", ACME_JSON_REQUIRED, NULL) != ACME_OK
        || acme_json_count(list) > VALUES_MAX) {
        return ACME_FAIL;
    }
    for (i = 0; i < acme_json_count(list); i++) {
        if (acme_json_item_object(&item, list, i, NULL) != ACME_OK
            || restore_entry(txt, item) != ACME_OK) {
            return ACME_FAIL;
        }
    }
    return ACME_OK;
}

acme_rv_t acme_txt_create(acme_txt_t **out, const acme_txt_conf_t *conf,
                          const acme_record_set_t *set, apr_pool_t *pool, acme_error_t *err)
{
    acme_txt_t *txt = apr_pcalloc(pool, sizeof(*txt));

    (void)err;
    *out = txt;
    txt->conf = *conf;
    txt->pool = pool;
    txt->entries = apr_array_make(pool, 4, sizeof(entry_t));
    if (set->present[ACME_REC_CLEANUP] && restore(txt, &set->rec[ACME_REC_CLEANUP]) != ACME_OK) {
        txt->entries->nelts = 0;
        acme_log(conf->log, ACME_LOG_WARNING, "AC0443", conf->spec->label,
                 "the record of TXT values that are to be removed cannot be read; if there are "
                 "any, remove them by hand");
    }
    return ACME_OK;
}

int acme_txt_values(const acme_txt_t *txt)
{
    return txt->entries->nelts;
}

/* ---- the program ---- */

static const char *const *argv_of(const acme_txt_t *txt, const char *verb,
                                  const acme_txt_value_t *what, apr_pool_t *pool)
{
    apr_array_header_t *argv = apr_array_copy(pool, txt->conf.spec->dns01_command);

    APR_ARRAY_PUSH(argv, const char *) = verb;
    APR_ARRAY_PUSH(argv, const char *) = base_of(what->name);
    APR_ARRAY_PUSH(argv, const char *) = what->value;
    APR_ARRAY_PUSH(argv, const char *) = NULL;
    return (const char *const *)argv->elts;
}

static const char *const *env_of(const acme_txt_t *txt, const acme_txt_value_t *what,
                                 apr_pool_t *pool)
{
    const char **env = apr_pcalloc(pool, 7 * sizeof(*env));

    env[0] = apr_pstrcat(pool, "ACME_DNS_RECORD=", what->record, NULL);
    env[1] = apr_pstrcat(pool, "ACME_DNS_VALUE=", what->value, NULL);
    env[2] = apr_pstrcat(pool, "ACME_CHALLENGE=", acme_challenge_type_name(what->type), NULL);
    env[3] = apr_pstrcat(pool, "ACME_NAME=", what->name, NULL);
    env[4] = apr_pstrcat(pool, "ACME_CERTIFICATE=", txt->conf.spec->label, NULL);
    env[5] = apr_pstrcat(pool, "ACME_CA=", txt->conf.ca, NULL);
    return acme_program_env(txt->conf.programs, env, pool);
}

static void call_end(acme_txt_t *txt)
{
    acme_program_end(txt->run);
    apr_pool_destroy(txt->run_pool);
    txt->run = NULL;
    txt->run_pool = NULL;
}

static acme_rv_t call_begin(acme_txt_t *txt, const char *verb, const acme_txt_value_t *what,
                            acme_error_t *err)
{
    acme_program_t program;
    acme_rv_t rv;

    if (apr_pool_create(&txt->run_pool, txt->pool) != APR_SUCCESS) {
        return acme_error_set(err, ACME_E_INTERNAL, "AC0449", "no memory for a program");
    }
    memset(&program, 0, sizeof(program));
    program.argv = argv_of(txt, verb, what, txt->run_pool);
    program.env = env_of(txt, what, txt->run_pool);
    program.limit = txt->conf.spec->dns01_timeout;
    txt->verb = verb;
    rv = acme_program_start(&txt->run, txt->conf.programs, &program, txt->run_pool, err);
    if (rv != ACME_OK) {
        apr_pool_destroy(txt->run_pool);
        txt->run = NULL;
        txt->run_pool = NULL;
    }
    return rv;
}

/* A whole call: begun by the first, ended by the last of several turns. */
static acme_rv_t call(acme_txt_t *txt, const char *verb, const acme_txt_value_t *what,
                      apr_interval_time_t *delay, acme_error_t *err)
{
    acme_program_result_t result;
    acme_rv_t rv;

    if (txt->run == NULL) {
        rv = call_begin(txt, verb, what, err);
        *delay = rv == ACME_OK ? RUNNING : CROWDED;
        return rv == ACME_FAIL ? rv : ACME_AGAIN;
    }
    rv = acme_program_poll(&result, txt->run, err);
    if (rv == ACME_AGAIN) {
        *delay = RUNNING;
        return rv;
    }
    call_end(txt);
    rv = rv == ACME_OK ? acme_program_verdict(&result, err) : rv;
    if (rv == ACME_OK) {
        acme_log(txt->conf.log, ACME_LOG_INFO, "AC0438", txt->conf.spec->label,
                 "AcmeDns01Command %s %s %s%s%s", verb, what->record, what->value,
                 result.output[0] != '\0' ? ": " : "", result.output);
    }
    return rv;
}

/* ---- setup ---- */

static entry_t *entry_for(acme_txt_t *txt, const acme_txt_value_t *value)
{
    int i;

    for (i = 0; i < txt->entries->nelts; i++) {
        const acme_txt_value_t *what = &entry_at(txt, i)->what;

        if (strcmp(what->record, value->record) == 0 && strcmp(what->value, value->value) == 0) {
            return entry_at(txt, i);
        }
    }
    return NULL;
}

static acme_rv_t add_entry(acme_txt_t *txt, const acme_txt_value_t *value, acme_error_t *err)
{
    entry_t *entry;

    if (txt->entries->nelts >= VALUES_MAX) {
        return acme_error_set(err, ACME_E_CHALLENGE, "AC0447",
                              "%d TXT values wait for their removal already", VALUES_MAX);
    }
    entry = &APR_ARRAY_PUSH(txt->entries, entry_t);
    memset(entry, 0, sizeof(*entry));
    entry->what.type = value->type;
    entry->what.name = apr_pstrdup(txt->pool, value->name);
    entry->what.record = apr_pstrdup(txt->pool, value->record);
    entry->what.value = apr_pstrdup(txt->pool, value->value);
    return ACME_OK;
}

acme_rv_t acme_txt_setup(acme_txt_t *txt, const acme_txt_value_t *value,
                         apr_interval_time_t *delay, acme_error_t *err)
{
    entry_t *entry = entry_for(txt, value);
    acme_error_t cause;
    acme_rv_t rv;

    if (txt->conf.programs == NULL || txt->conf.spec->dns01_command == NULL) {
        return acme_error_set(err, ACME_E_CONFIG, "AC0439", "%s: no AcmeDns01Command that can be "
                              "called", value->name);
    }
    if (entry != NULL && entry->set) {
        return ACME_OK;
    }
    if (txt->run == NULL && entry == NULL
        && (add_entry(txt, value, err) != ACME_OK || keep(txt, err) != ACME_OK)) {
        return ACME_FAIL;
    }
    txt->settle_by = 0;
    acme_error_clear(&cause);
    rv = call(txt, "setup", value, delay, &cause);
    if (rv == ACME_FAIL) {
        return acme_error_set(err, ACME_E_CHALLENGE, "AC0437", "AcmeDns01Command setup %s: %.400s",
                              value->record, cause.text);
    }
    if (rv == ACME_OK) {
        entry_for(txt, value)->set = 1;
    }
    return rv;
}

/* ---- teardown ---- */

static void drop(acme_txt_t *txt, int i)
{
    int n = --txt->entries->nelts;

    memmove(entry_at(txt, i), entry_at(txt, i) + 1, sizeof(entry_t) * (apr_size_t)(n - i));
}

static void not_removed(acme_txt_t *txt, int i, const char *why)
{
    entry_t *entry = entry_at(txt, i);
    int last = ++entry->tries >= TRIES_MAX;

    acme_log(txt->conf.log, last ? ACME_LOG_ERR : ACME_LOG_WARNING, "AC0441",
             txt->conf.spec->label, "the TXT value %s of %s is not removed: %.400s%s",
             entry->what.value, entry->what.record, why,
             last ? "; it is not tried again: remove it by hand" : "; tried again later");
    if (last) {
        drop(txt, i);
    }
}

/* What is left when there is no program for it any more. */
static void give_up(acme_txt_t *txt)
{
    int i;

    for (i = 0; i < txt->entries->nelts; i++) {
        const entry_t *entry = entry_at(txt, i);

        acme_log(txt->conf.log, ACME_LOG_WARNING, "AC0442", txt->conf.spec->label,
                 "the TXT value %s of %s is left, and there is no AcmeDns01Command any more: "
                 "remove it by hand", entry->what.value, entry->what.record);
    }
    if (i > 0) {
        txt->entries->nelts = 0;
        keep_or_log(txt);
    }
}

/* An end is on record at once: the next owner need not call for it again. */
static acme_rv_t tear_one(acme_txt_t *txt, int i, apr_interval_time_t *delay)
{
    entry_t *entry = entry_at(txt, i);
    acme_error_t err;
    acme_rv_t rv;

    acme_error_clear(&err);
    rv = call(txt, "teardown", &entry->what, delay, &err);
    if (rv == ACME_AGAIN) {
        return rv;
    }
    entry->handled = 1;
    entry->set = 0;
    if (rv == ACME_OK) {
        drop(txt, i);
    }
    else {
        not_removed(txt, i, err.text);
    }
    keep_or_log(txt);
    return ACME_OK;
}

acme_rv_t acme_txt_teardown(acme_txt_t *txt, apr_interval_time_t *delay)
{
    int i = 0;

    if (txt->run != NULL && strcmp(txt->verb, "setup") == 0) {
        call_end(txt);
    }
    if (txt->conf.programs == NULL || txt->conf.spec->dns01_command == NULL) {
        give_up(txt);
        return ACME_OK;
    }
    while (i < txt->entries->nelts) {
        if (entry_at(txt, i)->handled) {
            i++;
        }
        else if (tear_one(txt, i, delay) == ACME_AGAIN) {
            return ACME_AGAIN;
        }
    }
    for (i = 0; i < txt->entries->nelts; i++) {
        entry_at(txt, i)->handled = 0;
    }
    return ACME_OK;
}

/* ---- looking ---- */

static int is_value(void *baton, const char *text, apr_size_t len)
{
    const acme_txt_t *txt = baton;

    return len == strlen(txt->watched) && memcmp(text, txt->watched, len) == 0;
}

static int is_persist(void *baton, const char *text, apr_size_t len)
{
    const acme_txt_t *txt = baton;

    return acme_persist_proves(&txt->want, text, len, NULL);
}

static void watch_end(acme_txt_t *txt)
{
    if (txt->watch_pool != NULL) {
        apr_pool_destroy(txt->watch_pool);
    }
    txt->watch_pool = NULL;
    txt->watch = NULL;
}

static acme_rv_t watch_begin(acme_txt_t *txt, const char *record, const char *watched,
                             int (*wanted)(void *baton, const char *text, apr_size_t len))
{
    acme_dns_watch_conf_t conf;

    if (txt->watch != NULL && strcmp(txt->watched, watched) == 0) {
        return ACME_OK;
    }
    watch_end(txt);
    if (apr_pool_create(&txt->watch_pool, txt->pool) != APR_SUCCESS) {
        txt->watch_pool = NULL;
        return ACME_FAIL;
    }
    txt->watched = apr_pstrdup(txt->watch_pool, watched);
    memset(&conf, 0, sizeof(conf));
    conf.record = apr_pstrdup(txt->watch_pool, record);
    conf.wanted = wanted;
    conf.baton = txt;
    conf.resolv_conf = txt->conf.resolv_conf;
    conf.port = txt->conf.dns_port;
    return acme_dns_watch_create(&txt->watch, &conf, txt->watch_pool, NULL);
}

acme_rv_t acme_txt_settled(acme_txt_t *txt, const acme_txt_value_t *value,
                           apr_interval_time_t *delay)
{
    apr_interval_time_t limit = txt->conf.spec->dns01_propagation;
    char seconds[ACME_TIME_TEXT];

    if (limit <= 0 || watch_begin(txt, value->record, value->value, is_value) != ACME_OK) {
        return ACME_OK;
    }
    if (txt->settle_by == 0) {
        txt->settle_by = acme_net_now() + limit;
    }
    if (acme_dns_watch_poll(txt->watch, delay) == ACME_OK) {
        acme_log(txt->conf.log, ACME_LOG_DEBUG, "AC0448", txt->conf.spec->label, "%s: %s",
                 value->record, acme_dns_watch_found(txt->watch));
        watch_end(txt);
        return ACME_OK;
    }
    if (acme_net_now() < txt->settle_by || acme_dns_watch_looks(txt->watch) == 0) {
        return ACME_AGAIN;
    }
    apr_snprintf(seconds, sizeof(seconds), "%d s", (int)apr_time_sec(limit));
    acme_log(txt->conf.log, ACME_LOG_WARNING, "AC0444", txt->conf.spec->label,
             "%s: not seen everywhere within %s, the CA is told all the same: %s", value->record,
             seconds, acme_dns_watch_found(txt->watch));
    watch_end(txt);
    return ACME_OK;
}

/* ---- dns-persist-01 ---- */

static void missing(acme_txt_t *txt, const acme_txt_persist_t *what, double random)
{
    char when[ACME_TIME_TEXT];

    txt->missed++;
    txt->next = acme_time_add(now_of(txt), acme_backoff_delay(txt->missed, ACME_RETRY_LADDER, 0,
                                                              random));
    txt->publish = apr_psprintf(txt->pool, "%s. TXT \"%s\"", what->record,
                                acme_persist_value(&txt->want, txt->watch_pool));
    acme_log(txt->conf.log, ACME_LOG_WARNING, "AC0446", txt->conf.spec->label,
             "%s is to be proved by a record that you publish: %s - it is missing (%s); looked for "
             "again at %s", what->name, txt->publish, acme_dns_watch_found(txt->watch),
             acme_time_format(when, txt->next));
    watch_end(txt);
}

acme_rv_t acme_txt_persist(acme_txt_t *txt, const acme_txt_persist_t *what, double random,
                           apr_interval_time_t *delay, acme_error_t *err)
{
    apr_time_t now = now_of(txt);
    apr_interval_time_t wait;

    txt->want.issuers = what->issuers;
    txt->want.account_uri = what->account_uri;
    txt->want.wildcard = strncmp(what->name, "*.", 2) == 0;
    txt->want.now = now;
    if (what->issuers == NULL || what->issuers->nelts == 0 || what->account_uri == NULL) {
        return acme_error_set(err, ACME_E_CHALLENGE, "AC0445", "%s: dns-persist-01: the CA does "
                              "not say for which issuer", what->name);
    }
    if (txt->publish != NULL && now < txt->next) {
        *delay = txt->next - now;
        return ACME_AGAIN;
    }
    if (watch_begin(txt, what->record, what->name, is_persist)
        != ACME_OK) {
        return acme_error_set(err, ACME_E_INTERNAL, "AC0450", "no memory to look at the DNS");
    }
    if (acme_dns_watch_poll(txt->watch, &wait) == ACME_OK) {
        watch_end(txt);
        txt->publish = NULL;
        txt->missed = 0;
        return ACME_OK;
    }
    *delay = wait;
    if (acme_dns_watch_looks(txt->watch) >= PERSIST_LOOKS) {
        missing(txt, what, random);
        *delay = txt->next - now;
    }
    return ACME_AGAIN;
}

const char *acme_txt_publish(const acme_txt_t *txt)
{
    return txt->publish;
}
