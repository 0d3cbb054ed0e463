//! What has been published: the state of all series at one moment.

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use crate::{
    asn::AsNames,
    clock::{Millis, UnixMs},
    metrics::Family as OwnFamily,
    schema::{Decimal, Definition, Family, KeyHead, OTHER, OTHER_NUMBER, Schema, Shown},
    source::Position,
};

use super::columns::Columns;

/// All series at one moment. Immutable, and cheap to clone and hold: snapshots share what did not
/// change between them.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// Its number; each published snapshot's is larger than those before.
    pub sequence: u64,
    /// Its time: never before that of another published one, and after it where both are ticks.
    /// `None` while the time of the first data is not known.
    pub time: Option<UnixMs>,
    /// Whether it counts what is from before its time, as far as that has come. Not so between two
    /// ticks while the next one is overdue: then it is of no time in particular.
    pub is_complete: bool,
    /// When it was taken, on the monotonic clock.
    pub taken: Instant,
    pub(super) schema: Arc<Schema>,
    pub(super) names: Arc<AsNames>,
    pub(super) texts: Columns<Arc<str>>,
    pub(super) keys: Columns<u32>,
    pub(super) counts: Columns<u64>,
    pub(super) starts: Columns<Start>,
    pub(super) changes: Columns<UnixMs>,
    pub(super) live: usize,
    pub(super) positions: Arc<BTreeMap<i32, i64>>,
    /// What the program's own metrics say of flows and series.
    pub(super) own: Arc<[OwnFamily]>,
}

/// Start time of the series in a slot, if there is one; in 8 bytes, so the earliest of all times
/// stands for none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Start(UnixMs);

impl Start {
    /// No series.
    pub(super) const VACANT: Start = Start(UnixMs::MIN);

    pub(super) fn at(time: UnixMs) -> Self {
        Start(time.max(UnixMs::MIN + Millis::new(1)))
    }

    fn time(self) -> Option<UnixMs> {
        (self.0 != UnixMs::MIN).then_some(self.0)
    }
}

impl Snapshot {
    /// How many series there are.
    pub fn len(&self) -> usize {
        self.live
    }

    /// Whether there is no series.
    pub fn is_empty(&self) -> bool {
        self.live == 0
    }

    /// Series sit in slots `0..slots()`, each in the same slot as long as it lives. A slot whose
    /// series ended may be taken by another one, with a later [`Series::start`].
    pub fn slots(&self) -> usize {
        self.counts.len()
    }

    /// The series in a slot; `None` if the slot is vacant.
    #[inline]
    pub fn get(&self, slot: usize) -> Option<Series<'_>> {
        if slot >= self.slots() {
            return None;
        }
        self.starts.row(slot)[0].time().map(|start| Series {
            snapshot: self,
            slot,
            start,
            counts: self.counts.row(slot),
            head: KeyHead::try_from(self.keys.row(slot)[0])
                .expect("keys are made of heads, by the pipeline or from definitions"),
        })
    }

    /// The slots whose series is another one than in an earlier snapshot, or that are vacant in one of
    /// the two. What did not change is not looked at.
    pub fn replaced<'s>(&'s self, before: &'s Snapshot) -> impl Iterator<Item = usize> + 's {
        let has_same_keys = Arc::ptr_eq(&self.schema, &before.schema);
        let start = |of: &Snapshot, slot| {
            if slot < of.slots() { of.starts.row(slot)[0] } else { Start::VACANT }
        };
        self.starts.unshared(&before.starts).flatten().filter(move |&slot| {
            let starts = (start(self, slot), start(before, slot));
            let is_same = starts.0 == starts.1
                && (starts.0 == Start::VACANT
                    || !has_same_keys
                    || self.keys.row(slot) == before.keys.row(slot));
            !is_same
        })
    }

    /// The series that may have counted something since an earlier snapshot, in the order of their
    /// slots. What did not change is not looked at.
    pub fn grown<'s>(&'s self, before: &'s Snapshot) -> impl Iterator<Item = Series<'s>> + 's {
        self.counts.unshared(&before.counts).flatten().filter_map(|slot| self.get(slot))
    }

    /// The name of an AS; empty if it has none.
    pub fn as_name(&self, asn: u32) -> &str {
        self.names.get(asn)
    }

    /// How many texts it holds for the labels of its series.
    pub fn texts(&self) -> usize {
        self.texts.len()
    }

    /// All series, in the order of their slots.
    pub fn series(&self) -> impl Iterator<Item = Series<'_>> {
        (0..self.slots()).filter_map(|slot| self.get(slot))
    }

    /// What the series are.
    pub fn schema(&self) -> &Arc<Schema> {
        &self.schema
    }

    /// What the program's own metrics say of flows and series, as of this snapshot: so all on a page is
    /// of one moment. Empty if no ledger has published it.
    pub fn own(&self) -> &[OwnFamily] {
        &self.own
    }

    /// Up to where each partition is counted: exactly the messages below these offsets are in the
    /// counts.
    pub fn positions(&self) -> impl Iterator<Item = Position> {
        self.positions.iter().map(|(&partition, &next_offset)| Position { partition, next_offset })
    }
}

