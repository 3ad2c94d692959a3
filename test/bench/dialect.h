/* What the protocols have in common: what is asked for, what a reply may be, and the comparison of its bytes. */
#ifndef BENCH_DIALECT_H
#define BENCH_DIALECT_H

#include <stdint.h>
#include <string.h>

enum server { MEMCACHED, KESTREL, REDIS, TEXT, THRIFT, BEANSTALKD };
/* Of a connection PUT or GET. Of a reply also CONFIRM, that of the confirm before a get, and END, what follows the
 * items of a monitor. */
enum kind { PUT, GET, CONFIRM, END };
enum verdict { REPLY_PARTIAL, REPLY_STORED, REPLY_ITEM, REPLY_MISS, REPLY_DONE, REPLY_WRONG };

#define KEY_MAX 128

struct dialect {
    enum server server;
    const char *queue;      /* name; begin of the names if there are several; begin of memcached's keys */
    unsigned queues;        /* the item with number n goes to queue n % queues */
    long block_ms;          /* gets wait this long for an item; 0: they do not wait */
    size_t size;            /* of an item's data */
    unsigned batch;         /* text, thrift: items of one put; kestrel: items of one get, a monitor if more than 1 */
    int confirm;            /* kestrel: gets open an item and confirm the one before; beanstalkd always does */
    uint64_t seed;
};

struct reply {
    size_t length;          /* bytes of the reply, once it is complete */
    uint64_t number;        /* of the item in it */
    uint64_t job;           /* beanstalkd: what a delete names */
    const char *wrong;      /* what was wrong */
};

static size_t put_decimal(char *at, uint64_t value)
{
    char digits[20];
    size_t n = 0, i;
    do
        digits[n++] = (char)('0' + value % 10);
    while (value /= 10);
    for (i = 0; i < n; i++)
        at[i] = digits[n - 1 - i];
    return n;
}

static size_t put_text(char *at, const char *text)
{
    size_t n = strlen(text);
    memcpy(at, text, n);
    return n;
}

/* 1: the reply begins with all of expected; 0: with as much of it as has come; -1: with something else. */
static int begins(const char *reply, size_t length, const char *expected, size_t n)
{
    if (memcmp(reply, expected, length < n ? length : n) != 0)
        return -1;
    return length >= n;
}

static enum verdict check_bytes(const char *reply, size_t length, const char *expected, size_t expected_length,
                                enum verdict verdict, struct reply *found)
{
    found->length = expected_length;
    switch (begins(reply, length, expected, found->length)) {
    case 1:
        return verdict;
    case 0:
        return REPLY_PARTIAL;
    }
    found->wrong = expected;
    return REPLY_WRONG;
}

static enum verdict check_fixed(const char *reply, size_t length, const char *expected, enum verdict verdict,
                                struct reply *found)
{
    return check_bytes(reply, length, expected, strlen(expected), verdict, found);
}

#endif
