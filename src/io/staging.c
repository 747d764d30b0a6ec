/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#include "io/staging.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/stat.h>
#include <apr_hash.h>
#include <apr_thread_mutex.h>
#include "crypto/digest.h"

#define STRIPES 64

typedef struct {
    acme_staging_entry_t conf;
    int begun;            /* what was handed over stands in text */
    char *text;           /* newest record of each type, most important first; malloc, secret */
    apr_size_t len;
    apr_int64_t last_seq;
    int behind;           /* not all that an older owner wrote is in the logs at hand */
} entry_t;

typedef struct {
    acme_store_t base; /* first: a store is one of these */
    acme_board_t *board;
    apr_uint32_t config;
    entry_t *entries;
    int n;
    apr_hash_t *by_id;
    int overflow_fd;
    int (*lease)(void *baton);
    void *baton;
    apr_thread_mutex_t *stripe[STRIPES]; /* guard entries */
    apr_thread_mutex_t *overflow_mutex;
} staging_t;

/* What a next owner can do without goes last; the board has room for the first ones at least. */
static const acme_record_type_t importance[] = {
    ACME_REC_KEY, ACME_REC_ORDER, ACME_REC_LIVE, ACME_REC_ATTEMPT, ACME_REC_ACCOUNT,
    ACME_REC_ROLLOVER, ACME_REC_CLEANUP, ACME_REC_ARI, ACME_REC_NOTIFY, ACME_REC_CERTIFICATE
};

#define TYPES (sizeof(importance) / sizeof(importance[0]))

/* ---- one log ---- */

static apr_status_t write_all(int fd, const char *bytes, apr_size_t len, apr_size_t *done)
{
    ssize_t n;

    for (*done = 0; *done < len; *done += (apr_size_t)n) {
        n = write(fd, bytes + *done, len - *done);
        if (n < 0 && errno == EINTR) {
            n = 0;
        }
        else if (n < 0) {
            return errno;
        }
        else if (n == 0) {
            return APR_ENOSPC;
        }
    }
    while (fdatasync(fd) != 0) {
        if (errno != EINTR) {
            return errno;
        }
    }
    return APR_SUCCESS;
}

/* Takes back a torn append, unless somebody else has written behind it meanwhile. */
static void cut_back(int fd, off_t before, apr_size_t done)
{
    struct stat st;
    int rc;

    if (done == 0 || fstat(fd, &st) != 0 || st.st_size != before + (off_t)done) {
        return;
    }
    do {
        rc = ftruncate(fd, before);
    } while (rc != 0 && errno == EINTR);
}

static acme_rv_t log_append(int fd, acme_record_type_t type, apr_size_t cap, const char *bytes,
                            apr_size_t len, acme_error_t *err)
{
    /* An order begins with its key: the last quarter is for the records of orders that run. */
    apr_size_t limit = type == ACME_REC_KEY ? cap / 4 * 3 : cap;
    apr_size_t done = 0;
    apr_status_t status;
    struct stat st;

    if (fstat(fd, &st) != 0) {
        return acme_error_system(err, ACME_E_STORE, "AC0616", errno, "look at the staging log");
    }
    if ((apr_size_t)st.st_size + len > limit) {
        return acme_error_set(err, ACME_E_STORE, "AC0905",
                              "the staging log holds %" APR_OFF_T_FMT " of at most %" APR_SIZE_T_FMT
                              " bytes; a graceful restart empties it", (apr_off_t)st.st_size, cap);
    }
    status = write_all(fd, bytes, len, &done);
    if (status != APR_SUCCESS) {
        cut_back(fd, st.st_size, done);
        return acme_error_system(err, ACME_E_STORE, "AC0601", status, "write to the staging log");
    }
    return ACME_OK;
}

