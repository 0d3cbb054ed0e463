use std::collections::{BTreeMap, BTreeSet};

use reqwest::StatusCode;

use super::*;
use crate::publish::remote_write::{FamilyId, LabelPool};

/// Series and times that came by one way, each sample once.
type Samples = BTreeSet<(usize, i64)>;

/// A batch of this many series with this many samples each, at the times from 1 on.
fn batch(series: usize, times: i64) -> (Batch, BTreeMap<String, usize>) {
    let mut pool = LabelPool::new();
    let mut batch = Batch::default();
    let mut places = BTreeMap::new();
    for place in 0..series {
        let labels = pool.add([("__name__", "a"), ("place", place.to_string().as_str())]);
        let samples: Vec<_> = (1..=times)
            .map(|time| Sample { time: UnixMs::new(time), value: 0.0, start: None })
            .collect();
        batch.push(labels, FamilyId::new(0), &samples);
        places.insert(format!("{labels:?}"), place);
    }
    (batch, places)
}

fn refusal() -> Refusal {
    Refusal { status: StatusCode::BAD_REQUEST, message: "no".to_owned() }
}

/// A refusal at a receiver that takes what is not in question: what is lost, and how often it was
/// asked for that.
fn refuse(delivery: &mut Delivery) -> (Vec<Lost>, usize) {
    let is_new = !delivery.is_vouched();
    delivery.refused(refusal());
    if is_new || delivery.is_condemned() { (delivery.vouched(), 1) } else { (Vec::new(), 0) }
}

/// What became of a batch at a receiver that refuses each request with a sample that `poison`
/// (place of the series, time) says: taken, lost, requests. The receiver is strict about order, and
/// takes what is not in question.
fn deliver(
    (batch, places): (Batch, BTreeMap<String, usize>),
    again: bool,
    poison: impl Fn(usize, i64) -> bool,
) -> (Samples, Samples, usize) {
    let samples = |batch: &Batch| -> Samples {
        batch
            .series()
            .flat_map(|series| {
                let place = places[&format!("{:?}", series.labels)];
                series.samples.iter().map(move |sample| (place, sample.time.get()))
            })
            .collect()
    };
    let all = samples(&batch);
    let (mut taken, mut gone, mut requests) = (Samples::new(), Samples::new(), 0);
    let mut questions = 0;
    let mut newest: BTreeMap<usize, i64> = BTreeMap::new();
    let mut delivery = Delivery::new(batch, false, again);
    while let Some(part) = delivery.next() {
        requests += 1;
        let sent = samples(part.batch());
        assert!(!sent.is_empty());
        let lost = if sent.iter().any(|&(place, time)| poison(place, time)) {
            let (lost, asked) = refuse(&mut delivery);
            questions += asked;
            lost
        } else {
            for &(place, time) in &sent {
                let before = newest.insert(place, time).unwrap_or_default();
                assert!(before < time, "series {place}: {time} after {before}");
            }
            let (batch, lost) = delivery.confirmed().expect("it was next");
            taken.append(&mut samples(&batch));
            lost
        };
        for lost in lost {
            for sample in samples(&lost.batch) {
                assert!(gone.insert(sample), "lost twice");
            }
        }
    }
    assert!(taken.is_disjoint(&gone));
    assert_eq!(taken.len() + gone.len(), all.len(), "each sample is taken or lost");
    assert_eq!(delivery.is_refused_whole(), taken.is_empty());
    assert!(questions <= 2, "{questions} samples that are not in question");
    (taken, gone, requests)
}

#[test]
fn one_bad_series_anywhere_is_lost_alone() {
    for place in [0, 1, 499, 500, 998, 999] {
        let (_, lost, requests) = deliver(batch(1_000, 1), false, |at, _| at == place);
        assert_eq!(lost, Samples::from([(place, 1)]));
        // Twice the binary logarithm, and what was tried before parts were set aside.
        assert!(requests <= 30, "series {place}: {requests} requests");
    }
}

#[test]
fn several_bad_series_are_lost_alone() {
    for bad in [[0, 1, 2, 3], [0, 250, 500, 750], [3, 4, 996, 999]] {
        let (_, lost, requests) = deliver(batch(1_000, 1), false, |at, _| bad.contains(&at));
        assert_eq!(lost, bad.map(|place| (place, 1)).into());
        assert!(requests <= 100, "{bad:?}: {requests} requests");
    }
}

