//! The log: every delta, in order, each durable before anybody sees it. Where nothing is to be kept
//! on disk, a [`MemoryJournal`] holds the newest deltas, for the same readers.
//!
//! The one store of the program. Recovery reads it ([`Journal::open`]), and whoever pushes reads
//! the same log from a durable cursor of its own ([`Reader`]), while it is being written.
//!
//! It holds a neutral form: numbered series with an opaque definition and a short row of counts.
//! What a series means, it doesn't know; nor Kafka, nor sockets, nor the clock (time is an
//! argument). `docs/journal.md` describes the format.
//!
//! Begin reading at `writer.rs`; the rules that everything rests on:
//! - A segment begins with a checkpoint, the whole state, and comes to be by a rename once it is
//!   synced. So a segment needs no other one, and older ones can be deleted whole.
//! - A delta is one record, or several where it is too large for one, and only one delta is unsynced at
//!   any time. So what a crash can leave behind is at most one broken delta, the last one.
//! - A delta beyond the sequence at which the next segment begins is void: its sync failed, and the
//!   next segment has its counts.

mod ack_position;
mod active;
mod codec;
mod config;
mod delta;
mod disk_log;
mod disk_reader;
mod error;
mod external_change;
mod frame;
mod fs;
mod header;
mod inspect;
mod live;
mod log;
mod memory;
mod position;
mod published_end;
mod reading;
mod record;
mod recover;
mod repair;
mod retention_cursor;
mod segment;
mod state;
mod writer;

pub use ack_position::{ACK_POSITION_LIMIT_BYTES, AckPosition};
pub use config::JournalConfig;
pub use delta::{Delta, Position, Started};
pub use error::{Broken, Damage, Displacement, Error};
pub use external_change::ExternalChange;
pub use frame::{FORMAT_VERSION, RECORD_LIMIT_BYTES};
pub use inspect::{Report, SegmentReport, is_held, show, verify};
pub use log::{Log, Reader};
pub use memory::{MEMORY_LIMIT_BYTES, MemoryJournal};
pub use position::{LogPosition, Totals};
pub use reading::{Cause, Lost, Placement, Start, Step, Usage};
pub use repair::{Repaired, SetAside, repair, repair_with};
pub use state::{CheckpointHead, CheckpointSource, Series, State};
pub use writer::{Appended, Journal, Recovered};

/// The journal's directory within the state directory.
pub const DIRECTORY: &str = "journal";
