/* Licensed under the Apache License, Version 2.0; see LICENSE. */

/* Directives: one table, one handler, one check per form of argument. Only what is wrong in itself
 * is refused here; everything else is judged by form.c and never stops the server. */

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

static int has_control(const char *arg)
{
    for (; *arg; arg++) {
        if ((unsigned char)*arg < 0x20 || *arg == 0x7f) {
            return 1;
        }
    }
    return 0;
}

/* UTF-8 without control characters: what JSON and a certificate request can hold. */
static int is_text(const char *arg, apr_pool_t *pool)
{
    apr_size_t size = strlen(arg) + 1;
    char *shown = apr_palloc(pool, size);

    return strcmp(acme_printable(shown, size, arg, -1), arg) == 0;
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
    static const char *const words[] = {
        "auto", "http-01", "tls-alpn-01", "dns-01", "dns-persist-01", "dns-account-01",
        "tls-sni-01", NULL
    };

    (void)i, (void)pool;
    return one_of(arg, words, "http-01, tls-alpn-01, dns-01, dns-persist-01, dns-account-01, "
                              "tls-sni-01 or auto");
}

static const char *check_keytype(const char *arg, int i, apr_pool_t *pool)
{
    acme_key_type_t type;

    (void)i, (void)pool;
    return acme_key_type_parse(&type, arg) == ACME_OK
           ? NULL : "P-256, P-384, RSA-2048, RSA-3072 or RSA-4096";
}

static int label_ok(const char *label)
{
    return *label && *label != '.' && strlen(label) <= ACME_NAME_MAX
           && !label[strspn(label, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                   "0123456789.-_*:")];
}

/* As it is compared: the canonical form of what is a name. */
static const char *label_of(const char *arg, apr_pool_t *pool)
{
    acme_name_kind_t kind;
    const char *name;

    return strpbrk(arg, ".:") && acme_name_normalize(&name, &kind, arg, pool, NULL) == ACME_OK
           ? name : arg;
}

static const char *check_label(const char *arg, int i, apr_pool_t *pool)
{
    (void)i;
    return label_ok(label_of(arg, pool)) ? NULL
           : "the label of an <AcmeCertificate> section, or own";
}

static const char *check_name(const char *arg, int i, apr_pool_t *pool)
{
    static const char allowed[] = "a DNS name, a wildcard (*.example.org) or an IP address";
    const char *name;
    acme_name_kind_t kind;
    acme_error_t err;

    (void)i;
    acme_error_clear(&err);
    if (acme_name_normalize(&name, &kind, arg, pool, &err) == ACME_OK) {
        return NULL;
    }
    return acme_idn_is_ascii(arg) ? allowed : apr_psprintf(pool, "%s; %s", allowed, err.text);
}

static const char *check_names(const char *arg, int i, apr_pool_t *pool)
{
    static const char allowed[] =
        "auto, or DNS names, wildcards and IP addresses, each with + or - in front to add to or "
        "take from ServerName and ServerAlias";
    const char *fault;

    if (acme_ascii_casecmp(arg, "auto") == 0) {
        return NULL;
    }
    fault = check_name(arg + (*arg == '+' || *arg == '-'), i, pool);
    if (!fault || !strchr(fault, ';')) {
        return fault ? allowed : NULL;
    }
    return apr_pstrcat(pool, allowed, strchr(fault, ';'), NULL);
}

static const char *check_directory(const char *arg, int i, apr_pool_t *pool)
{
    acme_url_t *url;

    (void)i;
    if (!strstr(arg, "://")) {
        return label_ok(arg) && !strchr(arg, ':') && acme_ascii_casecmp(arg, "none") != 0 ? NULL
               : "https URLs of ACME directories, or names of <AcmeCA> sections or of known "
                 "CAs (letsencrypt, ...)";
    }
    return acme_url_parse(&url, arg, pool, NULL) == ACME_OK
           ? NULL : "an https URL (https://host[:port]/path)";
}

static const char *check_email(const char *arg, int i, apr_pool_t *pool)
{
    const char *at = strchr(arg, '@');

    (void)i;
    if (!is_text(arg, pool) || strpbrk(arg, " ,;<>\"()") || strlen(arg) > 254) {
        at = NULL;
    }
    return acme_ascii_casecmp(arg, "none") == 0
           || (at && at != arg && at[1] && !strchr(at + 1, '@'))
           ? NULL : "mail addresses, one an argument, or none";
}

