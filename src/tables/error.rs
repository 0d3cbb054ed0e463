//! Why a table of addresses can't be read.

use std::{io, path::PathBuf};

use crate::address::{NetworksError, TableError};

/// Why a table of addresses can't be read.
#[derive(Debug, thiserror::Error)]
pub enum TablesError {
    /// A file can't be read.
    #[error("{}: cannot read the file: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A file does not contain a table.
    #[error("{}: {source}", path.display())]
    Table {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: TableError,
    },
    /// A file does not contain a list of networks.
    #[error("{}: {source}", path.display())]
    Networks {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: NetworksError,
    },
    /// A list of networks is not text, or too large.
    #[error("{}: {what}", path.display())]
    Text {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
}
