//! Merges what all workers counted, makes it durable, and publishes it as immutable snapshots.
//!
//! Each worker counts in tables of its own ([`Shard`]). When the [`Ledger`] takes a [`Snapshot`],
//! each worker hands over its tables together with the positions up to which it counted. The
//! ledger merges them, has the journal append the difference to the snapshot before as one delta,
//! and only then publishes the snapshot to scrapes and push, which read it through a [`Reader`].
//! Counts and positions move together, and nothing reaches a reader in any other way.
//!
//! Snapshots at multiples of the interval are ticks: their values are the samples that are pushed.
//! What was counted for later ticks is kept apart until then, as early counts.

mod admission;
mod bucketing;
mod cluster;
mod columns;
mod early;
mod error;
mod gate;
mod identity;
mod message;
mod migration;
mod observer;
mod reader;
mod restore;
mod schedule;
mod series_table;
mod shard;
mod snapshot;
mod space_saving;
mod store;
mod table_texts;
mod thread;
mod waiting;

pub use admission::{OTHER_SERIES, Tally};
pub use cluster::forget_cluster;
pub use error::{ChangeError, LostAtEnd, StoreError};
pub use gate::Waker;
pub use identity::{COLLECTOR, Identity, described};
pub use observer::Observer;
pub use reader::{Names, Reader};
pub use restore::check;
pub use schedule::Timestamps;
pub use series_table::SeriesTable;
pub use shard::Shard;
pub use snapshot::{Cell, Series, Snapshot};
pub use store::{Examined, Store};
pub use thread::{Ledger, LedgerConfig};
pub use waiting::WaitingIn;
