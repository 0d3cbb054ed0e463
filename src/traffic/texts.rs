//! Texts as numbers: each distinct text once.

use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashTable};

/// The number of a text in the [`Texts`] that gave it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TextId(pub u32);

/// Distinct texts, numbered from 0 in the order in which they came.
#[derive(Debug, Default)]
pub struct Texts {
    /// All texts, concatenated.
    joined: String,
    /// Where in `joined` each text ends.
    ends: Vec<usize>,
    index: HashTable<u32>,
    hasher: DefaultHashBuilder,
    /// The text of the last call. Flows of a router come in runs, so this answers most calls.
    last: Option<u32>,
}

impl Texts {
    /// The number of `text`, which is added if it is new.
    pub fn intern(&mut self, text: &str) -> TextId {
        if let Some(last) = self.last
            && self.get(TextId(last)) == text
        {
            return TextId(last);
        }
        let hash = self.hasher.hash_one(text);
        let Texts { joined, ends, index, hasher, last } = self;
        let id = match index.entry(
            hash,
            |&id| slice(joined, ends, id) == text,
            |&id| hasher.hash_one(slice(joined, ends, id)),
        ) {
            hashbrown::hash_table::Entry::Occupied(entry) => *entry.get(),
            hashbrown::hash_table::Entry::Vacant(entry) => {
                let id = u32::try_from(ends.len()).expect("fewer than 2^32 distinct texts");
                entry.insert(id);
                joined.push_str(text);
                ends.push(joined.len());
                id
            }
        };
        *last = Some(id);
        TextId(id)
    }

    /// The text with this number.
    ///
    /// # Panics
    /// If these texts never gave the number.
    pub fn get(&self, TextId(id): TextId) -> &str {
        slice(&self.joined, &self.ends, id)
    }

    /// All texts, by number.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        (0..self.ends.len() as u32).map(|id| self.get(TextId(id)))
    }

    /// The size of all texts together, in bytes.
    pub fn bytes(&self) -> usize {
        self.joined.len()
    }

    /// Forgets all texts and keeps the memory, except what a burst took and the texts after it did
    /// not need.
    pub fn clear(&mut self) {
        if self.joined.capacity() > KEPT_BYTES && self.joined.capacity() / 8 > self.joined.len() {
            self.joined = String::new();
        }
        if self.index.capacity() > KEPT_TEXTS && self.index.capacity() / 8 > self.index.len() {
            self.ends = Vec::new();
            self.index = HashTable::new();
        }
        self.joined.clear();
        self.ends.clear();
        self.index.clear();
        self.last = None;
    }
}

/// Memory for this many texts, and for this many bytes of them, is always kept.
const KEPT_TEXTS: usize = 1 << 12;
const KEPT_BYTES: usize = 1 << 16;

fn slice<'t>(joined: &'t str, ends: &[usize], id: u32) -> &'t str {
    let id = id as usize;
    let start = if id == 0 { 0 } else { ends[id - 1] };
    &joined[start..ends[id]]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_has_one_number_and_the_number_gives_the_text_back() {
        let mut texts = Texts::default();
        let ids: Vec<_> =
            ["edge1", "", "edge2", "edge1", "", "é"].map(|text| texts.intern(text).0).into();
        assert_eq!(ids, [0, 1, 2, 0, 1, 3]);
        assert_eq!(texts.iter().collect::<Vec<_>>(), ["edge1", "", "edge2", "é"]);
        texts.clear();
        assert_eq!(texts.intern("other"), TextId(0));
        assert_eq!(texts.get(TextId(0)), "other");
    }

    #[test]
    fn memory_that_one_burst_of_texts_took_is_given_back() {
        let mut texts = Texts::default();
        for number in 0..100_000 {
            texts.intern(&format!("host{number}"));
        }
        texts.clear();
        texts.intern("a");
        texts.clear();
        assert!(texts.index.capacity() <= KEPT_TEXTS && texts.ends.capacity() <= KEPT_TEXTS);
        assert!(texts.joined.capacity() <= KEPT_BYTES);
    }
}
