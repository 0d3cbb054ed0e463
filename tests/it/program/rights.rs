//! Missing rights, topics and brokers are reported, and awaited. `tests/e2e/rights.rs` tests the
//! same with a real Kafka's authorizer.

use std::{
    io::Read as _,
    net::TcpListener,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

use testkit::{
    cluster::{Cluster, TOPIC, cluster, producer},
    exporter::{Exporter, count, program},
    produce::{ASN, Flows, unnamed},
    servers::{unused_address, wait_for},
};

const LIMIT: Duration = Duration::from_secs(60);
const ERRORS: &str = "flow_exporter_kafka_errors_total";
const SAMPLED: &str = "flow_exporter_last_tick_timestamp_seconds";
const GROUP: &str = "--group=flows";

fn send(cluster: &Cluster, flows: &mut Flows, records: u64, partitions: i32) {
    producer(cluster).send_flows(flows, records, partitions);
}

/// Counts, with a sample each second.
fn arguments(cluster: &Cluster) -> Vec<String> {
    let mut arguments = count(&cluster.bootstrap_servers(), TOPIC);
    arguments.push("--remote-write-interval=1s".to_owned());
    arguments
}

fn deny(cluster: &Cluster, request: RDKafkaApiKey, error: RDKafkaRespErr) {
    cluster.request_errors(request, &[error; 1000]);
}

fn wait_for_a_later_sample(exporter: &Exporter) {
    let before = exporter.page().sum(SAMPLED);
    exporter.wait_for_more(SAMPLED, before, LIMIT);
}

#[test]
fn a_topic_that_may_be_described_but_not_read_makes_samples_wait_and_loses_nothing() {
    let cluster = cluster(2);
    let exporter = Exporter::start(&arguments(&cluster));
    let mut flows = Flows::new(81, 2, 20);
    send(&cluster, &mut flows, 100, 2);
    exporter.wait_for_totals(&flows.totals(unnamed), LIMIT);
    exporter.wait_until_ready(LIMIT);
    wait_for_a_later_sample(&exporter);

    let denied = RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;
    deny(&cluster, RDKafkaApiKey::Fetch, denied);
    send(&cluster, &mut flows, 100, 2);
    exporter.wait_until_it_says("--operation Read --topic pmacct.acct", LIMIT);
    let before = exporter.page().sum(SAMPLED);
    // It tries again, a second at the earliest after the last time.
    let errors = exporter.page().sum(ERRORS);
    exporter.wait_for_more(ERRORS, errors + 6, LIMIT);
    assert_eq!(exporter.page().sum(SAMPLED), before);
    assert!(exporter.ready().is_err());

    cluster.clear_request_errors(RDKafkaApiKey::Fetch);
    exporter.wait_for_totals(&flows.totals(unnamed), LIMIT);
    exporter.wait_until_ready(LIMIT);
    wait_for_a_later_sample(&exporter);
    send(&cluster, &mut flows, 100, 2);
    exporter.wait_for_totals(&flows.totals(unnamed), LIMIT);
    assert_eq!(exporter.page().sum("flow_exporter_messages_total"), flows.records());
}

#[test]
fn a_topic_that_may_not_even_be_described_is_waited_for_and_the_missing_right_is_named() {
    let cluster = cluster(1);
    let denied = RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;
    cluster.topic_error(TOPIC, denied).unwrap();
    let exporter = Exporter::start(&arguments(&cluster));
    exporter.wait_until_it_says("READ is missing", LIMIT);
    exporter.wait_for_more(ERRORS, 0, LIMIT);
    let granted = RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR;
    cluster.topic_error(TOPIC, granted).unwrap();
    let mut flows = Flows::new(82, 2, 20);
    send(&cluster, &mut flows, 100, 1);
    exporter.wait_for_totals(&flows.totals(unnamed), LIMIT);
    exporter.wait_until_ready(LIMIT);
}

#[test]
fn a_group_that_refuses_us_is_named_with_the_right_and_joined_once_it_is_granted() {
    let cluster = cluster(1);
    let denied = RDKafkaRespErr::RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED;
    deny(&cluster, RDKafkaApiKey::JoinGroup, denied);
    let mut arguments = arguments(&cluster);
    arguments.push(GROUP.to_owned());
    arguments.push("--kafka-config=session.timeout.ms=6000".to_owned());
    let exporter = Exporter::start(&arguments);
    exporter.wait_until_it_says("--operation Read --group flows", LIMIT);
    assert_eq!(exporter.page().sum(SAMPLED), 0);
    cluster.clear_request_errors(RDKafkaApiKey::JoinGroup);
    let mut flows = Flows::new(83, 2, 20);
    send(&cluster, &mut flows, 100, 1);
    exporter.wait_for_totals(&flows.totals(unnamed), LIMIT);
    exporter.wait_until_ready(LIMIT);

    // Revoked while it is a member: what it reads is counted, and not committed.
    deny(&cluster, RDKafkaApiKey::OffsetCommit, denied);
    send(&cluster, &mut flows, 100, 1);
    exporter.wait_for_totals(&flows.totals(unnamed), LIMIT);
    exporter.wait_until_it_says("--operation Read --group flows", LIMIT);
    // It counts on, and so samples are taken.
    wait_for_a_later_sample(&exporter);
    wait_for_a_later_sample(&exporter);
    // The first ones too, if their commit was not answered before.
    exporter.wait_for_more("flow_exporter_kafka_uncommitted_messages", 99, LIMIT);
    cluster.clear_request_errors(RDKafkaApiKey::OffsetCommit);
    exporter.wait_until_ready(LIMIT);
    exporter.wait_for_sum("flow_exporter_kafka_uncommitted_messages", 0, LIMIT);
}

#[test]
fn check_needs_no_right_on_a_group_without_one_and_names_it_with_one() {
    let cluster = cluster(2);
    let mut flows = Flows::new(84, 2, 20);
    send(&cluster, &mut flows, 100, 1);
    let denied = RDKafkaRespErr::RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED;
    deny(&cluster, RDKafkaApiKey::FindCoordinator, denied);
    let check = |more: &[&str]| {
        let output = Command::new(program())
            .args(["check", &format!("--brokers={}", cluster.bootstrap_servers())])
            .arg(format!("--topic={TOPIC}"))
            .args([format!("--asn={ASN}"), format!("--addr={}:9590", unused_address())])
            .arg("--state-dir=none")
            .args(more)
            .output()
            .unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let (code, said) = check(&[]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("2 partitions with 100 messages"), "{said}");
    let (code, said) = check(&[GROUP]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("--operation Read --group flows"), "{said}");

    let denied = RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;
    deny(&cluster, RDKafkaApiKey::Fetch, denied);
    let (code, said) = check(&[]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("--operation Read --topic pmacct.acct"), "{said}");
}

#[test]
fn a_topic_that_goes_and_comes_back_is_read_on_and_samples_wait_meanwhile() {
    let cluster = cluster(2);
    let exporter = Exporter::start(&arguments(&cluster));
    let mut flows = Flows::new(85, 2, 20);
    send(&cluster, &mut flows, 100, 2);
    exporter.wait_for_totals(&flows.totals(unnamed), LIMIT);
    let gone = RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART;
    cluster.topic_error(TOPIC, gone).unwrap();
    exporter.wait_until_it_says("no longer exists on", LIMIT);
    exporter.wait_for_sum("flow_exporter_kafka_partitions", 0, LIMIT);
    exporter.wait_for_sum("flow_exporter_kafka_partitions_vanished_total", 2, LIMIT);
    assert_eq!(exporter.page().samples("flow_exporter_kafka_lag_messages").count(), 0);

    let there = RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR;
    cluster.topic_error(TOPIC, there).unwrap();
    send(&cluster, &mut flows, 100, 2);
    exporter.wait_for_totals(&flows.totals(unnamed), LIMIT);
    exporter.wait_until_ready(LIMIT);
    wait_for_a_later_sample(&exporter);
    assert_eq!(exporter.page().sum("flow_exporter_messages_total"), flows.records());
}

#[test]
fn the_reason_why_brokers_can_not_be_reached_is_said_and_stays() {
    let nobody = format!("{}:9092", unused_address());
    for (brokers, reason) in
        [(nobody.as_str(), "Connection refused"), ("nobody.invalid:9092", "Failed to resolve")]
    {
        let exporter = Exporter::start(&count(brokers, TOPIC));
        exporter.wait_until_it_says(reason, LIMIT);
        // Reports that all brokers are down follow it, again and again.
        wait_for("all brokers counted as down", LIMIT, || {
            let page = exporter.page();
            match page.sum_with(ERRORS, "error", "AllBrokersDown") {
                0 => Err("not yet".to_owned()),
                _ => Ok(()),
            }
        });
        let answer = exporter.ready().unwrap_err();
        assert!(answer.contains(reason), "{answer}");
    }
}

#[test]
fn a_good_start_is_never_said_to_fail() {
    let cluster = cluster(1);
    for more in [&[][..], &[GROUP.to_owned()]] {
        let exporter = Exporter::start(&[&arguments(&cluster), more].concat());
        wait_for("ready flow-exporter", LIMIT, || {
            let answer = exporter.ready();
            if let Err(answer) = &answer {
                assert!(!answer.contains("failing"), "{answer}");
            }
            answer
        });
    }
}

#[test]
fn check_ends_though_a_broker_hangs_up_without_end() {
    let broker = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = broker.local_addr().unwrap();
    // Ends with the process of the test.
    thread::spawn(move || broker.incoming().for_each(drop));
    let mut check = Command::new(program())
        .args(["check", &format!("--brokers={address}"), "--topic=flows", "--asn=64500"])
        // It is made again much faster than it is listened to.
        .args([
            "--kafka-config=reconnect.backoff.ms=1",
            "--kafka-config=reconnect.backoff.max.ms=1",
        ])
        .args(["--addr=127.0.0.1:0", "--state-dir=none"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let status =
        wait_for("end of check", LIMIT, || check.try_wait().unwrap().ok_or("it runs".to_owned()));
    let mut said = String::new();
    check.stdout.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains("can't be reached"), "{said}");
}

#[test]
fn a_broker_that_accepts_connections_and_does_not_answer_is_called_that() {
    // The kernel accepts connections, and nothing reads from them.
    let broker = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut arguments = count(&broker.local_addr().unwrap().to_string(), TOPIC);
    arguments.push("--kafka-config=api.version.request.timeout.ms=1000".to_owned());
    let exporter = Exporter::start(&arguments);
    exporter.wait_until_it_says("accepts connections but does not answer", LIMIT);
    let answer = exporter.ready().unwrap_err();
    assert!(!answer.contains("0.10"), "{answer}");
}

#[test]
fn a_partition_without_a_leader_is_named_and_read_once_it_has_one() {
    let cluster = cluster(2);
    cluster.partition_leader(TOPIC, 1, None).unwrap();
    let exporter = Exporter::start(&arguments(&cluster));
    exporter.wait_for_sum("flow_exporter_kafka_partitions", 1, LIMIT);
    exporter.wait_until_it_says("waiting for partitions [1] of topic", LIMIT);
    cluster.partition_leader(TOPIC, 1, Some(1)).unwrap();
    let mut flows = Flows::new(86, 2, 20);
    send(&cluster, &mut flows, 100, 2);
    exporter.wait_for_totals(&flows.totals(unnamed), LIMIT);
    exporter.wait_until_ready(LIMIT);
    wait_for_a_later_sample(&exporter);
}

#[test]
fn check_looks_at_other_partitions_though_one_has_no_leader() {
    let cluster = cluster(3);
    let mut flows = Flows::new(88, 2, 20);
    send(&cluster, &mut flows, 100, 1);
    cluster.partition_leader(TOPIC, 1, None).unwrap();
    let output = Command::new(program())
        .args(["check", &format!("--brokers={}", cluster.bootstrap_servers())])
        .arg(format!("--topic={TOPIC}"))
        .args([format!("--asn={ASN}"), format!("--addr={}:9590", unused_address())])
        .arg("--state-dir=none")
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("3 partitions with 100 messages"), "{said}");
    assert!(said.contains("nothing could be read from partitions 1"), "{said}");
}
