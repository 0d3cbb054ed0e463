//! The API of the running program: what is counted comes through, and a restart makes no rates.

use std::{fs, path::Path, time::Duration};

use serde_json::Value;
use testkit::{
    cluster::{TOPIC, cluster, producer},
    exporter::{Exporter, count},
    http,
    produce::{ASN, Flows, unnamed},
    series::Totals,
};

const LIMIT: Duration = Duration::from_secs(60);

fn arguments(brokers: &str, state: &Path) -> Vec<String> {
    let mut arguments = count(brokers, TOPIC);
    arguments.push(format!("--state-dir={}", state.display()));
    arguments
}

fn get(exporter: &Exporter, path: &str) -> Result<String, String> {
    http::get(&exporter.page_url().replace("/metrics", path))
}

/// Bytes in both directions that the history has, as the total and as the sum of all rows and the rest.
fn told(exporter: &Exporter) -> [u64; 2] {
    let answer = get(exporter, "/api/v1/traffic?by=remote_as,hostname&limit=7&over=3600").unwrap();
    let answer: Value = serde_json::from_str(&answer).unwrap();
    let bytes = |of: &Value| {
        ["receive", "transmit"]
            .map(|class| of[class]["bytes"].as_u64().unwrap())
            .iter()
            .sum::<u64>()
    };
    let rows = answer["rows"].as_array().unwrap();
    assert!(rows.len() <= 7, "{answer}");
    [bytes(&answer["total"]), rows.iter().map(bytes).sum::<u64>() + bytes(&answer["rest"])]
}

fn sum(totals: &Totals) -> u64 {
    totals.values().sum()
}

#[test]
fn traffic_is_that_of_this_process_and_a_restart_makes_none() {
    let cluster = cluster(2);
    let mut producer = producer(&cluster);
    let directory = tempfile::tempdir().unwrap();
    let arguments = arguments(&cluster.bootstrap_servers(), &directory.path().join("state"));
    let exporter = Exporter::start(&arguments);
    let mut flows = Flows::new(22, 2, 20);
    producer.send_flows(&mut flows, 1000, 2);
    exporter.wait_for_totals(&flows.totals(unnamed), LIMIT);
    let before = sum(&flows.totals(unnamed));
    assert_eq!(told(&exporter), [before; 2]);
    assert!(exporter.stop().success());

    let exporter = Exporter::start(&arguments);
    exporter.wait_for_totals(&flows.totals(unnamed), LIMIT);
    assert_eq!(told(&exporter), [0; 2]);
    producer.send_flows(&mut flows, 1000, 2);
    exporter.wait_for_totals(&flows.totals(unnamed), LIMIT);
    let after = sum(&flows.totals(unnamed)) - before;
    assert_eq!(told(&exporter), [after; 2]);
    let status: Value = serde_json::from_str(&get(&exporter, "/api/v1/status").unwrap()).unwrap();
    assert_eq!(status["source"]["kafka"]["partitions"], 2, "{status}");
}

#[test]
fn without_a_history_there_is_a_status_but_no_traffic() {
    let cluster = cluster(1);
    let mut arguments = count(&cluster.bootstrap_servers(), TOPIC);
    arguments.extend(["--state-dir=none".to_owned(), "--history-max-bytes=0".to_owned()]);
    let exporter = Exporter::start(&arguments);
    for path in ["/api/v1/traffic", "/api/v1/events"] {
        let refusal = get(&exporter, path).unwrap_err();
        let error = "there is no history of traffic: start without --history-max-bytes 0";
        assert!(refusal.contains("404") && refusal.contains(error), "{refusal}");
    }
    let status: Value = serde_json::from_str(&get(&exporter, "/api/v1/status").unwrap()).unwrap();
    assert_eq!(status["history"], Value::Null, "{status}");
}

/// The bytes that came to us, of a view, and since when it is known.
fn received(exporter: &Exporter, view: &str) -> (u64, f64) {
    let path = format!("/api/v1/traffic?view={view}&by=remote_as&over=3600");
    let answer: Value = serde_json::from_str(&get(exporter, &path).unwrap()).unwrap();
    let bytes = answer["total"]["receive"]["bytes"].as_u64().unwrap();
    (bytes, answer["since"].as_f64().unwrap())
}

#[test]
fn the_past_of_a_view_that_a_reload_changes_or_adds_begins_with_the_reload() {
    let cluster = cluster(1);
    let mut producer = producer(&cluster);
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("config.yml");
    let configure = |views: &str| {
        fs::write(&config, format!("views: {{flow: {{}}, {views}}}")).unwrap();
    };
    configure("by_as: {labels: [remote_as], where: {hostname: edge1}}");
    let mut arguments = arguments(&cluster.bootstrap_servers(), &directory.path().join("state"));
    arguments.push(format!("--config={}", config.display()));
    let exporter = Exporter::start(&arguments);
    let mut all = 0;
    let mut send = |bytes: [u64; 2]| {
        for (hostname, bytes) in ["edge1", "edge2"].into_iter().zip(bytes) {
            let flow = format!(
                r#"{{"label": "{hostname}", "as_src": 64501, "as_dst": {ASN}, "bytes": {bytes}}}"#
            );
            producer.send(0, &flow);
            all += bytes;
        }
        producer.flush();
        exporter.wait_for_sum("flow_receive_bytes_total", all, LIMIT);
    };
    send([100, 30]);
    assert_eq!(received(&exporter, "by_as").0, 100);
    let (all, began) = received(&exporter, "flow");
    assert_eq!(all, 130);

    configure(
        "by_as: {labels: [remote_as], where: {hostname: edge2}}, added: {labels: [hostname, remote_as]}",
    );
    exporter.reload().expect("it is taken up");
    for view in ["by_as", "added"] {
        let (bytes, since) = received(&exporter, view);
        assert_eq!(bytes, 0, "{view}");
        assert!(since > began, "{view}: {since} {began}");
    }
    send([7, 5]);
    assert_eq!(received(&exporter, "by_as").0, 5);
    assert_eq!(received(&exporter, "added").0, 12);
    assert_eq!(received(&exporter, "flow"), (142, began));
}
