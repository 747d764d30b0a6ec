/* Licensed under the Apache License, Version 2.0; see LICENSE. */

/* From settings and server_recs to specs: which vhost uses which certificate, under which names,
 * from which CA. A contradiction is one certificate's error, never the server's. Linear in the
 * number of vhosts and names. */

#include "config.h"

#include "ap_listen.h"
#include "ap_mpm.h"
#include "http_core.h"

#ifndef ACMOD_DEFAULT_STOREDIR
#define ACMOD_DEFAULT_STOREDIR "/var/lib/acmeclient"
#endif

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
    apr_hash_t *by_path;    /* draft_t by written certificate path, as real_path spells it */
    apr_hash_t *real_dirs;  /* directory -> its one spelling */
    apr_hash_t *covering;   /* draft_t of sections by each of their names */
    apr_hash_t *ca_by_key;  /* acme_ca_t by everything that makes it */
    apr_hash_t *ca_told;    /* those that what they lack is told of, by index */
    apr_array_header_t *servers; /* server_rec *, the main one first, then in the order written */
    apr_array_header_t *drafts;
    apr_array_header_t *sections; /* draft_t * that are <AcmeCertificate> */
    acme_challenge_type_t auto_types[ACME_CH_TYPES];
    int n_auto;
} form_t;

static void remark(form_t *form, int level, const char *code, server_rec *s, const char *fmt, ...)
    __attribute__((format(printf, 5, 6)));

static void remark(form_t *form, int level, const char *code, server_rec *s, const char *fmt, ...)
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

static void draft_error(draft_t *draft, form_t *form, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

static void draft_error(draft_t *draft, form_t *form, const char *fmt, ...)
{
    va_list ap;

    if (draft->error) {
        return;
    }
    va_start(ap, fmt);
    draft->error = apr_pvsprintf(form->pool, fmt, ap);
    va_end(ap);
    remark(form, APLOG_ERR, "AC0111", draft->server,
           "%s: %s; it is not ordered until this is mended", draft->cert->label, draft->error);
}

static const char *where_of_server(form_t *form, server_rec *s)
{
    return s->defn_name ? apr_psprintf(form->pool, "%s:%u", s->defn_name, s->defn_line_number)
           : "server config";
}

/* "the vhost a.test (httpd.conf:12)" */
static const char *words_of_server(form_t *form, server_rec *s)
{
    const char *name = acmod_server(s)->server_name;

    return name ? apr_psprintf(form->pool, "the vhost %s (%s)", name, where_of_server(form, s))
           : apr_psprintf(form->pool, "the vhost at %s", where_of_server(form, s));
}

static const char *resolved(form_t *form, const char *path)
{
    char *real = realpath(path, NULL);
    const char *out = real ? apr_pstrdup(form->ptemp, real) : path;

    free(real);
    return out;
}

/* One spelling for a file, also for one that is not there yet: links and // resolved. Directories
 * are asked for once. */
static const char *real_path(form_t *form, const char *path)
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

/* The nearest context that says something: the certificate's own, then the server config. */
static const acmod_value_t *value_of(const draft_t *draft, acmod_directive_t which)
{
    const acmod_value_t *value = &draft->settings->value[which];

    return value->args || !draft->outer ? value : &draft->outer->value[which];
}

static const char *text_of(const draft_t *draft, acmod_directive_t which, const char *fallback)
{
    const apr_array_header_t *args = value_of(draft, which)->args;
    const char *text = args && args->nelts ? APR_ARRAY_IDX(args, 0, const char *) : fallback;

    return text && acme_ascii_casecmp(text, "none") == 0 ? NULL : text;
}

static int number_of(const acmod_settings_t *settings, acmod_directive_t which, int fallback)
{
    const char *text = acmod_arg(settings, which, NULL);
    apr_int64_t n;

    return text && acme_scan_number(&n, text, strlen(text), 9, NULL) == ACME_OK ? (int)n : fallback;
}

/* ---- certification authorities ---- */

static const char *path_of(form_t *form, const char *text)
{
    const char *full = text ? ap_server_root_relative(form->pool, text) : NULL;

    return full ? full : text;
}

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
        ca->eab_file = path_of(form, first);
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

    ca->ca_file = path_of(form, ca_arg(said, ACMOD_AcmeCAFile, 0));
    ca->proxy = ca_arg(said, ACMOD_AcmeProxy, 0);
    ca->proxy_file = path_of(form, ca_arg(said, ACMOD_AcmeProxy, 1));
    ca->contacts = contacts_of(form, said->args[ACMOD_AcmeEmail]);
    ca->terms_agreed = ca_arg(said, ACMOD_AcmeTermsOfService, 0) != NULL;
    ca->terms_needed = known && known->terms;
    ca->eab_needed = known ? known->external : NULL;
    ca_external(form, ca, said);
    if (key_type) {
        acme_key_type_parse(&ca->account_key_type, key_type);
    }
    ca->auth_path = auth_path ? path_of(form, auth_path)
                    : acme_account_path(form->conf->store_dir, ca->directory_url, form->pool);
    ca_rate(ca, ca_arg(said, ACMOD_AcmeOrderRate, 0));
}

