//! Which flows a view counts.

use std::{collections::BTreeSet, net::IpAddr, ops::RangeInclusive};

use ipnet::IpNet;

use crate::notation;

use super::{
    dimension::{Dimension, LabelRequest, PrefixLengths, UnknownLabel},
    field::{EGRESS, INGRESS},
    protocol::protocol,
    tcp_flags::flag,
};

/// A condition on the value of one dimension: it must be one of several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    dimension: Dimension,
    accepted: Accepted,
}

/// What a filter accepts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Accepted {
    /// Numbers, as columns hold them.
    Numbers(Vec<RangeInclusive<u32>>),
    /// Addresses; of networks, their first address counts.
    Addresses {
        /// Those in these networks.
        networks: Vec<IpNet>,
        /// Whether none passes as well.
        or_none: bool,
    },
    /// Texts.
    Texts(Vec<Box<str>>),
}

/// Why there is no such filter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// The label makes no sense.
    #[error(transparent)]
    Label(#[from] UnknownLabel),
    /// Names of ASes change.
    #[error("flows can't be filtered by {0}, since names change: use the AS number")]
    AsName(String),
    /// No value.
    #[error("{0}: list at least one value")]
    Nothing(String),
    /// A value that the label never has.
    #[error("{value:?} isn't a value of {label}: {expected}")]
    Value {
        /// The label.
        label: String,
        /// The value.
        value: String,
        /// What to give instead.
        expected: String,
    },
}

impl Filter {
    /// The filter for a label, by name, that lets these values pass: numbers and ranges of them
    /// (`1-1023`), names of protocols, addresses and prefixes, or texts. An empty text stands for
    /// records that lack the value.
    pub fn new<'v>(
        label: &str,
        values: impl IntoIterator<Item = &'v str>,
    ) -> Result<Self, FilterError> {
        let dimension = match Dimension::of_label(label)? {
            LabelRequest::Dimension(dimension) => dimension,
            LabelRequest::AsName(_) => return Err(FilterError::AsName(label.to_owned())),
        };
        let values: Vec<&str> = values.into_iter().collect();
        if values.is_empty() {
            return Err(FilterError::Nothing(label.to_owned()));
        }
        let accepted = match (&dimension, dimension.largest()) {
            (Dimension::Address(_) | Dimension::Prefix(..) | Dimension::Exporter, _) => {
                let networks = each(label, &values, |text| match text {
                    "" => Ok(None),
                    text => notation::network(text).map(Some),
                })?;
                Accepted::Addresses {
                    or_none: networks.contains(&None),
                    networks: networks.into_iter().flatten().collect(),
                }
            }
            (Dimension::Country(_), _) => Accepted::Texts(each(label, &values, country)?),
            (_, None) => Accepted::Texts(values.into_iter().map(Box::from).collect()),
            (_, Some(largest)) => Accepted::Numbers(each(label, &values, |text| {
                if text.is_empty() {
                    return Ok(single(dimension.absent()));
                }
                numbers(&dimension, largest, text)
            })?),
        };
        Ok(Filter { dimension, accepted })
    }

    /// Whose values it looks at.
    pub fn dimension(&self) -> &Dimension {
        &self.dimension
    }

    /// What it lets pass.
    pub fn accepted(&self) -> &Accepted {
        &self.accepted
    }

    /// Whose values it accepts and which, in one line. Filters that accept the same values have the
    /// same text, in whatever order these are listed.
    pub(super) fn text(&self) -> String {
        let accepted = match &self.accepted {
            Accepted::Numbers(ranges) => merged(ranges).iter().map(range_text).collect(),
            Accepted::Addresses { networks, or_none } => {
                let networks = IpNet::aggregate(networks);
                let none = or_none.then(|| quoted(""));
                networks.iter().map(ToString::to_string).chain(none).collect()
            }
            Accepted::Texts(texts) => {
                let texts: BTreeSet<_> = texts.iter().collect();
                texts.into_iter().map(|text| quoted(text)).collect::<Vec<_>>()
            }
        };
        let label = self.dimension.label();
        let accepted = accepted.join(",");
        match &self.dimension {
            Dimension::Prefix(_, Some(PrefixLengths { v4, v6 })) => {
                format!("{label}/{v4},{v6}={accepted}")
            }
            dimension => match dimension.field_name() {
                Some(name) => format!("field.{name}={accepted}"),
                None => format!("{label}={accepted}"),
            },
        }
    }
}

