/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#include <check.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <apr_general.h>
#include <apr_strings.h>
#include "io/staging.h"

Suite *staging_suite(void);

#define COUNT(table) ((int)(sizeof(table) / sizeof((table)[0])))
#define NOW apr_time_from_sec(APR_INT64_C(1795529967))
#define ROWS 4
#define ID "example.org"
#define SHARED "www.example.net"
#define ACCOUNT "ca.example"
#define LAST (ROWS - 1)

/* The same as in test_record.c, by sha256sum. */
#define RECORD_7                                                                                   \
    "acme1 example.org attempt 7 14 "                                                              \
    "1689aeb4d6e3924cabadc555f4f277eef6cdf8ad89ece84c7986d05443ee005b"                             \
    " 2026-11-24T14:19:27Z\n{\"failures\":2}\n"

/* A staging log as root opens it, and a way to look at it. */
typedef struct {
    int fd; /* write-only, appending */
    int look;
} log_t;

typedef struct {
    log_t log, key_log, overflow, account_log;
    acme_staging_entry_t entries[3];
} logs_t;

static apr_pool_t *pool;
static unsigned char *memory;
static apr_size_t memory_size;
static acme_board_t *board;

static void setup(void)
{
    apr_initialize();
    apr_pool_create(&pool, NULL);
    memory_size = acme_board_size(ROWS);
    memory = mmap(NULL, memory_size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    ck_assert(memory != MAP_FAILED);
    acme_board_format(memory, memory_size, ROWS);
    ck_assert(acme_board_attach(&board, memory, memory_size, pool, NULL) == ACME_OK);
    acme_board_config_next(board);
}

static void teardown(void)
{
    munmap(memory, memory_size);
    apr_pool_destroy(pool);
    apr_terminate();
}

static log_t log_in(const char *directory)
{
    char *path = apr_pstrcat(pool, directory, "/acme-staging.XXXXXX", NULL);
    log_t log;

    log.look = mkstemp(path);
    ck_assert_int_ge(log.look, 0);
    log.fd = open(path, O_WRONLY | O_APPEND | O_CLOEXEC | O_NOFOLLOW);
    ck_assert_int_ge(log.fd, 0);
    unlink(path);
    return log;
}

/* One certificate with logs of its own, one that shares, one account; rows 0, 1, 2. */
static logs_t *logs_new(void)
{
    logs_t *logs = apr_pcalloc(pool, sizeof(*logs));
    static const char *const ids[] = {ID, SHARED, ACCOUNT};
    int i;

    logs->log = log_in("/tmp");
    logs->key_log = log_in("/tmp");
    logs->overflow = log_in("/tmp");
    logs->account_log = log_in("/tmp");
    for (i = 0; i < 3; i++) {
        logs->entries[i].id = ids[i];
        logs->entries[i].row = i;
        logs->entries[i].fd = logs->entries[i].key_fd = -1;
    }
    logs->entries[0].fd = logs->log.fd;
    logs->entries[0].key_fd = logs->key_log.fd;
    logs->entries[2].fd = logs->account_log.fd;
    return logs;
}

/* A new owner: another handle with nothing in its memory. */
static acme_store_t *owner(const logs_t *logs)
{
    acme_store_t *store;

    ck_assert(acme_staging_create(&store, board, logs->entries, 3, logs->overflow.fd, NULL, NULL,
                                  pool, NULL) == ACME_OK);
    return store;
}

static off_t size_of(int fd)
{
    struct stat st;

    ck_assert_int_eq(fstat(fd, &st), 0);
    return st.st_size;
}

static const char *bytes_of(apr_size_t *len, const log_t *log)
{
    off_t size = size_of(log->look);
    char *bytes = apr_pcalloc(pool, (apr_size_t)size + 1);

    ck_assert_int_eq(pread(log->look, bytes, (size_t)size, 0), size);
    *len = (apr_size_t)size;
    return bytes;
}

/* What root would find in a log of an id. */
static acme_record_set_t read_log(const log_t *log, const char *id)
{
    acme_record_set_t set;
    const char *bytes;
    apr_size_t len;

    bytes = bytes_of(&len, log);
    acme_record_collect(&set, id, bytes, len, pool);
    return set;
}

static int records_in(const log_t *log)
{
    acme_record_t rec;
    apr_size_t state = 0, len;
    const char *bytes = bytes_of(&len, log);
    int n = 0;

    while (acme_record_next(&rec, &state, bytes, len, NULL, pool) == ACME_OK) {
        n++;
    }
    return n;
}

static acme_rv_t put(acme_store_t *store, const char *id, acme_record_type_t type,
                     const char *payload)
{
    return store->append(store, id, type, payload, strlen(payload), NOW, pool, NULL);
}

static acme_record_set_t known(acme_store_t *store, const char *id)
{
    acme_record_set_t set;

    ck_assert(store->load(store, &set, id, pool, NULL) == ACME_OK);
    return set;
}

/* Is there this record, with this number? */
static int is(const acme_record_set_t *set, acme_record_type_t type, apr_int64_t seq,
              const char *payload)
{
    const acme_record_t *rec = &set->rec[type];

    return set->present[type] && rec->seq == seq && rec->len == strlen(payload)
           && memcmp(rec->payload, payload, rec->len) == 0;
}

static const char *encoded(const char *id, acme_record_type_t type, apr_int64_t seq,
                           const char *payload)
{
    acme_record_t rec;
    const char *bytes;
    apr_size_t len;

    memset(&rec, 0, sizeof(rec));
    rec.id = id;
    rec.type = type;
    rec.seq = seq;
    rec.time = NOW;
    rec.payload = payload;
    rec.len = strlen(payload);
    ck_assert(acme_record_encode(&bytes, &len, &rec, pool, NULL) == ACME_OK);
    return bytes;
}

static void hand(acme_staging_entry_t *entry, const char *records)
{
    entry->handed = records;
    entry->handed_len = strlen(records);
}

/* ---- appending ---- */

START_TEST(a_record_goes_to_its_log_and_to_the_board)
{
    logs_t *logs = logs_new();
    acme_store_t *store;
    acme_record_set_t set;
    const char *bytes;
    apr_size_t len;

    hand(&logs->entries[0], encoded(ID, ACME_REC_ORDER, 6, "order"));
    store = owner(logs);
    ck_assert(put(store, ID, ACME_REC_ATTEMPT, "{\"failures\":2}") == ACME_OK);
    bytes = bytes_of(&len, &logs->log);
    ck_assert_uint_eq(len, strlen(RECORD_7));
    ck_assert_str_eq(bytes, RECORD_7);
    ck_assert_int_eq(size_of(logs->key_log.look), 0);
    bytes = acme_board_resume_read(&len, board, 0, pool);
    ck_assert_ptr_nonnull(memmem(bytes, len, RECORD_7, strlen(RECORD_7)));
    ck_assert(put(store, ID, ACME_REC_KEY, "pem") == ACME_OK);
    set = read_log(&logs->key_log, ID);
    ck_assert(is(&set, ACME_REC_KEY, 8, "pem"));
    ck_assert_int_eq(records_in(&logs->log), 1);
    set = known(store, ID);
    ck_assert(is(&set, ACME_REC_ORDER, 6, "order") && is(&set, ACME_REC_KEY, 8, "pem")
              && is(&set, ACME_REC_ATTEMPT, 7, "{\"failures\":2}"));
    ck_assert_int_eq(set.last_seq, 8);
    /* An account has one log for all. */
    ck_assert(put(store, ACCOUNT, ACME_REC_ACCOUNT, "{}") == ACME_OK);
    ck_assert(put(store, ACCOUNT, ACME_REC_KEY, "rolled") == ACME_OK);
    set = read_log(&logs->overflow, ACCOUNT);
    ck_assert(is(&set, ACME_REC_KEY, 2, "rolled"));
    set = read_log(&logs->account_log, ACCOUNT);
    ck_assert(is(&set, ACME_REC_ACCOUNT, 1, "{}"));
}
END_TEST

START_TEST(the_overflow_log_names_its_records)
{
    logs_t *logs = logs_new();
    acme_staging_entry_t *also = &logs->entries[2];
    acme_record_set_t set;
    acme_store_t *store;

    also->fd = -1;
    store = owner(logs);
    ck_assert(put(store, SHARED, ACME_REC_ORDER, "first") == ACME_OK);
    ck_assert(put(store, ACCOUNT, ACME_REC_ACCOUNT, "other") == ACME_OK);
    ck_assert(put(store, SHARED, ACME_REC_KEY, "pem") == ACME_OK);
    ck_assert(put(store, SHARED, ACME_REC_ORDER, "second") == ACME_OK);
    ck_assert_int_eq(records_in(&logs->overflow), 4);
    set = read_log(&logs->overflow, SHARED);
    ck_assert(is(&set, ACME_REC_ORDER, 3, "second") && is(&set, ACME_REC_KEY, 2, "pem"));
    ck_assert(!set.present[ACME_REC_ACCOUNT] && !set.damaged);
    set = read_log(&logs->overflow, ACCOUNT);
    ck_assert(is(&set, ACME_REC_ACCOUNT, 1, "other") && !set.present[ACME_REC_ORDER]);
}
END_TEST

START_TEST(without_a_log_nothing_is_recorded)
{
    logs_t *logs = logs_new();
    acme_record_set_t set;
    acme_store_t *store;
    acme_error_t err;
    apr_size_t len;

    acme_error_clear(&err);
    ck_assert(acme_staging_create(&store, board, logs->entries, 3, -1, NULL, NULL, pool, NULL)
              == ACME_OK);
    ck_assert(store->append(store, SHARED, ACME_REC_ORDER, "x", 1, NOW, pool, &err) == ACME_FAIL);
    ck_assert_str_eq(err.code, "AC0602");
    (void)acme_board_resume_read(&len, board, 1, pool);
    ck_assert_uint_eq(len, 0);
    ck_assert_int_eq(known(store, SHARED).last_seq, 0);
    /* One of two is enough. */
    logs->entries[1].key_fd = logs->key_log.fd;
    ck_assert(acme_staging_create(&store, board, logs->entries, 3, -1, NULL, NULL, pool, NULL)
              == ACME_OK);
    ck_assert(put(store, SHARED, ACME_REC_ORDER, "x") == ACME_OK);
    set = read_log(&logs->key_log, SHARED);
    ck_assert(is(&set, ACME_REC_ORDER, 1, "x"));
    /* A stranger has none at all. */
    ck_assert(put(store, "stranger.org", ACME_REC_ORDER, "x") == ACME_FAIL);
    ck_assert(store->load(store, &set, "stranger.org", pool, NULL) == ACME_FAIL);
    ck_assert(store->publish(store, "stranger.org", NULL, NULL, NOW, pool, NULL) == ACME_FAIL);
}
END_TEST

/* A pipe can be written but not synced. */
START_TEST(what_is_not_synced_is_not_recorded)
{
    logs_t *logs = logs_new();
    acme_store_t *store;
    acme_error_t err;
    apr_size_t len;
    int ends[2];

    acme_error_clear(&err);
    ck_assert_int_eq(pipe(ends), 0);
    logs->entries[0].fd = ends[1];
    store = owner(logs);
    ck_assert(store->append(store, ID, ACME_REC_ORDER, "x", 1, NOW, pool, &err) == ACME_FAIL);
    ck_assert_str_eq(err.code, "AC0601");
    ck_assert_int_eq(err.kind, ACME_E_STORE);
    (void)acme_board_resume_read(&len, board, 0, pool);
    ck_assert_uint_eq(len, 0);
    ck_assert(!known(store, ID).present[ACME_REC_ORDER]);
    close(ends[0]);
    close(ends[1]);
}
END_TEST

START_TEST(a_full_disk_leaves_the_past)
{
    int full = open("/dev/full", O_WRONLY | O_APPEND);
    logs_t *logs = logs_new();
    acme_record_set_t set;
    acme_store_t *store;
    acme_error_t err;

    ck_assert_int_ge(full, 0);
    hand(&logs->entries[0], encoded(ID, ACME_REC_ORDER, 6, "order"));
    logs->entries[0].fd = full;
    store = owner(logs);
    acme_error_clear(&err);
    ck_assert(store->append(store, ID, ACME_REC_ORDER, "x", 1, NOW, pool, &err) == ACME_FAIL);
    ck_assert_str_eq(err.code, "AC0601");
    ck_assert_int_eq(err.status, ENOSPC);
    set = known(store, ID);
    ck_assert(is(&set, ACME_REC_ORDER, 6, "order"));
    ck_assert_int_eq(set.last_seq, 6);
    close(full);
}
END_TEST

/* No assertion in between: what check writes counts too. */
static acme_rv_t put_limited(acme_store_t *store, apr_size_t limit, acme_error_t *err)
{
    struct rlimit former, tight;
    acme_rv_t rv;

    getrlimit(RLIMIT_FSIZE, &former);
    tight = former;
    tight.rlim_cur = (rlim_t)limit;
    setrlimit(RLIMIT_FSIZE, &tight);
    rv = store->append(store, ID, ACME_REC_ORDER, "this one", 8, NOW, pool, err);
    setrlimit(RLIMIT_FSIZE, &former);
    return rv;
}

/* The kernel writes up to the limit and says no to the rest: for every length of the torn part. */
START_TEST(a_short_write_is_cut_back)
{
    apr_size_t before, whole = strlen(encoded(ID, ACME_REC_ORDER, 2, "this one"));
    logs_t *logs = logs_new();
    acme_store_t *store = owner(logs);
    const char *is_now, *was;
    acme_record_set_t set;
    apr_size_t len, part;
    acme_error_t err;
    acme_rv_t rv;

    signal(SIGXFSZ, SIG_IGN);
    ck_assert(put(store, ID, ACME_REC_ORDER, "the past") == ACME_OK);
    was = bytes_of(&before, &logs->log);
    for (part = 0; part < whole; part++) {
        acme_error_clear(&err);
        rv = put_limited(store, before + part, &err);
        ck_assert_int_eq(rv, ACME_FAIL);
        ck_assert_str_eq(err.code, "AC0601");
        is_now = bytes_of(&len, &logs->log);
        ck_assert_msg(len == before && memcmp(is_now, was, len) == 0, "%d bytes of it", (int)part);
    }
    set = known(store, ID);
    ck_assert(is(&set, ACME_REC_ORDER, 1, "the past"));
    ck_assert(put_limited(store, before + whole, NULL) == ACME_OK);
    set = read_log(&logs->log, ID);
    ck_assert(is(&set, ACME_REC_ORDER, 2, "this one") && !set.damaged);
}
END_TEST

/* A real file system that fills up; needs the right to mount one. */
START_TEST(a_full_file_system_is_cut_back)
{
    char directory[] = "/tmp/acme-full.XXXXXX";
    char *payload = apr_pcalloc(pool, 40000);
    logs_t *logs = logs_new();
    acme_store_t *store;
    acme_error_t err;
    off_t before;

    ck_assert_ptr_nonnull(mkdtemp(directory));
    if (unshare(CLONE_NEWNS) != 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0
        || mount("acme", directory, "tmpfs", 0, "size=64k") != 0) {
        rmdir(directory);
        return;
    }
    memset(payload, 'p', 39999);
    logs->log = log_in(directory);
    logs->entries[0].fd = logs->log.fd;
    store = owner(logs);
    ck_assert(put(store, ID, ACME_REC_ORDER, payload) == ACME_OK);
    before = size_of(logs->log.look);
    acme_error_clear(&err);
    ck_assert(store->append(store, ID, ACME_REC_ATTEMPT, payload, 39999, NOW, pool, &err)
              == ACME_FAIL);
    ck_assert_int_eq(err.status, ENOSPC);
    ck_assert_int_eq(size_of(logs->log.look), before);
    ck_assert(put(store, ID, ACME_REC_ATTEMPT, "small") == ACME_OK);
    ck_assert_int_eq(records_in(&logs->log), 2);
    umount2(directory, MNT_DETACH);
    rmdir(directory);
}
END_TEST

static const struct {
    int overflow;
    acme_record_type_t type;
    off_t cap;
} caps[] = {
    {0, ACME_REC_ORDER, ACME_LOG_CAP},
    {0, ACME_REC_CERTIFICATE, ACME_LOG_CAP},
    {0, ACME_REC_KEY, ACME_LOG_CAP / 4 * 3},
    {1, ACME_REC_ORDER, ACME_OVERFLOW_CAP},
    {1, ACME_REC_KEY, ACME_OVERFLOW_CAP / 4 * 3},
};

/* No order begins when its end would not fit. */
START_TEST(a_log_has_an_end)
{
    const char *id = caps[_i].overflow ? SHARED : ID;
    off_t whole = (off_t)strlen(encoded(id, caps[_i].type, 1, "payload"));
    logs_t *logs = logs_new();
    acme_store_t *store = owner(logs);
    acme_error_t err;
    log_t *log;

    log = caps[_i].overflow ? &logs->overflow
          : caps[_i].type == ACME_REC_KEY ? &logs->key_log : &logs->log;
    ck_assert_int_eq(ftruncate(log->look, caps[_i].cap - whole + 1), 0);
    acme_error_clear(&err);
    ck_assert(store->append(store, id, caps[_i].type, "payload", 7, NOW, pool, &err) == ACME_FAIL);
    ck_assert_str_eq(err.code, "AC0905");
    ck_assert_int_eq(size_of(log->look), caps[_i].cap - whole + 1);
    ck_assert_int_eq(ftruncate(log->look, caps[_i].cap - whole), 0);
    ck_assert(put(store, id, caps[_i].type, "payload") == ACME_OK);
    ck_assert_int_eq(size_of(log->look), caps[_i].cap);
}
END_TEST

/* ---- what is known ---- */

START_TEST(the_newer_of_handed_and_board_counts)
{
    logs_t *logs = logs_new();
    acme_record_set_t set;
    acme_store_t *store;
    const char *text;

    hand(&logs->entries[0], apr_pstrcat(pool, encoded(ID, ACME_REC_ORDER, 3, "handed order"),
                                        encoded(ID, ACME_REC_ATTEMPT, 4, "handed attempt"),
                                        encoded("stranger.org", ACME_REC_KEY, 9, "not ours"),
                                        encoded(ID, ACME_REC_ARI, ACME_SEQ_HIGH + 1, "too high"),
                                        NULL));
    text = apr_pstrcat(pool, encoded(ID, ACME_REC_ORDER, 5, "board order"),
                       encoded(ID, ACME_REC_ATTEMPT, 2, "board attempt"),
                       encoded(ID, ACME_REC_CLEANUP, 1, "board cleanup"), NULL);
    ck_assert(acme_board_resume_write(board, 0, text, strlen(text), NULL) == ACME_OK);
    store = owner(logs);
    set = known(store, ID);
    ck_assert(is(&set, ACME_REC_ORDER, 5, "board order"));
    ck_assert(is(&set, ACME_REC_ATTEMPT, 4, "handed attempt"));
    ck_assert(is(&set, ACME_REC_CLEANUP, 1, "board cleanup"));
    ck_assert(!set.present[ACME_REC_KEY] && !set.present[ACME_REC_ARI]);
    ck_assert_int_eq(set.last_seq, 5);
    ck_assert(put(store, ID, ACME_REC_ARI, "window") == ACME_OK);
    ck_assert(is(&set, ACME_REC_ORDER, 5, "board order")); /* what was loaded stays */
    set = known(store, ID);
    ck_assert(is(&set, ACME_REC_ARI, 6, "window") && is(&set, ACME_REC_ORDER, 5, "board order"));
}
END_TEST

/* Numbers grow over types, over owners, and over failures; the former owner's handle learns too. */
START_TEST(numbers_go_on_over_owners)
{
    logs_t *logs = logs_new();
    acme_store_t *one = owner(logs), *two = owner(logs);
    acme_record_set_t set;

    ck_assert(put(one, ID, ACME_REC_ORDER, "1") == ACME_OK);
    ck_assert(put(one, ID, ACME_REC_ATTEMPT, "2") == ACME_OK);
    ck_assert(put(two, ID, ACME_REC_ORDER, "3") == ACME_OK);
    ck_assert(put(two, SHARED, ACME_REC_ORDER, "1") == ACME_OK);
    set = known(one, ID);
    ck_assert(is(&set, ACME_REC_ORDER, 3, "3") && is(&set, ACME_REC_ATTEMPT, 2, "2"));
    ck_assert(put(one, ID, ACME_REC_KEY, "4") == ACME_OK);
    set = known(two, ID);
    ck_assert(is(&set, ACME_REC_KEY, 4, "4") && is(&set, ACME_REC_ORDER, 3, "3"));
    set = known(two, SHARED);
    ck_assert(is(&set, ACME_REC_ORDER, 1, "1"));
}
END_TEST

static const struct {
    const char *live;
    int order, key, attempt, ari;
} settled[] = {
    {"handed", 0, 0, 0, 1},
    {"board", 0, 0, 0, 1},
    {"older", 1, 1, 1, 1},
};

START_TEST(a_live_certificate_ends_what_led_to_it)
{
    const char *live = encoded(ID, ACME_REC_LIVE, _i == 2 ? 1 : 6, "{}");
    const char *rest = apr_pstrcat(pool, encoded(ID, ACME_REC_ARI, 2, "ari"),
                                   encoded(ID, ACME_REC_KEY, 3, "key"),
                                   encoded(ID, ACME_REC_ORDER, 4, "order"),
                                   encoded(ID, ACME_REC_ATTEMPT, 5, "attempt"), NULL);
    logs_t *logs = logs_new();
    const char *on_board = _i == 1 ? live : rest;
    acme_record_set_t set;
    acme_store_t *store;

    hand(&logs->entries[0], _i == 1 ? rest : live);
    ck_assert(acme_board_resume_write(board, 0, on_board, strlen(on_board), NULL) == ACME_OK);
    store = owner(logs);
    set = known(store, ID);
    ck_assert_int_eq(set.present[ACME_REC_ORDER], settled[_i].order);
    ck_assert_int_eq(set.present[ACME_REC_KEY], settled[_i].key);
    ck_assert_int_eq(set.present[ACME_REC_ATTEMPT], settled[_i].attempt);
    ck_assert_int_eq(set.present[ACME_REC_ARI], settled[_i].ari);
    ck_assert(set.present[ACME_REC_LIVE]);
    ck_assert(put(store, ID, ACME_REC_ORDER, "next") == ACME_OK);
    set = known(owner(logs), ID);
    ck_assert(is(&set, ACME_REC_ORDER, _i == 2 ? 6 : 7, "next"));
}
END_TEST

/* The board has less room than a log: what a next owner needs most comes first. */
START_TEST(the_board_gets_what_matters)
{
    char *big = apr_pcalloc(pool, 20001), *huge = apr_pcalloc(pool, 100001);
    logs_t *logs = logs_new();
    acme_store_t *store = owner(logs);
    acme_record_set_t set;

    memset(big, 'b', 20000);
    memset(huge, 'h', 100000);
    ck_assert(put(store, ID, ACME_REC_CERTIFICATE, huge) == ACME_OK);
    ck_assert(put(store, ID, ACME_REC_ARI, big) == ACME_OK);
    ck_assert(put(store, ID, ACME_REC_ORDER, big) == ACME_OK);
    ck_assert(put(store, ID, ACME_REC_KEY, "key") == ACME_OK);
    set = known(store, ID);
    ck_assert(is(&set, ACME_REC_CERTIFICATE, 1, huge) && is(&set, ACME_REC_ARI, 2, big)
              && is(&set, ACME_REC_ORDER, 3, big) && is(&set, ACME_REC_KEY, 4, "key"));
    set = known(owner(logs), ID);
    ck_assert(is(&set, ACME_REC_ORDER, 3, big) && is(&set, ACME_REC_KEY, 4, "key"));
    ck_assert(!set.present[ACME_REC_CERTIFICATE] && !set.present[ACME_REC_ARI]);
    ck_assert_int_eq(set.last_seq, 4);
}
END_TEST

/* ---- logs that were torn or spoilt ---- */

typedef struct {
    const char *bytes;
    apr_size_t len, first; /* of both; of the first */
    logs_t *logs;
} two_t;

static two_t two_records(void)
{
    two_t two;
    acme_store_t *store;

    two.logs = logs_new();
    store = owner(two.logs);
    ck_assert(put(store, ID, ACME_REC_ORDER, "{\"step\":\"validate\"}") == ACME_OK);
    two.first = (apr_size_t)size_of(two.logs->log.look);
    ck_assert(put(store, ID, ACME_REC_ATTEMPT, "{\"failures\":2}") == ACME_OK);
    two.bytes = bytes_of(&two.len, &two.logs->log);
    return two;
}

/* Bits: 1 the first, 2 the second, 4 something else. */
static int loaded(const char *bytes, apr_size_t len)
{
    acme_staging_entry_t entry;
    acme_record_set_t set;
    acme_store_t *store;
    apr_pool_t *p;
    int type, bits = 0;

    apr_pool_create(&p, pool);
    memset(&entry, 0, sizeof(entry));
    entry.id = ID;
    entry.row = entry.fd = entry.key_fd = -1;
    entry.handed = bytes;
    entry.handed_len = len;
    ck_assert(acme_staging_create(&store, NULL, &entry, 1, -1, NULL, NULL, p, NULL) == ACME_OK);
    ck_assert(store->load(store, &set, ID, p, NULL) == ACME_OK);
    for (type = 0; type < ACME_REC_TYPES; type++) {
        if (set.present[type]) {
            bits |= is(&set, ACME_REC_ORDER, 1, "{\"step\":\"validate\"}")
                            && type == ACME_REC_ORDER ? 1
                    : is(&set, ACME_REC_ATTEMPT, 2, "{\"failures\":2}") && type == ACME_REC_ATTEMPT
                        ? 2 : 4;
        }
    }
    apr_pool_destroy(p);
    return bits;
}

START_TEST(every_truncation_keeps_what_is_whole)
{
    two_t two = two_records();
    apr_size_t cut;

    for (cut = 0; cut <= two.len; cut++) {
        ck_assert_msg(loaded(two.bytes, cut) == (cut == two.len ? 3 : cut >= two.first ? 1 : 0),
                      "cut at %d", (int)cut);
    }
}
END_TEST

START_TEST(every_flip_costs_its_own_record)
{
    two_t two = two_records();
    char *bytes = apr_pmemdup(pool, two.bytes, two.len);
    apr_size_t at;
    int bit;

    for (at = 0; at < two.len; at++) {
        for (bit = 0; bit < 8; bit++) {
            bytes[at] = (char)(bytes[at] ^ 1 << bit);
            ck_assert_msg(loaded(bytes, two.len) == (at < two.first ? 2 : 1), "byte %d bit %d",
                          (int)at, bit);
            bytes[at] = (char)(bytes[at] ^ 1 << bit);
        }
    }
}
END_TEST

/* The owner died in its append, wherever; the next one's record is found behind the torn one. */
START_TEST(behind_a_torn_record_a_new_one_is_found)
{
    two_t two = two_records();
    acme_record_set_t set;
    apr_size_t cut;

    for (cut = two.first; cut < two.len; cut += 3) {
        ck_assert_int_eq(ftruncate(two.logs->log.look, (off_t)cut), 0);
        ck_assert(put(owner(two.logs), ID, ACME_REC_CLEANUP, "next") == ACME_OK);
        set = read_log(&two.logs->log, ID);
        ck_assert(is(&set, ACME_REC_ORDER, 1, "{\"step\":\"validate\"}"));
        ck_assert(set.present[ACME_REC_CLEANUP] && !set.present[ACME_REC_ATTEMPT]);
        ck_assert_int_eq(ftruncate(two.logs->log.look, 0), 0);
        ck_assert_int_eq(pwrite(two.logs->log.look, two.bytes, two.len, 0), (ssize_t)two.len);
    }
}
END_TEST

/* ---- publishing ---- */

typedef struct {
    acme_key_t *key;
    acme_chain_t *chain;
    const char *payload; /* of a certificate record */
} pair_t;

static pair_t pair_of(const char *name)
{
    apr_array_header_t *names = apr_array_make(pool, 1, sizeof(const char *));
    acme_issued_t issued;
    apr_size_t len;
    pair_t pair;

    APR_ARRAY_PUSH(names, const char *) = name;
    ck_assert(acme_key_generate(&pair.key, ACME_KEY_P256, pool, NULL) == ACME_OK);
    ck_assert(acme_placeholder_create(&pair.chain, names, pair.key, NOW, pool, NULL) == ACME_OK);
    memset(&issued, 0, sizeof(issued));
    issued.key_digest = acme_key_digest(pair.key, pool);
    issued.directory = "https://ca.example/dir";
    issued.spec_digest = "spec";
    issued.challenge = "http-01";
    issued.issued = NOW;
    pair.payload = acme_certificate_payload(&len, &issued, acme_chain_to_pem(pair.chain, pool),
                                            pool);
    return pair;
}

static int live_is(int row, const pair_t *pair)
{
    const unsigned char *der;
    unsigned char *key;
    acme_board_live_t live;
    apr_size_t len, key_len;

    if (acme_board_live_read(&live, board, row, pool, NULL) != ACME_OK) {
        return 0;
    }
    acme_chain_der(&der, &len, pair->chain, 0);
    ck_assert(acme_key_to_der(&key, &key_len, pair->key, pool, NULL) == ACME_OK);
    return live.n_certs == acme_chain_count(pair->chain) && live.cert_len[0] == len
           && memcmp(live.cert[0], der, len) == 0 && live.key_len == key_len
           && memcmp(live.key, key, key_len) == 0;
}

static void issue(acme_store_t *store, const char *id, const pair_t *pair)
{
    ck_assert(put(store, id, ACME_REC_KEY, acme_key_to_pem(pair->key, pool)) == ACME_OK);
    ck_assert(put(store, id, ACME_REC_ORDER, "order") == ACME_OK);
    ck_assert(put(store, id, ACME_REC_CERTIFICATE, pair->payload) == ACME_OK);
}

static const char *line_of(const pair_t *pair)
{
    return apr_pstrndup(pool, pair->payload,
                        (apr_size_t)(strchr(pair->payload, '\n') - pair->payload) + 1);
}

START_TEST(a_published_certificate_is_live)
{
    logs_t *logs = logs_new();
    acme_store_t *store = owner(logs);
    pair_t pair = pair_of(ID);
    acme_record_set_t set;
    int n;

    issue(store, ID, &pair);
    n = records_in(&logs->log);
    ck_assert(store->publish(store, ID, pair.key, pair.chain, NOW, pool, NULL) == ACME_OK);
    ck_assert(live_is(0, &pair));
    ck_assert_uint_eq(acme_board_row_generation(board, 0), 1);
    ck_assert_int_eq(records_in(&logs->log), n); /* the log had it before */
    set = read_log(&logs->log, ID);
    ck_assert(is(&set, ACME_REC_CERTIFICATE, 3, pair.payload));
    /* For this owner and the next one the order is over and the number goes on. */
    set = known(store, ID);
    ck_assert(is(&set, ACME_REC_LIVE, 3, line_of(&pair)));
    ck_assert(!set.present[ACME_REC_KEY] && !set.present[ACME_REC_ORDER]
              && !set.present[ACME_REC_CERTIFICATE]);
    store = owner(logs);
    set = known(store, ID);
    ck_assert(is(&set, ACME_REC_LIVE, 3, line_of(&pair)) && !set.present[ACME_REC_ORDER]);
    ck_assert(put(store, ID, ACME_REC_ORDER, "next") == ACME_OK);
    set = known(store, ID);
    ck_assert(is(&set, ACME_REC_ORDER, 4, "next") && is(&set, ACME_REC_LIVE, 3, line_of(&pair)));
}
END_TEST

START_TEST(a_certificate_that_is_too_big_is_done_all_the_same)
{
    const unsigned char *ders[ACME_CHAIN_MAX_CERTS];
    apr_array_header_t *names = apr_array_make(pool, 400, sizeof(const char *));
    apr_size_t lens[ACME_CHAIN_MAX_CERTS];
    logs_t *logs = logs_new();
    acme_store_t *store = owner(logs);
    pair_t pair = pair_of(ID), big = pair;
    acme_chain_t *chain;
    acme_record_set_t set;
    acme_error_t err;
    int i;

    for (i = 0; i < 400; i++) {
        APR_ARRAY_PUSH(names, const char *) = apr_psprintf(pool, "a-rather-long-name%d.org", i);
    }
    ck_assert(acme_placeholder_create(&chain, names, pair.key, NOW, pool, NULL) == ACME_OK);
    for (i = 0; i < ACME_CHAIN_MAX_CERTS; i++) {
        acme_chain_der(&ders[i], &lens[i], chain, 0);
    }
    ck_assert(acme_chain_from_der(&big.chain, ders, lens, ACME_CHAIN_MAX_CERTS, pool, NULL)
              == ACME_OK);
    issue(store, ID, &pair);
    ck_assert(store->publish(store, ID, pair.key, pair.chain, NOW, pool, NULL) == ACME_OK);
    issue(store, ID, &big);
    acme_error_clear(&err);
    ck_assert(store->publish(store, ID, big.key, big.chain, NOW, pool, &err) == ACME_FAIL);
    ck_assert_str_eq(err.code, "AC0803");
    ck_assert(live_is(0, &pair));
    set = known(store, ID);
    ck_assert(set.present[ACME_REC_LIVE] && set.rec[ACME_REC_LIVE].seq == 6
              && !set.present[ACME_REC_ORDER]);
}
END_TEST

START_TEST(without_a_row_nothing_is_swapped)
{
    logs_t *logs = logs_new();
    acme_record_set_t set;
    acme_store_t *store;
    pair_t pair = pair_of(ID);

    logs->entries[0].row = -1;
    store = owner(logs);
    issue(store, ID, &pair);
    ck_assert(store->publish(store, ID, pair.key, pair.chain, NOW, pool, NULL) == ACME_OK);
    ck_assert_uint_eq(acme_board_generation(board), 0);
    set = known(store, ID);
    ck_assert(is(&set, ACME_REC_LIVE, 3, line_of(&pair)));
    set = read_log(&logs->log, ID);
    ck_assert(is(&set, ACME_REC_CERTIFICATE, 3, pair.payload));
}
END_TEST

/* ---- a new owner after a restart ---- */

static const apr_uint64_t no_baseline[3];

static acme_store_t *restarted(const logs_t *logs, const apr_uint64_t *baseline)
{
    acme_store_t *store;

    acme_board_config_next(board);
    store = owner(logs);
    acme_staging_catch_up(store, baseline, NOW, pool);
    return store;
}

/* The old owner wrote it after root had read the log. */
START_TEST(what_root_has_not_seen_is_recorded_again)
{
    logs_t *former = logs_new(), *fresh = logs_new();
    acme_store_t *store = owner(former);
    acme_record_set_t set;

    ck_assert(put(store, ID, ACME_REC_ATTEMPT, "seen") == ACME_OK);
    ck_assert(put(store, ID, ACME_REC_ORDER, "seen too") == ACME_OK);
    hand(&fresh->entries[0], apr_pstrcat(pool, encoded(ID, ACME_REC_ATTEMPT, 1, "seen"),
                                         encoded(ID, ACME_REC_ORDER, 2, "seen too"), NULL));
    ck_assert(put(store, ID, ACME_REC_KEY, "pem") == ACME_OK);
    ck_assert(put(store, ID, ACME_REC_ORDER, "not seen") == ACME_OK);
    ck_assert(put(store, SHARED, ACME_REC_ORDER, "of another") == ACME_OK);
    ck_assert_uint_eq(acme_board_logs(board, 0), 1);
    store = restarted(fresh, no_baseline);
    ck_assert_int_eq(records_in(&fresh->log), 1);
    set = read_log(&fresh->log, ID);
    ck_assert(is(&set, ACME_REC_ORDER, 4, "not seen"));
    set = read_log(&fresh->key_log, ID);
    ck_assert(is(&set, ACME_REC_KEY, 3, "pem"));
    set = read_log(&fresh->overflow, SHARED);
    ck_assert(is(&set, ACME_REC_ORDER, 1, "of another"));
    ck_assert_uint_eq(acme_board_logs(board, 0), 2);
    set = known(store, ID);
    ck_assert(is(&set, ACME_REC_ORDER, 4, "not seen") && is(&set, ACME_REC_KEY, 3, "pem")
              && is(&set, ACME_REC_ATTEMPT, 1, "seen"));
    /* The next owner of the same generation has nothing to do. */
    acme_staging_catch_up(owner(fresh), no_baseline, NOW, pool);
    ck_assert_int_eq(records_in(&fresh->log), 1);
    ck_assert_int_eq(records_in(&fresh->key_log), 1);
}
END_TEST

START_TEST(what_root_has_seen_is_not_recorded_again)
{
    logs_t *former = logs_new(), *fresh = logs_new();
    acme_store_t *store = owner(former);
    apr_size_t len;

    ck_assert(put(store, ID, ACME_REC_ATTEMPT, "seen") == ACME_OK);
    ck_assert(put(store, ID, ACME_REC_ORDER, "seen too") == ACME_OK);
    fresh->entries[0].handed = bytes_of(&len, &former->log);
    fresh->entries[0].handed_len = len;
    restarted(fresh, no_baseline);
    ck_assert_int_eq(size_of(fresh->log.look), 0);
    ck_assert_uint_eq(acme_board_logs(board, 0), 2);
}
END_TEST

START_TEST(a_pair_that_is_live_and_not_on_disk_is_recorded_again)
{
    logs_t *former = logs_new(), *fresh = logs_new();
    acme_store_t *store = owner(former);
    apr_uint64_t baseline[3] = {1, 0, 0};
    pair_t pair = pair_of(ID);
    acme_record_set_t set;

    issue(store, ID, &pair);
    ck_assert(store->publish(store, ID, pair.key, pair.chain, NOW, pool, NULL) == ACME_OK);
    restarted(fresh, no_baseline);
    set = read_log(&fresh->log, ID);
    ck_assert(is(&set, ACME_REC_CERTIFICATE, 3, pair.payload));
    ck_assert(!set.present[ACME_REC_LIVE] && !set.present[ACME_REC_ORDER]);
    set = read_log(&fresh->key_log, ID);
    ck_assert(is(&set, ACME_REC_KEY, 3, acme_key_to_pem(pair.key, pool)));
    /* Root knew that generation and found something else in F: it is not to come back. */
    fresh = logs_new();
    restarted(fresh, baseline);
    ck_assert_int_eq(size_of(fresh->log.look) + size_of(fresh->key_log.look), 0);
    /* Root has adopted it. */
    fresh = logs_new();
    hand(&fresh->entries[0], encoded(ID, ACME_REC_LIVE, 3, line_of(&pair)));
    restarted(fresh, no_baseline);
    ck_assert_int_eq(size_of(fresh->log.look) + size_of(fresh->key_log.look), 0);
}
END_TEST

/* The owner died before it published what root has adopted meanwhile: nothing of it is pending. */
START_TEST(what_root_has_adopted_is_not_staged_again)
{
    logs_t *former = logs_new(), *fresh = logs_new();
    acme_store_t *store = owner(former);
    pair_t pair = pair_of(ID);
    acme_record_set_t set;

    issue(store, ID, &pair);
    hand(&fresh->entries[0], encoded(ID, ACME_REC_LIVE, 3, line_of(&pair)));
    store = restarted(fresh, no_baseline);
    ck_assert_int_eq(size_of(fresh->log.look) + size_of(fresh->key_log.look), 0);
    set = known(store, ID);
    ck_assert(!set.present[ACME_REC_ORDER] && !set.present[ACME_REC_KEY]
              && !set.present[ACME_REC_CERTIFICATE]);
}
END_TEST

static void spoil(const unsigned char *what, apr_size_t len)
{
    unsigned char *at = memmem(memory, memory_size, what, len);

    ck_assert_ptr_nonnull(at);
    at[len / 2] ^= 1;
}

START_TEST(a_row_that_is_spoilt_is_not_recorded)
{
    logs_t *former = logs_new(), *fresh = logs_new();
    acme_store_t *store = owner(former);
    pair_t pair = pair_of(ID), other = pair_of(ID);
    const unsigned char *der;
    apr_size_t len;

    issue(store, ID, &pair);
    /* The live record tells of another key than the one that is live. */
    ck_assert(store->publish(store, ID, other.key, other.chain, NOW, pool, NULL) == ACME_OK);
    restarted(fresh, no_baseline);
    ck_assert_int_eq(size_of(fresh->log.look) + size_of(fresh->key_log.look), 0);
    ck_assert_uint_eq(acme_board_logs(board, 0), 2);
    ck_assert(store->publish(store, ID, pair.key, pair.chain, NOW, pool, NULL) == ACME_OK);
    acme_chain_der(&der, &len, pair.chain, 0);
    spoil(der, len);
    restarted(fresh, no_baseline);
    ck_assert_int_eq(size_of(fresh->log.look) + size_of(fresh->key_log.look), 0);
    ck_assert_uint_eq(acme_board_logs(board, 0), 3);
}
END_TEST

/* The disk was full; the next owner of the same generation tries again. */
START_TEST(what_could_not_be_recorded_again_stays_to_do)
{
    logs_t *former = logs_new(), *fresh = logs_new();
    acme_store_t *store = owner(former);
    acme_record_set_t set;
    int kept = fresh->entries[0].key_fd;

    ck_assert(put(store, ID, ACME_REC_KEY, "pem") == ACME_OK);
    ck_assert(put(store, ID, ACME_REC_ORDER, "order") == ACME_OK);
    fresh->entries[0].key_fd = open("/dev/full", O_WRONLY | O_APPEND);
    store = restarted(fresh, no_baseline);
    ck_assert_uint_eq(acme_board_logs(board, 0), 1);
    set = known(store, ID);
    ck_assert(is(&set, ACME_REC_KEY, 1, "pem") && is(&set, ACME_REC_ORDER, 2, "order"));
    ck_assert(put(store, ID, ACME_REC_ORDER, "goes on") == ACME_OK);
    ck_assert_uint_eq(acme_board_logs(board, 0), 1);
    close(fresh->entries[0].key_fd);
    fresh->entries[0].key_fd = kept;
    acme_staging_catch_up(owner(fresh), no_baseline, NOW, pool);
    ck_assert_uint_eq(acme_board_logs(board, 0), 2);
    set = read_log(&fresh->key_log, ID);
    ck_assert(is(&set, ACME_REC_KEY, 1, "pem"));
    set = read_log(&fresh->log, ID);
    ck_assert(is(&set, ACME_REC_ORDER, 3, "goes on"));
}
END_TEST

START_TEST(a_pair_that_could_not_be_recorded_again_stays_to_do)
{
    logs_t *former = logs_new(), *fresh = logs_new();
    acme_store_t *store = owner(former);
    pair_t pair = pair_of(ID);
    acme_record_set_t set;

    issue(store, ID, &pair);
    ck_assert(store->publish(store, ID, pair.key, pair.chain, NOW, pool, NULL) == ACME_OK);
    fresh->entries[0].fd = open("/dev/full", O_WRONLY | O_APPEND);
    restarted(fresh, no_baseline);
    ck_assert_uint_eq(acme_board_logs(board, 0), 1);
    close(fresh->entries[0].fd);
    fresh->entries[0].fd = fresh->log.fd;
    acme_staging_catch_up(owner(fresh), no_baseline, NOW, pool);
    ck_assert_uint_eq(acme_board_logs(board, 0), 2);
    set = read_log(&fresh->log, ID);
    ck_assert(is(&set, ACME_REC_CERTIFICATE, 3, pair.payload));
}
END_TEST

/* ---- owners that die, workers that work at once ---- */

static void work_for_ever(const logs_t *logs, volatile unsigned *done)
{
    acme_store_t *store = owner(logs);
    apr_pool_t *p;
    unsigned n;

    for (n = 1;; n++) {
        apr_pool_create(&p, NULL);
        if (store->append(store, ID, ACME_REC_ORDER, apr_psprintf(p, "%u", n),
                          strlen(apr_psprintf(p, "%u", n)), NOW, p, NULL) != ACME_OK) {
            _exit(1);
        }
        apr_pool_destroy(p);
        __atomic_store_n(done, n, __ATOMIC_RELEASE);
    }
}

/* What was acknowledged is known to the next owner and stands in the log. */
START_TEST(an_owner_may_die_at_any_moment)
{
    unsigned *done = mmap(NULL, sizeof(*done), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
                          -1, 0);
    acme_record_set_t set, in_log;
    apr_int64_t before = 0;
    logs_t *logs = logs_new();
    acme_store_t *store;
    int round, status;
    pid_t pid;

    for (round = 0; round < 40; round++) {
        __atomic_store_n(done, 0, __ATOMIC_RELEASE);
        pid = fork();
        ck_assert_int_ge(pid, 0);
        if (pid == 0) {
            work_for_ever(logs, done);
        }
        while (__atomic_load_n(done, __ATOMIC_ACQUIRE) < 2) {
            usleep(50);
        }
        usleep((unsigned)(round * 37 % 400));
        kill(pid, SIGKILL);
        ck_assert(waitpid(pid, &status, 0) == pid && WIFSIGNALED(status));
        store = owner(logs);
        set = known(store, ID);
        in_log = read_log(&logs->log, ID);
        ck_assert(set.present[ACME_REC_ORDER] && in_log.present[ACME_REC_ORDER]);
        ck_assert_int_ge(set.last_seq, before + *done);
        ck_assert_int_le(set.last_seq, before + *done + 1);
        ck_assert_int_ge(in_log.last_seq, set.last_seq);
        ck_assert_int_le(in_log.last_seq, before + *done + 1);
        before = set.last_seq;
    }
    munmap(done, sizeof(*done));
}
END_TEST

#define WORKERS 8
#define EACH 40

typedef struct {
    acme_store_t *store;
    const char *id;
    int failed;
} worker_t;

static void *work(void *data)
{
    worker_t *worker = data;
    apr_pool_t *p;
    int i;

    apr_pool_create_unmanaged_ex(&p, NULL, NULL);
    for (i = 0; i < EACH; i++) {
        char *payload = apr_psprintf(p, "%s %d", worker->id, i);

        if (worker->store->append(worker->store, worker->id, ACME_REC_ORDER, payload,
                                  strlen(payload), NOW, p, NULL) != ACME_OK) {
            worker->failed = 1;
        }
        apr_pool_clear(p);
    }
    apr_pool_destroy(p);
    return NULL;
}

/* Most of them share the overflow log. */
START_TEST(workers_do_not_mix_their_records)
{
    acme_staging_entry_t entries[WORKERS];
    logs_t *logs = logs_new();
    pthread_t thread[WORKERS];
    worker_t worker[WORKERS];
    acme_record_set_t set;
    acme_store_t *store;
    int i;

    memset(entries, 0, sizeof(entries));
    memset(worker, 0, sizeof(worker));
    for (i = 0; i < WORKERS; i++) {
        entries[i].id = apr_psprintf(pool, "n%d.example.org", i);
        entries[i].row = i < ROWS ? i : -1;
        entries[i].fd = entries[i].key_fd = i == 0 ? logs->log.fd : -1;
    }
    ck_assert(acme_staging_create(&store, board, entries, WORKERS, logs->overflow.fd, NULL, NULL,
                                  pool, NULL) == ACME_OK);
    for (i = 0; i < WORKERS; i++) {
        worker[i].store = store;
        worker[i].id = entries[i].id;
        ck_assert_int_eq(pthread_create(&thread[i], NULL, work, &worker[i]), 0);
    }
    for (i = 0; i < WORKERS; i++) {
        pthread_join(thread[i], NULL);
        ck_assert_int_eq(worker[i].failed, 0);
    }
    ck_assert_int_eq(records_in(&logs->log), EACH);
    ck_assert_int_eq(records_in(&logs->overflow), (WORKERS - 1) * EACH);
    for (i = 0; i < WORKERS; i++) {
        const char *last = apr_psprintf(pool, "%s %d", entries[i].id, EACH - 1);

        set = read_log(i == 0 ? &logs->log : &logs->overflow, entries[i].id);
        ck_assert(is(&set, ACME_REC_ORDER, EACH, last) && !set.damaged);
        set = known(store, entries[i].id);
        ck_assert(is(&set, ACME_REC_ORDER, EACH, last));
    }
}
END_TEST

static int asked(void *baton)
{
    return *(int *)baton;
}

START_TEST(the_lease_is_the_embedders)
{
    logs_t *logs = logs_new();
    acme_store_t *store = owner(logs);
    int holds = 1;

    ck_assert_int_eq(store->lease(store), 1);
    ck_assert(acme_staging_create(&store, board, logs->entries, 3, -1, asked, &holds, pool, NULL)
              == ACME_OK);
    ck_assert_int_eq(store->lease(store), 1);
    holds = 0;
    ck_assert_int_eq(store->lease(store), 0);
}
END_TEST

static TCase *case_of(const char *name)
{
    TCase *tc = tcase_create(name);

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 60);
    return tc;
}

