//! When snapshots are taken, and what is in them.

// Small whole numbers go in and come out.
#![allow(clippy::unwrap_used, clippy::float_cmp, clippy::cast_sign_loss)]

mod admission;
mod changes;
mod limit;
mod names;
mod reload;
mod totals;

use std::{
    collections::BTreeMap,
    path::Path,
    pin::pin,
    sync::{Arc, LazyLock, mpsc},
    thread::JoinHandle,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use flow_exporter::{
    asn::AsNames,
    clock::UnixMs,
    flow::{Decoded, Flow},
    health::Health,
    journal::{Journal, JournalConfig, Log, Reader as JournalReader, Start, Step},
    ledger::{
        Identity, Ledger, LedgerConfig, LostAtEnd, Names, Reader, Shard, Snapshot, Store,
        Timestamps,
    },
    metrics::Metrics,
    source::Position,
    traffic::Rule,
};
use testkit::counting::{Record as _, limited, schema};

/// The monitored AS.
const OURS: u32 = 64500;
static RULE: LazyLock<Rule> = LazyLock::new(|| Rule::of_as(OURS));
/// Ends a test that would hang.
const PATIENCE: Duration = Duration::from_secs(30);
/// A time long ago, a multiple of the interval.
const T: i64 = 1_600_000_005_000;
const INTERVAL_MS: i64 = 15_000;
const LATENESS_MS: i64 = 1_000;

fn config() -> LedgerConfig {
    LedgerConfig {
        schema: schema(),
        interval: Duration::from_millis(INTERVAL_MS as u64),
        timestamps: Timestamps::Event { max_lateness: Duration::from_millis(LATENESS_MS as u64) },
        series_ttl: None,
        names_wait: Duration::ZERO,
        keeps_interims: false,
    }
}

/// A running ledger, and the shards of its workers.
struct Bench {
    shards: Vec<Shard>,
    woken: mpsc::Receiver<()>,
    reader: Reader,
    names: Names,
    metrics: Arc<Metrics>,
    health: Health,
    ledger: JoinHandle<Result<(), LostAtEnd>>,
}

impl Bench {
    fn start(config: &LedgerConfig, workers: usize, directory: Option<&Path>) -> Self {
        Bench::start_named(config, workers, directory, AsNames::default())
    }

    fn start_named(
        config: &LedgerConfig,
        workers: usize,
        directory: Option<&Path>,
        names: AsNames,
    ) -> Self {
        Bench::start_as(RULE.clone(), config, workers, directory, names)
    }

    fn start_as(
        rule: Rule,
        config: &LedgerConfig,
        workers: usize,
        directory: Option<&Path>,
        names: AsNames,
    ) -> Self {
        let store = directory.map(|directory| open_as(rule, directory));
        let metrics = Arc::new(Metrics::new());
        let health = Health::new();
        let (ledger, shards, reader, names) = Ledger::new(
            config,
            Arc::new(names),
            workers,
            Arc::clone(&metrics),
            store,
            health.register("ledger"),
        )
        .unwrap();
        let (wake, woken) = mpsc::channel();
        for shard in &shards {
            let wake = wake.clone();
            // The test may be over.
            shard.wake_with(Arc::new(move || _ = wake.send(())));
        }
        let ledger = std::thread::spawn(move || ledger.run());
        Bench { shards, woken, reader, names, metrics, health, ledger }
    }

    /// Hands over when asked to, until `done` gives something.
    fn answer_until<T>(&mut self, done: impl Fn(&Reader) -> Option<T>) -> T {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = done(&self.reader) {
                return found;
            }
            assert!(Instant::now() < end, "still not there: {:?}", self.reader.newest());
            // A publication wakes no worker: look again soon.
            if self.woken.recv_timeout(Duration::from_millis(10)).is_ok() {
                self.hand_over();
            }
        }
    }

    /// Hands over when asked to, until a snapshot is wanted.
    fn until(&mut self, wanted: impl Fn(&Snapshot) -> bool) -> Arc<Snapshot> {
        self.answer_until(|reader| reader.newest().filter(|newest| wanted(newest)))
    }

    /// Hands over when asked to, until messages of this time may be counted.
    fn until_taken_from(&mut self, time_ms: i64) {
        self.answer_until(|reader| reader.target().filter(|&target| target > UnixMs::new(time_ms)));
        self.hand_over();
    }

    fn hand_over(&mut self) {
        for shard in self.shards.iter_mut().filter(|shard| shard.hand_over_is_due()) {
            shard.hand_over(Vec::new());
        }
    }

    fn end(self) -> Arc<Metrics> {
        drop(self.shards);
        self.ledger.join().expect("the ledger ends with its workers").unwrap();
        self.metrics
    }
}

