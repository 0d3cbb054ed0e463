//! The forms in which tables of AS names come, told apart line by line.

use std::borrow::Cow;

use super::AsNames;

/// The largest table that is read. RIPE's has about 5 MB.
pub const MAX_TABLE_BYTES: usize = 64 << 20;

/// The longest name that is kept, in bytes; what exceeds it is cut off. The longest in use has 410
/// characters; a name becomes a label value, and those of flows have the same bound.
pub const MAX_NAME_BYTES: usize = 1024;

/// Why bytes are no table of AS names.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// There is not one row.
    #[error(
        "none of its {lines} lines names an AS; expected RIPE's or cidr-report's asn.txt \
         (`1007 MIT-X - Some Org, Inc., US`), bgp.tools' asns.csv (`AS1007,\"Some Org, Inc.\",...`), \
         or lines of number, tab and name"
    )]
    NoRows {
        /// How many lines were looked at, blank ones left out.
        lines: usize,
    },
    /// It has more than [`MAX_TABLE_BYTES`], or its names have, once they are UTF-8.
    #[error("it is larger than {} MiB, which no table of AS names is", MAX_TABLE_BYTES >> 20)]
    TooLarge,
    /// It begins with the byte order mark of UTF-16.
    #[error("it is UTF-16: save it as UTF-8")]
    Utf16,
}

impl AsNames {
    /// Reads a table in any of these forms, which are told apart line by line:
    ///
    /// - RIPE's and cidr-report's `asn.txt`: number, white space, name, and a country as in `, US`,
    ///   which is cut off; a row without one is a row as well. May be wrapped in HTML, with the
    ///   numbers as anchors.
    /// - bgp.tools' `asns.csv`: `AS14618,"Amazon.com, Inc.",Content,US`.
    /// - our own: the number at the very beginning of the line, one tab, the name, of which nothing
    ///   is cut off.
    ///
    /// Lines that are none of these are counted ([`AsNames::ignored_lines`]). Of two rows of a
    /// number the later wins. Bytes that are not UTF-8 are taken for Latin-1. Control characters,
    /// and spaces around a name, are removed; all else is kept as it is.
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
        if rows.found.is_empty() {
            return Err(ParseError::NoRows { lines });
        }
        let names = rows.finish(ignored);
        // As we would write it, it could not be read again: Latin-1 becomes twice as long.
        if names.text.len() > MAX_TABLE_BYTES { Err(ParseError::TooLarge) } else { Ok(names) }
    }
}

/// Rows as they are found, in any order.
#[derive(Default)]
pub(super) struct Rows {
    names: String,
    /// Number, and where in `names` its name begins and ends.
    found: Vec<(u32, usize, usize)>,
    /// How many names were longer than [`MAX_NAME_BYTES`].
    cut: usize,
}

impl Rows {
    /// Adds a row; refused, with `false`, if it has no name. The name has no control characters.
    pub(super) fn push(&mut self, number: u32, name: &str) -> bool {
        let mut name = name.trim_matches(' ');
        if name.len() > MAX_NAME_BYTES {
            let end = (0..=MAX_NAME_BYTES).rev().find(|&end| name.is_char_boundary(end));
            name = name[..end.unwrap_or_default()].trim_end_matches(' ');
            self.cut += 1;
        }
        self.put(number, name);
        !name.is_empty()
    }

    /// Adds a row with this very name, which is in no need of cleaning; an empty one is left out.
    pub(super) fn put(&mut self, number: u32, name: &str) {
        let start = self.names.len();
        self.names.push_str(name);
        if !name.is_empty() {
            self.found.push((number, start, self.names.len()));
        }
    }

    /// The table of these rows; of several with the same number, the last.
    pub(super) fn finish(mut self, ignored_lines: usize) -> AsNames {
        // The sort is stable, so that rows of a number stay in the order in which they came.
        self.found.sort_by_key(|&(number, ..)| number);
        let mut text = String::with_capacity(self.names.len() + 12 * self.found.len());
        for (index, &(number, start, end)) in self.found.iter().enumerate() {
            if self.found.get(index + 1).is_none_or(|&(next, ..)| next != number) {
                text.push_str(&number.to_string());
                text.push('\t');
                text.push_str(&self.names[start..end]);
                text.push('\n');
            }
        }
        text.shrink_to_fit();
        AsNames { ignored_lines, cut_names: self.cut, ..AsNames::index(text.into()) }
    }
}

/// The decimal number at the start of a line, and how many digits it has; `None` if there is none
/// or if it is larger than AS numbers are.
pub(super) fn number(line: &[u8]) -> (Option<u32>, usize) {
    let digits = line.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let number = line[..digits].iter().try_fold(0_u32, |number, digit| {
        number.checked_mul(10)?.checked_add(u32::from(digit - b'0'))
    });
    (number.filter(|_| digits > 0), digits)
}

/// The number and the name of a line without white space at its end; `None` if it is no row.
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
        // Neither white space nor a tag parts them, as in `3com`.
        return None;
    }
    let mut name = decode(name);
    if html {
        name = unescape(name);
    }
    Some((number, without_country(name)))
}

/// The text, with bytes that are not UTF-8 taken for Latin-1, without control characters.
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

/// The first field of comma-separated ones, its quotes undone (RFC 4180, section 2).
fn csv_field(fields: &[u8]) -> Cow<'_, str> {
    let Some(quoted) = fields.trim_ascii_start().strip_prefix(b"\"") else {
        let end = memchr::memchr(b',', fields).unwrap_or(fields.len());
        return decode(&fields[..end]);
    };
    // The closing quote is the first that is not one of two.
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

/// A line of an HTML page from the first byte that is neither white space nor in a tag to the last
/// before the tags at its end.
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

/// The text of an HTML page, with the references undone that such pages use.
fn unescape(text: Cow<'_, str>) -> Cow<'_, str> {
    if !text.contains('&') {
        return text;
    }
    let text = text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"");
    text.replace("&#39;", "'").replace("&amp;", "&").into()
}
