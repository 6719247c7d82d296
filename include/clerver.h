/*
 * Clerver: a session between two processes that outlives its connections.
 *
 * This header is the reference of the C library. It is C99 and C++98 clean, needs no platform header, and is made from
 * the sources in ffi/src: do not edit it. clerver.hpp is a C++11 face over it.
 *
 *     cc program.c $(pkg-config --cflags --libs clerver)
 *
 * THE LAWS
 *
 * Handles     are small structs by value. The library looks them up and never follows them, so a stale, foreign or
 *             made-up one answers CLV_E_HANDLE. `{0}` is never valid. A number is never used again.
 * Status      Every function answers CLV_OK (0) or one of the negative CLV_E_ numbers, which never change their meaning.
 *             clv_last_error says what happened, with whom and why; clv_last_remedy what to do. A defect of the library
 *             is CLV_E_BUG, never a crash.
 * Outputs     come last and are written on success only; the one exception is the needed size with CLV_E_SIZE.
 * Memory      What you pass in is copied, and yours again when the function returns. What you get as a clv_buffer is
 *             yours until clv_buffer_free. Text is UTF-8 and ends with a zero byte; data has a pointer and a size.
 * Structs     begin with their size: write `clv_event event = CLV_EVENT_INIT;`. That lets a newer library know an older
 *             program, and the other way round.
 * Threads     Any function may be called from any thread, on any handle, at the same time. Closing a handle while another
 *             thread waits on it wakes that thread. A node has a thread of its own for its sockets; those with the option
 *             engine = shared have one together, and then a handler with run_inline that hangs stops them all.
 * Waiting     Functions with timeout_ms wait at most so long: -1 for ever, 0 not at all, and then CLV_E_AGAIN means that
 *             nothing is there yet. All others do not wait, unless they say so.
 * Callbacks   run on threads of the library, beside each other, with no lock held: you may call anything from them. In a
 *             service that is offered with run_inline, what would wait answers CLV_E_IN_CALLBACK. A callback gets its `user` pointer back; `drop` frees that exactly once,
 *             after the last call. Callbacks must not throw and must not longjmp out.
 * Fork        The child of a fork may not use the parent's handles, nor open a node if the parent had one open then
 *             (CLV_E_FORKED); the parent loses nothing by its trying. Fork before the first node is opened, as daemons
 *             do, or exec at once: no descriptor is inherited.
 * Signals     The library installs no handler and never raises SIGPIPE. Its own threads block all signals; callbacks run
 *             with the signal mask of the thread that opened the node, so what they start inherits that one.
 * Limits      Names have at most 255 bytes. A message has at most message_bytes_max (an option; 16 MiB by default), a
 *             session so many channels, objects and bytes as its options say. A full queue makes the sender wait, or
 *             answers CLV_E_AGAIN; nothing is dropped silently.
 * Trust       Who may connect stands in the file `authorized` of the host directory (CLERVER_HOME, by default
 *             ~/.local/share/clerver), whom this host knows in `known_hosts`; processes of one user on one machine trust
 *             each other. The error of a refusal has the line to add.
 *
 * A FIRST PROGRAM (examples/c/first.c)
 *
 *     // A service and its caller:   first serve 127.0.0.1:4000   and   first "any text" 127.0.0.1:4000
 *     #include <clerver.h>
 *     #include <ctype.h>
 *     #include <stdio.h>
 *     #include <string.h>
 *
 *     static clv_status shout(void *user, clv_request request)
 *     {
 *         const void *data;
 *         size_t size, at;
 *         char text[256];
 *
 *         (void)user;
 *         if (clv_request_data(request, &data, &size) != CLV_OK || size > sizeof text)
 *             return CLV_E_SIZE;
 *         for (at = 0; at < size; at++)
 *             text[at] = (char)toupper(((const unsigned char *)data)[at]);
 *         return clv_reply(request, text, size);
 *     }
 *
 *     int main(int argc, char **argv)
 *     {
 *         clv_node node;
 *         clv_session session;
 *         clv_buffer *reply;
 *
 *         if (argc != 3 || clv_node_open(NULL, &node) != CLV_OK)
 *             goto failed;
 *         if (strcmp(argv[1], "serve") == 0) {
 *             if (clv_serve(node, "shout", NULL, shout, NULL, NULL) != CLV_OK ||
 *                 clv_node_listen(node, argv[2], -1, NULL, 0) != CLV_OK)
 *                 goto failed;
 *             puts("serving; Enter ends it");
 *             getchar();
 *         } else {
 *             if (clv_connect(node, argv[2], 10000, &session) != CLV_OK ||
 *                 clv_call(session, "shout", argv[1], strlen(argv[1]), 5000, &reply) != CLV_OK)
 *                 goto failed;
 *             printf("%.*s\n", (int)clv_buffer_size(reply), (const char *)clv_buffer_data(reply));
 *             clv_buffer_free(reply);
 *             clv_session_close(session, 1000);
 *         }
 *         return clv_node_close(node, 1000, NULL) == CLV_OK ? 0 : 1;
 *     failed:
 *         fprintf(stderr, "first: %s\n%s\n", clv_last_error(), clv_last_remedy());
 *         return 1;
 *     }
 */
#ifndef CLERVER_H
#define CLERVER_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Status and errors ----------------------------------------------------------------------------------------- */

/* Major, minor and patch version of this header. */
#define CLV_VERSION_MAJOR 0
/* See CLV_VERSION_MAJOR. */
#define CLV_VERSION_MINOR 1
/* See CLV_VERSION_MAJOR. */
#define CLV_VERSION_PATCH 0

/*
 * Result of a function: 0 is success, everything else is one of the CLV_E_ numbers, all negative.
 *
 * A number is never reused. Programs decide by the number or by its class (clv_status_class); people read
 * clv_last_error and clv_last_remedy.
 */
typedef int32_t clv_status;

/* What a program should do about a status. 0 for CLV_OK and for numbers that this version does not know. */
typedef int32_t clv_class;

/* Success. */
#define CLV_OK 0
/* The time allowed ran out; the operation may still take effect. Class retry. */
#define CLV_E_TIMEOUT (-1)
/* Would block: no room, or nothing there yet. Class again. */
#define CLV_E_AGAIN (-2)
/* No address of the peer could be reached. Class retry. */
#define CLV_E_UNREACHABLE (-3)
/* A host name could not be resolved. Class retry. */
#define CLV_E_RESOLVE (-4)
/* The peer is too busy to take this on. Class retry. */
#define CLV_E_BUSY (-5)
/* The node is draining and takes no new work. Class retry. */
#define CLV_E_DRAINING (-6)
/* A link broke; the session itself may live on. Class retry. */
#define CLV_E_LINK_FAILED (-7)
/* The call was certainly not run by the peer. Class retry. */
#define CLV_E_NOT_RUN (-8)
/* The operation was cancelled by its caller. Class retry. */
#define CLV_E_CANCELLED (-9)
/* The wait was interrupted by a signal. Class retry. */
#define CLV_E_INTERRUPTED (-10)
/* It is queued, and not known to be stored yet: it must not be sent again. Class retry. */
#define CLV_E_UNCONFIRMED (-11)
/* The store cannot take anything now: its disk is full or fails. Class retry. */
#define CLV_E_STORE (-12)
/* The peer's host id is not trusted here. Class denied. */
#define CLV_E_DENIED (-20)
/* The peer's host id is on the block list. Class denied. */
#define CLV_E_BLOCKED (-21)
/* The peer is not who it should be: its key changed or is not the one asked for. Class denied. */
#define CLV_E_WRONG_IDENTITY (-22)
/* Another node answers at this address. Class denied. */
#define CLV_E_WRONG_NODE (-23)
/* The proof that an end belongs to a session is wrong. Class denied. */
#define CLV_E_BAD_PROOF (-24)
/* The two sides speak no common version. Class denied. */
#define CLV_E_VERSION (-25)
/* The peer's level is below what the service, object kind or listener asks. Class denied. */
#define CLV_E_LEVEL (-26)
/* A key or trust file cannot be used as it is. Class denied. */
#define CLV_E_KEY_FILE (-27)
/* The clocks differ by more than max_skew allows. Class denied. */
#define CLV_E_SKEW (-28)
/* A HELLO was replayed from another link. Class denied. */
#define CLV_E_REPLAYED (-29)
/* Continuity is broken: the peer is gone or forgot the session. Class lost. */
#define CLV_E_LOST (-40)
/* The object was closed in good order. Class lost. */
#define CLV_E_CLOSED (-41)
/* The peer ended this direction before its end. Class lost. */
#define CLV_E_RESET (-42)
/* The peers' counts do not fit each other: data is missing. Class lost. */
#define CLV_E_DISCONTINUITY (-43)
/* It cannot be known whether the call was run. Class lost. */
#define CLV_E_UNKNOWN (-44)
/* A newer epoch of the same end took over. Class lost. */
#define CLV_E_FENCED (-45)
/* The channel has no more data: the peer ended it. Class lost. */
#define CLV_E_END (-46)
/* The peer stopped reading this channel. Class lost. */
#define CLV_E_STOPPED (-47)
/* The call ran and its handler reported a failure. Class lost. */
#define CLV_E_CALL_FAILED (-48)
/* The session was replaced by a newer one of the same host and name. Class lost. */
#define CLV_E_REPLACED (-49)
/* No such handle, or one that has ended. Class misuse. */
#define CLV_E_HANDLE (-60)
/* An argument is not valid. Class misuse. */
#define CLV_E_ARG (-61)
/* A node cannot pair with itself. Class misuse. */
#define CLV_E_SELF (-62)
/* The address, store or name is in use by another process. Class misuse. */
#define CLV_E_IN_USE (-63)
/* Not possible in this state. Class misuse. */
#define CLV_E_STATE (-64)
/* The peer offers no such service. Class misuse. */
#define CLV_E_NO_SERVICE (-65)
/* A blocking call from inside a callback, or on a driving thread. Class misuse. */
#define CLV_E_IN_CALLBACK (-66)
/* The handle belongs to the process before fork. Class misuse. */
#define CLV_E_FORKED (-67)
/* A configuration value is not valid. Class misuse. */
#define CLV_E_CONFIG (-68)
/* Text is not valid UTF-8. Class misuse. */
#define CLV_E_ENCODING (-69)
/* The options differ from those of the session that is shared. Class misuse. */
#define CLV_E_MISMATCH (-70)
/* This feature is parsed but not built yet. Class misuse. */
#define CLV_E_UNSUPPORTED (-71)
/* handle was called before poll answered None. Class misuse. */
#define CLV_E_NOT_DRAINED (-72)
/* The object is poisoned or dead. Class misuse. */
#define CLV_E_POISONED (-73)
/* A message or frame is larger than its limit. Class limit. */
#define CLV_E_SIZE (-80)
/* A stated limit is reached. Class limit. */
#define CLV_E_LIMIT (-81)
/* The peer takes no further channel now. Class limit. */
#define CLV_E_CHANNELS (-82)
/* A peer was admitted too often or too slowly. Class limit. */
#define CLV_E_ADMISSION (-83)
/* The peer broke the protocol. Class bug. */
#define CLV_E_PROTOCOL (-100)
/* A defect in Clerver. Class bug. */
#define CLV_E_BUG (-101)
/* The operating system refused something it should not. Class bug. */
#define CLV_E_SYSTEM (-102)
/* The same request may work later; nothing is lost. */
#define CLV_CLASS_RETRY 1
/* Would block: wait for the event that says there is room, or data, then ask again. */
#define CLV_CLASS_AGAIN 2
/* Somebody decided against it: trust, identity or authority. */
#define CLV_CLASS_DENIED 3
/* Continuity is broken; what may be missing is reported. */
#define CLV_CLASS_LOST 4
/* The request was wrong for this object or moment. */
#define CLV_CLASS_MISUSE 5
/* A stated limit is reached. */
#define CLV_CLASS_LIMIT 6
/* A defect in Clerver or in the peer's implementation. */
#define CLV_CLASS_BUG 7

