/* Licensed under the Apache License, Version 2.0; see LICENSE. */

#include <stdlib.h>
#include <string.h>

#include <apr_general.h>
#include <apr_strings.h>
#include <apr_time.h>
#include <check.h>

#include "protocol/record.h"

#define COUNT(table) ((int)(sizeof(table) / sizeof((table)[0])))
#define NOW apr_time_from_sec(APR_INT64_C(1795529967))

/* Digest by: printf 'acme1 example.org attempt 7 14 2026-11-24T14:19:27Z{"failures":2}' | sha256sum
 */
#define HEAD "acme1 example.org attempt 7 14 "
#define DIGEST "1689aeb4d6e3924cabadc555f4f277eef6cdf8ad89ece84c7986d05443ee005b"
#define REST " 2026-11-24T14:19:27Z\n{\"failures\":2}\n"

Suite *record_suite(void);

static apr_pool_t *pool;

static void setup(void)
{
    apr_initialize();
    apr_pool_create(&pool, NULL);
}

static void teardown(void)
{
    apr_pool_destroy(pool);
}

static const char *encode(apr_size_t *len, const char *id, acme_record_type_t type,
                          apr_int64_t seq, const char *payload)
{
    acme_record_t rec;
    const char *bytes;

    memset(&rec, 0, sizeof(rec));
    rec.id = id;
    rec.type = type;
    rec.seq = seq;
    rec.time = NOW;
    rec.payload = payload;
    rec.len = strlen(payload);
    ck_assert_int_eq(acme_record_encode(&bytes, len, &rec, pool, NULL), ACME_OK);
    return bytes;
}

START_TEST(the_bytes_are_the_documented_ones)
{
    apr_size_t len;
    const char *bytes = encode(&len, "example.org", ACME_REC_ATTEMPT, 7, "{\"failures\":2}");

    ck_assert_str_eq(bytes, HEAD DIGEST REST);
    ck_assert_uint_eq(len, strlen(HEAD DIGEST REST));
}
END_TEST

static const struct {
    const char *id;
    apr_int64_t seq;
    apr_size_t len;
} refused[] = {
    {"", 1, 1}, {".hidden", 1, 1}, {"a b", 1, 1}, {"a/b", 1, 1}, {"a\nb", 1, 1}, {"a\x80", 1, 1},
    {"a", 0, 1}, {"a", -1, 1}, {"a", APR_INT64_MAX, 1}, {"a", 1, ACME_RECORD_PAYLOAD_MAX + 1},
};

START_TEST(what_cannot_be_read_is_not_written)
{
    char *payload = calloc(1, ACME_RECORD_PAYLOAD_MAX + 1);
    acme_record_t rec;
    acme_error_t err;
    const char *bytes;
    apr_size_t len;

    memset(&rec, 0, sizeof(rec));
    acme_error_clear(&err);
    rec.id = refused[_i].id;
    rec.seq = refused[_i].seq;
    rec.time = NOW;
    rec.payload = payload;
    rec.len = refused[_i].len;
    ck_assert_int_eq(acme_record_encode(&bytes, &len, &rec, pool, &err), ACME_FAIL);
    ck_assert_int_eq(err.kind, ACME_E_STORE);
    rec.id = "a";
    rec.seq = 1;
    rec.payload = HEAD DIGEST REST;
    rec.len = strlen(rec.payload);
    ck_assert_int_eq(acme_record_encode(&bytes, &len, &rec, pool, NULL), ACME_FAIL);
    free(payload);
}
END_TEST

typedef struct {
    const char *bytes;
    apr_size_t len, first; /* of both; of the first */
} two_t;

static two_t two_records(void)
{
    apr_size_t a, b;
    const char *one = encode(&a, "example.org", ACME_REC_ORDER, 3, "{\"step\":\"validate\"}");
    const char *other = encode(&b, "_wildcard.example.org", ACME_REC_KEY, 4, "line\nline\n");
    two_t two;

    two.bytes = apr_pstrcat(pool, one, other, NULL);
    two.len = a + b;
    two.first = a;
    return two;
}

/* The intact records of a buffer of its own, so that a read past its end is seen. Bits: 1 the first
 * of two_records, 2 the second, 4 anything else. */
