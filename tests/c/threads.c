/* Threads: many at once on one handle, and closing a handle on which another thread waits. */
#include "refusals.h"

#define THREADS 8

/* A thread that waits in one function, and what that answered. */
typedef struct waiter {
    clv_status (*wait)(struct waiter *of);
    const char *name;
    clv_node node;
    clv_session session;
    clv_channel channel;
    clv_pending_call call;
    int is_shared;
    clv_status answer;
    counter about;
    counter done;
    pthread_t thread;
} waiter;

static void *waits(void *user)
{
    waiter *of = (waiter *)user;

    counter_add(&of->about);
    of->answer = of->wait(of);
    counter_add(&of->done);
    return NULL;
}

/* The thread that makes this node busy may take the last steps into its wait only after a moment. */
static void begin_named(waiter *of, const char *name, clv_status (*wait)(waiter *of))
{
    counter zero = COUNTER_INIT;

    of->name = name;
    of->wait = wait;
    of->about = zero;
    of->done = zero;
    of->answer = 12345;
    MUST_BE(pthread_create(&of->thread, NULL, waits, of) == 0);
    CHECK(counter_reaches(&of->about, 1));
    moment();
    if (counter_get(&of->done) != 0) {
        check_failed(__FILE__, __LINE__, name);
        printf("    did not wait and answered %d %s\n", (int)of->answer, clv_strerror(of->answer));
    }
}

#define begin(of, wait) begin_named(of, #wait, wait)

/* It must have come back, with one of two answers. */
static void end(waiter *of, const char *what, clv_status wanted, clv_status or_else)
{
    if (!counter_reaches(&of->done, 1)) {
        check_failed(__FILE__, __LINE__, what);
        puts("    the thread was not woken");
        fflush(stdout);
        _exit(1);
    }
    pthread_join(of->thread, NULL);
    if (of->answer != wanted && of->answer != or_else) {
        check_failed(__FILE__, __LINE__, what);
        printf("    %s answered %d %s\n", of->name, (int)of->answer, clv_strerror(of->answer));
    }
}

static clv_status in_accept(waiter *of)
{
    clv_session session;

    return clv_accept(of->node, -1, &session);
}

static clv_status in_node_event(waiter *of)
{
    clv_event event = CLV_EVENT_INIT;
    clv_status status;

    while ((status = clv_node_next_event(of->node, -1, &event)) == CLV_OK)
        clv_buffer_free(event.data);
    /* The next one was asked for after the close. */
    return status == CLV_E_HANDLE ? CLV_E_CLOSED : status;
}

static clv_status in_connect(waiter *of)
{
    clv_session session;

    return clv_connect(of->node, "127.0.0.1:1", -1, &session);
}

static clv_status in_session_event(waiter *of)
{
    clv_event event = CLV_EVENT_INIT;
    clv_status status;

    while ((status = clv_session_next_event(of->session, -1, &event)) == CLV_OK)
        clv_buffer_free(event.data);
    return of->is_shared || status != CLV_E_HANDLE ? status : CLV_E_CLOSED;
}

static clv_status in_wait_state(waiter *of)
{
    return clv_session_wait_state(of->session, 1u << CLV_STATE_EMBALMED, -1, NULL);
}

static clv_status in_channel_accept(waiter *of)
{
    clv_channel channel;

    return clv_channel_accept(of->session, -1, &channel);
}

static clv_status in_accept_fd(waiter *of)
{
    int fd;

    return clv_accept_fd(of->session, -1, 0, &fd);
}

static clv_status in_call(waiter *of)
{
    clv_buffer *reply;

    return clv_call(of->session, "stays", NULL, 0, -1, &reply);
}

static clv_status in_recv(waiter *of)
{
    char room[8];
    size_t size;

    return clv_channel_recv(of->channel, room, sizeof room, -1, &size);
}

static clv_status in_send(waiter *of)
{
    static char piece[60000];
    clv_status status;

    while ((status = clv_channel_send(of->channel, piece, sizeof piece, -1)) == CLV_OK)
        continue;
    return status;
}

