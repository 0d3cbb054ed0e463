//! The headers of a packet, from as many of its first bytes as there are.
//!
//! Reads the outermost IP header: of packets in tunnels (GRE, IP in IP, VXLAN), those who carry them
//! are the ends. Any bytes are taken; each step goes forward, so there is an end to all.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What the headers of an IP packet say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet {
    /// Where it comes from.
    pub source: IpAddr,
    /// Where it goes.
    pub destination: IpAddr,
    /// What is in it, by its number at IANA; `None` if the bytes end within extension headers.
    pub protocol: Option<u8>,
    /// Ports of source and destination; `None` for protocols without ports, for later fragments,
    /// and if the bytes end before them.
    pub ports: Option<(u16, u16)>,
    /// The last byte of a TCP header's flags; `None` where it isn't there.
    pub tcp_flags: Option<u8>,
    /// DSCP and ECN.
    pub traffic_class: u8,
    /// Its length with the IP header, in bytes.
    pub length: u32,
    /// The outermost VLAN; `None` if it has none.
    pub vlan: Option<u16>,
    /// Which part of a larger packet it is; `None` if it is whole.
    pub fragment: Option<Fragment>,
    /// Where the IP header begins in the bytes that were read.
    pub start: usize,
    /// Where what is behind the IP headers begins in the bytes that were read. It may be behind their
    /// end.
    pub payload: usize,
}

/// Which part of a larger packet a fragment is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fragment {
    /// What all fragments of the packet share.
    pub id: u32,
    /// Where its payload belongs in that of the packet, in bytes.
    pub offset: u16,
    /// Whether another one follows it.
    pub more: bool,
}

/// Why there are no headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoPacket {
    /// What is carried is not IP.
    NotIp,
    /// The bytes end before the end of the IP header.
    Short,
    /// An IP header contradicts itself.
    Malformed,
}

/// What a frame is carried in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Within {
    Nothing,
    /// An MPLS packet. Frames in it are not searched for another one: so there is no recursion.
    Mpls,
}

const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
const MPLS: [u16; 2] = [0x8847, 0x8848];
const VLAN: [u16; 4] = [0x8100, 0x88a8, 0x9100, 0x9200];
const PPPOE_SESSION: u16 = 0x8864;
/// Smaller numbers in the place of an Ethernet type are the length of an 802.3 frame.
const LEAST_ETHERNET_TYPE: u16 = 0x0600;

const HOP_BY_HOP: u8 = 0;
/// The protocol TCP.
pub(super) const TCP: u8 = 6;
/// The protocol UDP.
pub const UDP: u8 = 17;
const DCCP: u8 = 33;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
const DESTINATION_OPTIONS: u8 = 60;
const SCTP: u8 = 132;
const MOBILITY: u8 = 135;
const UDP_LITE: u8 = 136;
const HOST_IDENTITY: u8 = 139;
const SHIM6: u8 = 140;

/// Whether packets of this protocol have ports.
pub(super) fn has_ports(protocol: u8) -> bool {
    matches!(protocol, TCP | UDP | DCCP | SCTP | UDP_LITE)
}

/// The bytes of a packet.
#[derive(Clone, Copy)]
struct Bytes<'b> {
    /// The first bytes of the packet.
    bytes: &'b [u8],
    /// Its whole length, which stands for a length of zero in IP headers: some systems cut packets
    /// into segments only behind the place where they are sampled.
    length: u32,
}

/// Reads an Ethernet frame of this length.
pub fn ethernet(bytes: &[u8], length: u32) -> Result<Packet, NoPacket> {
    Bytes { bytes, length }.ethernet(0, Within::Nothing)
}

/// Reads what follows an Ethernet type.
pub fn of_ethernet_type(ty: u16, bytes: &[u8], length: u32) -> Result<Packet, NoPacket> {
    Bytes { bytes, length }.of_type(ty, 0, Within::Nothing)
}

/// Reads an IP packet.
pub fn ip(bytes: &[u8], length: u32) -> Result<Packet, NoPacket> {
    Bytes { bytes, length }.ip(0)
}

/// Reads an MPLS packet, from its first label on.
pub fn mpls(bytes: &[u8], length: u32) -> Result<Packet, NoPacket> {
    Bytes { bytes, length }.mpls(0)
}

/// Reads a PPP frame, with HDLC's address and control or without.
pub fn ppp(bytes: &[u8], length: u32) -> Result<Packet, NoPacket> {
    let at = if bytes.starts_with(&[0xff, 0x03]) { 2 } else { 0 };
    Bytes { bytes, length }.ppp(at, Within::Nothing)
}

