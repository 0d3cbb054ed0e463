//! The bounds of the number of series, and of what a worker holds between two snapshots.

use std::{
    collections::{BTreeMap, HashSet},
    time::Instant,
};

use flow_exporter::{
    clock::UnixMs,
    ledger::{OTHER_SERIES, SeriesTable},
    schema::{Class, Definition, Dimension, MAX_VALUE_BYTES, Measure, OTHER, Schema, Value, View},
    traffic::Counts,
};

use super::*;

/// Class, source AS, destination AS, hostname, as in labels.
type Labels = (Class, String, String, String);

fn labels(series: &flow_exporter::ledger::Series<'_>) -> Labels {
    let mut labels = BTreeMap::new();
    series.labels(|name, value| drop(labels.insert(name.to_owned(), value.to_owned())));
    let mut take = |name| labels.remove(name).unwrap();
    (series.head.class, take("source_as"), take("destination_as"), take("hostname"))
}

/// Flows of one direction, of another AS and a host: their bytes.
type Flows = Vec<(Class, u32, u8, u32)>;

fn count_all(shard: &mut Shard, time_ms: i64, flows: &Flows) {
    for &(direction, asn, host, bytes) in flows {
        let (source_as, destination_as) = match direction {
            Class::Receive => (asn, OURS),
            _ => (OURS, asn),
        };
        let hostname = format!("host{host}").into();
        let flow = Flow { source_as, destination_as, bytes: bytes.into(), hostname };
        shard.counts(Some(UnixMs::new(time_ms))).record(&RULE, &Decoded::Flow(flow));
    }
}

/// The labels that a flow has if its series is there.
fn own_labels(&(direction, asn, host, _): &(Class, u32, u8, u32)) -> Labels {
    let (asn, own, host) = (asn.to_string(), OURS.to_string(), format!("host{host}"));
    match direction {
        Class::Receive => (direction, asn, own, host),
        _ => (direction, own, asn, host),
    }
}

#[test]
fn beyond_the_bound_of_series_flows_count_by_direction_and_hostname_and_the_ledger_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let config = LedgerConfig { schema: limited(1), ..config() };
    let mut bench = Bench::start(&config, 1, Some(directory.path()));
    bench.until(|_| true);
    bench.shards[0].advance_watermark(UnixMs::new(T));
    bench.until_taken_from(T);
    let flows = vec![
        (Class::Receive, u32::MAX, 1, 1),
        (Class::Receive, 2, 1, 10),
        (Class::Receive, 3, 1, 100),
        (Class::Receive, 3, 2, 1_000),
        (Class::Transmit, 4, 1, 10_000),
        (Class::Receive, u32::MAX, 1, 100_000),
    ];
    count_all(&mut bench.shards[0], T, &flows);
    bench.shards[0].advance_watermark(UnixMs::new(T + INTERVAL_MS + LATENESS_MS));
    let snapshot = bench.until(|snapshot| snapshot.time == Some(UnixMs::new(T + INTERVAL_MS)));
    let mut series: Vec<_> =
        snapshot.series().map(|series| (labels(&series), series.counts[0])).collect();
    series.sort();
    let other = |direction, host: &str| (direction, OTHER.into(), OTHER.into(), host.into());
    assert_eq!(
        series,
        [
            (own_labels(&flows[0]), 100_001),
            (other(Class::Receive, "host1"), 110),
            (other(Class::Receive, "host2"), 1_000),
            (other(Class::Transmit, "host1"), 10_000),
        ]
    );
    let state = bench.health.components().pop().unwrap().1;
    let text = state.reason().unwrap_or_default();
    assert!(state.is_ready() && text.contains("--max-series"), "{state:?}");
    let metrics = bench.end();
    assert_eq!(sum(&metrics, "flow_exporter_flow_bytes_other_total"), 11_110.0);
    assert_eq!(sum(&metrics, "flow_exporter_series_limit"), 1.0);

    let (journal, recovered) = Journal::open(directory.path(), JournalConfig::default()).unwrap();
    drop(journal);
    let state = recovered.state.unwrap();
    let others = state.series().filter(|series| {
        let definition = Definition::read(series.definition).unwrap();
        definition.columns.iter().filter(|column| matches!(column.value, Value::Other)).count() == 2
    });
    assert_eq!(others.count(), 3, "what is AS 4294967295 is told from what is other");
}

