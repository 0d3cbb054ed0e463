//! The cut: what all workers counted is merged, stamped and published as one immutable snapshot.
//!
//! Workers count in tables of their own ([`Shard`]). At a cut each hands over its table together
//! with the positions up to which it counted; the [`Ledger`] merges them and publishes a
//! [`Snapshot`], which both doors read through a [`Reader`]. Counts and positions move together,
//! and nothing reaches a reader in any other way.

mod bucketing;
mod columns;
mod early;
mod error;
mod gate;
mod identity;
mod message;
mod reader;
mod restore;
mod schedule;
mod series_table;
mod shard;
mod snapshot;
mod store;
mod table_texts;
mod thread;
mod witness;

pub use error::StoreError;
pub use gate::Waker;
pub use identity::Identity;
pub use reader::{Names, Reader};
pub use restore::check;
pub use schedule::Timestamps;
pub use series_table::{OTHER_SERIES, SeriesTable};
pub use shard::Shard;
pub use snapshot::{Series, Snapshot};
pub use store::Store;
pub use thread::{Ledger, LedgerConfig};
pub use witness::Witness;
