//! A map with a bound, which forgets what was not used for longest.

use std::{collections::HashMap, hash::Hash};

/// A map with a bound. At the bound, the eighth of it that was not used for longest is forgotten at
/// once, so that it need not be searched for every new key.
#[derive(Debug)]
pub(super) struct Recent<K, V> {
    entries: HashMap<K, Entry<V>>,
    /// How many lookups there were.
    lookups: u64,
    /// How many entries there may be.
    capacity: usize,
}

#[derive(Debug)]
struct Entry<V> {
    value: V,
    /// Number of the last lookup of it.
    used: u64,
}

impl<K: Hash + Eq + Copy, V> Recent<K, V> {
    /// An empty map for this many entries, at least one.
    pub(super) fn new(capacity: usize) -> Self {
        Recent { entries: HashMap::new(), lookups: 0, capacity }
    }

    /// The value of a key, made if it isn't there; `forgotten` gets those that make room for it.
    pub(super) fn get_or_insert_with(
        &mut self,
        key: K,
        make: impl FnOnce() -> V,
        forgotten: impl FnMut(K, V),
    ) -> &mut V {
        if self.entries.len() >= self.capacity && !self.entries.contains_key(&key) {
            self.forget_eighth(forgotten);
        }
        self.lookups += 1;
        let entry = self.entries.entry(key).or_insert_with(|| Entry { value: make(), used: 0 });
        entry.used = self.lookups;
        &mut entry.value
    }

    /// Forgets the eighth that was not used for longest, at least one.
    pub(super) fn forget_eighth(&mut self, mut forgotten: impl FnMut(K, V)) {
        let mut used: Vec<u64> = self.entries.values().map(|entry| entry.used).collect();
        let last = (used.len() / 8).min(used.len().saturating_sub(1));
        if used.is_empty() {
            return;
        }
        let (_, &mut last, _) = used.select_nth_unstable(last);
        for (key, entry) in self.entries.extract_if(|_, entry| entry.used <= last) {
            forgotten(key, entry.value);
        }
    }

    /// The value of a key, which counts as used.
    pub(super) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        self.lookups += 1;
        let entry = self.entries.get_mut(key)?;
        entry.used = self.lookups;
        Some(&mut entry.value)
    }

    /// All keys and values, in any order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (K, &V)> {
        self.entries.iter().map(|(key, entry)| (*key, &entry.value))
    }

    /// The same, to be changed.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (K, &mut V)> {
        self.entries.iter_mut().map(|(key, entry)| (*key, &mut entry.value))
    }
}
