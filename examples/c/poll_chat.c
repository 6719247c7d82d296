/*
 * A chat in one thread: everything is awaited in one poll(), at standard input and at clv_node_fd.
 *
 *     cc -std=c99 poll_chat.c -o poll_chat $(pkg-config --cflags --libs clerver)
 *     ./poll_chat host 127.0.0.1:4000         and, as often as you like,   ./poll_chat join 127.0.0.1:4000
 *
 * The watch functions tell that something changed, like an edge-triggered poll. So everything that is watched is taken
 * until CLV_E_AGAIN, and the descriptor is level-triggered and stays readable while events wait.
 */
#define _POSIX_C_SOURCE 200809L
#include <clerver.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define MEMBERS_MAX 64

/* A member's place is the token of its session and channel. */
static struct member {
    clv_session session;
    clv_channel channel;
} members[MEMBERS_MAX];

static void leave(uint64_t place)
{
    if (members[place].channel.id != 0)
        clv_channel_close(members[place].channel);
    clv_session_close(members[place].session, 0);
    memset(&members[place], 0, sizeof members[place]);
    puts("(somebody left)");
}

/* To all but one place. Who reads so slowly that there is no room is sent away, so that nobody else waits. */
static void say(const char *text, size_t size, uint64_t but)
{
    uint64_t place;

    for (place = 0; place < MEMBERS_MAX; place++)
        if (place != but && members[place].channel.id != 0 &&
            clv_channel_send(members[place].channel, text, size, 0) == CLV_E_AGAIN)
            leave(place);
}

static clv_status admit(clv_session session, clv_channel channel)
{
    uint64_t place = 0;

    while (place < MEMBERS_MAX && members[place].session.id != 0)
        place++;
    if (place == MEMBERS_MAX)
        return clv_session_close(session, 0);
    members[place].session = session;
    members[place].channel = channel;
    if (channel.id != 0)
        clv_channel_watch(channel, place);
    return clv_session_watch(session, place);
}

static void take_messages(uint64_t place)
{
    char text[1024];
    size_t size;
    clv_status status;

    while ((status = clv_channel_recv(members[place].channel, text, sizeof text, 0, &size)) == CLV_OK) {
        printf("%.*s\n", (int)size, text);
        say(text, size, place);
    }
    if (status != CLV_E_AGAIN)
        leave(place);
}

/* News of a session, and the channel that a member opens first of all. */
static void look_at_session(uint64_t place)
{
    struct member *member = &members[place];
    clv_event event = CLV_EVENT_INIT;
    clv_status status;

    while ((status = clv_session_next_event(member->session, 0, &event)) == CLV_OK) {
        if (event.kind == CLV_EVENT_STATE && event.state == CLV_STATE_SUSPENDED)
            puts("(no connection: go on writing)");
        clv_buffer_free(event.data);
    }
    if (status != CLV_E_AGAIN)
        leave(place);
    else if (member->channel.id == 0 && clv_channel_accept(member->session, 0, &member->channel) == CLV_OK)
        clv_channel_watch(member->channel, place);
}

static void take_events(clv_node node)
{
    const clv_channel none = {0};
    clv_event event = CLV_EVENT_INIT;
    clv_session session;

    while (clv_node_next_event(node, 0, &event) == CLV_OK) {
        if (event.kind == CLV_EVENT_ACCEPTED)
            while (clv_accept(node, 0, &session) == CLV_OK)
                admit(session, none);
        /* A member may have left since its event was made. */
        else if (event.kind == CLV_EVENT_SESSION_READY && members[event.token].session.id != 0)
            look_at_session(event.token);
        else if (event.kind == CLV_EVENT_READABLE && members[event.token].channel.id != 0)
            take_messages(event.token);
    }
}

/* Says each whole line of standard input; 0 at its end. */
static int take_input(void)
{
    static char text[1024];
    static size_t filled;
    ssize_t size = read(STDIN_FILENO, text + filled, sizeof text - filled);
    char *newline;

    if (size <= 0)
        return 0;
    filled += (size_t)size;
    while ((newline = memchr(text, '\n', filled)) != NULL || filled == sizeof text) {
        size_t length = newline != NULL ? (size_t)(newline - text) : filled;
        size_t used = newline != NULL ? length + 1 : length;

        say(text, length, MEMBERS_MAX);
        filled -= used;
        memmove(text, text + used, filled);
    }
    return 1;
}

static clv_status begin(clv_node node, int is_host, const char *address)
{
    clv_session session;
    clv_channel channel;
    clv_status status;

    if (is_host)
        return clv_node_listen(node, address, -1, NULL, 0);
    if ((status = clv_connect(node, address, 10000, &session)) != CLV_OK ||
        (status = clv_channel_open(session, "chat", NULL, 0, &channel)) != CLV_OK ||
        (status = clv_channel_send(channel, "(somebody joined)", 17, 0)) != CLV_OK)
        return status;
    return admit(session, channel);
}

int main(int argc, char **argv)
{
    struct pollfd ready[2] = {{STDIN_FILENO, POLLIN, 0}, {-1, POLLIN, 0}};
    clv_node node;
    int has_input = 1;

    if (argc != 3 || clv_node_open(NULL, &node) != CLV_OK || clv_node_fd(node, &ready[1].fd) != CLV_OK ||
        begin(node, strcmp(argv[1], "host") == 0, argv[2]) != CLV_OK) {
        fprintf(stderr, "usage: poll_chat host|join HOST:PORT\n%s\n%s\n", clv_last_error(), clv_last_remedy());
        return 1;
    }
    puts("write lines; the end of input ends it");
    while (has_input) {
        fflush(stdout);
        if (poll(ready, 2, -1) < 0)
            continue;
        if (ready[1].revents != 0)
            take_events(node);
        if (ready[0].revents != 0)
            has_input = take_input();
    }
    return clv_node_close(node, 2000, NULL) == CLV_OK ? 0 : 1;
}
