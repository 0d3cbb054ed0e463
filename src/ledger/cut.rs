//! When and how a cut is taken: the ledger's thread, the workers' seats, the readers.

use std::{
    fmt,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use tokio::sync::watch;

use crate::{
    asn::AsNames,
    health::{Component, State},
    log_limit::LogLimit,
    metrics::Metrics,
    source::Position,
    traffic::{Counts, Layout, Rule},
};

use super::{
    book::Book,
    snapshot::Snapshot,
    store::{Store, StoreError},
};

/// How long a cut waits for the workers. They answer between two batches, so only a thread that
/// the system does not run takes longer; its counts then come with the next cut.
const HAND_OVER_LIMIT: Duration = Duration::from_secs(5);

static LOG_DISK: LogLimit = LogLimit::new(Duration::from_secs(30));

/// What the ledger needs to know.
#[derive(Debug, Clone)]
pub struct LedgerConfig {
    /// The columns of a series.
    pub layout: Layout,
    /// Which flows count.
    pub rule: Rule,
    /// A cut is taken whenever the clock passes a multiple of this; these are the samples of push.
    pub interval: Duration,
    /// How long the first publication may wait for AS names that are being fetched; zero where no
    /// names are on their way.
    pub names_wait: Duration,
}

/// Wakes a worker that waits for messages. Called from the ledger's thread; must not block.
pub type Waker = Arc<dyn Fn() + Send + Sync>;

/// What the ledger is told.
enum Request {
    /// A reader wants a snapshot of at least this moment.
    Freshen(Instant),
    /// New AS names.
    Names(Arc<AsNames>),
    /// AS names won't come for now: publish without.
    NamesFailed,
    HandOver {
        epoch: u64,
        counts: Box<Counts>,
        positions: Vec<Position>,
        spare: mpsc::Sender<Box<Counts>>,
    },
    /// A worker has handed over its last counts.
    Left,
}

/// What workers and ledger share about cuts.
struct Gate {
    /// Number of the newest cut that was asked for.
    epoch: AtomicU64,
    wakers: Vec<OnceLock<Waker>>,
}

/// A worker's place at the ledger: the table in which it counts, and the way to hand it over.
pub struct Seat {
    number: usize,
    gate: Arc<Gate>,
    requests: mpsc::Sender<Request>,
    counts: Box<Counts>,
    epoch: u64,
    spare_in: mpsc::Sender<Box<Counts>>,
    spare_out: mpsc::Receiver<Box<Counts>>,
    layout: Layout,
    rule: Rule,
}

impl fmt::Debug for Seat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Seat").field("number", &self.number).finish_non_exhaustive()
    }
}

impl Seat {
    /// The worker's number, from 0.
    pub fn number(&self) -> usize {
        self.number
    }

    /// Sets how the worker is woken up when a cut is due. Only the first call counts.
    pub fn wake_with(&self, waker: Waker) {
        // A second waker would be a second source in one seat, which nobody builds.
        drop(self.gate.wakers[self.number].set(waker));
    }

    /// The table to count in.
    pub fn counts(&mut self) -> &mut Counts {
        &mut self.counts
    }

    /// Whether a cut waits for this worker. Costs one relaxed load.
    pub fn cut_is_due(&self) -> bool {
        self.gate.epoch.load(Ordering::Relaxed) != self.epoch
    }

    /// Hands over all that was counted, with the positions up to which it was, and goes on with an
    /// empty table.
    pub fn hand_over(&mut self, positions: Vec<Position>) {
        self.epoch = self.gate.epoch.load(Ordering::Acquire);
        let empty = self
            .spare_out
            .try_recv()
            .unwrap_or_else(|_| Box::new(Counts::new(self.layout.clone(), self.rule)));
        let counts = std::mem::replace(&mut self.counts, empty);
        // The ledger ends after its workers; if it is gone, the process is on its way out.
        drop(self.requests.send(Request::HandOver {
            epoch: self.epoch,
            counts,
            positions,
            spare: self.spare_in.clone(),
        }));
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        drop(self.requests.send(Request::Left));
    }
}

