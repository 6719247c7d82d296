/* Sessions that move: announced addresses, roaming, go-to, links that stand by. One process, several loopback addresses. */
#include "check.h"

/* Quick beats: an old connection goes once the new one answered two. */
static const char *const SETTINGS[] = { "beat_ms", "100", "ttl_ms", "4000", NULL };

/* What was seen of a table. */
typedef struct table {
    int count;
    int given;
    int announced;
    int in_use;
    char used[CLV_ADDRESS_BYTES];
} table;

static void note_address(void *user, const clv_address *address)
{
    table *seen = (table *)user;

    CHECK(address->struct_size == sizeof(clv_address));
    seen->count++;
    seen->given += address->origin == CLV_ADDRESS_GIVEN;
    seen->announced += address->origin == CLV_ADDRESS_ANNOUNCED;
    if (address->in_use) {
        seen->in_use++;
        snprintf(seen->used, sizeof seen->used, "%s", address->address);
    }
}

static table addresses_of(clv_session session)
{
    table seen = { 0, 0, 0, 0, "" };

    OK(clv_session_addresses(session, note_address, &seen));
    return seen;
}

/* Takes events until one of this kind comes. */
static clv_event await_event(clv_session session, clv_event_kind kind)
{
    clv_event event = CLV_EVENT_INIT;
    clv_status status;

    do
        status = clv_session_next_event(session, SOON_MS, &event);
    while (status == CLV_OK && event.kind != kind);
    OK(status);
    return event;
}

/* Two nodes; the server listens at two addresses, of which the client knows the first. */
typedef struct two_ways {
    pair both;
    char second[CLV_ADDRESS_BYTES];
} two_ways;

static two_ways two_ways_open(int standby_links)
{
    clv_connect_options options = CLV_CONNECT_OPTIONS_INIT;
    const char *first;
    two_ways made;

    made.both.server = node_with(SETTINGS);
    made.both.client = node_with(SETTINGS);
    MUST(clv_node_listen(made.both.server, "127.0.0.1:0", -1, made.both.address, sizeof made.both.address));
    MUST(clv_node_listen(made.both.server, "127.0.0.2:0", -1, made.second, sizeof made.second));
    MUST(clv_serve(made.both.server, "echo", NULL, echo, NULL, NULL));
    first = made.both.address;
    options.addresses = &first;
    options.addresses_count = 1;
    options.standby_links = standby_links;
    MUST(clv_connect_with(made.both.client, &options, SOON_MS, &made.both.ours));
    MUST(clv_accept(made.both.server, SOON_MS, &made.both.theirs));
    CHECK(await_event(made.both.ours, CLV_EVENT_PEER_ADDRESSES).number == 2);
    return made;
}

static void must_echo(clv_session session)
{
    clv_buffer *reply = NULL;

    MUST(clv_call(session, "echo", "here", 4, SOON_MS, &reply));
    CHECK(clv_buffer_size(reply) == 4);
    clv_buffer_free(reply);
}

/* Until only the connection to this address is left. */
static int is_only_at(clv_session session, const char *address)
{
    clv_session_info info = CLV_SESSION_INFO_INIT;
    int looks;

    for (looks = 0; looks < SOON_MS / 5; looks++) {
        table seen = addresses_of(session);

        OK(clv_session_get_info(session, &info));
        if (info.links == 1 && seen.in_use == 1 && strcmp(seen.used, address) == 0)
            return 1;
        moment();
    }
    return 0;
}

static void a_peer_announces_where_it_listens(void)
{
    two_ways made = two_ways_open(0);
    const char *fixed[1] = { "192.0.2.7:4242" };
    table seen = addresses_of(made.both.ours);
    table own = { 0, 0, 0, 0, "" };

    /* The first one was given already. */
    CHECK(seen.count == 2 && seen.given == 1 && seen.announced == 1 && seen.in_use == 1);
    CHECK(strcmp(seen.used, made.both.address) == 0);
    OK(clv_node_addresses(made.both.server, note_address, &own));
    CHECK(own.count == 2 && own.given == 0 && own.announced == 0);

    OK(clv_node_announce(made.both.server, fixed, 1));
    CHECK(strcmp(await_event(made.both.ours, CLV_EVENT_PEER_ADDRESSES).text, fixed[0]) == 0);
    seen = addresses_of(made.both.ours);
    CHECK(seen.count == 2 && seen.given == 1 && seen.announced == 1);
    OK(clv_node_announce(made.both.server, fixed, 0));
    CHECK(await_event(made.both.ours, CLV_EVENT_PEER_ADDRESSES).number == 0);
    CHECK(addresses_of(made.both.ours).count == 1);
    OK(clv_node_announce(made.both.server, NULL, 0));
    CHECK(await_event(made.both.ours, CLV_EVENT_PEER_ADDRESSES).number == 2);
    pair_close(&made.both);
}

