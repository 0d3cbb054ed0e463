//! Datagrams of real exporters, and what they contain according to their list. They are others'
//! work, and no part of the repository: `.ci/run` runs this where they are.

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    path::Path,
};

use flow_exporter::{flow::datagram::packet, schema::Field};

use super::Decoding;

/// A set of files of the list.
#[derive(Default)]
struct Set {
    files: Vec<String>,
    /// What is in them, by name.
    content: BTreeMap<String, u64>,
}

fn sets(folder: &Path) -> BTreeMap<String, Set> {
    let list = fs::read_to_string(folder.join("MANIFEST.tsv")).unwrap();
    let mut lines = list.lines().map(|line| line.split('\t').collect::<Vec<_>>());
    let head = lines.next().unwrap();
    let column = |name| head.iter().position(|each| *each == name).unwrap();
    let [set, file] = ["set", "file"].map(column);
    let content = column("computed_by_our_reference_decoder_for_the_set");
    let mut sets = BTreeMap::<_, Set>::new();
    for line in lines {
        let set = sets.entry(line[set].to_owned()).or_default();
        set.files.push(line[file].to_owned());
        set.content.extend(line[content].split("; ").filter_map(|said| {
            let (name, number) = said.split_once('=')?;
            Some((name.to_owned(), number.parse().ok()?))
        }));
    }
    sets
}

impl Set {
    fn number(&self, name: &str) -> u64 {
        self.content.get(name).copied().unwrap_or_default()
    }

    /// The flows of records of data: of how many records, with how many bytes and packets.
    fn flows(&self, name: &str) -> [u64; 3] {
        let [records, bytes, packets] =
            ["data_records", "ie1_octets", "ie2_packets"].map(|name| self.number(name));
        match name {
            // Of the events of a firewall, the updates count: seven, in both directions.
            "nf9-asa-nsel" => [records, 525 + 64_234, packets],
            // Each record has one of the two, and the other one is zero.
            "nf9-zero-length" => [records, bytes + self.number("ie23_octets"), 5],
            // The list has its template alone.
            "nf9-h3c-varlen" => [1, 702, 9],
            _ if name.starts_with("sflow") => {
                let samples = self.number("flow_samples");
                [samples, self.number("ip_bytes"), samples]
            }
            _ => [records, bytes, packets],
        }
    }
}

/// The sampling rates of the flows of a set; of all others, it is unknown.
const RATES: [(&str, &str); 7] = [
    ("nf5-juniper-mx80", "1000"),
    ("nf9-asa-nsel", "1"),
    ("nf9-fortigate-52", "1"),
    ("ipfix-short-message", "1"),
    ("ipfix-iosxr-sampler", "256"),
    ("sflow-small", "2048"),
    ("sflow-gateway", "1024"),
];

/// The datagrams of a file, with their senders.
fn datagrams(file: &Path) -> Vec<(String, Vec<u8>)> {
    let bytes = fs::read(file).unwrap();
    if file.extension().is_none_or(|extension| extension != "pcap") {
        return vec![("203.0.113.1:2055".to_owned(), bytes)];
    }
    let number = |at: usize| {
        let number = <[u8; 4]>::try_from(&bytes[at..at + 4]).unwrap();
        let is_little_endian = bytes[0] == 0xd4;
        if is_little_endian { u32::from_le_bytes(number) } else { u32::from_be_bytes(number) }
    };
    assert_eq!(number(20), 1, "frames of Ethernet");
    let (mut datagrams, mut at) = (Vec::new(), 24);
    while at < bytes.len() {
        let end = at + 16 + number(at + 8) as usize;
        let frame = &bytes[at + 16..end];
        let packet = packet::ethernet(frame, frame.len() as u32).unwrap();
        let (port, _) = packet.ports.unwrap();
        let udp_header = 8;
        let sender = std::net::SocketAddr::new(packet.source, port).to_string();
        datagrams.push((sender, frame[packet.payload + udp_header..].to_vec()));
        at = end;
    }
    datagrams
}

#[test]
#[ignore = "needs the captures, in the folder FLOW_CAPTURES"]
fn totals_of_captures_are_those_of_their_list() {
    let folder = env::var_os("FLOW_CAPTURES").expect("FLOW_CAPTURES is the folder of captures");
    let folder = Path::new(&folder);
    let sets = sets(folder);
    assert!(sets.len() >= 30, "{} sets", sets.len());
    for (name, set) in &sets {
        let mut decoding = Decoding::new();
        for file in &set.files {
            for (sender, payload) in datagrams(&folder.join(file)) {
                decoding.from(&sender, &payload);
            }
        }
        let flows = decoding.take();
        let sum = |field: &Field| -> u64 {
            flows.iter().filter_map(|flow| flow.get(field).parse::<u64>().ok()).sum()
        };
        let (bytes, packets) = (sum(&Field::Bytes), sum(&Field::Packets));
        let both_directions = if name == "nf9-asa-nsel" { 7 } else { 0 };
        let records = (flows.len() + decoding.skipped.len() - both_directions) as u64;
        assert_eq!([records, bytes, packets], set.flows(name), "{name}: records, bytes, packets");
        assert_eq!(decoding.malformed, 0, "{name}");

        let rates: BTreeSet<_> = flows.iter().map(|flow| flow.get(&Field::SamplingRate)).collect();
        let rate = RATES.iter().find(|(each, _)| each == name).map_or("", |(_, rate)| rate);
        assert!(rates.is_empty() || rates == BTreeSet::from([rate]), "{name}: {rates:?}");

        let [mut options, mut without_template, mut unused, mut counters, mut discarded] = [0; 5];
        decoding.datagrams.take_activity(|_, activity| {
            options += activity.options_records;
            without_template += activity.sets_without_template;
            unused += activity.mismatches + activity.refused.iter().sum::<u64>();
            counters += activity.sflow.counter_samples;
            discarded += activity.sflow.discarded_packets;
        });
        let found = [options, without_template, counters, discarded, unused];
        let expected =
            ["option_records", "sets_without_template", "counter_samples", "sample_format_5", "-"];
        assert_eq!(found, expected.map(|name| set.number(name)), "{name}: {expected:?}");
    }
}
