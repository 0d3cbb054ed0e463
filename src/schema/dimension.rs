//! The dimensions by which series are told apart, and their labels.

use std::sync::Arc;

use super::{
    bytes::{read_text, write_text},
    decimal::Decimal,
    field::{EGRESS, Field, INGRESS},
    protocol, tcp_flags,
};

/// The longest label value, in bytes. Values come from messages, so they are bounded before
/// anything keeps them: a host name has 253 bytes at most, and receivers refuse values from 2,048
/// on. A longer value is truncated at the end of a character, so values that begin with the same
/// bytes become one.
pub const MAX_VALUE_BYTES: usize = 1024;

/// A label value without what exceeds [`MAX_VALUE_BYTES`].
pub fn truncated(value: &str) -> &str {
    let longest = value.len().min(MAX_VALUE_BYTES);
    let end = (0..=longest).rev().find(|&end| value.is_char_boundary(end));
    &value[..end.unwrap_or_default()]
}

/// The label value of series that count flows without a series of their own. It is not a valid
/// number.
pub const OTHER: &str = "other";

/// In a column of numbers other than AS numbers and TCP flags: the record does not have the value.
/// Shown as an empty text.
pub const ABSENT: u32 = u32::MAX;

/// In a kept column of numbers of an `other` series: any of them. Shown as [`OTHER`].
pub const OTHER_NUMBER: u32 = u32::MAX - 1;

/// The largest number in a column of numbers other than AS numbers: those above have a meaning of
/// their own.
pub const LARGEST_NUMBER: u32 = OTHER_NUMBER - 1;

/// A property of a flow by which a view tells series apart: one column of a series' key, shown by
/// one label, or by two where ASes are named.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Dimension {
    /// An AS, with the number as a label, and the name as another one if `named`.
    As {
        /// Which AS.
        of: AsOf,
        /// Whether a label shows its name.
        named: bool,
    },
    /// The IP address of an end.
    Address(End),
    /// The network of an end: as the record has it, or the address cut to a length.
    Prefix(End, Option<PrefixLengths>),
    /// The port of the source or the destination.
    Port(Side),
    /// The port of the end that offers the service.
    ServicePort,
    /// The IP protocol.
    Protocol,
    /// 4 or 6.
    IpVersion,
    /// The DSCP.
    Dscp,
    /// All TCP flags of the flow.
    TcpFlags,
    /// The SNMP index of the interface on which the flow came in (source) or went out.
    Interface(Side),
    /// The name of that interface.
    InterfaceName(Side),
    /// What its operator wrote about that interface.
    InterfaceDescription(Side),
    /// The routing table (VRF) of that interface.
    Vrf(Side),
    /// The VLAN ID.
    Vlan,
    /// Whether the exporter saw the flow coming in or going out.
    FlowDirection,
    /// The address of the exporting device.
    Exporter,
    /// The host name of the exporting device.
    Hostname,
    /// The application, as the exporter classifies flows.
    Application,
    /// The collector's tag.
    Tag,
    /// BGP communities.
    Communities,
    /// The AS path.
    AsPath,
    /// The country of an end.
    Country(End),
    /// The site of the local end, by the operator's list of networks.
    Site,
    /// Any other field, by the format's own name.
    Named(Arc<str>),
    /// A field whose name is a number, which can't be a label's: the label, with [`NUMBERED`] before it.
    Numbered(Arc<str>),
}

/// Which of a flow's ASes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AsOf {
    /// The source's.
    Source,
    /// The destination's.
    Destination,
    /// The neighbour's from which the flow came.
    SourcePeer,
    /// The neighbour's to which the flow went.
    DestinationPeer,
    /// That of the end which is not ours; see [`End::Remote`].
    Remote,
}

/// The source or the destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    /// Where the flow comes from.
    Source,
    /// Where it goes to.
    Destination,
}

/// An end of a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum End {
    /// Where the flow comes from.
    Source,
    /// Where it goes to.
    Destination,
    /// The end that is not ours: the source of what is received, else the destination.
    Remote,
}

