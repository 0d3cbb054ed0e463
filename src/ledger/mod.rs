//! The cut: what all workers counted is merged, stamped and published as one immutable snapshot.
//!
//! Workers count in tables of their own ([`Seat`]). At a cut each hands over its table together
//! with the positions up to which it counted; the [`Ledger`] merges them and publishes a
//! [`Snapshot`], which both doors read through a [`Reader`]. Counts and positions move together,
//! and nothing reaches a reader in any other way.

mod book;
mod columns;
mod cut;
mod definition;
mod reader;
mod restore;
mod schedule;
mod seat;
mod snapshot;
mod store;
mod texts;
mod witness;

pub use book::{Book, OTHER_SERIES};
pub use cut::{Ledger, LedgerConfig};
pub use definition::{Column, Definition};
pub use reader::{Names, Reader};
pub use restore::check;
pub use schedule::Timestamps;
pub use seat::{Seat, Waker};
pub use snapshot::{Series, Snapshot};
pub use store::{Identity, Store, StoreError};
pub use witness::Witness;
