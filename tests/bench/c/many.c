/*
 * Many sessions between two processes: the client has a node for each, for a session belongs to a pair of nodes. What
 * it is told by the director:
 *
 *     go COUNT     makes sessions until there are so many            `rate MADE NS`, with lines `made` meanwhile
 *     again        registers those again that are lost               the same
 *     cut          breaks all links, waits until all are back        `cut ATTACHED LOST P50_NS LAST_NS`
 *     live         how many are live                                 `live COUNT`
 *     rest MS, stat
 *
 * Its first line is `ready DESCRIPTORS`: how many descriptors it needs for each session.
 */
#define _GNU_SOURCE
#include "session.h"

#include <dirent.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

/* As many as the yardstick has; see raw_many.c. */
enum { STORM_THREADS = 64, ADDRESSES_MAX = 16 };
/* In a storm each waits for many others. */
enum { CONNECT_MS = 60000 };
/* How long a session has to come back, or to be lost: longer than any TTL that is used. */
static const uint64_t BACK_NS = 60000000000u;
/* How long the library has to register a session by itself. */
static const uint64_t OVER_NS = 1000000000u;
/* Seldom enough that looking takes nothing from what is measured. */
static const uint64_t LOOK_NS = 50000000u;

struct place {
    clv_node node;
    clv_session session;
    int is_open;
    int is_settled;
    /* Before the cut. */
    uint64_t links_total;
    /* When it was seen that its session is over. */
    uint64_t over_ns;
};

struct crowd {
    struct place *places;
    char *addresses[ADDRESSES_MAX];
    int addresses_count;
    char **wishes;
    int count;
    /* The next place, or share of places, to be taken by a thread. */
    int next;
    int done;
    uint64_t until_ns;
};

static void *keep_sessions(void *user)
{
    clv_node *node = user;
    clv_session session;
    while (clv_accept(*node, -1, &session) == CLV_OK)
        ;
    return NULL;
}

void many_serve(char **arguments)
{
    clv_node node = open_node("many", arguments + 1);
    pthread_t thread;
    const char *line;
    offer_services(node);
    if (pthread_create(&thread, NULL, keep_sessions, &node) != 0)
        die("thread");
    listen_at_all(node, arguments[0]);
    while ((line = next_line()) != NULL) {
        unsigned long ms;
        if (sscanf(line, "rest %lu", &ms) == 1)
            rest(ms);
        else
            tell_stat();
    }
    exit(0);
}

static void connect_place(const struct crowd *crowd, int at)
{
    struct place *place = &crowd->places[at];
    const char *address = crowd->addresses[at % crowd->addresses_count];
    must(clv_connect(place->node, address, CONNECT_MS, &place->session), "connect");
    /* A session that was used, as users have them. */
    call_once(place->session, "inline");
}

static void finish_place(struct crowd *crowd)
{
    tell_progress(__atomic_fetch_add(&crowd->done, 1, __ATOMIC_RELAXED));
}

/* Makes the sessions of the places that are taken one after the other. */
static void *make_some(void *user)
{
    struct crowd *crowd = user;
    int at;
    while ((at = __atomic_fetch_add(&crowd->next, 1, __ATOMIC_RELAXED)) < crowd->count) {
        crowd->places[at].node = open_node("one", crowd->wishes);
        connect_place(crowd, at);
        crowd->places[at].is_open = 1;
        finish_place(crowd);
    }
    return NULL;
}

static int is_over(clv_session session)
{
    clv_state state;
    must(clv_session_state(session, &state), "state");
    return state == CLV_STATE_LOST || state == CLV_STATE_CLOSED;
}

/* With `any_node` the library itself registers with the other node that answers, and gives that session out like one
 * that a peer made. A session whose lease ended before has to be asked for. Whether it is registered. */
