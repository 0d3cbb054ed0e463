//! Which flows a view counts.

use std::{collections::BTreeSet, net::IpAddr, ops::RangeInclusive};

use ipnet::IpNet;

use super::{
    dimension::{
        ABSENT, Dimension, LabelRequest, OTHER_NUMBER, PrefixLengths, Shown, UnknownLabel,
    },
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
    /// Addresses in these networks; of networks, their first address counts.
    Networks(Vec<IpNet>),
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
    #[error("{0} can't be filtered by, since names change: use the AS number")]
    AsName(String),
    /// No value.
    #[error("{0}: list at least one value")]
    Nothing(String),
    /// A value that the label never has.
    #[error("{value:?} is no value of {label}: {expected}")]
    Value {
        /// The label.
        label: String,
        /// The value.
        value: String,
        /// What would be one.
        expected: &'static str,
    },
}

impl Filter {
    /// The filter for a label, by name, that lets these values pass: numbers and ranges of them
    /// (`1-1023`), names of protocols, addresses and prefixes, or texts.
    pub fn new<'v>(
        label: &str,
        values: impl IntoIterator<Item = &'v str>,
    ) -> Result<Self, FilterError> {
        let dimension = match Dimension::of_label(label)? {
            LabelRequest::Dimension(dimension) => dimension,
            LabelRequest::AsName(_) => return Err(FilterError::AsName(label.to_owned())),
        };
        let mut values = values.into_iter().peekable();
        if values.peek().is_none() {
            return Err(FilterError::Nothing(label.to_owned()));
        }
        let accepted = match dimension {
            Dimension::Address(_) | Dimension::Prefix(..) | Dimension::Exporter => {
                let expected = "give an address, or a prefix such as 192.0.2.0/24";
                Accepted::Networks(each(label, values, expected, network)?)
            }
            _ if dimension.is_text() => Accepted::Texts(values.map(Box::from).collect()),
            _ => {
                let shown = dimension.labels().next().map(|label| label.shown);
                let (expected, parse) = of_numbers(shown.unwrap_or(Shown::Number));
                Accepted::Numbers(each(label, values, expected, parse)?)
            }
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
            Accepted::Networks(networks) => {
                IpNet::aggregate(networks).iter().map(ToString::to_string).collect()
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
            Dimension::Named(_) => format!("field.{label}={accepted}"),
            _ => format!("{label}={accepted}"),
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

    /// Whether an address passes.
    pub fn address(&self, address: IpAddr) -> bool {
        matches!(self, Accepted::Networks(nets) if nets.iter().any(|net| net.contains(&address)))
    }

    /// Whether a text passes.
    pub fn text(&self, text: &str) -> bool {
        matches!(self, Accepted::Texts(texts) if texts.iter().any(|accepted| **accepted == *text))
    }
}

fn each<'v, T>(
    label: &str,
    values: impl Iterator<Item = &'v str>,
    expected: &'static str,
    parse: impl Fn(&str) -> Option<T>,
) -> Result<Vec<T>, FilterError> {
    let error = |value: &str| FilterError::Value {
        label: label.to_owned(),
        value: value.to_owned(),
        expected,
    };
    values.map(|value| parse(value.trim()).ok_or_else(|| error(value))).collect()
}

type ParseRange = fn(&str) -> Option<RangeInclusive<u32>>;

/// How values of numbers are written, by how they are shown.
fn of_numbers(shown: Shown) -> (&'static str, ParseRange) {
    match shown {
        Shown::Protocol => ("give IANA's name or number of a protocol", |text| {
            range(text).or_else(|| protocol(text).map(single))
        }),
        Shown::TcpFlags => ("give flags such as SYN or SYN|ACK, or their number", |text| {
            let flags = || text.split('|').try_fold(0, |set, name| Some(set | flag(name.trim())?));
            range(text).or_else(|| flags().map(single))
        }),
        Shown::FlowDirection => ("give ingress or egress", |text| match text {
            "ingress" => Some(single(INGRESS)),
            "egress" => Some(single(EGRESS)),
            _ => None,
        }),
        Shown::Number => ("give an AS number, or a range such as 64512-65534", |text| {
            let digits = |text: &str| {
                let has_prefix = text.get(..2).is_some_and(|two| two.eq_ignore_ascii_case("AS"));
                if has_prefix { text[2..].parse().ok() } else { text.parse().ok() }
            };
            match text.split_once('-') {
                Some((first, last)) => ordered(digits(first.trim())?, digits(last.trim())?),
                None => digits(text).map(single),
            }
        }),
        Shown::OptionalNumber | Shown::AsName | Shown::Text => {
            ("give a number, or a range such as 1-1023", |text| {
                if text.is_empty() { Some(single(ABSENT)) } else { range(text) }
            })
        }
    }
}

fn range(text: &str) -> Option<RangeInclusive<u32>> {
    let number = |text: &str| text.parse().ok().filter(|&number: &u32| number < OTHER_NUMBER);
    match text.split_once('-') {
        Some((first, last)) => ordered(number(first.trim())?, number(last.trim())?),
        None => number(text).map(single),
    }
}

fn single(number: u32) -> RangeInclusive<u32> {
    number..=number
}

fn ordered(first: u32, last: u32) -> Option<RangeInclusive<u32>> {
    (first <= last).then_some(first..=last)
}

fn network(text: &str) -> Option<IpNet> {
    text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
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
        let protocols = accepted("protocol", &["tcp", "UDP", "47"]);
        assert!([6, 17, 47].into_iter().all(|number| protocols.number(number)));
        assert!(!protocols.number(1) && !protocols.text("tcp"));
        let asns = accepted("source_as", &["AS64496", "64512-65534"]);
        assert!(asns.number(64496) && asns.number(65534) && !asns.number(65535));
        assert!(accepted("service_port", &[""]).number(ABSENT));
        assert!(accepted("tcp_flags", &["SYN|ACK", "2"]).number(0x12));
        assert!(accepted("direction", &["egress"]).number(EGRESS));
        let networks = accepted("remote_address", &["192.0.2.0/24", "2001:db8::1"]);
        assert!(
            networks.address([192, 0, 2, 9].into()) && !networks.address([192, 0, 3, 9].into())
        );
        assert!(networks.address("2001:db8::1".parse().expect("an address")));
        assert!(accepted("hostname", &["edge1", ""]).text(""));
    }

    #[test]
    fn filters_that_accept_the_same_have_the_same_text() {
        for (label, lists, expected) in [
            ("protocol", &[&["udp", "tcp"][..], &["6", "17", "tcp"]][..], "protocol=6,17"),
            ("source_as", &[&["3", "1-2", "7"], &["AS1", "2-3", "7-7"]], "source_as=1-3,7"),
            (
                "source_prefix/24",
                &[&["192.0.2.0/25", "192.0.2.128/25"], &["192.0.2.9/24"]],
                "source_prefix/24,48=192.0.2.0/24",
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
        for (label, value) in [
            ("protocol", "carrier-pigeon"),
            ("source_port", "9-3"),
            ("source_port", "-1"),
            ("source_as", "ASx"),
            ("source_address", "192.0.2.0/33"),
            ("tcp_flags", "SYN|XMAS"),
            ("direction", "in"),
        ] {
            let error = filter(label, &[value]).expect_err(value);
            assert!(matches!(error, FilterError::Value { .. }), "{error}");
        }
        assert!(matches!(filter("source_as_name", &["x"]), Err(FilterError::AsName(_))));
        assert!(matches!(filter("nonsense", &["x"]), Err(FilterError::Label(_))));
        assert!(matches!(filter("vlan", &[]), Err(FilterError::Nothing(_))));
    }
}
