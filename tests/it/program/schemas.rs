//! Messages of Avro whose schemas a registry has.

use std::{process::Command, time::Duration};

use flow_exporter::{
    flow::Schemas,
    registry::{Registry, RegistryConfig},
};
use testkit::{
    cluster::{Cluster, TOPIC, cluster, producer},
    exporter::{Exporter, KeptOnPanic, count, program},
    produce::ASN,
    registry::{FLOWS, SchemaRegistry, framed},
    servers::{unused_address, wait_for},
};

const LIMIT: Duration = Duration::from_secs(60);
const RECEIVED: &str = "flow_receive_bytes_total";
const ERRORS: &str = "flow_exporter_decode_errors_total";
const POSITION: &str = "flow_exporter_kafka_next_offset";

/// A flow to our AS.
fn avro(id: u32, bytes: u64) -> Vec<u8> {
    framed(id, "edge1", 15169, ASN, bytes)
}

fn json(bytes: u64) -> String {
    format!(r#"{{"label": "edge1", "as_src": 15169, "as_dst": {ASN}, "bytes": {bytes}}}"#)
}

fn start(cluster: &Cluster, registry: &SchemaRegistry, more: &[&str]) -> Exporter {
    let mut arguments = count(&cluster.bootstrap_servers(), TOPIC);
    arguments.push(registry.flag());
    arguments.extend(more.iter().map(ToString::to_string));
    Exporter::start(&arguments)
}

#[test]
fn a_partition_waits_at_a_message_until_the_registry_says_its_schema_and_a_restart_knows_it() {
    let cluster = cluster(2);
    let registry = SchemaRegistry::away();
    registry.register(7, FLOWS);
    let mut producer = producer(&cluster);
    for message in [json(1).into_bytes(), avro(7, 10), json(100).into_bytes(), avro(7, 1000)] {
        producer.send(0, &message);
    }
    producer.send(1, &json(10_000));
    producer.flush();
    let directory = KeptOnPanic::new("schemas-");
    let state = format!("--state-dir={}", directory.path().join("state").display());
    let exporter = start(&cluster, &registry, &[&state, "--workers=1"]);
    // What is before it, and in the other partition, counts.
    exporter.wait_for_sum(RECEIVED, 10_001, LIMIT);
    exporter.wait_until_it_says("does not say what the schema 7 is", LIMIT);
    exporter.wait_for_sum("flow_exporter_schemas_wanted", 1, LIMIT);
    wait_for("position", LIMIT, || match exporter.page().sum_with(POSITION, "partition", "0") {
        1 => Ok(()),
        other => Err(other.to_string()),
    });
    // A crash in between changes nothing.
    exporter.kill();
    let exporter = start(&cluster, &registry, &[&state, "--workers=1"]);
    exporter.wait_until_it_says("does not say what the schema 7 is", LIMIT);
    exporter.wait_for_sum(RECEIVED, 10_001, LIMIT);
    registry.recover();
    exporter.wait_for_sum(RECEIVED, 11_111, LIMIT);
    exporter.wait_until_ready(LIMIT);
    let page = exporter.page();
    assert_eq!((page.sum(ERRORS), page.sum("flow_exporter_schemas_wanted")), (0, 0));
    let asked = registry.requests().len();
    assert!(exporter.stop().success());
    // With the registry away, what it said before is enough.
    registry.go_away();
    producer.send(0, &avro(7, 100_000));
    producer.flush();
    let exporter = start(&cluster, &registry, &[&state]);
    exporter.wait_for_sum(RECEIVED, 111_111, LIMIT);
    assert_eq!(registry.requests().len(), asked);
    assert!(exporter.stop().success());
}

#[test]
fn an_id_without_an_answer_keeps_no_other_waiting() {
    let cluster = cluster(2);
    let registry = SchemaRegistry::start(&[(7, FLOWS)]);
    registry.keep_silent_about(5);
    let mut producer = producer(&cluster);
    producer.send(0, &avro(5, 1));
    producer.flush();
    let exporter = start(&cluster, &registry, &["--workers=1"]);
    exporter.wait_until_it_says("does not say what the schema 5 is", LIMIT);
    producer.send(1, &avro(7, 10));
    producer.flush();
    exporter.wait_for_sum(RECEIVED, 10, LIMIT);
    exporter.wait_until_it_says("does not say what the schema 5 is", LIMIT);
}

#[test]
fn a_partition_that_waits_holds_back_the_samples_of_its_time() {
    let cluster = cluster(1);
    let registry = SchemaRegistry::away();
    registry.register(7, FLOWS);
    let mut producer = producer(&cluster);
    producer.send(0, &avro(7, 1));
    producer.flush();
    // An endpoint that answers nothing: samples are made, and wait.
    let receiver = SchemaRegistry::away();
    let url = receiver.flag().replace("--schema-registry=", "--remote-write-url=");
    let exporter = start(&cluster, &registry, &[&url, "--remote-write-interval=1s"]);
    exporter.wait_until_it_says("does not say what the schema 7 is", LIMIT);
    let generated = "flow_exporter_remote_write_samples_generated_total";
    let before = exporter.page().sum(generated);
    // Several intervals pass while it is asked again.
    let asked = registry.requests().len();
    wait_for("requests", LIMIT, || match registry.requests().len() {
        now if now > asked + 2 => Ok(()),
        now => Err(now.to_string()),
    });
    assert_eq!(exporter.page().sum(generated), before, "no sample of a time that is not counted");
    registry.recover();
    exporter.wait_for_sum(RECEIVED, 1, LIMIT);
    exporter.wait_for_more(generated, before, LIMIT);
}

#[test]
fn what_no_registry_can_help_with_is_counted_by_reason_and_blocks_nothing() {
    let cluster = cluster(1);
    let registry = SchemaRegistry::start(&[(7, FLOWS), (8, r#""string""#)]);
    registry.register_as(9, r#"{"schemaType": "PROTOBUF", "schema": "syntax"}"#.to_owned());
    registry.register(10, &" ".repeat(5 << 20));
    let deep = format!(r#"{{"type": "record", "name": "r", "fields": {}1"#, "[".repeat(100_000));
    registry.register(11, &deep);
    let mut producer = producer(&cluster);
    for id in [1, 8, 9, 10, 11, u32::MAX, 7] {
        producer.send(0, &avro(id, 5));
    }
    producer.send(0, &[&avro(7, 5)[..], b"x"].concat());
    producer.send(0, &[0, 0, 0, 0, 7]);
    producer.flush();
    let exporter = start(&cluster, &registry, &[]);
    exporter.wait_for_sum(RECEIVED, 5, LIMIT);
    exporter.wait_for_sum(ERRORS, 8, LIMIT);
    let page = exporter.page();
    let of = |reason| page.sum_with(ERRORS, "reason", reason);
    let counted = ["unknown_schema", "unusable_schema", "syntax"].map(of);
    assert_eq!(counted, [2, 4, 2]);
    exporter.wait_for_log("its schema is PROTOBUF, not Avro", LIMIT);
    exporter.wait_for_log("the registry has no such schema", LIMIT);
    exporter.wait_for_log("its schema can't be used", LIMIT);
    exporter.wait_until_ready(LIMIT);
    // What is no schema of use is asked for twice, since registries may follow others.
    let times = |id| registry.requests().iter().filter(|(asked, _)| *asked == id).count();
    assert_eq!((times(1), times(8), times(7)), (2, 2, 1));
}

#[test]
fn an_answer_that_was_another_once_loses_nothing() {
    let cluster = cluster(1);
    let registry = SchemaRegistry::start(&[(7, FLOWS), (8, FLOWS), (9, FLOWS), (10, FLOWS)]);
    let mut producer = producer(&cluster);
    let exporter = start(&cluster, &registry, &[]);
    let page = "<html>".repeat(1 << 20);
    let protobuf = r#"{"schemaType": "PROTOBUF", "schema": "syntax"}"#;
    let cut = r#"{"schema": "{\"type\": \"rec"}"#;
    let long = format!(r#"{{"schema": "{}"}}"#, " ".repeat(5 << 20));
    let mut sum = 0;
    for (id, once, bytes) in [(7, &*page, 1), (8, protobuf, 10), (9, cut, 100), (10, &*long, 1000)]
    {
        registry.say_once(200, once);
        producer.send(0, &avro(id, bytes));
        producer.flush();
        sum += bytes;
        exporter.wait_for_sum(RECEIVED, sum, LIMIT);
    }
    assert_eq!(exporter.page().sum(ERRORS), 0);
    exporter.wait_until_ready(LIMIT);
}

#[test]
fn a_registry_in_trouble_and_a_server_that_is_none_lose_nothing_and_no_secret_is_shown() {
    let cluster = cluster(1);
    let registry = SchemaRegistry::away();
    registry.register(7, FLOWS);
    let mut producer = producer(&cluster);
    producer.send(0, &avro(7, 5));
    producer.flush();
    let directory = KeptOnPanic::new("schemas-");
    let password =
        directory.file("--schema-registry-password-file", "password", "hunter2-secret\n");
    let user = "--schema-registry-username=flows";
    let exporter = start(&cluster, &registry, &[user, &password, "--log-level=trace"]);
    for (status, body, said) in [
        (500, "hunter2-secret", "it answers 500"),
        (404, "<html>", "not as a schema registry does"),
    ] {
        registry.fail(status, body);
        exporter.wait_until_it_says(said, LIMIT);
        assert_eq!(exporter.page().sum(ERRORS), 0, "{status}");
    }
    registry.recover();
    exporter.wait_for_sum(RECEIVED, 5, LIMIT);
    exporter.wait_until_ready(LIMIT);
    let basic = "Basic Zmxvd3M6aHVudGVyMi1zZWNyZXQ=";
    assert!(registry.requests().iter().all(|(_, sent)| sent.as_deref() == Some(basic)));
    let log = exporter.log();
    assert!(!log.contains("hunter2") && !log.contains(basic), "{log}");
}

/// What a registry says of the schema 7.
async fn said_of_7(registry: &SchemaRegistry) -> Result<Vec<String>, String> {
    let flag = registry.flag();
    let (_, url) = flag.split_once('=').unwrap();
    let schemas = Schemas::default();
    let mut asked =
        Registry::new(&RegistryConfig::new(url).unwrap(), schemas.clone(), None).unwrap();
    assert!(schemas.find(7).is_none());
    let said = asked.ask_once().await;
    assert_eq!(schemas.find(7).is_some(), said.is_ok(), "what is not said stays unknown");
    said
}

#[tokio::test]
async fn only_what_a_registry_itself_says_of_a_schema_counts() {
    let registry = SchemaRegistry::start(&[(7, FLOWS)]);
    assert_eq!(said_of_7(&registry).await, Ok(vec![]));
    let not_found = r#"{"error_code": 40403, "message": "Schema 7 not found"}"#;
    registry.fail(404, not_found);
    let said = said_of_7(&registry).await.unwrap().remove(0);
    assert!(said.contains("no such schema"), "{said}");
    for (status, body, expected) in [
        (500, not_found, "it answers 500"),
        (503, "", "it answers 503"),
        (401, "{}", "check the user and the password"),
        (403, "{}", "check the user and the password"),
        (404, "<html>", "not as a schema registry does"),
        (404, r#"{"error_code": 404}"#, "not as a schema registry does"),
        (200, "<html>", "it is no schema registry"),
        (
            200,
            &*"<html>".repeat(1 << 20),
            "with more than 4194304 bytes, so it is no schema registry",
        ),
        (200, &*format!("{{}}{}", " ".repeat(5 << 20)), "it is no schema registry"),
        (500, &*"x".repeat(5 << 20), "it answers 500 Internal Server Error with more than"),
        (200, r#"{"schema": 7}"#, "it is no schema registry"),
        (301, "", "give the URL that it redirects to"),
        (429, "{}", "it answers 429"),
    ] {
        registry.fail(status, body);
        let said = said_of_7(&registry).await.unwrap_err();
        assert!(said.contains(expected), "{status}: {said}");
    }
    registry.go_away();
    let said = said_of_7(&registry).await.unwrap_err();
    assert!(said.contains("check that it runs"), "{said}");
}

#[test]
fn check_asks_the_registry_and_says_what_would_wait() {
    let cluster = cluster(1);
    let registry = SchemaRegistry::start(&[(7, FLOWS), (8, r#""string""#)]);
    let mut producer = producer(&cluster);
    let check = || {
        let output = Command::new(program())
            .args(["check", &format!("--brokers={}", cluster.bootstrap_servers())])
            .args([&format!("--topic={TOPIC}"), &format!("--asn={ASN}"), "--state-dir=none"])
            .args([&format!("--addr={}:9590", unused_address()), &registry.flag()])
            .output()
            .unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    producer.send(0, &avro(7, 5));
    producer.flush();
    let (_, said) = check();
    assert!(said.contains("/ccompat: works\n  it answers\n"), "{said}");
    assert!(said.contains("messages by format: pmacct's Avro (1)\n"), "{said}");
    assert!(said.contains("1 flows, 0 records that are no flows"), "{said}");
    registry.go_away();
    let (code, said) = check();
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("/ccompat: DOES NOT WORK"), "{said}");
    assert!(said.contains("1 of the newest messages need a schema that is not known"), "{said}");
    registry.recover();
    producer.send(0, &avro(8, 5));
    producer.flush();
    let (_, said) = check();
    assert!(
        said.contains("messages with schema 8 can't be decoded: its schema can't be used"),
        "{said}"
    );
}
