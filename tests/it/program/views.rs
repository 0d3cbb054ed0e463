//! Views that change by a reload: the others count on, no position is lost, and what the changed ones
//! counted is with receivers, once.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use rand::{Rng, SeedableRng, rngs::SmallRng};

use testkit::{
    cluster::{Cluster, TOPIC, cluster, producer},
    exporter::{Exporter, KeptOnPanic, count},
    http,
    page::Page,
    produce::{ASN, Flows, unnamed},
    receiver::{Labels, Receiver},
    series::{Totals, whole},
};

const PARTITIONS: i32 = 4;
const LIMIT: Duration = Duration::from_secs(60);
const SUCCESSFUL: &str = "flow_exporter_config_last_reload_successful";

/// Every flow is counted in each of these views.
const BEFORE: &str = "views:
  flow: {}
  gone: {labels: [protocol]}
  device: {labels: [hostname]}
";
const AFTER: &str = "views:
  device: {labels: [hostname, protocol], where: {protocol: [udp, tcp]}}
  flow: {}
  fresh: {labels: [source_as]}
";

/// Writes the configuration: views, and endpoints with external labels.
fn configure(file: &Path, views: &str, receiver: &Receiver) {
    let text = format!(
        "{views}global: {{external_labels: {{zone: east}}}}\nremote_write: [{{url: '{}'}}]\n",
        receiver.url("/write")
    );
    fs::write(file, text).unwrap();
}

fn arguments(cluster: &Cluster, directory: &Path) -> Vec<String> {
    let mut arguments = count(&cluster.bootstrap_servers(), TOPIC);
    arguments.extend([
        format!("--config={}", directory.join("config.yml").display()),
        format!("--state-dir={}", directory.join("state").display()),
        "--remote-write-interval=200ms".to_owned(),
        "--workers=2".to_owned(),
    ]);
    arguments
}

/// Bytes of all series of a view but the original's.
fn bytes(page: &Page, view: &str) -> u64 {
    let of = |class| page.sum(&format!("flow_{view}_{class}_bytes_total"));
    of("receive") + of("transmit")
}

/// What the series of the view `flow` count, and what it ignores, is all that was read.
fn assert_balanced(page: &Page) {
    let ignored = "flow_exporter_view_flow_bytes_ignored_total";
    let of_view = page.totals().values().sum::<u64>() + page.sum_with(ignored, "view", "flow");
    let all = ["flow_exporter_flow_bytes_total", "flow_exporter_flow_bytes_ignored_total"];
    assert_eq!(of_view, all.map(|name| page.sum(name)).iter().sum::<u64>(), "{}", page.0);
}

/// Ends the traffic of a test, even if that fails.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The samples of each series of flows, by time.
type Samples = BTreeMap<Labels, BTreeMap<i64, f64>>;

/// Adds what a receiver has got.
fn receive(receiver: &mut Receiver, series: &mut Samples) {
    while let Some(request) = receiver.received() {
        if request.is_undecodable() {
            continue;
        }
        for (labels, time_ms, value) in request.samples() {
            let name = labels.get("__name__").map(String::as_str).unwrap_or_default();
            if name.starts_with("flow_") && !name.starts_with("flow_exporter_") {
                series.entry(labels).or_default().insert(time_ms, value);
            }
        }
    }
}

/// Bytes by view, those of the original's first: of the series that have ended, and of those that
/// live.
fn sums(series: &Samples) -> [[u64; 2]; 4] {
    let mut sums: BTreeMap<String, [u64; 2]> = BTreeMap::new();
    for (labels, samples) in series {
        let mut newest = samples.values().rev();
        let last = newest.next().unwrap();
        let value = if last.is_nan() { newest.next().unwrap() } else { last };
        let name = labels["__name__"].replace("receive", "*").replace("transmit", "*");
        sums.entry(name).or_default()[usize::from(!last.is_nan())] += whole(*value);
    }
    ["", "device_", "fresh_", "gone_"].map(|view| sums[&format!("flow_{view}*_bytes_total")])
}