/* Both logs of a certificate are containers only: what names it is found in either. */
static acme_rv_t entry_append(staging_t *self, entry_t *entry, acme_record_type_t type,
                              const char *bytes, apr_size_t len, acme_error_t *err)
{
    int fd = type == ACME_REC_KEY ? entry->conf.key_fd : entry->conf.fd;
    acme_rv_t rv;

    if (fd < 0 && self->overflow_fd >= 0) {
        apr_thread_mutex_lock(self->overflow_mutex);
        rv = log_append(self->overflow_fd, type, ACME_OVERFLOW_CAP, bytes, len, err);
        apr_thread_mutex_unlock(self->overflow_mutex);
        return rv;
    }
    if (fd < 0) {
        fd = type == ACME_REC_KEY ? entry->conf.fd : entry->conf.key_fd;
    }
    if (fd < 0) {
        return acme_error_set(err, ACME_E_STORE, "AC0602",
                              "%s: no staging log could be opened at the start", entry->conf.id);
    }
    return log_append(fd, type, ACME_LOG_CAP, bytes, len, err);
}

/* ---- what is known of an entry ---- */

static void join(acme_record_set_t *set, const char *id, const char *data, apr_size_t len,
                 apr_pool_t *pool)
{
    acme_record_set_t more;
    int type;

    if (len == 0) {
        return;
    }
    memset(&more, 0, sizeof(more));
    acme_record_collect(&more, id, data, len, pool);
    more.last_seq = 0;
    for (type = 0; type < ACME_REC_TYPES; type++) {
        if (more.present[type] && more.rec[type].seq > ACME_SEQ_HIGH) {
            more.present[type] = 0;
        }
        if (more.present[type] && more.rec[type].seq > more.last_seq) {
            more.last_seq = more.rec[type].seq;
        }
    }
    acme_record_merge(set, &more);
}

/* What the live certificate of `by` has made obsolete. */
static void settle(acme_record_set_t *set, const acme_record_set_t *by)
{
    static const acme_record_type_t pending[] = {
        ACME_REC_ORDER, ACME_REC_KEY, ACME_REC_ATTEMPT, ACME_REC_CERTIFICATE
    };
    apr_size_t i;

    if (!by->present[ACME_REC_LIVE]) {
        return;
    }
    for (i = 0; i < sizeof(pending) / sizeof(pending[0]); i++) {
        if (set->rec[pending[i]].seq <= by->rec[ACME_REC_LIVE].seq) {
            set->present[pending[i]] = 0;
        }
    }
}

/* The records of a set that fit into max bytes, by importance. NULL: out of memory. */
static char *set_text(apr_size_t *len, const acme_record_set_t *set, apr_size_t max)
{
    const acme_record_t *rec;
    apr_size_t total = 0;
    apr_size_t i;
    char *text;

    for (i = 0; i < TYPES; i++) {
        rec = &set->rec[importance[i]];
        total += set->present[importance[i]] && rec->raw_len <= max - total ? rec->raw_len : 0;
    }
    text = malloc(total + 1);
    *len = 0;
    for (i = 0; i < TYPES && text != NULL; i++) {
        rec = &set->rec[importance[i]];
        if (set->present[importance[i]] && rec->raw_len <= max - *len) {
            memcpy(text + *len, rec->raw, rec->raw_len);
            *len += rec->raw_len;
        }
    }
    return text;
}

static void text_free(char *text, apr_size_t len)
{
    if (text != NULL) {
        acme_cleanse(text, len);
        free(text);
    }
}

/* The board is looked at each time: another owner may have written since. */
static void entry_refresh(acme_record_set_t *set, staging_t *self, entry_t *entry, apr_pool_t *pool)
{
    const acme_staging_entry_t *conf = &entry->conf;
    const char *records;
    apr_size_t len;

    memset(set, 0, sizeof(*set));
    if (entry->begun) {
        join(set, conf->id, entry->text, entry->len, pool);
    }
    else if (conf->handed != NULL) {
        join(set, conf->id, conf->handed, conf->handed_len, pool);
    }
    if (conf->row >= 0 && self->board != NULL) {
        records = acme_board_resume_read(&len, self->board, conf->row, pool);
        join(set, conf->id, records, len, pool);
    }
    if (set->last_seq > entry->last_seq) {
        entry->last_seq = set->last_seq;
    }
    settle(set, set);
}

