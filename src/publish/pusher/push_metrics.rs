//! Where each sample is: pending, confirmed or dropped (invariant I8).

use std::{sync::Arc, time::Duration};

use reqwest::StatusCode;

use crate::{clock, journal::Usage, metrics::Metrics};

/// Why samples were given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DropReason {
    /// The log's caps left no room for them.
    QueueFull,
    /// The log can't be read where they are.
    JournalBroken,
    /// They are older than the operator wants them to be.
    TooOld,
    /// Their time is not past that of samples that were there before them.
    NotNewer,
    /// Their series is not for this endpoint.
    LeftOut,
    /// Another series has the same labels.
    Duplicate,
    /// The program ended first, and keeps nothing.
    Shutdown,
    /// The receiver will not take them.
    Refused(StatusCode),
}

impl DropReason {
    /// Those that are known beforehand.
    const KNOWN: [DropReason; 7] = [
        DropReason::QueueFull,
        DropReason::JournalBroken,
        DropReason::TooOld,
        DropReason::NotNewer,
        DropReason::LeftOut,
        DropReason::Duplicate,
        DropReason::Shutdown,
    ];

    fn with_label(self, then: impl FnOnce(&str)) {
        match self {
            DropReason::QueueFull => then("queue_full"),
            DropReason::JournalBroken => then("journal_broken"),
            DropReason::TooOld => then("too_old"),
            DropReason::NotNewer => then("not_newer"),
            DropReason::LeftOut => then("relabelled"),
            DropReason::Duplicate => then("duplicate_labels"),
            DropReason::Shutdown => then("shutdown"),
            DropReason::Refused(status) => then(&format!("http_{}", status.as_str())),
        }
    }
}

/// The metrics of one endpoint.
#[derive(Debug)]
pub(super) struct PushMetrics {
    endpoint: String,
    metrics: Arc<Metrics>,
}

impl PushMetrics {
    pub(super) fn new(endpoint: String, metrics: Arc<Metrics>) -> Self {
        let labels = [endpoint.as_str()];
        // They exist from the start, so that a rate sees their first increment.
        metrics.push_generated.with_label_values(&labels);
        metrics.push_confirmed.with_label_values(&labels);
        metrics.push_pending.with_label_values(&labels);
        for reason in DropReason::KNOWN {
            reason.with_label(|reason| {
                metrics.push_dropped.with_label_values(&[&endpoint, reason]);
            });
        }
        PushMetrics { endpoint, metrics }
    }

    pub(super) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Samples are there that are to be sent.
    pub(super) fn generated(&self, samples: u64) {
        self.metrics.move_samples(|metrics| {
            metrics.push_generated.with_label_values(&[&self.endpoint]).inc_by(samples);
            let pending = metrics.push_pending.with_label_values(&[&self.endpoint]);
            pending.add(i64::try_from(samples).unwrap_or(i64::MAX));
        });
    }

    /// Samples that are neither confirmed nor given up.
    pub(super) fn pending(&self) -> usize {
        let pending = self.metrics.push_pending.with_label_values(&[&self.endpoint]).get();
        usize::try_from(pending).unwrap_or_default()
    }

    /// How long the queue is. `oldest_ms`: time of the oldest pending sample, in milliseconds since
    /// the epoch; `usage`: of the log, from there on; `observed`: since when it is appended to.
    pub(super) fn queue(&self, oldest_ms: Option<i64>, usage: Usage, observed: Duration) {
        let labels = [self.endpoint.as_str()];
        let oldest = oldest_ms.map_or(0.0, |oldest_ms| oldest_ms as f64 / 1000.0);
        self.metrics.push_oldest_pending.with_label_values(&labels).set(oldest);
        let bytes = if oldest_ms.is_some() { usage.bytes } else { 0 };
        let gauge = self.metrics.push_pending_bytes.with_label_values(&labels);
        gauge.set(i64::try_from(bytes).unwrap_or(i64::MAX));
        let now = clock::since_epoch();
        let age = oldest_ms.map_or(0.0, |_| now.as_secs_f64() - oldest);
        let rate = usage.appended_bytes as f64 / observed.as_secs_f64().max(1.0);
        let room = usage.max_bytes.saturating_sub(bytes) as f64;
        let by_size = if rate > 0.0 { room / rate } else { f64::INFINITY };
        let by_age = usage.max_age.as_secs_f64() - age;
        let left = by_size.min(by_age).max(0.0);
        self.metrics.push_queue_full.with_label_values(&labels).set(left);
    }

    /// The receiver has confirmed pending samples.
    pub(super) fn confirmed(&self, samples: usize) {
        self.metrics.move_samples(|metrics| {
            metrics.push_confirmed.with_label_values(&[&self.endpoint]).inc_by(samples as u64);
            metrics.push_pending.with_label_values(&[&self.endpoint]).sub(signed(samples));
        });
        let now = clock::since_epoch();
        let last_success = self.metrics.push_last_success.with_label_values(&[&self.endpoint]);
        last_success.set(now.as_secs_f64());
    }

    /// Pending samples are given up.
    pub(super) fn dropped(&self, samples: usize, reason: DropReason) {
        if samples == 0 {
            return;
        }
        reason.with_label(|reason| {
            self.metrics.move_samples(|metrics| {
                let dropped = metrics.push_dropped.with_label_values(&[&self.endpoint, reason]);
                dropped.inc_by(samples as u64);
                metrics.push_pending.with_label_values(&[&self.endpoint]).sub(signed(samples));
            });
        });
    }
}

/// A number of samples, for a gauge.
fn signed(samples: usize) -> i64 {
    i64::try_from(samples).unwrap_or(i64::MAX)
}
