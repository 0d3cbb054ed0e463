//! The ledger's thread: takes snapshots, in the steps that each needs.

use std::{
    fmt,
    sync::{Arc, mpsc},
    time::{Duration, Instant},
};

use tokio::sync::watch;

use crate::{
    asn::AsNames,
    clock::{self, Date, Millis, UnixMs},
    health::{Component, State},
    journal,
    log_limit::LogLimit,
    metrics::{Family, Metrics},
    schema::{Schema, View},
    traffic::{Counts, Ignored, Rule},
};

use super::{
    bucketing::TickBound,
    early::EarlyCounts,
    error::{ChangeError, LostAtEnd, StoreError},
    gate::EpochGate,
    message::{Bucket, Change, HandOver, Receipt, Request},
    migration::Migration,
    observer::{NoObserver, Observer},
    reader::{Names, Reader},
    restore::Restored,
    schedule::{Schedule, Timestamps},
    series_table::SeriesTable,
    shard::Shard,
    snapshot::Snapshot,
    store::{Kind, Store},
    waiting::Waiting,
};

/// How long a snapshot waits for the workers. They answer between two batches, so only a thread that
/// the system does not run takes longer; its counts then come with the next snapshot.
const HAND_OVER_LIMIT: Duration = Duration::from_secs(5);

/// How long to wait before the disk is asked again for what must be published before counting goes on.
const RETRY: Duration = Duration::from_secs(1);

/// How often the clock is read while nothing happens: someone may set it.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);

/// Once this many series are new, a snapshot is taken early, which bounds its delta, even if it is
/// the first one and names are still being fetched.
const LARGE_SNAPSHOT_SERIES: usize = 1 << 16;

/// Counts whose time is further ahead of the clock than this show that the clock was wrong.
/// Receivers refuse samples that are further in the future.
const FUTURE_LIMIT: Millis = Millis::new(10 * 60 * 1000);

/// The newest sample is not further ahead of the clock than this unless somebody has set the clock back:
/// messages with a time more than 10 s ahead count by arrival.
const BEHIND_LIMIT: Millis = Millis::new(60 * 1000);

/// What operators are told about a clock that is not set.
const UNSET_CLOCK: &str = "the system clock is not set: it is before September 2001 or after the year \
    9999. Flows are counted by arrival time, and samples have the clock's time; set the clock";

static LOG_DISK: LogLimit = LogLimit::new(Duration::from_secs(30));
static LOG_OTHER: LogLimit = LogLimit::new(Duration::from_secs(3600));
static LOG_CLOCK: LogLimit = LogLimit::new(Duration::from_secs(60));
static LOG_UNSET: LogLimit = LogLimit::new(Duration::from_secs(60));

/// How the ledger counts.
#[derive(Debug, Clone)]
pub struct LedgerConfig {
    /// What the series are, and how many of them there may be.
    pub schema: Arc<Schema>,
    /// Ticks are multiples of this since the epoch.
    pub interval: Duration,
    /// To which tick a message belongs.
    pub timestamps: Timestamps,
    /// A series that has not changed for this long, by the ticks' time, ends; `None` for never.
    pub series_ttl: Option<Duration>,
    /// How long the first publication may wait for AS names that are being fetched; zero if none
    /// are.
    pub names_wait: Duration,
    /// Whether the source can't give anything twice, so that snapshots are asked for every second. Those
    /// that are no ticks are kept as interims then.
    pub keeps_interims: bool,
}

/// Hears of each snapshot that is published.
type Listener = dyn FnMut(&Arc<Snapshot>) + Send;

