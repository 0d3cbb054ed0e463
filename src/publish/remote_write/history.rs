//! Remembers where labels were written in a request, so that series can repeat them.

use super::{
    pool::{LabelPool, LabelSet},
    request_ids::RequestIds,
    snappy::Block,
};

/// How a protocol writes a label.
pub(super) trait Form {
    /// Writes a label that is not in the request yet.
    fn put(&mut self, pair: u32, block: &mut Block);
}

/// What the current request holds: its series, and where each label was written last.
#[derive(Debug, Default)]
pub(super) struct History {
    labels: RequestIds,
    /// By number of the label in the request.
    seen: Vec<Seen>,
    series: Vec<Written>,
}

/// A series of the current request.
#[derive(Debug, Clone, Copy)]
struct Written {
    labels: LabelSet,
    /// Where it begins.
    start: u32,
    /// Where its labels begin.
    labels_start: u32,
}

/// Where a label was written last.
#[derive(Debug, Clone, Copy)]
struct Seen {
    /// Its place in the request.
    at: u32,
    /// Which series has it.
    series: u32,
    /// Which of the labels of that series it is.
    label: u32,
    /// What it takes, in bytes.
    length: u32,
}

impl History {
    /// Begins a request of series of `pool`.
    pub(super) fn begin(&mut self, pool: &LabelPool) {
        let (_, pairs) = pool.id_bounds();
        self.labels.begin(pairs);
        self.seen.clear();
        self.series.clear();
    }

    /// Writes a series except for its samples: `head` writes what precedes the labels.
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
            // The end of the previous series, and the head, as far as it is the same.
            block.repeats(start, model.start as usize, 1);
            self.copy(block, &ids[..shared], 0, model.labels_start as usize);
            next = shared;
        }
        while next < ids.len() {
            let id = ids[next];
            if let Some(number) = self.labels.find(id) {
                let Seen { at, series, label, .. } = self.seen[number];
                let others = pool.pair_ids(self.series[series as usize].labels);
                let shared = common(&others[label as usize..], &ids[next..]);
                self.copy(block, &ids[next..next + shared], next, at as usize);
                next += shared;
            } else {
                let at = block.len();
                form.put(id, block);
                self.labels.add(id);
                self.seen.push(Seen {
                    at: at as u32,
                    series: self.series.len() as u32 - 1,
                    label: next as u32,
                    length: (block.len() - at) as u32,
                });
                next += 1;
            }
        }
    }

    /// The series whose first labels are most like `ids`, and how many labels they share there.
    fn model(&self, pool: &LabelPool, ids: &[u32]) -> Option<(Written, usize)> {
        let &before = self.series.last()?;
        let shared = common(pool.pair_ids(before.labels), ids);
        if let Some(&id) = ids.get(shared) {
            // An earlier one may match further where the previous one differs.
            let seen = self.labels.find(id).map(|number| self.seen[number]);
            if let Some(seen) = seen.filter(|seen| seen.label as usize == shared) {
                let other = self.series[seen.series as usize];
                let shared_other = common(pool.pair_ids(other.labels), ids);
                if shared_other > shared {
                    return Some((other, shared_other));
                }
            }
        }
        Some((before, shared))
    }

    /// Writes the labels `ids` of the current series, the first of which is number `first`, by
    /// copying them from where they were written before.
    fn copy(&mut self, block: &mut Block, ids: &[u32], first: usize, from: usize) {
        let start = block.len();
        let mut at = start;
        let series = self.series.len() as u32 - 1;
        for (label, &id) in (first as u32..).zip(ids) {
            // It was written before, so it has a number.
            let Some(number) = self.labels.find(id) else { continue };
            let seen = &mut self.seen[number];
            *seen = Seen { at: at as u32, series, label, length: seen.length };
            at += seen.length as usize;
        }
        if at > start {
            block.copy(from, at - start);
        }
    }
}

/// How long the common beginning of two lists is.
fn common(one: &[u32], other: &[u32]) -> usize {
    one.iter().zip(other).take_while(|(one, other)| one == other).count()
}
