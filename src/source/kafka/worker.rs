//! A worker: reads its partitions in turn and gives each message to its sink.
//!
//! If the sink wants messages in the order of time, a partition whose next message is past the
//! sink's bound is held back, and the sink is told the watermark of all partitions, which is the
//! earliest of theirs. A held partition's watermark is the timestamp of its next message; that of one
//! that is read to its end is the time at which the broker was asked for that end
//! (`control/ends.rs`).

use std::{ops::ControlFlow, sync::Arc, time::Duration};

use rdkafka::error::RDKafkaErrorCode;

use crate::{
    clock::{Millis, UnixMs},
    source::{Bound, Message, Origin, Position, Sink},
};

use super::{
    inbox::{Command, Inbox},
    progress::{PartitionProgress, TopicProgress},
    queue::{Batch, Item, PartitionQueue},
};

/// Messages taken from one partition before the next one's turn: enough that the call into librdkafka
/// costs nothing.
const BATCH_MESSAGES: usize = 1000;

/// How long a worker sleeps at most if its bell is not rung, in case a wake-up is lost.
const LONGEST_SLEEP: Duration = Duration::from_millis(500);

/// Producers' clocks may be ahead by this much. Messages with a timestamp further ahead would have
/// to wait for too long.
const LATEST_AHEAD: Millis = Millis::new(10_000);

/// A partition that this worker reads.
struct Assigned {
    /// Messages that have been read and not given to the sink yet. Dropped before the queue, which
    /// holds the client.
    batch: Batch,
    queue: PartitionQueue,
    next_offset: i64,
    /// There is no message below this offset, if that is past `next_offset`.
    read_to: Option<i64>,
    /// Whether `next_offset` has moved since the last hand-over.
    moved: bool,
    /// Whether an error came in place of a message: nothing more is read until the control thread
    /// restarts the partition.
    halted: bool,
    /// The timestamp of the next message, if it is past the bound, or can't be taken yet.
    held: Option<UnixMs>,
    /// The newest timestamp that was given to the sink.
    newest: Option<UnixMs>,
    /// Whether no message has come behind a younger one yet. Then none is expected, and nothing is
    /// read ahead of a sample, since the journal has to hold that beside it.
    is_ordered: bool,
    progress: Arc<PartitionProgress>,
}

/// Reads partitions until it is told to stop.
pub(super) struct Worker<S> {
    pub(super) topic: Arc<str>,
    pub(super) sink: S,
    pub(super) inbox: Arc<Inbox>,
    /// Reports an error: the partition, the error and the offset.
    pub(super) on_error: Arc<dyn Fn(i32, RDKafkaErrorCode, i64) + Send + Sync>,
    /// Counts a message with an unusable timestamp, for this reason.
    pub(super) on_untimed: Arc<dyn Fn(&str) + Send + Sync>,
    /// How far each partition has been read, shared with the control thread.
    pub(super) progress: Arc<TopicProgress>,
}

impl<S: Sink> Worker<S> {
    /// Runs on a thread of its own. Ends with a last hand-over.
    pub(super) fn run(mut self) {
        let mut partitions: Vec<Assigned> = Vec::new();
        // Last positions of revoked partitions, to be handed over.
        let mut left_behind: Vec<Position> = Vec::new();
        let mut idle = false;
        loop {
            let wait = if idle { LONGEST_SLEEP } else { Duration::ZERO };
            self.inbox.bell().wait(wait);
            // Before the commands: whatever we had to read until then is in our inbox by then.
            let complete_until = self.progress.complete_until();
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
                            held: None,
                            newest: None,
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
                        // If this fails, nothing waits for the answer any more.
                        drop(done.send(positions));
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
            self.report_watermark(&partitions, complete_until);
            if self.sink.hand_over_is_due() {
                self.hand_over(&mut partitions, &mut left_behind);
                idle = false;
                // The partitions whose turn did not come are first now.
                if let Some(last) = partitions.pop() {
                    partitions.insert(0, last);
                }
            }
        }
    }

