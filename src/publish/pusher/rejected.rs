//! Remembers which series a receiver refuses.

use std::time::Duration;

use hashbrown::HashSet;
use tokio::time::Instant;

use crate::publish::remote_write::{Batch, LabelSet};

use super::delivery::Delivery;

/// How many series are remembered, and for how long. Then they are all forgotten, and it takes some
/// requests to find those again that are still refused.
const REJECTED_MAX: usize = 10_000;
const REJECTED_FOR: Duration = Duration::from_secs(60 * 60);

/// Series that were refused on their own. A label set that has become that of another series costs
/// one request, until that is accepted.
#[derive(Debug)]
pub(super) struct RejectedSeries {
    series: HashSet<LabelSet>,
    since: Instant,
}

impl RejectedSeries {
    pub(super) fn new() -> Self {
        RejectedSeries { series: HashSet::new(), since: Instant::now() }
    }

    /// Has these series sent after the others, in a separate request.
    pub(super) fn set_apart(&mut self, delivery: &mut Delivery) {
        if self.since.elapsed() > REJECTED_FOR {
            *self = RejectedSeries::new();
        }
        if !self.series.is_empty() {
            delivery.set_apart(|labels| self.series.contains(&labels));
        }
    }

    pub(super) fn refused(&mut self, batch: &Batch) {
        if batch.len() == 1 {
            if self.series.len() >= REJECTED_MAX {
                *self = RejectedSeries::new();
            }
            self.series.extend(batch.series().map(|series| series.labels));
        }
    }

    pub(super) fn taken(&mut self, batch: &Batch) {
        if !self.series.is_empty() {
            for series in batch.series() {
                self.series.remove(&series.labels);
            }
        }
    }
}
