/* The one record that the programs here write and read: ADDX, an item that never expires.
 *
 *   op 2, i32 size (of what follows), i64 add time (ms since 1970), i64 expiry (0: never), data[size - 16]
 *
 * Integers are little-endian in the file; here they are copied, so these programs are for such machines only.
 */
#ifndef BENCH_JOURNAL_H
#define BENCH_JOURNAL_H

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ADDX 2
#define TIMES_SIZE 16
#define HEADER_SIZE (5 + TIMES_SIZE)
#define BUFFER_SIZE (1 << 20)

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "journals are little-endian"
#endif

static const char *program;

__attribute__((noreturn, format(printf, 1, 2)))
static void fail(const char *format, ...)
{
    va_list values;
    fprintf(stderr, "%s: ", program);
    va_start(values, format);
    vfprintf(stderr, format, values);
    va_end(values);
    fputc('\n', stderr);
    exit(1);
}

static FILE *open_journal(const char *path, const char *mode)
{
    FILE *file = fopen(path, mode);
    if (!file)
        fail("%s: %s", path, strerror(errno));
    setvbuf(file, NULL, _IOFBF, BUFFER_SIZE);
    return file;
}

#endif
