//! Makes librdkafka wait by the monotonic clock.
//!
//! librdkafka computes the end of each wait from the wall clock, and its condition variables follow
//! that clock: if it is set back by an hour, each wait that has begun takes an hour longer, including
//! those of its main thread, which keeps us in the group and maintains connections. There is no
//! setting for that, so `build.rs` has the linker replace the two C11 functions below (`--wrap`),
//! which only librdkafka uses. They create condition variables that follow the monotonic clock, and
//! translate the end of a wait.
//!
//! This is sound because a `cnd_t` is a `pthread_cond_t`, in glibc, in musl and in librdkafka's own
//! replacement for C11 threads, and because librdkafka keeps waiting if a wait ends early
//! (`cnd_timedwait_ms` measures the rest by the monotonic clock).
#![allow(unsafe_code)]

use std::{ffi::c_int, mem::MaybeUninit, time::Duration};

use libc::{
    CLOCK_MONOTONIC, CLOCK_REALTIME, clock_gettime, clockid_t, pthread_cond_init, pthread_cond_t,
    pthread_condattr_init, pthread_condattr_setclock, pthread_mutex_t, timespec,
};

/// How long one wait may take: if the clock is set between librdkafka's reading of it and ours, the
/// wait is too long by no more than this.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

unsafe extern "C" {
    fn __real_cnd_init(condition: *mut pthread_cond_t) -> c_int;
    fn __real_cnd_timedwait(
        condition: *mut pthread_cond_t,
        mutex: *mut pthread_mutex_t,
        until: *const timespec,
    ) -> c_int;
}

/// `cnd_init`, for a condition variable that follows the monotonic clock.
#[unsafe(no_mangle)]
unsafe extern "C" fn __wrap_cnd_init(condition: *mut pthread_cond_t) -> c_int {
    // SAFETY: the caller passes memory for a condition variable that nobody uses yet, and on Linux
    // one that nobody waits on may be initialised again. The attributes hold no resources.
    unsafe {
        let result = __real_cnd_init(condition);
        let mut attributes = MaybeUninit::uninit();
        pthread_condattr_init(attributes.as_mut_ptr());
        pthread_condattr_setclock(attributes.as_mut_ptr(), CLOCK_MONOTONIC);
        pthread_cond_init(condition, attributes.as_ptr());
        result
    }
}

/// `cnd_timedwait` until a moment of the wall clock, on a condition variable that follows the
/// monotonic one.
#[unsafe(no_mangle)]
unsafe extern "C" fn __wrap_cnd_timedwait(
    condition: *mut pthread_cond_t,
    mutex: *mut pthread_mutex_t,
    until: *const timespec,
) -> c_int {
    // SAFETY: the caller guarantees what the wrapped function requires; `until` is valid, or null in musl,
    // whose `cnd_wait` is this function without an end.
    unsafe {
        if until.is_null() {
            return __real_cnd_timedwait(condition, mutex, until);
        }
        let left = since_start(&*until).saturating_sub(since_start(&now(CLOCK_REALTIME)));
        let end = since_start(&now(CLOCK_MONOTONIC)) + left.min(LONGEST_WAIT);
        let end = timespec { tv_sec: end.as_secs() as _, tv_nsec: end.subsec_nanos().into() };
        __real_cnd_timedwait(condition, mutex, &raw const end)
    }
}

fn now(clock: clockid_t) -> timespec {
    let mut now = timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is valid. Both clocks exist, so the call can't fail.
    unsafe { clock_gettime(clock, &raw mut now) };
    now
}

/// The time since a clock's zero.
fn since_start(time: &timespec) -> Duration {
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or(0))
}
