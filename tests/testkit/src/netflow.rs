//! Datagrams of NetFlow v5, and what tests say in those of v9 and IPFIX, which the demo's encoder makes.

use std::net::Ipv4Addr;

pub use flow_exporter::demo::netflow::*;

/// A flow of NetFlow v5.
#[derive(Debug, Clone, Copy)]
pub struct V5Flow {
    pub source: Ipv4Addr,
    pub destination: Ipv4Addr,
    pub interfaces: (u16, u16),
    pub packets: u32,
    pub bytes: u32,
    /// The exporter's uptime at the first and the last packet, in milliseconds.
    pub times: (u32, u32),
    pub ports: (u16, u16),
    pub tcp_flags: u8,
    pub protocol: u8,
    pub traffic_class: u8,
    pub asns: (u16, u16),
    pub masks: (u8, u8),
}

/// Everything differs from zero and from everything else.
impl Default for V5Flow {
    fn default() -> Self {
        V5Flow {
            source: Ipv4Addr::new(192, 0, 2, 1),
            destination: Ipv4Addr::new(198, 51, 100, 2),
            interfaces: (3, 4),
            packets: 5,
            bytes: 600,
            times: (7000, 8000),
            ports: (900, 1000),
            tcp_flags: 0x1b,
            protocol: 6,
            traffic_class: 0xb8,
            asns: (64512, 15169),
            masks: (24, 25),
        }
    }
}

/// A datagram of NetFlow v5.
#[derive(Debug, Clone)]
pub struct V5 {
    /// Milliseconds since the exporter started.
    pub uptime: u32,
    /// Seconds since 1970.
    pub time: u32,
    /// Flows that were sent before.
    pub sequence: u32,
    pub engine: (u8, u8),
    /// Mode in the two highest bits, rate in the others.
    pub sampling: u16,
    pub flows: Vec<V5Flow>,
}

impl V5 {
    pub fn new(flows: impl IntoIterator<Item = V5Flow>) -> Self {
        V5 {
            uptime: 100_000,
            time: 1_700_000_000,
            sequence: 0,
            engine: (0, 0),
            sampling: 0,
            flows: flows.into_iter().collect(),
        }
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut out = vec![0, 5];
        out.extend((self.flows.len() as u16).to_be_bytes());
        for number in [self.uptime, self.time, 0, self.sequence] {
            out.extend(number.to_be_bytes());
        }
        out.extend([self.engine.0, self.engine.1]);
        out.extend(self.sampling.to_be_bytes());
        for flow in &self.flows {
            out.extend(flow.source.octets());
            out.extend(flow.destination.octets());
            out.extend([10, 0, 0, 1]);
            out.extend(flow.interfaces.0.to_be_bytes());
            out.extend(flow.interfaces.1.to_be_bytes());
            for number in [flow.packets, flow.bytes, flow.times.0, flow.times.1] {
                out.extend(number.to_be_bytes());
            }
            out.extend(flow.ports.0.to_be_bytes());
            out.extend(flow.ports.1.to_be_bytes());
            out.extend([0, flow.tcp_flags, flow.protocol, flow.traffic_class]);
            out.extend(flow.asns.0.to_be_bytes());
            out.extend(flow.asns.1.to_be_bytes());
            out.extend([flow.masks.0, flow.masks.1, 0, 0]);
        }
        out
    }
}

/// What an edge router says of a flow: 20 fields of IPv4, as IOS XE does. Numbers and lengths.
pub const EDGE: [(u16, u16); 20] = [
    (8, 4),
    (12, 4),
    (15, 4),
    (10, 4),
    (14, 4),
    (1, 8),
    (2, 8),
    (22, 4),
    (21, 4),
    (7, 2),
    (11, 2),
    (4, 1),
    (5, 1),
    (6, 1),
    (16, 4),
    (17, 4),
    (9, 1),
    (13, 1),
    (61, 1),
    (48, 1),
];
