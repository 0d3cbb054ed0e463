//! The setup of docker-compose.yml without Docker: its command lines, its Prometheus configuration,
//! and all queries of the documents and the dashboards for the original's counters.

#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rdkafka::{ClientConfig, mocking::MockCluster};
use tempfile::TempDir;

use testkit::{
    exporter::Exporter,
    monitoring::{dashboards, repository, shipped, with_values},
    produce::{ASN, Flows, Producer, unnamed},
    query::evaluate,
    servers::{PrometheusSettings, unused_address, wait_for},
};

const TOPIC: &str = "pmacct.acct";
/// The original's.
const METRICS: [&str; 2] = ["flow_receive_bytes_total", "flow_transmit_bytes_total"];
/// How long samples may take to arrive, with intervals of a second.
const LIMIT: Duration = Duration::from_secs(60);

/// The lines of a service in a compose file.
fn service(compose: &str, name: &str) -> Vec<String> {
    let header = format!("  {name}:");
    let after = compose.lines().skip_while(|line| *line != header).skip(1);
    let lines = after.take_while(|line| line.is_empty() || line.starts_with("    "));
    lines.map(|line| line.trim().to_owned()).collect()
}

/// The arguments of a service that runs the program: its command, and its environment variables as
/// flags.
pub(crate) fn arguments(files: &[&str], name: &str, kafka: &str, prometheus: &str) -> Vec<String> {
    let mut arguments = Vec::new();
    for line in files.iter().flat_map(|file| service(&shipped(file), name)) {
        if let Some(argument) = line.strip_prefix("- ").filter(|line| is_argument(line)) {
            arguments.push(argument.to_owned());
        } else if let Some(url) = line.strip_prefix("FLOW_EXPORTER_REMOTE_WRITE_URL: ") {
            arguments.push(format!("--remote-write-url={url}"));
            arguments.push("--remote-write-interval=1s".to_owned());
        }
    }
    let mounted = |path: &str| repository().join(path).display().to_string();
    for argument in &mut arguments {
        *argument = argument
            .replace("kafka:9092", kafka)
            .replace("http://prometheus:9090", prometheus)
            .replace("/etc/flow-exporter/", &mounted("compose/flow-exporter/"))
            .replace("/etc/flow-exporter-demo/", &mounted("src/demo/"))
            .replace("${FLOW_ASN:-64500}", &ASN.to_string());
        assert!(!argument.contains("${"), "{argument}");
    }
    assert!(arguments.iter().any(|argument| argument.starts_with("--brokers=")), "{arguments:?}");
    arguments
}

/// Whether an item of a list is an argument: a flag, or the command of the demo.
fn is_argument(item: &str) -> bool {
    item.starts_with("--") || item == "demo"
}

/// Writes the shipped Prometheus configuration to a directory, with short intervals.
pub(crate) fn configuration(directory: &Path, name: &str, exporter: &str) -> PathBuf {
    let rules = shipped("compose/prometheus/rules.yml").replace("interval: 1m", "interval: 1s");
    fs::write(directory.join("rules.yml"), rules).unwrap();
    let text = shipped(&format!("compose/prometheus/{name}"));
    let text = text.replace("flow-exporter:9590", exporter).replace("15s", "1s");
    let path = directory.join(name);
    fs::write(&path, text).unwrap();
    path
}

