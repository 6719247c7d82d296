/* Living objects and what programs give along with callbacks: every destroy and every drop runs exactly once. */
#include "refusals.h"
#include <signal.h>
#include <sys/wait.h>

/* Callbacks of a kind count here. */
typedef struct tally {
    counter destroyed;
    counter embalmed;
    counter revived;
    counter discarded;
    counter abandoned;
    counter dropped;
    /* Destroyed or discarded. */
    counter ended;
    clv_status embalm_answer;
} tally;

#define TALLY_INIT { COUNTER_INIT, COUNTER_INIT, COUNTER_INIT, COUNTER_INIT, COUNTER_INIT, COUNTER_INIT, COUNTER_INIT, CLV_OK }

typedef struct thing {
    int ends;
    int value;
} thing;

static void destroy(void *user, void *object)
{
    CHECK(__atomic_add_fetch(&((thing *)object)->ends, 1, __ATOMIC_SEQ_CST) == 1);
    counter_add(&((tally *)user)->destroyed);
    counter_add(&((tally *)user)->ended);
}

/* What stands for a thing that is embalmed is where it is. */
static clv_status embalm(void *user, void *object, clv_embalming embalming)
{
    counter_add(&((tally *)user)->embalmed);
    OK(clv_embalming_write(embalming, &object, sizeof object));
    return ((tally *)user)->embalm_answer;
}

static clv_status revive(void *user, const void *data, size_t size, void **object)
{
    MUST_BE(size == sizeof *object);
    memcpy(object, data, size);
    counter_add(&((tally *)user)->revived);
    return CLV_OK;
}

static void discard(void *user, const void *data, size_t size)
{
    thing *object;

    MUST_BE(size == sizeof object);
    memcpy(&object, data, size);
    CHECK(__atomic_add_fetch(&object->ends, 1, __ATOMIC_SEQ_CST) == 1);
    counter_add(&((tally *)user)->discarded);
    counter_add(&((tally *)user)->ended);
}

static void abandon(void *user, void *object)
{
    (void)object;
    counter_add(&((tally *)user)->abandoned);
}

static void print(void *user, void *object, char *out, size_t capacity)
{
    (void)user;
    snprintf(out, capacity, "value %d", ((thing *)object)->value);
}

static void drop(void *user)
{
    counter_add(&((tally *)user)->dropped);
}

static clv_kind kind_of(tally *counts)
{
    clv_kind kind = CLV_KIND_INIT;

    kind.destroy = destroy;
    kind.print = print;
    kind.user = counts;
    kind.drop = drop;
    return kind;
}

static void drop_runs_once_for_every_registration(void)
{
    tally counts = TALLY_INIT;
    clv_node node = node_with(NULL);
    clv_kind kind = kind_of(&counts);
    char name[257];

    OK(clv_kind_register(node, "thing", &kind));
    STATUS(clv_kind_register(node, "thing", &kind), CLV_E_IN_USE);
    CHECK(counter_get(&counts.dropped) == 1);
    memset(name, 'n', sizeof name);
    name[256] = 0;
    STATUS(clv_kind_register(node, name, &kind), CLV_E_ARG);
    STATUS(clv_kind_register(node, "\xff", &kind), CLV_E_ENCODING);
    STATUS(clv_kind_register(node, NULL, &kind), CLV_E_ARG);
    CHECK(counter_get(&counts.dropped) == 4);
    kind.destroy = NULL;
    STATUS(clv_kind_register(node, "other", &kind), CLV_E_ARG);
    kind.destroy = destroy;
    kind.embalm = embalm;
    STATUS(clv_kind_register(node, "other", &kind), CLV_E_ARG);
    kind.revive = revive;
    kind.embalm_ms = -2;
    STATUS(clv_kind_register(node, "other", &kind), CLV_E_ARG);
    CHECK(counter_get(&counts.dropped) == 7);
    OK(clv_node_close(node, SOON_MS, NULL));
    CHECK(counter_reaches(&counts.dropped, 8) && counter_get(&counts.dropped) == 8);
    CHECK(counter_get(&counts.destroyed) == 0);
}

