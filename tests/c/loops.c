/* Programs with one thread: everything by events and poll() on clv_node_fd, and nodes that the program drives itself. */
#include "refusals.h"
#include <poll.h>

enum { SESSION_TOKEN = 10, CHANNEL_TOKEN = 11, CALL_TOKEN = 12 };

static int is_readable(int fd, int timeout_ms)
{
    struct pollfd wait = { 0, POLLIN, 0 };

    wait.fd = fd;
    return poll(&wait, 1, timeout_ms) == 1 && (wait.revents & POLLIN) != 0;
}

/* Takes events until one of this kind and token; 0 when none comes. */
static int comes(clv_node node, clv_event_kind kind, uint64_t token)
{
    int64_t until = now_ms() + SOON_MS;
    int fd = -1;

    OK(clv_node_fd(node, &fd));
    while (now_ms() < until) {
        clv_event event = CLV_EVENT_INIT;
        clv_status status = clv_node_next_event(node, 0, &event);

        if (status == CLV_E_AGAIN) {
            is_readable(fd, 100);
            continue;
        }
        OK(status);
        clv_buffer_free(event.data);
        if (event.kind == kind && event.token == token)
            return 1;
    }
    return 0;
}

static void the_descriptor_shows_whether_events_wait(void)
{
    pair both = pair_open();
    clv_event event = CLV_EVENT_INIT;
    int fd = -1;
    int round;

    OK(clv_node_fd(both.client, &fd));
    CHECK(is_readable(fd, SOON_MS));
    /* Level-triggered: as long as one waits, and no longer. */
    CHECK(is_readable(fd, 0));
    for (round = 0; round < 1000 && clv_node_next_event(both.client, 0, &event) == CLV_OK; round++)
        clv_buffer_free(event.data);
    CHECK(!is_readable(fd, 0));
    /* The last that comes by itself. */
    do
        MUST(clv_session_next_event(both.ours, SOON_MS, &event));
    while (event.kind != CLV_EVENT_PEER_ADDRESSES);
    OK(clv_session_watch(both.ours, SESSION_TOKEN));
    CHECK(is_readable(fd, 0));
    OK(clv_node_next_event(both.client, 0, &event));
    CHECK(event.kind == CLV_EVENT_SESSION_READY && event.token == SESSION_TOKEN);
    CHECK(!is_readable(fd, 0));
    STATUS(clv_node_next_event(both.client, 0, &event), CLV_E_AGAIN);
    STATUS(clv_node_next_event(both.client, 1, &event), CLV_E_TIMEOUT);
    pair_close(&both);
}

