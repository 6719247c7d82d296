/* The yardstick: OpenSSL's TLS 1.3 on blocking TCP sockets, and nothing else. Sessions stand in session.h. */
#ifndef RAW_H
#define RAW_H

#include "common.h"

#include <openssl/ssl.h>

/* A frame is a letter, its length in four bytes, and data: c is sent back as it came, m is counted, e is answered with
 * that count. */
enum { HEAD_BYTES = 5 };

SSL_CTX *make_context(int is_server, int keeps_buffers);
SSL *start_tls(SSL_CTX *context, int socket, int is_server);
SSL *dial(SSL_CTX *context, const char *address);
void hang_up(SSL *ssl);

/* A listening socket at an address; says `ready` and the address with its port. */
int listen_at(const char *address);

void put_head(unsigned char *frame, char letter, size_t size);
/* Reads a frame with its head; the size of its data, or -1 at the end. */
long read_frame(SSL *ssl, unsigned char *frame);
void write_frame(SSL *ssl, const unsigned char *frame, size_t size);
/* Sends 64 bytes that come back. */
void echo_once(SSL *ssl, unsigned char *frame);

void raw_serve(char **arguments);
void raw_client(char **arguments);
void raw_many_serve(char **arguments);
void raw_idle(char **arguments);
void raw_storm(char **arguments);

#endif
