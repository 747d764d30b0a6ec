/* Licensed under the Apache License, Version 2.0; see LICENSE. */

/* The CAs: <AcmeCA> sections, known names and URLs, each with its account and its staging. A CA is
 * told from others by everything that makes it. */

#include "form.h"

static void ca_rate(acme_ca_t *ca, const char *text)
{
    const char *slash = text ? strchr(text, '/') : NULL;
    apr_int64_t n;

    ca->order_rate_count = ca->ca_file ? 0 : 250;
    ca->order_rate_period = apr_time_from_sec(3 * 3600);
    if (text && acme_ascii_casecmp(text, "off") == 0) {
        ca->order_rate_count = 0;
    }
    if (slash && acme_scan_number(&n, text, (apr_size_t)(slash - text), 9, NULL) == ACME_OK) {
        ca->order_rate_count = (int)n;
        acme_duration_parse(&ca->order_rate_period, slash + 1, NULL);
    }
}

static apr_array_header_t *contacts_of(form_t *form, const apr_array_header_t *args)
{
    apr_array_header_t *out = apr_array_make(form->pool, 2, sizeof(const char *));
    int i;

    for (i = 0; args && i < args->nelts; i++) {
        const char *address = APR_ARRAY_IDX(args, i, const char *);

        if (acme_ascii_casecmp(address, "none") != 0) {
            APR_ARRAY_PUSH(out, const char *) = apr_pstrcat(form->pool, "mailto:", address, NULL);
        }
    }
    return out;
}

/* What is said of a CA, the nearest context first: by which it is told from others. */
typedef struct {
    const apr_array_header_t *args[ACMOD_DIRECTIVES];
} ca_args_t;

/* NULL: not written, or none. */
static const char *ca_arg(const ca_args_t *said, acmod_directive_t which, int i)
{
    const apr_array_header_t *args = said->args[which];
    const char *text = args && i < args->nelts ? APR_ARRAY_IDX(args, i, const char *) : NULL;

    return text && acme_ascii_casecmp(text, "none") == 0 ? NULL : text;
}

static const char *ca_key(form_t *form, const ca_args_t *said, const char *url)
{
    static const acmod_directive_t counted[] = {
        ACMOD_AcmeEmail, ACMOD_AcmeTermsOfService, ACMOD_AcmeAuthPath, ACMOD_AcmeAccountKeyType,
        ACMOD_AcmeCAFile, ACMOD_AcmeExternalAccount, ACMOD_AcmeProxy, ACMOD_AcmeOrderRate,
    };
    const char *key = url;
    apr_size_t i;

    for (i = 0; i < sizeof(counted) / sizeof(counted[0]); i++) {
        const apr_array_header_t *args = said->args[counted[i]];

        key = apr_pstrcat(form->ptemp, key, "\n",
                          args ? apr_array_pstrcat(form->ptemp, args, ' ') : "", NULL);
    }
    return key;
}

/* One word: a file, that root reads later. */
static void ca_external(form_t *form, acme_ca_t *ca, const ca_args_t *said)
{
    const char *first = ca_arg(said, ACMOD_AcmeExternalAccount, 0);
    const char *hmac = ca_arg(said, ACMOD_AcmeExternalAccount, 1);
    acme_external_t external;

    if (first && !hmac) {
        ca->eab_file = acmod_form_path(form, first);
    }
    else if (first
             && acme_external_form(&external, first, hmac,
                                   ca_arg(said, ACMOD_AcmeExternalAccount, 2), form->pool, NULL)
                    == ACME_OK) {
        ca->eab_kid = external.kid;
        ca->eab_key = external.key;
        ca->eab_key_len = external.key_len;
        ca->eab_alg = external.alg;
    }
}

static void ca_fill(form_t *form, acme_ca_t *ca, const ca_args_t *said)
{
    const acme_known_ca_t *known = acme_known_ca_at(ca->directory_url);
    const char *key_type = ca_arg(said, ACMOD_AcmeAccountKeyType, 0);
    const char *auth_path = ca_arg(said, ACMOD_AcmeAuthPath, 0);

    ca->ca_file = acmod_form_path(form, ca_arg(said, ACMOD_AcmeCAFile, 0));
    ca->proxy = ca_arg(said, ACMOD_AcmeProxy, 0);
    ca->proxy_file = acmod_form_path(form, ca_arg(said, ACMOD_AcmeProxy, 1));
    ca->contacts = contacts_of(form, said->args[ACMOD_AcmeEmail]);
    ca->terms_agreed = ca_arg(said, ACMOD_AcmeTermsOfService, 0) != NULL;
    ca->terms_needed = known && known->terms;
    ca->eab_needed = known ? known->external : NULL;
    ca_external(form, ca, said);
    if (key_type) {
        acme_key_type_parse(&ca->account_key_type, key_type);
    }
    ca->auth_path = auth_path ? acmod_form_path(form, auth_path)
                    : acme_account_path(form->conf->store_dir, ca->directory_url, form->pool);
    ca_rate(ca, ca_arg(said, ACMOD_AcmeOrderRate, 0));
}

