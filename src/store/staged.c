/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#include "store/staged.h"

#include <string.h>
#include <apr_strings.h>
#include "crypto/digest.h"
#include "io/staging.h"
#include "store/pair.h"

/* ---- reading ---- */

acme_rv_t acme_staged_read(acme_staged_log_t *out, const char *path, uid_t uid, apr_size_t cap,
                           apr_pool_t *pool, acme_error_t *err)
{
    acme_file_t file;
    acme_rv_t rv = acme_file_read_head(&file, path, uid, cap, 1, pool, err);

    memset(out, 0, sizeof(*out));
    out->path = path;
    if (rv == ACME_AGAIN) {
        return ACME_OK;
    }
    out->there = 1;
    if (rv == ACME_OK) {
        out->size = file.size;
        out->data = file.data;
        out->len = file.len;
    }
    return rv;
}

void acme_staged_gather(apr_array_header_t *records, acme_staged_log_t *log, const char *id,
                        apr_pool_t *pool)
{
    apr_size_t state = 0;
    acme_record_t rec;

    while (log->len > 0
           && acme_record_next(&rec, &state, log->data, log->len, &log->damaged, pool)
                  == ACME_OK) {
        if (strcmp(rec.id, id) == 0 && rec.seq <= ACME_SEQ_MAX) {
            APR_ARRAY_PUSH(records, acme_record_t) = rec;
        }
    }
}

apr_hash_t *acme_staged_split(acme_staged_log_t *log, apr_pool_t *pool)
{
    apr_hash_t *by_id = apr_hash_make(pool);
    apr_array_header_t *records;
    apr_size_t state = 0;
    acme_record_t rec;

    while (log->len > 0
           && acme_record_next(&rec, &state, log->data, log->len, &log->damaged, pool)
                  == ACME_OK) {
        if (rec.seq > ACME_SEQ_MAX) {
            continue;
        }
        records = apr_hash_get(by_id, rec.id, APR_HASH_KEY_STRING);
        if (records == NULL) {
            records = apr_array_make(pool, 4, sizeof(acme_record_t));
            apr_hash_set(by_id, rec.id, APR_HASH_KEY_STRING, records);
        }
        APR_ARRAY_PUSH(records, acme_record_t) = rec;
    }
    return by_id;
}

/* ---- choosing ---- */

typedef struct {
    const apr_array_header_t *records;
    const acme_staged_want_t *want;
    apr_pool_t *pool;
    int lenient;                               /* want->or_else, after all failed */
    int keys;                                  /* looked at so far */
    const acme_record_t *next_key;             /* the last one that was */
    acme_key_t *key[ACME_STAGED_KEYS_MAX];     /* NULL: no key of ours */
    const char *digest[ACME_STAGED_KEYS_MAX];
} chooser_t;

/* Newest first: by number, of equal ones the later in the log. NULL: none older than before. */
static const acme_record_t *older(const apr_array_header_t *records, acme_record_type_t type,
                                  const acme_record_t *before)
{
    const acme_record_t *best = NULL;
    const acme_record_t *rec;
    int i;

    for (i = 0; i < records->nelts; i++) {
        rec = &APR_ARRAY_IDX(records, i, const acme_record_t);
        if (rec->type != type
            || (before != NULL
                && (rec->seq > before->seq || (rec->seq == before->seq && rec >= before)))) {
            continue;
        }
        if (best == NULL || rec->seq >= best->seq) {
            best = rec;
        }
    }
    return best;
}

/* The key with this digest; each record is parsed once at most. */
static acme_key_t *find_key(chooser_t *self, const char *digest)
{
    const acme_record_t *rec;
    int i;

    for (i = 0; i < ACME_STAGED_KEYS_MAX; i++) {
        if (i == self->keys) {
            rec = older(self->records, ACME_REC_KEY, self->next_key);
            if (rec == NULL) {
                return NULL;
            }
            self->next_key = rec;
            self->keys++;
            if (rec->len > ACME_KEY_FILE_MAX
                || acme_key_from_pem(&self->key[i], rec->payload, rec->len, self->pool, NULL)
                       != ACME_OK) {
                self->key[i] = NULL;
                continue;
            }
            self->digest[i] = acme_key_digest(self->key[i], self->pool);
        }
        if (self->key[i] != NULL && self->digest[i] != NULL
            && strcmp(self->digest[i], digest) == 0) {
            return self->key[i];
        }
    }
    return NULL;
}

