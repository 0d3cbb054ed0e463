//! Restarts with another AS or other views: positions stay, series end and begin, and no byte is
//! lost.

use flow_exporter::{
    clock::UnixMs,
    publish::text::{Format, Page},
    schema::{Class, Definition, Dimension, Filter, Measure, Schema, View},
};

use super::*;

/// A ledger that continues a journal.
pub(super) fn start(schema: &Arc<Schema>, asn: u32, directory: &Path) -> Bench {
    let config = LedgerConfig { schema: Arc::clone(schema), ..config() };
    Bench::start_as(Rule::of_as(asn), &config, 1, Some(directory), AsNames::default())
}

/// Counts a flow from AS 1 to the monitored one, and hands over with the position `next_offset`.
fn count_one(bench: &mut Bench, asn: u32, time_ms: i64, bytes: u64, next_offset: i64) {
    count_at(bench, "a", asn, time_ms, bytes, next_offset);
}

/// The same for a router of this name.
fn count_at(
    bench: &mut Bench,
    hostname: &'static str,
    asn: u32,
    time_ms: i64,
    bytes: u64,
    next_offset: i64,
) {
    let flow = Flow { source_as: 1, destination_as: asn, bytes, hostname: hostname.into() };
    let shard = &mut bench.shards[0];
    shard.counts(Some(UnixMs::new(time_ms))).record(&Rule::of_as(asn), &Decoded::Flow(flow));
    shard.hand_over(vec![Position { partition: 0, next_offset }]);
}

/// Another monitored AS.
const NEXT: u32 = 64501;

/// What is to be continued with [`NEXT`]: a flow of 5 bytes is counted at `T`.
fn begin_with_one(directory: &Path) -> Bench {
    let mut bench = begin(&schema(), OURS, directory);
    count_one(&mut bench, OURS, T, 5, 1);
    bench
}

/// The page as a scrape gets it.
fn page(bench: &Bench) -> String {
    let schema = bench.reader.schema();
    let mut page = Page::new(Format::Prometheus, schema, bench.reader.newest(), Vec::new());
    let mut out = Vec::new();
    while page.step(&mut out) {}
    String::from_utf8(out).unwrap()
}

/// The lines of series on the page.
pub(super) fn lines(bench: &Bench) -> Vec<String> {
    let page = page(bench);
    page.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect()
}

/// Waits until the tick at `time_ms` is taken, and returns the lines of the page.
pub(super) fn tick(bench: &mut Bench, time_ms: i64) -> Vec<String> {
    bench.shards[0].advance_watermark(UnixMs::new(time_ms + LATENESS_MS));
    bench.until(|snapshot| snapshot.time == Some(UnixMs::new(time_ms)));
    lines(bench)
}

/// The first counts, to be continued after a change: the ledger is ready to count from `T` on.
pub(super) fn begin(schema: &Arc<Schema>, asn: u32, directory: &Path) -> Bench {
    let mut bench = start(schema, asn, directory);
    bench.until(|_| true);
    bench.shards[0].advance_watermark(UnixMs::new(T));
    bench.until_taken_from(T);
    bench
}

/// Sums of everything that was ever counted, and the series that ended, according to the log. For
/// each tick, it has to say how many samples that has.
pub(super) fn replayed(directory: &Path) -> (Vec<u64>, usize) {
    let (journal, _) = Journal::open(directory, JournalConfig::default()).unwrap();
    let log: Log = journal.log();
    let (mut reader, _) = JournalReader::open(&log, Start::Oldest).unwrap().unwrap();
    let (mut sums, mut ended) = (Vec::new(), 0);
    let mut samples = reader.state().totals.samples;
    while reader.step().unwrap() == Step::Delta {
        let (delta, state) = (reader.delta(), reader.state());
        if delta.is_tick {
            let definitions = state.series().map(|of| Definition::read(of.definition).unwrap());
            samples += definitions.map(|of| of.measures().count() as u64).sum::<u64>();
        }
        assert_eq!(state.totals.samples, samples, "at {:?}", state.time);
        ended += delta.ended().len();
        for (_, increments) in delta.changed() {
            sums.resize(sums.len().max(increments.len()), 0);
            sums.iter_mut().zip(increments).for_each(|(sum, increment)| *sum += increment);
        }
    }
    (sums, ended)
}