static void board_keep(staging_t *self, const entry_t *entry, const acme_record_set_t *set)
{
    apr_size_t len;
    char *text;

    if (entry->conf.row < 0 || self->board == NULL) {
        return;
    }
    text = set_text(&len, set, ACME_BOARD_RESUME_MAX);
    if (text != NULL) {
        (void)acme_board_resume_write(self->board, entry->conf.row, text, len, NULL);
    }
    text_free(text, len);
}

/* Keeps a set as what is known, here and on the board. Its records may point into what was known,
 * so they are invalid afterwards. */
static acme_rv_t entry_keep(staging_t *self, entry_t *entry, const acme_record_set_t *set)
{
    apr_size_t len;
    char *text = set_text(&len, set, ACME_RECORD_PAYLOAD_MAX * ACME_REC_TYPES);

    board_keep(self, entry, set);
    if (text == NULL) {
        return ACME_FAIL;
    }
    text_free(entry->text, entry->len);
    entry->text = text;
    entry->len = len;
    entry->begun = 1;
    return ACME_OK;
}

static entry_t *entry_of(staging_t *self, const char *id)
{
    return apr_hash_get(self->by_id, id, APR_HASH_KEY_STRING);
}

static apr_thread_mutex_t *mutex_of(staging_t *self, const entry_t *entry)
{
    return self->stripe[(entry - self->entries) % STRIPES];
}

static acme_rv_t unknown(const char *id, acme_error_t *err)
{
    return acme_error_set(err, ACME_E_INTERNAL, NULL, "%s: not a certificate of this store", id);
}

/* ---- the interface ---- */

typedef struct {
    char *text;
    apr_size_t len;
} loaned_t;

static apr_status_t loaned_cleanup(void *data)
{
    loaned_t *loaned = data;

    text_free(loaned->text, loaned->len);
    return APR_SUCCESS;
}

static acme_rv_t staging_load(acme_store_t *store, acme_record_set_t *out, const char *id,
                              apr_pool_t *pool, acme_error_t *err)
{
    staging_t *self = (staging_t *)store;
    entry_t *entry = entry_of(self, id);
    acme_record_set_t set;
    loaned_t *loaned;
    apr_pool_t *sub;

    memset(out, 0, sizeof(*out));
    if (entry == NULL) {
        return unknown(id, err);
    }
    loaned = apr_pcalloc(pool, sizeof(*loaned));
    apr_pool_create(&sub, pool);
    apr_thread_mutex_lock(mutex_of(self, entry));
    entry_refresh(&set, self, entry, sub);
    loaned->text = set_text(&loaned->len, &set, ACME_RECORD_PAYLOAD_MAX * ACME_REC_TYPES);
    apr_thread_mutex_unlock(mutex_of(self, entry));
    if (loaned->text == NULL) {
        apr_pool_destroy(sub);
        return acme_error_system(err, ACME_E_SYSTEM, NULL, APR_ENOMEM, "%s: records", id);
    }
    apr_pool_cleanup_register(pool, loaned, loaned_cleanup, apr_pool_cleanup_null);
    apr_pool_destroy(sub);
    join(out, id, loaned->text, loaned->len, pool);
    out->last_seq = entry->last_seq;
    return ACME_OK;
}