#[test]
fn names_change_no_series_of_others() {
    let names = |text: &str| Arc::new(AsNames::parse(text.as_bytes()).unwrap());
    let mut table = SeriesTable::new(limited(1), names("0\tNone\n"), None);
    let mut counts = Counts::new(schema());
    for source_as in [0, 7] {
        let hostname = "a".into();
        let flow = Flow { source_as, destination_as: OURS, bytes: 5, hostname };
        counts.record(&RULE, &Decoded::Flow(flow));
    }
    table.merge(&counts, &[]);
    assert_eq!(table.take_tally(0).other_bytes, 5);
    table.take_snapshot(Some(UnixMs::new(1)), Instant::now());
    table.settled();
    table.rename(names("0\tNobody\n"));
    let after = table.take_snapshot(Some(UnixMs::new(2)), Instant::now());
    let left: Vec<_> =
        after.series().map(|series| (series.head.is_other, series.counts[0])).collect();
    assert_eq!(left, [(true, 5)]);
}

#[test]
fn hostnames_without_bound_make_no_series_without_bound() {
    let mut table = SeriesTable::new(limited(10), Arc::default(), None);
    let mut bytes = 0;
    for round in 0..5 {
        let mut counts = Counts::new(schema());
        for host in 0..1_000 {
            let hostname = format!("host{round}.{host}").into();
            let flow = Flow { source_as: host, destination_as: OURS, bytes: 3, hostname };
            counts.record(&RULE, &Decoded::Flow(flow));
            bytes += 3;
        }
        table.merge(&counts, &[]);
    }
    let snapshot = table.take_snapshot(Some(UnixMs::new(1)), Instant::now());
    assert_eq!(snapshot.series().map(|series| series.counts[0]).sum::<u64>(), bytes);
    assert!(snapshot.len() <= 10 + OTHER_SERIES, "{} series", snapshot.len());
    let last = snapshot.series().find(|series| labels(series).3 == OTHER).expect("the last resort");
    assert!(last.counts[0] > 3 * 3_000, "it counts most of them: {}", last.counts[0]);
}

#[test]
fn hostnames_that_came_and_ended_leave_neither_texts_nor_slots() {
    let mut table = SeriesTable::new(schema(), Arc::default(), None);
    let mut first = None;
    for round in 0..50_i64 {
        let mut counts = Counts::new(schema());
        for host in 0..2_000 {
            let hostname = format!("host{round}.{host}").into();
            let flow = Flow { source_as: host, destination_as: OURS, bytes: 3, hostname };
            counts.record(&RULE, &Decoded::Flow(flow));
        }
        table.merge(&counts, &[]);
        let snapshot = table.take_snapshot(Some(UnixMs::new(round + 1)), Instant::now());
        table.settled();
        assert!(snapshot.slots() <= 4_000, "{} slots", snapshot.slots());
        assert!(snapshot.texts() <= 4_000, "{} texts", snapshot.texts());
        first.get_or_insert(snapshot);
        table.expire(UnixMs::new(round + 1));
    }
    let after = table.take_snapshot(Some(UnixMs::new(51)), Instant::now());
    assert_eq!((after.len(), after.slots(), after.texts()), (2_000, 4_000, 4_000));
    // Who holds an old snapshot sees what it was made of.
    let first = first.unwrap();
    let hosts: HashSet<String> = first.series().map(|series| labels(&series).3).collect();
    assert!(hosts.len() == 2_000 && hosts.iter().all(|host| host.starts_with("host0.")));
    table.expire(UnixMs::new(i64::MAX));
    let empty = table.take_snapshot(Some(UnixMs::new(52)), Instant::now());
    assert_eq!((empty.len(), empty.slots(), empty.texts()), (0, 0, 0));
}

