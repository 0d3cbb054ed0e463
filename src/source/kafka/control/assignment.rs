//! The partitions that the workers read: assigns them, takes them back, and restarts them at other
//! offsets.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, mpsc},
    time::Instant,
};

use crate::{
    metrics::Metrics,
    source::{
        Position,
        kafka::{
            inbox::{Command, Inbox},
            progress::TopicProgress,
        },
    },
};

use super::{client::Client, timing::SETTLE_LIMIT, trouble::Trouble};

/// The partitions that are read, and those that were.
pub(super) struct Assignment {
    client: Arc<Client>,
    /// The workers': a partition belongs to the worker at its number modulo their count.
    inboxes: Vec<Arc<Inbox>>,
    progress: Arc<TopicProgress>,
    metrics: Arc<Metrics>,
    is_in_group: bool,
    /// Partitions that workers read, and where each began.
    assigned: BTreeMap<i32, i64>,
    /// Partitions that workers read until Kafka did not have them any more.
    released: BTreeSet<i32>,
    /// How far we have counted partitions, for when they are taken up.
    stored: BTreeMap<i32, i64>,
}

impl Assignment {
    /// No partition is read yet.
    pub(super) fn new(
        client: Arc<Client>,
        inboxes: Vec<Arc<Inbox>>,
        progress: Arc<TopicProgress>,
        metrics: Arc<Metrics>,
        is_in_group: bool,
        stored: BTreeMap<i32, i64>,
    ) -> Self {
        let (assigned, released) = (BTreeMap::new(), BTreeSet::new());
        Assignment { client, inboxes, progress, metrics, is_in_group, assigned, released, stored }
    }

    /// Partitions that workers read, and where each began.
    pub(super) fn assigned(&self) -> &BTreeMap<i32, i64> {
        &self.assigned
    }

    /// Whether a worker reads this partition.
    pub(super) fn has(&self, partition: i32) -> bool {
        self.assigned.contains_key(&partition)
    }

    /// Partitions that workers read until Kafka did not have them any more.
    pub(super) fn released(&self) -> &BTreeSet<i32> {
        &self.released
    }

    /// How far we have counted partitions, for when they are taken up.
    pub(super) fn stored(&self) -> &BTreeMap<i32, i64> {
        &self.stored
    }

    /// The offset of the next message of a partition that is read.
    pub(super) fn next_offset(&self, partition: i32) -> Option<i64> {
        self.progress.next_offset(partition)
    }

    /// Gives partitions to their workers, and has librdkafka fetch them. In a group, none at all is
    /// an answer to its assignment as well.
    pub(super) fn take_up(&mut self, starts: &[(i32, i64)]) -> Result<(), Trouble> {
        if starts.is_empty() && !self.is_in_group {
            return Ok(());
        }
        let topic = self.client.topic();
        let mut queues = Vec::new();
        for &(partition, start) in starts {
            let inbox = &self.inboxes[partition.unsigned_abs() as usize % self.inboxes.len()];
            let queue =
                self.client.queue(partition, Arc::clone(inbox.bell())).ok_or_else(|| {
                    Trouble::Other(format!("no queue for partition {partition} of {topic}"))
                })?;
            queues.push((inbox, Command::Assign { queue, start }));
        }
        self.client.fetch(starts).map_err(|error| {
            Trouble::Other(format!("Kafka: assigning partitions of {topic}: {error}"))
        })?;
        for (inbox, command) in queues {
            inbox.send(command);
        }
        for &(partition, start) in starts {
            self.assigned.insert(partition, start);
            self.released.remove(&partition);
            let labels = [topic, &partition.to_string()];
            self.metrics.kafka_lost.with_label_values(&labels);
            self.metrics.kafka_recreated.with_label_values(&labels);
            if self.is_in_group {
                self.metrics.kafka_abandoned.with_label_values(&labels);
            }
        }
        self.metrics.kafka_partitions.set(self.assigned.len() as i64);
        if !starts.is_empty() {
            tracing::info!(topic, ?starts, "reading partitions (number, first offset)");
        }
        Ok(())
    }

    /// Continues a partition that is read at another offset.
    pub(super) fn restart(&mut self, partition: i32, start: i64) -> Result<(), Trouble> {
        self.let_go(&[partition], Instant::now() + SETTLE_LIMIT);
        self.client.stop_fetching(&[partition]);
        self.take_up(&[(partition, start)])
    }

