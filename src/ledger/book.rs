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
        let layout = Arc::clone(&self.layout);
        for slot in 0..self.keys.len() {
            let renamed = self.starts.row(slot)[0] != VACANT
                && self.keys.row(slot)[1..].iter().zip(layout.dimensions()).any(
                    |(column, dimension)| {
                        !dimension.is_text() && changed.binary_search(column).is_ok()
                    },
                );
            if renamed {
                self.end(slot);
            }
        }
    }

    /// Takes a snapshot with the time of this cut, which is moved past the previous cut's where
    /// the clock did not move on.
    pub fn cut(&mut self, time_ms: i64, taken: Instant) -> Snapshot {
        self.sequence += 1;
        self.time_ms = time_ms.max(self.time_ms + 1);
        Snapshot {
            sequence: self.sequence,
            time_ms: self.time_ms,
            taken,
            layout: Arc::clone(&self.layout),
            names: Arc::clone(&self.names),
            texts: self.shared_texts.clone(),
            keys: self.keys.clone(),
            bytes: self.bytes.clone(),
            starts: self.starts.clone(),
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
        match entry {
            Entry::Occupied(entry) => {
                let slot = *entry.get() as usize;
                let sum = &mut self.bytes.row_mut(slot)[0];
                if let Some(new) = sum.checked_add(bytes) {
                    *sum = new;
                } else {
                    // A counter never falls while its identity lasts, so a sum that passes 2^64
                    // goes on as a new series of the same labels.
                    let rest = sum.wrapping_add(bytes);
                    *sum = rest;
                    self.starts.row_mut(slot)[0] = self.time_ms;
                }
            }
            Entry::Vacant(entry) => {
                if let Some(slot) = self.vacant.pop() {
                    entry.insert(slot);
                    let slot = slot as usize;
                    self.keys.row_mut(slot).copy_from_slice(key);
                    self.bytes.row_mut(slot)[0] = bytes;
                    self.starts.row_mut(slot)[0] = self.time_ms;
                } else {
                    entry.insert(u32::try_from(self.bytes.len()).expect("fewer than 2^32 series"));
                    self.keys.push(key);
                    self.bytes.push(&[bytes]);
                    self.starts.push(&[self.time_ms]);
                }
                self.live += 1;
            }
        }
    }

    fn end(&mut self, slot: usize) {
        let hash = hash_key(&self.hasher, self.keys.row(slot));
        if let Ok(entry) = self.index.find_entry(hash, |&other| other as usize == slot) {
            entry.remove();
        }
        self.starts.row_mut(slot)[0] = VACANT;
        self.vacant.push(slot as u32);
        self.live -= 1;
    }
}
