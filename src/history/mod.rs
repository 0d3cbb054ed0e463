//! What was counted within the last hour, from which any selection of series gets its curve.
//!
//! A [`History`] is given each published snapshot. Once a minute, and every few seconds while somebody
//! watches, it notes by how much each series has grown since then: a [`Record`], in a few bytes for each
//! series that grew. Records follow each other without gaps, so whatever is added up of them is exact,
//! also for series that ended in the meantime, whose labels are kept as long as a record speaks of them.
//!
//! `query.rs` says what can be asked, and `answer.rs` what comes back. Times are those of snapshots: the
//! clock plays no part here, nor do sockets and formats.

mod answer;
mod query;
mod record;
mod ring;
mod tally;

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
        mpsc::Receiver,
    },
    time::Duration,
};

use tokio::sync::watch;

use crate::{clock::UnixMs, ledger::Snapshot};

use ring::Ring;

pub use answer::{Answer, ClassSums, Curve, Rest, Row, Sums};
pub use query::{Asked, Query, QueryError, derived_labels};

/// How many snapshots may wait to be [taken](History::run). If there are more, what ended series counted
/// last may be missing.
pub const MAX_WAITING: usize = 16;

/// The growth of series within the last hour. Clones share it.
#[derive(Clone)]
pub struct History {
    shared: Arc<Shared>,
}

struct Shared {
    max_bytes: usize,
    ring: Mutex<Ring>,
    /// How many watch.
    watchers: AtomicUsize,
    /// The sequence number of the newest snapshot that was taken.
    taken: watch::Sender<u64>,
}

/// How much a history keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// The time from which on all is kept; `None` before the first flow.
    pub since: Option<UnixMs>,
    /// The time of the newest snapshot that counted something.
    pub newest_flow: Option<UnixMs>,
    /// Bytes of memory.
    pub bytes: usize,
    /// The most bytes.
    pub max_bytes: usize,
}

impl fmt::Debug for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("History").field("extent", &self.extent()).finish()
    }
}

impl History {
    /// A history that takes no more than `max_bytes`, besides what the snapshot at the end of its newest
    /// record shares with no newer one. The oldest records go when there is no more room.
    pub fn new(max_bytes: usize) -> Self {
        let shared = Shared {
            max_bytes,
            ring: Mutex::new(Ring::default()),
            watchers: AtomicUsize::new(0),
            taken: watch::Sender::new(0),
        };
        History { shared: Arc::new(shared) }
    }

    /// One that begins at this time, if that is later than the first snapshot's: nothing is counted between
    /// them. So it is where nobody keeps what arrives while the process does not run.
    #[must_use]
    pub fn idle_until(self, time: UnixMs) -> Self {
        *self.ring() = Ring::idle_until(time);
        self
    }

    /// Takes all published snapshots until there are no more.
    pub fn run(&self, snapshots: &Receiver<Arc<Snapshot>>) {
        while let Ok(snapshot) = snapshots.recv() {
            self.take(&snapshot);
        }
    }

    /// Takes a snapshot that is newer than those before. The first one is where history begins: what it
    /// counts was counted before.
    pub fn take(&self, snapshot: &Arc<Snapshot>) {
        let is_watched = self.shared.watchers.load(Ordering::Relaxed) > 0;
        self.ring().take(snapshot, is_watched, self.shared.max_bytes);
        self.shared.taken.send_replace(snapshot.sequence);
    }

    /// Returns when a snapshot is taken, or a newer one, or after `wait`.
    pub async fn has_taken(&self, snapshot: &Snapshot, wait: Duration) {
        let mut taken = self.shared.taken.subscribe();
        // Without it, the answer is as of the one before.
        drop(tokio::time::timeout(wait, taken.wait_for(|taken| *taken >= snapshot.sequence)).await);
    }

    /// Begins to watch: until the result is dropped, records are some seconds long.
    pub fn watch(&self) -> Watching {
        self.shared.watchers.fetch_add(1, Ordering::Relaxed);
        Watching(self.clone())
    }

    /// How many watch.
    pub fn watchers(&self) -> usize {
        self.shared.watchers.load(Ordering::Relaxed)
    }

    /// How much it keeps.
    pub fn extent(&self) -> Extent {
        let ring = self.ring();
        Extent {
            since: ring.since(),
            newest_flow: ring.newest_flow(),
            bytes: ring.bytes(),
            max_bytes: self.shared.max_bytes,
        }
    }

    /// Adds up what is asked for. Takes time in proportion to the number of series and minutes; others may
    /// go on meanwhile.
    ///
    /// # Errors
    /// If it asks for what is not there.
    pub fn answer(&self, asked: &Asked) -> Result<Answer, QueryError> {
        let kept = self.ring().kept().ok_or(QueryError::NothingYet)?;
        let query = Query::new(asked, kept.newest.schema())?;
        Ok(tally::answer(&query, &kept))
    }

    fn ring(&self) -> MutexGuard<'_, Ring> {
        // A panic while it changes ends the thread that changes it, and with it the process.
        self.shared.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Somebody watches until this is dropped.
#[derive(Debug)]
pub struct Watching(History);

impl Drop for Watching {
    fn drop(&mut self) {
        self.0.shared.watchers.fetch_sub(1, Ordering::Relaxed);
    }
}
