/*
 * Every function on a handle that it must refuse: made up, stale, of another kind, or of the process before a fork. Each
 * answers the status that is wanted, and no output is touched.
 */
#ifndef REFUSALS_H
#define REFUSALS_H

#include "check.h"

#define STAMP 0x5a

/* Fills an output, so that a write to it shows. */
#define STAMPED(out) memset(&(out), STAMP, sizeof(out))
#define STAMPED_SIZED(out) (STAMPED(out), (out).struct_size = sizeof(out))
#define UNTOUCHED(out) CHECK(is_stamped(&(out), sizeof(out), 0))
#define UNTOUCHED_SIZED(out) CHECK((out).struct_size == sizeof(out) && is_stamped(&(out), sizeof(out), sizeof(size_t)))

static inline int is_stamped(const void *out, size_t size, size_t from)
{
    const unsigned char *bytes = (const unsigned char *)out;

    for (; from < size; from++)
        if (bytes[from] != STAMP)
            return 0;
    return 1;
}

static inline clv_status never_called(void *user, clv_request request)
{
    (void)user;
    (void)request;
    CHECK(!"a handler that was never offered");
    return CLV_OK;
}

static inline void never_logs(void *user, clv_log_level level, const char *line)
{
    (void)user;
    (void)level;
    (void)line;
    CHECK(!"a log that was never set");
}

static inline void never_uses(void *user, void *object)
{
    (void)user;
    (void)object;
    CHECK(!"an object that was never attached");
}

static inline void never_sees_object(void *user, const clv_object_info *info)
{
    (void)user;
    (void)info;
    CHECK(!"a list of no session");
}

static inline void never_sees_address(void *user, const clv_address *address)
{
    (void)user;
    (void)address;
    CHECK(!"a table of no node or session");
}

static inline void never_sees_line(void *user, const char *line)
{
    (void)user;
    (void)line;
    CHECK(!"a print of no session");
}

static inline void never_sees_task(void *user, const clv_task_info *info)
{
    (void)user;
    (void)info;
    CHECK(!"a history of no session");
}

static inline void never_sees_channel(void *user, const clv_channel_report *report)
{
    (void)user;
    (void)report;
    CHECK(!"a loss of no session");
}

/* What a node owns along with callbacks is dropped once each time that it is refused. */
static inline void refuse_callbacks(clv_node node, clv_status wanted)
{
    counter dropped = COUNTER_INIT;
    clv_kind kind = CLV_KIND_INIT;

    STATUS(clv_serve(node, "echo", NULL, never_called, &dropped, count_drop), wanted);
    CHECK(counter_get(&dropped) == 1);
    STATUS(clv_log_set(node, CLV_LOG_DEBUG, never_logs, &dropped, count_drop), wanted);
    CHECK(counter_get(&dropped) == 2);
    kind.destroy = never_uses;
    kind.user = &dropped;
    kind.drop = count_drop;
    STATUS(clv_kind_register(node, "kind", &kind), wanted);
    CHECK(counter_get(&dropped) == 3);
    STATUS(clv_serve(node, "echo", NULL, never_called, NULL, NULL), wanted);
    STATUS(clv_log_set(node, CLV_LOG_DEBUG, never_logs, NULL, NULL), wanted);
}

static inline void refuse_connecting(clv_connecting connecting, clv_status wanted)
{
    clv_session session;

    STAMPED(session);
    STATUS(clv_connecting_take(connecting, 0, &session), wanted);
    STATUS(clv_connecting_take(connecting, -1, &session), wanted);
    STATUS(clv_connecting_watch(connecting, 7), wanted);
    STATUS(clv_connecting_cancel(connecting), wanted);
    STATUS(clv_connecting_close(connecting), wanted);
    UNTOUCHED(session);
}

