/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#include "engine/notify.h"

#include <pthread.h>
#include <string.h>

#include <apr_strings.h>

#include "base/json.h"
#include "base/time.h"

#define LIMIT apr_time_from_sec(60)
#define AT_ONCE 4

typedef struct {
    char occurrence[ACME_OCCURRENCE_MAX]; /* "": nothing waits */
    apr_uint64_t turn;                    /* first come, first told */
    apr_pool_t *pool;                     /* unmanaged */
    const char *json;
} pending_t;

typedef struct {
    const acme_spec_t *spec;
    int recorded;                         /* it has a record */
    char told[ACME_NOTICES][ACME_OCCURRENCE_MAX];
    pending_t pending[ACME_NOTICES];
} cert_t;

typedef struct {
    int cert;                             /* -1: free */
    acme_notice_t event;
    char occurrence[ACME_OCCURRENCE_MAX];
    apr_pool_t *pool;                     /* unmanaged */
    const char *json;
    acme_program_run_t *run;              /* NULL: not begun yet */
} call_t;

struct acme_notify_t {
    acme_notify_conf_t conf;
    pthread_mutex_t mutex;                /* guards what follows; calls are the owner thread's */
    cert_t *certs;
    int waiting;                          /* events, all certificates together */
    apr_uint64_t last_turn;
    call_t calls[AT_ONCE];
};

const char *acme_notice_name(acme_notice_t event)
{
    static const char *const names[] = {
        [ACME_NOTICE_RENEWING] = "renewing", [ACME_NOTICE_OBTAINED] = "obtained",
        [ACME_NOTICE_LIVE] = "live", [ACME_NOTICE_ADOPTED] = "adopted",
        [ACME_NOTICE_FAILED] = "failed", [ACME_NOTICE_EXPIRING] = "expiring"
    };

    return (unsigned)event < ACME_NOTICES ? names[event] : "unknown";
}

static void copy(char out[ACME_OCCURRENCE_MAX], const char *text)
{
    apr_cpystrn(out, text != NULL ? text : "", ACME_OCCURRENCE_MAX);
}

/* ---- the record ---- */

/* Written by children: read with care. */
static int parse_told(cert_t *cert, const acme_record_t *rec, apr_pool_t *pool)
{
    acme_json_t *json;
    int i;

    if (acme_json_parse(&json, rec->payload, rec->len, "notify record", pool, NULL) != ACME_OK) {
        return 0;
    }
    for (i = 0; i < ACME_NOTICES; i++) {
        const char *text = NULL;

        (void)acme_json_get_string(&text, json, acme_notice_name((acme_notice_t)i),
                                   ACME_JSON_OPTIONAL, NULL);
        copy(cert->told[i], text);
    }
    return 1;
}

static void record(acme_notify_t *n, cert_t *cert)
{
    acme_store_t *store = n->conf.store;
    const char *payload;
    acme_json_t *json;
    apr_pool_t *pool;
    int i;

    if (apr_pool_create_unmanaged_ex(&pool, NULL, NULL) != APR_SUCCESS) {
        return;
    }
    json = acme_json_new_object(pool);
    for (i = 0; i < ACME_NOTICES; i++) {
        if (cert->told[i][0] != '\0') {
            acme_json_set_string(json, acme_notice_name((acme_notice_t)i), cert->told[i]);
        }
    }
    payload = acme_json_dump(json, pool);
    /* One that cannot be written costs an event that is told again, after a restart. */
    if (payload != NULL) {
        (void)store->append(store, cert->spec->id, ACME_REC_NOTIFY, payload, strlen(payload),
                            n->conf.now(n->conf.now_baton), pool, NULL);
    }
    apr_pool_destroy(pool);
}

void acme_notify_load(acme_notify_t *n, int i, const acme_record_set_t *set,
                      const char *const baseline[ACME_NOTICES])
{
    apr_pool_t *pool;
    cert_t *cert;
    int event;

    if (n == NULL || apr_pool_create_unmanaged_ex(&pool, NULL, NULL) != APR_SUCCESS) {
        return;
    }
    cert = &n->certs[i];
    cert->recorded = set->present[ACME_REC_NOTIFY]
                     && parse_told(cert, &set->rec[ACME_REC_NOTIFY], pool);
    for (event = 0; !cert->recorded && event < ACME_NOTICES; event++) {
        copy(cert->told[event], baseline[event]);
    }
    apr_pool_destroy(pool);
}

/* ---- what is told ---- */

static void set_text(acme_json_t *json, const char *key, const char *text)
{
    char shown[ACME_ERROR_TEXT];

    if (text != NULL && *text != '\0') {
        acme_json_set_string(json, key, acme_printable(shown, sizeof(shown), text, -1));
    }
}

static void set_time(acme_json_t *json, const char *key, apr_time_t time)
{
    char text[ACME_TIME_TEXT];

    if (time != 0) {
        acme_json_set_string(json, key, acme_time_format(text, time));
    }
}

