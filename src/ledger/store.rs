//! The ledger's side of the journal: cuts as records, and the series table from what was recovered.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use crate::{
    asn::AsNames,
    journal::{
        self, CheckpointHead, Delta, Journal, JournalConfig, Log, MEMORY_LIMIT_BYTES,
        MemoryJournal, State,
    },
    traffic::{Counts, Layout, Rule},
};

use super::{
    definition::Definition,
    restore::{Restored, restore},
    series_table::SeriesTable,
    snapshot::Snapshot,
};

/// Counts of a series: its bytes.
const WIDTH: usize = 1;

/// After a cut with more changes than this, its memory is given back: such a cut is the first of
/// many series, and none that follow are like it.
const KEPT_CHANGES: usize = 1 << 17;

/// Why there is no store to work with.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The journal can't be opened.
    #[error(transparent)]
    Journal(#[from] journal::Error),
    /// The journal counts something else.
    #[error(
        "the state directory holds the counts of {held}, and these flags ask for those of {asked}: \
         they don't mix; give another --state-dir, or remove this one to begin from zero"
    )]
    Other {
        /// What is in the journal.
        held: String,
        /// What was asked for.
        asked: String,
    },
    /// A definition that this version does not understand.
    #[error(
        "the journal's definition of series {series} makes no sense: {what}; use the version that \
         wrote it, or another --state-dir to begin from zero"
    )]
    Definition {
        /// The series' number.
        series: u32,
        /// What is wrong with it.
        what: &'static str,
    },
    /// Counts for later samples that this version does not understand.
    #[error(
        "what the journal holds for later samples makes no sense; use the version that wrote it, or \
         another --state-dir to begin from zero"
    )]
    Ahead,
}

impl StoreError {
    /// Whether it may pass without anybody changing a setting.
    pub const fn may_pass(&self) -> bool {
        matches!(self, StoreError::Journal(error) if error.may_pass())
    }
}

/// Tables of what is counted for later samples, by the samples' time.
pub(super) type Ahead = BTreeMap<i64, Vec<Counts>>;

/// What is counted, and of whom: counts under one identity never mix with those under another.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The topic.
    pub topic: Arc<str>,
    /// Which flows count.
    pub rule: Rule,
    /// The columns of a series.
    pub layout: Layout,
}

impl Identity {
    /// As people read it, and as the journal holds it.
    fn text(&self) -> String {
        let Identity { topic, rule: Rule { asn }, layout } = self;
        let labels: Vec<_> = layout
            .dimensions()
            .iter()
            .flat_map(|dimension| dimension.label_names())
            .copied()
            .collect();
        format!("AS {asn} in topic {topic} by {}", labels.join(", "))
    }
}

/// Where the ledger's cuts go, for recovery and for those who push.
#[derive(Debug)]
pub struct Store {
    kept: Kept,
    /// When it was begun, in milliseconds since the epoch: the time of the state before the first
    /// cut.
    begun_ms: i64,
    identity: String,
    topic: Arc<str>,
    /// What was recovered and is yet to be loaded.
    recovered: Option<State>,
    /// The state after the newest durable cut.
    durable: Option<Arc<Snapshot>>,
    /// What was counted ahead, as it is in the newest durable cut.
    early_counts: Vec<u8>,
    cut: Delta,
}

/// What keeps the cuts.
#[derive(Debug)]
enum Kept {
    Disk(Box<Journal>),
    /// For those who push alone: nothing is recovered from it.
    Memory(MemoryJournal),
}

impl Store {
    /// Opens the journal in `directory`, which is made if need be, for these counts. `now_ms` is
    /// the clock, in milliseconds since the epoch.
    pub fn open(
        directory: &Path,
        identity: &Identity,
        config: JournalConfig,
        now_ms: i64,
    ) -> Result<Self, StoreError> {
        let (journal, recovered) = Journal::open(directory, config)?;
        let asked = identity.text();
        if let Some(state) = &recovered.state {
            check_identity(state, &asked)?;
        }
        if recovered.torn_bytes > 0 {
            tracing::warn!(
                bytes = recovered.torn_bytes,
                "the end of the journal was cut off: its write was interrupted, and nobody has \
                 seen what it held"
            );
        }
        Ok(Store {
            kept: Kept::Disk(Box::new(journal)),
            begun_ms: now_ms,
            identity: asked,
            topic: Arc::clone(&identity.topic),
            recovered: recovered.state,
            durable: None,
            early_counts: Vec::new(),
            cut: Delta::new(WIDTH),
        })
    }

