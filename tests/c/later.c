/* What a program starts and does not wait for: connects, closes and drains. */
#include "events.h"
#include "refusals.h"

enum { CONNECT_TOKEN = 20, SESSION_TOKEN = 21, MESSAGE_BYTES = 100000 };

#define NOBODY "127.0.0.1:1"

/* Two nodes without a session. */
static pair nodes_open(void)
{
    pair made;

    memset(&made, 0, sizeof made);
    made.server = node_with(NULL);
    made.client = node_with(NULL);
    MUST(clv_node_listen(made.server, "127.0.0.1:0", -1, made.address, sizeof made.address));
    return made;
}

static void nodes_close(pair *of)
{
    OK(clv_node_close(of->client, SOON_MS, NULL));
    OK(clv_node_close(of->server, SOON_MS, NULL));
}

static clv_connecting start(clv_node node, const char *address, int64_t timeout_ms)
{
    clv_connect_options options = CLV_CONNECT_OPTIONS_INIT;
    clv_connecting connecting = { 0 };

    options.addresses = &address;
    options.addresses_count = 1;
    MUST(clv_connect_start(node, &options, timeout_ms, &connecting));
    CHECK(connecting.id != 0);
    return connecting;
}

static void a_connect_is_told_by_its_event_and_taken_with_0(void)
{
    pair both = nodes_open();
    clv_connecting connecting = start(both.client, both.address, SOON_MS);
    clv_connecting shared;
    clv_session other = { 0 };
    clv_state state = 0;

    OK(clv_connecting_watch(connecting, CONNECT_TOKEN));
    CHECK(comes(both.client, CLV_EVENT_READABLE, CONNECT_TOKEN));
    MUST(clv_connecting_take(connecting, 0, &both.ours));
    STAMPED(other);
    STATUS(clv_connecting_take(connecting, 0, &other), CLV_E_STATE);
    STATUS(clv_connecting_take(connecting, -1, &other), CLV_E_STATE);
    STATUS(clv_connecting_watch(connecting, CONNECT_TOKEN), CLV_E_HANDLE);
    UNTOUCHED(other);
    OK(clv_connecting_cancel(connecting));
    OK(clv_connecting_close(connecting));
    refuse_connecting(connecting, CLV_E_HANDLE);
    OK(clv_session_state(both.ours, &state));
    CHECK(state == CLV_STATE_LIVE);
    MUST(clv_accept(both.server, SOON_MS, &both.theirs));

    /* One that shares the session is told too, also when it is watched only after its end. */
    shared = start(both.client, both.address, SOON_MS);
    CHECK(comes(both.client, CLV_EVENT_CONNECTED, 0));
    OK(clv_connecting_watch(shared, CONNECT_TOKEN + 1));
    CHECK(comes(both.client, CLV_EVENT_READABLE, CONNECT_TOKEN + 1));
    MUST(clv_connecting_take(shared, 0, &other));
    OK(clv_connecting_close(shared));
    OK(clv_session_close(other, SOON_MS));
    OK(clv_session_state(both.ours, &state));
    CHECK(state == CLV_STATE_LIVE);
    pair_close(&both);
}

static void a_connect_that_fails_says_why(void)
{
    pair both = nodes_open();
    clv_connecting connecting = start(both.client, NOBODY, 300);
    char named[CLV_ADDRESS_BYTES + 20];
    clv_session session;

    STAMPED(session);
    STATUS(clv_connecting_take(connecting, 0, &session), CLV_E_AGAIN);
    STATUS(clv_connecting_take(connecting, 1, &session), CLV_E_TIMEOUT);
    OK(clv_connecting_watch(connecting, CONNECT_TOKEN));
    CHECK(comes(both.client, CLV_EVENT_READABLE, CONNECT_TOKEN));
    STATUS(clv_connecting_take(connecting, 0, &session), CLV_E_TIMEOUT);
    CHECK(strstr(clv_last_error(), NOBODY) != NULL);
    STATUS(clv_connecting_take(connecting, 0, &session), CLV_E_STATE);
    OK(clv_connecting_close(connecting));

    snprintf(named, sizeof named, "clv://%s/another", both.address);
    connecting = start(both.client, named, SOON_MS);
    STATUS(clv_connecting_take(connecting, SOON_MS, &session), CLV_E_WRONG_NODE);
    OK(clv_connecting_close(connecting));
    UNTOUCHED(session);
    nodes_close(&both);
}

