/* A session that comes and goes: its peer, another process, stands still for longer than the TTL. */
#include "check.h"
#include <signal.h>
#include <sys/wait.h>

static const char *const COMES_AND_GOES[] = { "beat_ms", "50", "ttl_ms", "400", "volatile", "true", "redial_max_ms", "100", NULL };
static const char *const STAYS[] = { "beat_ms", "50", "ttl_ms", "400", NULL };

/* What is kept for the peer, and what became of the objects of this program. */
typedef struct seat {
    int number;
    char passenger[40];
} seat;

typedef struct tally {
    counter embalmed;
    counter revived;
    counter discarded;
    counter destroyed;
    counter dropped;
} tally;

static tally seen = { COUNTER_INIT, COUNTER_INIT, COUNTER_INIT, COUNTER_INIT, COUNTER_INIT };

static void count_drop_of_tally(void *user)
{
    counter_add(&((tally *)user)->dropped);
}

static seat *seat_new(int number, const char *passenger)
{
    seat *made = (seat *)malloc(sizeof *made);

    MUST_BE(made != NULL);
    made->number = number;
    snprintf(made->passenger, sizeof made->passenger, "%s", passenger);
    return made;
}

static void destroy(void *user, void *object)
{
    counter_add(&((tally *)user)->destroyed);
    free(object);
}

static clv_embalming last_embalming;

static clv_status embalm(void *user, void *object, clv_embalming embalming)
{
    seat *kept = (seat *)object;

    STATUS(clv_embalming_write(embalming, NULL, 4), CLV_E_ARG);
    OK(clv_embalming_write(embalming, &kept->number, sizeof kept->number));
    OK(clv_embalming_write(embalming, kept->passenger, strlen(kept->passenger)));
    if (kept->number == 13)
        return CLV_E_CALL_FAILED;
    last_embalming = embalming;
    free(kept);
    counter_add(&((tally *)user)->embalmed);
    return CLV_OK;
}

static clv_status revive(void *user, const void *data, size_t size, void **object)
{
    char name[40] = "";
    int number;

    MUST_BE(size >= sizeof number && size - sizeof number < sizeof name);
    memcpy(&number, data, sizeof number);
    memcpy(name, (const char *)data + sizeof number, size - sizeof number);
    if (number == 7)
        return CLV_E_CALL_FAILED;
    *object = seat_new(number, name);
    counter_add(&((tally *)user)->revived);
    return CLV_OK;
}

static void discard(void *user, const void *data, size_t size)
{
    CHECK(data != NULL && size > sizeof(int));
    counter_add(&((tally *)user)->discarded);
}

static void look(void *user, void *object)
{
    *(seat *)user = *(seat *)object;
}

static void count_embalmed(void *user, const clv_object_info *info)
{
    if (info->state == CLV_OBJECT_EMBALMED)
        ++*(int *)user;
}

/* The callback is over when its answer was taken. */
static void await_embalmed(clv_session session, int wanted)
{
    int found = -1;
    int looks;

    for (looks = 0; looks < SOON_MS / 5 && found != wanted; looks++) {
        found = 0;
        OK(clv_object_list(session, count_embalmed, &found));
        if (found != wanted)
            moment();
    }
    CHECK(found == wanted);
}

/* A kind that can be embalmed, whose callbacks count in `seen`. */
static clv_kind kind_of_seats(void)
{
    clv_kind kind = CLV_KIND_INIT;

    kind.destroy = destroy;
    kind.embalm = embalm;
    kind.revive = revive;
    kind.discard = discard;
    kind.embalm_ms = 60000;
    kind.user = &seen;
    kind.drop = count_drop_of_tally;
    return kind;
}

/* The peer, as a program of its own: answers calls, and ends when the session does. */
static void be_the_peer(const char *address)
{
    clv_node node = node_with(getenv("PEER_STAYS") != NULL ? STAYS : COMES_AND_GOES);
    clv_session session;
    clv_status status;

    MUST(clv_serve(node, "echo", NULL, echo, NULL, NULL));
    MUST(clv_connect(node, address, SOON_MS, &session));
    do {
        clv_event event = CLV_EVENT_INIT;

        status = clv_session_next_event(session, 60000, &event);
    } while (status == CLV_OK);
    STATUS(status, CLV_E_END);
    OK(clv_node_close(node, SOON_MS, NULL));
    exit(check_state()->failed_here == 0 ? 0 : 1);
}

/* A node with a session to a process of its own. */
typedef struct visit {
    pid_t peer;
    clv_node node;
    clv_session session;
} visit;

static visit visit_begin(void)
{
    char address[CLV_ADDRESS_BYTES] = "";
    clv_kind kind = kind_of_seats();
    clv_buffer *reply;
    visit made;

    made.node = node_with(STAYS);
    MUST(clv_kind_register(made.node, "seat", &kind));
    MUST(clv_node_listen(made.node, "127.0.0.1:0", -1, address, sizeof address));
    made.peer = start_peer(address);
    MUST(clv_accept(made.node, SOON_MS, &made.session));
    /* Only now it is sure that the peer has the session, too. */
    MUST(clv_call(made.session, "echo", "hello", 5, SOON_MS, &reply));
    clv_buffer_free(reply);
    return made;
}

