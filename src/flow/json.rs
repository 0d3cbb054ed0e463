//! A scanner of JSON text in place, for records of which some fields are used.
//!
//! Strings without escapes are read eight bytes at a time, and integers digit by digit, without a
//! copy: nearly every value of a flow record is one of these. sonic-rs parses everything else.
#![expect(clippy::inline_always, reason = "8 % of the time per record, measured by benches/decode")]

use std::{borrow::Cow, ops::Range};

use sonic_rs::{
    Read,
    parser::{Parser, Reference},
};

/// Objects and arrays in a value may nest this deep: more than any record does. Bounds the stack,
/// of which sonic-rs takes up to 45 KiB for each level (without optimisation).
pub(super) const MAX_DEPTH: usize = 16;

/// The text is not JSON, is truncated, or nests deeper than [`MAX_DEPTH`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SyntaxError;

/// A number, as a count or an AS number would be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Number {
    /// An integer that is not negative.
    Unsigned(u64),
    /// Negative, with a fraction or an exponent, or with more than 19 digits.
    Other,
}

/// A position in a text.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cursor<'t> {
    text: &'t str,
    /// Index of the next byte. It is inside a character only if an error is returned.
    at: usize,
}

impl<'t> Cursor<'t> {
    /// At the beginning of `text`.
    pub(super) fn new(text: &'t str) -> Self {
        Cursor { text, at: 0 }
    }

    /// The index of the next byte.
    pub(super) fn position(&self) -> usize {
        self.at
    }

    /// Moves to an index that [`Cursor::position`] has returned for this text.
    pub(super) fn move_to(&mut self, position: usize) {
        self.at = position;
    }

    /// Moves past the end of the line that has `position`.
    pub(super) fn skip_line_of(&mut self, position: usize) {
        let rest = self.text.as_bytes().get(position..).unwrap_or_default();
        self.at = memchr::memchr(b'\n', rest).map_or(self.text.len(), |end| position + end + 1);
    }

    /// Whether only white space follows up to the end of the line.
    pub(super) fn line_is_done(&self) -> bool {
        let rest = self.text.as_bytes().get(self.at..).unwrap_or_default();
        rest.iter().take_while(|&&byte| byte != b'\n').all(|&byte| is_space(byte))
    }

    /// Consumes white space; returns the byte after it, without consuming it.
    #[inline(always)]
    pub(super) fn peek(&mut self) -> Option<u8> {
        let bytes = self.text.as_bytes();
        let byte = *bytes.get(self.at)?;
        if byte > b' ' {
            return Some(byte);
        }
        // pmacct writes a single space. Anything else takes the slow path.
        if byte == b' '
            && let Some(&byte) = bytes.get(self.at + 1)
            && byte > b' '
        {
            self.at += 1;
            return Some(byte);
        }
        self.at = space_end(bytes, self.at);
        bytes.get(self.at).copied()
    }

