/* A load generator for memcached, kestrel (all ports), redis and beanstalkd: one thread, epoll, every reply checked byte for byte.
 *
 * Closed loop: each connection writes --pipeline requests at once, waits for all their replies, and goes on.
 * Open loop: requests are due at fixed times; one that finds no free connection waits, and its latency counts
 * from the time it was due, so that a server that stops for a moment cannot hide it (no coordinated
 * omission).
 *
 * Each item carries its number. Whatever is fetched must be an item of this run with all of its bytes, each
 * number at most once, and at the end all of them.
 */
#define _GNU_SOURCE
#include <inttypes.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>

#include "connection.h"
#include "histogram.h"
#include "options.h"
#include "times.h"

#define RECEIVE_SIZE (256 * 1024)
#define EVENTS 256

struct load {
    struct options options;
    struct dialect *dialect;
    struct connection *connections;
    unsigned count;                         /* of connections: first the producers, then the consumers */
    struct connection **free;               /* open loop: those without a request */
    unsigned free_count;
    int epoll, timer;
    uint64_t limit, put_next, get_next;     /* items wanted; puts and gets sent */
    uint64_t stored, fetched, misses, ordered_next;
    unsigned char *seen;                    /* a bit for each item fetched */
    uint64_t *put_at;                       /* flood: ns when item i was due to be put */
    FILE *trace;                            /* flood: a line for each item fetched, or NULL */
    uint64_t started, ended, deadline;      /* ns */
    char *out, *in;
    size_t in_size;
    struct histogram puts, gets, transits;
};

static void watch(struct load *l, struct connection *c, int op, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = c};
    if (epoll_ctl(l->epoll, op, c->fd, &event) != 0)
        fail("epoll_ctl: %s", strerror(errno));
}

/* Writes what the socket takes; the rest follows when it takes more. */
static void write_out(struct load *l, struct connection *c, const char *bytes, size_t length)
{
    ssize_t n = send(c->fd, bytes, length, MSG_NOSIGNAL);
    if (n < 0 && errno != EAGAIN && errno != EINTR)
        fail("connection %u: cannot send: %s", c->index, strerror(errno));
    if (n < 0)
        n = 0;
    if ((size_t)n == length)
        return;
    c->unsent_length = length - (size_t)n;
    c->unsent_at = 0;
    c->unsent = allocate(c->unsent_length);
    memcpy(c->unsent, bytes + n, c->unsent_length);
    watch(l, c, EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT);
}

static void write_rest(struct load *l, struct connection *c)
{
    ssize_t n = send(c->fd, c->unsent + c->unsent_at, c->unsent_length - c->unsent_at, MSG_NOSIGNAL);
    if (n < 0 && errno != EAGAIN && errno != EINTR)
        fail("connection %u: cannot send: %s", c->index, strerror(errno));
    if (n > 0)
        c->unsent_at += (size_t)n;
    if (c->unsent_at < c->unsent_length)
        return;
    free(c->unsent);
    c->unsent = NULL;
    watch(l, c, EPOLL_CTL_MOD, EPOLLIN);
}

/* How many more requests may this connection send? Consumers of a flood ask until all items have come. */
static uint64_t requests_left(const struct load *l, const struct connection *c)
{
    if (c->kind == PUT)
        return (l->limit - l->put_next) / l->dialect->batch;
    if (l->options.mode == MODE_FLOOD)
        return l->fetched < l->limit ? UINT64_MAX : 0;
    return (l->limit - l->get_next) / (l->dialect->server == KESTREL ? l->dialect->batch : 1);
}

static void expect(struct connection *c, enum kind kind, uint64_t number, uint64_t due)
{
    c->requests[c->waiting++] = (struct request){number, due, kind};
}

/* Puts a get, and the confirm of the one before, at `at`; returns its length. */
static size_t prepare_get(struct load *l, struct connection *c, char *at, uint64_t due)
{
    const struct dialect *d = l->dialect;
    uint64_t number = l->options.first + l->get_next;
    unsigned i, items = d->server == KESTREL ? d->batch : 1;
    size_t length = 0;
    if (c->opened) {
        length = confirm_request(d, at, c->number, c->job);
        expect(c, CONFIRM, c->number, due);
        c->opened = 0;
    }
    for (i = 0; i < items; i++)
        expect(c, GET, number + i, due);
    if (items > 1)
        expect(c, END, number, due);
    l->get_next += items;
    return length + put_request(d, at + length, GET, number);
}

