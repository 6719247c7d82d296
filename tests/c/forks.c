/* The child of a fork: refused at once with the parent's handles and nodes of its own, no harm to the parent. */
#include "refusals.h"
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>

/* Everything that a parent can have. */
typedef struct family {
    pair both;
    clv_channel near;
    clv_channel far;
    clv_pending_call call;
    clv_connecting connecting;
    clv_buffer *buffer;
    clv_options *options;
    counter dropped;
} family;

static void start(family *of)
{
    const char *nobody = "127.0.0.1:1";
    clv_connect_options options = CLV_CONNECT_OPTIONS_INIT;
    counter zero = COUNTER_INIT;

    options.addresses = &nobody;
    options.addresses_count = 1;
    of->dropped = zero;
    of->both = pair_open();
    MUST(clv_serve(of->both.server, "echo", NULL, echo, &of->dropped, count_drop));
    channel_pair(&of->both, 0, &of->near, &of->far);
    MUST(clv_channel_send(of->near, "held", 4, SOON_MS));
    MUST(clv_channel_recv_buffer(of->far, SOON_MS, &of->buffer));
    MUST(clv_call_start(of->both.ours, "echo", "x", 1, -1, &of->call));
    MUST(clv_connect_start(of->both.client, &options, -1, &of->connecting));
    MUST(clv_options_new(&of->options));
}

/* The parent is unharmed: everything still works, and ends once. */
static void finish(family *of)
{
    clv_buffer *reply;
    size_t size;
    char room[8];

    OK(clv_call_receive(of->call, SOON_MS, &reply));
    clv_buffer_free(reply);
    OK(clv_call(of->both.ours, "echo", "still", 5, SOON_MS, &reply));
    clv_buffer_free(reply);
    OK(clv_channel_send(of->near, "on", 2, SOON_MS));
    OK(clv_channel_recv(of->far, room, sizeof room, SOON_MS, &size));
    CHECK(clv_buffer_size(of->buffer) == 4 && memcmp(clv_buffer_data(of->buffer), "held", 4) == 0);
    CHECK(counter_get(&of->dropped) == 0);
    clv_buffer_free(of->buffer);
    clv_options_free(of->options);
    OK(clv_call_close(of->call));
    OK(clv_connecting_close(of->connecting));
    OK(clv_channel_close(of->near));
    OK(clv_channel_close(of->far));
    pair_close(&of->both);
    CHECK(counter_reaches(&of->dropped, 1) && counter_get(&of->dropped) == 1);
}

static void refuse_all(family *of)
{
    refuse_node(of->both.server, CLV_E_FORKED);
    refuse_node(of->both.client, CLV_E_FORKED);
    refuse_session(of->both.ours, CLV_E_FORKED);
    refuse_session(of->both.theirs, CLV_E_FORKED);
    refuse_channel(of->near, CLV_E_FORKED);
    refuse_call(of->call, CLV_E_FORKED);
    refuse_connecting(of->connecting, CLV_E_FORKED);
    refuse_options(of->options, CLV_E_FORKED);
    refuse_buffer(of->buffer);
    refuse_number(0, CLV_E_HANDLE);
    refuse_number(UINT64_MAX, CLV_E_HANDLE);
}

/* A child reports by its exit status; a new alarm, for that of the parent is not inherited. */
static void leave_child(void)
{
    fflush(stdout);
    _exit(check_state()->failed_here == 0 ? 0 : 1);
}

