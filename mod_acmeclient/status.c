/* Licensed under the Apache License, Version 2.0; see LICENSE. */

/* SetHandler acme-status: what is served, what is pending, why, when next. HTML, or with ?json one
 * JSON document. Text of CAs and names of anybody are in it: all of it is escaped. Who may see it is
 * up to the administrator's Require; there is no secret in it. */

#include "config.h"

#include "http_core.h"
#include "http_protocol.h"

#define HANDLER "acme-status"

static void head(request_rec *r, const char *type)
{
    ap_set_content_type(r, type);
    apr_table_setn(r->headers_out, "Cache-Control", "no-store");
    apr_table_setn(r->headers_out, "X-Content-Type-Options", "nosniff");
    apr_table_setn(r->headers_out, "Content-Security-Policy",
                   "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'");
}

/* Every vhost of it that could show something shows a certificate of its own meanwhile. */
static int shows_own(const acmod_cert_t *cert)
{
    int i, own = 0;

    for (i = 0; i < cert->vhosts->nelts; i++) {
        own += APR_ARRAY_IDX(cert->vhosts, i, const acmod_vhost_t *)->has_static;
    }
    return own > 0 && own == cert->vhosts->nelts;
}

static acme_json_t *describe(const acmod_cert_t *cert, const acme_spec_t *spec, apr_pool_t *pool)
{
    acme_report_of_t of;

    of.item = &acmod_run->items[spec->index];
    of.board = acmod_run->board;
    of.row = acmod_run->board ? acmod_run->rows[spec->index] : -1;
    of.baseline = acmod_run->board ? acmod_run->baseline[spec->index] : 0;
    of.own = shows_own(cert);
    of.vhosts = acmod_vhost_places(cert, pool);
    return acme_report_certificate(&of, pool);
}

/* Calls back for each certificate and key type; the document's pool is cleared after each. */
typedef void (*each_t)(request_rec *r, void *baton, const acme_json_t *certificate);

static void for_each(request_rec *r, each_t each, void *baton)
{
    const acmod_conf_t *conf = acmod_run->conf;
    apr_pool_t *pool;
    int i, j;

    apr_pool_create(&pool, r->pool);
    for (i = 0; i < conf->certs->nelts; i++) {
        const acmod_cert_t *cert = APR_ARRAY_IDX(conf->certs, i, const acmod_cert_t *);

        for (j = 0; j < cert->specs->nelts; j++) {
            each(r, baton, describe(cert, APR_ARRAY_IDX(cert->specs, j, const acme_spec_t *),
                                    pool));
            apr_pool_clear(pool);
        }
    }
    apr_pool_destroy(pool);
}

static void count(request_rec *r, void *baton, const acme_json_t *certificate)
{
    acme_report_count(baton, certificate, r->request_time);
}

static apr_int64_t owner(void)
{
    return acmod_run->board ? acme_board_owner(acmod_run->board) : 0;
}

/* ---- JSON ---- */

static void json_certificate(request_rec *r, void *baton, const acme_json_t *certificate)
{
    int *n = baton;
    const char *text = acme_json_dump(certificate, r->pool);

    /* NULL: a path of the configuration that is not UTF-8. */
    ap_rprintf(r, "%s\n%s", (*n)++ ? "," : "", text ? text : "{}");
}

static void json(request_rec *r)
{
    acme_report_sum_t sum = {0, 0, 0, 0, 0, 0, 0};
    char now[ACME_TIME_TEXT];
    int n = 0;

    head(r, "application/json");
    for_each(r, count, &sum);
    ap_rprintf(r, "{\"version\":\"%s\",\"now\":\"%s\",\"owner\":%" APR_INT64_T_FMT
               ",\"stray_challenge_requests\":%u,\n\"summary\":{\"certificates\":%d,\"valid\":%d,"
               "\"expired\":%d,\"missing\":%d,\"failing\":%d,\"held\":%d,\"ordering\":%d},\n"
               "\"certificates\":[", ACMOD_VERSION, acme_time_format(now, r->request_time),
               owner(), acmod_run->board ? acme_board_strays(acmod_run->board) : 0, sum.all,
               sum.valid, sum.expired, sum.missing, sum.failing, sum.held, sum.ordering);
    for_each(r, json_certificate, &n);
    ap_rputs("]}\n", r);
}

/* ---- HTML ---- */

static const char *escaped(request_rec *r, const acme_json_t *object, const char *key)
{
    const char *text = NULL;

    acme_json_get_string(&text, object, key, ACME_JSON_OPTIONAL, NULL);
    return text ? ap_escape_html(r->pool, text) : "";
}

static const char *list(request_rec *r, const acme_json_t *object, const char *key)
{
    acme_json_t *words = NULL;
    const char *word, *all = "";
    apr_size_t i;

    acme_json_get_array(&words, object, key, ACME_JSON_OPTIONAL, NULL);
    for (i = 0; words && i < acme_json_count(words); i++) {
        if (acme_json_item_string(&word, words, i, NULL) == ACME_OK) {
            all = apr_pstrcat(r->pool, all, i ? ", " : "", ap_escape_html(r->pool, word), NULL);
        }
    }
    return all;
}

