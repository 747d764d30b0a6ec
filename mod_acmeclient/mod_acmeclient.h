/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#ifndef MOD_ACMECLIENT_H
#define MOD_ACMECLIENT_H

#include <apr_hash.h>
#include <apr_strings.h>

#include "httpd.h"
#include "http_config.h"
#include "http_log.h"

#include "acme.h"

/* The one symbol httpd needs; everything else is built with hidden visibility. */
extern module AP_MODULE_DECLARE_DATA acmeclient_module __attribute__((visibility("default")));
#ifndef ACMOD_DECLARES_MODULE
APLOG_USE_MODULE(acmeclient);
#endif

#define ACMOD_VERSION "0.1.0"

/* ---- what the configuration says (config.c, form.c); immutable after check_config ---- */

typedef enum { ACMOD_PLACEHOLDER_503, ACMOD_PLACEHOLDER_SERVE } acmod_placeholder_t;

/* One configured certificate: one spec per key type, any number of vhosts. */
typedef struct {
    const char *label;               /* = each spec's label */
    apr_array_header_t *specs;       /* acme_spec_t *, in order of AcmeKeyType */
    apr_array_header_t *vhosts;      /* acmod_vhost_t * */
    apr_array_header_t *items;       /* acme_item_t *, by spec; set at post_config */
} acmod_cert_t;

/* A TLS vhost that uses a managed certificate. */
typedef struct {
    server_rec *server;
    acmod_cert_t *cert;
    acmod_placeholder_t placeholder;
    int has_static;                  /* names SSLCertificateFile of its own (not a managed path) */
    int attached_by_path; /* not AcmeEngine on: its SSLCertificateFile is a managed path; bit n: of
                           * the certificate's n-th key type */
    int replaced;                    /* at this start: the managed files in place of its own */
    int speaks_acme_tls;             /* because of us, not because Protocols says so */
    const char *where;               /* "file:line" of the vhost */
} acmod_vhost_t;

/* Something to tell the administrator: printed by -t, logged at start. */
typedef struct {
    int level;          /* APLOG_ERR, APLOG_WARNING, APLOG_NOTICE */
    const char *code;   /* "AC0110" */
    server_rec *server; /* whose log, NULL: main server */
    const char *text; /* one line; holds directive, value, what is allowed, file:line, ServerName as
                       * far as they apply */
} acmod_remark_t;

typedef struct {
    apr_array_header_t *cas;         /* acme_ca_t *, by index */
    apr_array_header_t *specs;       /* acme_spec_t *, by index: all certificates, all key types */
    apr_array_header_t *certs;       /* acmod_cert_t * */
    apr_array_header_t *vhosts;      /* acmod_vhost_t * */
    apr_array_header_t *remarks;     /* acmod_remark_t * */
    const char *store_dir;           /* absolute */
    const char *control;             /* socket, absolute; NULL: off */
    int backups;
    int workers;
    /* The administrator's programs (command.c). */
    const char *const *const *commands; /* each an argv up to NULL; those of the certificates too */
    int n_commands;
    const char *const *notify_command;  /* one of them, or NULL */
    const char *const *command_env;     /* up to NULL */
    const char *command_user;           /* other than the children's, or NULL */
    uid_t command_uid;
    gid_t command_gid;
    const char *command_trouble;        /* why none runs, or NULL */
    int http_port, https_port;   /* where requests to 80 and 443 arrive here; 0: nowhere */
} acmod_conf_t;

/* config.c */
extern const command_rec acmod_config_cmds[];
void *acmod_config_create_server(apr_pool_t *pool, server_rec *s);
void *acmod_config_merge_server(apr_pool_t *pool, void *base, void *add);

/* form.c: from the server_recs' records to specs; reads no file but the paths' parents for
 * spelling (realpath), opens nothing for writing. Called in check_config of every pass. Never
 * NULL. */
acmod_conf_t *acmod_form(apr_pool_t *pconf, apr_pool_t *ptemp, server_rec *base);

/* vhost.c */
/* The record of a server, NULL when it is not managed. O(1). */
acmod_vhost_t *acmod_vhost_of(server_rec *s);
/* "file:line" of a certificate's vhosts (const char *). */
apr_array_header_t *acmod_vhost_places(const acmod_cert_t *cert, apr_pool_t *pool);

/* ---- what runs (set in the real post_config, inherited by the children) ---- */

typedef struct {
    acmod_conf_t *conf;
    server_rec *base;
    acme_store_root_t root;
    acme_item_t *items;              /* by spec index */
    acme_account_item_t *accounts;   /* by CA index */
    int secrets_bad;                 /* files with secrets that cannot be used */
    acme_board_t *board;             /* NULL: no ordering, no swap */
    int *rows;                       /* board row by spec index, -1: none */
    int *account_rows;               /* by CA index */
    apr_uint64_t *baseline;          /* generation by spec index as root read it */
    acme_board_t *former; /* a board that was outgrown, and what is where on it; or NULL */
    int *former_rows, *former_account_rows;
    apr_uint64_t *former_baseline;   /* as root read it when the board was made that replaces it */
    apr_uint32_t config;             /* configuration generation */
    int lock_fd;                     /* owner lock, -1: nobody may own */
    int helper_fd;                   /* children's end of the helper's socket, -1: no helper */
    int control_fd;                  /* listening, -1: no AcmeControl */
    const char *control_trouble, *control_code; /* why not, or NULL */
    acme_log_t log;
} acmod_run_t;

