//! With a group: Kafka shares the partitions among its members.

use std::{collections::BTreeSet, sync::Arc, time::Instant};

use rdkafka::error::RDKafkaErrorCode;

use crate::source::{
    Position, Publication,
    kafka::{config::StartOffset, right::Right},
};

use super::{
    assignment::Assignment,
    client::Client,
    commits::Commits,
    starts::{InGroup, Known, Start},
    timing::SETTLE_LIMIT,
    topic::Topic,
    trouble::Trouble,
};

/// Our membership of a group.
pub(super) struct Group {
    client: Arc<Client>,
    publication: Arc<dyn Publication>,
    name: String,
    /// Where partitions begin of which neither we nor the group know an offset.
    start: StartOffset,
    commits: Commits,
    /// Whether the group has ever assigned us partitions, or told us that we get none.
    has_joined: bool,
    /// Partitions that the group assigned and that are not taken up yet.
    pending: Option<Vec<i32>>,
    /// Whether the group refuses us.
    is_denied: bool,
}

impl Group {
    /// Not a member yet.
    pub(super) fn new(
        client: Arc<Client>,
        publication: Arc<dyn Publication>,
        name: String,
        start: StartOffset,
        commits: Commits,
    ) -> Self {
        let (has_joined, pending, is_denied) = (false, None, false);
        Group { client, publication, name, start, commits, has_joined, pending, is_denied }
    }

    /// The group's name.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Whether the group has ever assigned us partitions, or told us that we get none.
    pub(super) fn has_joined(&self) -> bool {
        self.has_joined
    }

    /// Whether the group's assignment is not taken up yet. librdkafka would take any other
    /// partition that is taken up meanwhile for the answer to it.
    pub(super) fn is_pending(&self) -> bool {
        self.pending.is_some()
    }

    /// Whether the group refuses us.
    pub(super) fn is_denied(&self) -> bool {
        self.is_denied
    }

    /// The group assigned these partitions.
    pub(super) fn assign(&mut self, partitions: Vec<i32>) {
        self.has_joined = true;
        self.is_denied = false;
        self.pending = Some(partitions);
    }

    /// The group's coordinator answered with this error.
    pub(super) fn failed(&mut self, error: RDKafkaErrorCode) {
        self.is_denied |= Right::missing(error) == Some(Right::Group);
    }

    /// The group answered a commit: for each partition its offset and whether that is committed,
    /// and the error, if there is one.
    pub(super) fn answered(
        &mut self,
        answers: &[(i32, i64, bool)],
        error: Option<RDKafkaErrorCode>,
    ) {
        self.commits.answered(answers);
        match error {
            Some(error) => self.failed(error),
            None => self.is_denied = false,
        }
    }

    /// Takes up the partitions that the group assigned, if there are any to be taken up. If that
    /// fails, it is to be tried again later: the group thinks that we read them.
    pub(super) fn take_up(
        &mut self,
        topic: &mut Topic,
        assignment: &mut Assignment,
    ) -> Result<(), Trouble> {
        let Some(partitions) = self.pending.take() else { return Ok(()) };
        let taken_up = self.take_up_these(&partitions, topic, assignment);
        if taken_up.is_err() {
            self.pending = Some(partitions);
        }
        taken_up
    }

    /// Takes up partitions again that were released and exist now.
    pub(super) fn take_back(
        &mut self,
        found: &BTreeSet<i32>,
        topic: &mut Topic,
        assignment: &mut Assignment,
    ) -> Result<(), Trouble> {
        let back: Vec<i32> = assignment.released().intersection(found).copied().collect();
        if back.is_empty() || self.is_pending() {
            return Ok(());
        }
        self.take_up_these(&back, topic, assignment)
    }

    fn take_up_these(
        &mut self,
        partitions: &[i32],
        topic: &mut Topic,
        assignment: &mut Assignment,
    ) -> Result<(), Trouble> {
        let starts = self.starts(partitions, topic, assignment)?;
        assignment.take_up(&starts)?;
        self.taken_up(&starts);
        Ok(())
    }