static void watched_things_tell_by_their_token(void)
{
    pair both = pair_open();
    clv_channel near, far;
    clv_pending_call call;
    clv_event event = CLV_EVENT_INIT;
    clv_buffer *part;
    size_t size;
    char room[16];

    MUST(clv_serve(both.server, "echo", NULL, echo, NULL, NULL));
    channel_pair(&both, 0, &near, &far);
    OK(clv_channel_watch(near, CHANNEL_TOKEN));
    /* The first ones come at once. */
    CHECK(comes(both.client, CLV_EVENT_READABLE, CHANNEL_TOKEN));
    CHECK(comes(both.client, CLV_EVENT_WRITABLE, CHANNEL_TOKEN));
    STATUS(clv_channel_recv(near, room, sizeof room, 0, &size), CLV_E_AGAIN);
    OK(clv_channel_send(far, "news", 4, SOON_MS));
    CHECK(comes(both.client, CLV_EVENT_READABLE, CHANNEL_TOKEN));
    OK(clv_channel_recv(near, room, sizeof room, 0, &size));
    STATUS(clv_channel_recv(near, room, sizeof room, 0, &size), CLV_E_AGAIN);
    OK(clv_channel_end(far));
    CHECK(comes(both.client, CLV_EVENT_READABLE, CHANNEL_TOKEN));
    STATUS(clv_channel_recv(near, room, sizeof room, 0, &size), CLV_E_END);

    MUST(clv_call_start(both.ours, "echo", "x", 1, SOON_MS, &call));
    OK(clv_call_watch(call, CALL_TOKEN));
    do {
        CHECK(comes(both.client, CLV_EVENT_READABLE, CALL_TOKEN));
    } while (clv_call_receive(call, 0, &part) == CLV_E_AGAIN && check_state()->failed_here == 0);
    CHECK(clv_buffer_size(part) == 1);
    clv_buffer_free(part);
    OK(clv_call_close(call));

    /* A channel of the peer is an event of the session, and the end of the session too. */
    OK(clv_session_watch(both.theirs, SESSION_TOKEN));
    CHECK(comes(both.server, CLV_EVENT_SESSION_READY, SESSION_TOKEN));
    while (clv_session_next_event(both.theirs, 0, &event) == CLV_OK)
        clv_buffer_free(event.data);
    OK(clv_channel_close(near));
    OK(clv_channel_close(far));
    OK(clv_session_close(both.ours, SOON_MS));
    CHECK(comes(both.server, CLV_EVENT_SESSION_READY, SESSION_TOKEN));
    do {
        MUST(clv_session_next_event(both.theirs, SOON_MS, &event));
        clv_buffer_free(event.data);
    } while (event.kind != CLV_EVENT_CLOSED && event.kind != CLV_EVENT_LOST);
    CHECK(event.kind == CLV_EVENT_CLOSED && event.status == CLV_E_CLOSED);
    STATUS(clv_session_next_event(both.theirs, -1, &event), CLV_E_END);
    clv_session_close(both.theirs, SOON_MS);
    OK(clv_node_close(both.client, SOON_MS, NULL));
    OK(clv_node_close(both.server, SOON_MS, NULL));
}

static void a_session_tells_of_itself_and_of_its_end(void)
{
    pair both = pair_open();
    clv_session_info info = CLV_SESSION_INFO_INIT;
    clv_counters counters = CLV_COUNTERS_INIT;
    clv_loss loss = CLV_LOSS_INIT;
    clv_state state = 0;
    char host[CLV_HOST_ID_BYTES], peer[CLV_HOST_ID_BYTES];

    OK(clv_session_wait_state(both.ours, 1u << CLV_STATE_LIVE, SOON_MS, &state));
    STATUS(clv_session_wait_state(both.ours, 1u << CLV_STATE_LOST, 10, NULL), CLV_E_TIMEOUT);
    STATUS(clv_session_wait_state(both.ours, 0, 10, NULL), CLV_E_TIMEOUT);
    OK(clv_session_get_info(both.ours, &info));
    CHECK(info.state == CLV_STATE_LIVE && info.links == 1 && info.level == 255 && info.sid[0] != 0);
    OK(clv_node_id(both.server, host, sizeof host));
    OK(clv_session_peer(both.ours, peer, sizeof peer));
    CHECK(strcmp(host, peer) == 0 && strcmp(host, info.peer_host) == 0);
    OK(clv_node_counters(both.client, &counters));
    CHECK(counters.sessions == 1 && counters.links == 1 && counters.bytes_sent > 0);
    STATUS(clv_session_loss(both.ours, &loss, NULL, NULL), CLV_E_STATE);
    OK(clv_session_close(both.theirs, SOON_MS));
    OK(clv_session_wait_state(both.ours, 1u << CLV_STATE_CLOSED, SOON_MS, &state));
    STATUS(clv_session_wait_state(both.ours, 1u << CLV_STATE_LIVE, SOON_MS, &state), CLV_E_CLOSED);
    OK(clv_session_loss(both.ours, &loss, never_sees_channel, NULL));
    CHECK(loss.cause == CLV_E_CLOSED && loss.channels == 0);
    OK(clv_session_close(both.ours, SOON_MS));
    OK(clv_node_close(both.client, SOON_MS, NULL));
    OK(clv_node_close(both.server, SOON_MS, NULL));
}

