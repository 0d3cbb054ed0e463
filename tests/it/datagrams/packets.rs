//! What is read from the headers of packets.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use flow_exporter::flow::datagram::packet::{
    Fragment, NoPacket, Packet, ethernet, ip, mpls, of_ethernet_type, ppp,
};
use proptest::prelude::*;
use testkit::packet::{
    self, IPV4, IPV6, Ipv4, MPLS, PPPOE, SERVICE_VLAN, TCP, UDP, VLAN, ipv6, pppoe, tcp, udp, vlan,
};

/// The packet that most tests carry in something.
fn inner() -> Vec<u8> {
    Ipv4::default().bytes(&udp((53, 4000), &[7; 100]))
}

fn is_inner(packet: Result<Packet, NoPacket>) -> Option<u16> {
    let packet = packet.expect("there is an IP packet");
    let addresses = (Ipv4Addr::new(192, 0, 2, 1).into(), Ipv4Addr::new(198, 51, 100, 2).into());
    assert_eq!((packet.source, packet.destination), addresses);
    assert_eq!((packet.protocol, packet.ports), (Some(UDP), Some((53, 4000))));
    assert_eq!((packet.length, packet.traffic_class), (128, 0xb8));
    assert_eq!((packet.tcp_flags, packet.fragment), (None, None));
    packet.vlan
}

fn of_frame(frame: &[u8]) -> Result<Packet, NoPacket> {
    ethernet(frame, frame.len() as u32)
}

#[test]
fn ip_is_found_behind_what_ethernet_puts_in_front_of_it() {
    let inner = inner();
    let tagged = |ty, payload: &[u8]| vlan(20, ty, payload);
    let snap = |oui: [u8; 3]| [&[0xaa, 0xaa, 3][..], &oui, &IPV4.to_be_bytes(), &inner].concat();
    let (snap, bridged) = (snap([0, 0, 0]), snap([0, 0, 0xf8]));
    for (ty, payload, of_vlan) in [
        (IPV4, inner.clone(), None),
        (VLAN, tagged(IPV4, &inner), Some(20)),
        (SERVICE_VLAN, vlan(10, VLAN, &tagged(IPV4, &inner)), Some(10)),
        (0x9100, vlan(10, 0x9100, &tagged(IPV4, &inner)), Some(10)),
        // VLAN 0 is a priority alone.
        (VLAN, vlan(0, IPV4, &inner), None),
        (VLAN, vlan(0, VLAN, &tagged(IPV4, &inner)), Some(20)),
        (PPPOE, pppoe(0x0021, &inner), None),
        (VLAN, tagged(PPPOE, &pppoe(0x0021, &inner)), Some(20)),
        (snap.len() as u16, snap.clone(), None),
        (VLAN, tagged(snap.len() as u16, &snap), Some(20)),
        (bridged.len() as u16, bridged, None),
        (100, [&[6, 6, 3][..], &inner].concat(), None),
        (MPLS, packet::mpls(&[100, 200], &inner), None),
        (VLAN, tagged(MPLS, &packet::mpls(&[100], &inner)), Some(20)),
    ] {
        let frame = packet::ethernet(ty, &payload);
        assert_eq!(is_inner(of_frame(&frame)), of_vlan, "{ty:#x} {payload:x?}");
        let behind = of_ethernet_type(ty, &payload, payload.len() as u32);
        assert_eq!(is_inner(behind), of_vlan, "{ty:#x} {payload:x?}");
    }
    assert_eq!(is_inner(ip(&inner, 0)), None);
}

#[test]
fn ppp_has_addresses_and_short_protocols_at_times() {
    let inner = inner();
    for header in [&[0x00, 0x21][..], &[0x21], &[0xff, 0x03, 0x00, 0x21], &[0xff, 0x03, 0x21]] {
        assert_eq!(is_inner(ppp(&[header, &inner].concat(), 200)), None);
    }
    let labels = packet::mpls(&[7], &inner);
    assert_eq!(is_inner(ppp(&[&[0x02, 0x81][..], &labels].concat(), 200)), None);
    let six = [&[0x00, 0x57][..], &ipv6(59, &[])].concat();
    assert_eq!(ppp(&six, 200).unwrap().protocol, Some(59));
    assert_eq!(ppp(&[0xc0, 0x21, 1, 1], 200), Err(NoPacket::NotIp));
}

