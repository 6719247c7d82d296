/*
 * One end of the vectors, in C: reads a command per line, does it with libclerver, and answers in one line.
 * ../README.md has the commands; the director (Rust) reads the cases and compares.
 */
#define _POSIX_C_SOURCE 200809L
#include "words.h"

#include <pthread.h>
#include <time.h>

enum { WORDS_MAX = 16, SLOTS = 64, WAIT_MS = 20000 };

static clv_node node;
static clv_session session;
static clv_channel channels[SLOTS];
static clv_pending_call calls[SLOTS];

static size_t slot(const char *word)
{
    size_t at = (size_t)number(word, 0);
    if (at >= SLOTS)
        abort();
    return at;
}

/* ---- Notes: what callbacks saw, for the command note ---- */

struct note {
    struct note *next;
    char *text;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t bell = PTHREAD_COND_INITIALIZER;
static struct note *first_note;
static struct note **last_note = &first_note;
static long gates_open;

static void add_note(const char *what, const void *bytes, size_t size)
{
    struct note *note = room(sizeof *note);
    size_t length;
    FILE *out = open_memstream(&note->text, &length);
    if (!out)
        abort();
    fprintf(out, "%s ", what);
    put_data(out, bytes, size);
    fclose(out);
    note->next = NULL;
    pthread_mutex_lock(&lock);
    *last_note = note;
    last_note = &note->next;
    pthread_cond_broadcast(&bell);
    pthread_mutex_unlock(&lock);
}

static struct timespec after(int64_t wait_ms)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += (time_t)(wait_ms / 1000);
    until.tv_nsec += (long)(wait_ms % 1000) * 1000000;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    return until;
}

static void take_note(char **words)
{
    struct timespec until = after(number(words[1], WAIT_MS));
    struct note *note;
    int over = 0;
    pthread_mutex_lock(&lock);
    while (!first_note && !over)
        over = pthread_cond_timedwait(&bell, &lock, &until) != 0;
    note = first_note;
    if (note) {
        first_note = note->next;
        if (!first_note)
            last_note = &first_note;
    }
    pthread_mutex_unlock(&lock);
    if (!note) {
        printf("error TIMEOUT -");
        return;
    }
    printf("ok %s", note->text);
    free(note->text);
    free(note);
}

static void open_gate(char **words)
{
    (void)words;
    pthread_mutex_lock(&lock);
    gates_open++;
    pthread_cond_broadcast(&bell);
    pthread_mutex_unlock(&lock);
    printf("ok");
}

/* ---- Handlers and objects ---- */

static clv_status reply_number(clv_request request, uint64_t value)
{
    char text[32];
    return clv_reply(request, text, (size_t)sprintf(text, "%lu", (unsigned long)value));
}

/* Every byte of the request is a part, then comes the last one. */
static clv_status reply_in_parts(clv_request request, const char *bytes, size_t size)
{
    clv_status status = CLV_OK;
    for (size_t at = 0; at < size && status == CLV_OK; at++)
        status = clv_reply_part(request, bytes + at, 1);
    return status == CLV_OK ? clv_reply(request, "last", 4) : status;
}

/* Until the caller gives up, which the handler has to ask for. */
static clv_status wait_for_cancel(clv_request request, const char *bytes, size_t size)
{
    clv_request_info info = CLV_REQUEST_INFO_INIT;
    add_note("began", bytes, size);
    do {
        struct timespec pause = { 0, 2000000 };
        nanosleep(&pause, NULL);
    } while (clv_request_get_info(request, &info) == CLV_OK && !info.is_cancelled);
    add_note("cancelled", bytes, size);
    return CLV_OK;
}

static clv_status wait_at_gate(clv_request request, const char *bytes, size_t size)
{
    add_note("began", bytes, size);
    pthread_mutex_lock(&lock);
    while (gates_open == 0)
        pthread_cond_wait(&bell, &lock);
    gates_open--;
    pthread_mutex_unlock(&lock);
    return clv_reply(request, bytes, size);
}

static clv_status attach(clv_session where, const char *kind, const char *bytes, size_t size, int64_t ttl_ms,
                         clv_object *out)
{
    char *text = room(size + 1);
    clv_status status;
    memcpy(text, bytes, size);
    text[size] = 0;
    status = clv_object_attach(where, kind, text, ttl_ms, out);
    if (status != CLV_OK)
        free(text);
    return status;
}

static clv_status keep(clv_request request, const char *bytes, size_t size)
{
    clv_session caller;
    clv_object object;
    clv_status status = clv_request_session(request, &caller);
    if (status == CLV_OK)
        status = attach(caller, "thing", bytes, size, -1, &object);
    return status == CLV_OK ? reply_number(request, object.id) : status;
}

