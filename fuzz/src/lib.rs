//! What the fuzz targets do with an input, and what has to be true whatever it is.
//!
//! The decoders' files are included rather than linked: with the whole program, each build would
//! also compile librdkafka and OpenSSL, and it would do so with the fuzzer's instruments.

mod captures;
mod exchange;
mod memory;
mod messages;
mod packets;
mod rows;
mod snapshots;

#[allow(dead_code, unused_imports)]
#[path = "../../src/clock.rs"]
mod clock;
#[allow(dead_code, unused_imports)]
#[path = "../../src/flow/mod.rs"]
mod flow;
#[allow(dead_code)]
#[path = "../../src/hex.rs"]
mod hex;
#[allow(dead_code)]
#[path = "../../src/notation.rs"]
mod notation;
#[allow(dead_code, unused_imports)]
#[path = "../../src/schema/mod.rs"]
mod schema;

pub use captures::capture;
pub use exchange::{akvorado, netflow, sflow};
pub use messages::{avro, goflow2, json, pmacct};
pub use packets::packet;
pub use snapshots::restore;
