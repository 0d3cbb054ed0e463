//! Other views while two databases are pushed to: sums by view are right in both, the series that ended
//! are stale there, and those that begin again with the same labels grow by what was counted.

use std::{fs, path::Path, time::Duration};

use tempfile::TempDir;

use testkit::{
    exporter::{Exporter, count},
    produce::{Flows, Producer, unnamed},
    query,
    series::growth,
    servers::{Database, Kafka, PrometheusSettings, VictoriaMetrics, wait_for},
};

const TOPIC: &str = "pmacct.acct";
const LIMIT: Duration = Duration::from_secs(60);

/// Every flow is counted in each of these views.
const BEFORE: &str = "views:
  flow: {}
  gone: {labels: [protocol]}
  device: {labels: [hostname]}
";
const AFTER: &str = "views:
  flow: {}
  device: {labels: [hostname, protocol], where: {protocol: udp}}
  fresh: {labels: [source_as]}
";

fn configure(file: &Path, views: &str, databases: &[&dyn Database]) {
    let urls = databases.iter().map(|database| format!("- url: {}\n", database.write_url()));
    fs::write(file, format!("{views}remote_write:\n{}", urls.collect::<String>()))
        .expect("the configuration is written");
}

/// The bytes of a view in a database, those of its ended series included if that is asked for.
fn bytes(url: &str, view: &str, with_ended: bool) -> Result<u64, String> {
    let mut sum = 0;
    for class in ["receive", "transmit"] {
        let metric = format!("flow_{view}{class}_bytes_total");
        let query = if with_ended {
            format!("sum(last_over_time({metric}[1h]))")
        } else {
            format!("sum({metric})")
        };
        sum += query::newest_sum(url, &query)?;
    }
    Ok(sum)
}

#[test]
fn views_that_change_with_a_restart_have_right_sums_and_stale_series_in_databases() {
    let kafka = Kafka::start();
    kafka.create_topic(TOPIC, 4);
    let (prometheus, victoria) =
        (PrometheusSettings::debian().start(&[]), VictoriaMetrics::start());
    let databases: [&dyn Database; 2] = [&prometheus, &victoria];
    let directory = TempDir::new().expect("a temporary directory");
    let config = directory.path().join("config.yml");
    let mut arguments = count(&kafka.brokers(), TOPIC);
    arguments.extend([
        format!("--config={}", config.display()),
        format!("--state-dir={}", directory.path().join("state").display()),
        "--remote-write-interval=1s".to_owned(),
    ]);
    let wait_for_sums = |expected: &[(&str, u64, u64)]| {
        for (name, url) in
            [(prometheus.name(), prometheus.url()), (victoria.name(), victoria.url())]
        {
            wait_for(&format!("sums in {name}"), LIMIT, || {
                for &(view, living, all) in expected {
                    let found = (bytes(&url, view, false)?, bytes(&url, view, true)?);
                    if found != (living, all) {
                        return Err(format!("{view}: {found:?} instead of {living}, {all}"));
                    }
                }
                Ok(())
            });
        }
    };

    let (mut flows, mut producer) = (Flows::new(61, 3, 50), Producer::new(&kafka.client(), TOPIC));
    let mut produce = || {
        producer.send_flows(&mut flows, 20_000, 4);
        let totals = flows.totals(unnamed);
        (totals.values().sum::<u64>(), totals)
    };
    configure(&config, BEFORE, &databases);
    let exporter = Exporter::start(&arguments);
    let (first, totals) = produce();
    exporter.wait_for_totals(&totals, LIMIT);
    wait_for_sums(&[("", first, first), ("gone_", first, first), ("device_", first, first)]);
    assert!(exporter.stop().success());

    configure(&config, AFTER, &databases);
    let exporter = Exporter::start(&arguments);
    let (all, totals) = produce();
    exporter.wait_for_totals(&totals, LIMIT);
    let new = all - first;
    wait_for_sums(&[
        ("", all, all),
        ("gone_", 0, first),
        ("device_", new, all),
        ("fresh_", new, new),
    ]);
    exporter.wait_for_account(LIMIT);
    assert_eq!(exporter.page().sum("flow_exporter_remote_write_samples_dropped_total"), 0);
    assert!(exporter.stop().success());
}

/// Bytes by host, of all flows or of those that pass a filter which all pass.
const ALL: &str = "views: {flow: {labels: [hostname]}}\n";
const FILTERED: &str = "views: {flow: {labels: [hostname], where: {protocol: udp}}}\n";

#[test]
fn series_that_begin_again_with_the_same_labels_grow_by_what_was_counted() {
    let kafka = Kafka::start();
    kafka.create_topic(TOPIC, 4);
    let (prometheus, victoria) =
        (PrometheusSettings::debian().start(&[]), VictoriaMetrics::start());
    let databases: [&dyn Database; 2] = [&prometheus, &victoria];
    let directory = TempDir::new().expect("a temporary directory");
    let config = directory.path().join("config.yml");
    let mut arguments = count(&kafka.brokers(), TOPIC);
    arguments.extend([
        format!("--config={}", config.display()),
        format!("--state-dir={}", directory.path().join("state").display()),
        "--remote-write-interval=1s".to_owned(),
    ]);
    let increase = |url: &str| {
        let of =
            |class| query::newest_sum(url, &format!("sum(increase(flow_{class}_bytes_total[1h]))"));
        Ok::<_, String>(of("receive")? + of("transmit")?)
    };
    let (mut flows, mut producer) = (Flows::new(62, 3, 50), Producer::new(&kafka.client(), TOPIC));
    // Each time so many more that the first value is larger than the last one of the series before.
    let mut produce = |round: u32| {
        producer.send_flows(&mut flows, 100 * 3_u64.pow(round), 4);
        flows.totals(unnamed).values().sum::<u64>()
    };
    let wait_for_growth = |counted: u64| {
        for database in databases {
            wait_for(&format!("growth in {}", database.name()), LIMIT, || {
                let all = database.samples()?;
                let of_one = |exported: query::Exported| {
                    growth(exported.samples.into_iter().map(|(_, value)| value))
                };
                let grown = all.into_iter().map(of_one).sum::<u64>();
                if grown == counted { Ok(()) } else { Err(format!("{grown} of {counted}")) }
            });
        }
        wait_for("increase() of VictoriaMetrics", LIMIT, || {
            let found = increase(&victoria.url())?;
            if found == counted { Ok(()) } else { Err(format!("{found} instead of {counted}")) }
        });
    };

    configure(&config, ALL, &databases);
    let exporter = Exporter::start(&arguments);
    for round in 0..5 {
        if round > 0 {
            configure(&config, if round % 2 == 0 { ALL } else { FILTERED }, &databases);
            exporter.reload().expect("other views are taken up");
        }
        wait_for_growth(produce(round));
    }
    assert!(exporter.stop().success());

    arguments.push("--series-ttl=1s".to_owned());
    let exporter = Exporter::start(&arguments);
    let mut counted = 0;
    for round in 3..6 {
        exporter.wait_for_sum("flow_exporter_series", 0, LIMIT);
        counted = produce(round);
        wait_for_growth(counted);
    }
    // Prometheus extrapolates by half of the time between two samples.
    let found = increase(&prometheus.url()).expect("Prometheus answers");
    assert!(found.abs_diff(counted) < counted / 10, "{found} instead of {counted}");
    exporter.wait_for_account(LIMIT);
    assert_eq!(exporter.page().sum("flow_exporter_remote_write_samples_dropped_total"), 0);
    assert!(exporter.stop().success());
}
