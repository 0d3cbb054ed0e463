use proptest::prelude::*;

use super::*;

/// A datagram of one number.
fn one(number: u32) -> Numbered {
    Numbered { number, span: Some(1), ..Numbered::default() }
}

/// What is found of these datagrams.
fn found(datagrams: impl IntoIterator<Item = Numbered>) -> Found {
    let mut sequence = Sequence::default();
    datagrams.into_iter().for_each(|datagram| sequence.follow(datagram));
    sequence.take()
}

#[test]
fn numbers_in_order_miss_nothing_where_they_wrap_either() {
    let datagrams = (0..300).map(|place: u32| one((u32::MAX - 150).wrapping_add(place)));
    assert_eq!(found(datagrams), Found::default());
}

#[test]
fn what_is_missing_is_awaited_for_a_window_and_counts_only_then() {
    let mut sequence = Sequence::default();
    sequence.follow(one(10));
    sequence.follow(one(13));
    for number in 14..11 + WINDOW {
        sequence.follow(one(number));
    }
    assert_eq!(sequence.take(), Found::default());
    assert_eq!(sequence.place().map(|place| place.awaited), Some(2));
    sequence.follow(one(11 + WINDOW));
    assert_eq!(sequence.take(), Found { missing: 1, ..Found::default() });
    sequence.follow(one(12));
    assert_eq!(sequence.take(), Found { late: 1, ..Found::default() });
    for number in 12 + WINDOW..200 {
        sequence.follow(one(number));
    }
    assert_eq!(sequence.take(), Found::default());
}

#[test]
fn a_late_datagram_of_many_numbers_divides_the_gap_that_it_was_part_of() {
    let mut sequence = Sequence::default();
    let of = |number, span| Numbered { number, span: Some(span), ..Numbered::default() };
    for datagram in [of(0, 30), of(120, 30), of(60, 30)] {
        sequence.follow(datagram);
    }
    assert_eq!(sequence.place().map(|place| place.awaited), Some(60));
    for place in 0..70 {
        sequence.follow(of(150 + place * 30, 30));
    }
    assert_eq!(sequence.take(), Found { missing: 60, late: 1, ..Found::default() });
}

#[test]
fn the_same_datagram_again_is_a_duplicate_and_another_one_of_its_number_is_not() {
    let mut sequence = Sequence::default();
    for number in 0..10 {
        assert!(!sequence.is_duplicate(number, b"first"));
        sequence.follow(one(number));
    }
    assert!(sequence.is_duplicate(5, b"first"));
    assert!(!sequence.is_duplicate(5, b"other"));
    sequence.follow(one(5));
    assert_eq!(sequence.take(), Found { conflicts: 1, ..Found::default() });
    for number in 10..10 + WINDOW {
        assert!(!sequence.is_duplicate(number, b"first"));
    }
    assert!(!sequence.is_duplicate(5, b"first"), "it is forgotten");
}

#[test]
fn an_exporter_that_starts_again_has_lost_nothing() {
    let up = |number, uptime| Numbered { uptime: Some(uptime), ..one(number) };
    let restart = Found { restarts: 1, ..Found::default() };
    // From far beyond the window, from within it, and to a number ahead.
    assert_eq!(found([up(5_000, 90_000), up(0, 100), up(1, 200)]), restart);
    assert_eq!(found([up(20, 90_000), up(0, 100), up(1, 200)]), restart);
    assert_eq!(found([up(20, 90_000), up(500, 100), up(501, 200)]), restart);
    // What was awaited before will not come.
    let datagrams = [up(5_000, 90_000), up(5_003, 90_001), up(0, 100)];
    assert_eq!(found(datagrams), Found { missing: 2, ..restart });
}

#[test]
fn a_datagram_from_before_the_window_is_late_and_many_in_a_row_are_a_jump() {
    let late = Found { late: 1, ..Found::default() };
    assert_eq!(found([one(5_000), one(100), one(5_001)]), late);
    let jumped = (5_000..5_002).chain(100..200).map(one);
    assert_eq!(found(jumped), Found { jumps: 1, late: 15, ..Found::default() });
}

#[test]
fn a_step_too_large_to_be_a_loss_is_a_jump() {
    let numbers = [0, LARGEST_STEP + 2, LARGEST_STEP + 3];
    assert_eq!(found(numbers.map(one)), Found { jumps: 1, ..Found::default() });
    let largest = [0, LARGEST_STEP + 1].into_iter().chain(LARGEST_STEP + 2..LARGEST_STEP + 99);
    let all = Found { missing: LARGEST_STEP.into(), ..Found::default() };
    assert_eq!(found(largest.map(one)), all);
}

