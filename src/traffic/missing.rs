//! What flows lack.

use std::ops::AddAssign;

/// Values that flows lack: those of a label that is empty, or 0 for an AS, because neither the record
/// nor the tables of addresses have more.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Missing {
    /// How many.
    pub values: u64,
    /// Those of these for which the record lacks the fields themselves, so that nothing could be found.
    /// The others have them without content, or with an address that is in no table.
    pub without_field: u64,
}

impl Missing {
    /// Adds a value.
    #[inline]
    pub fn note(&mut self, has_field: bool) {
        self.values += 1;
        self.without_field += u64::from(!has_field);
    }
}

impl AddAssign for Missing {
    fn add_assign(&mut self, more: Missing) {
        self.values += more.values;
        self.without_field += more.without_field;
    }
}

/// Flows that a view does not count because of one filter: the first one that they did not pass.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FilteredOut {
    /// Flows with another value.
    pub other_value: u64,
    /// Flows without a value.
    pub missing: Missing,
}

impl AddAssign for FilteredOut {
    fn add_assign(&mut self, more: FilteredOut) {
        self.other_value += more.other_value;
        self.missing += more.missing;
    }
}

impl FilteredOut {
    /// All of them.
    pub fn flows(&self) -> u64 {
        self.other_value + self.missing.values
    }
}
