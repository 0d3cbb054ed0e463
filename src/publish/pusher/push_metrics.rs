//! Counts what becomes of each sample: it is pending, confirmed or dropped, and nothing else.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use reqwest::StatusCode;

use crate::{
    clock::{self, UnixMs},
    journal::Usage,
    metrics::Metrics,
};

/// Why samples were dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DropReason {
    /// They were beyond the log's caps.
    QueueFull,
    /// The log is damaged where they are.
    JournalBroken,
    /// They are older than the operator's limit.
    TooOld,
    /// Their time is not after that of earlier samples.
    NotNewer,
    /// Their series is not for this endpoint.
    LeftOut,
    /// Another series has the same labels.
    Duplicate,
    /// The program ended, and its queue is in memory; or the endpoint was removed.
    Shutdown,
    /// The receiver refused them.
    Refused(StatusCode),
}

impl DropReason {
    /// All whose labels are known beforehand.
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

/// The metrics of one endpoint. A handle: clones count for the same endpoint.
#[derive(Debug, Clone)]
pub(super) struct PushMetrics {
    endpoint: String,
    metrics: Arc<Metrics>,
    /// Samples that an earlier pusher of this endpoint left pending, and that this one has not found
    /// in the log yet. They are not counted twice.
    inherited: Arc<AtomicU64>,
}

impl PushMetrics {
    pub(super) fn new(endpoint: String, metrics: Arc<Metrics>) -> Self {
        let labels = [endpoint.as_str()];
        // They exist from the start, so that `rate()` sees their first increment.
        metrics.push_generated.with_label_values(&labels);
        metrics.push_confirmed.with_label_values(&labels);
        metrics.push_pending.with_label_values(&labels);
        for reason in DropReason::KNOWN {
            reason.with_label(|reason| {
                metrics.push_dropped.with_label_values(&[&endpoint, reason]);
            });
        }
        PushMetrics { endpoint, metrics, inherited: Arc::default() }
    }

    /// All metrics of the program.
    pub(super) fn all(&self) -> Arc<Metrics> {
        Arc::clone(&self.metrics)
    }

    /// A pusher begins: what is pending now was left by one before it.
    pub(super) fn inherit(&self) {
        self.inherited.store(self.pending() as u64, Ordering::Relaxed);
    }

    pub(super) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// There are more samples to be sent.
    pub(super) fn generated(&self, samples: u64) {
        // One thread counts for an endpoint.
        let inherited = self.inherited.load(Ordering::Relaxed);
        let known = inherited.min(samples);
        self.inherited.store(inherited - known, Ordering::Relaxed);
        let samples = samples - known;
        self.metrics.move_samples(|metrics| {
            metrics.push_generated.with_label_values(&[&self.endpoint]).inc_by(samples);
            let pending = metrics.push_pending.with_label_values(&[&self.endpoint]);
            pending.add(i64::try_from(samples).unwrap_or(i64::MAX));
        });
    }

    /// How many samples are neither confirmed nor dropped.
    pub(super) fn pending(&self) -> usize {
        let pending = self.metrics.push_pending.with_label_values(&[&self.endpoint]).get();
        usize::try_from(pending).unwrap_or_default()
    }

    /// All that the log has for the endpoint is read: what an earlier pusher left pending and this
    /// one did not find is not there any more.
    pub(super) fn is_read(&self) {
        let missing = self.inherited.swap(0, Ordering::Relaxed);
        self.dropped(missing as usize, DropReason::NotNewer);
    }

    /// How long the queue is: the time of the oldest pending sample, how much the log keeps from
    /// there on, and since when it is observed.
    pub(super) fn queue(&self, oldest: Option<UnixMs>, usage: Usage, observed: Duration) {
        let labels = [self.endpoint.as_str()];
        let seconds = oldest.map_or(0.0, |oldest| oldest.get() as f64 / 1000.0);
        self.metrics.push_oldest_pending.with_label_values(&labels).set(seconds);
        let bytes = if oldest.is_some() { usage.bytes } else { 0 };
        let gauge = self.metrics.push_pending_bytes.with_label_values(&labels);
        gauge.set(i64::try_from(bytes).unwrap_or(i64::MAX));
        let now = clock::since_epoch();
        let age = oldest.map_or(0.0, |_| now.as_secs_f64() - seconds);
        let rate = usage.appended_bytes as f64 / observed.as_secs_f64().max(1.0);
        let left_bytes = usage.max_bytes.saturating_sub(bytes) as f64;
        let by_size = if rate > 0.0 { left_bytes / rate } else { f64::INFINITY };
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

    /// Pending samples are dropped.
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