/* A certificate for the key that is in service already (AcmeKeyReuse). */
static acme_key_t *live_key(chooser_t *self, const char *digest)
{
    const acme_staged_want_t *want = self->want;
    acme_file_t file;
    acme_key_t *key;

    if (want->live_key_digest == NULL || strcmp(want->live_key_digest, digest) != 0
        || acme_file_read(&file, want->key_path, want->uid, ACME_KEY_FILE_MAX, 0, 1, self->pool,
                          NULL) != ACME_OK
        || acme_key_from_pem(&key, file.data, file.len, self->pool, NULL) != ACME_OK) {
        return NULL;
    }
    return strcmp(acme_key_digest(key, self->pool), digest) == 0 ? key : NULL;
}

static int directory_listed(const acme_spec_t *spec, const char *directory)
{
    int i;

    for (i = 0; i < spec->cas->nelts; i++) {
        if (strcmp(APR_ARRAY_IDX(spec->cas, i, const acme_ca_t *)->directory_url, directory)
            == 0) {
            return 1;
        }
    }
    return 0;
}

/* What a child wrote beside the chain, as far as it is believed. */
static void issued_clean(acme_issued_t *issued, apr_time_t now)
{
    acme_challenge_type_t type;

    if (acme_challenge_type_parse(&type, issued->challenge) == ACME_OK) {
        issued->challenge = acme_challenge_type_name(type);
    }
    else {
        issued->challenge = "";
    }
    if (issued->issued > now) {
        issued->issued = now;
    }
}

static acme_rv_t fits_first_name(const acme_leaf_t *leaf, const acme_spec_t *spec,
                                 acme_error_t *err)
{
    if (acme_names_contain(leaf->names, APR_ARRAY_IDX(spec->names, 0, const char *))) {
        return ACME_OK;
    }
    return acme_error_set(err, ACME_E_STORE, NULL, "obtained for names that are not configured "
                          "now");
}

static acme_rv_t fits_spec(const acme_issued_t *issued, const acme_spec_t *spec,
                           acme_error_t *err)
{
    if (strcmp(issued->spec_digest, spec->digest) != 0) {
        return acme_error_set(err, ACME_E_STORE, NULL,
                              "obtained for names, key type or profile that are not configured "
                              "now");
    }
    if (issued->left_out != NULL && !acme_spec_may_lack(spec, issued->left_out)) {
        return acme_error_set(err, ACME_E_STORE, NULL, "obtained without a name that is wanted");
    }
    if (!directory_listed(spec, issued->directory)) {
        return acme_error_set(err, ACME_E_STORE, NULL, "its CA %s is not configured",
                              issued->directory);
    }
    return ACME_OK;
}

static acme_rv_t fits_live(const acme_leaf_t *leaf, const acme_staged_want_t *want,
                           acme_error_t *err)
{
    if (leaf->self_issued) {
        return acme_error_set(err, ACME_E_SECURITY, NULL, "self-signed");
    }
    if (want->live_not_before != 0 && leaf->not_before < want->live_not_before) {
        return acme_error_set(err, ACME_E_SECURITY, NULL, "older than the certificate in service");
    }
    return ACME_OK;
}

static acme_rv_t pair_take(acme_staged_t *out, chooser_t *self, const acme_chain_t *chain,
                           acme_key_t *key, acme_error_t *err)
{
    const acme_leaf_t *leaf = &out->leaf;
    acme_chain_t *checked;
    const apr_array_header_t *names = leaf->names;
    acme_chain_want_t want;
    int dropped;

    if (!self->lenient) {
        (void)acme_spec_names_without(&names, self->want->spec, out->issued.left_out, self->pool);
    }
    memset(&want, 0, sizeof(want));
    want.names = names;
    want.key = key;
    want.key_type = self->lenient ? leaf->key_type : self->want->spec->key_type;
    want.now = self->lenient ? leaf->not_before : self->want->now;
    want.must_staple = self->lenient || self->want->spec->must_staple;
    want.allow_future_not_before = 1;
    if (acme_chain_check(&checked, &dropped, chain, &want, self->pool, err) != ACME_OK) {
        return ACME_FAIL;
    }
    out->chain_pem = acme_chain_to_pem(checked, self->pool);
    out->key_pem = acme_key_to_pem(key, self->pool);
    if (out->chain_pem == NULL || out->key_pem == NULL) {
        return acme_error_set(err, ACME_E_INTERNAL, NULL, "it cannot be written as PEM");
    }
    return ACME_OK;
}