/// Merges what the workers counted and publishes it. Runs on a thread of its own.
pub struct Ledger {
    names_wait: Duration,
    keeps_interims: bool,
    series_ttl: Option<Millis>,
    schedule: Schedule,
    /// Messages before this time belong in the series table; see [`Schedule::bound`].
    bound: TickBound,
    table: SeriesTable,
    /// What was counted for later ticks than the next one.
    early: EarlyCounts,
    /// Which datagrams come next, as the collector's worker says.
    places: Vec<u8>,
    waiting: Waiting,
    /// What workers are to count by. Their tables are merged if they are of this schema.
    schema: Arc<Schema>,
    /// Series can't continue: those in these slots, and all of retired views. They end once everything
    /// that was counted in them is published. Before that, no table is merged.
    ending: Option<Vec<usize>>,
    /// What was handed over and can't be merged yet: not more than a worker may have unmerged.
    held: Vec<HandOver>,
    /// What somebody wants counted.
    change: Option<Change>,
    /// Makes snapshots durable; without one, counts live in memory only.
    store: Option<Store>,
    component: Component,
    /// Names that replace the series table's as soon as all its changes are published.
    new_names: Option<Arc<AsNames>>,
    gate: Arc<EpochGate>,
    requests: mpsc::Receiver<Request>,
    newest: watch::Sender<Option<Arc<Snapshot>>>,
    news: watch::Sender<()>,
    attached: usize,
    /// Workers that have not handed over in the newest epoch.
    missing: usize,
    /// Of hand-overs during this snapshot whose tables belong to the next tick.
    receipts: Vec<Receipt>,
    /// The disk refused the newest snapshot.
    is_refused: bool,
    /// What came in datagrams and the journal does not have.
    unkept: LostAtEnd,
    metrics: Arc<Metrics>,
    last_snapshot: Option<Instant>,
    /// What was found when the clock was last looked at.
    clock: Clock,
    observer: Box<dyn Observer>,
    listener: Box<Listener>,
    /// Time of the newest tick; the next one is later.
    last_tick: Option<UnixMs>,
    /// A reader asked for a snapshot that is not older than this, while one was being taken.
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
        let places = store.as_ref().map(|store| store.places().to_owned()).unwrap_or_default();
        let waiting = Waiting::new(store.as_ref().map_or(&[], Store::recorded_waiting));
        let restored = match &mut store {
            Some(store) => store.load(&config.schema, &names)?,
            None => None,
        };
        let now = UnixMs::now();
        let Restored { table, early, early_retired, ending } =
            restored.unwrap_or_else(|| Restored {
                table: SeriesTable::new(Arc::clone(&config.schema), Arc::clone(&names), None),
                early: EarlyCounts::new(),
                early_retired: EarlyCounts::new(),
                ending: Vec::new(),
            });
        let has_retired = table.schema().views().len() > table.schema().configured().len();
        metrics.begin_views(&config.schema);
        let last = table.time();
        let schedule = Schedule::new(config.interval, config.timestamps, workers, last, now);
        let bucketing = schedule.bucketing();
        let schema = Arc::clone(&config.schema);
        let gate = Arc::new(EpochGate::new(workers, schedule.bound(), schema));
        let shard = |number| Shard::new(number, &gate, send.clone(), bucketing);
        let shards = (0..workers).map(shard).collect();
        let before = store.as_ref().and_then(Store::durable);
        let own = told(&metrics, &table);
        metrics.publish(Arc::clone(&own));
        let before = before.map(|before| Arc::new(Snapshot { own, ..(**before).clone() }));
        let (newest, newest_out) = watch::channel(before);
        let (news, news_out) = watch::channel(());
        let reader = Reader {
            newest: newest_out,
            news: news_out,
            requests: send.clone(),
            gate: Arc::clone(&gate),
            bucketing,
        };
        let mut ledger = Ledger {
            names_wait: config.names_wait,
            keeps_interims: config.keeps_interims,
            series_ttl: config.series_ttl.map(Millis::from),
            bound: schedule.bound(),
            schedule,
            table,
            early,
            places,
            waiting,
            schema: Arc::clone(&config.schema),
            ending: (has_retired || !ending.is_empty()).then_some(ending),
            held: Vec::new(),
            change: None,
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
            is_refused: false,
            unkept: LostAtEnd::default(),
            metrics,
            last_snapshot: None,
            clock: Clock::Right,
            observer: Box::new(NoObserver),
            listener: Box::new(|_| {}),
            last_tick: last,
            asked: None,
        };
        if ledger.schedule.open().is_some() && last.is_none() {
            ledger.table.set_begin(now);
        }
        for counts in early_retired.into_values().flatten() {
            ledger.count(&counts);
        }
        // Unless there are early counts to be published first.
        if ledger.table.touched().is_empty() {
            ledger.end_retired();
        }
        Ok((ledger, shards, reader, Names { requests: send }))
    }

    /// Has `observer` hear what is counted.
    #[must_use]
    pub fn with_observer(self, observer: impl Observer) -> Self {
        Ledger { observer: Box::new(observer), ..self }
    }

    /// Has `listener` hear of each snapshot that is published, and first of what is there before anything
    /// is counted. Called from the ledger's thread: must not block.
    #[must_use]
    pub fn with_listener(self, mut listener: impl FnMut(&Arc<Snapshot>) + Send + 'static) -> Self {
        listener(&Arc::new(self.table.snapshot()));
        Ledger { listener: Box::new(listener), ..self }
    }

    /// Takes snapshots until all workers have left, then a last one with all that they counted.
    ///
    /// # Errors
    /// The journal does not have it, and nobody can give it again.
    pub fn run(mut self) -> Result<(), LostAtEnd> {
        self.component.set(self.normal_state());
        self.look_at_clock();
        if self.ending.is_some() {
            self.retire(Instant::now());
        }
        let mut first_publication = Some(Instant::now() + self.names_wait);
        while self.attached > 0 {
            if let Some(at) = first_publication
                && (at <= Instant::now() || self.table.begun() >= LARGE_SNAPSHOT_SERIES)
            {
                first_publication = None;
                self.take_snapshot(Kind::Between);
            }
            if first_publication.is_none() {
                if let Some(Change { schema, rule, answer }) = self.change.take() {
                    // Who asked may have gone.
                    drop(answer.send(self.change(schema, rule)));
                    continue;
                }
                if self.asked.take() > self.last_snapshot {
                    let interim = self.keeps_interims.then_some(Kind::Interim);
                    self.take_snapshot(interim.unwrap_or(Kind::Between));
                }
                let now = UnixMs::now();
                if let Some(from) = self.schedule.begin(now) {
                    self.table.set_begin(from);
                    self.bound = self.schedule.bound();
                    self.gate.ask(self.bound);
                }
                if let Some(tick) = self.schedule.due(now) {
                    self.take_snapshot(Kind::Tick(tick));
                    continue;
                }
                // If the disk refuses, the next snapshot that it takes has all new series.
                if self.table.begun() >= LARGE_SNAPSHOT_SERIES && !self.is_refused {
                    self.take_snapshot(Kind::Between);
                }
            }
            match self.requests.recv_timeout(self.wait(first_publication)) {
                Ok(Request::Freshen(asked)) => self.asked = self.asked.max(Some(asked)),
                Ok(Request::Names(names)) => {
                    self.new_names = Some(names);
                    if first_publication.take().is_some() {
                        self.take_snapshot(Kind::Between);
                    }
                }
                Ok(Request::NamesFailed) => {
                    if first_publication.take().is_some() {
                        self.take_snapshot(Kind::Between);
                    }
                }
                Ok(Request::Cluster(id)) => self.note_cluster(id),
                Ok(Request::Watermark { worker, time }) => {
                    self.schedule.advance_watermark(worker, time);
                }
                Ok(Request::Change(change)) => self.change = Some(change),
                Ok(Request::HandOver(handed)) => self.take(handed),
                Ok(Request::Left) => self.attached -= 1,
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    self.look_at_clock();
                    self.observer.look(Instant::now());
                }
                Err(mpsc::RecvTimeoutError::Disconnected) => break,
            }
        }
        self.take_last_snapshot();
        self.observer.ended(Instant::now());
        let accounted = self.account_for_end();
        self.component.finish();
        accounted
    }

    /// How long there is nothing to do unless a request comes.
    fn wait(&self, first_publication: Option<Instant>) -> Duration {
        let until_names = first_publication.map(|at| at.saturating_duration_since(Instant::now()));
        let until_tick = self
            .schedule
            .open()
            .map(|open| open - UnixMs::now())
            .filter(|&until| until >= Millis::ZERO)
            .map(Millis::to_duration);
        until_names.into_iter().chain(until_tick).fold(LONGEST_SLEEP, Duration::min)
    }

    /// Reports a clock that is not set, and counts whose time is in the future: ticks wait until the
    /// clock has passed it.
    fn look_at_clock(&mut self) {
        let now = UnixMs::now();
        let ahead = self.table.time().map_or(Millis::ZERO, |time| time - now);
        let clock = if !clock::is_set(now) {
            Clock::Unset
        } else if let Some(newest) = self.last_tick
            && self.schedule.open().is_some()
            && newest - now > BEHIND_LIMIT
        {
            Clock::Behind { newest }
        } else {
            Clock::Right
        };
        if clock != self.clock {
            self.clock = clock;
            self.observer.clock_looked_at(matches!(clock, Clock::Behind { .. }));
            self.component.set(self.normal_state());
        }
        if clock == Clock::Unset && LOG_UNSET.permit().is_some() {
            tracing::error!("{UNSET_CLOCK}");
        }
        if ahead > FUTURE_LIMIT && !self.table.is_empty() && LOG_CLOCK.permit().is_some() {
            tracing::error!(
                ahead = ?ahead.to_duration(),
                "the newest counts have a time in the future, so samples wait: set the clock, or if it \
                 was wrong before, remove the state directory"
            );
        }
    }

    /// The component's state if nothing else is wrong.
    fn normal_state(&self) -> State {
        match self.clock {
            Clock::Right => State::Ready,
            Clock::Unset => State::Degraded(UNSET_CLOCK.to_owned()),
            Clock::Behind { newest } => State::Degraded(format!(
                "the clock was set back: the newest sample is of {}, and further ones wait until then. Nothing \
                 is lost: set the clock, or if it was wrong before, remove the state directory",
                Date(newest)
            )),
        }
    }

    /// Takes the last snapshot, after which nothing is counted.
    fn take_last_snapshot(&mut self) {
        if self.ending.is_some() {
            // The disk may take it now.
            self.retire(Instant::now());
        }
        let now = UnixMs::now();
        // What was counted since the last tick makes one more, at an odd time: otherwise it would
        // have to wait for the next start. While a backlog is worked off it does wait, since it is
        // unknown up to which time it is complete.
        let is_tick = self.schedule.is_live(now) && self.last_tick < Some(now);
        if is_tick || !self.store.as_ref().is_some_and(Store::is_durable) {
            for counts in std::mem::take(&mut self.early).into_values().flatten() {
                self.count(&counts);
            }
        }
        let time = if is_tick { Some(now) } else { self.in_between(now) };
        let kind = time.filter(|_| is_tick).map_or(Kind::Between, Kind::Tick);
        self.publish(time, kind, Instant::now());
    }

    /// Says what the journal does not have after the last snapshot.
    fn account_for_end(&mut self) -> Result<(), LostAtEnd> {
        if !self.store.as_ref().is_some_and(Store::is_durable) {
            return Ok(());
        }
        for handed in &self.held {
            handed.add_to(&mut self.unkept);
        }
        if self.unkept.is_something() {
            return Err(self.unkept);
        }
        if self.is_refused {
            tracing::warn!(
                "the last counts are not published, and nothing is lost: the next start reads their \
                 messages again"
            );
        }
        Ok(())
    }

    /// The time of a snapshot that is not a tick: before the next tick.
    fn in_between(&self, now: UnixMs) -> Option<UnixMs> {
        self.schedule.open().map(|open| now.min(open - Millis::new(1)))
    }

    /// Whether a snapshot has the time of [`Self::in_between`] only because the next tick is overdue.
    fn is_overdue(&self, time: Option<UnixMs>) -> bool {
        self.schedule.open().is_some_and(|open| time >= Some(open - Millis::new(1)))
    }

    /// Asks all workers for what they have counted, merges it and publishes it: as the tick at this
    /// time, or without one for a reader that asked.
    fn take_snapshot(&mut self, kind: Kind) {
        let tick = match kind {
            Kind::Tick(tick) => Some(tick),
            Kind::Between | Kind::Interim => None,
        };
        let taken = Instant::now();
        // The journal can end only series that it knows, so series end while everything that was
        // counted is published.
        let ends_series = self.new_names.is_some()
            || tick.and(self.series_ttl).is_some()
            || tick.is_some_and(|tick| self.table.window_is_due(tick));
        if ends_series && !self.table.touched().is_empty() && !self.is_refused {
            // Workers with full tables have handed over since the last snapshot.
            let last = self.last_snapshot.unwrap_or(taken);
            self.publish(self.in_between(UnixMs::now()), Kind::Between, last);
        }
        if self.table.touched().is_empty() {
            if let Some(names) = self.new_names.take() {
                self.table.rename(names);
            }
            if let (Some(tick), Some(ttl)) = (tick, self.series_ttl) {
                let ended = self.table.expire(tick - ttl);
                self.metrics.series_expired.inc_by(ended);
            }
            if let Some(tick) = tick {
                self.table.end_window(tick);
                self.tell_tallies();
            }
        }
        self.bound = self.schedule.bound();
        if let Some(tick) = tick {
            // What workers count after they have handed over is for the next tick.
            self.schedule.close(tick, UnixMs::now());
        }
        self.missing = self.attached;
        self.gate.ask(self.schedule.bound());
        self.collect(taken + HAND_OVER_LIMIT);
        while let Some(due) = self.early.first_entry()
            && TickBound::Before(*due.key()) <= self.bound
        {
            for counts in due.remove() {
                self.count(&counts);
            }
        }
        let time = tick.or_else(|| self.in_between(UnixMs::now()));
        self.publish(time, kind, taken);
        self.bound = self.schedule.bound();
        self.receipts.clear();
    }

    /// Has these views counted from now on, by another rule if one is given, and says so in the journal.
    fn change(&mut self, schema: Arc<Schema>, rule: Option<Rule>) -> Result<(), ChangeError> {
        // So little is left to go wrong, and the series of earlier changes have ended.
        self.take_snapshot(Kind::Between);
        if self.is_refused {
            return Err(ChangeError::Disk);
        }
        if self.missing > 0 {
            return Err(ChangeError::Worker);
        }
        let migration =
            Migration::new(&self.schema, &schema, rule.is_none()).ok_or(ChangeError::TooMany)?;
        let asked = Instant::now();
        self.missing = self.attached;
        self.gate.ask_for(Arc::clone(&schema), self.schedule.bound());
        // From here on there is no way back, since flows are counted in the new way already. A
        // worker that answered a moment ago will again, or it leaves.
        while self.missing > 0 {
            self.collect(Instant::now() + HAND_OVER_LIMIT);
        }
        for (tick, tables) in std::mem::take(&mut self.early) {
            for mut counts in tables {
                let ends = |view| migration.goes_on(view).is_none().then_some(view);
                self.count(&counts.of_views(&self.schema, ends));
                let goes_on = counts.of_views(&schema, |view| migration.goes_on(view));
                // What is told of them beyond series comes with those that go on.
                counts.clear_series();
                self.early.entry(tick).or_default().extend([goes_on, counts]);
            }
        }
        if let Some(rule) = &rule {
            self.observer.reclassified(rule);
        }
        self.migrate(&migration, rule);
        self.metrics.begin_views(&schema);
        self.schema = schema;
        self.ending = Some(Vec::new());
        self.receipts.clear();
        self.retire(asked);
        if self.ending.is_some() {
            return Err(ChangeError::Stopping);
        }
        self.publish(self.in_between(UnixMs::now()), Kind::Between, asked);
        Ok(())
    }

    /// Moves the series to the places that their views have now, by another rule if one is given.
    fn migrate(&mut self, migration: &Migration, rule: Option<Rule>) {
        let before = Arc::clone(self.table.schema());
        self.table.migrate(migration);
        if let Some(store) = &mut self.store {
            store.migrate(&before, self.table.schema(), rule);
        }
    }

    /// Once it is published that the series of retired views have ended, rows need no room for theirs.
    fn forget_retired(&mut self) {
        let schema = self.table.schema();
        let has_retired = schema.views().len() > schema.configured().len();
        if has_retired
            && self.ending.is_none()
            && let Some(migration) = Migration::new(schema, &self.schema, true)
        {
            self.migrate(&migration, None);
        }
    }

    /// Ends the series that can't continue, once all that was counted in them is published; nothing of
    /// it is newer than `taken`. As long as the disk refuses that, nothing else is merged: a view that
    /// counts other flows now would have series with the labels of those that are to end, and a crash
    /// would leave both in the journal.
    fn retire(&mut self, taken: Instant) {
        while !self.table.touched().is_empty() {
            self.publish(self.in_between(UnixMs::now()), Kind::Between, taken);
            if self.table.touched().is_empty() {
                break;
            }
            if self.attached == 0 {
                return;
            }
            let deadline = Instant::now() + RETRY;
            while self.attached > 0 && self.receive(deadline) {}
        }
        self.end_retired();
        for handed in std::mem::take(&mut self.held) {
            self.merge(handed);
        }
    }

    /// Ends the series that can't continue, because their names or their view have changed, or because
    /// flows are classified by another rule. All that was counted in them is published.
    fn end_retired(&mut self) {
        for slot in self.ending.take().unwrap_or_default() {
            self.table.end(slot);
        }
        self.table.end_retired();
        if let Some(store) = &mut self.store {
            store.retire();
        }
    }

    /// Takes what the workers hand over.
    fn collect(&mut self, deadline: Instant) {
        while self.missing > 0 {
            if !self.receive(deadline) {
                self.metrics.snapshots_incomplete.inc();
                tracing::warn!(
                    missing = self.missing,
                    "a snapshot was taken without all workers: is the machine short of CPU time?"
                );
                break;
            }
        }
    }

    fn note_cluster(&mut self, id: String) {
        if let Some(store) = &mut self.store {
            store.note_cluster(id);
        }
    }

    /// Takes the next request while a snapshot is being taken; false if none comes until then.
    fn receive(&mut self, deadline: Instant) -> bool {
        match self.requests.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(Request::HandOver(handed)) => self.take(handed),
            Ok(Request::Left) => {
                self.attached -= 1;
                self.missing = self.missing.saturating_sub(1);
            }
            Ok(Request::Names(names)) => self.new_names = Some(names),
            Ok(Request::Freshen(asked)) => self.asked = self.asked.max(Some(asked)),
            Ok(Request::Change(change)) => self.change = Some(change),
            Ok(Request::Cluster(id)) => self.note_cluster(id),
            Ok(Request::Watermark { worker, time }) => {
                self.schedule.advance_watermark(worker, time);
            }
            Ok(Request::NamesFailed) => {}
            Err(_) => return false,
        }
        true
    }

    /// Takes what a worker hands over: merges it, or keeps it until it can be merged.
    fn take(&mut self, handed: HandOver) {
        if handed.epoch == Some(self.gate.epoch()) {
            self.missing = self.missing.saturating_sub(1);
        }
        let is_of_others = |bucket: &Bucket| !Arc::ptr_eq(bucket.counts.schema(), &self.schema);
        if self.ending.is_some() || handed.buckets.iter().any(is_of_others) {
            self.held.push(handed);
        } else {
            self.merge(handed);
        }
    }

    fn merge(&mut self, handed: HandOver) {
        handed.add_to(&mut self.unkept);
        let HandOver { buckets, positions, places, waiting, receipt, .. } = handed;
        self.table.advance(&positions);
        if let Some(places) = places {
            self.places = places;
        }
        if let Some((worker, waiting)) = waiting {
            self.waiting.set(worker, waiting);
        }
        let mut merged = None;
        for Bucket { bound, mut counts } in buckets {
            if let TickBound::Before(tick) = bound
                && bound > self.bound
            {
                self.early.entry(tick).or_default().push(*counts);
                continue;
            }
            self.count(&counts);
            counts.clear();
            merged = Some(counts);
        }
        match merged {
            Some(table) => receipt.give(table),
            // The worker counts for the next tick already: its table stays here until that is due.
            None => self.receipts.push(receipt),
        }
    }

    fn count(&mut self, counts: &Counts) {
        self.table.merge(counts, &[]);
        self.metrics.add_counts(counts);
        self.tell_tallies();
        self.observer.counted(counts, Instant::now());
    }

    fn publish(&mut self, time: Option<UnixMs>, kind: Kind, taken: Instant) {
        self.look_at_clock();
        self.observer.look(Instant::now());
        let snapshot = self.table.take_snapshot(time, taken);
        let own = told(&self.metrics, &self.table);
        let is_complete = matches!(kind, Kind::Tick(_)) || !self.is_overdue(time);
        let snapshot = Arc::new(Snapshot { is_complete, own, ..snapshot });
        self.last_snapshot = Some(taken);
        let mut is_appended = true;
        if let Some(store) = &mut self.store {
            let now = UnixMs::now();
            let waiting = self.waiting.changed();
            let waited = waiting.map(|waiting| store.keep_waiting(&snapshot, &waiting));
            let appended = waited.unwrap_or(Ok(0)).and_then(|bytes| {
                self.metrics.journal_written.inc_by(bytes);
                store.append(&snapshot, &self.table, &self.early, &self.places, kind, now)
            });
            match appended {
                Ok(kept) => {
                    self.waiting.settle();
                    is_appended = kept.is_appended;
                    self.metrics.journal_written.inc_by(kept.bytes);
                    self.metrics.journal_bytes.set(store.bytes() as i64);
                    self.is_refused = false;
                    self.unkept = LostAtEnd::default();
                }
                Err(error) => {
                    self.is_refused = true;
                    // Nothing is published before it is durable. Counting continues, and the next
                    // snapshot has all of it.
                    self.metrics.journal_errors.inc();
                    let text = match error {
                        journal::Error::Unfit(_) => format!(
                            "nothing new is published: {error}; counting continues in memory. This \
                             is a bug, please report it: a restart continues from what was \
                             published last, and reads again what came after"
                        ),
                        // It says what to do.
                        journal::Error::Displaced { .. } => {
                            format!("nothing new is published, and counting continues: {error}")
                        }
                        error => format!(
                            "nothing new is published: {error}; counting continues, and publishing \
                             resumes once the disk accepts writes. Make room, or check the disk"
                        ),
                    };
                    if LOG_DISK.permit().is_some() || self.attached == 0 {
                        tracing::error!("{text}");
                    }
                    self.component.set(State::Failing(text));
                    return;
                }
            }
        }
        if is_appended {
            self.table.settled();
            self.forget_retired();
        }
        self.report_others();
        if let Kind::Tick(tick) = kind {
            self.last_tick = Some(tick);
            self.metrics.last_tick.set(tick.seconds());
        }
        self.metrics.publish(Arc::clone(&snapshot.own));
        (self.listener)(&snapshot);
        self.newest.send_replace(Some(snapshot));
        self.news.send_replace(());
        self.metrics.snapshots.inc();
        self.metrics.snapshot_seconds.observe(taken.elapsed().as_secs_f64());
    }

    /// Adds to the metrics what has happened at the bounds of the views.
    fn tell_tallies(&mut self) {
        for place in 0..self.table.schema().configured().len() {
            let tally = self.table.take_tally(place as u8);
            let view = [self.table.schema().configured()[place].name()];
            let Metrics { flow_bytes_other, series_admitted, series_dismissed, .. } =
                &*self.metrics;
            flow_bytes_other.with_label_values(&view).inc_by(tally.other_bytes.into());
            series_admitted.with_label_values(&view).inc_by(tally.admitted);
            series_dismissed.with_label_values(&view).inc_by(tally.dismissed);
            let overflow = [view[0], Ignored::Overflow.label()];
            let ignored = self.metrics.view_flow_bytes_ignored.with_label_values(&overflow);
            ignored.inc_by(tally.overflow_bytes.into());
        }
    }

    /// Reports that flows are counted in `other` series.
    fn report_others(&mut self) {
        let overflowing =
            places(&self.table).filter(|&(place, _)| self.table.is_overflowing(place));
        let overflowing: Vec<_> = overflowing
            .map(|(place, view)| format!("{} has {}", view.name(), self.table.len_of(place).0))
            .collect();
        if overflowing.is_empty() {
            self.component.set(self.normal_state());
            return;
        }
        let text = format!(
            "views have as many flow series as --max-series or their max_series allows ({}): flows that \
             would begin another one are counted in series with other as labels, until they outweigh the \
             lightest series. Find out which routers send so many different flows; if that is \
             expected, raise the limit or lower --series-ttl",
            overflowing.join(", ")
        );
        if LOG_OTHER.permit().is_some() {
            tracing::warn!("{text}");
        }
        self.component.set(State::Degraded(text));
    }
}

/// What is wrong with the machine's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Clock {
    Right,
    /// It shows a time that can't be.
    Unset,
    /// The newest sample is ahead of it.
    Behind {
        newest: UnixMs,
    },
}

/// The configured views, with their places.
fn places(table: &SeriesTable) -> impl Iterator<Item = (u8, &View)> {
    table.schema().configured().iter().enumerate().map(|(place, view)| (place as u8, view))
}

/// What the metrics tell of what is counted, and how many series each view has.
fn told(metrics: &Metrics, table: &SeriesTable) -> Arc<[Family]> {
    for (place, view) in places(table) {
        let (own, others) = table.len_of(place);
        metrics.series.with_label_values(&[view.name()]).set((own + others) as i64);
    }
    metrics.counted()
}
