//! Headers of sampled packets.

use crate::flow::datagram::packet::{
    self, NoPacket, Packet, ethernet, ip, mpls, of_ethernet_type, ppp,
};

/// What the bytes are, by how much the packet was longer, and the bytes: 1 and 2 bytes, and the rest.
pub fn packet(input: &[u8]) {
    let [what, m0, m1, bytes @ ..] = input else { return };
    let length = bytes.len() as u32 + u32::from(u16::from_be_bytes([*m0, *m1]));
    let read = |bytes: &[u8]| match what % 5 {
        0 => ethernet(bytes, length),
        1 => ip(bytes, length),
        2 => mpls(bytes, length),
        3 => ppp(bytes, length),
        _ => of_ethernet_type(0x8100, bytes, length),
    };
    let whole = read(bytes);
    if let Ok(packet) = whole {
        check(bytes, length, &packet);
    }
    // With fewer bytes, less is found, but nothing else. Only of MPLS, nothing says what it carries.
    if what % 5 == 1 {
        let cut = read(&bytes[..bytes.len() / 2]);
        match (whole, cut) {
            (_, Err(NoPacket::Short)) => {}
            (Ok(whole), Ok(cut)) => {
                assert_eq!((whole.source, whole.destination), (cut.source, cut.destination));
                assert_eq!((whole.length, whole.start), (cut.length, cut.start));
                assert!(cut.ports.is_none() || cut.ports == whole.ports);
                assert!(cut.protocol.is_none() || cut.protocol == whole.protocol);
            }
            (whole, cut) => assert_eq!(whole.err(), cut.err()),
        }
    }
}

fn check(bytes: &[u8], length: u32, packet: &Packet) {
    let Packet { protocol, ports, tcp_flags, fragment, start, payload, .. } = *packet;
    let header = if packet.source.is_ipv4() { 20 } else { 40 };
    assert_eq!(packet.source.is_ipv4(), packet.destination.is_ipv4());
    assert!(start + header <= bytes.len(), "a header is there as a whole");
    assert!(payload >= start + header);
    assert!(packet.length >= header as u32);
    assert!(packet.length <= (u16::MAX as u32 + 40).max(length));
    assert!(packet.vlan.is_none_or(|vlan| (1..=0xfff).contains(&vlan)));
    let is_later = fragment.is_some_and(|fragment| fragment.offset != 0);
    assert!(fragment.is_none_or(|fragment| fragment.offset % 8 == 0));
    if let Some((source, destination)) = ports {
        let [source, destination] = [source, destination].map(u16::to_be_bytes);
        assert_eq!(bytes[payload..payload + 4], [source, destination].concat());
        assert!(!is_later);
    }
    if let Some(flags) = tcp_flags {
        assert_eq!((protocol, bytes[payload + 13]), (Some(6), flags));
        assert!(!is_later);
    }
    assert!(protocol == Some(packet::UDP) || protocol != Some(17));
}