static void send_requests(struct load *l, struct connection *c, unsigned count, uint64_t due)
{
    size_t length = 0;
    unsigned i;
    c->head = 0;
    for (i = 0; i < count; i++) {
        if (c->kind == GET) {
            length += prepare_get(l, c, l->out + length, due);
            continue;
        }
        if (l->put_at)
            l->put_at[l->put_next] = due;
        expect(c, PUT, l->options.first + l->put_next, due);
        length += put_request(l->dialect, l->out + length, PUT, l->options.first + l->put_next);
        l->put_next += l->dialect->batch;
    }
    write_out(l, c, l->out, length);
}

static int is_open_loop(const struct load *l, const struct connection *c)
{
    return l->options.rate > 0 && (l->options.mode != MODE_FLOOD || c->kind == PUT);
}

static uint64_t due_time(const struct load *l, uint64_t index)
{
    return l->started + (uint64_t)((double)index * 1e9 / l->options.rate);
}

/* Open loop: sends all that is due while connections are free, then sets the timer for the next. */
static void dispatch(struct load *l)
{
    while (l->free_count) {
        struct connection *c = l->free[l->free_count - 1];
        struct itimerspec at = {{0, 0}, {0, 0}};
        uint64_t due;
        if (!requests_left(l, c))
            return;
        due = due_time(l, c->kind == PUT ? l->put_next : l->get_next);
        if (due > now_ns()) {
            at.it_value.tv_sec = (time_t)(due / 1000000000ull);
            at.it_value.tv_nsec = (long)(due % 1000000000ull);
            timerfd_settime(l->timer, TFD_TIMER_ABSTIME, &at, NULL);
            return;
        }
        l->free_count--;
        send_requests(l, c, 1, due);
    }
}

/* A connection whose requests are all answered goes on. */
static void go_on(struct load *l, struct connection *c)
{
    uint64_t left = requests_left(l, c);
    if (is_open_loop(l, c))
        l->free[l->free_count++] = c;
    else if (left)
        send_requests(l, c, left < l->options.pipeline ? (unsigned)left : l->options.pipeline, now_ns());
}

static void count_item(struct load *l, const struct connection *c, uint64_t number, uint64_t now)
{
    uint64_t index = number - l->options.first;
    if (number < l->options.first || index >= l->options.count)
        fail("connection %u: item %" PRIu64 " was never put in this run", c->index, number);
    if (l->seen[index / 8] & (1 << index % 8))
        fail("connection %u: item %" PRIu64 " came a second time", c->index, number);
    if (l->options.ordered && index != l->ordered_next)
        fail("connection %u: item %" PRIu64 " came where %" PRIu64 " was due", c->index, number,
             l->options.first + l->ordered_next);
    l->ordered_next = index + 1;
    l->seen[index / 8] |= (unsigned char)(1 << index % 8);
    l->fetched++;
    if (l->put_at)
        histogram_add(&l->transits, now - l->put_at[index]);
    if (l->trace)
        fprintf(l->trace, "%" PRIu64 " %" PRIu64 "\n", l->put_at[index], now - l->put_at[index]);
}

static void count_reply(struct load *l, struct connection *c, enum verdict verdict, const struct reply *reply,
                        uint64_t now)
{
    const struct request *request = &c->requests[c->head++];
    c->waiting--;
    if (verdict == REPLY_MISS && l->options.mode != MODE_FLOOD)
        fail("connection %u: nothing there for get %" PRIu64 "; %" PRIu64 " of %" PRIu64 " items have come",
             c->index, request->number, l->fetched, l->limit);
    if (verdict == REPLY_STORED) {
        l->stored += l->dialect->batch;
        histogram_add(&l->puts, now - request->due);
    } else if (verdict == REPLY_ITEM) {
        c->opened = confirms(l->dialect);
        c->number = request->number;
        c->job = reply->job;
        histogram_add(&l->gets, now - request->due);
        count_item(l, c, reply->number, now);
    } else if (verdict == REPLY_MISS) {
        l->misses++;
    }
}

