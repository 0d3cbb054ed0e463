//! What waits to be sent, between the snapshots and the sender.
//!
//! It holds the snapshot that is being sent and the newest one behind it: while an endpoint is
//! away, older samples are superseded by newer ones. A queue that forgets nothing has to offer
//! what this one does: the next request, and what became of it.

use std::sync::Arc;

use tokio::{sync::watch, time::Instant};

use crate::{
    ledger::Snapshot,
    log_limit::LogLimit,
    publish::remote_write::{OldEncoder, Request},
};

use super::{
    LOG_PERIOD,
    account::{Account, DropReason},
};

/// How far apart, in the samples' time, type and help of the metrics are sent.
const METADATA_INTERVAL_MS: i64 = 60_000;

/// Snapshots as they come.
pub(super) type Snapshots = watch::Receiver<Option<Arc<Snapshot>>>;

/// The samples of one endpoint that are neither confirmed nor given up.
#[derive(Debug)]
pub(super) struct Queue {
    snapshots: Snapshots,
    encoder: OldEncoder,
    account: Account,
    current: Option<Current>,
    /// The newest snapshot, if its turn has not come.
    waiting: Option<Arc<Snapshot>>,
    /// Time of the newest snapshot taken in.
    newest_ms: i64,
    /// Time of the newest samples that went out with metadata.
    metadata_ms: Option<i64>,
    /// Since when no more snapshots come.
    closed: Option<Instant>,
    superseded_log: LogLimit,
}

/// The snapshot that is being sent.
#[derive(Debug)]
struct Current {
    snapshot: Arc<Snapshot>,
    /// Where the next request begins.
    slot: usize,
    /// Samples of it that are pending, those of a request under way included.
    pending: usize,
}

impl Queue {
    pub(super) fn new(mut snapshots: Snapshots, encoder: OldEncoder, account: Account) -> Self {
        // What is there already is news to us.
        snapshots.mark_changed();
        Queue {
            snapshots,
            encoder,
            account,
            current: None,
            waiting: None,
            newest_ms: i64::MIN,
            metadata_ms: None,
            closed: None,
            superseded_log: LogLimit::new(LOG_PERIOD),
        }
    }

    pub(super) fn account(&self) -> &Account {
        &self.account
    }

    /// The next request, when there is one; `None` once all that ever came is dealt with. It is to
    /// be confirmed, refused or superseded before the next one is asked for.
    pub(super) async fn next(&mut self) -> Option<Request> {
        loop {
            if self.closed.is_some() && self.waiting.is_some() {
                // Counters hold all that came before: the last sample matters most.
                self.give_up_current(DropReason::Superseded);
            }
            if let Some(request) = self.encode() {
                return Some(request);
            }
            match self.waiting.take() {
                Some(snapshot) => {
                    let pending = snapshot.len();
                    self.current = Some(Current { snapshot, slot: 0, pending });
                }
                None if self.closed.is_some() => return None,
                None => self.news().await,
            }
        }
    }

    fn encode(&mut self) -> Option<Request> {
        let current = self.current.as_mut()?;
        let time_ms = current.snapshot.time_ms;
        let metadata_due = self
            .metadata_ms
            .is_none_or(|last| time_ms.saturating_sub(last) >= METADATA_INTERVAL_MS);
        if current.slot == 0 && metadata_due && !current.snapshot.is_empty() {
            self.encoder.metadata();
            self.metadata_ms = Some(time_ms);
        }
        if let Some((request, slot)) = self.encoder.snapshot(&current.snapshot, current.slot) {
            current.slot = slot;
            return Some(request);
        }
        self.current = None;
        None
    }

    /// Returns once a snapshot has come, or no more will. May be dropped at any time.
    pub(super) async fn news(&mut self) {
        if self.snapshots.changed().await.is_err() {
            self.closed.get_or_insert_with(Instant::now);
            return;
        }
        let Some(snapshot) = self.snapshots.borrow_and_update().clone() else { return };
        self.account.generated(snapshot.len());
        if snapshot.time_ms <= self.newest_ms {
            // Samples of a series must rise in time.
            self.account.dropped(snapshot.len(), DropReason::NotNewer);
            return;
        }
        self.newest_ms = snapshot.time_ms;
        if let Some(older) = self.waiting.replace(snapshot) {
            self.superseded(older.len());
        }
    }

    /// Since when no more snapshots come; `None` if they may.
    pub(super) fn closed(&self) -> Option<Instant> {
        self.closed
    }

    /// The receiver has confirmed the request.
    pub(super) fn confirm(&mut self, request: &Request) {
        self.account.confirmed(request.samples);
        self.settle(request);
    }

    /// The receiver will never take the request.
    pub(super) fn refuse(&mut self, request: &Request, reason: DropReason) {
        self.account.dropped(request.samples, reason);
        self.settle(request);
    }

    fn settle(&mut self, request: &Request) {
        if let Some(current) = &mut self.current {
            current.pending -= request.samples;
        }
    }

    /// Gives up the request under way, with all of its snapshot that is left, if newer samples
    /// wait. Says whether it did.
    pub(super) fn supersede(&mut self) -> bool {
        let superseded = self.waiting.is_some();
        if superseded {
            self.give_up_current(DropReason::Superseded);
        }
        superseded
    }

    /// Gives up all that is pending, at the end. Returns how many samples that is.
    pub(super) fn abandon(&mut self) -> usize {
        let waiting = self.waiting.take().map_or(0, |snapshot| snapshot.len());
        self.account.dropped(waiting, DropReason::Shutdown);
        waiting + self.give_up_current(DropReason::Shutdown)
    }

    fn give_up_current(&mut self, reason: DropReason) -> usize {
        let pending = self.current.take().map_or(0, |current| current.pending);
        match reason {
            DropReason::Superseded => self.superseded(pending),
            _ => self.account.dropped(pending, reason),
        }
        pending
    }

    fn superseded(&mut self, samples: usize) {
        self.account.dropped(samples, DropReason::Superseded);
        if samples > 0
            && let Some(held_back) = self.superseded_log.permit()
        {
            tracing::warn!(
                endpoint = self.account.endpoint(),
                samples,
                held_back,
                "newer samples are there before the endpoint took these: they are dropped"
            );
        }
    }
}
