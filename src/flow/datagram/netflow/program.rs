//! What is done with a record: a template, compiled for the fields that are wanted.

use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use crate::{
    flow::{
        datagram::rows::Rows,
        plan::{Plan, Slot},
        reason::Malformed,
        row::Value,
    },
    schema::{EGRESS, Field, FieldType, INGRESS},
};

use super::{
    duration::Duration,
    element::{self as ie, Element},
    frame::Frame,
    layout::{Layout, Place, Places, application_of, number_of},
    originals::exporter_of,
    rates::SamplerKind,
    registry,
    template::{Template, VARIABLE},
    written::Type,
};

/// What is done with each record of a template's sets.
#[derive(Debug)]
pub(super) struct Program {
    /// What is done for the flow that the record is of.
    pub(super) forward: Steps,
    /// How the flow in the other direction comes of it.
    pub(super) reverse: Option<Reverse>,
    /// Where a firewall's event is, if only records of one event are flows.
    pub(super) event: Option<Place>,
    /// Where a record has its sampling rate.
    pub(super) rate: Option<Place>,
    /// Where a record says which sampler chose its packets.
    pub(super) sampler: Option<(SamplerKind, Place)>,
    /// Where a sampled packet is, if nothing else has bytes.
    pub(super) frame: Option<Frame>,
    /// How long a flow lasted.
    pub(super) duration: Option<Duration>,
}

/// How a record has a flow in the other direction, if it has bytes.
#[derive(Debug)]
pub(super) struct Reverse {
    /// Where its bytes are.
    pub(super) bytes: Place,
    /// What is done for it.
    pub(super) steps: Steps,
    /// Where the bytes of the first direction are, and what is done for it then: if there are bytes in
    /// any of the directions, they are what counts.
    pub(super) initiator: Option<(Place, Box<[Step]>)>,
}

/// What is done for a flow, in this order.
#[derive(Debug)]
pub(super) struct Steps {
    common: Box<[Step]>,
    /// What few plans want. Apart, so that the others stay cheap.
    rare: Box<[Step]>,
}

/// Writes a slot of a row.
#[derive(Debug, Clone, Copy)]
pub(super) struct Step {
    place: Place,
    slot: Slot,
    operation: Operation,
    /// Whether it is done only if the slot has nothing yet, or zero.
    is_fallback: bool,
    /// The largest valid number.
    max: u64,
    /// What is written as text.
    written: Type,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operation {
    /// A number of 1 to 8 bytes.
    Number,
    /// The last byte of TCP's flags, of which there may be two.
    TcpFlags,
    /// The six bits of DSCP, as the byte that has ECN's behind them.
    Dscp,
    /// The direction, unless it is unknown.
    Direction,
    /// An application's engine and number.
    Application,
    /// A value of the step's type, as text.
    Written,
    Ipv4,
    Ipv6,
    /// The length of the network that is in the slot as an address, if it is of IPv4.
    Ipv4Network,
    /// The same for IPv6.
    Ipv6Network,
    /// An address of an original exporter, unless it is zero.
    OriginalExporter,
    /// The host name of the same.
    OriginalHostname,
    /// The slot has nothing.
    Nothing,
}

/// Where a field comes from.
type Source = (Element, Operation);

/// Which of the flows of a record a value is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Forward,
    /// RFC 5103: the ends are exchanged, and counters have numbers of their own.
    Reverse,
    /// The same, with the counters of a responder.
    Response,
}

use Operation::{Dscp, Ipv4, Ipv4Network, Ipv6, Ipv6Network, Number};

/// Counters of bytes since the last record, and of packets. Some exporters have one for what comes in
/// and one for what goes out, of which one is zero. With both, they are equal, or of both directions:
/// so the first one counts.
const DELTAS: [[Element; 2]; 2] = [
    [ie::OCTET_DELTA_COUNT, ie::POST_OCTET_DELTA_COUNT],
    [ie::PACKET_DELTA_COUNT, ie::POST_PACKET_DELTA_COUNT],
];