static int found(const char *data, apr_size_t len, int *damaged)
{
    char *copy = malloc(len ? len : 1);
    acme_record_t rec;
    apr_pool_t *sub;
    apr_size_t state = 0;
    int bits = 0;

    *damaged = 0;
    memcpy(copy, data, len);
    apr_pool_create(&sub, pool);
    while (acme_record_next(&rec, &state, copy, len, damaged, sub) == ACME_OK) {
        if (!strcmp(rec.id, "example.org") && rec.type == ACME_REC_ORDER && rec.seq == 3
            && rec.time == NOW && rec.len == 19
            && !memcmp(rec.payload, "{\"step\":\"validate\"}", 19)) {
            bits |= 1;
        }
        else if (!strcmp(rec.id, "_wildcard.example.org") && rec.type == ACME_REC_KEY
                 && rec.seq == 4 && rec.time == NOW && rec.len == 10
                 && !memcmp(rec.payload, "line\nline\n", 10)) {
            bits |= 2;
        }
        else {
            bits |= 4;
        }
    }
    apr_pool_destroy(sub);
    free(copy);
    return bits;
}

START_TEST(every_truncation_keeps_what_is_whole)
{
    two_t two = two_records();
    apr_size_t cut;
    int damaged;

    for (cut = 0; cut <= two.len; cut++) {
        ck_assert_int_eq(found(two.bytes, cut, &damaged),
                         cut == two.len ? 3 : cut >= two.first ? 1 : 0);
        ck_assert_int_eq(damaged, cut != 0 && cut != two.first && cut != two.len);
        ck_assert_int_eq(found(two.bytes + cut, two.len - cut, &damaged),
                         cut == 0 ? 3 : cut <= two.first ? 2 : 0);
    }
}
END_TEST

START_TEST(every_flip_costs_its_own_record_only)
{
    two_t two = two_records();
    char *bytes = apr_pmemdup(pool, two.bytes, two.len);
    apr_size_t at;
    int damaged, bit;

    for (at = 0; at < two.len; at++) {
        for (bit = 0; bit < 8; bit++) {
            bytes[at] = (char)(bytes[at] ^ 1 << bit);
            ck_assert_int_eq(found(bytes, two.len, &damaged), at < two.first ? 2 : 1);
            ck_assert_int_eq(damaged, 1);
            bytes[at] = (char)(bytes[at] ^ 1 << bit);
        }
    }
}
END_TEST

START_TEST(a_torn_middle_costs_nothing_else)
{
    two_t two = two_records();
    apr_size_t cut;
    int damaged;

    for (cut = 1; cut < two.first; cut++) {
        const char *torn = apr_pstrcat(pool, apr_pstrmemdup(pool, two.bytes, cut), two.bytes, NULL);

        ck_assert_int_eq(found(torn, cut + two.len, &damaged), 3);
        ck_assert_int_eq(damaged, 1);
    }
}
END_TEST

START_TEST(a_log_of_lies_is_read_in_linear_time)
{
    static const char line[] = "acme1 a key 1 262144 " DIGEST " 2026-11-24T14:19:27Z\n";
    apr_size_t n = ACME_LOG_CAP / (sizeof(line) - 1);
    char *bytes = malloc(n * (sizeof(line) - 1));
    apr_time_t started = apr_time_now();
    acme_record_t rec;
    apr_size_t state = 0;
    apr_size_t i;
    int damaged = 0;

    for (i = 0; i < n; i++) {
        memcpy(bytes + i * (sizeof(line) - 1), line, sizeof(line) - 1);
    }
    ck_assert_int_eq(acme_record_next(&rec, &state, bytes, n * (sizeof(line) - 1), &damaged, pool),
                     ACME_AGAIN);
    ck_assert_int_eq(damaged, 1);
    ck_assert_int_lt(apr_time_now() - started, 2 * APR_USEC_PER_SEC);
    memset(bytes, 'a', n * (sizeof(line) - 1));
    state = 0;
    ck_assert_int_eq(acme_record_next(&rec, &state, bytes, n * (sizeof(line) - 1), NULL, pool),
                     ACME_AGAIN);
    free(bytes);
}
END_TEST

