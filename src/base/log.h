/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#ifndef ACME_BASE_LOG_H
#define ACME_BASE_LOG_H

/* The library never chooses where a line goes: the embedder gives a writer. Levels are httpd's. */
typedef enum {
    ACME_LOG_ERR = 3,      /* a human must act */
    ACME_LOG_WARNING = 4,  /* an attempt failed and will be repeated */
    ACME_LOG_NOTICE = 5,   /* obtained, live, adopted */
    ACME_LOG_INFO = 6,
    ACME_LOG_DEBUG = 7     /* a line per step */
} acme_log_level_t;

typedef struct {
    /* line: "AC0201: example.org: text", printable, no newline. subject: the certificate's first
     * name or NULL (so that a writer can copy the line to that vhost's log). Thread-safe. */
    void (*write)(void *baton, acme_log_level_t level, const char *subject, const char *line);
    void *baton;
    acme_log_level_t level; /* lines above it are not even formatted */
} acme_log_t;

/* id: "AC0201", one number per call site (checked by test/check_log_ids.sh). log may be NULL. */
void acme_log(const acme_log_t *log, acme_log_level_t level, const char *id, const char *subject,
              const char *fmt, ...) __attribute__((format(printf, 5, 6)));

#endif
