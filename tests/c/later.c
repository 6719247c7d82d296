/* What a program starts and does not wait for: connects, closes, drains, and replies that come later. */
#include "refusals.h"
#include <poll.h>

enum { CONNECT_TOKEN = 20, SESSION_TOKEN = 21, REQUEST_TOKEN = 22, CALLS = 300, PART_BYTES = 100000 };

#define NOBODY "127.0.0.1:1"

/* The next event of the node, waited for by poll() alone; 0 when none comes. */
static int next(clv_node node, clv_event *event)
{
    clv_event empty = CLV_EVENT_INIT;
    int64_t until = now_ms() + SOON_MS;
    struct pollfd wait = { 0, POLLIN, 0 };

    *event = empty;
    OK(clv_node_fd(node, &wait.fd));
    while (now_ms() < until) {
        clv_status status = clv_node_next_event(node, 0, event);

        if (status == CLV_E_AGAIN) {
            poll(&wait, 1, 100);
            continue;
        }
        OK(status);
        clv_buffer_free(event->data);
        return status == CLV_OK;
    }
    return 0;
}

/* Takes events until one of this kind and token; 0 when none comes. */
static int comes(clv_node node, clv_event_kind kind, uint64_t token)
{
    clv_event event = CLV_EVENT_INIT;

    while (next(node, &event))
        if (event.kind == kind && event.token == token)
            return 1;
    check_failed(__FILE__, __LINE__, "an event that does not come");
    return 0;
}

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
    char *message = (char *)calloc(1, PART_BYTES);
    int sent = 0;

    MUST_BE(message != NULL);
    while (clv_channel_try_send(channel, message, PART_BYTES, NULL) == CLV_OK)
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

/* Requests whose handler has returned, in the order of their arrival. */
typedef struct inbox {
    counter arrived;
    clv_request requests[CALLS];
} inbox;

static inbox left_for_later;

static clv_status defers(void *user, clv_request request)
{
    inbox *in = (inbox *)user;

    OK(clv_request_defer(request));
    STATUS(clv_request_defer(request), CLV_E_STATE);
    /* Only this worker writes there. */
    in->requests[counter_get(&in->arrived)] = request;
    counter_add(&in->arrived);
    return CLV_OK;
}

static void serve_later(clv_node node)
{
    counter zero = COUNTER_INIT;

    left_for_later.arrived = zero;
    MUST(clv_serve(node, "later", NULL, defers, &left_for_later, NULL));
}

/* The request that came for this call. */
static clv_request deferred_request(void)
{
    CHECK(counter_reaches(&left_for_later.arrived, 1));
    return left_for_later.requests[0];
}

/* The last one first, and some fail. */
static void *finishes_all(void *user)
{
    inbox *in = (inbox *)user;
    int at, number;

    CHECK(counter_reaches(&in->arrived, CALLS));
    for (at = CALLS - 1; at >= 0; at--) {
        clv_request request = in->requests[at];
        const void *data;
        size_t size;

        MUST(clv_request_data(request, &data, &size));
        MUST_BE(size == sizeof number);
        memcpy(&number, data, size);
        OK(clv_reply(request, data, size));
        if (number % 10 < 2)
            OK(clv_reply_error(request, "no tens and ones"));
        OK(clv_request_finish(request, number % 10 == 0 ? CLV_E_BUG : number % 10 == 1 ? CLV_E_NOT_RUN : CLV_OK));
        STATUS(clv_request_finish(request, CLV_OK), CLV_E_HANDLE);
    }
    return NULL;
}

static void check_answer(clv_pending_call call, int number)
{
    clv_outcome outcome = 0;
    clv_buffer *reply = NULL;
    clv_status status = clv_call_receive(call, SOON_MS, &reply);

    if (number % 10 < 2) {
        STATUS(status, number % 10 == 0 ? CLV_E_CALL_FAILED : CLV_E_NOT_RUN);
        CHECK(strstr(clv_last_error(), "no tens and ones") != NULL);
        OK(clv_call_outcome(call, &outcome));
        CHECK(outcome == (number % 10 == 0 ? CLV_OUTCOME_REPLY : CLV_OUTCOME_NOT_RUN));
    } else {
        OK(status);
        CHECK(clv_buffer_size(reply) == sizeof number && memcmp(clv_buffer_data(reply), &number, sizeof number) == 0);
        clv_buffer_free(reply);
        STATUS(clv_call_receive(call, SOON_MS, &reply), CLV_E_END);
        OK(clv_call_outcome(call, &outcome));
        CHECK(outcome == CLV_OUTCOME_REPLY);
    }
    OK(clv_call_close(call));
}

