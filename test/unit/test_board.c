/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#include <check.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
#include <apr_general.h>
#include <apr_strings.h>
#include "io/board.h"
#include "protocol/record.h"

Suite *board_suite(void);

#define COUNT(table) ((int)(sizeof(table) / sizeof((table)[0])))
#define ROWS 3
#define NOW apr_time_from_sec(APR_INT64_C(1795529967))
#define TOKEN "evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oA"
#define RUN_FOR apr_time_from_msec(300)

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
}

static void teardown(void)
{
    munmap(memory, memory_size);
    apr_pool_destroy(pool);
    apr_terminate();
}

/* The same numbers in every run. */
static unsigned below(unsigned n)
{
    static apr_uint64_t state = 42;

    state = state * APR_UINT64_C(6364136223846793005) + APR_UINT64_C(1442695040888963407);
    return (unsigned)(state >> 33) % n;
}

/* ---- what the tests publish: every byte tells its number ---- */

#define CERTS 3

static unsigned char pattern(unsigned n, apr_size_t i)
{
    return (unsigned char)(1 + (n * 7 + i * 13) % 250);
}

/* Lengths change with the number too. */
static apr_size_t part_len(unsigned n, int part)
{
    return 100 + (n * 31 + (unsigned)part * 57) % 700;
}

/* Part 0 is the key. */
static unsigned char *part(unsigned n, int which, apr_pool_t *p)
{
    apr_size_t len = part_len(n, which);
    unsigned char *bytes = apr_palloc(p, len);
    apr_size_t i;

    for (i = 0; i < len; i++) {
        bytes[i] = pattern(n + (unsigned)which, i);
    }
    return bytes;
}

static acme_board_live_t live_of(unsigned n, apr_pool_t *p)
{
    acme_board_live_t live;
    int i;

    memset(&live, 0, sizeof(live));
    live.key = part(n, 0, p);
    live.key_len = part_len(n, 0);
    live.n_certs = CERTS;
    for (i = 0; i < CERTS; i++) {
        live.cert[i] = part(n, i + 1, p);
        live.cert_len[i] = part_len(n, i + 1);
    }
    return live;
}

static int part_is(const unsigned char *bytes, apr_size_t len, unsigned n, int which)
{
    apr_size_t i;

    for (i = 0; i < len; i++) {
        if (bytes[i] != pattern(n + (unsigned)which, i)) {
            return 0;
        }
    }
    return len == part_len(n, which);
}

/* Is it whole, and the one with this number? */
static int live_is(const acme_board_live_t *live, unsigned n)
{
    int i;

    if (live->n_certs != CERTS || live->since != NOW + n
        || !part_is(live->key, live->key_len, n, 0)) {
        return 0;
    }
    for (i = 0; i < CERTS; i++) {
        if (!part_is(live->cert[i], live->cert_len[i], n, i + 1)) {
            return 0;
        }
    }
    return 1;
}

static void live_write(int row, unsigned n)
{
    apr_pool_t *p;
    acme_board_live_t live;

    apr_pool_create(&p, NULL);
    live = live_of(n, p);
    ck_assert(acme_board_live_write(board, row, &live, NOW + n, NULL, NULL) == ACME_OK);
    apr_pool_destroy(p);
}

/* Records are text of the number's own length. */
static char *records_of(apr_size_t *len, unsigned n, apr_pool_t *p)
{
    char *text = apr_palloc(p, 4000);
    int head = apr_snprintf(text, 4000, "records %u:", n);

    *len = (apr_size_t)head + 20 + n * 37 % 3000;
    memset(text + head, 'a' + (int)(n % 26), *len - (apr_size_t)head);
    return text;
}

static void resume_write(int row, unsigned n)
{
    apr_pool_t *p;
    apr_size_t len;
    char *text;

    apr_pool_create(&p, NULL);
    text = records_of(&len, n, p);
    ck_assert(acme_board_resume_write(board, row, text, len, NULL) == ACME_OK);
    apr_pool_destroy(p);
}

static int resume_is(int row, unsigned n)
{
    apr_size_t len, want_len;
    const char *found, *want;
    apr_pool_t *p;
    int same;

    apr_pool_create(&p, NULL);
    want = records_of(&want_len, n, p);
    found = acme_board_resume_read(&len, board, row, p);
    same = len == want_len && memcmp(found, want, len) == 0;
    apr_pool_destroy(p);
    return same;
}

static void status_of(acme_board_status_t *status, unsigned n)
{
    memset(status, 0, sizeof(*status));
    apr_snprintf(status->state, sizeof(status->state), "ordering");
    apr_snprintf(status->step, sizeof(status->step), "step %u", n);
    apr_snprintf(status->why, sizeof(status->why), "why %u", n);
    memset(status->error, 'a' + (int)(n % 26), n % 1000);
    apr_snprintf(status->serial, sizeof(status->serial), "%08x", n);
    status->next = NOW + n;
    status->failures = n;
}

static void status_write(int row, unsigned n)
{
    acme_board_status_t status;

    status_of(&status, n);
    acme_board_status_write(board, row, &status);
}

static void challenge_of(acme_board_challenge_t *c, acme_challenge_type_t type, const char *name,
                         unsigned n)
{
    memset(c, 0, sizeof(*c));
    c->row = 1;
    c->type = type;
    apr_snprintf(c->name, sizeof(c->name), "%s", name);
    apr_snprintf(c->sni, sizeof(c->sni), "%s", type == ACME_CH_HTTP01 ? "" : name);
    apr_snprintf(c->token, sizeof(c->token), TOKEN);
    apr_snprintf(c->key_authorization, sizeof(c->key_authorization), TOKEN ".%u", n);
    memset(c->cert[0], 'a' + (int)(n % 26), sizeof(c->cert[0]));
    memset(c->key[1], 'a' + (int)(n % 26), sizeof(c->key[1]));
    c->cert_len[0] = sizeof(c->cert[0]);
    c->key_len[1] = sizeof(c->key[1]);
    c->expires = NOW + apr_time_from_sec(3600);
}

static acme_rv_t challenge_put(acme_challenge_type_t type, const char *name, unsigned n)
{
    acme_board_challenge_t c;

    challenge_of(&c, type, name, n);
    return acme_board_challenge_put(board, &c, NULL);
}

static acme_rv_t by_token(acme_board_challenge_t *out, const char *token)
{
    return acme_board_challenge_by_token(out, board, token, strlen(token), NOW);
}

/* ---- header, rows, numbers ---- */