/* One line of what is not there for every certificate. */
static void row_more(request_rec *r, const acme_json_t *certificate, const char *key,
                     const char *heading)
{
    const char *text = escaped(r, certificate, key);

    if (*text) {
        ap_rprintf(r, "<br><b>%s</b> %s", heading, text);
    }
}

static void row_arrivals(request_rec *r, const acme_json_t *certificate)
{
    acme_json_t *arrivals = NULL;
    apr_int64_t v4 = 0, v6 = 0, foreign = 0;

    acme_json_get_object(&arrivals, certificate, "arrivals", ACME_JSON_OPTIONAL, NULL);
    if (arrivals) {
        acme_json_get_int(&v4, arrivals, "ipv4", 0, NULL);
        acme_json_get_int(&v6, arrivals, "ipv6", 0, NULL);
        acme_json_get_int(&foreign, arrivals, "foreign_host", 0, NULL);
        ap_rprintf(r, "<br><b>challenge requests</b> %" APR_INT64_T_FMT " over IPv4, %"
                   APR_INT64_T_FMT " over IPv6, %" APR_INT64_T_FMT " for another host", v4, v6,
                   foreign);
    }
}

static void html_certificate(request_rec *r, void *baton, const acme_json_t *certificate)
{
    acme_json_t *served = NULL;
    apr_int64_t failures = 0;
    int pending = 0;

    (void)baton;
    acme_json_get_object(&served, certificate, "served", ACME_JSON_REQUIRED, NULL);
    acme_json_get_int(&failures, certificate, "failures", 0, NULL);
    acme_json_get_bool(&pending, certificate, "pending", 0, NULL);
    ap_rprintf(r, "<tr%s><td><b>%s</b> %s<br>%s<td>%s<br>%s<td>%s<br>%s%s<td>%s %s<br>%s",
               failures ? " class=failing" : "", escaped(r, certificate, "certificate"),
               escaped(r, certificate, "key_type"), list(r, certificate, "names"),
               list(r, certificate, "vhosts"), list(r, certificate, "cas"),
               escaped(r, served, "from"), escaped(r, served, "serial"),
               pending ? "<br>adopted at the next restart" : "", escaped(r, certificate, "state"),
               escaped(r, certificate, "step"), escaped(r, certificate, "why"));
    row_more(r, certificate, "trouble", "trouble");
    row_more(r, certificate, "error", "last error");
    row_more(r, certificate, "ca", "CA");
    row_more(r, certificate, "order", "order");
    row_more(r, certificate, "publish", "to be published in the DNS");
    row_more(r, certificate, "explanation", "the CA explains");
    row_arrivals(r, certificate);
    ap_rprintf(r, "<td>%s<td>%s", escaped(r, served, "not_after"),
               escaped(r, certificate, "next"));
    if (failures) {
        ap_rprintf(r, "<br>%" APR_INT64_T_FMT " failed", failures);
    }
    ap_rputs("\n", r);
}

static void html(request_rec *r)
{
    acme_report_sum_t sum = {0, 0, 0, 0, 0, 0, 0};
    char now[ACME_TIME_TEXT];

    head(r, "text/html; charset=UTF-8");
    for_each(r, count, &sum);
    ap_rprintf(r, "<!DOCTYPE html>\n<html lang=en><title>ACME certificates</title>\n<style>"
               "body{font:14px sans-serif}table{border-collapse:collapse}th,td{border:1px solid "
               "#bbb;padding:.3em;text-align:left;vertical-align:top;overflow-wrap:anywhere}"
               ".failing{background:#fdd}</style>\n<h1>ACME certificates</h1>\n"
               "<p>%d certificates: %d valid, %d expired, %d without one; %d failing, %d held, %d "
               "ordering. %s. Process %" APR_INT64_T_FMT " talks to the CAs. "
               "<a href=\"?json\">JSON</a>\n<table><tr><th>certificate<th>vhosts, CAs<th>served"
               "<th>state<th>valid until<th>next\n", sum.all, sum.valid, sum.expired,
               sum.missing, sum.failing, sum.held, sum.ordering,
               acme_time_format(now, r->request_time), owner());
    for_each(r, html_certificate, NULL);
    ap_rputs("</table>\n", r);
}

static int page(request_rec *r)
{
    if (!r->handler || strcmp(r->handler, HANDLER) != 0) {
        return DECLINED;
    }
    r->allowed |= AP_METHOD_BIT << M_GET;
    if (r->method_number != M_GET) {
        return HTTP_METHOD_NOT_ALLOWED;
    }
    if (!acmod_run) {
        return HTTP_SERVICE_UNAVAILABLE;
    }
    if (r->args && strcmp(r->args, "json") == 0) {
        json(r);
    }
    else {
        html(r);
    }
    return OK;
}

void acmod_status_register_hooks(void)
{
    ap_hook_handler(page, NULL, NULL, APR_HOOK_MIDDLE);
}