/// A stream of IPFIX, which says no uptime: each millisecond a datagram of 1,000 numbers.
fn fast(numbers: std::ops::Range<u32>, offset: u32) -> impl Iterator<Item = Numbered> {
    numbers.map(move |millisecond| Numbered {
        number: (millisecond * 1000).wrapping_add(offset),
        span: Some(1000),
        received: Some(UnixMs::new(1_700_000_000_000 + i64::from(millisecond))),
        ..Numbered::default()
    })
}

#[test]
fn a_loss_of_any_size_counts_if_there_was_time_to_send_as_much() {
    for silence in [70, 500, 600_000] {
        let silence_end = 3_000 + silence;
        let datagrams = fast(0..3_000, 0).chain(fast(silence_end..silence_end + 200, 0));
        let missing = u64::from(silence) * 1000;
        assert_eq!(found(datagrams), Found { missing, ..Found::default() }, "{silence} ms");
    }
    // Nobody sends as much in a second.
    let datagrams = fast(0..3_000, 0).chain(fast(4_000..4_200, 30_000_000));
    assert_eq!(found(datagrams), Found { jumps: 1, ..Found::default() });
}

#[test]
fn what_was_sent_while_this_process_was_down_is_told_from_numbers_that_begin_anew() {
    let mut before = Sequence::default();
    fast(0..3_000, 0).for_each(|datagram| before.follow(datagram));
    let place = before.place().expect("a place");
    let after = |offset: u32| {
        let mut after = Sequence::resume(place);
        // Ten minutes later.
        fast(603_000..603_200, offset).for_each(|datagram| after.follow(datagram));
        after.take()
    };
    assert_eq!(after(0), Found { missing_while_down: 600_000_000, ..Found::default() });
    let jumped = Found { jumps: 1, ..Found::default() };
    // Behind where it was: it began from zero.
    assert_eq!(after(0_u32.wrapping_sub(603_000_000)), jumped);
}

#[test]
fn an_exporter_that_was_up_all_the_time_may_have_become_faster() {
    let up = |number, second: i64, uptime_second: u32| Numbered {
        uptime: Some(uptime_second * 1000),
        received: Some(UnixMs::new(1_700_000_000_000 + second * 1000)),
        ..one(number)
    };
    let calm = |last: Numbered| {
        found((0..20).map(|second| up(second, second.into(), second)).chain([last]))
    };
    let later = 620;
    let awaited = u64::from(WINDOW) - 1;
    let loss = Found { missing: 6_000_000 - 20 - awaited, ..Found::default() };
    assert_eq!(calm(up(6_000_000, later.into(), later)), loss);
    // It was started again meanwhile, and has been up for longer than before.
    let restart = Found { restarts: 1, ..Found::default() };
    assert_eq!(calm(up(6_000_000, later.into(), 300)), restart);
}

#[test]
fn numbers_that_begin_anew_without_the_exporter_are_a_jump_where_they_seem_to_wrap() {
    let up = |number, uptime| Numbered { uptime: Some(uptime), ..one(number) };
    let reset = [up(3_500_000_000, 1_000), up(0, 601_000), up(1, 601_001)];
    assert_eq!(found(reset), Found { jumps: 1, ..Found::default() });
}

/// A datagram whose exporter may count in either unit.
fn either(number: u32, span: u32, mistaken_span: u32) -> Numbered {
    let (span, mistaken_span) = (Some(span), Some(mistaken_span));
    Numbered { number, span, mistaken_span, ..Numbered::default() }
}

#[test]
fn an_exporter_that_counts_records_instead_of_datagrams_is_understood() {
    let mut datagrams: Vec<_> = (0..100).map(|place| either(7 + place * 24, 1, 24)).collect();
    let changed = Found { unit_changed: true, ..Found::default() };
    assert_eq!(found(datagrams.iter().copied()), changed);
    datagrams.remove(50);
    let missing = Found { missing: 24, ..changed };
    let more = (100..200).map(|place| either(7 + place * 24, 1, 24));
    assert_eq!(found(datagrams.into_iter().chain(more)), missing);
}

#[test]
fn an_exporter_that_counts_datagrams_instead_of_records_is_understood() {
    let mut datagrams: Vec<_> = (0..100).map(|place| either(7 + place, 24, 1)).collect();
    let changed = Found { unit_changed: true, ..Found::default() };
    assert_eq!(found(datagrams.iter().copied()), changed);
    datagrams.remove(50);
    let more = (100..200).map(|place| either(7 + place, 24, 1));
    assert_eq!(found(datagrams.into_iter().chain(more)), Found { missing: 1, ..changed });
}

