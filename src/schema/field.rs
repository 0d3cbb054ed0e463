//! The fields of a flow record.

use std::sync::Arc;

/// A field of a flow record, whatever formats call it. Only decoders know their names for it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Field {
    /// AS number of the source; 0 if unknown.
    SourceAs,
    /// AS number of the destination; 0 if unknown.
    DestinationAs,
    /// Bytes since the previous record of the flow.
    Bytes,
    /// Packets since the previous record of the flow.
    Packets,
    /// Host name of the device that exported the flow; empty if unknown.
    Hostname,
    /// Flows that the record stands for; 1 where it doesn't say.
    Flows,
    /// AS number of the neighbour from which the flow came.
    SourcePeerAs,
    /// AS number of the neighbour to which the flow went.
    DestinationPeerAs,
    /// IP address of the source.
    SourceAddress,
    /// IP address of the destination.
    DestinationAddress,
    /// First address of the network that the source is in.
    SourceNetwork,
    /// First address of the network that the destination is in.
    DestinationNetwork,
    /// Length of the source's prefix, in bits.
    SourceMask,
    /// Length of the destination's prefix, in bits.
    DestinationMask,
    /// Port of the source, of protocols that have ports.
    SourcePort,
    /// Port of the destination, of protocols that have ports.
    DestinationPort,
    /// IP protocol, by its number at IANA.
    Protocol,
    /// TCP flags of all packets together, as in the TCP header's last byte of flags.
    TcpFlags,
    /// The IP header's byte of DSCP and ECN (IPv4: type of service, IPv6: traffic class).
    TrafficClass,
    /// SNMP index of the interface on which the flow came in.
    InputInterface,
    /// SNMP index of the interface on which the flow went out.
    OutputInterface,
    /// Name of the interface on which the flow came in (`ifName`).
    InputInterfaceName,
    /// Name of the interface on which the flow went out.
    OutputInterfaceName,
    /// What the operator of the device wrote about the interface on which the flow came in.
    InputInterfaceDescription,
    /// The same of the interface on which it went out.
    OutputInterfaceDescription,
    /// Routing table (VRF) of the interface on which the flow came in: its name, or else its number.
    InputVrf,
    /// The same of the interface on which it went out.
    OutputVrf,
    /// VLAN ID.
    Vlan,
    /// Whether the device saw the flow come in or go out: [`INGRESS`] or [`EGRESS`] (IPFIX:
    /// flowDirection).
    FlowDirection,
    /// IP address of the device that exported the flow.
    Exporter,
    /// IP address of the device that observed the flow and exported it first, where datagrams come through
    /// a proxy or mediator: what they name, or else the device that sent them.
    OriginalExporter,
    /// Host name of the same device.
    OriginalHostname,
    /// Application, as the exporter or the collector classifies the flow: its name, or else its number.
    Application,
    /// A number or text that the collector attached to the flow.
    Tag,
    /// BGP communities.
    Communities,
    /// AS path.
    AsPath,
    /// Country of the source.
    SourceCountry,
    /// Country of the destination.
    DestinationCountry,
    /// How many packets one sampled packet stands for; 0 if unknown.
    SamplingRate,
    /// What the format calls by this name, as text.
    Named(Arc<str>),
}

/// The value of [`Field::FlowDirection`] of flows that were seen as they came in.
pub const INGRESS: u32 = 0;
/// The value of [`Field::FlowDirection`] of flows that were seen as they went out.
pub const EGRESS: u32 = 1;

/// What the values of a field are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldType {
    /// Integers from 0 up to a largest one.
    Number {
        /// The largest valid value.
        max: u64,
    },
    /// Numbers of IP protocols, which formats may name.
    Protocol,
    /// A set of TCP flags as a number, which formats may list by name.
    TcpFlags,
    /// [`INGRESS`] or [`EGRESS`], which formats may spell out.
    FlowDirection,
    /// IP addresses.
    Address,
    /// Texts.
    Text,
}

impl Field {
    /// All fields that have a meaning of their own, whatever the format. (Original exporters are those
    /// of datagrams alone.)
    pub const TYPED: [Field; 37] = [
        Field::SourceAs,
        Field::DestinationAs,
        Field::Bytes,
        Field::Packets,
        Field::Hostname,
        Field::Flows,
        Field::SourcePeerAs,
        Field::DestinationPeerAs,
        Field::SourceAddress,
        Field::DestinationAddress,
        Field::SourceNetwork,
        Field::DestinationNetwork,
        Field::SourceMask,
        Field::DestinationMask,
        Field::SourcePort,
        Field::DestinationPort,
        Field::Protocol,
        Field::TcpFlags,
        Field::TrafficClass,
        Field::InputInterface,
        Field::OutputInterface,
        Field::InputInterfaceName,
        Field::OutputInterfaceName,
        Field::InputInterfaceDescription,
        Field::OutputInterfaceDescription,
        Field::InputVrf,
        Field::OutputVrf,
        Field::Vlan,
        Field::FlowDirection,
        Field::Exporter,
        Field::Application,
        Field::Tag,
        Field::Communities,
        Field::AsPath,
        Field::SourceCountry,
        Field::DestinationCountry,
        Field::SamplingRate,
    ];

