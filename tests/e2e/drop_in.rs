//! A drop-in replacement for the original: the same command line gives the same series and page.

use std::{fs, path::Path, process::Command, time::Duration};

use tempfile::TempDir;

use testkit::{
    exporter::{Exporter, count},
    produce::{Flows, Producer, unnamed},
    servers::{Kafka, unused_address},
};

const TOPIC: &str = "pmacct.acct";
const LIMIT: Duration = Duration::from_secs(60);

/// Names in the format of cidr-report, from which the original takes them.
const NAMES: &str = r#"
 64496 EXAMPLE-A - Example Networks, Inc., US
 64497 EXAMPLE-B - "Quoted" \ GmbH, DE
 65551 EXAMPLE-C, FR
"#;

/// Records of AS 64496 in the forms that pmacct's versions write.
const RECORDS: [&str; 12] = [
    // Sent, twice, with all fields of a default aggregate.
    r#"{"event_type": "purge", "label": "edge1.example.net", "as_src": 64496, "as_dst": 64497, "peer_ip_src": "", "ip_src": "127.0.0.1", "ip_dst": "127.200.0.1", "port_src": 53554, "port_dst": 5353, "tcp_flags": "0", "ip_proto": "udp", "stamp_inserted": "2026-11-22 15:50:00", "stamp_updated": "2026-11-22 15:51:22", "packets": 50, "bytes": 26400}"#,
    r#"{"event_type": "purge", "label": "edge1.example.net", "as_src": 64496, "as_dst": 64497, "packets": 1, "bytes": 600}"#,
    // Received, with only the fields that matter, in another order.
    r#"{"bytes": 1500, "as_dst": 64496, "as_src": 64497, "label": "edge1.example.net"}"#,
    // The same, from another device.
    r#"{"label":"edge2.example.net","as_src":64497,"as_dst":64496,"bytes":40}"#,
    // From the AS to itself: sent.
    r#"{"label": "edge1.example.net", "as_src": 64496, "as_dst": 64496, "bytes": 7}"#,
    // No label, an AS number of 32 bits without a name, and more bytes than 32 bits hold.
    r#"{"label": "", "as_src": 4200000000, "as_dst": 64496, "bytes": 5000000000}"#,
    r#"{"as_src": 4200000000, "as_dst": 64496, "bytes": 1}"#,
    // No remote AS number.
    r#"{"label": "edge1.example.net", "as_src": 0, "as_dst": 64496, "bytes": 80}"#,
    // A label that must be escaped.
    r#"{"label": "edge \"3\" \\ Z\u00fcrich", "as_src": 64496, "as_dst": 65551, "bytes": 123456789}"#,
    // Not of this AS: not counted.
    r#"{"label": "edge1.example.net", "as_src": 64497, "as_dst": 65551, "bytes": 999}"#,
    // Markers: not counted.
    r#"{"event_type": "purge_init", "writer_id": "k/1204"}"#,
    r#"{"event_type": "purge_close", "writer_id": "k/1204", "purged_entries": 2, "total_entries": 2, "duration": 0}"#,
];

/// The page for these records.
const PAGE: &str = r#"# HELP flow_receive_bytes_total Bytes received.
# TYPE flow_receive_bytes_total counter
flow_receive_bytes_total{destination_as="64496",destination_as_name="EXAMPLE-A - Example Networks, Inc.",hostname="",source_as="4200000000",source_as_name=""} 5000000001
flow_receive_bytes_total{destination_as="64496",destination_as_name="EXAMPLE-A - Example Networks, Inc.",hostname="edge1.example.net",source_as="0",source_as_name=""} 80
flow_receive_bytes_total{destination_as="64496",destination_as_name="EXAMPLE-A - Example Networks, Inc.",hostname="edge1.example.net",source_as="64497",source_as_name="EXAMPLE-B - \"Quoted\" \\ GmbH"} 1500
flow_receive_bytes_total{destination_as="64496",destination_as_name="EXAMPLE-A - Example Networks, Inc.",hostname="edge2.example.net",source_as="64497",source_as_name="EXAMPLE-B - \"Quoted\" \\ GmbH"} 40
# HELP flow_transmit_bytes_total Bytes transferred.
# TYPE flow_transmit_bytes_total counter
flow_transmit_bytes_total{destination_as="64496",destination_as_name="EXAMPLE-A - Example Networks, Inc.",hostname="edge1.example.net",source_as="64496",source_as_name="EXAMPLE-A - Example Networks, Inc."} 7
flow_transmit_bytes_total{destination_as="64497",destination_as_name="EXAMPLE-B - \"Quoted\" \\ GmbH",hostname="edge1.example.net",source_as="64496",source_as_name="EXAMPLE-A - Example Networks, Inc."} 27000
flow_transmit_bytes_total{destination_as="65551",destination_as_name="EXAMPLE-C",hostname="edge \"3\" \\ Zürich",source_as="64496",source_as_name="EXAMPLE-A - Example Networks, Inc."} 123456789
"#;

#[test]
fn the_original_command_line_gives_the_original_series() {
    let kafka = Kafka::start();
    kafka.create_topic(TOPIC, 1);
    let mut producer = Producer::new(&kafka.client(), TOPIC);
    // By default, counting starts at the end: this is not counted.
    producer.send(0, RECORDS[0]);
    producer.flush();

    let directory = TempDir::new().expect("a temporary directory");
    let names = directory.path().join("asn.txt");
    fs::write(&names, NAMES).expect("the names are written");
    let address = unused_address();
    // Names come from a file instead of the network; the rest is the original's command line.
    let exporter = Exporter::start_as_is(
        address,
        &[
            format!("-brokers={}", kafka.brokers()),
            format!("-topic={TOPIC}"),
            "-asn=64496".to_owned(),
            format!("-addr={address}:9590"),
            format!("-as-names={}", names.display()),
        ],
    );
    exporter.wait_for_sum("flow_exporter_kafka_next_offset", 1, LIMIT);
    for record in RECORDS {
        producer.send(0, record);
    }
    producer.flush();
    exporter.wait_for_sum("flow_exporter_messages_total", RECORDS.len() as u64, LIMIT);

    let flow_lines = |page: &str| {
        let of_flows = |line: &&str| {
            let line = line.trim_start_matches("# HELP ").trim_start_matches("# TYPE ");
            line.starts_with("flow_receive_") || line.starts_with("flow_transmit_")
        };
        let mut lines: Vec<_> = page.lines().filter(of_flows).map(str::to_owned).collect();
        lines.sort_unstable();
        lines
    };
    assert_eq!(flow_lines(&exporter.page().0), flow_lines(PAGE));
    checks_find_nothing(&exporter);
    assert!(exporter.stop().success());
}

#[test]
fn the_checks_find_nothing_on_a_page_with_many_series() {
    let kafka = Kafka::start();
    kafka.create_topic(TOPIC, 2);
    let mut flows = Flows::new(8, 4, 500);
    Producer::new(&kafka.client(), TOPIC).send_flows(&mut flows, 20_000, 2);
    let exporter = Exporter::start(&count(&kafka.brokers(), TOPIC));
    exporter.wait_for_totals(&flows.totals(unnamed), LIMIT);
    checks_find_nothing(&exporter);
    assert!(exporter.stop().success());
}

/// Has promtool and a strict OpenMetrics parser read the page.
fn checks_find_nothing(exporter: &Exporter) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/check-metrics");
    let output = Command::new(script).arg(exporter.page_url()).output();
    let output = output.expect("scripts/check-metrics can be run");
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(output.status.success() && said.is_empty(), "{}: {said}", output.status);
}
