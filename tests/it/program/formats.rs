//! A topic whose messages are in several formats.

use std::{process::Command, time::Duration};

use testkit::{
    cluster::{TOPIC, cluster, producer},
    exporter::{Exporter, count, program},
    produce::ASN,
    servers::unused_address,
};

use crate::formats::protobuf::Message;

const LIMIT: Duration = Duration::from_secs(60);

/// A message of goflow2 for a flow to our AS.
fn goflow2(bytes: u64, rate: u64) -> Message {
    Message::default()
        .number(1, 4)
        .number(3, rate)
        .bytes(6, &[198, 51, 100, 77])
        .number(9, bytes)
        .bytes(11, &[192, 0, 2, 1])
        .number(14, 15169)
        .number(15, ASN.into())
}

#[test]
fn messages_of_all_formats_on_one_topic_are_counted_and_check_says_which_there_are() {
    let cluster = cluster(1);
    let mut producer = producer(&cluster);
    producer.send(0, &format!(r#"{{"label": "r", "as_src": 1, "as_dst": {ASN}, "bytes": 1}}"#));
    producer.send(0, &goflow2(10, 2).delimited());
    producer.send(0, &goflow2(100, 2).0);
    producer.send(
        0,
        &format!(
            r#"{{"type":"SFLOW_5","bytes":1000,"sampling_rate":3,"src_as":7,"dst_as":{ASN},"proto":"UDP"}}"#
        ),
    );
    producer.send(0, b"\x1f\x8b\x08\0\0\0");
    producer.flush();
    let exporter = Exporter::start(&count(&cluster.bootstrap_servers(), TOPIC));
    exporter.wait_for_sum("flow_receive_bytes_total", 1 + 20 + 200 + 3000, LIMIT);
    exporter.wait_for_sum("flow_exporter_decode_errors_total", 1, LIMIT);
    exporter.wait_for_log("a record can't be decoded", LIMIT);
    assert!(exporter.log().contains(r#"begins with \"1f8b08000000\""#), "{}", exporter.log());
    let output = Command::new(program())
        .args(["check", &format!("--brokers={}", cluster.bootstrap_servers())])
        .args([format!("--topic={TOPIC}"), format!("--asn={ASN}"), "--state-dir=none".to_owned()])
        .arg(format!("--addr={}:9590", unused_address()))
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let formats = "messages by format: pmacct's JSON (1), goflow2's protobuf (2), JSON of the format \
                   goflow2-json (1)\n";
    assert!(said.contains(formats), "{said}");
}
