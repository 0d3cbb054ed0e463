//! Commits to the group how far partitions are counted and published.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use crate::{
    metrics::Metrics,
    source::{Position, Publication},
};

use super::{
    client::Client,
    timing::{HOUSEKEEPING, POLL},
};

/// How long a commit is waited for, and is tried again while the group rebalances.
const COMMIT_LIMIT: Duration = Duration::from_secs(10);

/// How long a publication may take after which all positions are those of newly taken partitions.
/// Events wait meanwhile.
const FALL_LIMIT: Duration = Duration::from_secs(1);

/// Commits offsets to the group.
pub(super) struct Commits {
    client: Arc<Client>,
    metrics: Arc<Metrics>,
    offsets: GroupOffsets,
    /// After a refusal, commits wait until then.
    pause: Option<Instant>,
}

/// What the group has been told about partitions.
#[derive(Debug, Default)]
struct GroupOffsets {
    /// What the group has, as far as we know.
    confirmed: BTreeMap<i32, i64>,
    /// What it was last asked to take, until it answers.
    asked: BTreeMap<i32, i64>,
    /// Partitions that begin below their published position, which is that of a topic before this
    /// one, until the next publication tells their true one.
    falling: BTreeSet<i32>,
}

impl Commits {
    /// The group has been told nothing yet.
    pub(super) fn new(client: Arc<Client>, metrics: Arc<Metrics>) -> Self {
        Commits { client, metrics, offsets: GroupOffsets::default(), pause: None }
    }

    /// What the group has of a partition, as far as we know.
    pub(super) fn confirmed(&self, partition: i32) -> Option<i64> {
        self.offsets.confirmed.get(&partition).copied()
    }

    /// The group says what it has.
    pub(super) fn group_has(&mut self, committed: &BTreeMap<i32, i64>) {
        self.offsets.confirmed.extend(committed);
    }

    /// Raises `ends` to these positions, as far as they belong to the current assignment.
    pub(super) fn raise(
        &self,
        ends: &mut BTreeMap<i32, i64>,
        positions: &[Position],
        assigned: &BTreeMap<i32, i64>,
    ) {
        for &position in positions.iter().filter(|p| self.offsets.is_current(**p, assigned)) {
            let end = ends.entry(position.partition).or_insert(position.next_offset);
            *end = position.next_offset.max(*end);
        }
    }

    /// Partitions are read from these offsets on (partition, first offset).
    pub(super) fn taken_up(&mut self, starts: &[(i32, i64)], published: &[Position]) {
        self.offsets.taken_up(starts, published);
    }

    /// The group has answered: partition, offset, whether it has it now. No partition at all is an
    /// error that concerns all of them.
    pub(super) fn answered(&mut self, answers: &[(i32, i64, bool)]) {
        if !self.offsets.answered(answers) {
            self.pause = Some(Instant::now() + HOUSEKEEPING);
        }
    }

    /// Commits what has been published since the last time, without waiting for the answer.
    pub(super) fn commit_published(
        &mut self,
        publication: &dyn Publication,
        assigned: &BTreeMap<i32, i64>,
    ) {
        if self.pause.is_some_and(|until| Instant::now() < until) {
            return;
        }
        self.pause = None;
        if !self.offsets.falling.is_empty() {
            // A worker may be about to hand over without having looked into its inbox: by the
            // second time it has.
            if (0..2).any(|_| publication.settle(FALL_LIMIT).is_none()) {
                self.pause = Some(Instant::now() + HOUSEKEEPING);
                return;
            }
            self.offsets.falling.clear();
        }
        let mut moved = self.offsets.to_commit(&publication.published(), assigned);
        moved.retain(|(partition, _)| !self.offsets.asked.contains_key(partition));
        if moved.is_empty() {
            return;
        }
        match self.client.commit(&moved) {
            Ok(()) => self.offsets.asked.extend(moved),
            Err(error) => self.not_committed(&moved, error),
        }
    }

