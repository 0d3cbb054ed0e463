//! What has been published: the state of all series at one cut.

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use crate::{
    asn::AsNames,
    source::Position,
    traffic::{Dimension, Direction, Layout, OTHER},
};

use super::columns::Columns;

/// All series at one cut. Immutable, and cheap to clone and hold: snapshots share what did not
/// change between them.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// Number of the cut; each published snapshot's is larger than those before.
    pub sequence: u64,
    /// The cut's time, in milliseconds since the epoch: never before that of another published
    /// one, and after it where both are samples.
    pub time_ms: i64,
    /// When the cut was taken, on the monotonic clock.
    pub taken: Instant,
    pub(super) layout: Arc<Layout>,
    pub(super) names: Arc<AsNames>,
    pub(super) texts: Columns<Arc<str>>,
    pub(super) keys: Columns<u32>,
    pub(super) bytes: Columns<u64>,
    pub(super) starts: Columns<i64>,
    pub(super) changes: Columns<i64>,
    pub(super) live: usize,
    pub(super) positions: Arc<BTreeMap<i32, i64>>,
}

/// Start time of a slot that no series holds.
pub(super) const VACANT: i64 = i64::MIN;

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
    /// series ended may be taken by another one, with a later [`Series::start_ms`].
    pub fn slots(&self) -> usize {
        self.bytes.len()
    }

    /// The series in a slot; `None` where there is none.
    pub fn get(&self, slot: usize) -> Option<Series<'_>> {
        if slot >= self.slots() {
            return None;
        }
        let start_ms = self.starts.row(slot)[0];
        (start_ms != VACANT).then(|| Series {
            snapshot: self,
            slot,
            start_ms,
            bytes: self.bytes.row(slot)[0],
            direction: Direction::from_column(self.keys.row(slot)[0]),
        })
    }

    /// How many texts it holds for the labels of its series.
    pub fn texts(&self) -> usize {
        self.texts.len()
    }

    /// All series, in the order of their slots.
    pub fn series(&self) -> impl Iterator<Item = Series<'_>> {
        (0..self.slots()).filter_map(|slot| self.get(slot))
    }

    /// The columns of the series' keys.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Visits the labels (name, value) that a column of a key stands for, in the order of their
    /// names. The value may be empty. `is_other`: the key is one of [`Layout::is_other`].
    fn labels_of(
        &self,
        dimension: Dimension,
        column: u32,
        is_other: bool,
        mut visit: impl FnMut(&'static str, &str),
    ) {
        let mut number = Decimal::default();
        match dimension {
            // The name too: an empty one would be that of all AS without a name.
            Dimension::SourceAs | Dimension::DestinationAs if is_other => {
                dimension.label_names().iter().for_each(|name| visit(name, OTHER));
            }
            Dimension::SourceAs => {
                visit("source_as", number.format(column));
                visit("source_as_name", self.names.get(column));
            }
            Dimension::DestinationAs => {
                visit("destination_as", number.format(column));
                visit("destination_as_name", self.names.get(column));
            }
            Dimension::Hostname => {
                visit("hostname", &self.texts.row(column as usize)[0]);
            }
        }
    }

    /// How far each partition has been counted, by partition: exactly the messages below these
    /// offsets are in the counts.
    pub fn positions(&self) -> impl Iterator<Item = Position> {
        self.positions.iter().map(|(&partition, &next_offset)| Position { partition, next_offset })
    }
}

/// One series of a [`Snapshot`].
#[derive(Debug, Clone, Copy)]
pub struct Series<'s> {
    snapshot: &'s Snapshot,
    /// Where it sits in the snapshot.
    pub slot: usize,
    /// Nothing of it was counted before this time, in milliseconds since the epoch.
    pub start_ms: i64,
    /// The counter's value in bytes.
    pub bytes: u64,
    /// Which metric it belongs to.
    pub direction: Direction,
}

impl Series<'_> {
    /// Visits the labels (name, value) in the order of their names, without the metric name. The
    /// value may be empty.
    pub fn labels(&self, mut visit: impl FnMut(&'static str, &str)) {
        let is_other = self.is_other();
        for (&column, &dimension) in self.columns().iter().zip(self.snapshot.layout.dimensions()) {
            self.snapshot.labels_of(dimension, column, is_other, &mut visit);
        }
    }

    /// Whether it counts what gets no series of its own. Then only the columns of texts say
    /// something.
    pub fn is_other(&self) -> bool {
        Layout::is_other(self.snapshot.keys.row(self.slot))
    }

    /// The series' key without the direction: a column for each of the layout's dimensions.
    pub fn columns(&self) -> &[u32] {
        &self.snapshot.keys.row(self.slot)[1..]
    }
}

/// A number's decimal digits, written without an allocation.
#[derive(Debug, Default)]
struct Decimal {
    digits: [u8; 10],
}

impl Decimal {
    fn format(&mut self, mut number: u32) -> &str {
        let mut start = self.digits.len();
        loop {
            start -= 1;
            self.digits[start] = b'0' + (number % 10) as u8;
            number /= 10;
            if number == 0 {
                break;
            }
        }
        std::str::from_utf8(&self.digits[start..]).expect("digits are ASCII")
    }
}
