//! Why the program does not start.

use std::fmt::Display;

use crate::config::ConfigError;

/// Why the program does not start. What may pass is not a [`ConfigError`], so that a supervisor tries
/// again.
pub(super) fn refuse(at: &dyn Display, error: &dyn Display, may_pass: bool) -> anyhow::Error {
    let line = format!("{at}: {error}");
    if may_pass { anyhow::Error::msg(line) } else { ConfigError(line).into() }
}
