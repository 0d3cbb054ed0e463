//! A table of AS names, and how it is built.

use std::{borrow::Cow, cmp::Ordering, fmt};

/// The longest name, in bytes; longer ones are truncated. The longest one in use has 410
/// characters. Names become label values, and those from flow records have the same bound.
pub const MAX_NAME_BYTES: usize = 1024;

/// A table of AS names.
///
/// All names are slices of one text, found by binary search: with the embedded table's 91,065
/// names the index takes 1.1 MB, and the text lies in the program's own image.
#[derive(Clone, Default)]
pub struct AsNames {
    /// A line for each AS: number, tab, name, line feed. Sorted by number, each number once, no
    /// empty name and no other control character: equal tables have equal texts.
    text: Cow<'static, str>,
    /// The numbers of these lines.
    numbers: Vec<u32>,
    /// Where in `text` the name of each of these lines begins; it ends at the line feed.
    starts: Vec<usize>,
    /// See [`AsNames::ignored_lines`].
    ignored_lines: usize,
    /// See [`AsNames::cut_names`].
    cut_names: usize,
}

impl fmt::Debug for AsNames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsNames").field("len", &self.len()).finish_non_exhaustive()
    }
}

/// Tables are equal if they give every AS the same name.
impl PartialEq for AsNames {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for AsNames {}

impl AsNames {
    /// The embedded table. Indexing it takes a few milliseconds.
    pub fn embedded() -> Self {
        // A test checks that the file is sorted and clean, as `text` must be.
        AsNames::index(Cow::Borrowed(include_str!("names.tsv")))
    }

    /// A table without names.
    pub fn none() -> Self {
        AsNames::default()
    }

    /// The name of an AS; empty if the table has none.
    pub fn get(&self, asn: u32) -> &str {
        match self.numbers.binary_search(&asn) {
            Ok(row) => self.name(row),
            Err(_) => "",
        }
    }

    /// How many ASes have a name.
    pub fn len(&self) -> usize {
        self.numbers.len()
    }

    /// Whether the table has no name.
    pub fn is_empty(&self) -> bool {
        self.numbers.is_empty()
    }

    /// How many lines of what was parsed are neither rows nor blank.
    pub fn ignored_lines(&self) -> usize {
        self.ignored_lines
    }

    /// How many names were truncated because they were longer than [`MAX_NAME_BYTES`].
    pub fn cut_names(&self) -> usize {
        self.cut_names
    }

    /// A table of names that were in use before: without control characters, kept as they are,
    /// whatever their length. The last of several for a number counts; empty ones are left out.
    pub fn of<'n>(rows: impl IntoIterator<Item = (u32, &'n str)>) -> AsNames {
        let mut table = Rows::default();
        for (number, name) in rows {
            debug_assert!(!name.contains(char::is_control), "{name:?}");
            table.put(number, name);
        }
        table.finish(0)
    }

    /// All numbers with their names, sorted by number.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &str)> {
        self.numbers.iter().enumerate().map(|(row, &number)| (number, self.name(row)))
    }

    /// The table as text that can be parsed again: for each AS a line of number, tab and name,
    /// sorted by number.
    pub fn as_tsv(&self) -> &str {
        &self.text
    }

    /// The AS numbers, sorted, whose names differ between the two tables.
    pub fn changed(&self, other: &AsNames) -> Vec<u32> {
        let mut changed = Vec::new();
        let (mut ours, mut theirs) = (self.iter().peekable(), other.iter().peekable());
        loop {
            let order = match (ours.peek(), theirs.peek()) {
                (Some((our, _)), Some((their, _))) => our.cmp(their),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (None, None) => return changed,
            };
            // A number that only one table has is missing, hence unnamed, in the other.
            let our = if order.is_le() { ours.next() } else { None };
            let their = if order.is_ge() { theirs.next() } else { None };
            if our != their {
                changed.extend(our.or(their).map(|(number, _)| number));
            }
        }
    }

    /// This table, with the names of `base` for the numbers that only `base` has.
    #[must_use]
    pub fn over(&self, base: &AsNames) -> AsNames {
        let mut rows = Rows::default();
        for (number, name) in base.iter().chain(self.iter()) {
            rows.put(number, name);
        }
        AsNames { cut_names: self.cut_names, ..rows.finish(self.ignored_lines) }
    }

    /// Indexes a text of the form that the field `text` has.
    fn index(text: Cow<'static, str>) -> Self {
        let bytes = text.as_bytes();
        let (mut numbers, mut starts) = (Vec::new(), Vec::new());
        let mut line_start = 0;
        for line_end in memchr::memchr_iter(b'\n', bytes) {
            let (number, digits) = number(&bytes[line_start..line_end]);
            if let Some(number) = number {
                numbers.push(number);
                starts.push(line_start + digits + 1);
            }
            line_start = line_end + 1;
        }
        numbers.shrink_to_fit();
        starts.shrink_to_fit();
        AsNames { text, numbers, starts, ignored_lines: 0, cut_names: 0 }
    }

    /// The name in a row of the index.
    fn name(&self, row: usize) -> &str {
        let rest = &self.text[self.starts[row]..];
        let end = memchr::memchr(b'\n', rest.as_bytes()).unwrap_or(rest.len());
        &rest[..end]
    }
}

/// The rows of a table to be, in any order.
#[derive(Default)]
pub(super) struct Rows {
    names: String,
    /// Number, and where in `names` its name begins and ends.
    found: Vec<(u32, usize, usize)>,
    /// How many names were longer than [`MAX_NAME_BYTES`].
    cut: usize,
}

impl Rows {
    /// Adds a row, with the name trimmed and truncated; returns whether it has a name. The name has
    /// no control characters.
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

    /// Adds a row with exactly this name, unless the name is empty.
    pub(super) fn put(&mut self, number: u32, name: &str) {
        let start = self.names.len();
        self.names.push_str(name);
        if !name.is_empty() {
            self.found.push((number, start, self.names.len()));
        }
    }

    /// Whether there is no row.
    pub(super) fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// The table of these rows: of several with the same number, the last one.
    pub(super) fn finish(mut self, ignored_lines: usize) -> AsNames {
        // A stable sort: rows with the same number keep their order.
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
/// or if it is too large for an AS number.
pub(super) fn number(line: &[u8]) -> (Option<u32>, usize) {
    let digits = line.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let number = line[..digits].iter().try_fold(0_u32, |number, digit| {
        number.checked_mul(10)?.checked_add(u32::from(digit - b'0'))
    });
    (number.filter(|_| digits > 0), digits)
}
