/* Requests to write and replies to check, for memcached (a key for each item), kestrel (the same protocol, a
 * queue instead of a key), kestrel's text and thrift ports, redis (LPUSH, RPOP, BRPOP) and beanstalkd. No sockets
 * here.
 *
 * A reply is compared with the only bytes it may consist of, as far as it has come: a wrong one is noticed at
 * its first wrong byte and never waited for.
 */
#ifndef BENCH_PROTOCOL_H
#define BENCH_PROTOCOL_H

#include <stdio.h>
#include <string.h>

#include "beanstalkd.h"
#include "dialect.h"
#include "item.h"

static size_t put_key(const struct dialect *d, char *at, uint64_t number)
{
    size_t n = put_text(at, d->queue);
    if (d->server == MEMCACHED)
        n += put_decimal(at + n, number);
    else if (d->queues > 1)
        n += put_decimal(at + n, number % d->queues);
    return n;
}

static size_t put_bulk_length(char *at, size_t length)
{
    size_t n = 0;
    at[n++] = '$';
    n += put_decimal(at + n, length);
    at[n++] = '\r';
    at[n++] = '\n';
    return n;
}

static size_t redis_request(const struct dialect *d, char *at, enum kind kind, const char *key,
                            size_t key_length)
{
    char seconds[32];
    size_t n = 0;
    if (kind == PUT)
        n += put_text(at + n, "*3\r\n$5\r\nLPUSH\r\n");
    else if (d->block_ms)
        n += put_text(at + n, "*3\r\n$5\r\nBRPOP\r\n");
    else
        n += put_text(at + n, "*2\r\n$4\r\nRPOP\r\n");
    n += put_bulk_length(at + n, key_length);
    memcpy(at + n, key, key_length);
    n += key_length;
    n += put_text(at + n, "\r\n");
    if (kind == PUT) {
        n += put_bulk_length(at + n, d->size);
    } else if (d->block_ms) {
        snprintf(seconds, sizeof seconds, "%.3f", (double)d->block_ms / 1000.0);
        n += put_bulk_length(at + n, strlen(seconds));
        n += put_text(at + n, seconds);
        n += put_text(at + n, "\r\n");
    }
    return n;
}

static size_t memcache_request(const struct dialect *d, char *at, enum kind kind, const char *key,
                               size_t key_length)
{
    size_t n = put_text(at, kind == PUT ? "set " : "get ");
    memcpy(at + n, key, key_length);
    n += key_length;
    if (kind == PUT) {
        n += put_text(at + n, " 0 0 ");
        n += put_decimal(at + n, d->size);
    } else {
        if (d->confirm)
            n += put_text(at + n, "/close/open");
        if (d->block_ms && d->server == KESTREL) {
            n += put_text(at + n, "/t=");
            n += put_decimal(at + n, (uint64_t)d->block_ms);
        }
    }
    return n + put_text(at + n, "\r\n");
}

/* A command of kestrel about a queue and a number of items. */
static size_t items_request(const struct dialect *d, char *at, const char *command, uint64_t number,
                            const char *between)
{
    size_t n = put_text(at, command);
    n += put_key(d, at + n, number);
    n += put_text(at + n, between);
    n += put_decimal(at + n, d->batch);
    return n + put_text(at + n, "\r\n");
}

static size_t text_request(const struct dialect *d, char *at, enum kind kind, const char *key,
                           size_t key_length, uint64_t number)
{
    size_t n = put_text(at, kind == PUT ? "put " : "get ");
    unsigned i;
    memcpy(at + n, key, key_length);
    n += key_length;
    if (kind == PUT) {
        n += put_text(at + n, ":\n");
        for (i = 0; i < d->batch; i++) {
            item_fill(at + n, d->size, d->seed, number + i, 1);
            n += d->size;
            at[n++] = '\n';
        }
    } else if (d->block_ms) {
        at[n++] = ' ';
        n += put_decimal(at + n, (uint64_t)d->block_ms);
    }
    at[n++] = '\n';
    return n;
}

static size_t put_u32(char *at, size_t value)
{
    int i;
    for (i = 0; i < 4; i++)
        at[i] = (char)(value >> (24 - 8 * i));
    return 4;
}

static size_t put_bytes(char *at, const char *bytes, size_t length)
{
    memcpy(at, bytes, length);
    return length;
}

/* put and get of one item for good, in frames of the binary protocol. */
static size_t thrift_request(const struct dialect *d, char *at, enum kind kind, const char *key,
                             size_t key_length, uint64_t number)
{
    size_t n = 4;
    unsigned i;
    n += put_bytes(at + n, "\x80\1\0\1\0\0\0\3", 8);
    n += put_bytes(at + n, kind == PUT ? "put" : "get", 3);
    n += put_u32(at + n, 1);
    n += put_bytes(at + n, "\x0b\0\1", 3);
    n += put_u32(at + n, key_length);
    n += put_bytes(at + n, key, key_length);
    if (kind == PUT) {
        n += put_bytes(at + n, "\x0f\0\2\x0b", 4);
        n += put_u32(at + n, d->batch);
        for (i = 0; i < d->batch; i++) {
            n += put_u32(at + n, d->size);
            item_fill(at + n, d->size, d->seed, number + i, 0);
            n += d->size;
        }
    } else {
        n += put_bytes(at + n, "\x08\0\2\0\0\0\1\x08\0\3", 10);
        n += put_u32(at + n, (size_t)d->block_ms);
    }
    at[n++] = 0;
    put_u32(at, n - 4);
    return n;
}

