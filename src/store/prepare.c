/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#include "store/item.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <apr_file_info.h>
#include <apr_file_io.h>
#include <apr_hash.h>
#include <apr_strings.h>
#include "store/journal.h"
#include "store/placeholder.h"
#include "store/staged.h"

/* The part of a start that runs in every pass. */

/* Where placeholders are kept, best first. */
enum { IN_STORE = 0, IN_RUNTIME, IN_TEMPORARY, PLACES };

typedef struct {
    const char *dir; /* NULL: not asked yet */
    int bad;
    acme_error_t err;
} place_t;

typedef struct {
    acme_item_t *first; /* whose placeholder all share */
    int usable;         /* one of them has a pair */
} label_t;

typedef struct {
    acme_pass_t pass;
    apr_hash_t *dirs; /* of the files -> acme_error_t */
    apr_hash_t *labels;
    place_t place[PLACES];
    acme_placeholders_t placeholders;
} prepare_t;

/* ---- the store ---- */

/* What would keep a missing directory from being made, as far as it can be seen. */
static int missing_status(const char *dir, apr_pool_t *pool)
{
    const char *at = dir;
    struct statvfs fs;
    struct stat st;

    while (stat(at, &st) != 0) {
        if (errno != ENOENT) {
            return errno;
        }
        at = acme_file_dir(at, pool);
    }
    if (!S_ISDIR(st.st_mode)) {
        return ENOTDIR;
    }
    return statvfs(at, &fs) == 0 && (fs.f_flag & ST_RDONLY) != 0 ? EROFS : 0;
}

static acme_rv_t look_for_missing(const prepare_t *self, acme_error_t *err)
{
    const char *dir = self->pass.root->store;
    int status = missing_status(dir, self->pass.scratch);

    if (status == 0) {
        return ACME_OK; /* the next start makes it */
    }
    return acme_error_system(err, ACME_E_STORE, "AC0673", status, "%s: is missing and cannot be "
                             "made; wanted: a directory with mode 0700 and owner uid %ld; remedy: "
                             "mkdir -p -m 0700 '%s' && chown %ld '%s'", dir, (long)self->pass.uid,
                             dir, (long)self->pass.uid, dir);
}

static void store_check(prepare_t *self)
{
    acme_store_root_t *root = self->pass.root;
    int create = !self->pass.look && !root->read_only;
    acme_error_t err;
    acme_rv_t rv;

    acme_error_clear(&err);
    root->trouble = root->trouble_code = root->elsewhere = NULL;
    rv = acme_dir_check(root->store, self->pass.uid, create, &root->warning, self->pass.pool, &err);
    if (rv == ACME_AGAIN) {
        rv = look_for_missing(self, &err);
    }
    root->usable = rv == ACME_OK;
    if (rv != ACME_OK) {
        root->trouble = apr_psprintf(self->pass.pool, "the store cannot be used, nothing is "
                                     "adopted or ordered, what exists goes on being served: %s",
                                     err.text);
        root->trouble_code = apr_pstrdup(self->pass.pool, err.code);
    }
    self->pass.touch = root->usable && create;
}

/* -t of an ordinary user: what matters is whether the server, root's, will be content. */
static uid_t judged_uid(const acme_store_root_t *root, int look)
{
    struct stat st;

    return look && root->uid != 0 && lstat(root->store, &st) == 0 && st.st_uid == 0 ? 0 : root->uid;
}

static void recover(prepare_t *self)
{
    acme_store_root_t *root = self->pass.root;
    acme_error_t err;
    struct stat st;
    int files = 0;

    if (!self->pass.touch) {
        self->pass.journal = root->usable
                             && lstat(apr_pstrcat(self->pass.scratch, root->store, "/journal",
                                                  NULL), &st) == 0;
        return;
    }
    acme_error_clear(&err);
    if (acme_journal_recover(root->store, root->uid, &files, self->pass.scratch, &err)
        != ACME_OK) {
        acme_log(root->log, ACME_LOG_WARNING, err.code, NULL, "%s", err.text);
    }
    if (files > 0) {
        acme_log(root->log, ACME_LOG_NOTICE, "AC0618", NULL,
                 "%s: a switch of files that was interrupted is completed, %d files", root->store,
                 files);
    }
}

