//! Tables of addresses as MaxMind databases.
//!
//! <https://maxmind.github.io/MaxMind-DB/> describes the format: a binary tree of prefixes, whose
//! leaves refer to records. The tree is walked here and not with the crate's iterator, which never
//! ends on some damaged files: those whose nodes refer to each other in many ways.

use std::{
    collections::HashMap,
    fmt,
    net::{IpAddr, Ipv6Addr},
};

use maxminddb::{Metadata, Reader};
use serde::{
    Deserialize, Deserializer,
    de::{self, MapAccess, Unexpected, Visitor, value::MapAccessDeserializer},
};

use super::{
    block::Block,
    csv,
    error::TableError,
    origin::{Country, Origin},
    steps::Overlapping,
};

/// What the description of a database begins with, which is at its end.
const MARKER: &[u8] = b"\xab\xcd\xefMaxMind.com";

/// How much of the end may be the description.
const DESCRIPTION_BYTES: usize = 128 << 10;

/// Whether a file is such a database.
pub(super) fn is_mmdb(file: &[u8]) -> bool {
    let end = &file[file.len().saturating_sub(DESCRIPTION_BYTES)..];
    memchr::memmem::rfind(end, MARKER).is_some()
}

/// Reads a file of at most so many ranges.
pub(super) fn parse(file: &[u8], max_ranges: usize) -> Result<Overlapping<Origin>, TableError> {
    let reader = Reader::from_source(file).map_err(|error| TableError::Mmdb(error.to_string()))?;
    let tree = Tree::new(file, reader.metadata());
    let mut ranges = Overlapping::default();
    // Networks share records.
    let mut origins = HashMap::new();
    let mut is_understood = false;
    let mut leaves = 0;
    tree.walk(|record, first, depth| {
        leaves += 1;
        let origin = if let Some(&origin) = origins.get(&record) {
            origin
        } else {
            let read = read(&reader, tree.address(first))?;
            is_understood |= read.is_some();
            *origins.entry(record).or_insert(read.unwrap_or_default())
        };
        ranges.extend(tree.block(first, depth), origin);
        if ranges.len() > max_ranges { Err(TableError::TooManyRanges) } else { Ok(()) }
    })?;
    match leaves {
        0 => Err(TableError::Empty),
        _ if is_understood => Ok(ranges),
        _ => Err(TableError::OtherMmdb(csv::quoted(&reader.metadata().database_type))),
    }
}

/// The tree of prefixes.
struct Tree<'a> {
    /// Two references in each node: to another node; or to nothing, if they are `count`; or else to
    /// a record.
    nodes: &'a [u8],
    /// How many nodes there are.
    count: u32,
    /// The size of a reference in bits: 24, 28 or 32, which the reader checks.
    reference_bits: u16,
    /// The size of an address in bits: 32 or 128.
    address_bits: u8,
    /// The node of `::/96`, where IPv4 addresses are. Other prefixes of IPv4 in IPv6 refer to it too.
    ipv4: Option<u32>,
}

impl<'a> Tree<'a> {
    fn new(file: &'a [u8], metadata: &Metadata) -> Self {
        let mut tree = Tree {
            nodes: file,
            count: metadata.node_count,
            reference_bits: metadata.record_size,
            address_bits: if metadata.ip_version == 4 { 32 } else { 128 },
            ipv4: None,
        };
        if tree.address_bits == 128 {
            let below =
                (0..96).try_fold(0, |node, _| tree.is_node(node).then(|| tree.children(node)[0]));
            tree.ipv4 = below.filter(|&node| tree.is_node(node));
        }
        tree
    }

    fn is_node(&self, reference: u32) -> bool {
        reference < self.count
    }

    /// What a node refers to for the next bit 0 and for the next bit 1. The reader has checked that
    /// the file has all nodes.
    fn children(&self, node: u32) -> [u32; 2] {
        let bytes = usize::from(self.reference_bits) / 4;
        let node = &self.nodes[node as usize * bytes..][..bytes];
        let both = node.iter().fold(0_u64, |number, &byte| number << 8 | u64::from(byte));
        let (zero, one) = match self.reference_bits {
            24 => (both >> 24, both & 0xff_ffff),
            // The highest four bits of both are between the lower ones.
            28 => (both >> 32 | (both >> 28 & 0xf) << 24, both & 0xfff_ffff),
            _ => (both >> 32, both & 0xffff_ffff),
        };
        [zero as u32, one as u32]
    }

    /// Calls `leaf` for each prefix that has a record, in the order of addresses: with the reference
    /// to the record, the first address, and the length.
    fn walk(
        &self,
        mut leaf: impl FnMut(u32, u128, u8) -> Result<(), TableError>,
    ) -> Result<(), TableError> {
        let damaged = || TableError::Mmdb("its tree is damaged".to_owned());
        // Each node once; some writers have equal nodes only once in the file.
        let mut visits_left = u64::from(self.count) * 4;
        let mut ahead = vec![(0_u32, 0_u128, 0_u8)];
        while let Some((reference, first, length)) = ahead.pop() {
            if !self.is_node(reference) {
                if reference > self.count {
                    leaf(reference, first, length)?;
                }
            } else if self.ipv4 != Some(reference) || first == 0 {
                visits_left = visits_left.checked_sub(1).ok_or_else(damaged)?;
                let left = self.address_bits.checked_sub(length + 1).ok_or_else(damaged)?;
                let [zero, one] = self.children(reference);
                ahead.push((one, first | 1 << left, length + 1));
                ahead.push((zero, first, length + 1));
            }
        }
        Ok(())
    }

