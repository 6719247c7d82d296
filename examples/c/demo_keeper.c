/*
 * The half of `make demo` that keeps things for a peer:   demo_keeper FILE
 *
 *     cc -std=c99 demo_keeper.c -o demo_keeper $(pkg-config --cflags --libs clerver) -pthread
 *
 * It keeps an open file and a child process as living objects: when the peer is gone, the library ends them by their
 * destructors. A channel of bytes goes into the file; the orders on a channel of messages are counted. What happens is
 * told in lines on the standard output. It ends when its standard input does.
 */
#define _POSIX_C_SOURCE 200809L

#include <clerver.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PROGRESS_EVERY_MS 100
/* Orders are numbered from 1 to below this. */
#define ORDERS_MAX (1u << 22)

extern char **environ;

/* What came so far; the handlers and both channels write it. */
static struct {
    pthread_mutex_t lock;
    uint64_t bytes;
    uint64_t calls;
    uint64_t orders; /* different ones */
    uint64_t duplicated;
    uint64_t out_of_order;
    uint64_t last;
    int64_t last_at_ms;
    int64_t pause_ms_max;
} received = {.lock = PTHREAD_MUTEX_INITIALIZER};
static unsigned char was_seen[ORDERS_MAX];

/* Says what failed; false, for callers to hand on. */
static int failed(const char *what, const char *why)
{
    printf("failed to %s: %s\n", what, why);
    return 0;
}

static int64_t now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Reads the number that a text of any size begins with; false if there is none. */
static int number_in(const void *data, size_t size, uint64_t *number)
{
    char text[24], *end;

    if (size >= sizeof text)
        size = sizeof text - 1;
    memcpy(text, data, size);
    text[size] = 0;
    *number = strtoull(text, &end, 10);
    return end != text;
}

/* ---- The living objects ---- */

struct open_file {
    int descriptor;
};

struct child {
    pid_t process;
};

static void destroy_file(void *user, void *object)
{
    struct open_file *file = object;

    (void)user;
    close(file->descriptor);
    free(file);
    puts("destroyed kind=file");
}

static void destroy_child(void *user, void *object)
{
    struct child *child = object;

    (void)user;
    kill(child->process, SIGKILL);
    waitpid(child->process, NULL, 0);
    free(child);
    puts("destroyed kind=process");
}

static clv_status register_kind(clv_node node, const char *name, void (*destroy)(void *, void *))
{
    clv_kind kind = CLV_KIND_INIT;

    kind.destroy = destroy;
    return clv_kind_register(node, name, &kind);
}

/* Opens the file and hands it to the library. Answers why it could not, or NULL. */
static const char *keep_file(clv_session session, const char *path, clv_object *out)
{
    struct open_file *file = malloc(sizeof *file);
    const char *why = NULL;

    if (file == NULL)
        return strerror(errno);
    file->descriptor = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (file->descriptor < 0)
        why = strerror(errno);
    else if (clv_object_attach(session, "open file", file, -1, out) != CLV_OK)
        why = clv_last_error();
    /* What could not be attached is still ours. */
    if (why != NULL && file->descriptor >= 0)
        close(file->descriptor);
    if (why != NULL)
        free(file);
    return why;
}

/* Starts a process that would outlive everybody, with its streams closed to ours. Answers 0 or what errno would be. */
static int start_sleep(pid_t *process)
{
    char *words[] = {"sleep", "1000", NULL};
    posix_spawn_file_actions_t actions;
    int error = posix_spawn_file_actions_init(&actions);

    if (error != 0)
        return error;
    if ((error = posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0)) == 0 &&
        (error = posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0)) == 0)
        error = posix_spawnp(process, words[0], &actions, NULL, words, environ);
    posix_spawn_file_actions_destroy(&actions);
    return error;
}