START_TEST(another_layout_or_size_is_refused)
{
    acme_board_t *other;
    apr_size_t at, used = 0;
    acme_error_t err;

    acme_error_clear(&err);
    ck_assert(acme_board_attach(&other, memory, memory_size - 8, pool, &err) == ACME_FAIL);
    ck_assert_str_eq(err.code, "AC0805");
    ck_assert_ptr_null(other);
    ck_assert(acme_board_attach(&other, memory, 8, pool, NULL) == ACME_FAIL);
    /* Magic, size, layout and number of rows: whatever byte of them is another is seen. */
    for (at = 0; at < 64; at++) {
        memory[at] ^= 0x01;
        if (acme_board_attach(&other, memory, memory_size, pool, NULL) == ACME_FAIL) {
            used++;
        }
        memory[at] ^= 0x01;
    }
    ck_assert_uint_eq(used, 8 + 8 + 4 + 4);
    ck_assert(acme_board_attach(&other, memory, memory_size, pool, NULL) == ACME_OK);
    ck_assert_int_eq(acme_board_rows(other), ROWS);
    memset(memory, 0, 64);
    ck_assert(acme_board_attach(&other, memory, memory_size, pool, NULL) == ACME_FAIL);
}
END_TEST

START_TEST(sizes_that_make_no_sense_are_none)
{
    ck_assert_uint_eq(acme_board_size(-1), 0);
    ck_assert_uint_eq(acme_board_size(APR_INT32_MAX), 0);
    ck_assert_uint_gt(acme_board_size(2), acme_board_size(1));
}
END_TEST

START_TEST(a_row_belongs_to_its_id)
{
    char longest[ACME_RECORD_ID_MAX + 2];

    ck_assert(!acme_board_row_is(board, 0, "") && !acme_board_row_is(board, 0, "a"));
    acme_board_row_assign(board, 1, "example.org");
    ck_assert(acme_board_row_is(board, 1, "example.org"));
    ck_assert(!acme_board_row_is(board, 1, "example.or") && !acme_board_row_is(board, 1, ""));
    ck_assert(!acme_board_row_is(board, 0, "example.org"));
    ck_assert(!acme_board_row_is(board, -1, "example.org"));
    ck_assert(!acme_board_row_is(board, ROWS, "example.org"));
    memset(longest, 'a', sizeof(longest));
    longest[ACME_RECORD_ID_MAX] = '\0';
    acme_board_row_assign(board, 2, longest);
    ck_assert(acme_board_row_is(board, 2, longest));
    longest[ACME_RECORD_ID_MAX] = 'a';
    longest[ACME_RECORD_ID_MAX + 1] = '\0';
    acme_board_row_assign(board, 2, longest);
    ck_assert(!acme_board_row_is(board, 2, longest));
    acme_board_row_assign(board, ROWS, "x");
    acme_board_row_assign(board, -1, "x");
}
END_TEST

START_TEST(numbers_stand_where_they_were_put)
{
    ck_assert_uint_eq(acme_board_config(board), 0);
    ck_assert_uint_eq(acme_board_config_next(board), 1);
    ck_assert_uint_eq(acme_board_config_next(board), 2);
    ck_assert_uint_eq(acme_board_config(board), 2);
    acme_board_owner_set(board, 4711);
    ck_assert_int_eq(acme_board_owner(board), 4711);
    acme_board_retry_ack_set(board, 1, 7);
    acme_board_logs_set(board, 1, 8);
    ck_assert_uint_eq(acme_board_retry_ack(board, 1), 7);
    ck_assert_uint_eq(acme_board_logs(board, 1), 8);
    ck_assert_uint_eq(acme_board_retry_ack(board, 0), 0);
    ck_assert_uint_eq(acme_board_logs(board, 2), 0);
    acme_board_retry_ack_set(board, ROWS, 7);
    acme_board_logs_set(board, -1, 7);
    ck_assert_uint_eq(acme_board_retry_ack(board, ROWS), 0);
    ck_assert_uint_eq(acme_board_logs(board, -1), 0);
}
END_TEST

/* ---- live certificates ---- */

START_TEST(a_live_certificate_comes_back)
{
    acme_board_live_t live;

    ck_assert(acme_board_live_read(&live, board, 1, pool, NULL) == ACME_AGAIN);
    live_write(1, 1);
    ck_assert(acme_board_live_read(&live, board, 1, pool, NULL) == ACME_OK);
    ck_assert(live_is(&live, 1));
    ck_assert_uint_eq(live.generation, 1);
    live_write(1, 2);
    live_write(1, 3);
    ck_assert(acme_board_live_read(&live, board, 1, pool, NULL) == ACME_OK);
    ck_assert(live_is(&live, 3));
    ck_assert_uint_eq(live.generation, 3);
    ck_assert(acme_board_live_read(&live, board, 0, pool, NULL) == ACME_AGAIN);
    ck_assert(acme_board_live_read(&live, board, ROWS, pool, NULL) == ACME_AGAIN);
    ck_assert(acme_board_live_read(&live, board, -1, pool, NULL) == ACME_AGAIN);
}
END_TEST

/* Root hands the number it read to the children: what it had not seen is above it, for ever. */
START_TEST(generations_only_grow)
{
    acme_board_live_t live = live_of(1, pool);
    apr_uint64_t baseline, got, whole;

    ck_assert_uint_eq(acme_board_row_generation(board, 1), 0);
    ck_assert(acme_board_live_write(board, 1, &live, NOW + 1, &got, NULL) == ACME_OK);
    baseline = acme_board_row_generation(board, 1);
    whole = acme_board_generation(board);
    ck_assert_uint_eq(got, baseline);
    ck_assert_uint_gt(whole, 0);
    acme_board_live_clear(board, 1, baseline - 1);
    ck_assert(acme_board_live_read(&live, board, 1, pool, NULL) == ACME_OK);
    acme_board_live_clear(board, 1, baseline);
    ck_assert_uint_eq(acme_board_row_generation(board, 1), baseline);
    ck_assert(acme_board_live_read(&live, board, 1, pool, NULL) == ACME_AGAIN);
    live_write(1, 2);
    ck_assert_uint_eq(acme_board_row_generation(board, 1), baseline + 1);
    ck_assert_uint_eq(acme_board_generation(board), whole + 1);
    live_write(0, 3);
    ck_assert_uint_eq(acme_board_row_generation(board, 1), baseline + 1);
    ck_assert_uint_eq(acme_board_generation(board), whole + 2);
    resume_write(1, 1);
    status_write(1, 1);
    ck_assert_uint_eq(acme_board_generation(board), whole + 2);
    ck_assert(acme_board_live_read(&live, board, 1, pool, NULL) == ACME_OK && live_is(&live, 2));
    ck_assert_uint_eq(acme_board_row_generation(board, ROWS), 0);
}
END_TEST

