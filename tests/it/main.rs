//! Tests without servers: of each stage through its public API, and of the program as a child
//! process (`program`). They are one binary, because each binary would link the whole program
//! again.
//!
//! Tests run in parallel in one process. A test that depends on global state, such as the
//! environment or the size of the disk, uses a child: the program, or this binary with the name of
//! one test.

#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]

mod address;
mod as_names;
mod auth;
mod captures;
mod check;
mod config;
mod datagrams;
mod diagnosis;
mod direction;
mod files;
mod formats;
mod history;
mod http;
mod interfaces;
mod journal;
mod ledger;
mod origins;
mod pmacct;
mod program;
mod push;
mod queue;
mod records;
mod remote_write;
mod sampling;
mod sinks;
mod supervision;
mod tables;
mod text;
mod top;
mod traffic;
mod views;
