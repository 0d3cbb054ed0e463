//! Sends one batch in parts and finds out which of its samples are at fault. Does no I/O: it is told
//! the result of each request and says which part is next.
//!
//! A refused part is halved, by series and in the end by time, and each half is sent on its own, so
//! that only what the receiver refuses is dropped. The number of requests is bounded:
//!
//! - After [`ROW_MAX`] refusals in a row, parts are no longer halved but set aside, and the rest of
//!   the batch is sent in the pieces that exist by then. If any of it was accepted, the parts set
//!   aside are halved further. If nothing was accepted, single series are not at fault: then
//!   everything is cut into at most [`SLICES`] pieces by time, which are sent oldest first, since
//!   receivers refuse whole batches for being too old. So a batch of 2,000 series that is refused as
//!   a whole costs some 20 requests, and 8 more if it holds several times.
//! - If the previous batch was refused as a whole, only two refusals in a row are allowed, and a
//!   batch with several times is cut by time at once: 3 or 9 requests.
//! - After [`REFUSALS_MAX`] refusals of one batch, nothing is halved any more. Series that were
//!   found by then are sent separately next time, in one request that is not halved
//!   ([`Delivery::set_apart`]), so that the good ones soon get through even if many are bad.
//!
//! Samples of a series always go out in the order of their times: parts of one series are never
//! set aside.
//!
//! None of this says anything about the samples unless the receiver works: one that refuses
//! everything (a wrong path, a TLS port spoken to in plain HTTP) refuses good samples as well. So a
//! batch is halved only after the receiver has confirmed something, which may be the canary
//! ([`Delivery::vouched`]). What it refused is *condemned*: it is dropped as soon as the receiver
//! confirms something after that, and not before. If it confirms nothing any more, everything is put
//! together again ([`Delivery::recall`]) and waits.

use std::collections::VecDeque;

use hashbrown::HashMap;

use crate::{
    clock::UnixMs,
    publish::remote_write::{Batch, BatchSeries, FamilyId, LabelSet, Sample},
};

use super::answer::Refusal;

/// Refusals in a row after which parts are no longer halved but set aside.
const ROW_MAX: u32 = 12;

/// The same if the previous batch was refused as a whole.
const ROW_MAX_AGAIN: u32 = 2;

/// The most refusals of one batch.
const REFUSALS_MAX: u32 = 128;

/// Pieces by time of a batch of which nothing is accepted.
const SLICES: usize = 8;

/// After this many answers with the same 5xx and the same message, the samples may be at fault.
const SUSPICION: u32 = 5;

/// The same for parts of a batch of which samples were found at fault, and for a batch that follows
/// one that was refused as a whole.
const SUSPICION_AGAIN: u32 = 2;

/// Samples that go out in one request.
#[derive(Debug)]
pub(super) struct Part {
    batch: Batch,
    /// Whether an earlier request with these samples may have been accepted.
    maybe_stored: bool,
    /// Whether other parts hold samples of the same series.
    ordered: bool,
    /// Whether it must not be halved: a piece by time, or series that were refused before.
    last: bool,
    /// The answer that it gets repeatedly, and how often it did.
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

/// Samples that the receiver will never accept.
#[derive(Debug)]
pub(super) struct Lost {
    pub(super) batch: Batch,
    pub(super) refusal: Refusal,
    /// Whether an earlier request with them may have been accepted.
    pub(super) maybe_stored: bool,
}

/// A part that waits for the results of the others.
#[derive(Debug)]
struct Aside {
    part: Part,
    refusal: Refusal,
}

/// How much of a batch was accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Taken {
    Nothing,
    /// Some samples.
    Some,
    /// Series with all their samples, since the batch arrived or was recalled.
    Series,
}

#[derive(Debug)]
pub(super) struct Delivery {
    /// The first one is sent next.
    parts: VecDeque<Part>,
    aside: Vec<Aside>,
    /// What is dropped once the receiver has confirmed something after it refused this.
    condemned: Vec<Lost>,
    /// Whether the receiver has confirmed something since this batch arrived or was recalled.
    is_vouched: bool,
    taken: Taken,
    refusals: u32,
    in_a_row: u32,
    row_max: u32,
    /// Whether 5xx answers were found to be about samples of this batch.
    was_blamed: bool,
}