    fn read(&mut self, assigned: &mut Assigned) -> usize {
        let mut bound = self.sink.bound();
        assigned.held = None;
        if assigned.batch.is_empty() {
            assigned.queue.read(&mut assigned.batch);
        }
        if assigned.halted {
            assigned.batch.clear();
            return 0;
        }
        if assigned.batch.is_empty() {
            // Below the end there may only be offsets without messages.
            let progress = &assigned.progress;
            if !progress.is_at_end(assigned.next_offset) || progress.read_to_is_asked() {
                assigned.read_to = assigned.queue.position(&self.topic);
                progress.has_read_to(assigned.read_to.unwrap_or(assigned.next_offset));
            }
            return 0;
        }
        let now = UnixMs::now();
        let Worker { topic, sink, on_error, on_untimed, .. } = self;
        let Assigned { batch, queue, next_offset, halted, held, newest, is_ordered, .. } = assigned;
        let partition = queue.partition();
        let before = *next_offset;
        let taken = batch.drain(|item| {
            match item {
                Item::Message { offset, time, payload } => {
                    if offset < *next_offset {
                        // It has been counted already.
                        return ControlFlow::Continue(());
                    }
                    // Looked at for each message, since a few can fill what one of them may pass.
                    if sink.hand_over_is_due() {
                        return ControlFlow::Break(());
                    }
                    if sink.must_wait(payload) {
                        // No tick passes it.
                        *held = Some(usable(time, now).unwrap_or(now));
                        return ControlFlow::Break(());
                    }
                    let time = match bound.map(|bound| (bound, usable(time, now))) {
                        None => None,
                        Some((bound, Ok(time))) => {
                            if bound.read_to(*is_ordered).is_none_or(|read_to| time >= read_to) {
                                *held = Some(time);
                                return ControlFlow::Break(());
                            }
                            *is_ordered &= Some(time) >= *newest;
                            *newest = Some(time).max(*newest);
                            Some(time)
                        }
                        // The first tick follows from the timestamps of messages: this one's is
                        // taken to be the present.
                        Some((Bound { tick: None, .. }, Err(_))) => {
                            *held = Some(now);
                            return ControlFlow::Break(());
                        }
                        Some((_, Err(reason))) => {
                            on_untimed(reason);
                            None
                        }
                    };
                    let origin = Origin { name: topic, partition, offset };
                    sink.message(Message { origin, time, sender: None, payload });
                    *next_offset = offset + 1;
                    if time.is_some() && time >= bound.and_then(|bound| bound.tick) {
                        // It is for a later tick, for which there may be no more room now.
                        bound = sink.bound();
                    }
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

    /// Tells the sink the watermark of all its partitions, once it has reached the target.
    fn report_watermark(&mut self, partitions: &[Assigned], complete_until: Option<UnixMs>) {
        let Some(bound) = self.sink.bound() else { return };
        let watermark = if partitions.is_empty() {
            complete_until
        } else {
            // `None` is the least.
            partitions.iter().map(|each| each.watermark(bound)).min().flatten()
        };
        if let Some(time) = watermark.filter(|&time| Some(time) >= bound.target()) {
            self.sink.advance_watermark(time);
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

    /// The partition's watermark, if it is known: what it still gives is younger, except for late
    /// messages.
    fn watermark(&self, bound: Bound) -> Option<UnixMs> {
        if let Some(held) = self.held {
            // Where no older message is expected to follow, there is no lateness to wait for.
            // Without a tick, this is about where the data begin.
            let is_over = bound.tick.is_some() && bound.read_to(self.is_ordered) == bound.tick;
            return Some(if is_over { held + bound.lateness } else { held });
        }
        let read_to = self.read_to.map_or(self.next_offset, |to| to.max(self.next_offset));
        self.progress.watermark(read_to, UnixMs::now)
    }
}

/// The timestamp, or why it can't be used.
fn usable(time: Option<UnixMs>, now: UnixMs) -> Result<UnixMs, &'static str> {
    match time {
        None => Err("absent"),
        Some(time) if time < UnixMs::EARLIEST => Err("past"),
        Some(time) if time > now + LATEST_AHEAD => Err("future"),
        Some(time) => Ok(time),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_are_used_unless_they_are_absent_or_implausible() {
        let now = UnixMs::new(1_700_000_000_000);
        let in_seconds = UnixMs::new(1_700_000_000);
        let ahead = now + LATEST_AHEAD;
        for (time, expected) in [
            (None, Err("absent")),
            (Some(in_seconds), Err("past")),
            (Some(UnixMs::EARLIEST), Ok(UnixMs::EARLIEST)),
            (Some(ahead), Ok(ahead)),
            (Some(ahead + Millis::new(1)), Err("future")),
        ] {
            assert_eq!(usable(time, now), expected, "{time:?}");
        }
    }
}