/* ---- directories of the files ---- */

static const acme_error_t *dir_error(prepare_t *self, const char *dir)
{
    acme_error_t *err = apr_hash_get(self->dirs, dir, APR_HASH_KEY_STRING);
    acme_rv_t rv;

    if (err != NULL || strcmp(dir, self->pass.root->store) == 0) {
        return err; /* the store has been judged */
    }
    err = apr_palloc(self->pass.scratch, sizeof(*err));
    acme_error_clear(err);
    rv = acme_dir_check_beside(dir, self->pass.uid, self->pass.scratch, err);
    if (rv == ACME_AGAIN && self->pass.touch) {
        rv = acme_dir_check(dir, self->pass.uid, 1, NULL, self->pass.scratch, err);
    }
    if (rv != ACME_FAIL || (self->pass.look && err->status == EACCES)) {
        acme_error_clear(err);
    }
    apr_hash_set(self->dirs, apr_pstrdup(self->pass.scratch, dir), APR_HASH_KEY_STRING, err);
    return err;
}

static void set_trouble(prepare_t *self, acme_item_t *item, const acme_error_t *err)
{
    if (item->trouble == NULL && err->kind != ACME_E_NONE) {
        item->trouble = apr_pstrdup(self->pass.pool, err->text);
        item->trouble_code = apr_pstrdup(self->pass.pool, err->code);
    }
}

/* What opening the staging logs would say, without opening them for writing. */
static void look_at_logs(prepare_t *self, acme_item_t *item, apr_pool_t *scratch)
{
    const char *const paths[] = {item->spec->cert_path, item->spec->key_path};
    acme_staged_log_t log;
    acme_error_t err;
    int i;

    for (i = 0; i < 2; i++) {
        acme_error_clear(&err);
        if (acme_staged_read(&log, apr_pstrcat(scratch, paths[i], ".upd", NULL), self->pass.uid, 0,
                             scratch, &err) != ACME_OK && err.status != EACCES) {
            set_trouble(self, item, &err);
        }
    }
}

static void label_add(prepare_t *self, acme_item_t *item)
{
    label_t *label = apr_hash_get(self->labels, item->spec->label, APR_HASH_KEY_STRING);

    if (label == NULL) {
        label = apr_pcalloc(self->pass.scratch, sizeof(*label));
        label->first = item;
        apr_hash_set(self->labels, item->spec->label, APR_HASH_KEY_STRING, label);
    }
    label->usable |= item->usable;
}

static void item_prepare(prepare_t *self, acme_item_t *item, apr_pool_t *scratch)
{
    const acme_spec_t *spec = item->spec;
    const char *const paths[] = {spec->cert_path, spec->key_path};
    const acme_error_t *err;
    acme_pass_t pass = self->pass;
    int i;

    memset(item, 0, sizeof(*item));
    item->spec = spec;
    item->fd = item->key_fd = -1;
    for (i = 0; i < 2; i++) {
        err = dir_error(self, acme_file_dir(paths[i], scratch));
        if (err != NULL) {
            set_trouble(self, item, err);
        }
    }
    pass.scratch = scratch;
    pass.touch = pass.touch && item->trouble == NULL;
    acme_item_check(item, &pass);
    if (self->pass.look && self->pass.root->usable) {
        look_at_logs(self, item, scratch);
    }
    if (self->pass.look && item->trouble == NULL) {
        item->trouble = item->remark; /* nobody orders, everything is to be told */
        item->trouble_code = item->remark_code;
    }
    label_add(self, item);
}

