//! The table in which a worker counts between two snapshots.

use std::{
    hash::{BuildHasher, Hasher},
    net::IpAddr,
    sync::Arc,
};

use hashbrown::{DefaultHashBuilder, HashTable, hash_table::Entry};

use crate::{
    flow::{Malformed, Skipped, datagram::Activity},
    schema::{Class, KeyHead, MAX_KEY_WIDTH, Measure, Schema},
};

use super::{
    as_source::AsSource,
    evidence::Evidence,
    ignored::Ignored,
    missing::{FilteredOut, Missing},
    sampling::SamplingRates,
    texts::{TextId, Texts},
};

/// Flows and bytes that share a fate.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RecordTotals {
    /// Flow records.
    pub flows: u64,
    /// The bytes that they report, multiplied by their sampling rates. Wider than the bytes of one record,
    /// so that a sum of many hostile ones has room.
    pub bytes: u128,
}

impl RecordTotals {
    /// Adds a flow of this many bytes.
    #[inline]
    pub fn add(&mut self, bytes: u128) {
        self.flows += 1;
        self.bytes = self.bytes.saturating_add(bytes);
    }
}

/// Counts by series, and what became of every record, since the table was last cleared. Decides
/// nothing: the [pipeline](crate::pipeline) says what is added where.
///
/// Holds only the series that changed, with the texts that they name, so it is self-contained: it
/// can be handed to another thread, merged there, cleared and used again.
#[derive(Debug)]
pub struct Counts {
    schema: Arc<Schema>,
    index: HashTable<u32>,
    hasher: DefaultHashBuilder,
    /// All series, one row each: the key ([`Schema::key_width`] columns), then its counts
    /// ([`Schema::counts`], two columns each: the lower half, then the upper one). Side by side, so
    /// that finding a series brings its counts into the cache.
    rows: Vec<u32>,
    texts: Texts,
    /// Messages that were decoded, whatever they held.
    pub messages: u64,
    /// Those of these that pmacct did not write.
    pub messages_of_others: u64,
    /// Those of these that exporters have sent themselves.
    pub datagrams: u64,
    /// The size of their payloads in bytes.
    pub payload_bytes: u64,
    /// Messages of these that came after the tick to which they belong.
    pub late_messages: u64,
    /// Valid flows, counted or not, by class as in [`Class::ALL`].
    pub classes: [u64; Class::ALL.len()],
    /// Flows that were added to series.
    pub counted: RecordTotals,
    /// Valid flows that no series counts, by [`Ignored::index`].
    pub ignored: [RecordTotals; Ignored::ALL.len()],
    /// Valid flows that a view does not count, by the view's place in [`Schema::configured`] and by
    /// [`Ignored::index`].
    pub ignored_by_view: Box<[[RecordTotals; Ignored::ALL.len()]]>,
    /// Those of these that are of a counted class and did not pass a filter, by the view's place and by
    /// the filter's in [`View::filters`](crate::schema::View::filters).
    pub filtered_out: Box<[Box<[FilteredOut]>]>,
    /// Records that are no flows, by [`Skipped::index`].
    pub skipped: [u64; Skipped::ALL.len()],
    /// Records that can't be decoded, by [`Malformed::index`].
    pub malformed: [u64; Malformed::ALL.len()],
    /// Ends of flows by where their AS was found, by [`AsSource::index`]; none where it is not looked up.
    pub as_found: [u64; AsSource::ALL.len()],
    /// The rates by which flows were multiplied.
    pub sampling_rates: SamplingRates,
    /// Flows that were to be multiplied by the record's rate, and count as they are without one.
    pub unknown_rate: u64,
    /// What exporters of datagrams did; `None` are senders that are not known as such.
    pub exporters: Vec<(Option<IpAddr>, Activity)>,
    /// What tells why nothing is counted, where that is so.
    pub evidence: Evidence,
    /// Label values of counted flows that were longer than
    /// [`MAX_VALUE_BYTES`](crate::schema::MAX_VALUE_BYTES), by the dimension's place in
    /// [`Schema::dimensions`].
    pub values_truncated: Box<[u64]>,
    /// Label values that counted flows lack, by the same; once for each view.
    pub values_missing: Box<[Missing]>,
    /// Flows that a view which counts packets has counted though the record has none.
    pub packets_missing: u64,
    /// Flows that were added to the series of each view, by its place in [`Schema::configured`].
    pub flows_by_view: Box<[u64]>,
}

