/* Stored channels: what was sent and what was acknowledged outlives processes that are killed. */
#include "check.h"
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>

/* So long that the few bytes by which `written` counts more than the messages are less than one of them. */
#define MESSAGE_BYTES 1000

/* Of the sender that dies: how often, and what it sends at most in one life, and in its last one. */
#define DEATHS 2
#define OF_ONE_LIFE 100
#define OF_LAST_LIFE 10

/* Of the receiver that dies: what is sent before that, what it takes and acknowledges of it, and what comes after. */
#define BEFORE_DEATH 20
#define TAKEN 12
#define ACKNOWLEDGED 7
#define IN_ALL 30

static const clv_channel_options STORED = { sizeof(clv_channel_options), 0, 0, 1, 0 };

/* The path of a file or directory in the home, which lasts until the next question. */
static const char *in_home(const char *name)
{
    static char path[1000];

    snprintf(path, sizeof path, "%s/%s", getenv("CLERVER_HOME"), name);
    return path;
}

/* Wishes for a node with a store of this name. */
static clv_options *wishes_for(const char *store)
{
    clv_options *options;

    MUST(clv_options_new(&options));
    MUST(clv_options_set(options, "beat_ms", "50"));
    MUST(clv_options_set(options, "ttl_ms", "400"));
    MUST(clv_options_set(options, "redial_max_ms", "100"));
    MUST(clv_options_set(options, "store_dir", in_home(store)));
    return options;
}

static clv_node node_in(const char *store)
{
    clv_options *options = wishes_for(store);
    clv_node node;

    MUST(clv_node_open(options, &node));
    clv_options_free(options);
    return node;
}

/* A number that this process wants to know after its death. */
static void note(const char *name, uint64_t number)
{
    int file = open(in_home(name), O_WRONLY | O_CREAT, 0600);

    MUST_BE(file >= 0 && pwrite(file, &number, sizeof number, 0) == sizeof number);
    close(file);
}

static uint64_t noted(const char *name)
{
    int file = open(in_home(name), O_RDONLY);
    uint64_t number = 0;

    MUST_BE(file >= 0 && pread(file, &number, sizeof number, 0) == sizeof number);
    close(file);
    return number;
}

static void send_number(clv_channel channel, int number)
{
    char message[MESSAGE_BYTES] = "";

    snprintf(message, sizeof message, "%d", number);
    MUST(clv_channel_send(channel, message, sizeof message, SOON_MS));
}

/* The number of the next message, or 0 at the end. */
static int take_number(clv_channel channel, clv_delivery *about)
{
    clv_delivery fresh = CLV_DELIVERY_INIT;
    clv_buffer *message;
    clv_status status;
    int number;

    *about = fresh;
    status = clv_channel_take(channel, SOON_MS, &message, about);
    if (status == CLV_E_END)
        return 0;
    MUST(status);
    MUST_BE(clv_buffer_size(message) == MESSAGE_BYTES);
    number = atoi((const char *)clv_buffer_data(message));
    clv_buffer_free(message);
    return number;
}

static clv_event await_event(clv_session session, clv_event_kind kind)
{
    clv_event event = CLV_EVENT_INIT;

    do
        MUST(clv_session_next_event(session, SOON_MS, &event));
    while (event.kind != kind);
    return event;
}

/* Takes all events: after the last one the session is over. */
static void await_end(clv_session session)
{
    clv_event event = CLV_EVENT_INIT;
    clv_status status;
    int closed = 0;

    while ((status = clv_session_next_event(session, SOON_MS, &event)) == CLV_OK)
        closed |= event.kind == CLV_EVENT_CLOSED;
    STATUS(status, CLV_E_END);
    CHECK(closed);
}

/* The session that an earlier process left here. */
static clv_session accept_restored(clv_node node)
{
    clv_session_info info = CLV_SESSION_INFO_INIT;
    clv_event event = CLV_EVENT_INIT;
    clv_session session;

    do
        MUST(clv_node_next_event(node, SOON_MS, &event));
    while (event.kind != CLV_EVENT_RESTORED);
    CHECK(event.peer[0] != 0);
    MUST(clv_accept(node, SOON_MS, &session));
    MUST(clv_session_get_info(session, &info));
    CHECK(info.number == event.session);
    return session;
}

