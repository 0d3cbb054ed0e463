//! NetFlow v5, v9, IPFIX and sFlow v5: datagrams as routers and switches send them.
//!
//! [`Datagrams`] takes [`Datagram`]s of any of these protocols, told apart by their first bytes, and
//! hands records to a sink. It knows neither sockets nor a clock: datagrams come with their sender
//! and time, from UDP, from a topic or from a file. What it learns of an exporter (templates,
//! sampling rates, names, sequence numbers) is kept by the sender's address, with a bound for each
//! thing, and outlives a change of the plan. What happens besides flows is counted in an
//! [`Activity`] for each exporter, which whoever counts takes and resets.
//!
//! Datagrams come from anybody. Nothing is allocated by a count or length that they state, and
//! reading a record allocates nothing.

// How protocols plug in (sflow.rs beside the others):
//
// - State by exporter is a field of `Exporter` (exporter.rs); its `Default` is a new exporter.
// - A protocol's entry is a method of that state:
//       fn decode(&mut self, payload: &[u8], context: &mut Context<'_>, sink: &mut impl FnMut(Record<'_>))
//           -> Result<(), Refused>
//   An error means that nothing of the datagram was used; a part that can't be read ends quietly
//   with a count in `context.activity`.
// - Rows: `context.rows.begin()` starts a row that has only the exporter's address and host name;
//   `rows.number(rows.slots.source_as, 64512)` and so on write fields, and do nothing where the
//   field is not wanted; `rows.emit(sink)` checks the row and hands it over. A protocol whose
//   datagrams name the exporter (sFlow's agent) calls `rows.set_exporter` before the first row.
// - What the operator says of the sender: `context.known.settings`. Of another address (an agent's):
//   `Known::new(address, settings)`; then add `settings` to Context (decoder.rs has them).
// - A protocol is told by its first bytes in `Protocol::of` (decoder.rs).

mod activity;
mod context;
mod decoder;
mod exporter;
mod input;
mod netflow5;
mod recent;
mod rows;
mod settings;
mod slots;
mod wire;

pub use activity::{Activity, Refused};
pub use decoder::Datagrams;
pub use input::Datagram;
pub use settings::{ExporterSettings, Settings};
