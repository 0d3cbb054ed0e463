//! The texts in the labels of living series, each stored once and counted by its uses.

use std::{hash::BuildHasher, sync::Arc};

use hashbrown::{DefaultHashBuilder, HashTable};

use crate::slots::{Slots, give_back, give_back_index};

use super::columns::Columns;

/// Texts by number. A text keeps its number as long as a series uses it; then another text may get
/// it. Copies of the columns, as snapshots hold them, keep what they had.
#[derive(Debug)]
pub(super) struct TableTexts {
    columns: Columns<Arc<str>>,
    /// How many times each text is used.
    uses: Vec<u32>,
    slots: Slots,
    index: HashTable<u32>,
    hasher: DefaultHashBuilder,
    empty: Arc<str>,
}

impl TableTexts {
    pub(super) fn new() -> Self {
        TableTexts {
            columns: Columns::new(1),
            uses: Vec::new(),
            slots: Slots::default(),
            index: HashTable::new(),
            hasher: DefaultHashBuilder::default(),
            empty: Arc::from(""),
        }
    }

    /// The texts by number, as they are now.
    pub(super) fn columns(&self) -> &Columns<Arc<str>> {
        &self.columns
    }

    /// The number of a text that is in use.
    pub(super) fn find(&self, text: &str) -> Option<u32> {
        let hash = self.hasher.hash_one(text);
        self.index.find(hash, |&id| *self.columns.row(id as usize)[0] == *text).copied()
    }

    /// Uses a text once more. Returns its number.
    pub(super) fn take(&mut self, text: &str) -> u32 {
        if let Some(id) = self.find(text) {
            self.uses[id as usize] += 1;
            return id;
        }
        let id = self.slots.take();
        let row = id as usize;
        if row == self.columns.len() {
            self.columns.push(&[Arc::from(text)]);
            self.uses.push(1);
        } else {
            self.columns.row_mut(row)[0] = Arc::from(text);
            self.uses[row] = 1;
        }
        let TableTexts { columns, index, hasher, .. } = self;
        index.insert_unique(hasher.hash_one(text), id, |&id| {
            hasher.hash_one(&*columns.row(id as usize)[0])
        });
        id
    }

    /// Ends one use of a text.
    pub(super) fn release(&mut self, id: u32) {
        let row = id as usize;
        self.uses[row] -= 1;
        if self.uses[row] > 0 {
            return;
        }
        let hash = self.hasher.hash_one(&*self.columns.row(row)[0]);
        if let Ok(entry) = self.index.find_entry(hash, |&other| other == id) {
            entry.remove();
        }
        self.columns.row_mut(row)[0] = Arc::clone(&self.empty);
        self.slots.give(id);
    }

    /// Gives back memory that no text in use needs.
    pub(super) fn trim(&mut self) {
        let len = self.slots.trim();
        self.columns.truncate(len);
        self.uses.truncate(len);
        give_back(&mut self.uses);
        let TableTexts { columns, index, hasher, .. } = self;
        give_back_index(index, |&id| hasher.hash_one(&*columns.row(id as usize)[0]));
    }
}
