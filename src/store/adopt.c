/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#include "store/adopt.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>
#include <sys/stat.h>
#include <apr_hash.h>
#include <apr_strings.h>
#include "base/time.h"
#include "io/staging.h"
#include "store/archive.h"
#include "store/item.h"
#include "store/staged.h"

/* Pairs of one commit: what their logs hold stays in memory until it is made. */
#define BATCH_MAX 1024
#define BATCH_BYTES_MAX (64 * 1024 * 1024)

#define REPLACE_AT(cap) ((cap) / 4 * 3)
/* What the shared log keeps for ids that are not configured: a hostile child may invent some. */
#define STRANGERS_MAX (ACME_OVERFLOW_CAP / 8)

enum { CERT = 0, KEY = 1, LOGS = 2 };

/* One item whose files or logs change. */
typedef struct {
    acme_item_t *item;
    int own;                        /* has logs of its own from now on */
    acme_staged_log_t log[LOGS];
    const apr_array_header_t *shared; /* records of the overflow log, or NULL */
    acme_staged_t staged;
    int place;                      /* in the commit, -1: nothing to switch */
    int failed;                     /* the chosen pair could not be written */
    int keep;                       /* logs stay as they are */
} work_t;

typedef struct {
    acme_store_root_t *root;
    acme_pass_t pass;
    apr_pool_t *scratch;            /* of the whole adoption */
    acme_staged_log_t overflow;
    apr_hash_t *shared;             /* id -> records of the overflow log */
    apr_hash_t *shared_after;       /* id -> acme_carried_t that stays in it */
    int rewrite;                    /* the overflow log is to be replaced */
    apr_pool_t *batch;              /* the two below and what they point to */
    apr_array_header_t *works;      /* work_t * */
    apr_size_t bytes;               /* of their logs */
    acme_commit_t *commit;
    apr_hash_t *retry;              /* label -> retry_t */
    apr_hash_t *configured;         /* ids of all items, those in trouble too */
} adopt_t;

static const char *log_path(const acme_item_t *item, int which, apr_pool_t *pool)
{
    return apr_pstrcat(pool, which == CERT ? item->spec->cert_path : item->spec->key_path, ".upd",
                       NULL);
}

static const char *label_of(const work_t *work)
{
    return work->item->spec->label;
}

/* ---- what an item's logs hold ---- */

static int damaged(const adopt_t *self, const char *label, const char *id,
                   const acme_staged_log_t *log, apr_pool_t *scratch)
{
    acme_error_t err;
    acme_rv_t rv;

    acme_error_clear(&err);
    rv = acme_archive_reject(self->root->store, self->root->uid, id, log->data, log->len, scratch,
                             &err);
    if (rv != ACME_AGAIN) {
        acme_log(self->root->log, ACME_LOG_WARNING, "AC0603", label,
                 "%s: damaged, only its intact records count; %s%s", log->path,
                 rv == ACME_OK ? "as found it is kept in archive/" : "it stays as it is: ",
                 rv == ACME_OK ? id : err.text);
    }
    return rv != ACME_FAIL;
}

/* Reads both logs; nothing that can be read: no records. */
static void read_logs(adopt_t *self, work_t *work, apr_array_header_t *records, apr_pool_t *pool)
{
    const acme_spec_t *spec = work->item->spec;
    int i;

    for (i = 0; i < LOGS; i++) {
        /* Why it cannot be read is told when it is opened for the children. */
        if (acme_staged_read(&work->log[i], log_path(work->item, i, pool), self->root->uid,
                             ACME_LOG_CAP, pool, NULL) != ACME_OK) {
            work->keep = 1;
            work->item->settled = 0;
            continue;
        }
        acme_staged_gather(records, &work->log[i], spec->id, pool);
        if (work->log[i].damaged
            && !damaged(self, spec->label, spec->id, &work->log[i], pool)) {
            work->keep = 1;
        }
        if (work->log[i].size > ACME_LOG_CAP) {
            acme_log(self->root->log, ACME_LOG_WARNING, "AC0623", spec->label,
                     "%s has %" APR_INT64_T_FMT " bytes, of which the first %d were read; it is "
                     "replaced", work->log[i].path, work->log[i].size, ACME_LOG_CAP);
        }
    }
    work->shared = apr_hash_get(self->shared, spec->id, APR_HASH_KEY_STRING);
    if (work->shared != NULL) {
        apr_array_cat(records, work->shared);
    }
}

