//! Maps of formats that programs write, ready for use.

use crate::schema::Field;

use super::field_map::{FieldMap, Pairs, Place, Rates};

/// A map as it is written here.
struct Ready {
    name: &'static str,
    records: &'static [&'static str],
    pairs: Option<(&'static [&'static str], &'static [&'static str])>,
    fields: &'static [(Field, &'static [&'static str])],
    reverse: &'static [(Field, &'static [&'static str])],
    rates: Rates,
    folds_keys: bool,
    marks: &'static [&'static str],
}

/// The name of the map of goflow2's JSON.
pub(super) const GOFLOW2: &str = "goflow2-json";

/// goflow2's JSON. Versions 2 and 3 have the names of `pb/flow.proto`; version 1 has Go's names by
/// default, which differ in case and underscores.
const GOFLOW2_JSON: Ready = Ready {
    name: GOFLOW2,
    fields: &[
        (Field::SourceAs, &["src_as"]),
        (Field::DestinationAs, &["dst_as"]),
        (Field::Bytes, &["bytes"]),
        (Field::Packets, &["packets"]),
        (Field::Hostname, &["sampler_address"]),
        (Field::DestinationPeerAs, &["next_hop_as"]),
        (Field::SourceAddress, &["src_addr"]),
        (Field::DestinationAddress, &["dst_addr"]),
        (Field::SourceMask, &["src_net"]),
        (Field::DestinationMask, &["dst_net"]),
        (Field::SourcePort, &["src_port"]),
        (Field::DestinationPort, &["dst_port"]),
        (Field::Protocol, &["proto"]),
        (Field::TcpFlags, &["tcp_flags"]),
        (Field::TrafficClass, &["ip_tos"]),
        (Field::InputInterface, &["in_if"]),
        (Field::OutputInterface, &["out_if"]),
        (Field::Vlan, &["src_vlan", "vlan_id"]),
        (Field::FlowDirection, &["flow_direction"]),
        (Field::Exporter, &["sampler_address"]),
        (Field::Communities, &["bgp_communities"]),
        (Field::AsPath, &["as_path"]),
        (Field::SamplingRate, &["sampling_rate"]),
    ],
    rates: Rates::Multiply,
    folds_keys: true,
    marks: &[
        "sampler_address",
        "SamplerAddress",
        "time_received_ns",
        "TimeReceived",
        "TimeReceivedNs",
        "time_received",
        "sequence_num",
        "SequenceNum",
        "src_addr",
        "src_as",
        "in_if",
    ],
    ..EMPTY
};

/// nProbe's JSON, with names of fields (`--json-labels`) or their numbers.
const NPROBE: Ready = Ready {
    name: "nprobe",
    fields: &[
        (Field::SourceAs, &["SRC_AS", "16"]),
        (Field::DestinationAs, &["DST_AS", "17"]),
        (Field::Bytes, &["IN_BYTES", "1"]),
        (Field::Packets, &["IN_PKTS", "2"]),
        (Field::Hostname, &["EXPORTER_IPV4_ADDRESS", "130", "EXPORTER_IPV6_ADDRESS", "131"]),
        (Field::SourcePeerAs, &["BGP_PREV_ADJACENT_ASN", "129"]),
        (Field::DestinationPeerAs, &["BGP_NEXT_ADJACENT_ASN", "128"]),
        (Field::SourceAddress, &["IPV4_SRC_ADDR", "8", "IPV6_SRC_ADDR", "27"]),
        (Field::DestinationAddress, &["IPV4_DST_ADDR", "12", "IPV6_DST_ADDR", "28"]),
        (Field::SourceMask, &["IPV4_SRC_MASK", "9", "IPV6_SRC_MASK", "29"]),
        (Field::DestinationMask, &["IPV4_DST_MASK", "13", "IPV6_DST_MASK", "30"]),
        (Field::SourcePort, &["L4_SRC_PORT", "7"]),
        (Field::DestinationPort, &["L4_DST_PORT", "11"]),
        (Field::Protocol, &["PROTOCOL", "4"]),
        (Field::TcpFlags, &["TCP_FLAGS", "6"]),
        (Field::TrafficClass, &["SRC_TOS", "5"]),
        (Field::InputInterface, &["INPUT_SNMP", "10"]),
        (Field::OutputInterface, &["OUTPUT_SNMP", "14"]),
        (Field::InputVrf, &["INGRESS_VRFID", "234"]),
        (Field::OutputVrf, &["EGRESS_VRFID", "235"]),
        (Field::Vlan, &["SRC_VLAN", "58"]),
        (Field::FlowDirection, &["DIRECTION", "61"]),
        (Field::Exporter, &["EXPORTER_IPV4_ADDRESS", "130", "EXPORTER_IPV6_ADDRESS", "131"]),
        (
            Field::Application,
            &["L7_PROTO_NAME", "57591", "APPLICATION_NAME", "96", "L7_PROTO", "57590"],
        ),
        (Field::SourceCountry, &["SRC_IP_COUNTRY"]),
        (Field::DestinationCountry, &["DST_IP_COUNTRY"]),
        (Field::SamplingRate, &["SAMPLING_INTERVAL", "34"]),
    ],
    reverse: &[(Field::Bytes, &["OUT_BYTES", "23"]), (Field::Packets, &["OUT_PKTS", "24"])],
    rates: Rates::Already,
    marks: &[
        "IN_BYTES",
        "OUT_BYTES",
        "IPV4_SRC_ADDR",
        "IPV6_SRC_ADDR",
        "L4_SRC_PORT",
        "SRC_AS",
        "8",
        "27",
    ],
    ..EMPTY
};

