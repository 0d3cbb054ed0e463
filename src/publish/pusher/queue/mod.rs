//! The samples that wait to be sent to one endpoint: the log, from the endpoint's position on.
//!
//! Nothing is stored twice. A [`LogFollower`] reads deltas from a log position on, turns them into
//! samples by rules that follow from the log alone (`series.rs`), and gathers those of some ticks
//! in a window, so that the samples of a series can be sent together. Batches leave a window in a
//! fixed order, one at a time; how many samples of it are settled is noted at once (`progress.rs`).
//! So after a crash, at most one batch is sent twice: the one whose answer did not come in time.
//!
//! Memory is bounded by the window and the series, whatever the log holds.

mod follower;
mod labels;
mod places;
mod progress;
mod self_metrics;
mod series;
mod store;
mod window;

use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::{
    sync::watch,
    time::{self, Instant},
};

use crate::{
    clock::{Millis, UnixMs},
    journal::{Error, Log, LogPosition},
    log_limit::LogLimit,
    metrics::Metrics,
    publish::remote_write::{Batch, BatchBounds, LabelPool},
};

use super::{
    batches::Batches,
    config::{Order, PusherConfig},
    push_metrics::{DropReason, PushMetrics},
    status::LOG_PERIOD,
};

use follower::{HandedOut, LogFollower, Tally};
pub(super) use labels::Labeler;
use self_metrics::SelfMetrics;
use series::Rules;
pub(super) use store::claim;
use store::{QueueStore, samples_between};

/// How far apart, in the samples' time, type and help of the metrics are sent.
const METADATA_INTERVAL: Millis = Millis::new(60_000);

/// How long after an error the log is tried again.
const RETRY_WAIT: Duration = Duration::from_secs(5);

/// With this many ticks waiting, the newest goes first, if the endpoint is configured that way.
const SPLIT_TICKS: u64 = 3;

/// What the queue learns from outside: whether the log may still grow, and when sending must end.
#[derive(Debug)]
pub(super) struct News {
    /// Changes when the log has grown; its other end is gone when the program ends.
    log: watch::Receiver<()>,
    /// The deadline of a stop of this endpoint alone, once there is one.
    stop: watch::Receiver<Option<Instant>>,
    /// For the last samples, once the log grows no more.
    grace: Duration,
    /// When sending has to end.
    deadline: Option<Instant>,
    is_stopped: bool,
}

impl News {
    pub(super) fn new(
        log: watch::Receiver<()>,
        stop: watch::Receiver<Option<Instant>>,
        grace: Duration,
    ) -> Self {
        News { log, stop, grace, deadline: None, is_stopped: false }
    }

    /// Waits until the log has grown, or the end is near.
    async fn changed(&mut self) {
        tokio::select! {
            biased;
            // Without the other end, this endpoint is never stopped alone.
            Ok(()) = self.stop.changed(), if !self.is_stopped => {
                if let Some(deadline) = *self.stop.borrow_and_update() {
                    self.deadline = Some(self.deadline.map_or(deadline, |end| end.min(deadline)));
                    self.is_stopped = true;
                }
            }
            changed = self.log.changed() => {
                if changed.is_err() && self.deadline.is_none() {
                    self.deadline = Some(Instant::now() + self.grace);
                }
            }
        }
    }
}

/// The samples of one endpoint that are neither confirmed nor dropped.
#[allow(clippy::struct_excessive_bools, reason = "each is about something else")]
pub(super) struct Queue {
    log: Log,
    store: QueueStore,
    news: News,
    metrics: PushMetrics,
    bounds: BatchBounds,
    order: Order,
    max_age: Option<Duration>,
    stale_on_exit: bool,
    /// Whether the log says beforehand how many samples there are: not if idle series get none.
    is_estimated: bool,
    self_metrics: Option<SelfMetrics>,
    /// Ticks in the log when self metrics were last taken.
    self_metrics_ticks: u64,
    /// The samples up to this position are counted.
    seen: LogPosition,
    /// The position before the newest tick, or an earlier one.
    fresh: LogPosition,
    outstanding: Option<Outstanding>,
    is_maybe_sent: bool,
    /// The last batch had to be waited for.
    is_fresh: bool,
    /// Time of the newest samples that went out with metadata.
    metadata_time: Option<UnixMs>,
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

/// The batch that was handed out.
#[derive(Debug)]
struct Outstanding {
    from: Side,
    /// Samples that are not settled.
    left: usize,
    /// How many samples of the window are done when these are.
    samples: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Live,
    Backlog,
    SelfMetrics,
}

impl Queue {
    /// A queue that continues at the retention cursor `name`. If the log can't be read, it is tried
    /// again; `None` if that fails until the end.
    pub(super) async fn open(
        config: &PusherConfig,
        name: String,
        labeler: Labeler,
        log: Log,
        mut news: News,
        metrics: PushMetrics,
        self_metrics: Option<Arc<Metrics>>,
    ) -> Option<Self> {
        let idle = config.idle_interval.map(Millis::from).filter(|&idle| idle > Millis::ZERO);
        let rules = Rules { interval: Millis::from(config.interval).max(Millis::new(1)), idle };
        let error_log = LogLimit::new(LOG_PERIOD);
        let store = loop {
            match QueueStore::open(log.clone(), name.clone(), labeler.clone(), rules) {
                Ok(store) => break store,
                Err(error) => tell_error(metrics.endpoint(), &error, &error_log),
            }
            retry_wait(&mut news).await;
            if news.deadline.is_some() {
                return None;
            }
        };
        let seen = log.end();
        let is_estimated = rules.idle.is_none();
        if is_estimated {
            metrics.generated(store.estimated_unread(seen));
        }
        Some(Queue {
            log,
            store,
            news,
            metrics,
            bounds: config.batch,
            order: config.order,
            max_age: config.max_age,
            stale_on_exit: config.stale_on_exit,
            is_estimated,
            self_metrics: self_metrics.map(SelfMetrics::new),
            self_metrics_ticks: 0,
            seen,
            fresh: seen,
            outstanding: None,
            is_maybe_sent: false,
            is_fresh: false,
            metadata_time: None,
            is_ended: false,
            begun: Instant::now(),
            loss_log: LogLimit::new(LOG_PERIOD),
            duplicate_log: LogLimit::new(LOG_PERIOD),
            error_log,
            unkept_log: LogLimit::new(LOG_PERIOD),
        })
    }

