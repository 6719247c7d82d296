/* Arguments that are wrong: NULL, numbers out of range, sizes of structs, text that is no UTF-8, names that are long. */
#include "refusals.h"
#include <stddef.h>

/* A struct as a newer program has it: longer than the library knows. */
#define NEWER_BYTES 64
#define NOT_UTF8 "\xc3\x28"

static void ends(void *user, void *object)
{
    (void)user;
    (void)object;
}

static void texts_and_numbers_of_errors(void)
{
    CHECK(clv_version_number() == CLV_VERSION_MAJOR * 1000000u + CLV_VERSION_MINOR * 1000u + CLV_VERSION_PATCH);
    CHECK(clv_last_error() != NULL && clv_last_remedy() != NULL);
    CHECK(strcmp(clv_strerror(CLV_OK), "OK") == 0);
    CHECK(strncmp(clv_strerror(CLV_E_TIMEOUT), "TIMEOUT", 7) == 0);
    CHECK(clv_strerror(1) != NULL && clv_strerror(INT32_MIN) != NULL && clv_strerror(-9999) != NULL);
    CHECK(clv_status_class(CLV_E_TIMEOUT) == CLV_CLASS_RETRY && clv_status_class(CLV_E_BUG) == CLV_CLASS_BUG);
    CHECK(clv_status_class(CLV_OK) == 0 && clv_status_class(INT32_MAX) == 0 && clv_status_class(INT32_MIN) == 0);
}

static void *other_thread(void *user)
{
    clv_node none = { 0 };

    CHECK(strcmp(clv_last_error(), "") == 0 && strcmp(clv_last_remedy(), "") == 0);
    STATUS(clv_node_run_once(none, 0), CLV_E_HANDLE);
    CHECK(strstr(clv_last_error(), "node") != NULL);
    return user;
}

static void the_last_error_belongs_to_its_thread(void)
{
    clv_options *options;
    pthread_t thread;

    MUST(clv_options_new(&options));
    STATUS(clv_options_set(options, "no_such_option", "1"), CLV_E_CONFIG);
    CHECK(strstr(clv_last_error(), "no_such_option") != NULL && clv_last_remedy()[0] != 0);
    MUST_BE(pthread_create(&thread, NULL, other_thread, NULL) == 0);
    pthread_join(thread, NULL);
    CHECK(strstr(clv_last_error(), "no_such_option") != NULL);
    /* A success leaves it alone. */
    OK(clv_options_set(options, "beat_ms", "500"));
    CHECK(strstr(clv_last_error(), "no_such_option") != NULL);
    clv_options_free(options);
}

static void options_refuse_what_they_do_not_know(void)
{
    clv_options *options;
    clv_node node;

    STAMPED(node);
    MUST(clv_options_new(&options));
    STATUS(clv_options_new(NULL), CLV_E_ARG);
    STATUS(clv_options_set(NULL, "beat_ms", "500"), CLV_E_ARG);
    STATUS(clv_options_set(options, NULL, "500"), CLV_E_ARG);
    STATUS(clv_options_set(options, "beat_ms", NULL), CLV_E_ARG);
    STATUS(clv_options_set(options, "beat_ms", "soon"), CLV_E_CONFIG);
    STATUS(clv_options_set(options, "beat_ms", "1"), CLV_E_CONFIG);
    STATUS(clv_options_set(options, "beat_ms", "99999999999999999999"), CLV_E_CONFIG);
    STATUS(clv_options_set(options, "beat_ms", ""), CLV_E_CONFIG);
    STATUS(clv_options_set(options, NOT_UTF8, "1"), CLV_E_ENCODING);
    STATUS(clv_options_set(options, "node_name", NOT_UTF8), CLV_E_ENCODING);
    STATUS(clv_options_set(options, "replace", "true"), CLV_E_UNSUPPORTED);
    STATUS(clv_options_load_file(NULL, "/dev/null"), CLV_E_ARG);
    STATUS(clv_options_load_file(options, NULL), CLV_E_ARG);
    STATUS(clv_options_load_file(options, NOT_UTF8), CLV_E_ENCODING);
    STATUS(clv_options_load_file(options, "/nowhere/clerver.toml"), CLV_E_CONFIG);
    STATUS(clv_node_open(options, NULL), CLV_E_ARG);
    /* Values that do not fit each other are found when the node opens. */
    OK(clv_options_set(options, "message_bytes_max", "1073741824"));
    OK(clv_options_set(options, "session_budget_bytes", "65536"));
    STATUS(clv_node_open(options, &node), CLV_E_CONFIG);
    UNTOUCHED(node);
    clv_options_free(options);
}

