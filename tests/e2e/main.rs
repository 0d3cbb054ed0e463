//! Tests with real servers: Apache Kafka, pmacctd, Prometheus and VictoriaMetrics, and the program
//! between them as a user starts it. `scripts/e2e` installs what they need, and runs them.
//!
//! Each test starts servers of its own (`servers`), produces known flows (`produce`), and compares
//! every series (`series`) on the page (`page`) and in the databases (`query`) with what it
//! produced.

mod exporter;
mod http;
mod page;
mod produce;
mod query;
mod series;
mod servers;

mod crash;
mod databases;
mod drop_in;
mod kafka;
mod pmacct;
mod positions;
mod security;
