/* What putting items costs at least: receives kestrel's `set`, appends the item's bytes to a file with one write(2)
 * and answers STORED. One thread, epoll; nothing is kept in memory and nothing can be fetched.
 *
 *   sink PORT FILE
 *
 * `version` is answered too, and `delete` empties the file. Anything else ends the program: it is no server.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define ROOM ((16u << 20) + 4096)       /* the largest item and its line; touched only as far as it is used */
#define EVENTS 256

struct client {
    int fd;
    size_t length;
    char *bytes;
};

static int file;

static void fail(const char *what)
{
    fprintf(stderr, "sink: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void answer(const struct client *c, const char *text)
{
    if (send(c->fd, text, strlen(text), MSG_NOSIGNAL) != (ssize_t)strlen(text))
        fail("send");
}

/* Serves the first request if it is whole; returns its length or 0. */
static size_t serve(const struct client *c)
{
    const char *end = memchr(c->bytes, '\n', c->length);
    size_t line, size;
    if (!end)
        return 0;
    line = (size_t)(end - c->bytes) + 1;
    if (memcmp(c->bytes, "version", 7) == 0) {
        answer(c, "VERSION sink\r\n");
        return line;
    }
    if (memcmp(c->bytes, "delete", 6) == 0) {
        if (ftruncate(file, 0) != 0)
            fail("ftruncate");
        answer(c, "DELETED\r\n");
        return line;
    }
    if (sscanf(c->bytes, "set %*s %*u %*u %zu\r\n", &size) != 1 || size > ROOM - 4096)
        fail("not a request of this program");
    if (c->length < line + size + 2)
        return 0;
    if (write(file, c->bytes + line, size) != (ssize_t)size)
        fail("write");
    answer(c, "STORED\r\n");
    return line + size + 2;
}

/* 0: the client has left. */
static int receive(struct client *c)
{
    ssize_t n = recv(c->fd, c->bytes + c->length, ROOM - 1 - c->length, 0);
    size_t at = 0, taken;
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return 1;
    if (n <= 0)
        return 0;
    c->length += (size_t)n;
    c->bytes[c->length] = 0;
    do {
        struct client rest = {c->fd, c->length - at, c->bytes + at};
        taken = serve(&rest);
        at += taken;
    } while (taken && at < c->length);
    memmove(c->bytes, c->bytes + at, c->length - at);
    c->length -= at;
    return 1;
}

static void welcome(int epoll, int listener)
{
    struct client *c = calloc(1, sizeof *c);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
    int on = 1;
    if (!c || !(c->bytes = malloc(ROOM)))
        fail("memory");
    if ((c->fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) < 0)
        fail("accept");
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, c->fd, &event) != 0)
        fail("epoll_ctl");
}

static int listen_on(const char *port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port))};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(fd, (struct sockaddr *)&address, sizeof address) != 0 || listen(fd, 1024) != 0)
        fail("cannot listen");
    return fd;
}

int main(int argc, char **argv)
{
    struct epoll_event events[EVENTS], event = {.events = EPOLLIN, .data.ptr = NULL};
    int epoll = epoll_create1(EPOLL_CLOEXEC), listener, i, n;
    if (argc != 3) {
        fputs("usage: sink PORT FILE\n", stderr);
        return 2;
    }
    if ((file = open(argv[2], O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644)) < 0)
        fail(argv[2]);
    listener = listen_on(argv[1]);
    if (epoll < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event) != 0)
        fail("epoll");
    for (;;) {
        if ((n = epoll_wait(epoll, events, EVENTS, -1)) < 0 && errno != EINTR)
            fail("epoll_wait");
        for (i = 0; i < n; i++) {
            struct client *c = events[i].data.ptr;
            if (!c) {
                welcome(epoll, listener);
            } else if (!receive(c)) {
                close(c->fd);
                free(c->bytes);
                free(c);
            }
        }
    }
}
