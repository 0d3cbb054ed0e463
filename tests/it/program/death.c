/* Loaded into the program by tests/program/death.rs: clocks that can't be read once. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* Whether the calling thread can not read this clock, once: a file of its name and the clock's
 * number says so. Once, because panics are logged with the time. */
static int is_broken(clockid_t clock) {
    const char *directory = getenv("BROKEN_CLOCKS");
    char thread[17] = {0}, path[4096];
    if (!directory || prctl(PR_GET_NAME, thread, 0, 0, 0))
        return 0;
    int before = errno;
    int length = snprintf(path, sizeof path, "%s/%s.%d", directory, thread, (int)clock);
    int there = length > 0 && length < (int)sizeof path && unlink(path) == 0;
    errno = before;
    return there;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    if (is_broken(clock)) {
        errno = EINVAL;
        return -1;
    }
    return syscall(SYS_clock_gettime, clock, now);
}