/// Tells the ledger of AS names.
#[derive(Clone)]
pub struct Names {
    requests: mpsc::Sender<Request>,
}

impl fmt::Debug for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Names")
    }
}

impl Names {
    /// Names from now on.
    pub fn replace(&self, names: Arc<AsNames>) {
        drop(self.requests.send(Request::Names(names)));
    }

    /// Says that no names come for now, so that a first publication need not wait for them.
    pub fn give_up(&self) {
        drop(self.requests.send(Request::NamesFailed));
    }
}

/// Reads what has been published, and asks for more.
#[derive(Clone)]
pub struct Reader {
    newest: watch::Receiver<Option<Arc<Snapshot>>>,
    news: watch::Receiver<()>,
    requests: mpsc::Sender<Request>,
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reader")
    }
}

impl Reader {
    /// The newest snapshot; `None` before the first.
    pub fn newest(&self) -> Option<Arc<Snapshot>> {
        self.newest.borrow().clone()
    }

    /// Every newly published snapshot.
    pub fn subscribe(&self) -> watch::Receiver<Option<Arc<Snapshot>>> {
        self.newest.clone()
    }

    /// Changes after each publication, and closes after the last.
    pub fn news(&self) -> watch::Receiver<()> {
        self.news.clone()
    }

    /// Returns when the ledger has published its last snapshot.
    pub async fn ended(&self) {
        let mut newest = self.newest.clone();
        while newest.changed().await.is_ok() {}
    }

    /// A snapshot no older than `max_age`, by a cut of its own where the newest is older. After
    /// `wait` the newest there is, or `None` if nothing has been published.
    pub async fn fresh(&self, max_age: Duration, wait: Duration) -> Option<Arc<Snapshot>> {
        let now = Instant::now();
        let oldest = now.checked_sub(max_age).unwrap_or(now);
        let fresh_enough = |snapshot: &Option<Arc<Snapshot>>| {
            snapshot.as_ref().is_some_and(|newest| newest.taken >= oldest)
        };
        if !fresh_enough(&self.newest.borrow()) {
            drop(self.requests.send(Request::Freshen(oldest)));
            let mut newest = self.newest.clone();
            // Late, or the ledger has ended: what there is has to do.
            drop(tokio::time::timeout(wait, newest.wait_for(fresh_enough)).await);
        }
        self.newest()
    }
}

/// Merges what the workers counted and publishes it. Runs on a thread of its own.
pub struct Ledger {
    interval: Duration,
    names_wait: Duration,
    book: Book,
    /// Where cuts become durable; without one, counts live in memory alone.
    store: Option<Store>,
    component: Component,
    /// Names that replace the book's once it has nothing unpublished.
    new_names: Option<Arc<AsNames>>,
    gate: Arc<Gate>,
    requests: mpsc::Receiver<Request>,
    newest: watch::Sender<Option<Arc<Snapshot>>>,
    news: watch::Sender<()>,
    seated: usize,
    /// Hand-overs that the newest epoch still lacks.
    missing: usize,
    metrics: Arc<Metrics>,
    last_cut: Option<Instant>,
    /// A reader wants a snapshot of at least this moment, and said so during a cut, which may have
    /// been taken before.
    asked: Option<Instant>,
}

impl fmt::Debug for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ledger").field("book", &self.book).finish_non_exhaustive()
    }
}

