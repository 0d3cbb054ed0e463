//! Messages that Kafka has deleted, and topics that are deleted and recreated.

use std::{path::Path, thread, time::Duration};

use tempfile::TempDir;

use testkit::{
    exporter::{Exporter, count},
    produce::{Flows, Producer, unnamed},
    series::{Totals, compare, sum},
    servers::{Kafka, wait_for},
};

const TOPIC: &str = "pmacct.acct";
const PARTITIONS: i32 = 2;
/// librdkafka looks for a missing topic every few seconds; we look for partitions every 10 s.
const COUNT_LIMIT: Duration = Duration::from_secs(60);
const LOST: &str = "flow_exporter_kafka_messages_lost_total";
const RECREATED: &str = "flow_exporter_kafka_partitions_recreated_total";

fn arguments(kafka: &Kafka, state: &Path, group: bool) -> Vec<String> {
    let mut arguments = count(&kafka.brokers(), TOPIC);
    arguments.push(format!("--state-dir={}", state.display()));
    if group {
        arguments.push("--group=flows".to_owned());
    }
    arguments
}

fn send(kafka: &Kafka, flows: &mut Flows, records: u64) {
    Producer::new(&kafka.client(), TOPIC).send_flows(flows, records, PARTITIONS);
}

/// Sends flows and deletes them at once.
fn send_and_delete(kafka: &Kafka, records: u64) {
    send(kafka, &mut Flows::new(99, 3, 100), records);
    for partition in 0..PARTITIONS {
        kafka.delete_records(TOPIC, partition);
    }
}

fn recreate(kafka: &Kafka) {
    kafka.delete_topic(TOPIC);
    // The name becomes free a moment after the topic is deleted.
    kafka.create_topic(TOPIC, PARTITIONS);
}

fn wait_for_totals_of(exporters: &[&Exporter], expected: &Totals) {
    wait_for("expected totals on all pages", COUNT_LIMIT, || {
        compare(expected, &sum(exporters.iter().map(|exporter| exporter.page().totals())))
    });
}

fn loses_what_kafka_deletes(group: bool) {
    let kafka = Kafka::start();
    kafka.create_topic(TOPIC, PARTITIONS);
    let state = TempDir::new().expect("a temporary directory");
    let arguments = arguments(&kafka, state.path(), group);
    let mut flows = Flows::new(41, 3, 100);
    let exporter = Exporter::start(&arguments);
    send(&kafka, &mut flows, 2000);
    exporter.wait_for_totals(&flows.totals(unnamed), COUNT_LIMIT);
    assert!(exporter.stop().success());

    // While the program is down: exactly these are lost.
    send_and_delete(&kafka, 500);
    send(&kafka, &mut flows, 2000);
    let exporter = Exporter::start(&arguments);
    exporter.wait_for_totals(&flows.totals(unnamed), COUNT_LIMIT);
    exporter.wait_for_sum(LOST, 500, COUNT_LIMIT);
    exporter.wait_for_log("messages are lost", COUNT_LIMIT);

    // While the process is stopped. A fetch that is pending at the broker still gets the first of
    // them, so each is either counted or lost.
    let counted = exporter.page().sum("flow_exporter_messages_total");
    exporter.pause();
    send_and_delete(&kafka, 30_000);
    send(&kafka, &mut flows, 2000);
    exporter.resume();
    wait_for("each message as counted or lost", COUNT_LIMIT, || {
        let page = exporter.page();
        let now = page.sum("flow_exporter_messages_total") - counted;
        let lost = page.sum(LOST) - 500;
        let as_expected = lost > 0 && now >= 2000 && now + lost == 32_000;
        if as_expected { Ok(()) } else { Err(format!("{now} counted, {lost} lost")) }
    });

    // From then on, nothing is lost.
    let lost = exporter.page().sum(LOST);
    let counted = exporter.page().sum("flow_exporter_messages_total");
    send(&kafka, &mut flows, 2000);
    exporter.wait_for_sum("flow_exporter_messages_total", counted + 2000, COUNT_LIMIT);
    assert_eq!(exporter.page().sum(LOST), lost);
    assert_eq!(exporter.page().sum(RECREATED), 0);
    assert!(exporter.stop().success());
}

