//! Where in a request labels have been written before.

use super::{
    pool::{LabelPool, LabelSet, fit},
    snappy::Block,
};

/// How one of the protocols writes a label.
pub(super) trait Form {
    /// Writes a label that is not yet in the request, or long ago.
    fn put(&mut self, pair: u32, block: &mut Block);
}

/// The places of one request. They are kept as numbers that rise from request to request, so that
/// nothing has to be cleared between two requests.
#[derive(Debug)]
pub(super) struct Places {
    /// Added to a place in the request at hand.
    base: u32,
}

/// A place that is in no request.
pub(super) const NOWHERE: u32 = 0;

impl Default for Places {
    fn default() -> Self {
        Places { base: NOWHERE + 1 }
    }
}

impl Places {
    /// Begins a request, where that before was so long. Returns whether the numbers begin anew, and
    /// all that are kept must be forgotten.
    pub(super) fn begin(&mut self, length: usize) -> bool {
        let anew = self.base as usize + length > u32::MAX as usize / 2;
        self.base = if anew { NOWHERE + 1 } else { self.base + length as u32 };
        anew
    }

    /// What to keep for a place in the request at hand.
    pub(super) fn keep(&self, at: usize) -> u32 {
        self.base + at as u32
    }

    /// The place in the request at hand that was kept.
    pub(super) fn find(&self, kept: u32) -> Option<usize> {
        kept.checked_sub(self.base).map(|at| at as usize)
    }
}

/// What has been written of the request at hand: its series, and where each label was last.
#[derive(Debug, Default)]
pub(super) struct History {
    places: Places,
    /// By label id.
    pairs: Vec<Seen>,
    series: Vec<Written>,
}

/// A series of the request at hand.
#[derive(Debug, Clone, Copy)]
struct Written {
    labels: LabelSet,
    /// Where it begins.
    start: u32,
    /// Where its labels begin.
    labels_start: u32,
}

#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    /// As [`Places::keep`] has it.
    kept: u32,
    /// Which series has it.
    series: u32,
    /// Which of the labels of that series it is.
    label: u32,
    /// What it takes, in bytes.
    length: u32,
}

impl History {
    /// Begins a request of series of `pool`.
    pub(super) fn begin(&mut self, pool: &LabelPool, length: usize) {
        if self.places.begin(length) {
            self.pairs.clear();
        }
        let (_, pairs) = pool.id_bounds();
        fit(&mut self.pairs, pairs);
        self.series.clear();
    }

    /// Writes a series but for its samples: `head` writes what is before the labels.
    pub(super) fn series<F: Form>(
        &mut self,
        block: &mut Block,
        pool: &LabelPool,
        labels: LabelSet,
        form: &mut F,
        head: impl FnOnce(&mut Vec<u8>),
    ) {
        let ids = pool.pair_ids(labels);
        let model = self.model(pool, ids);
        let start = block.len();
        head(block.raw_mut());
        let labels_start = block.len() as u32;
        self.series.push(Written { labels, start: start as u32, labels_start });
        let mut next = 0;
        if let Some((model, shared)) = model {
            // The end of the series before, and the head, as far as it is the same.
            block.repeats(start, model.start as usize, 1);
            self.copy(block, &ids[..shared], 0, model.labels_start as usize);
            next = shared;
        }
        while next < ids.len() {
            let id = ids[next];
            let seen = self.pairs[id as usize];
            if let Some(from) = self.places.find(seen.kept) {
                let others = pool.pair_ids(self.series[seen.series as usize].labels);
                let shared = common(&others[seen.label as usize..], &ids[next..]);
                self.copy(block, &ids[next..next + shared], next, from);
                next += shared;
            } else {
                let at = block.len();
                form.put(id, block);
                let length = (block.len() - at) as u32;
                self.pairs[id as usize] = Seen {
                    kept: self.places.keep(at),
                    series: self.series.len() as u32 - 1,
                    label: next as u32,
                    length,
                };
                next += 1;
            }
        }
    }

    /// The series that one with the labels `ids` is most like at its beginning, and how many labels
    /// they share there.
    fn model(&self, pool: &LabelPool, ids: &[u32]) -> Option<(Written, usize)> {
        let &before = self.series.last()?;
        let shared = common(pool.pair_ids(before.labels), ids);
        if let Some(&id) = ids.get(shared) {
            // Maybe one further back goes on where the one before is different.
            let seen = self.pairs[id as usize];
            if self.places.find(seen.kept).is_some() && seen.label as usize == shared {
                let other = self.series[seen.series as usize];
                let shared_other = common(pool.pair_ids(other.labels), ids);
                if shared_other > shared {
                    return Some((other, shared_other));
                }
            }
        }
        Some((before, shared))
    }

    /// Writes the labels `ids` of the series at hand, of which `first` is the place of the first
    /// one, from where they have been written before.
    fn copy(&mut self, block: &mut Block, ids: &[u32], first: usize, from: usize) {
        let start = block.len();
        let mut at = start;
        let series = self.series.len() as u32 - 1;
        for (label, &id) in (first as u32..).zip(ids) {
            let seen = &mut self.pairs[id as usize];
            *seen = Seen { kept: self.places.keep(at), series, label, length: seen.length };
            at += seen.length as usize;
        }
        if at > start {
            block.copy(from, at - start);
        }
    }
}

/// How many ids both begin with.
fn common(one: &[u32], other: &[u32]) -> usize {
    one.iter().zip(other).take_while(|(one, other)| one == other).count()
}
