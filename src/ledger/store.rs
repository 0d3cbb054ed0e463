//! The ledger's side of the journal: cuts as records, and the book from what was recovered.

use std::{fmt::Write as _, io, path::Path, sync::Arc};

use crate::{
    asn::AsNames,
    journal::{self, Cut, Head, Journal, JournalConfig, State},
    traffic::{Dimension, Direction, Layout, Rule},
};

use super::{book::Book, snapshot::Snapshot};

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
    #[error("the journal defines a series in a way that this version does not understand")]
    Definition,
}

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

/// A journal that the ledger writes its cuts to.
#[derive(Debug)]
pub struct Store {
    journal: Journal,
    identity: String,
    topic: Arc<str>,
    /// What was recovered and is yet to be loaded.
    recovered: Option<State>,
    /// The state after the newest durable cut.
    durable: Option<Arc<Snapshot>>,
    cut: Cut,
}

impl Store {
    /// Opens the journal in `directory`, which is made if need be, for these counts.
    pub fn open(
        directory: &Path,
        identity: &Identity,
        config: JournalConfig,
    ) -> Result<Self, StoreError> {
        let (journal, recovered) = Journal::open(directory, config)?;
        let asked = identity.text();
        if let Some(state) = &recovered.state
            && state.identity != asked.as_bytes()
        {
            let held = String::from_utf8_lossy(&state.identity).into_owned();
            return Err(StoreError::Other { held, asked });
        }
        if recovered.torn_bytes > 0 {
            tracing::warn!(
                bytes = recovered.torn_bytes,
                "the end of the journal was cut off: its write was interrupted, and nobody has \
                 seen what it held"
            );
        }
        Ok(Store {
            journal,
            identity: asked,
            topic: Arc::clone(&identity.topic),
            recovered: recovered.state,
            durable: None,
            cut: Cut::new(WIDTH),
        })
    }

    /// How far each partition is counted in what was recovered.
    pub fn positions(&self) -> impl Iterator<Item = (i32, i64)> {
        let positions = self.recovered.iter().flat_map(|state| &state.positions);
        positions.map(|(&(_, partition), &next_offset)| (partition, next_offset))
    }

    /// Bytes that the journal takes on disk.
    pub(super) fn bytes(&self) -> u64 {
        self.journal.bytes()
    }

    /// The book as it was at the newest durable cut, if there is one.
    ///
    /// Series keep the names under which they were counted, where `names` has others, until the
    /// book is told of names again.
    pub(super) fn load(
        &mut self,
        layout: &Layout,
        names: &AsNames,
    ) -> Result<Option<Book>, StoreError> {
        let Some(state) = self.recovered.take() else { return Ok(None) };
        let mut recorded = String::new();
        let mut definitions = Vec::new();
        for series in state.series() {
            let definition =
                Definition::read(layout, series.definition).ok_or(StoreError::Definition)?;
            for (asn, name) in definition.names() {
                if !name.is_empty() {
                    writeln!(recorded, "{asn}\t{name}").expect("a string takes it");
                }
            }
            definitions.push(definition);
        }
        let recorded = if recorded.is_empty() {
            AsNames::none()
        } else {
            AsNames::parse(recorded.as_bytes()).map_err(|_| StoreError::Definition)?
        };
        let names = Arc::new(recorded.over(names));
        let mut book = Book::new(layout.clone(), Arc::clone(&names), state.time_ms);
        let positions = state.positions.iter();
        book.restore(state.sequence, positions.map(|(&(_, partition), &next)| (partition, next)));
        let mut definitions = definitions.into_iter();
        let mut renamed = Vec::new();
        for slot in 0..state.slots() {
            let Some(series) = state.get(slot) else {
                book.restore_vacant();
                continue;
            };
            let definition = definitions.next().ok_or(StoreError::Definition)?;
            if definition.names().any(|(asn, name)| names.get(asn) != name) {
                renamed.push(slot as usize);
            }
            book.restore_series(&definition, series.start_ms, series.changed_ms, series.counts[0]);
        }
        self.durable = Some(Arc::new(book.snapshot()));
        // A series that had no name, of an AS that has one now, can't go on under that name.
        for slot in renamed {
            book.end(slot);
        }
        Ok(Some(book))
    }

    /// The state after the newest durable cut.
    pub(super) fn durable(&self) -> Option<&Arc<Snapshot>> {
        self.durable.as_ref()
    }