static void a_program_moves_its_session(void)
{
    two_ways made = two_ways_open(0);
    clv_event event;

    OK(clv_session_roam(made.both.ours, made.second));
    event = await_event(made.both.ours, CLV_EVENT_MOVE_BEGAN);
    CHECK(event.number == CLV_MOVE_ASKED && strcmp(event.text, made.second) == 0);
    await_event(made.both.ours, CLV_EVENT_LINK_ATTACHED);
    CHECK(await_event(made.both.theirs, CLV_EVENT_PEER_MOVES).number == CLV_MOVE_ASKED);
    must_echo(made.both.ours);
    CHECK(is_only_at(made.both.ours, made.second));
    OK(clv_session_roam(made.both.ours, NULL));
    CHECK(is_only_at(made.both.ours, made.both.address));
    must_echo(made.both.ours);
    pair_close(&made.both);
}

static void a_server_sends_its_client_to_another_address(void)
{
    two_ways made = two_ways_open(0);

    OK(clv_session_goto(made.both.theirs, made.second));
    CHECK(await_event(made.both.ours, CLV_EVENT_MOVE_BEGAN).number == CLV_MOVE_GOTO);
    CHECK(is_only_at(made.both.ours, made.second));
    /* To nowhere: the next one is taken. */
    OK(clv_session_goto(made.both.theirs, "127.0.0.1:1"));
    CHECK(is_only_at(made.both.ours, made.both.address));
    OK(clv_session_goto(made.both.theirs, NULL));
    CHECK(is_only_at(made.both.ours, made.second));
    must_echo(made.both.ours);
    pair_close(&made.both);
}

static void who_finds_nobody_stays_where_it_is(void)
{
    pair both = pair_with(SETTINGS);
    clv_event event;

    OK(clv_node_announce(both.server, NULL, 0));
    /* The end that accepted knows no address of a peer that listens nowhere. */
    STATUS(clv_session_roam(both.theirs, NULL), CLV_E_STATE);
    STATUS(clv_session_roam(both.theirs, "127.0.0.1:1"), CLV_OK);
    event = await_event(both.theirs, CLV_EVENT_MOVE_FAILED);
    CHECK(event.status == CLV_E_UNREACHABLE && event.text[0] != 0);
    MUST(clv_serve(both.server, "echo", NULL, echo, NULL, NULL));
    must_echo(both.ours);
    CHECK(is_only_at(both.ours, both.address));
    pair_close(&both);
}

static void a_link_that_stands_by_is_on_another_way(void)
{
    two_ways made = two_ways_open(1);
    table seen;
    int looks;

    for (looks = 0; looks < SOON_MS / 5; looks++) {
        seen = addresses_of(made.both.ours);
        if (seen.in_use == 2)
            break;
        moment();
    }
    CHECK(seen.in_use == 2);
    must_echo(made.both.ours);
    pair_close(&made.both);
}

static void a_race_takes_the_address_that_answers(void)
{
    clv_node server = node_with(SETTINGS), client = node_with(SETTINGS);
    char address[CLV_ADDRESS_BYTES];
    clv_connect_options options = CLV_CONNECT_OPTIONS_INIT;
    const char *addresses[3] = { "127.0.0.1:1", "127.0.0.3:1", NULL };
    clv_session session;

    MUST(clv_node_listen(server, "127.0.0.1:0", -1, address, sizeof address));
    addresses[2] = address;
    options.addresses = addresses;
    options.addresses_count = 3;
    options.race = 1;
    MUST(clv_connect_with(client, &options, SOON_MS, &session));
    CHECK(strcmp(addresses_of(session).used, address) == 0);
    OK(clv_session_close(session, SOON_MS));
    OK(clv_node_close(client, SOON_MS, NULL));
    OK(clv_node_close(server, SOON_MS, NULL));
}