static const char *json_of(const acme_spec_t *spec, acme_notice_t event, const acme_news_t *news,
                           apr_time_t now, apr_pool_t *pool)
{
    acme_json_t *json = acme_json_new_object(pool);
    acme_json_t *names = acme_json_new_array(pool);
    const char *text;
    int i;

    for (i = 0; i < spec->names->nelts; i++) {
        acme_json_add_string(names, APR_ARRAY_IDX(spec->names, i, const char *));
    }
    set_text(json, "event", acme_notice_name(event));
    set_text(json, "certificate", spec->label);
    acme_json_set(json, "names", names);
    set_text(json, "keyType", acme_key_type_name(spec->key_type));
    set_text(json, "certificateFile", spec->cert_path);
    set_text(json, "keyFile", spec->key_path);
    set_text(json, "directory", news->directory);
    set_text(json, "serial", news->serial);
    set_time(json, "notAfter", news->not_after);
    set_text(json, "error", news->error);
    set_text(json, "step", news->step);
    set_text(json, "problem", news->problem);
    if (news->failures > 0) {
        acme_json_set_int(json, "failures", news->failures);
    }
    set_time(json, "nextTry", news->next_try);
    set_time(json, "time", now);
    text = acme_json_dump(json, pool);
    return text != NULL ? apr_pstrcat(pool, text, "\n", NULL) : "{}\n";
}

/* ---- events ---- */

static void drop(acme_notify_t *n, pending_t *pending)
{
    if (pending->occurrence[0] != '\0') {
        apr_pool_destroy(pending->pool);
        pending->occurrence[0] = '\0';
        n->waiting--;
    }
}

static void await(acme_notify_t *n, cert_t *cert, acme_notice_t event, const char *occurrence,
                  const acme_news_t *news)
{
    pending_t *pending = &cert->pending[event];
    apr_pool_t *pool;

    if (apr_pool_create_unmanaged_ex(&pool, NULL, NULL) != APR_SUCCESS) {
        return;
    }
    drop(n, pending);
    copy(pending->occurrence, occurrence);
    pending->turn = ++n->last_turn;
    pending->pool = pool;
    pending->json = json_of(cert->spec, event, news, n->conf.now(n->conf.now_baton), pool);
    n->waiting++;
}

static int is_known(const acme_notify_t *n, int i, acme_notice_t event, const char *occurrence)
{
    const cert_t *cert = &n->certs[i];
    int known = strcmp(cert->told[event], occurrence) == 0
                || strcmp(cert->pending[event].occurrence, occurrence) == 0;
    int k;

    for (k = 0; !known && k < AT_ONCE; k++) {
        known = n->calls[k].cert == i && n->calls[k].event == event
                && strcmp(n->calls[k].occurrence, occurrence) == 0;
    }
    return known;
}

void acme_notify_event(acme_notify_t *n, int i, acme_notice_t event, const char *occurrence,
                       const acme_news_t *news)
{
    char whole[ACME_OCCURRENCE_MAX];
    cert_t *cert;

    if (n == NULL || occurrence == NULL || *occurrence == '\0') {
        return;
    }
    copy(whole, occurrence);
    pthread_mutex_lock(&n->mutex);
    cert = &n->certs[i];
    if (!cert->recorded) {
        /* So that the next owner knows what was told before this: nothing of it. */
        record(n, cert);
        cert->recorded = 1;
    }
    if (!is_known(n, i, event, whole)) {
        await(n, cert, event, whole, news);
    }
    pthread_mutex_unlock(&n->mutex);
}

/* ---- programs ---- */

static void tell_failure(const acme_notify_t *n, const call_t *call, const acme_error_t *err)
{
    acme_log(n->conf.log, ACME_LOG_WARNING, "AC0914", n->certs[call->cert].spec->label,
             "AcmeNotifyCommand %s: %s (%s)", acme_notice_name(call->event), err->text,
             err->code[0] != '\0' ? err->code : "-");
}

/* However it ended: it was told. */
static void finish(acme_notify_t *n, call_t *call)
{
    cert_t *cert = &n->certs[call->cert];

    if (call->run != NULL) {
        acme_program_end(call->run);
    }
    pthread_mutex_lock(&n->mutex);
    copy(cert->told[call->event], call->occurrence);
    record(n, cert);
    call->cert = -1;
    pthread_mutex_unlock(&n->mutex);
    apr_pool_destroy(call->pool);
}

static const char *const *argv_of(const acme_notify_t *n, const call_t *call)
{
    apr_array_header_t *argv = apr_array_make(call->pool, 8, sizeof(const char *));
    const char *const *arg;

    for (arg = n->conf.command; *arg != NULL; arg++) {
        APR_ARRAY_PUSH(argv, const char *) = *arg;
    }
    APR_ARRAY_PUSH(argv, const char *) = acme_notice_name(call->event);
    APR_ARRAY_PUSH(argv, const char *) = n->certs[call->cert].spec->label;
    APR_ARRAY_PUSH(argv, const char *) = NULL;
    return (const char *const *)argv->elts;
}

