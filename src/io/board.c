/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#include "io/board.h"

#include <stdlib.h>
#include <string.h>
#include <apr_thread_mutex.h>
#include "base/codec.h"
#include "crypto/digest.h"
#include "protocol/record.h"

/* The mapping:
 *
 *   header | heads[rows] | slots[CHALLENGES] | entries[CHALLENGES] | bodies[rows]
 *
 * Heads stand together so that looking at every row touches few pages; a body is touched only when
 * something is published in its row. Shared bytes are copied word by word with acquire loads and
 * release stores, because a fence would be needed otherwise to keep "data, then sequence number" in
 * order on machines that reorder, and because thread checkers understand them. */

#define BOARD_MAGIC APR_UINT64_C(0x41636d65426f6172)
#define BOARD_ROWS_MAX 1000000
#define READ_TRIES 16
#define LOCK_TRIES 200

#define ROUND8(n) (((n) + 7) & ~(apr_size_t)7)
#define LOAD(p) __atomic_load_n((p), __ATOMIC_ACQUIRE)
#define STORE(p, v) __atomic_store_n((p), (v), __ATOMIC_RELEASE)
#define COUNT(p) ((void)__atomic_fetch_add((p), 1, __ATOMIC_RELAXED))

typedef struct {
    apr_uint64_t magic; /* stored last */
    apr_uint64_t size;
    apr_uint64_t generation;
    apr_int64_t owner;
    apr_uint32_t layout, rows;
    apr_uint32_t config;
    apr_uint32_t strays;
    apr_uint32_t top;     /* challenges in use have an index below it */
    apr_uint32_t changes; /* of the table of challenges */
    apr_uint32_t pending[ACME_CH_TYPES];
} header_t;

typedef enum { AREA_LIVE = 0, AREA_RESUME, AREA_STATUS, AREAS } area_t;

static const apr_size_t area_cap[AREAS] = {
    [AREA_LIVE] = ACME_BOARD_LIVE_MAX,
    [AREA_RESUME] = ACME_BOARD_RESUME_MAX,
    [AREA_STATUS] = ROUND8(sizeof(acme_board_status_t)),
};

typedef struct {
    apr_uint64_t seq[AREAS]; /* which copy counts: its lowest bit; AREA_LIVE's is the generation */
    char id[ROUND8(ACME_RECORD_ID_MAX + 1)];
    apr_uint32_t retry_ack;
    apr_uint32_t logs;
    apr_uint32_t v4, v6, foreign;
    apr_uint32_t by_type[ACME_CH_TYPES];
    apr_uint32_t orders[ACME_BOARD_ORDERS];
} head_t;

/* In front of the bytes of each copy. */
typedef struct {
    apr_uint64_t seq;
    apr_uint64_t len;
    unsigned char digest[ACME_SHA256_LEN];
} copy_t;

typedef struct {
    apr_uint32_t seq;  /* odd: being written */
    apr_uint32_t hash; /* of the token or SNI */
    apr_uint32_t type; /* acme_challenge_type_t + 1; 0: free */
    apr_int32_t row;
} slot_t;

typedef struct {
    unsigned char digest[ACME_SHA256_LEN];
    unsigned char image[ROUND8(sizeof(acme_board_challenge_t))];
} entry_t;

struct acme_board_t {
    header_t *header;
    head_t *heads;
    slot_t *slots;
    entry_t *entries;
    unsigned char *bodies;
    int rows;
    apr_thread_mutex_t *mutex; /* writers of this process; between processes: the owner lock */
};

static apr_size_t body_size(void)
{
    apr_size_t size = 0;
    int a;

    for (a = 0; a < AREAS; a++) {
        size += 2 * (sizeof(copy_t) + area_cap[a]);
    }
    return (size + 63) & ~(apr_size_t)63;
}

static apr_size_t bodies_offset(int rows)
{
    apr_size_t size = ROUND8(sizeof(header_t)) + (apr_size_t)rows * sizeof(head_t)
                      + ACME_BOARD_CHALLENGES * (sizeof(slot_t) + sizeof(entry_t));

    return (size + 4095) & ~(apr_size_t)4095;
}

apr_size_t acme_board_size(int rows)
{
    if (rows < 0 || rows > BOARD_ROWS_MAX) {
        return 0;
    }
    return bodies_offset(rows) + (apr_size_t)rows * body_size();
}

void acme_board_format(void *memory, apr_size_t size, int rows)
{
    header_t *header = memory;

    header->size = size;
    header->layout = ACME_BOARD_LAYOUT;
    header->rows = (apr_uint32_t)rows;
    STORE(&header->magic, BOARD_MAGIC);
}

