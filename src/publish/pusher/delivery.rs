//! One batch on its way: its parts, and which of its samples are at fault. Pure: it is told what
//! came of each request and says what is next.
//!
//! A refused part is halved, by series and at the end by time, and each half is sent by itself, so
//! that only what the receiver refuses is lost. What that may cost is bounded:
//!
//! - After [`ROW_MAX`] refusals one after the other, parts are no longer halved but set aside, and
//!   what is left of the batch is sent in the pieces that it is in. Was any of it taken, those set
//!   aside are halved further. Was nothing taken, it is not single series that are at fault: then
//!   all of it is cut into at most [`SLICES`] pieces by time, sent from the oldest on, since what
//!   receivers refuse as a whole is what is too old. So a batch of 2,000 series that is refused as
//!   a whole costs some 20 requests, and 8 more if it holds several times.
//! - Where the batch before was refused as a whole, the second refusal is the last in a row, and a
//!   batch with several times is cut by time at once: 3 or 9 requests.
//! - After [`REFUSALS_MAX`] refusals of one batch, nothing is halved any more. Series that were
//!   found by then are sent apart from the others next time, in one request that is not halved
//!   ([`Delivery::set_apart`]), so that even where many are bad, the good ones soon go through.
//!
//! Samples of a series always go out in the order of their times: parts of one series are never
//! set aside.

use std::collections::VecDeque;

use crate::publish::remote_write::{Batch, LabelSet, Sample};

use super::answer::Refusal;

/// Refusals one after the other, after which parts are not halved but set aside.
const ROW_MAX: u32 = 12;

/// The same where the batch before was refused as a whole.
const ROW_MAX_AGAIN: u32 = 2;

/// Refusals of one batch.
const REFUSALS_MAX: u32 = 128;

/// Pieces by time of a batch of which nothing is taken.
const SLICES: usize = 8;

/// After so many answers with the same 5xx and the same words, the samples are under suspicion.
const SUSPICION: u32 = 5;

/// The same for parts of a batch that is under suspicion, and for a batch that follows one that was
/// refused as a whole.
const SUSPICION_AGAIN: u32 = 2;

/// Samples that go out in one request.
#[derive(Debug)]
pub(super) struct Part {
    batch: Batch,
    /// Whether an earlier request with these samples may have been taken.
    maybe_stored: bool,
    /// Whether other parts hold samples of the same series.
    ordered: bool,
    /// Whether it is not to be halved: a piece by time, or series that were refused before.
    last: bool,
    /// The answer that it gets again and again, and how often it did.
    failure: Option<(Refusal, u32)>,
}

impl Part {
    pub(super) fn batch(&self) -> &Batch {
        &self.batch
    }

    fn split(self) -> Result<[Part; 2], Part> {
        let Part { batch, maybe_stored, ordered, last, failure } = self;
        let ordered_halves = ordered || batch.len() == 1;
        match batch.split() {
            Ok((first, second)) => Ok([first, second].map(|batch| Part {
                batch,
                maybe_stored,
                ordered: ordered_halves,
                last,
                failure: None,
            })),
            Err(batch) => Err(Part { batch, maybe_stored, ordered, last, failure }),
        }
    }
}

/// Samples that the receiver will not take.
#[derive(Debug)]
pub(super) struct Lost {
    pub(super) batch: Batch,
    pub(super) refusal: Refusal,
    /// Whether an earlier request with them may have been taken.
    pub(super) maybe_stored: bool,
}

/// A part that waits for what becomes of the others.
#[derive(Debug)]
struct Aside {
    part: Part,
    refusal: Refusal,
}

#[derive(Debug)]
pub(super) struct Delivery {
    /// The first is the next to be sent.
    parts: VecDeque<Part>,
    aside: Vec<Aside>,
    /// Whether any of it was taken.
    taken: bool,
    /// Whether series were taken with all their samples.
    taken_whole: bool,
    refusals: u32,
    in_a_row: u32,
    row_max: u32,
    /// Whether 5xx answers were found to be about samples of this batch.
    suspected: bool,
}

