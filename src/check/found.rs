//! One finding of the command `check`.

/// What was found out about one thing.
pub(super) struct Found {
    /// What it is.
    pub(super) title: String,
    /// `None` if there was nothing to judge it by.
    pub(super) works: Option<bool>,
    /// Sentences for people: what was found, and what to do if it does not work.
    pub(super) findings: Vec<String>,
}
