//! Handles to the ledger: one reads what is published, says which cluster the counts are of, and
//! changes what is counted; the other gives it AS names.

use std::{
    fmt,
    sync::{Arc, mpsc},
    time::{Duration, Instant},
};

use tokio::sync::{oneshot, watch};

use crate::{asn::AsNames, clock::UnixMs, schema::Schema, traffic::Rule};

use super::{
    bucketing::Bucketing,
    error::ChangeError,
    gate::EpochGate,
    message::{Change, Request},
    snapshot::Snapshot,
};

/// Sends the ledger AS names.
#[derive(Clone)]
pub struct Names {
    pub(super) requests: mpsc::Sender<Request>,
}

impl fmt::Debug for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Names")
    }
}

impl Names {
    /// Replaces the names.
    pub fn replace(&self, names: Arc<AsNames>) {
        drop(self.requests.send(Request::Names(names)));
    }

    /// Says that no names come for now, so that the first publication does not wait for them.
    pub fn give_up(&self) {
        drop(self.requests.send(Request::NamesFailed));
    }
}

/// Reads what is published, and asks for newer snapshots.
#[derive(Clone)]
pub struct Reader {
    pub(super) newest: watch::Receiver<Option<Arc<Snapshot>>>,
    pub(super) news: watch::Receiver<()>,
    pub(super) requests: mpsc::Sender<Request>,
    pub(super) gate: Arc<EpochGate>,
    pub(super) bucketing: Bucketing,
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

    /// What is counted; snapshots say themselves what their series are.
    pub fn schema(&self) -> Arc<Schema> {
        self.gate.schema()
    }

    /// Replaces the views that are counted by those of `schema`, another value than before, with which
    /// workers also take up what else decides how they count. Series of views whose labels, counts or
    /// filters differ end, and others begin from zero; so do all series if workers classify flows by
    /// another rule from then on. All other series continue. The change is durable when this returns
    /// `Ok`.
    ///
    /// # Errors
    /// Nothing has changed then.
    pub async fn change(&self, schema: Arc<Schema>, rule: Option<Rule>) -> Result<(), ChangeError> {
        let (answer, answered) = oneshot::channel();
        drop(self.requests.send(Request::Change(Change { schema, rule, answer })));
        answered.await.unwrap_or(Err(ChangeError::Stopping))
    }

    /// Changes after each publication, and closes after the last.
    pub fn news(&self) -> watch::Receiver<()> {
        self.news.clone()
    }

    /// The watermark that all partitions must reach for the next tick; `None` if ticks don't wait
    /// for partitions.
    pub fn target(&self) -> Option<UnixMs> {
        self.gate.target(self.bucketing)
    }

    /// Says which cluster everything that is counted from now on comes from, positions included.
    pub fn note_cluster(&self, id: &str) {
        // A ledger that has ended has nothing more to record.
        drop(self.requests.send(Request::Cluster(id.to_owned())));
    }

    /// Whether the ledger has published its last snapshot.
    pub fn has_ended(&self) -> bool {
        self.newest.has_changed().is_err()
    }

    /// Returns when the ledger has published its last snapshot.
    pub async fn ended(&self) {
        let mut newest = self.newest.clone();
        while newest.changed().await.is_ok() {}
    }

    /// A snapshot that is not older than `max_age`; one is taken if the newest is. After `wait` the
    /// newest there is, or `None` if nothing is published.
    pub async fn fresh(&self, max_age: Duration, wait: Duration) -> Option<Arc<Snapshot>> {
        let now = Instant::now();
        let oldest = now.checked_sub(max_age).unwrap_or(now);
        let fresh_enough = |snapshot: &Option<Arc<Snapshot>>| {
            snapshot.as_ref().is_some_and(|newest| newest.taken >= oldest)
        };
        if !fresh_enough(&self.newest.borrow()) {
            drop(self.requests.send(Request::Freshen(oldest)));
            let mut newest = self.newest.clone();
            // If it is late or the ledger has ended, the newest one has to do.
            drop(tokio::time::timeout(wait, newest.wait_for(fresh_enough)).await);
        }
        self.newest()
    }
}