/* No request is longer than this. */
static size_t request_max(const struct dialect *d)
{
    return 2 * KEY_MAX + 256 + d->batch * (d->size + 4);
}

static size_t put_request(const struct dialect *d, char *at, enum kind kind, uint64_t number)
{
    char key[KEY_MAX + 24];
    size_t key_length = put_key(d, key, number), n;
    if (d->server == TEXT)
        return text_request(d, at, kind, key, key_length, number);
    if (d->server == THRIFT)
        return thrift_request(d, at, kind, key, key_length, number);
    if (d->server == BEANSTALKD && kind == GET)
        return beanstalkd_reserve(d, at);
    if (d->server == KESTREL && kind == GET && d->batch > 1)
        return items_request(d, at, "monitor ", number, " 1 ");
    if (d->server == BEANSTALKD)
        n = beanstalkd_put(d, at);
    else if (d->server == REDIS)
        n = redis_request(d, at, kind, key, key_length);
    else
        n = memcache_request(d, at, kind, key, key_length);
    if (kind == PUT) {
        item_fill(at + n, d->size, d->seed, number, 0);
        n += d->size;
        n += put_text(at + n, "\r\n");
    }
    return n;
}

/* Confirms what a get has brought before: `job` is beanstalkd's, `number` says kestrel's queue. */
static size_t confirm_request(const struct dialect *d, char *at, uint64_t number, uint64_t job)
{
    return d->server == BEANSTALKD ? beanstalkd_delete(at, job) : items_request(d, at, "confirm ", number, " ");
}

/* Does a get confirm the one before it with a request of its own? */
static int confirms(const struct dialect *d)
{
    return d->server == BEANSTALKD || (d->server == KESTREL && d->batch > 1);
}

/* LPUSH answers the length of the list: `:<digits>\r\n`, at least 1. */
static enum verdict check_count(const char *reply, size_t length, struct reply *found)
{
    size_t at;
    found->wrong = "a positive integer reply";
    if (reply[0] != ':')
        return REPLY_WRONG;
    for (at = 1; at < length && reply[at] >= '0' && reply[at] <= '9'; at++)
        if (at > 19 || (at == 1 && reply[at] == '0'))
            return REPLY_WRONG;
    if (at < length && (at == 1 || reply[at] != '\r'))
        return REPLY_WRONG;
    if (at + 1 < length && reply[at + 1] != '\n')
        return REPLY_WRONG;
    found->length = at + 2;
    return at + 1 < length ? REPLY_STORED : REPLY_PARTIAL;
}

#define THRIFT_PUT_REPLY "\x80\1\0\2\0\0\0\3put\0\0\0\1"
#define THRIFT_GET_REPLY "\x80\1\0\2\0\0\0\3get\0\0\0\1"
#define THRIFT_MISS "\0\0\0\x18" THRIFT_GET_REPLY "\x0f\0\0\x0c\0\0\0\0\0"
#define THRIFT_TAIL "\x0a\0\2\0\0\0\0\0\0\0\0\0\0"

static size_t put_item_header(const struct dialect *d, char *at, uint64_t number)
{
    char key[KEY_MAX + 24];
    size_t key_length = put_key(d, key, number), n = 0;
    if (d->server == TEXT)
        return put_text(at, ":");
    if (d->server == THRIFT) {
        n = put_u32(at, 46 - 3 + d->size);
        n += put_bytes(at + n, THRIFT_GET_REPLY, 15);
        n += put_bytes(at + n, "\x0f\0\0\x0c\0\0\0\1\x0b\0\1", 11);
        return n + put_u32(at + n, d->size);
    }
    if (d->server != REDIS) {
        n += put_text(at, "VALUE ");
        memcpy(at + n, key, key_length);
        n += key_length;
        n += put_text(at + n, " 0 ");
        n += put_decimal(at + n, d->size);
        return n + put_text(at + n, "\r\n");
    }
    if (d->block_ms) {
        n += put_text(at, "*2\r\n");
        n += put_bulk_length(at + n, key_length);
        memcpy(at + n, key, key_length);
        n += key_length;
        n += put_text(at + n, "\r\n");
    }
    return n + put_bulk_length(at + n, d->size);
}

