/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#include "io/errand.h"

#include <stddef.h>
#include <string.h>

#define PREFIX "ACME_"
#define NAME_CHARS "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_"

typedef struct {
    apr_uint32_t kind, command;
    apr_uint64_t id;
    apr_int64_t limit;
    apr_uint32_t n_args, n_env, strings_len, input_len;
} head_t;

/* Nothing below lowest, nothing above '~'. */
static int plain(const char *text, char lowest)
{
    for (; *text != '\0'; text++) {
        if (*text < lowest || *text > '~') {
            return 0;
        }
    }
    return 1;
}

static int arg_ok(const char *arg)
{
    return *arg != '\0' && plain(arg, '!');
}

static int env_ok(const char *item)
{
    const char *value = strchr(item, '=');

    return strncmp(item, PREFIX, sizeof(PREFIX) - 1) == 0 && value != NULL
           && strspn(item, NAME_CHARS) == (apr_size_t)(value - item) && plain(value, ' ');
}

static int in_bounds(const head_t *head)
{
    return (head->kind == ACME_ERRAND_RUN || head->kind == ACME_ERRAND_END)
           && head->n_args <= ACME_PROGRAM_ARGS_MAX && head->n_env <= ACME_PROGRAM_ENV_MAX
           && head->strings_len <= ACME_PROGRAM_STRINGS_MAX
           && head->input_len <= ACME_PROGRAM_INPUT_MAX && head->limit >= 1
           && head->limit <= ACME_PROGRAM_LIMIT_MAX;
}

/* Takes n strings from *at on; 0 when there are fewer or one is not ok. */
static int take(const char **out, apr_uint32_t n, const char **at, const char *end,
                int (*ok)(const char *))
{
    apr_uint32_t i;

    for (i = 0; i < n; i++) {
        const char *stop = memchr(*at, '\0', (apr_size_t)(end - *at));

        if (stop == NULL || !ok(*at)) {
            return 0;
        }
        out[i] = *at;
        *at = stop + 1;
    }
    out[n] = NULL;
    return 1;
}

acme_rv_t acme_errand_parse(acme_errand_t *out, const char *data, apr_size_t len)
{
    const char *at, *end;
    head_t head;

    memset(out, 0, sizeof(*out));
    if (len < sizeof(head)) {
        return ACME_FAIL;
    }
    memcpy(&head, data, sizeof(head));
    if (!in_bounds(&head) || len != sizeof(head) + head.strings_len + head.input_len) {
        return ACME_FAIL;
    }
    at = data + sizeof(head);
    end = at + head.strings_len;
    if (!take(out->args, head.n_args, &at, end, arg_ok)
        || !take(out->env, head.n_env, &at, end, env_ok) || at != end) {
        return ACME_FAIL;
    }
    out->kind = head.kind == ACME_ERRAND_RUN ? ACME_ERRAND_RUN : ACME_ERRAND_END;
    out->id = head.id;
    out->command = head.command;
    out->limit = head.limit;
    out->n_args = (int)head.n_args;
    out->n_env = (int)head.n_env;
    out->input = end;
    out->input_len = head.input_len;
    return ACME_OK;
}

/* Their number; the bytes they take are added to *len. */
static apr_uint32_t count(const char *const *strings, int most, apr_size_t *len)
{
    apr_uint32_t n = 0;

    while ((int)n < most && strings[n] != NULL) {
        *len += strlen(strings[n++]) + 1;
    }
    return n;
}

static char *put(char *at, const char *const *strings, apr_uint32_t n)
{
    apr_uint32_t i;

    for (i = 0; i < n; i++) {
        apr_size_t len = strlen(strings[i]) + 1;

        memcpy(at, strings[i], len);
        at += len;
    }
    return at;
}

acme_rv_t acme_errand_encode(const char **out, apr_size_t *len, const acme_errand_t *errand,
                             apr_pool_t *pool, acme_error_t *err)
{
    apr_size_t strings_len = 0;
    acme_errand_t check;
    head_t head;
    char *at;

    memset(&head, 0, sizeof(head));
    head.kind = errand->kind;
    head.command = errand->command;
    head.id = errand->id;
    head.limit = errand->limit;
    head.n_args = count(errand->args, ACME_PROGRAM_ARGS_MAX, &strings_len);
    head.n_env = count(errand->env, ACME_PROGRAM_ENV_MAX, &strings_len);
    /* Too much is cut off in these two, and found by the parser. */
    head.strings_len = (apr_uint32_t)strings_len;
    head.input_len = (apr_uint32_t)errand->input_len;
    *len = sizeof(head) + strings_len + errand->input_len;
    at = apr_palloc(pool, *len);
    *out = at;
    memcpy(at, &head, sizeof(head));
    at = put(at + sizeof(head), errand->args, head.n_args);
    at = put(at, errand->env, head.n_env);
    if (errand->input_len > 0) {
        memcpy(at, errand->input, errand->input_len);
    }
    if (acme_errand_parse(&check, *out, *len) != ACME_OK) {
        return acme_error_set(err, ACME_E_CONFIG, "AC0919", "arguments, environment, input or time "
                              "limit are not what a program may get");
    }
    return ACME_OK;
}

apr_size_t acme_errand_reply_len(const acme_errand_reply_t *reply)
{
    return offsetof(acme_errand_reply_t, output) + reply->output_len;
}

int acme_errand_reply_ok(const acme_errand_reply_t *reply, apr_size_t len)
{
    return len >= offsetof(acme_errand_reply_t, output)
           && reply->output_len <= sizeof(reply->output) && len == acme_errand_reply_len(reply);
}
