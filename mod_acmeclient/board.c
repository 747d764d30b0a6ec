/* Licensed under the Apache License, Version 2.0; see LICENSE. */

/* The board's mapping: anonymous, made by root, kept over graceful restarts so that both
 * generations of children see the same one. Which row belongs to which certificate is remembered in
 * root's own memory; root takes nothing from the mapping but generation numbers. */

#include "mod_acmeclient.h"

#include <sys/mman.h>

#include "http_core.h"

#define ROWS_TO_SPARE 64
#define GENERATION_MAX (APR_UINT64_C(1) << 48) /* more swaps than there can have been */

typedef struct {
    int at;
    apr_uint64_t settled;    /* up to here all that was live is on disk, or was refused */
    apr_uint64_t generation; /* when the board was given up for a larger one */
} row_t;

typedef struct {
    void *memory;
    apr_size_t size;
    int rows, used;
    apr_hash_t *row_of; /* id -> row_t *, in the process pool */
    /* The one before, while its last owner may have left something there. */
    void *former_memory;
    apr_size_t former_size;
    apr_hash_t *former_row_of;
} kept_board_t;

static const char *kept_key(apr_pool_t *pool)
{
    return apr_psprintf(pool, "acmeclient_board_%d_%" APR_SIZE_T_FMT, ACME_BOARD_LAYOUT,
                        sizeof(kept_board_t));
}

/* A board that is too small: its owner has to stop, what it leaves is for the next one. */
static void give_up(kept_board_t *kept, apr_pool_t *pool)
{
    acme_board_t *board;
    apr_hash_index_t *i;

    /* Children that still use the one before have a mapping of their own. */
    if (kept->former_memory && kept->former_memory != kept->memory) {
        munmap(kept->former_memory, kept->former_size);
    }
    kept->former_memory = NULL;
    if (!kept->memory
        || acme_board_attach(&board, kept->memory, kept->size, pool, NULL) != ACME_OK) {
        return;
    }
    for (i = apr_hash_first(pool, kept->row_of); i; i = apr_hash_next(i)) {
        row_t *row = apr_hash_this_val(i);

        row->generation = acme_board_row_generation(board, row->at);
        if (row->generation > GENERATION_MAX) {
            row->generation = GENERATION_MAX;
        }
    }
    kept->former_memory = kept->memory;
    kept->former_size = kept->size;
    kept->former_row_of = kept->row_of;
    acme_board_config_next(board);
}

static int make(kept_board_t *kept, int rows, apr_pool_t *process_pool, const acme_log_t *log)
{
    apr_size_t size = acme_board_size(rows);
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (memory == MAP_FAILED) {
        acme_log(log, ACME_LOG_ERR, "AC0840", NULL,
                 "no shared memory of %" APR_SIZE_T_FMT " bytes: %s; certificates are served from "
                 "their files, none is ordered", size, strerror(errno));
        return 0;
    }
#ifdef MADV_DONTDUMP
    madvise(memory, size, MADV_DONTDUMP);
#endif
    acme_board_format(memory, size, rows);
    /* An older, smaller board stays mapped: children of an older generation go on using it. */
    kept->memory = memory;
    kept->size = size;
    kept->rows = rows;
    kept->used = 0;
    kept->row_of = apr_hash_make(process_pool);
    return 1;
}

static int row_for(kept_board_t *kept, acme_board_t *board, const char *id,
                   apr_pool_t *process_pool)
{
    row_t *row = apr_hash_get(kept->row_of, id, APR_HASH_KEY_STRING);

    if (!row) {
        row = apr_pcalloc(process_pool, sizeof(*row));
        row->at = kept->used++;
        apr_hash_set(kept->row_of, apr_pstrdup(process_pool, id), APR_HASH_KEY_STRING, row);
        acme_board_row_assign(board, row->at, id);
    }
    return row->at;
}

static int rows_missing(const kept_board_t *kept, const acmod_run_t *run)
{
    int i, missing = run->conf->cas->nelts;

    for (i = 0; i < run->conf->specs->nelts; i++) {
        const acme_spec_t *spec = APR_ARRAY_IDX(run->conf->specs, i, const acme_spec_t *);

        missing += !apr_hash_get(kept->row_of, spec->id, APR_HASH_KEY_STRING);
    }
    return missing;
}

static const char *spec_row_id(const acmod_run_t *run, int i)
{
    return APR_ARRAY_IDX(run->conf->specs, i, const acme_spec_t *)->id;
}

static const char *account_row_id(const acmod_run_t *run, int i, apr_pool_t *pool)
{
    const acme_ca_t *ca = APR_ARRAY_IDX(run->conf->cas, i, const acme_ca_t *);

    return apr_pstrcat(pool, "account ", ca->auth_path, NULL);
}

static int former_row(const kept_board_t *kept, const char *id, apr_uint64_t *generation)
{
    const row_t *row = apr_hash_get(kept->former_row_of, id, APR_HASH_KEY_STRING);

    *generation = row ? row->generation : 0;
    return row ? row->at : -1;
}

static void open_former(acmod_run_t *run, const kept_board_t *kept, apr_pool_t *pconf)
{
    int i, n = run->conf->specs->nelts, m = run->conf->cas->nelts;
    apr_uint64_t unused;

    if (!kept->former_memory
        || acme_board_attach(&run->former, kept->former_memory, kept->former_size, pconf, NULL)
           != ACME_OK) {
        run->former = NULL;
        return;
    }
    run->former_rows = apr_pcalloc(pconf, sizeof(int) * (apr_size_t)(n + 1));
    run->former_account_rows = apr_pcalloc(pconf, sizeof(int) * (apr_size_t)(m + 1));
    run->former_baseline = apr_pcalloc(pconf, sizeof(apr_uint64_t) * (apr_size_t)(n + 1));
    for (i = 0; i < n; i++) {
        run->former_rows[i] = former_row(kept, spec_row_id(run, i), &run->former_baseline[i]);
    }
    for (i = 0; i < m; i++) {
        run->former_account_rows[i] = former_row(kept, account_row_id(run, i, pconf), &unused);
    }
}

