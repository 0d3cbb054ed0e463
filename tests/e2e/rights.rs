//! Rights that Kafka's authorizer refuses: the missing one is named and awaited, and nothing is
//! lost.

use std::{process::Command, time::Duration};

use testkit::{
    exporter::{Exporter, count, program},
    produce::{ASN, Flows, Producer, unnamed},
    servers::{Kafka, Security, unused_address},
};

const TOPIC: &str = "pmacct.acct";
/// librdkafka retries after 5 s, and sooner at its group's coordinator.
const LIMIT: Duration = Duration::from_secs(60);
const READ_TOPIC: &str = "--operation Read --topic pmacct.acct";
const READ_GROUP: &str = "--operation Read --group flows";
const ERRORS: &str = "flow_exporter_kafka_errors_total";
const SAMPLED: &str = "flow_exporter_last_tick_timestamp_seconds";

/// Arguments for logging in as the user whose rights change.
fn log_in(kafka: &Kafka) -> Vec<String> {
    let Security { sasl_brokers, user, plain_password, .. } = kafka.security();
    vec![
        format!("--brokers={sasl_brokers}"),
        format!("--topic={TOPIC}"),
        "--kafka-config=security.protocol=sasl_plaintext".to_owned(),
        "--kafka-config=sasl.mechanism=PLAIN".to_owned(),
        format!("--kafka-config=sasl.username={user}"),
        format!("--kafka-config=sasl.password={plain_password}"),
    ]
}

fn arguments(kafka: &Kafka, more: &[&str]) -> Vec<String> {
    let mut arguments = count("", TOPIC);
    arguments.retain(|each| !each.starts_with("--brokers=") && !each.starts_with("--topic="));
    arguments.extend(log_in(kafka));
    arguments.push("--remote-write-interval=1s".to_owned());
    arguments.extend(more.iter().map(|&argument| argument.to_owned()));
    arguments
}

/// The exit code and the output of `check`.
fn check(kafka: &Kafka, more: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(program())
        .arg("check")
        .args(log_in(kafka))
        .args([format!("--asn={ASN}"), format!("--addr={}:9590", unused_address())])
        .arg("--state-dir=none")
        .args(more)
        .output();
    let output = output.expect("flow-exporter runs");
    (output.status.code(), String::from_utf8(output.stdout).expect("text"))
}

fn send(kafka: &Kafka, flows: &mut Flows, records: u64) {
    Producer::new(&kafka.client(), TOPIC).send_flows(flows, records, 2);
}

fn wait_for_a_later_sample(exporter: &Exporter) {
    let before = exporter.page().sum(SAMPLED);
    exporter.wait_for_more(SAMPLED, before, LIMIT);
}

#[test]
fn the_right_to_read_the_topic_can_be_granted_and_revoked_while_running() {
    let kafka = Kafka::start_authorizing();
    kafka.create_topic(TOPIC, 2);
    let mut flows = Flows::new(51, 3, 100);
    let exporter = Exporter::start(&arguments(&kafka, &[]));
    exporter.wait_until_it_says(READ_TOPIC, LIMIT);
    let (code, said) = check(&kafka, &[]);
    assert!(code == Some(1) && said.contains(READ_TOPIC), "{code:?}: {said}");

    // DESCRIBE without READ. There are no messages whose refusal would show it.
    kafka.change_rights(&format!("--add --operation Describe --topic {TOPIC}"));
    exporter.wait_for_sum("flow_exporter_kafka_partitions", 2, LIMIT);
    exporter.wait_until_it_says(READ_TOPIC, LIMIT);
    let (code, said) = check(&kafka, &[]);
    assert!(code == Some(1) && said.contains(READ_TOPIC), "{code:?}: {said}");
    send(&kafka, &mut flows, 1000);
    exporter.wait_until_it_says(READ_TOPIC, LIMIT);
    assert!(exporter.page().sum(ERRORS) > 0);
    assert_eq!(exporter.page().sum(SAMPLED), 0);

    kafka.change_rights(&format!("--add {READ_TOPIC}"));
    exporter.wait_for_totals(&flows.totals(unnamed), LIMIT);
    exporter.wait_until_ready(LIMIT);
    wait_for_a_later_sample(&exporter);
    let (code, said) = check(&kafka, &[]);
    assert!(code == Some(0), "{code:?}: {said}");

    // READ is revoked first, then DESCRIBE.
    for gone in [READ_TOPIC, "--operation Describe --topic pmacct.acct"] {
        kafka.change_rights(&format!("--remove --force {gone}"));
        exporter.wait_until_it_says(READ_TOPIC, LIMIT);
        let before = exporter.page().sum(SAMPLED);
        send(&kafka, &mut flows, 1000);
        exporter.wait_until_it_says(READ_TOPIC, LIMIT);
        assert_eq!(exporter.page().sum(SAMPLED), before);
    }
    let missing = exporter.page().sum("flow_exporter_messages_total");
    assert_eq!(missing, flows.records() - 2000);
    kafka.change_rights(&format!("--add {READ_TOPIC}"));
    exporter.wait_for_totals(&flows.totals(unnamed), LIMIT);
    exporter.wait_until_ready(LIMIT);
    wait_for_a_later_sample(&exporter);
    exporter.wait_for_sum("flow_exporter_messages_total", flows.records(), LIMIT);
    assert!(exporter.stop().success());
}

#[test]
fn the_right_to_the_group_can_be_granted_and_revoked_while_running() {
    let kafka = Kafka::start_authorizing();
    kafka.create_topic(TOPIC, 2);
    kafka.change_rights(&format!("--add {READ_TOPIC}"));
    let mut flows = Flows::new(52, 3, 100);
    send(&kafka, &mut flows, 1000);
    // Without a group, no right on one is needed.
    let (code, said) = check(&kafka, &[]);
    assert!(code == Some(0), "{code:?}: {said}");
    let (code, said) = check(&kafka, &["--group=flows"]);
    assert!(code == Some(1) && said.contains(READ_GROUP), "{code:?}: {said}");

    let group = ["--group=flows", "--kafka-config=session.timeout.ms=6000"];
    let exporter = Exporter::start(&arguments(&kafka, &group));
    exporter.wait_until_it_says(READ_GROUP, LIMIT);
    assert_eq!(exporter.page().sum(SAMPLED), 0);
    kafka.change_rights(&format!("--add {READ_GROUP}"));
    exporter.wait_for_totals(&flows.totals(unnamed), LIMIT);
    exporter.wait_until_ready(LIMIT);
    wait_for_a_later_sample(&exporter);

    kafka.change_rights(&format!("--remove --force {READ_GROUP}"));
    exporter.wait_until_it_says(READ_GROUP, LIMIT);
    send(&kafka, &mut flows, 1000);
    kafka.change_rights(&format!("--add {READ_GROUP}"));
    exporter.wait_for_totals(&flows.totals(unnamed), LIMIT);
    exporter.wait_until_ready(LIMIT);
    wait_for_a_later_sample(&exporter);
    exporter.wait_for_sum("flow_exporter_kafka_uncommitted_messages", 0, LIMIT);
    exporter.wait_for_sum("flow_exporter_messages_total", flows.records(), LIMIT);
    assert!(exporter.stop().success());
}