    /// Commits these positions and waits for it. Returns whether the group has them.
    #[must_use]
    pub(super) fn commit_now(
        &mut self,
        positions: &[Position],
        assigned: &BTreeMap<i32, i64>,
    ) -> bool {
        let moved = self.offsets.to_commit(positions, assigned);
        if moved.is_empty() {
            return true;
        }
        let deadline = Instant::now() + COMMIT_LIMIT;
        loop {
            match self.client.commit_by(deadline, &moved) {
                Ok(()) => {
                    self.offsets.confirmed.extend(moved);
                    return true;
                }
                // The group is between two generations: what we have is still ours to commit once
                // the next one stands.
                Err(KafkaError::ConsumerCommit(RDKafkaErrorCode::RebalanceInProgress))
                    if Instant::now() < deadline =>
                {
                    thread::sleep(POLL);
                    drop(self.client.consumer.poll(Duration::ZERO));
                }
                Err(error) => {
                    let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail);
                    self.not_committed(&moved, code);
                    return false;
                }
            }
        }
    }

    fn not_committed(&mut self, moved: &[(i32, i64)], error: RDKafkaErrorCode) {
        self.pause = Some(Instant::now() + HOUSEKEEPING);
        self.client.context().report(
            Some(error),
            &format!(
                "committing offsets {moved:?} (partition, offset): {error}; the next reader of \
                 these partitions counts again what is not committed"
            ),
        );
    }

    /// Shows what would be counted again if this process ended here and now.
    pub(super) fn report(&self, published: &[Position], assigned: &BTreeMap<i32, i64>) {
        for (partition, messages) in self.offsets.uncommitted(published, assigned) {
            let labels = [self.client.topic(), &partition.to_string()];
            self.metrics.kafka_uncommitted.with_label_values(&labels).set(messages);
        }
    }
}

impl GroupOffsets {
    fn taken_up(&mut self, starts: &[(i32, i64)], published: &[Position]) {
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

    /// Returns whether the group took all of it.
    fn answered(&mut self, answers: &[(i32, i64, bool)]) -> bool {
        if answers.is_empty() {
            self.asked.clear();
        }
        for &(partition, offset, is_committed) in answers {
            // Another answer may be on its way.
            if self.asked.get(&partition) == Some(&offset) {
                self.asked.remove(&partition);
            }
            if is_committed {
                self.confirmed.insert(partition, offset);
            }
        }
        !answers.is_empty() && answers.iter().all(|&(_, _, is_committed)| is_committed)
    }

    /// Whether a position belongs to the current assignment of its partition. One below the offset
    /// where that began is from an earlier one.
    fn is_current(&self, position: Position, assigned: &BTreeMap<i32, i64>) -> bool {
        let Position { partition, next_offset } = position;
        assigned.get(&partition).is_some_and(|&start| next_offset >= start)
            && !self.falling.contains(&partition)
    }

    /// Current positions that the group does not have.
    fn to_commit(&self, positions: &[Position], assigned: &BTreeMap<i32, i64>) -> Vec<(i32, i64)> {
        let is_news = |p: &&Position| {
            self.is_current(**p, assigned)
                && self.confirmed.get(&p.partition) != Some(&p.next_offset)
        };
        positions.iter().filter(is_news).map(|p| (p.partition, p.next_offset)).collect()
    }

    /// How many messages of assigned partitions are published and not committed.
    fn uncommitted(
        &self,
        published: &[Position],
        assigned: &BTreeMap<i32, i64>,
    ) -> Vec<(i32, i64)> {
        let of_one = |&Position { partition, next_offset }: &Position| {
            let &start = assigned.get(&partition)?;
            let has = self.confirmed.get(&partition).copied().unwrap_or(start);
            let is_falling = self.falling.contains(&partition);
            Some((partition, if is_falling { 0 } else { (next_offset - has).max(0) }))
        };
        published.iter().filter_map(of_one).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::btree_map::Entry;

    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn at(partition: i32, next_offset: i64) -> Position {
        Position { partition, next_offset }
    }

    #[test]
    fn what_is_published_is_committed_once_and_nothing_from_an_earlier_assignment() {
        let mut offsets = GroupOffsets::default();
        let assigned = BTreeMap::from([(0, 5), (1, 5)]);
        let published = [at(0, 7), at(1, 4), at(2, 9)];
        offsets.taken_up(&[(0, 5), (1, 5)], &[]);
        assert_eq!(offsets.to_commit(&published, &assigned), [(0, 7)]);
        assert_eq!(offsets.uncommitted(&published, &assigned), [(0, 2), (1, 0)]);
        assert!(offsets.answered(&[(0, 7, true)]));
        assert!(offsets.to_commit(&published, &assigned).is_empty());
        assert_eq!(offsets.uncommitted(&published, &assigned), [(0, 0), (1, 0)]);
        assert!(!offsets.answered(&[(0, 8, false)]), "a pause before the next try");
        assert!(!offsets.answered(&[]), "an error that concerns all");
    }

    #[test]
    fn a_recreated_partition_commits_nothing_until_its_own_position_is_published() {
        let mut offsets = GroupOffsets::default();
        offsets.taken_up(&[(0, 0)], &[]);
        assert!(offsets.answered(&[(0, 100, true)]));
        // It begins again below what is published.
        offsets.taken_up(&[(0, 0)], &[at(0, 100)]);
        let assigned = BTreeMap::from([(0, 0)]);
        assert!(offsets.to_commit(&[at(0, 100)], &assigned).is_empty());
        assert_eq!(offsets.uncommitted(&[at(0, 100)], &assigned), [(0, 0)]);
        offsets.falling.clear();
        assert_eq!(offsets.to_commit(&[at(0, 3)], &assigned), [(0, 3)]);
        assert_eq!(offsets.uncommitted(&[at(0, 3)], &assigned), [(0, 3)]);
    }

    /// What happens to one of three partitions.
    #[derive(Debug, Clone, Copy)]
    enum Step {
        Publish(i32, i64),
        Commit,
        Answer { takes: bool },
        Lose(i32),
        Gain(i32),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0..3, 1..50_i64).prop_map(|(partition, more)| Step::Publish(partition, more)),
            Just(Step::Commit),
            any::<bool>().prop_map(|takes| Step::Answer { takes }),
            (0..3).prop_map(Step::Lose),
            (0..3).prop_map(Step::Gain),
        ]
    }