/// Whether a kept column of an `other` series stands for any value.
fn is_any(shown: Shown, column: u32) -> bool {
    shown != Shown::Text && column == OTHER_NUMBER
}

/// What a series has in a dimension.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cell {
    /// Any value, in a series for the rest.
    Other,
    /// A number, to be shown as its dimension's label does.
    Number(u32),
    /// A text.
    Text(Arc<str>),
}

/// One series of a [`Snapshot`].
#[derive(Debug, Clone, Copy)]
pub struct Series<'s> {
    snapshot: &'s Snapshot,
    /// Where it sits in the snapshot.
    pub slot: usize,
    /// Nothing of it was counted before this time.
    pub start: UnixMs,
    /// What was counted, in the order of its view's measures.
    pub counts: &'s [u64],
    /// Its view and class, and whether it counts what gets no series of its own.
    pub head: KeyHead,
}

impl<'s> Series<'s> {
    /// Whether it is one of this metric's.
    #[inline]
    pub fn is_of(&self, family: &Family) -> bool {
        self.head.class == family.class && self.head.view == family.view
    }

    /// Visits the labels (name, value) in the order of their names, without the metric name. The
    /// value may be empty.
    #[inline]
    pub fn labels(&self, mut visit: impl FnMut(&str, &str)) {
        let snapshot = self.snapshot;
        let columns = self.columns();
        for label in snapshot.schema.view(self.head).labels() {
            let column = columns[label.dimension];
            match label.shown {
                // The name too: an empty one would be that of all ASes without a name.
                _ if self.head.is_other && (!label.is_kept || is_any(label.shown, column)) => {
                    visit(&label.name, OTHER);
                }
                Shown::Text => visit(&label.name, &snapshot.texts.row(column as usize)[0]),
                Shown::Number => visit(&label.name, Decimal::new(column).as_str()),
                Shown::AsName => visit(&label.name, snapshot.names.get(column)),
                shown => visit(&label.name, shown.of_number(column, &Decimal::new(column))),
            }
        }
    }

    /// Appends its definition.
    pub(super) fn define(&self, out: &mut Vec<u8>) {
        let Snapshot { schema, names, texts, .. } = self.snapshot;
        let names = |asn| names.get(asn);
        let texts = |text: u32| &*texts.row(text as usize)[0];
        Definition::write(schema.view(self.head), self.head, self.columns(), names, texts, out);
    }

    /// What it has in one of its view's dimensions, by the dimension's place there.
    pub fn cell(&self, place: usize) -> Cell {
        let view = self.snapshot.schema.view(self.head);
        let (column, is_text) = (self.columns()[place], view.dimensions()[place].is_text());
        let is_kept = view.keeps()[place] && (is_text || column != OTHER_NUMBER);
        if self.head.is_other && !is_kept {
            Cell::Other
        } else if is_text {
            Cell::Text(Arc::clone(&self.snapshot.texts.row(column as usize)[0]))
        } else {
            Cell::Number(column)
        }
    }

    /// The time of the snapshot that first had its present counts.
    pub fn changed(&self) -> UnixMs {
        self.snapshot.changes.row(self.slot)[0]
    }

    /// The series' key without the head: a column for each of its view's dimensions, and zeros.
    pub fn columns(&self) -> &'s [u32] {
        &self.snapshot.keys.row(self.slot)[1..]
    }
}
