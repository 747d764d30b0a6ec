/* Licensed under the Apache License, Version 2.0; see LICENSE. */

/* import certbot|mod_md DIR [--dry-run]: prints what became of each certificate and account, and
 * the steps that are left to the administrator. */

#include "acmectl.h"

#include <string.h>
#include <unistd.h>

#include <apr_strings.h>
#include <apr_time.h>

#include "store/import.h"

static const char letsencrypt[] = "https://acme-v02.api.letsencrypt.org/directory";

typedef acme_rv_t reader_t(acme_import_t **out, const char *dir, uid_t uid, apr_time_t now,
                           apr_pool_t *pool, acme_error_t *err);

typedef struct {
    const char *name;
    reader_t *read;
    const char *stop;    /* how it is kept from renewing */
    const char *remove;  /* what goes out of httpd's configuration */
    const char *former;  /* what may be done with it in the end */
} client_t;

static const client_t clients[] = {
    {.name = "certbot",
     .read = acme_import_certbot,
     .stop = "stop certbot: systemctl disable --now certbot.timer; take its line out of "
             "/etc/cron.d/certbot; what its hooks in renewal-hooks/ do belongs into "
             "AcmeNotifyCommand, if it is still needed (a reload is not)",
     .remove = "take out of the virtual hosts: SSLCertificateFile, SSLCertificateKeyFile, and the "
               "Include of options-ssl-apache.conf unless you want its settings",
     .former = "certbot's directory is untouched: keep it until the first renewal has been seen"},
    {.name = "mod_md",
     .read = acme_import_mod_md,
     .stop = "write down what your MDomain sections set beside the names: docs/migrating.md has "
             "the equivalent of each",
     .remove = "take out all MD directives, MDomain sections and LoadModule md_module (mod_md may "
               "stay for names that only it has)",
     .former = "mod_md's store is untouched: keep it until the first renewal has been seen"},
};

static const client_t *find(const char *name)
{
    apr_size_t i;

    for (i = 0; i < sizeof(clients) / sizeof(clients[0]); i++) {
        if (strcmp(clients[i].name, name) == 0) {
            return &clients[i];
        }
    }
    return NULL;
}

/* ---- what became of it ---- */

static const char *because(const acmectl_t *ctl, const char *why)
{
    return why != NULL ? apr_pstrcat(ctl->pool, ": ", why, NULL) : "";
}

static void tell_account(const acmectl_t *ctl, const acme_import_account_t *account, int dry_run)
{
    acme_json_t *json;

    acmectl_say(ctl, "account %s: %s%s%s%s", account->directory,
                acme_import_result_name(account->result, dry_run), because(ctl, account->why),
                *account->kid != '\0' ? "; kid " : "", account->kid);
    if (ctl->json) {
        json = acme_json_new_object(ctl->pool);
        acme_json_set_string(json, "account", account->path);
        acme_json_set_string(json, "directory", account->directory);
        acme_json_set_string(json, "kid", account->kid);
        acme_json_set_string(json, "auth_path", account->auth_path);
        acme_json_set_string(json, "result", acme_import_result_name(account->result, dry_run));
        acme_json_set_string(json, "why", account->why != NULL ? account->why : "");
        acmectl_print_json(ctl, json);
    }
}

static void tell_pair(const acmectl_t *ctl, const acme_import_pair_t *pair, int dry_run)
{
    const char *result = acme_import_result_name(pair->result, dry_run);
    char until[ACME_TIME_TEXT];
    acme_json_t *json;

    if (pair->cert_path == NULL) {
        acmectl_say(ctl, "certificate %s: %s%s", pair->set, result, because(ctl, pair->why));
    }
    else {
        acmectl_say(ctl, "certificate %s: %s%s; %s, serial %s, until %s: %s", pair->set, result,
                    because(ctl, pair->why), acme_key_type_name(pair->leaf.key_type),
                    pair->leaf.serial, acme_time_format(until, pair->leaf.not_after),
                    pair->cert_path);
    }
    if (ctl->json) {
        json = acme_json_new_object(ctl->pool);
        acme_json_set_string(json, "certificate", pair->set);
        acme_json_set_string(json, "first_name", pair->first != NULL ? pair->first : "");
        acme_json_set_string(json, "cert_path", pair->cert_path != NULL ? pair->cert_path : "");
        acme_json_set_string(json, "result", result);
        acme_json_set_string(json, "why", pair->why != NULL ? pair->why : "");
        acmectl_print_json(ctl, json);
    }
}

/* ---- what to write ---- */

static int served(const acme_import_pair_t *pair)
{
    return pair->cert_path != NULL && pair->result != ACME_IMPORT_FAIL;
}

static void say_ca(const acmectl_t *ctl, const acme_import_t *import)
{
    const acme_import_account_t *account;
    int i;

    for (i = 0; i < import->accounts->nelts; i++) {
        account = APR_ARRAY_IDX(import->accounts, i, const acme_import_account_t *);
        if (account->result == ACME_IMPORT_SKIP) {
            continue;
        }
        if (strcmp(account->directory, letsencrypt) != 0) {
            acmectl_say(ctl, "       AcmeDirectoryURL %s", account->directory);
        }
        acmectl_say(ctl, "       AcmeEmail %s", *account->contacts != '\0' ? account->contacts
                                                                     : "(your address)");
        acmectl_say(ctl, "       AcmeTermsOfService accepted");
    }
    if (strcmp(ctl->store, ACMECTL_DEFAULT_STOREDIR) != 0) {
        acmectl_say(ctl, "       AcmeStoreDir %s", ctl->store);
    }
}

