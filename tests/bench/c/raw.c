/* The yardstick on one connection: calls, streams and connecting; a thread for each connection. */
#define _POSIX_C_SOURCE 200809L
#include "raw.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/x509.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static int trust_everybody(X509_STORE_CTX *store, void *user)
{
    (void)store;
    (void)user;
    return 1;
}

/* A fresh Ed25519 key with its own signature, asked of both ends, as links of sessions have it. */
SSL_CTX *make_context(int is_server, int keeps_buffers)
{
    SSL_CTX *context = SSL_CTX_new(is_server ? TLS_server_method() : TLS_client_method());
    EVP_PKEY *key = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
    X509 *certificate = X509_new();
    if (!context || !key || !certificate)
        die("OpenSSL");
    ASN1_INTEGER_set(X509_get_serialNumber(certificate), 1);
    X509_gmtime_adj(X509_getm_notBefore(certificate), 0);
    X509_gmtime_adj(X509_getm_notAfter(certificate), 86400);
    X509_set_pubkey(certificate, key);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(certificate), "CN", MBSTRING_ASC,
                               (const unsigned char *)"bench", -1, -1, 0);
    X509_set_issuer_name(certificate, X509_get_subject_name(certificate));
    if (!X509_sign(certificate, key, NULL) || SSL_CTX_use_certificate(context, certificate) != 1 ||
        SSL_CTX_use_PrivateKey(context, key) != 1)
        die("certificate");
    X509_free(certificate);
    EVP_PKEY_free(key);
    SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION);
    SSL_CTX_set_num_tickets(context, 0);
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    SSL_CTX_set_cert_verify_callback(context, trust_everybody, NULL);
    if (!keeps_buffers)
        SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS);
    return context;
}

SSL *start_tls(SSL_CTX *context, int socket, int is_server)
{
    int one = 1;
    SSL *ssl = SSL_new(context);
    /* Before the handshake, or that waits for Nagle's algorithm. */
    setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (!ssl || SSL_set_fd(ssl, socket) != 1 || (is_server ? SSL_accept(ssl) : SSL_connect(ssl)) != 1)
        die("TLS handshake");
    return ssl;
}

static struct sockaddr_in read_address(const char *address)
{
    struct sockaddr_in place;
    char host[64] = "";
    const char *colon = strchr(address, ':');
    memset(&place, 0, sizeof place);
    if (!colon || (size_t)(colon - address) >= sizeof host)
        die("an address is HOST:PORT");
    memcpy(host, address, (size_t)(colon - address));
    place.sin_family = AF_INET;
    place.sin_port = htons((uint16_t)atoi(colon + 1));
    if (inet_pton(AF_INET, host, &place.sin_addr) != 1)
        die("the host of an address is four numbers");
    return place;
}

SSL *dial(SSL_CTX *context, const char *address)
{
    struct sockaddr_in to = read_address(address);
    int made = socket(AF_INET, SOCK_STREAM, 0);
    if (made < 0 || connect(made, (struct sockaddr *)&to, sizeof to) != 0)
        die("connect");
    return start_tls(context, made, 0);
}

void hang_up(SSL *ssl)
{
    close(SSL_get_fd(ssl));
    SSL_free(ssl);
}

int listen_at(const char *address)
{
    struct sockaddr_in at = read_address(address);
    socklen_t size = sizeof at;
    int one = 1, made = socket(AF_INET, SOCK_STREAM, 0);
    char host[64];
    /* The port may be that of a server that was killed. */
    if (made < 0 || setsockopt(made, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) != 0 ||
        bind(made, (struct sockaddr *)&at, sizeof at) != 0 || listen(made, 4096) != 0 ||
        getsockname(made, (struct sockaddr *)&at, &size) != 0)
        die("listen");
    printf("ready %s:%d\n", inet_ntop(AF_INET, &at.sin_addr, host, sizeof host), ntohs(at.sin_port));
    fflush(stdout);
    return made;
}

static int read_all(SSL *ssl, unsigned char *bytes, size_t size)
{
    while (size > 0) {
        int got = SSL_read(ssl, bytes, (int)size);
        if (got <= 0)
            return 0;
        bytes += got;
        size -= (size_t)got;
    }
    return 1;
}

void put_head(unsigned char *frame, char letter, size_t size)
{
    uint32_t length = htonl((uint32_t)size);
    frame[0] = (unsigned char)letter;
    memcpy(frame + 1, &length, sizeof length);
}

long read_frame(SSL *ssl, unsigned char *frame)
{
    uint32_t length;
    if (!read_all(ssl, frame, HEAD_BYTES))
        return -1;
    memcpy(&length, frame + 1, sizeof length);
    length = ntohl(length);
    if (length > MESSAGE_BYTES_MAX || !read_all(ssl, frame + HEAD_BYTES, length))
        return -1;
    return (long)length;
}

