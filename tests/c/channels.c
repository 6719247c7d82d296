/* Channels of messages and of bytes: sizes, names, ends, resets, stops, and who is woken by a close. */
#include "refusals.h"

#define MESSAGE_BYTES_MAX 65536
#define NOT_UTF8 "\xc3\x28"

static const char *const SMALL[] = { "message_bytes_max", "65536", "session_budget_bytes", "131072", "channels_max", "8",
                                     NULL };

static void fill(char *bytes, size_t size)
{
    size_t at;

    for (at = 0; at < size; at++)
        bytes[at] = (char)(at * 7 + at / 251);
}

static void names_have_at_most_255_bytes(void)
{
    pair both = pair_open();
    clv_channel near, far;
    clv_channel refused;
    char name[257];
    char read[256];

    memset(name, 'n', sizeof name);
    name[256] = 0;
    STAMPED(refused);
    STATUS(clv_channel_open(both.ours, name, NULL, SOON_MS, &refused), CLV_E_ARG);
    STATUS(clv_channel_open(both.ours, NOT_UTF8, NULL, SOON_MS, &refused), CLV_E_ENCODING);
    UNTOUCHED(refused);
    STATUS(clv_serve(both.server, name, NULL, never_called, NULL, NULL), CLV_E_ARG);
    name[255] = 0;
    OK(clv_serve(both.server, name, NULL, never_called, NULL, NULL));
    STATUS(clv_serve(both.server, name, NULL, never_called, NULL, NULL), CLV_E_IN_USE);
    OK(clv_unserve(both.server, name));
    STATUS(clv_unserve(both.server, name), CLV_E_NO_SERVICE);
    MUST(clv_channel_open(both.ours, name, NULL, SOON_MS, &near));
    OK(clv_channel_send(near, NULL, 0, SOON_MS));
    MUST(clv_channel_accept(both.theirs, SOON_MS, &far));
    memset(read, STAMP, sizeof read);
    STATUS(clv_channel_name(far, read, 255), CLV_E_SIZE);
    UNTOUCHED(read);
    OK(clv_channel_name(far, read, 256));
    CHECK(strcmp(read, name) == 0);
    OK(clv_channel_close(near));
    OK(clv_channel_close(far));
    /* The empty name is one, too. */
    OK(clv_channel_open(both.ours, "", NULL, SOON_MS, &near));
    OK(clv_channel_close(near));
    pair_close(&both);
}

static void a_message_has_at_most_message_bytes_max(void)
{
    pair both = pair_with(SMALL);
    clv_channel near, far;
    char *sent = (char *)malloc(MESSAGE_BYTES_MAX + 1);
    clv_buffer *message;
    size_t taken;

    fill(sent, MESSAGE_BYTES_MAX + 1);
    channel_pair(&both, 0, &near, &far);
    STAMPED(taken);
    STATUS(clv_channel_send(near, sent, MESSAGE_BYTES_MAX + 1, SOON_MS), CLV_E_SIZE);
    STATUS(clv_channel_try_send(near, sent, MESSAGE_BYTES_MAX + 1, &taken), CLV_E_SIZE);
    UNTOUCHED(taken);
    OK(clv_channel_send(near, sent, MESSAGE_BYTES_MAX, SOON_MS));
    OK(clv_channel_send(near, NULL, 0, SOON_MS));
    MUST(clv_channel_recv_buffer(far, SOON_MS, &message));
    CHECK(clv_buffer_size(message) == MESSAGE_BYTES_MAX);
    CHECK(memcmp(clv_buffer_data(message), sent, MESSAGE_BYTES_MAX) == 0);
    clv_buffer_free(message);
    /* An empty message is a message. */
    MUST(clv_channel_recv_buffer(far, SOON_MS, &message));
    CHECK(clv_buffer_size(message) == 0);
    clv_buffer_free(message);
    STATUS(clv_channel_recv_buffer(far, 0, &message), CLV_E_AGAIN);
    OK(clv_channel_close(near));
    OK(clv_channel_close(far));
    pair_close(&both);
    free(sent);
}