static clv_status handle(void *user, clv_request request)
{
    const char *what = user, *bytes;
    const void *data;
    size_t size;
    clv_request_info info = CLV_REQUEST_INFO_INIT;
    if (clv_request_data(request, &data, &size) != CLV_OK || clv_request_get_info(request, &info) != CLV_OK)
        return CLV_E_BUG;
    bytes = data;
    if (strcmp(what, "echo") == 0 || strcmp(what, "inline") == 0)
        return clv_reply(request, bytes, size);
    if (strcmp(what, "parts") == 0)
        return reply_in_parts(request, bytes, size);
    if (strcmp(what, "patience") == 0)
        return wait_for_cancel(request, bytes, size);
    if (strcmp(what, "gate") == 0)
        return wait_at_gate(request, bytes, size);
    if (strcmp(what, "keep") == 0)
        return keep(request, bytes, size);
    if (strcmp(what, "level") == 0)
        return reply_number(request, (uint64_t)info.caller_level);
    if (strcmp(what, "deadline") == 0)
        return info.remaining_ms < 0 ? clv_reply(request, "none", 4) : clv_reply(request, "some", 4);
    clv_reply_error(request, "as the case wants it");
    return strcmp(what, "busy") == 0 ? CLV_E_BUSY : CLV_E_CALL_FAILED;
}

static void destroy(void *user, void *object)
{
    (void)user;
    add_note("destroyed", object, strlen(object));
    free(object);
}

/* ---- Commands: nodes and sessions ---- */

static void open_node(char **words)
{
    clv_options *options;
    clv_status status = clv_options_new(&options);
    char id[CLV_HOST_ID_BYTES];
    for (words++; *words && status == CLV_OK; words++) {
        char *value = strchr(*words, '=');
        *value++ = 0;
        status = clv_options_set(options, *words, value);
    }
    if (status == CLV_OK)
        status = clv_node_open(options, &node);
    if (status == CLV_OK)
        status = clv_node_id(node, id, sizeof id);
    if (answered(status))
        printf(" %s", id);
    clv_options_free(options);
}

static void listen_at(char **words)
{
    char bound[CLV_ADDRESS_BYTES];
    if (answered(clv_node_listen(node, words[1], -1, bound, sizeof bound)))
        printf(" %s", bound);
}

static void connect_to(char **words)
{
    answered(clv_connect(node, words[1], number(words[2], WAIT_MS), &session));
}

static void accept_session(char **words)
{
    (void)words;
    answered(clv_accept(node, WAIT_MS, &session));
}

static void serve(char **words)
{
    clv_service_options options = CLV_SERVICE_OPTIONS_INIT;
    struct data name = data_of(words[1]);
    options.level_min = (int32_t)number(words[3], 1);
    options.run_inline = strcmp(words[2], "inline") == 0;
    answered(clv_serve(node, name.bytes, &options, handle, data_of(words[2]).bytes, free));
    free(name.bytes);
}

static void unserve(char **words)
{
    answered(clv_unserve(node, words[1]));
}

static void register_kind(char **words)
{
    clv_kind kind = CLV_KIND_INIT;
    kind.destroy = destroy;
    answered(clv_kind_register(node, words[1], &kind));
}

static void drain(char **words)
{
    (void)words;
    answered(clv_node_drain(node, WAIT_MS, NULL));
}

static const char *const STATES[] = {
    "registering", "live", "suspended", "embalmed", "reviving", "closing", "closed", "lost",
};

static void wait_state(char **words)
{
    uint32_t state = 0;
    while (strcmp(STATES[state], words[1]) != 0)
        state++;
    answered(clv_session_wait_state(session, 1u << (state + CLV_STATE_REGISTERING), WAIT_MS, NULL));
}

static const struct {
    const char *name;
    clv_event_kind kind;
} EVENTS[] = {
    { "lost", CLV_EVENT_LOST },
    { "closed", CLV_EVENT_CLOSED },
    { "link-attached", CLV_EVENT_LINK_ATTACHED },
    { "link-ended", CLV_EVENT_LINK_ENDED },
    { "peer-drains", CLV_EVENT_PEER_DRAINS },
    { "object-attached", CLV_EVENT_OBJECT_ATTACHED },
    { "object-ended", CLV_EVENT_OBJECT_ENDED },
    { "object-updated", CLV_EVENT_OBJECT_UPDATED },
};

