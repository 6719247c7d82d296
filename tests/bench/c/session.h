/* The programs over sessions of Clerver. Their yardstick stands in raw.h. */
#ifndef SESSION_H
#define SESSION_H

#include "common.h"

#include <clerver.h>

enum { WAIT_MS = 20000 };

/* Ends the program with what the library said, unless it is CLV_OK. */
void must(clv_status status, const char *what);

/* A node of this name with wishes of the director: `name=value`, or `?name=value` for an option that this library may
 * not have, up to a NULL. */
clv_node open_node(const char *name, char **wishes);

/* Says `ready` and a text, and the names of the options that were wished and are not there. */
void say_ready(const char *text);

/* Offers the services: `inline` and `worker` echo, `clock` tells when the call came, `deliver` lets go what is held. */
void offer_services(clv_node node);

/* Listens at addresses with commas between them, and says `ready` and those that were taken. */
void listen_at_all(clv_node node, const char *addresses);

/* calls.c: one call; calls for some time; the same by several threads. */
void call_once(clv_session session, const char *service);
void call_for(clv_session session, const char *service, uint64_t ms);
void call_by_many(clv_session session, unsigned long threads, const char *service, uint64_t ms);

/* stream.c: messages one way in a tight loop, and their consumers. */
void stream_for(clv_session session, uint64_t ms, size_t size);
void count_large(clv_channel channel);
void count_small(clv_channel channel);

/* lone.c: messages with pauses between them, and their consumer. */
void lone_for(clv_session session, uint64_t ms);
void note_lone(clv_channel channel);

/* push.c: messages of the server during bursts of calls. */
void burst_for(clv_session session, uint64_t ms);
void push_for(clv_channel channel);

/* load.c: calls with pauses between them, beside a channel that carries what the link can. */
void pace_for(clv_session session, uint64_t ms, uint64_t period_us, size_t bulk_bytes);

/* connect.c: from no node to the first reply, again and again. */
void connect_for(const char *address, uint64_t ms, char **wishes);

/* held.c: what a session keeps: objects, and messages whose reader does not read. */
void attach_objects(clv_node node, clv_session session, unsigned long count);
void queue_messages(clv_session session, unsigned long count, size_t size);
void deliver_messages(clv_session session);
void take_held(clv_channel channel);
clv_status let_go(void *user, clv_request request);

void session_serve(char **arguments);
void session_client(char **arguments);
void session_idle(char **arguments);
void many_serve(char **arguments);
void many_client(char **arguments);
void host_id(char **arguments);

#endif
