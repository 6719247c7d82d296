/* Calls of 64 bytes as fast as they go: by one thread, and by several on one session. */
#define _POSIX_C_SOURCE 200809L
#include "session.h"

#include <pthread.h>
#include <stdlib.h>

enum { THREADS_MAX = 64 };

void call_once(clv_session session, const char *service)
{
    static const unsigned char REQUEST[CALL_BYTES];
    clv_buffer *reply;
    must(clv_call(session, service, REQUEST, sizeof REQUEST, WAIT_MS, &reply), "call");
    if (clv_buffer_size(reply) != sizeof REQUEST)
        die("reply");
    clv_buffer_free(reply);
}

void call_for(clv_session session, const char *service, uint64_t ms)
{
    static struct times times;
    uint64_t begin = now_ns(), until = begin + ms * 1000000;
    while (begin < until) {
        uint64_t end;
        call_once(session, service);
        end = now_ns();
        add_time(&times, end - begin);
        begin = end;
    }
    tell_times(&times);
}

struct caller {
    clv_session session;
    const char *service;
    uint64_t until_ns;
    uint64_t count;
};

static void *call_until(void *user)
{
    struct caller *caller = user;
    while (now_ns() < caller->until_ns) {
        call_once(caller->session, caller->service);
        caller->count++;
    }
    return NULL;
}

void call_by_many(clv_session session, unsigned long threads, const char *service, uint64_t ms)
{
    struct caller callers[THREADS_MAX];
    pthread_t ids[THREADS_MAX];
    uint64_t begin = now_ns(), count = 0;
    if (threads > THREADS_MAX)
        die("too many threads");
    for (unsigned long at = 0; at < threads; at++) {
        callers[at] = (struct caller){ session, service, begin + ms * 1000000, 0 };
        if (pthread_create(&ids[at], NULL, call_until, &callers[at]) != 0)
            die("thread");
    }
    for (unsigned long at = 0; at < threads; at++) {
        pthread_join(ids[at], NULL);
        count += callers[at].count;
    }
    tell_rate(count, now_ns() - begin);
}
