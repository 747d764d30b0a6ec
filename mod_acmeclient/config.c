/* Licensed under the Apache License, Version 2.0; see LICENSE. */

/* Directives: one table, one handler, one check per form of argument. Only what is wrong in itself is
 * refused here; everything else is judged by vhost.c and never stops the server. */

#include "config.h"

#include <apr_lib.h>

#include "http_core.h"

#define ARGUMENT_MAX 4096

enum { CTX_SERVER = 1, CTX_CA = 2, CTX_POLICY = 4, CTX_IDENTITY = 8 };

/* NULL, or what is allowed. */
typedef const char *check_fn(const char *arg, int i, apr_pool_t *pool);

/* ---- forms of arguments ---- */

static const char *one_of(const char *arg, const char *const *words, const char *allowed)
{
    for (; *words; words++) {
        if (acme_ascii_casecmp(arg, *words) == 0) {
            return NULL;
        }
    }
    return allowed;
}

static const char *check_onoff(const char *arg, int i, apr_pool_t *pool)
{
    static const char *const words[] = {"on", "off", NULL};

    (void)i, (void)pool;
    return one_of(arg, words, "on or off");
}

static const char *check_terms(const char *arg, int i, apr_pool_t *pool)
{
    static const char *const words[] = {"accepted", "none", NULL};

    (void)i, (void)pool;
    return one_of(arg, words, "accepted or none");
}

static const char *check_activate(const char *arg, int i, apr_pool_t *pool)
{
    static const char *const words[] = {"now", "restart", NULL};

    (void)i, (void)pool;
    return one_of(arg, words, "now or restart");
}

static const char *check_placeholder(const char *arg, int i, apr_pool_t *pool)
{
    static const char *const words[] = {"503", "serve", NULL};

    (void)i, (void)pool;
    return one_of(arg, words, "503 or serve");
}

static const char *check_challenge(const char *arg, int i, apr_pool_t *pool)
{
    static const char *const words[] = {"auto", "http-01", "tls-alpn-01", NULL};

    (void)i, (void)pool;
    return one_of(arg, words, "http-01, tls-alpn-01 or auto");
}

static const char *check_keytype(const char *arg, int i, apr_pool_t *pool)
{
    acme_key_type_t type;

    (void)i, (void)pool;
    return acme_key_type_parse(&type, arg) == ACME_OK
           ? NULL : "P-256, P-384, RSA-2048, RSA-3072 or RSA-4096";
}

static const char *check_label(const char *arg, int i, apr_pool_t *pool)
{
    (void)i, (void)pool;
    return strlen(arg) <= ACME_NAME_MAX ? NULL
           : "the label of an <AcmeCertificate> section, or own";
}

static const char *check_name(const char *arg, int i, apr_pool_t *pool)
{
    const char *name;
    acme_name_kind_t kind;

    (void)i;
    return acme_name_normalize(&name, &kind, arg, pool, NULL) == ACME_OK
           ? NULL : "a DNS name, a wildcard (*.example.org) or an IP address";
}

static const char *check_names(const char *arg, int i, apr_pool_t *pool)
{
    if (acme_ascii_casecmp(arg, "auto") == 0) {
        return NULL;
    }
    return check_name(arg + (*arg == '+' || *arg == '-'), i, pool)
           ? "auto, or DNS names, wildcards and IP addresses, each with + or - in front to add to or "
             "take from ServerName and ServerAlias" : NULL;
}

static const char *check_directory(const char *arg, int i, apr_pool_t *pool)
{
    acme_url_t *url;

    (void)i;
    if (!strstr(arg, "://")) {
        return strpbrk(arg, "/:? ") || strlen(arg) > 64
               ? "https URLs of ACME directories, or names of <AcmeCA> sections, letsencrypt or "
                 "letsencrypt-staging" : NULL;
    }
    return acme_url_parse(&url, arg, pool, NULL) == ACME_OK
           ? NULL : "an https URL (https://host[:port]/path)";
}

