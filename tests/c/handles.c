/* Handles that stand for nothing: made up, of another kind, stale, closed twice, and after the node is closed. */
#include "refusals.h"

static void made_up_handles_are_refused(void)
{
    uint64_t state = 88172645463325252u;
    int at;

    refuse_number(0, CLV_E_HANDLE);
    refuse_number(1, CLV_E_HANDLE);
    refuse_number(UINT64_MAX, CLV_E_HANDLE);
    for (at = 0; at < 200; at++) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        refuse_number(state, CLV_E_HANDLE);
    }
}

static clv_connecting connect_of(clv_node node, const char *address)
{
    clv_connect_options options = CLV_CONNECT_OPTIONS_INIT;
    clv_connecting connecting;

    options.addresses = &address;
    options.addresses_count = 1;
    MUST(clv_connect_start(node, &options, -1, &connecting));
    return connecting;
}

/* Numbers of all kinds come from one counter, so none of them may be taken for another. */
static void handles_of_another_kind_are_refused(void)
{
    pair both = pair_open();
    clv_node none = { 0 };
    clv_session no_session = { 0 };
    clv_channel no_channel = { 0 };
    clv_pending_call no_call = { 0 };
    clv_connecting no_connecting = { 0 };
    clv_request no_request = { 0 };
    clv_connecting connecting = connect_of(both.client, "127.0.0.1:1");
    clv_session session;
    clv_channel near, far;
    clv_pending_call call;
    clv_options *options;
    clv_buffer *buffer;

    channel_pair(&both, 0, &near, &far);
    MUST(clv_options_new(&options));
    MUST(clv_call_start(both.ours, "nobody", NULL, 0, SOON_MS, &call));
    MUST(clv_channel_send(near, "held", 4, SOON_MS));
    MUST(clv_channel_recv_buffer(far, SOON_MS, &buffer));

    none.id = both.ours.id;
    refuse_node(none, CLV_E_HANDLE);
    none.id = (uint64_t)(uintptr_t)options;
    refuse_node(none, CLV_E_HANDLE);
    no_session.id = both.client.id;
    refuse_session(no_session, CLV_E_HANDLE);
    no_session.id = near.id;
    refuse_session(no_session, CLV_E_HANDLE);
    no_channel.id = both.ours.id;
    refuse_channel(no_channel, CLV_E_HANDLE);
    no_channel.id = call.id;
    refuse_channel(no_channel, CLV_E_HANDLE);
    no_call.id = near.id;
    refuse_call(no_call, CLV_E_HANDLE);
    no_call.id = (uint64_t)(uintptr_t)buffer;
    refuse_call(no_call, CLV_E_HANDLE);
    no_connecting.id = both.ours.id;
    refuse_connecting(no_connecting, CLV_E_HANDLE);
    no_connecting.id = both.client.id;
    refuse_connecting(no_connecting, CLV_E_HANDLE);
    no_session.id = connecting.id;
    refuse_session(no_session, CLV_E_HANDLE);
    no_request.id = connecting.id;
    refuse_request(no_request, CLV_E_HANDLE);
    refuse_options((clv_options *)(uintptr_t)both.client.id, CLV_E_HANDLE);
    refuse_buffer((clv_buffer *)(uintptr_t)both.ours.id);
    refuse_buffer((clv_buffer *)options);

    /* None of this ended what the numbers stand for. */
    CHECK(clv_buffer_size(buffer) == 4 && memcmp(clv_buffer_data(buffer), "held", 4) == 0);
    OK(clv_options_set(options, "beat_ms", "500"));
    OK(clv_channel_send(near, "x", 1, SOON_MS));
    STATUS(clv_connecting_take(connecting, 0, &session), CLV_E_AGAIN);
    OK(clv_connecting_close(connecting));
    OK(clv_call_close(call));
    clv_buffer_free(buffer);
    clv_options_free(options);
    pair_close(&both);
}