/// Counters that count where a template has none of these, the best first: with the frames around
/// packets, since the flow began, and what an initiator sent.
const OTHERS: [&[Element]; 2] = [
    &[ie::LAYER2_OCTET_DELTA_COUNT, ie::OCTET_TOTAL_COUNT, ie::INITIATOR_OCTETS],
    &[ie::PACKET_TOTAL_COUNT, ie::INITIATOR_PACKETS],
];

/// The places in [`DELTAS`] and [`OTHERS`].
const OF_BYTES: usize = 0;
const OF_PACKETS: usize = 1;

/// Where a field that is no counter comes from: all of these, of which later ones only fill in.
fn sources(field: &Field) -> &'static [Source] {
    match field {
        Field::SourceAs => &[(ie::BGP_SOURCE_AS_NUMBER, Number)],
        Field::DestinationAs => &[(ie::BGP_DESTINATION_AS_NUMBER, Number)],
        Field::SourcePeerAs => &[(ie::BGP_PREV_ADJACENT_AS_NUMBER, Number)],
        Field::DestinationPeerAs => &[(ie::BGP_NEXT_ADJACENT_AS_NUMBER, Number)],
        Field::Flows => &[(ie::DELTA_FLOW_COUNT, Number)],
        Field::SourceAddress => &[(ie::SOURCE_IPV4_ADDRESS, Ipv4), (ie::SOURCE_IPV6_ADDRESS, Ipv6)],
        Field::DestinationAddress => {
            &[(ie::DESTINATION_IPV4_ADDRESS, Ipv4), (ie::DESTINATION_IPV6_ADDRESS, Ipv6)]
        }
        Field::SourceMask => {
            &[(ie::SOURCE_IPV4_PREFIX_LENGTH, Number), (ie::SOURCE_IPV6_PREFIX_LENGTH, Number)]
        }
        Field::DestinationMask => &[
            (ie::DESTINATION_IPV4_PREFIX_LENGTH, Number),
            (ie::DESTINATION_IPV6_PREFIX_LENGTH, Number),
        ],
        Field::SourcePort => &[
            (ie::SOURCE_TRANSPORT_PORT, Number),
            (ie::UDP_SOURCE_PORT, Number),
            (ie::TCP_SOURCE_PORT, Number),
        ],
        Field::DestinationPort => &[
            (ie::DESTINATION_TRANSPORT_PORT, Number),
            (ie::UDP_DESTINATION_PORT, Number),
            (ie::TCP_DESTINATION_PORT, Number),
        ],
        Field::Protocol => &[(ie::PROTOCOL_IDENTIFIER, Number)],
        Field::TcpFlags => &[(ie::TCP_CONTROL_BITS, Operation::TcpFlags)],
        Field::TrafficClass => {
            &[(ie::IP_CLASS_OF_SERVICE, Number), (ie::IP_DIFF_SERV_CODE_POINT, Dscp)]
        }
        Field::InputInterface | Field::InputInterfaceName | Field::InputInterfaceDescription => {
            &[(ie::INGRESS_INTERFACE, Number), (ie::INGRESS_PHYSICAL_INTERFACE, Number)]
        }
        Field::OutputInterface | Field::OutputInterfaceName | Field::OutputInterfaceDescription => {
            &[(ie::EGRESS_INTERFACE, Number), (ie::EGRESS_PHYSICAL_INTERFACE, Number)]
        }
        Field::InputVrf => &[(ie::INGRESS_VRF_ID, Number)],
        Field::OutputVrf => &[(ie::EGRESS_VRF_ID, Number)],
        Field::Application => &[
            (ie::APPLICATION_NAME, Operation::Written),
            (ie::APPLICATION_ID, Operation::Application),
        ],
        Field::Vlan => &[(ie::VLAN_ID, Number), (ie::DOT1Q_VLAN_ID, Number)],
        Field::FlowDirection => &[(ie::FLOW_DIRECTION, Operation::Direction)],
        _ => &[],
    }
}

