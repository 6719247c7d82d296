/* Sends a file, line by line, to everybody who asks:   server HOST PORT FILE */
#include <clerver.h>
#include <errno.h>
#include <netdb.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <netinet/in.h>
#include <arpa/inet.h>

#define CLIENTS 32

struct client {
    int fd;
    FILE *file; /* NULL until it has asked */
} clients[CLIENTS];

void die(const char *why)
{
    fprintf(stderr, "server: %s\n", why);
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

void hang_up(struct client *client)
{
    if (client->file != NULL)
        fclose(client->file);
    close(client->fd);
    client->fd = -1;
    client->file = NULL;
}

/* Reads a request, or writes the next line; a line with a dot is the last one. */
void serve(struct client *client, const char *path)
{
    char line[1024];

    if (client->file == NULL) {
        if (read(client->fd, line, sizeof line) <= 0 || (client->file = fopen(path, "r")) == NULL)
            hang_up(client);
        return;
    }
    if (fgets(line, sizeof line, client->file) == NULL)
        strcpy(line, ".\n");
    if (write(client->fd, line, strlen(line)) < 0 || strcmp(line, ".\n") == 0)
        hang_up(client);
}

void admit(int fd)
{
    int i;

    for (i = 0; i < CLIENTS; i++)
        if (clients[i].fd < 0) {
            clients[i].fd = fd;
            return;
        }
    close(fd);
}

int main(int argc, char **argv)
{
    struct sockaddr_in address;
    fd_set readable, writable;
    char where[32];
    clv_node node;
    clv_session session;
    clv_event event = CLV_EVENT_INIT;
    int listener = -1, fd, i;

    if (argc != 4)
        die("usage: server HOST PORT FILE");
    signal(SIGPIPE, SIG_IGN);
    for (i = 0; i < CLIENTS; i++)
        clients[i].fd = -1;
    address = address_of(argv[1], argv[2]);
    sprintf(where, "%s:%d", inet_ntoa(address.sin_addr), ntohs(address.sin_port));
    if (clv_node_open(NULL, &node) || clv_node_listen(node, where, -1, NULL, 0) || clv_node_fd(node, &listener))
        die(clv_last_error());
    printf("serving %s at %s\n", argv[3], where);
    fflush(stdout);
    for (;;) {
        FD_ZERO(&readable);
        FD_ZERO(&writable);
        FD_SET(listener, &readable);
        for (i = 0; i < CLIENTS; i++)
            if (clients[i].fd >= 0)
                FD_SET(clients[i].fd, clients[i].file == NULL ? &readable : &writable);
        if (select(FD_SETSIZE, &readable, &writable, NULL, NULL) < 0)
            continue;
        for (i = 0; i < CLIENTS; i++)
            if (clients[i].fd >= 0 && (FD_ISSET(clients[i].fd, &readable) || FD_ISSET(clients[i].fd, &writable)))
                serve(&clients[i], argv[3]);
        if (clv_node_next_event(node, 0, &event) == CLV_OK && clv_accept(node, 0, &session) == CLV_OK) {
            if (clv_accept_fd(session, 5000, 0, &fd) == CLV_OK)
                admit(fd);
            clv_session_close(session, 0);
        }
    }
}