/* What its account will need and does not have. */
static void ca_remarks(form_t *form, const acme_ca_t *ca)
{
    if (!ca->terms_agreed && (ca->terms_needed || !ca->ca_file)) {
        remark(form, APLOG_WARNING, "AC0112", NULL, "CA %s: its terms are not agreed to; %s "
               "without \"AcmeTermsOfService accepted\"", ca->name,
               ca->terms_needed ? "no account is registered there and it gets no request"
                                : "public CAs refuse orders");
    }
    if (ca->eab_needed && !ca->eab_kid && !ca->eab_file) {
        remark(form, APLOG_WARNING, "AC0149", NULL,
               "CA %s: it registers accounts only with an external account and gets no request "
               "without; wanted: AcmeExternalAccount with what %s gives you", ca->name,
               ca->eab_needed);
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
            draft_error(draft, form, "<AcmeCA %s> (%s) has no AcmeDirectoryURL with a URL", name,
                        section->where);
            return;
        }
        APR_ARRAY_PUSH(cas, acme_ca_t *) = ca_wanted(form, section->label, url, section, flat);
        return;
    }
    if (!url) {
        draft_error(draft, form, "AcmeDirectoryURL: there is no <AcmeCA %s>, and it is not one of "
                    "the known names (%s)%s%s", name, known_names(form),
                    value_of(draft, ACMOD_AcmeDirectoryURL)->where ? ", " : "",
                    value_of(draft, ACMOD_AcmeDirectoryURL)->where
                    ? value_of(draft, ACMOD_AcmeDirectoryURL)->where : "");
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

static apr_array_header_t *draft_cas(form_t *form, draft_t *draft)
{
    const apr_array_header_t *args = value_of(draft, ACMOD_AcmeDirectoryURL)->args;
    apr_array_header_t *cas = apr_array_make(form->pool, 2, sizeof(acme_ca_t *));
    int i;

    for (i = 0; args && i < args->nelts; i++) {
        const char *name = APR_ARRAY_IDX(args, i, const char *);

        if (args->nelts > 1 && is_staging(name)) {
            draft_error(draft, form,
                        "AcmeDirectoryURL: the staging CA %s cannot stand in a list with "
                        "others, %s",
                        name, value_of(draft, ACMOD_AcmeDirectoryURL)->where);
            continue;
        }
        draft_ca(form, draft, cas, name);
    }
    if (!args) {
        draft_ca(form, draft, cas, "letsencrypt");
    }
    return cas;
}

/* May the CA know names that no public one does? */
static int is_private(form_t *form, const char *name)
{
    const acmod_settings_t *section = ca_section(form, name);
    const char *url = section ? acmod_arg(section, ACMOD_AcmeDirectoryURL, known_url(name)) : NULL;

    return url && !acme_known_ca_at(url);
}

/* ---- names ---- */

/* By a program, or by a record that the administrator publishes once. */
static int proves_wildcards(const draft_t *draft)
{
    const apr_array_header_t *args = value_of(draft, ACMOD_AcmeChallenges)->args;
    acme_challenge_type_t type;
    int i;

    for (i = 0; args && i < args->nelts; i++) {
        if (acme_challenge_type_parse(&type, APR_ARRAY_IDX(args, i, const char *)) == ACME_OK
            && acme_challenge_type_is_dns(type)) {
            return 1;
        }
    }
    return text_of(draft, ACMOD_AcmeDns01Command, NULL)
           && (!args || acme_ascii_casecmp(APR_ARRAY_IDX(args, 0, const char *), "auto") == 0);
}

static void add_name(form_t *form, draft_t *draft, const char *text, const char *where,
                     int explicit)
{
    const char *name, *why;
    acme_name_kind_t kind;
    acme_error_t err;

    acme_error_clear(&err);
    if (acme_name_normalize(&name, &kind, text, form->pool, &err) != ACME_OK) {
        why = err.text;
    }
    else if (kind == ACME_NAME_WILDCARD && !proves_wildcards(draft)) {
        why = "a wildcard needs dns-01 (AcmeDns01Command)";
    }
    else {
        const char *directory = text_of(draft, ACMOD_AcmeDirectoryURL, "letsencrypt");
        int private = text_of(draft, ACMOD_AcmeCAFile, NULL)
                      || (directory && is_private(form, directory));

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
        draft_error(draft, form, "%s cannot be ordered: %s (%s)", text, why, where);
    }
    else {
        remark(form, APLOG_WARNING, "AC0113", draft->server,
               "%s: the alias %s is left out of the certificate: %s (%s)", draft->cert->label, text,
               why, where);
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
    add_name(form, draft, text, where, 0);
}

static void names_of_server(form_t *form, draft_t *draft, server_rec *s, const char *where)
{
    const apr_array_header_t *lists[2] = {s->names, s->wild_names};
    int i, k;

    if (acmod_server(s)->server_name) {
        add_name(form, draft, s->server_hostname, where, 0);
    }
    for (k = 0; k < 2; k++) {
        for (i = 0; lists[k] && i < lists[k]->nelts; i++) {
            add_alias(form, draft, APR_ARRAY_IDX(lists[k], i, const char *), where);
        }
    }
}

/* AcmeNames of a context: exactly these, or those of the server plus and minus. */
static void names_of_settings(form_t *form, draft_t *draft, const acmod_settings_t *settings,
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
            add_name(form, draft, arg + (*arg == '+'), value->where, 1);
        }
        else if (acme_name_normalize(&name, &kind, arg + 1, form->ptemp, NULL) == ACME_OK
                 && !remove_name(draft, name)) {
            remark(form, APLOG_WARNING, "AC0127", draft->server, "%s: AcmeNames %s takes nothing "
                   "away: that is none of its names (%s)", draft->cert->label, arg, value->where);
        }
    }
}

