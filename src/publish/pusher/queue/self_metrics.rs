//! Turns the program's own metrics into samples, since they can't be scraped behind NAT.
//!
//! They are not in the log: they are sent as they are at the moment, at most once for each tick.

use std::{collections::VecDeque, sync::Arc};

use crate::{
    clock::UnixMs,
    metrics::Metrics,
    publish::remote_write::{Batch, BatchBounds, LabelPool, LabelSet, SAMPLE_MAX_BYTES, Sample},
};

use super::labels::{Labeler, METRIC_NAME};

/// Makes batches of the program's own metrics.
#[derive(Debug)]
pub(super) struct SelfMetrics {
    metrics: Arc<Metrics>,
    /// The label sets of the newest samples.
    sets: Vec<LabelSet>,
    time: UnixMs,
    ready: VecDeque<Batch>,
}

impl SelfMetrics {
    pub(super) fn new(metrics: Arc<Metrics>) -> Self {
        SelfMetrics { metrics, sets: Vec::new(), time: UnixMs::MIN, ready: VecDeque::new() }
    }

    /// Reads the metrics as they are now. Batches that were not handed out are replaced.
    pub(super) fn take(&mut self, pool: &mut LabelPool, labeler: &Labeler, bounds: BatchBounds) {
        self.ready.clear();
        for set in self.sets.drain(..) {
            pool.remove(set);
        }
        let now = UnixMs::now();
        if now <= self.time {
            // The clock was set back, and timestamps have to rise.
            return;
        }
        self.time = now;
        let mut batch = Batch::default();
        let mut bytes = 0;
        for family in self.metrics.gather() {
            let Some(id) = labeler.families().find(&family.name) else { continue };
            for sample in &family.samples {
                let name = format!("{}{}", family.name, sample.suffix);
                let labels = sample.labels.iter().map(|(name, value)| (&**name, &**value));
                let mut labels: Vec<_> = labels.chain([(METRIC_NAME, &*name)]).collect();
                labels.sort_unstable();
                let set = labeler.finish(labels, |labels| labels.map(|labels| pool.add(labels)));
                let Some(set) = set else { continue };
                self.sets.push(set);
                let size = pool.request_len(set) + SAMPLE_MAX_BYTES;
                let room = bounds.series.min(bounds.samples);
                if batch.len() >= room || bytes + size > bounds.bytes && !batch.is_empty() {
                    self.ready.push_back(std::mem::take(&mut batch));
                    bytes = 0;
                }
                bytes += size;
                let sample = Sample { time: now, value: sample.value, start: None };
                batch.push(set, id, &[sample]);
            }
        }
        if !batch.is_empty() {
            self.ready.push_back(batch);
        }
    }

    pub(super) fn hand_out(&mut self) -> Option<Batch> {
        self.ready.pop_front()
    }
}