static void stale_handles_are_refused_and_closed_once(void)
{
    pair both = pair_open();
    clv_connecting connecting = connect_of(both.client, "127.0.0.1:1");
    clv_channel near, far;
    clv_pending_call call;
    clv_options *options;
    clv_buffer *buffer;

    channel_pair(&both, 0, &near, &far);
    OK(clv_channel_send(near, "held", 4, SOON_MS));
    OK(clv_channel_recv_buffer(far, SOON_MS, &buffer));
    clv_buffer_free(buffer);
    refuse_buffer(buffer);
    clv_buffer_free(NULL);
    refuse_buffer(NULL);

    MUST(clv_options_new(&options));
    clv_options_free(options);
    refuse_options(options, CLV_E_HANDLE);
    clv_options_free(NULL);

    MUST(clv_call_start(both.ours, "nobody", NULL, 0, SOON_MS, &call));
    OK(clv_call_close(call));
    refuse_call(call, CLV_E_HANDLE);

    OK(clv_connecting_close(connecting));
    refuse_connecting(connecting, CLV_E_HANDLE);
    connecting = connect_of(both.client, both.address);
    OK(clv_connecting_close(connecting));
    refuse_connecting(connecting, CLV_E_HANDLE);

    OK(clv_channel_close(near));
    refuse_channel(near, CLV_E_HANDLE);
    OK(clv_session_close(both.ours, SOON_MS));
    refuse_session(both.ours, CLV_E_HANDLE);
    OK(clv_node_close(both.client, SOON_MS, NULL));
    refuse_node(both.client, CLV_E_HANDLE);

    OK(clv_channel_close(far));
    clv_session_close(both.theirs, SOON_MS);
    OK(clv_node_close(both.server, SOON_MS, NULL));
}

static clv_request kept_request;
static clv_session kept_session;

static clv_status keep_request(void *user, clv_request request)
{
    (void)user;
    kept_request = request;
    OK(clv_request_session(request, &kept_session));
    return CLV_OK;
}

static void a_request_and_its_session_end_with_the_handler(void)
{
    pair both = pair_open();
    clv_buffer *reply;

    MUST(clv_serve(both.server, "keep", NULL, keep_request, NULL, NULL));
    MUST(clv_call(both.ours, "keep", "x", 1, SOON_MS, &reply));
    clv_buffer_free(reply);
    /* The reply may be here before the handler's thread has ended the handles. */
    OK(clv_unserve(both.server, "keep"));
    OK(clv_node_drain(both.server, SOON_MS, NULL));
    refuse_request(kept_request, CLV_E_HANDLE);
    refuse_session(kept_session, CLV_E_HANDLE);
    pair_close(&both);
}

/* What is left of a node that was closed, its sessions, channels and calls, answers in no time and crashes nothing. */
static void check_left_session(clv_session session)
{
    clv_pending_call call = { 0 };
    clv_channel channel = { 0 };
    clv_event event = CLV_EVENT_INIT;
    clv_state state = 0;
    clv_buffer *reply = NULL;
    clv_object object = { 1 };
    char text[CLV_HOST_ID_BYTES];
    int fd = -1;

    OK(clv_session_state(session, &state));
    CHECK(state == CLV_STATE_CLOSED || state == CLV_STATE_LOST);
    OK(clv_session_peer(session, text, sizeof text));
    STATUS(clv_session_next_event(session, -1, &event), CLV_E_CLOSED);
    STATUS(clv_session_watch(session, 7), CLV_E_CLOSED);
    STATUS(clv_session_drain(session, -1), CLV_E_CLOSED);
    STATUS(clv_channel_open(session, "name", NULL, -1, &channel), CLV_E_CLOSED);
    STATUS(clv_channel_accept(session, -1, &channel), CLV_E_CLOSED);
    STATUS(clv_call(session, "echo", "x", 1, -1, &reply), CLV_E_CLOSED);
    STATUS(clv_call_start(session, "echo", "x", 1, -1, &call), CLV_E_CLOSED);
    STATUS(clv_dial_fd(session, "name", 0, &fd), CLV_E_CLOSED);
    STATUS(clv_accept_fd(session, -1, 0, &fd), CLV_E_CLOSED);
    STATUS(clv_object_attach(session, "kind", text, -1, &object), CLV_E_CLOSED);
    STATUS(clv_object_use(session, object, never_uses, NULL), CLV_E_CLOSED);
    STATUS(clv_object_end(session, object), CLV_E_CLOSED);
    STATUS(clv_object_list(session, never_sees_object, NULL), CLV_E_CLOSED);
    STATUS(clv_task_list(session, never_sees_task, NULL), CLV_E_CLOSED);
    CHECK(channel.id == 0 && call.id == 0 && reply == NULL && fd == -1 && object.id == 1);
}

