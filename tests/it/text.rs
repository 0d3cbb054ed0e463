//! The page, byte by byte.

use std::{borrow::Cow, sync::Arc, time::Instant};

use flow_exporter::{
    asn::AsNames,
    clock::UnixMs,
    flow::{Decoded, Flow},
    ledger::{SeriesTable, Snapshot},
    metrics::{Family, Kind, Metrics, Sample},
    publish::text::{Format, Page, STEP_BYTES},
    schema::{Class, Dimension, Measure, Schema, View},
    traffic::{Counts, Rule},
};
use insta::assert_snapshot;
use testkit::counting::{Record as _, limited, schema};

const ASN: u32 = 64500;

/// A snapshot of these flows: source AS, destination AS, bytes, hostname.
fn snapshot(flows: &[(u32, u32, u64, &str)]) -> Arc<Snapshot> {
    let mut counts = Counts::new(schema());
    for &(source_as, destination_as, bytes, hostname) in flows {
        let hostname = Cow::Borrowed(hostname);
        counts.record(
            &Rule::of_as(ASN),
            &Decoded::Flow(Flow { source_as, destination_as, bytes, hostname }),
        );
    }
    let mut table = SeriesTable::new(schema(), Arc::new(AsNames::default()), None);
    table.merge(&counts, &[]);
    Arc::new(table.take_snapshot(Some(UnixMs::new(1)), Instant::now()))
}

fn rendered(format: Format, snapshot: Option<Arc<Snapshot>>, own: Vec<Family>) -> String {
    let mut page = Page::new(format, schema(), snapshot, own);
    let mut out = Vec::new();
    while page.step(&mut out) {}
    String::from_utf8(out).expect("a page is UTF-8")
}

fn flows() -> Arc<Snapshot> {
    snapshot(&[
        (ASN, 64501, 10, "edge1"),
        (64501, ASN, u64::MAX, "edge1"),
        (64502, ASN, 0, ""),
        (ASN, 4_294_967_295, 9_007_199_254_740_993, "a \"quote\", a back\\slash\nand Ü"),
    ])
}

fn own() -> Vec<Family> {
    let sample = |suffix, labels: &[(&str, &str)], value| Sample {
        suffix,
        labels: labels.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect(),
        value,
    };
    let family = |name: &str, help: &str, kind, samples| Family {
        name: name.to_owned(),
        help: help.to_owned(),
        kind,
        samples,
    };
    vec![
        family(
            "errors_total",
            "Errors: \"quoted\", back\\slash\nand line feed.",
            Kind::Counter,
            vec![sample("", &[("reason", "a\"b\\c\nd")], 3.0), sample("", &[], 1e15)],
        ),
        family(
            "restarts",
            "A counter without its suffix.",
            Kind::Counter,
            vec![sample("", &[], 1.0)],
        ),
        family(
            "extremes",
            "What doubles can be.",
            Kind::Gauge,
            [0.1, -0.0, f64::INFINITY, f64::NEG_INFINITY, f64::NAN, 1_762_000_000.25, 5e-9]
                .map(|value| sample("", &[], value))
                .into(),
        ),
        family(
            "wait_seconds",
            "A histogram.",
            Kind::Histogram,
            vec![
                sample("_bucket", &[("le", "0.5")], 1.0),
                sample("_bucket", &[("le", "1.0")], 2.0),
                sample("_bucket", &[("le", "+Inf")], 3.0),
                sample("_sum", &[], 7.25),
                sample("_count", &[], 3.0),
            ],
        ),
    ]
}

