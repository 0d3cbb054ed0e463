//! NetFlow v5, v9, IPFIX and sFlow v5: datagrams as routers and switches send them.
//!
//! [`Datagrams`] takes [`Datagram`]s of any of these protocols, told apart by their first bytes, and
//! hands records to a sink. It knows neither sockets nor a clock: datagrams come with their sender
//! and time, from UDP, from a topic or from a file. What it learns of an exporter (templates,
//! sampling rates, names, sequence numbers) is kept by the exporter's address, with a bound for each
//! thing, and outlives a change of the plan. What happens besides flows is counted in an
//! [`Activity`] for each exporter, which whoever counts takes and resets.
//!
//! Datagrams come from anybody. Nothing is allocated by a count or length that they state, and
//! reading a record allocates nothing.

mod activity;
mod context;
mod decoder;
mod exporter;
mod input;
mod known;
mod names;
mod netflow;
pub mod packet;
mod recent;
mod rows;
mod sequence;
mod settings;
mod sflow;
mod sflow_activity;
mod sflow_names;
mod slots;
mod stream_key;
mod wire;

pub use activity::{Activity, Awaited, Refused};
pub use decoder::Datagrams;
pub use input::Datagram;
pub use names::Named;
pub use netflow::{SnapshotError, WaitingBound, element_names, is_element};
pub use settings::{ExporterSettings, Settings};
pub use sflow_activity::SflowActivity;
pub use stream_key::{StreamKey, Version};
