/* Writes the journal of a queue in which items wait, without a server: millions in a second. The data are
 * those of loadgen with the same seed, numbered from 0, so that loadgen can fetch and check them.
 *
 *   writejournal FILE COUNT SIZE SEED
 */
#include <sys/time.h>
#include <unistd.h>

#include "item.h"
#include "journal.h"

static uint64_t number(const char *text, uint64_t least)
{
    char *end;
    uint64_t value;
    errno = 0;
    value = strtoull(text, &end, 10);
    if (errno || *end || end == text || *text == '-' || value < least)
        fail("not a number of at least %" PRIu64 ": %s", least, text);
    return value;
}

static void write_records(FILE *file, uint64_t count, size_t size, uint64_t seed)
{
    char *record = malloc(HEADER_SIZE + size);
    int32_t rest = (int32_t)(TIMES_SIZE + size);
    int64_t expiry = 0, add_time;
    struct timeval now;
    uint64_t i;
    if (!record)
        fail("out of memory");
    gettimeofday(&now, NULL);
    add_time = (int64_t)now.tv_sec * 1000 + now.tv_usec / 1000;
    record[0] = ADDX;
    memcpy(record + 1, &rest, 4);
    memcpy(record + 5, &add_time, 8);
    memcpy(record + 13, &expiry, 8);
    for (i = 0; i < count; i++) {
        item_fill(record + HEADER_SIZE, size, seed, i, 0);
        fwrite(record, HEADER_SIZE + size, 1, file);
    }
    free(record);
}

int main(int argc, char **argv)
{
    FILE *file;
    program = "writejournal";
    if (argc != 5)
        fail("usage: writejournal FILE COUNT SIZE SEED");
    file = open_journal(argv[1], "wxb");
    write_records(file, number(argv[2], 1), number(argv[3], ITEM_MIN), number(argv[4], 0));
    /* On the disk, or the system would go on writing while a server is measured. */
    if (fflush(file) != 0 || ferror(file) || fsync(fileno(file)) != 0 || fclose(file) != 0)
        fail("cannot write %s: %s", argv[1], strerror(errno));
    return 0;
}