#[test]
fn one_step_by_the_other_unit_is_a_loss() {
    // Behind a datagram of two records, one is missing.
    let datagrams = [either(0, 1, 2), either(2, 1, 5)].into_iter();
    let more = (3..100).map(|number| either(number, 1, 5));
    assert_eq!(found(datagrams.chain(more)), Found { missing: 1, ..Found::default() });
}

#[test]
fn behind_a_datagram_that_can_not_be_decoded_nothing_is_said() {
    let open = Numbered { number: 30, ..Numbered::default() };
    let of = |number| Numbered { number, span: Some(10), ..Numbered::default() };
    let mut datagrams = vec![of(10), of(20), open, of(55)];
    datagrams.extend((0..200).map(|place| of(65 + place * 10)));
    assert_eq!(found(datagrams.iter().copied()), Found::default());
    datagrams.remove(50);
    assert_eq!(found(datagrams), Found { missing: 10, ..Found::default() });
}

#[test]
fn what_was_sent_while_this_process_was_down_is_missing() {
    let mut before = Sequence::default();
    let up = |number, uptime| Numbered { uptime: Some(uptime), ..one(number) };
    before.follow(up(1, 1_000));
    before.follow(up(4, 2_000));
    let place = before.place().expect("a place");
    assert_eq!(place, Place { next: 5, uptime: Some(2_000), awaited: 2, ..Place::default() });

    let mut after = Sequence::resume(place);
    after.follow(up(900_005, 80_000));
    after.follow(up(900_006, 80_001));
    let found = Found { missing: 2, missing_while_down: 900_000, ..Found::default() };
    assert_eq!(after.take(), found);

    let mut restarted = Sequence::resume(Place { uptime: Some(90_000), ..place });
    restarted.follow(up(900_005, 100));
    assert_eq!(restarted.take(), Found { missing: 2, restarts: 1, ..Found::default() });

    let mut mistaken = Sequence::resume(Place { is_mistaken: true, awaited: 0, ..place });
    (0..100).for_each(|place| mistaken.follow(either(5 + place * 24, 1, 24)));
    assert_eq!(mistaken.take(), Found::default());
}

proptest! {
    #[test]
    fn exactly_what_was_lost_is_missing(
        first in prop_oneof![any::<u32>(), Just(u32::MAX - 100)],
        spans in prop::collection::vec((0_u32..=30, any::<bool>(), 0_usize..6), 1..300),
    ) {
        // A widest datagram in front says how wide the window is; enough of them follow that all
        // has left it.
        let wide = |count| std::iter::repeat_n((30, false, 0), count);
        let mut number = first;
        let mut sent = Vec::new();
        let mut lost = 0;
        for (place, (span, is_lost, delay)) in wide(1).chain(spans).chain(wide(80)).enumerate() {
            if is_lost {
                lost += u64::from(span);
            } else {
                let datagram = Numbered { number, span: Some(span), ..Numbered::default() };
                sent.push((if place == 0 { 0 } else { place + delay }, datagram));
            }
            number = number.wrapping_add(span);
        }
        sent.sort_by_key(|(arrival, _)| *arrival);

        let mut sequence = Sequence::default();
        let mut missing = 0;
        for (_, datagram) in sent {
            sequence.follow(datagram);
            let found = sequence.take();
            missing += found.missing;
            prop_assert!(missing <= lost);
            let allowed = Found { missing: found.missing, late: found.late, ..Found::default() };
            prop_assert_eq!(found, allowed);
        }
        prop_assert_eq!(missing, lost);
        let place = sequence.place().map(|place| (place.next, place.awaited));
        prop_assert_eq!(place, Some((number, 0)));
    }

    #[test]
    fn any_numbers_are_taken_within_bounds(
        datagrams in prop::collection::vec(
            (
                prop_oneof![any::<u32>(), 0_u32..300],
                prop::option::of(prop_oneof![any::<u32>(), 0_u32..40]),
                prop::option::of(0_u32..40),
                prop::option::of(any::<u32>()),
            ),
            0..300,
        ),
        place in prop::option::of((any::<u32>(), any::<u32>(), any::<bool>())),
    ) {
        let place = place.map(|(next, awaited, is_mistaken)| Place {
            next,
            awaited,
            is_mistaken,
            ..Place::default()
        });
        let mut sequence = place.map(Sequence::resume).unwrap_or_default();
        for (number, span, mistaken_span, uptime) in datagrams {
            sequence.is_duplicate(number, &number.to_be_bytes());
            let received = uptime.map(|uptime| UnixMs::new(uptime.into()));
            let datagram = Numbered { number, span, mistaken_span, uptime, received, sent: None };
            sequence.follow(datagram);
            prop_assert!(sequence.gaps.len() <= MOST_GAPS + usize::from(CONVINCING_STEPS));
            prop_assert!(sequence.newest.datagrams.len() <= WINDOW as usize);
        }
    }
}
