//! pmacct's JSON, as its Kafka and print plugins write it.
//!
//! A payload has one record, or several: one per line (`kafka_multi_values`), one after another,
//! or in an array. Only `event_type` and the fields of the plan are used. Names and types of fields
//! are those of pmacct's `src/plugin_cmn_json.c`.
#![expect(clippy::inline_always, reason = "8 % of the time per record, measured by benches/decode")]

use std::{iter::once, net::IpAddr};

use crate::schema::{EGRESS, Field, FieldType, INGRESS, flag, protocol};

use super::{
    json::{Cursor, Number, SyntaxError, repaired},
    keys::{Keys, Progress, Step},
    plan::{Plan, Slot},
    reason::{Malformed, Skipped},
    record::Record,
    row::{RowBuffer, Value},
};

/// Decodes pmacct's JSON, for one plan.
#[derive(Debug)]
pub(super) struct Pmacct {
    fields: Fields,
    keys: Keys<Action>,
    values: RowBuffer,
}

/// The key that tells flows from markers.
const EVENT_TYPE: &str = "event_type";

/// What is done with the value of a key.
#[derive(Debug, Clone, Copy)]
enum Action {
    /// It is only checked to be JSON.
    Skip,
    /// It says whether the record is a marker.
    EventType,
    /// It is a number.
    Number(Slot),
    /// It is a string, or a map as `pre_tag_label_encode_as_map` writes it.
    Label(Slot),
    /// It is anything that can be a text.
    Text(Slot),
    /// It is the same, or an array of strings as `as_path_encode_as_array` and
    /// `bgp_comms_encode_as_array` write it.
    Strings(Slot),
    /// It is an IP address.
    Address(Slot),
    /// It is the name or the number of a protocol.
    Protocol(Slot),
    /// It is a set of TCP flags: a number, or an array of names as `tcpflags_encode_as_array`
    /// writes it.
    TcpFlags(Slot),
    /// It is the direction in which a flow passed the exporter.
    FlowDirection(Slot),
}

/// What is done with the values of the keys that are used. A key is used once: of two fields with
/// the same name here, the first one gets the values.
#[derive(Debug)]
struct Fields {
    actions: Vec<(Box<str>, Action)>,
    /// The largest numbers, by slot.
    max: Vec<u64>,
}

impl Fields {
    fn new(plan: &Plan) -> Self {
        let wanted = plan.fields().flat_map(|(slot, field)| {
            let action = match (field, field.value_type()) {
                (Field::Hostname, _) => Action::Label(slot),
                (Field::AsPath | Field::Communities, _) => Action::Strings(slot),
                (_, FieldType::Number { .. }) => Action::Number(slot),
                (_, FieldType::Protocol) => Action::Protocol(slot),
                (_, FieldType::TcpFlags) => Action::TcpFlags(slot),
                (_, FieldType::FlowDirection) => Action::FlowDirection(slot),
                (_, FieldType::Address) => Action::Address(slot),
                (_, FieldType::Text) => Action::Text(slot),
            };
            json_keys(field).map(move |key| (Box::from(key), action))
        });
        let max = plan.fields().map(|(_, field)| match field.value_type() {
            FieldType::Number { max } => max,
            _ => 0,
        });
        Fields {
            actions: once((EVENT_TYPE.into(), Action::EventType)).chain(wanted).collect(),
            max: max.collect(),
        }
    }

    fn action(&self, key: &str) -> Action {
        let used = self.actions.iter().find(|(name, _)| **name == *key);
        used.map_or(Action::Skip, |(_, action)| *action)
    }
}

