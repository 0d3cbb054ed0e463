//! The inbox of a worker: commands from the control thread.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc},
};

use crate::source::Position;

use super::{bell::Bell, queue::PartitionQueue};

/// A command for a worker.
pub(super) enum Command {
    /// Read this partition from `start` on.
    Assign {
        queue: PartitionQueue,
        /// The offset of the first message.
        start: i64,
    },
    /// Stop reading these partitions. Once nothing more of them will be given to the sink, answer
    /// with the last positions of those that were read.
    Revoke { partitions: Vec<i32>, done: mpsc::Sender<Vec<Position>> },
    /// Hand over and end.
    Stop,
}

/// Commands that one worker has not taken yet, and the bell that wakes it.
#[derive(Default)]
pub(super) struct Inbox {
    bell: Arc<Bell>,
    commands: Mutex<Commands>,
}

/// Open until the worker ends.
enum Commands {
    Open(Vec<Command>),
    Closed,
}

impl Default for Commands {
    fn default() -> Self {
        Commands::Open(Vec::new())
    }
}

impl fmt::Debug for Inbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Inbox")
    }
}

impl Inbox {
    /// What wakes the worker.
    pub(super) fn bell(&self) -> &Arc<Bell> {
        &self.bell
    }

    /// Gives the worker a command and wakes it. Once it has ended, commands are dropped.
    pub(super) fn send(&self, command: Command) {
        if let Commands::Open(commands) = &mut *self.lock() {
            commands.push(command);
        }
        self.bell.ring();
    }

    /// Takes the commands, oldest first. Whatever comes after it wakes the worker.
    pub(super) fn take(&self) -> Vec<Command> {
        self.bell.reset();
        match &mut *self.lock() {
            Commands::Open(commands) => std::mem::take(commands),
            Commands::Closed => Vec::new(),
        }
    }

    /// The worker has ended: drops the commands that it did not take, and all later ones.
    pub(super) fn close(&self) {
        let left = std::mem::replace(&mut *self.lock(), Commands::Closed);
        // Without the lock: librdkafka's queues are among them.
        drop(left);
    }

    fn lock(&self) -> MutexGuard<'_, Commands> {
        // A panic leaves nothing half-done: the state is changed in single steps.
        self.commands.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_to_a_worker_that_has_ended_are_dropped_so_that_no_answer_is_awaited() {
        let inbox = Inbox::default();
        let (done, answer) = mpsc::channel();
        inbox.send(Command::Revoke { partitions: vec![1], done: done.clone() });
        inbox.close();
        inbox.send(Command::Revoke { partitions: vec![2], done });
        assert!(inbox.take().is_empty());
        assert_eq!(answer.recv(), Err(mpsc::RecvError));
    }
}
