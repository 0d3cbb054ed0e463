//! With a group: Kafka shares the partitions among its members.

use std::{collections::BTreeMap, time::Instant};

use rdkafka::{Offset, TopicPartitionList, consumer::Consumer};

use crate::source::kafka::config::{KafkaConfig, StartOffset};

use super::{ANSWER_LIMIT, Control, LOG_WAITING, SETTLE_LIMIT, Trouble};

impl Control {
    /// Takes up the partitions that the group assigned. Where the brokers can't be asked for the
    /// offsets to begin with, it is tried again later: the group thinks that we read them.
    pub(super) fn take_up_from_group(&mut self) {
        let Some(partitions) = self.to_take_up.take() else { return };
        let taken_up = self.group_starts(&partitions).and_then(|starts| self.take_up(&starts));
        if let Err(trouble) = taken_up {
            if LOG_WAITING.permit().is_some() {
                tracing::warn!(?partitions, "{trouble}");
            }
            self.trouble = Some(trouble);
            self.to_take_up = Some(partitions);
        }
    }

    /// Where partitions of the group begin: at the group's committed offset or at our own position,
    /// whichever is larger; where there is none, as configured.
    fn group_starts(&mut self, partitions: &[i32]) -> Result<Vec<(i32, i64)>, Trouble> {
        if partitions.is_empty() {
            return Ok(Vec::new());
        }
        if self.first_count.is_none() {
            self.look_at_topic()?;
        }
        let committed = self.committed(partitions)?;
        let mut starts = Vec::new();
        let mut unknown = TopicPartitionList::new();
        let mut remade = Vec::new();
        for &partition in partitions {
            let stored = self.config.stored.get(&partition).copied();
            if let Some(&offset) = committed.get(&partition) {
                // What we counted of it ourselves may be more than we came to commit.
                starts.push((partition, stored.map_or(offset, |stored| stored.max(offset))));
            } else if self.commits.confirmed(partition).is_some() {
                // Kafka forgets offsets of a group with members only together with their topic.
                remade.push(partition);
                self.ask_for(&mut unknown, partition, StartOffset::Earliest);
            } else if let Some(stored) = stored {
                starts.push((partition, stored));
            } else {
                let new = self.first_count.is_some_and(|first| partition >= first);
                let start = if new { StartOffset::Earliest } else { self.config.start };
                self.ask_for(&mut unknown, partition, start);
            }
        }
        if unknown.count() > 0 {
            starts.extend(self.resolve(&unknown)?);
        }
        if starts.len() < partitions.len() {
            let topic = &self.config.topic;
            return Err(format!("waiting for a leader of some of {topic}'s {partitions:?}"));
        }
        for partition in remade {
            self.note_remade(partition);
        }
        self.commits.group_has(&committed);
        Ok(starts)
    }

    /// What the group has committed of these partitions; those without an offset are left out.
    pub(super) fn committed(&self, partitions: &[i32]) -> Result<BTreeMap<i32, i64>, Trouble> {
        let KafkaConfig { brokers, topic, .. } = &self.config;
        let mut list = TopicPartitionList::new();
        for &partition in partitions {
            list.add_partition(topic, partition);
        }
        let answer = self
            .consumer
            .committed_offsets(list, ANSWER_LIMIT)
            .map_err(|error| self.unreachable(brokers, &error))?;
        let mut committed = BTreeMap::new();
        for element in answer.elements() {
            element.error().map_err(|error| self.unreachable(brokers, &error))?;
            if let Offset::Offset(offset) = element.offset() {
                committed.insert(element.partition(), offset);
            }
        }
        Ok(committed)
    }

    /// Gives partitions back to the group, once what was counted of them is published and
    /// committed, so that whoever reads them next begins just there.
    pub(super) fn give_away(&mut self, partitions: &[i32]) {
        if let Some(pending) = &mut self.to_take_up {
            pending.retain(|partition| !partitions.contains(partition));
        }
        let deadline = Instant::now() + SETTLE_LIMIT;
        self.let_go(partitions, deadline);
        let left = deadline.saturating_duration_since(Instant::now());
        if let Some(positions) = self.progress.settle(left) {
            let theirs: Vec<_> =
                positions.into_iter().filter(|p| partitions.contains(&p.partition)).collect();
            // Where they come back to us before anybody else commits, we go on where we were.
            self.config.stored.retain(|partition, _| !partitions.contains(partition));
            if !self.commit_now(theirs.clone()) {
                let ours = theirs.iter().map(|p| (p.partition, p.next_offset));
                self.config.stored.extend(ours);
            }
        } else {
            tracing::error!(
                ?partitions,
                "counts could not be published before these partitions went to another member of \
                 the group, which will count again what is not committed"
            );
        }
        for partition in partitions {
            self.assigned.remove(partition);
            self.refused.remove(partition);
            let labels = [self.config.topic.as_str(), &partition.to_string()];
            // They may never have been set.
            drop(self.metrics.kafka_lag.remove_label_values(&labels));
            drop(self.metrics.kafka_position.remove_label_values(&labels));
            drop(self.metrics.kafka_uncommitted.remove_label_values(&labels));
        }
        self.metrics.kafka_partitions.set(self.assigned.len() as i64);
        self.unassign(partitions);
    }
}