/* What its account will need and does not have. */
static void ca_remarks(form_t *form, const acme_ca_t *ca)
{
    if (!ca->terms_agreed && (ca->terms_needed || !ca->ca_file)) {
        acmod_form_remark(form, APLOG_WARNING, "AC0112", NULL, "CA %s: its terms are not agreed "
                          "to; %s without \"AcmeTermsOfService accepted\"", ca->name,
                          ca->terms_needed ? "no account is registered there and it gets no request"
                                           : "public CAs refuse orders");
    }
    if (ca->eab_needed && !ca->eab_kid && !ca->eab_file) {
        acmod_form_remark(form, APLOG_WARNING, "AC0149", NULL,
                          "CA %s: it registers accounts only with an external account and gets no "
                          "request without; wanted: AcmeExternalAccount with what %s gives you",
                          ca->name, ca->eab_needed);
    }
}

/* near: the section's settings (or the certificate's), far: the next outer ones, may be NULL. */
static void ca_said(ca_args_t *said, const acmod_settings_t *near, const acmod_settings_t *far)
{
    int i;

    for (i = 0; i < ACMOD_DIRECTIVES; i++) {
        said->args[i] = near->value[i].args || !far ? near->value[i].args : far->value[i].args;
    }
}

static acme_ca_t *ca_make(form_t *form, const char *name, const char *url, const ca_args_t *said)
{
    const char *key = ca_key(form, said, url);
    acme_ca_t *ca = apr_hash_get(form->ca_by_key, key, APR_HASH_KEY_STRING);

    if (ca) {
        return ca;
    }
    ca = apr_pcalloc(form->pool, sizeof(*ca));
    ca->name = name;
    ca->directory_url = url;
    ca_fill(form, ca, said);
    ca->index = form->conf->cas->nelts;
    APR_ARRAY_PUSH(form->conf->cas, acme_ca_t *) = ca;
    apr_hash_set(form->ca_by_key, key, APR_HASH_KEY_STRING, ca);
    return ca;
}

static const acmod_settings_t *ca_section(form_t *form, const char *name)
{
    const acmod_server_t *sc = acmod_server(form->base);
    int i;

    for (i = 0; i < sc->cas->nelts; i++) {
        const acmod_settings_t *section = APR_ARRAY_IDX(sc->cas, i, const acmod_settings_t *);

        if (acme_ascii_casecmp(section->label, name) == 0) {
            return section;
        }
    }
    return NULL;
}

static const char *known_url(const char *name)
{
    const acme_known_ca_t *known = acme_known_ca_named(name);

    return known ? known->directory_url : NULL;
}

static const char *known_names(form_t *form)
{
    const char *names = "";
    int i;

    for (i = 0; acme_known_ca(i); i++) {
        names = apr_pstrcat(form->ptemp, names, i ? ", " : "", acme_known_ca(i)->name, NULL);
    }
    return names;
}

/* A key of its own, whatever its name would be: the account at the staging is another one. */
static void staging_key(form_t *form, acme_ca_t *staging, const acme_ca_t *ca)
{
    apr_size_t len = strlen(ca->auth_path);
    int jwk = len > 4 && strcmp(ca->auth_path + len - 4, ".jwk") == 0;

    if (strcmp(staging->auth_path, ca->auth_path) == 0) {
        staging->auth_path = apr_pstrcat(form->pool,
                                         apr_pstrmemdup(form->ptemp, ca->auth_path,
                                                        len - (jwk ? 4 : 0)),
                                         "-staging", jwk ? ".jwk" : "", NULL);
    }
}

