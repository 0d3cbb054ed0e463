//! The values of JSON records: how each kind of field may be written.
#![expect(clippy::inline_always, reason = "part of the loop over a record's keys")]

use std::{fmt::Write as _, net::IpAddr};

use crate::schema::{EGRESS, Field, FieldType, INGRESS, flag, protocol};

use super::{
    json::{Cursor, Number, SyntaxError},
    plan::Slot,
    reason::Malformed,
    row::{RowBuffer, Value},
};

/// How a value may be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// It is a number.
    Number,
    /// It is a string, or a map as pmacct's `pre_tag_label_encode_as_map` writes it.
    Label,
    /// It is anything that can be a text.
    Text,
    /// It is the same, or an array of strings as `as_path_encode_as_array` and
    /// `bgp_comms_encode_as_array` write it.
    Strings,
    /// It is an IP address.
    Address,
    /// It is the name or the number of a protocol.
    Protocol,
    /// It is a set of TCP flags: a number, or an array of names as `tcpflags_encode_as_array`
    /// writes it.
    TcpFlags,
    /// It is the direction in which a flow passed the exporter.
    FlowDirection,
}

impl Kind {
    /// How the values of a field may be written.
    pub(super) const fn of(field: &Field) -> Self {
        match (field, field.value_type()) {
            (Field::Hostname, _) => Kind::Label,
            (Field::AsPath | Field::Communities, _) => Kind::Strings,
            (_, FieldType::Number { .. }) => Kind::Number,
            (_, FieldType::Protocol) => Kind::Protocol,
            (_, FieldType::TcpFlags) => Kind::TcpFlags,
            (_, FieldType::FlowDirection) => Kind::FlowDirection,
            (_, FieldType::Address) => Kind::Address,
            (_, FieldType::Text) => Kind::Text,
        }
    }
}

/// Consumes a number or a string of digits; `None` if it is null.
#[inline(always)]
pub(super) fn integer(cursor: &mut Cursor<'_>) -> Result<Option<u64>, Malformed> {
    match cursor.peek() {
        Some(b'0'..=b'9' | b'-') => match cursor.number()? {
            Number::Unsigned(number) => Ok(Some(number)),
            Number::Other => Err(Malformed::NumberOutOfRange),
        },
        Some(b'"') => digits(cursor.string()?.as_bytes()).map(Some),
        Some(b'{') => wrapped(cursor),
        first => {
            cursor.skip_value()?;
            if first == Some(b'n') { Ok(None) } else { Err(Malformed::WrongType) }
        }
    }
}

/// Consumes the number of a union in Avro's JSON encoding, which names its type: `{"long": 5}`.
#[cold]
fn wrapped(cursor: &mut Cursor<'_>) -> Result<Option<u64>, Malformed> {
    let mut inside = Cursor::new(cursor.container()?);
    inside.take(b'{');
    let is_number = inside.string().is_ok_and(|name| matches!(&*name, "long" | "int"));
    if !is_number || !inside.take(b':') || !matches!(inside.peek(), Some(b'0'..=b'9' | b'-')) {
        return Err(Malformed::WrongType);
    }
    let Number::Unsigned(number) = inside.number().map_err(|SyntaxError| Malformed::WrongType)?
    else {
        return Err(Malformed::NumberOutOfRange);
    };
    if inside.take(b'}') { Ok(Some(number)) } else { Err(Malformed::WrongType) }
}

/// The number that a text of digits says.
pub(super) fn digits(text: &[u8]) -> Result<u64, Malformed> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return Err(Malformed::WrongType);
    }
    let text = std::str::from_utf8(text).unwrap_or_default();
    text.parse().map_err(|_| Malformed::NumberOutOfRange)
}

/// Reads a value for a slot of texts, other than a string without escapes, and returns the cursor
/// after it.
#[inline(never)]
pub(super) fn other_text<'t>(
    mut cursor: Cursor<'t>,
    slot: Slot,
    kind: Kind,
    values: &mut RowBuffer,
) -> Result<Cursor<'t>, SyntaxError> {
    let first = cursor.peek();
    let start = cursor.position();
    match (first, kind) {
        (Some(b'"'), _) => {
            let text = cursor.escaped_string()?;
            values.set_text(slot, &text);
        }
        (Some(b'{'), Kind::Label) => made(slot, values, cursor.container()?, join)?,
        (Some(b'['), Kind::Strings) => made(slot, values, cursor.container()?, join_array)?,
        _ => {
            cursor.skip_value()?;
            match (first, kind) {
                // Absent.
                (Some(b'n'), _) => {}
                // As it stands in the record.
                (_, Kind::Text | Kind::Strings) => {
                    values.set(slot, Value::Text(start, cursor.position()));
                }
                _ => values.set_malformed(slot, Malformed::WrongType),
            }
        }
    }
    Ok(cursor)
}

/// Sets the text that `write` makes of an object or array.
fn made(
    slot: Slot,
    values: &mut RowBuffer,
    container: &str,
    write: impl FnOnce(&str, &mut String) -> Result<(), Malformed>,
) -> Result<(), SyntaxError> {
    match values.set_made(slot, |made| write(container, made)) {
        Err(Malformed::Syntax) => return Err(SyntaxError),
        Err(reason) => values.set_malformed(slot, reason),
        Ok(()) => {}
    }
    Ok(())
}

/// An IP address; `None` if the text is empty. IPv4 addresses that are mapped into IPv6 are IPv4.
#[inline]
pub(super) fn address(text: &[u8]) -> Result<Option<IpAddr>, Malformed> {
    if text.is_empty() {
        return Ok(None);
    }
    let address = std::str::from_utf8(text).ok().and_then(|text| text.parse::<IpAddr>().ok());
    address.map(|address| Some(address.to_canonical())).ok_or(Malformed::WrongType)
}

