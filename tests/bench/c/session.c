/* The same program over sessions of Clerver. */
#define _POSIX_C_SOURCE 200809L
#include "common.h"

#include <clerver.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { WAIT_MS = 20000 };

static void must(clv_status status, const char *what)
{
    if (status == CLV_OK)
        return;
    fprintf(stderr, "bench: %s: %s\n", what, clv_last_error());
    exit(1);
}

/* `pairs` are names and values of options, up to a NULL. */
static clv_node open_node(const char *const *pairs)
{
    clv_options *options;
    clv_node node;
    must(clv_options_new(&options), "options");
    for (; *pairs; pairs += 2)
        must(clv_options_set(options, pairs[0], pairs[1]), pairs[0]);
    must(clv_node_open(options, &node), "open");
    clv_options_free(options);
    return node;
}

static clv_status echo(void *user, clv_request request)
{
    const void *data;
    size_t size;
    clv_status status = clv_request_data(request, &data, &size);
    (void)user;
    return status == CLV_OK ? clv_reply(request, data, size) : status;
}

/* Large messages are looked at where they are, small ones are copied into memory of ours. */
static clv_status take(clv_channel channel, int is_large)
{
    static unsigned char small[4096];
    clv_buffer *large = NULL;
    clv_status status;
    size_t size;
    if (!is_large)
        return clv_channel_recv(channel, small, sizeof small, -1, &size);
    status = clv_channel_recv_buffer(channel, -1, &large);
    clv_buffer_free(large);
    return status;
}

static uint64_t count_messages(clv_channel channel)
{
    uint64_t count = 0;
    char name[256] = "";
    clv_status status = clv_channel_name(channel, name, sizeof name);
    while (status == CLV_OK) {
        status = take(channel, strcmp(name, "large") == 0);
        count += status == CLV_OK;
    }
    return status == CLV_E_END ? count : UINT64_MAX;
}

/* Counts what comes on one channel after the other. */
static void *serve_session(void *user)
{
    clv_session session = *(clv_session *)user;
    clv_channel channel;
    free(user);
    while (clv_channel_accept(session, -1, &channel) == CLV_OK) {
        uint64_t count = count_messages(channel);
        clv_channel_send(channel, &count, sizeof count, WAIT_MS);
        clv_channel_end(channel);
        clv_channel_close(channel);
    }
    clv_session_close(session, 0);
    return NULL;
}

struct listener {
    clv_node node;
    int idle;
};

static void *accept_all(void *user)
{
    struct listener *listener = user;
    clv_session session;
    while (clv_accept(listener->node, -1, &session) == CLV_OK) {
        pthread_t thread;
        clv_session *given;
        if (listener->idle)
            continue;
        given = malloc(sizeof *given);
        if (!given)
            die("memory");
        *given = session;
        if (pthread_create(&thread, NULL, serve_session, given) != 0 || pthread_detach(thread) != 0)
            die("thread");
    }
    return NULL;
}

/* Beats of idle sessions come so seldom that their nodes need not be driven while others connect. */
#define IDLE_OPTIONS "beat_ms", "20000", "ttl_ms", "100000", "max_gap_ms", "20000"

void session_serve(int idle)
{
    static const char *const BUSY[] = { "node_name", "bench", NULL };
    static const char *const IDLE[] = { "node_name", "bench", "source_rate_per_s", "1000000", IDLE_OPTIONS, NULL };
    clv_service_options options = CLV_SERVICE_OPTIONS_INIT;
    struct listener listener;
    char bound[CLV_ADDRESS_BYTES];
    pthread_t thread;
    listener.idle = idle;
    listener.node = open_node(idle ? IDLE : BUSY);
    must(clv_serve(listener.node, "worker", NULL, echo, NULL, NULL), "serve");
    options.run_inline = 1;
    must(clv_serve(listener.node, "inline", &options, echo, NULL, NULL), "serve");
    must(clv_node_listen(listener.node, "127.0.0.1:0", -1, bound, sizeof bound), "listen");
    if (pthread_create(&thread, NULL, accept_all, &listener) != 0)
        die("thread");
    printf("ready %s\n", bound);
    fflush(stdout);
    while (next_line())
        tell_stat();
    exit(0);
}