#[test]
fn another_as_ends_all_series_and_counts_on_from_the_same_positions() {
    let directory = tempfile::tempdir().unwrap();
    let mut bench = begin_with_one(directory.path());
    assert_eq!(tick(&mut bench, T + INTERVAL_MS).len(), 1);
    bench.end();

    let store = open_as(Rule::of_as(NEXT), directory.path());
    assert_eq!(store.positions().collect::<Vec<_>>(), [(0, 1)]);
    drop(store);
    let mut bench = start(&schema(), NEXT, directory.path());
    assert_eq!(lines(&bench), [""; 0], "the series of another AS are not shown");
    count_one(&mut bench, NEXT, T + INTERVAL_MS, 7, 2);
    let expected = "flow_receive_bytes_total{destination_as=\"64501\",destination_as_name=\"\",\
        hostname=\"a\",source_as=\"1\",source_as_name=\"\"} 7";
    assert_eq!(tick(&mut bench, T + 2 * INTERVAL_MS), [expected]);
    bench.end();
    assert_eq!(replayed(directory.path()), (vec![12], 1));

    // Nothing has changed since.
    let mut bench = start(&schema(), NEXT, directory.path());
    assert_eq!(lines(&bench), [expected]);
    count_one(&mut bench, NEXT, T + 2 * INTERVAL_MS, 3, 3);
    assert_eq!(tick(&mut bench, T + 3 * INTERVAL_MS), [expected.replace("} 7", "} 10")]);
    bench.end();
    assert_eq!(replayed(directory.path()), (vec![15], 1));
}

#[test]
fn early_counts_of_another_as_are_in_its_series_before_they_end() {
    let directory = tempfile::tempdir().unwrap();
    let mut bench = begin_with_one(directory.path());
    count_one(&mut bench, OURS, T + INTERVAL_MS, 50, 2);
    assert_eq!(tick(&mut bench, T + INTERVAL_MS).len(), 1);
    bench.end();
    assert_eq!(replayed(directory.path()), (vec![5], 0), "the rest is early");

    let mut bench = start(&schema(), NEXT, directory.path());
    count_one(&mut bench, NEXT, T + INTERVAL_MS, 500, 3);
    let lines = tick(&mut bench, T + 2 * INTERVAL_MS);
    assert!(lines.len() == 1 && lines[0].ends_with(" 500"), "{lines:?}");
    bench.end();
    assert_eq!(replayed(directory.path()), (vec![555], 1));
}

#[test]
fn a_changed_view_ends_its_series_and_leaves_those_of_others_alone() {
    let device = |measures: &[Measure]| {
        View::new("device", &[Dimension::Hostname], &[Class::Receive], measures)
    };
    let schemas = [
        vec![View::original(), device(&[Measure::Bytes])],
        vec![View::original(), device(&[Measure::Bytes, Measure::Flows])],
        vec![View::original()],
        vec![device(&[Measure::Bytes]), View::original()],
    ];
    let of_device =
        |what: &str, value| format!("flow_device_receive_{what}_total{{hostname=\"a\"}} {value}");
    let expected = [
        vec![of_device("bytes", 10)],
        vec![of_device("bytes", 10), of_device("flows", 1)],
        vec![],
        vec![of_device("bytes", 10)],
    ];
    let directory = tempfile::tempdir().unwrap();
    let mut offset = 0;
    for (schema, of_device) in schemas.into_iter().zip(expected) {
        let schema = Arc::new(Schema::new(schema));
        let mut bench = if offset == 0 {
            begin(&schema, OURS, directory.path())
        } else {
            start(&schema, OURS, directory.path())
        };
        let time_ms = T + offset * INTERVAL_MS;
        offset += 1;
        count_one(&mut bench, OURS, time_ms, 10, offset);
        let lines = tick(&mut bench, time_ms + INTERVAL_MS);
        let (devices, original): (Vec<_>, Vec<_>) =
            lines.into_iter().partition(|line| line.starts_with("flow_device"));
        assert_eq!(devices, of_device);
        assert!(original.len() == 1 && original[0].ends_with(&format!(" {}", 10 * offset)));
        bench.end();
    }
    // The log has the newest two segments, and with them all but the first run: bytes of three flows
    // in the original's view and of two in the other, and one flow.
    assert_eq!(replayed(directory.path()), (vec![50, 1], 2));
}

#[test]
fn a_view_that_counts_other_flows_ends_its_series_and_the_rest_of_it_may_change() {
    let device =
        || View::new("device", &[Dimension::Hostname], &[Class::Receive], &[Measure::Bytes]);
    let of = |names: &[&str]| {
        device().filtered(vec![Filter::new("hostname", names.iter().copied()).unwrap()])
    };
    let views = [
        (of(&["a"]), 10),
        (of(&["a"]), 20),
        (of(&["b", "a"]), 10),
        (of(&["a", "b", "a"]).limited(5), 20),
        (device(), 10),
        (device().limited(9).keeping(|_| false), 20),
        (of(&["a"]), 10),
    ];
    let directory = tempfile::tempdir().unwrap();
    let mut offset = 0;
    for (view, expected) in views {
        let schema = Arc::new(Schema::new(vec![view, View::original()]));
        let mut bench = if offset == 0 {
            begin(&schema, OURS, directory.path())
        } else {
            start(&schema, OURS, directory.path())
        };
        let time_ms = T + offset * INTERVAL_MS;
        offset += 1;
        count_one(&mut bench, OURS, time_ms, 10, offset);
        let lines = tick(&mut bench, time_ms + INTERVAL_MS);
        let bytes = |line: &String| line.rsplit_once(' ').unwrap().1.parse::<i64>().unwrap();
        assert_eq!(lines.iter().map(bytes).collect::<Vec<_>>(), [expected, 10 * offset]);
        bench.end();
    }
}