/* ---- placeholders ---- */

static apr_status_t temporary_cleanup(void *data)
{
    const char *dir = data;
    apr_pool_t *scratch;
    apr_finfo_t info;
    apr_dir_t *handle;

    if (apr_pool_create(&scratch, NULL) != APR_SUCCESS) {
        return APR_SUCCESS;
    }
    if (apr_dir_open(&handle, dir, scratch) == APR_SUCCESS) {
        while (apr_dir_read(&info, APR_FINFO_NAME, handle) == APR_SUCCESS) {
            if (info.name[0] != '.') {
                (void)unlink(apr_pstrcat(scratch, dir, "/", info.name, NULL));
            }
        }
        apr_dir_close(handle);
    }
    (void)rmdir(dir);
    apr_pool_destroy(scratch);
    return APR_SUCCESS;
}

/* Lives as long as the configuration: mod_ssl reads its files in the pass that made them. */
static acme_rv_t temporary_make(prepare_t *self, place_t *place)
{
    const char *base;
    char *dir;

    if (apr_temp_dir_get(&base, self->pass.pool) != APR_SUCCESS) {
        return acme_error_set(&place->err, ACME_E_STORE, "AC0669", "no temporary directory");
    }
    dir = apr_pstrcat(self->pass.pool, base, "/acmeclient-XXXXXX", NULL);
    if (mkdtemp(dir) == NULL) {
        return acme_error_system(&place->err, ACME_E_STORE, "AC0670", errno, "make %s", dir);
    }
    apr_pool_cleanup_register(self->pass.pool, dir, temporary_cleanup, apr_pool_cleanup_null);
    place->dir = dir;
    return ACME_OK;
}

static acme_rv_t place_open(prepare_t *self, int which)
{
    const acme_store_root_t *root = self->pass.root;
    place_t *place = &self->place[which];
    const char *dir;

    if (which == IN_TEMPORARY) {
        return temporary_make(self, place);
    }
    dir = which == IN_STORE ? apr_pstrcat(self->pass.pool, root->store, "/placeholder", NULL)
          : root->fallback_dir != NULL
              ? apr_pstrcat(self->pass.pool, root->fallback_dir,
                            root->fallback_dir[0] != '\0'
                                    && root->fallback_dir[strlen(root->fallback_dir) - 1] == '/'
                                ? "" : "/",
                            "acmeclient-placeholder", NULL)
              : NULL;
    if (dir == NULL || (which == IN_STORE && !root->usable)) {
        return acme_error_set(&place->err, ACME_E_STORE, "AC0671", "no directory");
    }
    /* A store that is only looked at may have some. */
    if ((which != IN_STORE || self->pass.touch)
        && acme_placeholder_dir(dir, root->uid, self->pass.scratch, &place->err) != ACME_OK) {
        return ACME_FAIL;
    }
    place->dir = dir;
    return ACME_OK;
}

static void tell_place(prepare_t *self, int which)
{
    acme_store_root_t *root = self->pass.root;

    if (which != IN_STORE && root->usable && root->elsewhere == NULL) {
        root->elsewhere = apr_psprintf(self->pass.pool, "placeholders are kept in %s: %s",
                                       self->place[which].dir, self->place[IN_STORE].err.text);
    }
}

/* From the first place that can be had. */
static acme_rv_t placeholder_find(prepare_t *self, acme_item_t *item, acme_error_t *err)
{
    int which, create;
    place_t *place;
    acme_rv_t rv;

    for (which = 0; which < PLACES && !(self->pass.look && which > IN_STORE); which++) {
        place = &self->place[which];
        if (place->dir == NULL && !place->bad) {
            place->bad = place_open(self, which) != ACME_OK;
        }
        if (place->bad) {
            *err = place->err;
            continue;
        }
        create = which == IN_STORE ? self->pass.touch : 1;
        acme_error_clear(err);
        self->placeholders.uid = which == IN_STORE ? self->pass.uid : self->pass.root->uid;
        rv = acme_placeholder_get(&item->cert_file, &item->key_file, &self->placeholders,
                                  place->dir, item->spec, create, self->pass.pool, err);
        if (rv == ACME_OK) {
            tell_place(self, which);
            return ACME_OK;
        }
        if (rv == ACME_FAIL) {
            place->bad = 1; /* the next thousand would fail alike */
            place->err = *err;
        }
    }
    item->cert_file = item->key_file = NULL;
    return ACME_FAIL;
}

