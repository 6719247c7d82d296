/*
 * A session that moves between the addresses of its server, while a client talks.
 *
 *     cc -std=c99 two_ways.c -o two_ways $(pkg-config --cflags --libs clerver)
 *     ./two_ways serve 127.0.0.1:4000 127.0.0.2:4000    and then   ./two_ways talk 127.0.0.1:4000
 *
 * The client knows one address and is told the other. It keeps a connection ready on the way that it does not use, so
 * that nobody waits when one breaks. Each line is a call; an empty line moves the session. At the server a line with an
 * address sends its client there, and the end of the input drains the node and ends it.
 */
#include <clerver.h>
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static clv_status shout(void *user, clv_request request)
{
    char text[1000];
    const void *data;
    size_t size, at;

    (void)user;
    if (clv_request_data(request, &data, &size) != CLV_OK || size > sizeof text)
        return CLV_E_SIZE;
    for (at = 0; at < size; at++)
        text[at] = (char)toupper(((const unsigned char *)data)[at]);
    return clv_reply(request, text, size);
}

/* Reads a line without its end; 0 at the end of the input. */
static int read_line(char *line, size_t size)
{
    if (fgets(line, (int)size, stdin) == NULL)
        return 0;
    line[strcspn(line, "\n")] = 0;
    return 1;
}

static clv_status serve(clv_node node, int count, char **addresses)
{
    char line[256], bound[CLV_ADDRESS_BYTES];
    clv_status status = clv_serve(node, "shout", NULL, shout, NULL, NULL);
    clv_session session;

    for (; status == CLV_OK && count > 0; count--, addresses++)
        if ((status = clv_node_listen(node, *addresses, -1, bound, sizeof bound)) == CLV_OK)
            printf("serving at %s\n", bound);
    fflush(stdout);
    if (status == CLV_OK)
        status = clv_accept(node, -1, &session);
    while (status == CLV_OK && read_line(line, sizeof line))
        status = clv_session_goto(session, line[0] == 0 ? NULL : line);
    return status == CLV_OK ? clv_node_drain(node, 5000, NULL) : status;
}

static void show(void *user, const clv_address *address)
{
    (void)user;
    printf("  %s%s%s\n", address->address, address->origin == CLV_ADDRESS_ANNOUNCED ? ", announced" : "",
           address->in_use ? ", in use" : "");
}

/* Tells what happened to the session since it was asked last. */
static void tell(clv_session session)
{
    clv_event event = CLV_EVENT_INIT;

    while (clv_session_next_event(session, 0, &event) == CLV_OK) {
        if (event.kind == CLV_EVENT_LINK_ATTACHED)
            printf("connected to %s (%s)\n", event.peer, event.text);
        else if (event.kind == CLV_EVENT_PEER_ADDRESSES)
            clv_session_addresses(session, show, NULL);
        else if (event.kind == CLV_EVENT_MOVE_BEGAN)
            printf("moving: %s\n", event.number == CLV_MOVE_GOTO ? "the server asked for it" : "as you wish");
        else if (event.kind == CLV_EVENT_MOVE_FAILED)
            printf("staying: %s\n", event.text);
        clv_buffer_free(event.data);
    }
}

static clv_status talk(clv_node node, int count, char **addresses)
{
    clv_connect_options options = CLV_CONNECT_OPTIONS_INIT;
    clv_session session;
    clv_buffer *reply;
    clv_status status;
    char line[1000];

    options.addresses = (const char *const *)addresses;
    options.addresses_count = (size_t)count;
    options.standby_links = 1;
    status = clv_connect_with(node, &options, 10000, &session);
    while (status == CLV_OK && read_line(line, sizeof line)) {
        tell(session);
        if (line[0] == 0) {
            status = clv_session_roam(session, NULL);
        } else if ((status = clv_call(session, "shout", line, strlen(line), 10000, &reply)) == CLV_OK) {
            printf("%.*s\n", (int)clv_buffer_size(reply), (const char *)clv_buffer_data(reply));
            clv_buffer_free(reply);
        }
        fflush(stdout);
    }
    return status == CLV_OK ? clv_session_close(session, 5000) : status;
}

int main(int argc, char **argv)
{
    clv_status status;
    clv_node node;

    if (argc < 3 || clv_node_open(NULL, &node) != CLV_OK)
        goto failed;
    status = strcmp(argv[1], "serve") == 0 ? serve(node, argc - 2, argv + 2) : talk(node, argc - 2, argv + 2);
    if (status != CLV_OK)
        goto failed;
    return clv_node_close(node, 1000, NULL) == CLV_OK ? 0 : 1;
failed:
    fprintf(stderr, "usage: two_ways serve|talk HOST:PORT ..\n%s\n%s\n", clv_last_error(), clv_last_remedy());
    return 1;
}