/* ---- drafts ---- */

/* The certificate path as written here, in its one spelling; NULL when none is. */
static const char *written_path(form_t *form, const acmod_settings_t *settings)
{
    const char *path = acmod_arg(settings, ACMOD_AcmeCertPath, NULL);

    return path && acme_ascii_casecmp(path, "none") != 0 ? real_path(form, path_of(form, path))
           : NULL;
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

static void sections_make(form_t *form)
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
        APR_ARRAY_PUSH(form->sections, draft_t *) = draft;
        if (acmod_arg(section, ACMOD_AcmeCommonName, NULL)) {
            add_name(form, draft, acmod_arg(section, ACMOD_AcmeCommonName, NULL), section->where,
                     1);
        }
        if (is_name) {
            add_name(form, draft, section->label, section->where, 1);
        }
        names_of_settings(form, draft, section, NULL, section->where);
        for (k = 0; k < 2; k++) {
            if (section->value[idle[k]].args) {
                remark(form, APLOG_WARNING, "AC0121", NULL, "<AcmeCertificate %s>: %s (%s) has no "
                       "effect: a section always orders its own certificate", section->label,
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
        const acmod_value_t *a = value_of(draft, (acmod_directive_t)i);
        const acmod_value_t *b = &other->value[i];
        const char *x = a->args ? apr_array_pstrcat(form->ptemp, a->args, ' ') : "";
        const char *y = b->args ? apr_array_pstrcat(form->ptemp, b->args, ' ') : "";
        const char *hidden = acmod_directive_secret((acmod_directive_t)i) ? "(not shown)" : NULL;

        if (i == ACMOD_AcmeNames || i == ACMOD_AcmeEngine || i == ACMOD_AcmeUse
            || i == ACMOD_AcmePlaceholder || i == ACMOD_AcmeCommonName || strcmp(x, y) == 0
            || ((i == ACMOD_AcmeCertPath || i == ACMOD_AcmeKeyPath) && *x && *y
                && strcmp(real_path(form, path_of(form, x)), real_path(form, path_of(form, y)))
                   == 0)) {
            continue;
        }
        draft_error(draft, form,
                    "%s differs between vhosts that share the certificate: \"%s\" (%s) "
                    "and \"%s\" (%s)",
                    acmod_directive_name((acmod_directive_t)i),
                    *x ? hidden ? hidden : x : "default",
                    a->where ? a->where : draft->where,
                    *y ? hidden ? hidden : y : "default",
                    b->where ? b->where : where);
    }
}

/* ---- vhosts ---- */

/* The vhost's own word, then its certificate's section, then the server config. */
static acmod_placeholder_t placeholder_of(const acmod_server_t *sc, const draft_t *draft)
{
    const acmod_value_t *value = &sc->settings.value[ACMOD_AcmePlaceholder];

    if ((!value->args || value->inherited) && draft->outer) {
        value = value_of(draft, ACMOD_AcmePlaceholder);
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

/* The canonical first name of a vhost, or NULL with a remark. */
static const char *first_name(form_t *form, server_rec *s, const acmod_server_t *sc)
{
    const char *text = acmod_arg(&sc->settings, ACMOD_AcmeCommonName, NULL);
    const char *name;
    acme_name_kind_t kind;
    acme_error_t err;

    if (!text && !sc->server_name) {
        remark(form, APLOG_ERR, "AC0114", s, "%s has neither ServerName nor AcmeCommonName: a name "
               "that httpd guessed is never ordered", words_of_server(form, s));
        return NULL;
    }
    text = text ? text : s->server_hostname;
    acme_error_clear(&err);
    if (acme_name_normalize(&name, &kind, text, form->pool, &err) != ACME_OK) {
        remark(form, APLOG_ERR, "AC0115", s, "%s: no certificate for \"%s\": %s",
               words_of_server(form, s), text, err.text);
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
        remark(form, APLOG_ERR, "AC0116", s, "%s: AcmeUse %s: there is no <AcmeCertificate %s>; no "
               "certificate is managed for it", words_of_server(form, s), use, use);
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
    add_name(form, draft, first, where, 1);
    names_of_settings(form, draft, &sc->settings, s, where);
    return draft;
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
            remark(form, APLOG_WARNING, "AC0117", s, "%s says AcmeEngine on (%s) but not SSLEngine "
                   "on: no certificate is ordered for it", words_of_server(form, s), engine->where);
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
            remark(form, APLOG_WARNING, "AC0120", s, "%s: %s (%s) has no effect: its certificate "
                   "is that of <AcmeCertificate %s> (%s)", words_of_server(form, s),
                   acmod_directive_name((acmod_directive_t)i), value->where,
                   draft->settings->label, draft->where);
        }
    }
}

static void vhost_form(form_t *form, server_rec *s)
{
    acmod_server_t *sc = acmod_server(s);
    const char *where = where_of_server(form, s);
    const char *use, *first;
    draft_t *draft;

    sc->vhost = NULL;
    if (!wants_management(form, s, sc)) {
        return;
    }
    use = acmod_arg(&sc->settings, ACMOD_AcmeUse, NULL);
    if (use && acme_ascii_casecmp(use, "own") != 0) {
        draft = draft_for_use(form, s, use);
    }
    else {
        first = first_name(form, s, sc);
        draft = use || !first ? NULL : section_covering(form, first);
        draft = draft || !first ? draft : draft_own(form, s, sc, first, where);
    }
    if (!draft) {
        return;
    }
    if (draft->outer) {
        remarks_on_unused(form, s, sc, draft);
    }
    vhost_make(form, s, draft);
}

/* ---- from drafts to specs ---- */

static const char *typed_path(form_t *form, const char *path, acme_key_type_t type, int nth,
                              const char *kind)
{
    apr_size_t len = strlen(path);
    const char *suffix = apr_pstrcat(form->ptemp, ".", kind, ".pem", NULL);
    apr_size_t cut = strlen(suffix);

    if (nth == 0) {
        return path;
    }
    if (len <= cut || strcmp(path + len - cut, suffix) != 0) {
        suffix = len > 4 && strcmp(path + len - 4, ".pem") == 0 ? ".pem" : "";
        cut = strlen(suffix);
    }
    return apr_pstrcat(form->pool, apr_pstrmemdup(form->ptemp, path, len - cut), ".",
                       acme_key_type_file(type), suffix, NULL);
}

static void spec_paths(form_t *form, draft_t *draft, acme_spec_t *spec, const char *file, int nth)
{
    const char *cert = path_of(form, text_of(draft, ACMOD_AcmeCertPath, NULL));
    const char *key = path_of(form, text_of(draft, ACMOD_AcmeKeyPath, NULL));

    cert = cert ? cert : apr_psprintf(form->pool, "%s/%s.crt.pem", form->conf->store_dir, file);
    key = key ? key : apr_psprintf(form->pool, "%s/%s.key.pem", form->conf->store_dir, file);
    spec->cert_path = typed_path(form, cert, spec->key_type, nth, "crt");
    spec->key_path = typed_path(form, key, spec->key_type, nth, "key");
}

static void spec_renewal(draft_t *draft, acme_spec_t *spec)
{
    const char *text = text_of(draft, ACMOD_AcmeRenewBefore, "auto");
    apr_int64_t percent;
    apr_size_t len = text ? strlen(text) : 0;

    if (!text || acme_ascii_casecmp(text, "auto") == 0) {
        return;
    }
    if (text[len - 1] == '%') {
        acme_scan_number(&percent, text, len - 1, 3, NULL);
        spec->renew_before_percent = (int)percent;
    }
    else {
        acme_duration_parse(&spec->renew_before, text, NULL);
    }
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
    const apr_array_header_t *args = value_of(draft, ACMOD_AcmeChallenges)->args;
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
    const apr_array_header_t *args = value_of(draft, ACMOD_AcmeDns01Command)->args;
    apr_array_header_t *command;

    acme_duration_parse(&spec->dns01_timeout, text_of(draft, ACMOD_AcmeDns01Timeout, "60s"), NULL);
    acme_duration_parse(&spec->dns01_propagation,
                        text_of(draft, ACMOD_AcmeDns01Propagation, "120s"), NULL);
    if (!args || acme_ascii_casecmp(APR_ARRAY_IDX(args, 0, const char *), "none") == 0) {
        return;
    }
    command = apr_array_copy(form->pool, args);
    APR_ARRAY_IDX(command, 0, const char *)
        = path_of(form, APR_ARRAY_IDX(args, 0, const char *));
    spec->dns01_command = command;
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
            draft_error(draft, form, "AcmeChallenges: %s needs AcmeDns01Command, %s",
                        acme_challenge_type_name(type),
                        value_of(draft, ACMOD_AcmeChallenges)->where);
        }
    }
    if (program && !acmod_command_is_program(program, form->ptemp)) {
        remark(form, APLOG_WARNING, "AC0433", draft->server,
               "%s: AcmeDns01Command: %s is no executable file, %s", draft->cert->label, program,
               value_of(draft, ACMOD_AcmeDns01Command)->where);
    }
}

/* AcmePartial: what is left out rather than lose the rest; never the first. */
static apr_array_header_t *dispensable(form_t *form, const draft_t *draft)
{
    const char *text = text_of(draft, ACMOD_AcmePartial, NULL);
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
static const char *common_name(form_t *form, draft_t *draft)
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
        remark(form, APLOG_NOTICE, "AC0125", draft->server, "%s: the request has no common name, "
               "only the list of names: %s (%s)", name, why,
               draft->settings->value[ACMOD_AcmeCommonName].where);
    }
    return why ? NULL : name;
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
            draft_error(draft, form, "no type of AcmeChallenges can prove %s, an address needs "
                        "http-01 or tls-alpn-01 (%s)", authz.name,
                        value_of(draft, ACMOD_AcmeChallenges)->where
                        ? value_of(draft, ACMOD_AcmeChallenges)->where : draft->where);
        }
    }
}

