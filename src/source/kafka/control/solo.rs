//! Without a group: this process assigns itself the partitions that the operator chose.

use std::collections::BTreeSet;

use rdkafka::TopicPartitionList;

use crate::source::kafka::config::{PartitionChoice, StartOffset};

use super::{Control, Trouble};

impl Control {
    /// Takes up the partitions of the topic that are wanted and not assigned yet.
    pub(super) fn take_up_ours(&mut self, partitions: &BTreeSet<i32>) -> Result<(), Trouble> {
        let count = partitions.last().map_or(0, |last| last + 1);
        let first_count = self.topic.first_count.unwrap_or(count);
        let wanted: Vec<i32> = match &self.config.partitions {
            PartitionChoice::All => partitions.iter().copied().collect(),
            PartitionChoice::These(these) => these.clone(),
        };
        let start = self.config.start;
        let mut known = Vec::new();
        let mut starts = TopicPartitionList::new();
        for &partition in &wanted {
            if !partitions.contains(&partition) || self.assigned.contains_key(&partition) {
                continue;
            }
            if let Some(&offset) = self.stored.get(&partition) {
                known.push((partition, offset));
                continue;
            }
            let new = partition >= first_count || !self.stored.is_empty();
            self.ask_for(&mut starts, partition, if new { StartOffset::Earliest } else { start });
        }
        self.take_up(&known)?;
        if starts.count() > 0 {
            let starts = self.resolve(&starts)?;
            self.take_up(&starts)?;
        }
        let mut lacking = wanted;
        lacking.retain(|partition| !self.assigned.contains_key(partition));
        let (unread, absent): (Vec<i32>, Vec<i32>) =
            lacking.into_iter().partition(|partition| partitions.contains(partition));
        self.topic.lacks(&unread);
        let topic = &self.config.topic;
        match (unread.is_empty(), absent.is_empty()) {
            (true, true) => Ok(()),
            (false, _) => Err(Trouble::Lacking(format!(
                "waiting for partitions {unread:?} of topic {topic}: each needs a leader; check \
                 the brokers"
            ))),
            (true, false) => Err(Trouble::Lacking(format!(
                "waiting for partitions {absent:?} of topic {topic}: it has {count}; check \
                 --partitions"
            ))),
        }
    }
}
