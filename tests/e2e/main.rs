//! Tests with real servers: Apache Kafka, pmacctd, goflow2, softflowd, fprobe, Prometheus and VictoriaMetrics,
//! with the program between them as users run it. `scripts/e2e` installs what they need and runs
//! them. Ignored tests need newer versions of the servers, and Mimir, which `scripts/e2e all` builds in minutes.
//!
//! Each test starts its own servers (`testkit::servers`), produces known flows
//! (`testkit::produce`), and compares all series (`testkit::series`) on the page (`testkit::page`)
//! and in databases (`testkit::query`) with what it produced.

mod history;
mod hosts;
mod link;

mod backlog;
mod captures;
mod collector;
mod compose;
mod crash;
mod dashboards;
mod databases;
mod disk;
mod documents;
mod drop_in;
mod goflow2;
mod kafka;
mod labels;
mod outage;
mod page;
mod pmacct;
mod positions;
mod receivers;
mod rights;
mod routes;
mod security;
mod views;
