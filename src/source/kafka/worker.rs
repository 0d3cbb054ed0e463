//! A worker: reads its partitions in turns and gives each message to its sink.
//!
//! Where timestamps count, a partition whose next message is too young for now is held back, and
//! the sink is told how far in time all partitions are: a held one as far as its next message, one
//! that is read to its end as far as the moment at which the broker said where that is
//! (`control/ends.rs`).

use std::{ops::ControlFlow, sync::Arc, time::Duration};

use rdkafka::error::RDKafkaErrorCode;

use crate::{
    clock::{EARLIEST_MS, now_ms},
    source::{Bound, Message, Origin, Position, Sink},
};

use super::{
    inbox::{Command, Inbox},
    progress::{PartitionProgress, TopicProgress},
    queue::{Batch, Item, PartitionQueue},
};

/// Messages taken from one partition before it is the next one's turn, and before a cut is looked
/// for: large enough that the call into librdkafka costs nothing, small enough that a cut waits
/// for about a millisecond.
const BATCH_MESSAGES: usize = 1000;

/// How long a worker sleeps at most when nobody rings. Only a lost wake-up would need it.
const LONGEST_SLEEP: Duration = Duration::from_millis(500);

/// The bound before the first sample.
const NO_SAMPLE_MS: i64 = i64::MIN;

/// Clocks of producers may be ahead by this. Messages of a time further ahead would have to wait
/// too long.
const LATEST_AHEAD_MS: i64 = 10_000;

struct Assigned {
    /// What was read and is not given to the sink yet. Goes before the queue, and with it the
    /// client.
    batch: Batch,
    queue: PartitionQueue,
    next_offset: i64,
    /// Up to which offset there is no further message, where that is past `next_offset`.
    read_to: Option<i64>,
    /// Whether `next_offset` has moved since the last hand-over.
    moved: bool,
    /// Whether an error came in place of a message: nothing more is taken until the control thread
    /// has the partition begin again.
    halted: bool,
    /// The timestamp of the next message, where it is too young for now.
    held_ms: Option<i64>,
    /// The newest timestamp that was given to the sink.
    newest_ms: i64,
    /// No message has come behind a younger one yet. Then none is looked for: what is read ahead of
    /// a sample has to be in the journal beside it.
    is_ordered: bool,
    progress: Arc<PartitionProgress>,
}

/// Reads partitions until it is told to stop.
pub(super) struct Worker<S> {
    pub(super) topic: Arc<str>,
    pub(super) sink: S,
    pub(super) inbox: Arc<Inbox>,
    /// Tells of an error in a partition, and at which offset.
    pub(super) on_error: Arc<dyn Fn(i32, RDKafkaErrorCode, i64) + Send + Sync>,
    /// Counts a message whose timestamp is no use, for this reason.
    pub(super) on_untimed: Arc<dyn Fn(&str) + Send + Sync>,
    /// Where each partition stands, shared with the control thread.
    pub(super) progress: Arc<TopicProgress>,
}

impl<S: Sink> Worker<S> {
    /// Runs on a thread of its own. Ends with a last hand-over.
    pub(super) fn run(mut self) {
        let mut partitions: Vec<Assigned> = Vec::new();
        // Last positions of revoked partitions that are not handed over yet.
        let mut left_behind: Vec<Position> = Vec::new();
        let mut idle = false;
        loop {
            let wait = if idle { LONGEST_SLEEP } else { Duration::ZERO };
            self.inbox.wait(wait);
            // Before the orders: a time at which we had no partitions was set after any that we
            // are given before it.
            let none_until_ms = self.progress.none_until_ms();
            for command in self.inbox.take() {
                match command {
                    Command::Assign { queue, start } => {
                        let progress = self.progress.add(queue.partition(), start);
                        left_behind.retain(|left| left.partition != queue.partition());
                        partitions.push(Assigned {
                            batch: Batch::new(BATCH_MESSAGES),
                            queue,
                            next_offset: start,
                            read_to: None,
                            moved: true,
                            halted: false,
                            held_ms: None,
                            newest_ms: i64::MIN,
                            is_ordered: true,
                            progress,
                        });
                    }
                    Command::Revoke { partitions: revoked, done } => {
                        let mut positions = Vec::new();
                        for gone in partitions.extract_if(.., |assigned| {
                            revoked.contains(&assigned.queue.partition())
                        }) {
                            positions.push(gone.position());
                            self.progress.remove(gone.queue.partition());
                        }
                        left_behind.extend(&positions);
                        // Whoever gave the order has stopped waiting: nothing left to tell.
                        let _gone = done.send(positions);
                    }
                    Command::Stop => {
                        self.inbox.close();
                        self.hand_over(&mut partitions, &mut left_behind);
                        return;
                    }
                }
            }
            idle = true;
            for assigned in &mut partitions {
                idle &= self.read(assigned) == 0;
                if self.sink.hand_over_is_due() {
                    break;
                }
            }
            self.report_time(&partitions, none_until_ms);
            if self.sink.hand_over_is_due() {
                self.hand_over(&mut partitions, &mut left_behind);
                idle = false;
                // Those whose turn it was not come first now.
                if let Some(last) = partitions.pop() {
                    partitions.insert(0, last);
                }
            }
        }
    }

