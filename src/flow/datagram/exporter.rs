//! What is known of an exporter.

use std::net::IpAddr;

use crate::clock::UnixMs;

use super::{activity::Activity, known::Known, netflow::NetFlow, settings::Settings};

/// What is known of an exporter, by the address that it sends from.
#[derive(Debug)]
pub(super) struct Exporter {
    pub(super) known: Known,
    /// What it said of its NetFlow.
    pub(super) netflow: NetFlow,
    pub(super) activity: Activity,
    /// When its last datagram arrived.
    pub(super) last_received: UnixMs,
}

impl Exporter {
    /// An exporter that has said nothing yet.
    pub(super) fn new(address: IpAddr, settings: &Settings) -> Self {
        Exporter {
            known: Known::new(address, settings),
            netflow: NetFlow::default(),
            activity: Activity::default(),
            last_received: UnixMs::MIN,
        }
    }
}
