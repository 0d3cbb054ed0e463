//! The bounds of the number of series, and of what a worker holds between two snapshots.

use std::{
    collections::{BTreeMap, HashSet},
    fs,
    time::Instant,
};

use flow_exporter::{
    clock::UnixMs,
    ledger::{OTHER_SERIES, SeriesTable},
    schema::{Class, Definition, OTHER, Value},
    traffic::Counts,
};
use proptest::prelude::*;

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

#[derive(Debug, Clone)]
enum Step {
    /// Flows are counted and a sample is taken, after this many samples without flows.
    Sample { flows: Flows, idle: u8 },
    /// The process crashes with unpublished counts, and restarts with this bound.
    Crash { unseen: Flows, max_series: usize },
}

fn flows() -> impl Strategy<Value = Flows> {
    let direction = prop::sample::select([Class::Receive, Class::Transmit].to_vec());
    prop::collection::vec((direction, 0..8_u32, 0..3_u8, 0..1_000_u32), 0..12)
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let sample = (flows(), 0..4_u8).prop_map(|(flows, idle)| Step::Sample { flows, idle });
    let crash =
        (flows(), 1..8_usize).prop_map(|(unseen, max_series)| Step::Crash { unseen, max_series });
    prop::collection::vec(prop_oneof![4 => sample, 1 => crash], 1..10)
}

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

/// What must hold from one published snapshot to the next.
#[derive(Default)]
struct Account {
    /// Start and value of each series.
    living: BTreeMap<Labels, (i64, u64)>,
    /// Bytes of series that ended.
    ended: u64,
    counted: u64,
}

impl Account {
    fn take(&mut self, snapshot: &Snapshot, flows: &Flows, max_series: usize) {
        let now: BTreeMap<Labels, (i64, u64)> = snapshot
            .series()
            .map(|series| (labels(&series), (series.start.get(), series.counts[0])))
            .collect();
        assert_eq!(now.len(), snapshot.len(), "each series has labels of its own");
        self.counted += flows.iter().map(|&(.., bytes)| u64::from(bytes)).sum::<u64>();
        for (labels, &(start_ms, value)) in &self.living {
            match now.get(labels) {
                Some(&(start, bytes)) if start == start_ms => {
                    let own = flows.iter().filter(|flow| own_labels(flow) == *labels);
                    let own: u64 = own.map(|&(.., bytes)| u64::from(bytes)).sum();
                    if labels.1 == OTHER {
                        assert!(bytes >= value, "{labels:?} fell from {value} to {bytes}");
                    } else {
                        assert_eq!(bytes, value + own, "{labels:?} counts its own flows");
                    }
                }
                _ => self.ended += value,
            }
        }
        let living: u64 = now.values().map(|&(_, bytes)| bytes).sum();
        assert_eq!(living + self.ended, self.counted, "no byte is lost or counted twice");
        let own = now.keys().filter(|labels| labels.1 != OTHER).count();
        let before = self.living.keys().filter(|labels| labels.1 != OTHER).count();
        assert!(own <= max_series.max(before), "{own} series of at most {max_series}");
        assert!(now.len() - own <= OTHER_SERIES);
        self.living = now;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 20, ..ProptestConfig::with_cases(24) })]

    #[test]
    fn sums_are_exact_and_no_series_falls_whichever_flows_get_no_series(steps in steps()) {
        let ttl = Duration::from_millis(2 * INTERVAL_MS as u64);
        let mut max_series = 3;
        let config = |max_series| LedgerConfig { series_ttl: Some(ttl), max_series, ..config() };
        let mut directory = tempfile::tempdir().unwrap();
        let mut bench = Bench::start(&config(max_series), 1, Some(directory.path()));
        bench.until(|_| true);
        bench.shards[0].advance_watermark(UnixMs::new(T));
        bench.until_taken_from(T);
        // A sample, so that a restart knows where the data continue.
        bench.shards[0].advance_watermark(UnixMs::new(T + INTERVAL_MS + LATENESS_MS));
        bench.until(|snapshot| snapshot.time == Some(UnixMs::new(T + INTERVAL_MS)));
        bench.until_taken_from(T + INTERVAL_MS);
        let mut moment_ms = T + INTERVAL_MS;
        let mut account = Account::default();
        for step in steps {
            match step {
                Step::Sample { flows, idle } => {
                    for flows in std::iter::repeat_n(&Vec::new(), idle.into()).chain([&flows]) {
                        count_all(&mut bench.shards[0], moment_ms, flows);
                        moment_ms += INTERVAL_MS;
                        bench.shards[0].advance_watermark(UnixMs::new(moment_ms + LATENESS_MS));
                        let snapshot = bench.until(|snapshot| snapshot.time == Some(UnixMs::new(moment_ms)));
                        bench.until_taken_from(moment_ms);
                        account.take(&snapshot, flows, max_series);
                    }
                }
                Step::Crash { unseen, max_series: new } => {
                    // A crash would leave what is on disk now.
                    let left = tempfile::tempdir().unwrap();
                    for entry in fs::read_dir(directory.path()).unwrap() {
                        let entry = entry.unwrap();
                        if entry.file_type().unwrap().is_file() {
                            fs::copy(entry.path(), left.path().join(entry.file_name())).unwrap();
                        }
                    }
                    count_all(&mut bench.shards[0], moment_ms, &unseen);
                    bench.end();
                    directory = left;
                    max_series = new;
                    bench = Bench::start(&config(max_series), 1, Some(directory.path()));
                    let snapshot = bench.until(|_| true);
                    account.take(&snapshot, &Vec::new(), max_series);
                    bench.until_taken_from(moment_ms);
                }
            }
        }
        bench.end();
    }
}

#[test]
fn beyond_the_bound_of_series_flows_count_by_direction_and_hostname_and_the_ledger_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let config = LedgerConfig { max_series: 1, series_ttl: None, ..config() };
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
    let mut table = SeriesTable::new(schema(), names("0\tNone\n"), None).bounded(1);
    let mut counts = Counts::new(schema());
    for source_as in [0, 7] {
        let hostname = "a".into();
        let flow = Flow { source_as, destination_as: OURS, bytes: 5, hostname };
        counts.record(&RULE, &Decoded::Flow(flow));
    }
    assert_eq!(table.merge(&counts, &[]), 5);
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
    let mut table = SeriesTable::new(schema(), Arc::default(), None).bounded(10);
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