fn open(directory: &Path) -> Store {
    open_as(RULE.clone(), directory)
}

fn open_as(rule: Rule, directory: &Path) -> Store {
    let identity = Identity { topic: "t".into(), rule };
    Store::open(directory, &identity, JournalConfig::default(), UnixMs::new(T - 86_400_000))
        .unwrap()
}

/// A flow of some bytes from an AS, in a message of this time.
fn count(shard: &mut Shard, time_ms: i64, source_as: u32, bytes: u64) {
    let flow = Flow { source_as, destination_as: OURS, bytes, hostname: "a".into() };
    shard.counts(Some(UnixMs::new(time_ms))).record(&RULE, &Decoded::Flow(flow));
}

/// A copy of a journal that an earlier version wrote, as a crash leaves it.
fn journal_of(fixture: &str) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(fixture);
    for entry in std::fs::read_dir(fixture).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            std::fs::copy(&path, directory.path().join(path.file_name().unwrap())).unwrap();
        }
    }
    directory
}

/// Source AS, host name and bytes of all series of a snapshot, sorted.
fn rows(snapshot: &Snapshot) -> Vec<(u32, String, u64)> {
    let mut rows: Vec<_> = snapshot
        .series()
        .map(|series| {
            let mut hostname = String::new();
            series.labels(|name, value| {
                if name == "hostname" {
                    value.clone_into(&mut hostname);
                }
            });
            (series.columns()[2], hostname, series.counts[0])
        })
        .collect();
    rows.sort();
    rows
}

/// The samples in a journal: time, and bytes by slot.
fn samples(directory: &Path) -> Vec<(i64, BTreeMap<u32, u64>)> {
    let (journal, _) = Journal::open(directory, JournalConfig::default()).unwrap();
    let log: Log = journal.log();
    let (mut reader, _) = JournalReader::open(&log, Start::Oldest).unwrap().unwrap();
    let mut samples = Vec::new();
    while reader.step().unwrap() == Step::Delta {
        if reader.delta().is_tick {
            let state = reader.state();
            let series = state.series().map(|series| (series.id, series.counts[0])).collect();
            samples.push((state.time.get(), series));
        }
    }
    samples
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(future)
}

fn sum(metrics: &Metrics, name: &str) -> f64 {
    let families = metrics.gather();
    let family = families.iter().find(|family| family.name == name).unwrap();
    family.samples.iter().map(|sample| sample.value).sum()
}

#[tokio::test]
async fn a_request_during_a_snapshot_gets_the_next_one() {
    let config = LedgerConfig { timestamps: Timestamps::Arrival, ..config() };
    let config = LedgerConfig { interval: Duration::from_secs(86_400), ..config };
    let mut bench = Bench::start(&config, 1, None);
    // The first snapshot waits for us. What is counted from now on need not be in it.
    bench.woken.recv_timeout(PATIENCE).expect("a first snapshot");
    let mut fresh = pin!(bench.reader.fresh(Duration::ZERO, PATIENCE));
    tokio::select! {
        biased;
        _ = &mut fresh => panic!("nothing is published yet"),
        () = async {} => {}
    }
    bench.shards[0].hand_over(vec![]);
    bench.woken.recv_timeout(PATIENCE).expect("a second snapshot, for the request");
    bench.shards[0].hand_over(vec![]);
    assert_eq!(fresh.await.map(|snapshot| snapshot.sequence), Some(2));
    drop(bench.shards);
    bench.ledger.join().expect("the ledger ends with its workers").unwrap();
}

