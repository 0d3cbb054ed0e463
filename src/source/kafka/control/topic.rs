//! The topic as the brokers describe it: which partitions it has, and which ones have vanished.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    client::{Client, Description},
    timing::SILENCE_LIMIT,
    trouble::Trouble,
};

/// A partition that brokers have not named for this long has vanished. A broker that has just
/// started may not know all of them.
const GONE_LIMIT: Duration = Duration::from_secs(5);

/// What is known about the topic.
pub(super) struct Topic {
    client: Arc<Client>,
    known: Known,
}

/// What the brokers said.
#[derive(Debug, Default)]
struct Known {
    /// How many partitions it had when it was first seen; those beyond are new.
    first_count: Option<i32>,
    /// The partitions that the brokers named last, each with whether it has a leader; `None` if
    /// they did not answer.
    partitions: Option<BTreeMap<i32, bool>>,
    /// Assigned partitions that brokers do not name, and since when.
    missing: BTreeMap<i32, Instant>,
    /// Partitions that exist and could not be taken up, and since when.
    lacking: BTreeMap<i32, Instant>,
}

impl Topic {
    pub(super) fn new(client: Arc<Client>) -> Self {
        Topic { client, known: Known::default() }
    }

    /// Asks the brokers for the topic's partitions.
    pub(super) fn look(&mut self) -> Result<BTreeSet<i32>, Trouble> {
        self.known.partitions = None;
        let description = self.client.describe()?;
        self.known.take(description).ok_or(Trouble::NoTopic)
    }

    /// How many partitions it had when it was first seen; `None` before that.
    pub(super) fn first_count(&self) -> Option<i32> {
        self.known.first_count
    }

    /// Whether the brokers have ever described it.
    pub(super) fn is_known(&self) -> bool {
        self.known.first_count.is_some()
    }

    /// Whether a partition exists and has a leader, by what brokers said last.
    pub(super) fn may_answer(&self, partition: i32) -> bool {
        self.known.partitions.as_ref().is_none_or(|named| named.get(&partition) == Some(&true))
    }

    /// Whether partitions are about to be taken for vanished.
    pub(super) fn is_unsettled(&self) -> bool {
        !self.known.missing.is_empty()
    }

    /// Notes which partitions could not be taken up, though they exist.
    pub(super) fn lacks(&mut self, partitions: &[i32]) {
        self.known.lacks(partitions, Instant::now());
    }

    /// Whether all partitions are taken up for which samples still wait.
    pub(super) fn lacks_none_for_now(&self) -> bool {
        self.known.lacking.values().all(|since| since.elapsed() >= SILENCE_LIMIT)
    }

    /// Of these assigned partitions, those that the brokers have not named for long enough to have
    /// vanished.
    pub(super) fn vanished(&mut self, assigned: &BTreeMap<i32, i64>) -> BTreeSet<i32> {
        self.known.vanished(assigned, Instant::now())
    }
}

impl Known {
    /// Takes a description. Returns the partitions that the topic has, if it exists.
    fn take(&mut self, description: Description) -> Option<BTreeSet<i32>> {
        match description {
            Description::Partitions(partitions) => {
                let count = partitions.keys().last().map_or(0, |last| last + 1);
                self.first_count.get_or_insert(count);
                let found = partitions.keys().copied().collect();
                self.partitions = Some(partitions);
                Some(found)
            }
            // Whatever it has once it exists is new.
            Description::Absent => {
                self.first_count.get_or_insert(0);
                self.partitions = Some(BTreeMap::new());
                None
            }
            Description::Unfinished => {
                self.first_count.get_or_insert(0);
                None
            }
        }
    }

    fn lacks(&mut self, partitions: &[i32], now: Instant) {
        self.lacking.retain(|partition, _| partitions.contains(partition));
        for &partition in partitions {
            self.lacking.entry(partition).or_insert(now);
        }
    }

    fn vanished(&mut self, assigned: &BTreeMap<i32, i64>, now: Instant) -> BTreeSet<i32> {
        // Without an answer, all is as it was.
        let Some(named) = &self.partitions else { return BTreeSet::new() };
        let is_missing =
            |partition: &i32| assigned.contains_key(partition) && !named.contains_key(partition);
        self.missing.retain(|partition, _| is_missing(partition));
        for &partition in assigned.keys().filter(|&partition| is_missing(partition)) {
            self.missing.entry(partition).or_insert(now);
        }
        let mut vanished = BTreeSet::new();
        self.missing.retain(|&partition, since| {
            let stays = now.duration_since(*since) < GONE_LIMIT;
            stays || !vanished.insert(partition)
        });
        vanished
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn described(partitions: &[i32]) -> Description {
        Description::Partitions(partitions.iter().map(|&partition| (partition, true)).collect())
    }

    #[test]
    fn a_topic_that_did_not_exist_at_first_has_new_partitions_only() {
        let mut known = Known::default();
        assert_eq!(known.take(Description::Absent), None);
        assert_eq!(known.take(described(&[0, 1])), Some(BTreeSet::from([0, 1])));
        assert_eq!(known.first_count, Some(0));
        let mut known = Known::default();
        known.take(described(&[0, 1]));
        known.take(described(&[0, 1, 2]));
        assert_eq!(known.first_count, Some(2));
    }

    #[test]
    fn a_partition_vanishes_once_brokers_have_not_named_it_for_long_enough() {
        let assigned = BTreeMap::from([(0, 7), (1, 7)]);
        let start = Instant::now();
        let mut known = Known::default();
        known.take(described(&[0]));
        assert!(known.vanished(&assigned, start).is_empty());
        let almost = start + GONE_LIMIT / 2;
        assert!(known.vanished(&assigned, almost).is_empty());
        // It is named once meanwhile.
        known.take(described(&[0, 1]));
        assert!(known.vanished(&assigned, almost).is_empty());
        known.take(described(&[0]));
        assert!(known.vanished(&assigned, start + GONE_LIMIT).is_empty());
        let later = start + 2 * GONE_LIMIT;
        assert_eq!(known.vanished(&assigned, later), BTreeSet::from([1]));
        // It is told once.
        known.partitions = None;
        assert!(known.vanished(&assigned, later + GONE_LIMIT).is_empty(), "nobody answers");
    }
}
