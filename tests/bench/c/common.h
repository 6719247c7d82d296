/* What both kinds of programs of the bench need: time, CPUs, memory, talk with the director. */
#ifndef COMMON_H
#define COMMON_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum { MESSAGE_BYTES_MAX = 65536, WARM_SESSIONS = 20 };

/* Ends the program with what failed. */
void die(const char *what);

/* Nanoseconds of the monotonic clock. */
uint64_t now_ns(void);

/* Binds this process, and all threads that it starts from now on, to the nth CPU that it may use; -1 leaves it free. */
void pin(int nth);

/* Keeps a CPU from sleeping, at the lowest priority, until the parent is gone. */
void spin(void);

/* Raises the limit of descriptors as far as it goes. */
void raise_descriptors(void);

/* Answers `stat`: resident bytes, CPU time and voluntary switches of this process. */
void tell_stat(void);

/* Times of single calls, for percentiles. */
struct times {
    uint64_t *ns;
    size_t count;
    size_t room;
};

void add_time(struct times *times, uint64_t ns);

/* Answers `call`: percentiles and number, and forgets the times. */
void tell_times(struct times *times);

/* Answers a one-way measurement: how many messages, in which time. */
void tell_stream(uint64_t count, uint64_t ns);

/* The next line of the director, without its end; NULL when it is gone. */
const char *next_line(void);

/* Says now and then that it still makes connections, for a director that waits so long for a line only. */
void tell_progress(int made);

/* Says one line now. */
void say(const char *line);

/* The same program over raw TLS, and over sessions. `idle` is for many connections that do nothing. */
void raw_serve(int idle);
void raw_client(const char *address);
void raw_idle_client(const char *address, int count);
void session_serve(int idle);
void session_client(const char *address);
void session_idle_client(const char *address, int count);

#endif