/// What pmacct calls a field: the key of its JSON (`src/plugin_cmn_json.c`), and what its configuration
/// key `aggregate` needs for that (`CONFIG-KEYS`), unless it is always written.
fn names(field: &Field) -> (&str, Option<&'static str>) {
    match field {
        Field::Bytes => ("bytes", None),
        Field::Packets => ("packets", None),
        Field::Flows => ("flows", Some("flows")),
        Field::SourceAs => ("as_src", Some("src_as")),
        Field::DestinationAs => ("as_dst", Some("dst_as")),
        Field::SourcePeerAs => ("peer_as_src", Some("peer_src_as")),
        Field::DestinationPeerAs => ("peer_as_dst", Some("peer_dst_as")),
        Field::SourceAddress => ("ip_src", Some("src_host")),
        Field::DestinationAddress => ("ip_dst", Some("dst_host")),
        Field::SourceNetwork => ("net_src", Some("src_net")),
        Field::DestinationNetwork => ("net_dst", Some("dst_net")),
        Field::SourceMask => ("mask_src", Some("src_mask")),
        Field::DestinationMask => ("mask_dst", Some("dst_mask")),
        Field::SourcePort => ("port_src", Some("src_port")),
        Field::DestinationPort => ("port_dst", Some("dst_port")),
        Field::Protocol => ("ip_proto", Some("proto")),
        Field::TcpFlags => ("tcp_flags", Some("tcpflags")),
        Field::TrafficClass => ("tos", Some("tos")),
        Field::InputInterface => ("iface_in", Some("in_iface")),
        Field::OutputInterface => ("iface_out", Some("out_iface")),
        Field::Vlan => ("vlan_in", Some("vlan")),
        Field::FlowDirection => ("sampling_direction", Some("sampling_direction")),
        Field::Exporter => ("peer_ip_src", Some("peer_src_ip")),
        Field::Hostname => ("label", Some("label")),
        Field::Tag => ("tag", Some("tag")),
        Field::Communities => ("comms", Some("std_comm")),
        Field::AsPath => ("as_path", Some("as_path")),
        Field::SourceCountry => ("country_ip_src", Some("src_host_country")),
        Field::DestinationCountry => ("country_ip_dst", Some("dst_host_country")),
        Field::SamplingRate => ("sampling_rate", Some("sampling_rate")),
        Field::Named(name) => (name, None),
    }
}

/// The keys of pmacct's JSON that have the value of a field, those of older versions last.
pub fn json_keys(field: &Field) -> impl Iterator<Item = &str> {
    let old = match field {
        // Before 1.7.8.
        Field::Vlan => Some("vlan"),
        _ => None,
    };
    once(names(field).0).chain(old)
}

/// What pmacct's `aggregate` must have for records to have a field; `None` if they always do, or if
/// that is not known.
pub fn aggregate_key(field: &Field) -> Option<&'static str> {
    names(field).1
}

/// The field with a meaning of its own that pmacct calls by this name, in its JSON or in `aggregate`.
pub fn field_called(name: &str) -> Option<Field> {
    let is_called =
        |field: &&Field| json_keys(field).chain(aggregate_key(field)).any(|known| known == name);
    Field::TYPED.iter().find(is_called).cloned()
}

/// Whether a key is that of a field with a meaning of its own.
pub fn is_typed(key: &str) -> bool {
    key == EVENT_TYPE || Field::TYPED.iter().any(|field| json_keys(field).any(|name| name == key))
}

impl Pmacct {
    /// A decoder for the fields of a plan.
    pub(super) fn new(plan: &Plan) -> Self {
        Pmacct { fields: Fields::new(plan), keys: Keys::new(), values: RowBuffer::new(plan) }
    }

