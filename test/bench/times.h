/* Clocks: the time, and the processor time that this process and the server have used. */
#ifndef BENCH_TIMES_H
#define BENCH_TIMES_H

#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "connection.h"

struct usage_times {
    double user, system;    /* seconds */
};

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000ull + (uint64_t)t.tv_nsec;
}

static struct usage_times own_times(void)
{
    struct rusage r;
    getrusage(RUSAGE_SELF, &r);
    return (struct usage_times){(double)r.ru_utime.tv_sec + (double)r.ru_utime.tv_usec / 1e6,
                                (double)r.ru_stime.tv_sec + (double)r.ru_stime.tv_usec / 1e6};
}

/* From /proc: counted in ticks of 10 ms, all threads together. */
static struct usage_times server_times(long pid)
{
    struct usage_times times = {0, 0};
    unsigned long user, system;
    char path[64], text[1024], *rest;
    FILE *file;
    size_t n;
    if (!pid)
        return times;
    snprintf(path, sizeof path, "/proc/%ld/stat", pid);
    if (!(file = fopen(path, "r")))
        fail("the server is gone: %s: %s", path, strerror(errno));
    n = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    text[n] = 0;
    rest = strrchr(text, ')');
    if (!rest ||
        sscanf(rest + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &system) != 2)
        fail("%s is not understood", path);
    times.user = (double)user / (double)sysconf(_SC_CLK_TCK);
    times.system = (double)system / (double)sysconf(_SC_CLK_TCK);
    return times;
}

static struct usage_times since(struct usage_times begin, struct usage_times end)
{
    return (struct usage_times){end.user - begin.user, end.system - begin.system};
}

#endif
