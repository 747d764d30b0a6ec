/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#include "io/program.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <apr_strings.h>

#include "base/time.h"
#include "io/helper.h"
#include "io/net.h"
#include "io/process.h"

#define GRACE apr_time_from_sec(1)          /* of a program that nobody wants any more */
#define QUIT_AT_MOST apr_time_from_msec(1900)
#define ANSWER_LATE apr_time_from_sec(5)    /* of the helper, after the limit and SIGKILL */
#define FDS (2 + ACME_PROGRAMS_AT_ONCE * ACME_PROCESS_FDS)

typedef enum {
    RUN_QUEUED,  /* the thread has not seen it */
    RUN_OWN,     /* a process of ours */
    RUN_ASKED,   /* the helper has it */
    RUN_ENDED
} run_state_t;

struct acme_program_run_t {
    acme_program_run_t *next;
    acme_program_runner_t *runner;
    apr_pool_t *pool;        /* its own, unmanaged: freed by whoever sees it ended and released */
    apr_pool_t *asker;
    acme_program_t program;
    run_state_t state;
    int released;
    apr_uint64_t id;
    const char *packet;      /* for the helper */
    apr_size_t packet_len;
    apr_time_t give_up_at;   /* the helper */
    acme_process_t process;
    acme_program_result_t result;
    acme_error_t error;      /* kind ACME_E_NONE: it ran */
};

struct acme_program_runner_t {
    acme_program_runner_conf_t conf;
    pthread_mutex_t mutex;
    pthread_t thread;
    int has_thread, quit;
    int wake[2];             /* a pipe */
    int connection;          /* to the helper, -1: none */
    apr_uint64_t last_id;
    acme_program_run_t *runs;
    int n_runs;
};

/* ---- results ---- */

static void one_line(char out[ACME_PROGRAM_OUTPUT + 1], const char *raw, apr_size_t len)
{
    char text[ACME_PROGRAM_OUTPUT];
    apr_size_t i;

    while (len > 0 && strchr("\r\n\t ", raw[len - 1]) != NULL) {
        len--;
    }
    for (i = 0; i < len; i++) {
        text[i] = raw[i] == '\n' || raw[i] == '\r' || raw[i] == '\t' ? ' ' : raw[i];
    }
    acme_printable(out, ACME_PROGRAM_OUTPUT + 1, text, (apr_ssize_t)len);
}

static void not_executed(acme_program_run_t *run, int code)
{
    acme_error_system(&run->error, ACME_E_CONFIG, "AC0910", APR_FROM_OS_ERROR(code),
                      "%s: cannot be executed", run->program.argv[0]);
}

static void end_own(acme_program_run_t *run)
{
    const acme_process_t *process = &run->process;

    run->state = RUN_ENDED;
    if (process->exec_errno != 0) {
        not_executed(run, process->exec_errno);
        return;
    }
    run->result.exit_status = process->exit_status;
    run->result.signal = process->signal;
    run->result.timed_out = process->timed_out;
    one_line(run->result.output, process->output, process->output_len);
}

static void no_help(acme_program_run_t *run, const char *why)
{
    run->state = RUN_ENDED;
    acme_error_set(&run->error, ACME_E_SYSTEM, "AC0913", "%s: the helper process: %s",
                   run->program.argv[0], why);
}

static void end_asked(acme_program_run_t *run, const acme_errand_reply_t *reply)
{
    one_line(run->result.output, reply->output, reply->output_len);
    if (reply->refused) {
        no_help(run, run->result.output);
        return;
    }
    run->state = RUN_ENDED;
    if (reply->exec_errno != 0) {
        not_executed(run, reply->exec_errno);
        return;
    }
    run->result.exit_status = reply->exit_status;
    run->result.signal = reply->signal;
    run->result.timed_out = reply->timed_out != 0;
}

