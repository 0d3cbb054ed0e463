//! Asks brokers where partitions end, while a tick waits for their watermarks.
//!
//! A partition that has been read up to that end has no message left from before the question. An
//! empty queue alone proves nothing: the connection may be down, with an hour of messages waiting
//! behind it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Instant,
};

use crate::{clock::UnixMs, source::kafka::progress::TopicProgress};

use super::{
    client::Client,
    timing::{HOUSEKEEPING, SILENCE_LIMIT},
    topic::Topic,
};

/// Asks for ends.
pub(super) struct Ends {
    client: Arc<Client>,
    progress: Arc<TopicProgress>,
    /// After a failure, no broker is asked before this.
    retry_at: Option<Instant>,
    /// Partitions for which no broker answers, and since when.
    silent: BTreeMap<i32, Instant>,
}

/// What came of asking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    /// There was nothing to ask for.
    Nothing,
    /// Workers may have a later watermark now.
    Answered,
    /// No broker answered for any partition.
    Unanswered,
    /// The question failed: brokers or partitions may not be what we take them for.
    Failed,
}

impl Ends {
    /// No broker has been asked yet.
    pub(super) fn new(client: Arc<Client>, progress: Arc<TopicProgress>) -> Self {
        Ends { client, progress, retry_at: None, silent: BTreeMap::new() }
    }

    /// Asks for the ends of partitions, if the next sample waits for that to reach `target`. What we
    /// may not read is waited for, whatever its end. `takes_part`: all partitions that are ours to
    /// read are with the workers.
    pub(super) fn ask(
        &mut self,
        target: UnixMs,
        topic: &Topic,
        is_denied: impl Fn(i32) -> bool,
        takes_part: bool,
    ) -> Asked {
        // Before the question, so that what is written after it is not taken as seen.
        let now = UnixMs::now();
        if now < target || self.retry_at.is_some_and(|at| Instant::now() < at) {
            return Asked::Nothing;
        }
        self.retry_at = None;
        let mut partitions = self.progress.unasked_since(target);
        partitions.retain(|&partition| !is_denied(partition));
        let is_complete = takes_part && self.progress.complete_until() < Some(target);
        if partitions.is_empty() && !is_complete {
            return Asked::Nothing;
        }
        let asked = if partitions.is_empty() {
            Asked::Answered
        } else {
            self.ask_for(&partitions, now, topic)
        };
        if asked != Asked::Answered {
            self.retry_at = Some(Instant::now() + HOUSEKEEPING);
        } else if is_complete {
            self.progress.complete(now);
        }
        asked
    }

    fn ask_for(&mut self, partitions: &[i32], now: UnixMs, topic: &Topic) -> Asked {
        // With one that has no leader, librdkafka would answer for none.
        let mut answering = partitions.to_vec();
        answering.retain(|&partition| topic.may_answer(partition));
        let mut silent: BTreeSet<i32> = partitions.iter().copied().collect();
        if !answering.is_empty() {
            let Ok(ends) = self.client.ends(&answering) else { return Asked::Failed };
            for (partition, end) in ends {
                let Some(progress) = self.progress.get(partition) else { continue };
                progress.ends_at(end, now);
                self.silent.remove(&partition);
                silent.remove(&partition);
            }
        }
        let is_heard = silent.len() < partitions.len();
        if !silent.is_empty() {
            self.retry_at = Some(Instant::now() + HOUSEKEEPING);
        }
        for partition in silent {
            let Some(progress) = self.progress.get(partition) else { continue };
            let since = *self.silent.entry(partition).or_insert_with(Instant::now);
            if is_heard && since.elapsed() >= SILENCE_LIMIT {
                progress.excuse();
                tracing::warn!(
                    partition,
                    "no broker answers for this partition: samples don't wait for it any longer"
                );
            }
        }
        if is_heard { Asked::Answered } else { Asked::Unanswered }
    }
}
