/* Licensed under the Apache License, Version 2.0; see LICENSE. */

/* The challenges of a certificate: which types can reach us, which it tries, and whether they can
 * prove its names. */

#include "form.h"

#include "ap_listen.h"

int acmod_challenge_proves_wildcards(const draft_t *draft)
{
    const apr_array_header_t *args = acmod_draft_value(draft, ACMOD_AcmeChallenges)->args;
    acme_challenge_type_t type;
    int i;

    for (i = 0; args && i < args->nelts; i++) {
        if (acme_challenge_type_parse(&type, APR_ARRAY_IDX(args, i, const char *)) == ACME_OK
            && acme_challenge_type_is_dns(type)) {
            return 1;
        }
    }
    return acmod_draft_text(draft, ACMOD_AcmeDns01Command, NULL)
           && (!args || acme_ascii_casecmp(APR_ARRAY_IDX(args, 0, const char *), "auto") == 0);
}

static int has_wildcard(const acme_spec_t *spec)
{
    int i;

    for (i = 0; i < spec->names->nelts; i++) {
        if (acme_name_kind(APR_ARRAY_IDX(spec->names, i, const char *)) == ACME_NAME_WILDCARD) {
            return 1;
        }
    }
    return 0;
}

/* Where a command is configured, dns-01 is there as well; a wildcard can be proved by nothing else,
 * and its companions are proved the same way. */
static void auto_types(form_t *form, acme_spec_t *spec)
{
    int i;

    if (!spec->dns01_command || !has_wildcard(spec)) {
        for (i = 0; i < form->n_auto; i++) {
            spec->challenges[spec->n_challenges++] = form->auto_types[i];
        }
    }
    if (spec->dns01_command) {
        spec->challenges[spec->n_challenges++] = ACME_CH_DNS01;
    }
}

static void spec_challenges(form_t *form, draft_t *draft, acme_spec_t *spec)
{
    const apr_array_header_t *args = acmod_draft_value(draft, ACMOD_AcmeChallenges)->args;
    int i;

    for (i = 0; args && i < args->nelts && spec->n_challenges < ACME_CH_TYPES; i++) {
        if (acme_challenge_type_parse(&spec->challenges[spec->n_challenges],
                                      APR_ARRAY_IDX(args, i, const char *)) == ACME_OK) {
            spec->n_challenges++;
        }
    }
    if (spec->n_challenges == 0) {
        auto_types(form, spec);
    }
}

static void spec_dns01(form_t *form, draft_t *draft, acme_spec_t *spec)
{
    const apr_array_header_t *args = acmod_draft_value(draft, ACMOD_AcmeDns01Command)->args;
    apr_array_header_t *command;

    acme_duration_parse(&spec->dns01_timeout,
                        acmod_draft_text(draft, ACMOD_AcmeDns01Timeout, "60s"), NULL);
    acme_duration_parse(&spec->dns01_propagation,
                        acmod_draft_text(draft, ACMOD_AcmeDns01Propagation, "120s"), NULL);
    if (!args || acme_ascii_casecmp(APR_ARRAY_IDX(args, 0, const char *), "none") == 0) {
        return;
    }
    command = apr_array_copy(form->pool, args);
    APR_ARRAY_IDX(command, 0, const char *)
        = acmod_form_path(form, APR_ARRAY_IDX(args, 0, const char *));
    spec->dns01_command = command;
}

void acmod_challenge_spec(form_t *form, draft_t *draft, acme_spec_t *spec)
{
    spec_dns01(form, draft, spec);
    spec_challenges(form, draft, spec);
}

/* What only the command can do, and no command. */
static void remark_on_dns01(form_t *form, draft_t *draft, const acme_spec_t *spec)
{
    const char *program = spec->dns01_command
                          ? APR_ARRAY_IDX(spec->dns01_command, 0, const char *) : NULL;
    int i;

    for (i = 0; i < spec->n_challenges; i++) {
        acme_challenge_type_t type = spec->challenges[i];

        if (!program && (type == ACME_CH_DNS01 || type == ACME_CH_DNSACCOUNT01)) {
            acmod_draft_error(draft, form, "AcmeChallenges: %s needs AcmeDns01Command, %s",
                              acme_challenge_type_name(type),
                              acmod_draft_value(draft, ACMOD_AcmeChallenges)->where);
        }
    }
    if (program && !acmod_command_is_program(program, form->ptemp)) {
        acmod_form_remark(form, APLOG_WARNING, "AC0433", draft->server,
                          "%s: AcmeDns01Command: %s is no executable file, %s",
                          draft->cert->label, program,
                          acmod_draft_value(draft, ACMOD_AcmeDns01Command)->where);
    }
}

