/* Licensed under the Apache License, Version 2.0; see LICENSE. */

/* The board's mapping: anonymous, made by root, kept over graceful restarts so that both
 * generations of children see the same one. Which row belongs to which certificate is remembered in
 * root's own memory; root takes nothing from the mapping but generation numbers. */

#include "mod_acmeclient.h"

#include <sys/mman.h>

#include "http_core.h"

#define ROWS_TO_SPARE 64

typedef struct {
    void *memory;
    apr_size_t size;
    int rows, used;
    apr_hash_t *row_of; /* id -> int *, in the process pool */
} kept_board_t;

static const char *kept_key(apr_pool_t *pool)
{
    return apr_psprintf(pool, "acmeclient_board_%d_%" APR_SIZE_T_FMT, ACME_BOARD_LAYOUT,
                        sizeof(kept_board_t));
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
    int *row = apr_hash_get(kept->row_of, id, APR_HASH_KEY_STRING);

    if (!row) {
        row = apr_palloc(process_pool, sizeof(*row));
        *row = kept->used++;
        apr_hash_set(kept->row_of, apr_pstrdup(process_pool, id), APR_HASH_KEY_STRING, row);
        acme_board_row_assign(board, *row, id);
    }
    return *row;
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

void acmod_board_open(acmod_run_t *run, apr_pool_t *pconf)
{
    apr_pool_t *process_pool = run->base->process->pool;
    const char *key = kept_key(pconf);
    kept_board_t *kept = ap_retained_data_get(key);
    acme_error_t err;
    int i, n = run->conf->specs->nelts, m = run->conf->cas->nelts;

    run->rows = apr_pcalloc(pconf, sizeof(int) * (apr_size_t)(n + 1));
    run->account_rows = apr_pcalloc(pconf, sizeof(int) * (apr_size_t)(m + 1));
    run->baseline = apr_pcalloc(pconf, sizeof(apr_uint64_t) * (apr_size_t)(n + 1));
    for (i = 0; i < n; i++) {
        run->rows[i] = -1;
    }
    if (!kept) {
        kept = ap_retained_data_create(key, sizeof(*kept));
    }
    if (!kept->memory || kept->used + rows_missing(kept, run) > kept->rows) {
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
        const acme_spec_t *spec = APR_ARRAY_IDX(run->conf->specs, i, const acme_spec_t *);

        run->rows[i] = row_for(kept, run->board, spec->id, process_pool);
        run->baseline[i] = acme_board_row_generation(run->board, run->rows[i]);
    }
    for (i = 0; i < m; i++) {
        const acme_ca_t *ca = APR_ARRAY_IDX(run->conf->cas, i, const acme_ca_t *);

        run->account_rows[i] = row_for(kept, run->board,
                                       apr_pstrcat(pconf, "account ", ca->auth_path, NULL),
                                       process_pool);
    }
    run->config = acme_board_config_next(run->board);
}
