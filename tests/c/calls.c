/* Calls and their handlers: outcomes, parts, cancels, and what may be called from inside a callback. */
#include "refusals.h"

static clv_status answers_its_user(void *user, clv_request request)
{
    OK(clv_reply_error(request, "as the test wants"));
    return *(clv_status *)user;
}

static void a_failure_of_the_handler_has_its_number_and_text(void)
{
    pair both = pair_open();
    static clv_status answer;
    static const clv_status as_they_are[] = { CLV_E_NOT_RUN, CLV_E_BUSY, CLV_E_DENIED };
    static const clv_status failed[] = { CLV_E_TIMEOUT, CLV_E_BUG, 1, -9999, INT32_MIN };
    clv_buffer *reply;
    size_t at;

    STAMPED(reply);
    MUST(clv_serve(both.server, "fails", NULL, answers_its_user, &answer, NULL));
    for (at = 0; at < sizeof as_they_are / sizeof as_they_are[0]; at++) {
        answer = as_they_are[at];
        STATUS(clv_call(both.ours, "fails", NULL, 0, SOON_MS, &reply), answer);
    }
    for (at = 0; at < sizeof failed / sizeof failed[0]; at++) {
        answer = failed[at];
        STATUS(clv_call(both.ours, "fails", NULL, 0, SOON_MS, &reply), CLV_E_CALL_FAILED);
        CHECK(strstr(clv_last_error(), "as the test wants") != NULL);
    }
    STATUS(clv_call(both.ours, "nobody", NULL, 0, SOON_MS, &reply), CLV_E_NO_SERVICE);
    UNTOUCHED(reply);
    pair_close(&both);
}

static void outcomes_tell_whether_it_was_run(void)
{
    pair both = pair_open();
    static clv_status answer = CLV_E_BUG;
    clv_pending_call call;
    clv_buffer *part;
    clv_outcome outcome = 0;

    MUST(clv_serve(both.server, "echo", NULL, echo, NULL, NULL));
    MUST(clv_serve(both.server, "fails", NULL, answers_its_user, &answer, NULL));
    MUST(clv_call_start(both.ours, "echo", "abc", 3, SOON_MS, &call));
    MUST(clv_call_receive(call, SOON_MS, &part));
    CHECK(clv_buffer_size(part) == 3);
    clv_buffer_free(part);
    STATUS(clv_call_receive(call, SOON_MS, &part), CLV_E_END);
    STATUS(clv_call_receive(call, 0, &part), CLV_E_END);
    OK(clv_call_outcome(call, &outcome));
    CHECK(outcome == CLV_OUTCOME_REPLY);
    OK(clv_call_close(call));

    MUST(clv_call_start(both.ours, "nobody", NULL, 0, SOON_MS, &call));
    STATUS(clv_call_receive(call, SOON_MS, &part), CLV_E_NO_SERVICE);
    OK(clv_call_outcome(call, &outcome));
    CHECK(outcome == CLV_OUTCOME_NOT_RUN);
    OK(clv_call_close(call));

    MUST(clv_call_start(both.ours, "fails", NULL, 0, SOON_MS, &call));
    STATUS(clv_call_receive(call, SOON_MS, &part), CLV_E_CALL_FAILED);
    OK(clv_call_outcome(call, &outcome));
    CHECK(outcome == CLV_OUTCOME_REPLY);
    OK(clv_call_close(call));
    pair_close(&both);
}

static clv_status replies_in_parts(void *user, clv_request request)
{
    char id[64];
    clv_request_info info = CLV_REQUEST_INFO_INIT;
    clv_session session;
    clv_session_info about = CLV_SESSION_INFO_INIT;

    (void)user;
    OK(clv_request_get_info(request, &info));
    CHECK(info.caller_level == 255 && info.is_cancelled == 0);
    CHECK(info.remaining_ms > 0 && info.remaining_ms <= SOON_MS);
    OK(clv_request_session(request, &session));
    OK(clv_session_get_info(session, &about));
    CHECK(about.state == CLV_STATE_LIVE && about.level == 255);
    STATUS(clv_request_call_id(request, id, 2), CLV_E_SIZE);
    OK(clv_request_call_id(request, id, sizeof id));
    OK(clv_reply_part(request, id, strlen(id)));
    OK(clv_reply_part(request, NULL, 0));
    OK(clv_reply_part(request, "two", 3));
    OK(clv_reply(request, "end", 3));
    STATUS(clv_reply(request, "twice", 5), CLV_E_STATE);
    return CLV_OK;
}