/*
 * One line about a status, such as "TIMEOUT: allow more time, or ..". Never NULL.
 *
 * The text is static. Any thread; does not block. For what happened, with whom and why, see
 * clv_last_error.
 */
const char *clv_strerror(clv_status status);

/* The class of a status, one of CLV_CLASS_..; 0 for CLV_OK and unknown numbers. Any thread; does not block. */
clv_class clv_status_class(clv_status status);

/*
 * What the last function that failed on this thread was doing, with whom, and what happened. Never NULL; ""
 * before the first failure.
 *
 * The text belongs to the library and is valid until the next function fails on this thread. Does not block.
 */
const char *clv_last_error(void);

/* What a person can do about the last failure on this thread. Never NULL. Lifetime as of clv_last_error. */
const char *clv_last_remedy(void);

/*
 * Version of the library that runs: major * 1000000 + minor * 1000 + patch. Compare it with the
 * CLV_VERSION_.. of the header. Any thread; does not block.
 */
uint32_t clv_version_number(void);

/* ---- The nouns ------------------------------------------------------------------------------------------------- */

/* One running clerver: client and server at once. {0} is no node. */
typedef struct clv_node {
    /* The handle; of no meaning outside of this process. */
    uint64_t id;
} clv_node;

/* A connect that was started. {0} is no connect. */
typedef struct clv_connecting {
    /* The handle; of no meaning outside of this process. */
    uint64_t id;
} clv_connecting;

/* A session with one peer, which outlives its connections. {0} is no session. */
typedef struct clv_session {
    /* The handle; of no meaning outside of this process. */
    uint64_t id;
} clv_session;

/* A channel of a session. {0} is no channel. */
typedef struct clv_channel {
    /* The handle; of no meaning outside of this process. */
    uint64_t id;
} clv_channel;

/* A call that was started. {0} is no call. */
typedef struct clv_pending_call {
    /* The handle; of no meaning outside of this process. */
    uint64_t id;
} clv_pending_call;

/* A call that a handler runs. Good until the handler returns or, once it is deferred, until clv_request_finish. */
typedef struct clv_request {
    /* The handle; of no meaning outside of this process. */
    uint64_t id;
} clv_request;

/* An object that is being embalmed. Good until the callback returns. */
typedef struct clv_embalming {
    /* The handle; of no meaning outside of this process. */
    uint64_t id;
} clv_embalming;

/* An object, by its number within its session; the same at both ends. */
typedef struct clv_object {
    /* The number; 0 is the registration of the peer. */
    uint64_t id;
} clv_object;

/* ---- Callbacks ------------------------------------------------------------------------------------------------- */

/* Frees what a program gave along with callbacks; NULL when there is nothing to free. */
typedef void (*clv_drop)(void *user);

/* ---- Buffers --------------------------------------------------------------------------------------------------- */

/* Bytes of the library, until clv_buffer_free. */
typedef struct clv_buffer clv_buffer;

/*
 * First byte of a buffer; NULL for NULL and for what is no buffer (any more).
 *
 * The bytes belong to the buffer: do not write to them, and do not use them after clv_buffer_free. They do
 * not end with a zero byte. Any thread; does not block.
 */
const uint8_t *clv_buffer_data(const clv_buffer *buffer);

/* Bytes in a buffer; 0 for NULL and for what is no buffer (any more). Any thread; does not block. */
size_t clv_buffer_size(const clv_buffer *buffer);

/*
 * Gives a buffer back. NULL, and a buffer that was given back before, are ignored. Any thread; does not
 * block.
 */
void clv_buffer_free(clv_buffer *buffer);

/* ---- Options --------------------------------------------------------------------------------------------------- */

/* Wishes for a node, until clv_options_free. One may be used for several nodes. */
typedef struct clv_options clv_options;

/*
 * Makes empty options: everything as the environment (CLERVER_*), the configuration file and the defaults
 * say.
 *
 * Free them with clv_options_free. Any thread; does not block. Errors: CLV_E_ARG.
 */
clv_status clv_options_new(clv_options **out);

/*
 * Sets an option by name from text, such as "beat_ms" to "500"; the guide lists them all. It counts more
 * than the environment and the configuration file.
 *
 * Any thread; does not block. Errors: CLV_E_CONFIG no such option, or no such value (clv_last_remedy says
 * what is allowed); CLV_E_UNSUPPORTED; CLV_E_ARG; CLV_E_ENCODING; CLV_E_HANDLE.
 */
clv_status clv_options_set(clv_options *options, const char *name, const char *value);

/*
 * Adds what a TOML file says (name = value, one per line), below the environment and the program's own
 * wishes.
 *
 * Any thread; blocks for the disk. Errors: CLV_E_CONFIG with file, option, value and what is allowed, also
 * when the file is missing; CLV_E_UNSUPPORTED; CLV_E_ARG; CLV_E_ENCODING; CLV_E_HANDLE.
 */
clv_status clv_options_load_file(clv_options *options, const char *path);

/*
 * Gives options back. NULL, and options that were given back before, are ignored. Any thread; does not
 * block.
 */
void clv_options_free(clv_options *options);

/* ---- States of a session --------------------------------------------------------------------------------------- */

/* State of a session, one of CLV_STATE_... */
typedef int32_t clv_state;

/* Being made. */
#define CLV_STATE_REGISTERING 1
/* The peer gave a sign of life within three beats. */
#define CLV_STATE_LIVE 2
/* No connection gives a sign of life; everything is kept, and the library redials. */
#define CLV_STATE_SUSPENDED 3
/* Kept past its TTL. */
#define CLV_STATE_EMBALMED 4
/* Being brought back. */
#define CLV_STATE_REVIVING 5
/* One side asked for the end; data still flows. */
#define CLV_STATE_CLOSING 6
/* Ended in good order. Final. */
#define CLV_STATE_CLOSED 7
/* Continuity is broken. Final. */
#define CLV_STATE_LOST 8

/* ---- What was counted or left ---------------------------------------------------------------------------------- */

/* Counts of one channel, in bytes: written >= sent >= held. A message counts a few bytes more than its own. */
typedef struct clv_channel_report {
    /* sizeof(clv_channel_report), set by whoever made the struct. */
    size_t struct_size;
    /* The channel's number, the same at both ends. */
    uint64_t channel;
    /* Written here. */
    uint64_t written;
    /* Of them, handed to some connection. */
    uint64_t sent;
    /* Of them, known to be held by the peer. */
    uint64_t held;
    /* Of the peer, held here without a gap. */
    uint64_t received;
    /* Of them, taken by the program. */
    uint64_t taken;
} clv_channel_report;

/* What was lost with a session, or left at its close. */
typedef struct clv_loss {
    /* sizeof(clv_loss): begin with CLV_LOSS_INIT. */
    size_t struct_size;
    /* Why it ended: CLV_E_CLOSED in good order. */
    clv_status cause;
    /* Always 0. */
    int32_t reserved;
    /* Channels that were not finished. */
    uint64_t channels;
    /* Calls of this end without an outcome before, that had run. */
    uint64_t calls_run;
    /* Such calls that certainly had not run. */
    uint64_t calls_not_run;
    /* Such calls of which it cannot be known. */
    uint64_t calls_unknown;
    /* Objects of this end at the peer, which the peer ends. */
    uint64_t objects;
    /* The cause for people, cut to fit. */
    char text[512];
} clv_loss;

/* What was left when a drain or close ended. */
typedef struct clv_leftovers {
    /* sizeof(clv_leftovers): begin with CLV_LEFTOVERS_INIT. */
    size_t struct_size;
    /* Channels with data that the peer does not hold. */
    uint64_t channels;
    /* Bytes of them that the peer does not hold. */
    uint64_t bytes;
    /* Handlers and callbacks that had not returned. What they use is leaked, not freed. */
    uint64_t running;
    /* Their names for people, with commas, cut to fit. */
    char text[512];
} clv_leftovers;

/* Counts of a node since its start, and gauges of now. */
typedef struct clv_counters {
    /* sizeof(clv_counters): begin with CLV_COUNTERS_INIT. */
    size_t struct_size;
    /* Sessions not forgotten. */
    uint64_t sessions;
    /* Connections, attached to a session or not. */
    uint64_t links;
    /* Connections refused, by either side. */
    uint64_t refused;
    /* Bytes handed to connections. */
    uint64_t bytes_sent;
    /* Bytes that came from connections. */
    uint64_t bytes_received;
    /* Bytes handed to a connection a second time. */
    uint64_t bytes_repeated;
    /* Bytes that came twice and were dropped. */
    uint64_t bytes_duplicate;
    /* Objects that exist here. */
    uint64_t objects;
    /* Timers that stand. */
    uint64_t timers;
    /* Bytes kept for sending and for reading. */
    uint64_t buffered;
} clv_counters;

