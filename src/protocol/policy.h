/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#ifndef ACME_PROTOCOL_POLICY_H
#define ACME_PROTOCOL_POLICY_H

#include "protocol/record.h"
#include "protocol/spec.h"

/* The renewal decision: one pure function of the facts, with its reason. */

/* Facts about the certificate that is in service (files as root found them, or the newer one on the
 * board). All zero: none. */
typedef struct {
    int have;                /* a CA's certificate with its key, not a placeholder */
    apr_time_t not_before, not_after;
    int names_ok;            /* it has all configured names; a name too many can wait */
    int directory_ok;        /* issuing directory is still in the list, or unknown */
    const char *serial;      /* for the log, or NULL */
    const char *ari_id;      /* its name in renewal information, NULL or "" none */
    apr_time_t ari_at;       /* moment chosen in the CA's window, 0 = none known */
} acme_facts_t;

/* Failure history of one certificate: what an attempt record holds (JSON). */
typedef struct {
    apr_int64_t failures;    /* in a row */
    apr_int64_t validations; /* failed ones since one succeeded, see acme_policy_rehearse */
    apr_time_t not_before;   /* next try as announced, 0 = none */
    apr_time_t last;         /* of the last failure */
    const char *kind;        /* acme_error_kind_name */
    const char *problem;     /* ACME type or "" */
    const char *text;        /* the whole error */
    const char *step;        /* step it failed at */
    const char *challenge;   /* challenge type that was tried, or "" */
    const char *why;         /* acme_decision_t's: what it was for */
    const char *blamed;      /* the name for which alone it failed, or "" (AcmePartial) */
    apr_int64_t blamed_times; /* in a row */
    const apr_array_header_t *left_out; /* of the configured names, or NULL */
    const char *digest;      /* acme_spec_attempt_digest then; another now = forgotten */
} acme_attempt_t;

/* The administrator's wish for a try now is recorded as an attempt without failures whose reason is
 * one of these; it is superseded by what comes of it. */
#define ACME_WISH "asked for"
#define ACME_WISH_NEW_KEY "asked for with a new key"

/* Was it made, or is it to be made, because somebody asked? */
int acme_attempt_asked(const acme_attempt_t *attempt);
/* Is it still to be made? */
int acme_attempt_is_wish(const acme_attempt_t *attempt);
/* The record of a wish. challenge: the type that failed last, or NULL: the next one's turn is not
 * forgotten with the failures. digest: acme_spec_attempt_digest. */
const char *acme_wish_payload(const char *wish, const char *challenge, const char *digest,
                              apr_time_t now, apr_pool_t *pool);

const char *acme_attempt_payload(const acme_attempt_t *attempt, apr_pool_t *pool);
/* Range-checks every number (hostile child): failures and validations 0..10^6, not_before at most 8
 * days after last. */
acme_rv_t acme_attempt_parse(acme_attempt_t *out, const char *payload, apr_size_t len,
                             apr_pool_t *pool, acme_error_t *err);

typedef enum {
    ACME_DO_NOTHING = 0, /* until `when` */
    ACME_DO_ORDER,       /* place or resume an order now */
    ACME_DO_HOLD         /* must not order (error in the configuration, implausible clock) */
} acme_do_t;

typedef struct {
    acme_do_t what;
    apr_time_t when;     /* next moment to ask again (never 0 with NOTHING) */
    apr_time_t renew_at; /* planned renewal, 0 = none */
    const char *why;     /* static: "no certificate", "emergency", "names changed", "CA changed",
                          * "due", "renewal window" (the CA's), "asked for"; "valid", "waiting after a failure"; "configuration",
                          * "clock" */
    int rushed;          /* it is only the CA's window that wants it so early: by more than a tenth
                          * of the lifetime before it would be due */
    int renewal;         /* 0: nothing valid is in service: goes before renewals */
} acme_decision_t;

/* attempt: NULL = no failure; an attempt of another digest than attempt_digest is ignored. forced:
 * the administrator asked for a try now. Renewal at facts->ari_at where that is known and
 * spec->ari is set, else at lifetime/3 left (1/2 under 10 days), or as spec->renew_before says (never
 * more than half a lifetime; duration and percentage given: the earlier); a window and renew_before:
 * whichever is earlier. With less than a tenth of the lifetime left no window counts. A clock
 * before 2024 is implausible. */
void acme_policy_decide(acme_decision_t *out, const acme_spec_t *spec, const acme_facts_t *facts,
                        const acme_attempt_t *attempt, const char *attempt_digest, int forced,
                        apr_time_t now);

/* When the certificate is due if no window counts. */
apr_time_t acme_policy_usual(const acme_spec_t *spec, const acme_facts_t *facts);

/* When validations of each type last worked and failed on this server, whatever the certificate; 0:
 * never. */
typedef struct {
    apr_time_t worked[ACME_CH_TYPES], failed[ACME_CH_TYPES];
} acme_proven_t;

/* type: name of one, or "" or NULL for nothing to note. An older moment than the noted one changes
 * nothing. */
void acme_proven_note(acme_proven_t *proven, const char *type, int worked, apr_time_t when);

/* The type to begin with, or NULL for the order of the configuration: own (that worked last for
 * this certificate, or NULL) unless it has failed on this server since; then the one of spec's
 * that last worked on this server and has not failed since. What is proved by DNS records says
 * something about their zone only, not about the server. */
const char *acme_policy_worked(const acme_proven_t *proven, const acme_spec_t *spec,
                               const char *own);

/* CAs limit failed validations: after two of them the next tries go to the CA's staging, where it
 * has one, until one succeeds there (acme_attempt_rehearsed); then the next failed one is
 * enough. */
int acme_policy_rehearse(const acme_attempt_t *attempt);
/* attempt->validations after one that failed (validation: for its validation; rehearsal: at the
 * staging) or succeeded there. What else goes wrong at a staging keeps nobody from the real CA. */
void acme_attempt_failed(acme_attempt_t *attempt, int validation, int rehearsal);
void acme_attempt_rehearsed(acme_attempt_t *attempt);

/* Challenge types to try in this attempt: spec's order, but the type that worked last first, and
 * after a failure with one type the next of the list leads. out has room for ACME_CH_TYPES; returns
 * how many. */
int acme_policy_challenges(acme_challenge_type_t *out, const acme_spec_t *spec,
                           const char *worked_last, const acme_attempt_t *attempt);

#endif
