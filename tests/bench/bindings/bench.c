/* One end of `make bench-bindings` in C: the server of all clients, and the client that the others are compared with.
 *     bench serve   |   bench ADDRESS CALLS MESSAGES
 */
#include <clerver.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define MESSAGE_BYTES (64 * 1024)

static void check(const char *what, clv_status status)
{
    if (status != CLV_OK) {
        fprintf(stderr, "bench: %s: %s\n", what, clv_last_error());
        exit(1);
    }
}

static uint64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000U + (uint64_t)now.tv_nsec;
}

static clv_status echo(void *user, clv_request request)
{
    const void *data;
    size_t size;
    clv_status status = clv_request_data(request, &data, &size);

    (void)user;
    return status == CLV_OK ? clv_reply(request, data, size) : status;
}

/* Takes all of the channel until its end, and says so in one message. */
static void drain(clv_channel channel)
{
    clv_buffer *taken;

    while (clv_channel_recv_buffer(channel, -1, &taken) == CLV_OK)
        clv_buffer_free(taken);
    check("answer", clv_channel_send(channel, "done", 4, -1));
}

static void serve(void)
{
    clv_node node;
    clv_session session;
    clv_channel channel;
    char address[64];
    clv_service_options options = CLV_SERVICE_OPTIONS_INIT;

    options.run_inline = 1;
    check("open", clv_node_open(NULL, &node));
    check("serve", clv_serve(node, "echo", &options, echo, NULL, NULL));
    check("listen", clv_node_listen(node, "127.0.0.1:0", -1, address, sizeof address));
    puts(address);
    fflush(stdout);
    while (clv_accept(node, -1, &session) == CLV_OK) {
        if (clv_channel_accept(session, -1, &channel) == CLV_OK) {
            drain(channel);
            clv_channel_close(channel);
        }
        clv_session_close(session, 0);
    }
}

static void call_and_stream(const char *address, int calls, int messages)
{
    static char message[MESSAGE_BYTES];
    clv_node node;
    clv_session session;
    clv_channel channel;
    clv_buffer *reply;
    uint64_t begun = 0;
    int at;

    check("open", clv_node_open(NULL, &node));
    check("connect", clv_connect(node, address, 10000, &session));
    for (at = -calls / 10; at < calls; at++) {
        if (at == 0)
            begun = now_ns();
        check("call", clv_call(session, "echo", message, 64, 10000, &reply));
        clv_buffer_free(reply);
    }
    printf("%" PRIu64, (now_ns() - begun) / (uint64_t)calls);
    check("channel", clv_channel_open(session, "sink", NULL, 10000, &channel));
    begun = now_ns();
    for (at = 0; at < messages; at++)
        check("send", clv_channel_send(channel, message, sizeof message, -1));
    check("end", clv_channel_end(channel));
    check("answer", clv_channel_recv_buffer(channel, -1, &reply));
    clv_buffer_free(reply);
    printf(" %" PRIu64 "\n", (now_ns() - begun) / (uint64_t)messages);
    clv_node_close(node, 1000, NULL);
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "serve") == 0)
        serve();
    else if (argc == 4)
        call_and_stream(argv[1], atoi(argv[2]), atoi(argv[3]));
    else
        return 2;
    return 0;
}
