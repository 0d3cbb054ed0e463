//! Every query of the dashboards and the documents, and every rule, in a real Prometheus, while the demo runs.

#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]

use std::{
    process::Command,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rdkafka::mocking::MockCluster;
use serde_json::Value;
use tempfile::TempDir;

use testkit::{
    exporter::{Exporter, program},
    http,
    monitoring::{Query, dashboards, list, repository, rules, with_values},
    query::evaluate,
    servers::{Process, PrometheusSettings, unused_address, wait_for},
};

use super::compose::{arguments, configuration, documented_queries};

const TOPIC: &str = "pmacct.acct";
const JOB: &str = "flow-exporter";
/// The one rule that only Kafka has something for.
const LAG: &str = "job_instance_topic:flow_exporter_kafka_lag_messages:sum";
/// How long the first samples may take, with intervals of a second; the recorded rates are made of
/// two of them.
const LIMIT: Duration = Duration::from_secs(60);

/// What runs, which decides what there is to see.
struct Setup {
    kafka: bool,
    collector: bool,
    push: bool,
}

impl Setup {
    /// Whether a query has to find something.
    fn has(&self, dashboard: &str, query: &Query) -> bool {
        let (row, panel) = (&*query.place.0, &*query.place.1);
        let source = match (row, panel) {
            ("Kafka", _) => self.kafka,
            ("Collector: exporters", _) | ("variables", "exporter") => self.collector,
            _ => true,
        };
        let is_push = dashboard.ends_with("/push.json");
        source && !query.may_be_empty && (!is_push || self.push || row == "annotations")
    }
}

/// Each query finds something, unless the panel says what it means that there is nothing, and
/// Prometheus can evaluate each of them and each rule.
fn every_query_finds_something(url: &str, setup: &Setup) {
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let something = |query: &str| {
        let result = evaluate(url, query, now())?;
        if result.is_empty() { Err("nothing".to_owned()) } else { Ok(()) }
    };
    let mut found = 0;
    for dashboard in dashboards() {
        for query in dashboard.queries() {
            let expression = with_values(&query.expression, JOB);
            let what = format!("{} {:?}: {expression}", dashboard.file, query.place);
            if setup.has(&dashboard.file, &query) {
                wait_for(&what, LIMIT, || something(&expression));
                found += 1;
            } else {
                evaluate(url, &expression, now()).unwrap_or_else(|error| panic!("{what}: {error}"));
            }
        }
    }
    assert!(found > 100, "{found} queries");
    for query in documented_queries() {
        let result =
            evaluate(url, &query, now()).unwrap_or_else(|error| panic!("{query}: {error}"));
        assert!(!result.is_empty(), "{query}");
    }

    let mut loaded = Vec::new();
    wait_for("rules that can be evaluated", LIMIT, || {
        let answer = http::get(&format!("{url}/api/v1/rules"))?;
        let answer: Value = serde_json::from_str(&answer).map_err(|error| error.to_string())?;
        let groups = list(&answer["data"], "groups").iter();
        loaded = groups.flat_map(|group| list(group, "rules")).cloned().collect();
        match loaded.iter().find(|rule| rule["health"] != "ok") {
            Some(rule) => Err(rule.to_string()),
            None => Ok(()),
        }
    });
    assert_eq!(loaded.len(), rules().len());
    for rule in loaded {
        if rule["type"] == "recording" && (setup.kafka || rule["name"] != LAG) {
            let name = rule["name"].as_str().unwrap();
            wait_for(name, LIMIT, || something(name));
        }
    }
}

/// The table of the demo has all of its addresses, so that nobody's first look is at an empty label.
fn every_country_is_known(exporter: &Exporter) {
    let page = exporter.page();
    for way in ["receive", "transmit"] {
        let metric = format!("flow_country_{way}_bytes_total");
        assert_ne!(page.sum_with(&metric, "remote_country", "US"), 0, "{metric}");
        assert_eq!(page.sum_with(&metric, "remote_country", ""), 0, "{metric}");
    }
}

/// The compose file's flow-exporter, with its demo in front of it.
fn with_the_demo_of_the_compose_file(files: &[&str], prometheus_yml: &str, push: bool) {
    let cluster = MockCluster::new(1).expect("a cluster");
    cluster.create_topic(TOPIC, 4, 1).expect("a topic");
    let directory = TempDir::new().expect("a temporary directory");
    let address = unused_address();
    let configuration = configuration(directory.path(), prometheus_yml, &format!("{address}:9590"));
    let prometheus = PrometheusSettings::debian().start_as_is(&configuration);
    let brokers = cluster.bootstrap_servers();
    let mut own = arguments(files, "flow-exporter", &brokers, &prometheus.url());
    own.push("--as-names=embedded".to_owned());
    let exporter = Exporter::start_at(address, &own);
    let mut demo = Command::new(program());
    demo.args(arguments(files, "demo", &brokers, &prometheus.url()));
    let _demo = Process::start("demo", &mut demo, directory.path().join("demo.log"));

    every_query_finds_something(&prometheus.url(), &Setup { kafka: true, collector: false, push });
    every_country_is_known(&exporter);
    assert!(exporter.stop().success());
}

#[test]
fn every_query_finds_something_of_the_demo_where_flow_exporter_is_scraped() {
    with_the_demo_of_the_compose_file(&["docker-compose.yml"], "prometheus.yml", false);
}

#[test]
fn every_query_finds_something_of_the_demo_where_flow_exporter_pushes() {
    let files = ["docker-compose.yml", "compose/push.yml"];
    with_the_demo_of_the_compose_file(&files, "prometheus-push.yml", true);
}

#[test]
fn every_query_finds_something_of_the_demo_of_routers() {
    let directory = TempDir::new().expect("a temporary directory");
    let address = unused_address();
    let configuration =
        configuration(directory.path(), "prometheus-push.yml", &format!("{address}:9590"));
    let prometheus = PrometheusSettings::debian().start_as_is(&configuration);
    let views = repository().join("compose/flow-exporter/views.yml");
    let exporter = Exporter::start_at(
        address,
        &[
            "demo".to_owned(),
            "--collect".to_owned(),
            format!("--config={}", views.display()),
            format!("--remote-write-url={}/api/v1/write", prometheus.url()),
            "--remote-write-interval=1s".to_owned(),
        ],
    );
    let setup = Setup { kafka: false, collector: true, push: true };
    every_query_finds_something(&prometheus.url(), &setup);
    every_country_is_known(&exporter);
    assert!(exporter.stop().success());
}