static void null_arguments_of_a_node(pair *both)
{
    clv_node node = both->client;
    clv_connect_options options = CLV_CONNECT_OPTIONS_INIT;
    const char *addresses[2] = { "127.0.0.1:1", NULL };
    clv_session session;
    clv_kind kind = CLV_KIND_INIT;

    STAMPED(session);
    STATUS(clv_node_id(node, NULL, 80), CLV_E_ARG);
    STATUS(clv_node_listen(node, NULL, -1, NULL, 0), CLV_E_ARG);
    STATUS(clv_connect(node, NULL, 0, &session), CLV_E_ARG);
    STATUS(clv_connect(node, both->address, 0, NULL), CLV_E_ARG);
    STATUS(clv_connect_with(node, NULL, 0, &session), CLV_E_ARG);
    STATUS(clv_connect_with(node, &options, 0, &session), CLV_E_ARG);
    options.addresses = addresses;
    STATUS(clv_connect_with(node, &options, 0, &session), CLV_E_ARG);
    options.addresses_count = 2;
    STATUS(clv_connect_with(node, &options, 0, &session), CLV_E_ARG);
    options.addresses_count = 65;
    STATUS(clv_connect_with(node, &options, 0, &session), CLV_E_ARG);
    options.addresses_count = 1;
    STATUS(clv_connect_with(node, &options, 0, NULL), CLV_E_ARG);
    options.bulk_links = 9;
    STATUS(clv_connect_with(node, &options, 0, &session), CLV_E_ARG);
    options.bulk_links = -1;
    STATUS(clv_connect_with(node, &options, 0, &session), CLV_E_ARG);
    STATUS(clv_accept(node, 0, NULL), CLV_E_ARG);
    STATUS(clv_node_next_event(node, 0, NULL), CLV_E_ARG);
    STATUS(clv_node_fd(node, NULL), CLV_E_ARG);
    STATUS(clv_node_counters(node, NULL), CLV_E_ARG);
    STATUS(clv_serve(node, NULL, NULL, echo, NULL, NULL), CLV_E_ARG);
    STATUS(clv_serve(node, "echo", NULL, NULL, NULL, NULL), CLV_E_ARG);
    STATUS(clv_unserve(node, NULL), CLV_E_ARG);
    STATUS(clv_log_set(node, CLV_LOG_INFO, NULL, NULL, NULL), CLV_E_ARG);
    STATUS(clv_kind_register(node, "kind", NULL), CLV_E_ARG);
    STATUS(clv_kind_register(node, "kind", &kind), CLV_E_ARG);
    kind.destroy = ends;
    STATUS(clv_kind_register(node, NULL, &kind), CLV_E_ARG);
    UNTOUCHED(session);
}