#[test]
fn views_change_while_traffic_runs_and_by_a_restart_and_no_byte_is_lost_or_counted_twice() {
    let (cluster, mut receiver) = (cluster(PARTITIONS), http::block_on(async { Receiver::new() }));
    let mut producer = producer(&cluster);
    let directory = KeptOnPanic::new("flow-exporter-views-");
    let config = directory.path().join("config.yml");
    configure(&config, BEFORE, &receiver);
    let arguments = arguments(&cluster, directory.path());
    let exporter = Exporter::start(&arguments);
    let ended = AtomicBool::new(false);
    let flows = thread::scope(|scope| {
        let _ends = Ends(&ended);
        let traffic = scope.spawn(|| {
            let mut flows = Flows::new(51, 3, 20);
            while !ended.load(Ordering::Relaxed) {
                producer.send_flows(&mut flows, 200, PARTITIONS);
            }
            flows
        });
        let scrapes = scope.spawn(|| {
            while !ended.load(Ordering::Relaxed) {
                assert_balanced(&exporter.page());
            }
        });
        exporter.wait_for_more("flow_gone_receive_bytes_total", 0, LIMIT);
        exporter.wait_for_more("flow_device_receive_bytes_total", 0, LIMIT);
        configure(&config, AFTER, &receiver);
        let answer = exporter.reload().unwrap();
        for said in [
            "view gone removed: its series end",
            "view device changed: its series end, and others begin from zero",
            "view fresh added",
        ] {
            assert!(answer.contains(said), "{answer}");
        }
        assert!(!answer.contains("view flow") && !answer.contains("endpoint"), "{answer}");
        let page = exporter.page();
        assert!(!page.0.contains("flow_gone_"), "{}", page.0);
        exporter.wait_for_more("flow_fresh_receive_bytes_total", 0, LIMIT);
        exporter.wait_for_more("flow_device_receive_bytes_total", 0, LIMIT);
        ended.store(true, Ordering::Relaxed);
        scrapes.join().unwrap();
        traffic.join().unwrap()
    });
    exporter.wait_for_totals(&flows.totals(unnamed), LIMIT);
    let page = exporter.page();
    assert_eq!(page.sum("flow_exporter_snapshots_incomplete_total"), 0);
    let [device, fresh] = ["device", "fresh"].map(|view| bytes(&page, view));
    exporter.wait_for_account(LIMIT);
    assert!(exporter.stop().success());

    let all: u64 = flows.totals(unnamed).values().sum();
    let mut samples = Samples::new();
    receive(&mut receiver, &mut samples);
    let expected = [[0, all], [all - device, device], [0, fresh], [all - fresh, 0]];
    assert_eq!(sums(&samples), expected);

    let exporter = Exporter::start(&arguments);
    let page = exporter.page();
    assert_eq!(page.totals(), flows.totals(unnamed));
    assert_eq!((bytes(&page, "device"), bytes(&page, "fresh")), (device, fresh));
    assert!(!exporter.log().contains("views have changed"), "{}", exporter.log());
    assert!(exporter.stop().success());

    configure(&config, BEFORE, &receiver);
    let exporter = Exporter::start(&arguments);
    exporter.wait_for_log("the series end that were counted as device, fresh;", LIMIT);
    let page = exporter.page();
    assert_eq!(page.totals(), flows.totals(unnamed));
    assert_eq!((bytes(&page, "device"), bytes(&page, "fresh")), (0, 0));
    assert!(exporter.stop().success());
    receive(&mut receiver, &mut samples);
    assert_eq!(sums(&samples), [[0, all], [all, 0], [fresh, 0], [all - fresh, 0]]);
}

#[test]
fn killed_during_reloads_it_starts_with_either_views_and_counts_on() {
    const KILLS: u32 = 12;
    let (cluster, receiver) = (cluster(PARTITIONS), http::block_on(async { Receiver::new() }));
    let mut producer = producer(&cluster);
    let directory = KeptOnPanic::new("flow-exporter-views-");
    let (config, log) = (directory.path().join("config.yml"), directory.path().join("log"));
    let arguments = arguments(&cluster, directory.path());
    let mut random = SmallRng::seed_from_u64(5);
    let (mut flows, mut seen) = (Flows::new(52, 3, 20), Totals::new());
    let fell = |before: &Totals, after: &Totals| {
        let fell = before.iter().find(|(series, bytes)| after.get(series) < Some(bytes));
        assert_eq!(fell, None);
    };
    configure(&config, BEFORE, &receiver);
    for kill in 0..KILLS {
        let exporter = Exporter::start(&arguments);
        producer.send_flows(&mut flows, random.random_range(100..1000), PARTITIONS);
        configure(&config, [AFTER, BEFORE][kill as usize % 2], &receiver);
        // Killed somewhere before, during or after the change.
        if random.random() {
            exporter.signal("HUP");
        } else {
            let answer = exporter.reload().unwrap();
            assert!(answer.contains("view device changed"), "{answer}");
        }
        for _ in 0..random.random_range(0..4) {
            let page = exporter.page();
            let now = page.totals();
            fell(&seen, &now);
            assert!(bytes(&page, "device") <= now.values().sum());
            seen = now;
        }
        exporter.kill_keeping_log(&log);
    }
    let exporter = Exporter::start(&arguments);
    fell(&seen, &exporter.page().totals());
    exporter.wait_for_totals(&flows.totals(unnamed), LIMIT);
    assert!(exporter.stop().success());
}

