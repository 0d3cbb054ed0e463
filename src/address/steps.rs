//! Which value holds for which addresses, made from ranges that may overlap.

use std::{
    cmp::{Ordering, Reverse},
    collections::BinaryHeap,
    iter,
};

use super::block::Block;

/// An address as a number.
pub(super) trait Number: Copy + Ord + Into<u128> {
    /// The first address.
    const ZERO: Self;

    /// The address after this one; `None` after the last.
    fn next(self) -> Option<Self>;
}

impl Number for u32 {
    const ZERO: Self = 0;

    fn next(self) -> Option<Self> {
        self.checked_add(1)
    }
}

impl Number for u128 {
    const ZERO: Self = 0;

    fn next(self) -> Option<Self> {
        self.checked_add(1)
    }
}

/// From which addresses on which values hold: sorted, the first from address 0 on. Neighbours have
/// different values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Steps<V> {
    pub(super) v4: Vec<(u32, V)>,
    pub(super) v6: Vec<(u128, V)>,
}

impl<V: Copy + Eq + Default> Steps<V> {
    /// What holds by either of two, as `both` combines the values.
    pub(super) fn combine<W: Copy, X: Copy>(
        left: &Steps<W>,
        right: &Steps<X>,
        both: impl Fn(W, X) -> V,
    ) -> Self {
        Steps { v4: combine(&left.v4, &right.v4, &both), v6: combine(&left.v6, &right.v6, both) }
    }
}

fn combine<A: Number, V: Eq, W: Copy, X: Copy>(
    left: &[(A, W)],
    right: &[(A, X)],
    both: impl Fn(W, X) -> V,
) -> Vec<(A, V)> {
    let mut combined = Vec::with_capacity(left.len().max(right.len()));
    // Both begin at address 0.
    let (mut at_left, mut at_right) = (0, 0);
    while let (Some(&(left_start, w)), Some(&(right_start, x))) =
        (left.get(at_left), right.get(at_right))
    {
        push(&mut combined, left_start.max(right_start), both(w, x));
        let left_next = left.get(at_left + 1).map(|step| step.0);
        let right_next = right.get(at_right + 1).map(|step| step.0);
        let Some(next) = left_next.into_iter().chain(right_next).min() else { break };
        at_left += usize::from(left_next == Some(next));
        at_right += usize::from(right_next == Some(next));
    }
    combined
}

/// Adds a step, unless its value holds already.
fn push<A, V: Eq>(steps: &mut Vec<(A, V)>, start: A, value: V) {
    if steps.last().is_none_or(|last| last.1 != value) {
        steps.push((start, value));
    }
}

/// Ranges of addresses with their values, in any order. Where they overlap, the smaller one holds,
/// and of two equal ones the later.
#[derive(Debug)]
pub(super) struct Overlapping<V> {
    v4: Vec<(u32, u32, V)>,
    v6: Vec<(u128, u128, V)>,
}

impl<V> Default for Overlapping<V> {
    fn default() -> Self {
        Overlapping { v4: Vec::new(), v6: Vec::new() }
    }
}

impl<V: Copy + Eq + Default> Overlapping<V> {
    /// Adds a range.
    pub(super) fn push(&mut self, block: Block, value: V) {
        match block {
            Block::V4(first, last) => self.v4.push((first, last, value)),
            Block::V6(first, last) => self.v6.push((first, last, value)),
        }
    }

    /// Adds a range that overlaps no other one. If it continues the one before, it becomes part of
    /// it.
    pub(super) fn extend(&mut self, block: Block, value: V) {
        match block {
            Block::V4(first, last) => extend(&mut self.v4, first, last, value),
            Block::V6(first, last) => extend(&mut self.v6, first, last, value),
        }
    }

    /// How many ranges there are.
    pub(super) fn len(&self) -> usize {
        self.v4.len() + self.v6.len()
    }

    /// What holds in the end.
    pub(super) fn steps(self) -> Steps<V> {
        Steps { v4: steps(self.v4), v6: steps(self.v6) }
    }
}

fn extend<A: Number, V: Eq>(ranges: &mut Vec<(A, A, V)>, first: A, last: A, value: V) {
    match ranges.last_mut() {
        Some(before) if before.1.next() == Some(first) && before.2 == value => before.1 = last,
        _ => ranges.push((first, last, value)),
    }
}

fn steps<A: Number, V: Copy + Eq + Default>(mut ranges: Vec<(A, A, V)>) -> Vec<(A, V)> {
    // A stable sort: of equal ranges, the later one stays the later one.
    ranges.sort_by_key(|range| range.0);
    let mut steps = Vec::new();
    // Ranges that have begun, by size; some of them have ended.
    let mut begun = BinaryHeap::new();
    let mut ahead = ranges.iter().enumerate().peekable();
    let mut next = Some(A::ZERO);
    while let Some(at) = next {
        let beginning = iter::from_fn(|| ahead.next_if(|(_, range)| range.0 <= at));
        begun.extend(beginning.map(|(order, &(first, last, value))| {
            let size: u128 = last.into() - first.into();
            Held { rank: (Reverse(size), order), last, value }
        }));
        while begun.peek().is_some_and(|held| held.last < at) {
            begun.pop();
        }
        let held = begun.peek();
        push(&mut steps, at, held.map_or_else(V::default, |held| held.value));
        let ends = held.and_then(|held| held.last.next());
        let begins = ahead.peek().map(|(_, range)| range.0);
        next = ends.into_iter().chain(begins).min();
    }
    steps
}

/// A range that has begun. The greatest one holds.
struct Held<A, V> {
    rank: (Reverse<u128>, usize),
    last: A,
    value: V,
}

impl<A, V> PartialEq for Held<A, V> {
    fn eq(&self, other: &Self) -> bool {
        self.rank == other.rank
    }
}

impl<A, V> Eq for Held<A, V> {}

impl<A, V> PartialOrd for Held<A, V> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<A, V> Ord for Held<A, V> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.rank.cmp(&other.rank)
    }
}