#[test]
fn what_mpls_carries_is_guessed_from_its_first_bytes() {
    let inner = inner();
    let of = |labels: &[u32], payload: &[u8]| {
        let bytes = packet::mpls(labels, payload);
        mpls(&bytes, bytes.len() as u32)
    };
    let six = ipv6(UDP, &udp((53, 4000), &[]));
    assert_eq!(is_inner(of(&[16], &inner)), None);
    assert_eq!(is_inner(of(&[16, 17, 18, 19, 20, 21, 22], &inner)), None);
    assert_eq!(of(&[16], &six).unwrap().ports, Some((53, 4000)));
    // Explicit null labels.
    assert_eq!(is_inner(of(&[16, 0], &inner)), None);
    assert_eq!(of(&[2], &six).unwrap().ports, Some((53, 4000)));

    // Ethernet, with a control word and without, behind addresses that may look like anything.
    let word = [0, 0, 0x12, 0x34];
    for first in [0x00, 0x02, 0x40, 0x45, 0x60, 0x6c, 0xfe] {
        let mut frame = packet::ethernet(VLAN, &vlan(9, IPV4, &inner));
        frame[0] = first;
        assert_eq!(is_inner(of(&[16], &frame)), Some(9), "{first:#x}");
        assert_eq!(is_inner(of(&[16], &[&word[..], &frame].concat())), Some(9), "{first:#x}");
        // What is not IP isn't taken for it.
        let mut arp = packet::ethernet(0x0806, &[1; 46]);
        arp[0] = first;
        arp[4] = 0xff;
        assert!(of(&[16], &arp).is_err(), "{first:#x}");
    }
    // No bottom of the stack.
    assert_eq!(mpls(&[0; 64], 64), Err(NoPacket::Short));
}

#[test]
fn frames_in_mpls_are_not_searched_for_mpls() {
    let mut bytes = inner();
    for _ in 0..1000 {
        bytes = packet::mpls(&[16], &packet::ethernet(MPLS, &bytes));
    }
    assert_eq!(mpls(&bytes, 0), Err(NoPacket::NotIp));
}

#[test]
fn ports_and_flags_are_those_of_protocols_that_have_them() {
    let of = |protocol, payload: &[u8]| {
        let packet = Ipv4 { protocol, ..Ipv4::default() }.bytes(payload);
        let packet = ip(&packet, 0).unwrap();
        (packet.protocol, packet.ports, packet.tcp_flags)
    };
    let ports = Some((443, 50_000));
    let segment = tcp((443, 50_000), 0x1b);
    assert_eq!(of(TCP, &segment), (Some(TCP), ports, Some(0x1b)));
    // The bytes end before the flags, and before the ports.
    assert_eq!(of(TCP, &segment[..13]), (Some(TCP), ports, None));
    assert_eq!(of(TCP, &segment[..3]), (Some(TCP), None, None));
    for protocol in [33, 132, 136] {
        assert_eq!(of(protocol, &segment), (Some(protocol), ports, None));
    }
    for protocol in [1, 47, 50] {
        assert_eq!(of(protocol, &segment), (Some(protocol), None, None));
    }
    let options = Ipv4 { options: vec![1; 40], ..Ipv4::default() }.bytes(&udp((53, 4000), &[]));
    assert_eq!(ip(&options, 0).unwrap().ports, Some((53, 4000)));
}

#[test]
fn later_fragments_have_no_ports() {
    let more = 0x2000;
    for (fragment, offset, more, has_ports) in
        [(more, 0, true, true), (0x20b9, 1480, true, false), (370, 2960, false, false)]
    {
        let packet = Ipv4 { fragment, ..Ipv4::default() }.bytes(&udp((53, 4000), &[]));
        let packet = ip(&packet, 0).unwrap();
        assert_eq!(packet.fragment, Some(Fragment { id: 77, offset, more }));
        assert_eq!(packet.ports.is_some(), has_ports, "{fragment}");
    }
    let unfragmented = Ipv4 { fragment: 0x4000, ..Ipv4::default() }.bytes(&[]);
    assert_eq!(ip(&unfragmented, 0).unwrap().fragment, None);
}

