//! The book: every series' running total, merged from what the workers hand over.

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use hashbrown::{DefaultHashBuilder, HashTable, hash_table::Entry};

use crate::{
    asn::AsNames,
    source::Position,
    traffic::{Counts, Layout, TextId, Texts, hash_key},
};

use super::{
    columns::Columns,
    definition::{Column, Definition},
    snapshot::{Snapshot, VACANT},
};

/// The running totals of all series. Merging and snapshots; no I/O, no clock.
#[derive(Debug)]
pub struct Book {
    layout: Arc<Layout>,
    names: Arc<AsNames>,
    /// Numbers of hostnames; the text columns of the keys hold them.
    texts: Texts,
    /// The same texts in the form that snapshots share.
    shared_texts: Columns<Arc<str>>,
    index: HashTable<u32>,
    hasher: DefaultHashBuilder,
    keys: Columns<u32>,
    bytes: Columns<u64>,
    starts: Columns<i64>,
    /// Time of the cut that last changed each series, in milliseconds since the epoch.
    changes: Columns<i64>,
    /// Slots in which anything has changed since [`Book::settled`], each once.
    touched: Vec<u32>,
    /// Which slots are in `touched`.
    is_touched: Vec<bool>,
    vacant: Vec<u32>,
    live: usize,
    positions: Arc<BTreeMap<i32, i64>>,
    sequence: u64,
    /// Time of the newest cut, in milliseconds since the epoch.
    time_ms: i64,
}

impl Book {
    /// A book without series. Nothing is counted before `start_ms` (milliseconds since the epoch).
    pub fn new(layout: Layout, names: Arc<AsNames>, start_ms: i64) -> Self {
        let width = layout.width();
        Book {
            layout: Arc::new(layout),
            names,
            texts: Texts::default(),
            shared_texts: Columns::new(1),
            index: HashTable::new(),
            hasher: DefaultHashBuilder::default(),
            keys: Columns::new(width),
            bytes: Columns::new(1),
            starts: Columns::new(1),
            changes: Columns::new(1),
            touched: Vec::new(),
            is_touched: Vec::new(),
            vacant: Vec::new(),
            live: 0,
            positions: Arc::default(),
            sequence: 0,
            time_ms: start_ms,
        }
    }

    /// How many series there are.
    pub fn len(&self) -> usize {
        self.live
    }

    /// Whether there is no series.
    pub fn is_empty(&self) -> bool {
        self.live == 0
    }

    /// Time of the newest cut, in milliseconds since the epoch.
    pub fn time_ms(&self) -> i64 {
        self.time_ms
    }

    /// Says that nothing is counted before `from_ms` (milliseconds since the epoch).
    pub(super) fn begin(&mut self, from_ms: i64) {
        if self.is_empty() {
            self.time_ms = from_ms;
        }
    }

    /// Adds what one worker counted, with how far it counted.
    pub fn merge(&mut self, counts: &Counts, positions: &[Position]) {
        let text_ids: Vec<u32> = counts.texts().iter().map(|text| self.text(text)).collect();
        let mut key = [0; Layout::MAX_WIDTH];
        let key = &mut key[..self.layout.width()];
        for (counted, bytes) in counts.series() {
            key.copy_from_slice(counted);
            for (column, dimension) in key[1..].iter_mut().zip(self.layout.dimensions()) {
                if dimension.is_text() {
                    *column = text_ids[*column as usize];
                }
            }
            self.add(key, bytes);
        }
        self.advance(positions);
    }

    /// Takes note of how far partitions are counted.
    pub(super) fn advance(&mut self, positions: &[Position]) {
        if !positions.is_empty() {
            Arc::make_mut(&mut self.positions).extend(
                positions.iter().map(|position| (position.partition, position.next_offset)),
            );
        }
    }

    /// Names autonomous systems by `names` from the next snapshot on.
    ///
    /// A series' identity is its label text: series whose names change end here, and those under
    /// the new names begin from zero.
    pub fn rename(&mut self, names: Arc<AsNames>) {
        let changed = self.names.changed(&names);
        self.names = names;
        if changed.is_empty() {
            return;
        }
        self.end_where(|book, slot| {
            book.keys.row(slot)[1..].iter().zip(book.layout.dimensions()).any(
                |(column, dimension)| !dimension.is_text() && changed.binary_search(column).is_ok(),
            )
        });
    }

    /// Ends the series that have not changed since `before_ms` (milliseconds since the epoch).
    /// Returns how many.
    pub(super) fn expire(&mut self, before_ms: i64) -> u64 {
        let living = self.live;
        self.end_where(|book, slot| book.changes.row(slot)[0] < before_ms);
        (living - self.live) as u64
    }

    /// Slots in which anything has changed since [`Book::settled`].
    pub fn touched(&self) -> &[u32] {
        &self.touched
    }

    /// Says that what was touched is published.
    pub fn settled(&mut self) {
        for slot in self.touched.drain(..) {
            self.is_touched[slot as usize] = false;
        }
    }

    /// Ends the series for which `ends` (which gets the slot) is true.
    fn end_where(&mut self, ends: impl Fn(&Book, usize) -> bool) {
        for slot in 0..self.keys.len() {
            if self.starts.row(slot)[0] != VACANT && ends(self, slot) {
                self.end(slot);
            }
        }
    }

