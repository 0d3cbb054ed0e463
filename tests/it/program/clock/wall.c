/* A wall clock that a test sets: the seconds by which it is off are in the file that
 * WALL_CLOCK_OFFSET_FILE names. To be preloaded. Waits until a moment of the wall clock follow it, as
 * they do in the kernel where the machine's clock is set. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <threads.h>
#include <time.h>
#include <unistd.h>

/* Of the monotonic clock, no moment is as far from its zero as this (32 years). */
#define EARLIEST_WALL_SECONDS 1000000000
/* How often a wait looks at the clock. */
#define LOOK_NANOSECONDS 20000000

static volatile const int64_t *offset_seconds;

__attribute__((constructor)) static void open_offset(void) {
    const char *path = getenv("WALL_CLOCK_OFFSET_FILE");
    int file = path ? open(path, O_RDONLY) : -1;
    if (file < 0)
        abort();
    void *mapped = mmap(NULL, sizeof(int64_t), PROT_READ, MAP_SHARED, file, 0);
    if (mapped == MAP_FAILED)
        abort();
    offset_seconds = mapped;
    close(file);
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    int result = (int)syscall(SYS_clock_gettime, clock, now);
    if (offset_seconds && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
        now->tv_sec += *offset_seconds;
    return result;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    (void)zone;
    struct timespec precise;
    clock_gettime(CLOCK_REALTIME, &precise);
    now->tv_sec = precise.tv_sec;
    now->tv_usec = precise.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *now) {
    struct timespec precise;
    clock_gettime(CLOCK_REALTIME, &precise);
    if (now)
        *now = precise.tv_sec;
    return precise.tv_sec;
}

static int is_before(struct timespec one, struct timespec other) {
    return one.tv_sec < other.tv_sec ||
           (one.tv_sec == other.tv_sec && one.tv_nsec < other.tv_nsec);
}

int cnd_timedwait(cnd_t *restrict condition, mtx_t *restrict mutex,
                  const struct timespec *restrict until) {
    pthread_cond_t *posix_condition = (pthread_cond_t *)condition;
    pthread_mutex_t *posix_mutex = (pthread_mutex_t *)mutex;
    if (until->tv_sec < EARLIEST_WALL_SECONDS)
        return pthread_cond_clockwait(posix_condition, posix_mutex, CLOCK_MONOTONIC, until)
                   ? thrd_timedout
                   : thrd_success;
    for (;;) {
        struct timespec now, look;
        clock_gettime(CLOCK_REALTIME, &now);
        if (!is_before(now, *until))
            return thrd_timedout;
        clock_gettime(CLOCK_MONOTONIC, &look);
        look.tv_nsec += LOOK_NANOSECONDS;
        if (look.tv_nsec >= 1000000000) {
            look.tv_sec++;
            look.tv_nsec -= 1000000000;
        }
        if (!pthread_cond_clockwait(posix_condition, posix_mutex, CLOCK_MONOTONIC, &look))
            return thrd_success;
    }
}
