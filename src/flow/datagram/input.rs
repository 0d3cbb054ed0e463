//! What the decoder takes.

use std::net::{IpAddr, SocketAddr};

use crate::clock::UnixMs;

/// A datagram, wherever it comes from.
#[derive(Debug, Clone, Copy)]
pub struct Datagram<'d> {
    /// What is behind the UDP header.
    pub payload: &'d [u8],
    /// Who sent it: `::ffff:192.0.2.1` is 192.0.2.1.
    pub sender: SocketAddr,
    /// When it arrived.
    pub received: UnixMs,
    /// Whether it comes behind those that its exporter sent before. Otherwise, numbers don't say what
    /// is missing.
    pub is_in_order: bool,
}

impl<'d> Datagram<'d> {
    /// A datagram from `sender`, in order.
    pub fn new(payload: &'d [u8], sender: SocketAddr, received: UnixMs) -> Self {
        let sender = SocketAddr::new(sender.ip().to_canonical(), sender.port());
        Datagram { payload, sender, received, is_in_order: true }
    }

    /// The same, of which those that the exporter sent before may come later.
    #[must_use]
    pub fn in_any_order(self) -> Self {
        Datagram { is_in_order: false, ..self }
    }

    /// The address that the exporter is known by.
    pub(super) fn address(&self) -> IpAddr {
        self.sender.ip().to_canonical()
    }
}