acme_rv_t acme_program_verdict(const acme_program_result_t *result, acme_error_t *err)
{
    const char *between = result->output[0] != '\0' ? ": " : "";
    char how[40];

    if (result->exit_status == 0 && !result->timed_out) {
        return ACME_OK;
    }
    if (result->timed_out) {
        apr_snprintf(how, sizeof(how), "was ended after its time limit");
    }
    else if (result->signal != 0) {
        apr_snprintf(how, sizeof(how), "ended by signal %d", result->signal);
    }
    else {
        apr_snprintf(how, sizeof(how), "exit status %d", result->exit_status);
    }
    return acme_error_set(err, ACME_E_SYSTEM, "AC0911", "%s%s%s", how, between, result->output);
}

/* ---- the thread: the helper ---- */

static void hang_up(acme_program_runner_t *r, const char *why)
{
    acme_program_run_t *run;

    if (r->connection >= 0) {
        close(r->connection);
        r->connection = -1;
    }
    for (run = r->runs; run != NULL; run = run->next) {
        if (run->state == RUN_ASKED) {
            no_help(run, why);
        }
    }
}

/* Later, when the helper has no room just now. */
static void ask(acme_program_runner_t *r, acme_program_run_t *run, apr_time_t now)
{
    if (run->give_up_at == 0) {
        run->give_up_at = acme_time_add(now, run->program.limit + ANSWER_LATE);
    }
    if (r->connection < 0) {
        r->connection = acme_helper_connect(r->conf.helper_fd);
    }
    if (r->connection >= 0
        && send(r->connection, run->packet, run->packet_len, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0) {
        run->state = RUN_ASKED;
    }
    else if (errno != EAGAIN && errno != EINTR && errno != ENOBUFS) {
        char why[200];

        apr_strerror(APR_FROM_OS_ERROR(errno), why, sizeof(why));
        no_help(run, why);
        hang_up(r, why);
    }
}

static void unask(acme_program_runner_t *r, acme_program_run_t *run)
{
    acme_errand_t errand;
    const char *packet;
    apr_size_t len;

    memset(&errand, 0, sizeof(errand));
    errand.kind = ACME_ERRAND_END;
    errand.id = run->id;
    errand.limit = 1;
    if (acme_errand_encode(&packet, &len, &errand, run->pool, NULL) == ACME_OK) {
        (void)send(r->connection, packet, len, MSG_DONTWAIT | MSG_NOSIGNAL);
    }
    run->state = RUN_ENDED;
}

static void take_replies(acme_program_runner_t *r)
{
    acme_errand_reply_t reply;
    acme_program_run_t *run;
    ssize_t len;

    while (r->connection >= 0) {
        len = recv(r->connection, &reply, sizeof(reply), MSG_DONTWAIT);
        if (len < 0 && (errno == EAGAIN || errno == EINTR)) {
            return;
        }
        if (len <= 0 || !acme_errand_reply_ok(&reply, (apr_size_t)len)) {
            hang_up(r, "it is gone");
            return;
        }
        for (run = r->runs; run != NULL; run = run->next) {
            if (run->state == RUN_ASKED && run->id == reply.id) {
                end_asked(run, &reply);
            }
        }
    }
}

/* ---- the thread: one run ---- */

static void begin(acme_program_runner_t *r, acme_program_run_t *run, apr_time_t now)
{
    if (run->released || r->quit) {
        run->state = RUN_ENDED;
    }
    else if (r->conf.helper_fd >= 0) {
        ask(r, run, now);
    }
    else if (acme_process_start(&run->process, &run->program, now, &run->error) == ACME_OK) {
        run->state = RUN_OWN;
    }
    else {
        run->state = RUN_ENDED;
    }
}

static void advance(acme_program_runner_t *r, acme_program_run_t *run, apr_time_t now)
{
    switch (run->state) {
    case RUN_QUEUED:
        begin(r, run, now);
        break;
    case RUN_OWN:
        if (run->released || r->quit) {
            acme_process_terminate(&run->process, now, GRACE);
        }
        if (acme_process_step(&run->process, now) == ACME_OK) {
            end_own(run);
        }
        break;
    case RUN_ASKED:
        if (run->released || r->quit) {
            unask(r, run);
        }
        break;
    case RUN_ENDED:
        break;
    }
    if (run->give_up_at != 0 && now >= run->give_up_at && run->state != RUN_ENDED) {
        no_help(run, "it does not answer");
    }
}

static void forget(acme_program_runner_t *r, acme_program_run_t **link)
{
    acme_program_run_t *run = *link;

    *link = run->next;
    r->n_runs--;
    apr_pool_destroy(run->pool);
}

/* Returns whether something runs that has to be looked at again soon. */
static int advance_all(acme_program_runner_t *r, apr_time_t now)
{
    acme_program_run_t **link = &r->runs;
    int busy = 0;

    take_replies(r);
    while (*link != NULL) {
        acme_program_run_t *run = *link;

        advance(r, run, now);
        busy |= run->state != RUN_ENDED;
        if (run->released && run->state == RUN_ENDED) {
            forget(r, link);
        }
        else {
            link = &run->next;
        }
    }
    return busy;
}

static int watch(struct pollfd fds[FDS], const acme_program_runner_t *r)
{
    const acme_program_run_t *run;
    int n = 0;

    fds[n].fd = r->wake[0];
    fds[n++].events = POLLIN;
    if (r->connection >= 0) {
        fds[n].fd = r->connection;
        fds[n++].events = POLLIN;
    }
    for (run = r->runs; run != NULL; run = run->next) {
        if (run->state == RUN_OWN) {
            n += acme_process_fds(fds + n, &run->process);
        }
    }
    return n;
}

static void rest(acme_program_runner_t *r, int busy)
{
    struct pollfd fds[FDS];
    char bytes[64];
    int n = watch(fds, r);

    pthread_mutex_unlock(&r->mutex);
    (void)poll(fds, (nfds_t)n, busy ? ACME_PROCESS_TICK : -1);
    (void)!read(r->wake[0], bytes, sizeof(bytes));
    pthread_mutex_lock(&r->mutex);
}

static void *minder(void *baton)
{
    acme_program_runner_t *r = baton;
    apr_time_t quit_at = 0;
    apr_time_t now;
    int busy;

    pthread_mutex_lock(&r->mutex);
    for (;;) {
        now = acme_net_now();
        busy = advance_all(r, now);
        if (r->quit && quit_at == 0) {
            quit_at = acme_time_add(now, QUIT_AT_MOST);
        }
        if (r->quit && (!busy || now >= quit_at)) {
            break;
        }
        rest(r, busy);
    }
    pthread_mutex_unlock(&r->mutex);
    return NULL;
}

/* ---- the asker's side ---- */

static void wake(acme_program_runner_t *r)
{
    (void)!write(r->wake[1], "", 1);
}

static int start_thread(acme_program_runner_t *r)
{
    sigset_t all, former;

    if (r->has_thread) {
        return 1;
    }
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &former);
    r->has_thread = pthread_create(&r->thread, NULL, minder, r) == 0;
    pthread_sigmask(SIG_SETMASK, &former, NULL);
    return r->has_thread;
}

