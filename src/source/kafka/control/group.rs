//! With a group: Kafka shares the partitions among its members.

use std::{collections::BTreeMap, time::Instant};

use rdkafka::{Offset, TopicPartitionList, consumer::Consumer};

use crate::source::kafka::config::StartOffset;

use super::{ANSWER_LIMIT, Control, SETTLE_LIMIT, Trouble};

impl Control {
    /// Takes up the partitions that the group assigned. Where the brokers can't be asked for the
    /// offsets to begin with, it is tried again later: the group thinks that we read them.
    pub(super) fn take_up_from_group(&mut self) {
        let Some(partitions) = self.to_take_up.take() else { return };
        let taken_up = self.group_starts(&partitions).and_then(|starts| self.take_up(&starts));
        if let Err(trouble) = taken_up {
            self.trouble = Some(trouble);
            self.to_take_up = Some(partitions);
        }
    }

    /// Where partitions of the group begin: at the group's committed offset or at our own position,
    /// whichever is larger; where there is none, as configured.
    pub(super) fn group_starts(&mut self, partitions: &[i32]) -> Result<Vec<(i32, i64)>, Trouble> {
        if partitions.is_empty() {
            return Ok(Vec::new());
        }
        if !self.topic.is_known() {
            self.look_at_topic()?;
        }
        let committed = self.committed(partitions)?;
        let known = committed.len() == partitions.len();
        let came_while_away = !known && self.was_here_before()?;
        let mut starts = Vec::new();
        let mut unknown = TopicPartitionList::new();
        let mut recreated = Vec::new();
        for &partition in partitions {
            let stored = self.stored.get(&partition).copied();
            if let Some(&offset) = committed.get(&partition) {
                // What we counted of it ourselves may be more than we came to commit.
                starts.push((partition, stored.map_or(offset, |stored| stored.max(offset))));
            } else if self.commits.confirmed(partition).is_some() {
                // Kafka forgets offsets of a group with members only together with their topic.
                recreated.push(partition);
                self.ask_for(&mut unknown, partition, StartOffset::Earliest);
            } else if let Some(stored) = stored {
                starts.push((partition, stored));
            } else {
                let appeared = self.topic.first_count.is_some_and(|first| partition >= first);
                let new = appeared || came_while_away;
                let start = if new { StartOffset::Earliest } else { self.config.start };
                self.ask_for(&mut unknown, partition, start);
            }
        }
        if unknown.count() > 0 {
            starts.extend(self.resolve(&unknown)?);
        }
        if starts.len() < partitions.len() {
            let topic = &self.config.topic;
            return Err(Trouble::Lacking(format!(
                "waiting for a leader of some of {topic}'s {partitions:?}"
            )));
        }
        for partition in recreated {
            self.note_recreated(partition);
        }
        self.commits.group_has(&committed);
        Ok(starts)
    }

    /// Whether both this process and its group have counted the topic before. A partition that
    /// neither knows is new then: members commit where each begins.
    fn was_here_before(&self) -> Result<bool, Trouble> {
        let first_count = self.topic.first_count.unwrap_or(0);
        let all: Vec<i32> = (0..first_count).collect();
        Ok(!self.stored.is_empty() && !self.committed(&all)?.is_empty())
    }

    /// What the group has committed of these partitions; those without an offset are left out.
    pub(super) fn committed(&self, partitions: &[i32]) -> Result<BTreeMap<i32, i64>, Trouble> {
        let topic = &self.config.topic;
        let mut list = TopicPartitionList::new();
        for &partition in partitions {
            list.add_partition(topic, partition);
        }
        let answer = self
            .consumer
            .committed_offsets(list, ANSWER_LIMIT)
            .map_err(|error| self.unanswered(error))?;
        let mut committed = BTreeMap::new();
        for element in answer.elements() {
            element.error().map_err(|error| self.unanswered(error))?;
            if let Offset::Offset(offset) = element.offset() {
                committed.insert(element.partition(), offset);
            }
        }
        Ok(committed)
    }

    /// Gives partitions back to the group, once what was counted of them is published and
    /// committed, so that whoever reads them next begins just there.
    pub(super) fn give_away(&mut self, partitions: &[i32]) {
        if let Some(pending) = &mut self.to_take_up {
            pending.retain(|partition| !partitions.contains(partition));
        }
        let deadline = Instant::now() + SETTLE_LIMIT;
        let ends: BTreeMap<i32, i64> =
            partitions.iter().filter_map(|&p| Some((p, self.progress.next_offset(p)?))).collect();
        self.let_go(partitions, deadline);
        // Where they come back to us before anybody else commits, we go on where we were.
        self.stored.retain(|partition, _| !partitions.contains(partition));
        let left = deadline.saturating_duration_since(Instant::now());
        if let Some(mut positions) = self.publication.settle(left) {
            positions.retain(|position| partitions.contains(&position.partition));
            if !self.commit_now(positions) {
                self.note_abandoned(&ends);
            }
        } else {
            self.note_abandoned(&ends);
            tracing::error!(
                ?partitions,
                "counts could not be published before these partitions went to another member of \
                 the group, which will count again what is not committed"
            );
        }
        // What was released is not with librdkafka any more; if that is all, it is an answer as well.
        let mut with_librdkafka = partitions.to_vec();
        with_librdkafka.retain(|partition| !self.released.contains(partition));
        for partition in partitions {
            self.assigned.remove(partition);
            self.refused.remove(partition);
            self.released.remove(partition);
            self.forget_metrics_of(*partition);
        }
        self.faults.forget(&partitions.iter().copied().collect());
        self.metrics.kafka_partitions.set(self.assigned.len() as i64);
        self.unassign(&with_librdkafka);
    }

    /// Counts what another member will count again, and remembers these positions as our own.
    fn note_abandoned(&mut self, ends: &BTreeMap<i32, i64>) {
        for (&partition, &end) in ends {
            let start = self.assigned.get(&partition).copied().unwrap_or(end);
            let left = end - self.commits.confirmed(partition).unwrap_or(start);
            let labels = [self.config.topic.as_str(), &partition.to_string()];
            let metric = self.metrics.kafka_abandoned.with_label_values(&labels);
            metric.inc_by(left.max(0).unsigned_abs());
        }
        self.stored.extend(ends);
    }
}
