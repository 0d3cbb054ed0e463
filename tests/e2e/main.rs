//! Tests with real servers: Apache Kafka, pmacctd, Prometheus and VictoriaMetrics, and the program
//! between them as a user starts it. `scripts/e2e` installs what they need, and runs them. Those
//! that are ignored need servers that take minutes to build, newer ones and Mimir: `scripts/e2e all`
//! does.
//!
//! Each test starts servers of its own (`testkit::servers`), produces known flows
//! (`testkit::produce`), and compares every series (`testkit::series`) on the page
//! (`testkit::page`) and in the databases (`testkit::query`) with what it produced.

mod history;
mod link;

mod backlog;
mod compose;
mod crash;
mod databases;
mod disk;
mod drop_in;
mod kafka;
mod outage;
mod pmacct;
mod positions;
mod receivers;
mod rights;
mod security;
