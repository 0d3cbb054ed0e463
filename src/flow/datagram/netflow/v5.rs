//! The form of v5's records, as a template.

use super::{
    element as ie,
    template::{Field, Template},
};

/// The only template of v5.
pub(super) fn template() -> Template {
    let fields = [
        (ie::SOURCE_IPV4_ADDRESS, 4),
        (ie::DESTINATION_IPV4_ADDRESS, 4),
        (ie::IP_NEXT_HOP_IPV4_ADDRESS, 4),
        (ie::INGRESS_INTERFACE, 2),
        (ie::EGRESS_INTERFACE, 2),
        (ie::PACKET_DELTA_COUNT, 4),
        (ie::OCTET_DELTA_COUNT, 4),
        (ie::FLOW_START_SYS_UP_TIME, 4),
        (ie::FLOW_END_SYS_UP_TIME, 4),
        (ie::SOURCE_TRANSPORT_PORT, 2),
        (ie::DESTINATION_TRANSPORT_PORT, 2),
        (ie::PADDING_OCTETS, 1),
        (ie::TCP_CONTROL_BITS, 1),
        (ie::PROTOCOL_IDENTIFIER, 1),
        (ie::IP_CLASS_OF_SERVICE, 1),
        (ie::BGP_SOURCE_AS_NUMBER, 2),
        (ie::BGP_DESTINATION_AS_NUMBER, 2),
        (ie::SOURCE_IPV4_PREFIX_LENGTH, 1),
        (ie::DESTINATION_IPV4_PREFIX_LENGTH, 1),
        (ie::PADDING_OCTETS, 2),
    ];
    let fields = fields.map(|(element, length)| Field { element, length });
    Template { is_options: false, fields: fields.into() }
}
