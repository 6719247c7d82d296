/*
 * The yardstick: OpenSSL's TLS 1.3 on blocking TCP sockets, a thread for each connection, and nothing else. A frame is a
 * letter, its length in four bytes, and data: c is sent back as it came, m is counted, e is answered with that count.
 */
#define _POSIX_C_SOURCE 200809L
#include "common.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { HEAD_BYTES = 5 };

static int trust_everybody(X509_STORE_CTX *store, void *user)
{
    (void)store;
    (void)user;
    return 1;
}

/* A fresh Ed25519 key with its own signature, asked of both ends, as links of sessions have it. */
static SSL_CTX *make_context(int is_server, int idle)
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
    if (idle)
        SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS);
    return context;
}

static SSL *start_tls(SSL_CTX *context, int socket, int is_server)
{
    int one = 1;
    SSL *ssl = SSL_new(context);
    /* Before the handshake, or that waits for Nagle's algorithm. */
    setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (!ssl || SSL_set_fd(ssl, socket) != 1 || (is_server ? SSL_accept(ssl) : SSL_connect(ssl)) != 1)
        die("TLS handshake");
    return ssl;
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

static void put_head(unsigned char *frame, char letter, size_t size)
{
    uint32_t length = htonl((uint32_t)size);
    frame[0] = (unsigned char)letter;
    memcpy(frame + 1, &length, sizeof length);
}

/* Reads a frame with its head; the size of its data, or -1 at the end. */
static long read_frame(SSL *ssl, unsigned char *frame)
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

static void write_frame(SSL *ssl, const unsigned char *frame, size_t size)
{
    if (SSL_write(ssl, frame, (int)(size + HEAD_BYTES)) <= 0)
        die("SSL_write");
}

static void *serve_connection(void *user)
{
    static const size_t ROOM = HEAD_BYTES + MESSAGE_BYTES_MAX;
    SSL *ssl = user;
    unsigned char *frame = malloc(ROOM);
    uint64_t count = 0;
    long size;
    while (frame && (size = read_frame(ssl, frame)) >= 0) {
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
    close(SSL_get_fd(ssl));
    SSL_free(ssl);
    free(frame);
    return NULL;
}

struct listener {
    int socket;
    int idle;
    SSL_CTX *context;
};

static void *accept_all(void *user)
{
    struct listener *listener = user;
    for (;;) {
        pthread_t thread;
        unsigned char frame[HEAD_BYTES + 64];
        int socket = accept(listener->socket, NULL, NULL);
        SSL *ssl;
        if (socket < 0)
            die("accept");
        ssl = start_tls(listener->context, socket, 1);
        if (listener->idle) {
            /* One echo, and then it is only kept. */
            if (read_frame(ssl, frame) == 64)
                write_frame(ssl, frame, 64);
        } else if (pthread_create(&thread, NULL, serve_connection, ssl) != 0 || pthread_detach(thread) != 0) {
            die("thread");
        }
    }
    return NULL;
}

void raw_serve(int idle)
{
    struct sockaddr_in at;
    socklen_t size = sizeof at;
    struct listener listener;
    pthread_t thread;
    const char *line;
    memset(&at, 0, sizeof at);
    at.sin_family = AF_INET;
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    listener.idle = idle;
    listener.context = make_context(1, idle);
    listener.socket = socket(AF_INET, SOCK_STREAM, 0);
    if (listener.socket < 0 || bind(listener.socket, (struct sockaddr *)&at, sizeof at) != 0 ||
        listen(listener.socket, 4096) != 0 || getsockname(listener.socket, (struct sockaddr *)&at, &size) != 0)
        die("listen");
    if (pthread_create(&thread, NULL, accept_all, &listener) != 0)
        die("thread");
    printf("ready 127.0.0.1:%d\n", ntohs(at.sin_port));
    fflush(stdout);
    while ((line = next_line()) != NULL)
        tell_stat();
    exit(0);
}

static SSL *dial(SSL_CTX *context, const char *address)
{
    struct sockaddr_in to;
    int made = socket(AF_INET, SOCK_STREAM, 0);
    memset(&to, 0, sizeof to);
    to.sin_family = AF_INET;
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    to.sin_port = htons((uint16_t)atoi(strchr(address, ':') + 1));
    if (made < 0 || connect(made, (struct sockaddr *)&to, sizeof to) != 0)
        die("connect");
    return start_tls(context, made, 0);
}

static void call_for(SSL *ssl, unsigned char *frame, uint64_t ms)
{
    static struct times times;
    uint64_t begin = now_ns(), until = begin + ms * 1000000;
    while (begin < until) {
        uint64_t end;
        put_head(frame, 'c', 64);
        write_frame(ssl, frame, 64);
        if (read_frame(ssl, frame) != 64)
            die("reply");
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
    tell_stream(sent, now_ns() - begin);
}

void raw_client(const char *address)
{
    SSL *ssl = dial(make_context(0, 0), address);
    unsigned char *frame = calloc(1, HEAD_BYTES + MESSAGE_BYTES_MAX);
    const char *line;
    if (!frame)
        die("memory");
    say("ready");
    while ((line = next_line()) != NULL) {
        unsigned long ms = 0, size = 0;
        if (sscanf(line, "call %*s %lu", &ms) == 1)
            call_for(ssl, frame, ms);
        else if (sscanf(line, "stream %lu %lu", &ms, &size) == 2)
            stream_for(ssl, frame, ms, size);
        else
            tell_stat();
    }
    free(frame);
}

void raw_idle_client(const char *address, int count)
{
    SSL_CTX *context = make_context(0, 1);
    const char *line;
    int made = 0, wanted = WARM_SESSIONS;
    do {
        for (; made < wanted; made++) {
            unsigned char frame[HEAD_BYTES + 64] = { 0 };
            SSL *ssl = dial(context, address);
            put_head(frame, 'c', 64);
            write_frame(ssl, frame, 64);
            if (read_frame(ssl, frame) != 64)
                die("reply");
            tell_progress(made);
        }
        printf("ready %d\n", made);
        fflush(stdout);
        while ((line = next_line()) != NULL && strcmp(line, "stat") == 0)
            tell_stat();
        wanted = WARM_SESSIONS + count;
    } while (line);
}