static clv_status in_call_receive(waiter *of)
{
    clv_buffer *part;

    return clv_call_receive(of->call, -1, &part);
}

typedef struct way {
    const char *name;
    clv_status (*wait)(waiter *of);
} way;

#define WAY(wait) { #wait, wait }

static counter leave = COUNTER_INIT;

static clv_status stays(void *user, clv_request request)
{
    clv_request_info info = CLV_REQUEST_INFO_INIT;

    (void)user;
    while (info.is_cancelled == 0 && counter_get(&leave) == 0 && clv_request_get_info(request, &info) == CLV_OK)
        moment();
    return CLV_OK;
}

static void closing_a_node_wakes_everybody_who_waits_on_it(void)
{
    static const way all[] = { WAY(in_accept),     WAY(in_node_event), WAY(in_connect),   WAY(in_session_event),
                               WAY(in_wait_state), WAY(in_recv),       WAY(in_accept_fd), WAY(in_channel_accept),
                               WAY(in_call),       WAY(in_send),       WAY(in_call_receive) };
    static const char *const settings[] = { "message_bytes_max", "65536", "session_budget_bytes", "262144",
                                            "channels_max", "16", NULL };
    waiter waiters[sizeof all / sizeof all[0]];
    pair both = pair_with(settings);
    clv_channel near, far;
    clv_pending_call call;
    counter zero = COUNTER_INIT;
    size_t at;

    leave = zero;
    MUST(clv_serve(both.server, "stays", NULL, stays, NULL, NULL));
    channel_pair(&both, 0, &near, &far);
    MUST(clv_call_start(both.ours, "stays", NULL, 0, -1, &call));
    for (at = 0; at < sizeof all / sizeof all[0]; at++) {
        waiter *of = &waiters[at];

        of->node = both.client;
        of->is_shared = 0;
        of->session = both.ours;
        of->channel = near;
        of->call = call;
        begin_named(of, all[at].name, all[at].wait);
    }
    clv_node_close(both.client, 200, NULL);
    for (at = 0; at < sizeof all / sizeof all[0]; at++) {
        clv_status answer;

        CHECK(counter_reaches(&waiters[at].done, 1));
        answer = waiters[at].answer;
        /* Those of the session may hear of its end first. */
        if (answer != CLV_E_LOST && answer != CLV_E_END && answer != CLV_E_TIMEOUT && answer != CLV_E_DRAINING)
            answer = all[at].wait == in_recv ? CLV_E_STOPPED : CLV_E_CLOSED;
        end(&waiters[at], "a wait on a node that closes", CLV_E_CLOSED, answer);
    }
    counter_add(&leave);
    OK(clv_call_close(call));
    OK(clv_channel_close(near));
    OK(clv_channel_close(far));
    clv_session_close(both.ours, 0);
    clv_session_close(both.theirs, 0);
    clv_node_close(both.server, SOON_MS, NULL);
}

static void closing_a_channel_or_call_wakes_who_waits_on_it(void)
{
    static const char *const settings[] = { "message_bytes_max", "65536", "session_budget_bytes", "262144",
                                            "channels_max", "16", NULL };
    pair both = pair_with(settings);
    waiter receiver, sender, caller;
    clv_channel near, far;
    counter zero = COUNTER_INIT;

    leave = zero;
    MUST(clv_serve(both.server, "stays", NULL, stays, NULL, NULL));
    channel_pair(&both, 0, &near, &far);
    receiver.channel = near;
    begin(&receiver, in_recv);
    OK(clv_channel_close(near));
    end(&receiver, "recv", CLV_E_HANDLE, CLV_E_HANDLE);
    OK(clv_channel_close(far));

    channel_pair(&both, 0, &near, &far);
    sender.channel = near;
    begin(&sender, in_send);
    OK(clv_channel_close(near));
    end(&sender, "send", CLV_E_HANDLE, CLV_E_HANDLE);
    OK(clv_channel_close(far));

    MUST(clv_call_start(both.ours, "stays", NULL, 0, -1, &caller.call));
    begin(&caller, in_call_receive);
    OK(clv_call_close(caller.call));
    end(&caller, "call", CLV_E_CANCELLED, CLV_E_HANDLE);
    counter_add(&leave);
    clv_session_close(both.ours, SOON_MS);
    clv_session_close(both.theirs, SOON_MS);
    OK(clv_node_close(both.client, SOON_MS, NULL));
    OK(clv_node_close(both.server, SOON_MS, NULL));
}