/// To how many bits addresses are cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PrefixLengths {
    /// For IPv4, up to 32.
    pub v4: u8,
    /// For IPv6, up to 128.
    pub v6: u8,
}

impl PrefixLengths {
    /// For IPv6 where only the length for IPv4 is given: the usual size of a site (RFC 6177).
    pub const DEFAULT_V6: u8 = 48;

    /// These lengths; `None` if one is longer than addresses are.
    pub fn new(v4: u8, v6: u8) -> Option<Self> {
        (v4 <= 32 && v6 <= 128).then_some(PrefixLengths { v4, v6 })
    }
}

/// How a label shows the value of its dimension.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Shown {
    /// As a decimal number, which every value is.
    Number,
    /// As the name of the AS with that number; empty if it has none.
    AsName,
    /// As a decimal number; empty if it is [`ABSENT`].
    OptionalNumber,
    /// As the name that IANA gives the protocol; as a number if it has none.
    Protocol,
    /// As the names of the flags.
    TcpFlags,
    /// As `ingress` or `egress`.
    FlowDirection,
    /// As the text that it is.
    Text,
}

impl Shown {
    /// What a label shows of a number. `digits` are its own. AS names are not known here, and texts
    /// are no numbers: these are empty.
    pub fn of_number(self, number: u32, digits: &Decimal) -> &str {
        match (self, number) {
            (Shown::Number, _) => digits.as_str(),
            (Shown::AsName | Shown::Text, _) | (_, ABSENT) => "",
            (_, OTHER_NUMBER) => OTHER,
            (Shown::OptionalNumber, _) => digits.as_str(),
            (Shown::Protocol, _) => protocol::name(number).unwrap_or(digits.as_str()),
            (Shown::TcpFlags, _) => tcp_flags::names(number),
            (Shown::FlowDirection, INGRESS) => "ingress",
            (Shown::FlowDirection, EGRESS) => "egress",
            (Shown::FlowDirection, _) => "",
        }
    }
}

/// A label of a dimension.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Label<'n> {
    /// Its name.
    pub name: &'n str,
    /// What its value shows.
    pub shown: Shown,
}

/// What a name in a list of labels asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LabelRequest {
    /// A dimension, whose AS names are not shown.
    Dimension(Dimension),
    /// That the names of the AS are shown as well.
    AsName(AsOf),
}

/// Why a name in a list of labels makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnknownLabel {
    /// There is no such label.
    #[error("there is no label {0}")]
    Name(String),
    /// What follows the slash are not lengths.
    #[error(
        "{0}: what follows the slash must be a prefix length for IPv4 (0 to 32), or one for IPv4 and \
         one for IPv6 (0 to 128), such as source_prefix/24,48"
    )]
    Lengths(String),
    /// A name after `field.` that can't be a label's name.
    #[error(
        "{0}: name a field of the records after field., in letters, digits and underscores, or by number"
    )]
    Field(String),
}

impl AsOf {
    const ALL: [(AsOf, &'static str, &'static str); 5] = [
        (AsOf::Source, "source_as", "source_as_name"),
        (AsOf::Destination, "destination_as", "destination_as_name"),
        (AsOf::SourcePeer, "source_peer_as", "source_peer_as_name"),
        (AsOf::DestinationPeer, "destination_peer_as", "destination_peer_as_name"),
        (AsOf::Remote, "remote_as", "remote_as_name"),
    ];

    /// Names of the labels with its number and its name.
    const fn label_names(self) -> (&'static str, &'static str) {
        let (_, number, name) = Self::ALL[self as usize];
        (number, name)
    }
}

/// The prefix of labels that show any field.
const FIELD: &str = "field.";

