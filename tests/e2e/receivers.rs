//! Servers that answer a push although they are no receiver, or refuse all of it: no sample is
//! lost. And what receivers log about us.

use std::{path::Path, process::Command, time::Duration};

use rdkafka::{ClientConfig, mocking::MockCluster, producer::DefaultProducerContext};
use tempfile::TempDir;

use testkit::{
    exporter::{Exporter, count, program},
    produce::{Flows, Producer, unnamed},
    series::compare,
    servers::{Database, PrometheusSettings, VictoriaMetrics, wait_for},
};

const TOPIC: &str = "pmacct.acct";
const LIMIT: Duration = Duration::from_secs(60);

const HELD: &str = "flow_exporter_remote_write_held";
const REQUESTS: &str = "flow_exporter_remote_write_requests_total";
const CONFIRMED: &str = "flow_exporter_remote_write_samples_confirmed_total";
const DROPPED: &str = "flow_exporter_remote_write_samples_dropped_total";
const PENDING: &str = "flow_exporter_remote_write_samples_pending";

type Cluster = MockCluster<'static, DefaultProducerContext>;

/// Flows in a topic of a mock cluster.
fn flows() -> (Cluster, Producer, Flows) {
    let cluster = MockCluster::new(1).expect("brokers");
    cluster.create_topic(TOPIC, 1, 1).expect("a topic");
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", cluster.bootstrap_servers());
    let mut producer = Producer::new(&config, TOPIC);
    let mut flows = Flows::new(31, 3, 100);
    producer.send_flows(&mut flows, 5_000, 1);
    (cluster, producer, flows)
}

/// Pushes to this URL, at an interval so short that refused samples pile up.
fn push_to(cluster: &Cluster, url: &str, state: &Path) -> Exporter {
    let mut arguments = count(&cluster.bootstrap_servers(), TOPIC);
    arguments.push(format!("--state-dir={}", state.display()));
    arguments.push(format!("--remote-write-url={url}"));
    arguments.push("--remote-write-interval=500ms".to_owned());
    Exporter::start(&arguments)
}

/// Whether `check` succeeds for this URL, and its output.
fn check(url: &str) -> (bool, String) {
    let output = Command::new(program())
        .args(["check", &format!("--remote-write-url={url}")])
        .output()
        .expect("the program runs");
    (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Pushes to a server that stores no samples: all samples wait, `check` fails, and few requests are
/// made. Then the same state is pushed to a real receiver.
fn holds(url: &str, most_requests: u64, expected: &str) {
    let (works, said) = check(url);
    assert!(!works, "{url}: {said}");
    let (cluster, _producer, flows) = flows();
    let directory = TempDir::new().expect("a temporary directory");
    let state = directory.path().join("state");
    // The name keeps the endpoint's identity when the URL is corrected.
    let config = directory.path().join("flow-exporter.yml");
    let arguments = |url: &str| {
        let text = format!("remote_write:\n- name: here\n  url: {url}\n");
        std::fs::write(&config, text).expect("the configuration is written");
        let mut arguments = count(&cluster.bootstrap_servers(), TOPIC);
        arguments.push(format!("--state-dir={}", state.display()));
        arguments.push(format!("--config={}", config.display()));
        arguments.push("--remote-write-interval=500ms".to_owned());
        arguments
    };
    let exporter = Exporter::start(&arguments(url));
    exporter.wait_for_sum(HELD, 1, LIMIT);
    let first = exporter.page().sum(PENDING);
    exporter.wait_for_more(PENDING, first, LIMIT);
    let page = exporter.page();
    assert_eq!((page.sum(CONFIRMED), page.sum(DROPPED)), (0, 0), "{url}");
    let requests = page.sum(REQUESTS);
    assert!(requests <= most_requests, "{url}: {requests} requests");
    exporter.wait_for_log("NOTHING IS PUSHED", LIMIT);
    exporter.wait_for_log(expected, LIMIT);
    assert!(exporter.stop().success());

    let victoria = VictoriaMetrics::start();
    let exporter = Exporter::start(&arguments(&victoria.write_url()));
    wait_for("all that waited", LIMIT, || compare(&flows.totals(unnamed), &victoria.totals()?));
    exporter.wait_for_account(LIMIT);
    assert_eq!(exporter.page().sum(DROPPED), 0, "{url}");
    assert!(exporter.stop().success());
}

#[test]
fn a_wrong_path_of_victoria_metrics_loses_no_sample() {
    let victoria = VictoriaMetrics::start();
    // It answers 400 to unknown paths: two requests.
    holds(&format!("{}/", victoria.write_url()), 2, "unsupported path");
    // These paths answer 2xx to everything, even to bytes that are not remote write.
    for path in ["/api/v1/import", "/api/v1/import/prometheus", "/influx/write", "/health"] {
        holds(&format!("{}{path}", victoria.url()), 4, "no receiver of remote write");
    }
}

#[test]
fn plain_http_to_a_port_that_speaks_tls_loses_no_sample() {
    let directory = TempDir::new().expect("a temporary directory");
    let [certificate, key] = ["cert.pem", "key.pem"].map(|name| directory.path().join(name));
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=receiver"])
        .arg("-keyout")
        .arg(&key)
        .arg("-out")
        .arg(&certificate)
        .output();
    assert!(made.as_ref().is_ok_and(|made| made.status.success()), "{made:?}");
    let prometheus = PrometheusSettings::debian().with_tls(certificate, key).start(&[]);
    holds(&prometheus.write_url(), 2, "HTTP request to an HTTPS server");
}

#[test]
fn receivers_log_one_line_about_us_at_most_whichever_side_restarts() {
    let victoria = VictoriaMetrics::start();
    let prometheus = PrometheusSettings::debian().start(&[]);
    let (cluster, mut producer, mut flows) = flows();
    let receivers: [(&dyn Database, &dyn Fn() -> String); 2] =
        [(&victoria, &|| victoria.log()), (&prometheus, &|| prometheus.log())];
    for (receiver, log) in receivers {
        let state = TempDir::new().expect("a temporary directory");
        for _ in 0..3 {
            let exporter = push_to(&cluster, &receiver.write_url(), state.path());
            producer.send_flows(&mut flows, 1_000, 1);
            // Long enough to probe all abilities of a receiver.
            let before = exporter.page().sum(CONFIRMED);
            let confirmed = exporter.wait_for_more(CONFIRMED, before, LIMIT);
            exporter.wait_for_more(CONFIRMED, confirmed + 500, LIMIT);
            assert!(exporter.stop().success());
        }
        let log = log();
        let lines: Vec<_> = log.lines().filter(|line| line.contains("snappy")).collect();
        assert_eq!(lines.len(), 1, "{}: {lines:?}", receiver.name());
        let (works, said) = check(&receiver.write_url());
        assert!(works, "{said}");
    }
}
