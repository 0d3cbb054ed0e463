//! The ledger's side of the journal: turns the changes between two snapshots into a delta, and
//! provides the state for checkpoints.

use std::{collections::BTreeSet, path::Path, sync::Arc};

use crate::{
    asn::AsNames,
    clock::UnixMs,
    journal::{
        self, CheckpointHead, Delta, Journal, JournalConfig, Log, MEMORY_LIMIT_BYTES,
        MemoryJournal, State,
    },
    schema::{Measure, Schema, View},
    traffic::Rule,
};

use super::{
    early::{self, EarlyCounts},
    error::StoreError,
    identity::{self, Identity},
    restore::{Restored, restore},
    series_table::SeriesTable,
    snapshot::{Series, Snapshot},
    waiting::{self, WaitingIn},
};

/// After a delta with more changes than this, its memory is given back: such a delta is the first
/// one of many series, and those that follow are smaller.
const KEPT_CHANGES: usize = 1 << 17;

/// Keeps the ledger's snapshots as a log of deltas, for recovery and for push.
#[derive(Debug)]
pub struct Store {
    backend: Backend,
    /// When it was begun: the time of the state before the first delta.
    begun: UnixMs,
    identity: Identity,
    /// The id of the cluster that positions are of, if it is known.
    cluster: Option<String>,
    /// The identity that the journal holds, if it is another one now because flows are classified by
    /// another rule or views count others: it stays there until the series that were counted under it
    /// have ended.
    held: Option<Vec<u8>>,
    /// What was recovered and is yet to be loaded.
    recovered: Option<State>,
    /// See [`Store::waiting`].
    waiting: Vec<u8>,
    /// The state after the newest durable delta.
    durable: Option<Arc<Snapshot>>,
    /// What was counted ahead, as it is in the newest durable delta.
    early_counts: Vec<u8>,
    /// Measures of the series in it beyond one for each.
    extra_measures: u64,
    delta: Delta,
}

/// What a journal holds from which counting can go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Examined {
    /// How many series it has counts of.
    pub series: usize,
    /// How their flows were classified: the whole text of a [`Rule`](crate::traffic::Rule).
    pub rule: String,
    /// The id of the cluster that its positions are of, if it is recorded.
    pub cluster: Option<String>,
}

/// What keeps the deltas.
#[derive(Debug)]
enum Backend {
    Disk(Box<Journal>),
    /// For push only: nothing is recovered from it.
    Memory(MemoryJournal),
}

impl Store {
    /// Opens the journal in `directory`, which is made if it does not exist, for these counts. `now` is
    /// the clock.
    pub fn open(
        directory: &Path,
        identity: &Identity,
        config: JournalConfig,
        now: UnixMs,
    ) -> Result<Self, StoreError> {
        let (journal, recovered) = Journal::open(directory, config)?;
        let state = recovered.state.as_ref();
        let held = state.map(|state| held(state, identity)).transpose()?;
        let cluster = held.as_ref().and_then(|held| held.cluster).map(str::to_owned);
        let is_same_rule = held.is_none_or(|held| held.rule == format!("{:#}", identity.rule));
        if !is_same_rule {
            tracing::warn!(
                "--asn has changed since the last run, or what else says which ends are local: all series \
                 end, and new ones start from zero; reading continues where it stopped"
            );
        }
        if recovered.torn_bytes > 0 {
            tracing::warn!(
                bytes = recovered.torn_bytes,
                "the end of the journal was truncated: its write was interrupted, and its counts \
                 were never published"
            );
        }
        if recovered.broken_interims > 0 {
            tracing::warn!(
                files = recovered.broken_interims,
                since = ?recovered.state.as_ref().map(|state| (now - state.time).to_duration()),
                "counts between two samples (interim.0, interim.1 in the journal) are broken: their write \
                 was interrupted, or they were damaged. Counting continues from the newest that are \
                 whole, so totals may be lower than they were; what exporters sent since then counts as \
                 missing, and Kafka's messages are read again"
            );
        }
        if let Some(sequence) = recovered.lost_interim {
            tracing::warn!(
                up_to = sequence,
                newest = recovered.state.as_ref().map_or(0, |state| state.sequence),
                "counts between two samples (interim.0, interim.1 in the journal) are lost: the log ends \
                 elsewhere than when they were written, since it was damaged, or is another one. Counting \
                 continues from the log's newest delta, so totals are lower than they were; what exporters \
                 sent since then counts as missing, and Kafka's messages are read again"
            );
        }
        if recovered.waiting_is_broken {
            tracing::warn!(
                "waiting.0 or waiting.1 in the journal is broken: flows whose template had not come \
                 when the program ended are not counted, if there were any"
            );
        }
        Ok(Store {
            backend: Backend::Disk(Box::new(journal)),
            begun: now,
            held: None,
            identity: identity.clone(),
            cluster,
            recovered: recovered.state,
            waiting: recovered.waiting,
            durable: None,
            early_counts: Vec::new(),
            extra_measures: 0,
            delta: Delta::default(),
        })
    }

