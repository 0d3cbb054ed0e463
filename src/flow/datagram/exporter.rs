//! What is known of an exporter.

use std::net::IpAddr;

use crate::clock::UnixMs;

use super::{
    activity::Activity,
    known::Known,
    names::Names,
    netflow::{NetFlow, Size},
    settings::Settings,
};

/// What is known of an exporter, by the address that it sends from.
#[derive(Debug)]
pub(super) struct Exporter {
    pub(super) known: Known,
    /// What it calls its interfaces and others.
    pub(super) names: Names,
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
            names: Names::default(),
            netflow: NetFlow::default(),
            activity: Activity::default(),
            last_received: UnixMs::MIN,
        }
    }

    /// If anything has changed but sequence numbers: what is known takes, before and now.
    pub(super) fn take_change(&mut self) -> Option<(Size, Size)> {
        self.netflow.take_change(&mut self.names)
    }
}
