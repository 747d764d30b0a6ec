/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#ifndef ACME_BASE_INI_H
#define ACME_BASE_INI_H

#include <apr_pools.h>

/* Files of "key = value" and "[section]" lines, as certbot writes its renewal/NAME.conf. */

#define ACME_INI_MAX (64 * 1024)

/* The first value of key in section (NULL: before the first section), blanks and one pair of quotes
 * around it taken away; without quotes a '#' begins a comment. "[[x]]" begins a section of another
 * name than "[x]". NULL: not there, or the text is longer than the cap or holds a NUL. */
const char *acme_ini_get(const char *text, apr_size_t len, const char *section, const char *key,
                         apr_pool_t *pool);

#endif
