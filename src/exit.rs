//! Exit codes, and how long an exit waits for the log.

use std::time::Duration;

/// The exit code if something went wrong while running.
pub(crate) const FAILED: u8 = 1;
/// The exit code if flags, files or environment are wrong.
pub(crate) const BAD_CONFIGURATION: u8 = 2;
/// How long the end waits for the last log lines to be written.
pub(crate) const FLUSH_LIMIT: Duration = Duration::from_secs(1);
