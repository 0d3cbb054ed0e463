//! Reports how pushing to one endpoint goes: metrics, health, and a few log lines.

use std::{fmt, path::Path, sync::Arc, time::Duration};

use reqwest::StatusCode;

use crate::{
    clock,
    health::{Component, State},
    log_limit::LogLimit,
    metrics::Metrics,
};

use super::{
    answer::{Refusal, advice},
    send_error::SendError,
    sender::{Content, Reply},
};

/// Events that may happen with every request are logged once in this time.
pub(super) const LOG_PERIOD: Duration = Duration::from_secs(60);

/// How the endpoint is. Trouble with it does not make the process unready: counting continues, and
/// the samples wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Condition {
    /// Nothing has been sent.
    New,
    Well,
    Failing,
    /// It refuses everything with this status, so its operator is needed.
    Held(StatusCode),
}

pub(super) struct PushStatus {
    endpoint: String,
    metrics: Arc<Metrics>,
    component: Component,
    condition: Condition,
    content: Option<Content>,
    failure_log: LogLimit,
    refusal_log: LogLimit,
    quarantine_log: LogLimit,
}

impl fmt::Debug for PushStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PushStatus").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

impl PushStatus {
    pub(super) fn new(endpoint: String, metrics: Arc<Metrics>, component: Component) -> Self {
        let labels = [endpoint.as_str()];
        // They exist from the start, so that `rate()` sees their first increment.
        metrics.push_bytes.with_label_values(&labels);
        metrics.push_already_stored.with_label_values(&labels);
        metrics.push_held.with_label_values(&labels);
        component.set(State::Ready);
        PushStatus {
            endpoint,
            metrics,
            component,
            condition: Condition::New,
            content: None,
            failure_log: LogLimit::new(LOG_PERIOD),
            refusal_log: LogLimit::new(LOG_PERIOD),
            quarantine_log: LogLimit::new(LOG_PERIOD),
        }
    }

    pub(super) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// A request begins.
    pub(super) fn sent(&self, bytes: usize) {
        self.metrics.push_bytes.with_label_values(&[&self.endpoint]).inc_by(bytes as u64);
    }

    /// A request has ended.
    pub(super) fn ended(&self, result: &Result<Reply, SendError>, took: Duration) {
        let code = match result {
            Ok(reply) => reply.status.as_str(),
            Err(error) => error.kind.label(),
        };
        self.metrics.push_requests.with_label_values(&[&self.endpoint, code]).inc();
        self.metrics.push_seconds.with_label_values(&[&self.endpoint]).observe(took.as_secs_f64());
    }

    /// Requests have this form from now on.
    pub(super) fn form(&mut self, content: Content) {
        let before = self.content.replace(content);
        if before == Some(content) {
            return;
        }
        let labels = |content: Content| {
            [self.endpoint.as_str(), content.protocol_label(), content.compression_label()]
        };
        if let Some(before) = before {
            self.metrics.push_protocol.with_label_values(&labels(before)).set(0);
            tracing::info!(
                endpoint = self.endpoint,
                protocol = content.protocol_label(),
                compression = content.compression_label(),
                "the protocol or compression of requests has changed"
            );
        }
        self.metrics.push_protocol.with_label_values(&labels(content)).set(1);
    }

    /// The endpoint has accepted a request.
    pub(super) fn well(&mut self) {
        let before = std::mem::replace(&mut self.condition, Condition::Well);
        if before == Condition::New {
            // That it works is said once, for the operator who has just set it up.
            tracing::info!(endpoint = self.endpoint, "the endpoint accepts samples");
        } else if before != Condition::Well {
            tracing::info!(endpoint = self.endpoint, "the endpoint accepts samples again");
            self.metrics.push_held.with_label_values(&[&self.endpoint]).set(0);
            self.component.set(State::Ready);
        }
    }

    /// A request has to be sent again.
    pub(super) fn failing(&mut self, what: &str, wait: Duration) {
        self.error();
        self.condition = Condition::Failing;
        self.metrics.push_held.with_label_values(&[&self.endpoint]).set(0);
        self.component.set(State::Degraded(format!(
            "samples wait: the endpoint does not accept them at the moment: {what}"
        )));
        if let Some(held_back) = self.failure_log.permit() {
            tracing::warn!(
                endpoint = self.endpoint,
                error = what,
                retry_in = ?wait,
                held_back,
                "can't send samples: trying again"
            );
        }
    }

    /// Requests get smaller, since connections break while larger ones are sent.
    pub(super) fn too_large(&self, what: &str, samples: usize, bytes: usize) {
        tracing::warn!(
            endpoint = self.endpoint,
            error = what,
            samples,
            bytes,
            "the connection breaks each time this request is sent: trying with half the samples"
        );
    }

    /// The endpoint needs its operator.
    pub(super) fn held(&mut self, refusal: &Refusal, wait: Duration) {
        self.error();
        let Refusal { status, message } = refusal;
        let condition = Condition::Held(*status);
        if self.condition != condition {
            tracing::error!(
                endpoint = self.endpoint,
                %status,
                answer = message,
                retry_every = ?wait,
                "NOTHING IS PUSHED: {}",
                advice(*status)
            );
        }
        self.condition = condition;
        self.metrics.push_held.with_label_values(&[&self.endpoint]).set(1);
        self.component.set(State::Degraded(format!(
            "NOTHING IS PUSHED, samples wait: {status}: {message}; {}",
            advice(*status)
        )));
    }

    /// The receiver will never accept some samples.
    pub(super) fn refused(&mut self, refusal: &Refusal, samples: usize) {
        self.error();
        let Refusal { status, message } = refusal;
        if let Some(held_back) = self.refusal_log.permit() {
            tracing::warn!(
                endpoint = self.endpoint,
                %status,
                answer = message,
                samples,
                held_back,
                "the endpoint will never accept these samples: they are dropped"
            );
        }
    }

    /// Refused samples could not be kept in the quarantine.
    pub(super) fn not_kept(&self, path: &Path, error: &str) {
        if let Some(held_back) = self.quarantine_log.permit() {
            let (endpoint, path) = (self.endpoint.as_str(), path.display());
            tracing::warn!(endpoint, %path, error, held_back, "refused samples are not kept in the quarantine");
        }
    }

    /// Samples were refused because the receiver has them already.
    pub(super) fn already_stored(&self, samples: usize) {
        let counter = self.metrics.push_already_stored.with_label_values(&[&self.endpoint]);
        counter.inc_by(samples as u64);
    }

    fn error(&self) {
        let now = clock::since_epoch();
        self.metrics.push_last_error.with_label_values(&[&self.endpoint]).set(now.as_secs_f64());
    }

    /// The stream has ended as intended.
    pub(super) fn finish(self) {
        self.component.finish();
    }
}
