//! How much of a file is read, in the log.

use std::time::{Duration, Instant};

/// How often it is logged.
const INTERVAL: Duration = Duration::from_secs(10);

/// How far the reading of a file has come. Logs it now and then, for a file that takes long.
#[derive(Debug)]
pub(super) struct Progress {
    /// The size of the file when it was opened; `None` for what has no end that is known.
    total_bytes: Option<u64>,
    read_bytes: u64,
    logged: Instant,
    /// What was read when it was logged.
    logged_bytes: u64,
}

impl Progress {
    /// For a file of so many bytes, or for something else.
    pub(super) fn new(total_bytes: Option<u64>) -> Self {
        Progress { total_bytes, read_bytes: 0, logged: Instant::now(), logged_bytes: 0 }
    }

    /// So many more bytes of `name` are counted.
    pub(super) fn add(&mut self, name: &str, bytes: usize) {
        self.read_bytes += bytes as u64;
        let elapsed = self.logged.elapsed();
        let Some(total_bytes) = self.total_bytes else { return };
        if elapsed < INTERVAL {
            return;
        }
        let new_bytes = self.read_bytes - self.logged_bytes;
        let bytes_per_second = new_bytes * 1_000 / elapsed.as_millis() as u64;
        tracing::info!(
            read_bytes = self.read_bytes,
            total_bytes,
            bytes_per_second,
            "{}% of {name} is read",
            // A file that grows is never at 100%.
            (self.read_bytes * 100 / total_bytes.max(1)).min(99),
        );
        (self.logged, self.logged_bytes) = (Instant::now(), self.read_bytes);
    }
}