static void wrong_arguments_of_connects(pair *both)
{
    clv_node node = both->client;
    clv_connect_options options = CLV_CONNECT_OPTIONS_INIT;
    const char *addresses[2] = { "127.0.0.1:1", NULL };
    clv_connecting connecting;
    clv_session session;

    STAMPED(connecting);
    STAMPED(session);
    STATUS(clv_connect_start(node, NULL, 0, &connecting), CLV_E_ARG);
    STATUS(clv_connect_start(node, &options, 0, &connecting), CLV_E_ARG);
    options.addresses = addresses;
    options.addresses_count = 2;
    STATUS(clv_connect_start(node, &options, 0, &connecting), CLV_E_ARG);
    options.addresses_count = 65;
    STATUS(clv_connect_start(node, &options, 0, &connecting), CLV_E_ARG);
    options.addresses_count = 1;
    STATUS(clv_connect_start(node, &options, 0, NULL), CLV_E_ARG);
    STATUS(clv_connect_start(node, &options, -2, &connecting), CLV_E_ARG);
    options.bulk_links = 9;
    STATUS(clv_connect_start(node, &options, 0, &connecting), CLV_E_ARG);
    options.bulk_links = 0;
    options.struct_size = 7;
    STATUS(clv_connect_start(node, &options, 0, &connecting), CLV_E_ARG);
    options.struct_size = sizeof options;
    addresses[0] = "127.0.0.1:0";
    STATUS(clv_connect_start(node, &options, 0, &connecting), CLV_E_ARG);
    addresses[0] = "[::1";
    STATUS(clv_connect_start(node, &options, 0, &connecting), CLV_E_ARG);
    addresses[0] = NOT_UTF8;
    STATUS(clv_connect_start(node, &options, 0, &connecting), CLV_E_ENCODING);
    UNTOUCHED(connecting);

    /* What was refused has taken nothing. */
    addresses[0] = both->address;
    MUST(clv_connect_start(node, &options, INT64_MAX, &connecting));
    STATUS(clv_connecting_take(connecting, SOON_MS, NULL), CLV_E_ARG);
    STATUS(clv_connecting_take(connecting, -2, &session), CLV_E_ARG);
    STATUS(clv_connecting_take(connecting, INT64_MIN, &session), CLV_E_ARG);
    UNTOUCHED(session);
    OK(clv_connecting_take(connecting, INT64_MAX, &session));
    OK(clv_connecting_close(connecting));
    OK(clv_session_close(session, SOON_MS));
}

static void null_arguments_of_a_session(pair *both)
{
    clv_session session = both->ours;
    clv_object number = { 0 };
    clv_buffer *reply;
    clv_pending_call call;
    clv_channel channel;
    int fd;

    STATUS(clv_session_state(session, NULL), CLV_E_ARG);
    STATUS(clv_session_peer(session, NULL, 80), CLV_E_ARG);
    STATUS(clv_session_get_info(session, NULL), CLV_E_ARG);
    STATUS(clv_session_next_event(session, 0, NULL), CLV_E_ARG);
    STATUS(clv_channel_open(session, NULL, NULL, 0, &channel), CLV_E_ARG);
    STATUS(clv_channel_open(session, "name", NULL, 0, NULL), CLV_E_ARG);
    STATUS(clv_channel_accept(session, 0, NULL), CLV_E_ARG);
    STATUS(clv_call(session, NULL, "x", 1, 0, &reply), CLV_E_ARG);
    STATUS(clv_call(session, "echo", NULL, 1, 0, &reply), CLV_E_ARG);
    STATUS(clv_call(session, "echo", "x", 1, 0, NULL), CLV_E_ARG);
    STATUS(clv_call_start(session, NULL, "x", 1, 0, &call), CLV_E_ARG);
    STATUS(clv_call_start(session, "echo", NULL, 1, 0, &call), CLV_E_ARG);
    STATUS(clv_call_start(session, "echo", "x", 1, 0, NULL), CLV_E_ARG);
    STATUS(clv_dial_fd(session, NULL, 0, &fd), CLV_E_ARG);
    STATUS(clv_dial_fd(session, "name", 0, NULL), CLV_E_ARG);
    STATUS(clv_dial_fd(session, "name", 2, &fd), CLV_E_ARG);
    STATUS(clv_dial_fd(session, "name", UINT32_MAX, &fd), CLV_E_ARG);
    STATUS(clv_accept_fd(session, 0, 0, NULL), CLV_E_ARG);
    STATUS(clv_accept_fd(session, 0, 2, &fd), CLV_E_ARG);
    STATUS(clv_object_attach(session, NULL, NULL, -1, &number), CLV_E_ARG);
    STATUS(clv_object_attach(session, "no such kind", NULL, -1, &number), CLV_E_ARG);
    STATUS(clv_object_attach(session, "kind", NULL, -1, NULL), CLV_E_ARG);
    STATUS(clv_object_use(session, number, NULL, NULL), CLV_E_ARG);
    STATUS(clv_object_update(session, number, NULL, 1), CLV_E_ARG);
    STATUS(clv_object_list(session, NULL, NULL), CLV_E_ARG);
    STATUS(clv_object_print(session, NULL, NULL), CLV_E_ARG);
    STATUS(clv_task_list(session, NULL, NULL), CLV_E_ARG);
}