/// `ElastiFlow`'s JSON with the fields of CODEX.
const ELASTIFLOW: Ready = Ready {
    name: "elastiflow",
    fields: &[
        (Field::SourceAs, &["flow.src.as.asn"]),
        (Field::DestinationAs, &["flow.dst.as.asn"]),
        (Field::Bytes, &["flow.bytes", "flow.in.bytes", "flow.out.bytes"]),
        (Field::Packets, &["flow.packets", "flow.in.packets", "flow.out.packets"]),
        (Field::Hostname, &["flow.export.host.name", "flow.export.ip.addr"]),
        (Field::SourceAddress, &["flow.src.ip.addr"]),
        (Field::DestinationAddress, &["flow.dst.ip.addr"]),
        (Field::SourcePort, &["flow.src.l4.port.id"]),
        (Field::DestinationPort, &["flow.dst.l4.port.id"]),
        (Field::Protocol, &["l4.proto.id", "l4.proto.name"]),
        (Field::InputInterfaceName, &["flow.in.netif.name"]),
        (Field::OutputInterfaceName, &["flow.out.netif.name"]),
        (Field::InputInterfaceDescription, &["flow.in.netif.alias"]),
        (Field::OutputInterfaceDescription, &["flow.out.netif.alias"]),
        (Field::Application, &["app.name"]),
        (Field::Exporter, &["flow.export.ip.addr"]),
    ],
    rates: Rates::Already,
    marks: &[
        "flow.bytes",
        "flow.in.bytes",
        "flow.src.ip.addr",
        "flow.export.ip.addr",
        "l4.proto.name",
    ],
    ..EMPTY
};

/// JSON with the fields of Elastic Common Schema, and those of Filebeat's and Logstash's NetFlow.
const ECS: Ready = Ready {
    name: "ecs",
    fields: &[
        (Field::SourceAs, &["source.as.number", "netflow.bgp_source_as_number", "netflow.src_as"]),
        (
            Field::DestinationAs,
            &["destination.as.number", "netflow.bgp_destination_as_number", "netflow.dst_as"],
        ),
        (Field::Bytes, &["network.bytes", "netflow.octet_delta_count", "netflow.in_bytes"]),
        (Field::Packets, &["network.packets", "netflow.packet_delta_count", "netflow.in_pkts"]),
        (
            Field::Hostname,
            &["observer.hostname", "observer.name", "netflow.exporter.address", "host"],
        ),
        (
            Field::SourceAddress,
            &[
                "source.ip",
                "netflow.source_ipv4_address",
                "netflow.source_ipv6_address",
                "netflow.ipv4_src_addr",
                "netflow.ipv6_src_addr",
            ],
        ),
        (
            Field::DestinationAddress,
            &[
                "destination.ip",
                "netflow.destination_ipv4_address",
                "netflow.destination_ipv6_address",
                "netflow.ipv4_dst_addr",
                "netflow.ipv6_dst_addr",
            ],
        ),
        (
            Field::SourceMask,
            &["netflow.source_ipv4_prefix_length", "netflow.source_ipv6_prefix_length"],
        ),
        (
            Field::DestinationMask,
            &["netflow.destination_ipv4_prefix_length", "netflow.destination_ipv6_prefix_length"],
        ),
        (
            Field::SourcePort,
            &["source.port", "netflow.source_transport_port", "netflow.l4_src_port"],
        ),
        (
            Field::DestinationPort,
            &["destination.port", "netflow.destination_transport_port", "netflow.l4_dst_port"],
        ),
        (
            Field::Protocol,
            &[
                "network.iana_number",
                "netflow.protocol_identifier",
                "netflow.protocol",
                "network.transport",
            ],
        ),
        (Field::TcpFlags, &["netflow.tcp_control_bits", "netflow.tcp_flags"]),
        (Field::TrafficClass, &["netflow.ip_class_of_service", "netflow.src_tos"]),
        (Field::InputInterface, &["netflow.ingress_interface", "netflow.input_snmp"]),
        (Field::OutputInterface, &["netflow.egress_interface", "netflow.output_snmp"]),
        (Field::InputInterfaceName, &["observer.ingress.interface.name"]),
        (Field::OutputInterfaceName, &["observer.egress.interface.name"]),
        (Field::InputInterfaceDescription, &["observer.ingress.interface.alias"]),
        (Field::OutputInterfaceDescription, &["observer.egress.interface.alias"]),
        (Field::InputVrf, &["netflow.ingress_vrfid"]),
        (Field::OutputVrf, &["netflow.egress_vrfid"]),
        (Field::Application, &["network.application", "netflow.application_name"]),
        (Field::Vlan, &["network.vlan.id", "netflow.vlan_id", "netflow.src_vlan"]),
        (Field::Exporter, &["netflow.exporter.address", "host"]),
        (Field::SourceCountry, &["source.geo.country_iso_code"]),
        (Field::DestinationCountry, &["destination.geo.country_iso_code"]),
        (Field::SamplingRate, &["netflow.sampling_interval"]),
    ],
    rates: Rates::Multiply,
    marks: &["netflow", "network.bytes", "netflow.octet_delta_count", "source.ip"],
    ..EMPTY
};