/* The queue is bounded: the oldest go, and are counted. */
static void events_that_nobody_takes_are_counted(void)
{
    static const char *const settings[] = { "events_max", "16", NULL };
    clv_node node = node_with(settings);
    clv_event event = CLV_EVENT_INIT;
    clv_session session;
    int at;

    for (at = 0; at < 20; at++)
        STATUS(clv_connect(node, "127.0.0.1:1", 0, &session), CLV_E_TIMEOUT);
    for (at = 0; at < 20; at++)
        CHECK(clv_connect(node, "127.0.0.1:1", 30, &session) != CLV_OK);
    for (at = 0; clv_node_next_event(node, 0, &event) == CLV_OK; at++) {
        clv_buffer_free(event.data);
        if (at == 0 && event.kind == CLV_EVENT_DROPPED)
            CHECK(event.number > 0);
    }
    CHECK(at >= 1 && at <= 17);
    OK(clv_node_close(node, SOON_MS, NULL));
}

/* A client with a thread of its own, for the other side of a node that is driven. */
typedef struct visitor {
    char address[CLV_ADDRESS_BYTES];
    counter done;
} visitor;

static void *visits(void *user)
{
    visitor *of = (visitor *)user;
    clv_node node = node_with(NULL);
    clv_session session;
    clv_channel channel;
    clv_buffer *reply;

    MUST(clv_connect(node, of->address, SOON_MS, &session));
    OK(clv_call(session, "driven", "x", 1, SOON_MS, &reply));
    CHECK(clv_buffer_size(reply) == 6);
    clv_buffer_free(reply);
    OK(clv_channel_open(session, "news", NULL, SOON_MS, &channel));
    OK(clv_channel_send(channel, "hello", 5, SOON_MS));
    OK(clv_channel_recv_buffer(channel, SOON_MS, &reply));
    clv_buffer_free(reply);
    OK(clv_channel_close(channel));
    OK(clv_session_close(session, SOON_MS));
    OK(clv_node_close(node, SOON_MS, NULL));
    counter_add(&of->done);
    return NULL;
}

static pthread_t handler_thread;

static clv_status handles_on_this_thread(void *user, clv_request request)
{
    clv_event event = CLV_EVENT_INIT;

    handler_thread = pthread_self();
    while (clv_node_next_event(*(clv_node *)user, 0, &event) == CLV_OK)
        clv_buffer_free(event.data);
    return clv_reply(request, "driven", 6);
}

static void a_driven_node_does_everything_in_run_once(void)
{
    static const char *const settings[] = { "caller_driven", "true", NULL };
    clv_node server = node_with(settings);
    clv_node threaded = node_with(NULL);
    visitor guest = { "", COUNTER_INIT };
    clv_session session = { 0 };
    clv_channel channel = { 0 };
    int64_t until = now_ms() + SOON_MS;
    pthread_t thread;
    size_t size;
    char room[16];
    int fd = -1, has_answered = 0;

    STATUS(clv_node_run_once(threaded, 0), CLV_E_STATE);
    OK(clv_node_close(threaded, SOON_MS, NULL));
    MUST(clv_serve(server, "driven", NULL, handles_on_this_thread, &server, NULL));
    MUST(clv_node_listen(server, "127.0.0.1:0", -1, guest.address, sizeof guest.address));
    OK(clv_node_fd(server, &fd));
    OK(clv_node_run_once(server, 0));
    MUST_BE(pthread_create(&thread, NULL, visits, &guest) == 0);
    while (counter_get(&guest.done) == 0 && now_ms() < until) {
        is_readable(fd, 100);
        OK(clv_node_run_once(server, 0));
        if (session.id == 0 && clv_accept(server, 0, &session) != CLV_OK)
            continue;
        if (channel.id == 0 && clv_channel_accept(session, 0, &channel) != CLV_OK)
            continue;
        if (!has_answered && clv_channel_recv(channel, room, sizeof room, 0, &size) == CLV_OK) {
            CHECK(size == 5);
            OK(clv_channel_try_send(channel, "back", 4, NULL));
            has_answered = 1;
        }
    }
    CHECK(has_answered && counter_get(&guest.done) == 1);
    pthread_join(thread, NULL);
    CHECK(pthread_equal(handler_thread, pthread_self()));
    OK(clv_channel_close(channel));
    clv_session_close(session, SOON_MS);
    OK(clv_node_close(server, SOON_MS, NULL));
    STATUS(clv_node_run_once(server, 0), CLV_E_HANDLE);
}

