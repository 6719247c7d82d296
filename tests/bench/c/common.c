/* What all programs of the bench need; see common.h. */
#define _GNU_SOURCE
#include "common.h"

#include <dirent.h>
#include <errno.h>
#include <sched.h>
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

void *must_have(void *memory)
{
    if (!memory)
        die("memory");
    return memory;
}

uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static struct rusage usage(void)
{
    struct rusage used;
    if (getrusage(RUSAGE_SELF, &used) != 0)
        die("getrusage");
    return used;
}

uint64_t cpu_time_us(void)
{
    struct rusage used = usage();
    uint64_t us = (uint64_t)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) * 1000000u;
    return us + (uint64_t)(used.ru_utime.tv_usec + used.ru_stime.tv_usec);
}

void sleep_exactly(void)
{
    if (prctl(PR_SET_TIMERSLACK, 1) != 0)
        die("timer slack");
}

void sleep_until_ns(uint64_t instant_ns)
{
    struct timespec until;
    until.tv_sec = (time_t)(instant_ns / 1000000000u);
    until.tv_nsec = (long)(instant_ns % 1000000000u);
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) == EINTR)
        ;
}

uint64_t draw(uint64_t low, uint64_t high)
{
    static uint64_t state = 88172645463325252u;
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return low + state % (high - low + 1);
}

void raise_flag(int *flag)
{
    __atomic_store_n(flag, 1, __ATOMIC_RELEASE);
}

int is_raised(const int *flag)
{
    return __atomic_load_n(flag, __ATOMIC_ACQUIRE);
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

uint64_t descriptors_max(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        die("getrlimit");
    return (uint64_t)limit.rlim_cur;
}

uint64_t descriptors_open(void)
{
    uint64_t count = 0;
    DIR *directory = opendir("/proc/self/fd");
    if (!directory)
        die("/proc/self/fd");
    while (readdir(directory))
        count++;
    closedir(directory);
    /* Without the directory's own, and its two entries for directories. */
    return count - 3;
}

void tell_stat(void)
{
    unsigned long total = 0, resident = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (!file || fscanf(file, "%lu %lu", &total, &resident) != 2)
        die("/proc/self/statm");
    fclose(file);
    printf("stat %lu %lu %ld\n", resident * (unsigned long)sysconf(_SC_PAGESIZE), (unsigned long)cpu_time_us(),
           usage().ru_nvcsw);
    fflush(stdout);
}

void rest(uint64_t ms)
{
    uint64_t begin = now_ns(), used_us = cpu_time_us();
    sleep_until_ns(begin + ms * 1000000);
    printf("rest %lu %lu\n", (unsigned long)(cpu_time_us() - used_us), (unsigned long)(now_ns() - begin));
    fflush(stdout);
}

void add_time(struct times *times, uint64_t ns)
{
    if (times->count == times->room) {
        times->room = times->room ? times->room * 2 : 1 << 16;
        times->ns = must_have(realloc(times->ns, times->room * sizeof *times->ns));
    }
    times->ns[times->count++] = ns;
}

void forget_times(struct times *times)
{
    free(times->ns);
    *times = (struct times){ 0 };
}

static int by_size(const void *left, const void *right)
{
    uint64_t a = *(const uint64_t *)left, b = *(const uint64_t *)right;
    return (a > b) - (a < b);
}

void sort_times(struct times *times)
{
    if (times->count == 0)
        die("nothing was measured within the time");
    qsort(times->ns, times->count, sizeof *times->ns, by_size);
}

uint64_t percentile(const struct times *times, unsigned percent)
{
    size_t at = times->count * percent / 100;
    return times->ns[at < times->count ? at : times->count - 1];
}

void tell_times(struct times *times)
{
    sort_times(times);
    printf("times %lu %lu %lu\n", (unsigned long)percentile(times, 50), (unsigned long)percentile(times, 99),
           (unsigned long)times->count);
    fflush(stdout);
    times->count = 0;
}

void tell_rate(uint64_t count, uint64_t ns)
{
    printf("rate %lu %lu\n", (unsigned long)count, (unsigned long)ns);
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
