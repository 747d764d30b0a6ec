/* Licensed under the Apache License, Version 2.0; see LICENSE. */

/* The helper that runs programs as AcmeCommandUser: forked by root at each real pass, one for each
 * generation, and again when it dies. It goes by itself when the last child of its generation has
 * gone: root never signals it, and an owner of the former generation has its helper to the end. */

#include "mod_acmeclient.h"

#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#ifdef __linux__
#include <sys/prctl.h>
#endif

#include "ap_mpm.h"
#include "http_core.h"

#include "io/helper.h"
#include "io/process.h"

#define FORMER_MAX 32
#define QUICK apr_time_from_sec(10)
#define QUICK_DEATHS_MAX 5

enum { HELPERS = 0, CHILDREN = 1 }; /* ends of the shared socket */

/* Of former generations: the parent has to know them until they are gone. */
typedef struct {
    pid_t pid[FORMER_MAX];
    int n;
} kept_t;

static struct {
    acmod_run_t *run;
    apr_pool_t *pconf;
    int shared[2];
    apr_proc_t proc;
    apr_time_t began;
    int quick_deaths;
} current;

static kept_t *kept(void)
{
    kept_t *data = ap_retained_data_get("acmeclient_helpers_1");

    return data ? data : ap_retained_data_create("acmeclient_helpers_1", sizeof(*data));
}

/* ---- the process ---- */

static int drop_privileges(const acmod_conf_t *conf)
{
    return initgroups(conf->command_user, conf->command_gid) == 0
           && setgid(conf->command_gid) == 0 && setuid(conf->command_uid) == 0
           && geteuid() == conf->command_uid && getuid() == conf->command_uid && setuid(0) != 0;
}

static void use_null(void)
{
    int fd, null = open("/dev/null", O_RDWR);

    for (fd = 0; fd < 3 && null >= 0; fd++) {
        (void)dup2(null, fd);
    }
}

static void default_signals(void)
{
    sigset_t none;
    int i;

    for (i = 1; i < NSIG; i++) {
        signal(i, i == SIGPIPE ? SIG_IGN : SIG_DFL);
    }
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

static void live(const acmod_conf_t *conf)
{
    acme_helper_conf_t helper;

    setsid(); /* signals to the server's process group are not for it */
    default_signals();
    use_null();
    acme_process_close_others(current.shared[HELPERS]);
    if (chdir("/") != 0 || !drop_privileges(conf)) {
        _exit(1);
    }
#ifdef __linux__
    prctl(PR_SET_DUMPABLE, 0); /* root's memory is in here */
#endif
    helper.fd = current.shared[HELPERS];
    helper.env = conf->command_env;
    helper.commands = conf->commands;
    helper.n_commands = conf->n_commands;
    acme_helper_serve(&helper);
    _exit(0);
}

/* ---- the parent ---- */

static void forget(pid_t pid)
{
    kept_t *data = kept();
    int i;

    for (i = 0; i < data->n; i++) {
        if (data->pid[i] == pid) {
            data->pid[i] = data->pid[--data->n];
            return;
        }
    }
}

static void maintain(int reason, void *data, apr_wait_t status);

static void start(void)
{
    kept_t *data = kept();
    pid_t pid = fork();

    if (pid == 0) {
        live(current.run->conf);
    }
    if (pid < 0) {
        acme_log(&current.run->log, ACME_LOG_ERR, "AC0916", NULL,
                 "AcmeCommandUser %s: no helper process could be forked: %s; no program runs",
                 current.run->conf->command_user, strerror(errno));
        return;
    }
    current.began = apr_time_now();
    current.proc.pid = pid;
    apr_proc_other_child_register(&current.proc, maintain, &current.proc, NULL, current.pconf);
    if (data->n < FORMER_MAX) {
        data->pid[data->n++] = pid;
    }
}

static void start_again(int status)
{
    int state = 0;

    if (ap_mpm_query(AP_MPMQ_MPM_STATE, &state) != APR_SUCCESS || state == AP_MPMQ_STOPPING
        || current.shared[HELPERS] < 0) {
        return;
    }
    if (apr_time_now() - current.began >= QUICK) {
        current.quick_deaths = 0;
    }
    acme_log(&current.run->log, ACME_LOG_WARNING, "AC0917", NULL,
             "the helper process of AcmeCommandUser %s ended (%s %d)%s",
             current.run->conf->command_user, WIFSIGNALED(status) ? "signal" : "exit status",
             WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status),
             current.quick_deaths < QUICK_DEATHS_MAX
                 ? "; it is started again" : ", as before: no program runs until the next restart");
    if (current.quick_deaths++ < QUICK_DEATHS_MAX) {
        start();
    }
}

/* Called by the MPM's loop. */
static void maintain(int reason, void *data, apr_wait_t status)
{
    apr_proc_t *proc = data;

    if (reason != APR_OC_REASON_DEATH && reason != APR_OC_REASON_LOST) {
        return;
    }
    apr_proc_other_child_unregister(data);
    forget(proc->pid);
    if (proc == &current.proc) {
        start_again(status);
    }
}

/* The MPM wonders about a child that nobody knows. */
static void adopt_former(apr_pool_t *pconf)
{
    kept_t *data = kept();
    int i;

    for (i = data->n - 1; i >= 0; i--) {
        apr_proc_t *proc = apr_pcalloc(pconf, sizeof(*proc));

        proc->pid = data->pid[i];
        if (waitpid(proc->pid, NULL, WNOHANG) == 0) {
            apr_proc_other_child_register(proc, maintain, proc, NULL, pconf);
        }
        else {
            forget(proc->pid);
        }
    }
}

static void close_end(int end)
{
    if (current.shared[end] >= 0) {
        close(current.shared[end]);
    }
    current.shared[end] = -1;
}

static apr_status_t end_of_generation(void *data)
{
    (void)data;
    close_end(HELPERS);
    close_end(CHILDREN);
    return APR_SUCCESS;
}

void acmod_helper_start(acmod_run_t *run, apr_pool_t *pconf)
{
    acmod_conf_t *conf = run->conf;

    run->helper_fd = -1;
    memset(&current, 0, sizeof(current));
    current.shared[HELPERS] = current.shared[CHILDREN] = -1;
    adopt_former(pconf);
    if (!conf->command_user || conf->command_trouble || conf->n_commands == 0) {
        return;
    }
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, current.shared) != 0) {
        conf->command_trouble = "there is no socket to the helper process";
        return;
    }
    apr_pool_cleanup_register(pconf, NULL, end_of_generation, apr_pool_cleanup_null);
    current.run = run;
    current.pconf = pconf;
    run->helper_fd = current.shared[CHILDREN];
    start();
}

void acmod_helper_child_init(void)
{
    close_end(HELPERS);
}
