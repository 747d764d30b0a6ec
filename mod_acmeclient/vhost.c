/* Licensed under the Apache License, Version 2.0; see LICENSE. */

/* The vhosts: which of them use a managed certificate, because they say so or because they name its
 * file. */

#include "form.h"

static const char *where_of_server(form_t *form, server_rec *s)
{
    return s->defn_name ? apr_psprintf(form->pool, "%s:%u", s->defn_name, s->defn_line_number)
           : "server config";
}

const char *acmod_vhost_words(form_t *form, server_rec *s)
{
    const char *name = acmod_server(s)->server_name;

    return name ? apr_psprintf(form->pool, "the vhost %s (%s)", name, where_of_server(form, s))
           : apr_psprintf(form->pool, "the vhost at %s", where_of_server(form, s));
}

/* The vhost's own word, then its certificate's section, then the server config. */
static acmod_placeholder_t placeholder_of(const acmod_server_t *sc, const draft_t *draft)
{
    const acmod_value_t *value = &sc->settings.value[ACMOD_AcmePlaceholder];

    if ((!value->args || value->inherited) && draft->outer) {
        value = acmod_draft_value(draft, ACMOD_AcmePlaceholder);
    }
    return value->args
           && acme_ascii_casecmp(APR_ARRAY_IDX(value->args, 0, const char *), "serve") == 0
           ? ACMOD_PLACEHOLDER_SERVE : ACMOD_PLACEHOLDER_503;
}

static acmod_vhost_t *vhost_make(form_t *form, server_rec *s, draft_t *draft)
{
    acmod_server_t *sc = acmod_server(s);
    acmod_vhost_t *vhost = apr_pcalloc(form->pool, sizeof(*vhost));

    vhost->server = s;
    vhost->cert = draft->cert;
    vhost->where = where_of_server(form, s);
    vhost->placeholder = placeholder_of(sc, draft);
    sc->vhost = vhost;
    APR_ARRAY_PUSH(form->conf->vhosts, acmod_vhost_t *) = vhost;
    APR_ARRAY_PUSH(draft->cert->vhosts, acmod_vhost_t *) = vhost;
    return vhost;
}

/* Inherited "AcmeEngine on" leaves vhosts alone that have a certificate; written there it takes
 * over. */
static int wants_management(form_t *form, server_rec *s, const acmod_server_t *sc)
{
    const acmod_value_t *engine = &sc->settings.value[ACMOD_AcmeEngine];
    int here = !engine->inherited || !s->is_virtual;

    if (!engine->args
        || acme_ascii_casecmp(APR_ARRAY_IDX(engine->args, 0, const char *), "on") != 0) {
        return 0;
    }
    if (sc->ssl_engine != 1) {
        if (here && s->is_virtual) {
            acmod_form_remark(form, APLOG_WARNING, "AC0117", s, "%s says AcmeEngine on (%s) but "
                              "not SSLEngine on: no certificate is ordered for it",
                              acmod_vhost_words(form, s), engine->where);
        }
        return 0;
    }
    return here || sc->cert_files->nelts == 0;
}

/* What stands in the vhost but is the section's affair. */
static void remarks_on_unused(form_t *form, server_rec *s, const acmod_server_t *sc,
                              const draft_t *draft)
{
    int i;

    for (i = 0; i < ACMOD_DIRECTIVES; i++) {
        const acmod_value_t *value = &sc->settings.value[i];

        if (value->args && !value->inherited && s->is_virtual && i != ACMOD_AcmeEngine
            && i != ACMOD_AcmeUse && i != ACMOD_AcmePlaceholder && i != ACMOD_AcmeCommonName) {
            acmod_form_remark(form, APLOG_WARNING, "AC0120", s, "%s: %s (%s) has no effect: its "
                              "certificate is that of <AcmeCertificate %s> (%s)",
                              acmod_vhost_words(form, s),
                              acmod_directive_name((acmod_directive_t)i), value->where,
                              draft->settings->label, draft->where);
        }
    }
}

void acmod_vhost_form(form_t *form, server_rec *s)
{
    acmod_server_t *sc = acmod_server(s);
    const char *where = where_of_server(form, s);
    draft_t *draft;

    sc->vhost = NULL;
    if (!wants_management(form, s, sc)) {
        return;
    }
    draft = acmod_draft_of(form, s, where);
    if (!draft) {
        return;
    }
    if (draft->outer) {
        remarks_on_unused(form, s, sc, draft);
    }
    vhost_make(form, s, draft);
}

/* ---- their own files ---- */

typedef struct {
    draft_t *draft;
    int nth; /* of its key types */
} managed_t;

static apr_hash_t *managed_files(form_t *form)
{
    apr_hash_t *managed = apr_hash_make(form->ptemp);
    managed_t *file;
    int i, k;

    for (i = 0; i < form->drafts->nelts; i++) {
        draft_t *draft = APR_ARRAY_IDX(form->drafts, i, draft_t *);

        for (k = 0; k < draft->cert->specs->nelts; k++) {
            file = apr_palloc(form->ptemp, sizeof(*file));
            file->draft = draft;
            file->nth = k;
            apr_hash_set(managed,
                         acmod_form_real_path(form, APR_ARRAY_IDX(draft->cert->specs, k,
                                                                  const acme_spec_t *)->cert_path),
                         APR_HASH_KEY_STRING, file);
        }
    }
    return managed;
}

static void static_file(form_t *form, server_rec *s, const managed_t *file)
{
    acmod_server_t *sc = acmod_server(s);

    if (!file) {
        if (sc->vhost && !sc->vhost->attached_by_path) {
            sc->vhost->has_static = 1;
        }
        return;
    }
    if (!sc->vhost) {
        vhost_make(form, s, file->draft)->attached_by_path = 1 << file->nth;
    }
    else if (sc->vhost->attached_by_path && sc->vhost->cert == file->draft->cert) {
        sc->vhost->attached_by_path |= 1 << file->nth;
    }
}

void acmod_vhost_static_files(form_t *form)
{
    apr_hash_t *managed = managed_files(form);
    int i, k;

    for (k = 0; k < form->servers->nelts; k++) {
        server_rec *s = APR_ARRAY_IDX(form->servers, k, server_rec *);
        acmod_server_t *sc = acmod_server(s);

        for (i = 0; sc->ssl_engine == 1 && i < sc->cert_files->nelts; i++) {
            const char *path = APR_ARRAY_IDX(sc->cert_files, i, const char *);

            static_file(form, s, apr_hash_get(managed, acmod_form_real_path(form, path),
                                              APR_HASH_KEY_STRING));
        }
        if (sc->vhost && sc->vhost->has_static) {
            acmod_form_remark(form, APLOG_NOTICE, "AC0118", s, "%s names a certificate of its "
                              "own: it is served until there is a managed one, then the managed "
                              "one alone", acmod_vhost_words(form, s));
        }
    }
}

/* ---- what others ask ---- */

apr_array_header_t *acmod_vhost_places(const acmod_cert_t *cert, apr_pool_t *pool)
{
    apr_array_header_t *places = apr_array_make(pool, 4, sizeof(const char *));
    int i;

    for (i = 0; i < cert->vhosts->nelts; i++) {
        APR_ARRAY_PUSH(places, const char *) =
            APR_ARRAY_IDX(cert->vhosts, i, const acmod_vhost_t *)->where;
    }
    return places;
}

acmod_vhost_t *acmod_vhost_of(server_rec *s)
{
    return acmod_server(s)->vhost;
}
