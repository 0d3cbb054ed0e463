//! pmacct's JSON, as its Kafka and print plugins write it.
//!
//! A payload holds one record, or several: one to a line (`kafka_multi_values`), one after the
//! other, or in an array. Of a record only `event_type`, `label`, `as_src`, `as_dst` and `bytes`
//! are used. Field names and types: pmacct's `src/plugin_cmn_json.c`.
#![expect(clippy::inline_always, reason = "8 % of the time per record, measured by benches/decode")]

use std::{borrow::Cow, ops::Range};

use super::{
    json::{Cursor, Number, SyntaxError, repaired},
    reason::{Malformed, Skipped},
    record::{Decoded, Flow},
};

/// Decodes all records in `payload` and hands each to `sink`, in order.
///
/// `sink` is called at least once. A record that can't be decoded costs only its line: what comes
/// before and after it still counts. Bytes that are not UTF-8 become U+FFFD, as in Go.
pub fn decode<'p>(payload: &'p [u8], sink: &mut impl FnMut(Decoded<'p>)) {
    match std::str::from_utf8(payload) {
        Ok(text) => decode_text(text, sink),
        Err(_) => decode_text(&repaired(payload), &mut |decoded| sink(into_owned(decoded))),
    }
}

/// The first record of `payload` that can't be decoded: why, and its text; up to the end of the
/// line where it is not known where it ends.
pub fn first_malformed(payload: &[u8]) -> Option<(Malformed, String)> {
    let text = repaired(payload);
    let text = without_mark(&text);
    let mut first = None;
    walk(text, &mut |decoded, place| {
        if let (None, Decoded::Malformed(reason)) = (&first, decoded) {
            first = text.get(place).map(|record| (reason, record.trim().to_owned()));
        }
    });
    first
}

fn decode_text<'t>(text: &'t str, sink: &mut impl FnMut(Decoded<'t>)) {
    walk(without_mark(text), &mut |decoded, _| sink(decoded));
}

/// The text behind a byte order mark.
fn without_mark(text: &str) -> &str {
    text.strip_prefix('\u{feff}').unwrap_or(text)
}

/// Hands out all records, with the places of their texts.
fn walk<'t>(text: &'t str, sink: &mut impl FnMut(Decoded<'t>, Range<usize>)) {
    let mut cursor = Cursor::new(text);
    let mut empty = true;
    let mut emit = |decoded, place| {
        empty = false;
        sink(decoded, place);
    };
    while let Some(first) = cursor.peek() {
        let start = cursor.position();
        match first {
            b'{' => {
                if let Ok(decoded) = record(&mut cursor) {
                    emit(decoded, start..cursor.position());
                } else {
                    cursor.skip_line_of(start);
                    emit(Decoded::Malformed(Malformed::Syntax), start..cursor.position());
                }
            }
            b'[' => {
                if let Err(failed_at) = array(&mut cursor, &mut emit) {
                    cursor.skip_line_of(failed_at);
                    emit(Decoded::Malformed(Malformed::Syntax), failed_at..cursor.position());
                }
            }
            _ => {
                let is_json = cursor.skip_value().is_ok() && cursor.line_is_done();
                let reason = if is_json { Malformed::NotARecord } else { Malformed::Syntax };
                cursor.skip_line_of(start);
                emit(Decoded::Malformed(reason), start..cursor.position());
            }
        }
    }
    if empty {
        sink(Decoded::Skipped(Skipped::Empty), 0..0);
    }
}

/// Consumes an array of records; the error is a place on the line that is no JSON.
fn array<'t>(
    cursor: &mut Cursor<'t>,
    sink: &mut impl FnMut(Decoded<'t>, Range<usize>),
) -> Result<(), usize> {
    cursor.take(b'[');
    if cursor.take(b']') {
        return Ok(());
    }
    loop {
        let first = cursor.peek();
        let start = cursor.position();
        let decoded = if first == Some(b'{') {
            record(cursor).map_err(|SyntaxError| start)?
        } else {
            cursor.skip_value().map_err(|SyntaxError| start)?;
            Decoded::Malformed(Malformed::NotARecord)
        };
        let end = cursor.position();
        sink(decoded, start..end);
        match cursor.next() {
            Some(b',') => {}
            Some(b']') => return Ok(()),
            _ => return Err(end),
        }
    }
}

