//! The messages that workers and readers send to the ledger's thread.

use std::{
    sync::{Arc, mpsc},
    time::Instant,
};

use tokio::sync::oneshot;

use crate::{
    asn::AsNames,
    clock::UnixMs,
    schema::Schema,
    source::Position,
    traffic::{Counts, Rule},
};

use super::{
    bucketing::TickBound,
    error::{ChangeError, LostAtEnd},
    waiting::WaitingIn,
};

/// What the ledger is told.
pub(super) enum Request {
    /// A reader wants a snapshot of at least this moment.
    Freshen(Instant),
    /// New AS names.
    Names(Arc<AsNames>),
    /// AS names won't come for now: publish without.
    NamesFailed,
    /// What is counted from now on comes from the cluster with this id.
    Cluster(String),
    /// Something else is to be counted.
    Change(Change),
    /// No message before this time is left in a worker's partitions, but for late ones.
    Watermark { worker: usize, time: UnixMs },
    /// What a worker has counted.
    HandOver(HandOver),
    /// A worker has handed over its last counts.
    Left,
}

/// What is to be counted from now on, and where to say whether it is.
pub(super) struct Change {
    /// The views.
    pub(super) schema: Arc<Schema>,
    /// How flows are classified; `None` if that is as before.
    pub(super) rule: Option<Rule>,
    pub(super) answer: oneshot::Sender<Result<(), ChangeError>>,
}

/// What was counted for one tick.
#[derive(Debug)]
pub(super) struct Bucket {
    /// Which messages it is for.
    pub(super) bound: TickBound,
    pub(super) counts: Box<Counts>,
}

/// What a worker hands over.
pub(super) struct HandOver {
    /// The epoch for which it is, if it is the first one of this worker in that epoch.
    pub(super) epoch: Option<u64>,
    /// All of one schema.
    pub(super) buckets: Vec<Bucket>,
    /// Up to where the worker has counted.
    pub(super) positions: Vec<Position>,
    /// Which datagrams come next, if the worker says so.
    pub(super) places: Option<Vec<u8>>,
    /// What the worker has taken and not counted yet, if that has changed, with its kind and its number
    /// there.
    pub(super) waiting: Option<((WaitingIn, usize), Vec<u8>)>,
    pub(super) receipt: Receipt,
}

impl HandOver {
    /// Adds what this has, if it came in datagrams, which nobody gives again.
    pub(super) fn add_to(&self, unkept: &mut LostAtEnd) {
        if self.places.is_none() {
            return;
        }
        for (_, did) in self.buckets.iter().flat_map(|bucket| &bucket.counts.exporters) {
            unkept.flows += did.flows;
            unkept.bytes = unkept.bytes.saturating_add(did.bytes);
        }
    }
}

/// Tells a worker that its table is merged, at the latest when it is dropped, and gives it a table
/// to continue with.
pub(super) struct Receipt {
    table: Option<Box<Counts>>,
    to: mpsc::Sender<Option<Box<Counts>>>,
}

impl Receipt {
    /// A receipt for the worker that listens to `to`.
    pub(super) fn new(to: mpsc::Sender<Option<Box<Counts>>>) -> Self {
        Receipt { table: None, to }
    }

    /// Gives back a table, which is empty.
    pub(super) fn give(mut self, table: Box<Counts>) {
        self.table = Some(table);
    }
}

impl Drop for Receipt {
    fn drop(&mut self) {
        // A worker that has left needs no table.
        drop(self.to.send(self.table.take()));
    }
}
