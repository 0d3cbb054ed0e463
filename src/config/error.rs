//! Errors of the configuration.

use std::fmt;

/// What is wrong with the configuration: one line that names the flag, or the file and line, and
/// says what to do.
#[derive(Debug)]
pub struct ConfigError(pub String);

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ConfigError {}
