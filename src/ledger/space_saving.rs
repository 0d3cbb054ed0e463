//! The heaviest of very many keys, found in fixed memory: Space-Saving, of Metwally, Agrawal and
//! El Abbadi, "Efficient Computation of Frequent and Top-k Elements in Data Streams" (ICDT 2005).

use std::cmp::Reverse;

use hashbrown::HashTable;

/// Watches keys, which it knows by hashes alone, and adds up their weights.
///
/// While there are no more keys than it has room for, all sums are exact. A further key takes the
/// place of the lightest one, and begins with its sum, which is then what the new one's may be too
/// large by. So no sum is too small, and none is too large by more than the weight of all keys
/// divided by the room.
#[derive(Debug)]
pub(super) struct SpaceSaving {
    room: usize,
    entries: Vec<Entry>,
    /// Numbers of entries, the lightest first: a binary heap.
    heap: Vec<u32>,
    /// Numbers of entries by their keys.
    index: HashTable<u32>,
}

#[derive(Debug)]
struct Entry {
    key: u64,
    weight: u64,
    /// The weight may be too large by so much.
    error: u64,
    /// Where in the heap it is.
    place: u32,
}

impl SpaceSaving {
    /// Watches no key yet, and never more than `room`. Takes all its memory now: some 45 bytes for
    /// each of them.
    ///
    /// # Panics
    /// Without room, or with room for 2^32 keys.
    pub(super) fn new(room: usize) -> Self {
        assert!(room > 0 && u32::try_from(room).is_ok(), "room for {room} keys makes no sense");
        SpaceSaving {
            room,
            entries: Vec::with_capacity(room),
            heap: Vec::with_capacity(room),
            index: HashTable::with_capacity(room),
        }
    }

    /// Adds to the weight of the key with this hash.
    pub(super) fn add(&mut self, key: u64, weight: u64) {
        let SpaceSaving { entries, index, heap, .. } = self;
        if let Some(&entry) = index.find(key, |&entry| entries[entry as usize].key == key) {
            let entry = &mut entries[entry as usize];
            entry.weight = entry.weight.saturating_add(weight);
            let place = entry.place as usize;
            self.sink(place);
        } else if entries.len() < self.room {
            let entry = entries.len() as u32;
            let place = heap.len();
            entries.push(Entry { key, weight, error: 0, place: place as u32 });
            heap.push(entry);
            index.insert_unique(key, entry, |&entry| entries[entry as usize].key);
            self.rise(place);
        } else {
            let lightest = heap[0];
            let entry = &mut entries[lightest as usize];
            let gone = std::mem::replace(&mut entry.key, key);
            entry.error = entry.weight;
            entry.weight = entry.weight.saturating_add(weight);
            if let Ok(found) = index.find_entry(gone, |&entry| entry == lightest) {
                found.remove();
            }
            index.insert_unique(key, lightest, |&entry| entries[entry as usize].key);
            self.sink(0);
        }
    }

    /// Whether nothing was added.
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The keys that have some weight for certain, with that weight: the heaviest first, of equal
    /// ones the one that is watched for longer.
    pub(super) fn heaviest(&self) -> Vec<(u64, u64)> {
        let mut keys: Vec<_> =
            self.entries.iter().map(|entry| (entry.key, entry.weight - entry.error)).collect();
        keys.retain(|&(_, weight)| weight > 0);
        keys.sort_by_key(|&(_, weight)| Reverse(weight));
        keys
    }

    /// Forgets all keys.
    pub(super) fn clear(&mut self) {
        self.entries.clear();
        self.heap.clear();
        self.index.clear();
    }

    fn weight(&self, place: usize) -> u64 {
        self.entries[self.heap[place] as usize].weight
    }

    fn swap(&mut self, one: usize, other: usize) {
        self.heap.swap(one, other);
        for place in [one, other] {
            self.entries[self.heap[place] as usize].place = place as u32;
        }
    }

    /// Moves what has become heavier to its place.
    fn sink(&mut self, mut place: usize) {
        loop {
            let children = 2 * place + 1..(2 * place + 3).min(self.heap.len());
            let Some(lightest) = children.min_by_key(|&child| self.weight(child)) else { return };
            if self.weight(place) <= self.weight(lightest) {
                return;
            }
            self.swap(place, lightest);
            place = lightest;
        }
    }

    /// Moves what has come in at the end to its place.
    fn rise(&mut self, mut place: usize) {
        while place > 0 {
            let parent = (place - 1) / 2;
            if self.weight(parent) <= self.weight(place) {
                return;
            }
            self.swap(place, parent);
            place = parent;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn weights_are_never_too_small_and_too_large_by_no_more_than_the_share_of_one_key(
            room in 1..40_usize,
            stream in prop::collection::vec((0..60_u64, 0..1_000_u64), 0..400),
        ) {
            let mut watched = SpaceSaving::new(room);
            let mut exact: HashMap<u64, u64> = HashMap::new();
            for &(key, weight) in &stream {
                // Hashes that differ in their upper bits, by which an index tells entries apart.
                watched.add(key << 57 | key, weight);
                *exact.entry(key << 57 | key).or_default() += weight;
            }
            let total: u64 = exact.values().sum();
            prop_assert_eq!(watched.is_empty(), stream.is_empty());
            prop_assert_eq!(watched.entries.len(), exact.len().min(room));
            for entry in &watched.entries {
                let of_key = exact[&entry.key];
                prop_assert!(entry.weight >= of_key);
                prop_assert!(entry.weight - entry.error <= of_key);
                prop_assert!(entry.error <= total / room as u64);
            }
            let unwatched = exact.iter().filter(|(key, _)| watched.entries.iter().all(|entry| entry.key != **key));
            for (_, &weight) in unwatched {
                prop_assert!(weight <= total / room as u64);
            }
            let heaviest = watched.heaviest();
            prop_assert!(heaviest.is_sorted_by(|one, next| one.1 >= next.1));
            if exact.len() <= room {
                let expected = exact.iter().filter(|(_, weight)| **weight > 0);
                let expected: HashMap<u64, u64> = expected.map(|(key, weight)| (*key, *weight)).collect();
                prop_assert_eq!(heaviest.into_iter().collect::<HashMap<_, _>>(), expected);
            }
            let (entries, index) = (watched.entries.capacity(), watched.index.capacity());
            watched.clear();
            prop_assert!(watched.is_empty() && watched.heaviest().is_empty());
            prop_assert!(entries <= room.max(8) && index >= room);
        }
    }
}