/* ---- Events ---------------------------------------------------------------------------------------------------- */

/* What happened: one of CLV_EVENT_... Skip numbers that you do not know: later versions have more. */
typedef int32_t clv_event_kind;

/* An event. Which members mean something stands at its kind; the others are 0 or "". */
typedef struct clv_event {
    /* sizeof(clv_event): begin with CLV_EVENT_INIT. */
    size_t struct_size;
    /* What happened. */
    clv_event_kind kind;
    /* Why, for what failed or ended. */
    clv_status status;
    /* Number of the session, as in clv_session_info. */
    uint64_t session;
    /* Number of an object. */
    uint64_t object;
    /* What the program gave to a .._watch function. */
    uint64_t token;
    /* A count, a time or a channel. */
    int64_t number;
    /* State of the session. */
    clv_state state;
    /* State before. */
    clv_state state_before;
    /* Data of CLV_EVENT_OBJECT_UPDATED, else NULL. Belongs to the program: clv_buffer_free. */
    clv_buffer *data;
    /* For people, or a name; cut to fit. */
    char text[512];
    /* The other host, node or address. */
    char peer[112];
    /* A number of bytes. */
    uint64_t bytes;
} clv_event;

/* The queue was full: number older events were dropped before this one. */
#define CLV_EVENT_DROPPED 1
/* Node: a connect of this node reached the session session. */
#define CLV_EVENT_CONNECTED 2
/* Node: a connect gave up, with status and text. */
#define CLV_EVENT_CONNECT_FAILED 3
/* Node: a dial failed and is repeated after number milliseconds. */
#define CLV_EVENT_DIAL_RETRY 4
/* Node: a peer made the session session; clv_accept gives it out. */
#define CLV_EVENT_ACCEPTED 5
/* Node: a connection of the host peer was refused, here or there, with status and text. */
#define CLV_EVENT_REFUSED 6
/* Node: the host peer was pinned on first use under the name text. */
#define CLV_EVENT_PINNED 7
/* Node: this host's own id was used from another machine, at the address text: the key was copied. */
#define CLV_EVENT_OWN_ID_ELSEWHERE 8
/*
 * Node and session: the state went from state_before to state; text says why. Of a session also: bytes are
 * kept here, to be sent or to be read, and number is for how many milliseconds a suspended or embalmed one waits,
 * else -1.
 */
#define CLV_EVENT_STATE 9
/* Node: a notice for people, in text. */
#define CLV_EVENT_NOTICE 10
/* Node: the watched channel or call token has something to take, or its end. Take until CLV_E_AGAIN. */
#define CLV_EVENT_READABLE 11
/* Node: the watched channel token has room, or its end. */
#define CLV_EVENT_WRITABLE 12
/* Node: the watched session token has events, a channel to accept, or its end. */
#define CLV_EVENT_SESSION_READY 13
/*
 * Node: how far clv_node_drain is, each time that it changed: number sessions are not over, bytes are not with
 * their peers yet, and text names the handlers that run.
 */
#define CLV_EVENT_DRAINING 14
/*
 * Node: nobody, or somebody else, answered at the address peer, with status and text; another one is tried at
 * once.
 */
#define CLV_EVENT_ADDRESS_FAILED 15
/*
 * Node: the session session with the node peer was found in the store; clv_accept gives it out, and
 * clv_channel_accept its stored channels.
 */
#define CLV_EVENT_RESTORED 16
/*
 * Session: continuity is broken, with status and text; see clv_session_loss. Only after this event can
 * data be missing.
 */
#define CLV_EVENT_LOST 20
/* Session: it ended in good order. */
#define CLV_EVENT_CLOSED 21
/* Session: a connection with peer, an address, joined it. */
#define CLV_EVENT_LINK_ATTACHED 22
/* Session: a connection left it, with status and text. */
#define CLV_EVENT_LINK_ENDED 23
/* Session: the peer's clock is number milliseconds ahead of this one. */
#define CLV_EVENT_SKEW 24
/* Session: the peer drains and takes no new channels and calls. */
#define CLV_EVENT_PEER_DRAINS 25
/* Session: the peer opened the channel number; clv_channel_accept gives it out. */
#define CLV_EVENT_CHANNEL_OPENED 26
/* Session: channels can be opened again after CLV_E_CHANNELS. */
#define CLV_EVENT_OPENABLE 27
/* Session: the peer keeps the object object of kind text for this end. */
#define CLV_EVENT_OBJECT_ATTACHED 28
/* Session: the object object at the peer is over, with status. */
#define CLV_EVENT_OBJECT_ENDED 29
/* Session: the owner left data in the object object that is kept here. */
#define CLV_EVENT_OBJECT_UPDATED 30
/* Session: an object of another session lives on as the object object of this one. */
#define CLV_EVENT_OBJECT_REVIVED 31
/* Session: the grace is over and the object object still waits for a handler. */
#define CLV_EVENT_OBJECT_STUCK 32
/*
 * Session: the peer can be reached at number addresses, which text lists as far as it has room, and at none that
 * it announced before. See clv_session_addresses.
 */
#define CLV_EVENT_PEER_ADDRESSES 33
/*
 * Session: this end connects anew, to the address text first or (empty) to any other; number is the
 * clv_move_cause. CLV_EVENT_LINK_ATTACHED or CLV_EVENT_MOVE_FAILED follows; with CLV_MOVE_CONGESTION the connection is
 * there already.
 */
#define CLV_EVENT_MOVE_BEGAN 34
/* Session: nobody answered where it could move to, with status and text. It stays where it is. */
#define CLV_EVENT_MOVE_FAILED 35
/* Session: the peer moves it to another connection; number is the clv_move_cause. */
#define CLV_EVENT_PEER_MOVES 36
/*
 * Session: the node peer has the other end now, which its process before left in its store. Stored channels go on;
 * all others ended with CLV_E_LOST.
 */
#define CLV_EVENT_PEER_REVIVED 37

/* ---- Nodes ----------------------------------------------------------------------------------------------------- */

/* Room for the text form of a host id, with its zero byte. */
#define CLV_HOST_ID_BYTES 80
/* Room for an address as text, with its zero byte. */
#define CLV_ADDRESS_BYTES 64

/* Where and how to connect, for clv_connect_with and clv_connect_start. */
typedef struct clv_connect_options {
    /* sizeof(clv_connect_options): begin with CLV_CONNECT_OPTIONS_INIT. */
    size_t struct_size;
    /*
     * Addresses of one node, in the order in which they are tried; 1 to 64. Those that the peer announces are tried
     * after them.
     */
    const char *const *addresses;
    /* How many there are. */
    size_t addresses_count;
    /* Not 0: accept a session with another node at these addresses when the first is gone. */
    int32_t any_node;
    /* Further connections for bulk channels beside the primary one, 0 to 8, on ways of their own if there are any. */
    int32_t bulk_links;
    /*
     * Connections that are kept ready, 0 to 4, on ways of their own if there are any: when the primary one fails,
     * such a one goes on at once.
     */
    int32_t standby_links;
    /* Not 0: all addresses are tried at once, and the fastest is taken. */
    int32_t race;
} clv_connect_options;

/*
 * Starts a node, and its thread unless the option caller_driven is on, or nodes share one (option engine).
 * What options leaves open comes from the CLERVER_* environment, then from the configuration file, then
 * from the defaults; NULL leaves everything open. Makes the host key on first use.
 *
 * With the option store_dir, sessions outlive the process, and of their channels the stored ones: a node that is
 * opened with the same directory finds them there, and CLV_EVENT_RESTORED tells of each.
 *
 * *out is yours until clv_node_close. Any thread; blocks for the disk. Several nodes in one process are
 * normal. Errors: CLV_E_CONFIG naming option, value and source, or a store that is damaged or cannot be written;
 * CLV_E_IN_USE another node has the store_dir; CLV_E_VERSION a newer version wrote it; CLV_E_STORE; CLV_E_KEY_FILE;
 * CLV_E_SYSTEM; CLV_E_FORKED in a child whose parent had nodes open when it forked; CLV_E_ARG; CLV_E_HANDLE.
 */
clv_status clv_node_open(const clv_options *options, clv_node *out);

/*
 * Ends all sessions in good order, then the node with its threads and objects, and the handle. Sessions,
 * channels and calls of it answer CLV_E_CLOSED from then on; their handles are still to be closed. A session with
 * stored channels does not end: it waits in the store_dir for the next node.
 *
 * out (may be NULL) tells what was left. Returns within timeout_ms and about half a second, whatever
 * hangs. In a callback it does not wait. Any thread. Errors: CLV_E_HANDLE, also for the second close;
 * CLV_E_FORKED; CLV_E_ARG.
 */
clv_status clv_node_close(clv_node node, int64_t timeout_ms, clv_leftovers *out);

/*
 * Takes no new sessions, channels and calls from now on, tells the peers, and waits until everything that
 * was written is with them and all handlers have returned.
 *
 * Meanwhile the node's events CLV_EVENT_DRAINING tell how far it is. Peers that take any node (any_node) and know
 * another one make a session there, and keep this one until they close it.
 *
 * out (may be NULL) tells what was left when the time was over. Any thread; blocks. Errors:
 * CLV_E_IN_CALLBACK; CLV_E_HANDLE; CLV_E_ARG; CLV_E_CLOSED.
 */
clv_status clv_node_drain(clv_node node, int64_t timeout_ms, clv_leftovers *out);

/*
 * The id of the key that the node runs under, which peers authorise, as text. CLV_HOST_ID_BYTES are room
 * enough.
 *
 * Any thread; does not block. Errors: CLV_E_SIZE too little room; CLV_E_HANDLE; CLV_E_ARG.
 */
clv_status clv_node_id(clv_node node, char *out, size_t capacity);

/*
 * Accepts connections of authorised peers at "host:port"; port 0 takes a free one.
 *
 * level_min is the level that a peer needs, -1 the one of the option listener_level. bound (may be NULL)
 * gets the address that was taken; CLV_ADDRESS_BYTES are room enough. Any thread; blocks for the resolver
 * when the host is a name. Errors: CLV_E_IN_USE with the way to find the process that has the port;
 * CLV_E_RESOLVE; CLV_E_SYSTEM; CLV_E_SIZE; CLV_E_ARG; CLV_E_HANDLE.
 */
clv_status clv_node_listen(clv_node node, const char *address, int32_t level_min, char *bound, size_t capacity);