/// The same numbers in as few ranges as possible, in their order.
fn merged(ranges: &[RangeInclusive<u32>]) -> Vec<RangeInclusive<u32>> {
    let mut sorted = ranges.to_vec();
    sorted.sort_by_key(|range| *range.start());
    let mut merged: Vec<RangeInclusive<u32>> = Vec::new();
    for range in sorted {
        match merged.last_mut() {
            Some(last) if *range.start() <= last.end().saturating_add(1) => {
                *last = *last.start()..=*last.end().max(range.end());
            }
            _ => merged.push(range),
        }
    }
    merged
}

fn range_text(range: &RangeInclusive<u32>) -> String {
    let (first, last) = (range.start(), range.end());
    if first == last { first.to_string() } else { format!("{first}-{last}") }
}

/// A text in quotes, in one line.
fn quoted(text: &str) -> String {
    let text = text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    format!("\"{text}\"")
}

impl Accepted {
    /// Whether a number passes.
    pub fn number(&self, number: u32) -> bool {
        matches!(self, Accepted::Numbers(ranges) if ranges.iter().any(|range| range.contains(&number)))
    }

    /// Whether an address passes, or that there is none.
    pub fn address(&self, address: Option<IpAddr>) -> bool {
        let Accepted::Addresses { networks, or_none } = self else { return false };
        match address {
            None => *or_none,
            Some(address) => networks.iter().any(|network| network.contains(&address)),
        }
    }

    /// Whether a text passes.
    pub fn text(&self, text: &str) -> bool {
        matches!(self, Accepted::Texts(texts) if texts.iter().any(|accepted| **accepted == *text))
    }
}

/// All values as `parse` reads them.
fn each<T>(
    label: &str,
    values: &[&str],
    parse: impl Fn(&str) -> Result<T, String>,
) -> Result<Vec<T>, FilterError> {
    let parse = |value: &&str| {
        parse(value.trim()).map_err(|expected| FilterError::Value {
            label: label.to_owned(),
            value: (*value).to_owned(),
            expected,
        })
    };
    values.iter().map(parse).collect()
}

/// The numbers that a value stands for, of a dimension whose largest number this is.
fn numbers(dimension: &Dimension, largest: u32, text: &str) -> Result<RangeInclusive<u32>, String> {
    let word = |word: Option<u32>, expected: &str| word.map(single).ok_or(expected.to_owned());
    let number = |text: &str| notation::digits(text).filter(|&number: &u32| number <= largest);
    match dimension {
        Dimension::As { .. } => notation::range(
            text,
            notation::as_number,
            "give an AS number such as 64512, AS64512 or 1.10, or a range such as 64512-65534",
        ),
        Dimension::IpVersion => {
            word(number(text).filter(|number| [4, 6].contains(number)), "give 4 or 6")
        }
        Dimension::FlowDirection => {
            let directions = [("ingress", INGRESS), ("egress", EGRESS)];
            let found = directions.iter().find(|(name, _)| *name == text);
            word(found.map(|(_, number)| *number), "give ingress or egress")
        }
        Dimension::Protocol if let Some(protocol) = protocol(text) => Ok(single(protocol)),
        Dimension::Protocol => {
            let expected = format!("give IANA's name of a protocol, or a number up to {largest}");
            notation::range(text, number, &expected)
        }
        Dimension::TcpFlags => {
            let add = |set: u32, name: &str| Some(set | flag(name.trim())?);
            if let Some(set) = text.split('|').try_fold(0, add) {
                return Ok(single(set));
            }
            let expected =
                format!("give flags such as SYN or SYN|ACK, or their number, up to {largest}");
            notation::range(text, number, &expected)
        }
        _ => {
            let expected = format!("give a number up to {largest}, or a range such as 8-15");
            notation::range(text, number, &expected)
        }
    }
}

/// A country as databases write it; some have codes of their own with digits and dashes.
fn country(text: &str) -> Result<Box<str>, String> {
    let is_code = text.len() == 2 && !text.contains(|letter: char| letter.is_ascii_lowercase());
    if is_code || text.is_empty() {
        return Ok(text.into());
    }
    Err("give a code of two capital letters, such as DE".to_owned())
}

