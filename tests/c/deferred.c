/* Replies that come later than their handler returns. */
#include "events.h"
#include "refusals.h"

enum { REQUEST_TOKEN = 22, CALLS = 300, PART_BYTES = 100000 };

/* Requests whose handler has returned, in the order of their arrival. */
typedef struct inbox {
    counter arrived;
    clv_request requests[CALLS];
} inbox;

static inbox left_for_later;

static clv_status defers(void *user, clv_request request)
{
    inbox *in = (inbox *)user;

    OK(clv_request_defer(request));
    STATUS(clv_request_defer(request), CLV_E_STATE);
    /* Only this worker writes there. */
    in->requests[counter_get(&in->arrived)] = request;
    counter_add(&in->arrived);
    return CLV_OK;
}

static void serve_later(clv_node node)
{
    counter zero = COUNTER_INIT;

    left_for_later.arrived = zero;
    MUST(clv_serve(node, "later", NULL, defers, &left_for_later, NULL));
}

/* The request that came for this call. */
static clv_request deferred_request(void)
{
    CHECK(counter_reaches(&left_for_later.arrived, 1));
    return left_for_later.requests[0];
}

/* The last one first, and some fail. */
static void *finishes_all(void *user)
{
    inbox *in = (inbox *)user;
    int at, number;

    CHECK(counter_reaches(&in->arrived, CALLS));
    for (at = CALLS - 1; at >= 0; at--) {
        clv_request request = in->requests[at];
        const void *data;
        size_t size;

        MUST(clv_request_data(request, &data, &size));
        MUST_BE(size == sizeof number);
        memcpy(&number, data, size);
        OK(clv_reply(request, data, size));
        if (number % 10 < 2)
            OK(clv_reply_error(request, "no tens and ones"));
        OK(clv_request_finish(request, number % 10 == 0 ? CLV_E_BUG : number % 10 == 1 ? CLV_E_NOT_RUN : CLV_OK));
        STATUS(clv_request_finish(request, CLV_OK), CLV_E_HANDLE);
    }
    return NULL;
}

static void check_answer(clv_pending_call call, int number)
{
    clv_outcome outcome = 0;
    clv_buffer *reply = NULL;
    clv_status status = clv_call_receive(call, SOON_MS, &reply);

    if (number % 10 < 2) {
        STATUS(status, number % 10 == 0 ? CLV_E_CALL_FAILED : CLV_E_NOT_RUN);
        CHECK(strstr(clv_last_error(), "no tens and ones") != NULL);
        OK(clv_call_outcome(call, &outcome));
        CHECK(outcome == (number % 10 == 0 ? CLV_OUTCOME_REPLY : CLV_OUTCOME_NOT_RUN));
    } else {
        OK(status);
        CHECK(clv_buffer_size(reply) == sizeof number && memcmp(clv_buffer_data(reply), &number, sizeof number) == 0);
        clv_buffer_free(reply);
        STATUS(clv_call_receive(call, SOON_MS, &reply), CLV_E_END);
        OK(clv_call_outcome(call, &outcome));
        CHECK(outcome == CLV_OUTCOME_REPLY);
    }
    OK(clv_call_close(call));
}

static void many_answers_come_later_from_another_thread(void)
{
    static const char *const settings[] = { "workers", "1", NULL };
    pair both = pair_with(settings);
    clv_leftovers left = CLV_LEFTOVERS_INIT;
    clv_pending_call calls[CALLS];
    pthread_t thread;
    int number;

    serve_later(both.server);
    for (number = 0; number < CALLS; number++)
        MUST(clv_call_start(both.ours, "later", &number, sizeof number, SOON_MS, &calls[number]));
    /* All of them wait at the same time, and the one worker is free. */
    CHECK(counter_reaches(&left_for_later.arrived, CALLS));
    MUST_BE(pthread_create(&thread, NULL, finishes_all, &left_for_later) == 0);
    for (number = 0; number < CALLS; number++)
        check_answer(calls[number], number);
    pthread_join(thread, NULL);
    OK(clv_node_drain(both.server, SOON_MS, &left));
    CHECK(left.running == 0);
    pair_close(&both);
}

