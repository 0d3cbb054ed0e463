//! A model of one network's traffic, and how pmacct would write it.
//!
//! It is not based on measurements; the shape is the one that operators know from their own graphs. A
//! few networks carry most of the bytes, most flows are small and a few are huge, content comes in
//! and goes out to eyeball networks, and the evening is busier than the night. Addresses are from the
//! ranges for documentation (RFC 5737, RFC 3849). Uses neither Kafka nor the clock.

use std::{
    f64::consts::TAU,
    io::Write as _,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::{Duration, UNIX_EPOCH},
};

use rand::{Rng, SeedableRng, rngs::SmallRng};

use crate::flow::{Decoded, Flow, Skipped};

/// What kind of network it is, which decides the direction of most of its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Sends much, and receives requests and acknowledgements.
    Content,
    /// Receives much.
    Eyeball,
    /// Both alike.
    Transit,
}

use Kind::{Content, Eyeball, Transit};

/// Real networks, the busiest first: the n-th has 1/n of the flows of the first (Zipf).
const NETWORKS: [(u32, Kind); 40] = [
    (15169, Content),
    (2906, Content),
    (32934, Content),
    (16509, Content),
    (20940, Content),
    (3320, Eyeball),
    (7922, Eyeball),
    (13335, Content),
    (8075, Content),
    (3356, Transit),
    (714, Content),
    (12322, Eyeball),
    (3215, Eyeball),
    (1299, Transit),
    (54113, Content),
    (5089, Eyeball),
    (46489, Content),
    (2856, Eyeball),
    (16276, Content),
    (6939, Transit),
    (24940, Content),
    (7018, Eyeball),
    (701, Eyeball),
    (174, Transit),
    (32590, Content),
    (6830, Eyeball),
    (14061, Content),
    (3209, Eyeball),
    (2914, Transit),
    (13414, Content),
    (36459, Content),
    (20115, Eyeball),
    (3257, Transit),
    (3269, Eyeball),
    (3352, Eyeball),
    (6453, Transit),
    (1136, Eyeball),
    (4766, Eyeball),
    (6762, Transit),
    (4713, Eyeball),
];

/// Edge routers.
pub const ROUTERS: [&str; 6] = [
    "edge1.fra.example.net",
    "edge2.fra.example.net",
    "edge1.ams.example.net",
    "edge1.lon.example.net",
    "edge1.par.example.net",
    "edge1.nyc.example.net",
];

/// IP protocol numbers.
const TCP: u8 = 6;
const UDP: u8 = 17;

/// A flow of the model.
#[derive(Debug, Clone, Copy)]
pub struct Generated {
    /// Which of [`ROUTERS`] reports it.
    pub router: usize,
    /// Where it comes from.
    pub source: End,
    /// Where it goes.
    pub destination: End,
    /// The IP protocol number.
    pub protocol: u8,
    /// TCP flags, all packets' together.
    pub tcp_flags: u8,
    /// Packets since the last report.
    pub packets: u64,
    /// Bytes of these packets.
    pub bytes: u64,
}

/// An end of a flow. Both have the same version of IP.
#[derive(Debug, Clone, Copy)]
pub struct End {
    /// The number of its AS.
    pub asn: u32,
    /// Its address, from a range for documentation.
    pub address: IpAddr,
    /// Its TCP or UDP port.
    pub port: u16,
}

/// Records of a purge, between the two markers.
const PURGE_RECORDS: u32 = 500;

/// One in this many flows is between two other networks, so that it is not counted.
const FOREIGN_ONE_IN: u32 = 40;

/// The shape of the Pareto distribution of packets per flow: a tenth of the flows has most of the
/// bytes.
const TAIL: f64 = 1.15;

/// Packets in the largest flow of a purge: 10 Gbit/s for a minute.
const MOST_PACKETS: f64 = 5e7;

/// The hour (UTC) of the busiest time of the day.
const BUSY_HOUR: f64 = 20.0;

/// Makes records: the same ones for the same arguments.
#[derive(Debug)]
pub struct Model {
    asn: u32,
    random: SmallRng,
    /// The networks beside the monitored one, each with the weight of all up to it.
    networks: Vec<(u32, Kind, f64)>,
    /// Records since the beginning of the purge, its first marker included.
    purged: u32,
    /// The second that `inserted` and `updated` are for.
    second: Option<u64>,
    /// Its minute, as pmacct writes it.
    inserted: String,
    /// It itself.
    updated: String,
}

