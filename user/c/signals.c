/* Signals as C programs use them: handlers, jumps out of a fault, an alternative
   stack, alarms by pipes, children. */

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

static sigjmp_buf back;
static volatile sig_atomic_t seen;

static void note(int number)
{
    seen = number;
}

static void leap(int number, siginfo_t *info, void *context)
{
    (void)context;
    seen = info->si_code;
    siglongjmp(back, number);
}

static int recurse(int depth)
{
    volatile char pad[4096];
    pad[0] = (char)depth;
    return depth < 0 ? 0 : recurse(depth + 1) + pad[0];
}

int main(void)
{
    static char stack[1 << 16];
    stack_t alternative = {.ss_sp = stack, .ss_size = sizeof stack};
    sigaltstack(&alternative, NULL);
    struct sigaction action = {.sa_sigaction = leap, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    sigaction(SIGSEGV, &action, NULL);

    volatile char *page = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (sigsetjmp(back, 1) == 0)
        *page = 1;
    else
        printf("write to a page that is read only: code %d\n", seen);
    munmap((void *)page, 4096);
    if (sigsetjmp(back, 1) == 0)
        *page = 1;
    else
        printf("write to no page: code %d\n", seen);
    if (sigsetjmp(back, 1) == 0)
        printf("%d\n", recurse(0));
    else
        printf("stack overflow caught: code %d\n", seen);

    signal(SIGUSR1, note);
    raise(SIGUSR1);
    printf("raised: %d\n", seen == SIGUSR1);

    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        signal(SIGTERM, SIG_DFL);
        for (;;)
            pause();
    }
    kill(child, SIGTERM);
    int status;
    waitpid(child, &status, 0);
    printf("child ended by signal %d\n", WTERMSIG(status));

    signal(SIGPIPE, SIG_IGN);
    int ends[2];
    if (pipe(ends))
        return 1;
    close(ends[0]);
    ssize_t written = write(ends[1], "x", 1);
    printf("write to a closed pipe: %zd, %s\n", written, strerror(errno));
    fflush(stdout);
    abort();
}
