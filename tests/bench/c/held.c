/* What a session keeps: objects, and messages whose reader does not read. How much of it there is the director says. */
#define _POSIX_C_SOURCE 200809L
#include "session.h"

#include <semaphore.h>

/* A channel takes no more than 1 MiB of what its reader does not read, so what is queued is on several. */
enum { CHANNELS = 32 };

/* The server's: for each channel that is let go. */
static sem_t let_go_count;
/* The client's: open from `queue` to `deliver`. */
static clv_channel held[CHANNELS];
static uint64_t queued;

static void destroy(void *user, void *object)
{
    (void)user;
    (void)object;
}

/* Told is the time until the peer has heard of all of them. */
void attach_objects(clv_node node, clv_session session, unsigned long count)
{
    static char thing;
    static int has_kind;
    clv_kind kind = CLV_KIND_INIT;
    uint64_t begin, made = 0;
    kind.destroy = destroy;
    if (!has_kind)
        must(clv_kind_register(node, "thing", &kind), "kind");
    has_kind = 1;
    begin = now_ns();
    while (made < count) {
        clv_object object;
        clv_status status = clv_object_attach(session, "thing", &thing, -1, &object);
        if (status == CLV_E_LIMIT)
            break;
        if (status == CLV_E_AGAIN) {
            must(clv_session_drain(session, WAIT_MS), "drain");
            continue;
        }
        must(status, "attach");
        made++;
    }
    must(clv_session_drain(session, WAIT_MS), "drain");
    tell_rate(made, now_ns() - begin);
}

void queue_messages(clv_session session, unsigned long count, size_t size)
{
    static const unsigned char MESSAGE[MESSAGE_BYTES_MAX];
    uint64_t begin;
    for (int at = 0; at < CHANNELS; at++)
        must(clv_channel_open(session, "held", NULL, WAIT_MS, &held[at]), "channel");
    begin = now_ns();
    for (queued = 0; queued < count; queued++)
        must(clv_channel_send(held[queued % CHANNELS], MESSAGE, size, WAIT_MS), "queue");
    tell_rate(queued, now_ns() - begin);
}

void deliver_messages(clv_session session)
{
    uint64_t begin = now_ns(), sum = 0;
    clv_buffer *reply;
    must(clv_call(session, "deliver", NULL, 0, WAIT_MS, &reply), "deliver");
    clv_buffer_free(reply);
    for (int at = 0; at < CHANNELS; at++)
        must(clv_channel_end(held[at]), "end");
    for (int at = 0; at < CHANNELS; at++) {
        uint64_t counted = 0;
        size_t got;
        must(clv_channel_recv(held[at], &counted, sizeof counted, -1, &got), "count");
        sum += counted;
    }
    if (sum != queued)
        die("messages are missing");
    tell_rate(sum, now_ns() - begin);
    for (int at = 0; at < CHANNELS; at++)
        must(clv_channel_close(held[at]), "close");
}

clv_status let_go(void *user, clv_request request)
{
    (void)user;
    (void)request;
    for (int at = 0; at < CHANNELS; at++)
        if (sem_post(&let_go_count) != 0)
            return CLV_E_CALL_FAILED;
    return CLV_OK;
}

/* One channel after the other is taken, in the order in which they were opened. */
void take_held(clv_channel channel)
{
    while (sem_wait(&let_go_count) != 0)
        ;
    count_small(channel);
}