fn single(number: u32) -> RangeInclusive<u32> {
    number..=number
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(label: &str, values: &[&str]) -> Result<Filter, FilterError> {
        Filter::new(label, values.iter().copied())
    }

    #[test]
    fn values_are_read_as_the_label_shows_them() {
        let accepted = |label, values| filter(label, values).expect("a filter").accepted;
        let protocols = accepted("protocol", &["tcp", "UDP", "47", "200-255"]);
        assert!([6, 17, 47, 200, 255].into_iter().all(|number| protocols.number(number)));
        assert!(!protocols.number(1) && !protocols.text("tcp"));
        let asns = accepted("source_as", &["AS64496", "64512-65534", "1.10"]);
        assert!(asns.number(64496) && asns.number(65534) && !asns.number(65535));
        assert!(asns.number(65546));
        assert!(accepted("tcp_flags", &["SYN|ACK", "2"]).number(0x12));
        assert!(accepted("direction", &["egress"]).number(EGRESS));
        let networks = accepted("remote_address", &["192.0.2.0/24", "2001:db8::1"]);
        for (address, passes) in
            [("192.0.2.9", true), ("192.0.3.9", false), ("2001:db8::1", true), ("::", false)]
        {
            let address = address.parse().expect("an address");
            assert_eq!(networks.address(Some(address)), passes, "{address}");
        }
        assert!(!networks.address(None));
        assert!(accepted("source_country", &["DE", "A1"]).text("A1"));
    }

    #[test]
    fn an_empty_text_stands_for_what_records_lack() {
        for label in Dimension::label_names().filter(|label| !label.ends_with("_name")) {
            let filter = filter(label, &[""]).expect(label);
            let (dimension, accepted) = (filter.dimension(), filter.accepted());
            assert!(
                accepted.number(dimension.absent()) || accepted.text("") || accepted.address(None),
                "{label}"
            );
        }
    }

    #[test]
    fn filters_that_accept_the_same_have_the_same_text() {
        for (label, lists, expected) in [
            ("protocol", &[&["udp", "tcp"][..], &["6", "17", "tcp"]][..], "protocol=6,17"),
            ("source_as", &[&["3", "1-2", "7"], &["AS1", "2-3", "7-7"]], "source_as=1-3,7"),
            (
                "source_prefix/24",
                &[&["192.0.2.0/25", "192.0.2.128/25"], &["192.0.2.0/24"]],
                "source_prefix/24,48=192.0.2.0/24",
            ),
            (
                "exporter",
                &[&["", "192.0.2.1"], &["192.0.2.1/32", ""]],
                "exporter=192.0.2.1/32,\"\"",
            ),
            (
                "field.zone",
                &[&["b", "a\"\n\\"], &["a\"\n\\", "b", "b"]],
                r#"field.zone="a\"\n\\","b""#,
            ),
        ] {
            for list in lists {
                assert_eq!(filter(label, list).expect("a filter").text(), expected);
            }
        }
    }

    #[test]
    fn what_a_label_never_shows_is_refused() {
        for (label, value, expected) in [
            ("protocol", "carrier-pigeon", "IANA's name of a protocol, or a number up to 255"),
            ("protocol", "256", "a number up to 255"),
            ("source_port", "9-3", "the range is reversed: write 3-9"),
            ("source_port", "-1", "a number up to 65535"),
            ("source_port", "+1", "a number up to 65535"),
            ("service_port", "1-65536", "a number up to 65535"),
            ("vlan", "65536", "a number up to 65535"),
            ("dscp", "64", "a number up to 63"),
            ("ip_version", "5", "give 4 or 6"),
            ("ip_version", "4-6", "give 4 or 6"),
            ("input_interface", "4294967294", "a number up to 4294967293"),
            ("source_as", "ASx", "an AS number such as 64512, AS64512 or 1.10"),
            ("source_as", "4294967296", "an AS number such as"),
            ("source_address", "192.0.2.0/33", "a prefix such as 192.0.2.0/24"),
            ("source_prefix/24", "192.0.2.1/24", "did you mean 192.0.2.0/24?"),
            ("exporter", "::ffff:192.0.2.1", "without ::ffff:"),
            ("tcp_flags", "SYN|XMAS", "flags such as SYN or SYN|ACK"),
            ("tcp_flags", "256", "up to 255"),
            ("direction", "in", "ingress or egress"),
            ("remote_country", "de", "two capital letters"),
            ("remote_country", "Germany", "two capital letters"),
        ] {
            let error = filter(label, &[value]).expect_err(value);
            assert!(matches!(error, FilterError::Value { .. }), "{error}");
            let line = error.to_string();
            assert!(line.contains(expected), "{label}: {line}");
        }
        assert!(matches!(filter("source_as_name", &["x"]), Err(FilterError::AsName(_))));
        assert!(matches!(filter("nonsense", &["x"]), Err(FilterError::Label(_))));
        assert!(matches!(filter("vlan", &[]), Err(FilterError::Nothing(_))));
    }
}
