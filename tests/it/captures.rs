//! Captures of datagrams as input.

use std::{fs, net::SocketAddr};

use flow_exporter::source::input::{self, Beginning, Input, Unread};
use proptest::prelude::*;
use testkit::{
    capture::{BEGIN, Pcap, Pcapng},
    packet::{self, IPV4, IPV6, Ipv4, MPLS, PPPOE, TCP, UDP, VLAN, ipv6, pppoe, tcp, udp, vlan},
};

/// A datagram that was read: its sender, its time in milliseconds, where its packet begins, and what
/// is in it.
type Read = (SocketAddr, Option<i64>, i64, Vec<u8>);

fn read(capture: &[u8]) -> std::io::Result<(Vec<Read>, Unread)> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("capture");
    fs::write(&path, capture).unwrap();
    let mut datagrams = Vec::new();
    let found = input::beginning(&Input::File(path), 1 << 30, &mut |message| {
        let sender = message.sender.expect("a datagram has a sender");
        let time = message.time.map(flow_exporter::clock::UnixMs::get);
        datagrams.push((sender, time, message.origin.offset, message.payload.to_vec()));
    })?;
    let Some(Beginning { unread: Some(unread), .. }) = found else { panic!("it is a capture") };
    Ok((datagrams, unread))
}

fn whole(capture: &[u8]) -> Vec<Read> {
    let (datagrams, unread) = read(capture).unwrap();
    assert_eq!(unread, Unread::default());
    datagrams
}

/// A datagram in a packet of IPv4.
fn datagram(payload: &[u8]) -> Vec<u8> {
    Ipv4::default().bytes(&udp((50_000, 6343), payload))
}

fn sender() -> SocketAddr {
    "192.0.2.1:50000".parse().unwrap()
}

#[test]
fn pcap_is_read_in_either_order_of_bytes_and_with_either_unit_of_time() {
    let frames = [b"one".as_slice(), b"two!"].map(|each| packet::ethernet(IPV4, &datagram(each)));
    for (is_big_endian, has_nanoseconds) in
        [(false, false), (false, true), (true, false), (true, true)]
    {
        let pcap = Pcap { is_big_endian, has_nanoseconds, ..Pcap::default() };
        let expected = [
            (sender(), Some(BEGIN), 24, b"one".to_vec()),
            (sender(), Some(BEGIN + 1), 40 + frames[0].len() as i64, b"two!".to_vec()),
        ];
        assert_eq!(whole(&pcap.bytes(&frames)), expected);
    }
}

#[test]
fn pcapng_is_read_with_each_interfaces_link_and_unit_of_time_and_section_after_section() {
    for is_big_endian in [false, true] {
        let pcapng = Pcapng { is_big_endian, interfaces: vec![(1, 6), (101, 9), (228, 3)] };
        let frame = packet::ethernet(IPV4, &datagram(b"one"));
        let packets = [frame, datagram(b"two"), datagram(b"three")];
        let mut capture = pcapng.bytes(&packets);
        let other = Pcapng { is_big_endian: !is_big_endian, interfaces: vec![(101, 6)] };
        capture.extend(other.bytes(&[datagram(b"four")]));
        let read = whole(&capture);
        let read = read.iter().map(|(from, time, _, payload)| (*from, *time, &payload[..]));
        let expected = [(0, &b"one"[..]), (1, b"two"), (2, b"three"), (0, b"four")];
        let expected = expected.map(|(after, payload)| (sender(), Some(BEGIN + after), payload));
        assert_eq!(read.collect::<Vec<_>>(), expected);
    }
}

#[test]
fn datagrams_are_found_behind_all_that_links_put_in_front_of_them() {
    let four = datagram(b"flows");
    let six = ipv6(UDP, &udp((50_000, 6343), b"flows"));
    let cooked = |ty: u16, packet: &[u8]| [&[0; 14][..], &ty.to_be_bytes(), packet].concat();
    let cooked_too = |ty: u16, packet: &[u8]| [&ty.to_be_bytes()[..], &[0; 18], packet].concat();
    let from_six: SocketAddr = "[2001:db8::1]:50000".parse().unwrap();
    for (link, packet, sender) in [
        (1, packet::ethernet(IPV4, &four), sender()),
        (1, packet::ethernet(IPV6, &six), from_six),
        (1, packet::ethernet(VLAN, &vlan(7, IPV4, &four)), sender()),
        (1, packet::ethernet(PPPOE, &pppoe(0x21, &four)), sender()),
        (1, packet::ethernet(MPLS, &packet::mpls(&[16], &four)), sender()),
        (0x1400_0001, packet::ethernet(IPV4, &four), sender()),
        (101, four.clone(), sender()),
        (101, six.clone(), from_six),
        (12, four.clone(), sender()),
        (228, four.clone(), sender()),
        (229, six.clone(), from_six),
        (9, [&[0, 0x21][..], &four].concat(), sender()),
        (0, [&[2, 0, 0, 0][..], &four].concat(), sender()),
        (108, [&[0, 0, 0, 30][..], &six].concat(), from_six),
        (113, cooked(IPV4, &four), sender()),
        (113, cooked(IPV6, &six), from_six),
        (113, cooked(VLAN, &vlan(7, IPV4, &four)), sender()),
        (276, cooked_too(IPV4, &four), sender()),
        (276, cooked_too(IPV6, &six), from_six),
    ] {
        let capture = Pcap { link, ..Pcap::default() }.bytes(&[packet]);
        assert_eq!(whole(&capture), [(sender, Some(BEGIN), 24, b"flows".to_vec())], "{link}");
    }
}