/*
 * Connects to the node at "host:port" or "clv://HOSTID@host:port/name" and answers the session, which is
 * shared when there is one with that node already. Dials again until it works, for at most timeout_ms.
 *
 * *out is yours until clv_session_close. Any thread; blocks. Errors: CLV_E_TIMEOUT with the last
 * failure; CLV_E_WRONG_IDENTITY, CLV_E_DENIED, CLV_E_BLOCKED and CLV_E_VERSION at once; CLV_E_SELF;
 * CLV_E_IN_CALLBACK; CLV_E_ARG; CLV_E_HANDLE; CLV_E_CLOSED.
 */
clv_status clv_connect(clv_node node, const char *address, int64_t timeout_ms, clv_session *out);

/*
 * As clv_connect, with several addresses of one node, and options. Errors also: CLV_E_MISMATCH when the
 * session is shared and its options are others.
 */
clv_status clv_connect_with(clv_node node,
                            const clv_connect_options *options,
                            int64_t timeout_ms,
                            clv_session *out);

/*
 * Takes the next session that a peer made with this node, or that was found in its store. Its calls are served
 * whether it is taken or not.
 *
 * *out is yours until clv_session_close. Any thread; blocks, but for 0. Errors: CLV_E_AGAIN none now,
 * for 0; CLV_E_TIMEOUT; CLV_E_IN_CALLBACK; CLV_E_ARG; CLV_E_HANDLE; CLV_E_CLOSED.
 */
clv_status clv_accept(clv_node node, int64_t timeout_ms, clv_session *out);

/*
 * Takes the next event of the node. The queue is bounded (option events_max): when it is full the oldest
 * event is dropped, and the next one taken is CLV_EVENT_DROPPED. Events of what is watched are never
 * dropped.
 *
 * Any thread; blocks, but for 0. Errors: CLV_E_AGAIN none now, for 0; CLV_E_TIMEOUT; CLV_E_IN_CALLBACK;
 * CLV_E_ARG; CLV_E_HANDLE; CLV_E_CLOSED.
 */
clv_status clv_node_next_event(clv_node node, int64_t timeout_ms, clv_event *out);

/*
 * A descriptor for select, poll, epoll and the loops built on them, level-triggered: readable while events
 * of the node wait or, for a caller-driven node, while clv_node_run_once has work.
 *
 * It belongs to the node: do not read or close it, and take it out of your loop before clv_node_close. The
 * first call makes it; a node that is never asked has none. Any thread; does not block. Errors: CLV_E_SYSTEM
 * the process has no more descriptors; CLV_E_HANDLE; CLV_E_FORKED; CLV_E_ARG.
 */
clv_status clv_node_fd(clv_node node, int *out);

/*
 * For a caller-driven node: waits for sockets and timers, at most timeout_ms, does what there is to do,
 * and runs handlers and object callbacks on this thread. To be called at least every max_gap_ms (an option).
 *
 * One thread at a time; blocks. Errors: CLV_E_STATE the node has its own thread, or another thread is in
 * here; CLV_E_ARG; CLV_E_HANDLE; CLV_E_CLOSED.
 */
clv_status clv_node_run_once(clv_node node, int64_t timeout_ms);

/* Counts since the start, and gauges of now. Any thread; does not block. Errors: CLV_E_ARG; CLV_E_HANDLE. */
clv_status clv_node_counters(clv_node node, clv_counters *out);

/*
 * Reads the trust files again; sessions with hosts that are refused now end. Any thread; blocks for the
 * disk. Errors: CLV_E_KEY_FILE with file and line, and then everything stays as it was; CLV_E_HANDLE.
 */
clv_status clv_node_reload_trust(clv_node node);

/* ---- Connects that do not wait --------------------------------------------------------------------------------- */

/*
 * Starts to connect, as clv_connect_with does, and does not wait for it. It dials until it works, for at most
 * timeout_ms (-1: until it is cancelled).
 *
 * *out is yours until clv_connecting_close. Any thread; does not block. Errors: CLV_E_DRAINING; CLV_E_ENCODING;
 * CLV_E_ARG; CLV_E_HANDLE; CLV_E_CLOSED. All others come from clv_connecting_take.
 */
clv_status clv_connect_start(clv_node node,
                             const clv_connect_options *options,
                             int64_t timeout_ms,
                             clv_connecting *out);

/*
 * Takes the session of a connect. Waits for at most timeout_ms; the connect goes on after that.
 *
 * *out is yours until clv_session_close; it can be taken once. Any thread; blocks, but for 0. Errors: CLV_E_AGAIN
 * it goes on, for 0; CLV_E_TIMEOUT the wait is over, or the time that the connect had; CLV_E_CANCELLED; CLV_E_STATE it
 * was taken already; otherwise as clv_connect_with.
 */
clv_status clv_connecting_take(clv_connecting connecting, int64_t timeout_ms, clv_session *out);

/*
 * From now on the node's event CLV_EVENT_READABLE with this token tells when the connect came to an end; at once if it
 * did already. Take with 0 then.
 *
 * Any thread; does not block. Errors: CLV_E_HANDLE, also when its end was taken; CLV_E_CLOSED.
 */
clv_status clv_connecting_watch(clv_connecting connecting, uint64_t token);

/*
 * Gives up: clv_connecting_take answers CLV_E_CANCELLED. Any thread; does not block; without effect once it came to
 * an end. Errors: CLV_E_HANDLE.
 */
clv_status clv_connecting_cancel(clv_connecting connecting);

/*
 * Ends the handle; a connect whose session was not taken is given up. Any thread; does not block. Errors:
 * CLV_E_HANDLE.
 */
clv_status clv_connecting_close(clv_connecting connecting);

/* ---- Sessions -------------------------------------------------------------------------------------------------- */

/* What is known of a session and its peer. */
typedef struct clv_session_info {
    /* sizeof(clv_session_info): begin with CLV_SESSION_INFO_INIT. */
    size_t struct_size;
    /* The session's number in this process, as in events. */
    uint64_t number;
    /* State now. */
    clv_state state;
    /* The peer's level. */
    int32_t level;
    /* Without a sign of life for this long, the peer counts as gone. */
    uint64_t ttl_ms;
    /* Time between signs of life. */
    uint64_t beat_ms;
    /* Connections that carry it now. */
    uint64_t links;
    /* Connections that carried it so far. */
    uint64_t links_total;
    /* Smoothed round trip in microseconds; 0 while it is unknown. */
    uint64_t round_trip_us;
    /* Bytes that the peer may still send or that wait to be taken. */
    uint64_t outstanding_bytes;
    /* Channels open, one of the library's own included. */
    uint64_t channels;
    /* Not 0: the peer drains. */
    int32_t peer_drains;
    /* Always 0. */
    int32_t reserved;
    /* The session's name, the same at both ends. */
    char sid[40];
    /* Host id of the peer. */
    char peer_host[80];
    /* What people call the peer's machine. */
    char peer_host_name[256];
    /* What people call the peer. */
    char peer_name[256];
} clv_session_info;

/* Sees one channel; the report is valid until it returns. */
typedef void (*clv_channel_visit)(void *user, const clv_channel_report *report);

/*
 * State now; CLV_STATE_CLOSED for a session that is over and forgotten.
 *
 * Any thread; does not block. Errors: CLV_E_HANDLE; CLV_E_ARG; CLV_E_FORKED.
 */
clv_status clv_session_state(clv_session session, clv_state *out);

/*
 * Waits until the session is in one of the states of mask, in which the state n is the bit 1 << n.
 *
 * out (may be NULL) gets the state. Any thread; blocks. Errors: CLV_E_TIMEOUT; CLV_E_LOST, CLV_E_CLOSED
 * and the like when the session ended in another state; CLV_E_IN_CALLBACK; CLV_E_ARG; CLV_E_HANDLE.
 */
clv_status clv_session_wait_state(clv_session session, uint32_t mask, int64_t timeout_ms, clv_state *out);

/*
 * Host id of the peer, as text. CLV_HOST_ID_BYTES are room enough. Any thread; does not block. Errors:
 * CLV_E_SIZE; CLV_E_ARG; CLV_E_HANDLE.
 */
clv_status clv_session_peer(clv_session session, char *out, size_t capacity);

/*
 * What is known of the session and its peer. Any thread; does not block. Errors: CLV_E_HANDLE, also when it
 * is over and forgotten; CLV_E_ARG.
 */
clv_status clv_session_get_info(clv_session session, clv_session_info *out);

/*
 * Takes the next event of the session. The queue is bounded as that of the node.
 *
 * Any thread; blocks, but for 0. Errors: CLV_E_END after the last event of a session that is over;
 * CLV_E_AGAIN none now, for 0; CLV_E_TIMEOUT; CLV_E_IN_CALLBACK; CLV_E_ARG; CLV_E_HANDLE; CLV_E_CLOSED.
 */
clv_status clv_session_next_event(clv_session session, int64_t timeout_ms, clv_event *out);

/*
 * From now on the node's event CLV_EVENT_SESSION_READY with this token tells that the session has events, a
 * channel to accept, or its end; the first one comes at once. Take all of them each time, until CLV_E_AGAIN:
 * like an edge-triggered poll, it says that something changed. For programs that wait for everything at
 * clv_node_fd.
 *
 * Any thread; does not block. Errors: CLV_E_HANDLE.
 */
clv_status clv_session_watch(clv_session session, uint64_t token);

/*
 * Waits until the peer holds everything that was written here so far. After CLV_E_TIMEOUT a session that is watched
 * gets CLV_EVENT_SESSION_READY for that, too: ask again with 0 then.
 *
 * Any thread; blocks, but for 0. Errors: CLV_E_TIMEOUT; CLV_E_LOST; CLV_E_IN_CALLBACK; CLV_E_ARG; CLV_E_HANDLE.
 */
clv_status clv_session_drain(clv_session session, int64_t timeout_ms);

/*
 * Ends the handle. With the last handle of a session, descriptors of clv_dial_fd included, the session
 * ends with its channels and calls: what was written is delivered first, what was not read is dropped. That holds
 * for stored channels, too: who wants them to go on in another process closes the node alone.
 *
 * Any thread; blocks until that is done, for at most timeout_ms. 0 does not wait: it is delivered
 * meanwhile, for at most 10 s and as long as the node lives. The handle is gone whatever the answer. Errors:
 * CLV_E_TIMEOUT, CLV_E_LOST not everything was delivered; CLV_E_IN_CALLBACK; CLV_E_ARG; CLV_E_HANDLE.
 */