#[test]
fn a_sample_counts_exactly_the_messages_from_before_it_in_whatever_order_they_come() {
    let directory = tempfile::tempdir().unwrap();
    let mut bench = Bench::start(&config(), 2, Some(directory.path()));
    bench.until(|_| true);
    // The first messages of both workers: the first sample is the one after the older of them.
    bench.shards[0].advance_watermark(UnixMs::new(T + 5_000));
    bench.shards[1].advance_watermark(UnixMs::new(T + 20_000));
    bench.until_taken_from(T);
    assert_eq!(bench.reader.target(), Some(UnixMs::new(T + INTERVAL_MS + LATENESS_MS)));

    // Clocks of collectors differ: a message of the next sample comes before one of this sample.
    count(&mut bench.shards[0], T + 5_000, 1, 1);
    count(&mut bench.shards[0], T + INTERVAL_MS, 1, 10);
    count(&mut bench.shards[0], T + INTERVAL_MS - 1, 1, 100);
    bench.shards[0].advance_watermark(UnixMs::new(T + INTERVAL_MS + LATENESS_MS));
    let snapshot = bench.until(|snapshot| snapshot.time == Some(UnixMs::new(T + INTERVAL_MS)));
    assert_eq!(snapshot.series().map(|series| series.counts[0]).collect::<Vec<_>>(), [101]);
    bench.until_taken_from(T + 2 * INTERVAL_MS);

    count(&mut bench.shards[1], T + 20_000, 2, 1_000);
    // Too late for its sample.
    count(&mut bench.shards[1], T + 14_000, 2, 10_000);
    bench.shards[0].advance_watermark(UnixMs::new(T + 2 * INTERVAL_MS + LATENESS_MS));
    bench.shards[1].advance_watermark(UnixMs::new(T + 2 * INTERVAL_MS + LATENESS_MS));
    bench.until(|snapshot| snapshot.time == Some(UnixMs::new(T + 2 * INTERVAL_MS)));
    let metrics = bench.end();
    assert_eq!(sum(&metrics, "flow_exporter_late_messages_total"), 1.0);
    assert_eq!(
        samples(directory.path()),
        [
            (T + INTERVAL_MS, BTreeMap::from([(0, 101)])),
            (T + 2 * INTERVAL_MS, BTreeMap::from([(0, 111), (1, 11_000)])),
        ]
    );
}

#[test]
fn what_was_counted_ahead_of_a_sample_survives_a_crash_with_its_position() {
    let directory = tempfile::tempdir().unwrap();
    let mut bench = Bench::start(&config(), 1, Some(directory.path()));
    bench.until(|_| true);
    bench.shards[0].advance_watermark(UnixMs::new(T));
    bench.until_taken_from(T);
    count(&mut bench.shards[0], T, 1, 1);
    count(&mut bench.shards[0], T + INTERVAL_MS, 2, 10);
    bench.shards[0].advance_watermark(UnixMs::new(T + INTERVAL_MS + LATENESS_MS));
    bench.woken.recv_timeout(PATIENCE).expect("the first tick");
    bench.shards[0].hand_over(vec![Position { partition: 0, next_offset: 2 }]);
    bench.until(|snapshot| snapshot.time == Some(UnixMs::new(T + INTERVAL_MS)));
    bench.end();

    let store = open(directory.path());
    assert_eq!(store.positions().collect::<Vec<_>>(), [(0, 2)], "both messages are counted");
    drop(store);
    let mut bench = Bench::start(&config(), 1, Some(directory.path()));
    assert_eq!(bench.reader.target(), Some(UnixMs::new(T + 2 * INTERVAL_MS + LATENESS_MS)));
    bench.shards[0].advance_watermark(UnixMs::new(T + 2 * INTERVAL_MS + LATENESS_MS));
    let snapshot = bench.until(|snapshot| snapshot.time == Some(UnixMs::new(T + 2 * INTERVAL_MS)));
    assert_eq!(snapshot.series().map(|series| series.counts[0]).collect::<Vec<_>>(), [1, 10]);
    bench.end();
}

#[test]
fn a_series_without_flows_ends_and_comes_back_from_zero_with_a_new_start() {
    let ttl = Duration::from_secs(30);
    let mut bench = Bench::start(&LedgerConfig { series_ttl: Some(ttl), ..config() }, 1, None);
    bench.until(|_| true);
    bench.shards[0].advance_watermark(UnixMs::new(T));
    bench.until_taken_from(T);
    let mut seen = Vec::new();
    for (place, sources) in [&[1, 2][..], &[2], &[2], &[2], &[1, 2]].into_iter().enumerate() {
        let start_ms = T + place as i64 * INTERVAL_MS;
        for &source in sources {
            count(&mut bench.shards[0], start_ms, source, 7);
        }
        let moment_ms = start_ms + INTERVAL_MS;
        bench.shards[0].advance_watermark(UnixMs::new(moment_ms + LATENESS_MS));
        let snapshot = bench.until(|snapshot| snapshot.time == Some(UnixMs::new(moment_ms)));
        bench.until_taken_from(moment_ms);
        let series = |source: u32| {
            let found = snapshot.series().find(|series| series.columns()[2] == source);
            found.map(|series| (series.start.get() - T, series.counts[0]))
        };
        seen.push((series(1), series(2)));
    }
    let start = -LATENESS_MS;
    let again = 4 * INTERVAL_MS;
    assert_eq!(
        seen,
        [
            (Some((start, 7)), Some((start, 7))),
            (Some((start, 7)), Some((start, 14))),
            (Some((start, 7)), Some((start, 21))),
            (None, Some((start, 28))),
            (Some((again, 7)), Some((start, 35))),
        ]
    );
    let metrics = bench.end();
    assert_eq!(sum(&metrics, "flow_exporter_series_expired_total"), 1.0);
}