static int is_on(const draft_t *draft, acmod_directive_t which, const char *fallback)
{
    return acme_ascii_casecmp(text_of(draft, which, fallback), "on") == 0;
}

static void spec_kind(const draft_t *draft, acme_spec_t *spec)
{
    const apr_array_header_t *profile = value_of(draft, ACMOD_AcmeProfile)->args;

    spec->key_reuse = is_on(draft, ACMOD_AcmeKeyReuse, "off");
    spec->ari = is_on(draft, ACMOD_AcmeARI, "on");
    spec->profile = text_of(draft, ACMOD_AcmeProfile, NULL);
    spec->profile_required = spec->profile && profile->nelts > 1;
    spec->preferred_chain = text_of(draft, ACMOD_AcmePreferredChain, NULL);
    spec->must_staple = is_on(draft, ACMOD_AcmeMustStaple, "off");
    if (spec->must_staple) {
        spec->activate = ACME_ACTIVATE_RESTART; /* mod_ssl staples only what it loaded itself */
    }
}

static void spec_policy(draft_t *draft, acme_spec_t *spec)
{
    apr_int64_t n = 3;
    const char *failover = text_of(draft, ACMOD_AcmeFailoverAfter, "3");

    spec->country = text_of(draft, ACMOD_AcmeCountry, NULL);
    spec->state = text_of(draft, ACMOD_AcmeState, NULL);
    spec->locality = text_of(draft, ACMOD_AcmeLocality, NULL);
    spec->organization = text_of(draft, ACMOD_AcmeOrganization, NULL);
    spec->activate = acme_ascii_casecmp(text_of(draft, ACMOD_AcmeActivate, "now"), "restart") == 0
                     ? ACME_ACTIVATE_RESTART : ACME_ACTIVATE_NOW;
    spec->self_check = acme_ascii_casecmp(text_of(draft, ACMOD_AcmeSelfCheck, "on"), "on") == 0;
    acme_scan_number(&n, failover, strlen(failover), 9, NULL);
    spec->failover_after = (int)n;
    spec_renewal(draft, spec);
    spec_kind(draft, spec);
}