/* What is on disk works and what is staged could not be negotiated: it waits in its log until the
 * configuration is mended. */
static int keeps_former(const acme_item_t *item)
{
    return item->spec->not_negotiable && item->known != NULL
           && item->known->is_rsa != acme_key_type_is_rsa(item->spec->key_type);
}

static void choose(const adopt_t *self, work_t *work, const apr_array_header_t *records,
                   apr_pool_t *pool)
{
    const acme_known_t *known = work->item->known;
    acme_staged_want_t want;

    memset(&want, 0, sizeof(want));
    want.spec = keeps_former(work->item) ? NULL : work->item->spec;
    want.now = self->root->now;
    want.key_path = work->item->spec->key_path;
    want.uid = self->root->uid;
    want.or_else = known == NULL || known->not_after <= self->root->now;
    if (known != NULL) {
        want.live_not_before = known->not_before;
        want.live_fingerprint = known->fingerprint;
        want.live_key_digest = known->key_digest;
    }
    acme_staged_choose(&work->staged, records, &want, pool);
}

/* The raw records of what is not adopted: the certificate's and the newest key before it. */
static void reject_one(adopt_t *self, work_t *work, const acme_staged_reject_t *one,
                       apr_pool_t *pool)
{
    const acme_record_t *rec = one->certificate;
    const acme_record_t *key = work->staged.newest[ACME_REC_KEY];
    apr_size_t key_len = key != NULL && key->seq <= rec->seq ? key->raw_len : 0;
    char *bytes = (char *)acme_staged_copy(NULL, rec->raw_len + key_len, pool);
    acme_error_t err;
    acme_rv_t rv;

    memcpy(bytes, rec->raw, rec->raw_len);
    if (key_len > 0) {
        memcpy(bytes + rec->raw_len, key->raw, key_len);
    }
    acme_error_clear(&err);
    rv = acme_archive_reject(self->root->store, self->root->uid, work->item->spec->id, bytes,
                             rec->raw_len + key_len, pool, &err);
    if (rv == ACME_FAIL) {
        work->keep = 1;
    }
    if (rv != ACME_AGAIN) {
        acme_log(self->root->log, ACME_LOG_WARNING, one->code, label_of(work),
                 "a staged certificate is not adopted: %s; %s%s", one->why,
                 rv == ACME_OK ? "it is kept in archive/" : "it stays in the log: ",
                 rv == ACME_OK ? work->item->spec->id : err.text);
    }
}

/* ---- writing the chosen pair ---- */

/* A good pair was judged in this pass: its bytes will do. Others are put aside as they are. */
static acme_rv_t keep_former(adopt_t *self, const work_t *work, apr_pool_t *pool,
                             acme_error_t *err)
{
    const acme_spec_t *spec = work->item->spec;
    const char *const paths[] = {spec->cert_path, spec->key_path};
    acme_file_t file[2];
    acme_rv_t rv;
    int i;

    for (i = 0; i < 2; i++) {
        rv = acme_file_read(&file[i], paths[i], self->root->uid, ACME_CHAIN_MAX_BYTES, 0, 1, pool,
                            err);
        if (rv == ACME_FAIL) {
            return ACME_FAIL;
        }
        if (rv == ACME_OK && file[i].len > 0 && work->item->known == NULL
            && acme_archive_reject(self->root->store, self->root->uid, spec->id, file[i].data,
                                   file[i].len, pool, err) == ACME_FAIL) {
            return ACME_FAIL;
        }
    }
    if (work->item->known == NULL || self->root->backups <= 0) {
        return ACME_OK;
    }
    return acme_archive_keep(self->commit, self->root->store, self->root->uid, spec->id,
                             work->item->known->serial, file, pool, err);
}