extern acmod_run_t *acmod_run; /* NULL outside the real pass */

/* dump.c: httpd -t -D DUMP_ACME; run: after acmod_adopt_look. */
void acmod_dump(const acmod_run_t *run, apr_pool_t *pool);

/* log.c */
void acmod_log_init(acme_log_t *log, server_rec *base, acmod_conf_t *conf);
void acmod_log_remarks(const acmod_conf_t *conf, server_rec *base);

/* adopt.c: root's part of a start; fills run->items etc. real: not the dry pass. */
void acmod_adopt_prepare(acmod_run_t *run, apr_pool_t *pconf);
void acmod_adopt_real(acmod_run_t *run, apr_pool_t *pconf);
/* For -t: the same, but nothing is created, changed or opened for writing. */
void acmod_adopt_look(acmod_run_t *run, apr_pool_t *pconf);
/* Logs what is wrong with store, files, accounts, control socket and trust anchors. The number of
 * lines. */
int acmod_adopt_tell(const acmod_run_t *run, apr_pool_t *pool);
/* The instance lock and the owner lock's descriptor, kept over graceful restarts. real: not the dry
 * pass, which takes no lock but respects another server's. */
/* Calls tell for each line of what acmod_adopt_tell logs of the trust anchors. */
typedef void acmod_tell_t(void *baton, const char *code, const char *subject, const char *text);
int acmod_adopt_ca_files(const acmod_run_t *run, acmod_tell_t *tell, void *baton, apr_pool_t *pool);
void acmod_adopt_locks(acmod_run_t *run, int real);
/* In a child: takes the owner lock without waiting; gives it back. */
int acmod_adopt_try_owner(const acmod_run_t *run);
void acmod_adopt_leave_owner(const acmod_run_t *run);

/* board.c */
void acmod_board_open(acmod_run_t *run, apr_pool_t *pconf);
/* Root, after adoption: withdraws the baseline of rows whose certificate is not on disk yet. */
void acmod_board_settle(acmod_run_t *run, apr_pool_t *pconf);
/* A new owner: takes over what stands on the former board alone. */
void acmod_board_inherit(acmod_run_t *run, apr_pool_t *scratch);
/* The owner, when no child of an older generation shakes hands any more: removes keys that are on
 * disk by now. */
void acmod_board_clear(const acmod_run_t *run);

/* command.c */
int acmod_command_is_program(const char *path, apr_pool_t *pool);

/* helper.c: the process that runs programs as AcmeCommandUser. In the real pass, before root knows
 * any key. */
void acmod_helper_start(acmod_run_t *run, apr_pool_t *pconf);
void acmod_helper_child_init(void);

/* watchdog.c */
void acmod_watchdog_register(acmod_run_t *run, apr_pool_t *pconf);
void acmod_watchdog_child_init(apr_pool_t *pchild, server_rec *base);
void acmod_watchdog_child_stopping(void);

/* control.c: the socket of AcmeControl. Root opens it (it is kept over graceful restarts); nothing
 * that is wrong with it stops the server. */
void acmod_control_open(acmod_run_t *run, apr_pool_t *pconf);
/* For -t: fills control_trouble. */
void acmod_control_look(acmod_run_t *run, apr_pool_t *pool);
/* Root: what acmectl has to know of this configuration. */
void acmod_control_inventory(const acmod_run_t *run, apr_pool_t *pconf);
/* The owner: a thread that answers beside the manager, until it is stopped (before the manager's
 * pool goes). */
typedef struct acmod_control_t acmod_control_t;
acmod_control_t *acmod_control_start(acmod_run_t *run, acme_manager_t *manager, apr_pool_t *pool);
void acmod_control_stop(acmod_control_t *control);

/* hotswap.c */
void acmod_hotswap_register_hooks(void);
/* Before adoption: which certificates could not be negotiated by their vhosts, which vhosts still
 * serve RSA (spec->not_negotiable, ->rsa_challenge). */
void acmod_hotswap_judge(acmod_run_t *run);
/* In the real pass, before mod_ssl makes its SSL_CTXs. */
void acmod_hotswap_open(acmod_run_t *run, apr_pool_t *pconf);
void acmod_hotswap_child_init(apr_pool_t *pchild);
/* Frees what no handshake uses any more; called by each child's watchdog tick. */
void acmod_hotswap_tick(void);
/* Is the certificate (row) still without a real one? The request path's question. */
int acmod_hotswap_missing(const acmod_vhost_t *vhost);

/* What is known of a TLS connection. */
typedef struct {
    void *ssl;        /* SSL of the handshake, for hooks that only get the conn_rec */
    int identified;   /* an identity was chosen: it stays */
    int is_challenge; /* it was made to see a challenge certificate */
} acmod_conn_t;

/* Made when there is none. */
acmod_conn_t *acmod_conn(conn_rec *c);

/* http01.c, placeholder.c, status.c, tls_challenge.c */
void acmod_http01_register_hooks(void);
/* In the certificate callback, ssl is the SSL. 0: no challenge; 1: its certificate is set; -1:
 * refuse. */
int acmod_tls_challenge_serve(void *ssl);
void acmod_tls_challenge_register_hooks(void);
void acmod_tls_challenge_protocols(acmod_run_t *run, apr_pool_t *pconf);
void acmod_placeholder_register_hooks(void);
void acmod_status_register_hooks(void);

#endif