/// The dimensions without parameters, with the numbers that stand for them in the journal (not 0,
/// and below 128) and the names of their labels.
const SIMPLE: [(u8, Dimension, &str); 30] = [
    (3, Dimension::Hostname, "hostname"),
    (20, Dimension::Address(End::Source), "source_address"),
    (21, Dimension::Address(End::Destination), "destination_address"),
    (22, Dimension::Address(End::Remote), "remote_address"),
    (29, Dimension::Port(Side::Source), "source_port"),
    (30, Dimension::Port(Side::Destination), "destination_port"),
    (31, Dimension::ServicePort, "service_port"),
    (32, Dimension::Protocol, "protocol"),
    (33, Dimension::IpVersion, "ip_version"),
    (34, Dimension::Dscp, "dscp"),
    (35, Dimension::TcpFlags, "tcp_flags"),
    (36, Dimension::Interface(Side::Source), "input_interface"),
    (37, Dimension::Interface(Side::Destination), "output_interface"),
    (49, Dimension::InterfaceName(Side::Source), "input_interface_name"),
    (50, Dimension::InterfaceName(Side::Destination), "output_interface_name"),
    (51, Dimension::InterfaceDescription(Side::Source), "input_interface_description"),
    (52, Dimension::InterfaceDescription(Side::Destination), "output_interface_description"),
    (53, Dimension::Vrf(Side::Source), "input_vrf"),
    (54, Dimension::Vrf(Side::Destination), "output_vrf"),
    (38, Dimension::Vlan, "vlan"),
    (39, Dimension::FlowDirection, "direction"),
    (40, Dimension::Exporter, "exporter"),
    (55, Dimension::Application, "application"),
    (41, Dimension::Tag, "tag"),
    (42, Dimension::Communities, "communities"),
    (43, Dimension::AsPath, "as_path"),
    (44, Dimension::Country(End::Source), "source_country"),
    (45, Dimension::Country(End::Destination), "destination_country"),
    (46, Dimension::Country(End::Remote), "remote_country"),
    (48, Dimension::Site, "site"),
];

/// The networks, with their numbers as they are in records and cut to a length.
const PREFIXES: [(u8, u8, End, &str); 3] = [
    (23, 26, End::Source, "source_prefix"),
    (24, 27, End::Destination, "destination_prefix"),
    (25, 28, End::Remote, "remote_prefix"),
];

/// The number of [`Dimension::Named`].
const NAMED: u8 = 47;
/// The number of [`Dimension::Numbered`].
const OF_NUMBER: u8 = 56;

/// What stands before a number in a label's name.
const NUMBERED: &str = "field_";

impl Dimension {
    /// The source's AS, with its name. Labels: `source_as`, `source_as_name`.
    pub const SOURCE_AS: Dimension = Dimension::As { of: AsOf::Source, named: true };
    /// The destination's AS, with its name. Labels: `destination_as`, `destination_as_name`.
    pub const DESTINATION_AS: Dimension = Dimension::As { of: AsOf::Destination, named: true };

    /// Whether its column holds the number of a text rather than the value.
    pub const fn is_text(&self) -> bool {
        matches!(
            self,
            Dimension::Address(_)
                | Dimension::Prefix(..)
                | Dimension::InterfaceName(_)
                | Dimension::InterfaceDescription(_)
                | Dimension::Vrf(_)
                | Dimension::Application
                | Dimension::Exporter
                | Dimension::Hostname
                | Dimension::Tag
                | Dimension::Communities
                | Dimension::AsPath
                | Dimension::Country(_)
                | Dimension::Site
                | Dimension::Named(_)
                | Dimension::Numbered(_)
        )
    }

    /// The largest number that a record can give it; `None` if its column holds numbers of texts.
    pub fn largest(&self) -> Option<u32> {
        let field = match self {
            Dimension::As { .. } => return Some(u32::MAX),
            Dimension::IpVersion => return Some(6),
            Dimension::Dscp => return Field::TrafficClass.largest().map(|class| class as u32 >> 2),
            Dimension::Port(_) | Dimension::ServicePort => Field::SourcePort,
            Dimension::Protocol => Field::Protocol,
            Dimension::TcpFlags => Field::TcpFlags,
            Dimension::Interface(_) => Field::InputInterface,
            Dimension::Vlan => Field::Vlan,
            Dimension::FlowDirection => Field::FlowDirection,
            _ => return None,
        };
        field.largest().map(|largest| largest.min(LARGEST_NUMBER.into()) as u32)
    }

