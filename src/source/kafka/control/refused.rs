//! Partitions that can't be read on where we are: Kafka has deleted the messages, or the topic.

use std::time::{Duration, Instant};

use rdkafka::TopicPartitionList;

use crate::{log_limit::LogLimit, source::kafka::config::StartOffset};

use super::{Control, LOG_WAITING, SETTLE_LIMIT, Trouble};

static LOG_LOST: LogLimit = LogLimit::new(Duration::from_secs(10));

impl Control {
    /// Goes on with partitions whose next offset the broker refused. Where the brokers can't be
    /// asked what they have, it is tried again later.
    pub(super) fn restart_refused(&mut self) {
        self.refused.retain(|partition, _| self.assigned.contains_key(partition));
        if self.refused.is_empty() || self.to_take_up.is_some() {
            return;
        }
        let refused: Vec<_> = self.refused.keys().copied().collect();
        let restarted = self.ranges(&refused).and_then(|ranges| {
            ranges
                .into_iter()
                .try_for_each(|(partition, low, high)| self.restart(partition, low, high))
        });
        if let Err(trouble) = restarted
            && LOG_WAITING.permit().is_some()
        {
            tracing::warn!(partitions = ?refused, "{}", self.explain(&trouble));
        }
    }

    /// The first offset of partitions, and the one after their last.
    fn ranges(&self, partitions: &[i32]) -> Result<Vec<(i32, i64, i64)>, Trouble> {
        let ask = |which| {
            let mut list = TopicPartitionList::new();
            for &partition in partitions {
                self.ask_for(&mut list, partition, which);
            }
            self.resolve(&list)
        };
        let (lows, highs) = (ask(StartOffset::Earliest)?, ask(StartOffset::Latest)?);
        let high_of = |partition| highs.iter().find(|(other, _)| *other == partition);
        let ranges = lows.iter().filter_map(|&(partition, low)| {
            high_of(partition).map(|&(_, high)| (partition, low, high))
        });
        Ok(ranges.collect())
    }

    /// Finds out why the broker refused a partition's offset, reads on, and counts it.
    fn restart(&mut self, partition: i32, low: i64, high: i64) -> Result<(), Trouble> {
        let next = self.progress.next_offset(partition);
        // librdkafka does not say the offset where a log was cut back.
        let position = self.refused.get(&partition).copied().filter(|&offset| offset >= 0);
        let Some(position) = position.or(next) else { return Ok(()) };
        if next.is_some_and(|next| position < next) {
            // Word from before the partition was last taken up.
            self.refused.remove(&partition);
            return Ok(());
        }
        let start = if position < low {
            low
        } else if position > high {
            // Another member of the group may have begun with the new topic already.
            let begun = match self.config.group {
                Some(_) => self.committed(&[partition])?.get(&partition).copied(),
                None => None,
            };
            begun.filter(|offset| (low..=high).contains(offset)).unwrap_or(low)
        } else {
            position
        };
        // Should it fail half-way, it begins with this again.
        self.refused.insert(partition, position);
        self.let_go(&[partition], Instant::now() + SETTLE_LIMIT);
        self.unassign(&[partition]);
        self.take_up(&[(partition, start)])?;
        self.refused.remove(&partition);
        if position < low {
            self.note_lost(partition, position, low);
        } else if position > high {
            self.note_recreated(partition);
        } else {
            tracing::warn!(
                topic = self.config.topic,
                partition,
                position,
                "Kafka's log of this partition was cut back, which loses messages for all readers: \
                 was a broker without the newest messages made its leader? Reading goes on"
            );
        }
        Ok(())
    }

    /// Counts and logs that messages are gone.
    fn note_lost(&self, partition: i32, position: i64, low: i64) {
        let topic = self.config.topic.as_str();
        let lost = (low - position).unsigned_abs();
        self.metrics.kafka_lost.with_label_values(&[topic, &partition.to_string()]).inc_by(lost);
        let Some(held_back) = LOG_LOST.permit() else { return };
        tracing::error!(
            topic,
            partition,
            position,
            lost,
            held_back,
            "messages are lost: Kafka deleted them before they were counted; reading goes on at its \
             oldest, {low}. Let the topic's retention.ms and retention.bytes be above what comes in \
             while flow-exporter is away or behind"
        );
    }

    /// Counts and logs that a partition is not the one of which we have a position.
    pub(super) fn note_recreated(&self, partition: i32) {
        let topic = self.config.topic.as_str();
        self.metrics.kafka_recreated.with_label_values(&[topic, &partition.to_string()]).inc();
        tracing::warn!(
            topic,
            partition,
            "the topic was deleted and recreated since this partition was counted: it is read from \
             its beginning, and adds to the counts there are"
        );
    }
}
