/* A service and its caller:   first serve 127.0.0.1:4000   and   first "any text" 127.0.0.1:4000 */
#include <clerver.h>
#include <ctype.h>
#include <stdio.h>
#include <string.h>

static clv_status shout(void *user, clv_request request)
{
    const void *data;
    size_t size, at;
    char text[256];

    (void)user;
    if (clv_request_data(request, &data, &size) != CLV_OK || size > sizeof text)
        return CLV_E_SIZE;
    for (at = 0; at < size; at++)
        text[at] = (char)toupper(((const unsigned char *)data)[at]);
    return clv_reply(request, text, size);
}

int main(int argc, char **argv)
{
    clv_node node;
    clv_session session;
    clv_buffer *reply;

    if (argc != 3 || clv_node_open(NULL, &node) != CLV_OK)
        goto failed;
    if (strcmp(argv[1], "serve") == 0) {
        if (clv_serve(node, "shout", NULL, shout, NULL, NULL) != CLV_OK ||
            clv_node_listen(node, argv[2], -1, NULL, 0) != CLV_OK)
            goto failed;
        puts("serving; Enter ends it");
        getchar();
    } else {
        if (clv_connect(node, argv[2], 10000, &session) != CLV_OK ||
            clv_call(session, "shout", argv[1], strlen(argv[1]), 5000, &reply) != CLV_OK)
            goto failed;
        printf("%.*s\n", (int)clv_buffer_size(reply), (const char *)clv_buffer_data(reply));
        clv_buffer_free(reply);
        clv_session_close(session, 1000);
    }
    return clv_node_close(node, 1000, NULL) == CLV_OK ? 0 : 1;
failed:
    fprintf(stderr, "first: %s\n%s\n", clv_last_error(), clv_last_remedy());
    return 1;
}