    /// Whether [`Store::open`] would take what `directory` holds, and what that is; `None` if it holds
    /// nothing yet. Changes nothing; the directory may be in use.
    pub fn examine(directory: &Path, identity: &Identity) -> Result<Option<Examined>, StoreError> {
        let report = journal::verify(directory)?;
        if let Some(broken) = report.in_the_way().next() {
            return Err(journal::Error::from(broken.clone()).into());
        }
        report.state.map_or(Ok(None), |state| {
            let held = held(&state, identity)?;
            Ok(Some(Examined {
                series: state.len(),
                rule: held.rule.to_owned(),
                cluster: held.cluster.map(str::to_owned),
            }))
        })
    }

    /// A store in memory for push only, of no more than `max_bytes` and [`MEMORY_LIMIT_BYTES`].
    pub fn in_memory(identity: &Identity, schema: &Schema, now: UnixMs, max_bytes: u64) -> Self {
        let max_bytes = usize::try_from(max_bytes).unwrap_or(usize::MAX).min(MEMORY_LIMIT_BYTES);
        Store {
            backend: Backend::Memory(MemoryJournal::new(schema.counts(), now, max_bytes)),
            begun: now,
            identity: identity.clone(),
            cluster: None,
            held: None,
            recovered: None,
            waiting: Vec::new(),
            durable: None,
            early_counts: Vec::new(),
            extra_measures: 0,
            delta: Delta::default(),
        }
    }

    /// Whether it outlives the process.
    pub(super) fn is_durable(&self) -> bool {
        matches!(self.backend, Backend::Disk(_))
    }

    /// The log of deltas, for push.
    pub fn log(&self) -> Log {
        match &self.backend {
            Backend::Disk(journal) => journal.log(),
            Backend::Memory(memory) => memory.log(),
        }
    }

    /// How far each partition is counted in what was recovered.
    pub fn positions(&self) -> impl Iterator<Item = (i32, i64)> {
        let positions = self.recovered.iter().flat_map(|state| &state.positions);
        positions.map(|(&(_, partition), &next_offset)| (partition, next_offset))
    }

    /// Which datagrams come next, as a worker said when it handed over what was recovered.
    pub fn places(&self) -> &[u8] {
        let recorded = self.recovered.as_ref();
        let split = recorded.and_then(|state| early::split_places(&state.early_counts));
        split.map(|(places, _)| places).unwrap_or_default()
    }

    /// What workers of a kind had taken and not counted yet when they handed over what was recovered.
    pub fn waiting(&self, kind: WaitingIn) -> Vec<u8> {
        waiting::of(&self.waiting, kind)
    }

    pub(super) fn recorded_waiting(&self) -> &[u8] {
        &self.waiting
    }

    /// The id of the cluster whose positions were recovered, if it was recorded.
    pub fn cluster(&self) -> Option<&str> {
        self.cluster.as_deref()
    }

