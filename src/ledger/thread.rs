//! When and how a cut is taken: the ledger's thread.

use std::{
    fmt,
    sync::{Arc, mpsc},
    time::{Duration, Instant},
};

use tokio::sync::watch;

use crate::{
    asn::AsNames,
    clock::{self, milliseconds, now_ms},
    health::{Component, State},
    journal,
    log_limit::LogLimit,
    metrics::Metrics,
    schema::Schema,
    traffic::Counts,
};

use super::{
    early::EarlyCounts,
    error::StoreError,
    gate::EpochGate,
    message::{Bucket, HandOver, Receipt, Request},
    reader::{Names, Reader},
    restore::Restored,
    schedule::{Schedule, Timestamps},
    series_table::SeriesTable,
    shard::Shard,
    snapshot::Snapshot,
    store::Store,
    witness::{Nobody, Witness},
};

/// How long a cut waits for the workers. They answer between two batches, so only a thread that
/// the system does not run takes longer; its counts then come with the next cut.
const HAND_OVER_LIMIT: Duration = Duration::from_secs(5);

/// How often the clock is looked at while nothing happens: it may be set.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);

/// With so many new series since the last one, a cut is taken early, so that none is much larger;
/// even if it is the first one and names are on their way.
const LARGE_SNAPSHOT_SERIES: usize = 1 << 16;

/// Counts of a time further ahead than this are a sign that the clock was wrong. Receivers refuse
/// samples of a future further ahead.
const FUTURE_LIMIT_MS: i64 = 10 * 60 * 1000;

/// What is said of a clock that nobody has set.
const UNSET_CLOCK: &str = "the system clock is not set: it is before September 2001 or after the year \
    9999. Flows are counted, but as of when they come, and samples have the clock's times; set the clock";

/// The time of a series table before it is known from when on the data are.
const NOT_BEGUN: i64 = 0;

static LOG_DISK: LogLimit = LogLimit::new(Duration::from_secs(30));
static LOG_OTHER: LogLimit = LogLimit::new(Duration::from_secs(3600));
static LOG_CLOCK: LogLimit = LogLimit::new(Duration::from_secs(60));
static LOG_UNSET: LogLimit = LogLimit::new(Duration::from_secs(60));

/// What the ledger needs to know.
#[derive(Debug, Clone)]
pub struct LedgerConfig {
    /// What the series are.
    pub schema: Arc<Schema>,
    /// Samples for push are of the multiples of this since the epoch.
    pub interval: Duration,
    /// To which sample a message belongs.
    pub timestamps: Timestamps,
    /// A series that has not changed for this long, in the samples' time, ends; `None` for never.
    pub series_ttl: Option<Duration>,
    /// No further series begins while so many live. What would begin one counts in one for each
    /// direction and hostname then, of which there are at most [`super::OTHER_SERIES`].
    pub max_series: usize,
    /// How long the first publication may wait for AS names that are being fetched; zero where no
    /// names are on their way.
    pub names_wait: Duration,
}

/// Merges what the workers counted and publishes it. Runs on a thread of its own.
pub struct Ledger {
    names_wait: Duration,
    series_ttl_ms: Option<i64>,
    schedule: Schedule,
    /// What is counted before this belongs in the series table; a moment, or as [`Schedule::bound`] has it.
    bound_ms: i64,
    table: SeriesTable,
    /// What was counted for later samples than the next one, by their time.
    early: EarlyCounts,
    /// Slots of series that can't go on since the program started. They end once all is published
    /// that was counted in them.
    ending: Vec<usize>,
    /// Where cuts become durable; without one, counts live in memory alone.
    store: Option<Store>,
    component: Component,
    /// Names that replace the series table's once it has nothing unpublished.
    new_names: Option<Arc<AsNames>>,
    gate: Arc<EpochGate>,
    requests: mpsc::Receiver<Request>,
    newest: watch::Sender<Option<Arc<Snapshot>>>,
    news: watch::Sender<()>,
    attached: usize,
    /// Hand-overs that the newest epoch still lacks.
    missing: usize,
    /// Of hand-overs during this cut that belong to the next sample.
    receipts: Vec<Receipt>,
    /// Something was counted in series for what gets none of its own since they became necessary.
    counts_other: bool,
    /// The disk refused the newest cut.
    is_refused: bool,
    metrics: Arc<Metrics>,
    last_snapshot: Option<Instant>,
    /// Whether the clock was set when it was last looked at.
    clock_is_set: bool,
    witness: Box<dyn Witness>,
    /// No sample of before this can be taken any more.
    last_sample_ms: Option<i64>,
    /// A reader wants a snapshot of at least this moment, and said so during a cut, which may have
    /// been taken before.
    asked: Option<Instant>,
}

