/*
 * Stands between a process and the C library (LD_PRELOAD): notes in order what it does to files and when it sends to a
 * client, and lets such calls fail or wait on demand.
 *
 *   KESTREL_SHIM_FOLDER   only files in this folder count, and the folder itself
 *   KESTREL_SHIM_LOG      gets one line for each call: "write NAME", "fsync NAME", "cut NAME", "send"; NAME is "." for
 *                         the folder. fsync is noted when it has succeeded, the others before they are done
 *   KESTREL_SHIM_ALL      if set also: "create NAME", "fsyncing NAME" when an fsync begins, "unsynced NAME" when it
 *                         was made to fail, and, once they have succeeded, "rename OLD NEW", "unlink NAME" and
 *                         "read NAME BYTES"
 *   KESTREL_SHIM_FAULT    a file of lines "CALL N" or "CALL N PATTERN"; while a line matches (the PATTERN is that of
 *                         a shell; for a rename it is matched with the new name), such calls fail with errno N. CALL is
 *                         write, fsync, create, open (of what is there), rename, unlink; "tear": one write does its
 *                         first half, the next one fails; "short": each write does about half of what is asked;
 *                         "hold-CALL" (N counts for nothing): the call waits until the line is gone
 *   KESTREL_SHIM_CLOCK    if set a file with a number of ms: so much later (or, negative, earlier) is the wall clock
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define MOST 4096
#define HOLD_USEC 2000

static int open_own(const char *variable, int flags)
{
    const char *path = getenv(variable);

    return path == NULL ? -1 : (int) syscall(SYS_openat, AT_FDCWD, path, flags | O_CLOEXEC, 0644);
}

/* The text of a small file, 0 bytes if it is not there. */
static void read_own(const char *variable, char *text, size_t size)
{
    int fd = open_own(variable, O_RDONLY);
    long got = 0;

    if (fd >= 0) {
        got = syscall(SYS_read, fd, text, size - 1);
        close(fd);
    }
    text[got > 0 ? got : 0] = 0;
}

/* NAME of a path of the folder, 0 if it is none. */
static int in_folder(const char *path, char *name)
{
    const char *folder = getenv("KESTREL_SHIM_FOLDER");
    size_t length;

    if (folder == NULL)
        return 0;
    length = strlen(folder);
    if (strncmp(path, folder, length) != 0 || strlen(path) >= MOST)
        return 0;
    if (path[length] == 0)
        strcpy(name, ".");
    else if (path[length] == '/')
        strcpy(name, path + length + 1);
    else
        return 0;
    return 1;
}

/* NAME of an open file of the folder, 0 if it is none. */
static int named(int fd, char *name)
{
    char link[64], path[MOST];
    ssize_t got;

    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    got = readlink(link, path, sizeof path - 1);
    if (got < 0)
        return 0;
    path[got] = 0;
    return in_folder(path, name);
}

static void note(const char *format, ...)
{
    char line[3 * MOST];
    int length, fd, before = errno;
    va_list words;

    va_start(words, format);
    length = vsnprintf(line, sizeof line - 1, format, words);
    va_end(words);
    line[length++] = '\n';
    fd = open_own("KESTREL_SHIM_LOG", O_WRONLY | O_APPEND | O_CREAT);
    if (fd >= 0) {
        syscall(SYS_write, fd, line, length);
        close(fd);
    }
    errno = before;
}

static int noting_all(void)
{
    return getenv("KESTREL_SHIM_ALL") != NULL;
}

/* Is there a line for this call of this file? Then NUMBER is its errno. */
static int matches(const char *call, const char *name, int *number)
{
    char text[1024], kind[32], pattern[256];
    char *line, *rest;
    int words, found = 0, before = errno;

    read_own("KESTREL_SHIM_FAULT", text, sizeof text);
    for (line = strtok_r(text, "\n", &rest); line != NULL && !found; line = strtok_r(NULL, "\n", &rest)) {
        words = sscanf(line, "%31s %d %255s", kind, number, pattern);
        found = words >= 2 && strcmp(kind, call) == 0 && (words == 2 || fnmatch(pattern, name, 0) == 0);
    }
    errno = before;
    return found;
}

/* The errno with which such a call is to fail, 0: it is not. First it waits, if it is to. */
static int fault(const char *call, const char *name)
{
    char hold[32];
    int number;

    snprintf(hold, sizeof hold, "hold-%s", call);
    while (matches(hold, name, &number))
        usleep(HOLD_USEC);
    return matches(call, name, &number) ? number : 0;
}

static int failed(int error)
{
    errno = error;
    return -1;
}

ssize_t write(int fd, const void *data, size_t size)
{
    static __thread int torn;
    char name[MOST];
    int error;

    if (!named(fd, name))
        return syscall(SYS_write, fd, data, size);
    error = fault("write", name);
    if (!error && (error = fault("tear", name)) && !torn && size > 1) {
        torn = 1;
        return syscall(SYS_write, fd, data, size / 2);
    }
    torn = 0;
    if (error)
        return failed(error);
    note("write %s", name);
    if (fault("short", name) && size > 1)
        size = size / 2;
    return syscall(SYS_write, fd, data, size);
}

