//! The program from outside, without servers: on librdkafka's mock cluster, which is quick and fails
//! on command, and on files. What only real servers can show is in `tests/e2e`.

#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]

// These serve the tests with real servers as well, so not all of them is used here.
#[allow(dead_code)]
#[path = "../e2e/exporter.rs"]
mod exporter;
#[allow(dead_code)]
#[path = "../e2e/http.rs"]
mod http;
#[allow(dead_code)]
#[path = "../e2e/page.rs"]
mod page;
#[allow(dead_code)]
#[path = "../e2e/produce.rs"]
mod produce;
#[allow(dead_code)]
#[path = "../e2e/query.rs"]
mod query;
#[allow(dead_code)]
#[path = "../e2e/series.rs"]
mod series;
#[allow(dead_code, unused_imports)]
#[path = "../e2e/servers/mod.rs"]
mod servers;

mod bounds;
mod child;
mod clock;
mod cluster;
mod crash;
mod death;
mod diagnosis;
mod flags;
mod health;
mod identity;
mod input;
mod kafka;
mod log;
mod pipes;
mod positions;
mod readers;
mod rights;
mod secrets;
mod state;
mod time;