START_TEST(the_newest_of_each_type_counts)
{
    apr_size_t len;
    const char *log = apr_pstrcat(pool, encode(&len, "a", ACME_REC_ORDER, 5, "five"),
                                  encode(&len, "b", ACME_REC_ORDER, 9, "other"),
                                  encode(&len, "a", ACME_REC_ORDER, 4, "four"),
                                  encode(&len, "a", ACME_REC_KEY, 6, "first"),
                                  encode(&len, "a", ACME_REC_KEY, 6, "later"), NULL);
    const char *newer = encode(&len, "a", ACME_REC_ORDER, 8, "eight");
    const char *older = encode(&len, "a", ACME_REC_KEY, 2, "old");
    acme_record_set_t set, more;

    acme_record_collect(&set, "a", log, strlen(log), pool);
    ck_assert(set.present[ACME_REC_ORDER] && set.present[ACME_REC_KEY]);
    ck_assert(!set.present[ACME_REC_ATTEMPT] && !set.damaged);
    ck_assert_int_eq(set.last_seq, 6);
    ck_assert_int_eq(set.rec[ACME_REC_ORDER].seq, 5);
    ck_assert_mem_eq(set.rec[ACME_REC_KEY].payload, "later", 5);
    acme_record_collect(&more, "a", newer, strlen(newer), pool);
    acme_record_merge(&set, &more);
    acme_record_collect(&more, "a", older, strlen(older), pool);
    acme_record_merge(&set, &more);
    ck_assert_int_eq(set.last_seq, 8);
    ck_assert_mem_eq(set.rec[ACME_REC_ORDER].payload, "eight", 5);
    ck_assert_mem_eq(set.rec[ACME_REC_KEY].payload, "later", 5);
}
END_TEST

START_TEST(a_certificate_record_comes_back)
{
    acme_issued_t in = {"00ff", "https://ca.example/dir", "spec", "http-01", NULL, NOW};
    const char *payload, *chain;
    apr_size_t len, chain_len;
    acme_issued_t out;

    payload = acme_certificate_payload(&len, &in, "-----BEGIN\n", pool);
    ck_assert_int_eq(acme_certificate_payload_parse(&out, &chain, &chain_len, payload, len, pool,
                                                    NULL), ACME_OK);
    ck_assert_str_eq(out.key_digest, in.key_digest);
    ck_assert_str_eq(out.directory, in.directory);
    ck_assert_str_eq(out.spec_digest, in.spec_digest);
    ck_assert_str_eq(out.challenge, in.challenge);
    ck_assert_int_eq(out.issued, NOW);
    ck_assert_uint_eq(chain_len, 11);
    ck_assert_mem_eq(chain, "-----BEGIN\n", 11);
    ck_assert_int_eq(acme_certificate_payload_parse(&out, &chain, &chain_len, payload,
                                                    (apr_size_t)(strchr(payload, '\n') - payload),
                                                    pool, NULL), ACME_OK);
    ck_assert_uint_eq(chain_len, 0);
}
END_TEST

static const char *const bad_issued[] = {
    "", "\n", "{}", "[]\n", "{\"key\":1}\n",
    "{\"key\":\"k\",\"directory\":\"d\",\"spec\":\"s\",\"issued\":\"yesterday\"}\nchain",
    "{\"key\":\"k\",\"directory\":\"d\",\"issued\":\"2026-11-24T14:19:27Z\"}\nchain",
};

START_TEST(a_bad_certificate_record_is_refused)
{
    const char *chain;
    acme_issued_t out;
    acme_error_t err;
    apr_size_t len;

    acme_error_clear(&err);
    ck_assert_int_eq(acme_certificate_payload_parse(&out, &chain, &len, bad_issued[_i],
                                                    strlen(bad_issued[_i]), pool, &err), ACME_FAIL);
    ck_assert_int_ne(err.kind, ACME_E_NONE);
}
END_TEST

Suite *record_suite(void)
{
    Suite *suite = suite_create("record");
    TCase *tc = tcase_create("record");

    tcase_set_timeout(tc, 30);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, the_bytes_are_the_documented_ones);
    tcase_add_loop_test(tc, what_cannot_be_read_is_not_written, 0, COUNT(refused));
    tcase_add_test(tc, every_truncation_keeps_what_is_whole);
    tcase_add_test(tc, every_flip_costs_its_own_record_only);
    tcase_add_test(tc, a_torn_middle_costs_nothing_else);
    tcase_add_test(tc, a_log_of_lies_is_read_in_linear_time);
    tcase_add_test(tc, the_newest_of_each_type_counts);
    tcase_add_test(tc, a_certificate_record_comes_back);
    tcase_add_loop_test(tc, a_bad_certificate_record_is_refused, 0, COUNT(bad_issued));
    suite_add_tcase(suite, tc);
    return suite;
}