/// Consumes a value in the place of a string: absent if it is null.
#[cold]
pub(super) fn no_string<T>(
    cursor: &mut Cursor<'_>,
) -> Result<Result<Option<T>, Malformed>, SyntaxError> {
    let first = cursor.peek();
    cursor.skip_value()?;
    Ok(if first == Some(b'n') { Ok(None) } else { Err(Malformed::WrongType) })
}

/// Reads a value that formats spell in several ways into a slot of numbers, and returns the cursor
/// after it. A spelling that is not known counts as absent: it is no reason to lose the record.
#[inline(never)]
pub(super) fn code<'t>(
    mut cursor: Cursor<'t>,
    slot: Slot,
    kind: Kind,
    values: &mut RowBuffer,
) -> Result<Cursor<'t>, SyntaxError> {
    let number = match cursor.peek() {
        Some(b'"') => {
            let text = cursor.string()?;
            code_of(kind, &text)
        }
        Some(b'[') => {
            let mut array = Cursor::new(cursor.container()?);
            let mut set = 0;
            each(&mut array, |name| set |= flag(name).unwrap_or_default())?;
            matches!(kind, Kind::TcpFlags).then_some(set)
        }
        Some(b'0'..=b'9' | b'-') => match cursor.number()? {
            Number::Unsigned(number) => u32::try_from(number).ok(),
            Number::Other => None,
        },
        _ => match no_string(&mut cursor)? {
            Ok(absent) => absent,
            Err(reason) => {
                values.set_malformed(slot, reason);
                None
            }
        },
    };
    if let Some(number) = number.filter(|&number| number <= largest_code(kind)) {
        values.set(slot, Value::Number(number.into()));
    }
    Ok(cursor)
}

/// The number that a text stands for where formats spell numbers in several ways.
pub(super) fn code_of(kind: Kind, text: &str) -> Option<u32> {
    match kind {
        Kind::Protocol => protocol(text),
        Kind::TcpFlags => text.parse().ok(),
        _ => direction(text),
    }
}

/// The largest of these numbers.
pub(super) const fn largest_code(kind: Kind) -> u32 {
    if matches!(kind, Kind::TcpFlags) { u16::MAX as u32 } else { 255 }
}

/// The direction of a flow, as pmacct writes it (`i` and `e`), or in words.
fn direction(text: &str) -> Option<u32> {
    match text {
        "i" | "ingress" | "0" => Some(INGRESS),
        "e" | "egress" | "1" => Some(EGRESS),
        _ => None,
    }
}

/// Hands the strings in an array to `take`; other values are left out.
fn each(array: &mut Cursor<'_>, mut take: impl FnMut(&str)) -> Result<(), SyntaxError> {
    array.take(b'[');
    let mut done = array.take(b']');
    while !done {
        if array.peek() == Some(b'"') {
            take(&array.string()?);
        } else {
            array.skip_value()?;
        }
        done = array.take(b']');
        array.take(b',');
    }
    Ok(())
}

/// Appends the strings of an array, joined by spaces.
fn join_array(array: &str, joined: &mut String) -> Result<(), Malformed> {
    let start = joined.len();
    each(&mut Cursor::new(array), |text| {
        if joined.len() > start {
            joined.push(' ');
        }
        joined.push_str(text);
    })?;
    Ok(())
}

/// Appends the strings and numbers of an array, joined by spaces. Numbers may be BGP communities.
pub(super) fn join_values(
    array: &str,
    are_communities: bool,
    joined: &mut String,
) -> Result<(), SyntaxError> {
    let start = joined.len();
    let mut cursor = Cursor::new(array);
    cursor.take(b'[');
    let mut done = cursor.take(b']');
    while !done {
        let before = joined.len();
        if joined.len() > start {
            joined.push(' ');
        }
        match cursor.peek() {
            Some(b'"') => joined.push_str(&cursor.string()?),
            Some(b'0'..=b'9') => match cursor.number()? {
                Number::Unsigned(number) => push_number(number, are_communities, joined),
                Number::Other => joined.truncate(before),
            },
            _ => {
                joined.truncate(before);
                cursor.skip_value()?;
            }
        }
        done = cursor.take(b']');
        cursor.take(b',');
    }
    Ok(())
}

/// Appends a number, or the two numbers of a BGP community.
pub(super) fn push_number(number: u64, is_community: bool, text: &mut String) {
    let written = if is_community {
        write!(text, "{}:{}", number >> 16, number & 0xffff)
    } else {
        write!(text, "{number}")
    };
    // Writing to a string can't fail.
    written.unwrap_or_default();
}

/// Appends the pairs of a map as `key%value`, joined by commas: what pmacct writes without
/// `pre_tag_label_encode_as_map`.
fn join(map: &str, joined: &mut String) -> Result<(), Malformed> {
    let mut cursor = Cursor::new(map);
    cursor.take(b'{');
    let mut done = cursor.take(b'}');
    while !done {
        joined.push_str(&cursor.string()?);
        joined.push('%');
        cursor.take(b':');
        match cursor.peek() {
            Some(b'"') => joined.push_str(&cursor.string()?),
            Some(b'0'..=b'9' | b'-') => {
                let start = cursor.position();
                cursor.number()?;
                joined.push_str(&map[start..cursor.position()]);
            }
            _ => return Err(Malformed::WrongType),
        }
        done = cursor.take(b'}');
        if cursor.take(b',') {
            joined.push(',');
        }
    }
    Ok(())
}

impl From<SyntaxError> for Malformed {
    fn from(SyntaxError: SyntaxError) -> Self {
        Malformed::Syntax
    }
}