impl fmt::Debug for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ledger").field("table", &self.table).finish_non_exhaustive()
    }
}

impl Ledger {
    /// A ledger for `workers` workers, with a shard for each. What `store` holds from before is
    /// published at once.
    pub fn new(
        config: &LedgerConfig,
        names: Arc<AsNames>,
        workers: usize,
        metrics: Arc<Metrics>,
        mut store: Option<Store>,
        component: Component,
    ) -> Result<(Ledger, Vec<Shard>, Reader, Names), StoreError> {
        let (send, requests) = mpsc::channel();
        let restored = match &mut store {
            Some(store) => store.load(&config.schema, &names)?,
            None => None,
        };
        let now_ms = now_ms();
        let Restored { table, early, early_retired, ending } =
            restored.unwrap_or_else(|| Restored {
                table: SeriesTable::new(Arc::clone(&config.schema), Arc::clone(&names), NOT_BEGUN),
                early: EarlyCounts::new(),
                early_retired: EarlyCounts::new(),
                ending: Vec::new(),
            });
        let table = table.bounded(config.max_series);
        metrics.series_limit.set(i64::try_from(config.max_series).unwrap_or(i64::MAX));
        let last_ms = Some(table.time_ms()).filter(|&time_ms| time_ms != NOT_BEGUN);
        let schedule = Schedule::new(config.interval, config.timestamps, workers, last_ms, now_ms);
        let bucketing = schedule.bucketing();
        let gate = Arc::new(EpochGate::new(workers, schedule.bound()));
        let shard = |number| Shard::new(number, &gate, send.clone(), bucketing, &config.schema);
        let shards = (0..workers).map(shard).collect();
        let before = store.as_ref().and_then(Store::durable).cloned();
        metrics.series.set(before.as_ref().map_or(0, |before| before.len() as i64));
        let (newest, newest_out) = watch::channel(before);
        let (news, news_out) = watch::channel(());
        let reader = Reader {
            newest: newest_out,
            news: news_out,
            requests: send.clone(),
            schema: Arc::clone(&config.schema),
            gate: Arc::clone(&gate),
            bucketing,
        };
        let mut ledger = Ledger {
            names_wait: config.names_wait,
            series_ttl_ms: config.series_ttl.map(milliseconds),
            bound_ms: schedule.bound(),
            schedule,
            table,
            early,
            ending,
            store,
            component,
            // While fresh names are on their way, series keep those under which they were counted.
            new_names: config.names_wait.is_zero().then_some(names),
            gate,
            requests,
            newest,
            news,
            attached: workers,
            missing: 0,
            receipts: Vec::new(),
            counts_other: false,
            is_refused: false,
            metrics,
            last_snapshot: None,
            clock_is_set: true,
            witness: Box::new(Nobody),
            last_sample_ms: last_ms,
            asked: None,
        };
        if ledger.schedule.open_ms().is_some() && last_ms.is_none() {
            ledger.table.set_begin(now_ms);
        }
        for counts in early_retired.into_values().flatten() {
            ledger.count(&counts);
        }
        ledger.end_series_that_cannot_go_on();
        Ok((ledger, shards, reader, Names { requests: send }))
    }

    /// Has `witness` hear of what is counted.
    #[must_use]
    pub fn with_witness(self, witness: impl Witness) -> Self {
        Ledger { witness: Box::new(witness), ..self }
    }

