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
static acmod_run_t *look(apr_pool_t *pconf, server_rec *base)
{
    acmod_run_t *run = apr_pcalloc(pconf, sizeof(*run));

    run->conf = formed;
    run->base = base;
    acmod_log_init(&run->log, base, formed);
    acmod_adopt_look(run, pconf);
    acmod_control_look(run, pconf);
    return run;
}

static int check_config(apr_pool_t *pconf, apr_pool_t *plog, apr_pool_t *ptemp, server_rec *base)
{
    int lines;

    (void)plog;
    formed = acmod_form(pconf, ptemp, base);
    if (ap_state_query(AP_SQ_RUN_MODE) != AP_SQ_RM_CONFIG_TEST) {
        return OK;
    }
    acmod_log_remarks(formed, base);
    lines = formed->remarks->nelts + acmod_adopt_tell(look(pconf, base), ptemp);
    return lines && ap_exists_config_define("ACME_STRICT") ? HTTP_INTERNAL_SERVER_ERROR : OK;
}

static void test_config(apr_pool_t *pconf, server_rec *base)
{
    if (formed && ap_exists_config_define("DUMP_ACME")) {
        acmod_dump(look(pconf, base), pconf);
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
    run->helper_fd = -1;
    run->control_fd = -1;
    acmod_log_init(&run->log, base, formed);
    if (real) {
        acmod_log_remarks(formed, base);
        acmod_helper_start(run, pconf);
        acmod_board_open(run, pconf);
    }
    acmod_adopt_locks(run, real);
    acmod_adopt_prepare(run, pconf);
    if (real) {
        acmod_hotswap_judge(run);
        acmod_adopt_real(run, pconf);
        acmod_board_settle(run, pconf);
        acmod_control_open(run, pconf);
        acmod_control_inventory(run, pconf);
        acmod_hotswap_open(run, pconf);
        acmod_tls_challenge_protocols(run, pconf);
        acmod_watchdog_register(run, pconf);
        acmod_run = run;
    }
    return OK;
}

static void child_init(apr_pool_t *pchild, server_rec *base)
{
    acmod_helper_child_init();
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
    acmod_placeholder_register_hooks();
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
