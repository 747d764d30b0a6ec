/* Licensed under the Apache License, Version 2.0; see LICENSE. */

/* One watchdog thread in every child tries the owner lock on each tick; in the child that gets it,
 * it becomes the manager and stays so until the child has to go. The lock is valid over generations
 * and released by the kernel when its holder dies. */

#include "mod_acmeclient.h"

#include <signal.h>
#include <unistd.h>

#include "ap_mpm.h"
#include "http_core.h"
#include "mod_watchdog.h"
#include "unixd.h"

#define TICK apr_time_from_msec(500)
#define JOIN_AT_MOST apr_time_from_sec(2)
/* A connection's first bytes come sooner, or not at all. */
#define CLEAR_AFTER apr_time_from_sec(120)

static struct {
    int stopping;      /* this child has to go */
    int busy;          /* the callback is inside */
    apr_time_t clear_at; /* in the owner: when to clear the board, by acme_net_now; 0: done */
} child;

static int stopped(void *baton)
{
    acmod_run_t *run = baton;
    int state = 0;

    if (__atomic_load_n(&child.stopping, __ATOMIC_SEQ_CST)
        || acme_board_config(run->board) != run->config) {
        return 1;
    }
    acmod_hotswap_tick();
    if (child.clear_at && acme_net_now() >= child.clear_at) {
        child.clear_at = 0;
        acmod_board_clear(run);
    }
    return ap_mpm_query(AP_MPMQ_MPM_STATE, &state) != APR_SUCCESS || state == AP_MPMQ_STOPPING;
}

/* A server that drops privileges must have dropped them here. */
static int privileged(void)
{
    return geteuid() == 0 && ap_unixd_config.user_id != 0;
}

static acme_staging_entry_t *staging_entries(acmod_run_t *run, int *n, apr_pool_t *pool)
{
    int i, specs = run->conf->specs->nelts, accounts = run->conf->cas->nelts;
    acme_staging_entry_t *entries = apr_pcalloc(pool, sizeof(*entries)
                                                      * (apr_size_t)(specs + accounts + 1));

    for (i = 0; i < specs; i++) {
        const acme_item_t *item = &run->items[i];

        entries[i].id = item->spec->id;
        entries[i].row = run->rows[i];
        entries[i].fd = item->fd;
        entries[i].key_fd = item->key_fd;
        entries[i].handed = item->handed;
        entries[i].handed_len = item->handed_len;
        entries[i].log_size = item->log_size;
        entries[i].key_log_size = item->key_log_size;
    }
    for (i = 0; i < accounts; i++) {
        acme_staging_entry_t *entry = &entries[specs + i];

        entry->id = run->accounts[i].id;
        entry->row = run->account_rows[i];
        entry->fd = run->accounts[i].fd;
        entry->key_fd = -1;
        entry->handed = run->accounts[i].handed;
        entry->handed_len = run->accounts[i].handed_len;
        entry->log_size = run->accounts[i].log_size;
    }
    *n = specs + accounts;
    return entries;
}

static void manager_conf(acme_manager_conf_t *conf, acmod_run_t *run, apr_pool_t *pool)
{
    int i, n = run->conf->specs->nelts, m = run->conf->cas->nelts;
    acme_job_conf_t *jobs = apr_pcalloc(pool, sizeof(*jobs) * (apr_size_t)(n + 1));
    acme_account_conf_t *accounts = apr_pcalloc(pool, sizeof(*accounts) * (apr_size_t)(m + 1));

    for (i = 0; i < n; i++) {
        const acme_item_t *item = &run->items[i];

        jobs[i].spec = item->spec;
        jobs[i].row = run->rows[i];
        jobs[i].baseline = run->baseline[i];
        jobs[i].facts = item->facts;
        jobs[i].issued = item->issued;
        jobs[i].key = item->key;
        jobs[i].can_stage = item->can_stage;
        jobs[i].retry_now = item->retry_now;
        jobs[i].trouble = item->spec->error ? item->spec->error : item->trouble;
    }
    for (i = 0; i < m; i++) {
        accounts[i].ca = run->accounts[i].ca;
        accounts[i].row = run->account_rows[i];
        accounts[i].account_id = run->accounts[i].id;
        accounts[i].jwk = run->accounts[i].jwk;
        accounts[i].trouble = run->accounts[i].trouble;
    }
    conf->jobs = jobs;
    conf->n_jobs = n;
    conf->accounts = accounts;
    conf->n_accounts = m;
    conf->board = run->board;
    conf->log = &run->log;
    conf->workers = run->conf->workers;
    conf->http_port = run->conf->http_port;
    conf->https_port = run->conf->https_port;
    conf->place = run->conf->store_dir;
    conf->user_agent = "mod_acmeclient/" ACMOD_VERSION " (Apache httpd)";
    conf->stop.stopped = stopped;
    conf->stop.baton = run;
    conf->config = run->config;
}

/* NULL when none is configured or there is no memory: then none is run. */
static acme_program_runner_t *programs(const acmod_run_t *run, apr_pool_t *pool)
{
    const acmod_conf_t *conf = run->conf;
    acme_program_runner_conf_t programs_conf;
    acme_program_runner_t *runner;

    if (conf->n_commands == 0) {
        return NULL;
    }
    memset(&programs_conf, 0, sizeof(programs_conf));
    programs_conf.env = conf->command_env;
    programs_conf.helper_fd = run->helper_fd;
    programs_conf.trouble = conf->command_trouble;
    programs_conf.commands = conf->commands;
    programs_conf.n_commands = conf->n_commands;
    return acme_program_runner_create(&runner, &programs_conf, pool, NULL) == ACME_OK ? runner
                                                                                     : NULL;
}