#[test]
fn extension_headers_of_ipv6_are_walked_to_what_is_behind_them() {
    let segment = tcp((443, 50_000), 2);
    let hop = [&[43, 0, 1, 4, 0, 0, 0, 0][..]].concat();
    let routing = [60, 2, 4, 1, 0, 0, 0, 0].into_iter().chain([0; 16]).collect::<Vec<_>>();
    let options = vec![51, 0, 1, 4, 0, 0, 0, 0];
    let authentication = [TCP, 4].into_iter().chain([0; 22]).collect::<Vec<_>>();
    let all = [hop, routing, options, authentication, segment.clone()].concat();
    let packet = ip(&ipv6(0, &all), 0).unwrap();
    let addresses = [1, 2].map(|last| IpAddr::from(Ipv6Addr::from(0x2001_0db8_u128 << 96 | last)));
    assert_eq!([packet.source, packet.destination], addresses);
    assert_eq!((packet.protocol, packet.ports), (Some(TCP), Some((443, 50_000))));
    assert_eq!((packet.tcp_flags, packet.traffic_class), (Some(2), 0xb8));
    assert_eq!(packet.length as usize, 40 + all.len());

    let fragment = |offset: u16| {
        let [high, low] = offset.to_be_bytes();
        [&[TCP, 0, high, low, 0, 0, 1, 2][..], &segment].concat()
    };
    let first = ip(&ipv6(44, &fragment(1)), 0).unwrap();
    assert_eq!(first.fragment, Some(Fragment { id: 258, offset: 0, more: true }));
    assert_eq!(first.ports, Some((443, 50_000)));
    let last = ip(&ipv6(44, &fragment(1448)), 0).unwrap();
    assert_eq!(last.fragment, Some(Fragment { id: 258, offset: 1448, more: false }));
    assert_eq!((last.protocol, last.ports), (Some(TCP), None));
    let whole = ip(&ipv6(44, &fragment(0)), 0).unwrap();
    assert_eq!((whole.fragment, whole.ports), (None, Some((443, 50_000))));

    // The bytes end within the headers, the last of which begins at 80 and names what follows it.
    for bytes in 40..40 + all.len() - segment.len() {
        let short = ip(&ipv6(0, &all)[..bytes], 0).unwrap();
        let protocol = (bytes >= 82).then_some(TCP);
        assert_eq!((short.protocol, short.ports), (protocol, None), "{bytes}");
    }
}

#[test]
fn a_length_of_zero_is_what_is_left_of_the_frame() {
    let segment = udp((53, 4000), &[]);
    let packet = Ipv4 { length: Some(0), ..Ipv4::default() }.bytes(&segment);
    let frame = packet::ethernet(IPV4, &packet);
    assert_eq!(ethernet(&frame, 9014).unwrap().length, 9000);
    assert_eq!(ethernet(&frame, 0).unwrap().length, 20, "it has a header at least");
    let jumbo = packet::ethernet(IPV6, &ipv6(UDP, &[]));
    assert_eq!(ethernet(&jumbo, 70_014).unwrap().length, 70_000);
    // A frame that is shorter than its packet says is not believed.
    assert_eq!(ip(&inner(), 40).unwrap().length, 128);
}

#[test]
fn tunnels_are_left_closed() {
    for (protocol, payload) in [(4, inner()), (47, [&[0, 0, 8, 0][..], &inner()].concat())] {
        let outer = Ipv4 { protocol, source: Ipv4Addr::new(10, 0, 0, 1), ..Ipv4::default() };
        let packet = ip(&outer.bytes(&payload), 0).unwrap();
        assert_eq!(packet.source, Ipv4Addr::new(10, 0, 0, 1));
        assert_eq!((packet.protocol, packet.ports), (Some(protocol), None));
    }
}

#[test]
fn what_is_not_ip_or_contradicts_itself_is_refused() {
    for ty in [0x0806, 0x88cc, 0x88e5, 0xffff] {
        assert_eq!(of_frame(&packet::ethernet(ty, &inner())), Err(NoPacket::NotIp), "{ty:#x}");
    }
    let spanning_tree = packet::ethernet(38, &[&[0x42, 0x42, 3][..], &[0; 35]].concat());
    assert_eq!(of_frame(&spanning_tree), Err(NoPacket::NotIp));
    let mut packet = inner();
    packet[0] = 0x44;
    assert_eq!(ip(&packet, 0), Err(NoPacket::Malformed));
    let short = Ipv4 { length: Some(19), ..Ipv4::default() }.bytes(&[]);
    assert_eq!(ip(&short, 0), Err(NoPacket::Malformed));
    assert_eq!(of_frame(&packet::ethernet(IPV6, &inner())), Err(NoPacket::Malformed));
    let frame = packet::ethernet(IPV4, &inner());
    for bytes in 0..34 {
        assert_eq!(ethernet(&frame[..bytes], 142), Err(NoPacket::Short), "{bytes}");
    }
    assert!(ethernet(&frame[..34], 142).is_ok());
}

proptest! {
    #[test]
    fn any_bytes_are_taken(
        bytes in prop::collection::vec(prop_oneof![any::<u8>(), Just(0), Just(0x45)], 0..200),
        ty in prop_oneof![any::<u16>(), Just(VLAN), Just(MPLS), Just(PPPOE), Just(IPV6)],
        length: u32,
    ) {
        for packet in [
            ethernet(&bytes, length),
            of_ethernet_type(ty, &bytes, length),
            ip(&bytes, length),
            mpls(&bytes, length),
            ppp(&bytes, length),
        ]
        .into_iter()
        .flatten()
        {
            prop_assert!(packet.length >= 20);
            prop_assert!(packet.ports.is_none() || packet.payload + 4 <= bytes.len());
        }
    }
}