static void a_streamed_reply_comes_part_by_part(void)
{
    pair both = pair_open();
    clv_pending_call call;
    clv_buffer *part;
    char id[64];
    size_t sizes[3] = { 0, 3, 3 };
    int at;

    MUST(clv_serve(both.server, "parts", NULL, replies_in_parts, NULL, NULL));
    MUST(clv_call_start(both.ours, "parts", NULL, 0, SOON_MS, &call));
    OK(clv_call_id(call, id, sizeof id));
    MUST(clv_call_receive(call, SOON_MS, &part));
    CHECK(clv_buffer_size(part) == strlen(id) && memcmp(clv_buffer_data(part), id, strlen(id)) == 0);
    clv_buffer_free(part);
    for (at = 0; at < 3; at++) {
        MUST(clv_call_receive(call, SOON_MS, &part));
        CHECK(clv_buffer_size(part) == sizes[at]);
        clv_buffer_free(part);
    }
    STATUS(clv_call_receive(call, SOON_MS, &part), CLV_E_END);
    OK(clv_call_close(call));
    MUST(clv_call(both.ours, "parts", NULL, 0, SOON_MS, &part));
    CHECK(clv_buffer_size(part) > 6);
    clv_buffer_free(part);
    pair_close(&both);
}

static counter waiting = COUNTER_INIT;
static counter cancelled = COUNTER_INIT;
static counter told = COUNTER_INIT;

static clv_status waits_for_the_cancel(void *user, clv_request request)
{
    clv_request_info info = CLV_REQUEST_INFO_INIT;
    int64_t until = now_ms() + SOON_MS;

    (void)user;
    counter_add(&waiting);
    for (; now_ms() < until && info.is_cancelled == 0; moment())
        OK(clv_request_get_info(request, &info));
    if (info.is_cancelled != 0)
        counter_add(&cancelled);
    STATUS(clv_reply_part(request, "unheard", 7), CLV_E_STOPPED);
    counter_add(&told);
    return CLV_OK;
}

static void a_cancel_reaches_the_handler_and_a_deadline_too(void)
{
    pair both = pair_open();
    clv_pending_call call;
    clv_buffer *part;
    clv_status status;

    MUST(clv_serve(both.server, "waits", NULL, waits_for_the_cancel, NULL, NULL));
    MUST(clv_call_start(both.ours, "waits", NULL, 0, -1, &call));
    CHECK(counter_reaches(&waiting, 1));
    STATUS(clv_call_receive(call, 0, &part), CLV_E_AGAIN);
    STATUS(clv_call_receive(call, 1, &part), CLV_E_TIMEOUT);
    OK(clv_call_cancel(call));
    STATUS(clv_call_receive(call, SOON_MS, &part), CLV_E_CANCELLED);
    OK(clv_call_cancel(call));
    OK(clv_call_close(call));
    CHECK(counter_reaches(&cancelled, 1));
    /* To look and find nothing is not the end of the deadline, and that is told to who looks, too. */
    MUST(clv_call_start(both.ours, "waits", NULL, 0, 50, &call));
    CHECK(counter_reaches(&cancelled, 2));
    while ((status = clv_call_receive(call, 0, &part)) == CLV_E_AGAIN)
        moment();
    STATUS(status, CLV_E_TIMEOUT);
    OK(clv_call_close(call));
    /* The end of the handle is a cancel. */
    MUST(clv_call_start(both.ours, "waits", NULL, 0, -1, &call));
    CHECK(counter_reaches(&waiting, 3));
    OK(clv_call_close(call));
    CHECK(counter_reaches(&cancelled, 3));
    STATUS(clv_call(both.ours, "waits", NULL, 0, 50, &part), CLV_E_TIMEOUT);
    CHECK(counter_reaches(&cancelled, 4));
    /* While its session is open. */
    CHECK(counter_reaches(&told, 4));
    pair_close(&both);
}