    /// Whether [`Store::open`] would take what `directory` holds, and of how many series it has
    /// counts. Changes nothing; the directory may be in use.
    pub fn examine(directory: &Path, identity: &Identity) -> Result<Option<usize>, StoreError> {
        let report = journal::verify(directory)?;
        if let Some(broken) = report.in_the_way().next() {
            return Err(journal::Error::from(broken.clone()).into());
        }
        report.state.map_or(Ok(None), |state| {
            check_identity(&state, &identity.text())?;
            Ok(Some(state.len()))
        })
    }

    /// A store that keeps in memory what is yet to be pushed, up to so many bytes and
    /// [`MEMORY_LIMIT_BYTES`], and nothing else.
    pub fn in_memory(identity: &Identity, now_ms: i64, max_bytes: u64) -> Self {
        let max_bytes = usize::try_from(max_bytes).unwrap_or(usize::MAX).min(MEMORY_LIMIT_BYTES);
        Store {
            kept: Kept::Memory(MemoryJournal::new(WIDTH, now_ms, max_bytes)),
            begun_ms: now_ms,
            identity: identity.text(),
            topic: Arc::clone(&identity.topic),
            recovered: None,
            durable: None,
            early_counts: Vec::new(),
            cut: Delta::new(WIDTH),
        }
    }

    /// Whether it outlives the process.
    pub(super) fn is_durable(&self) -> bool {
        matches!(self.kept, Kept::Disk(_))
    }

    /// The log of cuts, for those who push.
    pub fn log(&self) -> Log {
        match &self.kept {
            Kept::Disk(journal) => journal.log(),
            Kept::Memory(memory) => memory.log(),
        }
    }

    /// How far each partition is counted in what was recovered.
    pub fn positions(&self) -> impl Iterator<Item = (i32, i64)> {
        let positions = self.recovered.iter().flat_map(|state| &state.positions);
        positions.map(|(&(_, partition), &next_offset)| (partition, next_offset))
    }

    /// Bytes that the journal takes on disk; 0 where it is in memory.
    pub(super) fn bytes(&self) -> u64 {
        match &self.kept {
            Kept::Disk(journal) => journal.bytes(),
            Kept::Memory(_) => 0,
        }
    }

    /// The series table as it was at the newest durable cut, if there is one, and what was counted ahead.
    ///
    /// Series keep the names under which they were counted, where `names` has others, until the
    /// series table is told of names again.
    pub(super) fn load(
        &mut self,
        layout: &Layout,
        rule: Rule,
        names: &AsNames,
    ) -> Result<Option<(SeriesTable, Ahead)>, StoreError> {
        let Some(state) = self.recovered.take() else { return Ok(None) };
        let Restored { mut table, ahead, ending } = restore(&state, layout, rule, names)?;
        self.early_counts = state.early_counts;
        self.durable = Some(Arc::new(table.snapshot()));
        for slot in ending {
            table.end(slot);
        }
        Ok(Some((table, ahead)))
    }