    /// Decodes all records in `payload` and hands each to `sink`, in order.
    ///
    /// `sink` is called at least once. If a record can't be decoded, only the rest of its line is
    /// lost. Bytes that are not UTF-8 become U+FFFD, as in Go.
    pub(super) fn decode(&mut self, payload: &[u8], sink: &mut impl FnMut(Record<'_>)) {
        match std::str::from_utf8(payload) {
            Ok(text) => self.decode_text(text, sink),
            Err(_) => self.decode_text(&repaired(payload), sink),
        }
    }

    fn decode_text(&mut self, text: &str, sink: &mut impl FnMut(Record<'_>)) {
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
                b'{' => self.record(text, &mut cursor, &mut emit).map_err(|SyntaxError| start),
                b'[' => self.array(text, &mut cursor, &mut emit),
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
    fn array<'t>(
        &mut self,
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
                self.record(text, cursor, sink).map_err(|SyntaxError| start)?;
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

    /// Consumes an object and hands it to `sink`. As in Go, the last of several equal keys counts,
    /// and a key with null counts as absent.
    #[inline(always)]
    fn record<'t>(
        &mut self,
        text: &'t str,
        cursor: &mut Cursor<'t>,
        sink: &mut impl FnMut(Record<'_>),
    ) -> Result<(), SyntaxError> {
        let start = cursor.position();
        let is_marker = self.read(cursor)?;
        if is_marker {
            sink(Record::Skipped(Skipped::Marker));
            return Ok(());
        }
        sink(match self.values.check() {
            Ok(None) => Record::Flow(self.values.row(text)),
            Ok(Some(reason)) => Record::Skipped(reason),
            Err(reason) => malformed(reason, text, start, cursor),
        });
        Ok(())
    }

    /// Consumes an object and keeps its values; returns whether it is a marker.
    #[inline(always)]
    fn read(&mut self, at: &mut Cursor<'_>) -> Result<bool, SyntaxError> {
        let Pmacct { fields, keys, values } = self;
        let mut local = *at;
        let cursor = &mut local;
        let mut progress = Progress::START;
        let mut is_marker = false;
        values.clear();
        while let Step::Key(action) = keys.step(&mut progress, cursor, |key| fields.action(key))? {
            match action {
                Action::Skip => cursor.skip_value()?,
                Action::EventType => {
                    if cursor.peek() == Some(b'"') {
                        is_marker = cursor
                            .string_as(|event| matches!(event, b"purge_init" | b"purge_close"))?;
                    } else {
                        cursor.skip_value()?;
                    }
                }
                Action::Number(slot) => match integer(cursor) {
                    Ok(None) => {}
                    Ok(Some(number)) if number <= fields.max[slot.index()] => {
                        values.set(slot, Value::Number(number));
                    }
                    Ok(Some(_)) => values.set_malformed(slot, Malformed::NumberOutOfRange),
                    Err(Malformed::Syntax) => return Err(SyntaxError),
                    Err(reason) => values.set_malformed(slot, reason),
                },
                Action::Label(slot) | Action::Text(slot) | Action::Strings(slot) => {
                    if cursor.peek() == Some(b'"')
                        && let Some(range) = cursor.plain_string()
                    {
                        values.set(slot, Value::Text(range.start, range.end));
                    } else {
                        *cursor = other_text(*cursor, slot, action, values)?;
                    }
                }
                Action::Address(slot) => {
                    let parsed = if cursor.peek() == Some(b'"') {
                        cursor.string_as(address)?
                    } else {
                        no_string(cursor)?
                    };
                    match parsed {
                        Ok(None) => {}
                        Ok(Some(address)) => values.set(slot, Value::Address(address)),
                        Err(reason) => values.set_malformed(slot, reason),
                    }
                }
                Action::Protocol(slot) | Action::TcpFlags(slot) | Action::FlowDirection(slot) => {
                    *cursor = code(*cursor, slot, action, values)?;
                }
            }
        }
        *at = local;
        Ok(is_marker)
    }
}

/// The text from `start` up to the cursor, as a record that can't be decoded.
#[cold]
fn malformed<'t>(reason: Malformed, text: &'t str, start: usize, end: &Cursor<'t>) -> Record<'t> {
    Record::Malformed(reason, text[start..end.position()].trim())
}

/// Consumes a number or a string of digits; `None` if it is null.
#[inline(always)]
fn integer(cursor: &mut Cursor<'_>) -> Result<Option<u64>, Malformed> {
    match cursor.peek() {
        Some(b'0'..=b'9' | b'-') => match cursor.number()? {
            Number::Unsigned(number) => Ok(Some(number)),
            Number::Other => Err(Malformed::NumberOutOfRange),
        },
        Some(b'"') => {
            let text = cursor.string()?;
            if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
                return Err(Malformed::WrongType);
            }
            text.parse().map(Some).map_err(|_| Malformed::NumberOutOfRange)
        }
        first => {
            cursor.skip_value()?;
            if first == Some(b'n') { Ok(None) } else { Err(Malformed::WrongType) }
        }
    }
}

/// Reads a value for a slot of texts, other than a string without escapes, and returns the cursor
/// after it.
#[inline(never)]
fn other_text<'t>(
    mut cursor: Cursor<'t>,
    slot: Slot,
    action: Action,
    values: &mut RowBuffer,
) -> Result<Cursor<'t>, SyntaxError> {
    let first = cursor.peek();
    let start = cursor.position();
    match (first, action) {
        (Some(b'"'), _) => {
            let text = cursor.escaped_string()?;
            values.set_text(slot, &text);
        }
        (Some(b'{'), Action::Label(_)) => made(slot, values, cursor.container()?, join)?,
        (Some(b'['), Action::Strings(_)) => made(slot, values, cursor.container()?, join_array)?,
        _ => {
            cursor.skip_value()?;
            match (first, action) {
                // Absent.
                (Some(b'n'), _) => {}
                // As it stands in the record.
                (_, Action::Text(_) | Action::Strings(_)) => {
                    values.set(slot, Value::Text(start, cursor.position()));
                }
                _ => values.set_malformed(slot, Malformed::WrongType),
            }
        }
    }
    Ok(cursor)
}

/// Sets the text that `write` makes of an object or array.
fn made(
    slot: Slot,
    values: &mut RowBuffer,
    container: &str,
    write: impl FnOnce(&str, &mut String) -> Result<(), Malformed>,
) -> Result<(), SyntaxError> {
    match values.set_made(slot, |made| write(container, made)) {
        Err(Malformed::Syntax) => return Err(SyntaxError),
        Err(reason) => values.set_malformed(slot, reason),
        Ok(()) => {}
    }
    Ok(())
}

