//! Brokers, topics, partitions and groups that change while flows are counted.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use testkit::{
    exporter::{Exporter, count},
    produce::{Flows, Producer, unnamed},
    series::compare,
    servers::{Database, Kafka, VictoriaMetrics, wait_for},
};

const TOPIC: &str = "pmacct.acct";

/// How long a change may take to be noticed. librdkafka reconnects to a broker within 10 s, and
/// looks for new topics and partitions as often as the program configures.
const COUNT_LIMIT: Duration = Duration::from_secs(60);

const RECORDS: u64 = 20_000;

#[test]
fn a_broker_may_be_down_at_the_start_and_go_away_and_come_back() {
    let mut kafka = Kafka::stopped();
    let exporter = Exporter::start(&count(&kafka.brokers(), TOPIC));
    assert!(exporter.page().totals().is_empty());
    assert!(exporter.ready().is_err());

    let mut flows = Flows::new(1, 3, 100);
    let produce_and_wait = |kafka: &Kafka, flows: &mut Flows| {
        Producer::new(&kafka.client(), TOPIC).send_flows(flows, RECORDS, 2);
        exporter.wait_for_totals(&flows.totals(unnamed), COUNT_LIMIT);
    };
    kafka.up();
    kafka.create_topic(TOPIC, 2);
    produce_and_wait(&kafka, &mut flows);

    for stop in [Kafka::stop, Kafka::kill] {
        stop(&mut kafka);
        wait_for("report that the broker is away", COUNT_LIMIT, || match exporter.ready() {
            Ok(()) => Err("it says that it is ready".to_owned()),
            Err(_) => Ok(()),
        });
        // Meanwhile, the page stays as it was.
        compare(&flows.totals(unnamed), &exporter.page().totals()).expect("nothing changes");
        kafka.up();
        produce_and_wait(&kafka, &mut flows);
        wait_for("ready flow-exporter", COUNT_LIMIT, || exporter.ready());
    }

    exporter.wait_for_sum("flow_exporter_messages_total", flows.records(), COUNT_LIMIT);
    exporter.wait_for_sum("flow_exporter_kafka_lag_messages", 0, COUNT_LIMIT);
    assert!(exporter.stop().success());
}

#[test]
fn what_appears_after_the_start_is_counted_from_its_beginning() {
    let kafka = Kafka::start();
    let mut arguments = count(&kafka.brokers(), TOPIC);
    // Even with --start=latest, topics and partitions that appear later are read from the
    // beginning.
    arguments.retain(|argument| !argument.starts_with("--start="));
    arguments.push("--start=latest".to_owned());
    let exporter = Exporter::start(&arguments);
    exporter.wait_for_log(TOPIC, COUNT_LIMIT);

    // A topic.
    kafka.create_topic(TOPIC, 2);
    let mut flows = Flows::new(2, 3, 100);
    let mut producer = Producer::new(&kafka.client(), TOPIC);
    producer.send_flows(&mut flows, RECORDS, 2);
    exporter.wait_for_totals(&flows.totals(unnamed), COUNT_LIMIT);

    // Two more partitions, with a new producer, since the first does not know them yet.
    kafka.grow_topic(TOPIC, 4);
    let mut producer = Producer::new(&kafka.client(), TOPIC);
    producer.send_flows(&mut flows, RECORDS, 4);
    exporter.wait_for_totals(&flows.totals(unnamed), COUNT_LIMIT);
    exporter.wait_for_sum("flow_exporter_kafka_partitions", 4, COUNT_LIMIT);
    assert!(exporter.stop().success());
}

#[test]
fn start_latest_leaves_out_what_was_there_before() {
    let kafka = Kafka::start();
    kafka.create_topic(TOPIC, 2);
    let mut producer = Producer::new(&kafka.client(), TOPIC);
    producer.send_flows(&mut Flows::new(3, 3, 100), RECORDS, 2);
    // All records exist, and the position is behind them.
    let mut arguments = count(&kafka.brokers(), TOPIC);
    arguments.retain(|argument| !argument.starts_with("--start="));
    let exporter = Exporter::start(&arguments);
    exporter.wait_for_sum("flow_exporter_kafka_next_offset", RECORDS, COUNT_LIMIT);

    let mut flows = Flows::new(4, 3, 100);
    producer.send_flows(&mut flows, RECORDS, 2);
    exporter.wait_for_totals(&flows.totals(unnamed), COUNT_LIMIT);
    assert!(exporter.stop().success());
}