static int serves_rsa(const draft_t *draft, const apr_array_header_t *types)
{
    acme_key_type_t type;
    int i;

    for (i = 0; types && i < types->nelts; i++) {
        if (acme_key_type_parse(&type, APR_ARRAY_IDX(types, i, const char *)) == ACME_OK
            && acme_key_type_is_rsa(type)) {
            return 1;
        }
    }
    for (i = 0; i < draft->cert->vhosts->nelts; i++) {
        if (APR_ARRAY_IDX(draft->cert->vhosts, i, const acmod_vhost_t *)->has_static) {
            return 1;
        }
    }
    return 0;
}

/* CAs that end an order for a must-staple certificate with badCSR (Let's Encrypt since May
 * 2025). */
static void remark_on_staple(form_t *form, draft_t *draft, const apr_array_header_t *cas)
{
    int i;

    for (i = 0; is_on(draft, ACMOD_AcmeMustStaple, "off") && i < cas->nelts; i++) {
        const acme_ca_t *ca = APR_ARRAY_IDX(cas, i, const acme_ca_t *);

        if (strstr(ca->directory_url, ".letsencrypt.org/")) {
            remark(form, APLOG_WARNING, "AC0160", draft->server,
                   "%s: AcmeMustStaple on (%s): %s refuses such requests; use another CA, or "
                   "AcmeMustStaple off", draft->cert->label,
                   value_of(draft, ACMOD_AcmeMustStaple)->where, ca->name);
        }
    }
}