/* Under the entry's mutex. */
static acme_rv_t append_locked(staging_t *self, entry_t *entry, acme_record_t *rec,
                               apr_pool_t *scratch, acme_error_t *err)
{
    acme_record_set_t set;
    const char *bytes;
    apr_size_t len;
    acme_rv_t rv;

    entry_refresh(&set, self, entry, scratch);
    rec->id = entry->conf.id;
    rec->seq = entry->last_seq + 1;
    if (acme_record_encode(&bytes, &len, rec, scratch, err) != ACME_OK) {
        return ACME_FAIL;
    }
    rv = entry_append(self, entry, rec->type, bytes, len, err);
    if (rv != ACME_OK) {
        goto out;
    }
    entry->last_seq = rec->seq;
    join(&set, entry->conf.id, bytes, len, scratch);
    if (entry->conf.row >= 0 && self->board != NULL && !entry->behind) {
        acme_board_logs_set(self->board, entry->conf.row, self->config);
    }
    if (entry_keep(self, entry, &set) != ACME_OK) {
        rv = acme_error_system(err, ACME_E_SYSTEM, NULL, APR_ENOMEM, "%s: records", rec->id);
    }

out:
    if (rec->type == ACME_REC_KEY || rec->type == ACME_REC_ROLLOVER) {
        acme_cleanse((char *)bytes, len);
    }
    return rv;
}

static acme_rv_t staging_append(acme_store_t *store, const char *id, acme_record_type_t type,
                                const char *payload, apr_size_t len, apr_time_t now,
                                apr_pool_t *scratch, acme_error_t *err)
{
    staging_t *self = (staging_t *)store;
    entry_t *entry = entry_of(self, id);
    acme_record_t rec;
    apr_pool_t *sub;
    acme_rv_t rv;

    if (entry == NULL) {
        return unknown(id, err);
    }
    memset(&rec, 0, sizeof(rec));
    rec.type = type;
    rec.time = now;
    rec.payload = payload;
    rec.len = len;
    apr_pool_create(&sub, scratch);
    apr_thread_mutex_lock(mutex_of(self, entry));
    rv = append_locked(self, entry, &rec, sub, err);
    apr_thread_mutex_unlock(mutex_of(self, entry));
    apr_pool_destroy(sub);
    return rv;
}

/* The certificate record becomes a live record: the JSON line without the chain, which stands in
 * the row's live area. */
static acme_rv_t mark_live(staging_t *self, entry_t *entry, apr_pool_t *scratch, acme_error_t *err)
{
    acme_record_set_t set;
    acme_record_t rec;
    const char *bytes, *end;
    apr_size_t len;

    entry_refresh(&set, self, entry, scratch);
    if (set.present[ACME_REC_CERTIFICATE]) {
        rec = set.rec[ACME_REC_CERTIFICATE];
        end = memchr(rec.payload, '\n', rec.len);
        rec.len = end != NULL ? (apr_size_t)(end - rec.payload) + 1 : rec.len;
        rec.type = ACME_REC_LIVE;
        if (acme_record_encode(&bytes, &len, &rec, scratch, err) != ACME_OK) {
            return ACME_FAIL;
        }
        join(&set, entry->conf.id, bytes, len, scratch);
        settle(&set, &set);
    }
    return entry_keep(self, entry, &set);
}

static acme_rv_t board_publish(acme_board_t *board, int row, const acme_key_t *key,
                               const acme_chain_t *chain, apr_time_t now, apr_pool_t *scratch,
                               acme_error_t *err)
{
    acme_board_live_t live;
    unsigned char *der;
    int i;

    memset(&live, 0, sizeof(live));
    if (acme_key_to_der(&der, &live.key_len, key, scratch, err) != ACME_OK) {
        return ACME_FAIL;
    }
    live.key = der;
    live.n_certs = acme_chain_count(chain);
    for (i = 0; i < live.n_certs && i < ACME_CHAIN_MAX_CERTS; i++) {
        acme_chain_der(&live.cert[i], &live.cert_len[i], chain, i);
    }
    return acme_board_live_write(board, row, &live, now, NULL, err);
}

