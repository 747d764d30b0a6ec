/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#ifndef ACME_ENGINE_NOTIFY_H
#define ACME_ENGINE_NOTIFY_H

#include "base/log.h"
#include "io/program.h"
#include "io/staging.h"
#include "protocol/spec.h"

/* Tells the administrator's program what happened: COMMAND EVENT LABEL, everything else as one JSON
 * object on its standard input. Nothing waits for it and nothing depends on it.
 *
 * An event has an occurrence, a text that tells it from others of its kind ("which serial"). What
 * was told last is on record for each certificate, so that a next owner tells what this one did not
 * come to tell, and nothing twice; only when the owner dies between the end of the program and the
 * record is an event told again. Of one kind of event that waits the newest is told. */

typedef enum {
    ACME_NOTICE_RENEWING = 0, /* an attempt begins, for the first certificate too */
    ACME_NOTICE_OBTAINED,     /* issued and on record */
    ACME_NOTICE_LIVE,         /* new connections get it */
    ACME_NOTICE_ADOPTED,      /* root has put it into the store, at this start */
    ACME_NOTICE_FAILED,       /* the attempt; another follows */
    ACME_NOTICE_EXPIRING,     /* soon, and it is not renewed */
    ACME_NOTICES
} acme_notice_t;

const char *acme_notice_name(acme_notice_t event);

#define ACME_OCCURRENCE_MAX 96

/* What the program is told; 0 and NULL: it is left out. CA text is taken as it is. */
typedef struct {
    const char *directory;   /* URL of the CA */
    const char *serial;
    apr_time_t not_after;
    const char *error;       /* whole */
    const char *step, *problem;
    apr_int64_t failures;
    apr_time_t next_try;
} acme_news_t;

typedef struct {
    acme_program_runner_t *runner;
    const char *const *command; /* program and arguments, up to NULL */
    const acme_spec_t *const *specs; /* certificates, by number */
    int n_specs;
    acme_store_t *store;
    const acme_log_t *log;
    apr_time_t (*now)(void *baton);
    void *now_baton;
} acme_notify_conf_t;

typedef struct acme_notify_t acme_notify_t;

/* conf is copied; what it points to must outlive the pool. */
acme_rv_t acme_notify_create(acme_notify_t **out, const acme_notify_conf_t *conf, apr_pool_t *pool,
                             acme_error_t *err);

/* At the owner's start, once for each certificate: what earlier owners told, by its records.
 * Without a record all that is in baseline (occurrences, "" or NULL: none) counts as told. */
void acme_notify_load(acme_notify_t *notify, int cert, const acme_record_set_t *set,
                      const char *const baseline[ACME_NOTICES]);

/* Something happened, unless it was told already. Any thread; does not wait for the program. notify
 * may be NULL. */
void acme_notify_event(acme_notify_t *notify, int cert, acme_notice_t event, const char *occurrence,
                       const acme_news_t *news);

/* Every 200 ms or so, in the owner's thread: starts programs, looks after those that run, records
 * what was told. notify may be NULL. */
void acme_notify_turn(acme_notify_t *notify);

#endif
