/* The yardstick with many connections: kept idle for their memory, or made by many threads for their handshakes. */
#define _POSIX_C_SOURCE 200809L
#include "raw.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/socket.h>

/* Handshakes that run at once, at either end, are at most so many; the sessions' client has as many threads. */
enum { STORM_THREADS = 64, ACCEPT_THREADS = 8 };

struct listener {
    int socket;
    SSL_CTX *context;
};

/* A handshake and the first frame, which is sent back if it asks for that; then the connection is only kept. */
static void *keep_all(void *user)
{
    struct listener *listener = user;
    for (;;) {
        int socket = accept(listener->socket, NULL, NULL);
        unsigned char frame[HEAD_BYTES + CALL_BYTES];
        SSL *ssl;
        if (socket < 0)
            die("accept");
        ssl = start_tls(listener->context, socket, 1);
        if (read_frame(ssl, frame) == CALL_BYTES && frame[0] == 'c')
            write_frame(ssl, frame, CALL_BYTES);
    }
    return NULL;
}

void raw_many_serve(char **arguments)
{
    struct listener listener;
    const char *line;
    listener.context = make_context(1, 0);
    listener.socket = listen_at(arguments[0]);
    for (int at = 0; at < ACCEPT_THREADS; at++) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, keep_all, &listener) != 0)
            die("thread");
    }
    while ((line = next_line()) != NULL)
        tell_stat();
    exit(0);
}

void raw_idle(char **arguments)
{
    SSL_CTX *context = make_context(0, 0);
    const char *line;
    int made = 0, count = atoi(arguments[1]), wanted = WARM_SESSIONS;
    do {
        for (; made < wanted; made++) {
            unsigned char frame[HEAD_BYTES + CALL_BYTES] = { 0 };
            echo_once(dial(context, arguments[0]), frame);
            tell_progress(made);
        }
        printf("ready %d\n", made);
        fflush(stdout);
        while ((line = next_line()) != NULL && line[0] == 's')
            tell_stat();
        wanted = WARM_SESSIONS + count;
    } while (line);
}

struct storm {
    const char *address;
    SSL_CTX *context;
    SSL **connections;
    int count;
    int next;
};

/* Takes the next connection, lets go what it was, and makes it. */
static void *make_some(void *user)
{
    struct storm *storm = user;
    for (;;) {
        unsigned char frame[HEAD_BYTES + CALL_BYTES] = { 0 };
        int at = __atomic_fetch_add(&storm->next, 1, __ATOMIC_RELAXED);
        if (at >= storm->count)
            return NULL;
        if (storm->connections[at])
            hang_up(storm->connections[at]);
        storm->connections[at] = dial(storm->context, storm->address);
        /* Without an answer, for it is the handshake that is measured. */
        put_head(frame, 'm', 0);
        write_frame(storm->connections[at], frame, 0);
        tell_progress(at);
    }
}

/* On each line all connections are made, which are made again when there are some already. */
void raw_storm(char **arguments)
{
    struct storm storm;
    storm.address = arguments[0];
    storm.context = make_context(0, 0);
    storm.count = atoi(arguments[1]);
    storm.connections = must_have(calloc((size_t)storm.count + 1, sizeof(SSL *)));
    say("ready");
    while (next_line()) {
        pthread_t threads[STORM_THREADS];
        uint64_t begin = now_ns();
        storm.next = 0;
        for (int at = 0; at < STORM_THREADS; at++)
            if (pthread_create(&threads[at], NULL, make_some, &storm) != 0)
                die("thread");
        for (int at = 0; at < STORM_THREADS; at++)
            pthread_join(threads[at], NULL);
        tell_rate((uint64_t)storm.count, now_ns() - begin);
    }
    exit(0);
}
