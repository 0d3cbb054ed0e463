//! Why a rule is invalid.

/// Why a rule is invalid. It ends a line that says which rule it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RelabelError {
    /// Not one of Prometheus' actions.
    #[error(
        "there is no action {0:?}: use replace, keep, drop, keepequal, dropequal, hashmod, \
         lowercase, uppercase, labelmap, labeldrop or labelkeep"
    )]
    Action(String),
    /// The pattern can't be read.
    #[error("the regex {pattern:?} can't be read: {reason}")]
    Pattern {
        /// As it was given.
        pattern: String,
        /// In one line.
        reason: String,
    },
    /// The action writes a label, and `target_label` is missing.
    #[error("the action {0} needs a target_label")]
    NoTarget(String),
    /// Not a label's name.
    #[error(
        "{0:?} is not the name of a label: names have letters, digits and underscores, and do not \
         begin with a digit"
    )]
    Name(String),
    /// Nothing to divide by.
    #[error("the action hashmod needs a modulus above 0")]
    NoModulus,
    /// A field that the action does not look at.
    #[error("the action {action} takes no {field}: leave it out")]
    Superfluous {
        /// The action.
        action: String,
        /// The field.
        field: &'static str,
    },
}

/// Remote-Write 1.0, Labels: `[a-zA-Z_][a-zA-Z0-9_]*`.
pub(super) fn is_label_name(name: &str) -> bool {
    !name.starts_with(|first: char| first.is_ascii_digit())
        && !name.is_empty()
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}