/* ACME_AGAIN: there is no key for it. */
static acme_rv_t examine(acme_staged_t *out, chooser_t *self, const acme_record_t *rec,
                         acme_error_t *err)
{
    const acme_staged_want_t *want = self->want;
    acme_chain_t *chain;
    const char *pem;
    apr_size_t pem_len;
    acme_key_t *key;

    if (acme_certificate_payload_parse(&out->issued, &pem, &pem_len, rec->payload, rec->len,
                                       self->pool, err) != ACME_OK
        || acme_chain_from_pem(&chain, pem, pem_len, self->pool, err) != ACME_OK
        || acme_chain_leaf(&out->leaf, chain, self->pool, err) != ACME_OK) {
        return ACME_FAIL;
    }
    if (want->live_fingerprint != NULL
        && strcmp(out->leaf.fingerprint, want->live_fingerprint) == 0
        && strcmp(out->leaf.key_digest, out->issued.key_digest) == 0
        && directory_listed(want->spec, out->issued.directory)) {
        out->same = 1;
        issued_clean(&out->issued, want->now);
        return ACME_OK;
    }
    if ((self->lenient ? fits_first_name(&out->leaf, want->spec, err)
                       : fits_spec(&out->issued, want->spec, err)) != ACME_OK
        || fits_live(&out->leaf, want, err) != ACME_OK) {
        return ACME_FAIL;
    }
    key = find_key(self, out->issued.key_digest);
    if (key == NULL) {
        key = live_key(self, out->issued.key_digest);
    }
    if (key == NULL) {
        return ACME_AGAIN;
    }
    issued_clean(&out->issued, want->now);
    return pair_take(out, self, chain, key, err);
}

static void reject(acme_staged_t *out, const acme_record_t *rec, acme_rv_t rv,
                   const acme_error_t *err, apr_pool_t *pool)
{
    acme_staged_reject_t *one = apr_array_push(out->rejected);

    one->certificate = rec;
    one->code = rv == ACME_AGAIN ? "AC0604" : "AC0605";
    one->why = rv == ACME_AGAIN ? "no key for it was staged" : apr_pstrdup(pool, err->text);
}

static void find_newest(acme_staged_t *out, const apr_array_header_t *records)
{
    const acme_record_t *rec;
    int i;

    for (i = 0; i < records->nelts; i++) {
        rec = &APR_ARRAY_IDX(records, i, const acme_record_t);
        if (out->newest[rec->type] == NULL || rec->seq >= out->newest[rec->type]->seq) {
            out->newest[rec->type] = rec;
        }
        if (rec->seq > out->last_seq) {
            out->last_seq = rec->seq;
        }
    }
}

static void choose(acme_staged_t *out, chooser_t *self)
{
    const acme_record_t *rec = NULL;
    apr_int64_t live_seq;
    acme_error_t err;
    acme_rv_t rv;
    int i;

    live_seq = out->newest[ACME_REC_LIVE] != NULL ? out->newest[ACME_REC_LIVE]->seq : 0;
    apr_array_clear(out->rejected);
    for (i = 0; i < ACME_STAGED_PAIRS_MAX; i++) {
        rec = older(self->records, ACME_REC_CERTIFICATE, rec);
        if (rec == NULL || rec->seq <= live_seq) {
            return;
        }
        acme_error_clear(&err);
        rv = examine(out, self, rec, &err);
        if (rv == ACME_OK) {
            out->chosen = rec;
            return;
        }
        reject(out, rec, rv, &err, self->pool);
    }
}

void acme_staged_choose(acme_staged_t *out, const apr_array_header_t *records,
                        const acme_staged_want_t *want, apr_pool_t *pool)
{
    chooser_t self;

    memset(out, 0, sizeof(*out));
    memset(&self, 0, sizeof(self));
    self.records = records;
    self.want = want;
    self.pool = pool;
    out->rejected = apr_array_make(pool, 1, sizeof(acme_staged_reject_t));
    find_newest(out, records);
    if (want->spec == NULL) {
        return;
    }
    choose(out, &self);
    if (out->chosen == NULL && out->rejected->nelts > 0 && want->or_else) {
        self.lenient = 1;
        choose(out, &self);
    }
}

/* ---- carrying over ---- */

typedef struct {
    acme_record_t rec[ACME_REC_TYPES];
    int n;
} list_t;

