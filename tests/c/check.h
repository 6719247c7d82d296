/*
 * What all test programs share: checks that count failures, one line per test ("ok name" or "FAILED name"), and pairs
 * of nodes. Everything is C99 and C++11, as the header that is tested.
 *
 * A program that hangs is ended by SIGALRM after CHECK_SECONDS (300); nothing waits that long when all is well.
 */
#ifndef CHECK_H
#define CHECK_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#include <clerver.h>
#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* Of a program without nodes; ThreadSanitizer has one of its own. */
#ifdef __SANITIZE_THREAD__
#define THREADS_OWN 2
#else
#define THREADS_OWN 1
#endif

/* Long enough for any machine. */
#define SOON_MS 20000

typedef struct check_counts {
    int failed_here;
    int failed;
    int passed;
} check_counts;

static inline check_counts *check_state(void)
{
    static check_counts counts;
    return &counts;
}

static inline void check_failed(const char *file, int line, const char *what)
{
    const char *name = strrchr(file, '/');

    __atomic_add_fetch(&check_state()->failed_here, 1, __ATOMIC_RELAXED);
    printf("%s:%d: %s\n", name != NULL ? name + 1 : file, line, what);
    fflush(stdout);
}

static inline void check_is_status(const char *file, int line, const char *what, clv_status is, clv_status wanted)
{
    char text[1200];

    if (is == wanted)
        return;
    snprintf(text, sizeof text, "%.400s\n    is %d %.40s, wanted %d %.40s\n    last error: %.400s", what, (int)is,
             clv_strerror(is), (int)wanted, clv_strerror(wanted), clv_last_error());
    check_failed(file, line, text);
}

/* Notes a failure and goes on. */
#define CHECK(condition) ((condition) ? (void)0 : check_failed(__FILE__, __LINE__, #condition))
/* Notes a failure when the status is another one, and goes on. */
#define STATUS(call, wanted) check_is_status(__FILE__, __LINE__, #call, (call), (wanted))
#define OK(call) STATUS(call, CLV_OK)
/* Without this nothing else makes sense: ends the program. */
#define MUST(call) must_be_ok(__FILE__, __LINE__, #call, (call))
#define MUST_BE(condition) ((condition) ? (void)0 : (check_failed(__FILE__, __LINE__, #condition), exit(1)))
/* Runs one test and prints its line. */
#define RUN(test) check_run(#test, test)

static inline void must_be_ok(const char *file, int line, const char *what, clv_status is)
{
    check_is_status(file, line, what, is, CLV_OK);
    if (is != CLV_OK)
        exit(1);
}

/* What a directory has in it. */
static inline int entries_of(const char *directory)
{
    DIR *all = opendir(directory);
    int count = 0;

    if (all == NULL)
        return -1;
    while (readdir(all) != NULL)
        count++;
    closedir(all);
    /* Without "." and "..". */
    return count - 2;
}

static inline void check_begin(void)
{
    const char *seconds = getenv("CHECK_SECONDS");

    MUST_BE(getenv("CLERVER_HOME") != NULL);
    alarm(seconds != NULL ? (unsigned)atoi(seconds) : 300);
}

static inline void check_run(const char *name, void (*test)(void))
{
    check_counts *counts = check_state();

    counts->failed_here = 0;
    test();
    if (counts->failed_here == 0) {
        counts->passed++;
    } else {
        counts->failed++;
    }
    printf("%s %s\n", counts->failed_here == 0 ? "ok" : "FAILED", name);
    fflush(stdout);
}

/* A moment, for things that ring no bell; callers look in a loop with an end. */
static inline void moment(void)
{
    struct timespec span = { 0, 5000000 };

    nanosleep(&span, NULL);
}

/* What main returns. Threads of the nodes that were closed end a moment later, and all of them. */
static inline int check_end(void)
{
    check_counts *counts = check_state();
    int looks;

    for (looks = 0; entries_of("/proc/self/task") > THREADS_OWN && looks < SOON_MS / 5; looks++)
        moment();
    if (entries_of("/proc/self/task") > THREADS_OWN) {
        printf("%d threads are left\n", entries_of("/proc/self/task"));
        counts->failed++;
    }
    printf("%d passed, %d failed\n", counts->passed, counts->failed);
    return counts->failed == 0 && counts->passed > 0 ? 0 : 1;
}

/* A count that threads raise and others wait for. */
typedef struct counter {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int count;
} counter;

#define COUNTER_INIT { PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0 }

static inline void counter_add(counter *of)
{
    pthread_mutex_lock(&of->lock);
    of->count++;
    pthread_cond_broadcast(&of->changed);
    pthread_mutex_unlock(&of->lock);
}

