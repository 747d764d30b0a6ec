/* Licensed under the Apache License, Version 2.0; see LICENSE. */

/* While a vhost has nothing but its placeholder, requests get 503 with Retry-After instead of
 * content under a certificate nobody can trust. Status handlers stay reachable. */

#include "mod_acmeclient.h"

#include "ap_expr.h"
#include "http_core.h"
#include "http_protocol.h"
#include "http_request.h"

#define RETRY_AFTER "10" /* seconds; a first certificate takes a few */

static int is_status_handler(request_rec *r)
{
    static const char *const names[] = {"acme-status", "server-status", "md-status", NULL};
    const core_dir_config *dir = ap_get_core_module_config(r->per_dir_config);
    const char *fault = NULL;
    const char *handler = dir->expr_handler ? ap_expr_str_exec(r, dir->expr_handler, &fault)
                          : dir->handler;
    int i;

    for (i = 0; handler && !fault && names[i]; i++) {
        if (strcmp(handler, names[i]) == 0) {
            return 1;
        }
    }
    return 0;
}

/* Runs after the <Location> sections are known and before anything maps, redirects or refuses. */
static int not_yet(request_rec *r)
{
    acmod_vhost_t *vhost;

    if (!acmod_run || r->main || r->prev) {
        return DECLINED;
    }
    vhost = acmod_vhost_of(r->server);
    if (!vhost || vhost->placeholder != ACMOD_PLACEHOLDER_503 || !acmod_hotswap_missing(vhost)
        || is_status_handler(r)) {
        return DECLINED;
    }
    apr_table_setn(r->err_headers_out, "Retry-After", RETRY_AFTER);
    ap_log_rerror(APLOG_MARK, APLOG_INFO, 0, r,
                  "AC0830: %s: no certificate yet, answered 503 (AcmePlaceholder)",
                  vhost->cert->label);
    return HTTP_SERVICE_UNAVAILABLE;
}

void acmod_placeholder_register_hooks(void)
{
    ap_hook_translate_name(not_yet, NULL, NULL, APR_HOOK_REALLY_FIRST);
}
