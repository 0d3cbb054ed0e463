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
//!   receivers refuse as a whole is what is too old. So a batch that is refused as a whole costs
//!   7 requests, and 8 more if it holds several times.
//! - Where the batch before was refused as a whole, the second refusal is the last in a row, and a
//!   batch with several times is cut by time at once.
//! - After [`REFUSALS_MAX`] refusals of one batch, nothing is halved any more.
//!
//! Samples of a series always go out in the order of their times: parts of one series are never
//! set aside.

use std::collections::VecDeque;

use crate::publish::remote_write::{Batch, Sample};

use super::answer::Refusal;

/// Refusals one after the other, after which parts are not halved but set aside.
const ROW_MAX: u32 = 4;

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
    /// Whether it is a piece by time of a batch of which nothing was taken.
    slice: bool,
    /// The answer that it gets again and again, and how often it did.
    failure: Option<(Refusal, u32)>,
}

impl Part {
    pub(super) fn batch(&self) -> &Batch {
        &self.batch
    }

    fn split(self) -> Result<[Part; 2], Part> {
        let Part { batch, maybe_stored, ordered, slice, failure } = self;
        let ordered_halves = ordered || batch.len() == 1;
        match batch.split() {
            Ok((first, second)) => Ok([first, second].map(|batch| Part {
                batch,
                maybe_stored,
                ordered: ordered_halves,
                slice,
                failure: None,
            })),
            Err(batch) => Err(Part { batch, maybe_stored, ordered, slice, failure }),
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
    /// How many parts had been taken when it was set aside.
    taken: u32,
}

#[derive(Debug)]
pub(super) struct Delivery {
    /// The first is the next to be sent.
    parts: VecDeque<Part>,
    aside: Vec<Aside>,
    /// Parts that were taken.
    taken: u32,
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
        let part = Part { batch, maybe_stored, ordered: false, slice: false, failure: None };
        Delivery {
            parts: VecDeque::from([part]),
            aside: Vec::new(),
            taken: 0,
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
        let Some(part) = self.parts.pop_front() else { return };
        let (first, rest) = divide(&part.batch, |at, _| at < series);
        let parts = [first, rest].map(|batch| Part { batch, failure: None, ..part });
        for part in parts.into_iter().rev().filter(|part| !part.batch.is_empty()) {
            self.parts.push_front(part);
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
        self.taken += 1;
        self.in_a_row = 0;
        Some((part.batch, self.reconsider()))
    }

    /// This many samples of the next part were taken, and the others never will be. Which ones
    /// these are is not known: the number is right.
    pub(super) fn partly(&mut self, written: usize) -> Option<(Batch, Batch, Vec<Lost>)> {
        let (batch, lost) = self.confirmed()?;
        let mut count = 0;
        let (taken, refused) = divide(&batch, |_, _| {
            count += 1;
            count <= written
        });
        Some((taken, refused, lost))
    }

    /// The next part was refused: the samples that are lost by that.
    pub(super) fn refused(&mut self, refusal: Refusal) -> Vec<Lost> {
        let Some(part) = self.parts.pop_front() else { return Vec::new() };
        self.refusals += 1;
        self.in_a_row += 1;
        let mut lost = Vec::new();
        let first = self.refusals == 1 && self.taken == 0;
        if first && self.row_max == ROW_MAX_AGAIN && times(&part.batch) > 1 {
            self.slice(&part.batch, part.maybe_stored);
        } else if part.slice {
            lost.push(part.lost(refusal));
        } else if self.in_a_row < self.row_max && self.refusals < REFUSALS_MAX {
            match part.split() {
                Ok(halves) => self.put_first(halves),
                Err(part) => lost.push(part.lost(refusal)),
            }
        } else if part.ordered || part.batch.samples() == 1 {
            lost.push(part.lost(refusal));
        } else {
            self.aside.push(Aside { part, refusal, taken: self.taken });
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
        self.taken == 0 && self.refusals > 0
    }

    /// Once nothing else is left: what becomes of the parts that were set aside.
    fn reconsider(&mut self) -> Vec<Lost> {
        let mut lost = Vec::new();
        if !self.parts.is_empty() {
            return lost;
        }
        let aside = std::mem::take(&mut self.aside);
        if self.taken == 0 && aside.iter().any(|aside| times(&aside.part.batch) > 1) {
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
        for Aside { part, refusal, taken } in aside.into_iter().rev() {
            let may_be_split = taken < self.taken && self.refusals < REFUSALS_MAX;
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
            let (batch, _) =
                divide(batch, |_, sample| (from..=to).contains(&sample.time_ms));
            self.parts.push_back(Part {
                batch,
                maybe_stored,
                ordered: true,
                slice: true,
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

/// Two batches: the samples that `first` picks, by the place of their series, and the others.
fn divide(
    batch: &Batch,
    mut first: impl FnMut(usize, &Sample) -> bool,
) -> (Batch, Batch) {
    let (mut picked, mut others) = (Batch::default(), Batch::default());
    picked.metadata = batch.metadata;
    for (at, series) in batch.series().enumerate() {
        let (yes, no): (Vec<Sample>, Vec<Sample>) =
            series.samples.iter().partition(|sample| first(at, sample));
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
