//! The two doors: what was counted leaves by a scrape or by remote write.
//!
//! Both read published [`Snapshot`](crate::ledger::Snapshot)s and nothing else.

pub mod pusher;
pub mod remote_write;
