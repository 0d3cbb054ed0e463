//! From flows to counters: the direction rule, the series key, and that no byte gets lost.

use std::{
    collections::BTreeMap,
    sync::{Arc, LazyLock},
};

use flow_exporter::{
    flow::{Decoded, Decoder, Flow, Malformed, Plan, Record, Skipped},
    schema::{Class, Dimension, Field, KeyHead, Measure, Schema, View},
    traffic::{Counts, EncodedCounts, Encoding, Ignored, RangeSet, RecordTotals, Rule, TextId},
};
use proptest::prelude::*;
use testkit::counting::{Record as _, schema};

const ASN: u32 = 64512;
static RULE: LazyLock<Rule> = LazyLock::new(|| Rule::of_as(ASN));

fn flow(source_as: u32, destination_as: u32, bytes: u64, hostname: &str) -> Flow<'_> {
    Flow { source_as, destination_as, bytes, hostname: hostname.into() }
}

fn counts() -> Counts {
    Counts::new(schema())
}

fn truncated_hostnames(counts: &Counts) -> u64 {
    let dimensions = counts.schema().dimensions();
    let place = dimensions.iter().position(|dimension| *dimension == Dimension::Hostname).unwrap();
    counts.values_truncated[place]
}

/// All series by class, source AS, destination AS and host name.
fn series(counts: &Counts) -> BTreeMap<(Class, u32, u32, String), u64> {
    counts
        .series()
        .map(|(key, counts_of)| {
            let &[head, destination_as, hostname, source_as] = key else {
                panic!("a key of the original layout has four columns, not {key:?}");
            };
            let hostname = counts.texts().get(TextId(hostname)).to_owned();
            let class = KeyHead::try_from(head).unwrap().class;
            let bytes = counts_of.iter().next().unwrap();
            ((class, source_as, destination_as, hostname), bytes)
        })
        .collect()
}

/// The class of a flow between these ASes.
fn class(rule: &Rule, source_as: u32, destination_as: u32) -> Class {
    let view = View::new("all", &[Dimension::Hostname], &Class::ALL, &[Measure::Bytes]);
    let mut counts = Counts::new(Arc::new(Schema::new(vec![view])));
    counts.record(rule, &Decoded::Flow(flow(source_as, destination_as, 1, "a")));
    let (key, _) = counts.series().next().expect("a series");
    KeyHead::try_from(key[0]).expect("a class").class
}

#[test]
fn a_flow_is_of_the_class_that_its_ends_make() {
    let class = |source_as, destination_as| class(&RULE, source_as, destination_as);
    assert_eq!(class(ASN, 1), Class::Transmit);
    assert_eq!(class(1, ASN), Class::Receive);
    assert_eq!(class(ASN, ASN), Class::Internal);
    assert_eq!(class(1, 2), Class::Transit);
    assert_eq!(class(0, 0), Class::Transit);
}

#[test]
fn as_zero_is_monitored_like_any_other() {
    let class = |source_as, destination_as| class(&Rule::of_as(0), source_as, destination_as);
    assert_eq!(class(0, 1), Class::Transmit);
    assert_eq!(class(1, 0), Class::Receive);
    assert_eq!(class(1, 2), Class::Transit);
}

#[test]
fn any_of_several_ases_is_monitored() {
    let ases = RangeSet::new([64512..=64512, 65010..=65019, 64496..=64496]);
    let rule = Rule { ases, ..Rule::default() };
    let class = |source_as, destination_as| class(&rule, source_as, destination_as);
    for ours in [64496, 64512, 65010, 65015, 65019] {
        assert_eq!(class(ours, 1), Class::Transmit, "{ours}");
        assert_eq!(class(1, ours), Class::Receive, "{ours}");
        assert_eq!(class(64512, ours), Class::Internal, "{ours}");
    }
    for foreign in [0, 64495, 64497, 64511, 64513, 65009, 65020, u32::MAX] {
        assert_eq!(class(foreign, 1), Class::Transit, "{foreign}");
    }
}

#[test]
fn internal_flows_are_transmitted_where_the_view_has_no_class_for_them() {
    let mut counts = counts();
    counts.record(&RULE, &Decoded::Flow(flow(ASN, ASN, 5, "a")));
    counts.record(&RULE, &Decoded::Flow(flow(1, 2, 7, "a")));
    let expected = [((Class::Transmit, ASN, ASN, "a".to_owned()), 5)];
    assert_eq!(series(&counts), expected.into());
    let ignored = counts.ignored[Ignored::OtherAs.index()];
    assert_eq!(ignored, RecordTotals { flows: 1, bytes: 7 });
    let foreign = counts.evidence.flows();
    assert_eq!(foreign.len(), 1);
    assert_eq!((foreign[0].source_as, foreign[0].destination_as), (1, 2));
}

