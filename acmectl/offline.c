/* Licensed under the Apache License, Version 2.0; see LICENSE. */

/* Without a server: a child takes the identity of httpd's children before it opens a socket, and
 * talks to the CA with the account's key, which it has from its parent's memory. What is to be
 * recorded it hands to the parent, root, who writes it to the account's log and says when it is on
 * disk. */

#include "acmectl.h"

#include <errno.h>
#include <grp.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#ifdef __linux__
#include <sys/prctl.h>
#endif

#include <apr_strings.h>

#define WITHIN apr_time_from_sec(180)

typedef struct {
    enum { MESSAGE_APPEND, MESSAGE_RESULT } kind;
    int value; /* type of the record; what the job returned */
    apr_size_t len;
} message_t;

static int send_all(int fd, const void *data, apr_size_t len)
{
    const char *at = data;
    ssize_t n;

    while (len > 0) {
        n = send(fd, at, len, MSG_NOSIGNAL);
        if (n < 0 && errno != EINTR) {
            return 0;
        }
        at += n > 0 ? n : 0;
        len -= n > 0 ? (apr_size_t)n : 0;
    }
    return 1;
}

static int receive_all(int fd, void *data, apr_size_t len, apr_time_t deadline)
{
    struct pollfd pollfd;
    char *at = data;
    ssize_t n;

    pollfd.fd = fd;
    pollfd.events = POLLIN;
    while (len > 0 && acme_net_now() < deadline) {
        if (poll(&pollfd, 1, 200) <= 0) {
            continue;
        }
        n = recv(fd, at, len, 0);
        if (n == 0 || (n < 0 && errno != EINTR)) {
            return 0;
        }
        at += n > 0 ? n : 0;
        len -= n > 0 ? (apr_size_t)n : 0;
    }
    return len == 0;
}

static int tell(int fd, int kind, int value, const char *data, apr_size_t len)
{
    message_t message;

    memset(&message, 0, sizeof(message));
    message.kind = kind;
    message.value = value;
    message.len = len;
    return send_all(fd, &message, sizeof(message)) && send_all(fd, data, len);
}

/* ---- the child ---- */

/* Reads what the parent has read, writes through it. */
typedef struct {
    acme_store_t base; /* first: a store is one of these */
    acme_record_set_t set;
    int fd;
} remote_t;

static acme_rv_t remote_load(acme_store_t *store, acme_record_set_t *out, const char *id,
                             apr_pool_t *pool, acme_error_t *err)
{
    (void)id, (void)pool, (void)err;
    *out = ((remote_t *)store)->set;
    return ACME_OK;
}

static acme_rv_t remote_append(acme_store_t *store, const char *id, acme_record_type_t type,
                               const char *payload, apr_size_t len, apr_time_t now,
                               apr_pool_t *scratch, acme_error_t *err)
{
    remote_t *remote = (remote_t *)store;
    int done = 0;

    (void)now, (void)scratch;
    if (!tell(remote->fd, MESSAGE_APPEND, (int)type, payload, len)
        || !receive_all(remote->fd, &done, sizeof(done), acme_net_now() + WITHIN) || !done) {
        return acme_error_set(err, ACME_E_STORE, "AC0942", "%s: could not be recorded", id);
    }
    return ACME_OK;
}

static int drop_privileges(const acme_inventory_t *inventory)
{
    if (geteuid() != 0 || inventory->uid == 0) {
        return 1;
    }
    if (setgroups(1, &inventory->gid) != 0 || setgid(inventory->gid) != 0
        || setuid(inventory->uid) != 0 || setuid(0) == 0) {
        return 0;
    }
#ifdef __linux__
    /* Keys are in here, and others run as this user. */
    return prctl(PR_SET_DUMPABLE, 0) == 0;
#else
    return 1;
#endif
}

typedef struct {
    const acme_inventory_t *inventory;
    acme_account_item_t account;
    acme_record_set_t set;
    acmectl_job_t *job;
    void *baton;
} task_t;

static acme_rv_t child_run(const task_t *task, int fd, apr_pool_t *pool, acme_error_t *err)
{
    remote_t *remote = apr_pcalloc(pool, sizeof(*remote));
    acme_transport_conf_t transport;
    acme_session_conf_t conf;
    acme_session_t *session;

    if (!drop_privileges(task->inventory)) {
        return acme_error_system(err, ACME_E_SYSTEM, "AC0943", errno, "become uid %ld",
                                 (long)task->inventory->uid);
    }
    memset(&transport, 0, sizeof(transport));
    memset(&conf, 0, sizeof(conf));
    remote->base.load = remote_load;
    remote->base.append = remote_append;
    remote->set = task->set;
    remote->fd = fd;
    transport.ca_file = task->account.ca->ca_file;
    transport.proxy = task->account.ca->proxy;
    transport.proxy_user = task->account.ca->proxy_user;
    transport.user_agent = "mod_acmeclient/acmectl";
    if (acme_key_from_jwk(&conf.key, task->account.jwk, strlen(task->account.jwk), pool, err)
        != ACME_OK) {
        return ACME_FAIL;
    }
    conf.ca = task->account.ca;
    conf.account_id = task->account.id;
    conf.store = &remote->base;
    conf.transport = acme_transport_create(&transport, pool);
    if (acme_session_create(&session, &conf, pool, err) != ACME_OK
        || acme_session_ready(session, pool, err) != ACME_OK) {
        return ACME_FAIL;
    }
    return task->job(session, task->baton, pool, err);
}

