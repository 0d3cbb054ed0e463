//! What became of the samples for push, according to the program's own metrics.

use std::collections::BTreeMap;

use flow_exporter::metrics::Metrics;

/// Samples of the only endpoint, by what became of them.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Samples {
    pub generated: u64,
    pub confirmed: u64,
    pub pending: u64,
    /// By reason, without zeros.
    pub dropped: BTreeMap<String, u64>,
}

impl Samples {
    /// Reads the metrics, and asserts that each sample that was generated is accounted for.
    #[allow(clippy::cast_sign_loss, reason = "counts")]
    pub fn of(metrics: &Metrics) -> Self {
        let mut samples = Samples::default();
        for family in metrics.gather() {
            for sample in family.samples {
                let value = sample.value as u64;
                match family.name.as_str() {
                    "flow_exporter_remote_write_samples_generated_total" => {
                        samples.generated = value;
                    }
                    "flow_exporter_remote_write_samples_confirmed_total" => {
                        samples.confirmed = value;
                    }
                    "flow_exporter_remote_write_samples_pending" => {
                        assert!(sample.value >= 0.0, "{} are pending", sample.value);
                        samples.pending = value;
                    }
                    "flow_exporter_remote_write_samples_dropped_total" if value > 0 => {
                        let reason = sample.labels.into_iter().find(|(name, _)| name == "reason");
                        samples.dropped.insert(reason.unwrap().1, value);
                    }
                    _ => {}
                }
            }
        }
        let dropped: u64 = samples.dropped.values().sum();
        assert_eq!(samples.generated, samples.confirmed + samples.pending + dropped, "{samples:?}");
        samples
    }
}