static void null_arguments_of_channels_and_calls(pair *both)
{
    clv_delivery delivery = CLV_DELIVERY_INIT;
    clv_channel near, far;
    clv_pending_call call;
    clv_buffer *buffer;
    size_t size;
    char room[8];

    channel_pair(both, 1, &near, &far);
    STATUS(clv_channel_name(near, NULL, 80), CLV_E_ARG);
    STATUS(clv_channel_is_bytes(near, NULL), CLV_E_ARG);
    STATUS(clv_channel_send(near, NULL, 1, 0), CLV_E_ARG);
    STATUS(clv_channel_send(near, room, SIZE_MAX, 0), CLV_E_ARG);
    STATUS(clv_channel_try_send(near, NULL, 1, &size), CLV_E_ARG);
    STATUS(clv_channel_recv(near, NULL, 1, 0, &size), CLV_E_ARG);
    STATUS(clv_channel_recv(near, room, 8, 0, NULL), CLV_E_ARG);
    STATUS(clv_channel_recv(near, room, 0, 0, &size), CLV_E_ARG);
    STATUS(clv_channel_recv_buffer(near, 0, NULL), CLV_E_ARG);
    STATUS(clv_channel_take(near, 0, NULL, &delivery), CLV_E_ARG);
    STATUS(clv_channel_take(near, 0, &buffer, NULL), CLV_E_ARG);
    STATUS(clv_channel_reset(near, NULL), CLV_E_ARG);
    STATUS(clv_channel_get_report(near, NULL), CLV_E_ARG);
    STATUS(clv_channel_into_fd(near, 0, NULL), CLV_E_ARG);
    STATUS(clv_channel_into_fd(near, 2, NULL), CLV_E_ARG);
    MUST(clv_call_start(both->ours, "echo", NULL, 0, SOON_MS, &call));
    STATUS(clv_call_receive(call, 0, NULL), CLV_E_ARG);
    STATUS(clv_call_outcome(call, NULL), CLV_E_ARG);
    STATUS(clv_call_id(call, NULL, 80), CLV_E_ARG);
    OK(clv_call_close(call));
    OK(clv_channel_close(near));
    OK(clv_channel_close(far));
}

static clv_status null_arguments_of_a_request(void *user, clv_request request)
{
    const void *data;
    size_t size;

    (void)user;
    STATUS(clv_request_data(request, NULL, &size), CLV_E_ARG);
    STATUS(clv_request_data(request, &data, NULL), CLV_E_ARG);
    STATUS(clv_request_session(request, NULL), CLV_E_ARG);
    STATUS(clv_request_call_id(request, NULL, 80), CLV_E_ARG);
    STATUS(clv_request_get_info(request, NULL), CLV_E_ARG);
    STATUS(clv_reply(request, NULL, 1), CLV_E_ARG);
    STATUS(clv_reply_part(request, NULL, 1), CLV_E_ARG);
    STATUS(clv_reply_error(request, NULL), CLV_E_ARG);
    STATUS(clv_reply_error(request, NOT_UTF8), CLV_E_ENCODING);
    return clv_reply(request, NULL, 0);
}

static void null_arguments_are_refused(void)
{
    pair both = pair_open();
    clv_buffer *reply;

    null_arguments_of_a_node(&both);
    wrong_arguments_of_connects(&both);
    null_arguments_of_a_session(&both);
    null_arguments_of_channels_and_calls(&both);
    MUST(clv_serve(both.server, "null", NULL, null_arguments_of_a_request, NULL, NULL));
    OK(clv_call(both.ours, "null", NULL, 0, SOON_MS, &reply));
    CHECK(clv_buffer_size(reply) == 0);
    clv_buffer_free(reply);
    pair_close(&both);
}