static void parts_of_a_deferred_reply_wait_for_their_event(void)
{
    pair both = pair_open();
    char *part = (char *)calloc(1, PART_BYTES);
    clv_pending_call call;
    clv_request request;
    clv_buffer *got;
    clv_status status;
    int sent = 0;

    MUST_BE(part != NULL);
    serve_later(both.server);
    MUST(clv_call_start(both.ours, "later", NULL, 0, SOON_MS, &call));
    request = deferred_request();
    OK(clv_request_watch(request, REQUEST_TOKEN));
    while ((status = clv_reply_part(request, part, PART_BYTES)) == CLV_OK)
        sent++;
    STATUS(status, CLV_E_AGAIN);
    CHECK(sent > 0);
    for (; sent > 0; sent--) {
        MUST(clv_call_receive(call, SOON_MS, &got));
        CHECK(clv_buffer_size(got) == PART_BYTES);
        clv_buffer_free(got);
    }
    while ((status = clv_reply_part(request, "end", 3)) == CLV_E_AGAIN)
        MUST_BE(comes(both.server, CLV_EVENT_WRITABLE, REQUEST_TOKEN));
    OK(status);
    OK(clv_request_finish(request, CLV_OK));
    MUST(clv_call_receive(call, SOON_MS, &got));
    CHECK(clv_buffer_size(got) == 3);
    clv_buffer_free(got);
    while ((status = clv_call_receive(call, SOON_MS, &got)) == CLV_OK)
        clv_buffer_free(got);
    STATUS(status, CLV_E_END);
    OK(clv_call_close(call));
    free(part);
    pair_close(&both);
}

static void a_deferred_request_hears_that_its_caller_gave_up(void)
{
    pair both = pair_open();
    clv_request_info info = CLV_REQUEST_INFO_INIT;
    clv_session session;
    clv_pending_call call;
    clv_request request;

    serve_later(both.server);
    MUST(clv_call_start(both.ours, "later", "x", 1, -1, &call));
    request = deferred_request();
    OK(clv_request_watch(request, REQUEST_TOKEN));
    OK(clv_request_session(request, &session));
    OK(clv_request_get_info(request, &info));
    CHECK(info.is_cancelled == 0 && info.remaining_ms == -1);
    OK(clv_call_cancel(call));
    for (;;) {
        OK(clv_request_get_info(request, &info));
        if (info.is_cancelled != 0 || !comes(both.server, CLV_EVENT_READABLE, REQUEST_TOKEN))
            break;
    }
    CHECK(info.is_cancelled != 0);
    STATUS(clv_reply_part(request, "unheard", 7), CLV_E_STOPPED);
    OK(clv_request_finish(request, CLV_OK));
    refuse_request(request, CLV_E_HANDLE);
    refuse_session(session, CLV_E_HANDLE);
    OK(clv_call_close(call));
    pair_close(&both);
}

static void a_drain_that_only_looked_is_told_of_the_last_reply(void)
{
    pair both = pair_open();
    clv_leftovers left = CLV_LEFTOVERS_INIT;
    clv_event event = CLV_EVENT_INIT;
    clv_pending_call call;
    clv_buffer *reply;

    serve_later(both.server);
    MUST(clv_call_start(both.ours, "later", NULL, 0, SOON_MS, &call));
    (void)deferred_request();
    OK(clv_node_drain(both.server, 0, &left));
    CHECK(left.running == 1 && strstr(left.text, "later") != NULL);
    while (next(both.server, &event))
        if (event.kind == CLV_EVENT_DRAINING)
            break;
    CHECK(event.kind == CLV_EVENT_DRAINING && strstr(event.text, "later") != NULL);
    OK(clv_request_finish(deferred_request(), CLV_OK));
    while (next(both.server, &event))
        if (event.kind == CLV_EVENT_DRAINING && event.bytes == 0 && event.text[0] == 0)
            break;
    CHECK(event.kind == CLV_EVENT_DRAINING);
    OK(clv_node_drain(both.server, 0, &left));
    CHECK(left.running == 0 && left.bytes == 0);
    MUST(clv_call_receive(call, SOON_MS, &reply));
    CHECK(clv_buffer_size(reply) == 0);
    clv_buffer_free(reply);
    OK(clv_call_close(call));
    pair_close(&both);
}

static clv_request first_request;

