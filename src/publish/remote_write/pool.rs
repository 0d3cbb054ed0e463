//! Stores the labels of all series of an endpoint, each distinct label once.

use std::{collections::BTreeSet, hash::BuildHasher};

use hashbrown::{DefaultHashBuilder, HashTable};
use prost::encoding::encoded_len_varint;

use crate::slots::{Slab, Slots, give_back_index};

/// The labels of a series in a [`LabelPool`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LabelSet(u32);

/// The labels of series. A series costs a word of 4 bytes for each label and one more, and a
/// distinct label (name and value) is stored once.
///
/// A [`LabelSet`] is a small handle for the labels of a series. It stays valid until it is removed;
/// later additions reuse its memory.
#[derive(Debug, Default)]
pub struct LabelPool {
    hasher: DefaultHashBuilder,
    /// Names and values.
    texts: Slab<Text>,
    text_index: HashTable<u32>,
    /// Names with their values.
    pairs: Slab<Pair>,
    pair_index: HashTable<u32>,
    sets: Sets,
}

/// A name or a value.
#[derive(Debug, Default)]
struct Text {
    text: Box<str>,
    /// How many labels of series have it as name or value.
    uses: u32,
}

/// A label.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Pair {
    /// The name's text.
    pub(super) name: u32,
    /// The value's text.
    pub(super) value: u32,
    /// How many series have it.
    uses: u32,
}

impl LabelPool {
    /// A pool without series.
    pub fn new() -> Self {
        LabelPool::default()
    }

    /// Adds the labels (name, value) of a series: sorted by name, each name once, none empty, the
    /// metric's name as `__name__` among them. Equal series added twice get two handles.
    ///
    /// # Panics
    /// If there are more than 65,534 labels, far beyond what any receiver takes.
    pub fn add<'l>(&mut self, labels: impl IntoIterator<Item = (&'l str, &'l str)>) -> LabelSet {
        self.sets.begin();
        let mut encoded_len = 0;
        for (name, value) in labels {
            debug_assert!(!name.is_empty() && !value.is_empty(), "empty label {name:?}");
            let name = self.text(name);
            let value = self.text(value);
            encoded_len += self.encoded_pair_len(name, value);
            let pair = self.pair(name, value);
            self.sets.word(pair);
        }
        self.sets.end(encoded_len)
    }

    /// Removes a series. Its handle must not be used any more: another series may get it.
    pub fn remove(&mut self, set: LabelSet) {
        let LabelPool { hasher, texts, text_index, pairs, pair_index, sets } = self;
        for &id in sets.pairs(set) {
            let pair = &mut pairs[id];
            pair.uses -= 1;
            let Pair { name, value, uses, .. } = *pair;
            if uses == 0 {
                let hash = hasher.hash_one((name, value));
                if let Ok(entry) = pair_index.find_entry(hash, |&other| other == id) {
                    entry.remove();
                }
                pairs.remove(id);
            }
            for id in [name, value] {
                let text = &mut texts[id];
                text.uses -= 1;
                if text.uses == 0 {
                    let text = std::mem::take(&mut text.text);
                    let hash = hasher.hash_one(&*text);
                    if let Ok(entry) = text_index.find_entry(hash, |&other| other == id) {
                        entry.remove();
                    }
                    texts.remove(id);
                }
            }
        }
        sets.free(set);
        give_back_index(pair_index, |&id| {
            let Pair { name, value, .. } = pairs[id];
            hasher.hash_one((name, value))
        });
        give_back_index(text_index, |&id| hasher.hash_one(&*texts[id].text));
    }

    /// The labels (name, value) of a series, sorted by name.
    pub fn labels(&self, set: LabelSet) -> impl ExactSizeIterator<Item = (&str, &str)> {
        self.sets.pairs(set).iter().map(|&pair| {
            let Pair { name, value, .. } = self.pairs[pair];
            (self.text_of(name), self.text_of(value))
        })
    }

    /// The size of a series' labels in a request of 1.0, in bytes, before compression. In 2.0 it is
    /// less, as most labels are shared with other series.
    pub fn encoded_len(&self, set: LabelSet) -> usize {
        self.sets.encoded_len(set) as usize
    }

    /// The most that a series takes in a request of either protocol, in bytes, before compression,
    /// without its samples.
    pub fn request_len(&self, set: LabelSet) -> usize {
        // In 2.0, a label that no other series has takes two symbols, and two references of up to
        // three bytes: no request has more symbols than those can address.
        self.encoded_len(set) + REFERENCES * self.sets.pairs(set).len() + SERIES_FIELDS
    }

    /// The labels of a series, by their ids.
    pub(super) fn pair_ids(&self, set: LabelSet) -> &[u32] {
        self.sets.pairs(set)
    }

    /// The label with an id.
    pub(super) fn pair_of(&self, id: u32) -> Pair {
        self.pairs[id]
    }

    /// The text with an id.
    pub(super) fn text_of(&self, id: u32) -> &str {
        &self.texts[id].text
    }

    /// Ids of texts and of labels are below these.
    pub(super) fn id_bounds(&self) -> (usize, usize) {
        (self.texts.bound(), self.pairs.bound())
    }

    /// The id of a text, if some label has it.
    pub(super) fn find_text(&self, text: &str) -> Option<u32> {
        let hash = self.hasher.hash_one(text);
        self.text_index.find(hash, |&id| self.text_of(id) == text).copied()
    }

    /// Finds or adds a text, which gets one more use.
    fn text(&mut self, text: &str) -> u32 {
        let LabelPool { hasher, texts, text_index, .. } = self;
        let hash = hasher.hash_one(text);
        let known = text_index.find(hash, |&id| *texts[id].text == *text).copied();
        let id = known.unwrap_or_else(|| {
            let id = texts.insert(Text { text: text.into(), uses: 0 });
            text_index.insert_unique(hash, id, |&id| hasher.hash_one(&*texts[id].text));
            id
        });
        texts[id].uses += 1;
        id
    }

    /// What a label takes in a `TimeSeries` of 1.0, in bytes.
    fn encoded_pair_len(&self, name: u32, value: u32) -> u32 {
        let [name, value] = [name, value].map(|text| field_len(self.texts[text].text.len()));
        field_len(name + value) as u32
    }

    /// Finds or adds a label, which gets one more use.
    fn pair(&mut self, name: u32, value: u32) -> u32 {
        let LabelPool { hasher, pairs, pair_index, .. } = self;
        let hash = hasher.hash_one((name, value));
        let key = |pair: &Pair| (pair.name, pair.value);
        let known = pair_index.find(hash, |&id| key(&pairs[id]) == (name, value)).copied();
        let id = known.unwrap_or_else(|| {
            let id = pairs.insert(Pair { name, value, uses: 0 });
            pair_index.insert_unique(hash, id, |&id| hasher.hash_one(key(&pairs[id])));
            id
        });
        pairs[id].uses += 1;
        id
    }
}

