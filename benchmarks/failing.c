/* Loaded with LD_PRELOAD by benchmarks/faults.py: one call on a file below FAULT_ROOT fails.
 *
 * Calls of the functions below are counted, in each process for itself; number FAULT_AT
 * fails with FAULT_ERRNO, and all later ones work again: a disk that has a bad block, a
 * server that was away for a moment.  When it has failed, a line goes into FAULT_LOG.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

static long calls;

#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static int fails(const char *what, const char *path)
{
    const char *root = getenv("FAULT_ROOT"), *at = getenv("FAULT_AT");
    const char *number = getenv("FAULT_ERRNO"), *log = getenv("FAULT_LOG");
    if (!root || !at || !number || !log || strncmp(path, root, strlen(root)) != 0)
        return 0;
    if (__atomic_add_fetch(&calls, 1, __ATOMIC_SEQ_CST) != atol(at))
        return 0;
    int out = NEXT(open)(log, O_WRONLY | O_APPEND | O_CREAT, 0600);
    if (out >= 0) {
        dprintf(out, "%s %s\n", what, path);
        NEXT(close)(out);
    }
    errno = atoi(number);
    return 1;
}

static int fails_at(const char *what, int descriptor)
{
    char link[64], path[PATH_MAX];
    int before = errno;
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t length = readlink(link, path, sizeof path - 1);
    errno = before;
    if (length < 0)
        return 0;
    path[length] = 0;
    return fails(what, path);
}

static mode_t mode_of(int flags, va_list rest)
{
    return flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0;
}

#define OPEN(name)                                              \
    int name(const char *path, int flags, ...)                  \
    {                                                           \
        va_list rest;                                           \
        va_start(rest, flags);                                  \
        mode_t mode = mode_of(flags, rest);                     \
        va_end(rest);                                           \
        return fails(#name, path) ? -1 : NEXT(name)(path, flags, mode); \
    }
OPEN(open)
OPEN(open64)

#define OPENAT(name)                                            \
    int name(int directory, const char *path, int flags, ...)   \
    {                                                           \
        va_list rest;                                           \
        va_start(rest, flags);                                  \
        mode_t mode = mode_of(flags, rest);                     \
        va_end(rest);                                           \
        return fails(#name, path) ? -1 : NEXT(name)(directory, path, flags, mode); \
    }
OPENAT(openat)
OPENAT(openat64)

ssize_t read(int descriptor, void *to, size_t size)
{
    return fails_at("read", descriptor) ? -1 : NEXT(read)(descriptor, to, size);
}

ssize_t write(int descriptor, const void *from, size_t size)
{
    return fails_at("write", descriptor) ? -1 : NEXT(write)(descriptor, from, size);
}

int fsync(int descriptor)
{
    return fails_at("fsync", descriptor) ? -1 : NEXT(fsync)(descriptor);
}

int rename(const char *from, const char *to)
{
    return fails("rename", from) ? -1 : NEXT(rename)(from, to);
}

int link(const char *from, const char *to)
{
    return fails("link", to) ? -1 : NEXT(link)(from, to);
}

int mkdir(const char *path, mode_t mode)
{
    return fails("mkdir", path) ? -1 : NEXT(mkdir)(path, mode);
}

int unlink(const char *path)
{
    return fails("unlink", path) ? -1 : NEXT(unlink)(path);
}

int chmod(const char *path, mode_t mode)
{
    return fails("chmod", path) ? -1 : NEXT(chmod)(path, mode);
}