/* The staging of a CA is the section, or the known CA, of its name with -staging behind it. */
static void ca_staging(form_t *form, acme_ca_t *ca, const ca_args_t *said)
{
    const acme_known_ca_t *known = acme_known_ca_at(ca->directory_url);
    const char *name = apr_pstrcat(form->pool, strstr(ca->name, "://") && known ? known->name
                                                                              : ca->name,
                                   "-staging", NULL);
    const acmod_settings_t *section = ca_section(form, name);
    const char *url = known_url(name);
    ca_args_t theirs = *said;
    acme_ca_t *staging;

    if (section) {
        url = acmod_arg(section, ACMOD_AcmeDirectoryURL, url);
        ca_said(&theirs, section, &acmod_server(form->base)->settings);
    }
    if (ca->staging || !url || !strstr(url, "://")
        || strcmp(url, ca->directory_url) == 0) {
        return;
    }
    if (!section || !section->value[ACMOD_AcmeExternalAccount].args) {
        theirs.args[ACMOD_AcmeExternalAccount] = NULL; /* it is good at the one CA only */
    }
    staging = ca_make(form, section ? section->label : name, url, &theirs);
    staging_key(form, staging, ca);
    ca->staging = staging;
}

/* One that is asked for by name. */
static acme_ca_t *ca_wanted(form_t *form, const char *name, const char *url,
                            const acmod_settings_t *near, const acmod_settings_t *far)
{
    ca_args_t said;
    acme_ca_t *ca;

    ca_said(&said, near, far);
    ca = ca_make(form, name, url, &said);
    if (!apr_hash_get(form->ca_told, &ca->index, sizeof(ca->index))) {
        apr_hash_set(form->ca_told, &ca->index, sizeof(ca->index), ca);
        ca_remarks(form, ca);
    }
    ca_staging(form, ca, &said);
    return ca;
}

static void draft_ca(form_t *form, draft_t *draft, apr_array_header_t *cas, const char *name)
{
    const acmod_settings_t *section = ca_section(form, name);
    const acmod_settings_t *flat = draft->outer ? draft->outer : draft->settings;
    const char *url = strstr(name, "://") ? name : known_url(name);

    if (section) {
        url = acmod_arg(section, ACMOD_AcmeDirectoryURL, url);
        flat = &acmod_server(form->base)->settings;
        if (!url || !strstr(url, "://")) {
            acmod_draft_error(draft, form, "<AcmeCA %s> (%s) has no AcmeDirectoryURL with a URL",
                              name, section->where);
            return;
        }
        APR_ARRAY_PUSH(cas, acme_ca_t *) = ca_wanted(form, section->label, url, section, flat);
        return;
    }
    if (!url) {
        acmod_draft_error(draft, form, "AcmeDirectoryURL: there is no <AcmeCA %s>, and it is not "
                          "one of the known names (%s)%s%s", name, known_names(form),
                          acmod_draft_value(draft, ACMOD_AcmeDirectoryURL)->where ? ", " : "",
                          acmod_draft_value(draft, ACMOD_AcmeDirectoryURL)->where
                          ? acmod_draft_value(draft, ACMOD_AcmeDirectoryURL)->where : "");
        return;
    }
    APR_ARRAY_PUSH(cas, acme_ca_t *) = ca_wanted(form, name, url, draft->settings, draft->outer);
}

static int is_staging(const char *name)
{
    const acme_known_ca_t *known = strstr(name, "://") ? acme_known_ca_at(name)
                                                       : acme_known_ca_named(name);

    return known ? known->staging : strstr(name, "staging") != NULL;
}

apr_array_header_t *acmod_ca_list(form_t *form, draft_t *draft)
{
    const apr_array_header_t *args = acmod_draft_value(draft, ACMOD_AcmeDirectoryURL)->args;
    apr_array_header_t *cas = apr_array_make(form->pool, 2, sizeof(acme_ca_t *));
    int i;

    for (i = 0; args && i < args->nelts; i++) {
        const char *name = APR_ARRAY_IDX(args, i, const char *);

        if (args->nelts > 1 && is_staging(name)) {
            acmod_draft_error(draft, form,
                              "AcmeDirectoryURL: the staging CA %s cannot stand in a list with "
                              "others, %s",
                              name, acmod_draft_value(draft, ACMOD_AcmeDirectoryURL)->where);
            continue;
        }
        draft_ca(form, draft, cas, name);
    }
    if (!args) {
        draft_ca(form, draft, cas, "letsencrypt");
    }
    return cas;
}

int acmod_ca_is_private(form_t *form, const char *name)
{
    const acmod_settings_t *section = ca_section(form, name);
    const char *url = section ? acmod_arg(section, ACMOD_AcmeDirectoryURL, known_url(name)) : NULL;

    return url && !acme_known_ca_at(url);
}