static acme_rv_t staging_publish(acme_store_t *store, const char *id, const acme_key_t *key,
                                 const acme_chain_t *chain, apr_time_t now, apr_pool_t *scratch,
                                 acme_error_t *err)
{
    staging_t *self = (staging_t *)store;
    entry_t *entry = entry_of(self, id);
    acme_rv_t rv = ACME_OK;
    apr_pool_t *sub;

    if (entry == NULL) {
        return unknown(id, err);
    }
    apr_pool_create(&sub, scratch);
    if (entry->conf.row >= 0 && self->board != NULL) {
        rv = board_publish(self->board, entry->conf.row, key, chain, now, sub, err);
    }
    /* Even if the row was too small: the order is done, the next start adopts what is staged. */
    apr_thread_mutex_lock(mutex_of(self, entry));
    if (mark_live(self, entry, sub, err) != ACME_OK) {
        rv = ACME_FAIL;
    }
    apr_thread_mutex_unlock(mutex_of(self, entry));
    apr_pool_destroy(sub);
    return rv;
}

static int staging_lease(acme_store_t *store)
{
    staging_t *self = (staging_t *)store;

    return self->lease == NULL || self->lease(self->baton);
}

static apr_status_t staging_cleanup(void *data)
{
    staging_t *self = data;
    int i;

    for (i = 0; i < self->n; i++) {
        text_free(self->entries[i].text, self->entries[i].len);
    }
    return APR_SUCCESS;
}

acme_rv_t acme_staging_create(acme_store_t **out, acme_board_t *board,
                              const acme_staging_entry_t *entries, int n, int overflow_fd,
                              int (*lease)(void *baton), void *baton, apr_pool_t *pool,
                              acme_error_t *err)
{
    staging_t *self = apr_pcalloc(pool, sizeof(*self));
    apr_status_t status;
    int i;

    *out = NULL;
    self->base.load = staging_load;
    self->base.append = staging_append;
    self->base.publish = staging_publish;
    self->base.lease = staging_lease;
    self->board = board;
    self->config = board != NULL ? acme_board_config(board) : 0;
    self->overflow_fd = overflow_fd;
    self->lease = lease;
    self->baton = baton;
    self->n = n;
    self->entries = apr_pcalloc(pool, (apr_size_t)(n > 0 ? n : 1) * sizeof(entry_t));
    self->by_id = apr_hash_make(pool);
    for (i = 0; i < n; i++) {
        self->entries[i].conf = entries[i];
        apr_hash_set(self->by_id, entries[i].id, APR_HASH_KEY_STRING, self->entries + i);
    }
    status = apr_thread_mutex_create(&self->overflow_mutex, APR_THREAD_MUTEX_DEFAULT, pool);
    for (i = 0; i < STRIPES && status == APR_SUCCESS; i++) {
        status = apr_thread_mutex_create(&self->stripe[i], APR_THREAD_MUTEX_DEFAULT, pool);
    }
    if (status != APR_SUCCESS) {
        return acme_error_system(err, ACME_E_SYSTEM, NULL, status, "mutex of the store");
    }
    apr_pool_cleanup_register(pool, self, staging_cleanup, apr_pool_cleanup_null);
    *out = &self->base;
    return ACME_OK;
}

/* ---- a new owner ---- */

/* Same numbers as before: what is newer stays newer. */
static acme_rv_t record_again(staging_t *self, entry_t *entry, acme_record_t *rec,
                              apr_pool_t *scratch)
{
    const char *bytes;
    apr_size_t len;
    acme_rv_t rv;

    rec->id = entry->conf.id;
    if (acme_record_encode(&bytes, &len, rec, scratch, NULL) != ACME_OK) {
        return ACME_FAIL;
    }
    rv = entry_append(self, entry, rec->type, bytes, len, NULL);
    if (rec->type == ACME_REC_KEY || rec->type == ACME_REC_ROLLOVER) {
        acme_cleanse((char *)bytes, len);
    }
    return rv;
}

/* The published pair as records, with what the live record says of it. ACME_OK too when the row is
 * damaged or tells of another pair: then there is nothing to record. */