    /// Records the cluster that positions are of from now on. The journal has it with the next delta.
    pub(super) fn note_cluster(&mut self, id: String) {
        if self.cluster.as_ref() != Some(&id) {
            self.cluster = Some(id);
            if let Backend::Disk(journal) = &mut self.backend {
                journal.begin_segment();
            }
        }
    }

    /// Bytes that the journal takes on disk; 0 where it is in memory.
    pub(super) fn bytes(&self) -> u64 {
        match &self.backend {
            Backend::Disk(journal) => journal.bytes(),
            Backend::Memory(_) => 0,
        }
    }

    /// The series table as it was at the newest durable snapshot, if there is one, what was counted
    /// early, and the slots of series that can't continue.
    ///
    /// Series keep the names under which they were counted, where `names` has others, until the
    /// series table is told of names again.
    pub(super) fn load(
        &mut self,
        schema: &Arc<Schema>,
        names: &AsNames,
    ) -> Result<Option<Restored>, StoreError> {
        let Some(state) = self.recovered.take() else { return Ok(None) };
        let recorded = identity::Recorded::read(&state.identity);
        let rule = format!("{:#}", self.identity.rule);
        let of_same_rule = recorded.filter(|recorded| recorded.rule == rule);
        let goes_on =
            |view: &View| of_same_rule.as_ref().is_some_and(|recorded| recorded.has_flows_of(view));
        let restored = restore(&state, schema, goes_on, names)?;
        let retired = &restored.table.schema().views()[schema.views().len()..];
        let retired: BTreeSet<_> = retired.iter().map(View::name).collect();
        if of_same_rule.is_some() && !retired.is_empty() {
            let names = Vec::from_iter(retired).join(", ");
            tracing::info!(
                "views have changed since the last run: the series end that were counted as {names}; \
                 other views and all positions continue"
            );
        }
        if *state.identity != *self.identity.text(self.cluster.as_deref(), schema).as_bytes() {
            self.held = Some(state.identity.clone());
        }
        if state.width() != restored.table.schema().counts()
            && let Backend::Disk(journal) = &mut self.backend
        {
            journal.begin_segment();
        }
        self.early_counts = state.early_counts;
        let snapshot = restored.table.snapshot();
        self.extra_measures = snapshot.series().map(|of| extra_measures(&snapshot, &of)).sum();
        self.durable = Some(Arc::new(snapshot));
        Ok(Some(restored))
    }

    /// Takes up other views, those of `schema`, which is the series table's, in the place of `before`;
    /// and another rule, if one is given. The journal has the identity from before until series are
    /// [retired](Self::retire).
    pub(super) fn migrate(&mut self, before: &Schema, schema: &Schema, rule: Option<Rule>) {
        let cluster = self.cluster.as_deref();
        let held = self.identity.text(cluster, before);
        if let Some(rule) = rule {
            self.identity.rule = rule;
        }
        if self.held.is_none() && held != self.identity.text(cluster, schema) {
            self.held = Some(held.into_bytes());
        }
        if before.counts() != schema.counts() {
            match &mut self.backend {
                Backend::Disk(journal) => journal.begin_segment(),
                Backend::Memory(memory) => memory.set_width(schema.counts()),
            }
        }
    }

    /// Records that the series which can't continue end with the next snapshot. From then on, the
    /// journal has the identity of what is counted now.
    pub(super) fn retire(&mut self) {
        if self.held.take().is_some()
            && let Backend::Disk(journal) = &mut self.backend
        {
            journal.begin_segment();
        }
    }

    /// The state after the newest durable delta.
    pub(super) fn durable(&self) -> Option<&Arc<Snapshot>> {
        self.durable.as_ref()
    }

    /// Makes durable what workers have taken and not counted yet, for the snapshot that is to be appended
    /// next. Returns the bytes that were written.
    ///
    /// # Errors
    /// As those of [`Store::append`].
    pub(super) fn keep_waiting(
        &mut self,
        snapshot: &Snapshot,
        waiting: &[u8],
    ) -> Result<u64, journal::Error> {
        match &mut self.backend {
            Backend::Disk(journal) => journal.keep_waiting(snapshot.sequence, waiting),
            Backend::Memory(_) => Ok(0),
        }
    }