    /// Consumes white space and the byte after it.
    #[inline(always)]
    pub(super) fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }

    /// Consumes white space, and then `byte` if it follows.
    #[inline(always)]
    pub(super) fn take(&mut self, byte: u8) -> bool {
        // A branch rather than adding 0 or 1: the processor then need not wait for the byte.
        if self.peek() != Some(byte) {
            return false;
        }
        self.at += 1;
        true
    }

    /// The next bytes as words, the first byte lowest; zeros where a mask has them, and after the
    /// end.
    #[inline(always)]
    pub(super) fn words<const N: usize>(&self, masks: &[u64; N]) -> [u64; N] {
        let bytes = self.text.as_bytes();
        match bytes.get(self.at..).and_then(|rest| rest.get(..N * 8)) {
            Some(bytes) => std::array::from_fn(|place| word(bytes, place * 8) & masks[place]),
            // Only words that count are read: the last key of a message is near its end.
            None => std::array::from_fn(|place| match masks[place] {
                0 => 0,
                mask => word(bytes, self.at + place * 8) & mask,
            }),
        }
    }

    /// Consumes `len` bytes, if [`Cursor::words`] are these.
    #[inline(always)]
    pub(super) fn take_words<const N: usize>(
        &mut self,
        words: &[u64; N],
        masks: &[u64; N],
        len: usize,
    ) -> bool {
        let found = self.words(masks);
        // Without a branch for each word.
        let differing = found.iter().zip(words).fold(0, |bits, (found, word)| bits | found ^ word);
        if differing != 0 {
            return false;
        }
        self.at += len;
        true
    }

    /// Consumes white space and a string, and borrows it if it has no escapes.
    ///
    /// Escaped surrogates that are not in pairs become U+FFFD.
    #[inline(always)]
    pub(super) fn string(&mut self) -> Result<Cow<'t, str>, SyntaxError> {
        Ok(match self.plain_string() {
            Some(range) => Cow::Borrowed(&self.text[range]),
            None => Cow::Owned(self.escaped_string()?),
        })
    }

    /// Consumes white space and a string, and returns what `read` makes of it.
    #[inline(always)]
    pub(super) fn string_as<R>(&mut self, read: impl Fn(&[u8]) -> R) -> Result<R, SyntaxError> {
        Ok(match self.plain_string() {
            Some(range) => read(&self.text.as_bytes()[range]),
            None => read(self.escaped_string()?.as_bytes()),
        })
    }

    /// Consumes white space and a string without escapes, and returns where its content is.
    /// Consumes only white space if something else follows.
    #[inline(always)]
    pub(super) fn plain_string(&mut self) -> Option<Range<usize>> {
        let bytes = self.text.as_bytes();
        if self.peek() != Some(b'"') {
            return None;
        }
        let start = self.at + 1;
        let mut end = start;
        loop {
            let special = quotes_backslashes_controls(word(bytes, end));
            if special != 0 {
                end += special.trailing_zeros() as usize / 8;
                break;
            }
            end += 8;
        }
        if bytes.get(end) != Some(&b'"') {
            return None;
        }
        self.at = end + 1;
        Some(start..end)
    }

    /// Consumes a number, which begins here.
    #[inline(always)]
    pub(super) fn number(&mut self) -> Result<Number, SyntaxError> {
        let bytes = self.text.as_bytes();
        let start = self.at;
        let mut value = 0_u64;
        while let Some(byte @ b'0'..=b'9') = bytes.get(self.at) {
            value = value.wrapping_mul(10).wrapping_add(u64::from(byte - b'0'));
            self.at += 1;
        }
        let digits = self.at - start;
        let more = matches!(bytes.get(self.at), Some(b'.' | b'e' | b'E'));
        if digits == 0 || more || (digits > 1 && bytes[start] == b'0') {
            self.at = start;
            self.scalar()?;
            return Ok(Number::Other);
        }
        // 19 digits always fit.
        Ok(if digits <= 19 { Number::Unsigned(value) } else { Number::Other })
    }

    /// Consumes white space and a value of any kind.
    #[inline(always)]
    pub(super) fn skip_value(&mut self) -> Result<(), SyntaxError> {
        match self.peek() {
            Some(b'"') => self.string_as(|_| ()),
            Some(b'0'..=b'9') => self.number().map(drop),
            Some(b'{' | b'[') => self.container().map(drop),
            _ => self.scalar(),
        }
    }

    /// Consumes a literal or a number of any form, which begins here, and returns its text.
    pub(super) fn scalar_text(&mut self) -> Result<&'t str, SyntaxError> {
        let start = self.at;
        self.scalar()?;
        Ok(&self.text[start..self.at])
    }

    /// Consumes a literal or a number of any form, which begins here.
    #[inline(always)]
    fn scalar(&mut self) -> Result<(), SyntaxError> {
        self.at = scalar_end(self.text, self.at)?;
        Ok(())
    }

    /// Consumes an object or array, which begins here, and returns its text.
    #[inline(always)]
    pub(super) fn container(&mut self) -> Result<&'t str, SyntaxError> {
        let start = self.at;
        self.at = container_end(self.text, start)?;
        Ok(&self.text[start..self.at])
    }

    /// Consumes white space and a string, and returns a copy of it.
    #[inline(always)]
    pub(super) fn escaped_string(&mut self) -> Result<String, SyntaxError> {
        let string;
        (string, self.at) = escaped_string(self.text, self.at)?;
        Ok(string)
    }
}

// Rare cases are out of line, and take and return positions by value, so that a cursor never needs
// an address and stays in registers: this saves a third of the time per record.

/// Where the white space that begins at `at` ends.
#[inline(never)]
fn space_end(bytes: &[u8], at: usize) -> usize {
    let rest = bytes.get(at..).unwrap_or_default();
    at + rest.iter().take_while(|&&byte| is_space(byte)).count()
}

