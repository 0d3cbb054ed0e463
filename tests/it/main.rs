//! Everything that is tested without servers: each stage through its public items, and the program
//! as a child (`program`). One binary, because each would link all of the program again.
//!
//! Tests run side by side in one process. What a process has one of, such as its environment, is a
//! matter of children: the program itself, or this binary started again with the name of one test.

#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]

mod as_names;
mod auth;
mod config;
mod diagnosis;
mod files;
mod http;
mod journal;
mod ledger;
mod pmacct;
mod program;
mod push;
mod queue;
mod records;
mod remote_write;
mod supervision;
mod text;
mod traffic;
