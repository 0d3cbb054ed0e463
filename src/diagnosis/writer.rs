//! Who writes the records: advice says what that must do.

use crate::{
    flow::{aggregate_key, json_keys},
    schema::Field,
};

/// Who writes the records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Writer {
    /// pmacct.
    Pmacct,
    /// Another collector.
    Other,
    /// The exporters themselves.
    Exporters,
}

impl Writer {
    /// What is needed so that records have these fields, as a sentence.
    pub(super) fn needs(self, fields: &[Field]) -> String {
        let keys: Vec<_> = fields.iter().filter_map(aggregate_key).collect();
        match self {
            Writer::Pmacct if keys.is_empty() => {
                format!("is there a field {} in the records?", self.names(fields))
            }
            Writer::Pmacct => format!("pmacct's aggregate needs {}", keys.join(", ")),
            Writer::Other => format!("the records need {}", self.names(fields)),
            Writer::Exporters => {
                let lines: Vec<_> = fields.iter().filter_map(cisco).collect();
                let lines = if lines.is_empty() {
                    String::new()
                } else {
                    format!(" (Cisco: {})", lines.join(", "))
                };
                format!("the exporters have to send {}{lines}", self.names(fields))
            }
        }
    }

    /// What the fields are called.
    pub(super) fn names(self, fields: &[Field]) -> String {
        let names: Vec<_> = match self {
            Writer::Pmacct => fields.iter().flat_map(json_keys).collect(),
            Writer::Other => fields.iter().map(Field::name).collect(),
            Writer::Exporters => fields.iter().map(element).collect(),
        };
        names.join(", ")
    }
}

/// The information element of IPFIX that has a field, or of IPv4's and IPv6's the former. v9 has the same
/// numbers.
fn element(field: &Field) -> &str {
    match field {
        Field::SourceAs => "bgpSourceAsNumber",
        Field::DestinationAs => "bgpDestinationAsNumber",
        Field::Bytes => "octetDeltaCount",
        Field::Packets => "packetDeltaCount",
        Field::SourcePeerAs => "bgpPrevAdjacentAsNumber",
        Field::DestinationPeerAs => "bgpNextAdjacentAsNumber",
        Field::SourceAddress => "sourceIPv4Address",
        Field::DestinationAddress => "destinationIPv4Address",
        Field::SourceNetwork | Field::SourceMask => "sourceIPv4PrefixLength",
        Field::DestinationNetwork | Field::DestinationMask => "destinationIPv4PrefixLength",
        Field::SourcePort => "sourceTransportPort",
        Field::DestinationPort => "destinationTransportPort",
        Field::Protocol => "protocolIdentifier",
        Field::TcpFlags => "tcpControlBits",
        Field::TrafficClass => "ipClassOfService",
        Field::InputInterface => "ingressInterface",
        Field::OutputInterface => "egressInterface",
        Field::Vlan => "vlanId",
        Field::FlowDirection => "flowDirection",
        Field::InputVrf => "ingressVRFID",
        Field::OutputVrf => "egressVRFID",
        Field::Application => "applicationId",
        other => other.name(),
    }
}

/// The line for it in a flow record of Cisco's, as in docs/routers.md.
fn cisco(field: &Field) -> Option<&'static str> {
    Some(match field {
        Field::SourceAs => "collect routing source as 4-octet",
        Field::DestinationAs => "collect routing destination as 4-octet",
        Field::Bytes => "collect counter bytes long",
        Field::Packets => "collect counter packets long",
        Field::SourcePeerAs => "collect routing source as peer 4-octet",
        Field::DestinationPeerAs => "collect routing destination as peer 4-octet",
        Field::SourceAddress => "match ipv4 source address",
        Field::DestinationAddress => "match ipv4 destination address",
        Field::SourcePort => "match transport source-port",
        Field::DestinationPort => "match transport destination-port",
        Field::Protocol => "match ipv4 protocol",
        Field::TcpFlags => "collect transport tcp flags",
        Field::TrafficClass => "match ipv4 tos",
        Field::InputInterface => "match interface input",
        Field::OutputInterface => "collect interface output",
        Field::FlowDirection => "match flow direction",
        _ => return None,
    })
}
