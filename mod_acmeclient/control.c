/* Licensed under the Apache License, Version 2.0; see LICENSE. */

/* The socket that acmectl talks to. Root opens it, the owner answers on it: a thread beside the
 * manager, one caller at a time, none but root's (and the user's the server was started as). */

#include "mod_acmeclient.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "http_core.h"
#include "unixd.h"

#define WAIT_MS 200
#define REQUEST_WITHIN apr_time_from_sec(5)
#define ANSWER_WITHIN apr_time_from_sec(30)
#define BACKLOG 16

/* ---- root: the socket ---- */

typedef struct {
    int fd;
    char path[sizeof(((struct sockaddr_un *)0)->sun_path)];
    dev_t dev;
    ino_t ino;
    pid_t pid; /* whose socket it is: children run cleanups, too */
} kept_t;

static kept_t *kept(void)
{
    kept_t *data = ap_retained_data_get("acmeclient_control_1");

    if (!data) {
        data = ap_retained_data_create("acmeclient_control_1", sizeof(*data));
        data->fd = -1;
    }
    return data;
}

static int is_there(const kept_t *data)
{
    struct stat st;

    return data->fd >= 0 && lstat(data->path, &st) == 0 && st.st_dev == data->dev
           && st.st_ino == data->ino;
}

static void give_up(kept_t *data)
{
    if (data->fd >= 0 && data->pid == getpid()) {
        if (is_there(data)) {
            (void)unlink(data->path);
        }
        close(data->fd);
        data->fd = -1;
    }
}

/* The configuration's end: the server's, too, or another one follows. */
static apr_status_t configuration_ends(void *baton)
{
    if (ap_state_query(AP_SQ_MAIN_STATE) == AP_SQ_MS_EXITING) {
        give_up(baton);
    }
    return APR_SUCCESS;
}

static void trouble(acmod_run_t *run, const char *text)
{
    run->control_code = text ? "AC0170" : NULL;
    run->control_trouble = text;
}

/* NULL: nothing is wrong with the place. */
static const char *wrong_place(const char *path, int look, apr_pool_t *pool)
{
    acme_error_t err;
    acme_rv_t rv;

    if (strlen(path) >= sizeof(((struct sockaddr_un *)0)->sun_path)) {
        return apr_psprintf(pool, "%s: the path of a socket has at most %d characters", path,
                            (int)sizeof(((struct sockaddr_un *)0)->sun_path) - 1);
    }
    acme_error_clear(&err);
    rv = acme_dir_check_beside(acme_file_dir(path, pool), geteuid(), pool, &err);
    if (rv == ACME_AGAIN && !look) {
        return apr_psprintf(pool, "%s: the directory is missing", path);
    }
    return rv == ACME_FAIL && err.status != EACCES ? apr_pstrdup(pool, err.text) : NULL;
}

/* One that nobody listens on is the rest of a server that was killed. */
static const char *clear_place(const struct sockaddr_un *address, apr_pool_t *pool)
{
    struct stat st;
    int fd, busy;

    if (lstat(address->sun_path, &st) != 0) {
        return NULL;
    }
    if (!S_ISSOCK(st.st_mode)) {
        return apr_psprintf(pool, "%s: is no socket; move it away", address->sun_path);
    }
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    busy = fd >= 0
           && (connect(fd, (const struct sockaddr *)address, sizeof(*address)) == 0
               || errno == EAGAIN);
    if (fd >= 0) {
        close(fd);
    }
    if (busy) {
        return apr_psprintf(pool, "%s: another server answers there; give each an AcmeControl of "
                            "its own", address->sun_path);
    }
    return unlink(address->sun_path) == 0 ? NULL
           : apr_psprintf(pool, "%s: %s", address->sun_path, strerror(errno));
}