acme_rv_t acme_board_attach(acme_board_t **out, void *memory, apr_size_t size, apr_pool_t *pool,
                            acme_error_t *err)
{
    header_t *header = memory;
    acme_board_t *board;
    apr_uint32_t rows;
    apr_status_t status;

    *out = NULL;
    if (size < sizeof(header_t) || LOAD(&header->magic) != BOARD_MAGIC
        || header->layout != ACME_BOARD_LAYOUT || header->size != size) {
        return acme_error_set(err, ACME_E_INTERNAL, "AC0805", "the board has another layout");
    }
    rows = header->rows;
    /* Another number of rows would move everything behind it. */
    if (rows > BOARD_ROWS_MAX || acme_board_size((int)rows) != size) {
        return acme_error_set(err, ACME_E_INTERNAL, "AC0806", "the board has another size");
    }
    board = apr_pcalloc(pool, sizeof(*board));
    status = apr_thread_mutex_create(&board->mutex, APR_THREAD_MUTEX_DEFAULT, pool);
    if (status != APR_SUCCESS) {
        return acme_error_system(err, ACME_E_SYSTEM, "AC0807", status, "mutex of the board");
    }
    board->header = header;
    board->rows = (int)rows;
    board->heads = (head_t *)((unsigned char *)memory + ROUND8(sizeof(header_t)));
    board->slots = (slot_t *)(board->heads + rows);
    board->entries = (entry_t *)(board->slots + ACME_BOARD_CHALLENGES);
    board->bodies = (unsigned char *)memory + bodies_offset((int)rows);
    *out = board;
    return ACME_OK;
}

int acme_board_rows(const acme_board_t *board)
{
    return board->rows;
}

/* ---- shared bytes ---- */

/* Both sides of the shared bytes are 8-aligned and have room up to a multiple of 8. */
static void shared_get(void *to, const void *from, apr_size_t len)
{
    const apr_uint64_t *word = from;
    unsigned char *out = to;
    apr_uint64_t w;

    for (; len >= sizeof(w); len -= sizeof(w), out += sizeof(w)) {
        w = LOAD(word++);
        memcpy(out, &w, sizeof(w));
    }
    if (len > 0) {
        w = LOAD(word);
        memcpy(out, &w, len);
    }
}

static void shared_put(void *to, const void *from, apr_size_t len)
{
    apr_uint64_t *word = to;
    const unsigned char *in = from;
    apr_uint64_t w;

    for (; len >= sizeof(w); len -= sizeof(w), in += sizeof(w)) {
        memcpy(&w, in, sizeof(w));
        STORE(word++, w);
    }
    if (len > 0) {
        w = 0;
        memcpy(&w, in, len);
        STORE(word, w);
    }
}

/* from is a multiple of 8. */
static void shared_zero(void *to, apr_size_t from, apr_size_t end)
{
    apr_uint64_t *word = to;
    apr_size_t i;

    for (i = from / sizeof(*word); i * sizeof(*word) < end; i++) {
        STORE(word + i, 0);
    }
}

static head_t *head_of(const acme_board_t *board, int row)
{
    return row >= 0 && row < board->rows ? board->heads + row : NULL;
}

/* ---- areas: two alternating copies, the sequence number in the head says which counts ---- */

static copy_t *area_copy(const acme_board_t *board, int row, area_t area, apr_uint64_t seq)
{
    unsigned char *at = board->bodies + (apr_size_t)row * body_size();
    int a;

    for (a = 0; a < (int)area; a++) {
        at += 2 * (sizeof(copy_t) + area_cap[a]);
    }
    return (copy_t *)(at + (seq & 1) * (sizeof(copy_t) + area_cap[area]));
}

/* head (seq and len) and its bytes. Row and area are covered so that no copy passes for another. */
static void copy_digest(unsigned char out[ACME_SHA256_LEN], const copy_t *head, int row,
                        area_t area, const unsigned char *data)
{
    unsigned char both[2 * ACME_SHA256_LEN];
    apr_uint64_t what[4];

    what[0] = head->seq;
    what[1] = head->len;
    what[2] = (apr_uint64_t)row;
    what[3] = (apr_uint64_t)area;
    acme_sha256(both, what, sizeof(what));
    acme_sha256(both + ACME_SHA256_LEN, data, head->len);
    acme_sha256(out, both, sizeof(both));
}

/* data has room for the area's cap. ACME_AGAIN: empty. */
static acme_rv_t copy_read(unsigned char *data, apr_size_t *len, const acme_board_t *board, int row,
                           area_t area, apr_uint64_t seq)
{
    const copy_t *copy = area_copy(board, row, area, seq);
    unsigned char digest[ACME_SHA256_LEN];
    copy_t head;

    shared_get(&head, copy, sizeof(head));
    if (head.len == 0) {
        return ACME_AGAIN;
    }
    if (head.seq != seq || head.len > area_cap[area]) {
        return ACME_FAIL;
    }
    shared_get(data, copy + 1, head.len);
    copy_digest(digest, &head, row, area, data);
    if (!acme_digest_equal(digest, head.digest, sizeof(digest))) {
        return ACME_FAIL;
    }
    *len = head.len;
    return ACME_OK;
}