/// The queries for rates in indented lines of the documents.
pub(crate) fn documented_queries() -> Vec<String> {
    let pages = fs::read_dir(repository().join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let pages = pages.filter(|path| path.extension().is_some_and(|ending| ending == "md"));
    let mut texts: Vec<String> = pages.map(|path| fs::read_to_string(path).unwrap()).collect();
    texts.push(shipped("README.md"));
    let mut queries = Vec::new();
    for text in &texts {
        let lines = text.lines().filter(|line| line.starts_with("    ") && line.contains("rate("));
        queries.extend(lines.map(|line| line.trim().to_owned()));
    }
    assert!(!queries.is_empty(), "README.md has a query");
    queries
}

/// All queries for the original's flow counters in the documents and in dashboards.
fn queries(job: &str) -> Vec<String> {
    let mut queries = documented_queries();
    let shown = dashboards().into_iter().flat_map(|dashboard| dashboard.queries());
    // Those of variables select by a pattern.
    let shown = shown.filter(|query| query.place.0 != "variables");
    queries.extend(shown.map(|query| with_values(&query.expression, job)));
    queries.retain(|query| METRICS.iter().any(|metric| query.contains(metric)));
    assert!(queries.len() > 20, "{queries:?}");
    queries
}

/// The query restricted to one source.
fn of_one(query: &str, job: &str, instance: &str) -> String {
    let mut one = query.to_owned();
    for metric in METRICS {
        let chosen = format!("{metric}{{job=\"{job}\", instance=\"{instance}\"");
        let pieces: Vec<String> = one
            .split(metric)
            .enumerate()
            .map(|(place, piece)| match piece.strip_prefix('{') {
                _ if place == 0 => piece.to_owned(),
                Some(rest) => format!(", {rest}"),
                None => format!("}}{piece}"),
            })
            .collect();
        one = pieces.join(&chosen);
    }
    one
}

/// Counts known flows in the setup of these files, and runs all queries.
fn every_query_counts_once(files: &[&str], prometheus_yml: &str) {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic(TOPIC, 4, 1).unwrap();
    let directory = TempDir::new().unwrap();
    let address = unused_address();
    let configuration = configuration(directory.path(), prometheus_yml, &format!("{address}:9590"));
    let prometheus = PrometheusSettings::debian().start_as_is(&configuration);
    let url = prometheus.url();
    let mut arguments = arguments(files, "flow-exporter", &cluster.bootstrap_servers(), &url);
    // Names don't matter here.
    arguments.push("--as-names=none".to_owned());
    let exporter = Exporter::start_at(address, &arguments);
    wait_for("partitions", LIMIT, || match exporter.page().sum("flow_exporter_kafka_partitions") {
        4 => Ok(()),
        partitions => Err(format!("{partitions}")),
    });
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let ask = |query: &str| evaluate(&url, query, now());
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", cluster.bootstrap_servers());
    let mut flows = Flows::new(22, 2, 5);
    // Twice, so that series rise.
    for _ in 0..2 {
        Producer::new(&config, TOPIC).send_flows(&mut flows, 2000, 4);
        exporter.wait_for_totals(&flows.totals(unnamed), LIMIT);
        for metric in METRICS {
            let of_metric = |(series, bytes): (testkit::series::Series, u64)| {
                (series.metric == metric).then_some(bytes)
            };
            let produced: u64 = flows.totals(unnamed).into_iter().filter_map(of_metric).sum();
            wait_for("all bytes, once", LIMIT, || {
                let sums = ask(&format!("sum({metric})"))?;
                let sum = sums.values().next().copied().unwrap_or_default();
                #[allow(clippy::float_cmp, reason = "whole numbers")]
                if sum == produced as f64 { Ok(()) } else { Err(format!("{sum} of {produced}")) }
            });
        }
    }
    // Pushed samples may arrive later.
    if arguments.iter().any(|argument| argument.starts_with("--remote-write-url=")) {
        let confirmed = "flow_exporter_remote_write_samples_confirmed_total";
        let samples = 3 * exporter.page().sum("flow_exporter_series");
        exporter.wait_for_more(confirmed, exporter.page().sum(confirmed) + samples, LIMIT);
    }
    // Waits for a sample that is newer than the present. Then all older ones have arrived, so the
    // results of queries for this time don't change any more.
    let settled_after = |query: &str| {
        let time = now();
        wait_for(query, LIMIT, || {
            let newest = ask(query)?.values().next().copied().unwrap_or_default();
            if newest > time as f64 { Ok(()) } else { Err(format!("{newest}")) }
        });
        time
    };
    if fs::read_to_string(&configuration).unwrap().contains("scrape_configs:") {
        settled_after("max(timestamp(up))");
    }
    let sources = ask("count by (job, instance) (flow_receive_bytes_total)").unwrap();
    let (source, _) = sources.first_key_value().expect("a source");
    assert_eq!(sources.len(), 1, "{sources:?}");
    let (job, instance) = (&source["job"], &source["instance"]);
    assert_eq!(job, "flow-exporter", "the job that README.md and rules.yml have");
    // Alerts use the program's own metrics, and fire once if these exist once.
    wait_for("own metrics, once", LIMIT, || {
        let own = ask("flow_exporter_build_info")?;
        if own.len() == 1 { Ok(()) } else { Err(format!("{own:?}")) }
    });
    let time = settled_after("min(timestamp({__name__=~\"flow_(receive|transmit)_bytes_total\"}))");
    for query in queries(job) {
        let all = evaluate(&url, &query, time).unwrap();
        let one = evaluate(&url, &of_one(&query, job, instance), time).unwrap();
        assert_eq!(all, one, "{query}");
        // Documents ask for an AS of the demo, whose traffic tests/e2e/dashboards.rs has.
        assert!(!all.is_empty() || query.contains("source_as=\""), "{query}");
    }
}

#[test]
fn every_query_counts_once_what_the_compose_file_scrapes() {
    every_query_counts_once(&["docker-compose.yml"], "prometheus.yml");
}

#[test]
fn every_query_counts_once_what_the_compose_file_for_push_sends() {
    every_query_counts_once(&["docker-compose.yml", "compose/push.yml"], "prometheus-push.yml");
}