#[test]
fn a_series_ends_that_has_the_labels_of_one_for_the_rest_since_its_view_keeps_others() {
    let view = |kept: Dimension| {
        let dimensions = [Dimension::SOURCE_AS, Dimension::Hostname];
        let view = View::new("device", &dimensions, &[Class::Receive], &[Measure::Bytes]);
        Arc::new(Schema::new(vec![view.keeping(|dimension| *dimension == kept).limited(1)]))
    };
    let directory = tempfile::tempdir().unwrap();
    let mut bench = begin(&view(Dimension::Hostname), OURS, directory.path());
    count_at(&mut bench, "other", OURS, T, 5, 1);
    let labels = "flow_device_receive_bytes_total{hostname=\"other\",source_as=\"1\",\
        source_as_name=\"\"}";
    assert_eq!(tick(&mut bench, T + INTERVAL_MS), [format!("{labels} 5")]);
    bench.end();

    // Now the series for the rest are labelled so.
    let mut bench = start(&view(Dimension::SOURCE_AS), OURS, directory.path());
    count_at(&mut bench, "a", OURS, T + INTERVAL_MS, 10, 2);
    count_at(&mut bench, "b", OURS, T + INTERVAL_MS, 100, 3);
    count_at(&mut bench, "other", OURS, T + INTERVAL_MS, 1_000, 4);
    let expected = [labels.replace("other", "a") + " 10", labels.to_owned() + " 1100"];
    assert_eq!(tick(&mut bench, T + 2 * INTERVAL_MS), expected);
    bench.end();

    // Nothing has changed since.
    let mut bench = start(&view(Dimension::SOURCE_AS), OURS, directory.path());
    assert_eq!(lines(&bench), expected);
    count_at(&mut bench, "other", OURS, T + 2 * INTERVAL_MS, 10_000, 5);
    let expected = [expected[0].clone(), labels.to_owned() + " 11100"];
    assert_eq!(tick(&mut bench, T + 3 * INTERVAL_MS), expected);
    bench.end();
    assert_eq!(replayed(directory.path()), (vec![5 + 10 + 1_100 + 10_000], 1));
}

#[test]
fn early_counts_of_a_changed_view_are_in_the_series_that_end() {
    let device =
        || View::new("device", &[Dimension::Hostname], &[Class::Receive], &[Measure::Bytes]);
    let filtered = device().filtered(vec![Filter::new("hostname", ["a"]).unwrap()]);
    let directory = tempfile::tempdir().unwrap();
    let [before, after] =
        [device(), filtered].map(|view| Arc::new(Schema::new(vec![view, View::original()])));
    let mut bench = begin(&before, OURS, directory.path());
    count_one(&mut bench, OURS, T + INTERVAL_MS, 50, 1);
    assert_eq!(tick(&mut bench, T + INTERVAL_MS), [""; 0]);
    bench.end();

    let mut bench = start(&after, OURS, directory.path());
    count_one(&mut bench, OURS, T + INTERVAL_MS, 500, 2);
    let lines = tick(&mut bench, T + 2 * INTERVAL_MS);
    assert!(lines.len() == 2 && lines[0].ends_with(" 500") && lines[1].ends_with(" 550"));
    bench.end();
    assert_eq!(replayed(directory.path()), (vec![50 + 500 + 550], 1));
}

#[test]
fn a_journal_of_a_version_without_views_is_continued_with_its_early_counts() {
    let directory = journal_of("ledger-2");
    let config = LedgerConfig { schema: limited(2), ..config() };
    let names = AsNames::parse(format!("1\tOne\n{OURS}\tOurs\n").as_bytes()).unwrap();
    let mut bench = Bench::start_named(&config, 1, Some(directory.path()), names);
    let published = bench.reader.newest().expect("what was published before");
    let row = |asn, host: &str, bytes| (asn, host.to_owned(), bytes);
    let before = [row(0, "a", 100), row(0, "a", 1_000), row(1, "a", 1), row(2, "b", 10)];
    assert_eq!(rows(&published), before);
    assert_eq!(published.positions().next(), Some(Position { partition: 0, next_offset: 6 }));

    count(&mut bench.shards[0], T + INTERVAL_MS, 1, 5);
    bench.shards[0].advance_watermark(UnixMs::new(T + 2 * INTERVAL_MS + LATENESS_MS));
    let snapshot = bench.until(|snapshot| snapshot.time == Some(UnixMs::new(T + 2 * INTERVAL_MS)));
    let after = [
        row(0, "a", 100),
        row(0, "a", 1_000),
        row(0, "c", 100_000),
        row(1, "a", 6),
        row(2, "b", 10_010),
    ];
    assert_eq!(rows(&snapshot), after);
    bench.end();

    // The new format is read back.
    let bench = Bench::start_named(&config, 1, Some(directory.path()), AsNames::default());
    assert_eq!(rows(&bench.reader.newest().expect("what was published before")), after);
    bench.end();
}