/* Everything up to this number is done with. */
static apr_int64_t floor_of(const acme_staged_t *staged, int after)
{
    const acme_record_t *live = staged->newest[ACME_REC_LIVE];
    const acme_record_t *certificate = staged->newest[ACME_REC_CERTIFICATE];
    apr_int64_t seq = live != NULL ? live->seq : 0;

    return after && certificate != NULL && certificate->seq > seq ? certificate->seq : seq;
}

static int wanted(const acme_staged_t *staged, acme_record_type_t type, int after)
{
    const acme_record_t *rec = staged->newest[type];

    if (rec == NULL) {
        return 0;
    }
    switch (type) {
    case ACME_REC_ORDER:
    case ACME_REC_KEY:
        return rec->seq > floor_of(staged, after);
    case ACME_REC_ATTEMPT:
        return rec->seq > (after && staged->chosen != NULL ? staged->chosen->seq
                                                           : floor_of(staged, 0));
    case ACME_REC_CERTIFICATE:
        return !after && rec->seq > floor_of(staged, 0);
    case ACME_REC_LIVE:
        return !after || staged->chosen == NULL;
    case ACME_REC_ARI:
    case ACME_REC_CLEANUP:
    case ACME_REC_ACCOUNT:
    case ACME_REC_ROLLOVER:
    case ACME_REC_NOTIFY:
    case ACME_REC_TYPES:
        break;
    }
    return 1;
}

/* The live record of the chosen pair; its number is the certificate record's. */
static void live_of(acme_record_t *out, const acme_staged_t *staged, apr_time_t now,
                    apr_pool_t *pool)
{
    memset(out, 0, sizeof(*out));
    out->type = ACME_REC_LIVE;
    out->seq = staged->chosen->seq;
    out->time = now;
    out->payload = acme_certificate_payload(&out->len, &staged->issued, NULL, pool);
}

static void insert(list_t *list, const acme_record_t *rec)
{
    int at = list->n++;

    for (; at > 0 && list->rec[at - 1].seq > rec->seq; at--) {
        list->rec[at] = list->rec[at - 1];
    }
    list->rec[at] = *rec;
}

static const char *joined(apr_size_t *len, const list_t *list, int keys, int others,
                          apr_pool_t *pool)
{
    char *out, *at;
    int i;

    *len = 0;
    for (i = 0; i < list->n; i++) {
        *len += (list->rec[i].type == ACME_REC_KEY ? keys : others) ? list->rec[i].raw_len : 0;
    }
    out = (char *)acme_staged_copy(NULL, *len, pool);
    at = out;
    for (i = 0; i < list->n; i++) {
        if (list->rec[i].type == ACME_REC_KEY ? keys : others) {
            memcpy(at, list->rec[i].raw, list->rec[i].raw_len);
            at += list->rec[i].raw_len;
        }
    }
    return out;
}

acme_rv_t acme_staged_carry(acme_carried_t *out, const acme_staged_t *staged, const char *id,
                            int after, apr_time_t now, apr_pool_t *pool, acme_error_t *err)
{
    int renumber = staged->last_seq > ACME_SEQ_HIGH;
    acme_record_t live;
    list_t list;
    int i;

    memset(out, 0, sizeof(*out));
    list.n = 0;
    for (i = 0; i < ACME_REC_TYPES; i++) {
        if (wanted(staged, (acme_record_type_t)i, after)) {
            insert(&list, staged->newest[i]);
        }
    }
    if (after && staged->chosen != NULL) {
        live_of(&live, staged, now, pool);
        insert(&list, &live);
    }
    for (i = 0; i < list.n; i++) {
        acme_record_t *rec = &list.rec[i];

        if (!renumber && rec->raw != NULL) {
            continue; /* copied unchanged */
        }
        rec->id = id;
        rec->seq = renumber ? i + 1 : rec->seq;
        if (acme_record_encode(&rec->raw, &rec->raw_len, rec, pool, err) != ACME_OK) {
            return ACME_FAIL;
        }
    }
    out->log = joined(&out->log_len, &list, 0, 1, pool);
    out->key_log = joined(&out->key_log_len, &list, 1, 0, pool);
    out->all = joined(&out->all_len, &list, 1, 1, pool);
    return ACME_OK;
}

/* ---- secrets ---- */

const char *acme_staged_copy(const char *data, apr_size_t len, apr_pool_t *pool)
{
    char *copy = apr_palloc(pool, len + 1);

    if (data != NULL && len > 0) {
        memcpy(copy, data, len);
    }
    copy[len] = '\0';
    acme_cleanse_with(pool, copy, len);
    return copy;
}