static int register_place(const struct crowd *crowd, int at)
{
    struct place *place = &crowd->places[at];
    if (place->over_ns == 0) {
        place->over_ns = now_ns();
        clv_session_close(place->session, 0);
    }
    if (clv_accept(place->node, 0, &place->session) == CLV_OK) {
        call_once(place->session, "inline");
        return 1;
    }
    if (now_ns() < place->over_ns + OVER_NS)
        return 0;
    connect_place(crowd, at);
    return 1;
}

/* Goes round the places of its share until each was lost and is registered again. */
static void *register_some(void *user)
{
    struct crowd *crowd = user;
    int first = __atomic_fetch_add(&crowd->next, 1, __ATOMIC_RELAXED), left;
    do {
        int changed = 0;
        left = 0;
        for (int at = first; at < crowd->count; at += STORM_THREADS) {
            struct place *place = &crowd->places[at];
            if (place->is_settled)
                continue;
            if (place->over_ns == 0 && !is_over(place->session)) {
                left++;
                continue;
            }
            if (!register_place(crowd, at)) {
                left++;
                continue;
            }
            place->is_settled = changed = 1;
            finish_place(crowd);
        }
        if (left > 0 && now_ns() > crowd->until_ns)
            die("sessions are not lost though their server is");
        /* The others have not dialled yet. */
        if (left > 0 && !changed)
            sleep_until_ns(now_ns() + LOOK_NS);
    } while (left > 0);
    return NULL;
}

/* Lets all threads work; the time that they took. */
static uint64_t work(struct crowd *crowd, void *(*each)(void *))
{
    pthread_t threads[STORM_THREADS];
    uint64_t begin = now_ns();
    crowd->done = 0;
    crowd->until_ns = begin + BACK_NS;
    for (int at = 0; at < STORM_THREADS; at++)
        if (pthread_create(&threads[at], NULL, each, crowd) != 0)
            die("thread");
    for (int at = 0; at < STORM_THREADS; at++)
        pthread_join(threads[at], NULL);
    return now_ns() - begin;
}

static uint64_t make_all(struct crowd *crowd, int count)
{
    count = count > crowd->count ? count : crowd->count;
    crowd->places = must_have(realloc(crowd->places, (size_t)count * sizeof *crowd->places));
    memset(crowd->places + crowd->count, 0, (size_t)(count - crowd->count) * sizeof *crowd->places);
    crowd->next = crowd->count;
    crowd->count = count;
    return work(crowd, make_some);
}

static uint64_t register_all(struct crowd *crowd)
{
    for (int at = 0; at < crowd->count; at++)
        crowd->places[at].is_settled = crowd->places[at].over_ns = 0;
    crowd->next = 0;
    return work(crowd, register_some);
}

/* Breaks every TCP connection of this process: those are the links. */
static void shut_all_links(void)
{
    DIR *directory = opendir("/proc/self/fd");
    struct dirent *entry;
    if (!directory)
        die("/proc/self/fd");
    while ((entry = readdir(directory)) != NULL) {
        struct sockaddr_storage peer;
        socklen_t size = sizeof peer;
        int fd = atoi(entry->d_name);
        if (getpeername(fd, (struct sockaddr *)&peer, &size) == 0 && peer.ss_family == AF_INET)
            shutdown(fd, SHUT_RDWR);
    }
    closedir(directory);
}

enum outcome { WAITS, ATTACHED, OVER };

static enum outcome look(const struct place *place)
{
    clv_session_info info = CLV_SESSION_INFO_INIT;
    clv_status status = clv_session_get_info(place->session, &info);
    if (status != CLV_OK || info.state == CLV_STATE_LOST || info.state == CLV_STATE_CLOSED)
        return OVER;
    return info.state == CLV_STATE_LIVE && info.links_total > place->links_total ? ATTACHED : WAITS;
}