static void write_pair(adopt_t *self, work_t *work, apr_pool_t *pool)
{
    const acme_spec_t *spec = work->item->spec;
    const acme_staged_t *staged = &work->staged;
    acme_error_t err;

    acme_error_clear(&err);
    if (keep_former(self, work, pool, &err) == ACME_OK
        && acme_commit_add(&work->place, self->commit, spec->cert_path, staged->chain_pem,
                           strlen(staged->chain_pem), spec->key_path, staged->key_pem,
                           strlen(staged->key_pem), &err) == ACME_OK) {
        return;
    }
    work->failed = 1;
    work->item->settled = 0;
    acme_log(self->root->log, ACME_LOG_WARNING, "AC0620", spec->label,
             "the staged certificate could not be adopted, the former one stays; tried again at "
             "the next start: %s", err.text);
}

/* ---- results ---- */

/* The live record speaks of the pair on disk, or of one that somebody has replaced. */
static void tell_issued(const adopt_t *self, acme_item_t *item, const acme_record_t *live,
                        apr_pool_t *pool)
{
    acme_issued_t issued;
    acme_challenge_type_t type;
    const char *rest;
    apr_size_t rest_len;

    if (live == NULL || item->known == NULL
        || acme_certificate_payload_parse(&issued, &rest, &rest_len, live->payload, live->len,
                                          pool, NULL) != ACME_OK) {
        return;
    }
    if (strcmp(issued.key_digest, item->known->key_digest) != 0) {
        acme_log(self->root->log, ACME_LOG_NOTICE, "AC0606", item->spec->label,
                 "%s (serial %s) is not the certificate that was adopted last: somebody put it "
                 "there; it is served until it is due",
                 item->spec->cert_path, item->known->serial);
        return;
    }
    if (acme_challenge_type_parse(&type, issued.challenge) != ACME_OK) {
        issued.challenge = "";
    }
    acme_item_issued(item, &issued, self->pass.pool);
}

static void hand_over(const adopt_t *self, acme_item_t *item, const acme_carried_t *carried)
{
    item->handed_len = carried->all_len;
    item->handed = carried->all_len > 0
                       ? acme_staged_copy(carried->all, carried->all_len, self->pass.pool) : NULL;
}

static void adopted(const adopt_t *self, work_t *work)
{
    acme_item_t *item = work->item;
    const acme_spec_t *spec = item->spec;
    char until[ACME_TIME_TEXT];
    acme_known_t known;
    acme_pair_t pair;

    memset(&pair, 0, sizeof(pair));
    pair.leaf = work->staged.leaf;
    (void)acme_stamp_get(&pair.cert_stamp, spec->cert_path);
    (void)acme_stamp_get(&pair.key_stamp, spec->key_path);
    acme_pair_known(&known, &pair, spec, spec->digest);
    acme_cache_put(self->root->cache, spec->cert_path, &known);
    item->remark = item->remark_code = NULL;
    item->adopted = 1;
    acme_item_serve(item, &known, self->pass.pool);
    acme_log(self->root->log, ACME_LOG_NOTICE, "AC0622", spec->label,
             "adopted: serial %s, until %s, from %s", known.serial,
             acme_time_format(until, known.not_after), work->staged.issued.directory);
}

/* Was it switched? If not whatever the disk holds now is served. */
static void settle_pair(adopt_t *self, work_t *work, const acme_error_t *err, apr_pool_t *pool)
{
    acme_pass_t pass = self->pass;

    if (work->place < 0) {
        return;
    }
    if (acme_commit_done(self->commit, work->place)) {
        adopted(self, work);
        return;
    }
    work->failed = 1;
    work->item->settled = 0;
    acme_log(self->root->log, ACME_LOG_WARNING, "AC0621", label_of(work),
             "the staged certificate could not be put in place, the former one stays; tried again "
             "at the next start: %s", err->text);
    pass.scratch = pool;
    acme_cache_forget(self->root->cache, work->item->spec->cert_path);
    acme_item_check(work->item, &pass);
}

/* ---- fresh logs ---- */

static void replacement(apr_array_header_t *files, const acme_staged_log_t *log, const char *data,
                        apr_size_t len)
{
    acme_replacement_t *file;

    if (len == 0 && (!log->there || log->size == 0)) {
        return;
    }
    file = apr_array_push(files);
    memset(file, 0, sizeof(*file));
    file->path = log->path;
    file->data = len > 0 ? data : "";
    file->len = len;
}