/* Starts a process and hands it to the library. Answers why it could not, or NULL. */
static const char *keep_child(clv_session session)
{
    struct child *child = malloc(sizeof *child);
    clv_object object;
    int error;

    if (child == NULL)
        return strerror(errno);
    error = start_sleep(&child->process);
    if (error != 0) {
        free(child);
        return strerror(error);
    }
    printf("holds process=%ld\n", (long)child->process);
    if (clv_object_attach(session, "child process", child, -1, &object) == CLV_OK)
        return NULL;
    destroy_child(NULL, child);
    return clv_last_error();
}

/* ---- The services ---- */

/* Keeps both objects for the caller for as long as it lives; answers the number of the file. */
static clv_status prepare(void *user, clv_request request)
{
    const char *path = user, *why;
    char text[24];
    clv_session session;
    clv_object file;

    if (clv_request_session(request, &session) != CLV_OK)
        return CLV_E_STATE;
    if ((why = keep_file(session, path, &file)) != NULL || (why = keep_child(session)) != NULL) {
        clv_reply_error(request, why);
        return CLV_E_SYSTEM;
    }
    snprintf(text, sizeof text, "%" PRIu64, file.id);
    return clv_reply(request, text, strlen(text));
}

static clv_status answer_double(void *user, clv_request request)
{
    const void *data;
    size_t size;
    uint64_t number;
    char text[24];

    (void)user;
    if (clv_request_data(request, &data, &size) != CLV_OK || !number_in(data, size, &number))
        return CLV_E_ARG;
    pthread_mutex_lock(&received.lock);
    received.calls++;
    pthread_mutex_unlock(&received.lock);
    snprintf(text, sizeof text, "%" PRIu64, number * 2);
    return clv_reply(request, text, strlen(text));
}

/* ---- The channels ---- */

struct piece {
    const char *data;
    size_t size;
    int error;
};

/* Writes a piece into the living object; its destructor waits meanwhile. */
static void write_piece(void *user, void *object)
{
    struct piece *piece = user;
    struct open_file *file = object;

    while (piece->size > 0) {
        ssize_t written = write(file->descriptor, piece->data, piece->size);

        if (written < 0 && errno != EINTR) {
            piece->error = errno;
            return;
        }
        if (written > 0) {
            piece->data += written;
            piece->size -= (size_t)written;
        }
    }
}

/* The name of the channel is the number of the file that it is for. */
static int take_file(clv_session session, clv_channel channel)
{
    char name[256], data[65536];
    clv_object file;
    clv_status status;
    size_t size;

    if (clv_channel_name(channel, name, sizeof name) != CLV_OK)
        return failed("read the name of a channel", clv_last_error());
    file.id = strtoull(name, NULL, 10);
    while ((status = clv_channel_recv(channel, data, sizeof data, -1, &size)) == CLV_OK) {
        struct piece piece = {data, size, 0};

        if (clv_object_use(session, file, write_piece, &piece) != CLV_OK)
            return failed("use the file", clv_last_error());
        if (piece.error != 0)
            return failed("write the file", strerror(piece.error));
        pthread_mutex_lock(&received.lock);
        received.bytes += size;
        pthread_mutex_unlock(&received.lock);
    }
    return status == CLV_E_END || failed("take the file", clv_last_error());
}

/* Notes an order; the caller holds the lock. */
static void note_order(uint64_t number)
{
    int64_t now = now_ms();

    if (was_seen[number])
        received.duplicated++;
    else
        received.orders++;
    was_seen[number] = 1;
    if (received.last != 0) {
        if (number <= received.last)
            received.out_of_order++;
        if (now - received.last_at_ms > received.pause_ms_max)
            received.pause_ms_max = now - received.last_at_ms;
    }
    received.last = number;
    received.last_at_ms = now;
}

static int take_orders(clv_channel channel)
{
    char order[64];
    int64_t told_at_ms = now_ms();
    clv_status status;
    uint64_t number;
    size_t size;

    while ((status = clv_channel_recv(channel, order, sizeof order, -1, &size)) == CLV_OK) {
        if (!number_in(order, size, &number) || number == 0 || number >= ORDERS_MAX)
            return failed("take an order", "it has no number that can be counted");
        pthread_mutex_lock(&received.lock);
        note_order(number);
        if (now_ms() - told_at_ms >= PROGRESS_EVERY_MS) {
            told_at_ms = now_ms();
            printf("progress orders=%" PRIu64 " bytes=%" PRIu64 "\n", received.orders, received.bytes);
        }
        pthread_mutex_unlock(&received.lock);
    }
    return status == CLV_E_END || failed("take an order", clv_last_error());
}

