//! From flows to counters: the direction rule, the series key, and that no byte gets lost.

use std::collections::BTreeMap;

use flow_exporter::{
    flow::{Decoded, Flow, Malformed, Skipped},
    traffic::{Counts, Dimension, Direction, Ignored, Layout, RecordTotals, Rule, TextId},
};
use proptest::prelude::*;

const ASN: u32 = 64512;

fn flow(source_as: u32, destination_as: u32, bytes: u64, hostname: &str) -> Flow<'_> {
    Flow { source_as, destination_as, bytes, hostname: hostname.into() }
}

fn counts() -> Counts {
    Counts::new(Layout::original(), Rule { asn: ASN })
}

/// All series by what they stand for: direction, source AS, destination AS, host name.
fn series(counts: &Counts) -> BTreeMap<(Direction, u32, u32, String), u64> {
    counts
        .series()
        .map(|(key, bytes)| {
            let &[direction, destination_as, hostname, source_as] = key else {
                panic!("a key of the original layout has four columns, not {key:?}");
            };
            let hostname = counts.texts().get(TextId(hostname)).to_owned();
            ((Direction::from_column(direction), source_as, destination_as, hostname), bytes)
        })
        .collect()
}

#[test]
fn a_flow_from_the_monitored_as_is_transmitted_and_one_to_it_received() {
    let rule = Rule { asn: ASN };
    assert_eq!(rule.direction(&flow(ASN, 1, 5, "")), Ok(Direction::Transmit));
    assert_eq!(rule.direction(&flow(1, ASN, 5, "")), Ok(Direction::Receive));
    assert_eq!(rule.direction(&flow(ASN, ASN, 5, "")), Ok(Direction::Transmit));
    assert_eq!(rule.direction(&flow(1, 2, 5, "")), Err(Ignored::OtherAs));
    assert_eq!(rule.direction(&flow(0, 0, 5, "")), Err(Ignored::OtherAs));
}

#[test]
fn as_zero_is_monitored_like_any_other() {
    let rule = Rule { asn: 0 };
    assert_eq!(rule.direction(&flow(0, 1, 5, "")), Ok(Direction::Transmit));
    assert_eq!(rule.direction(&flow(1, 0, 5, "")), Ok(Direction::Receive));
    assert_eq!(rule.direction(&flow(1, 2, 5, "")), Err(Ignored::OtherAs));
}

#[test]
fn the_original_layout_is_sorted_by_label_name() {
    let names: Vec<_> = Layout::original()
        .dimensions()
        .iter()
        .map(|dimension| match dimension {
            Dimension::DestinationAs => "destination_as",
            Dimension::Hostname => "hostname",
            Dimension::SourceAs => "source_as",
        })
        .collect();
    assert!(names.is_sorted());
    assert_eq!(names.len() + 1, Layout::original().width());
}

#[test]
fn a_direction_is_read_back_from_its_column() {
    for direction in Direction::ALL {
        assert_eq!(Direction::from_column(direction as u32), direction);
    }
}

#[test]
fn flows_of_one_series_are_summed() {
    let mut counts = counts();
    assert!(counts.is_empty());
    for (source_as, destination_as, bytes, hostname) in [
        (15169, ASN, 1, "edge1"),
        (15169, ASN, 2, "edge2"),
        (ASN, 15169, 4, "edge1"),
        (15169, ASN, 8, "edge1"),
        (15169, ASN, 1 << 40, "edge1"),
        (2906, ASN, 0, ""),
    ] {
        counts.record(&Decoded::Flow(flow(source_as, destination_as, bytes, hostname)));
    }
    let expected = [
        ((Direction::Receive, 2906, ASN, String::new()), 0),
        ((Direction::Receive, 15169, ASN, "edge1".to_owned()), (1 << 40) + 9),
        ((Direction::Receive, 15169, ASN, "edge2".to_owned()), 2),
        ((Direction::Transmit, ASN, 15169, "edge1".to_owned()), 4),
    ];
    assert_eq!(series(&counts), BTreeMap::from(expected));
    assert_eq!(counts.len(), 4);
    assert_eq!(counts.counted, RecordTotals { flows: 6, bytes: (1 << 40) + 15 });
}