static void visit_end(visit *of)
{
    int status = -1;

    MUST_BE(kill(of->peer, SIGCONT) == 0);
    clv_session_close(of->session, SOON_MS);
    OK(clv_node_close(of->node, SOON_MS, NULL));
    MUST_BE(waitpid(of->peer, &status, 0) == of->peer);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

/* Takes events until the session is in this state. */
static clv_event await_state(clv_session session, clv_state state)
{
    clv_event event = CLV_EVENT_INIT;
    clv_status status;

    do
        status = clv_session_next_event(session, SOON_MS, &event);
    while (status == CLV_OK && (event.kind != CLV_EVENT_STATE || event.state != state));
    OK(status);
    return event;
}

static void a_session_that_comes_and_goes_is_kept_and_so_are_its_objects(void)
{
    visit made = visit_begin();
    clv_object good, unlucky, lost;
    seat found = { 0, "" };
    clv_buffer *reply;
    clv_event event;

    MUST(clv_object_attach(made.session, "seat", seat_new(4, "Ada"), -1, &good));
    MUST(clv_object_attach(made.session, "seat", seat_new(13, "Bob"), -1, &unlucky));
    MUST(clv_object_attach(made.session, "seat", seat_new(7, "Cyd"), -1, &lost));
    MUST_BE(kill(made.peer, SIGSTOP) == 0);
    event = await_state(made.session, CLV_STATE_EMBALMED);
    CHECK(event.number > 80000000);
    CHECK(counter_reaches(&seen.embalmed, 2));
    CHECK(counter_reaches(&seen.destroyed, 1));
    await_embalmed(made.session, 2);
    STATUS(clv_embalming_write(last_embalming, "x", 1), CLV_E_HANDLE);
    STATUS(clv_object_use(made.session, good, look, &found), CLV_E_POISONED);

    MUST_BE(kill(made.peer, SIGCONT) == 0);
    await_state(made.session, CLV_STATE_REVIVING);
    await_state(made.session, CLV_STATE_LIVE);
    CHECK(counter_reaches(&seen.revived, 1));
    CHECK(counter_reaches(&seen.discarded, 1));
    OK(clv_object_use(made.session, good, look, &found));
    CHECK(found.number == 4 && strcmp(found.passenger, "Ada") == 0);
    STATUS(clv_object_use(made.session, unlucky, look, &found), CLV_E_HANDLE);
    STATUS(clv_object_use(made.session, lost, look, &found), CLV_E_HANDLE);
    STATUS(clv_object_revive(made.session, good, made.session), CLV_E_STATE);
    MUST(clv_call(made.session, "echo", "back", 4, SOON_MS, &reply));
    clv_buffer_free(reply);
    visit_end(&made);
    CHECK(counter_reaches(&seen.destroyed, 2) && counter_reaches(&seen.dropped, 1));
    CHECK(counter_get(&seen.destroyed) == 2 && counter_get(&seen.embalmed) == 2);
    CHECK(counter_get(&seen.revived) == 1 && counter_get(&seen.discarded) == 1);
}

static void an_ordinary_session_is_lost_and_its_objects_wait_for_another_one(void)
{
    clv_object object;
    visit made;
    int discarded = counter_get(&seen.discarded);

    MUST_BE(setenv("PEER_STAYS", "1", 1) == 0);
    made = visit_begin();
    MUST(clv_object_attach(made.session, "seat", seat_new(5, "Eve"), -1, &object));
    MUST_BE(kill(made.peer, SIGSTOP) == 0);
    await_state(made.session, CLV_STATE_LOST);
    CHECK(counter_reaches(&seen.embalmed, 3));
    STATUS(clv_object_revive(made.session, object, made.session), CLV_E_POISONED);
    visit_end(&made);
    CHECK(counter_reaches(&seen.discarded, discarded + 1));
}

static void a_kind_embalms_and_revives_or_does_neither(void)
{
    clv_node node = node_with(STAYS);
    clv_kind kind = kind_of_seats();
    int dropped = counter_get(&seen.dropped);

    kind.revive = NULL;
    STATUS(clv_kind_register(node, "half", &kind), CLV_E_ARG);
    kind = kind_of_seats();
    kind.embalm = NULL;
    STATUS(clv_kind_register(node, "half", &kind), CLV_E_ARG);
    kind = kind_of_seats();
    kind.embalm_ms = -2;
    STATUS(clv_kind_register(node, "half", &kind), CLV_E_ARG);
    CHECK(counter_get(&seen.dropped) == dropped + 3);
    OK(clv_node_close(node, SOON_MS, NULL));
}

int main(int count, char **arguments)
{
    check_begin();
    if (count == 2)
        be_the_peer(arguments[1]);
    RUN(a_session_that_comes_and_goes_is_kept_and_so_are_its_objects);
    RUN(an_ordinary_session_is_lost_and_its_objects_wait_for_another_one);
    RUN(a_kind_embalms_and_revives_or_does_neither);
    return check_end();
}
