//! From captured packets to the UDP datagrams in them.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
};

use crate::flow::datagram::packet::{self, NoPacket, Packet};

use super::fragments::Fragments;

/// What a capture's packets begin with, by the numbers of tcpdump.org.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Link {
    Ethernet,
    Ip,
    Ppp,
    /// Four bytes of an address family.
    Loopback,
    /// Linux' header for "any" interface, of 16 bytes, with an Ethernet type at the end.
    Cooked,
    /// The newer one, of 20 bytes, with an Ethernet type at the beginning.
    CookedToo,
    Other,
}

/// What is not read of a capture.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Unread {
    /// Packets that are not UDP over IP.
    pub not_udp: u64,
    /// Packets of links that are not known.
    pub unknown_links: u64,
    /// Packets that the capture has only in part.
    pub cut: u64,
    /// Fragments of packets that are not there as a whole.
    pub fragments: u64,
}

/// Finds datagrams, and puts those together that are in fragments.
#[derive(Debug, Default)]
pub(super) struct Datagrams {
    fragments: Fragments,
    pub(super) unread: Unread,
}

impl Link {
    pub(super) fn of(number: i32) -> Self {
        // The upper half says how long a frame's checksum is.
        match number & 0xffff {
            1 => Link::Ethernet,
            12 | 14 | 101 | 228 | 229 => Link::Ip,
            9 | 50 => Link::Ppp,
            0 | 108 => Link::Loopback,
            113 => Link::Cooked,
            276 => Link::CookedToo,
            _ => Link::Other,
        }
    }
}

impl Datagrams {
    /// Hands over the datagram that a packet is, or of which it is the last fragment. The packet was
    /// this long when it was captured.
    pub(super) fn packet(
        &mut self,
        link: Link,
        bytes: &[u8],
        length: u32,
        each: impl FnOnce(SocketAddr, &[u8]),
    ) {
        if link == Link::Other {
            self.unread.unknown_links += 1;
            return;
        }
        let (bytes, packet) = ip_packet(link, bytes, length);
        let packet = match packet {
            Ok(packet) if packet.protocol == Some(packet::UDP) => packet,
            Err(NoPacket::Short) if (bytes.len() as u64) < u64::from(length) => {
                self.unread.cut += 1;
                return;
            }
            _ => {
                self.unread.not_udp += 1;
                return;
            }
        };
        let Some(payload) = bytes.get(packet.payload..packet.start + packet.length as usize) else {
            self.unread.cut += 1;
            return;
        };
        if let Some(fragment) = packet.fragment {
            let whole = self.fragments.add((packet.source, packet.destination), fragment, payload);
            if let Some(whole) = whole {
                self.datagram(packet.source, &whole, each);
            }
        } else {
            self.datagram(packet.source, payload, each);
        }
    }

    fn datagram(&mut self, from: IpAddr, bytes: &[u8], each: impl FnOnce(SocketAddr, &[u8])) {
        match bytes {
            [p0, p1, _, _, l0, l1, _, _, ..] => {
                let length = u16::from_be_bytes([*l0, *l1]);
                if let Some(payload) = bytes.get(8..length.into()) {
                    return each((from, u16::from_be_bytes([*p0, *p1])).into(), payload);
                }
                self.unread.cut += 1;
            }
            _ => self.unread.cut += 1,
        }
    }

    /// What was not read so far, if the capture ends here.
    pub(super) fn unread(&self) -> Unread {
        let fragments = self.unread.fragments + self.fragments.unused();
        Unread { fragments, ..self.unread }
    }
}

/// The IP packet in a captured one, and the bytes in which it is.
fn ip_packet(link: Link, bytes: &[u8], length: u32) -> (&[u8], Result<Packet, NoPacket>) {
    let header = match link {
        Link::Ethernet => return (bytes, packet::ethernet(bytes, length)),
        Link::Ip | Link::Other => 0,
        Link::Ppp => return (bytes, packet::ppp(bytes, length)),
        Link::Loopback => 4,
        Link::Cooked => 16,
        Link::CookedToo => 20,
    };
    let Some((header, rest)) = bytes.split_at_checked(header) else {
        return (bytes, Err(NoPacket::Short));
    };
    let length = length.saturating_sub(header.len() as u32);
    let packet = match (link, header) {
        (Link::Cooked, [.., t0, t1]) | (Link::CookedToo, [t0, t1, ..]) => {
            packet::of_ethernet_type(u16::from_be_bytes([*t0, *t1]), rest, length)
        }
        _ => packet::ip(rest, length),
    };
    (rest, packet)
}

impl fmt::Display for Unread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Unread { not_udp, unknown_links, cut, fragments } = *self;
        let kinds = [
            (not_udp, "not UDP"),
            (unknown_links, "of a kind of link that is not known"),
            (cut, "captured only in part (have tcpdump capture all bytes: -s 0)"),
            (fragments, "fragments without the others"),
        ];
        let mut separator = "";
        for (packets, kind) in kinds.into_iter().filter(|(packets, _)| *packets > 0) {
            write!(f, "{separator}{packets} {kind}")?;
            separator = ", ";
        }
        Ok(())
    }
}