/* Children write there: what one of them has spoilt is replaced, not kept for ever. */
static int sound(const kept_board_t *kept, apr_pool_t *pool)
{
    acme_board_t *board;
    int i;

    if (acme_board_attach(&board, kept->memory, kept->size, pool, NULL) != ACME_OK) {
        return 0;
    }
    for (i = 0; i < kept->used; i++) {
        if (acme_board_row_generation(board, i) > GENERATION_MAX) {
            return 0;
        }
    }
    return 1;
}

void acmod_board_open(acmod_run_t *run, apr_pool_t *pconf)
{
    apr_pool_t *process_pool = run->base->process->pool;
    const char *key = kept_key(pconf);
    kept_board_t *kept = ap_retained_data_get(key);
    acme_error_t err;
    int i, n = run->conf->specs->nelts, m = run->conf->cas->nelts;

    run->rows = apr_pcalloc(pconf, sizeof(int) * (apr_size_t)(n + 1));
    run->account_rows = apr_pcalloc(pconf, sizeof(int) * (apr_size_t)(m + 1));
    run->baseline = apr_pcalloc(pconf, sizeof(apr_uint64_t) * (apr_size_t)(n + m + 1));
    for (i = 0; i < n; i++) {
        run->rows[i] = -1;
    }
    if (!kept) {
        kept = ap_retained_data_create(key, sizeof(*kept));
    }
    if (!kept->memory || kept->used + rows_missing(kept, run) > kept->rows
        || !sound(kept, pconf)) {
        give_up(kept, pconf);
        if (!make(kept, 2 * (n + m) + ROWS_TO_SPARE, process_pool, &run->log)) {
            return;
        }
    }
    acme_error_clear(&err);
    if (acme_board_attach(&run->board, kept->memory, kept->size, pconf, &err) != ACME_OK) {
        acme_log(&run->log, ACME_LOG_ERR, "AC0841", NULL, "%s", err.text);
        run->board = NULL;
        return;
    }
    for (i = 0; i < n; i++) {
        run->rows[i] = row_for(kept, run->board, spec_row_id(run, i), process_pool);
        run->baseline[i] = acme_board_row_generation(run->board, run->rows[i]);
    }
    for (i = 0; i < m; i++) {
        run->account_rows[i] = row_for(kept, run->board, account_row_id(run, i, pconf),
                                       process_pool);
    }
    open_former(run, kept, pconf);
    run->config = acme_board_config_next(run->board);
}

/* A certificate that root could not take over now (its log cannot be read, the disk is full) goes
 * on being served from the board. */
void acmod_board_settle(acmod_run_t *run, apr_pool_t *pconf)
{
    kept_board_t *kept = ap_retained_data_get(kept_key(pconf));
    row_t *row;
    int i;

    for (i = 0; run->board && i < run->conf->specs->nelts; i++) {
        row = apr_hash_get(kept->row_of, spec_row_id(run, i), APR_HASH_KEY_STRING);
        if (run->items[i].settled) {
            row->settled = run->baseline[i];
        }
        else {
            run->baseline[i] = row->settled;
        }
    }
}

/* ---- in a new owner ---- */

/* Keys do not stand there longer than they are needed: what root has taken over is read from F. */
void acmod_board_clear(const acmod_run_t *run)
{
    int i;

    for (i = 0; i < run->conf->specs->nelts; i++) {
        if (!run->items[i].settled) {
            continue;
        }
        acme_board_live_clear(run->board, run->rows[i], run->baseline[i]);
        if (run->former && run->former_rows[i] >= 0) {
            acme_board_live_clear(run->former, run->former_rows[i], run->former_baseline[i]);
        }
    }
}

static void inherit(acmod_run_t *run, int row, int former, apr_uint64_t baseline,
                    apr_pool_t *scratch)
{
    acme_board_live_t live;
    const char *records;
    apr_size_t len;

    if (former < 0) {
        return;
    }
    if (acme_board_row_generation(run->board, row) == 0
        && acme_board_row_generation(run->former, former) > baseline
        && acme_board_live_read(&live, run->former, former, scratch, NULL) == ACME_OK) {
        (void)acme_board_live_write(run->board, row, &live, live.since, NULL, NULL);
    }
    (void)acme_board_resume_read(&len, run->board, row, scratch);
    if (len == 0) {
        records = acme_board_resume_read(&len, run->former, former, scratch);
        if (len > 0) {
            (void)acme_board_resume_write(run->board, row, records, len, NULL);
        }
    }
}

void acmod_board_inherit(acmod_run_t *run, apr_pool_t *scratch)
{
    apr_pool_t *pool;
    int i;

    if (!run->former || apr_pool_create(&pool, scratch) != APR_SUCCESS) {
        return;
    }
    for (i = 0; i < run->conf->specs->nelts; i++) {
        inherit(run, run->rows[i], run->former_rows[i], run->former_baseline[i], pool);
        apr_pool_clear(pool);
    }
    for (i = 0; i < run->conf->cas->nelts; i++) {
        inherit(run, run->account_rows[i], run->former_account_rows[i], 0, pool);
        apr_pool_clear(pool);
    }
    apr_pool_destroy(pool);
}
