/* Licensed under the Apache License, Version 2.0; see LICENSE. */

/* Library lines go to the main server's log, with a copy to the log of the vhost they are about
 * when that is another file. */

#include "mod_acmeclient.h"

#include "http_core.h"

typedef struct {
    server_rec *base;
    acmod_conf_t *conf;
} log_baton_t;

static server_rec *server_of(const acmod_conf_t *conf, const char *subject)
{
    int i;

    for (i = 0; subject && i < conf->certs->nelts; i++) {
        acmod_cert_t *cert = APR_ARRAY_IDX(conf->certs, i, acmod_cert_t *);

        if (strcmp(cert->label, subject) == 0 && cert->vhosts->nelts > 0) {
            return APR_ARRAY_IDX(cert->vhosts, 0, acmod_vhost_t *)->server;
        }
    }
    return NULL;
}

static void write_line(void *baton, acme_log_level_t level, const char *subject, const char *line)
{
    log_baton_t *to = baton;
    server_rec *vhost;

    ap_log_error(APLOG_MARK, (int)level, 0, to->base, "%s", line);
    if (level > ACME_LOG_NOTICE) {
        return;
    }
    vhost = server_of(to->conf, subject);
    if (vhost && vhost->error_log && vhost->error_log != to->base->error_log) {
        ap_log_error(APLOG_MARK, (int)level, 0, vhost, "%s", line);
    }
}

void acmod_log_init(acme_log_t *log, server_rec *base, acmod_conf_t *conf)
{
    log_baton_t *baton = apr_pcalloc(base->process->pconf, sizeof(*baton));
    int level = ap_get_server_module_loglevel(base, APLOG_MODULE_INDEX);

    baton->base = base;
    baton->conf = conf;
    log->write = write_line;
    log->baton = baton;
    /* httpd never suppresses a NOTICE. */
    level = level < APLOG_NOTICE ? APLOG_NOTICE : level;
    log->level = level > APLOG_DEBUG ? ACME_LOG_DEBUG : (acme_log_level_t)level;
}

void acmod_log_remarks(const acmod_conf_t *conf, server_rec *base)
{
    int i;

    for (i = 0; i < conf->remarks->nelts; i++) {
        acmod_remark_t *remark = APR_ARRAY_IDX(conf->remarks, i, acmod_remark_t *);

        ap_log_error(APLOG_MARK, remark->level, 0, base, "%s: %s", remark->code, remark->text);
        if (remark->server && remark->server->error_log
            && remark->server->error_log != base->error_log) {
            ap_log_error(APLOG_MARK, remark->level, 0, remark->server, "%s: %s", remark->code,
                         remark->text);
        }
    }
}