static void placeholder_give(prepare_t *self, acme_item_t *item)
{
    const label_t *label = apr_hash_get(self->labels, item->spec->label, APR_HASH_KEY_STRING);
    acme_error_t err;

    if (label->usable) {
        return;
    }
    if (item != label->first) {
        item->placeholder = label->first->placeholder;
        item->cert_file = label->first->cert_file;
        item->key_file = label->first->key_file;
        return;
    }
    acme_error_clear(&err);
    if (placeholder_find(self, item, &err) == ACME_OK) {
        item->placeholder = 1;
    }
    else if (!self->pass.look) {
        acme_log(self->pass.root->log, ACME_LOG_ERR, "AC0672", item->spec->label,
                 "no certificate and not even a placeholder could be made: %s; mod_ssl will not "
                 "start a vhost without one", err.text);
    }
}

static void prepare_init(prepare_t *self, acme_store_root_t *root, int look, apr_pool_t *pool)
{
    int i;

    memset(self, 0, sizeof(*self));
    for (i = 0; i < PLACES; i++) {
        acme_error_clear(&self->place[i].err);
    }
    self->pass.root = root;
    self->pass.look = look;
    self->pass.uid = judged_uid(root, look);
    self->pass.pool = pool;
    apr_pool_create(&self->pass.scratch, pool);
    self->placeholders.now = root->now;
    self->placeholders.pool = self->pass.scratch;
    self->dirs = apr_hash_make(self->pass.scratch);
    self->labels = apr_hash_make(self->pass.scratch);
}

/* A pair that could not be put in place may have left less than there was before. */
void acme_store_stand_in(acme_store_root_t *root, acme_item_t *items, int n, apr_pool_t *pool)
{
    prepare_t self;
    int i, lost = 0;

    for (i = 0; i < n; i++) {
        lost |= !items[i].usable && items[i].cert_file == NULL;
    }
    if (!lost) {
        return;
    }
    prepare_init(&self, root, 0, pool);
    self.pass.touch = root->usable && !root->read_only;
    for (i = 0; i < n; i++) {
        label_add(&self, &items[i]);
    }
    for (i = 0; i < n; i++) {
        if (!items[i].usable) {
            placeholder_give(&self, &items[i]);
        }
    }
    apr_pool_destroy(self.pass.scratch);
}

void acme_store_prepare(acme_store_root_t *root, acme_item_t *items, int n, int look,
                        apr_pool_t *pool)
{
    prepare_t self;
    apr_pool_t *sub;
    int i;

    prepare_init(&self, root, look, pool);
    apr_pool_create(&sub, self.pass.scratch);
    root->overflow_fd = -1;
    store_check(&self);
    recover(&self);
    for (i = 0; i < n; i++) {
        item_prepare(&self, &items[i], sub);
        apr_pool_clear(sub);
    }
    for (i = 0; i < n; i++) {
        if (!items[i].usable) {
            placeholder_give(&self, &items[i]);
        }
    }
    apr_pool_destroy(self.pass.scratch);
}

void acme_store_look_accounts(const acme_store_root_t *root, acme_account_item_t *accounts, int m,
                              apr_pool_t *pool)
{
    int i;

    for (i = 0; i < m; i++) {
        acme_account_key(&accounts[i], root->store, judged_uid(root, 1), 1, root->log, pool);
    }
}
