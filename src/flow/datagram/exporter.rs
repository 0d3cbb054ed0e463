//! What is known of an exporter.

use std::net::IpAddr;

use crate::clock::UnixMs;

use super::{
    activity::Activity,
    known::Known,
    names::Names,
    netflow::{ExporterSnapshot, NetFlow, Size},
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
    /// Whether it has said something new since [`Datagrams::take_news`](super::Datagrams::take_news).
    pub(super) has_news: bool,
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
            has_news: false,
        }
    }

    /// Adds what it said in templates and options to a snapshot.
    pub(super) fn save_definitions(&self, to: &mut ExporterSnapshot) {
        self.netflow.save_definitions(&self.names, to);
    }

    /// If anything has changed but sequence numbers: what is known takes, before and now.
    pub(super) fn take_change(&mut self) -> Option<(Size, Size)> {
        self.netflow.take_change(&mut self.names)
    }
}