impl Ledger {
    /// A ledger for `workers` workers, with a seat for each. What `store` holds from before is
    /// published at once.
    pub fn new(
        config: &LedgerConfig,
        names: Arc<AsNames>,
        workers: usize,
        metrics: Arc<Metrics>,
        mut store: Option<Store>,
        component: Component,
    ) -> Result<(Ledger, Vec<Seat>, Reader, Names), StoreError> {
        let (send, requests) = mpsc::channel();
        let gate = Arc::new(Gate {
            epoch: AtomicU64::new(0),
            wakers: (0..workers).map(|_| OnceLock::new()).collect(),
        });
        let seats = (0..workers)
            .map(|number| {
                let (spare_in, spare_out) = mpsc::channel();
                Seat {
                    number,
                    gate: Arc::clone(&gate),
                    requests: send.clone(),
                    counts: Box::new(Counts::new(config.layout.clone(), config.rule)),
                    epoch: 0,
                    spare_in,
                    spare_out,
                    layout: config.layout.clone(),
                    rule: config.rule,
                }
            })
            .collect();
        let restored = match &mut store {
            Some(store) => store.load(&config.layout, &names)?,
            None => None,
        };
        let now_ms = unix_ms(SystemTime::now());
        let book = restored
            .unwrap_or_else(|| Book::new(config.layout.clone(), Arc::clone(&names), now_ms));
        let before = store.as_ref().and_then(Store::durable).cloned();
        metrics.series.set(before.as_ref().map_or(0, |before| before.len() as i64));
        let (newest, newest_out) = watch::channel(before);
        let (news, news_out) = watch::channel(());
        let reader = Reader { newest: newest_out, news: news_out, requests: send.clone() };
        let ledger = Ledger {
            interval: config.interval,
            names_wait: config.names_wait,
            book,
            store,
            component,
            // While fresh names are on their way, series keep those under which they were counted.
            new_names: config.names_wait.is_zero().then_some(names),
            gate,
            requests,
            newest,
            news,
            seated: workers,
            missing: 0,
            metrics,
            last_cut: None,
            asked: None,
        };
        Ok((ledger, seats, reader, Names { requests: send }))
    }