static inline int counter_get(counter *of)
{
    int count;

    pthread_mutex_lock(&of->lock);
    count = of->count;
    pthread_mutex_unlock(&of->lock);
    return count;
}

/* Waits until the count is at least so high; 0 when it took too long. */
static inline int counter_reaches(counter *of, int wanted)
{
    struct timespec until;
    int reached;

    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += SOON_MS / 1000;
    pthread_mutex_lock(&of->lock);
    while (of->count < wanted && pthread_cond_timedwait(&of->changed, &of->lock, &until) == 0)
        continue;
    reached = of->count >= wanted;
    pthread_mutex_unlock(&of->lock);
    return reached;
}

/* A clv_drop that counts; user is a counter. */
static inline void count_drop(void *user)
{
    counter_add((counter *)user);
}

static inline int64_t now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Descriptors that this process has open, without the one that counts. */
static inline int descriptors_open(void)
{
    return entries_of("/proc/self/fd") - 1;
}

/* Whether they become so few and so many: a thread that ends may hold one for a moment after the close. */
static inline int descriptors_settle(int least, int most)
{
    int looks, open = descriptors_open();

    for (looks = 0; (open < least || open > most) && looks < SOON_MS / 5; looks++) {
        moment();
        open = descriptors_open();
    }
    return open >= least && open <= most;
}

static inline int descriptors_become(int wanted)
{
    return descriptors_settle(wanted, wanted);
}

/* Whether no more than so many are left: some of an earlier test may have been there when they were counted. */
static inline int descriptors_fall_to(int most)
{
    return descriptors_settle(0, most);
}

/* A node whose options are name, value, name, value, .., NULL. */
static inline clv_node node_with(const char *const *settings)
{
    clv_options *options;
    clv_node node;

    MUST(clv_options_new(&options));
    for (; settings != NULL && settings[0] != NULL; settings += 2)
        MUST(clv_options_set(options, settings[0], settings[1]));
    MUST(clv_node_open(options, &node));
    clv_options_free(options);
    return node;
}

/* A service that answers with its request. */
static inline clv_status echo(void *user, clv_request request)
{
    const void *data;
    size_t size;

    (void)user;
    OK(clv_request_data(request, &data, &size));
    return clv_reply(request, data, size);
}

/* Two nodes of one home, which trust each other, and a session between them. */
typedef struct pair {
    clv_node server;
    clv_node client;
    char address[CLV_ADDRESS_BYTES];
    clv_session ours;
    clv_session theirs;
} pair;

/* Of these two nodes, of which the client connects to the server. */
static inline pair pair_between(clv_node client, clv_node server)
{
    pair made;

    made.server = server;
    made.client = client;
    MUST(clv_node_listen(made.server, "127.0.0.1:0", -1, made.address, sizeof made.address));
    MUST(clv_connect(made.client, made.address, SOON_MS, &made.ours));
    MUST(clv_accept(made.server, SOON_MS, &made.theirs));
    return made;
}

static inline pair pair_with(const char *const *settings)
{
    clv_node server = node_with(settings);

    return pair_between(node_with(settings), server);
}

static inline pair pair_open(void)
{
    return pair_with(NULL);
}

static inline void pair_close(pair *of)
{
    OK(clv_session_close(of->ours, SOON_MS));
    clv_session_close(of->theirs, SOON_MS);
    OK(clv_node_close(of->client, SOON_MS, NULL));
    OK(clv_node_close(of->server, SOON_MS, NULL));
}

/* A channel with both ends: the peer hears of it with the first message or byte, which is taken here. */
static inline void channel_pair(pair *of, int is_bytes, clv_channel *near, clv_channel *far)
{
    clv_channel_options options = CLV_CHANNEL_OPTIONS_INIT;
    char first[4];
    size_t received = 0;

    options.bytes = is_bytes;
    MUST(clv_channel_open(of->ours, "test", &options, SOON_MS, near));
    MUST(clv_channel_send(*near, "!", 1, SOON_MS));
    MUST(clv_channel_accept(of->theirs, SOON_MS, far));
    MUST(clv_channel_recv(*far, first, sizeof first, SOON_MS, &received));
    MUST_BE(received == 1 && first[0] == '!');
}

/* Another process of the same program, which runs `peer` of its main: a child by fork alone may open no node. */
static inline pid_t start_peer(const char *address)
{
    pid_t child = fork();

    if (child == 0) {
        execl("/proc/self/exe", "peer", address, (char *)NULL);
        _exit(127);
    }
    MUST_BE(child > 0);
    return child;
}

#endif