Suite *staging_suite(void)
{
    Suite *suite = suite_create("staging");
    TCase *tc = case_of("append");

    tcase_add_test(tc, a_record_goes_to_its_log_and_to_the_board);
    tcase_add_test(tc, the_overflow_log_names_its_records);
    tcase_add_test(tc, without_a_log_nothing_is_recorded);
    tcase_add_test(tc, what_is_not_synced_is_not_recorded);
    tcase_add_test(tc, a_full_disk_leaves_the_past);
    tcase_add_test(tc, a_short_write_is_cut_back);
    tcase_add_test(tc, a_full_file_system_is_cut_back);
    tcase_add_loop_test(tc, a_log_has_an_end, 0, COUNT(caps));
    suite_add_tcase(suite, tc);
    tc = case_of("load");
    tcase_add_test(tc, the_newer_of_handed_and_board_counts);
    tcase_add_test(tc, numbers_go_on_over_owners);
    tcase_add_loop_test(tc, a_live_certificate_ends_what_led_to_it, 0, COUNT(settled));
    tcase_add_test(tc, the_board_gets_what_matters);
    tcase_add_test(tc, every_truncation_keeps_what_is_whole);
    tcase_add_test(tc, every_flip_costs_its_own_record);
    tcase_add_test(tc, behind_a_torn_record_a_new_one_is_found);
    suite_add_tcase(suite, tc);
    tc = case_of("publish");
    tcase_add_test(tc, a_published_certificate_is_live);
    tcase_add_test(tc, a_certificate_that_is_too_big_is_done_all_the_same);
    tcase_add_test(tc, without_a_row_nothing_is_swapped);
    tcase_add_test(tc, what_root_has_not_seen_is_recorded_again);
    tcase_add_test(tc, what_root_has_seen_is_not_recorded_again);
    tcase_add_test(tc, a_pair_that_is_live_and_not_on_disk_is_recorded_again);
    tcase_add_test(tc, what_root_has_adopted_is_not_staged_again);
    tcase_add_test(tc, a_row_that_is_spoilt_is_not_recorded);
    tcase_add_test(tc, what_could_not_be_recorded_again_stays_to_do);
    tcase_add_test(tc, a_pair_that_could_not_be_recorded_again_stays_to_do);
    suite_add_tcase(suite, tc);
    tc = case_of("owners");
    tcase_add_test(tc, an_owner_may_die_at_any_moment);
    tcase_add_test(tc, workers_do_not_mix_their_records);
    tcase_add_test(tc, the_lease_is_the_embedders);
    suite_add_tcase(suite, tc);
    return suite;
}
