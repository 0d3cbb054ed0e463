//! A sample that is known to be good, sent to ask one question: does the receiver store anything at
//! all now?

use crate::{
    clock::{self, Millis, UnixMs},
    publish::remote_write::{Batch, Families, FamilyId, LabelPool, LabelSet, Sample},
};

/// A series with the time as its value. It is new data each time, so a confirmation proves that the
/// receiver stores something, and a refusal that nothing is wrong with other samples.
#[derive(Debug)]
pub(super) struct Canary {
    pub(super) pool: LabelPool,
    labels: LabelSet,
    family: FamilyId,
    /// That of the newest sample.
    time: UnixMs,
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
        Canary { pool, labels, family, time: UnixMs::MIN }
    }

    /// One sample that no receiver has.
    pub(super) fn batch(&mut self) -> Batch {
        let now = clock::since_epoch();
        self.time = (UnixMs::new(0) + now.into()).max(self.time + Millis::new(1));
        let sample = Sample { time: self.time, value: now.as_secs_f64(), start: None };
        let mut batch = Batch::default();
        batch.push(self.labels, self.family, &[sample]);
        batch
    }
}
