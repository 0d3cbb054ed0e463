//! flow-exporter counts network flows by autonomous system, for Prometheus.
//!
//! Read [`app`] first: it wires the stages in the order in which data passes them. The types that
//! travel between them are [`source::Message`], [`flow::Row`], [`traffic::Counts`], and then
//! [`ledger::Snapshot`] to scrapes, [`journal::Delta`] and [`publish::remote_write::Batch`] to push.
//!
//! These invariants hold everywhere:
//!
//! - A message is neither copied, sent through a channel nor locked between the source's buffer and
//!   the counter.
//! - Readers see a worker's counts only in a published snapshot, so scrape and push can't disagree.
//! - No offset is committed before its counts are published.
//! - Each sample is confirmed, pending, or dropped with a reason; an endpoint has one request under
//!   way at a time.
//! - What can't be decoded never counts as a flow of AS 0: what no series counts is counted by
//!   reason.
//! - The end of a thread or task that counts, publishes or pushes never goes unnoticed
//!   ([`threads`]), and none waits for the reader of the log ([`log`]).
#![warn(clippy::disallowed_methods, clippy::print_stdout, clippy::print_stderr)]

// The module of the test kit in `files` says the same as in the test kit.
#[cfg(test)]
extern crate self as flow_exporter;

pub mod address;
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
pub mod health_check;
mod hex;
pub mod history;
pub mod journal;
pub mod ledger;
pub mod listen_addr;
pub mod log;
pub mod log_limit;
mod mask;
pub mod metrics;
pub mod names;
pub mod nearest;
pub mod notation;
pub mod pipeline;
mod process;
pub mod publish;
pub mod registry;
pub mod reload;
pub mod schema;
mod slots;
pub mod source;
pub mod state;
pub mod state_dir;
pub mod tables;
pub mod text_file;
pub mod threads;
pub mod top;
pub mod traffic;
pub mod units;
pub mod version;
pub mod watched_file;