/* Who takes any node leaves one that drains for another; its old session goes on until it is closed. */
static void a_node_that_drains_sends_its_peers_elsewhere(void)
{
    clv_node leaving = node_with(SETTINGS), staying = node_with(SETTINGS), client = node_with(SETTINGS);
    char first[CLV_ADDRESS_BYTES], second[CLV_ADDRESS_BYTES];
    clv_connect_options options = CLV_CONNECT_OPTIONS_INIT;
    clv_leftovers left = CLV_LEFTOVERS_INIT;
    clv_event event = CLV_EVENT_INIT;
    const char *addresses[2];
    clv_session session, elsewhere;
    int told = 0;

    MUST(clv_node_listen(leaving, "127.0.0.1:0", -1, first, sizeof first));
    MUST(clv_node_listen(staying, "127.0.0.1:0", -1, second, sizeof second));
    MUST(clv_serve(leaving, "echo", NULL, echo, NULL, NULL));
    MUST(clv_serve(staying, "echo", NULL, echo, NULL, NULL));
    addresses[0] = first;
    addresses[1] = second;
    options.addresses = addresses;
    options.addresses_count = 2;
    options.any_node = 1;
    MUST(clv_connect_with(client, &options, SOON_MS, &session));
    must_echo(session);
    OK(clv_node_drain(leaving, SOON_MS, &left));
    CHECK(left.channels == 0 && left.running == 0);
    MUST(clv_accept(client, SOON_MS, &elsewhere));
    must_echo(elsewhere);
    CHECK(strcmp(addresses_of(elsewhere).used, second) == 0);
    while (clv_node_next_event(leaving, 0, &event) == CLV_OK)
        if (event.kind == CLV_EVENT_DRAINING && event.number == 1)
            told = 1;
    CHECK(told);
    /* Its calls are refused, and it ends in good order. */
    OK(clv_session_close(session, SOON_MS));
    OK(clv_session_close(elsewhere, SOON_MS));
    OK(clv_node_close(client, SOON_MS, NULL));
    OK(clv_node_close(staying, SOON_MS, NULL));
    OK(clv_node_close(leaving, SOON_MS, NULL));
}

static void bad_addresses_are_refused(void)
{
    pair both = pair_with(SETTINGS);
    clv_connect_options options = CLV_CONNECT_OPTIONS_INIT;
    const char *many[65], *one = both.address;
    char long_one[400];
    clv_session session;
    int at;

    memset(long_one, 'a', sizeof long_one);
    strcpy(long_one + 300, ":1");
    for (at = 0; at < 65; at++)
        many[at] = "192.0.2.1:7";
    STATUS(clv_node_announce(both.server, many, 65), CLV_E_ARG);
    OK(clv_node_announce(both.server, many, 64));
    many[0] = "192.0.2.1:x";
    STATUS(clv_node_announce(both.server, many, 1), CLV_E_ARG);
    many[0] = "192.0.2.1:0";
    STATUS(clv_node_announce(both.server, many, 1), CLV_E_ARG);
    many[0] = "";
    STATUS(clv_node_announce(both.server, many, 1), CLV_E_ARG);
    many[0] = NULL;
    STATUS(clv_node_announce(both.server, many, 1), CLV_E_ARG);
    many[0] = long_one;
    STATUS(clv_node_announce(both.server, many, 1), CLV_E_ARG);
    STATUS(clv_node_addresses(both.server, NULL, NULL), CLV_E_ARG);
    STATUS(clv_session_addresses(both.ours, NULL, NULL), CLV_E_ARG);
    STATUS(clv_session_roam(both.ours, ""), CLV_E_ARG);
    STATUS(clv_session_roam(both.ours, long_one), CLV_E_ARG);
    STATUS(clv_session_goto(both.theirs, "no:where"), CLV_E_ARG);
    STATUS(clv_session_goto(both.theirs, long_one), CLV_E_ARG);
    options.addresses = &one;
    options.addresses_count = 1;
    options.standby_links = 5;
    STATUS(clv_connect_with(both.client, &options, 0, &session), CLV_E_ARG);
    options.standby_links = -1;
    STATUS(clv_connect_with(both.client, &options, 0, &session), CLV_E_ARG);
    pair_close(&both);
}

int main(void)
{
    check_begin();
    RUN(a_peer_announces_where_it_listens);
    RUN(a_program_moves_its_session);
    RUN(a_server_sends_its_client_to_another_address);
    RUN(who_finds_nobody_stays_where_it_is);
    RUN(a_link_that_stands_by_is_on_another_way);
    RUN(a_race_takes_the_address_that_answers);
    RUN(a_node_that_drains_sends_its_peers_elsewhere);
    RUN(bad_addresses_are_refused);
    return check_end();
}
