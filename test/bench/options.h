/* The command line of the load generator. */
#ifndef BENCH_OPTIONS_H
#define BENCH_OPTIONS_H

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "protocol.h"

enum mode { MODE_PUT, MODE_GET, MODE_FLOOD, MODE_IDLE };

struct options {
    struct dialect dialect;
    enum mode mode;
    unsigned port, producers, consumers, pipeline, settle_ms, deadline_s;
    uint64_t count, first;
    double rate;            /* puts (in mode get: gets) a second, open loop; 0: closed loop */
    int ordered, until_eof;
    const char *trace;      /* flood: a file that gets a line for each item fetched, or NULL */
    long pid;               /* of the server, for its share of the processor; 0: unknown */
};

static const char *const usage =
    "usage: loadgen --proto memcached|kestrel|redis|text|thrift|beanstalkd --port N --mode put|get|flood|idle [options]\n"
    "Loads a server on 127.0.0.1, checks every byte of every reply and prints one line of JSON.\n"
    "  --mode put         store --count items          get    fetch --count items, all of them there\n"
    "         flood       --producers put and --consumers get --count items at once\n"
    "         idle        open --connections, print {\"ready\": N}, keep them until standard input ends\n"
    "  --connections N    (1; put, get, idle)          --producers N, --consumers N    (1; flood)\n"
    "  --count N          items (10000)                --size N      bytes of data each (1024; at least 8, or in\n"
    "                     modes put and get 0, and then which one came is not known)\n"
    "  --seed N           of the data (1)              --first N     number of the first item (0)\n"
    "  --queue NAME       (bench) begin of the keys    --queues N    items go round NAME0..NAME<N-1> (1)\n"
    "  --pipeline N       requests in one write, then all of their replies (1)\n"
    "  --batch N          text, thrift: items of one put; kestrel, mode get: of one monitor, which the next\n"
    "                     one confirms (1); --count is a multiple of it\n"
    "  --confirm          kestrel: each get opens an item and confirms the one before (get q/close/open)\n"
    "  --rate R           open loop: R requests a second whatever the answers do, latency counts from the\n"
    "                     time a request was due (in flood: the puts; the gets stay in a closed loop)\n"
    "  --block MS         gets wait so long for an item (0: not at all)\n"
    "  --ordered          the items must come in the order of their numbers\n"
    "  --settle MS        flood: time for the consumers to block before the first put (0)\n"
    "  --until-eof        no new puts once standard input ends; --count is the upper limit\n"
    "  --trace FILE       flood: for each item fetched when it was due to be put and how long after that it\n"
    "                     came, both in ns of the monotonic clock\n"
    "  --deadline S       give up after so many seconds (60)\n"
    "  --pid N            process whose processor time is reported as the server's\n"
    "Exit: 0 everything right, 1 a wrong reply, a lost connection or the deadline, 2 usage.\n";

static void usage_error(const char *what, const char *value)
{
    fprintf(stderr, "loadgen: %s: %s\n%s", what, value, usage);
    exit(2);
}

static uint64_t number_option(const char *name, const char *text, uint64_t least, uint64_t most)
{
    char *end;
    uint64_t value;
    errno = 0;
    value = strtoull(text, &end, 10);
    if (errno || *end || end == text || *text == '-' || value < least || value > most)
        usage_error(name, text);
    return value;
}

static int word_option(const char *name, const char *text, const char *const *words)
{
    int i;
    for (i = 0; words[i]; i++)
        if (strcmp(text, words[i]) == 0)
            return i;
    usage_error(name, text);
    return 0;
}

static int is_batched(const struct options *o)
{
    enum server server = o->dialect.server;
    return o->count % o->dialect.batch == 0 &&
           (o->mode == MODE_PUT ? server == TEXT || server == THRIFT : o->mode == MODE_GET && server == KESTREL);
}

static void check_options(const struct options *o)
{
    if (o->port == 0)
        usage_error("missing", "--port");
    if (strlen(o->dialect.queue) > KEY_MAX)
        usage_error("too long", "--queue");
    if (o->mode == MODE_FLOOD && o->dialect.server == MEMCACHED)
        usage_error("memcached has no queues", "--mode flood");
    if (o->mode != MODE_FLOOD && (o->until_eof || o->settle_ms || o->trace))
        usage_error("only with --mode flood", "--until-eof, --settle, --trace");
    if (o->dialect.batch > 1 && !is_batched(o))
        usage_error("only puts of --proto text and thrift and gets of kestrel, with a --count that it divides",
                    "--batch");
    if (o->dialect.confirm && (o->dialect.server != KESTREL || o->dialect.batch > 1))
        usage_error("only with --proto kestrel, without --batch", "--confirm");
    if (o->dialect.server == BEANSTALKD && (o->dialect.queues > 1 || (o->pipeline > 1 && o->mode != MODE_PUT)))
        usage_error("beanstalkd has one tube here, and gets without --pipeline", "--queues, --pipeline");
    if (o->dialect.server == KESTREL && o->dialect.batch > 1 && (o->dialect.queues > 1 || o->pipeline > 1))
        usage_error("monitors are without", "--queues, --pipeline");
    if (o->dialect.size < ITEM_MIN && (o->dialect.size || o->mode == MODE_FLOOD))
        usage_error("at least 8, or in modes put and get 0", "--size");
    if (o->rate < 0 || (o->rate > 0 && o->pipeline > 1))
        usage_error("open loop is without", "--pipeline");
}