impl Model {
    /// The traffic of the AS `asn`, generated from `seed`.
    pub fn new(asn: u32, seed: u64) -> Self {
        let mut sum = 0.0;
        let networks = NETWORKS
            .iter()
            .filter(|(network, _)| *network != asn)
            .enumerate()
            .map(|(rank, &(network, kind))| {
                sum += 1.0 / (rank + 1) as f64;
                (network, kind, sum)
            })
            .collect();
        Model {
            asn,
            random: SmallRng::seed_from_u64(seed),
            networks,
            purged: 0,
            second: None,
            inserted: String::new(),
            updated: String::new(),
        }
    }

    /// Appends one record with the time `unix_seconds` to `out`, without a newline, and returns what a
    /// decoder should make of it: a flow, or occasionally a marker.
    pub fn write_record(&mut self, unix_seconds: u64, out: &mut Vec<u8>) -> Decoded<'static> {
        let at_marker = self.purged;
        self.purged = (self.purged + 1) % (PURGE_RECORDS + 2);
        if at_marker == 0 {
            return marker("purge_init", out);
        }
        if at_marker == PURGE_RECORDS + 1 {
            return marker("purge_close", out);
        }
        self.set_time(unix_seconds);
        let flow = self.flow(unix_seconds);
        let Generated { router, source, destination, packets, bytes, tcp_flags, .. } = flow;
        let (hostname, number) = (ROUTERS[router], router + 1);
        let protocol = if flow.protocol == UDP { "udp" } else { "tcp" };
        write!(
            out,
            "{{\"event_type\": \"purge\", \"label\": \"{hostname}\", \"as_src\": {}, \
             \"as_dst\": {}, \"peer_ip_src\": \"203.0.113.{number}\", \
             \"ip_src\": \"{}\", \"ip_dst\": \"{}\", \
             \"port_src\": {}, \"port_dst\": {}, \
             \"tcp_flags\": \"{tcp_flags}\", \"ip_proto\": \"{protocol}\", \
             \"stamp_inserted\": \"{}\", \"stamp_updated\": \"{}\", \
             \"packets\": {packets}, \"bytes\": {bytes}}}",
            source.asn,
            destination.asn,
            source.address,
            destination.address,
            source.port,
            destination.port,
            self.inserted,
            self.updated,
        )
        .expect("memory can be written to");
        Decoded::Flow(Flow {
            source_as: source.asn,
            destination_as: destination.asn,
            bytes,
            hostname: hostname.into(),
        })
    }

    /// A flow that is reported at the time `unix_seconds`.
    pub fn flow(&mut self, unix_seconds: u64) -> Generated {
        let (index, network, kind) = self.network();
        let inbound = self.random.random::<bool>();
        let (near, heavy) = if self.random.random_ratio(1, FOREIGN_ONE_IN) {
            (self.network_other_than(index), true)
        } else {
            let heavy = match kind {
                Content => inbound,
                Eyeball => !inbound,
                Transit => true,
            };
            (self.asn, heavy)
        };
        // A network is reached through two routers.
        let router = (index + self.random.random_range(0..2)) % ROUTERS.len();
        let packets = self.packets(unix_seconds);
        let size = if heavy {
            self.random.random_range(1100..=1480)
        } else {
            self.random.random_range(52..=120)
        };

        let (ours, theirs) = (self.random.random::<u8>(), index as u8);
        let [ours, theirs] = if self.random.random_ratio(1, 4) {
            [(1, ours), (2, theirs)].map(|(network, host)| {
                Ipv6Addr::new(0x2001, 0xdb8, network, 0, 0, 0, 0, host.into()).into()
            })
        } else {
            [Ipv4Addr::new(192, 0, 2, ours).into(), Ipv4Addr::new(198, 51, 100, theirs).into()]
        };
        // A server sends the heavy part.
        let client_port = self.random.random_range(32768..=60999_u16);
        let (source_port, destination_port) =
            if heavy { (443, client_port) } else { (client_port, 443) };
        let (protocol, tcp_flags) =
            if self.random.random_ratio(1, 3) { (UDP, 0) } else { (TCP, 24) };
        let (ours, theirs) = ((near, ours), (network, theirs));
        let (source, destination) = if inbound { (theirs, ours) } else { (ours, theirs) };
        let end = |(asn, address), port| End { asn, address, port };
        Generated {
            router,
            source: end(source, source_port),
            destination: end(destination, destination_port),
            protocol,
            tcp_flags,
            packets,
            bytes: packets * size,
        }
    }

    /// A network, by its share of the flows.
    fn network(&mut self) -> (usize, u32, Kind) {
        let sum = self.networks.last().map_or(0.0, |&(.., sum)| sum);
        let place = self.random.random::<f64>() * sum;
        let index = self.networks.partition_point(|&(.., sum)| sum <= place);
        let (network, kind, _) = self.networks[index.min(self.networks.len() - 1)];
        (index, network, kind)
    }

    /// The number of a network that is not the one at `index`.
    fn network_other_than(&mut self, index: usize) -> u32 {
        let step = self.random.random_range(1..self.networks.len());
        self.networks[(index + step) % self.networks.len()].0
    }

    /// Packets of one flow in a purge: a heavy tail, higher at busy times.
    fn packets(&mut self, unix_seconds: u64) -> u64 {
        // In (0, 1], so that the tail is finite.
        let uniform = 1.0 - self.random.random::<f64>();
        let packets = 4.0 * day_curve(unix_seconds) * uniform.powf(-1.0 / TAIL);
        // A cast from a float saturates, and this one is positive.
        #[expect(clippy::cast_sign_loss)]
        let packets = packets.min(MOST_PACKETS).ceil() as u64;
        packets
    }

    fn set_time(&mut self, unix_seconds: u64) {
        if self.second != Some(unix_seconds) {
            self.second = Some(unix_seconds);
            self.inserted = timestamp(unix_seconds - unix_seconds % 60);
            self.updated = timestamp(unix_seconds);
        }
    }
}