#[test]
fn two_processes_of_a_group_count_each_flow_once_when_one_stops() {
    const PARTITIONS: i32 = 4;
    let kafka = Kafka::start();
    kafka.create_topic(TOPIC, PARTITIONS);
    let victoria = VictoriaMetrics::start();
    // Counts of a process that has exited remain in the database.
    let start = |instance: &str| {
        let mut arguments = count(&kafka.brokers(), TOPIC);
        arguments.push("--group=flows".to_owned());
        arguments.push(format!("--external-label=instance={instance}"));
        arguments.push(format!("--remote-write-url={}", victoria.write_url()));
        arguments.push("--remote-write-interval=1s".to_owned());
        Exporter::start(&arguments)
    };
    let (staying, leaving) = (start("staying"), start("leaving"));
    for exporter in [&staying, &leaving] {
        exporter.wait_for_sum("flow_exporter_kafka_partitions", 2, COUNT_LIMIT);
    }

    let mut flows = Flows::new(5, 3, 100);
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut producer = Producer::new(&kafka.client(), TOPIC);
            while !done.load(Ordering::Relaxed) {
                producer.send_flows(&mut flows, 200, PARTITIONS);
            }
        });
        // One process exits while flows keep coming.
        let counted = |exporter: &Exporter, than: u64| {
            exporter.wait_for_more("flow_exporter_flows_total", than, COUNT_LIMIT)
        };
        counted(&leaving, 5_000);
        assert!(leaving.stop().success());
        staying.wait_for_sum("flow_exporter_kafka_partitions", 4, COUNT_LIMIT);
        let before = counted(&staying, 0);
        counted(&staying, before + 5_000);
        done.store(true, Ordering::Relaxed);
    });
    wait_for("expected totals in VictoriaMetrics", COUNT_LIMIT, || {
        compare(&flows.totals(unnamed), &victoria.totals()?)
    });
    staying.wait_for_account(COUNT_LIMIT);
    assert!(staying.stop().success());
}

#[test]
fn offsets_without_messages_such_as_transaction_markers_hold_back_no_sample() {
    let kafka = Kafka::start();
    kafka.create_topic(TOPIC, 2);
    let mut config = kafka.client();
    config.set("transactional.id", "collector");
    let mut producer = Producer::new(&config, TOPIC);
    let mut flows = Flows::new(6, 2, 10);
    producer.in_transaction(|producer| producer.send_flows(&mut flows, 1000, 2));
    let mut arguments = count(&kafka.brokers(), TOPIC);
    arguments.push("--remote-write-interval=1s".to_owned());
    let exporter = Exporter::start(&arguments);
    exporter.wait_for_totals(&flows.totals(unnamed), COUNT_LIMIT);
    // The last offset of each partition is a transaction marker, which is never delivered.
    let sampled = || exporter.page().sum("flow_exporter_last_tick_timestamp_seconds");
    let first = sampled();
    wait_for("further samples", COUNT_LIMIT, || match sampled() {
        time if time >= first + 3 => Ok(()),
        time => Err(format!("the newest is {} s after the first", time - first)),
    });
    exporter.wait_for_sum("flow_exporter_messages_total", flows.records(), COUNT_LIMIT);
    assert!(exporter.stop().success());
}

fn has_no_lag_behind_transactions(timestamps: &str) {
    const LAG: &str = "flow_exporter_kafka_lag_messages";
    let kafka = Kafka::start();
    kafka.create_topic(TOPIC, 1);
    let mut arguments = count(&kafka.brokers(), TOPIC);
    arguments.push(timestamps.to_owned());
    let exporter = Exporter::start(&arguments);
    let transactional = || {
        let mut config = kafka.client();
        config.set("transactional.id", "collector");
        Producer::new(&config, TOPIC)
    };
    let mut flows = Flows::new(7, 2, 10);
    transactional().in_transaction(|producer| producer.send_flows(&mut flows, 1000, 1));
    exporter.wait_for_totals(&flows.totals(unnamed), COUNT_LIMIT);
    exporter.wait_for_sum(LAG, 0, COUNT_LIMIT);
    let mut given_up = Flows::new(8, 2, 10);
    transactional().in_aborted_transaction(|producer| producer.send_flows(&mut given_up, 500, 1));
    transactional().in_transaction(|producer| producer.send_flows(&mut flows, 10, 1));
    // The markers of three transactions, and the messages of the aborted one, are not delivered. A
    // marker is written a moment after Kafka has confirmed its transaction.
    let end = flows.records() + 500 + 3;
    wait_for("markers of all transactions", COUNT_LIMIT, || {
        let found = kafka.end_offset(TOPIC, 0).unsigned_abs();
        if found == end { Ok(()) } else { Err(format!("{found} instead of {end}")) }
    });
    exporter.wait_for_totals(&flows.totals(unnamed), COUNT_LIMIT);
    exporter.wait_for_sum(LAG, 0, COUNT_LIMIT);
    transactional().in_aborted_transaction(|producer| producer.send_flows(&mut given_up, 500, 1));
    exporter.wait_for_sum(LAG, 0, COUNT_LIMIT);
    assert_eq!(exporter.page().totals(), flows.totals(unnamed));
    // Real lag is still shown.
    exporter.pause();
    Producer::new(&kafka.client(), TOPIC).send_flows(&mut flows, 1000, 1);
    exporter.resume();
    exporter.wait_for_totals(&flows.totals(unnamed), COUNT_LIMIT);
    exporter.wait_for_sum(LAG, 0, COUNT_LIMIT);
    assert!(exporter.stop().success());
}

#[test]
fn transaction_markers_and_aborted_messages_are_no_lag() {
    has_no_lag_behind_transactions("--timestamps=event");
}

#[test]
fn transaction_markers_and_aborted_messages_are_no_lag_with_arrival_times() {
    has_no_lag_behind_transactions("--timestamps=arrival");
}
