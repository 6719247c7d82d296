/*
 * The delay of a message that is alone: one every 100 us to 1 ms on a channel that carries nothing else. Each says when
 * it was sent; both processes read the same clock, so the consumer knows how long it took.
 */
#define _POSIX_C_SOURCE 200809L
#include "session.h"

enum { PAUSE_NS_MIN = 100000, PAUSE_NS_MAX = 1000000 };

struct summary {
    uint64_t p50_ns, p99_ns, count;
};

void lone_for(clv_session session, uint64_t ms)
{
    uint64_t message[CALL_BYTES / 8] = { 0 }, at = now_ns(), until = at + ms * 1000000;
    struct summary summary;
    clv_channel channel;
    size_t got = 0;
    sleep_exactly();
    must(clv_channel_open(session, "lone", NULL, WAIT_MS, &channel), "channel");
    do {
        at += draw(PAUSE_NS_MIN, PAUSE_NS_MAX);
        sleep_until_ns(at);
        message[0] = now_ns();
        must(clv_channel_send(channel, message, sizeof message, -1), "send");
    } while (at < until);
    must(clv_channel_end(channel), "end");
    must(clv_channel_recv(channel, &summary, sizeof summary, -1, &got), "delays");
    if (got != sizeof summary)
        die("delays");
    printf("times %lu %lu %lu\n", (unsigned long)summary.p50_ns, (unsigned long)summary.p99_ns,
           (unsigned long)summary.count);
    fflush(stdout);
    must(clv_channel_close(channel), "close");
}

void note_lone(clv_channel channel)
{
    uint64_t message[CALL_BYTES / 8];
    struct times times = { 0 };
    struct summary summary;
    size_t size;
    while (clv_channel_recv(channel, message, sizeof message, -1, &size) == CLV_OK)
        add_time(&times, now_ns() - message[0]);
    sort_times(&times);
    summary = (struct summary){ percentile(&times, 50), percentile(&times, 99), times.count };
    clv_channel_send(channel, &summary, sizeof summary, WAIT_MS);
    forget_times(&times);
}
