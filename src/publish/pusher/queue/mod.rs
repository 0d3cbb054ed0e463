//! What waits to be sent to one endpoint: the log, from where the endpoint is in it.
//!
//! Nothing is stored twice. A [`follower::LogFollower`] reads cuts from a place in the log, makes samples of
//! them by rules that follow from the log alone ([`lines`]), and gathers those of some cuts in a
//! window, so that the samples of a series can go out together. Batches leave a window in a fixed
//! order, one at a time; how many samples of it are settled is noted at once ([`progress`]). So a
//! process that is killed sends one batch twice at most: the one whose answer it did not live to
//! see.
//!
//! Memory is bounded by the window and the series, whatever waits in the log.

mod follower;
mod labels;
mod progress;
mod self_metrics;
mod series;
mod store;
mod window;

use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{self, Instant},
};

use crate::{
    clock::milliseconds,
    journal::{Error, Log, LogPosition},
    log_limit::LogLimit,
    metrics::Metrics,
    publish::remote_write::{Batch, BatchBounds, LabelPool},
};

use super::{
    LOG_PERIOD,
    config::{Order, PusherConfig},
    push_metrics::{DropReason, PushMetrics},
    stream::Batches,
};

use follower::{HandedOut, LogFollower, Tally};
pub(super) use labels::Labeler;
use self_metrics::SelfMetrics;
use series::{NEVER, Rules};
pub(super) use store::claim;
use store::{QueueStore, samples_between};

/// How far apart, in the samples' time, type and help of the metrics are sent.
const METADATA_INTERVAL_MS: i64 = 60_000;

/// How long after an error the log is tried again.
const RETRY_WAIT: Duration = Duration::from_secs(5);

/// With so many sample cuts waiting, the newest goes first, where the operator wants it so.
const SPLIT_CUTS: u64 = 3;

/// The samples of one endpoint that are neither confirmed nor given up.
#[allow(clippy::struct_excessive_bools, reason = "each is about something else")]
pub(super) struct Queue {
    log: Log,
    place: Place,
    news: watch::Receiver<()>,
    metrics: PushMetrics,
    bounds: BatchBounds,
    order: Order,
    max_age: Option<Duration>,
    stale_on_exit: bool,
    /// The store was opened, and what it is behind was counted.
    is_open: bool,
    /// Whether the log says beforehand how many samples there are: not if idle series get none.
    is_estimated: bool,
    self_metrics: Option<SelfMetrics>,
    /// Sample cuts in the log when own metrics were last taken.
    self_metrics_cuts: u64,
    /// Up to here the log is counted.
    seen: LogPosition,
    /// The place before the newest sample cut, or one before.
    fresh: LogPosition,
    outstanding: Option<Outstanding>,
    is_maybe_sent: bool,
    /// The last batch had to be waited for.
    is_fresh: bool,
    /// Time of the newest samples that went out with metadata.
    metadata_ms: Option<i64>,
    /// Since when no more cuts come.
    closed: Option<Instant>,
    /// All series were ended.
    is_ended: bool,
    begun: Instant,
    loss_log: LogLimit,
    duplicate_log: LogLimit,
    error_log: LogLimit,
    unkept_log: LogLimit,
}

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue").field("seen", &self.seen).finish_non_exhaustive()
    }
}

/// Where the store is.
enum Place {
    New(Box<Opening>),
    Home(Box<QueueStore>),
    /// On a thread that may wait for the disk.
    Away(JoinHandle<(Place, Option<Error>)>),
    /// On its way from one to another.
    Moving,
}

#[derive(Clone)]
struct Opening {
    log: Log,
    name: String,
    labeler: Labeler,
    rules: Rules,
}

/// The batch that was handed out.
#[derive(Debug)]
struct Outstanding {
    from: Side,
    /// Samples that are not settled.
    left: usize,
    /// How far the window is when they are.
    samples: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Live,
    Backlog,
    SelfMetrics,
}

impl Queue {
    /// A queue that goes on where the cursor `name` is.
    pub(super) fn new(
        config: &PusherConfig,
        name: String,
        labeler: Labeler,
        log: Log,
        news: watch::Receiver<()>,
        metrics: PushMetrics,
        self_metrics: Option<Arc<Metrics>>,
    ) -> Self {
        let rules = Rules {
            interval_ms: milliseconds(config.interval).max(1),
            idle_ms: config.idle_interval.map(milliseconds).filter(|&idle_ms| idle_ms > 0),
        };
        Queue {
            place: Place::New(Box::new(Opening { log: log.clone(), name, labeler, rules })),
            log,
            news,
            metrics,
            bounds: config.batch,
            order: config.order,
            max_age: config.max_age,
            stale_on_exit: config.stale_on_exit,
            is_open: false,
            is_estimated: rules.idle_ms.is_none(),
            self_metrics: self_metrics.map(SelfMetrics::new),
            self_metrics_cuts: 0,
            seen: LogPosition::default(),
            fresh: LogPosition::default(),
            outstanding: None,
            is_maybe_sent: false,
            is_fresh: false,
            metadata_ms: None,
            closed: None,
            is_ended: false,
            begun: Instant::now(),
            loss_log: LogLimit::new(LOG_PERIOD),
            duplicate_log: LogLimit::new(LOG_PERIOD),
            error_log: LogLimit::new(LOG_PERIOD),
            unkept_log: LogLimit::new(LOG_PERIOD),
        }
    }

