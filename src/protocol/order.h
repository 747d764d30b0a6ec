/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#ifndef ACME_PROTOCOL_ORDER_H
#define ACME_PROTOCOL_ORDER_H

#include "protocol/message.h"
#include "protocol/spec.h"

/* One order as a table of steps {name, journal?, plan, take}. plan (const, pure) says what the
 * order wants next; the client does it; take (the only thing that changes the order) digests what
 * came of it. A resumed order enters at order-sync and the CA's answer routes it. Waiting is a
 * time. */

typedef enum {
    ACME_STEP_KEY = 0,      /* make or find the certificate's key; journalled before newOrder */
    ACME_STEP_FIND,         /* an earlier owner may have placed it: look at the account's orders */
    ACME_STEP_NEW_ORDER,
    ACME_STEP_SYNC,         /* POST-as-GET the order */
    ACME_STEP_AUTHZ,        /* fetch authorization `at` */
    ACME_STEP_PRESENT,      /* make all chosen challenges answerable */
    ACME_STEP_CHALLENGE,    /* tell the CA that challenge `at` is ready */
    ACME_STEP_WATCH,        /* one by one: poll authorization `at` until it leaves pending */
    ACME_STEP_VALIDATE,     /* poll the order until it leaves pending */
    ACME_STEP_REASON,       /* order invalid: fetch authorizations for the cause */
    ACME_STEP_FINALIZE,
    ACME_STEP_ISSUE,        /* poll the order until valid */
    ACME_STEP_DOWNLOAD,
    ACME_STEP_ALTERNATE,    /* fetch alternate chain `at`, where the default one is not wanted */
    ACME_STEP_STORE,        /* check, stage, publish */
    ACME_STEP_DONE,
    ACME_STEPS
} acme_step_t;

const char *acme_step_name(acme_step_t step); /* "new-order", "order-sync", "authz", ... */

typedef struct {
    const char *url;
    const char *name;             /* canonical, "" until fetched */
    int fetched, valid;
    acme_challenge_type_t type;
    const char *challenge_url;
    const char *token;            /* NULL: no challenge is chosen; "" for a type without one */
    const apr_array_header_t *issuers; /* dns-persist-01, as acme_challenge_object_t */
    const char *account_uri;
    int presented, asked;         /* challenge answerable; CA told */
} acme_order_authz_t;

typedef struct acme_order_t {
    const acme_spec_t *spec;
    const apr_array_header_t *left_out; /* of the spec's names, NULL: none (AcmePartial) */
    const apr_array_header_t *names;    /* the others: what is ordered */
    const char *blamed;           /* the one name for which it failed, or NULL */
    const char *directory;        /* URL of the CA it is placed at */
    acme_challenge_type_t types[ACME_CH_TYPES];
    int n_types;
    acme_step_t step;
    int at;                       /* index into authz for steps that walk */
    const char *order_url, *finalize_url, *certificate_url;
    const char *key_digest;       /* of the staged key, "" before */
    const char *challenge_used;   /* type that validated, "" if none was needed */
    const char *challenge_failed; /* type that the CA says has failed, or "" */
    const char *name_failed;      /* whose validation that was, or "" */
    apr_time_t expires, not_before, deadline;
    int polls, requests;
    int one_by_one;               /* set by the client: an authorization is presented when the one
                                   * before it is valid; `at` is the one at hand */
    int intent;                   /* newOrder was about to be sent */
    const char *new_order_url;    /* of the directory, set by the client before it asks for plans */
    const char *orders_url;       /* account's list to search, set by the client, or NULL */
    apr_array_header_t *authz;    /* acme_order_authz_t */
    apr_array_header_t *candidates; /* URLs found in the account's list, still to look at */
    acme_problem_t *invalid;      /* cause found in REASON */
    const char *page;             /* of the account's list, still to fetch, or NULL */
    int pages, looked;            /* pages and candidates looked at */
    int downloads;                /* times the certificate was not there yet */
    int failed, dead, dropped;    /* invalid at the CA; not to be resumed; once started again */
    const char *profile;          /* for newOrder, set by the client before it asks for plans, */
    const char *replaces;         /*   as the directory offers them; or NULL */
    int profile_refused, replaces_refused; /* by the CA: ordered once more without */
    const char *refusal;          /* what it said then */
    apr_array_header_t *alternates; /* URLs of other chains for the certificate (const char *) */
    int preferred;                /* the chain that came last is the one AcmePreferredChain wants */
    apr_pool_t *pool;             /* everything above lives here */
} acme_order_t;