static void a_message_that_does_not_fit_stays_and_says_its_size(void)
{
    pair both = pair_open();
    clv_channel near, far;
    clv_buffer *message;
    size_t received;
    char room[16];
    int round;

    channel_pair(&both, 0, &near, &far);
    OK(clv_channel_send(near, "sixteen bytes ..", 16, SOON_MS));
    OK(clv_channel_send(near, "next", 4, SOON_MS));
    for (round = 0; round < 3; round++) {
        STAMPED(room);
        STATUS(clv_channel_recv(far, room, 15, SOON_MS, &received), CLV_E_SIZE);
        CHECK(received == 16);
        UNTOUCHED(room);
    }
    /* Without room it is a question for the size. */
    STATUS(clv_channel_recv(far, NULL, 0, 0, &received), CLV_E_SIZE);
    CHECK(received == 16);
    OK(clv_channel_recv(far, room, 16, 0, &received));
    CHECK(received == 16 && memcmp(room, "sixteen bytes ..", 16) == 0);
    STATUS(clv_channel_recv(far, room, 1, SOON_MS, &received), CLV_E_SIZE);
    OK(clv_channel_recv_buffer(far, 0, &message));
    CHECK(clv_buffer_size(message) == 4);
    clv_buffer_free(message);
    STAMPED(received);
    STATUS(clv_channel_recv(far, room, 16, 0, &received), CLV_E_AGAIN);
    STATUS(clv_channel_recv(far, room, 16, 1, &received), CLV_E_TIMEOUT);
    UNTOUCHED(received);
    OK(clv_channel_close(near));
    OK(clv_channel_close(far));
    pair_close(&both);
}

/* A message that was too long for the room, and then the end: it is still there. */
static void a_message_that_did_not_fit_survives_the_end_of_the_session(void)
{
    pair both = pair_open();
    clv_channel near, far;
    size_t received;
    char room[16];

    channel_pair(&both, 0, &near, &far);
    OK(clv_channel_send(near, "sixteen bytes ..", 16, SOON_MS));
    OK(clv_channel_end(near));
    STATUS(clv_channel_recv(far, room, 4, SOON_MS, &received), CLV_E_SIZE);
    OK(clv_channel_close(near));
    OK(clv_session_close(both.ours, SOON_MS));
    OK(clv_session_wait_state(both.theirs, 1u << CLV_STATE_CLOSED, SOON_MS, NULL));
    OK(clv_channel_recv(far, room, 16, SOON_MS, &received));
    CHECK(received == 16);
    STATUS(clv_channel_recv(far, room, 16, SOON_MS, &received), CLV_E_END);
    OK(clv_channel_close(far));
    clv_session_close(both.theirs, SOON_MS);
    OK(clv_node_close(both.client, SOON_MS, NULL));
    OK(clv_node_close(both.server, SOON_MS, NULL));
}

static void each_direction_of_messages_ends_by_itself(void)
{
    pair both = pair_open();
    clv_channel near, far;
    clv_channel_report report = CLV_CHANNEL_REPORT_INIT;
    size_t received;
    int32_t is_bytes = 7;
    char room[16];

    channel_pair(&both, 0, &near, &far);
    OK(clv_channel_is_bytes(far, &is_bytes));
    CHECK(is_bytes == 0);
    OK(clv_channel_send(near, "last", 4, SOON_MS));
    OK(clv_channel_end(near));
    STATUS(clv_channel_send(near, "more", 4, SOON_MS), CLV_E_CLOSED);
    OK(clv_channel_recv(far, room, sizeof room, SOON_MS, &received));
    STATUS(clv_channel_recv(far, room, sizeof room, SOON_MS, &received), CLV_E_END);
    STATUS(clv_channel_recv(far, room, sizeof room, 0, &received), CLV_E_END);
    OK(clv_channel_send(far, "answer", 6, SOON_MS));
    OK(clv_channel_recv(near, room, sizeof room, SOON_MS, &received));
    CHECK(received == 6);
    OK(clv_session_drain(both.ours, SOON_MS));
    OK(clv_channel_get_report(near, &report));
    CHECK(report.written == report.sent && report.sent == report.held && report.written >= 5);
    CHECK(report.received == report.taken && report.taken >= 6);
    OK(clv_channel_close(far));
    OK(clv_channel_close(near));
    pair_close(&both);
}