/// The string that begins at `at`, and where it ends.
#[cold]
#[inline(never)]
fn escaped_string(text: &str, at: usize) -> Result<(String, usize), SyntaxError> {
    let mut parser = Parser::new(Read::from(&text[at..])).utf8_lossy();
    let mut buffer = Vec::new();
    if parser.skip_space() != Some(b'"') {
        return Err(SyntaxError);
    }
    let string = match parser.parse_str(&mut buffer).map_err(|_| SyntaxError)? {
        Reference::Borrowed(text) | Reference::Copied(text) => text.to_owned(),
    };
    Ok((string, at + parser.offset()))
}

/// Where the literal or number that begins at `at` ends.
#[inline(never)]
fn scalar_end(text: &str, at: usize) -> Result<usize, SyntaxError> {
    if !matches!(text.as_bytes().get(at), Some(b'-' | b'0'..=b'9' | b'a'..=b'z')) {
        return Err(SyntaxError);
    }
    let mut parser = Parser::new(Read::from(&text[at..]));
    parser.skip_one(true).map_err(|_| SyntaxError)?;
    Ok(at + parser.offset())
}

/// Where the object or array that begins at `at` ends.
#[inline(never)]
fn container_end(text: &str, at: usize) -> Result<usize, SyntaxError> {
    // sonic-rs skips by recursion, and skips any four bytes after `\u`: so depth and strings are
    // checked first.
    let mut cursor = Cursor { text, at };
    let mut depth = 0;
    loop {
        match text.as_bytes().get(cursor.at).ok_or(SyntaxError)? {
            b'"' => {
                cursor.string_as(|_| ())?;
                continue;
            }
            b'{' | b'[' if depth == MAX_DEPTH => return Err(SyntaxError),
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth -= 1,
            _ => {}
        }
        cursor.at += 1;
        if depth == 0 {
            break;
        }
    }
    let container = &text[at..cursor.at];
    let mut parser = Parser::new(Read::from(container));
    parser.skip_one(true).map_err(|_| SyntaxError)?;
    if parser.offset() == container.len() { Ok(cursor.at) } else { Err(SyntaxError) }
}

/// The payload with U+FFFD for each byte that is not part of valid UTF-8. (Rust's own lossy
/// conversion writes one for a whole cut-off character, so labels would differ from the
/// original's.)
#[cold]
pub(super) fn repaired(payload: &[u8]) -> String {
    let mut text = String::with_capacity(payload.len() + 64);
    push_repaired(payload, &mut text);
    text
}

/// Appends the same to a text.
pub(super) fn push_repaired(bytes: &[u8], text: &mut String) {
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|_| char::REPLACEMENT_CHARACTER));
    }
}

const fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\n' | b'\r' | b'\t')
}

const ONES: u64 = u64::MAX / 0xff;
const HIGH_BITS: u64 = ONES * 0x80;

/// The eight bytes from `at`, the first one lowest; zeros after the end.
#[inline(always)]
fn word(bytes: &[u8], at: usize) -> u64 {
    match bytes.get(at..).and_then(<[u8]>::first_chunk) {
        Some(word) => u64::from_le_bytes(*word),
        None => last_word(bytes, at),
    }
}

#[cold]
fn last_word(bytes: &[u8], at: usize) -> u64 {
    let rest = bytes.get(at..).unwrap_or_default();
    let mut padded = [0; 8];
    padded[..rest.len()].copy_from_slice(rest);
    u64::from_le_bytes(padded)
}

/// Has its lowest bit in the first byte that is a quote, a backslash or a control character; zero
/// if there is none. Higher bits mean nothing: they may stem from the borrow of a lower byte.
#[inline(always)]
const fn quotes_backslashes_controls(word: u64) -> u64 {
    let quotes = word ^ (ONES * b'"' as u64);
    let backslashes = word ^ (ONES * b'\\' as u64);
    (quotes.wrapping_sub(ONES) & !quotes
        | backslashes.wrapping_sub(ONES) & !backslashes
        | word.wrapping_sub(ONES * b' ' as u64) & !word)
        & HIGH_BITS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_is_told_from_quotes_backslashes_and_controls() {
        for byte in 0..=u8::MAX {
            for place in 0..8 {
                let mut bytes = [b'a'; 8];
                bytes[place] = byte;
                let special = quotes_backslashes_controls(u64::from_le_bytes(bytes));
                if byte < b' ' || byte == b'"' || byte == b'\\' {
                    assert_eq!(special.trailing_zeros() as usize / 8, place, "{byte:#x}");
                } else {
                    assert_eq!(special, 0, "{byte:#x}");
                }
            }
        }
    }
}