    pub(super) fn metrics(&self) -> &PushMetrics {
        &self.metrics
    }

    /// At an end that leaves samples behind: makes the endpoint's position durable. If the endpoint
    /// is then removed from the configuration, this tells how much is dropped.
    pub(super) async fn finish(&mut self) {
        self.work(QueueStore::finish).await;
    }

    /// At the end: what is still pending. A log on disk keeps it for the next start, and any log for
    /// the next pusher of this process; at the end of the process, what a log in memory has is
    /// dropped.
    pub(super) fn abandon(&mut self) -> usize {
        if let Some(Outstanding { from: Side::SelfMetrics, left, .. }) = self.outstanding.take() {
            self.metrics.dropped(left, DropReason::Shutdown);
        }
        let samples = self.metrics.pending();
        if !self.log.is_durable() && !self.news.is_stopped {
            self.metrics.dropped(samples, DropReason::Shutdown);
        }
        samples
    }

    /// Has the store read, and counts what came of it. After an error, waits before the next try.
    ///
    /// Returns whether there is a next try.
    async fn work(&mut self, job: impl FnOnce(&mut QueueStore)) -> bool {
        job(&mut self.store);
        let error = self.store.error.take();
        let unkept = self.store.unkept.take();
        let tally = self.store.take_tally();
        self.observe();
        self.count(tally);
        if let Some(error) = unkept
            && let Some(held_back) = self.unkept_log.permit()
        {
            tracing::error!(
                endpoint = self.metrics.endpoint(),
                %error,
                held_back,
                "can't save the endpoint's acknowledged position: samples are sent, and sent \
                 again after a restart"
            );
        }
        let Some(error) = error else { return true };
        tell_error(self.metrics.endpoint(), &error, &self.error_log);
        if self.news.deadline.is_none() {
            retry_wait(&mut self.news).await;
            self.observe();
        }
        self.news.deadline.is_none()
    }

    /// Counts what was read.
    fn count(&mut self, tally: Tally) {
        let Tally { mut generated, estimated, mut unreadable, .. } = tally;
        // Some were counted as dropped, and turn out to be unreadable.
        let counted = self.store.counted_before(unreadable, self.seen);
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
                "the queue has lost samples before they were sent"
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

    /// Counts what is new in the log.
    fn observe(&mut self) {
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

    /// Counts what the log has dropped unread since the last time. This does not wait until reading
    /// gets there, which would be only when an endpoint that is down is back.
    fn count_gone(&mut self) {
        let more = self.store.newly_gone(self.seen);
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
                "the queue is full: the oldest samples are dropped unsent"
            );
        }
    }

    /// Updates the metrics about the length of the queue.
    fn tell(&self) {
        let live = self.store.live_progress();
        let followers = self.store.backlog.iter().chain(&self.store.live);
        let pending = followers.filter(|follower| !self.is_settled(follower));
        let mut oldest =
            pending.filter_map(LogFollower::oldest).chain(self.store.oldest_in_ranges()).min();
        if oldest.is_none() && self.seen.totals.ticks > live.end.totals.ticks {
            oldest = live.end_time.map(|end| end + self.store.rules.interval);
        }
        let usage = self.log.usage(self.store.slowest());
        self.metrics.queue(oldest, usage, self.begun.elapsed());
    }

    fn is_settled(&self, follower: &LogFollower) -> bool {
        follower.is_spent() && self.outstanding.is_none()
    }

    /// Samples from before this time are not sent.
    fn oldest(&self) -> Option<UnixMs> {
        let oldest = SystemTime::now().checked_sub(self.max_age?)?;
        let since = oldest.duration_since(SystemTime::UNIX_EPOCH).ok()?;
        Some(UnixMs::new(0) + Millis::from(since))
    }

