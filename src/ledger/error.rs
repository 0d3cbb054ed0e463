//! Why the ledger can't start from a journal, or end with one that has everything.

use crate::journal;

/// Why a store can't be opened.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The journal can't be opened.
    #[error(transparent)]
    Journal(#[from] journal::Error),
    /// The journal's positions are those of another origin.
    #[error(
        "the state directory holds the counts of {held}, and these flags ask for those of {asked}: \
         give another --state-dir, or remove this one to start from zero"
    )]
    Origin {
        /// What is in the journal.
        held: String,
        /// What was asked for.
        asked: String,
    },
    /// A definition that this version can't read.
    #[error(
        "the journal's definition of series {series} is invalid: {what}; use the version that \
         wrote it, or another --state-dir to start from zero"
    )]
    Definition {
        /// The series' number.
        series: u32,
        /// What is wrong with it.
        what: &'static str,
    },
    /// Early counts that this version can't read.
    #[error(
        "the journal's early counts are invalid; use the version that wrote them, or another \
         --state-dir to start from zero"
    )]
    EarlyCounts,
}

/// Why nothing else is counted than before.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    /// Nothing can be published, so series can't be ended properly.
    #[error("the journal can't be written: make room, or see to the disk; its error is in the log")]
    Disk,
    /// A worker's thread does not run.
    #[error("a worker does not hand over what it counted: is the machine short of CPU time?")]
    Worker,
    /// More than the series' keys tell apart.
    #[error("views before and after are too many: remove some first, and reload once more")]
    TooMany,
    /// The last snapshot is taken, or about to be.
    #[error("the program is stopping")]
    Stopping,
}

/// What came in datagrams and is lost with the process, since the journal does not have it: exporters
/// send nothing twice.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, thiserror::Error)]
#[error(
    "the disk refused the last counts: {flows} flows with {bytes} bytes, as exporters reported them, \
     have come since the journal was last written, and are lost. The log says what the disk's error is"
)]
pub struct LostAtEnd {
    /// Flows.
    pub flows: u64,
    /// Their bytes, as they were reported.
    pub bytes: u128,
}

impl LostAtEnd {
    pub(super) fn is_something(self) -> bool {
        self.flows > 0
    }
}

impl StoreError {
    /// Whether it may pass without a change of settings.
    pub const fn may_pass(&self) -> bool {
        matches!(self, StoreError::Journal(error) if error.may_pass())
    }
}
