/* Prints what the server sends:   client HOST PORT */
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
    int fd = -1;

    if (argc != 3)
        die("usage: client HOST PORT");
    address = address_of(argv[1], argv[2]);
    sprintf(where, "%s:%d", inet_ntoa(address.sin_addr), ntohs(address.sin_port));
    fprintf(stderr, "asking %s\n", where);
    fd = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(fd, (struct sockaddr *)&address, sizeof address) < 0)
        die(strerror(errno));
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
    return 0;
}