fn marker(event: &str, out: &mut Vec<u8>) -> Decoded<'static> {
    write!(out, "{{\"event_type\": \"{event}\", \"writer_id\": \"default_kafka/1\"}}")
        .expect("memory can be written to");
    Decoded::Skipped(Skipped::Marker)
}

/// How busy this time of the day is: from 0.3 in the morning to 1 in the evening.
fn day_curve(unix_seconds: u64) -> f64 {
    let hour = (unix_seconds % 86_400) as f64 / 3600.0;
    0.65 + 0.35 * ((hour - BUSY_HOUR) / 24.0 * TAU).cos()
}

/// `YYYY-MM-DD hh:mm:ss`, UTC. Times after the year 9999 are taken as its end.
fn timestamp(unix_seconds: u64) -> String {
    let time = UNIX_EPOCH + Duration::from_secs(unix_seconds.min(253_402_300_799));
    humantime::format_rfc3339_seconds(time).to_string().replace('T', " ").replace('Z', "")
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use crate::{
        flow::{Decoder, Plan, Record},
        schema::Field,
        traffic::class_of,
    };

    use super::*;

    /// 2026-11-22 20:00:30 UTC, the busiest time of a day.
    const EVENING: u64 = 1_795_377_630;

    fn records(asn: u32, seed: u64, time: u64, count: usize) -> Vec<(Decoded<'static>, Vec<u8>)> {
        let mut model = Model::new(asn, seed);
        (0..count)
            .map(|_| {
                let mut out = Vec::new();
                (model.write_record(time, &mut out), out)
            })
            .collect()
    }

    fn flows<'r>(
        records: &'r [(Decoded<'static>, Vec<u8>)],
    ) -> impl Iterator<Item = &'r Flow<'static>> {
        records.iter().filter_map(|(decoded, _)| match decoded {
            Decoded::Flow(flow) => Some(flow),
            _ => None,
        })
    }

    #[test]
    fn the_decoder_makes_of_it_what_the_model_says() {
        let mut plan = Plan::new([]);
        let [source_as, destination_as, hostname] =
            [Field::SourceAs, Field::DestinationAs, Field::Hostname].map(|field| plan.add(field));
        let mut decoder = Decoder::pmacct(&plan);
        for (generated, text) in records(64512, 1, EVENING, 5000) {
            let mut found = Vec::new();
            decoder.decode(&text, &mut |record| {
                found.push(match record {
                    Record::Flow(row) => Decoded::Flow(Flow {
                        source_as: row.number(source_as).expect("every flow has it") as u32,
                        destination_as: row.number(destination_as).expect("every flow has it")
                            as u32,
                        bytes: row.bytes(),
                        hostname: row.text(hostname).expect("every flow has it").to_owned().into(),
                    }),
                    Record::Skipped(reason) => Decoded::Skipped(reason),
                    Record::Malformed(reason, _) => Decoded::Malformed(reason),
                });
            });
            assert_eq!(found, [generated]);
        }
    }

    #[test]
    fn a_record_looks_like_one_of_pmacct() {
        let records = records(64512, 1, EVENING, 2);
        assert_eq!(
            String::from_utf8_lossy(&records[0].1),
            r#"{"event_type": "purge_init", "writer_id": "default_kafka/1"}"#
        );
        let keys = |record: &str| -> Vec<String> {
            record
                .split(", \"")
                .filter_map(|member| member.split_once("\":"))
                .map(|(key, _)| key.trim_start_matches("{\"").to_owned())
                .collect()
        };
        let recorded = include_str!("../../tests/fixtures/pmacct/purge.json");
        let record = String::from_utf8_lossy(&records[1].1);
        assert_eq!(keys(&record), keys(recorded));
        assert!(record.contains(r#""stamp_inserted": "2026-11-22 20:00:00""#), "{record}");
        assert!(record.contains(r#""stamp_updated": "2026-11-22 20:00:30""#), "{record}");
    }

    #[test]
    fn the_same_seed_gives_the_same_records() {
        assert_eq!(records(64512, 7, EVENING, 100), records(64512, 7, EVENING, 100));
        assert_ne!(records(64512, 7, EVENING, 100), records(64512, 8, EVENING, 100));
    }

    #[test]
    fn traffic_goes_both_ways_and_some_is_foreign() {
        for asn in [64512, 15169, 0] {
            let records = records(asn, 1, EVENING, 20_000);
            let mut ways = BTreeMap::<_, usize>::new();
            for flow in flows(&records) {
                assert_ne!(flow.source_as, flow.destination_as);
                *ways
                    .entry(format!(
                        "{:?}",
                        class_of(flow.source_as == asn, flow.destination_as == asn)
                    ))
                    .or_default() += 1;
            }
            assert_eq!(ways.keys().collect::<Vec<_>>(), ["Receive", "Transit", "Transmit"]);
            assert!(ways["Receive"] > 8000 && ways["Transmit"] > 8000, "{ways:?}");
            assert!((300..=700).contains(&ways["Transit"]), "{ways:?}");
        }
    }

    #[test]
    fn all_networks_and_routers_appear_and_markers_enclose_each_purge() {
        let records = records(64512, 1, EVENING, 20_080);
        let sources: BTreeSet<_> = flows(&records).map(|flow| flow.source_as).collect();
        assert_eq!(sources.len(), NETWORKS.len() + 1);
        let routers: BTreeSet<_> = flows(&records).map(|flow| flow.hostname.clone()).collect();
        assert_eq!(routers.len(), ROUTERS.len());
        let markers = records.len() - flows(&records).count();
        assert_eq!(markers, 2 * 20_080 / (PURGE_RECORDS as usize + 2));
    }

    #[test]
    fn a_tenth_of_the_flows_has_most_of_the_bytes() {
        let records = records(64512, 1, EVENING, 50_000);
        let mut bytes: Vec<_> = flows(&records).map(|flow| flow.bytes).collect();
        bytes.sort_unstable();
        let largest = bytes[bytes.len() * 9 / 10..].iter().sum::<u64>();
        assert!(largest * 2 > bytes.iter().sum::<u64>());
        assert!(bytes[bytes.len() / 2] < 20_000);
    }

    #[test]
    fn the_evening_is_busier_than_the_morning() {
        assert!((day_curve(EVENING) - 1.0).abs() < 1e-3);
        assert!((day_curve(EVENING - 12 * 3600) - 0.3).abs() < 1e-3);
        let bytes = |time| -> u64 {
            let records = records(64512, 1, time, 20_000);
            // Without the tail, which is a matter of luck.
            flows(&records).map(|flow| flow.bytes.min(100_000)).sum()
        };
        assert!(bytes(EVENING) > bytes(EVENING - 12 * 3600) * 3 / 2);
    }
}