/* A thread that waits for a connect. */
typedef struct waiter {
    clv_connecting connecting;
    clv_status answer;
    counter about;
    pthread_t thread;
} waiter;

static void *waits_for_a_session(void *user)
{
    waiter *of = (waiter *)user;
    clv_session session;

    counter_add(&of->about);
    of->answer = clv_connecting_take(of->connecting, -1, &session);
    return NULL;
}

static void begin(waiter *of, clv_node node)
{
    counter zero = COUNTER_INIT;

    of->connecting = start(node, NOBODY, -1);
    of->answer = CLV_OK;
    of->about = zero;
    MUST_BE(pthread_create(&of->thread, NULL, waits_for_a_session, of) == 0);
    CHECK(counter_reaches(&of->about, 1));
    CHECK(comes(node, CLV_EVENT_DIAL_RETRY, 0));
    /* Its last steps into the wait ring no bell. */
    moment();
}

static void cancel_and_close_wake_who_waits(void)
{
    pair both = nodes_open();
    waiter cancelled, closed, late;
    clv_session session;

    begin(&cancelled, both.client);
    OK(clv_connecting_cancel(cancelled.connecting));
    pthread_join(cancelled.thread, NULL);
    STATUS(cancelled.answer, CLV_E_CANCELLED);
    OK(clv_connecting_cancel(cancelled.connecting));
    STATUS(clv_connecting_take(cancelled.connecting, 0, &session), CLV_E_STATE);
    OK(clv_connecting_close(cancelled.connecting));

    begin(&closed, both.client);
    OK(clv_connecting_close(closed.connecting));
    pthread_join(closed.thread, NULL);
    STATUS(closed.answer, closed.answer == CLV_E_HANDLE ? CLV_E_HANDLE : CLV_E_CANCELLED);

    begin(&late, both.client);
    nodes_close(&both);
    pthread_join(late.thread, NULL);
    STATUS(late.answer, CLV_E_CLOSED);
    STATUS(clv_connecting_watch(late.connecting, CONNECT_TOKEN), CLV_E_CLOSED);
    OK(clv_connecting_close(late.connecting));
}

static void a_connect_that_nobody_takes_leaves_no_session(void)
{
    pair both = nodes_open();
    clv_connecting connecting = start(both.client, both.address, SOON_MS);

    CHECK(comes(both.client, CLV_EVENT_CONNECTED, 0));
    MUST(clv_accept(both.server, SOON_MS, &both.theirs));
    OK(clv_connecting_close(connecting));
    OK(clv_session_wait_state(both.theirs, 1u << CLV_STATE_CLOSED, SOON_MS, NULL));
    OK(clv_session_close(both.theirs, 0));
    nodes_close(&both);
}

/* Sends until there is no room, and answers how many messages. */
static int fill(clv_channel channel)
{
    char *message = (char *)calloc(1, MESSAGE_BYTES);
    int sent = 0;

    MUST_BE(message != NULL);
    while (clv_channel_try_send(channel, message, MESSAGE_BYTES, NULL) == CLV_OK)
        sent++;
    free(message);
    CHECK(sent > 0);
    return sent;
}

static void a_close_that_was_started_is_told_and_taken_later(void)
{
    pair both = pair_open();
    clv_channel near, far;
    clv_state state = CLV_STATE_LIVE;
    clv_session other;
    size_t size;
    char room[16];

    channel_pair(&both, 0, &near, &far);
    OK(clv_session_watch(both.ours, SESSION_TOKEN));
    OK(clv_channel_send(near, "the last", 8, SOON_MS));
    OK(clv_channel_close(near));
    OK(clv_session_close_start(both.ours, 10000));
    for (;;) {
        OK(clv_session_state(both.ours, &state));
        if (state != CLV_STATE_CLOSING || !comes(both.client, CLV_EVENT_SESSION_READY, SESSION_TOKEN))
            break;
    }
    CHECK(state == CLV_STATE_CLOSED);
    OK(clv_session_close(both.ours, 0));
    refuse_session(both.ours, CLV_E_HANDLE);
    OK(clv_channel_recv(far, room, sizeof room, SOON_MS, &size));
    CHECK(size == 8 && memcmp(room, "the last", 8) == 0);
    OK(clv_channel_close(far));
    clv_session_close(both.theirs, SOON_MS);

    /* Nobody reads there, so it cannot be delivered; and a session with two handles does not end. */
    MUST(clv_connect(both.client, both.address, SOON_MS, &both.ours));
    MUST(clv_connect(both.client, both.address, SOON_MS, &other));
    MUST(clv_accept(both.server, SOON_MS, &both.theirs));
    OK(clv_session_close_start(other, 0));
    OK(clv_session_close(other, SOON_MS));
    OK(clv_session_state(both.ours, &state));
    CHECK(state == CLV_STATE_LIVE);
    MUST(clv_channel_open(both.ours, "full", NULL, SOON_MS, &near));
    fill(near);
    OK(clv_channel_close(near));
    OK(clv_session_close_start(both.ours, 100));
    STATUS(clv_session_close(both.ours, SOON_MS), CLV_E_TIMEOUT);
    clv_session_close(both.theirs, SOON_MS);
    nodes_close(&both);
}

