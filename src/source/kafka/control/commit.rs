//! What the group is told of how far partitions are counted.

use std::time::{Duration, Instant};

use rdkafka::{
    Offset, TopicPartitionList,
    consumer::{CommitMode, Consumer},
    error::RDKafkaErrorCode,
};

use crate::source::Position;

use super::{Control, POLL};

/// How long a commit is tried again while the group rebalances.
const COMMIT_LIMIT: Duration = Duration::from_secs(10);

impl Control {
    /// Commits positions of partitions that are ours, where they have moved. A position at or
    /// below the offset where a partition began is from an earlier assignment.
    pub(super) fn commit(&mut self, positions: Vec<Position>, mode: CommitMode) {
        let mut list = TopicPartitionList::new();
        let mut moved = Vec::new();
        for Position { partition, next_offset } in positions {
            let ours = self.assigned.get(&partition).is_some_and(|&start| next_offset > start);
            if ours && self.committed.get(&partition) != Some(&next_offset) {
                list.add_partition_offset(
                    &self.config.topic,
                    partition,
                    Offset::Offset(next_offset),
                )
                .expect("the list takes any offset");
                moved.push((partition, next_offset));
            }
        }
        if moved.is_empty() {
            return;
        }
        let deadline = Instant::now() + COMMIT_LIMIT;
        loop {
            match self.consumer.commit(&list, mode) {
                Ok(()) => self.committed.extend(moved),
                // The group is between two generations: what we have is still ours to commit once
                // the next one stands.
                Err(error)
                    if error.rdkafka_error_code()
                        == Some(RDKafkaErrorCode::RebalanceInProgress)
                        && Instant::now() < deadline =>
                {
                    drop(self.consumer.poll(POLL));
                    continue;
                }
                Err(error) => self.consumer.context().report(
                    error.rdkafka_error_code(),
                    &format!(
                        "committing offsets {moved:?} (partition, offset): {error}; whoever reads \
                         these partitions next counts again what is not committed"
                    ),
                ),
            }
            return;
        }
    }
}
