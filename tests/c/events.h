/* Events of a node, waited for by poll() alone. */
#ifndef EVENTS_H
#define EVENTS_H

#include "check.h"
#include <poll.h>

/* The next event of the node; 0 when none comes. */
static inline int next(clv_node node, clv_event *event)
{
    clv_event empty = CLV_EVENT_INIT;
    int64_t until = now_ms() + SOON_MS;
    struct pollfd wait = { 0, POLLIN, 0 };

    *event = empty;
    OK(clv_node_fd(node, &wait.fd));
    while (now_ms() < until) {
        clv_status status = clv_node_next_event(node, 0, event);

        if (status == CLV_E_AGAIN) {
            poll(&wait, 1, 100);
            continue;
        }
        OK(status);
        clv_buffer_free(event->data);
        return status == CLV_OK;
    }
    return 0;
}

/* Takes events until one of this kind and token; 0 when none comes. */
static inline int comes(clv_node node, clv_event_kind kind, uint64_t token)
{
    clv_event event = CLV_EVENT_INIT;

    while (next(node, &event))
        if (event.kind == kind && event.token == token)
            return 1;
    check_failed(__FILE__, __LINE__, "an event that does not come");
    return 0;
}

#endif