/* Takes events of the session until one of this kind comes. */
static void take_event(char **words)
{
    clv_event event = CLV_EVENT_INIT;
    clv_status status;
    size_t at = 0;
    while (strcmp(EVENTS[at].name, words[1]) != 0)
        at++;
    do {
        clv_buffer_free(event.data);
        status = clv_session_next_event(session, WAIT_MS, &event);
    } while (status == CLV_OK && event.kind != EVENTS[at].kind);
    if (!answered(status))
        return;
    if (event.object)
        printf(" %lu", (unsigned long)event.object);
    if (event.kind == CLV_EVENT_OBJECT_ATTACHED)
        printf(" %s", event.text);
    if (event.data) {
        putchar(' ');
        put_data(stdout, clv_buffer_data(event.data), clv_buffer_size(event.data));
        clv_buffer_free(event.data);
    }
    if (event.kind == CLV_EVENT_LOST) {
        putchar(' ');
        put_code(event.status);
    }
}

static void close_session(char **words)
{
    (void)words;
    answered(clv_session_close(session, WAIT_MS));
}

static void close_node(char **words)
{
    (void)words;
    answered(clv_node_close(node, WAIT_MS, NULL));
}

/* ---- Commands: objects ---- */

static clv_object object_of(const char *word)
{
    clv_object object = { (uint64_t)number(word, 0) };
    return object;
}

static void attach_object(char **words)
{
    clv_object object;
    struct data text = data_of(words[2]);
    if (answered(attach(session, words[1], text.bytes, text.size, number(words[3], -1), &object)))
        printf(" %lu", (unsigned long)object.id);
    free(text.bytes);
}

static void update_object(char **words)
{
    struct data data = data_of(words[2]);
    answered(clv_object_update(session, object_of(words[1]), data.bytes, data.size));
    free(data.bytes);
}

static void touch_object(char **words)
{
    answered(clv_object_touch(session, object_of(words[1])));
}

static void release_object(char **words)
{
    answered(clv_object_release(session, object_of(words[1])));
}

static void end_object(char **words)
{
    answered(clv_object_end(session, object_of(words[1])));
}

static void count_object(void *user, const clv_object_info *info)
{
    *(int *)user += info->object.id != 0;
}

static void count_objects(char **words)
{
    int count = 0;
    (void)words;
    if (answered(clv_object_list(session, count_object, &count)))
        printf(" %d", count);
}

/* ---- Commands: calls ---- */

static void answer_buffer(clv_status status, clv_buffer *buffer)
{
    if (!answered(status))
        return;
    putchar(' ');
    put_data(stdout, clv_buffer_data(buffer), clv_buffer_size(buffer));
    clv_buffer_free(buffer);
}

static void call(char **words)
{
    clv_buffer *reply = NULL;
    struct data name = data_of(words[1]), data = data_of(words[2]);
    clv_status status = clv_call(session, name.bytes, data.bytes, data.size, number(words[3], WAIT_MS), &reply);
    answer_buffer(status, reply);
    free(name.bytes);
    free(data.bytes);
}

static void start_call(char **words)
{
    struct data data = data_of(words[3]);
    clv_pending_call *pending = &calls[slot(words[1])];
    answered(clv_call_start(session, words[2], data.bytes, data.size, number(words[4], WAIT_MS), pending));
    free(data.bytes);
}

static void take_part(char **words)
{
    clv_buffer *part = NULL;
    clv_status status = clv_call_receive(calls[slot(words[1])], WAIT_MS, &part);
    answer_buffer(status, part);
}

static void tell_outcome(char **words)
{
    static const char *const NAMES[] = { "", "reply", "not-run", "unknown" };
    clv_outcome outcome;
    if (answered(clv_call_outcome(calls[slot(words[1])], &outcome)))
        printf(" %s", NAMES[outcome]);
}

static void cancel_call(char **words)
{
    answered(clv_call_cancel(calls[slot(words[1])]));
}

/* ---- Commands: channels ---- */

static void open_channel(char **words)
{
    clv_channel_options options = CLV_CHANNEL_OPTIONS_INIT;
    struct data name = data_of(words[3]);
    clv_channel *channel = &channels[slot(words[1])];
    options.bytes = strcmp(words[2], "bytes") == 0;
    answered(clv_channel_open(session, name.bytes, &options, number(words[4], 0), channel));
    free(name.bytes);
}

static void take_channel(char **words)
{
    clv_channel *channel = &channels[slot(words[1])];
    char name[256];
    int32_t bytes;
    clv_status status = clv_channel_accept(session, WAIT_MS, channel);
    if (status == CLV_OK)
        status = clv_channel_name(*channel, name, sizeof name);
    if (status == CLV_OK)
        status = clv_channel_is_bytes(*channel, &bytes);
    if (!answered(status))
        return;
    printf(" %s ", bytes ? "bytes" : "messages");
    put_data(stdout, name, strlen(name));
}

static void send_message(char **words)
{
    struct data data = data_of(words[2]);
    answered(clv_channel_send(channels[slot(words[1])], data.bytes, data.size, WAIT_MS));
    free(data.bytes);
}

