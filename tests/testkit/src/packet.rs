//! Packets as they are on the wire, made from the inside to the outside.

use std::net::{Ipv4Addr, Ipv6Addr};

pub const TCP: u8 = 6;
pub const UDP: u8 = 17;

pub const IPV4: u16 = 0x0800;
pub const IPV6: u16 = 0x86dd;
pub const MPLS: u16 = 0x8847;
pub const PPPOE: u16 = 0x8864;
pub const VLAN: u16 = 0x8100;
pub const SERVICE_VLAN: u16 = 0x88a8;

/// An Ethernet frame.
pub fn ethernet(ty: u16, payload: &[u8]) -> Vec<u8> {
    let addresses = [0x02, 0, 0, 0, 0, 0x01, 0x02, 0, 0, 0, 0, 0x02];
    [&addresses[..], &ty.to_be_bytes(), payload].concat()
}

/// What follows the type of a VLAN tag.
pub fn vlan(id: u16, ty: u16, payload: &[u8]) -> Vec<u8> {
    [&(0xe000 | id).to_be_bytes(), &ty.to_be_bytes(), payload].concat()
}

/// An MPLS packet with these labels.
pub fn mpls(labels: &[u32], payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for (place, label) in labels.iter().enumerate() {
        let bottom = u32::from(place + 1 == labels.len());
        out.extend((label << 12 | bottom << 8 | 64).to_be_bytes());
    }
    [&out[..], payload].concat()
}

/// What follows the type of a session of PPP over Ethernet.
pub fn pppoe(protocol: u16, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() + 2) as u16;
    let header = [0x11, 0, 0, 7, (length >> 8) as u8, length as u8];
    [&header[..], &protocol.to_be_bytes(), payload].concat()
}

/// An IPv4 packet. Its checksum is right.
#[derive(Debug, Clone)]
pub struct Ipv4 {
    pub source: Ipv4Addr,
    pub destination: Ipv4Addr,
    pub traffic_class: u8,
    pub id: u16,
    /// The three flags, and the offset in units of eight bytes.
    pub fragment: u16,
    pub options: Vec<u8>,
    pub protocol: u8,
    /// The length that the header states; `None`: the right one.
    pub length: Option<u16>,
}

/// From 192.0.2.1 to 198.51.100.2.
impl Default for Ipv4 {
    fn default() -> Self {
        Ipv4 {
            source: Ipv4Addr::new(192, 0, 2, 1),
            destination: Ipv4Addr::new(198, 51, 100, 2),
            traffic_class: 0xb8,
            id: 77,
            fragment: 0,
            options: Vec::new(),
            protocol: UDP,
            length: None,
        }
    }
}

impl Ipv4 {
    pub fn bytes(&self, payload: &[u8]) -> Vec<u8> {
        let header_length = 20 + self.options.len();
        let length = self.length.unwrap_or((header_length + payload.len()) as u16);
        let mut out = vec![0x40 | (header_length / 4) as u8, self.traffic_class];
        for number in [length, self.id, self.fragment] {
            out.extend(number.to_be_bytes());
        }
        out.extend([64, self.protocol, 0, 0]);
        out.extend(self.source.octets());
        out.extend(self.destination.octets());
        out.extend(&self.options);
        let words = out.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1]));
        let sum: u32 = words.sum();
        let checksum = !((sum & 0xffff) + (sum >> 16)) as u16;
        out[10..12].copy_from_slice(&checksum.to_be_bytes());
        out.extend(payload);
        out
    }
}

/// An IPv6 packet from `2001:db8::1` to `2001:db8::2`, whose first header is `next`.
pub fn ipv6(next: u8, payload: &[u8]) -> Vec<u8> {
    let length = payload.len() as u16;
    let mut out = vec![0x6b, 0x80, 0, 0, (length >> 8) as u8, length as u8, next, 64];
    for last in [1, 2] {
        out.extend(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last).octets());
    }
    [&out[..], payload].concat()
}

/// The beginning of a TCP segment.
pub fn tcp(ports: (u16, u16), flags: u8) -> Vec<u8> {
    let mut out = [ports.0.to_be_bytes(), ports.1.to_be_bytes()].concat();
    out.extend([0, 0, 0, 1, 0, 0, 0, 2, 0x50, flags, 0x20, 0, 0, 0, 0, 0]);
    out
}

/// A UDP datagram.
pub fn udp(ports: (u16, u16), payload: &[u8]) -> Vec<u8> {
    let mut out = [ports.0.to_be_bytes(), ports.1.to_be_bytes()].concat();
    out.extend(((payload.len() + 8) as u16).to_be_bytes());
    out.extend([0, 0]);
    out.extend(payload);
    out
}
