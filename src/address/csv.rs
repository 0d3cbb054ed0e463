//! Tables of addresses as CSV.
//!
//! A row says which addresses it is about (a prefix, or the first and the last address), and their
//! AS or country or both. Columns are found by the names on the first line:
//!
//! | column | names |
//! |---|---|
//! | prefix | `network`, `prefix` |
//! | first and last address | `start_ip` and `end_ip`, `ip_range_start` and `ip_range_end`, `start` and `end` |
//! | AS | `asn`, `autonomous_system_number` |
//! | country | `country_code`, or else `country` |
//!
//! Without names, rows are of one of these forms, and each may have a prefix in place of the first
//! and the last address:
//!
//! - `1.0.0.0,1.0.0.255,13335` and `1.0.0.0,1.0.0.255,13335,"Cloudflare, Inc."`
//! - `1.0.0.0,1.0.0.255,13335,US,CLOUDFLARENET`
//! - `1.0.0.0,1.0.0.255,AU`
//!
//! An AS is a number as [`notation`] reads it. An empty field is unknown, and so are `0`
//! for an AS and `None` for a country.

use std::{borrow::Cow, net::IpAddr};

use crate::notation;

use super::{
    block::Block,
    delimited,
    error::TableError,
    origin::{Country, Origin},
    steps::Overlapping,
};