#[test]
fn messages_that_kafka_deleted_are_counted_as_lost() {
    loses_what_kafka_deletes(false);
}

#[test]
fn a_member_of_a_group_counts_messages_that_kafka_deleted_as_lost() {
    loses_what_kafka_deletes(true);
}

fn counts_all_of_recreated_topics(group: bool) {
    let kafka = Kafka::start();
    kafka.create_topic(TOPIC, PARTITIONS);
    let state = TempDir::new().expect("a temporary directory");
    let arguments = arguments(&kafka, state.path(), group);
    let mut flows = Flows::new(42, 3, 100);
    let exporter = Exporter::start(&arguments);
    send(&kafka, &mut flows, 2000);
    exporter.wait_for_totals(&flows.totals(unnamed), COUNT_LIMIT);
    assert!(exporter.stop().success());

    // While the program is down.
    recreate(&kafka);
    send(&kafka, &mut flows, 1000);
    let exporter = Exporter::start(&arguments);
    exporter.wait_for_totals(&flows.totals(unnamed), COUNT_LIMIT);
    let recreated = exporter.page().sum(RECREATED);

    // While it runs.
    recreate(&kafka);
    send(&kafka, &mut flows, 400);
    exporter.wait_for_totals(&flows.totals(unnamed), COUNT_LIMIT);
    send(&kafka, &mut flows, 3000);
    exporter.wait_for_totals(&flows.totals(unnamed), COUNT_LIMIT);
    let now = exporter.page().sum(RECREATED);
    println!("group {group}: {recreated} partitions found recreated at the start, {now} then");
    assert!(now > recreated, "{now} after {recreated}");
    assert_eq!(exporter.page().sum(LOST), 0);
    exporter.kill();

    // The journal's position is one of the newest topic.
    let exporter = Exporter::start(&arguments);
    wait_for_totals_of(&[&exporter], &flows.totals(unnamed));
    send(&kafka, &mut flows, 1000);
    exporter.wait_for_totals(&flows.totals(unnamed), COUNT_LIMIT);
    assert_eq!(exporter.page().sum(RECREATED), 0);
    assert!(exporter.stop().success());
}

#[test]
fn a_recreated_topic_is_counted_from_its_beginning() {
    counts_all_of_recreated_topics(false);
}

#[test]
fn members_of_a_group_count_a_recreated_topic_from_its_beginning() {
    counts_all_of_recreated_topics(true);
}

