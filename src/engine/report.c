/* Licensed under the Apache License, Version 2.0; see LICENSE. */

#include "engine/report.h"

#include <string.h>

#include "base/time.h"

/* The facts of what is in service. */
typedef struct {
    const char *from;
    const char *serial;
    apr_time_t not_before, not_after;
} served_t;

static void set_text(acme_json_t *object, const char *key, const char *text)
{
    if (text != NULL && *text != '\0') {
        acme_json_set_string(object, key, text);
    }
}

static void set_time(acme_json_t *object, const char *key, apr_time_t time)
{
    char text[ACME_TIME_TEXT];

    if (time > 0) {
        acme_json_set_string(object, key, acme_time_format(text, time));
    }
}

static void set_list(acme_json_t *object, const char *key, const apr_array_header_t *words,
                     apr_pool_t *pool)
{
    acme_json_t *list = acme_json_new_array(pool);
    int i;

    for (i = 0; words != NULL && i < words->nelts; i++) {
        acme_json_add_string(list, APR_ARRAY_IDX(words, i, const char *));
    }
    acme_json_set(object, key, list);
}

static void set_cas(acme_json_t *object, const acme_spec_t *spec, apr_pool_t *pool)
{
    acme_json_t *list = acme_json_new_array(pool);
    int i;

    for (i = 0; i < spec->cas->nelts; i++) {
        acme_json_add_string(list, APR_ARRAY_IDX(spec->cas, i, const acme_ca_t *)->name);
    }
    acme_json_set(object, "cas", list);
    list = acme_json_new_array(pool);
    for (i = 0; i < spec->n_challenges; i++) {
        acme_json_add_string(list, acme_challenge_type_name(spec->challenges[i]));
    }
    acme_json_set(object, "challenges", list);
}

static int newer_on_board(const acme_report_of_t *of)
{
    return of->board != NULL && of->row >= 0
           && acme_board_row_generation(of->board, of->row) > of->baseline;
}

/* The owner keeps the facts of what is live beside its state. */
static void find_served(served_t *out, const acme_report_of_t *of,
                        const acme_board_status_t *status)
{
    const acme_item_t *item = of->item;
    int newer = newer_on_board(of);

    memset(out, 0, sizeof(*out));
    out->from = newer             ? "board"
                : item->usable    ? "disk"
                : of->own         ? "own"
                : item->cert_file ? "placeholder"
                                  : "nothing";
    if (newer && status->not_after > 0) {
        out->serial = status->serial;
        out->not_before = status->not_before;
        out->not_after = status->not_after;
    }
    else if (!newer && item->usable) {
        out->serial = item->known != NULL ? item->known->serial : item->facts.serial;
        out->not_before = item->known != NULL ? item->known->not_before : item->facts.not_before;
        out->not_after = item->known != NULL ? item->known->not_after : item->facts.not_after;
    }
}

static void set_served(acme_json_t *object, const served_t *served, apr_pool_t *pool)
{
    acme_json_t *inner = acme_json_new_object(pool);

    acme_json_set_string(inner, "from", served->from);
    set_text(inner, "serial", served->serial);
    set_time(inner, "not_before", served->not_before);
    set_time(inner, "not_after", served->not_after);
    acme_json_set(object, "served", inner);
}

static void set_progress(acme_json_t *object, const acme_board_status_t *status)
{
    set_text(object, "state", status->state);
    set_text(object, "step", status->step);
    set_text(object, "why", status->why);
    set_text(object, "ca", status->ca);
    set_text(object, "order", status->order_url);
    set_time(object, "next", status->next);
    set_time(object, "changed", status->changed);
    acme_json_set_int(object, "failures", status->failures);
    set_text(object, "error", status->error);
    set_text(object, "publish", status->publish);
    set_text(object, "explanation", status->explanation);
}

static void set_arrivals(acme_json_t *object, const acme_board_arrivals_t *arrivals,
                         apr_pool_t *pool)
{
    acme_json_t *inner = acme_json_new_object(pool);
    int i;

    acme_json_set_int(inner, "ipv4", arrivals->v4);
    acme_json_set_int(inner, "ipv6", arrivals->v6);
    acme_json_set_int(inner, "foreign_host", arrivals->foreign);
    for (i = 0; i < ACME_CH_TYPES; i++) {
        if (arrivals->by_type[i] > 0) {
            acme_json_set_int(inner, acme_challenge_type_name((acme_challenge_type_t)i),
                              arrivals->by_type[i]);
        }
    }
    acme_json_set(object, "arrivals", inner);
}

acme_json_t *acme_report_certificate(const acme_report_of_t *of, apr_pool_t *pool)
{
    const acme_spec_t *spec = of->item->spec;
    acme_json_t *object = acme_json_new_object(pool);
    acme_board_status_t status;
    acme_board_arrivals_t arrivals;
    served_t served;

    memset(&status, 0, sizeof(status));
    memset(&arrivals, 0, sizeof(arrivals));
    if (of->board != NULL && of->row >= 0) {
        if (acme_board_status_read(&status, of->board, of->row) != ACME_OK) {
            memset(&status, 0, sizeof(status));
        }
        acme_board_arrivals_read(&arrivals, of->board, of->row);
    }
    find_served(&served, of, &status);
    acme_json_set_string(object, "certificate", spec->label);
    acme_json_set_string(object, "id", spec->id);
    acme_json_set_string(object, "key_type", acme_key_type_name(spec->key_type));
    set_list(object, "names", spec->names, pool);
    set_list(object, "vhosts", of->vhosts, pool);
    set_cas(object, spec, pool);
    set_served(object, &served, pool);
    acme_json_set_bool(object, "pending", newer_on_board(of));
    set_progress(object, &status);
    if (arrivals.v4 + arrivals.v6 + arrivals.foreign > 0) {
        set_arrivals(object, &arrivals, pool);
    }
    set_text(object, "trouble", spec->error != NULL ? spec->error : of->item->trouble);
    return object;
}

static int is_state(const acme_json_t *certificate, const char *wanted)
{
    const char *state = NULL;

    acme_json_get_string(&state, certificate, "state", ACME_JSON_OPTIONAL, NULL);
    return state != NULL && strcmp(state, wanted) == 0;
}

void acme_report_count(acme_report_sum_t *sum, const acme_json_t *certificate, apr_time_t now)
{
    acme_json_t *served = NULL;
    const char *until = NULL;
    apr_time_t not_after = 0;
    apr_int64_t failures = 0;

    acme_json_get_object(&served, certificate, "served", ACME_JSON_OPTIONAL, NULL);
    if (served != NULL) {
        acme_json_get_string(&until, served, "not_after", ACME_JSON_OPTIONAL, NULL);
    }
    if (until != NULL) {
        acme_time_parse_rfc3339(&not_after, until, strlen(until));
    }
    acme_json_get_int(&failures, certificate, "failures", 0, NULL);
    sum->all++;
    sum->valid += not_after > now;
    sum->expired += not_after > 0 && not_after <= now;
    sum->missing += not_after == 0;
    sum->failing += failures > 0;
    sum->held += is_state(certificate, "held");
    sum->ordering += is_state(certificate, "ordering");
}