    /// The position from which newer samples are sent first, if it is time for that.
    fn split_at(&self) -> Option<LogPosition> {
        let live = self.store.live.as_ref()?;
        let sent = if live.is_spent() { live.progress.end } else { live.progress.begin };
        let waiting = self.seen.totals.ticks.saturating_sub(sent.totals.ticks);
        let is_due = self.order == Order::NewestFirst
            && waiting >= SPLIT_TICKS
            && self.fresh.sequence > live.progress.end.sequence
            && self.store.can_split();
        is_due.then_some(self.fresh)
    }

    /// The next samples of what is in a window.
    fn hand_out(&mut self, from: Side) -> Option<Batch> {
        let (bounds, oldest) = (self.bounds, self.oldest());
        let QueueStore { live, backlog, pool, .. } = &mut self.store;
        let follower = if from == Side::Live { live } else { backlog }.as_mut()?;
        loop {
            let out = follower.hand_out(pool, bounds, oldest)?;
            let HandedOut { mut batch, samples, too_old, newest } = out;
            self.metrics.dropped(too_old as usize, DropReason::TooOld);
            if batch.is_empty() {
                follower.progress.done += samples;
                continue;
            }
            if self.metadata_time.is_none_or(|last| newest - last >= METADATA_INTERVAL) {
                batch.metadata = true;
                self.metadata_time = Some(newest);
            }
            self.is_maybe_sent = std::mem::take(&mut follower.is_resumed);
            self.outstanding = Some(Outstanding { from, left: batch.samples(), samples });
            return Some(batch);
        }
    }

    /// The program's own metrics, if they are due: after the samples of a tick, and in between if
    /// that takes long.
    fn hand_out_self_metrics(&mut self, is_idle: bool) -> Option<Batch> {
        let self_metrics = self.self_metrics.as_mut()?;
        let batch = self_metrics.hand_out().or_else(|| {
            let ticks = self.seen.totals.ticks.saturating_sub(self.self_metrics_ticks);
            if ticks == 0 || !is_idle && ticks < 2 {
                return None;
            }
            self.self_metrics_ticks = self.seen.totals.ticks;
            let QueueStore { pool, labeler, .. } = &mut self.store;
            self_metrics.take(pool, labeler, self.bounds);
            self_metrics.hand_out()
        })?;
        self.metrics.generated(batch.samples() as u64);
        self.is_maybe_sent = false;
        let (from, left) = (Side::SelfMetrics, batch.samples());
        self.outstanding = Some(Outstanding { from, left, samples: 0 });
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
        let follower = match from {
            Side::Live => &mut self.store.live,
            Side::Backlog => &mut self.store.backlog,
            Side::SelfMetrics => return self.tell(),
        };
        if let Some(follower) = follower {
            follower.progress.done += samples;
            self.store.note();
        }
        self.tell();
    }
}

/// Logs an error after which the queue tries again.
fn tell_error(endpoint: &str, error: &Error, limit: &LogLimit) {
    if let Some(held_back) = limit.permit() {
        tracing::error!(endpoint, %error, held_back, "can't read the queue: trying again");
    }
}

/// Waits before the log is tried again: it may help that it has grown.
async fn retry_wait(news: &mut News) {
    tokio::select! {
        () = time::sleep(RETRY_WAIT) => {}
        () = news.changed() => {}
    }
}

impl Batches for Queue {
    async fn next(&mut self) -> Option<Batch> {
        self.is_fresh = false;
        loop {
            if self.news.is_stopped {
                // Another pusher may continue here.
                self.work(QueueStore::finish).await;
                return None;
            }
            if self.store.live.is_none() && self.seen.sequence > 0 {
                if !self.work(QueueStore::read).await {
                    return None;
                }
                continue;
            }
            if let Some(fresh) = self.split_at() {
                self.work(|store| store.split(fresh)).await;
                continue;
            }
            if let Some(batch) = self.hand_out_self_metrics(false) {
                return Some(batch);
            }
            if let Some(batch) = self.hand_out(Side::Live) {
                return Some(batch);
            }
            if self.store.live.as_ref().is_some_and(|live| live.can_read(self.seen)) {
                if !self.work(QueueStore::read).await {
                    return None;
                }
                continue;
            }
            if let Some(batch) = self.hand_out(Side::Backlog) {
                return Some(batch);
            }
            if self.store.has_backlog() || self.store.save_is_due() {
                if !self.work(QueueStore::read).await {
                    return None;
                }
                continue;
            }
            if let Some(batch) = self.hand_out_self_metrics(true) {
                return Some(batch);
            }
            if self.news.deadline.is_none() {
                self.metrics.is_read();
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
        &self.store.pool
    }

    async fn news(&mut self) {
        self.news.changed().await;
        self.observe();
    }

    fn deadline(&self) -> Option<Instant> {
        self.news.deadline
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