static void services_drop_their_user_once(void)
{
    counter dropped = COUNTER_INIT;
    pair both = pair_open();

    OK(clv_serve(both.server, "once", NULL, never_called, &dropped, count_drop));
    STATUS(clv_serve(both.server, "once", NULL, never_called, &dropped, count_drop), CLV_E_IN_USE);
    CHECK(counter_get(&dropped) == 1);
    OK(clv_unserve(both.server, "once"));
    CHECK(counter_get(&dropped) == 2);
    OK(clv_serve(both.server, "once", NULL, never_called, &dropped, count_drop));
    STATUS(clv_serve(both.server, "null", NULL, NULL, &dropped, count_drop), CLV_E_ARG);
    CHECK(counter_get(&dropped) == 3);
    pair_close(&both);
    CHECK(counter_reaches(&dropped, 4) && counter_get(&dropped) == 4);
}

static counter lines = COUNTER_INIT;

static void count_line(void *user, clv_log_level level, const char *line)
{
    (void)user;
    CHECK(level >= CLV_LOG_ERROR && level <= CLV_LOG_DEBUG && line != NULL && strchr(line, '\n') == NULL);
    counter_add(&lines);
}

static void logs_drop_their_user_once(void)
{
    counter dropped = COUNTER_INIT;
    pair both = pair_open();

    OK(clv_log_set(both.server, CLV_LOG_DEBUG, count_line, &dropped, count_drop));
    OK(clv_log_set(both.server, CLV_LOG_DEBUG, count_line, &dropped, count_drop));
    CHECK(counter_reaches(&dropped, 1));
    STATUS(clv_log_set(both.server, CLV_LOG_DEBUG, NULL, &dropped, count_drop), CLV_E_ARG);
    CHECK(counter_get(&dropped) == 2);
    pair_close(&both);
    CHECK(counter_reaches(&dropped, 3) && counter_get(&dropped) == 3);
    CHECK(counter_get(&lines) > 0);
}

typedef struct service_state {
    counter entered;
    counter leave;
    counter dropped;
} service_state;

static clv_status stays(void *user, clv_request request)
{
    service_state *state = (service_state *)user;

    (void)request;
    counter_add(&state->entered);
    CHECK(counter_reaches(&state->leave, 1));
    CHECK(counter_get(&state->dropped) == 0);
    return CLV_OK;
}

static void drop_service_state(void *user)
{
    counter_add(&((service_state *)user)->dropped);
}

static void an_unserved_service_is_dropped_after_its_last_handler(void)
{
    service_state state = { COUNTER_INIT, COUNTER_INIT, COUNTER_INIT };
    pair both = pair_open();
    clv_pending_call call;
    clv_buffer *part;

    OK(clv_serve(both.server, "stays", NULL, stays, &state, drop_service_state));
    MUST(clv_call_start(both.ours, "stays", NULL, 0, -1, &call));
    CHECK(counter_reaches(&state.entered, 1));
    OK(clv_unserve(both.server, "stays"));
    CHECK(counter_get(&state.dropped) == 0);
    counter_add(&state.leave);
    OK(clv_call_receive(call, SOON_MS, &part));
    clv_buffer_free(part);
    CHECK(counter_reaches(&state.dropped, 1));
    OK(clv_call_close(call));
    pair_close(&both);
    CHECK(counter_get(&state.dropped) == 1);
}

/* What a handler that does not return uses is leaked, not freed; its drop comes when it returns after all. */
static void a_stuck_handler_is_named_and_dropped_when_it_returns(void)
{
    service_state state = { COUNTER_INIT, COUNTER_INIT, COUNTER_INIT };
    pair both = pair_open();
    clv_leftovers left = CLV_LEFTOVERS_INIT;
    clv_pending_call call;

    OK(clv_serve(both.server, "stays", NULL, stays, &state, drop_service_state));
    MUST(clv_call_start(both.ours, "stays", NULL, 0, -1, &call));
    CHECK(counter_reaches(&state.entered, 1));
    OK(clv_node_close(both.server, 50, &left));
    CHECK(left.running == 1 && strstr(left.text, "stays") != NULL);
    CHECK(counter_get(&state.dropped) == 0);
    counter_add(&state.leave);
    CHECK(counter_reaches(&state.dropped, 1));
    OK(clv_call_close(call));
    clv_session_close(both.theirs, 0);
    clv_session_close(both.ours, 0);
    OK(clv_node_close(both.client, SOON_MS, NULL));
    CHECK(counter_get(&state.dropped) == 1);
}