static const char *listen_on(kept_t *data, const char *path, apr_pool_t *pool)
{
    struct sockaddr_un address;
    const char *fault;
    struct stat st;
    mode_t mask;
    int rc;

    memset(&address, 0, sizeof(address));
    address.sun_family = AF_UNIX;
    apr_cpystrn(address.sun_path, path, sizeof(address.sun_path));
    fault = clear_place(&address, pool);
    if (fault) {
        return fault;
    }
    data->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (data->fd < 0) {
        return apr_psprintf(pool, "%s: %s", path, strerror(errno));
    }
    mask = umask(0177);
    rc = bind(data->fd, (const struct sockaddr *)&address, sizeof(address));
    umask(mask);
    if (rc != 0 || listen(data->fd, BACKLOG) != 0 || lstat(path, &st) != 0) {
        fault = apr_psprintf(pool, "%s: %s", path, strerror(errno));
        close(data->fd);
        data->fd = -1;
        return fault;
    }
    apr_cpystrn(data->path, path, sizeof(data->path));
    data->dev = st.st_dev;
    data->ino = st.st_ino;
    return NULL;
}

void acmod_control_look(acmod_run_t *run, apr_pool_t *pool)
{
    const char *path = run->conf->control;

    run->control_fd = -1;
    trouble(run, path ? wrong_place(path, 1, pool) : NULL);
}

void acmod_control_open(acmod_run_t *run, apr_pool_t *pconf)
{
    const char *path = run->conf->control, *fault = NULL;
    kept_t *data = kept();

    run->control_fd = -1;
    if (!path || run->root.read_only) {
        give_up(data);
        return;
    }
    if (!is_there(data) || strcmp(data->path, path) != 0) {
        give_up(data);
        fault = wrong_place(path, 0, pconf);
        fault = fault ? fault : listen_on(data, path, pconf);
        data->pid = getpid();
    }
    apr_pool_cleanup_register(pconf, data, configuration_ends, apr_pool_cleanup_null);
    run->control_fd = data->fd;
    trouble(run, fault);
    if (fault) {
        acme_log(&run->log, ACME_LOG_ERR, run->control_code, NULL,
                 "AcmeControl: %s; acmectl cannot reach this server", fault);
    }
}

void acmod_control_inventory(const acmod_run_t *run, apr_pool_t *pconf)
{
    acme_inventory_t inventory;
    apr_pool_t *scratch;
    acme_error_t err;

    if (!run->root.usable || run->root.read_only
        || apr_pool_create(&scratch, pconf) != APR_SUCCESS) {
        return;
    }
    memset(&inventory, 0, sizeof(inventory));
    inventory.store = run->conf->store_dir;
    inventory.socket = run->control_fd >= 0 ? run->conf->control : NULL;
    inventory.uid = geteuid() == 0 ? ap_unixd_config.user_id : geteuid();
    inventory.gid = geteuid() == 0 ? ap_unixd_config.group_id : getegid();
    inventory.cas = run->conf->cas;
    inventory.specs = run->conf->specs;
    acme_error_clear(&err);
    if (acme_inventory_write(&inventory, run->root.uid, scratch, &err) != ACME_OK) {
        acme_log(&run->log, ACME_LOG_WARNING, "AC0940", NULL,
                 "acmectl will not know of this configuration: %s", err.text);
    }
    apr_pool_destroy(scratch);
}

/* ---- owner: answering ---- */

struct acmod_control_t {
    acmod_run_t *run;
    acme_manager_t *manager;
    pthread_t thread;
    int started, stop;
};

/* One caller. */
typedef struct {
    acmod_control_t *control;
    acmod_run_t *run;
    acme_control_request_t request;
    apr_pool_t *pool;
    int fd;
    int failed;          /* nobody listens any more */
    apr_time_t deadline; /* of acme_net_now */
} call_t;

static int asked_to_stop(const acmod_control_t *control)
{
    return __atomic_load_n(&control->stop, __ATOMIC_ACQUIRE);
}

/* Waits in slices. 1: ready. */
static int wait_for(const call_t *call, short events)
{
    struct pollfd pollfd;

    pollfd.fd = call->fd;
    pollfd.events = events;
    while (!asked_to_stop(call->control) && acme_net_now() < call->deadline) {
        pollfd.revents = 0;
        if (poll(&pollfd, 1, WAIT_MS) > 0) {
            return 1;
        }
    }
    return 0;
}