/* What the peer of the caller offers back: calls in calls, in both directions. */
static clv_status calls_back(void *user, clv_request request)
{
    const void *data;
    size_t size;
    clv_session session;
    clv_buffer *reply;
    clv_channel channel;
    clv_event event = CLV_EVENT_INIT;
    clv_status status;

    OK(clv_request_data(request, &data, &size));
    OK(clv_request_session(request, &session));
    STATUS(clv_call(session, "echo", data, size, SOON_MS, &reply), CLV_OK);
    /* Waiting for nothing ends. */
    STATUS(clv_session_next_event(*(clv_session *)user, 0, &event), CLV_OK);
    STATUS(clv_channel_accept(session, 10, &channel), CLV_E_TIMEOUT);
    status = clv_reply(request, clv_buffer_data(reply), clv_buffer_size(reply));
    clv_buffer_free(reply);
    return status;
}

static void a_handler_may_wait_and_call_back(void)
{
    pair both = pair_open();
    clv_buffer *reply;
    int round;

    MUST(clv_serve(both.client, "echo", NULL, echo, NULL, NULL));
    MUST(clv_serve(both.server, "back", NULL, calls_back, &both.theirs, NULL));
    for (round = 0; round < 2; round++) {
        MUST(clv_call(both.ours, "back", "there and back", 14, SOON_MS, &reply));
        CHECK(clv_buffer_size(reply) == 14);
        clv_buffer_free(reply);
    }
    pair_close(&both);
}

typedef struct inside {
    pair *both;
    clv_channel channel;
    counter called;
} inside;

/* Everything that would wait answers IN_CALLBACK, or does not wait when it is asked with 0. */
static clv_status must_not_wait(void *user, clv_request request)
{
    inside *in = (inside *)user;
    clv_session ours = in->both->ours, theirs = in->both->theirs, session;
    clv_node server = in->both->server;
    clv_event event = CLV_EVENT_INIT;
    clv_buffer *buffer;
    clv_channel channel;
    clv_state state;
    size_t size;
    char room[8];
    int fd;

    OK(clv_request_session(request, &session));
    STATUS(clv_connect(server, in->both->address, SOON_MS, &session), CLV_E_IN_CALLBACK);
    STATUS(clv_accept(server, SOON_MS, &session), CLV_E_IN_CALLBACK);
    STATUS(clv_node_drain(server, SOON_MS, NULL), CLV_E_IN_CALLBACK);
    STATUS(clv_session_wait_state(theirs, 1u << CLV_STATE_LOST, SOON_MS, &state), CLV_E_IN_CALLBACK);
    STATUS(clv_session_drain(theirs, SOON_MS), CLV_E_IN_CALLBACK);
    STATUS(clv_channel_accept(theirs, SOON_MS, &channel), CLV_E_IN_CALLBACK);
    STATUS(clv_accept_fd(theirs, SOON_MS, 0, &fd), CLV_E_IN_CALLBACK);
    STATUS(clv_channel_recv(in->channel, room, sizeof room, SOON_MS, &size), CLV_E_IN_CALLBACK);
    STATUS(clv_channel_recv_buffer(in->channel, -1, &buffer), CLV_E_IN_CALLBACK);
    STATUS(clv_call(ours, "inline", NULL, 0, SOON_MS, &buffer), CLV_E_IN_CALLBACK);
    STATUS(clv_call(theirs, "echo", NULL, 0, -1, &buffer), CLV_E_IN_CALLBACK);
    while (clv_session_next_event(theirs, 0, &event) == CLV_OK)
        clv_buffer_free(event.data);
    STATUS(clv_session_next_event(theirs, SOON_MS, &event), CLV_E_IN_CALLBACK);
    while (clv_node_next_event(server, 0, &event) == CLV_OK)
        clv_buffer_free(event.data);
    STATUS(clv_node_next_event(server, -1, &event), CLV_E_IN_CALLBACK);
    /* What does not wait is allowed. */
    STATUS(clv_channel_recv(in->channel, room, sizeof room, 0, &size), CLV_E_AGAIN);
    OK(clv_channel_try_send(in->channel, "inside", 6, NULL));
    OK(clv_session_state(theirs, &state));
    STATUS(clv_session_close(theirs, SOON_MS), CLV_E_IN_CALLBACK);
    counter_add(&in->called);
    return clv_reply(request, "done", 4);
}