    proptest! {
        /// Whatever is refused or lost on the way, the group never has an offset that is not
        /// published, and has all of it once it answers.
        #[test]
        fn the_group_has_what_is_published_once_it_takes_commits(steps in vec(step(), 0..200)) {
            let mut offsets = GroupOffsets::default();
            let (mut group, mut published) = (BTreeMap::new(), BTreeMap::new());
            let mut assigned: BTreeMap<i32, i64> = BTreeMap::new();
            let positions = |published: &BTreeMap<i32, i64>| -> Vec<Position> {
                published.iter().map(|(&partition, &offset)| at(partition, offset)).collect()
            };
            // In the end everything is read, published, asked for and taken.
            let end = [Step::Gain(0), Step::Gain(1), Step::Gain(2)].into_iter()
                .chain((0..3).map(|partition| Step::Publish(partition, 1)))
                .chain([Step::Answer { takes: false }, Step::Commit, Step::Answer { takes: true }]);
            for step in steps.into_iter().chain(end) {
                match step {
                    Step::Publish(partition, more) if assigned.contains_key(&partition) => {
                        *published.entry(partition).or_insert(assigned[&partition]) += more;
                    }
                    Step::Publish(..) => {}
                    Step::Commit => {
                        let mut moved = offsets.to_commit(&positions(&published), &assigned);
                        moved.retain(|(partition, _)| !offsets.asked.contains_key(partition));
                        offsets.asked.extend(moved);
                    }
                    Step::Answer { takes } => {
                        let asked: Vec<_> = offsets.asked.iter()
                            .map(|(&partition, &offset)| (partition, offset, takes)).collect();
                        if takes {
                            group.extend(offsets.asked.clone());
                        }
                        prop_assert_eq!(offsets.answered(&asked), takes && !asked.is_empty());
                    }
                    Step::Lose(partition) => _ = assigned.remove(&partition),
                    Step::Gain(partition) => {
                        if let Entry::Vacant(entry) = assigned.entry(partition) {
                            // We continue where we were, or where the group is.
                            let ours = published.get(&partition).copied().unwrap_or(0);
                            let start = group.get(&partition).copied().unwrap_or(0).max(ours);
                            entry.insert(start);
                            offsets.taken_up(&[(partition, start)], &positions(&published));
                        }
                    }
                }
                prop_assert!(offsets.falling.is_empty());
                for (partition, offset) in &group {
                    prop_assert!(published[partition] >= *offset);
                }
            }
            prop_assert_eq!(&group, &published);
            prop_assert!(
                offsets.uncommitted(&positions(&published), &assigned).iter().all(|&(_, n)| n == 0)
            );
        }
    }
}