    /// Begins to load what was counted before: the number of the last cut, and positions.
    pub(super) fn restore(&mut self, sequence: u64, positions: impl Iterator<Item = (i32, i64)>) {
        self.sequence = sequence;
        self.positions = Arc::new(positions.collect());
    }

    /// Loads the next slot: it holds this series. False, with the book of no use any more, if
    /// another slot holds it too.
    pub(super) fn restore_series(
        &mut self,
        definition: &Definition<'_>,
        start_ms: i64,
        changed_ms: i64,
        bytes: u64,
    ) -> bool {
        let mut key = vec![definition.direction as u32];
        for column in &definition.columns {
            key.push(match *column {
                Column::As { number, .. } => number,
                Column::Text(text) => self.text(text),
            });
        }
        let slot = self.push(&key, start_ms, bytes);
        self.changes.row_mut(slot as usize)[0] = changed_ms;
        let Book { index, hasher, keys, .. } = self;
        let entry = index.entry(
            hash_key(hasher, &key),
            |&other| keys.row(other as usize) == key,
            |&other| hash_key(hasher, keys.row(other as usize)),
        );
        let Entry::Vacant(entry) = entry else { return false };
        entry.insert(slot);
        self.live += 1;
        true
    }

    /// Loads the next slot: it is vacant.
    pub(super) fn restore_vacant(&mut self) {
        let key = vec![0; self.layout.width()];
        let slot = self.push(&key, VACANT, 0);
        self.vacant.push(slot);
    }

    /// Takes a snapshot with the time of this cut, which is never before that of the previous one.
    pub fn cut(&mut self, time_ms: i64, taken: Instant) -> Snapshot {
        self.sequence += 1;
        self.time_ms = time_ms.max(self.time_ms);
        for &slot in &self.touched {
            self.changes.row_mut(slot as usize)[0] = self.time_ms;
        }
        Snapshot { taken, ..self.snapshot() }
    }

    /// The book as it is, as of the newest cut.
    pub(super) fn snapshot(&self) -> Snapshot {
        Snapshot {
            sequence: self.sequence,
            time_ms: self.time_ms,
            taken: Instant::now(),
            layout: Arc::clone(&self.layout),
            names: Arc::clone(&self.names),
            texts: self.shared_texts.clone(),
            keys: self.keys.clone(),
            bytes: self.bytes.clone(),
            starts: self.starts.clone(),
            changes: self.changes.clone(),
            live: self.live,
            positions: Arc::clone(&self.positions),
        }
    }

    fn text(&mut self, text: &str) -> u32 {
        let TextId(id) = self.texts.intern(text);
        if id as usize == self.shared_texts.len() {
            self.shared_texts.push(&[Arc::from(text)]);
        }
        id
    }

    fn add(&mut self, key: &[u32], bytes: u64) {
        let Book { index, hasher, keys, .. } = self;
        let entry = index.entry(
            hash_key(hasher, key),
            |&slot| keys.row(slot as usize) == key,
            |&slot| hash_key(hasher, keys.row(slot as usize)),
        );
        let slot = match entry {
            Entry::Occupied(entry) => {
                let slot = *entry.get();
                let sum = &mut self.bytes.row_mut(slot as usize)[0];
                let (new, overflows) = sum.overflowing_add(bytes);
                *sum = new;
                if overflows {
                    // A counter never falls while its identity lasts, so a sum that passes 2^64
                    // goes on as a new series of the same labels.
                    self.starts.row_mut(slot as usize)[0] = self.time_ms;
                }
                slot
            }
            Entry::Vacant(entry) => {
                self.live += 1;
                if let Some(slot) = self.vacant.pop() {
                    entry.insert(slot);
                    let row = slot as usize;
                    self.keys.row_mut(row).copy_from_slice(key);
                    self.bytes.row_mut(row)[0] = bytes;
                    self.starts.row_mut(row)[0] = self.time_ms;
                    slot
                } else {
                    entry.insert(u32::try_from(self.bytes.len()).expect("fewer than 2^32 series"));
                    self.push(key, self.time_ms, bytes)
                }
            }
        };
        self.touch(slot);
    }

    /// Appends a slot, and returns its number.
    fn push(&mut self, key: &[u32], start_ms: i64, bytes: u64) -> u32 {
        let slot = u32::try_from(self.bytes.len()).expect("fewer than 2^32 series");
        self.keys.push(key);
        self.bytes.push(&[bytes]);
        self.starts.push(&[start_ms]);
        self.changes.push(&[start_ms]);
        self.is_touched.push(false);
        slot
    }

    fn touch(&mut self, slot: u32) {
        if !std::mem::replace(&mut self.is_touched[slot as usize], true) {
            self.touched.push(slot);
        }
    }

    /// Ends the series in a slot.
    pub(super) fn end(&mut self, slot: usize) {
        let hash = hash_key(&self.hasher, self.keys.row(slot));
        if let Ok(entry) = self.index.find_entry(hash, |&other| other as usize == slot) {
            entry.remove();
        }
        self.starts.row_mut(slot)[0] = VACANT;
        self.vacant.push(slot as u32);
        self.live -= 1;
        self.touch(slot as u32);
    }
}