/* A key that was cleared is nowhere in the mapping any more. */
START_TEST(what_is_cleared_is_gone)
{
    unsigned char *key = part(1, 0, pool);

    live_write(1, 1);
    live_write(1, 2);
    ck_assert_ptr_nonnull(memmem(memory, memory_size, key, part_len(1, 0)));
    acme_board_live_clear(board, 1, acme_board_row_generation(board, 1));
    ck_assert_ptr_null(memmem(memory, memory_size, key, 32));
    ck_assert_ptr_null(memmem(memory, memory_size, part(2, 0, pool), 32));
    acme_board_live_clear(board, 0, 0);
    acme_board_live_clear(board, ROWS, 0);
}
END_TEST

START_TEST(a_shorter_one_leaves_nothing_of_a_longer_one)
{
    acme_board_live_t live = live_of(1, pool);
    unsigned char *longer = apr_palloc(pool, 20000);
    acme_board_live_t big = live;

    memset(longer, 'K', 20000);
    big.key = longer;
    big.key_len = 20000;
    ck_assert(acme_board_live_write(board, 1, &big, NOW, NULL, NULL) == ACME_OK);
    live_write(1, 1);
    live_write(1, 2);
    ck_assert_ptr_null(memmem(memory, memory_size, longer, 64));
}
END_TEST

static const struct {
    apr_size_t key_len;
    int n_certs;
    apr_size_t cert_len;
    const char *code; /* NULL: fits */
} sizes[] = {
    {2400, 10, 4500, NULL},
    {ACME_BOARD_LIVE_MAX / 2, 1, ACME_BOARD_LIVE_MAX / 2 - 100, NULL},
    {ACME_BOARD_LIVE_MAX / 2, 1, ACME_BOARD_LIVE_MAX / 2, "AC0803"},
    {2400, 10, 4900, "AC0803"},
    {ACME_BOARD_LIVE_MAX + 1, 1, 100, "AC0803"},
    {100, 1, 1000000, "AC0803"},
    {0, 1, 100, "AC0804"},
    {100, 0, 100, "AC0804"},
    {100, 11, 100, "AC0804"},
};

START_TEST(what_is_too_big_leaves_the_former_one)
{
    unsigned char *bytes = apr_pcalloc(pool, 1000000);
    acme_board_live_t live;
    acme_error_t err;
    int i;

    acme_error_clear(&err);
    live_write(1, 1);
    memset(&live, 0, sizeof(live));
    live.key = bytes;
    live.key_len = sizes[_i].key_len;
    live.n_certs = sizes[_i].n_certs;
    for (i = 0; i < 10; i++) {
        live.cert[i] = bytes;
        live.cert_len[i] = sizes[_i].cert_len;
    }
    ck_assert_int_eq(acme_board_live_write(board, 1, &live, NOW, NULL, &err),
                     sizes[_i].code != NULL ? ACME_FAIL : ACME_OK);
    ck_assert_str_eq(err.code, sizes[_i].code != NULL ? sizes[_i].code : "");
    ck_assert_uint_eq(acme_board_row_generation(board, 1), sizes[_i].code != NULL ? 1 : 2);
    ck_assert(acme_board_live_read(&live, board, 1, pool, NULL) == ACME_OK);
    ck_assert(sizes[_i].code == NULL || live_is(&live, 1));
    ck_assert(acme_board_live_write(board, ROWS, &live, NOW, NULL, NULL) == ACME_FAIL);
}
END_TEST

/* ---- words of the mapping that an act changes ---- */

typedef struct {
    apr_size_t *at; /* indexes of words */
    apr_size_t n;
    apr_uint64_t *before, *after; /* their values */
} words_t;

static apr_uint64_t *snapshot(void)
{
    return memcpy(apr_palloc(pool, memory_size), memory, memory_size);
}

static words_t changed_since(const apr_uint64_t *former)
{
    const apr_uint64_t *is = (const apr_uint64_t *)memory;
    apr_size_t i, n = memory_size / sizeof(*is);
    words_t words = {NULL, 0, NULL, NULL};

    words.at = apr_palloc(pool, n * sizeof(*words.at));
    for (i = 0; i < n; i++) {
        if (former[i] != is[i]) {
            words.at[words.n++] = i;
        }
    }
    words.before = apr_palloc(pool, words.n * sizeof(*words.before));
    words.after = apr_palloc(pool, words.n * sizeof(*words.after));
    for (i = 0; i < words.n; i++) {
        words.before[i] = former[words.at[i]];
        words.after[i] = is[words.at[i]];
    }
    return words;
}

static void word_set(const words_t *words, apr_size_t i, int after)
{
    ((apr_uint64_t *)memory)[words->at[i]] = after ? words->after[i] : words->before[i];
}

/* ---- damage ---- */

typedef struct {
    apr_size_t flips, refused;
} damage_t;

/* Flips one bit of every byte that words names; ok tells what a reader made of it: 1 what was
 * written, 0 refused, -1 something else. */
static damage_t damage(const words_t *words, int (*ok)(void))
{
    damage_t found = {0, 0};
    apr_size_t i, k;
    int rv;

    for (i = 0; i < words->n; i++) {
        for (k = 0; k < sizeof(apr_uint64_t); k++) {
            unsigned char *byte = memory + words->at[i] * sizeof(apr_uint64_t) + k;
            unsigned char bit = (unsigned char)(1u << ((i + k) % 8));

            *byte ^= bit;
            rv = ok();
            *byte ^= bit;
            ck_assert_msg(rv >= 0, "byte %" APR_SIZE_T_FMT " of the mapping", words->at[i] * 8 + k);
            found.flips++;
            found.refused += rv == 0;
        }
    }
    return found;
}

static int live_one_or_two(void)
{
    acme_board_live_t live;
    acme_error_t err;
    apr_pool_t *p;
    acme_rv_t rv;
    int result;

    apr_pool_create(&p, NULL);
    acme_error_clear(&err);
    rv = acme_board_live_read(&live, board, 1, p, &err);
    if (rv == ACME_OK) {
        result = live_is(&live, 1) || live_is(&live, 2) ? 1 : -1;
    }
    else {
        result = rv == ACME_AGAIN || strcmp(err.code, "AC0801") == 0 ? 0 : -1;
    }
    apr_pool_destroy(p);
    return result;
}

START_TEST(a_damaged_live_certificate_is_never_returned)
{
    apr_uint64_t *former = snapshot();
    damage_t found;
    words_t words;
    int i;

    live_write(1, 1);
    live_write(1, 2);
    words = changed_since(former);
    found = damage(&words, live_one_or_two);
    /* Everything of the one that counts; nothing of the one that does not. */
    for (i = 0; i <= CERTS; i++) {
        found.refused -= part_len(2, i);
    }
    ck_assert_uint_lt(found.refused, 200);
    ck_assert_int_eq(live_one_or_two(), 1);
}
END_TEST

