//! flow-exporter counts network flows by autonomous system, for Prometheus.
pub mod asn;
pub mod flow;
pub mod ledger;
pub mod metrics;
pub mod names;
pub mod traffic;
