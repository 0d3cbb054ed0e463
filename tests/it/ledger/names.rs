//! Series whose AS is renamed, and series whose sum passes 2^64.

use super::*;

/// Name of the source AS, start of the series after [`T`] in milliseconds, and bytes.
type Row = (String, i64, u64);

fn named(snapshot: &Snapshot) -> Vec<Row> {
    let mut rows: Vec<_> = snapshot
        .series()
        .map(|series| {
            let mut name = String::new();
            series.labels(|label, value| {
                if label == "source_as_name" {
                    value.clone_into(&mut name);
                }
            });
            (name, series.start.get() - T, series.counts[0])
        })
        .collect();
    rows.sort();
    rows
}

/// Names of AS 1 and 2; others have none.
fn names(one: &str, two: &str) -> AsNames {
    AsNames::of([(1, one), (2, two)])
}

/// Counts flows (source AS, bytes) for the tick at the end of this interval after [`T`], and takes
/// its sample.
fn tick(bench: &mut Bench, interval: i64, flows: &[(u32, u64)]) -> Arc<Snapshot> {
    let start_ms = T + interval * INTERVAL_MS;
    if interval == 0 {
        bench.until(|_| true);
        bench.shards[0].advance_watermark(UnixMs::new(T));
    }
    bench.until_taken_from(start_ms);
    for &(source_as, bytes) in flows {
        count(&mut bench.shards[0], start_ms, source_as, bytes);
    }
    let tick_ms = start_ms + INTERVAL_MS;
    bench.shards[0].advance_watermark(UnixMs::new(tick_ms + LATENESS_MS));
    bench.until(|snapshot| snapshot.time == Some(UnixMs::new(tick_ms)))
}

fn row(name: &str, start_ms: i64, bytes: u64) -> Row {
    (name.to_owned(), start_ms, bytes)
}

#[test]
fn names_that_are_replaced_end_the_series_they_change_and_no_others() {
    let directory = tempfile::tempdir().unwrap();
    let mut bench = Bench::start_named(&config(), 1, Some(directory.path()), names("One", "Two"));
    let before = tick(&mut bench, 0, &[(1, 5), (2, 50)]);
    assert_eq!(named(&before), [row("One", -LATENESS_MS, 5), row("Two", -LATENESS_MS, 50)]);
    bench.names.replace(Arc::new(names("Uno", "Two")));
    let after = tick(&mut bench, 1, &[(1, 7), (2, 70)]);
    let [two, uno] = named(&after).try_into().expect("two series");
    assert_eq!(two, row("Two", -LATENESS_MS, 120));
    assert_eq!((uno.0.as_str(), uno.2), ("Uno", 7), "it begins from zero");
    assert!(uno.1 >= 0, "it began after the other: {}", uno.1);
    bench.end();
    let report = flow_exporter::journal::verify(directory.path()).unwrap();
    assert_eq!(report.broken().count(), 0);
}

#[test]
fn names_that_differ_after_a_restart_end_the_series_they_change_and_no_others() {
    let directory = tempfile::tempdir().unwrap();
    let start = |names: AsNames| Bench::start_named(&config(), 1, Some(directory.path()), names);
    let mut bench = start(names("One", "Two"));
    tick(&mut bench, 0, &[(1, 5), (2, 50)]);
    bench.end();
    for interval in 1..3 {
        let mut bench = start(names("Uno", "Two"));
        let after = tick(&mut bench, interval, &[(1, 7), (2, 70)]);
        let times = u64::try_from(interval).unwrap();
        let found: Vec<_> =
            named(&after).into_iter().map(|(name, _, bytes)| (name, bytes)).collect();
        let expected = [("Two".to_owned(), 50 + times * 70), ("Uno".to_owned(), times * 7)];
        assert_eq!(found, expected, "a series with the right name continues at the next restart");
        bench.end();
    }
}

#[test]
fn series_keep_their_names_while_fresh_ones_are_on_their_way_and_when_they_are_given_up() {
    let directory = tempfile::tempdir().unwrap();
    let start = |config: &LedgerConfig, names: AsNames| {
        Bench::start_named(config, 1, Some(directory.path()), names)
    };
    let mut bench = start(&config(), names("One", "Two"));
    tick(&mut bench, 0, &[(1, 5), (2, 50)]);
    bench.end();
    // The available names are older than those under which the series were counted.
    let waiting = LedgerConfig { names_wait: Duration::from_secs(3600), ..config() };
    let mut bench = start(&waiting, names("Eins", "Zwei"));
    let at_once = bench.reader.newest().expect("published at once");
    let both = [row("One", -LATENESS_MS, 5), row("Two", -LATENESS_MS, 50)];
    assert_eq!(named(&at_once), both);
    bench.names.give_up();
    let after = tick(&mut bench, 1, &[(1, 7), (2, 70)]);
    assert_eq!(named(&after), [row("One", -LATENESS_MS, 12), row("Two", -LATENESS_MS, 120)]);
    // The new names arrive after all.
    bench.names.replace(Arc::new(names("One", "Dos")));
    let fresh = tick(&mut bench, 2, &[(1, 1), (2, 1)]);
    let found: Vec<_> = named(&fresh).into_iter().map(|(name, _, bytes)| (name, bytes)).collect();
    assert_eq!(found, [("Dos".to_owned(), 1), ("One".to_owned(), 13)]);
    bench.end();
}

#[test]
fn a_sum_that_passes_2_to_the_64_continues_as_a_new_series_of_the_same_labels() {
    let directory = tempfile::tempdir().unwrap();
    let mut bench = Bench::start_named(&config(), 1, Some(directory.path()), names("One", "Two"));
    tick(&mut bench, 0, &[(1, u64::MAX - 1), (2, 1)]);
    let wrapped = tick(&mut bench, 1, &[(1, 7), (2, 1)]);
    let [one, two] = named(&wrapped).try_into().expect("two series");
    assert_eq!((one.0.as_str(), one.2), ("One", 7), "no byte is lost");
    assert!(one.1 >= 0, "its start tells that it began again: {}", one.1);
    assert_eq!(two, row("Two", -LATENESS_MS, 2));
    bench.end();
    let mut bench = Bench::start_named(&config(), 1, Some(directory.path()), names("One", "Two"));
    let restored = bench.reader.newest().expect("published at once");
    assert_eq!(named(&restored), [one.clone(), two]);
    let after = tick(&mut bench, 2, &[(1, 1)]);
    assert_eq!(named(&after)[0], (one.0, one.1, 8));
    bench.end();
}
