/* A memcache port with next to nothing behind it, to see what the load programs can drive: one thread, epoll, no journal.
 *
 * set, flush and get on one queue; what a get brings is the next number that was set, padded with x to the size of the last
 * item set (what kestrel-flood, kestrel-packing and kestrel-put-many put). monitor and confirm for bursts. Prints its port.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define ROOM (1 << 20)

struct client {
    int fd;
    size_t length;
    char in[ROOM];
};

static unsigned long stored, taken;
static size_t size;
static char out[ROOM + 65536];

static void die(const char *what)
{
    perror(what);
    exit(1);
}

/* Writes the next item behind `at`, or nothing if all are taken; returns its length. */
static size_t item(char *at, const char *queue, int queue_length)
{
    if (taken >= stored)
        return 0;
    int head = sprintf(at, "VALUE %.*s 0 %zu\r\n", queue_length, queue, size);
    memset(at + head, 'x', size);
    char digits[24];
    int count = sprintf(digits, "%lu", taken++);
    memcpy(at + head, digits, (size_t)count);
    memcpy(at + head + size, "\r\nEND\r\n", 7);
    return (size_t)head + size + 7;
}

/* Works off one request of the `length` bytes at `in`; returns how long it was, 0 if it is not whole. */
static size_t request(const char *in, size_t length, size_t *replied)
{
    const char *end = memchr(in, '\n', length);
    if (end == NULL)
        return 0;
    size_t line = (size_t)(end - in) + 1;
    char *at = out + *replied;
    const char *queue = memchr(in, ' ', line);
    queue = queue ? queue + 1 : in;
    int queue_length = (int)strcspn(queue, " /\r");
    size_t more = 0, want;
    switch (in[0]) {
    case 's':
        want = strtoul(queue + queue_length + 4, NULL, 10);
        if (length < line + want + 2)
            return 0;
        stored++;
        size = want;
        memcpy(at, "STORED\r\n", 8);
        more = 8;
        line += want + 2;
        break;
    case 'g':
        more = item(at, queue, queue_length);
        break;
    case 'm':
        want = strtoul(queue + queue_length + 3, NULL, 10);
        for (size_t got = 1; want-- > 0 && got; more += got)
            got = item(at + more, queue, queue_length);
        memcpy(at + more, "END\r\n", 5);
        more += 5;
        break;
    case 'f':
        stored = taken = 0;
    }
    if (more == 0) {
        memcpy(at, "END\r\n", 5);
        more = 5;
    }
    *replied += more;
    return line;
}

static void serve(struct client *c)
{
    ssize_t n = recv(c->fd, c->in + c->length, ROOM - c->length, 0);
    if (n <= 0) {
        close(c->fd);
        free(c);
        return;
    }
    c->length += (size_t)n;
    size_t at = 0, used, replied = 0;
    while (at < c->length && (used = request(c->in + at, c->length - at, &replied)) > 0)
        at += used;
    memmove(c->in, c->in + at, c->length - at);
    c->length -= at;
    if (replied && send(c->fd, out, replied, MSG_NOSIGNAL) != (ssize_t)replied)
        die("send");
}

int main(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM, 0), epoll = epoll_create1(0);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 1024) ||
        getsockname(listener, (struct sockaddr *)&address, &length))
        die("listen");
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL}, events[256];
    epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event);
    for (;;) {
        int count = epoll_wait(epoll, events, 256, -1);
        for (int i = 0; i < count; i++) {
            if (events[i].data.ptr) {
                serve(events[i].data.ptr);
                continue;
            }
            struct client *c = malloc(sizeof *c);
            int one = 1;
            c->length = 0;
            c->fd = accept(listener, NULL, NULL);
            setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
            event.data.ptr = c;
            epoll_ctl(epoll, EPOLL_CTL_ADD, c->fd, &event);
        }
    }
}