/* Another row's certificate, bytes, lengths and digest all right, is damage too. */
START_TEST(no_row_passes_for_another)
{
    acme_board_live_t live = live_of(1, pool);
    unsigned char key[2][500];
    unsigned char *at[2];
    acme_error_t err;
    int i;

    for (i = 0; i < 2; i++) {
        memset(key[i], 'A' + i, sizeof(key[i]));
        live.key = key[i];
        live.key_len = sizeof(key[i]);
        ck_assert(acme_board_live_write(board, 1 + i, &live, NOW, NULL, NULL) == ACME_OK);
        at[i] = memmem(memory, memory_size, key[i], sizeof(key[i]));
        ck_assert_ptr_nonnull(at[i]);
    }
    memcpy(at[1] - 200, at[0] - 200, 4000);
    acme_error_clear(&err);
    ck_assert(acme_board_live_read(&live, board, 2, pool, &err) == ACME_FAIL);
    ck_assert_str_eq(err.code, "AC0801");
    ck_assert(acme_board_live_read(&live, board, 1, pool, NULL) == ACME_OK);
    ck_assert_mem_eq(live.key, key[0], sizeof(key[0]));
}
END_TEST

static int resume_one_or_two(void)
{
    apr_size_t len;

    if (resume_is(1, 1) || resume_is(1, 2)) {
        return 1;
    }
    acme_board_resume_read(&len, board, 1, pool);
    return len == 0 ? 0 : -1;
}

/* One damaged byte never costs both copies, except in the number that tells which is newer. */
START_TEST(damaged_records_fall_back_on_the_former_copy)
{
    apr_uint64_t *former = snapshot();
    damage_t found;
    words_t words;

    resume_write(1, 1);
    resume_write(1, 2);
    words = changed_since(former);
    found = damage(&words, resume_one_or_two);
    ck_assert_uint_gt(found.flips, 200);
    ck_assert_uint_le(found.refused, 8);
}
END_TEST

static int status_one_or_two(void)
{
    acme_board_status_t status, one, two;

    if (acme_board_status_read(&status, board, 1) != ACME_OK) {
        return 0;
    }
    status_of(&one, 1);
    status_of(&two, 2);
    return memcmp(&status, &one, sizeof(one)) == 0 || memcmp(&status, &two, sizeof(two)) == 0
               ? 1 : -1;
}

START_TEST(a_damaged_status_is_not_shown)
{
    apr_uint64_t *former = snapshot();
    words_t words;

    status_write(1, 1);
    status_write(1, 2);
    words = changed_since(former);
    ck_assert_uint_gt(damage(&words, status_one_or_two).refused, 30);
}
END_TEST

static int challenge_whole(void)
{
    acme_board_challenge_t found, want;

    challenge_of(&want, ACME_CH_HTTP01, "example.org", 1);
    if (by_token(&found, TOKEN) != ACME_OK) {
        return 0;
    }
    return memcmp(&found, &want, sizeof(want)) == 0 ? 1 : -1;
}

START_TEST(a_damaged_challenge_is_not_answered)
{
    apr_uint64_t *former = snapshot();
    damage_t found;
    words_t words;

    ck_assert(challenge_put(ACME_CH_HTTP01, "example.org", 1) == ACME_OK);
    words = changed_since(former);
    found = damage(&words, challenge_whole);
    ck_assert_uint_gt(found.refused, 1024 + 1400 + 2 * strlen(TOKEN));
    ck_assert_int_eq(challenge_whole(), 1);
    /* The next owner finds room and the number is right again. */
    memory[words.at[words.n / 2] * 8] ^= 1;
    ck_assert(challenge_put(ACME_CH_HTTP01, "example.org", 1) == ACME_OK);
    ck_assert_int_eq(challenge_whole(), 1);
    ck_assert_int_ge(acme_board_challenge_remove(board, 1, "example.org"), 1);
    ck_assert_int_eq(acme_board_challenge_pending(board, ACME_CH_HTTP01), 0);
}
END_TEST

/* ---- a writer that died: any mixture of the words before and after ---- */

static int live_now(unsigned n)
{
    acme_board_live_t live;
    apr_pool_t *p;
    acme_rv_t rv;
    int is;

    apr_pool_create(&p, NULL);
    rv = acme_board_live_read(&live, board, 1, p, NULL);
    is = rv == ACME_OK ? live_is(&live, n) : -1;
    apr_pool_destroy(p);
    return is;
}

static int resume_now(unsigned n)
{
    apr_size_t len;

    if (resume_is(1, n)) {
        return 1;
    }
    (void)acme_board_resume_read(&len, board, 1, pool);
    return len == 0 ? -1 : 0;
}

static int status_now(unsigned n)
{
    acme_board_status_t status, want;

    if (acme_board_status_read(&status, board, 1) != ACME_OK) {
        return -1;
    }
    status_of(&want, n);
    return memcmp(&status, &want, sizeof(want)) == 0;
}

static void row_live(unsigned n)
{
    live_write(1, n);
}

static void row_resume(unsigned n)
{
    resume_write(1, n);
}

static void row_status(unsigned n)
{
    status_write(1, n);
}

static void row_challenge(unsigned n)
{
    ck_assert(challenge_put(ACME_CH_HTTP01, "example.org", n) == ACME_OK);
}

static int challenge_now(unsigned n)
{
    acme_board_challenge_t found, want;

    if (by_token(&found, TOKEN) != ACME_OK) {
        return -1;
    }
    challenge_of(&want, ACME_CH_HTTP01, "example.org", n);
    return memcmp(&found, &want, sizeof(want)) == 0;
}

static const struct {
    void (*write)(unsigned n);
    int (*now)(unsigned n); /* 1: this one, 0: another one, -1: none */
    int never_none;         /* whatever instant the writer dies */
} areas[] = {
    {row_live, live_now, 0},
    {row_resume, resume_now, 1},
    {row_status, status_now, 0},
    {row_challenge, challenge_now, 0},
};

static void one_of(int area, unsigned former, unsigned next)
{
    int a = areas[area].now(former);
    int b = areas[area].now(next);

    if (a == -1 && b == -1 && !areas[area].never_none) {
        return;
    }
    ck_assert_msg(a == 1 || b == 1, "area %d: neither %u nor %u (%d, %d)", area, former, next, a,
                  b);
}