/// Consumes an object. As in Go, the last of several equal keys counts, and null is as if the key
/// were not there.
fn record<'t>(at: &mut Cursor<'t>) -> Result<Decoded<'t>, SyntaxError> {
    let mut local = *at;
    let cursor = &mut local;
    let mut source_as = Ok(None);
    let mut destination_as = Ok(None);
    let mut bytes = Ok(None);
    let mut hostname = Ok(None);
    let mut is_marker = false;

    cursor.take(b'{');
    let mut done = cursor.take(b'}');
    while !done {
        let field = cursor.string_as(|key| match key {
            b"as_src" => Field::SourceAs,
            b"as_dst" => Field::DestinationAs,
            b"bytes" => Field::Bytes,
            b"label" => Field::Label,
            b"event_type" => Field::EventType,
            _ => Field::Unused,
        })?;
        if !cursor.take(b':') {
            return Err(SyntaxError);
        }
        match field {
            Field::SourceAs => replace(&mut source_as, integer(cursor))?,
            Field::DestinationAs => replace(&mut destination_as, integer(cursor))?,
            Field::Bytes => replace(&mut bytes, integer(cursor))?,
            Field::Label => replace(&mut hostname, label(cursor))?,
            Field::EventType if cursor.peek() == Some(b'"') => {
                is_marker =
                    cursor.string_as(|event| matches!(event, b"purge_init" | b"purge_close"))?;
            }
            Field::EventType | Field::Unused => cursor.skip_value()?,
        }
        done = match cursor.next() {
            Some(b',') => false,
            Some(b'}') => true,
            _ => return Err(SyntaxError),
        };
    }

    *at = local;
    if is_marker {
        return Ok(Decoded::Skipped(Skipped::Marker));
    }
    let flow = || {
        let Some(bytes) = bytes? else { return Ok(Decoded::Skipped(Skipped::NoBytes)) };
        // The original can't count more than this either.
        if i64::try_from(bytes).is_err() {
            return Err(Malformed::NumberOutOfRange);
        }
        Ok(Decoded::Flow(Flow {
            source_as: as_number(source_as?)?,
            destination_as: as_number(destination_as?)?,
            bytes,
            hostname: hostname?.unwrap_or_default(),
        }))
    };
    Ok(flow().unwrap_or_else(Decoded::Malformed))
}

/// The fields that are used.
#[derive(Clone, Copy)]
enum Field {
    SourceAs,
    DestinationAs,
    Bytes,
    Label,
    EventType,
    Unused,
}

/// What is known of a field: its value, that there is none, or why it can't be used.
type Known<T> = Result<Option<T>, Malformed>;

/// Puts what was read last in the place of what was known; null changes nothing.
#[inline(always)]
fn replace<T>(known: &mut Known<T>, read: Known<T>) -> Result<(), SyntaxError> {
    match read {
        Ok(None) => {}
        Err(Malformed::Syntax) => return Err(SyntaxError),
        read => *known = read,
    }
    Ok(())
}

fn as_number(number: Option<u64>) -> Result<u32, Malformed> {
    number.unwrap_or_default().try_into().map_err(|_| Malformed::NumberOutOfRange)
}

/// Consumes a number, or a string of digits; none is null.
#[inline(always)]
fn integer(cursor: &mut Cursor<'_>) -> Known<u64> {
    match cursor.peek() {
        Some(b'0'..=b'9' | b'-') => match cursor.number()? {
            Number::Unsigned(number) => Ok(Some(number)),
            Number::Other => Err(Malformed::NumberOutOfRange),
        },
        Some(b'"') => {
            let text = cursor.string()?;
            if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
                return Err(Malformed::WrongType);
            }
            text.parse().map(Some).map_err(|_| Malformed::NumberOutOfRange)
        }
        first => null(cursor, first),
    }
}

/// Consumes a string, or a map, which becomes the text that pmacct writes without
/// `pre_tag_label_encode_as_map`; none is null.
#[inline(always)]
fn label<'t>(cursor: &mut Cursor<'t>) -> Known<Cow<'t, str>> {
    match cursor.peek() {
        Some(b'"') => Ok(Some(cursor.string()?)),
        Some(b'{') => Ok(Some(joined(cursor.container()?)?.into())),
        first => null(cursor, first),
    }
}

/// The pairs of a map as `key%value`, joined by commas.
fn joined(map: &str) -> Result<String, Malformed> {
    let mut cursor = Cursor::new(map);
    let mut joined = String::new();
    cursor.take(b'{');
    let mut done = cursor.take(b'}');
    while !done {
        if !joined.is_empty() {
            joined.push(',');
        }
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
        cursor.take(b',');
    }
    Ok(joined)
}

/// Consumes a value that should be null.
fn null<T>(cursor: &mut Cursor<'_>, first: Option<u8>) -> Known<T> {
    cursor.skip_value()?;
    if first == Some(b'n') { Ok(None) } else { Err(Malformed::WrongType) }
}

fn into_owned<'o>(decoded: Decoded<'_>) -> Decoded<'o> {
    match decoded {
        Decoded::Flow(flow) => {
            Decoded::Flow(Flow { hostname: Cow::Owned(flow.hostname.into_owned()), ..flow })
        }
        Decoded::Skipped(reason) => Decoded::Skipped(reason),
        Decoded::Malformed(reason) => Decoded::Malformed(reason),
    }
}