/* The session ends with its last handle; a handle that is closed before wakes its own waiters all the same. */
static void closing_a_session_handle_wakes_who_waits_on_it(void)
{
    static const way all[] = { WAY(in_session_event), WAY(in_wait_state), WAY(in_channel_accept), WAY(in_accept_fd) };
    int is_shared;

    for (is_shared = 0; is_shared < 2; is_shared++) {
        waiter waiters[sizeof all / sizeof all[0]];
        pair both = pair_open();
        clv_session second = { 0 };
        clv_state state;
        size_t at;

        if (is_shared)
            MUST(clv_connect(both.client, both.address, SOON_MS, &second));
        for (at = 0; at < sizeof all / sizeof all[0]; at++) {
            waiters[at].session = both.ours;
            waiters[at].is_shared = is_shared;
            begin_named(&waiters[at], all[at].name, all[at].wait);
        }
        OK(clv_session_close(both.ours, SOON_MS));
        for (at = 0; at < sizeof all / sizeof all[0]; at++) {
            if (is_shared)
                end(&waiters[at], "a wait on a closed handle of a shared session", CLV_E_HANDLE, CLV_E_HANDLE);
            else
                end(&waiters[at], "a wait on a session that closes", CLV_E_CLOSED,
                    all[at].wait == in_session_event ? CLV_E_END : CLV_E_HANDLE);
        }
        if (is_shared) {
            OK(clv_session_state(second, &state));
            CHECK(state == CLV_STATE_LIVE);
            OK(clv_session_close(second, SOON_MS));
        }
        clv_session_close(both.theirs, SOON_MS);
        OK(clv_node_close(both.client, SOON_MS, NULL));
        OK(clv_node_close(both.server, SOON_MS, NULL));
    }
}

static void *calls_much(void *user)
{
    pair *both = (pair *)user;
    int round;

    for (round = 0; round < 50; round++) {
        clv_buffer *reply;

        MUST(clv_call(both->ours, "echo", &round, sizeof round, SOON_MS, &reply));
        CHECK(clv_buffer_size(reply) == sizeof round && memcmp(clv_buffer_data(reply), &round, sizeof round) == 0);
        clv_buffer_free(reply);
    }
    return NULL;
}

static void many_threads_call_on_one_session(void)
{
    pair both = pair_open();
    pthread_t threads[THREADS];
    int at;

    MUST(clv_serve(both.server, "echo", NULL, echo, NULL, NULL));
    for (at = 0; at < THREADS; at++)
        MUST_BE(pthread_create(&threads[at], NULL, calls_much, &both) == 0);
    for (at = 0; at < THREADS; at++)
        pthread_join(threads[at], NULL);
    pair_close(&both);
}

typedef struct crowd {
    clv_channel channel;
    counter sent;
    counter received;
} crowd;

static void *sends_much(void *user)
{
    crowd *of = (crowd *)user;
    int round;

    for (round = 0; round < 100; round++) {
        MUST(clv_channel_send(of->channel, &round, sizeof round, SOON_MS));
        counter_add(&of->sent);
    }
    return NULL;
}

static void *receives_to_the_end(void *user)
{
    crowd *of = (crowd *)user;
    int message;
    size_t size;
    clv_status status;

    while ((status = clv_channel_recv(of->channel, &message, sizeof message, SOON_MS, &size)) == CLV_OK) {
        CHECK(size == sizeof message);
        counter_add(&of->received);
    }
    STATUS(status, CLV_E_END);
    return NULL;
}