static void an_inline_handler_must_not_wait(void)
{
    pair both = pair_open();
    clv_service_options options = CLV_SERVICE_OPTIONS_INIT;
    inside in;
    clv_channel near;
    clv_buffer *reply;
    counter zero = COUNTER_INIT;
    size_t size;
    char room[8];

    in.both = &both;
    in.called = zero;
    options.run_inline = 1;
    channel_pair(&both, 0, &near, &in.channel);
    MUST(clv_serve(both.server, "inline", &options, must_not_wait, &in, NULL));
    MUST(clv_call(both.ours, "inline", NULL, 0, SOON_MS, &reply));
    CHECK(clv_buffer_size(reply) == 4 && counter_get(&in.called) == 1);
    clv_buffer_free(reply);
    OK(clv_channel_recv(near, room, sizeof room, SOON_MS, &size));
    CHECK(size == 6);
    /* A refused close of the session ended its handle: "gone whatever the answer". */
    STATUS(clv_session_close(both.theirs, 0), CLV_E_HANDLE);
    OK(clv_session_close(both.ours, SOON_MS));
    OK(clv_node_close(both.client, SOON_MS, NULL));
    OK(clv_node_close(both.server, SOON_MS, NULL));
}

typedef struct closing {
    clv_node node;
    counter closed;
    counter dropped;
} closing;

static clv_status closes_its_node(void *user, clv_request request)
{
    closing *in = (closing *)user;
    clv_leftovers left = CLV_LEFTOVERS_INIT;

    (void)request;
    OK(clv_node_close(in->node, SOON_MS, &left));
    CHECK(counter_get(&in->dropped) == 0);
    counter_add(&in->closed);
    return CLV_OK;
}

static void drop_of_closing(void *user)
{
    counter_add(&((closing *)user)->dropped);
}

static void a_handler_may_close_its_node(void)
{
    int32_t run_inline;

    for (run_inline = 0; run_inline < 2; run_inline++) {
        pair both = pair_open();
        clv_service_options options = CLV_SERVICE_OPTIONS_INIT;
        closing in = { { 0 }, COUNTER_INIT, COUNTER_INIT };
        clv_buffer *reply;
        clv_status status;

        in.node = both.server;
        options.run_inline = run_inline;
        MUST(clv_serve(both.server, "close", &options, closes_its_node, &in, drop_of_closing));
        status = clv_call(both.ours, "close", NULL, 0, SOON_MS, &reply);
        CHECK(status != CLV_OK && status != CLV_E_TIMEOUT && status != CLV_E_BUG);
        CHECK(counter_reaches(&in.closed, 1));
        CHECK(counter_reaches(&in.dropped, 1));
        STATUS(clv_node_close(both.server, 0, NULL), CLV_E_HANDLE);
        clv_session_close(both.theirs, 0);
        clv_session_close(both.ours, SOON_MS);
        OK(clv_node_close(both.client, SOON_MS, NULL));
        CHECK(counter_get(&in.closed) == 1 && counter_get(&in.dropped) == 1);
    }
}

/* The session of a request is the caller's: its handle keeps nothing open, and closing it takes nothing away. */
static clv_status closes_its_session(void *user, clv_request request)
{
    clv_session session;

    (void)user;
    OK(clv_request_session(request, &session));
    OK(clv_session_close(session, 0));
    STATUS(clv_session_close(session, 0), CLV_E_HANDLE);
    return CLV_OK;
}

static void closing_the_session_of_a_request_does_not_end_it(void)
{
    pair both = pair_open();
    clv_state state = 0;
    clv_buffer *reply;
    int round;

    MUST(clv_serve(both.server, "close", NULL, closes_its_session, NULL, NULL));
    for (round = 0; round < 3; round++) {
        OK(clv_call(both.ours, "close", NULL, 0, SOON_MS, &reply));
        clv_buffer_free(reply);
    }
    OK(clv_session_state(both.theirs, &state));
    CHECK(state == CLV_STATE_LIVE);
    pair_close(&both);
}

int main(void)
{
    check_begin();
    RUN(a_failure_of_the_handler_has_its_number_and_text);
    RUN(outcomes_tell_whether_it_was_run);
    RUN(a_streamed_reply_comes_part_by_part);
    RUN(a_cancel_reaches_the_handler_and_a_deadline_too);
    RUN(a_handler_may_wait_and_call_back);
    RUN(an_inline_handler_must_not_wait);
    RUN(a_handler_may_close_its_node);
    RUN(closing_the_session_of_a_request_does_not_end_it);
    return check_end();
}
