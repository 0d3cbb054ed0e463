//! Where reading continues if Kafka does not have the next offset, and what is committed to a
//! group. `tests/e2e/positions.rs` tests the same with a real Kafka.

use std::{path::Path, process::Command, time::Duration};

use rdkafka::{
    Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    types::{RDKafkaApiKey, RDKafkaRespErr},
};

use testkit::{
    cluster::{Cluster, TOPIC, client, cluster},
    exporter::{Exporter, count, program},
    produce::{ASN, Flows, Producer, unnamed},
    series::sum,
    servers::wait_for,
};

const LIMIT: Duration = Duration::from_secs(60);
const LOST: &str = "flow_exporter_kafka_messages_lost_total";
const RECREATED: &str = "flow_exporter_kafka_partitions_recreated_total";
const UNCOMMITTED: &str = "flow_exporter_kafka_uncommitted_messages";
const GROUP: &str = "--group=flows";

fn send_flows(cluster: &Cluster, flows: &mut Flows, records: u64, partitions: i32) {
    Producer::new(&client(cluster), TOPIC).send_flows(flows, records, partitions);
}

/// Sends this many flows of one byte each to partition 0. A message is about 20 kB: the mock
/// cluster keeps the newest 5 MB of a partition.
fn send_large(cluster: &Cluster, messages: u64) {
    let padding = "x".repeat(20_000);
    let message = format!(r#"{{"as_src": {ASN}, "as_dst": 1, "bytes": 1, "pad": "{padding}"}}"#);
    let mut producer = Producer::new(&client(cluster), TOPIC);
    for _ in 0..messages {
        producer.send(0, &message);
    }
    producer.flush();
}

/// The oldest offset of partition 0 and the one after its newest.
fn range(cluster: &Cluster) -> (u64, u64) {
    let client: BaseConsumer = client(cluster).create().unwrap();
    let (low, high) = client.fetch_watermarks(TOPIC, 0, LIMIT).unwrap();
    (low.unsigned_abs(), high.unsigned_abs())
}

/// Waits until the group has this offset of partition 0.
fn wait_for_committed(cluster: &Cluster, offset: i64) {
    let client: BaseConsumer = client(cluster).set("group.id", "flows").create().unwrap();
    let mut list = TopicPartitionList::new();
    list.add_partition(TOPIC, 0);
    wait_for("committed offset", LIMIT, || {
        let committed = client.committed_offsets(list.clone(), LIMIT).unwrap();
        match committed.elements()[0].offset() {
            Offset::Offset(has) if has == offset => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
}

fn arguments(cluster: &Cluster, state: &Path) -> Vec<String> {
    let mut arguments = count(&cluster.bootstrap_servers(), TOPIC);
    arguments.push(format!("--state-dir={}", state.display()));
    arguments
}

/// Has another cluster be taken for the one that was counted.
fn forget_cluster(state: &Path) {
    let state = format!("--state-dir={}", state.display());
    let status = Command::new(program()).args(["state", "forget-cluster", &state]).status();
    assert!(status.unwrap().success());
}

/// Flows of one byte that were counted.
fn counted(exporter: &Exporter) -> u64 {
    exporter.page().totals().values().sum()
}

#[test]
fn messages_that_kafka_deleted_while_we_were_away_are_counted_as_lost() {
    let cluster = cluster(1);
    let state = tempfile::tempdir().unwrap();
    let arguments = arguments(&cluster, state.path());
    let exporter = Exporter::start(&arguments);
    send_large(&cluster, 10);
    wait_for("first flows", LIMIT, || match counted(&exporter) {
        10 => Ok(()),
        other => Err(format!("{other}")),
    });
    assert_eq!(exporter.page().sum(LOST), 0);
    assert!(exporter.stop().success());

    send_large(&cluster, 590);
    let (low, high) = range(&cluster);
    assert!(low > 10, "the mock cluster keeps everything, from {low} on");
    let exporter = Exporter::start(&arguments);
    wait_for("what is left", LIMIT, || match counted(&exporter) {
        all if all == 10 + high - low => Ok(()),
        other => Err(format!("{other}")),
    });
    assert_eq!(exporter.page().sum(LOST), low - 10);
    assert_eq!(exporter.page().sum(RECREATED), 0);
    exporter.wait_for_log("messages are lost", LIMIT);
}

fn loses_while_it_stands_still(more: &[&str]) {
    let cluster = cluster(1);
    let state = tempfile::tempdir().unwrap();
    let mut arguments = arguments(&cluster, state.path());
    arguments.extend(more.iter().map(|&argument| argument.to_owned()));
    let exporter = Exporter::start(&arguments);
    send_large(&cluster, 10);
    wait_for("first flows", LIMIT, || match counted(&exporter) {
        10 => Ok(()),
        other => Err(format!("{other}")),
    });
    exporter.pause();
    send_large(&cluster, 1190);
    let (low, high) = range(&cluster);
    exporter.resume();
    // Messages that were on their way while it was stopped are counted as well.
    wait_for("each message as counted or lost", LIMIT, || {
        match (counted(&exporter), exporter.page().sum(LOST)) {
            (counted, lost) if lost > 0 && counted + lost == high => Ok(()),
            other => Err(format!("{other:?} of {high}")),
        }
    });
    assert!(counted(&exporter) >= 10 + high - low);
    // It keeps reading.
    let before = exporter.page().sum(LOST);
    send_large(&cluster, 5);
    wait_for("later flows", LIMIT, || match counted(&exporter) {
        now if now + before == high + 5 => Ok(()),
        other => Err(format!("{other}")),
    });
    assert_eq!(exporter.page().sum(LOST), before);
}

#[test]
fn messages_that_kafka_deleted_while_we_stood_still_are_counted_as_lost() {
    loses_while_it_stands_still(&[]);
}

#[test]
fn a_member_of_a_group_that_stood_still_counts_what_it_lost() {
    // The mock cluster does not rebalance while it is stopped.
    loses_while_it_stands_still(&[GROUP, "--kafka-config=session.timeout.ms=60000"]);
}

#[test]
fn a_topic_recreated_while_we_were_away_is_read_from_its_beginning_once() {
    let first = cluster(2);
    let state = tempfile::tempdir().unwrap();
    let mut flows = Flows::new(31, 2, 20);
    let exporter = Exporter::start(&arguments(&first, state.path()));
    send_flows(&first, &mut flows, 1000, 2);
    exporter.wait_for_totals(&flows.totals(unnamed), LIMIT);
    assert!(exporter.stop().success());

    // Another cluster has another topic of this name.
    let second = cluster(2);
    forget_cluster(state.path());
    let arguments = arguments(&second, state.path());
    send_flows(&second, &mut flows, 300, 2);
    for _ in 0..2 {
        let exporter = Exporter::start(&arguments);
        exporter.wait_for_totals(&flows.totals(unnamed), LIMIT);
        send_flows(&second, &mut flows, 300, 2);
        exporter.wait_for_totals(&flows.totals(unnamed), LIMIT);
        assert_eq!(exporter.page().sum(LOST), 0);
        let log = exporter.log();
        let recreated = exporter.page().sum(RECREATED);
        assert_eq!(log.matches("recreated").count() as u64, recreated, "{log}");
        assert!(exporter.stop().success());
    }
    // The second start found the positions of the new topic.
    let exporter = Exporter::start(&arguments);
    exporter.wait_for_totals(&flows.totals(unnamed), LIMIT);
    assert_eq!(exporter.page().sum(RECREATED), 0);
}

#[test]
fn a_partition_that_came_while_we_were_away_is_read_from_its_beginning() {
    let one = cluster(1);
    let state = tempfile::tempdir().unwrap();
    let mut flows = Flows::new(32, 2, 20);
    let exporter = Exporter::start(&arguments(&one, state.path()));
    send_flows(&one, &mut flows, 100, 1);
    exporter.wait_for_totals(&flows.totals(unnamed), LIMIT);
    assert!(exporter.stop().success());

    // Apparently the same topic, with a second partition.
    let two = cluster(2);
    forget_cluster(state.path());
    send_flows(&two, &mut Flows::new(32, 2, 20), 100, 1);
    let mut more = Flows::new(33, 2, 20);
    let mut producer = Producer::new(&client(&two), TOPIC);
    let mut record = String::new();
    for _ in 0..50 {
        record.clear();
        more.write_next(&mut record);
        producer.send(1, &record);
    }
    producer.flush();
    let mut arguments = arguments(&two, state.path());
    arguments.retain(|argument| argument != "--start=earliest");
    arguments.push("--start=latest".to_owned());
    let exporter = Exporter::start(&arguments);
    exporter.wait_for_totals(&sum([flows.totals(unnamed), more.totals(unnamed)]), LIMIT);
}

#[test]
fn what_a_group_was_not_told_is_shown_and_told_as_soon_as_it_listens() {
    let cluster = cluster(1);
    let state = tempfile::tempdir().unwrap();
    let mut arguments = arguments(&cluster, state.path());
    arguments.push(GROUP.to_owned());
    arguments.push("--kafka-config=session.timeout.ms=6000".to_owned());
    let exporter = Exporter::start(&arguments);
    let mut flows = Flows::new(34, 2, 20);
    send_flows(&cluster, &mut flows, 100, 1);
    exporter.wait_for_totals(&flows.totals(unnamed), LIMIT);
    wait_for_committed(&cluster, 100);

    let refusals = [RDKafkaRespErr::RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED; 1000];
    cluster.request_errors(RDKafkaApiKey::OffsetCommit, &refusals);
    send_flows(&cluster, &mut flows, 70, 1);
    exporter.wait_for_totals(&flows.totals(unnamed), LIMIT);
    exporter.wait_for_sum(UNCOMMITTED, 70, LIMIT);
    exporter.kill();

    // Its journal is ahead of the group: the position is committed without a new message.
    cluster.clear_request_errors(RDKafkaApiKey::OffsetCommit);
    let exporter = Exporter::start(&arguments);
    wait_for_committed(&cluster, 170);
    exporter.wait_for_sum(UNCOMMITTED, 0, LIMIT);
    assert_eq!(exporter.page().totals(), flows.totals(unnamed));
    exporter.kill();

    // So the next process, without a journal, counts none of it again.
    arguments.retain(|argument| !argument.starts_with("--state-dir="));
    let other = Exporter::start(&arguments);
    other.wait_for_sum("flow_exporter_kafka_next_offset", flows.records(), LIMIT);
    let mut later = Flows::new(35, 2, 20);
    send_flows(&cluster, &mut later, 30, 1);
    other.wait_for_totals(&later.totals(unnamed), LIMIT);
    assert_eq!(other.page().sum("flow_exporter_messages_total"), later.records());
}

#[test]
fn a_demo_that_is_killed_counts_its_new_topic_without_taking_it_for_a_recreated_one() {
    let state = tempfile::tempdir().unwrap();
    let directory = format!("--state-dir={}", state.path().display());
    let arguments = ["demo", "--as-names=none", "--rate=10000", directory.as_str()];
    let exporter = Exporter::start(&arguments);
    exporter.wait_for_more("flow_exporter_flow_bytes_total", 1_000_000, LIMIT);
    exporter.kill();
    let exporter = Exporter::start(&arguments);
    exporter.wait_for_more("flow_exporter_flow_bytes_total", 1_000_000, LIMIT);
    assert_eq!(exporter.page().sum(RECREATED), 0);
    assert!(!exporter.log().contains("recreated"), "{}", exporter.log());
}