#[test]
fn no_sample_is_of_a_time_before_the_last_one_after_the_clock_was_set_back() {
    let directory = tempfile::tempdir().unwrap();
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    // The state that was written while the clock was an hour fast.
    let future = (since.as_millis() as i64 / INTERVAL_MS + 240) * INTERVAL_MS;
    let mut bench = Bench::start(&config(), 1, Some(directory.path()));
    bench.until(|_| true);
    bench.shards[0].advance_watermark(UnixMs::new(future - 1));
    bench.until_taken_from(future - 1 - LATENESS_MS);
    count(&mut bench.shards[0], future - 1, 1, 1);
    bench.shards[0].advance_watermark(UnixMs::new(future + LATENESS_MS));
    bench.until(|snapshot| snapshot.time == Some(UnixMs::new(future)));
    bench.end();
    let before = samples(directory.path());

    for (timestamps, bytes) in [(config().timestamps, 11), (Timestamps::Arrival, 21)] {
        let config = LedgerConfig { timestamps, ..config() };
        let mut bench = Bench::start(&config, 1, Some(directory.path()));
        bench.shards[0].counts(None).record(
            &RULE,
            &Decoded::Flow(Flow {
                source_as: 1,
                destination_as: OURS,
                bytes: 10,
                hostname: "a".into(),
            }),
        );
        // Scrapes still see it.
        drop(std::thread::spawn({
            let reader = bench.reader.clone();
            move || block_on(reader.fresh(Duration::ZERO, PATIENCE))
        }));
        bench.until(|snapshot| snapshot.series().map(|each| each.counts[0]).sum::<u64>() == bytes);
        bench.end();
        assert_eq!(samples(directory.path()), before, "the next sample waits for the clock");
    }
}

#[test]
fn a_journal_with_label_values_from_before_they_had_a_bound_is_continued_and_sums_stay_exact() {
    let directory = journal_of("ledger-1");
    let names = format!("1\t{}\n2\tTwo\n{OURS}\tOurs\n", "n".repeat(2000));
    let names = AsNames::parse(names.as_bytes()).unwrap();
    let mut bench = Bench::start_named(&config(), 1, Some(directory.path()), names);
    let (long, kept) = ("x".repeat(3000), "x".repeat(1024));
    // What was published stays, under its labels, until the next snapshot.
    let newest = bench.reader.newest().expect("what was published before");
    let published = [(1, "a".into(), 1), (2, long.clone(), 10), (2, format!("{long}y"), 100)];
    assert_eq!(rows(&newest), published);

    // Early counts of two long values are one series now, and so are later flows.
    let flow = Flow { source_as: 2, destination_as: OURS, bytes: 100_000, hostname: long.into() };
    bench.shards[0].counts(Some(UnixMs::new(T + INTERVAL_MS))).record(&RULE, &Decoded::Flow(flow));
    bench.shards[0].advance_watermark(UnixMs::new(T + 2 * INTERVAL_MS + LATENESS_MS));
    let snapshot = bench.until(|snapshot| snapshot.time == Some(UnixMs::new(T + 2 * INTERVAL_MS)));
    // AS 1 had a name that is too long now, so its series has ended as well.
    assert_eq!(rows(&snapshot), [(2, kept, 111_000)]);
    let metrics = bench.end();
    let truncated = metrics.label_values_truncated.with_label_values(&["hostname"]).get();
    assert_eq!(truncated, 1, "flows of a long value are counted");
}

#[test]
fn names_that_take_more_than_a_table_may_are_read_back() {
    let numbers: Vec<u32> = (1..=33_000).chain([OURS]).collect();
    let names: Vec<_> =
        numbers.iter().map(|number| format!("{number}{}", "n".repeat(1016))).collect();
    let names = numbers.iter().copied().zip(names.iter().map(String::as_str));
    round_trip(&numbers, 1, &AsNames::of(names), 64 << 20);
}

