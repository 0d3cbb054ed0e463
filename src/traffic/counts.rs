//! The table a worker counts in between two cuts.

use std::hash::{BuildHasher, Hasher};

use hashbrown::{DefaultHashBuilder, HashTable, hash_table::Entry};

use crate::flow::{Decoded, Malformed, Skipped};

use super::{
    Direction, Evidence, Ignored, Layout, Rule, TextId, Texts,
    layout::{ValuesTruncated, truncate},
};

/// Flows and bytes that share a fate.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RecordTotals {
    /// Flow records.
    pub flows: u64,
    /// The bytes that they report, modulo 2^64.
    pub bytes: u64,
}

impl RecordTotals {
    fn add(&mut self, bytes: u64) {
        self.flows += 1;
        self.bytes = self.bytes.wrapping_add(bytes);
    }
}

/// Sums by series, and what became of every record, since the table was last cleared.
///
/// Holds only the series that changed, with the texts that they name, so it is self-contained: it
/// can be handed to another thread, merged there, cleared and used again.
#[derive(Debug)]
pub struct Counts {
    layout: Layout,
    rule: Rule,
    index: HashTable<u32>,
    hasher: DefaultHashBuilder,
    /// All series, one row each: the key ([`Layout::width`] columns), then its bytes
    /// ([`SUM_COLUMNS`]). Side by side, so that finding a series brings its sum into the cache.
    rows: Vec<u32>,
    texts: Texts,
    /// Messages that were decoded, whatever they held.
    pub messages: u64,
    /// The size of their payloads in bytes.
    pub payload_bytes: u64,
    /// Messages of these that came after the sample to which they belong.
    pub late_messages: u64,
    /// What was added to the series.
    pub counted: RecordTotals,
    /// Valid flows that no series counts, by [`Ignored::index`].
    pub ignored: [RecordTotals; Ignored::ALL.len()],
    /// Records that are no flows, by [`Skipped::index`].
    pub skipped: [u64; Skipped::ALL.len()],
    /// Records that can't be decoded, by [`Malformed::index`].
    pub malformed: [u64; Malformed::ALL.len()],
    evidence: Evidence,
    values_truncated: ValuesTruncated,
}

impl Counts {
    /// An empty table for series of this layout, filled by this rule.
    pub fn new(layout: Layout, rule: Rule) -> Self {
        Counts {
            layout,
            rule,
            index: HashTable::new(),
            hasher: DefaultHashBuilder::default(),
            rows: Vec::new(),
            texts: Texts::default(),
            messages: 0,
            payload_bytes: 0,
            late_messages: 0,
            counted: RecordTotals::default(),
            ignored: Default::default(),
            skipped: Default::default(),
            malformed: Default::default(),
            evidence: Evidence::default(),
            values_truncated: Default::default(),
        }
    }

    /// Counts one record, whatever it turned out to be.
    pub fn record(&mut self, record: &Decoded<'_>) {
        match record {
            Decoded::Flow(flow) => match self.rule.direction(flow) {
                Ok(direction) => {
                    let mut key = [0; Layout::MAX_WIDTH];
                    let Counts { layout, texts, values_truncated, .. } = self;
                    let key = layout.key(direction, flow, texts, &mut key, values_truncated);
                    if add(&mut self.index, &self.hasher, &mut self.rows, key, flow.bytes) {
                        self.counted.add(flow.bytes);
                    } else {
                        self.ignored[Ignored::Overflow.index()].add(flow.bytes);
                    }
                }
                Err(reason) => {
                    self.ignored[reason.index()].add(flow.bytes);
                    self.evidence.keep_flow(flow.source_as, flow.destination_as);
                }
            },
            Decoded::Skipped(reason) => self.skipped[reason.index()] += 1,
            Decoded::Malformed(reason) => self.malformed[reason.index()] += 1,
        }
    }

    /// Keeps the beginning of a message whose records were just given to [`Counts::record`], if it
    /// may be needed to say why nothing is counted.
    #[inline]
    pub fn sample(&mut self, payload: &[u8]) {
        if self.counted.flows == 0 {
            self.evidence.keep_message(payload);
        }
    }

    /// What tells why nothing is counted, where that is so.
    pub fn evidence(&self) -> &Evidence {
        &self.evidence
    }

    /// Series that have counted something.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether no series has counted anything; messages may have been seen all the same.
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// What the series and their texts take, in bytes, without what it takes to find them.
    pub fn bytes(&self) -> usize {
        size_of_val(self.rows.as_slice()) + self.texts.bytes()
    }

    /// Keys and bytes of all series; text columns are numbers of [`Counts::texts`].
    pub fn series(&self) -> impl Iterator<Item = (&[u32], u64)> {
        let width = self.layout.width();
        self.rows.chunks_exact(width + SUM_COLUMNS).map(move |row| {
            let (key, sum) = row.split_at(width);
            (key, read_sum(sum))
        })
    }

    /// The texts that the keys' text columns number.
    pub fn texts(&self) -> &Texts {
        &self.texts
    }

    /// Label values of counted flows that were longer than [`MAX_VALUE_BYTES`](super::MAX_VALUE_BYTES),
    /// by the label's name.
    pub fn values_truncated(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let dimensions = self.layout.dimensions().iter().zip(self.values_truncated);
        dimensions
            .filter(|(dimension, _)| dimension.is_text())
            .map(|(dimension, cut)| (dimension.label_names()[0], cut))
    }