#[test]
fn a_sum_never_overflows() {
    let mut counts = counts();
    for bytes in [u64::MAX - 1, 1, 1, u64::MAX, 0] {
        counts.record(&Decoded::Flow(flow(ASN, 1, bytes, "")));
    }
    counts.record(&Decoded::Flow(flow(ASN, 2, 7, "")));
    assert_eq!(counts.series().map(|(_, bytes)| bytes).collect::<Vec<_>>(), [u64::MAX, 7]);
    assert_eq!(counts.counted.flows, 4);
    assert_eq!(
        counts.ignored[Ignored::Overflow.index()],
        RecordTotals { flows: 2, bytes: u64::MAX.wrapping_add(1) }
    );
}

#[test]
fn what_is_no_flow_is_counted_by_reason() {
    let mut counts = counts();
    for reason in Skipped::ALL {
        counts.record(&Decoded::Skipped(reason));
    }
    for reason in Malformed::ALL {
        counts.record(&Decoded::Malformed(reason));
        counts.record(&Decoded::Malformed(reason));
    }
    assert_eq!(counts.skipped, [1; Skipped::ALL.len()]);
    assert_eq!(counts.malformed, [2; Malformed::ALL.len()]);
    assert!(counts.is_empty());
    assert_eq!(counts.counted, RecordTotals::default());
}

#[test]
fn a_cleared_table_counts_from_zero() {
    let mut counts = counts();
    counts.record(&Decoded::Flow(flow(ASN, 1, 5, "edge1")));
    counts.record(&Decoded::Flow(flow(1, 2, 5, "edge1")));
    counts.record(&Decoded::Skipped(Skipped::Marker));
    counts.record(&Decoded::Malformed(Malformed::Syntax));
    counts.messages = 4;
    counts.payload_bytes = 100;
    counts.clear();
    assert_eq!(format!("{:?}", counts.series().collect::<Vec<_>>()), "[]");
    assert_eq!(counts.texts().iter().count(), 0);
    assert_eq!((counts.messages, counts.payload_bytes), (0, 0));
    assert_eq!(counts.counted, RecordTotals::default());
    assert_eq!(counts.ignored, [RecordTotals::default(); Ignored::ALL.len()]);
    assert_eq!(counts.skipped, [0; Skipped::ALL.len()]);
    assert_eq!(counts.malformed, [0; Malformed::ALL.len()]);

    counts.record(&Decoded::Flow(flow(ASN, 1, 6, "edge2")));
    let expected = [((Direction::Transmit, ASN, 1, "edge2".to_owned()), 6)];
    assert_eq!(series(&counts), BTreeMap::from(expected));
}

proptest! {
    /// Invariant I3: what is counted and what is ignored are together what came in.
    #[test]
    fn no_byte_is_lost(
        flows in prop::collection::vec(
            (
                prop::sample::select(vec![ASN, 0, 1, u32::MAX]),
                prop::sample::select(vec![ASN, 0, 1, 65536]),
                prop_oneof![4 => 0..1_u64 << 40, 1 => any::<u64>()],
                prop::sample::select(vec!["", "edge1", "edge2.fra.example.net"]),
            ),
            0..200,
        )
    ) {
        let mut counts = counts();
        let mut expected = BTreeMap::<_, u64>::new();
        for &(source_as, destination_as, bytes, hostname) in &flows {
            counts.record(&Decoded::Flow(flow(source_as, destination_as, bytes, hostname)));
            let direction = if source_as == ASN {
                Direction::Transmit
            } else if destination_as == ASN {
                Direction::Receive
            } else {
                continue;
            };
            let sum = expected
                .entry((direction, source_as, destination_as, hostname.to_owned()))
                .or_default();
            *sum = sum.checked_add(bytes).unwrap_or(*sum);
        }
        prop_assert_eq!(series(&counts), expected);

        let wrapping_sum =
            |values: &mut dyn Iterator<Item = u64>| values.fold(0_u64, u64::wrapping_add);
        let ignored = wrapping_sum(&mut counts.ignored.iter().map(|totals| totals.bytes));
        let all = wrapping_sum(&mut flows.iter().map(|&(_, _, bytes, _)| bytes));
        prop_assert_eq!(counts.counted.bytes.wrapping_add(ignored), all);
        prop_assert_eq!(
            wrapping_sum(&mut counts.series().map(|(_, bytes)| bytes)),
            counts.counted.bytes
        );
        let ignored: u64 = counts.ignored.iter().map(|totals| totals.flows).sum();
        prop_assert_eq!(counts.counted.flows + ignored, flows.len() as u64);
    }
}

