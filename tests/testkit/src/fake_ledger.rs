//! A ledger that counts what a test says, and a pusher that follows its log.
//!
//! Times are made up; nothing waits for the clock.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use flow_exporter::{
    clock::UnixMs,
    health::Health,
    journal::{
        CheckpointHead, CheckpointSource, Delta, Error, Journal, JournalConfig, Log, MemoryJournal,
        Reader, Series, Start, State, Step,
    },
    metrics::Metrics,
    publish::pusher::{self, Pusher, PusherConfig},
    schema::{Schema, View},
};
use tempfile::TempDir;
use tokio::{sync::watch, task::JoinHandle};

use crate::{
    accounting::Samples,
    definitions::{definition, definition_in},
};

/// The monitored AS.
pub const ASN: u32 = 64500;

/// Time of the first tick, in milliseconds.
pub const BEGIN: i64 = 1_700_000_000_000;
/// Milliseconds between two ticks.
pub const INTERVAL: i64 = 15_000;

/// The time of a tick, by its number from 0.
pub fn at(number: i64) -> i64 {
    BEGIN + number * INTERVAL
}

/// Where the deltas go.
enum Backend {
    Disk { dir: TempDir, journal: Box<Journal> },
    Memory(MemoryJournal),
}

/// A ledger that counts what a test says. Series are told apart by the source AS.
pub struct FakeLedger {
    backend: Backend,
    /// What the pushers are told of.
    pub schema: Schema,
    /// Follows the log, for the checkpoints.
    pub reader: Option<Reader>,
    pub news: watch::Sender<()>,
    sequence: u64,
    /// The slot of each living series, by source AS.
    pub slots: BTreeMap<u32, u32>,
    free: Vec<u32>,
    pub delta: Delta,
    /// Bytes since the last snapshot, by source AS.
    pub pending: BTreeMap<u32, u64>,
    /// Counts since the last snapshot of series of other views, by source AS.
    rows: BTreeMap<u32, Vec<u64>>,
    /// Measures beyond the first of living series, by source AS.
    extra_measures: BTreeMap<u32, u64>,
    before_ms: i64,
}

/// A state with other rows.
struct Resized<'s> {
    state: &'s State,
    width: usize,
}