static void own(acmod_run_t *run)
{
    apr_pool_t *pool;
    acme_manager_conf_t conf;
    acme_manager_t *manager;
    acme_staging_entry_t *entries;
    acmod_control_t *control;
    acme_error_t err;
    int n;

    if (apr_pool_create_unmanaged_ex(&pool, NULL, NULL) != APR_SUCCESS) {
        return;
    }
    memset(&conf, 0, sizeof(conf));
    acme_error_clear(&err);
    acme_board_owner_set(run->board, getpid());
    child.clear_at = acme_net_now() + CLEAR_AFTER;
    acmod_board_inherit(run, pool);
    entries = staging_entries(run, &n, pool);
    manager_conf(&conf, run, pool);
    conf.programs = programs(run, pool);
    conf.notify_command = run->conf->notify_command;
    if (acme_staging_create(&conf.store, run->board, entries, n, run->root.overflow_fd, NULL, NULL,
                            pool, &err) != ACME_OK) {
        acme_log(&run->log, ACME_LOG_ERR, "AC0740", NULL, "%s", err.text);
    }
    else {
        acme_staging_catch_up(conf.store, run->baseline, apr_time_now(), pool);
        if (acme_manager_create(&manager, &conf, pool, &err) == ACME_OK) {
            control = acmod_control_start(run, manager, pool);
            acme_manager_run(manager);
            acmod_control_stop(control);
        }
        else {
            acme_log(&run->log, ACME_LOG_ERR, "AC0741", NULL, "%s", err.text);
        }
    }
    acme_board_owner_set(run->board, 0);
    apr_pool_destroy(pool);
}

static void tick(acmod_run_t *run)
{
    if (__atomic_load_n(&child.stopping, __ATOMIC_SEQ_CST) || stopped(run) || privileged()
        || !acmod_adopt_try_owner(run)) {
        return;
    }
    acme_log(&run->log, ACME_LOG_INFO, "AC0742", NULL, "pid %ld owns the store %s",
             (long)getpid(), run->conf->store_dir);
    own(run);
    acmod_adopt_leave_owner(run);
    acme_log(&run->log, ACME_LOG_INFO, "AC0743", NULL, "pid %ld gave the store up", (long)getpid());
}

static apr_status_t watchdog(int state, void *data, apr_pool_t *pool)
{
    acmod_run_t *run = data;
    sigset_t all;

    (void)pool;
    if (state == AP_WATCHDOG_STATE_STOPPING) {
        acmod_watchdog_child_stopping();
        return APR_SUCCESS;
    }
    /* For good: a handler that ends the process must not do so from within this thread. */
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, NULL);
    __atomic_store_n(&child.busy, 1, __ATOMIC_SEQ_CST);
    tick(run);
    __atomic_store_n(&child.busy, 0, __ATOMIC_SEQ_CST);
    return APR_SUCCESS;
}

void acmod_watchdog_register(acmod_run_t *run, apr_pool_t *pconf)
{
    APR_OPTIONAL_FN_TYPE(ap_watchdog_get_instance) *get =
        APR_RETRIEVE_OPTIONAL_FN(ap_watchdog_get_instance);
    APR_OPTIONAL_FN_TYPE(ap_watchdog_register_callback) *add =
        APR_RETRIEVE_OPTIONAL_FN(ap_watchdog_register_callback);
    ap_watchdog_t *instance;

    if (!run->board || run->conf->specs->nelts == 0) {
        return;
    }
    if (!get || !add) {
        acme_log(&run->log, ACME_LOG_ERR, "AC0105", NULL,
                 "mod_watchdog is not loaded: certificates are served, none is ordered; add "
                 "\"LoadModule watchdog_module modules/mod_watchdog.so\"");
        return;
    }
    if (get(&instance, "_acmeclient_", 0, 0, pconf) != APR_SUCCESS
        || add(instance, TICK, run, watchdog) != APR_SUCCESS) {
        acme_log(&run->log, ACME_LOG_ERR, "AC0744", NULL,
                 "no watchdog could be registered: certificates are served, none is ordered");
    }
}

void acmod_watchdog_child_stopping(void)
{
    __atomic_store_n(&child.stopping, 1, __ATOMIC_SEQ_CST);
}

/* Every exit path of a child runs this: no thread of ours may be inside OpenSSL when it is torn
 * down. */
static apr_status_t join(void *data)
{
    apr_time_t give_up = apr_time_now() + JOIN_AT_MOST;

    (void)data;
    acmod_watchdog_child_stopping();
    while (__atomic_load_n(&child.busy, __ATOMIC_SEQ_CST) && apr_time_now() < give_up) {
        apr_sleep(apr_time_from_msec(2));
    }
    return APR_SUCCESS;
}

void acmod_watchdog_child_init(apr_pool_t *pchild, server_rec *base)
{
    (void)base;
    memset(&child, 0, sizeof(child));
    apr_pool_pre_cleanup_register(pchild, NULL, join);
}