ssize_t writev(int fd, const struct iovec *parts, int count)
{
    char name[MOST];
    int error;

    if (named(fd, name)) {
        if ((error = fault("write", name)) || (error = fault("tear", name)))
            return failed(error);
        note("write %s", name);
        if (fault("short", name) && count > 0)
            return syscall(SYS_write, fd, parts[0].iov_base, (parts[0].iov_len + 1) / 2);
    }
    return syscall(SYS_writev, fd, parts, count);
}

static int synced(int fd, long call)
{
    char name[MOST];
    int error, result;

    if (!named(fd, name))
        return syscall(call, fd);
    if (noting_all())
        note("fsyncing %s", name);
    error = fault("fsync", name);
    if (error && noting_all())
        note("unsynced %s", name);
    if (error)
        return failed(error);
    result = syscall(call, fd);
    note("fsync %s", name);
    return result;
}

int fsync(int fd)
{
    return synced(fd, SYS_fsync);
}

int fdatasync(int fd)
{
    return synced(fd, SYS_fdatasync);
}

int ftruncate(int fd, off_t size)
{
    char name[MOST];

    if (named(fd, name))
        note("cut %s", name);
    return syscall(SYS_ftruncate, fd, size);
}

int ftruncate64(int fd, off64_t size)
{
    return ftruncate(fd, size);
}

static int opened(int folder, const char *path, int flags, mode_t mode)
{
    char name[MOST];
    struct stat status;
    int error, creating;

    if (in_folder(path, name) && strcmp(name, ".") != 0) {
        creating = (flags & O_CREAT) && lstat(path, &status) != 0;
        if ((error = fault(creating ? "create" : "open", name)))
            return failed(error);
        if (creating && noting_all())
            note("create %s", name);
    }
    return syscall(SYS_openat, folder, path, flags, mode);
}

static mode_t mode_of(int flags, va_list more)
{
    return flags & (O_CREAT | O_TMPFILE) ? va_arg(more, mode_t) : 0;
}

int open(const char *path, int flags, ...)
{
    va_list more;
    mode_t mode;

    va_start(more, flags);
    mode = mode_of(flags, more);
    va_end(more);
    return opened(AT_FDCWD, path, flags, mode);
}

int open64(const char *path, int flags, ...) __attribute__((alias("open")));

int openat(int folder, const char *path, int flags, ...)
{
    va_list more;
    mode_t mode;

    va_start(more, flags);
    mode = mode_of(flags, more);
    va_end(more);
    return opened(folder, path, flags, mode);
}

int openat64(int folder, const char *path, int flags, ...) __attribute__((alias("openat")));

int rename(const char *old, const char *new)
{
    char before[MOST], after[MOST];
    int error, result, counts;

    counts = in_folder(old, before) && in_folder(new, after);
    if (counts && (error = fault("rename", after)))
        return failed(error);
    result = syscall(SYS_renameat2, AT_FDCWD, old, AT_FDCWD, new, 0);
    if (counts && result == 0 && noting_all())
        note("rename %s %s", before, after);
    return result;
}

int unlink(const char *path)
{
    char name[MOST];
    int error, result, counts;

    counts = in_folder(path, name);
    if (counts && (error = fault("unlink", name)))
        return failed(error);
    result = syscall(SYS_unlinkat, AT_FDCWD, path, 0);
    if (counts && result == 0 && noting_all())
        note("unlink %s", name);
    return result;
}

static ssize_t noted_read(int fd, ssize_t got)
{
    char name[MOST];

    if (got >= 0 && noting_all() && named(fd, name))
        note("read %s %zd", name, got);
    return got;
}

ssize_t read(int fd, void *data, size_t size)
{
    return noted_read(fd, syscall(SYS_read, fd, data, size));
}

ssize_t pread(int fd, void *data, size_t size, off_t offset)
{
    return noted_read(fd, syscall(SYS_pread64, fd, data, size, offset));
}

ssize_t pread64(int fd, void *data, size_t size, off64_t offset)
{
    return noted_read(fd, syscall(SYS_pread64, fd, data, size, offset));
}

ssize_t send(int fd, const void *data, size_t size, int flags)
{
    note("send");
    return syscall(SYS_sendto, fd, data, size, flags, NULL, 0);
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags)
{
    note("send");
    return syscall(SYS_sendmsg, fd, message, flags);
}

int clock_gettime(clockid_t clock, struct timespec *now)
{
    char text[64];
    long long ms;
    int result = syscall(SYS_clock_gettime, clock, now);

    if (result == 0 && clock == CLOCK_REALTIME && getenv("KESTREL_SHIM_CLOCK") != NULL) {
        read_own("KESTREL_SHIM_CLOCK", text, sizeof text);
        ms = atoll(text);
        now->tv_sec += ms / 1000;
        now->tv_nsec += ms % 1000 * 1000000;
        if (now->tv_nsec >= 1000000000) {
            now->tv_sec++;
            now->tv_nsec -= 1000000000;
        }
        if (now->tv_nsec < 0) {
            now->tv_sec--;
            now->tv_nsec += 1000000000;
        }
    }
    return result;
}