struct delivery {
    clv_session session;
    clv_channel channel;
    int is_whole;
};

static void *take(void *argument)
{
    struct delivery *delivery = argument;
    int32_t is_bytes;

    if (clv_channel_is_bytes(delivery->channel, &is_bytes) != CLV_OK)
        failed("look at a channel", clv_last_error());
    else if (is_bytes)
        delivery->is_whole = take_file(delivery->session, delivery->channel);
    else
        delivery->is_whole = take_orders(delivery->channel);
    clv_channel_close(delivery->channel);
    return NULL;
}

/* Takes the file and the orders side by side, and tells what came when both are whole. */
static void receive(clv_session session)
{
    struct delivery deliveries[2] = {{.is_whole = 0}, {.is_whole = 0}};
    pthread_t beside;
    int at;

    for (at = 0; at < 2; at++) {
        deliveries[at].session = session;
        if (clv_channel_accept(session, -1, &deliveries[at].channel) != CLV_OK) {
            failed("accept a channel", clv_last_error());
            return;
        }
    }
    if (pthread_create(&beside, NULL, take, &deliveries[0]) != 0) {
        failed("start a thread", "the system has none left");
        return;
    }
    take(&deliveries[1]);
    pthread_join(beside, NULL);
    if (!deliveries[0].is_whole || !deliveries[1].is_whole)
        return;
    pthread_mutex_lock(&received.lock);
    printf("received bytes=%" PRIu64 " orders=%" PRIu64 " duplicated=%" PRIu64 " out_of_order=%" PRIu64
           " last=%" PRIu64 " pause_ms=%" PRId64 " calls=%" PRIu64 "\n",
           received.bytes, received.orders, received.duplicated, received.out_of_order, received.last,
           received.pause_ms_max, received.calls);
    pthread_mutex_unlock(&received.lock);
}

/* Serves one peer to its end. */
static void *serve_peer(void *argument)
{
    const clv_node *node = argument;
    clv_session session;

    if (clv_accept(*node, -1, &session) != CLV_OK) {
        failed("accept a session", clv_last_error());
        return NULL;
    }
    receive(session);
    /* Without a handle the session would end now, in good order; the peer decides about that. */
    clv_session_wait_state(session, 1u << CLV_STATE_CLOSED | 1u << CLV_STATE_LOST, -1, NULL);
    clv_session_close(session, 0);
    return NULL;
}

int main(int argc, char **argv)
{
    char address[CLV_ADDRESS_BYTES];
    clv_node node;
    pthread_t server;

    if (argc != 2) {
        fputs("usage: demo_keeper FILE\n", stderr);
        return 2;
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    /* When nobody reads the lines any more, the destructors still have to run. */
    signal(SIGPIPE, SIG_IGN);
    if (clv_node_open(NULL, &node) != CLV_OK || register_kind(node, "open file", destroy_file) != CLV_OK ||
        register_kind(node, "child process", destroy_child) != CLV_OK ||
        clv_serve(node, "prepare", NULL, prepare, argv[1], NULL) != CLV_OK ||
        clv_serve(node, "double", NULL, answer_double, NULL, NULL) != CLV_OK ||
        clv_node_listen(node, "127.0.0.1:0", -1, address, sizeof address) != CLV_OK) {
        failed("listen", clv_last_error());
        return 1;
    }
    printf("listening address=%s\n", address);
    if (pthread_create(&server, NULL, serve_peer, &node) != 0) {
        failed("start a thread", "the system has none left");
        return 1;
    }
    while (getchar() != EOF)
        continue;
    /* Wakes the thread, wherever it waits, and ends what is still kept. */
    clv_node_close(node, 1000, NULL);
    pthread_join(server, NULL);
    return 0;
}
