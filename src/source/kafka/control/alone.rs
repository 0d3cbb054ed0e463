//! Without a group: this process assigns itself the partitions that the operator chose.

use std::{collections::BTreeSet, sync::Arc};

use crate::source::kafka::config::{PartitionChoice, StartOffset};

use super::{
    assignment::Assignment,
    client::Client,
    starts::{Known, Start},
    topic::Topic,
    trouble::Trouble,
};

/// What the operator chose.
pub(super) struct Alone {
    pub(super) client: Arc<Client>,
    pub(super) partitions: PartitionChoice,
    pub(super) start: StartOffset,
}

impl Alone {
    /// Takes up the partitions that are chosen and not read yet. The topic has those that were
    /// found.
    pub(super) fn take_up(
        &self,
        found: &BTreeSet<i32>,
        topic: &mut Topic,
        assignment: &mut Assignment,
    ) -> Result<(), Trouble> {
        let chosen: Vec<i32> = match &self.partitions {
            PartitionChoice::All => found.iter().copied().collect(),
            PartitionChoice::These(these) => these.clone(),
        };
        let (mut known, mut asked) = (Vec::new(), Vec::new());
        let first_count = topic.first_count();
        let starts = Known { stored: assignment.stored(), first_count, configured: self.start };
        for &partition in
            chosen.iter().filter(|&each| found.contains(each) && !assignment.has(*each))
        {
            match starts.alone(partition) {
                Start::At(offset) => known.push((partition, offset)),
                Start::Ask(start) => asked.push((partition, start)),
                Start::Recreated => asked.push((partition, StartOffset::Earliest)),
            }
        }
        // With none that has a leader, librdkafka would say that there is no such partition.
        asked.retain(|&(partition, _)| topic.may_answer(partition));
        assignment.take_up(&known)?;
        assignment.take_up(&self.client.offsets(&asked)?)?;
        let mut lacking = chosen;
        lacking.retain(|&partition| !assignment.has(partition));
        let (unread, absent): (Vec<i32>, Vec<i32>) =
            lacking.into_iter().partition(|partition| found.contains(partition));
        topic.lacks(&unread);
        let name = self.client.topic();
        match (unread.is_empty(), absent.is_empty()) {
            (true, true) => Ok(()),
            (false, _) => Err(Trouble::Lacking(format!(
                "waiting for partitions {unread:?} of topic {name}: each needs a leader; check \
                 the brokers"
            ))),
            (true, false) => {
                let count = found.last().map_or(0, |last| last + 1);
                Err(Trouble::Lacking(format!(
                    "waiting for partitions {absent:?} of topic {name}: it has {count}; check \
                     --partitions"
                )))
            }
        }
    }
}