/* A wildcard without dns-01 was refused when it was added; an address cannot have it. */
static void challenges_judge(form_t *form, draft_t *draft, const acme_spec_t *spec)
{
    int i, k;

    for (i = 0; i < spec->names->nelts; i++) {
        acme_authz_object_t authz;

        memset(&authz, 0, sizeof(authz));
        authz.name = APR_ARRAY_IDX(spec->names, i, const char *);
        authz.wildcard = acme_name_kind(authz.name) == ACME_NAME_WILDCARD;
        for (k = 0; k < spec->n_challenges; k++) {
            if (acme_challenge_type_usable(spec->challenges[k], &authz)) {
                break;
            }
        }
        if (k == spec->n_challenges) {
            acmod_draft_error(draft, form, "no type of AcmeChallenges can prove %s, an address "
                              "needs http-01 or tls-alpn-01 (%s)", authz.name,
                              acmod_draft_value(draft, ACMOD_AcmeChallenges)->where
                              ? acmod_draft_value(draft, ACMOD_AcmeChallenges)->where
                              : draft->where);
        }
    }
}

void acmod_challenge_judge(form_t *form, draft_t *draft, const acme_spec_t *spec)
{
    remark_on_dns01(form, draft, spec);
    challenges_judge(form, draft, spec);
}

/* ---- challenges that can reach us ---- */

static int listening(int port)
{
    ap_listen_rec *listener;

    for (listener = ap_listeners; listener; listener = listener->next) {
        if (listener->bind_addr && listener->bind_addr->port == port) {
            return 1;
        }
    }
    return 0;
}

/* Local port for requests to 80 (443) from outside; 0: unreachable. */
static int mapped_port(const acmod_settings_t *settings, const char *word, const char *number,
                       int fallback)
{
    const apr_array_header_t *args = acmod_args(settings, ACMOD_AcmePortMap);
    apr_int64_t port = fallback;
    int i;

    for (i = 0; args && i < args->nelts; i++) {
        const char *arg = APR_ARRAY_IDX(args, i, const char *);
        const char *to = strchr(arg, ':');
        apr_size_t len = to ? (apr_size_t)(to - arg) : 0;

        if (to && ((strlen(word) == len && acme_ascii_ncasecmp(arg, word, len) == 0)
                   || (strlen(number) == len && strncmp(arg, number, len) == 0))) {
            port = 0;
            acme_scan_number(&port, to + 1, strlen(to + 1), 5, NULL);
        }
    }
    return (int)port;
}

void acmod_challenge_auto(form_t *form)
{
    const acmod_settings_t *settings = &acmod_server(form->base)->settings;
    int http = mapped_port(settings, "http", "80", 80);
    int https = mapped_port(settings, "https", "443", 443);

    form->conf->http_port = http;
    form->conf->https_port = https;
    if (http && listening(http)) {
        form->auto_types[form->n_auto++] = ACME_CH_HTTP01;
    }
    if (https && listening(https)) {
        form->auto_types[form->n_auto++] = ACME_CH_TLSALPN01;
    }
    if (form->n_auto == 0) {
        form->auto_types[form->n_auto++] = ACME_CH_HTTP01;
        form->auto_types[form->n_auto++] = ACME_CH_TLSALPN01;
        if (form->drafts->nelts) {
            acmod_form_remark(form, APLOG_WARNING, "AC0103", NULL, "nothing listens on port 80 or "
                              "443 and AcmePortMap names no reachable port: the CA may not reach "
                              "this server");
        }
    }
}

static int names_tls_sni(const acme_spec_t *spec)
{
    int i;

    for (i = 0; i < spec->n_challenges; i++) {
        if (spec->challenges[i] == ACME_CH_TLSSNI01) {
            return 1;
        }
    }
    return 0;
}

void acmod_challenge_remark_on_tls_sni(form_t *form)
{
    const acme_spec_t *first = NULL;
    int i, n = 0;

    for (i = 0; i < form->conf->specs->nelts; i++) {
        const acme_spec_t *spec = APR_ARRAY_IDX(form->conf->specs, i, const acme_spec_t *);

        if (names_tls_sni(spec)) {
            first = n++ == 0 ? spec : first;
        }
    }
    if (first) {
        acmod_form_remark(form, APLOG_WARNING, "AC0140", NULL, "%s%s: AcmeChallenges names "
                          "tls-sni-01, which is unsafe: whoever may install a certificate for a "
                          "name under acme.invalid on this address can obtain certificates for "
                          "every name that points here; no public CA validates it (Let's Encrypt "
                          "ended it in 2019)", first->label,
                          n > 1 ? apr_psprintf(form->ptemp, " and %d more", n - 1) : "");
    }
}