static void waits_below_minus_one_are_refused(void)
{
    static const int64_t waits[] = { -2, -1000, INT64_MIN };
    pair both = pair_open();
    clv_channel near, far, channel;
    clv_pending_call call;
    clv_session session;
    clv_event event = CLV_EVENT_INIT;
    clv_delivery delivery = CLV_DELIVERY_INIT;
    clv_buffer *buffer;
    clv_object object;
    clv_state state;
    size_t size, at;
    char room[8];
    int fd;

    channel_pair(&both, 0, &near, &far);
    for (at = 0; at < sizeof waits / sizeof waits[0]; at++) {
        int64_t wait = waits[at];

        STATUS(clv_node_close(both.client, wait, NULL), CLV_E_ARG);
        STATUS(clv_node_drain(both.client, wait, NULL), CLV_E_ARG);
        STATUS(clv_connect(both.client, both.address, wait, &session), CLV_E_ARG);
        STATUS(clv_accept(both.client, wait, &session), CLV_E_ARG);
        STATUS(clv_node_next_event(both.client, wait, &event), CLV_E_ARG);
        STATUS(clv_node_run_once(both.client, wait), CLV_E_ARG);
        STATUS(clv_session_wait_state(both.ours, UINT32_MAX, wait, &state), CLV_E_ARG);
        STATUS(clv_session_next_event(both.ours, wait, &event), CLV_E_ARG);
        STATUS(clv_session_drain(both.ours, wait), CLV_E_ARG);
        STATUS(clv_session_close(both.ours, wait), CLV_E_ARG);
        STATUS(clv_session_close_start(both.ours, wait), CLV_E_ARG);
        STATUS(clv_channel_open(both.ours, "name", NULL, wait, &channel), CLV_E_ARG);
        STATUS(clv_channel_accept(both.ours, wait, &channel), CLV_E_ARG);
        STATUS(clv_channel_send(near, "x", 1, wait), CLV_E_ARG);
        STATUS(clv_channel_recv(near, room, sizeof room, wait, &size), CLV_E_ARG);
        STATUS(clv_channel_recv_buffer(near, wait, &buffer), CLV_E_ARG);
        STATUS(clv_channel_take(near, wait, &buffer, &delivery), CLV_E_ARG);
        STATUS(clv_channel_confirm(near, wait), CLV_E_ARG);
        STATUS(clv_ack(near, 0, wait), CLV_E_ARG);
        STATUS(clv_restart_point(near, "x", 1, wait), CLV_E_ARG);
        STATUS(clv_call(both.ours, "echo", NULL, 0, wait, &buffer), CLV_E_ARG);
        STATUS(clv_call_start(both.ours, "echo", NULL, 0, wait, &call), CLV_E_ARG);
        STATUS(clv_accept_fd(both.ours, wait, 0, &fd), CLV_E_ARG);
        STATUS(clv_object_attach(both.ours, "kind", NULL, wait, &object), CLV_E_ARG);
    }
    OK(clv_channel_close(near));
    OK(clv_channel_close(far));
    pair_close(&both);
}

static void the_longest_wait_is_for_ever_and_not_an_overflow(void)
{
    pair both = pair_open();
    clv_channel near, far;
    clv_buffer *reply;
    clv_state state;
    size_t size;
    char room[8];

    MUST(clv_serve(both.server, "echo", NULL, echo, NULL, NULL));
    OK(clv_call(both.ours, "echo", "x", 1, INT64_MAX, &reply));
    clv_buffer_free(reply);
    OK(clv_session_wait_state(both.ours, 1u << CLV_STATE_LIVE, INT64_MAX, &state));
    channel_pair(&both, 0, &near, &far);
    OK(clv_channel_send(near, "x", 1, INT64_MAX));
    OK(clv_channel_recv(far, room, sizeof room, INT64_MAX, &size));
    OK(clv_session_drain(both.ours, INT64_MAX));
    OK(clv_channel_close(near));
    OK(clv_channel_close(far));
    OK(clv_session_close_start(both.ours, INT64_MAX));
    OK(clv_session_close(both.ours, INT64_MAX));
    clv_session_close(both.theirs, -1);
    OK(clv_node_drain(both.client, INT64_MAX, NULL));
    OK(clv_node_close(both.client, INT64_MAX, NULL));
    OK(clv_node_close(both.server, -1, NULL));
}