#[test]
fn the_padding_of_a_frame_is_no_part_of_the_datagram() {
    let mut frame = packet::ethernet(IPV4, &datagram(b"x"));
    frame.resize(60, 0xee);
    assert_eq!(whole(&Pcap::default().bytes(&[frame]))[0].3, b"x");
}

#[test]
fn what_is_no_datagram_is_counted_by_kind() {
    let segment = Ipv4 { protocol: TCP, ..Ipv4::default() }.bytes(&tcp((1, 2), 2));
    let frames = [
        packet::ethernet(IPV4, &segment),
        packet::ethernet(0x0806, &[0; 46]),
        packet::ethernet(IPV4, &datagram(&[1; 100])),
        packet::ethernet(IPV4, &datagram(&[2; 50])),
    ];
    let snaplen = frames[3].len();
    let (datagrams, unread) = read(&Pcap { snaplen, ..Pcap::default() }.bytes(&frames)).unwrap();
    assert_eq!(datagrams.len(), 1);
    assert_eq!(unread, Unread { not_udp: 2, cut: 1, ..Unread::default() });
    assert_eq!(
        unread.to_string(),
        "2 not UDP, 1 captured only in part (have tcpdump capture all bytes: -s 0)"
    );
    let (datagrams, unread) = read(&Pcap { link: 147, ..Pcap::default() }.bytes(&frames)).unwrap();
    assert_eq!(datagrams, []);
    assert_eq!(unread, Unread { unknown_links: 4, ..Unread::default() });
}

/// A large datagram in fragments of 1,480 bytes of IPv4.
fn fragments(id: u16, payload: &[u8]) -> Vec<Vec<u8>> {
    let whole = udp((50_000, 6343), payload);
    let pieces = whole.chunks(1480).enumerate();
    pieces
        .map(|(place, piece)| {
            let more = u16::from((place + 1) * 1480 < whole.len()) << 13;
            let fragment = more | (place * 185) as u16;
            let mut frame =
                packet::ethernet(IPV4, &Ipv4 { id, fragment, ..Ipv4::default() }.bytes(piece));
            frame.resize(frame.len().max(60), 0);
            frame
        })
        .collect()
}

#[test]
fn fragments_are_put_together_in_whatever_order_they_come() {
    let payload: Vec<u8> = (0..9001_u32).map(|place| place as u8).collect();
    let first = fragments(1, &payload);
    assert_eq!(first.len(), 7);
    let mut both: Vec<_> = first.iter().cloned().chain(fragments(2, &payload)).collect();
    // The same once more.
    both.push(first[3].clone());
    for order in [[0, 1, 2, 3, 4, 14, 5, 6], [6, 5, 4, 3, 2, 1, 0, 7], [3, 14, 0, 6, 5, 4, 1, 2]] {
        let frames = order.map(|place: usize| both[place].clone());
        let (datagrams, _) = read(&Pcap::default().bytes(&frames)).unwrap();
        let [(from, _, _, read)] = &datagrams[..] else { panic!("one datagram: {order:?}") };
        assert_eq!((*from, read), (sender(), &payload));
    }
    let mixed: Vec<_> =
        (0..7).flat_map(|place| [&both[place], &both[7 + place]]).cloned().collect();
    assert_eq!(whole(&Pcap::default().bytes(&mixed)).len(), 2);

    // IPv6.
    let whole = udp((50_000, 6343), &[7; 2000]);
    let piece = |offset: u16, more: u16, bytes: &[u8]| {
        let [o0, o1] = (offset | more).to_be_bytes();
        ipv6(44, &[&[UDP, 0, o0, o1, 0, 0, 0, 9][..], bytes].concat())
    };
    let packets = [piece(0, 1, &whole[..1400]), piece(1400, 0, &whole[1400..])];
    let capture = Pcap { link: 101, ..Pcap::default() }.bytes(&packets);
    assert_eq!(self::whole(&capture)[0].3, [7; 2000]);
}

