/* Reads a journal as a replay must, in C: each record is read and its data kept in memory of its own. Prints
 * one line of JSON with the records and the seconds this took. What a replay is compared with.
 *
 *   readjournal FILE
 */
#include <time.h>

#include "journal.h"

struct item {
    struct item *next;
    int64_t add_time, expiry;
    size_t size;
    char data[];
};

/* The next record's item, or NULL at the end of the file. */
static struct item *read_item(FILE *file)
{
    char header[HEADER_SIZE];
    struct item *item;
    int32_t rest;
    size_t n = fread(header, 1, HEADER_SIZE, file);
    if (n == 0 && feof(file))
        return NULL;
    memcpy(&rest, header + 1, 4);
    if (n < HEADER_SIZE || header[0] != ADDX || rest < TIMES_SIZE)
        fail("not a record of an item that was put");
    if (!(item = malloc(sizeof *item + (size_t)rest - TIMES_SIZE)))
        fail("out of memory");
    memcpy(&item->add_time, header + 5, 8);
    memcpy(&item->expiry, header + 13, 8);
    item->next = NULL;
    item->size = (size_t)rest - TIMES_SIZE;
    if (item->size && fread(item->data, item->size, 1, file) != 1)
        fail("the file ends inside a record");
    return item;
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

int main(int argc, char **argv)
{
    struct item *first = NULL, **last = &first;
    uint64_t records = 0;
    double began = now();
    FILE *file;
    program = "readjournal";
    if (argc != 2)
        fail("usage: readjournal FILE");
    file = open_journal(argv[1], "rb");
    while ((*last = read_item(file)) != NULL) {
        last = &(*last)->next;
        records++;
    }
    printf("{\"records\": %" PRIu64 ", \"seconds\": %.6f}\n", records, now() - began);
    return 0;
}
