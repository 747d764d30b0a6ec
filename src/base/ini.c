/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#include "base/ini.h"

#include <string.h>
#include <apr_strings.h>

/* A piece of the text. */
typedef struct {
    const char *at;
    apr_size_t len;
} part_t;

static int is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

static part_t trimmed(const char *at, apr_size_t len)
{
    part_t part;

    while (len > 0 && is_blank(*at)) {
        at++;
        len--;
    }
    while (len > 0 && is_blank(at[len - 1])) {
        len--;
    }
    part.at = at;
    part.len = len;
    return part;
}

static int is_text(const part_t *part, const char *text)
{
    return part->len == strlen(text) && memcmp(part->at, text, part->len) == 0;
}

static part_t next_line(const char **text, apr_size_t *len)
{
    const char *newline = memchr(*text, '\n', *len);
    apr_size_t n = newline != NULL ? (apr_size_t)(newline - *text) : *len;
    part_t line = trimmed(*text, n);

    n += newline != NULL;
    *text += n;
    *len -= n;
    return line;
}

static const char *value_of(const char *at, apr_size_t len, apr_pool_t *pool)
{
    part_t value = trimmed(at, len);
    const char *end;

    if (value.len > 0 && (*value.at == '"' || *value.at == '\'')) {
        end = memchr(value.at + 1, *value.at, value.len - 1);
        if (end != NULL) {
            return apr_pstrmemdup(pool, value.at + 1, (apr_size_t)(end - value.at - 1));
        }
    }
    end = memchr(value.at, '#', value.len);
    if (end != NULL) {
        value = trimmed(value.at, (apr_size_t)(end - value.at));
    }
    return apr_pstrmemdup(pool, value.at, value.len);
}

/* "[x]" and "[[x]]": is it the section that is looked for? */
static int is_section(const part_t *line, const char *section, apr_pool_t *pool)
{
    return section != NULL && is_text(line, apr_pstrcat(pool, "[", section, "]", NULL));
}

const char *acme_ini_get(const char *text, apr_size_t len, const char *section, const char *key,
                         apr_pool_t *pool)
{
    int inside = section == NULL;
    const char *equals;
    part_t line, name;

    if (len > ACME_INI_MAX || memchr(text, '\0', len) != NULL) {
        return NULL;
    }
    while (len > 0) {
        line = next_line(&text, &len);
        if (line.len > 0 && *line.at == '[') {
            inside = is_section(&line, section, pool);
            continue;
        }
        equals = inside && line.len > 0 && *line.at != '#' ? memchr(line.at, '=', line.len) : NULL;
        if (equals == NULL) {
            continue;
        }
        name = trimmed(line.at, (apr_size_t)(equals - line.at));
        if (is_text(&name, key)) {
            return value_of(equals + 1, (apr_size_t)(line.at + line.len - equals - 1), pool);
        }
    }
    return NULL;
}
