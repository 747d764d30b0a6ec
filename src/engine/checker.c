/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#include "engine/checker.h"

#include <pthread.h>
#include <signal.h>
#include <string.h>

#include <apr_strings.h>

#include "crypto/digest.h"

#define THREADS 2

typedef enum { PLACE_FREE = 0, PLACE_ASKED, PLACE_RUNNING, PLACE_DONE } place_state_t;

typedef struct {
    place_state_t state;
    int row;
    int over;             /* its order is: nobody will ask for the result */
    int failed;           /* it is the one whose validation failed: told in the log */
    acme_challenge_type_t type;
    apr_time_t deadline;  /* of acme_net_now */
    char label[256], name[256], token[260], key_authorization[320];
    acme_selfcheck_result_t result;
} place_t;

struct acme_checker_t {
    acme_checker_conf_t conf;
    pthread_mutex_t mutex; /* guards places but what a running one is asked with */
    pthread_cond_t work;
    place_t places[ACME_CHECKER_PLACES];
    pthread_t threads[THREADS];
    int n_threads, started;
    int quit;
    acme_stop_t stop;
};

static int quitting(void *baton)
{
    acme_checker_t *checker = baton;

    return __atomic_load_n(&checker->quit, __ATOMIC_ACQUIRE);
}

static int port_of(const acme_checker_t *checker, acme_challenge_type_t type)
{
    return type == ACME_CH_HTTP01 ? checker->conf.http_port : checker->conf.https_port;
}

static const char *doubt(const acme_checker_t *checker, const place_t *place)
{
    acme_board_arrivals_t seen;

    acme_board_arrivals_read(&seen, checker->conf.board, place->row);
    return acme_selfcheck_doubt(&place->result, &seen);
}

/* ---- the threads ---- */

static void tell(const acme_checker_t *checker, const place_t *place, int failed)
{
    const char *type = acme_challenge_type_name(place->type);

    if (failed) {
        acme_log(checker->conf.log, ACME_LOG_WARNING, "AC0462", place->label,
                 "self-check of %s for %s: %s%s", type, place->name, place->result.text,
                 doubt(checker, place));
    }
    else {
        acme_log(checker->conf.log, ACME_LOG_INFO, "AC0461", place->label,
                 "self-check of %s for %s: %s%s", type, place->name, place->result.text,
                 doubt(checker, place));
    }
}

static acme_rv_t run(acme_checker_t *checker, place_t *place)
{
    acme_selfcheck_t check;
    apr_pool_t *pool;
    acme_rv_t rv;

    if (apr_pool_create_unmanaged_ex(&pool, NULL, NULL) != APR_SUCCESS) {
        return ACME_FAIL;
    }
    memset(&check, 0, sizeof(check));
    check.type = place->type;
    check.name = place->name;
    check.token = place->token;
    check.key_authorization = place->key_authorization;
    check.port = place->type == ACME_CH_HTTP01 ? 80 : 443;
    check.mapped = port_of(checker, place->type);
    check.board = checker->conf.board;
    check.row = place->row;
    rv = acme_selfcheck_run(&place->result, &check, place->deadline, &checker->stop, pool);
    apr_pool_destroy(pool);
    return rv;
}

static place_t *find(acme_checker_t *checker, place_state_t state)
{
    int i;

    for (i = 0; i < ACME_CHECKER_PLACES; i++) {
        if (checker->places[i].state == state) {
            return &checker->places[i];
        }
    }
    return NULL;
}

/* With the mutex, which is not held while the check runs. */
static void work_on(acme_checker_t *checker, place_t *place)
{
    acme_rv_t rv;
    int failed;

    if (acme_net_now() >= place->deadline) {
        place->state = PLACE_FREE;
        return;
    }
    place->state = PLACE_RUNNING;
    pthread_mutex_unlock(&checker->mutex);
    rv = run(checker, place);
    pthread_mutex_lock(&checker->mutex);
    failed = place->failed;
    if (rv == ACME_OK && (failed || !place->over)) {
        tell(checker, place, failed);
    }
    place->state = rv != ACME_OK || place->over ? PLACE_FREE : PLACE_DONE;
}

static void *thread(void *baton)
{
    acme_checker_t *checker = baton;

    pthread_mutex_lock(&checker->mutex);
    while (!quitting(checker)) {
        place_t *place = find(checker, PLACE_ASKED);

        if (place != NULL) {
            work_on(checker, place);
        }
        else {
            pthread_cond_wait(&checker->work, &checker->mutex);
        }
    }
    pthread_mutex_unlock(&checker->mutex);
    return NULL;
}

