//! A sample that is not in question, for one question: does the receiver store anything at all now?

use std::time::{SystemTime, UNIX_EPOCH};

use crate::publish::remote_write::{Batch, Families, FamilyId, LabelPool, LabelSet, Sample};

/// A series of its own with the time as its value: new data each time, so a confirmation proves
/// that the receiver stores something, and a refusal that nothing is wrong with other samples.
#[derive(Debug)]
pub(super) struct Canary {
    pub(super) pool: LabelPool,
    labels: LabelSet,
    family: FamilyId,
    time_ms: i64,
}

impl Canary {
    const NAME: &str = "flow_exporter_remote_write_probe_timestamp_seconds";

    /// `external`: the endpoint's labels, sorted by name.
    pub(super) fn new<'l>(
        families: &Families,
        external: impl IntoIterator<Item = (&'l str, &'l str)>,
    ) -> Self {
        let mut labels: Vec<_> = external.into_iter().chain([("__name__", Self::NAME)]).collect();
        labels.sort_unstable();
        let mut pool = LabelPool::new();
        let labels = pool.add(labels);
        // A gauge like it.
        let family = families
            .find("flow_exporter_remote_write_last_success_timestamp_seconds")
            .unwrap_or(FamilyId::new(0));
        Canary { pool, labels, family, time_ms: 0 }
    }

    /// One sample that no receiver has.
    pub(super) fn batch(&mut self, now: SystemTime) -> Batch {
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let now_ms = i64::try_from(now.as_millis()).unwrap_or(i64::MAX);
        self.time_ms = now_ms.max(self.time_ms.saturating_add(1));
        let value = now.as_secs_f64();
        let mut batch = Batch::default();
        batch.push(
            self.labels,
            self.family,
            &[Sample { time_ms: self.time_ms, value, start_ms: 0 }],
        );
        batch
    }
}
