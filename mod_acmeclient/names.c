/* Licensed under the Apache License, Version 2.0; see LICENSE. */

/* The names of a certificate: those of its vhosts, more or less what AcmeNames says; which of them
 * is the common name, which may be missing, and which of a vhost's it does not have. */

#include "form.h"

void acmod_names_add(form_t *form, draft_t *draft, const char *text, const char *where,
                     int explicit)
{
    const char *name, *why;
    acme_name_kind_t kind;
    acme_error_t err;

    acme_error_clear(&err);
    if (acme_name_normalize(&name, &kind, text, form->pool, &err) != ACME_OK) {
        why = err.text;
    }
    else if (kind == ACME_NAME_WILDCARD && !acmod_challenge_proves_wildcards(draft)) {
        why = "a wildcard needs dns-01 (AcmeDns01Command)";
    }
    else {
        const char *directory = acmod_draft_text(draft, ACMOD_AcmeDirectoryURL, "letsencrypt");
        int private = acmod_draft_text(draft, ACMOD_AcmeCAFile, NULL)
                      || (directory && acmod_ca_is_private(form, directory));

        why = acme_name_uncertifiable(name, kind, !private);
    }
    if (!why) {
        if (explicit) {
            apr_hash_set(draft->aliases, name, APR_HASH_KEY_STRING, NULL);
        }
        if (!apr_hash_get(draft->known, name, APR_HASH_KEY_STRING)) {
            apr_hash_set(draft->known, name, APR_HASH_KEY_STRING, name);
            APR_ARRAY_PUSH(draft->names, const char *) = name;
        }
    }
    else if (explicit) {
        acmod_draft_error(draft, form, "%s cannot be ordered: %s (%s)", text, why, where);
    }
    else {
        acmod_form_remark(form, APLOG_WARNING, "AC0113", draft->server,
                          "%s: the alias %s is left out of the certificate: %s (%s)",
                          draft->cert->label, text, why, where);
    }
}

/* 0: it was not there. */
static int remove_name(draft_t *draft, const char *name)
{
    int i, kept = 0, n = draft->names->nelts;

    for (i = 0; i < draft->names->nelts; i++) {
        const char *have = APR_ARRAY_IDX(draft->names, i, const char *);

        if (strcmp(have, name) != 0) {
            APR_ARRAY_IDX(draft->names, kept++, const char *) = have;
        }
    }
    draft->names->nelts = kept;
    apr_hash_set(draft->known, name, APR_HASH_KEY_STRING, NULL);
    return kept < n;
}

static void add_alias(form_t *form, draft_t *draft, const char *text, const char *where)
{
    const char *name;
    acme_name_kind_t kind;
    int named = acme_name_normalize(&name, &kind, text, form->pool, NULL) == ACME_OK;

    if (named && !apr_hash_get(draft->known, name, APR_HASH_KEY_STRING)) {
        apr_hash_set(draft->aliases, name, APR_HASH_KEY_STRING, name);
    }
    acmod_names_add(form, draft, text, where, 0);
}

static void names_of_server(form_t *form, draft_t *draft, server_rec *s, const char *where)
{
    const apr_array_header_t *lists[2] = {s->names, s->wild_names};
    int i, k;

    if (acmod_server(s)->server_name) {
        acmod_names_add(form, draft, s->server_hostname, where, 0);
    }
    for (k = 0; k < 2; k++) {
        for (i = 0; lists[k] && i < lists[k]->nelts; i++) {
            add_alias(form, draft, APR_ARRAY_IDX(lists[k], i, const char *), where);
        }
    }
}

void acmod_names_of_settings(form_t *form, draft_t *draft, const acmod_settings_t *settings,
                             server_rec *s, const char *where)
{
    const acmod_value_t *value = &settings->value[ACMOD_AcmeNames];
    int i, relative = !value->args;

    for (i = 0; value->args && i < value->args->nelts; i++) {
        const char *arg = APR_ARRAY_IDX(value->args, i, const char *);

        relative |= *arg == '+' || *arg == '-' || acme_ascii_casecmp(arg, "auto") == 0;
    }
    if (relative && s) {
        names_of_server(form, draft, s, where);
    }
    for (i = 0; value->args && i < value->args->nelts; i++) {
        const char *arg = APR_ARRAY_IDX(value->args, i, const char *);
        const char *name;
        acme_name_kind_t kind;

        if (acme_ascii_casecmp(arg, "auto") == 0) {
            continue;
        }
        if (*arg != '-') {
            acmod_names_add(form, draft, arg + (*arg == '+'), value->where, 1);
        }
        else if (acme_name_normalize(&name, &kind, arg + 1, form->ptemp, NULL) == ACME_OK
                 && !remove_name(draft, name)) {
            acmod_form_remark(form, APLOG_WARNING, "AC0127", draft->server, "%s: AcmeNames %s "
                              "takes nothing away: that is none of its names (%s)",
                              draft->cert->label, arg, value->where);
        }
    }
}

