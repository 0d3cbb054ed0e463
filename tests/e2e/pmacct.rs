//! Flows that pmacctd observes on the loopback interface.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, UdpSocket},
    time::Duration,
};

use rdkafka::{
    Message, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
};
use serde::Deserialize;

use testkit::{
    exporter::{Exporter, count},
    produce::ASN,
    series::Series,
    servers::{Kafka, Pmacctd, unused_address, wait_for},
};

const TOPIC: &str = "pmacct.acct";
const LABEL: &str = "edge1.example.net";
const LIMIT: Duration = Duration::from_secs(60);

/// An AS that the embedded table names.
const GOOGLE: u32 = 15169;

/// Size of IPv4 and UDP headers.
const HEADERS: u64 = 20 + 8;

/// Bytes that pmacct wrote, by source and destination AS.
type Written = BTreeMap<(u32, u32), u64>;

#[derive(Deserialize)]
struct Record {
    #[serde(default)]
    label: String,
    #[serde(default)]
    as_src: u32,
    #[serde(default)]
    as_dst: u32,
    bytes: Option<u64>,
}

/// Adds up all records of the topic that have bytes, and counts the others, which are markers.
fn written(kafka: &Kafka) -> (Written, u64) {
    let consumer: BaseConsumer =
        kafka.client().set("group.id", "unused").create().expect("a Kafka client");
    let mut assignment = TopicPartitionList::new();
    assignment.add_partition_offset(TOPIC, 0, Offset::Beginning).expect("an offset");
    consumer.assign(&assignment).expect("the partition is assigned");
    let (mut written, mut markers) = (Written::new(), 0);
    for _ in 0..kafka.end_offset(TOPIC, 0) {
        let message = consumer.poll(LIMIT).expect("a message").expect("no error");
        let payload = message.payload().expect("a payload");
        let record: Record = sonic_rs::from_slice(payload).expect("pmacct writes records");
        if let Some(bytes) = record.bytes {
            assert_eq!(record.label, LABEL);
            *written.entry((record.as_src, record.as_dst)).or_default() += bytes;
        } else {
            markers += 1;
        }
    }
    (written, markers)
}

#[test]
fn flows_of_a_real_pmacctd_are_counted_as_it_wrote_them() {
    let kafka = Kafka::start();
    kafka.create_topic(TOPIC, 1);
    let (own, google, private) = (unused_address(), unused_address(), unused_address());
    let networks = [(own, ASN), (google, GOOGLE), (private, 64_999)];
    let pmacctd = Pmacctd::start(&kafka, TOPIC, LABEL, &networks, "src_as, dst_as, proto");
    let mut arguments = count(&kafka.brokers(), TOPIC);
    arguments.retain(|argument| !argument.starts_with("--as-names="));
    arguments.push("--as-names=embedded".to_owned());
    let exporter = Exporter::start(&arguments);

    let socket = |address: Ipv4Addr| UdpSocket::bind((address, 5353)).expect("an address");
    let (own, google, private) = (socket(own), socket(google), socket(private));
    let mut sent = Written::new();
    let traffic = |sent: &mut Written| {
        for (source, destination, asns, packets, size) in [
            (&own, &google, (ASN, GOOGLE), 100, 500),
            (&google, &own, (GOOGLE, ASN), 300, 1400),
            (&own, &private, (ASN, 64_999), 50, 64),
            (&private, &google, (64_999, GOOGLE), 20, 200),
        ] {
            let to = destination.local_addr().expect("an address");
            for _ in 0..packets {
                source.send_to(&vec![0; size], to).expect("a packet is sent");
            }
            *sent.entry(asns).or_default() += packets * (size as u64 + HEADERS);
        }
    };
    // In two batches, so that series get several records.
    traffic(&mut sent);
    exporter.wait_for_more("flow_exporter_flows_total", 2, LIMIT);
    let first = sent.clone();
    traffic(&mut sent);
    wait_for("records of the second batch", LIMIT, || {
        let (written, _) = written(&kafka);
        let more = first.iter().all(|(asns, bytes)| written.get(asns).unwrap_or(&0) > bytes);
        if more { Ok(()) } else { Err(format!("{written:?} of {sent:?}")) }
    });
    pmacctd.stop();

    // A busy machine may lose packets before pmacctd sees them, so what pmacctd wrote counts.
    let (mut written, markers) = written(&kafka);
    assert!(written.keys().eq(sent.keys()), "{written:?} of {sent:?}");
    assert!(written.iter().all(|(asns, bytes)| *bytes <= sent[asns]), "{written:?} of {sent:?}");
    let records = kafka.end_offset(TOPIC, 0).unsigned_abs();
    exporter.wait_for_sum("flow_exporter_messages_total", records, LIMIT);
    let page = exporter.page();
    let skipped = page.sum_with("flow_exporter_records_skipped_total", "reason", "marker");
    assert_eq!(skipped, markers);
    assert!(markers > 0);

    let mut seen = Written::new();
    for (series, bytes) in page.totals() {
        let number = |text: &str| text.parse::<u32>().expect("an AS number");
        let asns = (number(&series.source_as), number(&series.destination_as));
        seen.insert(asns, bytes);
        let Series { metric, source_as_name, destination_as_name, hostname, .. } = series;
        assert_eq!(hostname, LABEL);
        let direction = if asns.0 == ASN { "transmit" } else { "receive" };
        assert_eq!(metric, format!("flow_{direction}_bytes_total"));
        for (asn, name) in [(asns.0, source_as_name), (asns.1, destination_as_name)] {
            // AS numbers for private use have no name.
            assert_eq!(name.to_lowercase().contains("google"), asn == GOOGLE, "{asn} is {name}");
            assert_eq!(name.is_empty(), asn != GOOGLE, "{asn} is {name}");
        }
    }
    let foreign = written.remove(&(64_999, GOOGLE)).expect("traffic that is not ours");
    assert_eq!(seen, written);
    assert_eq!(page.sum("flow_exporter_flow_bytes_ignored_total"), foreign);
    assert!(exporter.stop().success());
}
