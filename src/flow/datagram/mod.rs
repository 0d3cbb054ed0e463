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

// How protocols plug in:
//
// - State by exporter is a field of `Exporter` (exporter.rs); its `Default` is a new exporter.
// - A protocol's entry is a method of that state:
//       fn decode(&mut self, payload: &[u8], context: &mut Context<'_>, sink: &mut impl FnMut(Record<'_>))
//           -> Result<(), Refused>
//   An error means that nothing of the datagram was used; a part that can't be read ends quietly
//   with a count in `context.activity`.
// - Rows: `context.rows.begin()` starts a row that has only the exporter's address and host name;
//   `rows.number(rows.slots.source_as, 64512)` and so on write fields, and do nothing where the
//   field is not wanted; `rows.emit(sink)` checks the row and hands it over.
// - What the operator says of the exporter: `context.known.settings`.
// - A protocol is told by its first bytes in `Protocol::of` (decoder.rs).

mod activity;
mod context;
mod decoder;
mod exporter;
mod input;
mod netflow5;
pub mod packet;
mod recent;
mod rows;
mod sequence;
mod settings;
mod sflow;
mod sflow_activity;
mod slots;
mod wire;

pub use activity::{Activity, Refused};
pub use decoder::Datagrams;
pub use input::Datagram;
pub use settings::{ExporterSettings, Settings};
pub use sflow_activity::SflowActivity;
