//! Maps of formats that programs write, ready for use.

use crate::schema::Field;

use super::field_map::{FieldMap, Pairs, Place, Rates};

/// A map as it is written here.
struct Ready {
    name: &'static str,
    records: &'static [&'static str],
    pairs: Option<[&'static str; 2]>,
    fields: &'static [(Field, &'static [&'static str])],
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
    records: &[],
    pairs: None,
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
};

const READY: [Ready; 1] = [GOFLOW2_JSON];

/// All of them.
pub(super) fn ready() -> impl Iterator<Item = FieldMap> {
    READY.iter().map(|ready| FieldMap {
        name: ready.name.into(),
        records: ready.records.iter().map(|&path| path.into()).collect(),
        pairs: ready.pairs.map(|[key, value]| Pairs { key: key.into(), value: value.into() }),
        fields: ready
            .fields
            .iter()
            .map(|(field, paths)| {
                (field.clone(), paths.iter().map(|path| Place::path(path)).collect())
            })
            .collect(),
        rates: ready.rates,
        folds_keys: ready.folds_keys,
        marks: ready.marks.iter().map(|&mark| mark.into()).collect(),
    })
}