static void many_answers_come_later_from_another_thread(void)
{
    static const char *const settings[] = { "workers", "1", NULL };
    pair both = pair_with(settings);
    clv_leftovers left = CLV_LEFTOVERS_INIT;
    clv_pending_call calls[CALLS];
    pthread_t thread;
    int number;

    serve_later(both.server);
    for (number = 0; number < CALLS; number++)
        MUST(clv_call_start(both.ours, "later", &number, sizeof number, SOON_MS, &calls[number]));
    /* All of them wait at the same time, and the one worker is free. */
    CHECK(counter_reaches(&left_for_later.arrived, CALLS));
    MUST_BE(pthread_create(&thread, NULL, finishes_all, &left_for_later) == 0);
    for (number = 0; number < CALLS; number++)
        check_answer(calls[number], number);
    pthread_join(thread, NULL);
    OK(clv_node_drain(both.server, SOON_MS, &left));
    CHECK(left.running == 0);
    pair_close(&both);
}

static void parts_of_a_deferred_reply_wait_for_their_event(void)
{
    pair both = pair_open();
    char *part = (char *)calloc(1, PART_BYTES);
    clv_pending_call call;
    clv_request request;
    clv_buffer *got;
    clv_status status;
    int sent = 0;

    MUST_BE(part != NULL);
    serve_later(both.server);
    MUST(clv_call_start(both.ours, "later", NULL, 0, SOON_MS, &call));
    request = deferred_request();
    OK(clv_request_watch(request, REQUEST_TOKEN));
    while ((status = clv_reply_part(request, part, PART_BYTES)) == CLV_OK)
        sent++;
    STATUS(status, CLV_E_AGAIN);
    CHECK(sent > 0);
    for (; sent > 0; sent--) {
        MUST(clv_call_receive(call, SOON_MS, &got));
        CHECK(clv_buffer_size(got) == PART_BYTES);
        clv_buffer_free(got);
    }
    while ((status = clv_reply_part(request, "end", 3)) == CLV_E_AGAIN)
        MUST_BE(comes(both.server, CLV_EVENT_WRITABLE, REQUEST_TOKEN));
    OK(status);
    OK(clv_request_finish(request, CLV_OK));
    MUST(clv_call_receive(call, SOON_MS, &got));
    CHECK(clv_buffer_size(got) == 3);
    clv_buffer_free(got);
    while ((status = clv_call_receive(call, SOON_MS, &got)) == CLV_OK)
        clv_buffer_free(got);
    STATUS(status, CLV_E_END);
    OK(clv_call_close(call));
    free(part);
    pair_close(&both);
}

static void a_deferred_request_hears_that_its_caller_gave_up(void)
{
    pair both = pair_open();
    clv_request_info info = CLV_REQUEST_INFO_INIT;
    clv_session session;
    clv_pending_call call;
    clv_request request;

    serve_later(both.server);
    MUST(clv_call_start(both.ours, "later", "x", 1, -1, &call));
    request = deferred_request();
    OK(clv_request_watch(request, REQUEST_TOKEN));
    OK(clv_request_session(request, &session));
    OK(clv_request_get_info(request, &info));
    CHECK(info.is_cancelled == 0 && info.remaining_ms == -1);
    OK(clv_call_cancel(call));
    for (;;) {
        OK(clv_request_get_info(request, &info));
        if (info.is_cancelled != 0 || !comes(both.server, CLV_EVENT_READABLE, REQUEST_TOKEN))
            break;
    }
    CHECK(info.is_cancelled != 0);
    STATUS(clv_reply_part(request, "unheard", 7), CLV_E_STOPPED);
    OK(clv_request_finish(request, CLV_OK));
    refuse_request(request, CLV_E_HANDLE);
    refuse_session(session, CLV_E_HANDLE);
    OK(clv_call_close(call));
    pair_close(&both);
}

