//! Why the ledger can't go on with a journal.

use crate::journal;

/// Why there is no store to work with.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The journal can't be opened.
    #[error(transparent)]
    Journal(#[from] journal::Error),
    /// The journal's positions are those of another origin.
    #[error(
        "the state directory holds the counts of {held}, and these flags ask for those of {asked}: \
         they don't mix; give another --state-dir, or remove this one to begin from zero"
    )]
    Origin {
        /// What is in the journal.
        held: String,
        /// What was asked for.
        asked: String,
    },
    /// A definition that this version does not understand.
    #[error(
        "the journal's definition of series {series} makes no sense: {what}; use the version that \
         wrote it, or another --state-dir to begin from zero"
    )]
    Definition {
        /// The series' number.
        series: u32,
        /// What is wrong with it.
        what: &'static str,
    },
    /// Early counts that this version does not understand.
    #[error(
        "what the journal holds for later samples makes no sense; use the version that wrote it, or \
         another --state-dir to begin from zero"
    )]
    EarlyCounts,
}

impl StoreError {
    /// Whether it may pass without anybody changing a setting.
    pub const fn may_pass(&self) -> bool {
        matches!(self, StoreError::Journal(error) if error.may_pass())
    }
}