static apr_status_t runner_cleanup(void *data)
{
    acme_program_runner_t *r = data;

    pthread_mutex_lock(&r->mutex);
    r->quit = 1;
    pthread_mutex_unlock(&r->mutex);
    wake(r);
    if (r->has_thread) {
        pthread_join(r->thread, NULL);
    }
    while (r->runs != NULL) {
        forget(r, &r->runs);
    }
    if (r->connection >= 0) {
        close(r->connection);
    }
    close(r->wake[0]);
    close(r->wake[1]);
    pthread_mutex_destroy(&r->mutex);
    return APR_SUCCESS;
}

acme_rv_t acme_program_runner_create(acme_program_runner_t **out,
                                     const acme_program_runner_conf_t *conf, apr_pool_t *pool,
                                     acme_error_t *err)
{
    acme_program_runner_t *r = apr_pcalloc(pool, sizeof(*r));

    *out = NULL;
    r->conf = *conf;
    r->connection = -1;
    if (pipe2(r->wake, O_CLOEXEC | O_NONBLOCK) != 0 || pthread_mutex_init(&r->mutex, NULL) != 0) {
        return acme_error_system(err, ACME_E_SYSTEM, NULL, APR_FROM_OS_ERROR(errno),
                                 "no runner for programs");
    }
    apr_pool_cleanup_register(pool, r, runner_cleanup, apr_pool_cleanup_null);
    *out = r;
    return ACME_OK;
}