#[test]
fn the_text_format() {
    assert_snapshot!(rendered(Format::Prometheus, Some(flows()), own()), @r##"
    # HELP flow_receive_bytes_total Bytes received.
    # TYPE flow_receive_bytes_total counter
    flow_receive_bytes_total{destination_as="64500",destination_as_name="",hostname="edge1",source_as="64501",source_as_name=""} 18446744073709551615
    flow_receive_bytes_total{destination_as="64500",destination_as_name="",hostname="",source_as="64502",source_as_name=""} 0
    # HELP flow_transmit_bytes_total Bytes transferred.
    # TYPE flow_transmit_bytes_total counter
    flow_transmit_bytes_total{destination_as="64501",destination_as_name="",hostname="edge1",source_as="64500",source_as_name=""} 10
    flow_transmit_bytes_total{destination_as="4294967295",destination_as_name="",hostname="a \"quote\", a back\\slash\nand Ü",source_as="64500",source_as_name=""} 9007199254740993
    # HELP errors_total Errors: "quoted", back\\slash\nand line feed.
    # TYPE errors_total counter
    errors_total{reason="a\"b\\c\nd"} 3
    errors_total 1000000000000000
    # HELP restarts A counter without its suffix.
    # TYPE restarts counter
    restarts 1
    # HELP extremes What doubles can be.
    # TYPE extremes gauge
    extremes 0.1
    extremes -0
    extremes +Inf
    extremes -Inf
    extremes NaN
    extremes 1762000000.25
    extremes 0.000000005
    # HELP wait_seconds A histogram.
    # TYPE wait_seconds histogram
    wait_seconds_bucket{le="0.5"} 1
    wait_seconds_bucket{le="1.0"} 2
    wait_seconds_bucket{le="+Inf"} 3
    wait_seconds_sum 7.25
    wait_seconds_count 3
    "##);
}

#[test]
fn open_metrics() {
    assert_snapshot!(rendered(Format::OpenMetrics, Some(flows()), own()), @r##"
    # HELP flow_receive_bytes Bytes received.
    # TYPE flow_receive_bytes counter
    flow_receive_bytes_total{destination_as="64500",destination_as_name="",hostname="edge1",source_as="64501",source_as_name=""} 18446744073709551615
    flow_receive_bytes_total{destination_as="64500",destination_as_name="",hostname="",source_as="64502",source_as_name=""} 0
    # HELP flow_transmit_bytes Bytes transferred.
    # TYPE flow_transmit_bytes counter
    flow_transmit_bytes_total{destination_as="64501",destination_as_name="",hostname="edge1",source_as="64500",source_as_name=""} 10
    flow_transmit_bytes_total{destination_as="4294967295",destination_as_name="",hostname="a \"quote\", a back\\slash\nand Ü",source_as="64500",source_as_name=""} 9007199254740993
    # HELP errors Errors: \"quoted\", back\\slash\nand line feed.
    # TYPE errors counter
    errors_total{reason="a\"b\\c\nd"} 3
    errors_total 1000000000000000
    # HELP restarts A counter without its suffix.
    # TYPE restarts unknown
    restarts 1
    # HELP extremes What doubles can be.
    # TYPE extremes gauge
    extremes 0.1
    extremes -0
    extremes +Inf
    extremes -Inf
    extremes NaN
    extremes 1762000000.25
    extremes 0.000000005
    # HELP wait_seconds A histogram.
    # TYPE wait_seconds histogram
    wait_seconds_bucket{le="0.5"} 1
    wait_seconds_bucket{le="1.0"} 2
    wait_seconds_bucket{le="+Inf"} 3
    wait_seconds_sum 7.25
    wait_seconds_count 3
    # EOF
    "##);
}

#[test]
fn flow_counters_are_announced_before_there_are_series() {
    assert_snapshot!(rendered(Format::OpenMetrics, None, vec![]), @r##"
    # HELP flow_receive_bytes Bytes received.
    # TYPE flow_receive_bytes counter
    # HELP flow_transmit_bytes Bytes transferred.
    # TYPE flow_transmit_bytes counter
    # EOF
    "##);
    assert_eq!(
        rendered(Format::Prometheus, None, vec![]),
        rendered(Format::Prometheus, Some(snapshot(&[])), vec![]),
    );
}

#[test]
fn a_large_page_comes_in_steps_that_make_up_the_whole() {
    let hosts: Vec<String> = (0..20_000).map(|number| format!("host{number}")).collect();
    let flows: Vec<_> = hosts
        .iter()
        .enumerate()
        .map(|(number, host)| {
            let number = number as u32;
            let (source, destination) =
                if number.is_multiple_of(3) { (ASN, number) } else { (number, ASN) };
            (source, destination, u64::from(number), host.as_str())
        })
        .collect();
    let snapshot = snapshot(&flows);
    let mut page = Page::new(Format::OpenMetrics, schema(), Some(Arc::clone(&snapshot)), own());
    let (mut whole, mut step, mut more) = (Vec::new(), Vec::new(), true);
    while more {
        step.clear();
        more = page.step(&mut step);
        assert!(step.len() < STEP_BYTES + 1024, "a step of {} bytes", step.len());
        assert!(!more || step.len() >= STEP_BYTES, "a step of {} bytes", step.len());
        assert!(step.ends_with(b"\n") || step.is_empty(), "a step ends with a line");
        whole.extend_from_slice(&step);
    }
    let whole = String::from_utf8(whole).expect("a page is UTF-8");
    assert_eq!(whole, rendered(Format::OpenMetrics, Some(snapshot), own()));
    let receive = whole.lines().filter(|line| line.starts_with("flow_receive_bytes_total{"));
    let transmit = whole.lines().filter(|line| line.starts_with("flow_transmit_bytes_total{"));
    assert_eq!((receive.count(), transmit.count()), (13_333, 6_667));
    assert!(!page.step(&mut step), "nothing follows the end");
}

#[test]
fn a_step_has_a_bound_whatever_labels_and_metrics_are_like() {
    // Characters that are escaped, in a value of the maximum length.
    let hosts: Vec<String> =
        (0..60).map(|number| format!("{number}{}", "\"".repeat(1020))).collect();
    let flows: Vec<_> = hosts.iter().map(|host| (ASN, 1, 1, host.as_str())).collect();
    // A metric of a topic with very many partitions.
    let samples = (0..50_000).map(|partition| Sample {
        suffix: "",
        labels: vec![("partition".to_owned(), partition.to_string())],
        value: 1.0,
    });
    let lag = Family {
        name: "lag".to_owned(),
        help: "Lag.".to_owned(),
        kind: Kind::Gauge,
        samples: samples.collect(),
    };
    let own = || vec![lag.clone(), lag.clone()];
    let snapshot = snapshot(&flows);
    let mut page = Page::new(Format::Prometheus, schema(), Some(Arc::clone(&snapshot)), own());
    let (mut whole, mut step, mut more) = (Vec::new(), Vec::new(), true);
    while more {
        step.clear();
        more = page.step(&mut step);
        assert!(step.len() < STEP_BYTES + 4096, "a step of {} bytes", step.len());
        whole.extend_from_slice(&step);
    }
    let whole = String::from_utf8(whole).expect("a page is UTF-8");
    assert_eq!(whole, rendered(Format::Prometheus, Some(snapshot), own()));
    assert_eq!(whole.lines().filter(|line| line.starts_with("lag{")).count(), 100_000);
}

#[test]
fn the_programs_own_metrics_have_a_name_and_type_in_open_metrics() {
    let own = Metrics::new().gather();
    assert!(own.iter().any(|family| family.name == "process_start_time_seconds"));
    let page = rendered(Format::OpenMetrics, None, own.clone());
    for family in own {
        let (name, kind) = match family.kind {
            Kind::Counter => {
                (family.name.strip_suffix("_total").expect("counters end in _total"), "counter")
            }
            Kind::Gauge => (family.name.as_str(), "gauge"),
            Kind::Histogram => (family.name.as_str(), "histogram"),
        };
        assert!(page.contains(&format!("\n# TYPE {name} {kind}\n{}", family.name)), "{name}");
    }
}

#[test]
fn openmetrics_tells_when_a_series_began_where_that_is_asked_for() {
    let began_ms = 1_762_000_000_250;
    let mut counts = Counts::new(schema());
    counts.record(
        &Rule::of_as(ASN),
        &Decoded::Flow(Flow {
            source_as: ASN,
            destination_as: 64501,
            bytes: 10,
            hostname: "edge1".into(),
        }),
    );
    let mut table =
        SeriesTable::new(schema(), Arc::new(AsNames::default()), Some(UnixMs::new(began_ms)));
    table.merge(&counts, &[]);
    let snapshot =
        Arc::new(table.take_snapshot(Some(UnixMs::new(began_ms + 15_000)), Instant::now()));
    let lines = |format, asked| {
        let snapshot = Some(Arc::clone(&snapshot));
        let mut page = Page::new(format, schema(), snapshot, vec![]).with_created(asked);
        let mut out = Vec::new();
        while page.step(&mut out) {}
        let text = String::from_utf8(out).expect("a page is UTF-8");
        text.lines().filter(|line| line.contains("_created{")).collect::<Vec<_>>().join("\n")
    };
    assert_snapshot!(lines(Format::OpenMetrics, true), @r#"flow_transmit_bytes_created{destination_as="64501",destination_as_name="",hostname="edge1",source_as="64500",source_as_name=""} 1762000000.25"#);
    assert_eq!(lines(Format::OpenMetrics, false), "");
    assert_eq!(lines(Format::Prometheus, true), "", "the format has no place for it");
}

#[test]
fn what_gets_no_series_of_its_own_has_other_as_its_as_and_name() {
    let mut counts = Counts::new(schema());
    for (source_as, destination_as) in [(ASN, 64501), (ASN, 64502), (64503, ASN)] {
        let hostname = "edge1".into();
        counts.record(
            &Rule::of_as(ASN),
            &Decoded::Flow(Flow { source_as, destination_as, bytes: 10, hostname }),
        );
    }
    let names = AsNames::parse(b"64502\tSecond\n0\tZero\n").expect("a table of names");
    let mut table = SeriesTable::new(limited(1), Arc::new(names), None);
    table.merge(&counts, &[]);
    let page = rendered(
        Format::Prometheus,
        Some(Arc::new(table.take_snapshot(Some(UnixMs::new(1)), Instant::now()))),
        vec![],
    );
    let series: Vec<_> = page.lines().filter(|line| !line.starts_with('#')).collect();
    let other = "destination_as=\"other\",destination_as_name=\"other\",hostname=\"edge1\",\
                 source_as=\"other\",source_as_name=\"other\"";
    assert_eq!(
        series,
        [
            format!("flow_receive_bytes_total{{{other}}} 10"),
            "flow_transmit_bytes_total{destination_as=\"64501\",destination_as_name=\"\",\
             hostname=\"edge1\",source_as=\"64500\",source_as_name=\"\"} 10"
                .to_owned(),
            format!("flow_transmit_bytes_total{{{other}}} 10"),
        ]
    );
}

#[test]
fn progress_is_the_part_of_the_lines_whatever_views_and_measures_there_are() {
    let device = |measures: &[Measure]| {
        let classes = [Class::Receive, Class::Transmit];
        View::new("device", &[Dimension::Hostname], &classes, measures)
    };
    let alike = [View::original(), device(&[Measure::Flows])];
    let different = [View::original(), device(&[Measure::Bytes, Measure::Flows])];
    for views in [alike, different] {
        let schema = Arc::new(Schema::new(views.to_vec()));
        let mut counts = Counts::new(Arc::clone(&schema));
        for number in 0..2_000 {
            // More is received than sent, and more series have an AS than are of a host alone.
            let (source_as, destination_as) =
                if number % 5 == 0 { (ASN, number) } else { (number, ASN) };
            let hostname = format!("edge{}", number / 2).into();
            let flow = Flow { source_as, destination_as, bytes: 1, hostname };
            counts.record(&Rule::of_as(ASN), &Decoded::Flow(flow));
        }
        let mut table = SeriesTable::new(Arc::clone(&schema), Arc::new(AsNames::default()), None);
        table.merge(&counts, &[]);
        let snapshot = Some(Arc::new(table.take_snapshot(Some(UnixMs::new(1)), Instant::now())));
        let is_count = |line: &&[u8]| line.starts_with(b"flow_");
        let lines = |out: &[u8]| out.split(|&byte| byte == b'\n').filter(is_count).count();
        let page =
            || Page::new(Format::Prometheus, Arc::clone(&schema), snapshot.clone(), Vec::new());
        let mut all = Vec::new();
        let mut whole = page();
        while whole.step(&mut all) {}
        let (all, mut page, mut out) = (lines(&all), page(), Vec::new());
        let mut steps = 0;
        loop {
            let part = lines(&out) as f64 / all as f64;
            assert!((page.progress() - part).abs() < 1e-9, "{} is not {part}", page.progress());
            steps += 1;
            if !page.step(&mut out) {
                break;
            }
        }
        assert!(steps > 5, "{steps}");
        assert_eq!(lines(&out), all);
    }
}