static void answer(call_t *call, const acme_json_t *json)
{
    const char *text = acme_json_dump(json, call->pool);
    apr_size_t len, at = 0;
    ssize_t n;

    text = apr_pstrcat(call->pool, text ? text : "{}", "\n", NULL);
    len = strlen(text);
    while (at < len && !call->failed) {
        n = send(call->fd, text + at, len - at, MSG_NOSIGNAL);
        if (n > 0) {
            at += (apr_size_t)n;
        }
        else if (n < 0 && errno != EINTR
                 && ((errno != EAGAIN && errno != EWOULDBLOCK) || !wait_for(call, POLLOUT))) {
            call->failed = 1;
        }
    }
}

static void conclude(call_t *call, int code, const char *error)
{
    acme_json_t *json = acme_json_new_object(call->pool);

    acme_json_set_bool(json, "ok", code == 0);
    if (code != 0) {
        acme_json_set_int(json, "exit", code);
        acme_json_set_string(json, "error", error);
    }
    answer(call, json);
}

static void set_time(acme_json_t *json, const char *key, apr_time_t t)
{
    char text[ACME_TIME_TEXT];

    if (t > 0) {
        acme_json_set_string(json, key, acme_time_format(text, t));
    }
}

static void set_text(acme_json_t *json, const char *key, const char *text, apr_pool_t *pool)
{
    apr_size_t size = strlen(text) + 1;

    if (*text) {
        acme_json_set_string(json, key, acme_printable(apr_palloc(pool, size), size, text, -1));
    }
}

/* What is newer than what root read. */
static void set_live(const call_t *call, acme_json_t *json, const acme_spec_t *spec)
{
    int row = call->run->rows[spec->index];
    const unsigned char *ders[10];
    acme_board_live_t live;
    acme_chain_t *chain;

    if (row < 0
        || acme_board_row_generation(call->run->board, row) <= call->run->baseline[spec->index]
        || acme_board_live_read(&live, call->run->board, row, call->pool, NULL) != ACME_OK) {
        return;
    }
    memcpy(ders, live.cert, sizeof(ders));
    if (acme_chain_from_der(&chain, ders, live.cert_len, live.n_certs, call->pool, NULL)
        == ACME_OK) {
        acme_json_set_string(json, "chain", acme_chain_to_pem(chain, call->pool));
        set_time(json, "since", live.since);
    }
}

static void tell_status(call_t *call, const acme_spec_t *spec)
{
    acme_json_t *json = acme_json_new_object(call->pool);
    int row = call->run->rows[spec->index];
    acme_board_status_t status;

    if (row < 0 || acme_board_status_read(&status, call->run->board, row) != ACME_OK) {
        memset(&status, 0, sizeof(status));
    }
    acme_json_set_string(json, "name", spec->id);
    acme_json_set_string(json, "label", spec->label);
    acme_json_set_string(json, "keyType", acme_key_type_name(spec->key_type));
    set_text(json, "state", status.state, call->pool);
    set_text(json, "why", status.why, call->pool);
    set_text(json, "step", status.step, call->pool);
    set_text(json, "serial", status.serial, call->pool);
    set_time(json, "notBefore", status.not_before);
    set_time(json, "notAfter", status.not_after);
    set_time(json, "next", status.next);
    set_time(json, "changed", status.changed);
    acme_json_set_int(json, "failures", (apr_int64_t)status.failures);
    set_text(json, "error", status.error, call->pool);
    set_text(json, "ca", status.ca, call->pool);
    set_text(json, "order", status.order_url, call->pool);
    set_text(json, "publish", status.publish, call->pool);
    set_text(json, "explanation", status.explanation, call->pool);
    if (call->request.name) {
        set_live(call, json, spec);
    }
    answer(call, json);
}

/* A name is that of one key type, or of all of a certificate's. */
static int is_meant(const call_t *call, const acme_spec_t *spec)
{
    const char *name = call->request.name;

    return !name || acme_ascii_casecmp(spec->id, name) == 0
           || acme_ascii_casecmp(spec->label, name) == 0;
}

typedef int each_fn(call_t *call, const acme_spec_t *spec); /* an exit code */