/* Sizes that no version of a struct has; where it is an output, nothing may be taken for it. */
static void sizes_of_structs_are_checked(void)
{
    static const size_t sizes[] = { 0, 1, 7, 4097, SIZE_MAX };
    pair both = pair_open();
    size_t at;

    for (at = 0; at < sizeof sizes / sizeof sizes[0]; at++) {
        clv_connect_options connect = CLV_CONNECT_OPTIONS_INIT;
        clv_channel_options options = CLV_CHANNEL_OPTIONS_INIT;
        clv_service_options service = CLV_SERVICE_OPTIONS_INIT;
        clv_leftovers leftovers = CLV_LEFTOVERS_INIT;
        clv_counters counters = CLV_COUNTERS_INIT;
        clv_session_info info = CLV_SESSION_INFO_INIT;
        clv_event event = CLV_EVENT_INIT;
        clv_kind kind = CLV_KIND_INIT;
        clv_session session;
        clv_channel channel;

        connect.struct_size = options.struct_size = service.struct_size = sizes[at];
        leftovers.struct_size = counters.struct_size = info.struct_size = sizes[at];
        event.struct_size = kind.struct_size = sizes[at];
        STATUS(clv_connect_with(both.client, &connect, 0, &session), CLV_E_ARG);
        STATUS(clv_channel_open(both.ours, "name", &options, 0, &channel), CLV_E_ARG);
        STATUS(clv_serve(both.client, "name", &service, echo, NULL, NULL), CLV_E_ARG);
        STATUS(clv_kind_register(both.client, "name", &kind), CLV_E_ARG);
        STATUS(clv_node_counters(both.client, &counters), CLV_E_ARG);
        STATUS(clv_session_get_info(both.ours, &info), CLV_E_ARG);
        /* Nothing is closed, drained or taken for an output that cannot be written. */
        STATUS(clv_node_close(both.client, 0, &leftovers), CLV_E_ARG);
        STATUS(clv_node_drain(both.client, 0, &leftovers), CLV_E_ARG);
        STATUS(clv_node_next_event(both.client, 0, &event), CLV_E_ARG);
        STATUS(clv_session_next_event(both.ours, 0, &event), CLV_E_ARG);
    }
    {
        clv_event event = CLV_EVENT_INIT;

        OK(clv_node_next_event(both.client, 0, &event));
        OK(clv_session_next_event(both.ours, 0, &event));
    }
    pair_close(&both);
}

typedef struct newer_kind {
    clv_kind known;
    unsigned char tail[NEWER_BYTES];
} newer_kind;

typedef struct newer_options {
    clv_service_options known;
    unsigned char tail[NEWER_BYTES];
} newer_options;

typedef struct newer_counters {
    clv_counters known;
    unsigned char tail[NEWER_BYTES];
} newer_counters;

/* A program that was built with a later header: fine, unless it asks for what this library does not have. */
static void newer_and_older_programs_are_served(void)
{
    clv_node node = node_with(NULL);
    counter dropped = COUNTER_INIT;
    newer_options options;
    newer_counters counters;
    newer_kind kind;
    clv_service_options plain = CLV_SERVICE_OPTIONS_INIT;
    clv_kind plain_kind = CLV_KIND_INIT;

    memset(&options, 0, sizeof options);
    memset(&kind, 0, sizeof kind);
    options.known = plain;
    options.known.struct_size = sizeof options;
    plain_kind.destroy = ends;
    plain_kind.user = &dropped;
    plain_kind.drop = count_drop;
    kind.known = plain_kind;
    kind.known.struct_size = sizeof kind;
    OK(clv_serve(node, "newer", &options.known, echo, NULL, NULL));
    options.tail[NEWER_BYTES - 1] = 1;
    STATUS(clv_serve(node, "newest", &options.known, echo, &dropped, count_drop), CLV_E_UNSUPPORTED);
    CHECK(counter_get(&dropped) == 1);
    kind.tail[0] = 1;
    STATUS(clv_kind_register(node, "newest", &kind.known), CLV_E_UNSUPPORTED);
    /* What failed has dropped its user. */
    CHECK(counter_get(&dropped) == 2);
    kind.tail[0] = 0;
    OK(clv_kind_register(node, "newer", &kind.known));
    CHECK(counter_get(&dropped) == 2);

    /* Outputs are written as far as both know them, and the size stays that of the program. */
    STAMPED(counters);
    counters.known.struct_size = sizeof counters;
    OK(clv_node_counters(node, &counters.known));
    CHECK(counters.known.struct_size == sizeof counters && counters.known.sessions == 0);
    CHECK(is_stamped(counters.tail, sizeof counters.tail, 0));
    STAMPED(counters);
    counters.known.struct_size = offsetof(clv_counters, refused);
    OK(clv_node_counters(node, &counters.known));
    CHECK(counters.known.links == 0 && is_stamped(&counters, sizeof counters, offsetof(clv_counters, refused)));
    /* An older program: its struct ends before the level, which is then the default. */
    plain.struct_size = offsetof(clv_service_options, level_min);
    plain.level_min = 77777;
    OK(clv_serve(node, "older", &plain, echo, NULL, NULL));
    OK(clv_node_close(node, SOON_MS, NULL));
    CHECK(counter_get(&dropped) == 3);
}