#[test]
#[ignore = "takes a minute without optimisation, and half a gigabyte"]
fn all_named_as_behind_thirteen_routers_are_read_back() {
    let embedded = AsNames::embedded();
    let numbers: Vec<u32> = embedded.iter().map(|(number, _)| number).collect();
    assert_eq!(numbers.len(), 91_065);
    let names = AsNames::of([(OURS, "An operator, whose name is in all series")]);
    let names = names.over(&embedded);
    round_trip(&numbers, 13, &names, 64 << 20);
}

/// Counts a flow of each AS behind this many routers, and finds the same after a restart. The names
/// of all series take `least_bytes` together, at least.
fn round_trip(numbers: &[u32], routers: u32, names: &AsNames, least_bytes: usize) {
    let joined: usize = numbers
        .iter()
        .map(|&number| format!("{number}\t{}\n", names.get(number)).len())
        .sum::<usize>()
        + numbers.len() * format!("{OURS}\t{}\n", names.get(OURS)).len();
    assert!(joined * routers as usize > least_bytes, "{joined}");
    let directory = tempfile::tempdir().unwrap();
    let config = config();
    let start =
        |names: &AsNames| Bench::start_named(&config, 1, Some(directory.path()), names.clone());
    let mut bench = start(names);
    bench.until(|_| true);
    bench.shards[0].advance_watermark(UnixMs::new(T));
    bench.until_taken_from(T);
    for router in 0..routers {
        for &source_as in numbers {
            let hostname = format!("edge{router}").into();
            let bytes = u64::from(source_as) + 1;
            let flow = Flow { source_as, destination_as: OURS, bytes, hostname };
            bench.shards[0].counts(Some(UnixMs::new(T))).record(&RULE, &Decoded::Flow(flow));
        }
    }
    bench.shards[0].advance_watermark(UnixMs::new(T + INTERVAL_MS + LATENESS_MS));
    let published = bench.until(|snapshot| snapshot.time == Some(UnixMs::new(T + INTERVAL_MS)));
    assert_eq!(published.len(), numbers.len() * routers as usize);
    bench.end();

    let report = flow_exporter::journal::verify(directory.path()).unwrap();
    assert_eq!(report.broken().count(), 0);
    flow_exporter::ledger::check(&report.state.unwrap()).expect("a start finds nothing wrong");
    let bench = start(names);
    let restored = bench.reader.newest().expect("published at once");
    assert_eq!(restored.len(), published.len());
    for (restored, published) in restored.series().zip(published.series()) {
        assert_eq!((restored.slot, restored.counts[0]), (published.slot, published.counts[0]));
        let (mut one, mut other) = (Vec::new(), Vec::new());
        restored.labels(|_, value| one.push(value.to_owned()));
        published.labels(|_, value| other.push(value.to_owned()));
        assert!(one == other, "{one:?} was {other:?}");
    }
    bench.end();
}

#[test]
fn labels_of_900_kilobytes_are_counted_across_a_restart_and_sums_are_exact() {
    const RECORDS: u32 = 1300;
    let directory = tempfile::tempdir().unwrap();
    let mut label = "l".repeat(900_000);
    let mut start_ms = T;
    for round in 1..=2 {
        let mut bench = Bench::start(&config(), 1, Some(directory.path()));
        bench.until(|_| true);
        if round == 1 {
            bench.shards[0].advance_watermark(UnixMs::new(start_ms));
            bench.until_taken_from(start_ms);
        }
        for record in 0..RECORDS {
            label.replace_range(..4, &format!("{record:04}"));
            let flow =
                Flow { source_as: 1, destination_as: OURS, bytes: 7, hostname: (&label).into() };
            bench.shards[0].counts(Some(UnixMs::new(start_ms))).record(&RULE, &Decoded::Flow(flow));
        }
        start_ms += INTERVAL_MS;
        bench.shards[0].advance_watermark(UnixMs::new(start_ms + LATENESS_MS));
        let snapshot = bench.until(|snapshot| snapshot.time == Some(UnixMs::new(start_ms)));
        assert_eq!(snapshot.len(), RECORDS as usize);
        let mut longest = 0;
        for series in snapshot.series() {
            assert_eq!(series.counts[0], 7 * round);
            series.labels(|_, value| longest = longest.max(value.len()));
        }
        assert_eq!(longest, 1024);
        let metrics = bench.end();
        let truncated = metrics.label_values_truncated.with_label_values(&["hostname"]).get();
        assert_eq!(truncated, u64::from(RECORDS));
    }
}
