/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#ifndef ACME_BASE_IDN_H
#define ACME_BASE_IDN_H

#include <apr_pools.h>

/* Internationalized domain names (IDNA 2008, RFC 5890; mapped as UTS 46 says, non-transitional):
 * the U-label that people read and the A-label that the DNS, certificates and ACME know. The only
 * place that knows libidn2. */

/* 7-bit: there is nothing to translate. */
int acme_idn_is_ascii(const char *text);

/* UTF-8 in any case and any normalization form -> A-labels, lower case. A wildcard's "*." is kept.
 * NULL and *fault (static): not UTF-8, a character that IDNA 2008 does not know (the administrator
 * may write the A-label of such a name himself), or a label that is too long as an A-label. */
const char *acme_idn_to_ascii(const char *text, const char **fault, apr_pool_t *pool);

/* What a canonical name says to people: its U-labels, printable, or NULL when it has none. Text for
 * eyes only, never compared. */
const char *acme_idn_to_unicode(const char *canonical, apr_pool_t *pool);

/* Does a canonical name hold a label that begins with xn-- and is no Punycode (RFC 3492)? */
int acme_idn_is_broken(const char *canonical);

#endif