    /// Takes cuts until all workers have left, then a last one of all they counted.
    pub fn run(mut self) {
        self.component.set(self.well());
        self.look_at_clock();
        if !self.ending.is_empty() {
            // What was counted early in them.
            self.publish(self.in_between(now_ms()), false, Instant::now());
            self.end_series_that_cannot_go_on();
        }
        let mut may_publish_at = Some(Instant::now() + self.names_wait);
        while self.attached > 0 {
            if let Some(at) = may_publish_at
                && (at <= Instant::now() || self.table.begun() >= LARGE_SNAPSHOT_SERIES)
            {
                may_publish_at = None;
                self.take_snapshot(None);
            }
            if may_publish_at.is_none() {
                if self.asked.take() > self.last_snapshot {
                    self.take_snapshot(None);
                }
                let now_ms = now_ms();
                if let Some(from_ms) = self.schedule.begin(now_ms) {
                    self.table.set_begin(from_ms);
                    self.bound_ms = self.schedule.bound();
                    self.gate.ask(self.bound_ms);
                }
                if let Some(moment_ms) = self.schedule.due(now_ms) {
                    self.take_snapshot(Some(moment_ms));
                    continue;
                }
                // Where the disk refuses, all that begins is in the next cut that it takes.
                if self.table.begun() >= LARGE_SNAPSHOT_SERIES && !self.is_refused {
                    self.take_snapshot(None);
                }
            }
            match self.requests.recv_timeout(self.wait(may_publish_at)) {
                Ok(Request::Freshen(asked)) => self.asked = self.asked.max(Some(asked)),
                Ok(Request::Names(names)) => {
                    self.new_names = Some(names);
                    if may_publish_at.take().is_some() {
                        self.take_snapshot(None);
                    }
                }
                Ok(Request::NamesFailed) => {
                    if may_publish_at.take().is_some() {
                        self.take_snapshot(None);
                    }
                }
                Ok(Request::Watermark { worker, time_ms }) => {
                    self.schedule.advance_watermark(worker, time_ms);
                }
                Ok(Request::HandOver(handed)) => self.merge(handed),
                Ok(Request::Left) => self.attached -= 1,
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    self.look_at_clock();
                    self.witness.look(Instant::now());
                }
                Err(mpsc::RecvTimeoutError::Disconnected) => break,
            }
        }
        self.take_last_snapshot();
        self.witness.ended(Instant::now());
        self.component.finish();
    }

    /// How long nothing is to do, if nothing comes.
    fn wait(&self, may_publish_at: Option<Instant>) -> Duration {
        let until_names = may_publish_at.map(|at| at.saturating_duration_since(Instant::now()));
        let until_sample = self
            .schedule
            .open_ms()
            .and_then(|open_ms| u64::try_from(open_ms - now_ms()).ok())
            .map(Duration::from_millis);
        until_names.into_iter().chain(until_sample).fold(LONGEST_SLEEP, Duration::min)
    }

    /// Tells of a clock that is not set, and of counts that are of the future: the samples wait for
    /// the clock to pass them.
    fn look_at_clock(&mut self) {
        let now_ms = now_ms();
        let is_set = clock::is_set(now_ms);
        if is_set != self.clock_is_set {
            self.clock_is_set = is_set;
            self.component.set(self.well());
        }
        if !is_set && LOG_UNSET.permit().is_some() {
            tracing::error!("{UNSET_CLOCK}");
        }
        let ahead_ms = self.table.time_ms().saturating_sub(now_ms);
        if ahead_ms > FUTURE_LIMIT_MS && !self.table.is_empty() && LOG_CLOCK.permit().is_some() {
            tracing::error!(
                ahead = ?Duration::from_millis(ahead_ms.unsigned_abs()),
                "the newest counts are of a time that is still to come, so samples wait: set the \
                 clock, or if it was wrong before, remove the state directory"
            );
        }
    }

    /// The component's state where nothing else is amiss.
    fn well(&self) -> State {
        if self.clock_is_set { State::Ready } else { State::Degraded(UNSET_CLOCK.to_owned()) }
    }

    /// The cut after which nobody counts.
    fn take_last_snapshot(&mut self) {
        let now_ms = now_ms();
        // What was counted since the last sample makes one more, of no round moment: else it would
        // have to wait for the next start. While a backlog is worked off it does wait, since there
        // is no telling which moment it makes complete.
        let is_sample = self.schedule.is_live(now_ms) && self.last_sample_ms < Some(now_ms);
        if is_sample || !self.store.as_ref().is_some_and(Store::is_durable) {
            for counts in std::mem::take(&mut self.early).into_values().flatten() {
                self.count(&counts);
            }
        }
        let time_ms = if is_sample { now_ms } else { self.in_between(now_ms) };
        self.publish(time_ms, is_sample, Instant::now());
    }

    /// The time for a cut that is of no sample: before the next sample's.
    fn in_between(&self, now_ms: i64) -> i64 {
        self.schedule.open_ms().map_or(NOT_BEGUN, |open_ms| now_ms.min(open_ms - 1))
    }

    /// Asks all workers for what they have, merges it and publishes, as the sample of a moment or,
    /// without one, for whoever asked.
    fn take_snapshot(&mut self, moment_ms: Option<i64>) {
        let taken = Instant::now();
        // The journal takes a series' end only for one that it knows, so series are ended while
        // all that was counted is published.
        let ends_series = self.new_names.is_some()
            || !self.ending.is_empty()
            || moment_ms.and(self.series_ttl_ms).is_some();
        if ends_series && !self.table.touched().is_empty() && !self.is_refused {
            // Workers with full tables have handed over since the last cut.
            let last = self.last_snapshot.unwrap_or(taken);
            self.publish(self.in_between(now_ms()), false, last);
        }
        self.end_series_that_cannot_go_on();
        if self.table.touched().is_empty() {
            if let Some(names) = self.new_names.take() {
                self.table.rename(names);
            }
            if let (Some(moment_ms), Some(ttl_ms)) = (moment_ms, self.series_ttl_ms) {
                let ended = self.table.expire(moment_ms.saturating_sub(ttl_ms));
                self.metrics.series_expired.inc_by(ended);
            }
        }
        self.bound_ms = self.schedule.bound();
        if let Some(moment_ms) = moment_ms {
            // What workers count after they have handed over is for the next sample.
            self.schedule.close(moment_ms, now_ms());
        }
        self.missing = self.attached;
        self.gate.ask(self.schedule.bound());
        self.collect(taken + HAND_OVER_LIMIT);
        while let Some(due) = self.early.first_entry()
            && *due.key() <= self.bound_ms
        {
            for counts in due.remove() {
                self.count(&counts);
            }
        }
        let time_ms = moment_ms.unwrap_or_else(|| self.in_between(now_ms()));
        self.publish(time_ms, moment_ms.is_some(), taken);
        self.bound_ms = self.schedule.bound();
        self.receipts.clear();
    }

    /// Ends the series that can't go on since the program started: their names or their view are
    /// not what they were, or flows are classified by another rule.
    fn end_series_that_cannot_go_on(&mut self) {
        if !self.table.touched().is_empty() {
            return;
        }
        for slot in self.ending.drain(..) {
            self.table.end(slot);
        }
        if let Some(store) = &mut self.store {
            store.retire();
        }
    }

    /// Takes what the workers hand over.
    fn collect(&mut self, deadline: Instant) {
        while self.missing > 0 {
            match self.requests.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(Request::HandOver(handed)) => self.merge(handed),
                Ok(Request::Left) => {
                    self.attached -= 1;
                    self.missing = self.missing.saturating_sub(1);
                }
                Ok(Request::Names(names)) => self.new_names = Some(names),
                Ok(Request::Freshen(asked)) => self.asked = self.asked.max(Some(asked)),
                Ok(Request::Watermark { worker, time_ms }) => {
                    self.schedule.advance_watermark(worker, time_ms);
                }
                Ok(Request::NamesFailed) => {}
                Err(_) => {
                    self.metrics.snapshots_incomplete.inc();
                    tracing::warn!(
                        missing = self.missing,
                        "a cut was taken without all workers: is the machine short of CPU time?"
                    );
                    break;
                }
            }
        }
    }

    fn merge(&mut self, HandOver { epoch, buckets, positions, receipt }: HandOver) {
        self.table.advance(&positions);
        let mut merged = None;
        for Bucket { bound_ms, mut counts } in buckets {
            if bound_ms > self.bound_ms {
                self.early.entry(bound_ms).or_default().push(*counts);
                continue;
            }
            self.count(&counts);
            counts.clear();
            merged = Some(counts);
        }
        match merged {
            Some(table) => receipt.give(table),
            // The worker is in the next sample already: its table stays here until that is due.
            None => self.receipts.push(receipt),
        }
        if epoch == Some(self.gate.epoch()) {
            self.missing = self.missing.saturating_sub(1);
        }
    }

    fn count(&mut self, counts: &Counts) {
        let other_bytes = self.table.merge(counts, &[]);
        self.metrics.add_counts(counts);
        self.witness.counted(counts, Instant::now());
        if other_bytes > 0 {
            self.metrics.flow_bytes_other.inc_by(other_bytes);
            self.counts_other = true;
        }
    }

    fn publish(&mut self, time_ms: i64, is_sample: bool, taken: Instant) {
        self.look_at_clock();
        self.witness.look(Instant::now());
        let snapshot = Arc::new(self.table.take_snapshot(time_ms, taken));
        self.last_snapshot = Some(taken);
        if let Some(store) = &mut self.store {
            match store.append(&snapshot, &self.table, &self.early, is_sample, now_ms()) {
                Ok(bytes) => {
                    self.metrics.journal_written.inc_by(bytes);
                    self.metrics.journal_bytes.set(store.bytes() as i64);
                    self.is_refused = false;
                }
                Err(error) => {
                    self.is_refused = true;
                    // Nothing is published before it is durable; counting goes on, and the next
                    // cut has all of it.
                    self.metrics.journal_errors.inc();
                    let text = match error {
                        journal::Error::Unfit(_) => format!(
                            "nothing new is published: {error}; counting goes on in memory. This is \
                             a mistake of the program, please report it: a restart goes on from \
                             what was published last, and reads again what came after"
                        ),
                        // It says what to do.
                        journal::Error::Displaced { .. } => {
                            format!("nothing new is published, and counting goes on: {error}")
                        }
                        error => format!(
                            "nothing new is published: {error}; counting goes on, and publishing \
                             as soon as the disk takes it. Make room, or see to the disk"
                        ),
                    };
                    if LOG_DISK.permit().is_some() {
                        tracing::error!("{text}");
                    }
                    self.component.set(State::Failing(text));
                    return;
                }
            }
        }
        self.table.settled();
        self.tell_of_others();
        self.metrics.series.set(snapshot.len() as i64);
        if is_sample {
            self.last_sample_ms = Some(snapshot.time_ms);
            self.metrics.sample_time.set(snapshot.time_ms as f64 / 1000.0);
        }
        self.newest.send_replace(Some(snapshot));
        self.news.send_replace(());
        self.metrics.snapshots.inc();
        self.metrics.snapshot_seconds.observe(taken.elapsed().as_secs_f64());
    }

    /// Tells of series that count what gets none of its own.
    fn tell_of_others(&mut self) {
        self.counts_other &= self.table.is_full();
        if !self.counts_other {
            self.component.set(self.well());
            return;
        }
        let text = format!(
            "there are {} flow series, as many as --max-series allows: flows that would begin \
             another one count in series with other as their AS. See which routers send so many \
             AS; if all is well, raise --max-series or lower --series-ttl",
            self.table.len()
        );
        if LOG_OTHER.permit().is_some() {
            tracing::warn!("{text}");
        }
        self.component.set(State::Degraded(text));
    }
}