    /// Makes a snapshot durable, which is one of `series table`: all that has changed there since the last one
    /// that was made so.
    ///
    /// # Errors
    /// Nothing has happened, and this or a later snapshot can be tried: where the disk refuses, or
    /// the journal's directory has gone, it may take it then. [`journal::Error::Unfit`] is a mistake
    /// of ours, and will come again.
    pub(super) fn append(
        &mut self,
        snapshot: &Arc<Snapshot>,
        table: &SeriesTable,
        early: &EarlyCounts,
        places: &[u8],
        kind: Kind,
        now: UnixMs,
    ) -> Result<Kept, journal::Error> {
        let Store { backend, begun, identity, cluster, held, durable, early_counts, delta, .. } =
            self;
        let mut extra = self.extra_measures;
        let width = table.schema().counts();
        if delta.width() == width {
            delta.clear();
        } else {
            *delta = Delta::new(width);
        }
        if matches!(backend, Backend::Disk(_)) {
            early::write(early, places, &mut delta.early_counts);
        }
        if delta.early_counts == *early_counts {
            delta.early_counts.clear();
        }
        delta.sequence = snapshot.sequence;
        delta.time = recorded(snapshot);
        delta.is_tick = matches!(kind, Kind::Tick(_));
        let before = durable.as_deref();
        for position in snapshot.positions() {
            let known = before.and_then(|before| before.positions.get(&position.partition));
            if known != Some(&position.next_offset) {
                delta.positions.push(at(&identity.topic, position.partition, position.next_offset));
            }
        }
        let mut definition = Vec::new();
        for &id in table.touched() {
            let slot = id as usize;
            let old = before.and_then(|before| before.get(slot));
            let new = snapshot.get(slot);
            let same_start =
                matches!((&old, &new), (Some(old), Some(new)) if old.start == new.start);
            let goes_on = same_start && !table.has_ended(id);
            if let (Some(before), Some(old)) = (before, &old)
                && !goes_on
            {
                delta.end(id);
                extra -= extra_measures(before, old);
            }
            let Some(new) = new else { continue };
            let mut increments = [0; Measure::ALL.len()];
            let increments = &mut increments[..width];
            increments.copy_from_slice(new.counts);
            if let Some(old) = old.filter(|_| goes_on) {
                for (increment, counted) in increments.iter_mut().zip(old.counts) {
                    *increment = increment.saturating_sub(*counted);
                }
            } else {
                definition.clear();
                new.define(&mut definition);
                extra += extra_measures(snapshot, &new);
                delta.start(id, new.start, &definition);
            }
            if increments.iter().any(|&increment| increment > 0) {
                delta.add(id, increments);
            }
        }
        delta.extra_samples = extra;
        if kind == Kind::Interim
            && let Backend::Disk(journal) = backend
            && let Some(bytes) = journal.keep_interim(delta, now)?
        {
            return Ok(Kept { bytes, is_appended: false });
        }
        let appended = match backend {
            Backend::Disk(journal) => {
                let source = Checkpoint {
                    snapshot: before,
                    begun: *begun,
                    identity,
                    cluster: cluster.as_deref(),
                    schema: table.schema(),
                    held: held.as_deref(),
                    early_counts,
                };
                let appended = journal.append(delta, &source, now);
                appended.map(|appended| {
                    for change in appended.external_changes {
                        tracing::error!("{change}");
                    }
                    appended.bytes + appended.checkpoint_bytes
                })
            }
            Backend::Memory(memory) => memory.append(delta).map(|()| 0),
        };
        let changed = std::mem::take(&mut delta.early_counts);
        if table.touched().len() > KEPT_CHANGES {
            *delta = Delta::new(width);
        }
        match appended {
            Ok(bytes) => {
                *durable = Some(Arc::clone(snapshot));
                self.extra_measures = extra;
                if !changed.is_empty() {
                    *early_counts = changed;
                }
                Ok(Kept { bytes, is_appended: true })
            }
            Err(error) => Err(error),
        }
    }
}

