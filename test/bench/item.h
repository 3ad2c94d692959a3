/* The data of an item, made from its number alone, so that whoever receives it can make it again and compare.
 *
 * Bytes 0..7 are the number (little endian), the rest is a splitmix64 stream seeded with the run's seed and
 * the number: it does not compress, it holds every byte value (CR and LF too), and an item of another run,
 * another number or a shifted buffer never matches. No item is shorter than its number.
 *
 * An item of a protocol whose items are lines has the top bit of every byte set, and 7 bits of the number in
 * each of the first 8: it holds neither CR nor LF.
 */
#ifndef BENCH_ITEM_H
#define BENCH_ITEM_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define ITEM_MIN 8

static inline uint64_t splitmix64(uint64_t *state)
{
    uint64_t z = (*state += 0x9e3779b97f4a7c15ull);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
}

static inline uint64_t item_stream(uint64_t seed, uint64_t number)
{
    return (seed + 1) * 0xd1342543de82ef95ull ^ number * 0xaf251af3b0f025b5ull;
}

#define TOP_BITS 0x8080808080808080ull

/* The first 8 bytes of an item. */
static inline uint64_t item_begin(uint64_t number, int line)
{
    uint64_t word = TOP_BITS;
    int i;
    if (!line)
        return number;
    for (i = 0; i < 8; i++)
        word |= (number >> 7 * i & 0x7f) << 8 * i;
    return word;
}

static inline void item_fill(char *data, size_t size, uint64_t seed, uint64_t number, int line)
{
    uint64_t state = item_stream(seed, number), word = item_begin(number, line), top = line ? TOP_BITS : 0;
    size_t at = 0;
    for (; at + 8 <= size; at += 8) {
        memcpy(data + at, &word, 8);
        word = splitmix64(&state) | top;
    }
    memcpy(data + at, &word, size - at);
}

/* The number an item claims to have. */
static inline uint64_t item_number(const char *data, int line)
{
    uint64_t word, number = 0;
    int i;
    memcpy(&word, data, 8);
    if (!line)
        return word;
    for (i = 0; i < 8; i++)
        number |= (word >> 8 * i & 0x7f) << 7 * i;
    return number;
}

/* Is every byte of data what item_fill would have written? */
static inline int item_matches(const char *data, size_t size, uint64_t seed, uint64_t number, int line)
{
    uint64_t state = item_stream(seed, number), word = item_begin(number, line), top = line ? TOP_BITS : 0, seen;
    size_t at = 0;
    for (; at + 8 <= size; at += 8) {
        memcpy(&seen, data + at, 8);
        if (seen != word)
            return 0;
        word = splitmix64(&state) | top;
    }
    return memcmp(data + at, &word, size - at) == 0;
}

#endif