#[test]
fn a_label_value_is_cut_at_the_end_of_a_character_and_counted() {
    let mut counts = counts();
    // The 1,024th byte lies within a character.
    let long = format!("x{}", "ü".repeat(600));
    for hostname in [&"y".repeat(1024), &long, &long] {
        counts.record(&Decoded::Flow(flow(ASN, 1, 5, hostname)));
    }
    let kept = format!("x{}", "ü".repeat(511));
    assert_eq!(kept.len(), 1023);
    let expected = [
        ((Direction::Transmit, ASN, 1, "y".repeat(1024)), 5),
        ((Direction::Transmit, ASN, 1, kept), 10),
    ];
    assert_eq!(series(&counts), BTreeMap::from(expected));
    assert_eq!(counts.values_truncated().collect::<Vec<_>>(), [("hostname", 2)]);
    counts.clear();
    assert_eq!(counts.values_truncated().collect::<Vec<_>>(), [("hostname", 0)]);
}

#[test]
fn values_that_begin_with_the_same_1024_bytes_are_one_series_in_either_form() {
    let mut counts = counts();
    let map = |value: &str| {
        let text = format!("{{\"as_src\":{ASN},\"bytes\":7,\"label\":{value}}}");
        let mut counted = Vec::new();
        flow_exporter::flow::pmacct::decode(text.as_bytes(), &mut |record| match record {
            Decoded::Flow(flow) => counted.push(flow.hostname.into_owned()),
            other => panic!("{other:?}"),
        });
        counted.pop().expect("a flow")
    };
    let same = "z".repeat(1020);
    for value in [
        format!("\"key%{same}first\""),
        format!("\"key%{same}second\\u00fc\""),
        format!("{{\"key\":\"{same}third\",\"more\":1}}"),
    ] {
        let hostname = map(&value);
        assert!(hostname.len() > 1024);
        counts.record(&Decoded::Flow(flow(ASN, 1, 7, &hostname)));
    }
    let expected = [((Direction::Transmit, ASN, 1, format!("key%{same}")), 21)];
    assert_eq!(series(&counts), BTreeMap::from(expected));
    assert_eq!(counts.values_truncated().collect::<Vec<_>>(), [("hostname", 3)]);
}

#[test]
fn a_table_comes_back_from_its_bytes_with_values_cut_that_had_no_bound() {
    let mut counts = counts();
    for (hostname, bytes) in [("a", 1), ("b", 10)] {
        counts.record(&Decoded::Flow(flow(ASN, 1, bytes, hostname)));
    }
    let mut bytes = Vec::new();
    counts.encode(&mut bytes);
    let read = |bytes: &[u8]| {
        let mut rest = bytes;
        let counts = Counts::decode(&Layout::original(), Rule { asn: ASN }, &mut rest);
        counts.map(|counts| (series(&counts), rest.len()))
    };
    assert_eq!(read(&bytes), Some((series(&counts), 0)));
    // As an earlier version wrote it: two texts of 2,000 bytes that differ in the last.
    let long = "l".repeat(1999);
    let mut old = 2_u32.to_le_bytes().to_vec();
    for last in ["a", "b"] {
        old.extend_from_slice(&2000_u32.to_le_bytes());
        old.extend_from_slice(format!("{long}{last}").as_bytes());
    }
    old.extend_from_slice(&bytes[4 + 2 * 5..]);
    let expected = [((Direction::Transmit, ASN, 1, "l".repeat(1024)), 11)];
    assert_eq!(read(&old), Some((BTreeMap::from(expected), 0)));
    for end in 0..bytes.len() {
        assert_eq!(read(&bytes[..end]), None, "{end}");
    }
}
