//! Which partitions are with the workers and with librdkafka, and which are not any more.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, mpsc},
    time::Instant,
};

use rdkafka::{Offset, TopicPartitionList, consumer::Consumer};

use crate::source::{
    Position,
    kafka::{inbox::Command, queue::PartitionQueue},
};

use super::{Control, SETTLE_LIMIT, Trouble};

impl Control {
    /// Gives partitions to their workers, and has librdkafka fetch them.
    pub(super) fn take_up(&mut self, starts: &[(i32, i64)]) -> Result<(), Trouble> {
        let topic = &self.config.topic;
        let failed =
            |error| Trouble::Other(format!("Kafka: assigning partitions of {topic}: {error}"));
        let mut list = TopicPartitionList::new();
        let mut queues = Vec::new();
        for &(partition, start) in starts {
            let inbox = &self.inboxes[partition.unsigned_abs() as usize % self.inboxes.len()];
            let client = Arc::clone(&self.consumer);
            let queue = PartitionQueue::split(client, topic, partition, Arc::clone(inbox.bell()))
                .ok_or_else(|| {
                Trouble::Other(format!("no queue for partition {partition} of {topic}"))
            })?;
            queues.push((inbox, Command::Assign { queue, start }));
            list.add_partition_offset(topic, partition, Offset::Offset(start)).map_err(failed)?;
        }
        if starts.is_empty() && self.config.group.is_none() {
            return Ok(());
        }
        self.consumer.incremental_assign(&list).map_err(failed)?;
        for (inbox, command) in queues {
            inbox.send(command);
        }
        for &(partition, start) in starts {
            self.assigned.insert(partition, start);
            self.released.remove(&partition);
            let labels = [topic.as_str(), &partition.to_string()];
            self.metrics.kafka_lost.with_label_values(&labels);
            self.metrics.kafka_recreated.with_label_values(&labels);
            if self.config.group.is_some() {
                self.metrics.kafka_abandoned.with_label_values(&labels);
            }
        }
        if self.config.group.is_some() {
            self.commits.taken_up(starts, &self.publication.published());
        }
        self.metrics.kafka_partitions.set(self.assigned.len() as i64);
        if !starts.is_empty() {
            tracing::info!(topic, ?starts, "reading partitions (number, first offset)");
        }
        Ok(())
    }

    /// Has the workers let go of partitions, waits for it, and returns up to where they are counted.
    pub(super) fn let_go(&self, partitions: &[i32], deadline: Instant) -> BTreeMap<i32, i64> {
        let (done, all_done) = mpsc::channel();
        for inbox in &self.inboxes {
            let done = done.clone();
            inbox.send(Command::Revoke { partitions: partitions.to_vec(), done });
        }
        drop(done);
        let mut positions = BTreeMap::new();
        for _ in &self.inboxes {
            // A worker answers between two batches.
            match all_done.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(let_go) => positions.extend(
                    let_go
                        .into_iter()
                        .map(|Position { partition, next_offset }| (partition, next_offset)),
                ),
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    tracing::error!("a Kafka worker does not let go of its partitions");
                    break;
                }
                // The workers have ended, since we stop.
                Err(mpsc::RecvTimeoutError::Disconnected) => break,
            }
        }
        positions
    }

    /// Has librdkafka fetch partitions no longer.
    pub(super) fn unassign(&self, partitions: &[i32]) {
        let mut list = TopicPartitionList::new();
        for &partition in partitions {
            list.add_partition(&self.config.topic, partition);
        }
        if let Err(error) = self.consumer.incremental_unassign(&list) {
            self.consumer.context().report(
                error.rdkafka_error_code(),
                &format!("giving up partitions {partitions:?}: {error}"),
            );
        }
    }

    /// Lets go of partitions that Kafka does not have any more: nothing waits for them. Where they
    /// come back, they are read from here on; if their topic was recreated meanwhile, that is found
    /// out then (`refused.rs`). A group takes them from us when it learns that they are gone.
    pub(super) fn release(&mut self, partitions: &BTreeSet<i32>) {
        let gone: Vec<i32> = partitions.iter().copied().collect();
        let positions = self.let_go(&gone, Instant::now() + SETTLE_LIMIT);
        self.unassign(&gone);
        tracing::warn!(
            topic = self.config.topic,
            ?positions,
            "Kafka does not have these partitions (number, next offset) any more: was the topic \
             deleted, or recreated with fewer partitions? Nothing waits for them; if they come \
             back, reading goes on"
        );
        self.stored.extend(positions);
        for &partition in partitions {
            self.assigned.remove(&partition);
            self.released.insert(partition);
            let labels = [self.config.topic.as_str(), &partition.to_string()];
            self.metrics.kafka_vanished.with_label_values(&labels).inc();
            self.forget_metrics_of(partition);
        }
        self.metrics.kafka_partitions.set(self.assigned.len() as i64);
    }

    /// Takes up again what was released and is there now.
    pub(super) fn take_back(&mut self, found: &BTreeSet<i32>) -> Result<(), Trouble> {
        let back: Vec<i32> = self.released.intersection(found).copied().collect();
        if back.is_empty() {
            return Ok(());
        }
        let starts = if self.config.group.is_some() {
            self.group_starts(&back)?
        } else {
            back.iter().filter_map(|p| Some((*p, *self.stored.get(p)?))).collect()
        };
        self.take_up(&starts)
    }

    /// Removes the metrics that say where a partition stands, which nobody knows now.
    pub(super) fn forget_metrics_of(&self, partition: i32) {
        let labels = [self.config.topic.as_str(), &partition.to_string()];
        // They may never have been set.
        drop(self.metrics.kafka_lag.remove_label_values(&labels));
        drop(self.metrics.kafka_position.remove_label_values(&labels));
        drop(self.metrics.kafka_uncommitted.remove_label_values(&labels));
    }
}