static const char *check_email(const char *arg, int i, apr_pool_t *pool)
{
    const char *at = strchr(arg, '@');
    const char *p;

    (void)i, (void)pool;
    for (p = arg; *p; p++) {
        if ((unsigned char)*p <= 0x20 || *p == 0x7f || strchr(",;<>\"()", *p)) {
            at = NULL;
        }
    }
    return acme_ascii_casecmp(arg, "none") == 0
           || (at && at != arg && at[1] && !strchr(at + 1, '@') && strlen(arg) <= 254)
           ? NULL : "mail addresses, one an argument, or none";
}

static const char *check_path(const char *arg, int i, apr_pool_t *pool)
{
    const char *p;

    (void)i, (void)pool;
    for (p = arg; *p; p++) {
        if ((unsigned char)*p < 0x20 || *p == 0x7f) {
            return "a file path without control characters";
        }
    }
    return strlen(arg) < 1024 ? NULL : "a file path of less than 1024 characters";
}

static const char *check_path_or_none(const char *arg, int i, apr_pool_t *pool)
{
    return acme_ascii_casecmp(arg, "none") == 0 ? NULL : check_path(arg, i, pool);
}

static const char *check_subject(const char *arg, int i, apr_pool_t *pool)
{
    (void)i, (void)pool;
    return *arg && strlen(arg) <= 64 && !strpbrk(arg, "\1\r\n\t") ? NULL
           : "at most 64 characters of text, or none";
}

static const char *check_country(const char *arg, int i, apr_pool_t *pool)
{
    (void)i, (void)pool;
    return acme_ascii_casecmp(arg, "none") == 0
           || (strlen(arg) == 2 && apr_isalpha(arg[0]) && apr_isalpha(arg[1]))
           ? NULL : "a country code of two letters (ISO 3166), or none";
}

static int number_in(const char *arg, apr_int64_t least, apr_int64_t most)
{
    apr_int64_t n;

    return acme_scan_number(&n, arg, strlen(arg), 9, NULL) == ACME_OK && n >= least && n <= most;
}

static const char *check_failover(const char *arg, int i, apr_pool_t *pool)
{
    (void)i, (void)pool;
    return number_in(arg, 1, 100) ? NULL : "a number from 1 to 100";
}

static const char *check_backups(const char *arg, int i, apr_pool_t *pool)
{
    (void)i, (void)pool;
    return number_in(arg, 0, 100) ? NULL : "a number from 0 to 100";
}

static const char *check_workers(const char *arg, int i, apr_pool_t *pool)
{
    (void)i, (void)pool;
    return number_in(arg, 1, 64) ? NULL : "a number from 1 to 64";
}

static const char *check_renew(const char *arg, int i, apr_pool_t *pool)
{
    static const char allowed[] = "auto, a duration (14d, 36h; a bare number is days) or a percentage "
                                  "of the lifetime from 1% to 50%";
    apr_size_t len = strlen(arg);
    apr_interval_time_t duration;

    (void)i;
    if (acme_ascii_casecmp(arg, "auto") == 0) {
        return NULL;
    }
    if (len > 1 && arg[len - 1] == '%') {
        return number_in(apr_pstrmemdup(pool, arg, len - 1), 1, 50) ? NULL : allowed;
    }
    return acme_duration_parse(&duration, arg, NULL) == ACME_OK && duration > 0 ? NULL : allowed;
}

static const char *check_rate(const char *arg, int i, apr_pool_t *pool)
{
    const char *slash = strchr(arg, '/');
    apr_interval_time_t period;

    (void)i;
    if (acme_ascii_casecmp(arg, "off") == 0) {
        return NULL;
    }
    return slash && number_in(apr_pstrmemdup(pool, arg, (apr_size_t)(slash - arg)), 1, 1000000)
           && acme_duration_parse(&period, slash + 1, NULL) == ACME_OK && period > 0
           ? NULL : "NUMBER/DURATION (250/3h) or off";
}

