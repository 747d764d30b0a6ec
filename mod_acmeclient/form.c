/* Licensed under the Apache License, Version 2.0; see LICENSE. */

/* From settings and server_recs to specs: which vhost uses which certificate, under which names,
 * from which CA. Here is the whole: the order of its steps, what concerns all certificates, and the
 * spelling of paths. form.h says who does what of it. */

#include "form.h"

#ifndef ACMOD_DEFAULT_STOREDIR
#define ACMOD_DEFAULT_STOREDIR "/var/lib/acmeclient"
#endif

void acmod_form_remark(form_t *form, int level, const char *code, server_rec *s, const char *fmt,
                       ...)
{
    acmod_remark_t *out = apr_pcalloc(form->pool, sizeof(*out));
    va_list ap;

    va_start(ap, fmt);
    out->text = apr_pvsprintf(form->pool, fmt, ap);
    va_end(ap);
    out->level = level;
    out->code = code;
    out->server = s;
    APR_ARRAY_PUSH(form->conf->remarks, acmod_remark_t *) = out;
}

static const char *resolved(form_t *form, const char *path)
{
    char *real = realpath(path, NULL);
    const char *out = real ? apr_pstrdup(form->ptemp, real) : path;

    free(real);
    return out;
}

const char *acmod_form_real_path(form_t *form, const char *path)
{
    const char *slash = strrchr(path, '/');
    const char *dir, *real;
    apr_finfo_t info;

    info.filetype = APR_NOFILE;
    (void)apr_stat(&info, path, APR_FINFO_TYPE | APR_FINFO_LINK, form->ptemp);
    if (!slash || info.filetype == APR_LNK) {
        return resolved(form, path);
    }
    dir = apr_pstrmemdup(form->ptemp, path, (apr_size_t)(slash - path) + 1);
    real = apr_hash_get(form->real_dirs, dir, APR_HASH_KEY_STRING);
    if (!real) {
        real = resolved(form, dir);
        apr_hash_set(form->real_dirs, dir, APR_HASH_KEY_STRING, real);
    }
    return apr_pstrcat(form->ptemp, real, "/", slash + 1, NULL);
}

const char *acmod_form_path(form_t *form, const char *text)
{
    const char *full = text ? ap_server_root_relative(form->pool, text) : NULL;

    return full ? full : text;
}

static int number_of(const acmod_settings_t *settings, acmod_directive_t which, int fallback)
{
    const char *text = acmod_arg(settings, which, NULL);
    apr_int64_t n;

    return text && acme_scan_number(&n, text, strlen(text), 9, NULL) == ACME_OK ? (int)n : fallback;
}

/* Without slashes at its end: behind them a link would be followed. */
static const char *store_of(form_t *form, const char *text)
{
    char *store = apr_pstrdup(form->pool, acmod_form_path(form, text));
    apr_size_t len = strlen(store);

    while (len > 1 && store[len - 1] == '/') {
        store[--len] = '\0';
    }
    return store;
}

static const char *control_of(form_t *form)
{
    const char *text = acmod_arg(&acmod_server(form->base)->settings, ACMOD_AcmeControl, NULL);

    if (!text) {
        return ap_runtime_dir_relative(form->pool, "acmeclient.sock");
    }
    return acme_ascii_casecmp(text, "off") == 0 ? NULL : acmod_form_path(form, text);
}

/* httpd's own list has the vhosts last one first. */
static void servers_list(form_t *form)
{
    server_rec *s;
    int i, n = 0;

    for (s = form->base; s; s = s->next) {
        n++;
    }
    form->servers = apr_array_make(form->ptemp, n, sizeof(server_rec *));
    form->servers->nelts = n;
    APR_ARRAY_IDX(form->servers, 0, server_rec *) = form->base;
    for (s = form->base->next, i = n - 1; s; s = s->next, i--) {
        APR_ARRAY_IDX(form->servers, i, server_rec *) = s;
    }
}

static void remarks_on_repeats(form_t *form)
{
    int i, k;

    for (k = 0; k < form->servers->nelts; k++) {
        server_rec *s = APR_ARRAY_IDX(form->servers, k, server_rec *);
        acmod_server_t *sc = acmod_server(s);

        for (i = 0; i < sc->repeated->nelts; i++) {
            acmod_form_remark(form, APLOG_WARNING, "AC0119", s, "%s",
                              APR_ARRAY_IDX(sc->repeated, i, const char *));
        }
    }
}