    pub(super) fn metrics(&self) -> &PushMetrics {
        &self.metrics
    }

    /// At the end: what is still pending. A log on disk keeps it for the next start; from a log in
    /// memory it is dropped.
    pub(super) fn abandon(&mut self) -> usize {
        let samples = self.metrics.pending();
        if !self.log.is_durable() {
            self.metrics.dropped(samples, DropReason::Shutdown);
        }
        samples
    }

    fn store(&self) -> Option<&QueueStore> {
        match &self.place {
            Place::Home(store) => Some(store),
            _ => None,
        }
    }

    fn store_mut(&mut self) -> Option<&mut QueueStore> {
        match &mut self.place {
            Place::Home(store) => Some(store),
            _ => None,
        }
    }

    /// Lets the store do something that may take its time. May be dropped at any time: the work
    /// goes on, and is waited for by the next call, which does not begin its own then.
    ///
    /// Returns whether there was no error.
    async fn work(&mut self, job: impl FnOnce(&mut QueueStore) + Send + 'static) -> bool {
        if !matches!(self.place, Place::Away(_)) {
            let place = std::mem::replace(&mut self.place, Place::Moving);
            self.place = Place::Away(tokio::task::spawn_blocking(move || match place {
                Place::New(opening) => {
                    let Opening { log, name, labeler, rules } = (*opening).clone();
                    match QueueStore::open(log, name, labeler, rules) {
                        Ok(store) => (Place::Home(Box::new(store)), None),
                        Err(error) => (Place::New(opening), Some(error)),
                    }
                }
                Place::Home(mut store) => {
                    job(&mut store);
                    let error = store.error.take();
                    (Place::Home(store), error)
                }
                other => (other, None),
            }));
        }
        let Place::Away(working) = &mut self.place else { return true };
        let (place, error) = working.await.expect("reading the log does not panic");
        self.place = place;
        if let Place::Home(store) = &mut self.place {
            let tally = store.take_tally();
            let unkept = store.unkept.take();
            if !self.is_open {
                self.is_open = true;
                self.seen = self.log.end();
                self.fresh = self.seen;
                if self.is_estimated {
                    self.metrics.generated(store.estimated_unread(self.seen));
                }
            }
            self.observe();
            self.count(tally);
            if let Some(error) = unkept
                && let Some(held_back) = self.unkept_log.permit()
            {
                tracing::error!(
                    endpoint = self.metrics.endpoint(),
                    %error,
                    held_back,
                    "can't keep how far the endpoint is: samples go out, and go out again after a \
                     restart"
                );
            }
        }
        let is_well = error.is_none();
        if let Some(error) = error {
            if let Some(held_back) = self.error_log.permit() {
                tracing::error!(
                    endpoint = self.metrics.endpoint(),
                    %error,
                    held_back,
                    "the queue can't go on for now, and tries again"
                );
            }
            if self.closed.is_none() {
                tokio::select! {
                    () = time::sleep(RETRY_WAIT) => {}
                    () = self.news() => {}
                }
            }
        }
        is_well
    }

    /// Counts what reading came to.
    fn count(&mut self, tally: Tally) {
        let Tally { mut generated, estimated, mut unreadable, .. } = tally;
        // What was counted as dropped and turns out to be unreadable in truth.
        let seen = self.seen;
        let counted = self.store_mut().map_or(0, |store| store.counted_before(unreadable, seen));
        unreadable -= counted;
        let estimated = if self.is_estimated {
            estimated
        } else {
            generated = generated.saturating_sub(counted);
            0
        };
        self.metrics.generated(generated.saturating_sub(estimated));
        let metrics = &self.metrics;
        metrics.dropped(estimated.saturating_sub(generated) as usize, DropReason::NotNewer);
        metrics.dropped(tally.not_newer as usize, DropReason::NotNewer);
        metrics.dropped(tally.left_out as usize, DropReason::LeftOut);
        metrics.dropped(tally.duplicates as usize, DropReason::Duplicate);
        metrics.dropped(tally.dropped_by_caps as usize, DropReason::QueueFull);
        metrics.dropped(unreadable as usize, DropReason::JournalBroken);
        let endpoint = metrics.endpoint();
        let lost = tally.dropped_by_caps + unreadable + tally.not_newer;
        if (lost > 0 || tally.went_back || tally.broken.is_some())
            && let Some(held_back) = self.loss_log.permit()
        {
            tracing::warn!(
                endpoint,
                beyond_the_caps = tally.dropped_by_caps,
                unreadable,
                not_newer = tally.not_newer,
                went_back = tally.went_back,
                broken = tally.broken,
                held_back,
                "samples are lost to the queue before the endpoint took them"
            );
        }
        if let Some(series) = tally.duplicate
            && let Some(held_back) = self.duplicate_log.permit()
        {
            tracing::warn!(
                endpoint,
                series,
                held_back,
                "two series have the same labels at this endpoint: the later one is not sent"
            );
        }
    }

