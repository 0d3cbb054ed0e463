//! Where partitions begin.

use std::collections::BTreeMap;

use crate::source::kafka::config::StartOffset;

/// Where a partition begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Start {
    /// At this offset.
    At(i64),
    /// Where the brokers say that this is.
    Ask(StartOffset),
    /// At the beginning of a topic that was recreated.
    Recreated,
}

/// What the start of a partition follows from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Known<'a> {
    /// How far partitions were counted by ourselves.
    pub(super) stored: &'a BTreeMap<i32, i64>,
    /// How many partitions the topic had when it was first seen.
    pub(super) first_count: Option<i32>,
    /// Where partitions begin that are neither stored nor new.
    pub(super) configured: StartOffset,
}

/// What a group knows about a partition.
#[derive(Debug, Clone, Copy)]
pub(super) struct InGroup {
    /// The offset that it has committed.
    pub(super) committed: Option<i64>,
    /// Whether it had one when we last knew. Kafka forgets the offsets of a group with members only
    /// together with their topic.
    pub(super) had_committed: bool,
    /// Whether both we and the group have counted this topic before, so that a partition unknown to
    /// both is new: members commit where each begins.
    pub(super) was_counted: bool,
}

impl Known<'_> {
    /// Where a partition begins without a group: at our own position. One that is not stored
    /// among others that are is new.
    pub(super) fn alone(&self, partition: i32) -> Start {
        match self.stored.get(&partition) {
            Some(&offset) => Start::At(offset),
            None => self.unknown(partition, !self.stored.is_empty()),
        }
    }

    /// Where a partition begins in a group: at the committed offset or at our own position,
    /// whichever is larger, since we may have counted more than we came to commit.
    pub(super) fn in_group(&self, partition: i32, group: InGroup) -> Start {
        match (group.committed, self.stored.get(&partition)) {
            (Some(offset), stored) => {
                Start::At(stored.map_or(offset, |&stored| stored.max(offset)))
            }
            (None, _) if group.had_committed => Start::Recreated,
            (None, Some(&stored)) => Start::At(stored),
            (None, None) => self.unknown(partition, group.was_counted),
        }
    }

    /// A new partition begins with its first message, since none has been counted.
    fn unknown(&self, partition: i32, came_while_away: bool) -> Start {
        let appeared = self.first_count.is_some_and(|first| partition >= first);
        let is_new = appeared || came_while_away;
        Start::Ask(if is_new { StartOffset::Earliest } else { self.configured })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTHING: InGroup = InGroup { committed: None, had_committed: false, was_counted: false };

    #[test]
    fn alone_our_position_comes_first_and_a_partition_that_is_new_is_read_from_its_beginning() {
        let (none, some) = (BTreeMap::new(), BTreeMap::from([(0, 7)]));
        let known = Known { stored: &none, first_count: Some(2), configured: StartOffset::Latest };
        assert_eq!(known.alone(1), Start::Ask(StartOffset::Latest));
        assert_eq!(known.alone(2), Start::Ask(StartOffset::Earliest), "it appeared since");
        let known = Known { stored: &some, ..known };
        assert_eq!(known.alone(0), Start::At(7));
        assert_eq!(known.alone(1), Start::Ask(StartOffset::Earliest), "it came while we were away");
    }

    #[test]
    fn in_a_group_nothing_is_counted_twice_that_either_of_both_has_counted() {
        let stored = BTreeMap::from([(0, 7)]);
        let known =
            Known { stored: &stored, first_count: Some(2), configured: StartOffset::Latest };
        let committed = |offset| InGroup { committed: Some(offset), ..NOTHING };
        assert_eq!(known.in_group(0, committed(9)), Start::At(9));
        assert_eq!(known.in_group(0, committed(5)), Start::At(7));
        assert_eq!(known.in_group(1, committed(5)), Start::At(5));
        assert_eq!(known.in_group(0, NOTHING), Start::At(7));
        let forgotten = InGroup { had_committed: true, ..NOTHING };
        assert_eq!(known.in_group(0, forgotten), Start::Recreated);
        assert_eq!(known.in_group(1, NOTHING), Start::Ask(StartOffset::Latest));
        assert_eq!(known.in_group(2, NOTHING), Start::Ask(StartOffset::Earliest));
        let counted = InGroup { was_counted: true, ..NOTHING };
        assert_eq!(known.in_group(1, counted), Start::Ask(StartOffset::Earliest));
    }
}