static clv_object attach(clv_session session, thing *payload)
{
    clv_object object = { 0 };

    MUST(clv_object_attach(session, "thing", payload, -1, &object));
    CHECK(object.id != 0);
    return object;
}

static void use(void *user, void *object)
{
    ((thing *)object)->value = *(int *)user;
}

static void see_object(void *user, const clv_object_info *info)
{
    CHECK(info->struct_size == sizeof *info);
    *(int *)user += 1;
    if (info->object.id != 0)
        CHECK(strcmp(info->kind, "thing") == 0 && info->state == CLV_OBJECT_ALIVE && info->ttl_ms == -1);
}

static void see_line(void *user, const char *line)
{
    if (strstr(line, "value 42") != NULL)
        *(int *)user += 1;
}

static void see_task(void *user, const clv_task_info *info)
{
    CHECK(info->struct_size == sizeof *info && info->started_ns != 0);
    *(int *)user += 1;
}

static void objects_are_used_shown_and_ended_once(void)
{
    tally counts = TALLY_INIT;
    pair both = pair_open();
    clv_kind kind = kind_of(&counts);
    thing payload = { 0, 0 };
    thing unattached = { 0, 0 };
    clv_object object, none;
    int value = 42, seen = 0, printed = 0, tasks = 0;
    clv_buffer *reply;

    OK(clv_kind_register(both.server, "thing", &kind));
    object = attach(both.theirs, &payload);
    OK(clv_object_use(both.theirs, object, use, &value));
    OK(clv_object_list(both.theirs, see_object, &seen));
    OK(clv_object_print(both.theirs, see_line, &printed));
    CHECK(payload.value == 42 && seen == 2 && printed == 1);
    STATUS(clv_call(both.ours, "nobody", NULL, 0, SOON_MS, &reply), CLV_E_NO_SERVICE);
    OK(clv_task_list(both.theirs, see_task, &tasks));
    CHECK(tasks == 0);
    none.id = object.id + 1000;
    STATUS(clv_object_use(both.theirs, none, never_uses, NULL), CLV_E_HANDLE);
    STATUS(clv_object_end(both.theirs, none), CLV_E_HANDLE);
    OK(clv_object_end(both.theirs, object));
    CHECK(counter_reaches(&counts.destroyed, 1));
    CHECK(clv_object_use(both.theirs, object, never_uses, NULL) != CLV_OK);
    clv_object_end(both.theirs, object);
    /* An object that was refused stays the program's. */
    STATUS(clv_object_attach(both.theirs, "unknown", &unattached, -1, &none), CLV_E_ARG);
    pair_close(&both);
    CHECK(counter_get(&counts.destroyed) == 1 && counter_reaches(&counts.dropped, 1));
    CHECK(unattached.ends == 0 && payload.ends == 1);
}

static clv_object attached_at(clv_session owner)
{
    clv_event event = CLV_EVENT_INIT;
    int64_t until = now_ms() + SOON_MS;

    while (now_ms() < until && clv_session_next_event(owner, SOON_MS, &event) == CLV_OK) {
        clv_buffer_free(event.data);
        if (event.kind == CLV_EVENT_OBJECT_ATTACHED)
            break;
    }
    CHECK(event.kind == CLV_EVENT_OBJECT_ATTACHED && strcmp(event.text, "thing") == 0);
    {
        clv_object object = { event.object };

        return object;
    }
}

