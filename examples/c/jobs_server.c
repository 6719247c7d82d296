/*
 * A job queue. Clients put jobs in over a channel; workers take them out by a call. While a worker has a job, the job
 * is a living object of its session: when the worker goes away without having done it, its end puts it back.
 *
 *     cc -std=c99 jobs_server.c -o jobs_server $(pkg-config --cflags --libs clerver) -pthread
 *     ./jobs_server 127.0.0.1:4000            and in other terminals ./jobs_client
 */
#include <clerver.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct job {
    struct job *next;
    int is_done;
    char text[256];
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct job *jobs;

/* Jobs that come back go first. What is printed is in the order in which it happens. */
static void put(struct job *job, int is_first)
{
    struct job **place = &jobs;

    pthread_mutex_lock(&lock);
    printf("%s: %s\n", is_first ? "back in the queue" : "queued", job->text);
    fflush(stdout);
    while (!is_first && *place != NULL)
        place = &(*place)->next;
    job->next = *place;
    *place = job;
    pthread_mutex_unlock(&lock);
}

static struct job *get(void)
{
    struct job *job;

    pthread_mutex_lock(&lock);
    job = jobs;
    if (job != NULL)
        jobs = job->next;
    pthread_mutex_unlock(&lock);
    return job;
}

/* The end of the object, for whatever reason: runs once, on a thread of the library. */
static void end_job(void *user, void *object)
{
    struct job *job = object;

    (void)user;
    if (!job->is_done) {
        put(job, 1);
        return;
    }
    printf("done: %s\n", job->text);
    fflush(stdout);
    free(job);
}

/* Service: answers "number text" and makes the job an object of the caller. */
static clv_status take(void *user, clv_request request)
{
    struct job *job = get();
    clv_session worker;
    clv_object object;
    char text[256], reply[300];

    (void)user;
    if (job == NULL) {
        clv_reply_error(request, "no job is waiting");
        return CLV_E_CALL_FAILED;
    }
    /* From the attach on the job is the library's, and may end at any time. */
    strcpy(text, job->text);
    if (clv_request_session(request, &worker) != CLV_OK ||
        clv_object_attach(worker, "job", job, -1, &object) != CLV_OK) {
        put(job, 1);
        return CLV_E_CALL_FAILED;
    }
    return clv_reply(request, reply, (size_t)sprintf(reply, "%" PRIu64 " %s", object.id, text));
}

static void mark_done(void *user, void *object)
{
    (void)user;
    ((struct job *)object)->is_done = 1;
}

/* Service: the caller has done the job with this number. A number of somebody else's job is refused. */
static clv_status done(void *user, clv_request request)
{
    char text[24] = "";
    const void *data;
    size_t size;
    clv_session worker;
    clv_object object;

    (void)user;
    if (clv_request_data(request, &data, &size) != CLV_OK || size >= sizeof text)
        return CLV_E_SIZE;
    memcpy(text, data, size);
    object.id = strtoull(text, NULL, 10);
    if (clv_request_session(request, &worker) != CLV_OK ||
        clv_object_use(worker, object, mark_done, NULL) != CLV_OK) {
        clv_reply_error(request, "that is no job of yours");
        return CLV_E_CALL_FAILED;
    }
    return clv_object_end(worker, object);
}

/* Takes jobs from one client until it is gone. */
static void *serve_session(void *argument)
{
    clv_session session = *(clv_session *)argument;
    clv_channel channel;
    size_t size;

    free(argument);
    while (clv_channel_accept(session, -1, &channel) == CLV_OK) {
        struct job *job = calloc(1, sizeof *job);

        while (job != NULL && clv_channel_recv(channel, job->text, sizeof job->text - 1, -1, &size) == CLV_OK) {
            put(job, 0);
            clv_channel_send(channel, "queued", 6, -1);
            job = calloc(1, sizeof *job);
        }
        free(job);
        clv_channel_close(channel);
    }
    clv_session_close(session, 0);
    return NULL;
}

static void *accept_sessions(void *argument)
{
    clv_node node = *(clv_node *)argument;
    clv_session session, *copy;
    pthread_t thread;

    while (clv_accept(node, -1, &session) == CLV_OK) {
        copy = malloc(sizeof *copy);
        if (copy == NULL)
            break;
        *copy = session;
        if (pthread_create(&thread, NULL, serve_session, copy) == 0)
            pthread_detach(thread);
    }
    return NULL;
}

int main(int argc, char **argv)
{
    clv_kind kind = CLV_KIND_INIT;
    clv_node node;
    pthread_t acceptor;
    char bound[CLV_ADDRESS_BYTES];

    kind.destroy = end_job;
    if (argc != 2 || clv_node_open(NULL, &node) != CLV_OK || clv_kind_register(node, "job", &kind) != CLV_OK ||
        clv_serve(node, "take", NULL, take, NULL, NULL) != CLV_OK ||
        clv_serve(node, "done", NULL, done, NULL, NULL) != CLV_OK ||
        clv_node_listen(node, argv[1], -1, bound, sizeof bound) != CLV_OK) {
        fprintf(stderr, "usage: jobs_server HOST:PORT\n%s\n%s\n", clv_last_error(), clv_last_remedy());
        return 1;
    }
    if (pthread_create(&acceptor, NULL, accept_sessions, &node) != 0)
        return 1;
    printf("serving at %s; Enter ends it\n", bound);
    fflush(stdout);
    getchar();
    /* Wakes whoever waits. */
    clv_node_close(node, 2000, NULL);
    pthread_join(acceptor, NULL);
    return 0;
}