impl Counts {
    /// An empty table for series of this schema.
    pub fn new(schema: Arc<Schema>) -> Self {
        let (views, dimensions) = (schema.configured(), schema.dimensions().len());
        Counts {
            ignored_by_view: views.iter().map(|_| Default::default()).collect(),
            filtered_out: views
                .iter()
                .map(|view| vec![FilteredOut::default(); view.filters().len()].into())
                .collect(),
            values_truncated: vec![0; dimensions].into(),
            values_missing: vec![Missing::default(); dimensions].into(),
            packets_missing: 0,
            flows_by_view: vec![0; views.len()].into(),
            schema,
            index: HashTable::new(),
            hasher: DefaultHashBuilder::default(),
            rows: Vec::new(),
            texts: Texts::default(),
            messages: 0,
            messages_of_others: 0,
            datagrams: 0,
            payload_bytes: 0,
            late_messages: 0,
            classes: Default::default(),
            counted: RecordTotals::default(),
            ignored: Default::default(),
            skipped: Default::default(),
            malformed: Default::default(),
            as_found: Default::default(),
            sampling_rates: SamplingRates::default(),
            unknown_rate: 0,
            exporters: Vec::new(),
            evidence: Evidence::default(),
        }
    }

    /// What the keys and the counts of its series mean.
    pub fn schema(&self) -> &Arc<Schema> {
        &self.schema
    }

    /// The number of a text, for the keys of this table.
    #[inline]
    pub fn intern(&mut self, text: &str) -> TextId {
        self.texts.intern(text)
    }

    /// Adds to the series with this key ([`Schema::key_width`] columns, texts numbered by
    /// [`Counts::intern`]). False, with nothing added, if a sum would overflow.
    #[inline]
    pub fn add(&mut self, key: &[u32], counts: &[u64]) -> bool {
        add(&mut self.index, &self.hasher, &mut self.rows, key, counts)
    }

    /// Series that have counted something.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether no series has counted anything; messages may have been seen all the same.
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// The size of the series and their texts, in bytes, without the indexes.
    pub fn bytes(&self) -> usize {
        size_of_val(self.rows.as_slice()) + self.texts.bytes()
    }

    /// Keys and counts of all series; text columns are numbers of [`Counts::texts`].
    pub fn series(&self) -> impl Iterator<Item = (&[u32], SeriesCounts<'_>)> {
        let width = self.schema.key_width();
        self.rows.chunks_exact(width + COLUMNS_PER_COUNT * self.schema.counts()).map(move |row| {
            let (key, counts) = row.split_at(width);
            (key, SeriesCounts(counts))
        })
    }

    /// The series of the views for which `place_of` gives a place in `schema`; no other view may get
    /// the same one. What else was counted stays behind.
    #[must_use]
    pub fn of_views(&self, schema: &Arc<Schema>, place_of: impl Fn(u8) -> Option<u8>) -> Counts {
        let mut counts = Counts::new(Arc::clone(schema));
        for (key, sums) in self.series() {
            let head = head(key);
            let Some(view) = place_of(head.view) else { continue };
            let mut moved = [0; MAX_KEY_WIDTH];
            moved[0] = KeyHead { view, ..head }.column();
            let columns = moved[1..].iter_mut().zip(&key[1..]);
            for ((moved, &column), dimension) in columns.zip(self.schema.view(head).dimensions()) {
                *moved = if dimension.is_text() {
                    counts.intern(self.texts.get(TextId(column))).0
                } else {
                    column
                };
            }
            let mut row = [0; Measure::ALL.len()];
            row.iter_mut().zip(sums.iter()).for_each(|(count, sum)| *count = sum);
            counts.add(&moved[..schema.key_width()], &row[..schema.counts()]);
        }
        counts
    }

