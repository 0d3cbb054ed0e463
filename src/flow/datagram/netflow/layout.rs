//! Where the fields of a template are in a record.

use super::template::{Template, VARIABLE, variable_length};

/// Fewer bytes than this behind the last record of a set are padding.
const PADDING: usize = 4;

/// Where a field is in a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    /// How many fields with lengths of their own are before it.
    behind: u16,
    /// Bytes between the last of these, or the beginning, and the field.
    at: u16,
    /// Bytes of the field; [`VARIABLE`] if the record says it.
    pub(super) length: u16,
}

/// The lengths of what records consist of.
#[derive(Debug)]
pub(super) struct Layout {
    /// Bytes of a record; if there are fields with lengths of their own, the fewest.
    length: usize,
    /// Bytes before each field that has a length of its own, since the one before, and behind the
    /// last one. A single number where all records have the same length.
    gaps: Box<[u16]>,
}

/// Where the content of a field with a length of its own is in a record: beginning and end.
pub(super) type Span = (u32, u32);

/// The records of a set don't have the lengths that the template says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mismatch;

/// A record in which places can be found.
pub(super) trait Places {
    /// The bytes of a field; none for a place of another template.
    fn bytes(&self, place: Place) -> &[u8];

    /// The number that a field is; `None` if it isn't there, or has more than 8 bytes.
    #[inline]
    fn number(&self, place: Place) -> Option<u64> {
        number_of(self.bytes(place))
    }
}

/// A record without fields that have lengths of their own.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fixed<'r>(&'r [u8]);

/// A record with such fields.
#[derive(Debug, Clone, Copy)]
pub(super) struct Spanned<'r, 's> {
    bytes: &'r [u8],
    spans: &'s [Span],
}

impl Layout {
    pub(super) fn new(template: &Template) -> Self {
        let mut gaps = vec![0_u16];
        for field in &template.fields {
            match (field.length, gaps.last_mut()) {
                (VARIABLE, _) => gaps.push(0),
                (length, Some(gap)) => *gap = gap.saturating_add(length),
                (_, None) => {}
            }
        }
        Layout { length: template.min_length(), gaps: gaps.into() }
    }

    /// The places of all fields of a template.
    pub(super) fn places(template: &Template) -> impl Iterator<Item = Place> {
        let (mut behind, mut at) = (0, 0_u16);
        template.fields.iter().map(move |field| {
            let place = Place { behind, at, length: field.length };
            if field.length == VARIABLE {
                (behind, at) = (behind + 1, 0);
            } else {
                at = at.saturating_add(field.length);
            }
            place
        })
    }

    /// The length of all records, if they have the same.
    pub(super) fn fixed(&self) -> Option<usize> {
        (self.gaps.len() == 1).then_some(self.length)
    }

    /// How many records are in the content of a set. Bytes behind them can only be padding: so what
    /// was made by another definition of the template is most likely not taken for records.
    pub(super) fn records(&self, set: &[u8]) -> Result<u32, Mismatch> {
        if self.length == 0 {
            return Err(Mismatch);
        }
        let (records, rest) = if let Some(length) = self.fixed() {
            (set.len() / length, set.len() % length)
        } else {
            let (mut records, mut rest) = (0, set);
            while rest.len() >= self.length.max(PADDING) {
                let end = self.end(rest, |_| {}).ok_or(Mismatch)?;
                rest = &rest[end..];
                records += 1;
            }
            (records, rest.len())
        };
        if rest < PADDING { Ok(records as u32) } else { Err(Mismatch) }
    }

    /// Where the record with which `bytes` begin ends; `None` if it is cut off. Calls `each` for
    /// the fields that have lengths of their own.
    fn end(&self, bytes: &[u8], mut each: impl FnMut(Span)) -> Option<usize> {
        let mut at = 0;
        let (last, before) = self.gaps.split_last()?;
        for gap in before {
            let (length, rest) = variable_length(bytes.get(at + usize::from(*gap)..)?)?;
            let start = bytes.len() - rest.len();
            at = start + length;
            each((start as u32, at as u32));
        }
        at += usize::from(*last);
        (at <= bytes.len()).then_some(at)
    }

    /// Splits off a record with fields that have lengths of their own; `spans` is used for them.
    pub(super) fn split<'r, 's>(
        &self,
        set: &mut &'r [u8],
        spans: &'s mut Vec<Span>,
    ) -> Option<Spanned<'r, 's>> {
        spans.clear();
        let end = self.end(set, |span| spans.push(span))?;
        let (bytes, rest) = set.split_at_checked(end)?;
        *set = rest;
        Some(Spanned { bytes, spans })
    }
}

impl<'r> Fixed<'r> {
    pub(super) fn new(bytes: &'r [u8]) -> Self {
        Fixed(bytes)
    }
}

impl Places for Fixed<'_> {
    #[inline]
    fn bytes(&self, place: Place) -> &[u8] {
        let at = usize::from(place.at);
        self.0.get(at..at + usize::from(place.length)).unwrap_or_default()
    }
}

impl Places for Spanned<'_, '_> {
    fn bytes(&self, place: Place) -> &[u8] {
        let behind = usize::from(place.behind);
        let found = if place.length == VARIABLE {
            self.spans.get(behind).copied()
        } else {
            let before = behind
                .checked_sub(1)
                .map_or(Some(0), |last| self.spans.get(last).map(|(_, end)| *end));
            before.map(|start| {
                let start = start + u32::from(place.at);
                (start, start + u32::from(place.length))
            })
        };
        found
            .and_then(|(start, end)| self.bytes.get(start as usize..end as usize))
            .unwrap_or_default()
    }
}

/// The number that these bytes are; `None` if there are none, or more than 8.
#[inline]
pub(super) fn number_of(bytes: &[u8]) -> Option<u64> {
    let number = match bytes.len() {
        1 => bytes[0].into(),
        2 => u16::from_be_bytes(bytes.try_into().ok()?).into(),
        4 => u32::from_be_bytes(bytes.try_into().ok()?).into(),
        8 => u64::from_be_bytes(bytes.try_into().ok()?),
        3 | 5 | 6 | 7 => bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)),
        _ => return None,
    };
    Some(number)
}

/// The application that these bytes name (RFC 6759): its engine in the highest byte, and its number
/// there. So it is the same in however many bytes it is written; `None` if there are fewer than 2, or
/// if the number has more than 7.
pub(super) fn application_of(bytes: &[u8]) -> Option<u64> {
    let (engine, number) = bytes.split_first()?;
    let number = number_of(number).filter(|number| number >> 56 == 0)?;
    Some(u64::from(*engine) << 56 | number)
}
