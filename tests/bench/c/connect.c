/* From no node to the first reply, again and again. Closing is not timed: it waits for the peer, and users do not. */
#define _POSIX_C_SOURCE 200809L
#include "session.h"

void connect_for(const char *address, uint64_t ms, char **wishes)
{
    static struct times times;
    uint64_t until = now_ns() + ms * 1000000;
    do {
        uint64_t begin = now_ns();
        clv_node node = open_node("visitor", wishes);
        clv_session session;
        must(clv_connect(node, address, WAIT_MS, &session), "connect");
        call_once(session, "inline");
        add_time(&times, now_ns() - begin);
        must(clv_session_close(session, 1000), "close");
        must(clv_node_close(node, 1000, NULL), "close");
    } while (now_ns() < until);
    tell_times(&times);
}