static void the_owner_updates_touches_and_releases(void)
{
    tally counts = TALLY_INIT;
    pair both = pair_open();
    clv_kind kind = kind_of(&counts);
    clv_event event = CLV_EVENT_INIT;
    thing payload = { 0, 0 };
    clv_object object, owned;
    char much[16385];

    memset(much, 0, sizeof much);
    OK(clv_kind_register(both.server, "thing", &kind));
    object = attach(both.theirs, &payload);
    owned = attached_at(both.ours);
    CHECK(owned.id == object.id);
    OK(clv_object_touch(both.ours, owned));
    STATUS(clv_object_update(both.ours, owned, much, sizeof much), CLV_E_SIZE);
    OK(clv_object_update(both.ours, owned, "status: fine", 12));
    do {
        MUST(clv_session_next_event(both.theirs, SOON_MS, &event));
        if (event.kind == CLV_EVENT_OBJECT_UPDATED)
            CHECK(clv_buffer_size(event.data) == 12 && event.object == object.id);
        clv_buffer_free(event.data);
    } while (event.kind != CLV_EVENT_OBJECT_UPDATED);
    OK(clv_object_release(both.ours, owned));
    CHECK(counter_reaches(&counts.destroyed, 1));
    pair_close(&both);
    CHECK(counter_get(&counts.destroyed) == 1);
}

/* However a session or node ends, each of its objects ends once. */
static void objects_end_once_with_session_and_node(void)
{
    int way;

    for (way = 0; way < 4; way++) {
        tally counts = TALLY_INIT;
        pair both = pair_open();
        clv_kind kind = kind_of(&counts);
        thing payloads[20];
        int at;

        memset(payloads, 0, sizeof payloads);
        OK(clv_kind_register(both.server, "thing", &kind));
        for (at = 0; at < 20; at++)
            attach(both.theirs, &payloads[at]);
        if (way == 1)
            OK(clv_session_close(both.ours, SOON_MS));
        if (way == 2)
            OK(clv_node_close(both.client, SOON_MS, NULL));
        if (way == 3)
            OK(clv_node_close(both.server, SOON_MS, NULL));
        if (way != 0)
            CHECK(counter_reaches(&counts.destroyed, 20));
        clv_session_close(both.ours, SOON_MS);
        clv_session_close(both.theirs, SOON_MS);
        clv_node_close(both.client, SOON_MS, NULL);
        clv_node_close(both.server, SOON_MS, NULL);
        CHECK(counter_reaches(&counts.dropped, 1) && counter_get(&counts.dropped) == 1);
        CHECK(counter_get(&counts.destroyed) == 20);
        for (at = 0; at < 20; at++)
            CHECK(payloads[at].ends == 1);
    }
}

static void an_object_whose_time_is_over_ends_once(void)
{
    tally counts = TALLY_INIT;
    pair both = pair_open();
    clv_kind kind = kind_of(&counts);
    thing payload = { 0, 0 };
    clv_object object;

    kind.abandon = abandon;
    OK(clv_kind_register(both.server, "thing", &kind));
    STATUS(clv_object_attach(both.theirs, "thing", &payload, 0, &object), CLV_E_ARG);
    MUST(clv_object_attach(both.theirs, "thing", &payload, 20, &object));
    CHECK(counter_reaches(&counts.destroyed, 1));
    pair_close(&both);
    CHECK(payload.ends == 1 && counter_get(&counts.abandoned) == 0 && counter_get(&counts.dropped) == 1);
}

static const char *const QUICK[] = { "beat_ms", "50", "ttl_ms", "400", NULL };

/* A peer that is killed: nothing says goodbye. */
static void peer(const char *address)
{
    clv_node node = node_with(QUICK);
    clv_session session;

    alarm(60);
    MUST(clv_connect(node, address, SOON_MS, &session));
    for (;;)
        pause();
}