static struct options parse_options(int argc, char **argv)
{
    enum { PROTO = 1, PORT, MODE, CONNECTIONS, PRODUCERS, CONSUMERS, COUNT, SIZE, SEED, FIRST, QUEUE, QUEUES,
           PIPELINE, BATCH, CONFIRMING, RATE, BLOCK, ORDERED, SETTLE, UNTIL_EOF, TRACE, DEADLINE, PID };
    static const struct option known[] = {
        {"proto", 1, 0, PROTO}, {"port", 1, 0, PORT}, {"mode", 1, 0, MODE},
        {"connections", 1, 0, CONNECTIONS}, {"producers", 1, 0, PRODUCERS}, {"consumers", 1, 0, CONSUMERS},
        {"count", 1, 0, COUNT}, {"size", 1, 0, SIZE}, {"seed", 1, 0, SEED}, {"first", 1, 0, FIRST},
        {"queue", 1, 0, QUEUE}, {"queues", 1, 0, QUEUES}, {"pipeline", 1, 0, PIPELINE},
        {"batch", 1, 0, BATCH}, {"confirm", 0, 0, CONFIRMING}, {"rate", 1, 0, RATE},
        {"block", 1, 0, BLOCK}, {"ordered", 0, 0, ORDERED}, {"settle", 1, 0, SETTLE},
        {"until-eof", 0, 0, UNTIL_EOF}, {"trace", 1, 0, TRACE},
        {"deadline", 1, 0, DEADLINE}, {"pid", 1, 0, PID}, {0, 0, 0, 0}};
    static const char *const servers[] = {"memcached", "kestrel", "redis", "text", "thrift", "beanstalkd", 0};
    static const char *const modes[] = {"put", "get", "flood", "idle", 0};
    struct options o = {
        .dialect = {.server = KESTREL, .queue = "bench", .queues = 1, .size = 1024, .seed = 1, .batch = 1},
        .producers = 1, .consumers = 1, .pipeline = 1, .deadline_s = 60, .count = 10000};
    unsigned connections = 1;
    int which, index;

    while ((which = getopt_long(argc, argv, "", known, &index)) != -1) {
        const char *name = which == '?' ? "" : known[index].name;
        switch (which) {
        case PROTO: o.dialect.server = (enum server)word_option(name, optarg, servers); break;
        case PORT: o.port = (unsigned)number_option(name, optarg, 1, 65535); break;
        case MODE: o.mode = (enum mode)word_option(name, optarg, modes); break;
        case CONNECTIONS: connections = (unsigned)number_option(name, optarg, 1, 100000); break;
        case PRODUCERS: o.producers = (unsigned)number_option(name, optarg, 1, 100000); break;
        case CONSUMERS: o.consumers = (unsigned)number_option(name, optarg, 1, 100000); break;
        case COUNT: o.count = number_option(name, optarg, 1, 1000000000); break;
        case SIZE: o.dialect.size = number_option(name, optarg, 0, 16 << 20); break;
        case SEED: o.dialect.seed = number_option(name, optarg, 0, UINT64_MAX); break;
        case FIRST: o.first = number_option(name, optarg, 0, UINT64_MAX / 2); break;
        case QUEUE: o.dialect.queue = optarg; break;
        case QUEUES: o.dialect.queues = (unsigned)number_option(name, optarg, 1, 10000000); break;
        case PIPELINE: o.pipeline = (unsigned)number_option(name, optarg, 1, 4096); break;
        case BATCH: o.dialect.batch = (unsigned)number_option(name, optarg, 1, 1024); break;
        case CONFIRMING: o.dialect.confirm = 1; break;
        case RATE: o.rate = (double)number_option(name, optarg, 1, 10000000); break;
        case BLOCK: o.dialect.block_ms = (long)number_option(name, optarg, 0, 3600000); break;
        case ORDERED: o.ordered = 1; break;
        case SETTLE: o.settle_ms = (unsigned)number_option(name, optarg, 0, 60000); break;
        case UNTIL_EOF: o.until_eof = 1; break;
        case TRACE: o.trace = optarg; break;
        case DEADLINE: o.deadline_s = (unsigned)number_option(name, optarg, 1, 3600); break;
        case PID: o.pid = (long)number_option(name, optarg, 1, 1 << 30); break;
        default: usage_error("see", "usage");
        }
    }
    if (optind < argc)
        usage_error("not an option", argv[optind]);
    if (o.mode != MODE_FLOOD) {
        o.producers = o.mode == MODE_PUT || o.mode == MODE_IDLE ? connections : 0;
        o.consumers = o.mode == MODE_GET ? connections : 0;
    }
    check_options(&o);
    return o;
}

#endif
