/* One session: a server that takes channels and answers calls, and a client that is told what to measure. */
#define _POSIX_C_SOURCE 200809L
#include "session.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* Names of wishes that this library does not have, each after a space. */
static char missing[256];

void must(clv_status status, const char *what)
{
    if (status == CLV_OK)
        return;
    fprintf(stderr, "bench: %s: %s\n", what, clv_last_error());
    exit(1);
}

static void note_missing(const char *name)
{
    size_t used = strlen(missing);
    if (!strstr(missing, name))
        snprintf(missing + used, sizeof missing - used, " %s", name);
}

static void set_wish(clv_options *options, const char *wish)
{
    int may_miss = wish[0] == '?';
    const char *name = wish + may_miss, *equals = strchr(name, '=');
    char text[64] = "";
    clv_status status;
    if (!equals || (size_t)(equals - name) >= sizeof text)
        die("a wish is name=value");
    memcpy(text, name, (size_t)(equals - name));
    status = clv_options_set(options, text, equals + 1);
    if (may_miss && (status == CLV_E_CONFIG || status == CLV_E_UNSUPPORTED))
        note_missing(text);
    else
        must(status, text);
}

clv_node open_node(const char *name, char **wishes)
{
    clv_options *options;
    clv_node node;
    must(clv_options_new(&options), "options");
    must(clv_options_set(options, "node_name", name), "node_name");
    for (; *wishes; wishes++)
        set_wish(options, *wishes);
    must(clv_node_open(options, &node), "open");
    clv_options_free(options);
    return node;
}

void say_ready(const char *text)
{
    printf("ready %s%s%s\n", text, missing[0] ? " missing" : "", missing);
    fflush(stdout);
}

static clv_status echo(void *user, clv_request request)
{
    const void *data;
    size_t size;
    clv_status status = clv_request_data(request, &data, &size);
    (void)user;
    return status == CLV_OK ? clv_reply(request, data, size) : status;
}

static clv_status tell_time(void *user, clv_request request)
{
    uint64_t now = now_ns();
    (void)user;
    return clv_reply(request, &now, sizeof now);
}

void offer_services(clv_node node)
{
    clv_service_options options = CLV_SERVICE_OPTIONS_INIT;
    must(clv_serve(node, "worker", NULL, echo, NULL, NULL), "serve");
    must(clv_serve(node, "deliver", NULL, let_go, NULL, NULL), "serve");
    options.run_inline = 1;
    must(clv_serve(node, "inline", &options, echo, NULL, NULL), "serve");
    must(clv_serve(node, "clock", &options, tell_time, NULL, NULL), "serve");
}

void listen_at_all(clv_node node, const char *addresses)
{
    char all[1024] = "", one[CLV_ADDRESS_BYTES], bound[CLV_ADDRESS_BYTES];
    while (*addresses) {
        size_t size = strcspn(addresses, ","), used = strlen(all);
        if (size >= sizeof one || used + sizeof bound + 1 > sizeof all)
            die("addresses");
        memcpy(one, addresses, size);
        one[size] = 0;
        must(clv_node_listen(node, one, -1, bound, sizeof bound), "listen");
        snprintf(all + used, sizeof all - used, "%s%s", used ? "," : "", bound);
        addresses += size + (addresses[size] == ',');
    }
    say_ready(all);
}

/* Who takes a channel of which name. */
static const struct {
    const char *name;
    void (*take)(clv_channel channel);
} CONSUMERS[] = {
    { "large", count_large }, { "small", count_small }, { "lone", note_lone },
    { "push", push_for },     { "held", take_held },
};

/* Serves one channel after the other. */
static void *serve_session(void *user)
{
    clv_session session = *(clv_session *)user;
    clv_channel channel;
    free(user);
    while (clv_channel_accept(session, -1, &channel) == CLV_OK) {
        char name[256] = "";
        must(clv_channel_name(channel, name, sizeof name), "name");
        for (size_t at = 0; at < sizeof CONSUMERS / sizeof *CONSUMERS; at++)
            if (strcmp(CONSUMERS[at].name, name) == 0)
                CONSUMERS[at].take(channel);
        clv_channel_end(channel);
        clv_channel_close(channel);
    }
    clv_session_close(session, 0);
    return NULL;
}

static void *accept_all(void *user)
{
    clv_node *node = user;
    clv_session session;
    while (clv_accept(*node, -1, &session) == CLV_OK) {
        pthread_t thread;
        clv_session *given = must_have(malloc(sizeof *given));
        *given = session;
        if (pthread_create(&thread, NULL, serve_session, given) != 0 || pthread_detach(thread) != 0)
            die("thread");
    }
    return NULL;
}

void session_serve(char **arguments)
{
    clv_node node = open_node("bench", arguments + 1);
    pthread_t thread;
    offer_services(node);
    if (pthread_create(&thread, NULL, accept_all, &node) != 0)
        die("thread");
    listen_at_all(node, arguments[0]);
    while (next_line())
        tell_stat();
    exit(0);
}

void session_client(char **arguments)
{
    const char *address = arguments[0], *line;
    char **wishes = arguments + 1;
    clv_node node = open_node("client", wishes);
    clv_session session;
    must(clv_connect(node, address, WAIT_MS, &session), "connect");
    say_ready("");
    while ((line = next_line()) != NULL) {
        unsigned long ms = 0, size = 0, count = 0, period_us = 0;
        char service[16];
        if (sscanf(line, "callers %lu %15s %lu", &count, service, &ms) == 3)
            call_by_many(session, count, service, ms);
        else if (sscanf(line, "call %15s %lu", service, &ms) == 2)
            call_for(session, service, ms);
        else if (sscanf(line, "stream %lu %lu", &ms, &size) == 2)
            stream_for(session, ms, size);
        else if (sscanf(line, "lone %lu", &ms) == 1)
            lone_for(session, ms);
        else if (sscanf(line, "push %lu", &ms) == 1)
            burst_for(session, ms);
        else if (sscanf(line, "pace %lu %lu %lu", &ms, &period_us, &size) == 3)
            pace_for(session, ms, period_us, size);
        else if (sscanf(line, "connect %lu", &ms) == 1)
            connect_for(address, ms, wishes);
        else if (sscanf(line, "objects %lu", &count) == 1)
            attach_objects(node, session, count);
        else if (sscanf(line, "queue %lu %lu", &count, &size) == 2)
            queue_messages(session, count, size);
        else if (strcmp(line, "deliver") == 0)
            deliver_messages(session);
        else
            tell_stat();
    }
    must(clv_session_close(session, 1000), "close");
    must(clv_node_close(node, 1000, NULL), "close");
}

void host_id(char **arguments)
{
    clv_node node = open_node("id", arguments);
    char id[CLV_HOST_ID_BYTES];
    must(clv_node_id(node, id, sizeof id), "id");
    say_ready(id);
    must(clv_node_close(node, 1000, NULL), "close");
}
