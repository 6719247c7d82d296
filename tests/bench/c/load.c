/*
 * Calls with pauses between them, beside a channel that carries what the link can. Told are two delays, or after how
 * many milliseconds a call failed:
 *   round trip   from when the call was due to its reply. A call that waits makes the next ones late, and that counts,
 *                for a caller who comes by chance would have met it.
 *   way          from when the call was sent until its handler ran at the other end. A call is sent before the data of
 *                channels, as a beat is, and a beat before a call: so a beat is not later than this.
 */
#define _POSIX_C_SOURCE 200809L
#include "session.h"

#include <pthread.h>
#include <string.h>

struct bulk {
    clv_session session;
    size_t size;
    int is_over;
    /* Of the channel, held by the peer. */
    uint64_t held_bytes;
};

/* How long a send waits before it looks whether it is over. */
enum { SEND_MS = 100 };
/* The director does not wait longer than 40 s for a line. */
static const uint64_t SAY_NS = 10000000000u;

/* Ends by itself when the session does. */
static void *carry_bulk(void *user)
{
    static const unsigned char MESSAGE[MESSAGE_BYTES_MAX];
    struct bulk *bulk = user;
    clv_channel_report report = CLV_CHANNEL_REPORT_INIT;
    clv_channel channel;
    clv_status status = CLV_OK;
    must(clv_channel_open(bulk->session, "large", NULL, WAIT_MS, &channel), "channel");
    while (!is_raised(&bulk->is_over) && (status == CLV_OK || status == CLV_E_TIMEOUT))
        status = clv_channel_send(channel, MESSAGE, bulk->size, SEND_MS);
    if (clv_channel_get_report(channel, &report) == CLV_OK)
        bulk->held_bytes = report.held;
    /* Without effect when the session is over. */
    clv_channel_reset(channel, "enough");
    must(clv_channel_close(channel), "close");
    return NULL;
}

/* Calls; *time_ns is when the handler ran. */
static clv_status ask_time(clv_session session, uint64_t *time_ns)
{
    static const unsigned char REQUEST[CALL_BYTES];
    clv_buffer *reply;
    clv_status status = clv_call(session, "clock", REQUEST, sizeof REQUEST, WAIT_MS, &reply);
    if (status != CLV_OK)
        return status;
    if (clv_buffer_size(reply) != sizeof *time_ns)
        die("reply");
    memcpy(time_ns, clv_buffer_data(reply), sizeof *time_ns);
    clv_buffer_free(reply);
    return CLV_OK;
}

struct paced {
    struct times trips, ways;
    uint64_t round_trip_us_max;
    /* Why it ended before its time. */
    clv_status status;
};

static void note_call(struct paced *paced, clv_session session, uint64_t trip_ns, uint64_t way_ns)
{
    clv_session_info info = CLV_SESSION_INFO_INIT;
    add_time(&paced->trips, trip_ns);
    add_time(&paced->ways, way_ns);
    if (clv_session_get_info(session, &info) == CLV_OK && info.round_trip_us > paced->round_trip_us_max)
        paced->round_trip_us_max = info.round_trip_us;
}

/* Calls until the time is over, or the session. */
static void call_in_time(struct paced *paced, clv_session session, uint64_t ms, uint64_t period_us)
{
    /* The first calls are made while the queues fill, and do not count. */
    uint64_t begin = now_ns(), due = begin, count_from = begin + ms * 125000, until = begin + ms * 1000000;
    uint64_t say_at = begin + SAY_NS;
    sleep_exactly();
    for (; due < until; due += period_us * 1000) {
        uint64_t sent, came;
        sleep_until_ns(due);
        sent = now_ns();
        paced->status = ask_time(session, &came);
        if (paced->status != CLV_OK)
            return;
        if (due >= count_from)
            note_call(paced, session, now_ns() - due, came - sent);
        if (came > say_at) {
            say("made");
            say_at = came + SAY_NS;
        }
    }
}

void pace_for(clv_session session, uint64_t ms, uint64_t period_us, size_t bulk_bytes)
{
    static struct paced paced;
    struct bulk bulk = { session, bulk_bytes, 0, 0 };
    struct times *trips = &paced.trips, *ways = &paced.ways;
    uint64_t begin = now_ns(), took_ms;
    pthread_t thread;
    if (bulk_bytes > 0 && pthread_create(&thread, NULL, carry_bulk, &bulk) != 0)
        die("thread");
    call_in_time(&paced, session, ms, period_us);
    raise_flag(&bulk.is_over);
    if (bulk_bytes > 0)
        pthread_join(thread, NULL);
    took_ms = (now_ns() - begin) / 1000000 + 1;
    if (paced.status == CLV_OK) {
        sort_times(trips);
        sort_times(ways);
        printf("paced %lu %lu %lu %lu %lu %lu\n", (unsigned long)percentile(trips, 99),
               (unsigned long)percentile(ways, 50), (unsigned long)percentile(ways, 99), (unsigned long)trips->count,
               (unsigned long)(bulk.held_bytes * 1000 / took_ms), (unsigned long)paced.round_trip_us_max);
    } else {
        fprintf(stderr, "bench: call beside bulk: %s\n", clv_last_error());
        printf("paced %lu\n", (unsigned long)took_ms);
    }
    fflush(stdout);
    paced.round_trip_us_max = trips->count = ways->count = 0;
}