/* A writer that overtakes the reader changes the number, so only a mismatch that is still there at
 * an unchanged number is damage. */
static acme_rv_t area_read(unsigned char *data, apr_size_t *len, apr_uint64_t *seq,
                           const acme_board_t *board, int row, area_t area)
{
    apr_uint64_t *number = &board->heads[row].seq[area];
    apr_uint64_t before = 0;
    acme_rv_t rv;
    int i;

    for (i = 0; i < READ_TRIES; i++) {
        *seq = LOAD(number);
        if (*seq == 0) {
            return ACME_AGAIN;
        }
        rv = copy_read(data, len, board, row, area, *seq);
        if (rv != ACME_FAIL || (i > 0 && before == *seq)) {
            return rv;
        }
        before = *seq;
    }
    return ACME_FAIL;
}

static apr_uint64_t area_write(acme_board_t *board, int row, area_t area, const void *data,
                               apr_size_t len)
{
    apr_uint64_t *number = &board->heads[row].seq[area];
    apr_uint64_t seq = LOAD(number) + 1;
    apr_size_t was;
    copy_t *copy;
    copy_t head;

    if (seq == 0) {
        seq = 2;
    }
    copy = area_copy(board, row, area, seq);
    was = LOAD(&copy->len);
    head.seq = seq;
    head.len = len;
    copy_digest(head.digest, &head, row, area, data);
    shared_put(copy + 1, data, len);
    if (was > len && was <= area_cap[area]) {
        shared_zero(copy + 1, ROUND8(len), was);
    }
    shared_put(copy, &head, sizeof(head));
    STORE(number, seq);
    return seq;
}

static void *secret_alloc(apr_size_t len, apr_pool_t *pool)
{
    void *data = apr_palloc(pool, len);

    acme_cleanse_with(pool, data, len);
    return data;
}

/* Reads into a buffer of the area's size and keeps only what is there. A damaged resume area falls
 * back on its former copy. */
static acme_rv_t area_copy_out(const unsigned char **out, apr_size_t *len, apr_uint64_t *seq,
                               const acme_board_t *board, int row, area_t area, apr_pool_t *pool)
{
    unsigned char *data = malloc(area_cap[area]);
    unsigned char *kept;
    acme_rv_t rv;

    if (data == NULL) {
        return ACME_FAIL;
    }
    rv = area_read(data, len, seq, board, row, area);
    if (rv != ACME_OK && area == AREA_RESUME) {
        rv = copy_read(data, len, board, row, area, *seq - 1);
    }
    if (rv == ACME_OK) {
        kept = secret_alloc(*len, pool);
        memcpy(kept, data, *len);
        *out = kept;
    }
    acme_cleanse(data, area_cap[area]);
    free(data);
    return rv;
}

/* ---- rows ---- */

void acme_board_row_assign(acme_board_t *board, int row, const char *id)
{
    head_t *head = head_of(board, row);
    char text[sizeof(head->id)];
    apr_size_t len = strlen(id);

    if (head == NULL || len > ACME_RECORD_ID_MAX) {
        return;
    }
    memset(text, 0, sizeof(text));
    memcpy(text, id, len);
    shared_put(head->id, text, sizeof(text));
}

int acme_board_row_is(const acme_board_t *board, int row, const char *id)
{
    const head_t *head = head_of(board, row);
    char text[sizeof(head->id) + 1];

    if (head == NULL) {
        return 0;
    }
    shared_get(text, head->id, sizeof(head->id));
    text[sizeof(text) - 1] = '\0';
    return *id != '\0' && strcmp(text, id) == 0;
}

apr_uint32_t acme_board_config_next(acme_board_t *board)
{
    return __atomic_add_fetch(&board->header->config, 1, __ATOMIC_ACQ_REL);
}

apr_uint32_t acme_board_config(const acme_board_t *board)
{
    return LOAD(&board->header->config);
}

void acme_board_owner_set(acme_board_t *board, apr_int64_t pid)
{
    STORE(&board->header->owner, pid);
}

apr_int64_t acme_board_owner(const acme_board_t *board)
{
    return LOAD(&board->header->owner);
}

apr_uint64_t acme_board_generation(const acme_board_t *board)
{
    return LOAD(&board->header->generation);
}

apr_uint64_t acme_board_row_generation(const acme_board_t *board, int row)
{
    const head_t *head = head_of(board, row);

    return head != NULL ? LOAD(&head->seq[AREA_LIVE]) : 0;
}

