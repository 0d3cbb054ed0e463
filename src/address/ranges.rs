//! Sorted ranges without overlap, and the look-up in them.

/// Places of the index of a table's ranges.
const SLOTS: usize = 1 << 16;

/// Below so many ranges, an index would take more memory than they do, and save nothing.
const FEWEST_INDEXED: usize = 4096;

/// A number by which ranges are sorted: an address, or its beginning.
pub(super) trait Key: Copy + Ord {
    /// The slot of the index that the key belongs to; `None` if such keys have no index.
    fn slot(self) -> Option<usize>;

    /// The first key of a slot, and of the one after the last; `None` if such keys have no index.
    fn first_of(slot: usize) -> Option<Self>;
}

/// An IPv4 address. A slot is a /16: the embedded table has seven ranges in it on average.
impl Key for u32 {
    fn slot(self) -> Option<usize> {
        Some(self as usize >> 16)
    }

    fn first_of(slot: usize) -> Option<Self> {
        Some(u32::try_from(slot << 16).unwrap_or(u32::MAX))
    }
}

/// The first half of an IPv6 address. A slot is a /19 of `2000::/3`, in which all global addresses
/// are (RFC 4291, section 2.5.4).
impl Key for u64 {
    fn slot(self) -> Option<usize> {
        (self >> 61 == 1).then_some(self as usize >> 45 & (SLOTS - 1))
    }

    fn first_of(slot: usize) -> Option<Self> {
        Some((1 << 61) + ((slot as u64) << 45))
    }
}

/// A whole IPv6 address, for the few ranges that don't end where a /64 does.
impl Key for u128 {
    fn slot(self) -> Option<usize> {
        None
    }

    fn first_of(_: usize) -> Option<Self> {
        None
    }
}

/// Ranges of keys, each with a number. A range ends where the next one begins.
#[derive(Debug)]
pub(super) struct Ranges<K> {
    /// The first key of each range, sorted.
    starts: Vec<K>,
    /// The number of each range.
    numbers: Vec<u32>,
    /// The range that has the first key of each slot, and of the one after the last; empty without
    /// an index.
    slots: Vec<u32>,
}

impl<K: Key> Ranges<K> {
    /// Ranges by their first keys, which are sorted.
    pub(super) fn new(mut starts: Vec<K>, mut numbers: Vec<u32>) -> Self {
        debug_assert!(starts.is_sorted_by(|a, b| a < b) && starts.len() == numbers.len());
        starts.shrink_to_fit();
        numbers.shrink_to_fit();
        let mut slots = Vec::new();
        if starts.len() >= FEWEST_INDEXED {
            let first = (0..=SLOTS).map_while(K::first_of);
            slots.extend(first.map(|key| {
                (starts.partition_point(|&start| start <= key) as u32).saturating_sub(1)
            }));
        }
        Ranges { starts, numbers, slots }
    }

    /// The number of the range that has this key. The first range begins at the key or below it.
    pub(super) fn get(&self, key: K) -> u32 {
        let (from, to) = match key.slot() {
            Some(slot) if !self.slots.is_empty() => {
                (self.slots[slot] as usize, self.slots[slot + 1] as usize + 1)
            }
            _ => (0, self.starts.len()),
        };
        let begun = self.starts[from..to].partition_point(|&start| start <= key);
        self.numbers[from + begun.saturating_sub(1)]
    }

    pub(super) fn len(&self) -> usize {
        self.starts.len()
    }
}