    /// Its name in the configuration; of a named field, what the format calls it.
    pub fn name(&self) -> &str {
        match self {
            Field::SourceAs => "source_as",
            Field::DestinationAs => "destination_as",
            Field::Bytes => "bytes",
            Field::Packets => "packets",
            Field::Hostname => "hostname",
            Field::Flows => "flows",
            Field::SourcePeerAs => "source_peer_as",
            Field::DestinationPeerAs => "destination_peer_as",
            Field::SourceAddress => "source_address",
            Field::DestinationAddress => "destination_address",
            Field::SourceNetwork => "source_network",
            Field::DestinationNetwork => "destination_network",
            Field::SourceMask => "source_mask",
            Field::DestinationMask => "destination_mask",
            Field::SourcePort => "source_port",
            Field::DestinationPort => "destination_port",
            Field::Protocol => "protocol",
            Field::TcpFlags => "tcp_flags",
            Field::TrafficClass => "traffic_class",
            Field::InputInterface => "input_interface",
            Field::OutputInterface => "output_interface",
            Field::InputInterfaceName => "input_interface_name",
            Field::OutputInterfaceName => "output_interface_name",
            Field::InputInterfaceDescription => "input_interface_description",
            Field::OutputInterfaceDescription => "output_interface_description",
            Field::InputVrf => "input_vrf",
            Field::OutputVrf => "output_vrf",
            Field::Vlan => "vlan",
            Field::FlowDirection => "flow_direction",
            Field::Exporter => "exporter",
            Field::OriginalExporter => "original_exporter",
            Field::OriginalHostname => "original_hostname",
            Field::Application => "application",
            Field::Tag => "tag",
            Field::Communities => "communities",
            Field::AsPath => "as_path",
            Field::SourceCountry => "source_country",
            Field::DestinationCountry => "destination_country",
            Field::SamplingRate => "sampling_rate",
            Field::Named(name) => name,
        }
    }

    /// What its values are.
    pub const fn value_type(&self) -> FieldType {
        const fn up_to(max: u32) -> FieldType {
            FieldType::Number { max: max as u64 }
        }
        match self {
            Field::SourceAs
            | Field::DestinationAs
            | Field::SourcePeerAs
            | Field::DestinationPeerAs
            | Field::InputInterface
            | Field::OutputInterface
            | Field::SamplingRate => up_to(u32::MAX),
            // The original can't count more than this either.
            Field::Bytes | Field::Packets | Field::Flows => {
                FieldType::Number { max: i64::MAX as u64 }
            }
            Field::SourcePort | Field::DestinationPort | Field::Vlan => up_to(u16::MAX as u32),
            Field::SourceMask | Field::DestinationMask => up_to(128),
            Field::TrafficClass => up_to(u8::MAX as u32),
            Field::Protocol => FieldType::Protocol,
            Field::TcpFlags => FieldType::TcpFlags,
            Field::FlowDirection => FieldType::FlowDirection,
            Field::SourceAddress
            | Field::DestinationAddress
            | Field::SourceNetwork
            | Field::DestinationNetwork
            | Field::Exporter
            | Field::OriginalExporter => FieldType::Address,
            Field::Hostname
            | Field::OriginalHostname
            | Field::InputInterfaceName
            | Field::OutputInterfaceName
            | Field::InputInterfaceDescription
            | Field::OutputInterfaceDescription
            | Field::InputVrf
            | Field::OutputVrf
            | Field::Application
            | Field::Tag
            | Field::Communities
            | Field::AsPath
            | Field::SourceCountry
            | Field::DestinationCountry
            | Field::Named(_) => FieldType::Text,
        }
    }

    /// The largest valid number of those that are numbers, whatever formats call them.
    pub const fn largest(&self) -> Option<u64> {
        match self.value_type() {
            FieldType::Number { max } => Some(max),
            FieldType::Protocol | FieldType::TcpFlags => Some(u8::MAX as u64),
            FieldType::FlowDirection => Some(EGRESS as u64),
            FieldType::Address | FieldType::Text => None,
        }
    }
}