impl Delivery {
    /// `maybe_stored`: an earlier request with samples of the batch may have been accepted;
    /// `again`: the previous batch was refused as a whole.
    pub(super) fn new(batch: Batch, maybe_stored: bool, again: bool) -> Self {
        let part = Part { batch, maybe_stored, ordered: false, last: false, failure: None };
        Delivery {
            parts: VecDeque::from([part]),
            aside: Vec::new(),
            condemned: Vec::new(),
            is_vouched: false,
            taken: Taken::Nothing,
            refusals: 0,
            in_a_row: 0,
            row_max: if again { ROW_MAX_AGAIN } else { ROW_MAX },
            was_blamed: again,
        }
    }

    /// The part to be sent next; `None` once the whole batch is settled.
    pub(super) fn next(&self) -> Option<&Part> {
        self.parts.front()
    }

    /// Cuts the next part down to this many samples, or to a single one.
    pub(super) fn limit(&mut self, samples: usize) {
        while self.parts.front().is_some_and(|part| part.batch.samples() > samples.max(1))
            && let Some(part) = self.parts.pop_front()
        {
            match part.split() {
                Ok(halves) => self.put_first(halves),
                Err(part) => return self.parts.push_front(part),
            }
        }
    }

    /// Cuts the next part down to this many series.
    pub(super) fn take_off(&mut self, series: usize) {
        self.put_off(false, |at, _| at >= series);
    }