#[test]
fn views_that_can_not_be_taken_up_change_nothing_and_the_answer_says_why() {
    let (cluster, receiver) = (cluster(PARTITIONS), http::block_on(async { Receiver::new() }));
    let mut producer = producer(&cluster);
    let directory = KeptOnPanic::new("flow-exporter-views-");
    let config = directory.path().join("config.yml");
    configure(&config, BEFORE, &receiver);
    let exporter = Exporter::start(&arguments(&cluster, directory.path()));
    let mut flows = Flows::new(53, 3, 20);
    producer.send_flows(&mut flows, 500, PARTITIONS);
    exporter.wait_for_totals(&flows.totals(unnamed), LIMIT);
    for (views, said) in [
        ("views: {flow: {}, fresh: {labels: [field.zone]}}\n", "zone"),
        ("views: {flow: {}, fresh: {labels: [colour]}}\n", "there is no label colour"),
    ] {
        configure(&config, views, &receiver);
        let answer = exporter.reload().expect_err("refused");
        assert!(answer.contains("400") && answer.contains(said), "{answer}");
        assert_eq!(exporter.page().sum(SUCCESSFUL), 0);
    }
    producer.send_flows(&mut flows, 500, PARTITIONS);
    exporter.wait_for_totals(&flows.totals(unnamed), LIMIT);
    let page = exporter.page();
    let all: u64 = flows.totals(unnamed).values().sum();
    assert_eq!(["device", "gone", "fresh"].map(|view| bytes(&page, view)), [all, all, 0]);
    configure(&config, BEFORE, &receiver);
    let answer = exporter.reload().unwrap();
    assert!(answer.contains("nothing has changed"), "{answer}");
    assert!(exporter.stop().success());
}

#[test]
fn a_cap_that_a_reload_raises_lets_series_begin_and_a_lower_one_ends_none() {
    let (cluster, receiver) = (cluster(1), http::block_on(async { Receiver::new() }));
    let mut producer = producer(&cluster);
    let directory = KeptOnPanic::new("flow-exporter-views-");
    let config = directory.path().join("config.yml");
    let cap = |max_series: u32| {
        let view = format!("{{labels: [hostname], keep: [], max_series: {max_series}}}");
        configure(&config, &format!("views: {{flow: {{}}, device: {view}}}\n"), &receiver);
    };
    cap(2);
    let exporter = Exporter::start(&arguments(&cluster, directory.path()));
    let mut bytes = 0;
    // One flow of each of these devices, and what is counted then.
    let mut send = |devices: &[&str]| {
        for device in devices {
            let record =
                format!(r#"{{"as_src": {ASN}, "as_dst": 1, "label": "{device}", "bytes": 100}}"#);
            producer.send(0, &record);
            bytes += 100;
        }
        producer.flush();
        exporter.wait_for_sum("flow_transmit_bytes_total", bytes, LIMIT);
        let page = exporter.page();
        let samples = page.samples("flow_device_transmit_bytes_total");
        let series = samples.map(|sample| {
            (sample.labels["hostname"].clone(), sample.value.parse::<u64>().unwrap())
        });
        (
            series.collect::<BTreeMap<_, _>>(),
            page.sum_with("flow_exporter_series_limit", "view", "device"),
        )
    };
    let expected = |series: &[(&str, u64)], limit| {
        let series = series.iter().map(|(device, bytes)| ((*device).to_owned(), *bytes));
        (series.collect::<BTreeMap<_, _>>(), limit)
    };
    send(&["a", "b"]);
    let found = send(&["c", "d"]);
    assert_eq!(found, expected(&[("a", 100), ("b", 100), ("other", 200)], 2));

    cap(3);
    let answer = exporter.reload().unwrap();
    assert_eq!(answer, "Reloaded.\nview device changed: its series continue\n");
    send(&["a", "c"]);
    let found = send(&["d"]);
    assert_eq!(found, expected(&[("a", 200), ("b", 100), ("c", 100), ("other", 300)], 3));

    cap(1);
    exporter.reload().unwrap();
    let found = send(&["a", "b", "c", "d", "e"]);
    assert_eq!(found, expected(&[("a", 300), ("b", 200), ("c", 200), ("other", 500)], 1));
    exporter.wait_for_account(LIMIT);
    assert!(exporter.stop().success());
}
