/* Plain descriptors: what a program that knows only sockets sees of a channel. */
#include "refusals.h"
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/wait.h>

static const char *const QUICK[] = { "beat_ms", "50", "ttl_ms", "400", NULL };

/* Both ends of one channel as descriptors; the first byte makes the peer hear of it. */
static void descriptor_pair(pair *of, uint32_t flags, int *near, int *far)
{
    char first = 0;

    MUST(clv_dial_fd(of->ours, "legacy", flags, near));
    MUST_BE(write(*near, "!", 1) == 1);
    MUST(clv_accept_fd(of->theirs, SOON_MS, flags, far));
    MUST_BE(read(*far, &first, 1) == 1 && first == '!');
}

static int is_ready(int fd, short events)
{
    struct pollfd wait = { 0, 0, 0 };

    wait.fd = fd;
    wait.events = events;
    return poll(&wait, 1, SOON_MS) == 1 && (wait.revents & events) != 0;
}

/* Reads to the end: 0, or the error. */
static int read_to_end(int fd)
{
    char piece[4096];
    ssize_t size;

    do {
        if (!is_ready(fd, POLLIN))
            return -1;
        size = read(fd, piece, sizeof piece);
    } while (size > 0 || (size < 0 && errno == EINTR));
    return size == 0 ? 0 : errno;
}

static void they_are_sockets_as_any(void)
{
    pair both = pair_open();
    struct sockaddr_in peer;
    socklen_t size = sizeof peer;
    int near, far, on = 1;

    descriptor_pair(&both, 0, &near, &far);
    CHECK(getpeername(near, (struct sockaddr *)&peer, &size) == 0 && peer.sin_family == AF_INET);
    CHECK(ntohl(peer.sin_addr.s_addr) >> 24 == 127);
    CHECK(setsockopt(near, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) == 0);
    CHECK((fcntl(near, F_GETFD) & FD_CLOEXEC) != 0 && (fcntl(near, F_GETFL) & O_NONBLOCK) == 0);
    close(near);
    CHECK(read_to_end(far) == 0);
    close(far);
    descriptor_pair(&both, CLV_FD_UNIX, &near, &far);
    CHECK(getpeername(near, (struct sockaddr *)&peer, &size) == 0);
    CHECK((fcntl(far, F_GETFD) & FD_CLOEXEC) != 0 && (fcntl(far, F_GETFL) & O_NONBLOCK) == 0);
    close(far);
    CHECK(read_to_end(near) == 0);
    close(near);
    pair_close(&both);
}

static void select_and_poll_tell_when_there_is_something(void)
{
    pair both = pair_open();
    struct timeval soon = { SOON_MS / 1000, 0 };
    struct timeval none = { 0, 0 };
    fd_set set;
    int near, far;
    char room[8];

    descriptor_pair(&both, 0, &near, &far);
    FD_ZERO(&set);
    FD_SET(far, &set);
    CHECK(select(far + 1, &set, NULL, NULL, &none) == 0);
    CHECK(write(near, "select", 6) == 6);
    FD_SET(far, &set);
    CHECK(select(far + 1, &set, NULL, NULL, &soon) == 1 && FD_ISSET(far, &set));
    CHECK(read(far, room, sizeof room) > 0);
    CHECK(is_ready(near, POLLOUT));
    CHECK(write(far, "poll", 4) == 4 && is_ready(near, POLLIN));
    close(near);
    close(far);
    pair_close(&both);
}

static void *writes_lines(void *user)
{
    FILE *stream = fdopen(dup(*(int *)user), "w");
    int line;

    for (line = 0; line < 20000; line++)
        fprintf(stream, "line %d of a program of the 1990s\n", line);
    CHECK(fclose(stream) == 0);
    CHECK(shutdown(*(int *)user, SHUT_WR) == 0);
    return NULL;
}

static void stdio_works_on_them_and_each_direction_ends_by_itself(void)
{
    pair both = pair_open();
    char wanted[64], line[64];
    pthread_t thread;
    int near, far, count = 0;
    FILE *stream;

    descriptor_pair(&both, 0, &near, &far);
    MUST_BE(pthread_create(&thread, NULL, writes_lines, &near) == 0);
    stream = fdopen(dup(far), "r");
    while (fgets(line, sizeof line, stream) != NULL) {
        snprintf(wanted, sizeof wanted, "line %d of a program of the 1990s\n", count++);
        if (strcmp(line, wanted) != 0) {
            CHECK(!"a line is not what was written");
            break;
        }
    }
    CHECK(count == 20000 && feof(stream) && !ferror(stream));
    fclose(stream);
    pthread_join(thread, NULL);
    /* The other direction is still open. */
    CHECK(write(far, "answer", 6) == 6);
    close(far);
    CHECK(is_ready(near, POLLIN) && read(near, line, sizeof line) == 6);
    CHECK(read_to_end(near) == 0);
    close(near);
    pair_close(&both);
}

