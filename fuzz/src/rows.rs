//! What a decoder hands over, in a form that can be compared without keeping it.

use std::hash::{DefaultHasher, Hash, Hasher};

use crate::{
    flow::{Plan, Record, Row},
    schema::FieldType,
};

/// Records that were handed over.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Records {
    pub(crate) flows: u64,
    /// Their bytes.
    pub(crate) bytes: u64,
    pub(crate) skipped: u64,
    pub(crate) malformed: u64,
    /// A fingerprint of what they are and of their bytes, in their order.
    pub(crate) order: u64,
    /// A fingerprint of all their values.
    pub(crate) values: u64,
}

impl Records {
    /// Adds a record of this plan. All its values are read.
    pub(crate) fn add(&mut self, plan: &Plan, record: &Record<'_>) {
        let kind = match record {
            Record::Flow(row) => {
                self.flows += 1;
                self.bytes = self.bytes.saturating_add(row.bytes());
                self.values = of_row(self.values, plan, row);
                (0, row.bytes())
            }
            Record::Skipped(reason) => {
                self.skipped += 1;
                (1, reason.index() as u64)
            }
            Record::Malformed(reason, text) => {
                self.malformed += 1;
                self.values = fingerprint(&(self.values, text));
                (2, reason.index() as u64)
            }
        };
        self.order = fingerprint(&(self.order, kind));
        self.values = fingerprint(&(self.values, kind));
    }

    pub(crate) fn all(&self) -> u64 {
        self.flows + self.skipped + self.malformed
    }
}

fn fingerprint(of: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    of.hash(&mut hasher);
    hasher.finish()
}

fn of_row(before: u64, plan: &Plan, row: &Row<'_>) -> u64 {
    let mut hasher = DefaultHasher::new();
    before.hash(&mut hasher);
    for (slot, field) in plan.fields() {
        match field.value_type() {
            FieldType::Address => row.address(slot).hash(&mut hasher),
            FieldType::Text => row.text(slot).hash(&mut hasher),
            _ => row.number(slot).hash(&mut hasher),
        }
    }
    hasher.finish()
}