impl Delivery {
    /// `maybe_stored`: an earlier request with samples of the batch may have been taken;
    /// `again`: the batch before was refused as a whole.
    pub(super) fn new(batch: Batch, maybe_stored: bool, again: bool) -> Self {
        let part = Part { batch, maybe_stored, ordered: false, last: false, failure: None };
        Delivery {
            parts: VecDeque::from([part]),
            aside: Vec::new(),
            taken: false,
            taken_whole: false,
            refusals: 0,
            in_a_row: 0,
            row_max: if again { ROW_MAX_AGAIN } else { ROW_MAX },
            suspected: again,
        }
    }

    /// What is to be sent next; `None` once all of the batch is dealt with.
    pub(super) fn next(&self) -> Option<&Part> {
        self.parts.front()
    }

    /// Cuts what is to be sent next down to this many series.
    pub(super) fn take_off(&mut self, series: usize) {
        self.put_off(false, |at, _| at >= series);
    }

    /// Sends these series after the others, and does not halve them.
    pub(super) fn set_apart(&mut self, suspects: impl Fn(LabelSet) -> bool) {
        self.put_off(true, |_, labels| suspects(labels));
    }

    fn put_off(&mut self, last: bool, later: impl Fn(usize, LabelSet) -> bool) {
        let Some(part) = self.parts.pop_front() else { return };
        let (first, rest) = divide(&part.batch, |at, labels, _| !later(at, labels));
        for (batch, last) in [(rest, last), (first, false)] {
            if !batch.is_empty() {
                self.parts.push_front(Part { batch, failure: None, last, ..part });
            }
        }
    }

    /// The next part may have been taken, though the answer did not say so.
    pub(super) fn maybe_stored(&mut self) {
        if let Some(part) = self.parts.front_mut() {
            part.maybe_stored = true;
        }
    }

    /// The next part was taken: its samples, and those that were lost by what is known now.
    pub(super) fn confirmed(&mut self) -> Option<(Batch, Vec<Lost>)> {
        let part = self.parts.pop_front()?;
        self.taken = true;
        // The newer samples of a series tell nothing of the other series.
        if !part.ordered {
            self.taken_whole = true;
            self.in_a_row = 0;
        }
        Some((part.batch, self.reconsider()))
    }

    /// This many samples of the next part were taken, and the others never will be: which ones
    /// these are is not known, but the number is right. Returns both, and those that were lost by
    /// what is known now.
    pub(super) fn partly(
        &mut self,
        written: usize,
        refusal: Refusal,
    ) -> Option<(Batch, Lost, Vec<Lost>)> {
        let maybe_stored = self.next()?.maybe_stored;
        let (batch, lost) = self.confirmed()?;
        let mut count = 0;
        let (taken, batch) = divide(&batch, |_, _, _| {
            count += 1;
            count <= written
        });
        Some((taken, Lost { batch, refusal, maybe_stored }, lost))
    }

    /// The next part was refused: the samples that are lost by that.
    pub(super) fn refused(&mut self, refusal: Refusal) -> Vec<Lost> {
        let Some(part) = self.parts.pop_front() else { return Vec::new() };
        self.refusals += 1;
        self.in_a_row += 1;
        let mut lost = Vec::new();
        let first = self.refusals == 1 && !self.taken;
        if first && self.row_max == ROW_MAX_AGAIN && times(&part.batch) > 1 {
            self.slice(&part.batch, part.maybe_stored);
        } else if part.last {
            lost.push(part.lost(refusal));
        } else if self.in_a_row < self.row_max && self.refusals < REFUSALS_MAX {
            match part.split() {
                Ok(halves) => self.put_first(halves),
                Err(part) => lost.push(part.lost(refusal)),
            }
        } else if part.ordered || part.batch.samples() == 1 {
            lost.push(part.lost(refusal));
        } else {
            self.aside.push(Aside { part, refusal });
        }
        lost.append(&mut self.reconsider());
        lost
    }