    /// Takes cuts until all workers have left, then a last one of all they counted.
    pub fn run(mut self) {
        self.component.set(State::Ready);
        let mut may_publish_at = Some(Instant::now() + self.names_wait);
        let mut next_interval = self.next_interval();
        while self.seated > 0 {
            if self.asked.take() > self.last_cut {
                self.cut(None);
                continue;
            }
            let now = SystemTime::now();
            let mut wait = next_interval.duration_since(now).unwrap_or_default();
            if let Some(at) = may_publish_at {
                let left = at.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    may_publish_at = None;
                    self.cut(None);
                    continue;
                }
                wait = wait.min(left);
            }
            if wait.is_zero() {
                // After a pause of the whole machine, several boundaries have passed: the newest
                // is the one that this cut belongs to.
                next_interval = self.next_interval();
                if may_publish_at.is_none() {
                    self.cut(Some(next_interval - self.interval));
                }
                continue;
            }
            // The clock may be set while we wait: look at it again every second.
            match self.requests.recv_timeout(wait.min(Duration::from_secs(1))) {
                Ok(Request::Freshen(asked)) => {
                    let old = self.last_cut.is_none_or(|last| last < asked);
                    if old && may_publish_at.is_none() {
                        self.cut(None);
                    }
                }
                Ok(Request::Names(names)) => {
                    self.new_names = Some(names);
                    if may_publish_at.take().is_some() {
                        self.cut(None);
                    }
                }
                Ok(Request::NamesFailed) => {
                    if may_publish_at.take().is_some() {
                        self.cut(None);
                    }
                }
                Ok(Request::HandOver { epoch, counts, positions, spare }) => {
                    self.merge(epoch, counts, &positions, &spare);
                }
                Ok(Request::Left) => self.seated -= 1,
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    let now = SystemTime::now();
                    let next = self.next_interval();
                    if next_interval > now && next < next_interval {
                        next_interval = next;
                    }
                }
                Err(mpsc::RecvTimeoutError::Disconnected) => break,
            }
        }
        // The last counts are a sample of push as well: nobody will send them later.
        self.publish(SystemTime::now(), true, Instant::now());
        self.component.finish();
    }

    /// The next multiple of the interval.
    fn next_interval(&self) -> SystemTime {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let interval = self.interval.as_millis().max(1);
        let next = (since_epoch.as_millis() / interval + 1) * interval;
        UNIX_EPOCH + Duration::from_millis(u64::try_from(next).unwrap_or(u64::MAX))
    }

    /// Asks all workers for what they have, merges it and publishes. At a `boundary`, the
    /// snapshot is a sample of push, and has the boundary's time.
    fn cut(&mut self, boundary: Option<SystemTime>) {
        let taken = Instant::now();
        let time = boundary.unwrap_or_else(SystemTime::now);
        // The journal takes a series' end only for one that it knows, so names change while all
        // that was counted is published.
        if self.book.touched().is_empty()
            && let Some(names) = self.new_names.take()
        {
            self.book.rename(names);
        }
        let epoch = self.gate.epoch.load(Ordering::Relaxed) + 1;
        self.missing = self.seated;
        self.gate.epoch.store(epoch, Ordering::Release);
        for waker in &self.gate.wakers {
            if let Some(waker) = waker.get() {
                waker();
            }
        }
        let deadline = taken + HAND_OVER_LIMIT;
        while self.missing > 0 {
            match self.requests.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(Request::HandOver { epoch, counts, positions, spare }) => {
                    self.merge(epoch, counts, &positions, &spare);
                }
                Ok(Request::Left) => {
                    self.seated -= 1;
                    self.missing = self.missing.saturating_sub(1);
                }
                Ok(Request::Names(names)) => self.new_names = Some(names),
                Ok(Request::Freshen(asked)) => self.asked = self.asked.max(Some(asked)),
                Ok(Request::NamesFailed) => {}
                Err(_) => {
                    self.metrics.cuts_incomplete.inc();
                    tracing::warn!(
                        missing = self.missing,
                        "a cut was taken without all workers: is the machine short of CPU time?"
                    );
                    break;
                }
            }
        }
        self.publish(time, boundary.is_some(), taken);
    }

    fn merge(
        &mut self,
        epoch: u64,
        mut counts: Box<Counts>,
        positions: &[Position],
        spare: &mpsc::Sender<Box<Counts>>,
    ) {
        self.book.merge(&counts, positions);
        self.metrics.add_counts(&counts);
        if epoch == self.gate.epoch.load(Ordering::Relaxed) {
            self.missing = self.missing.saturating_sub(1);
        }
        counts.clear();
        // A worker that has left needs no table.
        drop(spare.send(counts));
    }

    fn publish(&mut self, time: SystemTime, is_sample: bool, taken: Instant) {
        let snapshot = Arc::new(self.book.cut(unix_ms(time), taken));
        self.last_cut = Some(taken);
        if let Some(store) = &mut self.store {
            let now_ms = unix_ms(SystemTime::now());
            match store.append(&snapshot, self.book.touched(), is_sample, now_ms) {
                Ok(bytes) => {
                    self.metrics.journal_written.inc_by(bytes);
                    self.metrics.journal_bytes.set(store.bytes() as i64);
                    self.component.set(State::Ready);
                }
                Err(error) => {
                    // Nothing is published before it is durable; counting goes on, and the next
                    // cut has all of it.
                    self.metrics.journal_errors.inc();
                    let text = format!(
                        "nothing new is published: {error}; counting goes on, and publishing as \
                         soon as the disk takes it. Make room, or see to the disk"
                    );
                    if LOG_DISK.permit().is_some() {
                        tracing::error!("{text}");
                    }
                    self.component.set(State::Failing(text));
                    return;
                }
            }
        }
        self.book.settled();
        self.metrics.series.set(snapshot.len() as i64);
        self.newest.send_replace(Some(snapshot));
        self.news.send_replace(());
        self.metrics.cuts.inc();
        self.metrics.cut_seconds.observe(taken.elapsed().as_secs_f64());
    }
}

/// Milliseconds since the epoch.
fn unix_ms(time: SystemTime) -> i64 {
    time.duration_since(UNIX_EPOCH)
        .ok()
        .and_then(|since| i64::try_from(since.as_millis()).ok())
        .unwrap_or_default()
}
