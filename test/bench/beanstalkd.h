/* The protocol of beanstalkd, tube `default`. A get is `reserve-with-timeout`; the `delete` of the job that the get
 * before it has brought goes in the same write, as kestrel's /close goes with an /open. */
#ifndef BENCH_BEANSTALKD_H
#define BENCH_BEANSTALKD_H

#include "dialect.h"

#define TIME_TO_RUN_S 3600      /* a job that is reserved is never given to another client meanwhile */

static size_t beanstalkd_put(const struct dialect *d, char *at)
{
    size_t n = put_text(at, "put 0 0 ");
    n += put_decimal(at + n, TIME_TO_RUN_S);
    at[n++] = ' ';
    n += put_decimal(at + n, d->size);
    return n + put_text(at + n, "\r\n");
}

static size_t beanstalkd_delete(char *at, uint64_t job)
{
    size_t n = put_text(at, "delete ");
    n += put_decimal(at + n, job);
    return n + put_text(at + n, "\r\n");
}

static size_t beanstalkd_reserve(const struct dialect *d, char *at)
{
    size_t n = put_text(at, "reserve-with-timeout ");
    n += put_decimal(at + n, (uint64_t)(d->block_ms + 999) / 1000);
    return n + put_text(at + n, "\r\n");
}

/* `word` and a number: bytes up to the number's end, which is to be looked at next; 0: not whole, -1: wrong. */
static int word_and_number(const char *reply, size_t length, const char *word, uint64_t *number)
{
    size_t at = strlen(word), first = at;
    int found = begins(reply, length, word, at);
    if (found < 1)
        return found;
    for (*number = 0; at < length && reply[at] >= '0' && reply[at] <= '9' && at - first < 19; at++)
        *number = *number * 10 + (uint64_t)(reply[at] - '0');
    if (at == length)
        return 0;
    return at > first ? (int)at : -1;
}

static enum verdict beanstalkd_inserted(const char *reply, size_t length, struct reply *found)
{
    int n = word_and_number(reply, length, "INSERTED ", &found->job);
    found->wrong = "INSERTED and the number of a job";
    if (n == 0)
        return REPLY_PARTIAL;
    if (n < 0 || begins(reply + n, length - (size_t)n, "\r\n", 2) < 0)
        return REPLY_WRONG;
    found->length = (size_t)n + 2;
    return found->length <= length ? REPLY_STORED : REPLY_PARTIAL;
}

/* The line before the data of a job: its length, 0 if it is not whole, -1 if it is wrong. */
static int beanstalkd_reserved(const struct dialect *d, const char *reply, size_t length, struct reply *found)
{
    char size[24];
    int n = word_and_number(reply, length, "RESERVED ", &found->job);
    size_t rest;
    if (n <= 0)
        return n;
    size[0] = ' ';
    rest = 1 + put_decimal(size + 1, d->size);
    rest += put_text(size + rest, "\r\n");
    switch (begins(reply + n, length - (size_t)n, size, rest)) {
    case 1:
        return n + (int)rest;
    case 0:
        return 0;
    }
    return -1;
}

#endif
