/*
 * The programs of the bench, chosen by the first argument; the director (../src) starts some of them and tells them
 * line by line what to measure. A figure stands in the file of its noun; here is only who is who.
 *
 *     bench PROGRAM CPU ADDRESS [COUNT] [WISH..]
 *
 *     raw-serve, session-serve        answer calls, take streams
 *     raw-client, session-client      measure calls, streams and connecting on one connection or session
 *     raw-many-serve, many-serve      keep many connections or sessions
 *     raw-idle, session-idle          COUNT of them that do nothing
 *     raw-storm                       COUNT of them, made by many threads and made again
 *     many-client                     as many of them as it is told, made and watched by many threads
 *     host-id                         says the id of its host directory's key
 *     spin                            keeps the CPU awake
 *
 * CPU is the number of one that may be used, or -1. A server says `ready ADDRESS`; its ADDRESS may have port 0, and
 * be several with commas. A WISH is an option of the node, `name=value`, or `?name=value` for one that this library may
 * not have: then `ready` is followed by `missing` and the names. Each program ends with its input.
 */
#include "common.h"

#include "raw.h"
#include "session.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>

struct program {
    const char *name;
    int arguments;
    void (*run)(char **arguments);
};

static void run_spin(char **arguments)
{
    (void)arguments;
    spin();
}

static const struct program PROGRAMS[] = {
    { "raw-serve", 1, raw_serve },
    { "raw-client", 1, raw_client },
    { "raw-many-serve", 1, raw_many_serve },
    { "raw-idle", 2, raw_idle },
    { "raw-storm", 2, raw_storm },
    { "session-serve", 1, session_serve },
    { "session-client", 1, session_client },
    { "session-idle", 2, session_idle },
    { "many-serve", 1, many_serve },
    { "many-client", 1, many_client },
    { "host-id", 0, host_id },
    { "spin", 0, run_spin },
};

int main(int argc, char **argv)
{
    signal(SIGPIPE, SIG_IGN);
    /* A director that is killed leaves nothing behind. */
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    raise_descriptors();
    for (size_t at = 0; argc > 2 && at < sizeof PROGRAMS / sizeof *PROGRAMS; at++) {
        if (strcmp(argv[1], PROGRAMS[at].name) == 0 && argc >= 3 + PROGRAMS[at].arguments) {
            pin(atoi(argv[2]));
            PROGRAMS[at].run(argv + 3);
            return 0;
        }
    }
    die("which program? see the top of bench.c");
    return 1;
}
