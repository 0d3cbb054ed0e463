//! What a worker is told, and how it is woken up.

use std::{
    fmt,
    sync::{Condvar, Mutex, MutexGuard, PoisonError, mpsc},
    time::Duration,
};

use crate::source::Position;

use super::queue::PartitionQueue;

/// An order to a worker.
pub(super) enum Command {
    /// Read this partition from `start` on.
    Assign {
        queue: PartitionQueue,
        /// The offset of the first message.
        start: i64,
    },
    /// Read these partitions no longer. Once nothing of them will be given to the sink, answer with
    /// the last positions of those that were read.
    Revoke { partitions: Vec<i32>, done: mpsc::Sender<Vec<Position>> },
    /// Hand over and end.
    Stop,
}

/// Orders for one worker, and the bell that wakes it.
#[derive(Default)]
pub(super) struct Inbox {
    state: Mutex<State>,
    bell: Condvar,
}

#[derive(Default)]
struct State {
    rung: bool,
    /// Whether the worker has ended: nobody takes orders any more.
    closed: bool,
    commands: Vec<Command>,
}

impl fmt::Debug for Inbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Inbox")
    }
}

impl Inbox {
    /// Wakes the worker, now or when it next waits.
    pub(super) fn ring(&self) {
        self.lock().rung = true;
        self.bell.notify_one();
    }

    /// Gives the worker an order and wakes it. Where it has ended, the order is dropped.
    pub(super) fn send(&self, command: Command) {
        let mut state = self.lock();
        if state.closed {
            return;
        }
        state.commands.push(command);
        state.rung = true;
        drop(state);
        self.bell.notify_one();
    }

    /// Waits for the bell for at most `wait`.
    pub(super) fn wait(&self, wait: Duration) {
        if !wait.is_zero() {
            let state = self.lock();
            drop(self.bell.wait_timeout_while(state, wait, |state| !state.rung));
        }
    }

    /// Takes the orders, oldest first.
    pub(super) fn take(&self) -> Vec<Command> {
        let mut state = self.lock();
        state.rung = false;
        std::mem::take(&mut state.commands)
    }

    /// Says that the worker has ended, and drops the orders that it did not come to.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        let left = std::mem::take(&mut state.commands);
        drop(state);
        // Queues of librdkafka are among them.
        drop(left);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Whoever panicked left nothing half-done: the state is changed in single steps.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
