//! Flows of sampled packets are multiplied by the rate.

use std::{num::NonZero, sync::Arc};

use flow_exporter::{
    clock::UnixMs,
    flow::datagram::{Activity, Datagram},
    metrics::Metrics,
    pipeline::{Counting, Pipeline},
    schema::{Class, Dimension, Measure, Schema, View},
    traffic::{Counts, Ignored, RecordTotals, Rule, Sampling, SamplingRates},
};

use testkit::netflow::{V5, V5Flow};

const ASN: u32 = 64512;

fn sampling(multiplies: bool, overrides: &[(&str, u32)]) -> Sampling {
    let mut sampling = Sampling { multiplies, ..Sampling::default() };
    for &(exporter, rate) in overrides {
        sampling.overrides.insert(exporter.into(), NonZero::new(rate).expect("a rate"));
    }
    sampling
}

fn counts(sampling: Sampling, messages: &[String]) -> Counts {
    let measures = [Measure::Bytes, Measure::Packets, Measure::Flows];
    let view = View::new("test", &[Dimension::SOURCE_AS], &[Class::Receive], &measures);
    let schema = Arc::new(Schema::new(vec![view]));
    let mut pipeline = Pipeline::new(
        &schema,
        Counting { rule: Rule::of_as(ASN), sampling, ..Counting::default() },
    );
    let mut counts = Counts::new(schema);
    for message in messages {
        pipeline.message(message.as_bytes(), &mut counts, |reason, text| {
            panic!("{reason:?}: {text}");
        });
    }
    counts
}