    /// All columns of all rows.
    pub(super) fn rows(&self) -> &[u32] {
        &self.rows
    }

    /// The texts that the keys' text columns number.
    pub fn texts(&self) -> &Texts {
        &self.texts
    }

    /// Forgets the series and their texts, and keeps what else was counted. Keeps the memory, except
    /// what a burst took and the interval after it did not need.
    pub fn clear_series(&mut self) {
        let capacity = self.index.capacity();
        if capacity > KEPT_SERIES && capacity / 8 > self.index.len() {
            self.index = HashTable::new();
            self.rows = Vec::new();
        }
        self.index.clear();
        self.rows.clear();
        self.texts.clear();
    }

    /// Empties the table and keeps its memory for the next interval.
    pub fn clear(&mut self) {
        self.clear_series();
        self.messages = 0;
        self.exporters.clear();
        self.messages_of_others = 0;
        self.datagrams = 0;
        self.payload_bytes = 0;
        self.late_messages = 0;
        self.classes = Default::default();
        self.counted = RecordTotals::default();
        self.ignored = Default::default();
        self.ignored_by_view.fill(Default::default());
        for filters in &mut self.filtered_out {
            filters.fill(FilteredOut::default());
        }
        self.skipped = Default::default();
        self.malformed = Default::default();
        self.as_found = Default::default();
        self.sampling_rates.clear();
        self.unknown_rate = 0;
        self.evidence.clear();
        self.values_truncated.fill(0);
        self.values_missing.fill(Missing::default());
        self.packets_missing = 0;
        self.flows_by_view.fill(0);
    }
}

/// The first column of a key.
fn head(key: &[u32]) -> KeyHead {
    KeyHead::try_from(key[0]).expect("keys are made of heads, by the pipeline")
}

/// The counts of one series in a table, in the order of its view's measures.
#[derive(Debug, Clone, Copy)]
pub struct SeriesCounts<'c>(&'c [u32]);

impl SeriesCounts<'_> {
    /// All counts.
    pub fn iter(self) -> impl ExactSizeIterator<Item = u64> {
        self.0.chunks_exact(COLUMNS_PER_COUNT).map(read_count)
    }
}

/// Memory for this many series is always kept.
const KEPT_SERIES: usize = 1 << 15;

/// Columns of a row that hold one count.
pub(super) const COLUMNS_PER_COUNT: usize = 2;

pub(super) fn read_count(columns: &[u32]) -> u64 {
    u64::from(columns[0]) | u64::from(columns[1]) << 32
}

fn count_columns(count: u64) -> [u32; COLUMNS_PER_COUNT] {
    [count as u32, (count >> 32) as u32]
}

/// Adds to the series with this key; false, and nothing added, if a count would overflow.
#[inline]
fn add(
    index: &mut HashTable<u32>,
    hasher: &DefaultHashBuilder,
    rows: &mut Vec<u32>,
    key: &[u32],
    counts: &[u64],
) -> bool {
    let width = key.len();
    let stride = width + COLUMNS_PER_COUNT * counts.len();
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
            let sums = &mut rows[start..start + COLUMNS_PER_COUNT * counts.len()];
            let mut new = [0; Measure::ALL.len()];
            for ((new, sum), count) in
                new.iter_mut().zip(sums.chunks_exact(COLUMNS_PER_COUNT)).zip(counts)
            {
                let Some(sum) = read_count(sum).checked_add(*count) else { return false };
                *new = sum;
            }
            for (sum, new) in sums.chunks_exact_mut(COLUMNS_PER_COUNT).zip(new) {
                sum.copy_from_slice(&count_columns(new));
            }
        }
        Entry::Vacant(entry) => {
            let slot = rows.len() / stride;
            entry.insert(u32::try_from(slot).expect("fewer than 2^32 series"));
            rows.extend_from_slice(key);
            rows.extend(counts.iter().flat_map(|&count| count_columns(count)));
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