    /// Takes in what is new in the log.
    fn observe(&mut self) {
        if !self.is_open {
            return;
        }
        let end = self.log.end();
        if end.totals.ticks > self.seen.totals.ticks {
            if self.is_estimated {
                self.metrics.generated(samples_between(self.seen, end));
            }
            if self.seen.sequence > self.fresh.sequence {
                self.fresh = self.seen;
            }
        }
        self.seen = end;
        self.count_gone();
        self.tell();
    }

    /// Counts what the log has dropped unread since the last time. That does not wait until reading
    /// comes to it, which an endpoint that is away would put off until it is back.
    fn count_gone(&mut self) {
        let seen = self.seen;
        // While it is on its way, it is not known what is unread.
        let Some(store) = self.store_mut() else { return };
        let more = store.newly_gone(seen);
        if more == 0 {
            return;
        }
        if !self.is_estimated {
            self.metrics.generated(more);
        }
        self.metrics.dropped(more as usize, DropReason::QueueFull);
        if let Some(held_back) = self.loss_log.permit() {
            tracing::warn!(
                endpoint = self.metrics.endpoint(),
                samples = more,
                held_back,
                "the queue is full: the oldest samples are lost before the endpoint took them"
            );
        }
    }

    /// Tells how long the queue is.
    fn tell(&self) {
        let Some(store) = self.store() else { return };
        let live = store.live_progress();
        let followers = store.backlog.iter().chain(&store.live);
        let windows = followers
            .filter(|follower| !self.is_settled(follower))
            .filter_map(LogFollower::oldest_ms);
        let mut oldest_ms = windows.chain(store.oldest_in_ranges_ms()).min();
        if oldest_ms.is_none() && self.seen.totals.ticks > live.end.totals.ticks {
            oldest_ms = (live.end_ms != NEVER).then(|| live.end_ms + store.rules.interval_ms);
        }
        let usage = self.log.usage(store.slowest());
        self.metrics.queue(oldest_ms, usage, self.begun.elapsed());
    }

    fn is_settled(&self, follower: &LogFollower) -> bool {
        follower.is_spent() && self.outstanding.is_none()
    }

    /// Samples that are older are not sent.
    fn oldest_ms(&self) -> i64 {
        let Some(max_age) = self.max_age else { return NEVER };
        let now = SystemTime::now().checked_sub(max_age);
        let since = now.and_then(|oldest| oldest.duration_since(UNIX_EPOCH).ok());
        since.map_or(NEVER, milliseconds)
    }

    /// The place from which newer samples are to go first, if they are.
    fn split_at(&self) -> Option<LogPosition> {
        let store = self.store()?;
        let live = store.live.as_ref()?;
        let sent = if live.is_spent() { live.progress.end } else { live.progress.begin };
        let waiting = self.seen.totals.ticks.saturating_sub(sent.totals.ticks);
        let is_due = self.order == Order::NewestFirst
            && waiting >= SPLIT_CUTS
            && self.fresh.sequence > live.progress.end.sequence
            && store.can_split();
        is_due.then_some(self.fresh)
    }

    /// The next samples of what is in a window.
    fn hand_out(&mut self, from: Side) -> Option<Batch> {
        let (bounds, oldest_ms) = (self.bounds, self.oldest_ms());
        let Place::Home(store) = &mut self.place else { return None };
        let QueueStore { live, backlog, pool, .. } = &mut **store;
        let follower = if from == Side::Live { live } else { backlog }.as_mut()?;
        loop {
            let out = follower.hand_out(pool, bounds, oldest_ms)?;
            let HandedOut { mut batch, samples, too_old, newest_ms } = out;
            self.metrics.dropped(too_old as usize, DropReason::TooOld);
            if batch.is_empty() {
                follower.progress.done += samples;
                continue;
            }
            let metadata_is_due = self
                .metadata_ms
                .is_none_or(|last| newest_ms.saturating_sub(last) >= METADATA_INTERVAL_MS);
            if metadata_is_due {
                batch.metadata = true;
                self.metadata_ms = Some(newest_ms);
            }
            self.is_maybe_sent = std::mem::take(&mut follower.is_resumed);
            self.outstanding = Some(Outstanding { from, left: batch.samples(), samples });
            return Some(batch);
        }
    }

