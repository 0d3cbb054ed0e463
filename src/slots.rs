//! Numbered slots: which ones are vacant, and vectors and sets by slot that shrink as slots at the
//! end become vacant.

use std::ops::{Index, IndexMut};

use hashbrown::HashTable;

/// A set of numbers from 0 on: a bit for each up to the largest.
#[derive(Debug, Clone, Default)]
pub(crate) struct Bits {
    words: Vec<u64>,
}

impl Bits {
    pub(crate) fn contains(&self, number: usize) -> bool {
        self.words.get(number / 64).is_some_and(|word| word >> (number % 64) & 1 == 1)
    }

    /// Adds a number. Returns whether it is new.
    pub(crate) fn insert(&mut self, number: usize) -> bool {
        let place = number / 64;
        if place >= self.words.len() {
            self.words.resize(place + 1, 0);
        }
        let before = self.words[place];
        self.words[place] |= 1 << (number % 64);
        before != self.words[place]
    }

    /// Takes a number out. Returns whether it was in.
    pub(crate) fn remove(&mut self, number: usize) -> bool {
        let Some(word) = self.words.get_mut(number / 64) else { return false };
        let before = *word;
        *word &= !(1 << (number % 64));
        before != *word
    }

    /// The words up to the last one with a number.
    pub(crate) fn used(&self) -> &[u64] {
        let used = self.words.iter().rposition(|&word| word != 0).map_or(0, |last| last + 1);
        &self.words[..used]
    }

    /// The number after the last one.
    pub(crate) fn end(&self) -> usize {
        let used = self.used();
        used.last().map_or(0, |last| used.len() * 64 - last.leading_zeros() as usize)
    }

    /// Forgets the words behind the last number.
    pub(crate) fn trim(&mut self) {
        self.words.truncate(self.used().len());
    }

    /// Frees the memory of numbers from `bound` on, which the set does not have.
    pub(crate) fn shrink(&mut self, bound: usize) {
        self.words.truncate(bound.div_ceil(64));
        give_back(&mut self.words);
    }
}

/// Which slots are vacant. The lowest one is taken first, so that the last ones become vacant and
/// can be given back.
#[derive(Debug, Clone, Default)]
pub(crate) struct Slots {
    vacant: Bits,
    /// Slots are below this.
    len: usize,
    vacancies: usize,
    /// No word of `vacant` before this one has a bit.
    first_word: usize,
}

impl Slots {
    /// Slots are below this; those at the end may be vacant.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// How many slots are taken.
    pub(crate) fn taken(&self) -> usize {
        self.len - self.vacancies
    }

    /// Whether this slot is taken.
    pub(crate) fn is_taken(&self, slot: usize) -> bool {
        slot < self.len && !self.vacant.contains(slot)
    }

    /// Takes the lowest vacant slot, or a new one at the end.
    ///
    /// # Panics
    /// If there are 2^32 slots, far more than fit in memory.
    pub(crate) fn take(&mut self) -> u32 {
        let Some(slot) = self.lowest() else { return self.take_new() };
        self.vacant.remove(slot);
        self.vacancies -= 1;
        slot as u32
    }

    /// Takes a new slot at the end, whatever is vacant before it.
    ///
    /// # Panics
    /// If there are 2^32 slots, far more than fit in memory.
    pub(crate) fn take_new(&mut self) -> u32 {
        self.len += 1;
        u32::try_from(self.len - 1).expect("fewer than 2^32 slots")
    }

    /// Gives a slot back that was taken.
    pub(crate) fn give(&mut self, slot: u32) {
        let slot = slot as usize;
        debug_assert!(slot < self.len, "slot {slot} was never taken");
        if self.vacant.insert(slot) {
            self.vacancies += 1;
            self.first_word = self.first_word.min(slot / 64);
        }
    }

    /// Forgets the vacant slots at the end. Returns how many slots are left.
    pub(crate) fn trim(&mut self) -> usize {
        while self.len > 0 && self.vacant.remove(self.len - 1) {
            self.len -= 1;
            self.vacancies -= 1;
        }
        self.vacant.shrink(self.len);
        self.first_word = self.first_word.min(self.vacant.words.len());
        self.len
    }

    fn lowest(&mut self) -> Option<usize> {
        if self.vacancies == 0 {
            return None;
        }
        let from = self.first_word;
        let word = from + self.vacant.words[from..].iter().position(|&word| word != 0)?;
        self.first_word = word;
        Some(word * 64 + self.vacant.words[word].trailing_zeros() as usize)
    }
}

/// Values in slots. A value keeps its slot until it is removed; what is removed makes room for what
/// is inserted later.
///
/// The values are in chunks, so that growing moves none of them and leaves no unused half.
#[derive(Debug, Clone)]
pub(crate) struct Slab<T> {
    /// Each has [`CHUNK`] values, but for the last one.
    chunks: Vec<Vec<T>>,
    slots: Slots,
}

/// Values in a chunk of a [`Slab`].
const CHUNK: usize = 1024;

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Slab { chunks: Vec::new(), slots: Slots::default() }
    }
}

impl<T> Slab<T> {
    /// Slots are below this.
    pub(crate) fn bound(&self) -> usize {
        self.slots.len()
    }

