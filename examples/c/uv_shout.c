/*
 * Clerver in a libuv loop: many calls at once, one thread, nothing waits but the loop. It calls the service of first.c:
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
static clv_pending_call *calls;
static int calls_open;
static uv_poll_t watcher;

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
    /* Without a watcher the loop has nothing to do and ends. */
    if (--calls_open == 0)
        uv_poll_stop(&watcher);
}

static void take_events(uv_poll_t *handle, int status, int events)
{
    clv_event event = CLV_EVENT_INIT;

    (void)handle, (void)status, (void)events;
    while (clv_node_next_event(node, 0, &event) == CLV_OK)
        if (event.kind == CLV_EVENT_READABLE && calls[event.token].id != 0)
            take_reply(event.token);
}

int main(int argc, char **argv)
{
    uv_loop_t *loop = uv_default_loop();
    clv_session session;
    int fd, number, count = argc - 2;

    if (argc < 3 || clv_node_open(NULL, &node) != CLV_OK || clv_connect(node, argv[1], 10000, &session) != CLV_OK ||
        clv_node_fd(node, &fd) != CLV_OK)
        goto failed;
    calls = calloc((size_t)count, sizeof *calls);
    if (calls == NULL || uv_poll_init(loop, &watcher, fd) != 0 ||
        uv_poll_start(&watcher, UV_READABLE, take_events) != 0)
        return 1;
    for (number = 0; number < count; number++) {
        const char *text = argv[number + 2];

        if (clv_call_start(session, "shout", text, strlen(text), 5000, &calls[number]) != CLV_OK ||
            clv_call_watch(calls[number], (uint64_t)number) != CLV_OK)
            goto failed;
        calls_open++;
    }
    uv_run(loop, UV_RUN_DEFAULT);
    uv_close((uv_handle_t *)&watcher, NULL);
    uv_run(loop, UV_RUN_DEFAULT);
    uv_loop_close(loop);
    free(calls);
    clv_session_close(session, 1000);
    return clv_node_close(node, 1000, NULL) == CLV_OK ? 0 : 1;
failed:
    fprintf(stderr, "usage: uv_shout HOST:PORT TEXT..\n%s\n%s\n", clv_last_error(), clv_last_remedy());
    return 1;
}