clv_status clv_session_close(clv_session session, int64_t timeout_ms);

/*
 * Begins to end the session, as clv_session_close does, and does not wait: what was written is delivered meanwhile,
 * for at most timeout_ms and as long as the node lives. clv_session_state tells how far it is, and
 * CLV_EVENT_SESSION_READY of a session that is watched tells to look: CLV_STATE_CLOSING, then CLV_STATE_CLOSED or
 * CLV_STATE_LOST. A session that has other handles does not end.
 *
 * The handle is yours until clv_session_close. Any thread; does not block. Errors: CLV_E_CLOSED the node was closed;
 * CLV_E_ARG; CLV_E_HANDLE.
 */
clv_status clv_session_close_start(clv_session session, int64_t timeout_ms);

/*
 * What was lost with a session, or left at its close. each (may be NULL) sees every channel that was not
 * finished, on this thread.
 *
 * Any thread; does not block. Errors: CLV_E_STATE the session is not over; CLV_E_ARG; CLV_E_HANDLE.
 */
clv_status clv_session_loss(clv_session session, clv_loss *out, clv_channel_visit each, void *user);

/* ---- Addresses and moves --------------------------------------------------------------------------------------- */

/* Who named an address, one of CLV_ADDRESS_... */
typedef int32_t clv_address_origin;

/* One address of a node. Valid until the function that sees it returns. */
typedef struct clv_address {
    /* sizeof(clv_address), set by the library. */
    size_t struct_size;
    /* "host:port", or as the program gave it. */
    const char *address;
    /* Who named it. */
    clv_address_origin origin;
    /* Not 0: a connection of the session uses it. */
    int32_t in_use;
    /* Not 0: it failed in the round of attempts that goes on. */
    int32_t failed;
    /* Always 0. */
    int32_t reserved;
} clv_address;

/* Sees one address; it is valid until it returns. */
typedef void (*clv_address_visit)(void *user, const clv_address *address);

/* Why a session moves, one of CLV_MOVE_... */
typedef int32_t clv_move_cause;

/* This node: it can be reached there. */
#define CLV_ADDRESS_OWN 1
/* The program, with a connect. */
#define CLV_ADDRESS_GIVEN 2
/* The peer announced it. */
#define CLV_ADDRESS_ANNOUNCED 3
/* Whoever moved the session there; it was neither given nor announced. */
#define CLV_ADDRESS_MOVED 4
/* A program wanted it: clv_session_roam. */
#define CLV_MOVE_ASKED 1
/* The other end asked for it: clv_session_goto. */
#define CLV_MOVE_GOTO 2
/* The path is congested, and another one is not. */
#define CLV_MOVE_CONGESTION 3

/*
 * Tells the peers where the node can be reached, from now on and instead of what the library finds out itself: the
 * addresses at which it listens, on each interface that is up. Behind a port forwarding that is the only way.
 *
 * addresses are count texts "host:port", at most 64, none for 0; NULL lets the library find out again. Any
 * thread; does not block. Errors: CLV_E_ARG, and then nothing changes; CLV_E_HANDLE; CLV_E_CLOSED; CLV_E_FORKED.
 */
clv_status clv_node_announce(clv_node node, const char *const *addresses, size_t count);

/*
 * Shows each every address that the node announces, on this thread. Any thread; does not block. Errors:
 * CLV_E_ARG; CLV_E_HANDLE; CLV_E_CLOSED; CLV_E_FORKED.
 */
clv_status clv_node_addresses(clv_node node, clv_address_visit each, void *user);

/*
 * Shows each every address of the session's peer, on this thread: those that were given with a connect, then those
 * that the peer announced. When connections fail, they are dialled in this order, beginning with the one that was
 * reached last.
 *
 * Any thread; does not block. Errors: CLV_E_ARG; CLV_E_HANDLE, also when it is over and forgotten.
 */
clv_status clv_session_addresses(clv_session session, clv_address_visit each, void *user);

/*
 * Moves the session to another connection: to address of the peer first, or (NULL) to any that no connection uses.
 * If nobody answers there, the next one is taken. The old connection goes when the new one is proven; nothing is
 * lost by it, and nothing waits for it.
 *
 * Any thread; does not block: CLV_EVENT_MOVE_BEGAN and then CLV_EVENT_LINK_ATTACHED or CLV_EVENT_MOVE_FAILED of the
 * session tell how it went. Errors: CLV_E_STATE this end knows no address of the peer; CLV_E_ARG; CLV_E_LOST,
 * CLV_E_CLOSED; CLV_E_HANDLE.
 */
clv_status clv_session_roam(clv_session session, const char *address);

/*
 * Asks the peer, whose part it is to connect, to move the session to address of this node first, or (NULL) to any
 * other that it knows. If nobody answers there it takes the next one.
 *
 * Any thread; does not block. Errors: CLV_E_ARG; CLV_E_AGAIN no room now; CLV_E_LOST, CLV_E_CLOSED; CLV_E_HANDLE.
 */
clv_status clv_session_goto(clv_session session, const char *address);

/* ---- Channels -------------------------------------------------------------------------------------------------- */

/*
 * What a channel carries, for clv_channel_open.
 *
 * With stored it outlives the processes at its ends, and what was sent arrives in order and
 *
 * sender                     receiver
 * lives                      lives                      exactly once
 * lives                      dies                       at least once since the last clv_ack (*)
 * dies                       lives                      exactly once, if clv_channel_send confirmed it
 * dies                       dies                       if confirmed, at least once since the last clv_ack (*)
 * lives, or dies             dies without a store_dir   lost, as the session reports
 * dies without a store_dir   lives, or dies             a first part of it, and the receiver is told
 * dies without a store_dir   dies without a store_dir   not at all
 *
 * where who dies comes back with the store_dir that it had. (*) Exactly once, if the program stores the id of a
 * message together with its effect: the sid of the session, the number of the channel and clv_delivery.end.
 */
typedef struct clv_channel_options {
    /* sizeof(clv_channel_options): begin with CLV_CHANNEL_OPTIONS_INIT. */
    size_t struct_size;
    /* Not 0: a stream of bytes instead of messages. */
    int32_t bytes;
    /* Not 0: yields to everything else, and may use the bulk connections of a session. */
    int32_t bulk;
    /*
     * Not 0: outlives the process, as said above. Each end needs the option store_dir, a directory, to keep its half;
     * the end that opens the channel must have it. What came and is not acknowledged (clv_ack) is at most 16 MiB: then
     * the peer pauses.
     */
    int32_t stored;
    /* Always 0. */
    int32_t reserved;
} clv_channel_options;

/* What is to be known of a message, or of some bytes, that clv_channel_take answers. */
typedef struct clv_delivery {
    /* sizeof(clv_delivery): begin with CLV_DELIVERY_INIT. */
    size_t struct_size;
    /*
     * Where it ends in the channel, for clv_ack; the same after a restart, and larger with each one. 0 when this end
     * does not store the channel.
     */
    uint64_t end;
    /* Not 0: an earlier process may have taken it, and did not acknowledge it. */
    int32_t redelivered;
    /* Always 0. */
    int32_t reserved;
    /*
     * What that process said last with clv_restart_point while this was the first message that it had not
     * acknowledged; NULL for nothing. Yours: clv_buffer_free.
     */
    clv_buffer *restart_point;
} clv_delivery;

/*
 * Opens a channel, by default of messages. name tells the peer what it is for, at most 255 bytes;
 * options may be NULL. The peer hears of it at once; of a stored one as soon as it is on the disk.
 *
 * What a stored channel promises stands at clv_channel_options. After a restart with the same store_dir clv_accept
 * gives its session out, and clv_channel_accept the channel itself, whichever end opened it.
 *
 * *out is yours until clv_channel_close. Any thread; blocks while too many are open, but for 0. Errors:
 * CLV_E_CHANNELS too many are open, for 0; CLV_E_TIMEOUT; CLV_E_DRAINING; CLV_E_LOST, CLV_E_CLOSED;
 * CLV_E_IN_CALLBACK; CLV_E_UNSUPPORTED, also for a stored one without store_dir; CLV_E_ENCODING; CLV_E_ARG;
 * CLV_E_HANDLE.
 */
clv_status clv_channel_open(clv_session session,
                            const char *name,
                            const clv_channel_options *options,
                            int64_t timeout_ms,
                            clv_channel *out);

/*
 * Takes the next channel that the peer opened, or a stored one, of either end, that is without a handle: because an
 * earlier process had it, or because its handle was closed.
 *
 * *out is yours until clv_channel_close. Any thread; blocks, but for 0. Errors: CLV_E_AGAIN none now,
 * for 0; CLV_E_TIMEOUT; CLV_E_LOST, CLV_E_CLOSED none will come; CLV_E_IN_CALLBACK; CLV_E_ARG; CLV_E_HANDLE.
 */
clv_status clv_channel_accept(clv_session session, int64_t timeout_ms, clv_channel *out);

/*
 * What the channel is for, as the end that opened it said. 256 bytes are room enough. Any thread; does not
 * block. Errors: CLV_E_SIZE; CLV_E_ARG; CLV_E_HANDLE.
 */
clv_status clv_channel_name(clv_channel channel, char *out, size_t capacity);

/*
 * Whether it is a stream of bytes (1) or a sequence of messages (0). Any thread; does not block. Errors:
 * CLV_E_ARG; CLV_E_HANDLE.
 */
clv_status clv_channel_is_bytes(clv_channel channel, int32_t *out);

/*
 * Sends one message, or all of the bytes, by copy: the memory is yours again at once. A message may be
 * empty.
 *
 * On a channel that this end stores it waits until all of it is on the disk, and so confirms it. If that takes
 * longer the answer is CLV_E_UNCONFIRMED: it is queued, must not be sent again, and clv_channel_confirm waits for
 * it. With 0 that is the usual answer.
 *
 * Any thread; blocks while the peer reads too slowly. With 0 it does not block and answers CLV_E_AGAIN when
 * there is no room; of a stream of bytes a part may have been sent by then and after CLV_E_TIMEOUT, so use
 * clv_channel_try_send there. Errors: CLV_E_SIZE a message above the limit; CLV_E_STOPPED the peer reads
 * no more; CLV_E_CLOSED after clv_channel_end, or the session closed; CLV_E_LOST; CLV_E_TIMEOUT;
 * CLV_E_UNCONFIRMED; CLV_E_IN_CALLBACK; CLV_E_ARG; CLV_E_HANDLE.
 */