/* Looks at all that are not settled; how many still wait. */
static int look_at_all(struct crowd *crowd, struct times *back, uint64_t begin)
{
    int waiting = 0;
    for (int at = 0; at < crowd->count; at++) {
        struct place *place = &crowd->places[at];
        enum outcome outcome = place->is_settled ? OVER : look(place);
        if (!place->is_settled && outcome == ATTACHED)
            add_time(back, now_ns() - begin);
        place->is_settled = outcome != WAITS;
        waiting += outcome == WAITS;
    }
    return waiting;
}

/* Who is neither back nor lost in time counts as lost. */
static void cut(struct crowd *crowd)
{
    struct times back = { 0 };
    uint64_t begin, look_ns, attached = 0;
    int waiting;
    for (int at = 0; at < crowd->count; at++) {
        clv_session_info info = CLV_SESSION_INFO_INIT;
        must(clv_session_get_info(crowd->places[at].session, &info), "info");
        crowd->places[at].links_total = info.links_total;
        crowd->places[at].is_settled = 0;
    }
    begin = now_ns();
    shut_all_links();
    look_ns = 0;
    do {
        /* So much longer than the look before took that looking at many takes little too. */
        sleep_until_ns(now_ns() + (look_ns * 20 > LOOK_NS ? look_ns * 20 : LOOK_NS));
        look_ns = now_ns();
        waiting = look_at_all(crowd, &back, begin);
        look_ns = now_ns() - look_ns;
    } while (waiting > 0 && now_ns() < begin + BACK_NS);
    /* Never to divide by nothing when none came back. */
    if (back.count == 0)
        add_time(&back, BACK_NS);
    else
        attached = back.count;
    sort_times(&back);
    printf("cut %lu %lu %lu %lu\n", (unsigned long)attached, (unsigned long)crowd->count - (unsigned long)attached,
           (unsigned long)percentile(&back, 50), (unsigned long)percentile(&back, 100));
    fflush(stdout);
    forget_times(&back);
}

static void tell_work(const struct crowd *crowd, uint64_t ns)
{
    tell_rate((uint64_t)crowd->done, ns);
}

static void tell_live(const struct crowd *crowd)
{
    int live = 0;
    for (int at = 0; at < crowd->count; at++) {
        clv_state state;
        must(clv_session_state(crowd->places[at].session, &state), "state");
        live += state == CLV_STATE_LIVE;
    }
    printf("live %d\n", live);
    fflush(stdout);
}

/* What a session takes of the table of descriptors is learned from the first ones, but for the very first, with which
 * comes what all share. Rounded up, for now and then one that is needed for a moment only is not there any more. */
static void warm_up(struct crowd *crowd)
{
    uint64_t before, after;
    int few = WARM_SESSIONS / 4;
    char text[32];
    make_all(crowd, few);
    before = descriptors_open();
    make_all(crowd, WARM_SESSIONS);
    after = descriptors_open();
    after = after > before ? after : before + 1;
    snprintf(text, sizeof text, "%d", ((int)(after - before) + WARM_SESSIONS - few - 1) / (WARM_SESSIONS - few));
    say_ready(text);
}

void many_client(char **arguments)
{
    struct crowd crowd = { 0 };
    const char *line;
    for (char *address = strtok(arguments[0], ","); address; address = strtok(NULL, ",")) {
        if (crowd.addresses_count == ADDRESSES_MAX)
            die("too many addresses");
        crowd.addresses[crowd.addresses_count++] = address;
    }
    crowd.wishes = arguments + 1;
    warm_up(&crowd);
    while ((line = next_line()) != NULL) {
        unsigned long number;
        if (sscanf(line, "go %lu", &number) == 1)
            tell_work(&crowd, make_all(&crowd, (int)number));
        else if (sscanf(line, "rest %lu", &number) == 1)
            rest(number);
        else if (strcmp(line, "again") == 0)
            tell_work(&crowd, register_all(&crowd));
        else if (strcmp(line, "cut") == 0)
            cut(&crowd);
        else if (strcmp(line, "live") == 0)
            tell_live(&crowd);
        else
            tell_stat();
    }
    exit(0);
}
