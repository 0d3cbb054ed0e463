//! The directory that a journal is in: its files by name, and the lock that keeps other processes
//! out.

mod directory;
mod lock;

pub(super) use directory::{Directory, Stamp, in_directory, unfinished};
pub(super) use lock::{DirectoryLock, LOCK};