static void bytes_come_in_any_portions_and_end_by_themselves(void)
{
    pair both = pair_open();
    clv_channel near, far;
    char sent[10000];
    char got[10000];
    size_t total = 0, received;
    int32_t is_bytes = 7;

    fill(sent, sizeof sent);
    channel_pair(&both, 1, &near, &far);
    OK(clv_channel_is_bytes(far, &is_bytes));
    CHECK(is_bytes == 1);
    OK(clv_channel_send(near, sent, sizeof sent, SOON_MS));
    OK(clv_channel_send(near, NULL, 0, SOON_MS));
    OK(clv_channel_end(near));
    while (total < sizeof sent) {
        size_t room = total % 977 + 1;

        room = room < sizeof got - total ? room : sizeof got - total;
        MUST(clv_channel_recv(far, got + total, room, SOON_MS, &received));
        MUST_BE(received >= 1 && received <= room);
        total += received;
    }
    CHECK(memcmp(sent, got, sizeof sent) == 0);
    STATUS(clv_channel_recv(far, got, sizeof got, SOON_MS, &received), CLV_E_END);
    OK(clv_channel_send(far, "b", 1, SOON_MS));
    OK(clv_channel_recv(near, got, sizeof got, SOON_MS, &received));
    CHECK(received == 1 && got[0] == 'b');
    OK(clv_channel_close(near));
    OK(clv_channel_close(far));
    pair_close(&both);
}

static void a_reset_is_not_an_end_and_a_stop_stops(void)
{
    pair both = pair_open();
    clv_channel near, far;
    size_t received;
    char room[16];
    int64_t until;
    clv_status status = CLV_OK;

    channel_pair(&both, 0, &near, &far);
    OK(clv_channel_reset(near, "half of it is missing"));
    STATUS(clv_channel_recv(far, room, sizeof room, SOON_MS, &received), CLV_E_RESET);
    CHECK(strstr(clv_last_error(), "half of it is missing") != NULL);
    /* The other direction goes on. */
    OK(clv_channel_send(far, "answer", 6, SOON_MS));
    OK(clv_channel_recv(near, room, sizeof room, SOON_MS, &received));
    OK(clv_channel_stop(near));
    for (until = now_ms() + SOON_MS; status == CLV_OK && now_ms() < until; moment())
        status = clv_channel_send(far, "unheard", 7, SOON_MS);
    STATUS(status, CLV_E_STOPPED);
    OK(clv_channel_close(near));
    OK(clv_channel_close(far));
    pair_close(&both);
}

/* With a full window a wait ends, try_send answers AGAIN, and nothing is dropped. */
static void a_full_window_makes_the_sender_wait(void)
{
    pair both = pair_with(SMALL);
    clv_channel near, far;
    char message[1000];
    int sent = 0, got, room_left = 1;
    size_t received;

    channel_pair(&both, 0, &near, &far);
    while (room_left) {
        clv_status status = clv_channel_send(near, message, sizeof message, 50);

        if (status != CLV_OK) {
            STATUS(status, CLV_E_TIMEOUT);
            /* On a slow machine room may come after the wait. */
            status = clv_channel_try_send(near, message, sizeof message, NULL);
        }
        if (status != CLV_OK)
            STATUS(status, CLV_E_AGAIN);
        room_left = status == CLV_OK;
        sent += status == CLV_OK;
    }
    CHECK(sent >= 3 && sent < 1000);
    STATUS(clv_session_drain(both.ours, 0), CLV_E_TIMEOUT);
    for (got = 0; got < sent; got++)
        MUST(clv_channel_recv(far, message, sizeof message, SOON_MS, &received));
    STATUS(clv_channel_recv(far, message, sizeof message, 0, &received), CLV_E_AGAIN);
    OK(clv_channel_send(near, "on", 2, SOON_MS));
    OK(clv_channel_recv(far, message, sizeof message, SOON_MS, &received));
    CHECK(received == 2);
    OK(clv_channel_close(near));
    OK(clv_channel_close(far));
    pair_close(&both);
}

