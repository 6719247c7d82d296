/*
 * A client of jobs_server, in two roles:
 *
 *     cc -std=c99 jobs_client.c -o jobs_client $(pkg-config --cflags --libs clerver)
 *     ./jobs_client 127.0.0.1:4000 add "wash the car" "feed the cat"
 *     ./jobs_client 127.0.0.1:4000 work
 *
 * Pull the cable meanwhile: the jobs arrive, once. Kill a worker (kill -9): its job goes back to the queue.
 */
#include <clerver.h>
#include <stdio.h>
#include <string.h>

static clv_status add(clv_session session, char **jobs, int count)
{
    clv_channel channel;
    clv_status status = clv_channel_open(session, "jobs", NULL, 10000, &channel);
    char answer[16];
    size_t size;
    int at;

    if (status != CLV_OK)
        return status;
    for (at = 0; status == CLV_OK && at < count; at++) {
        status = clv_channel_send(channel, jobs[at], strlen(jobs[at]), -1);
        if (status == CLV_OK)
            status = clv_channel_recv(channel, answer, sizeof answer, -1, &size);
        if (status == CLV_OK)
            printf("%.*s: %s\n", (int)size, answer, jobs[at]);
    }
    clv_channel_end(channel);
    clv_channel_close(channel);
    return status;
}

static clv_status work(clv_session session)
{
    clv_status status;
    clv_buffer *reply;
    char job[300];

    while ((status = clv_call(session, "take", NULL, 0, -1, &reply)) == CLV_OK) {
        snprintf(job, sizeof job, "%.*s", (int)clv_buffer_size(reply), (const char *)clv_buffer_data(reply));
        clv_buffer_free(reply);
        printf("working on %s; Enter finishes it\n", job);
        fflush(stdout);
        if (getchar() == EOF)
            return CLV_OK;
        /* The number stands before the text. */
        status = clv_call(session, "done", job, strcspn(job, " "), -1, &reply);
        if (status != CLV_OK)
            return status;
        clv_buffer_free(reply);
    }
    return status;
}

int main(int argc, char **argv)
{
    clv_node node;
    clv_session session;
    clv_status status;

    if (argc < 3 || clv_node_open(NULL, &node) != CLV_OK || clv_connect(node, argv[1], 10000, &session) != CLV_OK) {
        fprintf(stderr, "usage: jobs_client HOST:PORT add TEXT.. | work\n%s\n%s\n", clv_last_error(),
                clv_last_remedy());
        return 1;
    }
    status = strcmp(argv[2], "work") == 0 ? work(session) : add(session, argv + 3, argc - 3);
    if (status != CLV_OK)
        fprintf(stderr, "jobs_client: %s\n", clv_last_error());
    clv_session_close(session, 5000);
    clv_node_close(node, 1000, NULL);
    return status == CLV_OK ? 0 : 1;
}
