//! NetFlow v5, v9 and IPFIX.
//!
//! Each template is compiled once for a plan, into the steps that write the fields which are wanted
//! ([`program`]); v5, which has one form of record and no templates, is such a program as well. A
//! set's records are then read in place.

mod decoder;
mod definitions;
mod duration;
mod element;
mod flows;
mod frame;
mod layout;
mod message;
mod options;
mod originals;
mod program;
mod rates;
mod registry;
mod size;
mod snapshot;
mod stream;
mod template;
mod v5;
mod waiting;
mod written;

pub use registry::{element_names, is_element};
pub use snapshot::SnapshotError;
pub use waiting::WaitingBound;

pub(super) use decoder::{NetFlow, Shared};
pub(super) use message::Message;
pub(super) use size::Size;
pub(super) use snapshot::{
    Exporter as ExporterSnapshot, SflowStream as SflowSnapshot, Snapshot,
    WaitingSet as WaitingSnapshot,
};
