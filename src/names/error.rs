//! Why AS names can't be used as they are configured.

use std::{path::PathBuf, time::Duration};

use crate::{asn::ParseError, nearest::meant_by_file};

/// The shortest refresh interval that can be configured.
pub const MIN_REFRESH: Duration = Duration::from_secs(1);

/// Why AS names are not available as configured, at startup or when the configuration changes.
#[derive(Debug, thiserror::Error)]
pub enum NamesError {
    /// The file can't be read.
    #[error(
        "--as-names {}: {source}{}",
        path.display(),
        meant_by_file(path, source, ["auto", "embedded", "none"])
    )]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The file does not contain a table.
    #[error("--as-names {}: {source}", path.display())]
    Table {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: ParseError,
    },
    /// The refresh interval is below [`MIN_REFRESH`].
    #[error("--as-names-refresh must be at least {}s", MIN_REFRESH.as_secs())]
    Refresh,
    /// The settings of TLS or of the environment's proxies are invalid.
    #[error(
        "cannot fetch AS names: {source}; check the proxy variables, or use --as-names=embedded"
    )]
    Client {
        /// What is wrong.
        source: reqwest::Error,
    },
    /// The refresher that the change is for has ended.
    #[error("AS names are not refreshed any more: the program is stopping")]
    Stopped,
}
