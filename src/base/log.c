/* Licensed under the Apache License, Version 2.0; see LICENSE. */

#include "base/log.h"

#include <stdarg.h>

#include <apr_strings.h>

#include "base/error.h"

#define LINE_MAX_BYTES 2048

void acme_log(const acme_log_t *log, acme_log_level_t level, const char *id, const char *subject,
              const char *fmt, ...)
{
    char text[LINE_MAX_BYTES], line[LINE_MAX_BYTES];
    apr_size_t used;
    va_list ap;

    if (!log || !log->write || level > log->level) {
        return;
    }
    used = (apr_size_t)apr_snprintf(text, sizeof(text), "%s: %s%s", id, subject ? subject : "",
                                    subject ? ": " : "");
    va_start(ap, fmt);
    apr_vsnprintf(text + used, sizeof(text) - used, fmt, ap);
    va_end(ap);
    acme_printable(line, sizeof(line), text, -1);
    log->write(log->baton, level, subject, line);
}
