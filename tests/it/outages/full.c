// A file system without room, for a process that is started with this library in LD_PRELOAD: while the file that FULL_BELOW names is
// there, no file below the path that it holds can grow. What is inside of a file may be written anew, as on a real one.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum { AT_POSITION = -1 };

static int full(int fd, off_t from, size_t count) {
    char below[4096], link[64], path[4096];
    struct stat file;
    int before = errno, flag;
    const char *name = getenv("FULL_BELOW");
    ssize_t length, named;
    if (!name || (flag = open(name, O_RDONLY | O_CLOEXEC)) < 0) { errno = before; return 0; }
    length = read(flag, below, sizeof below);
    close(flag);
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    named = readlink(link, path, sizeof path);
    errno = before;
    if (length <= 0 || named < length || memcmp(below, path, (size_t)length)) return 0;
    if (fstat(fd, &file) || !S_ISREG(file.st_mode)) { errno = before; return 0; }
    if (from == AT_POSITION) from = fcntl(fd, F_GETFL) & O_APPEND ? file.st_size : lseek(fd, 0, SEEK_CUR);
    errno = before;
    if (from + (off_t)count <= file.st_size) return 0;
    errno = ENOSPC;
    return 1;
}

static size_t sum(const struct iovec *parts, int count) {
    size_t all = 0;
    for (int i = 0; i < count; i++) all += parts[i].iov_len;
    return all;
}

#define REAL(name) __typeof__(name) *real = (__typeof__(name) *)dlsym(RTLD_NEXT, #name)

ssize_t write(int fd, const void *bytes, size_t count) {
    REAL(write);
    return full(fd, AT_POSITION, count) ? -1 : real(fd, bytes, count);
}
ssize_t pwrite(int fd, const void *bytes, size_t count, off_t at) {
    REAL(pwrite);
    return full(fd, at, count) ? -1 : real(fd, bytes, count, at);
}
ssize_t pwrite64(int fd, const void *bytes, size_t count, off64_t at) {
    REAL(pwrite64);
    return full(fd, at, count) ? -1 : real(fd, bytes, count, at);
}
ssize_t writev(int fd, const struct iovec *parts, int count) {
    REAL(writev);
    return full(fd, AT_POSITION, sum(parts, count)) ? -1 : real(fd, parts, count);
}
ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t at) {
    REAL(pwritev);
    return full(fd, at, sum(parts, count)) ? -1 : real(fd, parts, count, at);
}
ssize_t pwritev64(int fd, const struct iovec *parts, int count, off64_t at) {
    REAL(pwritev64);
    return full(fd, at, sum(parts, count)) ? -1 : real(fd, parts, count, at);
}
int fallocate(int fd, int mode, off_t at, off_t count) {
    REAL(fallocate);
    return full(fd, at, (size_t)count) ? -1 : real(fd, mode, at, count);
}
int posix_fallocate(int fd, off_t at, off_t count) {
    REAL(posix_fallocate);
    return full(fd, at, (size_t)count) ? ENOSPC : real(fd, at, count);
}
