/* Licensed under the Apache License, Version 2.0; see LICENSE. */

/* The administrator's programs, as they are configured: which there are, as whom and with what
 * environment they run. */

#include "config.h"

#include <pwd.h>
#include <stdlib.h>
#include <unistd.h>

#include "http_core.h"
#include "unixd.h"

typedef struct {
    acmod_conf_t *conf;
    const acmod_settings_t *settings;
    apr_pool_t *pool;
    apr_array_header_t *commands; /* const char *const * */
} form_t;

static void remark(form_t *form, int level, const char *code, const char *text)
{
    acmod_remark_t *out = apr_pcalloc(form->pool, sizeof(*out));

    out->level = level;
    out->code = code;
    out->text = text;
    APR_ARRAY_PUSH(form->conf->remarks, acmod_remark_t *) = out;
}

static const char *where(const form_t *form, acmod_directive_t which)
{
    return form->settings->value[which].where;
}

int acmod_command_is_program(const char *path, apr_pool_t *pool)
{
    const apr_fileperms_t any = APR_FPROT_UEXECUTE | APR_FPROT_GEXECUTE | APR_FPROT_WEXECUTE;
    apr_finfo_t info;

    return apr_stat(&info, path, APR_FINFO_TYPE | APR_FINFO_PROT, pool) == APR_SUCCESS
           && info.filetype == APR_REG && (info.protection & any) != 0;
}

static const char *const *closed(apr_array_header_t *list)
{
    APR_ARRAY_PUSH(list, const char *) = NULL;
    return (const char *const *)list->elts;
}

/* ---- environment ---- */

static void set_env(apr_array_header_t *env, const char *item)
{
    apr_size_t len = strcspn(item, "=") + 1;
    int i;

    for (i = 0; i < env->nelts; i++) {
        if (strncmp(APR_ARRAY_IDX(env, i, const char *), item, len) == 0) {
            APR_ARRAY_IDX(env, i, const char *) = item;
            return;
        }
    }
    APR_ARRAY_PUSH(env, const char *) = item;
}

static void form_env(form_t *form)
{
    const apr_array_header_t *args = acmod_args(form->settings, ACMOD_AcmeCommandEnv);
    apr_array_header_t *env = apr_array_make(form->pool, 8, sizeof(const char *));
    int i;

    set_env(env, "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    set_env(env, "LANG=C");
    for (i = 0; args && i < args->nelts; i++) {
        const char *item = APR_ARRAY_IDX(args, i, const char *);
        const char *value = getenv(item);

        if (strchr(item, '=')) {
            set_env(env, item);
        }
        else if (value) {
            set_env(env, apr_pstrcat(form->pool, item, "=", value, NULL));
        }
        else if (acme_ascii_casecmp(item, "none") != 0) {
            remark(form, APLOG_WARNING, "AC0138",
                   apr_psprintf(form->pool, "AcmeCommandEnv: httpd has no environment variable %s "
                                "to pass on, %s", item, where(form, ACMOD_AcmeCommandEnv)));
        }
    }
    form->conf->command_env = closed(env);
}

/* ---- user ---- */

static void no_user(form_t *form, const char *code, const char *text)
{
    form->conf->command_trouble = text;
    remark(form, APLOG_ERR, code,
           apr_psprintf(form->pool, "%s, %s; no program runs until this is mended", text,
                        where(form, ACMOD_AcmeCommandUser)));
}

static void form_user(form_t *form)
{
    const char *name = acmod_arg(form->settings, ACMOD_AcmeCommandUser, "none");
    const struct passwd *user;

    if (acme_ascii_casecmp(name, "none") == 0) {
        return;
    }
    user = getpwnam(name);
    if (!user || user->pw_uid == 0) {
        no_user(form, "AC0135", apr_psprintf(form->pool, "AcmeCommandUser %s: %s", name,
                                             user ? "is the superuser" : "there is no such user"));
        return;
    }
    if (geteuid() != 0 && user->pw_uid != geteuid()) {
        no_user(form, "AC0136", apr_psprintf(form->pool, "AcmeCommandUser %s: httpd was not "
                                             "started as root and cannot change users", name));
        return;
    }
    if (user->pw_uid == (geteuid() == 0 ? ap_unixd_config.user_id : geteuid())) {
        return; /* the children's */
    }
    form->conf->command_user = apr_pstrdup(form->pool, name);
    form->conf->command_uid = user->pw_uid;
    form->conf->command_gid = user->pw_gid;
}

/* ---- commands ---- */

static int same(const char *const *a, const char *const *b)
{
    for (; *a && *b && strcmp(*a, *b) == 0; a++, b++) {
    }
    return !*a && !*b;
}

static void add_command(form_t *form, const char *const *command)
{
    int i;

    for (i = 0; i < form->commands->nelts; i++) {
        if (same(APR_ARRAY_IDX(form->commands, i, const char *const *), command)) {
            return;
        }
    }
    APR_ARRAY_PUSH(form->commands, const char *const *) = command;
}

static void form_notify(form_t *form)
{
    const apr_array_header_t *args = acmod_args(form->settings, ACMOD_AcmeNotifyCommand);
    apr_array_header_t *command;
    const char *program;

    if (!args || acme_ascii_casecmp(APR_ARRAY_IDX(args, 0, const char *), "none") == 0) {
        return;
    }
    command = apr_array_copy(form->pool, args);
    program = ap_server_root_relative(form->pool, APR_ARRAY_IDX(args, 0, const char *));
    APR_ARRAY_IDX(command, 0, const char *) = program;
    if (!acmod_command_is_program(program, form->pool)) {
        remark(form, APLOG_WARNING, "AC0137",
               apr_psprintf(form->pool, "AcmeNotifyCommand: %s is no executable file, %s", program,
                            where(form, ACMOD_AcmeNotifyCommand)));
    }
    form->conf->notify_command = closed(command);
    add_command(form, form->conf->notify_command);
}

static void form_commands(form_t *form)
{
    const acmod_conf_t *conf = form->conf;
    int i;

    for (i = 0; i < conf->specs->nelts; i++) {
        const acme_spec_t *spec = APR_ARRAY_IDX(conf->specs, i, const acme_spec_t *);

        if (spec->dns01_command) {
            add_command(form, closed(apr_array_copy(form->pool, spec->dns01_command)));
        }
    }
}

void acmod_command_form(acmod_conf_t *conf, const acmod_settings_t *settings, apr_pool_t *pool)
{
    form_t form;

    form.conf = conf;
    form.settings = settings;
    form.pool = pool;
    form.commands = apr_array_make(pool, 2, sizeof(const char *const *));
    form_env(&form);
    form_user(&form);
    form_notify(&form);
    form_commands(&form);
    conf->commands = (const char *const *const *)form.commands->elts;
    conf->n_commands = form.commands->nelts;
}
