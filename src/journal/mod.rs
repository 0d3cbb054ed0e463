//! The journal: an append-only log of every snapshot's changes, each durable before anybody sees the
//! snapshot. With `--state-dir none`, a [`MemoryJournal`] holds the newest changes for the same
//! readers.
//!
//! It is the program's only store. A restart recovers its state from it ([`Journal::open`]), and
//! each endpoint's pusher reads the same log ([`Reader`]) while it is being written, from a durable
//! position of its own.
//!
//! Its content is neutral: numbered series, each with an opaque definition and a short row of
//! counts. It does not know what a series means, and it knows neither Kafka nor sockets nor the
//! clock (time is an argument). `docs/journal.md` describes the format.
//!
//! The words: a [`Delta`] is what changed from one snapshot to the next; a checkpoint is a whole
//! state; a segment is a file with a checkpoint and the deltas after it; a retention cursor is the
//! position from which an endpoint needs the log, and its acknowledged position says how far
//! exactly it has come.
//!
//! Start reading at `writer.rs`. Everything rests on these rules:
//! - A segment begins with a checkpoint and gets its name once it is synced. No segment needs
//!   another one, so old ones can be deleted whole.
//! - A delta is one record, or several if it is too large for one, and only one delta is unsynced
//!   at any time. A crash can therefore leave at most one broken delta, the last one.
//! - Between two deltas, an interim (`interim.rs`) has what changed since the last one.
//! - What the caller has taken and not counted yet is beside the log (`waiting.rs`), and durable before
//!   the delta whose positions are past it.
//! - A delta beyond the sequence number at which the next segment begins is void: its sync failed,
//!   and the next segment has its counts.

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
mod interim;
mod live;
mod log;
mod memory;
mod pair;
mod position;
mod published_end;
mod reading;
mod record;
mod recover;
mod repair;
mod retention_cursor;
mod segment;
mod state;
mod waiting;
mod writer;

pub use ack_position::{ACK_POSITION_LIMIT_BYTES, AckPosition};
pub use config::JournalConfig;
pub use delta::{Delta, Position, Started};
pub use error::{Broken, Damage, Displacement, Error};
pub use external_change::ExternalChange;
pub use frame::{FORMAT_VERSION, RECORD_LIMIT_BYTES};
pub use inspect::{Report, SegmentReport, Waiting, is_held, show, verify};
pub use interim::Interim;
pub use log::{Log, Reader};
pub use memory::{MEMORY_LIMIT_BYTES, MemoryJournal};
pub use pair::Beside;
pub use position::{LogPosition, Totals};
pub use reading::{Cause, Lost, Placement, Start, Step, Usage};
pub use repair::{Kept, Repaired, SetAside, repair, repair_with};
pub use state::{CheckpointHead, CheckpointSource, Series, State};
pub use waiting::WAITING_LIMIT_BYTES;
pub use writer::{Appended, Journal, Recovered};

/// The journal's directory within the state directory.
pub const DIRECTORY: &str = "journal";