/* Calls a function for each certificate that is meant; the worst of their exit codes. */
static void for_each(call_t *call, each_fn *each)
{
    const apr_array_header_t *specs = call->run->conf->specs;
    int i, found = 0, worst = 0, code;
    apr_pool_t *pool = call->pool;

    apr_pool_create(&call->pool, pool);
    for (i = 0; i < specs->nelts && !call->failed && !asked_to_stop(call->control); i++) {
        const acme_spec_t *spec = APR_ARRAY_IDX(specs, i, const acme_spec_t *);

        if (is_meant(call, spec)) {
            found = 1;
            code = each(call, spec);
            worst = code > worst ? code : worst;
            apr_pool_clear(call->pool);
        }
    }
    call->pool = pool;
    if (!found && call->request.name) {
        conclude(call, 3, "no such certificate");
    }
    else {
        conclude(call, worst, "not all could be done");
    }
}

static int each_status(call_t *call, const acme_spec_t *spec)
{
    tell_status(call, spec);
    return 0;
}

static int tell_result(call_t *call, const acme_spec_t *spec, const char *result,
                       const acme_error_t *err)
{
    acme_json_t *json = acme_json_new_object(call->pool);

    acme_json_set_string(json, "name", spec->id);
    acme_json_set_string(json, "result", result);
    if (err) {
        set_text(json, "error", err->text, call->pool);
    }
    answer(call, json);
    return err ? 2 : 0;
}

static int each_ask(call_t *call, const acme_spec_t *spec)
{
    acme_ask_what_t what = call->request.command == ACME_CONTROL_RETRY ? ACME_ASK_RETRY
                           : call->request.new_key ? ACME_ASK_RENEW_NEW_KEY : ACME_ASK_RENEW;
    acme_error_t err;

    acme_error_clear(&err);
    switch (acme_manager_ask(call->control->manager, spec->index, what, &err)) {
    case ACME_ASK_ACCEPTED:
        return tell_result(call, spec, "accepted", NULL);
    case ACME_ASK_UNDER_WAY:
        return tell_result(call, spec, "under way", NULL);
    case ACME_ASK_NOTHING:
        return tell_result(call, spec, "nothing to retry", NULL);
    case ACME_ASK_HELD:
        break;
    }
    return tell_result(call, spec, "held", &err);
}

static int each_revoke(call_t *call, const acme_spec_t *spec)
{
    acme_error_t err;

    acme_error_clear(&err);
    if (acme_manager_revoke(call->control->manager, spec->index, call->request.der,
                            call->request.der_len, call->request.reason, &err) == ACME_OK) {
        return tell_result(call, spec, "revoked", NULL);
    }
    return tell_result(call, spec, "not revoked", &err);
}

static void for_account(call_t *call)
{
    const apr_array_header_t *cas = call->run->conf->cas;
    acme_manager_t *manager = call->control->manager;
    acme_error_t err;
    acme_rv_t rv;
    int i, at = -1;

    for (i = 0; i < cas->nelts; i++) {
        if (strcmp(APR_ARRAY_IDX(cas, i, const acme_ca_t *)->name, call->request.name) == 0) {
            at = i;
        }
    }
    if (at < 0) {
        conclude(call, 3, "no such CA");
        return;
    }
    acme_error_clear(&err);
    rv = call->request.command == ACME_CONTROL_ROLLOVER
         ? acme_manager_rollover(manager, at, &err) : acme_manager_deactivate(manager, at, &err);
    conclude(call, rv == ACME_OK ? 0 : 2, err.text);
}

static void dispatch(call_t *call)
{
    switch (call->request.command) {
    case ACME_CONTROL_STATUS:
        for_each(call, each_status);
        break;
    case ACME_CONTROL_RETRY:
    case ACME_CONTROL_RENEW:
        for_each(call, each_ask);
        break;
    case ACME_CONTROL_REVOKE:
        for_each(call, each_revoke);
        break;
    case ACME_CONTROL_ROLLOVER:
    case ACME_CONTROL_DEACTIVATE:
        for_account(call);
        break;
    case ACME_CONTROL_COMMANDS:
        break;
    }
}