#[test]
fn fragments_that_miss_others_or_contradict_them_are_counted_and_take_bounded_memory() {
    let payload = [7; 4000];
    let [first, second, last] = &fragments(1, &payload)[..] else { panic!("three") };
    let (datagrams, unread) = read(&Pcap::default().bytes(&[first.clone(), last.clone()])).unwrap();
    assert_eq!((datagrams.len(), unread.fragments), (0, 2));
    // Another offset: an overlap.
    let mut moved = second.clone();
    moved[14 + 7] -= 1;
    let frames = [first, &moved, second, last].map(Clone::clone);
    let (datagrams, unread) = read(&Pcap::default().bytes(&frames)).unwrap();
    assert_eq!((datagrams.len(), unread.fragments), (0, 4));
    // More packets than are kept: the oldest are given up.
    let mut frames: Vec<_> = (0..100).map(|id| fragments(id, &payload)[0].clone()).collect();
    for id in [0, 99] {
        frames.extend(fragments(id, &payload)[1..].to_vec());
    }
    let (datagrams, unread) = read(&Pcap::default().bytes(&frames)).unwrap();
    assert_eq!(datagrams.len(), 1);
    assert_eq!(unread.fragments, 101);
}

#[test]
fn a_capture_that_ends_within_a_packet_is_read_up_to_it_and_a_damaged_one_is_an_error() {
    let frames = [b"one".as_slice(), b"two"].map(|each| packet::ethernet(IPV4, &datagram(each)));
    let pcapng = Pcapng { is_big_endian: false, interfaces: vec![(1, 6)] };
    for capture in [Pcap::default().bytes(&frames), pcapng.bytes(&frames)] {
        for short in [1, 20, 60] {
            assert_eq!(whole(&capture[..capture.len() - short]).len(), 1);
        }
    }
    let mut damaged = pcapng.bytes(&frames);
    let last = damaged.len() - 1;
    damaged[last] = 0x55;
    let error = read(&damaged).unwrap_err().to_string();
    assert!(error.starts_with("a block is damaged at byte "), "{error}");
    // A block shorter than what frames it, of a kind that nobody needs.
    let [mut little, mut big] = [false, true]
        .map(|is_big_endian| Pcapng { is_big_endian, ..pcapng.clone() }.bytes(&frames));
    let length = little.len();
    little.extend([0x8000_0001_u32, 8, 0].map(u32::to_le_bytes).as_flattened());
    big.extend([0x8000_0001_u32, 8, 0].map(u32::to_be_bytes).as_flattened());
    for short in [little, big] {
        let error = read(&short).unwrap_err().to_string();
        assert_eq!(error, format!("a block is damaged at byte {length} of the capture"));
    }
    let mut long = Pcap::default().bytes(&frames);
    long[32..36].copy_from_slice(&u32::MAX.to_le_bytes());
    assert_eq!(whole(&long), [], "it may have been cut off");
    long.resize(5 << 20, 0);
    let error = read(&long).unwrap_err().to_string();
    assert_eq!(error, "a block is too long at byte 24 of the capture");
}

#[test]
fn a_time_that_no_clock_shows_is_none() {
    let mut capture = Pcap::default().bytes(&[packet::ethernet(IPV4, &datagram(b"x"))]);
    capture[24..28].copy_from_slice(&7_u32.to_le_bytes());
    assert_eq!(whole(&capture)[0].1, None);
}

proptest! {
    #[test]
    fn changed_captures_are_taken(
        is_pcapng: bool,
        is_big_endian: bool,
        changes in prop::collection::vec(
            (any::<prop::sample::Index>(), prop_oneof![any::<u8>(), Just(0), Just(255)]),
            0..6,
        ),
    ) {
        let mut frames = fragments(1, &[1; 2000]);
        frames.push(packet::ethernet(IPV4, &datagram(b"one")));
        let mut capture = if is_pcapng {
            Pcapng { is_big_endian, interfaces: vec![(1, 6), (1, 9)] }.bytes(&frames)
        } else {
            Pcap { is_big_endian, ..Pcap::default() }.bytes(&frames)
        };
        // The first bytes tell that it is a capture.
        for (place, byte) in changes {
            let place = 4 + place.index(capture.len() - 4);
            capture[place] = byte;
        }
        if let Ok((datagrams, _)) = read(&capture) {
            prop_assert!(datagrams.len() <= frames.len());
        }
    }
}
