//! Errors of the journal, and what can be wrong with a damaged file.

use std::{fmt, io, path::PathBuf};

use super::frame::FORMAT_VERSION;

/// Why the journal could not do what it was asked to.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file system refused. What was asked for was not done, and can be tried again.
    #[error("{doing} {}: {error}", path.display())]
    Io {
        /// What failed, such as "can't write".
        doing: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The operating system's answer. Not a source of this one, which says it already.
        error: io::Error,
    },
    /// Another process is using the directory.
    #[error(
        "the state directory {} is in use by another process: stop it, or give this one another --state-dir",
        .0.display()
    )]
    Locked(PathBuf),
    /// The directory is no longer where it was, or no longer this process's alone. Nothing is
    /// appended until that is restored.
    #[error("the journal in {} {what}", path.display())]
    Displaced {
        /// The path that it was opened by.
        path: PathBuf,
        /// What has happened.
        what: Displacement,
    },
    /// Written by a later version of the program.
    #[error(
        "{} has format version {version}, and this program reads up to {FORMAT_VERSION}: use a newer flow-exporter, or another --state-dir",
        path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format version.
        version: u32,
    },
    /// The file does not hold what was written to it.
    #[error(transparent)]
    Broken(#[from] Broken),
    /// The given delta or state does not continue the log: a mistake of the caller. Nothing was
    /// written.
    #[error("this delta does not continue the journal: {0}")]
    Unfit(&'static str),
    /// A cursor's name is a file name of 1 to 100 letters, digits, `-`, `_` or `.`, and does not
    /// begin with a dot.
    #[error("{0:?} can't be a cursor's name: use letters, digits, '-', '_' and '.'")]
    CursorName(String),
}

/// What has happened to a journal's directory while it was in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Displacement {
    /// Nothing is at its path.
    Removed,
    /// Another directory is at its path.
    Replaced,
    /// It has another lock file, which another process may hold.
    Lock,
}

impl fmt::Display for Displacement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Displacement::Removed => {
                "was removed or moved away while the program was running: move it back, or restart \
                 to start from zero"
            }
            Displacement::Replaced => {
                "was replaced by another directory while the program was running: move the first \
                 one back, or restart to continue from what is there now"
            }
            Displacement::Lock => {
                "has lost its lock file while the program was running, so another process may have \
                 taken the directory: stop that one, and restart this one"
            }
        })
    }
}

impl Error {
    /// Whether it may go away without a change of settings.
    pub const fn may_pass(&self) -> bool {
        matches!(self, Error::Io { .. } | Error::Locked(_) | Error::Displaced { .. })
    }
}

/// A file does not hold what was written to it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{} is broken at offset {offset}: {damage}. Inspect it with 'flow-exporter state verify' and 'show'; 'flow-exporter state repair' keeps what comes before and sets the rest aside",
    path.display()
)]
pub struct Broken {
    /// The file.
    pub path: PathBuf,
    /// Where in the file the broken record begins, in bytes.
    pub offset: u64,
    /// What is wrong.
    pub damage: Damage,
}

/// What is wrong with a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Damage {
    /// The file ends within it.
    Incomplete,
    /// No record begins here.
    NoRecord,
    /// Its checksum does not match.
    Checksum,
    /// It is as it was written, but does not fit here.
    Meaning(&'static str),
}

impl Damage {
    /// Whether an interrupted write can leave this behind.
    pub(super) const fn may_be_torn(self) -> bool {
        !matches!(self, Damage::Meaning(_))
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Damage::Incomplete => "the record is incomplete",
            Damage::NoRecord => "no record begins there",
            Damage::Checksum => "the record's checksum does not match",
            Damage::Meaning(what) => what,
        })
    }
}

/// Adds to an error of the file system what failed and on which path.
pub(super) fn io_error(
    doing: &'static str,
    path: impl Into<PathBuf>,
) -> impl FnOnce(io::Error) -> Error {
    let path = path.into();
    move |error| Error::Io { doing, path, error }
}