fn continues_with_fewer_partitions(group: bool) {
    const VANISHED: &str = "flow_exporter_kafka_partitions_vanished_total";
    const SAMPLED: &str = "flow_exporter_last_tick_timestamp_seconds";
    let kafka = Kafka::start();
    kafka.create_topic(TOPIC, 3);
    let state = TempDir::new().expect("a temporary directory");
    let mut arguments = arguments(&kafka, state.path(), group);
    arguments.push("--remote-write-interval=1s".to_owned());
    // So that some workers are left without a partition.
    arguments.push("--workers=3".to_owned());
    let mut flows = Flows::new(46, 3, 100);
    let exporter = Exporter::start(&arguments);
    let count = |flows: &mut Flows, records, partitions| {
        // A new producer, since it learns of partitions when it starts.
        Producer::new(&kafka.client(), TOPIC).send_flows(flows, records, partitions);
        exporter.wait_for_totals(&flows.totals(unnamed), COUNT_LIMIT);
        exporter.wait_until_ready(COUNT_LIMIT);
        let before = exporter.page().sum(SAMPLED);
        exporter.wait_for_more(SAMPLED, before, COUNT_LIMIT);
    };
    count(&mut flows, 3000, 3);

    // One partition, as when a producer creates the topic.
    kafka.delete_topic(TOPIC);
    kafka.create_topic(TOPIC, 1);
    count(&mut flows, 500, 1);
    exporter.wait_for_sum("flow_exporter_kafka_partitions", 1, COUNT_LIMIT);
    exporter.wait_for_sum("flow_exporter_kafka_lag_messages", 0, COUNT_LIMIT);
    let vanished = exporter.page().sum(VANISHED);
    assert!(group || vanished >= 2, "{vanished}");
    count(&mut flows, 500, 1);

    // As many partitions as before, and one more.
    kafka.grow_topic(TOPIC, 4);
    count(&mut flows, 400, 4);
    exporter.wait_for_sum("flow_exporter_kafka_partitions", 4, COUNT_LIMIT);

    // No topic.
    kafka.delete_topic(TOPIC);
    exporter.wait_until_it_says("no longer exists on", COUNT_LIMIT);
    exporter.wait_for_sum("flow_exporter_kafka_partitions", 0, COUNT_LIMIT);
    kafka.create_topic(TOPIC, 2);
    count(&mut flows, 100, 2);
    exporter.wait_for_sum("flow_exporter_kafka_partitions", 2, COUNT_LIMIT);
    assert_eq!(exporter.page().sum(LOST), 0);
    exporter.wait_for_sum("flow_exporter_messages_total", flows.records(), COUNT_LIMIT);
    assert!(exporter.stop().success());
}

#[test]
fn a_topic_recreated_with_fewer_partitions_is_counted_without_a_restart() {
    continues_with_fewer_partitions(false);
}

#[test]
fn a_group_counts_a_topic_recreated_with_fewer_partitions_without_a_restart() {
    continues_with_fewer_partitions(true);
}

#[test]
fn a_killed_member_comes_back_without_counting_anything_twice() {
    let kafka = Kafka::start();
    kafka.create_topic(TOPIC, PARTITIONS);
    let states = [(); 2].map(|()| TempDir::new().expect("a temporary directory"));
    let start = |number: usize| {
        let mut arguments = arguments(&kafka, states[number].path(), true);
        arguments.push("--kafka-config=session.timeout.ms=6000".to_owned());
        Exporter::start(&arguments)
    };
    let (one, other) = (start(0), start(1));
    for exporter in [&one, &other] {
        exporter.wait_for_sum("flow_exporter_kafka_partitions", 1, COUNT_LIMIT);
    }
    let mut flows = Flows::new(43, 3, 100);
    send(&kafka, &mut flows, 2000);
    wait_for_totals_of(&[&one, &other], &flows.totals(unnamed));
    // All is published and committed when it is killed, so nothing is counted again.
    for partition in 0..PARTITIONS {
        wait_for("committed offset", COUNT_LIMIT, || {
            let (end, committed) =
                (kafka.end_offset(TOPIC, partition), kafka.committed("flows", TOPIC, partition));
            (committed == Some(end)).then_some(()).ok_or_else(|| format!("{committed:?} of {end}"))
        });
    }
    one.kill();
    other.wait_for_sum("flow_exporter_kafka_partitions", 2, COUNT_LIMIT);
    send(&kafka, &mut flows, 2000);
    // It comes back with the counts it had.
    let one = start(0);
    wait_for_totals_of(&[&one, &other], &flows.totals(unnamed));
    one.wait_for_sum("flow_exporter_kafka_partitions", 1, COUNT_LIMIT);
    send(&kafka, &mut flows, 2000);
    wait_for_totals_of(&[&one, &other], &flows.totals(unnamed));
    assert!(one.stop().success());
    assert!(other.stop().success());
}

