//! goflow2's protobuf: one message of its `pb/flow.proto` in a payload. Versions 2 and 3 write the
//! length before it; version 1 does with `-format.protobuf.fixedlen`. The numbers of the fields
//! that are used are the same in all of them.

use std::{
    fmt::Write as _,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use crate::schema::{Field, FieldType};

use super::{
    json_values::push_number,
    networks::Networks,
    plan::{Plan, Slot},
    protobuf::{Fields, Wire, WireError, varint},
    quote::quoted,
    reason::Malformed,
    record::Record,
    row::{RowBuffer, Value},
};

/// Numbers of fields in `pb/flow.proto`. Of two with the same field, the last one that a message has
/// counts, and messages have them in the order of their numbers.
const NUMBERS: [(u32, Field); 25] = [
    (3, Field::SamplingRate),
    (6, Field::SourceAddress),
    (6, Field::SourceNetwork),
    (7, Field::DestinationAddress),
    (7, Field::DestinationNetwork),
    (9, Field::Bytes),
    (10, Field::Packets),
    (11, Field::Exporter),
    (11, Field::Hostname),
    (13, Field::DestinationPeerAs),
    (14, Field::SourceAs),
    (15, Field::DestinationAs),
    (16, Field::SourceMask),
    (17, Field::DestinationMask),
    (18, Field::InputInterface),
    (19, Field::OutputInterface),
    (20, Field::Protocol),
    (21, Field::SourcePort),
    (22, Field::DestinationPort),
    (23, Field::TrafficClass),
    (26, Field::TcpFlags),
    (29, Field::Vlan),
    (33, Field::Vlan),
    (42, Field::FlowDirection),
    (101, Field::Communities),
];

/// The same of AS paths.
const AS_PATH: u32 = 102;
/// Larger numbers than this one are not used.
const LARGEST: usize = 128;

/// Decodes goflow2's protobuf, for one plan.
#[derive(Debug)]
pub(super) struct Goflow2 {
    /// By number, what is done with a field; up to two things.
    actions: Vec<[Option<Action>; 2]>,
    values: RowBuffer,
    networks: Networks,
}

/// What is done with a field.
#[derive(Debug, Clone, Copy)]
struct Action {
    slot: Slot,
    kind: Kind,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    /// A number up to this one.
    Number(u64),
    /// A length of a prefix. 0 says that it is not known.
    Length,
    /// An address of 4 or 16 bytes.
    Address,
    /// The same, as text.
    AddressText,
    /// A list of numbers, as text.
    Numbers,
    /// A list of BGP communities, as text.
    Communities,
}

impl Kind {
    fn of(field: &Field) -> Self {
        match (field, field.value_type()) {
            (Field::SourceMask | Field::DestinationMask, _) => Kind::Length,
            (Field::Communities, _) => Kind::Communities,
            (Field::AsPath, _) => Kind::Numbers,
            (_, FieldType::Number { max }) => Kind::Number(max),
            (_, FieldType::Protocol) => Kind::Number(u8::MAX.into()),
            (_, FieldType::TcpFlags) => Kind::Number(u16::MAX.into()),
            (_, FieldType::FlowDirection) => Kind::Number(1),
            (_, FieldType::Address) => Kind::Address,
            (_, FieldType::Text) => Kind::AddressText,
        }
    }
}

/// The name of a field in `pb/flow.proto` that has the value of one of ours.
pub(super) fn numbers(field: &Field) -> impl Iterator<Item = u32> {
    let of_path = (*field == Field::AsPath).then_some(AS_PATH);
    NUMBERS
        .iter()
        .filter(move |(_, other)| other == field)
        .map(|(number, _)| *number)
        .chain(of_path)
}

impl Goflow2 {
    /// A decoder for the fields of a plan.
    pub(super) fn new(plan: &Plan) -> Self {
        let mut actions = vec![[None; 2]; LARGEST];
        let mut values = RowBuffer::new(plan);
        for (slot, field) in plan.fields() {
            let kind = Kind::of(field);
            for number in numbers(field) {
                let [first, second] = &mut actions[number as usize];
                let free = if first.is_none() { first } else { second };
                *free = Some(Action { slot, kind });
            }
            // A zero is not written. A message without bytes is no flow, and lengths of prefixes and
            // sampling rates that are 0 are not known.
            let is_count = matches!(field, Field::Bytes | Field::SamplingRate | Field::Flows);
            let is_known = numbers(field).next().is_some();
            if is_known && !is_count && matches!(kind, Kind::Number(_)) {
                values.set(slot, Value::Number(0));
            }
        }
        values.keep_as_start();
        Goflow2 { actions, values, networks: Networks::of_addresses(plan) }
    }

    /// Whether a payload is one of goflow2's, as far as its first fields show.
    pub(super) fn is_mine(payload: &[u8]) -> bool {
        let is_field = |number, wire| match (number, wire) {
            (1, Wire::Number(kind)) => kind <= 16,
            (2..=4 | 9 | 10 | 110 | 111 | 112, Wire::Number(_)) => true,
            (6 | 7 | 11, Wire::Bytes(address)) => matches!(address.len(), 0 | 4 | 16),
            _ => false,
        };
        let message = message(payload);
        // A length that is right says something as well.
        let enough = if message.len() < payload.len() { 2 } else { 3 };
        let (mut fields, mut known, mut last) = (Fields(message), 0, 0);
        while known < enough {
            match fields.next() {
                Ok(Some((number, wire))) if number > last && is_field(number, wire) => {
                    (known, last) = (known + 1, number);
                }
                // A message of few fields.
                Ok(None) => return known >= 2,
                _ => return false,
            }
        }
        true
    }

    /// Decodes the record in `payload` and hands it to `sink`.
    pub(super) fn decode(&mut self, payload: &[u8], sink: &mut impl FnMut(Record<'_>)) {
        self.values.restart();
        let read = self.read(message(payload));
        let checked = read.map_err(|WireError| Malformed::Syntax).and_then(|()| {
            self.networks.cut(&mut self.values);
            self.values.check()
        });
        match checked {
            Ok(None) => sink(Record::Flow(self.values.row(""))),
            Ok(Some(reason)) => sink(Record::Skipped(reason)),
            Err(reason) => sink(Record::Malformed(reason, &quoted(payload))),
        }
    }

    fn read(&mut self, message: &[u8]) -> Result<(), WireError> {
        let mut fields = Fields(message);
        while let Some((number, wire)) = fields.next()? {
            let Some([Some(first), second]) = self.actions.get(number as usize) else { continue };
            set(&mut self.values, *first, wire);
            if let Some(second) = second {
                set(&mut self.values, *second, wire);
            }
        }
        Ok(())
    }
}

/// The message without a length before it.
fn message(payload: &[u8]) -> &[u8] {
    let mut rest = payload;
    match varint(&mut rest) {
        Ok(length) if length == rest.len() as u64 => rest,
        _ => payload,
    }
}

#[inline]
fn set(values: &mut RowBuffer, Action { slot, kind }: Action, wire: Wire<'_>) {
    match (kind, wire) {
        (Kind::Number(max), Wire::Number(number)) if number <= max => {
            values.set(slot, Value::Number(number));
        }
        (Kind::Length, Wire::Number(1..=128)) => {
            let Wire::Number(length) = wire else { return };
            values.set(slot, Value::Number(length));
        }
        (Kind::Length, Wire::Number(0)) => {}
        (Kind::Number(_) | Kind::Length, Wire::Number(_)) => {
            values.set_malformed(slot, Malformed::NumberOutOfRange);
        }
        (Kind::Address, Wire::Bytes(bytes)) => match address(bytes) {
            Ok(None) => {}
            Ok(Some(address)) => values.set(slot, Value::Address(address)),
            Err(reason) => values.set_malformed(slot, reason),
        },
        (Kind::AddressText, Wire::Bytes(bytes)) => {
            if let Ok(Some(address)) = address(bytes) {
                // Writing to a string can't fail.
                values.set_made(slot, |text| write!(text, "{address}")).unwrap_or_default();
            }
        }
        (Kind::Numbers | Kind::Communities, _) => {
            let is_community = matches!(kind, Kind::Communities);
            if values.set_made(slot, |text| list(wire, is_community, text)).is_err() {
                values.set_malformed(slot, Malformed::WrongType);
            }
        }
        _ => values.set_malformed(slot, Malformed::WrongType),
    }
}

/// Appends the numbers of a list, which goflow2 packs; of one that is not packed, the last number
/// counts.
fn list(wire: Wire<'_>, are_communities: bool, text: &mut String) -> Result<(), WireError> {
    let mut before = "";
    let mut push = |number| {
        text.push_str(before);
        push_number(number, are_communities, text);
        before = " ";
    };
    match wire {
        Wire::Number(number) => push(number),
        Wire::Bytes(mut packed) => {
            while !packed.is_empty() {
                push(varint(&mut packed)?);
            }
        }
        Wire::Fixed => return Err(WireError),
    }
    Ok(())
}

/// An address; `None` if it is empty.
fn address(bytes: &[u8]) -> Result<Option<IpAddr>, Malformed> {
    Ok(Some(match bytes.len() {
        0 => return Ok(None),
        4 => IpAddr::from(<[u8; 4]>::try_from(bytes).map_or(Ipv4Addr::UNSPECIFIED, Into::into)),
        16 => IpAddr::from(<[u8; 16]>::try_from(bytes).map_or(Ipv6Addr::UNSPECIFIED, Into::into))
            .to_canonical(),
        _ => return Err(Malformed::WrongType),
    }))
}
