/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#ifndef ACME_PROTOCOL_MESSAGE_H
#define ACME_PROTOCOL_MESSAGE_H

#include <apr_tables.h>
#include "base/json.h"
#include "base/url.h"
#include "protocol/problem.h"

/* RFC 8555's objects as C structs. Parsing is lenient where the RFC says ignore (unknown members,
 * null for absent ones) and strict elsewhere. All URLs have passed acme_url_parse, except those of
 * the directory's meta. Unknown status words are errors that hold the word. Strings live in the
 * pool given. On failure *out is left alone. */

typedef struct {
    const char *new_nonce, *new_account, *new_order;           /* required */
    const char *revoke_cert, *key_change, *renewal_info;       /* or NULL */
    const char *terms_of_service, *website; /* meta: printable, for people only, or NULL */
    int external_account_required;
    apr_array_header_t *profiles; /* names (const char *), empty when none are offered */
    const char *text;             /* the document itself, for keeping */
} acme_directory_t;

/* An ACME v1 directory ("new-reg") gives an error that says so (HUMAN). */
acme_rv_t acme_directory_parse(acme_directory_t **out, const char *text, apr_size_t len,
                               apr_pool_t *pool, acme_error_t *err);

typedef enum { ACME_ACCOUNT_VALID, ACME_ACCOUNT_DEACTIVATED, ACME_ACCOUNT_REVOKED }
    acme_account_status_t;

typedef struct {
    acme_account_status_t status;
    const char *orders; /* URL or NULL */
    apr_array_header_t *contact; /* const char *, empty when not given */
} acme_account_t;

acme_rv_t acme_account_parse(acme_account_t **out, const char *text, apr_size_t len,
                             apr_pool_t *pool, acme_error_t *err);

typedef enum {
    ACME_ORDER_PENDING, ACME_ORDER_READY, ACME_ORDER_PROCESSING, ACME_ORDER_VALID,
    ACME_ORDER_INVALID
} acme_order_status_t;

const char *acme_order_status_name(acme_order_status_t status);

typedef struct {
    acme_order_status_t status;
    apr_time_t expires;          /* 0 = not given or unreadable */
    apr_array_header_t *names;   /* canonical identifiers (dns and ip) */
    apr_array_header_t *authorizations; /* URLs, as text; empty when not given */
    const char *finalize;        /* URL; required unless status is invalid */
    const char *certificate;     /* URL or NULL */
    acme_problem_t *error;       /* or NULL */
} acme_order_object_t;

acme_rv_t acme_order_parse(acme_order_object_t **out, const char *text, apr_size_t len,
                           apr_pool_t *pool, acme_error_t *err);

/* Account's list of orders (RFC 8555 section 7.1.2.1): the first 2,000 URLs. An array without the
 * object around it will do, as step-ca sends it. */
acme_rv_t acme_order_list_parse(apr_array_header_t **urls, const char *text, apr_size_t len,
                                apr_pool_t *pool, acme_error_t *err);

typedef enum {
    ACME_AUTHZ_PENDING, ACME_AUTHZ_VALID, ACME_AUTHZ_INVALID, ACME_AUTHZ_DEACTIVATED,
    ACME_AUTHZ_EXPIRED, ACME_AUTHZ_REVOKED
} acme_authz_status_t;

typedef enum {
    ACME_CHALLENGE_PENDING, ACME_CHALLENGE_PROCESSING, ACME_CHALLENGE_VALID, ACME_CHALLENGE_INVALID
} acme_challenge_status_t;

typedef struct {
    const char *type;    /* any, unknown ones too */
    const char *url;
    const char *token;   /* NULL when the type has none; checked: ^[A-Za-z0-9_-]{16,256}$ */
    acme_challenge_status_t status;
    acme_problem_t *error; /* or NULL */
    apr_array_header_t *issuers; /* dns-persist-01: issuer domain names (const char *), at most 10,
                                  * printable; empty for other types */
    const char *account_uri;     /* dns-persist-01: what the record has to name, or NULL */
} acme_challenge_object_t;

typedef struct {
    acme_authz_status_t status;
    const char *name;      /* canonical identifier; with wildcard set, without "*." */
    int wildcard;
    apr_time_t expires;
    apr_array_header_t *challenges; /* acme_challenge_object_t *; unknown types of unknown shape
                                     * are left out; required while pending only */
    const char *offered;   /* "http-01 dns-01 x": for errors */
} acme_authz_object_t;

#define ACME_AUTHZ_CHALLENGES_MAX 16

acme_rv_t acme_authz_parse(acme_authz_object_t **out, const char *text, apr_size_t len,
                           apr_pool_t *pool, acme_error_t *err);
acme_rv_t acme_challenge_parse(acme_challenge_object_t **out, const char *text, apr_size_t len,
                               apr_pool_t *pool, acme_error_t *err);

/* Payloads. contacts: "mailto:..." strings. eab may be NULL (owned by the payload afterwards). */
const char *acme_payload_new_account(const apr_array_header_t *contacts, int terms_agreed,
                                     int only_existing, acme_json_t *eab, apr_pool_t *pool);
/* names: canonical; profile, replaces: or NULL. */
const char *acme_payload_new_order(const apr_array_header_t *names, const char *profile,
                                   const char *replaces, apr_pool_t *pool);
const char *acme_payload_finalize(const char *csr_base64url, apr_pool_t *pool);

#endif
