/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#ifndef ACME_PROTOCOL_SPEC_H
#define ACME_PROTOCOL_SPEC_H

#include <apr_tables.h>
#include "crypto/digest.h"
#include "crypto/key.h"
#include "protocol/challenge.h"

/* What the configuration wants: formed once by the embedder, immutable afterwards. */

/* A certification authority as configured; one per <AcmeCA> section or flat directive set. What
 * stands in files of the administrator's is filled in by root (store/secret.h). */
typedef struct acme_ca_t {
    const char *name;            /* "letsencrypt", or the URL when it has no name */
    const char *directory_url;
    const char *ca_file;         /* PEM bundle, or NULL: the system's */
    const char *proxy;           /* "http://host:port", or NULL */
    const char *proxy_file;      /* with user and password for it, or NULL */
    const char *proxy_user;      /* "user:password" of that file, or NULL */
    apr_array_header_t *contacts;/* "mailto:..." (const char *) */
    int terms_agreed;
    int terms_needed;            /* as is known without asking it */
    const char *eab_needed;      /* as is known without asking it: where to get one, or NULL */
    const char *eab_file;        /* where the following stand, or NULL: in the configuration */
    const char *eab_trouble;     /* one is configured and cannot be used: why, or NULL */
    const char *eab_kid;         /* or NULL */
    const unsigned char *eab_key;
    apr_size_t eab_key_len;
    const char *eab_alg;         /* "HS256" */
    acme_key_type_t account_key_type;
    const char *auth_path;       /* the account key's file (JWK) */
    int order_rate_count;        /* new orders per order_rate_period; 0: no limit */
    apr_interval_time_t order_rate_period;
    const struct acme_ca_t *staging; /* where what fails is tried first, or NULL */
    int index;                   /* position in the embedder's list of CAs */
} acme_ca_t;

typedef enum { ACME_ACTIVATE_NOW, ACME_ACTIVATE_RESTART } acme_activate_t;

/* One certificate of one key type: one pair of files, one order at a time, one board slot. A
 * configured certificate with several key types is several of these with the same label. */
typedef struct acme_spec_t {
    const char *id;          /* unique, file-name safe: "example.org", "_wildcard.x.rsa2048" */
    const char *label;       /* first name as the administrator knows it; subject of log lines */
    apr_array_header_t *names;     /* canonical, at least one (const char *) */
    const apr_array_header_t *may_lack; /* those of them that are left out rather than lose the rest
                                         * (AcmePartial), never the first; NULL: none */
    const char *common_name; /* for the CSR, or NULL */
    const char *country, *state, *locality, *organization; /* or NULL */
    acme_key_type_t key_type;
    int key_reuse;
    int must_staple;
    const char *profile;     /* or NULL */
    int profile_required;
    const char *preferred_chain; /* issuer CN of the topmost certificate wanted, or NULL */
    int ari;                 /* the CA's renewal information counts */
    apr_interval_time_t renew_before; /* 0: auto */
    int renew_before_percent;         /* 0: auto; 1..99 of the lifetime */
    acme_challenge_type_t challenges[ACME_CH_TYPES]; /* in order of preference */
    int n_challenges;
    const apr_array_header_t *dns01_command; /* program and arguments (const char *) in front of
                                              * "setup NAME VALUE", or NULL */
    apr_interval_time_t dns01_timeout;       /* of one call, > 0 */
    apr_interval_time_t dns01_propagation;   /* how long the zone's servers are asked; 0: not */
    int self_check;          /* look at the challenges as a validator would */
    acme_activate_t activate;
    int failover_after;
    apr_array_header_t *cas; /* acme_ca_t *, in order of preference, at least one */
    const char *cert_path, *key_path; /* absolute */
    const char *error;       /* not NULL: contradictory configuration, never ordered; the text */
    const char *where;       /* "httpd.conf:12" of the place that asked for it */
    int rsa_challenge;       /* a vhost using it may serve an RSA certificate: tls-alpn-01 then
                              * needs an RSA challenge certificate too */
    int not_negotiable;      /* a vhost's ciphers can serve no key type of this certificate: never
                              * in the place of one of another kind of key that works */
    const char *digest;      /* acme_spec_digest of the above */
    int index;               /* position in the embedder's list, = the board slot's row */
} acme_spec_t;

#define ACME_LEFT_OUT_MAX 10

/* May all of these (canonical) be left out at once? */
int acme_spec_may_lack(const acme_spec_t *spec, const apr_array_header_t *left_out);
/* The names without those that are left out (maybe NULL). ACME_FAIL: they may not be. */
acme_rv_t acme_spec_names_without(const apr_array_header_t **out, const acme_spec_t *spec,
                                  const apr_array_header_t *left_out, apr_pool_t *pool);
/* SHA-256 hex over those names of the spec that are in the set (or, with absent, that are not):
 * which ones, in few bytes. */
void acme_spec_part_digest(char out[ACME_SHA256_HEX], const acme_spec_t *spec,
                           const apr_array_header_t *set, int absent, apr_pool_t *scratch);

/* SHA-256 hex over everything whose change makes staged records obsolete: names (sorted), key type,
 * profile, must-staple. The issuing directory stands in the record by itself. */
const char *acme_spec_digest(const acme_spec_t *spec, apr_pool_t *pool);
/* SHA-256 hex over everything whose change is a reason to try at once after failures: the above and
 * CA list (URLs, anchors, proxy, account file, EAB, contacts, terms), challenges, subject. The EAB
 * key goes in by its own digest. */
const char *acme_spec_attempt_digest(const acme_spec_t *spec, apr_pool_t *pool);

#endif