impl Bytes<'_> {
    fn array<const N: usize>(self, at: usize) -> Option<[u8; N]> {
        self.bytes.get(at..at.checked_add(N)?)?.try_into().ok()
    }

    fn u16(self, at: usize) -> Result<u16, NoPacket> {
        self.array(at).map(u16::from_be_bytes).ok_or(NoPacket::Short)
    }

    fn u32(self, at: usize) -> Result<u32, NoPacket> {
        self.array(at).map(u32::from_be_bytes).ok_or(NoPacket::Short)
    }

    fn ethernet(self, at: usize, within: Within) -> Result<Packet, NoPacket> {
        let ty = self.u16(at + 12)?;
        if ty >= LEAST_ETHERNET_TYPE {
            return self.of_type(ty, at + 14, within);
        }
        self.llc(at + 14, within)
    }

    /// What an 802.3 frame carries.
    fn llc(self, at: usize, within: Within) -> Result<Packet, NoPacket> {
        match self.array(at) {
            // SNAP, with the number of Ethernet or of its bridges in front of the type.
            Some([0xaa, 0xaa, 0x03, 0, 0, 0 | 0xf8]) => {
                self.of_type(self.u16(at + 6)?, at + 8, within)
            }
            Some([0x06, 0x06, 0x03, ..]) => self.ip(at + 3),
            Some(_) => Err(NoPacket::NotIp),
            None => Err(NoPacket::Short),
        }
    }

    fn of_type(self, mut ty: u16, mut at: usize, within: Within) -> Result<Packet, NoPacket> {
        let mut vlan = None;
        while VLAN.contains(&ty) {
            // Zero stands for a priority without a VLAN.
            let id = Some(self.u16(at)? & 0xfff).filter(|&id| id != 0);
            vlan = vlan.or(id);
            ty = self.u16(at + 2)?;
            at += 4;
        }
        let packet = match ty {
            IPV4 => self.ipv4(at),
            IPV6 => self.ipv6(at),
            PPPOE_SESSION => self.ppp(at + 6, within),
            _ if MPLS.contains(&ty) && within == Within::Nothing => self.mpls(at),
            // As the length of an 802.3 frame behind a VLAN.
            _ if ty < LEAST_ETHERNET_TYPE => self.llc(at, within),
            _ => Err(NoPacket::NotIp),
        }?;
        Ok(Packet { vlan: vlan.or(packet.vlan), ..packet })
    }

    fn ppp(self, at: usize, within: Within) -> Result<Packet, NoPacket> {
        // A protocol's first byte is even and may be left out if it is zero; its last byte is odd.
        let [first, second] = self.u16(at)?.to_be_bytes();
        let (protocol, at) = match first & 1 {
            0 => (u16::from_be_bytes([first, second]), at + 2),
            _ => (first.into(), at + 1),
        };
        match protocol {
            0x0021 => self.ipv4(at),
            0x0057 => self.ipv6(at),
            0x0281 if within == Within::Nothing => self.mpls(at),
            _ => Err(NoPacket::NotIp),
        }
    }

    fn mpls(self, mut at: usize) -> Result<Packet, NoPacket> {
        let label = loop {
            let entry = self.u32(at)?;
            at += 4;
            if entry & 0x100 != 0 {
                break entry >> 12;
            }
        };
        match label {
            // The explicit null labels say what follows.
            0 => return self.ipv4(at),
            2 => return self.ipv6(at),
            _ => {}
        }
        // Nothing else says what follows. It is IP if it begins with a version of IP; a pseudowire's
        // control word, in front of an Ethernet frame, if it begins with 0; or else a frame. But the
        // address that a frame begins with may look like any of these: so IPv4 has to have a right
        // checksum, IPv6 to fit, and no frame to be there in which IP is found.
        let first = self.bytes.get(at).ok_or(NoPacket::Short)? >> 4;
        if first == 4 && self.is_checksum_right(at) {
            return self.ipv4(at);
        }
        let frame = self.ethernet(at, Within::Mpls);
        let frame =
            if first == 0 { frame.or_else(|_| self.ethernet(at + 4, Within::Mpls)) } else { frame };
        match (frame, first) {
            (Err(_), 6) => {
                let packet = self.ipv6(at)?;
                let fits = at as u32 + packet.length <= self.length;
                if fits { Ok(packet) } else { Err(NoPacket::NotIp) }
            }
            (frame, _) => frame,
        }
    }

    fn ip(self, at: usize) -> Result<Packet, NoPacket> {
        match self.bytes.get(at).ok_or(NoPacket::Short)? >> 4 {
            4 => self.ipv4(at),
            6 => self.ipv6(at),
            _ => Err(NoPacket::NotIp),
        }
    }

    fn ipv4(self, at: usize) -> Result<Packet, NoPacket> {
        let header: [u8; 20] = self.array(at).ok_or(NoPacket::Short)?;
        let [b0, traffic_class, l0, l1, i0, i1, f0, f1, _, protocol, _, _, addresses @ ..] = header;
        let header_length = usize::from(b0 & 0xf) * 4;
        let length = u16::from_be_bytes([l0, l1]);
        let fits = length == 0 || usize::from(length) >= header_length;
        if b0 >> 4 != 4 || header_length < header.len() || !fits {
            return Err(NoPacket::Malformed);
        }
        let [s0, s1, s2, s3, d0, d1, d2, d3] = addresses;
        let flags = u16::from_be_bytes([f0, f1]);
        let fragment = Fragment {
            id: u16::from_be_bytes([i0, i1]).into(),
            offset: (flags & 0x1fff) * 8,
            more: flags & 0x2000 != 0,
        };
        let packet = Packet {
            source: Ipv4Addr::new(s0, s1, s2, s3).into(),
            destination: Ipv4Addr::new(d0, d1, d2, d3).into(),
            protocol: Some(protocol),
            ports: None,
            tcp_flags: None,
            traffic_class,
            length: self.length_or_rest(length.into(), at, header_length),
            vlan: None,
            fragment: (flags & 0x3fff != 0).then_some(fragment),
            start: at,
            payload: at + header_length,
        };
        Ok(self.with_transport(packet))
    }

    /// Whether there is an IPv4 header as a whole, and its checksum is right.
    fn is_checksum_right(self, at: usize) -> bool {
        let header_length = usize::from(self.bytes[at] & 0xf) * 4;
        let Some(header) = self.bytes.get(at..at + header_length) else { return false };
        let words = header.chunks_exact(2).map(|pair| u32::from_be_bytes([0, 0, pair[0], pair[1]]));
        let sum: u32 = words.sum();
        (sum & 0xffff) + (sum >> 16) == 0xffff
    }

    fn ipv6(self, at: usize) -> Result<Packet, NoPacket> {
        const HEADER: usize = 40;
        let head = self.u32(at)?;
        if head >> 28 != 6 {
            return Err(NoPacket::Malformed);
        }
        let address = |at| self.array(at).map(Ipv6Addr::from).ok_or(NoPacket::Short);
        let (source, destination) = (address(at + 8)?, address(at + 24)?);
        let length = match u32::from(self.u16(at + 4)?) {
            0 => 0,
            payload => payload + HEADER as u32,
        };
        let packet = Packet {
            source: source.into(),
            destination: destination.into(),
            protocol: None,
            ports: None,
            tcp_flags: None,
            traffic_class: (head >> 20) as u8,
            length: self.length_or_rest(length, at, HEADER),
            vlan: None,
            fragment: None,
            start: at,
            payload: at + HEADER,
        };
        Ok(self.with_extensions(packet, self.bytes[at + 6]))
    }

    /// The same with what is found behind the extension headers, the first of which is `next`.
    fn with_extensions(self, mut packet: Packet, mut next: u8) -> Packet {
        loop {
            let at = packet.payload;
            let header: Option<[u8; 2]> = self.array(at);
            let length = match next {
                HOP_BY_HOP | ROUTING | DESTINATION_OPTIONS | MOBILITY | HOST_IDENTITY | SHIM6 => {
                    header.map(|[_, eights]| (usize::from(eights) + 1) * 8)
                }
                AUTHENTICATION => header.map(|[_, fours]| (usize::from(fours) + 2) * 4),
                FRAGMENT => self.array(at).map(|[_, _, o0, o1, id @ ..]: [u8; 8]| {
                    let offset = u16::from_be_bytes([o0, o1]);
                    // Some senders mark packets that are whole as a first fragment without another.
                    packet.fragment = (offset & !6 != 0).then_some(Fragment {
                        id: u32::from_be_bytes(id),
                        offset: offset & !7,
                        more: offset & 1 != 0,
                    });
                    8
                }),
                _ => {
                    packet.protocol = Some(next);
                    return self.with_transport(packet);
                }
            };
            let (Some(length), Some([following, _])) = (length, header) else { return packet };
            packet.payload += length;
            next = following;
            if packet.fragment.is_some_and(|fragment| fragment.offset != 0) {
                // No header follows: this is from the middle of the packet.
                packet.protocol = Some(next);
                return packet;
            }
        }
    }

    /// The same with ports and flags, if they are there.
    fn with_transport(self, mut packet: Packet) -> Packet {
        if packet.fragment.is_some_and(|fragment| fragment.offset != 0) {
            return packet;
        }
        if packet.protocol.is_some_and(has_ports) {
            let ports = self.u32(packet.payload).ok();
            packet.ports = ports.map(|ports| ((ports >> 16) as u16, ports as u16));
        }
        if packet.protocol == Some(TCP) {
            packet.tcp_flags = self.bytes.get(packet.payload + 13).copied();
        }
        packet
    }

    /// The length that an IP header at `at` states, or what is left of the frame if that is zero.
    fn length_or_rest(self, length: u32, at: usize, header_length: usize) -> u32 {
        match length {
            0 => self.length.saturating_sub(at as u32).max(header_length as u32),
            length => length,
        }
    }
}