static void the_end_of_a_drain_is_told_to_who_only_looked(void)
{
    pair both = pair_open();
    clv_leftovers left = CLV_LEFTOVERS_INIT;
    clv_event event = CLV_EVENT_INIT;
    int sent, is_drained = 0, is_node_drained = 0;
    clv_channel near, far;
    clv_buffer *message;

    OK(clv_session_watch(both.ours, SESSION_TOKEN));
    channel_pair(&both, 0, &near, &far);
    OK(clv_session_drain(both.ours, SOON_MS));
    OK(clv_session_drain(both.ours, 0));
    sent = fill(near);
    STATUS(clv_session_drain(both.ours, 0), CLV_E_TIMEOUT);
    OK(clv_node_drain(both.client, 0, &left));
    CHECK(left.channels == 1 && left.bytes > 0);
    for (; sent > 0; sent--) {
        OK(clv_channel_recv_buffer(far, SOON_MS, &message));
        clv_buffer_free(message);
    }
    while (!(is_drained && is_node_drained) && next(both.client, &event)) {
        if (event.kind == CLV_EVENT_SESSION_READY && event.token == SESSION_TOKEN)
            is_drained = clv_session_drain(both.ours, 0) == CLV_OK;
        if (event.kind == CLV_EVENT_DRAINING && event.bytes == 0)
            is_node_drained = 1;
    }
    CHECK(is_drained && is_node_drained);
    OK(clv_node_drain(both.client, 0, &left));
    CHECK(left.channels == 0 && left.bytes == 0 && left.running == 0);
    OK(clv_channel_close(near));
    OK(clv_channel_close(far));
    pair_close(&both);
}

/* On the thread of the node nothing may wait, and nothing here does. */
static clv_status starts_inline(void *user, clv_request request)
{
    pair *both = (pair *)user;
    clv_connecting connecting = start(both->server, NOBODY, -1);
    clv_session session;

    STATUS(clv_connecting_take(connecting, 0, &session), CLV_E_AGAIN);
    STATUS(clv_connecting_take(connecting, SOON_MS, &session), CLV_E_IN_CALLBACK);
    OK(clv_connecting_close(connecting));
    OK(clv_session_close_start(both->theirs, 10000));
    return clv_reply(request, "started", 7);
}

static void all_of_it_may_be_started_in_an_inline_handler(void)
{
    pair both = pair_open();
    clv_service_options options = CLV_SERVICE_OPTIONS_INIT;
    clv_buffer *reply;

    options.run_inline = 1;
    MUST(clv_serve(both.server, "inline", &options, starts_inline, &both, NULL));
    /* A close does not wait for calls that run. */
    STATUS(clv_call(both.ours, "inline", NULL, 0, SOON_MS, &reply), CLV_E_CLOSED);
    OK(clv_session_wait_state(both.ours, 1u << CLV_STATE_CLOSED, SOON_MS, NULL));
    pair_close(&both);
}

int main(void)
{
    check_begin();
    RUN(a_connect_is_told_by_its_event_and_taken_with_0);
    RUN(a_connect_that_fails_says_why);
    RUN(cancel_and_close_wake_who_waits);
    RUN(a_connect_that_nobody_takes_leaves_no_session);
    RUN(a_close_that_was_started_is_told_and_taken_later);
    RUN(the_end_of_a_drain_is_told_to_who_only_looked);
    RUN(all_of_it_may_be_started_in_an_inline_handler);
    return check_end();
}