static int same_name(const char *a, const char *b)
{
    apr_size_t len = strcspn(a, "=");

    return strcspn(b, "=") == len && strncmp(a, b, len) == 0;
}

static int hidden(const char *item, const char *const *extra)
{
    for (; extra != NULL && *extra != NULL; extra++) {
        if (same_name(item, *extra)) {
            return 1;
        }
    }
    return 0;
}

static const char *const *listed(const apr_array_header_t *items)
{
    return (const char *const *)items->elts;
}

const char *const *acme_program_env(const acme_program_runner_t *runner, const char *const *extra,
                                    apr_pool_t *pool)
{
    apr_array_header_t *items = apr_array_make(pool, 16, sizeof(const char *));
    const char *const *item;

    for (item = runner->conf.env; item != NULL && *item != NULL; item++) {
        if (!hidden(*item, extra)) {
            APR_ARRAY_PUSH(items, const char *) = *item;
        }
    }
    for (item = extra; item != NULL && *item != NULL; item++) {
        APR_ARRAY_PUSH(items, const char *) = *item;
    }
    APR_ARRAY_PUSH(items, const char *) = NULL;
    return listed(items);
}

static const char *const *copied(const char *const *list, apr_pool_t *pool)
{
    apr_array_header_t *items = apr_array_make(pool, 16, sizeof(const char *));

    for (; list != NULL && *list != NULL; list++) {
        APR_ARRAY_PUSH(items, const char *) = apr_pstrdup(pool, *list);
    }
    APR_ARRAY_PUSH(items, const char *) = NULL;
    return listed(items);
}

/* The number of leading arguments that are those of the command, 0: it is another one. */
static int prefix_len(const char *const *command, const char *const *argv)
{
    int n;

    for (n = 0; command[n] != NULL; n++) {
        if (argv[n] == NULL || strcmp(argv[n], command[n]) != 0) {
            return 0;
        }
    }
    return n;
}

/* The longest command that argv begins with; *len 0: none. */
static int command_of(int *len, const acme_program_runner_conf_t *conf, const char *const *argv)
{
    int i, found = -1;

    *len = 0;
    for (i = 0; i < conf->n_commands; i++) {
        int n = prefix_len(conf->commands[i], argv);

        if (n > *len) {
            *len = n;
            found = i;
        }
    }
    return found;
}

/* Those of list that begin with prefix; 0 when they are more than most. */
static int pick(const char **out, int most, const char *const *list, const char *prefix)
{
    int n = 0;

    for (; *list != NULL; list++) {
        if (strncmp(*list, prefix, strlen(prefix)) != 0) {
            continue;
        }
        if (n == most) {
            return 0;
        }
        out[n++] = *list;
    }
    return 1;
}

/* What the helper would get; where programs run here it is only a check, so that both ways allow
 * the same. NULL, or what is wrong. */
static const char *pack(acme_program_run_t *run, const acme_program_runner_t *r)
{
    const acme_program_t *program = &run->program;
    acme_errand_t errand;
    acme_error_t err;
    int len, command = command_of(&len, &r->conf, program->argv);

    acme_error_clear(&err);
    memset(&errand, 0, sizeof(errand));
    errand.kind = ACME_ERRAND_RUN;
    errand.id = run->id;
    errand.command = (apr_uint32_t)command;
    errand.limit = program->limit;
    errand.input = program->input;
    errand.input_len = program->input_len;
    if (command < 0) {
        return "no such program is configured";
    }
    if (!pick(errand.args, ACME_PROGRAM_ARGS_MAX, program->argv + len, "")
        || !pick(errand.env, ACME_PROGRAM_ENV_MAX, program->env, "ACME_")) {
        return "too many arguments or environment variables";
    }
    return acme_errand_encode(&run->packet, &run->packet_len, &errand, run->pool, &err) == ACME_OK
           ? NULL : apr_pstrdup(run->pool, err.text);
}