void write_frame(SSL *ssl, const unsigned char *frame, size_t size)
{
    if (SSL_write(ssl, frame, (int)(size + HEAD_BYTES)) <= 0)
        die("SSL_write");
}

void echo_once(SSL *ssl, unsigned char *frame)
{
    put_head(frame, 'c', CALL_BYTES);
    write_frame(ssl, frame, CALL_BYTES);
    if (read_frame(ssl, frame) != CALL_BYTES)
        die("reply");
}

static void *serve_connection(void *user)
{
    SSL *ssl = user;
    unsigned char *frame = must_have(malloc(HEAD_BYTES + MESSAGE_BYTES_MAX));
    uint64_t count = 0;
    long size;
    while ((size = read_frame(ssl, frame)) >= 0) {
        if (frame[0] == 'm') {
            count++;
            continue;
        }
        if (frame[0] == 'e') {
            memcpy(frame + HEAD_BYTES, &count, sizeof count);
            size = sizeof count;
            put_head(frame, 'e', sizeof count);
            count = 0;
        }
        write_frame(ssl, frame, (size_t)size);
    }
    hang_up(ssl);
    free(frame);
    return NULL;
}

struct listener {
    int socket;
    SSL_CTX *context;
};

static void *accept_all(void *user)
{
    struct listener *listener = user;
    for (;;) {
        pthread_t thread;
        int socket = accept(listener->socket, NULL, NULL);
        if (socket < 0)
            die("accept");
        if (pthread_create(&thread, NULL, serve_connection, start_tls(listener->context, socket, 1)) != 0 ||
            pthread_detach(thread) != 0)
            die("thread");
    }
    return NULL;
}

void raw_serve(char **arguments)
{
    struct listener listener;
    pthread_t thread;
    listener.context = make_context(1, 1);
    listener.socket = listen_at(arguments[0]);
    if (pthread_create(&thread, NULL, accept_all, &listener) != 0)
        die("thread");
    while (next_line())
        tell_stat();
    exit(0);
}

static void call_for(SSL *ssl, unsigned char *frame, uint64_t ms)
{
    static struct times times;
    uint64_t begin = now_ns(), until = begin + ms * 1000000;
    while (begin < until) {
        uint64_t end;
        echo_once(ssl, frame);
        end = now_ns();
        add_time(&times, end - begin);
        begin = end;
    }
    tell_times(&times);
}

static void stream_for(SSL *ssl, unsigned char *frame, uint64_t ms, size_t size)
{
    uint64_t begin = now_ns(), until = begin + ms * 1000000, sent = 0, counted;
    /* A large frame with its head is exactly four records: no runt. */
    size_t data = size > HEAD_BYTES * 100 ? size - HEAD_BYTES : size;
    do {
        for (int turn = 0; turn < 16; turn++, sent++) {
            put_head(frame, 'm', data);
            write_frame(ssl, frame, data);
        }
    } while (now_ns() < until);
    put_head(frame, 'e', 0);
    write_frame(ssl, frame, 0);
    if (read_frame(ssl, frame) != sizeof counted)
        die("count");
    memcpy(&counted, frame + HEAD_BYTES, sizeof counted);
    if (counted != sent)
        die("messages are missing");
    tell_rate(sent, now_ns() - begin);
}

/* From nothing but the context to the first reply, again and again; hanging up is not timed. */
static void connect_for(SSL_CTX *context, const char *address, unsigned char *frame, uint64_t ms)
{
    static struct times times;
    uint64_t until = now_ns() + ms * 1000000;
    do {
        uint64_t begin = now_ns();
        SSL *ssl = dial(context, address);
        echo_once(ssl, frame);
        add_time(&times, now_ns() - begin);
        hang_up(ssl);
    } while (now_ns() < until);
    tell_times(&times);
}

void raw_client(char **arguments)
{
    const char *address = arguments[0], *line;
    SSL_CTX *context = make_context(0, 1);
    SSL *ssl = dial(context, address);
    unsigned char *frame = must_have(calloc(1, HEAD_BYTES + MESSAGE_BYTES_MAX));
    say("ready");
    while ((line = next_line()) != NULL) {
        unsigned long ms = 0, size = 0;
        if (sscanf(line, "call %*s %lu", &ms) == 1)
            call_for(ssl, frame, ms);
        else if (sscanf(line, "stream %lu %lu", &ms, &size) == 2)
            stream_for(ssl, frame, ms, size);
        else if (sscanf(line, "connect %lu", &ms) == 1)
            connect_for(context, address, frame, ms);
        else
            tell_stat();
    }
    free(frame);
}
