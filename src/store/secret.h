/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#ifndef ACME_STORE_SECRET_H
#define ACME_STORE_SECRET_H

#include <sys/types.h>
#include <apr_pools.h>
#include "base/error.h"
#include "protocol/spec.h"

/* Secrets that the administrator keeps in files of his own: read by root at each start, handed to
 * the children in memory, never written, logged or kept. A file that anybody but its owner may
 * read or write, that belongs to neither uid nor root, or is no regular file, is not used; its
 * mode is left as it is. */

/* ca->eab_file to ca->eab_kid, eab_key and eab_alg; on failure ca->eab_trouble is the error's
 * text. */
acme_rv_t acme_secret_external(acme_ca_t *ca, uid_t uid, apr_pool_t *pool, acme_error_t *err);

/* ca->proxy_file, one line "user:password", to ca->proxy_user (RFC 7617: no colon in the user, no
 * control character). */
acme_rv_t acme_secret_proxy(acme_ca_t *ca, uid_t uid, apr_pool_t *pool, acme_error_t *err);

#endif