    /// Makes a snapshot durable. `touched` are the slots in which anything has changed since the
    /// last one that was.
    ///
    /// # Errors
    /// Where the disk refuses, nothing has happened, and this or a later snapshot can be tried.
    ///
    /// # Panics
    /// If the snapshot does not continue the journal: going on would count wrongly.
    pub(super) fn append(
        &mut self,
        snapshot: &Arc<Snapshot>,
        touched: &[u32],
        is_sample: bool,
        now_ms: i64,
    ) -> io::Result<u64> {
        let Store { journal, identity, topic, durable, cut, .. } = self;
        cut.clear();
        cut.sequence = snapshot.sequence;
        cut.time_ms = snapshot.time_ms;
        cut.is_sample = is_sample;
        let before = durable.as_deref();
        for position in snapshot.positions() {
            let known = before.and_then(|before| before.positions.get(&position.partition));
            if known != Some(&position.next_offset) {
                cut.positions.push(at(topic, position.partition, position.next_offset));
            }
        }
        let mut definition = Vec::new();
        for &id in touched {
            let slot = id as usize;
            let old = before.filter(|before| slot < before.slots()).and_then(|b| b.get(slot));
            let new = snapshot.get(slot);
            let goes_on =
                matches!((&old, &new), (Some(old), Some(new)) if old.start_ms == new.start_ms);
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
        let source = Checkpoint { snapshot: before, identity: identity.as_bytes(), topic };
        let appended = journal.append(cut, &source, now_ms);
        if touched.len() > KEPT_CHANGES {
            *cut = Cut::new(WIDTH);
        }
        match appended {
            Ok(appended) => {
                *durable = Some(Arc::clone(snapshot));
                Ok(appended.bytes + appended.checkpoint_bytes)
            }
            Err(error @ journal::Error::Io { .. }) => Err(io::Error::other(error)),
            Err(error) => panic!("{error}; stopping, since going on would count wrongly"),
        }
    }
}

fn at(topic: &Arc<str>, partition: i32, next_offset: i64) -> journal::Position {
    journal::Position { topic: Arc::clone(topic), partition, next_offset }
}

/// A snapshot as the journal asks for it.
struct Checkpoint<'s> {
    snapshot: Option<&'s Snapshot>,
    identity: &'s [u8],
    topic: &'s Arc<str>,
}

impl journal::Source for Checkpoint<'_> {
    fn head(&self, visit: &mut dyn FnMut(Head<'_>)) {
        let Checkpoint { snapshot, identity, topic } = self;
        let positions: Vec<_> = snapshot
            .iter()
            .flat_map(|snapshot| snapshot.positions())
            .map(|position| at(topic, position.partition, position.next_offset))
            .collect();
        visit(Head {
            identity,
            sequence: snapshot.map_or(0, |snapshot| snapshot.sequence),
            time_ms: snapshot.map_or(0, |snapshot| snapshot.time_ms),
            positions: &positions,
            tallies: &[],
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

/// What a series is, with its label text: the direction, then for each dimension the number and
/// the name of an AS, or a text. Numbers are four bytes, lowest first; texts begin with their
/// length.
#[derive(Debug)]
pub(super) struct Definition<'d> {
    pub(super) direction: Direction,
    pub(super) columns: Vec<Column<'d>>,
}

/// The part of a definition that one dimension makes up.
#[derive(Debug, Clone, Copy)]
pub(super) enum Column<'d> {
    As { number: u32, name: &'d str },
    Text(&'d str),
}

impl<'d> Definition<'d> {
    fn write(snapshot: &Snapshot, slot: usize, out: &mut Vec<u8>) {
        let key = snapshot.keys.row(slot);
        out.extend_from_slice(&key[0].to_le_bytes());
        for (&column, dimension) in key[1..].iter().zip(snapshot.layout.dimensions()) {
            match dimension {
                Dimension::SourceAs | Dimension::DestinationAs => {
                    out.extend_from_slice(&column.to_le_bytes());
                    write_text(snapshot.names.get(column), out);
                }
                Dimension::Hostname => write_text(&snapshot.texts.row(column as usize)[0], out),
            }
        }
    }

    fn read(layout: &Layout, mut bytes: &'d [u8]) -> Option<Self> {
        let direction = Direction::from_column(read_number(&mut bytes)?);
        let columns = layout.dimensions().iter().map(|dimension| {
            Some(match dimension {
                Dimension::SourceAs | Dimension::DestinationAs => {
                    let number = read_number(&mut bytes)?;
                    Column::As { number, name: read_text(&mut bytes)? }
                }
                Dimension::Hostname => Column::Text(read_text(&mut bytes)?),
            })
        });
        let columns = columns.collect::<Option<Vec<_>>>()?;
        bytes.is_empty().then_some(Definition { direction, columns })
    }

    /// The AS in it, with the names that they had.
    fn names(&self) -> impl Iterator<Item = (u32, &'d str)> {
        self.columns.iter().filter_map(|column| match *column {
            Column::As { number, name } => Some((number, name)),
            Column::Text(_) => None,
        })
    }
}

fn write_text(text: &str, out: &mut Vec<u8>) {
    let length = u32::try_from(text.len()).expect("labels are shorter than 4 GiB");
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(text.as_bytes());
}

fn read_number(bytes: &mut &[u8]) -> Option<u32> {
    let (number, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(u32::from_le_bytes(*number))
}

fn read_text<'d>(bytes: &mut &'d [u8]) -> Option<&'d str> {
    let length = read_number(bytes)? as usize;
    let (text, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    std::str::from_utf8(text).ok()
}