START_TEST(half_a_write_is_the_former_or_the_new)
{
    apr_uint64_t *former;
    words_t words;
    apr_size_t i;
    int n;

    areas[_i].write(1);
    areas[_i].write(2);
    former = snapshot();
    areas[_i].write(3);
    words = changed_since(former);
    ck_assert_uint_gt(words.n, 4);
    for (i = 0; i < words.n; i++) { /* from the end of the mapping ... */
        word_set(&words, words.n - 1 - i, 0);
        one_of(_i, 2, 3);
    }
    ck_assert_int_eq(areas[_i].now(2), 1);
    for (i = 0; i < words.n; i++) { /* ... and the other way round */
        word_set(&words, words.n - 1 - i, 1);
        one_of(_i, 2, 3);
    }
    ck_assert_int_eq(areas[_i].now(3), 1);
    for (n = 0; n < 300; n++) {
        for (i = 0; i < words.n; i++) {
            word_set(&words, i, (int)below(2));
        }
        one_of(_i, 2, 3);
    }
    /* The next owner just goes on. */
    areas[_i].write(4);
    areas[_i].write(5);
    ck_assert_int_eq(areas[_i].now(5), 1);
}
END_TEST

static void write_for_ever(int area, volatile unsigned *done)
{
    unsigned n;

    for (n = 2;; n++) {
        areas[area].write(n);
        __atomic_store_n(done, n, __ATOMIC_RELEASE);
    }
}

/* Stopped in the middle first: readers never wait for it. Then killed. */
START_TEST(a_writer_may_die_at_any_moment)
{
    unsigned *done = mmap(NULL, sizeof(*done), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
                          -1, 0);
    int round, status;
    apr_time_t began;
    unsigned n = 1;
    pid_t pid;

    ck_assert(done != MAP_FAILED);
    for (round = 0; round < 120; round++) {
        areas[_i].write(1);
        __atomic_store_n(done, 1, __ATOMIC_RELEASE);
        pid = fork();
        ck_assert_int_ge(pid, 0);
        if (pid == 0) {
            write_for_ever(_i, done);
        }
        while (__atomic_load_n(done, __ATOMIC_ACQUIRE) < 3) {
            usleep(50);
        }
        usleep(below(300));
        kill(pid, SIGSTOP);
        ck_assert(waitpid(pid, &status, WUNTRACED) == pid && WIFSTOPPED(status));
        n = __atomic_load_n(done, __ATOMIC_ACQUIRE);
        began = apr_time_now();
        one_of(_i, n, n + 1);
        ck_assert_int_lt(apr_time_now() - began, apr_time_from_sec(1));
        kill(pid, SIGKILL);
        ck_assert(waitpid(pid, &status, 0) == pid && WIFSIGNALED(status));
        one_of(_i, n, n + 1);
    }
    areas[_i].write(7);
    ck_assert_int_eq(areas[_i].now(7), 1);
    munmap(done, sizeof(*done));
}
END_TEST

/* ---- readers beside a writer ---- */

typedef struct {
    int area;
    int stop;
    unsigned done; /* the number that was written last */
    long good, none, torn;
} race_t;

static void *race_write(void *data)
{
    race_t *race = data;
    unsigned n = race->done;

    while (!__atomic_load_n(&race->stop, __ATOMIC_ACQUIRE)) {
        areas[race->area].write(++n);
        __atomic_store_n(&race->done, n, __ATOMIC_RELEASE);
        if (n % 16 == 0) {
            usleep(20);
        }
    }
    return NULL;
}

/* Every generation has its number's bytes and none goes back. */
static void *race_read_live(void *data)
{
    race_t *race = data;
    apr_uint64_t last = 0;
    acme_board_live_t live;
    apr_pool_t *p;
    acme_rv_t rv;

    apr_pool_create_unmanaged_ex(&p, NULL, NULL);
    while (!__atomic_load_n(&race->stop, __ATOMIC_ACQUIRE)) {
        rv = acme_board_live_read(&live, board, 1, p, NULL);
        if (rv != ACME_OK) {
            __atomic_fetch_add(&race->none, 1, __ATOMIC_RELAXED);
        }
        else if (live_is(&live, (unsigned)live.generation) && live.generation >= last) {
            __atomic_fetch_add(&race->good, 1, __ATOMIC_RELAXED);
            last = live.generation;
        }
        else {
            __atomic_fetch_add(&race->torn, 1, __ATOMIC_RELAXED);
        }
        apr_pool_clear(p);
    }
    apr_pool_destroy(p);
    return NULL;
}

static int records_whole(unsigned *n, const char *text, apr_size_t len, apr_pool_t *p)
{
    const char *head = "records ";
    apr_int64_t number = 0;
    apr_size_t want_len, i;
    const char *want;

    for (i = strlen(head); i < len && i < 30 && text[i] >= '0' && text[i] <= '9'; i++) {
        number = number * 10 + (text[i] - '0');
    }
    want = records_of(&want_len, (unsigned)number, p);
    *n = (unsigned)number;
    return len == want_len && memcmp(text, want, len) == 0;
}

static void *race_read_resume(void *data)
{
    race_t *race = data;
    unsigned n, last = 0;
    const char *text;
    apr_size_t len;
    apr_pool_t *p;

    apr_pool_create_unmanaged_ex(&p, NULL, NULL);
    while (!__atomic_load_n(&race->stop, __ATOMIC_ACQUIRE)) {
        text = acme_board_resume_read(&len, board, 1, p);
        if (len == 0) {
            __atomic_fetch_add(&race->none, 1, __ATOMIC_RELAXED);
        }
        else if (records_whole(&n, text, len, p) && n + 1 >= last) {
            __atomic_fetch_add(&race->good, 1, __ATOMIC_RELAXED);
            last = n;
        }
        else {
            __atomic_fetch_add(&race->torn, 1, __ATOMIC_RELAXED);
        }
        apr_pool_clear(p);
    }
    apr_pool_destroy(p);
    return NULL;
}

static void *race_read_status(void *data)
{
    acme_board_status_t status, want;
    race_t *race = data;

    while (!__atomic_load_n(&race->stop, __ATOMIC_ACQUIRE)) {
        if (acme_board_status_read(&status, board, 1) != ACME_OK) {
            __atomic_fetch_add(&race->none, 1, __ATOMIC_RELAXED);
            continue;
        }
        status_of(&want, status.failures);
        __atomic_fetch_add(memcmp(&status, &want, sizeof(want)) == 0 ? &race->good : &race->torn, 1,
                           __ATOMIC_RELAXED);
    }
    return NULL;
}

