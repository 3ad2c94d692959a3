/* Latencies in nanoseconds, in logarithmic classes of 1/128 (0.8 %) as HdrHistogram has them; min, max and
 * mean are exact. Class i < 128 holds the value i; above, each power of two is cut into 128 classes. */
#ifndef BENCH_HISTOGRAM_H
#define BENCH_HISTOGRAM_H

#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>

#define HISTOGRAM_BITS 7
#define HISTOGRAM_SUB (1 << HISTOGRAM_BITS)
#define HISTOGRAM_CLASSES (HISTOGRAM_SUB * 40)

struct histogram {
    uint64_t classes[HISTOGRAM_CLASSES];
    uint64_t count, sum, min, max;
};

static inline unsigned histogram_class(uint64_t value)
{
    unsigned shift, class;
    if (value < HISTOGRAM_SUB)
        return (unsigned)value;
    shift = 63 - (unsigned)__builtin_clzll(value) - HISTOGRAM_BITS;
    class = HISTOGRAM_SUB * (shift + 1) + (unsigned)(value >> shift) - HISTOGRAM_SUB;
    return class < HISTOGRAM_CLASSES ? class : HISTOGRAM_CLASSES - 1;
}

static inline uint64_t histogram_value(unsigned class)
{
    unsigned shift;
    if (class < HISTOGRAM_SUB)
        return class;
    shift = class / HISTOGRAM_SUB - 1;
    return ((uint64_t)(class % HISTOGRAM_SUB + HISTOGRAM_SUB) << shift) + ((1ull << shift) >> 1);
}

static inline void histogram_add(struct histogram *h, uint64_t value)
{
    h->classes[histogram_class(value)]++;
    if (h->count++ == 0 || value < h->min)
        h->min = value;
    if (value > h->max)
        h->max = value;
    h->sum += value;
}

static uint64_t histogram_percentile(const struct histogram *h, double percent)
{
    uint64_t wanted = (uint64_t)((double)h->count * percent / 100.0 + 0.5), seen = 0;
    unsigned class;
    if (wanted < 1)
        wanted = 1;
    for (class = 0; class < HISTOGRAM_CLASSES; class++) {
        seen += h->classes[class];
        if (seen >= wanted) {
            uint64_t value = histogram_value(class);
            return value > h->max ? h->max : value;
        }
    }
    return h->max;
}

/* Prints , "name": {...} with microseconds; nothing if nothing was measured. */
static void histogram_print(FILE *out, const char *name, const struct histogram *h)
{
    static const double percents[] = {50, 90, 99, 99.9, 99.99};
    unsigned i;
    if (h->count == 0)
        return;
    fprintf(out, ", \"%s\": {\"count\": %" PRIu64 ", \"mean_us\": %.2f, \"min_us\": %.2f", name, h->count,
            (double)h->sum / (double)h->count / 1000.0, (double)h->min / 1000.0);
    for (i = 0; i < sizeof percents / sizeof *percents; i++)
        fprintf(out, ", \"p%g_us\": %.2f", percents[i],
                (double)histogram_percentile(h, percents[i]) / 1000.0);
    fprintf(out, ", \"max_us\": %.2f}", (double)h->max / 1000.0);
}

#endif