static clv_channel accept_named(clv_session session, const char *wanted)
{
    clv_channel channel;
    char name[256] = "";

    MUST(clv_channel_accept(session, SOON_MS, &channel));
    MUST(clv_channel_name(channel, name, sizeof name));
    MUST_BE(strcmp(name, wanted) == 0);
    return channel;
}

static int in_first_life(void)
{
    return strcmp(getenv("PEER_LIFE"), "1") == 0;
}

/* A process with a store that sends until it is killed, and in its last life to the end. */
static void be_the_sender(clv_node node, const char *address)
{
    clv_channel_report report = CLV_CHANNEL_REPORT_INIT;
    clv_channel plain, channel;
    clv_delivery about;
    clv_session session;
    int number, last;

    if (in_first_life()) {
        MUST(clv_connect(node, address, SOON_MS, &session));
        MUST(clv_channel_open(session, "plain", NULL, SOON_MS, &plain));
        MUST(clv_channel_send(plain, "x", 1, SOON_MS));
        MUST(clv_channel_open(session, "numbers", &STORED, SOON_MS, &channel));
        note("sent", 0);
    } else {
        session = accept_restored(node);
        channel = accept_named(session, "numbers");
    }
    OK(clv_channel_get_report(channel, &report));
    number = (int)(report.written / MESSAGE_BYTES);
    /* One more may be on the disk, of which this process did not hear in time. */
    CHECK((uint64_t)number - noted("sent") <= 1);
    last = number + (atoi(getenv("PEER_LIFE")) > DEATHS ? OF_LAST_LIFE : OF_ONE_LIFE);
    while (number++ < last) {
        send_number(channel, number);
        note("sent", (uint64_t)number);
    }
    if (atoi(getenv("PEER_LIFE")) > DEATHS) {
        OK(clv_channel_end(channel));
        CHECK(take_number(channel, &about) == 0);
        OK(clv_session_close(session, SOON_MS));
    } else {
        await_end(session);
    }
}

/* A process with a store that takes some, and in its last life all. */
static void be_the_receiver(clv_node node, const char *address)
{
    clv_delivery about;
    clv_session session;
    clv_channel channel;
    int number, taken;

    if (in_first_life()) {
        MUST(clv_connect(node, address, SOON_MS, &session));
        channel = accept_named(session, "orders");
        for (number = 1; number <= TAKEN; number++) {
            CHECK(take_number(channel, &about) == number && !about.redelivered);
            if (number == ACKNOWLEDGED)
                OK(clv_ack(channel, about.end, SOON_MS));
            if (number == ACKNOWLEDGED + 1)
                note("first end", about.end);
        }
        send_number(channel, check_state()->failed_here == 0 ? TAKEN : -1);
        await_end(session);
    }
    session = accept_restored(node);
    channel = accept_named(session, "orders");
    for (number = ACKNOWLEDGED + 1; (taken = take_number(channel, &about)) != 0; number++) {
        CHECK(taken == number);
        /* Those between were here already, or were not: nobody can know. */
        CHECK((number > TAKEN || about.redelivered) && (number <= BEFORE_DEATH || !about.redelivered));
        CHECK(number > ACKNOWLEDGED + 1 || about.end == noted("first end"));
        OK(clv_ack(channel, about.end, SOON_MS));
    }
    CHECK(number == IN_ALL + 1);
    OK(clv_channel_end(channel));
    OK(clv_session_close(session, SOON_MS));
}

static void be_the_peer(const char *address)
{
    clv_node node = node_in(getenv("PEER_STORE"));

    if (strcmp(getenv("PEER_STORE"), "sender") == 0)
        be_the_sender(node, address);
    else
        be_the_receiver(node, address);
    OK(clv_node_close(node, SOON_MS, NULL));
    exit(check_state()->failed_here == 0 ? 0 : 1);
}

