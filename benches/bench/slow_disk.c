// A disk whose syncs take so many milliseconds more, for a process that is started with this library in LD_PRELOAD.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <time.h>

static void rest(void) {
    struct timespec left = {MILLISECONDS / 1000, MILLISECONDS % 1000 * 1000000L};
    while (nanosleep(&left, &left)) {}
}

#define SLOW(name)                                                     \
    int name(int fd) {                                                 \
        static int (*sync)(int);                                       \
        int done;                                                      \
        if (!sync) sync = (int (*)(int))dlsym(RTLD_NEXT, #name);       \
        done = sync(fd);                                               \
        rest();                                                        \
        return done;                                                   \
    }

SLOW(fsync)
SLOW(fdatasync)
