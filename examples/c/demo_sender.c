/*
 * The half of `make demo` that owns things at its peer:   demo_sender ADDRESS FILE
 *
 *     cc -std=c99 demo_sender.c -o demo_sender $(pkg-config --cflags --libs clerver) -pthread
 *
 * It sends a file on a channel of bytes and numbered orders on a channel of messages, and makes calls, all at once, and
 * never looks at the connections that break below. The line "finish" on its standard input ends orders and calls once
 * the file is sent; the end of the input ends the program.
 */
#define _POSIX_C_SOURCE 200809L

#include <clerver.h>
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

/* The file is cut into so many pieces, one each PIECE_EVERY_MS: unbroken connections would need about 8 s. */
#define PIECES 256
#define PIECE_BYTES_MIN 65536
#define PIECE_EVERY_MS 30
#define ORDER_EVERY_MS 4
#define CALL_EVERY_MS 50
/* A call waits out the breaks. */
#define CALL_TIMEOUT_MS 30000

/* One of the things that are done at once. */
struct work {
    int (*run)(struct work *work); /* false: it failed */
    clv_session session;
    clv_channel channel;
    FILE *file;
    uint64_t done; /* bytes, orders or calls */
    int is_good;
    pthread_t thread;
};

static pthread_mutex_t finish_lock = PTHREAD_MUTEX_INITIALIZER;
static int finish_is_due;

/* Says what failed; false, for callers to hand on. */
static int failed(const char *what, const char *why)
{
    printf("failed to %s: %s\n", what, why);
    return 0;
}

static void wait_ms(long milliseconds)
{
    struct timespec time;

    time.tv_sec = milliseconds / 1000;
    time.tv_nsec = milliseconds % 1000 * 1000000;
    nanosleep(&time, NULL);
}

static void finish(void)
{
    pthread_mutex_lock(&finish_lock);
    finish_is_due = 1;
    pthread_mutex_unlock(&finish_lock);
}

/* Waits for the next turn; false when there is none. */
static int next_turn(long every_ms)
{
    int is_due;

    wait_ms(every_ms);
    pthread_mutex_lock(&finish_lock);
    is_due = finish_is_due;
    pthread_mutex_unlock(&finish_lock);
    return !is_due;
}

static int send_file(struct work *work)
{
    size_t piece_bytes = PIECE_BYTES_MIN, size;
    clv_status status = CLV_OK;
    struct stat about;
    char *piece;

    if (fstat(fileno(work->file), &about) == 0 && about.st_size / PIECES > PIECE_BYTES_MIN)
        piece_bytes = (size_t)(about.st_size / PIECES);
    piece = malloc(piece_bytes);
    if (piece == NULL)
        return failed("send the file", strerror(errno));
    while (status == CLV_OK && (size = fread(piece, 1, piece_bytes, work->file)) > 0) {
        status = clv_channel_send(work->channel, piece, size, -1);
        work->done += size;
        wait_ms(PIECE_EVERY_MS);
    }
    free(piece);
    if (ferror(work->file))
        return failed("read the file", strerror(errno));
    if (status != CLV_OK || clv_channel_end(work->channel) != CLV_OK)
        return failed("send the file", clv_last_error());
    return 1;
}

static int send_orders(struct work *work)
{
    char order[64];

    while (next_turn(ORDER_EVERY_MS)) {
        work->done++;
        snprintf(order, sizeof order, "%" PRIu64 " pieces of cake", work->done);
        if (clv_channel_send(work->channel, order, strlen(order), -1) != CLV_OK)
            return failed("send an order", clv_last_error());
    }
    return clv_channel_end(work->channel) == CLV_OK || failed("end the orders", clv_last_error());
}

/* Each reply must be the one to its own request. */
static int make_calls(struct work *work)
{
    char request[24], expected[24];
    clv_buffer *reply;
    int is_right;

    while (next_turn(CALL_EVERY_MS)) {
        work->done++;
        snprintf(request, sizeof request, "%" PRIu64, work->done);
        snprintf(expected, sizeof expected, "%" PRIu64, 2 * work->done);
        if (clv_call(work->session, "double", request, strlen(request), CALL_TIMEOUT_MS, &reply) != CLV_OK)
            return failed("make a call", clv_last_error());
        is_right = clv_buffer_size(reply) == strlen(expected) &&
                   memcmp(clv_buffer_data(reply), expected, strlen(expected)) == 0;
        clv_buffer_free(reply);
        if (!is_right)
            return failed("make a call", "the reply is not the one to its request");
    }
    return 1;
}

static void *begin(void *argument)
{
    struct work *work = argument;

    work->is_good = work->run(work);
    return NULL;
}

/* Asks the peer to keep a file for this end, and opens the channel that fills it: its name is the file's number. */
static clv_status open_file_channel(clv_session session, clv_channel *out)
{
    clv_channel_options options = CLV_CHANNEL_OPTIONS_INIT;
    clv_buffer *reply;
    clv_status status;
    char name[32];

    status = clv_call(session, "prepare", "", 0, CALL_TIMEOUT_MS, &reply);
    if (status != CLV_OK)
        return status;
    snprintf(name, sizeof name, "%.*s", (int)clv_buffer_size(reply), (const char *)clv_buffer_data(reply));
    clv_buffer_free(reply);
    options.bytes = 1;
    return clv_channel_open(session, name, &options, -1, out);
}

/* Does everything at once until it is told to finish; false if anything failed. */
static int run(struct work *file, struct work *orders, struct work *calls)
{
    struct work *all[3];
    char line[64];
    int at;

    all[0] = file;
    all[1] = orders;
    all[2] = calls;
    for (at = 0; at < 3; at++) {
        if (pthread_create(&all[at]->thread, NULL, begin, all[at]) != 0)
            return failed("start a thread", "the system has none left");
    }
    do {
        if (fgets(line, sizeof line, stdin) == NULL)
            return failed("go on", "the input ended before it said \"finish\"");
    } while (strcmp(line, "finish\n") != 0);
    /* The file first: orders and calls go on as long as it does. */
    pthread_join(file->thread, NULL);
    finish();
    pthread_join(orders->thread, NULL);
    pthread_join(calls->thread, NULL);
    return file->is_good && orders->is_good && calls->is_good;
}

int main(int argc, char **argv)
{
    /* Static, for threads may still use them when main returns. */
    static struct work file = {.run = send_file};
    static struct work orders = {.run = send_orders};
    static struct work calls = {.run = make_calls};
    clv_node node;
    clv_session session;

    if (argc != 3) {
        fputs("usage: demo_sender ADDRESS FILE\n", stderr);
        return 2;
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    file.file = fopen(argv[2], "rb");
    if (file.file == NULL) {
        failed("open the file", strerror(errno));
        return 1;
    }
    if (clv_node_open(NULL, &node) != CLV_OK || clv_connect(node, argv[1], 20000, &session) != CLV_OK ||
        open_file_channel(session, &file.channel) != CLV_OK ||
        clv_channel_open(session, "orders", NULL, -1, &orders.channel) != CLV_OK) {
        failed("begin", clv_last_error());
        return 1;
    }
    calls.session = session;
    puts("connected");
    if (!run(&file, &orders, &calls))
        return 1;
    printf("sent bytes=%" PRIu64 " orders=%" PRIu64 " calls=%" PRIu64 "\n", file.done, orders.done, calls.done);
    while (getchar() != EOF)
        continue;
    fclose(file.file);
    clv_channel_close(file.channel);
    clv_channel_close(orders.channel);
    clv_session_close(session, 1000);
    return clv_node_close(node, 1000, NULL) == CLV_OK ? 0 : 1;
}