static void receive_message(char **words)
{
    clv_buffer *message = NULL;
    clv_channel channel = channels[slot(words[1])];
    clv_status status = clv_channel_recv_buffer(channel, number(words[2], WAIT_MS), &message);
    answer_buffer(status, message);
}

/* Sends so many bytes of the pattern, in pieces. */
static void write_pattern(char **words)
{
    clv_channel channel = channels[slot(words[1])];
    size_t total = (size_t)number(words[2], 0), piece = (size_t)number(words[3], 0), sent = 0;
    char *bytes = room(piece);
    clv_status status = CLV_OK;
    while (sent < total && status == CLV_OK) {
        size_t size = total - sent < piece ? total - sent : piece;
        make_pattern(bytes, size, sent);
        status = clv_channel_send(channel, bytes, size, number(words[4], WAIT_MS));
        sent += size;
    }
    answered(status);
    free(bytes);
}

/* Receives so many bytes, or all until the end, by way of a window that starts small, and compares. */
static void check_pattern(char **words)
{
    clv_channel channel = channels[slot(words[1])];
    int to_the_end = strcmp(words[2], "end") == 0;
    size_t total = to_the_end ? SIZE_MAX : (size_t)number(words[2], 0), received = 0, size, capacity = 1000;
    unsigned char *bytes = room(capacity);
    clv_status status = CLV_OK;
    while (received < total && status == CLV_OK) {
        status = clv_channel_recv(channel, bytes, capacity, WAIT_MS, &size);
        if (status == CLV_E_SIZE) {
            free(bytes);
            bytes = room(capacity = size);
            status = CLV_OK;
            continue;
        }
        for (size_t at = 0; status == CLV_OK && at < size; at++, received++)
            if (bytes[at] != received % PATTERN)
                status = CLV_E_BUG;
    }
    if (answered(status == CLV_E_END && to_the_end ? CLV_OK : status))
        printf(" %lu", (unsigned long)received);
    free(bytes);
}

static void end_channel(char **words)
{
    answered(clv_channel_end(channels[slot(words[1])]));
}

static void reset_channel(char **words)
{
    struct data why = data_of(words[2]);
    answered(clv_channel_reset(channels[slot(words[1])], why.bytes));
    free(why.bytes);
}

static void stop_channel(char **words)
{
    answered(clv_channel_stop(channels[slot(words[1])]));
}

static void let_go(char **words)
{
    answered(clv_channel_close(channels[slot(words[1])]));
}

/* ---- The loop ---- */

static const struct {
    const char *verb;
    int words_min;
    void (*run)(char **words);
} COMMANDS[] = {
    { "open", 1, open_node },          { "listen", 2, listen_at },          { "connect", 2, connect_to },
    { "accept", 1, accept_session },   { "serve", 3, serve },               { "unserve", 2, unserve },
    { "kind", 2, register_kind },      { "drain", 1, drain },               { "close-node", 1, close_node },
    { "note", 1, take_note },          { "gate", 1, open_gate },            { "wait-state", 2, wait_state },
    { "event", 2, take_event },        { "close-session", 1, close_session }, { "attach", 3, attach_object },
    { "update", 3, update_object },    { "touch", 2, touch_object },        { "release", 2, release_object },
    { "end-object", 2, end_object },   { "objects", 1, count_objects },     { "call", 3, call },
    { "start", 4, start_call },        { "part", 2, take_part },            { "outcome", 2, tell_outcome },
    { "cancel", 2, cancel_call },      { "channel", 4, open_channel },      { "take", 2, take_channel },
    { "send", 3, send_message },       { "receive", 2, receive_message },   { "write", 4, write_pattern },
    { "check", 3, check_pattern },     { "end", 2, end_channel },           { "reset", 3, reset_channel },
    { "stop", 2, stop_channel },       { "let-go", 2, let_go },
};

static void obey(char *line)
{
    char *words[WORDS_MAX + 1] = { NULL };
    int count = 0;
    for (char *word = strtok(line, " \n"); word && count < WORDS_MAX; word = strtok(NULL, " \n"))
        words[count++] = word;
    for (size_t at = 0; count > 0 && at < sizeof COMMANDS / sizeof *COMMANDS; at++) {
        if (strcmp(words[0], COMMANDS[at].verb) == 0 && count >= COMMANDS[at].words_min) {
            COMMANDS[at].run(words);
            return;
        }
    }
    printf("error ARG no%%20such%%20command");
}

int main(void)
{
    static char line[4096];
    while (fgets(line, sizeof line, stdin)) {
        obey(line);
        putchar('\n');
        fflush(stdout);
    }
    /* What the case left open ends in good order, if the node is not closed already. */
    clv_node_close(node, 1000, NULL);
    return 0;
}