fn counts_all_of_a_partition_added_meanwhile(group: bool) {
    let kafka = Kafka::start();
    kafka.create_topic(TOPIC, PARTITIONS);
    let state = TempDir::new().expect("a temporary directory");
    let mut arguments = arguments(&kafka, state.path(), group);
    // From the ends of partitions, unless the journal has positions.
    arguments.retain(|argument| !argument.starts_with("--start="));
    arguments.push("--start=latest".to_owned());
    let mut flows = Flows::new(44, 3, 100);
    let exporter = Exporter::start(&arguments);
    exporter.wait_for_sum("flow_exporter_kafka_partitions", 2, COUNT_LIMIT);
    send(&kafka, &mut flows, 2000);
    exporter.wait_for_totals(&flows.totals(unnamed), COUNT_LIMIT);
    assert!(exporter.stop().success());

    kafka.grow_topic(TOPIC, 3);
    Producer::new(&kafka.client(), TOPIC).send_flows(&mut flows, 3000, 3);
    let exporter = Exporter::start(&arguments);
    exporter.wait_for_totals(&flows.totals(unnamed), COUNT_LIMIT);
    exporter.wait_for_sum("flow_exporter_kafka_partitions", 3, COUNT_LIMIT);
    assert!(exporter.stop().success());
}

#[test]
fn a_partition_that_was_added_meanwhile_is_counted_from_its_beginning() {
    counts_all_of_a_partition_added_meanwhile(false);
}

#[test]
fn a_group_counts_a_partition_that_was_added_meanwhile_from_its_beginning() {
    counts_all_of_a_partition_added_meanwhile(true);
}

#[test]
fn a_stopped_member_counts_no_more_messages_twice_than_it_reports() {
    const MESSAGES: &str = "flow_exporter_messages_total";
    const REBALANCES: &str = "flow_exporter_kafka_rebalances_total";
    let kafka = Kafka::start();
    kafka.create_topic(TOPIC, PARTITIONS);
    let states = [(); 2].map(|()| TempDir::new().expect("a temporary directory"));
    let [one, other] = states.each_ref().map(|state| {
        let mut arguments = arguments(&kafka, state.path(), true);
        arguments.push("--kafka-config=session.timeout.ms=6000".to_owned());
        Exporter::start(&arguments)
    });
    for exporter in [&one, &other] {
        exporter.wait_for_sum("flow_exporter_kafka_partitions", 1, COUNT_LIMIT);
    }
    let rebalances = one.page().sum(REBALANCES);
    let mut flows = Flows::new(45, 3, 100);
    // It is stopped while it counts, with messages read ahead.
    thread::scope(|scope| {
        scope.spawn(|| send(&kafka, &mut flows, 400_000));
        one.wait_for_more(MESSAGES, 0, COUNT_LIMIT);
        one.pause();
    });
    other.wait_for_sum("flow_exporter_kafka_partitions", 2, COUNT_LIMIT);
    other.wait_for_sum("flow_exporter_kafka_lag_messages", 0, COUNT_LIMIT);
    one.resume();
    // It learns that its partition was reassigned, and gets one again.
    one.wait_for_more(REBALANCES, rebalances + 1, COUNT_LIMIT);
    one.wait_for_sum("flow_exporter_kafka_partitions", 1, COUNT_LIMIT);
    send(&kafka, &mut flows, 2000);
    for partition in 0..PARTITIONS {
        wait_for("all counted", COUNT_LIMIT, || {
            let (end, committed) =
                (kafka.end_offset(TOPIC, partition), kafka.committed("flows", TOPIC, partition));
            (committed == Some(end)).then_some(()).ok_or_else(|| format!("{committed:?} of {end}"))
        });
    }
    let pages = [one.page(), other.page()];
    let counted: u64 = pages.iter().map(|page| page.sum(MESSAGES)).sum();
    let twice = counted.checked_sub(flows.records()).expect("nothing is left out");
    let said = pages[0].sum("flow_exporter_kafka_messages_abandoned_total");
    eprintln!("{twice} messages counted twice, it says {said}");
    assert!(twice <= said, "{twice} messages are counted twice, it says {said}");
}
