//! Without a group: this process assigns itself the partitions that the operator chose.

use std::collections::BTreeSet;

use rdkafka::TopicPartitionList;

use crate::source::kafka::config::{PartitionChoice, StartOffset};

use super::{Control, Trouble};

impl Control {
    /// Takes up the partitions of the topic that are wanted and not assigned yet.
    pub(super) fn take_up_found(&mut self, partitions: &BTreeSet<i32>) -> Result<(), Trouble> {
        let count = partitions.last().map_or(0, |last| last + 1);
        let first_count = self.first_count.unwrap_or(count);
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
            if let Some(&offset) = self.config.stored.get(&partition) {
                known.push((partition, offset));
                continue;
            }
            let new = partition >= first_count || !self.config.stored.is_empty();
            self.ask_for(&mut starts, partition, if new { StartOffset::Earliest } else { start });
        }
        self.take_up(&known)?;
        if starts.count() > 0 {
            let starts = self.resolve(&starts)?;
            self.take_up(&starts)?;
        }
        let topic = &self.config.topic;
        if wanted.iter().all(|partition| self.assigned.contains_key(partition)) {
            Ok(())
        } else {
            let lacking: Vec<_> =
                wanted.iter().filter(|p| !self.assigned.contains_key(p)).collect();
            Err(format!(
                "waiting for partitions {lacking:?} of topic {topic}: it has {count}, and each \
                 needs a leader; check --partitions and the brokers"
            ))
        }
    }
}