/* Another process, with a store of this name, in which of its lives. */
static pid_t start_life(const char *address, const char *store, int life)
{
    char text[20];

    snprintf(text, sizeof text, "%d", life);
    MUST_BE(setenv("PEER_STORE", store, 1) == 0 && setenv("PEER_LIFE", text, 1) == 0);
    return start_peer(address);
}

static void kill_peer(pid_t peer)
{
    int status = 0;

    MUST_BE(kill(peer, SIGKILL) == 0 && waitpid(peer, &status, 0) == peer);
    CHECK(WIFSIGNALED(status));
}

/* The peer ends by itself, and then nothing is left in the store. */
static void end_with(pid_t peer, clv_node node, clv_session session, clv_channel channel, const char *store)
{
    clv_event event = CLV_EVENT_INIT;
    int status = -1;

    await_end(session);
    OK(clv_channel_close(channel));
    clv_session_close(session, SOON_MS);
    OK(clv_node_close(node, SOON_MS, NULL));
    MUST_BE(waitpid(peer, &status, 0) == peer);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    node = node_in(store);
    STATUS(clv_accept(node, 0, &session), CLV_E_AGAIN);
    STATUS(clv_node_next_event(node, 0, &event), CLV_E_AGAIN);
    OK(clv_node_close(node, SOON_MS, NULL));
}

static void a_killed_sender_goes_on_where_it_was(void)
{
    char address[CLV_ADDRESS_BYTES] = "";
    clv_node node = node_in("of the taker");
    clv_channel plain, channel;
    clv_delivery about;
    clv_session session;
    int life, taken, number = 0;
    size_t size;
    pid_t peer;

    MUST(clv_node_listen(node, "127.0.0.1:0", -1, address, sizeof address));
    peer = start_life(address, "sender", 1);
    MUST(clv_accept(node, SOON_MS, &session));
    plain = accept_named(session, "plain");
    MUST(clv_channel_recv(plain, &life, sizeof life, SOON_MS, &size));
    channel = accept_named(session, "numbers");
    for (life = 1; life <= DEATHS; life++) {
        for (taken = 0; taken < 10; taken++) {
            CHECK(take_number(channel, &about) == ++number && !about.redelivered);
            if (taken == 5)
                OK(clv_ack(channel, about.end, SOON_MS));
        }
        kill_peer(peer);
        peer = start_life(address, "sender", life + 1);
        CHECK(await_event(session, CLV_EVENT_PEER_REVIVED).peer[0] != 0);
        STATUS(clv_channel_recv(plain, &taken, sizeof taken, SOON_MS, &size), CLV_E_LOST);
    }
    while ((taken = take_number(channel, &about)) != 0)
        CHECK(taken == ++number && !about.redelivered);
    CHECK(take_number(channel, &about) == 0);
    CHECK((uint64_t)number == noted("sent") && number >= 20 + OF_LAST_LIFE);
    OK(clv_channel_end(channel));
    OK(clv_channel_close(plain));
    end_with(peer, node, session, channel, "of the taker");
}

static void a_killed_receiver_gets_again_what_it_did_not_acknowledge(void)
{
    char address[CLV_ADDRESS_BYTES] = "";
    clv_node node = node_in("of the giver");
    clv_delivery about;
    clv_session session;
    clv_channel channel;
    int number;
    pid_t peer;

    MUST(clv_node_listen(node, "127.0.0.1:0", -1, address, sizeof address));
    peer = start_life(address, "receiver", 1);
    MUST(clv_accept(node, SOON_MS, &session));
    MUST(clv_channel_open(session, "orders", &STORED, SOON_MS, &channel));
    for (number = 1; number <= BEFORE_DEATH; number++)
        send_number(channel, number);
    MUST_BE(take_number(channel, &about) == TAKEN);
    kill_peer(peer);
    peer = start_life(address, "receiver", 2);
    await_event(session, CLV_EVENT_PEER_REVIVED);
    for (; number <= IN_ALL; number++)
        send_number(channel, number);
    OK(clv_channel_end(channel));
    CHECK(take_number(channel, &about) == 0);
    end_with(peer, node, session, channel, "of the giver");
}