apr_uint32_t acme_board_retry_ack(const acme_board_t *board, int row)
{
    const head_t *head = head_of(board, row);

    return head != NULL ? LOAD(&head->retry_ack) : 0;
}

void acme_board_order_note(acme_board_t *board, int row, int place, apr_uint32_t second)
{
    head_t *head = head_of(board, row);

    if (head != NULL && place >= 0 && place < ACME_BOARD_ORDERS) {
        STORE(&head->orders[place], second);
    }
}

apr_uint32_t acme_board_order_at(const acme_board_t *board, int row, int place)
{
    const head_t *head = head_of(board, row);

    return head != NULL && place >= 0 && place < ACME_BOARD_ORDERS ? LOAD(&head->orders[place]) : 0;
}

void acme_board_retry_ack_set(acme_board_t *board, int row, apr_uint32_t config)
{
    head_t *head = head_of(board, row);

    if (head != NULL) {
        STORE(&head->retry_ack, config);
    }
}

apr_uint32_t acme_board_logs(const acme_board_t *board, int row)
{
    const head_t *head = head_of(board, row);

    return head != NULL ? LOAD(&head->logs) : 0;
}

void acme_board_logs_set(acme_board_t *board, int row, apr_uint32_t config)
{
    head_t *head = head_of(board, row);

    if (head != NULL) {
        STORE(&head->logs, config);
    }
}

/* ---- live certificates ---- */

#define LIVE_CERTS 10

/* In front of the key and the certificates. */
typedef struct {
    apr_int64_t since;
    apr_uint32_t key_len;
    apr_uint32_t n_certs;
    apr_uint32_t cert_len[LIVE_CERTS];
} live_head_t;

static acme_rv_t live_parse(acme_board_live_t *out, const unsigned char *data, apr_size_t len)
{
    const unsigned char *at = data + sizeof(live_head_t);
    apr_size_t left;
    live_head_t head;
    apr_uint32_t i;

    if (len < sizeof(head)) {
        return ACME_FAIL;
    }
    memcpy(&head, data, sizeof(head));
    left = len - sizeof(head);
    if (head.key_len == 0 || head.key_len > left || head.n_certs < 1 || head.n_certs > LIVE_CERTS) {
        return ACME_FAIL;
    }
    out->key = at;
    out->key_len = head.key_len;
    at += head.key_len;
    left -= head.key_len;
    for (i = 0; i < head.n_certs; i++) {
        if (head.cert_len[i] == 0 || head.cert_len[i] > left) {
            return ACME_FAIL;
        }
        out->cert[i] = at;
        out->cert_len[i] = head.cert_len[i];
        at += head.cert_len[i];
        left -= head.cert_len[i];
    }
    out->n_certs = (int)head.n_certs;
    out->since = head.since;
    return left == 0 ? ACME_OK : ACME_FAIL;
}

acme_rv_t acme_board_live_read(acme_board_live_t *out, const acme_board_t *board, int row,
                               apr_pool_t *pool, acme_error_t *err)
{
    const unsigned char *data;
    apr_size_t len = 0;
    acme_rv_t rv;

    memset(out, 0, sizeof(*out));
    if (head_of(board, row) == NULL || acme_board_row_generation(board, row) == 0) {
        return ACME_AGAIN;
    }
    rv = area_copy_out(&data, &len, &out->generation, board, row, AREA_LIVE, pool);
    if (rv == ACME_AGAIN) {
        return rv;
    }
    if (rv == ACME_FAIL) {
        return acme_error_set(err, ACME_E_SECURITY, "AC0801",
                              "the live certificate of row %d of the board is damaged", row);
    }
    if (live_parse(out, data, len) != ACME_OK) {
        memset(out, 0, sizeof(*out));
        return acme_error_set(err, ACME_E_SECURITY, "AC0802",
                              "the live certificate of row %d of the board has wrong lengths", row);
    }
    return ACME_OK;
}

static apr_size_t live_bytes(unsigned char *data, const acme_board_live_t *live, apr_time_t now)
{
    unsigned char *at = data + sizeof(live_head_t);
    live_head_t head;
    int i;

    memset(&head, 0, sizeof(head));
    head.since = now;
    head.key_len = (apr_uint32_t)live->key_len;
    head.n_certs = (apr_uint32_t)live->n_certs;
    memcpy(at, live->key, live->key_len);
    at += live->key_len;
    for (i = 0; i < live->n_certs; i++) {
        head.cert_len[i] = (apr_uint32_t)live->cert_len[i];
        memcpy(at, live->cert[i], live->cert_len[i]);
        at += live->cert_len[i];
    }
    memcpy(data, &head, sizeof(head));
    return (apr_size_t)(at - data);
}