/* Signals belong to the server's own threads. */
static void start(acme_checker_t *checker)
{
    sigset_t all, former;
    int rc = 0;

    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &former);
    while (checker->n_threads < THREADS && rc == 0) {
        rc = pthread_create(&checker->threads[checker->n_threads], NULL, thread, checker);
        checker->n_threads += rc == 0;
    }
    pthread_sigmask(SIG_SETMASK, &former, NULL);
}

static apr_status_t destroy(void *data)
{
    acme_checker_t *checker = data;
    int i;

    for (i = 0; i < ACME_CHECKER_PLACES; i++) {
        acme_cleanse(&checker->places[i], sizeof(checker->places[i]));
    }
    pthread_cond_destroy(&checker->work);
    pthread_mutex_destroy(&checker->mutex);
    return APR_SUCCESS;
}

acme_rv_t acme_checker_create(acme_checker_t **out, const acme_checker_conf_t *conf,
                              apr_pool_t *pool, acme_error_t *err)
{
    acme_checker_t *checker = apr_pcalloc(pool, sizeof(*checker));

    *out = NULL;
    checker->conf = *conf;
    checker->stop.stopped = quitting;
    checker->stop.baton = checker;
    if (pthread_mutex_init(&checker->mutex, NULL) != 0
        || pthread_cond_init(&checker->work, NULL) != 0) {
        return acme_error_set(err, ACME_E_INTERNAL, "AC0463", "no locks for self-checks");
    }
    apr_pool_cleanup_register(pool, checker, destroy, apr_pool_cleanup_null);
    *out = checker;
    return ACME_OK;
}

/* ---- asking ---- */

static int fits(const char *text, apr_size_t size)
{
    return text != NULL && strlen(text) < size;
}

void acme_checker_ask(acme_checker_t *checker, const char *label, int row,
                      acme_challenge_type_t type, const char *name, const char *token,
                      const char *key_authorization)
{
    place_t *place;

    if (checker->conf.board == NULL || row < 0 || acme_challenge_type_is_dns(type)
        || port_of(checker, type) == 0 || !fits(label, sizeof(place->label))
        || !fits(name, sizeof(place->name)) || !fits(token, sizeof(place->token))
        || !fits(key_authorization, sizeof(place->key_authorization))) {
        return;
    }
    pthread_mutex_lock(&checker->mutex);
    place = find(checker, PLACE_FREE);
    if (place != NULL && !quitting(checker)) {
        memset(place, 0, sizeof(*place));
        place->row = row;
        place->type = type;
        place->deadline = acme_net_now() + ACME_SELFCHECK_TIME;
        apr_cpystrn(place->label, label, sizeof(place->label));
        apr_cpystrn(place->name, name, sizeof(place->name));
        apr_cpystrn(place->token, token, sizeof(place->token));
        apr_cpystrn(place->key_authorization, key_authorization,
                    sizeof(place->key_authorization));
        place->state = PLACE_ASKED;
        if (!checker->started) {
            checker->started = 1;
            start(checker);
        }
        pthread_cond_signal(&checker->work);
    }
    pthread_mutex_unlock(&checker->mutex);
}

void acme_checker_end(acme_checker_t *checker, int row, const char *failed, char *text,
                      apr_size_t size)
{
    int i;

    *text = '\0';
    pthread_mutex_lock(&checker->mutex);
    for (i = 0; i < ACME_CHECKER_PLACES; i++) {
        place_t *place = &checker->places[i];
        int is_it = failed != NULL && strcmp(place->name, failed) == 0;

        if (place->state == PLACE_FREE || place->row != row || place->over) {
            continue;
        }
        if (place->state == PLACE_RUNNING) {
            place->over = 1;
            place->failed = is_it;
            continue;
        }
        if (place->state == PLACE_DONE && is_it) {
            apr_snprintf(text, size, "%s: %s%s", place->name, place->result.text,
                         doubt(checker, place));
        }
        place->state = PLACE_FREE;
    }
    pthread_mutex_unlock(&checker->mutex);
}

void acme_checker_stop(acme_checker_t *checker)
{
    int i;

    __atomic_store_n(&checker->quit, 1, __ATOMIC_RELEASE);
    pthread_mutex_lock(&checker->mutex);
    pthread_cond_broadcast(&checker->work);
    pthread_mutex_unlock(&checker->mutex);
    for (i = 0; i < checker->n_threads; i++) {
        pthread_join(checker->threads[i], NULL);
    }
    checker->n_threads = 0;
}