static void a_store_is_wanted_and_belongs_to_one_node(void)
{
    pair both = pair_open();
    clv_options *options = wishes_for("owned");
    clv_node node = node_in("owned");
    clv_node second;
    clv_channel channel;

    STATUS(clv_channel_open(both.ours, "numbers", &STORED, SOON_MS, &channel), CLV_E_UNSUPPORTED);
    CHECK(strstr(clv_last_remedy(), "store_dir") != NULL);
    pair_close(&both);
    STATUS(clv_node_open(options, &second), CLV_E_IN_USE);
    CHECK(strstr(clv_last_error(), in_home("owned")) != NULL);
    OK(clv_node_close(node, SOON_MS, NULL));
    OK(clv_node_open(options, &second));
    OK(clv_node_close(second, SOON_MS, NULL));
    clv_options_free(options);

    note("a file", 1);
    options = wishes_for("a file");
    STATUS(clv_node_open(options, &second), CLV_E_CONFIG);
    CHECK(strstr(clv_last_error(), in_home("a file")) != NULL && clv_last_remedy()[0] != 0);
    clv_options_free(options);
}

/* Of two nodes with stores in one process. */
static pair pair_with_stores(const char *near, const char *far)
{
    clv_node client = node_in(near);

    return pair_between(client, node_in(far));
}

static void what_was_taken_is_acknowledged_up_to_an_end(void)
{
    pair both = pair_with_stores("first", "second");
    clv_delivery first, second;
    clv_channel near, far;
    clv_buffer *message;
    char small[4];
    size_t size;

    MUST(clv_channel_open(both.ours, "orders", &STORED, SOON_MS, &near));
    OK(clv_channel_confirm(near, SOON_MS));
    far = accept_named(both.theirs, "orders");
    OK(clv_channel_try_send(near, "a", 1, &size));
    OK(clv_channel_confirm(near, SOON_MS));
    send_number(near, 1);
    send_number(near, 2);
    OK(clv_channel_recv(far, small, sizeof small, SOON_MS, &size));
    STATUS(clv_channel_recv(far, small, sizeof small, SOON_MS, &size), CLV_E_SIZE);
    CHECK(size == MESSAGE_BYTES);
    CHECK(take_number(far, &first) == 1 && take_number(far, &second) == 2);
    CHECK(first.end > MESSAGE_BYTES && second.end >= first.end + MESSAGE_BYTES);
    STATUS(clv_channel_take(far, 0, &message, &second), CLV_E_AGAIN);
    STATUS(clv_channel_take(far, 1, &message, &second), CLV_E_TIMEOUT);
    OK(clv_ack(far, second.end, SOON_MS));
    OK(clv_ack(far, first.end, SOON_MS));
    STATUS(clv_ack(far, second.end + 1, SOON_MS), CLV_E_ARG);
    pair_close(&both);
}

static void a_job_goes_on_at_its_restart_point(void)
{
    static const char too_much[64 * 1024 + 1] = { 0 };
    pair both = pair_with_stores("seventh", "eighth");
    clv_channel near, far;
    clv_delivery about;

    MUST(clv_channel_open(both.ours, "orders", &STORED, SOON_MS, &near));
    send_number(near, 1);
    far = accept_named(both.theirs, "orders");
    CHECK(take_number(far, &about) == 1 && about.restart_point == NULL);
    OK(clv_restart_point(far, "row 1000", 8, SOON_MS));
    OK(clv_restart_point(far, "row 2000", 8, SOON_MS));
    STATUS(clv_restart_point(far, NULL, 4, SOON_MS), CLV_E_ARG);
    STATUS(clv_restart_point(far, too_much, sizeof too_much, SOON_MS), CLV_E_SIZE);
    OK(clv_node_close(both.server, SOON_MS, NULL));
    both.server = node_in("eighth");
    MUST(clv_accept(both.server, SOON_MS, &both.theirs));
    far = accept_named(both.theirs, "orders");
    CHECK(take_number(far, &about) == 1 && about.redelivered);
    MUST_BE(about.restart_point != NULL && clv_buffer_size(about.restart_point) == 8);
    CHECK(memcmp(clv_buffer_data(about.restart_point), "row 2000", 8) == 0);
    clv_buffer_free(about.restart_point);
    OK(clv_ack(far, about.end, SOON_MS));
    OK(clv_node_close(both.client, SOON_MS, NULL));
    OK(clv_node_close(both.server, SOON_MS, NULL));
}

