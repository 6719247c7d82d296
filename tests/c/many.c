/*
 * 10,000 channels at once, each a plain descriptor at both ends, so 20,000 of them, and each carries bytes both ways.
 * Two pairs of processes share them, for a descriptor costs one more inside of the library, and a process may have a
 * hard limit of 20,000.
 */
#include "check.h"
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>

#define PAIRS 2
/* A session has at most 1,024 channels, and two nodes have one session. */
#define SESSIONS 5
#define CHANNELS 1000
#define CHANNELS_EACH (SESSIONS * CHANNELS)
/* Of the process beside its channels: links, timers, what its parent left open. */
#define OTHERS 200

/* How far all processes are; in memory that they share. */
typedef struct progress {
    int open;
    int heard;
    int failed;
} progress;

static progress *all;

static void raise_to(int *place, int wanted)
{
    int64_t until = now_ms() + 10 * SOON_MS;

    while (__atomic_load_n(place, __ATOMIC_SEQ_CST) < wanted && __atomic_load_n(&all->failed, __ATOMIC_SEQ_CST) == 0) {
        MUST_BE(now_ms() < until);
        moment();
    }
}

static void add(int *place)
{
    __atomic_add_fetch(place, 1, __ATOMIC_SEQ_CST);
}

static void write_all(int fd, const void *data, size_t size)
{
    MUST_BE(write(fd, data, size) == (ssize_t)size);
}

static void read_all(int fd, void *data, size_t size)
{
    char *into = (char *)data;

    while (size > 0) {
        ssize_t taken = read(fd, into, size);

        MUST_BE(taken > 0);
        into += taken;
        size -= (size_t)taken;
    }
}

static void serve(int address_out)
{
    static int fds[CHANNELS_EACH];
    clv_node nodes[SESSIONS];
    clv_session sessions[SESSIONS];
    char address[CLV_ADDRESS_BYTES];
    uint64_t number;
    int at;

    for (at = 0; at < SESSIONS; at++) {
        memset(address, 0, sizeof address);
        nodes[at] = node_with(NULL);
        MUST(clv_node_listen(nodes[at], "127.0.0.1:0", -1, address, sizeof address));
        write_all(address_out, address, sizeof address);
        MUST(clv_accept(nodes[at], SOON_MS, &sessions[at]));
    }
    for (at = 0; at < CHANNELS_EACH; at++) {
        MUST(clv_accept_fd(sessions[at / CHANNELS], SOON_MS, 0, &fds[at]));
        add(&all->open);
    }
    raise_to(&all->open, 2 * PAIRS * CHANNELS_EACH);
    for (at = 0; at < CHANNELS_EACH; at++) {
        read_all(fds[at], &number, sizeof number);
        number = ~number;
        write_all(fds[at], &number, sizeof number);
    }
    /* The client closes first; that is the end of file here. */
    for (at = 0; at < CHANNELS_EACH; at++) {
        MUST_BE(read(fds[at], &number, sizeof number) == 0);
        close(fds[at]);
    }
    for (at = 0; at < SESSIONS; at++) {
        clv_session_close(sessions[at], SOON_MS);
        OK(clv_node_close(nodes[at], SOON_MS, NULL));
    }
}

static void visit(int address_in)
{
    static int fds[CHANNELS_EACH];
    clv_node nodes[SESSIONS];
    clv_session sessions[SESSIONS];
    char address[CLV_ADDRESS_BYTES];
    uint64_t number;
    int at;

    for (at = 0; at < SESSIONS; at++) {
        nodes[at] = node_with(NULL);
        read_all(address_in, address, sizeof address);
        MUST(clv_connect(nodes[at], address, SOON_MS, &sessions[at]));
    }
    for (at = 0; at < CHANNELS_EACH; at++) {
        number = (uint64_t)at * 1000003;
        MUST(clv_dial_fd(sessions[at / CHANNELS], "one of many", 0, &fds[at]));
        write_all(fds[at], &number, sizeof number);
        add(&all->open);
    }
    raise_to(&all->open, 2 * PAIRS * CHANNELS_EACH);
    for (at = 0; at < CHANNELS_EACH; at++) {
        read_all(fds[at], &number, sizeof number);
        MUST_BE(number == ~((uint64_t)at * 1000003));
    }
    add(&all->heard);
    /* Nobody closes one before all have worked. */
    raise_to(&all->heard, PAIRS);
    for (at = 0; at < CHANNELS_EACH; at++)
        close(fds[at]);
    for (at = 0; at < SESSIONS; at++) {
        OK(clv_session_close(sessions[at], SOON_MS));
        OK(clv_node_close(nodes[at], SOON_MS, NULL));
    }
}

static pid_t start(void (*part)(int), int pipe_end)
{
    pid_t child = fork();

    MUST_BE(child >= 0);
    if (child == 0) {
        alarm(280);
        part(pipe_end);
        fflush(stdout);
        _exit(check_state()->failed_here == 0 ? 0 : 1);
    }
    return child;
}

static void ten_thousand_channels_at_once(void)
{
    pid_t children[2 * PAIRS];
    int64_t started = now_ms();
    int at;

    for (at = 0; at < PAIRS; at++) {
        int ends[2];

        MUST_BE(pipe(ends) == 0);
        children[2 * at] = start(serve, ends[1]);
        children[2 * at + 1] = start(visit, ends[0]);
        close(ends[0]);
        close(ends[1]);
    }
    for (at = 0; at < 2 * PAIRS; at++) {
        int status = -1;
        pid_t ended = waitpid(-1, &status, 0);

        if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
            printf("process %d ended with %#x\n", (int)ended, (unsigned)status);
            __atomic_store_n(&all->failed, 1, __ATOMIC_SEQ_CST);
            CHECK(!"a process failed");
        }
    }
    (void)children;
    printf("%d descriptors, %d open in the end, in %d ms\n", 2 * PAIRS * CHANNELS_EACH, all->open,
           (int)(now_ms() - started));
}

int main(void)
{
    struct rlimit limit;

    check_begin();
    MUST_BE(getrlimit(RLIMIT_NOFILE, &limit) == 0);
    if (limit.rlim_max != RLIM_INFINITY && limit.rlim_max < 2 * CHANNELS_EACH + OTHERS) {
        printf("SKIPPED the hard limit of open files is %lu, and %d are needed (ulimit -Hn)\n",
               (unsigned long)limit.rlim_max, 2 * CHANNELS_EACH + OTHERS);
        return 0;
    }
    limit.rlim_cur = limit.rlim_max;
    MUST_BE(setrlimit(RLIMIT_NOFILE, &limit) == 0);
    all = (progress *)mmap(NULL, sizeof *all, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    MUST_BE(all != MAP_FAILED);
    RUN(ten_thousand_channels_at_once);
    return check_end();
}
