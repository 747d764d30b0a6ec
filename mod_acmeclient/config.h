/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#ifndef ACMOD_CONFIG_H
#define ACMOD_CONFIG_H

#include "mod_acmeclient.h"

/* What was written where. Arguments are kept as text that has passed its check; what
 * form.h lists makes values of them. */

typedef enum {
#define DIRECTIVE(name, contexts, least, most, form, fallback) ACMOD_##name,
#include "directives.h"
#undef DIRECTIVE
    ACMOD_DIRECTIVES
} acmod_directive_t;

/* May its arguments hold a secret? They are never repeated in a message then. */
int acmod_directive_secret(acmod_directive_t which);
const char *acmod_directive_name(acmod_directive_t which);

typedef struct {
    apr_array_header_t *args; /* const char *, NULL: not written */
    const char *where;        /* "file:line" */
    int inherited;            /* from the server config */
} acmod_value_t;

/* One context: server config, vhost, <AcmeCA> or <AcmeCertificate>. */
typedef struct {
    acmod_value_t value[ACMOD_DIRECTIVES];
    const char *label; /* of a section */
    const char *where;
} acmod_settings_t;

typedef struct {
    acmod_settings_t settings;
    apr_array_header_t *cas;          /* acmod_settings_t *: <AcmeCA>, server config only */
    apr_array_header_t *certificates; /* acmod_settings_t *: <AcmeCertificate> */
    apr_array_header_t *repeated;     /* const char *: remarks on directives written twice */
    acmod_settings_t *section;        /* being read */
    int section_is_ca;
    /* other modules' directives, seen on their way */
    const char *server_name;          /* written in this very server */
    int ssl_engine;                   /* -1 unset, 0 off, 1 on */
    apr_array_header_t *cert_files;   /* const char *: SSLCertificateFile, absolute */
    const char *cipher_suite;         /* SSLCipherSuite of TLS 1.2 and older, NULL: none written */
    acmod_vhost_t *vhost;             /* result of vhost.c */
} acmod_server_t;

acmod_server_t *acmod_server(server_rec *s);

/* Arguments of a setting or NULL when nothing was written in any context. */
const apr_array_header_t *acmod_args(const acmod_settings_t *settings, acmod_directive_t which);
/* command.c: fills conf's programs, once its certificates are there. */
void acmod_command_form(acmod_conf_t *conf, const acmod_settings_t *settings, apr_pool_t *pool);

/* First argument, or fallback. */
const char *acmod_arg(const acmod_settings_t *settings, acmod_directive_t which,
                      const char *fallback);

#endif
