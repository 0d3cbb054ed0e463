//! A worker: reads its partitions in turns and gives each message to its sink.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use rdkafka::error::RDKafkaErrorCode;

use crate::source::{Message, Place, Position, Sink};

use super::{
    inbox::{Command, Inbox},
    queue::{Batch, Item, PartitionQueue},
};

/// Messages taken from one partition before it is the next one's turn, and before a cut is looked
/// for: large enough that the call into librdkafka costs nothing, small enough that a cut waits
/// for about a millisecond.
const BATCH_MESSAGES: usize = 1000;

/// How long a worker sleeps at most when nobody rings. Only a lost wake-up would need it.
const LONGEST_SLEEP: Duration = Duration::from_millis(500);

/// Where a partition stands, as others may see it.
#[derive(Debug)]
pub(super) struct Standing {
    /// Offset of the next message to be given to the sink.
    pub(super) next_offset: AtomicI64,
}

struct Assigned {
    queue: PartitionQueue,
    next_offset: i64,
    /// Whether `next_offset` has moved since the last hand-over.
    moved: bool,
    standing: Arc<Standing>,
}

/// Reads partitions until it is told to stop.
pub(super) struct Worker<S> {
    pub(super) topic: Arc<str>,
    pub(super) sink: S,
    pub(super) inbox: Arc<Inbox>,
    /// Tells of an error in a partition, and at which offset.
    pub(super) on_error: Arc<dyn Fn(i32, RDKafkaErrorCode, i64) + Send + Sync>,
    /// Where each partition stands, shared with the control thread.
    pub(super) standings: Arc<super::Standings>,
}

impl<S: Sink> Worker<S> {
    /// Runs on a thread of its own. Ends with a last hand-over.
    pub(super) fn run(mut self) {
        let mut partitions: Vec<Assigned> = Vec::new();
        let mut batch = Batch::new(BATCH_MESSAGES);
        // Last positions of revoked partitions that are not handed over yet.
        let mut left_behind: Vec<Position> = Vec::new();
        let mut idle = false;
        loop {
            let wait = if idle { LONGEST_SLEEP } else { Duration::ZERO };
            for command in self.inbox.take(wait) {
                match command {
                    Command::Assign { queue, start } => {
                        let standing = self.standings.add(queue.partition(), start);
                        left_behind.retain(|left| left.partition != queue.partition());
                        partitions.push(Assigned {
                            queue,
                            next_offset: start,
                            moved: true,
                            standing,
                        });
                    }
                    Command::Revoke { partitions: revoked, done } => {
                        for gone in partitions.extract_if(.., |assigned| {
                            revoked.contains(&assigned.queue.partition())
                        }) {
                            left_behind.push(gone.position());
                            self.standings.remove(gone.queue.partition());
                        }
                        // Whoever gave the order has stopped waiting: nothing left to tell.
                        let _gone = done.send(());
                    }
                    Command::Stop => {
                        self.hand_over(&mut partitions, &mut left_behind);
                        return;
                    }
                }
            }
            idle = true;
            for assigned in &mut partitions {
                idle &= self.read(assigned, &mut batch) == 0;
                if self.sink.cut_is_due() {
                    break;
                }
            }
            if self.sink.cut_is_due() {
                self.hand_over(&mut partitions, &mut left_behind);
                idle = false;
                // Those whose turn it was not come first now.
                if let Some(last) = partitions.pop() {
                    partitions.insert(0, last);
                }
            }
        }
    }

    fn read(&mut self, assigned: &mut Assigned, batch: &mut Batch) -> usize {
        assigned.queue.read(batch);
        let Worker { topic, sink, on_error, .. } = self;
        let partition = assigned.queue.partition();
        let mut next_offset = None;
        let taken = batch.drain(|item| match item {
            Item::Message { offset, payload } => {
                let position = Place { origin: topic, partition, offset };
                sink.message(Message { position, payload });
                next_offset = Some(offset + 1);
            }
            Item::Error { error, offset } => on_error(partition, error, offset),
        });
        if let Some(next) = next_offset {
            assigned.next_offset = next;
            assigned.moved = true;
            assigned.standing.next_offset.store(next, Ordering::Relaxed);
        }
        taken
    }

    fn hand_over(&mut self, partitions: &mut [Assigned], left_behind: &mut Vec<Position>) {
        let mut positions = std::mem::take(left_behind);
        positions.extend(partitions.iter_mut().filter_map(|assigned| {
            std::mem::take(&mut assigned.moved).then(|| assigned.position())
        }));
        self.sink.hand_over(positions);
    }
}

impl Assigned {
    fn position(&self) -> Position {
        Position { partition: self.queue.partition(), next_offset: self.next_offset }
    }
}