clv_status clv_channel_send(clv_channel channel, const void *data, size_t size, int64_t timeout_ms);

/*
 * Waits until everything that was sent on the channel is on the disk: it arrives then, even if this process dies.
 * At once on a channel that this end does not store.
 *
 * Any thread; blocks, but for 0. Errors: CLV_E_UNCONFIRMED not yet; CLV_E_LOST, CLV_E_CLOSED; CLV_E_IN_CALLBACK;
 * CLV_E_ARG; CLV_E_HANDLE.
 */
clv_status clv_channel_confirm(clv_channel channel, int64_t timeout_ms);

/*
 * Sends a message if there is room for it, or as many of the bytes as there is room for, at least one.
 * Nothing of it is confirmed.
 *
 * sent (may be NULL) gets how many bytes were taken. Any thread; never blocks. Errors: CLV_E_AGAIN no
 * room: an event of clv_channel_watch will tell; otherwise as clv_channel_send.
 */
clv_status clv_channel_try_send(clv_channel channel, const void *data, size_t size, size_t *sent);

/*
 * Takes the next message, or some bytes, into memory of yours.
 *
 * *received gets their number. A message that does not fit stays: the answer is then CLV_E_SIZE, and
 * *received the room that it needs. Any thread; blocks until there is something, but for 0. Errors:
 * CLV_E_END after the last message or byte; CLV_E_RESET, or the number that the peer gave, where it broke
 * off; CLV_E_LOST, CLV_E_CLOSED when the session ended before the end; CLV_E_AGAIN nothing now, for 0;
 * CLV_E_TIMEOUT; CLV_E_IN_CALLBACK; CLV_E_ARG; CLV_E_HANDLE.
 */
clv_status clv_channel_recv(clv_channel channel, void *data, size_t capacity, int64_t timeout_ms, size_t *received);

/*
 * Takes the next message, or some bytes (at most 64 KiB), without a copy.
 *
 * *out belongs to you: clv_buffer_free. Any thread; blocks until there is something, but for 0. Errors:
 * as clv_channel_recv, but for CLV_E_SIZE.
 */
clv_status clv_channel_recv_buffer(clv_channel channel, int64_t timeout_ms, clv_buffer **out);

/*
 * As clv_channel_recv_buffer, and answers in *delivery what clv_ack needs to be done with it. For stored
 * channels: what is taken in another way comes again after a restart, too, unless something after it is acknowledged.
 *
 * *out belongs to you: clv_buffer_free. Any thread; blocks until there is something, but for 0. Errors:
 * as clv_channel_recv, but for CLV_E_SIZE.
 */
clv_status clv_channel_take(clv_channel channel, int64_t timeout_ms, clv_buffer **out, clv_delivery *delivery);

/*
 * The program is done with everything that it took of a stored channel up to end of a clv_delivery: no process gets
 * it again. Waits until that is on the disk.
 *
 * To be done with less than before changes nothing, nor does it at an end without store_dir. Any thread; blocks, but
 * for 0. Errors: CLV_E_UNCONFIRMED it is noted, and not on the disk yet; CLV_E_STATE the channel is not a stored one;
 * CLV_E_LOST, CLV_E_CLOSED; CLV_E_IN_CALLBACK; CLV_E_ARG, also for more than was taken; CLV_E_HANDLE.
 */
clv_status clv_ack(clv_channel channel, uint64_t end, int64_t timeout_ms);

/*
 * Notes how far the work is on the first message of a stored channel that was not acknowledged: at most 64 KiB that
 * mean something to this program, copied. If this process dies the next one gets them with that message, in
 * clv_delivery.restart_point, and need not begin anew. The next call takes their place; clv_ack of the message ends
 * them. Waits until they are on the disk.
 *
 * Any thread; blocks, but for 0. Errors: CLV_E_UNCONFIRMED noted, and not on the disk yet; CLV_E_SIZE; CLV_E_STATE
 * the channel is not a stored one; CLV_E_LOST, CLV_E_CLOSED; CLV_E_IN_CALLBACK; CLV_E_ARG; CLV_E_HANDLE.
 */
clv_status clv_restart_point(clv_channel channel, const void *data, size_t size, int64_t timeout_ms);

/*
 * This end sends no more: the peer takes the rest and then gets CLV_E_END. Taking goes on here. Any thread;
 * does not block. Errors: CLV_E_HANDLE, also when the session is over.
 */
clv_status clv_channel_end(clv_channel channel);

/*
 * This end breaks off: what was not sent yet is dropped, and the peer gets CLV_E_RESET with why (at most
 * 255 bytes of it). Taking goes on here. Any thread; does not block. Errors: CLV_E_HANDLE, also when the
 * session is over; CLV_E_ARG.
 */
clv_status clv_channel_reset(clv_channel channel, const char *why);

/*
 * This end takes no more: sends of the peer end with CLV_E_STOPPED. Any thread; does not block. Without
 * effect after the end. Errors: CLV_E_HANDLE.
 */
clv_status clv_channel_stop(clv_channel channel);

/*
 * Counts of the channel. Any thread; does not block. Errors: CLV_E_HANDLE, also when the session is over and
 * forgotten; CLV_E_ARG.
 */
clv_status clv_channel_get_report(clv_channel channel, clv_channel_report *out);

/*
 * From now on the node's events CLV_EVENT_READABLE and CLV_EVENT_WRITABLE with this token tell when
 * something changed here; the first ones come at once. Take, or send, until CLV_E_AGAIN after each: like an
 * edge-triggered poll, the next event comes only then. For programs that wait for everything at
 * clv_node_fd.
 *
 * Any thread; does not block. Errors: CLV_E_HANDLE, also when the session is over and forgotten.
 */
clv_status clv_channel_watch(clv_channel channel, uint64_t token);

/*
 * Ends the handle: what was written is still delivered, what was not taken is dropped. Threads that wait on
 * the channel get CLV_E_HANDLE. A stored channel goes on until both ends ended it: clv_channel_accept gives it out
 * again, and there what this handle took counts as taken.
 *
 * Any thread; does not block. Errors: CLV_E_HANDLE.
 */
clv_status clv_channel_close(clv_channel channel);

/* ---- Calls ----------------------------------------------------------------------------------------------------- */

/* Whether a call was run, one of CLV_OUTCOME_... */
typedef int32_t clv_outcome;

/* It was run, and what came back is its answer: the whole reply, or the failure of its handler. */
#define CLV_OUTCOME_REPLY 1
/* It was certainly not run: it is safe to call again. */
#define CLV_OUTCOME_NOT_RUN 2
/* It was run or not: that cannot be known here. */
#define CLV_OUTCOME_UNKNOWN 3

/*
 * Calls a service of the peer and waits for its whole reply; parts of a streamed one are joined.
 * timeout_ms is the deadline, which the handler sees too. The memory of the request is yours again at
 * once.
 *
 * *reply belongs to you: clv_buffer_free. Any thread; blocks. Errors: what the peer answered, such as
 * CLV_E_NO_SERVICE, CLV_E_LEVEL, CLV_E_BUSY and CLV_E_CALL_FAILED with the handler's text; CLV_E_TIMEOUT;
 * CLV_E_SIZE; CLV_E_DRAINING; CLV_E_LOST, CLV_E_CLOSED; CLV_E_IN_CALLBACK; CLV_E_ENCODING; CLV_E_ARG;
 * CLV_E_HANDLE. To learn after a failure whether it was run, use clv_call_start and clv_call_outcome.
 */
clv_status clv_call(clv_session session,
                    const char *service,
                    const void *request,
                    size_t size,
                    int64_t timeout_ms,
                    clv_buffer **reply);

/*
 * Starts a call and does not wait for it. When nothing came after deadline_ms (-1: never), it is given up.
 *
 * *out is yours until clv_call_close. Any thread; does not block. Errors: CLV_E_AGAIN no room for the
 * request; CLV_E_CHANNELS too many calls and channels are open; CLV_E_SIZE; CLV_E_DRAINING; CLV_E_LOST,
 * CLV_E_CLOSED; CLV_E_ENCODING; CLV_E_ARG; CLV_E_HANDLE. Then nothing was sent.
 */
clv_status clv_call_start(clv_session session,
                          const char *service,
                          const void *request,
                          size_t size,
                          int64_t deadline_ms,
                          clv_pending_call *out);

/*
 * Takes the next part of the reply; CLV_E_END once the reply is whole.
 *
 * *part belongs to you: clv_buffer_free. Any thread; blocks, but for 0. Errors: CLV_E_AGAIN nothing now,
 * for 0; CLV_E_CANCELLED; otherwise as clv_call. Except after CLV_E_AGAIN and a wait that is over,
 * clv_call_outcome then tells whether it was run.
 */
clv_status clv_call_receive(clv_pending_call call, int64_t timeout_ms, clv_buffer **part);

/*
 * From now on the node's event CLV_EVENT_READABLE with this token tells when a part of the reply, or its
 * end, came; the first one comes at once. Receive with 0 until CLV_E_AGAIN after each.
 *
 * Any thread; does not block. Errors: CLV_E_HANDLE, also when the session is over and forgotten.
 */
clv_status clv_call_watch(clv_pending_call call, uint64_t token);

/*
 * Gives up: the handler is told, and clv_call_receive answers CLV_E_CANCELLED. Any thread; does not block;
 * without effect after the end. Errors: CLV_E_HANDLE.
 */
clv_status clv_call_cancel(clv_pending_call call);

/*
 * Whether the call was run, once clv_call_receive came to an end; CLV_OUTCOME_UNKNOWN before. Any thread;
 * does not block. Errors: CLV_E_ARG; CLV_E_HANDLE.
 */
clv_status clv_call_outcome(clv_pending_call call, clv_outcome *out);

/*
 * Names the call between both ends, as clv_request_call_id does there. 64 bytes are room enough. Any
 * thread; does not block. Errors: CLV_E_SIZE; CLV_E_ARG; CLV_E_HANDLE.
 */
clv_status clv_call_id(clv_pending_call call, char *out, size_t capacity);

/*
 * Ends the handle; a call whose reply is not whole is cancelled. Any thread; does not block. Errors:
 * CLV_E_HANDLE.
 */
