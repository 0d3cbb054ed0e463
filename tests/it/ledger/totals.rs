//! The program's own totals of what is counted: as of the snapshot they come with, and never falling,
//! whatever records report.

use std::collections::BTreeMap;

use flow_exporter::metrics::{Family, WideCounter};
use proptest::prelude::*;

use super::*;

/// What the samples of a metric add up to, in what was told.
fn told(families: &[Family], name: &str) -> f64 {
    let family = families.iter().find(|family| family.name == name);
    family.into_iter().flat_map(|family| &family.samples).map(|sample| sample.value).sum()
}

/// The same as of a snapshot.
pub(super) fn told_with(snapshot: &Snapshot, name: &str) -> f64 {
    told(snapshot.own(), name)
}

const FLOW_BYTES: &str = "flow_exporter_flow_bytes_total";

/// Begins to count at [`T`].
fn begin(directory: Option<&Path>) -> Bench {
    let mut bench = Bench::start(&config(), 1, directory);
    bench.until(|_| true);
    bench.shards[0].advance_watermark(UnixMs::new(T));
    bench.until_taken_from(T);
    bench
}

/// Counts a flow in a table of its own, which is handed over.
fn hand_over_one(bench: &mut Bench, time_ms: i64, bytes: u64) {
    count(&mut bench.shards[0], time_ms, 1, bytes);
    bench.shards[0].hand_over(Vec::new());
}

/// Takes the tick at the end of this interval.
fn tick(bench: &mut Bench, time_ms: i64) -> Arc<Snapshot> {
    bench.shards[0].advance_watermark(UnixMs::new(time_ms + LATENESS_MS));
    bench.until(|snapshot| snapshot.time == Some(UnixMs::new(time_ms)))
}

#[test]
fn what_is_merged_is_told_once_the_snapshot_with_its_series_is_published() {
    let mut bench = begin(None);
    let before = bench.reader.newest().unwrap();
    for _ in 0..3 {
        // The third one waits until the first is merged.
        hand_over_one(&mut bench, T, 10);
    }
    assert!(bench.metrics.flow_bytes.get() >= 10.into(), "it is merged");
    assert_eq!(bench.reader.newest().unwrap().sequence, before.sequence);
    assert_eq!(told_with(&before, FLOW_BYTES), 0.0);
    assert_eq!(sum(&bench.metrics, FLOW_BYTES), 0.0);
    let after = tick(&mut bench, T + INTERVAL_MS);
    assert_eq!(after.series().map(|series| series.counts[0]).sum::<u64>(), 30);
    assert_eq!(told_with(&after, FLOW_BYTES), 30.0);
    assert_eq!(sum(&bench.metrics, FLOW_BYTES), 30.0);
    assert_eq!(told_with(&after, "flow_exporter_series"), 1.0);
    bench.end();
}

/// A counter's value, which may have more bits than a double tells apart.
fn exact(counter: &WideCounter) -> u128 {
    counter.get().to_string().parse().unwrap()
}

fn bytes() -> impl Strategy<Value = u64> {
    prop_oneof![0..1_000_u64, u64::MAX - 3..=u64::MAX, any::<u64>()]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// A series ends where its sum would pass 2^64, so all that one counts are what it had when it
    /// ended last.
    #[test]
    fn of_hostile_numbers_no_byte_is_lost_and_no_counter_falls(
        intervals in prop::collection::vec(prop::collection::vec(bytes(), 0..5), 1..8),
    ) {
        let directory = tempfile::tempdir().unwrap();
        let mut bench = begin(Some(directory.path()));
        let mut lives: BTreeMap<UnixMs, u64> = BTreeMap::new();
        let mut before = bench.reader.newest().unwrap();
        let mut time_ms = T;
        for flows in &intervals {
            for &bytes in flows {
                hand_over_one(&mut bench, time_ms, bytes);
            }
            time_ms += INTERVAL_MS;
            let now = tick(&mut bench, time_ms);
            for family in before.own().iter().filter(|family| family.name.ends_with("_total")) {
                prop_assert!(told_with(&now, &family.name) >= told_with(&before, &family.name), "{}", family.name);
            }
            for series in now.series() {
                let known = lives.insert(series.start, series.counts[0]);
                prop_assert!(known <= Some(series.counts[0]));
            }
            before = now;
        }
        let metrics = bench.end();
        let all: u128 = intervals.iter().flatten().copied().map(u128::from).sum();
        prop_assert_eq!(exact(&metrics.flow_bytes), all);
        let ignored = metrics.view_flow_bytes_ignored.with_label_values(&["flow", "overflow"]);
        prop_assert_eq!(lives.values().copied().map(u128::from).sum::<u128>() + exact(&ignored), all);

        let last: Vec<_> = before.series().map(|series| (series.start, series.counts[0])).collect();
        let bench = Bench::start(&config(), 1, Some(directory.path()));
        let restored = bench.reader.newest().unwrap();
        prop_assert_eq!(restored.series().map(|series| (series.start, series.counts[0])).collect::<Vec<_>>(), last);
        bench.end();
    }
}