#[test]
fn a_worker_with_a_full_table_hands_it_over_and_that_is_no_sample() {
    let directory = tempfile::tempdir().unwrap();
    let mut bench = Bench::start(&config(), 1, Some(directory.path()));
    bench.until(|_| true);
    bench.shards[0].advance_watermark(UnixMs::new(T));
    bench.until_taken_from(T);
    let mut counted = 0;
    while !bench.shards[0].hand_over_is_due() {
        assert!(counted < 1_000_000, "a worker's table has no bound");
        count(&mut bench.shards[0], T, counted, 1);
        counted += 1;
    }
    let position = Position { partition: 0, next_offset: counted.into() };
    bench.shards[0].hand_over(vec![position]);
    assert!(!bench.shards[0].hand_over_is_due(), "it continues with an empty table");
    let snapshot = bench.until(|snapshot| !snapshot.is_empty());
    assert_eq!(snapshot.len(), counted as usize);
    assert_eq!(snapshot.positions().collect::<Vec<_>>(), [position]);
    assert!(snapshot.time < Some(UnixMs::new(T + INTERVAL_MS)));

    count(&mut bench.shards[0], T, 0, 1);
    bench.shards[0].advance_watermark(UnixMs::new(T + INTERVAL_MS + LATENESS_MS));
    bench.until(|snapshot| snapshot.time == Some(UnixMs::new(T + INTERVAL_MS)));
    bench.end();
    let samples = samples(directory.path());
    let all: Vec<_> = samples.iter().map(|(at, bytes)| (*at, bytes.values().sum())).collect();
    assert_eq!(all, [(T + INTERVAL_MS, u64::from(counted) + 1)]);
}

#[test]
fn a_table_of_long_texts_or_wide_keys_is_full_at_the_same_size() {
    let labels = Dimension::label_names().filter(|name| !name.ends_with("_name"));
    let labels: Vec<_> = labels.take(31).collect();
    let view = |name: &str| {
        let dimensions = View::dimensions_of(labels.iter().copied()).unwrap();
        View::new(name, &dimensions, &[Class::Receive, Class::Transmit], &Measure::ALL)
    };
    let wide = ["one", "two", "three", "four"].map(view);
    for (schema, long, most) in [
        (schema(), "x".repeat(MAX_VALUE_BYTES), (2 << 20) / MAX_VALUE_BYTES),
        (Arc::new(Schema::new(wide.into())), String::new(), (2 << 20) / (4 * (4 * 28 + 3 * 8))),
    ] {
        let views = schema.views().len();
        let mut bench = Bench::start(&LedgerConfig { schema, ..config() }, 1, None);
        bench.until(|_| true);
        bench.shards[0].advance_watermark(UnixMs::new(T));
        bench.until_taken_from(T);
        let mut counted = 0;
        while !bench.shards[0].hand_over_is_due() {
            assert!(counted <= most, "a worker's table passes its bound");
            // Distinct in their beginning: the rest may be truncated.
            let hostname = format!("{counted}{long}").into();
            let flow = Flow { source_as: 1, destination_as: OURS, bytes: 1, hostname };
            let counts = bench.shards[0].counts(Some(UnixMs::new(T)));
            counts.record(&RULE, &Decoded::Flow(flow));
            counted += 1;
        }
        bench.shards[0].hand_over(Vec::new());
        assert!(!bench.shards[0].hand_over_is_due(), "it goes on with an empty table");
        bench.shards[0].advance_watermark(UnixMs::new(T + INTERVAL_MS + LATENESS_MS));
        let snapshot = bench.until(|snapshot| snapshot.time == Some(UnixMs::new(T + INTERVAL_MS)));
        assert_eq!(snapshot.len(), views * counted);
        bench.end();
    }
}

#[test]
fn so_much_is_counted_ahead_of_a_sample_and_no_more() {
    let mut bench = Bench::start(&config(), 1, None);
    bench.until(|_| true);
    bench.shards[0].advance_watermark(UnixMs::new(T));
    bench.until_taken_from(T);
    let mut counted = 0;
    while bench.shards[0].bound().unwrap().reads_ahead {
        assert!(counted < 1_000_000, "what is counted ahead has no bound");
        count(&mut bench.shards[0], T + INTERVAL_MS, counted, 1);
        counted += 1;
    }
    // A snapshot for a scrape takes the tables, not the bound.
    bench.hand_over();
    assert!(!bench.shards[0].bound().unwrap().reads_ahead);
    for moment_ms in [T + INTERVAL_MS, T + 2 * INTERVAL_MS] {
        bench.shards[0].advance_watermark(UnixMs::new(moment_ms + LATENESS_MS));
        let snapshot = bench.until(|snapshot| snapshot.time == Some(UnixMs::new(moment_ms)));
        bench.until_taken_from(moment_ms);
        let expected = if moment_ms == T + INTERVAL_MS { 0 } else { counted as usize };
        assert_eq!(snapshot.len(), expected);
    }
    assert!(bench.shards[0].bound().unwrap().reads_ahead);
    bench.end();
}
