/* Sessions that do nothing, for their memory: each with a node of its own, for a session belongs to a pair of nodes. */
#define _POSIX_C_SOURCE 200809L
#include "session.h"

#include <stdlib.h>
#include <string.h>

/* Lets every node do what there is to do. */
static void drive(const clv_node *nodes, int count)
{
    for (int turn = 0; turn < 3; turn++)
        for (int at = 0; at < count; at++)
            must(clv_node_run_once(nodes[at], 0), "run_once");
}

/* The director wishes caller-driven nodes, which have no threads, with beats so seldom that none is due meanwhile. */
void session_idle(char **arguments)
{
    int made = 0, count = atoi(arguments[1]), wanted = WARM_SESSIONS;
    clv_node *nodes = must_have(calloc((size_t)(count + WARM_SESSIONS), sizeof *nodes));
    clv_session session;
    const char *line;
    do {
        for (; made < wanted; made++) {
            nodes[made] = open_node("idle", arguments + 2);
            must(clv_connect(nodes[made], arguments[0], WAIT_MS, &session), "connect");
            call_once(session, "inline");
            tell_progress(made);
        }
        drive(nodes, made);
        printf("ready %d\n", made);
        fflush(stdout);
        while ((line = next_line()) != NULL && strcmp(line, "stat") == 0)
            tell_stat();
        wanted = WARM_SESSIONS + count;
    } while (line);
    exit(0);
}