static const char *unfit(acme_program_run_t *run, const acme_program_runner_t *r)
{
    const acme_program_t *program = &run->program;

    if (program->argv[0] == NULL || program->argv[0][0] != '/') {
        return "not an absolute path";
    }
    if (program->limit < 1 || program->limit > ACME_PROGRAM_LIMIT_MAX
        || program->input_len > ACME_PROGRAM_INPUT_MAX) {
        return "its time limit or input is out of bounds";
    }
    if (r->conf.trouble != NULL) {
        return r->conf.trouble;
    }
    return r->conf.n_commands > 0 ? pack(run, r) : NULL;
}

static apr_status_t run_cleanup(void *data)
{
    acme_program_run_t *run = data;
    acme_program_runner_t *r = run->runner;

    pthread_mutex_lock(&r->mutex);
    run->released = 1;
    pthread_mutex_unlock(&r->mutex);
    wake(r);
    return APR_SUCCESS;
}

static acme_program_run_t *new_run(acme_program_runner_t *r, const acme_program_t *program,
                                   apr_pool_t *asker)
{
    acme_program_run_t *run;
    apr_pool_t *pool;

    if (apr_pool_create_unmanaged_ex(&pool, NULL, NULL) != APR_SUCCESS) {
        return NULL;
    }
    run = apr_pcalloc(pool, sizeof(*run));
    run->runner = r;
    run->pool = pool;
    run->asker = asker;
    run->program = *program;
    run->program.argv = copied(program->argv, pool);
    run->program.env = copied(program->env, pool);
    run->program.input = apr_pmemdup(pool, program->input, program->input_len);
    return run;
}

/* Called with the lock. */
static acme_rv_t enqueue(acme_program_run_t *run, acme_program_runner_t *r, acme_error_t *err)
{
    const char *trouble;

    run->id = ++r->last_id;
    trouble = unfit(run, r);
    if (trouble == NULL && !start_thread(r)) {
        trouble = "no thread can be started";
    }
    if (trouble != NULL) {
        return acme_error_set(err, ACME_E_CONFIG, "AC0918", "%s: cannot be run: %s",
                              run->program.argv[0] != NULL ? run->program.argv[0] : "", trouble);
    }
    run->next = r->runs;
    r->runs = run;
    r->n_runs++;
    return ACME_OK;
}

acme_rv_t acme_program_start(acme_program_run_t **out, acme_program_runner_t *runner,
                             const acme_program_t *program, apr_pool_t *pool, acme_error_t *err)
{
    acme_program_run_t *run = new_run(runner, program, pool);
    acme_rv_t rv = ACME_AGAIN;

    *out = NULL;
    if (run == NULL) {
        return rv;
    }
    pthread_mutex_lock(&runner->mutex);
    if (runner->n_runs < ACME_PROGRAMS_AT_ONCE) {
        rv = enqueue(run, runner, err);
    }
    pthread_mutex_unlock(&runner->mutex);
    if (rv != ACME_OK) {
        apr_pool_destroy(run->pool);
        return rv;
    }
    apr_pool_cleanup_register(pool, run, run_cleanup, apr_pool_cleanup_null);
    wake(runner);
    *out = run;
    return ACME_OK;
}

acme_rv_t acme_program_poll(acme_program_result_t *result, acme_program_run_t *run,
                            acme_error_t *err)
{
    acme_rv_t rv = ACME_AGAIN;

    pthread_mutex_lock(&run->runner->mutex);
    if (run->state == RUN_ENDED) {
        rv = run->error.kind == ACME_E_NONE ? ACME_OK : ACME_FAIL;
        *result = run->result;
        if (rv == ACME_FAIL && err != NULL && err->kind == ACME_E_NONE) {
            *err = run->error;
        }
    }
    pthread_mutex_unlock(&run->runner->mutex);
    return rv;
}

void acme_program_end(acme_program_run_t *run)
{
    apr_pool_cleanup_run(run->asker, run, run_cleanup);
}
