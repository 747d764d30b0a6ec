/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#include "io/process.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#ifdef __linux__
#include <sys/prctl.h>
#include <sys/syscall.h>
#endif

#include "base/time.h"
#include "io/net.h"

#define GRACE apr_time_from_sec(2)
#define READS_AT_ONCE 64
#define LOWEST 3          /* of our descriptors: those below are the program's */
#define CLOSE_AT_MOST 65536

/* ---- descriptors ---- */

/* Where the kernel has no close_range; everything of ours is close-on-exec besides. */
static void close_one_by_one(int keep)
{
    struct rlimit limit;
    int fd, last = CLOSE_AT_MOST;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < CLOSE_AT_MOST) {
        last = (int)limit.rlim_cur;
    }
    for (fd = LOWEST; fd < last; fd++) {
        if (fd != keep) {
            close(fd);
        }
    }
}

static int close_from(unsigned first, unsigned last)
{
#ifdef SYS_close_range
    return first > last || syscall(SYS_close_range, first, last, 0) == 0;
#else
    (void)first, (void)last;
    return 0;
#endif
}

void acme_process_close_others(int keep)
{
    int done = keep < LOWEST ? close_from(LOWEST, ~0U)
                             : close_from(LOWEST, (unsigned)keep - 1)
                               && close_from((unsigned)keep + 1, ~0U);

    if (!done) {
        close_one_by_one(keep);
    }
}

static void close_fd(int *fd)
{
    if (*fd >= 0) {
        close(*fd);
    }
    *fd = -1;
}

/* Never a number that the program has for itself. */
static int move_up(int *fd)
{
    int low = *fd;

    if (low >= LOWEST) {
        return 1;
    }
    *fd = fcntl(low, F_DUPFD_CLOEXEC, LOWEST);
    close(low);
    return *fd >= 0;
}

static int make_pipe(int ends[2])
{
    if (pipe2(ends, O_CLOEXEC) != 0) {
        ends[0] = ends[1] = -1;
        return 0;
    }
    if (!move_up(&ends[0]) || !move_up(&ends[1])) {
        close_fd(&ends[0]);
        close_fd(&ends[1]);
        return 0;
    }
    return 1;
}

static void unblock(int fd)
{
    if (fd >= 0) {
        fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    }
}

/* ---- start ---- */

typedef struct {
    int in[2], out[2], err[2];
} pipes_t;

static void close_pipes(pipes_t *pipes)
{
    int i;

    for (i = 0; i < 2; i++) {
        close_fd(&pipes->in[i]);
        close_fd(&pipes->out[i]);
        close_fd(&pipes->err[i]);
    }
}

static int open_pipes(pipes_t *pipes, int has_input)
{
    memset(pipes, -1, sizeof(*pipes));
    if (has_input) {
        return make_pipe(pipes->in) && make_pipe(pipes->out) && make_pipe(pipes->err);
    }
    pipes->in[0] = open("/dev/null", O_RDONLY | O_CLOEXEC);
    return pipes->in[0] >= 0 && move_up(&pipes->in[0]) && make_pipe(pipes->out)
           && make_pipe(pipes->err);
}

static void reset_signals(void)
{
    struct sigaction action;
    sigset_t none;
    int i;

    memset(&action, 0, sizeof(action));
    action.sa_handler = SIG_DFL;
    for (i = 1; i < NSIG; i++) {
        sigaction(i, &action, NULL);
    }
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

/* In the forked process, which may have come from one with threads: until exec nothing but
 * async-signal-safe calls. Does not return. */
static void become(const acme_program_t *program, const pipes_t *pipes, pid_t parent)
{
    int code;

    setsid();
    if (dup2(pipes->in[0], 0) == 0 && dup2(pipes->out[1], 1) == 1 && dup2(pipes->out[1], 2) == 2
        && chdir("/") == 0) {
        acme_process_close_others(pipes->err[1]);
#ifdef __linux__
        /* One that is left behind by a crash would work beside that of the next owner. */
        prctl(PR_SET_PDEATHSIG, SIGTERM);
#endif
        reset_signals();
        if (getppid() == parent) {
            execve(program->argv[0], (char *const *)program->argv, (char *const *)program->env);
        }
    }
    code = errno;
    (void)!write(pipes->err[1], &code, sizeof(code));
    _exit(127);
}

static pid_t fork_blocked(const acme_program_t *program, const pipes_t *pipes)
{
    sigset_t all, former;
    pid_t parent = getpid();
    pid_t pid;

    /* A handler of this process must not run in the new one. */
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &former);
    pid = fork();
    if (pid == 0) {
        become(program, pipes, parent);
    }
    pthread_sigmask(SIG_SETMASK, &former, NULL);
    return pid;
}

