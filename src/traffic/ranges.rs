//! Sets of numbers as sorted ranges.

use std::ops::RangeInclusive;

/// A set of numbers: sorted ranges that neither overlap nor follow each other without a gap. So a set
/// has one form only.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RangeSet<N> {
    ranges: Vec<(N, N)>,
}

/// Nothing.
impl<N> Default for RangeSet<N> {
    fn default() -> Self {
        RangeSet { ranges: Vec::new() }
    }
}

impl<N: Copy + Ord + Step> RangeSet<N> {
    /// The numbers that are in one of these ranges.
    pub fn new(ranges: impl IntoIterator<Item = RangeInclusive<N>>) -> Self {
        let mut all: Vec<_> = ranges
            .into_iter()
            .map(RangeInclusive::into_inner)
            .filter(|(first, last)| first <= last)
            .collect();
        all.sort_unstable();
        let mut ranges: Vec<(N, N)> = Vec::with_capacity(all.len());
        for (first, last) in all {
            match ranges.last_mut() {
                Some((_, end)) if end.next().is_none_or(|next| first <= next) => {
                    *end = last.max(*end);
                }
                _ => ranges.push((first, last)),
            }
        }
        RangeSet { ranges }
    }

    /// Whether a number is in it.
    #[inline]
    pub fn contains(&self, number: N) -> bool {
        // One comparison for a set of one range: that of most.
        if let [(first, last)] = *self.ranges {
            return first <= number && number <= last;
        }
        let place = self.ranges.partition_point(|&(_, last)| last < number);
        self.ranges.get(place).is_some_and(|&(first, _)| first <= number)
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// The ranges, sorted.
    pub fn ranges(&self) -> impl ExactSizeIterator<Item = RangeInclusive<N>> {
        self.ranges.iter().map(|&(first, last)| first..=last)
    }
}

/// Numbers that have a next one.
pub trait Step: Sized {
    /// The next number; `None` behind the largest.
    fn next(self) -> Option<Self>;
}

impl Step for u32 {
    fn next(self) -> Option<Self> {
        self.checked_add(1)
    }
}

impl Step for u128 {
    fn next(self) -> Option<Self> {
        self.checked_add(1)
    }
}
