/* Prints what the server sends:   client HOST PORT */
#include <clerver.h>
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/socket.h>
#include <netinet/in.h>
#include <arpa/inet.h>

void die(const char *why)
{
    fprintf(stderr, "client: %s\n", why);
    exit(1);
}

struct sockaddr_in address_of(const char *name, const char *port)
{
    struct hostent *host = gethostbyname(name);
    struct sockaddr_in address;

    if (host == NULL || host->h_addrtype != AF_INET)
        die("unknown host");
    memset(&address, 0, sizeof address);
    address.sin_family = AF_INET;
    address.sin_port = htons((unsigned short)atoi(port));
    memcpy(&address.sin_addr, host->h_addr_list[0], sizeof address.sin_addr);
    return address;
}

int main(int argc, char **argv)
{
    struct sockaddr_in address;
    FILE *in, *out;
    char line[1024], where[32];
    clv_node node;
    clv_session session;
    int fd = -1;

    if (argc != 3)
        die("usage: client HOST PORT");
    address = address_of(argv[1], argv[2]);
    sprintf(where, "%s:%d", inet_ntoa(address.sin_addr), ntohs(address.sin_port));
    fprintf(stderr, "asking %s\n", where);
    if (clv_node_open(NULL, &node) || clv_connect(node, where, 10000, &session) || clv_dial_fd(session, "", 0, &fd))
        die(clv_last_error());
    in = fdopen(fd, "r");
    out = fdopen(dup(fd), "w");
    fprintf(out, "send it\n");
    fflush(out);
    for (;;) {
        if (fgets(line, sizeof line, in) == NULL)
            die("the connection broke");
        if (strcmp(line, ".\n") == 0)
            break;
        fputs(line, stdout);
    }
    fclose(out);
    fclose(in);
    clv_node_close(node, 5000, NULL);
    return 0;
}
