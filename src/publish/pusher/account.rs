//! Where each sample is: pending, confirmed or dropped (invariant I8).

use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use reqwest::StatusCode;

use crate::metrics::Metrics;

use super::answer::Attempt;

/// Why samples were given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DropReason {
    /// Newer samples of the same series were there before these could be sent.
    Superseded,
    /// Their time is not past that of samples that were there before them.
    NotNewer,
    /// The program ended first.
    Shutdown,
    /// The receiver will not take them.
    Refused(StatusCode),
}

impl DropReason {
    fn with_label(self, then: impl FnOnce(&str)) {
        match self {
            DropReason::Superseded => then("superseded"),
            DropReason::NotNewer => then("not_newer"),
            DropReason::Shutdown => then("shutdown"),
            DropReason::Refused(status) => then(&format!("http_{}", status.as_str())),
        }
    }
}

/// The metrics of one endpoint.
#[derive(Debug)]
pub(super) struct Account {
    endpoint: String,
    metrics: Arc<Metrics>,
}

impl Account {
    pub(super) fn new(endpoint: String, metrics: Arc<Metrics>) -> Self {
        let labels = [endpoint.as_str()];
        // They exist from the start, so that a rate sees their first increment.
        metrics.push_generated.with_label_values(&labels);
        metrics.push_confirmed.with_label_values(&labels);
        metrics.push_pending.with_label_values(&labels);
        metrics.push_bytes.with_label_values(&labels);
        for reason in [DropReason::Superseded, DropReason::NotNewer, DropReason::Shutdown] {
            reason.with_label(|reason| {
                metrics.push_dropped.with_label_values(&[&endpoint, reason]);
            });
        }
        Account { endpoint, metrics }
    }

    pub(super) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Samples are there that are to be sent.
    pub(super) fn generated(&self, samples: usize) {
        self.metrics.move_samples(|metrics| {
            metrics.push_generated.with_label_values(&[&self.endpoint]).inc_by(samples as u64);
            metrics.push_pending.with_label_values(&[&self.endpoint]).add(signed(samples));
        });
    }

    /// The receiver has confirmed pending samples.
    pub(super) fn confirmed(&self, samples: usize) {
        self.metrics.move_samples(|metrics| {
            metrics.push_confirmed.with_label_values(&[&self.endpoint]).inc_by(samples as u64);
            metrics.push_pending.with_label_values(&[&self.endpoint]).sub(signed(samples));
        });
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let last_success = self.metrics.push_last_success.with_label_values(&[&self.endpoint]);
        last_success.set(now.as_secs_f64());
    }

    /// Pending samples are given up.
    pub(super) fn dropped(&self, samples: usize, reason: DropReason) {
        reason.with_label(|reason| {
            self.metrics.move_samples(|metrics| {
                let dropped = metrics.push_dropped.with_label_values(&[&self.endpoint, reason]);
                dropped.inc_by(samples as u64);
                metrics.push_pending.with_label_values(&[&self.endpoint]).sub(signed(samples));
            });
        });
    }

    /// A request begins.
    pub(super) fn sent(&self, bytes: usize) {
        self.metrics.push_bytes.with_label_values(&[&self.endpoint]).inc_by(bytes as u64);
    }

    /// A request has ended.
    pub(super) fn attempted(&self, attempt: &Attempt) {
        let code = attempt.code.label();
        self.metrics.push_requests.with_label_values(&[&self.endpoint, code]).inc();
        self.metrics.push_seconds.observe(attempt.took.as_secs_f64());
    }
}

/// A number of samples, for a gauge.
fn signed(samples: usize) -> i64 {
    i64::try_from(samples).unwrap_or(i64::MAX)
}