/* `asked` is the number the get was sent for: it says the queue, and for memcached the very item. */
static enum verdict check_item(const struct dialect *d, const char *reply, size_t length, uint64_t asked,
                               struct reply *found)
{
    static char header[2 * KEY_MAX + 128];
    int is_text = d->server == TEXT, is_miss, is_item;
    const char *data;
    const char *miss = is_text ? "*\n" : "END\r\n", *tail = is_text ? "\n" : "\r\nEND\r\n";
    size_t miss_length, header_length, tail_length;
    if (d->server == REDIS)
        miss = d->block_ms ? "*-1\r\n" : "$-1\r\n";
    else if (d->server == BEANSTALKD)
        miss = "TIMED_OUT\r\n";
    if (d->server == REDIS || d->server == BEANSTALKD)
        tail = "\r\n";
    miss_length = strlen(miss);
    tail_length = strlen(tail);
    if (d->server == THRIFT) {
        miss = THRIFT_MISS;
        miss_length = sizeof THRIFT_MISS - 1;
        tail = THRIFT_TAIL;
        tail_length = sizeof THRIFT_TAIL - 1;
    }
    data = 0;
    is_miss = begins(reply, length, miss, miss_length);
    if (is_miss == 1) {
        found->length = miss_length;
        return REPLY_MISS;
    }
    if (d->server == BEANSTALKD) {
        is_item = beanstalkd_reserved(d, reply, length, found);
        header_length = is_item > 0 ? (size_t)is_item : put_text(header, "RESERVED, a job and its size");
    } else {
        header_length = put_item_header(d, header, asked);
        is_item = begins(reply, length, header, header_length);
    }
    if (is_item < 0 && is_miss < 0) {
        header[header_length] = 0;
        found->wrong = header;
        return REPLY_WRONG;
    }
    if (is_item <= 0 || length < header_length + d->size)
        return REPLY_PARTIAL;
    data = reply + header_length;
    found->number = d->size ? item_number(data, is_text) : asked;
    found->wrong = "the data of an item of this run, byte for byte";
    if (!item_matches(data, d->size, d->seed, found->number, is_text))
        return REPLY_WRONG;
    found->wrong = "the item that was asked for";
    if (d->server == MEMCACHED && found->number != asked)
        return REPLY_WRONG;
    found->wrong = "an item of this queue";
    if (found->number % d->queues != asked % d->queues)
        return REPLY_WRONG;
    found->wrong = tail;
    switch (begins(data + d->size, length - header_length - d->size, tail, tail_length)) {
    case 1:
        found->length = header_length + d->size + tail_length;
        return REPLY_ITEM;
    case 0:
        return REPLY_PARTIAL;
    }
    return REPLY_WRONG;
}

/* Checks the reply to one request; length is at least 1. */
static enum verdict check_reply(const struct dialect *d, enum kind kind, uint64_t asked, const char *reply,
                                size_t length, struct reply *found)
{
    if (kind == GET)
        return check_item(d, reply, length, asked, found);
    if (kind != PUT)
        return check_fixed(reply, length, d->server == BEANSTALKD ? "DELETED\r\n" : "END\r\n", REPLY_DONE, found);
    if (d->server == BEANSTALKD)
        return beanstalkd_inserted(reply, length, found);
    if (d->server == REDIS)
        return check_count(reply, length, found);
    if (d->server == TEXT) {
        static char stored[24];
        stored[0] = '+';
        strcpy(stored + 1 + put_decimal(stored + 1, d->batch), "\n");
        return check_fixed(reply, length, stored, REPLY_STORED, found);
    }
    if (d->server == THRIFT) {
        char stored[32];
        size_t n = put_u32(stored, 23);
        n += put_bytes(stored + n, THRIFT_PUT_REPLY "\x08\0\0", 18);
        n += put_u32(stored + n, d->batch);
        stored[n++] = 0;
        enum verdict verdict = check_bytes(reply, length, stored, n, REPLY_STORED, found);
        found->wrong = "the number of items put";
        return verdict;
    }
    return check_fixed(reply, length, "STORED\r\n", REPLY_STORED, found);
}

#define THRIFT_HELLO "\0\0\0\x18\x80\1\0\1\0\0\0\x0b" "get_version\0\0\0\1\0"

/* A request without effect and the begin of its one-line answer: tells that a connection is served. */
static const char *hello_request(const struct dialect *d)
{
    if (d->server == THRIFT)
        return THRIFT_HELLO;
    if (d->server == BEANSTALKD)
        return "list-tube-used\r\n";
    return d->server == REDIS ? "PING\r\n" : d->server == TEXT ? "version\n" : "version\r\n";
}

static const char *hello_reply(const struct dialect *d)
{
    if (d->server == BEANSTALKD)
        return "USING ";
    return d->server == REDIS ? "+PONG" : d->server == TEXT ? ":" : d->server == THRIFT ? "" : "VERSION ";
}

static size_t hello_length(const struct dialect *d)
{
    return d->server == THRIFT ? sizeof THRIFT_HELLO - 1 : strlen(hello_request(d));
}

/* Is the answer whole? */
static int hello_ended(const struct dialect *d, const char *reply, size_t length)
{
    if (d->server == THRIFT)
        return length >= 4 && length >= 4u + (unsigned char)reply[3];
    return reply[length - 1] == '\n';
}

#endif