    /// The state after the newest durable cut.
    pub(super) fn durable(&self) -> Option<&Arc<Snapshot>> {
        self.durable.as_ref()
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
        ahead: &Ahead,
        is_sample: bool,
        now_ms: i64,
    ) -> Result<u64, journal::Error> {
        let Store { kept, begun_ms, identity, topic, durable, early_counts, cut, .. } = self;
        cut.clear();
        if matches!(kept, Kept::Disk(_)) {
            write_ahead(ahead, &mut cut.early_counts);
        }
        if cut.early_counts == *early_counts {
            cut.early_counts.clear();
        }
        cut.sequence = snapshot.sequence;
        cut.time_ms = snapshot.time_ms;
        cut.is_tick = is_sample;
        let before = durable.as_deref();
        for position in snapshot.positions() {
            let known = before.and_then(|before| before.positions.get(&position.partition));
            if known != Some(&position.next_offset) {
                cut.positions.push(at(topic, position.partition, position.next_offset));
            }
        }
        let mut definition = Vec::new();
        for &id in table.touched() {
            let slot = id as usize;
            let old = before.and_then(|before| before.get(slot));
            let new = snapshot.get(slot);
            let same_start =
                matches!((&old, &new), (Some(old), Some(new)) if old.start_ms == new.start_ms);
            let goes_on = same_start && !table.has_ended(id);
            if old.is_some() && !goes_on {
                cut.end(id);
            }
            let Some(new) = new else { continue };
            let counted = if goes_on {
                old.map_or(0, |old| old.bytes)
            } else {
                definition.clear();
                Definition::write(snapshot, slot, &mut definition);
                cut.start(id, new.start_ms, &definition);
                0
            };
            if new.bytes > counted {
                cut.add(id, &[new.bytes - counted]);
            }
        }
        let appended = match kept {
            Kept::Disk(journal) => {
                let identity = identity.as_bytes();
                let source = Checkpoint {
                    snapshot: before,
                    begun_ms: *begun_ms,
                    identity,
                    topic,
                    early_counts,
                };
                let appended = journal.append(cut, &source, now_ms);
                appended.map(|appended| {
                    for change in appended.external_changes {
                        tracing::error!("{change}");
                    }
                    appended.bytes + appended.checkpoint_bytes
                })
            }
            Kept::Memory(memory) => memory.append(cut).map(|()| 0),
        };
        let changed = std::mem::take(&mut cut.early_counts);
        if table.touched().len() > KEPT_CHANGES {
            *cut = Delta::new(WIDTH);
        }
        match appended {
            Ok(bytes) => {
                *durable = Some(Arc::clone(snapshot));
                if !changed.is_empty() {
                    *early_counts = changed;
                }
                Ok(bytes)
            }
            Err(error) => Err(error),
        }
    }
}

/// Whether a journal counts what is asked for.
fn check_identity(state: &State, asked: &str) -> Result<(), StoreError> {
    if state.identity == asked.as_bytes() {
        return Ok(());
    }
    let held = String::from_utf8_lossy(&state.identity).into_owned();
    Err(StoreError::Other { held, asked: asked.to_owned() })
}

/// Writes what is counted ahead in the form that cuts hold as early counts: for each table the sample's
/// time in eight bytes, lowest first, then the table. Nothing at all is a single zero byte, since
/// no early counts mean that they are as before.
fn write_ahead(ahead: &Ahead, out: &mut Vec<u8>) {
    for (bound_ms, tables) in ahead {
        for counts in tables.iter().filter(|counts| !counts.is_empty()) {
            out.extend_from_slice(&bound_ms.to_le_bytes());
            counts.encode(out);
        }
    }
    if out.is_empty() {
        out.push(0);
    }
}

fn at(topic: &Arc<str>, partition: i32, next_offset: i64) -> journal::Position {
    journal::Position { topic: Arc::clone(topic), partition, next_offset }
}

/// A snapshot as the journal asks for it.
struct Checkpoint<'s> {
    /// `None` before the first cut.
    snapshot: Option<&'s Snapshot>,
    begun_ms: i64,
    identity: &'s [u8],
    topic: &'s Arc<str>,
    early_counts: &'s [u8],
}

impl journal::CheckpointSource for Checkpoint<'_> {
    fn head(&self, visit: &mut dyn FnMut(CheckpointHead<'_>)) {
        let Checkpoint { snapshot, begun_ms, identity, topic, early_counts } = self;
        let positions: Vec<_> = snapshot
            .iter()
            .flat_map(|snapshot| snapshot.positions())
            .map(|position| at(topic, position.partition, position.next_offset))
            .collect();
        visit(CheckpointHead {
            identity,
            sequence: snapshot.map_or(0, |snapshot| snapshot.sequence),
            time_ms: snapshot.map_or(*begun_ms, |snapshot| snapshot.time_ms),
            positions: &positions,
            early_counts,
            width: WIDTH,
            slots: snapshot.map_or(0, |snapshot| snapshot.slots() as u32),
            live: snapshot.map_or(0, |snapshot| snapshot.len() as u32),
        });
    }

    fn visit(&self, visit: &mut dyn FnMut(journal::Series<'_>)) {
        let Some(snapshot) = self.snapshot else { return };
        let mut definition = Vec::new();
        for series in snapshot.series() {
            definition.clear();
            Definition::write(snapshot, series.slot, &mut definition);
            visit(journal::Series {
                id: series.slot as u32,
                start_ms: series.start_ms,
                changed_ms: snapshot.changes.row(series.slot)[0],
                definition: &definition,
                counts: &[series.bytes],
            });
        }
    }
}