static void a_channel_becomes_a_descriptor(void)
{
    pair both = pair_open();
    clv_channel near, far, messages, peer;
    char room[8];
    size_t size;
    int fd = -1, other = -1;

    channel_pair(&both, 1, &near, &far);
    OK(clv_channel_into_fd(near, 0, &fd));
    refuse_channel(near, CLV_E_HANDLE);
    OK(clv_channel_send(far, "bytes", 5, SOON_MS));
    CHECK(is_ready(fd, POLLIN) && read(fd, room, sizeof room) > 0);
    CHECK(write(fd, "back", 4) == 4);
    OK(clv_channel_recv(far, room, sizeof room, SOON_MS, &size));
    close(fd);
    while (clv_channel_recv(far, room, sizeof room, SOON_MS, &size) == CLV_OK)
        continue;
    STATUS(clv_channel_recv(far, room, sizeof room, SOON_MS, &size), CLV_E_END);
    OK(clv_channel_close(far));

    /* Messages cannot; the handle stays, and so does a channel that accept_fd had to give back. */
    channel_pair(&both, 0, &messages, &peer);
    STATUS(clv_channel_into_fd(messages, 0, &other), CLV_E_STATE);
    STATUS(clv_channel_into_fd(peer, CLV_FD_UNIX, &other), CLV_E_STATE);
    OK(clv_channel_send(messages, "still", 5, SOON_MS));
    OK(clv_channel_recv(peer, room, sizeof room, SOON_MS, &size));
    OK(clv_channel_close(messages));
    OK(clv_channel_close(peer));
    MUST(clv_channel_open(both.ours, "messages", NULL, SOON_MS, &messages));
    MUST(clv_channel_send(messages, "x", 1, SOON_MS));
    STATUS(clv_accept_fd(both.theirs, SOON_MS, 0, &other), CLV_E_STATE);
    STATUS(clv_accept_fd(both.theirs, 0, 0, &other), CLV_E_AGAIN);
    STATUS(clv_accept_fd(both.theirs, 10, 0, &other), CLV_E_TIMEOUT);
    CHECK(other == -1);
    OK(clv_channel_close(messages));
    pair_close(&both);
}

/* Whatever cuts a channel off, the reader sees a reset and never a clean end. */
static void a_cut_is_a_reset(void)
{
    pair both = pair_open();
    struct linger at_once = { 1, 0 };
    clv_channel channel;
    int near, far;

    descriptor_pair(&both, 0, &near, &far);
    setsockopt(near, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    close(near);
    CHECK(read_to_end(far) == ECONNRESET);
    close(far);
    MUST(clv_dial_fd(both.ours, "reset", 0, &near));
    CHECK(write(near, "!", 1) == 1);
    MUST(clv_channel_accept(both.theirs, SOON_MS, &channel));
    OK(clv_channel_reset(channel, "half of it is missing"));
    CHECK(read_to_end(near) == ECONNRESET);
    close(near);
    OK(clv_channel_close(channel));
    descriptor_pair(&both, 0, &near, &far);
    OK(clv_node_close(both.client, 1000, NULL));
    CHECK(read_to_end(near) == ECONNRESET);
    CHECK(read_to_end(far) == ECONNRESET);
    close(near);
    close(far);
    clv_session_close(both.ours, 0);
    clv_session_close(both.theirs, 0);
    OK(clv_node_close(both.server, SOON_MS, NULL));
}

static void peer(const char *address)
{
    clv_node node = node_with(QUICK);
    clv_session session;
    int fd;

    alarm(60);
    MUST(clv_connect(node, address, SOON_MS, &session));
    MUST(clv_dial_fd(session, "dies", 0, &fd));
    MUST_BE(write(fd, "!", 1) == 1);
    for (;;)
        pause();
}

/* A peer that is killed: its connections end, but nobody says goodbye, so the session is lost. */
static void a_peer_that_dies_is_a_reset(void)
{
    clv_node server = node_with(QUICK);
    char address[CLV_ADDRESS_BYTES], first = 0;
    clv_session session;
    pid_t child;
    int fd;

    MUST(clv_node_listen(server, "127.0.0.1:0", -1, address, sizeof address));
    child = start_peer(address);
    MUST(clv_accept(server, SOON_MS, &session));
    MUST(clv_accept_fd(session, SOON_MS, 0, &fd));
    CHECK(read(fd, &first, 1) == 1);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    CHECK(read_to_end(fd) == ECONNRESET);
    close(fd);
    clv_session_close(session, 0);
    OK(clv_node_close(server, SOON_MS, NULL));
}

/* A descriptor keeps the session open when its last handle is closed. */
static void a_descriptor_keeps_its_session(void)
{
    pair both = pair_open();
    char room[8];
    int near, far;

    descriptor_pair(&both, 0, &near, &far);
    OK(clv_session_close(both.ours, SOON_MS));
    OK(clv_session_close(both.theirs, SOON_MS));
    CHECK(write(near, "kept", 4) == 4 && is_ready(far, POLLIN) && read(far, room, sizeof room) == 4);
    close(near);
    CHECK(read_to_end(far) == 0);
    close(far);
    OK(clv_node_close(both.client, SOON_MS, NULL));
    OK(clv_node_close(both.server, SOON_MS, NULL));
}

static void no_descriptor_leaks(void)
{
    int before = descriptors_open();
    int round, near, far;
    pair both = pair_open();
    int inside = descriptors_open();

    for (round = 0; round < 50; round++) {
        descriptor_pair(&both, round % 2 == 0 ? 0 : CLV_FD_UNIX, &near, &far);
        close(near);
        CHECK(read_to_end(far) == 0);
        close(far);
    }
    /* The library closes its ends when it has seen ours go. */
    CHECK(descriptors_become(inside));
    for (round = 0; round < 10; round++)
        descriptor_pair(&both, 0, &near, &far), close(near), close(far);
    pair_close(&both);
    CHECK(descriptors_become(before));
}

int main(int count, char **arguments)
{
    check_begin();
    if (count == 2)
        peer(arguments[1]);
    signal(SIGPIPE, SIG_IGN);
    RUN(they_are_sockets_as_any);
    RUN(select_and_poll_tell_when_there_is_something);
    RUN(stdio_works_on_them_and_each_direction_ends_by_itself);
    RUN(a_channel_becomes_a_descriptor);
    RUN(a_cut_is_a_reset);
    RUN(a_peer_that_dies_is_a_reset);
    RUN(a_descriptor_keeps_its_session);
    RUN(no_descriptor_leaks);
    return check_end();
}