static void many_threads_send_and_receive_on_one_channel(void)
{
    pair both = pair_open();
    pthread_t senders[THREADS], receivers[THREADS];
    crowd near = { { 0 }, COUNTER_INIT, COUNTER_INIT };
    crowd far = { { 0 }, COUNTER_INIT, COUNTER_INIT };
    int at;

    channel_pair(&both, 0, &near.channel, &far.channel);
    for (at = 0; at < THREADS; at++) {
        MUST_BE(pthread_create(&receivers[at], NULL, receives_to_the_end, &far) == 0);
        MUST_BE(pthread_create(&senders[at], NULL, sends_much, &near) == 0);
    }
    for (at = 0; at < THREADS; at++)
        pthread_join(senders[at], NULL);
    OK(clv_channel_end(near.channel));
    for (at = 0; at < THREADS; at++)
        pthread_join(receivers[at], NULL);
    CHECK(counter_get(&far.received) == THREADS * 100);
    OK(clv_channel_close(near.channel));
    OK(clv_channel_close(far.channel));
    pair_close(&both);
}

/* Threads that use, and threads that close, the same handles: each answer is OK or a status that fits, nothing crashes. */
static void *uses_what_may_be_gone(void *user)
{
    pair *both = (pair *)user;
    int round;

    for (round = 0; round < 20; round++) {
        clv_channel channel;
        clv_state state;
        clv_event event = CLV_EVENT_INIT;
        clv_buffer *reply;

        clv_session_state(both->ours, &state);
        if (clv_channel_open(both->ours, "race", NULL, 0, &channel) == CLV_OK) {
            clv_channel_send(channel, "x", 1, 0);
            clv_channel_close(channel);
            STATUS(clv_channel_close(channel), CLV_E_HANDLE);
        }
        if (clv_call(both->ours, "echo", "x", 1, SOON_MS, &reply) == CLV_OK)
            clv_buffer_free(reply);
        if (clv_node_next_event(both->client, 0, &event) == CLV_OK)
            clv_buffer_free(event.data);
    }
    return NULL;
}

static void *closes_once(void *user)
{
    static counter closed = COUNTER_INIT;
    pair *both = (pair *)user;

    (void)closed;
    if (clv_session_close(both->ours, SOON_MS) == CLV_OK)
        counter_add(&closed);
    return NULL;
}

static void *closes_the_node(void *user)
{
    return clv_node_close(((pair *)user)->client, SOON_MS, NULL) == CLV_OK ? user : NULL;
}

static void handles_that_are_closed_while_others_use_them(void)
{
    int round;

    for (round = 0; round < 5; round++) {
        pair both = pair_open();
        pthread_t users[4], closers[4];
        int at, closed = 0;
        void *is_first;

        MUST(clv_serve(both.server, "echo", NULL, echo, NULL, NULL));
        for (at = 0; at < 4; at++)
            MUST_BE(pthread_create(&users[at], NULL, uses_what_may_be_gone, &both) == 0);
        for (at = 0; at < 4; at++)
            MUST_BE(pthread_create(&closers[at], NULL, at < 2 ? closes_once : closes_the_node, &both) == 0);
        for (at = 0; at < 4; at++)
            pthread_join(users[at], NULL);
        for (at = 0; at < 4; at++) {
            pthread_join(closers[at], &is_first);
            closed += is_first != NULL;
        }
        CHECK(closed == 1);
        clv_session_close(both.theirs, SOON_MS);
        OK(clv_node_close(both.server, SOON_MS, NULL));
    }
}

int main(void)
{
    check_begin();
    RUN(many_threads_call_on_one_session);
    RUN(many_threads_send_and_receive_on_one_channel);
    RUN(handles_that_are_closed_while_others_use_them);
    RUN(closing_a_channel_or_call_wakes_who_waits_on_it);
    RUN(closing_a_node_wakes_everybody_who_waits_on_it);
    RUN(closing_a_session_handle_wakes_who_waits_on_it);
    return check_end();
}