/* AcmeKeyType of a first name: all of its pairs, which stand together. */
static const char *key_types(const acmectl_t *ctl, const acme_import_t *import, int i)
{
    const acme_import_pair_t *pair = APR_ARRAY_IDX(import->pairs, i, const acme_import_pair_t *);
    const char *first = pair->first;
    const char *types = acme_key_type_name(pair->leaf.key_type);

    for (i++; i < import->pairs->nelts; i++) {
        pair = APR_ARRAY_IDX(import->pairs, i, const acme_import_pair_t *);
        if (served(pair) && pair->nth > 0 && strcmp(pair->first, first) == 0) {
            types = apr_pstrcat(ctl->pool, types, " ", acme_key_type_name(pair->leaf.key_type),
                                NULL);
        }
    }
    return types;
}

static void say_section(const acmectl_t *ctl, const acme_import_t *import, int i)
{
    const acme_import_pair_t *pair = APR_ARRAY_IDX(import->pairs, i, const acme_import_pair_t *);
    const char *names = pair->first;
    const char *name;
    int j;

    for (j = 0; j < pair->leaf.names->nelts; j++) {
        name = APR_ARRAY_IDX(pair->leaf.names, j, const char *);
        if (strcmp(name, pair->first) != 0) {
            names = apr_pstrcat(ctl->pool, names, " ", name, NULL);
        }
    }
    acmectl_say(ctl, "       <AcmeCertificate %s>", acme_name_file(pair->first, ctl->pool));
    acmectl_say(ctl, "           AcmeNames %s", names);
    acmectl_say(ctl, "           AcmeKeyType %s", key_types(ctl, import, i));
    acmectl_say(ctl, "       </AcmeCertificate>");
}

static void say_steps(const acmectl_t *ctl, const client_t *client, const acme_import_t *import)
{
    const acme_import_pair_t *pair;
    int i;

    acmectl_say(ctl, "What is left to do, in this order:");
    acmectl_say(ctl, "1. %s", client->stop);
    acmectl_say(ctl, "2. %s", client->remove);
    acmectl_say(ctl, "3. write into the server's configuration:");
    say_ca(ctl, import);
    for (i = 0; i < import->pairs->nelts; i++) {
        pair = APR_ARRAY_IDX(import->pairs, i, const acme_import_pair_t *);
        if (served(pair) && pair->nth == 0) {
            say_section(ctl, import, i);
        }
    }
    acmectl_say(ctl, "   (a virtual host whose ServerName and ServerAlias are the names of one "
                     "certificate, the first of them as ServerName, needs no section: put its "
                     "AcmeKeyType into the virtual host)");
    acmectl_say(ctl, "4. write \"AcmeEngine on\" into each virtual host with SSLEngine on; what is "
                     "not covered by the above is ordered anew");
    acmectl_say(ctl, "5. httpd -t (Debian: apachectl configtest)");
    acmectl_say(ctl, "6. httpd -k graceful (Debian: systemctl reload apache2)");
    acmectl_say(ctl, "7. %s", client->former);
}

/* ---- the command ---- */

static int tell(const acmectl_t *ctl, const client_t *client, const acme_import_t *import,
                int dry_run)
{
    int code = ACMECTL_OK;
    int i;

    for (i = 0; i < import->warnings->nelts; i++) {
        acmectl_say(ctl, "warning: %s", APR_ARRAY_IDX(import->warnings, i, const char *));
    }
    for (i = 0; i < import->accounts->nelts; i++) {
        const acme_import_account_t *account =
            APR_ARRAY_IDX(import->accounts, i, const acme_import_account_t *);

        tell_account(ctl, account, dry_run);
        code = account->result == ACME_IMPORT_FAIL ? ACMECTL_FAILED : code;
    }
    for (i = 0; i < import->pairs->nelts; i++) {
        const acme_import_pair_t *pair =
            APR_ARRAY_IDX(import->pairs, i, const acme_import_pair_t *);

        tell_pair(ctl, pair, dry_run);
        code = pair->result == ACME_IMPORT_FAIL ? ACMECTL_FAILED : code;
    }
    say_steps(ctl, client, import);
    return code;
}

int acmectl_import(const acmectl_t *ctl, int argc, const char *const *argv)
{
    const client_t *client = NULL;
    const char *dir = NULL;
    acme_import_t *import;
    acme_error_t err;
    int i, dry_run = 0;

    for (i = 0; i < argc; i++) {
        if (strcmp(argv[i], "--dry-run") == 0) {
            dry_run = 1;
        }
        else if (client == NULL) {
            client = find(argv[i]);
            if (client == NULL) {
                return ACMECTL_USAGE;
            }
        }
        else if (dir == NULL) {
            dir = argv[i];
        }
        else {
            return ACMECTL_USAGE;
        }
    }
    if (dir == NULL) {
        return ACMECTL_USAGE;
    }
    acme_error_clear(&err);
    if (client->read(&import, dir, geteuid(), apr_time_now(), ctl->pool, &err) != ACME_OK
        || acme_import_store(import, ctl->store, dry_run, &err) != ACME_OK) {
        return acmectl_fail(ctl, ACMECTL_FAILED, "%s", err.text);
    }
    if (import->pairs->nelts == 0) {
        return acmectl_fail(ctl, ACMECTL_FAILED, "%s: no certificate of %s", dir, client->name);
    }
    return tell(ctl, client, import, dry_run);
}
