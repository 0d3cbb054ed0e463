//! pmacct's JSON, as its Kafka and print plugins write it.
//!
//! A payload has one record, or several: one per line (`kafka_multi_values`), one after another,
//! or in an array. Only `event_type` and the fields of the plan are used. Names and types of fields
//! are those of pmacct's `src/plugin_cmn_json.c`.
#![expect(clippy::inline_always, reason = "8 % of the time per record, measured by benches/decode")]

use std::iter::once;

use crate::schema::{Field, FieldType};

use super::{
    json::{Cursor, SyntaxError},
    json_records::{self, RecordReader, malformed},
    json_values::{Kind, address, code, integer, no_string, other_text},
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
    /// It is the value of a field.
    Field(Kind, Slot),
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
            let action = Action::Field(Kind::of(field), slot);
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
/// key `aggregate` needs for that (`CONFIG-KEYS`), unless it is always written. `None` for what it
/// does not write.
fn names(field: &Field) -> Option<(&str, Option<&'static str>)> {
    Some(match field {
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
        Field::Application => ("class", Some("class")),
        Field::Tag => ("tag", Some("tag")),
        Field::Communities => ("comms", Some("std_comm")),
        Field::AsPath => ("as_path", Some("as_path")),
        Field::SourceCountry => ("country_ip_src", Some("src_host_country")),
        Field::DestinationCountry => ("country_ip_dst", Some("dst_host_country")),
        Field::SamplingRate => ("sampling_rate", Some("sampling_rate")),
        Field::InputInterfaceName
        | Field::OutputInterfaceName
        | Field::InputInterfaceDescription
        | Field::OutputInterfaceDescription
        | Field::InputVrf
        | Field::OutputVrf
        | Field::OriginalExporter
        | Field::OriginalHostname => return None,
        Field::Named(name) => (name, None),
    })
}

/// The keys of pmacct's JSON that have the value of a field, those of older versions last.
pub fn json_keys(field: &Field) -> impl Iterator<Item = &str> {
    let old = match field {
        // Before 1.7.8.
        Field::Vlan => Some("vlan"),
        _ => None,
    };
    names(field).map(|(key, _)| key).into_iter().chain(old)
}

/// What pmacct's `aggregate` must have for records to have a field; `None` if they always do, or if
/// that is not known.
pub fn aggregate_key(field: &Field) -> Option<&'static str> {
    names(field)?.1
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

    /// Decodes all records in `payload` and hands each to `sink`, in order; see
    /// [`json_records::decode`].
    pub(super) fn decode(&mut self, payload: &[u8], sink: &mut impl FnMut(Record<'_>)) {
        json_records::decode(self, payload, sink);
    }
}

impl RecordReader for Pmacct {
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
}

impl Pmacct {
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
                Action::Field(Kind::Number, slot) => match integer(cursor) {
                    Ok(None) => {}
                    Ok(Some(number)) if number <= fields.max[slot.index()] => {
                        values.set(slot, Value::Number(number));
                    }
                    Ok(Some(_)) => values.set_malformed(slot, Malformed::NumberOutOfRange),
                    Err(Malformed::Syntax) => return Err(SyntaxError),
                    Err(reason) => values.set_malformed(slot, reason),
                },
                Action::Field(kind @ (Kind::Label | Kind::Text | Kind::Strings), slot) => {
                    if cursor.peek() == Some(b'"')
                        && let Some(range) = cursor.plain_string()
                    {
                        values.set(slot, Value::Text(range.start, range.end));
                    } else {
                        *cursor = other_text(*cursor, slot, kind, values)?;
                    }
                }
                Action::Field(Kind::Address, slot) => {
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
                Action::Field(
                    kind @ (Kind::Protocol | Kind::TcpFlags | Kind::FlowDirection),
                    slot,
                ) => {
                    *cursor = code(*cursor, slot, kind, values)?;
                }
            }
        }
        *at = local;
        Ok(is_marker)
    }
}
