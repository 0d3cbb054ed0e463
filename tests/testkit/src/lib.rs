//! What the tests and benchmarks of flow-exporter share.
//!
//! | for | modules |
//! |---|---|
//! | the stages, in this process | [`receiver`], [`log`], [`accounting`], [`fake_ledger`], [`definitions`], [`counting`], [`snapshots`], [`faults`], [`certificates`] |
//! | the program, as a child | [`exporter`], [`child`], [`page`], [`http`], [`usage`] |
//! | Kafka and flows | [`cluster`] (librdkafka's mock), [`registry`], [`produce`], [`series`], [`netflow`], [`sflow`], [`packet`], [`capture`] |
//! | real servers (`scripts/e2e`) | [`servers`], [`query`] |
//! | what is shipped for Prometheus and Grafana | [`monitoring`] |
//!
//! Helpers panic on errors: a step that fails is a test that fails.

#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]
#![allow(missing_debug_implementations, reason = "handles of running things, which no test prints")]
#![allow(
    clippy::len_without_is_empty,
    clippy::new_without_default,
    clippy::return_self_not_must_use,
    reason = "conveniences of a public API, which tests don't need"
)]

pub mod accounting;
pub mod capture;
pub mod certificates;
pub mod child;
pub mod cluster;
pub mod counting;
pub mod definitions;
pub mod exporter;
pub mod fake_ledger;
pub mod faults;
pub mod http;
pub mod log;
pub mod monitoring;
pub mod netflow;
pub mod packet;
pub mod page;
pub mod produce;
pub mod query;
pub mod receiver;
pub mod registry;
pub mod series;
pub mod servers;
pub mod sflow;
pub mod snapshots;
pub mod usage;
