/* Licensed under the Apache License, Version 2.0; see LICENSE. */

/* The module: what runs when. No logic here. */

#define ACMOD_DECLARES_MODULE
#include "mod_acmeclient.h"

#include "ap_mpm.h"
#include "http_core.h"
#include "mpm_common.h"

acmod_run_t *acmod_run;

static acmod_conf_t *formed; /* by check_config of this pass */

static int pre_config(apr_pool_t *pconf, apr_pool_t *plog, apr_pool_t *ptemp)
{
    (void)pconf, (void)plog, (void)ptemp;
    acme_json_init();
    formed = NULL;
    acmod_run = NULL;
    return OK;
}

/* -t: everything the administrator should know, without touching anything. */
static int look(apr_pool_t *pconf, server_rec *base, int print)
{
    acmod_run_t *run = apr_pcalloc(pconf, sizeof(*run));
    int i, found, n = formed->specs->nelts;

    run->conf = formed;
    run->base = base;
    acmod_log_init(&run->log, base, formed);
    run->items = apr_pcalloc(pconf, sizeof(acme_item_t) * (apr_size_t)(n + 1));
    for (i = 0; i < n; i++) {
        run->items[i].spec = APR_ARRAY_IDX(formed->specs, i, const acme_spec_t *);
    }
    run->root.store = formed->store_dir;
    run->root.uid = geteuid();
    run->root.backups = formed->backups;
    run->root.now = apr_time_now();
    acme_store_prepare(&run->root, run->items, n, 1, pconf);
    if (print) {
        acmod_dump(formed, &run->root, run->items, pconf);
        return 0;
    }
    found = formed->remarks->nelts;
    acmod_log_remarks(formed, base);
    if (run->root.trouble) {
        found++;
        ap_log_error(APLOG_MARK, APLOG_ERR, 0, base, "%s: %s", run->root.trouble_code,
                     run->root.trouble);
    }
    for (i = 0; i < n; i++) {
        if (run->items[i].trouble) {
            found++;
            ap_log_error(APLOG_MARK, APLOG_ERR, 0, base, "%s: %s: %s", run->items[i].trouble_code,
                         run->items[i].spec->label, run->items[i].trouble);
        }
    }
    return found;
}

static int check_config(apr_pool_t *pconf, apr_pool_t *plog, apr_pool_t *ptemp, server_rec *base)
{
    (void)plog;
    formed = acmod_vhost_form(pconf, ptemp, base);
    if (ap_state_query(AP_SQ_RUN_MODE) == AP_SQ_RM_CONFIG_TEST && look(pconf, base, 0) > 0
        && ap_exists_config_define("ACME_STRICT")) {
        return HTTP_INTERNAL_SERVER_ERROR;
    }
    return OK;
}

static void test_config(apr_pool_t *pconf, server_rec *base)
{
    if (formed && ap_exists_config_define("DUMP_ACME")) {
        look(pconf, base, 1);
    }
}

static int post_config(apr_pool_t *pconf, apr_pool_t *plog, apr_pool_t *ptemp, server_rec *base)
{
    int real = ap_state_query(AP_SQ_MAIN_STATE) != AP_SQ_MS_CREATE_PRE_CONFIG;
    acmod_run_t *run;

    (void)plog, (void)ptemp;
    if (!formed || (formed->specs->nelts == 0 && formed->remarks->nelts == 0)) {
        return OK;
    }
    run = apr_pcalloc(pconf, sizeof(*run));
    run->conf = formed;
    run->base = base;
    run->lock_fd = -1;
    acmod_log_init(&run->log, base, formed);
    if (real) {
        acmod_log_remarks(formed, base);
        acmod_board_open(run, pconf);
    }
    acmod_adopt_locks(run, real);
    acmod_adopt_prepare(run, pconf);
    if (real) {
        acmod_adopt_real(run, pconf);
        acmod_hotswap_open(run, pconf);
        acmod_tls_challenge_protocols(run, pconf);
        acmod_watchdog_register(run, pconf);
        acmod_run = run;
    }
    return OK;
}

static void child_init(apr_pool_t *pchild, server_rec *base)
{
    acmod_hotswap_child_init(pchild);
    acmod_watchdog_child_init(pchild, base);
}

static void child_stopping(apr_pool_t *pchild, int graceful)
{
    (void)pchild, (void)graceful;
    acmod_watchdog_child_stopping();
}

static void register_hooks(apr_pool_t *pool)
{
    static const char *const before_ssl[] = {"mod_ssl.c", NULL};

    (void)pool;
    ap_hook_pre_config(pre_config, NULL, NULL, APR_HOOK_MIDDLE);
    ap_hook_check_config(check_config, NULL, NULL, APR_HOOK_LAST);
    ap_hook_test_config(test_config, NULL, NULL, APR_HOOK_MIDDLE);
    ap_hook_post_config(post_config, NULL, before_ssl, APR_HOOK_FIRST);
    ap_hook_child_init(child_init, NULL, NULL, APR_HOOK_FIRST);
    ap_hook_child_stopping(child_stopping, NULL, NULL, APR_HOOK_MIDDLE);
    acmod_hotswap_register_hooks();
    acmod_http01_register_hooks();
    acmod_tls_challenge_register_hooks();
    acmod_status_register_hooks();
}

AP_DECLARE_MODULE(acmeclient) = {
    STANDARD20_MODULE_STUFF,
    NULL,
    NULL,
    acmod_config_create_server,
    acmod_config_merge_server,
    acmod_config_cmds,
    register_hooks,
    0
};