static void everything_after_the_close_of_the_node_answers_closed(void)
{
    pair both = pair_open();
    clv_connecting connecting = connect_of(both.client, "127.0.0.1:1");
    clv_session session = { 0 };
    clv_session other;
    clv_channel near, far;
    clv_pending_call call;
    clv_buffer *part = NULL;
    clv_outcome outcome = 0;
    char room[8];
    size_t size = 99;
    int32_t is_bytes = 7;
    int64_t started;

    channel_pair(&both, 0, &near, &far);
    MUST(clv_connect(both.client, both.address, SOON_MS, &other));
    MUST(clv_call_start(both.ours, "nobody", NULL, 0, SOON_MS, &call));
    OK(clv_node_close(both.client, SOON_MS, NULL));
    started = now_ms();
    refuse_node(both.client, CLV_E_HANDLE);
    check_left_session(both.ours);
    check_left_session(other);

    STATUS(clv_channel_send(near, "x", 1, -1), CLV_E_CLOSED);
    STATUS(clv_channel_try_send(near, "x", 1, &size), CLV_E_CLOSED);
    STATUS(clv_channel_recv(near, room, sizeof room, -1, &size), CLV_E_CLOSED);
    STATUS(clv_channel_recv_buffer(near, -1, &part), CLV_E_CLOSED);
    STATUS(clv_channel_watch(near, 7), CLV_E_CLOSED);
    OK(clv_channel_stop(near));
    OK(clv_channel_is_bytes(near, &is_bytes));
    STATUS(clv_call_receive(call, -1, &part), CLV_E_CLOSED);
    OK(clv_call_outcome(call, &outcome));
    CHECK(outcome == CLV_OUTCOME_UNKNOWN || outcome == CLV_OUTCOME_NOT_RUN);
    OK(clv_call_cancel(call));
    STATUS(clv_connecting_watch(connecting, 7), CLV_E_CLOSED);
    OK(clv_connecting_cancel(connecting));
    STATUS(clv_connecting_take(connecting, -1, &session), CLV_E_CLOSED);
    CHECK(session.id == 0);
    STATUS(clv_session_close_start(other, 0), CLV_E_CLOSED);
    CHECK(size == 99 && part == NULL && is_bytes == 0);
    CHECK(now_ms() - started < SOON_MS / 2);

    /* The handles are still the program's to close, once. */
    OK(clv_connecting_close(connecting));
    OK(clv_call_close(call));
    OK(clv_channel_close(near));
    /* That was told. */
    OK(clv_session_close(other, 0));
    STATUS(clv_session_close(other, 0), CLV_E_HANDLE);
    STATUS(clv_session_close(both.ours, SOON_MS), CLV_E_CLOSED);
    STATUS(clv_session_close(both.ours, SOON_MS), CLV_E_HANDLE);
    OK(clv_channel_close(far));
    clv_session_close(both.theirs, SOON_MS);
    OK(clv_node_close(both.server, SOON_MS, NULL));
}

static void several_nodes_and_sessions_do_not_touch_each_other(void)
{
    pair first = pair_open();
    pair second = pair_open();
    clv_buffer *reply;

    MUST(clv_serve(first.server, "echo", NULL, echo, NULL, NULL));
    MUST(clv_serve(second.server, "echo", NULL, echo, NULL, NULL));
    pair_close(&first);
    MUST(clv_call(second.ours, "echo", "still", 5, SOON_MS, &reply));
    CHECK(clv_buffer_size(reply) == 5);
    clv_buffer_free(reply);
    pair_close(&second);
}

static void a_node_leaves_no_descriptor_behind(void)
{
    int before, round;
    pair both;

    before = descriptors_open();
    both = pair_open();
    CHECK(descriptors_open() > before);
    pair_close(&both);
    CHECK(descriptors_fall_to(before));
    /* More than an earlier test can have left. */
    for (round = 0; round < 20; round++) {
        both = pair_open();
        pair_close(&both);
    }
    CHECK(descriptors_fall_to(before));
}

int main(void)
{
    check_begin();
    RUN(made_up_handles_are_refused);
    RUN(handles_of_another_kind_are_refused);
    RUN(stale_handles_are_refused_and_closed_once);
    RUN(a_request_and_its_session_end_with_the_handler);
    RUN(everything_after_the_close_of_the_node_answers_closed);
    RUN(several_nodes_and_sessions_do_not_touch_each_other);
    RUN(a_node_leaves_no_descriptor_behind);
    return check_end();
}
