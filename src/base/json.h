/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#ifndef ACME_BASE_JSON_H
#define ACME_BASE_JSON_H

#include <apr_pools.h>
#include <apr_tables.h>
#include "base/error.h"

/* The only door to jansson. A document lives as long as its pool. Input is hostile: duplicate
 * keys, NULs, trailing bytes, invalid UTF-8, anything deeper than 32 levels or longer than the
 * cap of the caller are refused. */
typedef struct acme_json_t acme_json_t;

/* what: for errors, "directory", "order". The top level must be an object. */
acme_rv_t acme_json_parse(acme_json_t **out, const char *text, apr_size_t len, const char *what,
                          apr_pool_t *pool, acme_error_t *err);

/* Members. A missing or null optional member gives ACME_OK and NULL/default; a wrong type is
 * ACME_FAIL with an error that names document and member. required: missing or null fails. */
typedef enum { ACME_JSON_OPTIONAL, ACME_JSON_REQUIRED } acme_json_need_t;

acme_rv_t acme_json_get_string(const char **out, const acme_json_t *object, const char *key,
                               acme_json_need_t need, acme_error_t *err);
acme_rv_t acme_json_get_object(acme_json_t **out, const acme_json_t *object, const char *key,
                               acme_json_need_t need, acme_error_t *err);
acme_rv_t acme_json_get_array(acme_json_t **out, const acme_json_t *object, const char *key,
                              acme_json_need_t need, acme_error_t *err);
acme_rv_t acme_json_get_bool(int *out, const acme_json_t *object, const char *key, int fallback,
                             acme_error_t *err);
acme_rv_t acme_json_get_int(apr_int64_t *out, const acme_json_t *object, const char *key,
                            apr_int64_t fallback, acme_error_t *err);

/* Arrays. */
apr_size_t acme_json_count(const acme_json_t *array);
acme_rv_t acme_json_item_object(acme_json_t **out, const acme_json_t *array, apr_size_t i,
                                acme_error_t *err);
acme_rv_t acme_json_item_string(const char **out, const acme_json_t *array, apr_size_t i,
                                acme_error_t *err);

/* Objects as tables: i-th key, or NULL past the end (order unspecified). */
const char *acme_json_key_at(const acme_json_t *object, apr_size_t i);

/* Building. Strings are copied and must be valid UTF-8 (else ACME's error at dump time). */
acme_json_t *acme_json_new_object(apr_pool_t *pool);
acme_json_t *acme_json_new_array(apr_pool_t *pool);
void acme_json_set_string(acme_json_t *object, const char *key, const char *value);
void acme_json_set_int(acme_json_t *object, const char *key, apr_int64_t value);
void acme_json_set_bool(acme_json_t *object, const char *key, int value);
void acme_json_set(acme_json_t *object, const char *key, acme_json_t *value);
void acme_json_add_string(acme_json_t *array, const char *value);
/* Lists of canonical names (const char *). A member that is not there: NULL; one that is not an
 * array of at most 100 canonical names: ACME_FAIL. The strings are copies. */
acme_json_t *acme_json_names(const apr_array_header_t *names, apr_pool_t *pool);
acme_rv_t acme_json_get_names(const apr_array_header_t **out, const acme_json_t *object,
                              const char *key, apr_pool_t *pool, acme_error_t *err);
void acme_json_add(acme_json_t *array, acme_json_t *value);

/* Compact text, members in insertion order (the caller sorts where an RFC wants it, as RFC 7638
 * does). The text is in pool. NULL when a value was not UTF-8 or memory ran out. */
const char *acme_json_dump(const acme_json_t *json, apr_pool_t *pool);

/* Once per process, before threads: jansson's hash seed (F of the library's globals). */
void acme_json_init(void);

#endif