#[test]
fn a_bad_sample_of_a_series_with_several_costs_no_other_series() {
    let (_, lost, requests) = deliver(batch(100, 24), false, |at, time| (at, time) == (42, 7));
    assert!(lost.contains(&(42, 7)) && lost.iter().all(|&(place, _)| place == 42), "{lost:?}");
    assert!(lost.len() <= 6, "{lost:?}");
    assert!(requests <= 40, "{requests} requests");
}

#[test]
fn a_batch_that_is_refused_as_a_whole_costs_few_requests() {
    let (taken, _, requests) = deliver(batch(2_000, 1), false, |_, _| true);
    assert!(taken.is_empty());
    assert!(requests <= 25, "{requests} requests");
    let (_, _, requests) = deliver(batch(2_000, 1), true, |_, _| true);
    assert_eq!(requests, 3);
    let (_, _, requests) = deliver(batch(2_000, 100), false, |_, _| true);
    assert!(requests <= 25 + SLICES, "{requests} requests");
    let (_, _, requests) = deliver(batch(2_000, 100), true, |_, _| true);
    assert_eq!(requests, 1 + SLICES);
}

#[test]
fn where_all_series_have_samples_that_are_too_old_the_newer_ones_are_saved() {
    for again in [false, true] {
        for first_good in [2_u32, 30, 50, 100] {
            let old = |_, time| time < i64::from(first_good);
            let (taken, ..) = deliver(batch(500, 100), again, old);
            let expected = (100 - first_good as usize + 1) * 500;
            let slice = 500 * 100_usize.div_ceil(SLICES);
            assert!(
                taken.len() + slice > expected,
                "{} of {expected} from {first_good} on",
                taken.len()
            );
        }
    }
}

#[test]
fn whatever_is_refused_the_requests_are_bounded() {
    for every in [2, 3, 7, 10, 40] {
        let (taken, _, requests) = deliver(batch(2_000, 1), false, |at, _| at % every == 0);
        // Each refusal makes at most one more part to be sent.
        assert!(requests <= 2 * REFUSALS_MAX as usize + 1 + 30, "{every}: {requests} requests");
        assert!(every < 7 || taken.len() > 100, "{every}: {} are taken", taken.len());
    }
}

#[test]
fn series_that_were_found_are_set_apart_so_that_the_good_ones_go_through_in_the_end() {
    let bad = |place: usize| place.is_multiple_of(10);
    let mut known = BTreeSet::new();
    let mut requests = Vec::new();
    for _ in 0..20 {
        let (batch, places) = batch(1_000, 1);
        let place = |labels: LabelSet| places[&format!("{labels:?}")];
        let mut delivery = Delivery::new(batch, false, false);
        delivery.set_apart(|labels| known.contains(&place(labels)));
        requests.push(0);
        let mut taken = 0;
        while let Some(part) = delivery.next() {
            *requests.last_mut().expect("a batch") += 1;
            let refused = part.batch().series().any(|series| bad(place(series.labels)));
            let lost = if refused {
                refuse(&mut delivery).0
            } else {
                let (batch, lost) = delivery.confirmed().expect("it was next");
                taken += batch.len();
                lost
            };
            for lost in lost.iter().filter(|lost| lost.batch.len() == 1) {
                known.extend(lost.batch.series().map(|series| place(series.labels)));
            }
        }
        if known.len() == 100 {
            assert!(taken == 900 || requests.last() > Some(&REFUSALS_MAX), "{requests:?}");
        }
    }
    assert_eq!(known, (0..1_000).filter(|&place| bad(place)).collect());
    assert!(requests.last() < Some(&30), "{requests:?}");
}

#[test]
fn what_is_too_large_is_halved_down_to_the_sample() {
    let (batch, _) = batch(4, 2);
    let mut delivery = Delivery::new(batch, false, false);
    let mut taken = 0;
    while let Some(part) = delivery.next() {
        if part.batch().samples() > 2 {
            delivery.too_large(refusal());
        } else {
            taken += delivery.confirmed().expect("it was next").0.samples();
        }
    }
    assert_eq!(taken, 8);
    let (batch, _) = super::tests::batch(1, 1);
    let mut delivery = Delivery::new(batch, false, false);
    delivery.too_large(refusal());
    assert!(delivery.next().is_none() && delivery.is_condemned());
    let lost: usize = delivery.vouched().iter().map(|lost| lost.batch.samples()).sum();
    assert_eq!(lost, 1);
}