/* ---- owner: callers ---- */

static int may_ask(const call_t *call)
{
    struct ucred peer;
    socklen_t len = sizeof(peer);

    if (getsockopt(call->fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) != 0) {
        return 0;
    }
    if (peer.uid != 0 && peer.uid != call->run->root.uid) {
        acme_log(&call->run->log, ACME_LOG_WARNING, "AC0173", NULL,
                 "AcmeControl: uid %ld, pid %ld may not ask", (long)peer.uid, (long)peer.pid);
        return 0;
    }
    return 1;
}

/* One line. 0: none came. */
static int read_request(call_t *call, const char **text, apr_size_t *len)
{
    char *buffer = apr_palloc(call->pool, ACME_CONTROL_MAX + 1);
    const char *end = NULL;
    ssize_t n;

    *text = buffer;
    for (*len = 0; !end && *len <= ACME_CONTROL_MAX && wait_for(call, POLLIN);) {
        n = recv(call->fd, buffer + *len, ACME_CONTROL_MAX + 1 - *len, 0);
        if (n == 0 || (n < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR)) {
            return 0;
        }
        if (n > 0) {
            end = memchr(buffer + *len, '\n', (apr_size_t)n);
            *len += (apr_size_t)n;
        }
    }
    *len = end ? (apr_size_t)(end - buffer) : *len;
    return end || *len > ACME_CONTROL_MAX;
}

static void serve(acmod_control_t *control, int fd)
{
    acme_error_t err;
    const char *text;
    apr_size_t len;
    call_t call;

    memset(&call, 0, sizeof(call));
    if (apr_pool_create_unmanaged_ex(&call.pool, NULL, NULL) != APR_SUCCESS) {
        return;
    }
    call.control = control;
    call.run = control->run;
    call.fd = fd;
    call.deadline = acme_net_now() + REQUEST_WITHIN;
    acme_error_clear(&err);
    if (may_ask(&call) && read_request(&call, &text, &len)) {
        if (acme_control_parse(&call.request, text, len, call.pool, &err) != ACME_OK) {
            conclude(&call, 1, err.text);
        }
        else {
            acme_log(&control->run->log, ACME_LOG_INFO, "AC0941", NULL, "acmectl asks: %s %s",
                     acme_control_command_name(call.request.command),
                     call.request.name ? call.request.name : "");
            /* What the CA takes is not the caller's; see answer(). */
            call.deadline = acme_net_now() + ANSWER_WITHIN + apr_time_from_sec(300);
            dispatch(&call);
        }
    }
    apr_pool_destroy(call.pool);
}

/* An owner of an older configuration leaves callers to the next one. */
static void *control_thread(void *baton)
{
    acmod_control_t *control = baton;
    struct pollfd pollfd;
    int fd;

    pollfd.fd = control->run->control_fd;
    pollfd.events = POLLIN;
    while (!asked_to_stop(control)
           && acme_board_config(control->run->board) == control->run->config) {
        pollfd.revents = 0;
        if (poll(&pollfd, 1, WAIT_MS / 4) <= 0 || !acme_manager_ready(control->manager)) {
            if (pollfd.revents) {
                poll(NULL, 0, WAIT_MS / 4);
            }
            continue;
        }
        if (acme_board_config(control->run->board) != control->run->config) {
            break;
        }
        fd = accept4(control->run->control_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd >= 0) {
            serve(control, fd);
            close(fd);
        }
    }
    return NULL;
}

acmod_control_t *acmod_control_start(acmod_run_t *run, acme_manager_t *manager, apr_pool_t *pool)
{
    acmod_control_t *control = apr_pcalloc(pool, sizeof(*control));

    control->run = run;
    control->manager = manager;
    /* Signals are blocked in the caller, so in the thread. */
    control->started = run->control_fd >= 0
                       && pthread_create(&control->thread, NULL, control_thread, control) == 0;
    return control;
}

void acmod_control_stop(acmod_control_t *control)
{
    if (control->started) {
        __atomic_store_n(&control->stop, 1, __ATOMIC_RELEASE);
        pthread_join(control->thread, NULL);
    }
}