    /// Releases partitions that Kafka no longer has: ticks don't wait for them. If they come back,
    /// they are read from here on, and `out_of_range.rs` finds out whether their topic was
    /// recreated. A group revokes them when it learns that they are gone.
    pub(super) fn release(&mut self, partitions: &BTreeSet<i32>) {
        let gone: Vec<i32> = partitions.iter().copied().collect();
        let positions = self.let_go(&gone, Instant::now() + SETTLE_LIMIT);
        self.client.stop_fetching(&gone);
        tracing::warn!(
            topic = self.client.topic(),
            ?positions,
            "Kafka does not have these partitions (number, next offset) any more: was the topic \
             deleted, or recreated with fewer partitions? Samples don't wait for them; if they come \
             back, reading continues"
        );
        self.stored.extend(positions);
        for &partition in partitions {
            self.assigned.remove(&partition);
            self.released.insert(partition);
            let labels = [self.client.topic(), &partition.to_string()];
            self.metrics.kafka_vanished.with_label_values(&labels).inc();
            self.forget_metrics_of(partition);
        }
        self.metrics.kafka_partitions.set(self.assigned.len() as i64);
    }

    /// Has the workers let go of partitions that the group takes from us. Returns up to where they
    /// were read.
    pub(super) fn revoke(&mut self, partitions: &[i32], deadline: Instant) -> BTreeMap<i32, i64> {
        let ends =
            partitions.iter().filter_map(|&p| Some((p, self.progress.next_offset(p)?))).collect();
        self.let_go(partitions, deadline);
        // Our position holds only until another member reads further.
        self.stored.retain(|partition, _| !partitions.contains(partition));
        ends
    }

    /// Gives partitions back to the group, after [`Assignment::revoke`].
    pub(super) fn give_back(&mut self, partitions: &[i32]) {
        // Released ones are not with librdkafka any more; if that is all, none is an answer too.
        let mut fetched = partitions.to_vec();
        fetched.retain(|partition| !self.released.contains(partition));
        for &partition in partitions {
            self.assigned.remove(&partition);
            self.released.remove(&partition);
            self.forget_metrics_of(partition);
        }
        self.metrics.kafka_partitions.set(self.assigned.len() as i64);
        self.client.stop_fetching(&fetched);
    }

    /// Counts what another member will count again, because it is read up to `ends` and committed
    /// only up to what `committed` says. Where these partitions come back to us before anybody else
    /// commits, we continue where we were.
    pub(super) fn abandon(
        &mut self,
        ends: BTreeMap<i32, i64>,
        committed: impl Fn(i32) -> Option<i64>,
    ) {
        for (&partition, &end) in &ends {
            let start = self.assigned.get(&partition).copied().unwrap_or(end);
            let abandoned = end - committed(partition).unwrap_or(start);
            let labels = [self.client.topic(), &partition.to_string()];
            let metric = self.metrics.kafka_abandoned.with_label_values(&labels);
            metric.inc_by(abandoned.max(0).unsigned_abs());
        }
        self.stored.extend(ends);
    }

    /// Counts and logs that a partition is not the one whose position we had.
    pub(super) fn note_recreated(&self, partition: i32) {
        let topic = self.client.topic();
        self.metrics.kafka_recreated.with_label_values(&[topic, &partition.to_string()]).inc();
        tracing::warn!(
            topic,
            partition,
            "the topic was deleted and recreated since this partition was counted: it is read from \
             its beginning, and adds to the existing counts"
        );
    }

    /// Wakes all workers.
    pub(super) fn wake_workers(&self) {
        for inbox in &self.inboxes {
            inbox.bell().ring();
        }
    }

    /// Has all workers hand over and end.
    pub(super) fn stop_workers(&self) {
        for inbox in &self.inboxes {
            inbox.send(Command::Stop);
        }
    }

    /// Updates the metrics of partitions that are read.
    pub(super) fn report(&self) {
        for (partition, progress) in self.progress.all() {
            let labels = [self.client.topic(), &partition.to_string()];
            let next_offset = progress.next_offset();
            self.metrics.kafka_position.with_label_values(&labels).set(next_offset);
            let Some(end) = self.client.context().end(partition) else {
                // While we may not read it, brokers don't say where it ends.
                drop(self.metrics.kafka_lag.remove_label_values(&labels));
                continue;
            };
            let lag = (end - progress.read_to()).max(0);
            self.metrics.kafka_lag.with_label_values(&labels).set(lag);
            if lag > 0 {
                progress.ask_read_to();
            }
        }
    }

    /// Has the workers let go of partitions, waits for it, and returns up to where they are counted.
    fn let_go(&self, partitions: &[i32], deadline: Instant) -> BTreeMap<i32, i64> {
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
                    tracing::error!("a Kafka worker does not release its partitions");
                    break;
                }
                // The workers have ended, since we stop.
                Err(mpsc::RecvTimeoutError::Disconnected) => break,
            }
        }
        positions
    }

    /// Removes the metrics of a partition's progress, which is unknown now.
    fn forget_metrics_of(&self, partition: i32) {
        let labels = [self.client.topic(), &partition.to_string()];
        // They may never have been set.
        drop(self.metrics.kafka_lag.remove_label_values(&labels));
        drop(self.metrics.kafka_position.remove_label_values(&labels));
        drop(self.metrics.kafka_uncommitted.remove_label_values(&labels));
    }
}
