//! flow-exporter counts network flows by autonomous system, for Prometheus.
pub mod asn;
pub mod demo;
pub mod flow;
pub mod ledger;
pub mod metrics;
pub mod traffic;
