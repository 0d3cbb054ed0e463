//! Where partitions end: asked when a sample waits to hear that nothing older is to come.
//!
//! A partition that has been read to the end that the broker names has given all messages from
//! before the question. An empty queue alone says nothing: the connection may be down, with an
//! hour of messages behind it.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use rdkafka::{Offset, TopicPartitionList, consumer::Consumer};

use crate::{clock::UnixMs, source::kafka::config::StartOffset};

use super::{ANSWER_LIMIT, Control, TICK};

/// How long samples wait for a partition of which no broker answers while others do. What comes of
/// it later is late.
pub(super) const SILENCE_LIMIT: Duration = Duration::from_secs(60);

/// What the control thread remembers about ends.
#[derive(Debug, Default)]
pub(in crate::source::kafka) struct Ends {
    /// Not asked again before this, after a failure.
    retry_at: Option<Instant>,
    /// Partitions of which no broker answers, and since when.
    silent: BTreeMap<i32, Instant>,
}

impl Control {
    /// Asks for the ends of partitions, where the next sample waits for that.
    pub(super) fn ask_for_ends(&mut self) {
        let Some(target) = self.publication.target() else { return };
        // Before the question, so that what is written after it is not taken as seen.
        let asked = UnixMs::now();
        if asked < target || self.ends.retry_at.is_some_and(|at| Instant::now() < at) {
            return;
        }
        self.ends.retry_at = None;
        let mut partitions = self.progress.unasked_since(target);
        // What we may not read is waited for, whatever its end.
        partitions.retain(|&partition| !self.faults.is_denied(partition));
        let complete = self.takes_part() && self.progress.complete_until() < Some(target);
        if partitions.is_empty() && !complete {
            return;
        }
        let heard = partitions.is_empty() || self.ask_for_ends_of(&partitions, asked);
        if heard && complete {
            self.progress.complete(asked);
        }
        if heard {
            for inbox in &self.inboxes {
                inbox.bell().ring();
            }
        } else {
            self.ends.retry_at = Some(Instant::now() + TICK);
        }
    }

    /// Says whether any broker answered.
    fn ask_for_ends_of(&mut self, partitions: &[i32], asked: UnixMs) -> bool {
        let mut list = TopicPartitionList::new();
        // Without one that has a leader, librdkafka would answer for none.
        for &partition in partitions.iter().filter(|&&each| self.topic.may_answer(each)) {
            self.ask_for(&mut list, partition, StartOffset::Latest);
        }
        let mut silent: BTreeSet<i32> = partitions.iter().copied().collect();
        if list.count() > 0 {
            let Ok(answer) = self.consumer.offsets_for_times(list, ANSWER_LIMIT) else {
                // It may not be as we think it is.
                self.faults.look_again = true;
                return false;
            };
            for element in answer.elements() {
                let partition = element.partition();
                let Some(progress) = self.progress.get(partition) else { continue };
                if let (Ok(()), Offset::Offset(offset)) = (element.error(), element.offset()) {
                    progress.ends_at(offset, asked);
                    self.ends.silent.remove(&partition);
                    silent.remove(&partition);
                }
            }
        }
        let heard = silent.len() < partitions.len();
        if !silent.is_empty() {
            self.ends.retry_at = Some(Instant::now() + TICK);
        }
        for partition in silent {
            let Some(progress) = self.progress.get(partition) else { continue };
            let since = *self.ends.silent.entry(partition).or_insert_with(Instant::now);
            if heard && since.elapsed() >= SILENCE_LIMIT {
                progress.excuse();
                tracing::warn!(
                    partition,
                    "no broker answers for this partition: samples don't wait for it any longer"
                );
            }
        }
        heard
    }
}
