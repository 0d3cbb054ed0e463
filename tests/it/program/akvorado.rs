//! Datagrams in the messages of akvorado's inlet, which puts those of an exporter into any partition.

use std::{path::Path, time::Duration};

use rand::{Rng, SeedableRng, rngs::SmallRng};
use testkit::{
    cluster::{Cluster, TOPIC, cluster, producer},
    exporter::{Exporter, KeptOnPanic, count},
    netflow::{self, Template, Value},
    produce::{ASN, Producer},
};

use crate::formats::protobuf;

const PARTITIONS: i32 = 4;
const EXPORTERS: u8 = 3;
const LIMIT: Duration = Duration::from_secs(60);
const KILLS: u32 = 16;
const BYTES: &str = "flow_transmit_bytes_total";
const MESSAGES: &str = "flow_exporter_messages_total";

/// Arguments for as many workers as there are partitions.
fn arguments(cluster: &Cluster, state: &Path) -> Vec<String> {
    let mut arguments = count(&cluster.bootstrap_servers(), TOPIC);
    arguments.push(format!("--state-dir={}", state.display()));
    arguments.push(format!("--workers={PARTITIONS}"));
    arguments
}

/// Exporters, and what they have sent.
struct Routers {
    producer: Producer,
    template: Template,
    sequence: u32,
    bytes: u64,
}

impl Routers {
    fn new(cluster: &Cluster) -> Self {
        let template = Template::new(256, [(1, 4), (16, 4), (17, 4)]);
        Routers { producer: producer(cluster), template, sequence: 0, bytes: 0 }
    }

    fn send(&mut self, exporter: u8, partition: i32, message: netflow::Message) {
        let datagram = message.sequence(self.sequence).bytes();
        self.sequence += 1;
        let source = [[0; 10].as_slice(), &[0xff, 0xff, 192, 0, 2, exporter]].concat();
        let message = protobuf::Message::default()
            .number(1, 1_790_000_000)
            .bytes(2, &datagram)
            .bytes(3, &source)
            .number(5, 1);
        self.producer.send(partition, &message.0);
    }

    fn send_template(&mut self, exporter: u8, partition: i32) {
        self.send(exporter, partition, netflow::Message::v9().template(&self.template));
    }

    fn send_flow(&mut self, exporter: u8, partition: i32, bytes: u64) {
        let flow = [bytes, ASN.into(), 15169].map(Value::Number);
        self.send(exporter, partition, netflow::Message::v9().data(&self.template, [flow]));
        self.bytes += bytes;
    }

    /// Waits until a process has taken all messages that were sent since `before`.
    fn wait_until_read(&self, exporter: &Exporter, before: u32) {
        exporter.wait_for_sum(MESSAGES, u64::from(self.sequence - before), LIMIT);
    }
}

#[test]
fn killed_at_any_moment_it_counts_each_flow_once_wherever_its_template_comes() {
    let cluster = cluster(PARTITIONS);
    let mut routers = Routers::new(&cluster);
    let directory = KeptOnPanic::new("flow-exporter-akvorado-");
    let (state, log) = (directory.path().join("state"), directory.path().join("log"));
    let arguments = arguments(&cluster, &state);
    let mut random = SmallRng::seed_from_u64(7);
    let mut seen = 0;
    for round in 0..KILLS {
        let exporter = Exporter::start(&arguments);
        let sent = random.random_range(50..500);
        for _ in 0..sent {
            let router = random.random_range(0..EXPORTERS);
            let partition = random.random_range(0..PARTITIONS);
            // Of each exporter, the first template comes after some kills.
            if round >= 5 * u32::from(router) + 5 && random.random_range(0..50) == 0 {
                routers.send_template(router, partition);
            } else {
                routers.send_flow(router, partition, random.random_range(1..1_000));
            }
        }
        routers.producer.flush();
        // Killed at some point after it has read some of them, and published that.
        exporter.wait_for_more(MESSAGES, random.random_range(0..sent), LIMIT);
        for _ in 0..random.random_range(0..6) {
            let now = exporter.page().sum(BYTES);
            assert!(now >= seen, "{seen} bytes are {now}");
            seen = now;
        }
        exporter.kill_keeping_log(&log);
    }
    let exporter = Exporter::start(&arguments);
    for router in 0..EXPORTERS {
        routers.send_template(router, random.random_range(0..PARTITIONS));
    }
    routers.producer.flush();
    exporter.wait_for_sum(BYTES, routers.bytes, LIMIT);
    let page = exporter.page();
    // Datagrams of other partitions are not missing.
    for metric in ["missing_datagrams", "missing_flows", "datagrams_refused"] {
        assert_eq!(page.sum(&format!("flow_exporter_collector_{metric}_total")), 0, "{metric}");
    }
}