/// How a snapshot is made durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Appended to the log as the tick at this time.
    Tick(UnixMs),
    /// Appended to the log.
    Between,
    /// Kept beside the log until the next one is, unless it has to be appended.
    Interim,
}

/// How a snapshot was made durable.
#[derive(Debug)]
pub(super) struct Kept {
    /// The bytes that were written.
    pub(super) bytes: u64,
    /// Whether the log has it. If not, the next snapshot must have all that changed since the last one
    /// that the log has.
    pub(super) is_appended: bool,
}

/// How many measures a series has beyond the first.
fn extra_measures(snapshot: &Snapshot, series: &Series<'_>) -> u64 {
    snapshot.schema().view(series.head).measures().len() as u64 - 1
}

/// What a journal holds, if it is of the topic that is asked for.
fn held<'s>(state: &'s State, asked: &Identity) -> Result<identity::Recorded<'s>, StoreError> {
    match identity::Recorded::read(&state.identity) {
        Some(held) if *held.topic == *asked.topic => Ok(held),
        held => Err(StoreError::Origin {
            held: held.map_or_else(
                || String::from_utf8_lossy(&state.identity).into_owned(),
                |held| identity::in_words(held.topic),
            ),
            asked: identity::in_words(&asked.topic),
        }),
    }
}

/// A snapshot's time as the journal has it: the epoch before the time of the first data is known.
fn recorded(snapshot: &Snapshot) -> UnixMs {
    snapshot.time.unwrap_or(UnixMs::EPOCH)
}

fn at(topic: &Arc<str>, partition: i32, next_offset: i64) -> journal::Position {
    journal::Position { topic: Arc::clone(topic), partition, next_offset }
}

/// A snapshot as the journal asks for it.
struct Checkpoint<'s> {
    /// `None` before the first delta.
    snapshot: Option<&'s Snapshot>,
    begun: UnixMs,
    identity: &'s Identity,
    cluster: Option<&'s str>,
    /// What is counted now; the snapshot may be from before.
    schema: &'s Schema,
    /// See [`Store::held`].
    held: Option<&'s [u8]>,
    early_counts: &'s [u8],
}

impl journal::CheckpointSource for Checkpoint<'_> {
    fn head(&self, visit: &mut dyn FnMut(CheckpointHead<'_>)) {
        let Checkpoint { snapshot, begun, identity, cluster, schema, held, early_counts } = *self;
        // Made only here: rules and filters may be long, and most deltas need no checkpoint.
        let text;
        let identity_held = if let Some(held) = held {
            held
        } else {
            text = identity.text(cluster, schema);
            text.as_bytes()
        };
        let positions: Vec<_> = snapshot
            .iter()
            .flat_map(|snapshot| snapshot.positions())
            .map(|position| at(&identity.topic, position.partition, position.next_offset))
            .collect();
        visit(CheckpointHead {
            identity: identity_held,
            sequence: snapshot.map_or(0, |snapshot| snapshot.sequence),
            time: snapshot.map_or(begun, recorded),
            positions: &positions,
            early_counts,
            width: schema.counts(),
            slots: snapshot.map_or(0, |snapshot| snapshot.slots() as u32),
            live: snapshot.map_or(0, |snapshot| snapshot.len() as u32),
        });
    }

    fn visit(&self, visit: &mut dyn FnMut(journal::Series<'_>)) {
        let Some(snapshot) = self.snapshot else { return };
        let mut definition = Vec::new();
        for series in snapshot.series() {
            definition.clear();
            series.define(&mut definition);
            let mut counts = [0; Measure::ALL.len()];
            counts.iter_mut().zip(series.counts).for_each(|(to, count)| *to = *count);
            visit(journal::Series {
                id: series.slot as u32,
                start: series.start,
                changed: snapshot.changes.row(series.slot)[0],
                definition: &definition,
                counts: &counts[..self.schema.counts()],
            });
        }
    }
}