    /// The program's own metrics, if they are due: after the samples of a cut, and in between if that takes long.
    fn hand_out_self_metrics(&mut self, is_idle: bool) -> Option<Batch> {
        let (self_metrics, Place::Home(store)) = (self.self_metrics.as_mut()?, &mut self.place)
        else {
            return None;
        };
        let batch = self_metrics.hand_out().or_else(|| {
            let cuts = self.seen.totals.ticks.saturating_sub(self.self_metrics_cuts);
            if cuts == 0 || !is_idle && cuts < 2 {
                return None;
            }
            self.self_metrics_cuts = self.seen.totals.ticks;
            let QueueStore { pool, labeler, .. } = &mut **store;
            self_metrics.take(pool, labeler, self.bounds);
            self_metrics.hand_out()
        })?;
        self.metrics.generated(batch.samples() as u64);
        self.is_maybe_sent = false;
        self.outstanding =
            Some(Outstanding { from: Side::SelfMetrics, left: batch.samples(), samples: 0 });
        Some(batch)
    }

    fn settle(&mut self, samples: usize) {
        let Some(outstanding) = &mut self.outstanding else { return };
        outstanding.left = outstanding.left.saturating_sub(samples);
        if outstanding.left > 0 {
            return;
        }
        let Outstanding { from, samples, .. } = *outstanding;
        self.outstanding = None;
        if let Place::Home(store) = &mut self.place {
            let follower = match from {
                Side::Live => &mut store.live,
                Side::Backlog => &mut store.backlog,
                Side::SelfMetrics => return,
            };
            if let Some(follower) = follower {
                follower.progress.done += samples;
                store.note();
            }
        }
        self.tell();
    }
}

impl Batches for Queue {
    async fn next(&mut self) -> Option<Batch> {
        self.is_fresh = false;
        loop {
            if self.store().is_none_or(|store| store.live.is_none() && self.seen.sequence > 0) {
                if !self.work(QueueStore::read).await && self.closed.is_some() {
                    return None;
                }
                continue;
            }
            if let Some(fresh) = self.split_at() {
                self.work(move |store| store.split(fresh)).await;
                continue;
            }
            if let Some(batch) = self.hand_out_self_metrics(false) {
                return Some(batch);
            }
            if let Some(batch) = self.hand_out(Side::Live) {
                return Some(batch);
            }
            let end = self.seen;
            let store = self.store()?;
            if store.live.as_ref().is_some_and(|live| live.can_read(end)) {
                if !self.work(QueueStore::read).await && self.closed.is_some() {
                    return None;
                }
                continue;
            }
            if let Some(batch) = self.hand_out(Side::Backlog) {
                return Some(batch);
            }
            let store = self.store()?;
            if store.has_backlog() || store.save_is_due() {
                if !self.work(QueueStore::read).await && self.closed.is_some() {
                    return None;
                }
                continue;
            }
            if let Some(batch) = self.hand_out_self_metrics(true) {
                return Some(batch);
            }
            if self.closed.is_none() {
                self.news().await;
                self.is_fresh = true;
            } else if self.stale_on_exit && !self.is_ended {
                self.is_ended = true;
                self.work(QueueStore::end_all).await;
            } else {
                self.work(QueueStore::finish).await;
                return None;
            }
        }
    }

    fn maybe_sent(&self) -> bool {
        self.is_maybe_sent
    }

    fn is_fresh(&self) -> bool {
        self.is_fresh
    }

    fn pool(&self) -> &LabelPool {
        let store = self.store().expect("a batch is handed out while its labels are here");
        &store.pool
    }

    /// Takes in what comes; returns when something has come, or nothing more will. May be dropped
    /// at any time.
    async fn news(&mut self) {
        if self.news.changed().await.is_err() {
            self.closed.get_or_insert_with(Instant::now);
        }
        self.observe();
    }

    fn closed(&self) -> Option<Instant> {
        self.closed
    }

    fn confirm(&mut self, batch: Batch) {
        self.metrics.confirmed(batch.samples());
        self.settle(batch.samples());
    }

    fn give_up(&mut self, batch: Batch, reason: DropReason) {
        self.metrics.dropped(batch.samples(), reason);
        self.settle(batch.samples());
    }

    fn limit(&mut self, bounds: BatchBounds) {
        self.bounds = bounds;
    }
}
