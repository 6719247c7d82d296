/*
 * Memory stays flat: calls, objects, channels, sessions and nodes in loops, measured after a third and at the end.
 *
 * 100,000 loops of a call, an object and a channel each, and fewer of the rest: a debug build takes a millisecond of a
 * core for each. CHECK_LOOPS sets another number, for a first look; what may grow stays the same.
 */
#include "check.h"

#include <malloc.h>

#define LOOPS 100000
#define SESSIONS_EACH 100
#define NODES_EACH 600
/* What may be held more at the end than after a third. */
#define GROWTH_BYTES_MAX (64 * 1024)
/* The number of an ended session is known for 60 s, so that it is never taken for a new one. */
#define ENDED_SESSION_BYTES_MAX 600
#define NODE_BYTES_MAX 1024
/* Pages that the allocator keeps come and go. */
#define RESIDENT_BYTES_MAX (8 * 1024 * 1024)

static counter destroyed = COUNTER_INIT;

static void destroy(void *user, void *object)
{
    (void)user;
    free(object);
    counter_add(&destroyed);
}

static int loops(void)
{
    const char *wanted = getenv("CHECK_LOOPS");

    return wanted != NULL ? atoi(wanted) : LOOPS;
}

static size_t resident_bytes(void)
{
    FILE *status = fopen("/proc/self/status", "r");
    unsigned long kilobytes = 0;
    char line[256];

    while (status != NULL && fgets(line, sizeof line, status) != NULL)
        if (sscanf(line, "VmRSS: %lu", &kilobytes) == 1)
            break;
    if (status != NULL)
        fclose(status);
    return (size_t)kilobytes * 1024;
}

typedef struct memory {
    size_t held;
    size_t resident;
} memory;

static memory measure(void)
{
    memory now;

    now.held = mallinfo2().uordblks + mallinfo2().hblkhd;
    now.resident = resident_bytes();
    return now;
}

static void compare(const char *what, int count, memory before, memory after, size_t growth_max)
{
    printf("%s: %d loops, held %ld -> %ld, resident %ld -> %ld KiB\n", what, count, (long)before.held / 1024,
           (long)after.held / 1024, (long)before.resident / 1024, (long)after.resident / 1024);
    CHECK(after.held < before.held + growth_max);
    CHECK(after.resident < before.resident + RESIDENT_BYTES_MAX);
}

/* What is on its way at one measure must not be counted at the other. */
static memory measure_at_rest(clv_node server, clv_node client)
{
    clv_counters counters = CLV_COUNTERS_INIT;
    int64_t until = now_ms() + SOON_MS;

    do {
        moment();
        MUST(clv_node_counters(server, &counters));
        if (counters.buffered == 0)
            MUST(clv_node_counters(client, &counters));
    } while (counters.buffered != 0 && now_ms() < until);
    return measure();
}

static void take_events(clv_node node, clv_session session)
{
    clv_event event = CLV_EVENT_INIT;

    while (clv_node_next_event(node, 0, &event) == CLV_OK)
        clv_buffer_free(event.data);
    while (session.id != 0 && clv_session_next_event(session, 0, &event) == CLV_OK)
        clv_buffer_free(event.data);
}

/* One call, one object, one channel with a message. */
static void one_of_each(pair *both)
{
    void *payload = malloc(100);
    clv_channel near, far;
    clv_object object;
    clv_buffer *buffer;

    MUST(clv_call(both->ours, "echo", "12345678", 8, SOON_MS, &buffer));
    clv_buffer_free(buffer);
    MUST(clv_object_attach(both->theirs, "thing", payload, -1, &object));
    MUST(clv_object_end(both->theirs, object));
    MUST(clv_channel_open(both->ours, "loop", NULL, SOON_MS, &near));
    MUST(clv_channel_send(near, "message", 7, SOON_MS));
    MUST(clv_channel_accept(both->theirs, SOON_MS, &far));
    MUST(clv_channel_recv_buffer(far, SOON_MS, &buffer));
    clv_buffer_free(buffer);
    MUST(clv_channel_close(near));
    MUST(clv_channel_close(far));
}

static void calls_objects_and_channels(void)
{
    pair both = pair_open();
    clv_kind kind = CLV_KIND_INIT;
    int count = loops(), at;
    memory before = { 0, 0 };

    kind.destroy = destroy;
    MUST(clv_serve(both.server, "echo", NULL, echo, NULL, NULL));
    MUST(clv_kind_register(both.server, "thing", &kind));
    for (at = 0; at < count; at++) {
        if (at == count / 3) {
            CHECK(counter_reaches(&destroyed, at));
            before = measure_at_rest(both.server, both.client);
        }
        one_of_each(&both);
        if (at % 100 == 0) {
            take_events(both.client, both.ours);
            take_events(both.server, both.theirs);
        }
    }
    CHECK(counter_reaches(&destroyed, count));
    take_events(both.client, both.ours);
    take_events(both.server, both.theirs);
    compare("calls, objects and channels", count, before, measure_at_rest(both.server, both.client),
            GROWTH_BYTES_MAX);
    pair_close(&both);
    CHECK(counter_get(&destroyed) == count);
}

static void sessions_of_two_nodes(void)
{
    clv_node server = node_with(NULL), client = node_with(NULL);
    int count = loops() / SESSIONS_EACH, at;
    char address[CLV_ADDRESS_BYTES];
    clv_session none = { 0 };
    memory before = { 0, 0 };

    MUST(clv_node_listen(server, "127.0.0.1:0", -1, address, sizeof address));
    for (at = 0; at < count; at++) {
        clv_session ours, theirs;

        if (at == count / 3)
            before = measure();
        MUST(clv_connect(client, address, SOON_MS, &ours));
        MUST(clv_accept(server, SOON_MS, &theirs));
        MUST(clv_session_close(ours, SOON_MS));
        clv_session_close(theirs, SOON_MS);
        take_events(client, none);
        take_events(server, none);
    }
    compare("sessions", count, before, measure(), GROWTH_BYTES_MAX + (size_t)count * ENDED_SESSION_BYTES_MAX);
    OK(clv_node_close(client, SOON_MS, NULL));
    OK(clv_node_close(server, SOON_MS, NULL));
}

static void nodes(void)
{
    int count = loops() / NODES_EACH, at;
    memory before = { 0, 0 };

    for (at = 0; at < count; at++) {
        pair both;

        if (at == count / 3)
            before = measure();
        both = pair_open();
        pair_close(&both);
    }
    compare("nodes", count, before, measure(), GROWTH_BYTES_MAX + (size_t)count * NODE_BYTES_MAX);
}

int main(void)
{
    check_begin();
    RUN(calls_objects_and_channels);
    RUN(sessions_of_two_nodes);
    RUN(nodes);
    return check_end();
}
