//! flow-exporter counts network flows by autonomous system, for Prometheus.
pub mod asn;
pub mod cli;
pub mod flow;
pub mod health;
pub mod journal;
pub mod ledger;
pub mod log_limit;
pub mod metrics;
pub mod names;
pub mod publish;
pub mod source;
pub mod traffic;