acme_order_t *acme_order_create(const acme_spec_t *spec, const char *directory,
                                const acme_challenge_type_t *types, int n_types, apr_time_t now,
                                apr_pool_t *pool);

/* Before its first step: these names are not ordered. No effect when one of them must be, or on an
 * order that is resumed. */
void acme_order_leave_out(acme_order_t *order, const apr_array_header_t *left_out);

/* Order record payload (JSON) <-> order. Restoring checks that the order is for this spec digest
 * and this directory and not expired (> 60 s left); else ACME_FAIL and the caller starts a new one,
 * once, with a line. */
const char *acme_order_payload(const acme_order_t *order, apr_pool_t *pool);
acme_rv_t acme_order_restore(acme_order_t **out, const acme_spec_t *spec, const char *payload,
                             apr_size_t len, const acme_challenge_type_t *types, int n_types,
                             apr_time_t now, apr_pool_t *pool, acme_error_t *err);

typedef enum {
    ACME_ACT_KEY,        /* generate or load the key, journal it */
    ACME_ACT_POST,       /* signed request: url, payload (NULL: POST-as-GET) */
    ACME_ACT_FINALIZE,   /* as POST, but the client makes the CSR payload */
    ACME_ACT_PRESENT,    /* authz[at..] all chosen challenges; one_by_one: authz[at] alone */
    ACME_ACT_WAIT,       /* nothing before not_before */
    ACME_ACT_STORE,      /* check, stage and publish the chain that came */
    ACME_ACT_DONE        /* withdraw challenges; finished */
} acme_act_t;

typedef struct {
    acme_act_t act;
    acme_step_t step;
    int journal;         /* append an order record before acting */
    const char *url;
    const char *payload;
    apr_size_t body_max; /* cap for the reply */
    apr_time_t until;    /* WAIT */
} acme_plan_t;

/* pool: for payloads. Never fails. */
void acme_order_plan(acme_plan_t *out, const acme_order_t *order, apr_time_t now, apr_pool_t *pool);

/* What came of the planned act. For POST/FINALIZE: the response (any status) or, with response
 * NULL, the transport error in `failed` and whether the request may have reached the CA. */
typedef struct {
    acme_step_t step;                    /* must equal the order's */
    const acme_http_response_t *response;
    const acme_url_t *url;               /* of the request */
    const acme_error_t *failed;
    int maybe_sent;
    const char *key_digest;              /* KEY */
    apr_time_t now;
    double random;
} acme_event_t;

#define ACME_ALTERNATES_MAX 8 /* chains that are looked at beside the default one */

/* ACME_OK: step taken (plan again); ACME_AGAIN: wait until order->not_before, then plan again;
 * ACME_FAIL: this attempt is over, err classified. A lost reply to newOrder or finalize is not a
 * failure of the order: the step becomes FIND or SYNC and err describes the cause (ACME_FAIL with
 * retry LADDER; the recorded order is resumed by the next attempt). *journal (may be NULL) = the
 * order record should be written again. */
acme_rv_t acme_order_take(acme_order_t *order, const acme_event_t *event, int *journal,
                          acme_error_t *err);

/* Is the order dead (invalid, gone at the CA)? Then its record must not be resumed. */
int acme_order_is_dead(const acme_order_t *order);

#endif
