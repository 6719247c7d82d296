/*
 * A queue of jobs that survives kill -9 of either side: each job is worked on, in order, and none is forgotten.
 *
 *     cc -std=c99 stored.c -o stored $(pkg-config --cflags --libs clerver)
 *     ./stored work 127.0.0.1:4000 worker.store    and then   ./stored give 127.0.0.1:4000 giver.store
 *
 * Each line that is given is a job; "given" means that it is on the disk and will be worked on. At the worker each
 * line, or Enter alone, says that the job at hand is done. Kill either program and start it again with the same words:
 * it goes on where it was. A job that may have been at hand then comes as "again?": look how far it was. At the end of
 * its input the giver waits until the worker has all jobs on its disk.
 */
#include <clerver.h>
#include <stdio.h>
#include <string.h>

/* Reads a line without its end; 0 at the end of the input. */
static int read_line(char *line, size_t size)
{
    fflush(stdout);
    if (fgets(line, (int)size, stdin) == NULL)
        return 0;
    line[strcspn(line, "\n")] = 0;
    return 1;
}

/* The session that the process before this one left in the store; CLV_E_AGAIN when there is none. */
static clv_status find_session(clv_node node, clv_session *session)
{
    clv_event event = CLV_EVENT_INIT;
    clv_status status;

    while ((status = clv_node_next_event(node, 0, &event)) == CLV_OK)
        if (event.kind == CLV_EVENT_RESTORED)
            return clv_accept(node, 0, session);
    return status;
}

static clv_status give(clv_node node, const char *address)
{
    clv_channel_options options = CLV_CHANNEL_OPTIONS_INIT;
    clv_session session;
    clv_channel jobs;
    clv_status status;
    char line[1000];

    options.stored = 1;
    if ((status = find_session(node, &session)) == CLV_E_AGAIN)
        status = clv_connect(node, address, -1, &session);
    if (status == CLV_OK && (status = clv_channel_accept(session, 0, &jobs)) == CLV_E_AGAIN)
        status = clv_channel_open(session, "jobs", &options, -1, &jobs);
    while (status == CLV_OK && read_line(line, sizeof line))
        if ((status = clv_channel_send(jobs, line, strlen(line), -1)) == CLV_OK)
            printf("given: %s\n", line);
    return status == CLV_OK ? clv_session_drain(session, -1) : status;
}

static clv_status work(clv_node node, const char *address)
{
    clv_delivery about = CLV_DELIVERY_INIT;
    clv_session session;
    clv_channel jobs;
    clv_buffer *job;
    clv_status status;
    char line[1000];

    if ((status = clv_node_listen(node, address, -1, NULL, 0)) == CLV_OK &&
        (status = clv_accept(node, -1, &session)) == CLV_OK)
        status = clv_channel_accept(session, -1, &jobs);
    while (status == CLV_OK && (status = clv_channel_take(jobs, -1, &job, &about)) == CLV_OK) {
        printf("%s: %.*s\n", about.redelivered ? "again?" : "job", (int)clv_buffer_size(job),
               (const char *)clv_buffer_data(job));
        clv_buffer_free(job);
        if (!read_line(line, sizeof line))
            break;
        status = clv_ack(jobs, about.end, -1);
    }
    return status;
}

int main(int argc, char **argv)
{
    clv_options *options = NULL;
    clv_status status;
    clv_node node;

    if (argc != 4 || clv_options_new(&options) != CLV_OK ||
        clv_options_set(options, "store_dir", argv[3]) != CLV_OK || clv_node_open(options, &node) != CLV_OK)
        goto failed;
    clv_options_free(options);
    status = strcmp(argv[1], "work") == 0 ? work(node, argv[2]) : give(node, argv[2]);
    if (status != CLV_OK)
        goto failed;
    /* The session is not closed: the next process goes on with it. */
    return clv_node_close(node, 1000, NULL) == CLV_OK ? 0 : 1;
failed:
    fprintf(stderr, "usage: stored work|give HOST:PORT DIRECTORY\n%s\n%s\n", clv_last_error(), clv_last_remedy());
    return 1;
}