acme_rv_t acme_board_live_write(acme_board_t *board, int row, const acme_board_live_t *live,
                                apr_time_t now, apr_uint64_t *generation, acme_error_t *err)
{
    apr_size_t len = sizeof(live_head_t) + live->key_len;
    unsigned char *data;
    apr_uint64_t seq;
    int i;

    if (head_of(board, row) == NULL || live->n_certs < 1 || live->n_certs > LIVE_CERTS
        || live->key_len == 0) {
        return acme_error_set(err, ACME_E_INTERNAL, "AC0804", "row %d of the board: cannot hold %d "
                              "certificates", row, live->n_certs);
    }
    for (i = 0; i < live->n_certs && len <= ACME_BOARD_LIVE_MAX; i++) {
        len += live->cert_len[i];
    }
    if (len > ACME_BOARD_LIVE_MAX) {
        return acme_error_set(err, ACME_E_STORE, "AC0803", "key and chain are larger than the "
                              "%d bytes a row of the board holds; goes live at the next restart",
                              ACME_BOARD_LIVE_MAX);
    }
    data = malloc(len);
    if (data == NULL) {
        return acme_error_system(err, ACME_E_SYSTEM, NULL, APR_ENOMEM, "row of the board");
    }
    len = live_bytes(data, live, now);
    apr_thread_mutex_lock(board->mutex);
    seq = area_write(board, row, AREA_LIVE, data, len);
    (void)__atomic_add_fetch(&board->header->generation, 1, __ATOMIC_ACQ_REL);
    apr_thread_mutex_unlock(board->mutex);
    acme_cleanse(data, len);
    free(data);
    if (generation != NULL) {
        *generation = seq;
    }
    return ACME_OK;
}

void acme_board_live_clear(acme_board_t *board, int row, apr_uint64_t generation)
{
    head_t *head = head_of(board, row);
    apr_uint64_t seq;
    copy_t *copy;
    int i;

    if (head == NULL || LOAD(&head->seq[AREA_LIVE]) == 0) {
        return;
    }
    apr_thread_mutex_lock(board->mutex);
    seq = LOAD(&head->seq[AREA_LIVE]);
    for (i = 0; i < 2 && acme_board_row_generation(board, row) == generation; i++) {
        apr_size_t was;

        copy = area_copy(board, row, AREA_LIVE, seq + (apr_uint64_t)i);
        was = LOAD(&copy->len);
        STORE(&copy->len, 0);
        shared_zero(copy + 1, 0, was < ACME_BOARD_LIVE_MAX ? was : ACME_BOARD_LIVE_MAX);
    }
    apr_thread_mutex_unlock(board->mutex);
}

/* ---- resume state and status ---- */

acme_rv_t acme_board_resume_write(acme_board_t *board, int row, const char *records, apr_size_t len,
                                  acme_error_t *err)
{
    static const char nothing[] = "\n";

    if (head_of(board, row) == NULL || len > ACME_BOARD_RESUME_MAX) {
        return acme_error_set(err, ACME_E_STORE, "AC0808",
                              "row %d of the board cannot hold %" APR_SIZE_T_FMT
                              " bytes of records", row, len);
    }
    apr_thread_mutex_lock(board->mutex);
    /* One newline is an empty sequence of records; a length of 0 would count as never written. */
    area_write(board, row, AREA_RESUME, len > 0 ? records : nothing, len > 0 ? len : 1);
    apr_thread_mutex_unlock(board->mutex);
    return ACME_OK;
}

const char *acme_board_resume_read(apr_size_t *len, const acme_board_t *board, int row,
                                   apr_pool_t *pool)
{
    const unsigned char *data = NULL;
    apr_uint64_t seq;
    acme_rv_t rv;

    *len = 0;
    if (head_of(board, row) == NULL || LOAD(&board->heads[row].seq[AREA_RESUME]) == 0) {
        return "";
    }
    rv = area_copy_out(&data, len, &seq, board, row, AREA_RESUME, pool);
    if (rv != ACME_OK || (*len == 1 && data[0] == '\n')) {
        *len = 0;
        return "";
    }
    return (const char *)data;
}

void acme_board_status_write(acme_board_t *board, int row, const acme_board_status_t *status)
{
    if (head_of(board, row) == NULL) {
        return;
    }
    apr_thread_mutex_lock(board->mutex);
    area_write(board, row, AREA_STATUS, status, sizeof(*status));
    apr_thread_mutex_unlock(board->mutex);
}

/* Any child could have written it. */
static void text_settle(char *text, apr_size_t size)
{
    char copy[ACME_ERROR_TEXT];

    text[size - 1] = '\0';
    memcpy(copy, text, size);
    acme_printable(text, size, copy, -1);
}