/* Outside of callbacks a driven node may wait: the call turns the loop itself. */
static void a_driven_node_may_call_and_wait(void)
{
    static const char *const settings[] = { "caller_driven", "true", NULL };
    clv_node server = node_with(NULL);
    clv_node client = node_with(settings);
    char address[CLV_ADDRESS_BYTES];
    clv_session session;
    clv_buffer *reply;

    MUST(clv_serve(server, "echo", NULL, echo, NULL, NULL));
    MUST(clv_node_listen(server, "127.0.0.1:0", -1, address, sizeof address));
    MUST(clv_connect(client, address, SOON_MS, &session));
    OK(clv_call(session, "echo", "alone", 5, SOON_MS, &reply));
    CHECK(clv_buffer_size(reply) == 5);
    clv_buffer_free(reply);
    OK(clv_session_close(session, SOON_MS));
    OK(clv_node_close(client, SOON_MS, NULL));
    OK(clv_node_close(server, SOON_MS, NULL));
}

enum { NODES = 20 };

/* Nodes that say so have one thread together, and no descriptor but their sockets. */
static void nodes_share_one_loop(void)
{
    static const char *const settings[] = { "engine", "shared", NULL };
    pair both = pair_with(settings);
    clv_node nodes[NODES];
    clv_session sessions[NODES];
    clv_options *options;
    clv_buffer *reply;
    int at, fd = -1, threads, descriptors;

    MUST(clv_serve(both.server, "echo", NULL, echo, NULL, NULL));
    /* Its worker too is there now. */
    OK(clv_call(both.ours, "echo", "first", 5, SOON_MS, &reply));
    clv_buffer_free(reply);
    threads = entries_of("/proc/self/task");
    descriptors = descriptors_open();
    for (at = 0; at < NODES; at++) {
        nodes[at] = node_with(settings);
        MUST(clv_connect(nodes[at], both.address, SOON_MS, &sessions[at]));
    }
    /* Each has two ends here. Names are looked up and pins are written by four threads at most. */
    CHECK(descriptors_become(descriptors + 2 * NODES));
    CHECK(entries_of("/proc/self/task") <= threads + 4);
    OK(clv_node_fd(nodes[0], &fd));
    CHECK(descriptors_become(descriptors + 2 * NODES + 1));
    for (at = 0; at < NODES; at++) {
        OK(clv_call(sessions[at], "echo", &at, sizeof at, SOON_MS, &reply));
        CHECK(clv_buffer_size(reply) == sizeof at && memcmp(clv_buffer_data(reply), &at, sizeof at) == 0);
        clv_buffer_free(reply);
        OK(clv_session_close(sessions[at], SOON_MS));
        OK(clv_node_close(nodes[at], SOON_MS, NULL));
    }
    pair_close(&both);

    MUST(clv_options_new(&options));
    STATUS(clv_options_set(options, "engine", "theirs"), CLV_E_CONFIG);
    OK(clv_options_set(options, "engine", "shared"));
    OK(clv_options_set(options, "caller_driven", "true"));
    STATUS(clv_node_open(options, &nodes[0]), CLV_E_CONFIG);
    clv_options_free(options);
}

int main(void)
{
    check_begin();
    RUN(the_descriptor_shows_whether_events_wait);
    RUN(watched_things_tell_by_their_token);
    RUN(a_session_tells_of_itself_and_of_its_end);
    RUN(events_that_nobody_takes_are_counted);
    RUN(a_driven_node_does_everything_in_run_once);
    RUN(a_driven_node_may_call_and_wait);
    RUN(nodes_share_one_loop);
    return check_end();
}