    /// Sends these series after the others, and does not halve them.
    pub(super) fn set_apart(&mut self, rejected: impl Fn(LabelSet) -> bool) {
        self.put_off(true, |_, labels| rejected(labels));
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

    /// The next part may have been accepted, although the answer did not say so.
    pub(super) fn maybe_stored(&mut self) {
        if let Some(part) = self.parts.front_mut() {
            part.maybe_stored = true;
        }
    }

    /// The next part was accepted. Returns its samples, and those that are dropped by what is known
    /// now.
    pub(super) fn confirmed(&mut self) -> Option<(Batch, Vec<Lost>)> {
        let part = self.parts.pop_front()?;
        // The newer samples of a series say nothing about the other series.
        if part.ordered {
            self.taken = self.taken.max(Taken::Some);
        } else {
            self.taken = Taken::Series;
            self.in_a_row = 0;
        }
        self.reconsider();
        Some((part.batch, self.vouched()))
    }

    /// This many samples of the next part were accepted, and the others never will be: which ones
    /// those are is not known, but the number is right. Returns both, and the samples that are
    /// dropped by what is known now.
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

    /// Whether the receiver has confirmed anything since the batch arrived or was recalled. Without
    /// that, a refusal says nothing about the samples.
    pub(super) fn is_vouched(&self) -> bool {
        self.is_vouched
    }

    /// The receiver has just confirmed the canary, so what it refused before is dropped.
    pub(super) fn vouched(&mut self) -> Vec<Lost> {
        self.is_vouched = true;
        std::mem::take(&mut self.condemned)
    }

    /// Whether everything that is left is condemned: it takes a confirmation to drop it.
    pub(super) fn is_condemned(&self) -> bool {
        self.parts.is_empty() && !self.condemned.is_empty()
    }

    /// The receiver refuses the canary as well, so it has refused none of the samples for what they
    /// are: all that were not accepted are sent once more, together.
    pub(super) fn recall(&mut self) {
        let condemned = std::mem::take(&mut self.condemned).into_iter();
        let condemned = condemned.map(|lost| (lost.batch, lost.maybe_stored));
        let aside = std::mem::take(&mut self.aside).into_iter().map(|aside| aside.part);
        let parts = aside.chain(self.parts.drain(..)).map(|part| (part.batch, part.maybe_stored));
        let all: Vec<(Batch, bool)> = condemned.chain(parts).collect();
        if all.is_empty() {
            return;
        }
        let maybe_stored = all.iter().any(|(_, maybe_stored)| *maybe_stored);
        let batch = together(all.iter().map(|(batch, _)| batch));
        let whole = Part { batch, maybe_stored, ordered: false, last: false, failure: None };
        self.parts.push_back(whole);
        self.is_vouched = false;
        self.taken = self.taken.min(Taken::Some);
        (self.refusals, self.in_a_row) = (0, 0);
    }

    /// The next part was refused by a receiver that has confirmed something.
    pub(super) fn refused(&mut self, refusal: Refusal) {
        let Some(part) = self.parts.pop_front() else { return };
        self.refusals += 1;
        self.in_a_row += 1;
        let first = self.refusals == 1 && self.taken == Taken::Nothing;
        if first && self.row_max == ROW_MAX_AGAIN && times(&part.batch) > 1 {
            self.slice(&part.batch, part.maybe_stored);
        } else if part.last {
            self.condemned.push(part.lost(refusal));
        } else if self.in_a_row < self.row_max && self.refusals < REFUSALS_MAX {
            match part.split() {
                Ok(halves) => self.put_first(halves),
                Err(part) => self.condemned.push(part.lost(refusal)),
            }
        } else if part.ordered || part.batch.samples() == 1 {
            self.condemned.push(part.lost(refusal));
        } else {
            self.aside.push(Aside { part, refusal });
        }
        self.reconsider();
    }

    /// The next part is too large: it is halved, or condemned if it is a single sample.
    pub(super) fn too_large(&mut self, refusal: Refusal) {
        let Some(part) = self.parts.pop_front() else { return };
        match part.split() {
            Ok(halves) => self.put_first(halves),
            Err(part) => {
                self.condemned.push(part.lost(refusal));
                self.reconsider();
            }
        }
    }

    /// The next part has to be sent again. Returns whether it got the same answer so often that its
    /// samples may be the cause.
    pub(super) fn failed(&mut self, answer: Option<Refusal>) -> bool {
        let Some(part) = self.parts.front_mut() else { return false };
        let times = match (&part.failure, &answer) {
            (Some((last, times)), Some(answer)) if last == answer => times + 1,
            _ => 1,
        };
        part.failure = answer.map(|answer| (answer, times));
        let enough = if self.was_blamed { SUSPICION_AGAIN } else { SUSPICION };
        part.failure.is_some() && times >= enough
    }

    /// Other samples were accepted right after the next part failed: it is refused, whatever the
    /// status says.
    pub(super) fn blamed(&mut self) -> Vec<Lost> {
        self.was_blamed = true;
        if let Some((refusal, _)) = self.parts.front_mut().and_then(|part| part.failure.take()) {
            self.refused(refusal);
        }
        self.vouched()
    }

    /// Whether the receiver has refused all of it so far.
    pub(super) fn is_refused_whole(&self) -> bool {
        self.taken == Taken::Nothing && self.refusals > 0
    }

    /// Decides about the parts that were set aside, once nothing else is left.
    fn reconsider(&mut self) {
        if !self.parts.is_empty() {
            return;
        }
        let aside = std::mem::take(&mut self.aside);
        if self.taken != Taken::Series && aside.iter().any(|aside| times(&aside.part.batch) > 1) {
            let maybe_stored = aside.iter().any(|aside| aside.part.maybe_stored);
            let all = together(aside.iter().map(|aside| &aside.part.batch));
            self.slice(&all, maybe_stored);
            return;
        }
        for Aside { part, refusal } in aside.into_iter().rev() {
            let may_be_split = self.taken == Taken::Series && self.refusals < REFUSALS_MAX;
            match if may_be_split { part.split() } else { Err(part) } {
                Ok(halves) => {
                    self.in_a_row = 0;
                    self.put_first(halves);
                }
                Err(part) => self.condemned.push(part.lost(refusal)),
            }
        }
    }

    fn put_first(&mut self, [first, second]: [Part; 2]) {
        self.parts.push_front(second);
        self.parts.push_front(first);
    }

    /// Cuts a batch into pieces by time.
    fn slice(&mut self, batch: &Batch, maybe_stored: bool) {
        let mut all: Vec<UnixMs> = batch
            .series()
            .flat_map(|series| series.samples.iter().map(|sample| sample.time))
            .collect();
        all.sort_unstable();
        all.dedup();
        for range in all.chunks(all.len().div_ceil(SLICES)) {
            let (from, to) = (range[0], range[range.len() - 1]);
            let (batch, _) = divide(batch, |_, _, sample| (from..=to).contains(&sample.time));
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

/// Merges several batches: each series has its samples in the order of their times.
fn together<'b>(batches: impl IntoIterator<Item = &'b Batch>) -> Batch {
    let mut all = Batch::default();
    let mut places: HashMap<LabelSet, usize> = HashMap::new();
    let mut series: Vec<(LabelSet, FamilyId, Vec<Sample>)> = Vec::new();
    for batch in batches {
        all.metadata |= batch.metadata;
        for BatchSeries { labels, family, samples } in batch.series() {
            let place = *places.entry(labels).or_insert(series.len());
            if place == series.len() {
                series.push((labels, family, Vec::new()));
            }
            series[place].2.extend_from_slice(samples);
        }
    }
    for (labels, family, mut samples) in series {
        samples.sort_by_key(|sample| sample.time);
        all.push(labels, family, &samples);
    }
    all
}

/// How many times a batch holds, judging by its first series.
fn times(batch: &Batch) -> usize {
    batch.series().next().map_or(0, |series| series.samples.len())
}

#[cfg(test)]
mod tests;
