/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#ifndef ACME_IO_TXT_H
#define ACME_IO_TXT_H

#include "base/log.h"
#include "io/program.h"
#include "io/staging.h"
#include "protocol/spec.h"

/* The TXT records that prove one certificate's names: published and removed by the administrator's
 * program, one call after the other, and looked for at the zone's servers. A value is on record
 * (cleanup) from before the program is called until it was called to remove it, so that whoever
 * comes next can do that. Used by one thread at a time. */
typedef struct {
    const acme_spec_t *spec;
    acme_store_t *store;
    acme_program_runner_t *programs; /* NULL: none can be run here */
    const acme_log_t *log;
    const char *ca;             /* directory URL, for the program's environment; "" unknown */
    apr_time_t (*now)(void *baton);
    void *now_baton;
    const char *resolv_conf;    /* as acme_dns_watch_conf_t */
    apr_port_t dns_port;
} acme_txt_conf_t;

typedef struct acme_txt_t acme_txt_t;

/* set: the certificate's records. What an earlier owner left behind is known afterwards; a record
 * that cannot be read is as good as none, with a line. */
acme_rv_t acme_txt_create(acme_txt_t **out, const acme_txt_conf_t *conf,
                          const acme_record_set_t *set, apr_pool_t *pool, acme_error_t *err);

/* How many values are on record. */
int acme_txt_values(const acme_txt_t *txt);

/* One value of a challenge. */
typedef struct {
    acme_challenge_type_t type; /* dns-01 or dns-account-01 */
    const char *name;           /* to be certified, maybe with "*." */
    const char *record;         /* acme_challenge_dns_record */
    const char *value;
} acme_txt_value_t;

/* Each of these says ACME_AGAIN while it is not done: call again with the same value after *delay.
 *
 * setup: on record first, then the program is called. ACME_FAIL: the store (AC0601 ...), the
 * program (AC0437). */
acme_rv_t acme_txt_setup(acme_txt_t *txt, const acme_txt_value_t *value,
                         apr_interval_time_t *delay, acme_error_t *err);

/* Calls the program for all values on record, those of earlier owners too. ACME_OK: done; a value
 * whose removal failed stays on record (acme_txt_values) until that failed five times. */
acme_rv_t acme_txt_teardown(acme_txt_t *txt, apr_interval_time_t *delay);

/* Asks the zone's servers for one value after the other. ACME_OK: shown by all of them, or
 * spec->dns01_propagation over since the first question for any (a line says what was seen). */
acme_rv_t acme_txt_settled(acme_txt_t *txt, const acme_txt_value_t *value,
                           apr_interval_time_t *delay);

/* dns-persist-01: what the administrator has to publish. */
typedef struct {
    const char *name;
    const char *record;
    const apr_array_header_t *issuers;
    const char *account_uri;
} acme_txt_persist_t;

/* ACME_OK: the record is there. ACME_AGAIN: it is being looked for, or, with acme_txt_publish not
 * NULL, it is missing and looked for again later, up the retry ladder. ACME_FAIL: nothing that
 * could be published is known (AC0445). random in [0,1). */
acme_rv_t acme_txt_persist(acme_txt_t *txt, const acme_txt_persist_t *what, double random,
                           apr_interval_time_t *delay, acme_error_t *err);
/* 'RECORD. TXT "VALUE"' while it is missing, else NULL. */
const char *acme_txt_publish(const acme_txt_t *txt);

#endif