static clv_status changes_its_mind(void *user, clv_request request)
{
    (void)user;
    first_request = request;
    OK(clv_request_defer(request));
    OK(clv_reply_error(request, "on second thoughts"));
    return CLV_E_DENIED;
}

static clv_status finishes_at_once(void *user, clv_request request)
{
    OK(clv_request_defer(request));
    OK(clv_reply(request, "at once", 7));
    OK(clv_request_finish(request, CLV_OK));
    refuse_request(request, CLV_E_HANDLE);
    return *(clv_status *)user;
}

static clv_status does_not_defer(void *user, clv_request request)
{
    (void)user;
    STATUS(clv_request_finish(request, CLV_OK), CLV_E_STATE);
    STATUS(clv_request_watch(request, REQUEST_TOKEN), CLV_E_STATE);
    return clv_reply(request, "not deferred", 12);
}

static void what_the_handler_does_after_it_deferred_counts_once(void)
{
    static clv_status answers[] = { CLV_OK, CLV_E_DENIED };
    static const char *const names[] = { "at once", "and fails" };
    pair both = pair_open();
    clv_service_options options = CLV_SERVICE_OPTIONS_INIT;
    clv_buffer *reply;
    int at;

    MUST(clv_serve(both.server, "mind", NULL, changes_its_mind, NULL, NULL));
    STATUS(clv_call(both.ours, "mind", NULL, 0, SOON_MS, &reply), CLV_E_DENIED);
    CHECK(strstr(clv_last_error(), "on second thoughts") != NULL);
    OK(clv_unserve(both.server, "mind"));

    /* The first answer counts. On the thread of the node, too. */
    for (at = 0; at < 2; at++) {
        options.run_inline = at;
        MUST(clv_serve(both.server, names[at], &options, finishes_at_once, &answers[at], NULL));
        MUST(clv_call(both.ours, names[at], NULL, 0, SOON_MS, &reply));
        CHECK(clv_buffer_size(reply) == 7 && memcmp(clv_buffer_data(reply), "at once", 7) == 0);
        clv_buffer_free(reply);
    }

    MUST(clv_serve(both.server, "plain", NULL, does_not_defer, NULL, NULL));
    MUST(clv_call(both.ours, "plain", NULL, 0, SOON_MS, &reply));
    CHECK(clv_buffer_size(reply) == 12);
    clv_buffer_free(reply);
    OK(clv_node_drain(both.server, SOON_MS, NULL));
    refuse_request(first_request, CLV_E_HANDLE);
    pair_close(&both);
}

static void a_close_names_the_service_that_never_answered(void)
{
    pair both = pair_open();
    clv_leftovers left = CLV_LEFTOVERS_INIT;
    clv_pending_call call;
    clv_request request;
    clv_buffer *part;

    serve_later(both.server);
    MUST(clv_call_start(both.ours, "later", NULL, 0, -1, &call));
    request = deferred_request();
    OK(clv_node_drain(both.server, 0, &left));
    CHECK(left.running == 1 && strstr(left.text, "later") != NULL);
    OK(clv_node_close(both.server, 200, &left));
    CHECK(left.running == 1 && strstr(left.text, "later") != NULL);
    STATUS(clv_reply_part(request, "x", 1), CLV_E_CLOSED);
    STATUS(clv_request_watch(request, REQUEST_TOKEN), CLV_E_CLOSED);
    OK(clv_request_finish(request, CLV_OK));
    refuse_request(request, CLV_E_HANDLE);
    CHECK(clv_call_receive(call, SOON_MS, &part) != CLV_OK);
    OK(clv_call_close(call));
    clv_session_close(both.theirs, 0);
    clv_session_close(both.ours, 0);
    OK(clv_node_close(both.client, SOON_MS, NULL));
}

int main(void)
{
    check_begin();
    RUN(many_answers_come_later_from_another_thread);
    RUN(parts_of_a_deferred_reply_wait_for_their_event);
    RUN(a_deferred_request_hears_that_its_caller_gave_up);
    RUN(a_drain_that_only_looked_is_told_of_the_last_reply);
    RUN(what_the_handler_does_after_it_deferred_counts_once);
    RUN(a_close_names_the_service_that_never_answered);
    return check_end();
}