static void settle_logs(adopt_t *self, work_t *work, apr_array_header_t *files, apr_pool_t *pool)
{
    acme_item_t *item = work->item;
    const acme_spec_t *spec = item->spec;
    int own = work->own || work->log[CERT].there || work->log[KEY].there;
    int after = !work->failed;
    acme_carried_t carried, *kept;
    acme_error_t err;

    acme_error_clear(&err);
    if (acme_staged_carry(&carried, &work->staged, spec->id, after, self->root->now, pool, &err)
        != ACME_OK) {
        acme_log(self->root->log, ACME_LOG_ERR, "AC0674", spec->label, "%s", err.text);
        return;
    }
    hand_over(self, item, &carried);
    if (work->staged.chosen != NULL && after) {
        acme_item_issued(item, &work->staged.issued, self->pass.pool);
    }
    else {
        tell_issued(self, item, work->staged.newest[ACME_REC_LIVE], pool);
    }
    if (own && after && !work->keep) {
        replacement(files, &work->log[CERT], carried.log, carried.log_len);
        replacement(files, &work->log[KEY], carried.key_log, carried.key_log_len);
    }
    if (work->shared != NULL) {
        kept = apr_pcalloc(self->scratch, sizeof(*kept));
        if (!own || !after || work->keep) {
            kept->all = acme_staged_copy(carried.all, carried.all_len, self->scratch);
            kept->all_len = carried.all_len;
        }
        apr_hash_set(self->shared_after, spec->id, APR_HASH_KEY_STRING, kept);
        self->rewrite |= after;
    }
}

static void flush(adopt_t *self)
{
    apr_pool_t *batch = self->batch;
    apr_array_header_t *files = apr_array_make(batch, 16, sizeof(acme_replacement_t));
    acme_error_t err;
    work_t *work;
    int i;

    acme_error_clear(&err);
    (void)acme_commit_run(self->commit, &err);
    for (i = 0; i < self->works->nelts; i++) {
        work = APR_ARRAY_IDX(self->works, i, work_t *);
        settle_pair(self, work, &err, batch);
        settle_logs(self, work, files, batch);
    }
    acme_error_clear(&err);
    if (acme_commit_replace(files, batch, &err) != ACME_OK) {
        acme_log(self->root->log, ACME_LOG_WARNING, "AC0624", NULL,
                 "staging logs could not all be replaced, they are gone through again at the next "
                 "start: %s", err.text);
    }
    for (i = 0; i < self->works->nelts; i++) {
        work = APR_ARRAY_IDX(self->works, i, work_t *);
        if (work->item->adopted) {
            acme_archive_prune(self->root->store, work->item->spec->id, self->root->backups,
                               batch);
        }
    }
    apr_pool_clear(batch);
    self->bytes = 0;
    self->works = apr_array_make(batch, BATCH_MAX, sizeof(work_t *));
    self->commit = acme_commit_create(self->root->store, self->root->uid, batch);
}

/* ---- one item ---- */

static int wants_fresh_logs(const work_t *work)
{
    const acme_staged_t *staged = &work->staged;
    int i;

    for (i = 0; i < LOGS; i++) {
        if (work->log[i].damaged || work->log[i].size > REPLACE_AT(ACME_LOG_CAP)) {
            return 1;
        }
    }
    return staged->chosen != NULL || staged->rejected->nelts > 0
           || staged->last_seq > ACME_SEQ_HIGH
           || (work->shared != NULL && (work->own || work->log[CERT].there));
}

/* Nothing to adopt, as at nearly every start. */
static void item_unchanged(adopt_t *self, const work_t *work, apr_pool_t *pool)
{
    acme_carried_t carried;

    if (acme_staged_carry(&carried, &work->staged, work->item->spec->id, 0, self->root->now, pool,
                          NULL) == ACME_OK) {
        hand_over(self, work->item, &carried);
    }
    tell_issued(self, work->item, work->staged.newest[ACME_REC_LIVE], pool);
}

/* Of a start that was killed before its journal was written. */
static void drop_leftovers(const acme_item_t *item, apr_pool_t *pool)
{
    acme_file_drop_new(item->spec->cert_path, pool);
    acme_file_drop_new(item->spec->key_path, pool);
    acme_file_drop_new(log_path(item, CERT, pool), pool);
    acme_file_drop_new(log_path(item, KEY, pool), pool);
}

