/*
 * The delay of what the server pushes, about every 300 us, while the client makes bursts of calls: whoever lets callers
 * read the link may notice a push late. Each push says when it was sent; both processes read the same clock.
 */
#define _POSIX_C_SOURCE 200809L
#include "session.h"

#include <pthread.h>

enum { PUSH_NS_MIN = 250000, PUSH_NS_MAX = 350000, CALLS_PER_BURST = 20, PAUSE_NS = 8000000 };

/* The client's reader of pushes, until the server ends the channel. */
static void *note_pushes(void *user)
{
    clv_channel channel = *(clv_channel *)user;
    static struct times times;
    uint64_t message[CALL_BYTES / 8];
    clv_status status;
    size_t size;
    while ((status = clv_channel_recv(channel, message, sizeof message, -1, &size)) == CLV_OK)
        add_time(&times, now_ns() - message[0]);
    if (status != CLV_E_END)
        must(status, "pushes");
    tell_times(&times);
    return NULL;
}

void burst_for(clv_session session, uint64_t ms)
{
    clv_channel channel;
    pthread_t reader;
    uint64_t until = now_ns() + ms * 1000000;
    must(clv_channel_open(session, "push", NULL, WAIT_MS, &channel), "channel");
    must(clv_channel_send(channel, &ms, sizeof ms, WAIT_MS), "send");
    if (pthread_create(&reader, NULL, note_pushes, &channel) != 0)
        die("thread");
    sleep_exactly();
    while (now_ns() < until) {
        for (int turn = 0; turn < CALLS_PER_BURST; turn++)
            call_once(session, "inline");
        sleep_until_ns(now_ns() + PAUSE_NS);
    }
    pthread_join(reader, NULL);
    must(clv_channel_close(channel), "close");
}

void push_for(clv_channel channel)
{
    uint64_t message[CALL_BYTES / 8] = { 0 }, ms = 0, at, until;
    size_t got = 0;
    must(clv_channel_recv(channel, &ms, sizeof ms, WAIT_MS, &got), "how long to push");
    at = now_ns();
    until = at + ms * 1000000;
    sleep_exactly();
    do {
        at += draw(PUSH_NS_MIN, PUSH_NS_MAX);
        sleep_until_ns(at);
        message[0] = now_ns();
    } while (clv_channel_send(channel, message, sizeof message, WAIT_MS) == CLV_OK && at < until);
}