#[test]
fn nothing_is_lost_before_the_receiver_has_confirmed_something_after_it_refused_it() {
    // A receiver that works, until it refuses everything.
    for confirmed in 0..8 {
        let (batch, places) = batch(40, 3);
        let mut delivery = Delivery::new(batch, false, false);
        delivery.vouched();
        let poison = places.keys().min().expect("a series").clone();
        let mut left = 40 * 3;
        for _ in 0..confirmed {
            let part = delivery.next().expect("more to be sent");
            let is_bad =
                part.batch().series().any(|series| format!("{:?}", series.labels) == poison);
            if is_bad {
                delivery.refused(refusal());
            } else {
                let (batch, lost) = delivery.confirmed().expect("it was next");
                left -= batch.samples();
                left -= lost.iter().map(|lost| lost.batch.samples()).sum::<usize>();
            }
        }
        while delivery.next().is_some() {
            delivery.refused(refusal());
        }
        assert!(delivery.is_condemned());
        delivery.recall();
        assert!(!delivery.is_condemned() && !delivery.is_vouched());
        let whole = delivery.next().expect("all that is left").batch();
        assert_eq!(whole.samples(), left, "after {confirmed}");
        for series in whole.series() {
            assert!(series.samples.is_sorted_by(|one, next| one.time < next.time));
        }
        // It works again.
        let (batch, lost) = delivery.confirmed().expect("it was next");
        assert_eq!((batch.samples(), lost.len()), (left, 0));
        assert!(delivery.next().is_none());
    }
}

#[test]
fn a_request_is_cut_to_what_the_receiver_takes() {
    let (batch, _) = batch(4, 4);
    let mut delivery = Delivery::new(batch, false, false);
    let mut sizes = Vec::new();
    while delivery.next().is_some() {
        delivery.limit(5);
        sizes.push(delivery.confirmed().expect("it was next").0.samples());
    }
    assert!(sizes.iter().all(|&size| size <= 5) && sizes.iter().sum::<usize>() == 16, "{sizes:?}");
    let (batch, _) = super::tests::batch(1, 1);
    let mut delivery = Delivery::new(batch, false, false);
    delivery.limit(0);
    assert_eq!(delivery.next().map(|part| part.batch().samples()), Some(1));
}

#[test]
fn suspicion_needs_the_same_answer_five_times_in_a_row() {
    let (batch, _) = batch(2, 1);
    let mut delivery = Delivery::new(batch, false, false);
    for _ in 0..4 {
        assert!(!delivery.failed(Some(refusal())));
    }
    assert!(!delivery.failed(None), "no answer tells nothing");
    for _ in 0..4 {
        assert!(!delivery.failed(Some(refusal())));
    }
    let other = Refusal { message: "other".to_owned(), ..refusal() };
    assert!(!delivery.failed(Some(other)), "other message");
    for _ in 0..4 {
        assert!(!delivery.failed(Some(refusal())));
    }
    assert!(delivery.failed(Some(refusal())));
    assert!(delivery.blamed().is_empty());
    // Its halves are under suspicion already.
    assert!(!delivery.failed(Some(refusal())));
    assert!(delivery.failed(Some(refusal())));
    assert_eq!(delivery.blamed()[0].batch.samples(), 1);
    delivery.confirmed().expect("the other half");
    assert!(delivery.next().is_none());
}

#[test]
fn a_partial_write_is_divided_by_number() {
    let (batch, _) = batch(3, 2);
    let mut delivery = Delivery::new(batch, false, false);
    let (taken, refused, lost) = delivery.partly(4, refusal()).expect("it was next");
    assert_eq!((taken.samples(), refused.batch.samples(), lost.len()), (4, 2, 0));
}

#[test]
fn a_probe_is_taken_off_at_the_front() {
    let (batch, _) = batch(10, 2);
    let mut delivery = Delivery::new(batch, true, false);
    delivery.take_off(3);
    assert_eq!(delivery.next().map(|part| part.batch().len()), Some(3));
    delivery.confirmed().expect("the probe");
    assert_eq!(delivery.next().map(|part| part.batch().len()), Some(7));
    delivery.take_off(100);
    assert_eq!(delivery.next().map(|part| part.batch().len()), Some(7));
}