/// The first bytes of a file in gzip, zip, xz, zstd and bzip2.
const COMPRESSED: [&[u8]; 5] =
    [b"\x1f\x8b", b"PK\x03\x04", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd", b"BZh"];

const PREFIX: [&str; 2] = ["network", "prefix"];
const ENDS: [(&str, &str); 3] =
    [("start_ip", "end_ip"), ("ip_range_start", "ip_range_end"), ("start", "end")];
const ASN: [&str; 2] = ["asn", "autonomous_system_number"];
const COUNTRY: [&str; 2] = ["country_code", "country"];

/// Where a row has what.
#[derive(Debug, Clone, Copy)]
struct Columns {
    first: usize,
    /// Without it, `first` is a prefix.
    last: Option<usize>,
    asn: Option<usize>,
    country: Option<usize>,
}

/// Reads a file of at most so many ranges.
pub(super) fn parse(file: &[u8], max_ranges: usize) -> Result<Overlapping<Origin>, TableError> {
    if COMPRESSED.iter().any(|magic| file.starts_with(magic)) {
        return Err(TableError::Compressed);
    }
    if file.starts_with(b"\xff\xfe") || file.starts_with(b"\xfe\xff") {
        return Err(TableError::Utf16);
    }
    let mut lines = delimited::lines(file).peekable();
    let &(line, text) = lines.peek().ok_or(TableError::Empty)?;
    let delimiter = delimited::delimiter(text);
    let in_line = |line| move |what| TableError::Line { line, what };
    let head: Result<Vec<_>, _> = delimited::fields(text, delimiter).collect();
    let head = head.map_err(in_line(line))?;
    let columns = match Columns::named(&head) {
        Some(columns) => {
            lines.next();
            columns.map_err(in_line(line))?
        }
        None => Columns::guess(&head).map_err(in_line(line))?,
    };
    let mut ranges = Overlapping::default();
    let mut row = Vec::new();
    for (line, text) in lines {
        row.clear();
        for field in delimited::fields(text, delimiter).take(columns.len()) {
            row.push(field.map_err(in_line(line))?);
        }
        let (block, origin) = columns.read(&row).map_err(in_line(line))?;
        ranges.push(block, origin);
        if ranges.len() > max_ranges {
            return Err(TableError::TooManyRanges);
        }
    }
    if ranges.len() == 0 { Err(TableError::Empty) } else { Ok(ranges) }
}

impl Columns {
    /// The columns by their names; `None` if the line has addresses and no names.
    fn named(head: &[Cow<'_, str>]) -> Option<Result<Columns, String>> {
        let first = head.first()?;
        if Block::parse(first).is_ok() {
            return None;
        }
        if is_number(first) {
            return Some(Err(no_address(first)));
        }
        let place = |name: &str| head.iter().position(|field| field.eq_ignore_ascii_case(name));
        let any = |names: &[&str]| names.iter().find_map(|name| place(name));
        let ends =
            || ENDS.iter().find_map(|(first, last)| Some((place(first)?, Some(place(last)?))));
        let (asn, country) = (any(&ASN), any(&COUNTRY));
        Some(match any(&PREFIX).map(|prefix| (prefix, None)).or_else(ends) {
            None => {
                Err("the first line neither begins with a prefix or an address nor names columns: \
                     name network, or start_ip and end_ip; and asn, country_code, or both"
                    .to_owned())
            }
            Some(_) if asn.is_none() && country.is_none() => {
                Err("the first line names neither an AS nor a country: name a column asn, \
                     autonomous_system_number, country_code or country"
                    .to_owned())
            }
            Some((first, last)) => Ok(Columns { first, last, asn, country }),
        })
    }

    /// The columns of a file without names, by its first row.
    fn guess(row: &[Cow<'_, str>]) -> Result<Columns, String> {
        let is_address =
            |place: usize| row.get(place).is_some_and(|field| field.parse::<IpAddr>().is_ok());
        let last = is_address(1).then_some(1);
        let next = 1 + last.unwrap_or_default();
        let after = |place: usize| row.get(next + place).map(|field| &**field);
        let (asn, country) = match (after(0), after(1), after(2)) {
            (Some(asn), _, None) if self::asn(asn).is_ok() => (Some(next), None),
            (Some(asn), Some(country), Some(_)) if self::asn(asn).is_ok() => {
                // Else it is the first part of a name without quotes.
                (Some(next), self::country(country).is_ok().then_some(next + 1))
            }
            (Some(country), None, None) if self::country(country).is_ok() => (None, Some(next)),
            _ => {
                return Err(
                    "begin the row with a prefix, or with the first and the last address, and go on \
                     with an AS, an AS and its name, an AS, its country and its name, or a country; \
                     or name the columns in the first line"
                        .to_owned(),
                );
            }
        };
        Ok(Columns { first: 0, last, asn, country })
    }

    /// How many fields of a row are read.
    fn len(self) -> usize {
        let others = [self.last, self.asn, self.country].into_iter().flatten();
        others.fold(self.first, usize::max) + 1
    }

    fn read(self, row: &[Cow<'_, str>]) -> Result<(Block, Origin), String> {
        let field = |place: usize| {
            row.get(place).map(|field| &**field).ok_or_else(|| {
                format!("the row has {} fields and needs at least {}", row.len(), self.len())
            })
        };
        let first = field(self.first)?;
        let block = match self.last {
            None => Block::parse(first).map_err(|error| format!("{} {error}", quoted(first)))?,
            Some(last) => {
                let last = field(last)?;
                let block = Block::between(address(first)?, address(last)?);
                block.ok_or_else(|| {
                    format!(
                        "{first} to {last} isn't a range of addresses: the first one must not be \
                         larger than the last, and both of IPv4 or both of IPv6"
                    )
                })?
            }
        };
        let asn = self.asn.map(|place| asn(field(place)?)).transpose()?.unwrap_or_default();
        let country = self.country.map(|place| country(field(place)?)).transpose()?;
        Ok((block, Origin { asn, country: country.unwrap_or_default() }))
    }
}

fn address(text: &str) -> Result<IpAddr, String> {
    text.parse().map_err(|_| no_address(text))
}

/// Why a text isn't an address. Some tables have them as numbers.
fn no_address(text: &str) -> String {
    let advice = if is_number(text) { ": use the table with addresses as text" } else { "" };
    format!("{} isn't an address{advice}", quoted(text))
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// The number of an AS; 0 if the field is empty.
pub(super) fn asn(text: &str) -> Result<u32, String> {
    if text.is_empty() {
        return Ok(0);
    }
    let number = notation::as_number(text);
    number.ok_or_else(|| {
        format!("{} isn't an AS number: write it as 64500, AS64500 or 1.10", quoted(text))
    })
}

pub(super) fn country(text: &str) -> Result<Country, String> {
    if text.is_empty() || text == "None" {
        return Ok(Country::UNKNOWN);
    }
    let country = Country::from_code(text);
    country.ok_or_else(|| format!("{} isn't a country: give a code of two letters", quoted(text)))
}

/// The beginning of a text, as a literal.
pub(super) fn quoted(text: &str) -> String {
    const SHOWN: usize = 60;
    match text.char_indices().nth(SHOWN) {
        None => format!("{text:?}"),
        Some((end, _)) => format!("{:?}…", &text[..end]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_a_largest_number_of_ranges() {
        let file = b"network,asn\n::1,2\n::2,2\n";
        assert_eq!(parse(file, 2).map(|ranges| ranges.len()), Ok(2));
        assert_eq!(parse(file, 1).map(|ranges| ranges.len()), Err(TableError::TooManyRanges));
    }
}