    /// The next part is too large: the sample that is lost by that, if it is a single one.
    pub(super) fn too_large(&mut self, refusal: Refusal) -> Vec<Lost> {
        let Some(part) = self.parts.pop_front() else { return Vec::new() };
        match part.split() {
            Ok(halves) => {
                self.put_first(halves);
                Vec::new()
            }
            Err(part) => {
                let mut lost = vec![part.lost(refusal)];
                lost.append(&mut self.reconsider());
                lost
            }
        }
    }

    /// The next part has to be sent again. Says whether it has got the same answer, if that may be
    /// about its samples, so often that its samples are under suspicion.
    pub(super) fn failed(&mut self, answer: Option<Refusal>) -> bool {
        let Some(part) = self.parts.front_mut() else { return false };
        let times = match (&part.failure, &answer) {
            (Some((last, times)), Some(answer)) if last == answer => times + 1,
            _ => 1,
        };
        part.failure = answer.map(|answer| (answer, times));
        let enough = if self.suspected { SUSPICION_AGAIN } else { SUSPICION };
        part.failure.is_some() && times >= enough
    }

    /// Other samples were taken right after the next part has failed: it is refused, whatever the
    /// status says.
    pub(super) fn convicted(&mut self) -> Vec<Lost> {
        self.suspected = true;
        match self.parts.front_mut().and_then(|part| part.failure.take()) {
            Some((refusal, _)) => self.refused(refusal),
            None => Vec::new(),
        }
    }

    /// Whether the receiver has refused all of it, as far as it is dealt with.
    pub(super) fn is_refused_whole(&self) -> bool {
        !self.taken && self.refusals > 0
    }

    /// Once nothing else is left: what becomes of the parts that were set aside.
    fn reconsider(&mut self) -> Vec<Lost> {
        let mut lost = Vec::new();
        if !self.parts.is_empty() {
            return lost;
        }
        let aside = std::mem::take(&mut self.aside);
        if !self.taken_whole && aside.iter().any(|aside| times(&aside.part.batch) > 1) {
            let maybe_stored = aside.iter().any(|aside| aside.part.maybe_stored);
            let mut all = Batch::default();
            for aside in &aside {
                all.metadata |= aside.part.batch.metadata;
                for series in aside.part.batch.series() {
                    all.push(series.labels, series.family, series.samples);
                }
            }
            self.slice(&all, maybe_stored);
            return lost;
        }
        for Aside { part, refusal } in aside.into_iter().rev() {
            let may_be_split = self.taken_whole && self.refusals < REFUSALS_MAX;
            match if may_be_split { part.split() } else { Err(part) } {
                Ok(halves) => {
                    self.in_a_row = 0;
                    self.put_first(halves);
                }
                Err(part) => lost.push(part.lost(refusal)),
            }
        }
        lost
    }

    fn put_first(&mut self, [first, second]: [Part; 2]) {
        self.parts.push_front(second);
        self.parts.push_front(first);
    }

    /// Cuts a batch into pieces by time.
    fn slice(&mut self, batch: &Batch, maybe_stored: bool) {
        let mut all: Vec<i64> = batch
            .series()
            .flat_map(|series| series.samples.iter().map(|sample| sample.time_ms))
            .collect();
        all.sort_unstable();
        all.dedup();
        for range in all.chunks(all.len().div_ceil(SLICES)) {
            let (from, to) = (range[0], range[range.len() - 1]);
            let (batch, _) = divide(batch, |_, _, sample| (from..=to).contains(&sample.time_ms));
            self.parts.push_back(Part {
                batch,
                maybe_stored,
                ordered: true,
                last: true,
                failure: None,
            });
        }
    }
}

impl Part {
    fn lost(self, refusal: Refusal) -> Lost {
        Lost { batch: self.batch, refusal, maybe_stored: self.maybe_stored }
    }
}

