/*
 * The programs of the bench, chosen by the first argument; the director (../src) starts two of them and tells them line
 * by line what to measure.
 *
 *     bench raw-serve|session-serve CPU [idle]            says `ready ADDRESS`, answers `stat`
 *     bench raw-client|session-client CPU ADDRESS         says `ready`, answers `call KIND MS`, `stream MS SIZE`, `stat`
 *     bench raw-idle|session-idle CPU ADDRESS COUNT       makes some connections, says `ready COUNT`; on `go` the others
 *     bench spin CPU                                      keeps the CPU awake
 *
 * CPU is the number of one that may be used, or -1. Each program ends with its input.
 */
#define _GNU_SOURCE
#include "common.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

void die(const char *what)
{
    fprintf(stderr, "bench: %s (%s)\n", what, strerror(errno));
    exit(1);
}

uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

void pin(int nth)
{
    cpu_set_t allowed, wanted;
    if (nth < 0)
        return;
    if (sched_getaffinity(0, sizeof allowed, &allowed) != 0)
        die("sched_getaffinity");
    CPU_ZERO(&wanted);
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
        if (CPU_ISSET(cpu, &allowed) && nth-- == 0)
            CPU_SET(cpu, &wanted);
    if (sched_setaffinity(0, sizeof wanted, &wanted) != 0)
        die("sched_setaffinity");
}

void spin(void)
{
    struct sched_param lowest;
    pid_t parent = getppid();
    memset(&lowest, 0, sizeof lowest);
    if (sched_setscheduler(0, SCHED_IDLE, &lowest) != 0)
        die("sched_setscheduler");
    say("ready");
    while (getppid() == parent)
        for (volatile int turn = 0; turn < 1000000; turn++)
            ;
}

void raise_descriptors(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

void tell_stat(void)
{
    struct rusage usage;
    unsigned long total = 0, resident = 0;
    uint64_t cpu_us;
    FILE *file = fopen("/proc/self/statm", "r");
    if (!file || fscanf(file, "%lu %lu", &total, &resident) != 2 || getrusage(RUSAGE_SELF, &usage) != 0)
        die("/proc/self/statm");
    fclose(file);
    cpu_us = (uint64_t)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000u;
    cpu_us += (uint64_t)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
    printf("stat %lu %lu %ld\n", resident * (unsigned long)sysconf(_SC_PAGESIZE), (unsigned long)cpu_us,
           usage.ru_nvcsw);
    fflush(stdout);
}

void add_time(struct times *times, uint64_t ns)
{
    if (times->count == times->room) {
        times->room = times->room ? times->room * 2 : 1 << 16;
        times->ns = realloc(times->ns, times->room * sizeof *times->ns);
        if (!times->ns)
            die("memory");
    }
    times->ns[times->count++] = ns;
}

static int by_size(const void *left, const void *right)
{
    uint64_t a = *(const uint64_t *)left, b = *(const uint64_t *)right;
    return (a > b) - (a < b);
}

void tell_times(struct times *times)
{
    if (times->count == 0)
        die("no call within the time");
    qsort(times->ns, times->count, sizeof *times->ns, by_size);
    printf("call %lu %lu %lu\n", (unsigned long)times->ns[times->count / 2],
           (unsigned long)times->ns[times->count * 99 / 100], (unsigned long)times->count);
    fflush(stdout);
    times->count = 0;
}

void tell_stream(uint64_t count, uint64_t ns)
{
    printf("stream %lu %lu\n", (unsigned long)count, (unsigned long)ns);
    fflush(stdout);
}

const char *next_line(void)
{
    static char line[256];
    if (!fgets(line, sizeof line, stdin))
        return NULL;
    line[strcspn(line, "\n")] = 0;
    return line;
}

void tell_progress(int made)
{
    if (made % 100 == 99)
        say("made");
}

void say(const char *line)
{
    puts(line);
    fflush(stdout);
}

int main(int argc, char **argv)
{
    const char *what = argc > 2 ? argv[1] : "";
    int idle = argc > 3 && strcmp(argv[3], "idle") == 0;
    int count = argc > 4 ? atoi(argv[4]) : 0;
    signal(SIGPIPE, SIG_IGN);
    /* A director that is killed leaves nothing behind. */
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (argc > 2)
        pin(atoi(argv[2]));
    raise_descriptors();
    if (strcmp(what, "spin") == 0)
        spin();
    else if (strcmp(what, "raw-serve") == 0)
        raw_serve(idle);
    else if (strcmp(what, "session-serve") == 0)
        session_serve(idle);
    else if (argc > 3 && strcmp(what, "raw-client") == 0)
        raw_client(argv[3]);
    else if (argc > 3 && strcmp(what, "session-client") == 0)
        session_client(argv[3]);
    else if (argc > 4 && strcmp(what, "raw-idle") == 0)
        raw_idle_client(argv[3], count);
    else if (argc > 4 && strcmp(what, "session-idle") == 0)
        session_idle_client(argv[3], count);
    else
        die("which program? see the top of bench.c");
    return 0;
}