acme_rv_t acme_process_start(acme_process_t *process, const acme_program_t *program,
                             apr_time_t now, acme_error_t *err)
{
    apr_status_t status = 0;
    pipes_t pipes;

    memset(process, 0, sizeof(*process));
    process->in = process->out = process->err = -1;
    if (open_pipes(&pipes, program->input_len > 0)) {
        process->pid = fork_blocked(program, &pipes);
    }
    if (process->pid <= 0) {
        status = APR_FROM_OS_ERROR(errno);
        process->pid = 0;
        close_pipes(&pipes);
        return acme_error_system(err, ACME_E_SYSTEM, "AC0912", status, "%s: cannot be started",
                                 program->argv[0]);
    }
    process->in = pipes.in[1];
    process->out = pipes.out[0];
    process->err = pipes.err[0];
    pipes.in[1] = pipes.out[0] = pipes.err[0] = -1;
    close_pipes(&pipes);
    unblock(process->in);
    unblock(process->out);
    unblock(process->err);
    process->input = program->input;
    process->input_len = program->input_len;
    process->term_at = acme_time_add(now, program->limit);
    process->kill_at = acme_time_add(process->term_at, GRACE);
    return ACME_OK;
}

/* ---- while it runs ---- */

static void feed(acme_process_t *process)
{
    ssize_t n = 0;

    while (process->in >= 0 && process->sent < process->input_len) {
        n = write(process->in, process->input + process->sent, process->input_len - process->sent);
        if (n <= 0) {
            break;
        }
        process->sent += (apr_size_t)n;
    }
    if (process->sent == process->input_len || (n < 0 && errno != EAGAIN && errno != EINTR)) {
        close_fd(&process->in);
    }
}

static void keep(acme_process_t *process, const char *data, apr_size_t len)
{
    apr_size_t room = sizeof(process->output) - process->output_len;

    len = len < room ? len : room;
    memcpy(process->output + process->output_len, data, len);
    process->output_len += len;
}

/* A bounded part, so that one that never stops writing cannot hold its minder. */
static void drain(acme_process_t *process)
{
    char buffer[16384];
    int i;

    for (i = 0; i < READS_AT_ONCE && process->out >= 0; i++) {
        ssize_t n = read(process->out, buffer, sizeof(buffer));

        if (n > 0) {
            keep(process, buffer, (apr_size_t)n);
        }
        else if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
            return;
        }
        else {
            close_fd(&process->out);
        }
    }
}

static void signal_group(const acme_process_t *process, int signum)
{
    /* Before it has called setsid there is no group yet. */
    if (kill(-process->pid, signum) != 0) {
        kill(process->pid, signum);
    }
}

static void mind_time(acme_process_t *process, apr_time_t now)
{
    if (process->term_at != 0 && now >= process->term_at) {
        process->term_at = 0;
        process->timed_out = 1;
        signal_group(process, SIGTERM);
    }
    if (process->timed_out && now >= process->kill_at) {
        signal_group(process, SIGKILL);
    }
}

static void reap(acme_process_t *process)
{
    int status = 0, code = 0;

    if (process->timed_out) {
        signal_group(process, SIGKILL); /* while the number is surely its own */
    }
    process->exit_status = -1;
    /* It has ended: this does not wait. Where SIGCHLD is ignored nobody can tell how. */
    if (waitpid(process->pid, &status, 0) == process->pid) {
        process->exit_status = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
        process->signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
    }
    if (process->err >= 0 && read(process->err, &code, sizeof(code)) == (ssize_t)sizeof(code)) {
        process->exec_errno = code;
    }
    drain(process);
    close_fd(&process->in);
    close_fd(&process->out);
    close_fd(&process->err);
    process->pid = 0;
}

acme_rv_t acme_process_step(acme_process_t *process, apr_time_t now)
{
    siginfo_t info;

    if (process->pid == 0) {
        return ACME_OK;
    }
    feed(process);
    drain(process);
    mind_time(process, now);
    memset(&info, 0, sizeof(info));
    if (waitid(P_PID, (id_t)process->pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0
        && info.si_pid == 0) {
        return ACME_AGAIN;
    }
    reap(process);
    return ACME_OK;
}

void acme_process_terminate(acme_process_t *process, apr_time_t now, apr_interval_time_t grace)
{
    apr_time_t kill_at = acme_time_add(now, grace);

    if (process->pid == 0) {
        return;
    }
    if (process->term_at != 0) {
        process->term_at = now;
    }
    if (process->kill_at > kill_at) {
        process->kill_at = kill_at;
    }
    mind_time(process, now);
}

int acme_process_fds(struct pollfd fds[ACME_PROCESS_FDS], const acme_process_t *process)
{
    int n = 0;

    if (process->in >= 0) {
        fds[n].fd = process->in;
        fds[n++].events = POLLOUT;
    }
    if (process->out >= 0) {
        fds[n].fd = process->out;
        fds[n++].events = POLLIN;
    }
    return n;
}