    /// Partitions are read from these offsets on (partition, first offset).
    pub(super) fn taken_up(&mut self, starts: &[(i32, i64)]) {
        self.commits.taken_up(starts, &self.publication.published());
    }

    /// Where partitions begin.
    fn starts(
        &mut self,
        partitions: &[i32],
        topic: &mut Topic,
        assignment: &Assignment,
    ) -> Result<Vec<(i32, i64)>, Trouble> {
        if partitions.is_empty() {
            return Ok(Vec::new());
        }
        if !topic.is_known() {
            topic.look()?;
        }
        let committed = self.client.committed(partitions)?;
        let was_counted =
            committed.len() < partitions.len() && self.was_counted(topic, assignment)?;
        let known = Known {
            stored: assignment.stored(),
            first_count: topic.first_count(),
            configured: self.start,
        };
        let (mut starts, mut asked, mut recreated) = (Vec::new(), Vec::new(), Vec::new());
        for &partition in partitions {
            let group = InGroup {
                committed: committed.get(&partition).copied(),
                had_committed: self.commits.confirmed(partition).is_some(),
                was_counted,
            };
            match known.in_group(partition, group) {
                Start::At(offset) => starts.push((partition, offset)),
                Start::Ask(start) => asked.push((partition, start)),
                Start::Recreated => {
                    recreated.push(partition);
                    asked.push((partition, StartOffset::Earliest));
                }
            }
        }
        asked.retain(|&(partition, _)| topic.may_answer(partition));
        starts.extend(self.client.offsets(&asked)?);
        if starts.len() < partitions.len() {
            let name = self.client.topic();
            return Err(Trouble::Lacking(format!(
                "waiting for a leader of some of {name}'s {partitions:?}"
            )));
        }
        for partition in recreated {
            assignment.note_recreated(partition);
        }
        self.commits.group_has(&committed);
        Ok(starts)
    }

    /// Whether both we and the group have counted this topic before.
    fn was_counted(&self, topic: &Topic, assignment: &Assignment) -> Result<bool, Trouble> {
        let all: Vec<i32> = (0..topic.first_count().unwrap_or(0)).collect();
        Ok(!assignment.stored().is_empty() && !self.client.committed(&all)?.is_empty())
    }

    /// Gives partitions back to the group, once what was counted of them is published and
    /// committed, so that the member that reads them next begins just there.
    pub(super) fn give_away(&mut self, partitions: &[i32], assignment: &mut Assignment) {
        if let Some(pending) = &mut self.pending {
            pending.retain(|partition| !partitions.contains(partition));
        }
        let deadline = Instant::now() + SETTLE_LIMIT;
        let mut ends = assignment.revoke(partitions, deadline);
        let left = deadline.saturating_duration_since(Instant::now());
        let settled = self.publication.settle(left);
        if settled.is_none() {
            tracing::error!(
                ?partitions,
                "counts could not be published before these partitions went to another member of \
                 the group, which will count again what is not committed"
            );
        }
        let is_committed = settled.is_some_and(|mut positions| {
            positions.retain(|position| partitions.contains(&position.partition));
            // Workers finish a batch before they let go.
            self.commits.raise(&mut ends, &positions, assignment.assigned());
            self.commits.commit_now(&positions, assignment.assigned())
        });
        if !is_committed {
            assignment.abandon(ends, |partition| self.commits.confirmed(partition));
        }
        assignment.give_back(partitions);
    }

    /// Commits what has been published since the last time.
    pub(super) fn commit_published(&mut self, assignment: &Assignment) {
        self.commits.commit_published(&*self.publication, assignment.assigned());
    }

    /// Commits the last positions and waits for it.
    pub(super) fn commit_last(&mut self, positions: &[Position], assignment: &Assignment) {
        if !self.commits.commit_now(positions, assignment.assigned()) {
            tracing::debug!("the last positions could not be committed");
        }
    }

    /// Updates the metrics of what is not committed.
    pub(super) fn report(&self, assignment: &Assignment) {
        self.commits.report(&self.publication.published(), assignment.assigned());
    }
}
