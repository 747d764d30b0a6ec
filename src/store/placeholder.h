/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#ifndef ACME_STORE_PLACEHOLDER_H
#define ACME_STORE_PLACEHOLDER_H

#include "protocol/spec.h"
#include "store/dir.h"

/* Placeholders: DIR/ID.crt.pem and DIR/ID.key.pem, self-signed, made once and kept. The first line
 * of the certificate's file is a stamp: digests of the names, of the key's file and of the rest of
 * the certificate's, and the end of validity. So an intact pair is known without an operation on a
 * key, and neither file has to be synced: a torn one is made again. The certificate stands there
 * twice, the second time as the issuer that mod_ssl looks for. */

/* DIR: made 0700 in a directory that only uid or root may write. ACME_FAIL: not to be had. */
acme_rv_t acme_placeholder_dir(const char *dir, uid_t uid, apr_pool_t *scratch, acme_error_t *err);

/* Those made in one pass have a key in common: it is never anybody's that matters, and a thousand
 * of them would cost most of a first start. */
typedef struct {
    uid_t uid;
    apr_time_t now;
    apr_pool_t *pool;    /* of the key */
    acme_key_t *key;     /* NULL: made when it is needed */
    const char *key_pem;
} acme_placeholders_t;

/* The pair of a certificate in dir; made when create is set and it is missing, torn, about to end,
 * or for other names. ACME_AGAIN: not there (create not set). */
acme_rv_t acme_placeholder_get(const char **cert_file, const char **key_file,
                               acme_placeholders_t *self, const char *dir, const acme_spec_t *spec,
                               int create, apr_pool_t *pool, acme_error_t *err);

#endif