/// What the references to a label's name and value take in a request of 2.0, in bytes, beyond what
/// frames a label in 1.0.
const REFERENCES: usize = 2 * 3 - 2;

/// What a series takes in addition to labels and samples, in bytes: its own tag and length (6); in
/// 2.0 also those of its references (6), its metadata (12) and its start time (11).
const SERIES_FIELDS: usize = 35;

/// The size of a protobuf field whose value has this length, in bytes: tag, length and value.
pub(super) fn field_len(length: usize) -> usize {
    1 + encoded_len_varint(length as u64) + length
}

/// Lists of label ids. Each is a block of words: the encoded length of the labels, and their ids. A
/// handle says where the block begins: which chunk, and where in it. The blocks of a chunk have the
/// same number of labels, so that any of them fits where another one was.
#[derive(Debug, Default)]
struct Sets {
    chunks: Vec<Chunk>,
    /// Which chunks are in use.
    numbers: Slots,
    /// For each number of labels the chunks that have room. The first one is filled first, so that
    /// the others become empty and can be given back.
    roomy: Vec<BTreeSet<u32>>,
    /// The ids of the set that is being added.
    building: Vec<u32>,
}

/// Some blocks. Chunks are small, so that more sets move none of those before.
#[derive(Debug, Default)]
struct Chunk {
    /// At most [`CHUNK`].
    words: Vec<u32>,
    /// Labels of each block.
    labels: usize,
    /// Blocks in use.
    used: u32,
    /// Where a free block begins; its first word leads to the next one, or is [`NONE`].
    free: u32,
}

/// The words of a block before the ids.
const HEAD: usize = 1;

/// Words of a chunk: a quarter of a mebibyte.
const CHUNK: usize = 1 << 16;

/// Where no further block is free.
const NONE: u32 = u32::MAX;

impl Sets {
    fn begin(&mut self) {
        self.building.clear();
    }

