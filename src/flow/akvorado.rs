//! What akvorado's inlet writes to Kafka: a datagram as it arrived, in a protobuf message
//! (`common/pb/rawflow.proto`).

use std::net::{IpAddr, SocketAddr};

use crate::clock::UnixMs;

use super::{
    datagram::Datagram,
    protobuf::{Fields, Wire, WireError},
};

/// The fields that are used.
#[derive(Debug, Clone, Copy, Default)]
struct RawFlow<'p> {
    /// In seconds.
    received: u64,
    payload: Option<&'p [u8]>,
    source: Option<IpAddr>,
}

impl<'p> RawFlow<'p> {
    fn read(message: &'p [u8]) -> Result<Self, WireError> {
        let mut flow = RawFlow::default();
        let mut fields = Fields(message);
        while let Some(field) = fields.next()? {
            match field {
                (1, Wire::Number(seconds)) => flow.received = seconds,
                (2, Wire::Bytes(payload)) => flow.payload = Some(payload),
                (3, Wire::Bytes(source)) => flow.source = address(source),
                _ => {}
            }
        }
        Ok(flow)
    }
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let v6 = <[u8; 16]>::try_from(bytes).map(IpAddr::from);
    v6.or_else(|_| <[u8; 4]>::try_from(bytes).map(IpAddr::from)).ok()
}

/// The datagram in a message; `None` if it has none. The message does not have the sender's port, and
/// those of an exporter are in any partition.
pub(crate) fn datagram(message: &[u8]) -> Option<Datagram<'_>> {
    let RawFlow { received, payload, source } = RawFlow::read(message).ok()?;
    let received = i64::try_from(received).unwrap_or_default().saturating_mul(1000);
    let sender = SocketAddr::new(source?, 0);
    Some(Datagram::new(payload?, sender, UnixMs::new(received)).in_any_order())
}

/// Whether a message has a datagram of a protocol that is known.
pub(super) fn is_mine(message: &[u8]) -> bool {
    let is_known = |payload: &[u8]| {
        matches!(payload, [0, 5 | 9 | 10, ..] | [0, 0, 0, 5, ..]) && payload.len() >= 16
    };
    RawFlow::read(message)
        .is_ok_and(|flow| flow.source.is_some() && flow.payload.is_some_and(is_known))
}
