//! Logs how much of a file has been read.

use std::time::{Duration, Instant};

/// How often it is logged.
const INTERVAL: Duration = Duration::from_secs(10);

/// How much of a file has been read. It is logged now and then, for files that take long.
#[derive(Debug)]
pub(super) struct Progress {
    /// The size of the file when it was opened; `None` for other inputs, whose end is not known.
    total_bytes: Option<u64>,
    read_bytes: u64,
    logged: Instant,
    /// `read_bytes` when it was last logged.
    logged_bytes: u64,
}

impl Progress {
    /// For a file of this size, or another input.
    pub(super) fn new(total_bytes: Option<u64>) -> Self {
        Progress { total_bytes, read_bytes: 0, logged: Instant::now(), logged_bytes: 0 }
    }

    /// How much was read and counted.
    pub(super) fn read_bytes(&self) -> i64 {
        self.read_bytes as i64
    }

    /// Adds the number of bytes that were read and counted.
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
