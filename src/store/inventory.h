/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#ifndef ACME_STORE_INVENTORY_H
#define ACME_STORE_INVENTORY_H

#include <sys/types.h>
#include "protocol/spec.h"
#include "store/dir.h"

/* STORE/inventory.json: what the last start made of the configuration, for tools that work while no
 * server runs. Root's, 0600, without any secret (no key, no external account's). */
typedef struct {
    const char *store;
    const char *socket;      /* of AcmeControl, NULL: none */
    uid_t uid;               /* of the children */
    gid_t gid;
    apr_array_header_t *cas;   /* acme_ca_t *, by index */
    apr_array_header_t *specs; /* acme_spec_t *, by index; only what identifies them: id, label,
                                * names, key type, files, CAs, digest */
} acme_inventory_t;

/* Written only when it says something else than what is there. */
acme_rv_t acme_inventory_write(const acme_inventory_t *inventory, uid_t owner, apr_pool_t *scratch,
                               acme_error_t *err);
/* ACME_AGAIN: there is none. */
acme_rv_t acme_inventory_read(acme_inventory_t **out, const char *store, uid_t owner,
                              apr_pool_t *pool, acme_error_t *err);

/* STORE/lock: bytes that are locked. */
enum { ACME_LOCK_OWNER = 0, ACME_LOCK_INSTANCE = 1 };

/* Does a server use the store? Its pid, or 0. Not for a process that holds a lock itself. */
pid_t acme_store_server(const char *store);

#endif
