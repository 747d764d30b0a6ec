/* Licensed under the Apache License, Version 2.0; see LICENSE. */

/* certbot's directory, usually /etc/letsencrypt:
 *   renewal/NAME.conf                      "server", "account"; a certificate without one is not certbot's any more
 *   live/NAME/{fullchain,privkey}.pem      links into archive/NAME/
 *   accounts/SERVER-WITHOUT-SCHEME/ID/     private_key.json (JWK), regr.json ("uri" is the kid) */

#include <ctype.h>
#include <string.h>
#include <apr_strings.h>
#include "base/ini.h"
#include "base/url.h"
#include "store/import_source.h"

#define KEY_MAX (64 * 1024)

static const char https[] = "https://";

/* "example.org" of "example.org-0001", which certbot makes when a name is taken; else NULL. */
static const char *without_number(const char *name, apr_pool_t *pool)
{
    apr_size_t len = strlen(name);

    if (len < 6 || name[len - 5] != '-' || strspn(name + len - 4, "0123456789") != 4) {
        return NULL;
    }
    return apr_pstrmemdup(pool, name, len - 5);
}

static void account(acme_import_t *self, const char *server, const char *id)
{
    const char *dir = apr_psprintf(self->pool, "%s/accounts/%s/%s", self->dir,
                                   server + strlen(https), id);
    acme_import_found_t found;
    acme_file_t file;
    acme_error_t err;

    memset(&found, 0, sizeof(found));
    found.path = apr_pstrcat(self->pool, dir, "/private_key.json", NULL);
    if (acme_import_has_account(self, found.path)) {
        return;
    }
    acme_error_clear(&err);
    if (acme_import_read(&file, self, found.path, KEY_MAX, 1, &err) == ACME_OK) {
        acme_import_exposed(self, found.path, &file);
        (void)acme_key_from_jwk(&found.key, file.data, file.len, self->pool, &err);
    }
    found.directory = server;
    found.about = apr_pstrcat(self->pool, dir, "/regr.json", NULL);
    found.kid = "uri";
    found.within = "body";
    acme_import_add_account(self, &found, &err);
}

/* Parts of paths. */
static int is_plain(const char *server, const char *id)
{
    apr_size_t i;

    for (i = 0; id[i] != '\0'; i++) {
        if (!isalnum((unsigned char)id[i])) {
            return 0;
        }
    }
    return i > 0 && strstr(server, "/.") == NULL && strchr(server, '?') == NULL;
}

static void lineage(acme_import_t *self, const char *name)
{
    const char *live = apr_pstrcat(self->pool, self->dir, "/live/", name, NULL);
    apr_array_header_t *first = apr_array_make(self->pool, 2, sizeof(const char *));
    const char *server, *id, *bare = without_number(name, self->pool);
    acme_file_t file;
    acme_error_t err;
    acme_url_t *url;

    acme_error_clear(&err);
    if (acme_import_read(&file, self,
                         apr_pstrcat(self->pool, self->dir, "/renewal/", name, ".conf", NULL),
                         ACME_INI_MAX, 0, &err) != ACME_OK) {
        acme_import_skip(self, name, &err);
        return;
    }
    server = acme_ini_get(file.data, file.len, "renewalparams", "server", self->pool);
    id = acme_ini_get(file.data, file.len, "renewalparams", "account", self->pool);
    if (server == NULL || acme_url_parse(&url, server, self->pool, NULL) != ACME_OK) {
        server = "";
    }
    APR_ARRAY_PUSH(first, const char *) = name;
    if (bare != NULL) {
        APR_ARRAY_PUSH(first, const char *) = bare;
    }
    acme_import_add(self, name, server, apr_pstrcat(self->pool, live, "/fullchain.pem", NULL),
                    apr_pstrcat(self->pool, live, "/privkey.pem", NULL), first);
    if (id != NULL && *server != '\0' && is_plain(server, id)) {
        account(self, server, id);
    }
}

acme_rv_t acme_import_certbot(acme_import_t **out, const char *dir, uid_t uid, apr_time_t now,
                              apr_pool_t *pool, acme_error_t *err)
{
    apr_array_header_t *names;
    int i;

    if (acme_import_create(out, dir, uid, now, pool, err) != ACME_OK
        || acme_import_list(&names, *out, apr_pstrcat(pool, (*out)->dir, "/renewal", NULL), ".conf",
                            err) != ACME_OK) {
        return ACME_FAIL;
    }
    for (i = 0; i < names->nelts; i++) {
        lineage(*out, APR_ARRAY_IDX(names, i, const char *));
    }
    return ACME_OK;
}