static inline void refuse_node(clv_node node, clv_status wanted)
{
    const char *addresses[1] = { "127.0.0.1:1" };
    clv_connect_options options = CLV_CONNECT_OPTIONS_INIT;
    clv_connecting connecting;
    clv_leftovers leftovers;
    clv_session session;
    clv_counters counters;
    clv_event event;
    char text[CLV_HOST_ID_BYTES];
    int fd;

    options.addresses = addresses;
    options.addresses_count = 1;
    STAMPED_SIZED(leftovers);
    STAMPED_SIZED(counters);
    STAMPED_SIZED(event);
    STAMPED(connecting);
    STAMPED(session);
    STAMPED(text);
    STAMPED(fd);
    STATUS(clv_node_drain(node, 0, &leftovers), wanted);
    STATUS(clv_node_id(node, text, sizeof text), wanted);
    STATUS(clv_node_listen(node, "127.0.0.1:0", -1, text, sizeof text), wanted);
    STATUS(clv_connect(node, addresses[0], 0, &session), wanted);
    STATUS(clv_connect(node, addresses[0], -1, &session), wanted);
    STATUS(clv_connect_with(node, &options, 0, &session), wanted);
    STATUS(clv_connect_start(node, &options, 0, &connecting), wanted);
    STATUS(clv_accept(node, 0, &session), wanted);
    STATUS(clv_accept(node, -1, &session), wanted);
    STATUS(clv_node_next_event(node, 0, &event), wanted);
    STATUS(clv_node_next_event(node, -1, &event), wanted);
    STATUS(clv_node_fd(node, &fd), wanted);
    STATUS(clv_node_run_once(node, 0), wanted);
    STATUS(clv_node_counters(node, &counters), wanted);
    STATUS(clv_node_reload_trust(node), wanted);
    STATUS(clv_node_announce(node, addresses, 1), wanted);
    STATUS(clv_node_addresses(node, never_sees_address, NULL), wanted);
    STATUS(clv_unserve(node, "echo"), wanted);
    STATUS(clv_node_close(node, 0, &leftovers), wanted);
    refuse_callbacks(node, wanted);
    UNTOUCHED_SIZED(leftovers);
    UNTOUCHED_SIZED(counters);
    UNTOUCHED_SIZED(event);
    UNTOUCHED(connecting);
    UNTOUCHED(session);
    UNTOUCHED(text);
    UNTOUCHED(fd);
}

static inline void refuse_objects(clv_session session, clv_status wanted)
{
    clv_object number = { 1 };
    clv_object object;
    int payload = 0;

    STAMPED(object);
    STATUS(clv_object_attach(session, "kind", &payload, -1, &object), wanted);
    STATUS(clv_object_use(session, number, never_uses, NULL), wanted);
    STATUS(clv_object_end(session, number), wanted);
    STATUS(clv_object_touch(session, number), wanted);
    STATUS(clv_object_update(session, number, "x", 1), wanted);
    STATUS(clv_object_release(session, number), wanted);
    STATUS(clv_object_list(session, never_sees_object, NULL), wanted);
    STATUS(clv_object_print(session, never_sees_line, NULL), wanted);
    STATUS(clv_task_list(session, never_sees_task, NULL), wanted);
    UNTOUCHED(object);
}

static inline void refuse_session(clv_session session, clv_status wanted)
{
    clv_pending_call call;
    clv_channel channel;
    clv_session_info info;
    clv_buffer *reply;
    clv_event event;
    clv_state state;
    clv_loss loss;
    char text[CLV_HOST_ID_BYTES];
    int fd;

    STAMPED_SIZED(info);
    STAMPED_SIZED(event);
    STAMPED_SIZED(loss);
    STAMPED(call);
    STAMPED(channel);
    STAMPED(reply);
    STAMPED(state);
    STAMPED(text);
    STAMPED(fd);
    STATUS(clv_session_state(session, &state), wanted);
    STATUS(clv_session_wait_state(session, 1u << CLV_STATE_LIVE, -1, &state), wanted);
    STATUS(clv_session_peer(session, text, sizeof text), wanted);
    STATUS(clv_session_get_info(session, &info), wanted);
    STATUS(clv_session_next_event(session, -1, &event), wanted);
    STATUS(clv_session_watch(session, 7), wanted);
    STATUS(clv_session_drain(session, -1), wanted);
    STATUS(clv_session_addresses(session, never_sees_address, NULL), wanted);
    STATUS(clv_session_roam(session, NULL), wanted);
    STATUS(clv_session_goto(session, "127.0.0.1:1"), wanted);
    STATUS(clv_session_loss(session, &loss, never_sees_channel, NULL), wanted);
    STATUS(clv_channel_open(session, "name", NULL, -1, &channel), wanted);
    STATUS(clv_channel_accept(session, -1, &channel), wanted);
    STATUS(clv_call(session, "echo", "x", 1, -1, &reply), wanted);
    STATUS(clv_call_start(session, "echo", "x", 1, -1, &call), wanted);
    STATUS(clv_dial_fd(session, "name", 0, &fd), wanted);
    STATUS(clv_accept_fd(session, -1, CLV_FD_UNIX, &fd), wanted);
    refuse_objects(session, wanted);
    STATUS(clv_session_close_start(session, 0), wanted);
    STATUS(clv_session_close(session, 0), wanted);
    UNTOUCHED_SIZED(info);
    UNTOUCHED_SIZED(event);
    UNTOUCHED_SIZED(loss);
    UNTOUCHED(call);
    UNTOUCHED(channel);
    UNTOUCHED(reply);
    UNTOUCHED(state);
    UNTOUCHED(text);
    UNTOUCHED(fd);
}

