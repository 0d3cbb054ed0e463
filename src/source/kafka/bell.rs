//! Wakes a worker: librdkafka rings when a queue has messages, others when there is something to
//! do.

use std::{
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// Wakes one thread. A ring while the thread does not wait ends its next wait at once.
#[derive(Debug, Default)]
pub(super) struct Bell {
    is_rung: Mutex<bool>,
    rung: Condvar,
}

impl Bell {
    /// Ends the wait under way, or the next one.
    pub(super) fn ring(&self) {
        *self.lock() = true;
        self.rung.notify_one();
    }

    /// Waits until it has been rung since the last [`Bell::reset`], for at most this long.
    pub(super) fn wait(&self, limit: Duration) {
        if !limit.is_zero() {
            drop(self.rung.wait_timeout_while(self.lock(), limit, |is_rung| !*is_rung));
        }
    }

    /// To be called before looking at what may have to be done: a ring from now on counts as new.
    pub(super) fn reset(&self) {
        *self.lock() = false;
    }

    fn lock(&self) -> MutexGuard<'_, bool> {
        self.is_rung.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
