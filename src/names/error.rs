//! Why AS names can't be used as they are configured.

use std::{path::PathBuf, time::Duration};

use crate::asn::ParseError;

/// The shortest time between two fetches that may be asked for.
pub const MIN_REFRESH: Duration = Duration::from_secs(1);

/// Why AS names can't be had as they are configured: at the start, or when the configuration changes.
#[derive(Debug, thiserror::Error)]
pub enum NamesError {
    /// The file can't be read.
    #[error(
        "--as-names={}: cannot read the file: {source}; expected auto, embedded, none, an http(s) \
         URL or a file",
        path.display()
    )]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The file holds no table.
    #[error("--as-names={}: {source}", path.display())]
    Table {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: ParseError,
    },
    /// The refresh interval is below [`MIN_REFRESH`].
    #[error("--as-names-refresh must be at least {}s", MIN_REFRESH.as_secs())]
    Refresh,
    /// TLS or the proxy settings of the environment don't work.
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