impl CheckpointSource for Resized<'_> {
    fn head(&self, visit: &mut dyn FnMut(CheckpointHead<'_>)) {
        self.state.head(&mut |head| visit(CheckpointHead { width: self.width, ..head }));
    }

    fn visit(&self, visit: &mut dyn FnMut(Series<'_>)) {
        for series in self.state.series() {
            let mut counts = series.counts.to_vec();
            counts.resize(self.width, 0);
            visit(Series { counts: &counts, ..series });
        }
    }
}

/// The state before the first delta.
struct Nothing {
    width: usize,
}

impl CheckpointSource for Nothing {
    fn head(&self, visit: &mut dyn FnMut(CheckpointHead<'_>)) {
        visit(CheckpointHead {
            identity: b"test",
            sequence: 0,
            time: UnixMs::new(at(-1)),
            positions: &[],
            early_counts: &[],
            width: self.width,
            slots: 0,
            live: 0,
        });
    }

    fn visit(&self, _visit: &mut dyn FnMut(Series<'_>)) {}
}

impl FakeLedger {
    pub fn on_disk() -> Self {
        Self::with_caps(JournalConfig::default())
    }

    pub fn with_caps(config: JournalConfig) -> Self {
        Self::in_directory(tempfile::tempdir().unwrap(), config)
    }

    pub fn in_directory(dir: TempDir, config: JournalConfig) -> Self {
        let (journal, _) = Journal::open(dir.path(), config).unwrap();
        Self::of(Backend::Disk { dir, journal: Box::new(journal) })
    }

    pub fn in_memory(max_bytes: usize) -> Self {
        Self::of(Backend::Memory(MemoryJournal::new(1, UnixMs::new(at(-1)), max_bytes)))
    }

    /// In memory, with this many series that began long ago: only their values are still to be sent.
    pub fn of_series(series: u32) -> Self {
        let memory = MemoryJournal::new(1, UnixMs::EPOCH, 1 << 20);
        let mut ledger = FakeLedger { before_ms: 0, ..Self::of(Backend::Memory(memory)) };
        for source_as in 1..=series {
            ledger.start(source_as);
        }
        ledger.snapshot(0);
        ledger
    }

    fn of(backend: Backend) -> Self {
        FakeLedger {
            backend,
            schema: Schema::original(),
            reader: None,
            news: watch::channel(()).0,
            sequence: 0,
            slots: BTreeMap::new(),
            free: Vec::new(),
            delta: Delta::new(1),
            pending: BTreeMap::new(),
            rows: BTreeMap::new(),
            extra_measures: BTreeMap::new(),
            before_ms: at(-1),
        }
    }

    pub fn log(&self) -> Log {
        match &self.backend {
            Backend::Disk { journal, .. } => journal.log(),
            Backend::Memory(memory) => memory.log(),
        }
    }

    fn start(&mut self, source_as: u32) {
        self.start_of(source_as, &definition(source_as, ASN));
    }

    fn start_of(&mut self, source_as: u32, definition: &[u8]) {
        let next = self.slots.len() as u32;
        let slot = self.free.pop().unwrap_or(next);
        self.slots.insert(source_as, slot);
        self.delta.start(slot, UnixMs::new(self.before_ms), definition);
    }

    /// Has series have this many counts from the next snapshot on.
    pub fn set_width(&mut self, width: usize) {
        match &mut self.backend {
            Backend::Disk { journal, .. } => journal.begin_segment(),
            Backend::Memory(memory) => memory.set_width(width),
        }
        self.delta = Delta::new(width);
    }

    /// Counts from a source AS, in the series of received traffic of a view.
    pub fn count_in(&mut self, view: &View, source_as: u32, counts: &[u64]) {
        if !self.slots.contains_key(&source_as) {
            self.start_of(source_as, &definition_in(view, source_as));
            self.extra_measures.insert(source_as, view.measures().len() as u64 - 1);
        }
        let row = self.rows.entry(source_as).or_insert_with(|| vec![0; counts.len()]);
        row.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
    }

    /// Counts bytes from a source AS.
    pub fn count(&mut self, source_as: u32, bytes: u64) {
        if !self.slots.contains_key(&source_as) {
            self.start(source_as);
        }
        *self.pending.entry(source_as).or_default() += bytes;
    }

    pub fn end(&mut self, source_as: u32) {
        let slot = self.slots.remove(&source_as).expect("it lives");
        self.delta.end(slot);
        self.extra_measures.remove(&source_as);
        self.free.push(slot);
    }

    /// A snapshot that is not a tick.
    pub fn snapshot(&mut self, time_ms: i64) {
        self.append(time_ms, false);
    }

    /// A tick, by its number from 0.
    pub fn sample(&mut self, number: i64) {
        self.append(at(number), true);
    }

    /// A snapshot, which is a tick or not.
    pub fn append(&mut self, time_ms: i64, is_tick: bool) {
        self.sequence += 1;
        self.delta.sequence = self.sequence;
        self.delta.time = UnixMs::new(time_ms);
        self.delta.is_tick = is_tick;
        self.delta.extra_samples = self.extra_measures.values().sum();
        let bytes = std::mem::take(&mut self.pending).into_iter();
        let bytes = bytes.map(|(source_as, bytes)| (source_as, vec![bytes]));
        for (source_as, mut row) in bytes.chain(std::mem::take(&mut self.rows)) {
            row.resize(self.delta.width(), 0);
            self.delta.add(self.slots[&source_as], &row);
        }
        match &mut self.backend {
            Backend::Disk { journal, .. } => {
                let width = self.delta.width();
                let resized = self.reader.as_ref();
                let resized = resized.map(|reader| Resized { state: reader.state(), width });
                let before: &dyn CheckpointSource = match &resized {
                    Some(resized) => resized,
                    None => &Nothing { width },
                };
                journal.append(&mut self.delta, before, UnixMs::new(time_ms)).unwrap();
                if self.reader.is_none() {
                    let opened = Reader::open(&journal.log(), Start::Oldest).unwrap();
                    self.reader = opened.map(|(reader, _)| reader);
                }
                let reader = self.reader.as_mut().unwrap();
                while reader.step().unwrap() != Step::End {}
            }
            Backend::Memory(memory) => memory.append(&mut self.delta).unwrap(),
        }
        self.delta.clear();
        self.before_ms = time_ms;
        self.news.send_replace(());
    }

    pub fn push(&self, config: &PusherConfig) -> Pushing {
        self.push_with(config, |pusher| pusher)
    }

    pub fn push_with(&self, config: &PusherConfig, with: impl FnOnce(Pusher) -> Pusher) -> Pushing {
        let metrics = Arc::new(Metrics::new());
        let component = Health::new().register("remote write");
        let pusher = Pusher::new(config, &self.schema, Arc::clone(&metrics), component, None);
        let pusher = with(pusher.unwrap());
        let task = tokio::spawn(pusher.run(self.log(), self.news.subscribe()));
        Pushing { task, metrics }
    }

    /// Has the log kept for these endpoints from here on.
    pub fn claim(&self, configs: &[&PusherConfig]) {
        let pushers: Vec<Pusher> = configs
            .iter()
            .map(|config| {
                let component = Health::new().register("remote write");
                Pusher::new(config, &self.schema, Arc::default(), component, None).unwrap()
            })
            .collect();
        pusher::claim(&self.log(), &pushers).unwrap();
    }

    pub fn dir(&self) -> &Path {
        match &self.backend {
            Backend::Disk { dir, .. } => dir.path(),
            Backend::Memory(_) => panic!("it has none"),
        }
    }

    /// Its segments, the oldest first.
    pub fn segments(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.dir()).unwrap().map(|entry| entry.unwrap().path());
        let is_segment = |path: &PathBuf| path.extension().is_some_and(|e| e == "log");
        let mut segments: Vec<_> = entries.filter(is_segment).collect();
        segments.sort();
        segments
    }

    /// The same log, after a crash of the machine that left this of its only segment.
    pub fn with_end_lost(self, segment: &[u8]) -> FakeLedger {
        let path = self.segments().pop().unwrap();
        let FakeLedger { backend: Backend::Disk { dir, journal }, slots, free, .. } = self else {
            panic!("it is on disk")
        };
        drop(journal);
        fs::write(path, segment).unwrap();
        // The record of what was published is gone as well.
        fs::remove_file(dir.path().join("acknowledged")).unwrap();
        let (journal, _) = Journal::open(dir.path(), JournalConfig::default()).unwrap();
        let sequence = journal.log().end().sequence;
        let backend = Backend::Disk { dir, journal: Box::new(journal) };
        FakeLedger { sequence, slots, free, ..FakeLedger::of(backend) }
    }

    /// Tries to append a tick without changes, which must be refused.
    pub fn refused(&mut self, number: i64) -> Error {
        let mut delta = Delta::new(1);
        (delta.sequence, delta.time, delta.is_tick) =
            (self.sequence + 1, UnixMs::new(at(number)), true);
        let Backend::Disk { journal, .. } = &mut self.backend else { panic!("it is on disk") };
        let state = self.reader.as_ref().unwrap().state();
        let refused =
            journal.append(&mut delta, state, UnixMs::new(at(number))).expect_err("refused");
        self.news.send_replace(());
        refused
    }

    /// The same log in another process, after something was done to its files.
    pub fn after(self, change: impl FnOnce(&Path)) -> FakeLedger {
        let FakeLedger { backend: Backend::Disk { dir, journal }, slots, free, .. } = self else {
            panic!("it is on disk")
        };
        drop(journal);
        change(dir.path());
        let (journal, _) = Journal::open(dir.path(), JournalConfig::default()).unwrap();
        let sequence = journal.log().end().sequence;
        let backend = Backend::Disk { dir, journal: Box::new(journal) };
        FakeLedger { sequence, slots, free, ..FakeLedger::of(backend) }
    }

    /// Ends, as the ledger of a program does.
    pub fn close(&mut self) {
        self.news = watch::channel(()).0;
    }
}

/// A running pusher.
pub struct Pushing {
    task: JoinHandle<()>,
    pub metrics: Arc<Metrics>,
}

impl Pushing {
    pub async fn end(self) -> Samples {
        let ended = tokio::time::timeout(Duration::from_secs(60), self.task).await;
        ended.expect("ends within a minute").expect("does not panic");
        Samples::of(&self.metrics)
    }

    /// Ends it as kill -9 would.
    pub async fn kill(self) -> Samples {
        self.task.abort();
        // It was aborted.
        drop(self.task.await);
        Samples::of(&self.metrics)
    }

    pub async fn until(&self, is_so: impl Fn(&Samples) -> bool) -> Samples {
        let until = async {
            loop {
                let samples = Samples::of(&self.metrics);
                if is_so(&samples) {
                    return samples;
                }
                tokio::task::yield_now().await;
            }
        };
        let found = tokio::time::timeout(Duration::from_secs(60), until).await;
        found.unwrap_or_else(|_| panic!("not so: {:?}", Samples::of(&self.metrics)))
    }

    pub async fn until_idle(&self) -> Samples {
        self.until(|samples| samples.generated > 0 && samples.pending == 0).await
    }
}