static void item_adopt(adopt_t *self, acme_item_t *item, int own)
{
    apr_array_header_t *records;
    apr_pool_t *pool;
    work_t *work;
    int i;

    item->settled = 1;
    apr_pool_create(&pool, self->batch);
    records = apr_array_make(pool, 8, sizeof(acme_record_t));
    work = apr_pcalloc(pool, sizeof(*work));
    work->item = item;
    work->own = own;
    work->place = -1;
    drop_leftovers(item, pool);
    read_logs(self, work, records, pool);
    choose(self, work, records, pool);
    if (!wants_fresh_logs(work)) {
        item_unchanged(self, work, pool);
        apr_pool_destroy(pool);
        return;
    }
    for (i = 0; i < work->staged.rejected->nelts; i++) {
        reject_one(self, work, &APR_ARRAY_IDX(work->staged.rejected, i, acme_staged_reject_t),
                   pool);
    }
    if (work->staged.chosen != NULL && !work->staged.same) {
        write_pair(self, work, pool);
    }
    APR_ARRAY_PUSH(self->works, work_t *) = work;
    self->bytes += work->log[CERT].len + work->log[KEY].len;
    if (self->works->nelts >= BATCH_MAX || self->bytes >= BATCH_BYTES_MAX) {
        flush(self);
    }
}

/* ---- the log of many ---- */

static void overflow_read(adopt_t *self)
{
    const char *path = apr_pstrcat(self->scratch, self->root->store, "/overflow.upd", NULL);
    acme_error_t err;

    acme_error_clear(&err);
    self->shared_after = apr_hash_make(self->scratch);
    if (acme_staged_read(&self->overflow, path, self->root->uid, ACME_OVERFLOW_CAP, self->scratch,
                         &err) != ACME_OK) {
        acme_log(self->root->log, ACME_LOG_ERR, err.code, NULL, "%s", err.text);
    }
    self->shared = acme_staged_split(&self->overflow, self->scratch);
    if (self->overflow.damaged) {
        self->rewrite = damaged(self, NULL, "_overflow", &self->overflow, self->scratch);
    }
    if (self->overflow.size > REPLACE_AT(ACME_OVERFLOW_CAP)) {
        self->rewrite = 1;
    }
}

/* Of an id nobody settled (a vhost that is not configured now, an item in trouble) the newest
 * record of each type is kept. */
static acme_rv_t overflow_rest(adopt_t *self, acme_carried_t *out, const char *id,
                               const apr_array_header_t *records, apr_pool_t *pool)
{
    acme_staged_want_t want;
    acme_staged_t staged;

    memset(&want, 0, sizeof(want));
    acme_staged_choose(&staged, records, &want, pool);
    return acme_staged_carry(out, &staged, id, 0, self->root->now, pool, NULL);
}

static void overflow_rewrite(adopt_t *self)
{
    apr_array_header_t *parts = apr_array_make(self->scratch, 64, sizeof(struct iovec));
    acme_carried_t *kept, rest;
    apr_hash_index_t *hi;
    struct iovec *part;
    acme_error_t err;
    apr_size_t len, strangers = 0;
    int dropped = 0;
    const char *id, *all;

    for (hi = apr_hash_first(self->scratch, self->shared); hi != NULL; hi = apr_hash_next(hi)) {
        id = apr_hash_this_key(hi);
        kept = apr_hash_get(self->shared_after, id, APR_HASH_KEY_STRING);
        if (kept == NULL) {
            kept = &rest;
            if (overflow_rest(self, kept, id, apr_hash_this_val(hi), self->scratch) != ACME_OK) {
                return;
            }
        }
        if (apr_hash_get(self->configured, id, APR_HASH_KEY_STRING) == NULL) {
            strangers += kept->all_len;
            if (strangers > STRANGERS_MAX) {
                dropped++;
                continue;
            }
        }
        part = apr_array_push(parts);
        part->iov_base = (void *)kept->all;
        part->iov_len = kept->all_len;
    }
    if (dropped > 0) {
        acme_log(self->root->log, ACME_LOG_WARNING, "AC0628", NULL,
                 "%s: records of %d certificates that are not configured are left out: there are "
                 "more of them than an honest child leaves", self->overflow.path, dropped);
    }
    all = apr_pstrcatv(self->scratch, (const struct iovec *)parts->elts, (apr_size_t)parts->nelts,
                       &len);
    acme_error_clear(&err);
    if (acme_file_replace(self->overflow.path, all, len, self->scratch, &err) != ACME_OK) {
        acme_log(self->root->log, ACME_LOG_WARNING, "AC0625", NULL, "%s stays as it is: %s",
                 self->overflow.path, err.text);
    }
}