static const char *check_portmap(const char *arg, int i, apr_pool_t *pool)
{
    const char *colon = strchr(arg, ':');
    const char *from;

    (void)i;
    from = colon ? apr_pstrmemdup(pool, arg, (apr_size_t)(colon - arg)) : "";
    if (colon && (acme_ascii_casecmp(from, "http") == 0 || acme_ascii_casecmp(from, "https") == 0
                  || strcmp(from, "80") == 0 || strcmp(from, "443") == 0)
        && (strcmp(colon + 1, "-") == 0 || number_in(colon + 1, 1, 65535))) {
        return NULL;
    }
    return "http:PORT and https:PORT (or 80:PORT, 443:PORT), the local port where requests from "
           "outside arrive, - for unreachable";
}

/* ---- the table ---- */

typedef struct {
    const char *name;
    int contexts, least, most;
    check_fn *check;
} row_t;

static const row_t rows[ACMOD_DIRECTIVES] = {
#define DIRECTIVE(name, contexts, least, most, form, fallback) \
    {#name, contexts, least, most, check_##form},
#include "directives.h"
#undef DIRECTIVE
};

const char *acmod_directive_name(acmod_directive_t which)
{
    return rows[which].name;
}

/* ---- reading ---- */

acmod_server_t *acmod_server(server_rec *s)
{
    return ap_get_module_config(s->module_config, &acmeclient_module);
}

static const char *where_of(const cmd_parms *cmd)
{
    return apr_psprintf(cmd->pool, "%s:%d", cmd->directive->filename, cmd->directive->line_num);
}

/* Every complaint ends with the place, so that it is whole wherever it is quoted. */
static const char *complain(const cmd_parms *cmd, const char *name, const char *text)
{
    const acmod_server_t *sc = acmod_server(cmd->server);

    return apr_psprintf(cmd->pool, "%s: %s (%s%s%s)", name, text, where_of(cmd),
                        sc->server_name ? ", ServerName " : "",
                        sc->server_name ? sc->server_name : "");
}

static const char *printable(const cmd_parms *cmd, const char *value)
{
    char *out = apr_palloc(cmd->pool, 128);
    apr_size_t len = strlen(value);

    acme_printable(out, 100, value, (apr_ssize_t)len);
    return len < 100 ? out : apr_pstrcat(cmd->pool, out, "...", NULL);
}

static const char *check_context(cmd_parms *cmd, const row_t *row, const acmod_server_t *sc)
{
    const char *allowed;
    int in_vhost = cmd->server->is_virtual;

    if (sc->section && sc->section_is_ca) {
        allowed = row->contexts & CTX_CA ? NULL : "not inside <AcmeCA>";
    }
    else if (sc->section) {
        allowed = row->contexts & (CTX_POLICY | CTX_IDENTITY | CTX_CA)
                  ? NULL : "only in the server config";
    }
    else if (in_vhost) {
        allowed = row->contexts == CTX_SERVER ? "only in the server config" : NULL;
    }
    else {
        allowed = row->contexts == CTX_IDENTITY
                  ? "only inside <VirtualHost> or <AcmeCertificate>" : NULL;
    }
    if (allowed) {
        return complain(cmd, row->name, apr_pstrcat(cmd->pool, "allowed ", allowed, NULL));
    }
    return ap_check_cmd_context(cmd, NOT_IN_DIR_CONTEXT | NOT_IN_LIMIT);
}

static const char *read_args(apr_array_header_t *args, const cmd_parms *cmd, const row_t *row,
                             const char *text)
{
    const char *name = row->name;
    const char *allowed;

    while (*text) {
        const char *arg = ap_getword_conf(cmd->pool, &text);

        if (*arg == '\0') {
            allowed = row->check("", args->nelts, cmd->pool);
            return complain(cmd, name, apr_psprintf(cmd->pool, "\"\" is empty; allowed: %s",
                                                    allowed ? allowed : "a value"));
        }
        if (strlen(arg) > ARGUMENT_MAX) {
            return complain(cmd, name, apr_psprintf(cmd->pool, "\"%s\" is too long; allowed: at most "
                                                    "%d characters", printable(cmd, arg),
                                                    ARGUMENT_MAX));
        }
        allowed = row->check(arg, args->nelts, cmd->pool);
        if (allowed) {
            return complain(cmd, name, apr_psprintf(cmd->pool, "\"%s\" is not allowed; allowed: %s",
                                                    printable(cmd, arg), allowed));
        }
        APR_ARRAY_PUSH(args, const char *) = arg;
    }
    if (args->nelts < row->least || (row->most && args->nelts > row->most)) {
        allowed = row->check("\1", 0, cmd->pool);
        return complain(cmd, name,
                        apr_psprintf(cmd->pool, "%d arguments given, %s%d allowed: %s", args->nelts,
                                     row->most == row->least ? "" : args->nelts < row->least
                                     ? "at least " : "at most ",
                                     args->nelts < row->least ? row->least : row->most,
                                     allowed ? allowed : "a value"));
    }
    return NULL;
}

static const char *directive(cmd_parms *cmd, void *dir_config, const char *text)
{
    const row_t *row = cmd->info;
    acmod_directive_t which = (acmod_directive_t)(row - rows);
    acmod_server_t *sc = acmod_server(cmd->server);
    acmod_settings_t *settings = sc->section ? sc->section : &sc->settings;
    acmod_value_t *value = &settings->value[which];
    apr_array_header_t *args = apr_array_make(cmd->pool, 2, sizeof(const char *));
    const char *complaint = check_context(cmd, row, sc);

    (void)dir_config;
    complaint = complaint ? complaint : read_args(args, cmd, row, text);
    if (complaint) {
        return complaint;
    }
    if (value->args && (which == ACMOD_AcmeNames || which == ACMOD_AcmeEmail)) {
        apr_array_cat(value->args, args);
        return NULL;
    }
    if (value->args) {
        APR_ARRAY_PUSH(sc->repeated, const char *) =
            apr_psprintf(cmd->pool, "%s: written twice, %s replaces %s", row->name, where_of(cmd),
                         value->where);
    }
    value->args = args;
    value->where = where_of(cmd);
    return NULL;
}

/* ---- sections ---- */

static const char *section(cmd_parms *cmd, const char *name, const char *text, int is_ca)
{
    acmod_server_t *sc = acmod_server(cmd->server);
    acmod_settings_t *settings = apr_pcalloc(cmd->pool, sizeof(*settings));
    const char *end = strrchr(text, '>');
    const char *complaint, *label;

    if (cmd->server->is_virtual) {
        return complain(cmd, name, "allowed only in the server config");
    }
    if (sc->section) {
        return complain(cmd, name, "sections cannot be nested");
    }
    if (!end || end[1]) {
        return complain(cmd, name, "the closing > is missing");
    }
    text = apr_pstrmemdup(cmd->pool, text, (apr_size_t)(end - text));
    label = ap_getword_conf(cmd->pool, &text);
    if (*label == '\0' || *text || strlen(label) > ACME_NAME_MAX
        || strspn(label, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_*:")
           != strlen(label) || *label == '.') {
        return complain(cmd, name, "one label is wanted, of letters, digits, dots and hyphens");
    }
    settings->label = label;
    settings->where = where_of(cmd);
    APR_ARRAY_PUSH(is_ca ? sc->cas : sc->certificates, acmod_settings_t *) = settings;
    sc->section = settings;
    sc->section_is_ca = is_ca;
    complaint = ap_walk_config(cmd->directive->first_child, cmd, cmd->context);
    sc->section = NULL;
    return complaint;
}

static const char *section_ca(cmd_parms *cmd, void *dir_config, const char *text)
{
    (void)dir_config;
    return section(cmd, "<AcmeCA>", text, 1);
}

static const char *section_certificate(cmd_parms *cmd, void *dir_config, const char *text)
{
    (void)dir_config;
    return section(cmd, "<AcmeCertificate>", text, 0);
}

/* ---- directives of others, seen on their way ---- */

static const char *see_server_name(cmd_parms *cmd, void *dir_config, const char *text)
{
    acmod_server_t *sc = acmod_server(cmd->server);

    (void)dir_config;
    sc->server_name = ap_getword_conf(cmd->pool, &text);
    return DECLINE_CMD;
}

static const char *see_ssl_engine(cmd_parms *cmd, void *dir_config, const char *text)
{
    acmod_server_t *sc = acmod_server(cmd->server);

    (void)dir_config;
    sc->ssl_engine = acme_ascii_casecmp(ap_getword_conf(cmd->pool, &text), "off") != 0;
    return DECLINE_CMD;
}

static const char *see_cert_file(cmd_parms *cmd, void *dir_config, const char *text)
{
    acmod_server_t *sc = acmod_server(cmd->server);
    const char *path = ap_getword_conf(cmd->pool, &text);

    (void)dir_config;
    if (*path) {
        const char *full = ap_server_root_relative(cmd->pool, path);

        APR_ARRAY_PUSH(sc->cert_files, const char *) = full ? full : path;
    }
    return DECLINE_CMD;
}

const command_rec acmod_config_cmds[] = {
#define DIRECTIVE(name, contexts, least, most, form, fallback) \
    AP_INIT_RAW_ARGS(#name, directive, (void *)&rows[ACMOD_##name], RSRC_CONF, \
                     "default: " fallback),
#include "directives.h"
#undef DIRECTIVE
    AP_INIT_RAW_ARGS("<AcmeCA", section_ca, NULL, RSRC_CONF, "a certification authority"),
    AP_INIT_RAW_ARGS("<AcmeCertificate", section_certificate, NULL, RSRC_CONF,
                     "a certificate of its own"),
    AP_INIT_RAW_ARGS("ServerName", see_server_name, NULL, RSRC_CONF, NULL),
    AP_INIT_RAW_ARGS("SSLEngine", see_ssl_engine, NULL, RSRC_CONF, NULL),
    AP_INIT_RAW_ARGS("SSLCertificateFile", see_cert_file, NULL, RSRC_CONF, NULL),
    {NULL, {NULL}, NULL, 0, RAW_ARGS, NULL}
};

/* ---- contexts ---- */

void *acmod_config_create_server(apr_pool_t *pool, server_rec *s)
{
    acmod_server_t *sc = apr_pcalloc(pool, sizeof(*sc));

    (void)s;
    sc->cas = apr_array_make(pool, 1, sizeof(acmod_settings_t *));
    sc->certificates = apr_array_make(pool, 1, sizeof(acmod_settings_t *));
    sc->repeated = apr_array_make(pool, 1, sizeof(const char *));
    sc->cert_files = apr_array_make(pool, 1, sizeof(const char *));
    sc->ssl_engine = -1;
    return sc;
}

void *acmod_config_merge_server(apr_pool_t *pool, void *base_config, void *add_config)
{
    const acmod_server_t *base = base_config;
    const acmod_server_t *add = add_config;
    acmod_server_t *sc = apr_pmemdup(pool, add, sizeof(*add));
    int i;

    for (i = 0; i < ACMOD_DIRECTIVES; i++) {
        if (!sc->settings.value[i].args && !(rows[i].contexts & CTX_IDENTITY)) {
            sc->settings.value[i] = base->settings.value[i];
            sc->settings.value[i].inherited = 1;
        }
    }
    sc->cert_files = apr_array_append(pool, base->cert_files, add->cert_files);
    if (sc->ssl_engine < 0) {
        sc->ssl_engine = base->ssl_engine;
    }
    return sc;
}

const apr_array_header_t *acmod_args(const acmod_settings_t *settings, acmod_directive_t which)
{
    return settings->value[which].args;
}

const char *acmod_arg(const acmod_settings_t *settings, acmod_directive_t which,
                      const char *fallback)
{
    const apr_array_header_t *args = acmod_args(settings, which);

    return args && args->nelts ? APR_ARRAY_IDX(args, 0, const char *) : fallback;
}