static void call_once(clv_session session, const char *service)
{
    static const unsigned char REQUEST[64];
    clv_buffer *reply;
    must(clv_call(session, service, REQUEST, sizeof REQUEST, WAIT_MS, &reply), "call");
    if (clv_buffer_size(reply) != sizeof REQUEST)
        die("reply");
    clv_buffer_free(reply);
}

static void call_for(clv_session session, const char *service, uint64_t ms)
{
    static struct times times;
    uint64_t begin = now_ns(), until = begin + ms * 1000000;
    while (begin < until) {
        uint64_t end;
        call_once(session, service);
        end = now_ns();
        add_time(&times, end - begin);
        begin = end;
    }
    tell_times(&times);
}

static void stream_for(clv_session session, uint64_t ms, size_t size)
{
    static const unsigned char MESSAGE[MESSAGE_BYTES_MAX];
    uint64_t begin = now_ns(), until = begin + ms * 1000000, sent = 0, counted = 0;
    clv_channel channel;
    size_t got = 0;
    must(clv_channel_open(session, size > 4096 ? "large" : "small", NULL, WAIT_MS, &channel), "channel");
    do {
        for (int turn = 0; turn < 16; turn++, sent++)
            must(clv_channel_send(channel, MESSAGE, size, -1), "send");
    } while (now_ns() < until);
    must(clv_channel_end(channel), "end");
    must(clv_channel_recv(channel, &counted, sizeof counted, -1, &got), "count");
    if (counted != sent)
        die("messages are missing");
    tell_stream(sent, now_ns() - begin);
    must(clv_channel_close(channel), "close");
}

void session_client(const char *address)
{
    static const char *const OPTIONS[] = { "node_name", "client", NULL };
    clv_node node = open_node(OPTIONS);
    clv_session session;
    const char *line;
    must(clv_connect(node, address, WAIT_MS, &session), "connect");
    say("ready");
    while ((line = next_line()) != NULL) {
        unsigned long ms = 0, size = 0;
        char service[16];
        if (sscanf(line, "call %15s %lu", service, &ms) == 2)
            call_for(session, service, ms);
        else if (sscanf(line, "stream %lu %lu", &ms, &size) == 2)
            stream_for(session, ms, size);
        else
            tell_stat();
    }
    must(clv_session_close(session, 1000), "close");
    must(clv_node_close(node, 1000, NULL), "close");
}

/* Lets every node do what there is to do. */
static void drive(const clv_node *nodes, int count)
{
    for (int turn = 0; turn < 3; turn++)
        for (int at = 0; at < count; at++)
            must(clv_node_run_once(nodes[at], 0), "run_once");
}

/* A session belongs to a pair of nodes, so that many sessions need many nodes; these have no threads. */
void session_idle_client(const char *address, int count)
{
    static const char *const OPTIONS[] = { "node_name", "idle", "caller_driven", "true", IDLE_OPTIONS, NULL };
    clv_node *nodes = calloc((size_t)(count + WARM_SESSIONS), sizeof *nodes);
    clv_session session;
    const char *line;
    int made = 0, wanted = WARM_SESSIONS;
    if (!nodes)
        die("memory");
    do {
        for (; made < wanted; made++) {
            nodes[made] = open_node(OPTIONS);
            must(clv_connect(nodes[made], address, WAIT_MS, &session), "connect");
            call_once(session, "inline");
            tell_progress(made);
        }
        drive(nodes, made);
        printf("ready %d\n", made);
        fflush(stdout);
        while ((line = next_line()) != NULL && strcmp(line, "stat") == 0)
            tell_stat();
        wanted = WARM_SESSIONS + count;
    } while (line);
    exit(0);
}
