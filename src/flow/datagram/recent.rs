//! A map with a bound, which forgets what was not used for longest.

use std::{
    collections::{HashMap, HashSet},
    hash::Hash,
};

/// A map with a bound. At the bound, the eighth of it that was not used for longest is forgotten at
/// once, so that it need not be searched for every new key. Keys that are to be kept are forgotten
/// last.
#[derive(Debug)]
pub(super) struct Recent<K, V> {
    entries: HashMap<K, Entry<V>>,
    /// The keys that are forgotten only if there are no others.
    kept: HashSet<K>,
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
        Recent { entries: HashMap::new(), kept: HashSet::new(), lookups: 0, capacity }
    }

    /// Has these keys forgotten only if there are no others, whether they are there or not.
    pub(super) fn keep(&mut self, keys: HashSet<K>) {
        self.kept = keys;
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

    /// Forgets the eighth that was not used for longest, at least one; of those that are not to be kept,
    /// if there are any.
    pub(super) fn forget_eighth(&mut self, mut forgotten: impl FnMut(K, V)) {
        let Recent { entries, kept, .. } = self;
        let all_are_kept = entries.keys().all(|key| kept.contains(key));
        let may_go = |key: &K| all_are_kept || !kept.contains(key);
        let used = entries.iter().filter(|(key, _)| may_go(key));
        let mut used: Vec<u64> = used.map(|(_, entry)| entry.used).collect();
        let last = (used.len() / 8).min(used.len().saturating_sub(1));
        if used.is_empty() {
            return;
        }
        let (_, &mut last, _) = used.select_nth_unstable(last);
        let goes = |key: &K, entry: &mut Entry<V>| entry.used <= last && may_go(key);
        for (key, entry) in entries.extract_if(goes) {
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