/* ---- a file belongs to one certificate ---- */

typedef struct {
    const draft_t *draft; /* NULL: an account key */
    const char *what;
} claim_t;

static void claim(form_t *form, apr_hash_t *claims, draft_t *draft, const char *what,
                  const char *path)
{
    const char *real = acmod_form_real_path(form, path);
    claim_t *mine = apr_palloc(form->ptemp, sizeof(*mine));
    const claim_t *other = apr_hash_get(claims, real, APR_HASH_KEY_STRING);

    mine->draft = draft;
    mine->what = what;
    if (!other) {
        apr_hash_set(claims, real, APR_HASH_KEY_STRING, mine);
    }
    else if (draft) {
        acmod_draft_error(draft, form, "%s %s (%s) is also the %s of %s%s%s%s", what, path,
                          draft->where, other->what,
                          other->draft ? other->draft->cert->label : "a CA",
                          other->draft ? " (" : "", other->draft ? other->draft->where : "",
                          other->draft ? ")" : "");
    }
}

static void paths_claim(form_t *form)
{
    apr_hash_t *claims = apr_hash_make(form->ptemp);
    int i, k;

    for (i = 0; i < form->conf->cas->nelts; i++) {
        claim(form, claims, NULL, "account key",
              APR_ARRAY_IDX(form->conf->cas, i, const acme_ca_t *)->auth_path);
    }
    for (i = 0; i < form->drafts->nelts; i++) {
        draft_t *draft = APR_ARRAY_IDX(form->drafts, i, draft_t *);

        for (k = 0; k < draft->cert->specs->nelts; k++) {
            const acme_spec_t *spec = APR_ARRAY_IDX(draft->cert->specs, k, const acme_spec_t *);

            claim(form, claims, draft, "certificate file", spec->cert_path);
            claim(form, claims, draft, "key file", spec->key_path);
        }
    }
}

/* ---- the whole ---- */

acmod_conf_t *acmod_form(apr_pool_t *pconf, apr_pool_t *ptemp, server_rec *base)
{
    const acmod_settings_t *settings = &acmod_server(base)->settings;
    acmod_conf_t *conf = apr_pcalloc(pconf, sizeof(*conf));
    form_t form;
    int i;

    memset(&form, 0, sizeof(form));
    form.conf = conf;
    form.pool = pconf;
    form.ptemp = ptemp;
    form.base = base;
    form.by_label = apr_hash_make(ptemp);
    form.by_path = apr_hash_make(ptemp);
    form.real_dirs = apr_hash_make(ptemp);
    form.covering = apr_hash_make(ptemp);
    form.ca_by_key = apr_hash_make(ptemp);
    form.ca_told = apr_hash_make(ptemp);
    form.drafts = apr_array_make(ptemp, 16, sizeof(draft_t *));
    conf->cas = apr_array_make(pconf, 2, sizeof(acme_ca_t *));
    conf->specs = apr_array_make(pconf, 16, sizeof(acme_spec_t *));
    conf->certs = apr_array_make(pconf, 16, sizeof(acmod_cert_t *));
    conf->vhosts = apr_array_make(pconf, 16, sizeof(acmod_vhost_t *));
    conf->remarks = apr_array_make(pconf, 4, sizeof(acmod_remark_t *));
    conf->store_dir = store_of(&form, acmod_arg(settings, ACMOD_AcmeStoreDir,
                                                ACMOD_DEFAULT_STOREDIR));
    conf->control = control_of(&form);
    conf->backups = number_of(settings, ACMOD_AcmeBackups, 3);
    conf->workers = number_of(settings, ACMOD_AcmeWorkers, 8);
    servers_list(&form);
    remarks_on_repeats(&form);
    acmod_draft_sections(&form);
    for (i = 0; i < form.servers->nelts; i++) {
        acmod_vhost_form(&form, APR_ARRAY_IDX(form.servers, i, server_rec *));
    }
    acmod_challenge_auto(&form);
    for (i = 0; i < form.drafts->nelts; i++) {
        acmod_spec_form(&form, APR_ARRAY_IDX(form.drafts, i, draft_t *));
    }
    acmod_challenge_remark_on_tls_sni(&form);
    acmod_names_remarks(&form);
    acmod_vhost_static_files(&form);
    paths_claim(&form);
    acmod_spec_close(&form);
    acmod_command_form(conf, settings, pconf);
    return conf;
}
