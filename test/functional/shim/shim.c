/*
 * Stands between a process and the C library (LD_PRELOAD): notes in order which files it writes and fsyncs and when it
 * sends to a client, and lets such calls fail on demand.
 *
 *   KESTREL_SHIM_FOLDER   only files in this folder count, and the folder itself
 *   KESTREL_SHIM_LOG      gets one line for each call: "write NAME", "fsync NAME", "cut NAME", "send"; NAME is "." for
 *                         the folder
 *   KESTREL_SHIM_FAULT    a file; while it holds "write N" or "fsync N" these calls fail with errno N; "tear N": one
 *                         write does its first half, the next one fails
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define MOST 4096

/* NAME of an open file of the folder, 0 if it is none. */
static int named(int fd, char *name)
{
    const char *folder = getenv("KESTREL_SHIM_FOLDER");
    char link[64], path[MOST];
    size_t length;
    ssize_t got;

    if (folder == NULL)
        return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    got = readlink(link, path, sizeof path - 1);
    if (got < 0)
        return 0;
    path[got] = 0;
    length = strlen(folder);
    if (strncmp(path, folder, length) != 0)
        return 0;
    if (path[length] == 0)
        strcpy(name, ".");
    else if (path[length] == '/')
        strcpy(name, path + length + 1);
    else
        return 0;
    return 1;
}

static void note(const char *what, const char *name)
{
    char line[MOST + 16];
    int length, fd, before = errno;

    length = snprintf(line, sizeof line, name ? "%s %s\n" : "%s\n", what, name);
    fd = open(getenv("KESTREL_SHIM_LOG"), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
    if (fd >= 0) {
        syscall(SYS_write, fd, line, length);
        close(fd);
    }
    errno = before;
}

/* The errno with which such a call is to fail, 0: it is not. */
static int fault(const char *what)
{
    char text[64], kind[16];
    int fd, number = 0, before = errno;
    ssize_t got;

    fd = open(getenv("KESTREL_SHIM_FAULT"), O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        got = read(fd, text, sizeof text - 1);
        close(fd);
        text[got > 0 ? got : 0] = 0;
        if (sscanf(text, "%15s %d", kind, &number) != 2 || strcmp(kind, what) != 0)
            number = 0;
    }
    errno = before;
    return number;
}

ssize_t write(int fd, const void *data, size_t size)
{
    static __thread int torn;
    char name[MOST];
    int error;

    if (!named(fd, name))
        return syscall(SYS_write, fd, data, size);
    error = fault("write");
    if (!error && (error = fault("tear")) && !torn && size > 1) {
        torn = 1;
        return syscall(SYS_write, fd, data, size / 2);
    }
    torn = 0;
    if (error) {
        errno = error;
        return -1;
    }
    note("write", name);
    return syscall(SYS_write, fd, data, size);
}

ssize_t writev(int fd, const struct iovec *parts, int count)
{
    char name[MOST];
    int error;

    if (named(fd, name)) {
        if ((error = fault("write")) || (error = fault("tear"))) {
            errno = error;
            return -1;
        }
        note("write", name);
    }
    return syscall(SYS_writev, fd, parts, count);
}

static int synced(int fd, long call)
{
    char name[MOST];
    int error, result;

    if (!named(fd, name))
        return syscall(call, fd);
    error = fault("fsync");
    if (error) {
        errno = error;
        return -1;
    }
    result = syscall(call, fd);
    note("fsync", name);
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
        note("cut", name);
    return syscall(SYS_ftruncate, fd, size);
}

int ftruncate64(int fd, off64_t size)
{
    return ftruncate(fd, size);
}

ssize_t send(int fd, const void *data, size_t size, int flags)
{
    note("send", NULL);
    return syscall(SYS_sendto, fd, data, size, flags, NULL, 0);
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags)
{
    note("send", NULL);
    return syscall(SYS_sendmsg, fd, message, flags);
}