static void join(pid_t child)
{
    int status = -1;

    MUST_BE(child > 0);
    CHECK(waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void a_child_is_refused_with_the_handles_of_its_parent(void)
{
    family of;
    int round;

    start(&of);
    for (round = 0; round < 5; round++) {
        pid_t child = fork();

        if (child == 0) {
            alarm(60);
            refuse_all(&of);
            leave_child();
        }
        join(child);
    }
    finish(&of);
}

/* exit() instead of _exit(): destructors of the C library run, none of ours touches the parent. */
static void a_child_may_leave_by_exit(void)
{
    family of;
    pid_t child;

    start(&of);
    child = fork();
    if (child == 0) {
        alarm(60);
        STATUS(clv_node_close(of.both.server, SOON_MS, NULL), CLV_E_FORKED);
        exit(check_state()->failed_here == 0 ? 0 : 1);
    }
    join(child);
    finish(&of);
}

static int works_alone(void)
{
    pair own = pair_open();
    clv_buffer *reply;

    MUST(clv_serve(own.server, "echo", NULL, echo, NULL, NULL));
    MUST(clv_call(own.ours, "echo", "own", 3, SOON_MS, &reply));
    clv_buffer_free(reply);
    pair_close(&own);
    return check_state()->failed_here == 0;
}

static void opens_no_node(void)
{
    clv_node node = { 77 };

    STATUS(clv_node_open(NULL, &node), CLV_E_FORKED);
    CHECK(node.id == 77);
}

static void a_child_opens_no_node_under_those_of_its_parent(void)
{
    family of;
    pid_t child;

    start(&of);
    child = fork();
    if (child == 0) {
        alarm(60);
        opens_no_node();
        refuse_session(of.both.ours, CLV_E_FORKED);
        opens_no_node();
        leave_child();
    }
    join(child);
    finish(&of);
}

/* All nodes that were open before are closed. */
static void a_child_may_open_nodes_when_its_parent_has_none(void)
{
    pid_t child = fork();

    if (child == 0) {
        alarm(60);
        CHECK(works_alone());
        leave_child();
    }
    join(child);
    CHECK(works_alone());
}

/* daemon() with a node open: the grandchild is refused, too. */
static void a_grandchild_is_refused_as_well(void)
{
    family of;
    int ends[2];
    char answer = 0;
    pid_t child;

    MUST_BE(pipe(ends) == 0);
    start(&of);
    child = fork();
    if (child == 0) {
        pid_t grandchild;

        refuse_session(of.both.ours, CLV_E_FORKED);
        MUST_BE(setsid() >= 0);
        grandchild = fork();
        if (grandchild != 0)
            _exit(grandchild > 0 && check_state()->failed_here == 0 ? 0 : 1);
        alarm(60);
        refuse_all(&of);
        opens_no_node();
        answer = check_state()->failed_here == 0 ? 'y' : 'n';
        fflush(stdout);
        if (write(ends[1], &answer, 1) != 1)
            _exit(1);
        _exit(0);
    }
    close(ends[1]);
    join(child);
    CHECK(read(ends[0], &answer, 1) == 1 && answer == 'y');
    close(ends[0]);
    finish(&of);
}

/* The usual daemon opens its node after the forks. */
static void handles_of_a_child_are_no_handles_of_its_child(void)
{
    pid_t child = fork();

    if (child == 0) {
        family of;
        pid_t grandchild;

        alarm(60);
        start(&of);
        grandchild = fork();
        if (grandchild == 0) {
            alarm(60);
            refuse_all(&of);
            leave_child();
        }
        join(grandchild);
        finish(&of);
        leave_child();
    }
    join(child);
}

static void no_descriptor_is_inherited_by_exec(void)
{
    family of;
    pid_t child;
    int fd, flags, count = 0;

    start(&of);
    MUST(clv_dial_fd(of.both.ours, "fd", 0, &fd));
    for (flags = 0; flags < 1000; flags++) {
        int is = fcntl(flags, F_GETFD);

        if (flags > 2 && is >= 0) {
            count++;
            CHECK((is & FD_CLOEXEC) != 0);
        }
    }
    CHECK(count >= 10);
    child = fork();
    if (child == 0) {
        /* Nothing but the three and what ls itself opens. */
        execl("/bin/sh", "sh", "-c", "test \"$(ls /proc/self/fd | wc -l)\" -le 4", (char *)NULL);
        _exit(127);
    }
    join(child);
    CHECK(system("exit 0") == 0);
    close(fd);
    finish(&of);
}

/* Threads of the parent hold locks at the moment of the fork; the child must not wait for them. */
static int is_over;

static void *keeps_busy(void *user)
{
    family *of = (family *)user;

    while (!__atomic_load_n(&is_over, __ATOMIC_ACQUIRE)) {
        clv_event event = CLV_EVENT_INIT;
        clv_counters counters = CLV_COUNTERS_INIT;
        clv_buffer *reply;
        clv_options *options;

        if (clv_call(of->both.ours, "echo", "busy", 4, SOON_MS, &reply) == CLV_OK)
            clv_buffer_free(reply);
        if (clv_node_next_event(of->both.client, 0, &event) == CLV_OK)
            clv_buffer_free(event.data);
        OK(clv_node_counters(of->both.client, &counters));
        OK(clv_options_new(&options));
        clv_options_free(options);
    }
    return NULL;
}

static void a_fork_at_any_moment_hangs_nobody(void)
{
    family of;
    pthread_t threads[3];
    int at;

    start(&of);
    for (at = 0; at < 3; at++)
        MUST_BE(pthread_create(&threads[at], NULL, keeps_busy, &of) == 0);
    for (at = 0; at < 30; at++) {
        pid_t child = fork();

        if (child == 0) {
            alarm(60);
            refuse_session(of.both.ours, CLV_E_FORKED);
            refuse_node(of.both.client, CLV_E_FORKED);
            refuse_options(of.options, CLV_E_FORKED);
            _exit(check_state()->failed_here == 0 ? 0 : 1);
        }
        join(child);
    }
    __atomic_store_n(&is_over, 1, __ATOMIC_RELEASE);
    for (at = 0; at < 3; at++)
        pthread_join(threads[at], NULL);
    finish(&of);
}

/* A handler, on a thread of the library, forks: its child leaves or returns, the parent's call is answered once. */
static clv_status forks_and_leaves(void *user, clv_request request)
{
    pid_t child = fork();

    (void)user;
    if (child == 0) {
        refuse_request(request, CLV_E_FORKED);
        _exit(check_state()->failed_here == 0 ? 0 : 1);
    }
    join(child);
    return clv_reply(request, "forked", 6);
}

static void a_handler_may_fork(void)
{
    pair both = pair_open();
    clv_buffer *reply;

    MUST(clv_serve(both.server, "fork", NULL, forks_and_leaves, NULL, NULL));
    MUST(clv_call(both.ours, "fork", NULL, 0, SOON_MS, &reply));
    CHECK(clv_buffer_size(reply) == 6);
    clv_buffer_free(reply);
    pair_close(&both);
}

int main(void)
{
    int fd;

    check_begin();
    /* What this program was given by others is none of ours. */
    for (fd = 3; fd < 1000; fd++)
        fcntl(fd, F_SETFD, FD_CLOEXEC);
    RUN(a_child_is_refused_with_the_handles_of_its_parent);
    RUN(a_child_may_leave_by_exit);
    RUN(a_child_opens_no_node_under_those_of_its_parent);
    RUN(a_child_may_open_nodes_when_its_parent_has_none);
    RUN(a_grandchild_is_refused_as_well);
    RUN(handles_of_a_child_are_no_handles_of_its_child);
    RUN(no_descriptor_is_inherited_by_exec);
    RUN(a_fork_at_any_moment_hangs_nobody);
    RUN(a_handler_may_fork);
    return check_end();
}
