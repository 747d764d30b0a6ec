/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#ifndef ACMOD_FORM_H
#define ACMOD_FORM_H

#include "config.h"

/* What the files that form specs from the configuration share, and nobody else: form.c the whole,
 * ca.c, draft.c, names.c, challenge.c, spec.c, vhost.c. A contradiction is one certificate's error,
 * never the server's. All of it is linear in the number of vhosts and names. */

/* A certificate while it is being formed. */
typedef struct {
    acmod_cert_t *cert;
    const acmod_settings_t *settings; /* of the place that made it */
    const acmod_settings_t *outer;    /* server config, for sections; else NULL */
    apr_array_header_t *names;        /* canonical */
    apr_hash_t *known;                /* the same as a set */
    apr_hash_t *aliases;              /* those that only a ServerAlias wants */
    server_rec *server;               /* the first vhost of it, NULL for sections */
    const char *error;
    const char *where;
} draft_t;

typedef struct {
    acmod_conf_t *conf;
    apr_pool_t *pool, *ptemp;
    server_rec *base;
    apr_hash_t *by_label;   /* draft_t by canonical first name or label */
    apr_hash_t *by_path;    /* draft_t by written certificate path, in its one spelling */
    apr_hash_t *real_dirs;  /* directory -> its one spelling */
    apr_hash_t *covering;   /* draft_t of sections by each of their names */
    apr_hash_t *ca_by_key;  /* acme_ca_t by everything that makes it */
    apr_hash_t *ca_told;    /* those that what they lack is told of, by index */
    apr_array_header_t *servers; /* server_rec *, the main one first, then in the order written */
    apr_array_header_t *drafts;
    acme_challenge_type_t auto_types[ACME_CH_TYPES];
    int n_auto;
} form_t;

/* ---- form.c ---- */

/* To conf's remarks. s: whose log, NULL: main server. */
void acmod_form_remark(form_t *form, int level, const char *code, server_rec *s, const char *fmt,
                       ...) __attribute__((format(printf, 5, 6)));
/* A path as written, absolute. NULL for NULL. */
const char *acmod_form_path(form_t *form, const char *text);
/* One spelling for a file, also for one that is not there yet: links and // resolved. Directories
 * are asked for once. */
const char *acmod_form_real_path(form_t *form, const char *path);

/* ---- draft.c ---- */

/* It is not ordered, and a remark tells why; the first error stays. */
void acmod_draft_error(draft_t *draft, form_t *form, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* The nearest context that says something: the certificate's own, then the server config. Never
 * NULL; args NULL: written nowhere. */
const acmod_value_t *acmod_draft_value(const draft_t *draft, acmod_directive_t which);
/* The first argument, or fallback; NULL for none. */
const char *acmod_draft_text(const draft_t *draft, acmod_directive_t which, const char *fallback);
/* Those of all <AcmeCertificate>; before those of vhosts. */
void acmod_draft_sections(form_t *form);
/* That of a vhost's certificate: a section's, one that is there already or a new one. NULL, with a
 * remark, when it gets none. */
draft_t *acmod_draft_of(form_t *form, server_rec *s, const char *where);

/* ---- ca.c ---- */

/* acme_ca_t *, in the order written; what is unknown is the draft's error. */
apr_array_header_t *acmod_ca_list(form_t *form, draft_t *draft);
/* May the CA know names that no public one does? */
int acmod_ca_is_private(form_t *form, const char *name);

/* ---- names.c ---- */

/* explicit: what cannot be certified is the draft's error; else it is left out with a remark. */
void acmod_names_add(form_t *form, draft_t *draft, const char *text, const char *where,
                     int explicit);
/* AcmeNames of a context: exactly these, or those of the server plus and minus. s: NULL for a
 * section. */
void acmod_names_of_settings(form_t *form, draft_t *draft, const acmod_settings_t *settings,
                             server_rec *s, const char *where);
/* AcmePartial: what is left out rather than lose the rest; never the first. NULL: nothing is. */
apr_array_header_t *acmod_names_dispensable(form_t *form, const draft_t *draft);
/* That of the request, NULL when it has none. */
const char *acmod_names_common(form_t *form, draft_t *draft);
/* On names of vhosts that their certificates do not have, or httpd does not know. */
void acmod_names_remarks(form_t *form);

/* ---- challenge.c ---- */

/* By a program, or by a record that the administrator publishes once. */
int acmod_challenge_proves_wildcards(const draft_t *draft);
/* Which types can reach us, for all that say auto; fills conf's ports. */
void acmod_challenge_auto(form_t *form);
/* Types and command of a spec; its names are there. */
void acmod_challenge_spec(form_t *form, draft_t *draft, acme_spec_t *spec);
/* Is there what they need, and can they prove all names? Once a certificate. */
void acmod_challenge_judge(form_t *form, draft_t *draft, const acme_spec_t *spec);
/* Once, however many inherit it: the administrator has to know what he named. */
void acmod_challenge_remark_on_tls_sni(form_t *form);

/* ---- spec.c ---- */

/* The draft's specs, one a key type, into conf and its certificate. */
void acmod_spec_form(form_t *form, draft_t *draft);
/* Last, once errors and vhosts are known: what the specs have of them, and the digests. */
void acmod_spec_close(form_t *form);

/* ---- vhost.c ---- */

/* "the vhost a.test (httpd.conf:12)" */
const char *acmod_vhost_words(form_t *form, server_rec *s);
/* Gives the server its record when it wants a certificate and gets one. */
void acmod_vhost_form(form_t *form, server_rec *s);
/* Attaches the vhosts that name a managed file to its certificate, and marks the managed ones that
 * name a file of their own. Once the specs have their paths. */
void acmod_vhost_static_files(form_t *form);

#endif