static void *race_read_challenge(void *data)
{
    race_t *race = data;
    acme_board_challenge_t found, want;

    while (!__atomic_load_n(&race->stop, __ATOMIC_ACQUIRE)) {
        if (by_token(&found, TOKEN) != ACME_OK) {
            __atomic_fetch_add(&race->none, 1, __ATOMIC_RELAXED);
            continue;
        }
        challenge_of(&want, ACME_CH_HTTP01, "example.org", 0);
        memcpy(want.key_authorization, found.key_authorization, sizeof(want.key_authorization));
        memset(want.cert[0], found.cert[0][0], sizeof(want.cert[0]));
        memset(want.key[1], found.cert[0][0], sizeof(want.key[1]));
        __atomic_fetch_add(memcmp(&found, &want, sizeof(want)) == 0 ? &race->good : &race->torn, 1,
                           __ATOMIC_RELAXED);
    }
    return NULL;
}

static const struct {
    void *(*read)(void *data);
    int always; /* a reader finds one all the time */
} races[] = {
    {race_read_live, 0},
    {race_read_resume, 0},
    {race_read_status, 0},
    {race_read_challenge, 1},
};

START_TEST(a_torn_read_is_never_returned)
{
    pthread_t writer, reader[3];
    race_t race;
    int i;

    memset(&race, 0, sizeof(race));
    race.area = _i;
    areas[_i].write(1);
    race.done = 1;
    ck_assert_int_eq(pthread_create(&writer, NULL, race_write, &race), 0);
    for (i = 0; i < COUNT(reader); i++) {
        ck_assert_int_eq(pthread_create(&reader[i], NULL, races[_i].read, &race), 0);
    }
    apr_sleep(RUN_FOR);
    __atomic_store_n(&race.stop, 1, __ATOMIC_RELEASE);
    pthread_join(writer, NULL);
    for (i = 0; i < COUNT(reader); i++) {
        pthread_join(reader[i], NULL);
    }
    ck_assert_int_eq(race.torn, 0);
    ck_assert_int_gt(race.good, 10);
    ck_assert_int_gt(race.done, 10);
    ck_assert(!races[_i].always || race.none == 0);
    ck_assert_int_eq(areas[_i].now(race.done), 1);
}
END_TEST

/* ---- resume state and status ---- */

START_TEST(records_come_back)
{
    static char full[ACME_BOARD_RESUME_MAX + 1];
    const char *found;
    apr_size_t len = 1;
    acme_error_t err;

    acme_error_clear(&err);
    found = acme_board_resume_read(&len, board, 1, pool);
    ck_assert(found != NULL && len == 0);
    resume_write(1, 1);
    ck_assert(resume_is(1, 1) && !resume_is(0, 1));
    ck_assert(acme_board_resume_write(board, 1, "", 0, NULL) == ACME_OK);
    found = acme_board_resume_read(&len, board, 1, pool);
    ck_assert(found != NULL && len == 0);
    memset(full, 'r', sizeof(full));
    ck_assert(acme_board_resume_write(board, 1, full, ACME_BOARD_RESUME_MAX, NULL) == ACME_OK);
    found = acme_board_resume_read(&len, board, 1, pool);
    ck_assert_uint_eq(len, ACME_BOARD_RESUME_MAX);
    ck_assert_mem_eq(found, full, ACME_BOARD_RESUME_MAX);
    ck_assert(acme_board_resume_write(board, 1, full, sizeof(full), &err) == ACME_FAIL);
    ck_assert_str_eq(err.code, "AC0808");
    ck_assert(acme_board_resume_write(board, ROWS, full, 1, NULL) == ACME_FAIL);
    found = acme_board_resume_read(&len, board, 1, pool);
    ck_assert_uint_eq(len, ACME_BOARD_RESUME_MAX);
    found = acme_board_resume_read(&len, board, ROWS, pool);
    ck_assert(found != NULL && len == 0);
}
END_TEST

START_TEST(a_status_comes_back_printable)
{
    acme_board_status_t status, found;

    ck_assert(acme_board_status_read(&found, board, 1) == ACME_AGAIN);
    status_of(&status, 5);
    memset(status.state, 's', sizeof(status.state));
    memset(status.error, 'e', sizeof(status.error));
    memset(status.order_url, 'u', sizeof(status.order_url));
    memcpy(status.why, "one\ntwo\x1b[2J\x80", 13);
    acme_board_status_write(board, 1, &status);
    ck_assert(acme_board_status_read(&found, board, 1) == ACME_OK);
    ck_assert_uint_eq(strlen(found.state), sizeof(found.state) - 1);
    ck_assert_uint_eq(strlen(found.error), sizeof(found.error) - 1);
    ck_assert_uint_eq(strlen(found.order_url), sizeof(found.order_url) - 1);
    ck_assert_str_eq(found.why, "one?two?[2J?");
    ck_assert_str_eq(found.step, "step 5");
    ck_assert_int_eq(found.next, NOW + 5);
    ck_assert(acme_board_status_read(&found, board, 0) == ACME_AGAIN);
    ck_assert(acme_board_status_read(&found, board, ROWS) == ACME_AGAIN);
    acme_board_status_write(board, ROWS, &status);
}
END_TEST

/* ---- challenges ---- */

START_TEST(a_token_is_found_exactly)
{
    static const char *const not_it[] = {
        "", "e", TOKEN "x", "EvaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oA",
        "evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-o",
    };
    acme_board_challenge_t found;
    char *longest = apr_pcalloc(pool, 1000);
    int i;

    ck_assert(by_token(&found, TOKEN) == ACME_AGAIN);
    ck_assert(challenge_put(ACME_CH_HTTP01, "example.org", 1) == ACME_OK);
    ck_assert_int_eq(challenge_whole(), 1);
    for (i = 0; i < COUNT(not_it); i++) {
        ck_assert_msg(by_token(&found, not_it[i]) == ACME_AGAIN, "\"%s\"", not_it[i]);
    }
    ck_assert(acme_board_challenge_by_token(&found, board, TOKEN, strlen(TOKEN) + 1, NOW)
              == ACME_AGAIN);
    memset(longest, 'a', 999);
    ck_assert(by_token(&found, longest) == ACME_AGAIN);
    ck_assert(acme_board_challenge_by_sni(&found, board, ACME_CH_HTTP01, "", NOW) == ACME_AGAIN);
}
END_TEST