    /// Puts a value into the lowest vacant slot, and returns that.
    ///
    /// # Panics
    /// If there are 2^32 slots, far more than fit in memory.
    pub(crate) fn insert(&mut self, value: T) -> u32 {
        let bound = self.slots.len();
        let slot = self.slots.take();
        if (slot as usize) < bound {
            self[slot] = value;
            return slot;
        }
        match self.chunks.last_mut() {
            Some(last) if last.len() < CHUNK => last.push(value),
            _ => {
                let mut chunk = Vec::with_capacity(CHUNK);
                chunk.push(value);
                self.chunks.push(chunk);
            }
        }
        slot
    }

    /// Makes a slot vacant, and gives memory back that vacant slots at the end take. The value stays
    /// in a slot until another one comes or the slot is given back: one that owns memory is best
    /// taken out before.
    pub(crate) fn remove(&mut self, slot: u32) {
        self.slots.give(slot);
        if slot as usize + 1 == self.slots.len() {
            let bound = self.slots.trim();
            self.chunks.truncate(bound.div_ceil(CHUNK));
            if let Some(last) = self.chunks.last_mut() {
                last.truncate(bound - (bound - 1) / CHUNK * CHUNK);
            }
        }
    }

    /// The values in all slots, vacant ones included.
    pub(crate) fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.chunks.iter_mut().flatten()
    }
}

impl<T> Index<u32> for Slab<T> {
    type Output = T;

    fn index(&self, slot: u32) -> &T {
        let slot = slot as usize;
        &self.chunks[slot / CHUNK][slot % CHUNK]
    }
}

impl<T> IndexMut<u32> for Slab<T> {
    fn index_mut(&mut self, slot: u32) -> &mut T {
        let slot = slot as usize;
        &mut self.chunks[slot / CHUNK][slot % CHUNK]
    }
}

/// A vector or an index with room for no more items than this keeps it.
const KEPT_ITEMS: usize = 1024;

/// Gives the greater part of a vector's room back, where more than three quarters of it are unused.
pub(crate) fn give_back<T>(items: &mut Vec<T>) {
    if items.capacity() > KEPT_ITEMS && items.capacity() / 4 > items.len() {
        items.shrink_to(KEPT_ITEMS.max(items.len() + items.len() / 2));
    }
}

/// Gives the greater part of an index's room back, where more than three quarters of it are unused.
/// `hash` is that of an entry.
pub(crate) fn give_back_index(index: &mut HashTable<u32>, hash: impl Fn(&u32) -> u64) {
    if index.capacity() > KEPT_ITEMS && index.capacity() / 4 > index.len() {
        index.shrink_to(KEPT_ITEMS.max(index.len() + index.len() / 2), hash);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_lowest_vacant_slot_is_taken_and_no_slot_twice(
            steps in prop::collection::vec(any::<(u8, u16)>(), 0..400),
        ) {
            let mut slots = Slots::default();
            let mut taken = BTreeSet::new();
            for (kind, which) in steps {
                match kind % 8 {
                    0..=3 => {
                        let slot = slots.take();
                        prop_assert!((0..slot).all(|lower| taken.contains(&lower)));
                        prop_assert!(!taken.contains(&slot));
                        taken.insert(slot);
                    }
                    4..=6 => {
                        let place = usize::from(which) % taken.len().max(1);
                        if let Some(&slot) = taken.iter().nth(place) {
                            taken.remove(&slot);
                            slots.give(slot);
                        }
                    }
                    _ => {
                        let end = taken.last().map_or(0, |&last| last as usize + 1);
                        prop_assert_eq!(slots.trim(), end);
                    }
                }
                prop_assert!(taken.iter().all(|&slot| (slot as usize) < slots.len()));
                prop_assert_eq!(slots.taken(), taken.len());
                let found = (0..=slots.len()).filter(|&slot| slots.is_taken(slot));
                prop_assert!(found.eq(taken.iter().map(|&slot| slot as usize)));
            }
        }
    }

    #[test]
    fn a_value_keeps_its_slot_and_vacant_slots_at_the_end_take_no_memory() {
        let mut slab = Slab::default();
        let slots: Vec<u32> = (0..100_000_u32).map(|value| slab.insert(value)).collect();
        assert_eq!(slots, (0..100_000).collect::<Vec<_>>());
        for slot in slots.into_iter().filter(|slot| slot % 50_000 != 7) {
            slab.remove(slot);
        }
        assert_eq!((slab[7], slab[50_007], slab.bound()), (7, 50_007, 50_008));
        assert_eq!(slab.values_mut().count(), 50_008);
        slab.remove(50_007);
        assert_eq!((slab.bound(), slab.values_mut().count()), (8, 8));
        assert_eq!(slab.chunks.len(), 1);
        assert_eq!((slab.insert(1), slab.insert(2)), (0, 1));
        assert_eq!((slab[0], slab[1], slab[7]), (1, 2, 7));
    }

    #[test]
    fn a_set_ends_behind_its_largest_number() {
        let mut numbers = Bits::default();
        assert_eq!(numbers.end(), 0);
        for number in [0, 63, 64, 200] {
            numbers.insert(number);
            assert_eq!(numbers.end(), number + 1);
        }
        numbers.remove(200);
        assert_eq!(numbers.end(), 65);
    }

    #[test]
    fn memory_for_slots_that_are_gone_is_given_back() {
        let mut slots = Slots::default();
        for _ in 0..1_000_000 {
            slots.take();
        }
        for slot in 1..1_000_000 {
            slots.give(slot);
        }
        assert_eq!(slots.trim(), 1);
        assert!(slots.vacant.words.capacity() <= KEPT_ITEMS);
        assert_eq!(slots.take(), 1);
    }
}