fn flow(fields: &str) -> String {
    format!(r#"{{"as_src": 1, "as_dst": 64512, "bytes": 1000, "packets": 3, "flows": 2{fields}}}"#)
}

/// Bytes, packets and flows of one record.
fn counted(sampling: Sampling, fields: &str) -> Vec<u64> {
    let counts = counts(sampling, &[flow(fields)]);
    let (_, series) = counts.series().next().expect("a series");
    let row: Vec<_> = series.iter().collect();
    assert_eq!(counts.counted.bytes, row[0].into(), "totals are those of the series");
    row
}

#[test]
fn rates_of_records_count_only_if_that_is_asked_for_and_0_is_no_factor() {
    let rate = r#", "sampling_rate": 512"#;
    assert_eq!(counted(sampling(false, &[]), rate), [1000, 3, 2]);
    assert_eq!(counted(sampling(true, &[]), rate), [512_000, 1536, 2]);
    for unknown in ["", r#", "sampling_rate": 0"#] {
        assert_eq!(counted(sampling(true, &[]), unknown), [1000, 3, 2]);
        assert_eq!(counts(sampling(true, &[]), &[flow(unknown)]).unknown_rate, 1);
        assert_eq!(counts(sampling(false, &[]), &[flow(unknown)]).unknown_rate, 0);
    }
}

#[test]
fn a_rate_that_is_configured_for_an_exporter_takes_the_place_of_the_records() {
    let overrides = [("203.0.113.0/24", 10), ("203.0.113.7", 100), ("edge1", 1000)];
    for multiplies in [false, true] {
        let counted = |fields: &str| counted(sampling(multiplies, &overrides), fields)[0];
        let rate = r#", "sampling_rate": 5, "peer_ip_src": "203.0.113"#;
        assert_eq!(counted(&format!(r#"{rate}.1""#)), 10_000);
        assert_eq!(counted(&format!(r#"{rate}.7""#)), 100_000);
        assert_eq!(counted(&format!(r#"{rate}.7", "label": "edge1""#)), 1_000_000);
        let other = r#", "sampling_rate": 5, "peer_ip_src": "198.51.100.1""#;
        assert_eq!(counted(other), if multiplies { 5000 } else { 1000 });
    }
}

#[test]
fn a_product_that_is_too_large_is_ignored_and_counted_and_never_wraps() {
    let large = flow(r#", "sampling_rate": 4294967295"#).replace("1000", "9223372036854775807");
    let counts = counts(sampling(true, &[]), &[large, flow(r#", "sampling_rate": 2"#)]);
    assert_eq!(counts.counted, RecordTotals { flows: 1, bytes: 2000 });
    let bytes = u128::from(u64::MAX / 2) * u128::from(u32::MAX);
    assert_eq!(counts.ignored[Ignored::Overflow.index()], RecordTotals { flows: 1, bytes });
    assert_eq!(counts.ignored_by_view[0], counts.ignored);
    assert_eq!(counts.series().map(|(_, row)| row.iter().next()).collect::<Vec<_>>(), [Some(2000)]);
}

#[test]
fn the_rate_in_force_is_shown_for_a_bounded_number_of_exporters() {
    let flow = |exporter: usize, rate: u32| {
        let exporter = format!("10.0.{}.{}", exporter / 256, exporter % 256);
        flow(&format!(r#", "sampling_rate": {rate}, "peer_ip_src": "{exporter}""#))
    };
    let metrics = Metrics::new();
    let shown = || {
        let families = metrics.gather();
        let family = families.iter().find(|family| family.name == "flow_exporter_sampling_rate");
        family.map_or(0, |family| family.samples.len())
    };
    let many: Vec<_> = (0..SamplingRates::MOST + 5).map(|exporter| flow(exporter, 7)).collect();
    metrics.add_counts(&counts(sampling(true, &[]), &many));
    assert_eq!(shown(), 0, "nothing is published");
    metrics.publish(metrics.counted());
    assert_eq!(shown(), SamplingRates::MOST);
    metrics.add_counts(&counts(sampling(true, &[]), &[flow(2000, 9), flow(1, 8), flow(1, 9)]));
    metrics.publish(metrics.counted());
    assert_eq!(shown(), SamplingRates::MOST);
    assert_eq!(metrics.sampling_rate.with_label_values(&["10.0.0.1"]).get(), 9);
    let by_name = self::flow(r#", "label": "edge1""#);
    let fresh = Metrics::new();
    fresh.add_counts(&counts(sampling(false, &[("edge1", 30)]), &[by_name]));
    assert_eq!(fresh.sampling_rate.with_label_values(&["edge1"]).get(), 30);
}

/// pmacct may have multiplied its records already; exporters never do.
#[test]
fn flows_of_datagrams_are_always_multiplied_and_by_the_rate_of_the_operator_first() {
    let sender = "203.0.113.1:2055".parse().unwrap();
    for (overrides, factor) in [(&[][..], 100), (&[("203.0.113.0/24", 7)], 7)] {
        let counting = Counting {
            rule: Rule::of_as(ASN),
            sampling: sampling(false, overrides),
            ..Counting::default()
        };
        let mut pipeline = Pipeline::new(&Schema::original(), counting.clone());
        // Another schema changes nothing of it.
        for (sequence, dimension) in
            [Dimension::DESTINATION_AS, Dimension::SOURCE_AS].into_iter().enumerate()
        {
            let sequence = sequence as u32;
            let payload = V5 { sampling: 100, sequence, ..V5::new([V5Flow::default()]) }.bytes();
            let datagram = Datagram::new(&payload, sender, UnixMs::new(1_700_000_000_000));
            let measures = [Measure::Bytes, Measure::Packets];
            let view = View::new("test", &[dimension], &[Class::Transmit], &measures);
            let schema = Arc::new(Schema::new(vec![view]));
            pipeline.change(&schema, counting.clone());
            let mut counts = Counts::new(schema);
            pipeline.datagram(&datagram, &mut counts);
            let (_, series) = counts.series().next().expect("a series");
            assert_eq!(series.iter().collect::<Vec<_>>(), [600 * factor, 5 * factor]);
            assert_eq!((counts.messages, counts.payload_bytes), (1, payload.len() as u64));
        }
    }
}

/// Spoofed senders make exporters be forgotten: what these did still counts.
#[test]
fn what_forgotten_exporters_did_counts_as_that_of_others() {
    let schema = Arc::new(Schema::original());
    let mut counts = Counts::new(schema);
    let did = |flows| Activity { datagrams: 1, flows, missing_flows: 3, ..Activity::default() };
    counts.exporters.push((Some("192.0.2.1".parse().unwrap()), did(5)));
    counts.exporters.push((None, did(70)));
    let metrics = Metrics::new();
    metrics.add_counts(&counts);
    for (exporter, flows) in [("192.0.2.1", 5), ("other", 70)] {
        assert_eq!(metrics.exporter_flows.with_label_values(&[exporter]).get(), flows);
        let missing = metrics.exporter_missing_flows.with_label_values(&[exporter, "lost"]);
        assert_eq!(missing.get(), 3);
    }
}