START_TEST(an_sni_is_found_for_its_type_only)
{
    acme_board_challenge_t found;

    ck_assert(challenge_put(ACME_CH_TLSALPN01, "example.org", 1) == ACME_OK);
    ck_assert(acme_board_challenge_by_sni(&found, board, ACME_CH_TLSALPN01, "Example.ORG", NOW)
              == ACME_OK);
    ck_assert_str_eq(found.key_authorization, TOKEN ".1");
    ck_assert(acme_board_challenge_by_sni(&found, board, ACME_CH_TLSSNI01, "example.org", NOW)
              == ACME_AGAIN);
    ck_assert(acme_board_challenge_by_sni(&found, board, ACME_CH_TLSALPN01, "xample.org", NOW)
              == ACME_AGAIN);
    ck_assert(acme_board_challenge_by_sni(&found, board, ACME_CH_TYPES, "example.org", NOW)
              == ACME_AGAIN);
    ck_assert(by_token(&found, TOKEN) == ACME_AGAIN);
    ck_assert_int_eq(acme_board_challenge_pending(board, ACME_CH_TLSALPN01), 1);
    ck_assert_int_eq(acme_board_challenge_pending(board, ACME_CH_HTTP01), 0);
    ck_assert_int_eq(acme_board_challenge_pending(board, ACME_CH_TYPES), 0);
}
END_TEST

START_TEST(nobody_is_answered_after_the_end)
{
    acme_board_challenge_t c, found;

    challenge_of(&c, ACME_CH_HTTP01, "example.org", 1);
    ck_assert(acme_board_challenge_put(board, &c, NULL) == ACME_OK);
    ck_assert(acme_board_challenge_by_token(&found, board, TOKEN, strlen(TOKEN), c.expires - 1)
              == ACME_OK);
    ck_assert(acme_board_challenge_by_token(&found, board, TOKEN, strlen(TOKEN), c.expires)
              == ACME_AGAIN);
}
END_TEST

START_TEST(the_same_again_replaces_it)
{
    acme_board_challenge_t found;
    int i;

    for (i = 1; i <= 2 * ACME_BOARD_CHALLENGES; i++) {
        ck_assert(challenge_put(ACME_CH_HTTP01, "example.org", (unsigned)i) == ACME_OK);
    }
    ck_assert_int_eq(acme_board_challenge_pending(board, ACME_CH_HTTP01), 1);
    ck_assert(by_token(&found, TOKEN) == ACME_OK);
    ck_assert_str_eq(found.key_authorization,
                     apr_psprintf(pool, TOKEN ".%d", 2 * ACME_BOARD_CHALLENGES));
    /* Another name, another type: others. */
    ck_assert(challenge_put(ACME_CH_HTTP01, "www.example.org", 1) == ACME_OK);
    ck_assert(challenge_put(ACME_CH_TLSALPN01, "example.org", 1) == ACME_OK);
    ck_assert_int_eq(acme_board_challenge_pending(board, ACME_CH_HTTP01), 2);
    ck_assert_int_eq(acme_board_challenge_remove(board, 0, NULL), 0);
    ck_assert_int_eq(acme_board_challenge_remove(board, 1, "example.org"), 2);
    ck_assert_int_eq(acme_board_challenge_remove(board, 1, "example.org"), 0);
    ck_assert_int_eq(acme_board_challenge_pending(board, ACME_CH_HTTP01), 1);
    ck_assert_int_eq(acme_board_challenge_remove(board, 1, NULL), 1);
    ck_assert(by_token(&found, TOKEN) == ACME_AGAIN);
    /* Nothing of what was withdrawn is kept. */
    ck_assert_ptr_null(memmem(memory, memory_size, TOKEN, strlen(TOKEN)));
}
END_TEST

/* The i-th of a full table: names of their own, some in each row. */
static void nth_of(acme_board_challenge_t *c, int i, unsigned n)
{
    challenge_of(c, ACME_CH_TLSALPN01, apr_psprintf(pool, "n%d.example.org", i), n);
    c->row = 100 + i % 64;
}

static void fill(apr_time_t expires)
{
    acme_board_challenge_t c;
    int i;

    for (i = 0; i < ACME_BOARD_CHALLENGES; i++) {
        nth_of(&c, i, 1);
        c.expires = expires;
        ck_assert(acme_board_challenge_put(board, &c, NULL) == ACME_OK);
    }
}

START_TEST(a_full_table_says_so)
{
    acme_board_challenge_t c, other, found;
    acme_error_t err;

    acme_error_clear(&err);
    fill(apr_time_now() + apr_time_from_sec(3600));
    ck_assert_int_eq(acme_board_challenge_pending(board, ACME_CH_TLSALPN01),
                     ACME_BOARD_CHALLENGES);
    challenge_of(&c, ACME_CH_HTTP01, "one.example.org", 1);
    ck_assert(acme_board_challenge_put(board, &c, &err) == ACME_FAIL);
    ck_assert_str_eq(err.code, "AC0405");
    ck_assert_int_eq(err.kind, ACME_E_CHALLENGE);
    /* None was pushed out, and the last one is found as well as the first; there is room to replace
     * one, and again after one has gone. */
    ck_assert(acme_board_challenge_by_sni(&found, board, ACME_CH_TLSALPN01, "n0.example.org", NOW)
              == ACME_OK);
    ck_assert(acme_board_challenge_by_sni(&found, board, ACME_CH_TLSALPN01,
                                          apr_psprintf(pool, "n%d.example.org",
                                                       ACME_BOARD_CHALLENGES - 1), NOW) == ACME_OK);
    nth_of(&other, 7, 9);
    ck_assert(acme_board_challenge_put(board, &other, NULL) == ACME_OK);
    ck_assert(acme_board_challenge_by_sni(&found, board, ACME_CH_TLSALPN01, "n7.example.org", NOW)
              == ACME_OK);
    ck_assert_str_eq(found.key_authorization, TOKEN ".9");
    ck_assert_int_eq(acme_board_challenge_remove(board, 109, "n9.example.org"), 1);
    ck_assert(acme_board_challenge_put(board, &c, NULL) == ACME_OK);
    ck_assert(by_token(&found, TOKEN) == ACME_OK);
}
END_TEST

START_TEST(room_is_made_of_what_has_expired)
{
    acme_board_challenge_t found;
    int row, removed = 0;

    fill(apr_time_now() - 1);
    ck_assert(challenge_put(ACME_CH_HTTP01, "one.example.org", 1) == ACME_OK);
    ck_assert(by_token(&found, TOKEN) == ACME_OK);
    ck_assert_int_eq(acme_board_challenge_pending(board, ACME_CH_HTTP01), 1);
    ck_assert_int_eq(acme_board_challenge_pending(board, ACME_CH_TLSALPN01),
                     ACME_BOARD_CHALLENGES - 1);
    for (row = 0; row < 200; row++) {
        removed += acme_board_challenge_remove(board, row, NULL);
    }
    ck_assert_int_eq(removed, ACME_BOARD_CHALLENGES);
}
END_TEST