/* When there is no room for another program the next turn tries again. */
static void begin(acme_notify_t *n, call_t *call)
{
    acme_program_t program;
    acme_error_t err;

    acme_error_clear(&err);
    memset(&program, 0, sizeof(program));
    program.argv = argv_of(n, call);
    program.env = acme_program_env(n->conf.runner, NULL, call->pool);
    program.input = call->json;
    program.input_len = strlen(call->json);
    program.limit = LIMIT;
    if (acme_program_start(&call->run, n->conf.runner, &program, call->pool, &err) == ACME_FAIL) {
        tell_failure(n, call, &err);
        finish(n, call);
    }
}

static void look_after(acme_notify_t *n, call_t *call)
{
    acme_program_result_t result;
    acme_error_t err;
    acme_rv_t rv;

    if (call->run == NULL) {
        begin(n, call);
        return;
    }
    acme_error_clear(&err);
    rv = acme_program_poll(&result, call->run, &err);
    if (rv == ACME_AGAIN) {
        return;
    }
    if (rv == ACME_FAIL || acme_program_verdict(&result, &err) != ACME_OK) {
        tell_failure(n, call, &err);
    }
    finish(n, call);
}

/* One program at a time for a certificate, whatever its key types. */
static int is_busy(const acme_notify_t *n, const char *label)
{
    int i;

    for (i = 0; i < AT_ONCE; i++) {
        if (n->calls[i].cert >= 0
            && strcmp(n->certs[n->calls[i].cert].spec->label, label) == 0) {
            return 1;
        }
    }
    return 0;
}

/* The event that came first of those that may be told now; *cert -1: none. */
static pending_t *first(int *cert, acme_notice_t *event, acme_notify_t *n)
{
    pending_t *found = NULL;
    int i, k;

    *cert = -1;
    for (i = 0; n->waiting > 0 && i < n->conf.n_specs; i++) {
        int busy = -1;

        for (k = 0; k < ACME_NOTICES; k++) {
            pending_t *pending = &n->certs[i].pending[k];

            if (pending->occurrence[0] == '\0' || (found != NULL && found->turn < pending->turn)) {
                continue;
            }
            busy = busy < 0 ? is_busy(n, n->certs[i].spec->label) : busy;
            if (!busy) {
                found = pending;
                *cert = i;
                *event = (acme_notice_t)k;
            }
        }
    }
    return found;
}

/* Takes an event into the call; 0: none may be told now. */
static int take(call_t *call, acme_notify_t *n)
{
    pending_t *pending;
    acme_notice_t event = ACME_NOTICE_LIVE; /* gcc 14 does not see that it is set when it is used */
    int cert = -1;

    pthread_mutex_lock(&n->mutex);
    pending = first(&cert, &event, n);
    if (pending != NULL) {
        call->cert = cert;
        call->event = event;
        copy(call->occurrence, pending->occurrence);
        call->pool = pending->pool;
        call->run = NULL;
        call->json = pending->json;
        pending->occurrence[0] = '\0';
        n->waiting--;
    }
    pthread_mutex_unlock(&n->mutex);
    return pending != NULL;
}

void acme_notify_turn(acme_notify_t *n)
{
    int i;

    for (i = 0; n != NULL && i < AT_ONCE; i++) {
        if (n->calls[i].cert >= 0) {
            look_after(n, &n->calls[i]);
        }
    }
    for (i = 0; n != NULL && i < AT_ONCE; i++) {
        if (n->calls[i].cert < 0 && take(&n->calls[i], n)) {
            begin(n, &n->calls[i]);
        }
    }
}

/* ---- life ---- */

static apr_status_t notify_cleanup(void *data)
{
    acme_notify_t *n = data;
    int i, k;

    for (i = 0; i < AT_ONCE; i++) {
        if (n->calls[i].cert >= 0) {
            apr_pool_destroy(n->calls[i].pool); /* ends the program; the next owner tells it */
        }
    }
    for (i = 0; i < n->conf.n_specs; i++) {
        for (k = 0; k < ACME_NOTICES; k++) {
            drop(n, &n->certs[i].pending[k]);
        }
    }
    pthread_mutex_destroy(&n->mutex);
    return APR_SUCCESS;
}

acme_rv_t acme_notify_create(acme_notify_t **out, const acme_notify_conf_t *conf, apr_pool_t *pool,
                             acme_error_t *err)
{
    acme_notify_t *n = apr_pcalloc(pool, sizeof(*n));
    int i;

    *out = NULL;
    n->conf = *conf;
    n->certs = apr_pcalloc(pool, sizeof(*n->certs) * (apr_size_t)(conf->n_specs + 1));
    for (i = 0; i < conf->n_specs; i++) {
        n->certs[i].spec = conf->specs[i];
    }
    for (i = 0; i < AT_ONCE; i++) {
        n->calls[i].cert = -1;
    }
    if (pthread_mutex_init(&n->mutex, NULL) != 0) {
        return acme_error_set(err, ACME_E_INTERNAL, NULL, "no lock for notifications");
    }
    apr_pool_cleanup_register(pool, n, notify_cleanup, apr_pool_cleanup_null);
    *out = n;
    return ACME_OK;
}
