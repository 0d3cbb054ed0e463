//! What others did to the journal's files while it was in use.

use std::{fmt, path::PathBuf};

/// Something that somebody else did to the journal's files while it was in use. It is told because
/// it may be done again; the counts are right in any case.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ExternalChange {
    /// A cursor was removed or changed, and was written again.
    RetentionCursor(PathBuf),
    /// The newest segment was removed or changed. A new one was begun, with all that is counted.
    NewestSegment(PathBuf),
    /// An older segment was removed.
    OlderSegment {
        /// Its file.
        path: PathBuf,
        /// Whether a reader had deltas to read in it, which it has lost.
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
                 with all that is counted",
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