/// Where the network of an end comes from, as such, or else as its address and the length: for IPv4
/// and IPv6.
fn network_sources(field: &Field) -> Option<[([Element; 3], Operation, Operation); 2]> {
    let of = |v4, v6| Some([(v4, Ipv4, Ipv4Network), (v6, Ipv6, Ipv6Network)]);
    match field {
        Field::SourceNetwork => of(
            [ie::SOURCE_IPV4_PREFIX, ie::SOURCE_IPV4_ADDRESS, ie::SOURCE_IPV4_PREFIX_LENGTH],
            [ie::SOURCE_IPV6_PREFIX, ie::SOURCE_IPV6_ADDRESS, ie::SOURCE_IPV6_PREFIX_LENGTH],
        ),
        Field::DestinationNetwork => of(
            [
                ie::DESTINATION_IPV4_PREFIX,
                ie::DESTINATION_IPV4_ADDRESS,
                ie::DESTINATION_IPV4_PREFIX_LENGTH,
            ],
            [
                ie::DESTINATION_IPV6_PREFIX,
                ie::DESTINATION_IPV6_ADDRESS,
                ie::DESTINATION_IPV6_PREFIX_LENGTH,
            ],
        ),
        _ => None,
    }
}

/// The field that has the same at the other end.
fn opposite(field: &Field) -> &Field {
    match field {
        Field::SourceAs => &Field::DestinationAs,
        Field::DestinationAs => &Field::SourceAs,
        Field::SourcePeerAs => &Field::DestinationPeerAs,
        Field::DestinationPeerAs => &Field::SourcePeerAs,
        Field::SourceAddress => &Field::DestinationAddress,
        Field::DestinationAddress => &Field::SourceAddress,
        Field::SourceNetwork => &Field::DestinationNetwork,
        Field::DestinationNetwork => &Field::SourceNetwork,
        Field::SourceMask => &Field::DestinationMask,
        Field::DestinationMask => &Field::SourceMask,
        Field::SourcePort => &Field::DestinationPort,
        Field::DestinationPort => &Field::SourcePort,
        Field::InputInterface => &Field::OutputInterface,
        Field::OutputInterface => &Field::InputInterface,
        Field::InputVrf => &Field::OutputVrf,
        Field::OutputVrf => &Field::InputVrf,
        Field::InputInterfaceName => &Field::OutputInterfaceName,
        Field::OutputInterfaceName => &Field::InputInterfaceName,
        Field::InputInterfaceDescription => &Field::OutputInterfaceDescription,
        Field::OutputInterfaceDescription => &Field::InputInterfaceDescription,
        field => field,
    }
}

/// The fields of a template that records have, with their places.
struct Fields {
    all: Vec<(Element, Place)>,
    /// Whether they name the original exporters of flows.
    name_exporters: bool,
}

impl Fields {
    fn of(template: &Template) -> Self {
        let fields = template.fields.iter().zip(Layout::places(template));
        let there = fields.filter(|(field, _)| field.length > 0);
        let all = there.map(|(field, place)| (field.element, place)).collect();
        Fields { all, name_exporters: false }
    }

    fn place(&self, element: Element) -> Option<Place> {
        self.all.iter().find(|(each, _)| *each == element).map(|(_, place)| *place)
    }

    /// Of several equal elements, the last one is of the innermost header.
    fn innermost(&self, element: Element) -> Option<Place> {
        self.all.iter().rfind(|(each, _)| *each == element).map(|(_, place)| *place)
    }

    fn first(&self, elements: impl IntoIterator<Item = Element>) -> Option<Place> {
        elements
            .into_iter()
            .find_map(|element| self.place(element).filter(|place| is_number(*place)))
    }

    /// Where a way's counter is, of bytes or packets: the first place that is not zero.
    fn counters(&self, of: usize, way: Way) -> Vec<Place> {
        let place = |element: &Element| match way {
            Way::Reverse => self.first([Element::reverse(element.number)]),
            Way::Forward | Way::Response => self.first([*element]),
        };
        if way == Way::Response {
            let responder = [ie::RESPONDER_OCTETS, ie::RESPONDER_PACKETS][of];
            return self.first([responder]).into_iter().collect();
        }
        let deltas: Vec<_> = DELTAS[of].iter().filter_map(place).collect();
        if deltas.is_empty() {
            OTHERS[of].iter().find_map(place).into_iter().collect()
        } else {
            deltas
        }
    }

