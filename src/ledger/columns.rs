//! Tables that are cheap to copy: the copy shares what neither side changes.

use std::{ops::Range, sync::Arc};

use crate::slots::give_back;

/// Rows in a block: large enough that a copy of the list of blocks is cheap, small enough that a
/// change to one row copies little.
const BLOCK_ROWS: usize = 1024;

/// A growing table of rows of `stride` values.
///
/// Cloning costs one reference count for every 1,024 rows. Writing to a row copies its block
/// if, and only if, a clone still shares it.
#[derive(Debug, Clone)]
pub(super) struct Columns<T> {
    stride: usize,
    rows: usize,
    blocks: Vec<Arc<Vec<T>>>,
}

impl<T: Clone> Columns<T> {
    /// No rows of `stride` values each.
    pub(super) fn new(stride: usize) -> Self {
        Columns { stride, rows: 0, blocks: Vec::new() }
    }

    /// How many rows there are.
    pub(super) fn len(&self) -> usize {
        self.rows
    }

    /// The values of a row.
    ///
    /// # Panics
    /// If there is no such row.
    pub(super) fn row(&self, row: usize) -> &[T] {
        let start = row % BLOCK_ROWS * self.stride;
        &self.blocks[row / BLOCK_ROWS][start..start + self.stride]
    }

    /// The values of a row, to be changed.
    ///
    /// # Panics
    /// If there is no such row.
    pub(super) fn row_mut(&mut self, row: usize) -> &mut [T] {
        let start = row % BLOCK_ROWS * self.stride;
        &mut block_mut(&mut self.blocks[row / BLOCK_ROWS], self.stride)[start..start + self.stride]
    }

    /// The rows that may differ from those of `other`: all of each block that the two don't share, and
    /// those that only one of them has.
    pub(super) fn unshared<'c>(
        &'c self,
        other: &'c Self,
    ) -> impl Iterator<Item = Range<usize>> + 'c {
        let blocks = self.blocks.len().max(other.blocks.len());
        let end = self.rows.max(other.rows);
        (0..blocks).filter_map(move |block| {
            let is_shared = match (self.blocks.get(block), other.blocks.get(block)) {
                (Some(one), Some(other)) => Arc::ptr_eq(one, other),
                _ => false,
            };
            (!is_shared).then(|| block * BLOCK_ROWS..end.min((block + 1) * BLOCK_ROWS))
        })
    }

    /// Appends a row.
    pub(super) fn push(&mut self, row: &[T]) {
        debug_assert_eq!(row.len(), self.stride);
        if self.rows.is_multiple_of(BLOCK_ROWS) {
            // The first block grows with its rows, so that a small table stays small; later ones will
            // most likely be filled.
            let capacity = if self.rows == 0 { 0 } else { BLOCK_ROWS * self.stride };
            self.blocks.push(Arc::new(Vec::with_capacity(capacity)));
        }
        let last = self.blocks.last_mut().expect("a block was just made where there was none");
        block_mut(last, self.stride).extend_from_slice(row);
        self.rows += 1;
    }

    /// Removes the rows from `rows` on, if there are any.
    pub(super) fn truncate(&mut self, rows: usize) {
        if rows >= self.rows {
            return;
        }
        self.rows = rows;
        self.blocks.truncate(rows.div_ceil(BLOCK_ROWS));
        give_back(&mut self.blocks);
        if !rows.is_multiple_of(BLOCK_ROWS)
            && let Some(last) = self.blocks.last_mut()
        {
            block_mut(last, self.stride).truncate(rows % BLOCK_ROWS * self.stride);
        }
    }
}

/// The block, unshared. A copy keeps the room of a whole block, since it may be appended to.
fn block_mut<T: Clone>(block: &mut Arc<Vec<T>>, stride: usize) -> &mut Vec<T> {
    if Arc::get_mut(block).is_none() {
        let mut copy = Vec::with_capacity(block.len().max(stride));
        copy.extend_from_slice(block);
        *block = Arc::new(copy);
    }
    Arc::get_mut(block).expect("unshared just now, and held by a unique borrow")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clone_keeps_what_it_saw() {
        let mut columns = Columns::new(2);
        for row in 0..2500_u32 {
            columns.push(&[row, row * 2]);
        }
        let before = columns.clone();
        columns.row_mut(1023)[1] = 7;
        columns.push(&[1, 1]);
        assert_eq!(before.row(1023), [1023, 2046]);
        assert_eq!(before.len(), 2500);
        assert_eq!(columns.row(1023), [1023, 7]);
        assert_eq!(columns.row(2500), [1, 1]);
        assert_eq!(columns.row(2499), [2499, 4998]);
    }

    #[test]
    fn only_blocks_that_changed_are_unshared() {
        let mut columns = Columns::new(1);
        for row in 0..2500_u32 {
            columns.push(&[row]);
        }
        let before = columns.clone();
        let unshared = |one: &Columns<u32>, other| one.unshared(other).collect::<Vec<_>>();
        assert!(unshared(&columns, &before).is_empty());
        columns.row_mut(1030)[0] = 7;
        let second = 1024..2048;
        assert_eq!(unshared(&columns, &before), std::slice::from_ref(&second));
        columns.truncate(2048);
        let both = [second, 2048..2500];
        assert_eq!(unshared(&columns, &before), both);
        assert_eq!(unshared(&before, &columns), both);
    }

    #[test]
    fn rows_that_are_taken_away_stay_in_a_clone_and_can_be_appended_again() {
        let mut columns = Columns::new(1);
        for row in 0..2500_u32 {
            columns.push(&[row]);
        }
        for rows in [2048, 1500, 1024, 3, 0] {
            let before = columns.clone();
            columns.truncate(rows);
            assert_eq!(columns.len(), rows);
            columns.push(&[7]);
            assert_eq!(columns.row(rows), [7]);
            assert_eq!(before.row(rows), [rows as u32]);
        }
    }
}
