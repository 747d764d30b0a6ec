/* Licensed under the Apache License, Version 2.0; see LICENSE. */

/* Root's part of a start: before mod_ssl reads its files, journal, pairs and placeholders (every
 * pass), then staged pairs, staging logs and locks (the real pass). */

#include "mod_acmeclient.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ap_mpm.h"
#include "http_core.h"
#include "unixd.h"

#include "io/tls.h"

#define OWN_LOGS_MAX 1024       /* more share one log */
#define DESCRIPTORS_TO_SPARE 1000

typedef struct {
    int fd;            /* of the lock file, opened once */
    char path[APR_PATH_MAX];
    acme_store_cache_t *cache;
} kept_t;

static kept_t *kept(void)
{
    kept_t *data = ap_retained_data_get("acmeclient_store_2");

    if (!data) {
        data = ap_retained_data_create("acmeclient_store_2", sizeof(*data));
        data->fd = -1;
    }
    return data;
}

static int own_logs_max(void)
{
    struct rlimit limit;
    int daemons = 0, threads = 0;
    apr_int64_t room;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) {
        return 0;
    }
    ap_mpm_query(AP_MPMQ_MAX_DAEMONS, &daemons);
    ap_mpm_query(AP_MPMQ_MAX_THREADS, &threads);
    if (limit.rlim_cur == RLIM_INFINITY) {
        return OWN_LOGS_MAX;
    }
    /* Descriptors of a child: connections of one child, not of all of them. */
    room = ((apr_int64_t)limit.rlim_cur - (threads > 0 ? threads : 1) - DESCRIPTORS_TO_SPARE) / 2;
    return room < 0 ? 0 : room > OWN_LOGS_MAX ? OWN_LOGS_MAX : (int)room;
}

