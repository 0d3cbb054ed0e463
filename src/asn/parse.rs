//! The formats in which tables of AS names are published, recognised line by line.

use std::borrow::Cow;

use super::table::{AsNames, Rows, number};

/// The largest table that is read. RIPE's has about 5 MB.
pub const MAX_TABLE_BYTES: usize = 64 << 20;

/// Why bytes can't be read as a table of AS names.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// No line is a row.
    #[error(
        "none of its {lines} lines names an AS; expected RIPE's or cidr-report's asn.txt \
         (`1007 MIT-X - Some Org, Inc., US`), bgp.tools' asns.csv (`AS1007,\"Some Org, Inc.\",...`), \
         or lines of number, tab and name"
    )]
    NoRows {
        /// How many lines there are, blank ones excluded.
        lines: usize,
    },
    /// It has more than [`MAX_TABLE_BYTES`], or its names have, once they are UTF-8.
    #[error("it is larger than {} MiB: no table of AS names is that large", MAX_TABLE_BYTES >> 20)]
    TooLarge,
    /// It begins with the byte order mark of UTF-16.
    #[error("it is UTF-16: save it as UTF-8")]
    Utf16,
}

impl AsNames {
    /// Reads a table in any of these formats, each line on its own:
    ///
    /// - RIPE's and cidr-report's `asn.txt`: number, white space, name, and a country as in `, US`,
    ///   which is removed if it is there. May be wrapped in HTML, with the numbers as anchors.
    /// - bgp.tools' `asns.csv`: `AS14618,"Amazon.com, Inc.",Content,US`.
    /// - our own: the number at the very beginning of the line, one tab, and the name, from which
    ///   no country is removed.
    ///
    /// Other lines are counted ([`AsNames::ignored_lines`]). The last of several rows for a number
    /// counts. Bytes that are not UTF-8 are read as Latin-1. Control characters, and spaces around
    /// a name, are removed; everything else is kept as it is.
    pub fn parse(file: &[u8]) -> Result<AsNames, ParseError> {
        if file.len() > MAX_TABLE_BYTES {
            return Err(ParseError::TooLarge);
        }
        if file.starts_with(b"\xff\xfe") || file.starts_with(b"\xfe\xff") {
            return Err(ParseError::Utf16);
        }
        let file = file.strip_prefix(b"\xef\xbb\xbf").unwrap_or(file);
        let mut rows = Rows::default();
        let (mut lines, mut ignored) = (0, 0);
        let mut html = false;
        for line in file.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii_end) {
            if line.is_empty() {
                continue;
            }
            lines += 1;
            html |= line.trim_ascii_start().starts_with(b"<");
            let named = row(line, html).is_some_and(|(number, name)| rows.push(number, &name));
            ignored += usize::from(!named);
        }
        if rows.is_empty() {
            return Err(ParseError::NoRows { lines });
        }
        let names = rows.finish(ignored);
        // It could not be read back as we write it: Latin-1 gets twice as long in UTF-8.
        if names.as_tsv().len() > MAX_TABLE_BYTES { Err(ParseError::TooLarge) } else { Ok(names) }
    }
}

/// The number and the name on a line, which has no white space at its end; `None` if it is no row.
fn row(line: &[u8], html: bool) -> Option<(u32, Cow<'_, str>)> {
    if let (Some(number), digits) = number(line)
        && let Some(name) = line[digits..].strip_prefix(b"\t")
    {
        return Some((number, decode(name)));
    }

    let line = if html { between_tags(line) } else { line.trim_ascii_start() };
    let (quoted, line) = match line.strip_prefix(b"\"") {
        Some(line) => (true, line),
        None => (false, line),
    };
    let line = line.strip_prefix(b"AS").unwrap_or(line);
    let (Some(number), digits) = number(line) else { return None };
    let rest = &line[digits..];
    let rest = if quoted { rest.strip_prefix(b"\"")? } else { rest };
    if let Some(fields) = rest.strip_prefix(b",") {
        return Some((number, csv_field(fields)));
    }

    let name = if html { between_tags(rest) } else { rest.trim_ascii_start() };
    if name.len() == rest.len() {
        // Neither white space nor a tag is between them, as in `3com`.
        return None;
    }
    let mut name = decode(name);
    if html {
        name = unescape(name);
    }
    Some((number, without_country(name)))
}

/// The text without control characters; bytes that are not UTF-8 are read as Latin-1.
fn decode(bytes: &[u8]) -> Cow<'_, str> {
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => bytes
            .utf8_chunks()
            .flat_map(|chunk| {
                chunk.valid().chars().chain(chunk.invalid().iter().copied().map(char::from))
            })
            .collect::<String>()
            .into(),
    };
    if text.contains(char::is_control) {
        text.chars().filter(|char| !char.is_control()).collect::<String>().into()
    } else {
        text
    }
}

/// The name without the country at its end (`, US`, also `, EU` and `, ZZ`), if it has one.
fn without_country(name: Cow<'_, str>) -> Cow<'_, str> {
    let kept = match name.rsplit_once(',') {
        Some((kept, country))
            if country.starts_with(' ')
                && country.trim_matches(' ').len() == 2
                && country.trim_matches(' ').bytes().all(|byte| byte.is_ascii_alphabetic()) =>
        {
            kept.len()
        }
        _ => return name,
    };
    match name {
        Cow::Borrowed(name) => Cow::Borrowed(&name[..kept]),
        Cow::Owned(mut name) => {
            name.truncate(kept);
            Cow::Owned(name)
        }
    }
}

/// The first of several fields separated by commas, without its quotes (RFC 4180, section 2).
fn csv_field(fields: &[u8]) -> Cow<'_, str> {
    let Some(quoted) = fields.trim_ascii_start().strip_prefix(b"\"") else {
        let end = memchr::memchr(b',', fields).unwrap_or(fields.len());
        return decode(&fields[..end]);
    };
    // The closing quote is the first one that is not doubled.
    let mut end = 0;
    while let Some(quote) = memchr::memchr(b'"', &quoted[end..]) {
        end += quote;
        if quoted.get(end + 1) != Some(&b'"') {
            return undouble(&quoted[..end]);
        }
        end += 2;
    }
    undouble(quoted)
}

fn undouble(quoted: &[u8]) -> Cow<'_, str> {
    let text = decode(quoted);
    if text.contains("\"\"") { text.replace("\"\"", "\"").into() } else { text }
}

/// A line of an HTML page without the tags and the white space at its beginning and end.
fn between_tags(mut line: &[u8]) -> &[u8] {
    line = line.trim_ascii();
    while line.starts_with(b"<")
        && let Some(end) = memchr::memchr(b'>', line)
    {
        line = line[end + 1..].trim_ascii_start();
    }
    while line.ends_with(b">")
        && let Some(start) = memchr::memrchr(b'<', line)
    {
        line = line[..start].trim_ascii_end();
    }
    line
}

/// The text with the character references of such pages replaced.
fn unescape(text: Cow<'_, str>) -> Cow<'_, str> {
    if !text.contains('&') {
        return text;
    }
    let text = text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"");
    text.replace("&#39;", "'").replace("&amp;", "&").into()
}
