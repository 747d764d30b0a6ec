/* Licensed under the Apache License, Version 2.0; see LICENSE. */

/* A certificate while it is being formed: made by an <AcmeCertificate> or by the first of the
 * vhosts that share it, whose settings must say the same. */

#include "form.h"

void acmod_draft_error(draft_t *draft, form_t *form, const char *fmt, ...)
{
    va_list ap;

    if (draft->error) {
        return;
    }
    va_start(ap, fmt);
    draft->error = apr_pvsprintf(form->pool, fmt, ap);
    va_end(ap);
    acmod_form_remark(form, APLOG_ERR, "AC0111", draft->server,
                      "%s: %s; it is not ordered until this is mended", draft->cert->label,
                      draft->error);
}

const acmod_value_t *acmod_draft_value(const draft_t *draft, acmod_directive_t which)
{
    const acmod_value_t *value = &draft->settings->value[which];

    return value->args || !draft->outer ? value : &draft->outer->value[which];
}

const char *acmod_draft_text(const draft_t *draft, acmod_directive_t which, const char *fallback)
{
    const apr_array_header_t *args = acmod_draft_value(draft, which)->args;
    const char *text = args && args->nelts ? APR_ARRAY_IDX(args, 0, const char *) : fallback;

    return text && acme_ascii_casecmp(text, "none") == 0 ? NULL : text;
}

/* The certificate path as written here, in its one spelling; NULL when none is. */
static const char *written_path(form_t *form, const acmod_settings_t *settings)
{
    const char *path = acmod_arg(settings, ACMOD_AcmeCertPath, NULL);

    return path && acme_ascii_casecmp(path, "none") != 0
           ? acmod_form_real_path(form, acmod_form_path(form, path)) : NULL;
}

static draft_t *draft_make(form_t *form, const char *label, const acmod_settings_t *settings,
                           const acmod_settings_t *outer, const char *where)
{
    const char *path = written_path(form, settings);
    draft_t *draft = apr_pcalloc(form->pool, sizeof(*draft));

    draft->cert = apr_pcalloc(form->pool, sizeof(*draft->cert));
    draft->cert->label = label;
    draft->cert->specs = apr_array_make(form->pool, 1, sizeof(acme_spec_t *));
    draft->cert->vhosts = apr_array_make(form->pool, 1, sizeof(acmod_vhost_t *));
    draft->settings = settings;
    draft->outer = outer;
    draft->names = apr_array_make(form->pool, 4, sizeof(const char *));
    draft->known = apr_hash_make(form->ptemp);
    draft->aliases = apr_hash_make(form->ptemp);
    draft->where = where;
    APR_ARRAY_PUSH(form->drafts, draft_t *) = draft;
    APR_ARRAY_PUSH(form->conf->certs, acmod_cert_t *) = draft->cert;
    apr_hash_set(form->by_label, label, APR_HASH_KEY_STRING, draft);
    if (path && !apr_hash_get(form->by_path, path, APR_HASH_KEY_STRING)) {
        apr_hash_set(form->by_path, path, APR_HASH_KEY_STRING, draft);
    }
    return draft;
}

void acmod_draft_sections(form_t *form)
{
    const acmod_server_t *sc = acmod_server(form->base);
    int i, k;

    for (i = 0; i < sc->certificates->nelts; i++) {
        const acmod_settings_t *section = APR_ARRAY_IDX(sc->certificates, i,
                                                        const acmod_settings_t *);
        const char *label = section->label;
        static const acmod_directive_t idle[] = {ACMOD_AcmeEngine, ACMOD_AcmeUse};
        const char *name;
        acme_name_kind_t kind;
        draft_t *draft;
        int is_name = strchr(label, '.') || strchr(label, ':');

        if (is_name && acme_name_normalize(&name, &kind, label, form->pool, NULL) == ACME_OK) {
            label = name;
        }
        draft = draft_make(form, label, section, &sc->settings, section->where);
        if (acmod_arg(section, ACMOD_AcmeCommonName, NULL)) {
            acmod_names_add(form, draft, acmod_arg(section, ACMOD_AcmeCommonName, NULL),
                            section->where, 1);
        }
        if (is_name) {
            acmod_names_add(form, draft, section->label, section->where, 1);
        }
        acmod_names_of_settings(form, draft, section, NULL, section->where);
        for (k = 0; k < 2; k++) {
            if (section->value[idle[k]].args) {
                acmod_form_remark(form, APLOG_WARNING, "AC0121", NULL, "<AcmeCertificate %s>: "
                                  "%s (%s) has no effect: a section always orders its own "
                                  "certificate", section->label,
                                  acmod_directive_name(idle[k]), section->value[idle[k]].where);
            }
        }
        for (k = 0; k < draft->names->nelts; k++) {
            apr_hash_set(form->covering, APR_ARRAY_IDX(draft->names, k, const char *),
                         APR_HASH_KEY_STRING, draft);
        }
    }
}

