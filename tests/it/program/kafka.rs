//! The program on librdkafka's mock cluster, which is quick and fails on command. What only a real
//! broker can show is in `tests/e2e`.

use std::{collections::BTreeMap, time::Duration};

use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

use testkit::{
    cluster::{Cluster, TOPIC, cluster, producer},
    exporter::{Exporter, count},
    http,
    produce::{ASN, Flows, unnamed},
    series::{self, Series, sum},
    servers::{unused_address, wait_for},
};

/// A limit for what should be quick, on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);

/// Sends these messages, and waits until the page shows that all of them were taken.
fn exporter_with(cluster: &Cluster, messages: &[&str]) -> Exporter {
    let mut producer = producer(cluster);
    for message in messages {
        producer.send(0, message);
    }
    producer.flush();
    let exporter = Exporter::start(&count(&cluster.bootstrap_servers(), TOPIC));
    exporter.wait_for_sum("flow_exporter_messages_total", messages.len() as u64, LIMIT);
    exporter
}

fn series(metric: &str, source: u32, destination: u32, host: &str) -> Series {
    let mut labels: BTreeMap<String, String> = ["source_as_name", "destination_as_name"]
        .map(|name| (name.to_owned(), String::new()))
        .into();
    labels.insert("source_as".to_owned(), source.to_string());
    labels.insert("destination_as".to_owned(), destination.to_string());
    labels.insert("hostname".to_owned(), host.to_owned());
    Series::from_page(metric, labels)
}

#[test]
fn every_flow_is_in_its_series_and_all_others_are_counted_by_reason() {
    let cluster = cluster(4);
    let exporter = Exporter::start(&count(&cluster.bootstrap_servers(), TOPIC));
    let mut flows = Flows::new(1, 3, 40);
    producer(&cluster).send_flows(&mut flows, 20_000, 4);
    exporter.wait_for_totals(&flows.totals(unnamed), LIMIT);
    let page = exporter.page();
    assert_eq!(page.sum("flow_exporter_messages_total"), flows.records());
    assert_eq!(page.sum("flow_exporter_flows_total"), flows.counted);
    let reason = |metric: &str| page.sum_with(metric, "reason", "other_as");
    assert_eq!(reason("flow_exporter_flows_ignored_total"), flows.foreign);
    assert_eq!(reason("flow_exporter_flow_bytes_ignored_total"), flows.foreign_bytes);
    assert_eq!(page.sum("flow_exporter_decode_errors_total"), 0);
    assert_eq!(page.sum("flow_exporter_series"), flows.totals(unnamed).len() as u64);
}

#[test]
fn a_flow_from_the_monitored_as_is_transmitted_else_one_to_it_received() {
    let cluster = cluster(1);
    let record = |from: u32, to: u32, bytes: u32| {
        format!(r#"{{"label": "r", "as_src": {from}, "as_dst": {to}, "bytes": {bytes}}}"#)
    };
    let messages =
        [record(ASN, 1, 1), record(1, ASN, 20), record(ASN, ASN, 300), record(1, 2, 4000)];
    let exporter = exporter_with(&cluster, &messages.each_ref().map(String::as_str));
    let expected = BTreeMap::from([
        (series("flow_transmit_bytes_total", ASN, 1, "r"), 1),
        (series("flow_receive_bytes_total", 1, ASN, "r"), 20),
        (series("flow_transmit_bytes_total", ASN, ASN, "r"), 300),
    ]);
    assert_eq!(exporter.page().totals(), expected);
}

#[test]
fn what_is_no_flow_is_counted_by_reason_and_never_as_as_0() {
    let cluster = cluster(1);
    let exporter = exporter_with(
        &cluster,
        &[
            r#"{"event_type": "purge_init", "writer_id": "k/1"}"#,
            r#"{"as_src": 0, "as_dst": 0}"#,
            "",
            "{\"as_src\": 0, \"byt",
            "[1, 2]",
            r#"{"as_src": true, "bytes": 1}"#,
            r#"{"as_src": -1, "bytes": 1}"#,
        ],
    );
    let page = exporter.page();
    let skipped = |reason| page.sum_with("flow_exporter_records_skipped_total", "reason", reason);
    assert_eq!([skipped("marker"), skipped("no_bytes"), skipped("empty")], [1, 1, 1]);
    let malformed = |reason| page.sum_with("flow_exporter_decode_errors_total", "reason", reason);
    assert_eq!([malformed("syntax"), malformed("wrong_type")], [1, 1]);
    assert_eq!([malformed("not_a_record"), malformed("number_out_of_range")], [2, 1]);
    assert!(page.totals().is_empty(), "{:?}", page.totals());
    exporter.wait_for_log("can't be decoded", LIMIT);
}

/// Brokers that go away and come back are tested in `tests/e2e`: the mock cluster might lose its
/// port to another program meanwhile.
#[test]
fn brokers_that_do_not_answer_are_waited_for_and_reported() {
    let nobody = format!("{}:9092", unused_address());
    let exporter = Exporter::start(&count(&nobody, TOPIC));
    let ready = exporter.page_url().replace("/metrics", "/-/ready");
    wait_for("report of the broker", LIMIT, || match http::get(&ready) {
        Err(answer)
            if answer.contains("503") && answer.contains("waiting for the Kafka brokers") =>
        {
            Ok(())
        }
        other => Err(format!("{other:?}")),
    });
    assert!(exporter.page().totals().is_empty());
    assert!(exporter.stop().success());
}

#[test]
fn errors_of_a_broker_are_counted_and_cost_no_flow() {
    let cluster = cluster(2);
    let exporter = Exporter::start(&count(&cluster.bootstrap_servers(), TOPIC));
    let mut flows = Flows::new(3, 1, 5);
    producer(&cluster).send_flows(&mut flows, 500, 2);
    exporter.wait_for_totals(&flows.totals(unnamed), LIMIT);
    cluster.request_errors(
        RDKafkaApiKey::Fetch,
        &[
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__TRANSPORT,
            RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION,
            RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED,
        ],
    );
    wait_for("counted errors", LIMIT, || {
        match exporter.page().sum("flow_exporter_kafka_errors_total") {
            0 => Err("none yet".to_owned()),
            _ => Ok(()),
        }
    });
    producer(&cluster).send_flows(&mut flows, 500, 2);
    exporter.wait_for_totals(&flows.totals(unnamed), LIMIT);
}

#[test]
fn no_rights_on_a_group_are_needed_without_one() {
    let cluster = cluster(1);
    cluster.request_errors(
        RDKafkaApiKey::FindCoordinator,
        &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED; 1000],
    );
    let exporter = Exporter::start(&count(&cluster.bootstrap_servers(), TOPIC));
    let mut flows = Flows::new(4, 1, 5);
    producer(&cluster).send_flows(&mut flows, 100, 1);
    exporter.wait_for_totals(&flows.totals(unnamed), LIMIT);
    assert_eq!(exporter.page().sum("flow_exporter_kafka_errors_total"), 0);
    assert!(exporter.stop().success());
}