    /// The first address of a prefix, as the reader looks it up.
    fn address(&self, first: u128) -> IpAddr {
        match u32::try_from(first) {
            Ok(first) if self.address_bits == 32 => IpAddr::V4(first.into()),
            _ => IpAddr::V6(first.into()),
        }
    }

    /// The addresses of a prefix.
    fn block(&self, first: u128, length: u8) -> Block {
        let last = first
            | (u128::MAX >> (128 - self.address_bits))
                .checked_shr(length.into())
                .unwrap_or_default();
        if let (Ok(first), Ok(last)) = (u32::try_from(first), u32::try_from(last)) {
            return Block::V4(first, last);
        }
        let ends = Block::between(Ipv6Addr::from(first).into(), Ipv6Addr::from(last).into());
        ends.unwrap_or(Block::V6(first, last))
    }
}

/// The record of an address; `None` if it has none of the fields that are looked for.
fn read(reader: &Reader<&[u8]>, address: IpAddr) -> Result<Option<Origin>, TableError> {
    let record = reader.lookup(address).and_then(|found| found.decode::<Record>());
    let of = |error: String| TableError::Mmdb(format!("the record of {address}: {error}"));
    let record = record.map_err(|error| of(error.to_string()))?.unwrap_or_default();
    record.origin().map_err(of)
}

/// The fields of records, as MaxMind, DB-IP, IPinfo and others name them. All else is skipped.
#[derive(Default, Deserialize)]
struct Record<'a> {
    #[serde(borrow)]
    asn: Option<Number<'a>>,
    #[serde(borrow)]
    autonomous_system_number: Option<Number<'a>>,
    #[serde(borrow)]
    traits: Option<Traits<'a>>,
    #[serde(borrow)]
    country: Option<Place<'a>>,
    country_code: Option<&'a str>,
}

#[derive(Deserialize)]
struct Traits<'a> {
    #[serde(borrow)]
    autonomous_system_number: Option<Number<'a>>,
}

/// Writers use any type of integer; IPinfo writes `AS64500`.
#[derive(Clone, Copy)]
enum Number<'a> {
    Number(u32),
    Text(&'a str),
}

/// MaxMind and DB-IP have a map, others a text: a code, or a name besides `country_code`.
#[derive(Clone, Copy)]
enum Place<'a> {
    Text(&'a str),
    Map(IsoCode<'a>),
}

#[derive(Clone, Copy, Deserialize)]
struct IsoCode<'a> {
    #[serde(borrow)]
    iso_code: Option<&'a str>,
}

// Not derived: serde's untagged enums read a value of any shape into memory first, with a stack
// frame for each of the up to 512 levels that a hostile file can have.

impl<'de: 'a, 'a> Deserialize<'de> for Number<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NumberVisitor)
    }
}

struct NumberVisitor;

impl<'de> Visitor<'de> for NumberVisitor {
    type Value = Number<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the number of an AS")
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Self::Value, E> {
        let out_of_range = |_| E::invalid_value(Unexpected::Unsigned(number), &self);
        u32::try_from(number).map(Number::Number).map_err(out_of_range)
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Self::Value, E> {
        let negative = |_| E::invalid_value(Unexpected::Signed(number), &self);
        u64::try_from(number).map_err(negative).and_then(|number| self.visit_u64(number))
    }

    fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Number::Text(text))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Place<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PlaceVisitor)
    }
}

struct PlaceVisitor;

impl<'de> Visitor<'de> for PlaceVisitor {
    type Value = Place<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a country")
    }

    fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Place::Text(text))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        IsoCode::deserialize(MapAccessDeserializer::new(map)).map(Place::Map)
    }
}

impl Record<'_> {
    fn origin(&self) -> Result<Option<Origin>, String> {
        let of_traits = self.traits.as_ref().and_then(|traits| traits.autonomous_system_number);
        let asn = match self.asn.or(self.autonomous_system_number).or(of_traits) {
            Some(Number::Number(number)) => Some(number),
            Some(Number::Text(text)) => Some(csv::asn(text)?),
            None => None,
        };
        let code = match self.country {
            _ if self.country_code.is_some() => self.country_code,
            Some(Place::Text(code)) => Some(code),
            Some(Place::Map(IsoCode { iso_code })) => iso_code,
            None => None,
        };
        let country = code.map(csv::country).transpose()?;
        Ok((asn.is_some() || country.is_some()).then(|| Origin {
            asn: asn.unwrap_or_default(),
            country: country.unwrap_or(Country::UNKNOWN),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_a_largest_number_of_ranges() {
        let file = include_bytes!("../../tests/fixtures/mmdb/GeoLite2-ASN-Test.mmdb");
        let len = parse(file, usize::MAX).expect("a table").len();
        assert_eq!(parse(file, len).map(|ranges| ranges.len()), Ok(len));
        assert_eq!(parse(file, len - 1).map(|ranges| ranges.len()), Err(TableError::TooManyRanges));
    }
}