/* Of bytes a part may be taken, and exactly that part arrives. */
static void try_send_says_how_many_bytes_it_took(void)
{
    pair both = pair_with(SMALL);
    clv_channel near, far;
    char piece[100000];
    size_t sent = 0, got = 0, taken, received;
    clv_status status;

    fill(piece, sizeof piece);
    channel_pair(&both, 1, &near, &far);
    while (sent < sizeof piece && (status = clv_channel_try_send(near, piece + sent, sizeof piece - sent, &taken)) == CLV_OK) {
        MUST_BE(taken >= 1 && taken <= sizeof piece - sent);
        sent += taken;
    }
    CHECK(sent >= 1);
    OK(clv_channel_end(near));
    do {
        char room[5000];

        status = clv_channel_recv(far, room, sizeof room, SOON_MS, &received);
        if (status == CLV_OK) {
            CHECK(memcmp(room, piece + got, received) == 0);
            got += received;
        }
    } while (status == CLV_OK);
    STATUS(status, CLV_E_END);
    CHECK(got == sent);
    OK(clv_channel_close(near));
    OK(clv_channel_close(far));
    pair_close(&both);
}

static void more_channels_than_channels_max_are_refused(void)
{
    pair both = pair_with(SMALL);
    clv_channel open[16];
    clv_channel last;
    clv_pending_call call;
    clv_status status = CLV_OK;
    int count = 0, at, fd;

    while (count < 16 && (status = clv_channel_open(both.ours, "many", NULL, 0, &open[count])) == CLV_OK)
        count++;
    STATUS(status, CLV_E_CHANNELS);
    CHECK(count >= 4 && count <= 8);
    STAMPED(last);
    STATUS(clv_channel_open(both.ours, "many", NULL, 20, &last), CLV_E_TIMEOUT);
    STATUS(clv_call_start(both.ours, "nobody", NULL, 0, -1, &call), CLV_E_CHANNELS);
    STATUS(clv_dial_fd(both.ours, "many", 0, &fd), CLV_E_CHANNELS);
    UNTOUCHED(last);
    OK(clv_channel_send(open[0], "x", 1, SOON_MS));
    for (at = 0; at < count; at++)
        OK(clv_channel_close(open[at]));
    OK(clv_channel_accept(both.theirs, SOON_MS, &last));
    OK(clv_channel_close(last));
    OK(clv_channel_open(both.ours, "again", NULL, SOON_MS, &last));
    OK(clv_channel_close(last));
    pair_close(&both);
}

int main(void)
{
    check_begin();
    RUN(names_have_at_most_255_bytes);
    RUN(a_message_has_at_most_message_bytes_max);
    RUN(a_message_that_does_not_fit_stays_and_says_its_size);
    RUN(a_message_that_did_not_fit_survives_the_end_of_the_session);
    RUN(each_direction_of_messages_ends_by_itself);
    RUN(bytes_come_in_any_portions_and_end_by_themselves);
    RUN(a_reset_is_not_an_end_and_a_stop_stops);
    RUN(a_full_window_makes_the_sender_wait);
    RUN(try_send_says_how_many_bytes_it_took);
    RUN(more_channels_than_channels_max_are_refused);
    return check_end();
}