static const char *check_path(const char *arg, int i, apr_pool_t *pool)
{
    (void)i, (void)pool;
    return *arg && !has_control(arg) && strlen(arg) < 1024 ? NULL
           : "a path of less than 1024 characters, none of them a control character";
}

/* A file, or key identifier, HMAC key and algorithm; which it is the number of arguments tells. */
static const char *check_external(const char *arg, int i, apr_pool_t *pool)
{
    static const char allowed[] =
        "a key identifier, an HMAC key in base64 or base64url and, if it is not HS256, the "
        "algorithm (HS384, HS512); a file that holds them; or none";
    acme_external_t external;
    int good = i == 0 ? !check_path(arg, i, pool) && is_text(arg, pool)
               : acme_external_form(&external, "kid", i == 1 ? arg : "AA", i == 1 ? NULL : arg,
                                    pool, NULL) == ACME_OK;

    return good ? NULL : allowed;
}

/* The port has to be there: people do not agree on a default. No password: it belongs in a file. */
static const char *check_proxy(const char *arg, int i, apr_pool_t *pool)
{
    static const char allowed[] =
        "http://host:port and, if the proxy wants a password, a file with one line user:password; "
        "or none";
    acme_url_t *url;
    int good = i > 0 ? !check_path(arg, i, pool)
               : acme_ascii_casecmp(arg, "none") == 0
                 || acme_proxy_parse(&url, arg, pool, NULL) == ACME_OK;

    return good ? NULL : allowed;
}

static const char *check_path_or_none(const char *arg, int i, apr_pool_t *pool)
{
    const char *allowed = check_path(arg, i, pool);

    return allowed ? apr_pstrcat(pool, "none, or ", allowed, NULL) : NULL;
}

static const char *check_command(const char *arg, int i, apr_pool_t *pool)
{
    (void)pool;
    if (i > 0) {
        return has_control(arg) ? "arguments without control characters" : NULL;
    }
    return check_path(arg, i, pool) ? "a program and its arguments, or none" : NULL;
}

