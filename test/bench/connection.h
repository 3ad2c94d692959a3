/* Sockets of the load generator: opening and keeping many, one question and answer on each, and the one way it fails. */
#ifndef BENCH_CONNECTION_H
#define BENCH_CONNECTION_H

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "protocol.h"

/* Connections opened before the first of them is answered: well below any server's backlog, because a SYN
 * that finds it full comes again only after a second. */
#define OPEN_AT_ONCE 32
#define HELLO_TIMEOUT_S 15

/* A local port is taken until a minute after its connection. Runs with more than FEW connections have addresses of their
 * own on loopback, one for each PORTS_OF_ADDRESS, so that thousands of ports of the run before are in nobody's way. */
#define FEW 1000
#define PORTS_OF_ADDRESS 20000

struct request {
    uint64_t number, due;       /* of the item; ns: when it was sent, or should have been */
    enum kind kind;             /* of its reply: some requests have several */
};

struct connection {
    int fd;
    unsigned index;
    enum kind kind;
    unsigned head, waiting;     /* requests[head .. head + waiting - 1] are not answered yet */
    struct request *requests;   /* those of one write */
    int opened;                 /* the last get has brought items that the next one confirms */
    uint64_t number, job;       /* of the last of them: see confirm_request */
    char *unread, *unsent;      /* begin of a reply; rest of a write the socket did not take */
    size_t unread_length, unsent_length, unsent_at;
};

__attribute__((noreturn, format(printf, 1, 2)))
static void fail(const char *format, ...)
{
    va_list values;
    fputs("loadgen: ", stderr);
    va_start(values, format);
    vfprintf(stderr, format, values);
    va_end(values);
    fputc('\n', stderr);
    exit(1);
}

static void *allocate(size_t size)
{
    void *memory = calloc(1, size);
    if (!memory)
        fail("out of memory");
    return memory;
}

/* The begin of some bytes, fit to print; the result lives until the next call but one. */
static const char *visible(const char *bytes, size_t length)
{
    static char texts[2][700];
    static unsigned turn;
    char *text = texts[turn++ % 2];
    size_t i, n = 0;
    for (i = 0; i < length && i < 160; i++) {
        unsigned char c = (unsigned char)bytes[i];
        if (c == '\r' || c == '\n')
            n += (size_t)sprintf(text + n, c == '\r' ? "\\r" : "\\n");
        else if (c < 32 || c > 126 || c == '\\')
            n += (size_t)sprintf(text + n, "\\x%02x", c);
        else
            text[n++] = (char)c;
    }
    sprintf(text + n, length > i ? "... (%zu bytes)" : "", length);
    return text;
}

static void raise_file_limit(unsigned connections)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        fail("getrlimit: %s", strerror(errno));
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    if (connections + 16 > limit.rlim_max)
        fail("%u connections need more than the %lu files this process may open (ulimit -Hn)", connections,
             (unsigned long)limit.rlim_max);
}

/* 127.x.y.z: x and y by the process, z by the connection. */
static void bind_own_address(int fd, unsigned index)
{
    unsigned process = (unsigned)getpid() % (250 * 250);
    struct sockaddr_in address = {.sin_family = AF_INET};
    int on = 1;
    address.sin_addr.s_addr = htonl(127u << 24 | (1 + process / 250) << 16 | (1 + process % 250) << 8 |
                                    (2 + index / PORTS_OF_ADDRESS));
    setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
    if (bind(fd, (struct sockaddr *)&address, sizeof address) != 0)
        fail("bind to %s: %s", inet_ntoa(address.sin_addr), strerror(errno));
}

static int open_socket(unsigned port, unsigned index, unsigned count)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    struct timeval patience = {.tv_sec = HELLO_TIMEOUT_S};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (fd < 0)
        fail("socket: %s", strerror(errno));
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    if (count > FEW)
        bind_own_address(fd, index);
    if (connect(fd, (struct sockaddr *)&address, sizeof address) != 0)
        fail("connect to 127.0.0.1:%u: %s", port, strerror(errno));
    return fd;
}

static void send_hello(const struct dialect *d, const struct connection *c)
{
    const char *hello = hello_request(d);
    if (send(c->fd, hello, hello_length(d), MSG_NOSIGNAL) != (ssize_t)hello_length(d))
        fail("connection %u: cannot send %s: %s", c->index, visible(hello, hello_length(d)), strerror(errno));
}

static void expect_hello(const struct dialect *d, const struct connection *c)
{
    const char *expected = hello_reply(d);
    char reply[256];
    size_t length = 0;
    do {
        ssize_t n = recv(c->fd, reply + length, sizeof reply - length, 0);
        if (n == 0)
            fail("connection %u: closed by the server, %s was not answered", c->index,
                 visible(hello_request(d), hello_length(d)));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            fail("connection %u: no answer to %s within %d s: %s", c->index,
                 visible(hello_request(d), hello_length(d)), HELLO_TIMEOUT_S, strerror(errno));
        length += (size_t)n;
    } while (length < sizeof reply && !hello_ended(d, reply, length));
    if (strncmp(reply, expected, strlen(expected)) != 0)
        fail("connection %u: wrong reply \"%s\" where \"%s...\" was due", c->index, visible(reply, length),
             expected);
}

/* One question and answer on each connection, so that each is known to be accepted and served. */
static void greet(const struct dialect *d, struct connection *connections, unsigned count)
{
    unsigned i;
    for (i = 0; i < count; i++)
        send_hello(d, &connections[i]);
    for (i = 0; i < count; i++)
        expect_hello(d, &connections[i]);
}

static void open_connections(const struct dialect *d, unsigned port, struct connection *connections,
                             unsigned count, unsigned replies)
{
    unsigned i, opened;
    for (opened = 0; opened < count; opened = i) {
        for (i = opened; i < count && i < opened + OPEN_AT_ONCE; i++) {
            connections[i].index = i;
            connections[i].fd = open_socket(port, i, count);
            connections[i].requests = allocate(replies * sizeof(struct request));
        }
        greet(d, connections + opened, i - opened);
    }
    for (i = 0; i < count; i++)
        if (fcntl(connections[i].fd, F_SETFL, O_NONBLOCK) != 0)
            fail("fcntl: %s", strerror(errno));
}

/* Holds the connections open; they must all still be served when standard input has ended. */
static void stay_idle(const struct dialect *d, struct connection *connections, unsigned count, unsigned deadline_s)
{
    char byte;
    unsigned i;
    printf("{\"ready\": %u}\n", count);
    fflush(stdout);
    alarm(deadline_s);
    while (read(STDIN_FILENO, &byte, 1) > 0)
        ;
    for (i = 0; i < count; i++)
        if (fcntl(connections[i].fd, F_SETFL, 0) != 0)
            fail("fcntl: %s", strerror(errno));
    for (i = 0; i < count; i += OPEN_AT_ONCE)
        greet(d, connections + i, count - i < OPEN_AT_ONCE ? count - i : OPEN_AT_ONCE);
    printf("{\"alive\": %u}\n", count);
}

#endif
