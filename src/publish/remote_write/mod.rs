//! Encodes series and their samples as remote-write requests.
//!
//! Knows neither sockets nor clocks nor where samples come from. The labels of an endpoint's series
//! are in a [`LabelPool`]; a [`Batch`] says which of them go into a request, with which samples; an
//! [`Encoder`] writes the request in either protocol. The generated types in [`proto`] are for
//! reading requests: the encoder writes the bytes itself, because a tree of owned strings for each
//! of a hundred thousand series would cost more than everything else.

mod batch;
mod encoder;
mod families;
mod history;
mod labels;
mod order;
mod pool;
#[allow(clippy::all, clippy::pedantic, unreachable_pub, missing_debug_implementations)]
pub mod proto;
mod protocol;
mod request_ids;
mod samples;
mod snappy;
mod v1;
mod v2;
mod wire;

pub use batch::{
    Batch, BatchBounds, BatchSeries, METADATA_MAX_BYTES, SAMPLE_MAX_BYTES, STALE, Sample,
};
pub use encoder::Encoder;
pub use families::{Families, FamilyId, FamilyMetadata};
pub use labels::{ExternalLabels, LabelError};
pub use order::{Group, compare};
pub use pool::{LabelPool, LabelSet};
pub use protocol::{Compression, Protocol, StartTimestamps};
