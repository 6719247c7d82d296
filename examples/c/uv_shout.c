/*
 * Clerver in a libuv loop: one thread connects and makes many calls at once; nothing waits but the loop. It calls the
 * service of first.c:
 *
 *     cc -std=c99 uv_shout.c -o uv_shout $(pkg-config --cflags --libs clerver libuv)
 *     ./first serve 127.0.0.1:4000            and then   ./uv_shout 127.0.0.1:4000 one two three
 *
 * For libevent it is the same: event_new(base, fd, EV_READ | EV_PERSIST, take_events, ..).
 */
#define _POSIX_C_SOURCE 200809L
#include <clerver.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

static clv_node node;
static clv_connecting connecting;
static clv_session session;
static clv_pending_call *calls;
static char **texts;
static int count, calls_open;
static uv_poll_t watcher;

/* Without a watcher the loop has nothing to do and ends. */
static void fail(const char *doing)
{
    fprintf(stderr, "%s: %s\n%s\n", doing, clv_last_error(), clv_last_remedy());
    uv_poll_stop(&watcher);
}

/* The connect came to an end. */
static void start_calls(void)
{
    int number;

    if (clv_connecting_take(connecting, 0, &session) != CLV_OK) {
        fail("connect");
        return;
    }
    for (number = 0; number < count; number++) {
        const char *text = texts[number];

        if (clv_call_start(session, "shout", text, strlen(text), 5000, &calls[number]) != CLV_OK ||
            clv_call_watch(calls[number], (uint64_t)number) != CLV_OK) {
            fail(text);
            return;
        }
        calls_open++;
    }
}

/* Takes what there is of one reply. */
static void take_reply(uint64_t number)
{
    clv_buffer *part;
    clv_status status;

    while ((status = clv_call_receive(calls[number], 0, &part)) == CLV_OK) {
        printf("%d: %.*s\n", (int)number, (int)clv_buffer_size(part), (const char *)clv_buffer_data(part));
        clv_buffer_free(part);
    }
    if (status == CLV_E_AGAIN)
        return;
    if (status != CLV_E_END)
        printf("%d: %s\n", (int)number, clv_last_error());
    clv_call_close(calls[number]);
    calls[number].id = 0;
    if (--calls_open == 0)
        uv_poll_stop(&watcher);
}

/* The calls have their numbers as tokens, and the connect has the one behind them. */
static void take_events(uv_poll_t *handle, int status, int events)
{
    clv_event event = CLV_EVENT_INIT;

    (void)handle, (void)status, (void)events;
    while (clv_node_next_event(node, 0, &event) == CLV_OK) {
        if (event.kind != CLV_EVENT_READABLE)
            continue;
        if (event.token == (uint64_t)count)
            start_calls();
        else if (calls[event.token].id != 0)
            take_reply(event.token);
    }
}

int main(int argc, char **argv)
{
    clv_connect_options options = CLV_CONNECT_OPTIONS_INIT;
    uv_loop_t *loop = uv_default_loop();
    const char *address = argv[1];
    int fd;

    if (argc < 3) {
        fprintf(stderr, "usage: uv_shout HOST:PORT TEXT..\n");
        return 2;
    }
    texts = argv + 2;
    count = argc - 2;
    calls = calloc((size_t)count, sizeof *calls);
    if (calls == NULL || clv_node_open(NULL, &node) != CLV_OK || clv_node_fd(node, &fd) != CLV_OK ||
        uv_poll_init(loop, &watcher, fd) != 0 || uv_poll_start(&watcher, UV_READABLE, take_events) != 0) {
        fprintf(stderr, "uv_shout: %s\n", clv_last_error());
        return 1;
    }
    options.addresses = &address;
    options.addresses_count = 1;
    if (clv_connect_start(node, &options, 10000, &connecting) != CLV_OK ||
        clv_connecting_watch(connecting, (uint64_t)count) != CLV_OK)
        fail(address);
    uv_run(loop, UV_RUN_DEFAULT);
    uv_close((uv_handle_t *)&watcher, NULL);
    uv_run(loop, UV_RUN_DEFAULT);
    uv_loop_close(loop);
    free(calls);
    clv_connecting_close(connecting);
    return clv_session_close(session, 1000) == CLV_OK && clv_node_close(node, 1000, NULL) == CLV_OK ? 0 : 1;
}