apr_array_header_t *acmod_names_dispensable(form_t *form, const draft_t *draft)
{
    const char *text = acmod_draft_text(draft, ACMOD_AcmePartial, NULL);
    apr_array_header_t *out = apr_array_make(form->pool, 1, sizeof(const char *));
    int i, all = text && acme_ascii_casecmp(text, "on") == 0;

    for (i = 1; (all || !text) && i < draft->names->nelts; i++) {
        const char *name = APR_ARRAY_IDX(draft->names, i, const char *);

        if (all || apr_hash_get(draft->aliases, name, APR_HASH_KEY_STRING)) {
            APR_ARRAY_PUSH(out, const char *) = name;
        }
    }
    return out->nelts > 0 ? out : NULL;
}

/* RFC 5280: a common name has at most 64 characters; CA/Browser Forum: it is one of the names. */
const char *acmod_names_common(form_t *form, draft_t *draft)
{
    const char *text = acmod_arg(draft->settings, ACMOD_AcmeCommonName, NULL);
    const char *name, *why = NULL;
    acme_name_kind_t kind;

    if (!text || acme_name_normalize(&name, &kind, text, form->pool, NULL) != ACME_OK) {
        return NULL;
    }
    if (strlen(name) > 64) {
        why = "it is longer than 64 characters";
    }
    else if (!acme_names_contain(draft->names, name)) {
        why = "it is not ordered by itself";
    }
    if (why) {
        acmod_form_remark(form, APLOG_NOTICE, "AC0125", draft->server, "%s: the request has no "
                          "common name, only the list of names: %s (%s)", name, why,
                          draft->settings->value[ACMOD_AcmeCommonName].where);
    }
    return why ? NULL : name;
}

/* Has the certificate a name, wildcards included, for this one? */
static int covers(form_t *form, const draft_t *draft, const char *name)
{
    const char *dot = strchr(name, '.');

    return apr_hash_get(draft->known, name, APR_HASH_KEY_STRING)
           || (dot && apr_hash_get(draft->known, apr_pstrcat(form->ptemp, "*", dot, NULL),
                                   APR_HASH_KEY_STRING));
}

/* A name by which clients may come and that its certificate does not have: they will complain. */
static void remark_on_name(form_t *form, const draft_t *draft, const acmod_vhost_t *vhost,
                           const char *text)
{
    const char *name;
    acme_name_kind_t kind;

    if (acme_name_normalize(&name, &kind, text, form->ptemp, NULL) != ACME_OK) {
        return;
    }
    if (draft->outer && !covers(form, draft, name)) {
        acmod_form_remark(form, APLOG_WARNING, "AC0123", vhost->server, "%s: its certificate is "
                          "that of <AcmeCertificate %s> (%s), which has no name for %s",
                          acmod_vhost_words(form, vhost->server), draft->settings->label,
                          draft->where, text);
    }
    if (!acme_idn_is_ascii(text) && strcmp(name, vhost->server->server_hostname) != 0
        && (!vhost->server->names || !acme_names_contain(vhost->server->names, name))) {
        acmod_form_remark(form, APLOG_WARNING, "AC0124", vhost->server, "%s: clients ask for %s, "
                          "as which httpd does not know %s: write ServerAlias %s as well",
                          acmod_vhost_words(form, vhost->server), name, text, name);
    }
}

void acmod_names_remarks(form_t *form)
{
    int i, k, n;

    for (i = 0; i < form->drafts->nelts; i++) {
        const draft_t *draft = APR_ARRAY_IDX(form->drafts, i, const draft_t *);

        for (k = 0; k < draft->cert->vhosts->nelts; k++) {
            const acmod_vhost_t *vhost = APR_ARRAY_IDX(draft->cert->vhosts, k,
                                                       const acmod_vhost_t *);
            const apr_array_header_t *aliases = vhost->server->names;

            if (vhost->attached_by_path || !acmod_server(vhost->server)->server_name) {
                continue;
            }
            remark_on_name(form, draft, vhost, vhost->server->server_hostname);
            for (n = 0; aliases && n < aliases->nelts; n++) {
                remark_on_name(form, draft, vhost, APR_ARRAY_IDX(aliases, n, const char *));
            }
        }
    }
}