acme_rv_t acme_board_status_read(acme_board_status_t *out, const acme_board_t *board, int row)
{
    unsigned char data[ROUND8(sizeof(acme_board_status_t))];
    apr_uint64_t seq;
    apr_size_t len = 0;
    acme_rv_t rv;

    memset(out, 0, sizeof(*out));
    if (head_of(board, row) == NULL) {
        return ACME_AGAIN;
    }
    rv = area_read(data, &len, &seq, board, row, AREA_STATUS);
    if (rv != ACME_OK) {
        return rv;
    }
    if (len != sizeof(*out)) {
        return ACME_FAIL;
    }
    memcpy(out, data, sizeof(*out));
    text_settle(out->state, sizeof(out->state));
    text_settle(out->step, sizeof(out->step));
    text_settle(out->why, sizeof(out->why));
    text_settle(out->error, sizeof(out->error));
    text_settle(out->serial, sizeof(out->serial));
    text_settle(out->order_url, sizeof(out->order_url));
    text_settle(out->ca, sizeof(out->ca));
    text_settle(out->publish, sizeof(out->publish));
    text_settle(out->explanation, sizeof(out->explanation));
    return ACME_OK;
}

/* ---- challenges: a sequence number per entry, odd while it is written ---- */

static apr_uint32_t hash_of(acme_challenge_type_t type, const char *text, apr_size_t len)
{
    apr_uint32_t hash = 2166136261u ^ (apr_uint32_t)type;
    apr_size_t i;

    for (i = 0; i < len; i++) {
        hash = (hash ^ (apr_uint32_t)acme_ascii_tolower((unsigned char)text[i])) * 16777619u;
    }
    return hash;
}

static apr_uint32_t challenge_hash(const acme_board_challenge_t *challenge)
{
    const char *key = challenge->type == ACME_CH_HTTP01 ? challenge->token : challenge->sni;

    return hash_of(challenge->type, key, strlen(key));
}

static int ends_within(const char *text, apr_size_t size)
{
    return memchr(text, '\0', size) != NULL;
}

static int challenge_sound(const acme_board_challenge_t *c)
{
    return (unsigned)c->type < ACME_CH_TYPES && ends_within(c->name, sizeof(c->name))
           && ends_within(c->sni, sizeof(c->sni)) && ends_within(c->token, sizeof(c->token))
           && ends_within(c->key_authorization, sizeof(c->key_authorization))
           && c->cert_len[0] <= sizeof(c->cert[0]) && c->cert_len[1] <= sizeof(c->cert[1])
           && c->key_len[0] <= sizeof(c->key[0]) && c->key_len[1] <= sizeof(c->key[1]);
}

/* Bounded tries: an entry whose writer died in the middle stays odd until somebody replaces it. */
static acme_rv_t entry_read(acme_board_challenge_t *out, const acme_board_t *board, int i)
{
    const slot_t *slot = board->slots + i;
    unsigned char digest[ACME_SHA256_LEN];
    apr_uint32_t before;
    entry_t entry;
    int n;

    for (n = 0; n < LOCK_TRIES; n++) {
        before = LOAD(&slot->seq);
        if ((before & 1) != 0) {
            continue;
        }
        shared_get(&entry, board->entries + i, sizeof(entry));
        if (LOAD(&slot->seq) != before) {
            continue;
        }
        acme_sha256(digest, entry.image, sizeof(entry.image));
        memcpy(out, entry.image, sizeof(*out));
        if (!acme_digest_equal(digest, entry.digest, sizeof(digest)) || !challenge_sound(out)) {
            return ACME_FAIL;
        }
        return ACME_OK;
    }
    return ACME_FAIL;
}

/* challenge NULL: frees the entry. */
static void entry_write(acme_board_t *board, int i, const acme_board_challenge_t *challenge)
{
    slot_t *slot = board->slots + i;
    apr_uint32_t seq = LOAD(&slot->seq) | 1;
    entry_t entry;

    memset(&entry, 0, sizeof(entry));
    if (challenge != NULL) {
        memcpy(entry.image, challenge, sizeof(*challenge));
        acme_sha256(entry.digest, entry.image, sizeof(entry.image));
    }
    STORE(&slot->seq, seq);
    shared_put(board->entries + i, &entry, sizeof(entry));
    STORE(&slot->hash, challenge != NULL ? challenge_hash(challenge) : 0);
    STORE(&slot->row, challenge != NULL ? challenge->row : -1);
    STORE(&slot->type, challenge != NULL ? (apr_uint32_t)challenge->type + 1 : 0);
    STORE(&slot->seq, seq + 1);
    if (challenge != NULL && (apr_uint32_t)i >= LOAD(&board->header->top)) {
        STORE(&board->header->top, (apr_uint32_t)i + 1);
    }
    (void)__atomic_add_fetch(&board->header->changes, 1, __ATOMIC_ACQ_REL);
    acme_cleanse(&entry, sizeof(entry));
}