clv_status clv_call_close(clv_pending_call call);

/* ---- Services -------------------------------------------------------------------------------------------------- */

/* How a service is offered, for clv_serve. */
typedef struct clv_service_options {
    /* sizeof(clv_service_options): begin with CLV_SERVICE_OPTIONS_INIT. */
    size_t struct_size;
    /*
     * Not 0: run the handler on the thread of the node: fastest, but it must never block
     * (CLV_E_IN_CALLBACK), and everything else of the node waits for it.
     */
    int32_t run_inline;
    /* Level that a caller needs; 1 is every authorised peer. */
    int32_t level_min;
} clv_service_options;

/*
 * Runs one call of a service: reads request, answers with clv_reply, and returns CLV_OK.
 *
 * Any other answer is the caller's CLV_E_CALL_FAILED, with the text of clv_reply_error; CLV_E_NOT_RUN,
 * CLV_E_BUSY and CLV_E_DENIED reach the caller as they are. It runs on a thread of the library, beside other
 * handlers, with no lock held; in a caller-driven node inside clv_node_run_once. It must not throw and
 * must not leave by longjmp.
 */
typedef clv_status (*clv_handler)(void *user, clv_request request);

/* What a handler may want to know of its call. */
typedef struct clv_request_info {
    /* sizeof(clv_request_info): begin with CLV_REQUEST_INFO_INIT. */
    size_t struct_size;
    /* The caller's level. */
    int32_t caller_level;
    /* Not 0: the caller gave up, or its session ended; nobody waits for the reply. */
    int32_t is_cancelled;
    /* Milliseconds until the caller gives up; -1 when it waits for ever. */
    int64_t remaining_ms;
} clv_request_info;

/*
 * Offers a service to peers under a name of at most 255 bytes. options may be NULL.
 *
 * user is handed to the handler. drop (may be NULL) frees it, exactly once, when the service is
 * withdrawn and its last handler has returned, or when this function fails. Any thread; does not block.
 * Errors: CLV_E_IN_USE the name is taken; CLV_E_LIMIT; CLV_E_UNSUPPORTED; CLV_E_ENCODING; CLV_E_ARG;
 * CLV_E_HANDLE; CLV_E_CLOSED.
 */
clv_status clv_serve(clv_node node,
                     const char *name,
                     const clv_service_options *options,
                     clv_handler handler,
                     void *user,
                     clv_drop drop);

/*
 * Offers a service no more; calls that run go on. Any thread; does not block. Errors: CLV_E_NO_SERVICE;
 * CLV_E_ENCODING; CLV_E_ARG; CLV_E_HANDLE; CLV_E_CLOSED.
 */
clv_status clv_unserve(clv_node node, const char *name);

/*
 * The request. The bytes belong to the library as long as the handle is good, and do not end with a zero byte.
 *
 * Any thread; does not block. Errors: CLV_E_ARG; CLV_E_HANDLE.
 */
clv_status clv_request_data(clv_request request, const void **data, size_t *size);

/*
 * The caller's session, for attaching objects and the like. The handle is good as long as that of the request,
 * does not keep the session open, and need not be closed.
 *
 * Any thread; does not block. Errors: CLV_E_ARG; CLV_E_HANDLE.
 */
clv_status clv_request_session(clv_request request, clv_session *out);

/*
 * Names the call between both ends, for logs and for making its effects unique. 64 bytes are room enough.
 * Any thread; does not block. Errors: CLV_E_SIZE; CLV_E_ARG; CLV_E_HANDLE.
 */
clv_status clv_request_call_id(clv_request request, char *out, size_t capacity);

/*
 * Level, patience and presence of the caller, as of now. Any thread; does not block. Errors: CLV_E_ARG;
 * CLV_E_HANDLE.
 */
clv_status clv_request_get_info(clv_request request, clv_request_info *out);

/*
 * Sets the reply, or the last part of a streamed one, by copy; it is sent when the handler returns CLV_OK,
 * or with clv_request_finish. Without it the reply is empty.
 *
 * Any thread; does not block. Errors: CLV_E_STATE it was set before; CLV_E_ARG; CLV_E_HANDLE.
 */
clv_status clv_reply(clv_request request, const void *data, size_t size);

/*
 * Sends one part of a streamed reply, by copy. What clv_reply sets is the last part.
 *
 * Any thread; blocks until there is room, without end but for the session's. Errors: CLV_E_STOPPED the
 * caller gave up; CLV_E_LOST, CLV_E_CLOSED its session ended; CLV_E_AGAIN no room, in an inline handler or
 * once it is deferred; CLV_E_SIZE; CLV_E_ARG; CLV_E_HANDLE.
 */
clv_status clv_reply_part(clv_request request, const void *data, size_t size);

/*
 * Says why the call failed, for a handler that will not return CLV_OK, or a clv_request_finish without it. At most
 * 255 bytes reach the caller.
 *
 * Any thread; does not block. Errors: CLV_E_ENCODING; CLV_E_ARG; CLV_E_HANDLE.
 */
clv_status clv_reply_error(clv_request request, const char *text);

/*
 * In a handler: leaves the answer for later, to any thread, which gives it with clv_request_finish. The handler then
 * returns CLV_OK, and no thread waits; any other status answers the call at once. The handle is good until then.
 *
 * The request counts as one that waits until it is answered: when those of a session are more than
 * session_budget_bytes, further calls are answered CLV_E_BUSY. A close of the node waits for it, and names the service
 * when it waited in vain. Any thread; does not block. Errors: CLV_E_STATE it is deferred already; CLV_E_HANDLE.
 */
clv_status clv_request_defer(clv_request request);

/*
 * From now on the node's event CLV_EVENT_READABLE with this token tells that the caller of a deferred request gave up
 * (clv_request_get_info), and CLV_EVENT_WRITABLE that there is room for clv_reply_part after CLV_E_AGAIN. Both
 * come once at once.
 *
 * Any thread; does not block. Errors: CLV_E_STATE it is not deferred; CLV_E_HANDLE, also when its session is over and
 * forgotten; CLV_E_CLOSED.
 */
clv_status clv_request_watch(clv_request request, uint64_t token);

/*
 * Answers a deferred request: status is what the handler would have returned. Ends the handle, also when the caller
 * is gone.
 *
 * Any thread; does not block: what has no room yet is sent when there is. Errors: CLV_E_STATE it is not deferred;
 * CLV_E_HANDLE.
 */
clv_status clv_request_finish(clv_request request, clv_status status);

/* ---- Living objects -------------------------------------------------------------------------------------------- */

/*
 * The callbacks of one kind of object, for clv_kind_register. NULL members are as if they were not there.
 *
 * They run on threads of the library (in a caller-driven node inside clv_node_run_once), with no lock held,
 * and never beside each other for one object, except abandon. They must not throw and must not leave by
 * longjmp.
 */
typedef struct clv_kind {
    /* sizeof(clv_kind): begin with CLV_KIND_INIT. */
    size_t struct_size;
    /* Ends an object, exactly once, never beside a function that uses it. Must not be NULL. */
    void (*destroy)(void *user, void *object);
    /*
     * Contact with the owner is lost: writes with clv_embalming_write what the object can be made again from,
     * frees it, and answers CLV_OK. Any other answer means that it is still there; it is destroyed then. With
     * it goes revive.
     */
    clv_status (*embalm)(void *user, void *object, clv_embalming embalming);
    /*
     * Makes an object from what embalm wrote: its owner came back, or embalm_ms passed and it is destroyed next.
     * When it does not answer CLV_OK, the object is ended by discard.
     */
    clv_status (*revive)(void *user, const void *data, size_t size, void **object);
    /* Ends an object that is embalmed, in place of revive and destroy: sees what embalm wrote. */
    void (*discard)(void *user, const void *data, size_t size);
    /*
     * The grace is over and a function still uses the object: makes that function stop, without freeing
     * anything. It runs beside that function.
     */
    void (*abandon)(void *user, void *object);
    /*
     * Writes one line about an object, with its zero byte, for clv_object_print. Runs on the thread that
     * asks.
     */
    void (*print)(void *user, void *object, char *out, size_t capacity);
    /* Handed to all of them. */
    void *user;
    /*
     * Frees user, exactly once, when the last callback that may see it has returned, or when
     * clv_kind_register fails; it is not seen when struct_size is no size of this struct.
     */
    clv_drop drop;
    /* How long an object may be embalmed. */
    int64_t embalm_ms;
    /* Level that an owner needs; 1 is every authorised peer. */
    int32_t level_min;
    /* Always 0. */
    int32_t reserved;
} clv_kind;

/* Uses an object: sees the pointer that was attached. */
typedef void (*clv_object_fn)(void *user, void *object);

/* State of an object, one of CLV_OBJECT_... */
typedef int32_t clv_object_state;

/* What is known of an object that is kept here. */
typedef struct clv_object_info {
    /* sizeof(clv_object_info), set by the library. */
    size_t struct_size;
    /* Which; 0 is the registration. */
    clv_object object;
    /* Its state. */
    clv_object_state state;
    /* Uses that have not ended. */
    int32_t in_service;
    /* How long it lives without a touch; -1 for as long as its session. */
    int64_t ttl_ms;
    /* Data that the owner left; valid as long as the struct. */
    const void *data;
    /* How many bytes. */
    size_t data_size;
    /* Its kind. */
    char kind[256];
} clv_object_info;

/* Sees one object; the struct is valid until it returns. */
typedef void (*clv_object_visit)(void *user, const clv_object_info *info);

/* Sees one line; it is valid until it returns. */
typedef void (*clv_line_visit)(void *user, const char *line);

/* One call that was run here for the peer. */
typedef struct clv_task_info {
    /* sizeof(clv_task_info), set by the library. */
    size_t struct_size;
    /* The call's channel. */
    uint64_t call;
    /* When its handler began, in nanoseconds of CLOCK_BOOTTIME. */
    uint64_t started_ns;
    /* When its handler returned; 0 while it runs. */
    uint64_t finished_ns;
    /* Not 0: it replied. */
    int32_t replied;
    /* Always 0. */
    int32_t reserved;
    /* Which service. */
    char service[256];
} clv_task_info;

/* Sees one call; the struct is valid until it returns. */
typedef void (*clv_task_visit)(void *user, const clv_task_info *info);

