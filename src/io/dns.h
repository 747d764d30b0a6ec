/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#ifndef ACME_IO_DNS_H
#define ACME_IO_DNS_H

#include <apr_network_io.h>
#include <apr_pools.h>
#include "base/error.h"

/* Looks for a TXT record at all authoritative servers of its zone, again and again, without ever
 * waiting: aliases (CNAME), the zone and its servers are found by the system's resolver, then each
 * address of each server is asked itself, over UDP and, when a reply is cut short, TCP. */

#define ACME_DNS_SERVERS_MAX 16 /* addresses that are asked; more are left out */

typedef struct {
    const char *record;       /* name, lower case */
    int (*wanted)(void *baton, const char *text, apr_size_t len); /* is this TXT the one? */
    void *baton;
    const char *resolv_conf;  /* NULL: /etc/resolv.conf */
    apr_port_t port;          /* of all servers, 0: 53 */
} acme_dns_watch_conf_t;

typedef struct acme_dns_watch_t acme_dns_watch_t;

/* conf is copied; its strings and baton must outlive the watch. Sockets are closed with pool. */
acme_rv_t acme_dns_watch_create(acme_dns_watch_t **out, const acme_dns_watch_conf_t *conf,
                                apr_pool_t *pool, acme_error_t *err);

/* Goes on with the look, or begins the next one. ACME_OK: all servers show it - those that cannot
 * be reached from here, and those silent for three looks, do not count while another one shows it.
 * ACME_AGAIN: call again after *delay (never 0). */
acme_rv_t acme_dns_watch_poll(acme_dns_watch_t *watch, apr_interval_time_t *delay);

/* Looks that have come to their end. */
int acme_dns_watch_looks(const acme_dns_watch_t *watch);

/* What the last whole look found, printable: "ns1.a.test (192.0.2.1): not there; ..." */
const char *acme_dns_watch_found(const acme_dns_watch_t *watch);

#endif
