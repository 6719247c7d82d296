/* What all programs of the bench need: time, CPUs, memory, talk with the director. Nothing of TLS or of sessions. */
#ifndef COMMON_H
#define COMMON_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum { CALL_BYTES = 64, MESSAGE_BYTES_MAX = 65536, WARM_SESSIONS = 20 };

/* Ends the program with what failed. */
void die(const char *what);

/* Memory, or the end of the program. */
void *must_have(void *memory);

/* Nanoseconds of the monotonic clock, which all processes of a machine share. */
uint64_t now_ns(void);

/* CPU time of this process, all threads. */
uint64_t cpu_time_us(void);

/* Lets sleeps of this thread, and of those that it starts, end when they should and not some 50 us later. */
void sleep_exactly(void);
void sleep_until_ns(uint64_t instant_ns);

/* A number from low to high, the same series in each run. */
uint64_t draw(uint64_t low, uint64_t high);

/* A flag that one thread raises and others see. */
void raise_flag(int *flag);
int is_raised(const int *flag);

/* Binds this process, and all threads that it starts from now on, to the nth CPU that it may use; -1 leaves it free. */
void pin(int nth);

/* Keeps a CPU from sleeping, at the lowest priority, until the parent is gone. */
void spin(void);

/* Raises the limit of descriptors as far as it goes. */
void raise_descriptors(void);

/* How many descriptors this process may have, and has now. */
uint64_t descriptors_max(void);
uint64_t descriptors_open(void);

/* Answers `stat`: resident bytes, CPU time and voluntary switches of this process. */
void tell_stat(void);

/* Answers `rest MS`: what CPU time was used in which time while the program was left alone. */
void rest(uint64_t ms);

/* Single times, for percentiles. */
struct times {
    uint64_t *ns;
    size_t count;
    size_t room;
};

void add_time(struct times *times, uint64_t ns);
void forget_times(struct times *times);

/* Sorts them; then percentile tells those that percent of a hundred are not above. */
void sort_times(struct times *times);
uint64_t percentile(const struct times *times, unsigned percent);

/* Answers `times`: two percentiles and the number, and begins anew. */
void tell_times(struct times *times);

/* Answers `rate`: how many of something in which time. */
void tell_rate(uint64_t count, uint64_t ns);

/* The next line of the director, without its end; NULL when it is gone. */
const char *next_line(void);

/* Says now and then that it still makes connections, for a director that waits so long for a line only. */
void tell_progress(int made);

/* Says one line now. */
void say(const char *line);

#endif