    fn read(&mut self, assigned: &mut Assigned) -> usize {
        let bound = self.sink.bound();
        assigned.held_ms = None;
        if assigned.batch.is_empty() {
            assigned.queue.read(&mut assigned.batch);
        }
        if assigned.halted {
            assigned.batch.clear();
            return 0;
        }
        if assigned.batch.is_empty() {
            // What is left below the end, if anything, may be offsets without messages.
            let progress = &assigned.progress;
            if !progress.is_at_end(assigned.next_offset) || progress.read_to_is_asked() {
                assigned.read_to = assigned.queue.position(&self.topic);
                progress.has_read_to(assigned.read_to.unwrap_or(assigned.next_offset));
            }
            return 0;
        }
        let now_ms = now_ms();
        let Worker { topic, sink, on_error, on_untimed, .. } = self;
        let Assigned { batch, queue, next_offset, halted, held_ms, newest_ms, is_ordered, .. } =
            assigned;
        let partition = queue.partition();
        let before = *next_offset;
        let taken = batch.drain(|item| {
            match item {
                Item::Message { offset, time_ms, payload } => {
                    if offset < *next_offset {
                        // Counted already.
                        return ControlFlow::Continue(());
                    }
                    let time_ms = match bound.map(|bound| (bound, usable(time_ms, now_ms))) {
                        None => None,
                        Some((bound, Ok(time_ms))) => {
                            if time_ms >= bound.read_to_ms(*is_ordered) {
                                *held_ms = Some(time_ms);
                                return ControlFlow::Break(());
                            }
                            *is_ordered &= time_ms >= *newest_ms;
                            *newest_ms = time_ms.max(*newest_ms);
                            Some(time_ms)
                        }
                        // The first sample is found by the times of messages: this one's is now.
                        Some((Bound { time_ms: NO_SAMPLE_MS, .. }, Err(_))) => {
                            *held_ms = Some(now_ms);
                            return ControlFlow::Break(());
                        }
                        Some((_, Err(reason))) => {
                            on_untimed(reason);
                            None
                        }
                    };
                    let origin = Origin { name: topic, partition, offset };
                    sink.message(Message { origin, time_ms, payload });
                    *next_offset = offset + 1;
                }
                Item::Error { error, offset } => {
                    on_error(partition, error, offset);
                    *halted = true;
                    return ControlFlow::Break(());
                }
            }
            ControlFlow::Continue(())
        });
        if *next_offset != before {
            assigned.read_to = None;
            assigned.moved = true;
            assigned.progress.advance(*next_offset);
        }
        taken
    }

    /// Tells the sink how far in time all partitions are, if that is far enough.
    fn report_time(&mut self, partitions: &[Assigned], none_until_ms: Option<i64>) {
        let Some(bound) = self.sink.bound() else { return };
        let passed = if partitions.is_empty() {
            none_until_ms
        } else {
            // `None` is the least.
            partitions.iter().map(|each| each.watermark_ms(bound)).min().flatten()
        };
        if let Some(time_ms) = passed.filter(|&time_ms| time_ms >= bound.end_ms()) {
            self.sink.advance_watermark(time_ms);
        }
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

    /// How far the partition is in time, if that is known: what it still gives is younger, but for
    /// late messages.
    fn watermark_ms(&self, bound: Bound) -> Option<i64> {
        if let Some(held_ms) = self.held_ms {
            // Before the first sample, this is about where the data begin.
            let is_over =
                bound.time_ms != NO_SAMPLE_MS && bound.read_to_ms(self.is_ordered) == bound.time_ms;
            let lateness_ms = if is_over { bound.lateness_ms } else { 0 };
            return Some(held_ms.saturating_add(lateness_ms));
        }
        let read_to = self.read_to.map_or(self.next_offset, |to| to.max(self.next_offset));
        self.progress.watermark_ms(read_to)
    }
}

/// The timestamp, or why it is no use.
fn usable(time_ms: Option<i64>, now_ms: i64) -> Result<i64, &'static str> {
    match time_ms {
        None => Err("absent"),
        Some(time_ms) if time_ms < EARLIEST_MS => Err("past"),
        Some(time_ms) if time_ms > now_ms.saturating_add(LATEST_AHEAD_MS) => Err("future"),
        Some(time_ms) => Ok(time_ms),
    }
}
