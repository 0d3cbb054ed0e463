//! The elements of which templates consist: the fields of NetFlow v9 and the information elements
//! of IPFIX, which have the same numbers.

/// What a field of a template is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(in crate::flow::datagram) struct Element {
    /// Who has defined it: 0 is IANA, anything else a private enterprise number.
    pub(in crate::flow::datagram) enterprise: u32,
    /// Its number there.
    pub(in crate::flow::datagram) number: u16,
}

/// The enterprise of the elements of RFC 5103: IANA's, in the other direction of the flow.
const REVERSE: u32 = 29305;

/// Stands for the enterprise of v9's scopes, which have numbers of their own. (Numbers of
/// enterprises are below 2^32 - 1.)
const SCOPE: u32 = u32::MAX;

impl Element {
    /// An element of IANA's registry.
    pub(in crate::flow::datagram) const fn iana(number: u16) -> Self {
        Element { enterprise: 0, number }
    }

    /// The same in the other direction of the flow.
    pub(super) const fn reverse(number: u16) -> Self {
        Element { enterprise: REVERSE, number }
    }

    /// A scope of NetFlow v9.
    pub(super) const fn scope(number: u16) -> Self {
        Element { enterprise: SCOPE, number }
    }
}

/// IANA's numbers, by their names at <https://www.iana.org/assignments/ipfix>. Comments have those
/// that v9 or Cisco use instead.
macro_rules! elements {
    ($($name:ident = $number:literal;)*) => {
        $(pub(super) const $name: Element = Element::iana($number);)*
    };
}

elements! {
    OCTET_DELTA_COUNT = 1;
    PACKET_DELTA_COUNT = 2;
    DELTA_FLOW_COUNT = 3;
    PROTOCOL_IDENTIFIER = 4;
    IP_CLASS_OF_SERVICE = 5;
    TCP_CONTROL_BITS = 6;
    SOURCE_TRANSPORT_PORT = 7;
    SOURCE_IPV4_ADDRESS = 8;
    SOURCE_IPV4_PREFIX_LENGTH = 9;
    INGRESS_INTERFACE = 10;
    DESTINATION_TRANSPORT_PORT = 11;
    DESTINATION_IPV4_ADDRESS = 12;
    DESTINATION_IPV4_PREFIX_LENGTH = 13;
    EGRESS_INTERFACE = 14;
    IP_NEXT_HOP_IPV4_ADDRESS = 15;
    BGP_SOURCE_AS_NUMBER = 16;
    BGP_DESTINATION_AS_NUMBER = 17;
    FLOW_END_SYS_UP_TIME = 21;
    FLOW_START_SYS_UP_TIME = 22;
    POST_OCTET_DELTA_COUNT = 23;
    POST_PACKET_DELTA_COUNT = 24;
    SOURCE_IPV6_ADDRESS = 27;
    DESTINATION_IPV6_ADDRESS = 28;
    SOURCE_IPV6_PREFIX_LENGTH = 29;
    DESTINATION_IPV6_PREFIX_LENGTH = 30;
    SAMPLING_INTERVAL = 34;
    SAMPLER_ID = 48;
    SAMPLER_RANDOM_INTERVAL = 50;
    VLAN_ID = 58;
    FLOW_DIRECTION = 61;
    INTERFACE_NAME = 82;
    INTERFACE_DESCRIPTION = 83;
    OCTET_TOTAL_COUNT = 85;
    PACKET_TOTAL_COUNT = 86;
    // Length and content of a sampled frame: Cisco's numbers in v9.
    LAYER2_PACKET_SECTION_SIZE = 103;
    LAYER2_PACKET_SECTION_DATA = 104;
    APPLICATION_ID = 95;
    APPLICATION_NAME = 96;
    BGP_NEXT_ADJACENT_AS_NUMBER = 128;
    BGP_PREV_ADJACENT_AS_NUMBER = 129;
    EXPORTER_IPV4_ADDRESS = 130;
    EXPORTER_IPV6_ADDRESS = 131;
    EXPORTING_PROCESS_ID = 144;
    TEMPLATE_ID = 145;
    OBSERVATION_DOMAIN_ID = 149;
    FLOW_START_SECONDS = 150;
    FLOW_END_SECONDS = 151;
    FLOW_START_MILLISECONDS = 152;
    FLOW_END_MILLISECONDS = 153;
    FLOW_START_MICROSECONDS = 154;
    FLOW_END_MICROSECONDS = 155;
    FLOW_START_NANOSECONDS = 156;
    FLOW_END_NANOSECONDS = 157;
    FLOW_DURATION_MILLISECONDS = 161;
    FLOW_DURATION_MICROSECONDS = 162;
    SOURCE_IPV4_PREFIX = 44;
    DESTINATION_IPV4_PREFIX = 45;
    DESTINATION_IPV6_PREFIX = 169;
    SOURCE_IPV6_PREFIX = 170;
    UDP_SOURCE_PORT = 180;
    UDP_DESTINATION_PORT = 181;
    TCP_SOURCE_PORT = 182;
    TCP_DESTINATION_PORT = 183;
    IP_DIFF_SERV_CODE_POINT = 195;
    PADDING_OCTETS = 210;
    IP_TOTAL_LENGTH = 224;
    INITIATOR_OCTETS = 231;
    RESPONDER_OCTETS = 232;
    FIREWALL_EVENT = 233;
    INGRESS_VRF_ID = 234;
    EGRESS_VRF_ID = 235;
    VRF_NAME = 236;
    DOT1Q_VLAN_ID = 243;
    INGRESS_PHYSICAL_INTERFACE = 252;
    EGRESS_PHYSICAL_INTERFACE = 253;
    INITIATOR_PACKETS = 298;
    RESPONDER_PACKETS = 299;
    SELECTOR_ID = 302;
    SELECTOR_ALGORITHM = 304;
    SAMPLING_PACKET_INTERVAL = 305;
    SAMPLING_PACKET_SPACE = 306;
    SAMPLING_SIZE = 309;
    SAMPLING_POPULATION = 310;
    SAMPLING_PROBABILITY = 311;
    DATA_LINK_FRAME_SIZE = 312;
    IP_HEADER_PACKET_SECTION = 313;
    DATA_LINK_FRAME_SECTION = 315;
    LAYER2_OCTET_DELTA_COUNT = 352;
    // Numbers that Cisco's ASA uses in v9.
    ASA_EXTENDED_EVENT = 33002;
    ASA_EVENT = 40005;
}

/// The scopes of v9's options.
pub(super) const SCOPE_SYSTEM: Element = Element::scope(1);
pub(super) const SCOPE_INTERFACE: Element = Element::scope(2);
pub(super) const SCOPE_LINE_CARD: Element = Element::scope(3);
pub(super) const SCOPE_CACHE: Element = Element::scope(4);
pub(super) const SCOPE_TEMPLATE: Element = Element::scope(5);