static clv_request first_request;

static clv_status changes_its_mind(void *user, clv_request request)
{
    (void)user;
    first_request = request;
    OK(clv_request_defer(request));
    OK(clv_reply_error(request, "on second thoughts"));
    return CLV_E_DENIED;
}

static clv_status finishes_at_once(void *user, clv_request request)
{
    OK(clv_request_defer(request));
    OK(clv_reply(request, "at once", 7));
    OK(clv_request_finish(request, CLV_OK));
    refuse_request(request, CLV_E_HANDLE);
    return *(clv_status *)user;
}

static clv_status does_not_defer(void *user, clv_request request)
{
    (void)user;
    STATUS(clv_request_finish(request, CLV_OK), CLV_E_STATE);
    STATUS(clv_request_watch(request, REQUEST_TOKEN), CLV_E_STATE);
    return clv_reply(request, "not deferred", 12);
}

static void what_the_handler_does_after_it_deferred_counts_once(void)
{
    static clv_status answers[] = { CLV_OK, CLV_E_DENIED };
    static const char *const names[] = { "at once", "and fails" };
    pair both = pair_open();
    clv_service_options options = CLV_SERVICE_OPTIONS_INIT;
    clv_buffer *reply;
    int at;

    MUST(clv_serve(both.server, "mind", NULL, changes_its_mind, NULL, NULL));
    STATUS(clv_call(both.ours, "mind", NULL, 0, SOON_MS, &reply), CLV_E_DENIED);
    CHECK(strstr(clv_last_error(), "on second thoughts") != NULL);
    OK(clv_unserve(both.server, "mind"));

    /* The first answer counts. On the thread of the node, too. */
    for (at = 0; at < 2; at++) {
        options.run_inline = at;
        MUST(clv_serve(both.server, names[at], &options, finishes_at_once, &answers[at], NULL));
        MUST(clv_call(both.ours, names[at], NULL, 0, SOON_MS, &reply));
        CHECK(clv_buffer_size(reply) == 7 && memcmp(clv_buffer_data(reply), "at once", 7) == 0);
        clv_buffer_free(reply);
    }

    MUST(clv_serve(both.server, "plain", NULL, does_not_defer, NULL, NULL));
    MUST(clv_call(both.ours, "plain", NULL, 0, SOON_MS, &reply));
    CHECK(clv_buffer_size(reply) == 12);
    clv_buffer_free(reply);
    OK(clv_node_drain(both.server, SOON_MS, NULL));
    refuse_request(first_request, CLV_E_HANDLE);
    pair_close(&both);
}

static void a_close_names_the_service_that_never_answered(void)
{
    pair both = pair_open();
    clv_leftovers left = CLV_LEFTOVERS_INIT;
    clv_pending_call call;
    clv_request request;
    clv_buffer *part;

    serve_later(both.server);
    MUST(clv_call_start(both.ours, "later", NULL, 0, -1, &call));
    request = deferred_request();
    OK(clv_node_drain(both.server, 0, &left));
    CHECK(left.running == 1 && strstr(left.text, "later") != NULL);
    OK(clv_node_close(both.server, 200, &left));
    CHECK(left.running == 1 && strstr(left.text, "later") != NULL);
    STATUS(clv_reply_part(request, "x", 1), CLV_E_CLOSED);
    STATUS(clv_request_watch(request, REQUEST_TOKEN), CLV_E_CLOSED);
    OK(clv_request_finish(request, CLV_OK));
    refuse_request(request, CLV_E_HANDLE);
    CHECK(clv_call_receive(call, SOON_MS, &part) != CLV_OK);
    OK(clv_call_close(call));
    clv_session_close(both.theirs, 0);
    clv_session_close(both.ours, 0);
    OK(clv_node_close(both.client, SOON_MS, NULL));
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
    RUN(many_answers_come_later_from_another_thread);
    RUN(parts_of_a_deferred_reply_wait_for_their_event);
    RUN(a_deferred_request_hears_that_its_caller_gave_up);
    RUN(what_the_handler_does_after_it_deferred_counts_once);
    RUN(a_close_names_the_service_that_never_answered);
    RUN(all_of_it_may_be_started_in_an_inline_handler);
    return check_end();
}