#[test]
fn partitions_that_are_named_are_read_and_no_others() {
    let cluster = cluster(3);
    let mut arguments = count(&cluster.bootstrap_servers(), TOPIC);
    arguments.push("--partitions=0,2".to_owned());
    let exporter = Exporter::start(&arguments);
    let mut producer = producer(&cluster);
    let mut read = Flows::new(5, 1, 5);
    let mut unread = Flows::new(6, 1, 5);
    let mut record = String::new();
    for number in 0..30 {
        record.clear();
        let partition = number % 3;
        if partition == 1 {
            unread.write_next(&mut record);
        } else {
            read.write_next(&mut record);
        }
        producer.send(partition, &record);
    }
    producer.flush();
    exporter.wait_for_totals(&read.totals(unnamed), LIMIT);
    assert_eq!(exporter.page().sum("flow_exporter_kafka_partitions"), 2);
}

#[test]
fn two_members_of_a_group_count_each_flow_once_and_one_takes_over_from_the_other() {
    let cluster = cluster(4);
    let mut arguments = count(&cluster.bootstrap_servers(), TOPIC);
    arguments.push("--group=flows".to_owned());
    // The mock cluster begins a new generation only when members' sessions time out.
    arguments.push("--kafka-config=session.timeout.ms=6000".to_owned());
    arguments.push("--kafka-config=heartbeat.interval.ms=500".to_owned());
    let one = Exporter::start(&arguments);
    let other = Exporter::start(&arguments);
    wait_for("partitions shared by two", LIMIT, || {
        let partitions = [&one, &other].map(|e| e.page().sum("flow_exporter_kafka_partitions"));
        if partitions == [2, 2] { Ok(()) } else { Err(format!("{partitions:?}")) }
    });
    let mut flows = Flows::new(7, 2, 20);
    producer(&cluster).send_flows(&mut flows, 4000, 4);
    let both = || sum([one.page().totals(), other.page().totals()]);
    wait_for("all flows in both", LIMIT, || series::compare(&flows.totals(unnamed), &both()));
    let first = one.page().totals();
    assert!(one.stop().success());
    wait_for("all partitions taken over", LIMIT, || {
        match other.page().sum("flow_exporter_kafka_partitions") {
            4 => Ok(()),
            partitions => Err(format!("{partitions}")),
        }
    });
    producer(&cluster).send_flows(&mut flows, 4000, 4);
    let both = || sum([first.clone(), other.page().totals()]);
    wait_for("all flows in both", LIMIT, || series::compare(&flows.totals(unnamed), &both()));
}

#[test]
fn a_stop_ends_though_kafka_does_not_answer_any_more() {
    let cluster = cluster(1);
    let mut arguments = count(&cluster.bootstrap_servers(), TOPIC);
    arguments.push("--group=flows".to_owned());
    let exporter = Exporter::start(&arguments);
    let mut flows = Flows::new(10, 1, 5);
    producer(&cluster).send_flows(&mut flows, 100, 1);
    exporter.wait_for_totals(&flows.totals(unnamed), LIMIT);
    cluster.broker_round_trip_time(1, Duration::from_secs(3600)).unwrap();
    // Nothing can be committed, and the group can't be left.
    assert!(exporter.stop().success());
}

#[test]
fn the_start_is_the_end_of_the_topic_unless_another_is_given() {
    let cluster = cluster(1);
    let mut before = Flows::new(8, 1, 5);
    producer(&cluster).send_flows(&mut before, 100, 1);
    let mut arguments = count(&cluster.bootstrap_servers(), TOPIC);
    arguments.retain(|argument| argument != "--start=earliest");
    let exporter = Exporter::start(&arguments);
    wait_for("partition", LIMIT, || match exporter.page().sum("flow_exporter_kafka_partitions") {
        1 => Ok(()),
        _ => Err("none yet".to_owned()),
    });
    let mut after = Flows::new(9, 1, 5);
    producer(&cluster).send_flows(&mut after, 100, 1);
    exporter.wait_for_totals(&after.totals(unnamed), LIMIT);
    assert_eq!(exporter.page().sum("flow_exporter_messages_total"), after.records());
}