/* ---- logs for the children ---- */

static void item_trouble(const adopt_t *self, acme_item_t *item, const acme_error_t *err)
{
    item->trouble = apr_pstrdup(self->pass.pool, err->text);
    item->trouble_code = apr_pstrdup(self->pass.pool, err->code);
}

static void close_own(acme_item_t *item)
{
    if (item->fd >= 0) {
        close(item->fd);
    }
    if (item->key_fd >= 0) {
        close(item->key_fd);
    }
    item->fd = item->key_fd = -1;
}

static apr_size_t size_of(int fd)
{
    struct stat st;

    return fstat(fd, &st) == 0 ? (apr_size_t)st.st_size : 0;
}

/* ACME_AGAIN: no descriptor was left. */
static acme_rv_t open_own(adopt_t *self, acme_item_t *item, acme_error_t *err)
{
    uid_t uid = self->root->uid;

    if (acme_log_open(&item->fd, log_path(item, CERT, self->scratch), uid, err) == ACME_OK
        && acme_log_open(&item->key_fd, log_path(item, KEY, self->scratch), uid, err)
               == ACME_OK) {
        item->log_size = size_of(item->fd);
        item->key_log_size = size_of(item->key_fd);
        item->can_stage = 1;
        return ACME_OK;
    }
    close_own(item);
    return err->status == EMFILE || err->status == ENFILE ? ACME_AGAIN : ACME_FAIL;
}

static void open_shared(adopt_t *self, acme_item_t *item)
{
    acme_error_t err;

    acme_error_clear(&err);
    if (self->root->overflow_fd < 0
        && acme_log_open(&self->root->overflow_fd, self->overflow.path, self->root->uid, &err)
               != ACME_OK) {
        item_trouble(self, item, &err);
        return;
    }
    item->can_stage = 1;
}

static void open_logs(adopt_t *self, acme_item_t *items, int n)
{
    int room = self->root->own_logs_max;
    acme_error_t err;
    acme_rv_t rv;
    int i;

    for (i = 0; i < n; i++) {
        if (items[i].trouble != NULL) {
            continue;
        }
        acme_error_clear(&err);
        rv = i < room ? open_own(self, &items[i], &err) : ACME_AGAIN;
        if (rv == ACME_AGAIN) {
            room = i < room ? i : room;
            open_shared(self, &items[i]);
        }
        else if (rv == ACME_FAIL) {
            item_trouble(self, &items[i], &err);
        }
    }
}

/* The parent's descriptors go with the configuration; the children of its time keep theirs. */
static apr_status_t fds_close(void *data)
{
    const int *fd = data;

    for (; *fd >= 0; fd++) {
        close(*fd);
    }
    return APR_SUCCESS;
}

static void fds_register(const adopt_t *self, const acme_item_t *items, int n,
                         const acme_account_item_t *accounts, int m)
{
    int *fds = apr_palloc(self->pass.pool, sizeof(int) * (apr_size_t)(LOGS * n + m + 2));
    int i, k = 0;

    for (i = 0; i < n; i++) {
        if (items[i].fd >= 0) {
            fds[k++] = items[i].fd;
            fds[k++] = items[i].key_fd;
        }
    }
    for (i = 0; i < m; i++) {
        if (accounts[i].fd >= 0 && accounts[i].own_fd) {
            fds[k++] = accounts[i].fd;
        }
    }
    if (self->root->overflow_fd >= 0) {
        fds[k++] = self->root->overflow_fd;
    }
    fds[k] = -1;
    apr_pool_cleanup_register(self->pass.pool, fds, fds_close, apr_pool_cleanup_null);
}

/* ---- a key that is kept ---- */