#[test]
fn each_view_counts_its_classes_by_its_measures() {
    let devices = View::new(
        "device",
        &[Dimension::Hostname],
        &[Class::Internal, Class::Transit],
        &[Measure::Bytes, Measure::Flows],
    );
    let schema = Arc::new(Schema::new(vec![View::original(), devices]));
    let mut counts = Counts::new(Arc::clone(&schema));
    for (source_as, destination_as, bytes) in [(ASN, ASN, 5), (1, 2, 7), (1, 2, 8), (1, ASN, 9)] {
        counts.record(&RULE, &Decoded::Flow(flow(source_as, destination_as, bytes, "a")));
    }
    let mut found: Vec<_> = counts
        .series()
        .map(|(key, counts)| {
            let head = KeyHead::try_from(key[0]).unwrap();
            (head.view, head.class, counts.iter().collect::<Vec<_>>())
        })
        .collect();
    found.sort_unstable();
    let expected = [
        (0, Class::Receive, vec![9, 0]),
        (0, Class::Transmit, vec![5, 0]),
        (1, Class::Internal, vec![5, 1]),
        (1, Class::Transit, vec![15, 2]),
    ];
    assert_eq!(found, expected);
    assert_eq!(counts.counted, RecordTotals { flows: 4, bytes: 29 });

    // The other view is no longer configured.
    let mut bytes = Vec::new();
    counts.encode(&mut bytes);
    let mut rest = &*bytes;
    let encoded = EncodedCounts::read(Encoding::Views, &mut rest).unwrap();
    assert!(rest.is_empty());
    assert_eq!(encoded.views(), schema.views());
    let original = Arc::new(Schema::original());
    let left = encoded.counts(&original, |view| (*view == View::original()).then_some(0)).unwrap();
    let expected = [
        ((Class::Receive, 1, ASN, "a".to_owned()), 9),
        ((Class::Transmit, ASN, ASN, "a".to_owned()), 5),
    ];
    assert_eq!(series(&left), expected.into());
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
        counts.record(&RULE, &Decoded::Flow(flow(source_as, destination_as, bytes, hostname)));
    }
    let expected = [
        ((Class::Receive, 2906, ASN, String::new()), 0),
        ((Class::Receive, 15169, ASN, "edge1".to_owned()), (1 << 40) + 9),
        ((Class::Receive, 15169, ASN, "edge2".to_owned()), 2),
        ((Class::Transmit, ASN, 15169, "edge1".to_owned()), 4),
    ];
    assert_eq!(series(&counts), BTreeMap::from(expected));
    assert_eq!(counts.len(), 4);
    assert_eq!(counts.counted, RecordTotals { flows: 6, bytes: (1 << 40) + 15 });
}

#[test]
fn a_sum_never_overflows() {
    let mut counts = counts();
    for bytes in [u64::MAX - 1, 1, 1, u64::MAX, 0] {
        counts.record(&RULE, &Decoded::Flow(flow(ASN, 1, bytes, "")));
    }
    counts.record(&RULE, &Decoded::Flow(flow(ASN, 2, 7, "")));
    assert_eq!(
        counts.series().flat_map(|(_, counts)| counts.iter()).collect::<Vec<_>>(),
        [u64::MAX, 7]
    );
    assert_eq!(counts.counted.flows, 4);
    assert_eq!(
        counts.ignored[Ignored::Overflow.index()],
        RecordTotals { flows: 2, bytes: u128::from(u64::MAX) + 1 }
    );
}

#[test]
fn what_is_no_flow_is_counted_by_reason() {
    let mut counts = counts();
    for reason in Skipped::ALL {
        counts.record(&RULE, &Decoded::Skipped(reason));
    }
    for reason in Malformed::ALL {
        counts.record(&RULE, &Decoded::Malformed(reason));
        counts.record(&RULE, &Decoded::Malformed(reason));
    }
    assert_eq!(counts.skipped, [1; Skipped::ALL.len()]);
    assert_eq!(counts.malformed, [2; Malformed::ALL.len()]);
    assert!(counts.is_empty());
    assert_eq!(counts.counted, RecordTotals::default());
}

#[test]
fn a_cleared_table_counts_from_zero() {
    let mut counts = counts();
    counts.record(&RULE, &Decoded::Flow(flow(ASN, 1, 5, "edge1")));
    counts.record(&RULE, &Decoded::Flow(flow(1, 2, 5, "edge1")));
    counts.record(&RULE, &Decoded::Skipped(Skipped::Marker));
    counts.record(&RULE, &Decoded::Malformed(Malformed::Syntax));
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

    counts.record(&RULE, &Decoded::Flow(flow(ASN, 1, 6, "edge2")));
    let expected = [((Class::Transmit, ASN, 1, "edge2".to_owned()), 6)];
    assert_eq!(series(&counts), BTreeMap::from(expected));
}

