//! Changes that others make to the journal's files while it is in use.

use std::{fmt, path::PathBuf};

/// A change to the journal's files that was not made by this process. It is reported
/// because it may happen again; the counts are correct in any case.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ExternalChange {
    /// A retention cursor was removed or changed, and was written again.
    RetentionCursor(PathBuf),
    /// The newest segment was removed or changed. A new one was begun, with all counts.
    NewestSegment(PathBuf),
    /// An older segment was removed.
    OlderSegment {
        /// Its file.
        path: PathBuf,
        /// Whether a reader has lost deltas that it had not read yet.
        is_needed: bool,
    },
}

impl fmt::Display for ExternalChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ExternalChange::RetentionCursor(path) => write!(
                f,
                "{} was removed or changed while the program was running, and was written again",
                path.display()
            ),
            ExternalChange::NewestSegment(path) => write!(
                f,
                "{} was removed or changed while the program was running: a new segment was begun, \
                 with all counts",
                path.display()
            ),
            ExternalChange::OlderSegment { path, is_needed: true } => write!(
                f,
                "{} was removed while the program was running: what had not been pushed of it is \
                 lost",
                path.display()
            ),
            ExternalChange::OlderSegment { path, is_needed: false } => write!(
                f,
                "{} was removed while the program was running: nothing in it was needed any more",
                path.display()
            ),
        }
    }
}