static int slot_free(const slot_t *slot)
{
    apr_uint32_t type = LOAD(&slot->type);

    return type == 0 || type > ACME_CH_TYPES || (LOAD(&slot->seq) & 1) != 0;
}

static void recount(acme_board_t *board)
{
    apr_uint32_t pending[ACME_CH_TYPES];
    apr_uint32_t top = 0;
    int i;

    memset(pending, 0, sizeof(pending));
    for (i = 0; i < ACME_BOARD_CHALLENGES; i++) {
        if (!slot_free(board->slots + i)) {
            pending[LOAD(&board->slots[i].type) - 1]++;
            top = (apr_uint32_t)i + 1;
        }
    }
    STORE(&board->header->top, top);
    for (i = 0; i < ACME_CH_TYPES; i++) {
        STORE(&board->header->pending[i], pending[i]);
    }
}

/* The entry with the same row, type, name and token, or -1. */
static int entry_find(const acme_board_t *board, const acme_board_challenge_t *like)
{
    acme_board_challenge_t found;
    int at = -1;
    int i;

    for (i = 0; i < ACME_BOARD_CHALLENGES && at < 0; i++) {
        const slot_t *slot = board->slots + i;

        if (slot_free(slot) || LOAD(&slot->row) != like->row
            || LOAD(&slot->type) != (apr_uint32_t)like->type + 1
            || entry_read(&found, board, i) != ACME_OK) {
            continue;
        }
        if (strcmp(found.name, like->name) == 0 && strcmp(found.token, like->token) == 0) {
            at = i;
        }
    }
    acme_cleanse(&found, sizeof(found));
    return at;
}

/* A free entry, else the first that nobody would be answered any more; -1: table full. */
static int entry_room(const acme_board_t *board)
{
    acme_board_challenge_t found;
    apr_time_t now;
    int i;

    for (i = 0; i < ACME_BOARD_CHALLENGES; i++) {
        if (slot_free(board->slots + i)) {
            return i;
        }
    }
    now = apr_time_now();
    for (i = 0; i < ACME_BOARD_CHALLENGES; i++) {
        if (entry_read(&found, board, i) != ACME_OK || found.expires <= now) {
            return i;
        }
    }
    return -1;
}

acme_rv_t acme_board_challenge_put(acme_board_t *board, const acme_board_challenge_t *challenge,
                                   acme_error_t *err)
{
    int old;
    int at;

    if (!challenge_sound(challenge)) {
        return acme_error_set(err, ACME_E_INTERNAL, "AC0809",
                              "a challenge that the board cannot hold");
    }
    apr_thread_mutex_lock(board->mutex);
    old = entry_find(board, challenge);
    at = entry_room(board);
    if (at < 0) {
        at = old;
    }
    if (at >= 0) {
        /* The new one stands before the old one goes, and a reader that was past its place when it
         * came looks again: none finds neither. */
        entry_write(board, at, challenge);
        if (old >= 0 && old != at) {
            entry_write(board, old, NULL);
        }
        recount(board);
    }
    apr_thread_mutex_unlock(board->mutex);
    if (at < 0) {
        return acme_error_set(err, ACME_E_CHALLENGE, "AC0405",
                              "%s: %d challenges are pending already, no room for another",
                              challenge->name, ACME_BOARD_CHALLENGES);
    }
    return ACME_OK;
}

int acme_board_challenge_remove(acme_board_t *board, int row, const char *name)
{
    acme_board_challenge_t found;
    int removed = 0;
    int i;

    apr_thread_mutex_lock(board->mutex);
    for (i = 0; i < ACME_BOARD_CHALLENGES; i++) {
        if (slot_free(board->slots + i) || LOAD(&board->slots[i].row) != row) {
            continue;
        }
        /* A damaged entry answers nobody: it goes with the first of its row. */
        if (name != NULL && entry_read(&found, board, i) == ACME_OK
            && strcmp(found.name, name) != 0) {
            continue;
        }
        entry_write(board, i, NULL);
        removed++;
    }
    if (removed > 0) {
        recount(board);
    }
    apr_thread_mutex_unlock(board->mutex);
    acme_cleanse(&found, sizeof(found));
    return removed;
}

int acme_board_challenge_pending(const acme_board_t *board, acme_challenge_type_t type)
{
    apr_uint32_t n;

    if ((unsigned)type >= ACME_CH_TYPES) {
        return 0;
    }
    n = LOAD(&board->header->pending[type]);
    return n < ACME_BOARD_CHALLENGES ? (int)n : ACME_BOARD_CHALLENGES;
}