/* In use. */
#define CLV_OBJECT_ALIVE 1
/* Its end has begun: nothing new may use it. */
#define CLV_OBJECT_POISONED 2
/* Its owner is out of contact, and it is kept as the bytes that its embalm wrote. */
#define CLV_OBJECT_EMBALMED 3
/* Over. */
#define CLV_OBJECT_DEAD 4

/*
 * Makes a kind of objects known, before objects of it are attached. name has at most 255 bytes.
 *
 * The struct is copied. Any thread; does not block. Errors: CLV_E_IN_USE the name is taken; CLV_E_LIMIT;
 * CLV_E_UNSUPPORTED; CLV_E_ENCODING; CLV_E_ARG; CLV_E_HANDLE; CLV_E_CLOSED.
 */
clv_status clv_kind_register(clv_node node, const char *name, const clv_kind *kind);

/*
 * Writes what an object can be made again from, by copy, behind what was written before; 16 MiB together.
 *
 * Good inside of the embalm callback that was given the handle, on any thread; does not block. Errors: CLV_E_SIZE
 * nothing of it is written; CLV_E_ARG; CLV_E_HANDLE the callback has returned.
 */
clv_status clv_embalming_write(clv_embalming embalming, const void *data, size_t size);

/*
 * Keeps an object of a registered kind here, owned by the peer of the session: it ends when the peer is
 * gone, when ttl_ms pass without a touch of the owner (-1: as long as the session), or when either side
 * ends it.
 *
 * From success on the object belongs to its kind's callbacks; on an error it is still yours. Any thread;
 * does not block. Errors: CLV_E_POISONED the session is ending; CLV_E_AGAIN it is embalmed; CLV_E_LEVEL; CLV_E_LIMIT;
 * CLV_E_ARG, also an unknown kind; CLV_E_ENCODING; CLV_E_HANDLE; CLV_E_CLOSED.
 */
clv_status clv_object_attach(clv_session session, const char *kind, void *object, int64_t ttl_ms, clv_object *out);

/*
 * Takes an object, embalmed in the session from, over to another session with the same host, because from ended
 * or its peer is another process now: its kind's revive runs, and CLV_EVENT_OBJECT_REVIVED tells its number there.
 *
 * Any thread; does not block. Errors: CLV_E_STATE it is not embalmed; CLV_E_DENIED the hosts differ; CLV_E_POISONED
 * to is over; CLV_E_AGAIN it is embalmed itself; CLV_E_LIMIT; CLV_E_HANDLE.
 */
clv_status clv_object_revive(clv_session from, clv_object object, clv_session to);

/*
 * Runs each with an object that is kept here, on this thread; its end waits meanwhile.
 *
 * Any thread; blocks as long as each does. Errors: CLV_E_POISONED its end has begun, or it is embalmed; CLV_E_HANDLE
 * there is none; CLV_E_ARG.
 */
clv_status clv_object_use(clv_session session, clv_object object, clv_object_fn each, void *user);

/*
 * Ends an object that is kept here, before its owner does. Its destroy runs later. Any thread; does not
 * block. Errors: CLV_E_HANDLE.
 */
clv_status clv_object_end(clv_session session, clv_object object);

/*
 * A sign of life for one object that the peer keeps for this end. Any thread; does not block. Errors:
 * CLV_E_AGAIN no room now; CLV_E_LOST; CLV_E_HANDLE.
 */
clv_status clv_object_touch(clv_session session, clv_object object);

/*
 * Leaves data, at most 16 KiB, in an object that the peer keeps for this end. Any thread; does not block.
 * Errors: CLV_E_SIZE; CLV_E_AGAIN no room now; CLV_E_LOST; CLV_E_ARG; CLV_E_HANDLE.
 */
clv_status clv_object_update(clv_session session, clv_object object, const void *data, size_t size);

/*
 * An object that the peer keeps for this end is not needed any more. Any thread; does not block. Errors:
 * CLV_E_AGAIN no room now; CLV_E_LOST; CLV_E_HANDLE.
 */
clv_status clv_object_release(clv_session session, clv_object object);

/*
 * Shows the objects that are kept here for the peer of a session to each, the registration (object 0)
 * first, on this thread.
 *
 * Any thread; does not block. Errors: CLV_E_ARG; CLV_E_HANDLE.
 */
clv_status clv_object_list(clv_session session, clv_object_visit each, void *user);

/*
 * Shows one line for each object that is kept here for the peer to each, by the print of its kind where
 * there is one, on this thread.
 *
 * Any thread; blocks as long as those functions do. Errors: CLV_E_ARG; CLV_E_HANDLE.
 */
clv_status clv_object_print(clv_session session, clv_line_visit each, void *user);

/*
 * Shows the calls that were run here for the peer to each, oldest first, on this thread; the last 256 are
 * kept.
 *
 * Any thread; does not block. Errors: CLV_E_ARG; CLV_E_HANDLE.
 */
clv_status clv_task_list(clv_session session, clv_task_visit each, void *user);

/* ---- Plain descriptors ----------------------------------------------------------------------------------------- */

/*
 * For descriptors: a pair of Unix sockets instead of TCP over loopback. Cheaper, and without ports; but its
 * reader cannot tell a loss from the end.
 */
#define CLV_FD_UNIX 1

/*
 * Opens a channel of bytes and gives a plain connected descriptor whose other end it is: read, write,
 * select, poll, stdio, half-close and TCP_NODELAY work on it, and it outlives the connections of the
 * session. name tells the peer what it is for; the peer takes it by clv_accept_fd, or as a channel.
 *
 * *fd is yours: close it as any descriptor. It blocks until you say otherwise, is closed on exec, and
 * keeps the session open as a handle does. When the session is lost or the peer breaks off, reading fails
 * with ECONNRESET and never ends as if all had come. The node must have its own thread, or run meanwhile.
 * Any thread; does not wait for the peer. Errors: CLV_E_CHANNELS; CLV_E_DRAINING; CLV_E_SYSTEM no more
 * descriptors; CLV_E_LOST, CLV_E_CLOSED; CLV_E_ENCODING; CLV_E_ARG; CLV_E_HANDLE.
 */
clv_status clv_dial_fd(clv_session session, const char *name, uint32_t flags, int *fd);

/*
 * Takes the next channel that the peer opened, and gives a plain connected descriptor for it; see
 * clv_dial_fd. To look at its name first, use clv_channel_accept, clv_channel_name and
 * clv_channel_into_fd.
 *
 * *fd is yours: close it as any descriptor. Any thread; blocks, but for 0. Errors: CLV_E_AGAIN none now,
 * for 0; CLV_E_TIMEOUT; CLV_E_STATE the channel carries messages, and was given back; CLV_E_SYSTEM;
 * CLV_E_LOST, CLV_E_CLOSED; CLV_E_IN_CALLBACK; CLV_E_ARG; CLV_E_HANDLE.
 */
clv_status clv_accept_fd(clv_session session, int64_t timeout_ms, uint32_t flags, int *fd);

/*
 * Turns a channel of bytes into a plain connected descriptor; see clv_dial_fd. On success the handle of
 * the channel is gone, on an error it stays.
 *
 * *fd is yours: close it as any descriptor. Any thread; does not block. Errors: CLV_E_STATE the channel
 * carries messages; CLV_E_SYSTEM; CLV_E_ARG; CLV_E_HANDLE.
 */
clv_status clv_channel_into_fd(clv_channel channel, uint32_t flags, int *fd);

/* ---- Log ------------------------------------------------------------------------------------------------------- */

/* How important a log line is; a lower number is more important. */
typedef int32_t clv_log_level;

/* Gets one line, without a newline; it is valid until the function returns. */
typedef void (*clv_log_fn)(void *user, clv_log_level level, const char *line);

/* Something failed and will not mend itself. */
#define CLV_LOG_ERROR 1
/* Somebody should look at it. */
#define CLV_LOG_WARN 2
/* What an operator wants to see. */
#define CLV_LOG_INFO 3
/* What a developer wants to see. */
#define CLV_LOG_DEBUG 4

/*
 * Sends log lines of this level and more important ones to log, in order and one at a time, on a thread of
 * the library; replaces the function set before. Lines beyond 1,024 waiting ones are dropped and counted.
 *
 * drop (may be NULL) frees user, exactly once, when the function is replaced, the node is closed, or
 * this function fails. Any thread; does not block. Errors: CLV_E_ARG; CLV_E_HANDLE.
 */
clv_status clv_log_set(clv_node node, clv_log_level level, clv_log_fn log, void *user, clv_drop drop);

/* ---- First values ---------------------------------------------------------------------------------------------- */

/* First values of the structs that begin with their size. */
#ifdef __cplusplus
extern "C++" {
template <typename T> inline T clv_sized()
{
    T value = T();
    value.struct_size = sizeof(T);
    return value;
}
template <typename T> inline T clv_sized_for_level(int32_t level)
{
    T value = clv_sized<T>();
    value.level_min = level;
    return value;
}
}
#define CLV_SIZED(type) clv_sized<type>()
#define CLV_SIZED_FOR_LEVEL(type, level) clv_sized_for_level<type>(level)
#else
#define CLV_SIZED(type) { .struct_size = sizeof(type) }
#define CLV_SIZED_FOR_LEVEL(type, level) { .struct_size = sizeof(type), .level_min = (level) }
#endif

#define CLV_EVENT_INIT CLV_SIZED(clv_event)
#define CLV_LOSS_INIT CLV_SIZED(clv_loss)
#define CLV_LEFTOVERS_INIT CLV_SIZED(clv_leftovers)
#define CLV_COUNTERS_INIT CLV_SIZED(clv_counters)
#define CLV_CHANNEL_REPORT_INIT CLV_SIZED(clv_channel_report)
#define CLV_SESSION_INFO_INIT CLV_SIZED(clv_session_info)
#define CLV_REQUEST_INFO_INIT CLV_SIZED(clv_request_info)
#define CLV_CONNECT_OPTIONS_INIT CLV_SIZED(clv_connect_options)
#define CLV_CHANNEL_OPTIONS_INIT CLV_SIZED(clv_channel_options)
#define CLV_DELIVERY_INIT CLV_SIZED(clv_delivery)
#define CLV_SERVICE_OPTIONS_INIT CLV_SIZED_FOR_LEVEL(clv_service_options, 1)
#define CLV_KIND_INIT CLV_SIZED_FOR_LEVEL(clv_kind, 1)

#ifdef __cplusplus
}
#endif

#endif