/* Takes all complete replies from the buffer; returns the bytes taken. */
static size_t take_replies(struct load *l, struct connection *c, const char *bytes, size_t length)
{
    static const char *const kinds[] = {"put", "get", "confirm of", "end of get"};
    uint64_t now = now_ns();
    size_t at = 0;
    while (at < length) {
        struct reply reply = {0, 0, 0, ""};
        const struct request *request = &c->requests[c->head];
        enum verdict verdict;
        if (!c->waiting)
            fail("connection %u: \"%s\" came without a request", c->index, visible(bytes + at, length - at));
        verdict = check_reply(l->dialect, request->kind, request->number, bytes + at, length - at, &reply);
        if (verdict == REPLY_PARTIAL)
            break;
        if (verdict == REPLY_WRONG)
            fail("connection %u: wrong reply \"%s\" to %s %" PRIu64 "; due was \"%s\"", c->index,
                 visible(bytes + at, length - at), kinds[request->kind], request->number, visible(reply.wrong, strlen(reply.wrong)));
        count_reply(l, c, verdict, &reply, now);
        at += reply.length;
    }
    return at;
}

static void read_replies(struct load *l, struct connection *c)
{
    size_t length = c->unread_length, taken;
    ssize_t n;
    if (length)
        memcpy(l->in, c->unread, length);
    n = recv(c->fd, l->in + length, l->in_size - length, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0)
        fail("connection %u: lost with %u requests unanswered, after %" PRIu64 " items stored and %" PRIu64
             " fetched: %s", c->index, c->waiting, l->stored, l->fetched,
             n ? strerror(errno) : "closed by the server");
    length += (size_t)n;
    taken = take_replies(l, c, l->in, length);
    free(c->unread);
    c->unread = NULL;
    c->unread_length = length - taken;
    if (c->unread_length) {
        c->unread = allocate(c->unread_length);
        memcpy(c->unread, l->in + taken, c->unread_length);
    }
    if (!c->waiting)
        go_on(l, c);
}

static int is_done(const struct load *l)
{
    uint64_t fetched_wanted = l->options.consumers ? l->limit : 0;
    uint64_t stored_wanted = l->options.producers ? l->limit : 0;
    return l->stored >= stored_wanted && l->fetched >= fetched_wanted;
}

/* Handles what has happened until the time `until` (ns) or, with 0, until all is done. */
static void run_events(struct load *l, uint64_t until)
{
    struct epoll_event events[EVENTS];
    while (until ? now_ns() < until : !is_done(l)) {
        uint64_t now = now_ns(), wait = until ? until : l->deadline;
        int i, n;
        if (now >= l->deadline)
            fail("not done after %u s: %" PRIu64 " stored, %" PRIu64 " fetched of %" PRIu64 ", %" PRIu64
                 " misses", l->options.deadline_s, l->stored, l->fetched, l->limit, l->misses);
        n = epoll_wait(l->epoll, events, EVENTS, (int)((wait - now) / 1000000 + 1));
        for (i = 0; i < n; i++) {
            struct connection *c = events[i].data.ptr;
            uint64_t ticks;
            if (c == NULL) {
                if (read(l->timer, &ticks, sizeof ticks) < 0 && errno != EAGAIN)
                    fail("timer: %s", strerror(errno));
            } else if (c->fd == STDIN_FILENO) {     /* it ends: no more puts */
                l->limit = l->put_next;
                epoll_ctl(l->epoll, EPOLL_CTL_DEL, STDIN_FILENO, NULL);
            } else {
                if (events[i].events & EPOLLOUT && c->unsent)
                    write_rest(l, c);
                if (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR))
                    read_replies(l, c);
            }
        }
        if (l->free_count)
            dispatch(l);
    }
}

static void start(struct load *l, unsigned from, unsigned to)
{
    unsigned i;
    for (i = from; i < to; i++)
        go_on(l, &l->connections[i]);
}

