/* Messages one way on one channel in a tight loop. The consumer counts them, and answers the count at the end. */
#define _POSIX_C_SOURCE 200809L
#include "session.h"

/* From here on messages are looked at where they are; smaller ones are copied into memory of ours. */
enum { LARGE_BYTES = 4096 };

void stream_for(clv_session session, uint64_t ms, size_t size)
{
    static const unsigned char MESSAGE[MESSAGE_BYTES_MAX];
    uint64_t begin = now_ns(), until = begin + ms * 1000000, sent = 0, counted = 0;
    clv_channel channel;
    size_t got = 0;
    must(clv_channel_open(session, size > LARGE_BYTES ? "large" : "small", NULL, WAIT_MS, &channel), "channel");
    do {
        for (int turn = 0; turn < 16; turn++, sent++)
            must(clv_channel_send(channel, MESSAGE, size, -1), "send");
    } while (now_ns() < until);
    must(clv_channel_end(channel), "end");
    must(clv_channel_recv(channel, &counted, sizeof counted, -1, &got), "count");
    if (counted != sent)
        die("messages are missing");
    tell_rate(sent, now_ns() - begin);
    must(clv_channel_close(channel), "close");
}

/* The client broke off when the end is none; then nobody waits for the count. */
static void tell_count(clv_channel channel, clv_status status, uint64_t count)
{
    if (status == CLV_E_END)
        clv_channel_send(channel, &count, sizeof count, WAIT_MS);
}

void count_large(clv_channel channel)
{
    uint64_t count = 0;
    clv_status status;
    clv_buffer *message;
    while ((status = clv_channel_recv_buffer(channel, -1, &message)) == CLV_OK) {
        count++;
        clv_buffer_free(message);
    }
    tell_count(channel, status, count);
}

void count_small(clv_channel channel)
{
    unsigned char message[LARGE_BYTES];
    uint64_t count = 0;
    clv_status status;
    size_t size;
    while ((status = clv_channel_recv(channel, message, sizeof message, -1, &size)) == CLV_OK)
        count++;
    tell_count(channel, status, count);
}
