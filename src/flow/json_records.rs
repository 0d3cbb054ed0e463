//! The records in a payload of JSON: one, or several one after another, one per line, or in an
//! array.
#![expect(clippy::inline_always, reason = "part of the loop over records, see benches/decode")]

use super::{
    json::{Cursor, SyntaxError, repaired},
    reason::{Malformed, Skipped},
    record::Record,
};

/// Reads records of one format.
pub(super) trait RecordReader {
    /// Consumes a record of `text`, which begins here, and hands what is in it to `sink`.
    fn record<'t>(
        &mut self,
        text: &'t str,
        cursor: &mut Cursor<'t>,
        sink: &mut impl FnMut(Record<'_>),
    ) -> Result<(), SyntaxError>;
}

/// Decodes all records in `payload` and hands each to `sink`, in order.
///
/// `sink` is called at least once. If a record can't be decoded, only the rest of its line is lost.
/// Bytes that are not UTF-8 become U+FFFD, as in Go.
#[inline(always)]
pub(super) fn decode(
    reader: &mut impl RecordReader,
    payload: &[u8],
    sink: &mut impl FnMut(Record<'_>),
) {
    match std::str::from_utf8(payload) {
        Ok(text) => decode_text(reader, text, sink),
        Err(_) => decode_text(reader, &repaired(payload), sink),
    }
}

fn decode_text(reader: &mut impl RecordReader, text: &str, sink: &mut impl FnMut(Record<'_>)) {
    // Behind a byte order mark.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut cursor = Cursor::new(text);
    let mut empty = true;
    let mut emit = |record: Record<'_>| {
        empty = false;
        sink(record);
    };
    while let Some(first) = cursor.peek() {
        let start = cursor.position();
        let failed = match first {
            b'{' => reader.record(text, &mut cursor, &mut emit).map_err(|SyntaxError| start),
            b'[' => array(reader, text, &mut cursor, &mut emit),
            _ if cursor.skip_value().is_ok() && cursor.line_is_done() => {
                cursor.skip_line_of(start);
                emit(malformed(Malformed::NotARecord, text, start, &cursor));
                Ok(())
            }
            _ => Err(start),
        };
        if let Err(failed_at) = failed {
            cursor.skip_line_of(failed_at);
            emit(malformed(Malformed::Syntax, text, failed_at, &cursor));
        }
    }
    if empty {
        sink(Record::Skipped(Skipped::Empty));
    }
}

/// Consumes an array of records. The error is a position on the line that is not JSON.
pub(super) fn array<'t>(
    reader: &mut impl RecordReader,
    text: &'t str,
    cursor: &mut Cursor<'t>,
    sink: &mut impl FnMut(Record<'_>),
) -> Result<(), usize> {
    cursor.take(b'[');
    if cursor.take(b']') {
        return Ok(());
    }
    loop {
        let first = cursor.peek();
        let start = cursor.position();
        if first == Some(b'{') {
            reader.record(text, cursor, sink).map_err(|SyntaxError| start)?;
        } else {
            cursor.skip_value().map_err(|SyntaxError| start)?;
            sink(malformed(Malformed::NotARecord, text, start, cursor));
        }
        let end = cursor.position();
        match cursor.next() {
            Some(b',') => {}
            Some(b']') => return Ok(()),
            _ => return Err(end),
        }
    }
}

/// The text from `start` up to the cursor, as a record that can't be decoded.
#[cold]
pub(super) fn malformed<'t>(
    reason: Malformed,
    text: &'t str,
    start: usize,
    end: &Cursor<'t>,
) -> Record<'t> {
    Record::Malformed(reason, text[start..end.position()].trim())
}