static inline void refuse_channel(clv_channel channel, clv_status wanted)
{
    clv_channel_report report;
    clv_delivery delivery;
    clv_buffer *buffer;
    size_t size;
    int32_t is_bytes;
    char text[300];
    int fd;

    STAMPED_SIZED(report);
    STAMPED_SIZED(delivery);
    STAMPED(buffer);
    STAMPED(size);
    STAMPED(is_bytes);
    STAMPED(text);
    STAMPED(fd);
    STATUS(clv_channel_name(channel, text, sizeof text), wanted);
    STATUS(clv_channel_is_bytes(channel, &is_bytes), wanted);
    STATUS(clv_channel_send(channel, "x", 1, -1), wanted);
    STATUS(clv_channel_try_send(channel, "x", 1, &size), wanted);
    STATUS(clv_channel_recv(channel, text, sizeof text, -1, &size), wanted);
    STATUS(clv_channel_recv_buffer(channel, -1, &buffer), wanted);
    STATUS(clv_channel_take(channel, -1, &buffer, &delivery), wanted);
    STATUS(clv_channel_confirm(channel, -1), wanted);
    STATUS(clv_ack(channel, 1, -1), wanted);
    STATUS(clv_restart_point(channel, "x", 1, -1), wanted);
    STATUS(clv_channel_end(channel), wanted);
    STATUS(clv_channel_reset(channel, "why"), wanted);
    STATUS(clv_channel_stop(channel), wanted);
    STATUS(clv_channel_get_report(channel, &report), wanted);
    STATUS(clv_channel_watch(channel, 7), wanted);
    STATUS(clv_channel_into_fd(channel, 0, &fd), wanted);
    STATUS(clv_channel_close(channel), wanted);
    UNTOUCHED_SIZED(report);
    UNTOUCHED_SIZED(delivery);
    UNTOUCHED(buffer);
    UNTOUCHED(size);
    UNTOUCHED(is_bytes);
    UNTOUCHED(text);
    UNTOUCHED(fd);
}

static inline void refuse_call(clv_pending_call call, clv_status wanted)
{
    clv_buffer *part;
    clv_outcome outcome;
    char text[80];

    STAMPED(part);
    STAMPED(outcome);
    STAMPED(text);
    STATUS(clv_call_receive(call, -1, &part), wanted);
    STATUS(clv_call_watch(call, 7), wanted);
    STATUS(clv_call_cancel(call), wanted);
    STATUS(clv_call_outcome(call, &outcome), wanted);
    STATUS(clv_call_id(call, text, sizeof text), wanted);
    STATUS(clv_call_close(call), wanted);
    UNTOUCHED(part);
    UNTOUCHED(outcome);
    UNTOUCHED(text);
}

static inline void refuse_request(clv_request request, clv_status wanted)
{
    clv_request_info info;
    clv_session session;
    const void *data;
    size_t size;
    char text[80];

    STAMPED_SIZED(info);
    STAMPED(session);
    STAMPED(data);
    STAMPED(size);
    STAMPED(text);
    STATUS(clv_request_data(request, &data, &size), wanted);
    STATUS(clv_request_session(request, &session), wanted);
    STATUS(clv_request_call_id(request, text, sizeof text), wanted);
    STATUS(clv_request_get_info(request, &info), wanted);
    STATUS(clv_reply(request, "x", 1), wanted);
    STATUS(clv_reply_part(request, "x", 1), wanted);
    STATUS(clv_reply_error(request, "why"), wanted);
    STATUS(clv_request_defer(request), wanted);
    STATUS(clv_request_watch(request, 7), wanted);
    STATUS(clv_request_finish(request, CLV_OK), wanted);
    UNTOUCHED_SIZED(info);
    UNTOUCHED(session);
    UNTOUCHED(data);
    UNTOUCHED(size);
    UNTOUCHED(text);
}

static inline void refuse_options(clv_options *options, clv_status wanted)
{
    clv_node node;

    STAMPED(node);
    STATUS(clv_options_set(options, "beat_ms", "500"), wanted);
    STATUS(clv_options_load_file(options, "/dev/null"), wanted);
    STATUS(clv_node_open(options, &node), wanted);
    clv_options_free(options);
    UNTOUCHED(node);
}

static inline void refuse_buffer(clv_buffer *buffer)
{
    CHECK(clv_buffer_data(buffer) == NULL);
    CHECK(clv_buffer_size(buffer) == 0);
    clv_buffer_free(buffer);
}

/* The same number as a handle of every kind; options excepted by 0, which is NULL. */
static inline void refuse_number(uint64_t number, clv_status wanted)
{
    clv_node node = { number };
    clv_connecting connecting = { number };
    clv_session session = { number };
    clv_channel channel = { number };
    clv_pending_call call = { number };
    clv_request request = { number };

    refuse_node(node, wanted);
    refuse_connecting(connecting, wanted);
    refuse_session(session, wanted);
    refuse_channel(channel, wanted);
    refuse_call(call, wanted);
    refuse_request(request, wanted);
    if (number != 0)
        refuse_options((clv_options *)(uintptr_t)number, wanted);
    refuse_buffer((clv_buffer *)(uintptr_t)number);
}

#endif