static void a_channel_goes_on_in_the_next_node_and_handle(void)
{
    pair both = pair_with_stores("third", "fourth");
    clv_channel near, far;
    clv_delivery about;

    MUST(clv_channel_open(both.ours, "orders", &STORED, SOON_MS, &near));
    send_number(near, 1);
    OK(clv_channel_close(near));
    near = accept_named(both.ours, "orders");
    send_number(near, 2);
    far = accept_named(both.theirs, "orders");
    CHECK(take_number(far, &about) == 1);
    OK(clv_ack(far, about.end, SOON_MS));

    OK(clv_node_close(both.client, SOON_MS, NULL));
    STATUS(clv_channel_send(near, "x", 1, SOON_MS), CLV_E_CLOSED);
    clv_session_close(both.ours, SOON_MS);
    OK(clv_channel_close(near));
    both.client = node_in("third");
    both.ours = accept_restored(both.client);
    near = accept_named(both.ours, "orders");
    send_number(near, 3);
    OK(clv_channel_end(near));
    CHECK(take_number(far, &about) == 2 && take_number(far, &about) == 3 && take_number(far, &about) == 0);
    await_event(both.theirs, CLV_EVENT_PEER_REVIVED);
    pair_close(&both);
}

static void an_end_without_a_store_takes_and_notes_nothing(void)
{
    clv_node server = node_in("fifth");
    clv_node client = node_with(NULL);
    char address[CLV_ADDRESS_BYTES] = "";
    clv_session ours, theirs;
    clv_channel near, far;
    clv_delivery about;

    MUST(clv_node_listen(server, "127.0.0.1:0", -1, address, sizeof address));
    MUST(clv_connect(client, address, SOON_MS, &ours));
    MUST(clv_accept(server, SOON_MS, &theirs));
    MUST(clv_channel_open(theirs, "orders", &STORED, SOON_MS, &far));
    send_number(far, 1);
    near = accept_named(ours, "orders");
    CHECK(take_number(near, &about) == 1 && about.end == 0 && !about.redelivered);
    OK(clv_ack(near, about.end, SOON_MS));
    OK(clv_channel_confirm(near, 0));
    MUST(clv_channel_open(ours, "plain", NULL, SOON_MS, &near));
    send_number(near, 2);
    far = accept_named(theirs, "plain");
    CHECK(take_number(far, &about) == 2 && about.end == 0 && !about.redelivered);
    STATUS(clv_ack(far, about.end, SOON_MS), CLV_E_STATE);
    OK(clv_session_close(ours, SOON_MS));
    clv_session_close(theirs, SOON_MS);
    OK(clv_node_close(client, SOON_MS, NULL));
    OK(clv_node_close(server, SOON_MS, NULL));
}

int main(int count, char **arguments)
{
    check_begin();
    if (count == 2)
        be_the_peer(arguments[1]);
    RUN(a_store_is_wanted_and_belongs_to_one_node);
    RUN(what_was_taken_is_acknowledged_up_to_an_end);
    RUN(a_job_goes_on_at_its_restart_point);
    RUN(a_channel_goes_on_in_the_next_node_and_handle);
    RUN(an_end_without_a_store_takes_and_notes_nothing);
    RUN(a_killed_sender_goes_on_where_it_was);
    RUN(a_killed_receiver_gets_again_what_it_did_not_acknowledge);
    return check_end();
}