    fn word(&mut self, pair: u32) {
        self.building.push(pair);
    }

    fn end(&mut self, encoded_len: u32) -> LabelSet {
        let count = self.building.len();
        let number = self.chunk_with_room(count);
        let chunk = &mut self.chunks[number as usize];
        let at = chunk.take();
        let block = &mut chunk.words[at..at + HEAD + count];
        block[0] = encoded_len;
        block[HEAD..].copy_from_slice(&self.building);
        if !chunk.has_room() {
            self.roomy[count].remove(&number);
        }
        let set = number as usize * CHUNK + at;
        LabelSet(u32::try_from(set).expect("hundreds of millions of series fit in no memory"))
    }

    /// A chunk that has room for a set of this many labels.
    fn chunk_with_room(&mut self, count: usize) -> u32 {
        assert!(HEAD + count <= CHUNK, "a series of {count} labels");
        if self.roomy.len() <= count {
            self.roomy.resize(count + 1, BTreeSet::new());
        }
        if let Some(&number) = self.roomy[count].first() {
            return number;
        }
        let number = self.numbers.take();
        let chunk = Chunk { words: Vec::new(), labels: count, used: 0, free: NONE };
        match self.chunks.get_mut(number as usize) {
            Some(vacant) => *vacant = chunk,
            None => self.chunks.push(chunk),
        }
        self.roomy[count].insert(number);
        number
    }

    fn pairs(&self, set: LabelSet) -> &[u32] {
        let (chunk, at) = set.place();
        let Chunk { words, labels, .. } = &self.chunks[chunk];
        &words[at + HEAD..at + HEAD + labels]
    }

    fn encoded_len(&self, set: LabelSet) -> u32 {
        let (chunk, at) = set.place();
        self.chunks[chunk].words[at]
    }

    fn free(&mut self, set: LabelSet) {
        let (number, at) = set.place();
        let chunk = &mut self.chunks[number];
        chunk.words[at] = std::mem::replace(&mut chunk.free, at as u32);
        chunk.used -= 1;
        let (number, labels) = (number as u32, chunk.labels);
        if chunk.used > 0 {
            self.roomy[labels].insert(number);
            return;
        }
        *chunk = Chunk::default();
        self.roomy[labels].remove(&number);
        self.numbers.give(number);
        self.chunks.truncate(self.numbers.trim());
    }
}

impl Chunk {
    fn has_room(&self) -> bool {
        self.free != NONE || self.words.len() + HEAD + self.labels <= CHUNK
    }

    /// Where a block is free now.
    fn take(&mut self) -> usize {
        self.used += 1;
        if self.free == NONE {
            let at = self.words.len();
            self.words.resize(at + HEAD + self.labels, 0);
            return at;
        }
        let at = self.free as usize;
        self.free = self.words[at];
        at
    }
}

impl LabelSet {
    /// The chunk, and where in it.
    fn place(self) -> (usize, usize) {
        (self.0 as usize / CHUNK, self.0 as usize % CHUNK)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_of_series_that_came_and_went_leave_no_memory() {
        let mut pool = LabelPool::new();
        let add = |pool: &mut LabelPool, number: u32| {
            let value = number.to_string();
            let wide = [("__name__", "a"), ("host", &*value), ("job", "b")];
            pool.add(wide.into_iter().take(2 + number as usize % 2))
        };
        let mut staying = Vec::new();
        for round in 0..3 {
            let sets: Vec<LabelSet> =
                (0..60_000).map(|number| add(&mut pool, round * 60_000 + number)).collect();
            // Those that stay are neither the first nor the last ones.
            for (number, set) in sets.into_iter().enumerate() {
                if number % 20_000 == 10_000 {
                    staying.push((round * 60_000 + number as u32, set));
                } else {
                    pool.remove(set);
                }
            }
        }
        for &(number, set) in &staying {
            let value = pool.labels(set).find(|(name, _)| *name == "host").map(|(_, value)| value);
            assert_eq!(value, Some(&*number.to_string()));
        }
        let words: usize = pool.sets.chunks.iter().map(|chunk| chunk.words.capacity()).sum();
        assert!(words <= 8 * CHUNK, "{words} words for {} series", staying.len());
        for (_, set) in staying {
            pool.remove(set);
        }
        assert_eq!(pool.id_bounds(), (0, 0));
        assert!(pool.sets.chunks.is_empty());
        assert!(pool.text_index.capacity() < 4096 && pool.pair_index.capacity() < 4096);
    }
}