static void raise_descriptor_limit(apr_int64_t wanted)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY
        && (apr_int64_t)limit.rlim_cur < wanted) {
        limit.rlim_cur = limit.rlim_max == RLIM_INFINITY || (apr_int64_t)limit.rlim_max > wanted
                         ? (rlim_t)wanted : limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

/* ---- what can be read by those who have to ---- */

/* bits: S_IRUSR and its like, of the owner. */
static int may(const struct stat *st, uid_t uid, gid_t gid, mode_t bits)
{
    return (st->st_mode & (bits >> (st->st_uid == uid ? 0 : st->st_gid == gid ? 3 : 6))) != 0;
}

/* NULL, or what on the way to the file the user of the children cannot pass. */
static const char *closed_to_children(const char *path, struct stat *st, apr_pool_t *pool)
{
    uid_t uid = geteuid() == 0 ? ap_unixd_config.user_id : geteuid();
    gid_t gid = geteuid() == 0 ? ap_unixd_config.group_id : getegid();
    const char *at = strchr(path + 1, '/');
    const char *dir;

    for (; at; at = strchr(at + 1, '/')) {
        dir = apr_pstrmemdup(pool, path, (apr_size_t)(at - path));
        if (stat(dir, st) == 0 && !may(st, uid, gid, S_IXUSR)) {
            return dir;
        }
    }
    return stat(path, st) == 0 && !may(st, uid, gid, S_IRUSR) ? path : NULL;
}

/* Trust anchors are loaded by the owner, later; here it is only told what it will meet. */
int acmod_adopt_ca_files(const acmod_run_t *run, acmod_tell_t *tell, void *baton, apr_pool_t *pool)
{
    apr_hash_t *told = apr_hash_make(pool);
    acme_tls_trust_t *trust;
    acme_error_t err;
    apr_pool_t *sub;
    const char *closed;
    struct stat st;
    int i, found = 0;

    apr_pool_create(&sub, pool);
    for (i = 0; i < run->conf->cas->nelts; i++) {
        const acme_ca_t *ca = APR_ARRAY_IDX(run->conf->cas, i, const acme_ca_t *);

        if (!ca->ca_file || apr_hash_get(told, ca->ca_file, APR_HASH_KEY_STRING)) {
            continue;
        }
        apr_hash_set(told, ca->ca_file, APR_HASH_KEY_STRING, ca);
        acme_error_clear(&err);
        closed = closed_to_children(ca->ca_file, &st, pool);
        if (acme_tls_trust_create(&trust, ca->ca_file, sub, &err) != ACME_OK) {
            tell(baton, err.code, ca->name,
                 apr_psprintf(pool, "%s; it gets no request until this is mended", err.text));
            found++;
        }
        else if (closed) {
            tell(baton, "AC0122", ca->name,
                 apr_psprintf(pool, "AcmeCAFile %s: %s has owner uid %ld and mode %04o; wanted: "
                              "readable by the user of the children; remedy: chmod a+%s '%s'; it "
                              "gets no request until this is mended", ca->ca_file, closed,
                              (long)st.st_uid, (unsigned)(st.st_mode & 07777),
                              closed == ca->ca_file ? "r" : "x", closed));
            found++;
        }
        apr_pool_clear(sub);
    }
    apr_pool_destroy(sub);
    return found;
}

/* Secrets in files of the administrator's. look: who only looks need not be able to read them. */
static void secret_trouble(acmod_run_t *run, const acme_ca_t *ca, const acme_error_t *err, int look)
{
    if (look && err->status == EACCES) {
        return;
    }
    acme_log(&run->log, ACME_LOG_ERR, err->code, ca->name, "%s", err->text);
    run->secrets_bad++;
}

static void secrets_read(acmod_run_t *run, int look, apr_pool_t *pconf)
{
    acme_error_t err;
    int i;

    run->secrets_bad = 0;
    for (i = 0; i < run->conf->cas->nelts; i++) {
        acme_ca_t *ca = APR_ARRAY_IDX(run->conf->cas, i, acme_ca_t *);

        acme_error_clear(&err);
        if (ca->eab_file && acme_secret_external(ca, geteuid(), pconf, &err) != ACME_OK) {
            secret_trouble(run, ca, &err, look);
        }
        acme_error_clear(&err);
        if (ca->proxy_file && acme_secret_proxy(ca, geteuid(), pconf, &err) != ACME_OK) {
            secret_trouble(run, ca, &err, look);
        }
    }
}

static void tell_log(void *baton, const char *code, const char *subject, const char *text)
{
    const acmod_run_t *run = baton;

    acme_log(&run->log, ACME_LOG_ERR, code, subject, "%s", text);
}

/* ---- the pass ---- */

static void pass_init(acmod_run_t *run, apr_pool_t *pconf)
{
    acmod_conf_t *conf = run->conf;
    int i, j;

    run->items = apr_pcalloc(pconf, sizeof(acme_item_t) * (apr_size_t)(conf->specs->nelts + 1));
    for (i = 0; i < conf->specs->nelts; i++) {
        run->items[i].spec = APR_ARRAY_IDX(conf->specs, i, const acme_spec_t *);
        run->items[i].fd = run->items[i].key_fd = -1;
    }
    for (i = 0; i < conf->certs->nelts; i++) {
        acmod_cert_t *cert = APR_ARRAY_IDX(conf->certs, i, acmod_cert_t *);

        cert->items = apr_array_make(pconf, cert->specs->nelts, sizeof(acme_item_t *));
        for (j = 0; j < cert->specs->nelts; j++) {
            const acme_spec_t *spec = APR_ARRAY_IDX(cert->specs, j, const acme_spec_t *);

            APR_ARRAY_PUSH(cert->items, acme_item_t *) = &run->items[spec->index];
        }
    }
    run->root.store = conf->store_dir;
    run->root.uid = geteuid();
    run->root.backups = conf->backups;
    run->root.now = apr_time_now();
    run->root.log = &run->log;
    run->root.overflow_fd = -1;
    run->root.fallback_dir = ap_runtime_dir_relative(pconf, "");
    run->accounts = apr_pcalloc(pconf,
                                sizeof(acme_account_item_t) * (apr_size_t)(conf->cas->nelts + 1));
    for (i = 0; i < conf->cas->nelts; i++) {
        run->accounts[i].ca = APR_ARRAY_IDX(conf->cas, i, const acme_ca_t *);
        run->accounts[i].fd = -1;
    }
}

void acmod_adopt_prepare(acmod_run_t *run, apr_pool_t *pconf)
{
    pass_init(run, pconf);
    if (!kept()->cache) {
        kept()->cache = acme_store_cache_create(run->base->process->pool);
    }
    run->root.cache = kept()->cache;
    acme_store_prepare(&run->root, run->items, run->conf->specs->nelts, 0, pconf);
}

void acmod_adopt_look(acmod_run_t *run, apr_pool_t *pconf)
{
    pass_init(run, pconf);
    secrets_read(run, 1, pconf);
    acme_store_prepare(&run->root, run->items, run->conf->specs->nelts, 1, pconf);
    acme_store_look_accounts(&run->root, run->accounts, run->conf->cas->nelts, pconf);
}

/* One directory's fault is that of a thousand certificates: each text once. */
static int line_log(const acmod_run_t *run, apr_hash_t *told, const char *code, const char *subject,
                    const char *text)
{
    if (!text || apr_hash_get(told, text, APR_HASH_KEY_STRING)) {
        return 0;
    }
    apr_hash_set(told, text, APR_HASH_KEY_STRING, text);
    acme_log(&run->log, ACME_LOG_ERR, code, subject, "%s", text);
    return 1;
}

int acmod_adopt_tell(const acmod_run_t *run, apr_pool_t *pool)
{
    apr_hash_t *told = apr_hash_make(pool);
    int i, found = line_log(run, told, run->root.trouble_code, NULL, run->root.trouble);

    if (run->root.warning) {
        acme_log(&run->log, ACME_LOG_WARNING, "AC0627", NULL, "%s", run->root.warning);
        found++;
    }
    if (run->root.elsewhere) {
        acme_log(&run->log, ACME_LOG_WARNING, "AC0677", NULL, "%s", run->root.elsewhere);
        found++;
    }
    for (i = 0; i < run->conf->specs->nelts; i++) {
        const acme_item_t *item = &run->items[i];

        found += line_log(run, told, item->trouble_code, item->spec->label, item->trouble);
        found += line_log(run, told, item->remark_code, item->spec->label, item->remark);
    }
    for (i = 0; i < run->conf->cas->nelts; i++) {
        const acme_account_item_t *account = &run->accounts[i];

        found += line_log(run, told, account->trouble_code, account->ca->name, account->trouble);
    }
    if (run->control_trouble) {
        found += line_log(run, told, run->control_code, NULL,
                          apr_psprintf(pool, "AcmeControl: %s; acmectl cannot reach this server",
                                       run->control_trouble));
    }
    return found + run->secrets_bad + acmod_adopt_ca_files(run, tell_log, (void *)run, pool);
}

void acmod_adopt_real(acmod_run_t *run, apr_pool_t *pconf)
{
    acmod_conf_t *conf = run->conf;

    raise_descriptor_limit(2 * (apr_int64_t)conf->specs->nelts + 2 * DESCRIPTORS_TO_SPARE);
    run->root.own_logs_max = own_logs_max();
    secrets_read(run, 0, pconf);
    acme_store_adopt(&run->root, run->items, conf->specs->nelts, run->accounts, conf->cas->nelts,
                     pconf);
    (void)acmod_adopt_tell(run, pconf);
}

static int lock_ask(int fd, int command, short type, off_t byte, struct flock *lock)
{
    memset(lock, 0, sizeof(*lock));
    lock->l_type = type;
    lock->l_whence = SEEK_SET;
    lock->l_start = byte;
    lock->l_len = 1;
    return fcntl(fd, command, lock) == 0;
}

int acmod_adopt_try_owner(const acmod_run_t *run)
{
    struct flock lock;

    return run->lock_fd >= 0 && lock_ask(run->lock_fd, F_SETLK, F_WRLCK, ACME_LOCK_OWNER, &lock);
}

void acmod_adopt_leave_owner(const acmod_run_t *run)
{
    struct flock lock;

    lock_ask(run->lock_fd, F_SETLK, F_UNLCK, ACME_LOCK_OWNER, &lock);
}

/* One that was removed or replaced keeps nobody out. */
static int is_open(const kept_t *data, const char *path)
{
    struct stat opened, now;

    return data->fd >= 0 && strcmp(data->path, path) == 0 && fstat(data->fd, &opened) == 0
           && lstat(path, &now) == 0 && opened.st_ino == now.st_ino && opened.st_dev == now.st_dev;
}

/* The former descriptor stays open: to close it could drop a lock. */
static void open_lock(acmod_run_t *run, kept_t *data, const char *path)
{
    struct stat st;

    if (is_open(data, path)) {
        return;
    }
    data->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
    apr_cpystrn(data->path, path, sizeof(data->path));
    if (data->fd < 0 || fstat(data->fd, &st) != 0 || !S_ISREG(st.st_mode)) {
        acme_log(&run->log, ACME_LOG_ERR, "AC0690", NULL,
                 "%s: cannot be used as lock file: %s; wanted: a regular file; nothing is ordered; "
                 "move it away", path, data->fd < 0 ? strerror(errno) : "not a regular file");
        data->fd = -1;
    }
}

/* Only looks: of a file this process has no descriptor of, so that closing drops nothing. */
static int locked_by_another(const kept_t *data, const char *path)
{
    struct flock lock;
    int fd, locked;

    if (is_open(data, path)) {
        return 0;
    }
    fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    locked = fd >= 0 && lock_ask(fd, F_GETLK, F_WRLCK, ACME_LOCK_INSTANCE, &lock)
             && lock.l_type != F_UNLCK;
    if (fd >= 0) {
        close(fd);
    }
    return locked;
}

/* The parent holds the instance byte for its whole life. Locks are not inherited by children, and
 * no descriptor of this file is ever closed in an owner, which would drop its lock. */
void acmod_adopt_locks(acmod_run_t *run, int real)
{
    kept_t *data = kept();
    char path[APR_PATH_MAX];
    struct flock lock;
    acme_error_t err;

    run->lock_fd = -1;
    run->root.read_only = 0;
    apr_snprintf(path, sizeof(path), "%s/lock", run->conf->store_dir);
    if (!real) {
        run->root.read_only = locked_by_another(data, path);
        return;
    }
    acme_error_clear(&err);
    if (acme_dir_check(run->conf->store_dir, geteuid(), 1, NULL, run->base->process->pconf, &err)
        != ACME_OK) {
        return; /* acme_store_prepare says why */
    }
    open_lock(run, data, path);
    if (data->fd < 0) {
        run->root.read_only = 1;
        return;
    }
    if (!lock_ask(data->fd, F_SETLK, F_WRLCK, ACME_LOCK_INSTANCE, &lock)) {
        acme_log(&run->log, ACME_LOG_WARNING, "AC0711", NULL,
                 "%s: another server uses this store; certificates are served from it, ordering "
                 "and adoption are left to the other one", run->conf->store_dir);
        run->root.read_only = 1;
        return;
    }
    run->lock_fd = data->fd;
}