/// An IP address; `None` if the text is empty. IPv4 addresses that are mapped into IPv6 are IPv4.
#[inline]
fn address(text: &[u8]) -> Result<Option<IpAddr>, Malformed> {
    if text.is_empty() {
        return Ok(None);
    }
    let address = std::str::from_utf8(text).ok().and_then(|text| text.parse::<IpAddr>().ok());
    address.map(|address| Some(address.to_canonical())).ok_or(Malformed::WrongType)
}

/// Consumes a value in the place of a string: absent if it is null.
#[cold]
fn no_string<T>(cursor: &mut Cursor<'_>) -> Result<Result<Option<T>, Malformed>, SyntaxError> {
    let first = cursor.peek();
    cursor.skip_value()?;
    Ok(if first == Some(b'n') { Ok(None) } else { Err(Malformed::WrongType) })
}

/// Reads a value that formats spell in several ways into a slot of numbers, and returns the cursor
/// after it. A spelling that is not known counts as absent: it is no reason to lose the record.
#[inline(never)]
fn code<'t>(
    mut cursor: Cursor<'t>,
    slot: Slot,
    action: Action,
    values: &mut RowBuffer,
) -> Result<Cursor<'t>, SyntaxError> {
    let number = match cursor.peek() {
        Some(b'"') => {
            let text = cursor.string()?;
            match action {
                Action::Protocol(_) => protocol(&text),
                Action::TcpFlags(_) => text.parse().ok(),
                _ => direction(&text),
            }
        }
        Some(b'[') => {
            let mut array = Cursor::new(cursor.container()?);
            let mut set = 0;
            each(&mut array, |name| set |= flag(name).unwrap_or_default())?;
            matches!(action, Action::TcpFlags(_)).then_some(set)
        }
        Some(b'0'..=b'9' | b'-') => match cursor.number()? {
            Number::Unsigned(number) => u32::try_from(number).ok(),
            Number::Other => None,
        },
        _ => match no_string(&mut cursor)? {
            Ok(absent) => absent,
            Err(reason) => {
                values.set_malformed(slot, reason);
                None
            }
        },
    };
    let largest = if matches!(action, Action::TcpFlags(_)) { u16::MAX.into() } else { 255 };
    if let Some(number) = number.filter(|&number| number <= largest) {
        values.set(slot, Value::Number(number.into()));
    }
    Ok(cursor)
}

/// The direction of a flow, as pmacct writes it (`i` and `e`), or in words.
fn direction(text: &str) -> Option<u32> {
    match text {
        "i" | "ingress" | "0" => Some(INGRESS),
        "e" | "egress" | "1" => Some(EGRESS),
        _ => None,
    }
}

/// Hands the strings in an array to `take`; other values are left out.
fn each(array: &mut Cursor<'_>, mut take: impl FnMut(&str)) -> Result<(), SyntaxError> {
    array.take(b'[');
    let mut done = array.take(b']');
    while !done {
        if array.peek() == Some(b'"') {
            take(&array.string()?);
        } else {
            array.skip_value()?;
        }
        done = array.take(b']');
        array.take(b',');
    }
    Ok(())
}

/// Appends the strings of an array, joined by spaces.
fn join_array(array: &str, joined: &mut String) -> Result<(), Malformed> {
    let start = joined.len();
    each(&mut Cursor::new(array), |text| {
        if joined.len() > start {
            joined.push(' ');
        }
        joined.push_str(text);
    })?;
    Ok(())
}

/// Appends the pairs of a map as `key%value`, joined by commas: what pmacct writes without
/// `pre_tag_label_encode_as_map`.
fn join(map: &str, joined: &mut String) -> Result<(), Malformed> {
    let mut cursor = Cursor::new(map);
    cursor.take(b'{');
    let mut done = cursor.take(b'}');
    while !done {
        joined.push_str(&cursor.string()?);
        joined.push('%');
        cursor.take(b':');
        match cursor.peek() {
            Some(b'"') => joined.push_str(&cursor.string()?),
            Some(b'0'..=b'9' | b'-') => {
                let start = cursor.position();
                cursor.number()?;
                joined.push_str(&map[start..cursor.position()]);
            }
            _ => return Err(Malformed::WrongType),
        }
        done = cursor.take(b'}');
        if cursor.take(b',') {
            joined.push(',');
        }
    }
    Ok(())
}

impl From<SyntaxError> for Malformed {
    fn from(SyntaxError: SyntaxError) -> Self {
        Malformed::Syntax
    }
}