static void child_main(const task_t *task, int fd, apr_pool_t *pool)
{
    acme_error_t err;
    acme_rv_t rv;

    acme_error_clear(&err);
    rv = child_run(task, fd, pool, &err);
    (void)tell(fd, MESSAGE_RESULT, rv == ACME_OK, err.text, strlen(err.text));
    _exit(0);
}

/* ---- the parent ---- */

static int append(task_t *task, const message_t *message, const char *payload, apr_pool_t *pool)
{
    const char *path = apr_pstrcat(pool, task->account.ca->auth_path, ".upd", NULL);
    acme_record_t rec;
    const char *bytes;
    apr_size_t len;
    int fd, done = 0;

    memset(&rec, 0, sizeof(rec));
    rec.id = task->account.id;
    rec.type = (acme_record_type_t)message->value;
    rec.seq = ++task->set.last_seq;
    rec.time = apr_time_now();
    rec.payload = payload;
    rec.len = message->len;
    if ((rec.type != ACME_REC_ACCOUNT && rec.type != ACME_REC_ROLLOVER)
        || acme_record_encode(&bytes, &len, &rec, pool, NULL) != ACME_OK
        || acme_log_open(&fd, path, geteuid(), NULL) != ACME_OK) {
        return 0;
    }
    done = write(fd, bytes, len) == (ssize_t)len && fdatasync(fd) == 0;
    close(fd);
    return done;
}

static int attend(const acmectl_t *ctl, task_t *task, int fd)
{
    apr_time_t deadline = acme_net_now() + WITHIN;
    message_t message;
    char *data;
    int done;

    while (receive_all(fd, &message, sizeof(message), deadline)
           && message.len <= ACME_RECORD_PAYLOAD_MAX) {
        data = apr_pcalloc(ctl->pool, message.len + 1);
        if (!receive_all(fd, data, message.len, deadline)) {
            break;
        }
        if (message.kind == MESSAGE_RESULT) {
            return message.value ? ACMECTL_OK : acmectl_fail(ctl, ACMECTL_FAILED, "%s", data);
        }
        done = append(task, &message, data, ctl->pool);
        acme_cleanse(data, message.len);
        if (!send_all(fd, &done, sizeof(done))) {
            break;
        }
    }
    return acmectl_fail(ctl, ACMECTL_FAILED, "%s: no answer in time", task->account.ca->name);
}

/* The account's key and what is recorded of it. */
static int load(const acmectl_t *ctl, task_t *task, const acme_inventory_t *inventory,
                acme_ca_t *ca)
{
    apr_array_header_t *records = apr_array_make(ctl->pool, 8, sizeof(acme_record_t));
    acme_staged_log_t *log = apr_pcalloc(ctl->pool, sizeof(*log));
    acme_staged_want_t want;
    acme_staged_t staged;
    acme_error_t err;
    int i;

    acme_error_clear(&err);
    if (ca->proxy_file != NULL
        && acme_secret_proxy(ca, geteuid(), ctl->pool, &err) != ACME_OK) {
        return acmectl_fail(ctl, ACMECTL_FAILED, "%s", err.text);
    }
    task->inventory = inventory;
    task->account.ca = ca;
    acme_account_key(&task->account, inventory->store, geteuid(), 1, NULL, ctl->pool);
    if (task->account.jwk == NULL) {
        return acmectl_fail(ctl, ACMECTL_FAILED, "%s",
                            task->account.trouble != NULL ? task->account.trouble
                                                          : "there is no account key yet");
    }
    if (acme_staged_read(log, apr_pstrcat(ctl->pool, ca->auth_path, ".upd", NULL), geteuid(),
                         ACME_LOG_CAP, ctl->pool, NULL) != ACME_OK) {
        return ACMECTL_OK;
    }
    acme_staged_gather(records, log, task->account.id, ctl->pool);
    memset(&want, 0, sizeof(want));
    acme_staged_choose(&staged, records, &want, ctl->pool);
    task->set.last_seq = staged.last_seq;
    for (i = 0; i < ACME_REC_TYPES; i++) {
        task->set.present[i] = staged.newest[i] != NULL;
        if (staged.newest[i] != NULL) {
            task->set.rec[i] = *staged.newest[i];
        }
    }
    return ACMECTL_OK;
}

int acmectl_offline(const acmectl_t *ctl, const acme_inventory_t *inventory, acme_ca_t *ca,
                    acmectl_job_t *job, void *baton)
{
    int pair[2], status, code;
    task_t task;
    pid_t pid;

    memset(&task, 0, sizeof(task));
    task.job = job;
    task.baton = baton;
    code = load(ctl, &task, inventory, ca);
    if (code != ACMECTL_OK) {
        return code;
    }
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0) {
        return acmectl_fail(ctl, ACMECTL_FAILED, "socketpair: %s", strerror(errno));
    }
    pid = fork();
    if (pid == 0) {
        close(pair[0]);
        child_main(&task, pair[1], ctl->pool);
    }
    close(pair[1]);
    code = pid > 0 ? attend(ctl, &task, pair[0])
               : acmectl_fail(ctl, ACMECTL_FAILED, "fork: %s", strerror(errno));
    close(pair[0]);
    if (pid > 0) {
        kill(pid, SIGKILL);
        while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
        }
    }
    return code;
}