static void watch_extra(struct load *l, struct connection *input)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    l->timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (l->timer < 0 || epoll_ctl(l->epoll, EPOLL_CTL_ADD, l->timer, &event) != 0)
        fail("timer: %s", strerror(errno));
    input->fd = STDIN_FILENO;
    if (l->options.until_eof)
        watch(l, input, EPOLL_CTL_ADD, EPOLLIN);
}

static void print_result(const struct load *l, struct usage_times own, struct usage_times server)
{
    double seconds = (double)(l->ended - l->started) / 1e9;
    uint64_t items = l->options.consumers ? l->fetched : l->stored;
    printf("{\"items\": %" PRIu64 ", \"seconds\": %.6f, \"rate\": %.1f, \"connections\": %u, "
           "\"pipeline\": %u, \"size\": %zu, \"stored\": %" PRIu64 ", \"fetched\": %" PRIu64 ", "
           "\"misses\": %" PRIu64 ", "
           "\"loadgen_cpu_share\": %.3f", items, seconds, (double)items / seconds, l->count,
           l->options.pipeline, l->dialect->size, l->stored, l->fetched, l->misses,
           (own.user + own.system) / seconds);
    if (l->options.pid)
        printf(", \"server_cpu_share\": %.3f, \"server_user_s\": %.3f, \"server_system_s\": %.3f",
               (server.user + server.system) / seconds, server.user, server.system);
    histogram_print(stdout, "put", &l->puts);
    histogram_print(stdout, "get", &l->gets);
    histogram_print(stdout, "transit", &l->transits);
    puts("}");
}

static void run(struct load *l)
{
    struct usage_times own, server;
    struct connection input = {0};
    unsigned i;
    if ((l->epoll = epoll_create1(EPOLL_CLOEXEC)) < 0)
        fail("epoll_create1: %s", strerror(errno));
    for (i = 0; i < l->count; i++)
        watch(l, &l->connections[i], EPOLL_CTL_ADD, EPOLLIN);
    watch_extra(l, &input);
    if (l->options.mode == MODE_FLOOD && l->options.settle_ms) {
        start(l, l->options.producers, l->count);
        run_events(l, now_ns() + l->options.settle_ms * 1000000ull);
    }
    own = own_times();
    server = server_times(l->options.pid);
    l->started = now_ns();
    start(l, 0, l->options.mode == MODE_FLOOD && l->options.settle_ms ? l->options.producers : l->count);
    dispatch(l);
    run_events(l, 0);
    l->ended = now_ns();
    print_result(l, since(own, own_times()), since(server, server_times(l->options.pid)));
}

int main(int argc, char **argv)
{
    static struct load l;
    unsigned i;
    l.options = parse_options(argc, argv);
    l.dialect = &l.options.dialect;
    l.count = l.options.producers + l.options.consumers;
    l.limit = l.options.count;
    l.deadline = now_ns() + l.options.deadline_s * 1000000000ull;
    l.connections = allocate(l.count * sizeof *l.connections);
    l.free = allocate(l.count * sizeof *l.free);
    l.in_size = RECEIVE_SIZE + 2 * request_max(l.dialect);
    l.in = allocate(l.in_size);
    l.out = allocate(l.options.pipeline * request_max(l.dialect) + 1);
    l.seen = allocate(l.options.count / 8 + 1);
    if (l.options.mode == MODE_FLOOD)
        l.put_at = allocate(l.options.count * sizeof *l.put_at);
    for (i = l.options.producers; i < l.count; i++)
        l.connections[i].kind = GET;
    if (l.options.trace && !(l.trace = fopen(l.options.trace, "w")))
        fail("%s: %s", l.options.trace, strerror(errno));
    raise_file_limit(l.count);
    open_connections(l.dialect, l.options.port, l.connections, l.count,
                     l.options.pipeline * (l.dialect->batch + 2));
    if (l.options.mode == MODE_IDLE)
        stay_idle(l.dialect, l.connections, l.count, l.options.deadline_s);
    else
        run(&l);
    if (l.trace && fclose(l.trace) != 0)
        fail("%s: %s", l.options.trace, strerror(errno));
    return 0;
}