/// Two batches: the samples that `first` picks, by the place of their series, its labels and
/// themselves; and the others.
fn divide(
    batch: &Batch,
    mut first: impl FnMut(usize, LabelSet, &Sample) -> bool,
) -> (Batch, Batch) {
    let (mut picked, mut others) = (Batch::default(), Batch::default());
    picked.metadata = batch.metadata;
    for (at, series) in batch.series().enumerate() {
        let (yes, no): (Vec<Sample>, Vec<Sample>) =
            series.samples.iter().partition(|sample| first(at, series.labels, sample));
        for (batch, samples) in [(&mut picked, yes), (&mut others, no)] {
            if !samples.is_empty() {
                batch.push(series.labels, series.family, &samples);
            }
        }
    }
    (picked, others)
}

/// How many times a batch holds, as far as its first series tells.
fn times(batch: &Batch) -> usize {
    batch.series().next().map_or(0, |series| series.samples.len())
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use reqwest::StatusCode;

    use super::*;
    use crate::{
        publish::remote_write::{FamilyId, LabelPool},
        traffic::Direction,
    };

    /// Series and times that came by one way, each sample once.
    type Samples = BTreeSet<(usize, i64)>;

    /// A batch of this many series with this many samples each, at the times from 1 on.
    fn batch(series: usize, times: i64) -> (Batch, BTreeMap<String, usize>) {
        let mut pool = LabelPool::new();
        let mut batch = Batch::default();
        let mut places = BTreeMap::new();
        for place in 0..series {
            let labels = pool.add([("__name__", "a"), ("place", place.to_string().as_str())]);
            let samples: Vec<_> =
                (1..=times).map(|time_ms| Sample { time_ms, value: 0.0, start_ms: 0 }).collect();
            batch.push(labels, FamilyId::flow(Direction::Receive), &samples);
            places.insert(format!("{labels:?}"), place);
        }
        (batch, places)
    }

    fn refusal() -> Refusal {
        Refusal { status: StatusCode::BAD_REQUEST, words: "no".to_owned() }
    }

    /// What became of a batch at a receiver that refuses each request with a sample that `poison`
    /// (place of the series, time) says: taken, lost, requests. The receiver is strict about order.
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
                    series.samples.iter().map(move |sample| (place, sample.time_ms))
                })
                .collect()
        };
        let all = samples(&batch);
        let (mut taken, mut gone, mut requests) = (Samples::new(), Samples::new(), 0);
        let mut newest: BTreeMap<usize, i64> = BTreeMap::new();
        let mut delivery = Delivery::new(batch, false, again);
        while let Some(part) = delivery.next() {
            requests += 1;
            let sent = samples(part.batch());
            assert!(!sent.is_empty());
            let lost = if sent.iter().any(|&(place, time)| poison(place, time)) {
                delivery.refused(refusal())
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
                    delivery.refused(refusal())
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
        let (mut taken, mut lost) = (0, 0);
        while let Some(part) = delivery.next() {
            if part.batch().samples() > 2 {
                assert!(delivery.too_large(refusal()).is_empty());
            } else {
                taken += delivery.confirmed().expect("it was next").0.samples();
            }
        }
        assert_eq!(taken, 8);
        let (batch, _) = super::tests::batch(1, 1);
        let mut delivery = Delivery::new(batch, false, false);
        lost +=
            delivery.too_large(refusal()).iter().map(|lost| lost.batch.samples()).sum::<usize>();
        assert_eq!(lost, 1);
        assert!(delivery.next().is_none());
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
        let other = Refusal { words: "other".to_owned(), ..refusal() };
        assert!(!delivery.failed(Some(other)), "other words");
        for _ in 0..4 {
            assert!(!delivery.failed(Some(refusal())));
        }
        assert!(delivery.failed(Some(refusal())));
        assert!(delivery.convicted().is_empty());
        // Its halves are under suspicion already.
        assert!(!delivery.failed(Some(refusal())));
        assert!(delivery.failed(Some(refusal())));
        assert_eq!(delivery.convicted()[0].batch.samples(), 1);
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
}
