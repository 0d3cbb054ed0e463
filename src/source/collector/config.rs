//! What the collector needs to know.

use crate::{listen_addr::ListenAddr, traffic::AddressSet};

/// Which datagrams are collected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CollectorConfig {
    /// The addresses to listen on.
    pub listen: Vec<ListenAddr>,
    /// Senders whose datagrams are taken; all others are counted and dropped. `None` for everybody.
    pub allow: Option<AddressSet>,
    /// The size of each socket's receive buffer, in bytes.
    pub buffer_bytes: usize,
    /// Datagrams belong to the next sample, whenever they came: another source says when samples are
    /// due.
    pub by_arrival: bool,
}