proptest! {
    /// What is counted and what is ignored add up to the input.
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
            counts.record(&RULE, &Decoded::Flow(flow(source_as, destination_as, bytes, hostname)));
            let direction = if source_as == ASN {
                Class::Transmit
            } else if destination_as == ASN {
                Class::Receive
            } else {
                continue;
            };
            let sum = expected
                .entry((direction, source_as, destination_as, hostname.to_owned()))
                .or_default();
            *sum = sum.checked_add(bytes).unwrap_or(*sum);
        }
        prop_assert_eq!(series(&counts), expected);

        let ignored: u128 = counts.ignored.iter().map(|totals| totals.bytes).sum();
        let all: u128 = flows.iter().map(|&(_, _, bytes, _)| u128::from(bytes)).sum();
        prop_assert_eq!(counts.counted.bytes + ignored, all);
        let series = counts.series().flat_map(|(_, counts)| counts.iter());
        prop_assert_eq!(series.map(u128::from).sum::<u128>(), counts.counted.bytes);
        let ignored: u64 = counts.ignored.iter().map(|totals| totals.flows).sum();
        prop_assert_eq!(counts.counted.flows + ignored, flows.len() as u64);
    }
}

#[test]
fn a_label_value_is_truncated_at_the_end_of_a_character_and_counted() {
    let mut counts = counts();
    // The 1,024th byte lies within a character.
    let long = format!("x{}", "ü".repeat(600));
    for hostname in [&"y".repeat(1024), &long, &long] {
        counts.record(&RULE, &Decoded::Flow(flow(ASN, 1, 5, hostname)));
    }
    let kept = format!("x{}", "ü".repeat(511));
    assert_eq!(kept.len(), 1023);
    let expected =
        [((Class::Transmit, ASN, 1, "y".repeat(1024)), 5), ((Class::Transmit, ASN, 1, kept), 10)];
    assert_eq!(series(&counts), BTreeMap::from(expected));
    assert_eq!(truncated_hostnames(&counts), 2);
    counts.clear();
    assert_eq!(truncated_hostnames(&counts), 0);
}

#[test]
fn values_that_begin_with_the_same_1024_bytes_are_one_series_in_either_form() {
    let mut counts = counts();
    let map = |value: &str| {
        let text = format!("{{\"as_src\":{ASN},\"bytes\":7,\"label\":{value}}}");
        let mut counted = Vec::new();
        let plan = Plan::new([Field::Hostname]);
        let hostname = plan.slot(&Field::Hostname).expect("it is in the plan");
        Decoder::pmacct(&plan).decode(text.as_bytes(), &mut |record| match record {
            Record::Flow(row) => counted.extend(row.text(hostname).map(str::to_owned)),
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
        counts.record(&RULE, &Decoded::Flow(flow(ASN, 1, 7, &hostname)));
    }
    let expected = [((Class::Transmit, ASN, 1, format!("key%{same}")), 21)];
    assert_eq!(series(&counts), BTreeMap::from(expected));
    assert_eq!(truncated_hostnames(&counts), 3);
}

#[test]
fn a_table_is_read_back_from_its_bytes_and_unbounded_values_are_truncated() {
    let mut counts = counts();
    for (hostname, bytes) in [("a", 1), ("b", 10)] {
        counts.record(&RULE, &Decoded::Flow(flow(ASN, 1, bytes, hostname)));
    }
    let mut bytes = Vec::new();
    counts.encode(&mut bytes);
    let read = |encoding, bytes: &[u8]| {
        let mut rest = bytes;
        let counts = EncodedCounts::read(encoding, &mut rest)?.counts(&schema(), |_| Some(0))?;
        Some((series(&counts), rest.len()))
    };
    assert_eq!(read(Encoding::Views, &bytes), Some((series(&counts), 0)));
    // As an earlier version wrote it, without views: two texts of 2,000 bytes that differ in the
    // last.
    let mut views = 1_u32.to_le_bytes().to_vec();
    View::original().write(&mut views);
    let without_views = bytes.strip_prefix(&*views).unwrap();
    assert_eq!(read(Encoding::Original, without_views), Some((series(&counts), 0)));
    let long = "l".repeat(1999);
    let mut old = 2_u32.to_le_bytes().to_vec();
    for last in ["a", "b"] {
        old.extend_from_slice(&2000_u32.to_le_bytes());
        old.extend_from_slice(format!("{long}{last}").as_bytes());
    }
    old.extend_from_slice(&without_views[4 + 2 * 5..]);
    let expected = [((Class::Transmit, ASN, 1, "l".repeat(1024)), 11)];
    assert_eq!(read(Encoding::Original, &old), Some((BTreeMap::from(expected), 0)));
    for end in 0..bytes.len() {
        assert_eq!(read(Encoding::Views, &bytes[..end]), None, "{end}");
    }
}