static void specs_of(form_t *form, draft_t *draft)
{
    const apr_array_header_t *types = value_of(draft, ACMOD_AcmeKeyType)->args;
    apr_array_header_t *cas = draft_cas(form, draft);
    const apr_array_header_t *may_lack;
    const char *file, *common;
    int i, n = types ? types->nelts : 1;

    acme_names_drop_covered(draft->names);
    if (draft->names->nelts == 0) {
        draft_error(draft, form, "there is no name to order (%s)", draft->where);
        APR_ARRAY_PUSH(draft->names, const char *) = draft->cert->label;
    }
    if (draft->names->nelts > 100) {
        draft_error(draft, form, "%d names, CAs certify at most 100 (some 25) at once (%s)",
                    draft->names->nelts, draft->where);
    }
    remark_on_staple(form, draft, cas);
    file = acme_name_file(draft->cert->label, form->pool);
    common = common_name(form, draft);
    may_lack = dispensable(form, draft);
    for (i = 0; i < n; i++) {
        acme_spec_t *spec = apr_pcalloc(form->pool, sizeof(*spec));

        if (types) {
            acme_key_type_parse(&spec->key_type, APR_ARRAY_IDX(types, i, const char *));
        }
        spec->label = draft->cert->label;
        spec->id = i == 0 ? file : apr_pstrcat(form->pool, file, ".",
                                               acme_key_type_file(spec->key_type), NULL);
        spec->names = draft->names;
        spec->cas = cas;
        spec->where = draft->where;
        spec->common_name = common;
        spec->may_lack = may_lack;
        spec_policy(draft, spec);
        spec_dns01(form, draft, spec);
        spec_challenges(form, draft, spec);
        if (i == 0) {
            remark_on_dns01(form, draft, spec);
            challenges_judge(form, draft, spec);
        }
        spec_paths(form, draft, spec, file, i);
        spec->index = form->conf->specs->nelts;
        APR_ARRAY_PUSH(form->conf->specs, acme_spec_t *) = spec;
        APR_ARRAY_PUSH(draft->cert->specs, acme_spec_t *) = spec;
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
    const char *real = real_path(form, path);
    claim_t *mine = apr_palloc(form->ptemp, sizeof(*mine));
    const claim_t *other = apr_hash_get(claims, real, APR_HASH_KEY_STRING);

    mine->draft = draft;
    mine->what = what;
    if (!other) {
        apr_hash_set(claims, real, APR_HASH_KEY_STRING, mine);
    }
    else if (draft) {
        draft_error(draft, form, "%s %s (%s) is also the %s of %s%s%s%s", what, path, draft->where,
                    other->what, other->draft ? other->draft->cert->label : "a CA",
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

static void specs_close(form_t *form)
{
    int i, k;

    for (i = 0; i < form->drafts->nelts; i++) {
        const draft_t *draft = APR_ARRAY_IDX(form->drafts, i, const draft_t *);

        for (k = 0; k < draft->cert->specs->nelts; k++) {
            acme_spec_t *spec = APR_ARRAY_IDX(draft->cert->specs, k, acme_spec_t *);

            spec->error = draft->error;
            spec->rsa_challenge = serves_rsa(draft, value_of(draft, ACMOD_AcmeKeyType)->args);
            spec->digest = acme_spec_digest(spec, form->pool);
        }
    }
}

/* ---- vhosts and files of others ---- */

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
            apr_hash_set(managed, real_path(form, APR_ARRAY_IDX(draft->cert->specs, k,
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

static void static_files(form_t *form)
{
    apr_hash_t *managed = managed_files(form);
    int i, k;

    for (k = 0; k < form->servers->nelts; k++) {
        server_rec *s = APR_ARRAY_IDX(form->servers, k, server_rec *);
        acmod_server_t *sc = acmod_server(s);

        for (i = 0; sc->ssl_engine == 1 && i < sc->cert_files->nelts; i++) {
            static_file(form, s, apr_hash_get(managed,
                                              real_path(form, APR_ARRAY_IDX(sc->cert_files, i,
                                                                            const char *)),
                                              APR_HASH_KEY_STRING));
        }
        if (sc->vhost && sc->vhost->has_static) {
            remark(form, APLOG_NOTICE, "AC0118", s, "%s names a certificate of its own: it is "
                   "served until there is a managed one, then the managed one alone",
                   words_of_server(form, s));
        }
    }
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

static void auto_challenges(form_t *form)
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
            remark(form, APLOG_WARNING, "AC0103", NULL, "nothing listens on port 80 or 443 and "
                   "AcmePortMap names no reachable port: the CA may not reach this server");
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

/* Once, however many inherit it: the administrator has to know what he named. */
static void remark_on_tls_sni(form_t *form)
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
        remark(form, APLOG_WARNING, "AC0140", NULL, "%s%s: AcmeChallenges names tls-sni-01, which "
               "is unsafe: whoever may install a certificate for a name under acme.invalid on this "
               "address can obtain certificates for every name that points here; no public CA "
               "validates it (Let's Encrypt ended it in 2019)", first->label,
               n > 1 ? apr_psprintf(form->ptemp, " and %d more", n - 1) : "");
    }
}

/* Without slashes at its end: behind them a link would be followed. */
static const char *store_of(form_t *form, const char *text)
{
    char *store = apr_pstrdup(form->pool, path_of(form, text));
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
    return acme_ascii_casecmp(text, "off") == 0 ? NULL : path_of(form, text);
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
        remark(form, APLOG_WARNING, "AC0123", vhost->server, "%s: its certificate is that of "
               "<AcmeCertificate %s> (%s), which has no name for %s",
               words_of_server(form, vhost->server), draft->settings->label, draft->where, text);
    }
    if (!acme_idn_is_ascii(text) && strcmp(name, vhost->server->server_hostname) != 0
        && (!vhost->server->names || !acme_names_contain(vhost->server->names, name))) {
        remark(form, APLOG_WARNING, "AC0124", vhost->server, "%s: clients ask for %s, as which "
               "httpd does not know %s: write ServerAlias %s as well",
               words_of_server(form, vhost->server), name, text, name);
    }
}

static void remarks_on_names(form_t *form)
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

static void remarks_on_repeats(form_t *form)
{
    int i, k;

    for (k = 0; k < form->servers->nelts; k++) {
        server_rec *s = APR_ARRAY_IDX(form->servers, k, server_rec *);
        acmod_server_t *sc = acmod_server(s);

        for (i = 0; i < sc->repeated->nelts; i++) {
            remark(form, APLOG_WARNING, "AC0119", s, "%s",
                   APR_ARRAY_IDX(sc->repeated, i, const char *));
        }
    }
}

acmod_conf_t *acmod_vhost_form(apr_pool_t *pconf, apr_pool_t *ptemp, server_rec *base)
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
    form.sections = apr_array_make(ptemp, 4, sizeof(draft_t *));
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
    sections_make(&form);
    for (i = 0; i < form.servers->nelts; i++) {
        vhost_form(&form, APR_ARRAY_IDX(form.servers, i, server_rec *));
    }
    auto_challenges(&form);
    for (i = 0; i < form.drafts->nelts; i++) {
        specs_of(&form, APR_ARRAY_IDX(form.drafts, i, draft_t *));
    }
    remark_on_tls_sni(&form);
    remarks_on_names(&form);
    static_files(&form);
    paths_claim(&form);
    specs_close(&form);
    acmod_command_form(conf, settings, pconf);
    return conf;
}

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