static draft_t *section_covering(form_t *form, const char *name)
{
    draft_t *draft = apr_hash_get(form->covering, name, APR_HASH_KEY_STRING);
    const char *dot = strchr(name, '.');

    if (!draft && dot) {
        draft = apr_hash_get(form->covering, apr_pstrcat(form->ptemp, "*", dot, NULL),
                             APR_HASH_KEY_STRING);
    }
    return draft;
}

/* Settings of two vhosts that share a certificate must say the same. */
static void compare_settings(form_t *form, draft_t *draft, const acmod_settings_t *other,
                             const char *where)
{
    int i;

    for (i = 0; i < ACMOD_DIRECTIVES; i++) {
        const acmod_value_t *a = acmod_draft_value(draft, (acmod_directive_t)i);
        const acmod_value_t *b = &other->value[i];
        const char *x = a->args ? apr_array_pstrcat(form->ptemp, a->args, ' ') : "";
        const char *y = b->args ? apr_array_pstrcat(form->ptemp, b->args, ' ') : "";
        const char *hidden = acmod_directive_secret((acmod_directive_t)i) ? "(not shown)" : NULL;

        if (i == ACMOD_AcmeNames || i == ACMOD_AcmeEngine || i == ACMOD_AcmeUse
            || i == ACMOD_AcmePlaceholder || i == ACMOD_AcmeCommonName || strcmp(x, y) == 0
            || ((i == ACMOD_AcmeCertPath || i == ACMOD_AcmeKeyPath) && *x && *y
                && strcmp(acmod_form_real_path(form, acmod_form_path(form, x)),
                          acmod_form_real_path(form, acmod_form_path(form, y)))
                   == 0)) {
            continue;
        }
        acmod_draft_error(draft, form,
                          "%s differs between vhosts that share the certificate: \"%s\" (%s) "
                          "and \"%s\" (%s)",
                          acmod_directive_name((acmod_directive_t)i),
                          *x ? hidden ? hidden : x : "default",
                          a->where ? a->where : draft->where,
                          *y ? hidden ? hidden : y : "default",
                          b->where ? b->where : where);
    }
}

/* The canonical first name of a vhost, or NULL with a remark. */
static const char *first_name(form_t *form, server_rec *s, const acmod_server_t *sc)
{
    const char *text = acmod_arg(&sc->settings, ACMOD_AcmeCommonName, NULL);
    const char *name;
    acme_name_kind_t kind;
    acme_error_t err;

    if (!text && !sc->server_name) {
        acmod_form_remark(form, APLOG_ERR, "AC0114", s, "%s has neither ServerName nor "
                          "AcmeCommonName: a name that httpd guessed is never ordered",
                          acmod_vhost_words(form, s));
        return NULL;
    }
    text = text ? text : s->server_hostname;
    acme_error_clear(&err);
    if (acme_name_normalize(&name, &kind, text, form->pool, &err) != ACME_OK) {
        acmod_form_remark(form, APLOG_ERR, "AC0115", s, "%s: no certificate for \"%s\": %s",
                          acmod_vhost_words(form, s), text, err.text);
        return NULL;
    }
    return name;
}

static draft_t *draft_for_use(form_t *form, server_rec *s, const char *use)
{
    const char *name = use;
    acme_name_kind_t kind;
    draft_t *draft = apr_hash_get(form->by_label, use, APR_HASH_KEY_STRING);

    if (!draft && acme_name_normalize(&name, &kind, use, form->ptemp, NULL) == ACME_OK) {
        draft = apr_hash_get(form->by_label, name, APR_HASH_KEY_STRING);
    }
    if (!draft || !draft->outer) {
        acmod_form_remark(form, APLOG_ERR, "AC0116", s, "%s: AcmeUse %s: there is no "
                          "<AcmeCertificate %s>; no certificate is managed for it",
                          acmod_vhost_words(form, s), use, use);
        return NULL;
    }
    return draft;
}

static draft_t *draft_own(form_t *form, server_rec *s, acmod_server_t *sc, const char *first,
                          const char *where)
{
    const char *path = written_path(form, &sc->settings);
    draft_t *draft = apr_hash_get(form->by_label, first, APR_HASH_KEY_STRING);

    if (!draft && path) {
        draft = apr_hash_get(form->by_path, path, APR_HASH_KEY_STRING);
    }
    if (draft) {
        compare_settings(form, draft, &sc->settings, where);
    }
    else {
        draft = draft_make(form, first, &sc->settings, NULL, where);
        draft->server = s;
    }
    acmod_names_add(form, draft, first, where, 1);
    acmod_names_of_settings(form, draft, &sc->settings, s, where);
    return draft;
}

draft_t *acmod_draft_of(form_t *form, server_rec *s, const char *where)
{
    acmod_server_t *sc = acmod_server(s);
    const char *use = acmod_arg(&sc->settings, ACMOD_AcmeUse, NULL);
    const char *first;
    draft_t *draft;

    if (use && acme_ascii_casecmp(use, "own") != 0) {
        return draft_for_use(form, s, use);
    }
    first = first_name(form, s, sc);
    draft = use || !first ? NULL : section_covering(form, first);
    return draft || !first ? draft : draft_own(form, s, sc, first, where);
}
