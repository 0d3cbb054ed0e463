//! Where messages come from: each source hands borrowed payloads, with a position, to its sinks.
//!
//! A source runs one thread per sink and gives every partition to one of them. Decoding and
//! counting happen inside [`Sink::message`], on that thread, while the payload still lies in the
//! source's own buffer: a message costs no copy, no channel and no lock. Sources know nothing of
//! JSON or series.

pub mod collector;
pub mod input;
pub mod kafka;
mod message;
mod publication;
mod sink;

pub use message::{Message, Origin, Position};
pub use publication::Publication;
pub use sink::{Bound, Sink};