static acme_rv_t pair_again(staging_t *self, entry_t *entry, const acme_record_t *live_rec,
                            apr_pool_t *scratch)
{
    const unsigned char *ders[ACME_CHAIN_MAX_CERTS];
    const char *digest, *pem, *rest;
    acme_board_live_t live;
    acme_issued_t issued;
    acme_chain_t *chain;
    acme_record_t rec = *live_rec;
    apr_size_t rest_len;
    acme_key_t *key;
    acme_rv_t rv;

    if (acme_board_live_read(&live, self->board, entry->conf.row, scratch, NULL) != ACME_OK
        || acme_key_from_der(&key, live.key, live.key_len, scratch, NULL) != ACME_OK
        || acme_certificate_payload_parse(&issued, &rest, &rest_len, rec.payload, rec.len, scratch,
                                          NULL) != ACME_OK) {
        return ACME_OK;
    }
    memcpy(ders, live.cert, sizeof(ders));
    digest = acme_key_digest(key, scratch);
    if (strcmp(digest, issued.key_digest) != 0
        || acme_chain_from_der(&chain, ders, live.cert_len, live.n_certs, scratch, NULL) != ACME_OK
        || !acme_chain_matches_key(chain, key)) {
        return ACME_OK;
    }
    pem = acme_key_to_pem(key, scratch);
    rec.type = ACME_REC_KEY;
    rec.payload = pem;
    rec.len = strlen(pem);
    rv = record_again(self, entry, &rec, scratch);
    if (rv == ACME_OK) {
        rec.type = ACME_REC_CERTIFICATE;
        rec.payload = acme_certificate_payload(&rec.len, &issued, acme_chain_to_pem(chain, scratch),
                                               scratch);
        rv = record_again(self, entry, &rec, scratch);
    }
    return rv;
}

static void entry_catch_up(staging_t *self, entry_t *entry, apr_uint64_t baseline,
                           apr_pool_t *scratch)
{
    acme_record_set_t handed, board;
    int row = entry->conf.row;
    acme_rv_t rv = ACME_OK;
    const char *records;
    apr_size_t len;
    apr_size_t i;

    memset(&handed, 0, sizeof(handed));
    memset(&board, 0, sizeof(board));
    join(&handed, entry->conf.id, entry->conf.handed, entry->conf.handed_len, scratch);
    records = acme_board_resume_read(&len, self->board, row, scratch);
    join(&board, entry->conf.id, records, len, scratch);
    /* The owner may have died between recording a certificate that root has adopted since and
     * publishing it. */
    settle(&board, &handed);
    for (i = 0; i < TYPES && rv == ACME_OK; i++) {
        acme_record_t *rec = &board.rec[importance[i]];

        if (!board.present[importance[i]] || (handed.present[importance[i]]
                                              && handed.rec[importance[i]].seq >= rec->seq)) {
            continue;
        }
        if (importance[i] != ACME_REC_LIVE) {
            rv = record_again(self, entry, rec, scratch);
        }
        else if (acme_board_row_generation(self->board, row) > baseline) {
            /* A live record is root's to write. */
            rv = pair_again(self, entry, rec, scratch);
        }
    }
    entry->behind = rv != ACME_OK;
    if (!entry->behind) {
        acme_board_logs_set(self->board, row, self->config);
    }
}

void acme_staging_catch_up(acme_store_t *store, const apr_uint64_t *baseline, apr_time_t now,
                           apr_pool_t *scratch)
{
    staging_t *self = (staging_t *)store;
    apr_pool_t *sub;
    entry_t *entry;
    int i;

    (void)now;
    if (self->board == NULL) {
        return;
    }
    apr_pool_create(&sub, scratch);
    for (i = 0; i < self->n; i++) {
        entry = self->entries + i;
        if (entry->conf.row < 0 || acme_board_logs(self->board, entry->conf.row) == self->config) {
            continue;
        }
        apr_thread_mutex_lock(mutex_of(self, entry));
        entry_catch_up(self, entry, baseline != NULL ? baseline[i] : 0, sub);
        apr_thread_mutex_unlock(mutex_of(self, entry));
        apr_pool_clear(sub);
    }
    apr_pool_destroy(sub);
}