static void hand_over_key(const adopt_t *self, acme_item_t *item)
{
    acme_file_t file;
    acme_error_t err;

    item->key = NULL;
    if (!item->spec->key_reuse || !item->usable || !item->facts.have || item->trouble != NULL) {
        return;
    }
    acme_error_clear(&err);
    if (acme_file_read(&file, item->spec->key_path, self->root->uid, ACME_KEY_FILE_MAX, 0, 1,
                       self->scratch, &err) != ACME_OK) {
        acme_log(self->root->log, ACME_LOG_WARNING, "AC0161", item->spec->label,
                 "AcmeKeyReuse: the key in service cannot be read, the next certificate gets a new "
                 "one: %s", err.text);
        return;
    }
    item->key = acme_staged_copy(file.data, file.len, self->pass.pool);
}

/* ---- asked for by the administrator ---- */

/* One file for all key types of a certificate: named like the first of them. */
typedef struct {
    const char *path;
    int there;
    const char *wish; /* empty file: another certificate; "new-key" in it: and another key */
    int keep; /* a wish could not be recorded: the next start sees the file again */
} retry_t;

/* The type of challenge that failed last, or NULL. */
static const char *failed_challenge(const adopt_t *self, const acme_record_set_t *set)
{
    const acme_record_t *rec = &set->rec[ACME_REC_ATTEMPT];
    acme_attempt_t attempt;

    return set->present[ACME_REC_ATTEMPT]
                   && acme_attempt_parse(&attempt, rec->payload, rec->len, self->scratch, NULL)
                          == ACME_OK
               ? attempt.challenge : NULL;
}

/* So that the wish outlives the owner it is handed to. */
static acme_rv_t record_wish(adopt_t *self, acme_item_t *item, const char *wish, acme_error_t *err)
{
    int fd = item->fd >= 0 ? item->fd : self->root->overflow_fd;
    const char *digest = acme_spec_attempt_digest(item->spec, self->scratch);
    acme_record_set_t set;
    acme_record_t rec;
    const char *bytes;
    char *handed;
    apr_size_t len;

    memset(&set, 0, sizeof(set));
    memset(&rec, 0, sizeof(rec));
    if (item->handed_len > 0) {
        acme_record_collect(&set, item->spec->id, item->handed, item->handed_len, self->scratch);
    }
    rec.id = item->spec->id;
    rec.type = ACME_REC_ATTEMPT;
    rec.seq = set.last_seq + 1;
    rec.time = self->root->now;
    rec.payload = acme_wish_payload(wish, failed_challenge(self, &set), digest, self->root->now,
                                    self->scratch);
    rec.len = strlen(rec.payload);
    if (acme_record_encode(&bytes, &len, &rec, self->scratch, err) != ACME_OK) {
        return ACME_FAIL;
    }
    if (write(fd, bytes, len) != (ssize_t)len || fdatasync(fd) != 0) {
        return acme_error_system(err, ACME_E_STORE, "AC0937", errno, "%s: what .retry asks for "
                                 "could not be recorded", item->spec->id);
    }
    item->log_size += item->fd >= 0 ? len : 0;
    handed = (char *)acme_staged_copy(NULL, item->handed_len + len, self->pass.pool);
    if (item->handed_len > 0) {
        memcpy(handed, item->handed, item->handed_len);
    }
    memcpy(handed + item->handed_len, bytes, len);
    item->handed = handed;
    item->handed_len += len;
    return ACME_OK;
}

static const char *wish_of(adopt_t *self, const char *path)
{
    static const char new_key[] = "new-key";
    acme_file_t file;

    return acme_file_read(&file, path, self->root->uid, 64, 0, 0, self->scratch, NULL) == ACME_OK
                   && strncmp(file.data, new_key, sizeof(new_key) - 1) == 0
               ? ACME_WISH_NEW_KEY : ACME_WISH;
}

static void look_for_retry(adopt_t *self, acme_item_t *item)
{
    retry_t *retry = apr_hash_get(self->retry, item->spec->label, APR_HASH_KEY_STRING);
    acme_error_t err;
    struct stat st;

    if (retry == NULL) {
        retry = apr_pcalloc(self->scratch, sizeof(*retry));
        retry->path = apr_pstrcat(self->scratch, self->root->store, "/", item->spec->id, ".retry",
                                  NULL);
        retry->there = lstat(retry->path, &st) == 0;
        retry->wish = retry->there ? wish_of(self, retry->path) : NULL;
        apr_hash_set(self->retry, item->spec->label, APR_HASH_KEY_STRING, retry);
    }
    item->retry_now = retry->there;
    acme_error_clear(&err);
    if (retry->there && item->can_stage && record_wish(self, item, retry->wish, &err) != ACME_OK) {
        acme_log(self->root->log, ACME_LOG_WARNING, err.code, item->spec->label, "%s", err.text);
        retry->keep = 1;
    }
}