START_TEST(a_challenge_of_no_sense_is_refused)
{
    acme_board_challenge_t c[6];
    acme_error_t err;
    int i;

    for (i = 0; i < COUNT(c); i++) {
        challenge_of(&c[i], ACME_CH_TLSALPN01, "example.org", 1);
    }
    c[0].type = ACME_CH_TYPES;
    memset(c[1].name, 'a', sizeof(c[1].name));
    memset(c[2].sni, 'a', sizeof(c[2].sni));
    memset(c[3].token, 'a', sizeof(c[3].token));
    c[4].cert_len[1] = sizeof(c[4].cert[1]) + 1;
    c[5].key_len[0] = sizeof(c[5].key[0]) + 1;
    for (i = 0; i < COUNT(c); i++) {
        acme_error_clear(&err);
        ck_assert(acme_board_challenge_put(board, &c[i], &err) == ACME_FAIL);
        ck_assert_str_eq(err.code, "AC0809");
    }
    ck_assert_int_eq(acme_board_challenge_pending(board, ACME_CH_TLSALPN01), 0);
}
END_TEST

/* ---- arrivals ---- */

#define PROCESSES 4
#define EACH 20000

START_TEST(all_children_count_together)
{
    acme_board_arrivals_t seen;
    pid_t pid[PROCESSES];
    int i, k, status;

    for (i = 0; i < PROCESSES; i++) {
        pid[i] = fork();
        ck_assert_int_ge(pid[i], 0);
        for (k = 0; pid[i] == 0 && k < EACH; k++) {
            acme_board_arrival(board, 1, k % 2 ? ACME_CH_HTTP01 : ACME_CH_TLSALPN01, i == 0,
                               k % 10 == 0);
            acme_board_stray(board);
        }
        if (pid[i] == 0) {
            _exit(0);
        }
    }
    for (i = 0; i < PROCESSES; i++) {
        ck_assert(waitpid(pid[i], &status, 0) == pid[i] && status == 0);
    }
    acme_board_arrivals_read(&seen, board, 1);
    ck_assert_uint_eq(seen.v6, EACH);
    ck_assert_uint_eq(seen.v4, (PROCESSES - 1) * EACH);
    ck_assert_uint_eq(seen.by_type[ACME_CH_HTTP01], PROCESSES * EACH / 2);
    ck_assert_uint_eq(seen.by_type[ACME_CH_TLSALPN01], PROCESSES * EACH / 2);
    ck_assert_uint_eq(seen.by_type[ACME_CH_TLSSNI01], 0);
    ck_assert_uint_eq(seen.foreign, PROCESSES * EACH / 10);
    ck_assert_uint_eq(acme_board_strays(board), PROCESSES * EACH);
    acme_board_arrivals_read(&seen, board, 0);
    ck_assert_uint_eq(seen.v4 + seen.v6 + seen.foreign + seen.by_type[0], 0);
}
END_TEST

START_TEST(arrivals_are_reset_by_row)
{
    acme_board_arrivals_t seen;

    acme_board_arrival(board, 0, ACME_CH_HTTP01, 0, 0);
    acme_board_arrival(board, 1, ACME_CH_HTTP01, 1, 1);
    acme_board_arrivals_reset(board, 1);
    acme_board_arrivals_read(&seen, board, 1);
    ck_assert_uint_eq(seen.v4 + seen.v6 + seen.foreign + seen.by_type[ACME_CH_HTTP01], 0);
    acme_board_arrivals_read(&seen, board, 0);
    ck_assert_uint_eq(seen.v4, 1);
    ck_assert_uint_eq(seen.by_type[ACME_CH_HTTP01], 1);
    /* A row or type out of range (a challenge of another board) counts nowhere. */
    acme_board_arrival(board, ROWS, ACME_CH_HTTP01, 0, 0);
    acme_board_arrival(board, -1, ACME_CH_HTTP01, 0, 0);
    acme_board_arrival(board, 0, ACME_CH_TYPES, 0, 0);
    acme_board_arrivals_reset(board, ROWS);
    acme_board_arrivals_read(&seen, board, 0);
    ck_assert_uint_eq(seen.v4, 1);
    acme_board_arrivals_read(&seen, board, ROWS);
    ck_assert_uint_eq(seen.v4, 0);
}
END_TEST

static TCase *case_of(const char *name)
{
    TCase *tc = tcase_create(name);

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 60);
    return tc;
}

Suite *board_suite(void)
{
    Suite *suite = suite_create("board");
    TCase *tc = case_of("contents");

    tcase_add_test(tc, another_layout_or_size_is_refused);
    tcase_add_test(tc, sizes_that_make_no_sense_are_none);
    tcase_add_test(tc, a_row_belongs_to_its_id);
    tcase_add_test(tc, numbers_stand_where_they_were_put);
    tcase_add_test(tc, a_live_certificate_comes_back);
    tcase_add_test(tc, generations_only_grow);
    tcase_add_test(tc, what_is_cleared_is_gone);
    tcase_add_test(tc, a_shorter_one_leaves_nothing_of_a_longer_one);
    tcase_add_loop_test(tc, what_is_too_big_leaves_the_former_one, 0, COUNT(sizes));
    tcase_add_test(tc, records_come_back);
    tcase_add_test(tc, a_status_comes_back_printable);
    suite_add_tcase(suite, tc);
    tc = case_of("damage");
    tcase_add_test(tc, a_damaged_live_certificate_is_never_returned);
    tcase_add_test(tc, no_row_passes_for_another);
    tcase_add_test(tc, damaged_records_fall_back_on_the_former_copy);
    tcase_add_test(tc, a_damaged_status_is_not_shown);
    tcase_add_test(tc, a_damaged_challenge_is_not_answered);
    suite_add_tcase(suite, tc);
    tc = case_of("writers");
    tcase_add_loop_test(tc, half_a_write_is_the_former_or_the_new, 0, COUNT(areas));
    tcase_add_loop_test(tc, a_writer_may_die_at_any_moment, 0, COUNT(areas));
    tcase_add_loop_test(tc, a_torn_read_is_never_returned, 0, COUNT(races));
    suite_add_tcase(suite, tc);
    tc = case_of("challenges");
    tcase_add_test(tc, a_token_is_found_exactly);
    tcase_add_test(tc, an_sni_is_found_for_its_type_only);
    tcase_add_test(tc, nobody_is_answered_after_the_end);
    tcase_add_test(tc, the_same_again_replaces_it);
    tcase_add_test(tc, a_full_table_says_so);
    tcase_add_test(tc, room_is_made_of_what_has_expired);
    tcase_add_test(tc, a_challenge_of_no_sense_is_refused);
    tcase_add_test(tc, all_children_count_together);
    tcase_add_test(tc, arrivals_are_reset_by_row);
    suite_add_tcase(suite, tc);
    return suite;
}
