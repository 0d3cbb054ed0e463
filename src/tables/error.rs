//! Why a table of addresses can't be read.

use std::{io, path::PathBuf};

use crate::{
    address::{NetworksError, TableError},
    nearest::meant_by_file,
};

/// Why a table of addresses can't be read.
#[derive(Debug, thiserror::Error)]
pub enum TablesError {
    /// A file with a table can't be read.
    #[error(
        "--as-table {}: {source}{}",
        path.display(),
        meant_by_file(path, source, ["embedded", "none"])
    )]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A file does not contain a table.
    #[error("--as-table {}: {source}", path.display())]
    Table {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: TableError,
    },
    /// A file does not contain a list of networks.
    #[error("--networks {}: {source}", path.display())]
    Networks {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: NetworksError,
    },
    /// A list of networks can't be read.
    #[error("--networks {}: {what}", path.display())]
    Text {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
}
