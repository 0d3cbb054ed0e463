//! In which order series are placed in requests.

use std::cmp::Ordering;

use super::pool::{LabelPool, LabelSet};

/// Series of one group are neighbours in requests. That makes requests smaller, since they have rare
/// labels in common, such as the name of an AS.
///
/// It is made of the AS numbers of a series. The monitored AS is in nearly all of them, so the sum
/// of both numbers is the same for all series of the AS at the other end, in both directions. It
/// follows from the series alone: requests have the same order after a restart.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Group(u32);

impl Group {
    /// The group of a series that has one more AS number.
    #[must_use]
    pub fn with(self, number: u32) -> Self {
        Group(self.0.wrapping_add(number))
    }
}

/// Compares the places of two series in requests: by group, then by labels.
pub fn compare(pool: &LabelPool, one: (Group, LabelSet), other: (Group, LabelSet)) -> Ordering {
    let by_group = one.0.cmp(&other.0);
    by_group.then_with(|| pool.labels(one.1).cmp(pool.labels(other.1)))
}