#[test]
fn what_waits_for_its_template_when_the_program_ends_counts_when_that_comes_to_the_next_one() {
    let cluster = cluster(PARTITIONS);
    let mut routers = Routers::new(&cluster);
    let state = tempfile::tempdir().unwrap();
    let arguments = arguments(&cluster, state.path());
    for round in 0..3 {
        let exporter = Exporter::start(&arguments);
        let before = routers.sequence;
        for partition in 0..PARTITIONS {
            routers.send_flow(1, partition, 1 << (4 * round + partition));
        }
        routers.producer.flush();
        routers.wait_until_read(&exporter, before);
        assert_eq!(exporter.page().sum(BYTES), 0);
        if round == 1 {
            exporter.kill();
        } else {
            assert!(exporter.stop().success());
        }
    }
    let exporter = Exporter::start(&arguments);
    routers.send_template(1, 2);
    routers.producer.flush();
    exporter.wait_for_sum(BYTES, (1 << 12) - 1, LIMIT);
    assert_eq!(routers.bytes, (1 << 12) - 1);
}

#[test]
fn a_restart_needs_no_template_that_came_before() {
    let cluster = cluster(PARTITIONS);
    let mut routers = Routers::new(&cluster);
    let state = tempfile::tempdir().unwrap();
    let arguments = arguments(&cluster, state.path());
    let exporter = Exporter::start(&arguments);
    routers.send_template(1, 3);
    routers.send_flow(1, 0, 5);
    routers.producer.flush();
    exporter.wait_for_sum(BYTES, 5, LIMIT);
    assert!(exporter.stop().success());

    let exporter = Exporter::start(&arguments);
    for partition in 0..PARTITIONS {
        routers.send_flow(1, partition, 10);
    }
    routers.producer.flush();
    exporter.wait_for_sum(BYTES, 45, LIMIT);
}

#[test]
fn a_sampling_rate_that_was_said_just_before_a_kill_multiplies_what_follows() {
    let cluster = cluster(PARTITIONS);
    let mut routers = Routers::new(&cluster);
    let state = tempfile::tempdir().unwrap();
    let arguments = arguments(&cluster, state.path());
    let exporter = Exporter::start(&arguments);
    let options = Template::options(300, [(1, 4)], [(34, 4)]);
    let said = netflow::Message::v9().template(&options);
    routers.send_template(1, 0);
    routers.send(1, 0, said.data(&options, [[1, 100].map(Value::Number)]));
    routers.send_flow(1, 0, 5);
    routers.producer.flush();
    exporter.wait_for_sum(BYTES, 500, LIMIT);
    exporter.kill();

    let exporter = Exporter::start(&arguments);
    for partition in 0..PARTITIONS {
        routers.send_flow(1, partition, 10);
    }
    routers.producer.flush();
    exporter.wait_for_sum(BYTES, 4_500, LIMIT);
}

#[test]
fn what_has_waited_is_not_counted_again_if_the_file_of_what_waits_is_lost() {
    let cluster = cluster(PARTITIONS);
    let mut routers = Routers::new(&cluster);
    let state = tempfile::tempdir().unwrap();
    let arguments = arguments(&cluster, state.path());
    let exporter = Exporter::start(&arguments);
    routers.send_flow(1, 0, 1);
    routers.send_flow(2, 0, 10);
    routers.producer.flush();
    routers.wait_until_read(&exporter, 0);
    assert_eq!(exporter.page().sum(BYTES), 0);
    routers.send_template(1, 0);
    routers.producer.flush();
    exporter.wait_for_sum(BYTES, 1, LIMIT);
    assert!(exporter.stop().success());

    for name in ["waiting.0", "waiting.1"] {
        let file = state.path().join("journal").join(name);
        if std::fs::metadata(&file).is_ok_and(|metadata| metadata.len() > 0) {
            std::fs::remove_file(file).unwrap();
        }
    }
    let exporter = Exporter::start(&arguments);
    routers.send_template(1, 0);
    routers.send_template(2, 0);
    routers.send_flow(1, 0, 100);
    routers.producer.flush();
    exporter.wait_for_sum(BYTES, 101, LIMIT);
}