    /// The steps for all fields of a plan.
    fn steps(&self, plan: &Plan, way: Way) -> Steps {
        let mut steps = Vec::new();
        for (slot, field) in plan.fields() {
            let counters = match field {
                Field::Bytes => self.counters(OF_BYTES, way),
                Field::Packets => self.counters(OF_PACKETS, way),
                _ => Vec::new(),
            };
            steps.extend(counters.iter().enumerate().map(|(place, counter)| Step {
                is_fallback: place > 0,
                ..Step::new(slot, field, Number, *counter)
            }));
            if let Field::Named(name) = field
                && let Some((place, ty)) = self.named(name, way)
            {
                let step = Step::new(slot, field, Operation::Written, place);
                steps.push(Step { written: ty, ..step });
            }
            let field = if way == Way::Forward { field } else { opposite(field) };
            for (element, operation) in sources(field) {
                let place = match field {
                    Field::SourceAddress
                    | Field::DestinationAddress
                    | Field::SourcePort
                    | Field::DestinationPort
                    | Field::Protocol => self.innermost(*element),
                    // Flags and classes that were seen on the way back have elements of their own.
                    Field::TcpFlags | Field::TrafficClass if way == Way::Reverse => {
                        self.place(Element::reverse(element.number))
                    }
                    Field::TcpFlags | Field::Flows if way != Way::Forward => None,
                    _ => self.place(*element),
                };
                let Some(place) = place.filter(|place| operation.takes(place.length)) else {
                    continue;
                };
                let is_fallback = steps.last().is_some_and(|step: &Step| step.slot == slot);
                steps.push(Step { is_fallback, ..Step::new(slot, field, *operation, place) });
            }
            steps.extend(self.original(slot, field));
            for (elements, address, length) in network_sources(field).into_iter().flatten() {
                self.network(slot, field, elements, (address, length), &mut steps);
            }
        }
        let (rare, common): (Vec<_>, Vec<_>) = steps.into_iter().partition(Step::is_rare);
        Steps { common: common.into(), rare: rare.into() }
    }

    /// Where the element is that a name stands for, and what its values are. In the other direction,
    /// what belongs to an end is that of the other one, and what was measured has elements of its own.
    fn named(&self, name: &str, way: Way) -> Option<(Place, Type)> {
        let (element, ty) = registry::element(name)?;
        let reverse = (way == Way::Reverse && element.enterprise == 0)
            .then(|| self.place(Element::reverse(element.number)));
        let other = match way {
            Way::Forward => None,
            Way::Reverse | Way::Response => registry::opposite(element),
        };
        let place = reverse.flatten().or_else(|| self.place(other.unwrap_or(element)))?;
        Some((place, ty))
    }

    /// The steps for the original exporter of a flow, in the place of the sender. Of addresses of both
    /// versions, that of IPv4 counts, which is the last.
    fn original(&self, slot: Slot, field: &Field) -> impl Iterator<Item = Step> {
        let operation = match field {
            _ if !self.name_exporters => None,
            Field::OriginalExporter => Some(Operation::OriginalExporter),
            Field::OriginalHostname => Some(Operation::OriginalHostname),
            _ => None,
        };
        let places = [(ie::EXPORTER_IPV6_ADDRESS, Ipv6), (ie::EXPORTER_IPV4_ADDRESS, Ipv4)];
        let places =
            places.map(|(element, of)| self.place(element).filter(|place| of.takes(place.length)));
        operation.into_iter().flat_map(move |operation| {
            places.into_iter().flatten().map(move |place| Step::new(slot, field, operation, place))
        })
    }