    /// Appends the series and the texts that they name, for [`Counts::decode`]: numbers of four
    /// bytes, lowest first. What else was counted stays behind.
    pub fn encode(&self, out: &mut Vec<u8>) {
        put_number(out, self.texts.iter().count());
        for text in self.texts.iter() {
            put_number(out, text.len());
            out.extend_from_slice(text.as_bytes());
        }
        put_number(out, self.len());
        out.extend(self.rows.iter().flat_map(|column| column.to_le_bytes()));
    }

    /// Reads a table from the beginning of `bytes` and moves on behind it. `None` if they hold
    /// none of this layout. Texts of versions that had no bound for them are cut now.
    pub fn decode(layout: &Layout, rule: Rule, bytes: &mut &[u8]) -> Option<Self> {
        let mut counts = Counts::new(layout.clone(), rule);
        let mut texts = Vec::new();
        for _ in 0..take_number(bytes)? {
            let length = take_number(bytes)? as usize;
            let (text, rest) = bytes.split_at_checked(length)?;
            *bytes = rest;
            let TextId(id) = counts.texts.intern(truncate(std::str::from_utf8(text).ok()?));
            texts.push(id);
        }
        for _ in 0..take_number(bytes)? {
            let mut row = [0; Layout::MAX_WIDTH + SUM_COLUMNS];
            let row = &mut row[..layout.width() + SUM_COLUMNS];
            for column in row.iter_mut() {
                *column = take_number(bytes)?;
            }
            let (key, sum) = row.split_at_mut(layout.width());
            for (column, dimension) in key[1..].iter_mut().zip(layout.dimensions()) {
                if dimension.is_text() {
                    *column = *texts.get(*column as usize)?;
                }
            }
            let is_plain = Direction::ALL.iter().any(|&direction| direction as u32 == key[0]);
            if !is_plain
                || !add(&mut counts.index, &counts.hasher, &mut counts.rows, key, read_sum(sum))
            {
                return None;
            }
        }
        Some(counts)
    }

    /// Makes the table as new, but keeps its memory for the next interval; not though what one
    /// burst took and the interval after it did not need.
    pub fn clear(&mut self) {
        let capacity = self.index.capacity();
        if capacity > KEPT_SERIES && capacity / 8 > self.index.len() {
            self.index = HashTable::new();
            self.rows = Vec::new();
        }
        self.index.clear();
        self.rows.clear();
        self.texts.clear();
        self.messages = 0;
        self.payload_bytes = 0;
        self.late_messages = 0;
        self.counted = RecordTotals::default();
        self.ignored = Default::default();
        self.skipped = Default::default();
        self.malformed = Default::default();
        self.evidence.clear();
        self.values_truncated = Default::default();
    }
}

/// A table with room for no more series than this keeps it.
const KEPT_SERIES: usize = 1 << 15;

/// Columns of a row that hold the sum: the lower half, then the upper one.
const SUM_COLUMNS: usize = 2;

fn put_number(out: &mut Vec<u8>, number: usize) {
    let number = u32::try_from(number).expect("tables have fewer than 2^32 of anything");
    out.extend_from_slice(&number.to_le_bytes());
}

fn take_number(bytes: &mut &[u8]) -> Option<u32> {
    let (number, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(u32::from_le_bytes(*number))
}

fn read_sum(columns: &[u32]) -> u64 {
    u64::from(columns[0]) | u64::from(columns[1]) << 32
}

fn sum_columns(sum: u64) -> [u32; SUM_COLUMNS] {
    [sum as u32, (sum >> 32) as u32]
}

/// Adds `bytes` to the series with this key; false, and nothing added, if the sum would overflow.
fn add(
    index: &mut HashTable<u32>,
    hasher: &DefaultHashBuilder,
    rows: &mut Vec<u32>,
    key: &[u32],
    bytes: u64,
) -> bool {
    let width = key.len();
    let stride = width + SUM_COLUMNS;
    let key_of = |slot: u32| {
        let start = slot as usize * stride;
        &rows[start..start + width]
    };
    match index.entry(
        hash_key(hasher, key),
        // Column by column: keys are too short for what a call to compare memory costs.
        |&slot| key_of(slot).iter().zip(key).all(|(column, other)| column == other),
        |&slot| hash_key(hasher, key_of(slot)),
    ) {
        Entry::Occupied(entry) => {
            let start = *entry.get() as usize * stride + width;
            let sum = &mut rows[start..start + SUM_COLUMNS];
            let Some(new) = read_sum(sum).checked_add(bytes) else { return false };
            sum.copy_from_slice(&sum_columns(new));
        }
        Entry::Vacant(entry) => {
            let slot = rows.len() / stride;
            entry.insert(u32::try_from(slot).expect("fewer than 2^32 series"));
            rows.extend_from_slice(key);
            rows.extend_from_slice(&sum_columns(bytes));
        }
    }
    true
}

/// The hash of a series key: the columns, two to a word.
pub(crate) fn hash_key(hasher: &DefaultHashBuilder, key: &[u32]) -> u64 {
    let mut state = hasher.build_hasher();
    for pair in key.chunks(2) {
        let high = pair.get(1).copied().unwrap_or_default();
        state.write_u64(u64::from(pair[0]) | u64::from(high) << 32);
    }
    state.finish()
}
