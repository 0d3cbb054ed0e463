//! What the group is told of how far partitions are counted.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant},
};

use rdkafka::{
    Offset, TopicPartitionList,
    consumer::{CommitMode, Consumer},
    error::{KafkaError, RDKafkaErrorCode},
};

use crate::{
    source::{Position, kafka::queue::commit},
    threads,
};

use super::{Control, POLL, TICK};

/// How long a commit is waited for, and is tried again while the group rebalances.
const COMMIT_LIMIT: Duration = Duration::from_secs(10);

/// How long a publication may take after which all positions are those of newly taken partitions.
/// Events wait meanwhile.
const FALL_LIMIT: Duration = Duration::from_secs(1);

/// What the group has been told of partitions.
#[derive(Debug, Default)]
pub(in crate::source::kafka) struct Commits {
    /// What the group has.
    confirmed: BTreeMap<i32, i64>,
    /// What it was last asked to take, where it has not answered yet.
    asked: BTreeMap<i32, i64>,
    /// After a refusal, commits wait until then.
    pause: Option<Instant>,
    /// Partitions that begin below what was published of them: until a publication says where they
    /// stand now, the published position is that of a topic before this one.
    falling: BTreeSet<i32>,
}

impl Commits {
    /// What the group has of a partition, as far as we know.
    pub(super) fn confirmed(&self, partition: i32) -> Option<i64> {
        self.confirmed.get(&partition).copied()
    }

    /// The group says what it has.
    pub(super) fn group_has(&mut self, committed: &BTreeMap<i32, i64>) {
        self.confirmed.extend(committed);
    }

    /// Partitions begin (partition, first offset).
    pub(super) fn taken_up(&mut self, starts: &[(i32, i64)], published: &[Position]) {
        for &(partition, start) in starts {
            self.asked.remove(&partition);
            // Of a topic before this one.
            self.confirmed.entry(partition).and_modify(|has| *has = start.min(*has));
            let fell = |p: &Position| p.partition == partition && p.next_offset > start;
            if published.iter().any(fell) {
                self.falling.insert(partition);
            }
        }
    }

    /// The group has answered: partition, offset, whether it has it now. Nothing is an error that
    /// concerns all of it.
    pub(super) fn answered(&mut self, answers: &[(i32, i64, bool)]) {
        if answers.is_empty() {
            self.asked.clear();
            self.pause = Some(Instant::now() + TICK);
        }
        for &(partition, offset, confirmed) in answers {
            // Another answer may be on its way.
            if self.asked.get(&partition) == Some(&offset) {
                self.asked.remove(&partition);
            }
            if confirmed {
                self.confirmed.insert(partition, offset);
            } else {
                self.pause = Some(Instant::now() + TICK);
            }
        }
    }
}

impl Control {
    /// Commits what has been published since the last time, without waiting for the answer.
    pub(super) fn commit_published(&mut self) {
        if self.commits.pause.is_some_and(|until| Instant::now() < until) {
            return;
        }
        self.commits.pause = None;
        if !self.commits.falling.is_empty() {
            // A worker may be about to hand over without having looked into its inbox: by the
            // second time it has.
            if (0..2).any(|_| self.publication.settle(FALL_LIMIT).is_none()) {
                self.commits.pause = Some(Instant::now() + TICK);
                return;
            }
            self.commits.falling.clear();
        }
        let mut moved = self.to_commit(self.publication.published());
        moved.retain(|(partition, _)| !self.commits.asked.contains_key(partition));
        if moved.is_empty() {
            return;
        }
        match commit(&self.consumer, &self.list(&moved)) {
            Ok(()) => self.commits.asked.extend(moved),
            Err(error) => self.not_committed(&moved, error),
        }
    }

    /// Commits these positions and waits for it. Returns whether the group has them.
    pub(super) fn commit_now(&mut self, positions: Vec<Position>) -> bool {
        let moved = self.to_commit(positions);
        if moved.is_empty() {
            return true;
        }
        let list = self.list(&moved);
        let deadline = Instant::now() + COMMIT_LIMIT;
        loop {
            match self.commit_by(deadline, &list) {
                Ok(()) => {
                    self.commits.confirmed.extend(moved);
                    return true;
                }
                // The group is between two generations: what we have is still ours to commit once
                // the next one stands.
                Err(KafkaError::ConsumerCommit(RDKafkaErrorCode::RebalanceInProgress))
                    if Instant::now() < deadline =>
                {
                    thread::sleep(POLL);
                    drop(self.consumer.poll(Duration::ZERO));
                }
                Err(error) => {
                    let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail);
                    self.not_committed(&moved, code);
                    return false;
                }
            }
        }
    }

    /// Commits, and waits for the answer until `deadline`: librdkafka has no bound for it.
    fn commit_by(&self, deadline: Instant, list: &TopicPartitionList) -> Result<(), KafkaError> {
        let (answer, answered) = mpsc::channel();
        let (consumer, list) = (Arc::clone(&self.consumer), list.clone());
        let asking = threads::helper("kafka-commit", move || {
            // Nobody waits any longer, if that fails.
            drop(answer.send(consumer.commit(&list, CommitMode::Sync)));
        });
        let timed_out = KafkaError::ConsumerCommit(RDKafkaErrorCode::OperationTimedOut);
        let Ok(asking) = asking else { return Err(timed_out) };
        match answered.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(result) => asking.join().map_or(Err(timed_out), |()| result),
            Err(_) => Err(timed_out),
        }
    }

    /// Positions of partitions that are ours and that the group does not have. One below the
    /// offset where a partition began is from an earlier assignment.
    fn to_commit(&self, positions: Vec<Position>) -> Vec<(i32, i64)> {
        let Commits { confirmed, falling, .. } = &self.commits;
        let ours = |p: &Position| {
            self.assigned.get(&p.partition).is_some_and(|&start| p.next_offset >= start)
                && !falling.contains(&p.partition)
                && confirmed.get(&p.partition) != Some(&p.next_offset)
        };
        positions.into_iter().filter(ours).map(|p| (p.partition, p.next_offset)).collect()
    }

    fn list(&self, offsets: &[(i32, i64)]) -> TopicPartitionList {
        let mut list = TopicPartitionList::new();
        for &(partition, offset) in offsets {
            list.add_partition_offset(&self.config.topic, partition, Offset::Offset(offset))
                .expect("the list takes any offset");
        }
        list
    }

    fn not_committed(&mut self, moved: &[(i32, i64)], error: RDKafkaErrorCode) {
        self.commits.pause = Some(Instant::now() + TICK);
        self.consumer.context().report(
            Some(error),
            &format!(
                "committing offsets {moved:?} (partition, offset): {error}; whoever reads these \
                 partitions next counts again what is not committed"
            ),
        );
    }

    /// Shows what would be counted again if this process ended here and now.
    pub(super) fn report_uncommitted(&self) {
        for Position { partition, next_offset } in self.publication.published() {
            let Some(&start) = self.assigned.get(&partition) else { continue };
            let has = self.commits.confirmed(partition).unwrap_or(start);
            let uncommitted =
                if self.commits.falling.contains(&partition) { 0 } else { next_offset - has };
            let labels = [self.config.topic.as_str(), &partition.to_string()];
            self.metrics.kafka_uncommitted.with_label_values(&labels).set(uncommitted.max(0));
        }
    }
}
