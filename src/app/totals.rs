//! The totals of a run, as one log line: what was counted, and what was not, by reason.

use crate::{
    flow::{Malformed, Skipped},
    metrics::Metrics,
    traffic::Ignored,
};

/// Logs what was counted and what was not, and why.
pub(super) fn tell(metrics: &Metrics) {
    let of = |counter: &prometheus::IntCounterVec, reasons: &[&str]| {
        let of = |reason: &&str| match counter.with_label_values(&[*reason]).get() {
            0 => None,
            count => Some(format!("{reason}: {count}")),
        };
        let told: Vec<String> = reasons.iter().filter_map(of).collect();
        if told.is_empty() { "none".to_owned() } else { told.join(", ") }
    };
    tracing::info!(
        messages = metrics.messages.get(),
        message_bytes = metrics.message_bytes.get(),
        flows = metrics.flows.get(),
        flow_bytes = %metrics.flow_bytes.get(),
        ignored_flows = of(&metrics.flows_ignored, &Ignored::ALL.map(Ignored::label)),
        skipped_records = of(&metrics.records_skipped, &Skipped::ALL.map(Skipped::label)),
        malformed_records = of(&metrics.decode_errors, &Malformed::ALL.map(Malformed::label)),
        "everything that was read is counted"
    );
}