/* NAME or NAME=value; what begins with ACME_ is the module's. */
static const char *check_command_env(const char *arg, int i, apr_pool_t *pool)
{
    static const char chars[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_0123456789";
    apr_size_t len = strspn(arg, chars);

    (void)i, (void)pool;
    return len > 0 && !apr_isdigit(arg[0]) && (arg[len] == '=' || arg[len] == '\0')
           && acme_ascii_ncasecmp(arg, "ACME_", 5) != 0 && !has_control(arg + len)
           ? NULL : "NAME=value, or NAME to pass on httpd's own; names that begin with ACME_ are "
                    "the module's";
}

static const char *check_command_user(const char *arg, int i, apr_pool_t *pool)
{
    static const char chars[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_0123456789.-";

    (void)i, (void)pool;
    return (apr_isalpha(arg[0]) || arg[0] == '_') && !arg[strspn(arg, chars)] && strlen(arg) <= 64
           && acme_ascii_casecmp(arg, "root") != 0
           ? NULL : "the name of a user, not root, or none";
}

static const char *check_dns_timeout(const char *arg, int i, apr_pool_t *pool)
{
    apr_interval_time_t duration;

    (void)i, (void)pool;
    return acme_duration_parse(&duration, arg, NULL) == ACME_OK
           && duration >= APR_USEC_PER_SEC && duration <= apr_time_from_sec(3600)
           ? NULL : "a duration from 1s to 1h (60s, 5mi)";
}

static const char *check_dns_propagation(const char *arg, int i, apr_pool_t *pool)
{
    apr_interval_time_t duration;

    (void)i, (void)pool;
    return acme_duration_parse(&duration, arg, NULL) == ACME_OK
           && duration <= apr_time_from_sec(24 * 3600)
           ? NULL : "a duration up to 24h (120s, 10mi), 0 for not at all";
}

static const char *check_path_or_off(const char *arg, int i, apr_pool_t *pool)
{
    const char *allowed = check_path(arg, i, pool);

    return allowed ? apr_pstrcat(pool, "off, or ", allowed, NULL) : NULL;
}

static const char *check_subject(const char *arg, int i, apr_pool_t *pool)
{
    (void)i;
    return *arg && strlen(arg) <= 64 && is_text(arg, pool) ? NULL
           : "at most 64 characters of text, or none";
}

static const char *check_country(const char *arg, int i, apr_pool_t *pool)
{
    (void)i, (void)pool;
    return acme_ascii_casecmp(arg, "none") == 0
           || (strlen(arg) == 2 && apr_isalpha(arg[0]) && apr_isalpha(arg[1]))
           ? NULL : "a country code of two letters (ISO 3166), or none";
}

static const char *check_profile(const char *arg, int i, apr_pool_t *pool)
{
    if (i > 0) {
        return acme_ascii_casecmp(arg, "required") == 0 ? NULL : "required behind the name";
    }
    return *arg && strlen(arg) <= 64 && is_text(arg, pool) && !strchr(arg, ' ') ? NULL
           : "the name of a profile of the CA, at most 64 characters without blanks, and maybe "
             "\"required\" behind it; or none";
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
    static const char allowed[] =
        "auto, a duration (14d, 36h; a bare number is days) or a percentage "
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

/* Where a secret may stand, nothing is repeated. */
static int is_secret(const row_t *row)
{
    return row->check == check_external || row->check == check_proxy;
}

const char *acmod_directive_name(acmod_directive_t which)
{
    return rows[which].name;
}

int acmod_directive_secret(acmod_directive_t which)
{
    return is_secret(&rows[which]);
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

/* ServerName of the server that is being read; it may be written behind the directive at hand. */
static const char *server_name_of(const cmd_parms *cmd)
{
    const ap_directive_t *at = cmd->directive;
    const char *text;

    while (at && acme_ascii_casecmp(at->directive, "<VirtualHost") != 0) {
        at = at->parent;
    }
    for (at = at ? at->first_child : NULL; at; at = at->next) {
        if (acme_ascii_casecmp(at->directive, "ServerName") == 0) {
            text = at->args;
            return ap_getword_conf(cmd->pool, &text);
        }
    }
    return acmod_server(cmd->server)->server_name;
}

/* Every complaint ends with the place, so that it is whole wherever it is quoted. */
static const char *complain(const cmd_parms *cmd, const char *name, const char *text)
{
    const char *server_name = server_name_of(cmd);

    return apr_psprintf(cmd->pool, "%s: %s (%s%s%s)", name, text, where_of(cmd),
                        server_name ? ", ServerName " : "", server_name ? server_name : "");
}

static const char *printable(const cmd_parms *cmd, const char *value)
{
    char *out = apr_palloc(cmd->pool, 128);
    apr_size_t len = strlen(value);

    acme_printable(out, 100, value, (apr_ssize_t)len);
    return len < 100 ? out : apr_pstrcat(cmd->pool, out, "...", NULL);
}

static const char *quotable(const cmd_parms *cmd, const row_t *row, const char *value)
{
    return is_secret(row) && *value ? "(not shown)" : printable(cmd, value);
}

static const char *places(int contexts)
{
    static const struct {
        int context;
        const char *words;
    } known[] = {
        {CTX_CA, "the server config, <VirtualHost>, <AcmeCertificate> and <AcmeCA>"},
        {CTX_POLICY, "the server config, <VirtualHost> and <AcmeCertificate>"},
        {CTX_IDENTITY, "<VirtualHost> and <AcmeCertificate>"},
        {CTX_SERVER, "the server config"},
    };
    apr_size_t i = 0;

    while (i + 1 < sizeof(known) / sizeof(known[0]) && !(contexts & known[i].context)) {
        i++;
    }
    return known[i].words;
}

static const char *check_context(cmd_parms *cmd, const row_t *row, const acmod_server_t *sc,
                                 const char *text)
{
    int allowed;

    if (ap_check_cmd_context(cmd, NOT_IN_DIR_CONTEXT | NOT_IN_LIMIT)) {
        allowed = 0;
    }
    else if (sc->section && sc->section_is_ca) {
        allowed = CTX_CA;
    }
    else if (sc->section || cmd->server->is_virtual) {
        allowed = CTX_CA | CTX_POLICY | CTX_IDENTITY;
    }
    else {
        allowed = CTX_CA | CTX_POLICY | CTX_SERVER;
    }
    return row->contexts & allowed ? NULL
           : complain(cmd, row->name, apr_psprintf(cmd->pool, "\"%s\" is not allowed here; "
                                                   "allowed: only in %s",
                                                   quotable(cmd, row, text),
                                                   places(row->contexts)));
}

/* What a form allows is what it says about something that no form allows. */
static const char *allowed_by(const cmd_parms *cmd, const row_t *row)
{
    return row->check("\1", 0, cmd->pool);
}

/* NULL, or what is wrong with arg as the next one. */
static const char *check_arg(const cmd_parms *cmd, const row_t *row, const char *arg,
                             const apr_array_header_t *args)
{
    const char *allowed = NULL;
    const char *fault = NULL;
    int i, alone = acme_ascii_casecmp(arg, "none") == 0 || acme_ascii_casecmp(arg, "auto") == 0;

    if (row->most && args->nelts == row->most) {
        fault = "is one argument too many";
        allowed = apr_psprintf(cmd->pool, "at most %d, %s", row->most, allowed_by(cmd, row));
    }
    else if (*arg == '\0') {
        fault = "is empty";
        allowed = allowed_by(cmd, row);
    }
    else if (strlen(arg) > ARGUMENT_MAX) {
        fault = "is too long";
        allowed = apr_psprintf(cmd->pool, "at most %d characters, %s", ARGUMENT_MAX,
                               allowed_by(cmd, row));
    }
    else {
        allowed = row->check(arg, args->nelts, cmd->pool);
        fault = allowed ? "is not allowed" : NULL;
    }
    if (row->check == check_names || row->check == check_command) {
        alone = -1; /* what stands beside it is its own affair */
    }
    for (i = 0; !fault && alone >= 0 && i < args->nelts; i++) {
        const char *other = APR_ARRAY_IDX(args, i, const char *);

        fault = acme_ascii_casecmp(arg, other) == 0 ? "is there twice"
                : alone > 0 || acme_ascii_casecmp(other, "none") == 0
                  || acme_ascii_casecmp(other, "auto") == 0 ? "does not go with the others" : NULL;
        allowed = allowed_by(cmd, row);
    }
    return fault ? complain(cmd, row->name, apr_psprintf(cmd->pool, "\"%s\" %s; allowed: %s",
                                                         quotable(cmd, row, arg), fault, allowed))
           : NULL;
}

static const char *read_args(apr_array_header_t *args, const cmd_parms *cmd, const row_t *row,
                             const char *text)
{
    while (*text) {
        const char *arg = ap_getword_conf(cmd->pool, &text);
        const char *complaint = check_arg(cmd, row, arg, args);

        if (complaint) {
            return complaint;
        }
        APR_ARRAY_PUSH(args, const char *) = arg;
    }
    return args->nelts >= row->least ? NULL
           : complain(cmd, row->name, apr_psprintf(cmd->pool, "\"\": %d of at least %d arguments; "
                                                   "allowed: %s", args->nelts, row->least,
                                                   allowed_by(cmd, row)));
}

static const char *directive(cmd_parms *cmd, void *dir_config, const char *text)
{
    const row_t *row = cmd->info;
    acmod_directive_t which = (acmod_directive_t)(row - rows);
    acmod_server_t *sc = acmod_server(cmd->server);
    acmod_settings_t *settings = sc->section ? sc->section : &sc->settings;
    acmod_value_t *value = &settings->value[which];
    apr_array_header_t *args = apr_array_make(cmd->pool, 2, sizeof(const char *));
    const char *complaint = check_context(cmd, row, sc, text);

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

/* NULL and *text is the label, or what is wrong. */
static const char *check_section(cmd_parms *cmd, const acmod_server_t *sc,
                                 const apr_array_header_t *sections, const char **text)
{
    const char *end = strrchr(*text, '>');
    const char *rest, *label;
    int i;

    if (cmd->server->is_virtual || sc->section
        || ap_check_cmd_context(cmd, NOT_IN_DIR_CONTEXT | NOT_IN_LIMIT)) {
        return apr_psprintf(cmd->pool, "\"%s\" is not allowed here; allowed: only in the server "
                            "config, outside of other sections", printable(cmd, *text));
    }
    rest = apr_pstrmemdup(cmd->pool, *text, end ? (apr_size_t)(end - *text) : 0);
    label = ap_getword_conf(cmd->pool, &rest);
    if (!end || end[1] || *rest || !label_ok(label_of(label, cmd->pool))) {
        return apr_psprintf(cmd->pool, "\"%s\" is not allowed; allowed: one label of at most %d "
                            "letters, digits, dots and hyphens, and the closing >",
                            printable(cmd, *text), ACME_NAME_MAX);
    }
    for (i = 0; i < sections->nelts; i++) {
        const acmod_settings_t *other = APR_ARRAY_IDX(sections, i, const acmod_settings_t *);

        if (acme_ascii_casecmp(label_of(other->label, cmd->pool), label_of(label, cmd->pool))
            == 0) {
            return apr_psprintf(cmd->pool, "\"%s\" is there twice, first at %s; allowed: one "
                                "section a label", label, other->where);
        }
    }
    *text = label;
    return NULL;
}

static const char *section(cmd_parms *cmd, const char *name, const char *text, int is_ca)
{
    acmod_server_t *sc = acmod_server(cmd->server);
    acmod_settings_t *settings = apr_pcalloc(cmd->pool, sizeof(*settings));
    apr_array_header_t *sections = is_ca ? sc->cas : sc->certificates;
    const char *complaint = check_section(cmd, sc, sections, &text);

    if (complaint) {
        return complain(cmd, name, complaint);
    }
    settings->label = text;
    settings->where = where_of(cmd);
    APR_ARRAY_PUSH(sections, acmod_settings_t *) = settings;
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

/* As every module declines, httpd would take the directive for known. */
static const char *without_ssl(const cmd_parms *cmd)
{
    return ap_find_linked_module("mod_ssl.c") ? NULL
           : complain(cmd, cmd->cmd->name, "mod_ssl is not loaded; allowed: after LoadModule "
                      "ssl_module");
}

static const char *see_ssl_engine(cmd_parms *cmd, void *dir_config, const char *text)
{
    acmod_server_t *sc = acmod_server(cmd->server);

    (void)dir_config;
    if (without_ssl(cmd)) {
        return without_ssl(cmd);
    }
    sc->ssl_engine = acme_ascii_casecmp(ap_getword_conf(cmd->pool, &text), "off") != 0;
    return DECLINE_CMD;
}

static const char *see_cert_file(cmd_parms *cmd, void *dir_config, const char *text)
{
    acmod_server_t *sc = acmod_server(cmd->server);
    const char *path = ap_getword_conf(cmd->pool, &text);

    (void)dir_config;
    if (without_ssl(cmd)) {
        return without_ssl(cmd);
    }
    if (*path) {
        const char *full = ap_server_root_relative(cmd->pool, path);

        APR_ARRAY_PUSH(sc->cert_files, const char *) = full ? full : path;
    }
    return DECLINE_CMD;
}

static const char *see_cipher_suite(cmd_parms *cmd, void *dir_config, const char *text)
{
    acmod_server_t *sc = acmod_server(cmd->server);
    const char *first = ap_getword_conf(cmd->pool, &text);
    const char *second = ap_getword_conf(cmd->pool, &text);

    (void)dir_config;
    if (without_ssl(cmd)) {
        return without_ssl(cmd);
    }
    if (!cmd->path && (*second == '\0' || acme_ascii_casecmp(first, "SSL") == 0)) {
        sc->cipher_suite = *second ? second : first;
    }
    return DECLINE_CMD;
}

/* ACCESS_CONF only for the sake of the message: check_context tells where a directive belongs. */
const command_rec acmod_config_cmds[] = {
#define DIRECTIVE(name, contexts, least, most, form, fallback) \
    AP_INIT_RAW_ARGS(#name, directive, (void *)&rows[ACMOD_##name], \
                     RSRC_CONF | ACCESS_CONF, "default: " fallback),
#include "directives.h"
#undef DIRECTIVE
    AP_INIT_RAW_ARGS("<AcmeCA", section_ca, NULL, RSRC_CONF | ACCESS_CONF,
                     "a certification authority"),
    AP_INIT_RAW_ARGS("<AcmeCertificate", section_certificate, NULL, RSRC_CONF | ACCESS_CONF,
                     "a certificate of its own"),
    AP_INIT_RAW_ARGS("ServerName", see_server_name, NULL, RSRC_CONF, NULL),
    AP_INIT_RAW_ARGS("SSLEngine", see_ssl_engine, NULL, RSRC_CONF, NULL),
    AP_INIT_RAW_ARGS("SSLCertificateFile", see_cert_file, NULL, RSRC_CONF, NULL),
    AP_INIT_RAW_ARGS("SSLCipherSuite", see_cipher_suite, NULL, RSRC_CONF | OR_ALL, NULL),
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
    sc->cipher_suite = sc->cipher_suite ? sc->cipher_suite : base->cipher_suite;
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
