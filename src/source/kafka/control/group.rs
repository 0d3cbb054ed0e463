//! With a group: Kafka shares the partitions among its members.

use std::{sync::mpsc, time::Instant};

use rdkafka::{
    Offset, TopicPartitionList,
    consumer::{CommitMode, Consumer},
};

use crate::source::kafka::{
    config::{KafkaConfig, StartOffset},
    inbox::Command,
};

use super::{ANSWER_LIMIT, Control, GroupEvent, LOG_WAITING, SETTLE_LIMIT, Trouble};

impl Control {
    /// Answers what the group decided. librdkafka waits for it.
    pub(super) fn answer_group(&mut self) {
        while let Ok(event) = self.group_events.try_recv() {
            match event {
                GroupEvent::Assigned(partitions) => {
                    self.metrics.kafka_rebalances.with_label_values(&["assigned"]).inc();
                    self.to_take_up = Some(partitions);
                    self.take_up_from_group();
                }
                GroupEvent::Revoked(partitions) => {
                    self.metrics.kafka_rebalances.with_label_values(&["revoked"]).inc();
                    self.give_away(&partitions);
                }
            }
        }
    }

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

    /// Where partitions of the group begin: at the group's committed offset, else as configured.
    fn group_starts(&mut self, partitions: &[i32]) -> Result<Vec<(i32, i64)>, Trouble> {
        if partitions.is_empty() {
            return Ok(Vec::new());
        }
        if self.first_count.is_none() {
            self.look_at_topic()?;
        }
        let KafkaConfig { brokers, topic, start, .. } = &self.config;
        let mut list = TopicPartitionList::new();
        for &partition in partitions {
            list.add_partition(topic, partition);
        }
        let committed = self
            .consumer
            .committed_offsets(list, ANSWER_LIMIT)
            .map_err(|error| self.unreachable(brokers, &error))?;
        let mut starts = Vec::new();
        let mut unknown = TopicPartitionList::new();
        for element in committed.elements() {
            let partition = element.partition();
            match (element.error(), element.offset()) {
                // What we counted of it ourselves may be more than we came to commit.
                (Ok(()), Offset::Offset(offset)) => {
                    let stored = self.config.stored.get(&partition).copied();
                    starts.push((partition, stored.map_or(offset, |stored| stored.max(offset))));
                }
                (Ok(()), _) => {
                    let new = self.first_count.is_some_and(|first| partition >= first);
                    let start = if new { StartOffset::Earliest } else { *start };
                    self.ask_for(&mut unknown, partition, start);
                }
                (Err(error), _) => return Err(self.unreachable(brokers, &error)),
            }
        }
        if unknown.count() > 0 {
            starts.extend(self.resolve(&unknown)?);
        }
        if starts.len() < partitions.len() {
            return Err(format!("waiting for a leader of some of {topic}'s {partitions:?}"));
        }
        Ok(starts)
    }

    /// Gives partitions back to the group, once what was counted of them is published and
    /// committed, so that whoever reads them next begins just there.
    fn give_away(&mut self, partitions: &[i32]) {
        if let Some(pending) = &mut self.to_take_up {
            pending.retain(|partition| !partitions.contains(partition));
        }
        let deadline = Instant::now() + SETTLE_LIMIT;
        let (done, all_done) = mpsc::channel();
        for inbox in &self.inboxes {
            let done = done.clone();
            inbox.send(Command::Revoke { partitions: partitions.to_vec(), done });
        }
        drop(done);
        for _ in &self.inboxes {
            // A worker answers between two batches.
            if all_done.recv_timeout(deadline.saturating_duration_since(Instant::now())).is_err() {
                tracing::error!("a Kafka worker does not let go of its partitions");
                break;
            }
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if let Some(positions) = self.progress.settle(left) {
            let theirs = positions.into_iter().filter(|p| partitions.contains(&p.partition));
            self.commit(theirs.collect(), CommitMode::Sync);
        } else {
            tracing::error!(
                ?partitions,
                "counts could not be published before these partitions went to another member of \
                 the group, which will count again what is not committed"
            );
        }
        let mut list = TopicPartitionList::new();
        for &partition in partitions {
            list.add_partition(&self.config.topic, partition);
            self.assigned.remove(&partition);
            let labels = [self.config.topic.as_str(), &partition.to_string()];
            // They may never have been set.
            drop(self.metrics.kafka_lag.remove_label_values(&labels));
            drop(self.metrics.kafka_position.remove_label_values(&labels));
        }
        self.metrics.kafka_partitions.set(self.assigned.len() as i64);
        if let Err(error) = self.consumer.incremental_unassign(&list) {
            self.consumer.context().report(
                error.rdkafka_error_code(),
                &format!("giving partitions {partitions:?} back to the group: {error}"),
            );
        }
    }
}
