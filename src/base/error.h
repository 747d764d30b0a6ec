/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#ifndef ACME_BASE_ERROR_H
#define ACME_BASE_ERROR_H

#include <stdarg.h>
#include <apr.h>
#include <apr_errno.h>
#include <apr_time.h>

/* The library's one error channel. A function that can fail returns acme_rv_t and, when it
 * returns ACME_FAIL, has described the first cause in the caller's acme_error_t. Whoever
 * understands the cause classifies it; it is logged once, at the top. */

typedef enum {
    ACME_OK = 0,   /* done */
    ACME_AGAIN,    /* not finished: more input, a later moment or another turn is needed */
    ACME_FAIL      /* see the error */
} acme_rv_t;

typedef enum {
    ACME_E_NONE = 0,
    ACME_E_INTERNAL,    /* memory, a broken promise of our own */
    ACME_E_CONFIG,      /* what the administrator wrote cannot work */
    ACME_E_SYSTEM,      /* a system call: see status */
    ACME_E_NETWORK,     /* resolver, connect, reset, time-out */
    ACME_E_TLS,         /* handshake or verification of the CA's server */
    ACME_E_HTTP,        /* framing, size caps, media type */
    ACME_E_PROTOCOL,    /* JSON or an ACME object that is not what RFC 8555 says */
    ACME_E_PROBLEM,     /* the CA answered with a problem document (RFC 7807): see problem */
    ACME_E_CHALLENGE,   /* a challenge failed or cannot be presented */
    ACME_E_CERTIFICATE, /* what was issued fails our checks */
    ACME_E_STORE,       /* staging, adoption */
    ACME_E_SECURITY,    /* hostile input recognised */
    ACME_E_STOPPED      /* asked to stop; not a failure of the order */
} acme_error_kind_t;

/* What the schedule makes of it (backoff.h). */
typedef enum {
    ACME_RETRY_LADDER = 0, /* transient: 1, 10, 100 min, 24 h */
    ACME_RETRY_NOW,        /* the same request again in this run, bounded by the caller */
    ACME_RETRY_SLOW,       /* configuration or policy of the CA: 24 h at once */
    ACME_RETRY_HUMAN       /* somebody must act; tried daily, logged as ERR */
} acme_retry_t;

#define ACME_ERROR_TEXT 4096

/* By value, bounded, no allocation. All text members are printable ASCII/UTF-8 without control
 * characters (acme_error_set sees to it) and NUL-terminated. */
typedef struct {
    acme_error_kind_t kind;
    acme_retry_t retry;
    apr_status_t status;          /* of the system, or 0 */
    int http_status;              /* of the CA's reply, or 0 */
    apr_time_t not_before;        /* Retry-After made absolute, or 0 */
    char code[8];                 /* stable id: "AC0201", or "" */
    char problem[80];             /* ACME error type without its URN prefix, or "" */
    char text[ACME_ERROR_TEXT];   /* the cause, subject first, no final full stop */
} acme_error_t;

void acme_error_clear(acme_error_t *err);

/* Records a cause unless one is recorded already (first cause wins); err may be NULL.
 * code: "AC0201" or NULL. Always returns ACME_FAIL, so that callers can
 * `return acme_error_set(...)`. Control characters in the formatted text become '?'. */
acme_rv_t acme_error_set(acme_error_t *err, acme_error_kind_t kind, const char *code,
                         const char *fmt, ...) __attribute__((format(printf, 4, 5)));

/* The same with a system status, whose text is appended: "open X: Permission denied". */
acme_rv_t acme_error_system(acme_error_t *err, acme_error_kind_t kind, const char *code,
                            apr_status_t status, const char *fmt, ...)
    __attribute__((format(printf, 5, 6)));

/* Puts "fmt: " in front of the recorded text (where the step is known). Returns ACME_FAIL. */
acme_rv_t acme_error_prefix(acme_error_t *err, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/* Static names for logs and records: "network", "problem", ... */
const char *acme_error_kind_name(acme_error_kind_t kind);

/* Copies at most size-1 bytes of text to out, control characters, DEL and invalid UTF-8 as '?'.
 * len < 0: text is NUL-terminated. Returns out. */
char *acme_printable(char *out, apr_size_t size, const char *text, apr_ssize_t len);

#endif
