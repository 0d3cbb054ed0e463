//! What the command line asks for.

use std::{path::PathBuf, time::Duration};

/// What is looked at, and how.
#[derive(Debug, Clone)]
pub struct TopConfig {
    /// Where the process serves.
    pub url: reqwest::Url,
    /// Who asks: a name and the file with the password.
    pub credentials: Option<(String, PathBuf)>,
    /// A file with certificates of authorities to trust, beside the system's.
    pub ca_file: Option<PathBuf>,
    /// The time between two questions.
    pub delay: Duration,
    /// Whether to print it once, as plain text.
    pub is_once: bool,
}
