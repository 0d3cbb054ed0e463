//! flow-exporter counts network flows by autonomous system, for Prometheus.
//!
//! Read [`app`] first: it wires the stages in the order in which the data passes them. The types
//! that travel between them are [`source::Message`], [`flow::Row`], [`traffic::Counts`], and
//! then [`ledger::Snapshot`] to scrapes, [`journal::Delta`] and [`publish::remote_write::Batch`] to
//! push.
//!
//! What holds everywhere, said as what is absent:
//!
//! - no copy, channel or lock for a message between the source's buffer and the counter;
//! - no way from a worker's table to a reader but through a published cut, so scrape and push can't
//!   disagree;
//! - no commit of an offset whose counts are not published;
//! - no sample that is neither confirmed, dropped by reason nor pending, and no two requests to an
//!   endpoint under way at once;
//! - no flow of AS 0 made from something that could not be decoded: what is not counted in a
//!   series is counted by reason;
//! - no thread or task that counts, publishes or pushes and whose end goes unnoticed ([`threads`]),
//!   and none that waits for the reader of the log ([`log`]).
#![warn(clippy::disallowed_methods, clippy::print_stdout, clippy::print_stderr)]

// The module of the test kit in `files` says the same as in the test kit.
#[cfg(test)]
extern crate self as flow_exporter;

pub mod app;
pub mod asn;
pub mod check;
pub mod cli;
pub mod clock;
pub mod config;
pub mod demo;
pub mod diagnosis;
pub mod files;
pub mod flow;
pub mod health;
mod hex;
pub mod journal;
pub mod ledger;
pub mod log;
pub mod log_limit;
mod mask;
pub mod metrics;
pub mod names;
pub mod nearest;
pub mod pipeline;
pub mod probe;
mod process;
pub mod publish;
pub mod reload;
pub mod schema;
mod slots;
pub mod source;
pub mod state;
pub mod state_dir;
pub mod text_file;
pub mod threads;
pub mod traffic;
pub mod units;
