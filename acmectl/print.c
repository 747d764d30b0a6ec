/* Licensed under the Apache License, Version 2.0; see LICENSE. */

/* What is printed may have come from a CA: no control character reaches the terminal. */

#include "acmectl.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <apr_strings.h>

static const char *printable(const acmectl_t *ctl, const char *text)
{
    apr_size_t size = strlen(text) + 1;

    return acme_printable(apr_palloc(ctl->pool, size), size, text, -1);
}

void acmectl_print_json(const acmectl_t *ctl, const acme_json_t *json)
{
    const char *text = json != NULL ? acme_json_dump(json, ctl->pool) : NULL;

    puts(text != NULL ? printable(ctl, text) : "{\"error\":\"text that is not UTF-8\"}");
}

int acmectl_fail(const acmectl_t *ctl, int code, const char *fmt, ...)
{
    acme_json_t *json;
    const char *text;
    va_list ap;

    va_start(ap, fmt);
    text = printable(ctl, apr_pvsprintf(ctl->pool, fmt, ap));
    va_end(ap);
    fprintf(stderr, "acmectl: %s\n", text);
    if (ctl->json) {
        json = acme_json_new_object(ctl->pool);
        acme_json_set_string(json, "error", text);
        acmectl_print_json(ctl, json);
    }
    return code;
}

void acmectl_say(const acmectl_t *ctl, const char *fmt, ...)
{
    va_list ap;

    if (ctl->json) {
        return;
    }
    va_start(ap, fmt);
    puts(printable(ctl, apr_pvsprintf(ctl->pool, fmt, ap)));
    va_end(ap);
}