    /// Adds the steps for the network of an end.
    fn network(
        &self,
        slot: Slot,
        field: &Field,
        [prefix, address, length]: [Element; 3],
        (read, cut): (Operation, Operation),
        steps: &mut Vec<Step>,
    ) {
        let is_fallback = steps.last().is_some_and(|step| step.slot == slot);
        let mut add = |operation: Operation, place: Option<Place>, is_fallback| {
            let place = place.filter(|place| operation.takes(place.length));
            steps.extend(
                place.map(|place| Step { is_fallback, ..Step::new(slot, field, operation, place) }),
            );
            place.is_some()
        };
        if !add(read, self.place(prefix), is_fallback)
            && let Some(length) = self.place(length).filter(|place| cut.takes(place.length))
            && add(read, self.innermost(address), is_fallback)
        {
            add(cut, Some(length), false);
        }
    }
}

impl Operation {
    /// Whether it can be done with a field of this length.
    fn takes(self, length: u16) -> bool {
        match self {
            Ipv4 => length == 4,
            Ipv6 => length == 16,
            Operation::Written
            | Operation::Application
            | Operation::OriginalExporter
            | Operation::OriginalHostname => true,
            // A number of any length may have one of its own.
            _ => length == VARIABLE || length <= 8,
        }
    }
}

fn is_number(place: Place) -> bool {
    Number.takes(place.length)
}

impl Program {
    pub(super) fn new(template: &Template, plan: &Plan, names_exporters: bool) -> Self {
        let fields = Fields { name_exporters: names_exporters, ..Fields::of(template) };
        let sampler = |kind, element| fields.first([element]).map(|place| (kind, place));
        Program {
            forward: fields.steps(plan, Way::Forward),
            reverse: Reverse::new(&fields, plan),
            event: event(&fields),
            frame: Frame::new(|element| fields.place(element))
                .filter(|_| fields.counters(OF_BYTES, Way::Forward).is_empty()),
            rate: fields.first([ie::SAMPLING_INTERVAL, ie::SAMPLER_RANDOM_INTERVAL]),
            sampler: sampler(SamplerKind::Selector, ie::SELECTOR_ID)
                .or_else(|| sampler(SamplerKind::Sampler, ie::SAMPLER_ID)),
            duration: Duration::new(|element| fields.place(element)),
        }
    }
}

/// Whether this is a template of a firewall that reports what a flow had since the last report.
pub(super) fn reports_updates(template: &Template) -> bool {
    let fields = Fields::of(template);
    event(&fields).is_some() && fields.first([ie::INITIATOR_OCTETS, ie::RESPONDER_OCTETS]).is_some()
}

/// Where a firewall's event is. Others have events as well, but not the extended ones beside it.
fn event(fields: &Fields) -> Option<Place> {
    fields.first([ie::ASA_EVENT]).or_else(|| {
        fields
            .first([ie::FIREWALL_EVENT])
            .filter(|_| fields.place(ie::ASA_EXTENDED_EVENT).is_some())
    })
}

impl Reverse {
    fn new(fields: &Fields, plan: &Plan) -> Option<Self> {
        let response = fields.first([ie::RESPONDER_OCTETS]);
        if let Some((request, response)) = fields.first([ie::INITIATOR_OCTETS]).zip(response) {
            let counters = [
                (Field::Bytes, Some(request)),
                (Field::Packets, fields.first([ie::INITIATOR_PACKETS])),
            ];
            let steps = counters.into_iter().filter_map(|(field, place)| {
                let slot = plan.slot(&field)?;
                Some(match place {
                    Some(place) => Step::new(slot, &field, Number, place),
                    None => Step::new(slot, &field, Operation::Nothing, request),
                })
            });
            return Some(Reverse {
                bytes: response,
                steps: fields.steps(plan, Way::Response),
                initiator: Some((request, steps.collect())),
            });
        }
        let bytes = *fields.counters(OF_BYTES, Way::Reverse).first()?;
        Some(Reverse { bytes, steps: fields.steps(plan, Way::Reverse), initiator: None })
    }
}

