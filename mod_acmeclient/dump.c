/* Licensed under the Apache License, Version 2.0; see LICENSE. */

/* httpd -t -D DUMP_ACME: what the configuration comes to, in fixed columns. */

#include "mod_acmeclient.h"

#include <stdio.h>

#include <apr_file_io.h>
#include <apr_file_info.h>

static const char *joined(const apr_array_header_t *words, apr_pool_t *pool)
{
    return words->nelts ? apr_array_pstrcat(pool, words, ',') : "-";
}

/* The names that say something else to people; empty when there are none. */
static const char *unicode_names(const apr_array_header_t *names, apr_pool_t *pool)
{
    apr_array_header_t *shown = apr_array_make(pool, 2, sizeof(const char *));
    int i;

    for (i = 0; i < names->nelts; i++) {
        const char *text = acme_idn_to_unicode(APR_ARRAY_IDX(names, i, const char *), pool);

        if (text) {
            APR_ARRAY_PUSH(shown, const char *) = text;
        }
    }
    return apr_array_pstrcat(pool, shown, ',');
}

static const char *ca_names(const acme_spec_t *spec, apr_pool_t *pool)
{
    apr_array_header_t *names = apr_array_make(pool, 2, sizeof(const char *));
    int i;

    for (i = 0; i < spec->cas->nelts; i++) {
        APR_ARRAY_PUSH(names, const char *) = APR_ARRAY_IDX(spec->cas, i, acme_ca_t *)->name;
    }
    return joined(names, pool);
}

static const char *challenges_of(const acme_spec_t *spec, apr_pool_t *pool)
{
    apr_array_header_t *names = apr_array_make(pool, 2, sizeof(const char *));
    int i;

    for (i = 0; i < spec->n_challenges; i++) {
        APR_ARRAY_PUSH(names, const char *) = acme_challenge_type_name(spec->challenges[i]);
    }
    return joined(names, pool);
}

static const char *disk_of(const acme_item_t *item)
{
    return item->usable ? "present" : item->placeholder ? "placeholder" : "missing";
}

static void dump_spec(const acmod_cert_t *cert, const acme_item_t *item, int width,
                      apr_pool_t *pool)
{
    const acme_spec_t *spec = item->spec;
    const char *unicode = unicode_names(spec->names, pool);
    char until[ACME_TIME_TEXT] = "-";

    if (item->facts.have) {
        acme_time_format(until, item->facts.not_after);
    }
    printf("%-*s %-9s %-20s %s\n", width, spec->id, acme_key_type_name(spec->key_type), until,
           disk_of(item));
    printf("    names      %s\n", joined(spec->names, pool));
    if (item->known && !item->known->self_issued && *item->known->lacks) {
        printf("    lacks      %s\n", item->known->lacks);
    }
    if (*unicode) {
        printf("    unicode    %s\n", unicode);
    }
    printf("    CA         %s\n", ca_names(spec, pool));
    printf("    challenges %s\n", challenges_of(spec, pool));
    printf("    vhosts     %s\n", joined(acmod_vhost_places(cert, pool), pool));
    printf("    files      %s %s\n", spec->cert_path, spec->key_path);
    if (spec->error) {
        printf("    error      %s\n", spec->error);
    }
    if (item->trouble) {
        printf("    trouble    %s: %s\n", item->trouble_code, item->trouble);
    }
    if (item->remark) {
        printf("    remark     %s: %s\n", item->remark_code, item->remark);
    }
}

static int width_of_ids(const acmod_conf_t *conf)
{
    apr_size_t width = strlen("CERTIFICATE");
    int i;

    for (i = 0; i < conf->specs->nelts; i++) {
        apr_size_t len = strlen(APR_ARRAY_IDX(conf->specs, i, const acme_spec_t *)->id);

        width = len > width ? len : width;
    }
    return (int)width;
}

/* Chains in the store that no certificate of the configuration names. */
static void dump_orphans(const acmod_conf_t *conf, apr_pool_t *pool)
{
    apr_hash_t *known = apr_hash_make(pool);
    apr_dir_t *dir;
    apr_finfo_t info;
    int i;

    for (i = 0; i < conf->specs->nelts; i++) {
        apr_hash_set(known, APR_ARRAY_IDX(conf->specs, i, const acme_spec_t *)->cert_path,
                     APR_HASH_KEY_STRING, "");
    }
    if (apr_dir_open(&dir, conf->store_dir, pool) != APR_SUCCESS) {
        return;
    }
    while (apr_dir_read(&info, APR_FINFO_NAME, dir) == APR_SUCCESS) {
        apr_size_t len = strlen(info.name);
        const char *path = apr_pstrcat(pool, conf->store_dir, "/", info.name, NULL);

        if (len > 8 && strcmp(info.name + len - 8, ".crt.pem") == 0
            && !apr_hash_get(known, path, APR_HASH_KEY_STRING)) {
            printf("orphan: %s\n", path);
        }
    }
    apr_dir_close(dir);
}

static void tell_line(void *baton, const char *code, const char *subject, const char *text)
{
    (void)baton;
    printf("error: %s: CA %s: %s\n", code, subject, text);
}

static void dump_lines(const acmod_run_t *run, apr_pool_t *pool)
{
    int i;

    for (i = 0; i < run->conf->remarks->nelts; i++) {
        const acmod_remark_t *remark = APR_ARRAY_IDX(run->conf->remarks, i, const acmod_remark_t *);

        printf("%s: %s: %s\n", remark->level == APLOG_ERR ? "error"
               : remark->level == APLOG_WARNING ? "warning" : "notice", remark->code, remark->text);
    }
    if (run->root.trouble) {
        printf("error: %s: %s\n", run->root.trouble_code, run->root.trouble);
    }
    if (run->root.warning) {
        printf("warning: %s\n", run->root.warning);
    }
    if (run->root.elsewhere) {
        printf("warning: AC0677: %s\n", run->root.elsewhere);
    }
    if (run->control_trouble) {
        printf("error: %s: AcmeControl: %s\n", run->control_code, run->control_trouble);
    }
    for (i = 0; i < run->conf->cas->nelts; i++) {
        const acme_account_item_t *account = &run->accounts[i];

        if (account->trouble) {
            printf("error: %s: CA %s: %s\n", account->trouble_code, account->ca->name,
                   account->trouble);
        }
    }
    acmod_adopt_ca_files(run, tell_line, NULL, pool);
}

void acmod_dump(const acmod_run_t *run, apr_pool_t *pool)
{
    const acmod_conf_t *conf = run->conf;
    int i, j, width = width_of_ids(conf);

    printf("ACME certificates (store %s):\n", conf->store_dir);
    printf("%-*s %-9s %-20s %s\n", width, "CERTIFICATE", "KEY", "EXPIRES", "ON DISK");
    for (i = 0; i < conf->certs->nelts; i++) {
        const acmod_cert_t *cert = APR_ARRAY_IDX(conf->certs, i, const acmod_cert_t *);

        for (j = 0; j < cert->specs->nelts; j++) {
            const acme_spec_t *spec = APR_ARRAY_IDX(cert->specs, j, const acme_spec_t *);

            dump_spec(cert, &run->items[spec->index], width, pool);
        }
    }
    dump_orphans(conf, pool);
    dump_lines(run, pool);
}