    /// What stands in its column of numbers where a record lacks the value: what its label shows in
    /// the same way, so that no two series have the same labels.
    pub const fn absent(&self) -> u32 {
        match self {
            // Neither an AS number nor a flag.
            Dimension::As { .. } | Dimension::TcpFlags => 0,
            _ => ABSENT,
        }
    }

    /// The name of its label; of that with the number, if another one has the name.
    pub fn label(&self) -> &str {
        match self {
            Dimension::As { of, .. } => of.label_names().0,
            Dimension::Prefix(end, _) => {
                let found = PREFIXES.iter().find(|(_, _, of, _)| of == end);
                found.map_or("", |(.., name)| name)
            }
            Dimension::Named(label) | Dimension::Numbered(label) => label,
            simple => {
                let found = SIMPLE.iter().find(|(_, dimension, _)| dimension == simple);
                found.map_or("", |(.., name)| name)
            }
        }
    }

    /// Its labels, sorted by name.
    pub fn labels(&self) -> impl Iterator<Item = Label<'_>> {
        let name = match self {
            Dimension::As { of, named: true } => {
                Some(Label { name: of.label_names().1, shown: Shown::AsName })
            }
            _ => None,
        };
        std::iter::once(Label { name: self.label(), shown: self.shown() }).chain(name)
    }

    /// How the first of its labels shows the value.
    const fn shown(&self) -> Shown {
        match self {
            Dimension::As { .. } => Shown::Number,
            Dimension::Protocol => Shown::Protocol,
            Dimension::TcpFlags => Shown::TcpFlags,
            Dimension::FlowDirection => Shown::FlowDirection,
            dimension if dimension.is_text() => Shown::Text,
            _ => Shown::OptionalNumber,
        }
    }

    /// Whether one of its labels is the name of an AS.
    pub const fn shows_name(&self) -> bool {
        matches!(self, Dimension::As { named: true, .. })
    }

    /// What a name in a list of labels asks for: the name of a label, a prefix with the lengths to
    /// which addresses are cut (`source_prefix/24,48`), or `field.` and the name of a field.
    pub fn of_label(name: &str) -> Result<LabelRequest, UnknownLabel> {
        if let Some((of, number, _)) =
            AsOf::ALL.iter().find(|(_, number, as_name)| name == *number || name == *as_name)
        {
            return Ok(if name == *number {
                LabelRequest::Dimension(Dimension::As { of: *of, named: false })
            } else {
                LabelRequest::AsName(*of)
            });
        }
        if let Some((_, dimension, _)) = SIMPLE.iter().find(|(.., label)| name == *label) {
            return Ok(LabelRequest::Dimension(dimension.clone()));
        }
        if let Some(field) = name.strip_prefix(FIELD) {
            let of_field = Dimension::of_field(field).map(LabelRequest::Dimension);
            return of_field.ok_or_else(|| UnknownLabel::Field(name.to_owned()));
        }
        let (label, lengths) = match name.split_once('/') {
            Some((label, lengths)) => (label, Some(lengths)),
            None => (name, None),
        };
        let Some((_, _, end, _)) = PREFIXES.iter().find(|(.., prefix)| label == *prefix) else {
            return Err(UnknownLabel::Name(name.to_owned()));
        };
        let lengths = lengths.map(|lengths| {
            let (v4, v6) = match lengths.split_once(',') {
                Some((v4, v6)) => (v4, v6.trim().parse().ok()),
                None => (lengths, Some(PrefixLengths::DEFAULT_V6)),
            };
            v4.trim().parse().ok().zip(v6).and_then(|(v4, v6)| PrefixLengths::new(v4, v6))
        });
        match lengths {
            None => Ok(LabelRequest::Dimension(Dimension::Prefix(*end, None))),
            Some(Some(lengths)) => {
                Ok(LabelRequest::Dimension(Dimension::Prefix(*end, Some(lengths))))
            }
            Some(None) => Err(UnknownLabel::Lengths(name.to_owned())),
        }
    }

    /// The dimension that shows a field by name: of letters, digits and underscores, or else of digits
    /// and underscores. `None` if the name is another one.
    fn of_field(name: &str) -> Option<Self> {
        let is_made_of = |allowed: fn(&u8) -> bool| name.bytes().all(|byte| allowed(&byte));
        if name.is_empty() || name.len() > MAX_FIELD_BYTES {
            return None;
        }
        if !name.starts_with(|first: char| first.is_ascii_digit()) {
            let is_label = is_made_of(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
            return is_label.then(|| Dimension::Named(name.into()));
        }
        let is_numbers = is_made_of(|byte| byte.is_ascii_digit() || *byte == b'_');
        is_numbers.then(|| Dimension::Numbered(format!("{NUMBERED}{name}").into()))
    }

    /// The name of the field that it shows, if it is one by name.
    pub fn field_name(&self) -> Option<&str> {
        match self {
            Dimension::Named(name) => Some(name),
            Dimension::Numbered(label) => label.strip_prefix(NUMBERED),
            _ => None,
        }
    }

    /// The names of all labels there are, except for those of fields by name.
    pub fn label_names() -> impl Iterator<Item = &'static str> {
        AsOf::ALL
            .iter()
            .flat_map(|(_, number, name)| [*number, *name])
            .chain(SIMPLE.iter().map(|(.., name)| *name))
            .chain(PREFIXES.iter().map(|(.., name)| *name))
    }

    /// Appends the number that stands for it in the journal, with `flag` added (0 or 128), and its
    /// parameters.
    pub(super) fn write(&self, flag: u8, out: &mut Vec<u8>) {
        let prefix = |end: &End| PREFIXES.iter().find(|(_, _, of, _)| of == end);
        match self {
            Dimension::As { of, named } => out.push(flag | as_code(*of, *named)),
            Dimension::Prefix(end, None) => out.extend(prefix(end).map(|(code, ..)| flag | code)),
            Dimension::Prefix(end, Some(PrefixLengths { v4, v6 })) => {
                out.extend(prefix(end).map(|(_, code, ..)| flag | code));
                out.extend_from_slice(&[*v4, *v6]);
            }
            Dimension::Named(name) | Dimension::Numbered(name) => {
                let is_named = matches!(self, Dimension::Named(_));
                out.push(flag | if is_named { NAMED } else { OF_NUMBER });
                write_text(name, out);
            }
            simple => {
                let found = SIMPLE.iter().find(|(_, dimension, _)| dimension == simple);
                out.extend(found.map(|(code, ..)| flag | code));
            }
        }
    }

    /// Reads a dimension from the beginning of `bytes`, after whose number (without a flag) they
    /// begin, and moves on behind it. `None` if they hold none.
    pub(super) fn read(code: u8, bytes: &mut &[u8]) -> Option<Self> {
        if code == NAMED {
            return Some(Dimension::Named(read_text(bytes)?.into()));
        }
        if code == OF_NUMBER {
            return Some(Dimension::Numbered(read_text(bytes)?.into()));
        }
        if let Some((_, dimension, _)) = SIMPLE.iter().find(|(of, ..)| *of == code) {
            return Some(dimension.clone());
        }
        for (recorded, cut, end, _) in PREFIXES {
            if code == recorded {
                return Some(Dimension::Prefix(end, None));
            }
            if code == cut {
                let [v4, v6, rest @ ..] = *bytes else { return None };
                let lengths = PrefixLengths::new(*v4, *v6)?;
                *bytes = rest;
                return Some(Dimension::Prefix(end, Some(lengths)));
            }
        }
        AsOf::ALL
            .iter()
            .flat_map(|(of, ..)| [(*of, true), (*of, false)])
            .find(|&(of, named)| as_code(of, named) == code)
            .map(|(of, named)| Dimension::As { of, named })
    }
}

/// The longest name of a field that is a label, in bytes.
const MAX_FIELD_BYTES: usize = 128;

/// The number of [`Dimension::As`].
const fn as_code(of: AsOf, named: bool) -> u8 {
    match (of, named) {
        // As versions without views wrote them.
        (AsOf::Source, true) => 1,
        (AsOf::Destination, true) => 2,
        _ => 4 + 2 * of as u8 + named as u8,
    }
}