impl Step {
    fn new(slot: Slot, field: &Field, operation: Operation, place: Place) -> Self {
        let max = match field.value_type() {
            FieldType::Number { max } => max,
            // The number of what has a name.
            FieldType::Text => u64::MAX,
            _ => u8::MAX.into(),
        };
        Step { place, slot, operation, is_fallback: false, max, written: Type::Text }
    }

    #[inline]
    fn run(&self, record: &impl Places, rows: &mut Rows) {
        let bytes = record.bytes(self.place);
        let number = |number: u64| {
            if number <= self.max {
                Value::Number(number)
            } else {
                Value::Malformed(Malformed::NumberOutOfRange)
            }
        };
        let value = match self.operation {
            Number => number_of(bytes).map_or(Value::Absent, number),
            Operation::TcpFlags => {
                number_of(bytes).map_or(Value::Absent, |flags| number(flags & 0xff))
            }
            Dscp => number_of(bytes).map_or(Value::Absent, |dscp| number(dscp << 2)),
            Operation::Direction => match number_of(bytes) {
                Some(way) if way == u64::from(INGRESS) || way == u64::from(EGRESS) => number(way),
                _ => Value::Absent,
            },
            Ipv4 => match bytes.first_chunk::<4>() {
                Some(octets) => Value::Address(Ipv4Addr::from(*octets).into()),
                None => Value::Absent,
            },
            Ipv6 => match bytes.first_chunk::<16>() {
                Some(octets) => Value::Address(Ipv6Addr::from(*octets).into()),
                None => Value::Absent,
            },
            Ipv4Network | Ipv6Network => return self.cut(bytes, rows),
            Operation::Nothing
            | Operation::Application
            | Operation::Written
            | Operation::OriginalExporter
            | Operation::OriginalHostname => Value::Absent,
        };
        if !self.is_fallback || rows.is_empty(self.slot) {
            rows.set(self.slot, value);
        }
    }

    /// Whether it is one of the operations of [`Step::run_rare`].
    fn is_rare(&self) -> bool {
        matches!(
            self.operation,
            Operation::Application
                | Operation::Written
                | Operation::OriginalExporter
                | Operation::OriginalHostname
        )
    }

    fn run_rare(&self, record: &impl Places, rows: &mut Rows) {
        let bytes = record.bytes(self.place);
        if self.is_fallback && !rows.is_empty(self.slot) {
            return;
        }
        match self.operation {
            Operation::Application => {
                rows.set(self.slot, application_of(bytes).map_or(Value::Absent, Value::Number));
            }
            Operation::OriginalExporter | Operation::OriginalHostname => {
                let Some(exporter) = exporter_of(bytes) else { return };
                if self.operation == Operation::OriginalExporter {
                    rows.address(Some(self.slot), exporter);
                } else {
                    rows.hostname(self.slot, exporter);
                }
            }
            _ => {
                let has_own_length = self.place.length == VARIABLE;
                rows.text(Some(self.slot), |text| self.written.write(bytes, has_own_length, text));
            }
        }
    }

    /// Makes a network of the address in the slot.
    fn cut(&self, bytes: &[u8], rows: &mut Rows) {
        let Value::Address(address) = rows.value(self.slot) else { return };
        let length = number_of(bytes).and_then(|length| u8::try_from(length).ok());
        if let Some(length) = length
            && address.is_ipv4() == (self.operation == Ipv4Network)
            && let Ok(network) = IpNet::new(address, length)
        {
            rows.set(self.slot, Value::Address(network.network()));
        }
    }
}

impl Steps {
    /// Does all steps.
    #[inline]
    pub(super) fn run(&self, record: &impl Places, rows: &mut Rows) {
        run(&self.common, record, rows);
        if !self.rare.is_empty() {
            self.run_rare(record, rows);
        }
    }

    #[inline(never)]
    fn run_rare(&self, record: &impl Places, rows: &mut Rows) {
        for step in &self.rare {
            step.run_rare(record, rows);
        }
    }
}

/// Does common steps.
#[inline]
pub(super) fn run(steps: &[Step], record: &impl Places, rows: &mut Rows) {
    for step in steps {
        step.run(record, rows);
    }
}
