/* Licensed under the Apache License, Version 2.0; see LICENSE. */

/* http-01 (RFC 8555 section 8.3): answered by every child from the board, before redirects,
 * rewrites, access control and handlers see the request; exact token and host only, everything else
 * declined. */

#include "mod_acmeclient.h"

#include "http_protocol.h"
#include "http_request.h"
#include "util_filter.h"

#define WELL_KNOWN "/.well-known/acme-challenge/"

static int host_matches(request_rec *r, const char *identifier)
{
    const char *name;
    acme_name_kind_t kind;

    return r->hostname
           && acme_name_normalize(&name, &kind, r->hostname, r->pool, NULL) == ACME_OK
           && strcmp(name, identifier) == 0;
}

static int is_v6(request_rec *r)
{
    return r->connection->client_addr && r->connection->client_addr->family != APR_INET;
}

static int answer(request_rec *r, const char *body)
{
    apr_bucket_brigade *out = apr_brigade_create(r->pool, r->connection->bucket_alloc);
    apr_bucket_alloc_t *alloc = r->connection->bucket_alloc;
    apr_size_t len = strlen(body);

    r->status = HTTP_OK;
    ap_set_content_type(r, "text/plain");
    ap_set_content_length(r, (apr_off_t)len);
    apr_table_setn(r->headers_out, "X-Content-Type-Options", "nosniff");
    apr_table_setn(r->headers_out, "Cache-Control", "no-store");
    APR_BRIGADE_INSERT_TAIL(out, apr_bucket_pool_create(body, len, r->pool, alloc));
    APR_BRIGADE_INSERT_TAIL(out, apr_bucket_eos_create(alloc));
    ap_pass_brigade(r->output_filters, out);
    apr_brigade_cleanup(out);
    return DONE;
}

static int http01(request_rec *r)
{
    acme_board_challenge_t challenge;
    const char *token, *body;
    int foreign;

    if (!acmod_run || !acmod_run->board || !ap_is_initial_req(r) || !r->parsed_uri.path
        || strncmp(r->parsed_uri.path, WELL_KNOWN, sizeof(WELL_KNOWN) - 1) != 0
        || (r->method_number != M_GET)) {
        return DECLINED;
    }
    token = r->parsed_uri.path + sizeof(WELL_KNOWN) - 1;
    if (!acme_token_legal(token, strlen(token))) {
        return DECLINED;
    }
    if (acme_board_challenge_by_token(&challenge, acmod_run->board, token, strlen(token),
                                      apr_time_now()) != ACME_OK
        || challenge.type != ACME_CH_HTTP01) {
        acme_board_stray(acmod_run->board);
        return DECLINED;
    }
    foreign = !host_matches(r, challenge.name);
    acme_board_arrival(acmod_run->board, challenge.row, ACME_CH_HTTP01, is_v6(r), foreign);
    if (foreign) {
        ap_log_rerror(APLOG_MARK, APLOG_WARNING, 0, r,
                      "AC0431: %s: the CA's request came with Host \"%s\": something in front "
                      "rewrites hosts", challenge.name,
                      ap_escape_logitem(r->pool, r->hostname ? r->hostname : ""));
        acme_cleanse(&challenge, sizeof(challenge));
        return DECLINED;
    }
    ap_log_rerror(APLOG_MARK, APLOG_DEBUG, 0, r, "AC0432: %s: http-01 answered", challenge.name);
    apr_table_unset(r->headers_in, "Range"); /* all of it, or it proves nothing */
    body = apr_pstrdup(r->pool, challenge.key_authorization);
    acme_cleanse(&challenge, sizeof(challenge));
    return answer(r, body);
}

void acmod_http01_register_hooks(void)
{
    ap_hook_post_read_request(http01, NULL, NULL, APR_HOOK_FIRST);
}