static int entry_matches(const acme_board_challenge_t *c, acme_challenge_type_t type,
                         const char *key, apr_size_t len, apr_time_t now)
{
    const char *own = type == ACME_CH_HTTP01 ? c->token : c->sni;

    if (c->type != type || c->expires <= now || strlen(own) != len) {
        return 0;
    }
    return type == ACME_CH_HTTP01 ? memcmp(own, key, len) == 0
                                  : acme_ascii_ncasecmp(own, key, len) == 0;
}

static acme_rv_t look(acme_board_challenge_t *out, const acme_board_t *board,
                      acme_challenge_type_t type, const char *key, apr_size_t len, apr_time_t now)
{
    apr_uint32_t top = LOAD(&board->header->top);
    apr_uint32_t hash = hash_of(type, key, len);
    int i;

    for (i = 0; i < ACME_BOARD_CHALLENGES && (apr_uint32_t)i < top; i++) {
        if (LOAD(&board->slots[i].hash) != hash || entry_read(out, board, i) != ACME_OK) {
            continue;
        }
        if (entry_matches(out, type, key, len, now)) {
            return ACME_OK;
        }
    }
    return ACME_AGAIN;
}

static acme_rv_t lookup(acme_board_challenge_t *out, const acme_board_t *board,
                        acme_challenge_type_t type, const char *key, apr_size_t len, apr_time_t now)
{
    apr_uint32_t changes;
    int i;

    if (len == 0 || acme_board_challenge_pending(board, type) == 0) {
        return ACME_AGAIN;
    }
    for (i = 0; i < READ_TRIES; i++) {
        changes = LOAD(&board->header->changes);
        if (look(out, board, type, key, len, now) == ACME_OK) {
            return ACME_OK;
        }
        if (LOAD(&board->header->changes) == changes) {
            break;
        }
    }
    memset(out, 0, sizeof(*out));
    return ACME_AGAIN;
}

acme_rv_t acme_board_challenge_by_token(acme_board_challenge_t *out, const acme_board_t *board,
                                        const char *token, apr_size_t token_len, apr_time_t now)
{
    if (token_len >= sizeof(out->token)) {
        return ACME_AGAIN;
    }
    return lookup(out, board, ACME_CH_HTTP01, token, token_len, now);
}

acme_rv_t acme_board_challenge_by_sni(acme_board_challenge_t *out, const acme_board_t *board,
                                      acme_challenge_type_t type, const char *sni, apr_time_t now)
{
    apr_size_t len = strlen(sni);

    if (len >= sizeof(out->sni) || type == ACME_CH_HTTP01) {
        return ACME_AGAIN;
    }
    return lookup(out, board, type, sni, len, now);
}

/* ---- arrival counters ---- */

void acme_board_arrival(acme_board_t *board, int row, acme_challenge_type_t type, int is_v6,
                        int foreign)
{
    head_t *head = head_of(board, row);

    if (head == NULL || (unsigned)type >= ACME_CH_TYPES) {
        return;
    }
    COUNT(is_v6 ? &head->v6 : &head->v4);
    COUNT(&head->by_type[type]);
    if (foreign) {
        COUNT(&head->foreign);
    }
}

static void take_one(apr_uint32_t *counter)
{
    apr_uint32_t now = LOAD(counter);

    while (now > 0
           && !__atomic_compare_exchange_n(counter, &now, now - 1, 0, __ATOMIC_ACQ_REL,
                                           __ATOMIC_ACQUIRE)) {
    }
}

void acme_board_arrival_own(acme_board_t *board, int row, acme_challenge_type_t type, int is_v6)
{
    head_t *head = head_of(board, row);

    if (head != NULL && (unsigned)type < ACME_CH_TYPES) {
        take_one(is_v6 ? &head->v6 : &head->v4);
        take_one(&head->by_type[type]);
    }
}

void acme_board_stray(acme_board_t *board)
{
    COUNT(&board->header->strays);
}

apr_uint32_t acme_board_strays(const acme_board_t *board)
{
    return LOAD(&board->header->strays);
}

void acme_board_arrivals_read(acme_board_arrivals_t *out, const acme_board_t *board, int row)
{
    const head_t *head = head_of(board, row);
    int i;

    memset(out, 0, sizeof(*out));
    if (head == NULL) {
        return;
    }
    out->v4 = LOAD(&head->v4);
    out->v6 = LOAD(&head->v6);
    out->foreign = LOAD(&head->foreign);
    for (i = 0; i < ACME_CH_TYPES; i++) {
        out->by_type[i] = LOAD(&head->by_type[i]);
    }
}

void acme_board_arrivals_reset(acme_board_t *board, int row)
{
    head_t *head = head_of(board, row);
    int i;

    if (head == NULL) {
        return;
    }
    STORE(&head->v4, 0);
    STORE(&head->v6, 0);
    STORE(&head->foreign, 0);
    for (i = 0; i < ACME_CH_TYPES; i++) {
        STORE(&head->by_type[i], 0);
    }
}
