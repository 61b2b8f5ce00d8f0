// A file system without room, or one that has become read-only, for a process that is started with this library in LD_PRELOAD. While the file
// that FULL_BELOW names is there, no file below the path that it holds can grow; what is inside of a file may be written anew, as on a real
// one. While the file that READ_ONLY_BELOW names is there, nothing below its path can be written, made, shortened or removed.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum { AT_POSITION = -1 };

#define REAL(name) __typeof__(name) *real = (__typeof__(name) *)dlsym(RTLD_NEXT, #name)

// Is the path below the one that the variable's file holds?
static int below(const char *variable, const char *path, ssize_t named) {
    char folder[4096];
    const char *name = getenv(variable);
    REAL(open);
    int flag;
    ssize_t length;
    if (!name || (flag = real(name, O_RDONLY | O_CLOEXEC)) < 0) return 0;
    length = read(flag, folder, sizeof folder);
    close(flag);
    return length > 0 && named >= length && !memcmp(folder, path, (size_t)length);
}

static int refused(int fd, off_t from, size_t count) {
    char link[64], path[4096];
    struct stat file;
    int before = errno, why = 0;
    ssize_t named;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    named = readlink(link, path, sizeof path);
    if (below("READ_ONLY_BELOW", path, named)) {
        why = EROFS;
    } else if (below("FULL_BELOW", path, named) && !fstat(fd, &file) && S_ISREG(file.st_mode)) {
        if (from == AT_POSITION) from = fcntl(fd, F_GETFL) & O_APPEND ? file.st_size : lseek(fd, 0, SEEK_CUR);
        if (from + (off_t)count > file.st_size) why = ENOSPC;
    }
    errno = why ? why : before;
    return why;
}

static int read_only(const char *path) {
    int before = errno, why = below("READ_ONLY_BELOW", path, (ssize_t)strlen(path)) ? EROFS : 0;
    errno = why ? why : before;
    return why;
}

static size_t sum(const struct iovec *parts, int count) {
    size_t all = 0;
    for (int i = 0; i < count; i++) all += parts[i].iov_len;
    return all;
}

ssize_t write(int fd, const void *bytes, size_t count) {
    REAL(write);
    return refused(fd, AT_POSITION, count) ? -1 : real(fd, bytes, count);
}
ssize_t pwrite(int fd, const void *bytes, size_t count, off_t at) {
    REAL(pwrite);
    return refused(fd, at, count) ? -1 : real(fd, bytes, count, at);
}
ssize_t pwrite64(int fd, const void *bytes, size_t count, off64_t at) {
    REAL(pwrite64);
    return refused(fd, at, count) ? -1 : real(fd, bytes, count, at);
}
ssize_t writev(int fd, const struct iovec *parts, int count) {
    REAL(writev);
    return refused(fd, AT_POSITION, sum(parts, count)) ? -1 : real(fd, parts, count);
}
ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t at) {
    REAL(pwritev);
    return refused(fd, at, sum(parts, count)) ? -1 : real(fd, parts, count, at);
}
ssize_t pwritev64(int fd, const struct iovec *parts, int count, off64_t at) {
    REAL(pwritev64);
    return refused(fd, at, sum(parts, count)) ? -1 : real(fd, parts, count, at);
}
int fallocate(int fd, int mode, off_t at, off_t count) {
    REAL(fallocate);
    return refused(fd, at, (size_t)count) ? -1 : real(fd, mode, at, count);
}
int posix_fallocate(int fd, off_t at, off_t count) {
    REAL(posix_fallocate);
    return refused(fd, at, (size_t)count) ? errno : real(fd, at, count);
}
int ftruncate(int fd, off_t length) {
    REAL(ftruncate);
    return refused(fd, 0, 0) ? -1 : real(fd, length);
}
int ftruncate64(int fd, off64_t length) {
    REAL(ftruncate64);
    return refused(fd, 0, 0) ? -1 : real(fd, length);
}
int unlink(const char *path) {
    REAL(unlink);
    return read_only(path) ? -1 : real(path);
}

#define OPENS(name)                                                                      \
    int name(const char *path, int flags, ...) {                                         \
        REAL(name);                                                                      \
        mode_t mode = 0;                                                                 \
        if (flags & (O_CREAT | O_TMPFILE)) {                                             \
            va_list more;                                                                \
            va_start(more, flags);                                                       \
            mode = va_arg(more, mode_t);                                                 \
            va_end(more);                                                                \
        }                                                                                \
        if ((flags & (O_WRONLY | O_RDWR | O_CREAT)) && read_only(path)) return -1;       \
        return real(path, flags, mode);                                                  \
    }
OPENS(open)
OPENS(open64)