static void remove_retries(adopt_t *self)
{
    const retry_t *retry;
    apr_hash_index_t *hi;
    acme_error_t err;

    for (hi = apr_hash_first(self->scratch, self->retry); hi != NULL; hi = apr_hash_next(hi)) {
        retry = apr_hash_this_val(hi);
        acme_error_clear(&err);
        if (retry->there && !retry->keep && acme_file_remove(retry->path, &err) != ACME_OK) {
            acme_log(self->root->log, ACME_LOG_WARNING, "AC0626", apr_hash_this_key(hi), "%s",
                     err.text);
        }
    }
}

/* ---- accounts ---- */

static void account_like(acme_account_item_t *item, const acme_account_item_t *other)
{
    const acme_ca_t *ca = item->ca;

    *item = *other;
    item->ca = ca;
    item->own_fd = 0;
}

static void accounts_adopt(adopt_t *self, acme_account_item_t *accounts, int m)
{
    acme_store_root_t *root = self->root;
    apr_hash_t *seen = apr_hash_make(self->scratch);
    const acme_account_item_t *other;
    int i;

    for (i = 0; i < m; i++) {
        other = apr_hash_get(seen, accounts[i].ca->auth_path, APR_HASH_KEY_STRING);
        if (other != NULL) {
            account_like(&accounts[i], other);
            continue;
        }
        acme_account_key(&accounts[i], root->store, root->uid, !self->pass.touch, root->log,
                         self->pass.pool);
        if (self->pass.touch && accounts[i].trouble == NULL) {
            acme_account_log(&accounts[i], root->uid, root->log, self->pass.pool);
        }
        if (accounts[i].created) {
            acme_log(root->log, ACME_LOG_NOTICE, "AC0619", NULL, "%s: a new account key (%s)",
                     accounts[i].ca->auth_path,
                     acme_key_type_name(accounts[i].ca->account_key_type));
        }
        apr_hash_set(seen, accounts[i].ca->auth_path, APR_HASH_KEY_STRING, &accounts[i]);
    }
}

/* ---- all of it ---- */

static void adopt_init(adopt_t *self, acme_store_root_t *root, apr_pool_t *pool)
{
    memset(self, 0, sizeof(*self));
    self->root = root;
    apr_pool_create(&self->scratch, pool);
    apr_pool_create(&self->batch, self->scratch);
    self->pass.root = root;
    self->pass.uid = root->uid;
    self->pass.touch = root->usable && !root->read_only;
    self->pass.pool = pool;
    self->pass.scratch = self->scratch;
    self->retry = apr_hash_make(self->scratch);
    self->configured = apr_hash_make(self->scratch);
    self->works = apr_array_make(self->batch, BATCH_MAX, sizeof(work_t *));
    self->commit = acme_commit_create(root->store, root->uid, self->batch);
}

void acme_store_adopt(acme_store_root_t *root, acme_item_t *items, int n,
                      acme_account_item_t *accounts, int m, apr_pool_t *pool)
{
    adopt_t self;
    int i;

    adopt_init(&self, root, pool);
    accounts_adopt(&self, accounts, m);
    if (self.pass.touch) {
        overflow_read(&self);
        for (i = 0; i < n; i++) {
            apr_hash_set(self.configured, items[i].spec->id, APR_HASH_KEY_STRING, "");
        }
        for (i = 0; i < n; i++) {
            if (items[i].trouble == NULL) {
                item_adopt(&self, &items[i], i < root->own_logs_max);
            }
        }
        flush(&self);
        acme_store_stand_in(root, items, n, pool);
        if (self.rewrite) {
            overflow_rewrite(&self);
        }
        open_logs(&self, items, n);
        for (i = 0; i < n; i++) {
            look_for_retry(&self, &items[i]);
            hand_over_key(&self, &items[i]);
        }
        remove_retries(&self);
    }
    fds_register(&self, items, n, accounts, m);
    apr_pool_destroy(self.scratch);
}
