//! The values of a record.
#![expect(clippy::inline_always, reason = "part of the loop over a record's keys")]

use std::net::IpAddr;

use super::{
    plan::{Plan, Slot},
    reason::{Malformed, Skipped},
};

/// Room for made texts that is kept from record to record in any case, in bytes.
const KEPT_BYTES: usize = 1 << 16;

/// The values of one flow record, by the slots of its [`Plan`]. Borrowed from the payload, and from
/// the decoder, which uses the memory again for the next record.
#[derive(Debug, Clone, Copy)]
pub struct Row<'r> {
    payload: &'r str,
    made: &'r str,
    values: &'r [Value],
}

impl<'r> Row<'r> {
    /// The number in a slot; `None` if the record doesn't have the field.
    #[inline]
    pub fn number(&self, slot: Slot) -> Option<u64> {
        match self.values[slot.index()] {
            Value::Number(number) => Some(number),
            _ => None,
        }
    }

    /// The text in a slot; `None` if the record doesn't have the field.
    #[inline]
    pub fn text(&self, slot: Slot) -> Option<&'r str> {
        match &self.values[slot.index()] {
            Value::Text(start, end) => Some(&self.payload[*start..*end]),
            Value::MadeText(start, end) => Some(&self.made[*start..*end]),
            _ => None,
        }
    }

    /// The address in a slot; `None` if the record doesn't have the field.
    #[inline]
    pub fn address(&self, slot: Slot) -> Option<IpAddr> {
        match self.values[slot.index()] {
            Value::Address(address) => Some(address),
            _ => None,
        }
    }

    /// The bytes of the flow.
    #[inline]
    pub fn bytes(&self) -> u64 {
        self.number(Slot::BYTES).unwrap_or_default()
    }
}

/// What a slot holds. Texts are places (beginning, end) rather than references, so that the memory
/// is not tied to the lifetime of one payload.
#[derive(Debug, Clone, Copy, Default)]
pub(super) enum Value {
    /// The record doesn't have the field.
    #[default]
    Absent,
    /// A number.
    Number(u64),
    /// An IP address.
    Address(IpAddr),
    /// A text of the payload.
    Text(usize, usize),
    /// A text in [`RowBuffer::made`].
    MadeText(usize, usize),
    /// The record has the field, with a value that can't be used.
    Malformed(Malformed),
}

/// The memory for the values of one record after another. A [`Row`] is a view of it.
#[derive(Debug)]
pub(super) struct RowBuffer {
    by_slot: Vec<Value>,
    /// Texts that are not in the payload as they are, concatenated.
    made: String,
    /// The slots in the order in which malformed values are searched: the same in every plan.
    order: Vec<Slot>,
    /// Whether a value was malformed. A later one may have taken its place.
    any_malformed: bool,
    /// The values with which [`RowBuffer::restart`] begins a row.
    start: Vec<Value>,
    /// Bytes of `made` that are their texts.
    start_bytes: usize,
    /// Whether one of them is malformed.
    start_is_malformed: bool,
}

impl RowBuffer {
    /// A buffer for the rows of a plan, in which every field is absent.
    pub(super) fn new(plan: &Plan) -> Self {
        let mut fields: Vec<_> = plan.fields().collect();
        // As the original reads them: the bytes first.
        fields.sort_by_key(|&(slot, field)| (slot != Slot::BYTES, field));
        RowBuffer {
            by_slot: vec![Value::Absent; fields.len()],
            made: String::new(),
            order: fields.into_iter().map(|(slot, _)| slot).collect(),
            any_malformed: false,
            start: vec![Value::Absent; plan.fields().len()],
            start_bytes: 0,
            start_is_malformed: false,
        }
    }

    /// Has rows begin with the values that are set, where they begin with [`RowBuffer::restart`].
    pub(super) fn keep_as_start(&mut self) {
        self.start.copy_from_slice(&self.by_slot);
        self.start_bytes = self.made.len();
        self.start_is_malformed = self.any_malformed;
    }

    /// Begins a row with the values of [`RowBuffer::keep_as_start`].
    #[inline(always)]
    pub(super) fn restart(&mut self) {
        self.by_slot.copy_from_slice(&self.start);
        self.any_malformed = self.start_is_malformed;
        if self.made.len() > self.start_bytes {
            self.made.truncate(self.start_bytes);
            self.made.shrink_to(KEPT_BYTES);
        }
    }

    /// Makes every field absent.
    #[inline(always)]
    pub(super) fn clear(&mut self) {
        self.by_slot.fill(Value::Absent);
        self.any_malformed = false;
        if !self.made.is_empty() {
            self.made.clear();
            self.made.shrink_to(KEPT_BYTES);
        }
    }

    /// Sets a text, which is copied.
    pub(super) fn set_text(&mut self, slot: Slot, text: &str) {
        let start = self.made.len();
        self.made.push_str(text);
        self.set(slot, Value::MadeText(start, self.made.len()));
    }

    /// Sets a value, in the place of the one that was there.
    #[inline(always)]
    pub(super) fn set(&mut self, slot: Slot, value: Value) {
        self.by_slot[slot.index()] = value;
    }

    /// The value of a slot.
    #[inline(always)]
    pub(super) fn value(&self, slot: Slot) -> Value {
        self.by_slot[slot.index()]
    }

    /// Sets that the value can't be used.
    #[cold]
    pub(super) fn set_malformed(&mut self, slot: Slot, reason: Malformed) {
        self.any_malformed = true;
        self.set(slot, Value::Malformed(reason));
    }

    /// Sets a text, which `write` appends to the string that it is given.
    pub(super) fn set_made<E>(
        &mut self,
        slot: Slot,
        write: impl FnOnce(&mut String) -> Result<(), E>,
    ) -> Result<(), E> {
        let start = self.made.len();
        write(&mut self.made)?;
        self.set(slot, Value::MadeText(start, self.made.len()));
        Ok(())
    }

    /// The row of these values. Texts that were not copied into the buffer are places in `payload`.
    #[inline(always)]
    pub(super) fn row<'r>(&'r self, payload: &'r str) -> Row<'r> {
        Row { payload, made: &self.made, values: &self.by_slot }
    }

    /// Why the record is no flow, if it has no bytes; an error if a value is malformed.
    #[inline(always)]
    pub(super) fn check(&self) -> Result<Option<Skipped>, Malformed> {
        if matches!(self.by_slot[Slot::BYTES.index()], Value::Absent) {
            return Ok(Some(Skipped::NoBytes));
        }
        if self.any_malformed { self.check_all() } else { Ok(None) }
    }

    #[cold]
    fn check_all(&self) -> Result<Option<Skipped>, Malformed> {
        let malformed = self.order.iter().find_map(|slot| match self.by_slot[slot.index()] {
            Value::Malformed(reason) => Some(reason),
            _ => None,
        });
        malformed.map_or(Ok(None), Err)
    }
}
