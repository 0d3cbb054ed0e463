//! Which AS and which country an address belongs to, and the operator's own networks.
//!
//! A [`Table`] is made of [`Layer`]s, one for each source, and answers on the hot path: a look-up
//! takes no lock and allocates nothing. [`Networks`] is the list of an operator's own prefixes.
//! Both are immutable; [`Shared`] replaces them while they are in use.
//!
//! Knows neither flows nor files: what was read is passed as bytes to [`Layer::parse`] and as text
//! to [`Networks::parse`]. `scripts/update-as-tables` makes the embedded ranges, `ranges.zst`;
//! NOTICE has their sources and licences.

mod block;
mod csv;
mod delimited;
mod embedded;
mod error;
mod lookup;
mod mmdb;
mod networks;
mod origin;
mod ranges;
mod shared;
mod steps;
mod table;
mod tables;

pub use error::{MAX_RANGES, MAX_TABLE_BYTES, TableError};
pub use networks::{MAX_NETWORK_TEXT_BYTES, Network, Networks, NetworksError};
pub use origin::{Country, Origin};
pub use shared::{Shared, View};
pub use table::{Layer, Table};
pub use tables::Tables;
