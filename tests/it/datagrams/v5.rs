//! NetFlow v5.

use flow_exporter::{clock::Millis, flow::datagram::Refused, schema::Field};
use testkit::netflow::{V5, V5Flow};

use super::Decoding;

#[test]
fn every_field_of_a_record_goes_where_it_belongs() {
    let mut decoding = Decoding::new();
    decoding.from("[::ffff:203.0.113.1]:2055", &V5::new([V5Flow::default()]).bytes());
    let expected = [
        (Field::SourceAs, "64512"),
        (Field::DestinationAs, "15169"),
        (Field::Bytes, "600"),
        (Field::Packets, "5"),
        (Field::Hostname, "203.0.113.1"),
        (Field::SourceAddress, "192.0.2.1"),
        (Field::DestinationAddress, "198.51.100.2"),
        (Field::SourceNetwork, "192.0.2.0"),
        (Field::DestinationNetwork, "198.51.100.0"),
        (Field::SourceMask, "24"),
        (Field::DestinationMask, "25"),
        (Field::SourcePort, "900"),
        (Field::DestinationPort, "1000"),
        (Field::Protocol, "6"),
        (Field::TcpFlags, "27"),
        (Field::TrafficClass, "184"),
        (Field::InputInterface, "3"),
        (Field::OutputInterface, "4"),
        (Field::Exporter, "203.0.113.1"),
    ];
    let [flow] = &decoding.take()[..] else { panic!("one flow") };
    for field in Field::TYPED {
        let expected = expected.iter().find(|(each, _)| *each == field);
        assert_eq!(flow.get(&field), expected.map_or("", |(_, value)| value), "{field:?}");
    }
    let activity = decoding.activity();
    assert_eq!((activity.datagrams, activity.flows, activity.bytes), (1, 1, 600));
    assert_eq!(activity.clock_skew, Some(Millis::ZERO));
}

#[test]
fn the_rate_is_in_the_lower_bits_and_the_mode_is_no_part_of_it() {
    let mut decoding = Decoding::new();
    for (sampling, rate) in [(0x64, "100"), (0x4064, "100"), (0xc000, ""), (0, "")] {
        decoding.decode(&V5 { sampling, ..V5::new([V5Flow::default()]) }.bytes());
        assert_eq!(decoding.take()[0].get(&Field::SamplingRate), rate, "{sampling:#x}");
        assert_eq!(decoding.activity().unknown_rate_flows, u64::from(rate.is_empty()));
    }
}

#[test]
fn the_count_says_how_many_records_there_are_and_may_not_be_more_than_thirty() {
    let mut decoding = Decoding::new();
    let mut bytes = V5::new([V5Flow::default(); 3]).bytes();
    bytes[3] = 2;
    decoding.decode(&bytes);
    assert_eq!(decoding.take().len(), 2, "what follows is ignored");
    let cases =
        [([0, 4], Refused::Truncated), ([0, 31], Refused::Header), ([0, 0], Refused::Header)];
    for (count, reason) in cases.into_iter().chain([([0xd9, 0x1e], Refused::Header)]) {
        bytes[2..4].copy_from_slice(&count);
        decoding.decode(&bytes);
        assert_eq!(decoding.take(), [], "{count:?}");
        let activity = decoding.activity();
        assert_eq!(activity.refused[reason.index()], 1, "{count:?}");
    }
}

#[test]
fn other_datagrams_are_refused_and_make_nobody_an_exporter() {
    let mut decoding = Decoding::new();
    for payload in [&b""[..], b"\0", b"GET / HTTP/1.1", &[0; 100]] {
        decoding.decode(payload);
    }
    assert_eq!(decoding.take(), []);
    assert_eq!(decoding.activity_of(None).refused[Refused::Protocol.index()], 4);
}