static void an_owner_dies(int has_embalm, clv_status answer, int has_discard)
{
    tally counts = TALLY_INIT;
    clv_kind kind = kind_of(&counts);
    clv_node server = node_with(QUICK);
    thing payload = { 0, 0 };
    clv_session session;
    clv_object object;
    pid_t owner;
    char address[CLV_ADDRESS_BYTES];

    counts.embalm_answer = answer;
    kind.embalm = has_embalm ? embalm : NULL;
    kind.revive = has_embalm ? revive : NULL;
    kind.discard = has_discard ? discard : NULL;
    kind.embalm_ms = 50;
    OK(clv_kind_register(server, "thing", &kind));
    MUST(clv_node_listen(server, "127.0.0.1:0", -1, address, sizeof address));
    owner = start_peer(address);
    MUST(clv_accept(server, SOON_MS, &session));
    MUST(clv_object_attach(session, "thing", &payload, -1, &object));
    kill(owner, SIGKILL);
    waitpid(owner, NULL, 0);
    CHECK(counter_reaches(&counts.ended, 1));
    clv_session_close(session, 0);
    OK(clv_node_close(server, SOON_MS, NULL));
    CHECK(payload.ends == 1 && counter_get(&counts.embalmed) == has_embalm);
    CHECK(counter_get(&counts.discarded) == (has_embalm && has_discard && answer == CLV_OK));
    /* One that was put aside is made usable for its destroy. */
    CHECK(counter_get(&counts.revived) == (has_embalm && !has_discard && answer == CLV_OK));
    CHECK(counter_get(&counts.dropped) == 1);
}

static void an_object_of_a_dead_owner_ends_once(void)
{
    an_owner_dies(0, CLV_OK, 0);
    an_owner_dies(1, CLV_OK, 0);
    an_owner_dies(1, CLV_E_BUG, 0);
    an_owner_dies(1, CLV_OK, 1);
    an_owner_dies(1, CLV_E_BUG, 1);
}

/* A use that does not end: abandon runs beside it, destroy waits for it. */
static counter using_it = COUNTER_INIT;
static tally stuck = TALLY_INIT;

static void uses_until_abandoned(void *user, void *object)
{
    (void)user;
    counter_add(&using_it);
    CHECK(counter_reaches(&stuck.abandoned, 1));
    CHECK(((thing *)object)->ends == 0 && counter_get(&stuck.destroyed) == 0);
}

static void *use_in_a_thread(void *user)
{
    clv_object object = { 1 };

    object.id = *(uint64_t *)((void **)user)[1];
    OK(clv_object_use(*(clv_session *)((void **)user)[0], object, uses_until_abandoned, NULL));
    return NULL;
}

static void an_object_in_use_is_abandoned_and_then_destroyed(void)
{
    static const char *const settings[] = { "grace_ms", "50", NULL };
    pair both = pair_with(settings);
    clv_kind kind = kind_of(&stuck);
    thing payload = { 0, 0 };
    clv_object object;
    pthread_t thread;
    void *arguments[2];

    kind.abandon = abandon;
    OK(clv_kind_register(both.server, "thing", &kind));
    object = attach(both.theirs, &payload);
    arguments[0] = &both.theirs;
    arguments[1] = &object.id;
    MUST_BE(pthread_create(&thread, NULL, use_in_a_thread, arguments) == 0);
    CHECK(counter_reaches(&using_it, 1));
    OK(clv_object_end(both.theirs, object));
    STATUS(clv_object_use(both.theirs, object, never_uses, NULL), CLV_E_POISONED);
    pthread_join(thread, NULL);
    CHECK(counter_reaches(&stuck.destroyed, 1));
    pair_close(&both);
    CHECK(counter_get(&stuck.abandoned) == 1 && counter_get(&stuck.destroyed) == 1);
    CHECK(counter_get(&stuck.dropped) == 1);
}

int main(int count, char **arguments)
{
    check_begin();
    if (count == 2)
        peer(arguments[1]);
    RUN(drop_runs_once_for_every_registration);
    RUN(services_drop_their_user_once);
    RUN(logs_drop_their_user_once);
    RUN(an_unserved_service_is_dropped_after_its_last_handler);
    RUN(a_stuck_handler_is_named_and_dropped_when_it_returns);
    RUN(objects_are_used_shown_and_ended_once);
    RUN(the_owner_updates_touches_and_releases);
    RUN(objects_end_once_with_session_and_node);
    RUN(an_object_whose_time_is_over_ends_once);
    RUN(an_object_of_a_dead_owner_ends_once);
    RUN(an_object_in_use_is_abandoned_and_then_destroyed);
    return check_end();
}