/// `NetObserv`'s JSON, as its pipeline exports it.
const NETOBSERV: Ready = Ready {
    name: "netobserv",
    fields: &[
        (Field::Bytes, &["Bytes"]),
        (Field::Packets, &["Packets"]),
        (Field::Hostname, &["AgentIP"]),
        (Field::SourceAddress, &["SrcAddr"]),
        (Field::DestinationAddress, &["DstAddr"]),
        (Field::SourcePort, &["SrcPort"]),
        (Field::DestinationPort, &["DstPort"]),
        (Field::Protocol, &["Proto"]),
        (Field::TcpFlags, &["Flags"]),
        (Field::FlowDirection, &["FlowDirection"]),
        (Field::Exporter, &["AgentIP"]),
        (Field::SamplingRate, &["Sampling"]),
    ],
    rates: Rates::Multiply,
    marks: &["AgentIP", "TimeFlowStartMs", "IfDirections", "SrcK8S_Name", "_RecordType"],
    ..EMPTY
};

/// vFlow's JSON of IPFIX and `NetFlow` v9, by the numbers of information elements, and of v5.
const VFLOW: Ready = Ready {
    name: "vflow",
    records: &["DataSets", "Flows"],
    pairs: Some((&["I", "ID"], &["V", "Value"])),
    fields: &[
        (Field::SourceAs, &["16", "SrcAsNum"]),
        (Field::DestinationAs, &["17", "DstAsNum"]),
        (Field::Bytes, &["1", "L3Octets"]),
        (Field::Packets, &["2", "PktCount"]),
        (Field::Hostname, &["AgentID"]),
        (Field::SourcePeerAs, &["129"]),
        (Field::DestinationPeerAs, &["128"]),
        (Field::SourceAddress, &["8", "27", "SrcAddr"]),
        (Field::DestinationAddress, &["12", "28", "DstAddr"]),
        (Field::SourceMask, &["9", "29", "SrcMask"]),
        (Field::DestinationMask, &["13", "30", "DstMask"]),
        (Field::SourcePort, &["7", "SrcPort"]),
        (Field::DestinationPort, &["11", "DstPort"]),
        (Field::Protocol, &["4", "ProtType"]),
        (Field::TcpFlags, &["6", "TCPFlags"]),
        (Field::TrafficClass, &["5", "Tos"]),
        (Field::InputInterface, &["10", "Input"]),
        (Field::OutputInterface, &["14", "Output"]),
        (Field::InputVrf, &["234"]),
        (Field::OutputVrf, &["235"]),
        (Field::Application, &["96"]),
        (Field::Vlan, &["58"]),
        (Field::FlowDirection, &["61"]),
        (Field::Exporter, &["AgentID"]),
        (Field::SamplingRate, &["34"]),
    ],
    rates: Rates::Multiply,
    marks: &["AgentID", "DataSets"],
    ..EMPTY
};

const EMPTY: Ready = Ready {
    name: "",
    records: &[],
    pairs: None,
    fields: &[],
    reverse: &[],
    rates: Rates::Multiply,
    folds_keys: false,
    marks: &[],
};

const READY: [Ready; 6] = [GOFLOW2_JSON, NPROBE, ELASTIFLOW, ECS, NETOBSERV, VFLOW];

/// All of them.
pub(super) fn ready() -> impl Iterator<Item = FieldMap> {
    READY.iter().map(|ready| {
        let texts = |texts: &[&str]| texts.iter().map(|&text| text.into()).collect::<Vec<_>>();
        let fields = |fields: &[(Field, &[&str])]| {
            let places = |paths: &[&str]| paths.iter().map(|path| Place::path(path)).collect();
            fields.iter().map(|(field, paths)| (field.clone(), places(paths))).collect()
        };
        FieldMap {
            name: ready.name.into(),
            records: texts(ready.records),
            pairs: ready
                .pairs
                .map(|(keys, values)| Pairs { keys: texts(keys), values: texts(values) }),
            fields: fields(ready.fields),
            reverse: fields(ready.reverse),
            rates: ready.rates,
            folds_keys: ready.folds_keys,
            marks: texts(ready.marks),
        }
    })
}
