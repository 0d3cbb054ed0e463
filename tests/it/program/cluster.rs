//! Positions are those of one cluster's topic.

use std::{
    io,
    net::{TcpListener, TcpStream},
    path::Path,
    process::Command,
    thread,
    time::Duration,
};

use testkit::{
    cluster::{TOPIC, cluster, producer},
    exporter::{Exporter, count, program},
    produce::{Flows, unnamed},
};

const LIMIT: Duration = Duration::from_secs(60);
const GROUP: &str = "--group=flows";

fn arguments(brokers: &str, state: &Path) -> Vec<String> {
    let mut arguments = count(brokers, TOPIC);
    arguments.push(format!("--state-dir={}", state.display()));
    arguments
}

/// Runs a command about a state directory, and returns what it prints.
fn state(command: &str, directory: &Path) -> String {
    let directory = format!("--state-dir={}", directory.display());
    let output = Command::new(program()).args(["state", command, &directory]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Expects the program to end because the brokers are those of another cluster.
fn assert_refuses(exporter: Exporter) {
    let (status, log) = exporter.end(LIMIT);
    assert_eq!(status.code(), Some(1), "{log}");
    let line = log.lines().last().unwrap();
    for words in [TOPIC, "are those of cluster", "--brokers", "--state-dir", "forget-cluster"] {
        assert!(line.contains(words), "no {words}: {log}");
    }
}

/// Brokers that take connections and don't answer before they are opened.
struct Gate(TcpListener);

impl Gate {
    fn new() -> Self {
        Gate(TcpListener::bind("127.0.0.1:0").unwrap())
    }

    fn brokers(&self) -> String {
        self.0.local_addr().unwrap().to_string()
    }

    /// Lets these brokers answer.
    fn open(self, brokers: &str) {
        let brokers = brokers.to_owned();
        thread::spawn(move || {
            for client in self.0.incoming().map(Result::unwrap) {
                let Ok(broker) = TcpStream::connect(&brokers) else { return };
                let both =
                    [(client.try_clone().unwrap(), broker.try_clone().unwrap()), (broker, client)];
                for (mut from, mut to) in both {
                    // An end is an end, whichever side it comes from.
                    thread::spawn(move || drop(io::copy(&mut from, &mut to)));
                }
            }
        });
    }
}

fn does_not_count_another_cluster(more: &[&str]) {
    let (first, second) = (cluster(2), cluster(2));
    let directory = tempfile::tempdir().unwrap();
    let with_more = |brokers: &str| {
        let mut arguments = arguments(brokers, directory.path());
        arguments.extend(more.iter().map(|&argument| argument.to_owned()));
        arguments
    };
    let mut flows = Flows::new(41, 2, 20);
    let exporter = Exporter::start(&with_more(&first.bootstrap_servers()));
    producer(&first).send_flows(&mut flows, 300, 2);
    exporter.wait_for_totals(&flows.totals(unnamed), LIMIT);
    assert!(exporter.stop().success());

    // What it has is published before anybody answers.
    producer(&second).send_flows(&mut Flows::new(42, 2, 20), 1000, 2);
    let gate = Gate::new();
    let exporter = Exporter::start(&with_more(&gate.brokers()));
    assert_eq!(exporter.page().totals(), flows.totals(unnamed));
    gate.open(&second.bootstrap_servers());
    assert_refuses(exporter);

    // Nothing was counted and no position has moved.
    producer(&first).send_flows(&mut flows, 300, 2);
    let exporter = Exporter::start(&with_more(&first.bootstrap_servers()));
    exporter.wait_for_totals(&flows.totals(unnamed), LIMIT);
}

#[test]
fn another_clusters_topic_of_the_same_name_is_not_counted() {
    does_not_count_another_cluster(&[]);
}

#[test]
fn a_member_of_a_group_does_not_count_another_clusters_topic_of_the_same_name() {
    does_not_count_another_cluster(&[GROUP]);
}

#[test]
fn a_journal_without_a_cluster_goes_on_with_the_first_that_it_meets_and_keeps_to_it() {
    let (first, second) = (cluster(2), cluster(2));
    let directory = tempfile::tempdir().unwrap();
    let at_first = arguments(&first.bootstrap_servers(), directory.path());
    let at_second = arguments(&second.bootstrap_servers(), directory.path());
    let mut flows = Flows::new(43, 2, 20);
    let exporter = Exporter::start(&at_first);
    producer(&first).send_flows(&mut flows, 300, 2);
    exporter.wait_for_totals(&flows.totals(unnamed), LIMIT);
    assert!(exporter.stop().success());
    assert!(state("show", directory.path()).contains(" of cluster "));

    // As earlier versions wrote it. The topic has moved, with its offsets.
    assert!(state("forget-cluster", directory.path()).contains("is forgotten"));
    assert!(!state("show", directory.path()).contains(" of cluster "));
    assert!(state("forget-cluster", directory.path()).contains("no cluster is recorded"));
    producer(&second).send_flows(&mut Flows::new(43, 2, 20), 300, 2);
    let exporter = Exporter::start(&at_second);
    producer(&second).send_flows(&mut flows, 300, 2);
    exporter.wait_for_totals(&flows.totals(unnamed), LIMIT);
    assert!(exporter.stop().success());

    let address = testkit::servers::unused_address();
    let output = Command::new(program())
        .args(&at_first)
        .arg(format!("--addr={address}:9590"))
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("are those of cluster"), "{said}");

    let output = Command::new(program())
        .arg("check")
        .args(&at_first)
        .arg(format!("--addr={address}:9590"))
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("it holds counts from cluster"), "{said}");

    // It is in the journal also where nothing was counted since.
    let exporter = Exporter::start(&at_second);
    assert_eq!(exporter.page().totals(), flows.totals(unnamed));
    assert!(exporter.stop().success());
    assert!(state("verify", directory.path()).contains("sound"));
}
