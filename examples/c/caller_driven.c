/*
 * A program with one thread, and none of the library's: the option caller_driven. Handlers run inside
 * clv_node_run_once, so that the counter needs no lock.
 *
 *     cc -std=c99 caller_driven.c -o caller_driven $(pkg-config --cflags --libs clerver)
 *     ./caller_driven serve 127.0.0.1:4000    and then   ./caller_driven count 127.0.0.1:4000
 *
 * The loop must come back to clv_node_run_once at least every max_gap_ms (2 s), and ttl_ms be four times as long; else
 * peers take this one for dead. To wait for descriptors of your own too, poll clv_node_fd and call it with 0.
 */
#include <clerver.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

static volatile sig_atomic_t is_stopped;
static int count;

static void stop(int number)
{
    (void)number;
    is_stopped = 1;
}

static clv_status next(void *user, clv_request request)
{
    char text[16];

    (void)user;
    return clv_reply(request, text, (size_t)sprintf(text, "%d", ++count));
}

static clv_status serve(clv_node node, const char *address)
{
    clv_status status = clv_serve(node, "next", NULL, next, NULL, NULL);
    char bound[CLV_ADDRESS_BYTES];

    if (status == CLV_OK)
        status = clv_node_listen(node, address, -1, bound, sizeof bound);
    if (status == CLV_OK)
        printf("serving at %s; Ctrl-C ends it\n", bound);
    fflush(stdout);
    while (status == CLV_OK && !is_stopped)
        status = clv_node_run_once(node, 500);
    return status;
}

/* What waits drives the node meanwhile; it only runs no handlers. */
static clv_status ask(clv_node node, const char *address)
{
    clv_session session;
    clv_buffer *reply;
    clv_status status = clv_connect(node, address, 10000, &session);
    int times;

    for (times = 0; status == CLV_OK && times < 3; times++) {
        status = clv_call(session, "next", NULL, 0, 5000, &reply);
        if (status != CLV_OK)
            break;
        printf("%.*s\n", (int)clv_buffer_size(reply), (const char *)clv_buffer_data(reply));
        clv_buffer_free(reply);
    }
    return status == CLV_OK ? clv_session_close(session, 1000) : status;
}

int main(int argc, char **argv)
{
    clv_options *options;
    clv_node node;
    clv_status status;

    if (argc != 3 || clv_options_new(&options) != CLV_OK ||
        clv_options_set(options, "caller_driven", "true") != CLV_OK || clv_node_open(options, &node) != CLV_OK)
        goto failed;
    clv_options_free(options);
    signal(SIGINT, stop);
    signal(SIGTERM, stop);
    status = strcmp(argv[1], "serve") == 0 ? serve(node, argv[2]) : ask(node, argv[2]);
    if (status != CLV_OK)
        goto failed;
    return clv_node_close(node, 1000, NULL) == CLV_OK ? 0 : 1;
failed:
    fprintf(stderr, "usage: caller_driven serve|count HOST:PORT\n%s\n%s\n", clv_last_error(), clv_last_remedy());
    return 1;
}
