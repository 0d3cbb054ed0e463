//! Templates: of which fields the records of a set consist.

use super::element::Element;

/// The length of a field in a template that says that each record has it with its own.
pub(super) const VARIABLE: u16 = u16::MAX;

/// How many fields a template may have.
pub(super) const MAX_FIELDS: usize = 1024;

/// A field of a template.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Field {
    pub(super) element: Element,
    /// In bytes; [`VARIABLE`] if records say it.
    pub(super) length: u16,
}

/// Of which fields the records of a set consist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Template {
    /// Whether its records say something about flows, and are none.
    pub(super) is_options: bool,
    /// In the order in which they are in records.
    pub(super) fields: Box<[Field]>,
}

impl Template {
    /// Bytes of a record; if there are fields with lengths of their own, the fewest.
    pub(super) fn min_length(&self) -> usize {
        // A length that the record says takes a byte.
        let lengths = self.fields.iter().map(|field| match field.length {
            VARIABLE => 1,
            length => usize::from(length),
        });
        lengths.sum()
    }
}

/// Splits the length that a record says from the bytes behind it (RFC 7011, section 7).
pub(super) fn variable_length(bytes: &[u8]) -> Option<(usize, &[u8])> {
    match bytes {
        [u8::MAX, high, low, rest @ ..] => Some((u16::from_be_bytes([*high, *low]).into(), rest)),
        [u8::MAX, ..] | [] => None,
        [length, rest @ ..] => Some((usize::from(*length), rest)),
    }
}