static void levels_and_flags_out_of_range_are_refused(void)
{
    static const int32_t levels[] = { 256, 999, -2, INT32_MAX, INT32_MIN };
    clv_node node = node_with(NULL);
    size_t at;

    for (at = 0; at < sizeof levels / sizeof levels[0]; at++) {
        clv_service_options options = CLV_SERVICE_OPTIONS_INIT;
        clv_kind kind = CLV_KIND_INIT;
        counter dropped = COUNTER_INIT;

        options.level_min = levels[at];
        kind.level_min = levels[at];
        kind.destroy = ends;
        kind.user = &dropped;
        kind.drop = count_drop;
        STATUS(clv_serve(node, "level", &options, echo, &dropped, count_drop), CLV_E_ARG);
        STATUS(clv_kind_register(node, "level", &kind), CLV_E_ARG);
        CHECK(counter_get(&dropped) == 2);
        STATUS(clv_node_listen(node, "127.0.0.1:0", levels[at], NULL, 0), CLV_E_ARG);
        STATUS(clv_log_set(node, levels[at], never_logs, &dropped, count_drop), CLV_E_ARG);
        CHECK(counter_get(&dropped) == 3);
    }
    STATUS(clv_log_set(node, 0, never_logs, NULL, NULL), CLV_E_ARG);
    STATUS(clv_log_set(node, 5, never_logs, NULL, NULL), CLV_E_ARG);
    OK(clv_node_close(node, SOON_MS, NULL));
}

static void addresses_that_are_none_are_refused(void)
{
    static const char *const addresses[] = { "", ":", "127.0.0.1:", "127.0.0.1:65536", "127.0.0.1:-1", "[::1",
                                             "clv://x@127.0.0.1:1", "127.0.0.1:1\n" };
    clv_node node = node_with(NULL);
    char bound[CLV_ADDRESS_BYTES];
    clv_session session;
    size_t at;

    STAMPED(bound);
    STAMPED(session);
    for (at = 0; at < sizeof addresses / sizeof addresses[0]; at++) {
        STATUS(clv_node_listen(node, addresses[at], -1, bound, sizeof bound), CLV_E_ARG);
        STATUS(clv_connect(node, addresses[at], SOON_MS, &session), CLV_E_ARG);
    }
    STATUS(clv_connect(node, "127.0.0.1:0", SOON_MS, &session), CLV_E_ARG);
    STATUS(clv_connect(node, NOT_UTF8, SOON_MS, &session), CLV_E_ENCODING);
    STATUS(clv_node_listen(node, NOT_UTF8, -1, bound, sizeof bound), CLV_E_ENCODING);
    /* Too little room: nothing listens then. */
    STATUS(clv_node_listen(node, "127.0.0.1:0", -1, bound, 10), CLV_E_SIZE);
    STATUS(clv_node_id(node, bound, 10), CLV_E_SIZE);
    STATUS(clv_node_id(node, bound, 0), CLV_E_SIZE);
    UNTOUCHED(bound);
    UNTOUCHED(session);
    OK(clv_node_close(node, SOON_MS, NULL));
}

int main(void)
{
    check_begin();
    RUN(texts_and_numbers_of_errors);
    RUN(the_last_error_belongs_to_its_thread);
    RUN(options_refuse_what_they_do_not_know);
    RUN(null_arguments_are_refused);
    RUN(waits_below_minus_one_are_refused);
    RUN(the_longest_wait_is_for_ever_and_not_an_overflow);
    RUN(sizes_of_structs_are_checked);
    RUN(newer_and_older_programs_are_served);
    RUN(levels_and_flags_out_of_range_are_refused);
    RUN(addresses_that_are_none_are_refused);
    return check_end();
}
